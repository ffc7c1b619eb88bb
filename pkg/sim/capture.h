/* Captures: a machine's facts as one readable text file, and back to a directory. Format in docs/capture.md (version 1):
 *
 *   sluice-capture 1
 *   # comment
 *   dir  sys/bus/pci/drivers/vfio-pci
 *   link sys/bus/pci/devices/0000:3b:00.0 -> ../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0
 *   file sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/vendor = 0x10de
 *   text sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/resource
 *   | 0x00000000942c0000 0x00000000942fffff 0x0000000000040200
 *   node dev/vfio/vfio
 *
 * Paths are relative, below sys/, proc/ or dev/, without "." and ".." components; parents are implied. `file` is one line
 * (a newline is added), `text` any number of `| ` lines, `node` a device node (a plain empty file when unpacked).
 * No serial numbers, no MAC addresses: only attributes of the table in capture.c are written. */
#ifndef SLUICE_SIM_CAPTURE_H
#define SLUICE_SIM_CAPTURE_H

#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

enum { CAPTURE_MAX_BYTES = 64 << 20 };

int capture_write(const struct tree *tree, struct strbuf *ret, struct err *err);
/* Unpacks @text below the existing empty directory @dir (descriptor). Every problem names its line. */
int capture_unpack(const char *name, const char *text, size_t n, int dir, struct err *err);

#endif

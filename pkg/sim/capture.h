/* SPDX-License-Identifier: Apache-2.0 */
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
 * Paths are relative, below sys/, proc/, dev/ or lib/modules/, without "." and ".." components; parents are implied. `file` is one line
 * (a newline is added), `text` any number of `| ` lines, `node` a device node (a plain empty file when unpacked).
 * A capture is input from outside: nothing in one can create, replace or point to anything outside the directory it is
 * unpacked into. */
#ifndef SLUICE_SIM_CAPTURE_H
#define SLUICE_SIM_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

enum {
        CAPTURE_VERSION = 1,
        CAPTURE_MAX_BYTES = 64 << 20,
        CAPTURE_MAX_ENTRIES = 1 << 20,
        CAPTURE_MAX_PATH = 1023,      /* bytes of a path or of a link's target */
        CAPTURE_MAX_DEPTH = 40,       /* components of a path */
        CAPTURE_MAX_VALUE = 64 << 10, /* bytes of one file */
};

enum capture_kind { CAPTURE_DIR, CAPTURE_LINK, CAPTURE_FILE /* `file` or `text` */, CAPTURE_NODE };

struct capture_entry {
        enum capture_kind kind;
        unsigned line;     /* where it begins, from 1 */
        const char *path;  /* "sys/bus/..." */
        const char *value; /* target of a link; content of a file, newlines included; "" else */
        size_t n_value;
};

/* A capture in memory, sorted by path. Owns its text. */
struct capture {
        char *text;
        struct capture_entry *entries;
        size_t n;
};

/* Parses and checks the whole @text (@n bytes) of the file @name. Every problem names its line. */
int capture_parse(const char *name, const char *text, size_t n, struct capture *ret, struct err *err);
void capture_done(struct capture *capture);
#define _cleanup_capture_ _cleanup_(capture_done)

/* The entry with @path, or NULL. */
const struct capture_entry *capture_find(const struct capture *capture, const char *path);

/* Creates the entries that @wanted says yes to (NULL: all) below the directory @dir (descriptor). Directories may exist;
 * anything else that exists is an error (EEXIST) unless @keep, which leaves it as it is. Nothing is written through links. */
typedef bool capture_wanted_fn(void *ctx, const struct capture_entry *entry);
int capture_create(const char *name, const struct capture *capture, int dir, bool keep, capture_wanted_fn *wanted, void *ctx,
                   struct err *err);

/* Parses @text and creates all of it below @dir, where neither sys/ nor proc/ nor dev/ nor lib/ may exist; the first
 * three are always made. On failure what was made so far is left behind: unpack into a directory of your own. */
int capture_unpack(const char *name, const char *text, size_t n, int dir, struct err *err);

/* Writes the facts of @tree that Sluice reads: attributes of the tables in capture_write.c and nothing else. No serial
 * numbers, no MAC addresses, no config space, no command line; the boot id is written as zeros. Reads no attribute that
 * takes the kernel's device lock. Something that vanishes in the middle is left out. */
int capture_write(const struct tree *tree, struct strbuf *ret, struct err *err);

/* Names of the attributes of a PCI function that capture_write() reads (for the test that none of them is locked). */
const char *const *capture_attributes(size_t *ret_n);

/* Writes everything below @tree that a capture can hold, whatever it is: for directories that stand for a host, never for
 * a live /sys. Files longer than CAPTURE_MAX_VALUE and what is neither file, link, directory nor node are an error. */
int capture_write_all(const struct tree *tree, struct strbuf *ret, struct err *err);

#endif

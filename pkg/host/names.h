/* SPDX-License-Identifier: Apache-2.0 */
/* Names of ids: user file, then the built-in GPU table, then the system's pci.ids (parsed only when an id is in neither),
 * through libpci. A look-up happens only inside the vendor's section; the text "Device" counts as unknown. No network, no
 * hwdb, no cache file.
 *
 * What was found, and what was not, is remembered until names_free: a rescan parses nothing. Loop thread. */
#ifndef SLUICE_HOST_NAMES_H
#define SLUICE_HOST_NAMES_H

#include <stdint.h>

#include "base/err.h"

struct names;
/* @user_file NULL = none. @system_file NULL = libpci's default place. The user file is parsed now: unreadable, larger than
 * 16 MiB, or not of the pci.ids format is an error that names the line. The system file is opened when it is needed; when it
 * is bad, it knows no names. */
int names_new(struct names **ret, const char *user_file, const char *system_file, struct err *err);
struct names *names_free(struct names *names);

/* NULL = unknown. Valid UTF-8 without control bytes, borrowed until names_free. */
const char *names_device(struct names *names, uint16_t vendor, uint16_t device);
const char *names_vendor(struct names *names, uint16_t vendor);
/* As names_device, without ever opening the system's file. */
const char *names_peek(struct names *names, uint16_t vendor, uint16_t device);
/* Gives the memory of the parsed system file back; found names stay. */
void names_trim(struct names *names);

#endif

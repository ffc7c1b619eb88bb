/* Names of ids: user file, then the built-in GPU table, then the system's pci.ids (parsed only when an id is in neither),
 * through libpci. A look-up happens only inside the vendor's section; the text "Device" counts as unknown. */
#ifndef SLUICE_HOST_NAMES_H
#define SLUICE_HOST_NAMES_H

#include <stdint.h>

#include "base/err.h"

struct names;
/* @user_file NULL = none. @system_file NULL = libpci's default places. Neither is opened before it is needed, except that
 * an unreadable user file is an error now. */
int names_new(struct names **ret, const char *user_file, const char *system_file, struct err *err);
struct names *names_free(struct names *names);

/* NULL = unknown. Borrowed until names_free. */
const char *names_device(struct names *names, uint16_t vendor, uint16_t device);
const char *names_vendor(struct names *names, uint16_t vendor);
/* Gives the memory of a parsed file back; found names stay. */
void names_trim(struct names *names);

#endif

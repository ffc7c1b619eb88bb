/* SPDX-License-Identifier: Apache-2.0 */
/* Names who has set the driver_overrides that keep Sluice from binding. Looked for once per device and override, since that reads a
 * few dozen files. Loop thread. */
#ifndef SLUICE_AGENT_OWNERS_H
#define SLUICE_AGENT_OWNERS_H

#include "core/inventory.h"

struct owners;
struct owners *owners_new(const char *root);       /* host/owner.h; copied */
struct owners *owners_free(struct owners *owners); /* NULL-safe, returns NULL */

/* Into @inv, which is not shared yet and has the overrides that are known. */
void owners_apply(struct owners *owners, struct inventory *inv);

#endif

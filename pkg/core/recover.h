/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon that starts makes of what an earlier one wrote down: each original is held against the host as it is now. The
 * host is right; the record says only whose doing it was. Pure. */
#ifndef SLUICE_CORE_RECOVER_H
#define SLUICE_CORE_RECOVER_H

#include "core/claim.h"

enum original_fate {
        /* Forgotten: */
        FATE_OTHER_BOOT, /* its binding ended with its boot; what the function is on now is somebody else's doing */
        FATE_GONE,       /* so is the function, and with it the binding and the override */
        FATE_REPLACED,   /* another function is at the address */
        FATE_TAKEN,      /* somebody has bound it to another driver, or has given it back */
        /* Kept: */
        FATE_OURS,    /* on the driver that Sluice bound it to, with its node: adopted, whatever was under way */
        FATE_UNBOUND, /* was bound and has no driver: the VFIO module was removed, say. The next plan binds it */
        FATE_HALF,    /* a bind or its undoing was under way, and is not done */
        FATE_UNREAD,  /* nobody knows: it is there and could not be read */
};
static inline bool fate_is_forgotten(enum original_fate fate)
{
        return fate <= FATE_TAKEN;
}

/* Against the function at its address in @inv, which goes to *@ret_fn (NULL = none). */
enum original_fate original_look_up(const struct inventory *inv, const struct original *original, const struct function **ret_fn);

/* @fn: the function at its address, NULL = none. @boot_id "" = unknown, which is no other boot. FATE_TAKEN and FATE_HALF of what is
 * not ORIGINAL_BOUND hold only when no hand is at work on it any more. */
enum original_fate original_judge(const struct original *original, const struct function *fn, const char *boot_id);

/* One sentence for the log of a fate that is not FATE_OURS. */
void original_say(const struct original *original, const struct function *fn, enum original_fate fate, char *out, size_t size);

/* Originals that are bound or given back together: those with functions in one IOMMU group. Others of the card are other tenants' (two
 * VFs). @ret[i] is the index of the first of the unit that @originals[i] is of. */
void original_units(const struct inventory *inv, const struct original *originals, size_t n, size_t *ret);

#endif

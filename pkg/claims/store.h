/* SPDX-License-Identifier: Apache-2.0 */
/* Where claims are recorded: intent before the first kernel write, completion after the read-back, drop at the end. The
 * first implementation is memory; the durable one comes with recovery. */
#ifndef SLUICE_CLAIMS_STORE_H
#define SLUICE_CLAIMS_STORE_H

#include "base/err.h"
#include "core/plan.h"

struct claim_record {
        char key[128]; /* "kubelet:<device id>" for kubelet's pools */
        char resource[RESOURCE_MAX];
        char (*devices)[DEVICE_ID_MAX];
        size_t n_devices;
};
struct store;
struct store_ops {
        int (*intent)(struct store *store, const struct claim_record *record, const struct plan *plans, size_t n_plans, struct err *err);
        int (*complete)(struct store *store, const char *key, struct err *err);
        int (*drop)(struct store *store, const char *key, struct err *err);
        struct store *(*free)(struct store *store);
};
struct store {
        const struct store_ops *ops;
};
struct store *store_memory_new(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Claims recorded in memory only: kubelet's own checkpoint is the record of kubelet's pools, and a daemon that starts anew
 * reads the world. The durable store takes this one's place with recovery. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "claims/store.h"

struct entry {
        char key[sizeof(((struct claim_record *)0)->key)];
        bool complete;
};

struct store_memory {
        struct store store;
        struct entry *entries;
        size_t n, cap;
};

static struct store_memory *self(struct store *store)
{
        return container_of(store, struct store_memory, store);
}

static struct entry *find(struct store_memory *m, const char *key)
{
        for (size_t i = 0; i < m->n; i++)
                if (streq(m->entries[i].key, key))
                        return &m->entries[i];
        return NULL;
}

static int memory_intent(struct store *store, const struct claim_record *record, const struct plan *plans, size_t n_plans, struct err *err)
{
        struct store_memory *m = self(store);
        struct entry *e = find(m, record->key);

        (void)plans;
        (void)n_plans;
        (void)err;
        if (!e) {
                GROW(m->entries, m->n, m->cap);
                e = &m->entries[m->n++];
                memcpy(e->key, record->key, sizeof(e->key));
        }
        e->complete = false;
        return 0;
}

static int memory_complete(struct store *store, const char *key, struct err *err)
{
        struct entry *e = find(self(store), key);

        if (!e)
                return err_set(err, ENOENT, "no intent is recorded for %s", key);
        e->complete = true;
        return 0;
}

static int memory_drop(struct store *store, const char *key, struct err *err)
{
        struct store_memory *m = self(store);
        struct entry *e = find(m, key);

        (void)err;
        if (e)
                *e = m->entries[--m->n];
        return 0;
}

static struct store *memory_free(struct store *store)
{
        struct store_memory *m = self(store);

        free(m->entries);
        free(m);
        return NULL;
}

struct store *store_memory_new(void)
{
        static const struct store_ops ops = { memory_intent, memory_complete, memory_drop, memory_free };
        struct store_memory *m = xcalloc(1, sizeof(*m));

        m->store.ops = &ops;
        return &m->store;
}

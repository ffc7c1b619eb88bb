/* SPDX-License-Identifier: Apache-2.0 */
/* Points of the daemon: around each record that it writes or removes, and inside, where the file is replaced. "daemon FILE PLACE". */
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "claims/records.h"
#include "hold.h"

int __real_records_open(int state_dir, const char *kind, unsigned version, struct records **ret, struct err *err);
int __wrap_records_open(int state_dir, const char *kind, unsigned version, struct records **ret, struct err *err);
int __real_records_put(struct records *records, const char *key, const char *text, struct err *err);
int __wrap_records_put(struct records *records, const char *key, const char *text, struct err *err);
int __real_records_remove(struct records *records, const char *key, struct err *err);
int __wrap_records_remove(struct records *records, const char *key, struct err *err);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_unlinkat(int dir, const char *path, int flags);

static struct {
        const struct records *records;
        char kind[32];
} kinds[8];

static const char *kind_of(const struct records *records)
{
        for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
                if (kinds[i].records == records)
                        return kinds[i].kind;
        return "unknown";
}

/* What is being done to which record by this thread; "" = nothing. */
static _Thread_local char at_work[128];

int __wrap_records_open(int state_dir, const char *kind, unsigned version, struct records **ret, struct err *err)
{
        int r = __real_records_open(state_dir, kind, version, ret, err);

        for (size_t i = 0; i < N_ELEMENTS(kinds) && r == 0; i++)
                if (!kinds[i].records) {
                        kinds[i].records = *ret;
                        str_format(kinds[i].kind, sizeof(kinds[i].kind), "%s", kind);
                        break;
                }
        return r;
}

int __wrap_records_put(struct records *records, const char *key, const char *text, struct err *err)
{
        str_format(at_work, sizeof(at_work), "daemon %s/%.60s put", kind_of(records), key);
        hold_at("%s begin", at_work);
        int r = __real_records_put(records, key, text, err);
        hold_at("%s end", at_work);
        at_work[0] = '\0';
        return r;
}

int __wrap_records_remove(struct records *records, const char *key, struct err *err)
{
        str_format(at_work, sizeof(at_work), "daemon %s/%.60s remove", kind_of(records), key);
        hold_at("%s begin", at_work);
        int r = __real_records_remove(records, key, err);
        hold_at("%s end", at_work);
        at_work[0] = '\0';
        return r;
}

/* The temporary file is written and synced before, the directory is not synced after. */
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
        bool holds = at_work[0];

        if (holds)
                hold_at("%s rename", at_work);
        int r = __real_renameat(from_dir, from, to_dir, to);
        if (holds)
                hold_at("%s renamed", at_work);
        return r;
}

int __wrap_unlinkat(int dir, const char *path, int flags)
{
        int r = __real_unlinkat(dir, path, flags);

        if (at_work[0])
                hold_at("%s unlinked", at_work);
        return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/encode.h"

/* Who waits for the disk: for one record, or for several of one call. */
struct wait {
        size_t n_left;
        struct err err; /* what the disk said first; code 0 = nothing so far */
        recorded_fn *done;
        void *ctx;
};

struct waiter {
        struct waiter *next;
        unsigned change; /* waits until this one is written, or a later one */
        struct wait *wait;
};

struct shelf;
struct entry {
        struct shelf *shelf;
        char key[RECORD_KEY_MAX];
        struct claim claim;
        struct original original;
        bool removed;     /* kept until the disk knows */
        bool on_disk;     /* maybe */
        bool busy;        /* being written, or its waiters are being told */
        unsigned changes; /* how often it was changed ... */
        unsigned written; /* ... which of them the disk has ... */
        unsigned asked;   /* ... and which it is being given */
        struct waiter *waiters;
};

/* The records of one kind. */
struct shelf {
        struct ledger *ledger;
        struct records *records;
        char *(*encode)(const struct entry *entry);
        struct entry **entries;
        size_t n, cap;
};

struct ledger {
        struct recorder *recorder;
        struct shelf claims, originals;
        uv_timer_t *timer; /* NULL once stopped */
        bool failing;      /* the disk refused the last that it was given; logged */
};

/* ---- entries ---- */

static struct entry *find(const struct shelf *shelf, const char *key)
{
        for (size_t i = 0; i < shelf->n; i++)
                if (streq(shelf->entries[i]->key, key))
                        return shelf->entries[i];
        return NULL;
}

static struct entry *entry_new(struct shelf *shelf, const char *key)
{
        struct entry *entry = xcalloc(1, sizeof(*entry));

        entry->shelf = shelf;
        (void)str_copy(entry->key, sizeof(entry->key), key);
        GROW(shelf->entries, shelf->n, shelf->cap);
        shelf->entries[shelf->n++] = entry;
        return entry;
}

static void entry_free(struct entry *entry)
{
        claim_done(&entry->claim);
        free(entry);
}

static void entry_drop(struct entry *entry)
{
        struct shelf *shelf = entry->shelf;
        size_t i = 0;

        while (shelf->entries[i] != entry)
                i++;
        shelf->entries[i] = shelf->entries[--shelf->n];
        entry_free(entry);
}

static void wait_over(struct wait *wait, const struct err *err)
{
        if (err && wait->err.code == 0)
                wait->err = *err;
        if (--wait->n_left > 0)
                return;
        wait->done(wait->ctx, wait->err.code ? &wait->err : NULL);
        free(wait);
}

/* Tells those who wait for what was asked of the disk. They may change the entry again: it is busy meanwhile. */
static void tell_waiters(struct entry *entry, const struct err *err)
{
        struct waiter *told = NULL, **last = &told, **at = &entry->waiters;

        while (*at) {
                struct waiter *waiter = *at;
                if ((int)(waiter->change - entry->asked) > 0) {
                        at = &waiter->next;
                        continue;
                }
                *at = waiter->next;
                waiter->next = NULL;
                *last = waiter;
                last = &waiter->next;
        }
        while (told) {
                struct waiter *waiter = told;
                told = waiter->next;
                wait_over(waiter->wait, err);
                free(waiter);
        }
}

/* ---- to the disk ---- */

static void arm(struct ledger *ledger, uint64_t in_ms);
static void entry_write(struct entry *entry);

static void say_failing(struct ledger *ledger, const struct err *err)
{
        if (err && !ledger->failing)
                log_error("%s: it is tried again every %d s; until then a sluiced that starts anew reads kubelet and the host instead",
                          err->msg, LEDGER_RETRY_MS / 1000);
        if (!err && ledger->failing)
                log_info("the state directory can be written again");
        ledger->failing = err != NULL;
}

static void on_written(void *ctx, const struct err *err)
{
        struct entry *entry = ctx;
        struct ledger *ledger = entry->shelf->ledger;

        if (!err)
                entry->written = entry->asked;
        tell_waiters(entry, err);
        entry->busy = false;
        if (!err || entry->changes == entry->asked) /* else who waited has taken it back, and says so */
                say_failing(ledger, err);
        if (entry->changes != entry->asked)
                entry_write(entry);
        else if (err)
                arm(ledger, LEDGER_RETRY_MS);
        else if (entry->removed)
                entry_drop(entry);
}

static void entry_write(struct entry *entry)
{
        struct shelf *shelf = entry->shelf;

        if (entry->busy || entry->written == entry->changes)
                return;
        entry->busy = true;
        entry->asked = entry->changes;
        if (entry->removed) {
                recorder_remove(shelf->ledger->recorder, shelf->records, entry->key, on_written, entry);
                return;
        }
        entry->on_disk = true;
        _cleanup_free_ char *text = shelf->encode(entry);
        recorder_put(shelf->ledger->recorder, shelf->records, entry->key, text, on_written, entry);
}

static void write_all(struct ledger *ledger)
{
        struct shelf *shelves[] = { &ledger->originals, &ledger->claims };

        for (size_t k = 0; k < N_ELEMENTS(shelves); k++)
                for (size_t i = 0; i < shelves[k]->n; i++)
                        entry_write(shelves[k]->entries[i]);
}

static void on_timer(uv_timer_t *timer)
{
        write_all(timer->data);
}

static void arm(struct ledger *ledger, uint64_t in_ms)
{
        if (!ledger->timer || (uv_is_active((uv_handle_t *)ledger->timer) && uv_timer_get_due_in(ledger->timer) <= in_ms))
                return;
        (void)uv_timer_start(ledger->timer, on_timer, in_ms, 0);
}

/* @entry was changed. @wait NULL: nobody waits. */
static void changed(struct entry *entry, struct wait *wait)
{
        struct ledger *ledger = entry->shelf->ledger;

        entry->changes++;
        if (entry->removed && !entry->on_disk && !entry->busy && !wait) {
                entry_drop(entry);
                return;
        }
        if (wait) {
                struct waiter *waiter = xcalloc(1, sizeof(*waiter));
                *waiter = (struct waiter){ .next = entry->waiters, .change = entry->changes, .wait = wait };
                entry->waiters = waiter;
        }
        if (wait || !ledger->timer)
                entry_write(entry);
        else
                arm(ledger, LEDGER_LAZY_MS);
}

static struct wait *wait_new(size_t n, recorded_fn *done, void *ctx)
{
        if (!done)
                return NULL;
        struct wait *wait = xcalloc(1, sizeof(*wait));
        *wait = (struct wait){ .n_left = n, .done = done, .ctx = ctx };
        return wait;
}

/* ---- changes ---- */

static int check_room(const struct shelf *shelf, size_t n_new, const char *kind, struct err *err)
{
        if (shelf->n + n_new <= RECORDS_MAX)
                return 0;
        return err_say(err, ENOSPC, "there are %zu records of %s already, and %d are the most that are kept", shelf->n, kind, RECORDS_MAX);
}

int ledger_put_claim(struct ledger *ledger, const struct claim *claim, recorded_fn *done, void *ctx, struct err *err)
{
        struct entry *entry = find(&ledger->claims, claim->key);
        struct claim copy;

        int r = check_room(&ledger->claims, entry == NULL, "claims", err);
        if (r < 0)
                return r;
        if (!entry)
                entry = entry_new(&ledger->claims, claim->key);
        claim_copy(&copy, claim); /* it may be the entry's own, changed */
        claim_done(&entry->claim);
        entry->claim = copy;
        entry->removed = false;
        changed(entry, wait_new(1, done, ctx));
        return 0;
}

void ledger_remove_claim(struct ledger *ledger, const char *key, recorded_fn *done, void *ctx)
{
        struct entry *entry = find(&ledger->claims, key);

        if (!entry)
                entry = entry_new(&ledger->claims, key); /* so that somebody who waits hears of it in his turn */
        entry->removed = true;
        changed(entry, wait_new(1, done, ctx));
}

int ledger_put_originals(struct ledger *ledger, const struct original *list, size_t n, recorded_fn *done, void *ctx, struct err *err)
{
        char key[BDF_TEXT_MAX];
        size_t n_new = 0;

        assert(n > 0);
        for (size_t i = 0; i < n; i++)
                n_new += find(&ledger->originals, bdf_format(list[i].bdf, key)) == NULL;
        int r = check_room(&ledger->originals, n_new, "originals", err);
        if (r < 0)
                return r;
        struct wait *wait = wait_new(n, done, ctx);
        for (size_t i = 0; i < n; i++) {
                struct entry *entry = find(&ledger->originals, bdf_format(list[i].bdf, key));
                if (!entry)
                        entry = entry_new(&ledger->originals, key);
                entry->original = list[i];
                entry->removed = false;
                changed(entry, wait);
        }
        return 0;
}

void ledger_remove_originals(struct ledger *ledger, const struct bdf *list, size_t n, recorded_fn *done, void *ctx)
{
        struct wait *wait = wait_new(n, done, ctx);
        char key[BDF_TEXT_MAX];

        assert(n > 0);
        for (size_t i = 0; i < n; i++) {
                struct entry *entry = find(&ledger->originals, bdf_format(list[i], key));
                if (!entry)
                        entry = entry_new(&ledger->originals, key);
                entry->removed = true;
                changed(entry, wait);
        }
}

/* ---- questions ---- */

const struct claim *ledger_claim(const struct ledger *ledger, const char *key)
{
        const struct entry *entry = find(&ledger->claims, key);

        return entry && !entry->removed ? &entry->claim : NULL;
}

const struct claim *ledger_claim_of(const struct ledger *ledger, const char *device)
{
        for (size_t i = 0; i < ledger->claims.n; i++) {
                const struct entry *entry = ledger->claims.entries[i];
                if (!entry->removed && claim_device(&entry->claim, device))
                        return &entry->claim;
        }
        return NULL;
}

const struct original *ledger_original(const struct ledger *ledger, struct bdf bdf)
{
        char key[BDF_TEXT_MAX];

        const struct entry *entry = find(&ledger->originals, bdf_format(bdf, key));
        return entry && !entry->removed ? &entry->original : NULL;
}

/* From the end: one that is dropped is replaced by the last. */
void ledger_each_claim(const struct ledger *ledger, claim_fn *each, void *ctx)
{
        for (size_t i = ledger->claims.n; i-- > 0;)
                if (i < ledger->claims.n && !ledger->claims.entries[i]->removed)
                        each(ctx, &ledger->claims.entries[i]->claim);
}

void ledger_each_original(const struct ledger *ledger, original_fn *each, void *ctx)
{
        for (size_t i = ledger->originals.n; i-- > 0;)
                if (i < ledger->originals.n && !ledger->originals.entries[i]->removed)
                        each(ctx, &ledger->originals.entries[i]->original);
}

/* ---- life ---- */

static char *encode_entry_claim(const struct entry *entry)
{
        return encode_claim(&entry->claim);
}

static char *encode_entry_original(const struct entry *entry)
{
        return encode_original(&entry->original);
}

static int on_claim(void *ctx, const char *key, const char *text, struct err *err)
{
        struct ledger *ledger = ctx;
        struct claim claim;

        int r = decode_claim(key, text, &claim, err);
        if (r < 0)
                return r;
        struct entry *entry = entry_new(&ledger->claims, key);
        entry->claim = claim;
        entry->on_disk = true;
        return 0;
}

static int on_original(void *ctx, const char *key, const char *text, struct err *err)
{
        struct ledger *ledger = ctx;
        struct original original;

        int r = decode_original(key, text, &original, err);
        if (r < 0)
                return r;
        struct entry *entry = entry_new(&ledger->originals, key);
        entry->original = original;
        entry->on_disk = true;
        return 0;
}

static void on_claim_aside(void *ctx, const char *file, const struct err *why)
{
        (void)ctx;
        log_error("%s in the state directory is not trusted: %s; who has its device is learned from kubelet and the host", file, why->msg);
}

static void on_original_aside(void *ctx, const char *file, const struct err *why)
{
        (void)ctx;
        log_error("%s in the state directory is not trusted: %s; a binding that it told of counts as an administrator's from now on", file,
                  why->msg);
}

static int open_shelf(struct ledger *ledger, struct shelf *shelf, int state_dir, const char *kind,
                      char *(*encode)(const struct entry *entry), record_fn *each, record_aside_fn *aside, struct err *err)
{
        shelf->ledger = ledger;
        shelf->encode = encode;
        int r = records_open(state_dir, kind, LEDGER_VERSION, &shelf->records, err);
        return r < 0 ? r : records_read(shelf->records, each, aside, ledger, err);
}

static void close_shelf(struct shelf *shelf)
{
        for (size_t i = 0; i < shelf->n; i++) {
                assert(!shelf->entries[i]->busy);
                entry_free(shelf->entries[i]);
        }
        free(shelf->entries);
        records_close(shelf->records);
}

int ledger_open(int state_dir, uv_loop_t *loop, struct recorder *recorder, struct ledger **ret, struct err *err)
{
        struct ledger *ledger = xcalloc(1, sizeof(*ledger));

        ledger->recorder = recorder;
        int r = open_shelf(ledger, &ledger->claims, state_dir, "claims", encode_entry_claim, on_claim, on_claim_aside, err);
        if (r == 0)
                r = open_shelf(ledger, &ledger->originals, state_dir, "originals", encode_entry_original, on_original, on_original_aside,
                               err);
        if (r < 0) {
                ledger_free(ledger);
                return r;
        }
        ledger->timer = xcalloc(1, sizeof(*ledger->timer));
        (void)uv_timer_init(loop, ledger->timer);
        ledger->timer->data = ledger;
        *ret = ledger;
        return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
        free(handle);
}

void ledger_stop(struct ledger *ledger)
{
        if (!ledger || !ledger->timer)
                return;
        uv_close((uv_handle_t *)ledger->timer, on_timer_closed);
        ledger->timer = NULL;
        write_all(ledger);
}

struct ledger *ledger_free(struct ledger *ledger)
{
        if (!ledger)
                return NULL;
        assert(!ledger->timer);
        close_shelf(&ledger->claims);
        close_shelf(&ledger->originals);
        free(ledger);
        return NULL;
}

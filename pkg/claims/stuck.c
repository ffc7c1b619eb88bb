/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/stuck.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

struct stuck {
        struct records *records;
        struct recorder *recorder;
        char *boot_id;
};

struct reading {
        struct stuck *stuck;
        stuck_fn *each;
        void *ctx;
};

static int on_record(void *ctx, const char *key, const char *text, struct err *err)
{
        const struct reading *reading = ctx;
        const char *boot_id, *detail;
        struct bdf card;
        struct err unused;

        json_auto_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        if (!tree || json_unpack(tree, "{s:s, s:s}", "boot_id", &boot_id, "detail", &detail) < 0 || !bdf_parse(key, &card))
                return err_say(err, EBADMSG, "it does not say which card is stuck in which boot");
        if (*reading->stuck->boot_id && !streq(reading->stuck->boot_id, boot_id))
                (void)records_remove(reading->stuck->records, key, &unused); /* if that fails, it is forgotten again next time */
        else
                reading->each(reading->ctx, card, detail);
        return 0;
}

static void on_aside(void *ctx, const char *file, const struct err *why)
{
        (void)ctx;
        log_error("%s in the state directory is not trusted: %s; a card that it named may be offered again", file, why->msg);
}

int stuck_open(int state_dir, struct recorder *recorder, const char *boot_id, stuck_fn *each, void *ctx, struct stuck **ret,
               struct err *err)
{
        struct stuck *stuck = xcalloc(1, sizeof(*stuck));
        struct reading reading = { .stuck = stuck, .each = each, .ctx = ctx };

        *stuck = (struct stuck){ .recorder = recorder, .boot_id = xstrdup(boot_id) };
        int r = records_open(state_dir, "stuck", STUCK_VERSION, &stuck->records, err);
        if (r == 0)
                r = records_read(stuck->records, on_record, on_aside, &reading, err);
        if (r < 0) {
                stuck_free(stuck);
                return r;
        }
        *ret = stuck;
        return 0;
}

static void on_recorded(void *ctx, const struct err *err)
{
        (void)ctx;
        if (err)
                log_error("%s: a sluiced that is started anew in this boot may offer the card again", err->msg);
}

void stuck_add(struct stuck *stuck, struct bdf card, const char *detail)
{
        char key[BDF_TEXT_MAX], clean[ERR_MSG_MAX];

        str_clean(clean, sizeof(clean), detail); /* JSON takes well-formed text only */
        json_auto_t *tree = json_pack("{s:s, s:s}", "boot_id", stuck->boot_id, "detail", clean);
        _cleanup_free_ char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL;
        recorder_put(stuck->recorder, stuck->records, bdf_format(card, key), alloc_check(text), on_recorded, NULL);
}

struct stuck *stuck_free(struct stuck *stuck)
{
        if (!stuck)
                return NULL;
        records_close(stuck->records);
        free(stuck->boot_id);
        free(stuck);
        return NULL;
}

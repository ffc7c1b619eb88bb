/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum { RECORD_MAX = 4096 };

/* The text of the record @name below its header; false: there is none (any more). */
static bool read_record(int dir, const char *name, char text[static RECORD_MAX])
{
        struct err err;

        return fs_read(dir, name, text, RECORD_MAX, NULL, &err) == 0 && strchr(text, '\n');
}

/* All records of a kind: @each is told the key, and the text. False ends it. */
static bool each_record(const char *state_dir, const char *kind, bool (*each)(void *ctx, const char *key, const char *text), void *ctx,
                        char *why, unsigned size)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", state_dir, kind);
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fs_list(dir, ".", &list, &err) < 0) {
                str_format(why, size, "there is no %s", path);
                return false;
        }
        for (size_t i = 0; i < list.n; i++) {
                char text[RECORD_MAX];
                if (str_has_suffix(list.names[i], ".bad")) {
                        str_format(why, size, "%s was set aside", list.names[i]);
                        return false;
                }
                if (!str_has_suffix(list.names[i], ".record") || !read_record(dir, list.names[i], text))
                        continue;
                list.names[i][strlen(list.names[i]) - strlen(".record")] = '\0';
                if (!each(ctx, list.names[i], text))
                        return false;
        }
        return true;
}

struct search {
        const struct scene *scene;
        unsigned mask, found; /* by device */
        unsigned n_functions;
        bool powered;
        char *why;
        unsigned size;
};

static bool see_original(void *ctx, const char *key, const char *text)
{
        struct search *s = ctx;

        for (unsigned i = 0; i < s->scene->n_ids; i++)
                for (unsigned k = 0; k < s->scene->n_functions[i]; k++) {
                        char bdf[BDF_TEXT_MAX];
                        if (!streq(bdf_format(s->scene->functions[i][k], bdf), key) || !(s->mask & 1U << i))
                                continue;
                        s->n_functions++;
                        if (strstr(text, "\"reset_methods\"")) {
                                str_format(s->why, s->size, "the original of %s remembers reset methods: %.300s", key, text);
                                return false;
                        }
                        if (strstr(text, "\"state\":\"bound\"") && s->powered == (strstr(text, "\"power_control\":\"auto\"") != NULL))
                                return true;
                        str_format(s->why, s->size, "the original of %s is not that of a bound function %s: %.300s", key,
                                   s->powered ? "that is kept awake" : "whose power is left alone", text);
                        return false;
                }
        str_format(s->why, s->size, "an original of %s is left, which is not bound", key);
        return false;
}

bool kept_originals_are(const char *state_dir, const struct scene *scene, unsigned mask, bool powered, char *why, unsigned size)
{
        struct search s = { .scene = scene, .mask = mask, .powered = powered, .why = why, .size = size };
        unsigned want = 0;

        for (unsigned i = 0; i < scene->n_ids; i++)
                want += mask & 1U << i ? scene->n_functions[i] : 0;
        if (!each_record(state_dir, "originals", see_original, &s, why, size))
                return false;
        if (s.n_functions != want)
                str_format(why, size, "there are originals of %u functions, and %u are bound", s.n_functions, want);
        return s.n_functions == want;
}

static bool see_claim(void *ctx, const char *key, const char *text)
{
        struct search *s = ctx;

        for (unsigned i = 0; i < s->scene->n_ids; i++)
                if (str_has_prefix(key, "kubelet:") && streq(key + strlen("kubelet:"), s->scene->ids[i])) {
                        s->found |= 1U << i;
                        if (strstr(text, "\"state\":\"answered\"") || strstr(text, "\"state\":\"seen\""))
                                return true;
                        str_format(s->why, s->size, "the claim %s is not one of a device given: %.300s", key, text);
                        return false;
                }
        str_format(s->why, s->size, "a claim %s that nobody made", key);
        return false;
}

bool kept_claims_are(const char *state_dir, const struct scene *scene, unsigned mask, char *why, unsigned size)
{
        struct search s = { .scene = scene, .mask = mask, .why = why, .size = size };

        if (!each_record(state_dir, "claims", see_claim, &s, why, size))
                return false;
        if ((s.found & mask) != mask)
                str_format(why, size, "of the devices %x only %x have a claim", mask, s.found & mask);
        return (s.found & mask) == mask;
}

static bool see_any(void *ctx, const char *key, const char *text)
{
        struct search *s = ctx;

        str_format(s->why, s->size, "the claim %s is left: %.300s", key, text);
        return false;
}

bool kept_claims_are_none(const char *state_dir, char *why, unsigned size)
{
        struct search s = { .why = why, .size = size };

        return each_record(state_dir, "claims", see_any, &s, why, size);
}

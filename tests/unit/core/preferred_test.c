/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/preferred.h"

/* A host of the tests: devices a, b, c, ... as "id numa root bridge"; '!' after the id = unhealthy. */
struct place {
        const char *id;
        int numa;
        const char *root;
        uint8_t bridge;
        bool unhealthy;
};

/* Two sockets, two roots each, two bridges on the first root. */
static const struct place two_sockets[] = {
        { "a", 0, "pci0000:10", 1, false }, { "b", 0, "pci0000:10", 1, false }, { "c", 0, "pci0000:10", 2, false },
        { "d", 0, "pci0000:20", 3, false }, { "e", 1, "pci0000:30", 4, false }, { "f", 1, "pci0000:30", 4, false },
        { "g", 1, "pci0000:40", 5, false }, { NULL, 0, NULL, 0, false },
};
/* Eight on one node: two roots with two bridges of two. */
static const struct place one_node[] = {
        { "a", 0, "pci0000:10", 1, false }, { "b", 0, "pci0000:10", 1, false }, { "c", 0, "pci0000:10", 2, false },
        { "d", 0, "pci0000:10", 2, false }, { "e", 0, "pci0000:20", 3, false }, { "f", 0, "pci0000:20", 3, false },
        { "g", 0, "pci0000:20", 4, false }, { "h", 0, "pci0000:20", 4, false }, { NULL, 0, NULL, 0, false },
};
static const struct place unknown_nodes[] = {
        { "a", -1, "pci0000:10", 1, false }, { "b", -1, "pci0000:20", 2, false }, { "c", -1, "pci0000:30", 3, false },
        { "d", 0, "pci0000:40", 4, false },  { "e", 0, "pci0000:40", 4, false },  { NULL, 0, NULL, 0, false },
};
static const struct place one_ill[] = {
        { "a", 0, "pci0000:10", 1, true },
        { "b", 1, "pci0000:20", 2, false },
        { "c", 1, "pci0000:20", 2, false },
        { NULL, 0, NULL, 0, false },
};

struct row {
        const char *title;
        const struct place *places;
        const char *available, *must; /* blank list; "a-h" is not supported, on purpose: tables are to be read */
        int size;
        enum prefer_strategy prefer;
        const char *chosen; /* in order; NULL = refused with @err */
        const char *err;
};

static const struct row rows[] = {
        /* NUMA */
        { "one device: the smaller node, its smaller root", two_sockets, "a b c d e f g", "", 1, PREFER_PACK, "g", NULL },
        { "two: the node with the fewest free that is large enough", two_sockets, "a b c d e f g", "", 2, PREFER_PACK, "e f", NULL },
        { "four: only the larger node is large enough", two_sockets, "a b c d e f g", "", 4, PREFER_PACK, "a b c d", NULL },
        { "five: no node is large enough, the largest whole, then the rest", two_sockets, "a b c d e f g", "", 5, PREFER_PACK, "a b c d g",
          NULL },
        { "all", two_sockets, "g f e d c b a", "", 7, PREFER_PACK, "a b c d e f g", NULL },
        { "what is not available is not there", two_sockets, "a d e f g", "", 2, PREFER_PACK, "a d", NULL },
        { "equal nodes: the first", two_sockets, "a b e f", "", 2, PREFER_PACK, "a b", NULL },
        { "spread keeps a request on one node too", two_sockets, "a b c d e f g", "", 2, PREFER_SPREAD, "e g", NULL },

        /* must_include */
        { "must_include only", two_sockets, "a b c", "c", 1, PREFER_PACK, "c", NULL },
        { "near to what must be included, though another node fits better", two_sockets, "a b c d e f g", "b", 2, PREFER_PACK, "b a",
          NULL },
        { "its bridge first, then its root, then its node", two_sockets, "a b c d e f g", "b", 4, PREFER_PACK, "b a c d", NULL },
        { "its node is too small: all of it, then the other", two_sockets, "a b c d e g", "e", 4, PREFER_PACK, "e g a b", NULL },
        { "must_include on both nodes: where one is large enough", two_sockets, "a b c d e f", "d e", 4, PREFER_PACK, "d e a b", NULL },
        { "the order of must_include is kept", two_sockets, "a b c d", "d a", 3, PREFER_PACK, "d a b", NULL },

        /* pack and spread */
        { "pack: one bridge", one_node, "a b c d e f g h", "", 2, PREFER_PACK, "a b", NULL },
        { "pack: the bridge with the fewest free", one_node, "a b c e f g h", "", 1, PREFER_PACK, "c", NULL },
        { "pack: the root with the fewest free that is large enough", one_node, "a b c e f g h", "", 3, PREFER_PACK, "a b c", NULL },
        { "pack: a whole root", one_node, "b c d e f g h", "", 4, PREFER_PACK, "e f g h", NULL },
        { "pack: a whole bridge rather than two halves", one_node, "a c d e g h", "", 2, PREFER_PACK, "c d", NULL },
        { "spread: a root each", one_node, "a b c d e f g h", "", 2, PREFER_SPREAD, "a e", NULL },
        { "spread: a bridge each", one_node, "a b c d e f g h", "", 4, PREFER_SPREAD, "a e c g", NULL },
        { "spread: where most is free", one_node, "a e f g h", "", 1, PREFER_SPREAD, "e", NULL },
        { "spread: away from what must be included", one_node, "a b c d e f g h", "a", 2, PREFER_SPREAD, "a e", NULL },
        { "spread: the same root when it is the only one left, another bridge", one_node, "a b c d", "a", 2, PREFER_SPREAD, "a c", NULL },

        /* unknown nodes */
        { "a known node before unknown ones", unknown_nodes, "a b c d e", "", 2, PREFER_PACK, "d e", NULL },
        { "unknown ones where no known node is large enough", unknown_nodes, "a b c d e", "", 3, PREFER_PACK, "a b c", NULL },
        { "an unknown node is no neighbourhood", unknown_nodes, "a b d", "a", 2, PREFER_PACK, "a d", NULL },
        { "all unknown", unknown_nodes, "b c a", "", 2, PREFER_PACK, "a b", NULL },

        { "what turned unhealthy is the last choice", one_ill, "a b c", "", 2, PREFER_PACK, "b c", NULL },
        { "though its node fits better", one_ill, "a b c", "", 1, PREFER_PACK, "b", NULL },
        { "and a choice all the same", one_ill, "a b c", "", 3, PREFER_PACK, "b c a", NULL },

        /* refused */
        { "nothing asked", two_sockets, "a b", "", 0, PREFER_PACK, NULL, "0 devices" },
        { "less than nothing", two_sockets, "a b", "", -1, PREFER_PACK, NULL, "-1 devices" },
        { "more than there are", two_sockets, "a b", "", 3, PREFER_PACK, NULL, "2 are available" },
        { "none available", two_sockets, "", "", 1, PREFER_PACK, NULL, "0 are available" },
        { "more to include than asked", two_sockets, "a b", "a b", 1, PREFER_PACK, NULL, "2 must be included" },
        { "to include, not available", two_sockets, "a b", "c", 1, PREFER_PACK, NULL, "c must be included but" },
        { "to include twice", two_sockets, "a b", "a a", 2, PREFER_PACK, NULL, "a must be included twice" },
        { "available twice", two_sockets, "a b a", "", 2, PREFER_PACK, NULL, "a is available twice" },
        { "an id of no device", two_sockets, "a z", "", 1, PREFER_PACK, NULL, "z is not in the pool" },
};

enum { LIST_MAX = 16 };

static size_t split(const char *text, char **list)
{
        size_t n = 0;

        while (*text) {
                size_t len = strcspn(text, " ");
                list[n++] = xstrndup(text, len);
                text += len;
                text += strspn(text, " ");
        }
        return n;
}

static void free_list(char **list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(list[i]);
}

static void check_row(const struct row *row)
{
        struct device devices[LIST_MAX] = { 0 };
        size_t indexes[LIST_MAX], n = 0;

        for (const struct place *p = row->places; p->id; p++, n++) {
                struct device *d = &devices[n];
                str_format(d->id, sizeof(d->id), "%s", p->id);
                str_format(d->root, sizeof(d->root), "%s", p->root);
                d->numa_node = p->numa;
                d->upstream = (struct bdf){ .bus = p->bridge };
                d->state = p->unhealthy ? DEVICE_UNHEALTHY : DEVICE_HEALTHY;
                indexes[n] = n;
        }
        struct pool pool = { .resource = "nvidia.com/X", .devices = indexes, .n_devices = n, .prefer = row->prefer };
        struct offer offer = { .refs = 1, .devices = devices, .n_devices = n, .pools = &pool, .n_pools = 1 };

        char *available[LIST_MAX], *must[LIST_MAX];
        struct preferred_request rq = { .available = available, .must_include = must, .size = row->size };
        rq.n_available = split(row->available, available);
        rq.n_must_include = split(row->must, must);

        const char *ret[LIST_MAX] = { NULL };
        struct err err = { 0 };
        int r = preferred_choose(&offer, &pool, &rq, ret, &err);
        if (!row->chosen) {
                if (r != -EINVAL || !strstr(err.msg, row->err))
                        fail_msg("%s: %d '%s'", row->title, r, err.msg);
        } else {
                _cleanup_strbuf_ struct strbuf text = { 0 };
                if (r < 0)
                        fail_msg("%s: %s", row->title, err.msg);
                for (int i = 0; i < row->size; i++)
                        strbuf_addf(&text, "%s%s", i ? " " : "", ret[i]);
                if (!streq(text.text, row->chosen))
                        fail_msg("%s: %s instead of %s", row->title, text.text, row->chosen);
        }
        free_list(available, rq.n_available);
        free_list(must, rq.n_must_include);
}

static void test_preferred_devices_belong_together(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                check_row(&rows[i]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_preferred_devices_belong_together) };

        return RUN(tests);
}

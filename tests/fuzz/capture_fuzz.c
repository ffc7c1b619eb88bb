/* SPDX-License-Identifier: Apache-2.0 */
/* Captures. What is accepted keeps the format's promises, and unpacking it touches nothing outside its directory: it comes
 * back, entry for entry, from what was made. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/sim/scratch.h"
#include "base/fs.h"
#include "sim/capture.h"

enum { UNPACK_MAX = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

static void check_entries(const struct capture *c)
{
        for (size_t i = 0; i < c->n; i++) {
                const struct capture_entry *e = &c->entries[i];
                check(str_has_prefix(e->path, "sys/") || str_has_prefix(e->path, "proc/") || str_has_prefix(e->path, "dev/"));
                check(!strstr(e->path, "//") && !strstr(e->path, "/../") && !strstr(e->path, "/./"));
                check(e->n_value <= CAPTURE_MAX_VALUE && e->line > 1);
                check(i == 0 || strcmp(c->entries[i - 1].path, e->path) < 0);
                check(capture_find(c, e->path) == e);
        }
}

static void unpack(const char *text, size_t size, const struct capture *c)
{
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_close_ int outer = open(root, O_RDONLY | O_DIRECTORY);
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf again = { 0 };
        _cleanup_free_ char *inside = xasprintf("%s/inside", root);
        _cleanup_fs_list_ struct fs_list beside = { 0 };
        struct err err;

        check(fs_mkdir(outer, "inside", 0755) == 0);
        _cleanup_close_ int dir = open(inside, O_RDONLY | O_DIRECTORY);
        int r = capture_unpack("fuzz", text, size, dir, &err);
        check(fs_list(outer, ".", &beside, &err) == 0 && beside.n == 1);
        if (r < 0)
                return;
        check(tree_open(&tree, inside, &err) == 0);
        if (capture_write_all(&tree, &again, &err) < 0)
                return; /* a node in sys/ or the like: fine to make, not what a host has */
        _cleanup_capture_ struct capture other = { 0 };
        check(capture_parse("again", again.text, again.len, &other, &err) == 0);
        for (size_t i = 0; i < c->n; i++) {
                const struct capture_entry *a = &c->entries[i], *b = capture_find(&other, a->path);
                if (a->kind == CAPTURE_DIR || strstr(a->path, " =") || str_has_prefix(a->path, "dev/") || a->kind == CAPTURE_NODE)
                        continue; /* implied by what is below, or a node by its place */
                check(b && b->kind == a->kind && b->n_value == a->n_value && memcmp(a->value, b->value, a->n_value) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_capture_ struct capture c = { 0 };
        struct err err = { 0 };

        int r = capture_parse("fuzz", (const char *)data, size, &c, &err);
        if (r < 0) {
                check(c.entries == NULL && str_has_prefix(err.msg, "fuzz"));
                return 0;
        }
        check_entries(&c);
        if (c.n <= UNPACK_MAX)
                unpack((const char *)data, size, &c);
        return 0;
}

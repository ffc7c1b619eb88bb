/* SPDX-License-Identifier: Apache-2.0 */
#include "host/modules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum { FILE_MAX = 32 << 20, VARIANTS_MAX = 1024, PATH_SIZE = 160 };

static const char PREFIX[] = "vfio_pci:";

/* As the file was when it was read last; all zeros = not there. */
struct stamp {
        dev_t dev;
        ino_t ino;
        off_t size;
        struct timespec mtime;
};

struct modules {
        struct stamp stamps[2];
        struct variant *list;
        size_t n, cap;
};

/* One record, @n bytes without its end, to alias and module: false when it is none of VFIO's. */
typedef bool record_fn(const char *record, size_t n, struct variant *ret);

static bool copy(char *dst, size_t size, const char *s, size_t n)
{
        if (n == 0 || n >= size)
                return false;
        memcpy(dst, s, n);
        dst[n] = '\0';
        return str_is_utf8(dst, n);
}

/* "alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci" */
static bool parse_alias(const char *record, size_t n, struct variant *ret)
{
        static const char word[] = "alias vfio_pci:";

        if (n < sizeof(word) || memcmp(record, word, sizeof(word) - 1) != 0)
                return false;
        const char *alias = record + strlen("alias "), *end = record + n;
        const char *blank = memchr(alias, ' ', (size_t)(end - alias));
        return blank && copy(ret->alias, sizeof(ret->alias), alias, (size_t)(blank - alias)) &&
               copy(ret->module, sizeof(ret->module), blank + 1, (size_t)(end - blank - 1));
}

/* "nvgrace_gpu_vfio_pci.alias=vfio_pci:v000010DEd00002342sv*sd*bc*sc*i*" */
static bool parse_builtin(const char *record, size_t n, struct variant *ret)
{
        static const char key[] = ".alias=";
        const char *dot = memchr(record, '.', n);

        if (!dot || (size_t)(record + n - dot) < strlen(key) + strlen(PREFIX) || memcmp(dot, key, strlen(key)) != 0)
                return false;
        const char *alias = dot + strlen(key);
        return memcmp(alias, PREFIX, strlen(PREFIX)) == 0 && copy(ret->alias, sizeof(ret->alias), alias, (size_t)(record + n - alias)) &&
               copy(ret->module, sizeof(ret->module), record, (size_t)(dot - record));
}

static const struct source {
        const char *file;
        char end; /* of a record */
        record_fn *parse;
} sources[] = {
        { "modules.alias", '\n', parse_alias },
        { "modules.builtin.modinfo", '\0', parse_builtin },
};
_Static_assert(N_ELEMENTS(sources) == N_ELEMENTS(((struct modules *)0)->stamps), "a stamp for each file");

struct modules *modules_new(void)
{
        return xcalloc(1, sizeof(struct modules));
}

struct modules *modules_free(struct modules *modules)
{
        if (modules)
                free(modules->list);
        free(modules);
        return NULL;
}

static void take_records(struct modules *modules, const struct source *source, const char *data, size_t n)
{
        for (const char *p = data, *end = data + n, *next; p < end && modules->n < VARIANTS_MAX; p = next) {
                const char *stop = memchr(p, source->end, (size_t)(end - p));
                struct variant variant;

                next = stop ? stop + 1 : end;
                if (!source->parse(p, (size_t)((stop ? stop : end) - p), &variant))
                        continue;
                GROW(modules->list, modules->n, modules->cap);
                modules->list[modules->n++] = variant;
        }
}

static int read_source(struct modules *modules, const struct tree *tree, const struct source *source, const char *path, off_t size,
                       struct err *err)
{
        size_t n;

        if (size < 0 || size > FILE_MAX)
                return err_say(err, EFBIG, "lib/modules/%s has %lld bytes, more than any module tree", path, (long long)size);
        _cleanup_free_ char *data = xcalloc((size_t)size + 2, 1);
        int r = fs_read(tree->lib, path, data, (size_t)size + 2, &n, err);
        if (r < 0)
                return fs_gone(r) ? 0 : err_prefix(err, "cannot read which VFIO drivers the kernel has");
        take_records(modules, source, data, n);
        return 0;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
        return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
               a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static int read_all(struct modules *modules, const struct tree *tree, const char *release, struct err *err)
{
        struct modules fresh = { .n = 0 };
        char path[N_ELEMENTS(sources)][PATH_SIZE];
        bool changed = false;
        int r = 0;

        for (size_t i = 0; i < N_ELEMENTS(sources); i++) {
                struct stat st;
                str_format(path[i], PATH_SIZE, "%s/%s", release, sources[i].file);
                r = fs_stat(tree->lib, path[i], &st);
                if (r < 0 && !fs_gone(r))
                        return err_set(err, -r, "cannot look at lib/modules/%s", path[i]);
                if (r == 0)
                        fresh.stamps[i] = (struct stamp){ st.st_dev, st.st_ino, st.st_size, st.st_mtim };
                changed = changed || !same_stamp(&fresh.stamps[i], &modules->stamps[i]);
        }
        if (!changed)
                return 0;
        r = 0;
        for (size_t i = 0; i < N_ELEMENTS(sources) && r == 0; i++)
                r = read_source(&fresh, tree, &sources[i], path[i], fresh.stamps[i].size, err);
        if (r < 0) {
                free(fresh.list);
                return r;
        }
        free(modules->list);
        *modules = fresh;
        return 0;
}

int modules_apply(struct modules *modules, const struct tree *tree, struct inventory *inv, struct err *err)
{
        char release[65]; /* as long as uname(2) has it */
        struct err unused;
        int r = 0;

        if (tree->lib >= 0 && fs_read_value(tree->proc, "sys/kernel/osrelease", release, sizeof(release), &unused) == 0 && *release &&
            !strchr(release, '/'))
                r = read_all(modules, tree, release, err);
        inventory_set_variants(inv, modules->list, modules->n);
        return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A small host as a directory: sys/ proc/ dev/ with just what a test says. Include after unit.h. */
#ifndef SLUICE_TESTS_HOST_FIXTURE_H
#define SLUICE_TESTS_HOST_FIXTURE_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tmp.h"
#include "base/tree.h"

struct fixture {
        char dir[64];
        struct tree tree;
};

static inline void fixture_path(const struct fixture *f, const char *path, char out[static PATH_MAX])
{
        assert_true(snprintf(out, PATH_MAX, "%s/%s", f->dir, path) < PATH_MAX);
}

static inline void fixture_parents(char *path)
{
        for (char *p = path + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
                *p = '\0';
                (void)mkdir(path, 0755);
        }
}

static inline void fixture_dir(const struct fixture *f, const char *path)
{
        char full[PATH_MAX];

        fixture_path(f, path, full);
        fixture_parents(full);
        (void)mkdir(full, 0755);
}

static inline void fixture_bytes(const struct fixture *f, const char *path, const void *data, size_t n)
{
        char full[PATH_MAX];

        fixture_path(f, path, full);
        fixture_parents(full);
        int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, n), n);
        assert_int_equal(close(fd), 0);
}

static inline void fixture_file(const struct fixture *f, const char *path, const char *text)
{
        fixture_bytes(f, path, text, strlen(text));
}

static inline void fixture_link(const struct fixture *f, const char *path, const char *target)
{
        char full[PATH_MAX];

        fixture_path(f, path, full);
        fixture_parents(full);
        (void)unlink(full);
        assert_int_equal(symlink(target, full), 0);
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static inline void fixture_remove(const struct fixture *f, const char *path)
{
        char full[PATH_MAX];

        fixture_path(f, path, full);
        assert_int_equal(nftw(full, fixture_remove_one, 32, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void fixture_make_in(struct fixture *f, const char *base)
{
        struct err err;

        (void)snprintf(f->dir, sizeof(f->dir), "%s/sluice-host-XXXXXX", base);
        assert_non_null(mkdtemp(f->dir));
        fixture_dir(f, "sys/bus/pci/devices");
        fixture_dir(f, "proc");
        fixture_dir(f, "dev");
        ASSERT_OK(tree_open(&f->tree, f->dir, &err), &err);
}

static inline void fixture_make(struct fixture *f)
{
        fixture_make_in(f, tmp_base());
}

static inline void fixture_done(struct fixture *f)
{
        tree_close(&f->tree);
        assert_int_equal(nftw(f->dir, fixture_remove_one, 32, FTW_DEPTH | FTW_PHYS), 0);
}

/* One PCI function; what is NULL or -1 is left out. */
struct fixture_function {
        const char *above; /* path between sys/devices/ and the function: "pci0000:3a/0000:3a:00.0" */
        const char *bdf, *vendor, *device, *class_code, *driver;
        int group; /* 0 = none */
};

static inline void fixture_function(const struct fixture *f, const struct fixture_function *fn)
{
        char base[512], path[1024], target[1024];
        const struct {
                const char *name, *value;
        } files[] = { { "vendor", fn->vendor },
                      { "device", fn->device },
                      { "class", fn->class_code },
                      { "subsystem_vendor", "0x10de\n" },
                      { "subsystem_device", "0x1851\n" },
                      { "revision", "0xa1\n" },
                      { "numa_node", "1\n" } };

        (void)snprintf(base, sizeof(base), "sys/devices/%s/%s", fn->above, fn->bdf);
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", base, files[i].name);
                fixture_file(f, path, files[i].value);
        }
        (void)snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", fn->bdf);
        (void)snprintf(target, sizeof(target), "../../../devices/%s/%s", fn->above, fn->bdf);
        fixture_link(f, path, target);
        if (fn->driver) {
                (void)snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s", fn->driver);
                fixture_dir(f, path);
                (void)snprintf(path, sizeof(path), "%s/driver", base);
                (void)snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", fn->driver);
                fixture_link(f, path, target);
        }
        if (fn->group > 0) {
                (void)snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%d/devices/%s", fn->group, fn->bdf);
                (void)snprintf(target, sizeof(target), "../../../../devices/%s/%s", fn->above, fn->bdf);
                fixture_link(f, path, target);
                (void)snprintf(path, sizeof(path), "%s/iommu_group", base);
                (void)snprintf(target, sizeof(target), "../../../kernel/iommu_groups/%d", fn->group);
                fixture_link(f, path, target);
        }
}

#endif

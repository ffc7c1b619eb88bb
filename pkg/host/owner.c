/* SPDX-License-Identifier: Apache-2.0 */
#include "host/owner.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/str.h"

enum { RULES_MAX = 512, RULE_FILE_MAX = 64 << 10, PATH_SIZE = 640 };

static bool by_driverctl(const char *root, const struct function *fn, char *out, size_t size)
{
        char path[PATH_SIZE], driver[DRIVER_LEN];
        struct err unused;

        str_format(path, sizeof(path), "%s/etc/driverctl.d/pci-" BDF_FMT, root, BDF_ARGS(fn->bdf));
        if (fs_read_value(AT_FDCWD, path, driver, sizeof(driver), &unused) < 0 || !streq(driver, fn->driver_override))
                return false;
        str_format(out, size, "driverctl (%s)", path + strlen(root));
        return true;
}

/* The line of a rule that sets this override: it may be for another device, which only udev could tell, unless it names one. */
static bool sets_override(const char *line, const struct function *fn)
{
        char address[BDF_TEXT_MAX];
        const char *set = strstr(line, "driver_override}");

        if (line[strspn(line, " \t")] == '#' || !set || !strstr(set, fn->driver_override))
                return false;
        const char *kernel = strstr(line, "KERNEL==\"");
        return !kernel || strncmp(kernel + strlen("KERNEL==\""), bdf_format(fn->bdf, address), strlen(address)) == 0;
}

static bool file_sets_override(const char *path, const struct function *fn)
{
        char text[RULE_FILE_MAX];
        const char *rest = text, *line;
        struct err unused;
        size_t n;

        if (fs_read(AT_FDCWD, path, text, sizeof(text), NULL, &unused) < 0)
                return false;
        while (str_line(&rest, &line, &n)) {
                char copy[1024];
                str_format(copy, sizeof(copy), "%.*s", (int)(n < sizeof(copy) ? n : sizeof(copy) - 1), line);
                if (sets_override(copy, fn))
                        return true;
        }
        return false;
}

static bool by_udev(const char *root, const struct function *fn, char *out, size_t size)
{
        static const char *const dirs[] = { "/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d" };
        char path[PATH_SIZE];
        struct err unused;

        for (size_t i = 0; i < N_ELEMENTS(dirs); i++) {
                _cleanup_fs_list_ struct fs_list names = { 0 };
                str_format(path, sizeof(path), "%s%s", root, dirs[i]);
                if (fs_list(AT_FDCWD, path, &names, &unused) < 0)
                        continue;
                for (size_t k = 0; k < names.n && k < RULES_MAX; k++) {
                        str_format(path, sizeof(path), "%s%s/%.200s", root, dirs[i], names.names[k]);
                        if (!str_has_suffix(names.names[k], ".rules") || !file_sets_override(path, fn))
                                continue;
                        str_format(out, size, "a udev rule (%s)", path + strlen(root));
                        return true;
                }
        }
        return false;
}

void owner_find(const char *root, const struct function *fn, char *out, size_t size)
{
        *out = '\0';
        if (!by_driverctl(root, fn, out, size))
                (void)by_udev(root, fn, out, size);
}

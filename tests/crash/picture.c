/* SPDX-License-Identifier: Apache-2.0 */
#include "picture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/str.h"

struct lines {
        char **list;
        size_t n, cap;
};

static void add_line(struct lines *lines, const char *path, const char *text)
{
        GROW(lines->list, lines->n, lines->cap);
        lines->list[lines->n++] = xasprintf("%s %s\n", path, text);
}

/* "vfio12" as a whole name becomes "vfioN". */
static void drop_number(char *name)
{
        size_t n = strlen("vfio");

        if (strncmp(name, "vfio", n) == 0 && name[n] >= '0' && name[n] <= '9' && name[n + strspn(name + n, "0123456789")] == '\0')
                str_format(name + n, 2, "N");
}

static void drop_last_number(char *path)
{
        char *slash = strrchr(path, '/');

        drop_number(slash ? slash + 1 : path);
}

static void add_entry(struct lines *lines, int top, const char *path, const char *shown);

static void add_dir(struct lines *lines, int top, const char *path, const char *shown)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct err err;

        if (fs_list(top, path, &list, &err) < 0)
                return;
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *below = xasprintf("%s/%s", path, list.names[i]);
                drop_number(list.names[i]);
                _cleanup_free_ char *shown_below = xasprintf("%s/%s", shown, list.names[i]);
                add_entry(lines, top, below, shown_below);
        }
}

static void add_entry(struct lines *lines, int top, const char *path, const char *shown)
{
        char text[4096] = "";
        struct stat st;
        struct err err;

        if (fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        if (S_ISDIR(st.st_mode)) {
                add_line(lines, shown, "/");
                add_dir(lines, top, path, shown);
        } else if (S_ISLNK(st.st_mode)) {
                if (fs_readlink(top, path, text, sizeof(text), &err) == 0)
                        drop_last_number(text);
                add_line(lines, shown, text);
        } else {
                if (st.st_size > 0)
                        (void)fs_read(top, path, text, sizeof(text), NULL, &err);
                for (char *end = text; (end = strchr(end, '\n'));)
                        *end = '|';
                add_line(lines, shown, text);
        }
}

static int compare(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

char *picture_of(const char *sim_dir)
{
        static const char *const tops[] = { "sys", "proc", "dev" };
        struct lines lines = { 0 };
        struct strbuf b = { 0 };

        _cleanup_close_ int dir = open(sim_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; i < N_ELEMENTS(tops); i++)
                add_entry(&lines, dir, tops[i], tops[i]);
        qsort(lines.list, lines.n, sizeof(*lines.list), compare);
        for (size_t i = 0; i < lines.n; i++) {
                strbuf_add(&b, lines.list[i]);
                free(lines.list[i]);
        }
        free(lines.list);
        return strbuf_take(&b);
}

/* Both are sorted. */
void picture_differ(const char *want, const char *is, char *out, unsigned size)
{
        size_t at = 0;

        out[0] = '\0';
        while ((*want || *is) && at < size - 1) {
                size_t n_want = strcspn(want, "\n"), n_is = strcspn(is, "\n");
                int order = !*want ? 1 : !*is ? -1 : strncmp(want, is, (n_want > n_is ? n_want : n_is) + 1);
                if (order != 0) {
                        str_format(out + at, size - at, " %s%.*s;", order < 0 ? "-" : "+", (int)(order < 0 ? n_want : n_is),
                                   order < 0 ? want : is);
                        at += strlen(out + at);
                }
                if (order <= 0)
                        want += n_want + (want[n_want] == '\n');
                if (order >= 0)
                        is += n_is + (is[n_is] == '\n');
        }
}

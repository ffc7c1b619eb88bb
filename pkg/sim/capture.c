/* SPDX-License-Identifier: Apache-2.0 */
/* Reading captures: parse and check in memory first, then create files. A path is only ever opened component by component
 * with O_NOFOLLOW and links are made last, so that no entry can be written through another one. */
#include "sim/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/capture_priv.h"

static const char MAGIC[] = "sluice-capture ";

/* A place in the text being parsed. Lines are cut and text blocks joined in place, which only ever shortens them. */
struct reader {
        const char *name;
        char *next, *end; /* *end is writable: the text's terminator */
        unsigned line;    /* of the line taken last */
};

static int bad(const struct reader *r, struct err *err, unsigned line, const char *what)
{
        return err_say(err, EINVAL, "%s:%u: %s", r->name, line, what);
}

/* The next line, terminated, or NULL at the end. */
static char *take_line(struct reader *r)
{
        if (r->next == r->end)
                return NULL;
        char *line = r->next;
        char *nl = memchr(line, '\n', (size_t)(r->end - line));
        if (nl)
                *nl = '\0';
        r->next = nl ? nl + 1 : r->end;
        r->line++;
        return line;
}

/* NUL would cut a line short unseen; other control bytes have no place in a readable file. */
static int check_bytes(struct reader *r, struct err *err)
{
        unsigned line = 1;

        for (const char *p = r->next; p < r->end; p++) {
                unsigned char c = (unsigned char)*p;
                if (c == '\n')
                        line++;
                else if ((c < ' ' && c != '\t') || c == 0x7f)
                        return err_say(err, EINVAL, "%s:%u: control byte 0x%02x", r->name, line, c);
        }
        return 0;
}

/* What is wrong with a relative path of plain components, or NULL. */
const char *capture_path_problem(const char *path)
{
        unsigned depth = 0;

        if (strlen(path) > CAPTURE_MAX_PATH)
                return "path is too long";
        if (*path == '/')
                return "path is absolute; it must begin with sys/, proc/, dev/ or lib/modules/";
        for (const char *p = path;; depth++) {
                size_t n = strcspn(p, "/");
                if (n == 0)
                        return "path has an empty component";
                if (n > 255)
                        return "path has a component of more than 255 bytes";
                if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return "path has a component \".\" or \"..\"";
                if (p[n] == '\0')
                        break;
                p += n + 1;
        }
        if (depth >= CAPTURE_MAX_DEPTH)
                return "path is too deep";
        if (!str_has_prefix(path, "sys/") && !str_has_prefix(path, "proc/") && !str_has_prefix(path, "dev/") &&
            !str_has_prefix(path, "lib/modules/"))
                return "path is not below sys/, proc/, dev/ or lib/modules/";
        return NULL;
}

/* "proc/<pid>/fd/<n>", whose targets are absolute on every machine. */
static bool is_descriptor(const char *path)
{
        const char *p = path;

        if (!str_has_prefix(p, "proc/"))
                return false;
        p += 5;
        size_t n = strspn(p, "0123456789");
        if (n == 0 || !str_has_prefix(p + n, "/fd/"))
                return false;
        p += n + 4;
        n = strspn(p, "0123456789");
        return n > 0 && p[n] == '\0';
}

/* A target may climb only at its beginning ("../../x", never "x/../.."): then where it leads is where it reads, even if
 * components of it are links themselves. It must end below sys/, proc/, dev/ or lib/modules/ of the same capture. */
const char *capture_target_problem(const char *path, const char *target)
{
        char where[2 * CAPTURE_MAX_PATH + 2];

        if (*target == '\0')
                return "link without target";
        if (strlen(target) > CAPTURE_MAX_PATH)
                return "link target is too long";
        if (*target == '/') {
                if (!is_descriptor(path) || !str_has_prefix(target, "/dev/"))
                        return "link target is absolute";
                return capture_path_problem(target + 1) ? "link target is no plain path" : NULL;
        }
        if (!str_copy(where, sizeof(where), path))
                return "path is too long";
        *strrchr(where, '/') = '\0'; /* capture_path_problem() saw a slash */
        while (str_has_prefix(target, "../")) {
                char *slash = strrchr(where, '/');
                if (*where == '\0')
                        return "link leads out of the capture";
                *(slash ? slash : where) = '\0';
                target += 3;
        }
        if (streq(target, "..") || *target == '\0')
                return "link ends in \"..\"";
        size_t n = strlen(where);
        str_format(where + n, sizeof(where) - n, "%s%s", n ? "/" : "", target);
        const char *problem = capture_path_problem(where);
        return problem ? "link does not lead to a plain path below sys/, proc/, dev/ or lib/modules/" : NULL;
}

/* The `| ` lines that follow a `text` line, joined in place. */
static int take_text(struct reader *r, struct capture_entry *e, struct err *err)
{
        char *out = r->next;

        e->value = r->next;
        while (r->next < r->end && *r->next == '|') {
                char *line = take_line(r) + 1;
                if (*line != ' ' && *line != '\0')
                        return bad(r, err, r->line, "a line of text begins with \"| \"");
                if (*line == ' ')
                        line++;
                size_t n = strlen(line);
                memmove(out, line, n);
                out += n;
                *out++ = '\n'; /* at most where the line's own newline was: "|" was taken away */
        }
        e->n_value = (size_t)(out - e->value);
        if (e->n_value > CAPTURE_MAX_VALUE)
                return bad(r, err, e->line, "text is too long");
        return 0;
}

static int take_entry(struct reader *r, char *line, struct capture_entry *e, struct err *err)
{
        static const struct {
                const char *word;
                enum capture_kind kind;
                const char *separator; /* between path and value */
        } kinds[] = {
                { "dir", CAPTURE_DIR, NULL },   { "link", CAPTURE_LINK, " -> " }, { "file", CAPTURE_FILE, " =" },
                { "text", CAPTURE_FILE, NULL }, { "node", CAPTURE_NODE, NULL },
        };

        size_t n = strcspn(line, " "), k = 0;
        while (k < N_ELEMENTS(kinds) && (strlen(kinds[k].word) != n || strncmp(line, kinds[k].word, n) != 0))
                k++;
        if (k == N_ELEMENTS(kinds))
                return bad(r, err, r->line, "a line begins with dir, link, file, text, node or #");
        char *path = line + n + strspn(line + n, " ");
        *e = (struct capture_entry){ .kind = kinds[k].kind, .line = r->line, .path = path, .value = "" };

        if (kinds[k].separator) {
                char *at = strstr(path, kinds[k].separator);
                if (!at)
                        return bad(r, err, e->line,
                                   e->kind == CAPTURE_LINK ? "a link is written \"link PATH -> TARGET\""
                                                           : "a file is written \"file PATH = VALUE\"");
                char *value = at + strlen(kinds[k].separator);
                *at = '\0';
                if (e->kind == CAPTURE_FILE && *value == ' ')
                        value++;
                else if (e->kind == CAPTURE_FILE && *value)
                        return bad(r, err, e->line, "a file is written \"file PATH = VALUE\"");
                e->value = value;
                e->n_value = strlen(value);
                if (e->n_value >= CAPTURE_MAX_VALUE)
                        return bad(r, err, e->line, "value is too long");
                if (e->kind == CAPTURE_FILE) /* the terminator becomes the newline: the length says where it ends */
                        value[e->n_value++] = '\n';
        }
        const char *problem = capture_path_problem(path);
        if (!problem && e->kind == CAPTURE_LINK)
                problem = capture_target_problem(path, e->value);
        if (problem)
                return bad(r, err, e->line, problem);
        if (streq(kinds[k].word, "text"))
                return take_text(r, e, err);
        return 0;
}

static int by_path(const void *a, const void *b)
{
        const struct capture_entry *x = a, *y = b;
        int c = strcmp(x->path, y->path);

        return c ? c : (x->line > y->line) - (x->line < y->line);
}

static int check_twice(const char *name, const struct capture *c, struct err *err)
{
        for (size_t i = 1; i < c->n; i++) {
                const struct capture_entry *a = &c->entries[i - 1], *b = &c->entries[i];
                if (streq(a->path, b->path))
                        return err_say(err, EINVAL, "%s:%u: %.200s was already given in line %u", name, b->line, b->path, a->line);
        }
        return 0;
}

int capture_parse(const char *name, const char *text, size_t n, struct capture *ret, struct err *err)
{
        _cleanup_capture_ struct capture c = { 0 };
        unsigned char *copy;
        size_t cap = 0;

        if (n > CAPTURE_MAX_BYTES)
                return err_say(err, EFBIG, "%s: a capture has at most %d bytes", name, CAPTURE_MAX_BYTES);
        copy = xcalloc(n + 2, 1);
        if (n)
                memcpy(copy, text, n);
        c.text = (char *)copy;
        struct reader r = { .name = name, .next = c.text, .end = c.text + n };
        int e = check_bytes(&r, err);
        if (e < 0)
                return e;

        char *line = take_line(&r);
        if (!line || !str_has_prefix(line, MAGIC))
                return bad(&r, err, 1, "not a capture: the first line must be \"sluice-capture 1\"");
        if (!streq(line + strlen(MAGIC), "1"))
                return bad(&r, err, 1, "this version of the capture format is not known; version 1 is");
        while ((line = take_line(&r))) {
                if (*line == '\0' || *line == '#')
                        continue;
                if (*line == '|')
                        return bad(&r, err, r.line, "a line of text without a \"text PATH\" line before it");
                if (c.n == CAPTURE_MAX_ENTRIES)
                        return bad(&r, err, r.line, "too many entries");
                GROW(c.entries, c.n, cap);
                e = take_entry(&r, line, &c.entries[c.n], err);
                if (e < 0)
                        return e;
                c.n++;
        }
        if (c.n > 1)
                qsort(c.entries, c.n, sizeof(*c.entries), by_path);
        e = check_twice(name, &c, err);
        if (e < 0)
                return e;
        *ret = c;
        c = (struct capture){ 0 };
        return 0;
}

void capture_done(struct capture *c)
{
        free(c->entries);
        free(c->text);
        *c = (struct capture){ 0 };
}

const struct capture_entry *capture_find(const struct capture *c, const char *path)
{
        struct capture_entry key = { .path = path };
        size_t low = 0, high = c->n;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(c->entries[mid].path, key.path);
                if (order == 0)
                        return &c->entries[mid];
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

/* Where entries are being created: neighbours in sorted order share their directory. */
struct creator {
        const char *name;
        int root, parent;
        char parent_path[CAPTURE_MAX_PATH + 1];
        bool keep;
};

/* Opens the directory @path (with "" for the root) component by component, making what is missing, never through a link. */
static int make_directory(int root, const char *path)
{
        _cleanup_close_ int at = fs_open(root, ".", O_RDONLY | O_DIRECTORY, 0);
        char name[256];

        if (at < 0)
                return at;
        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");
                memcpy(name, p, n); /* at most 255: capture_path_problem() */
                name[n] = '\0';
                int fd = fs_open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
                if (fd == -ENOENT) {
                        int r = fs_mkdir(at, name, 0755);
                        if (r < 0)
                                return r;
                        fd = fs_open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
                }
                if (fd < 0)
                        return fd;
                (void)close(at);
                at = fd;
                p += n + (p[n] == '/');
        }
        return TAKE_FD(at);
}

static int enter(struct creator *c, const struct capture_entry *e, struct err *err)
{
        char path[CAPTURE_MAX_PATH + 1];

        (void)str_copy(path, sizeof(path), e->path);
        if (e->kind != CAPTURE_DIR)
                *strrchr(path, '/') = '\0';
        if (c->parent >= 0 && streq(path, c->parent_path))
                return 0;
        int fd = make_directory(c->root, path);
        if (fd == -ENOTDIR || fd == -ELOOP)
                return err_say(err, EINVAL, "%s:%u: %.300s is below something that is not a directory", c->name, e->line, e->path);
        if (fd < 0)
                return err_set(err, -fd, "%s:%u: cannot make the directory of %.300s", c->name, e->line, e->path);
        cleanup_close(&c->parent);
        c->parent = fd;
        (void)str_copy(c->parent_path, sizeof(c->parent_path), path);
        return 0;
}

static int write_content(int dir, const char *name, const char *data, size_t n)
{
        _cleanup_close_ int fd = fs_open(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);

        return fd < 0 ? fd : fs_write_all(fd, data, n);
}

static int create_entry(struct creator *c, const struct capture_entry *e, struct err *err)
{
        int r = enter(c, e, err);
        if (r < 0)
                return r;
        const char *name = strrchr(e->path, '/') + 1;
        if (e->kind == CAPTURE_LINK)
                r = fs_symlink(e->value, c->parent, name);
        else if (e->kind != CAPTURE_DIR)
                r = write_content(c->parent, name, e->value, e->kind == CAPTURE_FILE ? e->n_value : 0);
        if (r == -EEXIST && c->keep)
                r = 0;
        if (r == -EEXIST)
                return err_say(err, EINVAL, "%s:%u: %.300s is there already, as a directory of another line or by itself", c->name, e->line,
                               e->path);
        return r < 0 ? err_set(err, -r, "%s:%u: cannot create %.300s", c->name, e->line, e->path) : 0;
}

int capture_create(const char *name, const struct capture *capture, int dir, bool keep, capture_wanted_fn *wanted, void *ctx,
                   struct err *err)
{
        struct creator c = { .name = name, .root = dir, .parent = -1, .keep = keep };
        int r = 0;

        for (int links = 0; links <= 1 && r == 0; links++) /* links last: nothing is written through one */
                for (size_t i = 0; i < capture->n && r == 0; i++) {
                        const struct capture_entry *e = &capture->entries[i];
                        if ((e->kind == CAPTURE_LINK) == links && (!wanted || wanted(ctx, e)))
                                r = create_entry(&c, e, err);
                }
        cleanup_close(&c.parent);
        return r;
}

int capture_unpack(const char *name, const char *text, size_t n, int dir, struct err *err)
{
        static const char *const tops[] = { "sys", "proc", "dev", "lib" };
        _cleanup_capture_ struct capture capture = { 0 };

        int r = capture_parse(name, text, n, &capture, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < N_ELEMENTS(tops); i++) {
                r = fs_exists(dir, tops[i]);
                if (r > 0)
                        return err_say(err, ENOTEMPTY, "cannot unpack %s: the directory has %s/ already", name, tops[i]);
                if (r == 0 && !streq(tops[i], "lib"))
                        r = fs_mkdir(dir, tops[i], 0755);
                if (r < 0)
                        return err_set(err, -r, "cannot unpack %s: %s", name, tops[i]);
        }
        return capture_create(name, &capture, dir, false, NULL, NULL, err);
}

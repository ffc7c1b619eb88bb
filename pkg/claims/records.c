/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

enum {
        HEADER_MAX = 96,
        READ_TRIES = 3,
        FILE_MAX = HEADER_MAX + RECORD_TEXT_MAX,
        NAME_SIZE = 3 * RECORD_KEY_MAX + 16, /* every byte escaped, and a suffix */
        ASIDE_NAME_MAX = 244,                /* of a name that is none of ours; with ".bad" and a number it fits a directory */
};
static const char SUFFIX[] = ".record", TEMP[] = ".tmp", BAD[] = ".bad";

struct records {
        char *kind;
        unsigned version;
        int dir;
};

/* ---- names ---- */

/* The case of letters is kept, and everything but [A-Za-z0-9_-] and inner '.' and ':' becomes %XX: one name per key. */
static bool name_of(const char *key, char name[static NAME_SIZE])
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:";
        size_t len = strlen(key), at = 0;

        if (len == 0 || len >= RECORD_KEY_MAX)
                return false;
        for (size_t i = 0; i < len; i++) {
                if (strchr(plain, key[i]) && (i > 0 || key[i] != '.'))
                        name[at++] = key[i];
                else
                        at += (size_t)snprintf(name + at, NAME_SIZE - at, "%%%02X", (unsigned char)key[i]);
        }
        str_format(name + at, NAME_SIZE - at, "%s", SUFFIX);
        return true;
}

/* False when no key has this name. */
static bool key_of(const char *name, char key[static RECORD_KEY_MAX])
{
        char again[NAME_SIZE];
        size_t len = strlen(name) - strlen(SUFFIX), n = 0;

        for (size_t i = 0; i < len && n < RECORD_KEY_MAX - 1; n++) {
                uint64_t byte = (unsigned char)name[i];
                if (name[i] == '%') {
                        char hex[3] = { 0 };
                        memcpy(hex, name + i + 1, len - i > 2 ? 2 : 0);
                        if (!str_to_u64(hex, 16, 255, &byte) || byte == 0)
                                return false;
                        i += 2;
                }
                key[n] = (char)byte;
                i++;
        }
        key[n] = '\0';
        return name_of(key, again) && streq(again, name);
}

/* ---- one file ---- */

static unsigned long crc(const char *text, size_t len)
{
        return crc32(crc32(0, NULL, 0), (const Bytef *)text, (uInt)len);
}

static void header_of(const struct records *records, const char *text, size_t len, char out[static HEADER_MAX])
{
        str_format(out, HEADER_MAX, "sluice %s %u %08lx %zu\n", records->kind, records->version, crc(text, len), len);
}

/* Of a program whose texts have another version, and whole. */
static bool is_newer(const struct records *records, const char *file, unsigned version, const char *text, size_t len)
{
        const struct records other = { .kind = records->kind, .version = version };
        char want[HEADER_MAX];

        if (version <= records->version)
                return false;
        header_of(&other, text, len, want);
        return strncmp(file, want, strlen(want) - 1) == 0; /* its line's end is cut off by now */
}

/* Splits @file into header and text, and compares the header with the one that the text would be given. */
static int check(const struct records *records, char *file, size_t n, const char **ret_text, struct err *err)
{
        char want[HEADER_MAX], kind[32];
        unsigned version;

        char *end = memchr(file, '\n', n < HEADER_MAX ? n : HEADER_MAX);
        if (!end)
                return err_say(err, EBADMSG, "it does not begin with a line of Sluice's");
        const char *text = end + 1;
        size_t len = n - (size_t)(text - file);
        header_of(records, text, len, want);
        if (memcmp(file, want, strlen(want)) == 0 && (size_t)(text - file) == strlen(want) && strlen(text) == len) {
                *ret_text = text;
                return 0;
        }
        *end = '\0';
        if (sscanf(file, "sluice %31s %u ", kind, &version) == 2 && streq(kind, records->kind) && version != records->version)
                return err_say(err, is_newer(records, file, version, text, len) ? EPROTO : EBADMSG,
                               "it is of version %u, this program reads version %u", version, records->version);
        return err_say(err, EBADMSG, "it is torn or was changed: kind, length or checksum do not fit its text");
}

/* What was set aside does not count. */
static int check_room(const struct records *records, struct err *err)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        size_t n = 0;

        int r = fs_list(records->dir, ".", &list, err);
        for (size_t i = 0; r == 0 && i < list.n; i++)
                n += str_has_suffix(list.names[i], SUFFIX);
        return r < 0 ? r : n < RECORDS_MAX ? 0 : err_say(err, ENOSPC, "there are %zu already", n);
}

int records_put(struct records *records, const char *key, const char *text, struct err *err)
{
        char name[NAME_SIZE], header[HEADER_MAX];
        size_t len = strlen(text);

        if (!name_of(key, name))
                return err_say(err, EINVAL, "a %s record's key has 1 to %d bytes, not %zu", records->kind, RECORD_KEY_MAX - 1, strlen(key));
        if (len > RECORD_TEXT_MAX)
                return err_say(err, EFBIG, "the %s record of %s has %zu bytes, more than %d", records->kind, key, len, RECORD_TEXT_MAX);
        int r = fs_exists(records->dir, name) == 0 ? check_room(records, err) : 0;
        if (r < 0)
                return err_prefix(err, "%s record", records->kind);
        header_of(records, text, len, header);
        _cleanup_free_ char *file = xasprintf("%s%s", header, text);
        r = fs_replace(records->dir, name, file, strlen(file), 0600, err);
        return r < 0 ? err_prefix(err, "%s record", records->kind) : 0;
}

int records_remove(struct records *records, const char *key, struct err *err)
{
        char name[NAME_SIZE];

        if (!name_of(key, name))
                return 0;
        int r = fs_remove(records->dir, name, err);
        return r < 0 ? err_prefix(err, "%s record", records->kind) : 0;
}

/* ---- all of them ---- */

static int read_one(struct records *records, const char *name, char *file, record_fn *each, void *ctx, struct err *err)
{
        char key[RECORD_KEY_MAX];
        const char *text = NULL;
        size_t n = 0;

        if (!key_of(name, key))
                return err_say(err, EBADMSG, "no record has such a name");
        int r = -EIO;
        for (unsigned i = 0; r < 0 && i < READ_TRIES; i++) /* what is set aside is not believed again: not for one read that failed */
                r = fs_read(records->dir, name, file, FILE_MAX + 1, &n, err);
        if (r == 0)
                r = check(records, file, n, &text, err);
        return r < 0 ? r : each(ctx, key, text, err);
}

/* Those of one reading that were set aside: the first few are told one by one. */
struct asides {
        record_aside_fn *told;
        void *ctx;
        size_t n, n_left; /* @n_left: those that stayed where they are */
        int error;        /* why the last of these did, as an errno */
};

/* Renames @name to *@ret. What is set aside again replaces the former; a directory and a file do not replace each other. */
static int rename_aside(const struct records *records, const char *name, char **ret)
{
        enum { TRIES = 9 };
        int r = -EEXIST;

        for (int i = 1; i <= TRIES && (r == -EEXIST || r == -ENOTEMPTY || r == -ENOTDIR || r == -EISDIR); i++) {
                char number[8] = "";
                if (i > 1)
                        str_format(number, sizeof(number), "%d", i);
                _cleanup_free_ char *bad = xasprintf("%.*s%s%s", ASIDE_NAME_MAX, name, BAD, number);
                r = fs_rename(records->dir, name, bad);
                if (r == 0)
                        *ret = TAKE_PTR(bad);
        }
        return r;
}

static void set_aside(struct asides *asides, const struct records *records, const char *name, const struct err *why)
{
        _cleanup_free_ char *bad = NULL;
        struct err said = *why;

        int r = rename_aside(records, name, &bad);
        if (r < 0) {
                asides->error = -r;
                asides->n_left += asides->n >= RECORDS_TOLD;
                (void)err_prefix(&said, "it could not even be renamed (%s)", strerror(-r));
        }
        if (asides->n++ >= RECORDS_TOLD)
                return;
        _cleanup_free_ char *file = xasprintf("%s/%s", records->kind, r < 0 ? name : bad);
        asides->told(asides->ctx, file, &said);
}

static void tell_the_rest(const struct asides *asides, const struct records *records)
{
        _cleanup_free_ char *file = xasprintf("%s/*%s", records->kind, BAD);
        char left[96] = "";
        struct err said;

        if (asides->n <= RECORDS_TOLD)
                return;
        if (asides->n_left > 0)
                str_format(left, sizeof(left), "; %zu of them could not even be renamed (%s)", asides->n_left, strerror(asides->error));
        (void)err_say(&said, EBADMSG, "%zu more files are none that Sluice wrote as they are%s", asides->n - RECORDS_TOLD, left);
        asides->told(asides->ctx, file, &said);
}

/* Set aside it would be lost to the newer one, too, and what it says nobody would know: the device of a claim would be given again. */
static int say_newer(const struct records *records, const char *name, const struct err *why, struct err *err)
{
        return err_say(err, EPROTO,
                       "a newer Sluice wrote %s/%s (%s): nothing is offered, so that nothing is given twice. Install that one again; to go "
                       "back to this one, first give back with it (operating.md)",
                       records->kind, name, why->msg);
}

int records_read(struct records *records, record_fn *each, record_aside_fn *aside, void *ctx, struct err *err)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct asides asides = { .told = aside, .ctx = ctx };

        int r = fs_list(records->dir, ".", &list, err);
        if (r < 0)
                return err_prefix(err, "%s records", records->kind);
        _cleanup_free_ char *file = xcalloc(FILE_MAX + 1, 1);
        for (size_t i = 0; i < list.n; i++) {
                struct err why;
                if (!str_has_suffix(list.names[i], SUFFIX))
                        continue;
                r = read_one(records, list.names[i], file, each, ctx, &why);
                if (r == -EPROTO)
                        return say_newer(records, list.names[i], &why, err);
                if (r < 0)
                        set_aside(&asides, records, list.names[i], &why);
        }
        tell_the_rest(&asides, records);
        return 0;
}

/* A file that is none of ours, but for one that a replacement was about to become. */
static void peek_at_other(const struct records *records, const char *name, record_aside_fn *aside, void *ctx)
{
        _cleanup_free_ char *file = xasprintf("%s/%s", records->kind, name);
        struct err why;

        (void)err_say(&why, EBADMSG, "%s",
                      str_has_suffix(name, TEMP) ? "what an interrupted write left"
                      : strstr(name, BAD)        ? "a daemon has set it aside: it is no record that Sluice wrote as it is"
                                                 : "no file of Sluice's has such a name");
        aside(ctx, file, &why);
}

int records_peek(int state_dir, const char *kind, unsigned version, record_fn *each, record_aside_fn *aside, void *ctx, struct err *err)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };
        struct records records = { .kind = (char *)(uintptr_t)kind, .version = version };

        _cleanup_close_ int dir = fs_open(state_dir, kind, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (dir < 0)
                return dir == -ENOENT ? 0 : err_set(err, -dir, "cannot open %s", kind);
        records.dir = dir;
        int r = fs_list(dir, ".", &list, err);
        if (r < 0)
                return err_prefix(err, "%s records", kind);
        _cleanup_free_ char *text = xcalloc(FILE_MAX + 1, 1);
        for (size_t i = 0; i < list.n; i++) {
                _cleanup_free_ char *file = xasprintf("%s/%s", kind, list.names[i]);
                struct err why;
                if (!str_has_suffix(list.names[i], SUFFIX))
                        peek_at_other(&records, list.names[i], aside, ctx);
                else if (read_one(&records, list.names[i], text, each, ctx, &why) < 0)
                        aside(ctx, file, &why);
        }
        return 0;
}

/* ---- life ---- */

static int remove_temporaries(struct records *records, struct err *err)
{
        _cleanup_fs_list_ struct fs_list list = { 0 };

        int r = fs_list(records->dir, ".", &list, err);
        for (size_t i = 0; i < list.n; i++)
                if (str_has_suffix(list.names[i], TEMP))
                        (void)fs_unlink(records->dir, list.names[i], 0);
        return r;
}

int records_open(int state_dir, const char *kind, unsigned version, struct records **ret, struct err *err)
{
        struct records *records = xcalloc(1, sizeof(*records));

        *records = (struct records){ .kind = xstrdup(kind), .version = version, .dir = -1 };
        int r = fs_mkdir(state_dir, kind, 0700);
        if (r == 0)
                r = records->dir = fs_open(state_dir, kind, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        r = r < 0 ? err_set(err, -r, "%s in the state directory", kind) : remove_temporaries(records, err);
        if (r < 0) {
                records_close(records);
                return r;
        }
        *ret = records;
        return 0;
}

struct records *records_close(struct records *records)
{
        if (!records)
                return NULL;
        cleanup_close(&records->dir);
        free(records->kind);
        free(records);
        return NULL;
}

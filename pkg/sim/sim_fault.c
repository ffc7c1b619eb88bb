/* SPDX-License-Identifier: Apache-2.0 */
/* Faults: a small script on disk that says which writes misbehave. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "sim/sim_priv.h"

enum { FAULTS_MAX_BYTES = 64 << 10, DELAY_MAX_MS = 3600 * 1000, WORDS_MAX = 8 };

static const struct {
        const char *name;
        int number;
} errnos[] = {
        { "EPERM", EPERM },   { "ENOENT", ENOENT }, { "EIO", EIO },       { "ENXIO", ENXIO },   { "EAGAIN", EAGAIN },
        { "ENOMEM", ENOMEM }, { "EACCES", EACCES }, { "EBUSY", EBUSY },   { "EEXIST", EEXIST }, { "ENODEV", ENODEV },
        { "EINVAL", EINVAL }, { "ENOSPC", ENOSPC }, { "ERANGE", ERANGE }, { "ENOTTY", ENOTTY }, { "ETIMEDOUT", ETIMEDOUT },
};

/* Cuts @line at blanks, in place. */
static size_t split(char *line, char *words[WORDS_MAX])
{
        size_t n = 0;

        while (n < WORDS_MAX) {
                line += strspn(line, " \t");
                if (*line == '\0')
                        break;
                words[n++] = line;
                line += strcspn(line, " \t");
                if (*line)
                        *line++ = '\0';
        }
        return n;
}

static int parse_verb(char **words, size_t n, size_t *ret_used, struct sim_fault *f, struct err *err)
{
        uint64_t number;

        *ret_used = 1;
        if (streq(words[0], "ignore"))
                f->verb = FAULT_IGNORE;
        else if (streq(words[0], "hang"))
                f->verb = FAULT_HANG;
        else if (streq(words[0], "vanish"))
                f->verb = FAULT_VANISH;
        else if (streq(words[0], "dead"))
                f->verb = FAULT_DEAD;
        else if (streq(words[0], "forget"))
                f->verb = FAULT_FORGET;
        else if (streq(words[0], "delay") && n > 1 && str_to_u64(words[1], 10, DELAY_MAX_MS, &number)) {
                f->verb = FAULT_DELAY;
                f->delay_ms = (unsigned)number;
                *ret_used = 2;
        } else if (streq(words[0], "refuse") && n > 1) {
                *ret_used = 2;
                for (size_t i = 0; i < N_ELEMENTS(errnos) && f->verb == FAULT_NONE; i++)
                        if (streq(words[1], errnos[i].name)) {
                                f->verb = FAULT_REFUSE;
                                f->error = errnos[i].number;
                        }
                if (f->verb == FAULT_NONE)
                        return err_say(err, EINVAL, "fault: %.40s is no error name that faults know", words[1]);
        }
        if (f->verb == FAULT_NONE)
                return err_say(err, EINVAL,
                               "fault: after attribute and device comes refuse ERRNO, ignore, delay MS, hang, vanish, dead or forget");
        return 0;
}

int sim_fault_parse(const char *line, struct sim_fault *ret, struct err *err)
{
        struct sim_fault f = { 0 };
        char copy[512], *words[WORDS_MAX];
        uint64_t times;
        size_t used;

        if (!str_copy(copy, sizeof(copy), line) || strchr(line, '\n'))
                return err_say(err, EINVAL, "fault: a fault is one line of at most %zu bytes", sizeof(copy) - 1);
        size_t n = split(copy, words);
        if (n < 3 || !str_copy(f.attribute, sizeof(f.attribute), words[0]) || !str_copy(f.key, sizeof(f.key), words[1]))
                return err_say(err, EINVAL, "fault: a fault is ATTRIBUTE DEVICE VERB: \"unbind 0000:3b:00.0 hang\"");
        int r = parse_verb(words + 2, n - 2, &used, &f, err);
        if (r < 0)
                return r;
        if (n > 2 + used) {
                if (n != used + 4 || !streq(words[2 + used], "times") || !str_to_u64(words[3 + used], 10, 1000000, &times) || times == 0)
                        return err_say(err, EINVAL, "fault: only \"times N\" may follow");
                if (f.verb == FAULT_HANG)
                        return err_say(err, EINVAL, "fault: a hang ends when its line is removed, not after a number of times");
                f.times = (unsigned)times;
        }
        *ret = f;
        return 0;
}

static bool fits(const struct sim_fault *f, const char *attribute, const char *key)
{
        return streq(f->attribute, attribute) && (streq(f->key, "*") || streq(f->key, key));
}

/* The script @text with its line at @line, of @n bytes, replaced by @with ("" = dropped). */
static int rewrite(const struct sim *sim, const char *text, const char *line, size_t n, const char *with)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };

        strbuf_add_n(&b, text, (size_t)(line - text));
        strbuf_add(&b, with);
        strbuf_add(&b, line + n + (line[n] == '\n'));
        return sim_store(sim, ".sim/faults", b.text, b.len);
}

static int count_down(const struct sim *sim, const char *text, const char *line, size_t n, const struct sim_fault *f)
{
        char with[600];

        if (f->times == 0)
                return 0;
        if (f->times == 1)
                return rewrite(sim, text, line, n, "");
        size_t keep = n; /* the number is the last word: the parser saw it */
        while (line[keep - 1] == ' ' || line[keep - 1] == '\t')
                keep--;
        while (line[keep - 1] >= '0' && line[keep - 1] <= '9')
                keep--;
        str_format(with, sizeof(with), "%.*s%u\n", (int)keep, line, f->times - 1);
        return rewrite(sim, text, line, n, with);
}

/* Lines that are no faults (a person edited the file) are passed over. */
static int find(const struct sim *sim, const char *attribute, const char *key, bool take, struct sim_fault *ret)
{
        _cleanup_free_ char *text = NULL;
        struct err ignored;
        struct stat st;

        *ret = (struct sim_fault){ 0 };
        if (fs_stat(sim->root, ".sim/faults", &st) < 0 || st.st_size == 0)
                return 0;
        text = xcalloc(FAULTS_MAX_BYTES, 1);
        int r = fs_read(sim->root, ".sim/faults", text, FAULTS_MAX_BYTES, NULL, &ignored);
        if (r < 0)
                return r;
        const char *at = text, *line;
        for (size_t n; str_line(&at, &line, &n);) {
                struct sim_fault f;
                char copy[512];
                if (n < sizeof(copy)) {
                        memcpy(copy, line, n);
                        copy[n] = '\0';
                        if (sim_fault_parse(copy, &f, &ignored) == 0 && fits(&f, attribute, key)) {
                                *ret = f;
                                return take ? count_down(sim, text, line, n, &f) : 0;
                        }
                }
        }
        return 0;
}

int sim_fault_take(const struct sim *sim, const char *attribute, const char *key, struct sim_fault *ret)
{
        return find(sim, attribute, key, true, ret);
}

bool sim_fault_hangs(const struct sim *sim, const char *attribute, const char *key)
{
        struct sim_fault f;

        return find(sim, attribute, key, false, &f) == 0 && f.verb == FAULT_HANG;
}

int sim_fault(struct sim *sim, const char *line, struct err *err)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };
        _cleanup_free_ char *text = xcalloc(FAULTS_MAX_BYTES, 1);
        struct sim_fault f;
        int r;

        if (*line) {
                r = sim_fault_parse(line, &f, err);
                if (r < 0)
                        return r;
        }
        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        if (*line) {
                struct err absent;
                if (fs_read(sim->root, ".sim/faults", text, FAULTS_MAX_BYTES, NULL, &absent) == 0)
                        strbuf_add(&b, text);
                strbuf_addf(&b, "%s\n", line);
                if (b.len >= FAULTS_MAX_BYTES)
                        return err_say(err, EFBIG, "the fault script is full");
        }
        r = sim_store(sim, ".sim/faults", b.text ? b.text : "", b.len);
        return r < 0 ? err_set(err, -r, "cannot write the faults of %s", sim->path) : 0;
}

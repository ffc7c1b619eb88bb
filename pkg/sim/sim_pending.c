/* SPDX-License-Identifier: Apache-2.0 */
/* Writes at work. A write is on disk (.sim/pending/<time>-<pid>) before it changes anything and until it is done, so that
 * one whose writer is killed is completed by whoever looks next, as the kernel would complete it. The writer holds an flock on
 * its record while it lives: a record that can be locked is an orphan. What the write comes to is decided once and appended
 * to the record before it is done: half-done work must not be decided anew. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "sim/sim_priv.h"

enum { RECORD_MAX = 8192 };

static void record_path(const char *name, char out[SIM_PATH])
{
        str_format(out, SIM_PATH, ".sim/pending/%s", name);
}

static int append(int fd, const char *text)
{
        int r = fs_seam();

        if (r < 0)
                return r;
        ssize_t n = write(fd, text, strlen(text));
        return n < 0 ? -errno : (size_t)n == strlen(text) ? 0 : -ENOSPC;
}

static void add_action(struct strbuf *b, const char *word, const struct sim_action *a)
{
        strbuf_addf(b, "%s %s %s %s\n", word, sim_act_name(a->act), a->key, a->text);
}

int sim_pending_create(const struct sim *sim, struct sim_pending *p)
{
        static const char temp[] = ".sim/record";
        _cleanup_strbuf_ struct strbuf b = { 0 };
        struct timespec now;
        char path[SIM_PATH];

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        str_format(p->name, sizeof(p->name), "%010lld%09ld-%d", (long long)now.tv_sec, now.tv_nsec, (int)getpid());
        strbuf_addf(&b, "row %s\nkey %s\npath %s\nvalue %s\ndue %lld\nhang %d\n", p->row->name, p->key, p->request.path, p->request.value,
                    (long long)p->due_ms, p->hang);
        if (p->decided)
                add_action(&b, "decided", &p->action);

        /* Locked before it has its name: no one sees a record of a living writer unlocked. */
        _cleanup_close_ int fd = fs_open(sim->root, temp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
        if (fd < 0)
                return fd;
        if (flock(fd, LOCK_EX) < 0)
                return -errno;
        int r = append(fd, b.text);
        record_path(p->name, path);
        if (r == 0)
                r = fs_rename(sim->root, temp, path);
        if (r == 0)
                p->fd = TAKE_FD(fd);
        return r;
}

void sim_pending_done(struct sim_pending *p)
{
        cleanup_close(&p->fd);
        p->fd = -1;
}

/* "word rest" */
static bool take_word(const char *line, const char *word, const char **ret_rest)
{
        size_t n = strlen(word);

        if (strncmp(line, word, n) != 0 || line[n] != ' ')
                return false;
        *ret_rest = line + n + 1;
        return true;
}

/* "<act> <key> <text>" of a begun or decided record. */
static bool parse_action(const char *rest, struct sim_action *ret)
{
        char name[32];
        size_t n = strcspn(rest, " ");

        str_format(name, sizeof(name), "%.*s", (int)n, rest);
        if (rest[n] != ' ' || !sim_act_parse(name, &ret->act))
                return false;
        rest += n + 1;
        n = strcspn(rest, " ");
        str_format(ret->key, sizeof(ret->key), "%.*s", (int)n, rest);
        if (rest[n] != ' ')
                return false;
        str_format(ret->text, sizeof(ret->text), "%s", rest + n + 1);
        return true;
}

static int load(const struct sim *sim, const char *name, struct sim_pending *p)
{
        char path[SIM_PATH], text[RECORD_MAX];
        const char *rest;
        struct err ignored;

        *p = (struct sim_pending){ .fd = -1 };
        str_format(p->name, sizeof(p->name), "%s", name);
        record_path(name, path);
        int r = fs_read(sim->root, path, text, sizeof(text), NULL, &ignored);
        if (r < 0)
                return r;
        for (char *line = text, *next; *line; line = next) {
                next = line + strcspn(line, "\n");
                if (*next == '\0')
                        break; /* cut in the middle of a line: not said */
                *next++ = '\0';
                if (take_word(line, "row", &rest))
                        p->row = sim_row_named(rest);
                else if (take_word(line, "key", &rest))
                        str_format(p->key, sizeof(p->key), "%s", rest);
                else if (take_word(line, "path", &rest))
                        str_format(p->request.path, sizeof(p->request.path), "%s", rest);
                else if (take_word(line, "value", &rest))
                        str_format(p->request.value, sizeof(p->request.value), "%s", rest);
                else if (take_word(line, "due", &rest))
                        p->due_ms = strtoll(rest, NULL, 10);
                else if (take_word(line, "hang", &rest))
                        p->hang = *rest == '1';
                else if (take_word(line, "begun", &rest))
                        p->begun = parse_action(rest, &p->action);
                else if (take_word(line, "decided", &rest))
                        p->decided = parse_action(rest, &p->action);
        }
        return p->row ? 0 : -EINVAL;
}

bool sim_pending_locked(const struct sim *sim, const char *key, const char *before)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };

        if (*key == '\0')
                return false;
        sim_names(sim, ".sim/pending", &names);
        for (size_t i = 0; i < names.n; i++) {
                struct sim_pending other;
                if (*before && strcmp(names.names[i], before) >= 0)
                        break;
                if (load(sim, names.names[i], &other) == 0 && streq(other.key, key) && (other.row->flags & ROW_LOCKS))
                        return true;
        }
        return false;
}

bool sim_pending_ready(const struct sim *sim, const struct sim_pending *p, int64_t now_ms)
{
        if (p->decided)
                return true; /* begun: nothing can hold it up any more */
        if (p->due_ms > now_ms || ((p->row->flags & ROW_LOCKS) && sim_pending_locked(sim, p->key, p->name)))
                return false;
        if (p->hang && sim_fault_hangs(sim, p->row->attribute, p->key))
                return false;
        return !(p->row->flags & ROW_WAITS) || !sim_device_held(sim, p->key);
}

/* __device_release_driver(): the links go when the device's lock is taken, before the driver's own code runs. Whoever looks while
 * that hangs sees no driver. */
int sim_pending_begin(const struct sim *sim, struct sim_pending *p)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };

        if (p->decided || !(p->row->flags & ROW_LOCKS) || sim_pending_locked(sim, p->key, p->name))
                return 0;
        if (!p->begun) {
                if (p->row->decide(sim, &p->request, &p->action) < 0 || p->action.act != ACT_UNBIND)
                        return 0; /* an error is found again when the write's turn comes */
                add_action(&b, "begun", &p->action);
                int r = append(p->fd, b.text);
                if (r < 0)
                        return r;
                p->begun = true;
        }
        return sim_driver_hide(sim, p->action.key, p->action.text);
}

void sim_driver_leaving(const struct sim *sim, const char *key, char out[SIM_NAME])
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct sim_pending p;

        out[0] = '\0';
        sim_names(sim, ".sim/pending", &names);
        for (size_t i = 0; i < names.n && !*out; i++)
                if (load(sim, names.names[i], &p) == 0 && p.begun && streq(p.action.key, key))
                        str_format(out, SIM_NAME, "%s", p.action.text);
}

static int forget(const struct sim *sim, const struct sim_pending *p)
{
        char path[SIM_PATH];

        record_path(p->name, path);
        return fs_unlink(sim->root, path, 0);
}

int sim_pending_finish(const struct sim *sim, struct sim_pending *p)
{
        _cleanup_strbuf_ struct strbuf decision = { 0 };
        int r = 0;

        if (!p->decided) {
                r = p->begun ? 0 : p->row->decide(sim, &p->request, &p->action);
                if (r == 0) {
                        add_action(&decision, "decided", &p->action);
                        r = append(p->fd, decision.text);
                }
        }
        if (r == 0)
                r = sim_apply(sim, &p->action);
        int f = forget(sim, p);
        return r < 0 ? r : f;
}

static int settle_one(const struct sim *sim, const char *name, int64_t now_ms, int64_t *next_ms)
{
        char path[SIM_PATH];
        struct sim_pending p;

        record_path(name, path);
        _cleanup_close_ int fd = fs_open(sim->root, path, O_RDWR | O_APPEND, 0);
        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fd;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? 0 : -errno; /* its writer lives */
        int r = load(sim, name, &p);
        if (r < 0)
                return fs_unlink(sim->root, path, 0); /* no record of ours */
        if (!sim_pending_ready(sim, &p, now_ms)) {
                p.fd = fd;
                r = sim_pending_begin(sim, &p);
                if (r == -ENODEV)
                        return forget(sim, &p); /* unplugged: a living writer would hear it now */
                if (r < 0)
                        return r;
                if (p.due_ms > now_ms && (*next_ms < 0 || p.due_ms - now_ms < *next_ms))
                        *next_ms = p.due_ms - now_ms;
                return 0;
        }
        r = sim_source_load(sim);
        if (r < 0)
                return r;
        p.fd = fd;
        r = sim_pending_finish(sim, &p); /* its error is for a writer that is no more */
        return r == -ENOSPC || r == -EIO ? r : 0;
}

int sim_pending_settle(const struct sim *sim, int64_t now_ms, int64_t *ret_next_ms)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        int64_t next_ms = -1;

        sim_names(sim, ".sim/pending", &names);
        for (size_t i = 0; i < names.n; i++) {
                int r = settle_one(sim, names.names[i], now_ms, &next_ms);
                if (r < 0)
                        return r;
        }
        *ret_next_ms = next_ms;
        return 0;
}

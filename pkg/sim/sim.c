/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated kernel: making and opening its directory, and the course of a write. */
#include "sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "core/bdf.h"
#include "sim/sim_priv.h"

static const char VERSION[] = "sluice-sim 1";
enum { SYSFS = 0x62656572 /* SYSFS_MAGIC */, POLL_MS = 20 };

struct sim *sim_free(struct sim *sim)
{
        if (sim) {
                cleanup_close(&sim->root);
                tree_close(&sim->tree);
                if (sim->source)
                        capture_done(sim->source);
                free(sim->source);
                free(sim->path);
                free(sim);
        }
        return NULL;
}
DEFINE_CLEANUP(struct sim *, sim_free)

const struct tree *sim_tree(const struct sim *sim)
{
        return &sim->tree;
}

/* ---- making one ---- */

static int read_file(const char *path, char **ret, size_t *ret_n, struct err *err)
{
        struct stat st;

        int r = fs_stat(AT_FDCWD, path, &st);
        if (r < 0)
                return err_set(err, -r, "cannot read %s", path);
        if (!S_ISREG(st.st_mode) || st.st_size > CAPTURE_MAX_BYTES)
                return err_say(err, EINVAL, "%s is neither a directory nor a capture of at most %d bytes", path, CAPTURE_MAX_BYTES);
        size_t size = (size_t)st.st_size + 2;
        _cleanup_free_ char *text = xcalloc(size, 1);
        r = fs_read(AT_FDCWD, path, text, size, ret_n, err);
        if (r == 0)
                *ret = TAKE_PTR(text);
        return r;
}

/* The source as the text of a capture. A live /sys is captured as `sluicectl capture` does it; a directory that stands for a
 * host is taken over whole. */
static int read_source(const char *source, char **ret, size_t *ret_n, struct err *err)
{
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf b = { 0 };
        struct statfs fs;
        struct stat st;

        if (fs_stat(AT_FDCWD, source, &st) < 0 || !S_ISDIR(st.st_mode))
                return read_file(source, ret, ret_n, err);
        int r = tree_open(&tree, source, err);
        if (r < 0)
                return r;
        if (fstatfs(tree.sys, &fs) == 0 && (long)fs.f_type == SYSFS)
                r = capture_write(&tree, &b, err);
        else
                r = capture_write_all(&tree, &b, err);
        if (r < 0)
                return err_prefix(err, "cannot copy %s", source);
        *ret_n = b.len;
        *ret = strbuf_take(&b);
        return 0;
}

/* What a capture leaves out and a kernel always has. */
static int complete(const struct sim *sim)
{
        static const char *const files[] = { "sys/bus/pci/drivers_probe", "sys/bus/pci/rescan", ".sim/events", ".sim/faults" };
        _cleanup_fs_list_ struct fs_list devices = { 0 }, drivers = { 0 };
        char path[SIM_PATH];
        struct bdf bdf;
        int r = sim_make_dir(sim, ".sim/pending");

        for (size_t i = 0; i < N_ELEMENTS(files) && r == 0; i++)
                r = sim_touch(sim, files[i]);
        sim_names(sim, "sys/bus/pci/drivers", &drivers);
        for (size_t i = 0; i < drivers.n && r == 0; i++) {
                str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/bind", drivers.names[i]);
                r = sim_touch(sim, path);
                str_format(path, sizeof(path), "sys/bus/pci/drivers/%s/unbind", drivers.names[i]);
                if (r == 0)
                        r = sim_touch(sim, path);
        }
        sim_names(sim, "sys/bus/pci/devices", &devices);
        for (size_t i = 0; i < devices.n && r == 0; i++)
                if (bdf_parse(devices.names[i], &bdf))
                        r = sim_function_complete(sim, devices.names[i]);
        if (r == 0 && !sim_there(sim, "proc/1")) { /* a machine has processes, and they can be looked at */
                r = sim_make_dir(sim, "proc/1/fd");
                if (r == 0)
                        r = sim_put(sim, "proc/1/comm", "systemd");
        }
        return r;
}

static int make(const struct sim *sim, const char *source, struct err *err)
{
        static const char *const old[] = {
                "sys", "proc", "dev", "lib", ".sim/pending", ".sim/source.capture", ".sim/events", ".sim/faults"
        };
        _cleanup_free_ char *text = NULL;
        size_t n;

        int r = read_source(source, &text, &n, err);
        for (size_t i = 0; i < N_ELEMENTS(old) && r == 0; i++) { /* of a making that was interrupted */
                r = sim_drop(sim, old[i]);
                if (r < 0)
                        err_set(err, -r, "cannot clear %s/%s", sim->path, old[i]);
        }
        if (r == 0)
                r = capture_unpack(source, text, n, sim->root, err);
        if (r < 0)
                return r;
        r = sim_store(sim, ".sim/source.capture", text, n);
        if (r == 0)
                r = complete(sim);
        return r < 0 ? err_set(err, -r, "cannot complete %s", sim->path) : 0;
}

/* Something is in the directory and it is no simulated host: leave it alone. */
static int check_empty(const struct sim *sim, struct err *err)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };

        int r = fs_list(sim->root, ".", &names, err);
        if (r < 0)
                return r;
        if (names.n > 0 && !sim_there(sim, ".sim"))
                return err_say(err, ENOTEMPTY, "%s is neither empty nor a simulated host", sim->path);
        r = fs_mkdir(sim->root, ".sim", 0755);
        return r < 0 ? err_set(err, -r, "cannot make %s/.sim", sim->path) : 0;
}

int sim_prepare(const char *source, const char *dir, struct err *err)
{
        struct sim sim = { .path = (char *)(uintptr_t)dir };

        int r = fs_mkdir(AT_FDCWD, dir, 0755);
        if (r < 0)
                return err_set(err, -r, "cannot make %s", dir);
        _cleanup_close_ int root = fs_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
        if (root < 0)
                return err_set(err, -root, "cannot open %s", dir);
        sim.root = root;
        r = check_empty(&sim, err);
        if (r < 0)
                return r;
        _cleanup_close_ int lock = sim_lock(&sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", dir);
        if (sim_there(&sim, ".sim/version"))
                return 0;
        if (!source)
                return err_say(err, ENOENT, "%s is no simulated host yet, and no host is given to make one of", dir);
        r = make(&sim, source, err);
        if (r < 0)
                return r;
        r = sim_put(&sim, ".sim/version", VERSION);
        return r < 0 ? err_set(err, -r, "cannot write %s/.sim/version", dir) : 0;
}

int sim_open(struct sim **ret, const char *dir, struct err *err)
{
        _cleanup_(sim_freep) struct sim *sim = xcalloc(1, sizeof(*sim));
        char version[64];

        *sim = (struct sim){ .root = -1, .tree = TREE_NULL, .path = xstrdup(dir), .source = xcalloc(1, sizeof(*sim->source)) };
        sim->root = fs_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
        if (sim->root < 0)
                return err_set(err, -sim->root, "cannot open %s", dir);
        sim_get(sim, ".sim/version", version, sizeof(version));
        if (!streq(version, VERSION))
                return err_say(err, EINVAL, "%s is no simulated host (of this version)", dir);
        int r = tree_open(&sim->tree, dir, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(sim);
        return 0;
}

int sim_source_load(const struct sim *sim)
{
        _cleanup_free_ char *text = NULL, *path = xasprintf("%s/.sim/source.capture", sim->path);
        struct err ignored;
        size_t n;

        if (sim->source->text)
                return 0;
        int r = read_file(path, &text, &n, &ignored);
        return r < 0 ? r : capture_parse(path, text, n, sim->source, &ignored);
}

/* ---- the course of a write ---- */

static void sleep_ms(int64_t ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };

        (void)nanosleep(&t, NULL);
}

/* Waits, without the lock, until the write may be done; then does it. */
static int wait_and_finish(const struct sim *sim, struct sim_pending *p, int *lock)
{
        for (;;) {
                int64_t now = clock_ms();
                if (sim_pending_ready(sim, p, now))
                        return sim_pending_finish(sim, p);
                int r = sim_pending_begin(sim, p);
                if (r < 0)
                        return r;
                cleanup_close(lock);
                *lock = -1;
                sleep_ms(p->due_ms > now && p->due_ms - now < POLL_MS ? p->due_ms - now : POLL_MS);
                *lock = sim_lock(sim);
                int64_t next;
                r = *lock < 0 ? *lock : sim_pending_settle(sim, clock_ms(), &next); /* what is in the way may have no writer */
                if (r < 0)
                        return r;
        }
}

/* What a path without a reaction answers. */
static int no_row(const struct sim *sim, const char *top, const char *path)
{
        char whole[SIM_PATH];

        str_format(whole, sizeof(whole), "%s/%s", top, path);
        return sim_there(sim, whole) ? -EACCES : -ENOENT;
}

/* 1: the fault says what the write answers (in @ret); 0: the write goes on. */
static int apply_fault(const struct sim *sim, struct sim_pending *p, int *ret)
{
        struct sim_fault f;

        int r = sim_fault_take(sim, p->row->attribute, p->key, &f);
        if (r < 0)
                f.verb = FAULT_NONE; /* an unreadable script has no faults */
        *ret = 0;
        switch (f.verb) {
        case FAULT_REFUSE:
                *ret = -f.error;
                return 1;
        case FAULT_IGNORE:
                return 1;
        case FAULT_VANISH:
                *ret = sim_function_remove(sim, p->key);
                *ret = *ret < 0 ? *ret : -ENODEV;
                return 1;
        case FAULT_DEAD:
                *ret = sim_function_die(sim, p->key);
                return 1;
        case FAULT_FORGET:
                *ret = sim_function_forget_bars(sim, p->key);
                return 1;
        case FAULT_DELAY:
                p->due_ms = clock_ms() + f.delay_ms;
                return 0;
        case FAULT_HANG:
                p->hang = true;
                return 0;
        case FAULT_NONE:
                return 0;
        }
        return 0;
}

static int write_locked(const struct sim *sim, const char *top, const char *path, const char *value, int *lock)
{
        struct sim_pending p = { .fd = -1 };
        int64_t next;
        int answer;

        int r = sim_pending_settle(sim, clock_ms(), &next);
        if (r == 0)
                r = sim_request_make(top, path, value, &p.request);
        if (r == 0)
                r = sim_source_load(sim);
        if (r < 0)
                return r;
        p.row = sim_row_find(p.request.path);
        if (!p.row)
                return no_row(sim, top, path);
        if (*value == '\0')
                return 0; /* sysfs_kf_write(): nothing to store */
        r = p.row->decide(sim, &p.request, &p.action);
        if (r < 0)
                return r;
        memcpy(p.key, p.action.key, sizeof(p.key));
        if (apply_fault(sim, &p, &answer))
                return answer;
        r = sim_pending_create(sim, &p);
        if (r == 0)
                r = wait_and_finish(sim, &p, lock);
        sim_pending_done(&p);
        return r;
}

static int write_attribute(struct sim *sim, const char *top, const char *path, const char *value, struct err *err)
{
        _cleanup_close_ int lock = sim_lock(sim);

        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        int r = write_locked(sim, top, path, value, &lock);
        return r < 0 ? err_set(err, -r, "cannot write %s", path) : 0;
}

int sim_write(struct sim *sim, const char *path, const char *value, struct err *err)
{
        return write_attribute(sim, "sys", path, value, err);
}

int sim_write_proc(struct sim *sim, const char *path, const char *value, struct err *err)
{
        return write_attribute(sim, "proc", path, value, err);
}

int sim_read(struct sim *sim, const char *path, char *buf, size_t size, struct err *err)
{
        struct sim_request q;
        struct sim_fault f;
        char key[SIM_NAME] = "", attribute[SIM_NAME];
        struct bdf bdf;
        int64_t next;

        int r = sim_request_make("sys", path, "", &q);
        if (r < 0)
                return err_set(err, -r, "cannot read %s", path);
        for (const char *p = q.path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
                char part[SIM_NAME];
                str_format(part, sizeof(part), "%.*s", (int)strcspn(p, "/"), p);
                if (bdf_parse(part, &bdf))
                        str_format(key, sizeof(key), "%s", part);
        }
        str_format(attribute, sizeof(attribute), "read:%s", strrchr(q.path, '/') + 1);

        _cleanup_close_ int lock = sim_lock(sim);
        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        (void)sim_pending_settle(sim, clock_ms(), &next);
        r = sim_fault_take(sim, attribute, key, &f);
        if (r == 0 && f.verb == FAULT_REFUSE)
                return err_set(err, f.error, "cannot read %s", path);
        int64_t due = r == 0 && f.verb == FAULT_DELAY ? clock_ms() + f.delay_ms : 0;
        while (due > clock_ms() || sim_pending_locked(sim, key, "") || sim_fault_hangs(sim, attribute, key)) {
                cleanup_close(&lock);
                lock = -1;
                sleep_ms(POLL_MS);
                lock = sim_lock(sim);
                if (lock < 0)
                        return err_set(err, -lock, "cannot lock %s", sim->path);
                (void)sim_pending_settle(sim, clock_ms(), &next);
        }
        return fs_read_value(sim->tree.sys, path, buf, size, err);
}

int sim_settle(struct sim *sim, int64_t *ret_next_ms, struct err *err)
{
        _cleanup_close_ int lock = sim_lock(sim);

        if (lock < 0)
                return err_set(err, -lock, "cannot lock %s", sim->path);
        int r = sim_pending_settle(sim, clock_ms(), ret_next_ms);
        return r < 0 ? err_set(err, -r, "cannot complete what is pending in %s", sim->path) : 0;
}

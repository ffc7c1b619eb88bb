/* SPDX-License-Identifier: Apache-2.0 */
/* The host of these tests: one card in one group, GPU on nvidia and audio function on snd_hda_intel, made anew as a simulated
 * host for each test; and the plan that binds both. */
#ifndef SLUICE_TESTS_HANDS_HOST_H
#define SLUICE_TESTS_HANDS_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "../tmp.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "core/plan.h"
#include "sim/sim.h"

#define PCI       "sys/bus/pci/"
#define GPU_DIR   "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
#define AUDIO_DIR "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1"

static const struct bdf GPU = { 0, 0x3b, 0, 0 }, AUDIO = { 0, 0x3b, 0, 1 };

static const char host_capture[] =
        "sluice-capture 1\n"
        "dir " PCI "drivers/vfio-pci\n"
        "dir " PCI "drivers/nvidia\n"
        "dir " PCI "drivers/snd_hda_intel\n"
        "link " PCI "devices/0000:3b:00.0 -> ../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0\n"
        "link " PCI "devices/0000:3b:00.1 -> ../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1\n"
        "file " GPU_DIR "/vendor = 0x10de\n"
        "file " GPU_DIR "/device = 0x26b9\n"
        "file " GPU_DIR "/class = 0x030200\n"
        "file " GPU_DIR "/driver_override = (null)\n"
        "link " GPU_DIR "/driver -> ../../../../bus/pci/drivers/nvidia\n"
        "link " GPU_DIR "/iommu_group -> ../../../../kernel/iommu_groups/45\n"
        "text " GPU_DIR "/resource\n" /* 16 MiB, and 256 MiB in 64 bit */
        "| 0x0000000096000000 0x0000000096ffffff 0x0000000000040200\n"
        "| 0x0000207000000000 0x000020700fffffff 0x000000000014220c\n"
        "| 0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "| 0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "| 0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "| 0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "file " AUDIO_DIR "/vendor = 0x10de\n"
        "file " AUDIO_DIR "/device = 0x22ba\n"
        "file " AUDIO_DIR "/class = 0x040300\n"
        "file " AUDIO_DIR "/driver_override = (null)\n"
        "link " AUDIO_DIR "/driver -> ../../../../bus/pci/drivers/snd_hda_intel\n"
        "link " AUDIO_DIR "/iommu_group -> ../../../../kernel/iommu_groups/45\n"
        "file sys/kernel/iommu_groups/45/type = DMA\n"
        "dir sys/class/vfio-dev\n"
        "link sys/kernel/iommu_groups/45/devices/0000:3b:00.0 -> ../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0\n"
        "link sys/kernel/iommu_groups/45/devices/0000:3b:00.1 -> ../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1\n"
        "file proc/driver/nvidia/gpus/0000:3b:00.0/unbindLock = 0\n"
        "text proc/driver/nvidia/gpus/0000:3b:00.0/information\n"
        "| Model: NVIDIA L40S\n"
        "| Device Minor: 0\n"
        "node dev/nvidia0\n"
        "node dev/vfio/vfio\n";

struct host {
        char root[64], sim_dir[96], lock_dir[96];
        int dir, locks; /* descriptors of the last two */
        struct sim *sim;
};

static inline void host_make_of(struct host *host, const char *capture, size_t n)
{
        struct err err;
        char source[96];

        (void)snprintf(host->root, sizeof(host->root), "%s/sluice-hands-XXXXXX", tmp_base());
        assert_non_null(mkdtemp(host->root));
        (void)snprintf(host->sim_dir, sizeof(host->sim_dir), "%s/host", host->root);
        (void)snprintf(host->lock_dir, sizeof(host->lock_dir), "%s/run", host->root);
        (void)snprintf(source, sizeof(source), "%s/capture", host->root);
        ASSERT_OK(fs_replace(AT_FDCWD, source, capture, n, 0644, &err), &err);
        assert_int_equal(fs_mkdir(AT_FDCWD, host->sim_dir, 0755), 0);
        assert_int_equal(fs_mkdir(AT_FDCWD, host->lock_dir, 0755), 0);
        ASSERT_OK(sim_prepare(source, host->sim_dir, &err), &err);
        ASSERT_OK(sim_open(&host->sim, host->sim_dir, &err), &err);
        host->dir = fs_open(AT_FDCWD, host->sim_dir, O_RDONLY | O_DIRECTORY, 0);
        host->locks = fs_open(AT_FDCWD, host->lock_dir, O_RDONLY | O_DIRECTORY, 0);
        assert_true(host->dir >= 0 && host->locks >= 0);
}

static inline void host_make(struct host *host)
{
        host_make_of(host, host_capture, sizeof(host_capture) - 1);
}

static inline int host_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static inline void host_done(struct host *host)
{
        fs_fail_at(0, 0);
        sim_free(host->sim);
        (void)close(host->dir);
        (void)close(host->locks);
        /* A hand that was let go of a moment ago may still be putting its files away. */
        int r = -1;
        for (int i = 0; i < 50 && r != 0; i++) {
                r = nftw(host->root, host_remove, 16, FTW_DEPTH | FTW_PHYS);
                if (r != 0)
                        (void)usleep(100 * 1000);
        }
        assert_int_equal(r, 0);
}

static inline void host_fault(struct host *host, const char *line)
{
        struct err err;

        ASSERT_OK(sim_fault(host->sim, line, &err), &err);
}

/* ---- pictures of the whole tree, to compare before and after ---- */

static struct strbuf *picture_text;

static inline int picture_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        char buf[4096];
        struct err err;

        (void)st;
        (void)ftw;
        strbuf_addf(picture_text, "%s", path);
        if (type == FTW_SL && fs_readlink(AT_FDCWD, path, buf, sizeof(buf), &err) == 0)
                strbuf_addf(picture_text, " -> %s", buf);
        if (type == FTW_F && fs_read(AT_FDCWD, path, buf, sizeof(buf), NULL, &err) == 0)
                strbuf_addf(picture_text, " = %s", buf);
        strbuf_add(picture_text, "\n");
        return 0;
}

static inline int picture_line_compare(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every entry below sys, proc and dev, one line each, sorted. The caller frees it. */
static inline char *host_picture(struct host *host)
{
        static const char *const tops[] = { "sys", "proc", "dev" };
        struct strbuf raw = { 0 }, sorted = { 0 };
        char path[128], *lines[4096], *save = NULL;
        size_t n = 0;
        struct err err;
        int64_t next_ms;

        (void)sim_settle(host->sim, &next_ms, &err);
        picture_text = &raw;
        for (size_t i = 0; i < 3; i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", host->sim_dir, tops[i]);
                assert_int_equal(nftw(path, picture_entry, 16, FTW_PHYS), 0);
        }
        for (char *line = strtok_r(raw.text, "\n", &save); line && n < N_ELEMENTS(lines); line = strtok_r(NULL, "\n", &save))
                lines[n++] = line;
        qsort(lines, n, sizeof(*lines), picture_line_compare);
        for (size_t i = 0; i < n; i++)
                strbuf_addf(&sorted, "%s\n", lines[i]);
        strbuf_done(&raw);
        return strbuf_take(&sorted);
}

static inline void print_missing(const char *from, const char *in, const char *mark)
{
        for (const char *line = from; *line; line += strcspn(line, "\n") + 1) {
                _cleanup_free_ char *text = xstrndup(line, strcspn(line, "\n") + 1);
                if (!strstr(in, text))
                        print_error("%s %s", mark, text);
        }
}

static inline void assert_host_unchanged(struct host *host, const char *before, const char *what)
{
        _cleanup_free_ char *after = host_picture(host);

        if (streq(before, after))
                return;
        print_missing(before, after, "-");
        print_missing(after, before, "+");
        fail_msg("%s: the host changed", what);
}

/* Driver of a function as the simulated host shows it; "" = none. */
static inline const char *host_driver(struct host *host, struct bdf b)
{
        static char driver[64];
        char path[96];
        struct err err;

        (void)snprintf(path, sizeof(path), PCI "devices/" BDF_FMT "/driver", BDF_ARGS(b));
        if (fs_readlink_last(host->dir, path, driver, sizeof(driver), &err) < 0)
                *driver = '\0';
        return driver;
}

static inline const char *host_value(struct host *host, const char *path)
{
        static char value[256];
        struct err err;

        ASSERT_OK(fs_read_value(host->dir, path, value, sizeof(value), &err), &err);
        return value;
}

/* Is the card's lock free? */
static inline bool host_lock_is_free(struct host *host)
{
        _cleanup_close_ int fd = fs_open(host->locks, "card-0000:3b:00.0.lock", O_RDWR | O_CREAT, 0600);

        assert_true(fd >= 0);
        return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* ---- plans ---- */

static inline struct step *plan_add(struct plan *plan, enum step_kind kind, struct bdf bdf, const char *text)
{
        struct step *step = &plan->steps[plan->n_steps++];

        step->kind = kind;
        step->bdf = bdf;
        assert_true(str_copy(step->text, sizeof(step->text), text));
        return step;
}

static inline void plan_add_bind(struct plan *plan, struct bdf bdf, const char *from)
{
        plan_add(plan, STEP_OVERRIDE, bdf, "vfio-pci");
        plan_add(plan, STEP_UNBIND, bdf, from);
        plan_add(plan, STEP_PROBE, bdf, "");
        plan_add(plan, STEP_AWAIT_DRIVER, bdf, "vfio-pci")->wait_ms = 100;
}

/* What plan_bind() makes of this host: see FAILS_* for the steps' numbers. */
static inline void plan_of_host(struct plan *plan)
{
        *plan = (struct plan){ .n_cards = 1, .cards = { GPU } };
        plan_add(plan, STEP_NEED_DRIVER, GPU, "vfio-pci");
        plan_add(plan, STEP_NEED_IDENTITY, GPU, "")->number = 0x10de26b9;
        plan_add(plan, STEP_NEED_IDENTITY, AUDIO, "")->number = 0x10de22ba;
        plan_add(plan, STEP_GUARD_NODES, GPU, "");
        plan_add(plan, STEP_GUARD_NODES, AUDIO, "");
        plan_add(plan, STEP_GUARD_UNBIND_LOCK, GPU, "");
        plan_add_bind(plan, GPU, "nvidia");
        plan_add_bind(plan, AUDIO, "snd_hda_intel");
        struct step *node = plan_add(plan, STEP_AWAIT_NODE, GPU, "");
        node->number = 45;
        node->wait_ms = 100;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One table of what the kernel does when it is written to. It runs against the simulated kernel (tests/unit/sim) and against
 * a real one (tests/vm), so that the simulation cannot drift from the truth. Plain C, no test library.
 *
 * Paths begin with sys/, proc/ or dev/. Words with a $ are names of the host the table runs on:
 *   $GPU     a GPU that $DRIVER (the host's own driver) is bound to, no override set, in the IOMMU group $GROUP, not held
 *   $ALONE   a function whose bus has no other; $RESETS what its reset_method reads, $RESET one method of it
 *   $MATE    another function of $GROUP that needs binding (audio), bound to $MATEDRIVER
 *   $PF      a function with sriov_totalvfs >= 2, no VFs or VFs that may be removed, bound to $PFDRIVER, which makes and
 *            removes VFs
 *   $MDEV    an existing mediated device (a UUID) whose parent is $PARENT, bound to $PARENTDRIVER
 *   $LOCKED  a GPU with /proc/driver/nvidia/gpus/$LOCKED/unbindLock
 *   $BARE    a function without IOMMU group on a host whose IOMMU is off, bound to $BAREDRIVER
 * A host that lacks a name answers NULL and the case is skipped there. Each case leaves the host as it found it, except
 * for mediated devices, which are used up (list those cases last).
 *
 * Every row of the simulation's own table occurs as `reaction` here; a test sees to that. */
#ifndef SLUICE_TESTS_REACTIONS_H
#define SLUICE_TESTS_REACTIONS_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How one side does it. Each function returns 0 (or a count) or -errno. */
struct reaction_host {
        void *ctx;
        const char *(*name)(void *ctx, const char *word);                         /* "$GPU"; NULL = this host has none */
        int (*write)(void *ctx, const char *path, const char *value);             /* one write(2) of strlen(value) bytes */
        int (*read)(void *ctx, const char *path, char *out, size_t size);         /* without the newline */
        int (*link_name)(void *ctx, const char *path, char *out, size_t size);    /* last component of a link's target */
        int (*exists)(void *ctx, const char *path);                               /* 1, 0; does not follow a last link */
        int (*count)(void *ctx, const char *dir, const char *prefix);             /* entries that begin so; absent: 0 */
        int (*hold)(void *ctx, const char *bdf, bool hold);                       /* its host driver does not let go while held */
};

enum reaction_what {
        STEP_LAST,      /* ends the list */
        DO,             /* writes @value to @path and expects @result */
        SEE_LINK,       /* @path is a link to something called @value */
        SEE_NONE,       /* @path is not there */
        SEE,            /* @path is there */
        SEE_VALUE,      /* @path reads @value */
        SEE_COUNT,      /* @path has @result entries that begin with @value */
        HOLD,           /* the host driver of @path does not let go of it ... */
        LET_GO,         /* ... until here */
        BEGIN,          /* writes @value to @path aside; the steps that follow see the host while it blocks. One at a time */
        END,            /* it returns, with @result */
        AWAIT_NONE,     /* @path goes away */
};

struct reaction_step {
        enum reaction_what what;
        const char *path, *value;
        int result;
};

enum { REACTION_STEPS_MAX = 24 };
struct reaction_case {
        const char *name;     /* a sentence */
        const char *reaction; /* row of the simulation's table that it proves */
        struct reaction_step steps[REACTION_STEPS_MAX];
};

#define PCI_ "sys/bus/pci/devices/"
#define DRV_ "sys/bus/pci/drivers/"
#define PROBE_ "sys/bus/pci/drivers_probe"

static const struct reaction_case reaction_cases[] = {
        { "an override reads as written, and (null) once a newline cleared it", "override", {
                { SEE_VALUE, PCI_ "$GPU/driver_override", "(null)", 0 },
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { SEE_VALUE, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { DO, PCI_ "$GPU/driver_override", "other\n", 0 },
                { SEE_VALUE, PCI_ "$GPU/driver_override", "other", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { SEE_VALUE, PCI_ "$GPU/driver_override", "(null)", 0 },
        } },
        { "an empty write does nothing: an override stays", "override", {
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver_override", "", 0 },
                { SEE_VALUE, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
        } },
        { "a device's unbind takes only that device, and is gone with the driver", "device-unbind", {
                { DO, PCI_ "$GPU/driver/unbind", "ffff:ff:1f.7", -ENODEV },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { SEE_NONE, PCI_ "$GPU/driver", "", 0 },
                { SEE_NONE, DRV_ "$DRIVER/$GPU", "", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", -ENOENT },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { SEE, DRV_ "$DRIVER/$GPU", "", 0 },
        } },
        { "a driver that does not let go is seen no more, and its unbind blocks", "device-unbind", {
                { HOLD, "$LOCKED", "", 0 },
                { BEGIN, PCI_ "$LOCKED/driver/unbind", "$LOCKED", 0 },
                { AWAIT_NONE, PCI_ "$LOCKED/driver", "", 0 },
                { SEE_NONE, DRV_ "$DRIVER/$LOCKED", "", 0 },
                { SEE, "proc/driver/nvidia/gpus/$LOCKED", "", 0 },
                { DO, PCI_ "$LOCKED/driver/unbind", "$LOCKED", -ENOENT },
                { SEE_NONE, PCI_ "$LOCKED/driver", "", 0 },
                { LET_GO, "$LOCKED", "", 0 },
                { END, "", "", 0 },
                { SEE_NONE, PCI_ "$LOCKED/driver", "", 0 },
                { SEE_NONE, "proc/driver/nvidia/gpus/$LOCKED", "", 0 },
                { DO, PROBE_, "$LOCKED", 0 },
                { SEE_LINK, PCI_ "$LOCKED/driver", "$DRIVER", 0 },
        } },
        { "a driver's unbind refuses a device that is not its own", "driver-unbind", {
                { DO, DRV_ "vfio-pci/unbind", "$GPU", -ENODEV },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { DO, DRV_ "$DRIVER/unbind", "$GPU\n", 0 },
                { SEE_NONE, PCI_ "$GPU/driver", "", 0 },
                { DO, DRV_ "$DRIVER/unbind", "$GPU", -ENODEV },
                { DO, PROBE_, "$GPU\n", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "probing respects the override; vfio-pci brings vfio-dev and the group's node", "probe", {
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "vfio-pci", 0 },
                { SEE_COUNT, PCI_ "$GPU/vfio-dev", "vfio", 1 },
                { SEE, "dev/vfio/$GROUP", "", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { SEE_COUNT, PCI_ "$GPU/vfio-dev", "vfio", 0 },
                { SEE_NONE, "dev/vfio/$GROUP", "", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "probing succeeds even if no driver takes the device", "probe", {
                { DO, PCI_ "$GPU/driver_override", "no-such-driver", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_NONE, PCI_ "$GPU/driver", "", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "probing a device that has a driver changes nothing", "probe", {
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
        } },
        { "probing an unknown address is an error", "probe", {
                { DO, PROBE_, "ffff:ff:1f.7", -ENODEV },
                { DO, PROBE_, "no address", -ENODEV },
        } },
        { "a driver's bind asks whether the device matches, by override", "driver-bind", {
                { DO, DRV_ "vfio-pci/bind", "$GPU", -ENODEV },
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, DRV_ "vfio-pci/bind", "$GPU", -EBUSY },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, DRV_ "$DRIVER/bind", "$GPU", -ENODEV },
                { DO, DRV_ "vfio-pci/bind", "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "vfio-pci", 0 },
                { SEE, "dev/vfio/$GROUP", "", 0 },
                { DO, DRV_ "vfio-pci/bind", "ffff:ff:1f.7", -ENODEV },
                { DO, DRV_ "vfio-pci/unbind", "$GPU", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { DO, DRV_ "$DRIVER/bind", "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "the group's node comes with its first member and goes with its last", "probe", {
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$MATE/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, PCI_ "$MATE/driver/unbind", "$MATE", 0 },
                { SEE_NONE, "dev/vfio/$GROUP", "", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE, "dev/vfio/$GROUP", "", 0 },
                { DO, PROBE_, "$MATE", 0 },
                { SEE_COUNT, PCI_ "$MATE/vfio-dev", "vfio", 1 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { SEE, "dev/vfio/$GROUP", "", 0 },
                { DO, PCI_ "$MATE/driver/unbind", "$MATE", 0 },
                { SEE_NONE, "dev/vfio/$GROUP", "", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { DO, PCI_ "$MATE/driver_override", "\n", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { DO, PROBE_, "$MATE", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { SEE_LINK, PCI_ "$MATE/driver", "$MATEDRIVER", 0 },
        } },
        { "a reset wants a 1", "reset", {
                { DO, PCI_ "$GPU/reset", "2", -EINVAL },
                { DO, PCI_ "$GPU/reset", "x", -EINVAL },
                { DO, PCI_ "$GPU/reset", "1\n", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "a reset method is chosen from those the device has, and all come back by default", "reset-method", {
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "$RESETS", 0 },
                { DO, PCI_ "$ALONE/reset_method", "no_such_method", -EINVAL },
                { DO, PCI_ "$ALONE/reset_method", "cxl_bus", -EINVAL },
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "$RESETS", 0 },
                { DO, PCI_ "$ALONE/reset_method", "$RESET", 0 },
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "$RESET", 0 },
                { DO, PCI_ "$ALONE/reset", "1", 0 },
                { DO, PCI_ "$ALONE/reset_method", "\n", 0 },
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "", 0 },
                { DO, PCI_ "$ALONE/reset", "1", -ENOTTY },
                { DO, PCI_ "$ALONE/reset_method", "default\n", 0 },
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "$RESETS", 0 },
                { DO, PCI_ "$ALONE/reset_method", "$RESETS", 0 },
                { SEE_VALUE, PCI_ "$ALONE/reset_method", "$RESETS", 0 },
        } },
        { "a bus with another function on it is no way to reset one, whatever was listed before", "reset-method", {
                { SEE, PCI_ "$MATE", "", 0 },
                { DO, PCI_ "$GPU/reset_method", "bus", -EINVAL },
        } },
        { "power: vfio-pci lets a function sleep, and wakes it for good when it leaves", "power-control", {
                { DO, PCI_ "$GPU/power/control", "off", -EINVAL },
                { DO, PCI_ "$GPU/power/control", "on", 0 },
                { DO, PCI_ "$GPU/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_VALUE, PCI_ "$GPU/power/control", "auto", 0 },
                { DO, PCI_ "$GPU/power/control", "on\n", 0 },
                { SEE_VALUE, PCI_ "$GPU/power/control", "on", 0 },
                { DO, PCI_ "$GPU/power/control", "auto", 0 },
                { SEE_VALUE, PCI_ "$GPU/power/control", "auto", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { SEE_VALUE, PCI_ "$GPU/power/control", "on", 0 },
                { DO, PCI_ "$GPU/driver_override", "\n", 0 },
                { DO, PROBE_, "$GPU", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "power: D3cold is allowed or not", "d3cold", {
                { DO, PCI_ "$GPU/d3cold_allowed", "x", -EINVAL },
                { DO, PCI_ "$GPU/d3cold_allowed", "0", 0 },
                { SEE_VALUE, PCI_ "$GPU/d3cold_allowed", "0", 0 },
                { DO, PCI_ "$GPU/d3cold_allowed", "1\n", 0 },
                { SEE_VALUE, PCI_ "$GPU/d3cold_allowed", "1", 0 },
        } },
        { "a removed device is gone from bus, driver and group", "pci-remove", {
                { DO, PCI_ "$GPU/remove", "x", -EINVAL },
                { DO, PCI_ "$GPU/remove", "0", 0 },
                { SEE, PCI_ "$GPU", "", 0 },
                { DO, PCI_ "$GPU/remove", "1", 0 },
                { SEE_NONE, PCI_ "$GPU", "", 0 },
                { SEE_NONE, DRV_ "$DRIVER/$GPU", "", 0 },
                { DO, PROBE_, "$GPU", -ENODEV },
                { DO, PCI_ "$GPU/driver_override", "x", -ENOENT },
                { DO, "sys/bus/pci/rescan", "1", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
                { SEE_VALUE, PCI_ "$GPU/driver_override", "(null)", 0 },
        } },
        { "a rescan finds a device that was removed, and its driver takes it", "pci-rescan", {
                { DO, "sys/bus/pci/rescan", "x", -EINVAL },
                { DO, "sys/bus/pci/rescan", "1", 0 },
                { DO, PCI_ "$GPU/driver/unbind", "$GPU", 0 },
                { DO, PCI_ "$GPU/remove", "1", 0 },
                { DO, "sys/bus/pci/rescan", "0", 0 },
                { SEE_NONE, PCI_ "$GPU", "", 0 },
                { DO, "sys/bus/pci/rescan", "1\n", 0 },
                { SEE_LINK, PCI_ "$GPU/driver", "$DRIVER", 0 },
        } },
        { "an attribute that cannot be written says so, an unknown one is not there", "override", {
                { DO, PCI_ "$GPU/vendor", "0x1234", -EACCES },
                { DO, PCI_ "$GPU/no_such_attribute", "1", -ENOENT },
                { DO, PCI_ "ffff:ff:1f.7/driver_override", "x", -ENOENT },
        } },
        { "VFs: out of range, not a number, and never from one number to another", "numvfs", {
                { DO, PCI_ "$PF/sriov_numvfs", "0", 0 },
                { SEE_COUNT, PCI_ "$PF", "virtfn", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "0", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "9999", -ERANGE },
                { DO, PCI_ "$PF/sriov_numvfs", "two", -EINVAL },
                { DO, PCI_ "$PF/sriov_numvfs", "2", 0 },
                { SEE_COUNT, PCI_ "$PF", "virtfn", 2 },
                { SEE_LINK, PCI_ "$PF/virtfn0/physfn", "$PF", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "2", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "1", -EBUSY },
                { SEE_COUNT, PCI_ "$PF", "virtfn", 2 },
                { DO, PCI_ "$PF/sriov_numvfs", "0\n", 0 },
                { SEE_COUNT, PCI_ "$PF", "virtfn", 0 },
        } },
        { "VFs go when their PF's driver does, and a PF without driver makes none", "numvfs", {
                { DO, PCI_ "$PF/sriov_numvfs", "0", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "2", 0 },
                { DO, PCI_ "$PF/driver/unbind", "$PF", 0 },
                { SEE_COUNT, PCI_ "$PF", "virtfn", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "2", -ENOENT },
                { DO, PCI_ "$PF/sriov_numvfs", "0", 0 },
                { DO, PCI_ "$PF/driver_override", "vfio-pci", 0 },
                { DO, PROBE_, "$PF", 0 },
                { SEE_LINK, PCI_ "$PF/driver", "vfio-pci", 0 },
                { DO, PCI_ "$PF/sriov_numvfs", "2", -ENOENT },
                { DO, PCI_ "$PF/driver/unbind", "$PF", 0 },
                { DO, PCI_ "$PF/driver_override", "\n", 0 },
                { DO, PROBE_, "$PF", 0 },
                { SEE_LINK, PCI_ "$PF/driver", "$PFDRIVER", 0 },
        } },
        { "the unbind lock of an idle GPU can be taken and given back", "unbind-lock", {
                { DO, "proc/driver/nvidia/gpus/$LOCKED/unbindLock", "1\n", 0 },
                { SEE_VALUE, "proc/driver/nvidia/gpus/$LOCKED/unbindLock", "1", 0 },
                { DO, "proc/driver/nvidia/gpus/$LOCKED/unbindLock", "0\n", 0 },
                { SEE_VALUE, "proc/driver/nvidia/gpus/$LOCKED/unbindLock", "0", 0 },
        } },
        { "without an IOMMU the probe succeeds and vfio-pci does not bind", "probe", {
                { SEE_NONE, PCI_ "$BARE/iommu_group", "", 0 },
                { DO, PCI_ "$BARE/driver_override", "vfio-pci", 0 },
                { DO, PCI_ "$BARE/driver/unbind", "$BARE", 0 },
                { DO, PROBE_, "$BARE", 0 },
                { SEE_NONE, PCI_ "$BARE/driver", "", 0 },
                { DO, DRV_ "vfio-pci/bind", "$BARE", -EINVAL },
                { DO, PCI_ "$BARE/driver_override", "\n", 0 },
                { DO, PROBE_, "$BARE", 0 },
                { SEE_LINK, PCI_ "$BARE/driver", "$BAREDRIVER", 0 },
        } },
        { "a mediated device is removed by a 1", "mdev-remove", {
                { SEE, "sys/bus/mdev/devices/$MDEV", "", 0 },
                { DO, "sys/bus/mdev/devices/$MDEV/remove", "x", -EINVAL },
                { DO, "sys/bus/mdev/devices/$MDEV/remove", "0", 0 },
                { SEE, "sys/bus/mdev/devices/$MDEV", "", 0 },
                { DO, "sys/bus/mdev/devices/$MDEV/remove", "1", 0 },
                { SEE_NONE, "sys/bus/mdev/devices/$MDEV", "", 0 },
                { SEE_NONE, PCI_ "$PARENT/$MDEV", "", 0 },
                { SEE, "sys/class/mdev_bus/$PARENT", "", 0 },
        } },
        { "a parent's mediated devices go with its driver, its types come back without them", "device-unbind", {
                { SEE, "sys/bus/mdev/devices/$MDEV2", "", 0 },
                { SEE, "sys/class/mdev_bus/$PARENT2", "", 0 },
                { DO, PCI_ "$PARENT2/driver/unbind", "$PARENT2", 0 },
                { SEE_NONE, "sys/bus/mdev/devices/$MDEV2", "", 0 },
                { SEE_NONE, "sys/class/mdev_bus/$PARENT2", "", 0 },
                { DO, PROBE_, "$PARENT2", 0 },
                { SEE_LINK, PCI_ "$PARENT2/driver", "$PARENT2DRIVER", 0 },
                { SEE, "sys/class/mdev_bus/$PARENT2", "", 0 },
                { SEE_NONE, "sys/bus/mdev/devices/$MDEV2", "", 0 },
        } },
};

enum { REACTION_CASES = sizeof(reaction_cases) / sizeof(reaction_cases[0]) };

/* Puts the host's names in. False: it lacks one. */
static inline bool reaction_expand(const struct reaction_host *host, const char *text, char *out, size_t size)
{
        size_t n = 0;

        while (*text && n + 1 < size) {
                if (*text != '$') {
                        out[n++] = *text++;
                        continue;
                }
                char word[32];
                size_t length = 1 + strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
                (void)snprintf(word, sizeof(word), "%.*s", (int)length, text);
                const char *name = host->name(host->ctx, word);
                if (!name)
                        return false;
                n += (size_t)snprintf(out + n, size - n, "%s", name);
                text += length;
        }
        out[n < size ? n : size - 1] = '\0';
        return true;
}

/* BEGIN: the write blocks in a process of its own. Returns its id, or -errno. */
static inline pid_t reaction_begin(const struct reaction_host *host, const char *path, const char *value)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(-host->write(host->ctx, path, value));
        return pid < 0 ? -errno : pid;
}

/* END: what the write returned. */
static inline int reaction_end(pid_t *aside)
{
        int status = 0;

        if (waitpid(*aside, &status, 0) != *aside || !WIFEXITED(status))
                return -ECHILD;
        *aside = 0;
        return -WEXITSTATUS(status);
}

/* A generous while: an emulated machine may be slow, and only a failure waits this long. */
static inline int reaction_await_none(const struct reaction_host *host, const char *path)
{
        for (unsigned i = 0; i < 3000 && host->exists(host->ctx, path) > 0; i++)
                (void)usleep(10 * 1000);
        return host->exists(host->ctx, path);
}

static inline bool reaction_step_holds(const struct reaction_host *host, pid_t *aside, const struct reaction_step *s, const char *path,
                                       const char *value, char *got, size_t size)
{
        int r;

        (void)snprintf(got, size, "nothing");
        switch (s->what) {
        case DO:
                r = host->write(host->ctx, path, value);
                (void)snprintf(got, size, "%d (%s)", r, r < 0 ? strerror(-r) : "done");
                return r == s->result;
        case SEE_LINK:
                r = host->link_name(host->ctx, path, got, size);
                return r == 0 && strcmp(got, value) == 0;
        case SEE_VALUE:
                r = host->read(host->ctx, path, got, size);
                return r == 0 && strcmp(got, value) == 0;
        case SEE:
        case SEE_NONE:
                r = host->exists(host->ctx, path);
                (void)snprintf(got, size, "%s", r > 0 ? "there" : "not there");
                return r == (s->what == SEE);
        case SEE_COUNT:
                r = host->count(host->ctx, path, value);
                (void)snprintf(got, size, "%d", r);
                return r == s->result;
        case HOLD:
        case LET_GO:
                r = host->hold(host->ctx, path, s->what == HOLD);
                (void)snprintf(got, size, "%d", r);
                return r == 0;
        case BEGIN:
                *aside = reaction_begin(host, path, value);
                (void)snprintf(got, size, "%d", (int)*aside);
                return *aside > 0;
        case END:
                r = reaction_end(aside);
                (void)snprintf(got, size, "%d (%s)", r, r < 0 ? strerror(-r) : "done");
                return r == s->result;
        case AWAIT_NONE:
                r = reaction_await_none(host, path);
                (void)snprintf(got, size, "%s", r > 0 ? "there" : "not there");
                return r == 0 && waitpid(*aside, NULL, WNOHANG) == 0; /* not because the write is over */
        case STEP_LAST:
                break;
        }
        return false;
}

/* 0: as the table says. 1: skipped, @why names what the host lacks. -1: @why says which step and what was seen. */
static inline int reaction_run(const struct reaction_host *host, const struct reaction_case *c, char *why, size_t size)
{
        static const char *const whats[] = { "",      "write",  "link",     "absence", "presence", "value",
                                             "count", "hold",   "let go",   "begin",   "end",      "going away" };
        pid_t aside = 0;
        char path[1024], value[256], got[256];

        for (unsigned pass = 0; pass < 2; pass++) /* all names first: a case is run whole or not at all */
                for (unsigned i = 0; i < REACTION_STEPS_MAX && c->steps[i].what != STEP_LAST; i++) {
                        const struct reaction_step *s = &c->steps[i];
                        if (!reaction_expand(host, s->path, path, sizeof(path)) ||
                            !reaction_expand(host, s->value, value, sizeof(value))) {
                                (void)snprintf(why, size, "this host has no %.100s", strchr(s->path, '$') ? strchr(s->path, '$') : s->value);
                                return 1;
                        }
                        if (pass == 1 && !reaction_step_holds(host, &aside, s, path, value, got, sizeof(got))) {
                                (void)snprintf(why, size, "step %u: %s of %.300s \"%.200s\" (expected %d): saw %.200s", i + 1, whats[s->what], path,
                                               value, s->result, got);
                                return -1;
                        }
                }
        return 0;
}

#undef PCI_
#undef DRV_
#undef PROBE_
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "fuse.h"

#define KUBELET_DIR "/run/kubelet"
#define CONFIG_FILE "/run/config.yaml"
#define PROFILE     "1.34"

enum { TEARDOWN_S = 120 };

static struct fk *kubelet;
static struct process sluiced;
static char log_path[128];
static const char *hand;
static bool blind, in_pod, quiet;
static const char *program = "sluiced";

struct fk *node_kubelet(void)
{
        return kubelet;
}

pid_t daemon_pid(void)
{
        return sluiced.pid;
}

void daemon_set_hand(const char *path)
{
        hand = path;
}

void daemon_set_blind(void)
{
        blind = true;
}

void daemon_set_quiet(void)
{
        quiet = true;
}

void daemon_set_quick_pods(void)
{
        program = "sluiced-quick-pods";
}

void daemon_set_held(void)
{
        program = "sluiced-held-quick-pods";
        hand = "/share/bin/sluice-hand-held";
}

void daemon_set_pod(const char *variant)
{
        assert_int_equal(setenv("VM_POD", variant, 1), 0);
        in_pod = true;
}

static struct process start_logging_to(const char *log)
{
        const char *argv[32] = { in_pod  ? "in-pod"
                                 : blind ? "blind-logged"
                                         : "logged",
                                 log,
                                 program,
                                 "--kubelet-dir",
                                 KUBELET_DIR,
                                 "--state-dir",
                                 NODE_STATE_DIR,
                                 "--run-dir",
                                 NODE_RUN_DIR,
                                 "--log-level",
                                 quiet ? "warn" : "debug" };
        size_t n = 11;

        if (access(CONFIG_FILE, F_OK) == 0) { /* a named file must be there; the default place has none in the guest */
                argv[n++] = "--config";
                argv[n++] = CONFIG_FILE;
        }
        if (hand != NULL) {
                argv[n++] = "--hand";
                argv[n++] = hand;
        }
        if (in_pod)
                argv[n++] = "--host-mounts=/host";
        return start_program(NULL, argv);
}

void daemon_start(void)
{
        sluiced = start_logging_to(log_path);
}

void node_mount_state(const char *options)
{
        (void)mkdir(NODE_STATE_DIR, 0700);
        if (mount("state", NODE_STATE_DIR, "tmpfs", 0, options) < 0)
                fail_msg("cannot mount " NODE_STATE_DIR ": %s", strerror(errno));
}

struct process daemon_start_second(const char *label)
{
        char path[128];

        str_format(path, sizeof(path), "/share/log/%s.log", label);
        (void)unlink(path);
        return start_logging_to(path);
}

void daemon_stop(int signal_number)
{
        if (sluiced.pid <= 0)
                return;
        int status = stop_process(&sluiced, signal_number);
        if (signal_number == SIGTERM && status != 0)
                fail_msg("sluiced ended with %d: see %s", status, log_path);
}

struct fk *node_start(const char *label, const char *config)
{
        (void)mkdir("/share/log", 0755);
        str_format(log_path, sizeof(log_path), "/share/log/%s.log", label);
        (void)unlink(log_path);
        (void)unlink(CONFIG_FILE);
        if (config != NULL)
                file_write(CONFIG_FILE, config);
        (void)mkdir(KUBELET_DIR, 0755);
        kubelet = fk_start(KUBELET_DIR, fk_profile(PROFILE));
        if (kubelet == NULL)
                fail_msg("kubelet cannot listen below " KUBELET_DIR ": %s", strerror(errno));
        daemon_start();
        return kubelet;
}

void node_stop(void)
{
        daemon_stop(SIGTERM);
        bool fine = fk_stop(kubelet);

        kubelet = NULL;
        assert_true(fine);
}

int node_teardown(void **state)
{
        (void)state;
        fuse_light("a test's teardown", TEARDOWN_S);
        release_kernel(); /* a test that failed may have left a task in it */
        if (sluiced.pid > 0)
                (void)stop_process(&sluiced, SIGKILL);
        if (kubelet != NULL)
                (void)fk_stop(kubelet);
        kubelet = NULL;
        hand = NULL;
        blind = in_pod = quiet = false;
        program = "sluiced";
        stop_all_processes();
        restore_kernel();
        (void)umount2(NODE_STATE_DIR, MNT_DETACH); /* mostly it is no mount */
        (void)RUN_PROGRAM(NULL, "rm", "-rf", NODE_RUN_DIR, NODE_STATE_DIR, KUBELET_DIR);
        fuse_put_out();
        return 0;
}

/* ---- expectations ---- */

void expect_counts(const char *resource, unsigned capacity, unsigned allocatable)
{
        struct fk_counts c = { 0 };

        if (fk_wait_devices(kubelet, resource, capacity, allocatable, NODE_PATIENCE_MS))
                return;
        bool known = fk_counts(kubelet, resource, &c);
        fail_msg("%s: %s, capacity %u, allocatable %u instead of %u and %u: see %s", resource, known ? "known" : "never registered",
                 c.capacity, c.allocatable, capacity, allocatable, log_path);
}

static bool any_resource(struct fk *k, void *ctx)
{
        struct fk_counts c;

        return fk_counts(k, ctx, &c);
}

void expect_never_offered(const char *resource)
{
        if (fk_wait(kubelet, 1500, any_resource, (void *)(uintptr_t)resource))
                fail_msg("%s is offered: see %s", resource, log_path);
}

void allocate(const char *pod, const char *resource, size_t n, struct fk_run *ret)
{
        char text[FK_TEXT_MAX];

        if (fk_admit_one(kubelet, pod, resource, n, text) != 0)
                fail_msg("pod %s is not admitted: %s", pod, text);
        if (fk_container_start(kubelet, pod, "main", ret, text) != 0)
                fail_msg("container of %s does not start: %s", pod, text);
}

void expect_refused(const char *pod, const char *resource, const char *word1, const char *word2)
{
        char text[FK_TEXT_MAX] = "";

        if (fk_admit_one(kubelet, pod, resource, 1, text) == 0)
                fail_msg("pod %s is admitted", pod);
        if ((word1 != NULL && strstr(text, word1) == NULL) || (word2 != NULL && strstr(text, word2) == NULL))
                fail_msg("not about %s and %s: %s", word1, word2, text);
}

static void *admit(void *arg)
{
        struct admission *a = arg;

        a->admitted = fk_admit_one(kubelet, a->pod, a->resource, a->n, a->text) == 0;
        return NULL;
}

void admission_start_of(struct admission *admission, const char *pod, const char *resource, size_t n)
{
        *admission = (struct admission){ .pod = pod, .resource = resource, .n = n };
        assert_int_equal(pthread_create(&admission->thread, NULL, admit, admission), 0);
}

void admission_start(struct admission *admission, const char *pod, const char *resource)
{
        admission_start_of(admission, pod, resource, 1);
}

bool admission_end(struct admission *admission)
{
        (void)pthread_join(admission->thread, NULL);
        return admission->admitted;
}

void await_hand(const char *card)
{
        char path[128];

        str_format(path, sizeof(path), NODE_RUN_DIR "/card-%s.lock", card);
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX) < 0)
                fail_msg("%s: %s", path, strerror(errno));
}

void await_registered(unsigned before)
{
        int64_t end = now_ms() + NODE_PATIENCE_MS;

        while (fk_registers(kubelet) == before && now_ms() < end)
                sleep_ms(50);
        assert_int_not_equal(fk_registers(kubelet), before);
}

void expect_answer(const struct fk_run *run, const char *variable, const char *value, const char *group)
{
        char node[64];
        unsigned prefixed = 0;

        str_format(node, sizeof(node), "/dev/vfio/%s", group);
        const char *got = fk_run_env(run, variable);
        if (got == NULL || !streq(got, value))
                fail_msg("%s is %s instead of %s", variable, got != NULL ? got : "not set", value);
        for (size_t i = 0; i < run->n_envs; i++)
                prefixed += str_has_prefix(run->envs[i].key, "PCI_RESOURCE_") || str_has_prefix(run->envs[i].key, "MDEV_PCI_RESOURCE_");
        assert_int_equal(prefixed, 1);
        assert_int_equal(run->n_devices, 2); /* this kernel has no cdevs */
        for (size_t i = 0; i < 2; i++) {
                assert_string_equal(run->devices[i].key, run->devices[i].value);
                if (!streq(run->devices[i].key, "/dev/vfio/vfio") && !streq(run->devices[i].key, node))
                        fail_msg("unexpected node %s", run->devices[i].key);
        }
        assert_string_equal(run->permissions, "mrw");
}

void expect_device_becomes_usable(const char *pod, const char *resource, const char *variable, const char *bdf)
{
        struct fk_run run = { 0 };
        char output[OUTPUT_BYTES];

        allocate(pod, resource, 1, &run);
        expect_answer(&run, variable, bdf, group_of(bdf));
        fk_run_done(&run);
        int status = use_device(group_of(bdf), bdf, output);
        if (status != VFIO_USABLE || strstr(output, "viable\ndma 1 MiB\nids ") == NULL)
                fail_msg("%s cannot be used: %s", bdf, output);
}

const char *inventory_reason(const char *id, char detail[VALUE_BYTES])
{
        static char word[VALUE_BYTES];
        static char text[1 << 16];
        json_error_t error;
        size_t i;
        json_t *device;
        bool found = false;

        bool configured = access(CONFIG_FILE, F_OK) == 0;
        int status =
                RUN_PROGRAM_INTO(text, sizeof(text), "sluicectl", "inventory", "-o", "json", configured ? "--config" : NULL, CONFIG_FILE);
        json_t *all = status == 0 ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (all == NULL)
                fail_msg("sluicectl inventory: %d: %.300s", status, text);
        word[0] = '\0';
        json_array_foreach(json_object_get(all, "devices"), i, device)
        {
                const json_t *reason = json_object_get(device, "reason");
                const char *this_id = json_string_value(json_object_get(device, "id"));
                const char *why = json_string_value(json_object_get(reason, "detail"));

                if (this_id == NULL || !streq(this_id, id))
                        continue;
                found = true;
                if (json_is_object(reason))
                        str_format(word, sizeof(word), "%s", json_string_value(json_object_get(reason, "word")));
                if (detail != NULL)
                        str_format(detail, VALUE_BYTES, "%s", why != NULL ? why : "");
        }
        json_decref(all);
        if (!found)
                fail_msg("sluicectl inventory does not list %s", id);
        return word;
}

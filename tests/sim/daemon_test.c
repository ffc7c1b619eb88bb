/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as a process: its command line, its exit statuses, the state lock, the service manager, and what it re-reads. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

/* ---- running it to its end ---- */

/* Runs sluiced with @args (NULL-terminated) until it ends, at most 20 s. Its two outputs come in @text together. */
static int say(struct rig *rig, const char *const *args, char *text, size_t size)
{
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *program = xasprintf("%s/sluiced", bin ? bin : "build/asan/bin");
        _cleanup_free_ char *out = xasprintf("%s/said", rig->dir);
        char *argv[16] = { (char *)"sluiced" };
        posix_spawn_file_actions_t actions;
        struct err err;
        size_t n;
        pid_t pid;

        for (size_t i = 0; args[i]; i++)
                argv[i + 1] = (char *)(uintptr_t)args[i];
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        (void)posix_spawn_file_actions_adddup2(&actions, 1, 2);
        assert_int_equal(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        int status = rig_reap(pid, RIG_SOON_MS);
        ASSERT_OK(fs_read(AT_FDCWD, out, text, size, &n, &err), &err);
        if (strstr(text, "Sanitizer"))
                fail_msg("%s", text);
        return status;
}

static void test_a_wrong_command_line_is_status_2_and_a_sentence(void **state)
{
        static const struct {
                const char *args[4];
                const char *says;
        } table[] = {
                { { "--bogus" }, "bogus" },
                { { "now" }, "unexpected argument \"now\"" },
                { { "--config" }, "requires an argument" },
                { { "--kubelet-dir", "kubelet" }, "--kubelet-dir kubelet: not an absolute path" },
                { { "--lock-wait", "-1" }, "--lock-wait -1: not a number of seconds" },
                { { "--lock-wait", "86401" }, "not a number of seconds between 0 and 86400" },
                { { "--log-level", "loud" }, "not one of error, warn, info, debug" },
                { { "--log-format", "xml" }, "not one of text, json" },
                { { "--sim-nodes", "/dev/null" }, "--sim-nodes goes with --host" },
                { { "--host-mounts", "/host", "--host", "x" }, "--host-mounts is of a real host" },
                { { "--host-mounts", "host" }, "--host-mounts host: not an absolute path" },
                { { "--sim-nodes", "null", "--host" }, "--sim-nodes null: not an absolute path" },
        };
        struct rig *rig = *state;
        char text[8192];

        for (size_t i = 0; i < N_ELEMENTS(table); i++) {
                int status = say(rig, table[i].args, text, sizeof(text));
                if (status != 2 || !strstr(text, table[i].says))
                        fail_msg("row %zu: status %d, \"%s\"", i, status, text);
        }
        rig->over = true;
}

static void test_help_and_version_go_to_the_output_with_status_0(void **state)
{
        struct rig *rig = *state;
        char text[8192];

        assert_int_equal(say(rig, (const char *[]){ "--version", NULL }, text, sizeof(text)), 0);
        assert_true(str_has_prefix(text, "sluiced " SLUICE_VERSION));
        assert_int_equal(say(rig, (const char *[]){ "--help", NULL }, text, sizeof(text)), 0);
        assert_true(str_has_prefix(text, "Usage: sluiced"));
        rig->over = true;
}

static void test_an_output_that_does_not_arrive_is_a_failure(void **state)
{
        struct rig *rig = *state;
        const char *bin = getenv("SLUICE_BIN");

        _cleanup_free_ char *command = xasprintf("%s/sluiced --help 2>%s >/dev/full", bin ? bin : "build/asan/bin", rig->log);
        int status = system(command);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
        assert_true(rig_logged(rig, "cannot write the output", 0));
        rig->over = true;
}

static void test_check_config_says_every_problem_with_its_line(void **state)
{
        static const struct {
                const char *config;
                int status;
                const char *says[4]; /* after the file's name */
        } table[] = {
                { CONFIG, 0, { ": no rules: the implicit rule is in force" } },
                { ON_ALLOCATE, 0, { ": ok" } },
                { CONFIG "rulez: 1\nrules:\n  - bind: x\n    bind: never\n    mode: container\n",
                  1,
                  { ":3: unknown key \"rulez\"", ":5: rules[0].bind: \"x\" is none of", ":6: rules[0].bind: the key is given twice",
                    ":7: rules[0].mode: \"container\" is not possible" } },
                { CONFIG "pciIds: /nowhere/pci.ids\n", 1, { ":3: pciIds: cannot open pci.ids file /nowhere/pci.ids" } },
                { CONFIG "pciIds: /dev/null\n", 1, { ":3: pciIds: pci.ids file /dev/null is no plain file" } },
        };
        struct rig *rig = *state;
        char text[8192];

        for (size_t i = 0; i < N_ELEMENTS(table); i++) {
                rig_config(rig, table[i].config);
                int status = say(rig, (const char *[]){ "--config", rig->config, "--check-config", NULL }, text, sizeof(text));
                if (status != table[i].status)
                        fail_msg("row %zu: status %d, \"%s\"", i, status, text);
                for (size_t k = 0; k < 4 && table[i].says[k]; k++) {
                        _cleanup_free_ char *line = xasprintf("%s%s", rig->config, table[i].says[k]);
                        if (!strstr(text, line))
                                fail_msg("row %zu: no \"%s\" in \"%s\"", i, line, text);
                }
        }
        assert_int_equal(say(rig, (const char *[]){ "--config", "/nowhere/config.yaml", "--check-config", NULL }, text, sizeof(text)), 1);
        assert_non_null(strstr(text, "/nowhere/config.yaml"));
        rig->over = true;
}

static void test_print_config_prints_what_it_would_read(void **state)
{
        struct rig *rig = *state;
        char first[8192], second[8192];

        rig_config(rig, ON_ALLOCATE);
        const char *const print[] = { "--config", rig->config, "--print-config", NULL };
        assert_int_equal(say(rig, print, first, sizeof(first)), 0);
        assert_non_null(strstr(first, "bind: on-allocate"));
        assert_non_null(strstr(first, "rescan: 10s")); /* a default */
        rig_config(rig, first);
        assert_int_equal(say(rig, print, second, sizeof(second)), 0);
        assert_string_equal(first, second);
        rig->over = true;
}

/* ---- the state lock ---- */

static void test_lock_wait_ends_with_status_3(void **state)
{
        struct rig *rig = *state;
        char text[8192];

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        const char *const args[] = { "--lock-wait", "1",          "--kubelet-dir", rig->kubelet_dir, "--state-dir", rig->state_dir,
                                     "--run-dir",   rig->run_dir, "--config",      rig->config,      "--sim-dir",   rig->sim_dir,
                                     NULL };
        int64_t start = clock_ms();
        assert_int_equal(say(rig, args, text, sizeof(text)), 3);
        assert_true(clock_ms() - start >= 1000);
        assert_non_null(strstr(text, "another sluiced holds"));
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_the_lock_of_a_killed_daemon_goes_to_the_one_that_waits(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
        pid_t second = rig_spawn(rig, log);
        str_format(rig->log, sizeof(rig->log), "%s", log);
        assert_true(rig_logged(rig, "waiting for it to end", RIG_SOON_MS));
        assert_int_equal(rig_end(rig, SIGKILL), 128 + SIGKILL); /* the lock goes with the process */
        rig->pid = second;
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Whatever else is its own: of one kubelet's registrations, and of one machine's GPUs, one daemon takes care. */
static void test_a_second_daemon_waits_for_kubelets_directory_and_for_the_hardware(void **state)
{
        struct rig *rig = *state;

        for (unsigned i = 0; i < 2; i++) {
                if (i > 0) {
                        assert_int_equal(rig_teardown(state), 0);
                        assert_int_equal(rig_setup(state), 0);
                        rig = *state;
                }
                rig_open(rig, "l40s-8-vfio", "1.34", NULL);
                rig_ready(rig, L40S, 8, 8);
                struct rig other = *rig;
                str_format(other.state_dir, sizeof(other.state_dir), "%s/state2", rig->dir);
                if (i == 0)
                        str_format(other.run_dir, sizeof(other.run_dir), "%s/run2", rig->dir);
                else
                        str_format(other.kubelet_dir, sizeof(other.kubelet_dir), "%s/kubelet2", rig->dir);
                _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
                pid_t second = rig_spawn(&other, log);
                str_format(other.log, sizeof(other.log), "%s", log);
                assert_true(rig_logged(&other, i == 0 ? "/device-plugins: waiting for it" : "/run: waiting for it", RIG_SOON_MS));
                assert_int_equal(rig_counts(rig, L40S).registrations, 1);
                assert_int_equal(rig_end(rig, SIGTERM), 0);
                rig->pid = second;
                str_format(rig->log, sizeof(rig->log), "%s", log);
                if (i == 0)
                        rig_ready(rig, L40S, 8, 8);
                else
                        assert_true(rig_logged(rig, "pool " L40S, RIG_SOON_MS));
                rig_stop(rig);
        }
}

static void test_what_changed_during_the_wait_for_the_lock_counts(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
        pid_t second = rig_spawn(rig, log);
        str_format(rig->log, sizeof(rig->log), "%s", log);
        assert_true(rig_logged(rig, "waiting for it to end", RIG_SOON_MS));
        rig_config(rig, CONFIG "rules:\n  - resource: example.com/big\n");
        assert_int_equal(kill(second, SIGHUP), 0); /* nothing to reload yet, and no reason to end */
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig->pid = second;
        rig_ready(rig, "example.com/big", 8, 8);
        rig_stop(rig);
}

static void test_a_bad_file_after_the_wait_leaves_what_was_read_before_it(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *log = xasprintf("%s/log2", rig->dir);
        pid_t second = rig_spawn(rig, log);
        str_format(rig->log, sizeof(rig->log), "%s", log);
        assert_true(rig_logged(rig, "waiting for it to end", RIG_SOON_MS));
        rig_config(rig, CONFIG "rulez: []\n");
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig->pid = second;
        assert_true(rig_logged(rig, "is not used", RIG_SOON_MS));
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* ---- the service manager ---- */

static int manager_open(const struct rig *rig)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        str_format(a.sun_path, sizeof(a.sun_path), "%s/notify", rig->dir);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        struct timeval patience = { .tv_sec = RIG_SOON_MS / 1000 };
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
        assert_int_equal(setenv("NOTIFY_SOCKET", a.sun_path, 1), 0);
        return fd;
}

static void manager_hears(int fd, const char *what)
{
        char text[256];

        ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
        assert_true(n > 0);
        text[n] = '\0';
        if (!strstr(text, what))
                fail_msg("\"%s\" instead of \"%s\"", text, what);
}

static void test_the_service_manager_hears_ready_when_kubelet_is_served_and_stopping_at_the_end(void **state)
{
        struct rig *rig = *state;

        _cleanup_close_ int fd = manager_open(rig);
        rig_prepare(rig, "l40s-8", AT_START);
        rig_fault(rig, "unbind * delay 300");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        manager_hears(fd, "READY=1");
        assert_driver(rig, "0000:18:00.0", "vfio-pci"); /* not before the binds at start */
        pid_t second = rig_spawn(rig, rig->log);
        manager_hears(fd, "STATUS=waiting for another sluiced"); /* and it is not ready */
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        manager_hears(fd, "STOPPING=1");
        manager_hears(fd, "READY=1");
        rig->pid = second;
        (void)unsetenv("NOTIFY_SOCKET");
        rig_stop(rig);
}

static void test_without_kubelet_ready_means_that_the_node_api_answers(void **state)
{
        struct sockaddr_un node = { .sun_family = AF_UNIX };
        struct rig *rig = *state;

        _cleanup_close_ int fd = manager_open(rig);
        rig_prepare(rig, "l40s-8", AT_START "registration: none\n");
        rig_daemon(rig);
        manager_hears(fd, "READY=1");
        assert_driver(rig, "0000:18:00.0", "vfio-pci");
        str_format(node.sun_path, sizeof(node.sun_path), "%s/node.sock", rig->run_dir);
        _cleanup_close_ int asked = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(asked, (const struct sockaddr *)(const void *)&node, sizeof(node)), 0);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        manager_hears(fd, "STOPPING=1");
        (void)unsetenv("NOTIFY_SOCKET");
        rig_stop(rig);
}

/* ---- what is re-read ---- */

/* A user file goes before the built-in table. */
static void write_ids(struct rig *rig, char path[static 96], const char *name)
{
        struct err err;

        str_format(path, 96, "%s/pci.ids", rig->dir);
        _cleanup_free_ char *text = xasprintf("10de  NVIDIA Corporation\n\t26b9  %s\n", name);
        ASSERT_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0644, &err), &err);
}

static void test_a_new_pci_ids_file_is_read_at_sighup_and_names_nobody_anew(void **state)
{
        struct rig *rig = *state;
        char ids[96], names[4][FK_RESOURCE_MAX];

        write_ids(rig, ids, "One [First]");
        _cleanup_free_ char *config = xasprintf(CONFIG "pciIds: %s\n", ids);
        rig_open(rig, "l40s-8-vfio", "1.34", config);
        rig_ready(rig, "nvidia.com/ONE_FIRST", 8, 8);
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "is unchanged", RIG_SOON_MS));
        write_ids(rig, ids, "Two [Second]");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "nvidia.com/TWO_SECOND", RIG_SOON_MS)); /* the next start's name is said */
        assert_int_equal(fk_resources(rig->k, names, 4), 1);
        rig_ready(rig, "nvidia.com/ONE_FIRST", 8, 8);
        assert_int_equal(rig_end(rig, SIGTERM), 0);
        rig_daemon(rig);
        rig_ready(rig, "nvidia.com/TWO_SECOND", 8, 8);
        rig_stop(rig);
}

static void test_a_pci_ids_file_that_is_gone_keeps_the_configuration_in_force(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        rig_config(rig, CONFIG "pciIds: /nowhere/pci.ids\nrules:\n  - deny: true\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "the configuration in force stays: cannot open pci.ids file /nowhere/pci.ids", RIG_SOON_MS));
        (void)usleep(400 * 1000);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_other_classes_take_effect_at_sighup(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", CONFIG "classes: [\"1200\"]\n");
        assert_true(rig_logged(rig, "nothing is offered", RIG_SOON_MS));
        rig_config(rig, CONFIG "classes: [\"0302\"]\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        rig_ready(rig, L40S, 8, 8);
        rig_config(rig, CONFIG "classes: [\"1200\"]\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        rig_ready(rig, L40S, 8, 0); /* listed for good, given no more */
        rig_stop(rig);
}

static void test_sighup_without_a_file_changes_nothing(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(unlink(rig->config), 0);
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "the implicit rule stays in force", RIG_SOON_MS));
        rig_config(rig, ON_ALLOCATE);
        assert_true(rig_logged(rig, "config.yaml is in force", RIG_SOON_MS));
        assert_int_equal(unlink(rig->config), 0);
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_true(rig_logged(rig, "is not used, the configuration in force stays", RIG_SOON_MS)); /* rules do not go with their file */
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

static void test_a_written_file_is_put_in_force_without_a_signal(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", CONFIG "rules:\n  - deny: true\n");
        assert_true(rig_logged(rig, "nothing is offered", RIG_SOON_MS));
        rig_config(rig, CONFIG);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* The configuration gets a directory of its own; returns its path, which the caller frees. */
static char *config_elsewhere(struct rig *rig)
{
        char *elsewhere = xasprintf("%s/etc", rig->dir);

        assert_int_equal(mkdir(elsewhere, 0755), 0);
        str_format(rig->config, sizeof(rig->config), "%s/config.yaml", elsewhere);
        return elsewhere;
}

/* A directory that is made later, or replaced, has no watch: the backstop finds the file in it. */
static void test_a_configuration_whose_directory_comes_later_is_found(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", CONFIG "rescan: 5s\n");
        _cleanup_free_ char *elsewhere = config_elsewhere(rig);
        rig_config(rig, CONFIG "rescan: 5s\n");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        assert_true(rig_logged(rig, "nothing is offered", RIG_SOON_MS));
        _cleanup_free_ char *aside = xasprintf("%s/old", rig->dir);
        assert_int_equal(rename(elsewhere, aside), 0);
        (void)usleep(500 * 1000); /* what inotify still tells of the old one is over */
        assert_int_equal(mkdir(elsewhere, 0755), 0);
        rig_config(rig, CONFIG "rescan: 5s\nrules:\n  - bind: on-allocate\n");
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Once the backstop has found the new directory, it is watched as the old one was. */
static void test_a_directory_that_was_replaced_is_watched_again(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", CONFIG);
        _cleanup_free_ char *elsewhere = config_elsewhere(rig);
        rig_config(rig, CONFIG "rescan: 5s\nrules:\n  - resource: example.com/first\n");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, "example.com/first", 8, 8);
        _cleanup_free_ char *aside = xasprintf("%s/old", rig->dir);
        assert_int_equal(rename(elsewhere, aside), 0);
        (void)usleep(500 * 1000);
        assert_int_equal(mkdir(elsewhere, 0755), 0);
        rig_config(rig, CONFIG "rescan: 5m\nrules:\n  - deny: true\n");
        rig_ready(rig, "example.com/first", 8, 0);
        rig_config(rig, CONFIG "rescan: 5m\nrules:\n  - resource: example.com/first\n");
        rig_ready(rig, "example.com/first", 8, 8); /* not after five minutes */
        rig_stop(rig);
}

/* Between the reading of the file and the first watch lies the reading of a pci.ids file, here a long one. */
static void test_a_change_during_the_start_is_not_missed(void **state)
{
        struct rig *rig = *state;
        _cleanup_free_ char *ids = xasprintf("%s/pci.ids", rig->dir);
        _cleanup_free_ char *first = xasprintf(CONFIG "rescan: 5s\npciIds: %s\nrules:\n  - deny: true\n", ids);

        rig_prepare(rig, "l40s-8-vfio", first);
        _cleanup_free_ char *elsewhere = config_elsewhere(rig); /* nothing else is written there: no event brings the truth by chance */
        rig_config(rig, first);
        FILE *f = fopen(ids, "we");
        assert_non_null(f);
        for (unsigned i = 0; i < 300000; i++) {
                if (i % 0x10000 == 0)
                        (void)fprintf(f, "2%03x  A vendor\n", i / 0x10000);
                (void)fprintf(f, "\t%04x  A\n", i % 0x10000);
        }
        assert_int_equal(fclose(f), 0);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        assert_true(rig_logged(rig, " starts", RIG_SOON_MS));
        rig_config(rig, CONFIG);
        rig_ready(rig, L40S, 8, 8);
        rig_stop(rig);
}

/* Kubelet's way: every file is a link through "..data", which one rename points to the next directory. */
static void configmap_write(const struct rig *rig, const char *version, const char *text)
{
        _cleanup_free_ char *volume = xasprintf("%s/volume", rig->dir);
        _cleanup_free_ char *file = xasprintf("%s/config.yaml", version);
        struct err err;

        assert_int_equal(fs_mkdir(AT_FDCWD, volume, 0755), 0);
        int dir = fs_open(AT_FDCWD, volume, O_RDONLY | O_DIRECTORY, 0);
        assert_true(dir >= 0);
        assert_int_equal(fs_mkdir(dir, version, 0755), 0);
        ASSERT_OK(fs_replace(dir, file, text, strlen(text), 0644, &err), &err);
        assert_int_equal(fs_symlink(version, dir, "..data_tmp"), 0);
        assert_int_equal(fs_rename(dir, "..data_tmp", "..data"), 0);
        (void)fs_symlink("..data/config.yaml", dir, "config.yaml");
        (void)close(dir);
}

static void test_a_changed_configmap_is_put_in_force(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8-vfio", NULL);
        configmap_write(rig, "..2026_1", CONFIG "rescan: 5m\nrules:\n  - resource: example.com/first\n");
        str_format(rig->config, sizeof(rig->config), "%s/volume/config.yaml", rig->dir);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, "example.com/first", 8, 8);
        configmap_write(rig, "..2026_2",
                        CONFIG "rescan: 5m\nrules:\n  - select: {addresses: [\"0000:18:00.0\"]}\n    deny: true\n"
                               "  - resource: example.com/first\n");
        assert_true(rig_logged(rig, "config.yaml is in force", RIG_SOON_MS)); /* long before the next look by the clock */
        rig_ready(rig, "example.com/first", 8, 7);
        rig_stop(rig);
}

/* What a reload would put to work is being taken down. */
static void test_a_reload_after_the_end_was_asked_for_is_not_made(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", AT_START "bindDeadline: 60s\n");
        rig_fault(rig, "unbind 0000:18:00.0 delay 1300 times 1");
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        assert_true(rig_logged(rig, "0000:19:00.0 is bound", RIG_SOON_MS)); /* the other hand is at work: the end waits for it */
        assert_int_equal(kill(rig->pid, SIGTERM), 0);
        assert_true(rig_logged(rig, "bindings stay as they are", RIG_SOON_MS));
        rig_config(rig, CONFIG "rules:\n  - deny: true\n");
        assert_int_equal(kill(rig->pid, SIGHUP), 0);
        assert_int_equal(rig_reap(rig->pid, RIG_SOON_MS), 0);
        rig->pid = 0;
        assert_int_equal(rig_log_count(rig, "is in force"), 0);
        rig_stop(rig);
}

/* Status 1, a sentence, and nothing lost on the way: say() fails for what a sanitizer finds. */
static void test_a_start_that_fails_says_why_and_tidies_up(void **state)
{
        struct rig *rig = *state;
        char text[8192];

        rig_prepare(rig, "l40s-8", AT_START);
        const char *file = rig->config;
        _cleanup_free_ char *fresh = xasprintf("%s/fresh", rig->dir);
        _cleanup_free_ char *bad = xasprintf("%s/bad.yaml", rig->dir);
        _cleanup_free_ char *names = xasprintf("%s/names.yaml", rig->dir);
        _cleanup_free_ char *below = xasprintf("%s/below", file);
        _cleanup_free_ char *long_dir = xasprintf("/%0120d", 0);
        static const char rulez[] = CONFIG "rulez: 1\n", nowhere[] = CONFIG "pciIds: /nowhere/pci.ids\n";
        struct err err;
        ASSERT_OK(fs_replace(AT_FDCWD, bad, rulez, strlen(rulez), 0644, &err), &err);
        ASSERT_OK(fs_replace(AT_FDCWD, names, nowhere, strlen(nowhere), 0644, &err), &err);
        const struct {
                const char *option, *value; /* in the place of what would be right */
                const char *says;
        } table[] = {
                { "--config", bad, ":3: unknown key \"rulez\"" },
                { "--config", "/nowhere/config.yaml", "cannot open /nowhere/config.yaml: No such file" },
                { "--config", names, "cannot start: cannot open pci.ids file /nowhere/pci.ids" },
                { "--state-dir", below, "cannot make directory" },
                { "--state-dir", file, "Not a directory" },
                { "--run-dir", below, "cannot make directory" },
                { "--host", "/nowhere", "cannot make the simulated host: cannot read /nowhere" },
                { "--host", file, "not a capture" },
                { "--sim-dir", rig->kubelet_dir, "is no simulated host" },
                { "--hand", "/nowhere/sluice-hand", "cannot start: cannot start /nowhere/sluice-hand" },
                { "--kubelet-dir", long_dir, "is too long" },
        };
        for (size_t i = 0; i < N_ELEMENTS(table); i++) {
                const char *args[16] = { "--kubelet-dir", rig->kubelet_dir, "--state-dir", rig->state_dir, "--run-dir",
                                         rig->run_dir,    "--config",       rig->config,   "--sim-dir",    rig->sim_dir };
                size_t k = 0;
                while (k < 10 && !streq(args[k], table[i].option))
                        k += 2;
                args[k] = table[i].option;
                args[k + 1] = table[i].value;
                if (streq(table[i].option, "--host"))
                        args[9] = fresh;
                int status = say(rig, args, text, sizeof(text));
                if (status != 1 || !strstr(text, table[i].says))
                        fail_msg("%s %s: status %d, \"%s\"", table[i].option, table[i].value, status, text);
        }
        rig->over = true;
}

/* By then gRPC has its threads and the zygote runs. */
static void test_a_host_that_cannot_be_read_at_the_first_look_ends_the_start(void **state)
{
        struct rig *rig = *state;
        char text[8192];

        rig_prepare(rig, "l40s-8", AT_START);
        _cleanup_free_ char *bus = xasprintf("%s/sys/bus/pci/devices", rig->sim_dir);
        _cleanup_free_ char *aside = xasprintf("%s/aside", rig->sim_dir);
        assert_int_equal(rename(bus, aside), 0);
        const char *const args[] = { "--kubelet-dir", rig->kubelet_dir, "--state-dir", rig->state_dir, "--run-dir", rig->run_dir,
                                     "--config",      rig->config,      "--sim-dir",   rig->sim_dir,   NULL };
        assert_int_equal(say(rig, args, text, sizeof(text)), 1);
        assert_non_null(strstr(text, "cannot start: cannot open the PCI bus"));
        rig->over = true;
}

static void test_a_directory_too_long_for_sockets_is_said_before_anything_is_bound(void **state)
{
        struct rig *rig = *state;
        char text[8192];

        rig_prepare(rig, "l40s-8", AT_START);
        _cleanup_free_ char *tree = rig_tree(rig);
        _cleanup_free_ char *kubelet = xasprintf("%s/%0*d", rig->dir, 60, 0);
        const char *const args[] = { "--kubelet-dir", kubelet,     "--state-dir", rig->state_dir, "--run-dir", rig->run_dir,
                                     "--config",      rig->config, "--sim-dir",   rig->sim_dir,   NULL };
        assert_int_equal(say(rig, args, text, sizeof(text)), 1);
        assert_non_null(strstr(text, "is too long: a socket path would have"));
        _cleanup_free_ char *same = rig_tree(rig);
        assert_string_equal(tree, same);
        rig->over = true;
}

static void test_json_logs_are_one_object_a_line(void **state)
{
        struct rig *rig = *state;
        char text[16384];

        rig_prepare(rig, "l40s-8", AT_START);
        _cleanup_free_ char *kubelet = xasprintf("%s/%0*d", rig->dir, 60, 0);
        const char *const args[] = {
                "--log-format", "json",      "--kubelet-dir", kubelet,      "--state-dir", rig->state_dir, "--run-dir", rig->run_dir,
                "--config",     rig->config, "--sim-dir",     rig->sim_dir, NULL
        };
        assert_int_equal(say(rig, args, text, sizeof(text)), 1);
        size_t n = 0;
        for (char *line = text, *end; *line && (end = strchr(line, '\n')); line = end + 1, n++) {
                *end = '\0';
                if (line[0] != '{' || end[-1] != '}' || !strstr(line, "\"level\""))
                        fail_msg("\"%s\" is no JSON object of a log line", line);
        }
        assert_true(n >= 2);
        rig->over = true;
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_a_wrong_command_line_is_status_2_and_a_sentence),
                RIG_TEST(test_help_and_version_go_to_the_output_with_status_0),
                RIG_TEST(test_an_output_that_does_not_arrive_is_a_failure),
                RIG_TEST(test_check_config_says_every_problem_with_its_line),
                RIG_TEST(test_print_config_prints_what_it_would_read),
                RIG_TEST(test_lock_wait_ends_with_status_3),
                RIG_TEST(test_the_lock_of_a_killed_daemon_goes_to_the_one_that_waits),
                RIG_TEST(test_a_second_daemon_waits_for_kubelets_directory_and_for_the_hardware),
                RIG_TEST(test_what_changed_during_the_wait_for_the_lock_counts),
                RIG_TEST(test_a_bad_file_after_the_wait_leaves_what_was_read_before_it),
                RIG_TEST(test_the_service_manager_hears_ready_when_kubelet_is_served_and_stopping_at_the_end),
                RIG_TEST(test_without_kubelet_ready_means_that_the_node_api_answers),
                RIG_TEST(test_a_new_pci_ids_file_is_read_at_sighup_and_names_nobody_anew),
                RIG_TEST(test_a_pci_ids_file_that_is_gone_keeps_the_configuration_in_force),
                RIG_TEST(test_other_classes_take_effect_at_sighup),
                RIG_TEST(test_sighup_without_a_file_changes_nothing),
                RIG_TEST(test_a_written_file_is_put_in_force_without_a_signal),
                RIG_TEST(test_a_configuration_whose_directory_comes_later_is_found),
                RIG_TEST(test_a_directory_that_was_replaced_is_watched_again),
                RIG_TEST(test_a_changed_configmap_is_put_in_force),
                RIG_TEST(test_a_change_during_the_start_is_not_missed),
                RIG_TEST(test_a_reload_after_the_end_was_asked_for_is_not_made),
                RIG_TEST(test_a_start_that_fails_says_why_and_tidies_up),
                RIG_TEST(test_a_host_that_cannot_be_read_at_the_first_look_ends_the_start),
                RIG_TEST(test_a_directory_too_long_for_sockets_is_said_before_anything_is_bound),
                RIG_TEST(test_json_logs_are_one_object_a_line),
        };

        return RUN(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl from outside: what it prints, where, and how it ends. Run from the top of the source tree. */
#include "../tmp.h"
#include "../unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "sim/capture.h"
#include "sim/sim.h"

#define HOSTS "tests/fixtures/hosts/"

static char scratch[64]; /* private to this run; TMPDIR of what is run */
extern char **environ;

struct result {
        int status; /* exit status; -1 = by a signal */
        char *out, *err;
};

static void result_done(struct result *result)
{
        free(result->out);
        free(result->err);
}
#define _cleanup_result_ _cleanup_(result_done)

static char *read_all(const char *name)
{
        enum { MOST = 1 << 20 };
        _cleanup_free_ char *path = xasprintf("%s/%s", scratch, name);
        char *text = xcalloc(MOST, 1);
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, text, MOST, NULL, &err), &err);
        assert_int_equal(unlink(path), 0);
        return text;
}

/* @argv: argv[0] is what the program believes to be called. */
static void run_argv(char *const *argv, struct result *ret)
{
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *program = xasprintf("%s/sluicectl", bin ? bin : "build/asan/bin");
        _cleanup_free_ char *out = xasprintf("%s/out", scratch), *err = xasprintf("%s/err", scratch);
        posix_spawn_file_actions_t files;
        int status;
        pid_t pid;

        assert_int_equal(posix_spawn_file_actions_init(&files), 0);
        (void)posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        (void)posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int r = posix_spawn(&pid, program, &files, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&files);
        if (r != 0)
                fail_msg("cannot run %s: %d", program, r);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        *ret = (struct result){ .status = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .out = read_all("out"), .err = read_all("err") };
}

/* @words: the command line, split at blanks. */
static void run(const char *words, struct result *ret)
{
        _cleanup_free_ char *copy = xstrdup(words);
        char *argv[24] = { (char *)"sluicectl" }, *rest = copy;
        size_t n = 1;

        for (char *word; (word = strsep(&rest, " "));)
                if (*word && n < N_ELEMENTS(argv) - 1)
                        argv[n++] = word;
        run_argv(argv, ret);
}

static size_t entries(const char *dir)
{
        struct fs_list list;
        struct err err;

        ASSERT_OK(fs_list(AT_FDCWD, dir, &list, &err), &err);
        size_t n = list.n;
        fs_list_done(&list);
        return n;
}

static void test_every_command_line_ends_as_documented(void **state)
{
        static const struct {
                const char *words;
                int status;
                const char *out, *err; /* what must be in it; NULL = must be empty */
        } rows[] = {
                { "", 2, NULL, "sluicectl: nothing to do: no verb is given\n" },
                { "help", 0, "  inventory  ", NULL },
                { "--help", 0,
                  "Exit status: 0 done, 1 failed, 2 usage, 3 no sluiced answers, 4 no such device,\n5 something was left as it is.", NULL },
                { "help inventory", 0, "Usage: sluicectl inventory [OPTION...]\nShow the GPUs", NULL },
                { "help nothing", 2, NULL, "sluicectl: nothing: no such verb\n" },
                { "version", 0, "sluicectl ", NULL },
                { "--version", 0, "sluicectl ", NULL },
                { "frobnicate", 2, NULL, "sluicectl: frobnicate: no such verb\n" },
                { "inventory --help", 0, "--offline ", NULL },
                { "inventory -h", 0, "--offline ", NULL },
                { "reasons --help", 0, "markdown", NULL },
                { "capture --help", 0, "-o, --output FILE", NULL },
                { "sim --help", 0, "unplug BDF", NULL },
                { "health --help", 0, "--live ", NULL },
                { "health extra", 2, NULL, "sluicectl: extra: unexpected\n" },
                { "inventory --bogus", 2, NULL, "sluicectl: --bogus: no such option" },
                { "inventory --host", 2, NULL, "sluicectl: --host: a value is missing\n" },
                { "inventory --output xml", 2, NULL, "sluicectl: xml: not one of table, wide, json and yaml\n" },
                { "inventory --offline=1", 2, NULL, "an option that takes no value" },
                { "inventory extra", 2, NULL, "sluicectl: extra: unexpected\n" },
                { "inventory --host a --sim-dir b", 2, NULL, "only one of them" },
                { "inventory --host a --host-mounts b", 2, NULL, "it goes without --host" },
                { "inventory --host-mounts /nowhere", 1, NULL, "cannot open directory /nowhere" },
                { "inventory --host " HOSTS "none.capture", 1, NULL,
                  "sluicectl: inventory: cannot read " HOSTS "none.capture: No such file" },
                { "inventory --host README.md", 1, NULL, "README.md:1: " },
                { "inventory --sim-dir pkg", 1, NULL, "sluicectl: inventory: pkg is no simulated host" },
                { "inventory --config none.yaml --host " HOSTS "l40s-8.capture", 1, NULL,
                  "sluicectl: cannot open none.yaml: No such file" },
                { "inventory --config README.md --host " HOSTS "l40s-8.capture", 1, NULL, "sluicectl: README.md:" },
                { "inventory --offline --host " HOSTS "l40s-8-vfio.capture", 0,
                  "0000:18:00.0 vfio-pci    23    0 "
                  "nvidia.com/AD102GL_L40S healthy",
                  NULL },
                { "inventory --host " HOSTS "nvme-in-group.capture", 0,
                  "withheld group-foreign-member: 0000:02:00.0 (class 0108, driver nvme)\n", NULL },
                { "inventory --host " HOSTS "nvme-in-group.capture -o wide", 0, " VENDOR:DEVICE ", NULL },
                { "inventory --host " HOSTS "nvme-in-group.capture -o yaml", 0, "    word: group-foreign-member\n", NULL },
                { "inventory --host=" HOSTS "mdev-a2.capture --output=json", 0, "\"variable\": \"MDEV_PCI_RESOURCE_NVIDIA_COM_", NULL },
                { "inventory --offline --run-dir x", 2, NULL, "sluiced is not asked with --offline and what implies it" },
                { "inventory --sim-dir x --socket y", 2, NULL, "--run-dir and --socket: " },
                { "inventory --run-dir /nowhere", 3, NULL,
                  "sluicectl: inventory: no sluiced answers on /nowhere/node.sock: No such file or directory\n" },
                { "inventory --socket README.md", 3, NULL, "no sluiced answers on README.md: Connection refused\n" },
                { "claims --run-dir /nowhere", 3, NULL, "sluicectl: claims: no sluiced answers on /nowhere/node.sock: " },
                { "claims now", 2, NULL, "sluicectl: now: unexpected\n" },
                { "claims -o xml", 2, NULL, "sluicectl: xml: not one of table, wide, json and yaml\n" },
                { "explain --run-dir /nowhere 0000:3b:00.0", 3, NULL, "sluicectl: explain: no sluiced answers on " },
                { "explain", 2, NULL, "the id of one device is wanted" },
                { "explain a b", 2, NULL, "the id of one device is wanted" },
                { "explain --help", 0, "Usage: sluicectl explain [OPTION...] DEVICE\nSay of one device", NULL },
                { "explain 0000:3b:00.0 --run-dir /nowhere --output json", 3, NULL, "no sluiced answers on /nowhere/node.sock: " },
                { "explain 0000:3b:00.0 --output xml", 2, NULL, "sluicectl: xml: not one of table, wide, json and yaml\n" },
                { "explain --run-dir /nowhere -- --output", 3, NULL, "no sluiced answers on /nowhere/node.sock: " },
                { "cordon 0000:3b:00.0 --note broken --run-dir /nowhere", 3, NULL, "no sluiced answers on /nowhere/node.sock: " },
                { "uncordon 0000:3b:00.0 --run-dir /nowhere", 3, NULL, "no sluiced answers on /nowhere/node.sock: " },
                { "uncordon 0000:3b:00.0 --bogus", 2, NULL, "sluicectl: --bogus: no such option" },
                { "claims now --output xml", 2, NULL, "sluicectl: xml: not one of " },
                { "claims now --output json", 2, NULL, "sluicectl: now: unexpected\n" },
                { "release 0000:3b:00.0", 2, NULL, "say --idle" },
                { "release --idle --output xml", 2, NULL, "sluicectl: xml: not one of table, wide, json and yaml\n" },
                { "release --idle --run-dir /nowhere", 3, NULL, "with the same state directory\n" },
                { "reasons", 0, "no-iommu-group ", NULL },
                { "reasons -o markdown", 0, "| `no-iommu-group` | ", NULL },
                { "reasons -o json", 0, "\"word\": \"no-iommu-group\"", NULL },
                { "reasons -o toml", 2, NULL, "sluicectl: toml: not one of " },
                { "reasons all", 2, NULL, "sluicectl: all: unexpected\n" },
                { "capture --host", 2, NULL, "sluicectl: --host: a value is missing\n" },
                { "capture --host pkg", 1, NULL, "sluicectl: pkg: " },
                { "capture --host " HOSTS "l40s-8.capture", 1, NULL, "sluicectl: " HOSTS "l40s-8.capture: " },
                { "capture -o /nowhere/at/all", 1, NULL, "sluicectl: /nowhere/at/all: cannot create: No such file" },
                { "sim", 2, NULL, "--sim-dir DIR is wanted" },
                { "sim -o x", 2, NULL, "no such option" },
                { "sim --sim-dir pkg", 2, NULL, "unplug, plug, fault or hold is wanted" },
                { "sim --sim-dir pkg explode", 2, NULL, "sluicectl: explode: not one of " },
                { "sim --sim-dir pkg unplug", 2, NULL, "sluicectl: unplug: BDF is wanted\n" },
                { "sim --sim-dir pkg unplug 0000:3b:00.0", 1, NULL, "sluicectl: sim: pkg is no simulated host" },
                { "sim unplug 0000:3b:00.0 --sim-dir pkg", 1, NULL, "sluicectl: sim: pkg is no simulated host" },
                { "sim hold --sim-dir pkg /dev/vfio/45 -42", 1, NULL, "sluicectl: sim: pkg is no simulated host" },
                { "sim unplug 0000:3b:00.0 --bogus", 2, NULL, "sluicectl: --bogus: no such option" },
                { "sim --sim-dir pkg -- unplug --help", 1, NULL, "sluicectl: sim: pkg is no simulated host" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_result_ struct result r = { 0 };

                run(rows[i].words, &r);
                bool out_ok = rows[i].out ? strstr(r.out, rows[i].out) != NULL : *r.out == '\0';
                bool err_ok = rows[i].err ? strstr(r.err, rows[i].err) != NULL : *r.err == '\0';
                if (r.status != rows[i].status || !out_ok || !err_ok)
                        fail_msg("sluicectl %s: status %d\n--- out\n%s--- err\n%s", rows[i].words, r.status, r.out, r.err);
                assert_int_equal(entries(scratch), 0); /* nothing is left behind, whatever happened */
        }
}

/* Every captured host gets an inventory that is valid JSON, with a reason for each device that is not healthy. */
static void test_every_captured_host_is_shown_with_its_reasons(void **state)
{
        struct fs_list list;
        struct err err;
        unsigned shown = 0;

        (void)state;
        ASSERT_OK(fs_list(AT_FDCWD, HOSTS, &list, &err), &err);
        for (size_t i = 0; i < list.n; i++) {
                if (!str_has_suffix(list.names[i], ".capture"))
                        continue;
                _cleanup_result_ struct result r = { 0 };
                _cleanup_free_ char *words = xasprintf("inventory --output json --host " HOSTS "%s", list.names[i]);
                run(words, &r);
                json_t *tree = r.status == 0 ? json_loads(r.out, JSON_REJECT_DUPLICATES, NULL) : NULL;
                if (!tree)
                        fail_msg("%s: status %d, %s%s", list.names[i], r.status, r.out, r.err);
                json_t *devices = json_object_get(tree, "devices"), *device;
                size_t k;
                json_array_foreach(devices, k, device)
                {
                        const char *state_word = json_string_value(json_object_get(device, "state"));
                        if (!streq(state_word, "healthy") && !json_is_object(json_object_get(device, "reason")))
                                fail_msg("%s: device %zu is %s without a reason", list.names[i], k, state_word);
                }
                json_decref(tree);
                shown++;
        }
        fs_list_done(&list);
        assert_true(shown >= 20);
}

/* A tool that somebody has renamed must not turn into the daemon. */
static void test_one_program_is_what_its_name_says(void **state)
{
        static const struct {
                const char *name;
                int status;
                const char *out, *err;
        } rows[] = {
                { "sluicectl", 0, "sluicectl " SLUICE_VERSION "\n", NULL },
                { "/usr/bin/sluicectl", 0, "sluicectl ", NULL },
                { "./sluicectl-0.1", 0, "sluicectl ", NULL },
                { "/usr/sbin/sluiced", 0, "sluiced " SLUICE_VERSION "\n", NULL },
                { "sluiced-held", 0, "sluiced ", NULL },
                { "/usr/bin/sctl", 2, NULL, "/usr/bin/sctl: this program is sluiced or sluicectl by its name" },
                { "/opt/sluicectl/sluice", 2, NULL, "/opt/sluicectl/sluice: this program is " },
                { "", 2, NULL, ": this program is " },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                char *argv[] = { (char *)(uintptr_t)rows[i].name, (char *)"--version", NULL };
                _cleanup_result_ struct result r = { 0 };

                run_argv(argv, &r);
                if (r.status != rows[i].status || (rows[i].out ? !str_has_prefix(r.out, rows[i].out) : *r.out != '\0') ||
                    (rows[i].err ? !str_has_prefix(r.err, rows[i].err) : *r.err != '\0'))
                        fail_msg("as '%s': status %d\n--- out\n%s--- err\n%s", rows[i].name, r.status, r.out, r.err);
        }
}

static void test_output_that_does_not_arrive_is_a_failure(void **state)
{
        _cleanup_result_ struct result r = { 0 };
        const char *bin = getenv("SLUICE_BIN");
        _cleanup_free_ char *line = xasprintf("%s/sluicectl reasons > /dev/full", bin ? bin : "build/asan/bin");
        char *argv[] = { (char *)"sh", (char *)"-c", line, NULL };
        int status;
        pid_t pid;

        (void)state;
        _cleanup_free_ char *err = xasprintf("%s/err", scratch);
        posix_spawn_file_actions_t files;
        assert_int_equal(posix_spawn_file_actions_init(&files), 0);
        (void)posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(posix_spawn(&pid, "/bin/sh", &files, NULL, argv, environ), 0);
        (void)posix_spawn_file_actions_destroy(&files);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
        r.err = read_all("err");
        assert_non_null(strstr(r.err, "sluicectl: cannot write the output: No space left on device"));
}

static void test_a_configuration_decides_what_would_be_offered(void **state)
{
        static const char yaml[] = "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nrules:\n  - select: {}\n    bind: on-allocate\n"
                                   "    alias: mine\n";
        _cleanup_free_ char *path = xasprintf("%s/config.yaml", scratch);
        _cleanup_free_ char *words = xasprintf("inventory --config %s --host " HOSTS "l40s-8.capture", path);
        _cleanup_result_ struct result r = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(fs_replace(AT_FDCWD, path, yaml, sizeof(yaml) - 1, 0600, &err), &err);
        run(words, &r);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(r.out, "0000:18:00.0 nvidia    23    0 nvidia.com/mine healthy"));
}

static void test_what_happens_to_a_simulated_host_is_seen(void **state)
{
        static const struct {
                const char *words; /* after --sim-dir DIR */
                int status;
                const char *seen, *gone; /* in the inventory afterwards */
        } rows[] = {
                { "unplug 0000:18:00.0", 0, "0000:19:00.0", "0000:18:00.0" },
                { "plug 0000:18:00.0", 0, "0000:18:00.0 vfio-pci", NULL },
                { "unplug 18:00.0", 2, "0000:18:00.0", NULL },
                { "unplug 0000:77:00.0", 1, "0000:18:00.0", NULL },
                { "fault unbind 0000:18:00.0 refuse EBUSY", 0, "0000:18:00.0", NULL },
                { "fault unbind 0000:18:00.0 explode", 1, "0000:18:00.0", NULL },
                { "fault", 0, "0000:18:00.0", NULL },
                { "hold /dev/vfio/23 4711 qemu-kvm", 0, "0000:18:00.0", NULL },
                { "hold /dev/vfio/23 -4711", 0, "0000:18:00.0", NULL },
                { "hold /dev/vfio/23 many", 2, "0000:18:00.0", NULL },
                { "hold /dev/vfio/23 0", 2, "0000:18:00.0", NULL },
                { "hold /dev/vfio/23", 2, "0000:18:00.0", NULL },
        };
        _cleanup_free_ char *dir = xasprintf("%s.sim", scratch);
        struct err err;

        (void)state;
        ASSERT_OK(sim_prepare(HOSTS "l40s-8-vfio.capture", dir, &err), &err);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_result_ struct result r = { 0 }, seen = { 0 };
                _cleanup_free_ char *words = xasprintf("sim --sim-dir %s %s", dir, rows[i].words);
                _cleanup_free_ char *look = xasprintf("inventory --sim-dir %s", dir);

                run(words, &r);
                run(look, &seen);
                if (r.status != rows[i].status || seen.status != 0 || !strstr(seen.out, rows[i].seen) ||
                    (rows[i].gone && strstr(seen.out, rows[i].gone)))
                        fail_msg("sim %s: status %d\n%s%s%s", rows[i].words, r.status, r.err, seen.out, seen.err);
        }
        char *argv[] = { (char *)"rm", (char *)"-rf", dir, NULL };
        pid_t pid;
        assert_int_equal(posix_spawn(&pid, "/bin/rm", NULL, NULL, argv, environ), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A line of a capture without its end; "" at the end of the text. Comments are skipped. */
static size_t next_fact(const char **text)
{
        while (**text == '#')
                *text += strcspn(*text, "\n") + 1;
        return strcspn(*text, "\n");
}

static void test_a_directory_that_stands_for_a_host_becomes_a_capture(void **state)
{
        _cleanup_free_ char *dir = xasprintf("%s/host", scratch), *words = xasprintf("capture --host %s", dir);
        _cleanup_free_ char *expected = xcalloc(1 << 20, 1);
        _cleanup_result_ struct result r = { 0 };
        char *argv[] = { (char *)"rm", (char *)"-rf", dir, NULL };
        struct err err;
        pid_t pid;
        size_t n;

        (void)state;
        ASSERT_OK(fs_read(AT_FDCWD, HOSTS "quadro-4fn.capture", expected, 1 << 20, &n, &err), &err);
        assert_int_equal(mkdir(dir, 0755), 0);
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(capture_unpack("quadro-4fn", expected, n, fd, &err), &err);
        ASSERT_OK(fs_symlink("..", fd, "sys/stranger"), &err); /* not one of the facts */
        run(words, &r);
        assert_int_equal(posix_spawn(&pid, "/bin/rm", NULL, NULL, argv, environ), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(r.status, 0);

        const char *a = expected, *b = r.out;
        for (size_t length; (length = next_fact(&a)) > 0; a += length + 1, b += length + 1)
                if (next_fact(&b) != length || strncmp(a, b, length) != 0)
                        fail_msg("expected %.*s\ngot %.200s", (int)length, a, b);
        assert_int_equal(*b, '\0');
}

static void capture_and_show(void)
{
        _cleanup_free_ char *path = xasprintf("%s/here.capture", scratch);
        _cleanup_free_ char *write = xasprintf("capture -o %s", path);
        _cleanup_free_ char *look = xasprintf("inventory --host %s -o json", path);
        _cleanup_result_ struct result written = { 0 }, shown = { 0 }, printed = { 0 };

        run(write, &written);
        assert_int_equal(written.status, 0);
        run(look, &shown);
        assert_int_equal(unlink(path), 0);
        if (shown.status != 0)
                fail_msg("%s", shown.err);
        json_t *tree = json_loads(shown.out, 0, NULL);
        assert_non_null(tree);
        json_decref(tree);
        run("capture", &printed);
        assert_true(str_has_prefix(printed.out, "sluice-capture 1\n"));
}

static void test_a_capture_of_this_machine_can_be_shown_again(void **state)
{
        (void)state;
        if (access("/sys/bus/pci/devices", R_OK) < 0) {
                print_message("# skipped: this machine has no PCI bus to capture\n");
                skip(); /* leaves by longjmp: nothing may be owned here */
        }
        capture_and_show();
}

static int make_scratch(void **state)
{
        (void)state;
        str_format(scratch, sizeof(scratch), "%s/sluicectl-test.XXXXXX", tmp_base());
        return mkdtemp(scratch) && setenv("TMPDIR", scratch, 1) == 0 ? 0 : -1;
}

static int remove_scratch(void **state)
{
        (void)state;
        return rmdir(scratch); /* fails when a command left something behind */
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_every_command_line_ends_as_documented),
                TEST(test_every_captured_host_is_shown_with_its_reasons),
                TEST(test_one_program_is_what_its_name_says),
                TEST(test_output_that_does_not_arrive_is_a_failure),
                TEST(test_a_configuration_decides_what_would_be_offered),
                TEST(test_what_happens_to_a_simulated_host_is_seen),
                TEST(test_a_capture_of_this_machine_can_be_shown_again),
                TEST(test_a_directory_that_stands_for_a_host_becomes_a_capture),
        };

        return cmocka_run_group_tests_name(__FILE__, tests, make_scratch, remove_scratch);
}

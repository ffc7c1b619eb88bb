/* SPDX-License-Identifier: Apache-2.0 */
/* Every host in tests/fixtures/hosts: says what it is, unpacks, and comes back line for line. Run from the top directory. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "scratch.h"
#include "sim/capture.h"
#include "sim/sim.h"

#define HOSTS "tests/fixtures/hosts"
enum { HOSTS_MIN = 29 }; /* what generate.py makes: a test that finds no fixtures has failed */

static char *read_host(const char *name, size_t *ret_n)
{
        _cleanup_free_ char *path = xasprintf(HOSTS "/%s", name);
        char *text = xcalloc(1 << 20, 1);
        struct err err;

        ASSERT_OK(fs_read(AT_FDCWD, path, text, 1 << 20, ret_n, &err), &err);
        return text;
}

/* The lines that are no comments, and no locked attributes: those a host may have, but a capture does not read. */
static char *facts(const char *text)
{
        _cleanup_strbuf_ struct strbuf b = { 0 };

        for (const char *line = text; *line;) {
                size_t n = strcspn(line, "\n");
                if (*line != '#' && !memmem(line, n, "/nvidia/creatable_vgpu_types", 28)) {
                        strbuf_add_n(&b, line, n);
                        strbuf_add(&b, "\n");
                }
                line += n + (line[n] == '\n');
        }
        return strbuf_take(&b);
}

static void check_host(const char *name)
{
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_close_ int dir = open(root, O_RDONLY | O_DIRECTORY);
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_strbuf_ struct strbuf again = { 0 };
        struct err err;
        size_t n;

        _cleanup_free_ char *text = read_host(name, &n);
        if (strlen(text) != n || !strstr(text, "\n# Facts: "))
                fail_msg("%s does not say where its facts come from", name);
        ASSERT_OK(capture_unpack(name, text, n, dir, &err), &err);
        ASSERT_OK(tree_open(&tree, root, &err), &err);
        ASSERT_OK(capture_write(&tree, &again, &err), &err);
        _cleanup_free_ char *expected = facts(text), *got = facts(again.text);
        size_t i = 0;
        while (expected[i] && expected[i] == got[i])
                i++;
        if (expected[i] != got[i])
                fail_msg("%s: the capture of the unpacked capture differs: expected ...%.120s, got ...%.120s", name, expected + i, got + i);
}

static void test_every_host_comes_back_line_for_line(void **state)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct err err;
        size_t n = 0;

        (void)state;
        ASSERT_OK(fs_list(AT_FDCWD, HOSTS, &names, &err), &err);
        for (size_t i = 0; i < names.n; i++)
                if (str_has_suffix(names.names[i], ".capture")) {
                        check_host(names.names[i]);
                        n++;
                }
        assert_true(n >= HOSTS_MIN);
}

static void simulate(const char *name)
{
        _cleanup_scratch_ char *dir = scratch_new();
        _cleanup_free_ char *path = xasprintf(HOSTS "/%s", name);
        _cleanup_fs_list_ struct fs_list devices = { 0 };
        struct sim *sim;
        struct err err;
        char file[128];
        int64_t next;

        ASSERT_OK(sim_prepare(path, dir, &err), &err);
        ASSERT_OK(sim_open(&sim, dir, &err), &err);
        ASSERT_OK(sim_settle(sim, &next, &err), &err);
        assert_int_equal(next, -1);
        ASSERT_OK(fs_list(sim_tree(sim)->sys, "bus/pci/devices", &devices, &err), &err);
        assert_true(devices.n > 0);
        for (size_t i = 0; i < devices.n; i++) { /* each has what every kernel has, and can be pulled and plugged */
                str_format(file, sizeof(file), "bus/pci/devices/%s/class", devices.names[i]);
                bool whole = fs_exists(sim_tree(sim)->sys, file) > 0;
                str_format(file, sizeof(file), "bus/pci/devices/%s/driver_override", devices.names[i]);
                assert_true(!whole || fs_exists(sim_tree(sim)->sys, file) > 0);
        }
        for (size_t i = devices.n; i-- > devices.n / 2;) {
                if (sim_unplug(sim, devices.names[i], &err) < 0)
                        continue; /* what the bus names and is not there */
                int r = sim_plug(sim, devices.names[i], &err);
                if (r < 0 && r != -ENOENT)
                        fail_msg("%s: %s", name, err.msg);
        }
        sim_free(sim);
}

static void test_every_host_can_be_simulated(void **state)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(fs_list(AT_FDCWD, HOSTS, &names, &err), &err);
        for (size_t i = 0; i < names.n; i++)
                if (str_has_suffix(names.names[i], ".capture"))
                        simulate(names.names[i]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_every_host_comes_back_line_for_line), TEST(test_every_host_can_be_simulated) };

        return RUN(tests);
}

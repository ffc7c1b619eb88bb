/* SPDX-License-Identifier: Apache-2.0 */
/* What is left below kubelet's directory: a checkpoint as kubelet 1.36 writes it, and others that are none. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../tmp.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "kubelet/leftovers.h"

#define CHECKPOINT                                                                                                                  \
        "{\"Data\":{\"PodDeviceEntries\":[{\"PodUID\":\"9c0f\",\"ContainerName\":\"compute\",\"ResourceName\":\"nvidia.com/L40S\"," \
        "\"DeviceIDs\":{\"0\":[\"0000:3b:00.0\",\"0000:3c:00.0\"],\"-1\":[\"0000:5e:00.0\"]},\"AllocResp\":\"Cg==\"},"              \
        "{\"PodUID\":\"aa11\",\"ContainerName\":\"c\",\"ResourceName\":\"example.com/nic\",\"DeviceIDs\":{\"0\":[\"eth0\"]},"       \
        "\"AllocResp\":\"\"}],\"RegisteredDevices\":{\"nvidia.com/L40S\":[\"0000:3b:00.0\"],\"nvidia.com/A10\":[],"                 \
        "\"example.com/nic\":[\"eth0\"]}},\"Checksum\":3183461}"

static char dir[64];

static void write_checkpoint(const char *text)
{
        _cleanup_free_ char *path = xasprintf("%s/device-plugins/kubelet_internal_checkpoint", dir);
        struct err err;

        ASSERT_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0600, &err), &err);
}

static int setup(void **state)
{
        (void)state;
        str_format(dir, sizeof(dir), "%s/sluice-left-XXXXXX", tmp_base());
        if (!mkdtemp(dir))
                return -1;
        _cleanup_free_ char *plugins = xasprintf("%s/device-plugins", dir);
        return fs_mkdir(AT_FDCWD, plugins, 0755);
}

static int teardown(void **state)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", dir);

        (void)state;
        return system(command); /* lint: a test's own directory */
}

static bool is_ours(void *ctx, const char *resource, const char *id)
{
        (void)ctx;
        (void)resource;
        return str_has_prefix(id, "0000:3");
}

static void test_devices_of_pods_and_resources_of_ours_are_named(void **state)
{
        struct leftovers left = { 0 };
        struct err err;

        (void)state;
        ASSERT_OK(kubelet_checkpoint_left(dir, is_ours, NULL, &left, &err), &err); /* none is there */
        assert_int_equal(left.n, 0);
        write_checkpoint(CHECKPOINT);
        ASSERT_OK(kubelet_checkpoint_left(dir, is_ours, NULL, &left, &err), &err);
        assert_int_equal(left.n, 4);
        assert_int_equal(left.list[0].kind, LEFTOVER_POD);
        assert_string_equal(left.list[0].what, "0000:3b:00.0");
        assert_string_equal(left.list[0].text, "nvidia.com/L40S, container compute of the pod with uid 9c0f");
        assert_string_equal(left.list[1].what, "0000:3c:00.0");
        assert_int_equal(left.list[2].kind, LEFTOVER_RESOURCE);
        assert_string_equal(left.list[2].what, "nvidia.com/L40S");
        assert_string_equal(left.list[3].what, "nvidia.com/A10");
        assert_int_equal(leftovers_counted(&left), 2); /* a name does no harm */
        leftovers_done(&left);
}

static void test_what_is_no_checkpoint_is_said_and_what_is_odd_in_it_is_passed_over(void **state)
{
        static const char *const odd[] = {
                "{\"Data\":{}}",
                "{\"Data\":{\"PodDeviceEntries\":null,\"RegisteredDevices\":null}}",
                "{\"Data\":{\"PodDeviceEntries\":[1,{},{\"PodUID\":1}],\"RegisteredDevices\":{\"a\":[1,null,{}]}}}",
                "{\"Data\":{\"PodDeviceEntries\":[{\"PodUID\":\"u\",\"ContainerName\":\"c\",\"ResourceName\":\"r\",\"DeviceIDs\":[1]}]}}",
        };
        static const char *const none[] = { "", "{", "[]", "{\"Data\":1}", "\xff" };
        struct leftovers left = { 0 };
        struct err err;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(odd); i++) {
                write_checkpoint(odd[i]);
                ASSERT_OK(kubelet_checkpoint_left(dir, is_ours, NULL, &left, &err), &err);
                assert_int_equal(left.n, 0);
        }
        for (size_t i = 0; i < N_ELEMENTS(none); i++) {
                write_checkpoint(none[i]);
                assert_int_equal(kubelet_checkpoint_left(dir, is_ours, NULL, &left, &err), -EBADMSG);
        }
        leftovers_done(&left);
}

static void test_sockets_of_ours_are_named_unless_a_daemon_has_them(void **state)
{
        static const char *const files[] = { "sluice-1-2.sock", "kubevirt-gpu.sock", "sluice-notes.txt" };
        struct leftovers left = { 0 };
        struct err err;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(files); i++) {
                _cleanup_free_ char *path = xasprintf("%s/device-plugins/%s", dir, files[i]);
                ASSERT_OK(fs_replace(AT_FDCWD, path, "", 0, 0600, &err), &err);
        }
        kubelet_sockets_left(dir, true, &left);
        assert_int_equal(left.n, 0);
        kubelet_sockets_left(dir, false, &left);
        assert_int_equal(left.n, 1);
        assert_true(str_has_suffix(left.list[0].what, "/device-plugins/sluice-1-2.sock"));
        leftovers_done(&left);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_devices_of_pods_and_resources_of_ours_are_named, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_is_no_checkpoint_is_said_and_what_is_odd_in_it_is_passed_over, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sockets_of_ours_are_named_unless_a_daemon_has_them, setup, teardown),
        };

        return RUN(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is offered: names, lists, and how little they cost. */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static void test_eight_gpus_register_under_the_name_of_pci_ids(void **state)
{
        struct rig *rig = *state;
        struct fk_device *list;
        char names[4][FK_RESOURCE_MAX];

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_resources(rig->k, names, 4), 1);
        size_t n = fk_devices(rig->k, L40S, &list);
        assert_int_equal(n, 8);
        assert_string_equal(list[0].id, "0000:18:00.0");
        assert_string_equal(list[7].id, "0000:bb:00.0");
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(list[i].n_nodes, 1);
                assert_int_equal(list[i].nodes[0], i < 4 ? 0 : 1);
        }
        free(list);
        struct fk_counts c = rig_counts(rig, L40S);
        assert_true(c.pre_start && c.preferred);
        assert_int_equal(c.lists, 1);
        assert_int_equal(c.registrations, 1);
        assert_int_equal(fk_duplicates(rig->k, L40S), 0);
        rig_stop(rig);
}

static bool sixteen(struct fk *k, void *ctx)
{
        char names[20][FK_RESOURCE_MAX];
        unsigned devices = 0;

        (void)ctx;
        size_t n = fk_resources(k, names, 20);
        for (size_t i = 0; i < n && i < 20; i++) {
                struct fk_counts c;
                (void)fk_counts(k, names[i], &c);
                devices += c.allocatable;
        }
        return n == 16 && devices == 64;
}

static void test_sixty_four_gpus_of_sixteen_models_are_sixteen_resources(void **state)
{
        struct rig *rig = *state;
        char names[20][FK_RESOURCE_MAX];

        rig_open(rig, "gpus-64-of-16-vfio", "1.34", NULL);
        assert_true(fk_wait(rig->k, RIG_SOON_MS, sixteen, NULL));
        assert_int_equal(fk_resources(rig->k, names, 20), 16);
        for (size_t i = 0; i < 16; i++) {
                assert_true(str_has_prefix(names[i], "nvidia.com/"));
                struct fk_counts c = rig_counts(rig, names[i]);
                assert_int_equal(c.capacity, 4);
                assert_int_equal(c.lists, 1);
                assert_int_equal(c.registrations, 1);
        }
        assert_int_equal(fk_registers(rig->k), 16);
        rig_stop(rig);
}

static void test_without_a_rule_nothing_on_a_host_driver_is_offered(void **state)
{
        struct rig *rig = *state;

        rig_prepare(rig, "l40s-8", NULL);
        _cleanup_free_ char *before = rig_tree(rig);
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        assert_true(rig_logged(rig, "nothing is offered", RIG_SOON_MS));
        assert_int_equal(fk_registers(rig->k), 0);
        rig_stop(rig);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
}

static void test_groups_with_a_network_card_or_a_disk_are_not_offered(void **state)
{
        static const char *const fixtures[] = { "nic-in-group", "nvme-in-group" }, *const drivers[] = { "mlx5_core", "nvme" };
        struct rig *rig = *state;

        for (size_t i = 0; i < N_ELEMENTS(fixtures); i++) {
                void *mine = NULL;
                struct rig *r = rig;
                if (i > 0) {
                        assert_int_equal(rig_setup(&mine), 0);
                        r = mine;
                }
                rig_prepare(r, fixtures[i], ON_ALLOCATE);
                _cleanup_free_ char *before = rig_tree(r);
                rig_kubelet(r, "1.34");
                rig_daemon(r);
                assert_true(rig_logged(r, "nothing is offered", RIG_SOON_MS));
                assert_int_equal(fk_registers(r->k), 0);
                assert_driver(r, "0000:01:00.0", "nvidia");
                assert_driver(r, "0000:02:00.0", drivers[i]);
                rig_stop(r);
                _cleanup_free_ char *after = rig_tree(r);
                assert_string_equal(before, after);
                if (mine)
                        (void)rig_teardown(&mine);
        }
}

static void test_a_pool_with_unknown_numa_nodes_sends_none(void **state)
{
        struct rig *rig = *state;
        char names[4][FK_RESOURCE_MAX];
        struct fk_device *list;

        rig_open(rig, "numa-unknown", "1.34", NULL);
        rig_ready(rig, "nvidia.com/GA102GL_A40", 4, 4);
        assert_int_equal(fk_resources(rig->k, names, 4), 1);
        size_t n = fk_devices(rig->k, names[0], &list);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(list[i].n_nodes, 0);
        free(list);
        rig_stop(rig);
}

static void test_preferred_allocation_stays_on_a_numa_node(void **state)
{
        struct rig *rig = *state;
        struct fk_ask hinted = { .resource = L40S, .n = 2, .has_hint = true, .nodes = 1u << 1 };
        const char *all[] = { "0000:18:00.0", "0000:19:00.0", "0000:9a:00.0", "0000:3a:00.0", "0000:bb:00.0" },
                   *must[] = { "0000:bb:00.0" };
        char(*ids)[FK_ID_MAX], answer[256];

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        assert_int_equal(fk_admit_one(rig->k, "four", L40S, 4, rig->text), 0);
        assert_int_equal(fk_calls(rig->k).preferred, 1);
        assert_int_equal(fk_pod_devices(rig->k, "four", "main", L40S, &ids), 4);
        bool low = strcmp(ids[3], "0000:3b:00.0") <= 0, high = strcmp(ids[0], "0000:9a:00.0") >= 0;
        assert_true(low || high);
        free(ids);
        fk_pod_end(rig->k, "four");
        assert_int_equal(fk_admit(rig->k, "two", "main", false, &hinted, 1, rig->text), 0);
        assert_int_equal(fk_pod_devices(rig->k, "two", "main", L40S, &ids), 2);
        assert_true(streq(ids[0], "0000:9a:00.0") || streq(ids[0], "0000:ba:00.0"));
        assert_int_equal(ids[0][5], ids[1][5]); /* same switch: 9a and 9b, or ba and bb */
        free(ids);

        assert_int_equal(fk_raw_preferred(rig->k, L40S, all, 5, must, 1, 2, answer, sizeof(answer), rig->text), 0);
        assert_true(strstr(answer, "0000:bb:00.0") && strstr(answer, "0000:9a:00.0"));
        /* Requests that make no sense are errors, not guesses. */
        assert_int_equal(fk_raw_preferred(rig->k, L40S, all, 5, must, 1, 6, answer, sizeof(answer), rig->text), 3);
        assert_int_equal(fk_raw_preferred(rig->k, L40S, all, 5, must, 1, 0, answer, sizeof(answer), rig->text), 3);
        assert_int_equal(fk_raw_preferred(rig->k, L40S, all, 4, must, 1, 2, answer, sizeof(answer), rig->text), 3);
        rig_stop(rig);
}

static void test_a_peer_that_is_not_root_is_turned_away(void **state)
{
        struct rig *rig = *state;

        if (geteuid() != 0) {
                print_message("# skipped: only root can be somebody else\n");
                skip();
        }
        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        struct fk_counts c = rig_counts(rig, L40S);
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct stat st;
        assert_true(str_copy(a.sun_path, sizeof(a.sun_path), c.endpoint));
        assert_int_equal(stat(c.endpoint, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        /* Even where the modes let it through: the peer's identity counts. */
        assert_int_equal(chmod(c.endpoint, 0666), 0);
        assert_int_equal(chmod(rig->dir, 0755), 0);
        assert_int_equal(chmod(rig->kubelet_dir, 0755), 0);
        _cleanup_free_ char *plugins = xasprintf("%s/device-plugins", rig->kubelet_dir);
        assert_int_equal(chmod(plugins, 0755), 0);
        pid_t child = fork();
        if (child == 0) {
                char byte;
                struct timeval patience = { .tv_sec = 10 };
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (setgid(65534) != 0 || setuid(65534) != 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
                        _exit(3);
                (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
                _exit(read(fd, &byte, 1) <= 0 ? 0 : 4); /* a gRPC server would send its settings first */
        }
        assert_int_equal(rig_reap(child, RIG_SOON_MS), 0);
        assert_true(rig_logged(rig, "65534", RIG_SOON_MS)); /* and says so */
        assert_int_equal(rig_counts(rig, L40S).streams, 1);
        rig_stop(rig);
}

static uint64_t cpu_ticks(pid_t pid)
{
        char path[64], line[1024];
        unsigned long user, system;

        str_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        assert_non_null(fgets(line, sizeof(line), f));
        (void)fclose(f);
        assert_int_equal(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
        return user + system;
}

static void test_an_idle_daemon_uses_no_cpu(void **state)
{
        struct rig *rig = *state;

        rig_open(rig, "l40s-8-vfio", "1.34", NULL);
        rig_ready(rig, L40S, 8, 8);
        (void)usleep(500 * 1000); /* what follows the start, probes and so on */
        uint64_t before = cpu_ticks(rig->pid);
        (void)sleep(2);
        uint64_t used_ms = (cpu_ticks(rig->pid) - before) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
        if (used_ms > 200) /* of 2000, with sanitizers; a busy loop uses them all */
                fail_msg("%llu ms of CPU time in 2 s of idleness", (unsigned long long)used_ms);
        assert_int_equal(rig_counts(rig, L40S).lists, 1);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_eight_gpus_register_under_the_name_of_pci_ids),
                RIG_TEST(test_sixty_four_gpus_of_sixteen_models_are_sixteen_resources),
                RIG_TEST(test_without_a_rule_nothing_on_a_host_driver_is_offered),
                RIG_TEST(test_groups_with_a_network_card_or_a_disk_are_not_offered),
                RIG_TEST(test_a_pool_with_unknown_numa_nodes_sends_none),
                RIG_TEST(test_preferred_allocation_stays_on_a_numa_node),
                RIG_TEST(test_a_peer_that_is_not_root_is_turned_away),
                RIG_TEST(test_an_idle_daemon_uses_no_cpu),
        };

        return RUN(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"
#include "fixture.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/fs.h"
#include "base/str.h"
#include "host/events.h"

struct world {
        struct fixture f;
        uv_loop_t loop;
        struct host_events *events;
        bool blind, stop_in_call;
        unsigned n;
        char first[256], last[256];
};

static void on_event(void *ctx, const char *what)
{
        struct world *w = ctx;

        if (w->n++ == 0)
                (void)str_copy(w->first, sizeof(w->first), what);
        (void)str_copy(w->last, sizeof(w->last), what);
        if (w->stop_in_call) {
                host_events_stop(w->events);
                w->events = NULL;
        }
}

static void start(struct world *w, bool sim)
{
        struct err err;

        memset(w, 0, sizeof(*w));
        fixture_make(&w->f);
        if (sim)
                fixture_file(&w->f, ".sim/events", "");
        assert_int_equal(uv_loop_init(&w->loop), 0);
        ASSERT_OK(host_events_start(&w->events, &w->loop, &w->f.tree, sim ? w->f.dir : NULL, on_event, w, &w->blind, &err), &err);
}

static void end(struct world *w)
{
        host_events_stop(w->events);
        (void)uv_run(&w->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&w->loop), 0);
        fixture_done(&w->f);
}

/* Turns the loop until nothing is ready: everything happens in the kernel before the call that caused it returns. */
static unsigned turn(struct world *w)
{
        w->n = 0;
        w->first[0] = w->last[0] = '\0';
        for (int i = 0; i < 5; i++)
                (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        return w->n;
}

static void test_nodes_are_noticed_through_directories_that_come_and_go(void **state)
{
        struct world w;

        (void)state;
        start(&w, true);
        assert_false(w.blind);
        assert_int_equal(turn(&w), 0);
        fixture_dir(&w.f, "dev/snd");
        fixture_file(&w.f, "dev/random-node", "");
        assert_int_equal(turn(&w), 0); /* not ours */
        for (int round = 0; round < 2; round++) {
                fixture_dir(&w.f, "dev/vfio");
                assert_true(turn(&w) > 0);
                assert_string_equal(w.first, "/dev/vfio made");
                fixture_file(&w.f, "dev/vfio/45", "");
                assert_true(turn(&w) > 0);
                assert_string_equal(w.first, "/dev/vfio/45 made");
                fixture_dir(&w.f, "dev/vfio/devices");
                assert_true(turn(&w) > 0);
                fixture_file(&w.f, "dev/vfio/devices/vfio0", "");
                assert_true(turn(&w) > 0);
                assert_string_equal(w.first, "/dev/vfio/devices/vfio0 made");
                fixture_remove(&w.f, "dev/vfio/45");
                assert_true(turn(&w) > 0);
                assert_string_equal(w.first, "/dev/vfio/45 removed");
                fixture_remove(&w.f, "dev/vfio");
                assert_true(turn(&w) > 0);
        }
        fixture_file(&w.f, "dev/iommu", "");
        assert_true(turn(&w) > 0);
        assert_string_equal(w.first, "/dev/iommu made");
        end(&w);
}

/* Both directories appear at once, before the watch of the first: their content must be told of all the same. */
static void test_what_is_made_before_its_directory_is_watched_is_not_lost(void **state)
{
        struct world w;

        (void)state;
        start(&w, true);
        fixture_file(&w.f, "dev/vfio/devices/vfio0", "");
        assert_int_equal(turn(&w), 1);
        fixture_file(&w.f, "dev/vfio/devices/vfio1", "");
        assert_int_equal(turn(&w), 1);
        assert_string_equal(w.first, "/dev/vfio/devices/vfio1 made");
        end(&w);
}

static struct inventory *with_types(const char *const *bdfs, size_t n)
{
        struct inventory *inv = inventory_new();
        struct bdf bdf;

        for (size_t i = 0; i < n; i++) {
                assert_true(bdf_parse(bdfs[i], &bdf));
                inventory_add_function(inv, bdf)->vgpu_capable = true;
        }
        inventory_seal(inv);
        return inv;
}

static void test_a_vgpu_type_that_is_written_by_hand_is_an_event(void **state)
{
#define TYPE(bdf) "sys/bus/pci/devices/" bdf "/nvidia/current_vgpu_type"
        static const char *const bdfs[] = { "0000:3b:00.4", "0000:3b:00.5", "0000:3b:00.6" };
        _cleanup_inventory_ struct inventory *one = with_types(bdfs, 1), *all = with_types(bdfs, 3);
        struct world w;

        (void)state;
        start(&w, true);
        fixture_file(&w.f, TYPE("0000:3b:00.4"), "0\n");
        assert_true(host_events_follow_types(w.events, &w.f.tree, one)); /* it may have been written since the look */
        assert_false(host_events_follow_types(w.events, &w.f.tree, one));
        fixture_file(&w.f, TYPE("0000:3b:00.5"), "0\n"); /* the third has gone since the look */
        assert_true(host_events_follow_types(w.events, &w.f.tree, all));
        assert_false(host_events_follow_types(w.events, &w.f.tree, all));
        assert_int_equal(turn(&w), 0);
        fixture_file(&w.f, TYPE("0000:3b:00.5"), "1155\n");
        assert_int_equal(turn(&w), 1);
        assert_non_null(strstr(w.first, "a vGPU type was written"));
        fixture_remove(&w.f, "sys/bus/pci/devices/0000:3b:00.4");
        assert_true(turn(&w) > 0);
        assert_false(host_events_follow_types(NULL, &w.f.tree, one));
        end(&w);
#undef TYPE
}

static void test_the_simulations_event_file_is_an_event(void **state)
{
        struct world w;

        (void)state;
        start(&w, true);
        fixture_file(&w.f, ".sim/lock", "");
        assert_int_equal(turn(&w), 0);
        fixture_file(&w.f, ".sim/events", "unplug 0000:3b:00.0\n");
        assert_int_equal(turn(&w), 1);
        assert_non_null(strstr(w.first, "the simulated host changed"));
        fixture_remove(&w.f, ".sim/events");
        (void)turn(&w);
        fixture_file(&w.f, ".sim/events", "again\n");
        assert_int_equal(turn(&w), 1);
        end(&w);
}

static void test_a_burst_is_one_hint_that_says_how_many(void **state)
{
        struct world w;

        (void)state;
        start(&w, true);
        fixture_dir(&w.f, "dev/vfio");
        (void)turn(&w);
        for (int i = 0; i < 8; i++) {
                char path[32];
                str_format(path, sizeof(path), "dev/vfio/%d", i);
                fixture_file(&w.f, path, "");
        }
        assert_int_equal(turn(&w), 1);
        assert_string_equal(w.first, "/dev/vfio/0 made (and 7 more)");
        end(&w);
}

static void test_the_listener_may_stop_inside_its_call(void **state)
{
        struct world w;

        (void)state;
        start(&w, true);
        w.stop_in_call = true;
        fixture_file(&w.f, ".sim/events", "x");
        assert_int_equal(turn(&w), 1);
        fixture_file(&w.f, ".sim/events", "y");
        assert_int_equal(turn(&w), 0);
        end(&w);
}

static void test_a_simulated_host_without_its_event_directory_makes_us_blind(void **state)
{
        struct world w;
        struct err err;

        (void)state;
        start(&w, true);
        host_events_stop(w.events);
        fixture_remove(&w.f, ".sim");
        ASSERT_OK(host_events_start(&w.events, &w.loop, &w.f.tree, w.f.dir, on_event, &w, &w.blind, &err), &err);
        assert_true(w.blind);
        end(&w);
}

/* The kernel sends on what root hands it, as its own; what root multicasts itself keeps root's port. */
struct sender {
        int fd;
};

static bool sender_open(struct sender *s)
{
        struct sockaddr_nl address = { .nl_family = AF_NETLINK };

        s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
        return s->fd >= 0 && bind(s->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool send_by_kernel(const struct sender *s, const void *message, size_t n)
{
        struct {
                struct nlmsghdr header;
                char payload[512];
        } m = { .header = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(n), .nlmsg_type = NLMSG_MIN_TYPE, .nlmsg_flags = NLM_F_REQUEST } };
        struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

        memcpy(m.payload, message, n);
        return sendto(s->fd, &m, m.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) >= 0;
}

static bool send_by_us(const struct sender *s, const void *message, size_t n)
{
        struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 1 };

        return sendto(s->fd, message, n, 0, (struct sockaddr *)&group, sizeof(group)) >= 0;
}

static const char bind_message[] = "bind@/devices/x\0ACTION=bind\0SUBSYSTEM=pci\0PCI_SLOT_NAME=0000:01:00.0";
static const char net_message[] = "add@/devices/virtual/net/lo\0ACTION=add\0SUBSYSTEM=net";

/* In a network namespace of our own: the machine's udevd hears nothing of it. */
static void start_or_skip(struct world *w, struct sender *s)
{
        bool alone = unshare(CLONE_NEWNET) == 0;

        start(w, false);
        if (!alone || w->blind || !sender_open(s) || !send_by_kernel(s, net_message, sizeof(net_message)) ||
            !send_by_us(s, net_message, sizeof(net_message))) {
                print_message("# skipped: uevents cannot be sent here (CAP_SYS_ADMIN, CAP_NET_ADMIN)\n");
                cleanup_close(&s->fd);
                end(w);
                skip();
        }
        (void)turn(w); /* what the machine itself said meanwhile */
}

static void test_uevents_of_the_kernel_are_told_and_those_of_others_are_not(void **state)
{
        struct sender s = { -1 };
        struct world w;

        (void)state;
        start_or_skip(&w, &s);
        assert_true(send_by_kernel(&s, bind_message, sizeof(bind_message)));
        assert_int_equal(turn(&w), 1);
        assert_string_equal(w.first, "bind pci 0000:01:00.0");
        assert_true(send_by_us(&s, bind_message, sizeof(bind_message)));
        assert_true(send_by_kernel(&s, net_message, sizeof(net_message)));
        assert_int_equal(turn(&w), 0);
        cleanup_close(&s.fd);
        end(&w);
}

static void test_lost_uevents_are_told_and_the_socket_goes_on(void **state)
{
        struct sender s = { -1 };
        struct world w;

        (void)state;
        start_or_skip(&w, &s);
        for (int round = 0; round < 2; round++) {
                unsigned told = 0, last = 0;
                for (unsigned i = 0; i < 100000; i++)
                        (void)send_by_us(&s, net_message, sizeof(net_message));
                /* It takes several turns to empty the queue; the kernel drops what comes meanwhile. */
                for (unsigned i = 0; i < 200; i++)
                        if (turn(&w) > 0 && streq(w.last, "uevents were lost")) {
                                told += w.n;
                                last = i;
                        }
                assert_true(told > 1);
                assert_true(last < 199);
        }
        assert_true(send_by_kernel(&s, bind_message, sizeof(bind_message)));
        assert_int_equal(turn(&w), 1);
        assert_string_equal(w.first, "bind pci 0000:01:00.0");
        cleanup_close(&s.fd);
        end(&w);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_nodes_are_noticed_through_directories_that_come_and_go),
                TEST(test_what_is_made_before_its_directory_is_watched_is_not_lost),
                TEST(test_a_vgpu_type_that_is_written_by_hand_is_an_event),
                TEST(test_the_simulations_event_file_is_an_event),
                TEST(test_a_burst_is_one_hint_that_says_how_many),
                TEST(test_the_listener_may_stop_inside_its_call),
                TEST(test_a_simulated_host_without_its_event_directory_makes_us_blind),
                TEST(test_uevents_of_the_kernel_are_told_and_those_of_others_are_not),
                TEST(test_lost_uevents_are_told_and_the_socket_goes_on),
        };

        return RUN(tests);
}

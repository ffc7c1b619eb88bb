/* SPDX-License-Identifier: Apache-2.0 */
/* Two daemons that know nothing of each other on one host, each with a kubelet and directories of its own, and an administrator who gives
 * devices back to their driver meanwhile. All that they share is the host, with the lock of each card. Nobody is given what another one
 * has open all the while, and nothing that is open is taken from its driver. */
#include "rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/str.h"

enum { DAEMONS = 2, CARDS = 8, ALLOCATES = 100 /* of each daemon */, OPEN_US = 3000, NOBODY = -1, ADMINISTRATOR = DAEMONS };

static const char *const ids[CARDS] = { "0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0",
                                        "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0" };

/* Who has a card open: the kernel lets one process open a group. */
static struct {
        _Atomic int by;
        _Atomic unsigned changes;
} opened[CARDS];
static _Atomic bool over;

struct tenant {
        struct rig *rig;
        struct sim *sim;
        int number;
        unsigned random;
        unsigned granted, refused, used;
        char wrong[FK_TEXT_MAX]; /* what must not happen and did */
};

static unsigned draw(struct tenant *t, unsigned n)
{
        t->random = t->random * 1103515245 + 12345;
        return (t->random >> 16) % n;
}

static bool open_card(const struct tenant *t, unsigned card)
{
        int nobody = NOBODY;

        return atomic_compare_exchange_strong(&opened[card].by, &nobody, t->number);
}

static void close_card(unsigned card)
{
        opened[card].changes++;
        opened[card].by = NOBODY;
}

static bool is_on(const struct tenant *t, unsigned card, const char *driver)
{
        char now[64];

        rig_driver(t->rig, ids[card], now, sizeof(now));
        return streq(now, driver);
}

/* As a VM: the group is opened, used, closed. What is not on VFIO (any more) cannot be opened. */
static void use(struct tenant *t, unsigned card)
{
        char path[128], group[32], node[64];
        struct err err;

        if (!open_card(t, card))
                return;
        str_format(path, sizeof(path), "sys/bus/pci/devices/%s/iommu_group", ids[card]);
        rig_link(t->rig, path, group, sizeof(group));
        str_format(node, sizeof(node), "/dev/vfio/%s", group);
        int pid = 1000 * (t->number + 1) + (int)card;
        if (is_on(t, card, "vfio-pci") && sim_hold(t->sim, node, pid, "qemu-kvm", &err) == 0) {
                if (is_on(t, card, "vfio-pci")) {
                        t->used++;
                        (void)usleep(OPEN_US);
                        if (!is_on(t, card, "vfio-pci"))
                                str_format(t->wrong, sizeof(t->wrong), "%s was taken from its driver while it was open", ids[card]);
                }
                (void)sim_hold(t->sim, node, -pid, NULL, &err);
        }
        close_card(card);
}

static void *allocate_and_use(void *arg)
{
        struct tenant *t = arg;
        char text[FK_TEXT_MAX];

        for (unsigned i = 0; i < ALLOCATES && !*t->wrong; i++) {
                unsigned card = draw(t, CARDS), before = opened[card].changes;
                int by = opened[card].by;
                int code = fk_raw_allocate(t->rig->k, L40S, &ids[card], 1, text);
                bool all_the_while = by >= 0 && by < DAEMONS && by != t->number && opened[card].by == by && opened[card].changes == before;
                t->granted += code == 0;
                t->refused += code != 0;
                if (code == 0 && all_the_while)
                        str_format(t->wrong, sizeof(t->wrong), "%s was given while daemon %d's tenant had it open", ids[card], by);
                if (code == 0)
                        use(t, card);
        }
        return NULL;
}

/* Who touches a card holds its lock, and nothing that is open is touched. */
static void give_back(struct tenant *t, unsigned card)
{
        char path[128];
        struct err err;

        _cleanup_free_ char *lock = xasprintf("%s/sys/bus/pci/devices/%s/rescan", t->rig->sim_dir, ids[card]);
        _cleanup_close_ int fd = open(lock, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || !open_card(t, card))
                return;
        if (is_on(t, card, "vfio-pci")) {
                t->used++;
                str_format(path, sizeof(path), "bus/pci/devices/%s/driver_override", ids[card]);
                (void)sim_write(t->sim, path, "\n", &err);
                (void)sim_write(t->sim, "bus/pci/drivers/vfio-pci/unbind", ids[card], &err);
                (void)sim_write(t->sim, "bus/pci/drivers_probe", ids[card], &err);
        }
        close_card(card);
}

static void *administrate(void *arg)
{
        struct tenant *t = arg;

        for (; !over; (void)usleep(10 * 1000))
                give_back(t, draw(t, CARDS));
        return NULL;
}

/* The second one: all of its own but the host. */
static void prepare_second(struct rig *second, const struct rig *rig)
{
        *second = *rig;
        str_format(second->kubelet_dir, sizeof(second->kubelet_dir), "%s/kubelet2", rig->dir);
        str_format(second->state_dir, sizeof(second->state_dir), "%s/state2", rig->dir);
        str_format(second->run_dir, sizeof(second->run_dir), "%s/run2", rig->dir);
        str_format(second->log, sizeof(second->log), "%s/log2", rig->dir);
        assert_int_equal(mkdir(second->kubelet_dir, 0755), 0);
}

static void begin(struct rig *rig)
{
        rig_kubelet(rig, "1.34");
        fk_pods(rig->k, FK_PODS_REFUSED); /* there are no pods here: no claim ends */
        rig_daemon(rig);
        rig_ready(rig, L40S, CARDS, CARDS);
}

static struct rig other; /* outlives a test that fails */

static int end_other(void **state)
{
        if (other.pid > 0)
                (void)rig_end(&other, SIGKILL);
        (void)fk_stop(other.k);
        other = (struct rig){ .pid = 0 };
        return rig_teardown(state);
}

static void test_two_daemons_and_an_administrator_never_give_a_card_twice(void **state)
{
        struct rig *rigs[] = { *state, &other };
        struct tenant tenants[DAEMONS + 1];
        pthread_t threads[DAEMONS + 1];
        struct err err;

        rig_prepare(rigs[0], "l40s-8", ON_ALLOCATE);
        prepare_second(rigs[1], rigs[0]);
        for (unsigned i = 0; i < DAEMONS; i++)
                begin(rigs[i]);
        rig_fault(rigs[0], "drivers_probe * refuse EINVAL times 10"); /* some binds are undone */
        for (unsigned i = 0; i < CARDS; i++)
                opened[i].by = NOBODY;
        for (int i = 0; i <= DAEMONS; i++) {
                tenants[i] = (struct tenant){ .rig = rigs[i % DAEMONS], .number = i, .random = 7 + (unsigned)i };
                ASSERT_OK(sim_open(&tenants[i].sim, rigs[0]->sim_dir, &err), &err);
                assert_int_equal(pthread_create(&threads[i], NULL, i < DAEMONS ? allocate_and_use : administrate, &tenants[i]), 0);
        }
        for (unsigned i = 0; i <= DAEMONS; i++) {
                over = i == DAEMONS;
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                sim_free(tenants[i].sim);
        }
        for (unsigned i = 0; i < DAEMONS; i++) {
                (void)printf("# daemon %u: %u granted, %u refused, %u opened\n", i, tenants[i].granted, tenants[i].refused,
                             tenants[i].used);
                if (*tenants[i].wrong)
                        fail_msg("%s", tenants[i].wrong);
                assert_true(tenants[i].granted > ALLOCATES / 4 && tenants[i].used > 0);
        }
        (void)printf("# the administrator gave %u back\n", tenants[ADMINISTRATOR].used);
        assert_true(tenants[ADMINISTRATOR].used > 0);
        for (unsigned i = 0; i < DAEMONS; i++) { /* nobody came in between */
                assert_int_equal(rig_log_count(rigs[i], "broken-binding"), 0);
                assert_int_equal(rig_log_count(rigs[i], "stuck"), 0);
        }
        for (unsigned i = 0; i < CARDS; i++)
                assert_true(is_on(&tenants[0], i, "vfio-pci") || is_on(&tenants[0], i, "nvidia"));
        rig_stop(rigs[1]);
        rig_stop(rigs[0]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_two_daemons_and_an_administrator_never_give_a_card_twice, rig_setup, end_other),
        };

        return RUN(tests);
}

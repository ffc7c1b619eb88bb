/* SPDX-License-Identifier: Apache-2.0 */
/* Topology kills: sluiced, its hand or both are killed by SIGKILL in the middle of binds and releases of a real kernel, at points
 * where tests/crash/hold*.c holds them. Each round is a bind and a release of the same devices, each with a kill; what must be true
 * after it is what the campaign on the simulated kernel asks for (tests/crash/README.md). */
#include "node.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "held.h"
#include "kept.h"

#define ADMINISTRATORS "0000:01:00.0"
#define QUADRO         "test.example/QUADRO"
#define GEFORCE        "test.example/GEFORCE"
#define PAIR           "test.example/PAIR"

#define KILL_RULE(ids, resource, release) RULE("ids: [\"" ids "\"]") "  resource: " resource "\n  release: " release "\nbindDeadline: 60s\n"

enum { KILLS_AT_LEAST = 40, POLL_MS = 50 };

enum victim {
        DAEMON, /* its hand goes on to the end */
        BESIDE, /* the same, and the next daemon is at work before the hand goes on */
        HAND,
        BOTH, /* the end of a container */
        N_VICTIMS
};
static const char *const victim_names[N_VICTIMS] = { "daemon", "daemon, the next one beside the hand", "hand", "both" };

/* A device or several of one request, with their functions. */
struct subject {
        const char *resource;
        struct scene scene;
        char driver[SCENE_DEVICES_MAX][SCENE_FUNCTIONS_MAX][32]; /* before anything was bound; "" = none */
};
enum { SUBJECTS = 3 };
static struct subject subjects[SUBJECTS];

/* Where each of the two is held (a glob, hold.h), and who is killed. */
struct round {
        const char *bind;
        enum victim bind_victim;
        const char *release;
        enum victim release_victim;
};

static struct held held;
static unsigned n_kills[N_VICTIMS], n_pods;

/* ---- looking ---- */

static void add_device(struct subject *s, unsigned bus, unsigned n_functions)
{
        unsigned i = s->scene.n_ids++;

        str_format(s->scene.ids[i], sizeof(s->scene.ids[i]), "0000:%02x:00.0", bus);
        for (unsigned f = 0; f < n_functions; f++) {
                char bdf[BDF_TEXT_MAX];

                str_format(bdf, sizeof(bdf), "0000:%02x:00.%u", bus, f);
                assert_true(bdf_parse(bdf, &s->scene.functions[i][f]));
                str_format(s->driver[i][f], sizeof(s->driver[i][f]), "%s", driver_of(bdf));
        }
        s->scene.n_functions[i] = n_functions;
}

static bool is_as_before(const char *bdf, const char *driver)
{
        return streq(driver_of(bdf), driver) && streq(kernel_read(PCI "%s/driver_override", bdf), "(null)") &&
               (!streq(driver, "nvidia") || streq(kernel_read("/proc/driver/nvidia/gpus/%s/unbindLock", bdf), "0"));
}

static bool is_bound(const char *bdf)
{
        return streq(driver_of(bdf), "vfio-pci") && streq(kernel_read(PCI "%s/driver_override", bdf), "vfio-pci");
}

/* Which of its devices are bound, each with all functions; -1: @why says of which function it is not known, or one that is not as it was
 * before though nobody asked for it. */
static int mask_of(const struct subject *s, char why[static VALUE_BYTES])
{
        int mask = 0;

        for (unsigned i = 0; i < s->scene.n_ids; i++) {
                unsigned n_before = 0, n_bound = 0, n = s->scene.n_functions[i];
                for (unsigned f = 0; f < n; f++) {
                        char bdf[BDF_TEXT_MAX];
                        (void)bdf_format(s->scene.functions[i][f], bdf);
                        bool before = is_as_before(bdf, s->driver[i][f]), bound = is_bound(bdf);
                        n_before += before;
                        n_bound += bound;
                        if (n_before != f + 1 && n_bound != f + 1) {
                                str_format(why, VALUE_BYTES, "%s is on '%s' with the override %s", bdf, driver_of(bdf),
                                           kernel_read(PCI "%s/driver_override", bdf));
                                return -1;
                        }
                }
                mask |= n_bound == n ? 1 << i : 0;
        }
        return mask;
}

/* The whole host: the others' devices are as before, the administrator's is his. */
static int look(const struct subject *s, char why[static VALUE_BYTES])
{
        for (size_t i = 0; i < SUBJECTS; i++)
                if (&subjects[i] != s && mask_of(&subjects[i], why) != 0)
                        return -1;
        if (!streq(driver_of(ADMINISTRATORS), "vfio-pci")) {
                str_format(why, VALUE_BYTES, ADMINISTRATORS ", an administrator's, is on '%s'", driver_of(ADMINISTRATORS));
                return -1;
        }
        return mask_of(s, why);
}

/* No lock of a card is held. Seen in the kernel's list: whoever tried the lock would be in a hand's way. */
static bool are_locks_free(void)
{
        static char locks[1 << 14];
        DIR *dir = opendir(NODE_RUN_DIR);
        bool all_free = true;

        _cleanup_close_ int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);
        size_t n = 0;
        for (ssize_t got; fd >= 0 && n < sizeof(locks) - 1 && (got = read(fd, locks + n, sizeof(locks) - 1 - n)) > 0;)
                n += (size_t)got;
        locks[n] = '\0';
        for (const struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
                char file[64];
                struct stat st;
                if (!str_has_prefix(e->d_name, "card-") || fstatat(dirfd(dir), e->d_name, &st, 0) < 0)
                        continue;
                str_format(file, sizeof(file), " %02x:%02x:%llu ", major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
                all_free = all_free && strstr(locks, file) == NULL;
        }
        if (dir)
                (void)closedir(dir);
        return all_free;
}

/* Of all processes of ours none is a zombie, and the hands are those of the daemon that runs. */
static bool are_hands_its_own(char why[static VALUE_BYTES])
{
        pid_t group = held_hands(&held);
        DIR *dir = opendir("/proc");
        bool well = true;

        for (const struct dirent *e; dir && well && (e = readdir(dir)) != NULL;) {
                char name[32] = "", state = '\0';
                int pgrp = 0;
                if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
                    sscanf(kernel_read("/proc/%s/stat", e->d_name), "%*d (%31[^)]) %c %*d %d", name, &state, &pgrp) != 3 ||
                    !str_has_prefix(name, "sluice"))
                        continue;
                well = state != 'Z' && state != 'T' && (!str_has_prefix(name, "sluice-hand") || pgrp == group);
                if (!well)
                        str_format(why, VALUE_BYTES, "there is a %s (%s), state %c, of the hands %d; those of now are %d", name, e->d_name,
                                   state, pgrp, (int)group);
        }
        if (dir)
                (void)closedir(dir);
        return well;
}

/* Waits until nobody is at work, each device is as before or bound, and what is written down is true of it. Returns which are bound;
 * @wanted < 0: any. */
static unsigned settle(const struct subject *s, int wanted, const char *when)
{
        char why[VALUE_BYTES] = "";

        for (int64_t end = now_ms() + NODE_PATIENCE_MS;; sleep_ms(POLL_MS)) {
                int mask = look(s, why);
                if (mask >= 0 && (wanted < 0 || mask == wanted) && are_locks_free() && are_hands_its_own(why) &&
                    kept_originals_are(NODE_STATE_DIR, &s->scene, (unsigned)mask, false, why, sizeof(why)))
                        return (unsigned)mask;
                if (now_ms() > end)
                        fail_msg("%s: bound are %x (wanted %d), locks %s: %s", when, mask, wanted, are_locks_free() ? "free" : "held", why);
        }
}

static void await_claims(const struct scene *scene, unsigned mask)
{
        char why[VALUE_BYTES] = "";

        for (int64_t end = now_ms() + NODE_PATIENCE_MS; !kept_claims_are(NODE_STATE_DIR, scene, mask, why, sizeof(why)); sleep_ms(POLL_MS))
                if (now_ms() > end)
                        fail_msg("%s", why);
}

static void await_seen(const struct subject *s)
{
        for (unsigned i = 0; i < s->scene.n_ids; i++)
                for (int64_t end = now_ms() + NODE_PATIENCE_MS;; sleep_ms(POLL_MS)) {
                        if (strstr(kernel_read(NODE_STATE_DIR "/claims/kubelet:%s.record", s->scene.ids[i]), "\"state\":\"seen\""))
                                break;
                        assert_true(now_ms() < end);
                }
}

static void expect_offered(const struct subject *s)
{
        expect_counts(s->resource, s->scene.n_ids, s->scene.n_ids);
}

/* ---- killing ---- */

static pid_t reach(const char *point)
{
        pid_t pid = held_wait(&held, NODE_PATIENCE_MS);

        held_arrange(&held, NULL);
        if (pid == 0)
                fail_msg("nobody came to '%s'", point);
        return pid;
}

static void start_next(void)
{
        unsigned before = fk_registers(node_kubelet());

        daemon_start();
        await_registered(before);
}

/* @pid is held. Afterwards a daemon runs, and nobody is held. */
static void strike(pid_t pid, enum victim victim)
{
        bool is_hand = pid != daemon_pid();
        pid_t hands = held_hands(&held);

        assert_true(hands > 0);
        switch (victim) {
        case DAEMON:
                daemon_stop(SIGKILL);
                if (is_hand)
                        held_go_on(pid);
                held_await_hands(hands);
                start_next();
                break;
        case BESIDE:
                assert_true(is_hand);
                daemon_stop(SIGKILL);
                start_next();
                held_go_on(pid);
                held_await_hands(hands);
                break;
        case HAND:
                assert_true(is_hand);
                assert_int_equal(kill(pid, SIGKILL), 0);
                break;
        case BOTH: /* the daemon does not hear of its hand's end before its own */
        default:
                assert_int_equal(kill(daemon_pid(), SIGSTOP), 0);
                assert_int_equal(kill(-hands, SIGKILL), 0);
                daemon_stop(SIGKILL);
                held_await_hands(hands);
                start_next();
        }
}

/* The daemon is held in writing down what it is about to do: no hand does it yet. */
static void expect_untouched(const struct subject *s)
{
        char why[VALUE_BYTES] = "";

        sleep_ms(300);
        int mask = look(s, why);
        if (mask != 0)
                fail_msg("something was done before it was on the disk: %s", mask > 0 ? "the bind is complete" : why);
}

static void name_pod(char name[static 32])
{
        str_format(name, 32, "pod-%u", ++n_pods);
}

/* Killed in the bind, on which a request waits. What was bound or given then is nobody's. */
static void kill_in_bind(const struct subject *s, const struct round *round)
{
        struct admission admission;
        char pod[32];

        name_pod(pod);
        held_arrange(&held, round->bind);
        admission_start_of(&admission, pod, s->resource, s->scene.n_ids);
        pid_t pid = held_wait(&held, NODE_PATIENCE_MS);
        held_arrange(&held, NULL);
        if (pid == 0) {
                (void)admission_end(&admission);
                fail_msg("nobody came to '%s': %s", round->bind, admission.text);
        }
        if (str_has_prefix(round->bind, "daemon originals/"))
                expect_untouched(s);
        strike(pid, round->bind_victim);
        if (admission_end(&admission))
                fk_pod_end(node_kubelet(), pod);
        expect_offered(s);
        (void)settle(s, -1, round->bind);
        n_kills[round->bind_victim]++;
}

/* Granted again, all of it, and every device can be used as a VM uses it. */
static void give(const struct subject *s, const char *pod)
{
        unsigned all = (1U << s->scene.n_ids) - 1;
        struct fk_run run = { 0 };
        char output[OUTPUT_BYTES];

        allocate(pod, s->resource, s->scene.n_ids, &run);
        fk_run_done(&run);
        (void)settle(s, (int)all, "after a fresh Allocate");
        for (unsigned i = 0; i < s->scene.n_ids; i++)
                if (use_device(group_of(s->scene.ids[i]), s->scene.ids[i], output) != VFIO_USABLE)
                        fail_msg("%s cannot be used: %s", s->scene.ids[i], output);
        await_claims(&s->scene, all);
}

/* Killed in the release that the pod's end brings about; it comes to its end all the same. */
static void kill_in_release(const struct subject *s, const struct round *round, const char *pod)
{
        static const struct scene nobodys = { 0 };

        await_seen(s);
        held_arrange(&held, round->release);
        fk_pod_end(node_kubelet(), pod);
        strike(reach(round->release), round->release_victim);
        (void)settle(s, 0, round->release);
        await_claims(&nobodys, 0);
        expect_offered(s);
        n_kills[round->release_victim]++;
}

static void play(const struct subject *s, const struct round *rounds, size_t n)
{
        char pod[32];

        for (size_t i = 0; i < n; i++) {
                int64_t start = now_ms();
                kill_in_bind(s, &rounds[i]);
                name_pod(pod);
                give(s, pod);
                kill_in_release(s, &rounds[i], pod);
                (void)printf("# '%s' %s, '%s' %s: %.1f s\n", rounds[i].bind, victim_names[rounds[i].bind_victim], rounds[i].release,
                             victim_names[rounds[i].release_victim], (double)(now_ms() - start) / 1000);
        }
}

/* ---- tests ---- */

static const struct subject *begin(size_t at, const char *label, const char *config)
{
        load_nvidia("");
        load_modules("snd-hda-intel");
        bind_vfio(ADMINISTRATORS);
        memset(subjects, 0, sizeof(subjects));
        subjects[0].resource = QUADRO;
        add_device(&subjects[0], 2, 4);
        subjects[1].resource = GEFORCE;
        add_device(&subjects[1], 3, 2);
        subjects[2].resource = PAIR;
        add_device(&subjects[2], 4, 1);
        add_device(&subjects[2], 5, 1);
        assert_string_equal(subjects[0].driver[0][0], "nvidia");
        assert_string_equal(subjects[1].driver[0][1], "snd_hda_intel");
        assert_string_equal(subjects[2].driver[1][0], "nvidia");
        daemon_set_held();
        daemon_set_quiet();
        (void)node_start(label, config);
        expect_offered(&subjects[at]);
        return &subjects[at];
}

static void test_kills_leave_a_card_of_four_functions_bound_or_given_back(void **state)
{
        static const struct round rounds[] = {
                { "daemon originals/0000:02:00.1 put renamed*", DAEMON, "daemon claims/*:02:00.0 put rename*", BOTH },
                { "hand * override before 0000:02:00.0*", BOTH, "daemon originals/0000:02:00.0 put renamed*", DAEMON },
                { "hand * override after 0000:02:00.2*", BESIDE, "hand * override before *", BOTH },
                { "hand * unbind write-unbind *", BOTH, "hand * override written-driver_override *", HAND },
                { "hand * unbind written-unbind *", HAND, "hand * unbind before *", BESIDE },
                { "hand * probe written-drivers_probe 0000:02:00.3*", BOTH, "hand * unbind written-unbind 0000:02:00.2*", BOTH },
                { "hand * await-driver before 0000:02:00.1*", HAND, "hand * probe write-drivers_probe 0000:02:00.0*", BOTH },
                { "hand * await-node after *", DAEMON, "daemon originals/* remove unlinked*", BOTH },
        };

        (void)state;
        play(begin(0, "kills-four", KILL_RULE("10de:1e30", QUADRO, "restore")), rounds, N_ELEMENTS(rounds));
        node_stop();
}

static void test_kills_leave_a_companion_with_its_host_driver_or_with_its_card(void **state)
{
        static const struct round rounds[] = {
                { "hand * unbind after 0000:03:00.1*", BOTH, "hand * plan locked*", BOTH },
                { "hand * guard-unbind-lock written-unbindLock *", BOTH, "hand * probe written-drivers_probe 0000:03:00.1*", BESIDE },
                { "hand * probe after 0000:03:00.0*", DAEMON, "hand * await-driver before 0000:03:00.0*", BOTH },
                { "hand * override written-driver_override 0000:03:00.1*", HAND, "hand * unbind after 0000:03:00.0*", DAEMON },
                { "hand * plan over*", DAEMON, "hand * plan over-said*", HAND },
                { "daemon originals/0000:03:00.1 put rename*", BOTH, "daemon claims/* remove begin*", BOTH },
        };

        (void)state;
        play(begin(1, "kills-companion", KILL_RULE("10de:2204", GEFORCE, "restore")), rounds, N_ELEMENTS(rounds));
        node_stop();
}

static void test_kills_leave_each_card_of_a_request_bound_or_reset_and_given_back(void **state)
{
        static const struct round rounds[] = {
                { "hand 0000:04:00.0 * unbind written-unbind *", BOTH, "hand 0000:04:00.0 * reset before *", BOTH },
                { "hand 0000:05:00.0 * override after *", DAEMON, "hand 0000:05:00.0 * reset write-reset *", BOTH },
                { "hand 0000:05:00.0 - plan checked-said*", BOTH, "hand 0000:04:00.0 * reset written-reset *", HAND },
                { "hand 0000:04:00.0 - plan ready*", HAND, "hand 0000:05:00.0 * reset after *", BESIDE },
                { "hand 0000:05:00.0 * probe before *", BESIDE, "hand 0000:04:00.0 * await-answer before *", BOTH },
                { "daemon claims/kubelet:0000:04:00.0 put rename*", BOTH, "hand 0000:05:00.0 * await-answer after *", DAEMON },
                { "daemon claims/kubelet:0000:05:00.0 put renamed*", DAEMON, "hand 0000:04:00.0 * unbind written-unbind *", BOTH },
                { "hand 0000:04:00.0 * await-node before *", BOTH, "daemon originals/0000:05:00.0 remove begin*", BOTH },
        };

        (void)state;
        play(begin(2, "kills-several", KILL_RULE("10de:2330", PAIR, "reset+restore")), rounds, N_ELEMENTS(rounds));
        node_stop();
}

static void test_at_least_forty_kills_were_survived(void **state)
{
        unsigned n = 0;

        (void)state;
        for (size_t v = 0; v < N_VICTIMS; v++)
                n += n_kills[v];
        (void)printf("# %u kills in one boot: daemon %u, daemon with the next one beside its hand %u, hand %u, both %u\n", n,
                     n_kills[DAEMON], n_kills[BESIDE], n_kills[HAND], n_kills[BOTH]);
        assert_true(n >= KILLS_AT_LEAST);
}

static int kills_teardown(void **state)
{
        held_arrange(&held, NULL);
        (void)node_teardown(state);
        held_kill_hands(&held);
        while (waitpid(-1, NULL, 0) > 0) /* whoever was left to us */
                ;
        return 0;
}

int node_suite_kills(void)
{
        const struct CMUnitTest kills[] = {
                cmocka_unit_test_teardown(test_kills_leave_a_card_of_four_functions_bound_or_given_back, kills_teardown),
                cmocka_unit_test_teardown(test_kills_leave_a_companion_with_its_host_driver_or_with_its_card, kills_teardown),
                cmocka_unit_test_teardown(test_kills_leave_each_card_of_a_request_bound_or_reset_and_given_back, kills_teardown),
                cmocka_unit_test(test_at_least_forty_kills_were_survived),
        };

        held_open(&held);
        int failed = RUN_SUITE(kills);
        held_close(&held);
        return failed;
}

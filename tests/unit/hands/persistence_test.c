/* SPDX-License-Identifier: Apache-2.0 */
/* A hand and nvidia-persistenced; the latter is played here, word by word as RFC 5531 and nvpd_rpc.h have it. */
#include "../unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "hands/persistenced.h"
#include "hands/worker.h"
#include "host.h"

enum answer { ANSWERS, SILENT, REFUSES_THE_CALL, NO_DEVICE, NOT_ROOT, FAILS, STAYS_OFF, ENDLESS, HANGS_UP };

/* Shared with the daemon that is played. */
struct daemon {
        enum answer answer;
        uint32_t mode;
        char calls[256]; /* "get 3b:0 ", "set 3b:0=1 " */
        char socket[108];
        pid_t pid;
};

static void reply(int fd, const uint32_t *words, size_t n)
{
        uint32_t out[16] = { htonl(0x80000000u | (uint32_t)(4 * n)) };

        for (size_t i = 0; i < n; i++)
                out[i + 1] = htonl(words[i]);
        (void)!write(fd, out, 4 * (n + 1));
}

static void serve_one(struct daemon *d, int fd)
{
        uint32_t in[16] = { 0 };
        char *end = d->calls + strlen(d->calls);
        ssize_t n = read(fd, in, sizeof(in));

        for (size_t i = 0; i < 16; i++)
                in[i] = ntohl(in[i]);
        bool set = in[6] == 1;
        size_t words = set ? 15 : 14;
        const uint32_t head[] = { 0, 2, 35006, 1, set ? 1 : 2, 0, 0, 0, 0, 0 };
        bool well_formed = n == (ssize_t)(4 * (words + 1)) && in[0] == (0x80000000u | 4 * words) && memcmp(in + 2, head, 9 * 4) == 0;
        str_format(end, sizeof(d->calls) - (size_t)(end - d->calls), set ? "%s%x:%x:%x:%x=%u " : "%s%x:%x:%x:%x ",
                   well_formed ? (set ? "set " : "get ") : "bad ", in[11], in[12], in[13], in[14], in[15]);
        uint32_t out[8] = { in[1], 1, 0, 0, 0, 0, 0, d->mode };
        switch (d->answer) {
        case SILENT:
                (void)sleep(30);
                return;
        case REFUSES_THE_CALL:
                out[5] = 2; /* PROG_MISMATCH */
                reply(fd, out, 8);
                return;
        case ENDLESS:
                out[0] = htonl(0x7fffffff);
                (void)!write(fd, out, 4);
                return;
        case HANGS_UP:
                return;
        case NO_DEVICE:
                out[6] = 2;
                break;
        case NOT_ROOT:
                out[6] = set ? 7 : 0;
                break;
        case STAYS_OFF:
                if (set && in[15] == 0)
                        d->mode = 0;
                out[6] = set && in[15] == 1 ? 3 : 0;
                break;
        case FAILS:
                out[6] = set ? 3 : 0;
                break;
        case ANSWERS:
                if (set)
                        d->mode = in[15];
                break;
        }
        reply(fd, out, set || out[6] ? 7 : 8);
}

static void daemon_start(struct daemon *d)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert_true(str_copy(address.sun_path, sizeof(address.sun_path), d->socket));
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(listener >= 0);
        assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 4), 0);
        pid_t pid = fork(); /* @d is the child's too */
        assert_true(pid >= 0);
        if (pid == 0)
                for (;;) {
                        int fd = accept(listener, NULL, NULL);
                        if (fd < 0)
                                _exit(1);
                        serve_one(d, fd);
                        (void)close(fd);
                }
        d->pid = pid;
        (void)close(listener);
}

/* The host of host.h with such a daemon. */
struct stage {
        struct host host;
        struct daemon *daemon;
};

static struct stage stage_make(enum answer answer, uint32_t mode)
{
        struct stage stage;

        host_make(&stage.host);
        stage.daemon = mmap(NULL, sizeof(*stage.daemon), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(stage.daemon, MAP_FAILED);
        *stage.daemon = (struct daemon){ .answer = answer, .mode = mode };
        assert_int_equal(fs_mkdir(stage.host.dir, "run", 0755), 0);
        assert_int_equal(fs_mkdir(stage.host.dir, "run/nvidia-persistenced", 0755), 0);
        str_format(stage.daemon->socket, sizeof(stage.daemon->socket), "%s/run/nvidia-persistenced/socket", stage.host.sim_dir);
        daemon_start(stage.daemon);
        return stage;
}

static void stage_done(struct stage *stage)
{
        (void)kill(stage->daemon->pid, SIGKILL);
        assert_int_equal(waitpid(stage->daemon->pid, NULL, 0), stage->daemon->pid);
        assert_int_equal(munmap(stage->daemon, sizeof(*stage->daemon)), 0);
        host_done(&stage->host);
}

static bool take(void *ctx, const struct report *report)
{
        if (report->kind == REPORT_END)
                *(struct report *)ctx = *report;
        return true;
}

static struct report run(struct stage *stage, const struct plan *plan)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct report end = { .kind = REPORT_BEFORE };
        struct err err;

        ASSERT_OK(wire_plan_valid(plan, sizeof(*plan), &err), &err);
        ASSERT_OK(kernel_open(&kernel, stage->host.sim_dir, &err), &err);
        (void)worker_execute(kernel, stage->host.locks, plan, take, &end);
        return end;
}

static void plan_with_persistence(struct plan *plan)
{
        plan_of_host(plan);
        memmove(plan->steps + 4, plan->steps + 3, (plan->n_steps++ - 3) * sizeof(plan->steps[0]));
        plan->steps[3] = (struct step){ .kind = STEP_PERSISTENCE_OFF, .bdf = GPU };
}

#define GET "get 0:3b:0:0 "
#define OFF "set 0:3b:0:0=0 "
#define ON  "set 0:3b:0:0=1 "

static void test_persistence_goes_off_before_a_bind_and_on_again_when_it_is_undone(void **state)
{
        static const struct {
                const char *title, *fault;
                enum answer answer;
                uint32_t mode;
                enum plan_end end;
                enum reason reason;
                const char *calls, *says;
        } rows[] = {
                { "on", NULL, ANSWERS, 1, PLAN_DONE, REASON_NONE, GET OFF, "" },
                { "off already", NULL, ANSWERS, 0, PLAN_DONE, REASON_NONE, GET, "" },
                { "none of its GPUs", NULL, NO_DEVICE, 1, PLAN_DONE, REASON_NONE, GET, "" },
                { "a later guard refuses", "unbindLock 0000:3b:00.0 ignore", ANSWERS, 1, PLAN_REFUSED, REASON_UNBIND_LOCK, GET OFF ON,
                  "still has clients" },
                { "the unbind fails", "unbind 0000:3b:00.0 refuse EIO", ANSWERS, 1, PLAN_UNDONE, REASON_STEP_FAILED, GET OFF ON, "" },
                { "it cannot be switched on again", "unbindLock 0000:3b:00.0 ignore", STAYS_OFF, 1, PLAN_BROKEN, REASON_NOT_RESTORED,
                  GET OFF ON, "persistence mode of 0000:3b:00.0 is off and was on: nvidia-persistenced answers with error 3" },
                { "it refuses", NULL, NOT_ROOT, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET OFF GET, "error 7 for 0000:3b:00.0" },
                { "its driver refuses", NULL, FAILS, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET OFF GET, "error 3 for 0000:3b:00.0" },
                { "another version", NULL, REFUSES_THE_CALL, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET, "another version" },
                { "garbage", NULL, ENDLESS, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET, "what nobody understands" },
                { "it dies", NULL, HANGS_UP, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET, "did not answer" },
                { "it does not answer", NULL, SILENT, 1, PLAN_REFUSED, REASON_PERSISTENCE, GET, "did not answer" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct stage stage = stage_make(rows[i].answer, rows[i].mode);
                struct plan plan;

                plan_with_persistence(&plan);
                if (rows[i].fault)
                        host_fault(&stage.host, rows[i].fault);
                struct report end = run(&stage, &plan);
                if (end.end != rows[i].end || end.reason != rows[i].reason || !streq(stage.daemon->calls, rows[i].calls) ||
                    !strstr(end.text, rows[i].says))
                        fail_msg("%s: %s [%s] %s; calls: %s", rows[i].title, plan_end_name(end.end), reason_word(end.reason), end.text,
                                 stage.daemon->calls);
                assert_string_equal(host_driver(&stage.host, GPU), rows[i].end == PLAN_DONE ? "vfio-pci" : "nvidia");
                stage_done(&stage);
        }
}

static void test_without_the_daemon_there_is_nothing_to_switch_off(void **state)
{
        struct stage stage;
        struct plan plan;

        (void)state;
        stage = stage_make(ANSWERS, 1);
        (void)kill(stage.daemon->pid, SIGKILL); /* its socket stays */
        assert_int_equal(waitpid(stage.daemon->pid, NULL, 0), stage.daemon->pid);
        plan_with_persistence(&plan);
        assert_int_equal(run(&stage, &plan).end, PLAN_DONE);
        assert_int_equal(munmap(stage.daemon, sizeof(*stage.daemon)), 0);
        host_done(&stage.host);

        host_make(&stage.host); /* nor a socket */
        assert_int_equal(run(&stage, &plan).end, PLAN_DONE);
        host_done(&stage.host);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_persistence_goes_off_before_a_bind_and_on_again_when_it_is_undone),
                TEST(test_without_the_daemon_there_is_nothing_to_switch_off),
        };

        return RUN(tests);
}

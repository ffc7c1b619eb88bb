/* SPDX-License-Identifier: Apache-2.0 */
#include "hands/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "core/reset.h"

const char *plan_end_name(enum plan_end end)
{
        static const char *const names[] = {
                [PLAN_DONE] = "done",     [PLAN_REFUSED] = "refused", [PLAN_UNDONE] = "undone",
                [PLAN_BROKEN] = "broken", [PLAN_STUCK] = "stuck",     [PLAN_LOST] = "lost",
        };

        return (size_t)end < N_ELEMENTS(names) ? names[end] : "?";
}

/* Terminated inside its buffer, and well-formed. */
static bool text_ok(const char *text, size_t size)
{
        size_t n = strnlen(text, size);

        return n < size && str_is_utf8(text, n);
}

/* A name that becomes one component of a path and one line of an attribute. */
static bool name_ok(const char *name)
{
        if (streq(name, ".") || streq(name, ".."))
                return false;
        for (const char *p = name; *p; p++)
                if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/')
                        return false;
        return true;
}

/* The path of an attribute below its device: "driver_override", "nvidia/creatable_vgpu_types". */
static bool attribute_ok(const char *path)
{
        char part[STEP_TEXT_MAX];

        while (*path) {
                size_t n = strcspn(path, "/");
                if (n == 0 || n >= sizeof(part))
                        return false;
                memcpy(part, path, n);
                part[n] = '\0';
                if (!name_ok(part))
                        return false;
                path += n;
                if (*path == '/' && *++path == '\0')
                        return false;
        }
        return true;
}

static bool bdf_ok(struct bdf b)
{
        return b.device <= 0x1f && b.function <= 7;
}

int wire_hello_valid(const void *buf, size_t n, struct err *err)
{
        struct wire_hello hello;

        /* The version is looked at first: another build's greeting may have any size. */
        if (n < sizeof(hello.version))
                return err_say(err, EPROTO, "the greeting has %zu bytes", n);
        memcpy(&hello.version, buf, sizeof(hello.version));
        if (hello.version != WIRE_VERSION || n != sizeof(hello))
                return err_say(err, EPROTO,
                               "sluiced speaks version %u of the hands' protocol, sluice-hand version %d: "
                               "install both from one build",
                               hello.version, WIRE_VERSION);
        memcpy(&hello, buf, sizeof(hello));
        if (hello.plan_size != sizeof(struct plan) || hello.report_size != sizeof(struct report))
                return err_say(err, EPROTO,
                               "sluiced and sluice-hand disagree on the size of a plan or report: "
                               "install both from one build");
        if (!text_ok(hello.sim_dir, sizeof(hello.sim_dir)) || !text_ok(hello.mounts, sizeof(hello.mounts)) ||
            !text_ok(hello.lock_dir, sizeof(hello.lock_dir)) || !*hello.lock_dir)
                return err_say(err, EPROTO, "the greeting names no valid directories");
        return 0;
}

int wire_worker_valid(const void *buf, size_t n, struct err *err)
{
        struct wire_worker msg;

        if (n != sizeof(msg))
                return err_say(err, EPROTO, "a message of %zu bytes instead of %zu", n, sizeof(msg));
        memcpy(&msg, buf, sizeof(msg));
        if (msg.kind < WIRE_WORKER || msg.kind > WIRE_FAILED)
                return err_say(err, EPROTO, "a message of unknown kind %u", msg.kind);
        if (msg.kind != WIRE_FAILED && msg.pid <= 0)
                return err_say(err, EPROTO, "a worker with process id %d", msg.pid);
        if (!text_ok(msg.text, sizeof(msg.text)))
                return err_say(err, EPROTO, "a text without end");
        return 0;
}

/* A list of methods has blanks in it. */
static bool value_ok(const struct step *step)
{
        if (step->kind == STEP_SETTING && streq(step->about, "reset_method"))
                return reset_is_list(step->text) && *step->text;
        return step->kind == STEP_READ_LOCKED ? attribute_ok(step->text) && *step->text : name_ok(step->text);
}

/* What a step is about beside its text. STEP_SETTING writes one of three attributes and nothing else. */
static bool about_ok(const struct step *step)
{
        switch (step->kind) {
        case STEP_SETTING:
                return streq(step->about, "power/control") || streq(step->about, "d3cold_allowed") || streq(step->about, "reset_method");
        case STEP_RESET: /* a list of methods */
                return reset_is_list(step->about) && *step->about && *step->text;
        default:
                return name_ok(step->about);
        }
}

static int step_valid(const struct step *step, uint32_t n_cards, uint32_t index, struct err *err)
{
        if ((uint32_t)step->kind > STEP_LIST_HOLDERS)
                return err_say(err, EPROTO, "step %u is of unknown kind %u", index + 1, (uint32_t)step->kind);
        if (!bdf_ok(step->bdf) || !bdf_ok(step->card) || step->wait_ms < 0 || step->wait_ms > 60000 ||
            !text_ok(step->text, sizeof(step->text)) || !text_ok(step->about, sizeof(step->about)))
                return err_say(err, EPROTO, "step %u is out of bounds", index + 1);
        if (!value_ok(step) || !about_ok(step))
                return err_say(err, EPROTO, "the text of step %u is no name", index + 1);
        if ((step->kind == STEP_NEED_DRIVER || step->kind == STEP_LOAD_MODULE) && !*step->text)
                return err_say(err, EPROTO, "step %u needs a driver without a name", index + 1);
        if ((step->kind == STEP_LOAD_MODULE || step->kind == STEP_PERSISTENCE_OFF || step->kind == STEP_GUARD_UNBIND_LOCK ||
             step_acts(step->kind)) &&
            n_cards == 0)
                return err_say(err, EPROTO, "step %u changes something, but the plan names no card", index + 1);
        return 0;
}

int wire_plan_valid(const void *buf, size_t n, struct err *err)
{
        const struct plan *plan = buf;

        if (n != sizeof(*plan))
                return err_say(err, EPROTO, "a plan of %zu bytes instead of %zu", n, sizeof(*plan));
        if (plan->n_steps > PLAN_STEPS_MAX || plan->n_cards > PLAN_CARDS_MAX)
                return err_say(err, EPROTO, "a plan of %u steps on %u cards", plan->n_steps, plan->n_cards);
        for (uint32_t i = 0; i < plan->n_cards; i++)
                if (!bdf_ok(plan->cards[i]) || (i > 0 && bdf_compare(plan->cards[i - 1], plan->cards[i]) >= 0))
                        return err_say(err, EPROTO, "card %u of the plan is invalid or out of order", i + 1);
        bool acts = false;
        for (uint32_t i = 0; i < plan->n_steps; i++) {
                int r = step_valid(&plan->steps[i], plan->n_cards, i, err);
                if (r < 0)
                        return r;
                acts = acts || step_acts(plan->steps[i].kind);
        }
        if (plan->awaits_word > 1 || (plan->awaits_word && !acts))
                return err_say(err, EPROTO, "a plan %s, and awaits a word (%u)", acts ? "acts" : "does not act", plan->awaits_word);
        return 0;
}

int wire_report_valid(const void *buf, size_t n, uint32_t n_steps, struct err *err)
{
        struct report report;

        if (n != sizeof(report))
                return err_say(err, EPROTO, "a report of %zu bytes instead of %zu", n, sizeof(report));
        memcpy(&report, buf, sizeof(report));
        if (report.kind > REPORT_READY)
                return err_say(err, EPROTO, "a report of unknown kind %u", report.kind);
        if (report.step > n_steps || (report.kind != REPORT_END && (report.kind == REPORT_READY) != (report.step == n_steps)))
                return err_say(err, EPROTO, "a report on step %u of %u", report.step + 1, n_steps);
        if (report.result > 0 || report.reason >= REASON_MAX || (report.kind == REPORT_END && report.end > PLAN_BROKEN))
                return err_say(err, EPROTO, "a report out of bounds");
        if (!text_ok(report.text, sizeof(report.text)))
                return err_say(err, EPROTO, "a report whose text is no text");
        return 0;
}

int wire_send(int fd, const void *msg, size_t n, int pass)
{
        struct iovec iov = { .iov_base = (void *)msg, .iov_len = n };
        union {
                char buf[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = { 0 };
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (pass >= 0) {
                header.msg_control = control.buf;
                header.msg_controllen = sizeof(control.buf);
                struct cmsghdr *c = CMSG_FIRSTHDR(&header);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &pass, sizeof(pass));
        }
        ssize_t r;
        do
                r = sendmsg(fd, &header, MSG_NOSIGNAL);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        return (size_t)r == n ? 0 : -EMSGSIZE; /* SEQPACKET is all or nothing */
}

ssize_t wire_recv(int fd, void *buf, size_t size, int *ret_passed)
{
        struct iovec iov = { .iov_base = buf, .iov_len = size };
        union {
                char buf[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
        _cleanup_close_ int passed = -1;

        if (ret_passed) {
                header.msg_control = control.buf;
                header.msg_controllen = sizeof(control.buf);
        }
        ssize_t n;
        do
                n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        for (struct cmsghdr *c = ret_passed ? CMSG_FIRSTHDR(&header) : NULL; c; c = CMSG_NXTHDR(&header, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                        memcpy(&passed, CMSG_DATA(c), sizeof(passed));
        if (header.msg_flags & MSG_TRUNC)
                return -EMSGSIZE;
        if (ret_passed)
                *ret_passed = TAKE_FD(passed);
        return n;
}

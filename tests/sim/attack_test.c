/* SPDX-License-Identifier: Apache-2.0 */
/* What no kubelet sends, from a process that may open the socket: each request is refused by a sentence or answered whole,
 * nothing is touched by a refused one, and the daemon serves on. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"
#include "wire.h"

/* gRPC codes */
enum {
        INVALID_ARGUMENT = 3,
        NOT_FOUND = 5,
        RESOURCE_EXHAUSTED = 8,
        FAILED_PRECONDITION = 9,
        UNIMPLEMENTED = 12,
        UNAVAILABLE = 14,
        INTERNAL = 13
};

#define METHOD(name) "/v1beta1.DevicePlugin/" name
static const char GPU0[] = "0000:18:00.0", GPU1[] = "0000:19:00.0";

/* ---- requests as bytes: also what protobuf-c would never write ---- */

static void add_varint(struct strbuf *b, size_t n)
{
        for (; n >= 0x80; n >>= 7)
                strbuf_add_n(b, (char[]){ (char)(n | 0x80) }, 1);
        strbuf_add_n(b, (char[]){ (char)n }, 1);
}

static void add_bytes(struct strbuf *b, unsigned field, const void *bytes, size_t n)
{
        add_varint(b, field << 3 | 2);
        add_varint(b, n);
        strbuf_add_n(b, bytes, n);
}

/* A message whose wire form is field @field with @bytes; its descriptor is another's, all of it is "unknown". */
static int call(const char *path, const char *method, unsigned field, const struct strbuf *bytes, char text[WIRE_TEXT_MAX])
{
        struct strbuf prefixed = { 0 };
        V1beta1__Empty message = V1BETA1__EMPTY__INIT;
        struct wire_status status = { .code = -1 };
        ProtobufCMessage *reply = NULL;

        add_varint(&prefixed, bytes->len);
        strbuf_add_n(&prefixed, bytes->text ? bytes->text : "", bytes->len);
        ProtobufCMessageUnknownField unknown = {
                .tag = field, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = prefixed.len, .data = (uint8_t *)prefixed.text
        };
        message.base.n_unknown_fields = 1;
        message.base.unknown_fields = &unknown;
        struct wire_conn *conn = wire_conn_new(path, "localhost");
        (void)wire_call(conn, method, &message.base, &v1beta1__empty__descriptor, clock_ms() + RIG_SOON_MS, &reply, NULL, &status);
        if (reply)
                protobuf_c_message_free_unpacked(reply, NULL);
        wire_conn_close(conn);
        wire_conn_free(conn);
        strbuf_done(&prefixed);
        str_format(text, WIRE_TEXT_MAX, "%s", status.text);
        return status.code;
}

static int call_once(struct rig *rig, const char *method, const struct strbuf *container)
{
        return call(rig_counts(rig, L40S).endpoint, method, 1, container, rig->text);
}

/* One container with @n ids that begin with @prefix. */
static void add_ids(struct strbuf *container, const char *prefix, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                char id[64];
                str_format(id, sizeof(id), "%s%u", prefix, i);
                add_bytes(container, 1, id, strlen(id));
        }
}

static void assert_refused(struct rig *rig, int code, int wanted, const char *says)
{
        if (code != wanted || !strstr(rig->text, says))
                fail_msg("code %d (expected %d), \"%s\" (expected %s)", code, wanted, rig->text, says);
        for (const char *c = rig->text; *c; c++)
                assert_true((unsigned char)*c >= ' ');
}

static void serves_on(struct rig *rig)
{
        rig_ready(rig, L40S, 8, 8);
        struct fk_run run = rig_run(rig, "pod", L40S, 1);
        assert_non_null(fk_run_env(&run, L40S_ENV));
        fk_run_done(&run);
        assert_int_equal(rig_counts(rig, L40S).registrations, 1);
}

static void test_lists_of_any_length_and_content_are_refused_whole(void **state)
{
        struct rig *rig = *state;
        static const char tail[] = "0000:18:00.0\0x", latin[] = "L\xe4nge", surrogate[] = "\xed\xa0\x80";
        const struct {
                const char *bytes;
                size_t n;
                int code;
                const char *says;
        } ids[] = {
                { "", 0, NOT_FOUND, "unknown-device" },
                { tail, sizeof(tail) - 1, INVALID_ARGUMENT, "zero byte in it [malformed-request]" }, /* not GPU0 */
                { "0000:18:00.0 ", 13, NOT_FOUND, "unknown-device" },
                { "../../0000:18:00.0", 18, NOT_FOUND, "unknown-device" },
                { latin, sizeof(latin) - 1, INVALID_ARGUMENT, "UTF-8, or has a zero byte in it [malformed-request] report this" },
                { surrogate, sizeof(surrogate) - 1, INVALID_ARGUMENT, "UTF-8" },
        };
        const struct {
                unsigned n;
                int code;
                const char *says;
        } counts[] = { { 200, NOT_FOUND, "unknown-device" },
                       { 300, INVALID_ARGUMENT, "names 300 devices" },
                       { 10000, INVALID_ARGUMENT, "too many" } };
        static const unsigned sizes[] = { 100 << 10, 900 << 10, 2 << 20 };
        static const char *const methods[] = { METHOD("Allocate"), METHOD("PreStartContainer") };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        for (size_t i = 0; i < N_ELEMENTS(ids); i++) {
                struct strbuf container = { 0 };
                add_bytes(&container, 1, ids[i].bytes, ids[i].n);
                assert_refused(rig, call_once(rig, METHOD("Allocate"), &container), ids[i].code, ids[i].says);
                strbuf_done(&container);
        }
        for (size_t i = 0; i < N_ELEMENTS(counts); i++) {
                struct strbuf container = { 0 };
                add_bytes(&container, 1, GPU0, strlen(GPU0)); /* a good one does not help */
                add_ids(&container, "0000:ff:00.", counts[i].n - 1);
                assert_refused(rig, call_once(rig, METHOD("Allocate"), &container), counts[i].code, counts[i].says);
                strbuf_done(&container);
        }
        for (size_t i = 0; i < N_ELEMENTS(sizes); i++)
                for (size_t m = 0; m < N_ELEMENTS(methods); m++) {
                        struct strbuf container = { 0 };
                        _cleanup_free_ char *id = xcalloc(sizes[i], 1);
                        memset(id, 'x', sizes[i]);
                        if (m == 0)
                                add_bytes(&container, 1, id, sizes[i]);
                        else
                                strbuf_add_n(&container, id, sizes[i]); /* its ids are in the message itself */
                        bool too_large = sizes[i] > 1 << 20;
                        assert_refused(rig, call_once(rig, methods[m], &container), too_large ? RESOURCE_EXHAUSTED : NOT_FOUND,
                                       too_large ? "" : "unknown-device");
                        strbuf_done(&container);
                }
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        serves_on(rig);
        rig_stop(rig);
}

/* More than one container in a request: kubelet never does so. */
static void test_a_request_for_several_containers_is_refused_whole(void **state)
{
        struct rig *rig = *state;
        const char *const pairs[][2] = { { GPU0, GPU0 }, { GPU0, "0000:ff:00.0" }, { GPU0, NULL } };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        const char *path = rig_counts(rig, L40S).endpoint;
        _cleanup_free_ char *endpoint = xstrdup(path);
        _cleanup_free_ char *before = rig_tree(rig);
        for (size_t i = 0; i < N_ELEMENTS(pairs); i++) {
                char *first[] = { (char *)(uintptr_t)pairs[i][0] }, *second[] = { (char *)(uintptr_t)pairs[i][1] };
                V1beta1__ContainerAllocateRequest a = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT,
                                                  b = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT, *both[] = { &a, &b };
                V1beta1__AllocateRequest request = V1BETA1__ALLOCATE_REQUEST__INIT;
                a.n_devices_ids = 1;
                a.devices_ids = first;
                b.n_devices_ids = pairs[i][1] ? 1 : 0;
                b.devices_ids = second;
                request.n_container_requests = 2;
                request.container_requests = both;
                struct wire_conn *conn = wire_conn_new(endpoint, "localhost");
                struct wire_status status;
                ProtobufCMessage *reply;
                assert_false(wire_call(conn, METHOD("Allocate"), &request.base, &v1beta1__allocate_response__descriptor,
                                       clock_ms() + RIG_SOON_MS, &reply, NULL, &status));
                if (status.code != INVALID_ARGUMENT || !strstr(status.text, "exactly one container"))
                        fail_msg("pair %zu: code %d, \"%s\"", i, status.code, status.text);
                wire_conn_close(conn);
                wire_conn_free(conn);
        }
        /* A thousand empty ones. */
        V1beta1__AllocateRequest many = V1BETA1__ALLOCATE_REQUEST__INIT;
        V1beta1__ContainerAllocateRequest empty = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT, *list[1000];
        for (size_t i = 0; i < N_ELEMENTS(list); i++)
                list[i] = &empty;
        many.n_container_requests = N_ELEMENTS(list);
        many.container_requests = list;
        struct wire_conn *conn = wire_conn_new(endpoint, "localhost");
        struct wire_status status;
        ProtobufCMessage *reply;
        assert_false(wire_call(conn, METHOD("Allocate"), &many.base, &v1beta1__allocate_response__descriptor, clock_ms() + RIG_SOON_MS,
                               &reply, NULL, &status));
        assert_int_equal(status.code, INVALID_ARGUMENT);
        wire_conn_close(conn);
        wire_conn_free(conn);
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        serves_on(rig);
        rig_stop(rig);
}

static void test_nonsense_about_preferences_is_refused(void **state)
{
        struct rig *rig = *state;
        const char *two[] = { GPU0, GPU1 }, *twice[] = { GPU0, GPU0 }, *other[] = { "0000:3a:00.0" }, *unknown[] = { GPU0, "nvme0" };
        const struct {
                const char *const *available;
                size_t n_available;
                const char *const *must;
                size_t n_must;
                int size;
        } rows[] = {
                { two, 2, NULL, 0, 0 },         { two, 2, NULL, 0, -1 },    { two, 2, NULL, 0, 3 },  { two, 2, NULL, 0, INT32_MAX },
                { two, 2, NULL, 0, INT32_MIN }, { two, 2, other, 1, 1 },    { two, 2, two, 2, 1 },   { two, 2, twice, 2, 2 },
                { twice, 2, NULL, 0, 1 },       { unknown, 2, NULL, 0, 2 }, { NULL, 0, NULL, 0, 1 }, { NULL, 0, two, 2, 2 },
        };
        char ids[256];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                int code = fk_raw_preferred(rig->k, L40S, rows[i].available, rows[i].n_available, rows[i].must, rows[i].n_must,
                                            rows[i].size, ids, sizeof(ids), rig->text);
                if (code != INVALID_ARGUMENT || strlen(rig->text) < 10)
                        fail_msg("row %zu: code %d, \"%s\"", i, code, rig->text);
        }
        assert_int_equal(fk_raw_preferred(rig->k, L40S, two, 2, NULL, 0, 1, ids, sizeof(ids), rig->text), 0);
        struct strbuf container = { 0 };
        add_ids(&container, "0000:ff:00.", 10000);
        assert_refused(rig, call_once(rig, METHOD("GetPreferredAllocation"), &container), INVALID_ARGUMENT, "");
        strbuf_done(&container);
        serves_on(rig);
        rig_stop(rig);
}

static void test_a_start_without_an_allocation_binds_nothing_unknown(void **state)
{
        struct rig *rig = *state;
        const char *unknown[] = { "0000:ff:00.0" }, *twice[] = { GPU0, GPU0 };

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        assert_refused(rig, fk_raw_prestart(rig->k, L40S, unknown, 1, rig->text), NOT_FOUND, "0000:ff:00.0");
        assert_refused(rig, fk_raw_prestart(rig->k, L40S, twice, 2, rig->text), INVALID_ARGUMENT, GPU0);
        assert_refused(rig, fk_raw_prestart(rig->k, L40S, NULL, 0, rig->text), INVALID_ARGUMENT, "no device");
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        serves_on(rig);
        rig_stop(rig);
}

static void test_methods_that_do_not_exist_are_said_so(void **state)
{
        static const char *const methods[] = { METHOD("Deallocate"), "/v1beta1.Registration/Register", "/", "/grpc.health.v1.Health/Check",
                                               "/v1.DevicePlugin/Allocate" };
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        for (size_t i = 0; i < N_ELEMENTS(methods); i++) {
                struct strbuf nothing = { 0 };
                int code = call_once(rig, methods[i], &nothing);
                if (code != UNIMPLEMENTED)
                        fail_msg("%s: code %d, \"%s\"", methods[i], code, rig->text);
                strbuf_done(&nothing);
        }
        serves_on(rig);
        rig_stop(rig);
}

/* ---- connections ---- */

static int connect_to(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        str_format(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
        return fd;
}

static size_t open_files(pid_t pid)
{
        _cleanup_free_ char *path = xasprintf("/proc/%d/fd", (int)pid);
        DIR *dir = opendir(path);
        size_t n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

/* The daemon lets go of every connection that its peer has closed. */
static void assert_lets_go(struct rig *rig, size_t before)
{
        size_t now = 0;

        for (int64_t until = clock_ms() + RIG_SOON_MS; clock_ms() < until; (void)usleep(20000))
                if ((now = open_files(rig->pid)) <= before + 2)
                        return;
        fail_msg("%zu descriptors are open, %zu were before", now, before);
}

static void test_bytes_that_are_no_http_end_their_connection_alone(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
        } rows[] = {
                { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27 },
                { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\xff\xff\x04\xff\0\0\0\0", 33 }, /* a settings frame that never ends */
                { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\1\5\4\0\0\0\1\xff", 34 },     /* a header block that is none */
                { "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11 },               /* TLS */
                { "\0\0\0\0\0\0\0\0\0\0\0\0", 12 },
                { "PRI * HT", 8 },
        };
        struct rig *rig = *state;

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        struct fk_counts counts = rig_counts(rig, L40S);
        size_t before = open_files(rig->pid);
        for (unsigned round = 0; round < 5; round++)
                for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                        int fd = connect_to(counts.endpoint);
                        (void)send(fd, rows[i].bytes, rows[i].n, MSG_NOSIGNAL);
                        if (round % 2)
                                (void)shutdown(fd, SHUT_WR); /* half open */
                        char answer[256];
                        struct pollfd p = { .fd = fd, .events = POLLIN };
                        if (poll(&p, 1, 50) > 0)
                                (void)recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
                        (void)close(fd);
                }
        assert_lets_go(rig, before);
        serves_on(rig);
        rig_stop(rig);
}

static void test_two_hundred_connections_at_once_are_borne(void **state)
{
        enum { N = 200, STREAMS = 100 };
        struct rig *rig = *state;
        struct wire_conn *conns[STREAMS];
        struct wire_stream *streams[STREAMS];
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;
        int fds[N];

        rig_open(rig, "l40s-8", "1.34", ON_ALLOCATE);
        rig_ready(rig, L40S, 8, 8);
        struct fk_counts counts = rig_counts(rig, L40S);
        size_t before = open_files(rig->pid);
        for (size_t i = 0; i < N; i++)
                fds[i] = connect_to(counts.endpoint); /* and never a word */
        for (size_t i = 0; i < STREAMS; i++) {
                conns[i] = wire_conn_new(counts.endpoint, "localhost");
                streams[i] = wire_stream_open(conns[i], METHOD("ListAndWatch"), &empty.base);
        }
        unsigned listed = 0, refused = 0;
        for (size_t i = 0; i < STREAMS; i++) {
                struct wire_bytes bytes = { 0 };
                struct wire_status status = { 0 };
                if (wire_stream_next(streams[i], &bytes, &status))
                        listed++;
                else if (status.code == RESOURCE_EXHAUSTED || status.code == UNAVAILABLE) /* too many streams, or in the queue */
                        refused++;
                wire_bytes_done(&bytes);
        }
        assert_int_equal(listed + refused, STREAMS);
        assert_in_range(listed, 50, 64);
        serves_on(rig); /* beside them */
        for (size_t i = 0; i < STREAMS; i++) {
                wire_stream_free(streams[i]);
                wire_conn_close(conns[i]);
                wire_conn_free(conns[i]);
        }
        for (size_t i = 0; i < N; i++)
                (void)close(fds[i]);
        assert_lets_go(rig, before + 8); /* a pod more is served than before */
        serves_on(rig);                  /* and none of those streams' ends has made us register again */
        rig_stop(rig);
}

/* ---- file systems ---- */

/* A mount namespace of this thread, and of what it starts. */
static bool own_mounts(void)
{
        return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void test_a_run_directory_that_is_full_or_read_only_leaves_devices_alone(void **state)
{
        struct rig *rig = *state;
        const char *ids[] = { GPU0 };

        if (!own_mounts())
                skip(); /* no right to mount here */
        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        assert_int_equal(mkdir(rig->run_dir, 0700), 0);
        assert_int_equal(mount("run", rig->run_dir, "tmpfs", 0, "size=4k,nr_inodes=1"), 0); /* not one file more */
        rig_kubelet(rig, "1.34");
        rig_daemon(rig);
        rig_ready(rig, L40S, 8, 8);
        _cleanup_free_ char *before = rig_tree(rig);
        int code = fk_raw_allocate(rig->k, L40S, ids, 1, rig->text);
        assert_refused(rig, code, INTERNAL, "No space left");
        assert_int_equal(mount(NULL, rig->run_dir, NULL, MS_REMOUNT, "size=1m,nr_inodes=100"), 0);
        assert_int_equal(mount(NULL, rig->run_dir, NULL, MS_REMOUNT | MS_RDONLY, "size=1m,nr_inodes=100"), 0);
        code = fk_raw_allocate(rig->k, L40S, ids, 1, rig->text);
        assert_refused(rig, code, INTERNAL, "Read-only");
        _cleanup_free_ char *after = rig_tree(rig);
        assert_string_equal(before, after);
        assert_string_equal(rig_health(rig, L40S, GPU0), "Healthy");
        assert_int_equal(mount(NULL, rig->run_dir, NULL, MS_REMOUNT, "size=1m,nr_inodes=100"), 0);
        assert_int_equal(fk_raw_allocate(rig->k, L40S, ids, 1, rig->text), 0);
        serves_on(rig);
        rig_stop(rig);
        assert_int_equal(umount(rig->run_dir), 0);
}

static void test_a_state_directory_that_is_full_or_read_only_is_said_at_start(void **state)
{
        static const struct {
                unsigned long flags;
                const char *options, *says;
        } rows[] = { { 0, "size=4k,nr_inodes=1", "No space left" }, { MS_RDONLY, "", "Read-only" } };
        struct rig *rig = *state;

        if (!own_mounts())
                skip();
        rig_prepare(rig, "l40s-8", ON_ALLOCATE);
        rig_kubelet(rig, "1.34");
        assert_int_equal(mkdir(rig->state_dir, 0700), 0);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                assert_int_equal(mount("state", rig->state_dir, "tmpfs", rows[i].flags, rows[i].options), 0);
                rig_daemon(rig);
                int status = rig_reap(rig->pid, RIG_SOON_MS);
                rig->pid = 0;
                assert_int_equal(status, 1);
                assert_true(rig_logged(rig, rows[i].says, 1000));
                assert_int_equal(umount(rig->state_dir), 0);
        }
        rig_daemon(rig);
        serves_on(rig);
        rig_stop(rig);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                RIG_TEST(test_lists_of_any_length_and_content_are_refused_whole),
                RIG_TEST(test_a_request_for_several_containers_is_refused_whole),
                RIG_TEST(test_nonsense_about_preferences_is_refused),
                RIG_TEST(test_a_start_without_an_allocation_binds_nothing_unknown),
                RIG_TEST(test_methods_that_do_not_exist_are_said_so),
                RIG_TEST(test_bytes_that_are_no_http_end_their_connection_alone),
                RIG_TEST(test_two_hundred_connections_at_once_are_borne),
                RIG_TEST(test_a_run_directory_that_is_full_or_read_only_leaves_devices_alone),
                RIG_TEST(test_a_state_directory_that_is_full_or_read_only_is_said_at_start),
        };

        return RUN(tests);
}

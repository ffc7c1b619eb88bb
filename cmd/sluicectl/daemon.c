/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

#include "base/alloc.h"
#include "rpc/listener.h"
#include "rpc/rpc.h"

enum { ASK_MS = 10 * 1000, TRIES = 10 };

struct daemon {
        const struct verb *verb;
        char *path;
        uv_loop_t loop;
        struct rpc *rpc;
        struct rpc_client *client;
        bool stopped;
};

struct reply {
        bool come;
        enum rpc_code code;
        char text[1024];
        ProtobufCMessage *msg;
};

bool daemon_option(int option, struct daemon_address *address)
{
        if (option == DAEMON_RUN_DIR)
                address->run_dir = optarg;
        else if (option == DAEMON_SOCKET)
                address->socket = optarg;
        else
                return false;
        return true;
}

static int say_nobody(const struct verb *verb, const char *path, const char *why)
{
        (void)fprintf(stderr,
                      "sluicectl: %s: no sluiced answers on %s: %s\n"
                      "Is it running on this node? --run-dir names the directory that it was given; 'sluicectl inventory --offline' reads\n"
                      "the host without it.\n",
                      verb->name, path, why);
        return EXIT_NO_DAEMON;
}

/* What gRPC says of a socket that is not there helps nobody. */
static int check_socket(const struct verb *verb, const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (strlen(path) > SOCKET_PATH_MAX || !str_copy(address.sun_path, sizeof(address.sun_path), path))
                return say_nobody(verb, path, "the path is too long for a socket");
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0)
                return EXIT_OK;
        return say_nobody(verb, path, strerror(errno));
}

int daemon_open(const struct verb *verb, const struct daemon_address *address, struct daemon **ret)
{
        _cleanup_free_ char *path =
                address->socket ? xstrdup(address->socket) : xasprintf("%s/node.sock", address->run_dir ? address->run_dir : "/run/sluice");
        struct err err;

        int status = check_socket(verb, path);
        if (status != EXIT_OK)
                return status;
        struct daemon *daemon = xcalloc(1, sizeof(*daemon));
        daemon->verb = verb;
        if (uv_loop_init(&daemon->loop) < 0 || rpc_start(&daemon->rpc, &err) < 0)
                abort(); /* neither memory nor a descriptor is left */
        rpc_attach(daemon->rpc, &daemon->loop);
        daemon->path = TAKE_PTR(path);
        daemon->client = rpc_client_new(daemon->rpc, daemon->path, 0);
        *ret = daemon;
        return EXIT_OK;
}

static void on_stopped(void *ctx)
{
        ((struct daemon *)ctx)->stopped = true;
}

struct daemon *daemon_close(struct daemon *daemon)
{
        if (!daemon)
                return NULL;
        rpc_client_free(daemon->client);
        rpc_stop(daemon->rpc, on_stopped, daemon);
        while (!daemon->stopped)
                (void)uv_run(&daemon->loop, UV_RUN_ONCE);
        (void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&daemon->loop);
        free(daemon->path);
        free(daemon);
        return NULL;
}

/* The message is borrowed, and its bytes are the way to copy it. */
static ProtobufCMessage *copy(const ProtobufCMessage *msg)
{
        size_t n = protobuf_c_message_get_packed_size(msg);
        _cleanup_free_ uint8_t *bytes = xcalloc(n + 1, 1);

        (void)protobuf_c_message_pack(msg, bytes);
        return alloc_check(protobuf_c_message_unpack(msg->descriptor, NULL, n, bytes));
}

static void on_reply(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct reply *reply = ctx;

        reply->come = true;
        reply->code = code;
        str_format(reply->text, sizeof(reply->text), "%s", text);
        reply->msg = msg ? copy(msg) : NULL;
}

static void ask_once(struct daemon *daemon, const char *path, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                     unsigned deadline_ms, struct reply *reply)
{
        *reply = (struct reply){ .come = false };
        (void)rpc_client_call(daemon->client, path, request, response, deadline_ms, on_reply, reply);
        while (!reply->come)
                (void)uv_run(&daemon->loop, UV_RUN_ONCE);
}

int daemon_ask(struct daemon *daemon, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
               ProtobufCMessage **ret)
{
        return daemon_ask_within(daemon, method, request, response, ASK_MS, ret);
}

int daemon_ask_within(struct daemon *daemon, const char *method, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *response, unsigned deadline_ms, ProtobufCMessage **ret)
{
        _cleanup_free_ char *path = xasprintf("/sluice.node.v1.%s", method);
        struct reply reply;

        /* A connection that is not taken up within 200 ms, as on a node under load, is one that failed to gRPC. */
        ask_once(daemon, path, request, response, deadline_ms, &reply);
        for (unsigned i = 1; i < TRIES && reply.code == RPC_UNAVAILABLE; i++)
                ask_once(daemon, path, request, response, deadline_ms, &reply);
        if (reply.code == RPC_OK) {
                *ret = reply.msg;
                return EXIT_OK;
        }
        if (reply.code == RPC_UNAVAILABLE) {
                _cleanup_free_ char *why =
                        xasprintf("it takes no connection of yours (it is ending, or you may not ask it): %s", reply.text);
                return say_nobody(daemon->verb, daemon->path, why);
        }
        (void)fprintf(stderr, "sluicectl: %s: %s%s\n", daemon->verb->name,
                      reply.code == RPC_UNIMPLEMENTED ? "this sluiced is older and does not know that: " : "", reply.text);
        return reply.code == RPC_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED;
}

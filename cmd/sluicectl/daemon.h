/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the sluiced of this node. */
#ifndef SLUICE_CMD_SLUICECTL_DAEMON_H
#define SLUICE_CMD_SLUICECTL_DAEMON_H

#include <protobuf-c/protobuf-c.h>

#include "verbs.h"

/* What all verbs that ask have: --run-dir, --socket, --output. */
enum { DAEMON_RUN_DIR = 300, DAEMON_SOCKET };
#define OPTIONS_DAEMON                                           \
        { "run-dir", required_argument, NULL, DAEMON_RUN_DIR },  \
        {                                                        \
                "socket", required_argument, NULL, DAEMON_SOCKET \
        }
#define HELP_DAEMON                                                                              \
        "  --run-dir DIR        the run directory of the sluiced to ask (default /run/sluice)\n" \
        "  --socket PATH        its socket (default node.sock in the run directory)\n"

struct daemon_address {
        const char *run_dir, *socket; /* NULL = the default */
};
bool daemon_option(int option, struct daemon_address *address); /* takes one of OPTIONS_DAEMON; false: it is none */

struct daemon;
/* An exit status; what went wrong was said on stderr. */
int daemon_open(const struct verb *verb, const struct daemon_address *address, struct daemon **ret);
struct daemon *daemon_close(struct daemon *daemon); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct daemon *, daemon_close)
#define _cleanup_daemon_ _cleanup_(daemon_closep)

/* Waits for the answer to @method ("Node/NodeExplain"). EXIT_OK: *ret is freed with protobuf_c_message_free_unpacked(.., NULL). */
int daemon_ask_within(struct daemon *daemon, const char *method, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *response, unsigned deadline_ms, ProtobufCMessage **ret);
int daemon_ask(struct daemon *daemon, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
               ProtobufCMessage **ret);

#endif

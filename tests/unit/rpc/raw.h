/* SPDX-License-Identifier: Apache-2.0 */
/* A bare gRPC client of a server stream, with its own queue: reads only when told to. */
#ifndef SLUICE_TESTS_RPC_RAW_H
#define SLUICE_TESTS_RPC_RAW_H

#include <stdbool.h>
#include <stddef.h>

struct raw;
struct raw *raw_open(const char *unix_path, const char *method); /* starts the call; sends an empty request */
/* The same after GetDevicePluginOptions on the same connection, as kubelet does; raw_turn() takes it from one to the other. */
struct raw *raw_open_as_kubelet(const char *unix_path, const char *method);
void raw_close(struct raw *raw); /* cancels and frees */
void raw_read(struct raw *raw);  /* asks for one message, unless one is asked for */

struct raw_seen {
        unsigned n_messages; /* so far */
        size_t last_n_devices;
        char last_health[64]; /* of the first device of the last list */
        long last_numa;       /* its NUMA node, -1 = none was sent */
        bool end;             /* nothing more to read */
        bool status_known;
        int status;
        char details[256];
};
/* Takes what has arrived, waiting at most 2 ms. @follow: ask for the next message at once. */
const struct raw_seen *raw_turn(struct raw *raw, bool follow);

#endif

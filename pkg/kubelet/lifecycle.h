/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one pool's registration with kubelet (path A), as a pure state machine: events and the time go in, actions
 * come out. No clock, no socket, no log; registrar.c feeds it and does what it says.
 *
 *   INIT -(kubelet.sock)-> LISTENING -> REGISTERING -(ok)-> WAIT -(ListAndWatch)-> SERVING -(stream ends)-> BACKOFF -> LISTENING
 *
 * What makes it more than a retry loop (device plugin API v1beta1, kubelet 1.26 to 1.37):
 *  - kubelet never asks twice: a stream that ends means registering again.
 *  - kubelet up to 1.36 keys plugins by resource: an old stream that ends after a new Register takes the new one down. So
 *    old streams are finished, and have ended, before Register; one that does not end is cut off.
 *  - a kubelet that goes away may answer a Register after its successor's socket appeared. So every Register is tagged
 *    with the identity of kubelet.sock (the epoch), and what comes back for another epoch counts for nothing.
 *  - kubelet up to 1.34 may finish a registration whose Register has timed out: an unexpected ListAndWatch is accepted.
 *  - kubelet wipes the directory at its start: a socket of ours that is gone means a new one, under a fresh name. */
#ifndef SLUICE_KUBELET_LIFECYCLE_H
#define SLUICE_KUBELET_LIFECYCLE_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/rpc.h"

enum {
        LIFE_RETRY_MS = 2, /* the first retry comes at once, the second within this, then ever slower */
        LIFE_BACKOFF_MAX_MS = 30000,
        LIFE_WAIT_MS = 15000,     /* Register was answered and no ListAndWatch came */
        LIFE_DRAIN_MS = 1500,     /* old streams that have not ended are cut off: ended within 2 s */
        LIFE_STABLE_MS = 10000,   /* a stream that lived this long makes the schedule start anew */
        LIFE_REGISTER_MS = 15000, /* deadline of Register: kubelet dials us inside it, up to 10 s */
        LIFE_PROBLEM_MAX = 256
};

enum life_state {
        LIFE_INIT,        /* no kubelet.sock */
        LIFE_LISTENING,   /* a new socket is made, old streams are ending */
        LIFE_REGISTERING, /* Register is in flight */
        LIFE_WAIT,        /* registered, kubelet has not asked for the list yet */
        LIFE_SERVING,     /* kubelet has the list */
        LIFE_BACKOFF,     /* a try failed, the next one is due */
        LIFE_REFUSED      /* kubelet says that it will never take this resource; until it restarts */
};
const char *life_state_name(enum life_state state); /* "no-kubelet", "listening", ... */

/* What the caller does, in this order. */
enum life_action {
        LIFE_DROP_REGISTER = 1 << 0,  /* cancel the Register in flight; its completion is ignored */
        LIFE_FINISH_STREAMS = 1 << 1, /* end every open stream with a status */
        LIFE_CANCEL_STREAMS = 1 << 2, /* cut off what is still open */
        LIFE_LISTEN = 1 << 3,         /* close the socket, open one under a fresh name, report with life_listening */
        LIFE_REGISTER = 1 << 4        /* call Register and report with life_registered and the number life->attempt */
};

/* Identity of kubelet.sock: file system, inode and birth (inode numbers are used again). All zero: it is not there. */
struct life_epoch {
        uint64_t dev, ino;
        int64_t born_ns;
};

bool life_epoch_equal(struct life_epoch a, struct life_epoch b);

struct life_now {
        int64_t ms;      /* monotonic */
        unsigned jitter; /* 0..1023, evenly spread */
};

struct life {
        enum life_state state;
        struct life_epoch epoch; /* of kubelet.sock as last seen */
        struct life_epoch asked; /* of the last Register */
        unsigned attempt;        /* number of the last Register */
        unsigned failures;       /* tries in a row that came to nothing */
        unsigned streams;        /* open ones */
        bool listening;          /* LISTENING: the new socket is there */
        bool ended;              /* a stream has ended since Register was called */
        bool refused;            /* the last try was refused by kubelet, not lost */
        int64_t due_ms;          /* when life_tick wants to be called; INT64_MAX = never */
        int64_t serving_since_ms;
        unsigned registrations;         /* successful ones */
        char problem[LIFE_PROBLEM_MAX]; /* why the last try failed; "" = none */
};

void life_init(struct life *life);

/* Each returns the actions to do now (0 = none). */
unsigned life_kubelet(struct life *life, struct life_now now, struct life_epoch epoch); /* looked at kubelet.sock */
unsigned life_socket_gone(struct life *life, struct life_now now);                      /* our file is not ours any more */
unsigned life_listening(struct life *life, struct life_now now, const char *problem);   /* NULL = the socket is there */
unsigned life_registered(struct life *life, struct life_now now, unsigned attempt, enum rpc_code code, const char *text);
unsigned life_stream_opened(struct life *life, struct life_now now);
unsigned life_stream_closed(struct life *life, struct life_now now);
unsigned life_tick(struct life *life, struct life_now now); /* any time; acts when due */

/* Milliseconds before try number @failures (0 = the first retry): 0, then 4 doubling up to 30 s, the last quarter by jitter.
 * The quick ones are for a kubelet.sock that is there before kubelet listens. */
int64_t life_delay_ms(unsigned failures, unsigned jitter);

#endif

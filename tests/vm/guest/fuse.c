/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/str.h"
#include "guest.h"

enum { EXIT_PORT = 0x501 /* isa-debug-exit, as in host/machine.c */ };

static _Atomic int64_t burns_down_ms; /* 0 = it is out */
static const char *_Atomic watched;

/* Past stdio, whose locks the main thread may hold, and past init, which waits for the main thread. */
static void end_guest(void)
{
        char text[256];

        str_format(text, sizeof(text), "\n# %s does not end: the guest is ended\nGUEST-EXIT 1 by its fuse\n", watched);
        (void)!write(STDOUT_FILENO, text, strlen(text));
        (void)tcdrain(STDOUT_FILENO);
        int port = open("/dev/port", O_WRONLY | O_CLOEXEC);
        (void)!pwrite(port, "\1", 1, EXIT_PORT);
}

static void *watch(void *unused)
{
        for (;;) {
                int64_t end = burns_down_ms;
                if (end != 0 && now_ms() > end)
                        end_guest();
                sleep_ms(500);
        }
        return unused;
}

void fuse_light(const char *what, int seconds)
{
        static bool watching;
        pthread_t thread;

        watched = what;
        burns_down_ms = now_ms() + seconds * INT64_C(1000);
        if (!watching && pthread_create(&thread, NULL, watch, NULL) == 0)
                watching = pthread_detach(thread) == 0;
}

void fuse_put_out(void)
{
        burns_down_ms = 0;
}

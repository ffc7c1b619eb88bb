/* SPDX-License-Identifier: Apache-2.0 */
/* The process of a pod's sandbox: waits for a signal, reaps orphans. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(int signal)
{
        (void)signal;
        _exit(0);
}

static void reap(int signal)
{
        (void)signal;
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
}

int main(void)
{
        (void)signal(SIGTERM, stop);
        (void)signal(SIGINT, stop);
        (void)signal(SIGCHLD, reap);
        for (;;)
                (void)pause();
}

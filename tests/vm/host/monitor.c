/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum { REPLY_TIMEOUT_MS = 30000, REPLY_BYTES = 8192 };

/* One line of QMP, which sends each object on a line of its own. */
static int read_line(int fd, char *line, size_t size)
{
        size_t n = 0;

        while (n + 1 < size) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                if (poll(&p, 1, REPLY_TIMEOUT_MS) != 1 || read(fd, line + n, 1) != 1)
                        return -1;
                if (line[n] == '\n')
                        break;
                n++;
        }
        line[n] = '\0';
        return 0;
}

/* The next line that answers a command: events come in between. */
static int read_reply(int fd, char *line, size_t size)
{
        do {
                if (read_line(fd, line, size) < 0)
                        return -1;
        } while (!str_has_prefix(line, "{\"return\"") && !str_has_prefix(line, "{\"error\""));
        return str_has_prefix(line, "{\"return\"") ? 0 : -1;
}

static int send_text(int fd, const char *text)
{
        size_t n = strlen(text);

        return write(fd, text, n) == (ssize_t)n ? 0 : -1;
}

int monitor_greet(int fd)
{
        char line[REPLY_BYTES];

        if (read_line(fd, line, sizeof(line)) < 0) /* {"QMP": ...} */
                return -1;
        if (send_text(fd, "{\"execute\":\"qmp_capabilities\"}\n") < 0)
                return -1;
        return read_reply(fd, line, sizeof(line));
}

int monitor_command(int fd, const char *command, char *answer, size_t size)
{
        char line[REPLY_BYTES];
        _cleanup_strbuf_ struct strbuf request = { 0 };

        strbuf_add(&request, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"");
        for (const char *c = command; *c != '\0'; c++) {
                if (*c == '"' || *c == '\\')
                        strbuf_add_n(&request, "\\", 1);
                strbuf_add_n(&request, c, 1);
        }
        strbuf_add(&request, "\"}}\n");
        if (send_text(fd, request.text) < 0 || read_reply(fd, line, sizeof(line)) < 0) {
                str_format(answer, size, "QEMU's monitor does not answer");
                return -1;
        }

        /* {"return": "text\r\n"}: the text, as QEMU escaped it, is good enough to be read by a person. */
        char *text = strchr(line, ':');
        char *end = strrchr(line, '"');

        text = text != NULL ? strchr(text, '"') : NULL;
        if (text == NULL || end == NULL || end <= text) {
                str_format(answer, size, "%s", line);
                return -1;
        }
        *end = '\0';
        while (str_has_suffix(text + 1, "\\r\\n"))
                text[strlen(text) - strlen("\\r\\n")] = '\0';
        str_format(answer, size, "%s", text + 1);
        return 0;
}

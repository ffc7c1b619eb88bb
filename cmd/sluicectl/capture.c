/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/tree.h"
#include "sim/capture.h"

/* Not fs_replace: the file may be a pipe or a device, which must not be replaced. */
static int write_file(const char *path, const struct strbuf *text, struct err *err)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0)
                return err_set(err, errno, "cannot create");
        int r = fs_write_all(fd, text->text, text->len);
        if (r < 0)
                return err_set(err, -r, "cannot write");
        if (close(TAKE_FD(fd)) < 0)
                return err_set(err, errno, "cannot write");
        return 0;
}

/* @host NULL: this machine. */
static int capture(const char *host, const char *path)
{
        _cleanup_strbuf_ struct strbuf text = { 0 };
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        struct err err;

        if (tree_open(&tree, host, &err) < 0 || capture_write(&tree, &text, &err) < 0)
                return say_failed(host ? host : "capture", &err);
        if (!path || streq(path, "-"))
                return say_text(&text);
        if (write_file(path, &text, &err) < 0)
                return say_failed(path, &err);
        return EXIT_OK;
}

static int run(const struct verb *verb, int argc, char **argv)
{
        enum { HOST = 256 };
        static const struct option options[] = {
                { "host", required_argument, NULL, HOST }, { "output", required_argument, NULL, 'o' }, OPTION_HELP, { 0 }
        };
        const char *host = NULL, *path = NULL;

        for (int option; (option = verb_option(verb, argc, argv, ":ho:", options)) != -1;)
                switch (option) {
                case 'h':
                        return EXIT_OK;
                case HOST:
                        host = optarg;
                        break;
                case 'o':
                        path = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return say_usage(verb, argv[optind], "unexpected");
        return capture(host, path);
}

const struct verb verb_capture = {
        .name = "capture",
        .words = "[--host DIR] [-o FILE]",
        .summary = "write this machine's GPU facts as one readable text file",
        .help = "  --host DIR         of another host: a directory with sys/, proc/ and dev/ below it, where nodes may be\n"
                "                     plain files (a capture that was unpacked and changed, a simulated host)\n"
                "  -o, --output FILE  where to write it (default: standard output)\n"
                "\n"
                "The file holds what Sluice reads of /sys, /proc and /dev, without serial numbers and MAC addresses.\n"
                "'sluicectl inventory --host FILE' and 'sluiced --host FILE' run on it on any machine.\n",
        .run = run,
};

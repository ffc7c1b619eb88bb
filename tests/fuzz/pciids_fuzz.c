/* SPDX-License-Identifier: Apache-2.0 */
/* A user's pci.ids file: refused with a sentence, or names that are clean text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "host/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *name)
{
        if (name && (!*name || !str_is_utf8(name, strlen(name))))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct names *names = NULL;
        struct err err = { 0 };
        char path[64];

        _cleanup_close_ int fd = memfd_create("pci.ids", MFD_CLOEXEC);
        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                return 0;
        str_format(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (names_new(&names, path, "/nonexistent", &err) < 0) {
                if (!*err.msg)
                        abort();
                return 0;
        }
        check(names_vendor(names, 0x10de));
        check(names_device(names, 0x10de, 0xfff0));
        check(names_device(names, 0x8086, 0x2330));
        (void)names_free(names);
        return 0;
}

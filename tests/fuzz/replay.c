/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of its corpus: what a fuzzer once found stays found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4 << 20 };

int main(int argc, char **argv)
{
        unsigned n = 0;

        if (argc != 2)
                return 2;
        DIR *dir = opendir(argv[1]);
        if (!dir) {
                (void)printf("not ok 1 - cannot open the corpus %s\n", argv[1]);
                return 1;
        }
        for (struct dirent *entry; (entry = readdir(dir));) {
                _cleanup_free_ char *path = xasprintf("%s/%s", argv[1], entry->d_name);
                if (entry->d_name[0] == '.')
                        continue;
                FILE *file = fopen(path, "rb");
                if (!file)
                        continue;
                _cleanup_free_ uint8_t *data = xcalloc(1, INPUT_MAX);
                size_t size = fread(data, 1, INPUT_MAX, file);
                (void)fclose(file);
                /* An exact copy, so that the sanitizer sees a read past the end. */
                _cleanup_free_ uint8_t *exact = xmemdup(data, size);
                (void)LLVMFuzzerTestOneInput(exact, size);
                n++;
        }
        (void)closedir(dir);
        (void)printf("%s 1 - %u inputs of %s\n", n ? "ok" : "not ok", n, argv[1]);
        return n ? 0 : 1;
}

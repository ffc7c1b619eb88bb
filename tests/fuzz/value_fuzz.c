/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of sysfs and /proc, given to every parser of host/value.h; what is accepted must make sense. */
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "host/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = xstrndup((const char *)data, size);
        struct value_place place;
        struct value_range ranges[4];
        struct bar bars[N_BARS];
        struct bdf bdf;
        struct value_ids ids;
        int n = 0;

        if (value_modalias(text, &ids))
                check(ids.class_code <= 0xffffff);
        if (value_numa(text, &n))
                check(n >= -1 && n <= 4095);
        if (value_index(text, "vfio", &n))
                check(n >= 0);
        if (str_is_uuid(text))
                check(strlen(text) == UUID_LEN - 1);
        (void)value_resource(text, bars);
        if (value_last_bdf(text, &bdf) && value_place(text, bdf, &place))
                check(str_has_prefix(place.root, "pci") && strlen(place.root) < ROOT_LEN);
        check(value_framebuffers(text, ranges, 4) <= 4);
        return 0;
}

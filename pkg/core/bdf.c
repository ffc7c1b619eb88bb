/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bdf.h"

#include <stdio.h>

static int hex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads between @min and @max hexadecimal digits; returns what follows, or NULL. */
static const char *digits(const char *s, unsigned min, unsigned max, uint32_t *ret)
{
        unsigned n = 0;
        uint32_t v = 0;

        for (; n < max && hex(*s) >= 0; n++, s++)
                v = v << 4 | (uint32_t)hex(*s);
        *ret = v;
        return n >= min ? s : NULL;
}

bool bdf_parse(const char *s, struct bdf *ret)
{
        uint32_t domain, bus, device, function;

        s = digits(s, 4, 8, &domain);
        if (!s || *s++ != ':' || !(s = digits(s, 2, 2, &bus)) || *s++ != ':')
                return false;
        s = digits(s, 2, 2, &device);
        if (!s || *s++ != '.' || !(s = digits(s, 1, 1, &function)) || *s != '\0' || device > 0x1f || function > 7)
                return false;
        *ret = (struct bdf){ domain, (uint8_t)bus, (uint8_t)device, (uint8_t)function };
        return true;
}

char *bdf_format(struct bdf b, char out[static BDF_TEXT_MAX])
{
        (void)snprintf(out, BDF_TEXT_MAX, BDF_FMT, BDF_ARGS(b));
        return out;
}

int bdf_compare(struct bdf a, struct bdf b)
{
        if (a.domain != b.domain)
                return a.domain < b.domain ? -1 : 1;
        if (a.bus != b.bus)
                return a.bus < b.bus ? -1 : 1;
        if (a.device != b.device)
                return a.device < b.device ? -1 : 1;
        return (int)a.function - (int)b.function;
}

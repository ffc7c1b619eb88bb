/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bdf.h"

#include <stddef.h>

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

static char *put_hex(char *at, uint32_t v, unsigned n_digits)
{
        for (unsigned i = n_digits; i-- > 0; v >>= 4)
                at[i] = "0123456789abcdef"[v & 0xf];
        return at + n_digits;
}

/* As BDF_FMT does, without its price: several times in each Allocate, and for each function in each look. */
char *bdf_format(struct bdf b, char out[static BDF_TEXT_MAX])
{
        unsigned domain_digits = 4;

        while (domain_digits < 8 && b.domain >> 4 * domain_digits)
                domain_digits++;
        char *at = put_hex(out, b.domain, domain_digits);
        *at++ = ':';
        at = put_hex(at, b.bus, 2);
        *at++ = ':';
        at = put_hex(at, b.device, 2);
        *at++ = '.';
        at = put_hex(at, b.function, 1);
        *at = '\0';
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

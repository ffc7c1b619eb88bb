/* SPDX-License-Identifier: Apache-2.0 */
/* A PCI address as a value: domain:bus:device.function, parsed at one edge and formatted at the other. */
#ifndef SLUICE_CORE_BDF_H
#define SLUICE_CORE_BDF_H

#include <stdbool.h>
#include <stdint.h>

struct bdf {
        uint32_t domain; /* up to 32 bits on Linux: VMD uses 0x10000 */
        uint8_t bus;
        uint8_t device;   /* 0..0x1f */
        uint8_t function; /* 0..7 */
};

enum { BDF_TEXT_MAX = sizeof("ffffffff:ff:1f.7") };
#define BDF_FMT     "%04x:%02x:%02x.%x"
#define BDF_ARGS(b) (b).domain, (b).bus, (b).device, (b).function

/* The whole of @s is `DDDD:BB:DD.F`, hexadecimal of either case: 4 to 8 domain digits, 2, 2, 1; device at most 1f,
 * function at most 7. @ret is untouched on failure. */
bool bdf_parse(const char *s, struct bdf *ret);
char *bdf_format(struct bdf b, char out[static BDF_TEXT_MAX]); /* lower case; returns @out */
int bdf_compare(struct bdf a, struct bdf b);
static inline bool bdf_equal(struct bdf a, struct bdf b)
{
        return a.domain == b.domain && a.bus == b.bus && a.device == b.device && a.function == b.function;
}
/* More than four domain digits: no PCI address that KubeVirt can parse (facts: pattern is exactly four). */
static inline bool bdf_domain_is_wide(struct bdf b)
{
        return b.domain > 0xffff;
}

#endif

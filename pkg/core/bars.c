/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bars.h"

#include <inttypes.h>

#include "base/str.h"

enum { FIRST_BAR = 0x10, HEADER_TYPE = 0x0e };

/* include/linux/ioport.h */
static const uint64_t MEMORY = 0x200, ENHANCED = 0x20, WIDE = 0x100000, NOWHERE = 0x30000000; /* disabled, unset */

static uint64_t register_at(const unsigned char *header, size_t offset)
{
        return (uint64_t)header[offset + 3] << 24 | (uint64_t)header[offset + 2] << 16 | (uint64_t)header[offset + 1] << 8 | header[offset];
}

static bool is_wide(const struct bar *bar, size_t i)
{
        return (bar->flags & WIDE) && i + 1 < N_BARS;
}

static uint64_t address_of(const struct bar *assigned, const unsigned char *header, size_t i)
{
        uint64_t low = register_at(header, FIRST_BAR + 4 * i) & ~UINT64_C(0xf);

        return is_wide(&assigned[i], i) ? low | register_at(header, FIRST_BAR + 4 * (i + 1)) << 32 : low;
}

/* One of Enhanced Allocation has no register. */
static bool has_register(const struct bar *bar)
{
        return bar->size > 0 && bar->start > 0 && (bar->flags & MEMORY) && !(bar->flags & (ENHANCED | NOWHERE));
}

static bool is_translated(const struct bar *assigned, const unsigned char *header)
{
        uint64_t shift = 0;
        size_t n = 0;

        for (size_t i = 0; i < N_BARS; i++) {
                if (!has_register(&assigned[i]))
                        continue;
                uint64_t at = address_of(assigned, header, i);
                if (at == 0 || (n > 0 && assigned[i].start - at != shift))
                        return false;
                shift = assigned[i].start - at;
                n++;
        }
        return n > 1;
}

bool bars_moved(const struct bar assigned[static N_BARS], const unsigned char header[static CONFIG_HEADER], bool asleep, char *what,
                size_t what_size)
{
        if ((header[HEADER_TYPE] & 0x7f) != 0 || is_translated(assigned, header))
                return false;
        for (size_t i = 0; i < N_BARS; i++) {
                uint64_t at = has_register(&assigned[i]) ? address_of(assigned, header, i) : assigned[i].start;
                if (at == assigned[i].start || (asleep && at == 0))
                        continue;
                str_format(what, what_size, "BAR %zu is at 0x%" PRIx64 ", and the kernel gave it 0x%" PRIx64, i, at, assigned[i].start);
                return true;
        }
        return false;
}

bool bars_resized(const struct bar assigned[static N_BARS], uint32_t control, char *what, size_t what_size)
{
        const uint32_t i = control & 7, exponent = control >> 8 & 0x3f;

        if (i >= N_BARS || !has_register(&assigned[i]) || exponent > 43 || assigned[i].size == UINT64_C(1) << (20 + exponent))
                return false;
        str_format(what, what_size, "BAR %" PRIu32 " has %" PRIu64 " MiB, and the kernel knows it with %" PRIu64 " MiB", i,
                   UINT64_C(1) << exponent, assigned[i].size >> 20);
        return true;
}

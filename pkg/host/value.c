/* SPDX-License-Identifier: Apache-2.0 */
#include "host/value.h"

#include <limits.h>
#include <stdio.h>

#include "base/str.h"

enum { NUMA_MAX = 4095, IOMEM_DEPTH_MAX = 32, LINE_MAX_BYTES = 256 };

/* `<name><digits>` at *@at, the digits hexadecimal; *@at is moved behind it. */
static bool take_field(const char **at, const char *name, size_t n_digits, uint64_t max, uint64_t *ret)
{
        char digits[16];

        if (!str_has_prefix(*at, name))
                return false;
        *at += strlen(name);
        str_format(digits, sizeof(digits), "%.*s", (int)n_digits, *at);
        if (strlen(digits) != n_digits || !str_to_u64(digits, 16, max, ret))
                return false;
        *at += n_digits;
        return true;
}

bool value_modalias(const char *text, struct value_ids *ret)
{
        uint64_t vendor, device, subvendor, subdevice, base, sub, interface;

        if (!take_field(&text, "pci:v", 8, 0xffff, &vendor) || !take_field(&text, "d", 8, 0xffff, &device) ||
            !take_field(&text, "sv", 8, 0xffff, &subvendor) || !take_field(&text, "sd", 8, 0xffff, &subdevice) ||
            !take_field(&text, "bc", 2, 0xff, &base) || !take_field(&text, "sc", 2, 0xff, &sub) ||
            !take_field(&text, "i", 2, 0xff, &interface) || *text)
                return false;
        *ret = (struct value_ids){
                .vendor = (uint16_t)vendor,
                .device = (uint16_t)device,
                .subvendor = (uint16_t)subvendor,
                .subdevice = (uint16_t)subdevice,
                .class_code = (uint32_t)(base << 16 | sub << 8 | interface),
        };
        return true;
}

bool value_numa(const char *text, int *ret)
{
        uint64_t node;

        if (streq(text, "-1")) {
                *ret = -1;
                return true;
        }
        if (!str_to_u64(text, 10, NUMA_MAX, &node))
                return false;
        *ret = (int)node;
        return true;
}

/* Copies the line at @text into @line (cut at @size) and returns the start of the next one, NULL after the last. */
static const char *next_line(const char *text, char *line, size_t size)
{
        const char *end = strchrnul(text, '\n');
        size_t n = (size_t)(end - text);

        if (n >= size)
                n = size - 1;
        memcpy(line, text, n);
        line[n] = '\0';
        return *end ? end + 1 : NULL;
}

/* Splits @line at blanks in place; returns how many fields there are, at most @max + 1. */
static size_t split(char *line, char **fields, size_t max)
{
        size_t n = 0;

        for (char *rest = line, *field; (field = strsep(&rest, " \t")) != NULL;)
                if (*field && n++ < max)
                        fields[n - 1] = field;
        return n;
}

static bool bar_parse(char *line, struct bar *ret)
{
        char *fields[3];
        uint64_t end;
        struct bar bar = { 0 };

        if (split(line, fields, 3) != 3 || !str_to_u64(fields[0], 16, UINT64_MAX, &bar.start) ||
            !str_to_u64(fields[1], 16, UINT64_MAX, &end) || !str_to_u64(fields[2], 16, UINT64_MAX, &bar.flags))
                return false;
        bool unused = bar.start == 0 && end == 0;
        /* The kernel's empty resource ends one before its start: (0, -1) and (x, x - 1). */
        if (!unused && end != bar.start - 1 && end < bar.start)
                return false;
        bar.size = unused ? 0 : end - bar.start + 1;
        *ret = bar;
        return true;
}

bool value_resource(const char *text, struct bar ret[static N_BARS])
{
        struct bar bars[N_BARS];
        char line[LINE_MAX_BYTES];

        for (size_t i = 0; i < N_BARS; i++) {
                if (!text)
                        return false;
                text = next_line(text, line, sizeof(line));
                if (!bar_parse(line, &bars[i]))
                        return false;
        }
        memcpy(ret, bars, sizeof(bars));
        return true;
}

bool value_index(const char *name, const char *prefix, int *ret)
{
        uint64_t n;

        if (!str_has_prefix(name, prefix) || !str_to_u64(name + strlen(prefix), 10, INT_MAX, &n))
                return false;
        *ret = (int)n;
        return true;
}

/* "pci0000:60", "pci10000:e0": a PCI root among the components of a device path. */
static bool is_root(const char *component)
{
        const char *colon = strchr(component, ':');
        uint64_t domain, bus;
        char digits[ROOT_LEN];

        if (!str_has_prefix(component, "pci") || !colon || strlen(component) >= ROOT_LEN || strlen(colon + 1) != 2)
                return false;
        size_t n = (size_t)(colon - component) - strlen("pci");
        if (n < 4 || n > 8)
                return false;
        memcpy(digits, component + strlen("pci"), n);
        digits[n] = '\0';
        return str_to_u64(digits, 16, UINT32_MAX, &domain) && str_to_u64(colon + 1, 16, UINT8_MAX, &bus);
}

/* Copies the component at @path into @out, "" when it is too long to be of interest; returns what follows, or NULL. */
static const char *component(const char *path, char *out, size_t size)
{
        const char *end = strchrnul(path, '/');
        size_t n = (size_t)(end - path);

        if (n >= size)
                n = 0;
        memcpy(out, path, n);
        out[n] = '\0';
        return *end ? end + 1 : NULL;
}

bool value_place(const char *target, struct bdf self, struct value_place *ret)
{
        struct value_place place = { 0 };
        struct bdf last = { 0 };
        unsigned depth = 0; /* functions seen below the root */
        char name[64];

        for (const char *rest = target; rest;) {
                struct bdf bdf;
                rest = component(rest, name, sizeof(name));
                if (is_root(name)) {
                        (void)str_copy(place.root, sizeof(place.root), name);
                        depth = 0;
                } else if (*place.root && bdf_parse(name, &bdf)) {
                        if (depth++ == 0)
                                place.root_port = place.upstream = bdf;
                        else
                                place.upstream = last;
                        last = bdf;
                } else if (*place.root) {
                        return false;
                }
        }
        if (depth == 0 || !bdf_equal(last, self))
                return false;
        *ret = place;
        return true;
}

bool value_last_bdf(const char *path, struct bdf *ret)
{
        char name[64];
        bool found = false;

        for (const char *rest = path; rest;) {
                rest = component(rest, name, sizeof(name));
                found |= bdf_parse(name, ret);
        }
        return found;
}

/* One line of /proc/iomem: two blanks per level, `start-end : name`. */
struct iomem_line {
        unsigned depth;
        uint64_t start, end;
        const char *name;
};

static bool iomem_parse(char *line, struct iomem_line *ret)
{
        size_t blanks = strspn(line, " ");
        char *range = line + blanks, *name = strstr(range, " : "), *dash = strchr(range, '-');

        if (!name || !dash || dash > name)
                return false;
        *dash = *name = '\0';
        ret->name = name + strlen(" : ");
        ret->depth = (unsigned)(blanks / 2);
        return str_to_u64(range, 16, UINT64_MAX, &ret->start) && str_to_u64(dash + 1, 16, UINT64_MAX, &ret->end);
}

static bool is_firmware_framebuffer(const char *name)
{
        static const char *const names[] = { "BOOTFB", "efifb", "simplefb", "vesafb", "simple-framebuffer", "efi-framebuffer" };

        for (size_t i = 0; i < N_ELEMENTS(names); i++)
                if (str_has_prefix(name, names[i]))
                        return true;
        return false;
}

size_t value_framebuffers(const char *iomem, struct value_range *ret, size_t max)
{
        struct {
                bool is;
                struct bdf bdf;
        } owners[IOMEM_DEPTH_MAX] = { 0 };
        char text[LINE_MAX_BYTES];
        size_t n = 0;

        for (const char *rest = iomem; rest && n < max;) {
                struct iomem_line line;
                rest = next_line(rest, text, sizeof(text));
                if (!iomem_parse(text, &line) || line.depth >= IOMEM_DEPTH_MAX)
                        continue;
                owners[line.depth].is = bdf_parse(line.name, &owners[line.depth].bdf);
                if (!is_firmware_framebuffer(line.name))
                        continue;
                struct value_range range = { .start = line.start, .end = line.end };
                for (unsigned d = line.depth; d-- > 0 && !range.has_owner;) {
                        range.has_owner = owners[d].is;
                        range.owner = owners[d].bdf;
                }
                ret[n++] = range;
        }
        return n;
}

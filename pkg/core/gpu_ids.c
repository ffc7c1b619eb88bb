/* SPDX-License-Identifier: Apache-2.0 */
#include "core/gpu_ids.h"

#include <stdlib.h>

#include "base/cleanup.h"

struct device_name {
        uint16_t device;
        uint16_t at; /* offset of its name in name_text */
};
struct vendor_names {
        uint16_t vendor;
        const char *name;
        const struct device_name *devices; /* sorted by id */
        size_t n_devices;
};

#include "core/gpu_ids_table.inc"

_Static_assert(sizeof(name_text) <= UINT16_MAX, "offsets of names are 16 bits");

static const struct vendor_names *find_vendor(uint16_t vendor)
{
        for (size_t i = 0; i < N_ELEMENTS(vendors); i++)
                if (vendors[i].vendor == vendor)
                        return &vendors[i];
        return NULL;
}

static int compare_device(const void *key, const void *entry)
{
        return *(const uint16_t *)key - ((const struct device_name *)entry)->device;
}

const char *gpu_ids_device(uint16_t vendor, uint16_t device)
{
        const struct vendor_names *v = find_vendor(vendor);

        if (!v)
                return NULL;
        const struct device_name *d = bsearch(&device, v->devices, v->n_devices, sizeof(*v->devices), compare_device);
        return d ? name_text + d->at : NULL;
}

const char *gpu_ids_vendor(uint16_t vendor)
{
        const struct vendor_names *v = find_vendor(vendor);

        return v ? v->name : NULL;
}

/* Type ids as the vGPU manager numbers them: the same in mdev (nvidia-1145) and vendor-VFIO. They belong to one board
 * design, so the device id is part of the key; what the driver itself says goes before this table. */
static const struct {
        uint16_t device;
        uint16_t type;
        const char *name;
} vgpu_types[] = {
        { 0x13bd, 41, "GRID M10-2Q" },
        { 0x1b38, 46, "GRID P40-1Q" },
        { 0x1eb8, 222, "GRID T4-1B" },
        { 0x1eb8, 223, "GRID T4-2B" },
        { 0x1eb8, 230, "GRID T4-1Q" },
        { 0x1eb8, 231, "GRID T4-2Q" },
        { 0x1eb8, 232, "GRID T4-4Q" },
        { 0x1eb8, 233, "GRID T4-8Q" },
        { 0x1eb8, 234, "GRID T4-16Q" },
        { 0x1eb8, 252, "GRID T4-1B4" },
        { 0x1eb8, 319, "GRID T4-4C" },
        { 0x1eb8, 320, "GRID T4-8C" },
        { 0x1eb8, 321, "GRID T4-16C" },
        { 0x20f1, 468, "NVIDIA A100-4C" },
        { 0x20f1, 469, "NVIDIA A100-5C" },
        { 0x20f1, 470, "NVIDIA A100-8C" },
        { 0x20f1, 471, "NVIDIA A100-10C" },
        { 0x20f1, 472, "NVIDIA A100-20C" },
        { 0x20f1, 473, "NVIDIA A100-40C" },
        { 0x20f1, 474, "NVIDIA A100-1-5C" },
        { 0x20f1, 475, "NVIDIA A100-2-10C" },
        { 0x20f1, 476, "NVIDIA A100-3-20C" },
        { 0x20f1, 477, "NVIDIA A100-4-20C" },
        { 0x20f1, 478, "NVIDIA A100-7-40C" },
        { 0x20f1, 706, "NVIDIA A100-1-5CME" },
        { 0x2235, 555, "NVIDIA A40-1B" },
        { 0x2235, 566, "NVIDIA A40-48Q" },
        { 0x2236, 594, "NVIDIA A10-6Q" },
        { 0x2335, 1414, "NVIDIA H200X-1-18C" },
        { 0x2335, 1428, "NVIDIA H200X-141C" },
        { 0x26b9, 1145, "NVIDIA L40S-1B" },
        { 0x26b9, 1146, "NVIDIA L40S-2B" },
        { 0x26b9, 1147, "NVIDIA L40S-1Q" },
        { 0x26b9, 1148, "NVIDIA L40S-2Q" },
        { 0x26b9, 1149, "NVIDIA L40S-3Q" },
        { 0x26b9, 1150, "NVIDIA L40S-4Q" },
        { 0x26b9, 1151, "NVIDIA L40S-6Q" },
        { 0x26b9, 1152, "NVIDIA L40S-8Q" },
        { 0x26b9, 1153, "NVIDIA L40S-12Q" },
        { 0x26b9, 1154, "NVIDIA L40S-16Q" },
        { 0x26b9, 1155, "NVIDIA L40S-24Q" },
        { 0x26b9, 1156, "NVIDIA L40S-48Q" },
        { 0x26b9, 1157, "NVIDIA L40S-1A" },
        { 0x26b9, 1158, "NVIDIA L40S-2A" },
        { 0x26b9, 1159, "NVIDIA L40S-3A" },
        { 0x26b9, 1160, "NVIDIA L40S-4A" },
        { 0x26b9, 1161, "NVIDIA L40S-6A" },
        { 0x26b9, 1162, "NVIDIA L40S-8A" },
        { 0x26b9, 1163, "NVIDIA L40S-12A" },
        { 0x26b9, 1164, "NVIDIA L40S-16A" },
        { 0x26b9, 1165, "NVIDIA L40S-24A" },
        { 0x26b9, 1166, "NVIDIA L40S-48A" },
        { 0x26b9, 2164, "NVIDIA L40S-3B" },
        { 0x2bb5, 1518, "NVIDIA RTX Pro 6000 Blackwell DC-2B" },
        { 0x2bb5, 1519, "NVIDIA RTX Pro 6000 Blackwell DC-3Q" },
};

const char *gpu_ids_vgpu_type(uint16_t device, uint32_t type)
{
        for (size_t i = 0; i < N_ELEMENTS(vgpu_types); i++)
                if (vgpu_types[i].device == device && vgpu_types[i].type == type)
                        return vgpu_types[i].name;
        return NULL;
}

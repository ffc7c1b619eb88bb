/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in part of pci.ids: GPUs (and their VFs and NVSwitches) of NVIDIA, AMD and Intel that a node is likely to
 * have, so that the 1.5 MB file is parsed only for ids that are not here (9 ms of a start). Generated table. */
#ifndef SLUICE_CORE_GPU_IDS_H
#define SLUICE_CORE_GPU_IDS_H

#include <stdint.h>

const char *gpu_ids_device(uint16_t vendor, uint16_t device); /* NULL = not in the table. Only within the vendor's section */
const char *gpu_ids_vendor(uint16_t vendor);
/* Name of an NVIDIA vGPU type id where it is the same on every board of that name, for a type that the driver no longer
 * lists as creatable: 1155 -> "NVIDIA L40S-24Q". NULL = unknown. @device is the PF's or VF's device id. */
const char *gpu_ids_vgpu_type(uint16_t device, uint32_t type);

#endif

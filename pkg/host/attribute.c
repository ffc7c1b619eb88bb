/* SPDX-License-Identifier: Apache-2.0 */
#include "host/attribute.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/str.h"

/* Sorted by name. Kernel functions are those of drivers/pci/pci-sysfs.c unless another file is named. An attribute that
 * locks on any kernel in use (5.10 and newer) is locked here. */
static const struct host_attribute attributes[] = {
        { "available_instances", true, "drivers/vfio/mdev/mdev_sysfs.c: available_instances_show asks the vendor driver" },
        { "boot_vga", false, "boot_vga_show: compares pointers" },
        { "class", false, "pci_config_attr: cached at enumeration" },
        { "config", true, "pci_read_config: pci_config_pm_runtime_get wakes the port above" },
        { "creatable_vgpu_types", true, "NVIDIA vGPU manager: asks the GPU's firmware" },
        { "current_link_speed", true, "current_link_speed_show: reads the device, newer kernels wake it first" },
        { "current_link_width", true, "current_link_width_show: as current_link_speed" },
        { "d3cold_allowed", false, "d3cold_allowed_show: a bit of struct pci_dev (its store wakes the device)" },
        { "device", false, "pci_config_attr: cached at enumeration" },
        { "driver_override", true, "driver_override_show: device_lock" },
        { "enable", false, "enable_show: atomic_read of the enable count" },
        { "max_link_speed", true, "max_link_speed_show: pcie_get_speed_cap reads the device" },
        { "max_link_width", true, "max_link_width_show: pcie_get_width_cap reads the device" },
        { "mdev_type/name", false, "drivers/vfio/mdev/mdev_sysfs.c: name_show: constant text" },
        { "modalias", false, "modalias_show: made of cached ids" },
        { "numa_node", false, "numa_node_show: a field of struct device" },
        { "nvidia/creatable_vgpu_types", true, "NVIDIA vGPU manager: asks the GPU's firmware" },
        { "nvidia/current_vgpu_type", false, "NVIDIA vGPU manager: a field of the VF's state" },
        { "power/control", false, "drivers/base/power/sysfs.c: control_show: a bit (its store takes device_lock and wakes the device)" },
        { "power_state", false, "power_state_show: cached, does not wake the device" },
        { "remove", true, "remove_store: pci_stop_and_remove_bus_device_locked" },
        { "reset", true, "reset_store: pci_reset_function takes device_lock" },
        { "reset_method", false, "drivers/pci/pci.c: reset_method_show: cached list" },
        { "resource", false, "resource_show: cached at enumeration" },
        { "revision", false, "pci_config_attr: cached at enumeration" },
        { "sriov_numvfs", true, "drivers/pci/iov.c: sriov_numvfs_show: device_lock since 5.4" },
        { "sriov_totalvfs", false, "drivers/pci/iov.c: sriov_totalvfs_show: cached" },
        { "sriov_vf_total_msix", true, "drivers/pci/iov.c: sriov_vf_total_msix_show: device_lock" },
        { "subsystem_device", false, "pci_config_attr: cached at enumeration" },
        { "subsystem_vendor", false, "pci_config_attr: cached at enumeration" },
        { "uevent", true, "drivers/base/core.c: uevent_show: device_lock in 6.10 to 6.14" },
        { "vendor", false, "pci_config_attr: cached at enumeration" },
        { "vpd", true, "drivers/pci/vpd.c: vpd_read: wakes and polls the device" },
};

const struct host_attribute *host_attributes(size_t *ret_n)
{
        *ret_n = N_ELEMENTS(attributes);
        return attributes;
}

static int by_name(const void *key, const void *element)
{
        return strcmp(key, ((const struct host_attribute *)element)->name);
}

bool host_attribute_is_free(const char *name)
{
        const struct host_attribute *a = bsearch(name, attributes, N_ELEMENTS(attributes), sizeof(attributes[0]), by_name);

        return a && !a->locked;
}

int attribute_read(int dir, const char *name, char *buf, size_t size, struct err *err)
{
        assert(host_attribute_is_free(name));
        return fs_read_value(dir, name, buf, size, err);
}

int attribute_number(int dir, const char *name, int base, uint64_t max, uint64_t *ret, struct err *err)
{
        char text[256];

        int r = attribute_read(dir, name, text, sizeof(text), err);
        if (r < 0)
                return r;
        if (!*text)
                return err_say(err, EBADMSG, "%s is empty", name);
        if (!str_to_u64(text, base, max, ret))
                return err_say(err, EBADMSG, "%s says \"%.60s\"", name, text);
        return 0;
}

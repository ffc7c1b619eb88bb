/* SPDX-License-Identifier: Apache-2.0 */
/* Uses a device as a VM's QEMU would: through the group, with memory mapped for DMA.
 *
 *   vfio_user GROUP DEVICE [hold]      DEVICE is an address or an mdev's UUID
 *
 * Prints one line per fact. With hold: prints "holding" and keeps everything open until a signal ends it.
 * Exit: 0 usable, 1 a step failed (it is named), 3 the group is not viable. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DMA_BYTES = 1 << 20, NOT_VIABLE = 3 };

static int fail(const char *what)
{
        (void)printf("failed: %s: %s\n", what, strerror(errno));
        return 1;
}

static int map_memory(int container)
{
        void *memory = mmap(NULL, DMA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct vfio_iommu_type1_dma_map map = {
                .argsz = sizeof(map),
                .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                .vaddr = (uintptr_t)memory,
                .size = DMA_BYTES,
        };

        if (memory == MAP_FAILED || ioctl(container, VFIO_IOMMU_MAP_DMA, &map) < 0)
                return fail("map memory for DMA");
        (void)printf("dma 1 MiB\n");
        return 0;
}

static int read_ids(int device)
{
        struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
        uint16_t ids[2];

        if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) < 0)
                return fail("find the configuration space");
        if (pread(device, ids, sizeof(ids), (off_t)config.offset) != sizeof(ids))
                return fail("read the configuration space");
        (void)printf("ids %04x:%04x\n", ids[0], ids[1]);
        return 0;
}

/* Word 0 of BAR 0, read through a mapping. A vGPU of the stand-in driver has no BAR: nothing to say. */
static int read_bar0(int device)
{
        struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX };

        if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) < 0)
                return fail("find BAR 0");
        if (bar.size == 0 || (bar.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
                return 0;
        volatile uint32_t *word = mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, (off_t)bar.offset);
        if (word == MAP_FAILED)
                return fail("map BAR 0");
        (void)printf("bar0 %08x\n", *word);
        return 0;
}

static int reset(int device)
{
        struct vfio_device_info info = { .argsz = sizeof(info) };

        if (ioctl(device, VFIO_DEVICE_GET_INFO, &info) < 0)
                return fail("ask for the device's properties");
        if ((info.flags & VFIO_DEVICE_FLAGS_RESET) == 0)
                return 0;
        if (ioctl(device, VFIO_DEVICE_RESET) < 0)
                return fail("reset");
        (void)printf("reset\n");
        return 0;
}

/* Returns the device's descriptor, or -1 with the exit status in @status. */
static int open_device(const char *group_number, const char *name, int *status)
{
        struct vfio_group_status group_status = { .argsz = sizeof(group_status) };
        char path[64];
        int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
        int group = -1;

        *status = 1;
        if (container < 0)
                return fail("open /dev/vfio/vfio"), -1;
        (void)snprintf(path, sizeof(path), "/dev/vfio/%s", group_number);
        group = open(path, O_RDWR | O_CLOEXEC);
        if (group < 0)
                return fail(path), -1;
        if (ioctl(group, VFIO_GROUP_GET_STATUS, &group_status) < 0)
                return fail("ask for the group's status"), -1;
        if ((group_status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
                (void)printf("not viable\n");
                *status = NOT_VIABLE;
                return -1;
        }
        (void)printf("viable\n");
        if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
                return fail("attach the group to an IOMMU"), -1;
        if (map_memory(container) != 0)
                return -1;
        int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
        if (device < 0)
                return fail("get the device"), -1;
        return device; /* group and container stay open: the process is the user */
}

int main(int argc, char **argv)
{
        int status = 0;

        if (argc < 3) {
                (void)fprintf(stderr, "usage: vfio_user GROUP DEVICE [hold]\n");
                return 2;
        }
        int device = open_device(argv[1], argv[2], &status);
        if (device < 0)
                return status;
        if (read_ids(device) != 0 || read_bar0(device) != 0 || reset(device) != 0)
                return 1;
        if (argc > 3 && strcmp(argv[3], "hold") == 0) {
                (void)printf("holding\n");
                (void)fflush(stdout);
                for (;;)
                        (void)pause();
        }
        return 0;
}

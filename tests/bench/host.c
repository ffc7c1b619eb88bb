/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <stdint.h>

void bench_host(struct strbuf *out, unsigned n_models, unsigned per_model, bool bound)
{
        static const uint16_t ids[BENCH_MODELS] = { 0x26b9, 0x26b5, 0x27b8, 0x26ba, 0x20b0, 0x20b2, 0x20b5, 0x20f1,
                                                    0x20b7, 0x2330, 0x2331, 0x2321, 0x2335, 0x233b, 0x2236, 0x2235 };

        strbuf_add(out, "sluice-capture 1\n# made by make bench\n"
                        "dir sys/bus/pci/drivers/vfio-pci\ndir sys/bus/pci/drivers/nvidia\nfile sys/bus/pci/drivers_probe =\n"
                        "file proc/sys/kernel/random/boot_id = 00000000-0000-0000-0000-000000000000\nnode dev/vfio/vfio\n");
        for (unsigned i = 0; i < n_models * per_model; i++) {
                char dev[96], bdf[16];
                unsigned bus = 1 + i % 240, slot = i / 240;
                str_format(bdf, sizeof(bdf), "0000:%02x:%02x.0", bus, slot);
                str_format(dev, sizeof(dev), "sys/devices/pci0000:%02x/%s", bus, bdf);
                strbuf_addf(out, "link sys/bus/pci/devices/%s -> ../../../devices/pci0000:%02x/%s\n", bdf, bus, bdf);
                strbuf_addf(out, "file %s/vendor = 0x10de\nfile %s/device = 0x%04x\nfile %s/class = 0x030200\nfile %s/revision = 0xa1\n",
                            dev, dev, ids[i % n_models], dev, dev);
                strbuf_addf(out, "file %s/modalias = pci:v000010DEd%08Xsv000010DEsd00001851bc03sc02i00\n", dev, ids[i % n_models]);
                strbuf_addf(out, "file %s/subsystem_vendor = 0x10de\nfile %s/subsystem_device = 0x1851\nfile %s/numa_node = %u\n", dev, dev,
                            dev, bus % 2);
                strbuf_addf(out, "file %s/driver_override = %s\nfile %s/reset_method = flr bus\n", dev, bound ? "vfio-pci" : "(null)", dev);
                strbuf_addf(out, "text %s/resource\n", dev);
                for (unsigned line = 0; line < 13; line++)
                        strbuf_addf(out, "| 0x%016x 0x%016x 0x%016x\n", line ? 0 : 0x90000000u, line ? 0 : 0x90ffffffu,
                                    line ? 0 : 0x40200u);
                strbuf_addf(out, "link %s/driver -> ../../../bus/pci/drivers/%s\n", dev, bound ? "vfio-pci" : "nvidia");
                strbuf_addf(out, "link %s/iommu_group -> ../../../kernel/iommu_groups/%u\n", dev, i + 1);
                strbuf_addf(out, "link sys/kernel/iommu_groups/%u/devices/%s -> ../../../../devices/pci0000:%02x/%s\n", i + 1, bdf, bus,
                            bdf);
                strbuf_addf(out, "file sys/kernel/iommu_groups/%u/type = DMA\n", i + 1);
                if (bound)
                        strbuf_addf(out, "file %s/enable = 0\ndir %s/vfio-dev/vfio%u\nnode dev/vfio/%u\nnode dev/vfio/devices/vfio%u\n",
                                    dev, dev, i, i + 1, i);
        }
}

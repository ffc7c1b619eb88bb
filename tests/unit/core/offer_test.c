/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/offer.h"
#include "world.h"

#define UUID_1 "4b20d080-1b54-4048-85b3-a6a62d165c01"
#define UUID_2 "c73f1fa6-489e-4834-9476-d70dabd98c40"
#define L40S   "nvidia.com/AD102GL_L40S"
#define POOL_A "pool " L40S ": 0000:3b:00.0 +topology\n"
#define GPU_A  "0000:3b:00.0 10de:26b9 0302 "
#define GPU_B  "0000:5e:00.0 10de:26b9 0302 "

/* "id state[ reason][ resource]" per device, then "pool resource: ids[ +topology][ mdev][ spread]" per pool. */
static char *render(const struct offer *offer)
{
        struct strbuf b = { 0 };

        for (size_t i = 0; i < offer->n_devices; i++) {
                const struct device *d = &offer->devices[i];
                strbuf_addf(&b, "%s %s%s%s", d->id, device_state_name(d->state), d->reason ? " " : "", reason_word(d->reason));
                for (size_t k = 0; k < WARNINGS_MAX && d->also[k]; k++)
                        strbuf_addf(&b, "+%s", reason_word(d->also[k]));
                strbuf_addf(&b, "%s%s%s\n", *d->resource ? " " : "", d->resource, d->needs_bind ? " to-bind" : "");
        }
        for (size_t i = 0; i < offer->n_pools; i++) {
                const struct pool *p = &offer->pools[i];
                strbuf_addf(&b, "pool %s:", p->resource);
                for (size_t k = 0; k < p->n_devices; k++)
                        strbuf_addf(&b, " %s", offer->devices[p->devices[k]].id);
                strbuf_addf(&b, "%s%s%s\n", p->topology ? " +topology" : "", p->mdev ? " mdev" : "",
                            p->prefer == PREFER_SPREAD ? " spread" : "");
        }
        return strbuf_take(&b);
}

static struct offer *decide(const char *host, const char *rules_text, const struct offer *past, const struct device_mark *marks,
                            size_t n_marks)
{
        _cleanup_inventory_ struct inventory *inv = world_host(host);
        _cleanup_(rules_done) struct rules rules = world_rules(rules_text);
        const struct offer_input in = { .inventory = inv, .rules = &rules, .past = past, .marks = marks, .n_marks = n_marks };

        return offer_decide(&in);
}

struct row {
        const char *title, *host, *rules, *expected; /* rules NULL: no configuration */
        const char *detail;                          /* of the first device; NULL = not looked at */
};

static void check_rows(const struct row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                _cleanup_offer_ struct offer *offer = decide(rows[i].host, rows[i].rules, NULL, NULL, 0);
                _cleanup_free_ char *text = render(offer);
                if (!streq(text, rows[i].expected))
                        fail_msg("%s:\n%sinstead of\n%s", rows[i].title, text, rows[i].expected);
                if (rows[i].detail && !streq(offer->devices[0].detail, rows[i].detail))
                        fail_msg("%s: detail '%s'", rows[i].title, offer->devices[0].detail);
        }
}

static void test_without_a_configuration_only_what_is_usable_through_vfio_is_offered(void **state)
{
        static const struct row rows[] = {
                { "on vfio-pci", GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", "" },
                { "on its host driver", GPU_A "nvidia", NULL, "0000:3b:00.0 withheld not-bound\n", "driver nvidia" },
                { "without driver", GPU_A "-", NULL, "0000:3b:00.0 withheld not-bound\n", "driver none" },
                { "no GPU at all", "0000:01:00.0 8086:1563 0200 ixgbe", NULL, "", NULL },
                { "an empty host", "", NULL, "", NULL },
                { "an unknown vendor", "0000:3b:00.0 1ed5:0200 0302 " VFIO, NULL, "0000:3b:00.0 withheld unknown-vendor\n", "vendor 1ed5" },
                { "an mdev instance, and its parent", GPU_A "nvidia mdev\nmdev " UUID_1 " 0000:3b:00.0 nvidia-222 GRID+T4-1B nvidia 88",
                  NULL,
                  "0000:3b:00.0 withheld mdev-parent\n" UUID_1 " healthy nvidia.com/GRID_T4-1B\n"
                  "pool nvidia.com/GRID_T4-1B: " UUID_1 " +topology mdev\n",
                  "1 instance" },
                { "a parent without instances", GPU_A "nvidia mdev", NULL, "0000:3b:00.0 withheld mdev-parent\n", "0 instances" },
                { "vendor-VFIO VFs, one without type, and their PF",
                  GPU_A "nvidia vfs=2\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 type=1155:NVIDIA+L40S-24Q cdev\n"
                        "0000:3b:00.5 10de:26b9 0302 nvidia vf=0000:3b:00.0 vgpu",
                  NULL,
                  "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy nvidia.com/NVIDIA_L40S-24Q\n"
                  "0000:3b:00.5 withheld no-vgpu-type\npool nvidia.com/NVIDIA_L40S-24Q: 0000:3b:00.4 +topology\n",
                  "2 VFs" },
                { "VFs on vfio-pci",
                  "0000:85:00.0 1002:74a1 1200 gim vfs=1\n0000:85:02.0 1002:74b5 1200 " VFIO " vf=0000:85:00.0 model=MI300X+VF", NULL,
                  "0000:85:00.0 withheld pf-has-vfs\n0000:85:02.0 healthy amd.com/MI300X_VF\npool amd.com/MI300X_VF: 0000:85:02.0 "
                  "+topology\n",
                  NULL },
                { "the console's GPU", GPU_A VFIO " boot", NULL, "0000:3b:00.0 withheld host-display\n", "boot VGA" },
                { "the firmware's framebuffer", GPU_A VFIO " fb", NULL, "0000:3b:00.0 withheld host-display\n", "firmware framebuffer" },
                { "a management controller", "0000:03:00.0 1a03:2000 0300 ast boot", NULL, "0000:03:00.0 withheld bmc-display\n", NULL },
                { "one of Matrox", "0000:03:00.0 102b:0538 0300 mgag200", NULL, "0000:03:00.0 withheld bmc-display\n", NULL },
        };

        (void)state;
        check_rows(rows, N_ELEMENTS(rows));
}

static void test_written_rules_offer_what_they_allow_and_nothing_else(void **state)
{
        static const struct row rows[] = {
                { "no rule selects it", GPU_A VFIO, "ids=1002:*", "0000:3b:00.0 withheld no-rule\n", NULL },
                { "denied", GPU_A VFIO, "ids=1002:*\naddresses=0000:3b:* deny\nany", "0000:3b:00.0 withheld denied\n", "rule 2" },
                { "bind never is the default", GPU_A "nvidia", "any", "0000:3b:00.0 withheld not-bound\n", NULL },
                { "bind on allocate: healthy though its node does not exist yet", GPU_A "nvidia", "any bind=on-allocate",
                  "0000:3b:00.0 healthy " L40S " to-bind\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "bind at start, bound already", GPU_A VFIO, "any bind=at-start",
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "its rule asks for a reset and it has one", GPU_A VFIO " reset=pm+flr", "any release=reset",
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "its rule asks for a reset that cannot be had", GPU_A VFIO " reset=pm", "any release=reset",
                  "0000:3b:00.0 withheld no-reset-method\n", "0000:3b:00.0: pm may reset nothing" },
                { "nor for one of two GPUs of a device", GPU_A VFIO " g=7 reset=flr\n" GPU_B VFIO " g=7",
                  "any group=one-device release=reset", "0000:3b:00.0 withheld no-reset-method\n0000:5e:00.0 withheld group-follower\n",
                  "0000:5e:00.0: the kernel knows no way to reset it" },
                { "nobody asked for one", GPU_A VFIO, "any release=keep",
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "own name, spread", GPU_A VFIO, "any resource=gpu.example/big prefer=spread",
                  "0000:3b:00.0 healthy gpu.example/big\npool gpu.example/big: 0000:3b:00.0 +topology spread\n", NULL },
                { "prefix and alias", GPU_A VFIO, "any prefix=gpu.example alias=L40S",
                  "0000:3b:00.0 healthy gpu.example/L40S\npool gpu.example/L40S: 0000:3b:00.0 +topology\n", NULL },
                { "the console's GPU by wildcard", GPU_A VFIO " boot", "addresses=0000:3b:*", "0000:3b:00.0 withheld host-display\n",
                  NULL },
                { "the console's GPU by address", GPU_A VFIO " boot", "addresses=0000:3b:00.0",
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "a management controller by id", "0000:03:00.0 1a03:2000 0300 " VFIO, "ids=1a03:2000 resource=a.b/c",
                  "0000:03:00.0 withheld bmc-display\n", NULL },
                { "a management controller by address", "0000:03:00.0 1a03:2000 0300 " VFIO, "addresses=0000:03:00.0 resource=a.b/c",
                  "0000:03:00.0 healthy a.b/c\npool a.b/c: 0000:03:00.0 +topology\n", NULL },
                { "an unknown vendor without a name", "0000:3b:00.0 1ed5:0200 0302 " VFIO, "any", "0000:3b:00.0 withheld unknown-vendor\n",
                  NULL },
                { "an unknown vendor with one", "0000:3b:00.0 1ed5:0200 0302 " VFIO, "any resource=mthreads.com/s80",
                  "0000:3b:00.0 healthy mthreads.com/s80\npool mthreads.com/s80: 0000:3b:00.0 +topology\n", NULL },
                { "a class outside the list by id", "0000:01:00.0 8086:0b00 0b40 " VFIO, "ids=8086:0b00 resource=intel.com/x",
                  "0000:01:00.0 healthy intel.com/x\npool intel.com/x: 0000:01:00.0 +topology\n", NULL },
                { "a display class outside the list, by wildcard", "0000:01:00.0 8086:0b00 0301 " VFIO, "ids=8086:*",
                  "0000:01:00.0 withheld not-a-gpu\n", "class 0301" },
                { "denied before anything else", "10000:3b:00.0 10de:26b9 0302 nvidia vfs=3 boot nogroup", "any deny",
                  "10000:3b:00.0 withheld denied\n", NULL },
                { "an instance by its UUID, its parent by no rule",
                  GPU_A "nvidia mdev\nmdev " UUID_1 " 0000:3b:00.0 nvidia-222 GRID+T4-1B nvidia 88", "addresses=" UUID_1,
                  "0000:3b:00.0 withheld no-rule\n" UUID_1 " healthy nvidia.com/GRID_T4-1B\n"
                  "pool nvidia.com/GRID_T4-1B: " UUID_1 " +topology mdev\n",
                  NULL },
        };

        (void)state;
        check_rows(rows, N_ELEMENTS(rows));
}

static void test_isolation_decides_before_binding_does(void **state)
{
        static const struct row rows[] = {
                { "no group", GPU_A VFIO " nogroup", NULL, "0000:3b:00.0 withheld no-iommu-group\n", NULL },
                { "a group without protection", GPU_A VFIO " noiommu", NULL, "0000:3b:00.0 withheld no-iommu-protection\n", NULL },
                { "a wide domain", "10000:3b:00.0 10de:26b9 0302 " VFIO, NULL, "10000:3b:00.0 withheld pci-domain-too-wide\n", NULL },
                { "a NIC in the group", GPU_A "nvidia g=7\n0000:3c:00.0 8086:1563 0200 ixgbe g=7", "any bind=on-allocate",
                  "0000:3b:00.0 withheld group-foreign-member\n", "0000:3c:00.0 (class 0200, driver ixgbe)" },
                { "a NIC in the group, said before that it is not bound", GPU_A "nvidia g=7\n0000:3c:00.0 8086:1563 0200 ixgbe g=7", NULL,
                  "0000:3b:00.0 withheld group-foreign-member\n", NULL },
                { "a member that could not be read", GPU_A "nvidia g=7\nbroken 0000:3c:00.0 g=7", "any bind=on-allocate",
                  "0000:3b:00.0 withheld group-foreign-member\n", "0000:3c:00.0 (unreadable: vendor says 'zz')" },
                { "a member that could not be read, bound as the GPU is", GPU_A VFIO " g=7\nbroken 0000:3c:00.0 g=7", NULL,
                  "0000:3b:00.0 withheld group-foreign-member\n", NULL },
                { "a function of another group that could not be read", GPU_A VFIO " g=7\nbroken 0000:3c:00.0 g=8", NULL,
                  "0000:3b:00.0 healthy " L40S "\n" POOL_A, NULL },
                { "audio on a host driver, nothing may be bound",
                  "0000:01:00.0 10de:2204 0300 " VFIO " g=7\n0000:01:00.1 10de:1aef 0403 snd_hda_intel g=7", NULL,
                  "0000:01:00.0 withheld group-member-on-host-driver\n", "0000:01:00.1 (class 0403, driver snd_hda_intel)" },
                { "audio on a host driver, may be bound",
                  "0000:01:00.0 10de:2204 0300 " VFIO " g=7\n0000:01:00.1 10de:1aef 0403 snd_hda_intel g=7", "any bind=on-allocate",
                  "0000:01:00.0 healthy nvidia.com/GA102_GEFORCE_RTX_3090 to-bind\n"
                  "pool nvidia.com/GA102_GEFORCE_RTX_3090: 0000:01:00.0 +topology\n",
                  NULL },
                { "two GPUs in one group", GPU_A VFIO " g=7\n" GPU_B VFIO " g=7", NULL,
                  "0000:3b:00.0 withheld group-several-gpus\n0000:5e:00.0 withheld group-several-gpus\n", NULL },
                { "two GPUs as one device", GPU_A VFIO " g=7\n" GPU_B VFIO " g=7", "any group=one-device",
                  "0000:3b:00.0 healthy " L40S "\n0000:5e:00.0 withheld group-follower\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "two GPUs as one device, to be bound", GPU_A VFIO " g=7\n" GPU_B "nvidia g=7", "any group=one-device bind=on-allocate",
                  "0000:3b:00.0 healthy " L40S " to-bind\n0000:5e:00.0 withheld group-follower\npool " L40S ": 0000:3b:00.0 +topology\n",
                  NULL },
                { "the second GPU's rule does not agree", GPU_A VFIO " g=7\n" GPU_B VFIO " g=7",
                  "addresses=0000:3b:00.0 group=one-device\nany",
                  "0000:3b:00.0 withheld group-several-gpus\n0000:5e:00.0 withheld group-several-gpus\n",
                  "0000:5e:00.0: its rule does not say 'group: one-device'" },
                { "no rule knows the second GPU", GPU_A VFIO " g=7\n" GPU_B VFIO " g=7", "addresses=0000:3b:00.0 group=one-device",
                  "0000:3b:00.0 withheld group-several-gpus\n0000:5e:00.0 withheld no-rule\n",
                  "0000:5e:00.0: its rule does not say 'group: one-device'" },
                { "the second GPU may not be bound", GPU_A VFIO " g=7\n" GPU_B "nvidia g=7",
                  "addresses=0000:3b:00.0 group=one-device bind=on-allocate\nany group=one-device",
                  "0000:3b:00.0 withheld group-several-gpus\n0000:5e:00.0 withheld group-follower\n",
                  "0000:5e:00.0: its rule does not let it be bound" },
                { "the second GPU is denied", GPU_A VFIO " g=7\n" GPU_B "nvidia g=7",
                  "addresses=0000:5e:00.0 deny\nany group=one-device bind=on-allocate",
                  "0000:3b:00.0 withheld group-foreign-member\n0000:5e:00.0 withheld denied\n", NULL },
                { "an instance without group", GPU_A "nvidia mdev\nmdev " UUID_1 " 0000:3b:00.0 nvidia-222 X nvidia -", NULL,
                  "0000:3b:00.0 withheld mdev-parent\n" UUID_1 " withheld no-iommu-group\n", NULL },
                { "an instance without driver", GPU_A "nvidia mdev\nmdev " UUID_1 " 0000:3b:00.0 nvidia-222 X - 88", NULL,
                  "0000:3b:00.0 withheld mdev-parent\n" UUID_1 " withheld not-bound\n", NULL },
                { "an instance whose parent vanished", "mdev " UUID_1 " 0000:3b:00.0 nvidia-222 X nvidia 88", NULL,
                  UUID_1 " withheld vanished\n", "its parent 0000:3b:00.0 is not there" },
        };

        (void)state;
        check_rows(rows, N_ELEMENTS(rows));
}

static void test_what_cannot_be_used_right_now_is_listed_unhealthy(void **state)
{
        static const struct row rows[] = {
                { "its group node is missing", GPU_A VFIO " nonode", NULL,
                  "0000:3b:00.0 unhealthy vfio-node-missing " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", "/dev/vfio/101" },
                { "a cdev is enough", GPU_A VFIO " nonode cdev", NULL,
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "no /dev/vfio/vfio", GPU_A VFIO "\n!vfio", NULL,
                  "0000:3b:00.0 unhealthy vfio-not-available " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", "no /dev/vfio/vfio" },
                { "no driver to bind to", GPU_A "nvidia\n!vfio-pci", "any bind=on-allocate",
                  "0000:3b:00.0 unhealthy vfio-not-available " L40S " to-bind\npool " L40S ": 0000:3b:00.0 +topology\n",
                  "the driver vfio-pci is not loaded" },
                { "nor to a variant driver",
                  "0000:3b:00.0 10de:26b9 0302 nvidia\nvariant vfio_pci:v000010DEd000026B9sv*sd*bc*sc*i* l40s_vfio_pci",
                  "any bind=on-allocate",
                  "0000:3b:00.0 unhealthy variant-driver-not-loaded " L40S " to-bind\npool " L40S ": 0000:3b:00.0 +topology\n",
                  "the driver l40s_vfio_pci is not loaded" },
                { "the driver does not matter for what is bound", GPU_A "nvgrace_gpu_vfio_pci\n!vfio-pci", NULL,
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 +topology\n", NULL },
                { "a vGPU without node",
                  GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 type=1155:NVIDIA+L40S-24Q nonode", NULL,
                  "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 unhealthy vfio-node-missing nvidia.com/NVIDIA_L40S-24Q\n"
                  "pool nvidia.com/NVIDIA_L40S-24Q: 0000:3b:00.4 +topology\n",
                  NULL },
                { "a fabric is a warning", "0000:05:00.0 10de:22a3 0680 nvidia-nvswitch\n0000:5d:00.0 10de:2335 0302 " VFIO, NULL,
                  "0000:5d:00.0 healthy fabric-partition-unknown nvidia.com/GH100_H200_SXM_141GB\n"
                  "pool nvidia.com/GH100_H200_SXM_141GB: 0000:5d:00.0 +topology\n",
                  NULL },
                { "an id without name is a warning", "0000:3b:00.0 10de:2fff 0302 " VFIO, NULL,
                  "0000:3b:00.0 healthy name-from-id nvidia.com/2fff\npool nvidia.com/2fff: 0000:3b:00.0 +topology\n", "nvidia.com/2fff" },
        };

        (void)state;
        check_rows(rows, N_ELEMENTS(rows));
}

static void test_pools_share_names_and_never_variables(void **state)
{
        static const struct row rows[] = {
                { "ids with one name share a pool", GPU_A VFIO "\n0000:5e:00.0 10de:26ba 0302 " VFIO " model=AD102GL+[L40S]", NULL,
                  "0000:3b:00.0 healthy " L40S "\n0000:5e:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0 0000:5e:00.0 +topology\n",
                  NULL },
                { "names that KubeVirt cannot tell apart: the lowest id keeps it", GPU_A VFIO "\n" GPU_B VFIO,
                  "addresses=0000:3b:* resource=a.com/x.y\nany resource=a.com/X_Y",
                  "0000:3b:00.0 healthy a.com/x.y\n0000:5e:00.0 withheld name-ambiguous\npool a.com/x.y: 0000:3b:00.0 +topology\n", NULL },
                { "'-' and '_' stay apart", GPU_A VFIO "\n" GPU_B VFIO, "addresses=0000:3b:* resource=a.com/x-y\nany resource=a.com/x_y",
                  "0000:3b:00.0 healthy a.com/x-y\n0000:5e:00.0 healthy a.com/x_y\n"
                  "pool a.com/x-y: 0000:3b:00.0 +topology\npool a.com/x_y: 0000:5e:00.0 +topology\n",
                  NULL },
                { "one name for a GPU and an instance",
                  GPU_A VFIO "\n" GPU_B "nvidia mdev\nmdev " UUID_1 " 0000:5e:00.0 nvidia-222 X nvidia 88", "any resource=a.com/gpu",
                  "0000:3b:00.0 healthy a.com/gpu\n0000:5e:00.0 withheld mdev-parent\n" UUID_1 " withheld name-ambiguous\n"
                  "pool a.com/gpu: 0000:3b:00.0 +topology\n",
                  NULL },
                { "one default name for a GPU and a VF: a VM must not get either",
                  GPU_A VFIO "\n" GPU_B "nvidia vfs=1\n0000:5e:00.4 10de:26b9 0302 " VFIO " vf=0000:5e:00.0", NULL,
                  "0000:3b:00.0 healthy " L40S "\n0000:5e:00.0 withheld pf-has-vfs\n0000:5e:00.4 withheld name-ambiguous\n" POOL_A, NULL },
                { "one name for a GPU and a VF, spelled by a rule",
                  GPU_A VFIO "\n" GPU_B "nvidia vfs=1\n0000:5e:00.4 10de:26b9 0302 " VFIO " vf=0000:5e:00.0", "any resource=a.com/gpu",
                  "0000:3b:00.0 healthy a.com/gpu\n0000:5e:00.0 withheld pf-has-vfs\n0000:5e:00.4 healthy a.com/gpu\n"
                  "pool a.com/gpu: 0000:3b:00.0 0000:5e:00.4 +topology\n",
                  NULL },
                { "mixed NUMA nodes: no topology, and said so", GPU_A VFIO "\n" GPU_B VFIO " n=-1", NULL,
                  "0000:3b:00.0 healthy numa-mixed " L40S "\n0000:5e:00.0 healthy numa-mixed " L40S "\npool " L40S
                  ": 0000:3b:00.0 0000:5e:00.0\n",
                  NULL },
                { "all unknown: no topology, nothing to say", GPU_A VFIO " n=-1", NULL,
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0\n", NULL },
                { "split by rule", GPU_A VFIO "\n" GPU_B VFIO " n=-1", "any topology=split",
                  "0000:3b:00.0 healthy " L40S "\n0000:5e:00.0 healthy " L40S "-numa-unknown\npool " L40S ": 0000:3b:00.0 +topology\n"
                  "pool " L40S "-numa-unknown: 0000:5e:00.0\n",
                  NULL },
                { "nothing to split", GPU_A VFIO " n=-1", "any topology=split",
                  "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0\n", NULL },
                { "a node that kubelet does not take", GPU_A VFIO " n=64", NULL,
                  "0000:3b:00.0 healthy numa-node-too-high " L40S "\npool " L40S ": 0000:3b:00.0\n", "node 64" },
                { "beside one that it takes", GPU_A VFIO " n=64\n" GPU_B VFIO " n=63", NULL,
                  "0000:3b:00.0 healthy numa-node-too-high+numa-mixed " L40S "\n0000:5e:00.0 healthy numa-mixed " L40S "\npool " L40S
                  ": 0000:3b:00.0 0000:5e:00.0\n",
                  NULL },
                { "and split off", GPU_A VFIO " n=64\n" GPU_B VFIO " n=63", "any topology=split",
                  "0000:3b:00.0 healthy numa-node-too-high " L40S "-numa-unknown\n0000:5e:00.0 healthy " L40S "\npool " L40S
                  ": 0000:5e:00.0 +topology\npool " L40S "-numa-unknown: 0000:3b:00.0\n",
                  NULL },
                { "two rules of one pool, two strategies: the first device's", GPU_A VFIO "\n" GPU_B VFIO,
                  "addresses=0000:3b:* prefer=spread\nany",
                  "0000:3b:00.0 healthy prefer-mixed " L40S "\n0000:5e:00.0 healthy prefer-mixed " L40S "\npool " L40S
                  ": 0000:3b:00.0 0000:5e:00.0 +topology spread\n",
                  "spread" },
                { "two rules of one pool that agree", GPU_A VFIO "\n" GPU_B VFIO, "addresses=0000:3b:* prefer=spread\nany prefer=spread",
                  "0000:3b:00.0 healthy " L40S "\n0000:5e:00.0 healthy " L40S "\npool " L40S
                  ": 0000:3b:00.0 0000:5e:00.0 +topology spread\n",
                  NULL },
                { "all that deserves a warning is said",
                  GPU_A VFIO " n=70 model=Device\n" GPU_B VFIO " model=Device\n"
                             "0000:05:00.0 10de:22a3 0680 nvidia-nvswitch",
                  "addresses=0000:3b:* prefer=spread\nids=10de:26b9",
                  "0000:3b:00.0 healthy fabric-partition-unknown+name-from-id+prefer-mixed+numa-node-too-high+numa-mixed nvidia.com/26b9\n"
                  "0000:5e:00.0 healthy fabric-partition-unknown+name-from-id+prefer-mixed+numa-mixed nvidia.com/26b9\n"
                  "pool nvidia.com/26b9: 0000:3b:00.0 0000:5e:00.0 spread\n",
                  "" },
        };

        (void)state;
        check_rows(rows, N_ELEMENTS(rows));
}

/* Steps of one daemon's life: what each look offers, given the one before. */
struct step {
        const char *host, *rules, *expected;
};

static void live(const char *title, const struct step *steps, size_t n)
{
        _cleanup_offer_ struct offer *past = NULL;

        for (size_t i = 0; i < n; i++) {
                struct offer *now = decide(steps[i].host, steps[i].rules, past, NULL, 0);
                _cleanup_free_ char *text = render(now);
                offer_unref(past);
                past = now;
                if (!streq(text, steps[i].expected))
                        fail_msg("%s, look %zu:\n%sinstead of\n%s", title, i + 1, text, steps[i].expected);
        }
}
#define LIVE(title, ...)                                    \
        do {                                                \
                static const struct step s[] = __VA_ARGS__; \
                live(title, s, N_ELEMENTS(s));              \
        } while (0)
#define VF(type) GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 " type
#define VF_PLAIN GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 " VFIO " vf=0000:3b:00.0"
#define POOL_VF  "pool nvidia.com/NVIDIA_L40S-24Q: 0000:3b:00.4 +topology\n"

static void test_what_was_listed_stays_in_its_pool(void **state)
{
        (void)state;
        LIVE("unplugged, and back", { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
                                      { "", NULL, "0000:3b:00.0 unhealthy gone " L40S "\n" POOL_A },
                                      { "", NULL, "0000:3b:00.0 unhealthy gone " L40S "\n" POOL_A },
                                      { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A } });
        LIVE("garbage in the middle of the read",
             { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
               { "broken 0000:3b:00.0", NULL, "0000:3b:00.0 unhealthy unreadable " L40S "\n" POOL_A } });
        LIVE("unbound by hand, and bound again", { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
                                                   { GPU_A "nvidia", NULL, "0000:3b:00.0 unhealthy no-longer-offered " L40S "\n" POOL_A },
                                                   { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A } });
        LIVE("denied by a new configuration", { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
                                                { GPU_A VFIO, "any deny", "0000:3b:00.0 unhealthy no-longer-offered " L40S "\n" POOL_A } });
        LIVE("gone, and the rule that offered it too", { { GPU_A VFIO, "ids=1002:*\nany", "0000:3b:00.0 healthy " L40S "\n" POOL_A },
                                                         { "", NULL, "0000:3b:00.0 unhealthy gone " L40S "\n" POOL_A } });
        LIVE("the same, on an unknown NUMA node",
             { { GPU_A VFIO " n=-1", "ids=1002:*\nany", "0000:3b:00.0 healthy " L40S "\npool " L40S ": 0000:3b:00.0\n" },
               { "", NULL, "0000:3b:00.0 unhealthy gone " L40S "\npool " L40S ": 0000:3b:00.0\n" } });
        LIVE("never listed: forgotten", { { GPU_A "nvidia", NULL, "0000:3b:00.0 withheld not-bound\n" }, { "", NULL, "" } });
}

static void test_what_became_something_else_is_unhealthy_under_its_old_name(void **state)
{
        (void)state;
        LIVE("another profile, for as long as it is another",
             { { VF("type=1155:NVIDIA+L40S-24Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF },
               { VF("type=1152:NVIDIA+L40S-8Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 unhealthy no-longer-offered nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF },
               { VF("type=1152:NVIDIA+L40S-8Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 unhealthy no-longer-offered nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF },
               { VF("vgpu"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 unhealthy no-longer-offered nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF },
               { VF("type=1155:NVIDIA+L40S-24Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF } });
        LIVE("the type's id moved with the driver, the profile is the same",
             { { VF("type=1155:NVIDIA+L40S-24Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF },
               { VF("type=2155:NVIDIA+L40S-24Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy nvidia.com/NVIDIA_L40S-24Q\n" POOL_VF } });
        LIVE("a VF that became a vGPU",
             { { VF_PLAIN, NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy " L40S "\npool " L40S ": 0000:3b:00.4 +topology\n" },
               { VF("type=1155:NVIDIA+L40S-24Q"), NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 unhealthy no-longer-offered " L40S "\npool " L40S
                 ": 0000:3b:00.4 +topology\n" },
               { VF_PLAIN, NULL,
                 "0000:3b:00.0 withheld pf-has-vfs\n0000:3b:00.4 healthy " L40S "\npool " L40S ": 0000:3b:00.4 +topology\n" } });
        LIVE("another card in the slot",
             { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
               { "0000:3b:00.0 10de:2335 0302 " VFIO, NULL, "0000:3b:00.0 unhealthy no-longer-offered " L40S "\n" POOL_A },
               { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A } });
}

static void test_a_name_never_changes_while_sluice_runs(void **state)
{
        (void)state;
        LIVE("a new configuration",
             { { GPU_A VFIO, "any resource=a.com/x", "0000:3b:00.0 healthy a.com/x\npool a.com/x: 0000:3b:00.0 +topology\n" },
               { GPU_A VFIO, "any resource=a.com/y",
                 "0000:3b:00.0 healthy new-name-at-next-start a.com/x\npool a.com/x: 0000:3b:00.0 +topology\n" },
               { GPU_A VFIO, "any resource=a.com/x", "0000:3b:00.0 healthy a.com/x\npool a.com/x: 0000:3b:00.0 +topology\n" } });
#define SWITCH "0000:05:00.0 10de:22a3 0680 nvidia-nvswitch\n" GPU_A VFIO
        LIVE("a new configuration, and a warning that stays",
             { { SWITCH, "any resource=a.com/x",
                 "0000:3b:00.0 healthy fabric-partition-unknown a.com/x\npool a.com/x: 0000:3b:00.0 +topology\n" },
               { SWITCH, "any resource=a.com/y",
                 "0000:3b:00.0 healthy new-name-at-next-start+fabric-partition-unknown a.com/x\npool a.com/x: 0000:3b:00.0 "
                 "+topology\n" } });
        LIVE("a new pci.ids",
             { { GPU_A VFIO, NULL, "0000:3b:00.0 healthy " L40S "\n" POOL_A },
               { GPU_A VFIO " model=Something+else", NULL, "0000:3b:00.0 healthy new-name-at-next-start " L40S "\n" POOL_A } });
        LIVE("a newcomer cannot take a variable that is in use",
             { { GPU_B VFIO, "any resource=a.com/x.y", "0000:5e:00.0 healthy a.com/x.y\npool a.com/x.y: 0000:5e:00.0 +topology\n" },
               { GPU_A VFIO "\n" GPU_B VFIO, "addresses=0000:3b:* resource=a.com/x_y\nany resource=a.com/x.y",
                 "0000:3b:00.0 withheld name-ambiguous\n0000:5e:00.0 healthy a.com/x.y\npool a.com/x.y: 0000:5e:00.0 +topology\n" } });
        LIVE("a pool becomes mixed: what is listed stays, topology goes",
             { { GPU_B VFIO " n=-1", "any topology=split", "0000:5e:00.0 healthy " L40S "\npool " L40S ": 0000:5e:00.0\n" },
               { GPU_A VFIO "\n" GPU_B VFIO " n=-1", "any topology=split",
                 "0000:3b:00.0 healthy numa-mixed " L40S "\n0000:5e:00.0 healthy new-name-at-next-start+numa-mixed " L40S "\n"
                 "pool " L40S ": 0000:3b:00.0 0000:5e:00.0\n" } });
        LIVE("withheld at first, named by the configuration of the day it is offered",
             { { GPU_A "nvidia", "any resource=a.com/x", "0000:3b:00.0 withheld not-bound\n" },
               { GPU_A VFIO, "any resource=a.com/y", "0000:3b:00.0 healthy a.com/y\npool a.com/y: 0000:3b:00.0 +topology\n" } });
}

static bool is_card_of_ctx(void *ctx, struct bdf card)
{
        return bdf_equal(*(const struct bdf *)ctx, card);
}

/* The driver is bound before the node is made; a look in between is no reason to tell kubelet. */
static void test_a_device_that_a_plan_has_half_way_stays_healthy(void **state)
{
        _cleanup_inventory_ struct inventory *half_way = world_host(GPU_A VFIO " nonode");
        _cleanup_(rules_done) struct rules rules = world_rules("any bind=on-allocate");
        _cleanup_offer_ struct offer *before = decide(GPU_A "nvidia", "any bind=on-allocate", NULL, NULL, 0);
        _cleanup_offer_ struct offer *ill = decide(GPU_A VFIO " nonode", "any bind=on-allocate", NULL, NULL, 0);
        struct bdf card = { 0, 0x3b, 0, 0 }, other = { 0, 0x3c, 0, 0 };
        const struct {
                const struct offer *past;
                struct bdf *at_work;
                enum device_state want;
        } rows[] = {
                { before, &card, DEVICE_HEALTHY },
                { before, &other, DEVICE_UNHEALTHY },
                { ill, &card, DEVICE_UNHEALTHY },
                { NULL, &card, DEVICE_UNHEALTHY },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const struct offer_input in = {
                        .inventory = half_way, .rules = &rules, .past = rows[i].past, .at_work = is_card_of_ctx, .ctx = rows[i].at_work
                };
                _cleanup_offer_ struct offer *now = offer_decide(&in);
                assert_int_equal(now->n_devices, 1);
                assert_int_equal(now->devices[0].state, rows[i].want);
                assert_int_equal(now->devices[0].reason, rows[i].want == DEVICE_HEALTHY ? REASON_NONE : REASON_NODE_MISSING);
        }
}

static void test_marks_are_said_of_what_is_listed(void **state)
{
        static const struct device_mark marks[] = {
                { "0000:3b:00.0", REASON_STUCK, "unbind did not return" },
                { "0000:5e:00.0", REASON_BROKEN_BINDING, "" },
                { "0000:99:00.0", REASON_STUCK, "of no device" },
        };
        _cleanup_offer_ struct offer *past = NULL;

        (void)state;
        past = decide(GPU_A "nvidia\n" GPU_B "nvidia", "addresses=0000:3b:* bind=on-allocate\nany", NULL, marks, 3);
        _cleanup_free_ char *first = render(past);
        assert_string_equal(first, "0000:3b:00.0 unhealthy stuck " L40S " to-bind\n0000:5e:00.0 withheld not-bound\n" POOL_A);
        assert_string_equal(offer_device(past, "0000:3b:00.0")->detail, "unbind did not return");

        _cleanup_offer_ struct offer *denied = decide(GPU_A "nvidia", "any deny", past, marks, 3);
        assert_int_equal(offer_device(denied, "0000:3b:00.0")->reason, REASON_STUCK);
        /* Its driver went out of sight when it hung: that is no device which only needs binding. */
        _cleanup_offer_ struct offer *hung = decide(GPU_A "-\n" GPU_B "nvidia", "any", NULL, marks, 3);
        _cleanup_free_ char *said = render(hung);
        assert_string_equal(said, "0000:3b:00.0 withheld stuck\n0000:5e:00.0 withheld not-bound\n");
        _cleanup_offer_ struct offer *refused = decide(GPU_A "-", "any deny", NULL, marks, 3);
        assert_int_equal(offer_device(refused, "0000:3b:00.0")->reason, REASON_DENIED);
        _cleanup_offer_ struct offer *gone = decide("", NULL, past, marks, 3);
        assert_int_equal(offer_device(gone, "0000:3b:00.0")->reason, REASON_GONE);
        _cleanup_offer_ struct offer *warned = decide(GPU_A VFIO " n=64 model=Device", NULL, NULL, marks, 3);
        _cleanup_free_ char *no_warning = render(warned); /* what is unfit is not warned of */
        assert_string_equal(no_warning, "0000:3b:00.0 unhealthy stuck nvidia.com/26b9\npool nvidia.com/26b9: 0000:3b:00.0\n");
        _cleanup_offer_ struct offer *freed = decide(GPU_A VFIO, NULL, gone, NULL, 0);
        assert_int_equal(offer_device(freed, "0000:3b:00.0")->state, DEVICE_HEALTHY);
}

static const char *cordoned(void *ctx, const struct device *device)
{
        return streq(device->id, "0000:5e:00.0") ? NULL : ctx;
}

static void test_a_cordon_makes_unhealthy_what_is_healthy_and_changes_no_other_reason(void **state)
{
        static const struct device_mark marks[] = { { "0000:3b:00.0", REASON_STUCK, "unbind did not return" } };
        static const char *const rules_text = "addresses=0000:99:* deny\nany bind=on-allocate";
        _cleanup_inventory_ struct inventory *inv = world_host(GPU_A "nvidia\n" GPU_B "nvidia\n0000:99:00.0 10de:26b9 0302 nvidia");
        _cleanup_(rules_done) struct rules rules = world_rules(rules_text);
        struct offer_input in = { .inventory = inv, .rules = &rules, .cordoned = cordoned, .ctx = (char *)(uintptr_t) "fan" };

        (void)state;
        _cleanup_offer_ struct offer *held = offer_decide(&in);
        const struct device *device = offer_device(held, "0000:3b:00.0");
        assert_true(device->state == DEVICE_UNHEALTHY && device->reason == REASON_CORDONED && device->needs_bind);
        assert_string_equal(device->detail, "fan");
        assert_int_equal(offer_device(held, "0000:5e:00.0")->state, DEVICE_HEALTHY);
        assert_int_equal(offer_device(held, "0000:99:00.0")->reason, REASON_DENIED);
        assert_int_equal(held->pools[0].n_devices, 2); /* listed, never absent */
        in.marks = marks;
        in.n_marks = 1;
        in.past = held;
        _cleanup_offer_ struct offer *stuck = offer_decide(&in);
        assert_int_equal(offer_device(stuck, "0000:3b:00.0")->reason, REASON_STUCK);
        in.n_marks = 0;
        in.past = stuck;
        in.cordoned = NULL;
        _cleanup_offer_ struct offer *freed = offer_decide(&in);
        assert_int_equal(offer_device(freed, "0000:3b:00.0")->state, DEVICE_HEALTHY);
}

/* GPU_A was given by an earlier daemon, from the pool that the context names. */
static const char *given_from(void *ctx, const char *device)
{
        return streq(device, "0000:3b:00.0") ? ctx : NULL;
}

static void test_what_a_pod_has_keeps_its_name_over_a_start(void **state)
{
        static const char *const rules_text = "any resource=example.com/new";
        _cleanup_inventory_ struct inventory *inv = world_host(GPU_A VFIO "\n" GPU_B VFIO);
        _cleanup_(rules_done) struct rules rules = world_rules(rules_text);
        struct offer_input in = {
                .inventory = inv, .rules = &rules, .given_from = given_from, .ctx = (char *)(uintptr_t) "example.com/old"
        };

        (void)state;
        _cleanup_offer_ struct offer *first = offer_decide(&in);
        assert_int_equal(first->n_pools, 2);
        assert_string_equal(offer_device(first, "0000:3b:00.0")->resource, "example.com/old");
        assert_int_equal(offer_device(first, "0000:3b:00.0")->reason, REASON_NAME_NEXT_START);
        assert_string_equal(offer_device(first, "0000:3b:00.0")->detail, "example.com/new");
        assert_string_equal(offer_device(first, "0000:5e:00.0")->resource, "example.com/new");
        /* What is listed keeps its name, whatever a claim says. */
        in.past = first;
        in.ctx = (char *)(uintptr_t) "example.com/other";
        _cleanup_offer_ struct offer *next = offer_decide(&in);
        assert_string_equal(offer_device(next, "0000:3b:00.0")->resource, "example.com/old");
        /* And a name does not make of it what may be offered. */
        _cleanup_(rules_done) struct rules deny = world_rules("any deny");
        in.past = NULL;
        in.rules = &deny;
        _cleanup_offer_ struct offer *denied = offer_decide(&in);
        assert_int_equal(denied->n_pools, 0);
}

static void test_details_say_what_to_look_at(void **state)
{
        _cleanup_offer_ struct offer *past = decide(GPU_A VFIO "\n" GPU_B VFIO, NULL, NULL, NULL, 0);
        _cleanup_offer_ struct offer *now = decide(GPU_A "nvidia\n0000:5e:00.0 10de:2335 0302 " VFIO, NULL, past, NULL, 0);
        _cleanup_offer_ struct offer *later = decide(GPU_A VFIO, "any resource=a.com/x", past, NULL, 0);
        _cleanup_offer_ struct offer *twins =
                decide(GPU_A VFIO "\n" GPU_B VFIO, "addresses=0000:3b:* resource=a.com/x.y\nany resource=a.com/X_Y", NULL, NULL, 0);

        (void)state;
        assert_string_equal(offer_device(now, "0000:3b:00.0")->detail, "not-bound: driver nvidia");
        assert_string_equal(offer_device(now, "0000:5e:00.0")->detail,
                            "it was listed as gpu AD102GL [L40S] and is now gpu GH100 [H200 SXM 141GB]");
        assert_string_equal(offer_device(later, "0000:3b:00.0")->detail, "a.com/x");
        assert_string_equal(offer_device(twins, "0000:5e:00.0")->detail, "a.com/X_Y, and a.com/x.y of 0000:3b:00.0 (gpu)");
}

static void test_pools_are_equal_when_there_is_nothing_to_push(void **state)
{
        static const struct {
                const char *title, *a, *b;
                bool equal;
        } rows[] = {
                { "the same", GPU_A VFIO, GPU_A VFIO, true },
                { "health differs", GPU_A VFIO, GPU_A VFIO " nonode", false },
                { "a node differs", GPU_A VFIO " n=0", GPU_A VFIO " n=1", false },
                { "topology differs", GPU_A VFIO " n=0", GPU_A VFIO " n=-1", false },
                { "an id more", GPU_A VFIO, GPU_A VFIO "\n" GPU_B VFIO, false },
                { "another id", GPU_A VFIO, GPU_B VFIO, false },
                { "only the reason differs", GPU_A VFIO " nonode", GPU_A VFIO "\n!vfio", true },
                { "another name", GPU_A VFIO, GPU_A VFIO " model=Other", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_offer_ struct offer *a = decide(rows[i].a, NULL, NULL, NULL, 0);
                _cleanup_offer_ struct offer *b = decide(rows[i].b, NULL, NULL, NULL, 0);
                if (offer_pool_equal(a, &a->pools[0], b, &b->pools[0]) != rows[i].equal)
                        fail_msg("%s", rows[i].title);
        }
}

static void add_gpus(struct strbuf *host, unsigned first, unsigned end)
{
        for (unsigned i = first; i < end; i++)
                strbuf_addf(host, "%04x:%02x:00.0 10de:26b9 0302 " VFIO "\n", i / 256, i % 256);
}

static size_t count(const struct offer *offer, enum device_state state, enum reason reason)
{
        size_t n = 0;

        for (size_t i = 0; i < offer->n_devices; i++)
                n += offer->devices[i].state == state && offer->devices[i].reason == reason;
        return n;
}

static void test_ids_that_come_and_go_for_ever_are_not_kept_for_ever(void **state)
{
        _cleanup_strbuf_ struct strbuf full = { 0 }, others = { 0 };

        (void)state;
        add_gpus(&full, 1, OFFER_IDS_MAX + 1);
        add_gpus(&others, 0, 2); /* before and among those that are known */
        _cleanup_offer_ struct offer *first = decide(full.text, NULL, NULL, NULL, 0);
        assert_int_equal(count(first, DEVICE_HEALTHY, REASON_NONE), OFFER_IDS_MAX);
        _cleanup_offer_ struct offer *second = decide(others.text, NULL, first, NULL, 0);
        assert_int_equal(second->n_devices, OFFER_IDS_MAX + 1);
        assert_int_equal(count(second, DEVICE_UNHEALTHY, REASON_GONE), OFFER_IDS_MAX - 1);
        assert_int_equal(offer_device(second, "0000:01:00.0")->state, DEVICE_HEALTHY); /* was listed */
        assert_int_equal(offer_device(second, "0000:00:00.0")->reason, REASON_TOO_MANY_IDS);
        assert_int_equal(second->pools[0].n_devices, OFFER_IDS_MAX);
        add_gpus(&full, 0, 1);
        _cleanup_offer_ struct offer *third = decide(full.text, NULL, NULL, NULL, 0);
        assert_int_equal(count(third, DEVICE_HEALTHY, REASON_NONE), OFFER_IDS_MAX);
        assert_int_equal(count(third, DEVICE_WITHHELD, REASON_TOO_MANY_IDS), 1);
}

static void test_devices_are_found_by_id_and_pool(void **state)
{
        _cleanup_offer_ struct offer *offer =
                decide(GPU_A VFIO "\n" GPU_B "nvidia\n0000:99:00.0 10de:2335 0302 " VFIO, NULL, NULL, NULL, 0);
        const struct pool *pool = offer_pool(offer, L40S);

        (void)state;
        assert_non_null(pool);
        assert_null(offer_pool(offer, "nvidia.com/AD102GL_L40"));
        assert_string_equal(offer_pool_device(offer, pool, "0000:3b:00.0")->id, "0000:3b:00.0");
        assert_null(offer_pool_device(offer, pool, "0000:5e:00.0")); /* withheld */
        assert_null(offer_pool_device(offer, pool, "0000:99:00.0")); /* of another pool */
        assert_null(offer_pool_device(offer, pool, ""));
        assert_string_equal(offer_device(offer, "0000:5e:00.0")->driver, "nvidia");
        assert_null(offer_device(offer, "0000:5e:00.1"));

        struct offer *second = offer_ref(offer);
        assert_null(offer_unref(second));
        assert_int_equal(offer->refs, 1);
        assert_null(offer_unref(NULL));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_without_a_configuration_only_what_is_usable_through_vfio_is_offered),
                TEST(test_written_rules_offer_what_they_allow_and_nothing_else),
                TEST(test_isolation_decides_before_binding_does),
                TEST(test_what_cannot_be_used_right_now_is_listed_unhealthy),
                TEST(test_pools_share_names_and_never_variables),
                TEST(test_what_was_listed_stays_in_its_pool),
                TEST(test_what_became_something_else_is_unhealthy_under_its_old_name),
                TEST(test_a_name_never_changes_while_sluice_runs),
                TEST(test_a_device_that_a_plan_has_half_way_stays_healthy),
                TEST(test_marks_are_said_of_what_is_listed),
                TEST(test_a_cordon_makes_unhealthy_what_is_healthy_and_changes_no_other_reason),
                TEST(test_what_a_pod_has_keeps_its_name_over_a_start),
                TEST(test_details_say_what_to_look_at),
                TEST(test_pools_are_equal_when_there_is_nothing_to_push),
                TEST(test_ids_that_come_and_go_for_ever_are_not_kept_for_ever),
                TEST(test_devices_are_found_by_id_and_pool),
        };

        return RUN(tests);
}

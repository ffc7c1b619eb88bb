/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"

/* One function of a case: "BDF vendor:device class driver [flags]". */
enum { BOOT_VGA = 1, FRAMEBUFFER = 2, HAS_VFS = 4, MDEV_PARENT = 8, NOIOMMU = 16, VFIO_DEV = 32, ELSEWHERE = 64, NO_GROUP = 128 };
struct member {
        const char *bdf;
        uint16_t vendor, device;
        unsigned class_top;
        const char *driver;
        unsigned flags;
};

struct row {
        const char *title;
        struct member members[6]; /* the first is the one judged, until bdf is NULL */
        enum group_rule rule;
        bool vendor_vfio;
        const char *by_address; /* one rule that names this address; deny below */
        const char *by_id;      /* one rule that names this id */
        bool deny;
        enum reason reason;
        unsigned n_gpus, n_members, n_to_bind;
        const char *detail;
};

#define GPU(bdf, driver)                               \
        {                                              \
                bdf, 0x10de, 0x26b9, 0x0302, driver, 0 \
        }
#define ROOT_PORT(bdf)                                     \
        {                                                  \
                bdf, 0x8086, 0x1901, 0x0604, "pcieport", 0 \
        }

static const struct row rows[] = {
        { .title = "a GPU alone, on VFIO", .members = { GPU("0000:3b:00.0", "vfio-pci") }, .n_gpus = 1, .n_members = 1 },
        { .title = "a GPU alone, on its host driver",
          .members = { GPU("0000:3b:00.0", "nvidia") },
          .n_gpus = 1,
          .n_members = 1,
          .n_to_bind = 1 },
        { .title = "a GPU alone, without driver", .members = { GPU("0000:3b:00.0", "") }, .n_gpus = 1, .n_members = 1, .n_to_bind = 1 },
        { .title = "a GPU alone, on a VFIO variant driver",
          .members = { GPU("0000:3b:00.0", "nvgrace_gpu_vfio_pci") },
          .n_gpus = 1,
          .n_members = 1 },
        { .title = "another group does not matter",
          .members = { GPU("0000:3b:00.0", "vfio-pci"), { "0000:3c:00.0", 0x144d, 0xa808, 0x0108, "nvme", ELSEWHERE } },
          .n_gpus = 1,
          .n_members = 1 },
        { .title = "a desktop: GPU, audio and the root port in the group",
          .members = { { "0000:01:00.0", 0x10de, 0x2204, 0x0300, "vfio-pci", 0 },
                       { "0000:01:00.1", 0x10de, 0x1aef, 0x0403, "vfio-pci", 0 },
                       ROOT_PORT("0000:00:01.0") },
          .n_gpus = 1,
          .n_members = 2 },
        { .title = "the audio is still on the host's driver",
          .members = { { "0000:01:00.0", 0x10de, 0x2204, 0x0300, "vfio-pci", 0 },
                       { "0000:01:00.1", 0x10de, 0x1aef, 0x0403, "snd_hda_intel", 0 },
                       ROOT_PORT("0000:00:01.0") },
          .n_gpus = 1,
          .n_members = 2,
          .n_to_bind = 1,
          .detail = "0000:01:00.1 (class 0403, driver snd_hda_intel)" },
        { .title = "a companion without driver needs nothing",
          .members = { { "0000:01:00.0", 0x10de, 0x2204, 0x0300, "vfio-pci", 0 }, { "0000:01:00.1", 0x10de, 0x1aef, 0x0403, "", 0 } },
          .n_gpus = 1,
          .n_members = 2 },
        { .title = "a companion on pci-stub needs nothing",
          .members = { { "0000:01:00.0", 0x10de, 0x2204, 0x0300, "vfio-pci", 0 },
                       { "0000:01:00.1", 0x10de, 0x1aef, 0x0403, "pci-stub", 0 } },
          .n_gpus = 1,
          .n_members = 2 },
        { .title = "a Quadro with four functions on host drivers",
          .members = { { "0000:01:00.0", 0x10de, 0x1e30, 0x0300, "nvidia", 0 },
                       { "0000:01:00.1", 0x10de, 0x10f7, 0x0403, "snd_hda_intel", 0 },
                       { "0000:01:00.2", 0x10de, 0x1ad6, 0x0c03, "xhci_hcd", 0 },
                       { "0000:01:00.3", 0x10de, 0x1ad7, 0x0c80, "nvidia-gpu", 0 } },
          .n_gpus = 1,
          .n_members = 4,
          .n_to_bind = 4,
          .detail = "0000:01:00.1 (class 0403, driver snd_hda_intel)" },
        { .title = "audio of another slot is foreign",
          .members = { { "0000:01:00.0", 0x10de, 0x2204, 0x0300, "vfio-pci", 0 },
                       { "0000:00:1f.3", 0x8086, 0xa348, 0x0403, "snd_hda_intel", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:00:1f.3 (class 0403, driver snd_hda_intel)" },
        { .title = "an NVMe drive in the group",
          .members = { GPU("0000:41:00.0", "nvidia"), { "0000:42:00.0", 0x144d, 0xa808, 0x0108, "nvme", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .n_to_bind = 1,
          .detail = "0000:42:00.0 (class 0108, driver nvme)" },
        { .title = "storage in the GPU's own slot is foreign too",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:41:00.1", 0x144d, 0xa808, 0x0108, "nvme", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:41:00.1 (class 0108, driver nvme)" },
        { .title = "a NIC in the group",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x8086, 0x1563, 0x0200, "ixgbe", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0200, driver ixgbe)" },
        { .title = "a NIC without driver: the group is never bound",
          .members = { GPU("0000:41:00.0", "nvidia"), { "0000:42:00.0", 0x8086, 0x1563, 0x0200, "", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .n_to_bind = 1,
          .detail = "0000:42:00.0 (class 0200, driver none)" },
        { .title = "a NIC that was set aside with the GPU: the group is usable as it is",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x8086, 0x1563, 0x0200, "vfio-pci", 0 } },
          .n_gpus = 1,
          .n_members = 2 },
        { .title = "a chipset function on a host driver",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:00:1f.4", 0x8086, 0xa323, 0x0c05, "i801_smbus", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:00:1f.4 (class 0c05, driver i801_smbus)" },
        { .title = "two GPUs are withheld",
          .members = { GPU("0000:41:00.0", "vfio-pci"), GPU("0000:42:00.0", "vfio-pci") },
          .reason = REASON_GROUP_SEVERAL,
          .n_gpus = 2,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0302, driver vfio-pci)" },
        { .title = "two GPUs are one device by rule: the first",
          .members = { GPU("0000:41:00.0", "nvidia"), GPU("0000:42:00.0", "nvidia") },
          .rule = GROUP_ONE_DEVICE,
          .n_gpus = 2,
          .n_members = 2,
          .n_to_bind = 2,
          .detail = "0000:42:00.0 (class 0302, driver nvidia)" },
        { .title = "two GPUs are one device by rule: the second follows",
          .members = { GPU("0000:42:00.0", "nvidia"), GPU("0000:41:00.0", "nvidia") },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOLLOWER,
          .n_gpus = 2,
          .n_members = 2,
          .n_to_bind = 2,
          .detail = "0000:41:00.0 (class 0302, driver nvidia)" },
        { .title = "a foreign member is said before a second GPU",
          .members = { GPU("0000:41:00.0", "vfio-pci"),
                       GPU("0000:42:00.0", "vfio-pci"),
                       { "0000:43:00.0", 0x8086, 0x1563, 0x0200, "ixgbe", 0 } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 2,
          .n_members = 3,
          .detail = "0000:43:00.0 (class 0200, driver ixgbe)" },
        { .title = "a GPU that a rule denies stays with the host",
          .members = { GPU("0000:41:00.0", "vfio-pci"), GPU("0000:42:00.0", "nvidia") },
          .by_address = "0000:42:00.0",
          .deny = true,
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0302, driver nvidia)" },
        { .title = "NVSwitches share a group without any GPU: a rule names one",
          .members = { { "0000:05:00.0", 0x10de, 0x22a3, 0x0680, "nvidia-nvswitch", 0 },
                       { "0000:06:00.0", 0x10de, 0x22a3, 0x0680, "nvidia-nvswitch", 0 },
                       { "0000:07:00.0", 0x10de, 0x22a3, 0x0680, "nvidia-nvswitch", 0 } },
          .by_id = "10de:22a3",
          .reason = REASON_GROUP_SEVERAL,
          .n_gpus = 3,
          .n_members = 3,
          .n_to_bind = 3,
          .detail = "0000:06:00.0 (class 0680, driver nvidia-nvswitch)" },
        { .title = "an NVSwitch is no bridge",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:05:00.0", 0x10de, 0x22a3, 0x0680, "nvidia-nvswitch", 0 } },
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:05:00.0 (class 0680, driver nvidia-nvswitch)" },
        { .title = "no group",
          .members = { { "0000:3b:00.0", 0x10de, 0x26b9, 0x0302, "nvidia", NO_GROUP } },
          .reason = REASON_NO_GROUP,
          .n_gpus = 1,
          .n_members = 1,
          .n_to_bind = 1 },
        { .title = "a no-IOMMU group",
          .members = { { "0000:3b:00.0", 0x10de, 0x26b9, 0x0302, "vfio-pci", NOIOMMU } },
          .reason = REASON_NOIOMMU,
          .n_gpus = 1,
          .n_members = 1 },
        { .title = "a vendor-VFIO VF alone in its group stays on its driver",
          .members = { { "0000:3b:00.4", 0x10de, 0x26b9, 0x0302, "nvidia", 0 } },
          .vendor_vfio = true,
          .n_gpus = 1,
          .n_members = 1 },
        { .title = "a vendor-VFIO VF with another VF in its group",
          .members = { { "0000:3b:00.4", 0x10de, 0x26b9, 0x0302, "nvidia", VFIO_DEV },
                       { "0000:3b:00.5", 0x10de, 0x26b9, 0x0302, "nvidia", VFIO_DEV } },
          .vendor_vfio = true,
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_SEVERAL,
          .n_gpus = 2,
          .n_members = 2,
          .detail = "0000:3b:00.5 (class 0302, driver nvidia)" },
        { .title = "a vendor-VFIO VF with a companion, though on VFIO, in its group",
          .members = { { "0000:3b:00.4", 0x10de, 0x26b9, 0x0302, "nvidia", VFIO_DEV },
                       { "0000:3b:00.1", 0x10de, 0x22ba, 0x0403, "vfio-pci", 0 } },
          .vendor_vfio = true,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:3b:00.1 (class 0403, driver vfio-pci)" },
        { .title = "a VF with its PF in the group",
          .members = { { "0000:3b:00.4", 0x10de, 0x26b9, 0x0302, "vfio-pci", 0 },
                       { "0000:3b:00.0", 0x10de, 0x26b9, 0x0302, "nvidia", HAS_VFS } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:3b:00.0 (class 0302, driver nvidia)" },
        { .title = "a GPU with vGPU instances in the group",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x10de, 0x1eb8, 0x0302, "nvidia", MDEV_PARENT } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0302, driver nvidia)" },
        { .title = "the boot VGA is in the group of another GPU",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x10de, 0x2204, 0x0300, "nouveau", BOOT_VGA } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0300, driver nouveau)" },
        { .title = "a firmware framebuffer needs no driver to be the console",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x10de, 0x2204, 0x0300, "", FRAMEBUFFER } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0300, driver none)" },
        { .title = "the boot VGA may go when a rule names its address",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x10de, 0x2204, 0x0300, "nouveau", BOOT_VGA } },
          .by_address = "0000:42:00.0",
          .rule = GROUP_ONE_DEVICE,
          .n_gpus = 2,
          .n_members = 2,
          .n_to_bind = 1,
          .detail = "0000:42:00.0 (class 0300, driver nouveau)" },
        { .title = "the graphics of a management controller is foreign",
          .members = { GPU("0000:41:00.0", "vfio-pci"), { "0000:42:00.0", 0x1a03, 0x2000, 0x0300, "ast", 0 } },
          .rule = GROUP_ONE_DEVICE,
          .reason = REASON_GROUP_FOREIGN,
          .n_gpus = 1,
          .n_members = 2,
          .detail = "0000:42:00.0 (class 0300, driver ast)" },
        { .title = "all kinds of bridges are ignored",
          .members = { GPU("0000:41:00.0", "vfio-pci"),
                       ROOT_PORT("0000:40:01.0"),
                       { "0000:00:00.0", 0x8086, 0x3e30, 0x0600, "skl_uncore", 0 } },
          .n_gpus = 1,
          .n_members = 1 },
};

static void add(struct inventory *inv, const struct member *m)
{
        struct bdf bdf;

        assert_true(bdf_parse(m->bdf, &bdf));
        struct function *fn = inventory_add_function(inv, bdf);
        fn->vendor = m->vendor;
        fn->device = m->device;
        fn->class_code = m->class_top << 8;
        (void)str_copy(fn->driver, sizeof(fn->driver), m->driver);
        fn->group = m->flags & NO_GROUP ? -1 : m->flags & ELSEWHERE ? 8 : 7;
        fn->boot_vga = m->flags & BOOT_VGA ? 1 : -1;
        fn->framebuffer = m->flags & FRAMEBUFFER;
        fn->n_vfs = m->flags & HAS_VFS ? 4 : 0;
        fn->mdev_parent = m->flags & MDEV_PARENT;
        fn->noiommu = m->flags & NOIOMMU;
        fn->vfio_index = m->flags & VFIO_DEV ? 2 : -1;
}

static void make_rules(struct rules *rules, const struct row *row)
{
        rules_init(rules);
        if (!row->by_address && !row->by_id)
                return;
        rules->rules = xcalloc(1, sizeof(*rules->rules));
        rules->n_rules = 1;
        rule_init(rules->rules);
        rules->rules->deny = row->deny;
        struct selector *s = &rules->rules->select;
        if (row->by_address) {
                s->addresses = xcalloc(1, sizeof(*s->addresses));
                s->addresses[s->n_addresses++] = xstrdup(row->by_address);
        } else {
                s->ids = xcalloc(1, sizeof(*s->ids));
                assert_true(id_pattern_parse(row->by_id, &s->ids[s->n_ids++]));
        }
}

static void test_the_verdict_names_who_spoils_the_group(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const struct row *row = &rows[i];
                _cleanup_inventory_ struct inventory *inv = inventory_new();
                struct rules rules;
                struct bdf judged;

                for (size_t k = 0; k < N_ELEMENTS(row->members) && row->members[k].bdf; k++)
                        add(inv, &row->members[k]);
                inventory_seal(inv);
                make_rules(&rules, row);
                assert_true(bdf_parse(row->members[0].bdf, &judged));
                struct group_verdict v = group_judge(inv, &rules, inventory_function(inv, judged), row->rule, row->vendor_vfio);
                if (v.reason != row->reason || v.n_gpus != row->n_gpus || v.n_members != row->n_members || v.n_to_bind != row->n_to_bind ||
                    !streq(v.detail, row->detail ? row->detail : ""))
                        fail_msg("%s: '%s', %u GPUs, %u members, %u to bind, '%s'", row->title, reason_word(v.reason), v.n_gpus,
                                 v.n_members, v.n_to_bind, v.detail);
                assert_int_equal(v.culprit != NULL, *v.detail != '\0');
                rules_done(&rules);
        }
}

/* On Arm a platform device may share the GPU's group: the verdict asks of it what it asks of a PCI function that is none of ours. */
static void test_a_member_that_is_no_pci_function_spoils_the_group(void **state)
{
        static const struct {
                const char *title, *gpu_driver, *subsystem, *driver;
                int group;
                bool vendor_vfio;
                enum reason reason;
                unsigned n_members;
                const char *detail;
        } table[] = {
                { "with a driver", "vfio-pci", "platform", "xgene-dma", 7, false, REASON_GROUP_FOREIGN, 2,
                  "70.dma (no PCI function: subsystem platform, driver xgene-dma)" },
                { "with a driver that could not be read", "vfio-pci", "", "?", 7, false, REASON_GROUP_FOREIGN, 2,
                  "70.dma (no PCI function: subsystem unknown, driver ?)" },
                { "without driver, beside a GPU that is prepared", "vfio-pci", "platform", "", 7, false, REASON_NONE, 2, "" },
                { "without driver, beside a GPU that would be bound", "nvidia", "platform", "", 7, false, REASON_GROUP_FOREIGN, 2,
                  "70.dma (no PCI function: subsystem platform, driver none)" },
                { "on VFIO's own driver", "vfio-pci", "platform", "vfio-platform", 7, false, REASON_NONE, 2, "" },
                { "beside a vGPU's VF", "nvidia", "platform", "", 7, true, REASON_GROUP_FOREIGN, 2,
                  "70.dma (no PCI function: subsystem platform, driver none)" },
                { "in another group", "nvidia", "platform", "xgene-dma", 8, false, REASON_NONE, 1, "" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(table); i++) {
                _cleanup_inventory_ struct inventory *inv = inventory_new();
                struct member gpu = GPU("0000:3b:00.0", table[i].gpu_driver);
                _cleanup_(rules_done) struct rules rules;

                add(inv, &gpu);
                inventory_add_outsider(inv, table[i].group, "70.dma", table[i].subsystem, table[i].driver);
                inventory_seal(inv);
                rules_init(&rules);
                struct group_verdict v = group_judge(inv, &rules, inv->functions, GROUP_ONE_DEVICE, table[i].vendor_vfio);
                if (v.reason != table[i].reason || v.n_members != table[i].n_members || !streq(v.detail, table[i].detail) || v.culprit)
                        fail_msg("%s: '%s', %u members, '%s'", table[i].title, reason_word(v.reason), v.n_members, v.detail);
        }
}

static void test_vfio_drivers_are_recognised_by_name_or_entry(void **state)
{
        static const struct {
                const char *driver;
                int vfio_index;
                bool on_vfio, accepted;
        } drivers[] = {
                { "vfio-pci", -1, true, true },      { "nvgrace_gpu_vfio_pci", -1, true, true },
                { "mlx5_vfio_pci", -1, true, true }, { "xe-vfio-pci", -1, true, true },
                { "vfio_pci_core", -1, true, true }, { "nvidia", 3, true, true },
                { "nvidia", -1, false, false },      { "", -1, false, true },
                { "pci-stub", -1, false, true },     { "vfio", -1, false, false },
                { "vfio-pcix", -1, false, false },   { "xvfio-pci", -1, false, false },
                { "nvme", -1, false, false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(drivers); i++) {
                struct function fn = { .vfio_index = drivers[i].vfio_index };

                (void)str_copy(fn.driver, sizeof(fn.driver), drivers[i].driver);
                if (group_on_vfio(&fn) != drivers[i].on_vfio || group_member_accepted(&fn) != drivers[i].accepted)
                        fail_msg("driver '%s'", drivers[i].driver);
        }
}

static void test_a_card_is_the_pf_or_function_0_of_the_slot(void **state)
{
        static const struct function rows_of_cards[] = {
                { .bdf = { 0, 0x3b, 0, 0 } },
                { .bdf = { 0, 0x3b, 0, 1 } },
                { .bdf = { 0, 0x3b, 1, 7 }, .is_vf = true, .physfn = { 0, 0x3b, 0, 0 } },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows_of_cards); i++)
                assert_true(bdf_equal(card_of(&rows_of_cards[i]), (struct bdf){ 0, 0x3b, 0, 0 }));
        /* A PF that is not function 0 of its slot and its VFs are on one card. */
        const struct function pf = { .bdf = { 0, 0x3b, 0, 1 } };
        const struct function vf = { .bdf = { 0, 0x3b, 0, 5 }, .is_vf = true, .physfn = { 0, 0x3b, 0, 1 } };
        assert_true(bdf_equal(card_of(&vf), card_of(&pf)));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_verdict_names_who_spoils_the_group),
                TEST(test_a_member_that_is_no_pci_function_spoils_the_group),
                TEST(test_vfio_drivers_are_recognised_by_name_or_entry),
                TEST(test_a_card_is_the_pf_or_function_0_of_the_slot),
        };

        return RUN(tests);
}

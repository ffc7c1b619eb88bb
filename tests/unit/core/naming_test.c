/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/alloc.h"
#include "base/str.h"
#include "core/gpu_ids.h"
#include "core/naming.h"

enum { NVIDIA = 0x10de, AMD = 0x1002, INTEL = 0x8086 };

/* The names that operators have in their manifests, from the built-in table to the slug. */
static void test_the_built_in_ids_have_their_known_slugs(void **state)
{
        static const struct {
                uint16_t vendor, device;
                const char *slug;
        } rows[] = {
                { NVIDIA, 0x26b9, "AD102GL_L40S" },
                { NVIDIA, 0x26b5, "AD102GL_L40" },
                { NVIDIA, 0x27b8, "AD104GL_L4" },
                { NVIDIA, 0x26ba, "AD102GL_L20" },
                { NVIDIA, 0x20b0, "GA100_A100_SXM4_40GB" },
                { NVIDIA, 0x20b2, "GA100_A100_SXM4_80GB" },
                { NVIDIA, 0x20b3, "GA100_A100SXM64GB" },
                { NVIDIA, 0x20b5, "GA100_A100_PCIE_80GB" },
                { NVIDIA, 0x20f1, "GA100_A100_PCIE_40GB" },
                { NVIDIA, 0x20b1, "GA100_A100_PCIE_40GB" },
                { NVIDIA, 0x20b7, "GA100GL_A30_PCIE" },
                { NVIDIA, 0x2330, "GH100_H100_SXM5_80GB" },
                { NVIDIA, 0x2331, "GH100_H100_PCIE" },
                { NVIDIA, 0x2321, "GH100_H100L_94GB" },
                { NVIDIA, 0x2339, "GH100_H100_SXM5_94GB" },
                { NVIDIA, 0x2335, "GH100_H200_SXM_141GB" },
                { NVIDIA, 0x233b, "GH100_H200_NVL" },
                { NVIDIA, 0x2329, "GH100_H20" },
                { NVIDIA, 0x2342, "GH100_GH200_120GB___480GB" },
                { NVIDIA, 0x2348, "GH100_GH200_144G_HBM3E" },
                { NVIDIA, 0x2901, "GB100_B200" },
                { NVIDIA, 0x29bc, "GB102_B100" },
                { NVIDIA, 0x2941, "GB100_HGX_GB200" },
                { NVIDIA, 0x2bb5, "GB202GL_RTX_PRO_6000_BLACKWELL_SERVER_EDITION" },
                { NVIDIA, 0x2236, "GA102GL_A10" },
                { NVIDIA, 0x2235, "GA102GL_A40" },
                { NVIDIA, 0x2237, "GA102GL_A10G" },
                { NVIDIA, 0x25b6, "GA107GL_A2___A16" },
                { NVIDIA, 0x1eb8, "TU104GL_TESLA_T4" },
                { NVIDIA, 0x1db1, "GV100GL_TESLA_V100_SXM2_16GB" },
                { NVIDIA, 0x1db4, "GV100GL_TESLA_V100_PCIE_16GB" },
                { NVIDIA, 0x1db5, "GV100GL_TESLA_V100_SXM2_32GB" },
                { NVIDIA, 0x1db6, "GV100GL_TESLA_V100_PCIE_32GB" },
                { NVIDIA, 0x1df6, "GV100GL_TESLA_V100S_PCIE_32GB" },
                { NVIDIA, 0x2204, "GA102_GEFORCE_RTX_3090" },
                { NVIDIA, 0x2684, "AD102_GEFORCE_RTX_4090" },
                { NVIDIA, 0x2b85, "GB202_GEFORCE_RTX_5090" },
                { NVIDIA, 0x1e30, "TU102GL_QUADRO_RTX_6000_8000" },
                { NVIDIA, 0x22a3, "GH100_H100_NVSWITCH" },
                { NVIDIA, 0x1af1, "GA100_A100_NVSWITCH" },
                { AMD, 0x740f, "ALDEBARAN_MI200_INSTINCT_MI210" },
                { AMD, 0x74a1, "AQUA_VANJARAM_INSTINCT_MI300X" },
                { AMD, 0x74b5, "AQUA_VANJARAM_INSTINCT_MI300X_VF" },
                { AMD, 0x74a0, "AQUA_VANJARAM_INSTINCT_MI300A" },
                { AMD, 0x74a2, "AQUA_VANJARAM_INSTINCT_MI308X" },
                { AMD, 0x74a5, "AQUA_VANJARAM_INSTINCT_MI325X" },
                { AMD, 0x74b9, "AQUA_VANJARAM_INSTINCT_MI325X_VF" },
                { AMD, 0x7460, "NAVI32_GLXL_AMD_RADEON_PRO_V710" },
                { AMD, 0x7461, "NAVI_32_AMD_RADEON_PRO_V710" },
                { AMD, 0x73a1, "NAVI_21_RADEON_PRO_V620" },
                { AMD, 0x73ae, "NAVI_21_RADEON_PRO_V620_MXGPU" },
                { INTEL, 0x56c0, "ATSM_DATA_CENTER_GPU_FLEX_170" },
                { INTEL, 0x56c1, "ATSM_DATA_CENTER_GPU_FLEX_140" },
                { INTEL, 0x56c2, "ATSM_DATA_CENTER_GPU_FLEX_170V" },
                { INTEL, 0x0bd5, "PONTE_VECCHIO_XT_2_TILE_DATA_CENTER_GPU_MAX_1550" },
                { INTEL, 0x0bd6, "PONTE_VECCHIO_XT_2_TILE_DATA_CENTER_GPU_MAX_1550" },
                { INTEL, 0x0bd9, "PONTE_VECCHIO_XT_1_TILE_DATA_CENTER_GPU_MAX_1100" },
                { INTEL, 0x0bda, "PONTE_VECCHIO_XT_1_TILE_DATA_CENTER_GPU_MAX_1100" },
                { INTEL, 0x56a0, "DG2_ARC_A770" },
                { INTEL, 0xe20b, "BATTLEMAGE_G21_ARC_B580" },
                { INTEL, 0xe211, "BATTLEMAGE_G21_INTEL_GRAPHICS" },
                { INTEL, 0xe212, "BATTLEMAGE_G21_INTEL_GRAPHICS" },
                { INTEL, 0xe216, "BATTLEMAGE_G21_INTEL_GRAPHICS" },
                { INTEL, 0x4680, "ALDERLAKES_GT1" },
                { INTEL, 0x46a6, "ALDER_LAKEP_GT2_IRIS_XE_GRAPHICS" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const char *model = gpu_ids_device(rows[i].vendor, rows[i].device);

                if (!model)
                        fail_msg("%04x:%04x is not in the built-in table", rows[i].vendor, rows[i].device);
                _cleanup_free_ char *slug = naming_slug(model, NAME_DEFAULT);
                assert_string_equal(slug, rows[i].slug);
        }
}

static void test_a_slug_follows_the_rule_to_the_letter(void **state)
{
        static const struct {
                const char *model;
                enum name_rule rule;
                const char *slug;
        } rows[] = {
                { "AD102GL [L40S]", NAME_DEFAULT, "AD102GL_L40S" },
                { "  AD102GL\t [L40S] \n", NAME_DEFAULT, "AD102GL_L40S" },
                { "GA107GL [A2 / A16]", NAME_DEFAULT, "GA107GL_A2___A16" },
                { "Quadro RTX 6000/8000", NAME_DEFAULT, "QUADRO_RTX_6000_8000" },
                { "USB 3.1", NAME_DEFAULT, "USB_3_1" },
                { "a__b_", NAME_DEFAULT, "A__B_" },
                { "GA100 [A100-SXM-64GB]", NAME_DEFAULT, "GA100_A100SXM64GB" },
                { "GA100 [A100-SXM-64GB]", NAME_KEEP_HYPHEN, "GA100_A100-SXM-64GB" },
                { "NVIDIA A10", NAME_STRIP_BRAND, "NVIDIA_A10" },
                { "caf\xc3\xa9 \xe2\x84\xa2", NAME_DEFAULT, "CAF_" },
                { "[]()", NAME_DEFAULT, "" },
                { "", NAME_DEFAULT, "" },
                { " ", NAME_DEFAULT, "" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_free_ char *slug = naming_slug(rows[i].model, rows[i].rule);
                assert_string_equal(slug, rows[i].slug);
        }
}

static void test_a_profile_keeps_its_case_and_hyphens(void **state)
{
        static const struct {
                const char *profile;
                enum name_rule rule;
                const char *name;
        } rows[] = {
                { "NVIDIA A10-12Q", NAME_DEFAULT, "NVIDIA_A10-12Q" },
                { "NVIDIA A10-12Q", NAME_KEEP_HYPHEN, "NVIDIA_A10-12Q" },
                { "NVIDIA A100-40C", NAME_STRIP_BRAND, "A100-40C" },
                { "GRID T4-1Q", NAME_STRIP_BRAND, "T4-1Q" },
                { "GRID T4-1Q", NAME_DEFAULT, "GRID_T4-1Q" },
                { "NVIDIA RTX Pro 6000 Blackwell DC-3Q", NAME_STRIP_BRAND, "RTX_Pro_6000_Blackwell_DC-3Q" },
                { "NVIDIA  RTX6000-Ada-24Q", NAME_DEFAULT, "NVIDIA_RTX6000-Ada-24Q" },
                { "i915-GVTg_V5_4", NAME_STRIP_BRAND, "i915-GVTg_V5_4" },
                { "NVIDIA", NAME_STRIP_BRAND, "NVIDIA" },
                { "NVIDIAX 1", NAME_STRIP_BRAND, "NVIDIAX_1" },
                { "a/b (c)", NAME_DEFAULT, "ab_c" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_free_ char *name = naming_profile(rows[i].profile, rows[i].rule);
                assert_string_equal(name, rows[i].name);
        }
}

/* What Cozystack fills into the KubeVirt resource: id and the whole name. */
static void test_the_names_that_cozystack_expects_are_made(void **state)
{
        static const struct {
                uint16_t device;
                const char *resource;
        } rows[] = {
                { 0x2335, "nvidia.com/GH100_H200_SXM_141GB" },
                { 0x2330, "nvidia.com/GH100_H100_SXM5_80GB" },
                { 0x2331, "nvidia.com/GH100_H100_PCIE" },
                { 0x2321, "nvidia.com/GH100_H100L_94GB" },
                { 0x26b9, "nvidia.com/AD102GL_L40S" },
                { 0x26b5, "nvidia.com/AD102GL_L40" },
                { 0x27b8, "nvidia.com/AD104GL_L4" },
                { 0x20b2, "nvidia.com/GA100_A100_SXM4_80GB" },
                { 0x20b0, "nvidia.com/GA100_A100_SXM4_40GB" },
                { 0x20b5, "nvidia.com/GA100_A100_PCIE_80GB" },
                { 0x20f1, "nvidia.com/GA100_A100_PCIE_40GB" },
                { 0x20b7, "nvidia.com/GA100GL_A30_PCIE" },
                { 0x2235, "nvidia.com/GA102GL_A40" },
                { 0x2236, "nvidia.com/GA102GL_A10" },
                { 0x1eb8, "nvidia.com/TU104GL_TESLA_T4" },
                { 0x1db1, "nvidia.com/GV100GL_TESLA_V100_SXM2_16GB" },
                { 0x1db4, "nvidia.com/GV100GL_TESLA_V100_PCIE_16GB" },
                { 0x1db5, "nvidia.com/GV100GL_TESLA_V100_SXM2_32GB" },
                { 0x1df6, "nvidia.com/GV100GL_TESLA_V100S_PCIE_32GB" },
        };
        struct rules rules;

        (void)state;
        rules_init(&rules);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct function fn = { .vendor = NVIDIA, .device = rows[i].device };
                char out[RESOURCE_MAX];
                enum reason warning = REASON_STUCK;

                (void)str_copy(fn.model, sizeof(fn.model), gpu_ids_device(NVIDIA, rows[i].device));
                assert_int_equal(naming_resource(&rules, NULL, &fn, NULL, DEVICE_GPU, out, &warning), REASON_NONE);
                assert_string_equal(out, rows[i].resource);
                assert_int_equal(warning, REASON_NONE);
                assert_true(naming_resource_is_valid(out, NULL));
        }
        rules_done(&rules);
}

#define A63  "aaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff0123"
#define P50  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeee."
#define P244 P50 P50 P50 P50 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeee"

static void test_resource_names_are_those_that_kubernetes_takes(void **state)
{
        static const struct {
                const char *resource;
                bool valid;
        } rows[] = {
                { "nvidia.com/GP102GL_Tesla_P40", true },
                { "nvidia.com/AD102GL_L40S", true },
                { "nvidia.com/26b5", true },
                { "nvidia.com/a", true },
                { "n/a", true },
                { "a-b.c--d.e/x.y-z_1", true },
                { "nvidia.com/" A63, true },
                { P244 "/a", true },
                { "gpu", false },
                { "", false },
                { "/", false },
                { "/gpu", false },
                { "nvidia.com/", false },
                { "kubernetes.io/gpu", false },
                { "sub.kubernetes.io/gpu", false },
                { "NVIDIA.com/gpu", false },
                { "nvidia_x.com/gpu", false },
                { "-nvidia.com/gpu", false },
                { "nvidia-.com/gpu", false },
                { "nvidia.com./gpu", false },
                { ".nvidia.com/gpu", false },
                { "nvidia..com/gpu", false },
                { "nvidia.com/a/b", false },
                { "nvidia.com/-x", false },
                { "nvidia.com/x-", false },
                { "nvidia.com/_x", false },
                { "nvidia.com/x y", false },
                { "nvidia.com/x[y]", false },
                { "nvidia.com/caf\xc3\xa9", false },
                { "requests.x.com/gpu", false },
                { "nvidia.com/" A63 "a", false },
                { "a" P244 "/a", false },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const char *why = NULL;

                if (naming_resource_is_valid(rows[i].resource, &why) != rows[i].valid || !why != rows[i].valid)
                        fail_msg("'%s': %s", rows[i].resource, why ? why : "taken");
        }
}

static void test_a_long_name_part_is_cut_and_told_apart(void **state)
{
        char a[NAME_PART_MAX + 1], b[NAME_PART_MAX + 1], again[NAME_PART_MAX + 1];

        (void)state;
        assert_false(naming_shorten(A63, a));
        assert_string_equal(a, A63);
        assert_true(naming_shorten(A63 "x", a));
        assert_true(naming_shorten(A63 "y", b));
        assert_true(naming_shorten(A63 "x", again));
        assert_int_equal(strlen(a), NAME_PART_MAX);
        assert_memory_equal(a, A63, 54);
        assert_int_equal(a[54], '_');
        assert_string_not_equal(a, b);
        assert_string_equal(a, again);
        /* For ever: a shortened name is in manifests. */
        assert_string_equal(a + 54, "_66821A40");
}

static void test_the_variable_is_the_one_that_kubevirt_looks_for(void **state)
{
        static const struct {
                const char *resource;
                bool mdev;
                const char *variable;
        } rows[] = {
                { "nvidia.com/AD102GL_L40S", false, "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S" },
                { "nvidia.com/L40S-24Q", false, "PCI_RESOURCE_NVIDIA_COM_L40S-24Q" },
                { "nvidia.com/GRID_T4-1Q", true, "MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q" },
                { "intel.com/qat.gen4", false, "PCI_RESOURCE_INTEL_COM_QAT_GEN4" },
                { "nvidia.com/26b5", false, "PCI_RESOURCE_NVIDIA_COM_26B5" },
                { "a.com/x.y", false, "PCI_RESOURCE_A_COM_X_Y" },
                { "a.com/X_Y", false, "PCI_RESOURCE_A_COM_X_Y" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_free_ char *variable = naming_kubevirt_variable(rows[i].resource, rows[i].mdev);
                assert_string_equal(variable, rows[i].variable);
        }
}

static void test_prefixes_belong_to_three_vendors(void **state)
{
        (void)state;
        assert_string_equal(naming_prefix(NVIDIA), "nvidia.com");
        assert_string_equal(naming_prefix(AMD), "amd.com");
        assert_string_equal(naming_prefix(INTEL), "intel.com");
        assert_null(naming_prefix(0x1a03));
        assert_null(naming_prefix(0x102b));
}

/* One naming: what the rule, the alias table, the function and the instance say. */
struct row {
        const char *title;
        uint16_t vendor, device;
        const char *model;
        enum device_kind kind;
        const char *profile; /* of the instance or the VF */
        uint32_t vgpu_type;
        const char *resource, *prefix, *alias; /* of the rule */
        enum name_rule name_rule;
        const char *out;
        enum reason reason, warning;
};

static const struct row rows_of_resources[] = {
        { .title = "an unknown id is named by itself",
          .vendor = AMD,
          .device = 0x75a0,
          .model = "",
          .out = "amd.com/75a0",
          .warning = REASON_NAME_FALLBACK },
        { .title = "lspci's word for unknown is unknown",
          .vendor = AMD,
          .device = 0x75a0,
          .model = "Device",
          .out = "amd.com/75a0",
          .warning = REASON_NAME_FALLBACK },
        { .title = "and with its id",
          .vendor = AMD,
          .device = 0x75a0,
          .model = "Device 75a0",
          .out = "amd.com/75a0",
          .warning = REASON_NAME_FALLBACK },
        { .title = "a model without a usable character",
          .vendor = AMD,
          .device = 0x75a0,
          .model = "[]",
          .out = "amd.com/75a0",
          .warning = REASON_NAME_FALLBACK },
        { .title = "the alias table of Hikube",
          .vendor = NVIDIA,
          .device = 0x2321,
          .model = "GH100 [H100L 94GB]",
          .out = "nvidia.com/H100_94GB" },
        { .title = "a rule's alias goes first",
          .vendor = NVIDIA,
          .device = 0x2321,
          .model = "GH100 [H100L 94GB]",
          .alias = "big",
          .out = "nvidia.com/big" },
        { .title = "a rule's whole name goes before all",
          .vendor = NVIDIA,
          .device = 0x2321,
          .model = "GH100 [H100L 94GB]",
          .alias = "big",
          .prefix = "example.org",
          .resource = "acme.example/gpu",
          .out = "acme.example/gpu" },
        { .title = "a rule's prefix",
          .vendor = NVIDIA,
          .device = 0x26b9,
          .model = "AD102GL [L40S]",
          .prefix = "example.org",
          .out = "example.org/AD102GL_L40S" },
        { .title = "a vendor without prefix",
          .vendor = 0x1234,
          .device = 0x1111,
          .model = "QEMU [Virtual]",
          .out = "",
          .reason = REASON_UNKNOWN_VENDOR },
        { .title = "a vendor with a rule's prefix",
          .vendor = 0x1234,
          .device = 0x1111,
          .model = "QEMU [Virtual]",
          .prefix = "example.org",
          .out = "example.org/QEMU_VIRTUAL" },
        { .title = "a bad name in a rule",
          .vendor = NVIDIA,
          .device = 0x26b9,
          .model = "AD102GL [L40S]",
          .resource = "NVIDIA.com/gpu",
          .out = "",
          .reason = REASON_NAME_INVALID },
        { .title = "a bad alias in a rule",
          .vendor = NVIDIA,
          .device = 0x26b9,
          .model = "AD102GL [L40S]",
          .alias = "-x",
          .out = "",
          .reason = REASON_NAME_INVALID },
        { .title = "an end that Kubernetes refuses",
          .vendor = NVIDIA,
          .device = 0x24ba,
          .model = "GA104 [RTX A4500 Embedded GPU ]",
          .out = "nvidia.com/GA104_RTX_A4500_EMBEDDED_GPU" },
        { .title = "a name that is too long",
          .vendor = NVIDIA,
          .device = 0x1234,
          .model = "GA999 [Very Long Name Of A Board Which Nobody Could Ever Want To Type Into A Manifest]",
          .out = "nvidia.com/GA999_VERY_LONG_NAME_OF_A_BOARD_WHICH_NOBODY_COULD_EVE_C010282F",
          .warning = REASON_NAME_SHORTENED },
        { .title = "a VF by VFIO is named by its own id",
          .vendor = AMD,
          .device = 0x74b5,
          .kind = DEVICE_VF,
          .model = "Aqua Vanjaram [Instinct MI300X VF]",
          .out = "amd.com/AQUA_VANJARAM_INSTINCT_MI300X_VF" },
        { .title = "an mdev instance by its profile",
          .vendor = NVIDIA,
          .device = 0x1eb8,
          .kind = DEVICE_VGPU_MDEV,
          .model = "TU104GL [Tesla T4]",
          .profile = "GRID T4-1Q",
          .out = "nvidia.com/GRID_T4-1Q" },
        { .title = "without the brand",
          .vendor = NVIDIA,
          .device = 0x20f1,
          .kind = DEVICE_VGPU_MDEV,
          .name_rule = NAME_STRIP_BRAND,
          .model = "GA100 [A100 PCIe 40GB]",
          .profile = "NVIDIA A100-40C",
          .out = "nvidia.com/A100-40C" },
        { .title = "a vendor-VFIO VF by its profile",
          .vendor = NVIDIA,
          .device = 0x26b9,
          .kind = DEVICE_VGPU_VF,
          .model = "AD102GL [L40S]",
          .profile = "NVIDIA L40S-24Q",
          .vgpu_type = 1155,
          .out = "nvidia.com/NVIDIA_L40S-24Q" },
        { .title = "the alias table says nothing of vGPUs",
          .vendor = NVIDIA,
          .device = 0x2321,
          .kind = DEVICE_VGPU_VF,
          .model = "GH100 [H100L 94GB]",
          .profile = "NVIDIA H100L-94C",
          .vgpu_type = 99,
          .out = "nvidia.com/NVIDIA_H100L-94C" },
        { .title = "two unnamed types stay two names",
          .vendor = NVIDIA,
          .device = 0x26b9,
          .kind = DEVICE_VGPU_VF,
          .model = "AD102GL [L40S]",
          .profile = "",
          .vgpu_type = 7777,
          .out = "nvidia.com/26b9-7777",
          .warning = REASON_NAME_FALLBACK },
};

static void test_a_device_is_named_by_rule_alias_model_or_id(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows_of_resources); i++) {
                const struct row *row = &rows_of_resources[i];
                struct function fn = { .vendor = row->vendor, .device = row->device, .vgpu_type = row->vgpu_type };
                struct instance instance = { .group = -1 };
                struct rules rules;
                struct rule rule;
                char out[RESOURCE_MAX] = "untouched";
                enum reason warning = REASON_STUCK;

                rules_init(&rules);
                rules.name_rule = row->name_rule;
                rules.aliases = xcalloc(1, sizeof(*rules.aliases));
                rules.n_aliases = 1;
                *rules.aliases = (struct alias){ .id = { .vendor = NVIDIA, .device = 0x2321 }, .name = "H100_94GB" };
                rule_init(&rule);
                (void)str_copy(fn.model, sizeof(fn.model), row->model);
                (void)str_copy(row->kind == DEVICE_VGPU_MDEV ? instance.type_name : fn.vgpu_name, TYPE_LEN,
                               row->profile ? row->profile : "");
                (void)str_copy(rule.resource, sizeof(rule.resource), row->resource ? row->resource : "");
                (void)str_copy(rule.prefix, sizeof(rule.prefix), row->prefix ? row->prefix : "");
                (void)str_copy(rule.alias, sizeof(rule.alias), row->alias ? row->alias : "");
                enum reason reason =
                        naming_resource(&rules, &rule, &fn, row->kind == DEVICE_VGPU_MDEV ? &instance : NULL, row->kind, out, &warning);
                if (reason != row->reason || !streq(out, row->out) || warning != row->warning)
                        fail_msg("%s: '%s', %s, warning %s", row->title, out, reason_word(reason), reason_word(warning));
                rules_done(&rules);
        }
}

static void test_every_built_in_name_makes_a_valid_resource(void **state)
{
        static const uint16_t vendors[] = { NVIDIA, AMD, INTEL };
        struct rules rules;

        (void)state;
        rules_init(&rules);
        for (size_t v = 0; v < N_ELEMENTS(vendors); v++)
                for (unsigned id = 0; id <= UINT16_MAX; id++) {
                        const char *model = gpu_ids_device(vendors[v], (uint16_t)id);
                        struct function fn = { .vendor = vendors[v], .device = (uint16_t)id };
                        char out[RESOURCE_MAX];
                        enum reason warning;

                        if (!model)
                                continue;
                        (void)str_copy(fn.model, sizeof(fn.model), model);
                        assert_string_equal(fn.model, model); /* MODEL_LEN holds every name */
                        if (naming_resource(&rules, NULL, &fn, NULL, DEVICE_GPU, out, &warning) != REASON_NONE)
                                fail_msg("%04x:%04x %s", vendors[v], id, model);
                }
        rules_done(&rules);
}

struct named {
        char *variable, *resource;
};

static int by_variable(const void *a, const void *b)
{
        const struct named *x = a, *y = b;
        int r = strcmp(x->variable, y->variable);

        return r ? r : strcmp(x->resource, y->resource);
}

static size_t add_name(const struct rules *rules, const struct function *fn, enum device_kind kind, struct named *ret)
{
        char resource[RESOURCE_MAX];
        enum reason warning;

        assert_int_equal(naming_resource(rules, NULL, fn, NULL, kind, resource, &warning), REASON_NONE);
        *ret = (struct named){ .variable = naming_kubevirt_variable(resource, false), .resource = xstrdup(resource) };
        return 1;
}

/* Every name that the built-in tables can make: KubeVirt can tell all of them apart. */
static void test_no_two_built_in_names_share_a_variable(void **state)
{
        static const uint16_t vendors[] = { NVIDIA, AMD, INTEL };
        enum { IDS = 0x10000, TYPES = 3000, MODELS_MIN = 800, TYPES_MIN = 50, NAMES_MAX = 2000 };
        _cleanup_free_ struct named *all = xcalloc(NAMES_MAX, sizeof(*all));

        (void)state;
        for (enum name_rule rule = NAME_DEFAULT; rule <= NAME_STRIP_BRAND; rule++) {
                _cleanup_(rules_done) struct rules rules;
                size_t n = 0, n_models = 0, n_types = 0;

                rules_init(&rules);
                rules.name_rule = rule;
                for (unsigned i = 0; i < N_ELEMENTS(vendors) * IDS; i++) {
                        struct function fn = { .vendor = vendors[i / IDS], .device = (uint16_t)i };
                        const char *name = gpu_ids_device(fn.vendor, fn.device);

                        if (!name)
                                continue;
                        n_models++;
                        assert_true(n + TYPES_MIN * 2 < NAMES_MAX);
                        (void)str_copy(fn.model, sizeof(fn.model), name);
                        n += add_name(&rules, &fn, DEVICE_GPU, &all[n]);
                        for (fn.vgpu_type = 1; fn.vendor == NVIDIA && fn.vgpu_type < TYPES; fn.vgpu_type++) {
                                const char *type = gpu_ids_vgpu_type(fn.device, fn.vgpu_type);
                                if (!type)
                                        continue;
                                (void)str_copy(fn.vgpu_name, sizeof(fn.vgpu_name), type);
                                n += add_name(&rules, &fn, DEVICE_VGPU_VF, &all[n]);
                                n_types++;
                        }
                }
                assert_true(n_models >= MODELS_MIN && n_types >= TYPES_MIN);
                qsort(all, n, sizeof(*all), by_variable);
                for (size_t i = 1; i < n; i++)
                        if (streq(all[i].variable, all[i - 1].variable) && !streq(all[i].resource, all[i - 1].resource))
                                fail_msg("%s and %s are one variable, %s", all[i - 1].resource, all[i].resource, all[i].variable);
                for (size_t i = 0; i < n; i++) {
                        free(all[i].variable);
                        free(all[i].resource);
                }
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_built_in_ids_have_their_known_slugs),
                TEST(test_a_slug_follows_the_rule_to_the_letter),
                TEST(test_a_profile_keeps_its_case_and_hyphens),
                TEST(test_the_names_that_cozystack_expects_are_made),
                TEST(test_resource_names_are_those_that_kubernetes_takes),
                TEST(test_a_long_name_part_is_cut_and_told_apart),
                TEST(test_the_variable_is_the_one_that_kubevirt_looks_for),
                TEST(test_no_two_built_in_names_share_a_variable),
                TEST(test_prefixes_belong_to_three_vendors),
                TEST(test_a_device_is_named_by_rule_alias_model_or_id),
                TEST(test_every_built_in_name_makes_a_valid_resource),
        };

        return RUN(tests);
}

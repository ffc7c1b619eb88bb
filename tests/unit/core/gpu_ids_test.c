/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "core/gpu_ids.h"

/* The generated table, seen from inside. */
struct device_name {
        uint16_t device, at;
};
struct vendor_names {
        uint16_t vendor;
        const char *name;
        const struct device_name *devices;
        size_t n_devices;
};
#include "core/gpu_ids_table.inc"

static void test_each_section_is_sorted_and_its_names_are_whole(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(vendors); i++) {
                assert_true(vendors[i].n_devices > 100);
                for (size_t k = 0; k < vendors[i].n_devices; k++) {
                        const struct device_name *d = &vendors[i].devices[k];

                        if (k > 0)
                                assert_true(d[-1].device < d->device);
                        assert_true(d->at == 0 || name_text[d->at - 1] == '\0');
                        assert_ptr_not_equal(gpu_ids_device(vendors[i].vendor, d->device), NULL);
                        assert_string_equal(gpu_ids_device(vendors[i].vendor, d->device), name_text + d->at);
                        assert_true(str_is_utf8(name_text + d->at, strlen(name_text + d->at)));
                        assert_true(name_text[d->at] != '\0');
                }
        }
}

static void test_a_look_up_stays_in_its_vendors_section(void **state)
{
        (void)state;
        assert_string_equal(gpu_ids_device(0x10de, 0x2335), "GH100 [H200 SXM 141GB]");
        assert_null(gpu_ids_device(0x8086, 0x2335)); /* an USB controller of Intel's */
        assert_null(gpu_ids_device(0x8086, 0x2330));
        assert_null(gpu_ids_device(0x1002, 0x26b9));
        assert_null(gpu_ids_device(0x1a03, 0x2000));
        assert_null(gpu_ids_device(0x10de, 0x0000));
        assert_null(gpu_ids_device(0x10de, 0xffff));
}

static void test_companions_are_no_gpus_and_unknown_ids_are_not_invented(void **state)
{
        static const struct {
                uint16_t vendor, device;
        } absent[] = {
                { 0x10de, 0x1aef }, { 0x10de, 0x10f7 }, { 0x10de, 0x1ad6 }, { 0x10de, 0x1ad7 }, { 0x10de, 0x22ba }, { 0x1002, 0x75a0 },
                { 0x1002, 0x75b0 }, { 0x1002, 0x75a3 }, { 0x1002, 0x75b3 }, { 0x1002, 0x7410 }, { 0x1002, 0x74b6 },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(absent); i++)
                if (gpu_ids_device(absent[i].vendor, absent[i].device))
                        fail_msg("%04x:%04x", absent[i].vendor, absent[i].device);
}

static void test_vendors_are_named(void **state)
{
        (void)state;
        assert_string_equal(gpu_ids_vendor(0x10de), "NVIDIA Corporation");
        assert_string_equal(gpu_ids_vendor(0x1002), "Advanced Micro Devices, Inc. [AMD/ATI]");
        assert_string_equal(gpu_ids_vendor(0x8086), "Intel Corporation");
        assert_null(gpu_ids_vendor(0x1a03));
}

static void test_vgpu_types_belong_to_one_board(void **state)
{
        static const struct {
                uint16_t device;
                uint32_t type;
                const char *name;
        } rows[] = {
                { 0x26b9, 1145, "NVIDIA L40S-1B" },
                { 0x26b9, 1155, "NVIDIA L40S-24Q" },
                { 0x26b9, 1156, "NVIDIA L40S-48Q" },
                { 0x26b9, 1157, "NVIDIA L40S-1A" },
                { 0x26b9, 1166, "NVIDIA L40S-48A" },
                { 0x26b9, 2164, "NVIDIA L40S-3B" },
                { 0x26b9, 1167, NULL },
                { 0x26b9, 0, NULL },
                { 0x26b5, 1155, NULL },
                { 0x20f1, 473, "NVIDIA A100-40C" },
                { 0x20f1, 706, "NVIDIA A100-1-5CME" },
                { 0x1eb8, 222, "GRID T4-1B" },
                { 0x1eb8, 252, "GRID T4-1B4" },
                { 0x1eb8, 321, "GRID T4-16C" },
                { 0x2236, 594, "NVIDIA A10-6Q" },
                { 0x2235, 566, "NVIDIA A40-48Q" },
                { 0x2bb5, 1519, "NVIDIA RTX Pro 6000 Blackwell DC-3Q" },
                { 0x2335, 1428, "NVIDIA H200X-141C" },
                { 0x26b9, 1155 + 65536, NULL },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                const char *name = gpu_ids_vgpu_type(rows[i].device, rows[i].type);

                if (!rows[i].name != !name || (name && !streq(name, rows[i].name)))
                        fail_msg("%04x type %u is %s", rows[i].device, (unsigned)rows[i].type, name ? name : "unknown");
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_each_section_is_sorted_and_its_names_are_whole),
                TEST(test_a_look_up_stays_in_its_vendors_section),
                TEST(test_companions_are_no_gpus_and_unknown_ids_are_not_invented),
                TEST(test_vendors_are_named),
                TEST(test_vgpu_types_belong_to_one_board),
        };

        return RUN(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/device.h"

static void test_every_value_has_its_word(void **state)
{
        (void)state;
        assert_string_equal(device_kind_name(DEVICE_GPU), "gpu");
        assert_string_equal(device_kind_name(DEVICE_VF), "vf");
        assert_string_equal(device_kind_name(DEVICE_VGPU_VF), "vgpu-vf");
        assert_string_equal(device_kind_name(DEVICE_VGPU_MDEV), "vgpu-mdev");
        assert_string_equal(device_mode_name(MODE_VFIO), "vfio");
        assert_string_equal(bind_policy_name(BIND_NEVER), "never");
        assert_string_equal(bind_policy_name(BIND_ON_ALLOCATE), "on-allocate");
        assert_string_equal(bind_policy_name(BIND_AT_START), "at-start");
        assert_string_equal(device_state_name(DEVICE_WITHHELD), "withheld");
        assert_string_equal(device_state_name(DEVICE_HEALTHY), "healthy");
        assert_string_equal(device_state_name(DEVICE_UNHEALTHY), "unhealthy");
}

int main(void)
{
        static const struct CMUnitTest tests[] = { TEST(test_every_value_has_its_word) };

        return RUN(tests);
}

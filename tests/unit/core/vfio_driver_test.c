/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/vfio_driver.h"
#include "world.h"

#define GENERIC "variant vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
#define GPU     "0000:3b:00.0 10de:2342 0302 nvidia"

static void test_the_alias_with_the_fewest_wildcards_names_the_driver(void **state)
{
        static const struct {
                const char *title, *host, *driver;
                bool registered;
        } rows[] = {
                { "no module tree", GPU, "vfio-pci", true },
                { "vfio_pci is every device's", GPU "\n" GENERIC, "vfio-pci", true },
                { "vfio-pci is not registered", GPU "\n!vfio-pci\n" GENERIC, "vfio-pci", false },
                { "one made for it",
                  GPU "\n" GENERIC "variant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci nvgrace-gpu-vfio-pci",
                  "nvgrace-gpu-vfio-pci", true },
                { "one made for it, not loaded", GPU "\n" GENERIC "variant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci",
                  "nvgrace_gpu_vfio_pci", false },
                { "one made for another",
                  GPU "\n" GENERIC "variant vfio_pci:v000010DEd00002348sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci x_vfio_pci", "vfio-pci", true },
                { "of another vendor", GPU "\n" GENERIC "variant vfio_pci:v00008086d00002342sv*sd*bc*sc*i* y y", "vfio-pci", true },
                { "the narrowest, wherever it stands",
                  GPU "\nvariant vfio_pci:v000010DEd*sv*sd*bc*sc*i* a_vfio_pci a_vfio_pci\n"
                      "variant vfio_pci:v000010DEd00002342sv*sd*bc03sc02i* z_vfio_pci z_vfio_pci\n"
                      "variant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* b_vfio_pci b_vfio_pci\n" GENERIC,
                  "z_vfio_pci", true },
                { "equals: the first name",
                  GPU "\nvariant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* b_vfio_pci b_vfio_pci\n"
                      "variant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* a_vfio_pci a_vfio_pci",
                  "a_vfio_pci", true },
                { "another class", GPU "\nvariant vfio_pci:v000010DEd00002342sv*sd*bc03sc00i* z_vfio_pci z_vfio_pci", "vfio-pci", true },
                { "an override chooses", GPU " override=vfio-pci\nvariant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* a_vfio_pci a_vfio_pci",
                  "vfio-pci", true },
                { "but only among VFIO drivers",
                  GPU " override=nvidia\nvariant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* a_vfio_pci a_vfio_pci", "a_vfio_pci", true },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                _cleanup_inventory_ struct inventory *inv = world_host(rows[i].host);
                char driver[DRIVER_LEN];
                bool registered = vfio_driver_pick(inv, &inv->functions[0], driver);

                if (!streq(driver, rows[i].driver) || registered != rows[i].registered)
                        fail_msg("%s: %s %d instead of %s %d", rows[i].title, driver, registered, rows[i].driver, rows[i].registered);
        }
}

static void test_vfio_drivers_are_known_by_name(void **state)
{
        static const char *const yes[] = { "vfio-pci", "nvgrace_gpu_vfio_pci", "mlx5_vfio_pci", "hisi_acc_vfio_pci", "pds-vfio-pci" };
        static const char *const no[] = { "", "nvidia", "vfio", "vfio-platform", "pci-stub" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(yes); i++)
                assert_true(vfio_driver_is(yes[i]));
        for (size_t i = 0; i < N_ELEMENTS(no); i++)
                assert_false(vfio_driver_is(no[i]));
        assert_true(vfio_driver_same("vfio-pci", "vfio_pci"));
        assert_false(vfio_driver_same("vfio-pci", "vfio-pc"));
        assert_false(vfio_driver_same("vfio-pc", "vfio-pci"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_alias_with_the_fewest_wildcards_names_the_driver),
                TEST(test_vfio_drivers_are_known_by_name),
        };

        return RUN(tests);
}

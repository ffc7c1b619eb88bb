/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/str.h"
#include "fixture.h"
#include "host/owner.h"

#define DRIVERCTL "etc/driverctl.d/pci-0000:3b:00.0"
#define RULE      "etc/udev/rules.d/10-gpu.rules"

static void test_who_set_an_override_is_told_by_a_managers_own_record(void **state)
{
        static const struct {
                const char *title, *path, *text, *owner;
        } rows[] = {
                { "nobody that is known", NULL, NULL, "" },
                { "driverctl", DRIVERCTL, "pci-stub\n", "driverctl (/" DRIVERCTL ")" },
                { "driverctl meant another driver", DRIVERCTL, "nvidia\n", "" },
                { "driverctl meant another device", "etc/driverctl.d/pci-0000:3c:00.0", "pci-stub\n", "" },
                { "a rule for this device", RULE, "# x\nACTION==\"add\", KERNEL==\"0000:3b:00.0\", ATTR{driver_override}=\"pci-stub\"\n",
                  "a udev rule (/" RULE ")" },
                { "a rule for any device", RULE, "SUBSYSTEM==\"pci\", ATTR{vendor}==\"0x10de\", ATTR{driver_override}=\"pci-stub\"\n",
                  "a udev rule (/" RULE ")" },
                { "a rule for another device", RULE, "KERNEL==\"0000:3c:00.0\", ATTR{driver_override}=\"pci-stub\"\n", "" },
                { "a rule for another driver", RULE, "ATTR{driver_override}=\"vfio-pci\"\n", "" },
                { "a comment", RULE, "  # ATTR{driver_override}=\"pci-stub\"\n", "" },
                { "no rules file", "etc/udev/rules.d/10-gpu.rules.off", "ATTR{driver_override}=\"pci-stub\"\n", "" },
                { "the system's own rules", "usr/lib/udev/rules.d/70-x.rules", "ATTR{driver_override}=\"pci-stub\"\n",
                  "a udev rule (/usr/lib/udev/rules.d/70-x.rules)" },
        };
        const struct function fn = { .bdf = { .bus = 0x3b }, .override_known = true, .driver_override = "pci-stub" };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct fixture f;
                char owner[OWNER_LEN];

                fixture_make(&f);
                if (rows[i].path)
                        fixture_file(&f, rows[i].path, rows[i].text);
                owner_find(f.dir, &fn, owner, sizeof(owner));
                if (!streq(owner, rows[i].owner))
                        fail_msg("%s: '%s'", rows[i].title, owner);
                fixture_done(&f);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_who_set_an_override_is_told_by_a_managers_own_record),
        };

        return RUN(tests);
}

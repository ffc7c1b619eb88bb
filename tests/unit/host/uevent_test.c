/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "host/uevent.h"

#define MESSAGE(s) s, sizeof(s) - 1
/* "\0" before a digit would read on as an octal number: every field is a string of its own. */
#define Z "\0"

static void test_messages_of_the_kernel_become_values(void **state)
{
        static const struct {
                const char *message;
                size_t n;
                bool matters;
                const char *text; /* NULL: no message */
        } rows[] = {
                { MESSAGE("bind@/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0" Z "ACTION=bind" Z
                          "DEVPATH=/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0" Z "SUBSYSTEM=pci" Z "DRIVER=vfio-pci" Z
                          "PCI_CLASS=30200" Z "PCI_ID=10DE:26B9" Z "PCI_SLOT_NAME=0000:3b:00.0" Z "SEQNUM=4711" Z),
                  true, "bind pci 0000:3b:00.0" },
                { MESSAGE("remove@/devices/virtual/vfio/45" Z "ACTION=remove" Z "SUBSYSTEM=vfio" Z "MAJOR=240" Z "DEVNAME=vfio/45" Z), true,
                  "remove vfio 45" },
                { MESSAGE("add@/devices/pci0000:3a/0000:3b:00.0/vfio-dev/vfio7" Z "SUBSYSTEM=vfio-dev" Z), true, "add vfio-dev vfio7" },
                { MESSAGE("add@/bus/pci/drivers/vfio-pci" Z "SUBSYSTEM=drivers" Z), true, "add drivers vfio-pci" },
                { MESSAGE("add@/bus/usb/drivers/hub" Z "SUBSYSTEM=drivers" Z), false, "add drivers hub" },
                { MESSAGE("add@/devices/pci0000:3a/0000:3b:00.0/a1b2" Z "SUBSYSTEM=mdev" Z), true, "add mdev a1b2" },
                { MESSAGE("change@/devices/pci0000:3a/0000:3a:00.0" Z "SUBSYSTEM=pci" Z "ERROR_EVENT=BEGIN_RECOVERY" Z "DEVICE_ONLINE=0" Z
                          "PCI_SLOT_NAME=0000:3a:00.0" Z),
                  true, "change pci 0000:3a:00.0 BEGIN_RECOVERY" },
                { MESSAGE("add@/devices/virtual/net/lo" Z "SUBSYSTEM=net" Z), false, "add net lo" },
                { MESSAGE("add@/devices/x" Z "XSUBSYSTEM=pci" Z "SUBSYSTEMS=pci" Z), false, "add  x" },
                { MESSAGE("add@/devices/x" Z "SUBSYSTEM=pcie" Z), false, "add pcie x" },
                { MESSAGE("add@/devices/x" Z "SUBSYSTEM=pci"), true, "add pci x" }, /* no NUL at the end */
                { MESSAGE("add@/devices/x" Z Z Z "SUBSYSTEM=pci" Z Z), true, "add pci x" },
                { MESSAGE("add@/devices/\x1b[31m\xff" Z "SUBSYSTEM=pci" Z), true, "add pci ?[31m?" },
                { MESSAGE("an-action-that-is-longer-than-any@/x" Z "SUBSYSTEM=pci" Z), true, "an-action-that- pci x" },
                { MESSAGE("libudev" Z "\xfe\xed\xca\xfe" Z "(...) SUBSYSTEM=pci" Z), false, NULL },
                { MESSAGE("@/devices/x" Z "SUBSYSTEM=pci" Z), false, NULL },
                { MESSAGE("add@devices/x" Z), false, NULL },
                { MESSAGE("add" Z "SUBSYSTEM=pci" Z), false, NULL },
                { MESSAGE(Z "add@/devices/x" Z), false, NULL },
                { MESSAGE(Z), false, NULL },
                { MESSAGE(""), false, NULL },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct uevent event = { .action = "untouched" };
                char text[512];
                /* A copy of just this size: a read beyond its end is seen by the sanitizer. */
                char *message = malloc(rows[i].n ? rows[i].n : 1);
                assert_non_null(message);
                memcpy(message, rows[i].message, rows[i].n);
                bool ok = uevent_parse(message, rows[i].n, &event);
                free(message);
                if (ok != (rows[i].text != NULL))
                        fail_msg("row %zu", i);
                if (!ok) {
                        assert_string_equal(event.action, "untouched");
                        continue;
                }
                uevent_describe(&event, text, sizeof(text));
                assert_string_equal(text, rows[i].text);
                assert_int_equal(uevent_matters(&event), rows[i].matters);
        }
}

static void test_a_message_of_any_length_is_read_within_its_bounds(void **state)
{
        char message[4096];

        (void)state;
        memset(message, 'x', sizeof(message));
        memcpy(message, "add@/", 5);
        memcpy(message + 2000, "\0SUBSYSTEM=pci", 15);
        for (size_t n = 0; n <= sizeof(message); n++) {
                struct uevent event;
                bool ok = uevent_parse(message, n, &event);
                assert_int_equal(ok, n >= 5);
                if (n == 2015)
                        assert_true(uevent_matters(&event));
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_messages_of_the_kernel_become_values),
                TEST(test_a_message_of_any_length_is_read_within_its_bounds),
        };

        return RUN(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "host/uevent.h"

#include "base/str.h"

enum { FIELD_MAX = 512 };

/* Copies the string at @at, which ends at a NUL or at @n, and returns where the next one begins. */
static size_t next_field(const char *message, size_t n, size_t at, char out[static FIELD_MAX])
{
        size_t len = strnlen(message + at, n - at), keep = len < FIELD_MAX ? len : FIELD_MAX - 1;

        memcpy(out, message + at, keep);
        out[keep] = '\0';
        return at + len + 1;
}

static void take(const char *field, const char *key, char *out, size_t size)
{
        size_t n = strlen(key);

        if (strncmp(field, key, n) == 0 && field[n] == '=')
                str_clean(out, size, field + n + 1);
}

bool uevent_parse(const char *message, size_t n, struct uevent *ret)
{
        struct uevent event = { 0 };
        char field[FIELD_MAX];

        if (n == 0)
                return false;
        size_t at = next_field(message, n, 0, field);
        char *path = strchr(field, '@');
        if (!path || path == field || path[1] != '/' || streq(field, "libudev"))
                return false;
        *path++ = '\0';
        str_clean(event.action, sizeof(event.action), field);
        str_clean(event.devpath, sizeof(event.devpath), path);
        while (at < n) {
                at = next_field(message, n, at, field);
                take(field, "SUBSYSTEM", event.subsystem, sizeof(event.subsystem));
                take(field, "PCI_SLOT_NAME", event.slot, sizeof(event.slot));
                take(field, "ERROR_EVENT", event.error, sizeof(event.error));
        }
        *ret = event;
        return true;
}

bool uevent_matters(const struct uevent *event)
{
        static const char *const subsystems[] = { "pci", "vfio", "vfio-dev", "mdev", "iommu" };

        for (size_t i = 0; i < N_ELEMENTS(subsystems); i++)
                if (streq(event->subsystem, subsystems[i]))
                        return true;
        return streq(event->subsystem, "drivers") && str_has_prefix(event->devpath, "/bus/pci/drivers/");
}

void uevent_describe(const struct uevent *event, char *out, size_t size)
{
        const char *slash = strrchr(event->devpath, '/');
        const char *what = *event->slot ? event->slot : slash ? slash + 1 : event->devpath;

        str_format(out, size, "%s %s %s%s%s", event->action, event->subsystem, what, *event->error ? " " : "", event->error);
}

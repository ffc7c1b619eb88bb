/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the uevent socket: whatever arrives, what comes out is clean text. */
#include <stdint.h>
#include <stdlib.h>

#include "base/str.h"
#include "host/uevent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct uevent event;
        char text[512];

        if (!uevent_parse((const char *)data, size, &event))
                return 0;
        (void)uevent_matters(&event);
        uevent_describe(&event, text, sizeof(text));
        if (!*event.devpath || !str_is_utf8(text, strlen(text)))
                abort();
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: whatever the bytes are, there is a configuration that prints and parses again, or a problem. */
#include <stdint.h>
#include <stdlib.h>

#include "base/str.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL, *again = NULL;

        if (config_parse("fuzz", (const char *)data, size, &config, &problems) < 0) {
                if (!problems.len || config)
                        abort();
                return 0;
        }
        _cleanup_free_ char *text = config_print(config);
        if (config_parse("again", text, strlen(text), &again, &problems) < 0)
                abort();
        config_free(config);
        config_free(again);
        return 0;
}

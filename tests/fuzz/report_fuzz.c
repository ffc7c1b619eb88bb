/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon receives from workers and the zygote, and what the zygote is greeted with: the first byte says which. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "hands/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

/* At @data and, filled up with zeros, at @whole: a text that passes ends inside its buffer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        union {
                struct report report;
                struct wire_worker worker;
                struct wire_hello hello;
        } whole;
        struct err err = { 0 };

        if (size == 0)
                return 0;
        uint8_t which = data[0];
        data++, size--;
        memset(&whole, 0, sizeof(whole));
        memcpy(&whole, data, size < sizeof(whole) ? size : sizeof(whole));
        (void)wire_report_valid(data, size, 9, &err);
        (void)wire_worker_valid(data, size, &err);
        (void)wire_hello_valid(data, size, &err);
        if (which % 3 == 0 && wire_report_valid(&whole.report, sizeof(whole.report), 9, &err) == 0) {
                check(*reason_word(whole.report.reason) || whole.report.reason == REASON_NONE);
                check(strnlen(whole.report.text, sizeof(whole.report.text)) < sizeof(whole.report.text));
                check(whole.report.kind != REPORT_END || !streq(plan_end_name(whole.report.end), "?"));
        }
        if (which % 3 == 1 && wire_worker_valid(&whole.worker, sizeof(whole.worker), &err) == 0)
                check(strnlen(whole.worker.text, sizeof(whole.worker.text)) < sizeof(whole.worker.text));
        if (which % 3 == 2 && wire_hello_valid(&whole.hello, sizeof(whole.hello), &err) == 0)
                check(*whole.hello.lock_dir && strlen(whole.hello.sim_dir) < sizeof(whole.hello.sim_dir));
        return 0;
}

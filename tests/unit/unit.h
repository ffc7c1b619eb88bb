/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes first: cmocka's include order and our assertions. */
#ifndef SLUICE_TESTS_UNIT_H
#define SLUICE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* @expr returns 0 or -errno and filled @err. */
#define ASSERT_OK(expr, err)                                           \
        do {                                                           \
                int _r = (expr);                                       \
                if (_r < 0)                                            \
                        fail_msg("%s: %d: %s", #expr, _r, (err)->msg); \
        } while (0)

#define TEST(name) cmocka_unit_test(name)
/* CASE in the environment: that test alone (with wildcards: those). */
#define RUN(tests) (cmocka_set_test_filter(getenv("CASE")), cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL))

#endif

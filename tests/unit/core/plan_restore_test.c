/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>

#include "core/plan.h"
#include "world.h"

#define GPU_A   "0000:3b:00.0 10de:26b9 0302 "
#define GPU_B   "0000:5e:00.0 10de:26b9 0302 "
#define DESKTOP "0000:01:00.0 10de:2204 0300 "
#define AUDIO   "0000:01:00.1 10de:1aef 0403 "
#define DRIVERS "driver nvidia\ndriver snd_hda_intel\n"

#define STILL(bdf, id)      "need " bdf " to be " id " still\n"
#define IDLE(bdf)           "need nobody to have " bdf " open\n"
#define ON(bdf, driver)     "wait until " bdf " is on " driver "\n"
#define CLEAR(bdf)          "set driver_override of " bdf " to nothing\n"
#define UNBIND(bdf)         "unbind " bdf " from vfio-pci\n"
#define CONTROL(bdf, value) "set power/control of " bdf " to " value "\n"
#define D3COLD(bdf, value)  "set d3cold_allowed of " bdf " to " value "\n"
#define BACK(bdf, to)       "probe drivers for " bdf "\nwait until " bdf " is on " to "\n"

struct row {
        const char *title, *host;
        const char *originals; /* lines: BDF DRIVER-BEFORE [option...]; options: override=X target=X id=VVVV:DDDD binding */
        const char *steps;     /* one step_describe() per line; "" = empty plan; NULL = refused */
        const char *cards;
        enum reason reason;
        const char *err; /* part of the sentence */
};

static const struct row rows[] = {
        { "a GPU goes back to its host driver", GPU_A VFIO, "0000:3b:00.0 nvidia",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") CLEAR("0000:3b:00.0") UNBIND("0000:3b:00.0")
                  BACK("0000:3b:00.0", "nvidia"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "one that had no driver gets none: it is not probed", GPU_A VFIO, "0000:3b:00.0 -",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") CLEAR("0000:3b:00.0")
                  UNBIND("0000:3b:00.0") "wait until 0000:3b:00.0 is on no driver\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "an override that was there before comes back", GPU_A VFIO, "0000:3b:00.0 nvidia override=vfio-pci",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") "set driver_override of 0000:3b:00.0 to vfio-pci\n" UNBIND("0000:3b:00.0")
                  BACK("0000:3b:00.0", "nvidia"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "the whole group leaves VFIO before a host driver comes", DESKTOP VFIO " g=7\n" AUDIO VFIO " g=7",
          "0000:01:00.1 snd_hda_intel\n0000:01:00.0 nvidia",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") STILL("0000:01:00.1", "10de:1aef") IDLE("0000:01:00.1")
                  CLEAR("0000:01:00.1") UNBIND("0000:01:00.1") CLEAR("0000:01:00.0") UNBIND("0000:01:00.0") BACK("0000:01:00.0", "nvidia")
                          BACK("0000:01:00.1", "snd_hda_intel"),
          "0000:01:00.0", REASON_NONE, NULL },
        { "a bind cut short after the unbind", GPU_A "-", "0000:3b:00.0 nvidia binding",
          STILL("0000:3b:00.0", "10de:26b9") CLEAR("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia"), "0000:3b:00.0", REASON_NONE, NULL },
        { "a bind cut short before the unbind: the lock is given back, too", GPU_A "nvidia lock", "0000:3b:00.0 nvidia binding",
          STILL("0000:3b:00.0", "10de:26b9")
                  CLEAR("0000:3b:00.0") "give NVIDIA's unbindLock of 0000:3b:00.0 back\n" ON("0000:3b:00.0", "nvidia"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "an undoing cut short: the override names the former driver", GPU_A "- override=nvidia", "0000:3b:00.0 nvidia binding",
          STILL("0000:3b:00.0", "10de:26b9") CLEAR("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia"), "0000:3b:00.0", REASON_NONE, NULL },
        { "an undoing cut short when the driver is back", GPU_A "nvidia override=nvidia", "0000:3b:00.0 nvidia binding",
          STILL("0000:3b:00.0", "10de:26b9") CLEAR("0000:3b:00.0") ON("0000:3b:00.0", "nvidia"), "0000:3b:00.0", REASON_NONE, NULL },
        { "nobody was undoing: the override is somebody's", GPU_A VFIO " override=nvidia", "0000:3b:00.0 nvidia", NULL, NULL,
          REASON_FOREIGN_OWNER, "driver_override of 0000:3b:00.0 to nvidia" },
        { "whose lock it is after that, nobody knows", GPU_A "nvidia lock", "0000:3b:00.0 nvidia",
          STILL("0000:3b:00.0", "10de:26b9") CLEAR("0000:3b:00.0"), "0000:3b:00.0", REASON_NONE, NULL },
        { "a bind cut short between GPU and companion", DESKTOP VFIO " g=7\n" AUDIO "snd_hda_intel g=7",
          "0000:01:00.0 nvidia binding\n0000:01:00.1 snd_hda_intel binding",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") STILL("0000:01:00.1", "10de:1aef") CLEAR("0000:01:00.1")
                  CLEAR("0000:01:00.0") UNBIND("0000:01:00.0") BACK("0000:01:00.0", "nvidia") ON("0000:01:00.1", "snd_hda_intel"),
          "0000:01:00.0", REASON_NONE, NULL },
        { "what it was on was VFIO: the binding is not ours", GPU_A VFIO, "0000:3b:00.0 vfio-pci", STILL("0000:3b:00.0", "10de:26b9"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "gone: nothing to give back", GPU_B VFIO, "0000:3b:00.0 nvidia", "", "", REASON_NONE, NULL },
        { "of two cards", GPU_A VFIO "\n" GPU_B "-", "0000:5e:00.0 nvidia\n0000:3b:00.0 nvidia",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") STILL("0000:5e:00.0", "10de:26b9") CLEAR("0000:5e:00.0")
                  CLEAR("0000:3b:00.0") UNBIND("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia") BACK("0000:5e:00.0", "nvidia"),
          "0000:3b:00.0 0000:5e:00.0", REASON_NONE, NULL },

        { "power goes back before the driver does", GPU_A VFIO, "0000:3b:00.0 nvidia power=auto/1",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") CONTROL("0000:3b:00.0", "auto") D3COLD("0000:3b:00.0", "1")
                  CLEAR("0000:3b:00.0") UNBIND("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "a bind with power cut short: the driver that it lost has written to power/control", GPU_A "-",
          "0000:3b:00.0 nvidia power=auto/1 binding",
          STILL("0000:3b:00.0", "10de:26b9") D3COLD("0000:3b:00.0", "1") CLEAR("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia"),
          "0000:3b:00.0", REASON_NONE, NULL },
        { "what Sluice did not bind stays on VFIO, with its power back", GPU_A VFIO, "0000:3b:00.0 " VFIO " power=auto/1",
          STILL("0000:3b:00.0", "10de:26b9") CONTROL("0000:3b:00.0", "auto") D3COLD("0000:3b:00.0", "1"), "0000:3b:00.0", REASON_NONE,
          NULL },
        { "another card is in the slot", GPU_A VFIO, "0000:3b:00.0 nvidia id=10de:2335", NULL, NULL, REASON_IDENTITY,
          "0000:3b:00.0 is now 10de:26b9" },
        { "the same card of another maker", GPU_A VFIO, "0000:3b:00.0 nvidia subsystem=1028:1851", NULL, NULL, REASON_IDENTITY,
          "subsystem 0000:0000" },
        { "somebody took it to another driver", GPU_A "nouveau", "0000:3b:00.0 nvidia", NULL, NULL, REASON_TAKEN_OVER,
          "0000:3b:00.0 was bound to vfio-pci by Sluice and is on nouveau now" },
        { "somebody took it from having none", GPU_A "nvidia", "0000:3b:00.0 -", NULL, NULL, REASON_TAKEN_OVER, "on nvidia now" },
        { "somebody took it to another VFIO driver", GPU_A "nvgrace_gpu_vfio_pci", "0000:3b:00.0 nvidia", NULL, NULL, REASON_TAKEN_OVER,
          "nvgrace_gpu_vfio_pci" },
        { "somebody set another override", GPU_A VFIO " override=pci-stub", "0000:3b:00.0 nvidia", NULL, NULL, REASON_FOREIGN_OWNER,
          "driver_override of 0000:3b:00.0 to pci-stub" },
        { "the former driver has gone", GPU_A VFIO, "0000:3b:00.0 amdgpu", NULL, NULL, REASON_FORMER_DRIVER, "was on amdgpu before" },
        { "one of two cannot be: neither is planned", GPU_A VFIO "\n" GPU_B "nouveau", "0000:3b:00.0 nvidia\n0000:5e:00.0 nvidia", NULL,
          NULL, REASON_TAKEN_OVER, "0000:5e:00.0" },
};

static void read_original(const struct inventory *inv, char *line, struct original *ret)
{
        char *save, *address = strtok_r(line, " ", &save), *driver = strtok_r(NULL, " ", &save);
        struct id_pattern id;
        const char *value;

        *ret = (struct original){ .state = ORIGINAL_BOUND, .target = VFIO };
        assert_true(bdf_parse(address, &ret->bdf));
        const struct function *fn = inventory_function(inv, ret->bdf);
        if (fn) {
                ret->card = card_of(fn);
                ret->vendor = fn->vendor;
                ret->device = fn->device;
        }
        str_format(ret->driver, sizeof(ret->driver), "%s", streq(driver, "-") ? "" : driver);
        for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save))
                if (option(word, "override=", &value)) {
                        str_format(ret->driver_override, sizeof(ret->driver_override), "%s", value);
                } else if (option(word, "id=", &value)) {
                        assert_true(id_pattern_parse(value, &id));
                        ret->vendor = id.vendor;
                        ret->device = id.device;
                } else if (option(word, "subsystem=", &value)) {
                        assert_true(id_pattern_parse(value, &id));
                        ret->subvendor = id.vendor;
                        ret->subdevice = id.device;
                } else if (option(word, "power=", &value)) { /* CONTROL/D3COLD */
                        str_format(ret->power_control, sizeof(ret->power_control), "%.*s", (int)strcspn(value, "/"), value);
                        (void)str_copy(ret->d3cold_allowed, sizeof(ret->d3cold_allowed), strchr(value, '/') + 1);
                } else if (option(word, "reset=", &value)) { /* '+' for a blank */
                        (void)str_copy(ret->reset_methods, sizeof(ret->reset_methods), value);
                        unplus(ret->reset_methods);
                } else if (streq(word, "binding")) {
                        ret->state = ORIGINAL_BINDING;
                } else {
                        fail_msg("the test's original has an unknown option '%s'", word);
                }
}

/* Every plan asks once who hangs, before it changes anything; the rows do not say so. */
static void check_wedged_guard(const struct plan *plan)
{
        unsigned n = 0;

        for (uint32_t i = 0; i < plan->n_steps; i++) {
                n += plan->steps[i].kind == STEP_GUARD_WEDGED;
                if (n == 0)
                        assert_true(plan->steps[i].kind < STEP_GUARD_WEDGED);
        }
        assert_int_equal(n, plan->n_steps > 0);
}

static char *render(const struct plan *plan)
{
        struct strbuf b = { 0 };
        char line[160];

        check_wedged_guard(plan);
        strbuf_add(&b, "");
        for (uint32_t i = 0; i < plan->n_steps; i++) {
                if (plan->steps[i].kind == STEP_GUARD_WEDGED)
                        continue;
                step_describe(&plan->steps[i], line, sizeof(line));
                strbuf_addf(&b, "%s\n", line);
        }
        return strbuf_take(&b);
}

static char *render_cards(const struct plan *plan)
{
        struct strbuf b = { 0 };

        strbuf_add(&b, "");
        for (uint32_t i = 0; i < plan->n_cards; i++)
                strbuf_addf(&b, "%s" BDF_FMT, i ? " " : "", BDF_ARGS(plan->cards[i]));
        return strbuf_take(&b);
}

static void check_row(const struct row *row)
{
        _cleanup_free_ char *host = xasprintf("%s\n" DRIVERS, row->host), *text = xstrdup(row->originals);
        _cleanup_inventory_ struct inventory *inv = world_host(host);
        struct original originals[4];
        const struct original *pointers[4];
        struct plan plan = { .n_steps = 99 };
        struct err err = { 0 };
        char *save = NULL;
        size_t n = 0;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
                read_original(inv, line, &originals[n]);
                pointers[n] = &originals[n];
        }
        enum reason reason = plan_restore(inv, pointers, n, &plan, &err);
        if (reason != row->reason)
                fail_msg("%s: '%s' instead of '%s': %s", row->title, reason_word(reason), reason_word(row->reason), err.msg);
        if (!row->steps) {
                assert_int_equal(plan.n_steps, 99); /* untouched */
                if (!strstr(err.msg, row->err))
                        fail_msg("%s: '%s' does not say '%s'", row->title, err.msg, row->err);
                return;
        }
        _cleanup_free_ char *steps = render(&plan), *cards = render_cards(&plan);
        if (!streq(steps, row->steps) || !streq(cards, row->cards))
                fail_msg("%s:\n%scards %s\ninstead of\n%scards %s", row->title, steps, cards, row->steps, row->cards);
}

static void test_a_plan_gives_back_what_was_ours_and_nothing_else(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                check_row(&rows[i]);
}

/* What a foreign hand wrote after the last look is the executor's to see: the step names what it may overwrite. */
static void test_the_override_step_names_what_it_may_take_away(void **state)
{
        _cleanup_inventory_ struct inventory *inv = world_host(GPU_A VFIO "\n" DRIVERS);
        const struct original original = { .bdf = { 0, 0x3b, 0, 0 },
                                           .state = ORIGINAL_BOUND,
                                           .vendor = 0x10de,
                                           .device = 0x26b9,
                                           .driver = "nvidia",
                                           .target = VFIO },
                              *pointer = &original;
        struct plan plan;
        struct err err;

        (void)state;
        assert_int_equal(plan_restore(inv, &pointer, 1, &plan, &err), REASON_NONE);
        assert_int_equal(plan.steps[3].kind, STEP_OVERRIDE);
        assert_string_equal(plan.steps[3].text, "");
        assert_string_equal(plan.steps[3].about, VFIO);
}

static void test_more_functions_than_a_plan_holds_are_refused(void **state)
{
        _cleanup_strbuf_ struct strbuf host = { 0 };
        struct original originals[64];
        const struct original *pointers[64];
        struct plan plan = { .n_steps = 99 };
        struct err err;

        (void)state;
        strbuf_add(&host, DRIVERS);
        for (unsigned i = 0; i < 64; i++) {
                originals[i] =
                        (struct original){ .bdf = { 0, (uint8_t)(i + 1), 0, 0 }, .vendor = 0x10de, .device = 0x26b9, .target = VFIO };
                pointers[i] = &originals[i];
                strbuf_addf(&host, "0000:%02x:00.0 10de:26b9 0302 " VFIO "\n", i + 1);
        }
        _cleanup_inventory_ struct inventory *inv = world_host(host.text);
        assert_int_equal(plan_restore(inv, pointers, 32, &plan, &err), REASON_NONE);
        assert_int_equal(plan.n_cards, 32);
        plan.n_steps = 99;
        assert_int_equal(plan_restore(inv, pointers, 64, &plan, &err), REASON_PLAN_TOO_LARGE);
        assert_int_equal(plan.n_steps, 99);
        assert_non_null(strstr(err.msg, "64 functions"));
}

/* @line: an original. The plan's steps. */
static char *power_back(const char *host, const char *line)
{
        _cleanup_free_ char *text = xstrdup(line);
        _cleanup_inventory_ struct inventory *inv = world_host(host);
        struct original original;
        const struct original *pointer = &original;
        struct strbuf b = { 0 };
        struct plan plan;
        struct err err;
        char step[160];

        read_original(inv, text, &original);
        assert_int_equal(plan_settings_back(inv, &pointer, 1, &plan, &err), REASON_NONE);
        strbuf_add(&b, "");
        for (uint32_t i = 0; i < plan.n_steps; i++) {
                step_describe(&plan.steps[i], step, sizeof(step));
                strbuf_addf(&b, "%s\n", step);
        }
        assert_int_equal(plan.n_cards, plan.n_steps > 0);
        return strbuf_take(&b);
}

static void test_power_alone_is_given_back_where_the_device_is(void **state)
{
        static const struct {
                const char *host, *original, *steps;
        } cases[] = {
                { GPU_A VFIO, "0000:3b:00.0 nvidia power=auto/1",
                  STILL("0000:3b:00.0", "10de:26b9") CONTROL("0000:3b:00.0", "auto") D3COLD("0000:3b:00.0", "1") },
                { GPU_A VFIO, "0000:3b:00.0 nvidia power=/1", STILL("0000:3b:00.0", "10de:26b9") D3COLD("0000:3b:00.0", "1") },
                { GPU_A "-", "0000:3b:00.0 nvidia power=auto/1", STILL("0000:3b:00.0", "10de:26b9") D3COLD("0000:3b:00.0", "1") },
                { GPU_A VFIO, "0000:3b:00.0 nvidia", "" },
                { GPU_A VFIO " reset=flr", "0000:3b:00.0 nvidia reset=pm+flr",
                  STILL("0000:3b:00.0", "10de:26b9") "set reset_method of 0000:3b:00.0 to pm flr\n" },
                { GPU_A VFIO " reset=pm+flr", "0000:3b:00.0 nvidia reset=pm+flr", "" },
                { GPU_A VFIO " reset=acpi", "0000:3b:00.0 nvidia reset=pm+flr", "" }, /* somebody's order */
                { GPU_B VFIO, "0000:3b:00.0 nvidia power=auto/1", "" },               /* it is gone */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                _cleanup_free_ char *steps = power_back(cases[i].host, cases[i].original);
                assert_string_equal(steps, cases[i].steps);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_plan_gives_back_what_was_ours_and_nothing_else),
                TEST(test_the_override_step_names_what_it_may_take_away),
                TEST(test_power_alone_is_given_back_where_the_device_is),
                TEST(test_more_functions_than_a_plan_holds_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "core/offer_priv.h"
#include "core/plan.h"
#include "world.h"

#define GPU_A   "0000:3b:00.0 10de:26b9 0302 "
#define GPU_B   "0000:5e:00.0 10de:26b9 0302 "
#define DESKTOP "0000:01:00.0 10de:2204 0300 "
#define AUDIO   "0000:01:00.1 10de:1aef 0403 "
#define DRIVERS "driver nvidia\ndriver snd_hda_intel\n"

#define STILL(bdf, id)    "need " bdf " to be " id " still\n"
#define IDLE(bdf)         "need nobody to have " bdf " open\n"
#define RESET(bdf, by)    "reset " bdf " by " by "\nwait until " bdf " answers\ncompare the BARs of " bdf " with what the kernel assigned\n"
#define BACK(bdf, driver) "probe drivers for " bdf "\nwait until " bdf " is on " driver "\n"
#define LEAVE(bdf)        "set driver_override of " bdf " to nothing\nunbind " bdf " from vfio-pci\n"

struct row {
        const char *title, *host, *rules;
        const char *originals; /* blank list of BDF=DRIVER */
        const char *steps;     /* one step_describe() per line; "" = empty plan; NULL = refused */
        enum reason reason;
        const char *err;
};

static const struct row rows[] = {
        { "kept", GPU_A VFIO " reset=flr", "any", "0000:3b:00.0=nvidia", "", REASON_NONE, NULL },
        { "kept where nobody can be seen", GPU_A VFIO " reset=flr\n!holders", "any", "0000:3b:00.0=nvidia", "", REASON_NONE, NULL },
        { "restored", GPU_A VFIO, "any release=restore", "0000:3b:00.0=nvidia",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") LEAVE("0000:3b:00.0") BACK("0000:3b:00.0", "nvidia"), REASON_NONE, NULL },
        { "an administrator bound it: nothing to restore", GPU_A VFIO, "any release=restore", "", "", REASON_NONE, NULL },
        { "another device's companion stays", GPU_A VFIO "\n" GPU_B VFIO, "any addresses=0000:3b:00.0 release=restore",
          "0000:5e:00.0=nvidia", "", REASON_NONE, NULL },
        { "reset", GPU_A VFIO " reset=pm+flr+bus", "any release=reset", "0000:3b:00.0=nvidia",
          STILL("0000:3b:00.0", "10de:26b9") IDLE("0000:3b:00.0") RESET("0000:3b:00.0", "flr"), REASON_NONE, NULL },
        { "reset with its companion, if that has a way; conditions first", DESKTOP VFIO " g=7 reset=flr\n" AUDIO VFIO " g=7 reset=flr",
          "any release=reset", "",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") STILL("0000:01:00.1", "10de:1aef") IDLE("0000:01:00.1")
                  RESET("0000:01:00.0", "flr") RESET("0000:01:00.1", "flr"),
          REASON_NONE, NULL },
        { "a companion without a way is left out", DESKTOP VFIO " g=7 reset=flr\n" AUDIO VFIO " g=7 reset=pm", "any release=reset", "",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") RESET("0000:01:00.0", "flr"), REASON_NONE, NULL },
        { "what is not on VFIO was nobody's", DESKTOP VFIO " g=7 reset=flr\n" AUDIO "- g=7 reset=flr", "any release=reset", "",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") RESET("0000:01:00.0", "flr"), REASON_NONE, NULL },
        { "reset, then back to the host", DESKTOP VFIO " g=7 reset=flr\n" AUDIO VFIO " g=7", "any release=reset+restore",
          "0000:01:00.0=nvidia 0000:01:00.1=snd_hda_intel",
          STILL("0000:01:00.0", "10de:2204") IDLE("0000:01:00.0") STILL("0000:01:00.1", "10de:1aef") IDLE("0000:01:00.1")
                  RESET("0000:01:00.0", "flr") LEAVE("0000:01:00.1") LEAVE("0000:01:00.0") BACK("0000:01:00.0", "nvidia")
                          BACK("0000:01:00.1", "snd_hda_intel"),
          REASON_NONE, NULL },
        { "unbound by somebody since: only the way back", GPU_A "- reset=flr", "any release=reset+restore", "0000:3b:00.0=nvidia",
          STILL("0000:3b:00.0", "10de:26b9") "set driver_override of 0000:3b:00.0 to nothing\n" BACK("0000:3b:00.0", "nvidia"), REASON_NONE,
          NULL },
        { "a vGPU is its vendor's to clean", GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 type=1155:X reset=flr",
          "any release=reset", "", "", REASON_NONE, NULL },

        { "nobody can be seen: not reset", GPU_A VFIO " reset=flr\n!holders", "any release=reset", "", NULL, REASON_HOLDERS_UNKNOWN,
          "the release of 0000:3b:00.0 ('release: reset') did not run" },
        { "nobody can be seen: not restored", GPU_A VFIO "\n!holders", "any release=restore", "0000:3b:00.0=nvidia", NULL,
          REASON_HOLDERS_UNKNOWN, "'release: restore'" },
        { "no way to reset: not restored either", GPU_A VFIO " reset=pm", "any release=reset+restore", "0000:3b:00.0=nvidia", NULL,
          REASON_NO_RESET, "no reset: 0000:3b:00.0: pm may reset nothing" },
        { "the second GPU of a device has no way", GPU_A VFIO " g=7 reset=flr\n" GPU_B VFIO " g=7", "any release=reset group=one-device",
          "", NULL, REASON_NO_RESET, "0000:5e:00.0" },
        { "somebody took it: refused whole", GPU_A "nouveau reset=flr", "any release=reset+restore", "0000:3b:00.0=nvidia", NULL,
          REASON_TAKEN_OVER, "nouveau" },
};

static size_t read_originals(const struct inventory *inv, const char *text, struct original *ret)
{
        _cleanup_free_ char *copy = xstrdup(text);
        char *save = NULL;
        size_t n = 0;

        for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
                char *driver = strchr(word, '=');
                *driver++ = '\0';
                ret[n] = (struct original){ .state = ORIGINAL_BOUND, .target = VFIO };
                assert_true(bdf_parse(word, &ret[n].bdf));
                const struct function *fn = inventory_function(inv, ret[n].bdf);
                ret[n].vendor = fn->vendor;
                ret[n].device = fn->device;
                str_format(ret[n++].driver, DRIVER_LEN, "%s", driver);
        }
        return n;
}

static void check_row(const struct row *row)
{
        _cleanup_free_ char *text = xasprintf("%s\n" DRIVERS, row->host);
        _cleanup_inventory_ struct inventory *inv = world_host(text);
        _cleanup_(rules_done) struct rules rules = world_rules(row->rules);
        _cleanup_strbuf_ struct strbuf steps = { 0 };
        struct original originals[4];
        const struct original *pointers[4];
        struct plan plan = { .n_steps = 99 };
        struct device device = { .rule = 1 };
        const struct device *pointer = &device;
        struct err err = { 0 };
        char line[160];

        size_t n = read_originals(inv, row->originals, originals);
        for (size_t i = 0; i < n; i++)
                pointers[i] = &originals[i];
        const struct function *fn = &inv->functions[0];
        for (size_t i = 1; i < inv->n_functions && inv->functions[i].is_vf; i++)
                fn = &inv->functions[i];
        device.bdf = fn->bdf;
        device.group = fn->group;
        device.kind = fn->is_vf ? DEVICE_VGPU_VF : DEVICE_GPU;
        bdf_format(fn->bdf, device.id);
        enum reason reason = plan_release(inv, &rules, &pointer, 1, pointers, n, &plan, &err);
        if (reason != row->reason)
                fail_msg("%s: '%s' instead of '%s': %s", row->title, reason_word(reason), reason_word(row->reason), err.msg);
        if (!row->steps) {
                assert_int_equal(plan.n_steps, 99);
                if (!strstr(err.msg, row->err))
                        fail_msg("%s: '%s' does not say '%s'", row->title, err.msg, row->err);
                return;
        }
        strbuf_add(&steps, "");
        bool looked = false;
        for (uint32_t i = 0; i < plan.n_steps; i++) {
                if (step_acts(plan.steps[i].kind) && !looked)
                        fail_msg("%s: acts before it has looked for tasks that hang", row->title);
                if (plan.steps[i].kind == STEP_GUARD_WEDGED) {
                        if (looked)
                                fail_msg("%s: looks twice for tasks that hang", row->title);
                        looked = true;
                        continue;
                }
                step_describe(&plan.steps[i], line, sizeof(line));
                strbuf_addf(&steps, "%s\n", line);
        }
        if (!streq(steps.text, row->steps))
                fail_msg("%s:\n%sinstead of\n%s", row->title, steps.text, row->steps);
        assert_int_equal(plan.n_cards, plan.n_steps > 0);
}

static void test_a_release_does_what_the_rule_says(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                check_row(&rows[i]);
}

/* What the hand of an earlier plan left narrowed is planned from what was there before, and given back with this one. */
static void test_a_reset_that_was_cut_off_is_planned_from_the_methods_of_before(void **state)
{
        static const struct {
                const char *host, *before;
                const char *method, *then; /* "" = it has no way */
                uint32_t narrows;
        } cases[] = {
                { GPU_A VFIO " reset=flr+bus", "", "flr", "flr bus", 0 },
                { GPU_A VFIO " reset=pm+flr", "", "flr", "pm flr", 1 },
                { GPU_A VFIO " reset=flr", "pm flr", "flr", "pm flr", 1 },
                { GPU_A VFIO " up=0000:3a:00.0 reset=flr", "bus flr", "bus", "bus flr", 1 }, /* first once, and not there now */
                { GPU_A VFIO " reset=flr", "flr bus", "flr", "flr bus", 1 },                 /* nothing to narrow, but to forget */
                { GPU_A VFIO " reset=acpi", "pm flr", "acpi", "acpi", 0 },                   /* somebody's order */
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                _cleanup_inventory_ struct inventory *inv = world_host(cases[i].host);
                _cleanup_(rules_done) struct rules rules = world_rules("any release=reset");
                struct device device = { .rule = 1, .id = "0000:3b:00.0", .bdf = inv->functions[0].bdf, .group = inv->functions[0].group };
                const struct device *devices[] = { &device };
                struct original original = { .bdf = device.bdf, .state = ORIGINAL_BOUND, .target = VFIO, .driver = VFIO };
                const struct original *originals[] = { &original };
                const struct step *reset = NULL;
                struct plan plan;
                struct err err;

                (void)str_copy(original.reset_methods, sizeof(original.reset_methods), cases[i].before);
                assert_int_equal(plan_release(inv, &rules, devices, 1, originals, 1, &plan, &err), REASON_NONE);
                for (uint32_t k = 0; k < plan.n_steps && !reset; k++)
                        reset = plan.steps[k].kind == STEP_RESET ? &plan.steps[k] : NULL;
                assert_non_null(reset);
                assert_string_equal(reset->text, cases[i].method);
                assert_string_equal(reset->about, cases[i].then);
                assert_int_equal(reset->number, cases[i].narrows);
        }
}

/* It, or what is in its group: nobody knows what is to be reset and given back, nor by which rule. */
static void test_what_cannot_be_read_is_waited_for(void **state)
{
        static const struct {
                const char *unread, *original;
                int group; /* of what is unread; -1 = not known */
                enum reason reason;
        } cases[] = {
                { "0000:01:00.0", "0000:01:00.0", 7, REASON_GARBAGE },  { "0000:01:00.1", "0000:01:00.1", 7, REASON_GARBAGE },
                { "0000:01:00.1", "0000:01:00.1", -1, REASON_GARBAGE }, { "0000:02:00.0", "0000:02:00.0", 8, REASON_NONE },
                { "0000:02:00.0", "0000:02:00.0", -1, REASON_NONE },
        };
        _cleanup_(rules_done) struct rules rules = world_rules("any release=restore");

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct inventory *inv = inventory_new();
                struct original original = { .state = ORIGINAL_BOUND, .target = VFIO, .driver = "nvidia" };
                const struct original *originals = &original;
                struct device device = {
                        .id = "0000:01:00.0", .kind = DEVICE_GPU, .group = 7, .bdf = { 0, 1, 0, 0 }, .card = { 0, 1, 0, 0 }
                };
                const struct device *devices = &device;
                struct plan plan = { 0 };
                struct err err = { 0 };
                bool is_own = streq(cases[i].unread, device.id);
                device.rule = is_own ? RULE_NONE : 1; /* what is not there has no rule */
                if (!is_own) {
                        struct function *fn = inventory_add_function(inv, device.bdf);
                        fn->group = 7;
                        (void)str_copy(fn->driver, sizeof(fn->driver), VFIO);
                }
                inventory_add_broken(inv, cases[i].unread, REASON_GARBAGE, "cannot read vendor");
                inv->broken[0].group = cases[i].group;
                inv->holders_visible = true;
                inventory_seal(inv);
                assert_true(bdf_parse(cases[i].original, &original.bdf));
                original.card = (struct bdf){ .bus = original.bdf.bus };
                enum reason reason = plan_release(inv, &rules, &devices, 1, &originals, 1, &plan, &err);
                if (reason != cases[i].reason || (reason && !strstr(err.msg, "cannot be read: cannot read vendor")))
                        fail_msg("case %zu: '%s': %s", i, reason_word(reason), err.msg);
                inventory_unref(inv);
        }
}

/* A group of @n GPUs, all of them with everything to be given back. */
static enum reason release_many(unsigned n, struct plan *plan, char detail[160])
{
        _cleanup_(rules_done) struct rules rules = world_rules("any release=reset+restore group=one-device");
        _cleanup_free_ struct original *originals = xcalloc(n, sizeof(*originals));
        _cleanup_free_ const struct original **pointers = xcalloc(n, sizeof(*pointers));
        _cleanup_strbuf_ struct strbuf host = { 0 };
        struct err err = { 0 };

        strbuf_add(&host, DRIVERS);
        for (unsigned i = 0; i < n; i++)
                strbuf_addf(&host, "0000:%02x:00.0 10de:26b9 0302 " VFIO " g=7 reset=flr power=on/0\n", i + 1);
        _cleanup_inventory_ struct inventory *inv = world_host(host.text);
        for (unsigned i = 0; i < n; i++) {
                originals[i] = (struct original){ .bdf = inv->functions[i].bdf,
                                                  .state = ORIGINAL_BOUND,
                                                  .vendor = 0x10de,
                                                  .device = 0x26b9,
                                                  .driver = "nvidia",
                                                  .target = VFIO,
                                                  .power_control = "auto",
                                                  .d3cold_allowed = "1",
                                                  .reset_methods = "pm flr" };
                pointers[i] = &originals[i];
        }
        struct device device = { .rule = 1, .id = "0000:01:00.0", .bdf = inv->functions[0].bdf, .group = 7 };
        const struct device *devices[] = { &device };
        enum reason possible = plan_release_possible(inv, &inv->functions[0], RELEASE_RESET_RESTORE, detail, 160);
        enum reason reason = plan_release(inv, &rules, devices, 1, pointers, n, plan, &err);
        return possible ? possible : reason;
}

/* What a plan binds, a plan gives back; what it could not is not offered where a reset is asked for. */
static void test_a_whole_group_is_reset_and_given_back_by_one_plan(void **state)
{
        struct plan plan;
        char detail[160] = "";

        (void)state;
        assert_int_equal(release_many(PLAN_FUNCTIONS_MAX, &plan, detail), REASON_NONE);
        assert_int_equal(plan.n_steps, 1 + 12 * PLAN_FUNCTIONS_MAX);
        assert_int_equal(plan.n_cards, PLAN_FUNCTIONS_MAX);
        assert_int_equal(release_many(PLAN_FUNCTIONS_MAX + 1, &plan, detail), REASON_NO_RESET);
        assert_string_equal(detail, "its IOMMU group has 33 functions to reset, and a plan holds 32");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_reset_that_was_cut_off_is_planned_from_the_methods_of_before),
                TEST(test_a_whole_group_is_reset_and_given_back_by_one_plan),
                TEST(test_a_release_does_what_the_rule_says),
                TEST(test_what_cannot_be_read_is_waited_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

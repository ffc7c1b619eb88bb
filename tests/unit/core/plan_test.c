/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>

#include "core/offer.h"
#include "core/plan.h"
#include "world.h"

#define BIND    "any bind=on-allocate"
#define GPU_A   "0000:3b:00.0 10de:26b9 0302 "
#define GPU_B   "0000:5e:00.0 10de:26b9 0302 "
#define DESKTOP "0000:01:00.0 10de:2204 0300 "
#define AUDIO   "0000:01:00.1 10de:1aef 0403 "
#define PORT    "0000:00:01.0 8086:1901 0604 pcieport g=7"

struct row {
        const char *title, *host, *rules;
        const char *asked; /* blank list of ids */
        const char *steps; /* one step_describe() per line; "" = empty plan; NULL = refused */
        const char *cards; /* blank list */
        enum reason reason;
        const char *err; /* part of the sentence */
};

#define ON_DRIVER(bdf, driver)                                                                                                   \
        "set driver_override of " bdf " to vfio-pci\nunbind " bdf " from " driver "\nprobe drivers for " bdf "\nwait until " bdf \
        " is on vfio-pci\n"
#define WITHOUT_DRIVER(bdf) "set driver_override of " bdf " to vfio-pci\nprobe drivers for " bdf "\nwait until " bdf " is on vfio-pci\n"
#define NEED                "need the driver vfio-pci and /dev/vfio/vfio\n"

#define AWAKE(bdf)       "set power/control of " bdf " to on\n"
#define DENY_D3COLD(bdf) "set d3cold_allowed of " bdf " to 0\n"

#define NEED_NVGRACE "need the driver nvgrace_gpu_vfio_pci and /dev/vfio/vfio\n"
#define GENERIC      "variant vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
#define GRACE        "variant vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci"

static const struct row rows[] = {
        { "a GPU on its host driver", GPU_A "nvidia", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "bound already: nothing", GPU_A VFIO, BIND, "0000:3b:00.0", "", "", REASON_NONE, NULL },
        { "bound already to a variant: nothing", GPU_A "nvgrace_gpu_vfio_pci", BIND, "0000:3b:00.0", "", "", REASON_NONE, NULL },
        { "without driver nobody can have it open", GPU_A "-", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\n" WITHOUT_DRIVER("0000:3b:00.0") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "NVIDIA's lock is the last guard", GPU_A "nvidia lock", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\ntake NVIDIA's unbindLock of "
               "0000:3b:00.0\n" ON_DRIVER("0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "the whole group, all guards before the first act", DESKTOP "nvidia g=7\n" AUDIO "snd_hda_intel g=7\n" PORT, BIND, "0000:01:00.0",
          NEED "need 0000:01:00.0 to be 10de:2204 still\nneed nobody to have 0000:01:00.0 open\n"
               "need 0000:01:00.1 to be 10de:1aef still\nneed nobody to have 0000:01:00.1 open\n" ON_DRIVER("0000:01:00.0", "nvidia")
                       ON_DRIVER("0000:01:00.1", "snd_hda_intel") "wait for /dev/vfio/7 of 0000:01:00.0\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "only the companion is missing", DESKTOP VFIO " g=7\n" AUDIO "snd_hda_intel g=7\n" PORT, BIND, "0000:01:00.0",
          NEED "need 0000:01:00.1 to be 10de:1aef still\nneed nobody to have 0000:01:00.1 open\n" ON_DRIVER(
                  "0000:01:00.1", "snd_hda_intel") "wait for /dev/vfio/7 of 0000:01:00.1\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "a companion without driver goes along", DESKTOP "nvidia g=7\n" AUDIO "- g=7", BIND, "0000:01:00.0",
          NEED "need 0000:01:00.0 to be 10de:2204 still\nneed nobody to have 0000:01:00.0 open\nneed 0000:01:00.1 to be 10de:1aef "
               "still\n" ON_DRIVER("0000:01:00.0", "nvidia") WITHOUT_DRIVER("0000:01:00.1") "wait for /dev/vfio/7 of 0000:01:00.0\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "but is no reason to touch anything", DESKTOP VFIO " g=7\n" AUDIO "- g=7", BIND, "0000:01:00.0", "", "", REASON_NONE, NULL },
        { "a companion on pci-stub is left alone", DESKTOP "nvidia g=7\n" AUDIO "pci-stub g=7", BIND, "0000:01:00.0",
          NEED "need 0000:01:00.0 to be 10de:2204 still\nneed nobody to have 0000:01:00.0 open\n" ON_DRIVER(
                  "0000:01:00.0", "nvidia") "wait for /dev/vfio/7 of 0000:01:00.0\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "but not as the GPU itself, which cannot be used there", GPU_A "pci-stub", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "pci-stub") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "two devices, one of them bound", GPU_A "nvidia\n" GPU_B VFIO, BIND, "0000:5e:00.0 0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "two devices: the cards sorted, a node each", GPU_A "-\n" GPU_B "-", BIND, "0000:5e:00.0 0000:3b:00.0",
          NEED "need 0000:5e:00.0 to be 10de:26b9 still\nneed 0000:3b:00.0 to be 10de:26b9 still\n" WITHOUT_DRIVER("0000:5e:00.0")
                  WITHOUT_DRIVER("0000:3b:00.0") "wait for /dev/vfio/102 of 0000:5e:00.0\nwait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0 0000:5e:00.0", REASON_NONE, NULL },
        { "one device out of two GPUs, both to be bound: both cards", GPU_A "- g=7\n" GPU_B "nvidia g=7", BIND " group=one-device",
          "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed 0000:5e:00.0 to be 10de:26b9 still\n"
               "need nobody to have 0000:5e:00.0 open\n" WITHOUT_DRIVER("0000:3b:00.0")
                       ON_DRIVER("0000:5e:00.0", "nvidia") "wait for /dev/vfio/7 of 0000:3b:00.0\n",
          "0000:3b:00.0 0000:5e:00.0", REASON_NONE, NULL },
        { "a VF is bound under its PF's lock", GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 - vf=0000:3b:00.0", BIND, "0000:3b:00.4",
          NEED "need 0000:3b:00.4 to be 10de:26b9 still\n" WITHOUT_DRIVER("0000:3b:00.4") "wait for /dev/vfio/102 of 0000:3b:00.4\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "a vGPU stays where it is", GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 type=1155:X", BIND,
          "0000:3b:00.4", "", "", REASON_NONE, NULL },
        { "an override that is ours already", GPU_A "nvidia override=vfio-pci", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "holders cannot be seen: NVIDIA's lock is enough", GPU_A "nvidia lock\n!holders", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\ntake NVIDIA's unbindLock of "
               "0000:3b:00.0\n" ON_DRIVER("0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "holders cannot be seen and there is no driver", GPU_A "-\n!holders", BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\n" WITHOUT_DRIVER("0000:3b:00.0") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },

        { "persistence off by rule, before its node is looked at", DESKTOP "nvidia lock g=7\n" AUDIO "snd_hda_intel g=7",
          BIND " persistence=off", "0000:01:00.0",
          NEED "need 0000:01:00.0 to be 10de:2204 still\nturn nvidia-persistenced off for 0000:01:00.0\n"
               "need nobody to have 0000:01:00.0 open\nneed 0000:01:00.1 to be 10de:1aef still\n"
               "need nobody to have 0000:01:00.1 open\ntake NVIDIA's unbindLock of 0000:01:00.0\n" ON_DRIVER("0000:01:00.0", "nvidia")
                       ON_DRIVER("0000:01:00.1", "snd_hda_intel") "wait for /dev/vfio/7 of 0000:01:00.0\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "persistence off by rule, on another driver", GPU_A "nouveau", BIND " persistence=off", "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "nouveau") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "kept awake by rule, after the bind, which wrote to it", DESKTOP "nvidia g=7 power=on/1\n" AUDIO "snd_hda_intel g=7 power=auto/0",
          BIND " power=on", "0000:01:00.0",
          NEED "need 0000:01:00.0 to be 10de:2204 still\nneed nobody to have 0000:01:00.0 open\n"
               "need 0000:01:00.1 to be 10de:1aef still\nneed nobody to have 0000:01:00.1 open\n" ON_DRIVER("0000:01:00.0", "nvidia")
                       ON_DRIVER("0000:01:00.1", "snd_hda_intel") "wait for /dev/vfio/7 of 0000:01:00.0\n" AWAKE("0000:01:00.0")
                               DENY_D3COLD("0000:01:00.0") AWAKE("0000:01:00.1"),
          "0000:01:00.0", REASON_NONE, NULL },
        { "kept awake by rule, bound already, also by somebody else",
          DESKTOP VFIO " g=7 power=auto/1\n" AUDIO VFIO " g=7 power=on/1\n" PORT " power=auto/1", "any power=on", "0000:01:00.0",
          "need 0000:01:00.0 to be 10de:2204 still\nneed 0000:01:00.1 to be 10de:1aef still\n" AWAKE("0000:01:00.0")
                  DENY_D3COLD("0000:01:00.0") DENY_D3COLD("0000:01:00.1"),
          "0000:01:00.0", REASON_NONE, NULL },
        { "kept awake by rule, but only the companion is missing", DESKTOP VFIO " g=7 power=auto/0\n" AUDIO "snd_hda_intel g=7 power=on/0",
          BIND " power=on", "0000:01:00.0",
          NEED "need 0000:01:00.1 to be 10de:1aef still\nneed nobody to have 0000:01:00.1 open\nneed 0000:01:00.0 to be 10de:2204 "
               "still\n" ON_DRIVER("0000:01:00.1", "snd_hda_intel") "wait for /dev/vfio/7 of 0000:01:00.1\n" AWAKE("0000:01:00.0")
                       AWAKE("0000:01:00.1"),
          "0000:01:00.0", REASON_NONE, NULL },
        { "awake already: nothing", GPU_A VFIO " power=on/0", BIND " power=on", "0000:3b:00.0", "", "", REASON_NONE, NULL },
        { "a kernel without power management: nothing", GPU_A VFIO, BIND " power=on", "0000:3b:00.0", "", "", REASON_NONE, NULL },
        { "its rule leaves power alone: nothing", GPU_A VFIO " power=auto/1", BIND, "0000:3b:00.0", "", "", REASON_NONE, NULL },
        { "a vGPU's power is its parent's driver's",
          GPU_A "nvidia vfs=1\n0000:3b:00.4 10de:26b9 0302 nvidia vf=0000:3b:00.0 type=1155:X power=auto/1", BIND " power=on",
          "0000:3b:00.4", "", "", REASON_NONE, NULL },
        { "a variant driver that is made for it, its companion on vfio-pci",
          "0000:01:00.0 10de:2342 0300 nvidia g=7\n" AUDIO "- g=7\n" GENERIC GRACE " nvgrace_gpu_vfio_pci", BIND, "0000:01:00.0",
          NEED_NVGRACE NEED "need 0000:01:00.0 to be 10de:2342 still\nneed nobody to have 0000:01:00.0 open\n"
                            "need 0000:01:00.1 to be 10de:1aef still\n"
                            "set driver_override of 0000:01:00.0 to nvgrace_gpu_vfio_pci\nunbind 0000:01:00.0 from nvidia\n"
                            "probe drivers for 0000:01:00.0\nwait until 0000:01:00.0 is on nvgrace_gpu_vfio_pci\n" WITHOUT_DRIVER(
                                    "0000:01:00.1") "wait for /dev/vfio/7 of 0000:01:00.0\n",
          "0000:01:00.0", REASON_NONE, NULL },
        { "an override that names a VFIO driver chooses it", "0000:3b:00.0 10de:2342 0302 nvidia override=vfio-pci\n" GENERIC GRACE, BIND,
          "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:2342 still\nneed nobody to have 0000:3b:00.0 open\n" ON_DRIVER(
                  "0000:3b:00.0", "nvidia") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "a variant that is not loaded, and may be", "0000:3b:00.0 10de:2342 0302 -\n" GENERIC GRACE, "loadModules\n" BIND, "0000:3b:00.0",
          "load the module of the driver nvgrace_gpu_vfio_pci\n" NEED_NVGRACE "need 0000:3b:00.0 to be 10de:2342 still\n"
          "set driver_override of 0000:3b:00.0 to nvgrace_gpu_vfio_pci\nprobe drivers for 0000:3b:00.0\n"
          "wait until 0000:3b:00.0 is on nvgrace_gpu_vfio_pci\nwait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "what is loaded is not loaded", GPU_A "-", "loadModules\n" BIND, "0000:3b:00.0",
          NEED "need 0000:3b:00.0 to be 10de:26b9 still\n" WITHOUT_DRIVER("0000:3b:00.0") "wait for /dev/vfio/101 of 0000:3b:00.0\n",
          "0000:3b:00.0", REASON_NONE, NULL },
        { "a variant that is not loaded", "0000:3b:00.0 10de:2342 0302 nvidia\n" GENERIC GRACE, BIND, "0000:3b:00.0", NULL, NULL,
          REASON_VARIANT_MISSING, "the VFIO driver nvgrace_gpu_vfio_pci for 0000:3b:00.0, and it is not loaded" },

        { "holders cannot be seen", GPU_A "nvidia\n!holders", BIND, "0000:3b:00.0", NULL, NULL, REASON_HOLDERS_UNKNOWN,
          "0000:3b:00.0 is on nvidia and it cannot be seen" },
        { "holders of the companion cannot be seen", DESKTOP "nvidia lock g=7\n" AUDIO "snd_hda_intel g=7\n!holders", BIND, "0000:01:00.0",
          NULL, NULL, REASON_HOLDERS_UNKNOWN, "0000:01:00.1 is on snd_hda_intel" },
        { "somebody else's override", GPU_A "nvidia override=nvidia", BIND, "0000:3b:00.0", NULL, NULL, REASON_FOREIGN_OWNER,
          "driver_override of 0000:3b:00.0 to nvidia" },
        { "somebody else's override on the companion", DESKTOP "nvidia g=7\n" AUDIO "snd_hda_intel g=7 override=pci-stub", BIND,
          "0000:01:00.0", NULL, NULL, REASON_FOREIGN_OWNER, "0000:01:00.1" },
        { "never means never", GPU_A "nvidia", "any", "0000:3b:00.0", NULL, NULL, REASON_NOT_BOUND, "bind: never" },
        { "a NIC came into the group since", GPU_A "nvidia g=7\n0000:3c:00.0 8086:1563 0200 ixgbe g=7", BIND, "0000:3b:00.0", NULL, NULL,
          REASON_GROUP_FOREIGN, "0000:3c:00.0 (class 0200, driver ixgbe)" },
        { "a second GPU came into the group since", GPU_A "nvidia g=7\n" GPU_B "nvidia g=7", BIND, "0000:3b:00.0", NULL, NULL,
          REASON_GROUP_SEVERAL, "0000:5e:00.0" },
        { "one of two cannot be: nothing is planned", GPU_A "nvidia\n" GPU_B "nvidia override=nvidia", BIND, "0000:3b:00.0 0000:5e:00.0",
          NULL, NULL, REASON_FOREIGN_OWNER, "0000:5e:00.0" },
        { "gone since", GPU_A "nvidia", BIND, "0000:77:00.0", NULL, NULL, REASON_GONE, "0000:77:00.0" },
        { "no group any more", GPU_A "nvidia nogroup", BIND, "0000:3b:00.0", NULL, NULL, REASON_NO_GROUP, "0000:3b:00.0" },
};

/* The device as an earlier offer had it: what the host says today is for plan_bind to find out. */
static struct device ask(const struct inventory *inv, const struct rules *rules, const char *id)
{
        struct device device = { .rule = 1, .bind = rules->rules[0].bind };

        str_format(device.id, sizeof(device.id), "%s", id);
        assert_true(bdf_parse(id, &device.bdf));
        const struct function *fn = inventory_function(inv, device.bdf);
        if (fn)
                device.kind = !fn->is_vf ? DEVICE_GPU : fn->vgpu_type ? DEVICE_VGPU_VF : DEVICE_VF;
        return device;
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

        for (uint32_t i = 0; i < plan->n_cards; i++)
                strbuf_addf(&b, "%s" BDF_FMT, i ? " " : "", BDF_ARGS(plan->cards[i]));
        return strbuf_take(&b);
}

static void check_row(const struct row *row)
{
        _cleanup_inventory_ struct inventory *inv = world_host(row->host);
        _cleanup_(rules_done) struct rules rules = world_rules(row->rules);
        _cleanup_free_ char *asked = xstrdup(row->asked);
        struct device devices[4];
        const struct device *pointers[4];
        struct plan plan = { .n_steps = 99 };
        struct err err = { 0 };
        char *save = NULL;
        size_t n = 0;

        for (char *id = strtok_r(asked, " ", &save); id; id = strtok_r(NULL, " ", &save), n++) {
                devices[n] = ask(inv, &rules, id);
                pointers[n] = &devices[n];
        }
        enum reason reason = plan_bind(inv, &rules, pointers, n, true, &plan, &err);
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

static void test_a_plan_binds_what_needs_it_and_checks_first(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                check_row(&rows[i]);
}

static void test_a_bind_for_nobody_leaves_power_alone(void **state)
{
        _cleanup_inventory_ struct inventory *inv = world_host(GPU_A VFIO " power=auto/1");
        _cleanup_(rules_done) struct rules rules = world_rules(BIND " power=on");
        struct device device = ask(inv, &rules, "0000:3b:00.0");
        const struct device *pointer = &device;
        struct plan plan;
        struct err err;

        (void)state;
        assert_int_equal(plan_bind(inv, &rules, &pointer, 1, false, &plan, &err), REASON_NONE);
        assert_int_equal(plan.n_steps, 0);
        assert_int_equal(plan_bind(inv, &rules, &pointer, 1, true, &plan, &err), REASON_NONE);
        assert_true(plan.n_steps > 0);
}

/* @n GPUs, each in a group of its own, all asked for at once. */
static enum reason plan_many(unsigned n, struct plan *plan, struct err *err)
{
        _cleanup_strbuf_ struct strbuf host = { 0 };
        _cleanup_(rules_done) struct rules rules = world_rules(BIND " persistence=off power=on");
        _cleanup_free_ struct device *devices = xcalloc(n, sizeof(*devices));
        _cleanup_free_ const struct device **pointers = xcalloc(n, sizeof(*pointers));

        for (unsigned i = 0; i < n; i++)
                strbuf_addf(&host, "0000:%02x:00.0 10de:26b9 0302 nvidia lock power=auto/1\n", i + 1);
        _cleanup_inventory_ struct inventory *inv = world_host(host.text);
        for (unsigned i = 0; i < n; i++) {
                char id[BDF_TEXT_MAX];
                devices[i] = ask(inv, &rules, bdf_format(inv->functions[i].bdf, id));
                pointers[i] = &devices[i];
        }
        return plan_bind(inv, &rules, pointers, n, true, plan, err);
}

static void test_a_plan_that_would_not_fit_is_refused_whole(void **state)
{
        struct plan plan = { .n_steps = 99 };
        struct err err = { 0 };

        (void)state;
        assert_int_equal(plan_many(PLAN_FUNCTIONS_MAX + 1, &plan, &err), REASON_PLAN_TOO_LARGE);
        assert_int_equal(plan.n_steps, 99);
        assert_string_equal(err.msg, "it takes the binding of 33 functions at once, and a plan holds 32, of as many cards");
        assert_int_equal(plan_many(250, &plan, &err), REASON_PLAN_TOO_LARGE);
        assert_int_equal(plan.n_steps, 99);
        assert_int_equal(plan_many(PLAN_FUNCTIONS_MAX, &plan, &err), REASON_NONE); /* with all that there is to do */
        assert_int_equal(plan.n_cards, PLAN_FUNCTIONS_MAX);
        assert_int_equal(plan.n_steps, 2 + PLAN_FUNCTIONS_MAX * 11);
}

static void test_every_step_has_a_word_and_a_sentence(void **state)
{
        static const struct {
                struct step step;
                const char *word, *sentence;
        } steps[] = {
                { { .kind = STEP_OVERRIDE, .bdf = { .bus = 0x3b } }, "override", "set driver_override of 0000:3b:00.0 to nothing" },
                { { .kind = STEP_UNBIND, .bdf = { .bus = 0x3b } }, "unbind", "unbind 0000:3b:00.0 from its driver" },
                { { .kind = STEP_READ_LOCKED, .bdf = { .bus = 0x3b }, .text = "driver_override" },
                  "read-locked",
                  "read driver_override of 0000:3b:00.0" },
                { { .kind = STEP_GUARD_WEDGED, .bdf = { .bus = 0x3b } },
                  "guard-wedged",
                  "need no other task to hang in the kernel with 0000:3b:00.0" },
                { { .kind = STEP_AWAIT_DRIVER, .bdf = { .bus = 0x3b } }, "await-driver", "wait until 0000:3b:00.0 is on no driver" },
                { { .kind = STEP_COMPARE_BARS, .bdf = { .bus = 0x3b } },
                  "compare-bars",
                  "compare the BARs of 0000:3b:00.0 with what the kernel assigned" },
                { { .kind = STEP_NEED_DRIVER, .text = "vfio-pci" }, "need-driver", "need the driver vfio-pci and /dev/vfio/vfio" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(steps); i++) {
                char line[160];
                step_describe(&steps[i].step, line, sizeof(line));
                assert_string_equal(line, steps[i].sentence);
                assert_string_equal(step_kind_name(steps[i].step.kind), steps[i].word);
        }
        for (enum step_kind kind = STEP_NEED_DRIVER; kind <= STEP_LIST_HOLDERS; kind++)
                assert_true(step_kind_name(kind)[0]);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_plan_binds_what_needs_it_and_checks_first),
                TEST(test_a_bind_for_nobody_leaves_power_alone),
                TEST(test_a_plan_that_would_not_fit_is_refused_whole),
                TEST(test_every_step_has_a_word_and_a_sentence),
        };

        return RUN(tests);
}

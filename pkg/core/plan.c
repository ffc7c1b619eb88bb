/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include "base/str.h"

const char *step_kind_name(enum step_kind kind)
{
        static const char *const names[] = {
                [STEP_NEED_DRIVER] = "need-driver",
                [STEP_LOAD_MODULE] = "load-module",
                [STEP_NEED_IDENTITY] = "need-identity",
                [STEP_PERSISTENCE_OFF] = "persistence-off",
                [STEP_GUARD_NODES] = "guard-nodes",
                [STEP_GUARD_WEDGED] = "guard-wedged",
                [STEP_GUARD_UNBIND_LOCK] = "guard-unbind-lock",
                [STEP_OVERRIDE] = "override",
                [STEP_UNBIND] = "unbind",
                [STEP_PROBE] = "probe",
                [STEP_RESET] = "reset",
                [STEP_SETTING] = "setting",
                [STEP_AWAIT_ANSWER] = "await-answer",
                [STEP_COMPARE_BARS] = "compare-bars",
                [STEP_RELEASE_UNBIND_LOCK] = "release-unbind-lock",
                [STEP_AWAIT_DRIVER] = "await-driver",
                [STEP_AWAIT_NODE] = "await-node",
                [STEP_READ_LOCKED] = "read-locked",
                [STEP_LIST_HOLDERS] = "list-holders",
        };

        _Static_assert(N_ELEMENTS(names) == STEP_KINDS, "the last kind of step is the last");
        return names[kind];
}

void step_describe(const struct step *step, char *out, size_t size)
{
        char bdf[BDF_TEXT_MAX];

        bdf_format(step->bdf, bdf);
        switch (step->kind) {
        case STEP_NEED_DRIVER:
                str_format(out, size, "need the driver %s and /dev/vfio/vfio", step->text);
                return;
        case STEP_LOAD_MODULE:
                str_format(out, size, "load the module of the driver %s", step->text);
                return;
        case STEP_NEED_IDENTITY:
                str_format(out, size, "need %s to be %04x:%04x still", bdf, step->number >> 16, step->number & 0xffff);
                return;
        case STEP_PERSISTENCE_OFF:
                str_format(out, size, "turn nvidia-persistenced off for %s", bdf);
                return;
        case STEP_GUARD_NODES:
                str_format(out, size, "need nobody to have %s open", bdf);
                return;
        case STEP_GUARD_WEDGED:
                str_format(out, size, "need no other task to hang in the kernel with %s", bdf);
                return;
        case STEP_GUARD_UNBIND_LOCK:
                str_format(out, size, "take NVIDIA's unbindLock of %s", bdf);
                return;
        case STEP_OVERRIDE:
                str_format(out, size, "set driver_override of %s to %s", bdf, step->text[0] ? step->text : "nothing");
                return;
        case STEP_UNBIND:
                str_format(out, size, "unbind %s from %s", bdf, step->text[0] ? step->text : "its driver");
                return;
        case STEP_PROBE:
                str_format(out, size, "probe drivers for %s", bdf);
                return;
        case STEP_RESET:
                str_format(out, size, "reset %s by %s", bdf, step->text);
                return;
        case STEP_SETTING:
                str_format(out, size, "set %s of %s to %s", step->about, bdf, step->text);
                return;
        case STEP_AWAIT_ANSWER:
                str_format(out, size, "wait until %s answers", bdf);
                return;
        case STEP_COMPARE_BARS:
                str_format(out, size, "compare the BARs of %s with what the kernel assigned", bdf);
                return;
        case STEP_RELEASE_UNBIND_LOCK:
                str_format(out, size, "give NVIDIA's unbindLock of %s back", bdf);
                return;
        case STEP_AWAIT_DRIVER:
                str_format(out, size, "wait until %s is on %s", bdf, step->text[0] ? step->text : "no driver");
                return;
        case STEP_AWAIT_NODE:
                str_format(out, size, "wait for /dev/vfio/%u of %s", step->number, bdf);
                return;
        case STEP_READ_LOCKED:
                str_format(out, size, "read %s of %s", step->text, bdf);
                return;
        case STEP_LIST_HOLDERS:
                str_format(out, size, "look who has %s open", bdf);
                return;
        }
        str_format(out, size, "step %d of %s", (int)step->kind, bdf);
}

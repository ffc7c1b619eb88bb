/* SPDX-License-Identifier: Apache-2.0 */
/* What Sluice leaves on a node that it is taken off: one list, for `sluicectl uninstall-check`. Pure. */
#ifndef SLUICE_CORE_LEFTOVER_H
#define SLUICE_CORE_LEFTOVER_H

#include "core/claim.h"

/* X(CONSTANT, "word", counts, "remedy"): what does not count is harmless, or nobody's to clear away but the operator's choice. */
#define LEFTOVER_TABLE(X)                                                                                                                \
        X(RUNNING, "sluiced-running", true, "it is not uninstalled yet: 'sluicectl release --idle', then uninstall it, then look again") \
        X(HAND, "hand-running", true, "wait; one that does not end hangs in the kernel: see its /proc/PID/stack, only a reboot ends it") \
        X(BOUND, "bound-by-sluice", true, "start sluiced again with this state directory and 'sluicectl release --idle', or reboot")     \
        X(OVERRIDE, "driver-override", true, "echo > driver_override of that address below /sys/bus/pci/devices, or reboot")             \
        X(UNBIND_LOCK, "nvidia-unbind-lock", true, "echo 0 > /proc/driver/nvidia/gpus/ADDRESS/unbindLock, or reboot")                    \
        X(POWER, "power-state", true, "write the former value to that attribute below /sys/bus/pci/devices, or reboot")                  \
        X(RESET_METHOD, "reset-method", true,                                                                                            \
          "write the former list to reset_method of that address below /sys/bus/pci/devices, or reboot")                                 \
        X(NO_ANSWER, "no-answer", true, "see the kernel log: a device whose attributes cannot be read is stuck, only a reboot frees it") \
        X(SOCKET, "socket", true, "remove the file: nobody listens there; kubelet takes it for a plugin until then")                     \
        X(CLAIM, "claim-record", true,                                                                                                   \
          "the pod that has the device goes on; end it, let sluiced run until the claim has ended, or remove "                           \
          "the file")                                                                                                                    \
        X(RECORD, "state-record", true, "a sluiced that is installed again reads it; else remove the state directory")                   \
        X(NEWER, "newer-record", true, "a newer Sluice wrote it: install that one again, and uninstall it as it says")                   \
        X(BAD, "bad-record", true, "it was set aside, nobody reads it: remove the file")                                                 \
        X(POD, "pod-device", true, "kubelet gave it to that pod, which goes on with it: end the pod")                                    \
        X(RESOURCE, "kubelet-resource", false,                                                                                           \
          "nothing: kubelet forgets it five minutes after sluiced's end; the name stays in the "                                         \
          "node's status as 0 until somebody takes it out (kubectl patch node --subresource=status)")                                    \
        X(FOREIGN, "bound-by-others", false, "nothing: no record says that Sluice bound it")                                             \
        X(UNREADABLE, "unreadable", true,                                                                                                \
          "look as root, on the node itself; --help names the directories that are looked at. Of a device, see the kernel log")          \
        X(FILES, "files", false, "rm -r, when nobody means to install Sluice again")

enum leftover_kind {
#define X(id, word, counts, remedy) LEFTOVER_##id,
        LEFTOVER_TABLE(X)
#undef X
                LEFTOVER_KINDS
};
const char *leftover_word(enum leftover_kind kind);
const char *leftover_remedy(enum leftover_kind kind);
bool leftover_counts(enum leftover_kind kind);

enum { LEFTOVERS_MAX = 4096, LEFTOVER_WHAT_MAX = 256, LEFTOVER_TEXT_MAX = 384 };
struct leftover {
        enum leftover_kind kind;
        char what[LEFTOVER_WHAT_MAX]; /* an address, a path, a resource; clean */
        char text[LEFTOVER_TEXT_MAX]; /* this case; clean */
};
struct leftovers {
        struct leftover *list;
        size_t n, cap;
        size_t n_more; /* beyond LEFTOVERS_MAX */
};
void leftovers_add(struct leftovers *leftovers, enum leftover_kind kind, const char *what, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void leftovers_done(struct leftovers *leftovers);
size_t leftovers_counted(const struct leftovers *leftovers);

/* What is left of a binding. @override: what driver_override says now; NULL = it was not read. */
void leftovers_of_original(struct leftovers *leftovers, const struct inventory *inv, const struct original *original, const char *override);
/* What is on a VFIO driver, and of which @originals know nothing. */
void leftovers_of_others(struct leftovers *leftovers, const struct inventory *inv, const struct original *originals, size_t n);

#endif

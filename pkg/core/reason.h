/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of reason words: why something is not offered, is unhealthy, was refused, or deserves a warning.
 *
 * A word is stable (users script against it); the sentence says what is the case, the remedy what to do. docs/reasons.md
 * is generated from this table. Log lines, inventory, refusals and explain all use it. */
#ifndef SLUICE_CORE_REASON_H
#define SLUICE_CORE_REASON_H

#include <stddef.h>

/* Where a reason appears. */
enum reason_use {
        REASON_USE_WITHHELD,  /* the device is not listed */
        REASON_USE_UNHEALTHY, /* listed, Unhealthy */
        REASON_USE_REFUSAL,   /* a request was refused; nothing changed */
        REASON_USE_WARNING,   /* offered, with a warning */
};

/* X(CONSTANT, "word", use, "sentence", "remedy") */
#define REASON_TABLE(X)                                                                                                                    \
        X(NO_RULE, "no-rule", WITHHELD, "no rule of the configuration selects this device",                                                \
          "add a rule that selects it by vendor:device or address")                                                                        \
        X(DENIED, "denied", WITHHELD, "a rule denies this device", "change the first rule that matches it")                                \
        X(NOT_BOUND, "not-bound", WITHHELD, "it is not on a VFIO driver and Sluice may not bind it",                                       \
          "bind it to vfio-pci, or give its rule 'bind: on-allocate' or 'bind: at-start'")                                                 \
        X(NOT_A_GPU, "not-a-gpu", WITHHELD, "its PCI class is not in the list of GPU classes",                                             \
          "name it by address or vendor:device in a rule, or extend 'classes'")                                                            \
        X(UNKNOWN_VENDOR, "unknown-vendor", WITHHELD, "its vendor is none of NVIDIA, AMD and Intel",                                       \
          "write a rule for it with its own resource name")                                                                                \
        X(BMC_DISPLAY, "bmc-display", WITHHELD, "it is the graphics of a management controller",                                           \
          "nothing: it is never handed out unless a rule names its address")                                                               \
        X(HOST_DISPLAY, "host-display", WITHHELD, "it shows the host's console (boot VGA or firmware framebuffer)",                        \
          "free it from the console (kernel option video=efifb:off), or name its address in a rule")                                       \
        X(NO_GROUP, "no-iommu-group", WITHHELD, "it has no IOMMU group",                                                                   \
          "switch the IOMMU on in the firmware (VT-d, AMD-Vi, SMMU) and on the kernel command line (intel_iommu=on)")                      \
        X(NOIOMMU, "no-iommu-protection", WITHHELD, "its group is a no-IOMMU group without any isolation",                                 \
          "switch a real IOMMU on; no-IOMMU mode is never used")                                                                           \
        X(GROUP_FOREIGN, "group-foreign-member", WITHHELD, "its IOMMU group holds a device that must stay with the host",                  \
          "move the card to another slot, or enable ACS in the firmware, so that it has a group of its own")                               \
        X(GROUP_SEVERAL, "group-several-gpus", WITHHELD, "several GPUs share its IOMMU group",                                             \
          "enable ACS, or let a rule with 'group: one-device' offer them as one device")                                                   \
        X(GROUP_FOLLOWER, "group-follower", WITHHELD, "it belongs to the one device made of its IOMMU group",                              \
          "nothing: it goes with the first GPU of the group")                                                                              \
        X(GROUP_MEMBER_UNBOUND, "group-member-on-host-driver", WITHHELD,                                                                   \
          "a companion in its IOMMU group is on a host driver, so that VFIO refuses the group",                                            \
          "bind the companion to vfio-pci too, or let a rule bind the group")                                                              \
        X(PF_HAS_VFS, "pf-has-vfs", WITHHELD, "it is a physical function with virtual functions enabled",                                  \
          "offer its VFs, or disable them (sriov_numvfs = 0) to offer the whole card")                                                     \
        X(IS_MDEV_PARENT, "mdev-parent", WITHHELD, "it carries vGPU instances, or is set up to carry them",                                \
          "offer its instances, or use the whole card without the vGPU host driver")                                                       \
        X(NO_VGPU_TYPE, "no-vgpu-type", WITHHELD, "it is a vGPU virtual function without a vGPU type",                                     \
          "write a type id to its nvidia/current_vgpu_type")                                                                               \
        X(DOMAIN_WIDE, "pci-domain-too-wide", WITHHELD, "its PCI domain has more than four digits, which KubeVirt cannot parse",           \
          "disable VMD for its slot in the firmware")                                                                                      \
        X(NAME_AMBIGUOUS, "name-ambiguous", WITHHELD, "its resource name and another one would become the same KubeVirt variable",         \
          "give one of them another 'resource' in the configuration")                                                                      \
        X(NAME_INVALID, "name-invalid", WITHHELD, "no valid Kubernetes resource name can be made for it",                                  \
          "give it a 'resource' in the configuration")                                                                                     \
        X(TOO_MANY_IDS, "too-many-ids", WITHHELD, "more devices came and went since Sluice started than it keeps in mind",                 \
          "restart Sluice when nobody uses those that are gone")                                                                           \
        X(VANISHED, "vanished", WITHHELD, "it disappeared while it was read", "look again; check the slot, cable and power")               \
        X(GARBAGE, "unreadable", WITHHELD, "sysfs answered something that is no valid value", "look at the kernel log for this address")   \
        X(GONE, "gone", UNHEALTHY, "it was listed and is no longer on the host",                                                           \
          "re-insert it or restart Sluice after its last user is gone")                                                                    \
        X(NO_LONGER_OFFERED, "no-longer-offered", UNHEALTHY, "it was listed and may no longer be offered",                                 \
          "see the detail; it leaves the list when Sluice starts again")                                                                   \
        X(NAME_NEXT_START, "new-name-at-next-start", WARNING, "the configuration gives it another name",                                   \
          "restart Sluice when its pool is unused: a name never changes under holders")                                                    \
        X(NODE_MISSING, "vfio-node-missing", UNHEALTHY, "its node under /dev/vfio does not exist",                                         \
          "check that vfio-pci and udev made it; it recovers by itself when the node returns")                                             \
        X(VFIO_MISSING, "vfio-not-available", UNHEALTHY, "the host has no vfio-pci driver or no /dev/vfio/vfio",                           \
          "load vfio-pci on the host (echo vfio-pci > /etc/modules-load.d/vfio-pci.conf; modprobe vfio-pci)")                              \
        X(VARIANT_MISSING, "variant-driver-not-loaded", UNHEALTHY,                                                                         \
          "the kernel has a VFIO driver made for this device, and it is not loaded",                                                       \
          "load the module on the host (modprobe, and a file in /etc/modules-load.d); or say 'loadModules: true'; or choose vfio-pci: "    \
          "driverctl set-override")                                                                                                        \
        X(STUCK, "stuck", UNHEALTHY, "the kernel did not return from a step on it; it is not touched again in this boot",                  \
          "find the holder in the kernel log; only a reboot of the node frees it")                                                         \
        X(CORDONED, "cordoned", UNHEALTHY, "an operator withholds it from new pods",                                                       \
          "nothing; 'sluicectl uncordon' when it may be given again")                                                                      \
        X(BROKEN_BINDING, "binding-failed", UNHEALTHY, "a bind failed and could not be undone",                                            \
          "look at the detail and the kernel log, then bind it by hand or reboot")                                                         \
        X(NOT_RESTORED, "host-driver-not-restored", WARNING, "a failed bind was undone, but a host driver did not take its device back",   \
          "echo its address to /sys/bus/pci/drivers_probe, and look at the kernel log")                                                    \
        X(FABRIC, "fabric-partition-unknown", WARNING,                                                                                     \
          "an NVSwitch fabric is present; without an active Fabric Manager partition a guest gets CUDA error 802",                         \
          "activate the partition of this GPU with Fabric Manager before the VM starts")                                                   \
        X(NUMA_MIXED, "numa-mixed", WARNING, "its pool mixes known and unknown NUMA nodes, so no topology is sent for it",                 \
          "use 'topology: split' in the rule, or fix the firmware tables")                                                                 \
        X(NUMA_HIGH, "numa-node-too-high", WARNING, "its NUMA node is above 63, which kubelet does not take: it counts as unknown",        \
          "nothing, unless its pool mixes it with others: then 'topology: split' in the rule")                                             \
        X(PREFER_MIXED, "prefer-mixed", WARNING, "the rules of its pool ask for different 'prefer'; the one of its first device holds",    \
          "give these rules one 'prefer', or different names")                                                                             \
        X(NAME_FALLBACK, "name-from-id", WARNING, "its id is in no pci.ids, so it is named by its device id",                              \
          "give it an 'alias', or a newer pciIds file")                                                                                    \
        X(NAME_SHORTENED, "name-shortened", WARNING, "its name was longer than Kubernetes allows and was shortened", "give it an 'alias'") \
        X(EMPTY_REQUEST, "empty-request", REFUSAL, "the request names no device", "report this: kubelet never does it")                    \
        X(MALFORMED, "malformed-request", REFUSAL, "the request is none that kubelet makes",                                               \
          "report this: it is a fault of kubelet, or somebody else asks")                                                                  \
        X(DUPLICATE_DEVICE, "duplicate-device", REFUSAL, "the request names a device twice", "report this: kubelet never does it")         \
        X(TOO_MANY_DEVICES, "too-many-devices", REFUSAL, "the request names more devices than one container can have",                     \
          "ask for fewer devices per container")                                                                                           \
        X(UNKNOWN_DEVICE, "unknown-device", REFUSAL, "no such device in this pool", "delete the pod; kubelet will pick another device")    \
        X(NOT_HEALTHY, "not-healthy", REFUSAL, "the device is not healthy", "or delete the pod, so that kubelet picks another device")     \
        X(IDENTITY, "identity-changed", REFUSAL, "another device than planned answers at its address, or another driver has it",           \
          "nothing: Sluice looks again and plans from what is there")                                                                      \
        X(HELD, "held", REFUSAL, "a process still has the device open", "end the process, or wait until the former VM has stopped")        \
        X(HOLDERS_UNKNOWN, "holders-unknown", REFUSAL, "Sluice cannot see who has it open and will not unbind a host driver blindly",      \
          "give sluiced CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and the host's /proc, or bind the device before")                              \
        X(CLAIMED, "claimed", REFUSAL, "it was given to somebody",                                                                         \
          "end the pod that has it; its claim ends when kubelet says that it has gone, and nobody has the device open")                    \
        X(PODS_UNKNOWN, "pods-unknown", REFUSAL, "kubelet does not tell which pods have devices, and what is not known is not free",       \
          "see that kubelet runs, and that its pod-resources directory is mounted; then ask again")                                        \
        X(FOREIGN_OWNER, "foreign-owner", REFUSAL, "somebody else has set a driver for it (driver_override)",                              \
          "leave it to that manager, or take the setting away (driverctl unset-override)")                                                 \
        X(TAKEN_OVER, "taken-over", REFUSAL, "somebody else has bound it to another driver since Sluice bound it",                         \
          "nothing: it is left to whoever did that")                                                                                       \
        X(RELEASING, "releasing", UNHEALTHY, "its last user is gone and its release is under way",                                         \
          "nothing, unless the detail names something that it waits for")                                                                  \
        X(RELEASE_BLIND, "release-not-possible", WARNING, "its rule's release does not run: it cannot be seen who has a device open",      \
          "give sluiced CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and the host's /proc, or say 'release: keep'")                                 \
        X(NO_ANSWER, "no-answer", UNHEALTHY, "it does not answer after its reset", "power the node off and on; look at the kernel log")    \
        X(BARS_CHANGED, "bars-changed", UNHEALTHY, "after its reset a BAR of it is not what the kernel assigned",                          \
          "see the detail; remove the device and rescan (remove, rescan in sysfs), or power the node off and on; then restart Sluice, "    \
          "which resets it again")                                                                                                         \
        X(NO_RESET, "no-reset-method", WITHHELD, "its rule asks for a reset, and no method of it resets this device and nothing else",     \
          "take 'release: reset' out of its rule, or see the detail")                                                                      \
        X(FORMER_DRIVER, "former-driver-missing", REFUSAL, "the driver that it had before is not loaded on this host",                     \
          "load that driver, or bind the device to another one by hand")                                                                   \
        X(PLAN_TOO_LARGE, "plan-too-large", REFUSAL, "more functions would have to be bound than one plan can hold",                       \
          "ask for fewer devices, or bind them at start")                                                                                  \
        X(WEDGED, "wedged-task", REFUSAL, "another task hangs in the kernel while a device is taken from its driver",                      \
          "see the task's /proc/PID/stack and the kernel log; only a reboot frees the device")                                             \
        X(PERSISTENCE, "nvidia-persistence", REFUSAL, "nvidia-persistenced does not let the GPU go",                                       \
          "look at its log, turn persistence mode off by hand (nvidia-smi -i ADDRESS -pm 0), or stop nvidia-persistenced")                 \
        X(UNBIND_LOCK, "nvidia-unbind-lock", REFUSAL, "the NVIDIA driver does not release the GPU: it has clients",                        \
          "turn persistence mode off (a rule's 'persistence: off', or nvidia-smi -i ADDRESS -pm 0); stop DCGM, X and CUDA programs on "    \
          "this GPU")                                                                                                                      \
        X(STEP_FAILED, "step-failed", REFUSAL, "a step of the plan failed and everything was undone", "read the step and the kernel log")  \
        X(DEADLINE, "deadline", REFUSAL, "the kernel did not answer in time", "the device is stuck: see the kernel log")                   \
        X(HAND_LOST, "hand-lost", REFUSAL, "the helper process ended in the middle of the plan",                                           \
          "look at the device's driver; the next request plans again from what is there")                                                  \
        X(CARD_BUSY, "card-busy", REFUSAL, "another hand holds the lock of this card", "wait for the other plan to end")                   \
        X(NO_RECORD, "not-recorded", REFUSAL, "what Sluice is about to do cannot be written to its state directory",                       \
          "make room on the disk of the state directory, or mount it writable")                                                            \
        X(OUTDATED, "answer-outdated", REFUSAL, "the pod was told of another card or another IOMMU group than the device has now",         \
          "delete the pod: its successor is answered anew")                                                                                \
        X(TOO_LATE, "shutting-down", REFUSAL, "Sluice is shutting down", "try again when it is back")                                      \
        X(OVERLOAD, "too-many-requests", REFUSAL, "too many requests are waiting for this card", "try again later")

enum reason {
        REASON_NONE,
#define X(id, word, use, sentence, remedy) REASON_##id,
        REASON_TABLE(X)
#undef X
                REASON_MAX
};

const char *reason_word(enum reason reason);     /* "" for REASON_NONE */
const char *reason_sentence(enum reason reason); /* "" for REASON_NONE */
const char *reason_remedy(enum reason reason);
enum reason_use reason_use(enum reason reason);
const char *reason_use_name(enum reason_use use); /* "withheld", "unhealthy", "refusal", "warning" */

#endif

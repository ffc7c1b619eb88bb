/* SPDX-License-Identifier: Apache-2.0 */
/* The cards of topology gpu, and the names under which its tests have them offered. */
#ifndef SLUICE_TESTS_VM_CARDS_H
#define SLUICE_TESTS_VM_CARDS_H

#define L40S             "0000:01:00.0"
#define QUADRO           "0000:02:00."
#define QUADRO_RESOURCE  "test.example/QUADRO"
#define GEFORCE          "0000:03:00.0"
#define GEFORCE_AUDIO    "0000:03:00.1"
#define GEFORCE_RESOURCE "test.example/GEFORCE"
#define H100             "0000:04:00.0"
#define H100_RESOURCE    "test.example/H100"
#define ODD              "0000:05:00.0"
#define ODD_COMPANION    "0000:05:00.1"
#define ODD_RESOURCE     "test.example/ODD"
#define UNBIND_LOCK      "/proc/driver/nvidia/gpus/" L40S "/unbindLock"

#define L40S_RULE                 RULE("ids: [\"10de:26b9\"]")
#define NAMED_RULE(ids, resource) CONFIG_HEAD "rules:\n- select: {ids: [\"" ids "\"]}\n  bind: on-allocate\n  resource: " resource "\n"
#define H100_VARIABLE             "PCI_RESOURCE_TEST_EXAMPLE_H100"

#endif

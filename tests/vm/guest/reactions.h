/* SPDX-License-Identifier: Apache-2.0 */
/* The shared table of reactions (tests/reactions.h) with plain writes against this kernel: what the simulated kernel claims is
 * what the real one does. */
#ifndef SLUICE_TESTS_VM_REACTIONS_H
#define SLUICE_TESTS_VM_REACTIONS_H

#include <stdbool.h>

/* A name of the table on this topology. */
struct reaction_word {
        const char *word, *name; /* name NULL: the group of the function called $GPU, asked when it is needed */
};

/* Runs as a group every case whose names the topology has, one test per case; @words ends with a NULL word. @ready is called
 * before each case that speaks of a mediated device (may be NULL). Returns the number that failed. */
int run_reactions(const char *topology, const struct reaction_word *words, void (*ready)(void));

/* The words of all topologies that run reactions, so that a test can tell that no case is left out. */
extern const struct reaction_word gpu_words[], sriov_words[], noiommu_words[];
bool reactions_all_covered(const char **ret_missing);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Many small things that live and go together: pieces are taken from it and never given back alone. For an answer that is put
 * together, sent and dropped. Sizes are the caller's, bounded by what the host has; memory that is out ends the process. */
#ifndef SLUICE_BASE_PILE_H
#define SLUICE_BASE_PILE_H

#include <stddef.h>

#include "base/cleanup.h"

struct pile_block;
struct pile { /* zero-initialise */
        struct pile_block *blocks;
        size_t left; /* in the first of them */
};
void *pile_take(struct pile *pile, size_t n, size_t size) __attribute__((returns_nonnull)); /* zeroed, aligned for anything */
char *pile_text(struct pile *pile, const char *s) __attribute__((returns_nonnull));
char *pile_textf(struct pile *pile, const char *fmt, ...) __attribute__((format(printf, 2, 3), returns_nonnull));
void pile_done(struct pile *pile);
#define _cleanup_pile_ _cleanup_(pile_done)

#endif

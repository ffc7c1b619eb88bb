/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pile.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { BLOCK = 8192, ALIGN = 16 };

struct pile_block {
        struct pile_block *next;
        size_t size;
        _Alignas(ALIGN) char bytes[];
};

void *pile_take(struct pile *pile, size_t n, size_t size)
{
        if (size > 0 && n > (SIZE_MAX - BLOCK) / size)
                abort();
        size_t wanted = (n * size + ALIGN - 1) / ALIGN * ALIGN;

        if (!pile->blocks || wanted > pile->left) {
                size_t room = wanted > BLOCK ? wanted : BLOCK;
                struct pile_block *block = xcalloc(1, sizeof(*block) + room);
                block->next = pile->blocks;
                block->size = room;
                pile->blocks = block;
                pile->left = room;
        }
        char *at = pile->blocks->bytes + pile->blocks->size - pile->left;
        pile->left -= wanted;
        return at;
}

char *pile_text(struct pile *pile, const char *s)
{
        size_t n = strlen(s);

        return memcpy(pile_take(pile, n + 1, 1), s, n);
}

char *pile_textf(struct pile *pile, const char *fmt, ...)
{
        va_list args, again;

        va_start(args, fmt);
        va_copy(again, args);
        int n = vsnprintf(NULL, 0, fmt, args);
        size_t size = n < 0 ? 1 : (size_t)n + 1;
        char *text = pile_take(pile, size, 1);
        (void)vsnprintf(text, size, fmt, again);
        va_end(again);
        va_end(args);
        return text;
}

void pile_done(struct pile *pile)
{
        for (struct pile_block *block = pile->blocks, *next; block; block = next) {
                next = block->next;
                free(block);
        }
        *pile = (struct pile){ 0 };
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "core/reason.h"

#include <assert.h>

static const struct {
        const char *word;
        enum reason_use use;
        const char *sentence, *remedy;
} reasons[] = { { "", REASON_USE_WARNING, "", "" },
#define X(id, word, use, sentence, remedy) { word, REASON_USE_##use, sentence, remedy },
                REASON_TABLE(X)
#undef X
};

const char *reason_word(enum reason reason)
{
        assert(reason < REASON_MAX);
        return reasons[reason].word;
}

const char *reason_sentence(enum reason reason)
{
        assert(reason < REASON_MAX);
        return reasons[reason].sentence;
}

const char *reason_remedy(enum reason reason)
{
        assert(reason < REASON_MAX);
        return reasons[reason].remedy;
}

enum reason_use reason_use(enum reason reason)
{
        assert(reason < REASON_MAX);
        return reasons[reason].use;
}

const char *reason_use_name(enum reason_use use)
{
        static const char *const names[] = { "withheld", "unhealthy", "refusal", "warning" };

        return names[use];
}

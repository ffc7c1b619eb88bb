/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "node/node_priv.h"

enum { NEAREST = 3, FAR = 4 /* so many letters to change, and it is another name */ };

static unsigned least(unsigned a, unsigned b, unsigned c)
{
        unsigned ab = a < b ? a : b;

        return ab < c ? ab : c;
}

/* Levenshtein's distance; @a is shorter than DEVICE_ID_MAX. */
static unsigned distance(const char *a, const char *b)
{
        unsigned row[DEVICE_ID_MAX], n = (unsigned)strlen(a);

        for (unsigned i = 0; i <= n; i++)
                row[i] = i;
        for (unsigned k = 0; b[k]; k++) {
                unsigned diagonal = row[0];
                row[0] = k + 1;
                for (unsigned i = 0; i < n; i++) {
                        unsigned above = row[i + 1];
                        row[i + 1] = least(above + 1, row[i] + 1, diagonal + (a[i] != b[k]));
                        diagonal = above;
                }
        }
        return row[n];
}

/* A part that is left out ("3b:00.0", the rest of a UUID) is no mistake. */
static unsigned how_far(const char *id, const char *asked)
{
        return *asked && strstr(id, asked) ? 0 : distance(id, asked);
}

void node_nearest(const struct offer *offer, const char *id, char ret[static NEAREST_TEXT_MAX])
{
        const char *names[NEAREST] = { 0 };
        unsigned far[NEAREST] = { FAR, FAR, FAR };
        char asked[DEVICE_ID_MAX];

        str_clean(asked, sizeof(asked), id);
        for (size_t i = 0; i < offer->n_devices; i++) {
                const char *name = offer->devices[i].id;
                unsigned d = how_far(name, asked);
                size_t at = 0;

                while (at < NEAREST && d >= far[at])
                        at++;
                for (size_t k = NEAREST - 1; k > at && at < NEAREST; k--) {
                        far[k] = far[k - 1];
                        names[k] = names[k - 1];
                }
                if (at < NEAREST) {
                        far[at] = d;
                        names[at] = name;
                }
        }
        ret[0] = '\0';
        for (size_t k = 0; k < NEAREST && names[k]; k++) {
                size_t n = strlen(ret);
                str_format(ret + n, NEAREST_TEXT_MAX - n, "%s%s", k ? ", " : "", names[k]);
        }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Claims and originals as the text of a record (JSON) and back. What comes back is checked as if a stranger had written it: one
 * member too many or too few, an unknown word, a control byte, and nothing of it is taken. Pure. */
#ifndef SLUICE_CLAIMS_ENCODE_H
#define SLUICE_CLAIMS_ENCODE_H

#include "base/err.h"
#include "core/claim.h"

/* The caller frees. Their strings are UTF-8 without control bytes, as those of all that Sluice keeps. */
char *encode_claim(const struct claim *claim);
char *encode_original(const struct original *original);

/* 0, or -EBADMSG and what is wrong. @ret of a claim: claim_done() by the caller. */
int decode_claim(const char *key, const char *text, struct claim *ret, struct err *err);
int decode_original(const char *key, const char *text, struct original *ret, struct err *err);

#endif

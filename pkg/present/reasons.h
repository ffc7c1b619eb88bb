/* SPDX-License-Identifier: Apache-2.0 */
/* The table of reason words as a page: docs/reasons.md is exactly this text. Pure. */
#ifndef SLUICE_PRESENT_REASONS_H
#define SLUICE_PRESENT_REASONS_H

#include "base/str.h"

/* Appends the page, in Markdown, one section for each use in which a reason appears. */
void present_reasons_markdown(struct strbuf *out);

#endif

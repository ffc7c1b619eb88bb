/* SPDX-License-Identifier: Apache-2.0 */
/* What Sluice left on a node, as text, JSON and YAML. Pure. */
#ifndef SLUICE_PRESENT_LEFTOVERS_H
#define SLUICE_PRESENT_LEFTOVERS_H

#include "core/leftover.h"
#include "present/present.h"

/* PRESENT_TABLE and PRESENT_WIDE are one text. */
int present_leftovers(const struct leftovers *leftovers, enum present_format format, struct strbuf *out, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* How things are shown: tables for people, JSON and YAML for programs, all from the same data. Pure: text goes into a
 * buffer, who prints it is the caller's business. Any thread. */
#ifndef SLUICE_PRESENT_PRESENT_H
#define SLUICE_PRESENT_PRESENT_H

#include "base/err.h"
#include "base/str.h"
#include "present/messages.h"

enum present_format { PRESENT_TABLE, PRESENT_WIDE /* a table with more columns */, PRESENT_JSON, PRESENT_YAML };
bool present_format_parse(const char *s, enum present_format *ret); /* "table", "wide", "json", "yaml" */

/* What is on the host, what of it is offered, and why the rest is not. Appends to @out; on failure (-ENOMEM, -EIO of a
 * library) nothing is appended.
 *
 * JSON and YAML are the message field by field (api/node/v1/node.proto says what each means), all keys always present; null =
 * unknown or none, never a made-up value. Tables show '-' for unknown and explain each reason word below. */
int present_devices(const pb_node_list_devices_response *list, enum present_format format, struct strbuf *out, struct err *err);

/* Who was given what. @now_ms: Unix time, for ages. */
int present_claims(const pb_node_list_prepared_response *list, enum present_format format, int64_t now_ms, struct strbuf *out,
                   struct err *err);

/* What became of devices that were to be given back, or with @dry_run would. PRESENT_TABLE and PRESENT_WIDE are one text. */
int present_release(const pb_node_release_idle_response *m, bool dry_run, enum present_format format, struct strbuf *out, struct err *err);
size_t present_release_left(const pb_node_release_idle_response *m); /* how many are left as they were */

/* The table of reasons: [{word, use, sentence, remedy}]. */
int present_reasons(enum present_format format, struct strbuf *out, struct err *err);

#endif

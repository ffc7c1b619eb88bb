/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what must outlive the daemon, one small file per thing, below one directory per kind (state/claims/..., ...).
 *
 * A file is one header line, "sluice KIND VERSION CRC32 LENGTH", and a text of LENGTH bytes. It is replaced as a whole and
 * durably (temporary file, fsync, rename, fsync of the directory): whatever happens, it is the former one or the new one. What
 * cannot be trusted (torn, foreign, of another version) is set aside under its name with ".bad" (".bad2", ... where that name is
 * taken by what it cannot replace) and told: never guessed at.
 * The calls block for as long as the disk does. */
#ifndef SLUICE_CLAIMS_RECORDS_H
#define SLUICE_CLAIMS_RECORDS_H

#include <stddef.h>

#include "base/err.h"

enum {
        RECORD_KEY_MAX = 80, /* with the terminator: escaped it is three times as long, and the name of a file has 255 bytes */
        RECORD_TEXT_MAX = 65536,
        RECORDS_MAX = 4096, /* of one kind */
        RECORDS_TOLD = 10,  /* of those set aside in one reading, by name */
};

struct records;

/* Opens, or makes (0700), the directory @kind below @state_dir; removes what an interrupted replacement left. @version: of the
 * texts of this kind. */
int records_open(int state_dir, const char *kind, unsigned version, struct records **ret, struct err *err);
struct records *records_close(struct records *records);

/* @key: 1 to RECORD_KEY_MAX - 1 bytes of any kind. A new one beyond RECORDS_MAX: ENOSPC. */
int records_put(struct records *records, const char *key, const char *text, struct err *err);
int records_remove(struct records *records, const char *key, struct err *err); /* none is fine */

/* Each record in order of its file's name; @text is valid for the call. A negative return of @each means that the text is
 * not to be trusted either: the file is set aside with that error. @aside hears of each, and beyond RECORDS_TOLD once of the rest:
 * @file is a pattern then, and @why has their number. */
typedef int record_fn(void *ctx, const char *key, const char *text, struct err *err);
typedef void record_aside_fn(void *ctx, const char *file, const struct err *why);
int records_read(struct records *records, record_fn *each, record_aside_fn *aside, void *ctx, struct err *err);

/* The same from a directory that is nobody's any more: nothing is made, renamed or removed, and @aside hears of every file that is no
 * record (EPROTO: a newer program's). No such directory is fine. */
int records_peek(int state_dir, const char *kind, unsigned version, record_fn *each, record_aside_fn *aside, void *ctx, struct err *err);

#endif

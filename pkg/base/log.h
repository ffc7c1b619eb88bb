/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one line per event on stderr, as text or JSON, timestamped in UTC. Any thread.
 *
 * Library code does not log; the loop, the handlers and main do, once per event. Texts are cleaned of control bytes. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Call once in main, before any thread. @program is borrowed for ever. Default: info, text. */
void log_setup(const char *program, enum log_level level, enum log_format format);
bool log_level_parse(const char *s, enum log_level *ret);
bool log_format_parse(const char *s, enum log_format *ret);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                           \
        do {                                                     \
                if (log_enabled(LOG_LEVEL_DEBUG))                \
                        log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
        } while (0)

#endif

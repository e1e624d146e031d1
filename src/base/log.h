/* SPDX-License-Identifier: BSD-3-Clause */
/* log.h - messages to the program that loaded the library: one sink for the process. Any thread; before a sink is set,
 * and where it is NULL, messages go nowhere. Only src/api sends failures (log_warn), and each once; a warning that is
 * no failure comes from where a disk is read in a way that may give old bytes (remote_san.c), or from a host that
 * nobody has checked (remote_nfc.c). */
#ifndef VIXDISK_BASE_LOG_H
#define VIXDISK_BASE_LOG_H

#include <stdarg.h>

/** Takes a printf format that ends in a newline, and its arguments. */
typedef void log_sink_func(const char *fmt, va_list args);

/** Sets where news (@log) and failures (@warn) go; NULL: nowhere. */
void log_set_sinks(log_sink_func *log, log_sink_func *warn);

/** Also appends every message to a file, opened close-on-exec; NULL: no longer. Returns 0 or an errno. */
int log_set_file(const char *path);

/** News: one line without a newline. */
void log_news(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** A failure: one line without a newline. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif

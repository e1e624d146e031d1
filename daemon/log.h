/* SPDX-License-Identifier: BSD-3-Clause */
/* log.h - what the host tells of itself, on standard error: a time stamp, a level and one line. Secrets are never
 * given to it; what comes from peers is made printable. Any thread. */
#ifndef VIXDISKD_LOG_H
#define VIXDISKD_LOG_H

enum host_log_level { HOST_LOG_INFO, HOST_LOG_WARN };

/** One line without a newline. Control characters in it become '?'. */
void host_log(enum host_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Sends the messages of the library here too. */
void host_log_begin(void);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines on standard error, each by one write so that threads do not mix them. Under systemd a priority in front of the
 * line takes the place of the time stamp, which the journal has itself. */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define LINE_MAX_BYTES 2048 /* limit: bytes of a line of vixdiskd's log */

static int for_journal = -1;

static size_t put_head(char *line, size_t size, enum host_log_level level)
{
    struct timespec now;
    struct tm utc;
    char stamp[32] = "";

    if (for_journal > 0) {
        int n = snprintf(line, size, "<%d>", level == HOST_LOG_WARN ? 4 : 6);
        return n > 0 ? (size_t)n : 0;
    }
    if (clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &utc) != NULL) {
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    }
    int n = snprintf(line, size, "%s.%03ldZ %s ", stamp, now.tv_nsec / 1000000,
                     level == HOST_LOG_WARN ? "warning:" : "info:");
    return n > 0 ? (size_t)n : 0;
}

static void write_line(enum host_log_level level, const char *fmt, va_list args)
{
    char line[LINE_MAX_BYTES];
    size_t len = put_head(line, sizeof line, level);
    size_t head = len;
    int n = vsnprintf(line + len, sizeof line - len - 1, fmt, args);

    if (n > 0) {
        size_t room = sizeof line - len - 2;
        len += (size_t)n < room ? (size_t)n : room;
    }
    while (len > head && line[len - 1] == '\n') {
        len--;
    }
    for (size_t i = head; i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0) {
        return; /* nobody listens: nothing to be done about it */
    }
}

void host_log(enum host_log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line(level, fmt, args);
    va_end(args);
}

static void sink_news(const char *fmt, va_list args)
{
    write_line(HOST_LOG_INFO, fmt, args);
}

static void sink_warn(const char *fmt, va_list args)
{
    write_line(HOST_LOG_WARN, fmt, args);
}

void host_log_begin(void)
{
    for_journal = getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
    log_set_sinks(sink_news, sink_warn);
}

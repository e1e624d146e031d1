/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048 /* limit: bytes of a line of the log */

static _Atomic(log_sink_func *) news_sink;
static _Atomic(log_sink_func *) warn_sink;
static pthread_mutex_t file_lock = PTHREAD_MUTEX_INITIALIZER;
static int file_fd = -1;

void log_set_sinks(log_sink_func *log, log_sink_func *warn)
{
    atomic_store(&news_sink, log);
    atomic_store(&warn_sink, warn);
}

int log_set_file(const char *path)
{
    int fd = -1;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return errno;
        }
    }
    (void)pthread_mutex_lock(&file_lock);
    int old = file_fd;
    file_fd = fd;
    (void)pthread_mutex_unlock(&file_lock);
    if (old >= 0) {
        (void)close(old);
    }
    return 0;
}

static void write_to_file(const char *line)
{
    (void)pthread_mutex_lock(&file_lock);
    if (file_fd >= 0) {
        char text[LOG_LINE_MAX + 64];
        struct timespec now;
        struct tm tm;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)gmtime_r(&now.tv_sec, &tm);
        size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        int m = snprintf(text + n, sizeof text - n, ".%03ldZ %s", now.tv_nsec / 1000000, line);
        if (m > 0) {
            /* a log that cannot be written must not fail the disk */
            ssize_t done = write(file_fd, text, n + (size_t)m < sizeof text ? n + (size_t)m : sizeof text - 1);
            (void)done;
        }
    }
    (void)pthread_mutex_unlock(&file_lock);
}

static void call_sink(log_sink_func *sink, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    sink(fmt, args);
    va_end(args);
}

static void send(log_sink_func *sink, const char *fmt, va_list args)
{
    char line[LOG_LINE_MAX];
    int n = vsnprintf(line, sizeof line - 1, fmt, args);
    if (n < 0) {
        return;
    }
    size_t len = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[len] = '\n';
    line[len + 1] = '\0';
    if (sink != NULL) {
        call_sink(sink, "%s", line);
    }
    write_to_file(line);
}

void log_news(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send(atomic_load(&news_sink), fmt, args);
    va_end(args);
}

void log_warn(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send(atomic_load(&warn_sink), fmt, args);
    va_end(args);
}

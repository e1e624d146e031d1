/* SPDX-License-Identifier: BSD-3-Clause */
/* stdio_copy.c - whole reads and writes on descriptors. */
#include "stdio_copy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "progress.h"

#define PAGE_BYTES 4096

void *copy_buffer(size_t n)
{
    return aligned_alloc(PAGE_BYTES, n * COPY_BYTES);
}

/** Whether to try again after an errno: a signal that does not stop us, or a descriptor somebody made non-blocking. */
static int try_again(int fd, short events, int errnum)
{
    if (errnum == EINTR) {
        return stop_signal() == 0;
    }
    if (errnum != EAGAIN) {
        return 0;
    }
    struct pollfd waiting = {.fd = fd, .events = events};
    poll(&waiting, 1, -1);
    return stop_signal() == 0;
}

int write_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0) {
            if (try_again(fd, POLLOUT, errno)) {
                continue;
            }
            return errno;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int read_all(int fd, void *bytes, size_t len, size_t *ret_len)
{
    char *at = bytes;
    *ret_len = 0;
    while (*ret_len < len) {
        ssize_t n = read(fd, at + *ret_len, len - *ret_len);
        if (n == 0) {
            break;
        }
        if (n < 0) {
            if (try_again(fd, POLLIN, errno)) {
                continue;
            }
            return errno;
        }
        *ret_len += (size_t)n;
    }
    return 0;
}

bool input_bytes(uint64_t *ret_bytes)
{
    struct stat st;
    off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    if (at < 0 || fstat(STDIN_FILENO, &st) != 0 || !S_ISREG(st.st_mode) || at > st.st_size) {
        return false;
    }
    *ret_bytes = (uint64_t)(st.st_size - at);
    return true;
}

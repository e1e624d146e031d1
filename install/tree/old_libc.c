/* SPDX-License-Identifier: BSD-3-Clause */
/* old_libc.c - functions that glibc has had as its own symbols for a short time only, for the tree that travels to
 * older ones. They are linked into its library and its command, and are not seen outside. Any thread. */
#undef _FILE_OFFSET_BITS /* or stat is stat64 here */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since 2.33; functions inside of programs before. The kernel's struct stat is glibc's on 64-bit machines, where stat64
 * is the same under another name. */

static int status_at(int dir, const char *path, void *ret_stat, int flags)
{
    return (int)syscall(SYS_newfstatat, dir, path, ret_stat, flags);
}

int stat(const char *restrict path, struct stat *restrict ret_stat)
{
    return status_at(AT_FDCWD, path, ret_stat, 0);
}

int stat64(const char *restrict path, struct stat64 *restrict ret_stat)
{
    return status_at(AT_FDCWD, path, ret_stat, 0);
}

int lstat(const char *restrict path, struct stat *restrict ret_stat)
{
    return status_at(AT_FDCWD, path, ret_stat, AT_SYMLINK_NOFOLLOW);
}

int lstat64(const char *restrict path, struct stat64 *restrict ret_stat)
{
    return status_at(AT_FDCWD, path, ret_stat, AT_SYMLINK_NOFOLLOW);
}

int fstatat(int dir, const char *restrict path, struct stat *restrict ret_stat, int flags)
{
    return status_at(dir, path, ret_stat, flags);
}

int fstatat64(int dir, const char *restrict path, struct stat64 *restrict ret_stat, int flags)
{
    return status_at(dir, path, ret_stat, flags);
}

int fstat(int fd, struct stat *ret_stat)
{
    return (int)syscall(SYS_fstat, fd, ret_stat);
}

int fstat64(int fd, struct stat64 *ret_stat)
{
    return (int)syscall(SYS_fstat, fd, ret_stat);
}

/* Since 2.32. strerror_r gives a constant string for an error that it knows. */
const char *strerrordesc_np(int errnum)
{
    char unknown[64];
    const char *text = strerror_r(errnum, unknown, sizeof unknown);

    return text != unknown ? text : NULL;
}

/* Since 2.36. As glibc's does, it ends the process where the kernel has no random bytes: without them the tables of
 * expat, which asks, could be filled by whoever sent the XML. */
void arc4random_buf(void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno != EINTR) {
            abort();
        }
        at += got > 0 ? got : 0;
        len -= got > 0 ? (size_t)got : 0;
    }
}

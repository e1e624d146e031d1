/* SPDX-License-Identifier: BSD-3-Clause */
#include "faulty.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic uint32_t counted;
static _Atomic uint64_t calls, chosen;
static _Atomic int how;
static _Atomic bool for_good, has_hit;

void faulty_set(uint32_t kinds, uint64_t nth, int errnum, bool stays)
{
    calls = 0;
    chosen = nth;
    how = errnum;
    for_good = stays;
    has_hit = false;
    counted = kinds;
}

uint64_t faulty_end(void)
{
    counted = 0;
    return calls;
}

bool faulty_hit(void)
{
    return has_hit;
}

/* Whether this call is to fail. */
static bool fails(uint32_t kind)
{
    if ((counted & kind) == 0) {
        return false;
    }
    uint64_t now = atomic_fetch_add(&calls, 1) + 1;
    if (chosen == 0 || (now != chosen && !(for_good && now > chosen))) {
        return false;
    }
    has_hit = true;
    return true;
}

/* -1 with the errno that was chosen. */
static int failure(void)
{
    errno = how < 0 ? EIO : how;
    return -1;
}

/* Of a call on a connection that is to fail: whether it fails at once. Else it is to be made. */
static bool fails_at_once(int fd)
{
    if (how == FAULTY_CUT || how == ECONNRESET) {
        (void)shutdown(fd, SHUT_RDWR);
    }
    return how >= 0;
}

/* The real function of a name. */
#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (real == NULL) {                                                                                                \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                             \
    }

/* ---- files ---- */

static mode_t mode_of(int flags, va_list *args)
{
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(*args, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
    va_list args;

    REAL(open64)
    va_start(args, flags);
    mode_t mode = mode_of(flags, &args);
    va_end(args);
    return fails(FAULTY_OPEN) ? failure() : real(path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...)
{
    va_list args;

    REAL(openat64)
    va_start(args, flags);
    mode_t mode = mode_of(flags, &args);
    va_end(args);
    return fails(FAULTY_OPEN) ? failure() : real(folder, path, flags, mode);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t off)
{
    REAL(pread64)
    if (!fails(FAULTY_READ)) {
        return real(fd, buf, n, off);
    }
    return how == FAULTY_SHORT && n > 1 ? real(fd, buf, n / 2, off) : failure();
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t off)
{
    REAL(pwrite64)
    if (!fails(FAULTY_WRITE)) {
        return real(fd, buf, n, off);
    }
    return how == FAULTY_SHORT && n > 1 ? real(fd, buf, n / 2, off) : failure();
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t off)
{
    REAL(preadv64)
    if (!fails(FAULTY_READ)) {
        return real(fd, iov, n, off);
    }
    return how == FAULTY_SHORT ? pread(fd, iov[0].iov_base, (iov[0].iov_len + 1) / 2, off) : failure();
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
    REAL(pwritev64)
    if (!fails(FAULTY_WRITE)) {
        return real(fd, iov, n, off);
    }
    return how == FAULTY_SHORT ? pwrite(fd, iov[0].iov_base, (iov[0].iov_len + 1) / 2, off) : failure();
}

ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
    REAL(copy_file_range)
    if (!fails(FAULTY_WRITE)) {
        return real(in, in_off, out, out_off, n, flags);
    }
    return how == FAULTY_SHORT && n > 1 ? real(in, in_off, out, out_off, n / 2, flags) : failure();
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    REAL(fallocate64)
    return fails(FAULTY_WRITE) && how != FAULTY_SHORT ? failure() : real(fd, mode, off, len);
}

int ftruncate64(int fd, off64_t len)
{
    REAL(ftruncate64)
    return fails(FAULTY_SIZE) && how != FAULTY_SHORT ? failure() : real(fd, len);
}

int fstat64(int fd, struct stat64 *st)
{
    REAL(fstat64)
    return fails(FAULTY_SIZE) && how != FAULTY_SHORT ? failure() : real(fd, st);
}

off64_t lseek64(int fd, off64_t off, int whence)
{
    REAL(lseek64)
    return fails(FAULTY_SIZE) && how != FAULTY_SHORT ? failure() : real(fd, off, whence);
}

int fsync(int fd)
{
    (void)fd;
    return fails(FAULTY_SYNC) && how != FAULTY_SHORT ? failure() : 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

int renameat(int old_folder, const char *old_path, int new_folder, const char *new_path)
{
    REAL(renameat)
    return fails(FAULTY_NAME) ? failure() : real(old_folder, old_path, new_folder, new_path);
}

int renameat2(int old_folder, const char *old_path, int new_folder, const char *new_path, unsigned flags)
{
    REAL(renameat2)
    return fails(FAULTY_NAME) ? failure() : real(old_folder, old_path, new_folder, new_path, flags);
}

int linkat(int old_folder, const char *old_path, int new_folder, const char *new_path, int flags)
{
    REAL(linkat)
    return fails(FAULTY_NAME) ? failure() : real(old_folder, old_path, new_folder, new_path, flags);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat)
    return fails(FAULTY_UNLINK) ? failure() : real(folder, path, flags);
}

/* ---- connections ---- */

int socket(int domain, int type, int protocol)
{
    REAL(socket)
    return fails(FAULTY_CONNECT) && how >= 0 ? failure() : real(domain, type, protocol);
}

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    REAL(connect)
    return fails(FAULTY_CONNECT) && fails_at_once(fd) ? failure() : real(fd, to, len);
}

/* How much of n bytes is to be done: all; half; FAILED. */
#define FAILED SIZE_MAX
static size_t some_of(uint32_t kind, int fd, size_t n)
{
    if (!fails(kind)) {
        return n;
    }
    if (how == FAULTY_SHORT) {
        return n > 1 ? n / 2 : n;
    }
    return fails_at_once(fd) ? FAILED : n;
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    REAL(send)
    n = some_of(FAULTY_SEND, fd, n);
    return n == FAILED ? failure() : real(fd, buf, n, flags);
}

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    REAL(recv)
    n = some_of(FAULTY_RECEIVE, fd, n);
    return n == FAILED ? failure() : real(fd, buf, n, flags);
}

/* The first piece of a message, or half of it if it is the only one. */
static struct msghdr shorter(const struct msghdr *message, struct iovec *piece)
{
    struct msghdr m = *message;

    *piece = m.msg_iov[0];
    if (m.msg_iovlen == 1 && piece->iov_len > 1) {
        piece->iov_len /= 2;
    }
    m.msg_iov = piece;
    m.msg_iovlen = 1;
    return m;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct iovec piece;

    REAL(sendmsg)
    size_t some = some_of(FAULTY_SEND, fd, 2);
    if (some == 1) {
        struct msghdr m = shorter(message, &piece);
        return real(fd, &m, flags);
    }
    return some == FAILED ? failure() : real(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct iovec piece;

    REAL(recvmsg)
    size_t some = some_of(FAULTY_RECEIVE, fd, 2);
    if (some == 1) {
        struct msghdr m = shorter(message, &piece);
        return real(fd, &m, flags);
    }
    return some == FAILED ? failure() : real(fd, message, flags);
}

int poll(struct pollfd *fds, nfds_t n, int wait_ms)
{
    REAL(poll)
    return fails(FAULTY_POLL) && how >= 0 ? failure() : real(fds, n, wait_ms);
}

/* ---- memory ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

bool faulty_has_memory(void)
{
    return false;
}

int64_t faulty_pieces(void)
{
    return 0;
}

#else

/* What the C library's own names stand for. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *p);

static _Atomic int64_t pieces;

bool faulty_has_memory(void)
{
    return true;
}

int64_t faulty_pieces(void)
{
    return pieces;
}

static void *taken(void *p)
{
    pieces += p != NULL;
    return p;
}

void *malloc(size_t size)
{
    if (fails(FAULTY_MEMORY)) {
        errno = ENOMEM;
        return NULL;
    }
    return taken(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    if (fails(FAULTY_MEMORY)) {
        errno = ENOMEM;
        return NULL;
    }
    return taken(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (fails(FAULTY_MEMORY)) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = __libc_realloc(old, size);
    pieces += old == NULL && p != NULL;
    return p;
}

void *memalign(size_t align, size_t size)
{
    if (fails(FAULTY_MEMORY)) {
        errno = ENOMEM;
        return NULL;
    }
    return taken(__libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    *ret = memalign(align, size);
    return *ret != NULL ? 0 : ENOMEM;
}

void free(void *p)
{
    pieces -= p != NULL;
    __libc_free(p);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* faults.c - devices that fail, for driven: its own system calls before those of the C library, for the library under
 * test too. DRIVEN_FAULTS names a file of rules, which is looked at with each call, so that a test changes them while
 * requests are under way; without it nothing is different. A rule is a line
 *
 *   KIND PATH OFFSET LENGTH NUMBER
 *
 * for files whose path ends so (of an open: the path that is opened, else where that has led), and of reads and writes
 * for those that touch the range:
 *   open        fails with errno NUMBER         open-write  the same, of an open for writing
 *   direct      O_DIRECT cannot be turned on    read, write, sync  fail with errno NUMBER
 *   change      the byte at OFFSET is another one in each of the first NUMBER reads of it
 *   slow        a read takes NUMBER ms
 * What a rule has met, and each BLKFLSBUF, is a line "KIND PATH" of the file DRIVEN_FAULTS.log. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RULES_MAX 4096
#define NAME_LEN 512

static const char *rules_path;
static int (*real_open64)(const char *, int, ...);
static int (*real_openat64)(int, const char *, int, ...);
static int (*real_fcntl64)(int, int, ...);
static int (*real_ioctl)(int, unsigned long, ...);
static ssize_t (*real_pread64)(int, void *, size_t, off64_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static ssize_t (*real_preadv64)(int, const struct iovec *, int, off64_t);
static ssize_t (*real_pwritev64)(int, const struct iovec *, int, off64_t);
static int (*real_fdatasync)(int);
static _Atomic unsigned changes;

static void *find(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL) {
        abort();
    }
    return found;
}

/* Before main, and before there are threads. */
static __attribute__((constructor)) void begin(void)
{
    real_open64 = (int (*)(const char *, int, ...))find("open64");
    real_openat64 = (int (*)(int, const char *, int, ...))find("openat64");
    real_fcntl64 = (int (*)(int, int, ...))find("fcntl64");
    real_ioctl = (int (*)(int, unsigned long, ...))find("ioctl");
    real_pread64 = (ssize_t(*)(int, void *, size_t, off64_t))find("pread64");
    real_pwrite64 = (ssize_t(*)(int, const void *, size_t, off64_t))find("pwrite64");
    real_preadv64 = (ssize_t(*)(int, const struct iovec *, int, off64_t))find("preadv64");
    real_pwritev64 = (ssize_t(*)(int, const struct iovec *, int, off64_t))find("pwritev64");
    real_fdatasync = (int (*)(int))find("fdatasync");
    rules_path = getenv("DRIVEN_FAULTS");
}

/* ---- rules ---- */

struct rule {
    char kind[16], path[NAME_LEN];
    unsigned long long off, len;
    int number;
};

/* What is asked of a file. */
struct use {
    const char *kind, *path;
    unsigned long long off, len;
};

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool meets(const struct rule *r, const struct use *u)
{
    return strcmp(r->kind, u->kind) == 0 && ends_with(u->path, r->path) &&
           (r->len == 0 || (u->off < r->off + r->len && u->off + u->len > r->off));
}

static void note(const char *kind, const char *path)
{
    char name[NAME_LEN + 8], line[NAME_LEN + 32];

    (void)snprintf(name, sizeof name, "%s.log", rules_path);
    int len = snprintf(line, sizeof line, "%s %s\n", kind, path);
    int fd = real_open64(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)!write(fd, line, (size_t)len);
        (void)close(fd);
    }
}

/* The first rule that a use meets. */
static bool find_rule(const struct use *u, struct rule *ret_rule)
{
    char text[RULES_MAX];
    int fd = real_open64(rules_path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0) {
        (void)close(fd);
    }
    text[len > 0 ? len : 0] = '\0';
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (sscanf(line, "%15s %511s %llu %llu %d", ret_rule->kind, ret_rule->path, &ret_rule->off, &ret_rule->len,
                   &ret_rule->number) == 5 &&
            meets(ret_rule, u)) {
            note(u->kind, u->path);
            return true;
        }
    }
    return false;
}

/* Whether a call is to fail; errno is set then. */
static bool fails(const char *kind, const char *path, off64_t off, size_t len)
{
    const struct use u = {.kind = kind, .path = path, .off = (unsigned long long)off, .len = len};
    struct rule r;
    int e = errno;

    bool found = rules_path != NULL && find_rule(&u, &r);
    errno = found ? r.number : e;
    return found;
}

static bool path_of(int fd, char path[NAME_LEN])
{
    char link[64];

    if (rules_path == NULL) {
        return false;
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, NAME_LEN - 1);
    path[len > 0 ? len : 0] = '\0';
    return len > 0;
}

static bool fd_fails(const char *kind, int fd, off64_t off, size_t len)
{
    char path[NAME_LEN];
    int e = errno;

    bool known = path_of(fd, path);
    errno = e;
    return known && fails(kind, path, off, len);
}

/* What slows reads down. */
static void wait_for(int fd, off64_t off, size_t len)
{
    char path[NAME_LEN];
    struct rule r;

    if (path_of(fd, path)) {
        const struct use u = {.kind = "slow", .path = path, .off = (unsigned long long)off, .len = len};
        if (find_rule(&u, &r)) {
            (void)usleep((useconds_t)r.number * 1000);
        }
    }
}

/* ---- calls ---- */

static mode_t mode_of(int flags, va_list *args)
{
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(*args, mode_t) : 0;
}

static bool open_fails(const char *path, int flags)
{
    return fails("open", path, 0, 0) || ((flags & O_ACCMODE) != O_RDONLY && fails("open-write", path, 0, 0));
}

int open64(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = mode_of(flags, &args);
    va_end(args);
    return open_fails(path, flags) ? -1 : real_open64(path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = mode_of(flags, &args);
    va_end(args);
    return open_fails(path, flags) ? -1 : real_openat64(folder, path, flags, mode);
}

int fcntl64(int fd, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (command == F_SETFL && ((long)argument & O_DIRECT) != 0 && fd_fails("direct", fd, 0, 0)) {
        return -1;
    }
    return real_fcntl64(fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...)
{
    char path[NAME_LEN];
    va_list args;

    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (request == BLKFLSBUF && path_of(fd, path)) {
        note("BLKFLSBUF", path);
    }
    return real_ioctl(fd, request, argument);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
    struct rule r;
    char path[NAME_LEN];

    wait_for(fd, off, len);
    if (fd_fails("read", fd, off, len)) {
        return -1;
    }
    ssize_t n = real_pread64(fd, buf, len, off);
    if (n > 0 && path_of(fd, path)) {
        const struct use u = {"change", path, (unsigned long long)off, (size_t)n};
        if (find_rule(&u, &r) && r.off >= u.off && atomic_fetch_add(&changes, 1) < (unsigned)r.number) {
            ((unsigned char *)buf)[r.off - u.off] ^= (unsigned char)(1 + changes % 255);
        }
    }
    return n;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
    return fd_fails("write", fd, off, len) ? -1 : real_pwrite64(fd, buf, len, off);
}

static size_t total(const struct iovec *iov, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t off)
{
    return fd_fails("read", fd, off, total(iov, count)) ? -1 : real_preadv64(fd, iov, count, off);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t off)
{
    return fd_fails("write", fd, off, total(iov, count)) ? -1 : real_pwritev64(fd, iov, count, off);
}

int fdatasync(int fd)
{
    return fd_fails("sync", fd, 0, 0) ? -1 : real_fdatasync(fd);
}

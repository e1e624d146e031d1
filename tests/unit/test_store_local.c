/* SPDX-License-Identifier: BSD-3-Clause */
/* What only files of the host can do: types of files, locks of others, close-on-exec, the page cache left out. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "store/store.h"

static struct store_fs *fs;
static char folder[64];
static struct err err;
static unsigned news_count;

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void count_news(const char *fmt, va_list args)
{
    (void)fmt;
    (void)args;
    news_count++;
}

static int begin(void **state)
{
    (void)state;
    fs = store_fs_local();
    (void)snprintf(folder, sizeof folder, "/tmp/vixdisk-local-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void make(const char *name)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->create(fs, at(name), 0, 0640, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, "bytes", 5, 0, &err), VIX_OK);
    assert_true(s->writable);
    store_close(s);
}

static VixError try_open(const char *path, uint32_t flags)
{
    struct store *s = NULL;
    VixError code = fs->ops->open(fs, path, flags, &s, &err);
    assert_true((code == VIX_OK) == (s != NULL));
    store_close(s);
    return code;
}

static void assert_run(struct store *s, uint64_t off, uint64_t len, uint64_t want, bool hole)
{
    struct store_run run = {0};

    assert_int_equal(s->ops->map(s, off, len, &run, &err), VIX_OK);
    assert_int_equal(run.len, want);
    assert_int_equal(run.hole, hole);
}

/** A reader's store remembers where data was found last: that must not leak into what lies beside it. */
static void map_of_a_reader(void **state)
{
    enum { MIB = 1 << 20 };
    struct store *s = NULL;
    static uint8_t bytes[MIB];

    (void)state;
    memset(bytes, 7, sizeof bytes);
    assert_int_equal(fs->ops->create(fs, at("holes"), 0, 0640, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, bytes, MIB, 0, &err), VIX_OK);
    assert_int_equal(store_write(s, bytes, MIB, 4 * MIB, &err), VIX_OK);
    /* a writer makes data of a hole, and sees it at once */
    assert_run(s, 2 * MIB, MIB, MIB, true);
    assert_run(s, 4 * MIB, MIB, MIB, false);
    assert_int_equal(s->ops->punch(s, 4 * MIB + MIB / 2, MIB / 2, &err), VIX_OK);
    assert_run(s, 4 * MIB, MIB, MIB / 2, false);
    assert_run(s, 4 * MIB + MIB / 2, MIB / 2, MIB / 2, true);
    store_close(s);

    assert_int_equal(fs->ops->open(fs, at("holes"), STORE_READ, &s, &err), VIX_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_run(s, 0, 3 * MIB, MIB, false);
        assert_run(s, 4096, 4096, 4096, false);
        assert_run(s, MIB - 4096, 8192, 4096, false);
        assert_run(s, MIB, 4 * MIB, 3 * MIB, true);
        assert_run(s, 3 * MIB, 4096, 4096, true);
        assert_run(s, 4 * MIB, MIB, MIB / 2, false);
        assert_run(s, 4 * MIB + MIB / 2, 10, 10, true);
    }
    assert_int_not_equal(s->ops->map(s, 5 * MIB, 1, &(struct store_run){0}, &err), VIX_OK);
    store_close(s);
}

static void only_files(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(try_open(at("fifo"), STORE_READ), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open(at("fifo"), STORE_WRITE | STORE_DEVICE_OK), VIX_E_INCORRECT_FILE_TYPE);
    assert_non_null(strstr(err.text, "a pipe"));
    assert_int_equal(try_open(folder, STORE_READ), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open(folder, STORE_WRITE), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open("/dev/null", STORE_READ | STORE_DEVICE_OK), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open(at("missing"), STORE_READ), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(try_open(at("fifo/below"), STORE_READ), VIX_E_FILE_NOT_FOUND);
}

static void foreign_lock_folder(void **state)
{
    struct store *s = NULL;

    (void)state;
    make("disk");
    assert_int_equal(mkdir(at("disk.lck"), 0700), 0);
    assert_int_equal(try_open(at("disk"), STORE_WRITE | STORE_LOCK), VIX_OK); /* empty: left over */
    assert_int_equal(close(open(at("disk.lck/M1.txt"), O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(try_open(at("disk"), STORE_WRITE | STORE_LOCK), VIX_OK);
    assert_int_equal(close(open(at("disk.lck/M12345.lck"), O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(try_open(at("disk"), STORE_WRITE | STORE_LOCK), VIX_E_FILE_ALREADY_LOCKED);
    assert_non_null(strstr(err.text, "disk.lck/M12345.lck"));
    assert_int_equal(try_open(at("disk"), STORE_READ | STORE_LOCK), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(try_open(at("disk"), STORE_READ), VIX_OK);
    assert_int_equal(unlink(at("disk")), 0);
    assert_int_equal(fs->ops->create(fs, at("disk"), STORE_LOCK, 0600, &s, &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_null(s);
    assert_int_equal(access(at("disk"), F_OK), -1); /* nothing half-made stays */
}

static void qemu_writer(void **state)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};

    (void)state;
    make("qemu");
    int fd = open(at("qemu"), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(try_open(at("qemu"), STORE_WRITE | STORE_LOCK), VIX_E_FILE_ALREADY_LOCKED);
    assert_non_null(strstr(err.text, "QEMU"));
    assert_int_equal(try_open(at("qemu"), STORE_READ | STORE_LOCK), VIX_OK);
    struct store *s = NULL;
    assert_int_equal(fs->ops->open(fs, at("qemu"), STORE_READ, &s, &err), VIX_OK);
    assert_true(store_has_writer(s));
    assert_int_equal(close(fd), 0);
    assert_false(store_has_writer(s));
    store_close(s);
    assert_int_equal(try_open(at("qemu"), STORE_WRITE | STORE_LOCK), VIX_OK);
}

static void lock_dies_with_its_process(void **state)
{
    int ready[2];
    char byte;

    (void)state;
    make("child");
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = NULL;
        VixError code = fs->ops->open(fs, at("child"), STORE_WRITE | STORE_LOCK, &s, NULL);
        (void)!write(ready[1], code == VIX_OK ? "y" : "n", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(try_open(at("child"), STORE_WRITE | STORE_LOCK), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(try_open(at("child"), STORE_WRITE | STORE_LOCK), VIX_OK);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

/* No descriptor of ours lives through exec: of those from 3 on that did not exist before. */
static void descriptors_are_close_on_exec(void **state)
{
    struct store *s = NULL;
    bool before[64];

    (void)state;
    make("exec");
    for (int fd = 0; fd < 64; fd++) {
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    assert_int_equal(fs->ops->open(fs, at("exec"), STORE_WRITE | STORE_LOCK, &s, &err), VIX_OK);
    unsigned found = 0;
    for (int fd = 0; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !before[fd]) {
            assert_true((flags & FD_CLOEXEC) != 0);
            assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
            found++;
        }
    }
    assert_int_equal(found, 1);
    store_close(s);
    for (int fd = 0; fd < 64; fd++) {
        assert_int_equal(before[fd], fcntl(fd, F_GETFD) >= 0);
    }
}

static void same_file_is_seen(void **state)
{
    struct store *a = NULL;
    struct store *b = NULL;

    (void)state;
    make("one");
    assert_int_equal(link(at("one"), at("two")), 0);
    assert_int_equal(fs->ops->open(fs, at("one"), STORE_READ, &a, &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("two"), STORE_READ, &b, &err), VIX_OK);
    assert_true(a->dev == b->dev && a->ino == b->ino);
    assert_int_equal(a->mode, 0640);
    store_close(a);
    store_close(b);
}

/* On a file system that refuses it: a line of news, and the page cache. On others an alignment. */
static void unbuffered_or_news(void **state)
{
    static uint8_t block[8192] __attribute__((aligned(4096)));
    struct store *s = NULL;

    (void)state;
    make("direct");
    news_count = 0;
    log_set_sinks(count_news, NULL);
    assert_int_equal(fs->ops->open(fs, at("direct"), STORE_WRITE | STORE_UNBUFFERED, &s, &err), VIX_OK);
    log_set_sinks(NULL, NULL);
    assert_true(s->align >= 1 && (s->align & (s->align - 1)) == 0);
    assert_int_equal(news_count, s->align == 1 ? 1 : 0);
    print_message("alignment %u\n", s->align);
    memset(block, 7, sizeof block);
    assert_int_equal(store_write(s, block, sizeof block, 4096, &err), VIX_OK);
    assert_int_equal(store_write(s, block, 1, 20000, &err), VIX_OK);
    memset(block, 0, sizeof block);
    assert_int_equal(store_read(s, block, 5, 0, &err), VIX_OK);
    assert_memory_equal(block, "bytes", 5);
    assert_int_equal(store_read(s, block, 4096, 8192, &err), VIX_OK);
    assert_int_equal(block[4095], 7);
    store_close(s);
    struct stat st;
    assert_int_equal(stat(at("direct"), &st), 0);
    assert_int_equal(st.st_size, 20001);
}

enum { WRITERS = 4, ROUNDS = 200, PIECE = 100 };

struct writer {
    struct store *s;
    unsigned number;
    VixError code;
};

/* Pieces that share blocks with those of the others; the last writer writes whole blocks of its own behind them. */
static void *write_pieces(void *arg)
{
    static const uint8_t block[4096] __attribute__((aligned(4096))) = {1};
    struct writer *w = arg;
    uint8_t piece[PIECE];

    memset(piece, (int)w->number + 1, sizeof piece);
    for (unsigned i = 0; i < ROUNDS && w->code == VIX_OK; i++) {
        uint64_t place = i * WRITERS + w->number;
        w->code = w->number == WRITERS - 1 ? store_write(w->s, block, sizeof block, (i + 100) * sizeof block, NULL)
                                           : store_write(w->s, piece, PIECE, place * PIECE, NULL);
    }
    return NULL;
}

static void unbuffered_writers_share_blocks(void **state)
{
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct store *s = NULL;
    uint8_t byte;
    uint64_t size = 0;

    (void)state;
    assert_int_equal(fs->ops->create(fs, at("shared"), STORE_UNBUFFERED, 0600, &s, &err), VIX_OK);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.s = s, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_pieces, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(writers[i].code, VIX_OK);
    }
    for (unsigned i = 0; i < ROUNDS * WRITERS; i++) {
        for (unsigned k = 0; k < PIECE; k += PIECE - 1) {
            assert_int_equal(store_read(s, &byte, 1, i * PIECE + k, &err), VIX_OK);
            assert_int_equal(byte, i % WRITERS == WRITERS - 1 ? 0 : i % WRITERS + 1);
        }
    }
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(size, (ROUNDS + 100) * 4096);
    store_close(s);
}

static void adopts_descriptors(void **state)
{
    struct store *s = NULL;
    char got[5];

    (void)state;
    make("fd");
    assert_int_equal(store_from_fd(open(at("fd"), O_RDONLY | O_CLOEXEC), "stdin", false, &s, &err), VIX_OK);
    assert_string_equal(s->path, "stdin");
    assert_int_equal(store_read(s, got, 5, 0, &err), VIX_OK);
    assert_memory_equal(got, "bytes", 5);
    store_close(s);
    int fd = open(folder, O_RDONLY | O_CLOEXEC);
    assert_int_equal(store_from_fd(fd, "folder", false, &s, &err), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed: it was the store's */
    assert_int_equal(store_from_fd(-1, "nothing", false, &s, &err), VIX_E_FILE_ERROR);
}

static void pipes_are_read_once(void **state)
{
    struct store *s = NULL;
    uint64_t size;
    char got[5];
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "0123456789", 10), 10);
    (void)close(ends[1]);
    assert_int_equal(store_from_fd(ends[0], "stdin", false, &s, &err), VIX_OK);
    assert_int_equal(store_read(s, got, 2, 0, &err), VIX_OK);
    assert_int_equal(store_read(s, got, 3, 5, &err), VIX_OK); /* 2 to 4 are skipped */
    assert_memory_equal(got, "567", 3);
    assert_int_equal(store_read(s, got, 1, 7, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(store_write(s, got, 1, 8, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(s->ops->size(s, &size, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(store_read(s, got, 3, 8, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_non_null(strstr(err.text, "10 bytes"));
    store_close(s);
}

static void pipes_are_written_once(void **state)
{
    struct store *s = NULL;
    uint64_t size = 0;
    char got[16];
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(store_from_fd(ends[1], "stdout", true, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, "ab", 2, 0, &err), VIX_OK);
    assert_int_equal(store_write(s, "cd", 2, 4, &err), VIX_OK); /* 2 and 3 become zeros */
    assert_int_equal(store_write(s, "x", 1, 5, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(s->ops->truncate(s, 8, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, 7, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(size, 8);
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);
    assert_int_equal(store_read(s, got, 1, 8, &err), VIX_E_NOT_SUPPORTED);
    store_close(s);
    assert_int_equal(read(ends[0], got, sizeof got), 8);
    assert_memory_equal(got, "ab\0\0cd\0\0", 8);
    (void)close(ends[0]);
}

/* A shell's ">>", and "{ echo; command; } > file": what is there stays. */
static void files_that_are_gone_on_with(void **state)
{
    struct store *s = NULL;
    char got[9];

    (void)state;
    make("log");
    assert_int_equal(store_from_fd(open(at("log"), O_WRONLY | O_APPEND | O_CLOEXEC), "stdout", true, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, "ab", 2, 0, &err), VIX_OK);
    store_close(s);
    int fd = open(at("log"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(lseek(fd, 0, SEEK_END), 7);
    assert_int_equal(store_from_fd(fd, "stdout", true, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, "cd", 2, 0, &err), VIX_OK);
    store_close(s);
    assert_int_equal(fs->ops->open(fs, at("log"), STORE_READ, &s, &err), VIX_OK);
    assert_int_equal(store_read(s, got, 9, 0, &err), VIX_OK);
    assert_memory_equal(got, "bytesabcd", 9);
    store_close(s);
}

static void file_system_kind(void **state)
{
    enum store_fs_kind kind = STORE_FS_FAT;
    uint64_t free_bytes = 0;

    (void)state;
    assert_int_equal(fs->ops->statfs(fs, at("new"), &kind, &free_bytes, &err), VIX_OK);
    assert_int_equal(kind, STORE_FS_ORDINARY);
    assert_true(free_bytes > 0);
    assert_int_equal(fs->ops->statfs(fs, at("no/new"), &kind, &free_bytes, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(fs->ops->sync_folder(fs, at("new"), &err), VIX_OK);
    assert_int_equal(fs->ops->sync_folder(fs, at("no/new"), &err), VIX_E_FILE_NOT_FOUND);
}

/* A full device says so. */
static void full_device(void **state)
{
    struct store *s = NULL;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(store_from_fd(fd, "/dev/full", true, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, "x", 1, 0, &err), VIX_E_DISK_FULL);
    store_close(s);
    make("small");
    assert_int_equal(fs->ops->open(fs, at("small"), STORE_WRITE, &s, &err), VIX_OK);
    VixError code = s->ops->preallocate(s, 0, INT64_MAX, &err);
    assert_true(code == VIX_E_DISK_FULL || code == VIX_E_FILE_TOO_BIG);
    store_close(s);
}

/* ---- flushes ---- */

/* This stands before the C library's. */
static atomic_int flushes_begun, flushes_failing; /* the latter: errno of those to come; -1: they wait */

int fdatasync(int fd)
{
    atomic_fetch_add(&flushes_begun, 1);
    while (atomic_load(&flushes_failing) < 0) {
        (void)usleep(1000);
    }
    errno = atomic_load(&flushes_failing);
    return errno != 0 ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static struct store *open_to_write(const char *name, bool idle)
{
    struct store *s = NULL;

    (void)unlink(at(name));
    make(name);
    assert_int_equal(idle ? store_idle_open(fs, at(name), STORE_WRITE, &s, &err)
                          : fs->ops->open(fs, at(name), STORE_WRITE, &s, &err),
                     VIX_OK);
    assert_int_equal(store_write(s, "x", 1, 0, &err), VIX_OK);
    return s;
}

/** The kernel tells of a failure once, and takes the bytes for written. */
static void a_failed_flush_is_told_again(void **state)
{
    (void)state;
    for (unsigned idle = 0; idle < 2; idle++) {
        struct store *s = open_to_write("failed", idle != 0);
        atomic_store(&flushes_failing, EIO);
        assert_int_equal(s->ops->flush(s, &err), VIX_E_FILE_ERROR);
        atomic_store(&flushes_failing, 0);
        assert_int_equal(s->ops->flush(s, &err), VIX_E_FILE_ERROR);
        assert_int_equal(store_write(s, "y", 1, 0, &err), VIX_OK);
        assert_int_equal(s->ops->flush(s, &err), VIX_E_FILE_ERROR);
        store_close(s);
    }
}

struct flusher {
    struct store *s;
    atomic_bool done;
    VixError code;
};

static void *flush_it(void *ctx)
{
    struct flusher *f = ctx;

    f->code = f->s->ops->flush(f->s, NULL);
    atomic_store(&f->done, true);
    return NULL;
}

/** One that begins while another is at work does not end before it, nor better. */
static void flushes_at_once_end_alike(void **state)
{
    (void)state;
    for (unsigned idle = 0; idle < 2; idle++) {
        struct store *s = open_to_write("at-once", idle != 0);
        struct flusher first = {.s = s}, second = {.s = s};
        pthread_t threads[2];
        atomic_store(&flushes_begun, 0);
        atomic_store(&flushes_failing, -1);
        assert_int_equal(pthread_create(&threads[0], NULL, flush_it, &first), 0);
        while (atomic_load(&flushes_begun) == 0) {
            (void)usleep(1000);
        }
        assert_int_equal(pthread_create(&threads[1], NULL, flush_it, &second), 0);
        (void)usleep(50000);
        bool early = atomic_load(&second.done);
        atomic_store(&flushes_failing, EIO);
        (void)pthread_join(threads[0], NULL);
        (void)pthread_join(threads[1], NULL);
        atomic_store(&flushes_failing, 0);
        assert_false(early);
        assert_int_equal(first.code, VIX_E_FILE_ERROR);
        assert_int_equal(second.code, VIX_E_FILE_ERROR);
        store_close(s);
    }
}

#define MANY 40u

/** A file that was closed while it was idle is found again when the process has gone to another folder. */
static void idle_files_are_found_from_elsewhere(void **state)
{
    struct store *stores[MANY];
    char name[16], byte, here[256];
    struct rlimit before, few;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 48, .rlim_max = before.rlim_max};
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many-%u", i);
        assert_int_equal(store_idle_create(fs, name, 0, 0600, &stores[i], &err), VIX_OK);
        assert_int_equal(store_write(stores[i], name, sizeof name, 0, &err), VIX_OK);
    }
    assert_int_equal(chdir("/"), 0);
    for (unsigned i = 0; i < 2 * MANY; i++) {
        assert_int_equal(store_read(stores[i % MANY], &byte, 1, 0, &err), VIX_OK);
    }
    (void)snprintf(name, sizeof name, "many-%u", 3u);
    assert_string_equal(stores[3]->path, name);
    for (unsigned i = 0; i < MANY; i++) {
        store_close(stores[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(chdir(here), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_of_a_reader),
        cmocka_unit_test(only_files),
        cmocka_unit_test(foreign_lock_folder),
        cmocka_unit_test(qemu_writer),
        cmocka_unit_test(lock_dies_with_its_process),
        cmocka_unit_test(descriptors_are_close_on_exec),
        cmocka_unit_test(same_file_is_seen),
        cmocka_unit_test(unbuffered_or_news),
        cmocka_unit_test(unbuffered_writers_share_blocks),
        cmocka_unit_test(adopts_descriptors),
        cmocka_unit_test(pipes_are_read_once),
        cmocka_unit_test(pipes_are_written_once),
        cmocka_unit_test(files_that_are_gone_on_with),
        cmocka_unit_test(file_system_kind),
        cmocka_unit_test(full_device),
        cmocka_unit_test(a_failed_flush_is_told_again),
        cmocka_unit_test(flushes_at_once_end_alike),
        cmocka_unit_test(idle_files_are_found_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

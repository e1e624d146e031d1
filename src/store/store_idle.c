/* SPDX-License-Identifier: BSD-3-Clause */
/* store_idle.c - stores of disks that consist of many files: of all such stores of the process some are open, and one
 * that was not used lately is closed for one that is. Each use of an open one costs two atomic additions, no lock; the
 * clock rule finds the idle ones, as in the cache of tables. A file that was written to is put on stable storage before
 * it is closed; if that fails, all flushes after it tell, as they do once a flush has failed. While a file is closed
 * its lock is not held: the descriptor of the disk is open all the time, and its lock keeps other users of the disk
 * away. Any thread; the lock here is taken after all others. */
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "store/store.h"

#define OPEN_MIN 16u
#define CLOSED (INT_MIN / 2)

struct idle_store {
    struct store base;
    char *place; /* base.path from the root, where the file system has a working folder: by which it is opened again */
    struct store_fs *fs;
    uint32_t flags;
    atomic_int users;           /* calls that use inner; far below 0: closed */
    struct store *inner;        /* valid while users counts the caller */
    atomic_bool used;           /* since the hand last passed */
    atomic_bool written;        /* since the last flush began */
    pthread_mutex_t flush_lock; /* a flush ends when those before it have ended; taken before lock */
    struct err failure;         /* of a flush; guarded by lock, as the ring */
    struct idle_store *next, *prev;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct idle_store *hand; /* in the ring of those that are open; NULL: none is */
static unsigned open_count;

static const struct store_ops idle_ops;

static struct idle_store *idle_of(struct store *s)
{
    return (struct idle_store *)s;
}

/* ---- the ring ---- */

static void add_locked(struct idle_store *s)
{
    if (hand == NULL) {
        s->next = s->prev = hand = s;
    } else {
        s->next = hand; /* the hand comes to it last */
        s->prev = hand->prev;
        s->prev->next = s->next->prev = s;
    }
    open_count++;
}

static void remove_locked(struct idle_store *s)
{
    s->prev->next = s->next;
    s->next->prev = s->prev;
    if (hand == s) {
        hand = s->next != s ? s->next : NULL;
    }
    open_count--;
}

static void close_inner_locked(struct idle_store *s)
{
    remove_locked(s);
    store_close(s->inner);
    s->inner = NULL;
}

/** Closes one that is idle; false if all are in use. */
static bool evict_locked(void)
{
    for (unsigned tries = 2 * open_count; tries > 0; tries--) {
        struct idle_store *s = hand;
        int none = 0;
        hand = s->next;
        if (atomic_exchange_explicit(&s->used, false, memory_order_relaxed) ||
            !atomic_compare_exchange_strong(&s->users, &none, CLOSED)) {
            continue;
        }
        if (atomic_exchange(&s->written, false)) {
            struct err *err = s->failure.code == VIX_OK ? &s->failure : NULL;
            (void)s->inner->ops->flush(s->inner, err);
        }
        close_inner_locked(s);
        return true;
    }
    return false;
}

/** Closes what is beyond half of the files that the process may have open: the rest is for others. */
static void keep_half_locked(void)
{
    struct rlimit limit = {.rlim_cur = 2 * OPEN_MIN};

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    while (open_count >= OPEN_MIN && open_count >= limit.rlim_cur / 2 && evict_locked()) {
    }
}

/** Whether there is a chance that the next try to open succeeds. */
static bool make_room_locked(VixError code)
{
    return code == VIX_E_DISK_TOOMANYOPENFILES && evict_locked();
}

/* ---- use ---- */

static VixError reopen_locked(struct idle_store *s, struct err *err)
{
    struct store *inner = NULL;
    VixError code;

    keep_half_locked();
    do {
        code = s->fs->ops->open(s->fs, s->place, s->flags, &inner, err);
    } while (make_room_locked(code));
    if (code != VIX_OK) {
        return code;
    }
    if (inner->dev != s->base.dev || inner->ino != s->base.ino) {
        store_close(inner);
        return err_set(err, VIX_E_FILE_ERROR, "%s: another file has taken the place of this one, which is in use",
                       s->base.path);
    }
    s->inner = inner;
    add_locked(s);
    return VIX_OK;
}

static VixError begin_slow(struct idle_store *s, struct err *err)
{
    SCOPED_LOCK(&lock);
    if (atomic_fetch_add(&s->users, 1) >= 0) {
        return VIX_OK; /* another thread has opened it */
    }
    VixError code = reopen_locked(s, err);
    (void)atomic_fetch_add(&s->users, code == VIX_OK ? -CLOSED : -1);
    return code;
}

/** The open file, until end_use. */
static inline VixError begin_use(struct store *base, struct store **ret_inner, struct err *err)
{
    struct idle_store *s = idle_of(base);
    VixError code = VIX_OK;

    if (atomic_fetch_add(&s->users, 1) < 0) {
        (void)atomic_fetch_sub(&s->users, 1);
        code = begin_slow(s, err);
    }
    if (code == VIX_OK) {
        if (!atomic_load_explicit(&s->used, memory_order_relaxed)) {
            atomic_store_explicit(&s->used, true, memory_order_relaxed);
        }
        *ret_inner = s->inner;
    }
    return code;
}

static inline VixError end_use(struct store *base, bool wrote, VixError code)
{
    struct idle_store *s = idle_of(base);

    if (wrote && !atomic_load_explicit(&s->written, memory_order_relaxed)) {
        atomic_store(&s->written, true);
    }
    (void)atomic_fetch_sub(&s->users, 1);
    return code;
}

/* ---- the calls ---- */

#define PASS(wrote, call)                                                                                              \
    struct store *inner;                                                                                               \
    VixError code = begin_use(s, &inner, err);                                                                         \
    return code != VIX_OK ? code : end_use(s, wrote, inner->ops->call)

static VixError idle_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    PASS(false, readv(inner, iov, iovcnt, off, err));
}

static VixError idle_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    PASS(true, writev(inner, iov, iovcnt, off, err));
}

static VixError idle_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    PASS(false, size(inner, ret_size, err));
}

static VixError idle_truncate(struct store *s, uint64_t size, struct err *err)
{
    PASS(true, truncate(inner, size, err));
}

static VixError idle_preallocate(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    PASS(true, preallocate(inner, off, len, err));
}

static VixError idle_punch(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    PASS(true, punch(inner, off, len, err));
}

static VixError idle_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    PASS(false, map(inner, off, len, ret_run, err));
}

static VixError idle_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                          struct err *err)
{
    PASS(true, copy(inner, off, src, src_off, len, err));
}

static VixError idle_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    PASS(false, allocated(inner, ret_bytes, err));
}

/** What was closed since the last flush is on stable storage already, or is told of now. */
static VixError idle_flush(struct store *base, struct err *err)
{
    struct idle_store *s = idle_of(base);
    struct store *inner;
    struct err failure;

    SCOPED_LOCK(&s->flush_lock);
    VixError code = begin_use(base, &inner, err);
    if (code != VIX_OK) {
        return code;
    }
    err_init(&failure);
    if (atomic_exchange(&s->written, false)) {
        (void)inner->ops->flush(inner, &failure);
    }
    (void)end_use(base, false, VIX_OK);
    (void)pthread_mutex_lock(&lock);
    if (s->failure.code == VIX_OK) {
        s->failure = failure;
    }
    code = s->failure.code;
    if (code != VIX_OK && err != NULL) {
        *err = s->failure;
    }
    (void)pthread_mutex_unlock(&lock);
    return code;
}

static void idle_will_need(struct store *base, uint64_t off, uint64_t len)
{
    struct idle_store *s = idle_of(base);

    if (atomic_fetch_add(&s->users, 1) >= 0) {
        s->inner->ops->will_need(s->inner, off, len);
    }
    (void)atomic_fetch_sub(&s->users, 1);
}

static void idle_close(struct store *base)
{
    struct idle_store *s = idle_of(base);

    (void)pthread_mutex_lock(&lock);
    if (s->inner != NULL) {
        close_inner_locked(s);
    }
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_mutex_destroy(&s->flush_lock);
    free(base->path);
    free(s->place);
    free(s);
}

/* ---- making ---- */

/** The path by which a file is found whatever the working folder is then. */
static char *place_of(const struct store_fs *fs, const char *path, struct err *err)
{
    CLEANUP_FREE char *folder = fs == store_fs_local() && path[0] != '/' ? getcwd(NULL, 0) : NULL;

    return folder != NULL ? alloc_printf(err, "%s/%s", folder, path) : alloc_text(path, err);
}

/** Takes an open store, which is closed on failure. */
static VixError wrap_locked(struct store_fs *fs, struct store *inner, uint32_t flags, struct store **ret_store,
                            struct err *err)
{
    struct idle_store *s = alloc_zero(sizeof *s, err);

    if (s != NULL) {
        s->base = *inner;
        s->base.path = alloc_text(inner->path, err);
        s->place = place_of(fs, inner->path, err);
    }
    if (s == NULL || s->base.path == NULL || s->place == NULL) {
        if (s != NULL) {
            free(s->base.path);
            free(s->place);
        }
        free(s);
        store_close(inner);
        return VIX_E_OUT_OF_MEMORY;
    }
    s->base.ops = &idle_ops;
    s->fs = fs;
    s->flags = flags;
    s->inner = inner;
    (void)pthread_mutex_init(&s->flush_lock, NULL);
    err_init(&s->failure);
    add_locked(s);
    *ret_store = &s->base;
    return VIX_OK;
}

VixError store_idle_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                         struct err *err)
{
    struct store *inner = NULL;
    VixError code;

    SCOPED_LOCK(&lock);
    keep_half_locked();
    do {
        code = fs->ops->open(fs, path, flags, &inner, err);
    } while (make_room_locked(code));
    return code == VIX_OK ? wrap_locked(fs, inner, flags, ret_store, err) : code;
}

VixError store_idle_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                           struct store **ret_store, struct err *err)
{
    struct store *inner = NULL;
    VixError code;

    SCOPED_LOCK(&lock);
    keep_half_locked();
    do {
        code = fs->ops->create(fs, path, flags, mode, &inner, err);
    } while (make_room_locked(code));
    if (code != VIX_OK) {
        return code;
    }
    code = wrap_locked(fs, inner, flags | STORE_WRITE, ret_store, err);
    if (code != VIX_OK) {
        (void)fs->ops->unlink(fs, path, NULL);
    }
    return code;
}

VixError store_copy(struct store *dst, uint64_t off, struct store *src, uint64_t src_off, uint64_t len, struct err *err)
{
    struct store *inner;

    if (src->ops != &idle_ops) {
        return dst->ops->copy(dst, off, src, src_off, len, err);
    }
    VixError code = begin_use(src, &inner, err);
    return code != VIX_OK ? code : end_use(src, false, dst->ops->copy(dst, off, inner, src_off, len, err));
}

static const struct store_ops idle_ops = {
    .readv = idle_readv,
    .writev = idle_writev,
    .size = idle_size,
    .truncate = idle_truncate,
    .preallocate = idle_preallocate,
    .punch = idle_punch,
    .map = idle_map,
    .copy = idle_copy,
    .flush = idle_flush,
    .allocated = idle_allocated,
    .will_need = idle_will_need,
    .close = idle_close,
};

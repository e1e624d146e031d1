/* SPDX-License-Identifier: BSD-3-Clause */
/* The file system around another one that fails, limits and records. One mutex: every change is made, counted and
 * recorded under it, so that the record has the order in which things happened; reads only count under it. */
#include "store/store_fault.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "store/store_file.h"
#include "store/store_record.h"

struct fault_fs {
    struct store_fs base;
    struct store_fs *inner;
    pthread_mutex_t mutex;
    struct store_fault_rule rule;
    uint64_t matched; /* operations of the rule's kinds */
    bool hit;
    uint64_t counts[FAULT_KINDS];
    bool pretends;
    enum store_fs_kind kind;
    uint64_t max_file;
    uint64_t free_bytes;
    bool recording;
    struct record record;
};

struct fault_store {
    struct store base;
    struct store *inner;
    struct fault_fs *fs;
};

static struct fault_fs *fault_of(struct store_fs *fs)
{
    return (struct fault_fs *)fs;
}

static struct fault_store *fault_store_of(struct store *s)
{
    return (struct fault_store *)s;
}

/* ---- under the mutex ---- */

/* Counts an operation; whether it is to fail. *ret_part: bytes to be moved before. */
static bool must_fail_locked(struct fault_fs *f, uint32_t op, uint64_t *ret_part)
{
    const struct store_fault_rule *rule = &f->rule;

    f->counts[__builtin_ctz(op)]++;
    *ret_part = 0;
    if ((rule->ops & op) == 0 || rule->nth == 0) {
        return false;
    }
    f->matched++;
    if (f->matched != rule->nth && !(rule->stays && f->matched > rule->nth)) {
        return false;
    }
    *ret_part = f->matched == rule->nth ? rule->part : 0;
    f->hit = true;
    return true;
}

static VixError fail_locked(const struct fault_fs *f, uint32_t op, const char *path, struct err *err)
{
    if (f->rule.errnum == 0 && op == FAULT_READ) {
        return err_set(err, VIX_E_HOST_FILE_ERROR_EOF, "%s: the file ends early (a fault made for a test)", path);
    }
    if (f->rule.errnum == EOPNOTSUPP) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: an inability made for a test", path);
    }
    return err_set_errno(err, f->rule.errnum != 0 ? f->rule.errnum : EIO, "%s: a fault made for a test", path);
}

/* Counts an operation that cannot be done in part. */
static VixError pass_locked(struct fault_fs *f, uint32_t op, const char *path, struct err *err)
{
    uint64_t part;
    return must_fail_locked(f, op, &part) ? fail_locked(f, op, path, err) : VIX_OK;
}

static VixError pass(struct fault_fs *f, uint32_t op, const char *path, struct err *err)
{
    SCOPED_LOCK(&f->mutex);
    return pass_locked(f, op, path, err);
}

static VixError note_locked(struct fault_fs *f, VixError code, struct record_event event, struct err *err)
{
    return code == VIX_OK && f->recording ? record_add(&f->record, &event, err) : code;
}

/* The bytes of a range, from its start, that can be written before the pretended device is full; *ret_new: those that
 * take new space. */
static uint64_t fitting_locked(struct fault_fs *f, struct store *inner, uint64_t off, uint64_t len, uint64_t *ret_new)
{
    uint64_t size = 0;
    uint64_t done = 0;
    uint64_t fresh = 0;

    (void)inner->ops->size(inner, &size, NULL);
    while (done < len) {
        struct store_run run = {.len = len - done, .hole = true};
        if (off + done < size) {
            (void)inner->ops->map(inner, off + done, len - done, &run, NULL);
        }
        uint64_t take = run.hole ? min_u64(run.len, f->free_bytes - fresh) : run.len;
        fresh += run.hole ? take : 0;
        done += take;
        if (take < run.len) {
            break;
        }
    }
    *ret_new = fresh;
    return done;
}

/* How much of a range the pretended limits let through; *ret_errnum: why not all, or 0. */
static uint64_t limit_locked(struct fault_fs *f, struct store *inner, uint64_t off, uint64_t len, int *ret_errnum)
{
    uint64_t end;
    uint64_t fresh;

    *ret_errnum = 0;
    if (!f->pretends || !checked_add(off, len, &end)) {
        return len;
    }
    if (end > f->max_file) {
        *ret_errnum = EFBIG;
        len = off < f->max_file ? f->max_file - off : 0;
    }
    uint64_t fits = fitting_locked(f, inner, off, len, &fresh);
    if (fits < len) {
        *ret_errnum = ENOSPC;
    }
    if (f->free_bytes != UINT64_MAX) {
        f->free_bytes -= fresh;
    }
    return fits;
}

/* ---- an open file ---- */

static VixError fault_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t part;
    uint64_t len = 0;

    (void)pthread_mutex_lock(&f->fs->mutex);
    bool fails = must_fail_locked(f->fs, FAULT_READ, &part);
    VixError code = fails ? fail_locked(f->fs, FAULT_READ, s->path, err) : VIX_OK;
    (void)pthread_mutex_unlock(&f->fs->mutex);
    if (!fails) {
        return f->inner->ops->readv(f->inner, iov, iovcnt, off, err);
    }
    /* what a caller that looks at the buffer after a failure would find */
    (void)iov_total(iov, iovcnt, &len);
    part = min_u64(part, len);
    CLEANUP_FREE uint8_t *buf = alloc_zero(part, NULL);
    if (buf != NULL && store_read(f->inner, buf, part, off, NULL) == VIX_OK) {
        iov_put(&at, buf, part);
    }
    return code;
}

static VixError write_locked(struct fault_store *f, const uint8_t *buf, uint64_t len, uint64_t off, struct err *err)
{
    VixError code = len > 0 ? store_write(f->inner, buf, len, off, err) : VIX_OK;

    if (len == 0) {
        return code;
    }
    return note_locked(
        f->fs, code,
        (struct record_event){
            .kind = RECORD_WRITE, .file = f->base.ino, .off = off, .len = len, .data = (uint8_t *)(uintptr_t)buf},
        err);
}

static VixError fault_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t len = 0;
    uint64_t part;
    int errnum;

    if (!iov_total(iov, iovcnt, &len) || !s->writable) {
        return f->inner->ops->writev(f->inner, iov, iovcnt, off, err);
    }
    CLEANUP_FREE uint8_t *buf = alloc_zero(len, err);
    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    iov_get(&at, buf, len);
    SCOPED_LOCK(&f->fs->mutex);
    if (must_fail_locked(f->fs, FAULT_WRITE, &part)) {
        (void)write_locked(f, buf, min_u64(part, len), off, NULL);
        return fail_locked(f->fs, FAULT_WRITE, s->path, err);
    }
    VixError code = write_locked(f, buf, limit_locked(f->fs, f->inner, off, len, &errnum), off, err);
    if (code == VIX_OK && errnum != 0) {
        code = err_set_errno(err, errnum, "%s: cannot write %" PRIu64 " bytes at offset %" PRIu64, s->path, len, off);
    }
    return code;
}

static VixError fault_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    VixError code = pass(f->fs, FAULT_SIZE, s->path, err);
    return code == VIX_OK ? f->inner->ops->size(f->inner, ret_size, err) : code;
}

static VixError fault_truncate(struct store *s, uint64_t size, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    SCOPED_LOCK(&f->fs->mutex);
    VixError code = pass_locked(f->fs, FAULT_TRUNCATE, s->path, err);

    if (code == VIX_OK && f->fs->pretends && size > f->fs->max_file) {
        code = err_set_errno(err, EFBIG, "%s: cannot set the length to %" PRIu64 " bytes", s->path, size);
    }
    if (code == VIX_OK) {
        code = f->inner->ops->truncate(f->inner, size, err);
    }
    return note_locked(f->fs, code, (struct record_event){.kind = RECORD_TRUNCATE, .file = s->ino, .off = size}, err);
}

static VixError fault_preallocate(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    int errnum = 0;
    SCOPED_LOCK(&f->fs->mutex);
    VixError code = pass_locked(f->fs, FAULT_TRUNCATE, s->path, err);

    if (code == VIX_OK && limit_locked(f->fs, f->inner, off, len, &errnum) < len) {
        code =
            err_set_errno(err, errnum, "%s: cannot allocate %" PRIu64 " bytes at offset %" PRIu64, s->path, len, off);
    }
    if (code == VIX_OK) {
        code = f->inner->ops->preallocate(f->inner, off, len, err);
    }
    return note_locked(f->fs, code, (struct record_event){.kind = RECORD_GROW, .file = s->ino, .off = off, .len = len},
                       err);
}

static VixError fault_punch(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    SCOPED_LOCK(&f->fs->mutex);
    VixError code = pass_locked(f->fs, FAULT_PUNCH, s->path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->punch(f->inner, off, len, err);
    }
    return note_locked(f->fs, code, (struct record_event){.kind = RECORD_PUNCH, .file = s->ino, .off = off, .len = len},
                       err);
}

static VixError fault_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    VixError code = pass(f->fs, FAULT_MAP, s->path, err);
    return code == VIX_OK ? f->inner->ops->map(f->inner, off, len, ret_run, err) : code;
}

/* A copy is recorded as the write of the bytes that it brought. */
static VixError note_copy_locked(struct fault_store *f, uint64_t off, uint64_t len, struct err *err)
{
    if (!f->fs->recording || len == 0) {
        return VIX_OK;
    }
    CLEANUP_FREE uint8_t *buf = alloc_zero(len, err);
    VixError code = buf != NULL ? store_read(f->inner, buf, len, off, err) : VIX_E_OUT_OF_MEMORY;
    return note_locked(
        f->fs, code,
        (struct record_event){.kind = RECORD_WRITE, .file = f->base.ino, .off = off, .len = len, .data = buf}, err);
}

static VixError fault_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                           struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    struct store *from = src->ops == s->ops ? fault_store_of(src)->inner : src;
    int errnum = 0;
    SCOPED_LOCK(&f->fs->mutex);
    VixError code = pass_locked(f->fs, FAULT_COPY, s->path, err);

    if (code == VIX_OK && limit_locked(f->fs, f->inner, off, len, &errnum) < len) {
        code = err_set_errno(err, errnum, "%s: cannot copy %" PRIu64 " bytes to offset %" PRIu64, s->path, len, off);
    }
    if (code == VIX_OK) {
        code = f->inner->ops->copy(f->inner, off, from, src_off, len, err);
    }
    return code == VIX_OK ? note_copy_locked(f, off, len, err) : code;
}

static VixError fault_flush(struct store *s, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    SCOPED_LOCK(&f->fs->mutex);
    VixError code = pass_locked(f->fs, FAULT_FLUSH, s->path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->flush(f->inner, err);
    }
    return note_locked(f->fs, code, (struct record_event){.kind = RECORD_FLUSH, .file = s->ino}, err);
}

static VixError fault_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    struct fault_store *f = fault_store_of(s);
    VixError code = pass(f->fs, FAULT_SIZE, s->path, err);
    return code == VIX_OK ? f->inner->ops->allocated(f->inner, ret_bytes, err) : code;
}

static void fault_will_need(struct store *s, uint64_t off, uint64_t len)
{
    struct store *inner = fault_store_of(s)->inner;
    inner->ops->will_need(inner, off, len);
}

static bool fault_has_writer(struct store *s)
{
    return store_has_writer(fault_store_of(s)->inner);
}

static void fault_close(struct store *s)
{
    store_close(fault_store_of(s)->inner);
    free(s->path);
    free(s);
}

static const struct store_ops fault_ops = {
    .readv = fault_readv,
    .writev = fault_writev,
    .size = fault_size,
    .truncate = fault_truncate,
    .preallocate = fault_preallocate,
    .punch = fault_punch,
    .map = fault_map,
    .copy = fault_copy,
    .flush = fault_flush,
    .allocated = fault_allocated,
    .will_need = fault_will_need,
    .has_writer = fault_has_writer,
    .close = fault_close,
};

/* inner is taken, also on failure. */
static VixError wrap(struct fault_fs *fs, struct store *inner, struct store **ret_store, struct err *err)
{
    struct fault_store *f = alloc_zero(sizeof *f, err);
    char *path = f != NULL ? alloc_text(inner->path, err) : NULL;

    if (path == NULL) {
        free(f);
        store_close(inner);
        return VIX_E_OUT_OF_MEMORY;
    }
    f->base = *inner;
    f->base.ops = &fault_ops;
    f->base.path = path;
    f->inner = inner;
    f->fs = fs;
    *ret_store = &f->base;
    return VIX_OK;
}

/* ---- names ---- */

static VixError fault_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                           struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    struct store *inner;
    VixError code = pass(f, FAULT_OPEN, path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->open(f->inner, path, flags, &inner, err);
    }
    return code == VIX_OK ? wrap(f, inner, ret_store, err) : code;
}

static VixError fault_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                             struct store **ret_store, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    struct store *inner;
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_CREATE, path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->create(f->inner, path, flags, mode, &inner, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = note_locked(
        f, code, (struct record_event){.kind = RECORD_CREATE, .file = inner->ino, .path = (char *)(uintptr_t)path},
        err);
    if (code != VIX_OK) {
        store_close(inner);
        return code;
    }
    return wrap(f, inner, ret_store, err);
}

static struct record_event two_names(enum record_kind kind, const char *old_path, const char *new_path)
{
    return (struct record_event){
        .kind = kind, .path = (char *)(uintptr_t)old_path, .new_path = (char *)(uintptr_t)new_path};
}

static VixError fault_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_RENAME, old_path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->rename(f->inner, old_path, new_path, err);
    }
    return note_locked(f, code, two_names(RECORD_RENAME, old_path, new_path), err);
}

static VixError fault_rename_new(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_RENAME, old_path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->rename_new(f->inner, old_path, new_path, err);
    }
    return note_locked(f, code, two_names(RECORD_RENAME, old_path, new_path), err);
}

static VixError fault_link(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_LINK, old_path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->link(f->inner, old_path, new_path, err);
    }
    return note_locked(f, code, two_names(RECORD_LINK, old_path, new_path), err);
}

static VixError fault_unlink(struct store_fs *fs, const char *path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_UNLINK, path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->unlink(f->inner, path, err);
    }
    return note_locked(f, code, two_names(RECORD_UNLINK, path, NULL), err);
}

static VixError fault_sync_folder(struct store_fs *fs, const char *path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_SYNC_FOLDER, path, err);

    if (code == VIX_OK) {
        code = f->inner->ops->sync_folder(f->inner, path, err);
    }
    return note_locked(f, code, two_names(RECORD_SYNC_FOLDER, path, NULL), err);
}

static VixError fault_statfs(struct store_fs *fs, const char *path, enum store_fs_kind *ret_kind, uint64_t *ret_free,
                             struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);
    VixError code = pass_locked(f, FAULT_STATFS, path, err);

    if (code != VIX_OK || !f->pretends) {
        return code == VIX_OK ? f->inner->ops->statfs(f->inner, path, ret_kind, ret_free, err) : code;
    }
    *ret_kind = f->kind;
    *ret_free = f->free_bytes;
    return VIX_OK;
}

static VixError fault_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    VixError code = pass(f, FAULT_RESOLVE, path, err);
    return code == VIX_OK ? f->inner->ops->resolve(f->inner, path, ret_path, err) : code;
}

static VixError fault_check_place(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino,
                                  struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    VixError code = pass(f, FAULT_RESOLVE, real_path, err);
    return code == VIX_OK ? f->inner->ops->check_place(f->inner, real_path, dev, ino, err) : code;
}

static VixError fault_list(struct store_fs *fs, const char *path,
                           VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    VixError code = pass(f, FAULT_RESOLVE, path, err);
    return code == VIX_OK ? f->inner->ops->list(f->inner, path, found, ctx, err) : code;
}

static bool fault_exists(struct store_fs *fs, const char *path)
{
    struct fault_fs *f = fault_of(fs);
    return f->inner->ops->exists(f->inner, path);
}

static void fault_take_rights(struct store_fs *fs, const char *path, const char *from)
{
    struct fault_fs *f = fault_of(fs);
    f->inner->ops->take_rights(f->inner, path, from);
}

static const struct store_fs_ops fault_fs_ops = {
    .open = fault_open,
    .create = fault_create,
    .take_rights = fault_take_rights,
    .rename = fault_rename,
    .rename_new = fault_rename_new,
    .link = fault_link,
    .unlink = fault_unlink,
    .sync_folder = fault_sync_folder,
    .statfs = fault_statfs,
    .resolve = fault_resolve,
    .check_place = fault_check_place,
    .list = fault_list,
    .exists = fault_exists,
};

/* ---- the test's side ---- */

struct store_fs *store_fault_new(struct store_fs *inner, struct err *err)
{
    struct fault_fs *f = alloc_zero(sizeof *f, err);

    if (f == NULL) {
        return NULL;
    }
    f->base.ops = &fault_fs_ops;
    f->inner = inner;
    (void)pthread_mutex_init(&f->mutex, NULL);
    return &f->base;
}

void store_fault_free(struct store_fs *fs)
{
    if (fs != NULL) {
        record_done(&fault_of(fs)->record);
        (void)pthread_mutex_destroy(&fault_of(fs)->mutex);
        free(fs);
    }
}

void store_fault_set(struct store_fs *fs, const struct store_fault_rule *rule)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);

    f->rule = rule != NULL ? *rule : (struct store_fault_rule){0};
    f->matched = 0;
    f->hit = false;
    memset(f->counts, 0, sizeof f->counts);
}

uint64_t store_fault_count(struct store_fs *fs, uint32_t ops)
{
    struct fault_fs *f = fault_of(fs);
    uint64_t count = 0;
    SCOPED_LOCK(&f->mutex);

    for (unsigned i = 0; i < FAULT_KINDS; i++) {
        count += (ops & 1u << i) != 0 ? f->counts[i] : 0;
    }
    return count;
}

bool store_fault_has_hit(struct store_fs *fs)
{
    SCOPED_LOCK(&fault_of(fs)->mutex);
    return fault_of(fs)->hit;
}

void store_fault_pretend(struct store_fs *fs, enum store_fs_kind kind, uint64_t max_file, uint64_t free_bytes)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);

    f->pretends = true;
    f->kind = kind;
    f->max_file = max_file;
    f->free_bytes = free_bytes;
}

void store_fault_record(struct store_fs *fs)
{
    SCOPED_LOCK(&fault_of(fs)->mutex);
    record_done(&fault_of(fs)->record);
    fault_of(fs)->recording = true;
}

size_t store_fault_events(struct store_fs *fs)
{
    SCOPED_LOCK(&fault_of(fs)->mutex);
    return fault_of(fs)->record.count;
}

void store_fault_describe(struct store_fs *fs, size_t index, char *buf, size_t len)
{
    SCOPED_LOCK(&fault_of(fs)->mutex);
    if (index < fault_of(fs)->record.count) {
        record_describe(&fault_of(fs)->record.events[index], buf, len);
    } else {
        (void)snprintf(buf, len, "the end");
    }
}

VixError store_fault_replay(struct store_fs *fs, size_t nevents, enum store_crash how, unsigned seed,
                            struct store_fs *mem, struct err *err)
{
    struct fault_fs *f = fault_of(fs);
    SCOPED_LOCK(&f->mutex);

    return record_replay(&f->record, min_u64(nevents, f->record.count), how, seed, mem, err);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_store.c - the files of a volume as stores, and the volume as a file system, so that disks on it open as they do
 * elsewhere. Nothing can be made, renamed or removed, and no length changes: that is metadata, which is the hosts'. */
#include <stdio.h>

#include "vmfs/vmfs_int.h"

#define VOLUMES "/vmfs/volumes/"

struct vmfs_fs {
    struct store_fs base;
    struct vmfs *v;
};

struct vmfs_store {
    struct store base;
    struct vmfs_file *f;
};

static struct vmfs_file *file_of(struct store *s)
{
    return ((struct vmfs_store *)s)->f;
}

static VixError fail_read_only(const char *path, struct err *err)
{
    return err_set(err, VIX_E_FILE_READ_ONLY, "%s: names and lengths of files on VMFS are the hosts' to change", path);
}

/* ---- a file ---- */

static VixError file_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    VixError code = VIX_OK;

    for (int i = 0; i < iovcnt && code == VIX_OK; i++) {
        code = vmfs_file_read(file_of(s), iov[i].iov_base, iov[i].iov_len, off, err);
        off += iov[i].iov_len;
    }
    return code;
}

static VixError file_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    VixError code = s->writable ? VIX_OK : err_set(err, VIX_E_FILE_READ_ONLY, "%s: is open for reading only", s->path);

    for (int i = 0; i < iovcnt && code == VIX_OK; i++) {
        code = vmfs_file_write(file_of(s), iov[i].iov_base, iov[i].iov_len, off, err);
        off += iov[i].iov_len;
    }
    return code;
}

static VixError file_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    (void)err;
    *ret_size = vmfs_file_length(file_of(s));
    return VIX_OK;
}

static VixError file_truncate(struct store *s, uint64_t size, struct err *err)
{
    (void)size;
    return fail_read_only(s->path, err);
}

static VixError file_range(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    (void)off, (void)len;
    return fail_read_only(s->path, err);
}

static VixError file_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    struct vmfs_run run;

    len = min_u64(len, vmfs_file_length(file_of(s)) - off);
    VixError code = vmfs_file_map(file_of(s), off, len, &run, err);
    if (code == VIX_OK) {
        ret_run->len = run.len;
        ret_run->hole = run.kind == VMFS_HOLE || run.kind == VMFS_TO_BE_ZEROED;
    }
    return code;
}

static VixError file_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                          struct err *err)
{
    (void)off, (void)src, (void)src_off, (void)len;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a file on VMFS is not copied by the system", s->path);
}

static VixError file_flush(struct store *s, struct err *err)
{
    const struct vmfs *v = file_of(s)->v;
    VixError code = VIX_OK;

    for (size_t i = 0; i < v->lun_count && s->writable; i++) {
        VixError one = v->luns[i]->ops->flush(v->luns[i], code == VIX_OK ? err : NULL);
        code = code == VIX_OK ? one : code;
    }
    return code;
}

static VixError file_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    struct vmfs_survey survey;

    VixError code = vmfs_file_survey(file_of(s), &survey, err);
    if (code == VIX_OK) {
        *ret_bytes = survey.data + survey.to_be_zeroed + survey.unsure;
    }
    return code;
}

static void file_will_need(struct store *s, uint64_t off, uint64_t len)
{
    (void)s, (void)off, (void)len;
}

static void file_close(struct store *s)
{
    vmfs_file_close(file_of(s));
    free(s->path);
    free(s);
}

static const struct store_ops vmfs_store_ops = {
    .readv = file_readv,
    .writev = file_writev,
    .size = file_size,
    .truncate = file_truncate,
    .preallocate = file_range,
    .punch = file_range,
    .map = file_map,
    .copy = file_copy,
    .flush = file_flush,
    .allocated = file_allocated,
    .will_need = file_will_need,
    .close = file_close,
};

/* ---- paths ---- */

static const struct vmfs *volume_of(struct store_fs *fs)
{
    return ((struct vmfs_fs *)fs)->v;
}

/** "/vmfs/volumes/ID/rest" with our ID is "/rest". Another volume: VIX_E_FILE_NOT_FOUND. */
static VixError leave_volumes(const struct vmfs *v, const char *path, const char **ret_rest, struct err *err)
{
    size_t prefix = strlen(VOLUMES);

    if (strncmp(path, VOLUMES, prefix) != 0) {
        *ret_rest = path;
        return VIX_OK;
    }
    const char *id = path + prefix;
    size_t len = strcspn(id, "/");
    if ((strlen(v->info.uuid) == len && memcmp(id, v->info.uuid, len) == 0) ||
        (len > 0 && strlen(v->info.label) == len && memcmp(id, v->info.label, len) == 0)) {
        *ret_rest = id + len;
        return VIX_OK;
    }
    return err_set(err, VIX_E_FILE_NOT_FOUND, "%s: is on another volume than %s", path, v->info.uuid);
}

/** Takes the last component of a plain path away. */
static size_t step_up(const char *plain, size_t len)
{
    while (len > 0 && plain[--len] != '/') {
    }
    return len;
}

/** The path from the root of the volume without empty parts, "." and "..": "/a/b", the root is "/". */
static VixError plain_path(const struct vmfs *v, const char *path, char **ret_plain, struct err *err)
{
    const char *p = NULL;
    size_t len = 0;

    VixError code = leave_volumes(v, path, &p, err);
    if (code != VIX_OK) {
        return code;
    }
    char *plain = alloc_zero(strlen(p) + 2, err);
    if (plain == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (*p != '\0') {
        size_t n = strcspn(p, "/");
        if (n == 2 && memcmp(p, "..", 2) == 0) {
            len = step_up(plain, len);
        } else if (n > 1 || (n == 1 && p[0] != '.')) {
            plain[len++] = '/';
            memcpy(plain + len, p, n);
            len += n;
        }
        p += n + (p[n] == '/');
    }
    if (len == 0) {
        plain[len++] = '/';
    }
    plain[len] = '\0';
    *ret_plain = plain;
    return VIX_OK;
}

/* ---- the file system ---- */

static VixError make_store(const char *path, uint32_t flags, struct vmfs_file *f, struct store **ret_store,
                           struct err *err)
{
    struct vmfs_store *s = alloc_zero(sizeof *s, err);
    const struct vmfs *v = f->v;

    if (s == NULL || (s->base.path = alloc_text(path, err)) == NULL) {
        free(s);
        vmfs_file_close(f);
        return VIX_E_OUT_OF_MEMORY;
    }
    s->base.ops = &vmfs_store_ops;
    s->base.dev = get_le64(v->volume_uuid);
    s->base.ino = f->inode.address;
    s->base.writable = (flags & STORE_WRITE) != 0;
    s->base.mode = 0600;
    s->base.align = 1;
    for (size_t i = 0; i < v->lun_count; i++) {
        s->base.align = v->luns[i]->align > s->base.align ? v->luns[i]->align : s->base.align;
    }
    s->f = f;
    *ret_store = &s->base;
    return VIX_OK;
}

/** Locks are no concern of this: hosts have theirs in the descriptors. */
static VixError fs_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                        struct err *err)
{
    struct vmfs *v = ((struct vmfs_fs *)fs)->v;
    char *found = NULL;
    struct vmfs_file *f = NULL;

    VixError code = plain_path(v, path, &found, err);
    CLEANUP_FREE char *plain = found;
    if (code == VIX_OK) {
        code = vmfs_file_open(v, plain, &f, err);
    }
    return code == VIX_OK ? make_store(path, flags, f, ret_store, err) : code;
}

static VixError fs_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                          struct store **ret_store, struct err *err)
{
    (void)fs, (void)flags, (void)mode, (void)ret_store;
    return fail_read_only(path, err);
}

static VixError fs_two_names(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    (void)fs, (void)new_path;
    return fail_read_only(old_path, err);
}

static VixError fs_unlink(struct store_fs *fs, const char *path, struct err *err)
{
    (void)fs;
    return fail_read_only(path, err);
}

static VixError fs_sync_folder(struct store_fs *fs, const char *path, struct err *err)
{
    (void)fs, (void)path, (void)err;
    return VIX_OK;
}

static VixError fs_statfs(struct store_fs *fs, const char *path, enum store_fs_kind *ret_kind, uint64_t *ret_free,
                          struct err *err)
{
    (void)fs, (void)path, (void)err;
    *ret_kind = STORE_FS_ORDINARY;
    *ret_free = 0; /* nothing can be made */
    return VIX_OK;
}

/** What a path leads to is looked up, so that names that are not there are told. */
static VixError fs_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err)
{
    struct vmfs *v = ((struct vmfs_fs *)fs)->v;
    struct vmfs_inode n;
    char *plain = NULL;

    VixError code = plain_path(v, path, &plain, err);
    if (code == VIX_OK) {
        code = vmfs_lookup(v, plain, &n, err);
    }
    if (code != VIX_OK) {
        free(plain);
        return code;
    }
    free(n.bytes);
    *ret_path = plain;
    return VIX_OK;
}

static VixError fs_list(struct store_fs *fs, const char *path,
                        VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    char *made = NULL;

    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = plain_path(volume_of(fs), folder, &made, err);
    CLEANUP_FREE char *plain = made;
    return code == VIX_OK ? vmfs_list(((struct vmfs_fs *)fs)->v, plain, found, ctx, err) : code;
}

static bool fs_exists(struct store_fs *fs, const char *path)
{
    char *plain = NULL;
    bool there = fs_resolve(fs, path, &plain, NULL) == VIX_OK;

    free(plain);
    return there;
}

static const struct store_fs_ops vmfs_fs_ops = {
    .open = fs_open,
    .create = fs_create,
    .rename = fs_two_names,
    .rename_new = fs_two_names,
    .link = fs_two_names,
    .unlink = fs_unlink,
    .sync_folder = fs_sync_folder,
    .statfs = fs_statfs,
    .resolve = fs_resolve,
    .check_place = store_fs_without_links,
    .list = fs_list,
    .exists = fs_exists,
};

VixError vmfs_fs_new(struct vmfs *v, struct store_fs **ret_fs, struct err *err)
{
    struct vmfs_fs *fs = alloc_zero(sizeof *fs, err);

    if (fs == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    fs->base.ops = &vmfs_fs_ops;
    fs->v = v;
    *ret_fs = &fs->base;
    return VIX_OK;
}

void vmfs_fs_free(struct store_fs *fs)
{
    free(fs);
}

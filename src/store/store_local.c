/* SPDX-License-Identifier: BSD-3-Clause */
/* The names of this host's files: open, create, rename, remove. No state; any thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "store/store_file.h"

/* Type numbers of statfs(2); the headers of the system do not have all of them. */
#define FS_TYPE_FAT 0x4D44u
#define FS_TYPE_EXFAT 0x2011BAB0u
#define FS_TYPE_NTFS 0x5346544Eu
#define FS_TYPE_NTFS3 0x7366746Eu
#define FS_TYPE_FUSE 0x65735546u

static VixError check_type(const char *path, const struct stat *st, uint32_t flags, struct err *err)
{
    if (S_ISREG(st->st_mode) || (S_ISBLK(st->st_mode) && (flags & STORE_DEVICE_OK) != 0)) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is %s, not a regular file", path,
                   S_ISDIR(st->st_mode)    ? "a folder"
                   : S_ISBLK(st->st_mode)  ? "a block device"
                   : S_ISCHR(st->st_mode)  ? "a character device"
                   : S_ISFIFO(st->st_mode) ? "a pipe"
                                           : "something else");
}

static VixError fail_open(const char *path, int errnum, struct err *err)
{
    if (errnum == EISDIR || errnum == ENXIO || errnum == ENODEV) {
        return err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is not a regular file", path);
    }
    if (errnum == EBUSY) {
        return err_set(err, VIX_E_FILE_ALREADY_LOCKED, "%s: the device is in use, mounted perhaps", path);
    }
    return err_set_errno(err, errnum, "%s: cannot open", path);
}

static int open_flags(uint32_t flags)
{
    int how = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

    if ((flags & STORE_WRITE) == 0) {
        return how | O_RDONLY;
    }
    if ((flags & STORE_DEVICE_OK) != 0 && (flags & STORE_LOCK) != 0) {
        how |= O_EXCL; /* a block device that is mounted or claimed: EBUSY. Of a file it means nothing. */
    }
    return how | O_RDWR;
}

static int open_again(const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = open(path, flags, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static VixError local_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                           struct err *err)
{
    struct stat st;
    VixError code;
    CLEANUP_CLOSE int fd = open_again(path, open_flags(flags), 0);

    (void)fs;
    if (fd < 0) {
        return fail_open(path, errno, err);
    }
    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot look at the file", path);
    }
    code = check_type(path, &st, flags, err);
    if (code == VIX_OK && (flags & STORE_LOCK) != 0) {
        code = lock_check_folder(path, err);
        if (code == VIX_OK) {
            code = lock_take(fd, path, (flags & STORE_WRITE) != 0, err);
        }
    }
    if (code != VIX_OK) {
        return code;
    }
    /* non-blocking was for what is no file */
    (void)fcntl(fd, F_SETFL, open_flags(flags) & O_ACCMODE);
    int owned = fd;
    fd = -1;
    return file_store_new(owned, path, &st, flags, ret_store, err);
}

static VixError make_store(const char *path, int fd, uint32_t flags, struct store **ret_store, struct err *err)
{
    CLEANUP_CLOSE int owned = fd;
    struct stat st;
    VixError code = VIX_OK;

    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot look at the file", path);
    }
    if ((flags & STORE_LOCK) != 0) {
        code = lock_check_folder(path, err);
        if (code == VIX_OK) {
            code = lock_take(fd, path, true, err);
        }
    }
    if (code != VIX_OK) {
        return code;
    }
    owned = -1;
    return file_store_new(fd, path, &st, flags | STORE_WRITE, ret_store, err);
}

static VixError local_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                             struct store **ret_store, struct err *err)
{
    int fd = open_again(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, mode & 07777);

    (void)fs;
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot create", path);
    }
    VixError code = make_store(path, fd, flags, ret_store, err);
    if (code != VIX_OK) {
        (void)unlink(path); /* made a moment ago, and nobody's yet */
    }
    return code;
}

static VixError local_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    (void)fs;
    if (rename(old_path, new_path) != 0) {
        return err_set_errno(err, errno, "%s: cannot rename to %s", old_path, new_path);
    }
    return VIX_OK;
}

static bool local_exists(struct store_fs *fs, const char *path)
{
    struct stat st;
    (void)fs;
    return lstat(path, &st) == 0;
}

static VixError list_entries(DIR *dir, const char *folder,
                             VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx,
                             struct err *err)
{
    VixError code = VIX_OK;

    while (code == VIX_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot read the folder", folder);
        }
        if (entry->d_type != DT_DIR) {
            code = found(ctx, entry->d_name, err);
        }
    }
    return code;
}

static VixError local_list(struct store_fs *fs, const char *path,
                           VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);

    (void)fs;
    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    DIR *dir = opendir(folder); /* close-on-exec by itself */
    if (dir == NULL) {
        return err_set_errno(err, errno, "%s: cannot read the folder", folder);
    }
    VixError code = list_entries(dir, folder, found, ctx, err);
    (void)closedir(dir);
    return code;
}

/* Where the file system cannot rename without replacing: a second name, then the first is removed. */
static int rename_by_link(const char *old_path, const char *new_path)
{
    struct stat st;

    if (link(old_path, new_path) == 0) {
        if (unlink(old_path) == 0) {
            return 0;
        }
        int e = errno;
        (void)unlink(new_path);
        return e;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK) {
        return errno;
    }
    if (lstat(new_path, &st) == 0) {
        return EEXIST;
    }
    /* no second names either: the best that is left, with a gap in which another may make the name */
    return rename(old_path, new_path) == 0 ? 0 : errno;
}

static VixError local_rename_new(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    int e = renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, RENAME_NOREPLACE) == 0 ? 0 : errno;

    (void)fs;
    if (e == EINVAL || e == ENOSYS || e == EOPNOTSUPP) {
        e = rename_by_link(old_path, new_path);
    }
    return e == 0 ? VIX_OK : err_set_errno(err, e, "%s: cannot rename to %s", old_path, new_path);
}

static VixError local_link(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    (void)fs;
    if (link(old_path, new_path) == 0) {
        return VIX_OK;
    }
    int e = errno;
    VixError code = err_set_errno(err, e, "%s: cannot give it the second name %s", old_path, new_path);
    if (e != EXDEV && e != EPERM && e != EOPNOTSUPP && e != ENOSYS && e != EMLINK) {
        return code;
    }
    if (err != NULL) {
        err->code = VIX_E_NOT_SUPPORTED;
    }
    return VIX_E_NOT_SUPPORTED;
}

static VixError local_unlink(struct store_fs *fs, const char *path, struct err *err)
{
    (void)fs;
    return unlink(path) == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot remove", path);
}

static VixError local_sync_folder(struct store_fs *fs, const char *path, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    int failed;

    (void)fs;
    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    CLEANUP_CLOSE int fd = open_again(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot open the folder", folder);
    }
    do {
        failed = fsync(fd);
    } while (failed != 0 && errno == EINTR);
    /* EINVAL: a file system that does not know this of folders has nothing that could be lost by it */
    if (failed != 0 && errno != EINVAL) {
        return err_set_errno(err, errno, "%s: cannot put the folder on stable storage", folder);
    }
    return VIX_OK;
}

static enum store_fs_kind kind_of_type(uint32_t type)
{
    switch (type) {
    case FS_TYPE_FAT:
        return STORE_FS_FAT;
    case FS_TYPE_EXFAT:
        return STORE_FS_EXFAT;
    case FS_TYPE_NTFS:
    case FS_TYPE_NTFS3:
        return STORE_FS_NTFS;
    case FS_TYPE_FUSE:
        return STORE_FS_UNKNOWN;
    default:
        return STORE_FS_ORDINARY;
    }
}

static VixError local_statfs(struct store_fs *fs, const char *path, enum store_fs_kind *ret_kind, uint64_t *ret_free,
                             struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    struct statfs sfs;
    uint64_t free_bytes;
    int failed;

    (void)fs;
    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    do {
        failed = statfs(folder, &sfs);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        return err_set_errno(err, errno, "%s: cannot look at the file system", folder);
    }
    if (!checked_mul((uint64_t)sfs.f_bavail, (uint64_t)sfs.f_bsize, &free_bytes)) {
        free_bytes = UINT64_MAX;
    }
    *ret_kind = kind_of_type((uint32_t)sfs.f_type);
    *ret_free = free_bytes;
    return VIX_OK;
}

static VixError local_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err)
{
    char *real = realpath(path, NULL);

    (void)fs;
    if (real == NULL) {
        return err_set_errno(err, errno, "%s: cannot find", path);
    }
    *ret_path = real;
    return VIX_OK;
}

static const struct store_fs_ops local_ops = {
    .open = local_open,
    .create = local_create,
    .rename = local_rename,
    .rename_new = local_rename_new,
    .link = local_link,
    .unlink = local_unlink,
    .sync_folder = local_sync_folder,
    .statfs = local_statfs,
    .resolve = local_resolve,
    .list = local_list,
    .exists = local_exists,
};

struct store_fs *store_fs_local(void)
{
    static struct store_fs local = {.ops = &local_ops};
    return &local;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The names of this host's files: open, create, rename, remove; all of them, or those below one folder
 * (store_rooted.c). No state; any thread. */
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
    if (errnum == ELOOP) {
        return err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: is a symbolic link, which is not followed", path);
    }
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

    uint32_t writer = STORE_WRITE | STORE_LOCK;
    bool claim = (flags & STORE_CLAIM) != 0 || (flags & writer) == writer;

    if ((flags & STORE_DEVICE_OK) != 0 && claim) {
        how |= O_EXCL; /* a block device that is mounted or claimed: EBUSY. Of a file it means nothing. */
    }
    return how | ((flags & STORE_WRITE) != 0 ? O_RDWR : O_RDONLY);
}

/** Opens a name, with everything that an open of names below a folder needs. */
static int open_again(const struct file_place *at, int flags, mode_t mode)
{
    int fd;
    do {
        fd = openat(at->folder, at->name, flags | (at->owned ? O_NOFOLLOW : 0), mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/** Where a path leads; done with file_place_done. */
static VixError find_place(struct store_fs *fs, const char *path, struct file_place *ret_at, struct err *err)
{
    if (fs != store_fs_local()) {
        return rooted_place(fs, path, ret_at, err);
    }
    *ret_at = (struct file_place){.folder = AT_FDCWD, .name = path};
    return VIX_OK;
}

/** The folder of path, opened with flags (O_PATH, O_RDONLY). */
static VixError open_folder(struct store_fs *fs, const char *path, int flags, int *ret_fd, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;

    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = find_place(fs, folder, &at, err);
    if (code != VIX_OK) {
        return code;
    }
    int fd = open_again(&at, flags | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot open the folder", folder);
    }
    *ret_fd = fd;
    return VIX_OK;
}

static VixError local_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                           struct err *err)
{
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    struct stat st;
    VixError code = find_place(fs, path, &at, err);

    if (code != VIX_OK) {
        return code;
    }
    if (at.owned) {
        flags &= ~STORE_DEVICE_OK;
    }
    CLEANUP_CLOSE int fd = open_again(&at, open_flags(flags), 0);
    if (fd < 0) {
        return fail_open(path, errno, err);
    }
    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot look at the file", path);
    }
    code = check_type(path, &st, flags, err);
    if (code == VIX_OK && (flags & STORE_LOCK) != 0) {
        code = lock_check_folder(&at, path, err);
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

static VixError make_store(const struct file_place *at, const char *path, int fd, uint32_t flags,
                           struct store **ret_store, struct err *err)
{
    CLEANUP_CLOSE int owned = fd;
    struct stat st;
    VixError code = VIX_OK;

    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot look at the file", path);
    }
    if ((flags & STORE_LOCK) != 0) {
        code = lock_check_folder(at, path, err);
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
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    VixError code = find_place(fs, path, &at, err);

    if (code != VIX_OK) {
        return code;
    }
    int fd = open_again(&at, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, mode & 07777);
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot create", path);
    }
    code = make_store(&at, path, fd, flags, ret_store, err);
    if (code != VIX_OK) {
        (void)unlinkat(at.folder, at.name, 0); /* made a moment ago, and nobody's yet */
    }
    return code;
}

static VixError find_two(struct store_fs *fs, const char *old_path, const char *new_path, struct file_place *ret_from,
                         struct file_place *ret_to, struct err *err)
{
    VixError code = find_place(fs, old_path, ret_from, err);
    return code == VIX_OK ? find_place(fs, new_path, ret_to, err) : code;
}

static VixError local_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    CLEANUP(file_place_done) struct file_place from = FILE_PLACE_NONE;
    CLEANUP(file_place_done) struct file_place to = FILE_PLACE_NONE;
    VixError code = find_two(fs, old_path, new_path, &from, &to, err);

    if (code == VIX_OK && renameat(from.folder, from.name, to.folder, to.name) != 0) {
        code = err_set_errno(err, errno, "%s: cannot rename to %s", old_path, new_path);
    }
    return code;
}

static bool local_exists(struct store_fs *fs, const char *path)
{
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    struct stat st;
    return find_place(fs, path, &at, NULL) == VIX_OK && fstatat(at.folder, at.name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static VixError list_entries(DIR *dir, const char *path,
                             VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx,
                             struct err *err)
{
    VixError code = VIX_OK;

    while (code == VIX_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot read its folder", path);
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
    int fd = -1;
    VixError code = open_folder(fs, path, O_RDONLY, &fd, err);

    if (code != VIX_OK) {
        return code;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        code = err_set_errno(err, errno, "%s: cannot read its folder", path);
        (void)close(fd);
        return code;
    }
    code = list_entries(dir, path, found, ctx, err);
    (void)closedir(dir);
    return code;
}

/* Where the file system cannot rename without replacing: a second name, then the first is removed. */
static int rename_by_link(const struct file_place *from, const struct file_place *to)
{
    struct stat st;

    if (linkat(from->folder, from->name, to->folder, to->name, 0) == 0) {
        if (unlinkat(from->folder, from->name, 0) == 0) {
            return 0;
        }
        int e = errno;
        (void)unlinkat(to->folder, to->name, 0);
        return e;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK) {
        return errno;
    }
    if (fstatat(to->folder, to->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return EEXIST;
    }
    /* no second names either: the best that is left, with a gap in which another may make the name */
    return renameat(from->folder, from->name, to->folder, to->name) == 0 ? 0 : errno;
}

static VixError local_rename_new(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    CLEANUP(file_place_done) struct file_place from = FILE_PLACE_NONE;
    CLEANUP(file_place_done) struct file_place to = FILE_PLACE_NONE;
    VixError code = find_two(fs, old_path, new_path, &from, &to, err);

    if (code != VIX_OK) {
        return code;
    }
    int e = renameat2(from.folder, from.name, to.folder, to.name, RENAME_NOREPLACE) == 0 ? 0 : errno;
    if (e == EINVAL || e == ENOSYS || e == EOPNOTSUPP) {
        e = rename_by_link(&from, &to);
    }
    return e == 0 ? VIX_OK : err_set_errno(err, e, "%s: cannot rename to %s", old_path, new_path);
}

static VixError local_link(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    CLEANUP(file_place_done) struct file_place from = FILE_PLACE_NONE;
    CLEANUP(file_place_done) struct file_place to = FILE_PLACE_NONE;
    VixError code = find_two(fs, old_path, new_path, &from, &to, err);

    if (code != VIX_OK || linkat(from.folder, from.name, to.folder, to.name, 0) == 0) {
        return code;
    }
    int e = errno;
    code = err_set_errno(err, e, "%s: cannot give it the second name %s", old_path, new_path);
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
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    VixError code = find_place(fs, path, &at, err);

    if (code == VIX_OK && unlinkat(at.folder, at.name, 0) != 0) {
        code = err_set_errno(err, errno, "%s: cannot remove", path);
    }
    return code;
}

static VixError local_sync_folder(struct store_fs *fs, const char *path, struct err *err)
{
    CLEANUP_CLOSE int fd = -1;
    VixError code = open_folder(fs, path, O_RDONLY, &fd, err);
    int failed;

    if (code != VIX_OK) {
        return code;
    }
    do {
        failed = fsync(fd);
    } while (failed != 0 && errno == EINTR);
    /* EINVAL: a file system that does not know this of folders has nothing that could be lost by it */
    if (failed != 0 && errno != EINVAL) {
        return err_set_errno(err, errno, "%s: cannot put its folder on stable storage", path);
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
    CLEANUP_CLOSE int fd = -1;
    VixError code = open_folder(fs, path, O_PATH, &fd, err);
    struct statfs sfs;
    uint64_t free_bytes;
    int failed;

    if (code != VIX_OK) {
        return code;
    }
    do {
        failed = fstatfs(fd, &sfs);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        return err_set_errno(err, errno, "%s: cannot look at its file system", path);
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
    if (fs != store_fs_local()) {
        return rooted_resolve(fs, path, ret_path, err);
    }
    char *real = realpath(path, NULL);
    if (real == NULL) {
        return err_set_errno(err, errno, "%s: cannot find", path);
    }
    *ret_path = real;
    return VIX_OK;
}

static VixError local_check_place(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino,
                                  struct err *err)
{
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    struct stat st;

    if (fs != store_fs_local()) {
        return VIX_OK; /* was opened without following links */
    }
    CLEANUP_CLOSE int root =
        open_again(&(struct file_place){.folder = AT_FDCWD, .name = "/"}, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (root < 0) {
        return err_set_errno(err, errno, "/: cannot open the folder");
    }
    VixError code = file_place_below(root, real_path, &at, err);
    if (code == VIX_OK && fstatat(at.folder, at.name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        code = err_set_errno(err, errno, "%s: cannot find", real_path);
    }
    if (code == VIX_OK && (st.st_dev != dev || st.st_ino != ino)) {
        code =
            err_set(err, VIX_E_FILE_ACCESS_ERROR,
                    "%s: the file that was opened is another one: something was put in its place meanwhile", real_path);
    }
    return code;
}

static void local_take_rights(struct store_fs *fs, const char *path, const char *from)
{
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    CLEANUP(file_place_done) struct file_place of = FILE_PLACE_NONE;
    struct stat old, st;

    if (find_place(fs, path, &at, NULL) != VIX_OK || find_place(fs, from, &of, NULL) != VIX_OK ||
        fstatat(of.folder, of.name, &old, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(old.st_mode)) {
        return;
    }
    CLEANUP_CLOSE int fd = open_again(&at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    /* what is no longer the file that was made is left alone */
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != geteuid()) {
        return;
    }
    bool same = old.st_uid == st.st_uid && old.st_gid == st.st_gid;
    if (!same && fchown(fd, old.st_uid, old.st_gid) != 0 && fchown(fd, (uid_t)-1, old.st_gid) != 0) {
        return; /* the bits of a group are not for another one */
    }
    (void)fchmod(fd, old.st_mode & 0777);
}

const struct store_fs_ops store_local_ops = {
    .open = local_open,
    .create = local_create,
    .take_rights = local_take_rights,
    .rename = local_rename,
    .rename_new = local_rename_new,
    .link = local_link,
    .unlink = local_unlink,
    .sync_folder = local_sync_folder,
    .statfs = local_statfs,
    .resolve = local_resolve,
    .check_place = local_check_place,
    .list = local_list,
    .exists = local_exists,
};

struct store_fs *store_fs_local(void)
{
    static struct store_fs local = {.ops = &store_local_ops};
    return &local;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* store.h - where the bytes of a file live. Two seams: a store (one open file, block device, piece of memory) and a
 * store_fs (the names: open, create, rename, remove). Everything above reaches files only through them, so tests can
 * put memory, faults or a recorder in their place. Bytes, never sectors. All functions may be called from any thread;
 * reads and writes of one store run in parallel. */
#ifndef VIXDISK_STORE_STORE_H
#define VIXDISK_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

struct store;

/** How a store is opened. */
#define STORE_READ 0u
#define STORE_WRITE (1u << 0)      /* read and write */
#define STORE_UNBUFFERED (1u << 1) /* past the page cache where it can be; the store bounces what is not aligned */
#define STORE_LOCK (1u << 2) /* take the lock: exclusive with STORE_WRITE, else shared; VIX_E_FILE_ALREADY_LOCKED */
#define STORE_DEVICE_OK (1u << 3) /* a block device will do too; otherwise only a regular file */
#define STORE_CLAIM (1u << 4)     /* nobody else may hold the device (mounted, LVM), also when it is only read */

/** A run of a file that is data or a hole. */
struct store_run {
    uint64_t len; /* > 0 */
    bool hole;    /* reads as zeros and takes no space */
};

struct store_ops {
    /** Reads iov's bytes at off, all of them. Bytes beyond the end of the file: VIX_E_HOST_FILE_ERROR_EOF. */
    VixError (*readv)(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err);
    /** Writes all of iov's bytes at off; the file grows as needed. */
    VixError (*writev)(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err);
    /** The length in bytes (of a device: its capacity). */
    VixError (*size)(struct store *s, uint64_t *ret_size, struct err *err);
    /** Sets the length; new bytes read as zeros. */
    VixError (*truncate)(struct store *s, uint64_t size, struct err *err);
    /** Allocates space for a range, growing the file, bytes unchanged or zero; where the file system cannot, only the
     * length is set. */
    VixError (*preallocate)(struct store *s, uint64_t off, uint64_t len, struct err *err);
    /** Gives the space of a range back; it then reads as zeros. VIX_E_NOT_SUPPORTED where the file system cannot. */
    VixError (*punch)(struct store *s, uint64_t off, uint64_t len, struct err *err);
    /** The run that begins at off (off < size), clipped to len. Where holes are not known, data. */
    VixError (*map)(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err);
    /** Copies a range from another store without the bytes passing through this process (reflink, copy_file_range);
     * VIX_E_NOT_SUPPORTED where that cannot be done, nothing is then changed. */
    VixError (*copy)(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len, struct err *err);
    /** Everything written so far, and the length, is on stable storage. Of an open file of the host, one that has
     * failed makes all later ones fail: what it did not write is lost. */
    VixError (*flush)(struct store *s, struct err *err);
    /** Bytes of storage that the file takes. */
    VixError (*allocated)(struct store *s, uint64_t *ret_bytes, struct err *err);
    /** Begins to read a range into the page cache, if that means anything here. Never fails. */
    void (*will_need)(struct store *s, uint64_t off, uint64_t len);
    /** Whether QEMU has the file open for writing now, or there are no locks that would tell. NULL: nobody has. */
    bool (*has_writer)(struct store *s);
    /** Closes and frees. The lock is gone. */
    void (*close)(struct store *s);
};

/** An open file. Made by a store_fs; the maker's own members follow this struct. */
struct store {
    const struct store_ops *ops;
    char *path;        /* as it was opened, for messages */
    uint64_t dev, ino; /* which file this is: equal for two stores of one file */
    bool writable;
    bool is_device;
    uint32_t align; /* offsets, lengths and memory that are multiples of this need no bounce; 1 if nothing matters */
    uint32_t mode;  /* permission bits of the file */
};

/** The file system under a path, as far as it limits what can be made there. */
enum store_fs_kind {
    STORE_FS_ORDINARY,
    STORE_FS_FAT,    /* 4 GiB - 1 per file */
    STORE_FS_NTFS,   /* 0xFFFFFFF0000 bytes per file */
    STORE_FS_EXFAT,  /* 2^64 - 1 */
    STORE_FS_UNKNOWN /* FUSE: only a try tells */
};

struct store_fs;

struct store_fs_ops {
    /** Opens an existing file; never blocks on a FIFO. Codes of err_code_of_errno, VIX_E_INCORRECT_FILE_TYPE for what
     * is neither a regular file nor an allowed device, VIX_E_FILE_ALREADY_LOCKED. */
    VixError (*open)(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store, struct err *err);
    /** Makes a new file, read-write (flags: STORE_UNBUFFERED, STORE_LOCK): VIX_E_FILE_ALREADY_EXISTS rather than touch
     * one. mode: permission bits before the umask. */
    VixError (*create)(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode, struct store **ret_store,
                       struct err *err);
    /** Gives a file that this process has just made the owner, group and permission bits of another, as far as the
     * process may: a file that takes the place of an old one is not to lock out those who could use that. */
    void (*take_rights)(struct store_fs *fs, const char *path, const char *from);
    /** Puts old in the place of new (replacing it: rename(2)). */
    VixError (*rename)(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err);
    /** As rename, but VIX_E_FILE_ALREADY_EXISTS if new exists. */
    VixError (*rename_new)(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err);
    /** Gives a file a second name: VIX_E_FILE_ALREADY_EXISTS; VIX_E_NOT_SUPPORTED where the file system has no second
     * names (err->sys_errno tells: EXDEV if the two are on different file systems). */
    VixError (*link)(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err);
    VixError (*unlink)(struct store_fs *fs, const char *path, struct err *err);
    /** Makes creations, renames and removals in the folder of path survive a crash. */
    VixError (*sync_folder)(struct store_fs *fs, const char *path, struct err *err);
    /** What kind of file system the folder of path is on, and the bytes that are free there. */
    VixError (*statfs)(struct store_fs *fs, const char *path, enum store_fs_kind *ret_kind, uint64_t *ret_free,
                       struct err *err);
    /** The absolute path without symbolic links of an existing file; freed by the caller. */
    VixError (*resolve)(struct store_fs *fs, const char *path, char **ret_path, struct err *err);
    /** Whether the file that was opened is the one at a path of resolve, which no symbolic link leads to: between that
     * look and the opening somebody may have put a link in its place. @dev, @ino of the open store.
     * VIX_E_FILE_ACCESS_ERROR if it is another one. */
    VixError (*check_place)(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino, struct err *err);
    /** Tells the names of the files in the folder of path, without the folder, in no order; a failure of found ends it.
     */
    VixError (*list)(struct store_fs *fs, const char *path,
                     VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err);
    /** Whether a name exists (a dangling symbolic link does). */
    bool (*exists)(struct store_fs *fs, const char *path);
};

struct store_fs {
    const struct store_fs_ops *ops;
};

/** The files of this host (store_file.c). Static; never freed. */
struct store_fs *store_fs_local(void);

/** The files below one folder (store_rooted.c), for paths that come from others: "vm/x.vmdk" and "/vm/x.vmdk" are the
 * same file of it. ".." does not lead out, symbolic links are not followed anywhere below (VIX_E_FILE_ACCESS_ERROR),
 * devices are refused. The folder itself is opened once, and may be renamed afterwards. Free after its stores. */
VixError store_fs_rooted_new(const char *folder, struct store_fs **ret_fs, struct err *err);
void store_fs_rooted_free(struct store_fs *fs);

/** A file system in memory, for tests and fuzzing (store_mem.c). Free with store_fs_mem_free after its stores. */
struct store_fs *store_fs_mem_new(struct err *err);
void store_fs_mem_free(struct store_fs *fs);

/** A second memory file system with the same names, file numbers and bytes. */
struct store_fs *store_fs_mem_clone(struct store_fs *fs, struct err *err);

/** Adopts an open file descriptor as a store; the fd is then the store's, also on failure. A device, or a regular file
 * that stands at its beginning, is a store like any other. Everything else (pipe, socket, file that is appended to) is
 * a stream: it is read or written once, in ascending order, what is left out is skipped or becomes zeros; an offset
 * behind the present one is VIX_E_NOT_SUPPORTED, and so is the size of one that is read. */
VixError store_from_fd(int fd, const char *name, bool writable, struct store **ret_store, struct err *err);

/* ---- helpers over the seam (store.c) ---- */

/** Reads len bytes at off, all of them, as ops->readv. */
static inline VixError store_read(struct store *s, void *buf, uint64_t len, uint64_t off, struct err *err)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    return s->ops->readv(s, &iov, 1, off, err);
}

/** Writes len bytes at off, as ops->writev. */
static inline VixError store_write(struct store *s, const void *buf, uint64_t len, uint64_t off, struct err *err)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    return s->ops->writev(s, &iov, 1, off, err);
}

/** Reads up to len bytes at off; *ret_len is less only at the end of the file. */
VixError store_read_some(struct store *s, void *buf, uint64_t len, uint64_t off, uint64_t *ret_len, struct err *err);

static inline VixError store_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    return s->ops->readv(s, iov, iovcnt, off, err);
}

static inline VixError store_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    return s->ops->writev(s, iov, iovcnt, off, err);
}

/** check_place of file systems in which no link is followed: all is well. */
VixError store_fs_without_links(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino,
                                struct err *err);

/** Closes a store; NULL is harmless. */
static inline void store_close(struct store *s)
{
    if (s != NULL) {
        s->ops->close(s);
    }
}

static inline bool store_has_writer(struct store *s)
{
    return s->ops->has_writer != NULL && s->ops->has_writer(s);
}

/** As ops->copy, whatever the source is. */
VixError store_copy(struct store *dst, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                    struct err *err);

/* ---- disks of many files (store_idle.c) ---- */

/** As ops->open and ops->create, for one of many files of a disk: it is closed while it is idle if others are needed,
 * and opened again by its path, with its lock, when it is used. A use may so fail as an open may, also with
 * VIX_E_FILE_ALREADY_LOCKED. */
VixError store_idle_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                         struct err *err);
VixError store_idle_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                           struct store **ret_store, struct err *err);

/** The largest file that a file system of this kind can hold, in bytes; UINT64_MAX if there is no limit to speak of. */
uint64_t store_fs_kind_max_file(enum store_fs_kind kind);

/** Its name, for messages ("FAT"). */
const char *store_fs_kind_name(enum store_fs_kind kind);

/* ---- paths (store_path.c): text only, nothing is looked up ---- */

/** "folder/name" for the file "name" beside path; name absolute: a copy of it. Freed by the caller. */
char *store_path_beside(const char *path, const char *name, struct err *err);

/** The last component, within path. */
const char *store_path_base(const char *path);

/** The folder part ("." if none), freed by the caller. */
char *store_path_folder(const char *path, struct err *err);

/** Whether a name is one of those that files have while they are made or removed: "NAME.tmp-1a2b3c" (it was to take the
 * place of NAME) or "x.part-1a2b3c4d.vmdk" (a disk that was to become x.vmdk, or that x.vmdk was). */
bool store_path_is_temporary(const char *path);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* store_file.h - what the files of this host share between them: store_file.c (open files), store_direct.c (past the
 * page cache), store_local.c (names), store_rooted.c (names below a folder), store_lock.c (locks), store_iov.c. Not for
 * other folders. */
#ifndef VIXDISK_STORE_STORE_FILE_H
#define VIXDISK_STORE_STORE_FILE_H

#include <pthread.h>
#include <sys/stat.h>

#include "store/store.h"

struct file_store {
    struct store base;
    int fd;
    bool direct; /* O_DIRECT is on; base.align is what it asks for */
    /* Only with direct. Shared: writes of whole blocks. Exclusive: reading, changing and writing back a block, and what
     * changes the length. */
    pthread_rwlock_t block_lock;
    /* Of a file that is only read: the run without a hole that was found last. To find its end costs some file systems
     * as much as the run is long. */
    pthread_mutex_t data_lock;
    uint64_t data_from, data_end;
    /* A flush ends when those before it have ended. What a failed one leaves behind the kernel takes for written, and
     * tells of once: later ones have to fail, too. */
    pthread_mutex_t flush_lock;
    int flush_errnum; /* of the first that failed; guarded by flush_lock */
};

/* ---- store_local.c, store_rooted.c: where a path leads ---- */

/** A name as the *at() calls take it. */
struct file_place {
    int folder; /* AT_FDCWD: the path as it is */
    const char *name;
    bool owned; /* a place below a rooted folder: folder and name are this struct's, links are not followed */
};
#define FILE_PLACE_NONE ((struct file_place){.folder = -1})

void file_place_done(struct file_place *at);

extern const struct store_fs_ops store_local_ops;

/** The place of a path below an open folder: no link on the way is followed, ".." does not lead out. */
VixError file_place_below(int root, const char *path, struct file_place *ret_at, struct err *err);

/** The place of a path of store_fs_rooted_new. */
VixError rooted_place(struct store_fs *fs, const char *path, struct file_place *ret_at, struct err *err);

/** The path of an existing name from the root, without "." and ".."; it begins with a slash. */
VixError rooted_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err);

/* ---- store_iov.c: a place in an array of iovecs ---- */

struct iov_cursor {
    const struct iovec *iov;
    int iovcnt;
    size_t skip; /* bytes of iov[0] that are done */
};

/** The sum of the lengths; false on overflow. */
bool iov_total(const struct iovec *iov, int iovcnt, uint64_t *ret_len);

/** Moves on by len bytes, and past empty entries. There are that many bytes left. */
void iov_advance(struct iov_cursor *at, uint64_t len);

/** Copies len bytes from buf to where the cursor stands, and moves on. */
void iov_put(struct iov_cursor *at, const void *buf, size_t len);

/** Copies len bytes from where the cursor stands to buf, and moves on. */
void iov_get(struct iov_cursor *at, void *buf, size_t len);

/* ---- store_file.c ---- */

/** Makes a store of an open file. fd is taken also on failure. @st of fd; @flags as for open. */
VixError file_store_new(int fd, const char *path, const struct stat *st, uint32_t flags, struct store **ret_store,
                        struct err *err);

/** One preadv or pwritev, with as many entries as the system takes. Bytes moved (0: end of the file), or -1 with errno;
 * never EINTR. */
ssize_t file_io_step(struct file_store *f, const struct iov_cursor *at, uint64_t off, bool write);

/** Reads or writes all that is left of the cursor, through system calls as they come. */
VixError file_io_plain(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, bool write,
                       struct err *err);

/** The error of a read that meets the end of the file. */
VixError file_fail_eof(struct file_store *f, uint64_t off, uint64_t len, struct err *err);

/** The error of a system call on a range of the file. */
VixError file_fail_range(struct file_store *f, int errnum, const char *verb, uint64_t off, uint64_t len,
                         struct err *err);

/* ---- store_pipe.c ---- */

/** Makes a store of a stream, read or written once in ascending order. fd is taken also on failure. */
VixError pipe_store_new(int fd, const char *name, const struct stat *st, bool writable, struct store **ret_store,
                        struct err *err);

/* ---- store_direct.c ---- */

/** Turns O_DIRECT on where the file system takes it, and finds base.align. Elsewhere a line of news; the page cache of
 * a device is emptied then, so that nothing old is read. */
void file_direct_begin(struct file_store *f);

VixError file_direct_read(struct file_store *f, const struct iovec *iov, int iovcnt, uint64_t len, uint64_t off,
                          struct err *err);
VixError file_direct_write(struct file_store *f, const struct iovec *iov, int iovcnt, uint64_t len, uint64_t off,
                           struct err *err);

/* ---- store_lock.c ---- */

/** Refuses if a folder "<name>.lck" holds an entry "*.lck": a product of VMware has the disk open. @path for messages.
 */
VixError lock_check_folder(const struct file_place *at, const char *path, struct err *err);

/** Takes this library's lock on an open file: exclusive or shared. VIX_E_FILE_ALREADY_LOCKED. It goes when the last
 * copy of fd is closed. Where the file system has no locks: a line of news, and VIX_OK. */
VixError lock_take(int fd, const char *path, bool exclusive, struct err *err);

/** Whether QEMU has an open file open for writing, or the file system has no locks. */
bool lock_has_writer(int fd);

#endif

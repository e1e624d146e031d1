/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_int.h - shared by the files of src/disk only. */
#ifndef VIXDISK_DISK_DISK_INT_H
#define VIXDISK_DISK_DISK_INT_H

#include "base/alloc.h"
#include "disk/disk.h"
#include "vmdk/create.h"
#include "work/work.h"

/** The checks of disk_read, for requests that are carried out later. */
VixError disk_check_read(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/** The checks of disk_write. */
VixError disk_check_write(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/** disk_read and disk_write after these checks, of at least one sector. */
VixError disk_read_checked(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
VixError disk_write_checked(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);

/** Frees what asynchronous requests needed; none is in flight any more. */
void disk_async_free(struct disk *d);

/** The pool of workers of the process; made if there is none yet. */
VixError disk_async_pool(struct work_pool **ret_pool, struct err *err);

/* Entries of disk_ops for disks that are only bytes, or only read. */
VixError disk_no_pull(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                      struct err *err);
VixError disk_no_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err);
VixError disk_no_meta_set(struct disk *d, const char *key, const char *value, struct err *err);
VixError disk_no_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err);
VixError disk_no_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
VixError disk_no_flush(struct disk *d, struct err *err);
VixError disk_no_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);
void disk_no_start(struct disk *d, struct disk_io *io);

/** What the disk database tells; without links, hint and type, which the caller knows. */
VixError disk_info_from_meta(struct disk *d, struct disk_info *ret_info, struct err *err);

/** Reads len bytes of a file descriptor, fewer only at its end. @name and @at (bytes read so far) for messages. */
VixError disk_read_fd(int fd, void *buf, uint64_t len, uint64_t *ret_len, const char *name, uint64_t at,
                      struct err *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_int.h - shared by the files of src/disk only. */
#ifndef VIXDISK_DISK_DISK_INT_H
#define VIXDISK_DISK_DISK_INT_H

#include "base/alloc.h"
#include "disk/disk.h"
#include "vmdk/create.h"

/** The checks of disk_read, for requests that are carried out later. */
VixError disk_check_read(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/** The checks of disk_write. */
VixError disk_check_write(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/** Frees what asynchronous requests needed; none is in flight any more. */
void disk_async_free(struct disk *d);

/* Entries of disk_ops for disks that are only bytes. */
VixError disk_no_pull(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                      struct err *err);
VixError disk_no_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err);
VixError disk_no_meta_set(struct disk *d, const char *key, const char *value, struct err *err);
VixError disk_no_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err);
VixError disk_raw_info(struct disk *d, struct disk_info *ret_info, struct err *err);

#endif

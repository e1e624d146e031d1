/* SPDX-License-Identifier: BSD-3-Clause */
/* ops.h - operations on whole disks, written against src/disk. Each leaves either the old or the complete new state. */
#ifndef VIXDISK_OPS_OPS_H
#define VIXDISK_OPS_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/disk.h"
#include "vmdk/create.h"

/** Told of progress in bytes of the disk; false asks to stop (VIX_E_CANCELLED). Called on the thread of the operation,
 * at most about every 1/200 of the work, and at the end with done == total. */
typedef bool ops_progress_func(void *ctx, uint64_t done, uint64_t total);

struct ops_progress {
    ops_progress_func *func; /* NULL: none */
    void *ctx;
};

/** What convert makes. */
struct convert_target {
    const char *path;            /* NULL: fd */
    int fd;                      /* an open pipe or file to write to in one go (raw or streamOptimized); the caller's */
    bool raw;                    /* raw image or block device; else a VMDK of params.type */
    bool overwrite;              /* an existing file is replaced, once the new one is complete */
    bool keep_existing;          /* raw only: write into the existing file or device */
    bool target_is_zero;         /* raw only: what exists reads as zeros already */
    struct create_params params; /* capacity, parent: set by convert; ddb: the source's by the clone rules, if a VMDK */
    struct chain_tuning tuning;
};

/** Copies a whole disk: holes and zero grains are left out, large reads and writes on all cores; ordered targets are
 * pulled in order. The target is made under a temporary name beside path where it replaces one, and is gone on failure.
 * VIX_E_FILE_ALREADY_EXISTS; VIX_E_INVALID_ARG if path is a file of src, or a disk that names one; VIX_E_CANCELLED;
 * whatever reading and writing can give. */
VixError ops_convert(struct store_fs *fs, struct disk *src, const struct convert_target *target,
                     struct ops_progress progress, struct err *err);

/** Whether the file at path, whatever it is called there, is one that the disk reads from or keeps: of any link of its
 * chain a descriptor, extent or change-tracking file, or the raw file. False for what cannot be opened. */
bool ops_is_file_of(struct store_fs *fs, struct disk *d, const char *path);

/** Copies a whole disk into one that is open for writing and at least as large, and flushes it. @dst_is_zero: what dst
 * holds reads as zeros already. @threads 0: as many as keep both busy. VIX_E_DISK_CAPACITY_MISMATCH; as ops_convert. */
VixError ops_copy_into(struct disk *src, struct disk *dst, bool dst_is_zero, unsigned threads,
                       struct ops_progress progress, struct err *err);

/** Bytes of storage that a copy of src in a type (UNKNOWN: the type of src; or raw) would take: *ret_required as it is,
 * *ret_full with every sector allocated. Reads all data, and compresses it for streamOptimized; only types that take
 * all their space at once are answered without. Of a remote disk what is allocated counts, and nothing is read. A
 * stream cannot be measured: VIX_E_NOT_SUPPORTED. */
VixError ops_measure(struct disk *src, VixDiskLibDiskType type, bool raw, uint64_t *ret_required, uint64_t *ret_full,
                     struct err *err);

/** Compares two disks; the shorter one is taken as padded with zeros. *ret_first: first sector that differs, UINT64_MAX
 * if none; *ret_count: number of sectors that differ. Skips what both know to be zero. Threads as work_default_threads.
 */
VixError ops_compare(struct disk *a, struct disk *b, struct ops_progress progress, uint64_t *ret_first,
                     uint64_t *ret_count, struct err *err);

/** The allocated chunks of a range, merged, ascending. Range and chunk as the public call has them, already checked and
 * clipped. @blocks: room for ops_allocated_most blocks. */
VixError ops_allocated(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk_sectors,
                       VixDiskLibBlock *blocks, uint32_t *ret_count, struct err *err);

/** The most blocks that a range can have: every other chunk. */
uint64_t ops_allocated_most(uint64_t nsectors, uint64_t chunk_sectors);

/** Makes a range read as zeros: disk_discard where the disk can, and what is left is written over, which leaves holes
 * where nothing is; not so where a parent that is not open may hold data: zeros are stored there. On failure some of it
 * does. Codes of disk_write; of such a single link VIX_E_DISK_PARTIALCHAIN for parts of grains that it does not hold.
 */
VixError ops_write_zeros(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/** Removes the files of one link: extents first, descriptor last. A file that is open for writing elsewhere:
 * VIX_E_FILE_ALREADY_LOCKED, nothing is removed. A symbolic link to a disk: VIX_E_INCORRECT_FILE_TYPE. */
VixError ops_unlink(struct store_fs *fs, const char *path, struct err *err);

/** Renames a link with its files: new extents' names follow the new descriptor's name. Crash-safe: the disk can be
 * opened under the old or the new name at any moment. VIX_E_FILE_ALREADY_EXISTS if any new name exists.
 * VIX_E_INCORRECT_FILE_TYPE for a symbolic link. */
VixError ops_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err);

/** Writes the sparse extents of an open disk (for writing; the caller has it for itself) anew, grains in order. What is
 * allocated stays so. Flat disks: VIX_OK, untouched. Other types: VIX_E_NOT_SUPPORTED. Needs the space of one more copy
 * of the largest extent while it runs. */
VixError ops_defragment(struct disk *d, struct ops_progress progress, struct err *err);

/** Gives grains that are all zeros back to the file system, and the space that nothing refers to; thin disks get holes.
 * As ops_defragment otherwise. VIX_E_DISK_CANTSHRINK for a disk with a parent. */
VixError ops_shrink(struct disk *d, struct ops_progress progress, struct err *err);

/** Makes the disk at path larger (chain_grow). Refused with VIX_E_DISK_PARTIALCHAIN while a child of it is in its
 * folder.
 */
VixError ops_grow(struct store_fs *fs, const char *path, uint64_t capacity, bool update_geometry, struct err *err);

/** Merges a child into its parent and removes the child's files. At any moment the child's chain, or after it the
 * parent alone, reads the same; cut short, it can be done again. Until then the parent has part of the child's data
 * under its old content ID, because the two files cannot change together: children in other folders, which are not
 * known, read it. Refused with VIX_E_DISK_PARTIALCHAIN while another child of the parent is in the parent's folder;
 * VIX_E_INCORRECT_FILE_TYPE for a symbolic link. */
VixError ops_commit(struct store_fs *fs, const char *child_path, struct ops_progress progress, struct err *err);

/** Records another place of a disk's parent (chain_reparent). */
VixError ops_reparent(struct store_fs *fs, const char *path, const char *hint, struct err *err);

/** A disk in the folder of path, other than except (NULL: none) by whatever name, that names the disk at path as its
 * parent with the right content ID. *ret_child freed by the caller, NULL if there is none. Fails where a file of the
 * folder that may be one cannot be read. */
VixError ops_find_child(struct store_fs *fs, const char *path, const char *except, char **ret_child, struct err *err);

/** The same in another folder: that of beside, a path whose name does not matter. @skip (NULL: none): names that are
 * not looked at. */
VixError ops_find_child_beside(struct store_fs *fs, const char *path, const char *beside,
                               bool (*skip)(const char *name), char **ret_child, struct err *err);

#endif

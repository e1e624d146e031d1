/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs.h - reads VMFS 3, 5 and 6 on the LUNs of a datastore: where the bytes of a file stand, and what a folder holds.
 * Never changes metadata: what may be written is the data of blocks that a file has already. Every field is checked
 * before it is used; what does not fit is VIX_E_DISK_INVALIDDISK, what is not known VIX_E_NOT_SUPPORTED. Any thread may
 * call anything but the functions that close. */
#ifndef VIXDISK_VMFS_VMFS_H
#define VIXDISK_VMFS_VMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

#define VMFS_MAX_LUNS 32u    /* limit: LUNs of a datastore */
#define VMFS_UUID_TEXT 36u   /* "52112c2e-60f5b79e-1b9c-000c29aabbcc" and a NUL */
#define VMFS_LABEL_SIZE 129u /* limit: bytes of a volume's label, with a NUL */
#define VMFS_PATH_DEPTH 64u  /* limit: folders in a path on a volume */
#define VMFS_NAME_MAX 255u   /* limit: bytes of a name on a volume */

struct vmfs;
struct vmfs_file;

/** A LUN of a volume: an open store, which stays the caller's, and the number of the partition (0: the first of VMFS).
 */
struct vmfs_lun {
    struct store *store;
    unsigned partition;
};

struct vmfs_info {
    char uuid[VMFS_UUID_TEXT]; /* as vSphere shows it */
    char label[VMFS_LABEL_SIZE];
    uint32_t major; /* 3, 5 or 6 */
    uint64_t block_size;
    uint64_t size; /* of the volume */
    /* A table that tells where pieces of the volume are could not be read (an I/O error), and the arrangement that all
     * known volumes have was taken in its place: nothing may be read by it that is not compared with the host's bytes
     */
    bool guessed;
};

/** Opens a volume of which all LUNs are given, in any order. */
VixError vmfs_open(const struct vmfs_lun *luns, size_t count, struct vmfs **ret_vmfs, struct err *err);
/** After its files and file systems. NULL is harmless. */
void vmfs_close(struct vmfs *v);
const struct vmfs_info *vmfs_info(const struct vmfs *v);

/** Where a place of the volume is: index of the LUN, byte from its beginning; cuts *len at the end of what is together.
 * Beyond the volume: VIX_E_DISK_INVALIDDISK, says that @what leads there. */
VixError vmfs_locate(const struct vmfs *v, uint64_t off, uint64_t *len, const char *what, size_t *ret_lun,
                     uint64_t *ret_lun_off, struct err *err);

/** What stands at a place of a file. */
enum vmfs_kind {
    VMFS_DATA,
    VMFS_HOLE, /* no block: zeros */
    VMFS_TO_BE_ZEROED /* a block that holds somebody's old bytes: zeros */,
    VMFS_UNSURE, /* a block of which some parts are to be zeroed; which is not known */
};

struct vmfs_run {
    uint64_t off; /* in the file */
    uint64_t len; /* > 0 */
    enum vmfs_kind kind;
    size_t lun;          /* index into the LUNs of vmfs_open; not with VMFS_HOLE, as the next ones */
    uint64_t lun_off;    /* bytes, from the LUN's beginning */
    uint64_t volume_off; /* bytes, in the volume */
    bool shared;         /* others may have the block too */
    bool within_system;  /* a part of a block that a system file owns: sub-block, or within the descriptor */
};

/** Opens a file by its path from the root of the volume, "/vm/vm-flat.vmdk". VIX_E_FILE_NOT_FOUND;
 * VIX_E_DISK_UNSUPPORTEDDEVICE for a raw device mapping. */
VixError vmfs_file_open(struct vmfs *v, const char *path, struct vmfs_file **ret_file, struct err *err);
void vmfs_file_close(struct vmfs_file *f);
uint64_t vmfs_file_length(const struct vmfs_file *f);
/** Whether a host has the file open for itself alone. */
bool vmfs_file_is_in_use(const struct vmfs_file *f);

/** The run that begins at off, at most len long; the range is within the length. */
VixError vmfs_file_map(struct vmfs_file *f, uint64_t off, uint64_t len, struct vmfs_run *ret_run, struct err *err);

/** Reads a range within the length. VIX_E_NOT_SUPPORTED where it is VMFS_UNSURE. */
VixError vmfs_file_read(struct vmfs_file *f, void *buf, uint64_t len, uint64_t off, struct err *err);

/** Overwrites a range of VMFS_DATA that is the file's own; anything else is VIX_E_FILE_READ_ONLY before a byte is
 * written. */
VixError vmfs_file_write(struct vmfs_file *f, const void *buf, uint64_t len, uint64_t off, struct err *err);

/** What a whole file is made of. */
struct vmfs_survey {
    uint64_t data, hole, to_be_zeroed, unsure; /* bytes */
    uint64_t not_own;                          /* bytes of data that are shared or within a system file */
};

/** Walks the whole map, and makes sure that the file did not change meanwhile: VIX_E_OBJECT_IS_BUSY if it does again
 * and again. */
VixError vmfs_file_survey(struct vmfs_file *f, struct vmfs_survey *ret_survey, struct err *err);

/** Whether the descriptor counts blocks that are to be zeroed. */
bool vmfs_file_has_to_be_zeroed(const struct vmfs_file *f);

/** Tells the names in a folder, "." and ".." left out; a failure of found ends it. */
VixError vmfs_list(struct vmfs *v, const char *path, VixError (*found)(void *ctx, const char *name, struct err *err),
                   void *ctx, struct err *err);

/** The files of a volume as a file system that nothing can be made in (vmfs_store.c). Paths begin at the volume's root;
 * "/vmfs/volumes/UUID/..." and ".../LABEL/..." are taken too. Free before the volume. */
VixError vmfs_fs_new(struct vmfs *v, struct store_fs **ret_fs, struct err *err);
void vmfs_fs_free(struct store_fs *fs);

#endif

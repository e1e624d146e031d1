/* SPDX-License-Identifier: BSD-3-Clause */
/* create.h - makes new disks of every type that can be created. All or nothing: on failure every file made is gone. */
#ifndef VIXDISK_VMDK_CREATE_H
#define VIXDISK_VMDK_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

#define SPLIT_EXTENT_SECTORS UINT64_C(4192256) /* 2047 MiB */
#define HOSTED_MAX_SECTORS (UINT64_C(1) << 32) /* limit: sectors of a hosted disk that is made, by VMware's guide */

struct disk_geometry {
    uint32_t cylinders, heads, sectors;
};

struct create_params {
    VixDiskLibDiskType type;
    VixDiskLibAdapterType adapter;
    uint16_t hw_version;          /* 0: VIXDISKLIB_HWVERSION_CURRENT */
    uint64_t capacity;            /* sectors, > 0 */
    uint32_t logical_sector_size; /* bytes; 0: 512. Recorded only when not 512 */
    uint32_t physical_sector_size;
    bool allow_over_2tb;
    uint32_t file_mode;    /* permission bits of new files, less the umask; 0: 0666 */
    bool no_preallocation; /* flat types only get their length: the caller takes the space when it has written */
    /* a child: */
    const char *parent_hint; /* text for parentFileNameHint, NULL: a base disk */
    uint32_t parent_cid;
    /* a clone: NULL-terminated pairs key, value for the disk database, over the defaults; or NULL */
    const char *const *ddb;
};

/** Makes the disk at path. @progress called with 0..100, may be NULL; only flat types take time (preallocation).
 * VIX_E_FILE_ALREADY_EXISTS if any of its files exists; VIX_E_FILE_TOO_BIG with the limit, what it comes from and,
 * where a configuration key lifts it, the key; VIX_E_DISK_FULL; VIX_E_INVALID_ARG. */
VixError vmdk_create(struct store_fs *fs, const char *path, const struct create_params *p,
                     void (*progress)(void *ctx, int percent), void *progress_ctx, struct err *err);

/** The descriptor that vmdk_create would write; freed by the caller. *ret_len without the NUL. */
VixError vmdk_descriptor_text(const char *path, const struct create_params *p, char **ret_text, size_t *ret_len,
                              struct err *err);

/** The names of the files that vmdk_create would make at path for a type and capacity, descriptor first;
 * NULL-terminated, freed by chain_files_free. */
VixError vmdk_create_names(const char *path, VixDiskLibDiskType type, uint64_t capacity, char ***ret_paths,
                           struct err *err);

/** Geometry by VMware's rules (reference: format sheet, section 3) for an adapter and a capacity. */
struct disk_geometry geometry_for(VixDiskLibAdapterType adapter, uint64_t capacity);

/** createType of a disk type, NULL for unknown ones. */
const char *create_type_of(VixDiskLibDiskType type);

/** The disk type of a createType (any spelling that is read), VIXDISKLIB_DISK_UNKNOWN for those that the public
 * interface has no name for. thin: ddb.thinProvisioned is "1". */
VixDiskLibDiskType disk_type_of(const char *create_type, bool thin);

/** The word of an adapter for ddb.adapterType, and back (VIXDISKLIB_ADAPTER_UNKNOWN for other words). */
const char *adapter_word(VixDiskLibAdapterType adapter);
VixDiskLibAdapterType adapter_of_word(const char *word);

/** A random content ID: neither CID_NO_PARENT nor CID_FRESH. */
uint32_t random_cid(void);

#endif

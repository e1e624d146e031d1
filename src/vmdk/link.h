/* SPDX-License-Identifier: BSD-3-Clause */
/* link.h - one link of a chain: its descriptor and its extents. Used by chain_*.c only. Opening and closing: one
 * thread; what changes the descriptor takes meta_lock itself. */
#ifndef VIXDISK_VMDK_LINK_H
#define VIXDISK_VMDK_LINK_H

#include "base/checked.h"
#include "vmdk/chain.h"

/** Opens the link whose descriptor (or single file) is path; CHAIN_WRITE: for writing. Codes as chain_open. */
VixError link_open(struct store_fs *fs, const char *path, uint32_t flags, const struct chain_tuning *tuning,
                   struct link **ret_link, struct err *err);

/** Finishes writing and frees, also on failure; the first failure is returned. NULL is harmless. */
VixError link_close(struct link *l, struct err *err);

/** VIX_E_DISK_INVALIDDISK if there is a file and its name is one of those that are being made or removed. */
VixError link_check_name(struct store_fs *fs, const char *path, struct err *err);

/** What a file says it is, without locks: which file, and its content ID. */
struct link_peek {
    uint64_t dev, ino;
    uint32_t cid;
};
VixError link_peek(struct store_fs *fs, const char *path, struct link_peek *ret_peek, struct err *err);

/** Opens path and reads its descriptor into l (fs, path and flags are set, all else is zero). */
VixError link_load_descriptor(struct link *l, struct err *err);

/** Opens every extent of a link whose descriptor is loaded. */
VixError link_open_extents(struct link *l, const struct chain_tuning *tuning, struct err *err);

/** The slow path of a first write: a new content ID on stable storage, change tracking dropped where that was asked. */
VixError link_begin_write(struct link *l, struct err *err);

/** Gives the file of a descriptor a new content ID where the old one stands, on stable storage; l->desc stays as it is.
 * Of l are needed: store (for writing), desc, embedded, desc_off, desc_max. *ret_done false: that cannot be done
 * without writing the descriptor anew, and nothing has changed. */
VixError link_renew_cid_in_place(struct link *l, bool *ret_done, struct err *err);

/** Sets a key of the disk database, on stable storage. */
VixError link_set_ddb(struct link *l, const char *key, const char *value, struct err *err);

/** Puts changed (a changed copy of l->desc) in the place of the link's descriptor, on stable storage,
 * then in memory; changed becomes the link's. Caller holds meta_lock. On failure nothing has changed and changed is
 * freed. */
VixError link_replace_descriptor_locked(struct link *l, struct descriptor *changed, struct err *err);

/** A new, empty file beside another of the link, locked as the link is: what becomes that file by a rename.
 * @like: the file whose owner and rights it gets, @mode its permission bits. *ret_path freed by the caller. */
VixError link_create_temp(const struct link *l, const char *beside, const char *like, uint32_t mode, char **ret_path,
                          struct store **ret_store, struct err *err);

/** A copy of the link's descriptor, to be changed. Caller holds meta_lock. */
VixError link_copy_descriptor(const struct link *l, struct descriptor **ret_d, struct err *err);

/** The file that a name in the descriptor at anchor means: *ret_path as it is to be opened, *ret_real without symbolic
 * links; both freed by the caller. VIX_E_FILE_NOT_FOUND; VIX_E_FILE_ACCESS_ERROR if it lies outside the folder of the
 * descriptor and outside_ok is not set. @what for messages ("extent"). */
VixError link_find_file(struct store_fs *fs, const char *anchor, const char *name, const char *what, bool outside_ok,
                        char **ret_path, char **ret_real, struct err *err);

/** As link_find_file for a name in the encoding of d. */
VixError link_find_named(struct store_fs *fs, const char *anchor, const struct descriptor *d, const char *name,
                         const char *what, bool outside_ok, char **ret_path, char **ret_real, struct err *err);

/** The descriptor of the parent that l names and whose content ID fits; freed by the caller. VIX_E_DISK_OPENPARENT,
 * VIX_E_DISK_CID_MISMATCH, VIX_E_FILE_ACCESS_ERROR. */
VixError link_find_parent(const struct link *l, char **ret_path, struct link_peek *ret_peek, struct err *err);

#define LINK_FEW_FILES 16u

/** Whether the files of the extents are too many to be open all at once. */
static inline bool link_has_many_files(const struct link *l)
{
    return l->desc->extent_count > LINK_FEW_FILES;
}

/** Whether the link has a parent, open or not. */
static inline bool link_has_parent(const struct link *l)
{
    return l->desc->parent_cid != CID_NO_PARENT;
}

/** The extent that holds a sector below the capacity. Empty ones share their first sector with the next, and lose. */
static inline const struct link_extent *link_extent_at(const struct link *l, uint64_t sector)
{
    size_t low = 0, high = l->extent_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->extents[middle].first_sector <= sector) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &l->extents[low];
}

#endif

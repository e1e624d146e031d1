/* SPDX-License-Identifier: BSD-3-Clause */
/* chain.h - an open local disk: links from the top (0) down to the base. Reads fall through to the parent run by run;
 * only the top link is written. Any thread may call anything but close and attach; reads and writes run in parallel. */
#ifndef VIXDISK_VMDK_CHAIN_H
#define VIXDISK_VMDK_CHAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/descriptor.h"
#include "vmdk/extent.h"

#define CHAIN_MAX_LINKS 64u /* limit: links of a chain */

/* How a chain is opened. */
#define CHAIN_READ 0u
#define CHAIN_WRITE (1u << 0) /* the top link for writing */
#define CHAIN_UNBUFFERED (1u << 1)
#define CHAIN_SINGLE_LINK (1u << 2)   /* the top link only; what it does not hold reads as zeros */
#define CHAIN_NO_LOCK (1u << 3)       /* take no file locks (info of a disk in use) */
#define CHAIN_OUTSIDE_OK (1u << 4)    /* extents and parents outside the descriptor's folder, absolute names, devices */
#define CHAIN_KEEP_CID (1u << 7)      /* writing: the content ID stays until chain_renew_cid (merging a child) */
#define CHAIN_DROP_TRACKING (1u << 5) /* writing: take the disk off its change-tracking file instead of refusing */

struct chain;

/** One file extent of a link, with its place in the address space of the disk. */
struct link_extent {
    struct extent *x;
    uint64_t first_sector;
    struct store *store; /* owned by the link; the same store may serve several extents (owner is the first) */
    bool owns_store;
    char *real_path;     /* of the store, without symbolic links; NULL where the store is not the extent's own */
    struct chain *chain; /* top link of an open chain: where the sectors below come from */
};

/** One link. */
struct link {
    struct store_fs *fs;
    char *path;                  /* of the descriptor, as it was found */
    char *real_path;             /* the same without symbolic links */
    struct store *store;         /* the descriptor's file; for a monolithic disk also the extent's */
    struct descriptor *desc;     /* guarded by meta_lock */
    bool embedded;               /* the descriptor lies in the extent's file */
    bool self_extent;            /* embedded, and that file is the first extent */
    uint64_t desc_off, desc_max; /* embedded: its place and size in bytes */
    struct link_extent *extents; /* by first_sector; as many, and in the order, as extent lines */
    size_t extent_count;
    struct grain_cache *table_cache; /* of all extents */
    uint64_t capacity;               /* sectors */
    uint32_t flags;                  /* CHAIN_ */
    bool writable;
    pthread_mutex_t meta_lock;
    atomic_bool cid_changed; /* the CID was changed for writes of this open, and was not recorded by a child since */
};

/** A disk that is no chain of local files, below the last link. */
struct chain_base {
    const char *path;  /* for messages */
    uint64_t capacity; /* sectors */
    uint32_t cid;
    VixError (*read)(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
    /** The run at sector, at most nsectors long, and whether it holds anything. */
    VixError (*map)(void *ctx, uint64_t sector, uint64_t nsectors, bool *ret_present, uint64_t *ret_nsectors,
                    struct err *err);
    VixError (*close)(void *ctx, struct err *err);
    void *ctx;
    int link_count; /* its own */
};

struct chain {
    struct link **links; /* [0]: top */
    size_t link_count;
    struct chain_base base; /* read NULL: there is none */
    uint64_t capacity;      /* sectors */
    uint32_t flags;
};

/** A run of the disk's address space. */
struct chain_run {
    enum run_kind kind;     /* RUN_ABSENT: in no link; reads as zeros */
    uint64_t nsectors;      /* > 0 */
    size_t depth;           /* index of the link that holds it (RUN_ABSENT: of the base) */
    const struct extent *x; /* the extent that holds it */
    const char *path;       /* its file */
    uint64_t file_off;      /* bytes; RUN_DATA, RUN_CODED */
};

/** What an open may have to know of what comes; zeros are the defaults. */
struct chain_tuning {
    int level; /* streamOptimized writing: deflate level, 0: CODEC_LEVEL_DEFAULT; -1: stored */
    unsigned threads;
    bool unfinished; /* the name is a temporary one: the caller is making the disk */
};

/** Opens the disk whose descriptor (or single file) is path. @tuning may be NULL.
 * Codes beyond those of the extents: VIX_E_FILE_NOT_FOUND, VIX_E_DISK_OPENPARENT, VIX_E_DISK_CID_MISMATCH,
 * VIX_E_DISK_CAPACITY_MISMATCH, VIX_E_DISK_INVALIDCHAIN (cycle), VIX_E_DISK_TOOMANYREDO (depth), VIX_E_DISK_NEEDKEY,
 * VIX_E_FILE_ALREADY_LOCKED, VIX_E_FILE_ACCESS_ERROR (a name outside the folder). */
VixError chain_open(struct store_fs *fs, const char *path, uint32_t flags, const struct chain_tuning *tuning,
                    struct chain **ret_chain, struct err *err);

/** Finishes writing and frees, also on failure; the first failure is returned. NULL is harmless. */
VixError chain_close(struct chain *c, struct err *err);

/** Reads sectors; the range was checked against the capacity. */
VixError chain_read(struct chain *c, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);

/** Writes sectors; the first write of an open changes the CID, on disk, before any data. */
VixError chain_write(struct chain *c, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);

/** Makes holes in the files of the top link where they have data of a range: grains keep their places, and read as
 * zeros, as all does that the top link holds of it; what lies below stays. Of no sectors: tells whether the chain can.
 * VIX_E_NOT_SUPPORTED for ordered chains, devices, and file systems that make no holes. */
VixError chain_discard(struct chain *c, uint64_t sector, uint64_t nsectors, struct err *err);

/** As extent_ops.pull, for a chain whose top link consists of ordered extents. */
VixError chain_pull(struct chain *c, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                    struct err *err);

/** Whether the top link has a parent that is not open: what it does not hold then reads as zeros here only. */
bool chain_lacks_parent(const struct chain *c);

/** Whether writes must come in ascending order. */
bool chain_is_ordered(const struct chain *c);

VixError chain_flush(struct chain *c, struct err *err);

/** The run that begins at sector, at most nsectors long. @flags EXTENT_MAP_. */
VixError chain_map(struct chain *c, uint64_t sector, uint64_t nsectors, uint32_t flags, struct chain_run *ret_run,
                   struct err *err);

/** As extent_ops.map_many, of a chain of one link without a base: what that does not have is zeros. */
VixError chain_map_many(struct chain *c, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err);

/** The bytes that a range's data takes in the files: compressed grains their records (a part of one its share), other
 * data as it is. Reads the head of each compressed grain. Codes of extent_stream_record_bytes. */
VixError chain_stored_bytes(struct chain *c, uint64_t sector, uint64_t nsectors, uint64_t *ret_bytes, struct err *err);

/** Value of a disk database key, looked up from the top link down; a copy freed by the caller.
 * VIX_E_DISK_KEY_NOTFOUND. */
VixError chain_meta_get(struct chain *c, const char *key, char **ret_value, struct err *err);

/** Writes a value to the top link, on stable storage when it returns. */
VixError chain_meta_set(struct chain *c, const char *key, const char *value, struct err *err);

/** All keys of the chain, each once, as "key\0key\0\0"; freed by the caller. *ret_len counts every NUL. */
VixError chain_meta_keys(struct chain *c, char **ret_keys, size_t *ret_len, struct err *err);

/** Puts child (opened single-link, of one link that names a parent by CID) on top of parent: child then is the whole
 * chain; parent is gone, also on failure. */
VixError chain_attach(struct chain *parent, struct chain *child, struct err *err);

/** The checks of chain_attach without doing it. */
VixError chain_can_attach(const struct chain *parent, const struct chain *child, struct err *err);

/** Puts child on top of a disk that is no chain; the base is the child's then, but not on failure. Codes of
 * chain_attach. */
VixError chain_attach_base(const struct chain_base *base, struct chain *child, struct err *err);

/** The checks of chain_attach_base without doing it. */
VixError chain_can_attach_base(const struct chain_base *base, const struct chain *child, struct err *err);

/** Gives the top link a new content ID, on stable storage, whatever was written before. */
VixError chain_renew_cid(struct chain *c, struct err *err);

/** The top link's content ID, for a child to record: writes that begin after this one has returned change it. */
uint32_t chain_take_cid(const struct chain *c);

/** The descriptor of the parent that the last link of c names and whose content ID fits; freed by the caller.
 * VIX_E_DISK_OPENPARENT, VIX_E_DISK_CID_MISMATCH. */
VixError chain_parent_path(const struct chain *c, char **ret_path, struct err *err);

/** Records another place of the parent in the top link of c (opened single-link, for writing): hint must lead to a disk
 * whose content ID and capacity fit. VIX_E_DISK_ATTACH_ROOTLINK for a link without parent. */
VixError chain_reparent(struct chain *c, const char *hint, struct err *err);

/** How chain_rebuild works. */
struct rebuild_params {
    bool drop_zeros; /* grains that are all zeros are not copied, where nothing lies below */
    /** Told of progress in sectors; a failure stops. NULL: none. */
    VixError (*tell)(void *ctx, uint64_t done, uint64_t total, struct err *err);
    void *ctx;
};

/** Writes each sparse extent of the top link anew, grains in ascending order without gaps, into a file that takes the
 * old one's place when it is complete; the chain goes on with the new files. At any moment every extent is the old or
 * the new one, both of the same content; on failure the extents that were done stay new. The content ID stays. The
 * caller has the chain, opened for writing, for itself. VIX_E_NOT_SUPPORTED for extents that cannot be rebuilt. */
VixError chain_rebuild(struct chain *c, const struct rebuild_params *p, struct err *err);

/** Makes a disk larger; the caller has it, opened for writing, for itself, and closes it afterwards. At any moment the
 * disk opens with the old or the new capacity. @update_geometry: the geometry keys follow.
 * VIX_E_INVALID_ARG if capacity is less than now; VIX_E_DISK_PARTIALCHAIN for a disk with a parent; VIX_E_NOT_SUPPORTED
 * for types that do not grow; VIX_E_FILE_TOO_BIG; VIX_E_DISK_FULL. */
VixError chain_grow(struct chain *c, uint64_t capacity, bool update_geometry, bool allow_over_2tb, struct err *err);

/** Whether QEMU has the top link open for writing now, or there are no locks that would tell. It changes the content ID
 * with the first write only (block/vmdk.c), so what is read now may be other data than what is there later with the
 * same content ID. Where this is false after the descriptor was read, every later write changes the content ID. */
bool chain_has_writer(const struct chain *c);

/** The type of the top link in the terms of the public interface. */
VixDiskLibDiskType chain_disk_type(const struct chain *c);

/** Every file of the top link: descriptor first, then extents, change-tracking file last; NULL-terminated, freed by
 * chain_files_free. Devices are left out. */
VixError chain_files(const struct chain *c, char ***ret_paths, struct err *err);
void chain_files_free(char **paths);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* extent.h - one extent of a link: a run of the disk's address space kept in one file, in one of the extent types. The
 * seam of src/vmdk: every type is one table of functions, and knows neither the descriptor nor the other extents.
 *
 * Units are sectors of 512 bytes counted from the start of the extent, already checked to lie within it. Any thread may
 * call anything but close; reads and writes run in parallel. Reading needs no lock. */
#ifndef VIXDISK_VMDK_EXTENT_H
#define VIXDISK_VMDK_EXTENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

#define SECTOR_SIZE 512u

enum run_kind {
    RUN_ABSENT, /* nothing here: the parent's sectors show, or zeros if there is no parent */
    RUN_ZERO,   /* zeros, whatever the parent has */
    RUN_DATA,   /* bytes as they are at file_off of the store, without a gap */
    RUN_CODED   /* only the extent can read it (compressed); file_off is where its record begins, for display */
};

struct extent_run {
    enum run_kind kind;
    uint64_t nsectors; /* > 0 */
    uint64_t file_off; /* bytes; RUN_DATA and RUN_CODED only */
};

/* How closely map looks. */
#define EXTENT_MAP_STATUS                                                                                              \
    (1u << 0) /* merge runs of the same kind wherever they lie in the file; file_off is of the first */
#define EXTENT_MAP_HOLES (1u << 1)      /* ask the file system for holes of raw data (RUN_ZERO); costs system calls */
#define EXTENT_MAP_FLAT_HOLES (1u << 2) /* the same, but not within grains: a grain that is there is data */

#define EXTENT_UNITS_MAX 8192u /* own: of one call */

/** Where an address space holds data, from a sector on: neighbouring units of one length, a bit for each. A unit
 * without data is zeros, or not there. */
struct extent_units {
    uint64_t unit_sectors;
    unsigned count;
    uint64_t data[EXTENT_UNITS_MAX / 64]; /* bit i % 64 of word i / 64: unit i; bits behind the last one are 0 */
};

/** What lies below a grain that an extent does not hold: used to fill up a grain of which only a part is written. */
struct extent_below {
    /** Reads nsectors at sector (of the extent's own address space). NULL: nothing below, zeros. */
    VixError (*read)(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
    void *ctx;
};

/** Pulls sectors from a source, on any thread, several at once. */
typedef VixError extent_source_func(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);

struct extent;
struct grain_cache;

struct extent_ops {
    const char *name; /* the word of the extent line: "SPARSE", "FLAT", ... */
    /** The run that begins at sector, at most nsectors long. RUN_DATA never reaches beyond the end of the file: a grain
     * outside the file is VIX_E_DISK_NEEDSREPAIR. flags: EXTENT_MAP_. Cheap: no system call when tables are cached and
     * EXTENT_MAP_HOLES is not given. */
    VixError (*map)(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags, struct extent_run *ret_run,
                    struct err *err);
    /** What map tells with EXTENT_MAP_STATUS and EXTENT_MAP_FLAT_HOLES, of many runs in one call: at least one unit
     * from sector on, none beyond nsectors. */
    VixError (*map_many)(struct extent *x, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                         struct err *err);
    /** Reads a range that map calls RUN_CODED. */
    VixError (*read_coded)(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
    /** Writes sectors; allocates what is needed, completing grains from x->below. Acknowledged data is readable at once
     * and is stable after flush. */
    VixError (*write)(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
    /** Writes a range whose bytes come from source, pulled and processed on several threads at once, zero grains left
     * out. Only for extents that must be written in order (x->ordered); others: VIX_E_NOT_SUPPORTED. */
    VixError (*pull)(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                     struct err *err);
    /** Data, barrier, redundant tables, primary tables, barrier. */
    VixError (*flush)(struct extent *x, struct err *err);
    /** Finishes writing (flush, trailer, length, unclean flag cleared) and frees. The store stays the caller's. Freed
     * also on failure, which then is the first one met. No other call may be running. */
    VixError (*close)(struct extent *x, struct err *err);
};

/** map_many by one call of map, for extents that have no tables, or rarely many runs: one unit. */
VixError extent_map_one(struct extent *x, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err);

/** Units that are a single run. */
static inline void extent_units_set_one(struct extent_units *units, uint64_t nsectors, bool data)
{
    units->unit_sectors = nsectors;
    units->count = 1;
    units->data[0] = data;
}

/** An open extent; the maker's own members follow this struct. */
struct extent {
    const struct extent_ops *ops;
    struct store *store;       /* borrowed; NULL for zero extents */
    uint64_t nsectors;         /* address space: the number of the extent line */
    uint64_t grain_sectors;    /* 0 where there are no grains */
    struct extent_below below; /* set by the chain before the first write */
    bool writable;
    bool compressed;     /* grains are compressed */
    bool ordered;        /* writes must come in ascending order, each grain once */
    bool preallocated;   /* raw bytes: there is nothing below */
    atomic_bool punched; /* holes were made in its file behind its back: close flushes them */
};

/** How an extent is opened. */
struct extent_open_params {
    struct store *store; /* borrowed, already open */
    uint64_t nsectors;   /* of the extent line; 0: take the header's capacity (monolithic file before its descriptor is
                            known) */
    uint64_t offset_sectors; /* FLAT: first sector in the file */
    bool writable;
    uint64_t table_cache_bytes;      /* bound of the table cache; 0: the default */
    struct grain_cache *table_cache; /* for tables of 32-bit entries, shared by the extents of a link; NULL: its own */
    int level;                       /* streamOptimized writing: deflate level */
    unsigned threads;                /* streamOptimized: threads; 0: work_default_threads */
};

/* One constructor per type. On failure nothing is kept. Codes: VIX_E_DISK_INVALIDDISK (not this type),
 * VIX_E_DISK_UNSUPPORTEDDISKVERSION, VIX_E_DISK_NOTSUPPORTED (unknown incompatible flags), VIX_E_DISK_NEEDSREPAIR
 * (unclean or contradictory and writable), VIX_E_DISK_INVAL for nonsense in a field (the sentence names it). */
VixError extent_flat_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_zero_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_noaccess_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_sparse_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_stream_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_cowd_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);
VixError extent_sesparse_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err);

/** The bytes that the record of a compressed grain takes in the file, head and padding included. @x of
 * extent_stream_open; @file_off of a RUN_CODED. VIX_E_DISK_NEEDSREPAIR for a length that no grain has,
 * VIX_E_NOT_SUPPORTED where x is open for writing. */
VixError extent_stream_record_bytes(const struct extent *x, uint64_t file_off, uint64_t *ret_bytes, struct err *err);

/** Whether it is a hosted sparse extent (extent_sparse_open). */
bool extent_is_sparse(const struct extent *x);

/** Keeps a hosted sparse extent that is open for writing from taking new space in its file, until the release: whoever
 * needs some waits. Overwriting and reading go on. Any thread, the same for both. @end: new space begins there at the
 * earliest, in sectors of the file: what lies before it is in use. */
void extent_sparse_hold(struct extent *x);
void extent_sparse_release(struct extent *x, uint64_t end);

/** Makes the header of an extent that is held name another place of its descriptor, and flushes. */
VixError extent_sparse_point_at_descriptor(struct extent *x, uint64_t sector, uint64_t nsectors, struct err *err);

/* One maker per type that can be created: fills an empty, new file (length 0) so that it opens as an empty extent. */

/** KDMV extent in the canonical layout (grain 128 sectors, 512 entries): directories, tables as holes, descriptor text
 * (NULL: none; else 20 sectors are reserved, VIX_E_DISK_INVAL if it does not fit), header last; flushed.
 * @nsectors > 0, at most SPARSE_EXTENT_MAX_SECTORS. */
VixError extent_sparse_create(struct store *store, uint64_t nsectors, const char *descriptor, size_t descriptor_len,
                              struct err *err);

/** Empty streamOptimized file: header, descriptor, empty directory, footer, end of stream; flushed. */
VixError extent_stream_create(struct store *store, uint64_t nsectors, const char *descriptor, size_t descriptor_len,
                              struct err *err);

/** COWD extent, grain 1 sector. */
VixError extent_cowd_create(struct store *store, uint64_t nsectors, struct err *err);

/** The length in bytes that a file of extent_sparse_create has with every grain allocated. */
uint64_t extent_sparse_full_size(uint64_t nsectors, bool embedded_descriptor);

/** The length in bytes of an empty one (the sector of the first grain). */
uint64_t extent_sparse_empty_size(uint64_t nsectors, bool embedded_descriptor);

#define SPARSE_EXTENT_MAX_SECTORS UINT64_C(4294441984) /* limit: sectors of a sparse extent that is made */

#endif

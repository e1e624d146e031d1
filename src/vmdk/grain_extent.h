/* SPDX-License-Identifier: BSD-3-Clause */
/* grain_extent.h - what the extents have in common whose grains lie as they are in one file and are found by tables of
 * 32-bit sector numbers: the hosted sparse extent and the one of VMFS (COWD). grain_map.c maps and reads, grain_write.c
 * allocates, writes and flushes; headers, directories and the places of tables are the format's (struct grain_format).
 *
 * Locks, in this order: flush_lock, lock, those of tables. Mapping and overwriting take none of them. */
#ifndef VIXDISK_VMDK_GRAIN_EXTENT_H
#define VIXDISK_VMDK_GRAIN_EXTENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmdk/extent.h"
#include "vmdk/grain_tables.h"

#define GRAIN_FILE_SECTORS_MAX (UINT64_C(1) << 32) /* limit: sectors of a file with grains: entries have 32 bits */

#define GTE_ABSENT 0u
#define GTE_ZERO 1u              /* where the format says so */
#define GTE_NO_TABLE 0xFFFFFFFFu /* in memory only: the table of this entry lies outside the file */

#define GDE_ABSENT 0u

struct grain_extent;

/** What differs between the formats. Any thread; without a lock unless said otherwise. */
struct grain_format {
    /** The sentence for an entry that points where no grain can be; returns VIX_E_DISK_NEEDSREPAIR. */
    VixError (*bad_entry)(struct grain_extent *g, uint64_t grain, uint64_t entry, struct err *err);
    /** How many grains from this one on are absent for want of a table, without looking at entries; 0: not known. */
    uint64_t (*known_absent)(struct grain_extent *g, uint64_t grain);
    /** Puts the mark of a file that is being changed on stable storage, or takes it away. Caller holds lock. */
    VixError (*write_unclean_locked)(struct grain_extent *g, bool unclean, struct err *err);
    /** Makes the tables of grains that are about to be allocated, where there are none. */
    VixError (*ensure_tables)(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err);
    /** Barrier for the data, then the changed sectors of tables in the right order, without a barrier at the end.
     * Caller holds flush_lock. */
    VixError (*write_tables)(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err);
};

/** Grains that one writer is about to allocate; lives on its stack, in the list of the extent. */
struct grain_claim {
    uint64_t first, end; /* grains */
    struct grain_claim *next;
};

/** The common part of an open extent; the format's own members follow this struct. Set by the format before use: all
 * members up to file_len, and next_free, marked if writable. */
struct grain_extent {
    struct extent x; /* first */
    const struct grain_format *format;
    struct grain_tables *tables;
    unsigned grain_shift;        /* sectors of a grain as a power of two */
    unsigned zero_shift;         /* the same of what is looked at together for zeros: at least a grain */
    bool zero_entries;           /* entry 1 means zeros */
    uint64_t first_grain_sector; /* no grain begins before this sector of the file */
    uint64_t max_file_sectors;   /* nor ends behind this one: GRAIN_FILE_SECTORS_MAX or less */
    _Atomic uint64_t file_len;   /* bytes; only grows while the extent is open */

    /* writable only */
    atomic_bool marked; /* the unclean flag is set in the file */
    atomic_bool dead;   /* metadata could not be written: death tells */
    struct err death;   /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t claim_gone;
    struct grain_claim *claims; /* guarded by lock */
    uint64_t next_free;         /* file sector of the next new grain; guarded by lock */
    bool grown;                 /* the file was made longer than what is used; guarded by lock */
    pthread_mutex_t flush_lock; /* one snapshot of the tables at a time */
};

static inline struct grain_extent *grain_extent_of(struct extent *x)
{
    return (struct grain_extent *)x;
}

static inline uint64_t grain_bytes(const struct grain_extent *g)
{
    return g->x.grain_sectors * SECTOR_SIZE;
}

/** Prepares zeroed memory: locks, ops, what the parameters tell. */
void grain_extent_init(struct grain_extent *g, const struct extent_ops *ops, const struct grain_format *format,
                       const struct extent_open_params *p);

/** Sets the size of the grains (a power of two), the address space and the cache of their entries; grains for which
 * load is asked: those of capacity. */
VixError grain_extent_set_grains(struct grain_extent *g, uint64_t grain_sectors, uint64_t capacity,
                                 const struct extent_open_params *p, grain_tables_load_func *load, struct err *err);

/** Frees what grain_extent_init and grain_extent_set_grains made; the struct itself is the format's. */
void grain_extent_done(struct grain_extent *g);

/** Functions for the table of struct extent_ops. */
VixError grain_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags, struct extent_run *ret_run,
                   struct err *err);
VixError grain_map_many(struct extent *x, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err);
VixError grain_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
VixError grain_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
VixError grain_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                    struct err *err);
VixError grain_flush(struct extent *x, struct err *err);

/** Everything that close does for an extent that was written to, short of freeing it. */
VixError grain_finish(struct grain_extent *g, struct err *err);

/* ---- for the formats ---- */

/** Asks the store for the length of the file. */
VixError grain_refresh_file_len(struct grain_extent *g, struct err *err);

/** Whether the file holds at least the beginning of a grain at that sector. Asks the store for the length if the known
 * one is too short. */
VixError grain_begins_inside(struct grain_extent *g, uint64_t gte, bool *ret_inside, struct err *err);

/** Takes nsectors of new space at the end of the file, all of which is a hole. Caller holds lock. */
VixError grain_take_space_locked(struct grain_extent *g, uint64_t nsectors, uint64_t *ret_sector, struct err *err);

/** Where in the file, in bytes, the sector of tables with this first entry belongs. */
typedef VixError grain_place_func(void *ctx, uint64_t first_entry, uint64_t *ret_off, struct err *err);

/** Writes the sectors of a snapshot to where they belong; those that are neighbours there, together. */
VixError grain_write_snapshot(struct grain_extent *g, const struct grain_snapshot *snap, grain_place_func *place,
                              void *ctx, struct err *err);

/** Fills n 32-bit entries with one value, as they are in the file. */
void grain_fill_entries(uint8_t *buf, size_t n, uint32_t value);

#endif

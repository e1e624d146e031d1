/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_int.h - inside of the hosted sparse extent, shared by its files only: extent_sparse.c opens, maps and closes,
 * sparse_write.c allocates and writes, sparse_verify.c checks what is about to be written to, sparse_create.c makes new
 * ones.
 *
 * Locks, in this order: flush_lock, lock, that of the tables. Mapping and overwriting take none of them. */
#ifndef VIXDISK_VMDK_SPARSE_INT_H
#define VIXDISK_VMDK_SPARSE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmdk/extent.h"
#include "vmdk/grain_tables.h"
#include "vmdk/sparse_header.h"

#define SPARSE_MAX_TABLES_PER_PAGE (GRAIN_PAGE_ENTRIES / 128) /* 128: the fewest entries of a table */
#define SPARSE_FILE_SECTORS_LIMIT (UINT64_C(1) << 32)         /* entries are 32-bit sector numbers */
#define SPARSE_MAX_WRITABLE_TABLES (1u << 20)                 /* of each copy: directories of 4 MiB */

#define GTE_ABSENT 0u
#define GTE_ZERO 1u              /* with KDMV_FLAG_ZERO_GTE */
#define GTE_NO_TABLE 0xFFFFFFFFu /* in memory only: the table of this entry lies outside the file */

#define GDE_ABSENT 0u
#define GDE_ALL_ZERO 1u /* as some writer is said to use it: every grain of the table is zeros */

/** Grains that one writer is about to allocate; lives on its stack, in the list of the extent. */
struct sparse_claim {
    uint64_t first, end; /* grains */
    struct sparse_claim *next;
};

struct sparse_extent {
    struct extent x; /* first */
    struct sparse_header h;
    unsigned grain_shift; /* sectors of a grain as a power of two */
    bool redundant;
    bool zero_gtes;
    struct grain_tables *tables;
    _Atomic uint64_t file_len; /* bytes; only grows while the extent is open */

    /* writable only */
    uint8_t header_sector[SECTOR_SIZE]; /* as in the file; guarded by lock */
    _Atomic uint32_t *gd, *rgd;         /* whole directories, host order; rgd NULL without redundant tables */
    atomic_bool marked;                 /* the unclean flag is set in the file */
    atomic_bool dead;                   /* metadata could not be written: death tells */
    struct err death;                   /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t claim_gone;
    struct sparse_claim *claims; /* guarded by lock */
    uint64_t next_free;          /* file sector of the next new grain; guarded by lock */
    bool grown;                  /* the file was made longer than what is used; guarded by lock */
    pthread_mutex_t flush_lock;  /* one snapshot of the tables at a time */
};

static inline struct sparse_extent *sparse_of(struct extent *x)
{
    return (struct sparse_extent *)x;
}

static inline uint64_t sparse_grain_bytes(const struct sparse_extent *s)
{
    return s->h.grain_sectors * SECTOR_SIZE;
}

/** The sentence for an entry that points where no grain can be; returns VIX_E_DISK_NEEDSREPAIR. */
VixError sparse_bad_entry(struct sparse_extent *s, uint64_t grain, uint64_t gte, struct err *err);

/** Whether a file of this length holds at least the beginning of a grain at that sector. Asks the store for the length
 * if the known one is too short. */
VixError sparse_grain_begins_inside(struct sparse_extent *s, uint64_t gte, bool *ret_inside, struct err *err);

/** Loads the directories of an extent that is opened for writing, and proves that directories and tables lie inside the
 * file and nothing overlaps; for a file that was not closed cleanly also that both copies of the tables agree
 * (repairing the traces of a crash) and that no two grains overlap. Sets gd, rgd, next_free. VIX_E_DISK_NEEDSREPAIR. */
VixError sparse_verify_for_write(struct sparse_extent *s, struct err *err);

/** The functions of extent_ops that change something. */
VixError sparse_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
VixError sparse_flush(struct extent *x, struct err *err);

/** Everything that close does for an extent that was written to, short of freeing it. */
VixError sparse_finish(struct sparse_extent *s, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_int.h - inside of the hosted sparse extent, shared by its files only: extent_sparse.c opens and closes and
 * finds tables, sparse_write.c writes header and tables, sparse_verify.c checks what is about to be written to,
 * sparse_create.c makes new ones. Locks: see grain_extent.h. */
#ifndef VIXDISK_VMDK_SPARSE_INT_H
#define VIXDISK_VMDK_SPARSE_INT_H

#include "vmdk/grain_extent.h"
#include "vmdk/sparse_header.h"

#define SPARSE_MAX_TABLES_PER_PAGE (GRAIN_PAGE_ENTRIES / 128) /* own: 128: the fewest entries of a table */
#define SPARSE_MAX_WRITABLE_TABLES (1u << 20)                 /* limit: grain tables of an extent that is written */

/** A grain directory kept for writing. In the usual layout each table follows the one before it: then only the place of
 * the first is kept. */
struct sparse_directory {
    bool present;              /* loaded: the extent is open for writing, and has this directory */
    uint64_t first, step;      /* sectors; where entries is NULL */
    _Atomic uint32_t *entries; /* host order */
};

struct sparse_extent {
    struct grain_extent g; /* first */
    struct sparse_header h;
    bool redundant;

    /* writable only */
    uint8_t header_sector[SECTOR_SIZE]; /* as in the file; guarded by lock */
    struct sparse_directory gd, rgd;    /* rgd not present without redundant tables */
};

static inline struct sparse_extent *sparse_of(struct grain_extent *g)
{
    return (struct sparse_extent *)g;
}

/** The sector of a table, or GDE_ABSENT, GDE_ALL_ZERO. */
static inline uint64_t sparse_gde(const struct sparse_directory *d, uint64_t gt)
{
    return d->entries == NULL ? d->first + gt * d->step : atomic_load_explicit(&d->entries[gt], memory_order_acquire);
}

/** Reads the directory at sector; what it says is not checked. Freed with sparse_directory_done. */
VixError sparse_directory_load(struct sparse_extent *s, uint64_t sector, struct sparse_directory *ret_dir,
                               struct err *err);
void sparse_directory_done(struct sparse_directory *d);

/** Loads the directories of an extent that is opened for writing, and proves that directories and tables lie inside the
 * file and nothing overlaps; for a file that was not closed cleanly also that both copies of the tables agree
 * (repairing the traces of a crash) and that no two grains overlap. Sets gd, rgd, next_free. VIX_E_DISK_NEEDSREPAIR. */
VixError sparse_verify_for_write(struct sparse_extent *s, struct err *err);

/** The functions of struct grain_format that change something. */
VixError sparse_write_unclean_locked(struct grain_extent *g, bool unclean, struct err *err);
VixError sparse_ensure_tables(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err);
VixError sparse_write_tables(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err);

#endif

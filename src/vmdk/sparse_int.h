/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_int.h - inside of the hosted sparse extent, shared by its files only: extent_sparse.c opens and closes and
 * finds tables, sparse_write.c writes header and tables, sparse_verify.c checks what is about to be written to,
 * sparse_create.c makes new ones. Locks: see grain_extent.h. */
#ifndef VIXDISK_VMDK_SPARSE_INT_H
#define VIXDISK_VMDK_SPARSE_INT_H

#include "vmdk/grain_extent.h"
#include "vmdk/sparse_header.h"

#define SPARSE_MAX_TABLES_PER_PAGE (GRAIN_PAGE_ENTRIES / 128) /* 128: the fewest entries of a table */
#define SPARSE_MAX_WRITABLE_TABLES (1u << 20)                 /* of each copy: directories of 4 MiB */

struct sparse_extent {
    struct grain_extent g; /* first */
    struct sparse_header h;
    bool redundant;

    /* writable only */
    uint8_t header_sector[SECTOR_SIZE]; /* as in the file; guarded by lock */
    _Atomic uint32_t *gd, *rgd;         /* whole directories, host order; rgd NULL without redundant tables */
};

static inline struct sparse_extent *sparse_of(struct grain_extent *g)
{
    return (struct sparse_extent *)g;
}

/** Loads the directories of an extent that is opened for writing, and proves that directories and tables lie inside the
 * file and nothing overlaps; for a file that was not closed cleanly also that both copies of the tables agree
 * (repairing the traces of a crash) and that no two grains overlap. Sets gd, rgd, next_free. VIX_E_DISK_NEEDSREPAIR. */
VixError sparse_verify_for_write(struct sparse_extent *s, struct err *err);

/** The functions of struct grain_format that change something. */
VixError sparse_write_unclean_locked(struct grain_extent *g, bool unclean, struct err *err);
VixError sparse_ensure_tables(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err);
VixError sparse_write_tables(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err);

#endif

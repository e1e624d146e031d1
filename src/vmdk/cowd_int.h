/* SPDX-License-Identifier: BSD-3-Clause */
/* cowd_int.h - inside of the COWD extent, shared by its files only: extent_cowd.c opens, closes, finds tables and makes
 * new extents, cowd_write.c writes header, directory and tables, cowd_verify.c checks what is about to be written to.
 * Locks: see grain_extent.h; those of the directory and of the tables are never held together. */
#ifndef VIXDISK_VMDK_COWD_INT_H
#define VIXDISK_VMDK_COWD_INT_H

#include "vmdk/cowd_header.h"
#include "vmdk/grain_extent.h"

struct cowd_extent {
    struct grain_extent g; /* first */
    struct cowd_header h;
    struct grain_tables *dir;          /* the directory: its entries are the sectors of tables */
    uint8_t header[COWD_HEADER_BYTES]; /* as in the file; guarded by lock */
};

static inline struct cowd_extent *cowd_of(struct grain_extent *g)
{
    return (struct cowd_extent *)g;
}

/** Whether a table at this sector lies inside the file. */
static inline bool cowd_table_is_inside(const struct cowd_extent *c, uint64_t gde)
{
    return gde >= c->g.first_grain_sector && (gde + COWD_GT_SECTORS) * SECTOR_SIZE <= atomic_load(&c->g.file_len);
}

/** Proves of an extent that is opened for writing that the tables lie inside the file and do not overlap; of a file
 * that was not closed cleanly also that all grains do, and overlap nothing. Sets next_free. VIX_E_DISK_NEEDSREPAIR. */
VixError cowd_verify_for_write(struct cowd_extent *c, struct err *err);

/** The functions of struct grain_format that change something. */
VixError cowd_write_unclean_locked(struct grain_extent *g, bool unclean, struct err *err);
VixError cowd_ensure_tables(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err);
VixError cowd_write_tables(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err);

#endif

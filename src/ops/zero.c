/* SPDX-License-Identifier: BSD-3-Clause */
/* zero.c - makes a range read as zeros with as little space as the disk can: what is not there stays so, data of the
 * top link becomes holes of its files, and only what neither applies to is written over. What is not there of a link
 * whose parent is not open is written over, too: the parent may hold data there. */
#include "base/checked.h"
#include "ops/ops.h"

#define PIECE_SECTORS 2048u /* 1 MiB */

static VixError write_over(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    static const uint8_t zeros[PIECE_SECTORS * SECTOR_SIZE];
    VixError code = VIX_OK;

    for (uint64_t n = 0; nsectors > 0 && code == VIX_OK; sector += n, nsectors -= n) {
        n = min_u64(nsectors, PIECE_SECTORS);
        code = disk_write(d, sector, n, zeros, err);
    }
    return code;
}

/** @holes: the top link has nothing but zeros in the range. */
static bool must_be_written(const struct disk *d, const struct disk_run *run, bool holes)
{
    if (!run->present) {
        return d->parent_closed;
    }
    return !run->zero && !(holes && run->depth == 0);
}

VixError ops_write_zeros(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    VixError code = disk_discard(d, sector, nsectors, err);
    bool holes = code == VIX_OK;

    if (code == VIX_E_NOT_SUPPORTED) {
        code = VIX_OK;
    }
    while (code == VIX_OK && nsectors > 0) {
        struct disk_run run;
        code = d->ops->map(d, sector, nsectors, EXTENT_MAP_FLAT_HOLES, &run, err);
        if (code == VIX_OK && must_be_written(d, &run, holes)) {
            code = write_over(d, sector, run.nsectors, err);
        }
        sector += run.nsectors;
        nsectors -= run.nsectors;
    }
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* allocated.c - which chunks of a disk hold data, from its tables alone. Costs one look at every run of the tables,
 * nothing for what lies between; no data is read. */
#include "base/checked.h"
#include "ops/ops.h"

VixError ops_allocated(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk_sectors,
                       VixError (*found)(void *ctx, uint64_t sector, uint64_t nsectors, struct err *err), void *ctx,
                       struct err *err)
{
    const uint64_t end = sector + nsectors;
    uint64_t block = sector; /* the block that is not yet told of: block..block_end, empty if they are equal */
    uint64_t block_end = sector;
    uint64_t pos = sector;

    while (pos < end) {
        struct disk_run run;
        VixError code = d->ops->map(d, pos, end - pos, EXTENT_MAP_STATUS | EXTENT_MAP_FLAT_HOLES, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        if (run.zero) {
            pos += run.nsectors;
            continue;
        }
        uint64_t first = pos - (pos - sector) % chunk_sectors;
        if (first > block_end && block_end > block && (code = found(ctx, block, block_end - block, err)) != VIX_OK) {
            return code;
        }
        if (first > block_end || block_end == block) {
            block = first;
        }
        /* what is left of the last chunk is told of anyway and need not be looked at */
        block_end = min_u64(end, sector + round_up(pos + run.nsectors - sector, chunk_sectors));
        pos = block_end;
    }
    return block_end > block ? found(ctx, block, block_end - block, err) : VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* allocated.c - which chunks of a disk hold data, from its tables alone. Costs one look at every run of the tables,
 * nothing for what lies between; no data is read. */
#include "base/checked.h"
#include "ops/ops.h"

/** The blocks that are found. */
struct blocks {
    uint64_t sector; /* of the range; chunks begin there */
    uint64_t end;
    uint64_t chunk_sectors;
    uint64_t first, behind; /* the block that is not yet told of; empty if they are equal */
    VixError (*found)(void *ctx, uint64_t sector, uint64_t nsectors, struct err *err);
    void *ctx;
};

static VixError tell(const struct blocks *b, struct err *err)
{
    return b->behind > b->first ? b->found(b->ctx, b->first, b->behind - b->first, err) : VIX_OK;
}

/** Data from pos up to end, behind all that came before. */
static VixError add_data(struct blocks *b, uint64_t pos, uint64_t end, struct err *err)
{
    /* what is left of the last chunk is told of anyway */
    if (end <= b->behind) {
        return VIX_OK;
    }
    uint64_t first = pos > b->behind ? pos - (pos - b->sector) % b->chunk_sectors : b->behind;
    if (first > b->behind || b->behind == b->first) {
        VixError code = tell(b, err);
        if (code != VIX_OK) {
            return code;
        }
        b->first = first;
    }
    b->behind = min_u64(b->end, b->sector + round_up(end - b->sector, b->chunk_sectors));
    return VIX_OK;
}

VixError ops_allocated(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk_sectors,
                       VixError (*found)(void *ctx, uint64_t sector, uint64_t nsectors, struct err *err), void *ctx,
                       struct err *err)
{
    struct extent_span spans[EXTENT_SPANS_MAX];
    struct blocks b = {sector, sector + nsectors, chunk_sectors, sector, sector, found, ctx};
    uint64_t pos = sector;

    while (pos < b.end) {
        unsigned count;
        VixError code = d->ops->map_many(d, pos, b.end - pos, spans, &count, err);
        for (unsigned i = 0; code == VIX_OK && i < count; i++) {
            code = spans[i].data ? add_data(&b, pos, pos + spans[i].nsectors, err) : VIX_OK;
            pos += spans[i].nsectors;
        }
        if (code != VIX_OK) {
            return code;
        }
        /* what is left of the last chunk need not be looked at */
        pos = max_u64(pos, b.behind);
    }
    return tell(&b, err);
}

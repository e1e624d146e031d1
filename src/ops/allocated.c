/* SPDX-License-Identifier: BSD-3-Clause */
/* allocated.c - which chunks of a disk hold data, from its tables alone. Costs a step for every run of data, and next
 * to nothing for what lies between; no data is read. */
#include "base/checked.h"
#include "ops/ops.h"

/** The blocks that are found. */
struct found {
    uint64_t sector; /* of the range; chunks begin there */
    uint64_t end;
    uint64_t chunk_sectors;
    uint64_t chunk_mask; /* chunk_sectors - 1 if that is a power of two, else 0: division is dear */
    uint64_t behind;     /* the last block, or the beginning of the range */
    VixDiskLibBlock *blocks;
    uint32_t count;
};

/** Sectors between the beginning of a chunk and a sector of it, both counted from the range. */
static inline uint64_t into_chunk(const struct found *f, uint64_t at)
{
    return f->chunk_mask != 0 ? at & f->chunk_mask : at % f->chunk_sectors;
}

/** Data from pos up to end, behind all that came before. */
static inline void add_data(struct found *f, uint64_t pos, uint64_t end)
{
    /* what is left of the last chunk is told of anyway */
    if (end <= f->behind) {
        return;
    }
    uint64_t first = max_u64(f->behind, pos - into_chunk(f, pos - f->sector));
    end = min_u64(f->end, end + f->chunk_sectors - 1 - into_chunk(f, end - 1 - f->sector));
    if (first > f->behind || f->count == 0) {
        f->blocks[f->count++].offset = first;
    }
    f->blocks[f->count - 1].length = end - f->blocks[f->count - 1].offset;
    f->behind = end;
}

/** The same for a whole word of units that begin and end with chunks. */
static inline void add_word(struct found *f, uint64_t pos, uint64_t data, uint64_t unit)
{
    uint64_t left = data;

    if ((data & 1) != 0 && f->behind == pos && f->count > 0) {
        left &= data + 1; /* without the run that goes on with the last block */
        f->blocks[f->count - 1].length += (data != UINT64_MAX ? (unsigned)__builtin_ctzll(~data) : 64) * unit;
    }
    while (left != 0) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        /* adding the lowest bit carries through its run: that becomes zeros, and the bit behind it one */
        uint64_t carried = left + (left & -left);
        unsigned end = carried != 0 ? (unsigned)__builtin_ctzll(carried) : 64;
        f->blocks[f->count++] = (VixDiskLibBlock){.offset = pos + first * unit, .length = (end - first) * unit};
        left &= carried;
    }
    if (f->count > 0) {
        f->behind = f->blocks[f->count - 1].offset + f->blocks[f->count - 1].length;
    }
}

static void add_units(struct found *f, uint64_t pos, const struct extent_units *units)
{
    struct found now = *f; /* in registers: storing a block does not change it */
    uint64_t unit = units->unit_sectors;
    bool whole_chunks = into_chunk(f, unit) == 0 && into_chunk(f, pos - f->sector) == 0;

    if (whole_chunks) {
        for (unsigned w = 0; w < div_up(units->count, 64); w++) {
            add_word(&now, pos + 64 * w * unit, units->data[w], unit);
        }
    } else {
        for (unsigned i = 0; i < units->count; i++, pos += unit) {
            if ((units->data[i / 64] >> i % 64 & 1) != 0) {
                add_data(&now, pos, pos + unit);
            }
        }
    }
    *f = now;
}

VixError ops_allocated(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk_sectors,
                       VixDiskLibBlock *blocks, uint32_t *ret_count, struct err *err)
{
    struct extent_units units;
    struct found f = {.sector = sector,
                      .end = sector + nsectors,
                      .chunk_sectors = chunk_sectors,
                      .chunk_mask = is_power_of_two(chunk_sectors) ? chunk_sectors - 1 : 0,
                      .behind = sector,
                      .blocks = blocks};

    for (uint64_t pos = sector; pos < f.end;) {
        VixError code = d->ops->map_many(d, pos, f.end - pos, &units, err);
        if (code != VIX_OK) {
            return code;
        }
        add_units(&f, pos, &units);
        /* what is left of the last chunk need not be looked at */
        pos = max_u64(pos + units.count * units.unit_sectors, f.behind);
    }
    *ret_count = f.count;
    return VIX_OK;
}

uint64_t ops_allocated_most(uint64_t nsectors, uint64_t chunk_sectors)
{
    return div_up(div_up(nsectors, chunk_sectors), 2);
}

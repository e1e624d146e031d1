/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_format.c - the parts of stream_format.h that are more than a line. Pure functions, any thread. */
#include "vmdk/stream_format.h"

#include <string.h>

void stream_header_new(uint64_t capacity, struct sparse_header *ret_h)
{
    struct sparse_header h = {
        .version = 3,
        .flags = KDMV_FLAG_NEWLINES | KDMV_FLAG_COMPRESSED | KDMV_FLAG_MARKERS,
        .capacity = capacity,
        .grain_sectors = KDMV_DEFAULT_GRAIN,
        .descriptor_sector = 1,
        .descriptor_sectors = KDMV_DESCRIPTOR_SECTORS,
        .gtes_per_gt = KDMV_GTES_PER_GT,
        .rgd_sector = 0,
        .gd_sector = KDMV_GD_AT_END,
        .overhead_sectors = STREAM_OVERHEAD_SECTORS,
        .compress_algorithm = 1,
        .gt_sectors = KDMV_GTES_PER_GT * 4 / SECTOR_SIZE,
    };

    h.gt_count = div_up(div_up(capacity, h.grain_sectors), h.gtes_per_gt);
    h.gd_sectors = div_up(h.gt_count * 4, SECTOR_SIZE);
    *ret_h = h;
}

bool stream_inflate(struct inflate_coder *coder, const uint8_t *data, uint32_t size, uint8_t *out, size_t grain_bytes,
                    size_t needed)
{
    size_t len;

    if (!inflate_decompress(coder, data, size, out, grain_bytes, &len) || len < needed) {
        return false;
    }
    memset(out + len, 0, grain_bytes - len);
    return true;
}

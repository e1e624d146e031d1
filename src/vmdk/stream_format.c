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

static bool is_grain(const struct sparse_header *h, const struct stream_marker *m)
{
    return m->val % h->grain_sectors == 0 && m->val < h->capacity && m->size <= stream_max_size(h->grain_sectors);
}

void stream_item_decode(const struct sparse_header *h, const uint8_t *p, struct stream_item *ret_item)
{
    struct stream_marker m = stream_marker_decode(p);
    struct stream_item item = {.kind = STREAM_ITEM_JUNK, .len = SECTOR_SIZE};

    if (m.size > 0) {
        if (is_grain(h, &m)) {
            item.kind = STREAM_ITEM_GRAIN;
            item.len = stream_record_bytes(m.size);
            item.sector = m.val;
            item.size = m.size;
        }
    } else if (m.type == STREAM_EOS && m.val == 0) {
        item.kind = STREAM_ITEM_END;
    } else if (m.type == STREAM_GT) {
        item.kind = STREAM_ITEM_TABLE;
        item.len = (1 + h->gt_sectors) * SECTOR_SIZE;
    } else if (m.type == STREAM_GD) {
        item.kind = STREAM_ITEM_DIRECTORY;
        item.len = (1 + h->gd_sectors) * SECTOR_SIZE;
    } else if (m.type == STREAM_FOOTER) {
        item.kind = STREAM_ITEM_FOOTER;
        item.len = 2 * SECTOR_SIZE;
    } else if (m.type == STREAM_PROGRESS) {
        item.kind = STREAM_ITEM_PROGRESS;
    }
    *ret_item = item;
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

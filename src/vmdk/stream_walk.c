/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_walk.c - from marker to marker. Reads a few bytes for each record, and the file in blocks where it has to
 * search. */
#include "vmdk/stream_walk.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"

VixError stream_walk_begin(struct store *store, struct stream_walk *ret_w, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    uint64_t size;
    VixError e = store->ops->size(store, &size, err);

    if (e == VIX_OK && size < SECTOR_SIZE) {
        e = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: not a sparse extent: %" PRIu64 " bytes, a header has %u",
                    store->path, size, SECTOR_SIZE);
    }
    if (e == VIX_OK) {
        e = store_read(store, sector, sizeof sector, 0, err);
    }
    if (e == VIX_OK) {
        e = sparse_header_parse(sector, store->path, &ret_w->h, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    if ((ret_w->h.flags & KDMV_FLAG_MARKERS) == 0 || ret_w->h.capacity == 0) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: flags 0x%" PRIX32 ", capacity %" PRIu64
                       ": only the records of files with markers tell what they are",
                       store->path, ret_w->h.flags, ret_w->h.capacity);
    }
    ret_w->store = store;
    ret_w->size = size;
    ret_w->pos = ret_w->h.overhead_sectors * SECTOR_SIZE;
    ret_w->next_sector = 0;
    ret_w->block_len = 0;
    return VIX_OK;
}

/** The 16 bytes at off, padded with zeros behind the end of the file; reads at least want bytes if there are as many.
 */
static VixError bytes_at(struct stream_walk *w, uint64_t off, uint64_t want, uint8_t ret_bytes[16], struct err *err)
{
    uint64_t len = min_u64(16, w->size - off);

    if (off < w->block_off || off + len > w->block_off + w->block_len) {
        w->block_len = 0;
        VixError e = store_read(w->store, w->block, min_u64(want, w->size - off), off, err);
        if (e != VIX_OK) {
            return e;
        }
        w->block_off = off;
        w->block_len = min_u64(want, w->size - off);
    }
    memset(ret_bytes, 0, 16);
    memcpy(ret_bytes, w->block + (off - w->block_off), len);
    return VIX_OK;
}

/** Whether a walk that has lost its way can go on here: zeros are everywhere, and so are numbers that look like a
 * grain's marker, hence the header of the zlib data counts too. */
static bool can_resume(const struct stream_walk *w, const struct stream_item *item, const uint8_t bytes[16])
{
    if (item->kind == STREAM_ITEM_GRAIN) {
        return item->sector >= w->next_sector && (bytes[12] & 0x0F) == 8 && (bytes[12] * 256 + bytes[13]) % 31 == 0;
    }
    return item->kind == STREAM_ITEM_TABLE || item->kind == STREAM_ITEM_DIRECTORY || item->kind == STREAM_ITEM_FOOTER;
}

/** Measures what is no record: from the place of item to the next that is one. */
static VixError skip_junk(struct stream_walk *w, struct stream_item *item, struct err *err)
{
    uint64_t off = item->off + SECTOR_SIZE;

    for (; off < w->size; off += SECTOR_SIZE) {
        struct stream_item next;
        uint8_t bytes[16];
        VixError e = bytes_at(w, off, STREAM_WALK_BLOCK, bytes, err);
        if (e != VIX_OK) {
            return e;
        }
        stream_item_decode(&w->h, bytes, &next);
        if (can_resume(w, &next, bytes)) {
            break;
        }
    }
    item->len = off - item->off;
    return VIX_OK;
}

VixError stream_walk_next(struct stream_walk *w, struct stream_item *ret_item, bool *ret_more, struct err *err)
{
    struct stream_item item;
    uint8_t bytes[16];
    VixError e;

    if (w->pos >= w->size) {
        *ret_more = false;
        return VIX_OK;
    }
    e = bytes_at(w, w->pos, SECTOR_SIZE, bytes, err);
    if (e != VIX_OK) {
        return e;
    }
    stream_item_decode(&w->h, bytes, &item);
    item.off = w->pos;
    if (item.kind == STREAM_ITEM_JUNK) {
        e = skip_junk(w, &item, err);
    } else if (item.kind == STREAM_ITEM_GRAIN && STREAM_MARKER_BYTES + item.size > w->size - item.off) {
        item.kind = STREAM_ITEM_CUT; /* padding may be missing, data not */
    } else if (item.kind == STREAM_ITEM_GRAIN) {
        w->next_sector = item.sector + w->h.grain_sectors;
    }
    if (e != VIX_OK) {
        return e;
    }
    w->pos = item.off + item.len;
    *ret_item = item;
    *ret_more = true;
    return VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_salvage.c - collects the grains that a walk over the records finds sound, and holds them against the tables
 * that are still there, which tell what is missing. */
#include "vmdk/stream_salvage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "codec/codec.h"
#include "vmdk/stream_walk.h"

#define MAX_TABLES (UINT64_C(1) << 21) /* limit: grain tables in front that are held against what was salvaged */

/** A sound grain. */
struct found {
    uint32_t grain;
    uint32_t entry; /* sector of its record */
};

struct stream_salvage {
    struct found *found; /* while walking in the order of the file, then of the disk */
    size_t count, room;
    struct stream_salvage_report report;
};

/** The memory of one walk. */
struct salvage_walk {
    struct stream_walk walk;
    struct stream_salvage *s;
    struct inflate_coder *coder;
    uint8_t *data, *grain;
    uint8_t table[STREAM_WALK_BLOCK]; /* one grain table: 8192 entries at most take 32 KiB */
    bool footer_seen;
};

static VixError add_found(struct stream_salvage *s, uint64_t grain, uint64_t entry, struct err *err)
{
    if (s->count == STREAM_SALVAGE_MAX_GRAINS) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED, "more than %" PRIu64 " grains to recover",
                       STREAM_SALVAGE_MAX_GRAINS);
    }
    if (s->count == s->room) {
        size_t room = s->room == 0 ? 1024 : s->room * 2;
        struct found *more = realloc(s->found, room * sizeof *more);
        if (more == NULL) {
            return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for %zu grains", room);
        }
        s->found = more;
        s->room = room;
    }
    s->found[s->count++] = (struct found){.grain = (uint32_t)grain, .entry = (uint32_t)entry};
    return VIX_OK;
}

/** Keeps a grain if its data is sound. */
static VixError try_grain(struct salvage_walk *sw, const struct stream_item *item, struct err *err)
{
    const struct sparse_header *h = &sw->walk.h;
    uint64_t grain = item->sector / h->grain_sectors;
    uint64_t entry = item->off / SECTOR_SIZE;
    uint64_t bytes = h->grain_sectors * SECTOR_SIZE;
    uint64_t needed = min_u64(bytes, (h->capacity - item->sector) * SECTOR_SIZE);
    VixError e = store_read(sw->walk.store, sw->data, item->size, item->off + STREAM_MARKER_BYTES, err);

    if (e != VIX_OK) {
        return e;
    }
    if (grain > UINT32_MAX || entry > UINT32_MAX ||
        !stream_inflate(sw->coder, sw->data, item->size, sw->grain, bytes, needed)) {
        sw->s->report.damaged++;
        return VIX_OK;
    }
    sw->s->report.end_sector = max_u64(sw->s->report.end_sector, min_u64(h->capacity, item->sector + h->grain_sectors));
    return add_found(sw->s, grain, entry, err);
}

static int by_entry(const void *a, const void *b)
{
    uint32_t x = ((const struct found *)a)->entry, y = ((const struct found *)b)->entry;
    return x < y ? -1 : x > y;
}

static int by_grain(const void *a, const void *b)
{
    uint32_t x = ((const struct found *)a)->grain, y = ((const struct found *)b)->grain;
    return x != y ? (x < y ? -1 : 1) : by_entry(a, b);
}

/** Counts the grains that a table names and that were not found; the found ones still are in the order of the file. */
static VixError hold_against_table(struct salvage_walk *sw, uint64_t sector, struct err *err)
{
    const struct sparse_header *h = &sw->walk.h;
    uint64_t bytes = (uint64_t)h->gtes_per_gt * 4;
    uint64_t off = sector * SECTOR_SIZE;

    if (off > sw->walk.size || bytes > sw->walk.size - off) {
        return VIX_OK; /* lost itself */
    }
    VixError e = store_read(sw->walk.store, sw->table, bytes, off, err);
    for (uint32_t i = 0; e == VIX_OK && i < h->gtes_per_gt; i++) {
        struct found key = {.entry = get_le32(sw->table + 4 * (size_t)i)};
        if (key.entry > 1 &&
            (sw->s->count == 0 || bsearch(&key, sw->s->found, sw->s->count, sizeof key, by_entry) == NULL)) {
            sw->s->report.missing++;
        }
    }
    return e;
}

/** Where the tables are in front, they name every grain of the disk. */
static VixError hold_against_front(struct salvage_walk *sw, struct err *err)
{
    const struct sparse_header *h = &sw->walk.h;
    VixError e = VIX_OK;

    if (h->gt_count > MAX_TABLES || h->gd_sector + h->gd_sectors > sw->walk.size / SECTOR_SIZE) {
        return VIX_OK; /* not there */
    }
    for (uint64_t i = 0; e == VIX_OK && i < h->gt_count; i++) {
        uint8_t gde[4];
        e = store_read(sw->walk.store, gde, sizeof gde, h->gd_sector * SECTOR_SIZE + 4 * i, err);
        if (e == VIX_OK && get_le32(gde) > 1) {
            e = hold_against_table(sw, get_le32(gde), err);
        }
    }
    sw->s->report.complete = e == VIX_OK;
    return e;
}

static VixError take_item(struct salvage_walk *sw, const struct stream_item *item, struct err *err)
{
    struct stream_salvage_report *report = &sw->s->report;
    VixError e = VIX_OK;

    switch (item->kind) {
    case STREAM_ITEM_GRAIN:
        e = try_grain(sw, item, err);
        break;
    case STREAM_ITEM_TABLE:
        e = hold_against_table(sw, item->off / SECTOR_SIZE + 1, err);
        break;
    case STREAM_ITEM_FOOTER:
        sw->footer_seen = item->off + item->len <= sw->walk.size;
        break;
    case STREAM_ITEM_CUT:
        report->cut = true;
        break;
    case STREAM_ITEM_JUNK:
        report->junk_bytes += min_u64(item->len, sw->walk.size - item->off);
        break;
    case STREAM_ITEM_DIRECTORY:
    case STREAM_ITEM_PROGRESS:
    case STREAM_ITEM_END:
        break;
    }
    return e;
}

/** Sorts by grain; where a grain is there twice, the first record in the file counts. */
static void sort_found(struct stream_salvage *s)
{
    size_t kept = 0;

    if (s->count > 0) {
        qsort(s->found, s->count, sizeof *s->found, by_grain);
    }
    for (size_t i = 0; i < s->count; i++) {
        if (kept == 0 || s->found[kept - 1].grain != s->found[i].grain) {
            s->found[kept++] = s->found[i];
        }
    }
    s->count = kept;
    s->report.grains = kept;
}

static VixError walk_all(struct salvage_walk *sw, struct err *err)
{
    struct stream_item item;
    bool more = true;
    VixError e = VIX_OK;

    while (e == VIX_OK) {
        e = stream_walk_next(&sw->walk, &item, &more, err);
        if (e != VIX_OK || !more) {
            break;
        }
        e = take_item(sw, &item, err);
    }
    if (e == VIX_OK && sw->walk.h.gd_sector != KDMV_GD_AT_END) {
        e = hold_against_front(sw, err);
    } else if (e == VIX_OK) {
        sw->s->report.complete = sw->footer_seen;
    }
    return e;
}

static VixError salvage(struct salvage_walk *sw, struct store *store, struct err *err)
{
    VixError e = stream_walk_begin(store, &sw->walk, err);

    if (e != VIX_OK) {
        return e;
    }
    sw->s = alloc_zero(sizeof *sw->s, err);
    sw->data = alloc_array(stream_max_size(sw->walk.h.grain_sectors), 1, err);
    sw->grain = alloc_array(sw->walk.h.grain_sectors, SECTOR_SIZE, err);
    if (sw->s == NULL || sw->data == NULL || sw->grain == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    e = inflate_coder_new(&sw->coder, err);
    return e == VIX_OK ? walk_all(sw, err) : e;
}

VixError stream_salvage_new(struct store *store, struct sparse_header *ret_h, struct stream_salvage **ret_s,
                            struct err *err)
{
    struct salvage_walk *sw = alloc_zero(sizeof *sw, err);
    VixError e;

    if (sw == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    e = salvage(sw, store, err);
    if (e == VIX_OK) {
        sort_found(sw->s);
        *ret_h = sw->walk.h;
        *ret_s = TAKE_PTR(sw->s);
    }
    stream_salvage_free(sw->s);
    inflate_coder_free(sw->coder);
    free(sw->data);
    free(sw->grain);
    free(sw);
    return e;
}

void stream_salvage_free(struct stream_salvage *s)
{
    if (s != NULL) {
        free(s->found);
        free(s);
    }
}

void stream_salvage_entries(const struct stream_salvage *s, uint64_t grain, uint32_t count, uint32_t *ret_entries)
{
    size_t low = 0, high = s->count;

    memset(ret_entries, 0, count * sizeof *ret_entries);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->found[middle].grain < grain) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < s->count && s->found[low].grain - grain < count; low++) {
        ret_entries[s->found[low].grain - grain] = s->found[low].entry;
    }
}

const struct stream_salvage_report *stream_salvage_report(const struct stream_salvage *s)
{
    return &s->report;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_record.c - fetches the record of a grain, checks its marker, inflates it. Records that follow one another in
 * the file come with one read. */
#include "vmdk/stream_record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "vmdk/stream_format.h"

#define WINDOW_BYTES (UINT64_C(1) << 20)
#define WINDOW_SLACK (UINT64_C(64) << 10) /* markers and tables between the grains of a window */

VixError stream_window_new(const struct stream_file *f, struct stream_window **ret_w, struct err *err)
{
    struct stream_window *w = alloc_zero(sizeof *w, err);
    VixError e;

    if (w == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    w->cap = max_u64(WINDOW_BYTES + WINDOW_SLACK, stream_record_bytes(stream_max_size(f->h.grain_sectors)));
    w->bytes = alloc_aligned(4096, w->cap, err);
    w->grain = alloc_aligned(4096, f->h.grain_sectors * SECTOR_SIZE, err);
    e = w->bytes == NULL || w->grain == NULL ? VIX_E_OUT_OF_MEMORY : inflate_coder_new(&w->coder, err);
    if (e != VIX_OK) {
        stream_window_free(w);
        return e;
    }
    *ret_w = w;
    return VIX_OK;
}

void stream_window_free(struct stream_window *w)
{
    if (w != NULL) {
        inflate_coder_free(w->coder);
        free(w->bytes);
        free(w->grain);
        free(w);
    }
}

uint64_t stream_span(const struct stream_file *f, const uint32_t *entries, uint32_t wanted, uint32_t count)
{
    uint64_t max_record = stream_record_bytes(stream_max_size(f->h.grain_sectors)) / SECTOR_SIZE;
    uint64_t last = entries[0];
    uint64_t end = 0;

    for (uint32_t i = 1; i < count; i++) {
        if (entries[i] < 2) {
            continue;
        }
        if (entries[i] < last || entries[i] - last > max_record + 2 * f->h.gt_sectors) {
            break;
        }
        if (i >= wanted) {
            end = entries[i];
            break;
        }
        last = entries[i];
    }
    if (end == 0) {
        /* Nothing tells how long the last record is: half a grain is a fair guess, the rest is fetched when needed. */
        end = last + 1 + f->h.grain_sectors / 2;
    }
    return (end - entries[0]) * SECTOR_SIZE;
}

/** Sees to it that the window holds len bytes at off, which were checked to lie inside the file. */
static VixError window_need(struct stream_window *w, struct stream_file *f, uint64_t off, uint64_t len, uint64_t ahead,
                            struct err *err)
{
    uint64_t want = len;
    uint64_t got;
    VixError e;

    if (off >= w->off && off + len <= w->off + w->len) {
        return VIX_OK;
    }
    if (ahead > off + len) {
        want = min_u64(ahead - off, w->cap);
    }
    w->len = 0;
    e = store_read_some(f->store, w->bytes, want, off, &got, err);
    if (e != VIX_OK) {
        return e;
    }
    w->off = off;
    w->len = got;
    return got >= len ? VIX_OK
                      : err_set(err, VIX_E_DISK_NEEDSREPAIR,
                                "%s: the file ends within the record at offset %" PRIu64 ", %" PRIu64
                                " bytes of it are missing",
                                f->store->path, off, len - got);
}

/** Checks the head of a record: p is at its first byte. *ret_size: bytes of data. */
static VixError check_head(const struct stream_file *f, uint64_t grain, uint64_t off, const uint8_t *p,
                           uint32_t *ret_size, struct err *err)
{
    uint64_t sector = grain * f->h.grain_sectors;
    uint32_t max_size = stream_max_size(f->h.grain_sectors);
    uint32_t size = get_le32(p + (f->markers ? STREAM_MARKER_BYTES : STREAM_LENGTH_BYTES) - 4);

    if (f->markers && get_le64(p) != sector) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the marker of grain %" PRIu64 " at offset %" PRIu64 " names sector %" PRIu64
                       ", expected %" PRIu64,
                       f->store->path, grain, off, get_le64(p), sector);
    }
    if (size == 0 || size > max_size) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the record of grain %" PRIu64 " at offset %" PRIu64 " has a size of %" PRIu32
                       " bytes, allowed are 1 to %" PRIu32,
                       f->store->path, grain, off, size, max_size);
    }
    *ret_size = size;
    return VIX_OK;
}

VixError stream_window_grain(struct stream_window *w, struct stream_file *f, uint64_t grain, uint32_t entry,
                             uint64_t ahead, uint8_t *out, struct err *err)
{
    uint64_t grain_bytes = f->h.grain_sectors * SECTOR_SIZE;
    uint64_t off = (uint64_t)entry * SECTOR_SIZE;
    uint64_t needed = min_u64(grain_bytes, (f->h.capacity - grain * f->h.grain_sectors) * SECTOR_SIZE);
    uint32_t head = f->markers ? STREAM_MARKER_BYTES : STREAM_LENGTH_BYTES;
    uint32_t size = 0;
    VixError e;

    if (entry < 2) {
        memset(out, 0, grain_bytes);
        return VIX_OK;
    }
    e = window_need(w, f, off, head, ahead, err);
    if (e != VIX_OK) {
        return e;
    }
    e = check_head(f, grain, off, w->bytes + (off - w->off), &size, err);
    if (e == VIX_OK) {
        e = window_need(w, f, off, head + (uint64_t)size, ahead, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    if (!stream_inflate(w->coder, w->bytes + (off - w->off) + head, size, out, grain_bytes, needed)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain %" PRIu64 " at offset %" PRIu64 ": its %" PRIu32
                       " bytes of compressed data are damaged: they do not inflate to %" PRIu64 " bytes",
                       f->store->path, grain, off, size, grain_bytes);
    }
    return VIX_OK;
}

VixError stream_window_doubt(struct stream_window *w, struct stream_file *f, uint64_t grain, uint32_t entry,
                             bool any_size, uint64_t ahead, uint8_t *out, uint32_t *ret_size, struct err *err)
{
    size_t grain_bytes = f->h.grain_sectors * SECTOR_SIZE, used = 0, made = 0;
    uint64_t off = (uint64_t)entry * SECTOR_SIZE, data = off + STREAM_MARKER_BYTES, len = atomic_load(&f->len);
    uint64_t needed = min_u64(grain_bytes, (f->h.capacity - grain * f->h.grain_sectors) * SECTOR_SIZE);
    uint32_t size = stream_max_size(f->h.grain_sectors);
    VixError e = window_need(w, f, off, STREAM_MARKER_BYTES, ahead, err);

    if (e == VIX_OK && get_le64(w->bytes + (off - w->off)) != grain * f->h.grain_sectors) {
        e = err_set(err, VIX_E_DISK_NEEDSREPAIR, "%s: the marker at offset %" PRIu64 " is not that of grain %" PRIu64,
                    f->store->path, off, grain);
    } else if (e == VIX_OK && !any_size) {
        e = check_head(f, grain, off, w->bytes + (off - w->off), &size, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    uint64_t room = any_size ? size : stream_record_bytes(size) - STREAM_MARKER_BYTES;
    room = min_u64(room, len > data ? len - data : 0);
    e = window_need(w, f, off, STREAM_MARKER_BYTES + room, ahead, err);
    if (e != VIX_OK) {
        return e;
    }
    const uint8_t *p = w->bytes + (off - w->off) + STREAM_MARKER_BYTES;
    if (!inflate_measure(w->coder, p, room, out, grain_bytes, &used, &made) || made < needed) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain %" PRIu64 " at offset %" PRIu64 ": its compressed data is damaged", f->store->path,
                       grain, off);
    }
    memset(out + made, 0, grain_bytes - made);
    *ret_size = (uint32_t)used;
    return VIX_OK;
}

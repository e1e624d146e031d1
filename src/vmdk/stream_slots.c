/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_slots.c - what happens to a slot of grains on its way into a streamOptimized file: on any thread it is read
 * from its source and compressed to finished records; then, one slot at a time and in order, its records get their
 * places in the file and in the tables. A table is put when the first grain of a later one comes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/stream_writer_int.h"

/* ---- the parallel step ---- */

static VixError coder_take(struct stream_writer *w, struct deflate_coder **ret_coder, struct err *err)
{
    {
        SCOPED_LOCK(&w->lock);
        if (w->coder_count > 0) {
            *ret_coder = w->coders[--w->coder_count];
            return VIX_OK;
        }
    }
    return deflate_coder_new(w->level, ret_coder, err);
}

static void coder_give(struct stream_writer *w, struct deflate_coder *coder)
{
    {
        SCOPED_LOCK(&w->lock);
        if (w->coder_count < STREAM_MAX_CODERS) {
            w->coders[w->coder_count++] = coder;
            return;
        }
    }
    deflate_coder_free(coder);
}

VixError stream_read_slot(struct stream_writer *w, struct stream_slot *slot, struct err *err)
{
    uint64_t sector = slot->grain[0] * w->h.grain_sectors;
    uint64_t want = slot->count * w->h.grain_sectors;
    uint64_t n = min_u64(want, w->h.capacity - sector);

    memset(slot->in + n * SECTOR_SIZE, 0, (want - n) * SECTOR_SIZE);
    return slot->source(slot->source_ctx, sector, n, slot->in, err);
}

static VixError pull_slot(struct stream_writer *w, struct stream_slot *slot, struct err *err)
{
    {
        SCOPED_LOCK(&w->lock);
        if (w->source_gone) {
            return err_set(err, VIX_E_CANCELLED, "%s: writing has failed before", w->sink.name);
        }
        w->source_calls++;
    }
    VixError e = stream_read_slot(w, slot, err);
    SCOPED_LOCK(&w->lock);
    w->source_calls--;
    (void)pthread_cond_broadcast(&w->source_idle);
    return e;
}

/** Makes the record of one grain at out; *ret_sectors 0 if the grain is zero. */
static VixError make_record(struct stream_writer *w, struct deflate_coder *coder, uint64_t grain, const uint8_t *in,
                            uint8_t *out, uint32_t *ret_sectors, struct err *err)
{
    *ret_sectors = 0;
    if (bytes_are_zero(in, w->grain_bytes)) {
        return VIX_OK;
    }
    size_t size = deflate_compress(coder, in, w->grain_bytes, out + STREAM_MARKER_BYTES, w->write_limit);
    if (size == 0) {
        return err_set(err, VIX_E_DISK_ENCODING, "%s: grain %" PRIu64 " does not compress to %zu bytes or less",
                       w->sink.name, grain, w->write_limit);
    }
    uint64_t bytes = stream_record_bytes((uint32_t)size);
    put_le64(out, grain * w->h.grain_sectors);
    put_le32(out + 8, (uint32_t)size);
    memset(out + STREAM_MARKER_BYTES + size, 0, bytes - STREAM_MARKER_BYTES - size);
    *ret_sectors = (uint32_t)(bytes / SECTOR_SIZE);
    return VIX_OK;
}

static VixError slot_process(void *ctx, void *slot_ptr, struct err *err)
{
    struct stream_writer *w = ctx;
    struct stream_slot *slot = slot_ptr;
    struct deflate_coder *coder;
    uint8_t *out = slot->out;
    VixError e = slot->source != NULL ? pull_slot(w, slot, err) : VIX_OK;

    if (e == VIX_OK) {
        e = coder_take(w, &coder, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    for (uint32_t i = 0; e == VIX_OK && i < slot->count; i++) {
        e = make_record(w, coder, slot->grain[i], slot->in + i * w->grain_bytes, out, &slot->sectors[i], err);
        out += (uint64_t)slot->sectors[i] * SECTOR_SIZE;
    }
    coder_give(w, coder);
    return e;
}

/* ---- the ordered step ---- */

VixError stream_put(struct stream_writer *w, const struct iovec *iov, int iovcnt, struct err *err)
{
    uint64_t bytes = 0;
    VixError e;

    for (int i = 0; i < iovcnt; i++) {
        bytes += iov[i].iov_len;
    }
    if (w->pos + bytes / SECTOR_SIZE > STREAM_MAX_FILE_SECTORS) {
        return err_set(err, VIX_E_FILE_TOO_BIG,
                       "%s: the compressed data needs more than %" PRIu64
                       " sectors, the most that the tables of a streamOptimized file can address",
                       w->sink.name, STREAM_MAX_FILE_SECTORS);
    }
    w->written = true;
    struct activity_mark mark = activity_enter(ACTIVITY_WRITE);
    e = w->sink.append(w->sink.ctx, iov, iovcnt, err);
    activity_leave(&mark);
    activity_bytes(0, bytes);
    if (e == VIX_OK) {
        w->pos += bytes / SECTOR_SIZE;
    }
    return e;
}

VixError stream_put_marked(struct stream_writer *w, enum stream_marker_type type, const uint8_t *payload,
                           uint64_t nsectors, struct err *err)
{
    uint8_t marker[SECTOR_SIZE];
    struct iovec iov[2] = {{marker, SECTOR_SIZE}, {(void *)(uintptr_t)payload, nsectors * SECTOR_SIZE}};

    stream_marker_encode(marker, type, nsectors);
    return stream_put(w, iov, nsectors > 0 ? 2 : 1, err);
}

VixError stream_put_table(struct stream_writer *w, struct err *err)
{
    size_t bytes = w->h.gt_sectors * SECTOR_SIZE;
    CLEANUP_FREE uint8_t *payload = NULL;
    VixError e;

    if (w->table == UINT64_MAX) {
        return VIX_OK;
    }
    payload = alloc_array(bytes, 1, err);
    if (payload == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < w->h.gtes_per_gt; i++) {
        put_le32(payload + 4 * (size_t)i, w->gt[i]);
    }
    uint32_t sector = (uint32_t)(w->pos + 1);
    e = stream_put_marked(w, STREAM_GT, payload, w->h.gt_sectors, err);
    if (e == VIX_OK) {
        w->gd[w->table] = sector;
        w->table = UINT64_MAX;
        memset(w->gt, 0, bytes);
    }
    return e;
}

static VixError put_records(struct stream_writer *w, const uint8_t *from, const uint8_t *to, struct err *err)
{
    struct iovec iov = {(void *)(uintptr_t)from, (size_t)(to - from)};

    return from == to ? VIX_OK : stream_put(w, &iov, 1, err);
}

static VixError slot_commit(void *ctx, void *slot_ptr, struct err *err)
{
    struct stream_writer *w = ctx;
    const struct stream_slot *slot = slot_ptr;
    const uint8_t *begin = slot->out; /* of the records that are not put yet */
    const uint8_t *end = begin;
    VixError e = VIX_OK;

    for (uint32_t i = 0; e == VIX_OK && i < slot->count; i++) {
        uint64_t table = slot->grain[i] / w->h.gtes_per_gt;
        if (slot->sectors[i] == 0) {
            continue;
        }
        if (w->table != table) {
            e = put_records(w, begin, end, err);
            begin = end;
            if (e == VIX_OK) {
                e = stream_put_table(w, err);
            }
            w->table = table;
        }
        /* Beyond 32 bits the number is wrong, but then putting the record fails. */
        w->gt[slot->grain[i] % w->h.gtes_per_gt] = (uint32_t)(w->pos + (uint64_t)(end - begin) / SECTOR_SIZE);
        end += (uint64_t)slot->sectors[i] * SECTOR_SIZE;
    }
    return e == VIX_OK ? put_records(w, begin, end, err) : e;
}

/* ---- slots ---- */

static void slot_free(void *ctx, void *slot_ptr)
{
    struct stream_slot *slot = slot_ptr;

    (void)ctx;
    if (slot != NULL) {
        free(slot->in);
        free(slot->out);
        free(slot);
    }
}

static VixError slot_new(void *ctx, void **ret_slot, struct err *err)
{
    const struct stream_writer *w = ctx;
    struct stream_slot *slot = alloc_zero(sizeof *slot, err);

    if (slot == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    slot->in = alloc_aligned(4096, w->slot_grains * w->grain_bytes, err);
    slot->out = alloc_aligned(4096, w->slot_grains * stream_record_bytes((uint32_t)w->write_limit), err);
    if (slot->in == NULL || slot->out == NULL) {
        slot_free(NULL, slot);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_slot = slot;
    return VIX_OK;
}

const struct work_pipe_ops stream_slot_ops = {
    .slot_new = slot_new,
    .slot_free = slot_free,
    .process = slot_process,
    .commit = slot_commit,
};

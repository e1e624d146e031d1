/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_writer.c - the caller's side of writing a streamOptimized file: keeps the order, collects parts of grains,
 * fills slots and sends them through an ordered pipe (stream_slots.c), writes the front and the end. A grain of which
 * only a part is written waits in memory until it is complete or a later one begins. */
#include "vmdk/stream_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/stream_writer_int.h"

#define SLOT_BYTES (UINT64_C(512) << 10) /* of grains; about as much again for their records */

/** Remembers the first failure and returns it from then on. */
static VixError fail(struct stream_writer *w, VixError code, const struct err *err)
{
    if (!w->failed) {
        w->failed = true;
        err_init(&w->failure);
        if (err != NULL) {
            w->failure = *err;
        }
        w->failure.code = code;
    }
    return code;
}

static VixError failure_of(const struct stream_writer *w, struct err *err)
{
    if (w->failed && err != NULL) {
        *err = w->failure;
    }
    return w->failed ? w->failure.code : VIX_OK;
}

static VixError make_pipe(struct stream_writer *w, struct err *err)
{
    return w->pipe != NULL ? VIX_OK : work_pipe_new(&stream_slot_ops, w, w->threads, w->slot_count, &w->pipe, err);
}

/** An empty slot. */
static VixError take_slot(struct stream_writer *w, struct stream_slot **ret_slot, struct err *err)
{
    void *slot;
    VixError e = make_pipe(w, err);

    if (e == VIX_OK) {
        e = work_pipe_slot(w->pipe, &slot, err);
    }
    if (e == VIX_OK) {
        *ret_slot = slot;
        (*ret_slot)->count = 0;
        (*ret_slot)->source = NULL;
    }
    return e;
}

static void push_filling(struct stream_writer *w)
{
    if (w->filling != NULL) {
        work_pipe_push(w->pipe, w->filling);
        w->filling = NULL;
    }
}

/** Adds a whole grain. */
static VixError add_grain(struct stream_writer *w, uint64_t grain, const uint8_t *bytes, struct err *err)
{
    VixError e = w->filling != NULL ? VIX_OK : take_slot(w, &w->filling, err);

    if (e != VIX_OK) {
        return e;
    }
    struct stream_slot *slot = w->filling;
    memcpy(slot->in + slot->count * w->grain_bytes, bytes, w->grain_bytes);
    slot->grain[slot->count++] = grain;
    if (slot->count == w->slot_grains) {
        push_filling(w);
    }
    return VIX_OK;
}

/* ---- grains in parts ---- */

/** The grain that is being filled is complete. */
static VixError close_grain(struct stream_writer *w, struct err *err)
{
    VixError e = VIX_OK;

    if (w->open_used) {
        w->open_used = false;
        e = bytes_are_zero(w->open, w->grain_bytes) ? VIX_OK : add_grain(w, w->next_grain, w->open, err);
        w->next_grain++;
    }
    return e;
}

/** Makes grain the one that can be written next. */
static VixError advance(struct stream_writer *w, uint64_t grain, struct err *err)
{
    VixError e = w->next_grain == grain ? VIX_OK : close_grain(w, err);

    if (e == VIX_OK) {
        w->next_grain = grain;
    }
    return e;
}

/** Room for a part of grain next_grain: nsectors at skip. */
static VixError open_part(struct stream_writer *w, uint64_t skip, uint8_t **ret_part, struct err *err)
{
    if (w->open == NULL) {
        w->open = alloc_aligned(4096, w->grain_bytes, err);
        if (w->open == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    if (!w->open_used) {
        memset(w->open, 0, w->grain_bytes);
        w->open_used = true;
    }
    *ret_part = w->open + skip * SECTOR_SIZE;
    return VIX_OK;
}

/** Sectors of the range that belong to its first grain. */
static uint64_t part_of_grain(const struct stream_writer *w, uint64_t sector, uint64_t nsectors)
{
    return min_u64(nsectors, w->h.grain_sectors - sector % w->h.grain_sectors);
}

static bool ends_grain(const struct stream_writer *w, uint64_t end)
{
    return end % w->h.grain_sectors == 0 || end == w->h.capacity;
}

/** Writes (a part of) one grain. */
static VixError write_piece(struct stream_writer *w, uint64_t sector, uint64_t n, const uint8_t *buf, struct err *err)
{
    uint64_t grain = sector / w->h.grain_sectors;
    uint8_t *part;
    VixError e = advance(w, grain, err);

    if (e == VIX_OK && n == w->h.grain_sectors) {
        w->open_used = false; /* all of it is overwritten */
        e = bytes_are_zero(buf, w->grain_bytes) ? VIX_OK : add_grain(w, grain, buf, err);
        w->next_grain = grain + 1;
        return e;
    }
    if (e == VIX_OK) {
        e = open_part(w, sector % w->h.grain_sectors, &part, err);
    }
    if (e == VIX_OK) {
        memcpy(part, buf, n * SECTOR_SIZE);
    }
    return e == VIX_OK && ends_grain(w, sector + n) ? close_grain(w, err) : e;
}

static VixError check_order(const struct stream_writer *w, uint64_t sector, struct err *err)
{
    uint64_t next = stream_writer_next(w);

    return sector >= next ? VIX_OK
                          : err_set(err, VIX_E_NOT_SUPPORTED,
                                    "%s: write at sector %" PRIu64 ", the next that can be written is %" PRIu64
                                    ": streamOptimized disks are written once, in ascending order",
                                    w->sink.name, sector, next);
}

VixError stream_writer_write(struct stream_writer *w, uint64_t sector, uint64_t nsectors, const void *buf,
                             struct err *err)
{
    const uint8_t *from = buf;
    VixError e = failure_of(w, err);

    if (e == VIX_OK) {
        e = check_order(w, sector, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    while (e == VIX_OK && nsectors > 0) {
        uint64_t n = part_of_grain(w, sector, nsectors);
        e = write_piece(w, sector, n, from, err);
        sector += n;
        nsectors -= n;
        from += n * SECTOR_SIZE;
    }
    return e == VIX_OK ? VIX_OK : fail(w, e, err);
}

/* ---- pulling ---- */

/** Pulls a part of one grain, on this thread. */
static VixError pull_piece(struct stream_writer *w, uint64_t sector, uint64_t n, extent_source_func *source, void *ctx,
                           struct err *err)
{
    uint8_t *part;
    VixError e = advance(w, sector / w->h.grain_sectors, err);

    if (e == VIX_OK) {
        e = open_part(w, sector % w->h.grain_sectors, &part, err);
    }
    if (e == VIX_OK) {
        e = source(ctx, sector, n, part, err);
    }
    return e == VIX_OK && ends_grain(w, sector + n) ? close_grain(w, err) : e;
}

/** Sends one slot of whole grains; @here: reads them on this thread. */
static VixError pull_one_slot(struct stream_writer *w, uint64_t grain, uint32_t count, extent_source_func *source,
                              void *ctx, bool here, struct err *err)
{
    struct stream_slot *slot;
    VixError e = take_slot(w, &slot, err);

    if (e != VIX_OK) {
        return e;
    }
    for (uint32_t i = 0; i < count; i++) {
        slot->grain[i] = grain + i;
    }
    slot->source = source;
    slot->source_ctx = ctx;
    slot->count = count;
    if (here) {
        e = stream_read_slot(w, slot, err);
        slot->source = NULL;
        slot->count = e == VIX_OK ? count : 0;
    }
    work_pipe_push(w->pipe, slot);
    return e;
}

/** Pulls whole grains. The last slots are read on this thread: to fill as many slots as there are, every earlier one
 * must have left the pipe, so that at the end nobody calls the source any more, without waiting. A short run is read
 * here altogether, and compressing goes on behind it. */
static VixError pull_grains(struct stream_writer *w, uint64_t grain, uint64_t count, extent_source_func *source,
                            void *ctx, struct err *err)
{
    VixError e = VIX_OK;

    push_filling(w);
    while (e == VIX_OK && count > 0) {
        uint32_t n = (uint32_t)min_u64(count, w->slot_grains);
        bool here = div_up(count, w->slot_grains) <= w->slot_count;
        e = pull_one_slot(w, grain, n, source, ctx, here, err);
        grain += n;
        count -= n;
        w->next_grain = grain;
    }
    return e;
}

static VixError pull_range(struct stream_writer *w, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                           void *ctx, struct err *err)
{
    uint64_t end = sector + nsectors;
    uint64_t head = sector % w->h.grain_sectors == 0 ? 0 : part_of_grain(w, sector, nsectors);
    VixError e = head > 0 ? pull_piece(w, sector, head, source, ctx, err) : VIX_OK;

    sector += head;
    uint64_t whole_end = end == w->h.capacity ? w->grain_count : end / w->h.grain_sectors;
    if (e == VIX_OK && sector < end && sector / w->h.grain_sectors < whole_end) {
        uint64_t grain = sector / w->h.grain_sectors;
        e = advance(w, grain, err);
        w->open_used = false; /* all of it is overwritten */
        if (e == VIX_OK) {
            e = pull_grains(w, grain, whole_end - grain, source, ctx, err);
        }
        sector = whole_end * w->h.grain_sectors;
    }
    return e == VIX_OK && sector < end ? pull_piece(w, sector, end - sector, source, ctx, err) : e;
}

/** After a failure: waits until no thread is in the source, and lets none in again. */
static void forget_source(struct stream_writer *w)
{
    SCOPED_LOCK(&w->lock);

    w->source_gone = true;
    while (w->source_calls > 0) {
        (void)pthread_cond_wait(&w->source_idle, &w->lock);
    }
}

VixError stream_writer_pull(struct stream_writer *w, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                            void *ctx, struct err *err)
{
    VixError e = failure_of(w, err);

    if (e == VIX_OK) {
        e = check_order(w, sector, err);
    }
    if (e != VIX_OK || nsectors == 0) {
        return e;
    }
    e = pull_range(w, sector, nsectors, source, ctx, err);
    if (e != VIX_OK) {
        forget_source(w);
        return fail(w, e, err);
    }
    return VIX_OK;
}

/* ---- what can be seen ---- */

VixError stream_writer_settle(struct stream_writer *w, bool all, struct err *err)
{
    VixError e = failure_of(w, err);

    if (e != VIX_OK) {
        return e;
    }
    if (all) {
        e = close_grain(w, err);
    }
    if (e == VIX_OK && w->pipe != NULL) {
        push_filling(w);
        e = work_pipe_drain(w->pipe, err);
    }
    return e == VIX_OK ? VIX_OK : fail(w, e, err);
}

uint64_t stream_writer_next(const struct stream_writer *w)
{
    return min_u64(w->next_grain * w->h.grain_sectors, w->h.capacity);
}

struct stream_live stream_writer_tables(const struct stream_writer *w)
{
    return (struct stream_live){.gd = w->gd, .open_table = w->table, .open_gt = w->gt};
}

const uint8_t *stream_writer_open_grain(const struct stream_writer *w, uint64_t *ret_grain)
{
    *ret_grain = w->next_grain;
    return w->open_used ? w->open : NULL;
}

bool stream_writer_has_written(const struct stream_writer *w)
{
    return w->written;
}

/* ---- begin and end ---- */

VixError stream_writer_begin(struct stream_writer *w, const char *descriptor, size_t descriptor_len, struct err *err)
{
    size_t bytes = w->h.overhead_sectors * SECTOR_SIZE;
    size_t room = w->h.descriptor_sectors * SECTOR_SIZE - 1;
    CLEANUP_FREE uint8_t *front = NULL;
    struct sparse_header h = w->h;
    struct iovec iov;
    VixError e;

    if (descriptor_len > room) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: the descriptor has %zu bytes, its area holds %zu", w->sink.name,
                       descriptor_len, room);
    }
    front = alloc_array(bytes, 1, err);
    if (front == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    h.gd_sector = KDMV_GD_AT_END;
    sparse_header_encode(&h, front);
    memcpy(front + h.descriptor_sector * SECTOR_SIZE, descriptor, descriptor_len);
    iov = (struct iovec){front, bytes};
    e = stream_put(w, &iov, 1, err);
    w->written = false; /* no grain yet */
    return e == VIX_OK ? VIX_OK : fail(w, e, err);
}

void stream_writer_resume(struct stream_writer *w, const struct stream_position *p)
{
    memcpy(w->gd, p->gd, w->h.gt_count * sizeof *w->gd);
    w->pos = p->sector;
    w->next_grain = p->next_grain;
    if (p->gt != NULL) {
        w->table = (p->next_grain - 1) / w->h.gtes_per_gt;
        w->gd[w->table] = 0;
        memcpy(w->gt, p->gt, w->h.gtes_per_gt * sizeof *w->gt);
    }
}

static uint32_t *copy_of(const uint32_t *from, uint64_t count, struct err *err)
{
    uint32_t *copy = alloc_array(count, sizeof *copy, err);

    if (copy != NULL) {
        memcpy(copy, from, count * sizeof *copy);
    }
    return copy;
}

VixError stream_writer_position(const struct stream_writer *w, struct stream_position *ret_p, struct err *err)
{
    struct stream_position p = {.sector = w->pos, .next_grain = w->next_grain};
    bool in_table = w->table != UINT64_MAX;

    p.gd = copy_of(w->gd, w->h.gt_count, err);
    p.gt = in_table && p.gd != NULL ? copy_of(w->gt, w->h.gtes_per_gt, err) : NULL;
    if (p.gd == NULL || (in_table && p.gt == NULL)) {
        free(p.gd);
        return VIX_E_OUT_OF_MEMORY;
    }
    if (in_table) { /* zeros may have been passed over since */
        p.next_grain = min_u64(p.next_grain, (w->table + 1) * w->h.gtes_per_gt);
    }
    *ret_p = p;
    return VIX_OK;
}

static VixError put_trailer(struct stream_writer *w, struct err *err)
{
    CLEANUP_FREE uint8_t *gd = alloc_array(w->h.gd_sectors, SECTOR_SIZE, err);
    uint8_t footer[SECTOR_SIZE];
    struct sparse_header h = w->h;
    VixError e;

    if (gd == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (uint64_t i = 0; i < w->h.gt_count; i++) {
        put_le32(gd + 4 * i, w->gd[i]);
    }
    h.gd_sector = w->pos + 1;
    sparse_header_encode(&h, footer);
    e = stream_put_marked(w, STREAM_GD, gd, w->h.gd_sectors, err);
    if (e == VIX_OK) {
        e = stream_put_marked(w, STREAM_FOOTER, footer, 1, err);
    }
    return e == VIX_OK ? stream_put_marked(w, STREAM_EOS, NULL, 0, err) : e;
}

VixError stream_writer_finish(struct stream_writer *w, uint64_t *ret_sectors, struct err *err)
{
    VixError e = stream_writer_settle(w, true, err);

    if (e != VIX_OK) {
        return e;
    }
    e = stream_put_table(w, err);
    if (e == VIX_OK) {
        e = put_trailer(w, err);
    }
    if (e != VIX_OK) {
        return fail(w, e, err);
    }
    if (ret_sectors != NULL) {
        *ret_sectors = w->pos;
    }
    return VIX_OK;
}

static VixError check_params(const struct sparse_header *h, const struct stream_sink *sink, int level, struct err *err)
{
    if (level < -1 || level > CODEC_LEVEL_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: compression level %d, allowed are -1 (stored) to %d", sink->name,
                       level, CODEC_LEVEL_MAX);
    }
    if (h->capacity == 0 || h->gt_count > STREAM_WRITE_MAX_TABLES) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: a capacity of %" PRIu64 " sectors, a streamOptimized disk can have 1 to %" PRIu64,
                       sink->name, h->capacity, STREAM_WRITE_MAX_TABLES * h->gtes_per_gt * h->grain_sectors);
    }
    return VIX_OK;
}

VixError stream_writer_new(const struct sparse_header *h, const struct stream_sink *sink, int level, unsigned threads,
                           struct stream_writer **ret_w, struct err *err)
{
    struct stream_writer *w;
    VixError e = check_params(h, sink, level, err);

    if (e != VIX_OK) {
        return e;
    }
    w = alloc_zero(sizeof *w, err);
    if (w == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->source_idle, NULL);
    w->h = *h;
    w->sink = *sink;
    w->level = level == 0 ? CODEC_LEVEL_DEFAULT : level < 0 ? 0 : level;
    w->threads = (unsigned)min_u64(threads != 0 ? threads : work_default_threads(), STREAM_WRITE_MAX_THREADS);
    w->grain_bytes = h->grain_sectors * SECTOR_SIZE;
    w->grain_count = div_up(h->capacity, h->grain_sectors);
    w->write_limit = stream_write_limit(h->grain_sectors);
    w->slot_grains = (uint32_t)min_u64(max_u64(SLOT_BYTES / w->grain_bytes, 1), STREAM_SLOT_GRAINS_MAX);
    w->slot_count = 2 * w->threads + 1;
    w->table = UINT64_MAX;
    w->gd = alloc_array(h->gt_count, sizeof *w->gd, err);
    w->gt = alloc_array(h->gtes_per_gt, sizeof *w->gt, err);
    if (w->gd == NULL || w->gt == NULL) {
        stream_writer_free(w);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_w = w;
    return VIX_OK;
}

void stream_writer_stop(struct stream_writer *w)
{
    work_pipe_free(w->pipe);
    w->pipe = NULL;
}

void stream_writer_free(struct stream_writer *w)
{
    if (w == NULL) {
        return;
    }
    stream_writer_stop(w);
    while (w->coder_count > 0) {
        deflate_coder_free(w->coders[--w->coder_count]);
    }
    free(w->open);
    free(w->gd);
    free(w->gt);
    (void)pthread_cond_destroy(&w->source_idle);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* compare.c - whether two disks hold the same bytes. Reads only what at least one of them does not know to be zero, on
 * all cores; a stream is read in order by the calling thread, the rest stays parallel. */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "codec/codec.h"
#include "ops/copy.h"
#include "ops/ops.h"
#include "ops/walk.h"
#include "work/work.h"

#define PIECE_SECTORS 1024u /* 512 KiB of each disk: what a core's second-level cache holds */

struct compare {
    struct disk *sides[2];
    _Atomic uint64_t first; /* sector that differs, UINT64_MAX: none */
    _Atomic uint64_t count;
};

struct compare_slot {
    struct walk_piece piece;
    bool filled[2];
    uint8_t *buf[2]; /* the data segments of each disk, one after the other */
};

static VixError slot_new(void *ctx, void **ret_slot, struct err *err)
{
    struct compare_slot *s = alloc_zero(sizeof *s, err);

    (void)ctx;
    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->buf[0] = alloc_aligned(4096, 2 * PIECE_SECTORS * SECTOR_SIZE, err);
    if (s->buf[0] == NULL) {
        free(s);
        return VIX_E_OUT_OF_MEMORY;
    }
    s->buf[1] = s->buf[0] + PIECE_SECTORS * SECTOR_SIZE;
    *ret_slot = s;
    return VIX_OK;
}

static void slot_free(void *ctx, void *slot)
{
    struct compare_slot *s = slot;
    (void)ctx;
    free(s->buf[0]);
    free(s);
}

/** Reads the part of a segment that lies within a disk; what is beyond it is zeros. */
static VixError read_padded(struct disk *d, const struct walk_segment *g, uint8_t *buf, struct err *err)
{
    uint64_t have = g->sector < d->capacity ? min_u64(g->nsectors, d->capacity - g->sector) : 0;

    memset(buf + have * SECTOR_SIZE, 0, (g->nsectors - have) * SECTOR_SIZE);
    return disk_read(d, g->sector, have, buf, err);
}

static VixError fill(struct compare *c, struct compare_slot *s, unsigned side, struct err *err)
{
    uint8_t *buf = s->buf[side];

    for (unsigned i = 0; i < s->piece.count; i++) {
        const struct walk_segment *g = &s->piece.segments[i];
        VixError code = g->zero[side] ? VIX_OK : read_padded(c->sides[side], g, buf, err);
        if (code != VIX_OK) {
            return code;
        }
        buf += g->nsectors * SECTOR_SIZE;
    }
    s->filled[side] = true;
    return VIX_OK;
}

static void found_difference(struct compare *c, uint64_t sector)
{
    uint64_t first = atomic_load(&c->first);

    while (sector < first && !atomic_compare_exchange_weak(&c->first, &first, sector)) {
    }
    atomic_fetch_add(&c->count, 1);
}

static bool same(const struct walk_segment *g, const uint8_t *a, const uint8_t *b, size_t len)
{
    if (g->zero[0] || g->zero[1]) {
        return bytes_are_zero(g->zero[0] ? b : a, len);
    }
    return memcmp(a, b, len) == 0;
}

static void compare_segment(struct compare *c, const struct walk_segment *g, const uint8_t *a, const uint8_t *b)
{
    if (same(g, a, b, g->nsectors * SECTOR_SIZE)) {
        return;
    }
    for (uint64_t i = 0; i < g->nsectors; i++) {
        if (!same(g, a + i * SECTOR_SIZE, b + i * SECTOR_SIZE, SECTOR_SIZE)) {
            found_difference(c, g->sector + i);
        }
    }
}

static VixError process(void *ctx, void *slot, struct err *err)
{
    struct compare *c = ctx;
    struct compare_slot *s = slot;
    uint64_t at = 0;

    for (unsigned side = 0; side < 2; side++) {
        VixError code = s->filled[side] ? VIX_OK : fill(c, s, side, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    for (unsigned i = 0; i < s->piece.count; i++) {
        const struct walk_segment *g = &s->piece.segments[i];
        compare_segment(c, g, s->buf[0] + at, s->buf[1] + at);
        at += g->nsectors * SECTOR_SIZE;
    }
    return VIX_OK;
}

static VixError commit(void *ctx, void *slot, struct err *err)
{
    (void)ctx, (void)slot, (void)err;
    return VIX_OK;
}

static const struct work_pipe_ops compare_ops = {
    .slot_new = slot_new,
    .slot_free = slot_free,
    .process = process,
    .commit = commit,
};

static VixError run(struct compare *c, struct work_pipe *pipe, struct ops_progress progress, struct err *err)
{
    struct walk w;
    struct progress_meter meter;
    VixError code = VIX_OK;

    walk_init(&w, c->sides[0], c->sides[1], 1, PIECE_SECTORS);
    meter_init(&meter, progress, w.end * SECTOR_SIZE);
    while (code == VIX_OK) {
        void *slot;
        code = work_pipe_slot(pipe, &slot, err);
        if (code != VIX_OK) {
            return code;
        }
        struct compare_slot *s = slot;
        uint64_t done = w.pos;
        s->filled[0] = s->filled[1] = false;
        code = walk_next(&w, &s->piece, err);
        if (code != VIX_OK || s->piece.count == 0) {
            break;
        }
        for (unsigned side = 0; side < 2 && code == VIX_OK; side++) {
            code = c->sides[side]->sequential ? fill(c, s, side, err) : VIX_OK;
        }
        if (code == VIX_OK) {
            work_pipe_push(pipe, slot);
            code = meter_tell(&meter, done * SECTOR_SIZE, err);
        }
    }
    code = code == VIX_OK ? work_pipe_drain(pipe, err) : code;
    return code == VIX_OK ? meter_end(&meter, err) : code;
}

VixError ops_compare(struct disk *a, struct disk *b, struct ops_progress progress, uint64_t *ret_first,
                     uint64_t *ret_count, struct err *err)
{
    struct compare c = {.sides = {a, b}};
    struct work_pipe *pipe;
    unsigned threads = copy_default_threads(a, b);

    atomic_init(&c.first, UINT64_MAX);
    atomic_init(&c.count, 0);
    VixError code = work_pipe_new(&compare_ops, &c, threads, threads + 2, &pipe, err);
    if (code != VIX_OK) {
        return code;
    }
    code = run(&c, pipe, progress, err);
    work_pipe_free(pipe);
    if (code == VIX_OK) {
        *ret_first = atomic_load(&c.first);
        *ret_count = atomic_load(&c.count);
    }
    return code;
}

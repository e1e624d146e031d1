/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_copy.c - a ring of pieces: reads are started in order, and ended in order by the one thread that writes. */
#include "sync_copy.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "stdio_copy.h"

#define PIECE_BYTES ((uint64_t)1 << 20)
#define RING 16u
#define UNIT_BYTES ((uint64_t)64 << 10) /* zeros are looked for in this unit, in the places that it has on the disk */
#define ASK_FROM_BYTES ((uint64_t)1 << 20) /* ranges from here on are asked for their holes */
#define DETAIL_MAX 1024

struct piece {
    struct copier *copier;
    uint8 *bytes;
    uint64_t start, length;
    bool done; /* guarded by the copier's lock */
    VixError result;
};

struct copier {
    VixDiskLibHandle source, target;
    bool target_is_zero, comparing;
    struct piece ring[RING];
    uint8 *memory, *other;
    unsigned first, count; /* pieces under way */
    struct copy_totals totals;
    VixError failure;
    bool on_target, may_pass;
    char detail[DETAIL_MAX];
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

struct copier *copier_new(VixDiskLibHandle source, VixDiskLibHandle target, bool target_is_zero)
{
    struct copier *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->memory = copy_buffer((RING + 1) * PIECE_BYTES / COPY_BYTES + 1);
    if (c->memory == NULL) {
        free(c);
        return NULL;
    }
    c->source = source;
    c->target = target;
    c->target_is_zero = target_is_zero;
    c->totals.first_different = UINT64_MAX;
    c->other = c->memory + RING * PIECE_BYTES;
    for (unsigned i = 0; i < RING; i++) {
        c->ring[i] = (struct piece){.copier = c, .bytes = c->memory + i * PIECE_BYTES};
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ended, NULL);
    return c;
}

void copier_free(struct copier *c)
{
    if (c != NULL) {
        (void)VixDiskLib_Wait(c->source);
        pthread_mutex_destroy(&c->lock);
        pthread_cond_destroy(&c->ended);
        free(c->memory);
        free(c);
    }
}

void copier_compare(struct copier *c)
{
    c->comparing = true;
}

const struct copy_totals *copier_totals(const struct copier *c)
{
    return &c->totals;
}

bool copier_failed_on_target(const struct copier *c)
{
    return c->on_target;
}

bool copier_may_pass(const struct copier *c)
{
    return c->may_pass;
}

const char *copier_failure(const struct copier *c)
{
    return c->detail;
}

static VixError failed(struct copier *c, VixError code, bool on_target)
{
    if (code != VIX_OK && c->failure == VIX_OK) {
        c->failure = code;
        c->on_target = on_target;
        c->may_pass = VixDiskLibExt_LastErrorIsRetryable();
        strncpy(c->detail, VixDiskLibExt_LastErrorDetail(), sizeof c->detail - 1);
    }
    return c->failure;
}

static bool is_zero(const uint8 *bytes, uint64_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static void note_difference(struct copier *c, uint64_t start, uint64_t length)
{
    c->totals.different += length;
    c->totals.first_different = start < c->totals.first_different ? start : c->totals.first_different;
}

/* ---- the target ---- */

/** Makes a range of at most a piece zeros, or notes that it is none. */
static VixError zero_piece(struct copier *c, uint64_t start, uint64_t length)
{
    VixError code = VixDiskLib_Read(c->target, start / SECTOR_BYTES, length / SECTOR_BYTES, c->other);
    if (code != VIX_OK || is_zero(c->other, length)) {
        return failed(c, code, true);
    }
    if (c->comparing) {
        note_difference(c, start, length);
        return VIX_OK;
    }
    memset(c->other, 0, length);
    c->totals.zeroed += length;
    return failed(c, VixDiskLib_Write(c->target, start / SECTOR_BYTES, length / SECTOR_BYTES, c->other), true);
}

static Bool zero_run(void *data, const VixDiskLibExt_Run *run)
{
    struct copier *c = data;
    uint64_t end = run->startBytes + run->lengthBytes;
    for (uint64_t pos = run->startBytes; pos < end && !run->zero && c->failure == VIX_OK;) {
        uint64_t length = end - pos < PIECE_BYTES ? end - pos : PIECE_BYTES;
        (void)zero_piece(c, pos, length);
        pos += length;
    }
    return c->failure == VIX_OK;
}

/** Makes a range of any length zeros. */
static VixError zero_range(struct copier *c, uint64_t start, uint64_t length)
{
    if (c->target_is_zero && !c->comparing) {
        return VIX_OK;
    }
    if (length <= PIECE_BYTES) {
        return zero_piece(c, start, length);
    }
    return failed(c, VixDiskLibExt_Map(c->target, start / SECTOR_BYTES, length / SECTOR_BYTES, zero_run, c), true);
}

static VixError put_run(struct copier *c, uint64_t start, uint64_t length, const uint8 *bytes, bool zero)
{
    if (zero) {
        return zero_range(c, start, length);
    }
    if (c->comparing) {
        VixError code = VixDiskLib_Read(c->target, start / SECTOR_BYTES, length / SECTOR_BYTES, c->other);
        if (code == VIX_OK && memcmp(bytes, c->other, length) != 0) {
            note_difference(c, start, length);
        }
        return failed(c, code, true);
    }
    c->totals.written += length;
    return failed(c, VixDiskLib_Write(c->target, start / SECTOR_BYTES, length / SECTOR_BYTES, bytes), true);
}

/** Gives a piece to the target in runs of units that are all zeros, or not. */
static VixError put_piece(struct copier *c, const struct piece *p)
{
    VixError code = VIX_OK;
    for (uint64_t pos = 0; pos < p->length && code == VIX_OK;) {
        uint64_t end = pos;
        bool zero = false;
        do {
            uint64_t unit_end = ((p->start + end) / UNIT_BYTES + 1) * UNIT_BYTES - p->start;
            unit_end = unit_end < p->length ? unit_end : p->length;
            bool unit_zero = is_zero(p->bytes + end, unit_end - end);
            if (end > pos && unit_zero != zero) {
                break;
            }
            zero = unit_zero;
            end = unit_end;
        } while (end < p->length);
        code = put_run(c, p->start + pos, end - pos, p->bytes + pos, zero);
        pos = end;
    }
    return code;
}

/* ---- the source ---- */

static void read_ended(void *data, VixError result)
{
    struct piece *p = data;
    pthread_mutex_lock(&p->copier->lock);
    p->result = result;
    p->done = true;
    pthread_cond_signal(&p->copier->ended);
    pthread_mutex_unlock(&p->copier->lock);
}

/** Waits for the oldest piece and gives it to the target. */
static VixError end_oldest(struct copier *c)
{
    struct piece *p = &c->ring[c->first];
    pthread_mutex_lock(&c->lock);
    while (!p->done) {
        pthread_cond_wait(&c->ended, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    c->first = (c->first + 1) % RING;
    c->count--;
    if (p->result != VIX_OK && c->failure == VIX_OK) {
        /* The sentence went to the thread of the callback: reading once more gets it, or the bytes. */
        p->result = VixDiskLib_Read(c->source, p->start / SECTOR_BYTES, p->length / SECTOR_BYTES, p->bytes);
    }
    if (failed(c, p->result, false) != VIX_OK) {
        return c->failure;
    }
    c->totals.read += p->length;
    return put_piece(c, p);
}

static VixError start_piece(struct copier *c, uint64_t start, uint64_t length)
{
    if (c->count == RING && end_oldest(c) != VIX_OK) {
        return c->failure;
    }
    struct piece *p = &c->ring[(c->first + c->count) % RING];
    p->start = start;
    p->length = length;
    p->done = false;
    VixError code =
        VixDiskLib_ReadAsync(c->source, start / SECTOR_BYTES, length / SECTOR_BYTES, p->bytes, read_ended, p);
    if (code != VIX_ASYNC) {
        return failed(c, code != VIX_OK ? code : VIX_E_FAIL, false);
    }
    c->count++;
    return VIX_OK;
}

static VixError start_data(struct copier *c, uint64_t start, uint64_t length)
{
    VixError code = c->failure;
    for (uint64_t pos = start; pos < start + length && code == VIX_OK;) {
        uint64_t end = (pos / PIECE_BYTES + 1) * PIECE_BYTES;
        end = end < start + length ? end : start + length;
        code = start_piece(c, pos, end - pos);
        pos = end;
    }
    return code;
}

static Bool take_run(void *data, const VixDiskLibExt_Run *run)
{
    struct copier *c = data;
    VixError code =
        run->zero ? zero_range(c, run->startBytes, run->lengthBytes) : start_data(c, run->startBytes, run->lengthBytes);
    return code == VIX_OK;
}

VixError copier_range(struct copier *c, uint64_t start, uint64_t length)
{
    if (length < ASK_FROM_BYTES) {
        return start_data(c, start, length);
    }
    VixError code = VixDiskLibExt_Map(c->source, start / SECTOR_BYTES, length / SECTOR_BYTES, take_run, c);
    return c->failure != VIX_OK ? c->failure : failed(c, code, false);
}

VixError copier_finish(struct copier *c)
{
    while (c->count > 0) {
        (void)end_oldest(c);
    }
    return c->failure;
}

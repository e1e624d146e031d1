/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_reader.c - a streamOptimized disk from a pipe. Works in rounds: takes some slots full of records from the
 * input, has them inflated in parallel, and hands the grains out in order until they are used up.
 *
 * That the whole disk was there is known from the footer, or, where the tables are in front, from the place of the last
 * record that they name (qemu-img writes no end marker: its streams simply stop). */
#include "vmdk/stream_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "codec/codec.h"
#include "vmdk/stream_format.h"
#include "work/work.h"

#define BUFFER_BYTES (UINT64_C(256) << 10) /* STREAM_PAYLOAD_SECTORS_MAX fit */
#define ROUND_BYTES (UINT64_C(512) << 10)  /* of grains in a slot */
#define ROUND_GRAINS_MAX 16u               /* own: grains of a slot */
#define SLOTS_MAX 32u                      /* own: slots */

/** Grains that are inflated. */
struct result {
    uint32_t count;
    uint64_t sector[ROUND_GRAINS_MAX];
    uint8_t *grains;
};

/** Some grains on their way. */
struct reader_slot {
    uint64_t off[ROUND_GRAINS_MAX]; /* of the record, for messages */
    uint32_t size[ROUND_GRAINS_MAX];
    uint8_t *in; /* room for the largest data of each */
    struct inflate_coder *coder;
    struct result result; /* count and sectors are known before the grains are */
};

struct stream_reader {
    struct stream_input in;
    struct sparse_header h;
    uint64_t grain_bytes;
    uint32_t slot_grains, slot_count;
    char *descriptor;
    size_t descriptor_len;

    uint8_t *buffer; /* bytes of the input not used yet: from at to end */
    uint64_t at, end;
    uint64_t off; /* of buffer[at] in the stream */
    bool input_ended;
    bool stream_ended;
    bool after_progress; /* the last record was of the type of unknown length; its marker gave this many sectors */
    uint64_t progress_sectors;
    uint64_t next_sector;   /* behind the last grain taken from the input */
    uint64_t last_record;   /* tables in front: sector of the last record that they name */
    uint64_t record_sector; /* of the last grain taken */
    bool footer_seen;

    struct work_pipe *pipe;
    struct result ready[SLOTS_MAX]; /* of this round, in order; committing a slot swaps its result with one of these */
    uint32_t ready_count, ready_at, ready_grain;
    uint64_t read_to; /* sector behind the last one handed out */
    struct err failure;
};

/* ---- the input ---- */

/** Sees to it that len bytes (at most BUFFER_BYTES) are in the buffer, as far as there are so many. */
static VixError fill(struct stream_reader *r, uint64_t len, struct err *err)
{
    uint64_t got;

    if (r->end - r->at >= len || r->input_ended) {
        return VIX_OK;
    }
    memmove(r->buffer, r->buffer + r->at, r->end - r->at);
    r->end -= r->at;
    r->at = 0;
    VixError e = r->in.read(r->in.ctx, r->buffer + r->end, BUFFER_BYTES - r->end, &got, err);
    if (e != VIX_OK) {
        return e;
    }
    r->input_ended = got < BUFFER_BYTES - r->end;
    r->end += got;
    return VIX_OK;
}

static VixError ends_early(const struct stream_reader *r, struct err *err)
{
    return err_set(err, VIX_E_DISK_NEEDSREPAIR, "%s: the stream ends at byte %" PRIu64 ", before the end of the disk",
                   r->in.name, r->off);
}

/** Takes exactly len bytes; out NULL: drops them. */
static VixError take(struct stream_reader *r, uint8_t *out, uint64_t len, struct err *err)
{
    while (len > 0) {
        VixError e = fill(r, 1, err);
        if (e != VIX_OK) {
            return e;
        }
        uint64_t n = min_u64(len, r->end - r->at);
        if (n == 0) {
            return ends_early(r, err);
        }
        if (out != NULL) {
            memcpy(out, r->buffer + r->at, n);
            out += n;
        }
        r->at += n;
        r->off += n;
        len -= n;
    }
    return VIX_OK;
}

/* ---- records ---- */

static bool is_complete(const struct stream_reader *r)
{
    return r->h.gd_sector == KDMV_GD_AT_END ? r->footer_seen : r->record_sector >= r->last_record;
}

/** The length of what is no record: it can only be the payload of a record of unknown length. */
static VixError payload_length(const struct stream_reader *r, uint64_t *ret_len, struct err *err)
{
    struct stream_marker m = stream_marker_decode(r->buffer + r->at);

    if (!r->after_progress || r->progress_sectors > STREAM_PAYLOAD_SECTORS_MAX) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: no record at byte %" PRIu64 ": marker value %" PRIu64 ", size %" PRIu32 ", type %" PRIu32,
                       r->in.name, r->off, m.val, m.size, m.type);
    }
    *ret_len = r->progress_sectors * SECTOR_SIZE;
    return VIX_OK;
}

/** What record comes next in the input; nothing is taken. */
static VixError look(struct stream_reader *r, struct stream_item *ret_item, struct err *err)
{
    VixError e = fill(r, SECTOR_SIZE, err);

    if (e != VIX_OK) {
        return e;
    }
    if (r->end == r->at) {
        *ret_item = (struct stream_item){.kind = STREAM_ITEM_END};
    } else if (r->end - r->at < 16) {
        return ends_early(r, err);
    } else {
        stream_item_decode(&r->h, r->buffer + r->at, ret_item);
    }
    if (ret_item->kind == STREAM_ITEM_END && !is_complete(r)) {
        return ends_early(r, err);
    }
    return ret_item->kind == STREAM_ITEM_JUNK ? payload_length(r, &ret_item->len, err) : VIX_OK;
}

/** Takes metadata up to the next grain, or the end. */
static VixError next_grain(struct stream_reader *r, struct stream_item *ret_item, struct err *err)
{
    for (;;) {
        VixError e = look(r, ret_item, err);
        if (e != VIX_OK || ret_item->kind == STREAM_ITEM_GRAIN || ret_item->kind == STREAM_ITEM_END) {
            return e;
        }
        r->footer_seen = r->footer_seen || ret_item->kind == STREAM_ITEM_FOOTER;
        r->progress_sectors = get_le64(r->buffer + r->at);
        r->after_progress = ret_item->kind == STREAM_ITEM_PROGRESS && r->progress_sectors > 0;
        e = take(r, NULL, ret_item->len, err);
        if (e != VIX_OK) {
            return e;
        }
    }
}

/** Takes the zeros behind the data of a record; those of the last one may be missing. */
static VixError take_padding(struct stream_reader *r, uint64_t len, struct err *err)
{
    VixError e = fill(r, len, err);

    return e == VIX_OK ? take(r, NULL, min_u64(len, r->end - r->at), err) : e;
}

/** Takes one grain's record into a slot; *ret_end at the end of the stream. */
static VixError take_grain(struct stream_reader *r, struct reader_slot *slot, bool *ret_end, struct err *err)
{
    struct stream_item item;
    uint32_t i = slot->result.count;
    uint8_t *in = slot->in + (uint64_t)i * stream_max_size(r->h.grain_sectors);
    VixError e = next_grain(r, &item, err);

    if (e != VIX_OK) {
        return e;
    }
    r->after_progress = false;
    *ret_end = item.kind == STREAM_ITEM_END;
    if (*ret_end) {
        return VIX_OK;
    }
    if (item.sector < r->next_sector) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: the grain at byte %" PRIu64 " is that of sector %" PRIu64 ", behind sector %" PRIu64
                       ": a disk whose grains are not in order cannot be read from a pipe, only from a file",
                       r->in.name, r->off, item.sector, r->next_sector);
    }
    slot->result.sector[i] = item.sector;
    slot->off[i] = r->off;
    slot->size[i] = item.size;
    r->record_sector = r->off / SECTOR_SIZE;
    e = take(r, NULL, STREAM_MARKER_BYTES, err);
    if (e == VIX_OK) {
        e = take(r, in, item.size, err);
    }
    if (e == VIX_OK) {
        e = take_padding(r, item.len - STREAM_MARKER_BYTES - item.size, err);
    }
    if (e == VIX_OK) {
        slot->result.count++;
        r->next_sector = item.sector + r->h.grain_sectors;
    }
    return e;
}

/* ---- slots ---- */

static void slot_free(void *ctx, void *slot_ptr)
{
    struct reader_slot *slot = slot_ptr;

    (void)ctx;
    if (slot != NULL) {
        inflate_coder_free(slot->coder);
        free(slot->in);
        free(slot->result.grains);
        free(slot);
    }
}

static VixError slot_new(void *ctx, void **ret_slot, struct err *err)
{
    const struct stream_reader *r = ctx;
    struct reader_slot *slot = alloc_zero(sizeof *slot, err);
    VixError e = VIX_E_OUT_OF_MEMORY;

    if (slot == NULL) {
        return e;
    }
    slot->in = alloc_aligned(4096, r->slot_grains * (size_t)stream_max_size(r->h.grain_sectors), err);
    slot->result.grains = alloc_aligned(4096, r->slot_grains * r->grain_bytes, err);
    if (slot->in != NULL && slot->result.grains != NULL) {
        e = inflate_coder_new(&slot->coder, err);
    }
    if (e != VIX_OK) {
        slot_free(ctx, slot);
        return e;
    }
    *ret_slot = slot;
    return VIX_OK;
}

static VixError slot_process(void *ctx, void *slot_ptr, struct err *err)
{
    const struct stream_reader *r = ctx;
    struct reader_slot *slot = slot_ptr;

    for (uint32_t i = 0; i < slot->result.count; i++) {
        uint64_t sector = slot->result.sector[i];
        uint64_t needed = min_u64(r->grain_bytes, (r->h.capacity - sector) * SECTOR_SIZE);
        if (!stream_inflate(slot->coder, slot->in + (uint64_t)i * stream_max_size(r->h.grain_sectors), slot->size[i],
                            slot->result.grains + i * r->grain_bytes, r->grain_bytes, needed)) {
            return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                           "%s: the grain of sector %" PRIu64 " at byte %" PRIu64 ": its %" PRIu32
                           " bytes of compressed data are damaged: they do not inflate to %" PRIu64 " bytes",
                           r->in.name, sector, slot->off[i], slot->size[i], r->grain_bytes);
        }
    }
    return VIX_OK;
}

static VixError slot_commit(void *ctx, void *slot_ptr, struct err *err)
{
    struct stream_reader *r = ctx;
    struct reader_slot *slot = slot_ptr;
    struct result free_one = r->ready[r->ready_count];

    (void)err;
    r->ready[r->ready_count++] = slot->result;
    slot->result = free_one;
    return VIX_OK;
}

static const struct work_pipe_ops reader_slot_ops = {
    .slot_new = slot_new,
    .slot_free = slot_free,
    .process = slot_process,
    .commit = slot_commit,
};

/** Takes records for one slot and sends it. */
static VixError send_slot(struct stream_reader *r, struct err *err)
{
    struct reader_slot *slot;
    void *p;
    VixError e = work_pipe_slot(r->pipe, &p, err);

    if (e != VIX_OK) {
        return e;
    }
    slot = p;
    slot->result.count = 0;
    while (e == VIX_OK && !r->stream_ended && slot->result.count < r->slot_grains) {
        e = take_grain(r, slot, &r->stream_ended, err);
    }
    work_pipe_push(r->pipe, slot);
    return e;
}

/** One round: as many slots as there is room for results. Those of the round before are used up. */
static VixError next_round(struct stream_reader *r, struct err *err)
{
    VixError e = VIX_OK;

    r->ready_count = 0;
    r->ready_at = 0;
    r->ready_grain = 0;
    for (uint32_t i = 0; e == VIX_OK && !r->stream_ended && i < r->slot_count; i++) {
        e = send_slot(r, err);
    }
    VixError drained = work_pipe_drain(r->pipe, e == VIX_OK ? err : NULL);
    return e != VIX_OK ? e : drained;
}

/* ---- reading ---- */

/** The next grain that ends behind sector; *ret_data NULL: there is none. */
static VixError grain_from(struct stream_reader *r, uint64_t sector, uint64_t *ret_first, const uint8_t **ret_data,
                           struct err *err)
{
    for (;;) {
        while (r->ready_at < r->ready_count) {
            const struct result *result = &r->ready[r->ready_at];
            if (r->ready_grain == result->count) {
                r->ready_at++;
                r->ready_grain = 0;
            } else if (result->sector[r->ready_grain] + r->h.grain_sectors <= sector) {
                r->ready_grain++;
            } else {
                *ret_first = result->sector[r->ready_grain];
                *ret_data = result->grains + r->ready_grain * r->grain_bytes;
                return VIX_OK;
            }
        }
        if (r->stream_ended) {
            *ret_data = NULL;
            return VIX_OK;
        }
        VixError e = next_round(r, err);
        if (e != VIX_OK) {
            return e;
        }
    }
}

static VixError read_in_order(struct stream_reader *r, uint64_t sector, uint64_t nsectors, uint8_t *buf,
                              struct err *err)
{
    uint64_t end = sector + nsectors;

    while (sector < end) {
        uint64_t first;
        const uint8_t *data;
        VixError e = grain_from(r, sector, &first, &data, err);
        if (e != VIX_OK) {
            return e;
        }
        uint64_t gap = data == NULL || first >= end ? end - sector : first > sector ? first - sector : 0;
        memset(buf, 0, gap * SECTOR_SIZE);
        sector += gap;
        buf += gap * SECTOR_SIZE;
        if (sector < end) {
            uint64_t n = min_u64(end, first + r->h.grain_sectors) - sector;
            memcpy(buf, data + (sector - first) * SECTOR_SIZE, n * SECTOR_SIZE);
            sector += n;
            buf += n * SECTOR_SIZE;
        }
    }
    return VIX_OK;
}

/** The first failure stays. */
static VixError fail(struct stream_reader *r, VixError code, const struct err *err)
{
    if (code != VIX_OK && r->failure.code == VIX_OK) {
        if (err != NULL) {
            r->failure = *err;
        }
        r->failure.code = code;
    }
    return code;
}

static VixError failure_of(const struct stream_reader *r, struct err *err)
{
    if (r->failure.code != VIX_OK && err != NULL) {
        *err = r->failure;
    }
    return r->failure.code;
}

VixError stream_reader_read(struct stream_reader *r, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    VixError e = failure_of(r, err);

    if (e != VIX_OK) {
        return e;
    }
    if (sector < r->read_to) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: read at sector %" PRIu64 ", the stream is at sector %" PRIu64
                       ": it can be read once, in order",
                       r->in.name, sector, r->read_to);
    }
    e = read_in_order(r, sector, nsectors, buf, err);
    r->read_to = sector + nsectors;
    return fail(r, e, err);
}

VixError stream_reader_finish(struct stream_reader *r, struct err *err)
{
    uint64_t first;
    const uint8_t *data;
    VixError e = failure_of(r, err);

    return e != VIX_OK ? e : fail(r, grain_from(r, UINT64_MAX - r->h.grain_sectors, &first, &data, err), err);
}

/* ---- open and close ---- */

/** Takes what lies between descriptor and first record: where the tables are there, their largest number is the place
 * of the last record. */
static VixError take_tables(struct stream_reader *r, uint64_t nsectors, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];

    for (uint64_t i = 0; i < nsectors; i++) {
        VixError e = take(r, sector, sizeof sector, err);
        if (e != VIX_OK) {
            return e;
        }
        for (uint32_t k = 0; k < SECTOR_SIZE && r->h.gd_sector != KDMV_GD_AT_END; k += 4) {
            r->last_record = max_u64(r->last_record, get_le32(sector + k));
        }
    }
    if (r->last_record < r->h.overhead_sectors) {
        r->last_record = 0; /* the directory only: no grain */
    }
    return VIX_OK;
}

static VixError read_front(struct stream_reader *r, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    VixError e = take(r, sector, sizeof sector, err);

    if (e == VIX_OK) {
        e = sparse_header_parse(sector, r->in.name, &r->h, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    uint64_t text = r->h.descriptor_sector, text_end = text + r->h.descriptor_sectors;
    if ((r->h.flags & KDMV_FLAG_MARKERS) == 0 || r->h.capacity == 0 || text == 0 || text_end > r->h.overhead_sectors) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: flags 0x%" PRIX32 ", capacity %" PRIu64 ", descriptor at sectors %" PRIu64 " to %" PRIu64
                       ", first record at %" PRIu64
                       ": only a streamOptimized disk with its descriptor in front can be read from a pipe",
                       r->in.name, r->h.flags, r->h.capacity, text, text_end, r->h.overhead_sectors);
    }
    r->grain_bytes = r->h.grain_sectors * SECTOR_SIZE;
    r->descriptor = alloc_array(r->h.descriptor_sectors + 1, SECTOR_SIZE, err);
    if (r->descriptor == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    e = take(r, NULL, (text - 1) * SECTOR_SIZE, err);
    if (e == VIX_OK) {
        e = take(r, (uint8_t *)r->descriptor, (text_end - text) * SECTOR_SIZE, err);
    }
    r->descriptor_len = strlen(r->descriptor);
    return e == VIX_OK ? take_tables(r, r->h.overhead_sectors - text_end, err) : e;
}

static VixError make_pipe(struct stream_reader *r, unsigned threads, struct err *err)
{
    threads = (unsigned)min_u64(threads != 0 ? threads : work_default_threads(), SLOTS_MAX / 2);
    r->slot_grains = (uint32_t)min_u64(max_u64(ROUND_BYTES / r->grain_bytes, 1), ROUND_GRAINS_MAX);
    r->slot_count = 2 * threads;
    for (uint32_t i = 0; i < r->slot_count; i++) {
        r->ready[i].grains = alloc_aligned(4096, r->slot_grains * r->grain_bytes, err);
        if (r->ready[i].grains == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return work_pipe_new(&reader_slot_ops, r, threads, r->slot_count, &r->pipe, err);
}

VixError stream_reader_open(const struct stream_input *in, unsigned threads, struct stream_reader **ret_r,
                            struct err *err)
{
    struct stream_reader *r = alloc_zero(sizeof *r, err);
    VixError e;

    if (r == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    r->in = *in;
    r->buffer = alloc_aligned(4096, BUFFER_BYTES, err);
    e = r->buffer != NULL ? read_front(r, err) : VIX_E_OUT_OF_MEMORY;
    if (e == VIX_OK) {
        e = make_pipe(r, threads, err);
    }
    if (e != VIX_OK) {
        stream_reader_close(r);
        return e;
    }
    *ret_r = r;
    return VIX_OK;
}

void stream_reader_close(struct stream_reader *r)
{
    if (r != NULL) {
        work_pipe_free(r->pipe);
        for (uint32_t i = 0; i < SLOTS_MAX; i++) {
            free(r->ready[i].grains);
        }
        free(r->buffer);
        free(r->descriptor);
        free(r);
    }
}

const struct sparse_header *stream_reader_header(const struct stream_reader *r)
{
    return &r->h;
}

const char *stream_reader_descriptor(const struct stream_reader *r, size_t *ret_len)
{
    *ret_len = r->descriptor_len;
    return r->descriptor;
}

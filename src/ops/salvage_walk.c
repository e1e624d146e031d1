/* SPDX-License-Identifier: BSD-3-Clause */
/* salvage_walk.c - from record to record through a file of which any byte may be wrong.
 *
 * A size that is too large would lead over records that are whole. So it is believed only where nothing speaks against
 * it: a record or a table stands where it ends, and no sector that it leads over looks like a record, or that record is
 * of the next grain of the disk, before which no other has its place. Else the data decides: a zlib stream ends where
 * it ends, and has a checksum. Where it does not inflate, every sector from the next one on may be a record, but only
 * one that inflates is. The lengths of tables come from the header, and records are looked for within them, too.
 *
 * What does not inflate costs time: a file can be made of which every sector looks like a record as long as the
 * longest. DOUBT_FACTOR limits that. When it is used up, no more than the sizes that markers tell is tried, and nothing
 * within what has failed: from then on each byte of the file is inflated once at most. */
#include "ops/salvage_walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "codec/codec.h"
#include "vmdk/stream_format.h"

#define SCAN_SECTORS UINT64_C(2048)      /* own: read at once where every sector is looked at */
#define DOUBT_FACTOR 8u                  /* limit: times the length of a file that is tried in vain for records */
#define DOUBT_BYTES (UINT64_C(64) << 20) /* limit: bytes that are tried in vain besides, for short files */

struct walk {
    struct stream_file *f;
    struct stream_window *w;
    struct salvage_records *r;
    struct salvage_report *report;
    uint64_t end;          /* of the file, in sectors, the last one may be short */
    uint8_t *buf;          /* SCAN_SECTORS */
    uint64_t first, count; /* sectors in buf */
    uint8_t one[SECTOR_SIZE];
    uint64_t one_sector; /* in one; 0: none */
    uint64_t doubt;      /* bytes that may still be tried in vain, one within the other */
    uint64_t tried;      /* up to this byte of the file something was */
};

/** What looks like a record. */
struct head {
    uint64_t sector; /* of the file */
    uint64_t val;    /* first sector of the grain */
    uint32_t size;   /* bytes of data */
    bool fits;       /* the size can be right */
    bool zlib;       /* data with a checksum */
};

static uint64_t sectors_of(uint32_t size)
{
    return stream_record_bytes(size) / SECTOR_SIZE;
}

/** Reads sectors, with zeros behind the end of the file. */
static VixError read_padded(struct walk *k, uint64_t sector, uint64_t n, uint8_t *buf, struct err *err)
{
    uint64_t got = 0;
    VixError code = store_read_some(k->f->store, buf, n * SECTOR_SIZE, sector * SECTOR_SIZE, &got, err);

    if (code == VIX_OK) {
        memset(buf + got, 0, n * SECTOR_SIZE - got);
    }
    return code;
}

/** The bytes of a sector of the file, until the next call. @scan those behind it will be asked for, too. */
static VixError look_at(struct walk *k, uint64_t sector, bool scan, const uint8_t **ret_bytes, struct err *err)
{
    bool there = sector >= k->first && sector < k->first + k->count;
    VixError code = VIX_OK;

    if (!there && !scan) {
        if (k->one_sector != sector) {
            code = read_padded(k, sector, 1, k->one, err);
            k->one_sector = code == VIX_OK ? sector : 0;
        }
        *ret_bytes = k->one;
        return code;
    }
    if (!there) {
        uint64_t n = min_u64(SCAN_SECTORS, k->end - sector);
        code = read_padded(k, sector, n, k->buf, err);
        k->first = sector;
        k->count = code == VIX_OK ? n : 0;
    }
    *ret_bytes = k->buf + (sector - k->first) * SECTOR_SIZE;
    return code;
}

/** Whether a sector looks like the first one of a record: it names a grain of the disk, and either its size can be
 * right, or the data is of the kind that tells its size itself. */
static bool is_record(const struct walk *k, uint64_t sector, const uint8_t *bytes, struct head *ret_head)
{
    const struct sparse_header *h = &k->f->h;
    struct stream_marker m = stream_marker_decode(bytes);
    uint64_t data = sector * SECTOR_SIZE + STREAM_MARKER_BYTES;

    *ret_head = (struct head){
        .sector = sector,
        .val = m.val,
        .size = m.size,
        .fits = m.size > 0 && m.size <= stream_max_size(h->grain_sectors) && data + m.size <= atomic_load(&k->f->len),
        .zlib = inflate_is_zlib(bytes + STREAM_MARKER_BYTES),
    };
    return m.val % h->grain_sectors == 0 && m.val < h->capacity && (ret_head->fits || ret_head->zlib);
}

/** The sectors of a metadata marker and what belongs to it; 0: no such marker. */
static uint64_t metadata_sectors(const struct walk *k, const uint8_t *bytes)
{
    struct stream_marker m = stream_marker_decode(bytes);

    switch (m.size == 0 ? m.type : STREAM_EOS) {
    case STREAM_GT:
        return 1 + k->f->h.gt_sectors;
    case STREAM_GD:
        return 1 + k->f->h.gd_sectors;
    case STREAM_FOOTER:
        return 2;
    case STREAM_PROGRESS:
        return 1 + (m.val <= STREAM_PAYLOAD_SECTORS_MAX ? m.val : 0);
    default:
        return 0;
    }
}

/** Whether a sector anywhere is a metadata marker: nothing else is in it. */
static bool is_metadata(const struct walk *k, const uint8_t *bytes)
{
    struct stream_marker m = stream_marker_decode(bytes);
    uint64_t n = metadata_sectors(k, bytes);

    return n > 0 && m.type != STREAM_PROGRESS && (m.val == 0 || m.val == n - 1) &&
           bytes_are_zero(bytes + 16, SECTOR_SIZE - 16);
}

static VixError add_record(struct walk *k, const struct head *h, enum salvage_state state, struct err *err)
{
    struct salvage_records *r = k->r;

    if (r->count == r->room) {
        size_t room = r->room * 2 + 1024;
        struct salvage_record *at = alloc_array(room, sizeof *at, err);
        if (at == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (r->count > 0) {
            memcpy(at, r->at, r->count * sizeof *at);
        }
        free(r->at);
        r->at = at;
        r->room = room;
    }
    r->at[r->count++] = (struct salvage_record){
        .grain = h->val / k->f->h.grain_sectors, .sector = (uint32_t)h->sector, .state = (uint8_t)state};
    return VIX_OK;
}

/** Counts sectors that are no records. */
static void pass_over(struct walk *k, uint64_t sector, uint64_t end)
{
    k->report->skipped_bytes += min_u64(end * SECTOR_SIZE, atomic_load(&k->f->len)) - sector * SECTOR_SIZE;
}

/** Whether the data of a record is whole; *ret_size: bytes that it takes, whatever its marker says. */
static VixError prove(struct walk *k, const struct head *h, uint32_t *ret_size, bool *ret_whole, struct err *err)
{
    uint32_t longest = stream_max_size(k->f->h.grain_sectors);
    uint64_t off = h->sector * SECTOR_SIZE;
    bool free_to_try = k->doubt >= longest;

    *ret_whole = false;
    if (!free_to_try && off < k->tried) {
        return VIX_OK;
    }
    VixError code = stream_window_doubt(k->w, k->f, h->val / k->f->h.grain_sectors, (uint32_t)h->sector,
                                        free_to_try || !h->fits, off + k->w->cap, k->w->grain, ret_size, err);
    if (code != VIX_OK && code != VIX_E_DISK_NEEDSREPAIR) {
        return code;
    }
    /* without a checksum the size has to speak for the data */
    *ret_whole = code == VIX_OK && (h->zlib || sectors_of(*ret_size) == sectors_of(h->size));
    if (!*ret_whole) {
        k->doubt -= free_to_try ? longest : 0;
        k->tried = max_u64(k->tried, off + STREAM_MARKER_BYTES + (h->fits ? h->size : longest));
    }
    return VIX_OK;
}

/** Finds the next record that proves to be one; *ret_sector: to if there is none. @metadata markers of tables end the
 * search, too. */
static VixError search(struct walk *k, uint64_t from, uint64_t to, bool metadata, uint64_t *ret_sector, struct err *err)
{
    VixError code = VIX_OK;
    bool found = false;

    for (; from < to; from++) {
        const uint8_t *bytes;
        struct head h;
        uint32_t size;
        code = look_at(k, from, true, &bytes, err);
        if (code == VIX_OK && is_record(k, from, bytes, &h)) {
            code = prove(k, &h, &size, &found, err);
        } else if (code == VIX_OK) {
            found = metadata && is_metadata(k, bytes);
        }
        if (code != VIX_OK || found) {
            break;
        }
    }
    *ret_sector = from;
    return code;
}

/** Whether nothing speaks against the size of a record, which ends in front of sector end. */
static VixError is_undisputed(struct walk *k, const struct head *h, uint64_t end, bool *ret_undisputed, struct err *err)
{
    const uint8_t *bytes;
    struct head other;

    *ret_undisputed = false;
    if (end < k->end) {
        VixError code = look_at(k, end, false, &bytes, err);
        if (code != VIX_OK) {
            return code;
        }
        bool record = is_record(k, end, bytes, &other);
        if (record && other.val == h->val + k->f->h.grain_sectors) {
            *ret_undisputed = true;
            return VIX_OK;
        }
        if (!record && !is_metadata(k, bytes)) {
            return VIX_OK;
        }
    }
    for (uint64_t sector = h->sector + 1; sector < min_u64(end, k->end); sector++) {
        VixError code = look_at(k, sector, true, &bytes, err);
        if (code != VIX_OK || is_record(k, sector, bytes, &other)) {
            return code;
        }
    }
    *ret_undisputed = true;
    return VIX_OK;
}

/** Goes on behind a record, or to one that is found within it. */
static VixError take_record(struct walk *k, const struct head *h, uint64_t *sector, struct err *err)
{
    uint64_t told_end = h->fits ? h->sector + sectors_of(h->size) : 0, next = 0;
    uint32_t size = 0;
    bool sure = false;
    VixError code = h->fits ? is_undisputed(k, h, told_end, &sure, err) : VIX_OK;

    if (code == VIX_OK && sure) {
        *sector = told_end;
        return add_record(k, h, SALVAGE_BELIEVED, err);
    }
    if (code == VIX_OK) {
        code = prove(k, h, &size, &sure, err);
    }
    if (code == VIX_OK && sure) {
        *sector = h->sector + sectors_of(size);
        k->report->wrong_sizes += *sector != told_end;
        return add_record(k, h, *sector == told_end ? SALVAGE_WHOLE : SALVAGE_RESIZED, err);
    }
    if (code == VIX_OK && h->fits) {
        code = add_record(k, h, SALVAGE_DAMAGED, err);
    }
    if (code == VIX_OK) {
        uint64_t to = h->fits ? min_u64(told_end, k->end) : k->end;
        code = search(k, h->sector + 1, to, !h->fits, &next, err);
    }
    if (code == VIX_OK && next != told_end) {
        pass_over(k, h->sector, next);
    }
    *sector = next;
    return code;
}

/** Goes on behind a marker of metadata and what belongs to it, or to a record in the middle of that. */
static VixError take_metadata(struct walk *k, uint64_t nsectors, uint64_t *sector, struct err *err)
{
    uint64_t to = min_u64(*sector + nsectors, k->end), next = to;
    VixError code = search(k, *sector + 1, to, false, &next, err);

    if (code == VIX_OK && next < to) {
        pass_over(k, *sector, next);
    }
    *sector = next;
    return code;
}

/** Zeros end a stream; where anything follows, they are what is left of something else. */
static VixError take_zeros(struct walk *k, uint64_t *sector, struct err *err)
{
    uint64_t next = *sector + 1;
    const uint8_t *bytes;
    VixError code = VIX_OK;

    for (; next < k->end; next++) {
        code = look_at(k, next, true, &bytes, err);
        if (code != VIX_OK || !bytes_are_zero(bytes, SECTOR_SIZE)) {
            break;
        }
    }
    if (next < k->end) {
        pass_over(k, *sector, next);
    }
    *sector = next;
    return code;
}

/** Goes on behind what stands at *sector. */
static VixError step(struct walk *k, uint64_t *sector, struct err *err)
{
    const uint8_t *bytes;
    struct head h;
    uint64_t next = 0;
    VixError code = look_at(k, *sector, false, &bytes, err);

    if (code != VIX_OK) {
        return code;
    }
    if (is_record(k, *sector, bytes, &h)) {
        return take_record(k, &h, sector, err);
    }
    uint64_t nsectors = metadata_sectors(k, bytes);
    if (nsectors > 0) {
        return take_metadata(k, nsectors, sector, err);
    }
    if (bytes_are_zero(bytes, SECTOR_SIZE)) {
        return take_zeros(k, sector, err);
    }
    code = search(k, *sector + 1, k->end, true, &next, err);
    if (code == VIX_OK) {
        pass_over(k, *sector, next);
    }
    *sector = next;
    return code;
}

/* ---- one record for each grain ---- */

static int compare_records(const void *a, const void *b)
{
    const struct salvage_record *x = a, *y = b;
    bool x_damaged = x->state == SALVAGE_DAMAGED, y_damaged = y->state == SALVAGE_DAMAGED;

    if (x->grain != y->grain) {
        return x->grain < y->grain ? -1 : 1;
    }
    if (x_damaged != y_damaged) {
        return x_damaged ? 1 : -1;
    }
    if (x->place != y->place) {
        return x->place < y->place ? -1 : 1;
    }
    return x->sector < y->sector ? -1 : x->sector > y->sector;
}

/** The best of n records of the same grain, which are sorted. */
static VixError choose(struct walk *k, struct salvage_record *r, size_t n, struct salvage_record *ret, struct err *err)
{
    *ret = r[0];
    for (size_t i = 0; n > 1 && i < n; i++) {
        VixError code = r[i].state == SALVAGE_DAMAGED ? VIX_E_DISK_NEEDSREPAIR : VIX_OK;
        if (r[i].state == SALVAGE_BELIEVED) {
            code = salvage_inflate(k->f, k->w, &r[i], k->w->grain, err);
        }
        if (code != VIX_E_DISK_NEEDSREPAIR) {
            *ret = r[i];
            return code;
        }
    }
    ret->state = n > 1 ? SALVAGE_DAMAGED : ret->state;
    return VIX_OK;
}

/** Whether record i of n, in the order of the file, names a grain that does not fit to those around it. */
static bool is_stray(const struct salvage_record *r, size_t n, size_t i)
{
    if (n < 3) {
        return false;
    }
    if (i == 0) {
        return r[1].grain < r[2].grain && r[0].grain >= r[2].grain;
    }
    if (i == n - 1) {
        return r[i - 2].grain < r[i - 1].grain && r[i].grain <= r[i - 2].grain;
    }
    return r[i - 1].grain < r[i + 1].grain && (r[i].grain < r[i - 1].grain || r[i].grain > r[i + 1].grain);
}

static enum salvage_place place_of(const struct salvage_record *r, size_t n, size_t i)
{
    bool joins = (i > 0 && r[i - 1].grain + 1 == r[i].grain) || (i + 1 < n && r[i].grain + 1 == r[i + 1].grain);

    return is_stray(r, n, i) ? SALVAGE_STRAY : joins ? SALVAGE_JOINS : SALVAGE_APART;
}

/** Sets the place of all records; leaves strays out where the file has an order. */
static void sort_out_strays(struct walk *k)
{
    struct salvage_record *r = k->r->at;
    size_t n = k->r->count, kept = 0;
    bool ordered = k->f->h.gd_sector == KDMV_GD_AT_END;

    for (size_t i = 0; i < n; i++) {
        r[i].place = (uint8_t)place_of(r, n, i);
    }
    for (size_t i = 0; i < n; i++) {
        if (!ordered || r[i].place != SALVAGE_STRAY) {
            r[kept++] = r[i];
        }
    }
    k->report->stray_records += n - kept;
    k->r->count = kept;
}

static VixError choose_all(struct walk *k, struct err *err)
{
    sort_out_strays(k);

    struct salvage_record *r = k->r->at;
    size_t n = k->r->count, kept = 0;
    VixError code = VIX_OK;

    if (n > 0) {
        qsort(r, n, sizeof *r, compare_records);
    }
    for (size_t i = 0, end; code == VIX_OK && i < n; i = end) {
        for (end = i + 1; end < n && r[end].grain == r[i].grain; end++) {
        }
        code = choose(k, r + i, end - i, &r[kept], err);
        if (r[kept].state != SALVAGE_DAMAGED) {
            k->report->grains++;
            k->report->end_sector = min_u64((r[kept].grain + 1) * k->f->h.grain_sectors, k->f->h.capacity);
        }
        k->report->stray_records += end - i - 1;
        kept++;
    }
    k->r->count = kept;
    return code;
}

/* ---- */

static VixError walk_all(struct walk *k, struct err *err)
{
    uint64_t sector = 1;

    /* the header's word for where records begin is no better than another */
    VixError code = search(k, 1, min_u64(max_u64(k->f->h.overhead_sectors, 1), k->end), false, &sector, err);
    while (code == VIX_OK && sector < k->end) {
        code = step(k, &sector, err);
    }
    return code == VIX_OK ? choose_all(k, err) : code;
}

VixError salvage_walk(struct stream_file *f, struct salvage_records *ret, struct salvage_report *report,
                      struct err *err)
{
    uint64_t len = atomic_load(&f->len);
    struct walk k = {
        .f = f,
        .r = ret,
        .report = report,
        .end = min_u64(div_up(len, SECTOR_SIZE), STREAM_MAX_FILE_SECTORS),
        .buf = alloc_aligned(4096, SCAN_SECTORS * SECTOR_SIZE, err),
        .doubt = DOUBT_FACTOR * min_u64(len, STREAM_MAX_FILE_SECTORS * SECTOR_SIZE) + DOUBT_BYTES,
    };
    VixError code = k.buf != NULL ? stream_window_new(f, &k.w, err) : VIX_E_OUT_OF_MEMORY;

    if (code == VIX_OK) {
        code = walk_all(&k, err);
    }
    stream_window_free(k.w);
    free(k.buf);
    return code;
}

VixError salvage_inflate(struct stream_file *f, struct stream_window *w, const struct salvage_record *r, uint8_t *out,
                         struct err *err)
{
    uint64_t ahead = (uint64_t)r->sector * SECTOR_SIZE + w->cap;
    uint32_t size;

    return stream_window_doubt(w, f, r->grain, r->sector, r->state == SALVAGE_RESIZED, ahead, out, &size, err);
}

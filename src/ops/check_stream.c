/* SPDX-License-Identifier: BSD-3-Clause */
/* check_stream.c - the pass over streamOptimized files. Invariants: header and footer agree; directory and tables lie
 * inside the file; each entry leads to a record that names the grain, has a possible size and ends inside the file; a
 * sector of zeros ends the stream; a reader from a pipe meets the records that tables name, and no others. Grains in
 * ascending order are what importers want. With CHECK_DEEP the data of every grain is inflated, which verifies its
 * checksum: on several threads, which only read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/check_int.h"
#include "vmdk/stream_file.h"
#include "vmdk/stream_format.h"
#include "vmdk/stream_record.h"
#include "vmdk/stream_walk.h"
#include "work/work.h"

#define MAX_TABLES (UINT64_C(1) << 21)        /* limit: grain tables of a streamOptimized file that is checked */
#define TABLE_CACHE_BYTES (UINT64_C(1) << 16) /* tables are read here, not through the cache */
#define DEEP_GRAINS 128u                      /* inflated as one piece of work */
#define DEEP_THREADS_MAX 16u                  /* own: threads */

struct stream_check {
    struct check_file *f;
    struct stream_file *file;
    uint32_t *gd;
    uint8_t *table;
    uint64_t grain_count;
    uint64_t data_end; /* bytes: what the stream consists of ends here */
    bool ended;        /* the sector of zeros behind it is there */
    uint64_t last;     /* entry of the grain before */
    uint64_t out_of_order, first_out_of_order;
    uint64_t past_end, allocated;
    uint64_t known; /* bytes behind overHead: of records that tables name, and of tables, directory and footer */
    uint64_t known_records, known_tables; /* where the last of them ends: what lies before it is not counted again */
    uint64_t unlisted, first_unlisted, unlisted_off;
    uint64_t last_listed; /* the largest entry */
    uint64_t met;         /* records that tables name, on the way of a reader from a pipe */
    uint64_t last_met;    /* sector of the last of them */
    bool walked, way_is_clear, footer_met;
};

/** Looks at a table entry that is not 0. */
typedef VixError visit_func(void *ctx, uint64_t grain, uint32_t entry, struct err *err);

static uint64_t grain_sectors(const struct stream_check *k)
{
    return k->file->h.grain_sectors;
}

/* ---- header and footer ---- */

static VixError tell_unopened(struct stream_check *k, VixError code, const struct err *why, struct err *err)
{
    struct check_file *f = k->f;

    switch (code) {
    case VIX_E_DISK_NEEDSREPAIR:
        (void)check_found(f->c, PROBLEM_STREAM_TRUNCATED, f->len, f->first, f->nsectors, "%s", why->text);
        return VIX_OK;
    case VIX_E_DISK_INVALIDDISK:
    case VIX_E_DISK_INVAL:
    case VIX_E_DISK_UNSUPPORTEDDISKVERSION:
    case VIX_E_DISK_NOTSUPPORTED:
        (void)check_found(f->c, PROBLEM_HEADER_INVALID, 0, f->first, f->nsectors, "%s", why->text);
        return VIX_OK;
    default:
        return err_set(err, code, "%s", why->text);
    }
}

/** The descriptor's place is the front header's alone: a replacement that was cut short leaves it elsewhere. */
static void compare_headers(struct stream_check *k, const struct sparse_header *front)
{
    const struct sparse_header *foot = &k->file->h;
    const struct {
        const char *name;
        uint64_t front, foot;
    } fields[] = {
        {"capacity", front->capacity, foot->capacity},
        {"grainSize", front->grain_sectors, foot->grain_sectors},
        {"numGTEsPerGT", front->gtes_per_gt, foot->gtes_per_gt},
        {"flags", front->flags, foot->flags},
        {"compressAlgorithm", front->compress_algorithm, foot->compress_algorithm},
    };

    for (unsigned i = 0; k->file->footer_form && i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].front != fields[i].foot) {
            (void)check_found(k->f->c, PROBLEM_FOOTER, k->file->footer_sector * SECTOR_SIZE, 0, 0,
                              "%s is %" PRIu64 " in the header, %" PRIu64 " in the footer", fields[i].name,
                              fields[i].front, fields[i].foot);
        }
    }
}

/** In front of a directory that stands behind the grains. */
static VixError check_directory_marker(struct stream_check *k, struct err *err)
{
    uint64_t off = (k->file->h.gd_sector - 1) * SECTOR_SIZE;
    uint8_t bytes[16];

    if (!k->file->footer_form) {
        return VIX_OK;
    }
    VixError code = check_read_padded(k->f->store, bytes, sizeof bytes, off, err);
    struct stream_marker m = stream_marker_decode(bytes);
    if (code == VIX_OK && (m.size != 0 || m.type != STREAM_GD)) {
        (void)check_found(k->f->c, PROBLEM_METADATA_MARKER, off, 0, 0,
                          "in front of the directory stands size %" PRIu32 " and type %" PRIu32
                          ", a marker there has 0 and %d",
                          m.size, m.type, STREAM_GD);
    }
    return code;
}

/** Counts sectors of metadata; behind overHead they have a marker. */
static void know(struct stream_check *k, uint64_t sector, uint64_t nsectors)
{
    if (sector >= k->file->h.overhead_sectors) {
        k->known += (nsectors + 1) * SECTOR_SIZE;
    }
}

static VixError open_stream(struct stream_check *k, bool *ret_go, struct err *err)
{
    struct check_file *f = k->f;
    uint8_t sector[SECTOR_SIZE];
    struct sparse_header front;
    struct err why;

    err_init(&why);
    VixError code = stream_file_open(f->store, TABLE_CACHE_BYTES, &k->file, &why);
    if (code != VIX_OK) {
        return tell_unopened(k, code, &why, err);
    }
    code = check_read_padded(f->store, sector, sizeof sector, 0, err);
    if (code == VIX_OK && sparse_header_parse(sector, f->store->path, &front, NULL) == VIX_OK) {
        compare_headers(k, &front);
    }
    if (code == VIX_OK) {
        code = check_directory_marker(k, err);
    }
    if (code == VIX_OK) {
        check_capacity(f, k->file->h.capacity, max_u64(grain_sectors(k), KDMV_DEFAULT_GRAIN));
        code = stream_file_load_gd(k->file, MAX_TABLES, &k->gd, err);
    }
    k->grain_count = div_up(k->file->h.capacity, grain_sectors(k));
    k->data_end = max_u64(k->file->h.overhead_sectors, k->file->h.gd_sector + k->file->h.gd_sectors);
    k->data_end = max_u64(k->data_end, k->file->footer_form ? k->file->footer_sector + 1 : 0) * SECTOR_SIZE;
    k->data_end = min_u64(k->data_end, f->len);
    know(k, k->file->h.gd_sector, k->file->h.gd_sectors);
    know(k, k->file->footer_sector, 1);
    *ret_go = code == VIX_OK;
    return code;
}

/* ---- tables ---- */

static bool is_grain_entry(const struct stream_check *k, uint32_t entry)
{
    bool zero = entry == 1 && (k->file->h.flags & KDMV_FLAG_ZERO_GTE) != 0;
    return entry != 0 && !zero;
}

/** A table that is inside the file, or nothing. */
static bool check_table_place(struct stream_check *k, uint64_t gt, bool tells)
{
    uint64_t gde = k->gd[gt], covers = k->file->h.gtes_per_gt * grain_sectors(k);
    uint64_t end = (gde + k->file->h.gt_sectors) * SECTOR_SIZE;

    if (gde == 0 || sparse_table_is_zeros(&k->file->h, gde)) {
        return false;
    }
    if (gde > GDE_ALL_ZERO && end <= k->f->len) {
        k->data_end = max_u64(k->data_end, end);
        if (tells && gde >= k->known_tables) {
            know(k, gde, k->file->h.gt_sectors);
            k->known_tables = gde + k->file->h.gt_sectors;
        }
        return true;
    }
    if (tells) {
        (void)check_found(k->f->c, PROBLEM_TABLE_LOST, k->file->h.gd_sector * SECTOR_SIZE + gt * 4,
                          k->f->first + gt * covers, check_clip(k->f, gt * covers, covers),
                          "grain table %" PRIu64 " is at sector %" PRIu64 ", the file has %" PRIu64 " bytes", gt, gde,
                          k->f->len);
    }
    return false;
}

static VixError walk(struct stream_check *k, bool tells, visit_func *visit, void *ctx, struct err *err)
{
    uint64_t per_table = k->file->h.gtes_per_gt;
    VixError code = VIX_OK;

    for (uint64_t gt = 0; code == VIX_OK && gt < k->file->h.gt_count; gt++) {
        if (!check_table_place(k, gt, tells)) {
            continue;
        }
        uint64_t n = min_u64(per_table, k->grain_count - gt * per_table);
        code = store_read(k->f->store, k->table, per_table * 4, (uint64_t)k->gd[gt] * SECTOR_SIZE, err);
        for (uint64_t i = 0; code == VIX_OK && i < per_table; i++) {
            uint32_t entry = get_le32(k->table + 4 * i);
            if (entry != 0 && i >= n) {
                k->past_end += tells;
            } else if (is_grain_entry(k, entry)) {
                code = visit(ctx, gt * per_table + i, entry, err);
            }
        }
    }
    return code;
}

/* ---- records ---- */

/** What can be wrong with the head of a record. */
struct record_fault {
    enum problem_code code; /* 0: nothing */
    uint64_t found, limit;
    uint64_t end; /* bytes */
};

/** Looks at the head of a record; any thread. */
static VixError look_at_record(const struct stream_check *k, uint64_t grain, uint32_t entry, struct record_fault *ret_r,
                               struct err *err)
{
    uint64_t off = (uint64_t)entry * SECTOR_SIZE;
    uint32_t head = k->file->markers ? STREAM_MARKER_BYTES : STREAM_LENGTH_BYTES;
    uint8_t bytes[STREAM_MARKER_BYTES];

    *ret_r = (struct record_fault){0};
    if (entry < k->file->h.overhead_sectors || entry < 2 || off + head > k->f->len) {
        *ret_r = (struct record_fault){PROBLEM_ENTRY_OUTSIDE, entry, k->f->len / SECTOR_SIZE, 0};
        return VIX_OK;
    }
    VixError code = store_read(k->f->store, bytes, head, off, err);
    if (code != VIX_OK) {
        return code;
    }
    uint32_t size = get_le32(bytes + head - 4);
    if (k->file->markers && get_le64(bytes) != grain * grain_sectors(k)) {
        *ret_r = (struct record_fault){PROBLEM_MARKER, get_le64(bytes), grain * grain_sectors(k), 0};
    } else if (size == 0 || size > stream_max_size(grain_sectors(k))) {
        *ret_r = (struct record_fault){PROBLEM_RECORD_SIZE, size, stream_max_size(grain_sectors(k)), 0};
    } else if (off + head + size > k->f->len) {
        *ret_r = (struct record_fault){PROBLEM_RECORD_OUTSIDE, off + head + size, k->f->len, 0};
    } else {
        ret_r->end = off + round_up((uint64_t)head + size, SECTOR_SIZE);
    }
    return VIX_OK;
}

static void tell_record(struct stream_check *k, uint64_t grain, uint32_t entry, const struct record_fault *r)
{
    struct check_file *f = k->f;
    const char *what = r->code == PROBLEM_ENTRY_OUTSIDE ? "its entry is a sector outside of the grains of the file"
                       : r->code == PROBLEM_MARKER      ? "its record names another sector of the disk"
                       : r->code == PROBLEM_RECORD_SIZE ? "its record has an impossible size"
                                                        : "its record ends beyond the file";
    uint64_t sector = grain * grain_sectors(k);

    (void)check_found(f->c, r->code, (uint64_t)entry * SECTOR_SIZE, f->first + sector,
                      check_clip(f, sector, grain_sectors(k)),
                      "grain %" PRIu64 " at sector %" PRIu32 " of the file: %s: found %" PRIu64 ", limit %" PRIu64,
                      grain, entry, what, r->found, r->limit);
}

static VixError visit_record(void *ctx, uint64_t grain, uint32_t entry, struct err *err)
{
    struct stream_check *k = ctx;
    struct record_fault r;

    VixError code = look_at_record(k, grain, entry, &r, err);
    if (code != VIX_OK) {
        return code;
    }
    if (r.code != 0) {
        tell_record(k, grain, entry, &r);
        return VIX_OK;
    }
    k->allocated++;
    if ((uint64_t)entry * SECTOR_SIZE >= k->known_records) {
        k->known += r.end - (uint64_t)entry * SECTOR_SIZE;
        k->known_records = r.end;
    }
    k->data_end = max_u64(k->data_end, min_u64(r.end, k->f->len));
    if (entry < k->last) {
        k->first_out_of_order = k->out_of_order == 0 ? grain : k->first_out_of_order;
        k->out_of_order++;
    }
    k->last = entry;
    k->last_listed = max_u64(k->last_listed, entry);
    return VIX_OK;
}

/* ---- records that no table names ---- */

/** Looks up a record that is in the file; one that no table leads to is noted. */
static VixError look_up(struct stream_check *k, const struct stream_item *item, struct err *err)
{
    uint64_t grain = item->sector / grain_sectors(k);
    uint32_t entry = 0, n;
    VixError code = stream_file_entries(k->file, NULL, grain, 1, &entry, &n, err);

    if (code == VIX_E_DISK_NEEDSREPAIR) {
        return VIX_OK; /* told before */
    }
    if (code == VIX_OK && item->off == (uint64_t)entry * SECTOR_SIZE) {
        k->met++;
        k->last_met = entry;
    } else if (code == VIX_OK) {
        k->first_unlisted = k->unlisted == 0 ? grain : k->first_unlisted;
        k->unlisted_off = k->unlisted == 0 ? item->off : k->unlisted_off;
        k->unlisted++;
    }
    return code;
}

/** Bytes of the payload that may follow a progress marker, which are no record. */
static VixError payload_of(struct stream_check *k, const struct stream_item *item, uint64_t *ret_len, struct err *err)
{
    uint8_t bytes[8];
    VixError code = store_read(k->f->store, bytes, sizeof bytes, item->off, err);

    if (code == VIX_OK) {
        uint64_t sectors = get_le64(bytes);
        *ret_len = sectors <= STREAM_PAYLOAD_SECTORS_MAX ? sectors * SECTOR_SIZE : 0;
    }
    return code;
}

/** Goes from record to record as a reader from a pipe does, up to the end of the stream or what is no record. */
static VixError walk_records(struct stream_check *k, struct stream_walk *w, struct err *err)
{
    uint64_t payload = 0;
    VixError code = VIX_OK;

    k->walked = true;
    while (code == VIX_OK) {
        struct stream_item item;
        bool more;
        code = stream_walk_next(w, &item, &more, err);
        if (code != VIX_OK || !more || item.kind == STREAM_ITEM_END) {
            k->way_is_clear = code == VIX_OK;
            break;
        }
        if (item.kind == STREAM_ITEM_CUT || (item.kind == STREAM_ITEM_JUNK && payload > w->size - item.off)) {
            break;
        }
        if (item.kind == STREAM_ITEM_JUNK) {
            if (payload == 0) {
                break;
            }
            w->pos = item.off + payload;
        }
        payload = 0;
        k->footer_met = k->footer_met || item.kind == STREAM_ITEM_FOOTER;
        if (item.kind == STREAM_ITEM_GRAIN) {
            code = look_up(k, &item, err);
        } else if (item.kind == STREAM_ITEM_PROGRESS) {
            code = payload_of(k, &item, &payload, err);
        }
    }
    return code;
}

/** Looks for what a pipe gives and no table knows, and the other way round: where the file is longer than what the
 * tables lead to, or everything is looked at. */
static VixError find_unlisted(struct stream_check *k, struct err *err)
{
    const struct sparse_header *h = &k->file->h;
    CLEANUP_FREE struct stream_walk *w = alloc_zero(sizeof *w, err);

    if (w == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = stream_walk_begin(k->f->store, w, err);
    if (code != VIX_OK) {
        return code == VIX_E_DISK_NOTSUPPORTED ? VIX_OK : code; /* no markers: no pipe can read it either */
    }
    bool same = w->h.capacity == h->capacity && w->h.grain_sectors == h->grain_sectors; /* else told before */
    uint64_t end_of_stream = k->ended ? SECTOR_SIZE : 0,
             found = w->h.overhead_sectors * SECTOR_SIZE + k->known + end_of_stream;
    bool wanted = k->f->len > found || (k->f->c->flags & CHECK_DEEP) != 0;
    return same && wanted ? walk_records(k, w, err) : VIX_OK;
}

/* ---- the data of grains ---- */

/** Some grains that one thread inflates. */
struct deep_slot {
    struct stream_window *window;
    unsigned count;
    uint64_t grain[DEEP_GRAINS];
    uint32_t entry[DEEP_GRAINS];
    bool damaged[DEEP_GRAINS];
};

struct deep {
    struct stream_check *k;
    struct work_pipe *pipe;
    struct deep_slot *filling;
};

static void deep_slot_free(void *ctx, void *slot)
{
    struct deep_slot *s = slot;

    (void)ctx;
    if (s != NULL) {
        stream_window_free(s->window);
        free(s);
    }
}

static VixError deep_slot_new(void *ctx, void **ret_slot, struct err *err)
{
    struct deep *d = ctx;
    struct deep_slot *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = stream_window_new(d->k->file, &s->window, err);
    if (code != VIX_OK) {
        deep_slot_free(ctx, s);
        return code;
    }
    *ret_slot = s;
    return VIX_OK;
}

static VixError deep_process(void *ctx, void *slot, struct err *err)
{
    struct deep *d = ctx;
    struct deep_slot *s = slot;
    struct stream_window *w = s->window;

    for (unsigned i = 0; i < s->count; i++) {
        uint64_t ahead = (uint64_t)s->entry[i] * SECTOR_SIZE + w->cap;
        VixError code = stream_window_grain(w, d->k->file, s->grain[i], s->entry[i], ahead, w->grain, err);
        s->damaged[i] = code == VIX_E_DISK_NEEDSREPAIR;
        if (code != VIX_OK && !s->damaged[i]) {
            return code;
        }
    }
    return VIX_OK;
}

static VixError deep_commit(void *ctx, void *slot, struct err *err)
{
    struct deep *d = ctx;
    struct deep_slot *s = slot;
    struct stream_check *k = d->k;

    for (unsigned i = 0; i < s->count; i++) {
        struct record_fault r;
        VixError code = s->damaged[i] ? look_at_record(k, s->grain[i], s->entry[i], &r, err) : VIX_OK;
        if (code != VIX_OK) {
            return code;
        }
        if (s->damaged[i] && r.code == 0) { /* faults of the record's head were told before */
            uint64_t sector = s->grain[i] * grain_sectors(k);
            (void)check_found(k->f->c, PROBLEM_GRAIN_DAMAGED, (uint64_t)s->entry[i] * SECTOR_SIZE, k->f->first + sector,
                              check_clip(k->f, sector, grain_sectors(k)),
                              "grain %" PRIu64 " at sector %" PRIu32 " of the file does not inflate to a whole grain",
                              s->grain[i], s->entry[i]);
        }
    }
    return VIX_OK;
}

static const struct work_pipe_ops deep_ops = {
    .slot_new = deep_slot_new,
    .slot_free = deep_slot_free,
    .process = deep_process,
    .commit = deep_commit,
};

static VixError visit_deep(void *ctx, uint64_t grain, uint32_t entry, struct err *err)
{
    struct deep *d = ctx;
    void *slot = d->filling;
    VixError code = slot == NULL ? work_pipe_slot(d->pipe, &slot, err) : VIX_OK;

    if (code != VIX_OK) {
        return code;
    }
    struct deep_slot *s = slot;
    if (d->filling == NULL) {
        s->count = 0;
        d->filling = s;
    }
    s->grain[s->count] = grain;
    s->entry[s->count++] = entry;
    if (s->count == DEEP_GRAINS) {
        d->filling = NULL;
        work_pipe_push(d->pipe, s);
    }
    return VIX_OK;
}

static VixError inflate_all(struct stream_check *k, struct err *err)
{
    struct deep d = {.k = k};
    unsigned threads = work_default_threads();

    threads = threads > DEEP_THREADS_MAX ? DEEP_THREADS_MAX : threads;
    VixError code = work_pipe_new(&deep_ops, &d, threads, threads + 2, &d.pipe, err);
    if (code != VIX_OK) {
        return code;
    }
    code = walk(k, false, visit_deep, &d, err);
    if (code == VIX_OK && d.filling != NULL) {
        work_pipe_push(d.pipe, d.filling);
    }
    if (code == VIX_OK) {
        code = work_pipe_drain(d.pipe, err);
    }
    work_pipe_free(d.pipe);
    return code;
}

/* ---- the end ---- */

static VixError is_zero_sector(struct stream_check *k, uint64_t off, bool *ret_zero, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];

    *ret_zero = false;
    if (off + SECTOR_SIZE > k->f->len) {
        return VIX_OK;
    }
    VixError code = store_read(k->f->store, sector, sizeof sector, off, err);
    *ret_zero = code == VIX_OK && bytes_are_zero(sector, sizeof sector);
    return code;
}

/** Adds the sector of zeros. A footer is looked for from the end on, over zeros only: a part of a sector that follows
 * it must not become one. */
static VixError add_end(struct stream_check *k, uint64_t last, struct err *err)
{
    struct store *store = k->f->store;
    uint64_t size = k->file->footer_form ? last : round_up(k->f->len, SECTOR_SIZE);
    VixError code = size < k->f->len ? store->ops->truncate(store, size, err) : VIX_OK;

    if (code == VIX_OK) {
        code = store->ops->truncate(store, size + SECTOR_SIZE, err);
    }
    return code == VIX_OK ? store->ops->flush(store, err) : code;
}

/** Looks for the sector of zeros behind everything; or, where more follows that no table knows, at the end of the file.
 */
static VixError find_end(struct stream_check *k, struct err *err)
{
    uint64_t end = round_up(k->data_end, SECTOR_SIZE), last = k->f->len / SECTOR_SIZE * SECTOR_SIZE;
    VixError code = is_zero_sector(k, end, &k->ended, err);

    if (code == VIX_OK && !k->ended && last > end) {
        code = is_zero_sector(k, last - SECTOR_SIZE, &k->ended, err);
    }
    return code;
}

static VixError check_end(struct stream_check *k, struct err *err)
{
    struct check_file *f = k->f;
    uint64_t end = round_up(k->data_end, SECTOR_SIZE), last = f->len / SECTOR_SIZE * SECTOR_SIZE;

    if (k->ended) {
        return VIX_OK;
    }
    bool fix = check_found(f->c, PROBLEM_END_OF_STREAM, end, 0, 0,
                           "behind the last record, at byte %" PRIu64 " of %" PRIu64 ", stands no sector of zeros", end,
                           f->len);
    if (!fix || check_is_hurt(f->c)) {
        f->c->withheld = f->c->withheld || fix;
        return VIX_OK;
    }
    return add_end(k, last, err);
}

/** Records that a reader from a pipe does not get: he may take the stream for complete, or notice. */
static void tell_way(struct stream_check *k)
{
    bool all = k->met == k->allocated;
    bool seems_whole = k->file->footer_form
                           ? k->footer_met
                           : k->last_met >= k->last_listed || k->file->h.gd_sector >= k->file->h.overhead_sectors;

    if (k->walked && k->way_is_clear && seems_whole && !all) {
        (void)check_found(k->f->c, PROBLEM_RECORD_HIDDEN, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " of %" PRIu64
                          " grains have their records where a reader from a pipe does not meet them, who takes the "
                          "stream for complete",
                          k->allocated - k->met, k->allocated);
    } else if (k->walked && !check_is_hurt(k->f->c) &&
               (!k->way_is_clear || !all || (k->file->footer_form && !k->footer_met))) {
        (void)check_found(k->f->c, PROBLEM_NO_STREAM, CHECK_NOWHERE, 0, 0,
                          "what is no record lies on the way from the first record to the end: of %" PRIu64
                          " grains a reader from a pipe would get %" PRIu64 ", and then fail",
                          k->allocated, k->met);
    }
}

static void tell_counts(struct stream_check *k)
{
    struct check *c = k->f->c;

    c->sum.grains += k->grain_count;
    c->sum.allocated_grains += k->allocated;
    if (k->past_end > 0) {
        (void)check_found(c, PROBLEM_ENTRIES_PAST_END, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " entries of the last grain table cover nothing of the disk and are not 0",
                          k->past_end);
    }
    if (k->unlisted > 0) {
        uint64_t sector = k->first_unlisted * grain_sectors(k);
        (void)check_found(c, PROBLEM_RECORD_UNLISTED, k->unlisted_off, k->f->first + sector,
                          check_clip(k->f, sector, grain_sectors(k)),
                          "%" PRIu64 " grains, the first of them number %" PRIu64
                          ", have records that the tables do not lead to: who reads the file from a pipe gets them; "
                          "vixdisk convert --salvage recovers them",
                          k->unlisted, k->first_unlisted);
    }
    if (k->out_of_order > 0) {
        (void)check_found(c, PROBLEM_ORDER, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " grains, the first of them number %" PRIu64
                          ", lie before the grain before them; importers want them in order",
                          k->out_of_order, k->first_out_of_order);
    }
    tell_way(k);
}

static VixError check_all(struct stream_check *k, struct err *err)
{
    bool go = false;
    VixError code = open_stream(k, &go, err);

    if (code != VIX_OK || !go) {
        return code;
    }
    k->table = alloc_aligned(4096, k->file->h.gt_sectors * SECTOR_SIZE, err);
    if (k->table == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = walk(k, true, visit_record, k, err);
    if (code == VIX_OK && (k->f->c->flags & CHECK_DEEP) != 0) {
        code = inflate_all(k, err);
    }
    if (code == VIX_OK) {
        code = find_end(k, err);
    }
    if (code == VIX_OK) {
        code = find_unlisted(k, err);
    }
    if (code == VIX_OK) {
        tell_counts(k);
        code = check_end(k, err);
    }
    return code;
}

VixError check_stream(struct check_file *f, struct err *err)
{
    struct stream_check k = {.f = f};
    VixError code = check_all(&k, err);

    free(k.gd);
    free(k.table);
    stream_file_close(k.file);
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmdk/descriptor_area.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/descriptor.h"
#include "vmdk/sparse_header.h"

#define HOME_OFF SECTOR_SIZE /* behind the header: where every writer that is known puts the descriptor */

/** A replacement at work. */
struct replacement {
    struct store *store;
    struct extent *x; /* held; NULL: none */
    struct sparse_header h;
    struct descriptor_area now, home; /* where the text is, and where it belongs */
    char *bytes;                      /* the new text, home.max bytes of it with zeros */
    uint64_t len;                     /* of it, in whole sectors */
    uint64_t spare_end;               /* the file up to here is in use if this fails: the header may point there */
};

static struct descriptor_area area_of(uint64_t first, uint64_t nsectors)
{
    return (struct descriptor_area){.off = first * SECTOR_SIZE, .max = nsectors * SECTOR_SIZE};
}

static bool is_compressed(const struct replacement *r)
{
    return (r->h.flags & KDMV_FLAG_COMPRESSED) != 0;
}

static VixError write_flushed(struct store *store, const void *bytes, uint64_t len, uint64_t off, struct err *err)
{
    VixError code = store_write(store, bytes, len, off, err);
    return code == VIX_OK ? store->ops->flush(store, err) : code;
}

/** Makes the header point at a place for the descriptor, on stable storage. */
static VixError point_at(struct replacement *r, const struct descriptor_area *to, struct err *err)
{
    uint64_t first = to->off / SECTOR_SIZE, nsectors = to->max / SECTOR_SIZE;
    uint8_t sector[SECTOR_SIZE];
    VixError code;

    if (r->x != NULL) {
        code = extent_sparse_point_at_descriptor(r->x, first, nsectors, err);
    } else {
        code = store_read(r->store, sector, sizeof sector, 0, err);
        if (code == VIX_OK) {
            sparse_header_set_descriptor(sector, first, nsectors);
            code = write_flushed(r->store, sector, sizeof sector, 0, err);
        }
    }
    if (code == VIX_OK) {
        r->now = *to;
    }
    return code;
}

/* ---- where the text belongs ---- */

/** Whether sectors behind the header hold nothing but the descriptor, as far as the header and their beginning tell. */
static bool is_descriptors_own(struct replacement *r, uint64_t nsectors)
{
    const struct sparse_header *h = &r->h;
    char sector[SECTOR_SIZE];

    if (h->capacity != 0 &&
        (h->gd_sector <= nsectors || h->overhead_sectors <= nsectors ||
         (!is_compressed(r) && (h->flags & KDMV_FLAG_REDUNDANT) != 0 && h->rgd_sector <= nsectors))) {
        return false;
    }
    return store_read(r->store, sector, sizeof sector, HOME_OFF, NULL) == VIX_OK &&
           descriptor_looks_like(sector, sizeof sector);
}

/** Where the header points at a spare place, a replacement was cut short: the text belongs behind the header. */
static void find_home(struct replacement *r)
{
    uint64_t first = r->h.descriptor_sector, n = r->h.descriptor_sectors, overhead = r->h.overhead_sectors;
    bool second_half = first == 1 + n && 2 * n <= KDMV_MAX_DESCRIPTOR_SECTORS;
    bool elsewhere = is_compressed(r) ? first + n == overhead : first >= overhead;

    r->home = r->now;
    n = second_half ? 2 * n : n;
    if (first != 1 && (second_half || elsewhere) && is_descriptors_own(r, n)) {
        r->home = area_of(1, n);
    }
}

static VixError look_at_header(struct replacement *r, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    VixError code = store_read(r->store, sector, sizeof sector, 0, err);

    if (code == VIX_OK) {
        code = sparse_header_parse(sector, r->store->path, &r->h, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (r->h.descriptor_sector == 0 || r->h.descriptor_sectors == 0) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: the header names no place for a descriptor", r->store->path);
    }
    r->now = area_of(r->h.descriptor_sector, r->h.descriptor_sectors);
    find_home(r);
    if (r->h.capacity != 0 && sparse_header_descriptor_meets_grains(&r->h)) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: the header's place for the descriptor, %" PRIu64 " sectors at sector %" PRIu64
                       ", reaches into the grains, which begin at sector %" PRIu64,
                       r->store->path, r->h.descriptor_sectors, r->h.descriptor_sector, r->h.overhead_sectors);
    }
    return VIX_OK;
}

/* ---- spare places ---- */

/** Half of an area, in whole sectors. */
static uint64_t half_of(const struct descriptor_area *area)
{
    return area->max / SECTOR_SIZE / 2 * SECTOR_SIZE;
}

/** Before the first record of a streamOptimized file whose tables are at its end: nothing is there. */
static VixError before_records(struct replacement *r, struct descriptor_area *ret_spare, struct err *err)
{
    uint64_t n = r->home.max, overhead = r->h.overhead_sectors * SECTOR_SIZE;

    if (r->h.gd_sector != KDMV_GD_AT_END || r->home.off != HOME_OFF || overhead < r->home.off + 2 * n) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the changed descriptor has %" PRIu64 " sectors; what takes more than %" PRIu64
                       " cannot be replaced without the risk of losing it in this file",
                       r->store->path, r->len / SECTOR_SIZE, half_of(&r->home) / SECTOR_SIZE);
    }
    *ret_spare = (struct descriptor_area){.off = overhead - n, .max = n};
    return VIX_OK;
}

/** Behind the end of the file, where no grain is, nor the rest of one that the file ends in. */
static VixError behind_file(struct replacement *r, struct descriptor_area *ret_spare, struct err *err)
{
    uint64_t size, unit = r->h.capacity == 0 ? SECTOR_SIZE : r->h.grain_sectors * SECTOR_SIZE;
    VixError code = r->store->ops->size(r->store, &size, err);

    if (code == VIX_OK) {
        uint64_t off = max_u64(round_up(size, unit), r->h.overhead_sectors * SECTOR_SIZE);
        *ret_spare = (struct descriptor_area){.off = off + (size % unit != 0 ? unit : 0), .max = r->home.max};
    }
    return code;
}

static VixError choose_spare(struct replacement *r, uint64_t old_len, struct descriptor_area *ret_spare,
                             struct err *err)
{
    uint64_t half = half_of(&r->home);

    if (r->now.off == r->home.off && r->home.off == HOME_OFF && r->len <= half && old_len < half) {
        *ret_spare = (struct descriptor_area){.off = r->home.off + half, .max = half};
        return VIX_OK;
    }
    return is_compressed(r) ? before_records(r, ret_spare, err) : behind_file(r, ret_spare, err);
}

static bool is_within(const struct descriptor_area *a, const struct descriptor_area *b)
{
    return a->off >= b->off && a->off + a->max <= b->off + b->max;
}

/** Gives a spare place back, unless something has come behind it. */
static VixError drop_spare(struct replacement *r, const struct descriptor_area *spare, struct err *err)
{
    if (is_within(spare, &r->home)) {
        return VIX_OK; /* written over with the rest of the text */
    }
    if (is_compressed(r)) {
        CLEANUP_FREE char *zeros = alloc_zero((size_t)spare->max, err);
        return zeros != NULL ? write_flushed(r->store, zeros, spare->max, spare->off, err) : VIX_E_OUT_OF_MEMORY;
    }
    uint64_t size;
    VixError code = r->store->ops->size(r->store, &size, err);
    if (code == VIX_OK && size == spare->off + spare->max) {
        code = r->store->ops->truncate(r->store, spare->off, err);
    }
    return code == VIX_OK ? r->store->ops->flush(r->store, err) : code;
}

/* ---- the steps ---- */

/** The number of sectors in which two areas differ, and the last of them. */
static uint64_t count_changes(const char *a, const char *b, uint64_t max, uint64_t *ret_last)
{
    uint64_t n = 0;

    for (uint64_t at = 0; at < max; at += SECTOR_SIZE) {
        if (memcmp(a + at, b + at, SECTOR_SIZE) != 0) {
            n++;
            *ret_last = at;
        }
    }
    return n;
}

/** Puts the text into a spare place. */
static VixError go_aside(struct replacement *r, uint64_t old_len, struct err *err)
{
    struct descriptor_area spare = {0};
    VixError code = choose_spare(r, old_len, &spare, err);

    if (code != VIX_OK) {
        return code;
    }
    code = write_flushed(r->store, r->bytes, spare.max, spare.off, err);
    if (code != VIX_OK) {
        (void)drop_spare(r, &spare, NULL);
        return code;
    }
    r->spare_end = spare.off + spare.max;
    return point_at(r, &spare, err);
}

/** The text is nowhere in the way of where it belongs. */
static VixError go_home(struct replacement *r, struct err *err)
{
    struct descriptor_area from = r->now;
    uint64_t first = is_within(&from, &r->home) ? from.off - r->home.off : r->home.max;
    VixError code = write_flushed(r->store, r->bytes, first, r->home.off, err);

    if (code == VIX_OK) {
        code = point_at(r, &r->home, err);
    }
    if (code == VIX_OK && first < r->home.max) {
        code = write_flushed(r->store, r->bytes + first, r->home.max - first, r->home.off + first, err);
    }
    return code == VIX_OK ? drop_spare(r, &from, err) : code;
}

static VixError replace(struct replacement *r, struct err *err)
{
    CLEANUP_FREE char *old = alloc_zero((size_t)r->now.max + 1, err);
    uint64_t got, last = 0, changes = UINT64_MAX;

    if (old == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(r->store, old, r->now.max, r->now.off, &got, err);
    if (code == VIX_OK && r->now.off == r->home.off) {
        changes = count_changes(r->bytes, old, r->home.max, &last);
    }
    if (code != VIX_OK || changes == 0) {
        return code == VIX_OK ? r->store->ops->flush(r->store, err) : code;
    }
    if (changes == 1) {
        return write_flushed(r->store, r->bytes + last, SECTOR_SIZE, r->home.off + last, err);
    }
    if (r->now.off < r->home.off + r->len && r->home.off < r->now.off + r->now.max) {
        code = go_aside(r, strlen(old), err);
    }
    return code == VIX_OK ? go_home(r, err) : code;
}

static VixError save(struct replacement *r, const char *text, size_t len, struct err *err)
{
    VixError code = look_at_header(r, err);

    if (code != VIX_OK) {
        return code;
    }
    if (len + 1 > r->home.max) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the changed descriptor has %zu bytes, its place in the file holds %" PRIu64, r->store->path,
                       len, r->home.max - 1);
    }
    CLEANUP_FREE char *bytes = alloc_zero((size_t)r->home.max, err);
    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memcpy(bytes, text, len);
    r->bytes = bytes;
    r->len = round_up((uint64_t)len + 1, SECTOR_SIZE);
    return replace(r, err);
}

VixError descriptor_area_save(struct store *store, struct extent *x, const char *text, size_t len,
                              struct descriptor_area *ret_area, struct err *err)
{
    struct replacement r = {.store = store, .x = x != NULL && extent_is_sparse(x) ? x : NULL, .now = *ret_area};

    if (r.x != NULL) {
        extent_sparse_hold(r.x);
    }
    VixError code = save(&r, text, len, err);
    if (r.x != NULL) {
        extent_sparse_release(r.x, code == VIX_OK ? 0 : r.spare_end / SECTOR_SIZE);
    }
    *ret_area = r.now;
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmdk/descriptor_area.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmdk/sparse_header.h"

/** Makes the header point at a place for the descriptor, on stable storage. */
static VixError point_at(struct store *store, struct extent *x, uint64_t off, uint64_t max, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];

    if (x != NULL && extent_is_sparse(x)) {
        return extent_sparse_point_at_descriptor(x, off / SECTOR_SIZE, max / SECTOR_SIZE, err);
    }
    VixError code = store_read(store, sector, sizeof sector, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    sparse_header_set_descriptor(sector, off / SECTOR_SIZE, max / SECTOR_SIZE);
    code = store_write(store, sector, sizeof sector, 0, err);
    return code == VIX_OK ? store->ops->flush(store, err) : code;
}

static VixError write_flushed(struct store *store, const void *bytes, uint64_t len, uint64_t off, struct err *err)
{
    VixError code = store_write(store, bytes, len, off, err);
    return code == VIX_OK ? store->ops->flush(store, err) : code;
}

/** Whether the header points at the second half of an area as we make it, because a replacement was cut short there. */
static bool is_second_half(struct store *store, const struct descriptor_area *area)
{
    const uint64_t half = KDMV_DESCRIPTOR_SECTORS / 2, end = 1 + KDMV_DESCRIPTOR_SECTORS;
    uint8_t sector[SECTOR_SIZE];
    struct sparse_header h;

    return area->off == (1 + half) * SECTOR_SIZE && area->max == half * SECTOR_SIZE &&
           store_read(store, sector, sizeof sector, 0, NULL) == VIX_OK &&
           sparse_header_parse(sector, store->path, &h, NULL) == VIX_OK && h.gd_sector >= end &&
           ((h.flags & KDMV_FLAG_REDUNDANT) == 0 || h.rgd_sector >= end);
}

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

/** Both texts are in the first half of the area, of `half` bytes: the second is free. */
static VixError replace_by_halves(struct store *store, struct extent *x, const struct descriptor_area *area,
                                  const char *bytes, uint64_t half, struct err *err)
{
    VixError code = write_flushed(store, bytes, half, area->off + half, err);

    if (code == VIX_OK) {
        code = point_at(store, x, area->off + half, half, err);
    }
    if (code == VIX_OK) {
        code = write_flushed(store, bytes, half, area->off, err);
    }
    if (code == VIX_OK) {
        code = point_at(store, x, area->off, area->max, err);
    }
    return code == VIX_OK ? store_write(store, bytes + half, area->max - half, area->off + half, err) : code;
}

VixError descriptor_area_save(struct store *store, struct extent *x, struct descriptor_area *area, const char *text,
                              size_t len, struct err *err)
{
    const uint64_t canonical = KDMV_DESCRIPTOR_SECTORS * SECTOR_SIZE;
    bool second = is_second_half(store, area);
    uint64_t max = second ? canonical : area->max;

    if (len + 1 > max) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the changed descriptor has %zu bytes, its place in the file holds %" PRIu64, store->path,
                       len, max - 1);
    }
    CLEANUP_FREE char *bytes = alloc_zero((size_t)max, err), *old = alloc_zero((size_t)max + 1, err);
    if (bytes == NULL || old == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memcpy(bytes, text, len);
    uint64_t half = max / SECTOR_SIZE / 2 * SECTOR_SIZE, got, last = 0;
    if (second && len + 1 <= half) { /* the first half is free */
        VixError code = write_flushed(store, bytes, half, SECTOR_SIZE, err);
        if (code == VIX_OK) {
            code = point_at(store, x, SECTOR_SIZE, canonical, err);
        }
        if (code == VIX_OK) {
            *area = (struct descriptor_area){.off = SECTOR_SIZE, .max = canonical};
            code = write_flushed(store, bytes + half, max - half, area->off + half, err);
        }
        return code;
    }
    if (second) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: the changed descriptor has %zu bytes, allowed: %" PRIu64,
                       store->path, len, half - 1);
    }
    VixError code = store_read_some(store, old, max, area->off, &got, err);
    if (code != VIX_OK) {
        return code;
    }
    uint64_t changes = count_changes(bytes, old, max, &last);
    if (changes == 0) {
        return store->ops->flush(store, err);
    }
    if (changes == 1) {
        return write_flushed(store, bytes + last, SECTOR_SIZE, area->off + last, err);
    }
    if (len + 1 <= half && strlen(old) + 1 <= half) {
        code = replace_by_halves(store, x, area, bytes, half, err);
        return code == VIX_OK ? store->ops->flush(store, err) : code;
    }
    return write_flushed(store, bytes, max, area->off, err);
}

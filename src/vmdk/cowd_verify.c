/* SPDX-License-Identifier: BSD-3-Clause */
/* cowd_verify.c - what must be proved before a COWD extent is written to.
 *
 * Always, at the cost of the directory: tables lie inside the file, behind directory and header, and do not overlap.
 * After a crash (the unclean flag) also, at the cost of reading all tables: every grain lies inside the file, and no
 * grain overlaps another or a table. Where free space begins is not taken from the header, which a crash may have left
 * behind the truth. Runs while the extent is opened, on one thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/cowd_int.h"

#define TABLE_BYTES (COWD_GT_SECTORS * SECTOR_SIZE)
#define WINDOW_SECTORS (UINT64_C(1) << 29) /* of the file, looked at together: a bit each, 64 MiB of memory */

static VixError needs_repair(const struct cowd_extent *c, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static VixError needs_repair(const struct cowd_extent *c, struct err *err, const char *fmt, ...)
{
    va_list args;
    char why[ERR_TEXT_MAX / 2];

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return err_set(err, VIX_E_DISK_NEEDSREPAIR, "%s: not opened for writing: %s; see 'vixdisk check'",
                   c->g.x.store->path, why);
}

/* ---- tables ---- */

/* Where the tables are; *ret_tables is freed by the caller. */
struct table_list {
    uint32_t *sectors;
    size_t n;
};

static int by_sector(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static VixError list_tables(struct cowd_extent *c, struct table_list *list, struct err *err)
{
    for (uint64_t gt = 0; gt < c->h.gt_count; gt++) {
        uint64_t gde;
        VixError e = grain_tables_get(c->dir, gt, &gde, err);
        if (e != VIX_OK) {
            return e;
        }
        if (gde == GDE_ABSENT) {
            continue;
        }
        if (!cowd_table_is_inside(c, gde)) {
            return needs_repair(c, err,
                                "grain table %" PRIu64 " is said to be at sector %" PRIu64
                                ", allowed are sectors from %" PRIu64 " on of a file of %" PRIu64 " bytes",
                                gt, gde, c->g.first_grain_sector, atomic_load(&c->g.file_len));
        }
        list->sectors[list->n++] = (uint32_t)gde;
    }
    qsort(list->sectors, list->n, sizeof list->sectors[0], by_sector);
    return VIX_OK;
}

static VixError check_tables(struct cowd_extent *c, struct table_list *list, struct err *err)
{
    VixError e = list_tables(c, list, err);

    for (size_t i = 1; e == VIX_OK && i < list->n; i++) {
        if (list->sectors[i] - list->sectors[i - 1] < COWD_GT_SECTORS) {
            e = needs_repair(c, err, "two grain tables overlap: at sectors %" PRIu32 " and %" PRIu32,
                             list->sectors[i - 1], list->sectors[i]);
        }
    }
    return e;
}

/* ---- grains, after a crash ---- */

/* A part of the file, as large as memory allows, in which overlaps are looked for. */
struct window {
    struct cowd_extent *c;
    uint64_t first, end; /* sectors of the file */
    uint8_t *map;        /* a bit for each sector that is taken */
    uint8_t *table;
};

/* Notes what takes sectors of the window; false if some of them are taken. */
static bool occupy(struct window *w, uint64_t sector, uint64_t nsectors)
{
    uint64_t end = min_u64(sector + nsectors, w->end);

    for (uint64_t s = max_u64(sector, w->first); s < end; s++) {
        uint64_t i = s - w->first;
        uint8_t bit = (uint8_t)(1u << (i % 8));
        if ((w->map[i / 8] & bit) != 0) {
            return false;
        }
        w->map[i / 8] |= bit;
    }
    return true;
}

static VixError scan_entry(struct window *w, uint64_t gt, uint64_t index, uint32_t gte, struct err *err)
{
    const struct cowd_extent *c = w->c;
    uint64_t grain_sectors = c->h.grain_sectors;

    if (gte < c->g.first_grain_sector || gte * (uint64_t)SECTOR_SIZE >= atomic_load(&c->g.file_len) ||
        gte + grain_sectors > c->g.max_file_sectors) {
        return needs_repair(c, err,
                            "it was not closed cleanly, and entry %" PRIu64 " of grain table %" PRIu64 " is %" PRIu32
                            ", outside of %" PRIu64 " to %" PRIu64,
                            index, gt, gte, c->g.first_grain_sector, atomic_load(&c->g.file_len) / SECTOR_SIZE);
    }
    if (!occupy(w, gte, grain_sectors)) {
        return needs_repair(c, err,
                            "it was not closed cleanly, and the grain of entry %" PRIu64 " of grain table %" PRIu64
                            " at sector %" PRIu32 " overlaps another grain or a table",
                            index, gt, gte);
    }
    return VIX_OK;
}

static VixError scan_table(struct window *w, uint64_t gt, struct err *err)
{
    struct cowd_extent *c = w->c;
    uint64_t grains = div_up(c->h.capacity, c->h.grain_sectors), gde;
    uint64_t n = min_u64(COWD_GTES_PER_GT, grains - gt * COWD_GTES_PER_GT);
    VixError e = grain_tables_get(c->dir, gt, &gde, err);

    if (e != VIX_OK || gde == GDE_ABSENT) {
        return e;
    }
    e = store_read(c->g.x.store, w->table, TABLE_BYTES, gde * SECTOR_SIZE, err);
    for (uint64_t i = 0; e == VIX_OK && i < n; i++) {
        uint32_t gte = get_le32(w->table + 4 * i);
        if (gte != GTE_ABSENT) {
            e = scan_entry(w, gt, i, gte, err);
        }
    }
    return e;
}

static VixError scan_window(struct window *w, const struct table_list *list, struct err *err)
{
    VixError e = VIX_OK;

    memset(w->map, 0, div_up(w->end - w->first, 8));
    for (size_t i = 0; i < list->n; i++) {
        (void)occupy(w, list->sectors[i], COWD_GT_SECTORS); /* they do not overlap each other */
    }
    for (uint64_t gt = 0; e == VIX_OK && gt < w->c->h.gt_count; gt++) {
        e = scan_table(w, gt, err);
    }
    return e;
}

static VixError check_grains(struct cowd_extent *c, const struct table_list *list, struct err *err)
{
    uint64_t sectors = div_up(atomic_load(&c->g.file_len), SECTOR_SIZE) + c->h.grain_sectors;
    uint64_t end = min_u64(sectors, c->g.max_file_sectors);
    CLEANUP_FREE uint8_t *map = alloc_zero(div_up(min_u64(end, WINDOW_SECTORS), 8), err);
    CLEANUP_FREE uint8_t *table = alloc_zero(TABLE_BYTES, err);
    VixError e = map != NULL && table != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint64_t first = 0; e == VIX_OK && first < end; first += WINDOW_SECTORS) {
        struct window w = {
            .c = c, .first = first, .end = min_u64(end, first + WINDOW_SECTORS), .map = map, .table = table};
        e = scan_window(&w, list, err);
    }
    return e;
}

/* New space begins behind the end of the file, where nothing can be and everything reads as zeros: not within what may
 * be missing of the last grain. */
static void set_next_free(struct cowd_extent *c)
{
    uint64_t end = div_up(atomic_load(&c->g.file_len), SECTOR_SIZE) + c->h.grain_sectors - 1;

    c->g.next_free = max_u64(end, c->g.first_grain_sector);
}

VixError cowd_verify_for_write(struct cowd_extent *c, struct err *err)
{
    CLEANUP_FREE uint32_t *sectors = alloc_array(c->h.gt_count, sizeof(*sectors), err);
    struct table_list list = {sectors, 0};

    if (sectors == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError e = check_tables(c, &list, err);
    if (e == VIX_OK && c->h.unclean) {
        e = check_grains(c, &list, err);
        atomic_store(&c->g.marked, e == VIX_OK); /* the flag is there already; close clears it */
    }
    set_next_free(c);
    return e;
}

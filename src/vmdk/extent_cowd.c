/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_cowd.c - the COWD extent ("VMFSSPARSE"): opening, closing, where its tables are, making new ones. Knows
 * header, directory and tables, not the descriptor. The directory is cached as tables are, so opening costs the same
 * for any size of disk. Threads: see grain_extent.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "vmdk/cowd_int.h"

#define TABLES_PER_PAGE (GRAIN_PAGE_ENTRIES / COWD_GTES_PER_GT)
#define TABLE_BYTES (COWD_GT_SECTORS * SECTOR_SIZE)
#define DIRECTORY_CACHE_BYTES (UINT64_C(6) << 20) /* all of the largest directory: 2^20 entries */
#define ZERO_PIECE_SHIFT 3u /* zeros are looked for in pieces of 4 KiB: smaller ones would make a map of crumbs */

static const struct extent_ops cowd_ops;
static const struct grain_format cowd_format;

/* ---- tables ---- */

static VixError load_directory(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    const struct cowd_extent *c = ctx;
    uint64_t n = min_u64(GRAIN_PAGE_ENTRIES, c->h.gt_count - first_entry);
    uint64_t off = (uint64_t)c->h.gd_sector * SECTOR_SIZE + first_entry * 4;
    VixError e = store_read(c->g.x.store, buf, n * 4, off, err);

    if (e != VIX_OK) {
        err_prefix(err, "grain directory: ");
    }
    return e;
}

/* A table outside the file spoils only its own grains: they get an entry that no grain can have. */
static VixError load_table(struct cowd_extent *c, uint64_t gt, uint8_t *buf, struct err *err)
{
    uint64_t gde;
    VixError e = grain_tables_get(c->dir, gt, &gde, err);

    if (e != VIX_OK || gde == GDE_ABSENT) {
        return e;
    }
    if (!cowd_table_is_inside(c, gde)) {
        grain_fill_entries(buf, COWD_GTES_PER_GT, GTE_NO_TABLE);
        return VIX_OK;
    }
    return store_read(c->g.x.store, buf, TABLE_BYTES, gde * SECTOR_SIZE, err);
}

static VixError load_page(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    struct cowd_extent *c = cowd_of(ctx);
    uint64_t gt = first_entry / COWD_GTES_PER_GT;
    uint64_t end = min_u64(gt + TABLES_PER_PAGE, c->h.gt_count);
    VixError e = VIX_OK;

    for (; e == VIX_OK && gt < end; gt++, buf += TABLE_BYTES) {
        e = load_table(c, gt, buf, err);
        if (e != VIX_OK) {
            err_prefix(err, "grain table %" PRIu64 ": ", gt);
        }
    }
    return e;
}

static VixError cowd_bad_entry(struct grain_extent *g, uint64_t grain, uint64_t entry, struct err *err)
{
    struct cowd_extent *c = cowd_of(g);
    uint64_t gt = grain / COWD_GTES_PER_GT, len = atomic_load(&g->file_len), gde = 0;

    if (entry == GTE_NO_TABLE && grain_tables_get(c->dir, gt, &gde, NULL) == VIX_OK && gde != GDE_ABSENT &&
        !cowd_table_is_inside(c, gde)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain table %" PRIu64 " is said to be at sector %" PRIu64
                       ", allowed are sectors from %" PRIu64 " on of a file of %" PRIu64 " bytes",
                       g->x.store->path, gt, gde, g->first_grain_sector, len);
    }
    return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                   "%s: entry %" PRIu64 " of grain table %" PRIu64 " is %" PRIu64 ", allowed are sectors %" PRIu64
                   " to %" PRIu64 " of the file",
                   g->x.store->path, grain % COWD_GTES_PER_GT, gt, entry, g->first_grain_sector, len / SECTOR_SIZE);
}

/* Asked at the beginning of a table only: further in, the entries of its page are known to be zeros. */
static uint64_t cowd_known_absent(struct grain_extent *g, uint64_t grain)
{
    struct cowd_extent *c = cowd_of(g);
    uint64_t gt = grain / COWD_GTES_PER_GT, gde;

    if (grain % COWD_GTES_PER_GT != 0) {
        return 0;
    }
    if (grain_tables_get(c->dir, gt, &gde, NULL) != VIX_OK || gde != GDE_ABSENT) {
        return 0;
    }
    return max_u64(grain_tables_known_zeros(c->dir, gt), 1) * COWD_GTES_PER_GT;
}

/* ---- open and close ---- */

static void cowd_free(struct cowd_extent *c)
{
    grain_extent_done(&c->g);
    grain_tables_free(c->dir);
    free(c);
}

static VixError cowd_close(struct extent *x, struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);
    VixError e = x->writable ? grain_finish(g, err) : VIX_OK;

    cowd_free(cowd_of(g));
    return e;
}

static VixError read_header(struct cowd_extent *c, struct err *err)
{
    struct store *store = c->g.x.store;
    uint64_t got = 0;
    VixError e = store_read_some(store, c->header, sizeof c->header, 0, &got, err);

    if (e == VIX_OK && got < sizeof c->header) {
        e = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: only %" PRIu64 " bytes long, a COWD header has %zu", store->path,
                    got, sizeof c->header);
    }
    if (e == VIX_OK) {
        e = cowd_header_parse(c->header, store->path, &c->h, err);
    }
    return e == VIX_OK ? grain_refresh_file_len(&c->g, err) : e;
}

static VixError check_header(const struct cowd_extent *c, uint64_t line_sectors, struct err *err)
{
    const struct cowd_header *h = &c->h;
    uint64_t end = (uint64_t)h->gd_sector * SECTOR_SIZE + h->gt_count * 4, len = atomic_load(&c->g.file_len);

    if (line_sectors > 0 && (line_sectors > h->capacity || h->capacity - line_sectors >= h->grain_sectors)) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor gives this extent %" PRIu64 " sectors, its header %" PRIu32
                       ", allowed: the same, or less than a grain of %" PRIu32 " more in the header",
                       c->g.x.store->path, line_sectors, h->capacity, h->grain_sectors);
    }
    if (end > len) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: gdOffset is %" PRIu32 ": the directory of %" PRIu64 " grain tables ends at byte %" PRIu64
                       ", the file at %" PRIu64,
                       c->g.x.store->path, h->gd_sector, h->gt_count, end, len);
    }
    return VIX_OK;
}

static VixError make_directory(struct cowd_extent *c, struct err *err)
{
    struct grain_tables_params p = {.entry_count = c->h.gt_count,
                                    .width = 4,
                                    .cache_bytes = DIRECTORY_CACHE_BYTES,
                                    .load = load_directory,
                                    .ctx = c};

    return grain_tables_new(&p, &c->dir, err);
}

static VixError cowd_setup(struct cowd_extent *c, const struct extent_open_params *p, struct err *err)
{
    VixError e = read_header(c, err);

    if (e == VIX_OK) {
        e = check_header(c, p->nsectors, err);
    }
    if (e == VIX_OK) {
        e = make_directory(c, err);
    }
    if (e == VIX_OK) {
        e = grain_extent_set_grains(&c->g, c->h.grain_sectors, c->h.capacity, p, load_page, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    c->g.zero_shift = c->g.grain_shift > ZERO_PIECE_SHIFT ? c->g.grain_shift : ZERO_PIECE_SHIFT;
    c->g.first_grain_sector = c->h.gd_sector + c->h.gd_sectors;
    c->g.max_file_sectors = COWD_MAX_SECTORS;
    return c->g.x.writable ? cowd_verify_for_write(c, err) : VIX_OK;
}

VixError extent_cowd_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    struct cowd_extent *c = alloc_zero(sizeof *c, err);

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    grain_extent_init(&c->g, &cowd_ops, &cowd_format, p);
    VixError e = cowd_setup(c, p, err);
    if (e != VIX_OK) {
        cowd_free(c);
        return e;
    }
    *ret_x = &c->g.x;
    return VIX_OK;
}

/* ---- new ones ---- */

VixError extent_cowd_create(struct store *store, uint64_t nsectors, struct err *err)
{
    struct cowd_header h;
    uint8_t bytes[COWD_HEADER_BYTES];

    if (nsectors == 0 || nsectors > COWD_MAX_SECTORS) {
        return err_set(err, nsectors == 0 ? VIX_E_DISK_INVAL : VIX_E_FILE_TOO_BIG,
                       "%s: %" PRIu64 " sectors for a COWD extent, allowed are 1 to %" PRIu64, store->path, nsectors,
                       COWD_MAX_SECTORS);
    }
    cowd_header_new((uint32_t)nsectors, &h);
    cowd_header_encode(&h, bytes);
    /* The directory is a hole; the header comes last, so that a file without one is known to be unfinished. */
    VixError e = store->ops->truncate(store, (uint64_t)h.free_sector * SECTOR_SIZE, err);
    if (e == VIX_OK) {
        e = store_write(store, bytes, sizeof bytes, 0, err);
    }
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}

static const struct grain_format cowd_format = {
    .bad_entry = cowd_bad_entry,
    .known_absent = cowd_known_absent,
    .write_unclean_locked = cowd_write_unclean_locked,
    .ensure_tables = cowd_ensure_tables,
    .write_tables = cowd_write_tables,
};

static const struct extent_ops cowd_ops = {
    .name = "VMFSSPARSE",
    .map = grain_map,
    .map_many = grain_map_many,
    .read_coded = grain_read_coded,
    .write = grain_write,
    .pull = grain_pull,
    .flush = grain_flush,
    .close = cowd_close,
};

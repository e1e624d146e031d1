/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_sparse.c - the hosted sparse extent ("KDMV", grains not compressed): opening, closing, where its tables are.
 * Knows header, directories and tables, not the descriptor. Threads: see grain_extent.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "vmdk/sparse_int.h"

#define MAX_TABLES_SKIPPED 2048u /* own: without a look at each entry: 64 GiB with the usual sizes */

static const struct extent_ops sparse_ops;
static const struct grain_format sparse_format;

/* ---- tables ---- */

/* Directory entries, from memory where they are kept, else from the file. */
static VixError get_gdes(struct sparse_extent *s, uint64_t gt, size_t n, uint32_t *gdes, struct err *err)
{
    if (s->gd.present) {
        for (size_t i = 0; i < n; i++) {
            gdes[i] = (uint32_t)sparse_gde(&s->gd, gt + i);
        }
        return VIX_OK;
    }
    uint8_t bytes[MAX_TABLES_SKIPPED * 4];
    VixError e = store_read(s->g.x.store, bytes, n * 4, s->h.gd_sector * SECTOR_SIZE + gt * 4, err);
    for (size_t i = 0; e == VIX_OK && i < n; i++) {
        gdes[i] = get_le32(bytes + 4 * i);
    }
    return e;
}

static bool table_is_inside(const struct sparse_extent *s, uint32_t gde)
{
    return gde > GDE_ALL_ZERO && (gde + s->h.gt_sectors) * SECTOR_SIZE <= atomic_load(&s->g.file_len);
}

/* Reads the tables gdes[0..n) into buf, with one read for those that are neighbours in the file. A table outside the
 * file spoils only its own grains: they get an entry that no grain can have. */
static VixError read_tables(struct sparse_extent *s, const uint32_t *gdes, size_t n, uint8_t *buf, struct err *err)
{
    size_t gt_bytes = s->h.gt_sectors * SECTOR_SIZE;

    for (size_t i = 0, run; i < n; i += run) {
        run = 1;
        if (gdes[i] == GDE_ABSENT) {
            continue;
        }
        if (!table_is_inside(s, gdes[i])) {
            grain_fill_entries(buf + i * gt_bytes, s->h.gtes_per_gt,
                               sparse_table_is_zeros(&s->h, gdes[i]) ? GTE_ZERO : GTE_NO_TABLE);
            continue;
        }
        while (i + run < n && gdes[i + run] == gdes[i] + run * s->h.gt_sectors && table_is_inside(s, gdes[i + run])) {
            run++;
        }
        VixError e = store_read(s->g.x.store, buf + i * gt_bytes, run * gt_bytes, (uint64_t)gdes[i] * SECTOR_SIZE, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    return VIX_OK;
}

static VixError load_page(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    struct sparse_extent *s = sparse_of(ctx);
    uint32_t gdes[SPARSE_MAX_TABLES_PER_PAGE];
    uint64_t gt = first_entry / s->h.gtes_per_gt;
    size_t n = min_u64(GRAIN_PAGE_ENTRIES / s->h.gtes_per_gt, s->h.gt_count - gt);
    VixError e = get_gdes(s, gt, n, gdes, err);

    if (e == VIX_OK) {
        e = read_tables(s, gdes, n, buf, err);
    }
    if (e != VIX_OK) {
        err_prefix(err, "grain tables %" PRIu64 " to %" PRIu64 ": ", gt, gt + n - 1);
    }
    return e;
}

static VixError sparse_bad_entry(struct grain_extent *g, uint64_t grain, uint64_t gte, struct err *err)
{
    struct sparse_extent *s = sparse_of(g);
    uint64_t gt = grain / s->h.gtes_per_gt;
    uint64_t len = atomic_load(&s->g.file_len);
    uint32_t gde = 0;

    if (gte == GTE_NO_TABLE && get_gdes(s, gt, 1, &gde, NULL) == VIX_OK && gde != GDE_ABSENT &&
        !table_is_inside(s, gde)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain table %" PRIu64 " is said to be at sector %" PRIu32
                       ", allowed are sectors from 2 on of a file of %" PRIu64 " bytes",
                       s->g.x.store->path, gt, gde, len);
    }
    return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                   "%s: entry %" PRIu64 " of grain table %" PRIu64 " is %" PRIu64 ", allowed are sectors %" PRIu64
                   " to %" PRIu64 " of the file",
                   s->g.x.store->path, grain % s->h.gtes_per_gt, gt, gte, s->h.overhead_sectors, len / SECTOR_SIZE);
}

/* Directory entries from gt on, at most n, that are like the first: absent too, or the next table in the file. */
static size_t similar_tables(const struct sparse_extent *s, const uint32_t *gdes, size_t n)
{
    size_t k = 1;

    while (k < n && gdes[k] == (gdes[0] == GDE_ABSENT ? GDE_ABSENT : gdes[0] + k * s->h.gt_sectors)) {
        k++;
    }
    return k;
}

/* Grains whose tables were never written: the file has a hole there. Only for readers: a writer's entries may not be in
 * the file yet. */
static uint64_t sparse_known_absent(struct grain_extent *g, uint64_t grain)
{
    struct sparse_extent *s = sparse_of(g);
    struct store *store = g->x.store;
    uint32_t gdes[MAX_TABLES_SKIPPED] = {0};
    uint64_t gt = grain / s->h.gtes_per_gt;
    size_t n = min_u64(MAX_TABLES_SKIPPED, s->h.gt_count - gt);
    struct store_run run;

    if (g->x.writable || get_gdes(s, gt, n, gdes, NULL) != VIX_OK || gdes[0] == GDE_ALL_ZERO) {
        return 0;
    }
    n = similar_tables(s, gdes, n);
    if (gdes[0] != GDE_ABSENT) {
        uint64_t off = (uint64_t)gdes[0] * SECTOR_SIZE, table = s->h.gt_sectors * SECTOR_SIZE;
        if (off + n * table > atomic_load(&g->file_len) ||
            store->ops->map(store, off, n * table, &run, NULL) != VIX_OK || !run.hole) {
            return 0;
        }
        n = run.len / table;
    }
    return n > 0 ? n * s->h.gtes_per_gt - grain % s->h.gtes_per_gt : 0;
}

/* ---- open and close ---- */

static void sparse_free(struct sparse_extent *s)
{
    grain_extent_done(&s->g);
    sparse_directory_done(&s->gd);
    sparse_directory_done(&s->rgd);
    free(s);
}

static VixError sparse_close(struct extent *x, struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);
    VixError e = x->writable ? grain_finish(g, err) : VIX_OK;

    sparse_free(sparse_of(g));
    return e;
}

static VixError read_header(struct sparse_extent *s, struct err *err)
{
    struct store *store = s->g.x.store;
    uint64_t got = 0, len;
    VixError e = store_read_some(store, s->header_sector, SECTOR_SIZE, 0, &got, err);

    if (e == VIX_OK && got < SECTOR_SIZE) {
        e = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: only %" PRIu64 " bytes long, a sparse header has %u", store->path,
                    got, SECTOR_SIZE);
    }
    if (e == VIX_OK) {
        e = sparse_header_parse(s->header_sector, store->path, &s->h, err);
    }
    if (e == VIX_OK) {
        e = store->ops->size(store, &len, err);
    }
    if (e == VIX_OK) {
        atomic_store(&s->g.file_len, len);
    }
    return e;
}

/* Whether a directory, which is never read whole but for writing, lies inside the file. */
static VixError check_directory(const struct sparse_extent *s, const char *field, uint64_t sector, struct err *err)
{
    uint64_t len = atomic_load(&s->g.file_len);
    uint64_t end = sector * SECTOR_SIZE + s->h.gt_count * 4; /* both are bounded by the parser */

    if (end > len) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: %s is %" PRIu64 ": the directory of %" PRIu64 " grain tables ends at byte %" PRIu64
                       ", the file at %" PRIu64,
                       s->g.x.store->path, field, sector, s->h.gt_count, end, len);
    }
    return VIX_OK;
}

static VixError check_header(struct sparse_extent *s, uint64_t line_sectors, struct err *err)
{
    const struct sparse_header *h = &s->h;
    const char *path = s->g.x.store->path;

    if ((h->flags & KDMV_FLAG_COMPRESSED) != 0) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: flags 0x%" PRIX32 ": grains are compressed", path, h->flags);
    }
    if (h->capacity == 0) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: capacity is 0: a descriptor, not an extent", path);
    }
    if (line_sectors > h->capacity) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor gives this extent %" PRIu64 " sectors, its header only %" PRIu64, path,
                       line_sectors, h->capacity);
    }
    VixError e = check_directory(s, "gdOffset", h->gd_sector, err);
    if (e == VIX_OK && s->g.x.writable && s->redundant) {
        e = check_directory(s, "rgdOffset", h->rgd_sector, err);
    }
    return e;
}

static VixError sparse_setup(struct sparse_extent *s, const struct extent_open_params *p, struct err *err)
{
    VixError e = read_header(s, err);

    if (e != VIX_OK) {
        return e;
    }
    s->redundant = (s->h.flags & KDMV_FLAG_REDUNDANT) != 0;
    s->g.zero_entries = (s->h.flags & KDMV_FLAG_ZERO_GTE) != 0;
    e = check_header(s, p->nsectors, err);
    if (e != VIX_OK) {
        return e;
    }
    s->g.first_grain_sector = s->h.overhead_sectors;
    e = grain_extent_set_grains(&s->g, s->h.grain_sectors, s->h.capacity, p, load_page, err);
    if (e == VIX_OK && s->g.x.writable) {
        e = sparse_verify_for_write(s, err);
    }
    return e;
}

VixError extent_sparse_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    struct sparse_extent *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    grain_extent_init(&s->g, &sparse_ops, &sparse_format, p);
    VixError e = sparse_setup(s, p, err);
    if (e != VIX_OK) {
        sparse_free(s);
        return e;
    }
    *ret_x = &s->g.x;
    return VIX_OK;
}

static const struct grain_format sparse_format = {
    .bad_entry = sparse_bad_entry,
    .known_absent = sparse_known_absent,
    .write_unclean_locked = sparse_write_unclean_locked,
    .ensure_tables = sparse_ensure_tables,
    .write_tables = sparse_write_tables,
};

bool extent_is_sparse(const struct extent *x)
{
    return x->ops == &sparse_ops;
}

static const struct extent_ops sparse_ops = {
    .name = "SPARSE",
    .map = grain_map,
    .map_many = grain_map_many,
    .read_coded = grain_read_coded,
    .write = grain_write,
    .pull = grain_pull,
    .flush = grain_flush,
    .close = sparse_close,
};

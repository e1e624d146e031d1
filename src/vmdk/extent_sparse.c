/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_sparse.c - the hosted sparse extent ("KDMV", grains not compressed): opening, mapping, closing. Knows header,
 * directories and tables, not the descriptor. Mapping takes no lock; see sparse_int.h for the rest. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_int.h"

static const struct extent_ops sparse_ops;

/* ---- the length of the file ---- */

static VixError refresh_file_len(struct sparse_extent *s, struct err *err)
{
    uint64_t len;
    VixError e = s->x.store->ops->size(s->x.store, &len, err);

    if (e == VIX_OK) {
        uint64_t known = atomic_load(&s->file_len);
        while (known < len && !atomic_compare_exchange_weak(&s->file_len, &known, len)) {
        }
    }
    return e;
}

VixError sparse_grain_begins_inside(struct sparse_extent *s, uint64_t gte, bool *ret_inside, struct err *err)
{
    if (gte * SECTOR_SIZE >= atomic_load(&s->file_len)) {
        VixError e = refresh_file_len(s, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    *ret_inside = gte != GTE_NO_TABLE && gte * SECTOR_SIZE < atomic_load(&s->file_len);
    return VIX_OK;
}

/* ---- tables ---- */

/* Directory entries, from memory where they are kept, else from the file. */
static VixError get_gdes(struct sparse_extent *s, uint64_t gt, size_t n, uint32_t *gdes, struct err *err)
{
    if (s->gd != NULL) {
        for (size_t i = 0; i < n; i++) {
            gdes[i] = atomic_load_explicit(&s->gd[gt + i], memory_order_acquire);
        }
        return VIX_OK;
    }
    uint8_t bytes[SPARSE_MAX_TABLES_PER_PAGE * 4];
    VixError e = store_read(s->x.store, bytes, n * 4, s->h.gd_sector * SECTOR_SIZE + gt * 4, err);
    for (size_t i = 0; e == VIX_OK && i < n; i++) {
        gdes[i] = get_le32(bytes + 4 * i);
    }
    return e;
}

static bool table_is_inside(const struct sparse_extent *s, uint32_t gde)
{
    return (gde + s->h.gt_sectors) * SECTOR_SIZE <= atomic_load(&s->file_len);
}

static void fill_entries(uint8_t *buf, size_t n, uint32_t value)
{
    for (size_t i = 0; i < n; i++) {
        put_le32(buf + 4 * i, value);
    }
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
        if (gdes[i] == GDE_ALL_ZERO || !table_is_inside(s, gdes[i])) {
            fill_entries(buf + i * gt_bytes, s->h.gtes_per_gt, gdes[i] == GDE_ALL_ZERO ? GTE_ZERO : GTE_NO_TABLE);
            continue;
        }
        while (i + run < n && gdes[i + run] == gdes[i] + run * s->h.gt_sectors && table_is_inside(s, gdes[i + run])) {
            run++;
        }
        VixError e = store_read(s->x.store, buf + i * gt_bytes, run * gt_bytes, (uint64_t)gdes[i] * SECTOR_SIZE, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    return VIX_OK;
}

static VixError load_page(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    struct sparse_extent *s = ctx;
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

VixError sparse_bad_entry(struct sparse_extent *s, uint64_t grain, uint64_t gte, struct err *err)
{
    uint64_t gt = grain / s->h.gtes_per_gt;
    uint64_t len = atomic_load(&s->file_len);
    uint32_t gde = 0;

    if (gte == GTE_NO_TABLE && get_gdes(s, gt, 1, &gde, NULL) == VIX_OK && gde > GDE_ALL_ZERO &&
        !table_is_inside(s, gde)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain table %" PRIu64 " is said to be at sector %" PRIu32
                       ", which is outside the file of %" PRIu64 " bytes",
                       s->x.store->path, gt, gde, len);
    }
    return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                   "%s: entry %" PRIu64 " of grain table %" PRIu64 " is %" PRIu64 ", allowed are sectors %" PRIu64
                   " to %" PRIu64 " of the file",
                   s->x.store->path, grain % s->h.gtes_per_gt, gt, gte, s->h.overhead_sectors, len / SECTOR_SIZE);
}

/* ---- map ---- */

/* Entry 1: zeros if the header says so, or if the whole table stands for zeros. */
static VixError check_zero_entry(struct sparse_extent *s, uint64_t grain, struct err *err)
{
    uint32_t gde;

    if (s->zero_gtes) {
        return VIX_OK;
    }
    if (get_gdes(s, grain / s->h.gtes_per_gt, 1, &gde, NULL) == VIX_OK && gde == GDE_ALL_ZERO) {
        return VIX_OK;
    }
    return sparse_bad_entry(s, grain, GTE_ZERO, err);
}

/* Sectors from the beginning of a grain on whose entries equal value (0 or 1), at most max. */
static uint64_t same_entries(struct sparse_extent *s, uint64_t grain, uint64_t max, uint64_t value)
{
    uint64_t n = 0, gte;

    while (n < max) {
        uint64_t zeros = value == GTE_ABSENT ? grain_tables_known_zeros(s->tables, grain) : 0;
        if (zeros == 0) {
            if (grain_tables_get(s->tables, grain, &gte, NULL) != VIX_OK || gte != value) {
                break;
            }
            zeros = 1;
        }
        grain += zeros;
        n += zeros << s->grain_shift;
    }
    return min_u64(n, max);
}

static bool grain_is_inside(const struct sparse_extent *s, uint64_t gte)
{
    return gte != GTE_NO_TABLE &&
           (gte << 9) + sparse_grain_bytes(s) <= atomic_load_explicit(&s->file_len, memory_order_relaxed);
}

/* Sectors from the beginning of a grain on that go on with the run of data whose last grain is at gte, at most max. */
static uint64_t more_data(struct sparse_extent *s, uint64_t grain, uint64_t max, uint64_t gte, bool anywhere)
{
    uint64_t n = 0, next;

    for (; n < max; n += s->h.grain_sectors, grain++, gte = next) {
        if (grain_tables_get(s->tables, grain, &next, NULL) != VIX_OK || next <= GTE_ZERO ||
            (!anywhere && next != gte + s->h.grain_sectors) || !grain_is_inside(s, next)) {
            break;
        }
    }
    return min_u64(n, max);
}

/* A grain that reaches beyond the end of the file: what is missing of it reads as zeros if at least its beginning is
 * there. A last part of a sector can only be read by read_coded. */
static VixError map_short_grain(struct sparse_extent *s, uint64_t grain, uint64_t skip, uint64_t max, uint64_t gte,
                                struct extent_run *ret_run, struct err *err)
{
    bool inside;
    VixError e = sparse_grain_begins_inside(s, gte, &inside, err);

    if (e != VIX_OK || !inside) {
        return e != VIX_OK ? e : sparse_bad_entry(s, grain, gte, err);
    }
    uint64_t off = (gte + skip) * SECTOR_SIZE, len = atomic_load(&s->file_len);
    max = min_u64(max, s->h.grain_sectors - skip);
    if (off >= len) {
        *ret_run = (struct extent_run){.kind = RUN_ZERO, .nsectors = max};
    } else if (len - off < SECTOR_SIZE) {
        *ret_run = (struct extent_run){.kind = RUN_CODED, .nsectors = 1, .file_off = off};
    } else {
        *ret_run =
            (struct extent_run){.kind = RUN_DATA, .nsectors = min_u64(max, (len - off) / SECTOR_SIZE), .file_off = off};
    }
    return VIX_OK;
}

/* Cuts a run of data where the file system has a hole, or where a hole ends. */
static VixError look_for_hole(struct sparse_extent *s, struct extent_run *run, struct err *err)
{
    struct store_run hole;
    VixError e = s->x.store->ops->map(s->x.store, run->file_off, run->nsectors * SECTOR_SIZE, &hole, err);

    if (e != VIX_OK) {
        return e;
    }
    if (hole.hole && hole.len >= SECTOR_SIZE) {
        run->kind = RUN_ZERO;
        run->nsectors = hole.len / SECTOR_SIZE;
    } else {
        run->nsectors = min_u64(run->nsectors, div_up(hole.len, SECTOR_SIZE));
    }
    return VIX_OK;
}

static VixError map_data(struct sparse_extent *s, uint64_t sector, uint64_t max, uint64_t gte, uint32_t flags,
                         struct extent_run *ret_run, struct err *err)
{
    uint64_t grain = sector >> s->grain_shift;
    uint64_t skip = sector & (s->h.grain_sectors - 1);

    if (!grain_is_inside(s, gte)) {
        return map_short_grain(s, grain, skip, max, gte, ret_run, err);
    }
    uint64_t n = s->h.grain_sectors - skip;
    bool holes = (flags & EXTENT_MAP_HOLES) != 0;
    if (n < max) {
        n += more_data(s, grain + 1, max - n, gte, (flags & EXTENT_MAP_STATUS) != 0 && !holes);
    } else {
        n = max;
    }
    struct extent_run run = {.kind = RUN_DATA, .nsectors = n, .file_off = (gte + skip) * SECTOR_SIZE};
    VixError e = holes ? look_for_hole(s, &run, err) : VIX_OK;
    if (e == VIX_OK) {
        *ret_run = run;
    }
    return e;
}

static VixError sparse_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                           struct extent_run *ret_run, struct err *err)
{
    struct sparse_extent *s = sparse_of(x);
    uint64_t grain = sector >> s->grain_shift, gte;
    VixError e = grain_tables_get(s->tables, grain, &gte, err);

    if (e != VIX_OK) {
        return e;
    }
    if (gte > GTE_ZERO) {
        return map_data(s, sector, nsectors, gte, flags, ret_run, err);
    }
    e = gte == GTE_ZERO ? check_zero_entry(s, grain, err) : VIX_OK;
    if (e != VIX_OK) {
        return e;
    }
    uint64_t n = min_u64(s->h.grain_sectors - (sector & (s->h.grain_sectors - 1)), nsectors);
    if (n < nsectors && (gte == GTE_ABSENT || s->zero_gtes)) {
        n += same_entries(s, grain + 1, nsectors - n, gte);
    }
    *ret_run = (struct extent_run){.kind = gte == GTE_ABSENT ? RUN_ABSENT : RUN_ZERO, .nsectors = n};
    return VIX_OK;
}

/* Only map_short_grain sends readers here: the last sector of a file that ends within it. */
static VixError sparse_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct sparse_extent *s = sparse_of(x);
    uint8_t *out = buf;

    for (; nsectors > 0; nsectors--, sector++, out += SECTOR_SIZE) {
        uint64_t gte, got = 0;
        VixError e = grain_tables_get(s->tables, sector >> s->grain_shift, &gte, err);
        if (e == VIX_OK && gte <= GTE_ZERO) {
            e = sparse_bad_entry(s, sector >> s->grain_shift, gte, err);
        }
        if (e == VIX_OK) {
            uint64_t off = (gte + (sector & (s->h.grain_sectors - 1))) * SECTOR_SIZE;
            e = store_read_some(x->store, out, SECTOR_SIZE, off, &got, err);
        }
        if (e != VIX_OK) {
            return e;
        }
        memset(out + got, 0, SECTOR_SIZE - got);
    }
    return VIX_OK;
}

static VixError sparse_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                            struct err *err)
{
    (void)sector, (void)nsectors, (void)source, (void)ctx;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a sparse extent is written, not pulled", x->store->path);
}

/* ---- open and close ---- */

static void sparse_free(struct sparse_extent *s)
{
    grain_tables_free(s->tables);
    free(s->gd);
    free(s->rgd);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->flush_lock);
    (void)pthread_cond_destroy(&s->claim_gone);
    free(s);
}

static VixError sparse_close(struct extent *x, struct err *err)
{
    struct sparse_extent *s = sparse_of(x);
    VixError e = x->writable ? sparse_finish(s, err) : VIX_OK;

    sparse_free(s);
    return e;
}

static VixError read_header(struct sparse_extent *s, struct err *err)
{
    struct store *store = s->x.store;
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
        atomic_store(&s->file_len, len);
    }
    return e;
}

/* Whether a directory, which is never read whole but for writing, lies inside the file. */
static VixError check_directory(const struct sparse_extent *s, const char *field, uint64_t sector, struct err *err)
{
    uint64_t len = atomic_load(&s->file_len);
    uint64_t end = sector * SECTOR_SIZE + s->h.gt_count * 4; /* both are bounded by the parser */

    if (end > len) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: %s is %" PRIu64 ": the directory of %" PRIu64 " grain tables ends at byte %" PRIu64
                       ", the file at %" PRIu64,
                       s->x.store->path, field, sector, s->h.gt_count, end, len);
    }
    return VIX_OK;
}

static VixError check_header(struct sparse_extent *s, uint64_t line_sectors, struct err *err)
{
    const struct sparse_header *h = &s->h;
    const char *path = s->x.store->path;

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
    if (e == VIX_OK && s->x.writable && s->redundant) {
        e = check_directory(s, "rgdOffset", h->rgd_sector, err);
    }
    return e;
}

static VixError make_tables(struct sparse_extent *s, uint64_t cache_bytes, struct err *err)
{
    struct grain_tables_params p = {
        .entry_count = div_up(s->h.capacity, s->h.grain_sectors),
        .width = 4,
        .cache_bytes = cache_bytes,
        .load = load_page,
        .ctx = s,
    };
    VixError e = grain_tables_new(&p, &s->tables, err);

    if (e != VIX_OK) {
        err_prefix(err, "%s: ", s->x.store->path);
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
    s->zero_gtes = (s->h.flags & KDMV_FLAG_ZERO_GTE) != 0;
    e = check_header(s, p->nsectors, err);
    if (e != VIX_OK) {
        return e;
    }
    s->grain_shift = (unsigned)__builtin_ctzll(s->h.grain_sectors);
    s->x.grain_sectors = s->h.grain_sectors;
    s->x.nsectors = p->nsectors > 0 ? p->nsectors : s->h.capacity;
    e = make_tables(s, p->table_cache_bytes, err);
    if (e == VIX_OK && s->x.writable) {
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
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->flush_lock, NULL);
    (void)pthread_cond_init(&s->claim_gone, NULL);
    s->x.ops = &sparse_ops;
    s->x.store = p->store;
    s->x.writable = p->writable;
    VixError e = sparse_setup(s, p, err);
    if (e != VIX_OK) {
        sparse_free(s);
        return e;
    }
    *ret_x = &s->x;
    return VIX_OK;
}

static const struct extent_ops sparse_ops = {
    .name = "SPARSE",
    .map = sparse_map,
    .read_coded = sparse_read_coded,
    .write = sparse_write,
    .pull = sparse_pull,
    .flush = sparse_flush,
    .close = sparse_close,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* grain_map.c - finds and reads the grains of an extent: from sectors to runs of the file. Knows entries, not where the
 * tables are. Takes no lock. */
#include "vmdk/grain_extent.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

void grain_extent_init(struct grain_extent *g, const struct extent_ops *ops, const struct grain_format *format,
                       const struct extent_open_params *p)
{
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_mutex_init(&g->flush_lock, NULL);
    (void)pthread_cond_init(&g->claim_gone, NULL);
    g->format = format;
    g->x.ops = ops;
    g->x.store = p->store;
    g->x.writable = p->writable;
    g->max_file_sectors = GRAIN_FILE_SECTORS_MAX;
}

VixError grain_extent_set_grains(struct grain_extent *g, uint64_t grain_sectors, uint64_t capacity,
                                 const struct extent_open_params *p, grain_tables_load_func *load, struct err *err)
{
    const struct grain_tables_params tables = {.entry_count = div_up(capacity, grain_sectors),
                                               .width = 4,
                                               .cache = p->table_cache,
                                               .cache_bytes = p->table_cache_bytes,
                                               .load = load,
                                               .ctx = g};

    g->grain_shift = (unsigned)__builtin_ctzll(grain_sectors);
    g->zero_shift = g->grain_shift;
    g->x.grain_sectors = grain_sectors;
    g->x.nsectors = p->nsectors > 0 ? p->nsectors : capacity;
    VixError e = grain_tables_new(&tables, &g->tables, err);
    if (e != VIX_OK) {
        err_prefix(err, "%s: ", g->x.store->path);
    }
    return e;
}

void grain_extent_done(struct grain_extent *g)
{
    grain_tables_free(g->tables);
    (void)pthread_mutex_destroy(&g->lock);
    (void)pthread_mutex_destroy(&g->flush_lock);
    (void)pthread_cond_destroy(&g->claim_gone);
}

void grain_fill_entries(uint8_t *buf, size_t n, uint32_t value)
{
    for (size_t i = 0; i < n; i++) {
        put_le32(buf + 4 * i, value);
    }
}

/* ---- the length of the file ---- */

VixError grain_refresh_file_len(struct grain_extent *g, struct err *err)
{
    uint64_t len;
    VixError e = g->x.store->ops->size(g->x.store, &len, err);

    if (e == VIX_OK) {
        uint64_t known = atomic_load(&g->file_len);
        while (known < len && !atomic_compare_exchange_weak(&g->file_len, &known, len)) {
        }
    }
    return e;
}

VixError grain_begins_inside(struct grain_extent *g, uint64_t gte, bool *ret_inside, struct err *err)
{
    if (gte * SECTOR_SIZE >= atomic_load(&g->file_len)) {
        VixError e = grain_refresh_file_len(g, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    *ret_inside = gte != GTE_NO_TABLE && gte * SECTOR_SIZE < atomic_load(&g->file_len);
    return VIX_OK;
}

/* ---- map ---- */

/* Grains from this one on that are absent, as far as that is known without looking at each; 0: its entry tells. The
 * format is asked, which may cost system calls, when a whole page of them lies behind: they are many, then. */
static uint64_t known_absent(struct grain_extent *g, uint64_t grain, uint64_t behind)
{
    uint64_t n = grain_tables_known_zeros(g->tables, grain);

    return n > 0 || behind < GRAIN_PAGE_ENTRIES ? n : g->format->known_absent(g, grain);
}

/* Grains from this one on, at most max, whose entries are value, value + step ... */
static uint64_t equal_entries(struct grain_extent *g, uint64_t grain, uint64_t max, uint64_t value, uint64_t step)
{
    uint64_t n = 0, more, entry;

    while (n < max) {
        if (grain_tables_match(g->tables, grain + n, max - n, value + n * step, step, &more)) {
            n += more;
            if (more == 0 || (grain + n) % GRAIN_PAGE_ENTRIES != 0) {
                break;
            }
            continue;
        }
        more = value == GTE_ABSENT ? known_absent(g, grain + n, n) : 0;
        if (more == 0) {
            if (grain_tables_get(g->tables, grain + n, &entry, NULL) != VIX_OK || entry != value + n * step) {
                break;
            }
            more = 1;
        }
        n += more;
    }
    return min_u64(n, max);
}

/* Grains from this one on, at most max, that have a place, wherever it is, up to sector last. */
static uint64_t placed_entries(struct grain_extent *g, uint64_t grain, uint64_t max, uint64_t last)
{
    uint64_t n = 0, more, entry;

    while (n < max) {
        if (grain_tables_match_range(g->tables, grain + n, max - n, GTE_ZERO + 1, last, &more)) {
            n += more;
            if (more == 0 || (grain + n) % GRAIN_PAGE_ENTRIES != 0) {
                break;
            }
            continue;
        }
        if (grain_tables_get(g->tables, grain + n, &entry, NULL) != VIX_OK || entry <= GTE_ZERO || entry > last) {
            break;
        }
        n++;
    }
    return n;
}

static bool grain_is_inside(const struct grain_extent *g, uint64_t gte)
{
    return gte != GTE_NO_TABLE &&
           (gte << 9) + grain_bytes(g) <= atomic_load_explicit(&g->file_len, memory_order_relaxed);
}

/* Grains from this one on, at most max, that go on with the run of data whose last grain is at gte, which lies inside
 * the file, as they do. */
static uint64_t more_data(struct grain_extent *g, uint64_t grain, uint64_t max, uint64_t gte, bool anywhere)
{
    uint64_t sectors = atomic_load_explicit(&g->file_len, memory_order_relaxed) / SECTOR_SIZE;
    uint64_t last = min_u64(sectors - g->x.grain_sectors, GTE_NO_TABLE - 1);

    if (anywhere) {
        return placed_entries(g, grain, max, last);
    }
    max = min_u64(max, (last - gte) >> g->grain_shift);
    return equal_entries(g, grain, max, gte + g->x.grain_sectors, g->x.grain_sectors);
}

/* A grain that reaches beyond the end of the file: what is missing of it reads as zeros if at least its beginning is
 * there. A last part of a sector can only be read by read_coded. */
static VixError map_short_grain(struct grain_extent *g, uint64_t grain, uint64_t skip, uint64_t max, uint64_t gte,
                                struct extent_run *ret_run, struct err *err)
{
    bool inside;
    VixError e = grain_begins_inside(g, gte, &inside, err);

    if (e != VIX_OK || !inside) {
        return e != VIX_OK ? e : g->format->bad_entry(g, grain, gte, err);
    }
    uint64_t off = (gte + skip) * SECTOR_SIZE, len = atomic_load(&g->file_len);
    max = min_u64(max, g->x.grain_sectors - skip);
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
static VixError look_for_hole(struct grain_extent *g, struct extent_run *run, struct err *err)
{
    struct store_run hole;
    VixError e = g->x.store->ops->map(g->x.store, run->file_off, run->nsectors * SECTOR_SIZE, &hole, err);

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

static VixError map_data(struct grain_extent *g, uint64_t sector, uint64_t max, uint64_t gte, uint32_t flags,
                         struct extent_run *ret_run, struct err *err)
{
    uint64_t grain = sector >> g->grain_shift;
    uint64_t skip = sector & (g->x.grain_sectors - 1);

    if (!grain_is_inside(g, gte)) {
        return map_short_grain(g, grain, skip, max, gte, ret_run, err);
    }
    uint64_t n = g->x.grain_sectors - skip;
    bool holes = (flags & EXTENT_MAP_HOLES) != 0;
    if (n < max) {
        uint64_t grains = ((max - n - 1) >> g->grain_shift) + 1;
        n += more_data(g, grain + 1, grains, gte, (flags & EXTENT_MAP_STATUS) != 0 && !holes) << g->grain_shift;
    }
    n = min_u64(n, max);
    struct extent_run run = {.kind = RUN_DATA, .nsectors = n, .file_off = (gte + skip) * SECTOR_SIZE};
    VixError e = holes ? look_for_hole(g, &run, err) : VIX_OK;
    if (e == VIX_OK) {
        *ret_run = run;
    }
    return e;
}

VixError grain_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags, struct extent_run *ret_run,
                   struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);
    uint64_t grain = sector >> g->grain_shift, gte;
    VixError e = grain_tables_get(g->tables, grain, &gte, err);

    if (e != VIX_OK) {
        return e;
    }
    if (gte > GTE_ZERO) {
        return map_data(g, sector, nsectors, gte, flags, ret_run, err);
    }
    if (gte == GTE_ZERO && !g->zero_entries) {
        return g->format->bad_entry(g, grain, gte, err);
    }
    uint64_t n = min_u64(g->x.grain_sectors - (sector & (g->x.grain_sectors - 1)), nsectors);
    if (n < nsectors) {
        uint64_t grains = ((nsectors - n - 1) >> g->grain_shift) + 1;
        n += equal_entries(g, grain + 1, grains, gte, 0) << g->grain_shift;
    }
    n = min_u64(n, nsectors);
    *ret_run = (struct extent_run){.kind = gte == GTE_ABSENT ? RUN_ABSENT : RUN_ZERO, .nsectors = n};
    return VIX_OK;
}

/* Whether 64 entries are what they should be: at most last, and not odd. Without branches, so that the compiler looks
 * at several at a time; so below. */
static bool all_plain(const uint32_t *entries, uint32_t last, uint32_t odd)
{
    uint32_t wrong = 0;

    for (unsigned i = 0; i < 64; i++) {
        wrong |= (entries[i] > last) | (entries[i] == odd);
    }
    return wrong == 0;
}

/* How many there are at the beginning of n. */
static unsigned count_plain(const uint32_t *entries, unsigned n, uint32_t last, uint32_t odd)
{
    unsigned i = 0;

    while (i + 64 <= n && all_plain(entries + i, last, odd)) {
        i += 64;
    }
    while (i < n && entries[i] <= last && entries[i] != odd) {
        i++;
    }
    return i;
}

/* Which of 32 entries are places. */
static uint32_t placed_bits(const uint32_t *entries)
{
    static const uint32_t bit[32] = {
        1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,  1u << 8,  1u << 9,  1u << 10,
        1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15, 1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21,
        1u << 22, 1u << 23, 1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31,
    };
    uint32_t bits = 0;

    for (unsigned i = 0; i < 32; i++) {
        bits |= entries[i] > GTE_ZERO ? bit[i] : 0;
    }
    return bits;
}

/* Grains from this one on, at most max, as far as their entries alone tell, and at least one holds data; false: look
 * more closely. */
static __attribute__((noinline)) bool units_of_entries(struct grain_extent *g, uint64_t grain, uint64_t max,
                                                       struct extent_units *units)
{
    uint32_t entries[EXTENT_UNITS_MAX];
    uint64_t sectors = atomic_load_explicit(&g->file_len, memory_order_relaxed) / SECTOR_SIZE, any = 0;
    uint64_t last = sectors > g->x.grain_sectors ? min_u64(sectors - g->x.grain_sectors, GTE_NO_TABLE - 1) : 0;
    unsigned n = (unsigned)grain_tables_read(g->tables, grain, min_u64(max, EXTENT_UNITS_MAX), entries);

    /* the others may be faults */
    n = count_plain(entries, n, (uint32_t)last, g->zero_entries ? GTE_NO_TABLE : GTE_ZERO);
    units->unit_sectors = g->x.grain_sectors;
    units->count = n;
    for (; n % 64 != 0; n++) {
        entries[n] = GTE_ABSENT;
    }
    for (unsigned w = 0; w < n / 64; w++) {
        const uint32_t *at = entries + (size_t)64 * w;
        units->data[w] = placed_bits(at) | (uint64_t)placed_bits(at + 32) << 32;
        any |= units->data[w];
    }
    return any != 0;
}

VixError grain_map_many(struct extent *x, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);

    if ((sector & (x->grain_sectors - 1)) == 0 &&
        units_of_entries(g, sector >> g->grain_shift, nsectors >> g->grain_shift, ret_units)) {
        return VIX_OK;
    }
    return extent_map_one(x, sector, nsectors, ret_units, err);
}

/* Only map_short_grain sends readers here: the last sector of a file that ends within it. */
VixError grain_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);
    uint8_t *out = buf;

    for (; nsectors > 0; nsectors--, sector++, out += SECTOR_SIZE) {
        uint64_t gte, got = 0;
        VixError e = grain_tables_get(g->tables, sector >> g->grain_shift, &gte, err);
        if (e == VIX_OK && gte <= GTE_ZERO) {
            e = g->format->bad_entry(g, sector >> g->grain_shift, gte, err);
        }
        if (e == VIX_OK) {
            uint64_t off = (gte + (sector & (g->x.grain_sectors - 1))) * SECTOR_SIZE;
            e = store_read_some(x->store, out, SECTOR_SIZE, off, &got, err);
        }
        if (e != VIX_OK) {
            return e;
        }
        memset(out + got, 0, SECTOR_SIZE - got);
    }
    return VIX_OK;
}

VixError grain_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                    struct err *err)
{
    (void)sector, (void)nsectors, (void)source, (void)ctx;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a sparse extent is written, not pulled", x->store->path);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_sesparse.c - the SE sparse extent of ESXi, for reading. Directory entries name tables by index, table entries
 * have 64 bits and name grains by index, its low bits first. Nothing is published about how journal and maps have to
 * follow a change, so there is no writing. Any thread; mapping takes no lock when the table is in memory. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "vmdk/extent.h"
#include "vmdk/grain_tables.h"
#include "vmdk/sesparse_header.h"

#define GRAIN_SECTORS (UINT64_C(1) << SESPARSE_GRAIN_SHIFT)
#define TABLE_BYTES (SESPARSE_TABLE_SECTORS * SECTOR_SIZE)
#define TABLES_PER_PAGE (GRAIN_PAGE_ENTRIES / SESPARSE_GTES_PER_GT)
#define DIRECTORY_CACHE_BYTES (UINT64_C(1) << 20)

#define ENTRY_NO_TABLE UINT64_MAX /* in memory only: the directory entry of this entry's table is nonsense */

struct sesparse_extent {
    struct extent x; /* first */
    struct sesparse_header h;
    struct grain_tables *dir; /* the directory */
    struct grain_tables *tables;
    uint64_t file_len; /* bytes; the lock on the file keeps it as it is */
};

static const struct extent_ops sesparse_ops;

static struct sesparse_extent *sesparse_of(struct extent *x)
{
    return (struct sesparse_extent *)x;
}

/* ---- entries ---- */

/* The run kind of an entry; false if the entry means nothing. */
static bool run_kind_of(uint64_t entry, enum run_kind *ret_kind)
{
    switch (sesparse_entry_kind(entry)) {
    case SESPARSE_ABSENT:
        *ret_kind = RUN_ABSENT;
        return entry == 0;
    case SESPARSE_UNMAPPED: /* given back by the guest: the old index may still stand in the low bits */
    case SESPARSE_ZERO:
        *ret_kind = RUN_ZERO;
        return true;
    case SESPARSE_GRAIN:
        *ret_kind = RUN_DATA;
        return true;
    default:
        return false;
    }
}

/* The place of a grain; false if it reaches beyond the end of the file. */
static bool grain_place(const struct sesparse_extent *s, uint64_t entry, uint64_t *ret_off)
{
    uint64_t sector = sesparse_entry_index(entry); /* below 2^60 */
    uint64_t sectors_of_file = s->file_len / SECTOR_SIZE;

    if (sector >= sectors_of_file >> SESPARSE_GRAIN_SHIFT) {
        return false;
    }
    sector = s->h.grains.sector + (sector << SESPARSE_GRAIN_SHIFT);
    *ret_off = sector * SECTOR_SIZE;
    return sector + GRAIN_SECTORS <= sectors_of_file;
}

/* ---- tables ---- */

static VixError load_directory(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    const struct sesparse_extent *s = ctx;
    uint64_t n = min_u64(GRAIN_PAGE_ENTRIES, s->h.gt_count - first_entry);
    uint64_t off = s->h.directory.sector * SECTOR_SIZE + first_entry * 8;
    VixError e = store_read(s->x.store, buf, n * 8, off, err);

    if (e != VIX_OK) {
        err_prefix(err, "grain directory: ");
    }
    return e;
}

/* The place of the table that a directory entry names; false if it cannot be one. */
static bool table_place(const struct sesparse_extent *s, uint64_t gde, uint64_t *ret_off)
{
    uint64_t index = gde & UINT32_MAX;

    *ret_off = (s->h.tables.sector + index * SESPARSE_TABLE_SECTORS) * SECTOR_SIZE;
    return gde >> 32 == SESPARSE_GDE_TABLE && index < s->h.tables.nsectors / SESPARSE_TABLE_SECTORS &&
           *ret_off + TABLE_BYTES <= s->file_len;
}

/* A directory entry that makes no sense spoils only the grains of its table. */
static VixError load_table(struct sesparse_extent *s, uint64_t gt, uint8_t *buf, struct err *err)
{
    uint64_t gde, off;
    VixError e = grain_tables_get(s->dir, gt, &gde, err);

    if (e != VIX_OK || gde == 0) {
        return e;
    }
    if (table_place(s, gde, &off)) {
        return store_read(s->x.store, buf, TABLE_BYTES, off, err);
    }
    for (size_t i = 0; i < SESPARSE_GTES_PER_GT; i++) {
        put_le64(buf + 8 * i, ENTRY_NO_TABLE);
    }
    return VIX_OK;
}

static VixError load_page(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    struct sesparse_extent *s = ctx;
    uint64_t gt = first_entry / SESPARSE_GTES_PER_GT;
    uint64_t end = min_u64(gt + TABLES_PER_PAGE, s->h.gt_count);
    VixError e = VIX_OK;

    for (; e == VIX_OK && gt < end; gt++, buf += TABLE_BYTES) {
        e = load_table(s, gt, buf, err);
        if (e != VIX_OK) {
            err_prefix(err, "grain table %" PRIu64 ": ", gt);
        }
    }
    return e;
}

static VixError bad_entry(struct sesparse_extent *s, uint64_t grain, uint64_t entry, struct err *err)
{
    uint64_t gt = grain / SESPARSE_GTES_PER_GT, gde = 0, off;

    if (entry == ENTRY_NO_TABLE && grain_tables_get(s->dir, gt, &gde, NULL) == VIX_OK && !table_place(s, gde, &off)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: entry %" PRIu64 " of the grain directory is 0x%016" PRIX64
                       ", allowed are 0 and 0x10000000 in the upper half with a table number below %" PRIu64
                       " whose table lies inside the file of %" PRIu64 " bytes",
                       s->x.store->path, gt, gde, s->h.tables.nsectors / SESPARSE_TABLE_SECTORS, s->file_len);
    }
    return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                   "%s: entry %" PRIu64 " of grain table %" PRIu64 " is 0x%016" PRIX64
                   ", allowed are 0, kinds 1 and 2, and kind 3 with a grain that lies inside the file of %" PRIu64
                   " bytes",
                   s->x.store->path, grain % SESPARSE_GTES_PER_GT, gt, entry, s->file_len);
}

/* ---- map ---- */

/* Grains from this one on that are absent, as far as that is known without looking at each; 0: its entry tells. */
static uint64_t known_absent(struct sesparse_extent *s, uint64_t grain)
{
    uint64_t gt = grain / SESPARSE_GTES_PER_GT, gde;
    uint64_t n = grain_tables_known_zeros(s->tables, grain);

    if (n > 0 || grain % SESPARSE_GTES_PER_GT != 0) {
        return n;
    }
    if (grain_tables_get(s->dir, gt, &gde, NULL) != VIX_OK || gde != 0) {
        return 0;
    }
    return max_u64(grain_tables_known_zeros(s->dir, gt), 1) * SESPARSE_GTES_PER_GT;
}

/* Sectors from the beginning of a grain on whose grains are absent or zeros as kind says, at most max. */
static uint64_t more_empty(struct sesparse_extent *s, uint64_t grain, uint64_t max, enum run_kind kind)
{
    uint64_t n = 0, entry;
    enum run_kind next;

    while (n < max) {
        uint64_t absent = kind == RUN_ABSENT ? known_absent(s, grain) : 0;
        if (absent == 0) {
            if (grain_tables_get(s->tables, grain, &entry, NULL) != VIX_OK || !run_kind_of(entry, &next) ||
                next != kind) {
                break;
            }
            absent = 1;
        }
        grain += absent;
        n += absent << SESPARSE_GRAIN_SHIFT;
    }
    return min_u64(n, max);
}

/* Sectors from the beginning of a grain on that go on with a run of data, at most max. off: where the next byte of the
 * run would have to be, 0: anywhere. */
static uint64_t more_data(struct sesparse_extent *s, uint64_t grain, uint64_t max, uint64_t off)
{
    uint64_t n = 0, entry, next_off;
    enum run_kind next;

    for (; n < max; n += GRAIN_SECTORS, grain++) {
        if (grain_tables_get(s->tables, grain, &entry, NULL) != VIX_OK || !run_kind_of(entry, &next) ||
            next != RUN_DATA || !grain_place(s, entry, &next_off) || (off != 0 && next_off != off + n * SECTOR_SIZE)) {
            break;
        }
    }
    return min_u64(n, max);
}

/* Cuts a run of data where the file system has a hole, or where a hole ends. */
static VixError look_for_hole(struct sesparse_extent *s, struct extent_run *run, struct err *err)
{
    struct store_run hole;
    VixError e = s->x.store->ops->map(s->x.store, run->file_off, run->nsectors * SECTOR_SIZE, &hole, err);

    if (e == VIX_OK && hole.hole && hole.len >= SECTOR_SIZE) {
        run->kind = RUN_ZERO;
        run->nsectors = hole.len / SECTOR_SIZE;
    } else if (e == VIX_OK) {
        run->nsectors = min_u64(run->nsectors, div_up(hole.len, SECTOR_SIZE));
    }
    return e;
}

static VixError sesparse_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                             struct extent_run *ret_run, struct err *err)
{
    struct sesparse_extent *s = sesparse_of(x);
    uint64_t grain = sector >> SESPARSE_GRAIN_SHIFT, skip = sector & (GRAIN_SECTORS - 1), entry, off = 0;
    struct extent_run run = {.nsectors = min_u64(nsectors, GRAIN_SECTORS - skip)};
    bool anywhere = (flags & EXTENT_MAP_STATUS) != 0 && (flags & EXTENT_MAP_HOLES) == 0;
    VixError e = grain_tables_get(s->tables, grain, &entry, err);

    if (e != VIX_OK) {
        return e;
    }
    if (!run_kind_of(entry, &run.kind) || (run.kind == RUN_DATA && !grain_place(s, entry, &off))) {
        return bad_entry(s, grain, entry, err);
    }
    uint64_t left = nsectors - run.nsectors;
    if (run.kind == RUN_DATA) {
        run.nsectors += more_data(s, grain + 1, left, anywhere ? 0 : off + GRAIN_SECTORS * SECTOR_SIZE);
    } else {
        run.nsectors += more_empty(s, grain + 1, left, run.kind);
    }
    run.file_off = run.kind == RUN_DATA ? off + skip * SECTOR_SIZE : 0;
    if (run.kind == RUN_DATA && (flags & EXTENT_MAP_HOLES) != 0) {
        e = look_for_hole(s, &run, err);
    }
    if (e == VIX_OK) {
        *ret_run = run;
    }
    return e;
}

/* ---- what cannot be done ---- */

static VixError refuse_writing(const struct store *store, struct err *err)
{
    return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                   "%s: SE sparse extents can be read, not written: how their journal works is not published; convert "
                   "the disk, or make a child of it",
                   store->path);
}

static VixError sesparse_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)sector, (void)nsectors, (void)buf;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the grains of an SE sparse extent are not coded", x->store->path);
}

static VixError sesparse_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    (void)sector, (void)nsectors, (void)buf;
    return refuse_writing(x->store, err);
}

static VixError sesparse_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                              void *ctx, struct err *err)
{
    (void)sector, (void)nsectors, (void)source, (void)ctx;
    return refuse_writing(x->store, err);
}

static VixError sesparse_flush(struct extent *x, struct err *err)
{
    (void)x, (void)err;
    return VIX_OK;
}

/* ---- open and close ---- */

static VixError sesparse_close(struct extent *x, struct err *err)
{
    struct sesparse_extent *s = sesparse_of(x);

    (void)err;
    grain_tables_free(s->dir);
    grain_tables_free(s->tables);
    free(s);
    return VIX_OK;
}

static VixError read_sector(struct sesparse_extent *s, uint64_t number, const char *what, uint8_t sector[SECTOR_SIZE],
                            struct err *err)
{
    uint64_t got = 0;
    VixError e = store_read_some(s->x.store, sector, SECTOR_SIZE, number * SECTOR_SIZE, &got, err);

    if (e == VIX_OK && got < SECTOR_SIZE) {
        e = err_set(err, VIX_E_DISK_INVALIDDISK,
                    "%s: the %s of an SE sparse extent is to be at sector %" PRIu64 ", the file has %" PRIu64 " bytes",
                    s->x.store->path, what, number, s->file_len);
    }
    return e;
}

static VixError read_headers(struct sesparse_extent *s, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    VixError e = s->x.store->ops->size(s->x.store, &s->file_len, err);

    if (e == VIX_OK) {
        e = read_sector(s, 0, "header", sector, err);
    }
    if (e == VIX_OK) {
        e = sesparse_header_parse(sector, s->x.store->path, &s->h, err);
    }
    if (e == VIX_OK) {
        e = read_sector(s, s->h.volatile_header.sector, "volatile header", sector, err);
    }
    return e == VIX_OK ? sesparse_check_volatile(sector, s->x.store->path, err) : e;
}

static VixError check_places(const struct sesparse_extent *s, uint64_t line_sectors, struct err *err)
{
    const struct sesparse_header *h = &s->h;
    uint64_t end = h->directory.sector * SECTOR_SIZE + h->gt_count * 8;

    if (line_sectors > h->capacity || (line_sectors > 0 && h->capacity - line_sectors >= GRAIN_SECTORS)) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor gives this extent %" PRIu64 " sectors, its header %" PRIu64
                       ", allowed: the same, or less than %" PRIu64 " more in the header",
                       s->x.store->path, line_sectors, h->capacity, GRAIN_SECTORS);
    }
    if (end > s->file_len) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the grain directory at sector %" PRIu64 " ends at byte %" PRIu64 ", the file at %" PRIu64,
                       s->x.store->path, h->directory.sector, end, s->file_len);
    }
    return VIX_OK;
}

static VixError make_tables(struct sesparse_extent *s, uint64_t cache_bytes, struct err *err)
{
    struct grain_tables_params dir = {.entry_count = s->h.gt_count,
                                      .width = 8,
                                      .cache_bytes = DIRECTORY_CACHE_BYTES,
                                      .load = load_directory,
                                      .ctx = s};
    struct grain_tables_params tables = {.entry_count = div_up(s->h.capacity, GRAIN_SECTORS),
                                         .width = 8,
                                         .cache_bytes = cache_bytes,
                                         .load = load_page,
                                         .ctx = s};
    VixError e = grain_tables_new(&dir, &s->dir, err);

    if (e == VIX_OK) {
        e = grain_tables_new(&tables, &s->tables, err);
    }
    if (e != VIX_OK) {
        err_prefix(err, "%s: ", s->x.store->path);
    }
    return e;
}

static VixError sesparse_setup(struct sesparse_extent *s, const struct extent_open_params *p, struct err *err)
{
    VixError e = read_headers(s, err);

    if (e == VIX_OK) {
        e = check_places(s, p->nsectors, err);
    }
    if (e == VIX_OK && p->writable) {
        e = refuse_writing(p->store, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    s->x.grain_sectors = GRAIN_SECTORS;
    s->x.nsectors = p->nsectors > 0 ? p->nsectors : s->h.capacity;
    return make_tables(s, p->table_cache_bytes, err);
}

VixError extent_sesparse_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    struct sesparse_extent *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->x.ops = &sesparse_ops;
    s->x.store = p->store;
    VixError e = sesparse_setup(s, p, err);
    if (e != VIX_OK) {
        (void)sesparse_close(&s->x, NULL);
        return e;
    }
    *ret_x = &s->x;
    return VIX_OK;
}

static const struct extent_ops sesparse_ops = {
    .name = "SESPARSE",
    .map = sesparse_map,
    .map_many = extent_map_one,
    .read_coded = sesparse_read_coded,
    .write = sesparse_write,
    .pull = sesparse_pull,
    .flush = sesparse_flush,
    .close = sesparse_close,
};

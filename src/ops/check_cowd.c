/* SPDX-License-Identifier: BSD-3-Clause */
/* check_cowd.c - the pass over COWD extents. Invariants: the header can be right; directory and tables lie inside the
 * file; tables and grains are apart from each other and before freeSector, which is not behind the end of the file; the
 * file was closed. There is one copy of everything, so only what the header says can be repaired. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/check_int.h"
#include "vmdk/cowd_header.h"

#define TABLE_BYTES (COWD_GT_SECTORS * SECTOR_SIZE)
#define OFF_GD 20u
#define OFF_GD_ENTRIES 24u
#define OFF_FREE 28u
#define OFF_UNCLEAN 1648u

struct cowd_check {
    struct check_file *f;
    struct cowd_header h;
    uint8_t header[COWD_HEADER_BYTES];
    uint64_t file_sectors; /* a part of one counts */
    uint64_t first;        /* sector at which tables and grains may begin */
    uint64_t used_end;     /* of all tables and grains */
    uint64_t past_end;
    uint64_t allocated;
    uint32_t *dir;
    uint8_t *table;
    struct check_map map;
    bool tells; /* this is the first pass over the tables */
};

/* ---- header and directory ---- */

static VixError check_header(struct cowd_check *k, bool *ret_go, struct err *err)
{
    struct check_file *f = k->f;
    struct err why;

    err_init(&why);
    VixError code = check_read_padded(f->store, k->header, sizeof k->header, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    *ret_go = cowd_header_parse(k->header, f->store->path, &k->h, &why) == VIX_OK;
    if (!*ret_go) {
        (void)check_found(f->c, PROBLEM_HEADER_INVALID, 0, f->first, f->nsectors, "%s", why.text);
        return VIX_OK;
    }
    check_capacity(f, k->h.capacity, k->h.grain_sectors);
    k->file_sectors = div_up(f->len, SECTOR_SIZE);
    k->first = k->used_end = k->h.gd_sector + k->h.gd_sectors;
    if (k->h.gd_sector * (uint64_t)SECTOR_SIZE + k->h.gt_count * 4 > f->len) {
        (void)check_found(f->c, PROBLEM_DIRECTORY_LOST, OFF_GD, f->first, f->nsectors,
                          "gdOffset is %" PRIu32 ": the directory of %" PRIu64
                          " tables does not lie inside the file of %" PRIu64 " bytes",
                          k->h.gd_sector, k->h.gt_count, f->len);
        *ret_go = false;
    } else if (k->h.gd_entries != k->h.gt_count) {
        (void)check_found(f->c, PROBLEM_DIRECTORY_SIZE, OFF_GD_ENTRIES, 0, 0,
                          "numGDEntries is %" PRIu32 ", %" PRIu32 " sectors take %" PRIu64, k->h.gd_entries,
                          k->h.capacity, k->h.gt_count);
    }
    return VIX_OK;
}

static VixError load_directory(struct cowd_check *k, struct err *err)
{
    uint64_t n = k->h.gt_count;

    k->dir = alloc_array(n, sizeof *k->dir, err);
    k->table = alloc_aligned(4096, TABLE_BYTES, err);
    if (k->dir == NULL || k->table == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read(k->f->store, k->dir, n * 4, (uint64_t)k->h.gd_sector * SECTOR_SIZE, err);
    for (uint64_t i = 0; code == VIX_OK && i < n; i++) {
        k->dir[i] = get_le32(&k->dir[i]);
    }
    return code;
}

static uint64_t table_covers(const struct cowd_check *k)
{
    return (uint64_t)COWD_GTES_PER_GT * k->h.grain_sectors;
}

static void tell_table(struct cowd_check *k, enum problem_code code, uint64_t gt, const char *why)
{
    struct check_file *f = k->f;
    uint64_t sector = gt * table_covers(k);

    (void)check_found(f->c, code, (uint64_t)k->h.gd_sector * SECTOR_SIZE + gt * 4, f->first + sector,
                      check_clip(f, sector, table_covers(k)),
                      "grain table %" PRIu64 " is at sector %" PRIu32 ": %s (tables lie from sector %" PRIu64
                      " to %" PRIu64 ")",
                      gt, k->dir[gt], why, k->first, k->file_sectors);
}

static void check_directory(struct cowd_check *k)
{
    for (uint64_t gt = 0; gt < k->h.gt_count; gt++) {
        uint32_t gde = k->dir[gt];
        if (gde == 0) {
            continue;
        }
        if (gde < k->first || ((uint64_t)gde + COWD_GT_SECTORS) * SECTOR_SIZE > k->f->len) {
            tell_table(k, PROBLEM_TABLE_LOST, gt, "no table can be there");
            k->dir[gt] = 0;
            continue;
        }
        k->used_end = max_u64(k->used_end, (uint64_t)gde + COWD_GT_SECTORS);
    }
}

/* ---- tables ---- */

typedef void visit_func(struct cowd_check *k, uint64_t gt, uint64_t index, uint32_t gte);

static void tell_entry(struct cowd_check *k, enum problem_code code, uint64_t gt, uint64_t index, uint32_t gte,
                       const char *why)
{
    struct check_file *f = k->f;
    uint64_t sector = (gt * COWD_GTES_PER_GT + index) * k->h.grain_sectors;

    (void)check_found(f->c, code, (uint64_t)k->dir[gt] * SECTOR_SIZE + index * 4, f->first + sector,
                      check_clip(f, sector, k->h.grain_sectors),
                      "entry %" PRIu64 " of grain table %" PRIu64 " is sector %" PRIu32 ": %s", index, gt, gte, why);
}

static bool is_grain(const struct cowd_check *k, uint32_t gte)
{
    return gte >= k->first && gte < k->file_sectors;
}

static void visit_first(struct cowd_check *k, uint64_t gt, uint64_t index, uint32_t gte)
{
    if (!is_grain(k, gte)) {
        if (k->tells) {
            tell_entry(k, PROBLEM_ENTRY_OUTSIDE, gt, index, gte, "no grain can be there");
        }
        return;
    }
    k->used_end = max_u64(k->used_end, min_u64((uint64_t)gte + k->h.grain_sectors, k->file_sectors));
    k->allocated += k->tells;
    check_map_take(&k->map, gte, k->h.grain_sectors);
}

static void visit_overlaps(struct cowd_check *k, uint64_t gt, uint64_t index, uint32_t gte)
{
    if (is_grain(k, gte) && check_map_overlaps(&k->map, gte, k->h.grain_sectors)) {
        tell_entry(k, PROBLEM_GRAIN_OVERLAP, gt, index, gte, "another grain or a table has a part of it");
    }
}

static VixError visit_table(struct cowd_check *k, uint64_t gt, visit_func *visit, struct err *err)
{
    uint64_t grains = div_up(k->h.capacity, k->h.grain_sectors);
    uint64_t n = min_u64(COWD_GTES_PER_GT, grains - gt * COWD_GTES_PER_GT);
    VixError code = store_read(k->f->store, k->table, TABLE_BYTES, (uint64_t)k->dir[gt] * SECTOR_SIZE, err);

    for (uint64_t i = 0; code == VIX_OK && i < COWD_GTES_PER_GT; i++) {
        uint32_t gte = get_le32(k->table + 4 * i);
        if (gte != 0 && i < n) {
            visit(k, gt, i, gte);
        } else if (gte != 0 && k->tells) {
            k->past_end++;
        }
    }
    return code;
}

static VixError walk(struct cowd_check *k, visit_func *visit, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t gt = 0; code == VIX_OK && gt < k->h.gt_count; gt++) {
        if (k->dir[gt] != 0) {
            code = visit_table(k, gt, visit, err);
        }
    }
    return code;
}

static void take_tables(struct cowd_check *k)
{
    for (uint64_t gt = 0; gt < k->h.gt_count; gt++) {
        if (k->dir[gt] != 0) {
            check_map_take(&k->map, k->dir[gt], COWD_GT_SECTORS);
        }
    }
}

static VixError tell_overlaps(struct cowd_check *k, struct err *err)
{
    if (k->map.overlap_count == 0) {
        return VIX_OK;
    }
    k->f->c->withheld = true;
    check_map_settle(&k->map);
    for (uint64_t gt = 0; gt < k->h.gt_count; gt++) {
        if (k->dir[gt] != 0 && check_map_overlaps(&k->map, k->dir[gt], COWD_GT_SECTORS)) {
            tell_table(k, PROBLEM_TABLE_SHARED, gt, "a grain or another table has a part of it");
        }
    }
    return walk(k, visit_overlaps, err);
}

static VixError check_tables(struct cowd_check *k, struct err *err)
{
    uint64_t count = k->file_sectors;
    VixError code = check_map_init(&k->map, 1, count, err);

    if (code != VIX_OK) {
        return code;
    }
    k->tells = true;
    do {
        take_tables(k);
        code = walk(k, visit_first, err);
        k->tells = false;
    } while (code == VIX_OK && check_map_next(&k->map, count));
    return code == VIX_OK ? tell_overlaps(k, err) : code;
}

/* ---- what the header says of the rest ---- */

static void count(struct cowd_check *k)
{
    struct check *c = k->f->c;
    uint64_t all = k->file_sectors - min_u64(k->file_sectors, k->first);
    uint64_t leaked = (all - min_u64(all, k->map.taken)) * SECTOR_SIZE;

    c->sum.grains += div_up(k->h.capacity, k->h.grain_sectors);
    c->sum.allocated_grains += k->allocated;
    if (k->past_end > 0) {
        (void)check_found(c, PROBLEM_ENTRIES_PAST_END, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " entries of the last grain table cover nothing of the disk and are not 0",
                          k->past_end);
    }
    if (leaked >= (uint64_t)k->h.grain_sectors * SECTOR_SIZE) {
        c->sum.leaked_bytes += leaked;
        (void)check_found(c, PROBLEM_LEAKED, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " bytes behind the directory belong to no table or grain", leaked);
    }
}

static bool check_free_sector(struct cowd_check *k)
{
    struct check *c = k->f->c;

    if (k->h.free_sector > k->file_sectors) {
        (void)check_found(c, PROBLEM_FREE_BEYOND, OFF_FREE, 0, 0,
                          "freeSector is %" PRIu32 ", the file ends at sector %" PRIu64, k->h.free_sector,
                          k->file_sectors);
    }
    return k->h.free_sector < k->used_end &&
           check_found(c, PROBLEM_FREE_STALE, OFF_FREE, 0, 0,
                       "freeSector is %" PRIu32 ", the last sector in use is %" PRIu64, k->h.free_sector,
                       k->used_end - 1);
}

static bool check_unclean(struct cowd_check *k)
{
    struct check *c = k->f->c;

    if (!k->h.unclean) {
        return false;
    }
    if (check_is_hurt(c)) {
        (void)check_found(c, PROBLEM_UNCLEAN_DAMAGED, OFF_UNCLEAN, 0, 0,
                          "uncleanShutdown is not 0, and stays so until what was found is gone");
        return false;
    }
    return check_found(c, PROBLEM_UNCLEAN, OFF_UNCLEAN, 0, 0, "uncleanShutdown is not 0");
}

static VixError repair(struct cowd_check *k, bool raise, bool clear, struct err *err)
{
    struct store *s = k->f->store;

    if ((!raise && !clear) || k->f->c->withheld) {
        return VIX_OK;
    }
    cowd_header_update(k->header, raise ? (uint32_t)k->used_end : k->h.free_sector, k->h.unclean && !clear);
    VixError code = s->ops->flush(s, err);
    if (code == VIX_OK) {
        code = store_write(s, k->header, sizeof k->header, 0, err);
    }
    return code == VIX_OK ? s->ops->flush(s, err) : code;
}

static VixError check_all(struct cowd_check *k, struct err *err)
{
    bool go = false;
    VixError code = check_header(k, &go, err);

    if (code != VIX_OK || !go) {
        return code;
    }
    code = load_directory(k, err);
    if (code != VIX_OK) {
        return code;
    }
    check_directory(k);
    code = check_tables(k, err);
    if (code != VIX_OK) {
        return code;
    }
    count(k);
    bool raise = check_free_sector(k);
    bool clear = check_unclean(k);
    return repair(k, raise, clear, err);
}

VixError check_cowd(struct check_file *f, struct err *err)
{
    struct cowd_check k = {.f = f};
    VixError code = check_all(&k, err);

    free(k.dir);
    free(k.table);
    check_map_done(&k.map);
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sesparse.c - the pass over SE sparse extents. Invariants: the headers can be right, and no journal waits; the
 * regions lie apart; directory entries name tables inside their region, each once; table entries are of a known kind
 * and name grains inside theirs, each once. Nothing is repaired: how the journal follows a change is not published. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "ops/check_int.h"
#include "vmdk/sesparse_header.h"

#define GRAIN_SECTORS (UINT64_C(1) << SESPARSE_GRAIN_SHIFT)
#define TABLE_BYTES (SESPARSE_TABLE_SECTORS * SECTOR_SIZE)
#define DIRECTORY_CHUNK UINT64_C(4096) /* entries */

struct se_check {
    struct check_file *f;
    struct sesparse_header h;
    uint64_t file_sectors;
    uint64_t table_count; /* tables that the region can hold inside the file */
    uint64_t grain_room;  /* grains, the same */
    uint64_t allocated, past_end;
    uint8_t *dir; /* DIRECTORY_CHUNK entries */
    uint8_t *table;
    struct check_map tables, grains; /* units: one table, one grain */
    bool tells, overlaps;
};

/* ---- headers ---- */

static VixError check_volatile(struct se_check *k, struct err *err)
{
    struct check_file *f = k->f;
    uint8_t sector[SECTOR_SIZE];
    uint64_t off = k->h.volatile_header.sector * SECTOR_SIZE;
    struct err why;

    err_init(&why);
    VixError code = check_read_padded(f->store, sector, sizeof sector, off, err);
    if (code != VIX_OK) {
        return code;
    }
    code = sesparse_check_volatile(sector, f->store->path, &why);
    if (code != VIX_OK) {
        (void)check_found(f->c, code == VIX_E_DISK_NEEDSREPAIR ? PROBLEM_JOURNAL : PROBLEM_VOLATILE_HEADER, off,
                          f->first, f->nsectors, "%s", why.text);
    }
    return VIX_OK;
}

static void check_regions(struct se_check *k)
{
    const struct sesparse_header *h = &k->h;
    const struct {
        const char *name;
        uint64_t first, end;
    } regions[] = {
        {"header", 0, 1},
        {"volatile header", h->volatile_header.sector, h->volatile_header.sector + 1},
        {"grain directory", h->directory.sector, h->directory.sector + h->directory.nsectors},
        {"grain tables", h->tables.sector, h->tables.sector + h->tables.nsectors},
        {"grains", h->grains.sector, h->grains.sector + h->grains.nsectors},
    };

    for (unsigned i = 0; i < sizeof regions / sizeof regions[0]; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (regions[i].first < regions[j].end && regions[j].first < regions[i].end) {
                (void)check_found(k->f->c, PROBLEM_METADATA_OVERLAP, 0, 0, 0,
                                  "%s (sectors %" PRIu64 " to %" PRIu64 ") and %s (%" PRIu64 " to %" PRIu64 ") overlap",
                                  regions[j].name, regions[j].first, regions[j].end - 1, regions[i].name,
                                  regions[i].first, regions[i].end - 1);
            }
        }
    }
}

static VixError check_header(struct se_check *k, bool *ret_go, struct err *err)
{
    struct check_file *f = k->f;
    uint8_t sector[SECTOR_SIZE];
    struct err why;

    err_init(&why);
    VixError code = check_read_padded(f->store, sector, sizeof sector, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    if (sesparse_header_parse(sector, f->store->path, &k->h, &why) != VIX_OK) {
        (void)check_found(f->c, PROBLEM_HEADER_INVALID, 0, f->first, f->nsectors, "%s", why.text);
        return VIX_OK;
    }
    check_capacity(f, k->h.capacity, GRAIN_SECTORS);
    check_regions(k);
    k->file_sectors = f->len / SECTOR_SIZE;
    *ret_go = k->h.directory.sector * SECTOR_SIZE + k->h.gt_count * 8 <= f->len;
    if (!*ret_go) {
        (void)check_found(f->c, PROBLEM_DIRECTORY_LOST, 128, f->first, f->nsectors,
                          "the directory of %" PRIu64 " tables at sector %" PRIu64
                          " does not lie inside the file of %" PRIu64 " bytes",
                          k->h.gt_count, k->h.directory.sector, f->len);
    }
    return check_volatile(k, err);
}

/* ---- tables ---- */

static uint64_t room_in(const struct se_check *k, const struct sesparse_region *r, uint64_t unit)
{
    uint64_t inside = k->file_sectors - min_u64(k->file_sectors, r->sector);
    return min_u64(inside, r->nsectors) / unit;
}

static void tell_entry(struct se_check *k, enum problem_code code, uint64_t gt, uint64_t t, uint64_t index,
                       uint64_t entry, const char *why)
{
    struct check_file *f = k->f;
    uint64_t sector = (gt * SESPARSE_GTES_PER_GT + index) << SESPARSE_GRAIN_SHIFT;
    uint64_t off = (k->h.tables.sector + t * SESPARSE_TABLE_SECTORS) * SECTOR_SIZE + index * 8;

    (void)check_found(f->c, code, off, f->first + sector, check_clip(f, sector, GRAIN_SECTORS),
                      "entry %" PRIu64 " of grain table %" PRIu64 " is 0x%016" PRIX64 ": %s", index, gt, entry, why);
}

static void visit_entry(struct se_check *k, uint64_t gt, uint64_t t, uint64_t index, uint64_t entry)
{
    unsigned kind = sesparse_entry_kind(entry);
    uint64_t grain = sesparse_entry_index(entry);

    if (k->overlaps) {
        if (kind == SESPARSE_GRAIN && grain < k->grain_room && check_map_overlaps(&k->grains, grain, 1)) {
            tell_entry(k, PROBLEM_GRAIN_OVERLAP, gt, t, index, entry, "another entry names the same grain");
        }
        return;
    }
    if (kind == SESPARSE_GRAIN && grain < k->grain_room) {
        check_map_take(&k->grains, grain, 1);
        k->allocated += k->tells;
    } else if (!k->tells) {
        return;
    } else if (kind == SESPARSE_GRAIN) {
        tell_entry(k, PROBLEM_ENTRY_OUTSIDE, gt, t, index, entry, "the grain does not lie inside region and file");
    } else if (kind == SESPARSE_ABSENT || kind > SESPARSE_GRAIN) {
        tell_entry(k, PROBLEM_ENTRY_KIND, gt, t, index, entry, "it means nothing");
    }
}

static VixError visit_table(struct se_check *k, uint64_t gt, uint64_t t, struct err *err)
{
    uint64_t grains = div_up(k->h.capacity, GRAIN_SECTORS) - gt * SESPARSE_GTES_PER_GT;
    uint64_t off = (k->h.tables.sector + t * SESPARSE_TABLE_SECTORS) * SECTOR_SIZE;
    VixError code = store_read(k->f->store, k->table, TABLE_BYTES, off, err);

    for (uint64_t i = 0; code == VIX_OK && i < SESPARSE_GTES_PER_GT; i++) {
        uint64_t entry = get_le64(k->table + 8 * i);
        if (entry != 0 && i < grains) {
            visit_entry(k, gt, t, i, entry);
        } else if (entry != 0 && k->tells) {
            k->past_end++;
        }
    }
    return code;
}

static void tell_directory(struct se_check *k, enum problem_code code, uint64_t gt, uint64_t gde, const char *why)
{
    struct check_file *f = k->f;
    uint64_t covers = (uint64_t)SESPARSE_GTES_PER_GT << SESPARSE_GRAIN_SHIFT;

    (void)check_found(f->c, code, k->h.directory.sector * SECTOR_SIZE + gt * 8, f->first + gt * covers,
                      check_clip(f, gt * covers, covers),
                      "entry %" PRIu64 " of the grain directory is 0x%016" PRIX64 ": %s", gt, gde, why);
}

static VixError visit_directory_entry(struct se_check *k, uint64_t gt, uint64_t gde, struct err *err)
{
    uint64_t t = gde & UINT32_MAX;

    if (gde >> 32 != SESPARSE_GDE_TABLE || t >= k->table_count) {
        if (k->tells) {
            tell_directory(k, PROBLEM_TABLE_LOST, gt, gde, "no table of the region inside the file");
        }
        return VIX_OK;
    }
    if (k->tells) {
        check_map_take(&k->tables, t, 1);
    } else if (k->overlaps && check_map_overlaps(&k->tables, t, 1)) {
        tell_directory(k, PROBLEM_TABLE_SHARED, gt, gde, "another entry names the same table");
        return VIX_OK; /* its grains are shared too, which says nothing new */
    }
    return visit_table(k, gt, t, err);
}

static VixError walk(struct se_check *k, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t gt = 0; code == VIX_OK && gt < k->h.gt_count; gt += DIRECTORY_CHUNK) {
        uint64_t n = min_u64(DIRECTORY_CHUNK, k->h.gt_count - gt);
        code = store_read(k->f->store, k->dir, n * 8, k->h.directory.sector * SECTOR_SIZE + gt * 8, err);
        for (uint64_t i = 0; code == VIX_OK && i < n; i++) {
            uint64_t gde = get_le64(k->dir + 8 * i);
            code = gde != 0 ? visit_directory_entry(k, gt + i, gde, err) : VIX_OK;
        }
    }
    return code;
}

static VixError check_tables(struct se_check *k, struct err *err)
{
    VixError code = check_map_init(&k->tables, 1, k->table_count, err);

    if (code == VIX_OK) {
        code = check_map_init(&k->grains, 1, k->grain_room, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    k->tells = true;
    do {
        code = walk(k, err);
        k->tells = false;
    } while (code == VIX_OK && check_map_next(&k->grains, k->grain_room));
    check_map_settle(&k->tables);
    check_map_settle(&k->grains);
    k->overlaps = true;
    bool any = k->tables.overlap_count + k->grains.overlap_count > 0;
    return code == VIX_OK && any ? walk(k, err) : code;
}

static VixError check_all(struct se_check *k, struct err *err)
{
    struct check *c = k->f->c;
    bool go = false;
    VixError code = check_header(k, &go, err);

    if (code != VIX_OK || !go) {
        return code;
    }
    k->table_count = min_u64(room_in(k, &k->h.tables, SESPARSE_TABLE_SECTORS), CHECK_MAP_UNITS);
    k->grain_room = room_in(k, &k->h.grains, GRAIN_SECTORS);
    k->dir = alloc_array(DIRECTORY_CHUNK, 8, err);
    k->table = alloc_aligned(4096, TABLE_BYTES, err);
    if (k->dir == NULL || k->table == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = check_tables(k, err);
    c->sum.grains += div_up(k->h.capacity, GRAIN_SECTORS);
    c->sum.allocated_grains += k->allocated;
    if (code == VIX_OK && k->past_end > 0) {
        (void)check_found(c, PROBLEM_ENTRIES_PAST_END, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " entries of the last grain table cover nothing of the disk and are not 0",
                          k->past_end);
    }
    return code;
}

VixError check_sesparse(struct check_file *f, struct err *err)
{
    struct se_check k = {.f = f};
    VixError code = check_all(&k, err);

    free(k.dir);
    free(k.table);
    check_map_done(&k.tables);
    check_map_done(&k.grains);
    return code;
}

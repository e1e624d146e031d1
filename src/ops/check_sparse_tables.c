/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sparse_tables.c - what the tables of a hosted sparse extent say: one pass over both copies in large reads,
 * equal pieces compared at once. A second pass follows only where grains are not aligned, a third only to name what
 * shares its place in the file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "ops/check_sparse_int.h"

#define CHUNK_BYTES (UINT64_C(1) << 20) /* of tables, of each copy */
#define LONE_MAX (UINT64_C(1) << 20)    /* limit: entries in one copy only that a check looks into */

/** Looks at an entry of which at least one copy is not 0. */
typedef void visit_func(struct sparse_check *s, uint64_t grain, uint32_t primary, uint32_t copy);

enum entry_kind { ENTRY_ABSENT, ENTRY_ZERO, ENTRY_UNANNOUNCED, ENTRY_OUTSIDE, ENTRY_GRAIN };

static enum entry_kind kind_of(const struct sparse_check *s, uint32_t gte)
{
    if (gte == GTE_ABSENT) {
        return ENTRY_ABSENT;
    }
    if (gte == GTE_ZERO) {
        return (s->h.flags & KDMV_FLAG_ZERO_GTE) != 0 ? ENTRY_ZERO : ENTRY_UNANNOUNCED;
    }
    if (gte < s->h.overhead_sectors || gte * (uint64_t)SECTOR_SIZE >= s->f->len ||
        gte + s->h.grain_sectors > GRAIN_FILE_SECTORS_MAX) {
        return ENTRY_OUTSIDE;
    }
    return ENTRY_GRAIN;
}

/* ---- reading ---- */

static uint64_t table_bytes(const struct sparse_check *s)
{
    return s->h.gt_sectors * SECTOR_SIZE;
}

/** Tables from this one on that follow one another in the file. */
static uint64_t run_of(const struct sparse_check *s, enum table_copy copy, uint64_t gt, uint64_t n)
{
    uint64_t run = 1;

    while (run < n && sparse_has_table(s, copy, gt + run) &&
           s->dir[copy][gt + run] == s->dir[copy][gt] + run * s->h.gt_sectors) {
        run++;
    }
    return run;
}

static VixError read_run(struct sparse_check *s, enum table_copy copy, uint64_t gt, uint64_t n, uint8_t *buf)
{
    return store_read(s->f->store, buf, n * table_bytes(s), (uint64_t)s->dir[copy][gt] * SECTOR_SIZE, NULL);
}

VixError sparse_read_tables(struct sparse_check *s, enum table_copy copy, uint64_t gt, uint64_t n, struct err *err)
{
    uint8_t *buf = s->tables[copy];

    (void)err;
    for (uint64_t i = 0, run; i < n; i += run) {
        uint8_t *to = buf + i * table_bytes(s);
        run = 1;
        if (!sparse_has_table(s, copy, gt + i)) {
            memset(to, 0, table_bytes(s));
            continue;
        }
        run = run_of(s, copy, gt + i, n - i);
        if (read_run(s, copy, gt + i, run, to) == VIX_OK) {
            continue;
        }
        run = 1;
        if (read_run(s, copy, gt + i, 1, to) != VIX_OK) {
            memset(to, 0, table_bytes(s));
            s->f->c->withheld = true; /* it may have entries that its copy has not, and be read another day */
            sparse_table_lost(s, copy, gt + i, "it cannot be read");
        }
    }
    return VIX_OK;
}

/* ---- walking ---- */

static void visit_table(struct sparse_check *s, uint64_t gt, const uint8_t *primary, const uint8_t *copy,
                        visit_func *visit)
{
    uint64_t first = gt * s->h.gtes_per_gt;
    uint64_t n = min_u64(s->h.gtes_per_gt, s->grain_count - first);
    static const uint8_t zeros[64];

    for (uint64_t i = 0; i < n;) {
        if (i % 16 == 0 && i + 16 <= n && memcmp(primary + 4 * i, zeros, sizeof zeros) == 0 &&
            (copy == primary || memcmp(copy + 4 * i, zeros, sizeof zeros) == 0)) {
            i += 16;
            continue;
        }
        uint32_t p = get_le32(primary + 4 * i), c = copy == primary ? p : get_le32(copy + 4 * i);
        if ((p | c) != 0) {
            visit(s, first + i, p, c);
        }
        i++;
    }
}

/** A table, or the copy that is there of it. */
static void visit_copies(struct sparse_check *s, uint64_t gt, uint8_t *primary, uint8_t *copy, visit_func *visit)
{
    bool has_primary = sparse_has_table(s, PRIMARY, gt);
    bool has_copy = s->copies == 2 && sparse_has_table(s, REDUNDANT, gt);

    if (has_primary && has_copy && memcmp(primary, copy, table_bytes(s)) != 0) {
        visit_table(s, gt, primary, copy, visit);
    } else if (has_primary) {
        visit_table(s, gt, primary, primary, visit);
    } else if (has_copy) {
        visit_table(s, gt, copy, copy, visit);
    }
}

static VixError walk(struct sparse_check *s, visit_func *visit, struct err *err)
{
    uint64_t chunk = max_u64(CHUNK_BYTES / table_bytes(s), 1);
    VixError code = VIX_OK;

    for (uint64_t gt = 0; code == VIX_OK && gt < s->h.gt_count; gt += chunk) {
        uint64_t n = min_u64(chunk, s->h.gt_count - gt);
        for (unsigned copy = 0; code == VIX_OK && copy < s->copies; copy++) {
            code = sparse_read_tables(s, (enum table_copy)copy, gt, n, err);
        }
        for (uint64_t i = 0; code == VIX_OK && i < n; i++) {
            uint64_t at = i * table_bytes(s);
            uint8_t *copy = s->copies == 2 ? s->tables[REDUNDANT] + at : NULL;
            visit_copies(s, gt + i, s->tables[PRIMARY] + at, copy, visit);
        }
    }
    return code != VIX_OK ? code : s->failure;
}

/* ---- telling ---- */

/** The place in the file of an entry, in the copy that counts. */
static uint64_t entry_off(const struct sparse_check *s, uint64_t grain)
{
    uint64_t gt = grain / s->h.gtes_per_gt;
    enum table_copy copy = sparse_has_table(s, PRIMARY, gt) ? PRIMARY : REDUNDANT;

    return (uint64_t)s->dir[copy][gt] * SECTOR_SIZE + grain % s->h.gtes_per_gt * 4;
}

static bool tell_entry(struct sparse_check *s, enum problem_code code, uint64_t grain, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool tell_entry(struct sparse_check *s, enum problem_code code, uint64_t grain, const char *fmt, ...)
{
    struct check_file *f = s->f;
    uint64_t sector = grain * s->h.grain_sectors;
    char what[192];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return check_found(f->c, code, entry_off(s, grain), f->first + sector, check_clip(f, sector, s->h.grain_sectors),
                       "entry %" PRIu64 " of grain table %" PRIu64 " %s", grain % s->h.gtes_per_gt,
                       grain / s->h.gtes_per_gt, what);
}

static void tell_outside(struct sparse_check *s, uint64_t grain, uint32_t gte)
{
    (void)tell_entry(s, PROBLEM_ENTRY_OUTSIDE, grain,
                     "is sector %" PRIu32 ", outside of the grains, which end at sector %" PRIu64, gte,
                     div_up(s->f->len, SECTOR_SIZE));
}

/** Tells of a grain that goes on where the next new one will come: it is not aligned, and the file ends in the middle
 * of it, but is as long as whole grains. Other files that end within a grain leave its place free when they are
 * written; so does the last grain of a disk. */
static void tell_cut(struct sparse_check *s, uint64_t grain, uint32_t gte)
{
    uint64_t size = s->h.grain_sectors, needed = min_u64(size, s->h.capacity - grain * size);

    if (gte % size != 0 && s->f->len % (size * SECTOR_SIZE) == 0 && gte + needed > s->file_sectors) {
        (void)tell_entry(s, PROBLEM_ENTRY_OUTSIDE, grain,
                         "is sector %" PRIu32 ", and the file ends at sector %" PRIu64 ", in the middle of that grain",
                         gte, s->file_sectors);
    }
}

/* ---- the first pass ---- */

static void add_lone(struct sparse_check *s, uint64_t grain, uint32_t value, enum table_copy missing)
{
    if (s->lone_count == s->lone_room) {
        size_t room = s->lone_room * 2 + 1024;
        struct sparse_lone *lone = alloc_array(room, sizeof *lone, NULL);
        if (lone == NULL) {
            s->failure = VIX_E_OUT_OF_MEMORY;
            return;
        }
        if (s->lone_count > 0) {
            memcpy(lone, s->lone, s->lone_count * sizeof *lone);
        }
        free(s->lone);
        s->lone = lone;
        s->lone_room = room;
    }
    s->lone[s->lone_count++] = (struct sparse_lone){.grain = grain, .value = value, .missing = missing};
}

static void take_grain(struct sparse_check *s, uint32_t gte)
{
    if (gte % s->map.unit != 0) {
        s->first_unaligned = s->unaligned == 0 ? gte : s->first_unaligned;
        s->unaligned++;
        return;
    }
    check_map_take(&s->map, gte, s->h.grain_sectors);
}

static void note_value(struct sparse_check *s, uint64_t grain, uint32_t gte)
{
    switch (kind_of(s, gte)) {
    case ENTRY_GRAIN:
        s->allocated++;
        tell_cut(s, grain, gte);
        take_grain(s, gte);
        break;
    case ENTRY_OUTSIDE:
        tell_outside(s, grain, gte);
        break;
    case ENTRY_UNANNOUNCED:
        if (tell_entry(s, s->f->in_child ? PROBLEM_ZERO_ENTRY : PROBLEM_ZERO_ENTRY_BASE, grain,
                       "is 1, which means zeros only with bit 2 of flags; those are 0x%" PRIX32, s->h.flags)) {
            s->repair_flags = true;
        }
        break;
    default:
        break;
    }
}

/** What is nothing in both copies is not made out of one of them either. */
static void note_lone(struct sparse_check *s, uint64_t grain, uint32_t value, enum table_copy missing)
{
    enum entry_kind kind = kind_of(s, value);

    if (kind == ENTRY_OUTSIDE || kind == ENTRY_UNANNOUNCED) {
        note_value(s, grain, value);
    } else if (kind == ENTRY_GRAIN) {
        tell_cut(s, grain, value);
    }
    if (kind == ENTRY_OUTSIDE || (kind == ENTRY_UNANNOUNCED && !s->f->in_child)) {
        return;
    }
    if (s->lone_count >= LONE_MAX) {
        (void)tell_entry(s, PROBLEM_ENTRIES_DIFFER, grain,
                         "is %" PRIu32 " in one copy only; more than %" PRIu64 " of them are not looked into", value,
                         LONE_MAX);
    } else {
        add_lone(s, grain, value, missing);
    }
}

static void visit_first(struct sparse_check *s, uint64_t grain, uint32_t primary, uint32_t copy)
{
    if (primary == copy) {
        note_value(s, grain, primary);
    } else if (primary == 0) {
        note_lone(s, grain, copy, PRIMARY);
    } else if (copy == 0) {
        note_lone(s, grain, primary, REDUNDANT);
    } else {
        if (kind_of(s, primary) != ENTRY_OUTSIDE) {
            (void)tell_entry(s, PROBLEM_ENTRIES_DIFFER, grain,
                             "is sector %" PRIu32 ", in the redundant table sector %" PRIu32, primary, copy);
        }
        note_value(s, grain, primary);
    }
}

static void visit_take(struct sparse_check *s, uint64_t grain, uint32_t primary, uint32_t copy)
{
    uint32_t gte = primary != 0 && (copy != 0 || primary == copy) ? primary : 0;

    (void)grain;
    if (kind_of(s, gte) == ENTRY_GRAIN) {
        check_map_take(&s->map, gte, s->h.grain_sectors);
    }
}

/** Grains of which only one copy of the tables knows; after all others of the part of the file that is in view. */
static void take_lone(struct sparse_check *s)
{
    for (size_t i = 0; i < s->lone_count; i++) {
        if (kind_of(s, s->lone[i].value) == ENTRY_GRAIN) {
            check_map_take(&s->map, s->lone[i].value, s->h.grain_sectors);
        }
    }
}

/** Tables that lie among the grains, and a descriptor. */
static void take_tables(struct sparse_check *s)
{
    if (s->h.descriptor_sector >= s->h.overhead_sectors && s->h.descriptor_sector != 0) {
        check_map_take(&s->map, s->h.descriptor_sector, s->h.descriptor_sectors);
    }
    for (size_t i = 0; i < s->piece_count; i++) {
        if (s->pieces[i].sector + s->h.gt_sectors > s->h.overhead_sectors) {
            check_map_take(&s->map, s->pieces[i].sector, s->h.gt_sectors);
        }
    }
}

/* ---- the passes in turn ---- */

/** Sectors of the file in which grains may begin or end. */
static uint64_t sectors_in_view(const struct sparse_check *s)
{
    return min_u64(s->file_sectors + 1 + s->h.grain_sectors, GRAIN_FILE_SECTORS_MAX);
}

static VixError first_pass(struct sparse_check *s, struct err *err)
{
    uint64_t unit = s->h.grain_sectors, count = div_up(sectors_in_view(s), unit);
    VixError code = check_map_init(&s->map, unit, count, err);

    if (code == VIX_OK && count > CHECK_MAP_UNITS) {
        s->unaligned = 1; /* grains of a few sectors in a very long file: window by window */
    }
    if (code == VIX_OK) {
        take_tables(s);
        code = walk(s, visit_first, err);
    }
    if (code == VIX_OK) {
        take_lone(s);
    }
    return code;
}

static VixError by_sectors(struct sparse_check *s, struct err *err)
{
    uint64_t count = sectors_in_view(s);

    check_map_done(&s->map);
    VixError code = check_map_init(&s->map, 1, count, err);
    if (code != VIX_OK) {
        return code;
    }
    do {
        take_tables(s);
        code = walk(s, visit_take, err);
        take_lone(s);
    } while (code == VIX_OK && check_map_next(&s->map, count));
    return code;
}

static void visit_overlaps(struct sparse_check *s, uint64_t grain, uint32_t primary, uint32_t copy)
{
    uint32_t gte = primary != 0 ? primary : copy;

    if (kind_of(s, gte) == ENTRY_GRAIN && check_map_overlaps(&s->map, gte, s->h.grain_sectors)) {
        /* A directory that leads astray can look like this too: nothing of the file is written to. */
        s->f->c->withheld = true;
        (void)tell_entry(s, PROBLEM_GRAIN_OVERLAP, grain,
                         "is sector %" PRIu32 "; another grain or a table has a part of these %" PRIu64 " sectors", gte,
                         s->h.grain_sectors);
    }
}

static VixError tell_overlaps(struct sparse_check *s, struct err *err)
{
    if (s->map.overlap_count == 0) {
        return VIX_OK;
    }
    /* No grain may be among them: tables that are not aligned share units of the map, but not their places. */
    check_map_settle(&s->map);
    return walk(s, visit_overlaps, err);
}

static void tell_lone(struct sparse_check *s)
{
    for (size_t i = 0; i < s->lone_count; i++) {
        const struct sparse_lone *l = &s->lone[i];
        bool grain = kind_of(s, l->value) == ENTRY_GRAIN;
        if (grain && check_map_overlaps(&s->map, l->value, s->h.grain_sectors)) {
            continue; /* told as an overlap */
        }
        s->allocated += grain;
        if (tell_entry(s, PROBLEM_ENTRY_LONE, l->grain,
                       l->missing == PRIMARY ? "is 0, in the redundant table sector %" PRIu32
                                             : "is sector %" PRIu32 ", in the redundant table 0",
                       l->value)) {
            s->repair_entries = true;
        }
    }
}

/** Entries of the last table that cover nothing of the disk. */
static void count_past_end(struct sparse_check *s)
{
    uint64_t gt = s->h.gt_count - 1, used = s->grain_count - gt * s->h.gtes_per_gt;

    for (unsigned copy = 0; copy < s->copies; copy++) {
        if (!sparse_has_table(s, (enum table_copy)copy, gt) ||
            sparse_read_tables(s, (enum table_copy)copy, gt, 1, NULL) != VIX_OK) {
            continue;
        }
        for (uint64_t i = used; i < s->h.gtes_per_gt; i++) {
            s->past_end += get_le32(s->tables[copy] + 4 * i) != 0;
        }
    }
    if (s->past_end > 0) {
        (void)check_found(s->f->c, PROBLEM_ENTRIES_PAST_END, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " entries behind number %" PRIu64 " of grain table %" PRIu64 " are not 0",
                          s->past_end, used - 1, gt);
    }
}

static void tell_unaligned(struct sparse_check *s)
{
    if (s->unaligned > 0 && s->first_unaligned > 0) {
        (void)check_found(s->f->c, PROBLEM_ENTRY_UNALIGNED, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " grains, the first at sector %" PRIu64 ", do not begin at a multiple of %" PRIu64
                          " sectors",
                          s->unaligned, s->first_unaligned, s->h.grain_sectors);
    }
}

VixError sparse_check_tables(struct sparse_check *s, struct err *err)
{
    uint64_t bytes = max_u64(CHUNK_BYTES, table_bytes(s));

    for (unsigned copy = 0; copy < s->copies; copy++) {
        s->tables[copy] = alloc_aligned(4096, bytes, err);
        if (s->tables[copy] == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    VixError code = first_pass(s, err);
    if (code == VIX_OK) {
        tell_unaligned(s);
        code = s->unaligned > 0 ? by_sectors(s, err) : VIX_OK;
    }
    if (code == VIX_OK) {
        code = tell_overlaps(s, err);
    }
    if (code == VIX_OK) {
        tell_lone(s);
        count_past_end(s);
    }
    return code;
}

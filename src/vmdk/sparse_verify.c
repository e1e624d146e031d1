/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_verify.c - what must be proved before a hosted sparse extent is written to.
 *
 * Always, at a cost of the directories alone: directories and tables lie inside the file and nothing overlaps, so that
 * a write to one thing never damages another. After a crash (the unclean flag) also, at the cost of reading all tables:
 *   - both copies of the tables agree, or one has an entry where the other has 0: the mark of a crash between writing
 *     them. Data comes before either, so the entry is right and is copied;
 *   - every grain lies inside the file, behind the metadata;
 *   - no two grains overlap.
 * What cannot be put right safely is refused. Runs while the extent is opened, on one thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "vmdk/sparse_int.h"

#define MAX_GRAIN_MAP_BYTES (UINT64_C(64) << 20) /* limit: bytes of the map of an unclean file: a bit a grain */

static VixError needs_repair(const struct sparse_extent *s, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static VixError needs_repair(const struct sparse_extent *s, struct err *err, const char *fmt, ...)
{
    va_list args;

    if (err != NULL) {
        char why[ERR_TEXT_MAX / 2];
        va_start(args, fmt);
        (void)vsnprintf(why, sizeof why, fmt, args);
        va_end(args);
        (void)err_set(err, VIX_E_DISK_NEEDSREPAIR, "%s: not opened for writing: %s; see 'vixdisk check'",
                      s->g.x.store->path, why);
    }
    return VIX_E_DISK_NEEDSREPAIR;
}

/* ---- directories ---- */

/* A piece of the file that nothing else may share. */
struct piece {
    uint64_t first, end; /* sectors */
    const char *what;
};

struct piece_list {
    struct piece *pieces;
    size_t n, room;
};

static VixError add_piece(struct piece_list *l, uint64_t first, uint64_t nsectors, const char *what, struct err *err)
{
    if (nsectors == 0) {
        return VIX_OK;
    }
    if (l->n == l->room) {
        size_t room = l->room > 0 ? 2 * l->room : 8;
        struct piece *pieces = realloc(l->pieces, room * sizeof(*pieces));
        if (pieces == NULL) {
            return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory to compare the places of %zu tables", room);
        }
        l->pieces = pieces;
        l->room = room;
    }
    l->pieces[l->n++] = (struct piece){first, first + nsectors, what};
    return VIX_OK;
}

/* Adds the tables of a directory; those that follow each other as one piece, which in the usual layout is all. */
static VixError add_tables(const struct sparse_extent *s, struct piece_list *l, const struct sparse_directory *gd,
                           const char *what, struct err *err)
{
    uint64_t len = atomic_load(&s->g.file_len);
    struct piece run = {0, 0, what};

    for (uint64_t i = 0; i < s->h.gt_count; i++) {
        uint64_t sector = sparse_gde(gd, i);
        if (sector == GDE_ABSENT) {
            continue;
        }
        if (sector == GDE_ALL_ZERO || (sector + s->h.gt_sectors) * SECTOR_SIZE > len) {
            return needs_repair(s, err,
                                "%s %" PRIu64 " is said to be at sector %" PRIu64 " of a file of %" PRIu64 " bytes",
                                what, i, sector, len);
        }
        if (run.end != sector) {
            VixError e = add_piece(l, run.first, run.end - run.first, what, err);
            if (e != VIX_OK) {
                return e;
            }
            run.first = sector;
        }
        run.end = sector + s->h.gt_sectors;
    }
    return add_piece(l, run.first, run.end - run.first, what, err);
}

static int by_first(const void *a, const void *b)
{
    const struct piece *pa = a, *pb = b;
    return pa->first < pb->first ? -1 : pa->first > pb->first;
}

static VixError check_disjoint(const struct sparse_extent *s, struct piece_list *l, struct err *err)
{
    qsort(l->pieces, l->n, sizeof l->pieces[0], by_first);
    for (size_t i = 1; i < l->n; i++) {
        const struct piece *a = &l->pieces[i - 1], *b = &l->pieces[i];
        if (b->first < a->end) {
            return needs_repair(s, err, "%s (sectors %" PRIu64 " to %" PRIu64 ") and %s (from %" PRIu64 " on) overlap",
                                a->what, a->first, a->end - 1, b->what, b->first);
        }
    }
    return VIX_OK;
}

static VixError collect_pieces(struct sparse_extent *s, struct piece_list *l, struct err *err)
{
    const struct sparse_header *h = &s->h;
    VixError e = add_piece(l, 0, 1, "the header", err);

    if (e == VIX_OK && h->descriptor_sector != 0) {
        e = add_piece(l, h->descriptor_sector, h->descriptor_sectors, "the descriptor", err);
    }
    if (e == VIX_OK) {
        e = add_piece(l, h->gd_sector, h->gd_sectors, "the grain directory", err);
    }
    if (e == VIX_OK) {
        e = add_tables(s, l, &s->gd, "grain table", err);
    }
    if (e == VIX_OK && s->rgd.present) {
        e = add_piece(l, h->rgd_sector, h->gd_sectors, "the redundant grain directory", err);
    }
    if (e == VIX_OK && s->rgd.present) {
        e = add_tables(s, l, &s->rgd, "redundant grain table", err);
    }
    return e;
}

static VixError check_layout(struct sparse_extent *s, struct err *err)
{
    uint64_t overhead = s->h.overhead_sectors, len = atomic_load(&s->g.file_len);
    struct piece_list l = {.pieces = NULL};

    if (overhead * SECTOR_SIZE > len) {
        return needs_repair(s, err, "overHead is %" PRIu64 " sectors, the file has %" PRIu64 " bytes", overhead, len);
    }
    VixError e = collect_pieces(s, &l, err);
    if (e == VIX_OK) {
        e = check_disjoint(s, &l, err);
    }
    free(l.pieces);
    return e;
}

/* ---- tables ---- */

static size_t table_bytes(const struct sparse_extent *s)
{
    return s->h.gt_sectors * SECTOR_SIZE;
}

/* Reads a table, zeros where there is none. */
static VixError read_table(struct sparse_extent *s, const struct sparse_directory *gd, uint64_t gt, uint8_t *buf,
                           struct err *err)
{
    uint64_t sector = sparse_gde(gd, gt);

    if (sector == GDE_ABSENT) {
        memset(buf, 0, table_bytes(s));
        return VIX_OK;
    }
    return store_read(s->g.x.store, buf, table_bytes(s), sector * SECTOR_SIZE, err);
}

/* A redundant table without its primary may only be an empty one, left by a crash while both were made. */
static VixError check_lone_copies(struct sparse_extent *s, struct err *err)
{
    CLEANUP_FREE uint8_t *buf = alloc_zero(table_bytes(s), err);

    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
        if (sparse_gde(&s->gd, gt) != GDE_ABSENT || sparse_gde(&s->rgd, gt) == GDE_ABSENT) {
            continue;
        }
        VixError e = read_table(s, &s->rgd, gt, buf, err);
        if (e != VIX_OK) {
            return e;
        }
        for (size_t i = 0; i < s->h.gtes_per_gt; i++) {
            if (get_le32(buf + 4 * i) != 0) {
                return needs_repair(s, err, "grain table %" PRIu64 " is missing, but its copy holds grains", gt);
            }
        }
    }
    return VIX_OK;
}

/* ---- after a crash ---- */

struct scan {
    struct sparse_extent *s;
    uint64_t unit;  /* sectors for each bit of map: a grain, or 1 */
    uint8_t *map;   /* what grains were seen to occupy */
    bool unaligned; /* a grain was met that is not at a multiple of the grain size */
    uint64_t differences;
    uint8_t *primary, *copy; /* a table of each */
};

/* Notes a grain's place; false if one of its units is taken. */
static bool occupy(struct scan *c, uint64_t gte)
{
    uint64_t n = c->s->h.grain_sectors / c->unit, first = gte / c->unit;

    for (uint64_t u = first; u < first + n; u++) {
        uint8_t bit = (uint8_t)(1u << (u % 8));
        if ((c->map[u / 8] & bit) != 0) {
            return false;
        }
        c->map[u / 8] |= bit;
    }
    return true;
}

/* One entry, of which at least one copy is not 0. */
static VixError scan_entry(struct scan *c, uint64_t grain, uint32_t primary, uint32_t copy, struct err *err)
{
    struct sparse_extent *s = c->s;
    uint64_t gte = primary != 0 ? primary : copy;

    if (primary != copy) {
        if (primary != 0 && copy != 0) {
            return needs_repair(s, err,
                                "it was not closed cleanly, and the copies of entry %" PRIu64 " of grain table %" PRIu64
                                " differ: %" PRIu32 " and %" PRIu32,
                                grain % s->h.gtes_per_gt, grain / s->h.gtes_per_gt, primary, copy);
        }
        c->differences++;
    }
    if (gte == GTE_ZERO && s->g.zero_entries) {
        return VIX_OK;
    }
    if (gte < s->h.overhead_sectors || gte <= GTE_ZERO || gte * SECTOR_SIZE >= atomic_load(&s->g.file_len) ||
        gte + s->h.grain_sectors > GRAIN_FILE_SECTORS_MAX) {
        return needs_repair(s, err,
                            "it was not closed cleanly, and entry %" PRIu64 " of grain table %" PRIu64 " is %" PRIu64
                            ", outside of %" PRIu64 " to %" PRIu64,
                            grain % s->h.gtes_per_gt, grain / s->h.gtes_per_gt, gte, s->h.overhead_sectors,
                            atomic_load(&s->g.file_len) / SECTOR_SIZE);
    }
    if (gte % c->unit != 0) {
        c->unaligned = true;
        return VIX_OK;
    }
    if (!occupy(c, gte)) {
        return needs_repair(s, err,
                            "it was not closed cleanly, and the grain of entry %" PRIu64 " of grain table %" PRIu64
                            " at sector %" PRIu64 " overlaps another",
                            grain % s->h.gtes_per_gt, grain / s->h.gtes_per_gt, gte);
    }
    return VIX_OK;
}

static VixError read_both(struct scan *c, uint64_t gt, struct err *err)
{
    VixError e = read_table(c->s, &c->s->gd, gt, c->primary, err);

    if (e == VIX_OK && c->s->rgd.present) {
        e = read_table(c->s, &c->s->rgd, gt, c->copy, err);
    } else if (e == VIX_OK) {
        memcpy(c->copy, c->primary, table_bytes(c->s));
    }
    return e;
}

static VixError scan_table(struct scan *c, uint64_t gt, struct err *err)
{
    struct sparse_extent *s = c->s;
    uint64_t first = gt * s->h.gtes_per_gt;
    uint64_t n = min_u64(s->h.gtes_per_gt, div_up(s->h.capacity, s->h.grain_sectors) - first);
    VixError e = read_both(c, gt, err);

    for (uint64_t i = 0; e == VIX_OK && i < n; i++) {
        uint32_t primary = get_le32(c->primary + 4 * i), copy = get_le32(c->copy + 4 * i);
        if ((primary | copy) != 0) {
            e = scan_entry(c, first + i, primary, copy, err);
        }
    }
    return e;
}

static VixError scan_all(struct scan *c, uint64_t unit, struct err *err)
{
    struct sparse_extent *s = c->s;
    uint64_t end = atomic_load(&s->g.file_len) / SECTOR_SIZE + 1 + s->h.grain_sectors; /* the last grain may be short */
    uint64_t bytes = div_up(div_up(min_u64(end, GRAIN_FILE_SECTORS_MAX), unit), 8);
    VixError e = VIX_OK;

    if (bytes > MAX_GRAIN_MAP_BYTES) {
        return needs_repair(s, err,
                            "it was not closed cleanly, and to look for overlaps takes %" PRIu64
                            " bytes of memory, allowed are %" PRIu64,
                            bytes, MAX_GRAIN_MAP_BYTES);
    }
    free(c->map);
    c->map = alloc_zero(bytes, err);
    if (c->map == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    c->unit = unit;
    c->unaligned = false;
    c->differences = 0;
    for (uint64_t gt = 0; e == VIX_OK && gt < s->h.gt_count; gt++) {
        e = scan_table(c, gt, err);
    }
    return e;
}

/* Copies entries that only one copy has into the other, if they differ. */
static VixError repair_table(struct scan *c, uint64_t gt, struct err *err)
{
    struct sparse_extent *s = c->s;
    uint64_t to_copy = sparse_gde(&s->rgd, gt), to_primary = sparse_gde(&s->gd, gt);
    VixError e = read_both(c, gt, err);

    if (e != VIX_OK || memcmp(c->primary, c->copy, table_bytes(s)) == 0) {
        return e;
    }
    for (size_t i = 0; i < s->h.gtes_per_gt; i++) {
        uint32_t primary = get_le32(c->primary + 4 * i);
        put_le32(c->primary + 4 * i, primary != 0 ? primary : get_le32(c->copy + 4 * i));
    }
    if (to_copy != GDE_ABSENT) {
        e = store_write(s->g.x.store, c->primary, table_bytes(s), to_copy * SECTOR_SIZE, err);
    }
    if (e == VIX_OK && to_primary != GDE_ABSENT) {
        e = store_write(s->g.x.store, c->primary, table_bytes(s), to_primary * SECTOR_SIZE, err);
    }
    return e;
}

static VixError repair_differences(struct scan *c, struct err *err)
{
    VixError e = VIX_OK;

    for (uint64_t gt = 0; e == VIX_OK && gt < c->s->h.gt_count; gt++) {
        e = repair_table(c, gt, err);
    }
    if (e == VIX_OK) {
        log_news("%s: not closed cleanly: %" PRIu64 " table entries copied to where they were missing",
                 c->s->g.x.store->path, c->differences);
        e = c->s->g.x.store->ops->flush(c->s->g.x.store, err);
    }
    return e;
}

static VixError recover(struct sparse_extent *s, struct err *err)
{
    CLEANUP_FREE uint8_t *primary = alloc_zero(table_bytes(s), err), *copy = alloc_zero(table_bytes(s), err);
    struct scan c = {.s = s, .primary = primary, .copy = copy};
    VixError e = VIX_E_OUT_OF_MEMORY;

    if (primary != NULL && copy != NULL) {
        e = scan_all(&c, s->h.grain_sectors, err);
        if (e == VIX_OK && c.unaligned) {
            e = scan_all(&c, 1, err);
        }
        if (e == VIX_OK && c.differences > 0) {
            e = repair_differences(&c, err);
        }
        free(c.map);
    }
    return e;
}

/* New grains go behind the end of the file: whatever lies before it may be data of a write whose entries a crash cut
 * off, never a hole. One grain further where the last one may be short and not aligned; that of the end of a disk may
 * be short in a file whose length looks whole. */
static VixError set_next_free(struct sparse_extent *s, struct err *err)
{
    uint64_t len = atomic_load(&s->g.file_len), grain = grain_bytes(&s->g);
    uint64_t end = round_up(max_u64(len, s->h.overhead_sectors * SECTOR_SIZE), grain), gte = GTE_ABSENT;

    s->g.next_free = end / SECTOR_SIZE + (len % grain != 0 ? s->h.grain_sectors : 0);
    if (s->h.capacity % s->h.grain_sectors == 0) {
        return VIX_OK;
    }
    VixError e = grain_tables_get(s->g.tables, s->h.capacity / s->h.grain_sectors, &gte, err);
    if (e == VIX_OK && gte > GTE_ZERO && gte * SECTOR_SIZE < len) {
        s->g.next_free = max_u64(s->g.next_free, round_up(gte + s->h.grain_sectors, s->h.grain_sectors));
    }
    return e;
}

VixError sparse_verify_for_write(struct sparse_extent *s, struct err *err)
{
    if (s->h.gt_count > SPARSE_MAX_WRITABLE_TABLES) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: %" PRIu64 " grain tables, an extent open for writing can have %u", s->g.x.store->path,
                       s->h.gt_count, SPARSE_MAX_WRITABLE_TABLES);
    }
    VixError e = sparse_directory_load(s, s->h.gd_sector, &s->gd, err);
    if (e == VIX_OK && s->redundant) {
        e = sparse_directory_load(s, s->h.rgd_sector, &s->rgd, err);
    }
    if (e == VIX_OK) {
        e = check_layout(s, err);
    }
    if (e == VIX_OK && s->rgd.present) {
        e = check_lone_copies(s, err);
    }
    if (e == VIX_OK && s->h.unclean) {
        e = recover(s, err);
        atomic_store(&s->g.marked, e == VIX_OK); /* the flag is there already; close clears it */
    }
    return e == VIX_OK ? set_next_free(s, err) : e;
}

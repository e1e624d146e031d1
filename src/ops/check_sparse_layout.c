/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sparse_layout.c - where the directories and tables of a hosted sparse extent are. What lies outside of the
 * file, or on top of something else, counts as lost, unless its place is the one of the usual layout: then the other
 * thing is in the wrong place. What is lost in one copy can be had from the other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/check_sparse_int.h"

#define OFF_RGD 48u
#define OFF_GD 56u

static const char *const copy_name[2] = {"", "redundant "};

/* ---- the directories ---- */

static bool ranges_meet(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return alen > 0 && blen > 0 && a < b + blen && b < a + alen;
}

/** Whether sectors meet the header or the descriptor. */
static bool meets_front(const struct sparse_check *s, uint64_t sector, uint64_t nsectors)
{
    const struct sparse_header *h = &s->h;

    return ranges_meet(sector, nsectors, 0, 1) ||
           (h->descriptor_sector != 0 && ranges_meet(sector, nsectors, h->descriptor_sector, h->descriptor_sectors));
}

static bool is_canonical(const struct sparse_check *s, unsigned copy)
{
    return s->dir_sector[copy] == sparse_canonical_directory(s, (enum table_copy)copy);
}

static bool directory_is_inside(const struct sparse_check *s, unsigned copy)
{
    return s->dir_sector[copy] * SECTOR_SIZE + s->h.gt_count * 4 <= s->f->len &&
           !meets_front(s, s->dir_sector[copy], s->h.gd_sectors);
}

static bool is_before_grains(const struct sparse_check *s, unsigned copy)
{
    return s->dir_sector[copy] + s->h.gd_sectors <= s->h.overhead_sectors;
}

/** Decides by the header alone which directories can be where it has them. */
static void judge_directories(struct sparse_check *s)
{
    for (unsigned copy = 0; copy < s->copies; copy++) {
        s->dir_lost[copy] = !directory_is_inside(s, copy);
    }
    if (s->copies == 1 || s->dir_lost[0] || s->dir_lost[1]) {
        return;
    }
    bool meet = ranges_meet(s->dir_sector[0], s->h.gd_sectors, s->dir_sector[1], s->h.gd_sectors);
    for (unsigned copy = 0; copy < 2; copy++) {
        /* Among the grains it would be taken for data, or data for it. */
        bool strays = !is_before_grains(s, copy) && !is_canonical(s, copy) && is_before_grains(s, 1 - copy);
        s->dir_lost[copy] = strays || (meet && !is_canonical(s, copy));
    }
}

static VixError load_directory(struct sparse_check *s, unsigned copy, struct err *err)
{
    uint64_t n = s->h.gt_count;
    CLEANUP_FREE uint8_t *bytes = alloc_array(n, 4, err);

    s->dir[copy] = alloc_array(n, sizeof *s->dir[copy], err);
    if (bytes == NULL || s->dir[copy] == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (!s->dir_lost[copy]) {
        VixError code = store_read(s->f->store, bytes, n * 4, s->dir_sector[copy] * SECTOR_SIZE, NULL);
        s->dir_lost[copy] = code != VIX_OK;
        s->f->c->withheld = s->f->c->withheld || code != VIX_OK; /* nothing is made anew of what may be read later */
    }
    for (uint64_t i = 0; i < n; i++) {
        s->dir[copy][i] = s->dir_lost[copy] ? TABLE_LOST : get_le32(bytes + 4 * i);
    }
    return VIX_OK;
}

static void lose_directory(struct sparse_check *s, unsigned copy)
{
    s->dir_lost[copy] = true;
    for (uint64_t i = 0; i < s->h.gt_count; i++) {
        s->dir[copy][i] = TABLE_LOST;
    }
}

/* ---- the tables ---- */

static bool table_is_inside(const struct sparse_check *s, uint64_t sector)
{
    return sector > GDE_ALL_ZERO && (sector + s->h.gt_sectors) * SECTOR_SIZE <= s->f->len &&
           !meets_front(s, sector, s->h.gt_sectors);
}

/** Notes which entries of the directories lead nowhere. */
static void judge_entries(struct sparse_check *s)
{
    for (unsigned copy = 0; copy < s->copies; copy++) {
        for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
            uint32_t gde = s->dir[copy][gt];
            if (gde != GDE_ABSENT && gde != TABLE_LOST && !table_is_inside(s, gde)) {
                s->dir[copy][gt] = TABLE_LOST;
            }
        }
    }
}

static int compare_pieces(const void *a, const void *b)
{
    uint32_t x = ((const struct sparse_piece *)a)->sector, y = ((const struct sparse_piece *)b)->sector;
    return x < y ? -1 : x > y;
}

/** Lists the tables by their place. */
static VixError list_pieces(struct sparse_check *s, struct err *err)
{
    s->pieces = alloc_array(s->copies * s->h.gt_count, sizeof *s->pieces, err);
    if (s->pieces == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    bool sorted = true;
    for (unsigned copy = s->copies; copy-- > 0;) { /* the redundant ones are first in the usual layout */
        for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
            if (sparse_has_table(s, (enum table_copy)copy, gt)) {
                uint32_t sector = s->dir[copy][gt];
                sorted = sorted && (s->piece_count == 0 || s->pieces[s->piece_count - 1].sector <= sector);
                s->pieces[s->piece_count++] = (struct sparse_piece){sector, (uint32_t)gt & 0x7FFFFFFF, copy & 1};
            }
        }
    }
    if (!sorted) {
        qsort(s->pieces, s->piece_count, sizeof *s->pieces, compare_pieces);
    }
    return VIX_OK;
}

static bool is_in_slot(const struct sparse_check *s, const struct sparse_piece *p)
{
    return p->sector == sparse_slot(s, (enum table_copy)p->copy, p->gt);
}

static bool is_gone(const struct sparse_check *s, const struct sparse_piece *p)
{
    return s->dir[p->copy][p->gt] != p->sector;
}

/** Tables that lie on top of each other: the one that is in its usual place stays. */
static void part_tables(struct sparse_check *s)
{
    struct sparse_piece *last = NULL;

    for (size_t i = 0; i < s->piece_count; i++) {
        struct sparse_piece *p = &s->pieces[i];
        if (last == NULL || p->sector >= last->sector + s->h.gt_sectors) {
            last = p;
            continue;
        }
        bool keep_last = is_in_slot(s, last), keep_this = is_in_slot(s, p);
        if (!keep_last) {
            s->dir[last->copy][last->gt] = TABLE_LOST;
        }
        if (!keep_this) {
            s->dir[p->copy][p->gt] = TABLE_LOST;
        }
        last = keep_last ? last : p;
    }
}

/** Tables on top of a directory. */
static void part_directory(struct sparse_check *s, unsigned copy)
{
    for (size_t i = 0; i < s->piece_count; i++) {
        struct sparse_piece *p = &s->pieces[i];
        if (is_gone(s, p) || !ranges_meet(p->sector, s->h.gt_sectors, s->dir_sector[copy], s->h.gd_sectors)) {
            continue;
        }
        if (!is_canonical(s, copy)) {
            lose_directory(s, copy);
            return;
        }
        s->dir[p->copy][p->gt] = TABLE_LOST;
    }
}

static void drop_gone(struct sparse_check *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->piece_count; i++) {
        if (!is_gone(s, &s->pieces[i])) {
            s->pieces[n++] = s->pieces[i];
        }
    }
    s->piece_count = n;
}

/** Whether a table, but for this one, meets a range. */
static bool meets_table(const struct sparse_check *s, uint64_t sector, uint64_t nsectors, enum table_copy copy,
                        uint64_t gt)
{
    size_t low = 0, high = s->piece_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->pieces[middle].sector + s->h.gt_sectors <= sector) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < s->piece_count && s->pieces[low].sector < sector + nsectors; low++) {
        if (s->pieces[low].copy != (unsigned)copy || s->pieces[low].gt != gt) {
            return true;
        }
    }
    return false;
}

bool sparse_is_free(const struct sparse_check *s, uint64_t sector, uint64_t nsectors, enum table_copy copy, uint64_t gt)
{
    if (sector + nsectors > s->h.overhead_sectors || (sector + nsectors) * SECTOR_SIZE > s->f->len ||
        meets_front(s, sector, nsectors)) {
        return false;
    }
    for (unsigned i = 0; i < s->copies; i++) {
        if (ranges_meet(sector, nsectors, s->dir_sector[i], s->h.gd_sectors) &&
            !(s->dir_lost[i] && s->dir_sector[i] == sector)) {
            return false;
        }
    }
    return !meets_table(s, sector, nsectors, copy, gt);
}

/** Whether a table lies among the grains, not in its usual place, while its other copy is where tables belong. A repair
 * puts one there whose usual place is taken: that is none. */
static bool table_strays(const struct sparse_check *s, unsigned copy, uint64_t gt)
{
    uint64_t end = s->dir[copy][gt] + s->h.gt_sectors;

    if (end <= s->h.overhead_sectors || s->copies == 1 ||
        s->dir[copy][gt] == sparse_slot(s, (enum table_copy)copy, gt)) {
        return false;
    }
    uint64_t other = s->dir[1 - copy][gt];
    return other != TABLE_LOST && other != GDE_ABSENT && other + s->h.gt_sectors <= s->h.overhead_sectors &&
           sparse_is_free(s, sparse_slot(s, (enum table_copy)copy, gt), s->h.gt_sectors, (enum table_copy)copy, gt);
}

/** Notes which tables stray, once all of them are listed. */
static void judge_strays(struct sparse_check *s)
{
    for (unsigned copy = 0; copy < s->copies; copy++) {
        for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
            if (sparse_has_table(s, (enum table_copy)copy, gt) && table_strays(s, copy, gt)) {
                s->dir[copy][gt] = TABLE_LOST;
            }
        }
    }
    drop_gone(s);
}

/* ---- telling ---- */

static void tell_table(struct sparse_check *s, unsigned copy, uint64_t gt, const char *why)
{
    struct check_file *f = s->f;
    uint64_t covers = s->h.gtes_per_gt * s->h.grain_sectors, sector = gt * covers;
    bool other = s->copies == 2 && sparse_has_table(s, (enum table_copy)(1 - copy), gt);
    enum problem_code code = !other            ? PROBLEM_TABLE_LOST
                             : copy == PRIMARY ? PROBLEM_TABLE_FROM_COPY
                                               : PROBLEM_TABLE_COPY;

    if (check_found(f->c, code, s->dir_sector[copy] * SECTOR_SIZE + gt * 4, f->first + sector,
                    check_clip(f, sector, covers), "%sgrain table %" PRIu64 ": %s", copy_name[copy], gt, why)) {
        s->repair_tables = true;
    }
}

void sparse_table_lost(struct sparse_check *s, enum table_copy copy, uint64_t gt, const char *why)
{
    s->dir[copy][gt] = TABLE_LOST;
    tell_table(s, copy, gt, why);
}

/** What the directories say of a table, as it stands in the file. */
static void tell_lost_table(struct sparse_check *s, unsigned copy, uint64_t gt)
{
    uint8_t bytes[4] = {0};
    char why[128];

    (void)store_read(s->f->store, bytes, 4, s->dir_sector[copy] * SECTOR_SIZE + gt * 4, NULL);
    (void)snprintf(why, sizeof why, "the directory has sector %" PRIu32 ", the file has %" PRIu64 " sectors",
                   get_le32(bytes), s->file_sectors);
    tell_table(s, copy, gt, why);
}

static void tell_tables(struct sparse_check *s)
{
    uint64_t behind = 0;

    for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
        bool any = false;
        for (unsigned copy = 0; copy < s->copies; copy++) {
            bool has = sparse_has_table(s, (enum table_copy)copy, gt);
            bool other = s->copies == 2 && sparse_has_table(s, (enum table_copy)(1 - copy), gt);
            /* Lost in both: told once. Absent: wrong only if the other copy is there. */
            bool bad = !has && !s->dir_lost[copy] && !any && (s->dir[copy][gt] == TABLE_LOST || other);
            any = any || (bad && !other);
            if (bad) {
                tell_lost_table(s, copy, gt);
            }
            behind += has && s->dir[copy][gt] + s->h.gt_sectors > s->h.overhead_sectors;
        }
    }
    if (behind > 0) {
        (void)check_found(s->f->c, PROBLEM_OVERHEAD_SMALL, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " tables lie behind overHead, which is %" PRIu64 " sectors", behind,
                          s->h.overhead_sectors);
    }
}

/** Whether the good copy has all that a new directory needs. */
static bool can_rebuild(const struct sparse_check *s, unsigned copy)
{
    if (s->copies == 1 || s->dir_lost[1 - copy] ||
        !sparse_is_free(s, s->dir_sector[copy], s->h.gd_sectors, (enum table_copy)copy, UINT32_MAX)) {
        return false;
    }
    for (uint64_t gt = 0; gt < s->h.gt_count; gt++) {
        if (s->dir[1 - copy][gt] == TABLE_LOST) {
            return false;
        }
    }
    return true;
}

static void tell_directory(struct sparse_check *s, unsigned copy)
{
    struct check_file *f = s->f;
    uint64_t found = s->dir_sector[copy];

    s->dir_sector[copy] = sparse_canonical_directory(s, (enum table_copy)copy);
    enum problem_code code = !can_rebuild(s, copy) ? PROBLEM_DIRECTORY_LOST
                             : copy == PRIMARY     ? PROBLEM_DIRECTORY_FROM_COPY
                                                   : PROBLEM_DIRECTORY_COPY;
    if (check_found(f->c, code, copy == PRIMARY ? OFF_GD : OFF_RGD, f->first, check_clip(f, 0, s->h.capacity),
                    "%s is %" PRIu64 ": no directory of %" PRIu64 " tables can be there in a file of %" PRIu64
                    " sectors",
                    copy == PRIMARY ? "gdOffset" : "rgdOffset", found, s->h.gt_count, s->file_sectors)) {
        s->repair_tables = s->dir_rebuild[copy] = true;
    }
}

/* ---- */

VixError sparse_check_layout(struct sparse_check *s, bool *ret_go, struct err *err)
{
    VixError code = VIX_OK;

    judge_directories(s);
    for (unsigned copy = 0; code == VIX_OK && copy < s->copies; copy++) {
        code = load_directory(s, copy, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    judge_entries(s);
    code = list_pieces(s, err);
    if (code != VIX_OK) {
        return code;
    }
    judge_strays(s);
    part_tables(s);
    for (unsigned copy = 0; copy < s->copies; copy++) {
        if (!s->dir_lost[copy]) {
            part_directory(s, copy);
        }
    }
    drop_gone(s);
    for (unsigned copy = 0; copy < s->copies; copy++) {
        if (s->dir_lost[copy]) {
            tell_directory(s, copy);
        }
    }
    tell_tables(s);
    *ret_go = !s->dir_lost[PRIMARY] || (s->copies == 2 && !s->dir_lost[REDUNDANT]);
    return VIX_OK;
}

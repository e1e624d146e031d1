/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sparse_repair.c - sets a hosted sparse extent right, by nothing but what one of the copies has. Order: what the
 * entries point to is on stable storage, then entries and tables, redundant before primary; then directories; at last,
 * in one write of sector 0, the header; the content ID changes before all of it where what is read will. A crash at any
 * point leaves what the next check repairs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "ops/check_sparse_int.h"

#define HEADER_FIELDS 73u /* bytes of the header up to the unclean flag */

static VixError flush(struct sparse_check *s, struct err *err)
{
    return s->f->store->ops->flush(s->f->store, err);
}

/* ---- entries ---- */

static VixError write_entry(struct sparse_check *s, const struct sparse_lone *l, struct err *err)
{
    uint64_t gt = l->grain / s->h.gtes_per_gt, index = l->grain % s->h.gtes_per_gt;
    uint8_t bytes[4];

    put_le32(bytes, l->value);
    return store_write(s->f->store, bytes, 4, (uint64_t)s->dir[l->missing][gt] * SECTOR_SIZE + index * 4, err);
}

static VixError write_entries(struct sparse_check *s, enum table_copy copy, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < s->lone_count; i++) {
        const struct sparse_lone *l = &s->lone[i];
        if (l->missing == copy && sparse_has_table(s, copy, l->grain / s->h.gtes_per_gt)) {
            code = write_entry(s, l, err);
        }
    }
    return code == VIX_OK ? flush(s, err) : code;
}

static VixError repair_entries(struct sparse_check *s, struct err *err)
{
    VixError code = flush(s, err);

    if (code == VIX_OK) {
        code = write_entries(s, REDUNDANT, err);
    }
    return code == VIX_OK ? write_entries(s, PRIMARY, err) : code;
}

/* ---- tables ---- */

static bool is_to_rebuild(const struct sparse_check *s, enum table_copy copy, uint64_t gt)
{
    return !sparse_has_table(s, copy, gt) && sparse_has_table(s, (enum table_copy)(1 - copy), gt);
}

/** Writes a table anew: to its usual place if that is free, else behind the end of the file; there too if its good copy
 * is among the grains, which would be taken for a stray one beside a table in its usual place. */
static VixError rebuild_table(struct sparse_check *s, enum table_copy copy, uint64_t gt, uint64_t *end, struct err *err)
{
    uint64_t sector = sparse_slot(s, copy, gt);
    enum table_copy good = (enum table_copy)(1 - copy);
    bool beside = s->dir[good][gt] + (uint64_t)s->h.gt_sectors > s->h.overhead_sectors;

    if (beside || !sparse_is_free(s, sector, s->h.gt_sectors, copy, gt)) {
        sector = *end;
        *end += round_up(s->h.gt_sectors, s->h.grain_sectors);
    }
    VixError code = sparse_read_tables(s, good, gt, 1, err);
    if (code == VIX_OK && !sparse_has_table(s, good, gt)) {
        return err_set(err, VIX_E_FILE_ERROR,
                       "%s: grain table %" PRIu64 ", of which a copy was to be made, cannot be read", s->f->store->path,
                       gt);
    }
    if (code == VIX_OK) {
        code = store_write(s->f->store, s->tables[good], s->h.gt_sectors * SECTOR_SIZE, sector * SECTOR_SIZE, err);
    }
    if (code == VIX_OK) {
        s->dir[copy][gt] = (uint32_t)sector;
    }
    return code;
}

static VixError write_directory_entry(struct sparse_check *s, enum table_copy copy, uint64_t gt, struct err *err)
{
    uint8_t bytes[4];

    put_le32(bytes, s->dir[copy][gt]);
    return store_write(s->f->store, bytes, 4, s->dir_sector[copy] * SECTOR_SIZE + gt * 4, err);
}

/** One copy: all tables, a barrier, then the entries of the directory. A directory that is made anew is written as a
 * whole. */
static VixError rebuild_copy(struct sparse_check *s, enum table_copy copy, uint64_t *end, struct err *err)
{
    VixError code = VIX_OK;

    if (s->dir_lost[copy] && !s->dir_rebuild[copy]) {
        return VIX_OK;
    }
    bool *done = alloc_array(s->h.gt_count, sizeof *done, err);
    if (done == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (uint64_t gt = 0; code == VIX_OK && gt < s->h.gt_count; gt++) {
        if (is_to_rebuild(s, copy, gt)) {
            code = rebuild_table(s, copy, gt, end, err);
            done[gt] = true;
        }
        if (s->dir_lost[copy] && s->dir[copy][gt] == TABLE_LOST) {
            s->dir[copy][gt] = GDE_ABSENT; /* the good copy has none either */
            done[gt] = true;
        }
    }
    if (code == VIX_OK) {
        code = flush(s, err);
    }
    for (uint64_t gt = 0; code == VIX_OK && gt < s->h.gt_count; gt++) {
        code = done[gt] ? write_directory_entry(s, copy, gt, err) : VIX_OK;
    }
    free(done);
    return code == VIX_OK ? flush(s, err) : code;
}

static VixError rebuild_tables(struct sparse_check *s, struct err *err)
{
    uint64_t end = round_up(max_u64(div_up(s->f->len, SECTOR_SIZE), s->h.overhead_sectors), s->h.grain_sectors);
    VixError code = rebuild_copy(s, REDUNDANT, &end, err);

    return code == VIX_OK ? rebuild_copy(s, PRIMARY, &end, err) : code;
}

/* ---- header ---- */

static VixError write_header(struct sparse_check *s, bool clear_unclean, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];

    if (s->repair_flags) {
        s->h.flags |= KDMV_FLAG_ZERO_GTE;
        s->h.version = s->h.version < 2 ? 2 : s->h.version;
    }
    s->h.unclean = s->h.unclean && !clear_unclean;
    s->h.gd_sector = s->dir_rebuild[PRIMARY] ? s->dir_sector[PRIMARY] : s->h.gd_sector;
    s->h.rgd_sector = s->dir_rebuild[REDUNDANT] ? s->dir_sector[REDUNDANT] : s->h.rgd_sector;
    sparse_header_encode(&s->h, sector);
    if (memcmp(sector, s->sector, HEADER_FIELDS) == 0) {
        return VIX_OK;
    }
    memcpy(s->sector, sector, HEADER_FIELDS); /* what follows stays as it is */
    VixError code = store_write(s->f->store, s->sector, sizeof s->sector, 0, err);
    return code == VIX_OK ? flush(s, err) : code;
}

/** Whether sectors read otherwise afterwards: readers take the primary directory and its tables. */
static bool changes_content(const struct sparse_check *s)
{
    for (size_t i = 0; s->repair_entries && i < s->lone_count; i++) {
        const struct sparse_lone *l = &s->lone[i];
        if (l->missing == PRIMARY && sparse_has_table(s, PRIMARY, l->grain / s->h.gtes_per_gt)) {
            return true;
        }
    }
    for (uint64_t gt = 0; s->repair_tables && gt < s->h.gt_count; gt++) {
        if (is_to_rebuild(s, PRIMARY, gt)) {
            return true;
        }
    }
    return false;
}

VixError sparse_repair(struct sparse_check *s, bool clear_unclean, struct err *err)
{
    VixError code = changes_content(s) ? check_renew_cid(s->f, err) : VIX_OK;

    if (code == VIX_OK && s->repair_entries) {
        code = repair_entries(s, err);
    }
    if (code == VIX_OK && s->repair_tables) {
        code = rebuild_tables(s, err);
    }
    if (code == VIX_OK && (s->repair_flags || s->repair_tables || clear_unclean)) {
        code = write_header(s, clear_unclean, err);
    }
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* cowd_write.c - what writing to a COWD extent does beyond grains of any format. Tables are made when the first grain
 * of theirs is: in new space, which is a hole and so an empty table. A flush writes where free space begins, then comes
 * the barrier for data and the length of the file, then tables and directory, in any order: a directory entry that
 * reaches the disk before its table names a table of zeros. */
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/cowd_int.h"

/* ---- header ---- */

static VixError write_header_locked(struct cowd_extent *c, bool unclean, struct err *err)
{
    cowd_header_update(c->header, (uint32_t)min_u64(c->g.next_free, COWD_MAX_SECTORS), unclean);
    return store_write(c->g.x.store, c->header, sizeof c->header, 0, err);
}

/* What the header calls free begins inside the file, or at its end, when it is said to be in order. */
static VixError fill_last_grain_locked(struct grain_extent *g, struct err *err)
{
    if (g->next_free * SECTOR_SIZE <= atomic_load(&g->file_len)) {
        return VIX_OK;
    }
    return g->x.store->ops->truncate(g->x.store, g->next_free * SECTOR_SIZE, err);
}

VixError cowd_write_unclean_locked(struct grain_extent *g, bool unclean, struct err *err)
{
    VixError e = unclean ? VIX_OK : fill_last_grain_locked(g, err);

    if (e == VIX_OK) {
        e = write_header_locked(cowd_of(g), unclean, err);
    }
    return e == VIX_OK ? g->x.store->ops->flush(g->x.store, err) : e;
}

/* ---- tables that do not exist yet ---- */

static VixError ensure_table(struct cowd_extent *c, uint64_t gt, struct err *err)
{
    uint64_t gde, sector;

    SCOPED_LOCK(&c->g.lock);
    VixError e = grain_tables_get(c->dir, gt, &gde, err);
    if (e == VIX_OK && gde == GDE_ABSENT) {
        e = grain_take_space_locked(&c->g, COWD_GT_SECTORS, &sector, err);
        if (e == VIX_OK) {
            e = grain_tables_set(c->dir, gt, 1, sector, 0, err);
        }
    }
    return e;
}

VixError cowd_ensure_tables(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err)
{
    struct cowd_extent *c = cowd_of(g);
    uint64_t last = (grain + ngrains - 1) / COWD_GTES_PER_GT, gde;
    VixError e = VIX_OK;

    for (uint64_t gt = grain / COWD_GTES_PER_GT; e == VIX_OK && gt <= last; gt++) {
        e = grain_tables_get(c->dir, gt, &gde, err);
        if (e == VIX_OK && gde == GDE_ABSENT) {
            e = ensure_table(c, gt, err);
        }
    }
    return e;
}

/* ---- flush ---- */

static VixError place_in_table(void *ctx, uint64_t first_entry, uint64_t *ret_off, struct err *err)
{
    struct cowd_extent *c = ctx;
    uint64_t gde;
    VixError e = grain_tables_get(c->dir, first_entry / COWD_GTES_PER_GT, &gde, err);

    if (e == VIX_OK) {
        *ret_off = gde * SECTOR_SIZE + first_entry % COWD_GTES_PER_GT * 4;
    }
    return e;
}

static VixError place_in_directory(void *ctx, uint64_t first_entry, uint64_t *ret_off, struct err *err)
{
    const struct cowd_extent *c = ctx;

    (void)err;
    *ret_off = (uint64_t)c->h.gd_sector * SECTOR_SIZE + first_entry * 4;
    return VIX_OK;
}

static VixError write_free_sector(struct cowd_extent *c, struct err *err)
{
    SCOPED_LOCK(&c->g.lock);
    return write_header_locked(c, true, err);
}

/* The snapshot of the directory is younger than that of the tables, so it names all of them; what it names beyond them
 * is older than the barrier. */
VixError cowd_write_tables(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err)
{
    struct cowd_extent *c = cowd_of(g);
    struct grain_snapshot dir;
    VixError e = grain_tables_snapshot(c->dir, &dir, err);

    if (e != VIX_OK) {
        return e;
    }
    e = write_free_sector(c, err);
    if (e == VIX_OK) {
        e = g->x.store->ops->flush(g->x.store, err);
    }
    if (e == VIX_OK) {
        e = grain_write_snapshot(g, snap, place_in_table, c, err);
    }
    if (e == VIX_OK && dir.nsectors > 0) {
        e = grain_write_snapshot(g, &dir, place_in_directory, c, err);
    }
    grain_tables_snapshot_end(c->dir, &dir, e == VIX_OK);
    return e;
}

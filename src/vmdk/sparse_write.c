/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_write.c - what writing to a hosted sparse extent does beyond grains of any format: the unclean flag, tables
 * that do not exist yet, both copies of tables. Locks: see grain_extent.h. */
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/sparse_int.h"

#define HEADER_UNCLEAN_OFF 72u

VixError sparse_write_unclean_locked(struct grain_extent *g, bool unclean, struct err *err)
{
    struct sparse_extent *s = sparse_of(g);
    struct store *store = g->x.store;

    s->header_sector[HEADER_UNCLEAN_OFF] = unclean;
    VixError e = store_write(store, s->header_sector, SECTOR_SIZE, 0, err);
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}

void extent_sparse_hold(struct extent *x)
{
    (void)pthread_mutex_lock(&grain_extent_of(x)->lock);
}

void extent_sparse_release(struct extent *x, uint64_t end)
{
    struct grain_extent *g = grain_extent_of(x);

    g->next_free = max_u64(g->next_free, round_up(end, x->grain_sectors));
    (void)pthread_mutex_unlock(&g->lock);
}

VixError extent_sparse_point_at_descriptor(struct extent *x, uint64_t sector, uint64_t nsectors, struct err *err)
{
    struct sparse_extent *s = sparse_of(grain_extent_of(x));

    sparse_header_set_descriptor(s->header_sector, sector, nsectors);
    VixError e = store_write(x->store, s->header_sector, SECTOR_SIZE, 0, err);
    return e == VIX_OK ? x->store->ops->flush(x->store, err) : e;
}

/* ---- tables that do not exist yet ---- */

static bool has_tables(struct sparse_extent *s, uint64_t gt)
{
    return sparse_gde(&s->gd, gt) != GDE_ABSENT && (!s->rgd.present || sparse_gde(&s->rgd, gt) != GDE_ABSENT);
}

static VixError write_gde(struct sparse_extent *s, uint64_t gd_sector, uint64_t gt, uint64_t sector, struct err *err)
{
    uint8_t bytes[4];

    put_le32(bytes, (uint32_t)sector);
    return store_write(s->g.x.store, bytes, sizeof bytes, gd_sector * SECTOR_SIZE + gt * 4, err);
}

/* Makes the missing copies of a table in new space; only when that is on stable storage as zeros do the directories
 * name it. */
static VixError make_tables_locked(struct sparse_extent *s, uint64_t gt, struct err *err)
{
    bool primary = sparse_gde(&s->gd, gt) == GDE_ABSENT;
    bool copy = s->rgd.present && sparse_gde(&s->rgd, gt) == GDE_ABSENT;
    uint64_t space = round_up(((uint64_t)primary + copy) * s->h.gt_sectors, s->h.grain_sectors), sector;
    VixError e = grain_take_space_locked(&s->g, space, &sector, err);

    if (e == VIX_OK) {
        e = s->g.x.store->ops->flush(s->g.x.store, err);
    }
    if (e == VIX_OK && copy) {
        e = write_gde(s, s->h.rgd_sector, gt, sector, err);
    }
    if (e == VIX_OK && primary) {
        e = write_gde(s, s->h.gd_sector, gt, sector + (copy ? s->h.gt_sectors : 0), err);
    }
    if (e != VIX_OK) {
        return e;
    }
    if (copy) {
        atomic_store(&s->rgd.entries[gt], (uint32_t)sector);
    }
    if (primary) {
        atomic_store(&s->gd.entries[gt], (uint32_t)(sector + (copy ? s->h.gt_sectors : 0)));
    }
    return VIX_OK;
}

static VixError ensure_table(struct sparse_extent *s, uint64_t gt, struct err *err)
{
    VixError e = VIX_OK;
    bool had_primary;

    {
        SCOPED_LOCK(&s->g.lock);
        had_primary = sparse_gde(&s->gd, gt) != GDE_ABSENT;
        if (!has_tables(s, gt)) {
            e = make_tables_locked(s, gt, err);
        }
    }
    if (e == VIX_OK && had_primary) { /* a new copy of an old table: the next flush has to fill it */
        uint64_t first = gt * s->h.gtes_per_gt;
        e = grain_tables_touch(s->g.tables, first, s->h.gtes_per_gt, err);
    }
    return e;
}

VixError sparse_ensure_tables(struct grain_extent *g, uint64_t grain, uint64_t ngrains, struct err *err)
{
    struct sparse_extent *s = sparse_of(g);
    uint64_t last = (grain + ngrains - 1) / s->h.gtes_per_gt;

    for (uint64_t gt = grain / s->h.gtes_per_gt; gt <= last; gt++) {
        if (!has_tables(s, gt)) {
            VixError e = ensure_table(s, gt, err);
            if (e != VIX_OK) {
                return e;
            }
        }
    }
    return VIX_OK;
}

/* ---- flush ---- */

/* One copy of the tables. */
struct copy_place {
    const struct sparse_directory *gd;
    uint64_t gtes_per_gt;
};

static VixError table_sector_off(void *ctx, uint64_t first_entry, uint64_t *ret_off, struct err *err)
{
    const struct copy_place *c = ctx;

    (void)err;
    *ret_off = sparse_gde(c->gd, first_entry / c->gtes_per_gt) * SECTOR_SIZE + first_entry % c->gtes_per_gt * 4;
    return VIX_OK;
}

VixError sparse_write_tables(struct grain_extent *g, const struct grain_snapshot *snap, struct err *err)
{
    const struct sparse_extent *s = sparse_of(g);
    struct copy_place primary = {&s->gd, s->h.gtes_per_gt}, copy = {&s->rgd, s->h.gtes_per_gt};
    VixError e = g->x.store->ops->flush(g->x.store, err); /* the data that the entries point to */

    if (e == VIX_OK && s->rgd.present) {
        e = grain_write_snapshot(g, snap, table_sector_off, &copy, err);
    }
    if (e == VIX_OK) {
        e = grain_write_snapshot(g, snap, table_sector_off, &primary, err);
    }
    return e;
}

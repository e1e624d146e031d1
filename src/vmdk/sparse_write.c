/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_write.c - writing to a hosted sparse extent.
 *
 * A grain that has its place is overwritten there, without a lock. Grains without a place are first claimed, so that no
 * two writers allocate the same one; the claimer takes space for them at the end of the file as one run, writes the
 * data straight from the caller's buffer, and only then sets their entries, in memory. New space is a hole: what need
 * not be written (zeros) stays one. flush carries the entries to the file: data, barrier, redundant tables, primary
 * tables, barrier. Entries set after the moment of its snapshot wait for the next flush, as their data may come after
 * the barrier.
 *
 * Before the first change of an open the unclean flag goes to the disk. Data that cannot be written is the caller's
 * failure alone; tables that cannot be written make the extent dead for writing (readers go on seeing what was
 * acknowledged), unless the disk is full: then the next flush tries again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "codec/codec.h"
#include "vmdk/sparse_int.h"

#define GROW_STEP_MIN (UINT64_C(1) << 20) /* bytes by which the file is made longer */
#define GROW_STEP_MAX (UINT64_C(64) << 20)
#define HEADER_UNCLEAN_OFF 72u

/* ---- death and the unclean flag ---- */

static VixError check_alive(struct sparse_extent *s, struct err *err)
{
    if (!atomic_load_explicit(&s->dead, memory_order_acquire)) {
        return VIX_OK;
    }
    SCOPED_LOCK(&s->lock);
    return err_set(err, s->death.code, "%s", s->death.text);
}

/* From now on every change fails with this failure. */
static void die(struct sparse_extent *s, const struct err *why)
{
    SCOPED_LOCK(&s->lock);
    if (!atomic_load(&s->dead)) {
        s->death = *why;
        atomic_store_explicit(&s->dead, true, memory_order_release);
    }
}

static VixError write_unclean_locked(struct sparse_extent *s, bool unclean, struct err *err)
{
    struct store *store = s->x.store;

    s->header_sector[HEADER_UNCLEAN_OFF] = unclean;
    VixError e = store_write(store, s->header_sector, SECTOR_SIZE, 0, err);
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}

/* Before the first change: the flag is on stable storage when this returns. */
static VixError mark_unclean(struct sparse_extent *s, struct err *err)
{
    VixError e = VIX_OK;

    if (atomic_load_explicit(&s->marked, memory_order_acquire)) {
        return VIX_OK;
    }
    SCOPED_LOCK(&s->lock);
    if (!atomic_load(&s->marked)) {
        e = write_unclean_locked(s, true, err);
        if (e == VIX_OK) {
            atomic_store_explicit(&s->marked, true, memory_order_release);
        }
    }
    return e;
}

/* ---- space at the end of the file ---- */

/* Makes the file longer than asked for, so that few writes have to: space that is inside the file reads as zeros until
 * it is written. Where a limit of the file system is near, exactly as asked. */
static VixError grow_locked(struct sparse_extent *s, uint64_t need, struct err *err)
{
    struct store *store = s->x.store;
    uint64_t step = max_u64(GROW_STEP_MIN, min_u64(GROW_STEP_MAX, need / 4));
    uint64_t len = need + round_up(step, sparse_grain_bytes(s));
    VixError e = store->ops->truncate(store, len, NULL);

    if (e != VIX_OK) {
        len = need;
        e = store->ops->truncate(store, len, err);
    }
    if (e == VIX_OK) {
        atomic_store(&s->file_len, len);
        s->grown = true;
    }
    return e;
}

/* Takes nsectors of space, a multiple of the grain, all of which is a hole. */
static VixError take_space_locked(struct sparse_extent *s, uint64_t nsectors, uint64_t *ret_sector, struct err *err)
{
    uint64_t first = s->next_free, end = first + nsectors;

    if (end > SPARSE_FILE_SECTORS_LIMIT) {
        return err_set(err, VIX_E_FILE_TOO_BIG,
                       "%s: no room for %" PRIu64 " sectors at sector %" PRIu64
                       ": a sparse extent can be at most %" PRIu64 " sectors long",
                       s->x.store->path, nsectors, first, SPARSE_FILE_SECTORS_LIMIT);
    }
    if (end * SECTOR_SIZE > atomic_load(&s->file_len)) {
        VixError e = grow_locked(s, end * SECTOR_SIZE, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    s->next_free = end;
    *ret_sector = first;
    return VIX_OK;
}

static VixError take_space(struct sparse_extent *s, uint64_t nsectors, uint64_t *ret_sector, struct err *err)
{
    SCOPED_LOCK(&s->lock);
    return take_space_locked(s, nsectors, ret_sector, err);
}

/* Space whose data could not be written is given back to the file system, and not used again: it may hold part of the
 * data. */
static void waste_space(struct sparse_extent *s, uint64_t sector, uint64_t nsectors)
{
    (void)s->x.store->ops->punch(s->x.store, sector * SECTOR_SIZE, nsectors * SECTOR_SIZE, NULL);
}

/* ---- tables that do not exist yet ---- */

static bool has_tables(struct sparse_extent *s, uint64_t gt)
{
    return atomic_load_explicit(&s->gd[gt], memory_order_acquire) != GDE_ABSENT &&
           (s->rgd == NULL || atomic_load_explicit(&s->rgd[gt], memory_order_acquire) != GDE_ABSENT);
}

static VixError write_gde(struct sparse_extent *s, uint64_t gd_sector, uint64_t gt, uint64_t sector, struct err *err)
{
    uint8_t bytes[4];

    put_le32(bytes, (uint32_t)sector);
    return store_write(s->x.store, bytes, sizeof bytes, gd_sector * SECTOR_SIZE + gt * 4, err);
}

/* Makes the missing copies of a table in new space; only when that is on stable storage as zeros do the directories
 * name it. */
static VixError make_tables_locked(struct sparse_extent *s, uint64_t gt, struct err *err)
{
    bool primary = atomic_load(&s->gd[gt]) == GDE_ABSENT;
    bool copy = s->rgd != NULL && atomic_load(&s->rgd[gt]) == GDE_ABSENT;
    uint64_t space = round_up(((uint64_t)primary + copy) * s->h.gt_sectors, s->h.grain_sectors), sector;
    VixError e = take_space_locked(s, space, &sector, err);

    if (e == VIX_OK) {
        e = s->x.store->ops->flush(s->x.store, err);
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
        atomic_store(&s->rgd[gt], (uint32_t)sector);
    }
    if (primary) {
        atomic_store(&s->gd[gt], (uint32_t)(sector + (copy ? s->h.gt_sectors : 0)));
    }
    return VIX_OK;
}

static VixError ensure_table(struct sparse_extent *s, uint64_t gt, struct err *err)
{
    VixError e = VIX_OK;
    bool had_primary;

    {
        SCOPED_LOCK(&s->lock);
        had_primary = atomic_load(&s->gd[gt]) != GDE_ABSENT;
        if (!has_tables(s, gt)) {
            e = make_tables_locked(s, gt, err);
        }
    }
    if (e == VIX_OK && had_primary) { /* a new copy of an old table: the next flush has to fill it */
        uint64_t first = gt * s->h.gtes_per_gt;
        e = grain_tables_touch(s->tables, first, s->h.gtes_per_gt, err);
    }
    return e;
}

static VixError ensure_tables(struct sparse_extent *s, uint64_t grain, uint64_t ngrains, struct err *err)
{
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

/* ---- claims ---- */

static bool is_claimed_locked(const struct sparse_extent *s, const struct sparse_claim *c)
{
    for (const struct sparse_claim *o = s->claims; o != NULL; o = o->next) {
        if (o->first < c->end && c->first < o->end) {
            return true;
        }
    }
    return false;
}

/* Waits until nobody else is allocating any of these grains. A writer holds one claim at a time and waits for none
 * while it does, so nobody waits for ever. */
static void claim(struct sparse_extent *s, struct sparse_claim *c)
{
    SCOPED_LOCK(&s->lock);
    while (is_claimed_locked(s, c)) {
        (void)pthread_cond_wait(&s->claim_gone, &s->lock);
    }
    c->next = s->claims;
    s->claims = c;
}

static void unclaim(struct sparse_extent *s, const struct sparse_claim *c)
{
    SCOPED_LOCK(&s->lock);
    struct sparse_claim **at = &s->claims;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    (void)pthread_cond_broadcast(&s->claim_gone);
}

/* ---- grains without a place ---- */

/* A part of a write that lies in claimed grains of one kind. */
struct fresh_run {
    uint64_t sector, nsectors;
    const uint8_t *buf;
    bool over_zeros; /* nothing shows through where it is not written */
};

/* Reads what shows around a partial write: before it from the beginning of its first grain, behind it to the end of its
 * last. Beyond the end of the extent nothing shows. */
static VixError read_margin(struct sparse_extent *s, uint64_t sector, uint64_t nsectors, uint8_t **ret_buf,
                            struct err *err)
{
    uint8_t *buf = NULL;

    if (nsectors > 0) {
        buf = alloc_aligned(4096, nsectors * SECTOR_SIZE, err);
        if (buf == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        VixError e = s->x.below.read(s->x.below.ctx, sector, nsectors, buf, err);
        if (e != VIX_OK) {
            free(buf);
            return e;
        }
    }
    *ret_buf = buf;
    return VIX_OK;
}

/* Writes the data of a run whose first grain got its place at file sector first; with margins if something shows
 * through around it. */
static VixError write_fresh_data(struct sparse_extent *s, const struct fresh_run *r, uint64_t first, struct err *err)
{
    CLEANUP_FREE uint8_t *head = NULL, *tail = NULL;
    uint64_t grain_mask = s->h.grain_sectors - 1;
    uint64_t skip = r->sector & grain_mask, end = r->sector + r->nsectors;
    uint64_t off = (first + skip) * SECTOR_SIZE, ntail = 0;

    if (r->over_zeros) {
        return store_write(s->x.store, r->buf, r->nsectors * SECTOR_SIZE, off, err);
    }
    if (end < s->x.nsectors) {
        ntail = min_u64(-end & grain_mask, s->x.nsectors - end);
    }
    VixError e = read_margin(s, r->sector - skip, skip, &head, err);
    if (e == VIX_OK) {
        e = read_margin(s, end, ntail, &tail, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    struct iovec iov[3];
    int n = 0;
    if (skip > 0) {
        iov[n++] = (struct iovec){.iov_base = head, .iov_len = skip * SECTOR_SIZE};
    }
    iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)r->buf, .iov_len = r->nsectors * SECTOR_SIZE};
    if (ntail > 0) {
        iov[n++] = (struct iovec){.iov_base = tail, .iov_len = ntail * SECTOR_SIZE};
    }
    return store_writev(s->x.store, iov, n, off - skip * SECTOR_SIZE, err);
}

/* Gives the grains of a run a place, with its data or (zeros) as holes. */
static VixError place_run(struct sparse_extent *s, const struct fresh_run *r, bool zeros, struct err *err)
{
    uint64_t grain = r->sector >> s->grain_shift, first = GTE_ZERO, step = 0;
    uint64_t ngrains = ((r->sector + r->nsectors - 1) >> s->grain_shift) - grain + 1;
    uint64_t space = ngrains << s->grain_shift;
    VixError e = mark_unclean(s, err);

    if (e == VIX_OK) {
        e = ensure_tables(s, grain, ngrains, err);
    }
    if (e == VIX_OK && !(zeros && s->zero_gtes)) {
        step = s->h.grain_sectors;
        e = take_space(s, space, &first, err);
        if (e == VIX_OK && !zeros) {
            e = write_fresh_data(s, r, first, err);
            if (e != VIX_OK) {
                waste_space(s, first, space);
            }
        }
    }
    if (e == VIX_OK) {
        e = grain_tables_set(s->tables, grain, ngrains, first, step, err);
    }
    return e;
}

/* Sectors at the beginning of a run whose grains are all zeros, or all not, in this write; at least a part of one
 * grain. Where something shows through, only a grain that is written whole can be zeros. */
static uint64_t same_zeroness(const struct sparse_extent *s, const struct fresh_run *r, bool *ret_zeros)
{
    uint64_t done = 0;
    bool zeros = false;

    while (done < r->nsectors) {
        uint64_t skip = (r->sector + done) & (s->h.grain_sectors - 1);
        uint64_t n = min_u64(s->h.grain_sectors - skip, r->nsectors - done);
        bool whole = n == s->h.grain_sectors || (skip == 0 && r->sector + done + n == s->x.nsectors);
        bool z = (r->over_zeros || whole) && bytes_are_zero(r->buf + done * SECTOR_SIZE, n * SECTOR_SIZE);
        if (done > 0 && z != zeros) {
            break;
        }
        zeros = z;
        done += n;
    }
    *ret_zeros = zeros;
    return done;
}

static VixError write_fresh_run(struct sparse_extent *s, struct fresh_run r, struct err *err)
{
    uint64_t left = r.nsectors;

    while (left > 0) {
        bool zeros;
        r.nsectors = left;
        r.nsectors = same_zeroness(s, &r, &zeros);
        if (!(zeros && r.over_zeros)) { /* zeros over zeros change nothing */
            VixError e = place_run(s, &r, zeros, err);
            if (e != VIX_OK) {
                return e;
            }
        }
        left -= r.nsectors;
        r.sector += r.nsectors;
        r.buf += r.nsectors * SECTOR_SIZE;
    }
    return VIX_OK;
}

/* How many of the claimed grains still have no place, and what their (common) entry is. */
static VixError unplaced_grains(struct sparse_extent *s, const struct sparse_claim *c, uint64_t *ret_n,
                                uint64_t *ret_gte, struct err *err)
{
    uint64_t grain = c->first, gte, first_gte = GTE_ABSENT;

    for (; grain < c->end; grain++) {
        VixError e = grain_tables_get(s->tables, grain, &gte, err);
        if (e != VIX_OK) {
            return e;
        }
        if (gte == GTE_ZERO && !s->zero_gtes) {
            return sparse_bad_entry(s, grain, gte, err);
        }
        if (grain == c->first) {
            first_gte = gte;
        }
        if (gte > GTE_ZERO || gte != first_gte) {
            break;
        }
    }
    *ret_n = grain - c->first;
    *ret_gte = first_gte;
    return VIX_OK;
}

/* Writes the beginning of a range whose first grain was seen without a place. *ret_done 0: another writer gave it one
 * meanwhile. */
static VixError write_unplaced(struct sparse_extent *s, uint64_t sector, uint64_t nsectors, const uint8_t *buf,
                               uint64_t *ret_done, struct err *err)
{
    struct sparse_claim c = {.first = sector >> s->grain_shift, .end = ((sector + nsectors - 1) >> s->grain_shift) + 1};
    struct fresh_run r = {.sector = sector, .buf = buf};
    uint64_t ngrains = 0, gte = GTE_ABSENT;

    claim(s, &c);
    VixError e = unplaced_grains(s, &c, &ngrains, &gte, err);
    if (e == VIX_OK && ngrains > 0) {
        r.nsectors = min_u64(nsectors, ((c.first + ngrains) << s->grain_shift) - sector);
        r.over_zeros = gte == GTE_ZERO || s->x.below.read == NULL;
        e = write_fresh_run(s, r, err);
    }
    unclaim(s, &c);
    if (e == VIX_OK) {
        *ret_done = r.nsectors;
    }
    return e;
}

/* ---- grains that have a place ---- */

static VixError check_target(struct sparse_extent *s, uint64_t grain, uint64_t gte, struct err *err)
{
    bool inside = gte >= s->h.overhead_sectors && gte + s->h.grain_sectors <= SPARSE_FILE_SECTORS_LIMIT;

    if (inside && (gte << 9) + sparse_grain_bytes(s) > atomic_load_explicit(&s->file_len, memory_order_relaxed)) {
        VixError e = sparse_grain_begins_inside(s, gte, &inside, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    return inside ? VIX_OK : sparse_bad_entry(s, grain, gte, err);
}

/* The run of grains with neighbouring places at the beginning of a range: its length (0: the first has none) and its
 * place. */
static VixError placed_run(struct sparse_extent *s, uint64_t sector, uint64_t nsectors, uint64_t *ret_n,
                           uint64_t *ret_off, struct err *err)
{
    uint64_t grain = sector >> s->grain_shift, skip = sector & (s->h.grain_sectors - 1);
    uint64_t n = 0, first = 0, gte, next = 0;

    while (n < nsectors) {
        VixError e = grain_tables_get(s->tables, grain, &gte, err);
        if (e == VIX_OK && gte > GTE_ZERO && (n == 0 || gte == next)) {
            e = check_target(s, grain, gte, err);
        } else if (e == VIX_OK) {
            break;
        }
        if (e != VIX_OK) {
            return e;
        }
        if (n == 0) {
            first = gte + skip;
        }
        n += s->h.grain_sectors - (n == 0 ? skip : 0);
        next = gte + s->h.grain_sectors;
        grain++;
    }
    *ret_n = min_u64(n, nsectors);
    *ret_off = first * SECTOR_SIZE;
    return VIX_OK;
}

/* A write to a grain that reaches beyond the end of the file made the file longer. */
static void note_longer_file(struct sparse_extent *s, uint64_t end)
{
    if (end > atomic_load_explicit(&s->file_len, memory_order_relaxed)) {
        SCOPED_LOCK(&s->lock);
        if (end > atomic_load(&s->file_len)) {
            atomic_store(&s->file_len, end);
        }
    }
}

static VixError overwrite(struct sparse_extent *s, uint64_t off, uint64_t nsectors, const uint8_t *buf, struct err *err)
{
    VixError e = mark_unclean(s, err);

    if (e == VIX_OK) {
        e = store_write(s->x.store, buf, nsectors * SECTOR_SIZE, off, err);
    }
    if (e == VIX_OK) {
        note_longer_file(s, off + nsectors * SECTOR_SIZE);
    }
    return e;
}

/* ---- flush ---- */

static uint64_t table_sector_off(struct sparse_extent *s, const _Atomic uint32_t *gd, uint64_t first_entry)
{
    uint64_t gt = first_entry / s->h.gtes_per_gt;

    return (uint64_t)atomic_load_explicit(&gd[gt], memory_order_acquire) * SECTOR_SIZE +
           first_entry % s->h.gtes_per_gt * 4;
}

/* Writes the sectors of a snapshot into one copy of the tables; those that are neighbours there, together. */
static VixError write_copy(struct sparse_extent *s, const struct grain_snapshot *snap, const _Atomic uint32_t *gd,
                           struct err *err)
{
    for (size_t i = 0, n; i < snap->nsectors; i += n) {
        uint64_t off = table_sector_off(s, gd, snap->first_entry[i]);
        n = 1;
        while (i + n < snap->nsectors &&
               table_sector_off(s, gd, snap->first_entry[i + n]) == off + n * GRAIN_TABLES_SECTOR) {
            n++;
        }
        VixError e = store_write(s->x.store, snap->bytes + i * GRAIN_TABLES_SECTOR, n * GRAIN_TABLES_SECTOR, off, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    return VIX_OK;
}

static VixError write_tables(struct sparse_extent *s, const struct grain_snapshot *snap, struct err *err)
{
    VixError e = s->x.store->ops->flush(s->x.store, err); /* the data that the entries point to */

    if (e == VIX_OK && s->rgd != NULL) {
        e = write_copy(s, snap, s->rgd, err);
    }
    if (e == VIX_OK) {
        e = write_copy(s, snap, s->gd, err);
    }
    return e;
}

/* Carries changed entries to the file, in the right order, without the barrier at the end. */
static VixError flush_tables_locked(struct sparse_extent *s, struct err *err)
{
    struct grain_snapshot snap;
    struct err local;
    VixError e = grain_tables_snapshot(s->tables, &snap, err);

    if (e != VIX_OK || snap.nsectors == 0) {
        if (e == VIX_OK) {
            grain_tables_snapshot_end(s->tables, &snap, true);
        }
        return e;
    }
    err_init(&local);
    e = write_tables(s, &snap, &local);
    grain_tables_snapshot_end(s->tables, &snap, e == VIX_OK);
    if (e != VIX_OK) {
        err_prefix(&local, "grain tables: ");
        if (e != VIX_E_DISK_FULL) {
            die(s, &local);
        }
        (void)err_set(err, e, "%s", local.text);
    }
    return e;
}

VixError sparse_flush(struct extent *x, struct err *err)
{
    struct sparse_extent *s = sparse_of(x);

    if (!x->writable) {
        return VIX_OK;
    }
    SCOPED_LOCK(&s->flush_lock);
    VixError e = check_alive(s, err);
    if (e == VIX_OK) {
        e = flush_tables_locked(s, err);
    }
    return e == VIX_OK ? x->store->ops->flush(x->store, err) : e;
}

/* Too many changed entries in memory: the writer that notices carries them to the file; others go on. */
static VixError relieve(struct sparse_extent *s, struct err *err)
{
    VixError e = VIX_OK;

    if (pthread_mutex_trylock(&s->flush_lock) != 0) {
        return VIX_OK;
    }
    if (grain_tables_full(s->tables)) {
        e = flush_tables_locked(s, err);
    }
    (void)pthread_mutex_unlock(&s->flush_lock);
    return e;
}

/* ---- the entry points ---- */

VixError sparse_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct sparse_extent *s = sparse_of(x);
    const uint8_t *p = buf;
    VixError e = check_alive(s, err);

    while (e == VIX_OK && nsectors > 0) {
        uint64_t n, off;
        e = placed_run(s, sector, nsectors, &n, &off, err);
        if (e == VIX_OK && n > 0) {
            e = overwrite(s, off, n, p, err);
        } else if (e == VIX_OK) {
            e = write_unplaced(s, sector, nsectors, p, &n, err);
        }
        if (e == VIX_OK) {
            sector += n;
            nsectors -= n;
            p += n * SECTOR_SIZE;
        }
    }
    if (e == VIX_OK && grain_tables_full(s->tables)) {
        e = relieve(s, err);
    }
    return e;
}

/* Gives back the space that was taken ahead, and says that all is in order. */
static VixError leave_clean(struct sparse_extent *s, struct err *err)
{
    struct store *store = s->x.store;
    VixError e = VIX_OK;

    SCOPED_LOCK(&s->lock);
    if (s->grown && s->next_free * SECTOR_SIZE < atomic_load(&s->file_len)) {
        e = store->ops->truncate(store, s->next_free * SECTOR_SIZE, err);
    }
    return e == VIX_OK ? write_unclean_locked(s, false, err) : e;
}

VixError sparse_finish(struct sparse_extent *s, struct err *err)
{
    if (!atomic_load(&s->marked)) {
        return VIX_OK; /* nothing was changed */
    }
    VixError e = sparse_flush(&s->x, err);
    return e == VIX_OK ? leave_clean(s, err) : e;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* grain_write.c - writing to an extent of grains in a file.
 *
 * A grain that has its place is overwritten there, without a lock. Grains without a place are first claimed, so that no
 * two writers allocate the same one; the claimer takes space for them at the end of the file as one run, writes the
 * data straight from the caller's buffer, and only then sets their entries, in memory. New space is a hole: what need
 * not be written (zeros) stays one. flush carries the entries to the file: data, barrier, tables in the order of the
 * format, barrier. Entries set after the moment of its snapshot wait for the next flush, as their data may come after
 * the barrier.
 *
 * Before the first change of an open the unclean flag goes to the disk. Data that cannot be written is the caller's
 * failure alone; tables that cannot be written make the extent dead for writing (readers go on seeing what was
 * acknowledged), unless disk or memory are full: then the next flush tries again. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "codec/codec.h"
#include "vmdk/grain_extent.h"

#define GROW_STEP_MIN (UINT64_C(1) << 20)  /* bytes by which the file is made longer */
#define GROW_STEP_MAX (UINT64_C(64) << 20) /* own: bytes */

/* ---- death and the unclean flag ---- */

static VixError check_alive(struct grain_extent *g, struct err *err)
{
    if (!atomic_load_explicit(&g->dead, memory_order_acquire)) {
        return VIX_OK;
    }
    SCOPED_LOCK(&g->lock);
    return err_set(err, g->death.code, "%s", g->death.text);
}

/* From now on every change fails with this failure. */
static void die(struct grain_extent *g, const struct err *why)
{
    SCOPED_LOCK(&g->lock);
    if (!atomic_load(&g->dead)) {
        g->death = *why;
        atomic_store_explicit(&g->dead, true, memory_order_release);
    }
}

/* Before the first change: the flag is on stable storage when this returns. */
static VixError mark_unclean(struct grain_extent *g, struct err *err)
{
    VixError e = VIX_OK;

    if (atomic_load_explicit(&g->marked, memory_order_acquire)) {
        return VIX_OK;
    }
    SCOPED_LOCK(&g->lock);
    if (!atomic_load(&g->marked)) {
        e = g->format->write_unclean_locked(g, true, err);
        if (e == VIX_OK) {
            atomic_store_explicit(&g->marked, true, memory_order_release);
        }
    }
    return e;
}

/* ---- space at the end of the file ---- */

/* Makes the file longer than asked for, so that few writes have to: space that is inside the file reads as zeros until
 * it is written. Where a limit of the file system is near, exactly as asked. */
static VixError grow_locked(struct grain_extent *g, uint64_t need, struct err *err)
{
    struct store *store = g->x.store;
    uint64_t step = max_u64(GROW_STEP_MIN, min_u64(GROW_STEP_MAX, need / 4));
    uint64_t len = need + round_up(step, grain_bytes(g));
    VixError e = store->ops->truncate(store, len, NULL);

    if (e != VIX_OK) {
        len = need;
        e = store->ops->truncate(store, len, err);
    }
    if (e == VIX_OK) {
        atomic_store(&g->file_len, len);
        g->grown = true;
    }
    return e;
}

/* Takes nsectors of space, a multiple of the grain, all of which is a hole. */
VixError grain_take_space_locked(struct grain_extent *g, uint64_t nsectors, uint64_t *ret_sector, struct err *err)
{
    uint64_t first = g->next_free, end = first + nsectors;

    if (end > g->max_file_sectors) {
        return err_set(err, VIX_E_FILE_TOO_BIG,
                       "%s: no room for %" PRIu64 " sectors at sector %" PRIu64
                       ": a sparse extent can be at most %" PRIu64 " sectors long",
                       g->x.store->path, nsectors, first, g->max_file_sectors);
    }
    if (end * SECTOR_SIZE > atomic_load(&g->file_len)) {
        VixError e = grow_locked(g, end * SECTOR_SIZE, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    g->next_free = end;
    *ret_sector = first;
    return VIX_OK;
}

static VixError take_space(struct grain_extent *g, uint64_t nsectors, uint64_t *ret_sector, struct err *err)
{
    SCOPED_LOCK(&g->lock);
    return grain_take_space_locked(g, nsectors, ret_sector, err);
}

/* Space whose data could not be written is given back to the file system, and not used again: it may hold part of the
 * data. */
static void waste_space(struct grain_extent *g, uint64_t sector, uint64_t nsectors)
{
    (void)g->x.store->ops->punch(g->x.store, sector * SECTOR_SIZE, nsectors * SECTOR_SIZE, NULL);
}

/* ---- claims ---- */

static bool is_claimed_locked(const struct grain_extent *g, const struct grain_claim *c)
{
    for (const struct grain_claim *o = g->claims; o != NULL; o = o->next) {
        if (o->first < c->end && c->first < o->end) {
            return true;
        }
    }
    return false;
}

/* Waits until nobody else is allocating any of these grains. A writer holds one claim at a time and waits for none
 * while it does, so nobody waits for ever. */
static void claim(struct grain_extent *g, struct grain_claim *c)
{
    SCOPED_LOCK(&g->lock);
    while (is_claimed_locked(g, c)) {
        (void)pthread_cond_wait(&g->claim_gone, &g->lock);
    }
    c->next = g->claims;
    g->claims = c;
}

static void unclaim(struct grain_extent *g, const struct grain_claim *c)
{
    SCOPED_LOCK(&g->lock);
    struct grain_claim **at = &g->claims;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    (void)pthread_cond_broadcast(&g->claim_gone);
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
static VixError read_margin(struct grain_extent *g, uint64_t sector, uint64_t nsectors, uint8_t **ret_buf,
                            struct err *err)
{
    uint8_t *buf = NULL;

    if (nsectors > 0) {
        buf = alloc_aligned(4096, nsectors * SECTOR_SIZE, err);
        if (buf == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        VixError e = g->x.below.read(g->x.below.ctx, sector, nsectors, buf, err);
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
static VixError write_fresh_data(struct grain_extent *g, const struct fresh_run *r, uint64_t first, struct err *err)
{
    CLEANUP_FREE uint8_t *head = NULL, *tail = NULL;
    uint64_t grain_mask = g->x.grain_sectors - 1;
    uint64_t skip = r->sector & grain_mask, end = r->sector + r->nsectors;
    uint64_t off = (first + skip) * SECTOR_SIZE, ntail = 0;

    if (r->over_zeros) {
        return store_write(g->x.store, r->buf, r->nsectors * SECTOR_SIZE, off, err);
    }
    if (end < g->x.nsectors) {
        ntail = min_u64(-end & grain_mask, g->x.nsectors - end);
    }
    VixError e = read_margin(g, r->sector - skip, skip, &head, err);
    if (e == VIX_OK) {
        e = read_margin(g, end, ntail, &tail, err);
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
    return store_writev(g->x.store, iov, n, off - skip * SECTOR_SIZE, err);
}

/* Gives the grains of a run a place, with its data or (zeros) as holes. */
static VixError place_run(struct grain_extent *g, const struct fresh_run *r, bool zeros, struct err *err)
{
    uint64_t grain = r->sector >> g->grain_shift, first = GTE_ZERO, step = 0;
    uint64_t ngrains = ((r->sector + r->nsectors - 1) >> g->grain_shift) - grain + 1;
    uint64_t space = ngrains << g->grain_shift;
    VixError e = mark_unclean(g, err);

    if (e == VIX_OK) {
        e = g->format->ensure_tables(g, grain, ngrains, err);
    }
    if (e == VIX_OK && !(zeros && g->zero_entries)) {
        step = g->x.grain_sectors;
        e = take_space(g, space, &first, err);
        if (e == VIX_OK && !zeros) {
            e = write_fresh_data(g, r, first, err);
            if (e != VIX_OK) {
                waste_space(g, first, space);
            }
        }
    }
    if (e == VIX_OK) {
        e = grain_tables_set(g->tables, grain, ngrains, first, step, err);
    }
    return e;
}

/* Sectors at the beginning of a run that are all zeros, or not, in this write, looked at in pieces of at least a grain.
 * Where something shows through, only grains that are written whole can be zeros. */
static uint64_t same_zeroness(const struct grain_extent *g, const struct fresh_run *r, bool *ret_zeros)
{
    uint64_t done = 0, piece = UINT64_C(1) << g->zero_shift, grain_mask = g->x.grain_sectors - 1;
    bool zeros = false;

    while (done < r->nsectors) {
        uint64_t first = r->sector + done;
        uint64_t n = min_u64(piece - (first & (piece - 1)), r->nsectors - done);
        bool whole = (first & grain_mask) == 0 && ((n & grain_mask) == 0 || first + n == g->x.nsectors);
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

static VixError write_fresh_run(struct grain_extent *g, struct fresh_run r, struct err *err)
{
    uint64_t left = r.nsectors;

    while (left > 0) {
        bool zeros;
        r.nsectors = left;
        r.nsectors = same_zeroness(g, &r, &zeros);
        if (!(zeros && r.over_zeros)) { /* zeros over zeros change nothing */
            VixError e = place_run(g, &r, zeros, err);
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
static VixError unplaced_grains(struct grain_extent *g, const struct grain_claim *c, uint64_t *ret_n, uint64_t *ret_gte,
                                struct err *err)
{
    uint64_t grain = c->first, gte, first_gte = GTE_ABSENT;

    for (; grain < c->end; grain++) {
        VixError e = grain_tables_get(g->tables, grain, &gte, err);
        if (e != VIX_OK) {
            return e;
        }
        if (gte == GTE_ZERO && !g->zero_entries) {
            return g->format->bad_entry(g, grain, gte, err);
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
static VixError write_unplaced(struct grain_extent *g, uint64_t sector, uint64_t nsectors, const uint8_t *buf,
                               uint64_t *ret_done, struct err *err)
{
    struct grain_claim c = {.first = sector >> g->grain_shift, .end = ((sector + nsectors - 1) >> g->grain_shift) + 1};
    struct fresh_run r = {.sector = sector, .buf = buf};
    uint64_t ngrains = 0, gte = GTE_ABSENT;

    claim(g, &c);
    VixError e = unplaced_grains(g, &c, &ngrains, &gte, err);
    if (e == VIX_OK && ngrains > 0) {
        r.nsectors = min_u64(nsectors, ((c.first + ngrains) << g->grain_shift) - sector);
        r.over_zeros = gte == GTE_ZERO || g->x.below.read == NULL;
        e = write_fresh_run(g, r, err);
    }
    unclaim(g, &c);
    if (e == VIX_OK) {
        *ret_done = r.nsectors;
    }
    return e;
}

/* ---- grains that have a place ---- */

static VixError check_target(struct grain_extent *g, uint64_t grain, uint64_t gte, struct err *err)
{
    bool inside = gte >= g->first_grain_sector && gte + g->x.grain_sectors <= g->max_file_sectors;

    if (inside && (gte << 9) + grain_bytes(g) > atomic_load_explicit(&g->file_len, memory_order_relaxed)) {
        VixError e = grain_begins_inside(g, gte, &inside, err);
        if (e != VIX_OK) {
            return e;
        }
    }
    return inside ? VIX_OK : g->format->bad_entry(g, grain, gte, err);
}

/* The run of grains with neighbouring places at the beginning of a range: its length (0: the first has none) and its
 * place. */
static VixError placed_run(struct grain_extent *g, uint64_t sector, uint64_t nsectors, uint64_t *ret_n,
                           uint64_t *ret_off, struct err *err)
{
    uint64_t grain = sector >> g->grain_shift, skip = sector & (g->x.grain_sectors - 1);
    uint64_t n = 0, first = 0, gte, next = 0;

    while (n < nsectors) {
        VixError e = grain_tables_get(g->tables, grain, &gte, err);
        if (e == VIX_OK && gte > GTE_ZERO && (n == 0 || gte == next)) {
            e = check_target(g, grain, gte, err);
        } else if (e == VIX_OK) {
            break;
        }
        if (e != VIX_OK) {
            return e;
        }
        if (n == 0) {
            first = gte + skip;
        }
        n += g->x.grain_sectors - (n == 0 ? skip : 0);
        next = gte + g->x.grain_sectors;
        grain++;
    }
    *ret_n = min_u64(n, nsectors);
    *ret_off = first * SECTOR_SIZE;
    return VIX_OK;
}

/* A write to a grain that reaches beyond the end of the file made the file longer. */
static void note_longer_file(struct grain_extent *g, uint64_t end)
{
    if (end > atomic_load_explicit(&g->file_len, memory_order_relaxed)) {
        SCOPED_LOCK(&g->lock);
        if (end > atomic_load(&g->file_len)) {
            atomic_store(&g->file_len, end);
        }
    }
}

static VixError overwrite(struct grain_extent *g, uint64_t off, uint64_t nsectors, const uint8_t *buf, struct err *err)
{
    VixError e = mark_unclean(g, err);

    if (e == VIX_OK) {
        e = store_write(g->x.store, buf, nsectors * SECTOR_SIZE, off, err);
    }
    if (e == VIX_OK) {
        note_longer_file(g, off + nsectors * SECTOR_SIZE);
    }
    return e;
}

/* ---- flush ---- */

VixError grain_write_snapshot(struct grain_extent *g, const struct grain_snapshot *snap, grain_place_func *place,
                              void *ctx, struct err *err)
{
    size_t first = 0; /* of the sectors that are written together */
    uint64_t off = 0, next;

    for (size_t i = 0; i < snap->nsectors; i++) {
        VixError e = place(ctx, snap->first_entry[i], &next, err);
        if (e == VIX_OK && i > first && next != off + (i - first) * GRAIN_TABLES_SECTOR) {
            e = store_write(g->x.store, snap->bytes + first * GRAIN_TABLES_SECTOR, (i - first) * GRAIN_TABLES_SECTOR,
                            off, err);
            first = i;
        }
        if (e != VIX_OK) {
            return e;
        }
        if (i == first) {
            off = next;
        }
    }
    return store_write(g->x.store, snap->bytes + first * GRAIN_TABLES_SECTOR,
                       (snap->nsectors - first) * GRAIN_TABLES_SECTOR, off, err);
}

/* Carries changed entries to the file, in the right order, without the barrier at the end. */
static VixError flush_tables_locked(struct grain_extent *g, struct err *err)
{
    struct grain_snapshot snap;
    struct err local;
    VixError e = grain_tables_snapshot(g->tables, &snap, err);

    if (e != VIX_OK || snap.nsectors == 0) {
        if (e == VIX_OK) {
            grain_tables_snapshot_end(g->tables, &snap, true);
        }
        return e;
    }
    err_init(&local);
    e = g->format->write_tables(g, &snap, &local);
    grain_tables_snapshot_end(g->tables, &snap, e == VIX_OK);
    if (e != VIX_OK) {
        err_prefix(&local, "grain tables: ");
        if (e != VIX_E_DISK_FULL && e != VIX_E_OUT_OF_MEMORY) {
            die(g, &local);
        }
        (void)err_set(err, e, "%s", local.text);
    }
    return e;
}

VixError grain_flush(struct extent *x, struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);

    if (!x->writable) {
        return VIX_OK;
    }
    SCOPED_LOCK(&g->flush_lock);
    VixError e = check_alive(g, err);
    if (e == VIX_OK) {
        e = flush_tables_locked(g, err);
    }
    return e == VIX_OK ? x->store->ops->flush(x->store, err) : e;
}

/* Too many changed entries in memory: the writer that notices carries them to the file; others go on. */
static VixError relieve(struct grain_extent *g, struct err *err)
{
    VixError e = VIX_OK;

    if (pthread_mutex_trylock(&g->flush_lock) != 0) {
        return VIX_OK;
    }
    if (grain_tables_full(g->tables)) {
        e = flush_tables_locked(g, err);
    }
    (void)pthread_mutex_unlock(&g->flush_lock);
    return e;
}

/* ---- the entry points ---- */

VixError grain_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct grain_extent *g = grain_extent_of(x);
    const uint8_t *p = buf;
    VixError e = check_alive(g, err);

    while (e == VIX_OK && nsectors > 0) {
        uint64_t n, off;
        e = placed_run(g, sector, nsectors, &n, &off, err);
        if (e == VIX_OK && n > 0) {
            e = overwrite(g, off, n, p, err);
        } else if (e == VIX_OK) {
            e = write_unplaced(g, sector, nsectors, p, &n, err);
        }
        if (e == VIX_OK) {
            sector += n;
            nsectors -= n;
            p += n * SECTOR_SIZE;
        }
    }
    if (e == VIX_OK && grain_tables_full(g->tables)) {
        e = relieve(g, err);
    }
    return e;
}

/* Gives back the space that was taken ahead, and says that all is in order. */
static VixError leave_clean(struct grain_extent *g, struct err *err)
{
    struct store *store = g->x.store;
    VixError e = VIX_OK;

    SCOPED_LOCK(&g->lock);
    if (g->grown && g->next_free * SECTOR_SIZE < atomic_load(&g->file_len)) {
        e = store->ops->truncate(store, g->next_free * SECTOR_SIZE, err);
    }
    return e == VIX_OK ? g->format->write_unclean_locked(g, false, err) : e;
}

VixError grain_finish(struct grain_extent *g, struct err *err)
{
    if (!atomic_load(&g->marked)) {
        return atomic_load(&g->x.punched) ? g->x.store->ops->flush(g->x.store, err) : VIX_OK;
    }
    VixError e = grain_flush(&g->x, err);
    return e == VIX_OK ? leave_clean(g, err) : e;
}

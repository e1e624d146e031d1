/* SPDX-License-Identifier: BSD-3-Clause */
/* walk.c - pieces of work from the maps of disks. */
#include "ops/walk.h"

#include "base/checked.h"

void walk_init(struct walk *w, struct disk *a, struct disk *b, uint64_t unit, uint64_t piece_sectors)
{
    *w = (struct walk){
        .sides = {{.d = a}, {.d = b}},
        .side_count = b != NULL ? 2 : 1,
        .end = b != NULL ? max_u64(a->capacity, b->capacity) : a->capacity,
        .unit = unit,
        .piece_sectors = piece_sectors,
    };
}

/** Makes the run of a side be the one that holds the walk's position. */
static VixError look(const struct walk *w, struct walk_side *side, struct err *err)
{
    struct disk_run run;

    if (w->pos < side->run_end) {
        return VIX_OK;
    }
    if (w->pos >= side->d->capacity) {
        side->run_zero = true;
        side->run_end = w->end;
        return VIX_OK;
    }
    VixError code = side->d->ops->map(side->d, w->pos, side->d->capacity - w->pos,
                                      EXTENT_MAP_STATUS | EXTENT_MAP_FLAT_HOLES, &run, err);
    if (code == VIX_OK) {
        side->run_zero = run.zero;
        side->run_end = w->pos + run.nsectors;
    }
    return code;
}

/** Puts a stretch at the end of a piece, joined to the last segment if it goes on from it. */
static void add_segment(struct walk_piece *p, const struct walk_segment *s)
{
    struct walk_segment *last = p->count > 0 ? &p->segments[p->count - 1] : NULL;

    if (last != NULL && last->sector + last->nsectors == s->sector && last->zero[0] == s->zero[0] &&
        last->zero[1] == s->zero[1]) {
        last->nsectors += s->nsectors;
    } else {
        p->segments[p->count++] = *s;
    }
}

/** The stretch at the position in which no side changes, in whole units. A unit in which one does counts as data. */
static struct walk_segment next_stretch(const struct walk *w)
{
    uint64_t stop = w->end;
    struct walk_segment s = {.sector = w->pos};

    for (unsigned i = 0; i < w->side_count; i++) {
        stop = min_u64(stop, w->sides[i].run_end);
        s.zero[i] = w->sides[i].run_zero;
    }
    if (stop < w->end) {
        stop -= stop % w->unit;
    }
    if (stop <= w->pos) {
        stop = min_u64(w->end, w->pos + w->unit);
        s.zero[0] = s.zero[1] = false;
    }
    s.nsectors = stop - w->pos;
    return s;
}

VixError walk_next(struct walk *w, struct walk_piece *ret_piece, struct err *err)
{
    struct walk_piece *p = ret_piece;

    p->count = 0;
    p->data_sectors = 0;
    while (w->pos < w->end && p->count < WALK_MAX_SEGMENTS && p->data_sectors < w->piece_sectors) {
        for (unsigned i = 0; i < w->side_count; i++) {
            VixError code = look(w, &w->sides[i], err);
            if (code != VIX_OK) {
                return code;
            }
        }
        struct walk_segment s = next_stretch(w);
        bool zero = s.zero[0] && (s.zero[1] || w->side_count == 1);
        if (!zero) {
            s.nsectors = min_u64(s.nsectors, w->piece_sectors - p->data_sectors);
            p->data_sectors += s.nsectors;
        }
        if (!zero || w->tell_zero) {
            add_segment(p, &s);
        }
        w->pos += s.nsectors;
    }
    return VIX_OK;
}

/* ---- progress ---- */

void meter_init(struct progress_meter *m, struct ops_progress progress, uint64_t total)
{
    *m = (struct progress_meter){.progress = progress, .total = total};
}

static VixError call(struct progress_meter *m, uint64_t done, struct err *err)
{
    if (m->progress.func != NULL && !m->progress.func(m->progress.ctx, done, m->total)) {
        return err_set(err, VIX_E_CANCELLED, "cancelled after %llu of %llu bytes", (unsigned long long)done,
                       (unsigned long long)m->total);
    }
    return VIX_OK;
}

VixError meter_tell(struct progress_meter *m, uint64_t done, struct err *err)
{
    if (done < m->next) {
        return VIX_OK;
    }
    m->next = done + m->total / 200 + 1;
    return call(m, done, err);
}

VixError meter_end(struct progress_meter *m, struct err *err)
{
    return call(m, m->total, err);
}

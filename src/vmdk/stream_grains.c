/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_grains.c - reading of compressed grains: the cache of inflated ones, and read-ahead.
 *
 * A slot of the cache holds one inflated grain. BUSY: one thread fills it, others that want the grain wait. Read-ahead
 * takes slots for the grains in front of a sequential reader and fills them in chunks on the threads of a pool; it
 * never reports a failure: the slot is given back empty and the reader meets the fault itself. */
#include "vmdk/stream_grains.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/extent.h"
#include "vmdk/stream_record.h"
#include "work/work.h"

#define BATCH_MAX 64u /* own: grains whose entries are looked up, and whose records are read, at once */
#define BATCH_BYTES (UINT64_C(1) << 20)   /* of inflated data */
#define RANDOM_BYTES (UINT64_C(1) << 20)  /* cache for readers of parts of grains */
#define RANDOM_SLOTS_MAX 8u               /* own: grains in the cache */
#define CHUNK_BYTES (UINT64_C(512) << 10) /* read ahead by one piece of work */
#define CHUNK_MAX 8u                      /* own: grains of it */
#define AHEAD_ITEMS_MAX 16u               /* own: pieces of work in flight */
#define AHEAD_AFTER_GRAINS 4u             /* read in order before read-ahead begins */

enum slot_state { SLOT_EMPTY, SLOT_BUSY, SLOT_READY };

struct slot {
    enum slot_state state;
    uint64_t grain;
    unsigned pins;  /* readers that copy from it */
    uint64_t stamp; /* when it was last used; 0: not needed any more */
    uint8_t *data;
};

struct ahead_item {
    struct work_item work;
    struct stream_grains *g;
    bool busy;
    uint64_t first;
    unsigned count;
    struct slot *slots[CHUNK_MAX]; /* NULL: that grain is in the cache already */
};

struct stream_grains {
    struct stream_file *f;
    uint64_t grain_sectors, grain_bytes, grain_count;
    unsigned batch;
    unsigned threads;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    struct stream_window *idle;
    unsigned idle_count;
    struct slot *slots;
    unsigned slot_count;
    uint64_t clock;

    pthread_t reader; /* who read last, and up to where */
    uint64_t next_sector;
    uint64_t in_order;    /* sectors read in order by that thread, no other reading meanwhile */
    unsigned readers;     /* reading now */
    uint64_t ahead_grain; /* first grain not yet asked for */
    unsigned chunk, item_count, running;
    bool stopping;
    struct ahead_item items[AHEAD_ITEMS_MAX];
    struct work_pool *pool; /* made when first needed */
};

/* ---- windows ---- */

static VixError window_take(struct stream_grains *g, struct stream_window **ret_w, struct err *err)
{
    struct stream_window *w;
    {
        SCOPED_LOCK(&g->lock);
        w = g->idle;
        if (w != NULL) {
            g->idle = w->next;
            g->idle_count--;
        }
    }
    if (w == NULL) {
        return stream_window_new(g->f, ret_w, err);
    }
    *ret_w = w;
    return VIX_OK;
}

static void window_give(struct stream_grains *g, struct stream_window *w)
{
    if (w == NULL) {
        return;
    }
    w->len = 0; /* the file may have grown meanwhile: never show bytes of an earlier call */
    {
        SCOPED_LOCK(&g->lock);
        if (g->idle_count < g->threads + 2) {
            w->next = g->idle;
            g->idle = w;
            g->idle_count++;
            return;
        }
    }
    stream_window_free(w);
}

/* ---- the cache ---- */

static struct slot *find_slot_locked(struct stream_grains *g, uint64_t grain)
{
    for (unsigned i = 0; i < g->slot_count; i++) {
        if (g->slots[i].state != SLOT_EMPTY && g->slots[i].grain == grain) {
            return &g->slots[i];
        }
    }
    return NULL;
}

/** Takes the slot that is needed least for a grain; NULL if all are in use, or there is no memory. */
static struct slot *claim_slot_locked(struct stream_grains *g, uint64_t grain)
{
    struct slot *victim = NULL;

    for (unsigned i = 0; i < g->slot_count; i++) {
        struct slot *s = &g->slots[i];
        if (s->state == SLOT_BUSY || s->pins > 0) {
            continue;
        }
        if (s->state == SLOT_EMPTY && s->data != NULL) {
            victim = s;
            break;
        }
        if (victim == NULL || s->stamp < victim->stamp) {
            victim = s;
        }
    }
    if (victim != NULL && victim->data == NULL) {
        victim->data = alloc_aligned(4096, g->grain_bytes, NULL);
    }
    if (victim == NULL || victim->data == NULL) {
        return NULL;
    }
    victim->state = SLOT_BUSY;
    victim->grain = grain;
    return victim;
}

static void slot_filled_locked(struct stream_grains *g, struct slot *s, bool good)
{
    s->state = good ? SLOT_READY : SLOT_EMPTY;
    s->stamp = good ? ++g->clock : 0;
    (void)pthread_cond_broadcast(&g->changed);
}

/** The slot that holds a grain, after waiting for whoever fills it; else, where ret_fill is given, a slot for the
 * caller to fill; else NULL. A slot comes pinned: leave_slot. */
static struct slot *enter_slot(struct stream_grains *g, uint64_t grain, bool *ret_fill)
{
    SCOPED_LOCK(&g->lock);
    struct slot *s = find_slot_locked(g, grain);

    if (s != NULL && s->state == SLOT_BUSY) {
        struct activity_mark mark = activity_enter(ACTIVITY_WAITING);
        while (s != NULL && s->state == SLOT_BUSY) {
            (void)pthread_cond_wait(&g->changed, &g->lock);
            s = find_slot_locked(g, grain);
        }
        activity_leave(&mark);
    }
    if (ret_fill != NULL) {
        *ret_fill = s == NULL;
        s = s != NULL ? s : claim_slot_locked(g, grain);
    }
    if (s != NULL) {
        s->pins++;
    }
    return s;
}

/** @to_end: the reader has had its last sector; one that reads in order then needs it no more, and it is the grains
 * read ahead that must stay. */
static void leave_slot(struct stream_grains *g, struct slot *s, bool to_end)
{
    SCOPED_LOCK(&g->lock);
    s->pins--;
    s->stamp = to_end && g->in_order > 0 ? 0 : ++g->clock;
}

/* ---- reading ---- */

/** Some grains that follow one another, with their table entries: count of them are read, known of them are known. */
struct batch {
    uint64_t first;
    uint32_t count, known;
    uint32_t entries[BATCH_MAX + 1];
};

static VixError batch_look_up(struct stream_grains *g, const struct stream_live *live, uint64_t first, uint32_t count,
                              struct batch *ret_b, struct err *err)
{
    uint32_t want = (uint32_t)min_u64((uint64_t)count + 1, g->grain_count - first);

    ret_b->first = first;
    ret_b->count = count;
    for (ret_b->known = 0; ret_b->known < want;) {
        uint32_t got;
        VixError e = stream_file_entries(g->f, live, first + ret_b->known, want - ret_b->known,
                                         ret_b->entries + ret_b->known, &got, err);
        if (e != VIX_OK && ret_b->known >= count) {
            break; /* the entry after the last grain is a hint only */
        }
        if (e != VIX_OK) {
            return e;
        }
        ret_b->known += got;
    }
    return VIX_OK;
}

/** Inflates the index-th grain of a batch; the first call of a batch reads the records of all that follow. @out NULL:
 * into the window's own room. */
static VixError inflate_grain(struct stream_grains *g, struct stream_window **w, const struct batch *b, uint32_t index,
                              uint8_t *out, struct err *err)
{
    uint32_t entry = b->entries[index];
    uint64_t ahead = (uint64_t)entry * SECTOR_SIZE;
    VixError e = *w != NULL ? VIX_OK : window_take(g, w, err);

    if (e != VIX_OK) {
        return e;
    }
    ahead += stream_span(g->f, b->entries + index, b->count - index, b->known - index);
    return stream_window_grain(*w, g->f, b->first + index, entry, ahead, out != NULL ? out : (*w)->grain, err);
}

static VixError read_whole(struct stream_grains *g, struct stream_window **w, const struct batch *b, uint32_t index,
                           uint8_t *buf, struct err *err)
{
    struct slot *s = enter_slot(g, b->first + index, NULL);

    if (s == NULL) {
        return inflate_grain(g, w, b, index, buf, err);
    }
    memcpy(buf, s->data, g->grain_bytes);
    leave_slot(g, s, true);
    return VIX_OK;
}

/** Reads nsectors of one grain, from skip on, and keeps the grain. */
static VixError read_part(struct stream_grains *g, struct stream_window **w, const struct batch *b, uint32_t index,
                          uint64_t skip, uint64_t nsectors, uint8_t *buf, struct err *err)
{
    bool fill;
    struct slot *s = enter_slot(g, b->first + index, &fill);
    VixError e = fill ? inflate_grain(g, w, b, index, s != NULL ? s->data : NULL, err) : VIX_OK;

    if (s != NULL && fill) {
        SCOPED_LOCK(&g->lock);
        slot_filled_locked(g, s, e == VIX_OK);
    }
    if (e == VIX_OK) {
        const uint8_t *data = s != NULL ? s->data : (*w)->grain;
        memcpy(buf, data + skip * SECTOR_SIZE, nsectors * SECTOR_SIZE);
    }
    if (s != NULL) {
        leave_slot(g, s, skip + nsectors == g->grain_sectors);
    }
    return e;
}

/** Reads up to one batch of grains; *ret_done: sectors read. */
static VixError read_batch(struct stream_grains *g, struct stream_window **w, const struct stream_live *live,
                           uint64_t sector, uint64_t nsectors, uint8_t *buf, uint64_t *ret_done, struct err *err)
{
    uint64_t first = sector / g->grain_sectors;
    uint64_t last = (sector + nsectors - 1) / g->grain_sectors;
    uint64_t done = 0;
    struct batch b;
    VixError e = batch_look_up(g, live, first, (uint32_t)min_u64(last - first + 1, g->batch), &b, err);

    for (uint32_t i = 0; e == VIX_OK && i < b.count; i++) {
        uint64_t skip = (sector + done) % g->grain_sectors;
        uint64_t n = min_u64(g->grain_sectors - skip, nsectors - done);
        uint8_t *out = buf + done * SECTOR_SIZE;
        if (b.entries[i] < 2) {
            memset(out, 0, n * SECTOR_SIZE);
        } else if (n == g->grain_sectors) {
            e = read_whole(g, w, &b, i, out, err);
        } else {
            e = read_part(g, w, &b, i, skip, n, out, err);
        }
        done += n;
    }
    *ret_done = done;
    return e;
}

/* ---- read-ahead ---- */

/** The parallel part: fills the slots of one item. */
static void run_ahead(struct work_item *work)
{
    struct ahead_item *item = (struct ahead_item *)work;
    struct stream_grains *g = item->g;
    struct stream_window *w = NULL;
    struct batch b;
    bool stopping;
    {
        SCOPED_LOCK(&g->lock);
        stopping = g->stopping;
    }
    struct activity_mark mark = activity_enter(ACTIVITY_READ);
    bool good = !stopping && batch_look_up(g, NULL, item->first, item->count, &b, NULL) == VIX_OK;

    for (uint32_t i = 0; i < item->count; i++) {
        if (item->slots[i] != NULL) {
            good = good && inflate_grain(g, &w, &b, i, item->slots[i]->data, NULL) == VIX_OK;
            SCOPED_LOCK(&g->lock);
            slot_filled_locked(g, item->slots[i], good);
        }
    }
    window_give(g, w);
    activity_leave(&mark);
    SCOPED_LOCK(&g->lock);
    item->busy = false;
    g->running--;
    (void)pthread_cond_broadcast(&g->changed);
}

/** Prepares a free item for the next grains; NULL if there is none, or no slot for them. */
static struct ahead_item *next_item_locked(struct stream_grains *g)
{
    struct ahead_item *item = NULL;

    for (unsigned i = 0; i < g->item_count && item == NULL; i++) {
        item = g->items[i].busy ? NULL : &g->items[i];
    }
    if (item == NULL) {
        return NULL;
    }
    item->first = g->ahead_grain;
    item->count = 0;
    while (item->count < g->chunk && g->ahead_grain < g->grain_count) {
        struct slot *s = find_slot_locked(g, g->ahead_grain) != NULL ? NULL : claim_slot_locked(g, g->ahead_grain);
        item->slots[item->count++] = s;
        g->ahead_grain++;
    }
    item->g = g;
    item->work.run = run_ahead;
    item->busy = true;
    g->running++;
    return item;
}

/** Whether the thread that reads up to end reads in order, and alone, so that what follows is worth inflating now. */
static bool reads_in_order_locked(struct stream_grains *g, uint64_t sector, uint64_t end)
{
    bool follows = g->next_sector == sector && sector != 0 && pthread_equal(g->reader, pthread_self()) != 0;

    g->in_order = follows && g->readers == 1 ? g->in_order + (end - sector) : 0;
    g->reader = pthread_self();
    g->next_sector = end;
    return g->in_order >= AHEAD_AFTER_GRAINS * g->grain_sectors;
}

/** Prepares work for the grains behind a read; returns the number of items. What is read now counts as a part of the
 * window: it may still be in the cache. */
static unsigned plan_ahead_locked(struct stream_grains *g, uint64_t sector, uint64_t nsectors,
                                  struct ahead_item *ret_items[AHEAD_ITEMS_MAX])
{
    uint64_t next = div_up(sector + nsectors, g->grain_sectors);
    uint64_t end = min_u64(sector / g->grain_sectors + (uint64_t)g->chunk * g->item_count, g->grain_count);
    unsigned count = 0;

    if (g->ahead_grain < next || g->ahead_grain > end) {
        g->ahead_grain = next;
    }
    while (count < g->item_count && g->ahead_grain < end &&
           (g->ahead_grain + g->chunk <= end || end == g->grain_count)) {
        ret_items[count] = next_item_locked(g);
        if (ret_items[count] == NULL) {
            break;
        }
        count++;
    }
    return count;
}

/** Called at the start of a read: has the grains after it inflated meanwhile. */
static void read_ahead(struct stream_grains *g, uint64_t sector, uint64_t nsectors)
{
    struct ahead_item *items[AHEAD_ITEMS_MAX];
    unsigned count;
    {
        SCOPED_LOCK(&g->lock);
        g->readers++;
        if (!reads_in_order_locked(g, sector, sector + nsectors) ||
            (g->pool == NULL && work_pool_new(g->threads, &g->pool, NULL) != VIX_OK)) {
            return;
        }
        count = plan_ahead_locked(g, sector, nsectors, items);
    }
    for (unsigned i = 0; i < count; i++) {
        work_submit(g->pool, &items[i]->work);
    }
}

static void read_ends(struct stream_grains *g)
{
    SCOPED_LOCK(&g->lock);
    g->readers--;
}

/* ---- the whole ---- */

VixError stream_grains_read(struct stream_grains *g, const struct stream_live *live, uint64_t sector, uint64_t nsectors,
                            void *buf, struct err *err)
{
    struct stream_window *w = NULL;
    uint8_t *out = buf;
    bool may_read_ahead = live == NULL && g->threads > 1;
    VixError e = VIX_OK;

    if (may_read_ahead) {
        read_ahead(g, sector, nsectors);
    }
    while (e == VIX_OK && nsectors > 0) {
        uint64_t done;
        e = read_batch(g, &w, live, sector, nsectors, out, &done, err);
        if (e == VIX_OK) {
            sector += done;
            nsectors -= done;
            out += done * SECTOR_SIZE;
        }
    }
    window_give(g, w);
    if (may_read_ahead) {
        read_ends(g);
    }
    return e;
}

static unsigned fit(uint64_t bytes, uint64_t grain_bytes, unsigned most)
{
    return (unsigned)min_u64(max_u64(bytes / grain_bytes, 1), most);
}

VixError stream_grains_new(struct stream_file *f, unsigned threads, struct stream_grains **ret_g, struct err *err)
{
    struct stream_grains *g = alloc_zero(sizeof *g, err);

    if (g == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_cond_init(&g->changed, NULL);
    g->f = f;
    g->grain_sectors = f->h.grain_sectors;
    g->grain_bytes = f->h.grain_sectors * SECTOR_SIZE;
    g->grain_count = div_up(f->h.capacity, f->h.grain_sectors);
    g->batch = fit(BATCH_BYTES, g->grain_bytes, BATCH_MAX);
    g->threads = threads;
    g->chunk = fit(CHUNK_BYTES, g->grain_bytes, CHUNK_MAX);
    g->item_count = threads > 1 ? (unsigned)min_u64((uint64_t)threads * 3, AHEAD_ITEMS_MAX) : 0;
    g->slot_count = 1 + fit(RANDOM_BYTES, g->grain_bytes, RANDOM_SLOTS_MAX) + g->chunk * g->item_count;
    g->slots = alloc_array(g->slot_count, sizeof *g->slots, err);
    if (g->slots == NULL) {
        stream_grains_free(g);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_g = g;
    return VIX_OK;
}

static void wait_for_ahead_locked(struct stream_grains *g)
{
    while (g->running > 0) {
        (void)pthread_cond_wait(&g->changed, &g->lock);
    }
}

void stream_grains_forget(struct stream_grains *g)
{
    SCOPED_LOCK(&g->lock);

    wait_for_ahead_locked(g);
    for (unsigned i = 0; i < g->slot_count; i++) {
        g->slots[i].state = SLOT_EMPTY;
        g->slots[i].stamp = 0;
    }
}

void stream_grains_free(struct stream_grains *g)
{
    if (g == NULL) {
        return;
    }
    {
        SCOPED_LOCK(&g->lock);
        g->stopping = true;
        wait_for_ahead_locked(g);
    }
    work_pool_free(g->pool);
    while (g->idle != NULL) {
        struct stream_window *w = g->idle;
        g->idle = w->next;
        stream_window_free(w);
    }
    for (unsigned i = 0; g->slots != NULL && i < g->slot_count; i++) {
        free(g->slots[i].data);
    }
    free(g->slots);
    (void)pthread_cond_destroy(&g->changed);
    (void)pthread_mutex_destroy(&g->lock);
    free(g);
}

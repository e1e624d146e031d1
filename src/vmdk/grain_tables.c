/* SPDX-License-Identifier: BSD-3-Clause */
/* grain_tables.c - the cache of table entries. Pages are found through a directory of pointers, filled from the file on
 * first use and evicted by the clock rule. Only the lock's holder changes the directory or a page; readers without the
 * lock trust an entry if the page's tag named the wanted page before and after they read it. That is right because a
 * refill clears the tag before it stores the first new entry (with release), so whoever saw a new entry (with acquire)
 * sees the tag changed. */
#include "vmdk/grain_tables.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

#define MAX_DIRTY_SECTORS ((UINT64_C(8) << 20) / GRAIN_TABLES_SECTOR) /* limit: changed sectors of tables in memory */
#define MIN_PAGES 2u
#define FILLINGS_MASK ((1u << GRAIN_TAG_SHIFT) - 1)
#define SINGLE_PAGES 16u /* pages that are allocated one by one; those after them come in slabs */
#define SLAB_BYTES                                                                                                     \
    ((size_t)2 << 20) /* a huge page where the kernel has them: its first touch is one fault, not 512                  \
                       */

struct grain_page grain_page_zero, grain_page_loading;

/* Memory for many pages; they follow this head. */
struct grain_slab {
    _Alignas(64) struct grain_slab *next;
};

static _Atomic uint32_t *entries4(struct grain_page *p)
{
    return (_Atomic uint32_t *)(void *)(p + 1);
}

static _Atomic uint64_t *entries8(struct grain_page *p)
{
    return (_Atomic uint64_t *)(void *)(p + 1);
}

static size_t page_bytes(unsigned width)
{
    return (size_t)GRAIN_PAGE_ENTRIES * width;
}

static unsigned sector_entries(const struct grain_tables *t)
{
    return GRAIN_TABLES_SECTOR / t->width;
}

VixError grain_cache_new(unsigned width, uint64_t bytes, struct grain_cache **ret_cache, struct err *err)
{
    struct grain_cache *c = alloc_zero(sizeof *c, err);

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    bytes = bytes > 0 ? bytes : GRAIN_TABLES_CACHE_DEFAULT;
    c->width = width;
    c->max_pages = max_u64(bytes / (page_bytes(width) + sizeof(struct grain_page)), MIN_PAGES);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->loaded, NULL);
    *ret_cache = c;
    return VIX_OK;
}

void grain_cache_free(struct grain_cache *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->nsingle; i++) {
        free(c->pages[i]);
    }
    while (c->slabs != NULL) {
        struct grain_slab *slab = c->slabs;
        c->slabs = slab->next;
        free(slab);
    }
    free(c->pages);
    free(c->spare);
    (void)pthread_cond_destroy(&c->loaded);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Takes numbers for the pages of new tables; they are never used again. */
static void take_numbers(struct grain_tables *t)
{
    SCOPED_LOCK(&t->cache->lock);
    t->first_number = t->cache->next_number;
    t->cache->next_number += t->page_count;
}

VixError grain_tables_new(const struct grain_tables_params *p, struct grain_tables **ret_tables, struct err *err)
{
    struct grain_tables *t;
    VixError e = VIX_OK;

    if (p->entry_count > GRAIN_TABLES_MAX_ENTRIES) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%" PRIu64 " grains, supported are at most %" PRIu64,
                       p->entry_count, GRAIN_TABLES_MAX_ENTRIES);
    }
    t = alloc_zero(sizeof *t, err);
    if (t == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    t->entry_count = p->entry_count;
    t->width = p->width;
    t->load = p->load;
    t->ctx = p->ctx;
    t->page_count = div_up(p->entry_count, GRAIN_PAGE_ENTRIES);
    t->cache = p->cache;
    t->owns_cache = p->cache == NULL;
    t->dir = alloc_array(t->page_count, sizeof t->dir[0], err);
    if (t->dir == NULL) {
        e = VIX_E_OUT_OF_MEMORY;
    } else if (t->owns_cache) {
        e = grain_cache_new(p->width, p->cache_bytes, &t->cache, err);
    }
    if (e != VIX_OK) {
        free(t->dir);
        free(t);
        return e;
    }
    take_numbers(t);
    *ret_tables = t;
    return VIX_OK;
}

/* The pages of tables that are no more: for others. */
static void leave_pages(struct grain_tables *t)
{
    SCOPED_LOCK(&t->cache->lock);
    for (size_t i = 0; i < t->cache->npages; i++) {
        struct grain_page *p = t->cache->pages[i];
        if (p->owner == t) {
            atomic_store_explicit(&p->tag, 0, memory_order_relaxed);
            atomic_store_explicit(&p->used, false, memory_order_relaxed);
            p->owner = NULL;
            p->flushing = false;
            p->dirty[0] = p->dirty[1] = 0;
        }
    }
}

void grain_tables_free(struct grain_tables *t)
{
    if (t == NULL) {
        return;
    }
    if (t->owns_cache) {
        grain_cache_free(t->cache);
    } else {
        leave_pages(t);
    }
    free(t->dir);
    free(t);
}

/* ---- memory for pages ---- */

static bool is_pinned(const struct grain_page *p)
{
    return p->flushing || p->dirty[0] != 0 || p->dirty[1] != 0;
}

/* Takes a page from the clock: one that was not looked at since the hand last passed. NULL if all are pinned. */
static struct grain_page *evict_locked(struct grain_cache *c)
{
    for (size_t tries = 2 * c->npages; tries > 0; tries--) {
        struct grain_page *p = c->pages[c->hand];
        c->hand = c->hand + 1 < c->npages ? c->hand + 1 : 0;
        if (is_pinned(p) || atomic_exchange_explicit(&p->used, false, memory_order_relaxed)) {
            continue;
        }
        if (p->owner != NULL) {
            atomic_store_explicit(&p->owner->dir[p->page], NULL, memory_order_release);
        }
        return p;
    }
    return NULL;
}

/* Memory for one more page. Few are allocated as they are needed, so that a small disk, or an extent of many, costs
 * little; then in slabs, as the page faults of first touches would cost more than filling the pages. */
static struct grain_page *page_memory_locked(struct grain_cache *c, struct err *err)
{
    size_t size = sizeof(struct grain_page) + page_bytes(c->width);

    if (c->npages < SINGLE_PAGES || c->max_pages < 4 * (size_t)SINGLE_PAGES) {
        struct grain_page *p = alloc_aligned(_Alignof(struct grain_page), size, err);
        c->nsingle += p != NULL; /* all singles come before the first of a slab */
        return p;
    }
    if (c->slab_left < size) {
        struct grain_slab *slab = alloc_aligned(SLAB_BYTES, SLAB_BYTES, err);
        if (slab == NULL) {
            return NULL;
        }
        (void)madvise(slab, SLAB_BYTES, MADV_HUGEPAGE);
        slab->next = c->slabs;
        c->slabs = slab;
        c->slab_left = SLAB_BYTES - sizeof *slab;
    }
    c->slab_left -= size;
    return (struct grain_page *)(void *)((uint8_t *)c->slabs + SLAB_BYTES - c->slab_left - size);
}

static struct grain_page *new_page_locked(struct grain_cache *c, struct err *err)
{
    if (c->npages == c->pages_cap) {
        size_t cap = c->pages_cap > 0 ? 2 * c->pages_cap : 16;
        struct grain_page **pages = realloc(c->pages, cap * sizeof(*pages));
        if (pages == NULL) {
            (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for %zu pages of grain tables", cap);
            return NULL;
        }
        c->pages = pages;
        c->pages_cap = cap;
    }
    struct grain_page *p = page_memory_locked(c, err);
    if (p != NULL) {
        memset(p, 0, sizeof *p);
        c->pages[c->npages++] = p;
    }
    return p;
}

/* A page that is in nobody's use. Beyond the bound only while every page is pinned: writers write them back long before
 * (grain_tables_full). */
static struct grain_page *take_page_locked(struct grain_cache *c, struct err *err)
{
    struct grain_page *p = NULL;

    if (c->npages >= c->max_pages) {
        p = evict_locked(c);
    }
    return p != NULL ? p : new_page_locked(c, err);
}

/* Stores entries that came from the file; release, because of readers that still believe the page to be another one. */
static void store_page4(_Atomic uint32_t *entries, const uint8_t *bytes)
{
    for (size_t i = 0; i < GRAIN_PAGE_ENTRIES; i++) {
        atomic_store_explicit(entries + i, get_le32(bytes + 4 * i), memory_order_release);
    }
}

static void store_page8(_Atomic uint64_t *entries, const uint8_t *bytes)
{
    for (size_t i = 0; i < GRAIN_PAGE_ENTRIES; i++) {
        atomic_store_explicit(entries + i, get_le64(bytes + 8 * i), memory_order_release);
    }
}

static void store_zeros(const struct grain_tables *t, struct grain_page *p)
{
    for (size_t i = 0; i < page_bytes(t->width) / 4; i++) { /* zeros of either width */
        atomic_store_explicit(entries4(p) + i, 0, memory_order_release);
    }
}

/* Gives a page new entries (bytes NULL: zeros) and a number, and puts it into the directory. */
static void fill_page_locked(struct grain_tables *t, struct grain_page *p, uint64_t page, const uint8_t *bytes)
{
    atomic_store_explicit(&p->tag, 0, memory_order_relaxed);
    if (bytes == NULL) {
        store_zeros(t, p);
    } else if (t->width == 4) {
        store_page4(entries4(p), bytes);
    } else {
        store_page8(entries8(p), bytes);
    }
    p->owner = t;
    p->page = page;
    p->fillings++;
    atomic_store_explicit(&p->used, true, memory_order_relaxed);
    atomic_store_explicit(&p->tag, (t->first_number + page + 1) << GRAIN_TAG_SHIFT | (p->fillings & FILLINGS_MASK),
                          memory_order_release);
    atomic_store_explicit(&t->dir[page], p, memory_order_release);
}

/* ---- loading ---- */

static bool all_zero(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static VixError publish_locked(struct grain_tables *t, uint64_t page, const uint8_t *bytes, struct err *err)
{
    if (all_zero(bytes, page_bytes(t->width))) {
        atomic_store_explicit(&t->dir[page], &grain_page_zero, memory_order_release);
        return VIX_OK;
    }
    struct grain_page *p = take_page_locked(t->cache, err);
    if (p == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    fill_page_locked(t, p, page, bytes);
    return VIX_OK;
}

/* Memory for a page as it is in the file, zeroed: the one that the last loader left, or new. */
static uint8_t *take_buffer_locked(struct grain_tables *t, struct err *err)
{
    uint8_t *bytes = TAKE_PTR(t->cache->spare);

    if (bytes == NULL) {
        return alloc_zero(page_bytes(t->width), err);
    }
    memset(bytes, 0, page_bytes(t->width));
    return bytes;
}

static void leave_buffer_locked(struct grain_tables *t, uint8_t *bytes)
{
    free(t->cache->spare);
    t->cache->spare = bytes;
}

/* Loads a page without holding the lock. While it stands as "loading" in the directory nobody else touches it, so what
 * was read cannot be out of date when it is published. */
static VixError load_locked(struct grain_tables *t, uint64_t page, struct err *err)
{
    uint8_t *bytes = take_buffer_locked(t, err);

    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    atomic_store_explicit(&t->dir[page], &grain_page_loading, memory_order_release);
    (void)pthread_mutex_unlock(&t->cache->lock);
    VixError e = t->load(t->ctx, page << GRAIN_PAGE_SHIFT, bytes, err);
    (void)pthread_mutex_lock(&t->cache->lock);
    if (e == VIX_OK) {
        e = publish_locked(t, page, bytes, err);
    }
    if (e != VIX_OK) {
        atomic_store_explicit(&t->dir[page], NULL, memory_order_release);
    }
    leave_buffer_locked(t, bytes);
    (void)pthread_cond_broadcast(&t->cache->loaded);
    return e;
}

/* The page of a number, perhaps grain_page_zero. May let go of the lock in between. */
static VixError hold_locked(struct grain_tables *t, uint64_t page, struct grain_page **ret_page, struct err *err)
{
    for (;;) {
        struct grain_page *p = atomic_load_explicit(&t->dir[page], memory_order_relaxed);
        if (p == &grain_page_loading) {
            (void)pthread_cond_wait(&t->cache->loaded, &t->cache->lock);
        } else if (p != NULL) {
            *ret_page = p;
            return VIX_OK;
        } else {
            VixError e = load_locked(t, page, err);
            if (e != VIX_OK) {
                return e;
            }
        }
    }
}

VixError grain_tables_get_slow(struct grain_tables *t, uint64_t entry, uint64_t *ret_value, struct err *err)
{
    uint32_t index = (uint32_t)entry & (GRAIN_PAGE_ENTRIES - 1);
    struct grain_page *p;

    SCOPED_LOCK(&t->cache->lock);
    VixError e = hold_locked(t, entry >> GRAIN_PAGE_SHIFT, &p, err);
    if (e != VIX_OK) {
        return e;
    }
    if (p == &grain_page_zero) {
        *ret_value = 0;
    } else if (t->width == 4) {
        *ret_value = atomic_load_explicit(entries4(p) + index, memory_order_relaxed);
    } else {
        *ret_value = atomic_load_explicit(entries8(p) + index, memory_order_relaxed);
    }
    return VIX_OK;
}

/* ---- many entries at once ---- */

/* The page of an entry if it is in memory, with the tag under which its entries may be believed. */
static struct grain_page *peek_page(const struct grain_tables *t, uint64_t entry, uint64_t *ret_tag)
{
    uint64_t page = entry >> GRAIN_PAGE_SHIFT;
    struct grain_page *p = atomic_load_explicit(&t->dir[page], memory_order_acquire);

    if (p == NULL) {
        return NULL;
    }
    *ret_tag = atomic_load_explicit(&p->tag, memory_order_acquire);
    return *ret_tag >> GRAIN_TAG_SHIFT == t->first_number + page + 1 ? p : NULL;
}

static uint64_t entry_at(const struct grain_tables *t, struct grain_page *p, uint64_t index)
{
    return t->width == 4 ? atomic_load_explicit(entries4(p) + index, memory_order_acquire)
                         : atomic_load_explicit(entries8(p) + index, memory_order_acquire);
}

static uint64_t up_to_page_end(uint64_t entry, uint64_t max)
{
    return min_u64(max, GRAIN_PAGE_ENTRIES - (entry & (GRAIN_PAGE_ENTRIES - 1)));
}

bool grain_tables_match(const struct grain_tables *t, uint64_t entry, uint64_t max, uint64_t value, uint64_t step,
                        uint64_t *ret_n)
{
    uint64_t index = entry & (GRAIN_PAGE_ENTRIES - 1), n = 0, tag;
    struct grain_page *p = peek_page(t, entry, &tag);

    if (p == NULL) {
        return false;
    }
    max = up_to_page_end(entry, max);
    while (n < max && entry_at(t, p, index + n) == value + n * step) {
        n++;
    }
    *ret_n = n;
    return atomic_load_explicit(&p->tag, memory_order_relaxed) == tag;
}

bool grain_tables_match_range(const struct grain_tables *t, uint64_t entry, uint64_t max, uint64_t low, uint64_t high,
                              uint64_t *ret_n)
{
    uint64_t index = entry & (GRAIN_PAGE_ENTRIES - 1), n = 0, tag;
    struct grain_page *p = peek_page(t, entry, &tag);

    if (p == NULL) {
        return false;
    }
    max = up_to_page_end(entry, max);
    while (n < max && entry_at(t, p, index + n) - low <= high - low) {
        n++;
    }
    *ret_n = n;
    return atomic_load_explicit(&p->tag, memory_order_relaxed) == tag;
}

/* Entries of a page that is in memory; how many. */
static uint64_t copy_entries(const struct grain_tables *t, uint64_t entry, uint64_t max, uint32_t *ret_values)
{
    uint64_t index = entry & (GRAIN_PAGE_ENTRIES - 1), tag;
    struct grain_page *p = peek_page(t, entry, &tag);

    if (p == NULL) {
        return 0;
    }
    max = up_to_page_end(entry, max);
    for (uint64_t n = 0; n < max; n++) {
        ret_values[n] = atomic_load_explicit(entries4(p) + index + n, memory_order_acquire);
    }
    return atomic_load_explicit(&p->tag, memory_order_relaxed) == tag ? max : 0;
}

/* A page that is not in memory has no change that the file has not, so the file tells what its entries are now. */
uint64_t grain_tables_read(struct grain_tables *t, uint64_t entry, uint64_t max, uint32_t *ret_values)
{
    uint64_t n = copy_entries(t, entry, max, ret_values);
    bool whole_page = entry % GRAIN_PAGE_ENTRIES == 0 && max >= GRAIN_PAGE_ENTRIES;

    if (n > 0 || !whole_page ||
        atomic_load_explicit(&t->dir[entry >> GRAIN_PAGE_SHIFT], memory_order_acquire) != NULL) {
        return n;
    }
    memset(ret_values, 0, page_bytes(t->width));
    if (t->load(t->ctx, entry, (uint8_t *)ret_values, NULL) != VIX_OK) {
        return 0;
    }
    for (size_t i = 0; i < GRAIN_PAGE_ENTRIES; i++) {
        ret_values[i] = le32toh(ret_values[i]);
    }
    return GRAIN_PAGE_ENTRIES;
}

/* ---- changing ---- */

static void update_full_locked(struct grain_tables *t)
{
    bool full = t->dirty_sectors >= MAX_DIRTY_SECTORS || t->dirty_pages > t->cache->max_pages / 2;
    atomic_store_explicit(&t->full, full, memory_order_relaxed);
}

static void mark_dirty_locked(struct grain_tables *t, struct grain_page *p, uint32_t index, uint64_t count)
{
    unsigned last = (unsigned)((index + count - 1) / sector_entries(t));

    if (p->dirty[0] == 0 && p->dirty[1] == 0) {
        p->next_dirty = t->dirty_list;
        t->dirty_list = p;
        t->dirty_pages++;
    }
    for (unsigned s = index / sector_entries(t); s <= last; s++) {
        uint64_t bit = UINT64_C(1) << (s % 64);
        if ((p->dirty[s / 64] & bit) == 0) {
            p->dirty[s / 64] |= bit;
            t->dirty_sectors++;
        }
    }
    update_full_locked(t);
}

/* The page of a number as memory of its own, zeros or not. */
static VixError hold_real_locked(struct grain_tables *t, uint64_t page, struct grain_page **ret_page, struct err *err)
{
    struct grain_page *p;
    VixError e = hold_locked(t, page, &p, err);

    if (e == VIX_OK && p == &grain_page_zero) {
        p = take_page_locked(t->cache, err);
        if (p == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        fill_page_locked(t, p, page, NULL);
    }
    if (e == VIX_OK) {
        *ret_page = p;
    }
    return e;
}

static void store_entries_locked(struct grain_tables *t, struct grain_page *p, uint32_t index, uint64_t count,
                                 uint64_t value, uint64_t step)
{
    for (uint64_t i = 0; i < count; i++, value += step) {
        if (t->width == 4) {
            atomic_store_explicit(entries4(p) + index + i, (uint32_t)value, memory_order_release);
        } else {
            atomic_store_explicit(entries8(p) + index + i, value, memory_order_release);
        }
    }
}

static VixError change(struct grain_tables *t, uint64_t entry, uint64_t count, bool set, uint64_t value, uint64_t step,
                       struct err *err)
{
    SCOPED_LOCK(&t->cache->lock);
    while (count > 0) {
        uint32_t index = (uint32_t)entry & (GRAIN_PAGE_ENTRIES - 1);
        uint64_t n = min_u64(count, GRAIN_PAGE_ENTRIES - index);
        struct grain_page *p;
        VixError e = hold_real_locked(t, entry >> GRAIN_PAGE_SHIFT, &p, err);
        if (e != VIX_OK) {
            return e;
        }
        if (set) {
            store_entries_locked(t, p, index, n, value, step);
        }
        mark_dirty_locked(t, p, index, n);
        entry += n;
        count -= n;
        value += n * step;
    }
    return VIX_OK;
}

VixError grain_tables_set(struct grain_tables *t, uint64_t entry, uint64_t count, uint64_t value, uint64_t step,
                          struct err *err)
{
    return change(t, entry, count, true, value, step, err);
}

VixError grain_tables_touch(struct grain_tables *t, uint64_t entry, uint64_t count, struct err *err)
{
    return change(t, entry, count, false, 0, 0, err);
}

/* ---- snapshots ---- */

static void copy_sector(const struct grain_tables *t, struct grain_page *p, unsigned sector, uint8_t *out)
{
    unsigned n = sector_entries(t), first = sector * n;

    for (unsigned i = 0; i < n; i++) {
        if (t->width == 4) {
            put_le32(out + 4 * (size_t)i, atomic_load_explicit(entries4(p) + first + i, memory_order_relaxed));
        } else {
            put_le64(out + 8 * (size_t)i, atomic_load_explicit(entries8(p) + first + i, memory_order_relaxed));
        }
    }
}

/* Moves one page's changed sectors to the end of the snapshot. */
static void snapshot_page_locked(struct grain_tables *t, struct grain_page *p, struct grain_snapshot *snap)
{
    unsigned nsectors = (unsigned)(page_bytes(t->width) / GRAIN_TABLES_SECTOR);

    for (unsigned s = 0; s < nsectors; s++) {
        if ((p->dirty[s / 64] >> (s % 64) & 1) != 0) {
            snap->first_entry[snap->nsectors] = (p->page << GRAIN_PAGE_SHIFT) + (uint64_t)s * sector_entries(t);
            copy_sector(t, p, s, snap->bytes + snap->nsectors * GRAIN_TABLES_SECTOR);
            snap->nsectors++;
        }
    }
    p->dirty[0] = p->dirty[1] = 0;
    p->flushing = true;
    p->next_flushing = t->flushing_list;
    t->flushing_list = p;
}

static int by_page(const void *a, const void *b)
{
    const struct grain_page *const *pa = a, *const *pb = b;
    return (*pa)->page < (*pb)->page ? -1 : (*pa)->page > (*pb)->page;
}

VixError grain_tables_snapshot(struct grain_tables *t, struct grain_snapshot *ret_snap, struct err *err)
{
    SCOPED_LOCK(&t->cache->lock);
    struct grain_snapshot snap = {.first_entry = alloc_array(t->dirty_sectors, sizeof(uint64_t), err),
                                  .bytes = alloc_array(t->dirty_sectors, GRAIN_TABLES_SECTOR, err)};
    CLEANUP_FREE struct grain_page **pages = alloc_array(t->dirty_pages, sizeof(struct grain_page *), err);
    size_t n = 0;

    if (snap.first_entry == NULL || snap.bytes == NULL || pages == NULL) {
        free(snap.first_entry);
        free(snap.bytes);
        return VIX_E_OUT_OF_MEMORY;
    }
    for (struct grain_page *p = t->dirty_list; p != NULL; p = p->next_dirty) {
        pages[n++] = p;
    }
    qsort(pages, n, sizeof(pages[0]), by_page);
    for (size_t i = 0; i < n; i++) {
        snapshot_page_locked(t, pages[i], &snap);
    }
    t->dirty_list = NULL;
    t->dirty_pages = 0;
    t->dirty_sectors = 0;
    update_full_locked(t);
    *ret_snap = snap;
    return VIX_OK;
}

/* What was not written counts as changed again. Its pages are still there: they were not let go. */
static void take_back_locked(struct grain_tables *t, const struct grain_snapshot *snap)
{
    for (size_t i = 0; i < snap->nsectors; i++) {
        uint64_t entry = snap->first_entry[i];
        struct grain_page *p = atomic_load_explicit(&t->dir[entry >> GRAIN_PAGE_SHIFT], memory_order_relaxed);
        mark_dirty_locked(t, p, (uint32_t)entry & (GRAIN_PAGE_ENTRIES - 1), 1);
    }
}

void grain_tables_snapshot_end(struct grain_tables *t, struct grain_snapshot *snap, bool written)
{
    SCOPED_LOCK(&t->cache->lock);
    if (!written) {
        take_back_locked(t, snap);
    }
    for (struct grain_page *p = t->flushing_list; p != NULL; p = p->next_flushing) {
        p->flushing = false;
    }
    t->flushing_list = NULL;
    free(snap->first_entry);
    free(snap->bytes);
}

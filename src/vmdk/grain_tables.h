/* SPDX-License-Identifier: BSD-3-Clause */
/* grain_tables.h - a bounded cache of the table entries that tell where grains lie, for every extent type that has such
 * tables. It knows entries by number only: where their tables are in the file, and how they get back there, is for the
 * extent (a function that loads a page, and snapshots of what changed).
 *
 * Any thread may call anything but new and free. Looking up an entry of a cached page takes no lock: a page is memory
 * that stays what it is until grain_tables_free, and carries a tag that changes before it is used for other entries.
 * Pages with changed entries stay in memory until a snapshot of them was written. A page of nothing but zeros takes no
 * memory. */
#ifndef VIXDISK_VMDK_GRAIN_TABLES_H
#define VIXDISK_VMDK_GRAIN_TABLES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define GRAIN_PAGE_SHIFT 13u
#define GRAIN_PAGE_ENTRIES (1u << GRAIN_PAGE_SHIFT)     /* a multiple of the entries of a table of any format */
#define GRAIN_TABLES_MAX_ENTRIES (UINT64_C(1) << 34)    /* limit: grains of an extent */
#define GRAIN_TABLES_CACHE_DEFAULT (UINT64_C(32) << 20) /* bytes */
#define GRAIN_TABLES_SECTOR 512u                        /* bytes of a table that are marked, and written, together */

/** Fills buf with GRAIN_PAGE_ENTRIES entries from number first_entry (a multiple of that) as they are in the file:
 * little-endian, of the width given to grain_tables_new. buf comes zeroed: what has no table is left alone. Called on
 * any thread without a lock, several pages at once but never one page twice. */
typedef VixError grain_tables_load_func(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err);

#define GRAIN_TAG_SHIFT 24u /* of the count of fillings */

/** A page of entries: this head, then the entries. */
struct grain_page {
    _Alignas(64) _Atomic uint64_t tag; /* number of the page within the cache + 1, then a count of fillings; 0: being
                                          filled, or nobody's */
    atomic_bool used;                  /* looked at since the clock hand passed */
    bool flushing;                     /* in a snapshot that is not written yet */
    uint32_t fillings;
    struct grain_tables *owner; /* NULL: nobody's */
    uint64_t page;              /* of the owner */
    uint64_t dirty[2];          /* one bit for each GRAIN_TABLES_SECTOR bytes */
    struct grain_page *next_dirty, *next_flushing;
};

/** Memory for pages, which several tables may share. Its members belong to grain_tables.c. */
struct grain_cache {
    unsigned width;       /* bytes of an entry */
    pthread_mutex_t lock; /* guards all below, and the tables */
    pthread_cond_t loaded;
    struct grain_page **pages;
    size_t npages, max_pages, pages_cap, hand;
    size_t nsingle; /* of pages: the first, each with memory of its own */
    struct grain_slab *slabs;
    size_t slab_left;     /* bytes not used yet of the newest slab */
    uint8_t *spare;       /* a buffer for the next loader, or NULL */
    uint64_t next_number; /* of a page of the next tables */
};

/** Tables. Their members belong to grain_tables.c and the inline functions below. */
struct grain_tables {
    _Atomic(struct grain_page *) *dir; /* by page number: NULL, grain_page_zero, grain_page_loading or a page */
    uint64_t page_count;
    uint64_t entry_count;
    uint64_t first_number; /* in the cache, of page 0 */
    unsigned width;        /* bytes of an entry: 4 or 8 */
    atomic_bool full;
    grain_tables_load_func *load;
    void *ctx;
    struct grain_cache *cache;
    bool owns_cache;

    /* guarded by the lock of the cache */
    struct grain_page *dirty_list, *flushing_list;
    size_t dirty_pages, dirty_sectors;
};

/* Two pages without entries that stand in the directory. */
extern struct grain_page grain_page_zero, grain_page_loading;

struct grain_tables_params {
    uint64_t entry_count;
    unsigned width;            /* bytes of an entry in the file: 4 or 8 */
    struct grain_cache *cache; /* for entries of that width; NULL: one of its own */
    uint64_t cache_bytes;      /* of its own; 0: GRAIN_TABLES_CACHE_DEFAULT; at least two pages are kept */
    grain_tables_load_func *load;
    void *ctx;
};

/** Makes a cache that tables with entries of one width can share: clean pages take at most that many bytes, changed
 * ones may come on top. It must outlive them. grain_cache_free: NULL is harmless. */
VixError grain_cache_new(unsigned width, uint64_t bytes, struct grain_cache **ret_cache, struct err *err);
void grain_cache_free(struct grain_cache *c);

/** Makes tables; nothing is loaded. VIX_E_DISK_NOTSUPPORTED beyond GRAIN_TABLES_MAX_ENTRIES. */
VixError grain_tables_new(const struct grain_tables_params *p, struct grain_tables **ret_tables, struct err *err);

/** NULL is harmless. What was changed and not written is lost. */
void grain_tables_free(struct grain_tables *t);

/** The part of grain_tables_get that may wait: loads the page. */
VixError grain_tables_get_slow(struct grain_tables *t, uint64_t entry, uint64_t *ret_value, struct err *err);

/** The value of an entry (entry < entry_count) if its page is in memory; takes no lock and never waits. */
static inline bool grain_tables_peek(const struct grain_tables *t, uint64_t entry, uint64_t *ret_value)
{
    uint64_t page = entry >> GRAIN_PAGE_SHIFT;
    uint32_t index = (uint32_t)entry & (GRAIN_PAGE_ENTRIES - 1);
    struct grain_page *p = atomic_load_explicit(&t->dir[page], memory_order_acquire);
    uint64_t value;

    if (p == NULL) {
        return false;
    }
    uint64_t tag = atomic_load_explicit(&p->tag, memory_order_acquire);
    if (tag >> GRAIN_TAG_SHIFT != t->first_number + page + 1) {
        *ret_value = 0;
        return p == &grain_page_zero;
    }
    if (t->width == 4) {
        value = atomic_load_explicit((_Atomic uint32_t *)(void *)(p + 1) + index, memory_order_acquire);
    } else {
        value = atomic_load_explicit((_Atomic uint64_t *)(void *)(p + 1) + index, memory_order_acquire);
    }
    if (atomic_load_explicit(&p->tag, memory_order_relaxed) != tag) {
        return false;
    }
    if (!atomic_load_explicit(&p->used, memory_order_relaxed)) {
        atomic_store_explicit(&p->used, true, memory_order_relaxed);
    }
    *ret_value = value;
    return true;
}

/** The value of an entry (entry < entry_count). Fails only where its page cannot be loaded. */
static inline VixError grain_tables_get(struct grain_tables *t, uint64_t entry, uint64_t *ret_value, struct err *err)
{
    if (__builtin_expect(grain_tables_peek(t, entry, ret_value), 1)) {
        return VIX_OK;
    }
    return grain_tables_get_slow(t, entry, ret_value, err);
}

/** Counts the entries from entry on, at most max and not beyond its page, that are value, value + step, value + 2 *
 * step
 * ... false if the page is not in memory (or was taken away meanwhile): grain_tables_get brings it back. No lock. */
bool grain_tables_match(const struct grain_tables *t, uint64_t entry, uint64_t max, uint64_t value, uint64_t step,
                        uint64_t *ret_n);

/** The same for entries that are from low to high, both included, in any order. */
bool grain_tables_match_range(const struct grain_tables *t, uint64_t entry, uint64_t max, uint64_t low, uint64_t high,
                              uint64_t *ret_n);

/** Tells entries from entry on, at most max and not beyond its page; how many. A page that is not in memory is read
 * from the file if it is wanted whole, and not kept: who goes through all tables once does not push out what others
 * look at, and need not fill memory. Else, and on failure: 0; grain_tables_get tells. Of entries of 4 bytes only.
 * No lock. */
uint64_t grain_tables_read(struct grain_tables *t, uint64_t entry, uint64_t max, uint32_t *ret_values);

/** How many entries from this one on are known to be 0 without looking at each: up to the end of its page, or 0. */
static inline uint64_t grain_tables_known_zeros(const struct grain_tables *t, uint64_t entry)
{
    if (atomic_load_explicit(&t->dir[entry >> GRAIN_PAGE_SHIFT], memory_order_acquire) != &grain_page_zero) {
        return 0;
    }
    return GRAIN_PAGE_ENTRIES - (entry & (GRAIN_PAGE_ENTRIES - 1));
}

/** Sets count entries to value, value + step, value + 2 * step ... and marks them as changed. A reader that sees the
 * new value of an entry sees all that this thread did before. On failure (a page cannot be loaded) entries before the
 * failing page are set. */
VixError grain_tables_set(struct grain_tables *t, uint64_t entry, uint64_t count, uint64_t value, uint64_t step,
                          struct err *err);

/** Marks entries as changed though they are not, so that the next snapshot has them. */
VixError grain_tables_touch(struct grain_tables *t, uint64_t entry, uint64_t count, struct err *err);

/** Whether so much has changed that it should be written soon: the pages with changes cannot make room for others. */
static inline bool grain_tables_full(const struct grain_tables *t)
{
    return atomic_load_explicit(&t->full, memory_order_relaxed);
}

/** What had changed at one moment: whole sectors of tables, in ascending order of entries. */
struct grain_snapshot {
    size_t nsectors;
    uint64_t *first_entry; /* of each sector: the number of its first entry */
    uint8_t *bytes;        /* nsectors * GRAIN_TABLES_SECTOR, as they belong into the file */
};

/** Takes a snapshot; what changes afterwards belongs to the next one. One at a time: the caller must call
 * grain_tables_snapshot_end before the next. */
VixError grain_tables_snapshot(struct grain_tables *t, struct grain_snapshot *ret_snap, struct err *err);

/** Ends a snapshot and frees its memory. @written: it is in the file; if not, its sectors count as changed again. */
void grain_tables_snapshot_end(struct grain_tables *t, struct grain_snapshot *snap, bool written);

#endif

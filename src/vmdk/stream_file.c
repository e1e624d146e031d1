/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_file.c - header or footer, directory and tables of a streamOptimized file. Everything read is checked against
 * the length of the file before use. One mutex guards the cached blocks; a lookup holds it while it copies some
 * entries, or reads one block. */
#include "vmdk/stream_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/stream_format.h"

#define BLOCK_BYTES (STREAM_BLOCK_ENTRIES * 4)
#define TAIL_ZEROS_MAX (64u * 1024u) /* limit: bytes of zeros behind a footer: end-of-stream sector and padding */
#define TAIL_BYTES (TAIL_ZEROS_MAX + 2 * SECTOR_SIZE) /* and the footer with its marker */
#define MIN_CACHE_BLOCKS 16u
#define NO_BLOCK UINT32_MAX

/** A piece of a directory or table, in the order of the host. */
struct block {
    uint64_t off;  /* in the file, bytes: its name */
    uint32_t next; /* in its hash chain */
    bool used;     /* since the clock's hand passed */
    uint32_t words[STREAM_BLOCK_ENTRIES];
};

struct stream_table_cache {
    pthread_mutex_t lock;
    struct block **blocks; /* count of them are there */
    uint32_t count, max, hand;
    uint32_t *heads; /* hash chains, mask + 1 of them */
    uint32_t mask;
};

/* ---- the cache ---- */

static void cache_free(struct stream_table_cache *c)
{
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        free(c->blocks[i]);
    }
    free(c->blocks);
    free(c->heads);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/** @useful blocks that all tables of the file make. */
static VixError cache_new(uint64_t bytes, uint64_t useful, struct stream_table_cache **ret_c, struct err *err)
{
    struct stream_table_cache *c = alloc_zero(sizeof *c, err);
    uint64_t max = min_u64((bytes != 0 ? bytes : STREAM_TABLE_CACHE_DEFAULT) / sizeof(struct block), useful);

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    c->max = (uint32_t)min_u64(max_u64(max, MIN_CACHE_BLOCKS), UINT32_C(1) << 24);
    c->mask = 1;
    while (c->mask < c->max) {
        c->mask = c->mask * 2 + 1;
    }
    c->blocks = alloc_array(c->max, sizeof *c->blocks, err);
    c->heads = alloc_array((size_t)c->mask + 1, sizeof *c->heads, err);
    if (c->blocks == NULL || c->heads == NULL) {
        cache_free(c);
        return VIX_E_OUT_OF_MEMORY;
    }
    memset(c->heads, 0xFF, ((size_t)c->mask + 1) * sizeof *c->heads);
    *ret_c = c;
    return VIX_OK;
}

static uint32_t *chain_of(struct stream_table_cache *c, uint64_t off)
{
    return &c->heads[(off / SECTOR_SIZE * UINT64_C(0x9E3779B97F4A7C15)) >> 40 & c->mask];
}

static struct block *cache_find(struct stream_table_cache *c, uint64_t off)
{
    for (uint32_t i = *chain_of(c, off); i != NO_BLOCK; i = c->blocks[i]->next) {
        if (c->blocks[i]->off == off) {
            c->blocks[i]->used = true;
            return c->blocks[i];
        }
    }
    return NULL;
}

static void unchain(struct stream_table_cache *c, uint32_t index)
{
    uint32_t *link = chain_of(c, c->blocks[index]->off);

    while (*link != index) {
        link = &c->blocks[*link]->next;
    }
    *link = c->blocks[index]->next;
}

/** A block to fill, in no chain; *ret_index its number. */
static VixError cache_take(struct stream_table_cache *c, uint32_t *ret_index, struct err *err)
{
    if (c->count < c->max) {
        struct block *b = alloc_aligned(
            _Alignof(struct block) < sizeof(void *) ? sizeof(void *) : _Alignof(struct block), sizeof *b, err);
        if (b == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        c->blocks[c->count] = b;
        *ret_index = c->count++;
        return VIX_OK;
    }
    while (c->blocks[c->hand]->used) {
        c->blocks[c->hand]->used = false;
        c->hand = (c->hand + 1) % c->max;
    }
    *ret_index = c->hand;
    unchain(c, c->hand);
    c->hand = (c->hand + 1) % c->max;
    return VIX_OK;
}

static void cache_put(struct stream_table_cache *c, uint32_t index, uint64_t off)
{
    uint32_t *head = chain_of(c, off);

    c->blocks[index]->off = off;
    c->blocks[index]->used = true;
    c->blocks[index]->next = *head;
    *head = index;
}

/* ---- tables ---- */

/** The block at off, len bytes; the caller holds the lock and checked that it lies inside the file. */
static VixError block_at_locked(struct stream_file *f, uint64_t off, uint32_t len, const struct block **ret_b,
                                struct err *err)
{
    struct stream_table_cache *c = f->cache;
    uint8_t bytes[BLOCK_BYTES];
    uint32_t index;
    VixError e;

    *ret_b = cache_find(c, off);
    if (*ret_b != NULL) {
        return VIX_OK;
    }
    e = store_read(f->store, bytes, len, off, err);
    if (e == VIX_OK) {
        e = cache_take(c, &index, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    for (uint32_t i = 0; i < len / 4; i++) {
        c->blocks[index]->words[i] = get_le32(bytes + 4 * (size_t)i);
    }
    cache_put(c, index, off);
    *ret_b = c->blocks[index];
    return VIX_OK;
}

/** Whether len bytes at off lie inside the file, which may have grown since it was looked at. */
static bool inside_file(struct stream_file *f, uint64_t off, uint64_t len)
{
    uint64_t end, size;

    if (!checked_add(off, len, &end)) {
        return false;
    }
    if (end <= atomic_load_explicit(&f->len, memory_order_relaxed)) {
        return true;
    }
    if (f->store->ops->size(f->store, &size, NULL) != VIX_OK) {
        return false;
    }
    atomic_store_explicit(&f->len, size, memory_order_relaxed);
    return end <= size;
}

static VixError gde_locked(struct stream_file *f, uint64_t table, uint32_t *ret_gde, struct err *err)
{
    uint64_t first = table / STREAM_BLOCK_ENTRIES * STREAM_BLOCK_ENTRIES;
    uint64_t entries = min_u64(f->h.gt_count - first, STREAM_BLOCK_ENTRIES);
    const struct block *b;
    VixError e = block_at_locked(f, f->h.gd_sector * SECTOR_SIZE + first * 4, (uint32_t)entries * 4, &b, err);

    if (e == VIX_OK) {
        *ret_gde = b->words[table - first];
    }
    return e;
}

/** Entries before a bad one are good: *count is cut to them. Only a bad first one is a failure. */
static VixError check_entries(struct stream_file *f, uint64_t grain, const uint32_t *entries, uint32_t *count,
                              struct err *err)
{
    bool zero_gte = (f->h.flags & KDMV_FLAG_ZERO_GTE) != 0;
    uint32_t least = f->markers ? STREAM_MARKER_BYTES : STREAM_LENGTH_BYTES;

    for (uint32_t i = 0; i < *count; i++) {
        if (entries[i] == 0 || (entries[i] == 1 && zero_gte)) {
            continue;
        }
        if (entries[i] == 1 || !inside_file(f, (uint64_t)entries[i] * SECTOR_SIZE, least)) {
            if (i > 0) {
                *count = i;
                return VIX_OK;
            }
            return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                           "%s: the table entry of grain %" PRIu64 " is sector %" PRIu32
                           ", outside the grains of the file (%" PRIu64 " bytes)",
                           f->store->path, grain + i, entries[i], (uint64_t)atomic_load(&f->len));
        }
    }
    return VIX_OK;
}

/** Entries from one table that lies at sector gde of the file. */
static VixError table_entries(struct stream_file *f, uint32_t gde, uint64_t table, uint64_t index, uint32_t count,
                              uint32_t *ret_entries, struct err *err)
{
    uint64_t first = index / STREAM_BLOCK_ENTRIES * STREAM_BLOCK_ENTRIES;
    uint64_t off = (uint64_t)gde * SECTOR_SIZE + first * 4;
    uint32_t len = (uint32_t)min_u64(f->h.gtes_per_gt - first, STREAM_BLOCK_ENTRIES) * 4;
    const struct block *b;
    VixError e;

    if (gde == GDE_ALL_ZERO || !inside_file(f, off, len)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: grain table %" PRIu64 " at sector %" PRIu32 " lies outside the tables of the file (%" PRIu64
                       " bytes)",
                       f->store->path, table, gde, (uint64_t)atomic_load(&f->len));
    }
    e = block_at_locked(f, off, len, &b, err);
    if (e == VIX_OK) {
        memcpy(ret_entries, b->words + (index - first), count * sizeof *ret_entries);
    }
    return e;
}

VixError stream_file_entries(struct stream_file *f, const struct stream_live *live, uint64_t grain, uint32_t max,
                             uint32_t *ret_entries, uint32_t *ret_count, struct err *err)
{
    uint64_t table = grain / f->h.gtes_per_gt;
    uint64_t index = grain % f->h.gtes_per_gt;
    uint64_t in_block = STREAM_BLOCK_ENTRIES - index % STREAM_BLOCK_ENTRIES;
    uint32_t count = (uint32_t)min_u64(max, min_u64(in_block, f->h.gtes_per_gt - index));
    uint32_t gde = 0;
    VixError e = VIX_OK;

    *ret_count = count;
    SCOPED_LOCK(&f->cache->lock);
    if (live != NULL && live->open_table == table) {
        memcpy(ret_entries, live->open_gt + index, count * sizeof *ret_entries);
        return VIX_OK;
    }
    if (live != NULL) {
        gde = live->gd[table];
    } else {
        e = gde_locked(f, table, &gde, err);
    }
    if (e == VIX_OK && (gde == 0 || sparse_table_is_zeros(&f->h, gde))) {
        memset(ret_entries, 0, count * sizeof *ret_entries);
    } else if (e == VIX_OK) {
        e = table_entries(f, gde, table, index, count, ret_entries, err);
    }
    return e == VIX_OK ? check_entries(f, grain, ret_entries, ret_count, err) : e;
}

VixError stream_file_load_gd(struct stream_file *f, uint64_t max_tables, uint32_t **ret_gd, struct err *err)
{
    uint32_t *gd;
    VixError e;

    if (f->h.gt_count > max_tables) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: the disk has %" PRIu64 " grain tables, at most %" PRIu64 " can be written", f->store->path,
                       f->h.gt_count, max_tables);
    }
    gd = alloc_array(f->h.gt_count, sizeof *gd, err);
    if (gd == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    e = store_read(f->store, gd, f->h.gt_count * sizeof *gd, f->h.gd_sector * SECTOR_SIZE, err);
    if (e != VIX_OK) {
        free(gd);
        return e;
    }
    for (uint64_t i = 0; i < f->h.gt_count; i++) {
        gd[i] = get_le32(&gd[i]);
    }
    *ret_gd = gd;
    return VIX_OK;
}

void stream_file_forget_tables(struct stream_file *f)
{
    struct stream_table_cache *c = f->cache;
    SCOPED_LOCK(&c->lock);

    for (uint32_t i = 0; i < c->count; i++) {
        free(c->blocks[i]);
    }
    c->count = 0;
    c->hand = 0;
    memset(c->heads, 0xFF, ((size_t)c->mask + 1) * sizeof *c->heads);
}

/* ---- header and footer ---- */

static VixError no_footer(const struct stream_file *f, struct err *err)
{
    return err_set(
        err, VIX_E_DISK_NEEDSREPAIR,
        "%s: the streamOptimized file has no footer at its end (%" PRIu64
        " bytes): it was cut short, or its writer did not finish; vixdisk convert --salvage recovers the grains "
        "that are there",
        f->store->path, (uint64_t)atomic_load(&f->len));
}

/** The footer is the last sector that is not zero: only the end-of-stream sector and zeros may follow it. */
static VixError find_footer(struct stream_file *f, struct err *err)
{
    uint64_t sectors = atomic_load(&f->len) / SECTOR_SIZE;
    uint64_t tail = min_u64(sectors, TAIL_BYTES / SECTOR_SIZE);
    CLEANUP_FREE uint8_t *buf = alloc_array(tail, SECTOR_SIZE, err);
    uint64_t i = tail;
    VixError e;

    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    e = store_read(f->store, buf, tail * SECTOR_SIZE, (sectors - tail) * SECTOR_SIZE, err);
    if (e != VIX_OK) {
        return e;
    }
    while (i > 0 && bytes_are_zero(buf + (i - 1) * SECTOR_SIZE, SECTOR_SIZE)) {
        i--;
    }
    if (i < 2 || get_le32(buf + (i - 1) * SECTOR_SIZE) != KDMV_MAGIC) {
        return no_footer(f, err);
    }
    struct stream_marker m = stream_marker_decode(buf + (i - 2) * SECTOR_SIZE);
    if (m.size != 0 || m.type != STREAM_FOOTER) {
        return no_footer(f, err);
    }
    e = sparse_header_parse(buf + (i - 1) * SECTOR_SIZE, f->store->path, &f->h, err);
    if (e != VIX_OK) {
        err_prefix(err, "footer: ");
        return e;
    }
    f->footer_form = true;
    f->footer_sector = sectors - tail + i - 1;
    return VIX_OK;
}

static VixError check_header(struct stream_file *f, struct err *err)
{
    const struct sparse_header *h = &f->h;

    if ((h->flags & KDMV_FLAG_COMPRESSED) == 0) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: flags 0x%" PRIX32 " of the sparse header: not streamOptimized",
                       f->store->path, h->flags);
    }
    if (h->capacity == 0 || h->gd_sector == KDMV_GD_AT_END) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: %s of a streamOptimized file: %s", f->store->path,
                       f->footer_form ? "footer" : "header",
                       h->capacity == 0 ? "capacity is 0" : "the place of the grain directory is not given");
    }
    if (!inside_file(f, h->gd_sector * SECTOR_SIZE, h->gt_count * 4)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the grain directory (sector %" PRIu64 ", %" PRIu64
                       " entries) reaches beyond the end of the file (%" PRIu64
                       " bytes); vixdisk convert --salvage recovers the grains that are there",
                       f->store->path, h->gd_sector, h->gt_count, (uint64_t)atomic_load(&f->len));
    }
    f->markers = (h->flags & KDMV_FLAG_MARKERS) != 0;
    return VIX_OK;
}

static VixError read_headers(struct stream_file *f, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    uint64_t size;
    VixError e = f->store->ops->size(f->store, &size, err);

    if (e != VIX_OK) {
        return e;
    }
    atomic_init(&f->len, size);
    if (size < SECTOR_SIZE) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: not a sparse extent: %" PRIu64 " bytes, a header has %u",
                       f->store->path, size, SECTOR_SIZE);
    }
    e = store_read(f->store, sector, sizeof sector, 0, err);
    if (e == VIX_OK) {
        e = sparse_header_parse(sector, f->store->path, &f->h, err);
    }
    if (e == VIX_OK && (f->h.flags & KDMV_FLAG_COMPRESSED) != 0 && f->h.gd_sector == KDMV_GD_AT_END) {
        e = find_footer(f, err);
    }
    return e == VIX_OK ? check_header(f, err) : e;
}

VixError stream_file_open(struct store *store, uint64_t cache_bytes, struct stream_file **ret_f, struct err *err)
{
    struct stream_file *f = alloc_zero(sizeof *f, err);
    VixError e;

    if (f == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    f->store = store;
    e = read_headers(f, err);
    if (e == VIX_OK) {
        uint64_t blocks_per_table = div_up(f->h.gtes_per_gt, STREAM_BLOCK_ENTRIES);
        uint64_t directory_blocks = div_up(f->h.gt_count, STREAM_BLOCK_ENTRIES);
        e = cache_new(cache_bytes, f->h.gt_count * blocks_per_table + directory_blocks, &f->cache, err);
    }
    if (e != VIX_OK) {
        stream_file_close(f);
        return e;
    }
    *ret_f = f;
    return VIX_OK;
}

void stream_file_close(struct stream_file *f)
{
    if (f != NULL) {
        cache_free(f->cache);
        free(f);
    }
}

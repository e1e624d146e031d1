/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_util.h - for the tests of sparse extents, hosted ones and COWD: builds them in any layout, reads them as a
 * chain does, and proves that a closed one is in order. Include after cmocka.h. */
#ifndef VIXDISK_TESTS_SPARSE_UTIL_H
#define VIXDISK_TESTS_SPARSE_UTIL_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "store/store.h"
#include "vmdk/cowd_header.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

/** How an extent is laid out. Zeros: as extent_sparse_create does. With cowd, only capacity and grain mean anything. */
struct layout {
    const char *name;
    bool cowd;
    uint64_t capacity;
    uint64_t grain;
    uint32_t gtes;
    uint32_t version;
    uint32_t flags;       /* added */
    bool no_copy;         /* no redundant tables */
    bool scattered;       /* tables in descending order, gaps between them */
    unsigned missing_gts; /* every n-th table does not exist */
    bool descriptor;
};

static inline uint64_t rnd(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline void put_dir(struct store *st, const struct layout *l, const struct sparse_header *h, uint64_t gd,
                           uint64_t tables)
{
    uint64_t stride = h->gt_sectors + (l->scattered ? 3 : 0);
    for (uint64_t i = 0; i < h->gt_count; i++) {
        uint8_t bytes[4];
        uint64_t place = l->scattered ? h->gt_count - 1 - i : i;
        bool missing = l->missing_gts > 0 && i % l->missing_gts == 0;
        put_le32(bytes, missing ? 0 : (uint32_t)(tables + place * stride));
        assert_int_equal(store_write(st, bytes, 4, gd * 512 + i * 4, NULL), VIX_OK);
    }
}

static inline void build_cowd(struct store *st, const struct layout *l)
{
    struct cowd_header h;
    uint8_t bytes[COWD_HEADER_BYTES];

    assert_int_equal(extent_cowd_create(st, l->capacity, NULL), VIX_OK);
    if (l->grain > 0) {
        cowd_header_new((uint32_t)l->capacity, &h);
        h.grain_sectors = (uint32_t)l->grain;
        h.gd_entries = (uint32_t)div_up(l->capacity, l->grain * COWD_GTES_PER_GT);
        cowd_header_encode(&h, bytes);
        assert_int_equal(store_write(st, bytes, sizeof bytes, 0, NULL), VIX_OK);
        assert_int_equal(st->ops->flush(st, NULL), VIX_OK);
    }
}

/** Fills an empty file with an empty extent. */
static inline void build(struct store *st, const struct layout *l)
{
    struct sparse_header h;
    uint8_t sector[512];
    uint64_t tables_room;

    if (l->cowd) {
        build_cowd(st, l);
        return;
    }
    if (l->grain == 0) {
        assert_int_equal(extent_sparse_create(st, l->capacity, l->descriptor ? "text" : NULL, 4, NULL), VIX_OK);
        return;
    }
    sparse_header_canonical(l->capacity, l->descriptor, &h);
    h.grain_sectors = l->grain;
    h.gtes_per_gt = l->gtes;
    h.version = l->version;
    h.flags = KDMV_FLAG_NEWLINES | l->flags | (l->no_copy ? 0 : KDMV_FLAG_REDUNDANT);
    h.gt_sectors = l->gtes * 4 / 512;
    h.gt_count = div_up(div_up(l->capacity, l->grain), l->gtes);
    h.gd_sectors = div_up(h.gt_count * 4, 512);
    tables_room = h.gt_count * (h.gt_sectors + (l->scattered ? 3 : 0));
    h.rgd_sector = l->no_copy ? 0 : 1 + h.descriptor_sectors;
    h.gd_sector = 1 + h.descriptor_sectors + (l->no_copy ? 0 : h.gd_sectors + tables_room);
    h.overhead_sectors = round_up(h.gd_sector + h.gd_sectors + tables_room, h.grain_sectors);
    assert_int_equal(st->ops->truncate(st, h.overhead_sectors * 512, NULL), VIX_OK);
    put_dir(st, l, &h, h.gd_sector, h.gd_sector + h.gd_sectors);
    if (!l->no_copy) {
        put_dir(st, l, &h, h.rgd_sector, h.rgd_sector + h.gd_sectors);
    }
    sparse_header_encode(&h, sector);
    assert_int_equal(store_write(st, sector, 512, 0, NULL), VIX_OK);
}

static inline void set_le32(struct store *st, uint64_t off, uint32_t value)
{
    uint8_t bytes[4];
    put_le32(bytes, value);
    assert_int_equal(store_write(st, bytes, 4, off, NULL), VIX_OK);
}

static inline uint32_t at_le32(struct store *st, uint64_t off)
{
    uint8_t bytes[4];
    assert_int_equal(store_read(st, bytes, 4, off, NULL), VIX_OK);
    return get_le32(bytes);
}

static inline struct sparse_header header_of(struct store *st)
{
    struct sparse_header h;
    uint8_t sector[512];
    assert_int_equal(store_read(st, sector, 512, 0, NULL), VIX_OK);
    assert_int_equal(sparse_header_parse(sector, "x", &h, NULL), VIX_OK);
    return h;
}

static inline bool is_cowd(struct store *st)
{
    return at_le32(st, 0) == COWD_MAGIC;
}

static inline struct cowd_header cowd_header_of(struct store *st)
{
    struct cowd_header h;
    uint8_t bytes[COWD_HEADER_BYTES];
    assert_int_equal(store_read(st, bytes, sizeof bytes, 0, NULL), VIX_OK);
    assert_int_equal(cowd_header_parse(bytes, "x", &h, NULL), VIX_OK);
    return h;
}

/** Opens an extent of either format. */
static inline VixError open_either(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    uint8_t magic[4] = {0};
    uint64_t got;
    VixError e = store_read_some(p->store, magic, sizeof magic, 0, &got, err);
    if (e != VIX_OK) {
        return e;
    }
    return get_le32(magic) == COWD_MAGIC ? extent_cowd_open(p, ret_x, err) : extent_sparse_open(p, ret_x, err);
}

/** Reads as a chain does. */
static inline VixError ext_read(struct extent *x, uint64_t sector, uint64_t n, uint8_t *buf, struct err *err)
{
    while (n > 0) {
        struct extent_run run;
        VixError e = x->ops->map(x, sector, n, 0, &run, err);
        if (e != VIX_OK) {
            return e;
        }
        assert_true(run.nsectors > 0 && run.nsectors <= n);
        if (run.kind == RUN_DATA) {
            e = store_read(x->store, buf, run.nsectors * 512, run.file_off, err);
        } else if (run.kind == RUN_CODED) {
            e = x->ops->read_coded(x, sector, run.nsectors, buf, err);
        } else if (run.kind == RUN_ABSENT && x->below.read != NULL) {
            e = x->below.read(x->below.ctx, sector, run.nsectors, buf, err);
        } else {
            memset(buf, 0, run.nsectors * 512);
        }
        if (e != VIX_OK) {
            return e;
        }
        sector += run.nsectors;
        n -= run.nsectors;
        buf += run.nsectors * 512;
    }
    return VIX_OK;
}

static inline int by_value(const void *a, const void *b)
{
    uint32_t va = *(const uint32_t *)a, vb = *(const uint32_t *)b;
    return va < vb ? -1 : va > vb;
}

struct place {
    uint64_t sector, nsectors;
};

static inline int by_place(const void *a, const void *b)
{
    uint64_t va = ((const struct place *)a)->sector, vb = ((const struct place *)b)->sector;
    return va < vb ? -1 : va > vb;
}

/** Proves that a file holds a COWD extent in order: grains and tables inside the file and disjoint, free space behind
 * them, flag clear. Returns the number of grains that have a place. */
static inline uint64_t check_cowd_file(struct store *st)
{
    struct cowd_header h = cowd_header_of(st);
    uint64_t len, n = 0, grains = 0, count = div_up(h.capacity, h.grain_sectors);
    struct place *places = calloc(count + h.gt_count + 1, sizeof *places);
    uint8_t table[COWD_GTES_PER_GT * 4];

    assert_non_null(places);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_false(h.unclean);
    assert_true((uint64_t)h.free_sector * 512 <= len);
    places[n++] = (struct place){0, h.gd_sector + h.gd_sectors};
    for (uint64_t gt = 0; gt < h.gt_count; gt++) {
        uint32_t gde = at_le32(st, h.gd_sector * 512 + gt * 4);
        if (gde == 0) {
            continue;
        }
        places[n++] = (struct place){gde, COWD_GT_SECTORS};
        assert_int_equal(store_read(st, table, sizeof table, (uint64_t)gde * 512, NULL), VIX_OK);
        for (uint64_t i = 0; i < COWD_GTES_PER_GT; i++) {
            uint32_t gte = get_le32(table + i * 4);
            if (gte != 0) {
                assert_true(gt * COWD_GTES_PER_GT + i < count);
                places[n++] = (struct place){gte, h.grain_sectors};
                grains++;
            }
        }
    }
    qsort(places, n, sizeof *places, by_place);
    for (uint64_t i = 1; i < n; i++) {
        assert_true(places[i].sector >= places[i - 1].sector + places[i - 1].nsectors);
    }
    assert_true(places[n - 1].sector + places[n - 1].nsectors <= h.free_sector);
    free(places);
    return grains;
}

/** Proves that a file holds an extent in order: copies equal, grains inside the file, none twice, flag clear. Returns
 * the number of grains that have a place. */
static inline uint64_t check_file(struct store *st)
{
    if (is_cowd(st)) {
        return check_cowd_file(st);
    }
    struct sparse_header h = header_of(st);
    uint64_t len, n = 0, count = div_up(h.capacity, h.grain_sectors);
    uint32_t *places = calloc(count + 1, sizeof *places);
    uint8_t *a = malloc(h.gt_sectors * 512), *b = malloc(h.gt_sectors * 512);

    assert_true(places != NULL && a != NULL && b != NULL);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_false(h.unclean);
    for (uint64_t gt = 0; gt < h.gt_count; gt++) {
        uint32_t gde = at_le32(st, h.gd_sector * 512 + gt * 4);
        if (gde == 0) {
            continue;
        }
        assert_int_equal(store_read(st, a, h.gt_sectors * 512, (uint64_t)gde * 512, NULL), VIX_OK);
        if ((h.flags & KDMV_FLAG_REDUNDANT) != 0) {
            uint32_t rgde = at_le32(st, h.rgd_sector * 512 + gt * 4);
            assert_int_not_equal(rgde, 0);
            assert_int_equal(store_read(st, b, h.gt_sectors * 512, (uint64_t)rgde * 512, NULL), VIX_OK);
            assert_memory_equal(a, b, h.gt_sectors * 512);
        }
        for (uint64_t i = 0; i < h.gtes_per_gt; i++) {
            uint32_t gte = get_le32(a + 4 * i);
            if (gte > 1 || (gte == 1 && (h.flags & KDMV_FLAG_ZERO_GTE) == 0)) {
                assert_true(gt * h.gtes_per_gt + i < count);
                assert_true(gte >= h.overhead_sectors);
                assert_int_equal(gte % h.grain_sectors, 0);
                assert_true(((uint64_t)gte + h.grain_sectors) * 512 <= len);
                places[n++] = gte;
            }
        }
    }
    qsort(places, n, sizeof *places, by_value);
    for (uint64_t i = 1; i < n; i++) {
        assert_true(places[i] > places[i - 1]);
    }
    free(places);
    free(a);
    free(b);
    return n;
}

#endif

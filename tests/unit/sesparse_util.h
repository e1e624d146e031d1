/* SPDX-License-Identifier: BSD-3-Clause */
/* sesparse_util.h - builds SE sparse extents for tests, as ESXi lays them out. Include after cmocka.h. */
#ifndef VIXDISK_TESTS_SESPARSE_UTIL_H
#define VIXDISK_TESTS_SESPARSE_UTIL_H

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "store/store.h"
#include "vmdk/sesparse_header.h"
#include "vmdk/sparse_header.h"

/* Sectors: header 0, volatile header 1, journal header 2, journal 2048, then the rest. */
#define SE_VOLATILE 1u
#define SE_DIRECTORY 4096u

struct se_image {
    struct store *st;
    uint64_t tables, grains; /* sectors */
    uint64_t next_table;     /* indices */
    uint64_t next_grain;
};

static inline void se_put64(struct store *st, uint64_t off, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    assert_int_equal(store_write(st, bytes, 8, off, NULL), VIX_OK);
}

static inline uint64_t se_get64(struct store *st, uint64_t off)
{
    uint8_t bytes[8];
    assert_int_equal(store_read(st, bytes, 8, off, NULL), VIX_OK);
    return get_le64(bytes);
}

static inline void se_put_region(struct store *st, uint64_t off, uint64_t sector, uint64_t nsectors)
{
    se_put64(st, off, sector);
    se_put64(st, off + 8, nsectors);
}

/** Fills an empty file with an extent without tables; room for ntables. */
static inline struct se_image se_build(struct store *st, uint64_t capacity, uint64_t ntables)
{
    uint64_t gds = round_up(div_up(div_up(capacity, 8), 4096) * 8, 512) / 512;
    struct se_image im = {.st = st, .tables = SE_DIRECTORY + gds, .next_table = 0, .next_grain = 1};

    im.grains = round_up(im.tables + ntables * SESPARSE_TABLE_SECTORS + 16, 8);
    se_put64(st, 0, SESPARSE_MAGIC);
    se_put64(st, 8, SESPARSE_VERSION);
    se_put64(st, 16, capacity);
    se_put64(st, 24, 8);
    se_put64(st, 32, SESPARSE_TABLE_SECTORS);
    se_put_region(st, 80, SE_VOLATILE, 1);
    se_put_region(st, 96, 2, 1);
    se_put_region(st, 112, 2048, 2048);
    se_put_region(st, 128, SE_DIRECTORY, gds);
    se_put_region(st, 144, im.tables, ntables * SESPARSE_TABLE_SECTORS);
    se_put_region(st, 160, im.grains - 16, 8);
    se_put_region(st, 176, im.grains - 8, 8);
    se_put_region(st, 192, im.grains, round_up(capacity, 8));
    se_put64(st, SE_VOLATILE * 512, SESPARSE_VOLATILE_MAGIC);
    assert_int_equal(st->ops->truncate(st, im.grains * 512, NULL), VIX_OK);
    return im;
}

/** Where in the file the entry of a grain is; its table is made if need be, in the order of first use. */
static inline uint64_t se_entry_off(struct se_image *im, uint64_t grain)
{
    uint64_t gde_off = SE_DIRECTORY * 512 + grain / 4096 * 8, gde = se_get64(im->st, gde_off);
    if (gde == 0) {
        gde = UINT64_C(0x1000000000000000) | im->next_table++;
        se_put64(im->st, gde_off, gde);
    }
    return (im->tables + (gde & UINT32_MAX) * SESPARSE_TABLE_SECTORS) * 512 + grain % 4096 * 8;
}

static inline uint64_t se_grain_entry(uint64_t index)
{
    return UINT64_C(3) << 60 | (index & 0xFFF) << 48 | index >> 12;
}

/** Gives a grain data at the grain of the file with this index. */
static inline void se_put_grain_at(struct se_image *im, uint64_t grain, uint64_t index, const void *data)
{
    se_put64(im->st, se_entry_off(im, grain), se_grain_entry(index));
    assert_int_equal(store_write(im->st, data, 4096, (im->grains + index * 8) * 512, NULL), VIX_OK);
}

static inline void se_put_grain(struct se_image *im, uint64_t grain, const void *data)
{
    se_put_grain_at(im, grain, im->next_grain++, data);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Partition tables: good ones, and ones that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/partitions.h"

#define DISK_BYTES (UINT64_C(4) << 20)

struct disk {
    uint8_t *bytes;
    unsigned reads;
    bool broken;
};

static bool read_disk(void *data, uint64_t off, uint32_t len, uint8_t *bytes)
{
    struct disk *d = data;
    assert_true(off <= DISK_BYTES && len <= DISK_BYTES - off);
    d->reads++;
    memcpy(bytes, d->bytes + off, len);
    return !d->broken;
}

static void put(uint8_t *p, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> 8 * i);
    }
}

static int setup(void **state)
{
    struct disk *d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->bytes = calloc(1, DISK_BYTES);
    assert_non_null(d->bytes);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    free(d->bytes);
    free(d);
    return 0;
}

/** Sets an entry of a table at a sector. */
static void entry(struct disk *d, uint64_t sector, unsigned slot, uint8_t type, uint32_t first, uint32_t count)
{
    uint8_t *table = d->bytes + sector * 512;
    uint8_t *e = table + 446 + 16 * slot;
    e[4] = type;
    put(e + 8, first, 4);
    put(e + 12, count, 4);
    put(table + 510, 0xaa55, 2);
}

static void read_it(struct disk *d, struct partitions *all)
{
    assert_true(partitions_read(read_disk, d, DISK_BYTES, 512, all));
}

static void expect(const struct partitions *all, unsigned i, unsigned number, uint64_t sector, uint64_t count)
{
    assert_true(i < all->count);
    assert_int_equal(all->list[i].number, number);
    assert_int_equal(all->list[i].off, sector * 512);
    assert_int_equal(all->list[i].len, count * 512);
}

static void no_table(void **state)
{
    struct partitions all;
    read_it(*state, &all);
    assert_int_equal(all.kind, PARTITIONS_NONE);
    assert_int_equal(all.count, 0);
}

static void boot_sector_of_a_file_system(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    memset(d->bytes + 446, 0x6e, 64);
    put(d->bytes + 510, 0xaa55, 2);
    read_it(d, &all);
    assert_int_equal(all.kind, PARTITIONS_NONE);
}

static void primary_and_logical(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    entry(d, 0, 0, 0x83, 64, 100);
    entry(d, 0, 2, 0x07, 200, 1000000); /* cut at the end of the disk */
    entry(d, 0, 3, 0x0f, 2000, 4000);
    entry(d, 2000, 0, 0x83, 10, 20);
    entry(d, 2000, 1, 0x05, 100, 200);
    entry(d, 2100, 0, 0x82, 30, 40);
    read_it(d, &all);
    assert_int_equal(all.kind, PARTITIONS_MBR);
    assert_int_equal(all.count, 4);
    expect(&all, 0, 1, 64, 100);
    expect(&all, 1, 3, 200, DISK_BYTES / 512 - 200);
    expect(&all, 2, 5, 2010, 20);
    expect(&all, 3, 6, 2130, 40);
    assert_int_equal(all.list[3].type, 0x82);
}

/** A chain that comes back to its beginning, each link with a partition. */
static void chain_in_a_circle(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    entry(d, 0, 0, 0x05, 100, 4000);
    entry(d, 100, 0, 0x83, 10, 20);
    entry(d, 100, 1, 0x05, 100, 200);
    entry(d, 200, 0, 0x83, 10, 20);
    entry(d, 200, 1, 0x05, 100, 200); /* itself: links are counted from the first one */
    read_it(d, &all);
    assert_true(all.count <= PARTITIONS_MAX);
    assert_true(d->reads <= PARTITIONS_MAX + 1);
    expect(&all, 0, 5, 110, 20);
}

static void chain_that_leaves_the_disk(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    entry(d, 0, 0, 0x05, 0xffffffff, 0xffffffff);
    entry(d, 0, 1, 0x83, 0xffffffff, 0xffffffff);
    read_it(d, &all);
    assert_int_equal(all.kind, PARTITIONS_MBR);
    assert_int_equal(all.count, 0);
}

/* ---- GPT ---- */

/** Bit by bit, as the polynomial is written; other code than what is tested. */
static uint32_t crc(const uint8_t *bytes, size_t len)
{
    uint32_t reg = 0xffffffff;
    for (size_t i = 0; i < len * 8; i++) {
        uint32_t in = (uint32_t)bytes[i / 8] >> i % 8 & 1u;
        uint32_t out = reg & 1;
        reg >>= 1;
        if (in != out) {
            reg ^= 0xedb88320;
        }
    }
    return ~reg;
}

static void seal(struct disk *d, uint64_t lba, uint64_t entries, uint32_t count, uint32_t size)
{
    uint8_t *h = d->bytes + lba * 512;
    uint64_t bytes = (uint64_t)count * size;
    memset(h, 0, 512);
    memcpy(h, "EFI PART", 8);
    put(h + 8, 0x10000, 4);
    put(h + 12, 92, 4);
    put(h + 24, lba, 8);
    put(h + 72, entries, 8);
    put(h + 80, count, 4);
    put(h + 84, size, 4);
    if (entries * 512 + bytes <= DISK_BYTES) {
        put(h + 88, crc(d->bytes + entries * 512, bytes), 4);
    }
    put(h + 16, crc(h, 92), 4);
}

static void gpt_entry(struct disk *d, uint64_t entries, unsigned slot, uint64_t first, uint64_t last)
{
    uint8_t *e = d->bytes + entries * 512 + 128 * slot;
    for (int i = 0; i < 32; i++) {
        e[i] = (uint8_t)(0xa0 + i);
    }
    put(e + 32, first, 8);
    put(e + 40, last, 8);
    put(e + 56, 'r', 2);
    put(e + 58, 0xe9, 2);
    put(e + 60, 0xd800, 2);
}

#define LAST (DISK_BYTES / 512 - 1)

/** Both copies. */
static void make_gpt(struct disk *d)
{
    entry(d, 0, 0, 0xee, 1, 0xffffffff);
    for (int copy = 0; copy < 2; copy++) {
        uint64_t entries = copy == 0 ? 2 : LAST - 32;
        gpt_entry(d, entries, 0, 100, 199);
        gpt_entry(d, entries, 1, 300, 299); /* ends before it begins */
        gpt_entry(d, entries, 2, UINT64_MAX - 1, UINT64_MAX);
        gpt_entry(d, entries, 3, LAST + 1, LAST + 5); /* behind the disk */
        gpt_entry(d, entries, 4, 400, UINT64_MAX - 1);
        gpt_entry(d, entries, 127, 500, 500);
        seal(d, copy == 0 ? 1 : LAST, entries, 128, 128);
    }
}

static void expect_gpt(const struct partitions *all, enum partition_table kind)
{
    assert_int_equal(all->kind, kind);
    assert_int_equal(all->count, 3);
    expect(all, 0, 1, 100, 100);
    expect(all, 1, 5, 400, DISK_BYTES / 512 - 400);
    expect(all, 2, 128, 500, 1);
    assert_string_equal(all->list[0].type_guid, "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf");
    assert_string_equal(all->list[0].guid, "b3b2b1b0-b5b4-b7b6-b8b9-babbbcbdbebf");
    assert_string_equal(all->list[0].name, "r\xc3\xa9?");
}

static void both_copies_of_a_gpt(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    make_gpt(d);
    read_it(d, &all);
    expect_gpt(&all, PARTITIONS_GPT);
    d->bytes[512 + 60] ^= 1; /* of the header */
    read_it(d, &all);
    expect_gpt(&all, PARTITIONS_GPT_BACKUP);
    d->bytes[512 + 60] ^= 1;
    d->bytes[1024 + 90 * 128] ^= 1; /* of an entry */
    read_it(d, &all);
    expect_gpt(&all, PARTITIONS_GPT_BACKUP);
    d->bytes[LAST * 512 + 60] ^= 1;
    read_it(d, &all);
    assert_int_equal(all.kind, PARTITIONS_NONE);
    assert_int_equal(all.count, 0);
}

/** Headers with a right sum and wrong numbers. */
static void headers_that_lie(void **state)
{
    static const struct {
        uint64_t entries;
        uint32_t count, size;
    } lies[] = {
        {2, 0xffffffff, 128},       {2, 128, 0xffffff80}, {2, 128, 64},     {2, 128, 132},    {2, 0x10000, 0x10000},
        {UINT64_MAX / 2, 128, 128}, {UINT64_MAX, 4, 128}, {LAST, 128, 128}, {2, 1, 1u << 21},
    };
    struct disk *d = *state;
    struct partitions all;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        make_gpt(d);
        memset(d->bytes + LAST * 512, 0, 512);
        uint8_t *h = d->bytes + 512;
        put(h + 72, lies[i].entries, 8);
        put(h + 80, lies[i].count, 4);
        put(h + 84, lies[i].size, 4);
        put(h + 16, 0, 4);
        put(h + 16, crc(h, 92), 4);
        read_it(d, &all);
        assert_int_equal(all.kind, PARTITIONS_NONE);
        assert_int_equal(all.count, 0);
    }
}

static void more_entries_than_are_told(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    make_gpt(d);
    for (unsigned i = 0; i < 400; i++) {
        gpt_entry(d, 2, i, 1000 + i, 1000 + i);
    }
    seal(d, 1, 2, 400, 128);
    read_it(d, &all);
    assert_int_equal(all.kind, PARTITIONS_GPT);
    assert_int_equal(all.count, PARTITIONS_MAX);
    expect(&all, PARTITIONS_MAX - 1, PARTITIONS_MAX, 1000 + PARTITIONS_MAX - 1, 1);
}

static void blocks_of_4096(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    entry(d, 0, 0, 0x83, 8, 16);
    assert_true(partitions_read(read_disk, d, DISK_BYTES, 4096, &all));
    expect(&all, 0, 1, 64, 128);
}

static void reads_that_fail(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    d->broken = true;
    assert_false(partitions_read(read_disk, d, DISK_BYTES, 512, &all));
    assert_int_equal(all.count, 0);
}

static void small_disks(void **state)
{
    struct disk *d = *state;
    struct partitions all;
    make_gpt(d);
    for (uint64_t sectors = 0; sectors < 40; sectors++) {
        assert_true(partitions_read(read_disk, d, sectors * 512, 512, &all));
        for (unsigned i = 0; i < all.count; i++) {
            assert_true(all.list[i].off + all.list[i].len <= sectors * 512);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_table, setup, teardown),
        cmocka_unit_test_setup_teardown(boot_sector_of_a_file_system, setup, teardown),
        cmocka_unit_test_setup_teardown(primary_and_logical, setup, teardown),
        cmocka_unit_test_setup_teardown(chain_in_a_circle, setup, teardown),
        cmocka_unit_test_setup_teardown(chain_that_leaves_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(both_copies_of_a_gpt, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_that_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(more_entries_than_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_of_4096, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_that_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(small_disks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

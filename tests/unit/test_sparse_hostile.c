/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sparse_hostile.c - hosted sparse extents that are damaged or made to harm: what is refused, with which words,
 * and that the damage stays where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sparse_util.h"

/* 10 MiB in the usual layout: rgd 1, tables 2; gd 6, tables 7; grains from 128 on. */
#define CAPACITY 20480u
#define RGT 2u
#define GD 6u
#define GT 7u

static struct store_fs *fs;
static struct store *st;
static struct err err;

static int begin(void **state)
{
    uint8_t data[512];
    struct extent *x = NULL;
    struct extent_open_params p = {.writable = true};

    (void)state;
    fs = store_fs_mem_new(NULL);
    err_init(&err);
    if (fs == NULL || fs->ops->create(fs, "disk", 0, 0600, &st, NULL) != VIX_OK) {
        return -1;
    }
    build(st, &(struct layout){.capacity = CAPACITY});
    p.store = st;
    if (extent_sparse_open(&p, &x, &err) != VIX_OK) {
        return -1;
    }
    for (unsigned i = 0; i < 4; i++) { /* four grains, 1 to 4, at sectors 128, 256, 384, 512 */
        memset(data, 'a' + (int)i, sizeof data);
        if (x->ops->write(x, (i + 1) * 128, 1, data, &err) != VIX_OK) {
            return -1;
        }
    }
    return (int)x->ops->close(x, &err);
}

static int end(void **state)
{
    (void)state;
    store_close(st);
    store_fs_mem_free(fs);
    return 0;
}

static VixError try_open(bool writable, struct extent **ret_x)
{
    struct extent_open_params p = {.store = st, .writable = writable};
    err_init(&err);
    return extent_sparse_open(&p, ret_x, &err);
}

static void assert_said(const char *words)
{
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, words);
    }
    assert_non_null(strstr(err.text, "disk"));
}

static void refused_for_writing(const char *words)
{
    struct extent *x = NULL;
    assert_int_equal(try_open(true, &x), VIX_E_DISK_NEEDSREPAIR);
    assert_null(x);
    assert_said(words);
    assert_said("vixdisk check");
}

static char first_byte(struct extent *x, uint64_t sector)
{
    uint8_t buf[512];
    assert_int_equal(ext_read(x, sector, 1, buf, NULL), VIX_OK);
    return (char)buf[0];
}

static void header_that_does_not_fit_the_file_is_refused(void **state)
{
    struct extent *x = NULL;
    struct extent_open_params p = {.store = st, .nsectors = CAPACITY + 1};

    (void)state;
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_E_DISK_INVAL);
    assert_said("20481");
    p.nsectors = CAPACITY - 1;
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_OK);
    assert_int_equal(x->nsectors, CAPACITY - 1);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    x = NULL;
    set_le32(st, 56, 0x7FFFFFFF); /* gdOffset */
    assert_int_equal(try_open(false, &x), VIX_E_DISK_INVAL);
    assert_said("gdOffset");
    set_le32(st, 56, GD);
    set_le32(st, 48, 0x7FFFFFFF); /* rgdOffset: readers do not need it */
    assert_int_equal(try_open(false, &x), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    x = NULL;
    assert_int_equal(try_open(true, &x), VIX_E_DISK_INVAL);
    assert_said("rgdOffset");
    set_le32(st, 8, 0x30001); /* flags, with the algorithm */
    set_le32(st, 76, 0x00010A);
    assert_int_equal(try_open(false, &x), VIX_E_DISK_INVALIDDISK);
    assert_said("compressed");
    assert_int_equal(st->ops->truncate(st, 511, NULL), VIX_OK);
    assert_int_equal(try_open(false, &x), VIX_E_DISK_INVALIDDISK);
    assert_said("511 bytes");
    assert_null(x);
}

static void directory_larger_than_the_file_takes_no_memory(void **state)
{
    struct extent *x = NULL;
    uint8_t huge[8];

    (void)state;
    put_le64(huge, UINT64_C(1) << 53);
    assert_int_equal(store_write(st, huge, 8, 12, NULL), VIX_OK);
    assert_int_equal(try_open(false, &x), VIX_E_DISK_INVAL);
    assert_said("ends at byte");
    put_le64(huge, UINT64_C(1) << 42); /* the directory fits into the longer file, its tables are too many to write */
    assert_int_equal(store_write(st, huge, 8, 12, NULL), VIX_OK);
    assert_int_equal(st->ops->truncate(st, UINT64_C(1) << 36, NULL), VIX_OK);
    assert_int_equal(try_open(true, &x), VIX_E_DISK_NOTSUPPORTED);
    assert_int_equal(try_open(false, &x), VIX_E_DISK_NOTSUPPORTED);
    assert_null(x);
}

static void grain_outside_the_file_spoils_nothing_else(void **state)
{
    static const uint32_t bad[] = {640, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF};
    struct extent *x = NULL;
    struct extent_run run;
    uint8_t data[512] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set_le32(st, GT * 512 + 4 * 2, bad[i]);
        for (int writable = 0; writable < 2; writable++) {
            assert_int_equal(try_open(writable != 0, &x), VIX_OK);
            assert_int_equal(x->ops->map(x, 256, 1, 0, &run, &err), VIX_E_DISK_NEEDSREPAIR);
            assert_said("entry 2 of grain table 0");
            assert_int_equal(x->ops->map(x, 128, 1000, 0, &run, &err), VIX_OK);
            assert_int_equal(run.nsectors, 128);
            assert_int_equal(x->ops->map(x, 128, 1000, EXTENT_MAP_STATUS, &run, &err), VIX_OK);
            assert_int_equal(run.nsectors, 128);
            assert_int_equal(first_byte(x, 128), 'a');
            assert_int_equal(first_byte(x, 384), 'c');
            if (writable) {
                assert_int_equal(x->ops->write(x, 256, 1, data, &err), VIX_E_DISK_NEEDSREPAIR);
            }
            assert_int_equal(x->ops->close(x, NULL), VIX_OK);
        }
    }
}

static void grain_among_the_metadata_is_never_written(void **state)
{
    struct extent *x = NULL;
    uint8_t before[128 * 512], after[128 * 512], data[512] = {0xFF};

    (void)state;
    set_le32(st, GT * 512 + 4 * 2, 6); /* the directory */
    assert_int_equal(store_read(st, before, sizeof before, 0, NULL), VIX_OK);
    assert_int_equal(try_open(true, &x), VIX_OK);
    assert_int_equal(x->ops->write(x, 256, 1, data, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_said("allowed are sectors 128");
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_int_equal(store_read(st, after, sizeof after, 0, NULL), VIX_OK);
    assert_memory_equal(before, after, sizeof before);
}

static void entry_1_means_zeros_only_where_the_header_says_so(void **state)
{
    struct extent *x = NULL;
    struct extent_run run;
    uint8_t data[512] = {0xFF};

    (void)state;
    set_le32(st, GT * 512 + 4 * 2, 1);
    assert_int_equal(try_open(true, &x), VIX_OK);
    assert_int_equal(x->ops->map(x, 256, 1, 0, &run, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_said("entry 2 of grain table 0 is 1");
    assert_int_equal(x->ops->write(x, 256, 1, data, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    set_le32(st, 4, 2);
    set_le32(st, 8, 7);
    set_le32(st, GT * 512 + 4 * 3, 1);
    assert_int_equal(try_open(false, &x), VIX_OK);
    assert_int_equal(x->ops->map(x, 257, 1000, 0, &run, &err), VIX_OK);
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(run.nsectors, 255);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
}

static void table_outside_the_file_spoils_only_its_own_grains(void **state)
{
    struct store *big = NULL;
    struct extent *x = NULL;
    struct extent_open_params p = {.writable = true};
    struct extent_run run;
    uint8_t data[512] = {'z'};

    (void)state;
    assert_int_equal(fs->ops->create(fs, "disk2", 0, 0600, &big, NULL), VIX_OK);
    build(big, &(struct layout){.capacity = 4 * 65536});
    p.store = big;
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_OK);
    assert_int_equal(x->ops->write(x, 2 * 65536, 1, data, &err), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    set_le32(big, header_of(big).gd_sector * 512 + 4, 0x40000000);
    p.writable = false;
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_OK);
    assert_int_equal(x->ops->map(x, 65536, 1, 0, &run, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_said("grain table 1 is said to be at sector 1073741824");
    assert_int_equal(x->ops->map(x, 0, 262144, 0, &run, &err), VIX_OK);
    assert_int_equal(run.kind, RUN_ABSENT);
    assert_int_equal(run.nsectors, 65536);
    assert_int_equal(first_byte(x, 2 * 65536), 'z');
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    p.writable = true;
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_E_DISK_NEEDSREPAIR);
    store_close(big);
}

static void layout_in_which_things_overlap_is_not_written_to(void **state)
{
    struct extent *x = NULL;

    (void)state;
    set_le32(st, GD * 512, RGT); /* both directories name one table */
    refused_for_writing("overlap");
    set_le32(st, GD * 512, 0); /* none, but the copy holds grains */
    refused_for_writing("copy holds grains");
    set_le32(st, GD * 512, 5); /* partly on the other copy */
    refused_for_writing("redundant grain table (sectors 2 to 5) and grain table (from 5 on) overlap");
    set_le32(st, GD * 512, GD);
    refused_for_writing("the grain directory");
    set_le32(st, GD * 512, 1);
    refused_for_writing("grain table 0 is said to be at sector 1");
    assert_int_equal(try_open(false, &x), VIX_OK); /* no zeros in place of a table that a fault has cut off */
    struct extent_run run;
    assert_int_equal(x->ops->map(x, 128, 1, 0, &run, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_said("grain table 0 is said to be at sector 1");
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    set_le32(st, 8, header_of(st).flags | KDMV_FLAG_ZERO_GTE); /* with entries for zeros, it is a table of them */
    set_le32(st, 4, 2);
    assert_int_equal(try_open(false, &x), VIX_OK);
    assert_int_equal(x->ops->map(x, 128, 1, 0, &run, &err), VIX_OK);
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    refused_for_writing("grain table 0 is said to be at sector 1");
    set_le32(st, GD * 512, GT);
    set_le32(st, 48, GD); /* rgdOffset = gdOffset */
    refused_for_writing("overlap");
    set_le32(st, 48, 1);
    set_le32(st, 64, 0x1000000); /* overHead */
    refused_for_writing("overHead is 16777216");
}

/* ---- after a crash ---- */

static void set_unclean(void)
{
    uint8_t one = 1;
    assert_int_equal(store_write(st, &one, 1, 72, NULL), VIX_OK);
}

static void opens_and_is_clean_afterwards(void)
{
    struct extent *x = NULL;
    if (try_open(true, &x) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(first_byte(x, 256), 'b');
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_int_equal(check_file(st), 4);
}

static void traces_of_a_crash_are_put_right(void **state)
{
    struct extent *x = NULL;

    (void)state;
    set_unclean();
    assert_int_equal(try_open(false, &x), VIX_OK); /* a reader changes nothing */
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_true(header_of(st).unclean);
    opens_and_is_clean_afterwards();
    set_unclean();
    set_le32(st, GT * 512 + 8, 0); /* only the copy was written */
    opens_and_is_clean_afterwards();
    set_unclean();
    set_le32(st, RGT * 512 + 8, 0);
    opens_and_is_clean_afterwards();
}

/** The same where there is one copy of the tables. */
static void a_crash_without_a_copy_is_looked_into(void **state)
{
    struct store *whole = st;
    struct extent *x = NULL;
    uint8_t data[512] = {'b'};

    (void)state;
    assert_int_equal(fs->ops->create(fs, "disk3", 0, 0600, &st, NULL), VIX_OK);
    build(st, &(struct layout){.capacity = CAPACITY, .grain = 128, .gtes = 512, .version = 1, .no_copy = true});
    assert_int_equal(try_open(true, &x), VIX_OK);
    assert_int_equal(x->ops->write(x, 256, 1, data, &err), VIX_OK);
    assert_int_equal(x->ops->write(x, 512, 1, data, &err), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    uint64_t table = header_of(st).gd_sector + header_of(st).gd_sectors;
    set_unclean();
    assert_int_equal(try_open(true, &x), VIX_OK);
    assert_int_equal(first_byte(x, 256), 'b');
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_false(header_of(st).unclean);
    set_unclean();
    set_le32(st, table * 512 + 8, (uint32_t)(header_of(st).overhead_sectors + 128)); /* where the other grain is */
    refused_for_writing("overlaps another");
    store_close(st);
    st = whole;
}

static void damage_that_no_crash_leaves_is_refused_after_one(void **state)
{
    static const struct {
        uint32_t primary, copy; /* of entry 2 */
        const char *words;
    } rows[] = {
        {256, 640, "differ: 256 and 640"},
        {128, 128, "overlaps"},
        {0, 128, "overlaps"},
        {384, 0, "overlaps"},
        {640, 640, "entry 2"},
        {0, 0x70000000, "entry 2"},
        {100, 100, "outside of 128"},
        {1, 1, "is 1, outside of"},
        {0, 1, "is 1, outside of"},
        {200, 200, "overlaps"},
        {640, 0, "entry 2"},
    };

    (void)state;
    set_unclean();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_le32(st, GT * 512 + 8, rows[i].primary);
        set_le32(st, RGT * 512 + 8, rows[i].copy);
        refused_for_writing(rows[i].words);
        assert_int_equal(at_le32(st, GT * 512 + 8), rows[i].primary); /* nothing was changed */
        assert_int_equal(at_le32(st, RGT * 512 + 8), rows[i].copy);
        assert_true(header_of(st).unclean);
    }
    set_le32(st, GT * 512 + 8, 256);
    set_le32(st, RGT * 512 + 8, 256);
    opens_and_is_clean_afterwards();
}

static void grains_that_are_not_aligned_are_compared_by_sector(void **state)
{
    struct extent *x = NULL;

    (void)state;
    set_unclean(); /* 130 to 257 is free of others only when 1 and 2 have moved */
    for (uint32_t copy = 0; copy < 2; copy++) {
        uint64_t table = (copy ? RGT : GT) * 512;
        set_le32(st, table + 4, 0);
        set_le32(st, table + 8, 130);
    }
    assert_int_equal(try_open(true, &x), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    set_unclean();
    set_le32(st, GT * 512 + 4, 257);
    set_le32(st, RGT * 512 + 4, 257);
    refused_for_writing("overlaps");
}

int main(void)
{
#define HOSTILE(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        HOSTILE(header_that_does_not_fit_the_file_is_refused),
        HOSTILE(directory_larger_than_the_file_takes_no_memory),
        HOSTILE(grain_outside_the_file_spoils_nothing_else),
        HOSTILE(grain_among_the_metadata_is_never_written),
        HOSTILE(entry_1_means_zeros_only_where_the_header_says_so),
        HOSTILE(table_outside_the_file_spoils_only_its_own_grains),
        HOSTILE(layout_in_which_things_overlap_is_not_written_to),
        HOSTILE(traces_of_a_crash_are_put_right),
        HOSTILE(a_crash_without_a_copy_is_looked_into),
        HOSTILE(damage_that_no_crash_leaves_is_refused_after_one),
        HOSTILE(grains_that_are_not_aligned_are_compared_by_sector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

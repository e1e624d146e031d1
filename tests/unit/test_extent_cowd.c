/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_cowd.c - COWD extents by hand: what is on disk, in which order it gets there, and what is refused. What
 * they share with hosted sparse extents is tested with those. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sparse_util.h"
#include "store/store_fault.h"

#define OFF_FREE 28
#define OFF_UNCLEAN 1648
#define DIRECTORY (4 * 512)

static struct store_fs *fs;

static int begin(void **state)
{
    (void)state;
    fs = store_fs_mem_new(NULL);
    return fs == NULL;
}

static int end(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

static struct store *new_file(void)
{
    struct store *st = NULL;
    (void)fs->ops->unlink(fs, "x", NULL);
    assert_int_equal(fs->ops->create(fs, "x", 0, 0600, &st, NULL), VIX_OK);
    return st;
}

static struct store *new_extent(uint64_t capacity)
{
    struct store *st = new_file();
    assert_int_equal(extent_cowd_create(st, capacity, NULL), VIX_OK);
    return st;
}

static VixError try_open(struct store *st, bool writable, uint64_t nsectors, struct extent **ret_x, struct err *err)
{
    struct extent_open_params p = {.store = st, .nsectors = nsectors, .writable = writable};
    err_init(err);
    return extent_cowd_open(&p, ret_x, err);
}

static struct extent *must_open(struct store *st, bool writable)
{
    struct extent *x = NULL;
    struct err err;
    if (try_open(st, writable, 0, &x, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    return x;
}

static void must_close(struct extent *x)
{
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
}

/** Opening must fail with this code and a sentence that holds these words. */
static void refused(struct store *st, bool writable, uint64_t nsectors, VixError code, const char *words)
{
    struct extent *x = NULL;
    struct err err;
    VixError e = try_open(st, writable, nsectors, &x, &err);
    if (e != code || strstr(err.text, words) == NULL) {
        fail_msg("%d \"%s\", expected %d \"%s\"", (int)e, err.text, (int)code, words);
    }
    assert_null(x);
}

static void write_byte(struct extent *x, uint64_t sector, uint64_t n, int byte)
{
    uint8_t *buf = malloc(n * 512);
    assert_non_null(buf);
    memset(buf, byte, n * 512);
    assert_int_equal(x->ops->write(x, sector, n, buf, NULL), VIX_OK);
    free(buf);
}

static void reads_byte(struct extent *x, uint64_t sector, uint64_t n, int byte)
{
    uint8_t *buf = malloc(n * 512), *expected = malloc(n * 512);
    assert_true(buf != NULL && expected != NULL);
    memset(expected, byte, n * 512);
    assert_int_equal(ext_read(x, sector, n, buf, NULL), VIX_OK);
    assert_memory_equal(buf, expected, n * 512);
    free(buf);
    free(expected);
}

/* ---- what is on disk ---- */

static void new_extent_is_as_published(void **state)
{
    uint8_t expected[5 * 512] = "COWD", got[5 * 512];
    uint64_t len;

    (void)state;
    struct store *st = new_extent(409600); /* 100 tables */
    put_le32(expected + 4, 1);
    put_le32(expected + 8, 3);
    put_le32(expected + 12, 409600);
    put_le32(expected + 16, 1);
    put_le32(expected + 20, 4);
    put_le32(expected + 24, 100);
    put_le32(expected + 28, 5);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, sizeof got);
    assert_int_equal(store_read(st, got, sizeof got, 0, NULL), VIX_OK);
    assert_memory_equal(got, expected, sizeof got);
    assert_int_equal(check_cowd_file(st), 0);
    store_close(st);
}

static void impossible_extents_are_not_made(void **state)
{
    struct store *st = new_file();
    uint64_t len;

    (void)state;
    assert_int_equal(extent_cowd_create(st, 0, NULL), VIX_E_DISK_INVAL);
    assert_int_equal(extent_cowd_create(st, COWD_MAX_SECTORS + 1, NULL), VIX_E_FILE_TOO_BIG);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 0);
    store_close(st);
}

static void table_is_made_when_needed_and_runs_stay_together(void **state)
{
    (void)state;
    struct store *st = new_extent(3 * 4096);
    struct extent *x = must_open(st, true);
    struct extent_run run;

    write_byte(x, 4090, 12, 0xA1); /* the last sectors of one table, the first of the next */
    write_byte(x, 10, 3, 0xA2);
    assert_int_equal(x->ops->map(x, 4090, 100, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    assert_int_equal(run.nsectors, 12);
    assert_int_equal(run.file_off, (5 + 32 + 32) * 512);
    assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
    assert_int_equal(at_le32(st, DIRECTORY), 5);
    assert_int_equal(at_le32(st, DIRECTORY + 4), 37);
    assert_int_equal(at_le32(st, DIRECTORY + 8), 0);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(at_le32(st, 5 * 512 + (4090 + i) * 4), 69 + i);
        assert_int_equal(at_le32(st, 37 * 512 + i * 4), 75 + i);
    }
    assert_int_equal(at_le32(st, 5 * 512 + 10 * 4), 81);
    assert_int_equal(at_le32(st, OFF_FREE), 84);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 1);
    must_close(x);
    assert_int_equal(check_cowd_file(st), 15);
    uint64_t len;
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 84 * 512); /* exactly what is used */
    store_close(st);
}

static void unclean_flag_is_set_while_there_are_changes(void **state)
{
    (void)state;
    struct store *st = new_extent(1000);
    struct extent *x = must_open(st, true);

    assert_int_equal(at_le32(st, OFF_UNCLEAN), 0);
    must_close(x);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 0);
    x = must_open(st, true);
    write_byte(x, 0, 1, 1);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 1);
    must_close(x);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 0);
    x = must_open(st, true);
    write_byte(x, 0, 1, 2); /* in place: a change too */
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 1);
    must_close(x);
    assert_int_equal(check_cowd_file(st), 1);
    store_close(st);
}

/* The flag before everything; data and where free space begins before table and directory. */
static void changes_reach_the_file_in_order(void **state)
{
    static const struct {
        const char *what;
        uint64_t off;
    } expected[] = {{"write", 0}, {"flush", 0},       {"truncate", 0},      {"write", 37 * 512}, {"write", 0},
                    {"flush", 0}, {"write", 5 * 512}, {"write", DIRECTORY}, {"flush", 0}};
    struct store_fs *bad = store_fault_new(fs, NULL);
    struct store *st;
    char line[200], place[40];

    (void)state;
    store_close(new_extent(1000));
    assert_non_null(bad);
    assert_int_equal(bad->ops->open(bad, "x", STORE_WRITE, &st, NULL), VIX_OK);
    struct extent *x = must_open(st, true);
    store_fault_record(bad);
    write_byte(x, 5, 1, 1);
    assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
    assert_int_equal(store_fault_events(bad), sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        store_fault_describe(bad, i, line, sizeof line);
        assert_non_null(strstr(line, expected[i].what));
        (void)snprintf(place, sizeof place, "at offset %u", (unsigned)expected[i].off);
        if (strcmp(expected[i].what, "write") == 0 && strstr(line, place) == NULL) {
            fail_msg("%s: expected %s", line, place);
        }
    }
    must_close(x);
    store_close(st);
    store_fault_free(bad);
}

static void unknown_header_fields_stay(void **state)
{
    uint8_t before[COWD_HEADER_BYTES], after[COWD_HEADER_BYTES];

    (void)state;
    struct store *st = new_extent(1000);
    for (uint64_t off = 32; off < OFF_UNCLEAN; off += 4) {
        set_le32(st, off, (uint32_t)off);
    }
    assert_int_equal(store_read(st, before, sizeof before, 0, NULL), VIX_OK);
    struct extent *x = must_open(st, true);
    write_byte(x, 7, 2, 7);
    must_close(x);
    assert_int_equal(store_read(st, after, sizeof after, 0, NULL), VIX_OK);
    put_le32(before + OFF_FREE, 5 + 32 + 2);
    assert_memory_equal(before, after, sizeof before);
    store_close(st);
}

/* ---- where free space begins ---- */

static void free_space_is_behind_the_file_whatever_the_header_says(void **state)
{
    static const uint32_t lies[] = {0, 5, 6, 0xF0000000, 0xFFFFFFFF};

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct store *st = new_extent(1000);
        struct extent *x = must_open(st, true);
        write_byte(x, 0, 100, 1);
        must_close(x);
        set_le32(st, OFF_FREE, lies[i]);
        x = must_open(st, true);
        write_byte(x, 200, 50, 2);
        must_close(x);
        assert_int_equal(check_cowd_file(st), 150);
        x = must_open(st, false);
        reads_byte(x, 0, 100, 1);
        reads_byte(x, 200, 50, 2);
        must_close(x);
        assert_int_equal(at_le32(st, OFF_FREE), 5 + 32 + 150);
        store_close(st);
    }
}

static void stale_bytes_behind_the_file_show_nowhere(void **state)
{
    (void)state;
    struct store *st = new_extent(1000);
    uint8_t junk[700];
    memset(junk, 0xEE, sizeof junk);
    assert_int_equal(store_write(st, junk, sizeof junk, 5 * 512, NULL), VIX_OK);
    struct extent *x = must_open(st, true);
    write_byte(x, 3, 1, 9);
    reads_byte(x, 4, 900, 0);
    must_close(x);
    x = must_open(st, false);
    reads_byte(x, 0, 3, 0);
    reads_byte(x, 3, 1, 9);
    reads_byte(x, 4, 900, 0);
    must_close(x);
    assert_int_equal(check_cowd_file(st), 1);
    store_close(st);
}

static void file_has_room_for_no_more_than_32_bits_of_sectors(void **state)
{
    struct err err;

    (void)state;
    struct store *st = new_extent(1000);
    struct extent *x = must_open(st, true);
    write_byte(x, 0, 1, 1);
    must_close(x);
    assert_int_equal(st->ops->truncate(st, (COWD_MAX_SECTORS - 3) * 512, NULL), VIX_OK);
    x = must_open(st, true);
    uint8_t data[4 * 512];
    memset(data, 5, sizeof data);
    err_init(&err);
    assert_int_equal(x->ops->write(x, 10, 4, data, &err), VIX_E_FILE_TOO_BIG);
    assert_non_null(strstr(err.text, "4294967295"));
    write_byte(x, 10, 3, 5);
    must_close(x);
    assert_int_equal(at_le32(st, OFF_FREE), 0xFFFFFFFF);
    x = must_open(st, false);
    reads_byte(x, 10, 3, 5);
    must_close(x);
    store_close(st);
}

/* ---- children and zeros ---- */

static VixError never_asked(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)ctx, (void)sector, (void)nsectors, (void)buf;
    return err_set(err, VIX_E_FAIL, "the parent was asked");
}

static void sector_is_written_without_its_parent(void **state)
{
    struct extent_run run;

    (void)state;
    struct store *st = new_extent(1000);
    struct extent *x = must_open(st, true);
    x->below.read = never_asked;
    write_byte(x, 3, 1, 5);
    write_byte(x, 100, 800, 0); /* zeros hide the parent, and take no space but a hole */
    assert_int_equal(x->ops->map(x, 400, 600, EXTENT_MAP_HOLES, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(run.nsectors, 500);
    assert_int_equal(x->ops->map(x, 900, 100, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ABSENT);
    assert_int_equal(run.nsectors, 100);
    must_close(x);
    assert_int_equal(check_cowd_file(st), 801);
    store_close(st);
}

static void zeros_over_nothing_are_left_out_by_4_kib(void **state)
{
    static uint8_t data[64 * 512];

    (void)state;
    struct store *st = new_extent(1000);
    struct extent *x = must_open(st, true);
    write_byte(x, 1, 40, 0);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 0);
    data[20 * 512] = 1; /* sectors 16 to 23 of the disk are kept for it */
    assert_int_equal(x->ops->write(x, 0, 64, data, NULL), VIX_OK);
    must_close(x);
    assert_int_equal(check_cowd_file(st), 8);
    store_close(st);
}

static void largest_disk_opens_and_maps_at_once(void **state)
{
    struct extent_run run;
    uint64_t len;

    (void)state;
    struct store *st = new_extent(COWD_MAX_SECTORS);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, (4 + 8192) * 512);
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->map(x, 0, COWD_MAX_SECTORS, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ABSENT);
    assert_int_equal(run.nsectors, COWD_MAX_SECTORS);
    write_byte(x, COWD_MAX_SECTORS - 1, 1, 3);
    assert_int_equal(x->ops->map(x, 5, COWD_MAX_SECTORS - 5, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.nsectors, COWD_MAX_SECTORS - 6);
    must_close(x);
    assert_int_equal(at_le32(st, DIRECTORY + ((1 << 20) - 1) * 4), 8196);
    x = must_open(st, false);
    reads_byte(x, COWD_MAX_SECTORS - 1, 1, 3);
    must_close(x);
    store_close(st);
}

/* ---- damage ---- */

static void nonsense_in_the_header_is_named(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t value;
        VixError code;
        const char *words;
    } cases[] = {
        {0, 0x44574F44, VIX_E_DISK_INVALIDDISK, "0x44574F44"},
        {4, 0, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 0"},
        {4, 2, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 2"},
        {12, 0, VIX_E_DISK_INVAL, "numSectors is 0"},
        {12, 0xFFFFFFFF, VIX_E_DISK_INVAL, "numGDEntries is 3"},
        {16, 0, VIX_E_DISK_INVAL, "grainSize is 0"},
        {16, 3, VIX_E_DISK_INVAL, "grainSize is 3"},
        {16, 4096, VIX_E_DISK_INVAL, "grainSize is 4096"},
        {16, 0x80000000, VIX_E_DISK_INVAL, "grainSize is 2147483648"},
        {20, 0, VIX_E_DISK_INVAL, "gdOffset is 0"},
        {20, 3, VIX_E_DISK_INVAL, "gdOffset is 3"},
        {20, 5, VIX_E_DISK_INVAL, "gdOffset is 5"},
        {20, 0xFFFFFFFF, VIX_E_DISK_INVAL, "gdOffset is 4294967295"},
        {24, 2, VIX_E_DISK_INVAL, "numGDEntries is 2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store *st = new_extent(3 * 4096);
        set_le32(st, cases[i].off, cases[i].value);
        refused(st, false, 0, cases[i].code, cases[i].words);
        refused(st, true, 0, cases[i].code, cases[i].words);
        store_close(st);
    }
}

static void descriptor_and_header_must_agree(void **state)
{
    struct extent *x = NULL;
    struct err err;

    (void)state;
    struct store *st = new_extent(1000);
    refused(st, false, 1001, VIX_E_DISK_INVAL, "1001");
    refused(st, false, 999, VIX_E_DISK_INVAL, "999");
    assert_int_equal(try_open(st, false, 1000, &x, &err), VIX_OK);
    must_close(x);
    store_close(st);
}

static void short_files_are_refused(void **state)
{
    static const uint64_t lengths[] = {0, 3, 512, 2047, 2048, 2048 + 11};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct store *st = new_extent(3 * 4096);
        assert_int_equal(st->ops->truncate(st, lengths[i], NULL), VIX_OK);
        refused(st, false, 0, lengths[i] < 2048 ? VIX_E_DISK_INVALIDDISK : VIX_E_DISK_INVAL, "x:");
        store_close(st);
    }
}

/** An extent of three tables, of which the first two exist, with 20 grains in each. */
static struct store *some_extent(void)
{
    struct store *st = new_extent(3 * 4096);
    struct extent *x = must_open(st, true);
    write_byte(x, 0, 20, 1);
    write_byte(x, 4096, 20, 2);
    must_close(x);
    return st;
}

static void bad_places_spoil_only_themselves(void **state)
{
    static const uint32_t bad_tables[] = {1, 2, 4, 0x7FFFFFFF, 0xFFFFFFFF};
    static const uint32_t bad_grains[] = {1, 1000, 0xFFFFFFFF};
    uint8_t buf[512];
    struct err err;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct store *st = some_extent();
        set_le32(st, DIRECTORY, bad_tables[i]);
        struct extent *x = must_open(st, false);
        err_init(&err);
        assert_int_equal(ext_read(x, 0, 1, buf, &err), VIX_E_DISK_NEEDSREPAIR);
        assert_non_null(strstr(err.text, "grain table 0"));
        reads_byte(x, 4096, 20, 2);
        must_close(x);
        refused(st, true, 0, VIX_E_DISK_NEEDSREPAIR, "grain table 0");
        store_close(st);
    }
    for (size_t i = 0; i < 3; i++) {
        struct store *st = some_extent();
        set_le32(st, 5 * 512 + 4 * 4, bad_grains[i]);
        struct extent *x = must_open(st, true);
        err_init(&err);
        assert_int_equal(ext_read(x, 4, 1, buf, &err), VIX_E_DISK_NEEDSREPAIR);
        assert_non_null(strstr(err.text, "entry 4 of grain table 0"));
        assert_int_equal(x->ops->write(x, 4, 1, buf, &err), VIX_E_DISK_NEEDSREPAIR);
        reads_byte(x, 0, 4, 1);
        must_close(x);
        store_close(st);
    }
}

static void overlapping_tables_are_not_written_to(void **state)
{
    (void)state;
    struct store *st = some_extent();
    set_le32(st, DIRECTORY + 4, 5 + 31);
    refused(st, true, 0, VIX_E_DISK_NEEDSREPAIR, "sectors 5 and 36");
    struct extent *x = must_open(st, false);
    must_close(x);
    store_close(st);
}

static void crash_is_looked_into_before_writing(void **state)
{
    (void)state;
    struct store *st = some_extent();
    set_le32(st, OFF_UNCLEAN, 1);
    set_le32(st, OFF_FREE, 7);
    struct extent *x = must_open(st, false); /* reading changes nothing */
    reads_byte(x, 0, 20, 1);
    must_close(x);
    assert_int_equal(at_le32(st, OFF_UNCLEAN), 1);
    must_close(must_open(st, true));
    assert_int_equal(check_cowd_file(st), 40);
    store_close(st);
}

/* Sectors of some_extent's file: 5 table 0, 37 grains of table 0, 57 table 1, 89 its grains. */
static void crash_that_left_nonsense_is_refused(void **state)
{
    static const struct {
        uint64_t entry; /* of table 0 */
        uint32_t value;
        const char *words;
    } cases[] = {
        {3, 37 + 4, "at sector 41 overlaps"},
        {3, 89, "overlaps"},
        {3, 57 + 31, "overlaps another grain or a table"},
        {3, 5, "overlaps"},
        {3, 4, "entry 3 of grain table 0 is 4"},
        {3, 109, "is 109"},
        {4000, 1, "entry 4000"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store *st = some_extent();
        set_le32(st, OFF_UNCLEAN, 1);
        set_le32(st, 5 * 512 + cases[i].entry * 4, cases[i].value);
        refused(st, true, 0, VIX_E_DISK_NEEDSREPAIR, cases[i].words);
        assert_int_equal(at_le32(st, OFF_UNCLEAN), 1);
        store_close(st);
    }
}

/* The map of a file beyond 256 GiB is looked at in parts. */
static void overlaps_are_found_far_out_in_a_large_file(void **state)
{
    (void)state;
    struct store *st = some_extent();
    uint64_t far = (UINT64_C(1) << 29) * 2;
    assert_int_equal(st->ops->truncate(st, (far + 100) * 512, NULL), VIX_OK);
    set_le32(st, OFF_UNCLEAN, 1);
    set_le32(st, 5 * 512 + 100 * 4, (uint32_t)far - 1);
    set_le32(st, 5 * 512 + 101 * 4, (uint32_t)far);
    set_le32(st, 57 * 512 + 101 * 4, (uint32_t)far + 1);
    must_close(must_open(st, true));
    set_le32(st, OFF_UNCLEAN, 1);
    set_le32(st, 57 * 512 + 102 * 4, (uint32_t)far);
    refused(st, true, 0, VIX_E_DISK_NEEDSREPAIR, "overlaps");
    store_close(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_extent_is_as_published),
        cmocka_unit_test(impossible_extents_are_not_made),
        cmocka_unit_test(table_is_made_when_needed_and_runs_stay_together),
        cmocka_unit_test(unclean_flag_is_set_while_there_are_changes),
        cmocka_unit_test(changes_reach_the_file_in_order),
        cmocka_unit_test(unknown_header_fields_stay),
        cmocka_unit_test(free_space_is_behind_the_file_whatever_the_header_says),
        cmocka_unit_test(stale_bytes_behind_the_file_show_nowhere),
        cmocka_unit_test(file_has_room_for_no_more_than_32_bits_of_sectors),
        cmocka_unit_test(sector_is_written_without_its_parent),
        cmocka_unit_test(zeros_over_nothing_are_left_out_by_4_kib),
        cmocka_unit_test(largest_disk_opens_and_maps_at_once),
        cmocka_unit_test(nonsense_in_the_header_is_named),
        cmocka_unit_test(descriptor_and_header_must_agree),
        cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(bad_places_spoil_only_themselves),
        cmocka_unit_test(overlapping_tables_are_not_written_to),
        cmocka_unit_test(crash_is_looked_into_before_writing),
        cmocka_unit_test(crash_that_left_nonsense_is_refused),
        cmocka_unit_test(overlaps_are_found_far_out_in_a_large_file),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

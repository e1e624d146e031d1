/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_sesparse.c - SE sparse extents: every kind of entry is read as it must be, damage is named, writing is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sesparse_util.h"
#include "sparse_util.h"

#define CAPACITY (UINT64_C(3) * 4096 * 8 + 5 * 8 + 3) /* three full tables and a bit */

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

static struct se_image new_image(uint64_t capacity, uint64_t ntables)
{
    struct store *st = NULL;
    (void)fs->ops->unlink(fs, "x", NULL);
    assert_int_equal(fs->ops->create(fs, "x", 0, 0600, &st, NULL), VIX_OK);
    return se_build(st, capacity, ntables);
}

static VixError try_open(struct store *st, bool writable, uint64_t nsectors, struct extent **ret_x, struct err *err)
{
    struct extent_open_params p = {.store = st, .nsectors = nsectors, .writable = writable, .table_cache_bytes = 1};
    err_init(err);
    return extent_sesparse_open(&p, ret_x, err);
}

static struct extent *must_open(struct store *st)
{
    struct extent *x = NULL;
    struct err err;
    if (try_open(st, false, 0, &x, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    return x;
}

static void must_close(struct extent *x)
{
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
}

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

static void expect_run(struct extent *x, uint64_t sector, uint32_t flags, enum run_kind kind, uint64_t nsectors,
                       uint64_t file_off)
{
    struct extent_run run;
    assert_int_equal(x->ops->map(x, sector, x->nsectors - sector, flags, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, kind);
    assert_int_equal(run.nsectors, nsectors);
    if (kind == RUN_DATA) {
        assert_int_equal(run.file_off, file_off);
    }
}

/* ---- reading ---- */

static void every_kind_of_entry_is_read(void **state)
{
    struct se_image im = new_image(CAPACITY, 4);
    uint8_t data[4096], got[4096 + 512];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i / 512 + i);
    }
    se_put_grain(&im, 2 * 4096, data); /* the third table is the first that was made */
    se_put_grain(&im, 5, data);
    se_put_grain(&im, 6, data);
    se_put64(im.st, se_entry_off(&im, 8), UINT64_C(2) << 60); /* zero */
    se_put64(im.st, se_entry_off(&im, 9),
             UINT64_C(1) << 60 | (se_grain_entry(1) & ~(UINT64_C(3) << 60))); /* unmapped */
    struct extent *x = must_open(im.st);
    assert_int_equal(x->nsectors, CAPACITY);
    assert_int_equal(x->grain_sectors, 8);
    expect_run(x, 0, 0, RUN_ABSENT, 40, 0);
    expect_run(x, 40, 0, RUN_DATA, 16, (im.grains + 2 * 8) * 512);
    expect_run(x, 43, 0, RUN_DATA, 13, (im.grains + 2 * 8 + 3) * 512);
    expect_run(x, 56, 0, RUN_ABSENT, 8, 0);
    expect_run(x, 64, 0, RUN_ZERO, 16, 0);
    expect_run(x, 80, 0, RUN_ABSENT, 2 * 4096 * 8 - 80, 0);
    expect_run(x, 2 * 4096 * 8, 0, RUN_DATA, 8, (im.grains + 8) * 512);
    expect_run(x, 2 * 4096 * 8 + 8, 0, RUN_ABSENT, CAPACITY - 2 * 4096 * 8 - 8, 0);
    assert_int_equal(ext_read(x, 39, 9, got, NULL), VIX_OK);
    assert_memory_equal(got + 512, data, 4096);
    must_close(x);
    store_close(im.st);
}

static void index_has_its_low_bits_first(void **state)
{
    /* Each needs more than 12 bits; the file has holes. */
    static const uint64_t indices[] = {0xFFF, 0x1000, 0x1001, 0x12345, 0xFFFFF};
    uint8_t data[4096], got[4096];

    (void)state;
    struct se_image im = new_image(CAPACITY, 4);
    for (size_t i = 0; i < 5; i++) {
        memset(data, (int)i + 1, sizeof data);
        se_put_grain_at(&im, i, indices[i], data);
    }
    assert_int_equal(se_get64(im.st, se_entry_off(&im, 3)), UINT64_C(0x3345000000000012));
    struct extent *x = must_open(im.st);
    for (size_t i = 0; i < 5; i++) {
        memset(data, (int)i + 1, sizeof data);
        assert_int_equal(ext_read(x, i * 8, 8, got, NULL), VIX_OK);
        assert_memory_equal(got, data, sizeof data);
    }
    expect_run(x, 0, 0, RUN_DATA, 24, (im.grains + 0xFFF * 8) * 512); /* neighbours in the file too */
    expect_run(x, 0, EXTENT_MAP_STATUS, RUN_DATA, 40, (im.grains + 0xFFF * 8) * 512);
    must_close(x);
    store_close(im.st);
}

static void last_grain_may_be_longer_than_the_disk(void **state)
{
    struct se_image im = new_image(CAPACITY, 4);
    uint8_t data[4096], got[3 * 512];

    (void)state;
    memset(data, 0x11, sizeof data);
    se_put_grain(&im, CAPACITY / 8, data);
    struct extent *x = must_open(im.st);
    expect_run(x, CAPACITY - 3, 0, RUN_DATA, 3, (im.grains + 8) * 512);
    assert_int_equal(ext_read(x, CAPACITY - 3, 3, got, NULL), VIX_OK);
    assert_memory_equal(got, data, sizeof got);
    must_close(x);
    store_close(im.st);
}

static void largest_disk_maps_at_once(void **state)
{
    struct se_image im = new_image(SESPARSE_MAX_SECTORS, 4);
    uint8_t data[4096];

    (void)state;
    memset(data, 0x11, sizeof data);
    se_put_grain(&im, SESPARSE_MAX_SECTORS / 8 - 1, data);
    struct extent *x = must_open(im.st);
    expect_run(x, 0, 0, RUN_ABSENT, SESPARSE_MAX_SECTORS - 8, 0);
    expect_run(x, SESPARSE_MAX_SECTORS - 8, 0, RUN_DATA, 8, (im.grains + 8) * 512);
    must_close(x);
    store_close(im.st);
}

/* ---- refusals ---- */

static void writing_is_refused(void **state)
{
    struct se_image im = new_image(CAPACITY, 4);
    uint8_t data[512] = {0};
    struct err err;

    (void)state;
    refused(im.st, true, 0, VIX_E_DISK_NOTSUPPORTED, "read, not written");
    struct extent *x = must_open(im.st);
    assert_false(x->writable);
    err_init(&err);
    assert_int_equal(x->ops->write(x, 0, 1, data, &err), VIX_E_DISK_NOTSUPPORTED);
    must_close(x);
    store_close(im.st);
}

static void nonsense_in_the_headers_is_named(void **state)
{
    static const struct {
        uint64_t off, value;
        VixError code;
        const char *words;
    } cases[] = {
        {0, 0xCAFEBABF, VIX_E_DISK_INVALIDDISK, "0x00000000CAFEBABF"},
        {8, UINT64_C(0x0000000200000002), VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 2.2"},
        {8, 1, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 0.1"},
        {16, 0, VIX_E_DISK_INVAL, "capacity is 0"},
        {16, (UINT64_C(1) << 37) + 1, VIX_E_DISK_INVAL, "capacity is 137438953473"},
        {16, UINT64_MAX, VIX_E_DISK_INVAL, "capacity"},
        {16, UINT64_C(1) << 37, VIX_E_DISK_INVAL, "grain directory has 1 sectors"},
        {24, 16, VIX_E_DISK_INVAL, "grainSize is 16"},
        {24, 0, VIX_E_DISK_INVAL, "grainSize is 0"},
        {32, 32, VIX_E_DISK_INVAL, "grainTableSize is 32"},
        {40, 1, VIX_E_DISK_NOTSUPPORTED, "flags at byte 40"},
        {48, 1, VIX_E_DISK_NOTSUPPORTED, "reserved word at byte 48"},
        {72, 1, VIX_E_DISK_NOTSUPPORTED, "reserved word at byte 72"},
        {80, 0, VIX_E_DISK_INVAL, "volatile header"},
        {80, UINT64_MAX, VIX_E_DISK_INVAL, "volatile header"},
        {80, 1 << 30, VIX_E_DISK_INVALIDDISK, "volatile header"},
        {80, 2, VIX_E_DISK_INVALIDDISK, "magic number"},
        {128, 0, VIX_E_DISK_INVAL, "grain directory"},
        {128, 1 << 30, VIX_E_DISK_INVAL, "grain directory at sector 1073741824"},
        {128, UINT64_C(1) << 54, VIX_E_DISK_INVAL, "grain directory"},
        {136, 0, VIX_E_DISK_INVAL, "grain directory has 0 sectors"},
        {136, UINT64_MAX, VIX_E_DISK_INVAL, "grain directory"},
        {144, 0, VIX_E_DISK_INVAL, "grain tables"},
        {192, UINT64_MAX / 512, VIX_E_DISK_INVAL, "grains"},
        {SE_VOLATILE * 512, 5, VIX_E_DISK_INVALIDDISK, "magic number 0x0000000000000005"},
        {SE_VOLATILE * 512 + 24, 1, VIX_E_DISK_NEEDSREPAIR, "not cleanly closed"},
        {SE_VOLATILE * 512 + 24, UINT64_C(1) << 63, VIX_E_DISK_NEEDSREPAIR, "open it on its host first"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct se_image im = new_image(CAPACITY, 4);
        se_put64(im.st, cases[i].off, cases[i].value);
        refused(im.st, false, 0, cases[i].code, cases[i].words);
        store_close(im.st);
    }
}

static void descriptor_and_header_must_agree(void **state)
{
    struct se_image im = new_image(CAPACITY, 4);
    struct extent *x = NULL;
    struct err err;

    (void)state;
    refused(im.st, false, CAPACITY + 1, VIX_E_DISK_INVAL, "98347");
    refused(im.st, false, CAPACITY - 8, VIX_E_DISK_INVAL, "98347");
    assert_int_equal(try_open(im.st, false, CAPACITY - 7, &x, &err), VIX_OK);
    assert_int_equal(x->nsectors, CAPACITY - 7);
    must_close(x);
    store_close(im.st);
}

static void short_files_are_refused(void **state)
{
    static const struct {
        uint64_t len;
        VixError code;
    } cases[] = {{0, VIX_E_DISK_INVALIDDISK},
                 {511, VIX_E_DISK_INVALIDDISK},
                 {1000, VIX_E_DISK_INVALIDDISK},
                 {SE_DIRECTORY * 512 + 31, VIX_E_DISK_INVAL}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct se_image im = new_image(CAPACITY, 4);
        assert_int_equal(im.st->ops->truncate(im.st, cases[i].len, NULL), VIX_OK);
        refused(im.st, false, 0, cases[i].code, "x:");
        store_close(im.st);
    }
}

static void read_fails(struct store *st, uint64_t sector, const char *words)
{
    uint8_t buf[512];
    struct err err;
    struct extent *x = must_open(st);

    err_init(&err);
    assert_int_equal(ext_read(x, sector, 1, buf, &err), VIX_E_DISK_NEEDSREPAIR);
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\", expected \"%s\"", err.text, words);
    }
    must_close(x);
}

static void bad_entries_spoil_only_themselves(void **state)
{
    static const uint64_t bad_tables[] = {
        1,                            /* no mark */
        UINT64_C(0x1000000000000004), /* behind the region */
        UINT64_C(0x10000000FFFFFFFF), /* far behind it */
        UINT64_C(0x2000000000000000), /* another mark */
        UINT64_C(0x1000000100000000), /* another mark */
        UINT64_MAX,
    };
    static const uint64_t bad_entries[] = {
        1,                            /* kind 0, but not 0 */
        UINT64_C(0x4000000000000000), /* kinds that nobody knows */
        UINT64_C(0xF000000000000000),
        UINT64_MAX,
        UINT64_C(0x3FFF000000000000), /* 4095: behind the end of the file */
        UINT64_C(0x3FFFFFFFFFFFFFFF), /* far behind it */
        UINT64_C(0x3000FFFFFFFFFFFF),
    };
    uint8_t data[4096], got[512];

    (void)state;
    memset(data, 0x42, sizeof data);
    for (size_t i = 0; i < sizeof bad_tables / sizeof bad_tables[0]; i++) {
        struct se_image im = new_image(CAPACITY, 4);
        se_put_grain(&im, 4096, data);
        se_put64(im.st, SE_DIRECTORY * 512, bad_tables[i]);
        read_fails(im.st, 7, "entry 0 of the grain directory");
        struct extent *x = must_open(im.st);
        assert_int_equal(ext_read(x, 4096 * 8, 1, got, NULL), VIX_OK);
        assert_memory_equal(got, data, 512);
        must_close(x);
        store_close(im.st);
    }
    for (size_t i = 0; i < sizeof bad_entries / sizeof bad_entries[0]; i++) {
        struct se_image im = new_image(CAPACITY, 4);
        se_put_grain(&im, 4, data);
        se_put_grain(&im, 6, data);
        se_put64(im.st, se_entry_off(&im, 5), bad_entries[i]);
        read_fails(im.st, 41, "entry 5 of grain table 0");
        struct extent *x = must_open(im.st);
        expect_run(x, 32, EXTENT_MAP_STATUS, RUN_DATA, 8, (im.grains + 8) * 512);
        must_close(x);
        store_close(im.st);
    }
}

static void table_behind_the_end_of_the_file_is_named(void **state)
{
    (void)state;
    struct se_image im = new_image(CAPACITY, 4);
    (void)se_entry_off(&im, 0);
    assert_int_equal(im.st->ops->truncate(im.st, (im.tables + 63) * 512, NULL), VIX_OK);
    read_fails(im.st, 0, "entry 0 of the grain directory");
    store_close(im.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_entry_is_read),
        cmocka_unit_test(index_has_its_low_bits_first),
        cmocka_unit_test(last_grain_may_be_longer_than_the_disk),
        cmocka_unit_test(largest_disk_maps_at_once),
        cmocka_unit_test(writing_is_refused),
        cmocka_unit_test(nonsense_in_the_headers_is_named),
        cmocka_unit_test(descriptor_and_header_must_agree),
        cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(bad_entries_spoil_only_themselves),
        cmocka_unit_test(table_behind_the_end_of_the_file_is_named),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stream_foreign.c - streamOptimized files that others write (tables in front, no markers, short last grain, raw
 * deflate) and files that are damaged: each damage has its code and sentence, and no byte of a file can lead to a
 * crash. */
#include "stream_image.h"

static void tables_in_front_are_read(void **state)
{
    static const struct front_form forms[] = {
        {.no_end = false},    {.no_end = true},
        {.no_markers = true}, {.short_last = true, .no_end = true},
        {.raw = true},        {.zero_gte = true},
        {.backwards = true},  {.no_markers = true, .raw = true, .short_last = true},
    };
    static const uint64_t capacities[] = {77, 128, 3000, 65536 + 300};

    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        for (size_t k = 0; k < sizeof capacities / sizeof capacities[0]; k++) {
            uint64_t n = capacities[k];
            if (n > 65536 && i % 7 != 0) { /* two tables: once with markers and once without */
                continue;
            }
            uint8_t *content = make_content(n, 40 + (uint32_t)k);
            struct store *s = make_front(fs, content, n, &forms[i]);
            struct extent *x = open_stream(s, false, 0, 2);
            uint32_t seed = 3;

            assert_int_equal(x->nsectors, n);
            assert_reads(x, 0, n, content);
            for (int j = 0; j < 50; j++) {
                uint64_t at = next_random(&seed) % n;
                assert_reads(x, at, n - at < 200 ? n - at : 200, content);
            }
            CHECK(x->ops->close(x, &err));
            store_close(s);
            free(content);
        }
    }
}

static void tables_in_front_are_not_written(void **state)
{
    uint64_t n = 5000, size, size2;
    uint8_t *content = make_content(n, 2);
    uint8_t sector[SECTOR_SIZE] = {1};
    struct store *s = make_front(fs, content, n, &(struct front_form){.no_end = true});
    uint8_t *before = whole_file(s, &size);
    struct extent *x = open_stream(s, true, 0, 2);

    (void)state;
    assert_int_equal(x->ops->write(x, n - 1, 1, sector, &err), VIX_E_NOT_SUPPORTED);
    assert_non_null(strstr(err.text, "in front"));
    assert_reads(x, 0, n, content);
    CHECK(x->ops->close(x, &err));
    uint8_t *after = whole_file(s, &size2);
    assert_int_equal(size2, size);
    assert_memory_equal(after, before, size);
    store_close(s);
    free(after);
    free(before);
    free(content);
}

static void zeroed_entries_are_runs_of_zeros(void **state)
{
    uint64_t n = 5 * 128;
    uint8_t *content = calloc(n, SECTOR_SIZE);
    struct extent_run run;

    (void)state;
    assert_non_null(content);
    content[2 * GRAIN_BYTES] = 1;
    struct store *s = make_front(fs, content, n, &(struct front_form){.zero_gte = true});
    struct extent *x = open_stream(s, false, 0, 2);
    CHECK(x->ops->map(x, 5, n - 5, EXTENT_MAP_STATUS, &run, &err));
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(run.nsectors, 256 - 5);
    CHECK(x->ops->map(x, 256, n - 256, 0, &run, &err));
    assert_int_equal(run.kind, RUN_CODED);
    assert_int_equal(run.nsectors, 128);
    assert_int_equal(run.file_off, 26 * SECTOR_SIZE);
    CHECK(x->ops->close(x, &err));
    store_close(s);
    free(content);
}

/* ---- damage ---- */

static VixError try_open(struct store *s, uint64_t nsectors)
{
    struct extent_open_params p = {.store = s, .nsectors = nsectors, .threads = 1};
    struct extent *x = NULL;

    err_init(&err);
    VixError e = extent_stream_open(&p, &x, &err);
    if (e == VIX_OK) {
        CHECK(x->ops->close(x, NULL));
    } else {
        assert_null(x);
        assert_true(err.text[0] != '\0');
    }
    return e;
}

static VixError try_read(struct store *s, uint64_t n)
{
    struct extent *x = open_stream(s, false, 0, 1);
    uint8_t *buf = malloc(n * SECTOR_SIZE);

    assert_non_null(buf);
    VixError e = read_range(x, 0, n, buf);
    CHECK(x->ops->close(x, NULL));
    free(buf);
    return e;
}

/** A good file of four grains, in our form: 128 header and descriptor, records, table, directory, footer, end. */
static struct store *make_good(uint64_t *ret_sectors)
{
    uint64_t n = 4 * 128;
    uint8_t *content = malloc(n * SECTOR_SIZE);
    uint64_t size;

    assert_non_null(content);
    for (uint64_t i = 0; i < n * SECTOR_SIZE; i++) {
        content[i] = (uint8_t)(i / 700);
    }
    struct store *s = new_stream(fs, "good", n);
    struct extent *x = open_stream(s, true, 6, 1);
    CHECK(x->ops->write(x, 0, n, content, &err));
    CHECK(x->ops->close(x, &err));
    CHECK(s->ops->size(s, &size, &err));
    *ret_sectors = size / SECTOR_SIZE;
    free(content);
    return s;
}

static void poke(struct store *s, uint64_t off, uint32_t value)
{
    uint8_t b[4];

    put_le32(b, value);
    CHECK(store_write(s, b, sizeof b, off, &err));
}

static void a_file_cut_short_names_the_cure(void **state)
{
    uint64_t sectors;
    struct store *s = make_good(&sectors);

    (void)state;
    for (uint64_t size = (sectors - 1) * SECTOR_SIZE; size > 0; size -= size > 1000 ? 477 : 1) {
        CHECK(s->ops->truncate(s, size, &err));
        VixError e = try_open(s, 0);
        if (size == (sectors - 1) * SECTOR_SIZE) {
            assert_int_equal(e, VIX_OK); /* only the end-of-stream sector is gone */
        } else if (size >= SECTOR_SIZE) {
            assert_int_equal(e, VIX_E_DISK_NEEDSREPAIR);
            assert_non_null(strstr(err.text, "--salvage"));
        } else {
            assert_int_equal(e, VIX_E_DISK_INVALIDDISK);
        }
    }
    store_close(s);
}

static void zeros_behind_the_end_are_tolerated(void **state)
{
    uint64_t sectors;
    struct store *s = make_good(&sectors);

    (void)state;
    CHECK(s->ops->truncate(s, (sectors + 127) * SECTOR_SIZE + 100, &err));
    assert_int_equal(try_open(s, 0), VIX_OK);
    CHECK(try_read(s, 512));
    CHECK(s->ops->truncate(s, (sectors + 300) * SECTOR_SIZE, &err));
    assert_int_equal(try_open(s, 0), VIX_E_DISK_NEEDSREPAIR);
    store_close(s);
}

static void a_line_longer_than_the_header_is_refused(void **state)
{
    uint64_t sectors;
    struct store *s = make_good(&sectors);

    (void)state;
    assert_int_equal(try_open(s, 512), VIX_OK);
    assert_int_equal(try_open(s, 500), VIX_OK);
    assert_int_equal(try_open(s, 513), VIX_E_DISK_INVAL);
    store_close(s);
}

static void each_damage_has_its_sentence(void **state)
{
    /* from: 'h' front header, 'f' footer, 'd' directory, 't' table, 'g' record of grain 0 */
    static const struct {
        char from;
        uint64_t off;
        uint32_t value;
        bool at_open; /* else when it is read */
        VixError code;
        const char *text;
    } rows[] = {
        {'h', 8, 0x00001, true, VIX_E_DISK_INVAL, "gdOffset"},
        {'h', 8, 0x90001, true, VIX_E_DISK_NOTSUPPORTED, "flags"},
        {'h', 77, 2, true, VIX_E_DISK_NOTSUPPORTED, "algorithm"},
        {'f', 0, 0x12345678, true, VIX_E_DISK_NEEDSREPAIR, "no footer"},
        {'f', 4, 9, true, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "footer"},
        {'f', 12, 0, true, VIX_E_DISK_INVAL, "capacity"},
        {'f', 20, 3, true, VIX_E_DISK_INVAL, "grainSize"},
        {'f', 20, 4096, true, VIX_E_DISK_INVAL, "grainSize"},
        {'f', 44, 0, true, VIX_E_DISK_INVAL, "numGTEsPerGT"},
        {'f', 56, 0x7FFFFFFF, true, VIX_E_DISK_NEEDSREPAIR, "grain directory"},
        {'f', 15, 0x7FFF, true, VIX_E_DISK_NEEDSREPAIR, "grain directory"},
        {'d', 0, 0x7FFFFFFF, false, VIX_E_DISK_NEEDSREPAIR, "grain table 0"},
        {'t', 0, 0xFFFFFFFF, false, VIX_E_DISK_NEEDSREPAIR, "grain 0"},
        {'t', 0, 1, false, VIX_E_DISK_NEEDSREPAIR, "grain 0"},
        {'t', 4, 128, false, VIX_E_DISK_NEEDSREPAIR, "names sector 0, expected 128"},
        {'g', 0, 128, false, VIX_E_DISK_NEEDSREPAIR, "names sector 128, expected 0"},
        {'g', 8, 0, false, VIX_E_DISK_NEEDSREPAIR, "size of 0"},
        {'g', 8, 131073, false, VIX_E_DISK_NEEDSREPAIR, "size of 131073"},
        {'g', 8, 131072, false, VIX_E_DISK_NEEDSREPAIR, "the file ends within"},
        {'g', 40, 0x55AA55AA, false, VIX_E_DISK_NEEDSREPAIR, "damaged"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t sectors;
        struct store *s = make_good(&sectors);
        uint64_t base = rows[i].from == 'h'   ? 0
                        : rows[i].from == 'g' ? 128
                        : rows[i].from == 'f' ? sectors - 2
                        : rows[i].from == 'd' ? sectors - 4
                                              : sectors - 9;
        poke(s, base * SECTOR_SIZE + rows[i].off, rows[i].value);
        VixError e = try_open(s, 0);
        if (!rows[i].at_open) {
            assert_int_equal(e, VIX_OK);
            e = try_read(s, 512);
        }
        assert_int_equal(e, rows[i].code);
        if (strstr(err.text, rows[i].text) == NULL) {
            fail_msg("row %zu: \"%s\" does not hold \"%s\"", i, err.text, rows[i].text);
        }
        store_close(s);
    }
}

static void a_grain_that_inflates_to_the_wrong_length_is_damage(void **state)
{
    static const uint32_t lengths[] = {1, GRAIN_BYTES - 512, GRAIN_BYTES + 1, 1000000};
    uint8_t *zeros = calloc(1000000, 1);
    uint8_t record[4096];

    (void)state;
    assert_non_null(zeros);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint64_t sectors;
        struct store *s = make_good(&sectors);
        uint32_t size = deflate_raw(zeros, lengths[i], record + 12, sizeof record - 12, false);
        assert_true(size + 12 < 512 * 4);
        put_le64(record, 0);
        put_le32(record + 8, size);
        CHECK(store_write(s, record, 12 + size, 128 * SECTOR_SIZE, &err));
        assert_int_equal(try_read(s, 512), VIX_E_DISK_NEEDSREPAIR);
        assert_non_null(strstr(err.text, "grain 0"));
        store_close(s);
    }
    free(zeros);
}

/** An entry that cannot be spoils its own grain, not the one before, for which it was only looked at as a hint. */
static void a_bad_entry_does_not_spoil_the_grain_before_it(void **state)
{
    uint64_t sectors;
    struct store *s = make_good(&sectors);
    struct extent_run run;
    uint8_t buf[128 * SECTOR_SIZE];

    (void)state;
    poke(s, (sectors - 9) * SECTOR_SIZE + 8, 0xFFFFFFFF);
    struct extent *x = open_stream(s, false, 0, 2);
    CHECK(x->ops->read_coded(x, 0, 128, buf, &err));
    assert_int_equal(buf[0], 0);
    CHECK(x->ops->read_coded(x, 128, 128, buf, &err));
    assert_int_equal(buf[0], (uint8_t)(GRAIN_BYTES / 700));
    assert_int_equal(x->ops->read_coded(x, 256, 128, buf, &err), VIX_E_DISK_NEEDSREPAIR);
    CHECK(x->ops->read_coded(x, 384, 128, buf, &err));
    CHECK(x->ops->map(x, 0, 512, 0, &run, &err)); /* up to the damage */
    assert_int_equal(run.kind, RUN_CODED);
    assert_int_equal(run.nsectors, 256);
    assert_int_equal(x->ops->map(x, 256, 256, 0, &run, &err), VIX_E_DISK_NEEDSREPAIR);
    CHECK(x->ops->close(x, NULL));
    store_close(s);
}

static void sound_grains_are_read_beside_a_damaged_one(void **state)
{
    uint64_t sectors;
    struct store *s = make_good(&sectors);
    uint8_t buf[128 * SECTOR_SIZE];

    (void)state;
    poke(s, 128 * SECTOR_SIZE + 40, 0x55AA55AA);
    struct extent *x = open_stream(s, false, 0, 2);
    assert_int_equal(x->ops->read_coded(x, 0, 128, buf, &err), VIX_E_DISK_NEEDSREPAIR);
    CHECK(x->ops->read_coded(x, 128, 128, buf, &err));
    assert_int_equal(buf[0], (uint8_t)(GRAIN_BYTES / 700));
    assert_int_equal(x->ops->read_coded(x, 100, 100, buf, &err), VIX_E_DISK_NEEDSREPAIR);
    CHECK(x->ops->close(x, &err));
    store_close(s);
}

static void no_byte_leads_to_a_crash(void **state)
{
    uint64_t n = 512;
    uint32_t seed = 20240607;
    uint8_t *buf = malloc(n * SECTOR_SIZE);
    uint64_t size;

    (void)state;
    assert_non_null(buf);
    for (int form = 0; form < 2; form++) {
        uint64_t sectors;
        uint8_t *content = make_content(n, 9);
        struct store *s =
            form == 0 ? make_good(&sectors) : make_front(fs, content, n, &(struct front_form){.no_end = true});
        uint8_t *good = whole_file(s, &size);
        for (int round = 0; round < 500; round++) {
            /* the first bytes of a sector are where the fields are */
            uint64_t off = next_random(&seed) % (size / 512) * 512 + next_random(&seed) % 80;
            uint8_t value = (uint8_t)(next_random(&seed) >> 9);
            struct extent_open_params p = {.store = s, .writable = round % 3 == 0, .threads = 1};
            struct extent *x;
            CHECK(store_write(s, &value, 1, off, &err));
            if (extent_stream_open(&p, &x, &err) == VIX_OK) {
                (void)read_range(x, 0, x->nsectors < n ? x->nsectors : n, buf);
                if (round % 3 == 0) {
                    (void)x->ops->write(x, x->nsectors - 1, 1, buf, &err);
                }
                (void)x->ops->close(x, &err);
            }
            if (round % 3 == 0 || round % 5 == 0) { /* else damage adds up */
                CHECK(s->ops->truncate(s, 0, &err));
                CHECK(store_write(s, good, size, 0, &err));
            }
        }
        free(good);
        free(content);
        store_close(s);
    }
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tables_in_front_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_in_front_are_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(zeroed_entries_are_runs_of_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_short_names_the_cure, setup, teardown),
        cmocka_unit_test_setup_teardown(zeros_behind_the_end_are_tolerated, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_longer_than_the_header_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(each_damage_has_its_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grain_that_inflates_to_the_wrong_length_is_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_entry_does_not_spoil_the_grain_before_it, setup, teardown),
        cmocka_unit_test_setup_teardown(sound_grains_are_read_beside_a_damaged_one, setup, teardown),
        cmocka_unit_test_setup_teardown(no_byte_leads_to_a_crash, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

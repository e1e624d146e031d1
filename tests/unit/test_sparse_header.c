/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sparse_header.c - the canonical layout against known figures, and every refusal of the parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "vmdk/sparse_header.h"

static void canonical_layout_has_the_known_figures(void **state)
{
    static const struct {
        uint64_t capacity;
        bool embedded;
        uint64_t gt_count, gd_sectors, rgd, gd, overhead;
    } rows[] = {
        {20480, true, 1, 1, 21, 26, 128},
        {2097152, true, 32, 1, 21, 150, 384},
        {10485760, true, 160, 2, 21, 663, 1408},
        {83886080, true, 1280, 10, 21, 5151, 10368},
        {4192256, false, 64, 1, 1, 258, 640},
        {8323072, false, 127, 1, 1, 510, 1024},
        {1, false, 1, 1, 1, 6, 128},
        {65537, false, 2, 1, 1, 10, 128},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sparse_header h;
        sparse_header_canonical(rows[i].capacity, rows[i].embedded, &h);
        assert_int_equal(h.gt_count, rows[i].gt_count);
        assert_int_equal(h.gd_sectors, rows[i].gd_sectors);
        assert_int_equal(h.gt_sectors, 4);
        assert_int_equal(h.rgd_sector, rows[i].rgd);
        assert_int_equal(h.gd_sector, rows[i].gd);
        assert_int_equal(h.overhead_sectors, rows[i].overhead);
        assert_int_equal(h.grain_sectors, 128);
        assert_int_equal(h.descriptor_sectors, rows[i].embedded ? 20 : 0);
    }
}

static void encoded_bytes_are_the_published_ones(void **state)
{
    /* 10 MiB disk with an embedded descriptor. */
    static const uint8_t expected[80] = {
        'K', 'D', 'M', 'V', 1, 0, 0, 0, 3, 0,  0,   0, 0, 0x50, 0, 0, 0, 0, 0, 0,    128, 0,    0,    0, 0, 0, 0,
        0,   1,   0,   0,   0, 0, 0, 0, 0, 20, 0,   0, 0, 0,    0, 0, 0, 0, 2, 0,    0,   21,   0,    0, 0, 0, 0,
        0,   0,   26,  0,   0, 0, 0, 0, 0, 0,  128, 0, 0, 0,    0, 0, 0, 0, 0, '\n', ' ', '\r', '\n', 0, 0, 0};
    struct sparse_header h;
    uint8_t sector[512];

    (void)state;
    sparse_header_canonical(20480, true, &h);
    memset(sector, 0xAA, sizeof sector);
    sparse_header_encode(&h, sector);
    assert_memory_equal(sector, expected, sizeof expected);
    for (size_t i = sizeof expected; i < sizeof sector; i++) {
        assert_int_equal(sector[i], 0);
    }
}

static void parse_gives_back_what_was_encoded(void **state)
{
    struct sparse_header h, back;
    uint8_t sector[512];
    struct err err;

    (void)state;
    sparse_header_canonical(10485760, true, &h);
    h.unclean = true;
    h.version = 2;
    h.flags |= KDMV_FLAG_ZERO_GTE | 0x8000;
    sparse_header_encode(&h, sector);
    err_init(&err);
    assert_int_equal(sparse_header_parse(sector, "x", &back, &err), VIX_OK);
    assert_memory_equal(&h, &back, sizeof h);
}

static void stream_header_leaves_the_directory_to_the_footer(void **state)
{
    struct sparse_header h, back;
    uint8_t sector[512];

    (void)state;
    sparse_header_canonical(1000, true, &h);
    h.version = 3;
    h.flags = KDMV_FLAG_NEWLINES | KDMV_FLAG_COMPRESSED | KDMV_FLAG_MARKERS;
    h.gd_sector = KDMV_GD_AT_END;
    h.rgd_sector = 0;
    h.compress_algorithm = 1;
    sparse_header_encode(&h, sector);
    assert_int_equal(sparse_header_parse(sector, "x", &back, NULL), VIX_OK);
    assert_true(back.gd_sector == KDMV_GD_AT_END);
    assert_int_equal(back.gt_count, 1);
}

static void wrapper_of_a_descriptor_needs_no_tables(void **state)
{
    struct sparse_header back;
    uint8_t sector[512] = {'K', 'D', 'M', 'V', 1};

    (void)state;
    put_le64(sector + 28, 1);
    put_le64(sector + 36, 20);
    assert_int_equal(sparse_header_parse(sector, "x", &back, NULL), VIX_OK);
    assert_int_equal(back.capacity, 0);
    assert_int_equal(back.gt_count, 0);
    put_le64(sector + 28, 0);
    assert_int_equal(sparse_header_parse(sector, "x", &back, NULL), VIX_E_DISK_INVAL);
}

static void hostile_fields_are_refused_by_name(void **state)
{
    static const struct {
        unsigned off, size;
        uint64_t value;
        VixError code;
        const char *word;
    } rows[] = {
        {0, 4, 0x44574F43, VIX_E_DISK_INVALIDDISK, "magic"},
        {0, 4, 0x766D646B, VIX_E_DISK_INVALIDDISK, "did not finish"},
        {4, 4, 0, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 0"},
        {4, 4, 4, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version 4"},
        {4, 4, 0xFFFFFFFF, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version"},
        {8, 4, 0x40003, VIX_E_DISK_NOTSUPPORTED, "flags 0x40003"},
        {8, 4, 0x80000003, VIX_E_DISK_NOTSUPPORTED, "flags"},
        {8, 4, 0x20003, VIX_E_DISK_INVAL, "flags"},
        {8, 4, 0x10003, VIX_E_DISK_NOTSUPPORTED, "algorithm 0"},
        {12, 8, UINT64_C(1) << 55, VIX_E_DISK_INVAL, "capacity"},
        {12, 8, UINT64_MAX, VIX_E_DISK_INVAL, "capacity"},
        {20, 8, 0, VIX_E_DISK_INVAL, "grainSize is 0"},
        {20, 8, 127, VIX_E_DISK_INVAL, "grainSize is 127"},
        {20, 8, 16384, VIX_E_DISK_INVAL, "grainSize is 16384"},
        {20, 8, UINT64_MAX, VIX_E_DISK_INVAL, "grainSize"},
        {20, 8, UINT64_C(1) << 63, VIX_E_DISK_INVAL, "grainSize"},
        {28, 8, UINT64_MAX, VIX_E_DISK_INVAL, "descriptorOffset"},
        {36, 8, 2049, VIX_E_DISK_INVAL, "descriptorSize is 2049"},
        {44, 4, 0, VIX_E_DISK_INVAL, "numGTEsPerGT is 0"},
        {44, 4, 1, VIX_E_DISK_INVAL, "numGTEsPerGT is 1"},
        {44, 4, 500, VIX_E_DISK_INVAL, "numGTEsPerGT is 500"},
        {44, 4, 16384, VIX_E_DISK_INVAL, "numGTEsPerGT is 16384"},
        {44, 4, 0xFFFFFFFF, VIX_E_DISK_INVAL, "numGTEsPerGT"},
        {48, 8, 0, VIX_E_DISK_INVAL, "rgdOffset is 0"},
        {48, 8, UINT64_MAX, VIX_E_DISK_INVAL, "rgdOffset"},
        {56, 8, 0, VIX_E_DISK_INVAL, "gdOffset is 0"},
        {56, 8, UINT64_MAX, VIX_E_DISK_INVAL, "gdOffset"},
        {56, 8, UINT64_MAX - 1, VIX_E_DISK_INVAL, "gdOffset"},
        {64, 8, UINT64_MAX, VIX_E_DISK_INVAL, "overHead"},
        {73, 4, 0x0D0A2020, VIX_E_DISK_INVALIDDISK, "text mode"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sparse_header h, back;
        uint8_t sector[512];
        struct err err;

        sparse_header_canonical(20480, true, &h);
        sparse_header_encode(&h, sector);
        for (unsigned b = 0; b < rows[i].size; b++) {
            sector[rows[i].off + b] = (uint8_t)(rows[i].value >> (8 * b));
        }
        memset(&back, 0x55, sizeof back);
        err_init(&err);
        assert_int_equal(sparse_header_parse(sector, "disk.vmdk", &back, &err), rows[i].code);
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.text, "disk.vmdk"));
        assert_non_null(strstr(err.text, rows[i].word));
        assert_int_equal(((const uint8_t *)&back)[0], 0x55);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_layout_has_the_known_figures),
        cmocka_unit_test(encoded_bytes_are_the_published_ones),
        cmocka_unit_test(parse_gives_back_what_was_encoded),
        cmocka_unit_test(stream_header_leaves_the_directory_to_the_footer),
        cmocka_unit_test(wrapper_of_a_descriptor_needs_no_tables),
        cmocka_unit_test(hostile_fields_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

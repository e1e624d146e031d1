/* SPDX-License-Identifier: BSD-3-Clause */
/* Page 0x83 of INQUIRY, sound and damaged, and the SCSI disks of a folder that stands for a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/scsi.h"

/* ---- page 0x83 ---- */

static void read_page(const void *page, size_t len, struct scsi_ids *ids)
{
    *ids = (struct scsi_ids){0};
    assert_int_equal(scsi_ids_of_page83(page, len, ids, NULL), VIX_OK);
}

static void page_of_a_virtual_disk(void **state)
{
    static const uint8_t page[] = {0,    0x83, 0,    32,   2,    0,    0,    12,   'V', 'M',  'w', 'a',
                                   'r',  'e',  ' ',  ' ',  'd',  ' ',  ' ',  '\0', 1,   3,    0,   8,
                                   0x60, 0,    0xC2, 0x9A, 0xBC, 0xDE, 0xF0, 0x12, 1,   0x13, 0,   0};
    static const uint8_t t10[] = {0, 0x83, 0, 12, 2, 1, 0, 8, 'a', ' ', 'b', 7, 'c', ' ', ' ', 0};
    struct scsi_ids ids;

    (void)state;
    read_page(page, sizeof page, &ids);
    assert_int_equal(ids.count, 1); /* a vendor's text is no name of this kind */
    assert_string_equal(ids.ids[0], "naa.6000c29abcdef012");
    assert_true(scsi_ids_have(&ids, "naa.6000c29abcdef012"));
    assert_false(scsi_ids_have(&ids, "naa.6000c29abcdef01"));
    scsi_ids_free(&ids);
    read_page(t10, sizeof t10, &ids);
    assert_int_equal(ids.count, 1);
    assert_string_equal(ids.ids[0], "t10.a_b_c");
    scsi_ids_free(&ids);
}

static void names_of_other_kinds(void **state)
{
    /* NAA of 16 bytes, EUI of 8, the same EUI again; a target's NAA and an NAA of 5 bytes count for nothing */
    static const uint8_t page[] = {0, 0x83, 0,  85, 1,  3,   0,   16,  0x60, 1,   2,   3,   4,   5,    6,    7,    8,
                                   9, 10,   11, 12, 13, 14,  15,  1,   2,    0,   8,   1,   2,   3,    4,    5,    6,
                                   7, 8,    1,  2,  0,  8,   1,   2,   3,    4,   5,   6,   7,   8,    1,    0x23, 0,
                                   8, 0x50, 9,  9,  9,  9,   9,   9,   9,    1,   3,   0,   5,   0x50, 1,    1,    1,
                                   1, 2,    3,  0,  8,  'a', 'b', 'c', 'd',  'e', 'f', 'g', 'h', 1,    0x14, 0,    0};
    struct scsi_ids ids;

    (void)state;
    read_page(page, sizeof page, &ids);
    assert_int_equal(ids.count, 2);
    assert_string_equal(ids.ids[0], "naa.600102030405060708090a0b0c0d0e0f");
    assert_string_equal(ids.ids[1], "eui.0102030405060708");
    scsi_ids_free(&ids);
}

static void damaged_pages(void **state)
{
    static const uint8_t good[] = {0, 0x83, 0, 12, 1, 3, 0, 8, 0x60, 0, 0xC2, 0x9A, 0xBC, 0xDE, 0xF0, 0x12};
    uint8_t page[4096];
    struct scsi_ids ids;

    (void)state;
    for (size_t len = 0; len < sizeof good; len++) { /* cut */
        uint8_t *cut = malloc(len > 0 ? len : 1);
        memcpy(cut, good, len);
        read_page(cut, len, &ids);
        assert_int_equal(ids.count, 0);
        free(cut);
    }
    memcpy(page, good, sizeof good);
    page[1] = 0x80; /* another page */
    read_page(page, sizeof good, &ids);
    assert_int_equal(ids.count, 0);
    page[1] = 0x83;
    page[2] = page[3] = 0xff; /* longer than what was read */
    read_page(page, sizeof good, &ids);
    assert_int_equal(ids.count, 1);
    scsi_ids_free(&ids);
    page[7] = 9; /* a name that reaches beyond the page */
    read_page(page, sizeof good, &ids);
    assert_int_equal(ids.count, 0);
    /* more names than are kept */
    page[0] = 0;
    for (unsigned i = 0; i < 100; i++) {
        memcpy(page + 4 + (size_t)12 * i, good + 4, 12);
        page[4 + 12 * i + 11] = (uint8_t)i;
    }
    page[2] = 1200 >> 8;
    page[3] = 1200 & 255;
    read_page(page, 1204, &ids);
    assert_int_equal(ids.count, SCSI_IDS_MAX);
    scsi_ids_free(&ids);
}

static void pages_of_chance(void **state)
{
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = (size_t)(rand_r(&seed) % 300);
        uint8_t *page = malloc(len + 1);
        for (size_t j = 0; j < len; j++) {
            page[j] = (uint8_t)(rand_r(&seed) % (rand_r(&seed) % 4 == 0 ? 256 : 20));
        }
        if (len > 4) {
            page[1] = 0x83;
        }
        struct scsi_ids ids;
        read_page(page, len, &ids);
        assert_true(ids.count <= SCSI_IDS_MAX);
        scsi_ids_free(&ids);
        free(page);
    }
}

/* ---- a machine ---- */

static char folder[] = "/tmp/vixdisk-scsi-XXXXXX";

static void run(const char *command)
{
    char all[1024];

    assert_true(snprintf(all, sizeof all, "cd %s && %s", folder, command) < (int)sizeof all);
    assert_int_equal(system(all), 0);
}

static void disks_of_a_machine(void **state)
{
    const struct hostview view = {.root = folder};
    struct scsi_disks disks = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(scsi_list(&view, &disks, NULL), VIX_E_FILE_NOT_FOUND);
    run("mkdir -p sys/bus/scsi/devices sys/block && cd sys/bus/scsi/devices && "
        "mkdir -p host2 target2:0:3 2:0:3:0/block/sdb 2:0:4:0 2:0:5:0/block/sdd 2:0:6:0/block/a 2:0:6:0/block/b "
        "2:0:7 2:0:x:0/block/sdx 99999999999:0:1:0/block/sdy 2:0:8:0x/block/sdz 10:1:2:3/block/sdc");
    run("mkdir -p sys/block/sdb sys/block/sdc sys/block/sdd && echo 2048 > sys/block/sdb/size && "
        "echo 18446744073709551615 > sys/block/sdd/size && echo 8 > sys/block/sdc/size && "
        "echo naa.6000C29ABCDEF012 > sys/bus/scsi/devices/2:0:3:0/wwid && "
        "echo t10.ATA > sys/bus/scsi/devices/10:1:2:3/wwid");
    assert_int_equal(scsi_list(&view, &disks, NULL), VIX_OK);
    assert_int_equal(disks.count, 2); /* no block device, two, no size that can be, no address: left out */
    assert_string_equal(disks.disks[0].address, "10:1:2:3");
    assert_int_equal(disks.disks[0].host, 10);
    assert_int_equal(disks.disks[0].channel, 1);
    assert_int_equal(disks.disks[0].target, 2);
    assert_int_equal(disks.disks[0].lun, 3);
    assert_int_equal(disks.disks[0].ids.count, 0);
    assert_string_equal(disks.disks[1].name, "sdb");
    assert_int_equal(disks.disks[1].size, 2048 * 512);
    assert_true(scsi_ids_have(&disks.disks[1].ids, "naa.6000c29abcdef012"));
    scsi_disks_free(&disks);
    run("rm -r sys");
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_of_a_virtual_disk), cmocka_unit_test(names_of_other_kinds),
        cmocka_unit_test(damaged_pages),          cmocka_unit_test(pages_of_chance),
        cmocka_unit_test(disks_of_a_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

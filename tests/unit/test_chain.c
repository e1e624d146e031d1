/* SPDX-License-Identifier: BSD-3-Clause */
/* test_chain.c - opening, reading and writing disks of raw extents in memory: links, parents, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmdk/chain.h"
#include "vmdk/create.h"

#define FLAT_HEAD "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"

static struct store_fs *fs;

static int set_up(void **state)
{
    (void)state;
    fs = store_fs_mem_new(NULL);
    return fs == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

static void put_file(const char *path, const void *bytes, size_t len, uint64_t size)
{
    struct store *s = NULL;

    assert_int_equal(fs->ops->create(fs, path, 0, 0644, &s, NULL), VIX_OK);
    assert_int_equal(s->ops->truncate(s, size > len ? size : len, NULL), VIX_OK);
    assert_int_equal(store_write(s, bytes, len, 0, NULL), VIX_OK);
    store_close(s);
}

static void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text), 0);
}

/** A file of sectors that all hold the byte fill. */
static void put_sectors(const char *path, size_t nsectors, uint8_t fill)
{
    uint8_t *bytes = malloc(nsectors * SECTOR_SIZE);

    assert_non_null(bytes);
    memset(bytes, fill, nsectors * SECTOR_SIZE);
    put_file(path, bytes, nsectors * SECTOR_SIZE, 0);
    free(bytes);
}

/** The text of a file; freed by the caller. */
static char *get_text(const char *path)
{
    struct store *s = NULL;
    uint64_t size = 0;

    assert_int_equal(fs->ops->open(fs, path, STORE_READ, &s, NULL), VIX_OK);
    assert_int_equal(s->ops->size(s, &size, NULL), VIX_OK);
    char *text = calloc(1, size + 1);
    assert_non_null(text);
    assert_int_equal(store_read(s, text, size, 0, NULL), VIX_OK);
    store_close(s);
    return text;
}

static struct chain *open_ok(const char *path, uint32_t flags)
{
    struct chain *c = NULL;
    struct err err;

    err_init(&err);
    VixError code = chain_open(fs, path, flags, NULL, &c, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
    return c;
}

static void close_ok(struct chain *c)
{
    assert_int_equal(chain_close(c, NULL), VIX_OK);
}

/** Opening must fail with a code and a sentence that says something. */
static void open_fails(const char *path, uint32_t flags, VixError expected, const char *says)
{
    struct chain *c = NULL;
    struct err err;

    err_init(&err);
    VixError code = chain_open(fs, path, flags, NULL, &c, &err);
    if (code != expected || strstr(err.text, says) == NULL) {
        print_error("%s: code %d, \"%s\", expected %d, \"%s\"\n", path, (int)code, err.text, (int)expected, says);
    }
    assert_int_equal(code, expected);
    assert_int_equal(err.code, expected);
    assert_non_null(strstr(err.text, says));
    assert_null(c);
}

static void assert_sectors(struct chain *c, uint64_t sector, uint64_t nsectors, uint8_t fill)
{
    uint8_t buf[SECTOR_SIZE];

    for (uint64_t i = 0; i < nsectors; i++) {
        assert_int_equal(chain_read(c, sector + i, 1, buf, NULL), VIX_OK);
        for (size_t j = 0; j < sizeof buf; j++) {
            assert_int_equal(buf[j], fill);
        }
    }
}

static void make_flat(const char *path, uint64_t capacity)
{
    struct create_params p = {
        .type = VIXDISKLIB_DISK_MONOLITHIC_FLAT, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = capacity};

    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, NULL), VIX_OK);
}

/* ---- one link ---- */

static void flat_disk_reads_and_writes(void **state)
{
    uint8_t buf[3 * SECTOR_SIZE];
    struct chain_run run;

    (void)state;
    make_flat("d/a.vmdk", 100);
    struct chain *c = open_ok("d/a.vmdk", CHAIN_WRITE);
    assert_int_equal(c->capacity, 100);
    assert_int_equal(chain_disk_type(c), VIXDISKLIB_DISK_MONOLITHIC_FLAT);
    memset(buf, 0x5A, sizeof buf);
    assert_int_equal(chain_write(c, 97, 3, buf, NULL), VIX_OK);
    assert_int_equal(chain_flush(c, NULL), VIX_OK);
    assert_int_equal(chain_map(c, 10, 50, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    assert_int_equal(run.nsectors, 50);
    assert_int_equal(run.file_off, 10 * SECTOR_SIZE);
    assert_string_equal(run.path, "d/a-flat.vmdk");
    close_ok(c);
    c = open_ok("d/a.vmdk", CHAIN_READ);
    assert_sectors(c, 0, 97, 0);
    assert_sectors(c, 97, 3, 0x5A);
    assert_int_equal(chain_write(c, 0, 1, buf, NULL), VIX_E_FILE_READ_ONLY);
    assert_int_equal(chain_meta_set(c, "a", "b", NULL), VIX_E_FILE_READ_ONLY);
    close_ok(c);
}

static void content_id_changes_once_before_the_first_write(void **state)
{
    uint8_t buf[SECTOR_SIZE] = {1};

    (void)state;
    make_flat("a.vmdk", 10);
    char *before = get_text("a.vmdk");
    close_ok(open_ok("a.vmdk", CHAIN_WRITE));
    char *unwritten = get_text("a.vmdk");
    assert_string_equal(before, unwritten);
    struct chain *c = open_ok("a.vmdk", CHAIN_WRITE);
    assert_int_equal(chain_write(c, 0, 1, buf, NULL), VIX_OK);
    char *first = get_text("a.vmdk");
    assert_int_equal(chain_write(c, 1, 1, buf, NULL), VIX_OK);
    char *second = get_text("a.vmdk");
    assert_string_equal(first, second);
    assert_string_not_equal(before, first);
    assert_null(strstr(first, "CID=fffffffe\nparent"));
    assert_int_equal(strlen(first), strlen(before));
    size_t off = 0, digits = 0, long_off = 0;
    assert_true(descriptor_find_cid(first, strlen(first), &off, &digits, &long_off));
    assert_int_equal(digits, 8);
    assert_memory_equal(first + off, first + long_off, 8);
    assert_int_equal(c->links[0]->desc->cid, strtoul(first + off, NULL, 16));
    close_ok(c);
    free(before);
    free(unwritten);
    free(first);
    free(second);
}

static void short_content_id_is_rewritten_with_the_whole_descriptor(void **state)
{
    uint8_t buf[SECTOR_SIZE] = {1};

    (void)state;
    put_text("q.vmdk", "# Disk DescriptorFile\nversion=1\nCID=abc\nparentCID=ffffffff\n# kept\nodd=1\n"
                       "createType=\"monolithicFlat\"\nRW 4 FLAT \"q-flat.vmdk\" 0\n");
    put_sectors("q-flat.vmdk", 4, 9);
    struct chain *c = open_ok("q.vmdk", CHAIN_WRITE);
    assert_int_equal(chain_write(c, 0, 1, buf, NULL), VIX_OK);
    char *text = get_text("q.vmdk");
    assert_non_null(strstr(text, "# kept\nodd=1\ncreateType"));
    assert_null(strstr(text, "CID=abc"));
    free(text);
    /* The new file is locked as the old one was. */
    open_fails("q.vmdk", CHAIN_WRITE, VIX_E_FILE_ALREADY_LOCKED, "q.vmdk");
    close_ok(c);
    close_ok(open_ok("q.vmdk", CHAIN_WRITE));
}

static void extents_follow_one_another(void **state)
{
    struct chain_run run;
    uint8_t buf[SECTOR_SIZE * 6], ones[SECTOR_SIZE];

    (void)state;
    put_text("m.vmdk", FLAT_HEAD "RW 3 FLAT \"one\" 1\nRW 0 ZERO\nRW 2 ZERO\nRDONLY 1 VMFS \"two\"\n"
                                 "RW 3 FLAT \"one\" 5\nNOACCESS 0 ZERO\nNOACCESS 2 FLAT \"missing\" 0\n");
    put_sectors("one", 8, 1);
    put_sectors("two", 1, 2);
    struct chain *c = open_ok("m.vmdk", CHAIN_WRITE);
    assert_int_equal(c->capacity, 11);
    assert_int_equal(c->links[0]->extent_count, c->links[0]->desc->extent_count);
    assert_int_equal(c->links[0]->extents[6].first_sector, 9);
    assert_sectors(c, 0, 3, 1);
    assert_sectors(c, 3, 2, 0);
    assert_sectors(c, 5, 1, 2);
    assert_int_equal(chain_read(c, 2, 6, buf, NULL), VIX_OK);
    assert_int_equal(buf[0], 1);
    assert_int_equal(buf[SECTOR_SIZE * 2], 0);
    assert_int_equal(buf[SECTOR_SIZE * 3], 2);
    assert_int_equal(buf[SECTOR_SIZE * 5], 1);
    assert_int_equal(chain_map(c, 3, 8, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(run.nsectors, 2);
    memset(ones, 0xEE, sizeof ones);
    assert_int_equal(chain_write(c, 6, 1, ones, NULL), VIX_OK);
    assert_int_equal(chain_write(c, 5, 1, ones, NULL), VIX_E_FILE_READ_ONLY);
    assert_int_equal(chain_write(c, 3, 1, ones, NULL), VIX_E_NOT_SUPPORTED);
    memset(buf, 0, sizeof buf);
    assert_int_equal(chain_write(c, 3, 2, buf, NULL), VIX_OK);
    assert_int_equal(chain_read(c, 9, 1, buf, NULL), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(chain_write(c, 9, 1, buf, NULL), VIX_E_FILE_ACCESS_ERROR);
    close_ok(c);
    char *one = get_text("one");
    assert_int_equal((uint8_t)one[5 * SECTOR_SIZE], 0xEE);
    free(one);
}

static void disks_over_devices_need_a_trusting_caller(void **state)
{
    uint8_t buf[SECTOR_SIZE];

    (void)state;
    put_sectors("/vm/eps-pt.vmdk", 2, 1);
    put_sectors("/dev/part", 8, 2);
    put_text("/vm/eps.vmdk", FLAT_HEAD "RW 2 FLAT \"eps-pt.vmdk\" 0\nRW 4 FLAT \"/dev/part\" 3\nRW 10 ZERO\n");
    put_text("/vm/rdm.vmdk", FLAT_HEAD "RW 4 VMFSRDM \"/dev/part\"\nRW 4 VMFSRAW \"/dev/part\" 4\n");
    open_fails("/vm/eps.vmdk", CHAIN_READ, VIX_E_FILE_ACCESS_ERROR, "/dev/part");
    open_fails("/vm/rdm.vmdk", CHAIN_READ, VIX_E_FILE_ACCESS_ERROR, "/dev/part");
    struct chain *c = open_ok("/vm/eps.vmdk", CHAIN_WRITE | CHAIN_OUTSIDE_OK);
    assert_sectors(c, 0, 2, 1);
    assert_sectors(c, 2, 4, 2);
    assert_sectors(c, 6, 10, 0);
    memset(buf, 3, sizeof buf);
    assert_int_equal(chain_write(c, 5, 1, buf, NULL), VIX_OK);
    close_ok(c);
    c = open_ok("/vm/rdm.vmdk", CHAIN_WRITE | CHAIN_OUTSIDE_OK);
    assert_sectors(c, 0, 6, 2);
    assert_sectors(c, 6, 1, 3);
    assert_int_equal(chain_write(c, 0, 1, buf, NULL), VIX_OK);
    assert_sectors(c, 0, 1, 3);
    close_ok(c);
}

static void overlapping_extents_are_not_written(void **state)
{
    (void)state;
    put_sectors("f", 8, 1);
    put_text("o.vmdk", FLAT_HEAD "RW 4 FLAT \"f\" 0\nRW 4 FLAT \"f\" 3\n");
    open_fails("o.vmdk", CHAIN_WRITE, VIX_E_DISK_INVAL, "overlap");
    close_ok(open_ok("o.vmdk", CHAIN_READ));
    put_text("p.vmdk", FLAT_HEAD "RW 8 FLAT \"f\" 0\nRW 1 FLAT \"f\" 1\nRW 1 FLAT \"f\" 4\n");
    open_fails("p.vmdk", CHAIN_WRITE, VIX_E_DISK_INVAL, "overlap");
    put_text("r.vmdk", FLAT_HEAD "RDONLY 4 FLAT \"f\" 0\nRDONLY 4 FLAT \"f\" 3\n");
    close_ok(open_ok("r.vmdk", CHAIN_WRITE));
}

struct refusal {
    const char *name, *text;
    VixError code;
    const char *says;
    uint32_t flags;
};

static void unusable_disks_are_refused(void **state)
{
    static const struct refusal cases[] = {
        {"empty", "", VIX_E_DISK_INVALIDDISK, "empty", 0},
        {"raw", "\x01\x02\x03 data", VIX_E_DISK_INVALIDDISK, "not a VMDK, or encrypted", 0},
        {"script", "#!/bin/sh\necho\n", VIX_E_DISK_INVALIDDISK, "version=", 0},
        {"kdmv", "kdmv....", VIX_E_DISK_INVALIDDISK, "not finished", 0},
        {"cowd", "COWD....", VIX_E_DISK_INVALIDDISK, "COWD", 0},
        {"short", "KDMV", VIX_E_DISK_INVALIDDISK, "4 bytes", 0},
        {"missing", FLAT_HEAD "RW 4 FLAT \"none\" 0\n", VIX_E_FILE_NOT_FOUND, "\"none\" is not there", 0},
        {"tooshort", FLAT_HEAD "RW 9 FLAT \"eight\" 0\n", VIX_E_DISK_NEEDSREPAIR, "too short: 4096 bytes", 0},
        {"offset", FLAT_HEAD "RW 8 FLAT \"eight\" 1\n", VIX_E_DISK_NEEDSREPAIR, "needs 4608", 0},
        {"noextents", FLAT_HEAD, VIX_E_DISK_INVAL, "no extents", 0},
        {"none", FLAT_HEAD "RW 0 ZERO\n", VIX_E_DISK_INVAL, "no extents", 0},
        {"self", FLAT_HEAD "RW 1 FLAT \"self\" 0\n", VIX_E_DISK_INVAL, "descriptor itself", 0},
        {"notsparse", FLAT_HEAD "RW 8 SPARSE \"eight\"\n", VIX_E_DISK_INVALIDDISK, "not a sparse extent", 0},
        {"notcowd", FLAT_HEAD "RW 8 VMFSSPARSE \"eight\"\n", VIX_E_DISK_INVALIDDISK, "or COWD", 0},
        {"vsan", FLAT_HEAD "RW 8 VSANSPARSE \"eight\"\n", VIX_E_DISK_NOTSUPPORTED, "VSANSPARSE", 0},
        {"up", FLAT_HEAD "RW 8 FLAT \"../other\" 0\n", VIX_E_FILE_ACCESS_ERROR, "vixdisk.allowOutsidePaths", 0},
        {"abs", FLAT_HEAD "RW 8 FLAT \"/other\" 0\n", VIX_E_FILE_ACCESS_ERROR, "/other", 0},
        {"near", FLAT_HEAD "RW 8 FLAT \"/dd/x\" 0\n", VIX_E_FILE_ACCESS_ERROR, "/dd/x", 0},
        {"crypt", FLAT_HEAD "RW 8 FLAT \"eight\" 0\nencryptionKeys=\"x\"\n", VIX_E_DISK_NEEDKEY, "encrypted", 0},
        {"x-digest.vmdk", FLAT_HEAD "RW 8 FLAT \"eight\" 0\n", VIX_E_DISK_NOTSUPPORTED, "digest", 0},
        {"ctk", FLAT_HEAD "RW 8 FLAT \"eight\" 0\nchangeTrackPath=\"x-ctk.vmdk\"\n", VIX_E_DISK_NOTSUPPORTED,
         "vixdisk.changeTracking", CHAIN_WRITE},
    };
    char path[64];

    (void)state;
    put_sectors("d/eight", 8, 1);
    put_sectors("other", 8, 1);
    put_sectors("dd/x", 8, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(path, sizeof path, "d/%s", cases[i].name);
        put_text(path, cases[i].text);
        open_fails(path, cases[i].flags, cases[i].code, cases[i].says);
        if (cases[i].code == VIX_E_FILE_ACCESS_ERROR) {
            close_ok(open_ok(path, CHAIN_READ | CHAIN_OUTSIDE_OK));
        }
    }
    static const uint8_t sesparse[512] = {0xBE, 0xBA, 0xFE, 0xCA};
    put_file("d/sesparse", sesparse, sizeof sesparse, 0);
    open_fails("d/sesparse", 0, VIX_E_DISK_INVALIDDISK, "SE sparse");
    open_fails("d/nothing", 0, VIX_E_FILE_NOT_FOUND, "d/nothing");
    put_file("d/huge", "version=1\n", 10, 2 << 20);
    open_fails("d/huge", 0, VIX_E_DISK_INVALIDDISK, "2097152 bytes");
}

static void file_names_go_through_the_encoding(void **state)
{
    (void)state;
    put_sectors("caf\xc3\xa9", 1, 7);
    put_sectors("raw\xe9", 1, 8);
    put_text("e.vmdk", "version=1\nencoding=\"windows-1252\"\nCID=1\ncreateType=\"custom\"\n"
                       "RW 1 FLAT \"caf\xe9\" 0\nRW 1 FLAT \"raw\xe9\" 0\n");
    struct chain *c = open_ok("e.vmdk", CHAIN_READ);
    assert_sectors(c, 0, 1, 7);
    assert_sectors(c, 1, 1, 8);
    close_ok(c);
}

static void tracked_disk_is_written_when_tracking_is_dropped(void **state)
{
    uint8_t buf[SECTOR_SIZE] = {1};
    static const char text[] =
        "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\n"
        "createType=\"vmfs\"\n\n# Extent description\nRW 4 VMFS \"t-flat.vmdk\"\n\n"
        "# Change Tracking File\nchangeTrackPath=\"t-ctk.vmdk\"\n\n# The Disk Data Base \n#DDB\n\n";

    (void)state;
    put_text("t.vmdk", text);
    put_text("t-ctk.vmdk", "x");
    put_sectors("t-flat.vmdk", 4, 0);
    struct chain *c = open_ok("t.vmdk", CHAIN_READ);
    char **files = NULL;
    assert_int_equal(chain_files(c, &files, NULL), VIX_OK);
    assert_string_equal(files[0], "t.vmdk");
    assert_string_equal(files[1], "t-flat.vmdk");
    assert_string_equal(files[2], "t-ctk.vmdk");
    assert_null(files[3]);
    chain_files_free(files);
    close_ok(c);
    c = open_ok("t.vmdk", CHAIN_WRITE | CHAIN_DROP_TRACKING);
    char *same = get_text("t.vmdk");
    assert_string_equal(same, text);
    assert_int_equal(chain_write(c, 0, 1, buf, NULL), VIX_OK);
    char *dropped = get_text("t.vmdk");
    assert_non_null(strstr(dropped, "version=1\nCID="));
    assert_null(strstr(dropped, "Track"));
    assert_null(strstr(dropped, "12345678"));
    close_ok(c);
    free(same);
    free(dropped);
}

static void shared_and_exclusive_opens(void **state)
{
    (void)state;
    make_flat("l.vmdk", 4);
    struct chain *writer = open_ok("l.vmdk", CHAIN_WRITE);
    open_fails("l.vmdk", CHAIN_READ, VIX_E_FILE_ALREADY_LOCKED, "l.vmdk");
    close_ok(open_ok("l.vmdk", CHAIN_READ | CHAIN_NO_LOCK));
    close_ok(writer);
    struct chain *reader = open_ok("l.vmdk", CHAIN_READ);
    close_ok(open_ok("l.vmdk", CHAIN_READ));
    open_fails("l.vmdk", CHAIN_WRITE, VIX_E_FILE_ALREADY_LOCKED, "l.vmdk");
    close_ok(reader);
}

static void metadata_is_written_safely(void **state)
{
    char *value = NULL, *keys = NULL;
    size_t len = 0;

    (void)state;
    put_text("k.vmdk", FLAT_HEAD "RW 1 FLAT \"k\" 0\nddb.zeta = \"1\"\nddb.Alpha = \"2\"\n");
    put_sectors("k", 1, 0);
    struct chain *c = open_ok("k.vmdk", CHAIN_WRITE);
    assert_int_equal(chain_meta_set(c, "mid", "new", NULL), VIX_OK);
    assert_int_equal(chain_meta_set(c, "bad key", "new", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(chain_meta_get(c, "none", &value, NULL), VIX_E_DISK_KEY_NOTFOUND);
    close_ok(c);
    c = open_ok("k.vmdk", CHAIN_READ);
    assert_int_equal(c->links[0]->desc->cid, CID_FRESH);
    assert_int_equal(chain_meta_get(c, "MID", &value, NULL), VIX_OK);
    assert_string_equal(value, "new");
    assert_int_equal(chain_meta_keys(c, &keys, &len, NULL), VIX_OK);
    assert_int_equal(len, 16);
    assert_memory_equal(keys, "Alpha\0mid\0zeta\0\0", 16);
    free(value);
    free(keys);
    close_ok(c);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(flat_disk_reads_and_writes),
        TEST(content_id_changes_once_before_the_first_write),
        TEST(short_content_id_is_rewritten_with_the_whole_descriptor),
        TEST(extents_follow_one_another),
        TEST(disks_over_devices_need_a_trusting_caller),
        TEST(overlapping_extents_are_not_written),
        TEST(unusable_disks_are_refused),
        TEST(file_names_go_through_the_encoding),
        TEST(tracked_disk_is_written_when_tracking_is_dropped),
        TEST(shared_and_exclusive_opens),
        TEST(metadata_is_written_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_create.c - new disks in memory: their text and files, their limits, and that a failure at any point leaves
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/store_fault.h"
#include "vmdk/chain.h"
#include "vmdk/create.h"

#define TIB_SECTORS (UINT64_C(1) << 31)

static struct store_fs *mem, *fs;

static int set_up(void **state)
{
    (void)state;
    mem = store_fs_mem_new(NULL);
    fs = mem != NULL ? store_fault_new(mem, NULL) : NULL;
    return fs == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    store_fault_free(fs);
    store_fs_mem_free(mem);
    return 0;
}

static struct create_params params_of(VixDiskLibDiskType type, uint64_t capacity)
{
    return (struct create_params){.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = capacity};
}

static VixError create(const char *path, const struct create_params *p, struct err *err)
{
    err_init(err);
    return vmdk_create(fs, path, p, NULL, NULL, err);
}

static void create_ok(const char *path, const struct create_params *p)
{
    struct err err;

    VixError code = create(path, p, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
}

static char *get_text(const char *path)
{
    struct store *s = NULL;
    uint64_t size = 0;

    assert_int_equal(mem->ops->open(mem, path, STORE_READ, &s, NULL), VIX_OK);
    assert_int_equal(s->ops->size(s, &size, NULL), VIX_OK);
    char *text = calloc(1, size + 1);
    assert_non_null(text);
    assert_int_equal(store_read(s, text, size, 0, NULL), VIX_OK);
    store_close(s);
    return text;
}

static uint64_t file_size(const char *path)
{
    struct store *s = NULL;
    uint64_t size = 0;

    assert_int_equal(mem->ops->open(mem, path, STORE_READ, &s, NULL), VIX_OK);
    assert_int_equal(s->ops->size(s, &size, NULL), VIX_OK);
    store_close(s);
    return size;
}

/** Replaces what is random by 'x': the identifiers of the text. */
static void mask(char *text, const char *key, size_t skip, size_t len)
{
    char *p = strstr(text, key);

    assert_non_null(p);
    p += strlen(key) + skip;
    for (size_t i = 0; i < len; i++) {
        assert_non_null(strchr("0123456789abcdefC -", p[i]));
        p[i] = 'x';
    }
}

static void flat_disk_has_the_canonical_text(void **state)
{
    struct create_params p = params_of(VIXDISKLIB_DISK_MONOLITHIC_FLAT, 409600);

    (void)state;
    create_ok("dir/gamma.vmdk", &p);
    char *text = get_text("dir/gamma.vmdk");
    mask(text, "longContentID = \"", 0, 24);
    mask(text, "uuid = \"60 00 C2 9", 0, 1);
    mask(text, "uuid = \"60 00 C2 9", 2, 35);
    assert_string_equal(text, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\n"
                              "createType=\"monolithicFlat\"\n\n# Extent description\n"
                              "RW 409600 FLAT \"gamma-flat.vmdk\" 0\n\n# The Disk Data Base \n#DDB\n\n"
                              "ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"200\"\n"
                              "ddb.geometry.heads = \"64\"\nddb.geometry.sectors = \"32\"\n"
                              "ddb.longContentID = \"xxxxxxxxxxxxxxxxxxxxxxxxfffffffe\"\n"
                              "ddb.uuid = \"60 00 C2 9x xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"\n"
                              "ddb.virtualHWVersion = \"10\"\n");
    free(text);
    assert_int_equal(file_size("dir/gamma-flat.vmdk"), UINT64_C(409600) * 512);
}

static void uuid_has_its_shape(void **state)
{
    struct create_params p = params_of(VIXDISKLIB_DISK_VMFS_FLAT, 8);

    (void)state;
    create_ok("u.vmdk", &p);
    char *text = get_text("u.vmdk");
    char *uuid = strstr(text, "uuid = \"") + 8;
    for (size_t i = 0; i < 47; i++) {
        char c = uuid[i];
        if (i % 3 == 2) {
            assert_int_equal(c, i == 23 ? '-' : ' ');
        } else {
            assert_true((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (i == 6 && c == 'C'));
        }
    }
    assert_int_equal(uuid[47], '"');
    assert_non_null(strstr(text, "RW 8 VMFS \"u-flat.vmdk\"\n"));
    assert_null(strstr(text, "thin"));
    free(text);
}

static void other_parameters_are_recorded(void **state)
{
    static const char *const ddb[] = {"toolsVersion", "11365", "geometry.heads", "7", NULL};
    struct create_params p = params_of(VIXDISKLIB_DISK_VMFS_THIN, 80);

    (void)state;
    p.adapter = VIXDISKLIB_ADAPTER_IDE;
    p.hw_version = 21;
    p.logical_sector_size = 4096;
    p.physical_sector_size = 4096;
    p.ddb = ddb;
    create_ok("thin", &p);
    char *text = get_text("thin");
    assert_non_null(strstr(text, "createType=\"vmfs\"\n"));
    assert_non_null(strstr(text, "RW 80 VMFS \"thin-flat.vmdk\"\n"));
    assert_non_null(strstr(text, "ddb.adapterType = \"ide\"\nddb.geometry.cylinders = \"1\"\n"
                                 "ddb.geometry.heads = \"7\"\nddb.geometry.sectors = \"63\"\n"
                                 "ddb.logicalSectorSize = \"4096\"\nddb.longContentID"));
    assert_non_null(strstr(text, "ddb.physicalSectorSize = \"4096\"\nddb.thinProvisioned = \"1\"\n"
                                 "ddb.toolsVersion = \"11365\"\nddb.uuid"));
    assert_non_null(strstr(text, "ddb.virtualHWVersion = \"21\"\n"));
    free(text);
}

static void split_flat_disk_has_extents_of_2047_mib(void **state)
{
    struct create_params p = params_of(VIXDISKLIB_DISK_SPLIT_FLAT, 2 * SPLIT_EXTENT_SECTORS + 5);
    struct chain *c = NULL;

    (void)state;
    create_ok("beta.VMDK", &p);
    char *text = get_text("beta.VMDK");
    assert_non_null(strstr(text, "createType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n"
                                 "RW 4192256 FLAT \"beta-f001.vmdk\" 0\nRW 4192256 FLAT \"beta-f002.vmdk\" 0\n"
                                 "RW 5 FLAT \"beta-f003.vmdk\" 0\n\n"));
    free(text);
    assert_int_equal(file_size("beta-f001.vmdk"), SPLIT_EXTENT_SECTORS * 512);
    assert_int_equal(file_size("beta-f003.vmdk"), 5 * 512);
    assert_int_equal(chain_open(fs, "beta.VMDK", CHAIN_WRITE, NULL, &c, NULL), VIX_OK);
    assert_int_equal(c->capacity, p.capacity);
    assert_int_equal(chain_disk_type(c), VIXDISKLIB_DISK_SPLIT_FLAT);
    uint8_t buf[4 * 512];
    memset(buf, 0x77, sizeof buf);
    assert_int_equal(chain_write(c, 2 * SPLIT_EXTENT_SECTORS - 2, 4, buf, NULL), VIX_OK);
    memset(buf, 0, sizeof buf);
    assert_int_equal(chain_read(c, 2 * SPLIT_EXTENT_SECTORS - 2, 4, buf, NULL), VIX_OK);
    assert_int_equal(buf[0], 0x77);
    assert_int_equal(buf[sizeof buf - 1], 0x77);
    assert_int_equal(chain_close(c, NULL), VIX_OK);
}

static void names_of_many_extents(void **state)
{
    char **names = NULL;

    (void)state;
    assert_int_equal(
        vmdk_create_names("x/a.b.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, 1000 * SPLIT_EXTENT_SECTORS, &names, NULL),
        VIX_OK);
    assert_string_equal(names[0], "x/a.b.vmdk");
    assert_string_equal(names[1], "x/a.b-s001.vmdk");
    assert_string_equal(names[1000], "x/a.b-s1000.vmdk");
    assert_null(names[1001]);
    chain_files_free(names);
    assert_int_equal(vmdk_create_names("m.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1, &names, NULL), VIX_OK);
    assert_null(names[1]);
    chain_files_free(names);
    assert_int_equal(vmdk_create_names("v.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, 1, &names, NULL), VIX_OK);
    assert_string_equal(names[1], "v-delta.vmdk");
    chain_files_free(names);
    assert_int_equal(vmdk_create_names(".vmdk", VIXDISKLIB_DISK_VMFS_FLAT, 1, &names, NULL), VIX_OK);
    assert_string_equal(names[1], ".vmdk-flat.vmdk");
    chain_files_free(names);
    assert_int_equal(vmdk_create_names("v.vmdk", VIXDISKLIB_DISK_UNKNOWN, 1, &names, NULL), VIX_E_INVALID_ARG);
}

struct limit_case {
    VixDiskLibDiskType type;
    uint64_t capacity;
    enum store_fs_kind kind;
    uint64_t free_bytes;
    bool over_2tb;
    VixError code;
    const char *says;
};

static void limits_are_checked_before_anything_is_made(void **state)
{
    static const struct limit_case cases[] = {
        {VIXDISKLIB_DISK_MONOLITHIC_FLAT, 2 * TIB_SECTORS + 1, STORE_FS_ORDINARY, UINT64_MAX, false, VIX_E_FILE_TOO_BIG,
         "vixdisk.allowHostedOver2TB"},
        {VIXDISKLIB_DISK_VMFS_THIN, 2 * TIB_SECTORS + 1, STORE_FS_ORDINARY, UINT64_MAX, false, VIX_E_FILE_TOO_BIG,
         "vixdisk.allowHostedOver2TB"},
        {VIXDISKLIB_DISK_VMFS_THIN, 2 * TIB_SECTORS, STORE_FS_ORDINARY, UINT64_MAX, false, VIX_OK, ""},
        {VIXDISKLIB_DISK_VMFS_THIN, 20 * TIB_SECTORS, STORE_FS_ORDINARY, UINT64_MAX, true, VIX_OK, ""},
        {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 2 * TIB_SECTORS, STORE_FS_ORDINARY, UINT64_MAX, true, VIX_E_FILE_TOO_BIG,
         "4294441984"},
        {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SPARSE_EXTENT_MAX_SECTORS + 1, STORE_FS_ORDINARY, UINT64_MAX, false,
         VIX_E_FILE_TOO_BIG, "4294441984"},
        {VIXDISKLIB_DISK_VMFS_SPARSE, 2 * TIB_SECTORS, STORE_FS_ORDINARY, UINT64_MAX, true, VIX_E_FILE_TOO_BIG,
         "vmfsSparse"},
        {VIXDISKLIB_DISK_MONOLITHIC_FLAT, 8388608, STORE_FS_FAT, UINT64_MAX, false, VIX_E_FILE_TOO_BIG, "FAT"},
        {VIXDISKLIB_DISK_VMFS_FLAT, 8388607, STORE_FS_FAT, UINT64_MAX, false, VIX_OK, ""},
        {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 8388000, STORE_FS_FAT, UINT64_MAX, false, VIX_E_FILE_TOO_BIG, "FAT"},
        {VIXDISKLIB_DISK_VMFS_SPARSE, 8388600, STORE_FS_FAT, UINT64_MAX, false, VIX_E_FILE_TOO_BIG, "FAT"},
        {VIXDISKLIB_DISK_SPLIT_FLAT, 8388608, STORE_FS_FAT, UINT64_MAX, false, VIX_OK, ""},
        {VIXDISKLIB_DISK_STREAM_OPTIMIZED, 8388608, STORE_FS_FAT, UINT64_MAX, false, VIX_OK, ""},
        {VIXDISKLIB_DISK_VMFS_THIN, 16 * TIB_SECTORS, STORE_FS_NTFS, UINT64_MAX, true, VIX_E_FILE_TOO_BIG, "NTFS"},
        {VIXDISKLIB_DISK_VMFS_THIN, 16 * TIB_SECTORS - 128, STORE_FS_NTFS, UINT64_MAX, true, VIX_OK, ""},
        {VIXDISKLIB_DISK_VMFS_THIN, 60 * TIB_SECTORS, STORE_FS_EXFAT, UINT64_MAX, true, VIX_OK, ""},
        {VIXDISKLIB_DISK_MONOLITHIC_FLAT, 4096, STORE_FS_ORDINARY, 4096 * 512 - 1, false, VIX_E_DISK_FULL, "2097151"},
        {VIXDISKLIB_DISK_VMFS_THIN, 4096, STORE_FS_ORDINARY, 4096, false, VIX_OK, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct create_params p = params_of(cases[i].type, cases[i].capacity);
        struct err err;
        char name[32];
        p.allow_over_2tb = cases[i].over_2tb;
        (void)snprintf(name, sizeof name, "c%zu.vmdk", i);
        store_fault_pretend(fs, cases[i].kind, UINT64_MAX, cases[i].free_bytes);
        VixError code = create(name, &p, &err);
        if (code != cases[i].code || strstr(err.text, cases[i].says) == NULL) {
            print_error("case %zu: code %d, \"%s\"\n", i, (int)code, err.text);
        }
        assert_int_equal(code, cases[i].code);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(mem->ops->exists(mem, name), code == VIX_OK);
    }
}

static void wrong_parameters_are_refused(void **state)
{
    struct err err;

    (void)state;
#define REFUSED(path, expected, ...)                                                                                   \
    do {                                                                                                               \
        struct create_params p = params_of(VIXDISKLIB_DISK_MONOLITHIC_FLAT, 8);                                        \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(create(path, &p, &err), expected);                                                            \
        assert_int_equal(err.code, expected);                                                                          \
        assert_true(err.text[0] != '\0');                                                                              \
    } while (0)
    REFUSED("", VIX_E_INVALID_ARG, (void)0);
    REFUSED("dir/", VIX_E_INVALID_ARG, (void)0);
    REFUSED("a\"b.vmdk", VIX_E_FILE_NAME_INVALID, (void)0);
    REFUSED("a\nb.vmdk", VIX_E_FILE_NAME_INVALID, (void)0);
    REFUSED("a\xff.vmdk", VIX_E_INVALID_UTF8_STRING, (void)0);
    REFUSED("a\xc0\x80.vmdk", VIX_E_INVALID_UTF8_STRING, (void)0);
    REFUSED("a\xed\xa0\x80.vmdk", VIX_E_INVALID_UTF8_STRING, (void)0);
    REFUSED("a\xe4\xb8", VIX_E_INVALID_UTF8_STRING, (void)0);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.type = VIXDISKLIB_DISK_UNKNOWN);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.type = (VixDiskLibDiskType)0);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.adapter = VIXDISKLIB_ADAPTER_UNKNOWN);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.adapter = (VixDiskLibAdapterType)0);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.capacity = 0);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.logical_sector_size = 4096; p.physical_sector_size = 512);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.logical_sector_size = 1024);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.logical_sector_size = 512; p.physical_sector_size = 8192);
    REFUSED("t.vmdk", VIX_E_INVALID_ARG, p.parent_hint = "x.vmdk");
    REFUSED("t.vmdk", VIX_E_FILE_TOO_BIG, p.capacity = UINT64_MAX);
    assert_false(mem->ops->exists(mem, "t.vmdk"));
    assert_false(mem->ops->exists(mem, "t-flat.vmdk"));
    struct create_params good = params_of(VIXDISKLIB_DISK_MONOLITHIC_FLAT, 8);
    create_ok("\xe4\xb8\xad \xf0\x9f\x92\xbe.vmdk", &good);
}

static void nothing_is_overwritten(void **state)
{
    static const char *const taken[] = {"a.vmdk", "a-f001.vmdk", "a-f002.vmdk"};
    struct create_params p = params_of(VIXDISKLIB_DISK_SPLIT_FLAT, SPLIT_EXTENT_SECTORS + 1);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct store *s = NULL;
        struct err err;
        assert_int_equal(mem->ops->create(mem, taken[i], 0, 0600, &s, NULL), VIX_OK);
        assert_int_equal(store_write(s, "mine", 4, 0, NULL), VIX_OK);
        store_close(s);
        assert_int_equal(create("a.vmdk", &p, &err), VIX_E_FILE_ALREADY_EXISTS);
        assert_non_null(strstr(err.text, taken[i]));
        char *text = get_text(taken[i]);
        assert_string_equal(text, "mine");
        free(text);
        assert_int_equal(mem->ops->unlink(mem, taken[i], NULL), VIX_OK);
        for (size_t j = 0; j < 3; j++) {
            assert_false(mem->ops->exists(mem, taken[j]));
        }
    }
}

static void assert_no_files(const char *path, const struct create_params *p)
{
    char **names = NULL;

    assert_int_equal(vmdk_create_names(path, p->type, p->capacity, &names, NULL), VIX_OK);
    for (size_t i = 0; names[i] != NULL; i++) {
        assert_false(mem->ops->exists(mem, names[i]));
    }
    chain_files_free(names);
}

static void any_failure_leaves_nothing(void **state)
{
    static const struct {
        VixDiskLibDiskType type;
        uint64_t capacity;
    } cases[] = {
        {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 70000},
        {VIXDISKLIB_DISK_MONOLITHIC_FLAT, 1000},
        {VIXDISKLIB_DISK_SPLIT_SPARSE, 3 * SPLIT_EXTENT_SECTORS},
        {VIXDISKLIB_DISK_SPLIT_FLAT, SPLIT_EXTENT_SECTORS + 1},
        {VIXDISKLIB_DISK_VMFS_FLAT, 1000},
        {VIXDISKLIB_DISK_VMFS_THIN, 1000},
        {VIXDISKLIB_DISK_STREAM_OPTIMIZED, 1000},
        {VIXDISKLIB_DISK_VMFS_SPARSE, 1000},
    };
    const uint32_t kinds = FAULT_ALL & ~(FAULT_UNLINK | FAULT_RESOLVE);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct create_params p = params_of(cases[i].type, cases[i].capacity);
        struct err err;
        VixError code = VIX_E_FAIL;
        uint64_t nth = 0;
        while (code != VIX_OK) {
            struct store_fault_rule rule = {.ops = kinds, .nth = ++nth, .errnum = 28};
            store_fault_set(fs, &rule);
            code = create("f.vmdk", &p, &err);
            if (code != VIX_OK) {
                assert_int_equal(code, err.code);
                assert_true(store_fault_has_hit(fs));
                assert_no_files("f.vmdk", &p);
            }
            assert_true(nth < 1000);
        }
        assert_true(nth > 4);
        store_fault_set(fs, NULL);
        struct chain *c = NULL;
        assert_int_equal(chain_open(fs, "f.vmdk", CHAIN_READ, NULL, &c, NULL), VIX_OK);
        assert_int_equal(c->capacity, p.capacity);
        assert_int_equal(chain_disk_type(c), p.type);
        char **files = NULL;
        assert_int_equal(chain_files(c, &files, NULL), VIX_OK);
        assert_int_equal(chain_close(c, NULL), VIX_OK);
        for (size_t j = 0; files[j] != NULL; j++) {
            assert_int_equal(mem->ops->unlink(mem, files[j], NULL), VIX_OK);
        }
        chain_files_free(files);
        assert_no_files("f.vmdk", &p);
    }
}

/** Every type takes data in ascending order and gives it back after a reopen; a stream too, though its line says
 * RDONLY. */
static void every_type_holds_what_is_written(void **state)
{
    static uint8_t data[1000 * 512], back[sizeof data];
    unsigned seed = 7;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i / 512 % 300 < 128 ? 0 : rand_r(&seed));
    }
    for (int type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE; type <= VIXDISKLIB_DISK_VMFS_SPARSE; type++) {
        struct create_params p = params_of((VixDiskLibDiskType)type, 1000);
        struct chain *c = NULL;
        char name[32];
        (void)snprintf(name, sizeof name, "t%d.vmdk", type);
        create_ok(name, &p);
        assert_int_equal(chain_open(fs, name, CHAIN_WRITE, NULL, &c, NULL), VIX_OK);
        assert_int_equal(chain_disk_type(c), type);
        assert_int_equal(chain_is_ordered(c), type == VIXDISKLIB_DISK_STREAM_OPTIMIZED);
        for (uint64_t sector = 0; sector < 1000; sector += 125) {
            assert_int_equal(chain_write(c, sector, 125, data + sector * 512, NULL), VIX_OK);
        }
        assert_int_equal(chain_close(c, NULL), VIX_OK);
        assert_int_equal(chain_open(fs, name, CHAIN_READ, NULL, &c, NULL), VIX_OK);
        assert_int_not_equal(c->links[0]->desc->cid, CID_FRESH);
        memset(back, 0xEE, sizeof back);
        assert_int_equal(chain_read(c, 0, 1000, back, NULL), VIX_OK);
        assert_memory_equal(back, data, sizeof data);
        assert_int_equal(chain_close(c, NULL), VIX_OK);
    }
}

static int seen_percent, calls;

static void see_percent(void *ctx, int percent)
{
    assert_ptr_equal(ctx, &calls);
    assert_true(percent >= seen_percent && percent <= 100);
    seen_percent = percent;
    calls++;
}

static void progress_goes_from_0_to_100(void **state)
{
    struct create_params p = params_of(VIXDISKLIB_DISK_SPLIT_FLAT, SPLIT_EXTENT_SECTORS + 1);

    (void)state;
    seen_percent = calls = 0;
    assert_int_equal(vmdk_create(fs, "p.vmdk", &p, see_percent, &calls, NULL), VIX_OK);
    assert_int_equal(seen_percent, 100);
    assert_true(calls > 5);
}

static void a_full_disk_is_told_and_cleaned_up(void **state)
{
    struct create_params p = params_of(VIXDISKLIB_DISK_MONOLITHIC_FLAT, 4096);
    struct err err;

    (void)state;
    store_fault_pretend(fs, STORE_FS_ORDINARY, UINT64_MAX, 4096 * 512); /* enough for the data, not for the text */
    assert_int_equal(create("full.vmdk", &p, &err), VIX_E_DISK_FULL);
    assert_no_files("full.vmdk", &p);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(flat_disk_has_the_canonical_text),
        TEST(uuid_has_its_shape),
        TEST(other_parameters_are_recorded),
        TEST(split_flat_disk_has_extents_of_2047_mib),
        TEST(names_of_many_extents),
        TEST(limits_are_checked_before_anything_is_made),
        TEST(wrong_parameters_are_refused),
        TEST(nothing_is_overwritten),
        TEST(any_failure_leaves_nothing),
        TEST(every_type_holds_what_is_written),
        TEST(progress_goes_from_0_to_100),
        TEST(a_full_disk_is_told_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

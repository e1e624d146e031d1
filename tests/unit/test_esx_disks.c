/* SPDX-License-Identifier: BSD-3-Clause */
/* test_esx_disks.c - whole disks of the ESX family in memory: redo logs over vmfs disks against an array of bytes,
 * chains over SE sparse links, disks put together from files as raw device disks are, change tracking by
 * configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/config.h"
#include "disk/disk.h"
#include "sesparse_util.h"
#include "vmdk/chain.h"
#include "vmdk/create.h"

#define CAPACITY 9001u /* sectors: two tables of COWD and a part */

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
    config_clear();
    store_fs_mem_free(fs);
    return 0;
}

static uint64_t rnd(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static struct store *new_file(const char *path)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->create(fs, path, 0, 0644, &s, NULL), VIX_OK);
    return s;
}

static void put_file(const char *path, const void *bytes, size_t len)
{
    struct store *s = new_file(path);
    assert_int_equal(store_write(s, bytes, len, 0, NULL), VIX_OK);
    store_close(s);
}

static void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

/** A file of sectors that all hold one byte. */
static void put_sectors(const char *path, size_t nsectors, uint8_t byte)
{
    uint8_t *bytes = malloc(nsectors * 512);
    assert_non_null(bytes);
    memset(bytes, byte, nsectors * 512);
    put_file(path, bytes, nsectors * 512);
    free(bytes);
}

static char *get_file(const char *path, uint64_t *ret_len)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->open(fs, path, STORE_READ, &s, NULL), VIX_OK);
    assert_int_equal(s->ops->size(s, ret_len, NULL), VIX_OK);
    char *bytes = calloc(1, *ret_len + 1);
    assert_non_null(bytes);
    assert_int_equal(store_read(s, bytes, *ret_len, 0, NULL), VIX_OK);
    store_close(s);
    return bytes;
}

static struct chain *open_ok(const char *path, uint32_t flags)
{
    struct chain *c = NULL;
    struct err err;
    err_init(&err);
    if (chain_open(fs, path, flags, NULL, &c, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    return c;
}

static void close_ok(struct chain *c)
{
    assert_int_equal(chain_close(c, NULL), VIX_OK);
}

static void open_fails(const char *path, uint32_t flags, VixError code, const char *words)
{
    struct chain *c = NULL;
    struct err err;
    err_init(&err);
    VixError e = chain_open(fs, path, flags, NULL, &c, &err);
    if (e != code || strstr(err.text, words) == NULL) {
        fail_msg("%d \"%s\", expected %d \"%s\"", (int)e, err.text, (int)code, words);
    }
}

static void make(const char *path, VixDiskLibDiskType type, const char *hint)
{
    struct create_params p = {
        .type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = CAPACITY, .parent_hint = hint};
    if (hint != NULL) {
        struct chain *c = open_ok(hint, CHAIN_READ);
        p.parent_cid = c->links[0]->desc->cid;
        close_ok(c);
    }
    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, NULL), VIX_OK);
}

static void write_byte(struct chain *c, uint64_t sector, uint64_t n, int byte)
{
    uint8_t *buf = malloc(n * 512);
    struct err err;
    assert_non_null(buf);
    memset(buf, byte, n * 512);
    err_init(&err);
    if (chain_write(c, sector, n, buf, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    free(buf);
}

static void reads_byte(struct chain *c, uint64_t sector, uint64_t n, int byte)
{
    uint8_t *buf = malloc(n * 512), *expected = malloc(n * 512);
    assert_true(buf != NULL && expected != NULL);
    memset(expected, byte, n * 512);
    assert_int_equal(chain_read(c, sector, n, buf, NULL), VIX_OK);
    assert_memory_equal(buf, expected, n * 512);
    free(buf);
    free(expected);
}

/* ---- redo logs ---- */

static void files_are_named_and_described_as_on_esx(void **state)
{
    uint64_t len;

    (void)state;
    make("vm.vmdk", VIXDISKLIB_DISK_VMFS_THIN, NULL);
    make("vm-000001.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, "vm.vmdk");
    assert_true(fs->ops->exists(fs, "vm-flat.vmdk"));
    assert_true(fs->ops->exists(fs, "vm-000001-delta.vmdk"));
    char *text = get_file("vm-000001.vmdk", &len);
    assert_non_null(strstr(text, "createType=\"vmfsSparse\"\nparentFileNameHint=\"vm.vmdk\"\n"));
    assert_non_null(strstr(text, "RW 9001 VMFSSPARSE \"vm-000001-delta.vmdk\"\n"));
    assert_non_null(strstr(text, "parentCID=fffffffe"));
    assert_null(strstr(text, "geometry"));
    free(text);
    struct chain *c = open_ok("vm-000001.vmdk", CHAIN_READ);
    assert_int_equal(chain_disk_type(c), VIXDISKLIB_DISK_VMFS_SPARSE);
    assert_int_equal(c->link_count, 2);
    assert_int_equal(c->capacity, CAPACITY);
    close_ok(c);
}

struct model {
    uint8_t *bytes;
    struct chain *c;
    const char *top;
    uint64_t seed;
};

static void fill(struct model *m, uint64_t sector, uint64_t n)
{
    uint64_t v = rnd(&m->seed) % 5 == 0 ? 0 : rnd(&m->seed) | 1;
    for (uint64_t i = sector * 512; i < (sector + n) * 512; i += 8) {
        memcpy(m->bytes + i, &v, 8);
        v = v == 0 ? 0 : v + 1;
    }
}

static void random_step(struct model *m)
{
    uint64_t max = rnd(&m->seed) % 10 == 0 ? 3000 : 20, what = rnd(&m->seed) % 100;
    uint64_t sector = rnd(&m->seed) % CAPACITY, n = min_u64(1 + rnd(&m->seed) % max, CAPACITY - sector);

    if (what < 55) {
        fill(m, sector, n);
        assert_int_equal(chain_write(m->c, sector, n, m->bytes + sector * 512, NULL), VIX_OK);
    } else if (what < 96) {
        uint8_t *buf = malloc(n * 512);
        assert_non_null(buf);
        assert_int_equal(chain_read(m->c, sector, n, buf, NULL), VIX_OK);
        assert_memory_equal(buf, m->bytes + sector * 512, n * 512);
        free(buf);
    } else if (what < 98) {
        assert_int_equal(chain_flush(m->c, NULL), VIX_OK);
    } else {
        close_ok(m->c);
        m->c = open_ok(m->top, CHAIN_WRITE);
    }
}

/** Random operations on a disk, the array being what it holds; its parents stay as they are. */
static void random_operations(const char *top, uint8_t *bytes, uint64_t seed)
{
    struct model m = {.bytes = bytes, .top = top, .seed = seed};
    uint8_t *all = malloc(CAPACITY * 512);

    assert_non_null(all);
    print_message("%s: seed 0x%llx\n", top, (unsigned long long)seed);
    m.c = open_ok(top, CHAIN_WRITE);
    for (unsigned i = 0; i < 400; i++) {
        random_step(&m);
    }
    close_ok(m.c);
    m.c = open_ok(top, CHAIN_READ);
    assert_int_equal(chain_read(m.c, 0, CAPACITY, all, NULL), VIX_OK);
    assert_memory_equal(all, bytes, CAPACITY * 512);
    close_ok(m.c);
    free(all);
}

static void redo_logs_over_every_kind_of_vmfs_disk(void **state)
{
    static const VixDiskLibDiskType bases[] = {VIXDISKLIB_DISK_VMFS_FLAT, VIXDISKLIB_DISK_VMFS_THIN,
                                               VIXDISKLIB_DISK_VMFS_SPARSE};
    const char *env = getenv("VIXDISK_TEST_SEED");
    uint64_t seed = env != NULL ? strtoull(env, NULL, 0) | 1 : 0xE5C0FFEE, len, flat_len;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint8_t *bytes = calloc(CAPACITY, 512);
        char base[20], one[20], two[20], data[30];
        assert_non_null(bytes);
        (void)snprintf(base, sizeof base, "b%zu.vmdk", i);
        (void)snprintf(one, sizeof one, "b%zu-1.vmdk", i);
        (void)snprintf(two, sizeof two, "b%zu-2.vmdk", i);
        (void)snprintf(data, sizeof data, "b%zu-%s.vmdk", i, i < 2 ? "flat" : "delta");
        make(base, bases[i], NULL);
        random_operations(base, bytes, seed + i);
        char *before = get_file(data, &len);
        make(one, VIXDISKLIB_DISK_VMFS_SPARSE, base);
        random_operations(one, bytes, seed + 10 + i);
        make(two, VIXDISKLIB_DISK_VMFS_SPARSE, one);
        random_operations(two, bytes, seed + 20 + i);
        char *after = get_file(data, &flat_len);
        assert_int_equal(len, flat_len);
        assert_memory_equal(before, after, len);
        free(before);
        free(after);
        free(bytes);
    }
}

static void sectors_of_a_child_hide_those_below_and_no_others(void **state)
{
    struct chain_run run;

    (void)state;
    make("p.vmdk", VIXDISKLIB_DISK_VMFS_FLAT, NULL);
    struct chain *c = open_ok("p.vmdk", CHAIN_WRITE);
    write_byte(c, 0, CAPACITY, 0x11);
    close_ok(c);
    make("c.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, "p.vmdk");
    c = open_ok("c.vmdk", CHAIN_WRITE);
    write_byte(c, 4095, 2, 0x22);
    write_byte(c, 5000, 3, 0);
    close_ok(c);
    c = open_ok("c.vmdk", CHAIN_READ);
    reads_byte(c, 0, 4095, 0x11);
    reads_byte(c, 4095, 2, 0x22);
    reads_byte(c, 4097, 903, 0x11);
    reads_byte(c, 5000, 3, 0);
    reads_byte(c, 5003, CAPACITY - 5003, 0x11);
    assert_int_equal(chain_map(c, 4095, 100, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.depth, 0);
    assert_int_equal(run.nsectors, 2);
    assert_string_equal(run.path, "c-delta.vmdk");
    assert_int_equal(chain_map(c, 4097, 2000, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.depth, 1);
    assert_int_equal(run.nsectors, 903);
    close_ok(c);
    c = open_ok("c.vmdk", CHAIN_READ | CHAIN_SINGLE_LINK);
    reads_byte(c, 0, 4095, 0);
    reads_byte(c, 4095, 2, 0x22);
    close_ok(c);
}

static void redo_log_that_was_not_closed_is_named(void **state)
{
    uint8_t one[4] = {1};

    (void)state;
    make("u.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, NULL);
    struct chain *c = open_ok("u.vmdk", CHAIN_WRITE);
    write_byte(c, 0, 2, 7);
    close_ok(c);
    struct store *s = NULL;
    assert_int_equal(fs->ops->open(fs, "u-delta.vmdk", STORE_WRITE, &s, NULL), VIX_OK);
    assert_int_equal(store_write(s, one, 1, 1648, NULL), VIX_OK);
    assert_int_equal(store_write(s, "\6\0\0\0\6", 5, 6 * 512, NULL), VIX_OK); /* both entries: sector 6 */
    store_close(s);
    open_fails("u.vmdk", CHAIN_WRITE, VIX_E_DISK_NEEDSREPAIR, "overlaps");
    close_ok(open_ok("u.vmdk", CHAIN_READ));
}

/* ---- SE sparse links ---- */

#define SE_TEXT                                                                                                        \
    "# Disk DescriptorFile\nversion=1\nCID=0a0b0c0d\nparentCID=%08x\ncreateType=\"seSparse\"\n"                        \
    "parentFileNameHint=\"base.vmdk\"\n# Extent description\nRW 9001 SESPARSE \"snap-sesparse.vmdk\"\n"

/** base.vmdk of 0x11, snap.vmdk on it with grain 1 (sectors 8 to 15) 0x22 and grain 2 zeros. */
static void make_se_chain(void)
{
    char text[400];
    uint8_t data[4096];

    make("base.vmdk", VIXDISKLIB_DISK_VMFS_FLAT, NULL);
    struct chain *c = open_ok("base.vmdk", CHAIN_WRITE);
    write_byte(c, 0, CAPACITY, 0x11);
    (void)snprintf(text, sizeof text, SE_TEXT, c->links[0]->desc->cid);
    close_ok(c);
    put_text("snap.vmdk", text);
    struct se_image im = se_build(new_file("snap-sesparse.vmdk"), CAPACITY, 4);
    memset(data, 0x22, sizeof data);
    se_put_grain(&im, 1, data);
    se_put64(im.st, se_entry_off(&im, 2), UINT64_C(2) << 60);
    store_close(im.st);
}

static void check_se_chain(struct chain *c)
{
    reads_byte(c, 0, 8, 0x11);
    reads_byte(c, 8, 8, 0x22);
    reads_byte(c, 16, 8, 0);
    reads_byte(c, 24, 1000, 0x11);
}

static void chains_over_se_sparse_links_are_read_and_children_written(void **state)
{
    static const VixDiskLibDiskType children[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_VMFS_SPARSE};
    struct chain_run run;

    (void)state;
    make_se_chain();
    struct chain *c = open_ok("snap.vmdk", CHAIN_READ);
    assert_int_equal(c->link_count, 2);
    check_se_chain(c);
    assert_int_equal(chain_map(c, 16, 100, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ZERO);
    assert_int_equal(run.depth, 0);
    assert_int_equal(run.nsectors, 8);
    close_ok(c);
    open_fails("snap.vmdk", CHAIN_WRITE, VIX_E_DISK_NOTSUPPORTED, "read, not written");
    for (size_t i = 0; i < 2; i++) {
        char path[20];
        (void)snprintf(path, sizeof path, "leaf%zu.vmdk", i);
        make(path, children[i], "snap.vmdk");
        c = open_ok(path, CHAIN_WRITE);
        assert_int_equal(c->link_count, 3);
        check_se_chain(c);
        write_byte(c, 9, 1, 0x33); /* a grain of the hosted child is completed from both links below */
        reads_byte(c, 8, 1, 0x22);
        reads_byte(c, 9, 1, 0x33);
        reads_byte(c, 10, 6, 0x22);
        reads_byte(c, 16, 8, 0);
        reads_byte(c, 24, 1000, 0x11);
        close_ok(c);
    }
}

/* ---- disks put together from parts ---- */

#define HEAD(type) "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"" type "\"\n"

static void custom_disk_is_the_sum_of_its_extents(void **state)
{
    (void)state;
    put_sectors("raw", 100, 0x44);
    struct store *s = new_file("sparse");
    assert_int_equal(extent_sparse_create(s, 1000, NULL, 0, NULL), VIX_OK);
    store_close(s);
    s = new_file("cowd");
    assert_int_equal(extent_cowd_create(s, 500, NULL), VIX_OK);
    store_close(s);
    put_text("mix.vmdk", HEAD("custom") "RW 60 FLAT \"raw\" 10\nRW 1000 SPARSE \"sparse\"\nRW 50 ZERO\n"
                                        "RW 500 VMFSSPARSE \"cowd\"\nRW 30 VMFS \"raw\" 70\n");
    struct chain *c = open_ok("mix.vmdk", CHAIN_WRITE);
    assert_int_equal(c->capacity, 1640);
    assert_int_equal(chain_disk_type(c), VIXDISKLIB_DISK_UNKNOWN);
    reads_byte(c, 0, 60, 0x44);
    reads_byte(c, 60, 1550, 0);
    write_byte(c, 50, 20, 0x55);   /* from raw into sparse */
    write_byte(c, 1110, 15, 0x66); /* into COWD */
    write_byte(c, 1600, 40, 0x77); /* from COWD into raw */
    close_ok(c);
    c = open_ok("mix.vmdk", CHAIN_READ);
    reads_byte(c, 0, 50, 0x44);
    reads_byte(c, 50, 20, 0x55);
    reads_byte(c, 70, 1040, 0);
    reads_byte(c, 1110, 15, 0x66);
    reads_byte(c, 1125, 475, 0);
    reads_byte(c, 1600, 40, 0x77);
    close_ok(c);
    uint64_t len;
    char *raw = get_file("raw", &len);
    assert_int_equal(raw[9 * 512], 0x44);
    assert_int_equal(raw[60 * 512], 0x55);
    assert_int_equal(raw[99 * 512 + 511], 0x77);
    free(raw);
}

/** As of a physical disk of which one partition is used: a copy of the first track, the partition, nothing else. */
static void partitioned_disk_reads_and_writes_its_parts(void **state)
{
    uint8_t zeros[512] = {0};

    (void)state;
    put_sectors("disk-pt.vmdk", 63, 0x01);
    put_sectors("device", 1000, 0x02);
    put_text("disk.vmdk", HEAD("partitionedDevice") "RW 63 FLAT \"disk-pt.vmdk\" 0\nRW 400 FLAT \"device\" 63\n"
                                                    "RW 100 ZERO\nRW 437 FLAT \"device\" 563\n");
    struct chain *c = open_ok("disk.vmdk", CHAIN_WRITE);
    assert_int_equal(c->capacity, 1000);
    reads_byte(c, 0, 63, 0x01);
    reads_byte(c, 63, 400, 0x02);
    reads_byte(c, 463, 100, 0);
    reads_byte(c, 563, 437, 0x02);
    write_byte(c, 60, 10, 0x03);
    write_byte(c, 999, 1, 0x04);
    assert_int_equal(chain_write(c, 463, 1, zeros, NULL), VIX_OK);
    zeros[3] = 1;
    assert_int_equal(chain_write(c, 463, 1, zeros, NULL), VIX_E_NOT_SUPPORTED);
    close_ok(c);
    uint64_t len;
    char *device = get_file("device", &len);
    assert_int_equal(len, 1000 * 512);
    assert_int_equal(device[62 * 512], 0x02);
    assert_int_equal(device[69 * 512], 0x03);
    assert_int_equal(device[70 * 512], 0x02);
    assert_int_equal(device[999 * 512], 0x04);
    free(device);
}

static void raw_device_mappings_over_files(void **state)
{
    static const char *const texts[] = {
        HEAD("fullDevice") "RW 100 FLAT \"lun\" 0\n", HEAD("vmfsRaw") "RW 100 VMFSRAW \"lun\"\n",
        HEAD("vmfsRDM") "RW 100 VMFSRDM \"lun\"\n",   HEAD("vmfsRawDeviceMap") "RW 100 VMFSRDM \"lun\"\n",
        HEAD("vmfsRDMP") "RW 100 VMFSRDM \"lun\"\n",  HEAD("vmfsPassthroughRawDeviceMap") "RW 100 VMFSRDM \"lun\"\n",
    };

    (void)state;
    put_sectors("lun", 100, 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char path[20];
        (void)snprintf(path, sizeof path, "rdm%zu.vmdk", i);
        put_text(path, texts[i]);
        struct chain *c = open_ok(path, CHAIN_WRITE);
        reads_byte(c, 0, 100, (int)i);
        write_byte(c, 0, 100, (int)i + 1);
        close_ok(c);
    }
    /* A mapping file that was copied without its device holds no data. */
    put_sectors("map-rdmp.vmdk", 1, 0);
    put_text("map.vmdk", HEAD("vmfsPassthroughRawDeviceMap") "RW 100 VMFSRDM \"map-rdmp.vmdk\"\n");
    open_fails("map.vmdk", CHAIN_READ, VIX_E_DISK_NEEDSREPAIR, "too short");
}

/* ---- change tracking ---- */

static VixError write_through_disk(VixError *ret_open)
{
    uint8_t data[512] = {1};
    struct disk *d = NULL;
    struct err err;

    err_init(&err);
    *ret_open = disk_open_local(fs, "t.vmdk", 0, NULL, &d, &err);
    if (*ret_open != VIX_OK) {
        assert_non_null(strstr(err.text, "t-ctk.vmdk"));
        assert_non_null(strstr(err.text, "vixdisk.changeTracking"));
        return VIX_OK;
    }
    VixError e = disk_write(d, 0, 1, data, NULL);
    assert_int_equal(disk_close(d, NULL), VIX_OK);
    return e;
}

static void configuration_decides_about_change_tracking(void **state)
{
    static const char text[] = "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\n"
                               "createType=\"vmfs\"\n\n# Extent description\nRW 4 VMFS \"t-flat.vmdk\"\n\n"
                               "# Change Tracking File\nchangeTrackPath=\"t-ctk.vmdk\"\n";
    static const char *const refusing[] = {NULL, "refuse", "", "nonsense"};
    VixError opened;
    uint64_t len;

    (void)state;
    put_text("t.vmdk", text);
    put_text("t-ctk.vmdk", "tracked");
    put_sectors("t-flat.vmdk", 4, 0);
    for (size_t i = 0; i < 4; i++) {
        config_clear();
        if (refusing[i] != NULL) {
            assert_int_equal(config_set(CONFIG_CHANGE_TRACKING, refusing[i], NULL), VIX_OK);
        }
        assert_int_equal(write_through_disk(&opened), VIX_OK);
        assert_int_equal(opened, VIX_E_DISK_NOTSUPPORTED);
        char *same = get_file("t.vmdk", &len);
        assert_string_equal(same, text);
        free(same);
        struct disk *d = NULL;
        assert_int_equal(disk_open_local(fs, "t.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, NULL), VIX_OK);
        assert_int_equal(disk_close(d, NULL), VIX_OK);
    }
    assert_int_equal(config_set(CONFIG_CHANGE_TRACKING, "Drop", NULL), VIX_OK);
    assert_int_equal(write_through_disk(&opened), VIX_OK);
    assert_int_equal(opened, VIX_OK);
    char *changed = get_file("t.vmdk", &len);
    assert_null(strstr(changed, "Track"));
    assert_non_null(strstr(changed, "version=1\n"));
    assert_null(strstr(changed, "12345678"));
    free(changed);
    char *tracking = get_file("t-ctk.vmdk", &len); /* nothing names it any more, and nobody else's file is removed */
    assert_string_equal(tracking, "tracked");
    free(tracking);
}

/* The parent of a tracked disk's child is only read. */
static void child_of_a_tracked_disk_is_written(void **state)
{
    (void)state;
    put_text("p.vmdk", "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfs\"\n"
                       "RW 9001 VMFS \"p-flat.vmdk\"\nchangeTrackPath=\"p-ctk.vmdk\"\n");
    put_sectors("p-flat.vmdk", CAPACITY, 8);
    make("c.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, "p.vmdk");
    struct chain *c = open_ok("c.vmdk", CHAIN_WRITE);
    write_byte(c, 1, 1, 9);
    reads_byte(c, 0, 1, 8);
    close_ok(c);
    uint64_t len;
    char *text = get_file("p.vmdk", &len);
    assert_non_null(strstr(text, "p-ctk.vmdk"));
    free(text);
}

/* ---- disks that hold nothing to read ---- */

static void encrypted_and_digest_disks_are_recognised(void **state)
{
    static const char *const marks[] = {
        "keyID=\"vmware:key/fqid/a/b/c\"\n",
        "encryptionKeys=\"vmware:key/list/(pair/(x))\"\n",
        "ddb.iofilters = \"vmwarevmcrypt\"\n",
        "ddb.iofilters = \"vmwarelwd,vmwarevmcrypt\"\n",
    };
    char text[400], path[20];

    (void)state;
    put_sectors("e-flat.vmdk", 8, 0xA5);
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "e%zu.vmdk", i);
        (void)snprintf(text, sizeof text, HEAD("vmfs") "RW 8 VMFS \"e-flat.vmdk\"\n%s", marks[i]);
        put_text(path, text);
        open_fails(path, CHAIN_READ, VIX_E_DISK_NEEDKEY, "encrypted");
        open_fails(path, CHAIN_WRITE, VIX_E_DISK_NEEDKEY, "encrypted");
    }
    put_text("other.vmdk", HEAD("vmfs") "RW 8 VMFS \"e-flat.vmdk\"\nddb.iofilters = \"vmwarelwd\"\n");
    close_ok(open_ok("other.vmdk", CHAIN_READ)); /* a filter that leaves data as it is */
    static const char *const digests[] = {"vm-digest.vmdk", "a/vm-digest-000001.vmdk", "x-digest-digest.vmdk"};
    static const char *const others[] = {"digest.vmdk", "vm-digest-1.vmdk", "vm-digest2.vmdk", "b-digest.vmdk/x.vmdk"};
    for (size_t i = 0; i < 3; i++) {
        put_text(digests[i], HEAD("vmfs") "RW 8 VMFS \"/e-flat.vmdk\"\n");
        open_fails(digests[i], CHAIN_READ, VIX_E_DISK_NOTSUPPORTED, "digest");
    }
    for (size_t i = 0; i < 4; i++) {
        put_text(others[i], HEAD("vmfs") "RW 8 VMFS \"/e-flat.vmdk\"\n");
        close_ok(open_ok(others[i], CHAIN_READ | CHAIN_OUTSIDE_OK));
    }
    put_sectors("hosted.vmdk", 64, 0xA5); /* hosted products leave no mark at all */
    open_fails("hosted.vmdk", CHAIN_READ, VIX_E_DISK_INVALIDDISK, "encrypted");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_are_named_and_described_as_on_esx),
        TEST(redo_logs_over_every_kind_of_vmfs_disk),
        TEST(sectors_of_a_child_hide_those_below_and_no_others),
        TEST(redo_log_that_was_not_closed_is_named),
        TEST(chains_over_se_sparse_links_are_read_and_children_written),
        TEST(custom_disk_is_the_sum_of_its_extents),
        TEST(partitioned_disk_reads_and_writes_its_parts),
        TEST(raw_device_mappings_over_files),
        TEST(configuration_decides_about_change_tracking),
        TEST(child_of_a_tracked_disk_is_written),
        TEST(encrypted_and_digest_disks_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

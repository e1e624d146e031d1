/* SPDX-License-Identifier: BSD-3-Clause */
/* test_discard.c - giving space back, and writing zeros: on local disks of every type that can do it, beside a model of
 * what each sector has to hold; what is given back is a hole of the file; the disk stays sound. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "kinds_util.h"
#include "ops/check.h"
#include "ops/ops.h"
#include "store/store_fault.h"
#include "vmdk/create.h"

#define CAPACITY 1101u
#define ROUNDS 120u

static struct err err;

/** What each sector holds: every byte of it. */
static uint8_t model[CAPACITY];

static void write_value(struct disk *d, uint64_t sector, uint64_t n, uint8_t value)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];

    memset(buf, value, n * SECTOR_SIZE);
    assert_int_equal(disk_write(d, sector, n, buf, &err), VIX_OK);
    memset(model + sector, value, n);
}

static struct disk *open_disk(struct store_fs *fs, uint32_t flags)
{
    struct disk *d = NULL;

    if (disk_open_local(fs, "/a/d.vmdk", flags, NULL, &d, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    return d;
}

/** A disk of a kind, its parent (if any) with data in two places. */
static struct disk *begin(struct store_fs *fs, const struct kind *kind)
{
    bool child = kind->parent != VIXDISKLIB_DISK_UNKNOWN;

    memset(model, 0, sizeof model);
    if (child) {
        struct disk *d = NULL;
        make_disk(fs, "/a/base.vmdk", kind->parent, CAPACITY, NULL);
        assert_int_equal(disk_open_local(fs, "/a/base.vmdk", 0, NULL, &d, &err), VIX_OK);
        write_value(d, 100, 400, 0xB1);
        write_value(d, CAPACITY - 9, 9, 0xB2);
        assert_int_equal(disk_close(d, &err), VIX_OK);
    }
    make_disk(fs, "/a/d.vmdk", kind->type, CAPACITY, child ? "/a/base.vmdk" : NULL);
    return open_disk(fs, 0);
}

static void compare(struct disk *d, const char *name, unsigned round)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];

    assert_int_equal(disk_read(d, 0, CAPACITY, buf, &err), VIX_OK);
    for (size_t i = 0; i < sizeof buf; i++) {
        if (buf[i] != model[i / SECTOR_SIZE]) {
            fail_msg("%s, round %u: byte %zu of sector %zu is %u, not %u", name, round, i % SECTOR_SIZE,
                     i / SECTOR_SIZE, buf[i], model[i / SECTOR_SIZE]);
        }
    }
}

/** What a discard has to leave of a range: zeros where the top link holds it, else what is there. */
static void discard_model(struct disk *d, uint64_t sector, uint64_t n)
{
    for (uint64_t i = sector; i < sector + n; i++) {
        struct disk_run run;
        assert_int_equal(d->ops->map(d, i, 1, 0, &run, &err), VIX_OK);
        if (run.present && run.depth == 0) {
            model[i] = 0;
        }
    }
}

static void step(struct disk *d)
{
    uint64_t sector = (uint64_t)rand() % CAPACITY;
    uint64_t n = min_u64((uint64_t)rand() % 300 + 1, CAPACITY - sector);

    switch (rand() % 4) {
    case 0:
        discard_model(d, sector, n);
        assert_int_equal(disk_discard(d, sector, n, &err), VIX_OK);
        break;
    case 1:
        assert_int_equal(ops_write_zeros(d, sector, n, &err), VIX_OK);
        memset(model + sector, 0, n);
        break;
    case 2:
        assert_int_equal(d->ops->flush(d, &err), VIX_OK);
        break;
    default:
        write_value(d, sector, n, (uint8_t)(rand() % 255 + 1));
    }
}

static void sectors_hold_what_they_must(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct store_fs *fs = store_fs_mem_new(&err);
        struct check_summary sum;
        assert_non_null(fs);
        struct disk *d = begin(fs, &kinds[i]);
        srand((unsigned)i + 1);
        for (unsigned round = 0; round < ROUNDS; round++) {
            step(d);
            compare(d, kinds[i].name, round);
        }
        assert_int_equal(disk_close(d, &err), VIX_OK);
        assert_int_equal(ops_check(fs, "/a/d.vmdk", CHECK_CHAIN, NULL, NULL, &sum, &err), VIX_OK);
        d = open_disk(fs, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        compare(d, kinds[i].name, ROUNDS);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        store_fs_mem_free(fs);
    }
}

/** Bytes of storage that the extents of a disk take. */
static uint64_t taken(struct disk *d)
{
    const struct link *top = disk_local_chain(d)->links[0];
    uint64_t sum = 0;

    for (size_t i = 0; i < top->extent_count; i++) {
        uint64_t bytes = 0;
        assert_int_equal(top->extents[i].store->ops->allocated(top->extents[i].store, &bytes, &err), VIX_OK);
        sum += bytes;
    }
    return sum;
}

static void space_is_given_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct store_fs *fs = store_fs_mem_new(&err);
        struct disk *d = begin(fs, &kinds[i]);
        assert_int_equal(disk_discard(d, 0, 0, &err), VIX_OK);
        uint64_t empty = taken(d);
        write_value(d, 0, 1024, 7);
        assert_int_equal(d->ops->flush(d, &err), VIX_OK);
        uint64_t full = taken(d);
        assert_true(full >= empty + 1024 * SECTOR_SIZE);
        assert_int_equal(disk_discard(d, 0, 1024, &err), VIX_OK);
        assert_int_equal(d->ops->flush(d, &err), VIX_OK);
        assert_true(taken(d) <= full - 1024 * SECTOR_SIZE + 2 * 65536); /* pages of the memory store at either end */
        memset(model, 0, 1024);
        compare(d, kinds[i].name, 0);
        write_value(d, 0, 1024, 8); /* into the same places */
        assert_int_equal(d->ops->flush(d, &err), VIX_OK);
        assert_true(taken(d) <= full);
        compare(d, kinds[i].name, 1);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        store_fs_mem_free(fs);
    }
}

/** Zeros over what a parent holds take no space for whole grains. */
static void zeros_over_a_parent_are_holes(void **state)
{
    struct store_fs *fs = store_fs_mem_new(&err);

    (void)state;
    struct disk *d = begin(fs, &kinds[KIND_CHILD]);
    assert_int_equal(ops_write_zeros(d, 0, CAPACITY, &err), VIX_OK);
    memset(model, 0, sizeof model);
    compare(d, "child", 0);
    assert_int_equal(d->ops->flush(d, &err), VIX_OK);
    assert_true(taken(d) < 256 * 1024);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    store_fs_mem_free(fs);
}

/** A child whose parent is not open: zeros are stored where it holds nothing, as the parent may hold data there. */
static void zeros_of_a_single_link_hide_its_parent(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].parent == VIXDISKLIB_DISK_UNKNOWN) {
            continue;
        }
        struct store_fs *fs = store_fs_mem_new(&err);
        struct disk *d = begin(fs, &kinds[i]);
        write_value(d, 256, 5, 3);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        d = open_disk(fs, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
        uint64_t grain = disk_local_chain(d)->links[0]->extents[0].x->grain_sectors;
        assert_true(d->parent_closed);
        assert_int_equal(ops_write_zeros(d, 128, 257, &err), grain == 1 ? VIX_OK : VIX_E_DISK_PARTIALCHAIN);
        assert_int_equal(ops_write_zeros(d, 128, 256, &err), VIX_OK);
        assert_int_equal(ops_write_zeros(d, 1024, CAPACITY - 1024, &err), VIX_OK);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        memset(model + 128, 0, grain == 1 ? 257 : 256);
        memset(model + 1024, 0, CAPACITY - 1024);
        d = open_disk(fs, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_false(d->parent_closed);
        compare(d, kinds[i].name, 0);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        store_fs_mem_free(fs);
    }
}

/** Nothing is changed where nothing is there: not even the content ID. */
static void holes_are_left_alone(void **state)
{
    struct store_fs *fs = store_fs_mem_new(&err);

    (void)state;
    struct disk *d = begin(fs, &kinds[KIND_SPARSE]);
    uint32_t cid = disk_local_chain(d)->links[0]->desc->cid;
    uint64_t empty = taken(d);
    assert_int_equal(disk_discard(d, 3, CAPACITY - 5, &err), VIX_OK);
    assert_int_equal(ops_write_zeros(d, 0, CAPACITY, &err), VIX_OK);
    assert_int_equal(taken(d), empty);
    assert_int_equal(disk_local_chain(d)->links[0]->desc->cid, cid);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    store_fs_mem_free(fs);
}

/** Holes are on stable storage when close returns, whether anything else was changed or not. */
static void close_flushes_holes(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct store_fs *mem = store_fs_mem_new(&err);
        struct store_fs *fault = store_fault_new(mem, &err);
        struct store_fault_rule broken = {.ops = FAULT_FLUSH, .nth = 1, .errnum = EIO, .stays = true};
        struct disk *d = begin(fault, &kinds[i]);
        write_value(d, 0, 1024, 9);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        d = open_disk(fault, 0);
        assert_int_equal(ops_write_zeros(d, 128, 256, &err), VIX_OK);
        store_fault_set(fault, &broken);
        assert_int_equal(disk_close(d, &err), VIX_E_FILE_ERROR);
        assert_true(store_fault_has_hit(fault));
        store_fault_free(fault);
        store_fs_mem_free(mem);
    }
}

static void what_cannot_be_is_refused(void **state)
{
    struct store_fs *fs = store_fs_mem_new(&err);
    struct kind stream = {"streamOptimized", VIXDISKLIB_DISK_STREAM_OPTIMIZED, VIXDISKLIB_DISK_UNKNOWN};

    (void)state;
    struct disk *d = begin(fs, &stream);
    assert_int_equal(disk_discard(d, 0, 0, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(disk_discard(d, 0, 1, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(ops_write_zeros(d, 0, CAPACITY, &err), VIX_OK); /* it has nothing but holes */
    assert_int_equal(disk_close(d, &err), VIX_OK);
    d = open_disk(fs, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_int_equal(disk_discard(d, 0, 1, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(ops_write_zeros(d, 0, 1, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    store_fs_mem_free(fs);

    fs = store_fs_mem_new(&err);
    d = begin(fs, &kinds[KIND_SPARSE]);
    assert_int_equal(disk_discard(d, CAPACITY, 1, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_discard(d, 1, UINT64_MAX, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(ops_write_zeros(d, CAPACITY - 1, 2, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    store_fs_mem_free(fs);
}

/** A file system that makes no holes: nothing is given back, and zeros are written. One that fails: its code. */
static void file_systems_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct store_fs *mem = store_fs_mem_new(&err);
        struct store_fs *fault = store_fault_new(mem, &err);
        struct store_fault_rule no_holes = {.ops = FAULT_PUNCH, .nth = 1, .errnum = EOPNOTSUPP, .stays = true};
        struct store_fault_rule broken = {.ops = FAULT_PUNCH, .nth = 1, .errnum = EIO, .stays = true};
        struct disk *d = begin(fault, &kinds[i]);
        write_value(d, 50, 600, 9);
        store_fault_set(fault, &no_holes);
        assert_int_equal(disk_discard(d, 60, 500, &err), VIX_E_NOT_SUPPORTED);
        compare(d, kinds[i].name, 0);
        assert_int_equal(ops_write_zeros(d, 60, 500, &err), VIX_OK);
        memset(model + 60, 0, 500);
        compare(d, kinds[i].name, 1);
        store_fault_set(fault, &broken);
        assert_int_equal(disk_discard(d, 50, 600, &err), VIX_E_FILE_ERROR);
        assert_int_equal(ops_write_zeros(d, 50, 600, &err), VIX_E_FILE_ERROR);
        compare(d, kinds[i].name, 2);
        store_fault_set(fault, NULL);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        store_fault_free(fault);
        store_fs_mem_free(mem);
    }
}

/** A raw image whose last sector is not whole. */
static void raw_images_too(void **state)
{
    struct store_fs *fs = store_fs_mem_new(&err);
    uint8_t buf[1024];
    struct store *s = NULL;
    struct disk *d = NULL;

    (void)state;
    memset(buf, 'x', sizeof buf);
    assert_int_equal(fs->ops->create(fs, "r", 0, 0600, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, buf, 1000, 0, &err), VIX_OK);
    store_close(s);
    assert_int_equal(disk_open_raw(fs, "r", 0, &d, &err), VIX_OK);
    assert_int_equal(disk_discard(d, 1, 1, &err), VIX_OK);
    assert_int_equal(disk_read(d, 0, 2, buf, &err), VIX_OK);
    for (size_t i = 0; i < sizeof buf; i++) {
        assert_int_equal(buf[i], i < 512 ? 'x' : 0);
    }
    assert_int_equal(ops_write_zeros(d, 0, 2, &err), VIX_OK);
    assert_int_equal(disk_read(d, 0, 1, buf, &err), VIX_OK);
    assert_int_equal(buf[0], 0);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    store_fs_mem_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sectors_hold_what_they_must),   cmocka_unit_test(space_is_given_back),
        cmocka_unit_test(zeros_over_a_parent_are_holes), cmocka_unit_test(zeros_of_a_single_link_hide_its_parent),
        cmocka_unit_test(holes_are_left_alone),          cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(file_systems_may_fail),         cmocka_unit_test(raw_images_too),
        cmocka_unit_test(close_flushes_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at whole disks: which chunks hold data, and whether two disks are equal; against plain arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops.h"

static struct store_fs *fs;
static struct err err;

/** A disk whose map and bytes are arrays of the test. */
struct model {
    struct disk base;
    uint64_t nsectors;
    uint8_t *data;   /* a byte for each sector: what all its bytes are */
    uint8_t *mapped; /* whether the map calls it data; what it does not must be 0 in data */
    bool jumpy;      /* maps give runs shorter than they could be */
};

static VixError model_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *e)
{
    const struct model *m = (const struct model *)d;

    (void)e;
    for (uint64_t i = 0; i < nsectors; i++) {
        memset((uint8_t *)buf + i * 512, m->data[sector + i], 512);
    }
    return VIX_OK;
}

static VixError model_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                          struct err *e)
{
    const struct model *m = (const struct model *)d;
    uint64_t n = 1;

    (void)flags, (void)e;
    assert_true(sector + nsectors <= m->nsectors);
    while (n < nsectors && m->mapped[sector + n] == m->mapped[sector] && !(m->jumpy && rand() % 50 == 0)) {
        n++;
    }
    *ret_run = (struct disk_run){.sector = sector, .nsectors = n, .zero = m->mapped[sector] == 0};
    return VIX_OK;
}

static VixError model_close(struct disk *d, struct err *e)
{
    struct model *m = (struct model *)d;
    (void)e;
    free(m->data);
    free(m->mapped);
    return VIX_OK;
}

static const struct disk_ops model_ops = {
    .read = model_read, .map = model_map, .map_many = disk_map_one, .close = model_close};

static void make_model(struct model *m, uint64_t nsectors)
{
    *m = (struct model){.base = {.ops = &model_ops, .path = (char *)(uintptr_t) "model", .capacity = nsectors},
                        .nsectors = nsectors};
    m->data = calloc(nsectors, 1);
    m->mapped = calloc(nsectors, 1);
    assert_true(m->data != NULL && m->mapped != NULL);
}

/** Runs of data, of mapped zeros, and nothing. */
static void fill_model(struct model *m, unsigned longest)
{
    for (uint64_t pos = 0; pos < m->nsectors;) {
        uint64_t n = (uint64_t)rand() % longest + 1;
        int kind = rand() % 4;
        for (uint64_t end = pos + n; pos < end && pos < m->nsectors; pos++) {
            m->mapped[pos] = kind > 1;
            m->data[pos] = (uint8_t)(kind > 2 ? rand() % 3 : 0);
        }
    }
}

static uint64_t compare(struct disk *a, struct disk *b, uint64_t *ret_first)
{
    uint64_t count = 0;
    assert_int_equal(ops_compare(a, b, (struct ops_progress){0}, ret_first, &count, &err), VIX_OK);
    return count;
}

static void differences_are_counted(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct model a;
        struct model b;
        uint64_t want = 0;
        uint64_t want_first = UINT64_MAX;
        uint64_t first = 0;
        srand(round);
        make_model(&a, (uint64_t)rand() % 9000 + 1);
        make_model(&b, round % 3 == 0 ? a.nsectors : (uint64_t)rand() % 9000 + 1);
        fill_model(&a, 700);
        fill_model(&b, 700);
        a.jumpy = round % 2 == 0;
        uint64_t most = a.nsectors > b.nsectors ? a.nsectors : b.nsectors;
        for (uint64_t i = 0; i < most; i++) {
            if (round % 4 == 0 && i < a.nsectors && i < b.nsectors && rand() % 500 > 0) {
                b.data[i] = a.data[i];
                b.mapped[i] = b.mapped[i] || b.data[i] != 0;
            }
            uint8_t in_a = i < a.nsectors ? a.data[i] : 0;
            uint8_t in_b = i < b.nsectors ? b.data[i] : 0;
            want += in_a != in_b;
            want_first = in_a != in_b && want_first == UINT64_MAX ? i : want_first;
        }
        assert_int_equal(compare(&a.base, &b.base, &first), want);
        assert_int_equal(first, want_first);
        assert_int_equal(compare(&b.base, &a.base, &first), want);
        assert_int_equal(first, want_first);
        assert_int_equal(compare(&a.base, &a.base, &first), 0);
        (void)disk_close(&a.base, NULL);
        (void)disk_close(&b.base, NULL);
    }
}

static bool stop_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    ++*(unsigned *)ctx;
    return false;
}

static VixError broken_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *e)
{
    (void)d, (void)nsectors, (void)buf;
    return err_set(e, VIX_E_FILE_ERROR, "sector %d is broken", (int)sector);
}

static void comparing_can_stop_and_fail(void **state)
{
    static const struct disk_ops broken_ops = {
        .read = broken_read, .map = model_map, .map_many = disk_map_one, .close = model_close};
    struct model a;
    uint64_t first = 17;
    uint64_t count = 18;
    unsigned calls = 0;

    (void)state;
    make_model(&a, 20000);
    memset(a.mapped, 1, a.nsectors);
    struct ops_progress p = {.func = stop_at_once, .ctx = &calls};
    assert_int_equal(ops_compare(&a.base, &a.base, p, &first, &count, &err), VIX_E_CANCELLED);
    assert_int_equal(calls, 1);
    a.base.ops = &broken_ops;
    p.func = NULL;
    assert_int_equal(ops_compare(&a.base, &a.base, p, &first, &count, &err), VIX_E_FILE_ERROR);
    assert_non_null(strstr(err.text, "is broken"));
    assert_true(first == 17 && count == 18);
    (void)disk_close(&a.base, NULL);
}

/* ---- allocated blocks ---- */

struct range {
    uint64_t start, end, chunk;
    uint64_t next; /* chunks before it are told of or known to be free */
    bool *told;
};

static void take_block(struct range *b, uint64_t sector, uint64_t nsectors)
{
    assert_true(nsectors > 0 && sector >= b->start && sector + nsectors <= b->end);
    assert_int_equal((sector - b->start) % b->chunk, 0);
    assert_true((sector + nsectors - b->start) % b->chunk == 0 || sector + nsectors == b->end);
    assert_true(b->next == b->start || sector > b->next); /* neighbours are one block */
    b->next = sector + nsectors;
    for (uint64_t i = sector; i < sector + nsectors; i += b->chunk) {
        b->told[(i - b->start) / b->chunk] = true;
    }
}

/** The blocks of a range, in memory that is no larger than it has to be. */
static VixDiskLibBlock *allocated(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk, uint32_t *ret_n)
{
    uint64_t most = ops_allocated_most(nsectors, chunk);
    VixDiskLibBlock *blocks = calloc(most, sizeof blocks[0]);

    assert_non_null(blocks);
    assert_int_equal(ops_allocated(d, sector, nsectors, chunk, blocks, ret_n, &err), VIX_OK);
    assert_in_range(*ret_n, 0, most);
    return blocks;
}

static bool chunk_has_data(const struct model *m, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        if (m->mapped[i]) {
            return true;
        }
    }
    return false;
}

static void allocated_chunks(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct model m;
        struct range b;
        uint32_t n = 0;
        srand(round);
        make_model(&m, (uint64_t)rand() % 20000 + 300);
        fill_model(&m, round % 2 == 0 ? 900 : 40);
        m.jumpy = round % 3 == 0;
        b.chunk = round % 5 == 0 ? 64 : 1 + (uint64_t)rand() % 300;
        b.start = b.chunk * ((uint64_t)rand() % (m.nsectors / b.chunk + 1));
        b.start = b.start >= m.nsectors ? 0 : b.start;
        b.end = b.start + (uint64_t)rand() % (m.nsectors - b.start) + 1;
        b.next = b.start;
        b.told = calloc((b.end - b.start) / b.chunk + 1, sizeof *b.told);
        VixDiskLibBlock *blocks = allocated(&m.base, b.start, b.end - b.start, b.chunk, &n);
        for (uint32_t i = 0; i < n; i++) {
            take_block(&b, blocks[i].offset, blocks[i].length);
        }
        free(blocks);
        for (uint64_t i = b.start; i < b.end; i += b.chunk) {
            uint64_t to = i + b.chunk < b.end ? i + b.chunk : b.end;
            assert_int_equal(b.told[(i - b.start) / b.chunk], chunk_has_data(&m, i, to));
        }
        free(b.told);
        (void)disk_close(&m.base, NULL);
    }
}

static VixError broken_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                           struct err *e)
{
    return sector > 0 ? err_set(e, VIX_E_DISK_NEEDSREPAIR, "the table of sector %d is broken", (int)sector)
                      : model_map(d, sector, nsectors, flags, ret_run, e);
}

static void allocated_can_fail(void **state)
{
    static const struct disk_ops broken_ops = {.map = broken_map, .map_many = disk_map_one, .close = model_close};
    struct model m;
    VixDiskLibBlock blocks[4];
    uint32_t n = 17;

    (void)state;
    make_model(&m, 1000);
    m.base.ops = &broken_ops;
    m.mapped[10] = m.mapped[900] = 1;
    assert_int_equal(ops_allocated(&m.base, 0, 1000, 128, blocks, &n, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_non_null(strstr(err.text, "is broken"));
    assert_int_equal(n, 17);
    (void)disk_close(&m.base, NULL);
}

/* ---- on a real disk ---- */

static struct disk *make_disk(VixDiskLibDiskType type, const char *path, uint64_t capacity, const char *parent,
                              uint32_t parent_cid)
{
    const struct create_params p = {.type = type,
                                    .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                    .capacity = capacity,
                                    .parent_hint = parent,
                                    .parent_cid = parent_cid};
    struct disk *d = NULL;
    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, path, 0, NULL, &d, &err), VIX_OK);
    return d;
}

static struct disk *make_sparse(const char *path, uint64_t capacity, const char *parent, uint32_t parent_cid)
{
    return make_disk(VIXDISKLIB_DISK_MONOLITHIC_SPARSE, path, capacity, parent, parent_cid);
}

/** Whether there is data, sector by sector, as map tells. */
static void look_singly(struct disk *d, uint64_t sector, uint64_t end, bool *data)
{
    while (sector < end) {
        struct disk_run run;
        assert_int_equal(d->ops->map(d, sector, end - sector, EXTENT_MAP_STATUS | EXTENT_MAP_FLAT_HOLES, &run, &err),
                         VIX_OK);
        assert_in_range(run.nsectors, 1, end - sector);
        for (uint64_t i = 0; i < run.nsectors; i++) {
            *data++ = !run.zero;
        }
        sector += run.nsectors;
    }
}

static void compare_with_many(struct disk *d, uint64_t sector, uint64_t end, const bool *data)
{
    struct extent_units units;

    while (sector < end) {
        assert_int_equal(d->ops->map_many(d, sector, end - sector, &units, &err), VIX_OK);
        assert_in_range(units.count, 1, EXTENT_UNITS_MAX);
        assert_in_range(units.unit_sectors, 1, end - sector);
        for (unsigned i = 0; i < units.count; i++) {
            for (uint64_t k = 0; k < units.unit_sectors; k++) {
                assert_int_equal(units.data[i / 64] >> i % 64 & 1, *data++);
            }
        }
        if (units.count % 64 != 0) {
            assert_int_equal(units.data[units.count / 64] >> units.count % 64, 0);
        }
        sector += units.count * units.unit_sectors;
    }
    assert_int_equal(sector, end);
}

/** The same disk, opened anew: its tables are not in memory. */
static struct disk *reopened(struct disk *d, uint32_t flags)
{
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, "many.vmdk", flags, NULL, &d, &err), VIX_OK);
    return d;
}

/** Runs that are asked for many at once are those that are asked for singly: any range, also while grains are added,
 * past pages of tables, extents, and the last grain, which is a part of one; tables in memory, and not. */
static void many_runs_at_once(void **state)
{
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE,
                                               VIXDISKLIB_DISK_VMFS_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT};
    const uint64_t capacity = 3 * 8192 * 128 + 128 * 5 + 9;
    bool *data = calloc(capacity, 1);
    uint8_t buf[512 * 300];

    (void)state;
    memset(buf, 1, sizeof buf);
    for (unsigned t = 0; t < 4; t++) {
        fs = store_fs_mem_new(&err);
        srand(t);
        struct disk *d = make_disk(types[t], "many.vmdk", capacity, NULL, 0);
        for (unsigned round = 0; round < 30; round++) {
            for (unsigned i = 0; i < 40; i++) {
                uint64_t n = 1 + (uint64_t)rand() % 300;
                uint64_t at = i == 0 ? capacity - n : (uint64_t)rand() % (round % 3 == 0 ? capacity - n : 60000);
                assert_int_equal(disk_write(d, at, n, buf, &err), VIX_OK);
            }
            d = round % 10 == 9 ? reopened(d, 0) : d;
            uint64_t from = round % 2 == 0 ? 0 : (uint64_t)rand() % 70000;
            uint64_t end = round % 5 == 0 ? capacity : from + 1 + (uint64_t)rand() % (capacity - from);
            look_singly(d, from, end, data);
            compare_with_many(d, from, end, data);
        }
        look_singly(d, 0, capacity, data);
        d = reopened(d, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        compare_with_many(d, 0, capacity, data);
        assert_int_equal(disk_close(d, &err), VIX_OK);
        store_fs_mem_free(fs);
    }
    free(data);
}

static void chains_are_seen_as_one(void **state)
{
    uint8_t buf[512] = {1};
    uint64_t first = 0;
    uint32_t n = 0;

    (void)state;
    fs = store_fs_mem_new(&err);
    struct disk *base = make_sparse("base.vmdk", 1 << 20, NULL, 0);
    for (uint64_t s = 0; s < 1 << 20; s += 4096) {
        assert_int_equal(disk_write(base, s, 1, buf, &err), VIX_OK);
    }
    uint32_t cid = disk_local_chain(base)->links[0]->desc->cid;
    assert_int_equal(disk_close(base, &err), VIX_OK);
    struct disk *child = make_sparse("child.vmdk", 1 << 20, "base.vmdk", cid);
    for (uint64_t s = 2048; s < 1 << 20; s += 4096) {
        assert_int_equal(disk_write(child, s, 1, buf, &err), VIX_OK);
    }
    VixDiskLibBlock *blocks = allocated(child, 0, 1 << 20, 128, &n);
    assert_int_equal(n, 2 * 256);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(blocks[i].offset, (uint64_t)i * 2048);
        assert_int_equal(blocks[i].length, 128);
    }
    free(blocks);
    assert_int_equal(disk_close(child, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, "base.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &base, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, "child.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &child, &err), VIX_OK);
    assert_int_equal(compare(base, child, &first), 256);
    assert_int_equal(first, 2048);
    assert_int_equal(disk_close(base, &err), VIX_OK);
    assert_int_equal(disk_close(child, &err), VIX_OK);
    store_fs_mem_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_counted), cmocka_unit_test(comparing_can_stop_and_fail),
        cmocka_unit_test(allocated_chunks),        cmocka_unit_test(allocated_can_fail),
        cmocka_unit_test(chains_are_seen_as_one),  cmocka_unit_test(many_runs_at_once),
    };
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_esx_hostile.c - COWD and SE sparse extents whose metadata was changed at random: whatever a file says, opening,
 * mapping, reading and writing end, with data of the right length or a failure that has a sentence. What they must not
 * touch is for the sanitizers to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sesparse_util.h"
#include "sparse_util.h"

#define CAPACITY 9001u
#define ROUNDS 400

typedef VixError extent_open_func(const struct extent_open_params *p, struct extent **ret_x, struct err *err);

static struct store_fs *base;

static int end(void **state)
{
    (void)state;
    store_fs_mem_free(base);
    return 0;
}

static struct store *new_file(void)
{
    struct store *st = NULL;
    base = store_fs_mem_new(NULL);
    assert_non_null(base);
    assert_int_equal(base->ops->create(base, "x", 0, 0600, &st, NULL), VIX_OK);
    return st;
}

/** A number that is likely to hurt. */
static uint64_t nasty(uint64_t *seed, uint64_t old)
{
    static const uint64_t values[] = {0, 1, 2, 0x7F, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, UINT64_MAX, UINT64_C(1) << 63};
    switch (rnd(seed) % 4) {
    case 0:
        return values[rnd(seed) % (sizeof values / sizeof values[0])];
    case 1:
        return old + rnd(seed) % 5 - 2;
    case 2:
        return old ^ UINT64_C(1) << rnd(seed) % 64;
    default:
        return rnd(seed) % 20000;
    }
}

/** Changes a few words of width bytes among the first nbytes of places. */
static void damage(struct store *st, const uint64_t (*places)[2], size_t nplaces, unsigned width, uint64_t *seed)
{
    for (uint64_t n = 1 + rnd(seed) % 3; n > 0; n--) {
        const uint64_t *place = places[rnd(seed) % nplaces];
        uint64_t off = place[0] + rnd(seed) % (place[1] / width) * width;
        uint8_t bytes[8] = {0};
        assert_int_equal(store_read(st, bytes, width, off, NULL), VIX_OK);
        put_le64(bytes, nasty(seed, get_le64(bytes)));
        assert_int_equal(store_write(st, bytes, width, off, NULL), VIX_OK);
    }
}

static void failed_with_words(VixError e, const struct err *err)
{
    assert_true(e == VIX_OK || (e == err->code && err->text[0] != '\0'));
}

static void map_all(struct extent *x, uint32_t flags)
{
    struct extent_run run;
    struct err err;
    unsigned failures = 0;

    for (uint64_t sector = 0; sector < x->nsectors && failures < 100; sector += run.nsectors) {
        err_init(&err);
        VixError e = x->ops->map(x, sector, x->nsectors - sector, flags, &run, &err);
        failed_with_words(e, &err);
        if (e != VIX_OK) {
            failures++;
            run.nsectors = 1;
        }
        assert_true(run.nsectors > 0 && run.nsectors <= x->nsectors - sector);
    }
}

static void use(struct store *st, extent_open_func *open, bool writable, uint64_t *seed)
{
    struct extent_open_params p = {.store = st, .nsectors = CAPACITY, .writable = writable, .table_cache_bytes = 1};
    static uint8_t buf[600 * 512];
    struct extent *x = NULL;
    struct err err;

    err_init(&err);
    VixError e = open(&p, &x, &err);
    failed_with_words(e, &err);
    if (e != VIX_OK) {
        assert_null(x);
        return;
    }
    map_all(x, 0);
    map_all(x, EXTENT_MAP_STATUS);
    map_all(x, EXTENT_MAP_HOLES);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t sector = rnd(seed) % CAPACITY, n = min_u64(1 + rnd(seed) % 600, CAPACITY - sector);
        err_init(&err);
        e = writable && i % 2 == 0 ? x->ops->write(x, sector, n, buf, &err) : ext_read(x, sector, n, buf, &err);
        failed_with_words(e, &err);
    }
    err_init(&err);
    e = x->ops->close(x, &err);
    failed_with_words(e, &err);
}

static void torture(extent_open_func *open, const uint64_t (*places)[2], size_t nplaces, unsigned width, bool may_write)
{
    const char *env = getenv("VIXDISK_TEST_SEED");
    uint64_t seed = env != NULL ? strtoull(env, NULL, 0) | 1 : 0xBADF00D;

    print_message("seed 0x%llx\n", (unsigned long long)seed);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct store_fs *fs = store_fs_mem_clone(base, NULL);
        struct store *st = NULL;
        assert_non_null(fs);
        assert_int_equal(fs->ops->open(fs, "x", STORE_WRITE, &st, NULL), VIX_OK);
        damage(st, places, nplaces, width, &seed);
        if (rnd(&seed) % 8 == 0) {
            uint64_t len;
            assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
            assert_int_equal(st->ops->truncate(st, rnd(&seed) % (len + 1), NULL), VIX_OK);
        }
        use(st, open, false, &seed);
        if (may_write) {
            use(st, open, true, &seed);
            use(st, open, true, &seed);
        }
        store_close(st);
        store_fs_mem_free(fs);
    }
}

static void damaged_cowd_extents(void **state)
{
    static const uint64_t places[][2] = {{0, 32}, {4 * 512, 12}, {5 * 512, 400}, {1648, 4}};
    struct extent *x = NULL;
    uint8_t data[512];

    (void)state;
    struct store *st = new_file();
    assert_int_equal(extent_cowd_create(st, CAPACITY, NULL), VIX_OK);
    struct extent_open_params p = {.store = st, .writable = true};
    assert_int_equal(extent_cowd_open(&p, &x, NULL), VIX_OK);
    memset(data, 1, sizeof data);
    for (uint64_t s = 0; s < 100; s += 2) {
        assert_int_equal(x->ops->write(x, s, 1, data, NULL), VIX_OK);
        assert_int_equal(x->ops->write(x, 4096 + s, 1, data, NULL), VIX_OK);
    }
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    store_close(st);
    torture(extent_cowd_open, places, sizeof places / sizeof places[0], 4, true);
}

static void damaged_se_sparse_extents(void **state)
{
    uint64_t places[4][2] = {{0, 208}, {SE_VOLATILE * 512, 32}, {SE_DIRECTORY * 512, 16}, {0, 400}};
    uint8_t data[4096];

    (void)state;
    struct se_image im = se_build(new_file(), CAPACITY, 4);
    memset(data, 1, sizeof data);
    for (uint64_t g = 0; g < 50; g += 2) {
        se_put_grain(&im, g, data);
    }
    places[3][0] = im.tables * 512;
    store_close(im.st);
    torture(extent_sesparse_open, (const uint64_t(*)[2])places, 4, 8, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(damaged_cowd_extents, end),
        cmocka_unit_test_teardown(damaged_se_sparse_extents, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sparse_threads.c - many threads on one sparse extent: writers in the same grains, in the same sectors,
 * readers and flushes among them. Meant for the thread sanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "sparse_util.h"

#define NTHREADS 8u
#define CAPACITY 12000u
#define ROUNDS 150u
#define SHARED 600u /* sectors at the end that all threads write */

struct worker {
    struct extent *x;
    struct store *st;
    unsigned number; /* 0 .. NTHREADS - 1 */
    unsigned failures;
    uint32_t *last; /* of each sector of its own: the number of the last write, 0: none */
};

static void stamp(uint8_t *buf, uint64_t sector, uint64_t who, uint64_t number)
{
    for (unsigned i = 0; i < 512; i += 16) {
        put_le64(buf + i, sector << 8 | who);
        put_le64(buf + i + 8, number);
    }
}

static VixError read_parent(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)ctx, (void)err;
    for (uint64_t i = 0; i < nsectors; i++) {
        stamp((uint8_t *)buf + i * 512, sector + i, 0xFF, 0);
    }
    return VIX_OK;
}

/* A sector as someone may have left it. */
static bool is_whole(const uint8_t *buf, uint64_t sector)
{
    uint8_t expected[512];
    uint64_t who = get_le64(buf) & 0xFF;
    if (who >= NTHREADS && who != 0xFF) {
        return false;
    }
    stamp(expected, sector, who, get_le64(buf + 8));
    return memcmp(buf, expected, 512) == 0;
}

/* Writes a few sectors of its own: each thread has every NTHREADS-th piece of 3 sectors, so all share grains. */
static void write_own(struct worker *w, uint64_t *seed, uint32_t number)
{
    uint8_t buf[3 * 512], got[3 * 512];
    uint64_t pieces = (CAPACITY - SHARED) / 3 / NTHREADS;
    uint64_t sector = (rnd(seed) % pieces * NTHREADS + w->number) * 3;
    for (uint64_t i = 0; i < 3; i++) {
        stamp(buf + i * 512, sector + i, w->number, number);
    }
    if (w->x->ops->write(w->x, sector, 3, buf, NULL) != VIX_OK || ext_read(w->x, sector, 3, got, NULL) != VIX_OK ||
        memcmp(buf, got, sizeof buf) != 0) {
        w->failures++;
    }
    w->last[sector] = number;
}

static void write_shared(struct worker *w, uint64_t *seed, uint32_t number)
{
    static _Thread_local uint8_t buf[SHARED * 512];
    uint64_t first = CAPACITY - SHARED + rnd(seed) % SHARED;
    uint64_t n = min_u64(1 + rnd(seed) % SHARED, CAPACITY - first);
    for (uint64_t i = 0; i < n; i++) {
        stamp(buf + i * 512, first + i, w->number, number);
    }
    w->failures += w->x->ops->write(w->x, first, n, buf, NULL) != VIX_OK;
}

static void read_anything(struct worker *w, uint64_t *seed)
{
    uint8_t buf[20 * 512];
    uint64_t first = rnd(seed) % (CAPACITY - SHARED - 20);
    if (ext_read(w->x, first, 20, buf, NULL) != VIX_OK) {
        w->failures++;
        return;
    }
    for (uint64_t i = 0; i < 20; i++) {
        w->failures += !is_whole(buf + i * 512, first + i);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t seed = 0x1234567 + w->number;

    for (uint32_t n = 1; n <= ROUNDS; n++) {
        write_own(w, &seed, n);
        if (n % 4 == 0) {
            write_shared(w, &seed, n);
        }
        read_anything(w, &seed);
        if (n % 50 == w->number) {
            w->failures += w->x->ops->flush(w->x, NULL) != VIX_OK;
        }
    }
    return NULL;
}

static struct extent *must_open(struct store *st, bool writable)
{
    struct extent_open_params p = {.store = st, .writable = writable, .table_cache_bytes = 1};
    struct extent *x = NULL;
    assert_int_equal(open_either(&p, &x, NULL), VIX_OK);
    x->below.read = read_parent;
    return x;
}

static void check_result(struct store *st, const struct worker *w)
{
    uint8_t *all = malloc(CAPACITY * 512), expected[512];
    struct extent *x = must_open(st, false);

    assert_non_null(all);
    assert_int_equal(ext_read(x, 0, CAPACITY, all, NULL), VIX_OK);
    for (uint64_t s = 0; s < CAPACITY; s++) {
        assert_true(is_whole(all + s * 512, s));
        uint64_t who = s / 3 % NTHREADS, piece = s - s % 3;
        if (s < (CAPACITY - SHARED) / 3 / NTHREADS * NTHREADS * 3) {
            uint32_t number = w[who].last[piece];
            stamp(expected, s, number > 0 ? who : 0xFF, number);
            assert_memory_equal(all + s * 512, expected, 512);
        }
    }
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    free(all);
}

static void run_threads(const struct layout *l)
{
    struct store_fs *fs = store_fs_mem_new(NULL);
    struct store *st = NULL;
    struct worker w[NTHREADS];
    pthread_t id[NTHREADS];

    assert_non_null(fs);
    assert_int_equal(fs->ops->create(fs, "disk", 0, 0600, &st, NULL), VIX_OK);
    build(st, l);
    struct extent *x = must_open(st, true);
    for (unsigned i = 0; i < NTHREADS; i++) {
        w[i] = (struct worker){.x = x, .st = st, .number = i, .last = calloc(CAPACITY, sizeof(uint32_t))};
        assert_non_null(w[i].last);
        assert_int_equal(pthread_create(&id[i], NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_join(id[i], NULL), 0);
        assert_int_equal(w[i].failures, 0);
    }
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_true(check_file(st) > CAPACITY / max_u64(l->grain, 4) / 2);
    check_result(st, w);
    for (unsigned i = 0; i < NTHREADS; i++) {
        free(w[i].last);
    }
    store_close(st);
    store_fs_mem_free(fs);
}

static void threads_share_grains_and_lose_nothing(void **state)
{
    (void)state;
    run_threads(&(struct layout){.capacity = CAPACITY, .grain = 128, .gtes = 512, .version = 1});
    run_threads(&(struct layout){.capacity = CAPACITY, .grain = 8, .gtes = 128, .version = 1});
}

static void threads_make_missing_tables_once(void **state)
{
    (void)state;
    run_threads(&(struct layout){.capacity = CAPACITY, .grain = 16, .gtes = 128, .version = 1, .missing_gts = 1});
    run_threads(&(struct layout){.cowd = true, .capacity = CAPACITY, .grain = 1});
    run_threads(&(struct layout){.cowd = true, .capacity = CAPACITY, .grain = 2});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_grains_and_lose_nothing),
        cmocka_unit_test(threads_make_missing_tables_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

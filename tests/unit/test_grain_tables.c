/* SPDX-License-Identifier: BSD-3-Clause */
/* test_grain_tables.c - the cache of table entries against a plain array: loading, eviction, changes, snapshots,
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "vmdk/grain_tables.h"

#define NPAGES 40u
#define ZERO_PAGE 7u
#define BAD_PAGE 9u
#define NENTRIES ((uint64_t)NPAGES * GRAIN_PAGE_ENTRIES - 100)

struct file {
    unsigned width;
    bool broken; /* BAD_PAGE cannot be read */
    atomic_uint loads;
    uint8_t *bytes; /* the tables */
};

static uint64_t entry_of(uint64_t i)
{
    return (i >> GRAIN_PAGE_SHIFT) == ZERO_PAGE ? 0 : (i * 2654435761u) & 0x7FFFFFFF;
}

static VixError load(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    struct file *f = ctx;
    size_t len = (size_t)GRAIN_PAGE_ENTRIES * f->width;

    atomic_fetch_add(&f->loads, 1);
    if (f->broken && first_entry >> GRAIN_PAGE_SHIFT == BAD_PAGE) {
        return err_set(err, VIX_E_FILE_ERROR, "page cannot be read");
    }
    memcpy(buf, f->bytes + first_entry * f->width, len);
    return VIX_OK;
}

static void file_init(struct file *f, unsigned width)
{
    memset(f, 0, sizeof *f);
    f->width = width;
    f->bytes = calloc(NPAGES, (size_t)GRAIN_PAGE_ENTRIES * width);
    assert_non_null(f->bytes);
    for (uint64_t i = 0; i < NENTRIES; i++) {
        if (width == 4) {
            put_le32(f->bytes + i * 4, (uint32_t)entry_of(i));
        } else {
            put_le64(f->bytes + i * 8, entry_of(i) | entry_of(i) << 32);
        }
    }
}

static uint64_t bytes_of(unsigned pages, unsigned width)
{
    return pages * ((uint64_t)GRAIN_PAGE_ENTRIES * width + sizeof(struct grain_page));
}

static struct grain_tables *make_in(struct file *f, struct grain_cache *cache, unsigned pages)
{
    struct grain_tables *t = NULL;
    struct grain_tables_params p = {
        .entry_count = NENTRIES,
        .width = f->width,
        .cache = cache,
        .cache_bytes = bytes_of(pages, f->width),
        .load = load,
        .ctx = f,
    };
    assert_int_equal(grain_tables_new(&p, &t, NULL), VIX_OK);
    return t;
}

static struct grain_tables *make(struct file *f, unsigned pages)
{
    return make_in(f, NULL, pages);
}

/* Writes a snapshot into the file, as an extent does. */
static size_t write_back(struct grain_tables *t, struct file *f)
{
    struct grain_snapshot snap;
    uint64_t last = 0;

    assert_int_equal(grain_tables_snapshot(t, &snap, NULL), VIX_OK);
    for (size_t i = 0; i < snap.nsectors; i++) {
        assert_true(i == 0 || snap.first_entry[i] > last);
        last = snap.first_entry[i];
        memcpy(f->bytes + last * f->width, snap.bytes + i * GRAIN_TABLES_SECTOR, GRAIN_TABLES_SECTOR);
    }
    size_t n = snap.nsectors;
    grain_tables_snapshot_end(t, &snap, true);
    return n;
}

static void entries_are_those_of_the_file_whatever_was_evicted(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) { /* each width with a small bound and one that makes slabs */
        struct file f;
        unsigned width = kind % 2 == 0 ? 4 : 8, pages = kind < 2 ? 3 : 200;
        file_init(&f, width);
        struct grain_tables *t = make(&f, pages);
        uint32_t seed = 1;
        for (int n = 0; n < 400; n++) {
            seed = seed * 1103515245 + 12345;
            uint64_t i = ((uint64_t)seed * 977) % NENTRIES, v = 1;
            uint64_t expected = width == 4 ? entry_of(i) : entry_of(i) | entry_of(i) << 32;
            assert_int_equal(grain_tables_get(t, i, &v, NULL), VIX_OK);
            assert_true(v == expected);
        }
        assert_true(t->cache->npages <= min_u64(pages, NPAGES - 1));
        grain_tables_free(t);
        free(f.bytes);
    }
}

static void page_is_loaded_once_and_zeros_take_no_memory(void **state)
{
    struct file f;
    uint64_t v, first = (uint64_t)ZERO_PAGE << GRAIN_PAGE_SHIFT;

    (void)state;
    file_init(&f, 4);
    struct grain_tables *t = make(&f, 8);
    assert_int_equal(grain_tables_known_zeros(t, first), 0);
    assert_false(grain_tables_peek(t, first, &v));
    assert_int_equal(grain_tables_get(t, first + 5, &v, NULL), VIX_OK);
    assert_int_equal(v, 0);
    assert_int_equal(t->cache->npages, 0);
    assert_true(grain_tables_peek(t, first, &v));
    assert_int_equal(grain_tables_known_zeros(t, first), GRAIN_PAGE_ENTRIES);
    assert_int_equal(grain_tables_known_zeros(t, first + GRAIN_PAGE_ENTRIES - 1), 1);
    assert_int_equal(grain_tables_get(t, 3, &v, NULL), VIX_OK);
    assert_int_equal(grain_tables_get(t, 4, &v, NULL), VIX_OK);
    assert_int_equal(t->cache->npages, 1);
    assert_int_equal(atomic_load(&f.loads), 2);
    grain_tables_free(t);
    free(f.bytes);
}

static void page_that_cannot_be_read_fails_alone_and_can_be_tried_again(void **state)
{
    struct file f;
    struct err err;
    uint64_t v = 77, bad = (uint64_t)BAD_PAGE << GRAIN_PAGE_SHIFT;

    (void)state;
    file_init(&f, 4);
    f.broken = true;
    struct grain_tables *t = make(&f, 4);
    err_init(&err);
    assert_int_equal(grain_tables_get(t, bad, &v, &err), VIX_E_FILE_ERROR);
    assert_string_equal(err.text, "page cannot be read");
    assert_int_equal(grain_tables_set(t, bad - 1, 2, 5, 0, NULL), VIX_E_FILE_ERROR);
    assert_int_equal(grain_tables_get(t, bad - 1, &v, NULL), VIX_OK);
    assert_int_equal(v, 5);
    f.broken = false;
    assert_int_equal(grain_tables_get(t, bad, &v, NULL), VIX_OK);
    assert_int_equal(v, entry_of(bad));
    grain_tables_free(t);
    free(f.bytes);
}

static void changes_stay_until_they_are_written_and_come_back_from_the_file(void **state)
{
    (void)state;
    for (unsigned width = 4; width <= 8; width += 4) {
        struct file f;
        uint64_t v, edge = (uint64_t)(ZERO_PAGE + 1) << GRAIN_PAGE_SHIFT;
        file_init(&f, width);
        struct grain_tables *t = make(&f, 4);
        assert_int_equal(grain_tables_set(t, edge - 2, 4, 1000, 128, NULL), VIX_OK); /* a zero page and the next */
        assert_int_equal(grain_tables_set(t, NENTRIES - 1, 1, 42, 0, NULL), VIX_OK);
        assert_true(grain_tables_full(t)); /* 3 of 4 pages */
        for (uint64_t p = 0; p < NPAGES; p++) {
            assert_int_equal(grain_tables_get(t, p << GRAIN_PAGE_SHIFT, &v, NULL), VIX_OK);
        }
        for (uint64_t i = 0; i < 4; i++) {
            assert_int_equal(grain_tables_get(t, edge - 2 + i, &v, NULL), VIX_OK);
            assert_int_equal(v, 1000 + 128 * i);
        }
        assert_int_equal(write_back(t, &f), 3);
        assert_false(grain_tables_full(t));
        assert_int_equal(write_back(t, &f), 0);
        assert_int_equal(grain_tables_touch(t, 0, 1, NULL), VIX_OK);
        assert_int_equal(write_back(t, &f), 1);
        grain_tables_free(t);
        t = make(&f, 4);
        assert_int_equal(grain_tables_get(t, edge - 1, &v, NULL), VIX_OK);
        assert_int_equal(v, 1128);
        assert_int_equal(grain_tables_get(t, edge + 1, &v, NULL), VIX_OK);
        assert_int_equal(v, 1384);
        assert_int_equal(grain_tables_get(t, NENTRIES - 1, &v, NULL), VIX_OK);
        assert_int_equal(v, 42);
        grain_tables_free(t);
        free(f.bytes);
    }
}

static void what_changes_after_a_snapshot_belongs_to_the_next(void **state)
{
    struct file f;
    struct grain_snapshot snap;
    uint64_t v;

    (void)state;
    file_init(&f, 4);
    struct grain_tables *t = make(&f, 2);
    assert_int_equal(grain_tables_set(t, 10, 1, 111, 0, NULL), VIX_OK);
    assert_int_equal(grain_tables_snapshot(t, &snap, NULL), VIX_OK);
    assert_int_equal(grain_tables_set(t, 11, 1, 222, 0, NULL), VIX_OK);
    assert_int_equal(snap.nsectors, 1);
    assert_int_equal(get_le32(snap.bytes + 40), 111);
    assert_int_equal(get_le32(snap.bytes + 44), entry_of(11));
    for (uint64_t p = 1; p < NPAGES; p++) { /* pressure: the page must not go before it is written */
        assert_int_equal(grain_tables_get(t, p << GRAIN_PAGE_SHIFT, &v, NULL), VIX_OK);
    }
    assert_true(grain_tables_peek(t, 10, &v));
    assert_int_equal(v, 111);
    grain_tables_snapshot_end(t, &snap, false);
    assert_int_equal(grain_tables_snapshot(t, &snap, NULL), VIX_OK);
    assert_int_equal(snap.nsectors, 1);
    assert_int_equal(get_le32(snap.bytes + 40), 111);
    assert_int_equal(get_le32(snap.bytes + 44), 222);
    grain_tables_snapshot_end(t, &snap, false); /* not written: it comes again, whole */
    assert_int_equal(grain_tables_snapshot(t, &snap, NULL), VIX_OK);
    assert_int_equal(snap.nsectors, 1);
    assert_int_equal(get_le32(snap.bytes + 40), 111);
    grain_tables_snapshot_end(t, &snap, true);
    assert_int_equal(write_back(t, &f), 0);
    grain_tables_free(t);
    free(f.bytes);
}

static void many_entries_are_compared_at_once_within_a_page(void **state)
{
    struct file f;
    uint64_t n = 99, v, zero = (uint64_t)ZERO_PAGE << GRAIN_PAGE_SHIFT;

    (void)state;
    file_init(&f, 4);
    struct grain_tables *t = make(&f, 4);
    assert_false(grain_tables_match(t, 5, 10, 0, 0, &n)); /* not in memory yet */
    assert_false(grain_tables_match_range(t, 5, 10, 0, UINT32_MAX, &n));
    assert_int_equal(grain_tables_set(t, 100, 50, 1000, 128, NULL), VIX_OK);
    assert_int_equal(grain_tables_set(t, 120, 1, 7, 0, NULL), VIX_OK);
    assert_true(grain_tables_match(t, 100, 1000, 1000, 128, &n));
    assert_int_equal(n, 20);
    assert_true(grain_tables_match(t, 100, 3, 1000, 128, &n));
    assert_int_equal(n, 3);
    assert_true(grain_tables_match(t, 100, 1000, 1000, 0, &n));
    assert_int_equal(n, 1);
    assert_true(grain_tables_match(t, 100, 1000, 1001, 128, &n));
    assert_int_equal(n, 0);
    assert_true(grain_tables_match_range(t, 100, 50, 1000, 1000 + 20 * 128, &n));
    assert_int_equal(n, 20);
    assert_true(grain_tables_match_range(t, 100, 50, 7, 1000 + 30 * 128, &n));
    assert_int_equal(n, 31);
    assert_true(grain_tables_match_range(t, GRAIN_PAGE_ENTRIES - 3, 50, 0, UINT32_MAX, &n));
    assert_int_equal(n, 3);
    assert_int_equal(grain_tables_get(t, zero, &v, NULL), VIX_OK);
    assert_false(grain_tables_match(t, zero, 10, 0, 0, &n)); /* its zeros are known without it */
    grain_tables_free(t);
    free(f.bytes);
}

/* Of pages in memory, changed ones too, and of those that are not, without putting them there. */
static void entries_are_read_past_the_cache(void **state)
{
    uint32_t got[GRAIN_PAGE_ENTRIES];
    uint32_t *expected = calloc(NENTRIES, sizeof *expected);
    uint32_t seed = 7;
    struct file f;

    (void)state;
    assert_non_null(expected);
    file_init(&f, 4);
    struct grain_tables *t = make(&f, 3);
    for (uint64_t i = 0; i < NENTRIES; i++) {
        expected[i] = (uint32_t)entry_of(i);
    }
    assert_int_equal(grain_tables_read(t, 5 * GRAIN_PAGE_ENTRIES, GRAIN_PAGE_ENTRIES - 1, got), 0);
    assert_int_equal(grain_tables_read(t, 5 * GRAIN_PAGE_ENTRIES + 1, GRAIN_PAGE_ENTRIES, got), 0);
    assert_int_equal(atomic_load(&f.loads), 0);
    for (unsigned n = 0; n < 600; n++) {
        seed = seed * 1103515245 + 12345;
        uint64_t page = (seed >> 8) % (NPAGES - 1), first = page * GRAIN_PAGE_ENTRIES, i = first + (seed >> 16) % 8192;
        if (n % 3 == 0) {
            assert_int_equal(grain_tables_set(t, i, 1, n, 0, NULL), VIX_OK);
            expected[i] = n;
        }
        if (n % 50 == 49) {
            (void)write_back(t, &f);
        }
        uint64_t count = grain_tables_read(t, first, GRAIN_PAGE_ENTRIES + n, got);
        if (count == 0) { /* only where it is known to be zeros */
            assert_int_equal(page, ZERO_PAGE);
            continue;
        }
        assert_int_equal(count, GRAIN_PAGE_ENTRIES);
        assert_memory_equal(got, expected + first, sizeof got);
    }
    (void)write_back(t, &f);
    size_t npages = t->cache->npages;
    f.broken = true;
    for (uint64_t page = 0; page + 1 < NPAGES; page++) {
        uint64_t count = grain_tables_read(t, page * GRAIN_PAGE_ENTRIES, GRAIN_PAGE_ENTRIES, got);
        assert_true(count == GRAIN_PAGE_ENTRIES || page == BAD_PAGE || page == ZERO_PAGE);
    }
    assert_int_equal(t->cache->npages, npages);
    grain_tables_free(t);
    free(f.bytes);
    free(expected);
}

static void too_many_entries_are_refused(void **state)
{
    struct grain_tables *t = NULL;
    struct grain_tables_params p = {.entry_count = GRAIN_TABLES_MAX_ENTRIES + 1, .width = 4, .load = load};

    (void)state;
    assert_int_equal(grain_tables_new(&p, &t, NULL), VIX_E_DISK_NOTSUPPORTED);
    assert_null(t);
    grain_tables_free(NULL);
}

/* ---- threads: a tiny cache under eviction; each thread owns every 8th entry of some pages ---- */

#define NTHREADS 8u
#define ROUNDS 200u

struct worker {
    struct grain_tables *t;
    unsigned number;
    unsigned wrong;
};

static uint64_t changed(uint64_t i)
{
    return entry_of(i) ^ 0x80000000u;
}

static void *hammer(void *arg)
{
    struct worker *w = arg;
    uint64_t seed = w->number + 1;

    for (unsigned n = 0; n < ROUNDS; n++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t i = (seed >> 20) % NENTRIES, v = 0;
        if (grain_tables_get(w->t, i, &v, NULL) != VIX_OK || (v != entry_of(i) && v != changed(i))) {
            w->wrong++;
        }
        uint64_t mine = (i & ~UINT64_C(7)) + w->number;
        if (n % 16 == 0 && mine < NENTRIES) {
            if (grain_tables_set(w->t, mine, 1, changed(mine), 0, NULL) != VIX_OK ||
                grain_tables_get(w->t, mine, &v, NULL) != VIX_OK || v != changed(mine)) {
                w->wrong++;
            }
        }
    }
    return NULL;
}

struct flusher {
    struct grain_tables *t;
    struct file *f;
    atomic_bool stop;
};

static pthread_mutex_t file_lock = PTHREAD_MUTEX_INITIALIZER;

static VixError locked_load(void *ctx, uint64_t first_entry, uint8_t *buf, struct err *err)
{
    (void)pthread_mutex_lock(&file_lock);
    VixError e = load(ctx, first_entry, buf, err);
    (void)pthread_mutex_unlock(&file_lock);
    return e;
}

static void *flush_now_and_then(void *arg)
{
    struct flusher *fl = arg;
    struct grain_snapshot snap;

    while (!atomic_load(&fl->stop)) {
        if (grain_tables_snapshot(fl->t, &snap, NULL) != VIX_OK) {
            continue;
        }
        (void)pthread_mutex_lock(&file_lock);
        for (size_t i = 0; i < snap.nsectors; i++) {
            memcpy(fl->f->bytes + snap.first_entry[i] * fl->f->width, snap.bytes + i * GRAIN_TABLES_SECTOR,
                   GRAIN_TABLES_SECTOR);
        }
        (void)pthread_mutex_unlock(&file_lock);
        grain_tables_snapshot_end(fl->t, &snap, true);
    }
    return NULL;
}

static void threads_never_see_a_foreign_entry(void **state)
{
    struct file f;
    struct worker w[NTHREADS];
    pthread_t id[NTHREADS], flush_id;

    (void)state;
    file_init(&f, 4);
    struct grain_tables *t = make(&f, 6);
    t->load = locked_load;
    struct flusher fl = {.t = t, .f = &f};
    assert_int_equal(pthread_create(&flush_id, NULL, flush_now_and_then, &fl), 0);
    for (unsigned i = 0; i < NTHREADS; i++) {
        w[i] = (struct worker){.t = t, .number = i};
        assert_int_equal(pthread_create(&id[i], NULL, hammer, &w[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_join(id[i], NULL), 0);
        assert_int_equal(w[i].wrong, 0);
    }
    atomic_store(&fl.stop, true);
    assert_int_equal(pthread_join(flush_id, NULL), 0);
    (void)write_back(t, &f);
    unsigned nchanged = 0;
    for (uint64_t i = 0; i < NENTRIES; i++) {
        uint64_t v = get_le32(f.bytes + i * 4);
        nchanged += v == changed(i);
        assert_true(v == entry_of(i) || v == changed(i));
    }
    assert_true(nchanged > ROUNDS * NTHREADS / 16 / 2);
    grain_tables_free(t);
    free(f.bytes);
}

/* ---- tables that share a cache ---- */

#define SHARERS 3u

struct sharer {
    struct file f[SHARERS];
    struct grain_tables *t[SHARERS];
    struct grain_cache *cache;
    atomic_uint readers; /* so far: each takes its places in another order */
    atomic_uint wrong;
};

/* The entries of each file are its own. */
static uint32_t shared_entry(unsigned k, uint64_t i)
{
    return (uint32_t)(i * SHARERS + k + 5);
}

static void sharers_init(struct sharer *s, unsigned pages)
{
    memset(s, 0, sizeof *s);
    assert_int_equal(grain_cache_new(4, bytes_of(pages, 4), &s->cache, NULL), VIX_OK);
    for (unsigned k = 0; k < SHARERS; k++) {
        file_init(&s->f[k], 4);
        for (uint64_t i = 0; i < NENTRIES; i++) {
            put_le32(s->f[k].bytes + i * 4, shared_entry(k, i));
        }
        s->t[k] = make_in(&s->f[k], s->cache, 0);
    }
}

static void sharers_done(struct sharer *s)
{
    for (unsigned k = 0; k < SHARERS; k++) {
        grain_tables_free(s->t[k]);
        free(s->f[k].bytes);
    }
    grain_cache_free(s->cache);
}

static void *read_all(void *ctx)
{
    struct sharer *s = ctx;
    uint64_t seed = atomic_fetch_add(&s->readers, 1);

    for (unsigned n = 0; n < 2000; n++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t i = (seed >> 20) % NENTRIES, value = 0, more = 1;
        unsigned k = (unsigned)(seed >> 60) % SHARERS;
        bool good = grain_tables_get(s->t[k], i, &value, NULL) == VIX_OK && value == shared_entry(k, i);
        if (grain_tables_match(s->t[k], i, 1, value, SHARERS, &more)) {
            good = good && more == 1;
        }
        atomic_fetch_add(&s->wrong, !good);
    }
    return NULL;
}

static void tables_share_a_cache(void **state)
{
    struct sharer s;

    (void)state;
    sharers_init(&s, 4);
    (void)read_all(&s);
    assert_int_equal(s.wrong, 0);
    assert_in_range(s.cache->npages, 1, 4);

    /* changed pages of one are not taken for another, and what is written back is its own */
    assert_int_equal(grain_tables_set(s.t[1], 7, 1, shared_entry(1, 7), 0, NULL), VIX_OK);
    assert_int_equal(write_back(s.t[0], &s.f[0]), 0);
    (void)read_all(&s);
    assert_int_equal(write_back(s.t[1], &s.f[1]), 1);
    (void)read_all(&s);

    /* the pages of tables that are gone are used by others, changed or not */
    assert_int_equal(grain_tables_touch(s.t[2], 0, NENTRIES, NULL), VIX_OK);
    size_t pages = s.cache->npages;
    grain_tables_free(s.t[2]);
    s.t[2] = make_in(&s.f[2], s.cache, 0);
    (void)read_all(&s);
    assert_int_equal(s.cache->npages, pages);
    assert_int_equal(s.wrong, 0);
    sharers_done(&s);
}

static void threads_share_a_cache(void **state)
{
    struct sharer s;
    pthread_t id[4];

    (void)state;
    sharers_init(&s, 3);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&id[i], NULL, read_all, &s), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(id[i], NULL), 0);
    }
    assert_int_equal(s.wrong, 0);
    assert_in_range(s.cache->npages, 1, 3);
    sharers_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_those_of_the_file_whatever_was_evicted),
        cmocka_unit_test(page_is_loaded_once_and_zeros_take_no_memory),
        cmocka_unit_test(page_that_cannot_be_read_fails_alone_and_can_be_tried_again),
        cmocka_unit_test(changes_stay_until_they_are_written_and_come_back_from_the_file),
        cmocka_unit_test(what_changes_after_a_snapshot_belongs_to_the_next),
        cmocka_unit_test(many_entries_are_compared_at_once_within_a_page),
        cmocka_unit_test(entries_are_read_past_the_cache),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(threads_never_see_a_foreign_entry),
        cmocka_unit_test(tables_share_a_cache),
        cmocka_unit_test(threads_share_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_stream.c - streamOptimized extents: what we write is read back by ourselves and by zlib, in any division
 * of the work; the order of writing; reading while writing; going on with a file. */
#include <pthread.h>
#include <stdatomic.h>

#include "stream_image.h"

static void write_all(struct store *s, const uint8_t *content, uint64_t nsectors, uint64_t step, int level,
                      unsigned threads)
{
    struct extent *x = open_stream(s, true, level, threads);

    for (uint64_t at = 0; at < nsectors; at += step) {
        uint64_t n = nsectors - at < step ? nsectors - at : step;
        CHECK(x->ops->write(x, at, n, content + at * SECTOR_SIZE, &err));
    }
    CHECK(x->ops->close(x, &err));
}

static void pull_all(struct store *s, uint8_t *content, uint64_t nsectors, int level, unsigned threads)
{
    struct extent *x = open_stream(s, true, level, threads);

    CHECK(x->ops->pull(x, 0, nsectors, content_source, content, &err));
    CHECK(x->ops->close(x, &err));
}

static void fresh_file_is_an_empty_stream(void **state)
{
    static const uint64_t capacities[] = {1, 128, 129, 65536, 65537, 128 * 512 * 130};

    (void)state;
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        uint64_t n = capacities[i];
        struct store *s = new_stream(fs, "a", n);
        struct extent_run run;

        assert_good_stream(s, NULL, n);
        struct extent *x = open_stream(s, false, 0, 1);
        assert_int_equal(x->nsectors, n);
        assert_int_equal(x->grain_sectors, 128);
        assert_true(x->compressed && x->ordered);
        CHECK(x->ops->map(x, 0, n, 0, &run, &err));
        assert_int_equal(run.kind, RUN_ABSENT);
        assert_int_equal(run.nsectors, n);
        CHECK(x->ops->close(x, &err));
        store_close(s);
    }
}

static void pulled_contents_read_back(void **state)
{
    static const uint64_t capacities[] = {1, 100, 128, 129, 2049, 65536, 65536 + 3000, 2 * 65536 + 77};

    (void)state;
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        uint64_t n = capacities[i];
        uint8_t *content = make_content(n, 77 + (uint32_t)i);
        struct store *s = new_stream(fs, "a", n);

        pull_all(s, content, n, 1, 2);
        assert_good_stream(s, content, n);
        struct extent *x = open_stream(s, false, 0, 1);
        assert_reads(x, 0, n, content);
        uint32_t seed = 5;
        for (int k = 0; k < 200; k++) {
            uint64_t at = next_random(&seed) % n;
            uint64_t len = 1 + next_random(&seed) % 300;
            assert_reads(x, at, len < n - at ? len : n - at, content);
        }
        CHECK(x->ops->close(x, &err));
        store_close(s);
        free(content);
    }
}

static void bytes_are_the_same_for_any_threads_and_calls(void **state)
{
    uint64_t n = 65536 + 555;
    uint8_t *content = make_content(n, 4711);
    struct store *s = new_stream(fs, "a", n);
    uint64_t size, size2;

    (void)state;
    pull_all(s, content, n, 2, 1);
    uint8_t *expected = whole_file(s, &size);
    store_close(s);
    for (unsigned way = 0; way < 7; way++) {
        static const unsigned threads[] = {2, 5, 1, 2, 5, 1, 3};
        static const uint64_t steps[] = {0, 0, 128, 1, 777, 4096, 100000};
        s = new_stream(fs, "b", n);
        if (steps[way] == 0) {
            pull_all(s, content, n, 2, threads[way]);
        } else {
            write_all(s, content, n, steps[way], 2, threads[way]);
        }
        uint8_t *found = whole_file(s, &size2);
        assert_int_equal(size2, size);
        assert_memory_equal(found, expected, size);
        free(found);
        store_close(s);
    }
    free(expected);
    free(content);
}

static void pieces_of_any_shape_make_one_disk(void **state)
{
    uint64_t n = 30000;
    uint8_t *content = calloc(n, SECTOR_SIZE);
    uint32_t seed = 99;
    struct store *s = new_stream(fs, "a", n);
    struct extent *x = open_stream(s, true, 1, 3);

    (void)state;
    assert_non_null(content);
    for (uint64_t at = 0; at < n;) {
        uint64_t len = 1 + next_random(&seed) % (next_random(&seed) % 4 == 0 ? 9000 : 200);
        len = len < n - at ? len : n - at;
        for (uint64_t i = at * SECTOR_SIZE; i < (at + len) * SECTOR_SIZE; i++) {
            content[i] = (uint8_t)(next_random(&seed) % 3);
        }
        if (next_random(&seed) % 2 == 0) {
            CHECK(x->ops->pull(x, at, len, content_source, content, &err));
        } else {
            CHECK(x->ops->write(x, at, len, content + at * SECTOR_SIZE, &err));
        }
        at += len + (next_random(&seed) % 2 == 0 ? 0 : next_random(&seed) % 700);
        if (next_random(&seed) % 8 == 0) {
            CHECK(x->ops->flush(x, &err));
        }
    }
    assert_reads(x, 0, n, content);
    CHECK(x->ops->close(x, &err));
    assert_good_stream(s, content, n);
    store_close(s);
    free(content);
}

static void what_does_not_compress_fits_other_readers(void **state)
{
    static const int levels[] = {-1, 1, 2, 6, 9, 12};
    uint64_t n = 4 * 128;
    uint8_t *content = malloc(n * SECTOR_SIZE);
    uint32_t seed = 1;

    (void)state;
    assert_non_null(content);
    for (uint64_t i = 0; i < n * SECTOR_SIZE; i++) {
        content[i] = (uint8_t)(next_random(&seed) >> 7);
    }
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        struct store *s = new_stream(fs, "a", n);
        pull_all(s, content, n, levels[i], 2);
        assert_good_stream(s, content, n); /* has the bound */
        store_close(s);
    }
    free(content);
}

static void writing_behind_is_refused_and_harmless(void **state)
{
    uint64_t n = 1000;
    uint8_t *content = calloc(n, SECTOR_SIZE);
    struct store *s = new_stream(fs, "a", n);
    struct extent *x = open_stream(s, true, 6, 2);

    (void)state;
    assert_non_null(content);
    memset(content + 128 * SECTOR_SIZE, 'a', 130 * SECTOR_SIZE); /* grain 1, and 2 sectors of grain 2 */
    CHECK(x->ops->write(x, 128, 130, content + 128 * SECTOR_SIZE, &err));
    assert_int_equal(x->ops->write(x, 130, 1, content + 128 * SECTOR_SIZE, &err), VIX_E_NOT_SUPPORTED);
    assert_non_null(strstr(err.text, "sector 130"));
    assert_non_null(strstr(err.text, "is 256"));
    assert_int_equal(x->ops->write(x, 0, 1, content + 128 * SECTOR_SIZE, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(x->ops->pull(x, 0, 600, content_source, content, &err), VIX_E_NOT_SUPPORTED);
    /* zeros: over a hole nothing changes, over a grain they would */
    CHECK(x->ops->write(x, 3, 100, content, &err));
    assert_int_equal(x->ops->write(x, 100, 100, content, &err), VIX_E_NOT_SUPPORTED);
    /* the grain that is being filled can be written again */
    memset(content + 256 * SECTOR_SIZE, 'b', 5 * SECTOR_SIZE);
    CHECK(x->ops->write(x, 256, 5, content + 256 * SECTOR_SIZE, &err));
    assert_reads(x, 0, n, content);
    CHECK(x->ops->close(x, &err));
    assert_good_stream(s, content, n);
    store_close(s);
    free(content);
}

static void written_data_is_there_before_close(void **state)
{
    uint64_t n = 65536 + 9000;
    uint8_t *content = make_content(n, 31);
    struct store *s = new_stream(fs, "a", n);
    struct extent *x = open_stream(s, true, 1, 2);
    uint32_t seed = 12;

    (void)state;
    for (uint64_t at = 0; at < n;) {
        uint64_t len = 1 + next_random(&seed) % 3000;
        len = len < n - at ? len : n - at;
        CHECK(x->ops->write(x, at, len, content + at * SECTOR_SIZE, &err));
        at += len;
        uint64_t back = next_random(&seed) % at;
        uint64_t count = at - back < 500 ? at - back : 500;
        assert_reads(x, back, count, content);
        if (at < n) {
            struct extent_run run;
            CHECK(x->ops->map(x, at, n - at, 0, &run, &err));
            assert_true(run.kind == RUN_ABSENT || at % 128 != 0);
        }
    }
    CHECK(x->ops->close(x, &err));
    assert_good_stream(s, content, n);
    store_close(s);
    free(content);
}

static void flush_brings_whole_grains_to_the_file(void **state)
{
    uint64_t n = 300;
    uint8_t grain[GRAIN_BYTES];
    struct store *s = new_stream(fs, "a", n);
    struct extent *x = open_stream(s, true, 6, 2);
    uint8_t head[12];

    (void)state;
    memset(grain, 'x', sizeof grain);
    CHECK(x->ops->write(x, 128, 128, grain, &err));
    CHECK(x->ops->flush(x, &err));
    CHECK(store_read(s, head, sizeof head, 128 * SECTOR_SIZE, &err));
    assert_int_equal(get_le64(head), 128);
    assert_true(get_le32(head + 8) > 0);
    CHECK(x->ops->close(x, &err));
    store_close(s);
}

static void a_file_can_be_gone_on_with(void **state)
{
    uint64_t n = 65536 * 2 + 40;
    uint8_t *content = make_content(n, 8);
    uint8_t *part = calloc(n, SECTOR_SIZE);
    static const uint64_t ends[] = {128, 640, 65536 - 128, 65536, 65536 + 128, 131072, 131072 + 40};
    struct store *s = new_stream(fs, "a", n);
    uint64_t at = 0;

    (void)state;
    assert_non_null(part);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct extent *x = open_stream(s, true, 6, 2);
        CHECK(x->ops->write(x, at, ends[i] - at, content + at * SECTOR_SIZE, &err));
        memcpy(part + at * SECTOR_SIZE, content + at * SECTOR_SIZE, (ends[i] - at) * SECTOR_SIZE);
        assert_reads(x, 0, n, part);
        CHECK(x->ops->close(x, &err));
        assert_good_stream(s, part, n);
        at = ends[i];
    }
    store_close(s);
    free(part);
    free(content);
}

static void nothing_written_leaves_the_file_alone(void **state)
{
    uint64_t n = 1000, size, size2;
    uint8_t *content = make_content(n, 3);
    uint8_t *zeros = calloc(n, SECTOR_SIZE);
    struct store *s = new_stream(fs, "a", n);

    (void)state;
    assert_non_null(zeros);
    memset(content + 512 * SECTOR_SIZE, 0, 488 * SECTOR_SIZE);
    pull_all(s, content, n, 6, 1);
    uint8_t *before = whole_file(s, &size);
    struct extent *x = open_stream(s, true, 6, 1);
    assert_reads(x, 0, n, content);
    CHECK(x->ops->write(x, 600, 50, zeros, &err)); /* absent, and stays absent */
    CHECK(x->ops->write(x, 640, 300, zeros, &err));
    CHECK(x->ops->flush(x, &err));
    CHECK(x->ops->close(x, &err));
    uint8_t *after = whole_file(s, &size2);
    assert_int_equal(size2, size);
    assert_memory_equal(after, before, size);
    store_close(s);
    free(before);
    free(after);
    free(zeros);
    free(content);
}

static void a_reader_only_refuses_writes(void **state)
{
    uint8_t sector[SECTOR_SIZE] = {1};
    struct store *s = new_stream(fs, "a", 10);
    struct extent *x = open_stream(s, false, 0, 1);

    (void)state;
    assert_int_equal(x->ops->write(x, 0, 1, sector, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(x->ops->pull(x, 0, 1, content_source, sector, &err), VIX_E_FILE_READ_ONLY);
    CHECK(x->ops->flush(x, &err));
    CHECK(x->ops->close(x, &err));
    store_close(s);
}

/* ---- sources and stores that fail ---- */

struct failing_source {
    uint8_t *content;
    uint64_t fail_at; /* sector */
    atomic_bool over; /* pull has returned */
    atomic_bool late; /* called after that */
};

static VixError fail_source(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *e)
{
    struct failing_source *f = ctx;

    if (atomic_load(&f->over)) {
        atomic_store(&f->late, true);
    }
    if (sector <= f->fail_at && f->fail_at < sector + nsectors) {
        return err_set(e, VIX_E_FILE_ERROR, "the source is gone");
    }
    return content_source(f->content, sector, nsectors, buf, e);
}

static void a_failing_source_ends_the_pull(void **state)
{
    uint64_t n = 100000;
    static const uint64_t places[] = {0, 50, 1024, 40000, 99990};
    struct failing_source f = {.content = make_content(n, 6)};
    uint8_t *zeros = calloc(n, SECTOR_SIZE);

    (void)state;
    assert_non_null(zeros);
    for (size_t i = 0; i < 10; i++) {
        struct store *s = new_stream(fs, "a", n);
        struct extent *x = open_stream(s, true, 1, i % 2 == 0 ? 4 : 1);
        f.fail_at = places[i / 2];
        atomic_store(&f.over, false);
        VixError e = x->ops->pull(x, 0, n, fail_source, &f, &err);
        e = e == VIX_OK ? x->ops->flush(x, &err) : e;
        atomic_store(&f.over, true);
        assert_int_equal(e, VIX_E_FILE_ERROR);
        assert_string_equal(err.text, "the source is gone");
        assert_int_equal(x->ops->write(x, n - 1, 1, f.content, &err), VIX_E_FILE_ERROR);
        assert_int_equal(x->ops->close(x, &err), VIX_E_FILE_ERROR);
        assert_non_null(strstr(err.text, "the source is gone"));
        assert_false(atomic_load(&f.late));
        assert_good_stream(s, zeros, n);
        store_close(s);
    }
    free(zeros);
    free(f.content);
}

/** A store whose writes fail after some bytes. */
struct full_store {
    struct store s;
    struct store *real;
    struct store_ops ops;
    uint64_t left;
};

static VixError full_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *e)
{
    struct store *real = ((struct full_store *)s)->real;
    return real->ops->readv(real, iov, iovcnt, off, e);
}

static VixError full_truncate(struct store *s, uint64_t size, struct err *e)
{
    struct store *real = ((struct full_store *)s)->real;
    return real->ops->truncate(real, size, e);
}

static VixError full_flush(struct store *s, struct err *e)
{
    struct store *real = ((struct full_store *)s)->real;
    return real->ops->flush(real, e);
}

static VixError full_size(struct store *s, uint64_t *ret_size, struct err *e)
{
    struct store *real = ((struct full_store *)s)->real;
    return real->ops->size(real, ret_size, e);
}

static VixError full_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *e)
{
    struct full_store *f = (struct full_store *)s;
    uint64_t size, end = off;
    VixError code = full_size(s, &size, e);

    for (int i = 0; i < iovcnt; i++) {
        end += iov[i].iov_len;
    }
    if (code == VIX_OK && end > size && end - size > f->left) {
        return err_set(e, VIX_E_DISK_FULL, "no space left");
    }
    f->left -= end > size ? end - size : 0;
    return code == VIX_OK ? f->real->ops->writev(f->real, iov, iovcnt, off, e) : code;
}

static void a_full_disk_is_told_at_every_size(void **state)
{
    uint64_t n = 20000;
    uint8_t *content = make_content(n, 15), *kept = malloc(n * SECTOR_SIZE);
    uint64_t needed;

    (void)state;
    assert_non_null(kept);
    struct store *good = new_stream(fs, "b", n);
    pull_all(good, content, n, 1, 2);
    CHECK(good->ops->size(good, &needed, &err));
    needed -= 128 * SECTOR_SIZE;
    store_close(good);
    for (unsigned i = 0; i <= 12; i++) {
        struct store *real = new_stream(fs, "a", n);
        struct full_store f = {.s = *real, .real = real, .ops = *real->ops, .left = needed * i / 12};
        f.ops.readv = full_readv;
        f.ops.writev = full_writev;
        f.ops.size = full_size;
        f.ops.truncate = full_truncate;
        f.ops.flush = full_flush;
        f.s.ops = &f.ops;
        struct extent *x = open_stream(&f.s, true, 1, i % 2 == 0 ? 1 : 3);
        uint64_t first = i % 3 == 0 || i == 1 ? 0 : n / 12 / 128 * 128; /* flushed before the disk is full */
        if (first > 0) {
            CHECK(x->ops->pull(x, 0, first, content_source, content, &err));
            CHECK(x->ops->flush(x, &err));
        }
        VixError e = x->ops->pull(x, first, n - first, content_source, content, &err);
        VixError e2 = x->ops->close(x, &err);
        assert_true(e == VIX_OK || (i < 12 && e == VIX_E_DISK_FULL));
        assert_int_equal(e2, i < 12 ? VIX_E_DISK_FULL : VIX_OK);
        if (i < 12) {
            assert_string_equal(err.text, "what was written since the last flush is lost: no space left");
            memset(kept, 0, n * SECTOR_SIZE);
            memcpy(kept, content, first * SECTOR_SIZE);
            assert_good_stream(real, kept, n);
        } else {
            assert_good_stream(real, content, n);
        }
        store_close(real);
    }
    free(kept);
    free(content);
}

static void a_descriptor_too_long_is_refused(void **state)
{
    struct store *s = new_store(fs, "a");
    char *text = calloc(10241, 1);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', 10240);
    assert_int_equal(extent_stream_create(s, 10, text, 10240, &err), VIX_E_DISK_INVAL);
    CHECK(extent_stream_create(s, 10, text, 10239, &err));
    assert_int_equal(extent_stream_create(s, 0, text, 10, &err), VIX_E_DISK_NOTSUPPORTED);
    free(text);
    store_close(s);
}

/* ---- readers side by side ---- */

struct reader {
    struct extent *x;
    const uint8_t *content;
    uint64_t nsectors, step;
    bool good;
};

static void *read_in_order(void *arg)
{
    struct reader *r = arg;
    uint8_t *buf = malloc(r->step * SECTOR_SIZE);
    struct err e;

    r->good = buf != NULL;
    for (uint64_t at = 0; r->good && at < r->nsectors; at += r->step) {
        uint64_t n = r->nsectors - at < r->step ? r->nsectors - at : r->step;
        r->good = r->x->ops->read_coded(r->x, at, n, buf, &e) == VIX_OK &&
                  memcmp(buf, r->content + at * SECTOR_SIZE, n * SECTOR_SIZE) == 0;
    }
    free(buf);
    return NULL;
}

static void readers_in_order_get_the_same_bytes(void **state)
{
    static const uint64_t steps[] = {2048, 100, 512, 8, 3333, 2048};
    uint64_t n = 40000;
    uint8_t *content = make_content(n, 22);
    struct store *s = new_stream(fs, "a", n);
    struct reader r[6];
    pthread_t t[6];

    (void)state;
    pull_all(s, content, n, 1, 2);
    for (unsigned count = 1; count <= 6; count += 5) { /* alone: with read-ahead */
        struct extent *x = open_stream(s, count == 1, 0, 3);
        for (unsigned i = 0; i < count; i++) {
            r[i] = (struct reader){.x = x, .content = content, .nsectors = n, .step = steps[i]};
            assert_int_equal(pthread_create(&t[i], NULL, read_in_order, &r[i]), 0);
        }
        for (unsigned i = 0; i < count; i++) {
            (void)pthread_join(t[i], NULL);
            assert_true(r[i].good);
        }
        CHECK(x->ops->close(x, &err));
    }
    store_close(s);
    free(content);
}

static void closing_in_the_middle_of_read_ahead_is_clean(void **state)
{
    uint64_t n = 40000;
    uint8_t *content = make_content(n, 23);
    uint8_t zeros[64 * SECTOR_SIZE] = {0};
    struct store *s = new_stream(fs, "a", n);

    (void)state;
    memset(content + (n - 200) * SECTOR_SIZE, 0, 200 * SECTOR_SIZE);
    pull_all(s, content, n, 1, 2);
    for (uint64_t upto = 2048; upto < 20000; upto += 2048) {
        struct extent *x = open_stream(s, true, 1, 3);
        for (uint64_t at = 0; at < upto; at += 512) {
            assert_reads(x, at, 512, content);
        }
        if (upto % 4096 == 0) { /* writing begins while grains are read ahead */
            CHECK(x->ops->write(x, n - 64, 64, zeros, &err));
            assert_reads(x, upto, 512, content);
        }
        CHECK(x->ops->close(x, &err));
    }
    store_close(s);
    free(content);
}

/** What was read ahead where no grain was yet is not shown when grains have come there. */
static void grains_written_where_was_read_ahead_read_back(void **state)
{
    uint64_t n = 512 * 128, stored = 64 * 128, written = 8 * 128;
    uint8_t *content = make_content(n, 24);
    struct store *s = new_stream(fs, "a", n);

    (void)state;
    memset(content, 'a', (stored + written) * SECTOR_SIZE);
    memset(content + (stored + written) * SECTOR_SIZE, 0, (n - stored - written) * SECTOR_SIZE);
    pull_all(s, content, stored, 1, 2);
    struct extent *x = open_stream(s, true, 1, 3);
    for (uint64_t at = 0; at < stored; at += 128) {
        assert_reads(x, at, 128, content);
    }
    CHECK(x->ops->write(x, stored, written, content + stored * SECTOR_SIZE, &err));
    assert_reads(x, stored + 5, 100, content); /* a part of a grain */
    assert_reads(x, stored, written, content);
    assert_reads(x, 0, n, content);
    CHECK(x->ops->close(x, &err));
    assert_good_stream(s, content, n);
    store_close(s);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fresh_file_is_an_empty_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(pulled_contents_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_are_the_same_for_any_threads_and_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_of_any_shape_make_one_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_compress_fits_other_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_behind_is_refused_and_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(written_data_is_there_before_close, setup, teardown),
        cmocka_unit_test_setup_teardown(flush_brings_whole_grains_to_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_can_be_gone_on_with, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_written_leaves_the_file_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_only_refuses_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_source_ends_the_pull, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_told_at_every_size, setup, teardown),
        cmocka_unit_test_setup_teardown(a_descriptor_too_long_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_in_order_get_the_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_in_the_middle_of_read_ahead_is_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(grains_written_where_was_read_ahead_read_back, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

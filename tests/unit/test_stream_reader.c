/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stream_reader.c - streamOptimized disks read from front to end by their markers: from a pipe, and by a walk over
 * files that are cut short or damaged. */
#include "stream_image.h"
#include "vmdk/stream_reader.h"
#include "vmdk/stream_walk.h"

/** A pipe: bytes of memory. */
struct pipe_bytes {
    const uint8_t *bytes;
    uint64_t size, at;
};

static VixError pipe_read(void *ctx, void *buf, uint64_t len, uint64_t *ret_len, struct err *e)
{
    struct pipe_bytes *p = ctx;

    (void)e;
    *ret_len = len < p->size - p->at ? len : p->size - p->at;
    memcpy(buf, p->bytes + p->at, *ret_len);
    p->at += *ret_len;
    return VIX_OK;
}

static VixError open_pipe(struct pipe_bytes *p, unsigned threads, struct stream_reader **ret_r)
{
    struct stream_input in = {.read = pipe_read, .ctx = p, .name = "the pipe"};

    err_init(&err);
    return stream_reader_open(&in, threads, ret_r, &err);
}

/** Reads all of a stream; VIX_OK only if it was complete and the bytes are content's. */
static VixError read_stream(const uint8_t *bytes, uint64_t size, const uint8_t *content, uint64_t n, uint64_t step)
{
    struct pipe_bytes p = {.bytes = bytes, .size = size};
    struct stream_reader *r;
    VixError e = open_pipe(&p, 3, &r);

    if (e != VIX_OK) {
        return e;
    }
    uint8_t *buf = malloc(step * SECTOR_SIZE);
    assert_non_null(buf);
    n = stream_reader_header(r)->capacity < n ? stream_reader_header(r)->capacity : n;
    for (uint64_t at = 0; e == VIX_OK && at < n; at += step) {
        uint64_t count = n - at < step ? n - at : step;
        e = stream_reader_read(r, at, count, buf, &err);
        if (e == VIX_OK && content != NULL) {
            if (memcmp(buf, content + at * SECTOR_SIZE, count * SECTOR_SIZE) != 0) {
                fail_msg("sectors %u to %u of %u differ", (unsigned)at, (unsigned)(at + count), (unsigned)n);
            }
        }
    }
    e = e == VIX_OK ? stream_reader_finish(r, &err) : e;
    free(buf);
    stream_reader_close(r);
    return e;
}

static struct store *make_own(const uint8_t *content, uint64_t n)
{
    struct store *s = new_stream(fs, "own", n);
    struct extent *x = open_stream(s, true, 1, 2);

    CHECK(x->ops->write(x, 0, n, content, &err));
    CHECK(x->ops->close(x, &err));
    return s;
}

static void a_pipe_gives_the_disk(void **state)
{
    static const uint64_t capacities[] = {1, 128, 3000, 65536 + 700, 2 * 65536};
    static const uint64_t steps[] = {1, 77, 128, 2048, 5000};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        uint64_t n = capacities[i], size;
        uint8_t *content = make_content(n, 60 + (uint32_t)i);
        struct store *s = make_own(content, n);
        uint8_t *bytes = whole_file(s, &size);
        CHECK(read_stream(bytes, size, content, n, steps[i]));
        free(bytes);
        store_close(s);
        static const struct front_form forms[] = {{.no_end = true}, {.no_end = false}, {.short_last = true}};
        s = make_front(fs, content, n, &forms[i % 3]);
        bytes = whole_file(s, &size);
        CHECK(read_stream(bytes, size, content, n, 1000));
        free(bytes);
        store_close(s);
        free(content);
    }
}

static void the_descriptor_comes_with_it(void **state)
{
    uint64_t size, n = 1000;
    size_t len;
    struct store *s = new_stream(fs, "a", n);
    uint8_t *bytes = whole_file(s, &size);
    struct pipe_bytes p = {.bytes = bytes, .size = size};
    struct stream_reader *r;

    (void)state;
    CHECK(open_pipe(&p, 1, &r));
    assert_int_equal(stream_reader_header(r)->capacity, n);
    const char *text = stream_reader_descriptor(r, &len);
    assert_int_equal(len, strlen(DESCRIPTOR));
    assert_memory_equal(text, DESCRIPTOR, len);
    stream_reader_close(r);
    store_close(s);
    free(bytes);
}

static void a_pipe_cannot_go_back(void **state)
{
    uint64_t size, n = 1000;
    uint8_t *content = make_content(n, 2);
    struct store *s = make_own(content, n);
    uint8_t *bytes = whole_file(s, &size);
    struct pipe_bytes p = {.bytes = bytes, .size = size};
    struct stream_reader *r;
    uint8_t buf[300 * SECTOR_SIZE];

    (void)state;
    CHECK(open_pipe(&p, 1, &r));
    CHECK(stream_reader_read(r, 100, 300, buf, &err));
    assert_memory_equal(buf, content + 100 * SECTOR_SIZE, sizeof buf);
    assert_int_equal(stream_reader_read(r, 399, 1, buf, &err), VIX_E_NOT_SUPPORTED);
    CHECK(stream_reader_read(r, 700, 300, buf, &err));
    assert_memory_equal(buf, content + 700 * SECTOR_SIZE, sizeof buf);
    stream_reader_close(r);
    store_close(s);
    free(bytes);
    free(content);
}

static void a_disk_out_of_order_is_refused(void **state)
{
    uint64_t size, n = 3000;
    uint8_t *content = make_content(n, 4);
    struct store *s = make_front(fs, content, n, &(struct front_form){.backwards = true});
    uint8_t *bytes = whole_file(s, &size);

    (void)state;
    assert_int_equal(read_stream(bytes, size, NULL, n, 500), VIX_E_NOT_SUPPORTED);
    assert_non_null(strstr(err.text, "order"));
    free(bytes);
    store_close(s);
    free(content);
}

static void a_stream_cut_anywhere_is_noticed(void **state)
{
    uint64_t size, n = 1500;
    uint8_t *content = make_content(n, 70);

    (void)state;
    for (int form = 0; form < 2; form++) {
        struct store *s = form == 0 ? make_own(content, n) : make_front(fs, content, n, &(struct front_form){0});
        uint8_t *bytes = whole_file(s, &size);
        /* without the end marker it is still the whole disk */
        CHECK(read_stream(bytes, size - 512, content, n, 1000));
        CHECK(read_stream(bytes, size, content, n, 1000));
        for (uint64_t cut = size - (form == 0 ? 1024 : 1536); cut > 0; cut -= cut > 5000 ? 1237 : cut > 97 ? 97 : 1) {
            VixError e = read_stream(bytes, cut, content, n, 1000);
            if (e != VIX_E_DISK_NEEDSREPAIR) {
                fail_msg("form %d cut at %u of %u: %d", form, (unsigned)cut, (unsigned)size, (int)e);
            }
            cut = cut > 70000 && cut < size - 300000 ? cut - 60000 : cut;
        }
        free(bytes);
        store_close(s);
    }
    free(content);
}

/** A file with a record of the type that nobody documents before the trailer, with or without payload. */
static void records_of_unknown_length_are_skipped(void **state)
{
    uint64_t size, n = 512;
    uint8_t *content = make_content(n, 5);
    struct store *s = make_own(content, n);
    uint8_t *bytes = whole_file(s, &size);

    (void)state;
    for (uint64_t payload = 0; payload < 3; payload++) {
        uint64_t front = 128 * 512, more = (1 + payload) * 512;
        uint8_t *with = calloc(size + more, 1);
        assert_non_null(with);
        memcpy(with, bytes, front);
        put_le64(with + front, payload);
        put_le32(with + front + 12, 4);
        memset(with + front + 512, 0xA5, payload * 512);
        memcpy(with + front + more, bytes + front, size - front);
        CHECK(read_stream(with, size + more, content, n, 512));
        put_le32(with + front + 12, 5); /* no type at all */
        assert_int_equal(read_stream(with, size + more, content, n, 512), VIX_E_DISK_NEEDSREPAIR);
        free(with);
    }
    free(bytes);
    store_close(s);
    free(content);
}

static void damaged_streams_never_crash(void **state)
{
    uint64_t size, n = 1000;
    uint8_t *content = make_content(n, 11);
    uint32_t seed = 5;

    (void)state;
    for (int form = 0; form < 2; form++) {
        struct store *s = form == 0 ? make_own(content, n) : make_front(fs, content, n, &(struct front_form){0});
        uint8_t *bytes = whole_file(s, &size);
        for (int round = 0; round < 200; round++) {
            uint64_t off = next_random(&seed) % (size / 512) * 512 + next_random(&seed) % 80;
            uint8_t old = bytes[off];
            bytes[off] = (uint8_t)(next_random(&seed) >> 5);
            (void)read_stream(bytes, size, NULL, n, 300);
            bytes[off] = round % 2 == 0 ? old : bytes[off];
            if (round % 40 == 0) {
                CHECK(store_read(s, bytes, size, 0, &err));
            }
        }
        free(bytes);
        store_close(s);
    }
    free(content);
}

/* ---- the walk ---- */

/** Walks a file to its end; checks that items follow one another. Returns the number of items of a kind. */
static unsigned count_items(struct store *s, enum stream_item_kind kind, uint64_t *ret_last_sector)
{
    struct stream_walk *w = malloc(sizeof *w);
    uint64_t size, pos = 0;
    unsigned count = 0;
    bool more = true;

    assert_non_null(w);
    CHECK(s->ops->size(s, &size, &err));
    CHECK(stream_walk_begin(s, w, &err));
    pos = w->pos;
    for (;;) {
        struct stream_item item;
        CHECK(stream_walk_next(w, &item, &more, &err));
        if (!more) {
            break;
        }
        assert_int_equal(item.off, pos);
        assert_true(item.len >= 512 && item.len % 512 == 0);
        pos += item.len;
        count += item.kind == kind;
        if (item.kind == STREAM_ITEM_GRAIN) {
            *ret_last_sector = item.sector;
        }
    }
    assert_true(pos >= size);
    free(w);
    return count;
}

static void a_walk_tells_every_record(void **state)
{
    uint64_t n = 65536 + 384, last;
    uint8_t *content = calloc(n, SECTOR_SIZE);

    (void)state;
    assert_non_null(content);
    for (uint64_t g = 0; g < n / 128; g += 100) {
        content[g * GRAIN_BYTES] = 1;
    }
    memset(content + 65536 * SECTOR_SIZE, 2, GRAIN_BYTES);
    struct store *s = make_own(content, n);
    assert_int_equal(count_items(s, STREAM_ITEM_GRAIN, &last), 7);
    assert_int_equal(last, 65536);
    assert_int_equal(count_items(s, STREAM_ITEM_TABLE, &last), 2);
    assert_int_equal(count_items(s, STREAM_ITEM_DIRECTORY, &last), 1);
    assert_int_equal(count_items(s, STREAM_ITEM_FOOTER, &last), 1);
    assert_int_equal(count_items(s, STREAM_ITEM_END, &last), 1);
    assert_int_equal(count_items(s, STREAM_ITEM_JUNK, &last), 0);
    store_close(s);
    free(content);
}

static void a_walk_finds_what_is_left(void **state)
{
    uint64_t n = 10 * 128, last = 0, size;
    uint8_t *content = malloc(n * SECTOR_SIZE);
    uint32_t seed = 17;
    uint8_t noise[1024];

    (void)state;
    assert_non_null(content);
    for (uint64_t i = 0; i < n * SECTOR_SIZE; i++) {
        content[i] = (uint8_t)(next_random(&seed) >> 3);
    }
    memset(noise, 0xA5, sizeof noise);
    struct store *s = make_own(content, n); /* does not compress: records of 129 sectors */
    assert_int_equal(count_items(s, STREAM_ITEM_GRAIN, &last), 10);
    /* two sectors over the head of the fourth record */
    CHECK(store_write(s, noise, sizeof noise, (128 + 3 * 129) * SECTOR_SIZE, &err));
    assert_int_equal(count_items(s, STREAM_ITEM_GRAIN, &last), 9);
    assert_int_equal(count_items(s, STREAM_ITEM_JUNK, &last), 1);
    assert_int_equal(last, 9 * 128);
    /* and cut within the eighth */
    CHECK(s->ops->truncate(s, (128 + 7 * 129 + 60) * SECTOR_SIZE + 5, &err));
    assert_int_equal(count_items(s, STREAM_ITEM_GRAIN, &last), 6);
    assert_int_equal(count_items(s, STREAM_ITEM_CUT, &last), 1);
    assert_int_equal(last, 6 * 128);
    CHECK(s->ops->size(s, &size, &err));
    for (; size > 128 * SECTOR_SIZE; size -= 1777) { /* wherever it ends */
        CHECK(s->ops->truncate(s, size, &err));
        (void)count_items(s, STREAM_ITEM_GRAIN, &last);
        if (size < 128 * SECTOR_SIZE + 1777) {
            break;
        }
    }
    CHECK(s->ops->truncate(s, 128 * SECTOR_SIZE, &err));
    assert_int_equal(count_items(s, STREAM_ITEM_GRAIN, &last), 0);
    store_close(s);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pipe_gives_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(the_descriptor_comes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pipe_cannot_go_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_out_of_order_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_cut_anywhere_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(records_of_unknown_length_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_streams_never_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(a_walk_tells_every_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_walk_finds_what_is_left, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

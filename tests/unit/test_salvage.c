/* SPDX-License-Identifier: BSD-3-Clause */
/* What is left of streamOptimized files that are cut short or damaged, read without their tables: files of our own, and
 * those of other forms, which stream_image.h makes. */
#include "ops/salvage.h"
#include "stream_image.h"

#define RECORDS_OFF (128 * SECTOR_SIZE) /* of the first record of a file of our own */

static void make_own(const uint8_t *content, uint64_t n)
{
    struct store *s = new_stream(fs, "own", n);
    struct extent *x = open_stream(s, true, 1, 2);

    CHECK(x->ops->write(x, 0, n, content, &err));
    CHECK(x->ops->close(x, &err));
    store_close(s);
}

static struct store *open_file(const char *name)
{
    struct store *s;

    CHECK(fs->ops->open(fs, name, STORE_READ | STORE_WRITE, &s, &err));
    return s;
}

static void overwrite(const char *name, uint64_t off, const void *bytes, uint64_t len)
{
    struct store *s = open_file(name);

    CHECK(store_write(s, bytes, len, off, &err));
    store_close(s);
}

static void put_size(const char *name, uint64_t record_off, uint32_t size)
{
    uint8_t bytes[4];

    put_le32(bytes, size);
    overwrite(name, record_off + 8, bytes, sizeof bytes);
}

/** Opens what is left; checks that every grain is that of content or zero. *ret_there: which are that of content, up to
 * 64, and the report is put into *ret_report. */
static void salvage(const char *name, const uint8_t *content, uint64_t n, uint64_t *ret_there,
                    struct salvage_report *ret_report)
{
    struct disk *d;
    uint8_t *buf = malloc(n * SECTOR_SIZE);
    uint64_t found = 0;

    assert_non_null(buf);
    *ret_there = 0;
    CHECK(salvage_open(fs, name, &d, &err));
    assert_int_equal(d->capacity, n);
    CHECK(disk_read(d, 0, n, buf, &err));
    for (uint64_t at = 0; at < n; at += 128) {
        uint64_t bytes = (n - at < 128 ? n - at : 128) * SECTOR_SIZE;
        bool same = memcmp(buf + at * SECTOR_SIZE, content + at * SECTOR_SIZE, bytes) == 0;
        assert_true(same || only_zeros(buf + at * SECTOR_SIZE, bytes));
        found += same && !only_zeros(content + at * SECTOR_SIZE, bytes);
        *ret_there |= same && at / 128 < 64 ? UINT64_C(1) << (at / 128) : 0;
    }
    assert_true(salvage_tell(d, ret_report));
    assert_int_equal(found, ret_report->grains);
    CHECK(disk_close(d, &err));
    free(buf);
}

static uint64_t data_grains(const uint8_t *content, uint64_t n)
{
    uint64_t count = 0;

    for (uint64_t at = 0; at < n; at += 128) {
        count += !only_zeros(content + at * SECTOR_SIZE, (n - at < 128 ? n - at : 128) * SECTOR_SIZE);
    }
    return count;
}

static const struct front_form forms[] = {
    {0}, {.backwards = true}, {.raw = true}, {.short_last = true, .no_end = true}};

static void a_sound_file_is_salvaged_completely(void **state)
{
    uint64_t n = 65536 + 5000, there;
    uint8_t *content = make_content(n, 21);
    struct salvage_report r;

    (void)state;
    make_own(content, n);
    for (size_t form = 0; form <= sizeof forms / sizeof forms[0]; form++) {
        if (form > 0) {
            n = 12345; /* zlib takes its time */
            store_close(make_front(fs, content, n, &forms[form - 1]));
        }
        salvage(form == 0 ? "own" : "front", content, n, &there, &r);
        assert_int_equal(r.grains, data_grains(content, n));
        assert_int_equal(r.damaged_grains + r.skipped_bytes + r.wrong_sizes + r.stray_records, 0);
    }
    free(content);
}

static void a_cut_file_gives_what_it_has(void **state)
{
    uint64_t n = 20000, size, there;
    uint8_t *content = make_content(n, 24);
    struct salvage_report r;

    (void)state;
    make_own(content, n);
    store_close(make_front(fs, content, n, &(struct front_form){0}));
    for (int form = 0; form < 2; form++) {
        const char *name = form == 0 ? "own" : "front";
        uint64_t all = data_grains(content, n), last = all;
        struct store *s = open_file(name);
        CHECK(s->ops->size(s, &size, &err));
        size -= 3000;
        for (uint64_t step = size / 9 + 333; size > step; size -= step) {
            CHECK(s->ops->truncate(s, size, &err));
            salvage(name, content, n, &there, &r);
            assert_true(r.grains <= last && r.damaged_grains == 0 && r.skipped_bytes < 130 * SECTOR_SIZE);
            last = r.grains;
        }
        assert_true(last < all / 2);
        store_close(s);
    }
    free(content);
}

/** 16 grains that do not compress, of 129 sectors each. */
static uint8_t *make_noise(uint64_t *ret_n)
{
    uint32_t seed = 17;
    uint8_t *content = malloc(16 * GRAIN_BYTES);

    assert_non_null(content);
    for (uint64_t i = 0; i < 16 * (uint64_t)GRAIN_BYTES; i++) {
        content[i] = (uint8_t)(next_random(&seed) >> 3);
    }
    *ret_n = 16 * 128;
    return content;
}

#define NOISE_OFF(grain) (RECORDS_OFF + (grain) * (uint64_t)129 * SECTOR_SIZE)

static void no_size_loses_a_grain(void **state)
{
    static const uint32_t sizes[] = {0, 1, 500, 501, 65536, 66037, 100000, 129 * 512 - 12, 131072, 131073, UINT32_MAX};
    uint64_t n, there;
    uint8_t *content = make_noise(&n);
    struct salvage_report r;

    (void)state;
    for (uint64_t grain = 0; grain < 16; grain += 7) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            make_own(content, n);
            put_size("own", NOISE_OFF(grain), sizes[i]);
            salvage("own", content, n, &there, &r);
            assert_int_equal(there, 0xFFFF);
            assert_int_equal(r.wrong_sizes, sizes[i] == 0 || sizes[i] > 66036 || sizes[i] <= 128 * 512 - 12);
            assert_int_equal(r.skipped_bytes + r.damaged_grains + r.stray_records, 0);
        }
    }
    free(content);
}

/** Without a checksum the data does not speak for itself against its size: that grain is lost, and no other. */
static void raw_deflate_needs_its_size(void **state)
{
    uint64_t n, there, size;
    uint8_t *content = make_noise(&n);
    struct salvage_report r;

    (void)state;
    struct store *s = make_front(fs, content, n, &(struct front_form){.raw = true});
    uint8_t *file = whole_file(s, &size);
    store_close(s);
    for (uint64_t off = 0; off + 12 < size; off += SECTOR_SIZE) {
        if (get_le64(file + off) == 5 * 128 && get_le32(file + off + 8) > 65000 && get_le32(file + off + 8) < 67000) {
            put_size("front", off, 131072);
        }
    }
    salvage("front", content, n, &there, &r);
    assert_int_equal(there, 0xFFFF & ~(1 << 5));
    assert_int_equal(r.damaged_grains + (r.skipped_bytes > 0), 2); /* its data, and the way to the next record */
    free(file);
    free(content);
}

static void what_was_not_touched_is_always_there(void **state)
{
    uint64_t n, there;
    uint8_t *content = make_noise(&n);
    uint32_t seed = 4711;
    struct salvage_report r;

    (void)state;
    for (int round = 0; round < 30; round++) {
        uint64_t touched = 0;
        make_own(content, n);
        for (int i = 0; i < 3; i++) {
            uint64_t grain = next_random(&seed) % 16, kind = next_random(&seed) % 3;
            uint8_t bytes[700], low = (uint8_t)(next_random(&seed) % 5);
            for (size_t j = 0; j < sizeof bytes; j++) {
                bytes[j] = (uint8_t)(next_random(&seed) >> 5);
            }
            touched |= UINT64_C(1) << grain;
            if (round % 2 == 0) { /* not both kinds: a grain in the place of one that is gone cannot be told */
                kind = i == 0 ? 3 : 2 * (kind % 2);
            }
            if (kind == 0) {
                put_size("own", NOISE_OFF(grain), next_random(&seed) % 131073);
            } else if (kind == 1) {
                memset(bytes + 8, 0, 8);
                bytes[12] = low; /* a marker of metadata */
                overwrite("own", NOISE_OFF(grain), bytes, 16);
            } else if (kind == 2) {
                overwrite("own", NOISE_OFF(grain) + 40 + 1000 * (uint64_t)low, bytes, sizeof bytes);
            } else {
                memset(bytes, 0, 8);
                bytes[1] = low; /* another grain of the disk, or none */
                overwrite("own", NOISE_OFF(grain), bytes, 8);
            }
        }
        salvage("own", content, n, &there, &r);
        assert_int_equal((there | touched) & 0xFFFF, 0xFFFF);
    }
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_file_is_salvaged_completely, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_file_gives_what_it_has, setup, teardown),
        cmocka_unit_test_setup_teardown(no_size_loses_a_grain, setup, teardown),
        cmocka_unit_test_setup_teardown(raw_deflate_needs_its_size, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_touched_is_always_there, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_sparse.c - sparse extents in every layout against a plain array of bytes; hosted ones by hand where it
 * matters what is on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sparse_util.h"

static struct store_fs *fs;

static struct store *new_file(const char *name)
{
    struct store *st = NULL;
    assert_int_equal(fs->ops->create(fs, name, 0, 0600, &st, NULL), VIX_OK);
    return st;
}

static VixError try_open(struct store *st, bool writable, uint64_t nsectors, struct extent **ret_x, struct err *err)
{
    struct extent_open_params p = {.store = st, .nsectors = nsectors, .writable = writable, .table_cache_bytes = 1};
    return open_either(&p, ret_x, err);
}

static struct extent *must_open(struct store *st, bool writable)
{
    struct extent *x = NULL;
    struct err err;
    err_init(&err);
    if (try_open(st, writable, 0, &x, &err) != VIX_OK) {
        fail_msg("open: %s", err.text);
    }
    return x;
}

static void must_close(struct extent *x)
{
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
}

static int begin(void **state)
{
    (void)state;
    fs = store_fs_mem_new(NULL);
    return fs == NULL;
}

static int end(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

/* ---- random operations against an array ---- */

struct model {
    uint64_t capacity; /* sectors */
    uint8_t *bytes;    /* what the disk must read as */
    uint8_t *below;    /* what the parent holds, or NULL */
};

static VixError read_below(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    const struct model *m = ctx;
    (void)err;
    assert_true(sector + nsectors <= m->capacity);
    memcpy(buf, m->below + sector * 512, nsectors * 512);
    return VIX_OK;
}

static void fill(uint8_t *buf, size_t len, uint64_t *seed, bool zeros)
{
    uint64_t v = zeros ? 0 : rnd(seed) | 1;
    for (size_t i = 0; i < len; i += 8) {
        memcpy(buf + i, &v, 8);
        v = v == 0 ? 0 : v + 1;
    }
}

/* A range: mostly within a few grains, sometimes long, often aligned. */
static void pick(const struct model *m, uint64_t grain, uint64_t *seed, uint64_t *sector, uint64_t *n)
{
    grain = max_u64(grain, 4);
    uint64_t max = rnd(seed) % 8 == 0 ? 40 * grain : 3 * grain;
    *sector = rnd(seed) % m->capacity;
    *n = 1 + rnd(seed) % max;
    if (rnd(seed) % 3 == 0) {
        *sector -= *sector % grain;
        *n = round_up(*n, grain);
    }
    *n = min_u64(*n, m->capacity - *sector);
}

static void random_write(struct extent *x, struct model *m, uint64_t *seed)
{
    uint64_t sector, n, grain = x->grain_sectors;
    pick(m, grain, seed, &sector, &n);
    uint8_t *buf = malloc(n * 512);
    assert_non_null(buf);
    fill(buf, n * 512, seed, rnd(seed) % 6 == 0);
    if (rnd(seed) % 4 == 0) { /* a hole of zeros within */
        uint64_t at = rnd(seed) % n, len = min_u64(1 + rnd(seed) % (2 * grain), n - at);
        memset(buf + at * 512, 0, len * 512);
    }
    assert_int_equal(x->ops->write(x, sector, n, buf, NULL), VIX_OK);
    memcpy(m->bytes + sector * 512, buf, n * 512);
    free(buf);
}

static void random_read(struct extent *x, const struct model *m, uint64_t *seed)
{
    uint64_t sector, n;
    pick(m, x->grain_sectors, seed, &sector, &n);
    uint8_t *buf = malloc(n * 512);
    assert_non_null(buf);
    assert_int_equal(ext_read(x, sector, n, buf, NULL), VIX_OK);
    assert_memory_equal(buf, m->bytes + sector * 512, n * 512);
    free(buf);
}

/* The merged map tells the same kinds as the fine one, and data that is not there is zero. */
static void check_map(struct extent *x, const struct model *m)
{
    struct extent_run fine = {.nsectors = 0}, coarse = {.nsectors = 0}, holes;

    for (uint64_t sector = 0, fine_end = 0, coarse_end = 0; sector < m->capacity;
         sector = min_u64(fine_end, coarse_end)) {
        if (sector == fine_end) {
            assert_int_equal(x->ops->map(x, sector, m->capacity - sector, 0, &fine, NULL), VIX_OK);
            fine_end += fine.nsectors;
        }
        if (sector == coarse_end) {
            assert_int_equal(x->ops->map(x, sector, m->capacity - sector, EXTENT_MAP_STATUS, &coarse, NULL), VIX_OK);
            coarse_end += coarse.nsectors;
        }
        assert_int_equal(fine.kind, coarse.kind);
        assert_true(fine_end <= coarse_end);
        assert_int_equal(x->ops->map(x, sector, m->capacity - sector, EXTENT_MAP_HOLES, &holes, NULL), VIX_OK);
        assert_true(holes.nsectors > 0 && holes.nsectors <= fine_end - sector);
        if (holes.kind == RUN_ZERO) {
            uint8_t zeros[512] = {0};
            assert_memory_equal(m->bytes + sector * 512, zeros, 512);
        }
    }
}

static struct extent *reopen(struct extent *x, struct store *st, struct model *m, uint64_t *seed)
{
    must_close(x);
    (void)check_file(st);
    x = must_open(st, true);
    if (m->below != NULL) {
        x->below = (struct extent_below){read_below, m};
    }
    if (rnd(seed) % 2 == 0) {
        check_map(x, m);
    }
    return x;
}

static void random_operations(const struct layout *l, bool with_parent, unsigned count, uint64_t seed)
{
    struct store *st = new_file("random");
    struct model m = {.capacity = l->capacity, .bytes = calloc(l->capacity, 512)};

    assert_non_null(m.bytes);
    build(st, l);
    struct extent *x = must_open(st, true);
    if (with_parent) {
        m.below = malloc(l->capacity * 512);
        assert_non_null(m.below);
        for (uint64_t s = 0; s < l->capacity; s += 5) {
            uint64_t n = min_u64(5, l->capacity - s);
            fill(m.below + s * 512, n * 512, &seed, rnd(&seed) % 3 == 0);
        }
        memcpy(m.bytes, m.below, l->capacity * 512);
        x->below = (struct extent_below){read_below, &m};
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t what = rnd(&seed) % 100;
        if (what < 50) {
            random_write(x, &m, &seed);
        } else if (what < 96) {
            random_read(x, &m, &seed);
        } else if (what < 98) {
            assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
        } else {
            x = reopen(x, st, &m, &seed);
        }
    }
    must_close(x);
    (void)check_file(st);
    x = must_open(st, false);
    x->below = (struct extent_below){with_parent ? read_below : NULL, &m};
    uint8_t *all = malloc(l->capacity * 512);
    assert_non_null(all);
    assert_int_equal(ext_read(x, 0, l->capacity, all, NULL), VIX_OK);
    assert_memory_equal(all, m.bytes, l->capacity * 512);
    check_map(x, &m);
    must_close(x);
    free(all);
    free(m.bytes);
    free(m.below);
    store_close(st);
    assert_int_equal(fs->ops->unlink(fs, "random", NULL), VIX_OK);
}

static const struct layout layouts[] = {
    {.name = "canonical", .capacity = 9001, .descriptor = true},
    {.name = "split", .capacity = 65536 + 128 * 3 + 1},
    {.name = "grain 1, many pages", .capacity = 20000, .grain = 1, .gtes = 512, .version = 1},
    {.name = "grain 8", .capacity = 5003, .grain = 8, .gtes = 128, .version = 1, .descriptor = true},
    {.name = "no copy", .capacity = 5003, .grain = 8, .gtes = 128, .version = 1, .no_copy = true},
    {.name = "big tables", .capacity = 5003, .grain = 2, .gtes = 8192, .version = 3},
    {.name = "scattered", .capacity = 20011, .grain = 16, .gtes = 128, .version = 1, .scattered = true},
    {.name = "missing", .capacity = 20011, .grain = 16, .gtes = 128, .version = 1, .missing_gts = 2},
    {.name = "all missing",
     .capacity = 9001,
     .grain = 16,
     .gtes = 128,
     .version = 3,
     .missing_gts = 1,
     .no_copy = true},
    {.name = "zero entries", .capacity = 9001, .grain = 16, .gtes = 128, .version = 2, .flags = KDMV_FLAG_ZERO_GTE},
    {.name = "grain 8192", .capacity = 20000, .grain = 8192, .gtes = 512, .version = 1},
    {.name = "COWD", .cowd = true, .capacity = 3 * 4096 + 77},
    {.name = "COWD, many pages", .cowd = true, .capacity = 30000},
    {.name = "COWD, grain 8", .cowd = true, .capacity = 40003, .grain = 8},
    {.name = "COWD, grain 2048", .cowd = true, .capacity = 9001, .grain = 2048},
};

static void every_layout_reads_what_was_written(void **state)
{
    const char *text = getenv("VIXDISK_TEST_OPERATIONS"); /* for a longer run */
    unsigned count = text != NULL ? (unsigned)atoi(text) : 100;

    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        uint64_t seed = 0x5EED0001 + i + 1000 * (uint64_t)count;
        print_message("%s: %u operations, seed 0x%llx\n", layouts[i].name, count, (unsigned long long)seed);
        random_operations(&layouts[i], false, count, seed);
        random_operations(&layouts[i], true, count, seed);
    }
}

/* ---- what is on disk ---- */

static void new_extent_is_as_published(void **state)
{
    struct store *st = new_file("new");
    uint64_t len;
    char text[9] = "";

    (void)state;
    assert_int_equal(extent_sparse_create(st, 2097152, "some text", 9, NULL), VIX_OK);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 384 * 512);
    assert_int_equal(extent_sparse_empty_size(2097152, true), len);
    assert_int_equal(extent_sparse_full_size(2097152, true), len + UINT64_C(2097152) * 512);
    assert_int_equal(extent_sparse_full_size(129, false), 128 * 512 + 256 * 512);
    for (uint32_t i = 0; i < 32; i++) {
        assert_int_equal(at_le32(st, 21 * 512 + 4 * i), 22 + 4 * i);
        assert_int_equal(at_le32(st, 150 * 512 + 4 * i), 151 + 4 * i);
    }
    assert_int_equal(at_le32(st, 21 * 512 + 4 * 32), 0);
    assert_int_equal(store_read(st, text, 9, 512, NULL), VIX_OK);
    assert_memory_equal(text, "some text", 9);
    assert_int_equal(check_file(st), 0);
    store_close(st);
}

static void impossible_extents_are_not_made(void **state)
{
    struct store *st = new_file("impossible");
    uint64_t len;
    char *text = calloc(1, 10241);

    (void)state;
    assert_non_null(text);
    assert_int_equal(extent_sparse_create(st, 0, NULL, 0, NULL), VIX_E_DISK_INVAL);
    assert_int_equal(extent_sparse_create(st, SPARSE_EXTENT_MAX_SECTORS + 1, NULL, 0, NULL), VIX_E_FILE_TOO_BIG);
    assert_int_equal(extent_sparse_create(st, 100, text, 10241, NULL), VIX_E_DISK_INVAL);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 0);
    assert_int_equal(extent_sparse_create(st, SPARSE_EXTENT_MAX_SECTORS, text, 10240, NULL), VIX_OK);
    assert_true(extent_sparse_full_size(SPARSE_EXTENT_MAX_SECTORS, true) <= (UINT64_C(1) << 32) * 512);
    free(text);
    store_close(st);
}

static void small_write_leaves_the_rest_of_the_grain_a_hole(void **state)
{
    struct store *st = new_file("hole");
    uint8_t data[512];
    struct extent_run run;
    struct store_run hole;
    uint64_t len;

    (void)state;
    build(st, &(struct layout){.capacity = 4096, .grain = 512, .gtes = 512, .version = 1});
    struct extent *x = must_open(st, true);
    memset(data, 0xC3, sizeof data);
    assert_int_equal(x->ops->write(x, 514, 1, data, NULL), VIX_OK);
    assert_int_equal(x->ops->map(x, 0, 4096, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ABSENT);
    assert_int_equal(run.nsectors, 512);
    assert_int_equal(x->ops->map(x, 514, 4096 - 514, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    assert_int_equal(run.nsectors, 510);
    assert_int_equal(run.file_off, (512 + 2) * 512);
    must_close(x);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 1024 * 512); /* exactly what is used */
    assert_int_equal(st->ops->map(st, 640 * 512, 384 * 512, &hole, NULL), VIX_OK);
    assert_true(hole.hole && hole.len == 384 * 512);
    assert_int_equal(check_file(st), 1);
    store_close(st);
}

static void zeros_over_nothing_take_no_space_and_change_nothing(void **state)
{
    struct store *st = new_file("zeros");
    static uint8_t zeros[300 * 512];
    uint64_t len;

    (void)state;
    build(st, &(struct layout){.capacity = 1024});
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 3, 300, zeros, NULL), VIX_OK);
    assert_false(header_of(st).unclean);
    must_close(x);
    assert_int_equal(st->ops->size(st, &len, NULL), VIX_OK);
    assert_int_equal(len, 128 * 512);
    assert_int_equal(check_file(st), 0);
    store_close(st);
}

static void ones_below(struct model *m, uint64_t capacity)
{
    *m = (struct model){.capacity = capacity, .below = malloc(capacity * 512)};
    assert_non_null(m->below);
    memset(m->below, 0xEE, capacity * 512);
}

static void zeros_over_a_parent_hide_it(void **state)
{
    (void)state;
    for (int zero_gtes = 0; zero_gtes < 2; zero_gtes++) {
        struct store *st = new_file("hide");
        static uint8_t zeros[128 * 512], got[129 * 512];
        struct extent_run run;
        struct model m;
        ones_below(&m, 1024);
        build(st, &(struct layout){.capacity = 1024,
                                   .grain = 128,
                                   .gtes = 512,
                                   .version = 2,
                                   .flags = zero_gtes ? KDMV_FLAG_ZERO_GTE : 0});
        struct extent *x = must_open(st, true);
        x->below = (struct extent_below){read_below, &m};
        assert_int_equal(x->ops->write(x, 128, 128, zeros, NULL), VIX_OK);
        assert_int_equal(x->ops->map(x, 128, 128, EXTENT_MAP_HOLES, &run, NULL), VIX_OK);
        assert_int_equal(run.kind, RUN_ZERO);
        assert_int_equal(ext_read(x, 128, 129, got, NULL), VIX_OK);
        assert_memory_equal(got, zeros, 128 * 512);
        assert_int_equal(got[128 * 512], 0xEE);
        must_close(x);
        assert_int_equal(check_file(st), zero_gtes ? 0 : 1);
        store_close(st);
        assert_int_equal(fs->ops->unlink(fs, "hide", NULL), VIX_OK);
        free(m.below);
    }
}

static void unclean_flag_is_set_while_there_are_changes(void **state)
{
    struct store *st = new_file("flag");
    uint8_t data[512] = {1};

    (void)state;
    build(st, &(struct layout){.capacity = 1024});
    struct extent *x = must_open(st, true);
    assert_false(header_of(st).unclean);
    assert_int_equal(x->ops->write(x, 0, 1, data, NULL), VIX_OK);
    assert_true(header_of(st).unclean);
    assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
    assert_true(header_of(st).unclean);
    must_close(x);
    assert_false(header_of(st).unclean);
    x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 0, 1, data, NULL), VIX_OK); /* in place: a change too */
    assert_true(header_of(st).unclean);
    must_close(x);
    assert_int_equal(check_file(st), 1);
    store_close(st);
}

static void neighbouring_grains_are_one_run(void **state)
{
    struct store *st = new_file("run");
    static uint8_t data[512 * 512];
    struct extent_run run;

    (void)state;
    memset(data, 9, sizeof data);
    build(st, &(struct layout){.capacity = 4096});
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 1024, 256, data, NULL), VIX_OK);
    assert_int_equal(x->ops->write(x, 1280, 256, data, NULL), VIX_OK);
    assert_int_equal(x->ops->write(x, 2048, 256, data, NULL), VIX_OK);
    assert_int_equal(x->ops->write(x, 1536, 512, data, NULL), VIX_OK);
    assert_int_equal(x->ops->map(x, 1030, 4096 - 1030, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.nsectors, 512 - 6);
    assert_int_equal(x->ops->map(x, 1030, 4096 - 1030, EXTENT_MAP_STATUS, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    assert_int_equal(run.nsectors, 2304 - 1030);
    assert_int_equal(x->ops->map(x, 1030, 3, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.nsectors, 3);
    must_close(x);
    store_close(st);
}

static void short_last_grain_reads_as_zeros_behind_the_end(void **state)
{
    struct store *st = new_file("short");
    static uint8_t data[128 * 512], got[128 * 512];

    (void)state;
    memset(data, 0x77, sizeof data);
    build(st, &(struct layout){.capacity = 1024});
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 0, 128, data, NULL), VIX_OK);
    must_close(x);
    assert_int_equal(st->ops->truncate(st, (128 + 10) * 512 + 100, NULL), VIX_OK);
    x = must_open(st, false);
    assert_int_equal(ext_read(x, 0, 128, got, NULL), VIX_OK);
    memset(data + 10 * 512 + 100, 0, sizeof data - 10 * 512 - 100);
    assert_memory_equal(got, data, sizeof data);
    must_close(x);
    x = must_open(st, true); /* and can be completed, and followed */
    memset(data + 100 * 512, 0x66, 512);
    assert_int_equal(x->ops->write(x, 100, 1, data + 100 * 512, NULL), VIX_OK);
    assert_int_equal(x->ops->write(x, 300, 1, data, NULL), VIX_OK);
    assert_int_equal(ext_read(x, 0, 128, got, NULL), VIX_OK);
    assert_memory_equal(got, data, sizeof data);
    must_close(x);
    assert_int_equal(check_file(st), 2);
    store_close(st);
}

static void copy_that_is_missing_is_made_and_filled(void **state)
{
    struct store *st = new_file("copy");
    uint8_t data[512] = {5};

    (void)state;
    build(st, &(struct layout){.capacity = 65536});
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 0, 1, data, NULL), VIX_OK);
    must_close(x);
    set_le32(st, header_of(st).rgd_sector * 512, 0);
    x = must_open(st, true);
    assert_int_equal(x->ops->write(x, 200, 1, data, NULL), VIX_OK);
    must_close(x);
    assert_int_equal(check_file(st), 2); /* compares the copies */
    store_close(st);
}

static void file_has_room_for_no_more_than_32_bits_of_sectors(void **state)
{
    struct store *st = new_file("full");
    struct extent *x;
    struct err err;
    static uint8_t data[129 * 512];

    (void)state;
    memset(data, 1, sizeof data);
    build(st, &(struct layout){.capacity = 65536});
    assert_int_equal(st->ops->truncate(st, ((UINT64_C(1) << 32) - 128) * 512, NULL), VIX_OK);
    x = must_open(st, true);
    err_init(&err);
    assert_int_equal(x->ops->write(x, 0, 129, data, &err), VIX_E_FILE_TOO_BIG);
    assert_non_null(strstr(err.text, "4294967296"));
    assert_int_equal(x->ops->write(x, 0, 1, data, NULL), VIX_OK); /* the last one fits */
    assert_int_equal(x->ops->write(x, 129, 1, data, NULL), VIX_E_FILE_TOO_BIG);
    must_close(x);
    assert_int_equal(check_file(st), 1);
    store_close(st);
}

static void two_terabytes_open_and_read_without_their_tables(void **state)
{
    struct store *st = new_file("huge");
    struct extent_run run;
    uint8_t data[512] = {3};

    (void)state;
    build(st, &(struct layout){.capacity = SPARSE_EXTENT_MAX_SECTORS});
    struct extent *x = must_open(st, true);
    assert_int_equal(x->ops->write(x, SPARSE_EXTENT_MAX_SECTORS - 1, 1, data, NULL), VIX_OK);
    assert_int_equal(x->ops->map(x, 0, SPARSE_EXTENT_MAX_SECTORS, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_ABSENT);
    assert_int_equal(run.nsectors, SPARSE_EXTENT_MAX_SECTORS - 128);
    must_close(x);
    x = must_open(st, false);
    assert_int_equal(x->ops->map(x, SPARSE_EXTENT_MAX_SECTORS - 1, 1, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    must_close(x);
    store_close(st);
}

/* Readers step over tables that are holes of the file; whatever lies between them must be found. */
static void nothing_is_missed_between_tables_that_are_holes(void **state)
{
    static const uint64_t grains[] = {0, 511, 512, 8191, 8192, 40000, 40001, 1048575, 1048576, 20000000, 33550000};
    static const struct layout kinds[] = {
        {.capacity = SPARSE_EXTENT_MAX_SECTORS},
        {.capacity = SPARSE_EXTENT_MAX_SECTORS, .grain = 128, .gtes = 512, .version = 1, .missing_gts = 3},
    };
    uint8_t data[512] = {3};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct store *st = new_file("gaps");
        build(st, &kinds[k]);
        struct extent *x = must_open(st, true);
        for (size_t i = 0; i < sizeof grains / sizeof grains[0]; i++) {
            assert_int_equal(x->ops->write(x, grains[i] * 128, 1, data, NULL), VIX_OK);
        }
        must_close(x);
        for (uint32_t flags = 0; flags <= EXTENT_MAP_STATUS; flags++) {
            uint64_t at = 0, found = 0;
            x = must_open(st, false);
            while (at < x->nsectors) {
                struct extent_run run;
                assert_int_equal(x->ops->map(x, at, x->nsectors - at, flags, &run, NULL), VIX_OK);
                assert_true(run.nsectors > 0 && run.nsectors <= x->nsectors - at);
                for (uint64_t s = at; run.kind == RUN_DATA && s < at + run.nsectors; s += 128, found++) {
                    assert_int_equal(s, grains[found] * 128);
                }
                at += run.nsectors;
            }
            assert_int_equal(found, sizeof grains / sizeof grains[0]);
            must_close(x);
        }
        store_close(st);
        assert_int_equal(fs->ops->unlink(fs, "gaps", NULL), VIX_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_reads_what_was_written),
        cmocka_unit_test(new_extent_is_as_published),
        cmocka_unit_test(impossible_extents_are_not_made),
        cmocka_unit_test(small_write_leaves_the_rest_of_the_grain_a_hole),
        cmocka_unit_test(zeros_over_nothing_take_no_space_and_change_nothing),
        cmocka_unit_test(zeros_over_a_parent_hide_it),
        cmocka_unit_test(unclean_flag_is_set_while_there_are_changes),
        cmocka_unit_test(neighbouring_grains_are_one_run),
        cmocka_unit_test(short_last_grain_reads_as_zeros_behind_the_end),
        cmocka_unit_test(copy_that_is_missing_is_made_and_filled),
        cmocka_unit_test(file_has_room_for_no_more_than_32_bits_of_sectors),
        cmocka_unit_test(two_terabytes_open_and_read_without_their_tables),
        cmocka_unit_test(nothing_is_missed_between_tables_that_are_holes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

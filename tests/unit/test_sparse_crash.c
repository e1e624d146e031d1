/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sparse_crash.c - whatever fails, and whenever the power goes: what was flushed is there, what was written since
 * is there or not sector by sector, and the extent opens for writing again and is in order.
 *
 * Every write has a number. A sector holds its own number and that of the write; so a look at a sector tells which
 * write it is from. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sparse_util.h"
#include "store/store_fault.h"

#define MAX_STEPS 40u
#define MAX_CAPACITY 4600u
#define FRESH UINT32_MAX /* what the sector held before the run */

static struct layout layouts[] = {
    {.name = "canonical", .capacity = 2000},
    {.name = "grain 8, scattered", .capacity = 3001, .grain = 8, .gtes = 128, .version = 1, .scattered = true},
    {.name = "tables missing", .capacity = 3001, .grain = 8, .gtes = 128, .version = 1, .missing_gts = 2},
    {.name = "COWD", .cowd = true, .capacity = 4500},
};

struct step {
    uint64_t sector, nsectors; /* a write; 0 sectors: a flush */
    uint8_t *data;
    size_t events; /* recorded when it had succeeded */
    bool done;
};

struct run {
    const struct layout *layout;
    bool parent;
    struct step steps[MAX_STEPS];
    unsigned nsteps;
};

static void stamp(uint8_t *buf, uint64_t sector, uint32_t number)
{
    put_le64(buf, sector + 1);
    put_le64(buf + 8, number);
    for (unsigned i = 16; i < 512; i *= 2) {
        memcpy(buf + i, buf, i);
    }
}

static VixError read_parent(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)ctx, (void)err;
    for (uint64_t i = 0; i < nsectors; i++) {
        stamp((uint8_t *)buf + i * 512, sector + i, FRESH);
    }
    return VIX_OK;
}

/* Which write a sector is from; fails the test if it is a mixture or from elsewhere. */
static uint32_t number_of(const struct run *r, const uint8_t *buf, uint64_t sector)
{
    uint8_t expected[512] = {0};
    if (!r->parent && memcmp(buf, expected, 512) == 0) {
        return FRESH;
    }
    uint32_t number = (uint32_t)get_le64(buf + 8);
    stamp(expected, sector, number);
    assert_memory_equal(buf, expected, 512);
    return number;
}

static void plan(struct run *r, uint64_t seed)
{
    uint64_t capacity = r->layout->capacity, grain = r->layout->grain > 2 ? r->layout->grain : 128;
    for (r->nsteps = 0; r->nsteps < MAX_STEPS; r->nsteps++) {
        struct step *s = &r->steps[r->nsteps];
        *s = (struct step){.nsectors = 0};
        if (rnd(&seed) % 5 == 0) {
            continue;
        }
        s->sector = rnd(&seed) % capacity;
        s->nsectors = min_u64(1 + rnd(&seed) % (4 * grain), capacity - s->sector);
        s->data = malloc(s->nsectors * 512);
        assert_non_null(s->data);
        for (uint64_t i = 0; i < s->nsectors; i++) {
            stamp(s->data + i * 512, s->sector + i, r->nsteps);
        }
    }
}

static void forget(struct run *r)
{
    for (unsigned i = 0; i < r->nsteps; i++) {
        free(r->steps[i].data);
    }
}

static struct extent *open_in(struct store_fs *fs, const struct run *r, bool writable, struct store **ret_st,
                              struct err *err)
{
    struct extent_open_params p = {.writable = writable, .table_cache_bytes = 1};
    struct extent *x = NULL;
    if (fs->ops->open(fs, "disk", writable ? STORE_WRITE : STORE_READ, ret_st, err) != VIX_OK) {
        return NULL;
    }
    p.store = *ret_st;
    if (open_either(&p, &x, err) != VIX_OK) {
        store_close(*ret_st);
        return NULL;
    }
    x->below.read = r->parent ? read_parent : NULL;
    return x;
}

/* A file system with an empty extent. */
static struct store_fs *fresh(const struct run *r)
{
    struct store_fs *fs = store_fs_mem_new(NULL);
    struct store *st;
    assert_non_null(fs);
    assert_int_equal(fs->ops->create(fs, "disk", 0, 0600, &st, NULL), VIX_OK);
    build(st, r->layout);
    assert_int_equal(fs->ops->sync_folder(fs, "disk", NULL), VIX_OK);
    store_close(st);
    return fs;
}

/* Does the steps on a file system that may fail; goes on after failures, as a program might. */
static VixError perform(struct run *r, struct store_fs *fs)
{
    struct err err;
    struct store *st;
    VixError first = VIX_OK;

    err_init(&err);
    for (unsigned i = 0; i < r->nsteps; i++) {
        r->steps[i].done = false;
    }
    struct extent *x = open_in(fs, r, true, &st, &err);
    if (x == NULL) {
        return err.code;
    }
    for (unsigned i = 0; i < r->nsteps; i++) {
        struct step *s = &r->steps[i];
        VixError e = s->nsectors > 0 ? x->ops->write(x, s->sector, s->nsectors, s->data, &err) : x->ops->flush(x, &err);
        s->done = e == VIX_OK;
        s->events = store_fault_events(fs);
        first = first != VIX_OK ? first : e;
    }
    VixError e = x->ops->close(x, &err);
    store_close(st);
    return first != VIX_OK ? first : e;
}

/* For each sector the number of the last write before the last flush that was done within the first nevents events. */
static void what_must_be_there(const struct run *r, size_t nevents, uint32_t *last)
{
    unsigned flushed = 0;
    for (unsigned i = 0; i < r->nsteps; i++) {
        if (r->steps[i].nsectors == 0 && r->steps[i].done && r->steps[i].events <= nevents) {
            flushed = i;
        }
    }
    memset(last, 0xFF, MAX_CAPACITY * sizeof *last);
    for (unsigned i = 0; i < flushed; i++) {
        for (uint64_t s = 0; s < r->steps[i].nsectors && r->steps[i].done; s++) {
            last[r->steps[i].sector + s] = i;
        }
    }
}

/* Writes that failed may be there in part; so may all that came after the flush. Numbers grow with time. */
static void check_content(const struct run *r, struct extent *x, const uint32_t *last)
{
    static uint8_t all[MAX_CAPACITY * 512];
    struct err err;
    err_init(&err);
    if (ext_read(x, 0, r->layout->capacity, all, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    for (uint64_t s = 0; s < r->layout->capacity; s++) {
        uint32_t number = number_of(r, all + s * 512, s);
        if (last[s] != FRESH) {
            assert_true(number != FRESH && number >= last[s]);
        }
        if (number != FRESH) {
            assert_true(number < r->nsteps);
            assert_true(s - r->steps[number].sector < r->steps[number].nsectors);
        }
    }
}

/* What a file system holds after a mishap: good to read, good to write to, and then in order. */
static void survives(const struct run *r, struct store_fs *fs, const uint32_t *last)
{
    struct store *st;
    struct err err;
    uint8_t data[512];

    err_init(&err);
    struct extent *x = open_in(fs, r, false, &st, &err);
    if (x == NULL) {
        fail_msg("%s", err.text);
        return;
    }
    check_content(r, x, last);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    store_close(st);
    x = open_in(fs, r, true, &st, &err);
    if (x == NULL) {
        fail_msg("%s", err.text);
        return;
    }
    check_content(r, x, last);
    stamp(data, r->layout->capacity - 1, MAX_STEPS - 1);
    assert_int_equal(x->ops->write(x, r->layout->capacity - 1, 1, data, &err), VIX_OK);
    assert_int_equal(x->ops->close(x, &err), VIX_OK);
    (void)check_file(st);
    store_close(st);
}

static void crash_everywhere(struct run *r, unsigned every)
{
    static uint32_t last[MAX_CAPACITY];
    struct store_fs *base = fresh(r), *mem = store_fs_mem_clone(base, NULL);
    struct store_fs *fs = store_fault_new(mem, NULL);

    assert_true(mem != NULL && fs != NULL);
    store_fault_record(fs);
    assert_int_equal(perform(r, fs), VIX_OK);
    size_t events = store_fault_events(fs);
    assert_true(events > MAX_STEPS);
    for (size_t n = 0; n <= events; n += every) {
        what_must_be_there(r, n, last);
        for (unsigned how = STORE_CRASH_PROCESS; how <= STORE_CRASH_MIX; how++) {
            struct store_fs *after = store_fs_mem_clone(base, NULL);
            assert_non_null(after);
            assert_int_equal(store_fault_replay(fs, n, (enum store_crash)how, (unsigned)n + 1, after, NULL), VIX_OK);
            survives(r, after, last);
            store_fs_mem_free(after);
        }
    }
    store_fault_free(fs);
    store_fs_mem_free(mem);
    store_fs_mem_free(base);
}

static void power_may_go_at_any_moment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        for (int parent = 0; parent < 2; parent++) {
            struct run r = {.layout = &layouts[i], .parent = parent != 0};
            plan(&r, 0xC0FFEE + i);
            crash_everywhere(&r, 6);
            forget(&r);
        }
    }
}

/* Makes each operation of a kind fail in turn. */
static void fail_each(struct run *r, uint32_t ops, int errnum, bool stays)
{
    static uint32_t last[MAX_CAPACITY];

    for (uint64_t nth = 1;; nth++) {
        struct store_fs *mem = fresh(r), *fs = store_fault_new(mem, NULL);
        struct store_fault_rule rule = {.ops = ops, .nth = nth, .errnum = errnum, .stays = stays};
        assert_non_null(fs);
        store_fault_set(fs, &rule);
        VixError e = perform(r, fs);
        bool hit = store_fault_has_hit(fs);
        store_fault_set(fs, NULL);
        /* Where the file system cannot give space back, or make a file longer than needed, nothing is lost. */
        assert_true(hit || e == VIX_OK);
        what_must_be_there(r, SIZE_MAX, last);
        survives(r, mem, last);
        store_fault_free(fs);
        store_fs_mem_free(mem);
        if (!hit) {
            assert_true(nth > 1);
            return;
        }
    }
}

static void any_operation_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        struct run r = {.layout = &layouts[i], .parent = i % 2 == 0};
        plan(&r, 0xBAD + i);
        fail_each(&r, FAULT_WRITE, EIO, false);
        fail_each(&r, FAULT_WRITE, ENOSPC, true);
        fail_each(&r, FAULT_TRUNCATE, ENOSPC, false);
        fail_each(&r, FAULT_FLUSH, EIO, false);
        fail_each(&r, FAULT_READ, EIO, false);
        forget(&r);
    }
}

static struct store_fs *mem_fs, *bad_fs;

static struct extent *open_bad(struct store **ret_st)
{
    static const struct run r = {.layout = &layouts[0]};
    mem_fs = fresh(&r);
    bad_fs = store_fault_new(mem_fs, NULL);
    assert_non_null(bad_fs);
    struct extent *x = open_in(bad_fs, &r, true, ret_st, NULL);
    assert_non_null(x);
    return x;
}

static void close_bad(struct store *st)
{
    store_close(st);
    store_fault_free(bad_fs);
    store_fs_mem_free(mem_fs);
}

static void tables_that_cannot_be_written_end_all_writing(void **state)
{
    struct store *st;
    struct err err;
    uint8_t data[512], got[512];

    (void)state;
    struct extent *x = open_bad(&st);
    stamp(data, 5, 1);
    assert_int_equal(x->ops->write(x, 5, 1, data, NULL), VIX_OK);
    store_fault_set(bad_fs, &(struct store_fault_rule){.ops = FAULT_WRITE, .nth = 2, .errnum = EIO});
    err_init(&err);
    assert_int_equal(x->ops->flush(x, &err), VIX_E_FILE_ERROR);
    assert_non_null(strstr(err.text, "grain tables"));
    for (int i = 0; i < 2; i++) {
        err_init(&err);
        assert_int_equal(i == 0 ? x->ops->write(x, 6, 1, data, &err) : x->ops->flush(x, &err), VIX_E_FILE_ERROR);
        assert_non_null(strstr(err.text, "grain tables"));
    }
    assert_int_equal(ext_read(x, 5, 1, got, NULL), VIX_OK);
    assert_memory_equal(got, data, 512);
    assert_int_equal(x->ops->close(x, &err), VIX_E_FILE_ERROR);
    assert_true(header_of(st).unclean);
    close_bad(st);
}

static void full_disk_can_be_tried_again(void **state)
{
    struct store *st;
    uint8_t data[512];

    (void)state;
    struct extent *x = open_bad(&st);
    stamp(data, 5, 1);
    assert_int_equal(x->ops->write(x, 5, 1, data, NULL), VIX_OK);
    store_fault_set(bad_fs, &(struct store_fault_rule){.ops = FAULT_WRITE, .nth = 1, .errnum = ENOSPC});
    assert_int_equal(x->ops->flush(x, NULL), VIX_E_DISK_FULL);
    assert_int_equal(x->ops->write(x, 300, 1, data, NULL), VIX_OK);
    assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_int_equal(check_file(st), 2);
    close_bad(st);
}

static void file_system_with_small_files_is_used_to_its_limit(void **state)
{
    struct store *st;
    uint8_t data[512];

    (void)state;
    struct extent *x = open_bad(&st);
    stamp(data, 0, 1);
    store_fault_pretend(bad_fs, STORE_FS_FAT, (128 + 3 * 128) * 512, UINT64_MAX);
    for (uint64_t grain = 0; grain < 3; grain++) {
        assert_int_equal(x->ops->write(x, grain * 128, 1, data, NULL), VIX_OK);
    }
    assert_int_equal(x->ops->write(x, 3 * 128, 1, data, NULL), VIX_E_FILE_TOO_BIG);
    assert_int_equal(x->ops->write(x, 2 * 128 + 5, 1, data, NULL), VIX_OK);
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    assert_int_equal(check_file(st), 3);
    close_bad(st);
}

/* Data before any entry that points to it, copy before primary, the flag before everything. */
static void changes_reach_the_file_in_order(void **state)
{
    struct store *st;
    uint8_t data[512];
    char line[200];

    (void)state;
    struct extent *x = open_bad(&st);
    stamp(data, 5, 1);
    store_fault_record(bad_fs);
    assert_int_equal(x->ops->write(x, 5, 1, data, NULL), VIX_OK);
    assert_int_equal(x->ops->flush(x, NULL), VIX_OK);
    static const char *const expected[] = {"write", "flush", "truncate", "write", "flush", "write", "write", "flush"};
    assert_int_equal(store_fault_events(bad_fs), 8);
    for (size_t i = 0; i < 8; i++) {
        store_fault_describe(bad_fs, i, line, sizeof line);
        assert_non_null(strstr(line, expected[i]));
    }
    assert_int_equal(x->ops->close(x, NULL), VIX_OK);
    close_bad(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_reach_the_file_in_order),
        cmocka_unit_test(tables_that_cannot_be_written_end_all_writing),
        cmocka_unit_test(full_disk_can_be_tried_again),
        cmocka_unit_test(file_system_with_small_files_is_used_to_its_limit),
        cmocka_unit_test(any_operation_may_fail),
        cmocka_unit_test(power_may_go_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

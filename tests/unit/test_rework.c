/* SPDX-License-Identifier: BSD-3-Clause */
/* Defragment, shrink, grow, commit and reparent in memory: what a crash at any moment and the failure of any operation
 * leave. Always the old or the new state, and always the same content. */
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
#include "base/text.h"
#include "ops/check.h"
#include "ops/ops.h"
#include "store/store_fault.h"
#include "vmdk/create_int.h"

#define SMALL (1024u + 77)                      /* no multiple of a grain */
#define LARGE (SPLIT_EXTENT_SECTORS + 2048 + 5) /* two extents of a split disk */
#define WINDOW 1200u                            /* sectors at the beginning of a disk that are looked at */
#define BORDER 200u                             /* sectors at each border of extents, and at the end */
#define IMAGE_SECTORS (WINDOW + 2 * BORDER)

static struct store_fs *fs;
static struct err err;

static int begin(void **state)
{
    (void)state;
    err_init(&err);
    fs = store_fs_mem_new(&err);
    return fs != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

/* ---- what a disk holds ---- */

/** The parts of a disk that the tests write, and the sectors around them. */
struct image {
    uint64_t capacity;
    uint8_t bytes[IMAGE_SECTORS * SECTOR_SIZE];
};

struct part {
    uint64_t sector, nsectors;
    size_t at; /* in image.bytes */
};

/** The parts of a disk that had a capacity before it was made larger. Sets up to three, returns how many. */
static size_t parts_of(uint64_t capacity, struct part parts[3])
{
    size_t n = 0;

    parts[n++] = (struct part){.nsectors = min_u64(WINDOW, capacity)};
    if (capacity > SPLIT_EXTENT_SECTORS + BORDER) {
        parts[n++] = (struct part){.sector = SPLIT_EXTENT_SECTORS - BORDER / 2, .nsectors = BORDER};
        parts[n++] = (struct part){.sector = capacity - BORDER, .nsectors = BORDER};
        parts[1].at = WINDOW * SECTOR_SIZE;
        parts[2].at = (WINDOW + BORDER) * SECTOR_SIZE;
    }
    return n;
}

/** What an open disk holds where a disk of the capacity has its parts. */
static bool read_image(struct disk *d, uint64_t capacity, struct image *ret_image)
{
    struct part parts[3];
    size_t n = parts_of(capacity, parts);

    memset(ret_image, 0, sizeof *ret_image);
    ret_image->capacity = d->capacity;
    for (size_t i = 0; i < n; i++) {
        if (disk_read(d, parts[i].sector, parts[i].nsectors, ret_image->bytes + parts[i].at, &err) != VIX_OK) {
            return false;
        }
    }
    return true;
}

static bool image_at(struct store_fs *where, const char *path, uint64_t capacity, struct image *ret_image)
{
    struct disk *d = NULL;

    if (disk_open_local(where, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    bool good = read_image(d, capacity, ret_image);
    return disk_close(d, &err) == VIX_OK && good;
}

static bool same_bytes(const struct image *a, const struct image *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/** Whether a disk can be opened, holds what it shall, has one of two capacities, and zeros where it is larger. */
static bool is_good(struct store_fs *where, const char *path, const struct image *want, uint64_t new_capacity)
{
    static struct image found;
    static uint8_t tail[BORDER * SECTOR_SIZE], zeros[BORDER * SECTOR_SIZE];
    struct disk *d = NULL;

    if (!image_at(where, path, want->capacity, &found) || !same_bytes(&found, want) ||
        (found.capacity != want->capacity && found.capacity != new_capacity)) {
        return false;
    }
    if (found.capacity == want->capacity) {
        return true;
    }
    uint64_t n = min_u64(BORDER, found.capacity - want->capacity);
    if (disk_open_local(where, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    bool good = disk_read(d, want->capacity, n, tail, &err) == VIX_OK && memcmp(tail, zeros, n * SECTOR_SIZE) == 0 &&
                disk_read(d, found.capacity - n, n, tail, &err) == VIX_OK && memcmp(tail, zeros, n * SECTOR_SIZE) == 0;
    return disk_close(d, &err) == VIX_OK && good;
}

/** Whether check finds nothing that it could not repair, and the disk is good after the repair and can be written. */
static bool is_sound(struct store_fs *where, const char *path, const struct image *want, uint64_t new_capacity)
{
    struct check_summary sum;
    struct disk *d = NULL;
    uint8_t sector[SECTOR_SIZE];

    VixError code = ops_check(where, path, CHECK_REPAIR | CHECK_CHAIN, NULL, NULL, &sum, &err);
    if (code != VIX_OK || !is_good(where, path, want, new_capacity) ||
        disk_open_local(where, path, 0, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    code = disk_read(d, 5, 1, sector, &err);
    if (code == VIX_OK) {
        code = disk_write(d, 5, 1, sector, &err);
    }
    return disk_close(d, &err) == VIX_OK && code == VIX_OK;
}

/* ---- disks ---- */

static void put(struct disk *d, uint64_t sector, uint64_t nsectors, uint8_t value)
{
    static uint8_t buf[512 * SECTOR_SIZE];

    assert_true(nsectors * SECTOR_SIZE <= sizeof buf);
    for (size_t i = 0; i < nsectors * SECTOR_SIZE; i++) {
        buf[i] = value == 0 ? 0 : (uint8_t)(value + i / SECTOR_SIZE);
    }
    assert_int_equal(disk_write(d, sector, nsectors, buf, &err), VIX_OK);
}

/** Writes from the end to the beginning, so that grains stand in the wrong order; some grains are zeros in the end. */
static void scatter(struct disk *d, uint8_t value)
{
    put(d, d->capacity - 100, 100, value);
    if (d->capacity > SPLIT_EXTENT_SECTORS) {
        put(d, SPLIT_EXTENT_SECTORS - 60, 120, (uint8_t)(value + 1));
    }
    put(d, 800, 150, (uint8_t)(value + 2));
    put(d, 500, 100, (uint8_t)(value + 3));
    put(d, 128, 256, (uint8_t)(value + 4));
    put(d, 256, 128, 0); /* a whole grain */
    put(d, 3, 7, (uint8_t)(value + 5));
}

static void make_disk(const char *path, VixDiskLibDiskType type, uint64_t capacity, uint8_t value)
{
    const struct create_params p = {.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = capacity};
    struct disk *d = NULL;

    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, path, 0, NULL, &d, &err), VIX_OK);
    scatter(d, value);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** A child of a disk in the same folder: it hides a part of the parent by zeros, and has data of its own. */
static void make_child(const char *parent, const char *path, VixDiskLibDiskType type, uint8_t value)
{
    struct create_params p = {.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC};
    struct disk *d = NULL;

    assert_int_equal(disk_open_local(fs, parent, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err), VIX_OK);
    p.capacity = d->capacity;
    p.parent_hint = store_path_base(parent);
    p.parent_cid = disk_local_chain(d)->links[0]->desc->cid;
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, path, 0, NULL, &d, &err), VIX_OK);
    put(d, 930, 30, value);
    put(d, 768, 128, 0); /* hides data of the parent */
    put(d, 550, 64, (uint8_t)(value + 1));
    put(d, 450, 5, (uint8_t)(value + 2));
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

static VixError count_name(void *ctx, const char *name, struct err *e)
{
    (void)e;
    if (text_ends_with(name, ".vmdk") || strstr(name, ".tmp-") != NULL) {
        ++*(unsigned *)ctx;
    }
    return VIX_OK;
}

static VixError count_temp(void *ctx, const char *name, struct err *e)
{
    (void)e;
    *(unsigned *)ctx += strstr(name, ".tmp-") != NULL;
    return VIX_OK;
}

static unsigned count_files(struct store_fs *where, bool temp_only)
{
    unsigned n = 0;
    assert_int_equal(where->ops->list(where, "/a/x", temp_only ? count_temp : count_name, &n, &err), VIX_OK);
    return n;
}

/* ---- one operation under test ---- */

struct subject {
    const char *name;
    void (*make)(void);
    VixError (*run)(struct store_fs *where);
    const char *path; /* holds the content before, and after where path_after is NULL */
    const char *path_after;
    uint64_t new_capacity; /* 0: as it was */
};

static struct image want;

static void prepare(const struct subject *s)
{
    fs = fs != NULL ? fs : store_fs_mem_new(&err);
    assert_non_null(fs);
    s->make();
    struct disk *d = NULL;
    assert_int_equal(disk_open_local(fs, s->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err), VIX_OK);
    assert_true(read_image(d, d->capacity, &want));
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

static void forget(void)
{
    store_fs_mem_free(fs);
    fs = NULL;
}

static const char *after(const struct subject *s)
{
    return s->path_after != NULL ? s->path_after : s->path;
}

/** The old or the new state, and what there is is sound; done: the new one. */
static bool state_is_good(struct store_fs *where, const struct subject *s, bool done)
{
    const char *path = where->ops->exists(where, s->path) && !(done && s->path_after != NULL) ? s->path : after(s);

    if (done && s->path_after != NULL && where->ops->exists(where, s->path)) {
        return false;
    }
    return is_good(where, path, &want, s->new_capacity) && is_sound(where, path, &want, s->new_capacity);
}

/** The half-removed child that a merge may leave in the folder. */
static VixError find_part(void *ctx, const char *name, struct err *e)
{
    (void)e;
    if (strstr(name, ".part-") != NULL && text_ends_with(name, ".vmdk")) {
        (void)snprintf(ctx, 100, "/a/%s", name);
    }
    return VIX_OK;
}

static VixError count_child(void *ctx, const char *name, struct err *e)
{
    (void)e;
    *(unsigned *)ctx += name[0] == 'd';
    return VIX_OK;
}

/** A merge is done, or cut short: what is left of the child is refused as a disk, can be removed, and that is all. */
static bool child_can_be_removed(struct store_fs *where, const struct subject *s)
{
    char part[100] = "";
    unsigned left = 0;
    struct disk *d = NULL;
    struct check_summary sum;

    if (where->ops->exists(where, s->path)) {
        return true;
    }
    assert_int_equal(where->ops->list(where, "/a/x", find_part, part, &err), VIX_OK);
    if (part[0] != '\0' && (disk_open_local(where, part, 0, NULL, &d, &err) != VIX_E_DISK_INVALIDDISK ||
                            ops_check(where, part, 0, NULL, NULL, &sum, &err) != VIX_E_DISK_INVALIDDISK ||
                            ops_unlink(where, part, &err) != VIX_OK)) {
        return false;
    }
    assert_int_equal(where->ops->list(where, "/a/x", count_child, &left, &err), VIX_OK);
    return left == 0;
}

/** Whether the operation that was cut short can be done, or done again. */
static bool can_be_done_again(struct store_fs *where, const struct subject *s)
{
    if (where->ops->exists(where, s->path) || s->path_after == NULL) {
        if (s->run(where) != VIX_OK) {
            return false;
        }
    }
    return state_is_good(where, s, true) && (s->path_after == NULL || child_can_be_removed(where, s));
}

static const enum store_crash ways[] = {STORE_CRASH_PROCESS, STORE_CRASH_LOSE, STORE_CRASH_MIX, STORE_CRASH_MIX,
                                        STORE_CRASH_MIX};
#define WAYS (sizeof ways / sizeof ways[0])

static void check_crash(const struct subject *s, struct store_fs *fault, struct store_fs *start, size_t n, unsigned w)
{
    struct store_fs *now = store_fs_mem_clone(start, &err);
    char text[200] = "the end";
    size_t events = store_fault_events(fault);

    assert_non_null(now);
    assert_int_equal(store_fault_replay(fault, n, ways[w], w, now, &err), VIX_OK);
    err_init(&err);
    bool good = state_is_good(now, s, n == events) && can_be_done_again(now, s);
    if (!good) {
        if (n < events) {
            store_fault_describe(fault, n, text, sizeof text);
        }
        print_error("%s: crash %u before event %zu of %zu (%s): %s\n", s->name, w, n, events, text, err.text);
    }
    assert_true(good);
    store_fs_mem_free(now);
}

static void check_crashes(const struct subject *s)
{
    prepare(s);
    struct store_fs *start = store_fs_mem_clone(fs, &err);
    struct store_fs *fault = store_fault_new(fs, &err);
    assert_true(start != NULL && fault != NULL);
    store_fault_record(fault);
    VixError code = s->run(fault);
    if (code != VIX_OK) {
        print_error("%s: %s\n", s->name, err.text);
    }
    assert_int_equal(code, VIX_OK);
    size_t events = store_fault_events(fault);
    assert_true(events > 1);
    for (size_t n = 0; n <= events; n++) {
        for (unsigned w = 0; w < WAYS; w++) {
            check_crash(s, fault, start, n, w);
        }
    }
    store_fault_free(fault);
    store_fs_mem_free(start);
    forget();
}

/** Fails the nth operation of some kinds. The number of those that there were, to go on. */
static uint64_t check_failure(const struct subject *s, struct store_fs *start, const struct store_fault_rule *rule,
                              unsigned files_before, unsigned files_after)
{
    struct store_fs *now = store_fs_mem_clone(start, &err);
    struct store_fs *fault = store_fault_new(now, &err);

    assert_true(now != NULL && fault != NULL);
    store_fault_set(fault, rule);
    VixError code = s->run(fault);
    uint64_t count = store_fault_count(fault, rule->ops);
    bool hit = store_fault_has_hit(fault);
    struct err said = err;
    store_fault_free(fault);
    unsigned files = count_files(now, false);
    unsigned temps = count_files(now, true);
    bool may_leave = (rule->ops & FAULT_UNLINK) != 0 || s->path_after != NULL;
    bool good = (code == VIX_OK || hit) && (rule->nth != 0 || code == VIX_OK) &&
                state_is_good(now, s, code == VIX_OK) && ((rule->ops & FAULT_UNLINK) != 0 || temps == 0) &&
                (may_leave || files == files_before || files == files_after) && can_be_done_again(now, s);
    if (!good) {
        print_error("%s: operation %u of kinds %x failed (errno %d%s): code %d (%s), %u files, %u temporary; then %s\n",
                    s->name, (unsigned)rule->nth, rule->ops, rule->errnum, rule->stays ? ", stays" : "", (int)code,
                    code != VIX_OK ? said.text : "it went well", files, temps, err.text);
    }
    assert_true(good);
    store_fs_mem_free(now);
    return count;
}

static void fail_each(const struct subject *s, uint32_t kinds, int errnum, bool stays)
{
    struct store_fs *start = store_fs_mem_clone(fs, &err);
    unsigned files = count_files(fs, false);
    struct store_fault_rule rule = {.ops = kinds, .errnum = errnum, .stays = stays};

    struct store_fs *done = store_fs_mem_clone(start, &err);
    assert_int_equal(s->run(done), VIX_OK);
    unsigned files_after = count_files(done, false);
    store_fs_mem_free(done);
    uint64_t count = check_failure(s, start, &rule, files, files_after);
    assert_true(count > 0);
    for (rule.nth = 1; rule.nth <= count; rule.nth++) {
        (void)check_failure(s, start, &rule, files, files_after);
    }
    store_fs_mem_free(start);
}

static void check_failures(const struct subject *s)
{
    prepare(s);
    fail_each(s, FAULT_ALL & ~(uint32_t)(FAULT_UNLINK | FAULT_STATFS), EIO, false);
    fail_each(s, FAULT_WRITE | FAULT_TRUNCATE | FAULT_COPY | FAULT_CREATE | FAULT_FLUSH | FAULT_SYNC_FOLDER, ENOSPC,
              true);
    forget();
}

/* ---- defragment, shrink ---- */

typedef VixError disk_op(struct disk *d, struct ops_progress progress, struct err *err);

/** Opens, runs, closes; the disk is good under the same handle also after a failure. */
static VixError run_on_handle(struct store_fs *where, disk_op *op)
{
    static struct image found;
    struct disk *d = NULL;

    VixError code = disk_open_local(where, "/a/d.vmdk", 0, NULL, &d, &err);
    if (code != VIX_OK) {
        return code;
    }
    code = op(d, (struct ops_progress){0}, &err);
    struct err first = err;
    if (read_image(d, d->capacity, &found)) { /* the operation that fails may be a later one than those of op */
        assert_true(same_bytes(&found, &want));
    }
    VixError closed = disk_close(d, &err);
    err = code != VIX_OK ? first : err;
    return code != VIX_OK ? code : closed;
}

static VixError run_defragment(struct store_fs *where)
{
    return run_on_handle(where, ops_defragment);
}

static VixError run_shrink(struct store_fs *where)
{
    return run_on_handle(where, ops_shrink);
}

static void make_mono(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SMALL, 10);
}

static void make_split(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, LARGE, 20);
}

static void make_thin(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_VMFS_THIN, SMALL, 30);
}

static void make_child_to_rework(void)
{
    make_disk("/a/base.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, SMALL, 40);
    make_child("/a/base.vmdk", "/a/d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 90);
}

static const struct subject defragments[] = {
    {.name = "defragment monolithic", .make = make_mono, .run = run_defragment, .path = "/a/d.vmdk"},
    {.name = "defragment child", .make = make_child_to_rework, .run = run_defragment, .path = "/a/d.vmdk"},
    {.name = "shrink monolithic", .make = make_mono, .run = run_shrink, .path = "/a/d.vmdk"},
    {.name = "defragment split", .make = make_split, .run = run_defragment, .path = "/a/d.vmdk"},
    {.name = "shrink split", .make = make_split, .run = run_shrink, .path = "/a/d.vmdk"},
    {.name = "shrink thin", .make = make_thin, .run = run_shrink, .path = "/a/d.vmdk"},
};

static void crash_while_rewriting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof defragments / sizeof defragments[0]; i++) {
        if (defragments[i].make != make_thin) { /* no event of its own in memory but the flush */
            check_crashes(&defragments[i]);
        }
    }
}

static void fail_while_rewriting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof defragments / sizeof defragments[0]; i++) {
        check_failures(&defragments[i]);
    }
}

static uint64_t allocated_grains(const char *path)
{
    struct check_summary sum;
    assert_int_equal(ops_check(fs, path, 0, NULL, NULL, &sum, &err), VIX_OK);
    assert_int_equal(sum.leaked_bytes, 0);
    return sum.allocated_grains;
}

/** Grains of zeros stay in a defragmented disk, and are gone from one that is shrunk. */
static void zeros_are_given_back_by_shrink_only(void **state)
{
    (void)state;
    make_mono();
    struct disk *d = NULL;
    assert_int_equal(disk_open_local(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err), VIX_OK);
    assert_true(read_image(d, d->capacity, &want));
    assert_int_equal(disk_close(d, &err), VIX_OK);
    uint64_t before = allocated_grains("/a/d.vmdk");
    assert_int_equal(run_defragment(fs), VIX_OK);
    assert_int_equal(allocated_grains("/a/d.vmdk"), before);
    assert_int_equal(run_shrink(fs), VIX_OK);
    assert_int_equal(allocated_grains("/a/d.vmdk"), before - 1);
    assert_true(is_good(fs, "/a/d.vmdk", &want, 0));
}

/** A last grain that the file ends in, within a sector, is rewritten with zeros for what is missing. */
static void grain_that_is_cut_short_is_kept(void **state)
{
    struct store *s = NULL;
    uint64_t size;

    (void)state;
    make_mono();
    assert_int_equal(fs->ops->open(fs, "/a/d.vmdk", STORE_WRITE, &s, &err), VIX_OK);
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, size - 121 * SECTOR_SIZE - 300, &err), VIX_OK); /* of sectors 0 to 127 */
    store_close(s);
    assert_true(image_at(fs, "/a/d.vmdk", SMALL, &want));
    assert_int_equal(want.bytes[6 * SECTOR_SIZE], 18);
    assert_int_equal(want.bytes[7 * SECTOR_SIZE - 1], 0);
    assert_int_equal(run_defragment(fs), VIX_OK);
    assert_true(is_good(fs, "/a/d.vmdk", &want, 0));
}

/** After a failure the disk goes on under the same handle: read, written, closed. */
static void goes_on_after_a_failure(void **state)
{
    const struct store_fault_rule kinds[] = {
        {.ops = FAULT_CREATE, .nth = 1, .errnum = EACCES}, {.ops = FAULT_WRITE, .nth = 2, .errnum = ENOSPC},
        {.ops = FAULT_FLUSH, .nth = 2, .errnum = EIO},     {.ops = FAULT_RENAME, .nth = 1, .errnum = EIO},
        {.ops = FAULT_RENAME, .nth = 2, .errnum = EIO},    {.ops = FAULT_SYNC_FOLDER, .nth = 1, .errnum = EIO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct subject s = {.make = make_split, .path = "/a/d.vmdk"};
        struct disk *d = NULL;
        prepare(&s);
        struct store_fs *fault = store_fault_new(fs, &err);
        assert_int_equal(disk_open_local(fault, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
        store_fault_set(fault, &kinds[i]);
        assert_int_not_equal(ops_defragment(d, (struct ops_progress){0}, &err), VIX_OK);
        assert_true(store_fault_has_hit(fault));
        store_fault_set(fault, NULL);
        assert_int_equal(count_files(fs, true), 0);
        put(d, 400, 64, 99);
        put(d, SPLIT_EXTENT_SECTORS - 30, 100, 101);
        assert_true(read_image(d, d->capacity, &want));
        assert_int_equal(disk_close(d, &err), VIX_OK);
        assert_true(is_sound(fs, "/a/d.vmdk", &want, 0));
        store_fault_free(fault);
        forget();
    }
}

static bool stop_in_the_middle(void *ctx, uint64_t done, uint64_t total)
{
    ++*(unsigned *)ctx;
    return done < total / 2;
}

static void can_be_stopped(void **state)
{
    struct subject s = {.make = make_mono, .path = "/a/d.vmdk"};
    unsigned calls = 0;
    struct disk *d = NULL;

    (void)state;
    prepare(&s);
    unsigned files = count_files(fs, false);
    assert_int_equal(disk_open_local(fs, s.path, 0, NULL, &d, &err), VIX_OK);
    const struct ops_progress progress = {.func = stop_in_the_middle, .ctx = &calls};
    assert_int_equal(ops_defragment(d, progress, &err), VIX_E_CANCELLED);
    assert_true(calls > 0);
    assert_int_equal(ops_shrink(d, progress, &err), VIX_E_CANCELLED);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(count_files(fs, false), files);
    assert_true(is_sound(fs, s.path, &want, 0));
}

/* ---- grow ---- */

#define GROWN_SMALL 3000u
#define GROWN_LARGE (2 * SPLIT_EXTENT_SECTORS + 700)

static void make_flat(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, SMALL, 50);
}

static void make_small_split(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, SMALL, 60);
}

static void make_small_split_flat(void)
{
    make_disk("/a/d.vmdk", VIXDISKLIB_DISK_SPLIT_FLAT, SMALL, 65);
}

static VixError run_grow(struct store_fs *where)
{
    return ops_grow(where, "/a/d.vmdk", GROWN_SMALL, true, &err);
}

static VixError run_grow_large(struct store_fs *where)
{
    return ops_grow(where, "/a/d.vmdk", GROWN_LARGE, false, &err);
}

#define GROW(title, maker, runner, capacity)                                                                           \
    {                                                                                                                  \
        .name = title, .make = maker, .run = runner, .path = "/a/d.vmdk", .new_capacity = capacity                     \
    }
static const struct subject grows[] = {
    GROW("grow monolithic sparse", make_mono, run_grow, GROWN_SMALL),
    GROW("grow flat", make_flat, run_grow, GROWN_SMALL),
    GROW("grow thin", make_thin, run_grow, GROWN_SMALL),
    GROW("grow split sparse", make_small_split, run_grow, GROWN_SMALL),
    GROW("grow split sparse by extents", make_small_split, run_grow_large, GROWN_LARGE),
    GROW("grow split flat by extents", make_small_split_flat, run_grow_large, GROWN_LARGE),
    GROW("grow monolithic sparse much", make_mono, run_grow_large, GROWN_LARGE),
};

static void crash_while_growing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof grows / sizeof grows[0]; i++) {
        check_crashes(&grows[i]);
    }
}

static void fail_while_growing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof grows / sizeof grows[0]; i++) {
        check_failures(&grows[i]);
    }
}

static struct store *make_file(const char *path)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->create(fs, path, 0, 0600, &s, &err), VIX_OK);
    return s;
}

static void make_extent(const char *path, uint64_t nsectors)
{
    struct store *s = make_file(path);
    assert_int_equal(extent_sparse_create(s, nsectors, NULL, 0, &err), VIX_OK);
    store_close(s);
}

/** The second extent's name is taken by something that a grow did not leave: it stays, and so does the disk. */
static void expect_in_the_way(uint64_t size)
{
    struct store *s = NULL;
    uint64_t found;
    unsigned files = count_files(fs, false);

    assert_int_equal(run_grow_large(fs), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(count_files(fs, false), files);
    assert_int_equal(fs->ops->open(fs, "/a/d-s002.vmdk", STORE_READ, &s, &err), VIX_OK);
    assert_int_equal(s->ops->size(s, &found, &err), VIX_OK);
    assert_int_equal(found, size);
    store_close(s);
    assert_true(is_sound(fs, "/a/d.vmdk", &want, 0));
}

static void remove_file(const char *path)
{
    assert_int_equal(fs->ops->unlink(fs, path, &err), VIX_OK);
}

static void grow_takes_only_what_a_grow_left(void **state)
{
    static const char other[] = "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n"
                                "createType=\"twoGbMaxExtentSparse\"\nRW 9000 SPARSE \"d-s002.vmdk\"\n";
    struct subject sub = {.make = make_small_split, .path = "/a/d.vmdk"};
    uint64_t empty = extent_sparse_empty_size(9000, false);

    (void)state;
    prepare(&sub);
    struct store *s = make_file("/a/d-s002.vmdk"); /* text */
    assert_int_equal(store_write(s, "notes", 5, 0, &err), VIX_OK);
    store_close(s);
    expect_in_the_way(5);
    remove_file("/a/d-s002.vmdk");

    make_extent("/a/d-s002.vmdk", 9000); /* holds a grain */
    assert_int_equal(fs->ops->open(fs, "/a/d-s002.vmdk", STORE_WRITE, &s, &err), VIX_OK);
    const struct extent_open_params p = {.store = s, .writable = true};
    struct extent *x = NULL;
    uint8_t sector[SECTOR_SIZE] = {1};
    assert_int_equal(extent_sparse_open(&p, &x, &err), VIX_OK);
    assert_int_equal(x->ops->write(x, 7, 1, sector, &err), VIX_OK);
    assert_int_equal(x->ops->close(x, &err), VIX_OK);
    store_close(s);
    expect_in_the_way(empty + 65536);
    remove_file("/a/d-s002.vmdk");

    make_extent("/a/d-s002.vmdk", 9000); /* belongs to another disk */
    s = make_file("/a/other.vmdk");
    assert_int_equal(store_write(s, other, sizeof other - 1, 0, &err), VIX_OK);
    store_close(s);
    expect_in_the_way(empty);
    remove_file("/a/other.vmdk");

    assert_int_equal(fs->ops->open(fs, "/a/d-s002.vmdk", STORE_READ | STORE_LOCK, &s, &err), VIX_OK); /* in use */
    expect_in_the_way(empty);
    store_close(s);

    assert_int_equal(run_grow_large(fs), VIX_OK); /* nobody's */
    assert_true(is_sound(fs, "/a/d.vmdk", &want, GROWN_LARGE));
}

/* ---- commit ---- */

static void pair(VixDiskLibDiskType base, VixDiskLibDiskType child)
{
    make_disk("/a/base.vmdk", base, SMALL, 70);
    make_child("/a/base.vmdk", "/a/d.vmdk", child, 120);
}

static void make_mono_pair(void)
{
    pair(VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
}

static void make_flat_pair(void)
{
    pair(VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE);
}

static void make_esx_pair(void)
{
    pair(VIXDISKLIB_DISK_VMFS_FLAT, VIXDISKLIB_DISK_VMFS_SPARSE);
}

/** Three links: the parent has a parent, of which the merge must copy what a grain shows of it. */
static void make_three(void)
{
    make_disk("/a/root.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, SMALL, 80);
    make_child("/a/root.vmdk", "/a/base.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, 140);
    make_child("/a/base.vmdk", "/a/d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 160);
}

static void make_three_esx(void)
{
    make_disk("/a/root.vmdk", VIXDISKLIB_DISK_VMFS_THIN, SMALL, 80);
    make_child("/a/root.vmdk", "/a/base.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, 140);
    make_child("/a/base.vmdk", "/a/d.vmdk", VIXDISKLIB_DISK_VMFS_SPARSE, 160);
}

static VixError run_commit(struct store_fs *where)
{
    return ops_commit(where, "/a/d.vmdk", (struct ops_progress){0}, &err);
}

#define COMMIT(title, maker)                                                                                           \
    {                                                                                                                  \
        .name = title, .make = maker, .run = run_commit, .path = "/a/d.vmdk", .path_after = "/a/base.vmdk"             \
    }
static const struct subject commits[] = {
    COMMIT("commit sparse to sparse", make_mono_pair), COMMIT("commit split to flat", make_flat_pair),
    COMMIT("commit redo log to vmfs", make_esx_pair),  COMMIT("commit to the middle", make_three),
    COMMIT("commit to a redo log", make_three_esx),
};

static void crash_while_committing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof commits / sizeof commits[0]; i++) {
        check_crashes(&commits[i]);
    }
}

static void fail_while_committing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof commits / sizeof commits[0]; i++) {
        check_failures(&commits[i]);
    }
}

static uint32_t cid_at(const char *path)
{
    struct chain *c = NULL;
    assert_int_equal(chain_open(fs, path, CHAIN_READ, NULL, &c, &err), VIX_OK);
    uint32_t cid = c->links[0]->desc->cid;
    assert_int_equal(chain_close(c, &err), VIX_OK);
    return cid;
}

/** What else could depend on the parent is told, and a merge changes the content ID. */
static void commit_minds_other_children(void **state)
{
    (void)state;
    make_flat_pair();
    uint32_t cid = cid_at("/a/base.vmdk");
    make_child("/a/base.vmdk", "/a/other.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 7);
    assert_int_equal(run_commit(fs), VIX_E_DISK_PARTIALCHAIN);
    assert_non_null(strstr(err.text, "other.vmdk"));
    make_child("/a/d.vmdk", "/a/above.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 7);
    assert_int_equal(ops_unlink(fs, "/a/other.vmdk", &err), VIX_OK);
    assert_int_equal(run_commit(fs), VIX_E_DISK_PARTIALCHAIN);
    assert_non_null(strstr(err.text, "above.vmdk"));
    assert_int_equal(ops_unlink(fs, "/a/above.vmdk", &err), VIX_OK);
    assert_int_equal(cid_at("/a/base.vmdk"), cid);
    unsigned files = count_files(fs, false);
    assert_int_equal(run_commit(fs), VIX_OK);
    assert_int_not_equal(cid_at("/a/base.vmdk"), cid);
    assert_int_equal(count_files(fs, false), files - 2);
    assert_int_equal(ops_commit(fs, "/a/base.vmdk", (struct ops_progress){0}, &err), VIX_E_DISK_ATTACH_ROOTLINK);
}

/** A child that cannot be read is not taken for none. */
static void child_that_cannot_be_read_is_told(void **state)
{
    static const int errnums[] = {EACCES, EIO, EMFILE, ENOMEM};
    struct store_fault_rule rule = {.ops = FAULT_OPEN | FAULT_READ | FAULT_SIZE | FAULT_RESOLVE};
    struct store_fs *fault = store_fault_new(fs, &err);
    unsigned named = 0;
    bool hit = true;

    (void)state;
    make_flat_pair();
    for (size_t i = 0; i < sizeof errnums / sizeof errnums[0]; i++) {
        for (rule.nth = 1, rule.errnum = errnums[i], hit = true; hit; rule.nth++) {
            char *child = NULL;
            store_fault_set(fault, &rule);
            VixError code = ops_find_child(fault, "/a/base.vmdk", NULL, &child, &err);
            hit = store_fault_has_hit(fault);
            assert_int_equal(code != VIX_OK, child == NULL);
            named += strstr(err.text, "may be a child of /a/base.vmdk: /a/d.vmdk") != NULL;
            free(child);
            err_init(&err);
        }
        assert_true(rule.nth > 4);
    }
    assert_true(named >= sizeof errnums / sizeof errnums[0]);

    /* those that are gone meanwhile are none */
    rule = (struct store_fault_rule){.ops = FAULT_OPEN, .nth = 2, .errnum = ENOENT, .stays = true};
    char *child = NULL;
    store_fault_set(fault, &rule);
    assert_int_equal(ops_find_child(fault, "/a/base.vmdk", NULL, &child, &err), VIX_OK);
    assert_true(store_fault_has_hit(fault) && child == NULL);
    store_fault_free(fault);
}

/* ---- reparent ---- */

static void make_two_parents(void)
{
    pair(VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE);
    assert_int_equal(fs->ops->link(fs, "/a/base.vmdk", "/a/same.vmdk", &err), VIX_OK);
}

static void make_two_parents_of_one_file(void)
{
    pair(VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    assert_int_equal(fs->ops->link(fs, "/a/base.vmdk", "/a/same.vmdk", &err), VIX_OK);
}

static VixError run_reparent(struct store_fs *where)
{
    return ops_reparent(where, "/a/d.vmdk", "same.vmdk", &err);
}

static const struct subject reparents[] = {
    {.name = "reparent split", .make = make_two_parents, .run = run_reparent, .path = "/a/d.vmdk"},
    {.name = "reparent embedded", .make = make_two_parents_of_one_file, .run = run_reparent, .path = "/a/d.vmdk"},
};

static void crash_while_reparenting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reparents / sizeof reparents[0]; i++) {
        check_crashes(&reparents[i]);
    }
}

static void fail_while_reparenting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reparents / sizeof reparents[0]; i++) {
        check_failures(&reparents[i]);
    }
}

static void reparent_wants_the_same_content(void **state)
{
    (void)state;
    make_two_parents();
    assert_int_equal(run_reparent(fs), VIX_OK);
    make_disk("/a/stranger.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, SMALL, 9);
    assert_int_equal(ops_reparent(fs, "/a/d.vmdk", "stranger.vmdk", &err), VIX_E_DISK_CID_MISMATCH);
    assert_int_equal(ops_reparent(fs, "/a/d.vmdk", "nobody.vmdk", &err), VIX_E_DISK_OPENPARENT);
    assert_int_equal(ops_reparent(fs, "/a/base.vmdk", "same.vmdk", &err), VIX_E_DISK_ATTACH_ROOTLINK);
    struct chain *c = NULL;
    assert_int_equal(chain_open(fs, "/a/d.vmdk", CHAIN_READ, NULL, &c, &err), VIX_OK);
    assert_string_equal(c->links[0]->desc->parent_hint, "same.vmdk");
    assert_int_equal(chain_close(c, &err), VIX_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(zeros_are_given_back_by_shrink_only),
        TEST(grain_that_is_cut_short_is_kept),
        TEST(goes_on_after_a_failure),
        TEST(can_be_stopped),
        TEST(grow_takes_only_what_a_grow_left),
        TEST(commit_minds_other_children),
        TEST(child_that_cannot_be_read_is_told),
        TEST(reparent_wants_the_same_content),
        TEST(crash_while_rewriting),
        TEST(fail_while_rewriting),
        TEST(crash_while_growing),
        TEST(fail_while_growing),
        TEST(crash_while_committing),
        TEST(fail_while_committing),
        TEST(crash_while_reparenting),
        TEST(fail_while_reparenting),
    };
    return cmocka_run_group_tests_name("rework", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_power_loss.c - what a loss of power leaves of disks of every type that are written, cloned, or get metadata:
 * before each change and each flush of files, with what was not flushed kept, lost, torn or mixed. A disk that is
 * written opens, holds all that was flushed and else only what was written there, and can be written again; a clone is
 * there whole or not at all; its source is as it was. (Grow, shrink, defragment, commit, reparent: test_rework.c;
 * repair: test_check_fault.c; rename: test_rename.c; tables of extents of odd layouts: test_sparse_crash.c.)
 *
 * VIXDISK_CRASH_SEEDS=N tries N mixtures at each place (3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "kinds_util.h"
#include "ops/check.h"
#include "ops/ops.h"
#include "store/store_fault.h"
#include "vmdk/create_int.h"
#include "vmdk/sparse_header.h"

#define CAPACITY 1101u
#define STEPS 30u
#define FRESH 0u /* what a sector held before the steps */

static struct err err;
static unsigned seeds = 3;
static unsigned long states;

static void stamp(uint8_t *buf, uint64_t sector, uint32_t number)
{
    memset(buf, 0, SECTOR_SIZE);
    if (number != FRESH) {
        for (unsigned i = 0; i < SECTOR_SIZE; i += 16) {
            put_le64(buf + i, sector + 1);
            put_le64(buf + i + 8, number);
        }
    }
}

/** The number in a sector; UINT32_MAX: it is from elsewhere, or a mixture. */
static uint32_t number_of(const uint8_t *buf, uint64_t sector)
{
    uint8_t expected[SECTOR_SIZE];
    uint64_t number = get_le64(buf + 8);

    stamp(expected, sector, (uint32_t)number);
    return number < STEPS + 2 && memcmp(buf, expected, SECTOR_SIZE) == 0 ? (uint32_t)number : UINT32_MAX;
}

static uint64_t rnd(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* ---- disks ---- */

static void write_stamps(struct disk *d, uint64_t sector, uint64_t n, uint32_t number)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];

    for (uint64_t i = 0; i < n; i++) {
        stamp(buf + i * SECTOR_SIZE, sector + i, number);
    }
    assert_int_equal(disk_write(d, sector, n, buf, &err), VIX_OK);
}

static struct store_fs *with_disk(const struct kind *kind, bool written)
{
    struct store_fs *fs = store_fs_mem_new(&err);
    bool child = kind->parent != VIXDISKLIB_DISK_UNKNOWN;
    struct disk *d = NULL;

    assert_non_null(fs);
    if (child) {
        make_disk(fs, "/a/base.vmdk", kind->parent, CAPACITY, NULL);
    }
    make_disk(fs, "/a/d.vmdk", kind->type, CAPACITY, child ? "/a/base.vmdk" : NULL);
    if (written) {
        assert_int_equal(disk_open_local(fs, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
        write_stamps(d, 700, 200, 1);
        write_stamps(d, 5, 60, 2);
        write_stamps(d, CAPACITY - 3, 3, 3);
        assert_int_equal(disk_close(d, &err), VIX_OK);
    }
    return fs;
}

static bool read_all(struct store_fs *fs, const char *path, uint32_t flags, uint8_t *buf)
{
    struct disk *d = NULL;

    if (disk_open_local(fs, path, flags, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    bool good = d->capacity == CAPACITY && disk_read(d, 0, CAPACITY, buf, &err) == VIX_OK;
    return disk_close(d, &err) == VIX_OK && good;
}

/* ---- a program that writes ---- */

struct step {
    uint64_t sector, nsectors; /* 0 sectors: a flush */
    bool zeros;                /* the sectors are given back, or written over with zeros */
    size_t events;             /* when it was done */
};

static struct step steps[STEPS];

static void plan(uint64_t seed)
{
    for (unsigned i = 0; i < STEPS; i++) {
        steps[i] = (struct step){0};
        if (rnd(&seed) % 5 != 0) {
            steps[i].sector = rnd(&seed) % CAPACITY;
            steps[i].nsectors = min_u64(1 + rnd(&seed) % 300, CAPACITY - steps[i].sector);
            steps[i].zeros = rnd(&seed) % 4 == 0;
        }
    }
}

/** The number that a sector of a step holds after it. */
static uint32_t written_by(unsigned i)
{
    return steps[i].zeros ? FRESH : i + 1;
}

/** Step i writes the number i + 1, or zeros. */
static void perform(struct store_fs *fs, struct store_fs *fault)
{
    struct disk *d = NULL;

    (void)fs;
    assert_int_equal(disk_open_local(fault, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
    for (unsigned i = 0; i < STEPS; i++) {
        if (steps[i].nsectors == 0) {
            assert_int_equal(d->ops->flush(d, &err), VIX_OK);
        } else if (steps[i].zeros) {
            assert_int_equal(ops_write_zeros(d, steps[i].sector, steps[i].nsectors, &err), VIX_OK);
        } else {
            write_stamps(d, steps[i].sector, steps[i].nsectors, i + 1);
        }
        steps[i].events = store_fault_events(fault);
    }
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** Whether a sector may hold a number where the last step on it that was flushed was number `last` (0: none was). */
static bool may_hold(uint64_t sector, uint32_t number, uint32_t last)
{
    if (number == (last > 0 ? written_by(last - 1) : FRESH)) {
        return true;
    }
    for (unsigned i = last; i < STEPS; i++) {
        if (sector - steps[i].sector < steps[i].nsectors && written_by(i) == number) {
            return true;
        }
    }
    return false;
}

static bool content_is_good(const uint8_t *buf, size_t n)
{
    static uint32_t last[CAPACITY];
    unsigned flushed = 0;

    memset(last, 0, sizeof last);
    for (unsigned i = 0; i < STEPS; i++) {
        if (steps[i].nsectors == 0 && steps[i].events <= n) {
            flushed = i;
        }
    }
    for (unsigned i = 0; i < flushed; i++) {
        for (uint64_t s = 0; s < steps[i].nsectors; s++) {
            last[steps[i].sector + s] = i + 1;
        }
    }
    for (uint64_t s = 0; s < CAPACITY; s++) {
        uint32_t number = number_of(buf + s * SECTOR_SIZE, s);
        if (!may_hold(s, number, last[s])) {
            (void)err_set(&err, VIX_E_FAIL, "sector %u holds %u, step %u was flushed", (unsigned)s, number, last[s]);
            return false;
        }
    }
    return true;
}

static bool written_is_good(struct store_fs *fs, size_t n, bool done)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];
    struct check_summary sum;

    (void)done;
    if (!read_all(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, buf) || !content_is_good(buf, n) ||
        !read_all(fs, "/a/d.vmdk", 0, buf) || !content_is_good(buf, n) ||
        ops_check(fs, "/a/d.vmdk", CHECK_REPAIR | CHECK_CHAIN, NULL, NULL, &sum, &err) != VIX_OK ||
        !read_all(fs, "/a/d.vmdk", 0, buf) || !content_is_good(buf, n)) {
        return false;
    }
    struct disk *d = NULL;
    if (disk_open_local(fs, "/a/d.vmdk", 0, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    write_stamps(d, 0, CAPACITY, STEPS + 1);
    return disk_close(d, &err) == VIX_OK && ops_check(fs, "/a/d.vmdk", CHECK_CHAIN, NULL, NULL, &sum, &err) == VIX_OK;
}

/* ---- clones ---- */

static VixDiskLibDiskType target_type;
static bool target_raw;
static uint8_t want[CAPACITY * SECTOR_SIZE];

static void clone_to(struct store_fs *fault, bool overwrite)
{
    struct disk *src = NULL;
    struct convert_target target = {.path = "/a/new.vmdk",
                                    .raw = target_raw,
                                    .overwrite = overwrite,
                                    .fd = -1,
                                    .params = {.type = target_type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC}};

    assert_int_equal(disk_open_local(fault, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &src, &err), VIX_OK);
    VixError code = ops_convert(fault, src, &target, (struct ops_progress){0}, &err);
    if (code != VIX_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(disk_close(src, &err), VIX_OK);
}

static void clone_fresh(struct store_fs *fs, struct store_fs *fault)
{
    assert_true(read_all(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, want));
    clone_to(fault, false);
}

static bool holds(struct store_fs *fs, const char *path)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];

    if (target_raw && strcmp(path, "/a/new.vmdk") == 0) {
        struct store *s = NULL;
        uint64_t size = 0;
        bool good = fs->ops->open(fs, path, STORE_READ, &s, &err) == VIX_OK && s->ops->size(s, &size, &err) == VIX_OK &&
                    size == sizeof buf && store_read(s, buf, sizeof buf, 0, &err) == VIX_OK;
        store_close(s);
        return good && memcmp(buf, want, sizeof buf) == 0;
    }
    return read_all(fs, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, buf) && memcmp(buf, want, sizeof buf) == 0;
}

static bool clone_is_good(struct store_fs *fs, size_t n, bool done)
{
    struct check_summary sum;

    (void)n;
    if (!holds(fs, "/a/d.vmdk")) {
        return false;
    }
    if (!fs->ops->exists(fs, "/a/new.vmdk")) {
        return !done;
    }
    return holds(fs, "/a/new.vmdk") &&
           (target_raw || ops_check(fs, "/a/new.vmdk", 0, NULL, NULL, &sum, &err) == VIX_OK);
}

/* ---- metadata ---- */

static void set_metadata(struct store_fs *fs, struct store_fs *fault)
{
    struct disk *d = NULL;

    assert_true(read_all(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, want));
    assert_int_equal(disk_open_local(fault, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
    assert_int_equal(d->ops->meta_set(d, "test.one", "the first value, of some length", &err), VIX_OK);
    assert_int_equal(d->ops->meta_set(d, "test.two", "the second", &err), VIX_OK);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** In a sparse file: in the 20 sectors behind the header, whatever half of them a crash left in use. */
static bool descriptor_is_in_its_place(struct store_fs *fs)
{
    uint8_t sector[SECTOR_SIZE];
    struct sparse_header h;
    struct store *s = NULL;

    assert_int_equal(fs->ops->open(fs, "/a/d.vmdk", STORE_READ, &s, &err), VIX_OK);
    bool sparse =
        store_read(s, sector, sizeof sector, 0, NULL) == VIX_OK && sparse_header_parse(sector, "", &h, NULL) == VIX_OK;
    store_close(s);
    return !sparse || (h.descriptor_sector == 1 && h.descriptor_sectors == KDMV_DESCRIPTOR_SECTORS);
}

static bool metadata_is_good(struct store_fs *fs, size_t n, bool done)
{
    char *value = NULL;
    struct disk *d = NULL;

    (void)n;
    if (!holds(fs, "/a/d.vmdk") || disk_open_local(fs, "/a/d.vmdk", 0, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    VixError one = d->ops->meta_get(d, "test.one", &value, &err);
    bool good = one == VIX_OK ? strcmp(value, "the first value, of some length") == 0 : !done;
    free(value);
    value = NULL;
    VixError two = d->ops->meta_get(d, "test.two", &value, &err);
    good = good && (two == VIX_OK ? one == VIX_OK && strcmp(value, "the second") == 0 : !done);
    free(value);
    good = good && d->ops->meta_set(d, "test.three", "after the crash", &err) == VIX_OK;
    return disk_close(d, &err) == VIX_OK && good && holds(fs, "/a/d.vmdk") && descriptor_is_in_its_place(fs);
}

/* ---- a descriptor that is too long for half of its place ---- */

#define PADS 4u

/** How long the values of "test.pad0" to "test.pad3" are, state by state. In the second, third and last state the text
 * does not fit into half of its place. */
static const unsigned pad_lens[][PADS] = {
    {1300, 1300, 1300, 0}, {1300, 1300, 1300, 1400}, {1500, 1300, 1300, 1400},
    {1500, 1300, 1300, 9}, {1200, 1300, 1300, 9},    {2000, 1300, 1300, 9},
};
#define PAD_STATES (sizeof pad_lens / sizeof pad_lens[0])

static void set_pads(struct disk *d, const unsigned *old, const unsigned *new)
{
    char key[] = "test.pad0", value[2048];

    for (unsigned i = 0; i < PADS; i++) {
        if (new[i] > 0 && (old == NULL || old[i] != new[i])) {
            memset(value, 'a' + (int)i, new[i]);
            value[new[i]] = '\0';
            key[8] = (char)('0' + i);
            assert_int_equal(d->ops->meta_set(d, key, value, &err), VIX_OK);
        }
    }
}

/** The number of the state that a disk is in; PAD_STATES: none. */
static size_t state_of_pads(struct disk *d)
{
    size_t state = 0;

    for (bool same = false; state < PAD_STATES; state++) {
        same = true;
        for (unsigned i = 0; same && i < PADS; i++) {
            char key[] = "test.pad0", *value = NULL;
            key[8] = (char)('0' + i);
            bool there = d->ops->meta_get(d, key, &value, &err) == VIX_OK;
            size_t len = there ? strlen(value) : 0;
            same = len == pad_lens[state][i] && (!there || strspn(value, (char[]){(char)('a' + (int)i), '\0'}) == len);
            free(value);
        }
        if (same) {
            break;
        }
    }
    return state;
}

static struct store_fs *with_pads(const struct kind *kind)
{
    bool stream = kind->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED;
    struct store_fs *fs = with_disk(kind, !stream);
    struct disk *d = NULL;

    assert_int_equal(disk_open_local(fs, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
    if (stream) {
        write_stamps(d, 0, CAPACITY, 1);
    }
    set_pads(d, NULL, pad_lens[0]);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    return fs;
}

static void change_pads(struct store_fs *fs, struct store_fs *fault)
{
    struct disk *d = NULL;

    assert_true(read_all(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, want));
    assert_int_equal(disk_open_local(fault, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
    for (size_t i = 1; i < PAD_STATES; i++) {
        set_pads(d, pad_lens[i - 1], pad_lens[i]);
    }
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** After every other crash the disk is written to before its descriptor changes again: new grains come behind whatever
 * was left at the end of the file. */
static bool pads_are_good(struct store_fs *fs, size_t n, bool done)
{
    struct check_summary sum;
    struct disk *d = NULL;
    bool writes;

    if (!holds(fs, "/a/d.vmdk") || ops_check(fs, "/a/d.vmdk", CHECK_CHAIN, NULL, NULL, &sum, &err) != VIX_OK ||
        disk_open_local(fs, "/a/d.vmdk", 0, NULL, &d, &err) != VIX_OK) {
        return false;
    }
    size_t state = state_of_pads(d);
    bool good = done ? state == PAD_STATES - 1 : state < PAD_STATES;
    writes = n % 2 == 0 && !disk_local_chain(d)->links[0]->extents[0].x->ordered;
    if (writes) {
        write_stamps(d, 0, CAPACITY, 4);
    }
    good = good && d->ops->meta_set(d, "test.pad0", "short", &err) == VIX_OK &&
           d->ops->meta_set(d, "test.pad9", "new", &err) == VIX_OK;
    good = disk_close(d, &err) == VIX_OK && good && descriptor_is_in_its_place(fs) &&
           ops_check(fs, "/a/d.vmdk", CHECK_CHAIN, NULL, NULL, &sum, &err) == VIX_OK;
    if (writes) {
        static uint8_t buf[CAPACITY * SECTOR_SIZE];
        good = good && read_all(fs, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, buf);
        for (uint64_t s = 0; good && s < CAPACITY; s++) {
            good = number_of(buf + s * SECTOR_SIZE, s) == 4;
        }
        return good;
    }
    return good && holds(fs, "/a/d.vmdk");
}

/* ---- every place, every way ---- */

static void everywhere(const char *name, struct store_fs *start, void (*run)(struct store_fs *, struct store_fs *),
                       bool (*good)(struct store_fs *, size_t, bool))
{
    struct store_fs *mem = store_fs_mem_clone(start, &err);
    struct store_fs *fault = store_fault_new(mem, &err);
    char text[200] = "the end";

    assert_true(mem != NULL && fault != NULL);
    store_fault_record(fault);
    run(mem, fault);
    size_t events = store_fault_events(fault);
    assert_true(events > 0);
    for (size_t n = 0; n <= events; n++) {
        for (unsigned w = 0; w < 2 + seeds; w++) {
            enum store_crash how = w == 0 ? STORE_CRASH_PROCESS : w == 1 ? STORE_CRASH_LOSE : STORE_CRASH_MIX;
            struct store_fs *now = store_fs_mem_clone(start, &err);
            assert_non_null(now);
            assert_int_equal(store_fault_replay(fault, n, how, w, now, &err), VIX_OK);
            err_init(&err);
            if (!good(now, n, n == events)) {
                if (n < events) {
                    store_fault_describe(fault, n, text, sizeof text);
                }
                fail_msg("%s: crash %u before event %zu of %zu (%s): %s", name, w, n, events, text, err.text);
            }
            states++;
            store_fs_mem_free(now);
        }
    }
    store_fault_free(fault);
    store_fs_mem_free(mem);
    store_fs_mem_free(start);
}

static void while_it_is_written(void **state)
{
    (void)state;
    states = 0;
    for (size_t i = 0; i < KINDS; i++) {
        plan(0xBEEF + i);
        everywhere(kinds[i].name, with_disk(&kinds[i], false), perform, written_is_good);
    }
    print_message("%lu crash states\n", states);
}

static void while_it_is_cloned(void **state)
{
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE,
                                               VIXDISKLIB_DISK_MONOLITHIC_FLAT,   VIXDISKLIB_DISK_SPLIT_FLAT,
                                               VIXDISKLIB_DISK_STREAM_OPTIMIZED,  VIXDISKLIB_DISK_VMFS_FLAT,
                                               VIXDISKLIB_DISK_VMFS_THIN,         VIXDISKLIB_DISK_UNKNOWN /* raw */};

    (void)state;
    states = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        target_type = types[i];
        target_raw = types[i] == VIXDISKLIB_DISK_UNKNOWN;
        everywhere("clone", with_disk(&kinds[KIND_SPARSE], true), clone_fresh, clone_is_good);
        everywhere("clone of a chain", with_disk(&kinds[KIND_SPLIT_CHILD], true), clone_fresh, clone_is_good);
    }
    target_raw = false;
    print_message("%lu crash states\n", states);
}

static void while_metadata_is_set(void **state)
{
    (void)state;
    states = 0;
    for (size_t i = 0; i < KINDS; i++) {
        everywhere(kinds[i].name, with_disk(&kinds[i], true), set_metadata, metadata_is_good);
    }
    print_message("%lu crash states\n", states);
}

static void while_a_long_descriptor_is_changed(void **state)
{
    static const struct kind stream = {"streamOptimized", VIXDISKLIB_DISK_STREAM_OPTIMIZED, VIXDISKLIB_DISK_UNKNOWN};

    (void)state;
    states = 0;
    everywhere(kinds[KIND_SPARSE].name, with_pads(&kinds[KIND_SPARSE]), change_pads, pads_are_good);
    everywhere(kinds[KIND_CHILD].name, with_pads(&kinds[KIND_CHILD]), change_pads, pads_are_good);
    everywhere(stream.name, with_pads(&stream), change_pads, pads_are_good);
    print_message("%lu crash states\n", states);
}

/** One write or flush of a change of a descriptor fails while grains are written: they do not come where the header may
 * point now. */
static void a_failed_change_of_a_long_descriptor(void **state)
{
    static const uint32_t ops[] = {FAULT_WRITE, FAULT_FLUSH};
    static uint8_t buf[CAPACITY * SECTOR_SIZE];
    struct disk *d = NULL;

    (void)state;
    for (size_t o = 0; o < 2; o++) {
        bool hit = true;
        for (uint64_t nth = 1; hit; nth++) {
            struct store_fs *mem = with_pads(&kinds[KIND_SPARSE]), *fault = store_fault_new(mem, &err);
            char value[2048];
            assert_non_null(fault);
            assert_int_equal(disk_open_local(fault, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
            set_pads(d, pad_lens[0], pad_lens[1]);
            write_stamps(d, 0, 1, 4);
            memset(value, 'a', sizeof value);
            value[pad_lens[2][0]] = '\0';
            store_fault_set(fault, &(struct store_fault_rule){.ops = ops[o], .nth = nth});
            VixError set = d->ops->meta_set(d, "test.pad0", value, &err);
            hit = store_fault_has_hit(fault);
            assert_true(hit ? set != VIX_OK : set == VIX_OK);
            store_fault_set(fault, NULL);
            write_stamps(d, 0, CAPACITY, 4);
            assert_int_equal(disk_close(d, &err), VIX_OK);
            store_fault_free(fault);

            assert_int_equal(disk_open_local(mem, "/a/d.vmdk", 0, NULL, &d, &err), VIX_OK);
            size_t found = state_of_pads(d);
            assert_true(hit ? found == 1 || found == 2 : found == 2);
            set_pads(d, NULL, pad_lens[3]);
            assert_int_equal(state_of_pads(d), 3);
            assert_int_equal(disk_close(d, &err), VIX_OK);
            assert_true(descriptor_is_in_its_place(mem));
            assert_true(read_all(mem, "/a/d.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, buf));
            for (uint64_t s = 0; s < CAPACITY; s++) {
                assert_int_equal(number_of(buf + s * SECTOR_SIZE, s), 4);
            }
            store_fs_mem_free(mem);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_it_is_written),
        cmocka_unit_test(while_it_is_cloned),
        cmocka_unit_test(while_metadata_is_set),
        cmocka_unit_test(while_a_long_descriptor_is_changed),
        cmocka_unit_test(a_failed_change_of_a_long_descriptor),
    };
    const char *asked = getenv("VIXDISK_CRASH_SEEDS");

    if (asked != NULL && atoi(asked) > 0) {
        seeds = (unsigned)atoi(asked);
    }
    err_init(&err);
    return cmocka_run_group_tests_name("power_loss", tests, NULL, NULL);
}

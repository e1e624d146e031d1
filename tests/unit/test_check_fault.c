/* SPDX-License-Identifier: BSD-3-Clause */
/* test_check_fault.c - check and repair when I/O fails, and when they are cut short. A check that only looks never
 * changes a byte and ends with an error or a finding when something could not be read; a repair that was cut short, at
 * any write and in any way, is finished by the next one; what the disk holds is the same throughout. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "ops/check.h"
#include "ops/ops.h"
#include "store/store_fault.h"
#include "vmdk/create_int.h"
#include "vmdk/sparse_header.h"

#define CAPACITY (163840u + 5) /* three grain tables, and a last grain that is cut short */
#define LARGE (SPLIT_EXTENT_SECTORS + 2048 + 5)
#define PART 200u /* sectors at each place that is written and compared */
#define PLACES 5u
#define DISK "/a/d.vmdk"

static struct store_fs *fs; /* what a case begins with */
static struct err err;

/* ---- disks ---- */

/** A kind of disk and what is wrong with it. */
struct subject {
    const char *name;
    VixDiskLibDiskType type;
    uint64_t capacity;
    void (*damage)(void); /* NULL: nothing */
    bool child;           /* on top of a flat parent */
    bool repairable;
    bool lost; /* something that no repair can set right */
};

static uint64_t place_of(const struct subject *s, unsigned i)
{
    const uint64_t places[PLACES] = {0, 40000, 66000, 131072 - PART / 2, s->capacity - PART};
    return places[i];
}

static void fill(uint8_t *buf, unsigned place, uint8_t value)
{
    for (size_t i = 0; i < (size_t)PART * SECTOR_SIZE; i++) {
        buf[i] = (uint8_t)(value + place * 31 + i / SECTOR_SIZE * 7 + i % 61);
    }
}

static void make(const struct subject *s, const char *path, VixDiskLibDiskType type, uint32_t parent_cid, uint8_t value)
{
    struct create_params p = {.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = s->capacity};
    static uint8_t buf[PART * SECTOR_SIZE];
    struct disk *d = NULL;

    if (parent_cid != CID_NO_PARENT) {
        p.parent_hint = "base.vmdk";
        p.parent_cid = parent_cid;
    }
    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, path, 0, NULL, &d, &err), VIX_OK);
    for (unsigned i = 0; i < PLACES; i += type == s->type && s->child ? 2 : 1) {
        fill(buf, i, value);
        /* a stream takes whole grains, in ascending order */
        uint64_t sector = d->ordered ? place_of(s, i) / 128 * 128 : place_of(s, i);
        assert_int_equal(disk_write(d, sector, d->ordered ? 128 : PART, buf, &err), VIX_OK);
        i += d->ordered ? 1 : 0;
    }
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

static void prepare(const struct subject *s)
{
    err_init(&err);
    fs = store_fs_mem_new(&err);
    assert_non_null(fs);
    uint32_t cid = CID_NO_PARENT;
    if (s->child) {
        make(s, "/a/base.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, CID_NO_PARENT, 3);
        struct chain *c = NULL;
        assert_int_equal(chain_open(fs, "/a/base.vmdk", CHAIN_READ, NULL, &c, &err), VIX_OK);
        cid = c->links[0]->desc->cid;
        assert_int_equal(chain_close(c, &err), VIX_OK);
    }
    make(s, DISK, s->type, cid, 90);
}

/** What the disk holds at all places, and around them. */
struct image {
    uint8_t bytes[PLACES * 2 * PART * SECTOR_SIZE];
};

static bool read_image(struct store_fs *where, const struct subject *s, struct image *ret_image)
{
    struct disk *d = NULL;
    VixError code = disk_open_local(where, DISK, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err);

    if (code != VIX_OK) {
        return false;
    }
    memset(ret_image, 0, sizeof *ret_image);
    for (unsigned i = 0; code == VIX_OK && i < PLACES; i++) {
        uint64_t n = min_u64(2 * PART, s->capacity - place_of(s, i));
        code = disk_read(d, place_of(s, i), n, ret_image->bytes + (size_t)i * 2 * PART * SECTOR_SIZE, &err);
    }
    return disk_close(d, &err) == VIX_OK && code == VIX_OK;
}

static struct image want;

static bool holds_the_same(struct store_fs *where, const struct subject *s)
{
    static struct image found;
    return read_image(where, s, &found) && memcmp(&found, &want, sizeof want) == 0;
}

/* ---- damage ---- */

static struct store *open_file(const char *path)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->open(fs, path, STORE_WRITE, &s, &err), VIX_OK);
    return s;
}

static uint64_t get(struct store *s, uint64_t off, unsigned width)
{
    uint8_t bytes[8];
    assert_int_equal(store_read(s, bytes, width, off, &err), VIX_OK);
    return width == 4 ? get_le32(bytes) : get_le64(bytes);
}

static void put(struct store *s, uint64_t off, unsigned width, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    assert_int_equal(store_write(s, bytes, width, off, &err), VIX_OK);
}

#define RGD 48u /* places in the header */
#define GD 56u
#define UNCLEAN 72u

static void put_entry(struct store *s, uint64_t directory, uint64_t grain, uint64_t value)
{
    uint64_t table = get(s, get(s, directory, 8) * SECTOR_SIZE + grain / 512 * 4, 4);
    put(s, table * SECTOR_SIZE + grain % 512 * 4, 4, value);
}

static void lose_directory(void)
{
    struct store *s = open_file(DISK);
    put(s, GD, 8, UINT64_C(1) << 40);
    store_close(s);
}

static void lose_copies(void)
{
    struct store *s = open_file(DISK);
    put(s, get(s, RGD, 8) * SECTOR_SIZE, 4, 0x7FFFFFFF);
    put(s, get(s, GD, 8) * SECTOR_SIZE + 4, 4, 0x7FFFFFFF);
    store_close(s);
}

static void lose_entries(void)
{
    struct store *s = open_file(DISK);
    put_entry(s, GD, 0, 0);
    put_entry(s, GD, 1, 0);
    put_entry(s, RGD, 66000 / 128, 0);
    put(s, UNCLEAN, 1, 1);
    store_close(s);
}

static void use_zero_entries(void)
{
    struct store *s = open_file(DISK);
    put_entry(s, GD, 900, 1);
    put_entry(s, RGD, 900, 1);
    store_close(s);
}

static void leave_split_unclean(void)
{
    struct store *s = open_file("/a/d-s001.vmdk");
    put_entry(s, RGD, 1, 0);
    put(s, UNCLEAN, 1, 1);
    store_close(s);
    s = open_file("/a/d-s002.vmdk");
    put(s, RGD, 8, UINT64_C(1) << 40);
    store_close(s);
}

static void leave_log_unclean(void)
{
    struct store *s = open_file("/a/d-delta.vmdk");
    put(s, 1648, 4, 1);
    put(s, 28, 4, get(s, 28, 4) - 10);
    store_close(s);
}

static void cut_line_end(void)
{
    struct store *s = open_file(DISK);
    uint64_t size;
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, size - 1, &err), VIX_OK);
    store_close(s);
}

static void cut_stream_end(void)
{
    struct store *s = open_file(DISK);
    uint64_t size;
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, size - SECTOR_SIZE, &err), VIX_OK);
    store_close(s);
}

static void lose_table(void)
{
    struct store *s = open_file(DISK);
    put(s, get(s, RGD, 8) * SECTOR_SIZE + 8, 4, 0x7FFFFFFF);
    put(s, get(s, GD, 8) * SECTOR_SIZE + 8, 4, 0x7FFFFFFE);
    put(s, get(s, GD, 8) * SECTOR_SIZE, 4, 0x7FFFFFFF);
    store_close(s);
}

#define SOUND(title, kind, size)                                                                                       \
    {                                                                                                                  \
        .name = title, .type = VIXDISKLIB_DISK_##kind, .capacity = size                                                \
    }
#define BROKEN(title, kind, size, how)                                                                                 \
    {                                                                                                                  \
        .name = title, .type = VIXDISKLIB_DISK_##kind, .capacity = size, .damage = how, .repairable = true             \
    }
static const struct subject subjects[] = {
    SOUND("sound flat", MONOLITHIC_FLAT, CAPACITY),
    SOUND("sound sparse", MONOLITHIC_SPARSE, CAPACITY),
    SOUND("sound split sparse", SPLIT_SPARSE, LARGE),
    SOUND("sound stream", STREAM_OPTIMIZED, CAPACITY),
    SOUND("sound redo log", VMFS_SPARSE, CAPACITY),
    {.name = "sound child", .type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE, .capacity = CAPACITY, .child = true},
    {.name = "lost table",
     .type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
     .capacity = CAPACITY,
     .damage = lose_table,
     .lost = true},
    BROKEN("lost directory", MONOLITHIC_SPARSE, CAPACITY, lose_directory),
    BROKEN("lost copies of tables", MONOLITHIC_SPARSE, CAPACITY, lose_copies),
    BROKEN("lone entries", MONOLITHIC_SPARSE, CAPACITY, lose_entries),
    BROKEN("unclean split", SPLIT_SPARSE, LARGE, leave_split_unclean),
    BROKEN("unclean redo log", VMFS_SPARSE, CAPACITY, leave_log_unclean),
    BROKEN("descriptor without line end", MONOLITHIC_FLAT, CAPACITY, cut_line_end),
    BROKEN("stream without its last sector", STREAM_OPTIMIZED, CAPACITY, cut_stream_end),
    {.name = "zero entries of a child",
     .type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
     .capacity = CAPACITY,
     .damage = use_zero_entries,
     .child = true,
     .repairable = true},
};
#define SUBJECTS (sizeof subjects / sizeof subjects[0])

/** Makes the subject, keeps what it holds, then does the damage. */
static void begin(const struct subject *s)
{
    prepare(s);
    assert_true(read_image(fs, s, &want));
    if (s->damage != NULL) {
        s->damage();
    }
}

static void end(void)
{
    store_fs_mem_free(fs);
    fs = NULL;
}

static VixError check(struct store_fs *where, uint32_t flags, struct check_summary *ret_sum)
{
    err_init(&err);
    return ops_check(where, DISK, flags | CHECK_CHAIN | CHECK_DEEP, NULL, NULL, ret_sum, &err);
}

static bool found_something(const struct check_summary *sum)
{
    return sum->problems + sum->notes > 0;
}

/** Whether a repair succeeds, and then all is well and the content what it was. */
static bool can_be_repaired(struct store_fs *where, const struct subject *s)
{
    struct check_summary sum;
    VixError code = check(where, CHECK_REPAIR, &sum);

    if (s->lost) {
        return code == VIX_E_DISK_CANTREPAIR;
    }
    return code == VIX_OK && check(where, 0, &sum) == VIX_OK && sum.problems == 0 && holds_the_same(where, s);
}

/* ---- failures ---- */

/** Runs a check with a rule; false and a message if the outcome is not right. *ret_count: operations that there were.
 */
static bool run_with(const struct subject *s, uint32_t flags, const struct store_fault_rule *rule, uint64_t *ret_count)
{
    struct store_fs *now = store_fs_mem_clone(fs, &err);
    struct store_fs *fault = store_fault_new(now, &err);
    struct check_summary plain, sum;
    bool good;

    assert_true(now != NULL && fault != NULL);
    VixError expected = check(now, 0, &plain);
    store_fault_record(fault);
    store_fault_set(fault, rule);
    VixError code = check(fault, flags, &sum);
    *ret_count = store_fault_count(fault, rule->ops);
    bool hit = store_fault_has_hit(fault);
    struct err said = err;
    if (flags == 0) {
        good =
            store_fault_events(fault) == 0 && store_fault_count(fault, FAULT_CHANGES) == 0 &&
            (hit ? code != VIX_OK || (sum.problems == plain.problems && sum.allocated_grains == plain.allocated_grains)
                 : code == expected);
    } else {
        good = hit || code == (s->lost ? VIX_E_DISK_CANTREPAIR : VIX_OK);
        good = good && (code != VIX_OK || check(now, 0, &plain) == VIX_OK);
    }
    good = good && (code == VIX_OK || (said.text[0] != '\0' && said.code == code));
    store_fault_free(fault);
    good = good && can_be_repaired(now, s);
    if (!good) {
        print_error("%s: flags %u, operation %u of kinds %x fails (errno %d): code %d (%s), then %s\n", s->name, flags,
                    (unsigned)rule->nth, rule->ops, rule->errnum, (int)code, said.text, err.text);
    }
    store_fs_mem_free(now);
    return good;
}

static void fail_each(const struct subject *s, uint32_t flags, uint32_t kinds, int errnum, uint64_t part)
{
    struct store_fault_rule rule = {.ops = kinds, .errnum = errnum, .part = part};
    uint64_t count = 0, now = 0;

    assert_true(run_with(s, flags, &rule, &count));
    for (rule.nth = 1; rule.nth <= count; rule.nth++) {
        assert_true(run_with(s, flags, &rule, &now));
    }
}

static void looking_survives_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUBJECTS; i++) {
        begin(&subjects[i]);
        fail_each(&subjects[i], 0, FAULT_ALL, EIO, 0);
        fail_each(&subjects[i], 0, FAULT_READ, EIO, 100);
        end();
    }
}

/** A file that ends earlier than it said. */
static void looking_survives_short_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUBJECTS; i++) {
        begin(&subjects[i]);
        fail_each(&subjects[i], 0, FAULT_READ, 0, 0);
        fail_each(&subjects[i], 0, FAULT_READ, 0, 300);
        end();
    }
}

static void repairing_survives_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUBJECTS; i++) {
        begin(&subjects[i]);
        fail_each(&subjects[i], CHECK_REPAIR, FAULT_ALL, EIO, 0);
        fail_each(&subjects[i], CHECK_REPAIR, FAULT_READ, EIO, 100);
        fail_each(&subjects[i], CHECK_REPAIR, FAULT_READ, 0, 300);
        if (subjects[i].repairable) {
            fail_each(&subjects[i], CHECK_REPAIR, FAULT_WRITE, ENOSPC, 2);
        }
        end();
    }
}

/* ---- crashes ---- */

static const enum store_crash ways[] = {STORE_CRASH_PROCESS, STORE_CRASH_LOSE, STORE_CRASH_MIX,
                                        STORE_CRASH_MIX,     STORE_CRASH_MIX,  STORE_CRASH_MIX};

static void crash_before(const struct subject *s, struct store_fs *fault, struct store_fs *start, size_t n)
{
    char text[200] = "the end";

    for (unsigned w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        struct store_fs *now = store_fs_mem_clone(start, &err);
        assert_non_null(now);
        assert_int_equal(store_fault_replay(fault, n, ways[w], w, now, &err), VIX_OK);
        bool good = can_be_repaired(now, s);
        if (!good) {
            if (n < store_fault_events(fault)) {
                store_fault_describe(fault, n, text, sizeof text);
            }
            print_error("%s: crash %u before event %zu: %s: %s\n", s->name, w, n, text, err.text);
        }
        assert_true(good);
        store_fs_mem_free(now);
    }
}

static void a_repair_that_is_cut_short_is_done_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUBJECTS; i++) {
        const struct subject *s = &subjects[i];
        struct check_summary sum;
        if (!s->repairable) {
            continue;
        }
        begin(s);
        struct store_fs *start = store_fs_mem_clone(fs, &err);
        struct store_fs *fault = store_fault_new(fs, &err);
        assert_true(start != NULL && fault != NULL);
        assert_true(check(fs, 0, &sum) != VIX_OK || found_something(&sum));
        store_fault_record(fault);
        assert_int_equal(check(fault, CHECK_REPAIR, &sum), VIX_OK);
        assert_true(sum.repaired > 0);
        size_t events = store_fault_events(fault);
        assert_true(events >= 1);
        for (size_t n = 0; n <= events; n++) {
            crash_before(s, fault, start, n);
        }
        store_fault_free(fault);
        store_fs_mem_free(start);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looking_survives_failures),
        cmocka_unit_test(looking_survives_short_reads),
        cmocka_unit_test(repairing_survives_failures),
        cmocka_unit_test(a_repair_that_is_cut_short_is_done_again),
    };
    return cmocka_run_group_tests_name("check_fault", tests, NULL, NULL);
}

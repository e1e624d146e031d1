/* SPDX-License-Identifier: BSD-3-Clause */
/* Renaming, removing and replacing disks in memory: names, refusals, and what a crash at any moment leaves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/config.h"
#include "ops/ops.h"
#include "store/store_fault.h"

#define SECTORS 2048u

static struct store_fs *fs;
static struct err err;

static const VixDiskLibDiskType types[] = {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE,
    VIXDISKLIB_DISK_SPLIT_FLAT,        VIXDISKLIB_DISK_VMFS_THIN,       VIXDISKLIB_DISK_STREAM_OPTIMIZED,
};
#define TYPE_COUNT (sizeof types / sizeof types[0])

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

/** A disk whose first sectors hold value. */
static void make_disk(const char *path, VixDiskLibDiskType type, uint8_t value)
{
    const struct create_params p = {.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = SECTORS};
    struct disk *d = NULL;
    uint8_t buf[4096];

    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(disk_open_local(fs, path, 0, NULL, &d, &err), VIX_OK);
    memset(buf, value, sizeof buf);
    assert_int_equal(disk_write(d, 0, 8, buf, &err), VIX_OK);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** The value of a disk of make_disk; -1 if it cannot be opened, -2 if it holds something else. */
static int value_in(struct store_fs *where, const char *path)
{
    struct disk *d = NULL;
    uint8_t buf[4096];
    uint8_t rest[4096];

    if (disk_open_local(where, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err) != VIX_OK) {
        return -1;
    }
    int value = -2;
    if (disk_read(d, 0, 8, buf, &err) == VIX_OK && disk_read(d, 8, 8, rest, &err) == VIX_OK) {
        value = buf[0];
        for (size_t i = 0; i < sizeof buf; i++) {
            value = buf[i] == value && rest[i] == 0 ? value : -2;
        }
    }
    assert_int_equal(disk_close(d, &err), VIX_OK);
    return value;
}

static void put_text(const char *path, const char *text)
{
    struct store *s = NULL;

    assert_int_equal(fs->ops->create(fs, path, 0, 0600, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, text, strlen(text), 0, &err), VIX_OK);
    store_close(s);
}

static bool exists(const char *path)
{
    return fs->ops->exists(fs, path);
}

/** Whether bytes of a file hold a text. */
static bool holds(const char *path, const char *text)
{
    static char buf[20000];
    struct store *s = NULL;
    uint64_t len = 0;

    assert_int_equal(fs->ops->open(fs, path, STORE_READ, &s, &err), VIX_OK);
    assert_int_equal(store_read_some(s, buf, sizeof buf - 1, 0, &len, &err), VIX_OK);
    store_close(s);
    return memmem(buf, len, text, strlen(text)) != NULL;
}

static void renames_every_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        char **names = NULL;
        make_disk("old.vmdk", types[i], 5);
        assert_int_equal(ops_rename(fs, "old.vmdk", "brand new.vmdk", &err), VIX_OK);
        assert_int_equal(value_in(fs, "brand new.vmdk"), 5);
        assert_true(holds("brand new.vmdk", "\"brand new"));
        assert_int_equal(vmdk_create_names("old.vmdk", types[i], SECTORS, &names, &err), VIX_OK);
        for (size_t n = 0; names[n] != NULL; n++) {
            assert_false(exists(names[n]));
        }
        chain_files_free(names);
        assert_int_equal(vmdk_create_names("brand new.vmdk", types[i], SECTORS, &names, &err), VIX_OK);
        for (size_t n = 0; names[n] != NULL; n++) {
            assert_true(exists(names[n]));
        }
        chain_files_free(names);
        assert_int_equal(ops_rename(fs, "brand new.vmdk", "dir/x", &err), VIX_OK);
        assert_int_equal(value_in(fs, "dir/x"), 5);
        assert_int_equal(ops_unlink(fs, "dir/x", &err), VIX_OK);
        assert_int_equal(vmdk_create_names("dir/x", types[i], SECTORS, &names, &err), VIX_OK);
        for (size_t n = 0; names[n] != NULL; n++) {
            assert_false(exists(names[n]));
        }
        chain_files_free(names);
    }
}

static void refuses_names_that_are_taken(void **state)
{
    (void)state;
    make_disk("a.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, 1);
    make_disk("b.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 2);
    put_text("c-flat.vmdk", "in the way");
    assert_int_equal(ops_rename(fs, "a.vmdk", "b.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(ops_rename(fs, "b.vmdk", "a.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(ops_rename(fs, "a.vmdk", "a.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(ops_rename(fs, "a.vmdk", "c.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_true(holds("c-flat.vmdk", "in the way"));
    assert_false(exists("c.vmdk"));
    assert_int_equal(ops_rename(fs, "a.vmdk", "", &err), VIX_E_FILE_NAME_INVALID);
    assert_int_equal(ops_rename(fs, "none.vmdk", "d.vmdk", &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(value_in(fs, "a.vmdk"), 1);
    assert_int_equal(value_in(fs, "b.vmdk"), 2);
}

static void refuses_disks_in_use(void **state)
{
    struct disk *d = NULL;

    (void)state;
    make_disk("a.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, 1);
    assert_int_equal(disk_open_local(fs, "a.vmdk", 0, NULL, &d, &err), VIX_OK);
    assert_int_equal(ops_rename(fs, "a.vmdk", "b.vmdk", &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(ops_unlink(fs, "a.vmdk", &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(value_in(fs, "a.vmdk"), 1);
}

static void what_is_no_disk_stays(void **state)
{
    (void)state;
    put_text("letter.txt", "Dear reader, this is no disk");
    put_text("empty", "");
    assert_int_equal(ops_unlink(fs, "letter.txt", &err), VIX_E_DISK_INVALIDDISK);
    assert_int_equal(ops_rename(fs, "letter.txt", "x", &err), VIX_E_DISK_INVALIDDISK);
    assert_int_equal(ops_unlink(fs, "empty", &err), VIX_E_DISK_INVALIDDISK);
    assert_int_equal(ops_unlink(fs, "none", &err), VIX_E_FILE_NOT_FOUND);
    assert_true(exists("letter.txt") && exists("empty"));
    make_disk("s.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, 1);
    assert_int_equal(ops_unlink(fs, "s-s001.vmdk", &err), VIX_E_DISK_INVALIDDISK);
    assert_int_equal(value_in(fs, "s.vmdk"), 1);
}

static void removes_what_is_left(void **state)
{
    (void)state;
    make_disk("a.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, 1);
    assert_int_equal(fs->ops->unlink(fs, "a-flat.vmdk", &err), VIX_OK);
    assert_int_equal(ops_unlink(fs, "a.vmdk", &err), VIX_OK);
    assert_false(exists("a.vmdk"));
}

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"custom\"\n"

/** A descriptor is data: it cannot make us remove files elsewhere. */
static void names_that_lead_elsewhere(void **state)
{
    (void)state;
    put_text("/etc/secret", "keep me");
    put_text("/d/a.vmdk", HEAD "RW 8 FLAT \"/etc/secret\" 0\n");
    put_text("/d/b.vmdk", HEAD "RW 8 FLAT \"../etc/secret\" 0\n");
    put_text("/d/c.vmdk", HEAD "RW 8 FLAT \"x/../../etc/secret\" 0\n");
    put_text("/d/e.vmdk", HEAD "RW 8 FLAT \"x/secret\" 0\n"); /* x may be a link */
    put_text("/d/f.vmdk", HEAD "RW 8 ZERO\nchangeTrackPath=\"../etc/secret\"\n");
    put_text("/d/g.vmdk", HEAD "RW 8 ZERO\nchangeTrackPath=\"/etc/secret\"\n");
    for (const char *name = "abcefg"; *name != '\0'; name++) {
        char path[] = "/d/?.vmdk";
        path[3] = *name;
        assert_int_equal(ops_unlink(fs, path, &err), VIX_E_FILE_ACCESS_ERROR);
        assert_non_null(strstr(err.text, CONFIG_ALLOW_OUTSIDE_PATHS));
        assert_true(exists("/etc/secret") && exists(path));
        /* A name that says where the file is stays as it is; one that only the folder gives a meaning is not followed.
         */
        bool stays = *name == 'a' || *name == 'g';
        assert_int_equal(ops_rename(fs, path, "/d/new.vmdk", &err), stays ? VIX_OK : VIX_E_FILE_ACCESS_ERROR);
        assert_true(exists("/etc/secret") && !exists("/d/new-flat.vmdk") && !exists("/d/new-ctk.vmdk"));
        if (stays) {
            assert_true(holds("/d/new.vmdk", "\"/etc/secret\""));
            assert_int_equal(ops_rename(fs, "/d/new.vmdk", path, &err), VIX_OK);
        }
        assert_true(exists(path));
    }
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "1", &err), VIX_OK);
    assert_int_equal(ops_unlink(fs, "/d/a.vmdk", &err), VIX_OK);
    assert_false(exists("/etc/secret"));
    config_clear();
}

static void odd_names_become_usual_ones(void **state)
{
    (void)state;
    make_disk("a.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, 9);
    assert_int_equal(fs->ops->rename(fs, "a-flat.vmdk", "data of a.img", &err), VIX_OK);
    assert_int_equal(fs->ops->unlink(fs, "a.vmdk", &err), VIX_OK);
    put_text("a.vmdk", "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\n"
                       "createType=\"monolithicFlat\"\nRW 2048 FLAT \"data of a.img\" 0\n"
                       "changeTrackPath=\"a-ctk.vmdk\"\nunknownKey=kept\n");
    put_text("a-ctk.vmdk", "bits");
    assert_int_equal(ops_rename(fs, "a.vmdk", "b.vmdk", &err), VIX_OK);
    assert_int_equal(value_in(fs, "b.vmdk"), 9);
    assert_true(exists("b-flat.vmdk") && exists("b-ctk.vmdk"));
    assert_false(exists("data of a.img") || exists("a-ctk.vmdk") || exists("a.vmdk"));
    assert_true(holds("b.vmdk", "changeTrackPath=\"b-ctk.vmdk\"") && holds("b.vmdk", "unknownKey=kept"));
    assert_int_equal(ops_unlink(fs, "b.vmdk", &err), VIX_OK);
    assert_false(exists("b-flat.vmdk") || exists("b-ctk.vmdk"));
}

static void several_extents_in_one_file(void **state)
{
    (void)state;
    put_text("d.vmdk", HEAD "RW 8 FLAT \"d-pt.vmdk\" 0\nRW 8 ZERO\nRW 8 FLAT \"d-pt.vmdk\" 8\n");
    struct store *s = NULL;
    assert_int_equal(fs->ops->create(fs, "d-pt.vmdk", 0, 0600, &s, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, 16 * 512, &err), VIX_OK);
    store_close(s);
    assert_int_equal(ops_rename(fs, "d.vmdk", "e.vmdk", &err), VIX_OK);
    assert_int_equal(value_in(fs, "e.vmdk"), 0);
    assert_false(exists("d-pt.vmdk"));
    assert_int_equal(ops_unlink(fs, "e.vmdk", &err), VIX_OK);
    assert_false(exists("e-pt.vmdk"));
}

static void children_find_their_parent(void **state)
{
    struct create_params p = {.type = VIXDISKLIB_DISK_SPLIT_SPARSE,
                              .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                              .capacity = SECTORS,
                              .parent_hint = "base.vmdk"};
    struct disk *d = NULL;

    (void)state;
    make_disk("/v/base.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, 4);
    assert_int_equal(disk_open_local(fs, "/v/base.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err), VIX_OK);
    p.parent_cid = disk_local_chain(d)->links[0]->desc->cid;
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(vmdk_create(fs, "/v/child.vmdk", &p, NULL, NULL, &err), VIX_OK);
    assert_int_equal(ops_rename(fs, "/v/child.vmdk", "/v/kid.vmdk", &err), VIX_OK);
    assert_int_equal(value_in(fs, "/v/kid.vmdk"), 4);
    assert_int_equal(ops_rename(fs, "/v/kid.vmdk", "/w/kid.vmdk", &err), VIX_OK);
    assert_true(holds("/w/kid.vmdk", "parentFileNameHint=\"/v/base.vmdk\""));
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "1", &err), VIX_OK);
    assert_int_equal(value_in(fs, "/w/kid.vmdk"), 4);
    config_clear();
    assert_int_equal(ops_unlink(fs, "/w/kid.vmdk", &err), VIX_OK);
    assert_int_equal(value_in(fs, "/v/base.vmdk"), 4);
}

/* ---- crashes ---- */

static const enum store_crash ways[] = {STORE_CRASH_PROCESS, STORE_CRASH_LOSE, STORE_CRASH_MIX,
                                        STORE_CRASH_MIX,     STORE_CRASH_MIX,  STORE_CRASH_MIX};
#define WAYS (sizeof ways / sizeof ways[0])

/** Goes through every crash of what was recorded on fault since start. Each state must hold want_old at old_path or
 * want_new at new_path; after the last event, want_new. */
static void check_crashes(struct store_fs *fault, struct store_fs *start, const char *old_path, int want_old,
                          const char *new_path, int want_new)
{
    size_t events = store_fault_events(fault);

    assert_true(events > 3);
    for (size_t n = 0; n <= events; n++) {
        for (unsigned w = 0; w < WAYS; w++) {
            struct store_fs *after = store_fs_mem_clone(start, &err);
            char text[200] = "the end";
            assert_non_null(after);
            assert_int_equal(store_fault_replay(fault, n, ways[w], w, after, &err), VIX_OK);
            int at_new = value_in(after, new_path);
            int at_old = strcmp(old_path, new_path) == 0 ? at_new : value_in(after, old_path);
            bool good = at_new == want_new || (n < events && at_old == want_old);
            if (!good) {
                store_fault_describe(fault, n, text, sizeof text);
                print_error("crash %u before event %zu of %zu (%s): old %d, new %d\n", w, n, events, text, at_old,
                            at_new);
            }
            assert_true(good);
            assert_true(at_new == -1 || at_new == want_new || at_new == want_old);
            assert_true(at_old == -1 || at_old == want_old || at_old == want_new);
            store_fs_mem_free(after);
        }
    }
}

static void crash_while_renaming(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        for (unsigned other_folder = 0; other_folder < 2; other_folder++) {
            const char *new_path = other_folder ? "/b/a new and longer name.vmdk" : "/a/x.vmdk";
            make_disk("/a/old.vmdk", types[i], 7);
            struct store_fs *start = store_fs_mem_clone(fs, &err);
            struct store_fs *fault = store_fault_new(fs, &err);
            assert_true(start != NULL && fault != NULL);
            store_fault_record(fault);
            assert_int_equal(ops_rename(fault, "/a/old.vmdk", new_path, &err), VIX_OK);
            check_crashes(fault, start, "/a/old.vmdk", 7, new_path, 7);
            store_fault_free(fault);
            store_fs_mem_free(start);
            assert_int_equal(ops_unlink(fs, new_path, &err), VIX_OK);
        }
    }
}

/** Fails each change of a rename in turn: the disk is there under one of the names, and the other is free. */
static void fail_each_change(void **state)
{
    struct store_fs *fault = store_fault_new(fs, &err);
    uint64_t count = 0;

    (void)state;
    make_disk("a.vmdk", VIXDISKLIB_DISK_SPLIT_FLAT, 3);
    for (uint64_t nth = 0; nth <= count; nth++) {
        const struct store_fault_rule rule = {.ops = FAULT_CHANGES, .nth = nth, .errnum = EIO};
        store_fault_set(fault, &rule);
        VixError code = ops_rename(fault, "a.vmdk", "b.vmdk", &err);
        count = nth == 0 ? store_fault_count(fault, rule.ops) : count;
        store_fault_set(fault, NULL);
        const char *now = value_in(fs, "b.vmdk") == 3 ? "b.vmdk" : "a.vmdk";
        assert_int_equal(value_in(fs, now), 3);
        assert_true(code != VIX_OK || strcmp(now, "b.vmdk") == 0);
        assert_false(exists("a.vmdk") && exists("b.vmdk"));
        if (strcmp(now, "b.vmdk") == 0) {
            (void)fs->ops->unlink(fs, "a-f001.vmdk", NULL); /* a name that could not be removed */
            assert_int_equal(ops_rename(fs, "b.vmdk", "a.vmdk", &err), VIX_OK);
        }
        assert_false(exists("b.vmdk") || exists("b-f001.vmdk"));
    }
    assert_true(count > 5);
    store_fault_free(fault);
}

static int link_errno;

static VixError refuse_link(struct store_fs *f, const char *old_path, const char *new_path, struct err *e)
{
    (void)f, (void)old_path, (void)new_path;
    e->code = VIX_E_NOT_SUPPORTED;
    e->sys_errno = link_errno;
    return VIX_E_NOT_SUPPORTED;
}

static void without_second_names(void **state)
{
    const struct store_fs_ops *real = fs->ops;
    struct store_fs_ops no_link = *fs->ops;

    (void)state;
    no_link.link = refuse_link;
    make_disk("a.vmdk", VIXDISKLIB_DISK_SPLIT_FLAT, 3);
    put_text("c-f001.vmdk", "in the way");
    fs->ops = &no_link;
    link_errno = EXDEV;
    assert_int_equal(ops_rename(fs, "a.vmdk", "b.vmdk", &err), VIX_E_NOT_SUPPORTED);
    assert_non_null(strstr(err.text, "another file system"));
    assert_int_equal(value_in(fs, "a.vmdk"), 3);
    link_errno = EPERM;
    assert_int_equal(ops_rename(fs, "a.vmdk", "b.vmdk", &err), VIX_OK);
    assert_int_equal(value_in(fs, "b.vmdk"), 3);
    assert_false(exists("a.vmdk") || exists("a-f001.vmdk"));
    assert_int_equal(ops_rename(fs, "b.vmdk", "c.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(value_in(fs, "b.vmdk"), 3);
    put_text("d.vmdk", "in the way of the descriptor");
    assert_int_equal(ops_rename(fs, "b.vmdk", "d.vmdk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(value_in(fs, "b.vmdk"), 3);
    fs->ops = real;
}

static void crash_while_replacing(void **state)
{
    (void)state;
    make_disk("/s/src.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 8);
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        struct disk *src = NULL;
        struct convert_target t = {
            .path = "/a/d.vmdk",
            .fd = -1,
            .overwrite = true,
            .params = {.type = types[i], .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC},
            .tuning = {.threads = 1, .level = 1},
        };
        make_disk("/a/d.vmdk", types[(i + 1) % TYPE_COUNT], 6);
        struct store_fs *start = store_fs_mem_clone(fs, &err);
        struct store_fs *fault = store_fault_new(fs, &err);
        assert_true(start != NULL && fault != NULL);
        assert_int_equal(disk_open_local(fs, "/s/src.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &src, &err), VIX_OK);
        store_fault_record(fault);
        assert_int_equal(ops_convert(fault, src, &t, (struct ops_progress){0}, &err), VIX_OK);
        check_crashes(fault, start, "/a/d.vmdk", 6, "/a/d.vmdk", 8);
        assert_int_equal(disk_close(src, &err), VIX_OK);
        store_fault_free(fault);
        store_fs_mem_free(start);
        assert_int_equal(ops_unlink(fs, "/a/d.vmdk", &err), VIX_OK);
    }
}

static void crash_while_making(void **state)
{
    (void)state;
    make_disk("/s/src.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 8);
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        struct disk *src = NULL;
        struct convert_target t = {
            .path = "/a/d.vmdk",
            .fd = -1,
            .params = {.type = types[i], .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC},
            .tuning = {.threads = 1, .level = 1},
        };
        struct store_fs *start = store_fs_mem_clone(fs, &err);
        struct store_fs *fault = store_fault_new(fs, &err);
        assert_int_equal(disk_open_local(fs, "/s/src.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &src, &err), VIX_OK);
        store_fault_record(fault);
        assert_int_equal(ops_convert(fault, src, &t, (struct ops_progress){0}, &err), VIX_OK);
        /* -1: there is no disk at all, under no name that anybody would open */
        check_crashes(fault, start, "/a/d.vmdk", -1, "/a/d.vmdk", 8);
        assert_int_equal(disk_close(src, &err), VIX_OK);
        store_fault_free(fault);
        store_fs_mem_free(start);
        assert_int_equal(ops_unlink(fs, "/a/d.vmdk", &err), VIX_OK);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(renames_every_type),          TEST(refuses_names_that_are_taken),
        TEST(refuses_disks_in_use),        TEST(what_is_no_disk_stays),
        TEST(removes_what_is_left),        TEST(names_that_lead_elsewhere),
        TEST(odd_names_become_usual_ones), TEST(several_extents_in_one_file),
        TEST(children_find_their_parent),  TEST(fail_each_change),
        TEST(without_second_names),        TEST(crash_while_renaming),
        TEST(crash_while_replacing),       TEST(crash_while_making),
    };
    return cmocka_run_group_tests_name("rename", tests, NULL, NULL);
}

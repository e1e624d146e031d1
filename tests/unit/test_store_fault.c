/* SPDX-License-Identifier: BSD-3-Clause */
/* The tool of the fault tests is tested itself: what it fails, what it pretends, what it leaves after a crash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/store_fault.h"

static struct store_fs *mem;
static struct store_fs *fs;
static struct err err;

static int begin(void **state)
{
    (void)state;
    err_init(&err);
    mem = store_fs_mem_new(&err);
    fs = mem != NULL ? store_fault_new(mem, &err) : NULL;
    return fs != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    store_fault_free(fs);
    store_fs_mem_free(mem);
    return 0;
}

static struct store *make(struct store_fs *where, const char *path)
{
    struct store *s = NULL;
    assert_int_equal(where->ops->create(where, path, 0, 0600, &s, &err), VIX_OK);
    return s;
}

static void put(struct store *s, char byte, uint64_t len, uint64_t off)
{
    char buf[4096];
    assert_true(len <= sizeof buf);
    memset(buf, byte, len);
    assert_int_equal(store_write(s, buf, len, off, &err), VIX_OK);
}

/* The byte at an offset of a file by name; 0 beyond the end, '!' if there is no such name. */
static char byte_at(struct store_fs *where, const char *path, uint64_t off)
{
    struct store *s = NULL;
    char byte = 0;
    uint64_t len;

    if (where->ops->open(where, path, STORE_READ, &s, &err) != VIX_OK) {
        return '!';
    }
    assert_int_equal(store_read_some(s, &byte, 1, off, &len, &err), VIX_OK);
    store_close(s);
    return len == 1 ? byte : 0;
}

static void nth_operation_fails(void **state)
{
    struct store *s = make(fs, "a");
    char buf[1024];
    uint64_t size = 0;

    (void)state;
    memset(buf, 'x', sizeof buf);
    store_fault_set(fs, &(struct store_fault_rule){.ops = FAULT_WRITE, .nth = 2, .errnum = EIO, .part = 100});
    assert_int_equal(store_write(s, buf, 512, 0, &err), VIX_OK);
    assert_false(store_fault_has_hit(fs));
    assert_int_equal(store_write(s, buf, 512, 512, &err), VIX_E_FILE_ERROR);
    assert_int_equal(err.sys_errno, EIO);
    assert_true(store_fault_has_hit(fs));
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(size, 612); /* the part was done */
    assert_int_equal(store_write(s, buf, 512, 512, &err), VIX_OK);
    assert_int_equal(store_fault_count(fs, FAULT_WRITE), 3);
    assert_int_equal(store_fault_count(fs, FAULT_ALL), 4);

    store_fault_set(fs, &(struct store_fault_rule){.ops = FAULT_FLUSH, .nth = 1, .errnum = ENOSPC, .stays = true});
    assert_int_equal(s->ops->flush(s, &err), VIX_E_DISK_FULL);
    assert_int_equal(s->ops->flush(s, &err), VIX_E_DISK_FULL);
    store_fault_set(fs, NULL);
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);
    assert_int_equal(store_fault_count(fs, FAULT_FLUSH), 1);

    store_fault_set(fs, &(struct store_fault_rule){.ops = FAULT_READ, .nth = 1, .part = 10});
    memset(buf, 0, sizeof buf);
    assert_int_equal(store_read(s, buf, 512, 0, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_memory_equal(buf, "xxxxxxxxxx\0", 11);
    assert_int_equal(store_read(s, buf, 512, 0, &err), VIX_OK);
    store_close(s);
}

/* One operation of each kind, in the order of the bits. */
static void run_all(struct store *s, VixError *ret_codes)
{
    struct store *opened = NULL;
    struct store *made = NULL;
    struct store_run run;
    enum store_fs_kind kind;
    uint64_t number;
    char *text = NULL;
    const VixError codes[FAULT_KINDS] = {
        store_read(s, &number, 8, 0, &err),
        store_write(s, "x", 1, 0, &err),
        s->ops->truncate(s, 100, &err),
        s->ops->punch(s, 50, 1, &err),
        s->ops->map(s, 0, 1, &run, &err),
        s->ops->copy(s, 10, s, 20, 5, &err),
        s->ops->flush(s, &err),
        s->ops->size(s, &number, &err),
        fs->ops->open(fs, "a", STORE_READ, &opened, &err),
        fs->ops->create(fs, "new", 0, 0600, &made, &err),
        fs->ops->rename(fs, "b", "c", &err),
        fs->ops->link(fs, "a", "d", &err),
        fs->ops->unlink(fs, "e", &err),
        fs->ops->sync_folder(fs, "a", &err),
        fs->ops->statfs(fs, "a", &kind, &number, &err),
        fs->ops->resolve(fs, "a", &text, &err),
    };
    memcpy(ret_codes, codes, sizeof codes);
    store_close(opened);
    store_close(made);
    free(text);
}

static void every_kind_can_fail(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < FAULT_KINDS; bit++) {
        VixError codes[FAULT_KINDS];
        assert_int_equal(begin(NULL), 0);
        struct store *s = make(fs, "a");
        store_close(make(fs, "b"));
        store_close(make(fs, "e"));
        put(s, 'x', 100, 0);
        store_fault_set(fs, &(struct store_fault_rule){.ops = 1u << bit, .nth = 1, .errnum = EACCES});
        run_all(s, codes);
        for (unsigned i = 0; i < FAULT_KINDS; i++) {
            assert_int_equal(codes[i], i == bit ? VIX_E_FILE_ACCESS_ERROR : VIX_OK);
            assert_int_equal(store_fault_count(fs, 1u << i), 1);
        }
        store_close(s);
        (void)end(NULL);
    }
}

static void limits_are_pretended(void **state)
{
    static char buf[200000];
    struct store *s = make(fs, "a");
    enum store_fs_kind kind = STORE_FS_ORDINARY;
    uint64_t free_bytes = 0;
    uint64_t size = 0;

    (void)state;
    memset(buf, 'x', sizeof buf);
    store_fault_pretend(fs, STORE_FS_FAT, 1000, UINT64_MAX);
    assert_int_equal(fs->ops->statfs(fs, "a", &kind, &free_bytes, &err), VIX_OK);
    assert_int_equal(kind, STORE_FS_FAT);
    assert_int_equal(store_write(s, buf, 1000, 0, &err), VIX_OK);
    assert_int_equal(store_write(s, buf, 10, 995, &err), VIX_E_FILE_TOO_BIG);
    assert_int_equal(s->ops->truncate(s, 1001, &err), VIX_E_FILE_TOO_BIG);
    assert_int_equal(s->ops->preallocate(s, 0, 1001, &err), VIX_E_FILE_TOO_BIG);
    assert_int_equal(s->ops->truncate(s, 0, &err), VIX_OK);

    store_fault_pretend(fs, STORE_FS_ORDINARY, UINT64_MAX, 100000);
    assert_int_equal(store_write(s, buf, 70000, 0, &err), VIX_OK);
    assert_int_equal(store_write(s, buf, 70000, 0, &err), VIX_OK); /* the space is there already */
    assert_int_equal(fs->ops->statfs(fs, "a", &kind, &free_bytes, &err), VIX_OK);
    assert_int_equal(free_bytes, 30000);
    assert_int_equal(store_write(s, buf, 50000, 70000, &err), VIX_E_DISK_FULL);
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    assert_int_equal(size, 100000);
    assert_int_equal(s->ops->truncate(s, 1000000, &err), VIX_OK); /* a length takes no space */
    assert_int_equal(s->ops->preallocate(s, 0, 1000000, &err), VIX_E_DISK_FULL);
    store_close(s);
}

/* base: what is there when recording begins. */
static struct store_fs *replay(struct store_fs *base, size_t nevents, enum store_crash how, unsigned seed)
{
    struct store_fs *after = store_fs_mem_clone(base, &err);
    assert_non_null(after);
    assert_int_equal(store_fault_replay(fs, nevents, how, seed, after, &err), VIX_OK);
    return after;
}

static char crash_byte(struct store_fs *base, size_t nevents, enum store_crash how, const char *path, uint64_t off)
{
    struct store_fs *after = replay(base, nevents, how, 1);
    char byte = byte_at(after, path, off);
    store_fs_mem_free(after);
    return byte;
}

static void crash_keeps_what_was_flushed(void **state)
{
    struct store *s = make(fs, "disk");
    char text[128];

    (void)state;
    put(s, 'o', 2048, 0);
    struct store_fs *base = store_fs_mem_clone(mem, &err);
    store_fault_record(fs);
    put(s, '1', 512, 0);                                      /* 0 */
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);         /* 1 */
    put(s, '2', 512, 0);                                      /* 2 */
    assert_int_equal(s->ops->truncate(s, 512, &err), VIX_OK); /* 3 */
    assert_int_equal(store_fault_events(fs), 4);
    store_fault_describe(fs, 0, text, sizeof text);
    assert_string_equal(text, "write file 1: 512 bytes at offset 0");

    assert_int_equal(crash_byte(base, 0, STORE_CRASH_PROCESS, "disk", 0), 'o');
    assert_int_equal(crash_byte(base, 1, STORE_CRASH_PROCESS, "disk", 0), '1');
    assert_int_equal(crash_byte(base, 1, STORE_CRASH_LOSE, "disk", 0), 'o');
    assert_int_equal(crash_byte(base, 2, STORE_CRASH_LOSE, "disk", 0), '1');
    assert_int_equal(crash_byte(base, 3, STORE_CRASH_LOSE, "disk", 0), '1');
    assert_int_equal(crash_byte(base, 3, STORE_CRASH_PROCESS, "disk", 0), '2');
    assert_int_equal(crash_byte(base, 4, STORE_CRASH_LOSE, "disk", 1000), 'o');
    assert_int_equal(crash_byte(base, 4, STORE_CRASH_PROCESS, "disk", 1000), 0);
    assert_int_equal(crash_byte(base, 4, STORE_CRASH_PROCESS, "disk", 511), '2');
    assert_int_equal(byte_at(mem, "disk", 511), '2'); /* the real one is untouched by all that */
    store_fs_mem_free(base);
    store_close(s);
}

/* The way to replace a file: its bytes flushed, the rename, the folder synced. */
static void crash_and_names(void **state)
{
    struct store *s = make(fs, "dir/disk");

    (void)state;
    put(s, 'o', 512, 0);
    store_close(s);
    struct store_fs *base = store_fs_mem_clone(mem, &err);
    store_fault_record(fs);
    s = make(fs, "dir/new");                                                    /* 0 */
    put(s, 'n', 512, 0);                                                        /* 1 */
    assert_int_equal(fs->ops->rename(fs, "dir/new", "dir/disk", &err), VIX_OK); /* 2 */
    assert_int_equal(fs->ops->sync_folder(fs, "other/disk", &err), VIX_OK);     /* 3 */
    assert_int_equal(fs->ops->sync_folder(fs, "dir/disk", &err), VIX_OK);       /* 4 */
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);                           /* 5 */
    assert_int_equal(fs->ops->unlink(fs, "dir/disk", &err), VIX_OK);            /* 6 */
    store_close(s);

    assert_int_equal(crash_byte(base, 3, STORE_CRASH_LOSE, "dir/disk", 0), 'o');
    assert_int_equal(crash_byte(base, 3, STORE_CRASH_LOSE, "dir/new", 0), '!');
    assert_int_equal(crash_byte(base, 2, STORE_CRASH_PROCESS, "dir/new", 0), 'n');
    assert_int_equal(crash_byte(base, 4, STORE_CRASH_LOSE, "dir/disk", 0), 'o'); /* another folder */
    assert_int_equal(crash_byte(base, 5, STORE_CRASH_LOSE, "dir/disk", 0), 0);   /* the mistake: a name without bytes */
    assert_int_equal(crash_byte(base, 6, STORE_CRASH_LOSE, "dir/disk", 0), 'n');
    assert_int_equal(crash_byte(base, 7, STORE_CRASH_LOSE, "dir/disk", 0), 'n');
    assert_int_equal(crash_byte(base, 7, STORE_CRASH_PROCESS, "dir/disk", 0), '!');
    store_fs_mem_free(base);
}

static void mixed_crash_tears_and_reorders(void **state)
{
    struct store *s = make(fs, "disk");
    bool torn = false;
    bool second_alone = false;
    bool none = false;
    bool both = false;

    (void)state;
    put(s, 'o', 4096, 0);
    struct store_fs *base = store_fs_mem_clone(mem, &err);
    store_fault_record(fs);
    put(s, 'f', 512, 3584);
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);
    put(s, '1', 1024, 0);
    put(s, '2', 1024, 2048);
    for (unsigned seed = 0; seed < 200; seed++) {
        struct store_fs *after = replay(base, 4, STORE_CRASH_MIX, seed);
        char a = byte_at(after, "disk", 0);
        char b = byte_at(after, "disk", 512);
        char c = byte_at(after, "disk", 2048);
        char d = byte_at(after, "disk", 2048 + 512);
        assert_int_equal(a, byte_at(after, "disk", 511)); /* a sector is whole */
        assert_int_equal(byte_at(after, "disk", 4095), 'f');
        torn |= a != b;
        second_alone |= a == 'o' && b == 'o' && c == '2' && d == '2';
        none |= a == 'o' && b == 'o' && c == 'o' && d == 'o';
        both |= a == '1' && b == '1' && c == '2' && d == '2';
        store_fs_mem_free(after);
    }
    assert_true(torn && second_alone && none && both);
    store_fs_mem_free(base);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nth_operation_fails, begin, end),
        cmocka_unit_test(every_kind_can_fail),
        cmocka_unit_test_setup_teardown(limits_are_pretended, begin, end),
        cmocka_unit_test_setup_teardown(crash_keeps_what_was_flushed, begin, end),
        cmocka_unit_test_setup_teardown(crash_and_names, begin, end),
        cmocka_unit_test_setup_teardown(mixed_crash_tears_and_reorders, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What every store_fs must do: the same tests over local files, local files past the page cache, and memory. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"

#define KIB ((uint64_t)1024)
#define TIB (1024 * 1024 * 1024 * KIB)

static struct store_fs *fs;
static uint32_t extra; /* flags of all opens */
static char folder[64];
static struct err err;

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int begin_local(void **state)
{
    (void)state;
    fs = store_fs_local();
    extra = 0;
    (void)snprintf(folder, sizeof folder, "/tmp/vixdisk-store-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int begin_unbuffered(void **state)
{
    int failed = begin_local(state);
    extra = STORE_UNBUFFERED;
    return failed;
}

static int end_local(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int begin_mem(void **state)
{
    (void)state;
    extra = 0;
    (void)snprintf(folder, sizeof folder, "/mem");
    fs = store_fs_mem_new(NULL);
    return fs != NULL ? 0 : -1;
}

static int end_mem(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

static struct store *make(const char *name, uint64_t size)
{
    struct store *s = NULL;
    assert_int_equal(fs->ops->create(fs, at(name), extra, 0644, &s, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, size, &err), VIX_OK);
    return s;
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

static uint64_t size_of(struct store *s)
{
    uint64_t size = UINT64_MAX;
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    return size;
}

static void names(void **state)
{
    struct store *s = make("a", 10);
    struct store *other = NULL;
    char *real = NULL;

    (void)state;
    assert_int_equal(fs->ops->create(fs, at("a"), extra, 0644, &other, &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_non_null(strstr(err.text, at("a")));
    assert_null(other);
    assert_int_equal(fs->ops->open(fs, at("b"), extra, &other, &err), VIX_E_FILE_NOT_FOUND);
    assert_null(other);
    assert_true(fs->ops->exists(fs, at("a")));
    assert_false(fs->ops->exists(fs, at("b")));
    assert_int_equal(fs->ops->rename_new(fs, at("a"), at("b"), &err), VIX_OK);
    assert_false(fs->ops->exists(fs, at("a")));
    store_close(make("a", 20));
    assert_int_equal(fs->ops->rename_new(fs, at("a"), at("b"), &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(fs->ops->rename(fs, at("a"), at("b"), &err), VIX_OK);
    assert_int_equal(fs->ops->rename(fs, at("a"), at("b"), &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(fs->ops->open(fs, at("./b"), extra, &other, &err), VIX_OK);
    assert_int_equal(size_of(other), 20);
    assert_int_equal(size_of(s), 10); /* still open, without a name */
    assert_true(s->ino != other->ino);
    assert_int_equal(fs->ops->resolve(fs, at("x/../b"), &real, &err),
                     fs == store_fs_local() ? VIX_E_FILE_NOT_FOUND : VIX_OK);
    free(real);
    assert_int_equal(fs->ops->resolve(fs, at(".//b"), &real, &err), VIX_OK);
    assert_string_equal(real, at("b"));
    free(real);
    assert_int_equal(fs->ops->sync_folder(fs, at("b"), &err), VIX_OK);
    assert_int_equal(fs->ops->unlink(fs, at("b"), &err), VIX_OK);
    assert_int_equal(fs->ops->unlink(fs, at("b"), &err), VIX_E_FILE_NOT_FOUND);
    store_close(s);
    store_close(other);
}

static void second_names(void **state)
{
    struct store *s = make("a", 10);
    struct store *other = NULL;

    (void)state;
    assert_int_equal(fs->ops->link(fs, at("a"), at("b"), &err), VIX_OK);
    assert_int_equal(fs->ops->link(fs, at("a"), at("b"), &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(fs->ops->link(fs, at("x"), at("y"), &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(fs->ops->unlink(fs, at("a"), &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("b"), extra, &other, &err), VIX_OK);
    assert_true(s->ino == other->ino);
    store_close(other);
    store_close(s);
    assert_int_equal(fs->ops->unlink(fs, at("b"), &err), VIX_OK);
}

static void reads_stop_at_the_end(void **state)
{
    uint8_t buf[64];
    uint64_t got = 99;
    struct store *s = make("end", 1000);

    (void)state;
    assert_int_equal(store_write(s, "tail", 4, 996, &err), VIX_OK);
    assert_int_equal(store_read(s, buf, 4, 996, &err), VIX_OK);
    assert_memory_equal(buf, "tail", 4);
    assert_int_equal(store_read(s, buf, 5, 996, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_non_null(strstr(err.text, "1000"));
    assert_int_equal(store_read(s, buf, 1, 1000, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(store_read(s, buf, 1, 5000, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(store_read(s, buf, 1, UINT64_MAX, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(store_read(s, buf, 0, 1000, &err), VIX_OK);
    assert_int_equal(store_read_some(s, buf, 64, 990, &got, &err), VIX_OK);
    assert_int_equal(got, 10);
    assert_memory_equal(buf + 6, "tail", 4);
    assert_int_equal(store_read_some(s, buf, 64, 1000, &got, &err), VIX_OK);
    assert_int_equal(got, 0);
    assert_int_equal(store_write(s, buf, 64, INT64_MAX - 10, &err), VIX_E_FILE_TOO_BIG);
    assert_int_equal(s->ops->truncate(s, UINT64_MAX, &err), VIX_E_FILE_TOO_BIG);
    assert_int_equal(size_of(s), 1000);
    store_close(s);
}

/* More entries than the system takes at once, empty ones among them, none aligned. */
static void vectors(void **state)
{
    enum { COUNT = 3000, PIECE = 37 };
    static struct iovec iov[COUNT];
    static uint8_t out[COUNT * PIECE];
    static uint8_t in[COUNT * PIECE];
    struct store *s = make("vectors", 0);
    size_t len = 0;

    (void)state;
    fill(out, sizeof out, 1);
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = i % 5 == 0 ? 0 : i % PIECE;
        iov[i] = (struct iovec){.iov_base = n > 0 ? out + len : NULL, .iov_len = n};
        len += n;
    }
    assert_int_equal(store_writev(s, iov, COUNT, 12345, &err), VIX_OK);
    assert_int_equal(size_of(s), 12345 + len);
    for (size_t i = 0; i < COUNT; i++) {
        iov[i].iov_base = iov[i].iov_len > 0 ? in + ((uint8_t *)iov[i].iov_base - out) : NULL;
    }
    assert_int_equal(store_readv(s, iov, COUNT, 12345, &err), VIX_OK);
    assert_memory_equal(in, out, len);
    memset(in, 1, sizeof in);
    assert_int_equal(store_read(s, in, 12345, 0, &err), VIX_OK);
    for (size_t i = 0; i < 12345; i++) {
        assert_int_equal(in[i], 0);
    }
    assert_int_equal(store_readv(s, iov, COUNT, 12346, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(store_writev(s, iov, 0, 0, &err), VIX_OK);
    store_close(s);
}

/* Random reads, writes, holes and lengths against an array of bytes. */
static void agrees_with_an_array(void **state)
{
    enum { MAX = 300000, STEPS = 600 };
    static uint8_t model[MAX];
    static uint8_t buf[MAX + 4096];
    unsigned seed = (unsigned)getpid();
    uint64_t size = 0;
    struct store *s = make("random", 0);

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    memset(model, 0, sizeof model);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t off = (uint64_t)random() % MAX;
        uint64_t len = (uint64_t)random() % (MAX - off);
        uint8_t *mem = buf + random() % 4096;
        if (random() % 3 == 0) {
            off -= off % 4096;
            len -= len % 4096;
            mem = buf + (4096 - (uintptr_t)buf % 4096) % 4096;
        }
        switch (random() % 6) {
        case 0:
        case 1:
        case 2:
            fill(mem, len, i);
            assert_int_equal(store_write(s, mem, len, off, &err), VIX_OK);
            memcpy(model + off, mem, len);
            size = len > 0 && off + len > size ? off + len : size;
            break;
        case 3:
            if (off + len <= size) {
                memset(mem, 0xEE, len);
                assert_int_equal(store_read(s, mem, len, off, &err), VIX_OK);
                assert_memory_equal(mem, model + off, len);
            } else {
                assert_int_equal(store_read(s, mem, len + (len == 0), off, &err), VIX_E_HOST_FILE_ERROR_EOF);
            }
            break;
        case 4: {
            VixError code = s->ops->punch(s, off, len, &err);
            if (code == VIX_OK) {
                memset(model + off, 0, len);
            } else {
                assert_int_equal(code, VIX_E_NOT_SUPPORTED);
            }
            break;
        }
        default:
            if (random() % 4 == 0) {
                assert_int_equal(s->ops->truncate(s, off, &err), VIX_OK);
                memset(model + off, 0, MAX - off);
                size = off;
            }
        }
        assert_int_equal(size_of(s), size);
    }
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);
    if (size > 0) {
        assert_int_equal(store_read(s, buf, size, 0, &err), VIX_OK);
        assert_memory_equal(buf, model, size);
    }
    store_close(s);
}

static void holes_are_known(void **state)
{
    static uint8_t buf[256 * 1024];
    struct store_run run;
    uint64_t bytes = 0;
    struct store *s = make("holes", 1024 * KIB);

    (void)state;
    fill(buf, sizeof buf, 3);
    assert_int_equal(store_write(s, buf, sizeof buf, 512 * KIB, &err), VIX_OK);
    assert_int_equal(s->ops->flush(s, &err), VIX_OK);
    assert_int_equal(s->ops->map(s, 0, 1024 * KIB, &run, &err), VIX_OK);
    assert_true(run.hole);
    assert_int_equal(run.len, 512 * KIB);
    assert_int_equal(s->ops->map(s, 512 * KIB, 1024 * KIB, &run, &err), VIX_OK);
    assert_false(run.hole);
    assert_int_equal(run.len, 256 * KIB);
    assert_int_equal(s->ops->map(s, 512 * KIB + 1, 1000, &run, &err), VIX_OK);
    assert_int_equal(run.len, 1000);
    assert_int_equal(s->ops->map(s, 768 * KIB, UINT64_MAX, &run, &err), VIX_OK);
    assert_true(run.hole);
    assert_int_equal(run.len, 256 * KIB);
    assert_int_equal(s->ops->map(s, 1024 * KIB, 1, &run, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(s->ops->allocated(s, &bytes, &err), VIX_OK);
    assert_true(bytes >= 256 * KIB && bytes < 512 * KIB);
    assert_int_equal(s->ops->punch(s, 512 * KIB, 256 * KIB, &err), VIX_OK);
    assert_int_equal(s->ops->map(s, 0, UINT64_MAX, &run, &err), VIX_OK);
    assert_true(run.hole);
    assert_int_equal(run.len, 1024 * KIB);
    store_close(s);
}

static void two_terabytes(void **state)
{
    uint8_t buf[512];
    uint8_t got[512];
    uint64_t bytes = 0;
    struct store *s = make("large", 2 * TIB);

    (void)state;
    fill(buf, sizeof buf, 4);
    assert_int_equal(store_write(s, buf, 512, 2 * TIB - 512, &err), VIX_OK);
    assert_int_equal(store_read(s, got, 512, 2 * TIB - 512, &err), VIX_OK);
    assert_memory_equal(got, buf, 512);
    assert_int_equal(size_of(s), 2 * TIB);
    assert_int_equal(s->ops->allocated(s, &bytes, &err), VIX_OK);
    assert_true(bytes < 1024 * KIB);
    store_close(s);
}

static void preallocate_grows_only(void **state)
{
    uint8_t byte = 0;
    struct store *s = make("pre", 10);

    (void)state;
    assert_int_equal(store_write(s, "x", 1, 9, &err), VIX_OK);
    assert_int_equal(s->ops->preallocate(s, 0, 100 * KIB, &err), VIX_OK);
    assert_int_equal(size_of(s), 100 * KIB);
    assert_int_equal(s->ops->preallocate(s, 0, 10, &err), VIX_OK);
    assert_int_equal(size_of(s), 100 * KIB);
    assert_int_equal(store_read(s, &byte, 1, 9, &err), VIX_OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(store_read(s, &byte, 1, 100 * KIB - 1, &err), VIX_OK);
    assert_int_equal(byte, 0);
    store_close(s);
}

static void one_writer_or_many_readers(void **state)
{
    struct store *a = NULL;
    struct store *b = NULL;
    struct store *c = NULL;

    (void)state;
    store_close(make("locked", 10));
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_READ, &a, &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_READ, &b, &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_WRITE, &c, &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_non_null(strstr(err.text, at("locked")));
    store_close(a);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_WRITE, &c, &err), VIX_E_FILE_ALREADY_LOCKED);
    store_close(b);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_WRITE, &c, &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_LOCK | STORE_READ, &a, &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(fs->ops->open(fs, at("locked"), STORE_READ, &a, &err), VIX_OK); /* asks for no lock */
    store_close(a);
    store_close(c);
    assert_int_equal(fs->ops->create(fs, at("new"), STORE_LOCK, 0644, &c, &err), VIX_OK);
    assert_int_equal(fs->ops->open(fs, at("new"), STORE_LOCK | STORE_READ, &a, &err), VIX_E_FILE_ALREADY_LOCKED);
    store_close(c);
}

static void reader_cannot_write(void **state)
{
    struct store *s = NULL;

    (void)state;
    store_close(make("ro", 10));
    assert_int_equal(fs->ops->open(fs, at("ro"), STORE_READ | extra, &s, &err), VIX_OK);
    assert_false(s->writable);
    assert_int_equal(store_write(s, "x", 1, 0, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(s->ops->truncate(s, 0, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(s->ops->punch(s, 0, 1, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(s->ops->preallocate(s, 0, 1, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(size_of(s), 10);
    store_close(s);
}

static void copies_between_files(void **state)
{
    static uint8_t data[200 * 1024];
    static uint8_t got[200 * 1024];
    struct store *from = make("from", 0);
    struct store *to = make("to", 0);

    (void)state;
    fill(data, sizeof data, 5);
    assert_int_equal(store_write(from, data, sizeof data, 0, &err), VIX_OK);
    assert_int_equal(to->ops->copy(to, 0, from, 1, sizeof data, &err), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(size_of(to), 0);
    VixError code = to->ops->copy(to, 1000, from, 512, 100000, &err);
    if (code != VIX_OK) {
        assert_int_equal(code, VIX_E_NOT_SUPPORTED);
        assert_int_equal(size_of(to), 0);
    } else {
        assert_int_equal(size_of(to), 101000);
        assert_int_equal(store_read(to, got, 100000, 1000, &err), VIX_OK);
        assert_memory_equal(got, data + 512, 100000);
    }
    store_close(from);
    store_close(to);
}

static void paths(void **state)
{
    char *p;

    (void)state;
    assert_string_equal(store_path_base("/a/b.vmdk"), "b.vmdk");
    assert_true(store_path_is_temporary("/a/b.vmdk.tmp-12ab9f"));
    assert_true(store_path_is_temporary("b.part-0123abcd.vmdk"));
    assert_true(store_path_is_temporary("b.part-0123abcd"));
    assert_false(store_path_is_temporary("/a.part-0123abcd/b.vmdk"));
    assert_false(store_path_is_temporary("b.part-0123abcd-s001.vmdk"));
    assert_false(store_path_is_temporary("b.part-0123abc.vmdk"));
    assert_false(store_path_is_temporary("b.tmp-12ab9f.vmdk"));
    assert_false(store_path_is_temporary("b.tmp-12ab9x"));
    assert_false(store_path_is_temporary("tmp-12ab9f"));
    assert_string_equal(store_path_base("b.vmdk"), "b.vmdk");
    p = store_path_beside("/a/b.vmdk", "c", &err);
    assert_string_equal(p, "/a/c");
    free(p);
    p = store_path_beside("b.vmdk", "c", &err);
    assert_string_equal(p, "c");
    free(p);
    p = store_path_beside("/a/b.vmdk", "/x/c", &err);
    assert_string_equal(p, "/x/c");
    free(p);
    p = store_path_folder("/a/b/c", &err);
    assert_string_equal(p, "/a/b");
    free(p);
    p = store_path_folder("/c", &err);
    assert_string_equal(p, "/");
    free(p);
    p = store_path_folder("c", &err);
    assert_string_equal(p, ".");
    free(p);
    assert_true(store_fs_kind_max_file(STORE_FS_FAT) == 0xFFFFFFFF);
    assert_true(store_fs_kind_max_file(STORE_FS_NTFS) == 0xFFFFFFF0000);
    assert_true(store_fs_kind_max_file(STORE_FS_EXFAT) == UINT64_MAX);
    assert_string_equal(store_fs_kind_name(STORE_FS_FAT), "FAT");
}

static void clone_is_separate(void **state)
{
    struct store *s = make("clone", 10);
    struct store *t = NULL;
    char got[4];
    struct store_fs *copy;

    (void)state;
    assert_int_equal(store_write(s, "old", 3, 0, &err), VIX_OK);
    copy = store_fs_mem_clone(fs, &err);
    assert_non_null(copy);
    assert_int_equal(store_write(s, "new", 3, 0, &err), VIX_OK);
    assert_int_equal(copy->ops->open(copy, at("clone"), STORE_WRITE, &t, &err), VIX_OK);
    assert_int_equal(t->ino, s->ino);
    assert_int_equal(store_read(t, got, 3, 0, &err), VIX_OK);
    assert_memory_equal(got, "old", 3);
    assert_int_equal(copy->ops->unlink(copy, at("clone"), &err), VIX_OK);
    assert_true(fs->ops->exists(fs, at("clone")));
    store_close(t);
    store_fs_mem_free(copy);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(second_names),
        cmocka_unit_test(reads_stop_at_the_end),
        cmocka_unit_test(vectors),
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(holes_are_known),
        cmocka_unit_test(two_terabytes),
        cmocka_unit_test(preallocate_grows_only),
        cmocka_unit_test(one_writer_or_many_readers),
        cmocka_unit_test(reader_cannot_write),
        cmocka_unit_test(copies_between_files),
        cmocka_unit_test(paths),
    };
    const struct CMUnitTest memory_only[] = {
        cmocka_unit_test(clone_is_separate),
    };
    int failed = cmocka_run_group_tests_name("local", tests, begin_local, end_local);
    failed += cmocka_run_group_tests_name("unbuffered", tests, begin_unbuffered, end_local);
    failed += cmocka_run_group_tests_name("memory", tests, begin_mem, end_mem);
    failed += cmocka_run_group_tests_name("memory only", memory_only, begin_mem, end_mem);
    return failed;
}

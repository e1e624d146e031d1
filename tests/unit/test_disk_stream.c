/* SPDX-License-Identifier: BSD-3-Clause */
/* test_disk_stream.c - a streamOptimized VMDK that comes through a pipe as a disk: bytes, facts of its descriptor, and
 * every stream that cannot be a whole disk. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "disk/disk.h"

#define CAPACITY 3000u
#define TEXT                                                                                                           \
    "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=%s\ncreateType=\"streamOptimized\"\n\n"                 \
    "RW %u SPARSE \"a.vmdk\"\n\nddb.adapterType = \"ide\"\nddb.uuid = \"60 00 C2 9a\"\nddb.toolsVersion = \"7\"\n"

static struct err err;
static uint8_t content[CAPACITY * SECTOR_SIZE];

/** The bytes of a file whose descriptor names a parent and a capacity; freed by the caller. */
static uint8_t *make_file(const char *parent, unsigned capacity, size_t *ret_size)
{
    struct store_fs *fs = store_fs_mem_new(&err);
    struct extent_open_params p = {.writable = true, .level = 1, .threads = 1};
    char text[1024];
    struct extent *x;
    uint64_t size;

    assert_non_null(fs);
    for (size_t i = 0; i < sizeof content; i++) {
        content[i] = i / 65536 % 3 == 1 ? 0 : (uint8_t)(i * 7 / 300);
    }
    (void)snprintf(text, sizeof text, TEXT, parent, capacity);
    assert_int_equal(fs->ops->create(fs, "a", 0, 0600, &p.store, &err), VIX_OK);
    assert_int_equal(extent_stream_create(p.store, CAPACITY, text, strlen(text), &err), VIX_OK);
    assert_int_equal(extent_stream_open(&p, &x, &err), VIX_OK);
    assert_int_equal(x->ops->write(x, 0, CAPACITY, content, &err), VIX_OK);
    assert_int_equal(x->ops->close(x, &err), VIX_OK);
    assert_int_equal(p.store->ops->size(p.store, &size, &err), VIX_OK);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(store_read(p.store, bytes, size, 0, &err), VIX_OK);
    store_close(p.store);
    store_fs_mem_free(fs);
    *ret_size = size;
    return bytes;
}

/** Writes bytes into a pipe. */
struct feeder {
    const uint8_t *bytes;
    size_t len;
    int read_fd, write_fd;
    pthread_t thread;
};

static void *feed(void *arg)
{
    struct feeder *f = arg;
    ssize_t n = 1;

    for (size_t at = 0; at < f->len && n > 0; at += (size_t)n) {
        size_t piece = f->len - at < 7777 ? f->len - at : 7777;
        n = write(f->write_fd, f->bytes + at, piece);
    }
    (void)close(f->write_fd);
    return NULL;
}

static void feeder_start(struct feeder *f, const uint8_t *bytes, size_t len)
{
    int fds[2];

    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(fds), 0);
    *f = (struct feeder){.bytes = bytes, .len = len, .read_fd = fds[0], .write_fd = fds[1]};
    assert_int_equal(pthread_create(&f->thread, NULL, feed, f), 0);
}

static void feeder_end(struct feeder *f)
{
    assert_int_equal(close(f->read_fd), 0);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
}

static void a_stream_is_a_disk(void **state)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];
    struct disk_info info;
    struct feeder f;
    struct disk *d;
    size_t size, len;
    char *text;
    uint8_t *bytes = make_file("ffffffff", CAPACITY, &size);

    (void)state;
    feeder_start(&f, bytes, size);
    assert_int_equal(disk_open_stream_in(f.read_fd, 0, &d, &err), VIX_OK);
    assert_true(d->sequential && !d->writable && !d->ordered);
    assert_int_equal(d->capacity, CAPACITY);
    assert_int_equal(d->ops->info(d, &info, &err), VIX_OK);
    assert_int_equal(info.type, VIXDISKLIB_DISK_STREAM_OPTIMIZED);
    assert_int_equal(info.info.adapterType, VIXDISKLIB_ADAPTER_IDE);
    assert_int_equal(info.info.capacity, CAPACITY);
    assert_int_equal(info.info.numLinks, 1);
    assert_string_equal(info.info.uuid, "60 00 C2 9a");
    disk_info_done(&info);
    assert_int_equal(d->ops->meta_get(d, "toolsVersion", &text, &err), VIX_OK);
    assert_string_equal(text, "7");
    free(text);
    assert_int_equal(d->ops->meta_get(d, "none", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(d->ops->meta_keys(d, &text, &len, &err), VIX_OK);
    assert_int_equal(len, sizeof "adapterType" + sizeof "uuid" + sizeof "toolsVersion" + 1);
    free(text);
    assert_int_equal(disk_write(d, 0, 1, buf, &err), VIX_E_FILE_READ_ONLY);
    for (uint64_t at = 0; at < CAPACITY; at += 700) {
        uint64_t n = CAPACITY - at < 700 ? CAPACITY - at : 700;
        assert_int_equal(disk_read(d, at, n, buf + at * SECTOR_SIZE, &err), VIX_OK);
    }
    assert_memory_equal(buf, content, sizeof content);
    assert_int_equal(disk_read(d, 0, 1, buf, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    feeder_end(&f);
    free(bytes);
}

static VixError read_all_of(const uint8_t *bytes, size_t size)
{
    static uint8_t buf[CAPACITY * SECTOR_SIZE];
    struct feeder f;
    struct disk *d;

    feeder_start(&f, bytes, size);
    VixError code = disk_open_stream_in(f.read_fd, 0, &d, &err);
    if (code == VIX_OK) {
        code = disk_read(d, 0, d->capacity, buf, &err);
        assert_int_equal(disk_close(d, &err), VIX_OK);
    }
    feeder_end(&f);
    return code;
}

static void what_is_no_whole_disk_is_refused(void **state)
{
    size_t size;
    uint8_t *bytes = make_file("ffffffff", CAPACITY, &size);

    (void)state;
    assert_int_equal(read_all_of(bytes, size), VIX_OK);
    assert_int_equal(read_all_of(bytes, size - 1024), VIX_E_DISK_NEEDSREPAIR); /* only the footer is missing */
    assert_int_equal(read_all_of(bytes, size / 2), VIX_E_DISK_NEEDSREPAIR);
    assert_int_equal(read_all_of(bytes, 100), VIX_E_DISK_NEEDSREPAIR);
    assert_int_equal(read_all_of(bytes, 0), VIX_E_DISK_NEEDSREPAIR);
    put_le32(bytes + 8, 3); /* flags of monolithicSparse */
    put_le64(bytes + 56, 30);
    put_le64(bytes + 48, 21);
    assert_int_equal(read_all_of(bytes, size), VIX_E_DISK_NOTSUPPORTED);
    bytes[0] = 'X';
    assert_int_equal(read_all_of(bytes, size), VIX_E_DISK_INVALIDDISK);
    free(bytes);
    bytes = make_file("01234567", CAPACITY, &size);
    assert_int_equal(read_all_of(bytes, size), VIX_E_DISK_NOTSUPPORTED);
    free(bytes);
    bytes = make_file("ffffffff", CAPACITY + 1, &size);
    assert_int_equal(read_all_of(bytes, size), VIX_E_DISK_INVAL);
    free(bytes);
    bytes = make_file("ffffffff", CAPACITY - 50, &size); /* a header rounded up: the line counts */
    assert_int_equal(read_all_of(bytes, size), VIX_OK);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_a_disk),
        cmocka_unit_test(what_is_no_whole_disk_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

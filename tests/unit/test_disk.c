/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks that are only bytes (raw images, streams), and the checks that all disks share. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"

static struct store_fs *fs;
static struct err err;

static int begin(void **state)
{
    (void)state;
    fs = store_fs_mem_new(&err);
    return fs != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

/** A file of len bytes of value. */
static void make_file(const char *path, size_t len, int value)
{
    struct store *s = NULL;
    uint8_t *buf = malloc(len + 1);

    assert_non_null(buf);
    memset(buf, value, len);
    assert_int_equal(fs->ops->create(fs, path, 0, 0600, &s, &err), VIX_OK);
    assert_int_equal(store_write(s, buf, len, 0, &err), VIX_OK);
    store_close(s);
    free(buf);
}

static uint64_t size_of(const char *path)
{
    struct store *s = NULL;
    uint64_t size = 0;

    assert_int_equal(fs->ops->open(fs, path, STORE_READ, &s, &err), VIX_OK);
    assert_int_equal(s->ops->size(s, &size, &err), VIX_OK);
    store_close(s);
    return size;
}

static struct disk *open_raw(const char *path, uint32_t flags)
{
    struct disk *d = NULL;
    assert_int_equal(disk_open_raw(fs, path, flags, &d, &err), VIX_OK);
    return d;
}

static bool all(const uint8_t *buf, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != value) {
            return false;
        }
    }
    return true;
}

static void last_sector_is_padded(void **state)
{
    uint8_t buf[1024];

    (void)state;
    make_file("r", 1000, 'x');
    struct disk *d = open_raw("r", 0);
    assert_int_equal(d->capacity, 2);
    memset(buf, 'q', sizeof buf);
    assert_int_equal(disk_read(d, 0, 2, buf, &err), VIX_OK);
    assert_true(all(buf, 1000, 'x') && all(buf + 1000, 24, 0));
    memset(buf, 'q', sizeof buf);
    assert_int_equal(disk_read(d, 1, 1, buf, &err), VIX_OK);
    assert_true(all(buf, 488, 'x') && all(buf + 488, 24, 0));
    memset(buf, 'y', 512);
    assert_int_equal(disk_write(d, 0, 1, buf, &err), VIX_OK);
    assert_int_equal(disk_read(d, 1, 1, buf, &err), VIX_OK);
    assert_true(all(buf + 488, 24, 0));
    memset(buf, 'z', 512);
    assert_int_equal(disk_write(d, 1, 1, buf, &err), VIX_OK);
    assert_int_equal(disk_read(d, 0, 2, buf, &err), VIX_OK);
    assert_true(all(buf, 512, 'y') && all(buf + 512, 512, 'z'));
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(size_of("r"), 1024);
}

static void range_and_mode_are_checked(void **state)
{
    static uint8_t buf[2048];

    (void)state;
    make_file("r", 2048, 'x');
    struct disk *d = open_raw("r", VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_int_equal(disk_read(d, 4, 1, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_non_null(strstr(err.text, "sector 4 "));
    assert_int_equal(disk_read(d, 3, 2, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_read(d, UINT64_MAX, 2, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_read(d, 1, UINT64_MAX, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_read(d, 99, 0, NULL, &err), VIX_OK);
    assert_int_equal(disk_read(d, 0, 4, buf, &err), VIX_OK);
    assert_int_equal(disk_write(d, 0, 1, buf, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    d = open_raw("r", 0);
    assert_int_equal(disk_write(d, 3, 2, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(disk_write(d, 3, 1, buf, &err), VIX_OK);
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(disk_close(NULL, &err), VIX_OK);
}

static void raw_has_no_database(void **state)
{
    char *text = NULL;
    size_t len = 0;
    struct disk_info info;

    (void)state;
    make_file("r", 1 << 20, 'x');
    struct disk *d = open_raw("r", 0);
    assert_int_equal(d->ops->meta_get(d, "uuid", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(d->ops->meta_set(d, "uuid", "1", &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(d->ops->meta_keys(d, &text, &len, &err), VIX_OK);
    assert_int_equal(len, 1);
    assert_int_equal(text[0], 0);
    free(text);
    assert_int_equal(d->ops->info(d, &info, &err), VIX_OK);
    assert_int_equal(info.info.capacity, 2048);
    assert_int_equal(info.info.numLinks, 1);
    assert_int_equal(info.info.logicalSectorSize, 512);
    assert_null(info.info.uuid);
    disk_info_done(&info);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

static void raw_knows_its_holes(void **state)
{
    struct store *s = NULL;
    struct disk_run run;

    (void)state;
    assert_int_equal(fs->ops->create(fs, "r", 0, 0600, &s, &err), VIX_OK);
    assert_int_equal(s->ops->truncate(s, 1000000, &err), VIX_OK);
    assert_int_equal(store_write(s, "data", 4, 300000, &err), VIX_OK);
    store_close(s);
    struct disk *d = open_raw("r", 0);
    assert_int_equal(d->ops->map(d, 0, d->capacity, 0, &run, &err), VIX_OK);
    assert_int_equal(run.nsectors, d->capacity);
    assert_false(run.zero);
    uint64_t data_sectors = 0;
    for (uint64_t pos = 0; pos < d->capacity; pos += run.nsectors) {
        assert_int_equal(d->ops->map(d, pos, d->capacity - pos, EXTENT_MAP_HOLES, &run, &err), VIX_OK);
        assert_int_equal(run.sector, pos);
        assert_true(run.nsectors > 0 && run.present && run.has_offset && run.file_off == pos * 512);
        if (300000 / 512 >= pos && 300000 / 512 < pos + run.nsectors) {
            assert_false(run.zero);
        }
        data_sectors += run.zero ? 0 : run.nsectors;
    }
    assert_true(data_sectors < 300);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

static void odd_raw_files(void **state)
{
    struct disk *d = NULL;

    (void)state;
    make_file("empty", 0, 0);
    assert_int_equal(disk_open_raw(fs, "empty", 0, &d, &err), VIX_E_DISK_RAWTOOSMALL);
    assert_int_equal(disk_open_raw(fs, "none", 0, &d, &err), VIX_E_FILE_NOT_FOUND);
    assert_null(d);
    make_file("r", 512, 1);
    d = open_raw("r", 0);
    struct disk *other = NULL;
    assert_int_equal(disk_open_raw(fs, "r", 0, &other, &err), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/* ---- streams ---- */

struct feeder {
    int fd;
    size_t len;
};

static void *feed(void *arg)
{
    struct feeder *f = arg;

    for (size_t i = 0; i < f->len; i++) {
        uint8_t byte = (uint8_t)(i / 512);
        if (write(f->fd, &byte, 1) != 1) {
            break;
        }
    }
    (void)close(f->fd);
    return NULL;
}

static struct disk *open_stream(struct feeder *f, pthread_t *ret_thread, int *ret_fd, size_t len, uint64_t capacity)
{
    int fds[2];
    struct disk *d = NULL;

    assert_int_equal(pipe(fds), 0);
    *f = (struct feeder){.fd = fds[1], .len = len};
    assert_int_equal(pthread_create(ret_thread, NULL, feed, f), 0);
    assert_int_equal(disk_open_pipe_in(fds[0], capacity, &d, &err), VIX_OK);
    *ret_fd = fds[0];
    return d;
}

static void stream_is_read_in_order(void **state)
{
    struct feeder f;
    pthread_t thread;
    int fd;
    uint8_t buf[4 * 512];
    struct disk *d = open_stream(&f, &thread, &fd, 10 * 512 - 100, 10);

    (void)state;
    assert_true(d->sequential);
    assert_int_equal(disk_read(d, 0, 2, buf, &err), VIX_OK);
    assert_true(all(buf, 512, 0) && all(buf + 512, 512, 1));
    assert_int_equal(disk_read(d, 5, 1, buf, &err), VIX_OK);
    assert_true(all(buf, 512, 5));
    assert_int_equal(disk_read(d, 4, 1, buf, &err), VIX_E_NOT_SUPPORTED);
    assert_int_equal(disk_write(d, 6, 1, buf, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(disk_read(d, 6, 4, buf, &err), VIX_OK);
    assert_true(all(buf + 3 * 512, 412, 9) && all(buf + 3 * 512 + 412, 100, 0));
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(close(fd), 0);
}

static void stream_that_ends_early(void **state)
{
    static const size_t lengths[] = {0, 1, 512, 4 * 512, 4 * 512 + 1, 8 * 512 + 5, 9 * 512};
    static uint8_t buf[10 * 512];

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct feeder f;
        pthread_t thread;
        int fd;
        struct disk *d = open_stream(&f, &thread, &fd, lengths[i], 10);
        assert_int_equal(disk_read(d, 0, 5, buf, &err), lengths[i] >= 5 * 512 ? VIX_OK : VIX_E_HOST_FILE_ERROR_EOF);
        if (lengths[i] >= 5 * 512) {
            assert_int_equal(disk_read(d, 5, 5, buf, &err), VIX_E_HOST_FILE_ERROR_EOF);
            assert_non_null(strstr(err.text, "5120"));
        }
        assert_int_equal(disk_close(d, &err), VIX_OK);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(close(fd), 0);
    }
}

static void stream_that_goes_on(void **state)
{
    struct feeder f;
    pthread_t thread;
    int fd;
    uint8_t buf[4 * 512];
    struct disk *d = open_stream(&f, &thread, &fd, 4 * 512 + 1, 4);

    (void)state;
    assert_int_equal(disk_read(d, 0, 3, buf, &err), VIX_OK);
    assert_int_equal(disk_read(d, 3, 1, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_non_null(strstr(err.text, "2048"));
    assert_int_equal(disk_close(d, &err), VIX_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(close(fd), 0);
}

static void stream_needs_a_size(void **state)
{
    struct disk *d = NULL;

    (void)state;
    assert_int_equal(disk_open_pipe_in(0, 0, &d, &err), VIX_E_INVALID_ARG);
    assert_int_equal(disk_open_pipe_in(-1, 10, &d, &err), VIX_E_INVALID_ARG);
    assert_int_equal(disk_open_pipe_in(0, UINT64_MAX, &d, &err), VIX_E_INVALID_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(last_sector_is_padded, begin, end),
        cmocka_unit_test_setup_teardown(range_and_mode_are_checked, begin, end),
        cmocka_unit_test_setup_teardown(raw_has_no_database, begin, end),
        cmocka_unit_test_setup_teardown(raw_knows_its_holes, begin, end),
        cmocka_unit_test_setup_teardown(odd_raw_files, begin, end),
        cmocka_unit_test(stream_is_read_in_order),
        cmocka_unit_test(stream_that_ends_early),
        cmocka_unit_test(stream_that_goes_on),
        cmocka_unit_test(stream_needs_a_size),
    };
    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_image.h - for the tests of streamOptimized files: disk contents of all kinds of grains, files in memory, and a
 * second reader that walks a file from front to end and inflates with zlib. */
#ifndef VIXDISK_TESTS_STREAM_IMAGE_H
#define VIXDISK_TESTS_STREAM_IMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/bytes.h"
#include "store/store.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

#define GRAIN_BYTES 65536u
#define DESCRIPTOR "# Disk DescriptorFile\nversion=1\ncreateType=\"streamOptimized\"\n"

#define CHECK(call) assert_int_equal((call), VIX_OK)

static struct err err;

static inline uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/** Contents of a disk: grain by grain zero, text-like, random, zero but for one byte; by seed. */
static inline uint8_t *make_content(uint64_t nsectors, uint32_t seed)
{
    uint64_t bytes = nsectors * SECTOR_SIZE;
    uint8_t *p = calloc(bytes, 1);

    assert_non_null(p);
    for (uint64_t off = 0; off < bytes; off += GRAIN_BYTES) {
        uint64_t n = bytes - off < GRAIN_BYTES ? bytes - off : GRAIN_BYTES;
        uint32_t kind = next_random(&seed) % 5;
        for (uint64_t i = 0; i < n && (kind == 1 || kind == 2); i++) {
            uint32_t r = next_random(&seed);
            p[off + i] = kind == 1 ? (uint8_t) "grain table "[r % 12] : (uint8_t)(r >> 11);
        }
        if (kind == 3) {
            p[off + next_random(&seed) % n] = 1;
        }
    }
    return p;
}

/** Whether all bytes are zero; not the library's own test. */
static inline bool only_zeros(const uint8_t *p, uint64_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static inline struct store *new_store(struct store_fs *fs, const char *name)
{
    struct store *s;

    (void)fs->ops->unlink(fs, name, NULL);
    CHECK(fs->ops->create(fs, name, 0, 0600, &s, &err));
    return s;
}

static inline struct extent *open_stream(struct store *s, bool writable, int level, unsigned threads)
{
    struct extent_open_params p = {.store = s, .writable = writable, .level = level, .threads = threads};
    struct extent *x;

    CHECK(extent_stream_open(&p, &x, &err));
    return x;
}

static inline struct store *new_stream(struct store_fs *fs, const char *name, uint64_t nsectors)
{
    struct store *s = new_store(fs, name);

    CHECK(extent_stream_create(s, nsectors, DESCRIPTOR, strlen(DESCRIPTOR), &err));
    return s;
}

static inline uint8_t *whole_file(struct store *s, uint64_t *ret_size)
{
    uint8_t *p;

    CHECK(s->ops->size(s, ret_size, &err));
    p = malloc(*ret_size + 1);
    assert_non_null(p);
    CHECK(store_read(s, p, *ret_size, 0, &err));
    return p;
}

/** As the chain reads: by runs. */
static inline VixError read_range(struct extent *x, uint64_t sector, uint64_t nsectors, uint8_t *buf)
{
    while (nsectors > 0) {
        struct extent_run run;
        VixError e = x->ops->map(x, sector, nsectors, 0, &run, &err);
        if (e != VIX_OK) {
            return e;
        }
        assert_true(run.nsectors > 0 && run.nsectors <= nsectors);
        if (run.kind == RUN_CODED) {
            e = x->ops->read_coded(x, sector, run.nsectors, buf, &err);
        } else {
            memset(buf, 0, run.nsectors * SECTOR_SIZE);
        }
        if (e != VIX_OK) {
            return e;
        }
        sector += run.nsectors;
        nsectors -= run.nsectors;
        buf += run.nsectors * SECTOR_SIZE;
    }
    return VIX_OK;
}

static inline void assert_reads(struct extent *x, uint64_t sector, uint64_t nsectors, const uint8_t *content)
{
    uint8_t *buf = malloc(nsectors * SECTOR_SIZE);

    assert_non_null(buf);
    memset(buf, 0xEE, nsectors * SECTOR_SIZE);
    CHECK(read_range(x, sector, nsectors, buf));
    assert_memory_equal(buf, content + sector * SECTOR_SIZE, nsectors * SECTOR_SIZE);
    free(buf);
}

/** What pull takes from: bytes in memory. */
static inline VixError content_source(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *e)
{
    (void)e;
    memcpy(buf, (const uint8_t *)ctx + sector * SECTOR_SIZE, nsectors * SECTOR_SIZE);
    return VIX_OK;
}

/** A grain's record: checks it and returns its length in sectors. */
static inline uint64_t walk_grain(const uint8_t *record, uint64_t left, const uint8_t *content, uint64_t nsectors)
{
    static uint8_t grain[GRAIN_BYTES];
    uint64_t sector = get_le64(record);
    uint32_t size = get_le32(record + 8);
    uint64_t bytes = (12 + (uint64_t)size + 511) / 512 * 512;
    uLongf len = sizeof grain;

    assert_int_equal(sector % 128, 0);
    assert_true(sector < nsectors);
    assert_true(bytes <= 129 * 512 && bytes <= left);
    assert_int_equal(uncompress(grain, &len, record + 12, size), Z_OK);
    assert_int_equal(len, GRAIN_BYTES);
    assert_true(only_zeros(record + 12 + size, bytes - 12 - size));
    uint64_t inside = nsectors - sector < 128 ? nsectors - sector : 128;
    assert_memory_equal(grain, content + sector * SECTOR_SIZE, inside * SECTOR_SIZE);
    assert_true(only_zeros(grain + inside * SECTOR_SIZE, GRAIN_BYTES - inside * SECTOR_SIZE));
    return bytes / 512;
}

/** Walks a finished file in the form that we write: every byte of it is accounted for, in the documented order, and its
 * grains are exactly those of content (NULL: an empty disk) that are not zero. */
static inline void assert_good_stream(struct store *s, const uint8_t *content, uint64_t nsectors)
{
    uint64_t size;
    uint8_t *file = whole_file(s, &size);
    uint64_t grains = (nsectors + 127) / 128;
    uint64_t tables = (grains + 511) / 512;
    uint32_t *gt = calloc(tables * 512, sizeof *gt);
    uint32_t *gd = calloc(tables, sizeof *gd);
    uint64_t pos = 128;
    uint64_t next_grain = 0;
    uint64_t directory = 0;
    struct sparse_header h, footer;

    assert_non_null(gt);
    assert_non_null(gd);
    assert_int_equal(size % 512, 0);
    CHECK(sparse_header_parse(file, "front", &h, &err));
    assert_int_equal(h.version, 3);
    assert_int_equal(h.flags, 0x30001);
    assert_int_equal(h.capacity, nsectors);
    assert_int_equal(h.overhead_sectors, 128);
    assert_true(h.gd_sector == KDMV_GD_AT_END && h.rgd_sector == 0);
    assert_memory_equal(file + 512, DESCRIPTOR, sizeof DESCRIPTOR);
    for (;;) {
        const uint8_t *record = file + pos * 512;
        assert_true(pos * 512 < size);
        if (get_le32(record + 8) != 0) {
            uint64_t grain = get_le64(record) / 128;
            assert_true(content != NULL && grain >= next_grain);
            assert_int_equal(directory, 0);
            gt[grain] = (uint32_t)pos;
            pos += walk_grain(record, size - pos * 512, content, nsectors);
            next_grain = grain + 1;
        } else if (get_le32(record + 12) == 1) {
            uint64_t table = (next_grain - 1) / 512;
            assert_int_equal(get_le64(record), 4);
            gd[table] = (uint32_t)pos + 1;
            for (uint64_t i = 0; i < 512; i++) {
                assert_true(get_le32(record + 512 + 4 * i) == gt[table * 512 + i]);
            }
            next_grain = (table + 1) * 512;
            pos += 5;
        } else if (get_le32(record + 12) == 2) {
            directory = pos + 1;
            for (uint64_t i = 0; i < tables; i++) {
                assert_int_equal(get_le32(record + 512 + 4 * i), gd[i]);
            }
            pos += 1 + get_le64(record);
        } else {
            break;
        }
    }
    assert_int_equal(get_le32(file + pos * 512 + 12), 3);
    CHECK(sparse_header_parse(file + (pos + 1) * 512, "footer", &footer, &err));
    assert_int_equal(footer.gd_sector, directory);
    footer.gd_sector = h.gd_sector;
    assert_memory_equal(&footer, &h, sizeof h);
    assert_int_equal(size, (pos + 3) * 512);
    assert_true(only_zeros(file + size - 512, 512));
    for (uint64_t grain = 0; content != NULL && grain < grains; grain++) {
        uint64_t inside = nsectors - grain * 128 < 128 ? nsectors - grain * 128 : 128;
        bool zero = only_zeros(content + grain * GRAIN_BYTES, inside * SECTOR_SIZE);
        assert_true(zero == (gt[grain] == 0));
    }
    free(gd);
    free(gt);
    free(file);
}

/** How a file with its tables in front is made. */
struct front_form {
    bool no_markers; /* flags bit 16 without bit 17: a length before each grain */
    bool short_last; /* the last grain stops at the end of the disk */
    bool raw;        /* no zlib header and check */
    bool zero_gte;   /* entry 1 for zero grains */
    bool no_end;     /* as qemu-img: no end-of-stream sector */
    bool backwards;  /* records in descending order */
};

static inline uint32_t deflate_raw(const uint8_t *in, size_t len, uint8_t *out, size_t room, bool raw)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)in, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)room};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, raw ? -15 : 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return (uint32_t)z.total_out;
}

static inline struct store *make_front(struct store_fs *fs, const uint8_t *content, uint64_t nsectors,
                                       const struct front_form *form)
{
    static uint8_t grain[GRAIN_BYTES], record[2 * GRAIN_BYTES];
    struct store *s = new_store(fs, "front");
    uint64_t grains = (nsectors + 127) / 128, tables = (grains + 511) / 512;
    uint64_t gd = 21, gt = gd + (tables * 4 + 511) / 512, pos = gt + 4 * tables;
    struct sparse_header h = {.version = 3,
                              .flags = 0x30003,
                              .capacity = nsectors,
                              .grain_sectors = 128,
                              .descriptor_sector = 1,
                              .descriptor_sectors = 20,
                              .gtes_per_gt = 512,
                              .rgd_sector = 21,
                              .gd_sector = gd,
                              .overhead_sectors = pos,
                              .compress_algorithm = 1};
    uint32_t head = form->no_markers ? 4 : 12;
    uint8_t sector[SECTOR_SIZE];

    h.flags = form->no_markers ? 0x10001 : h.flags | (form->zero_gte ? KDMV_FLAG_ZERO_GTE : 0);
    sparse_header_encode(&h, sector);
    CHECK(store_write(s, sector, sizeof sector, 0, &err));
    CHECK(store_write(s, DESCRIPTOR, strlen(DESCRIPTOR), 512, &err));
    CHECK(s->ops->truncate(s, pos * SECTOR_SIZE, &err));
    for (uint64_t i = 0; i < tables; i++) {
        put_le32(sector, (uint32_t)(gt + 4 * i));
        CHECK(store_write(s, sector, 4, gd * SECTOR_SIZE + 4 * i, &err));
    }
    for (uint64_t k = 0; k < grains; k++) {
        uint64_t g = form->backwards ? grains - 1 - k : k;
        uint64_t inside = nsectors - g * 128 < 128 ? nsectors - g * 128 : 128;
        bool zero = only_zeros(content + g * GRAIN_BYTES, inside * SECTOR_SIZE);
        memset(grain, 0, sizeof grain);
        memcpy(grain, content + g * GRAIN_BYTES, inside * SECTOR_SIZE);
        put_le32(sector, zero ? (form->zero_gte ? 1 : 0) : (uint32_t)pos);
        CHECK(store_write(s, sector, 4, gt * SECTOR_SIZE + 4 * g, &err));
        if (zero) {
            continue;
        }
        uint32_t size = deflate_raw(grain, form->short_last ? inside * SECTOR_SIZE : GRAIN_BYTES, record + head,
                                    sizeof record - head, form->raw);
        if (!form->no_markers) {
            put_le64(record, g * 128);
        }
        put_le32(record + head - 4, size);
        uint64_t bytes = (head + (uint64_t)size + 511) / 512 * 512;
        memset(record + head + size, 0, bytes - head - size);
        CHECK(store_write(s, record, bytes, pos * SECTOR_SIZE, &err));
        pos += bytes / 512;
    }
    if (!form->no_end) {
        CHECK(s->ops->truncate(s, (pos + 1) * SECTOR_SIZE, &err));
    }
    return s;
}

/** The files of a test, in memory: anew for each test. */
static struct store_fs *fs;

static inline int setup(void **state)
{
    (void)state;
    fs = store_fs_mem_new(&err);
    return fs != NULL ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    store_fs_mem_free(fs);
    return 0;
}

#endif

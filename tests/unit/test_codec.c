/* SPDX-License-Identifier: BSD-3-Clause */
/* Compression and the test for zeros. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec/codec.h"

#define GRAIN ((size_t)65536)

static struct err err;

enum kind { ZEROS, TEXT, NOISE, MIXED, KINDS };

static void fill(uint8_t *buf, size_t len, enum kind kind)
{
    static const char words[] = "grain table extent descriptor sector directory marker footer ";
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bool noise = kind == NOISE || (kind == MIXED && (i / 1000) % 2 == 0);
        uint8_t text = (uint8_t)words[(i + (x % 64 == 0)) % (sizeof words - 1)];
        buf[i] = kind == ZEROS ? 0 : noise ? (uint8_t)(x >> 24) : text;
    }
}

/* A buffer that ends where no memory follows. */
static uint8_t *guarded(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len + page - 1) / page * page;
    uint8_t *p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + room, page, PROT_NONE), 0);
    return p + room - len;
}

static void guarded_free(uint8_t *p, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len + page - 1) / page * page;
    assert_int_equal(munmap(p + len - room, room + page), 0);
}

static void round_trip(int level, enum kind kind, size_t len)
{
    struct deflate_coder *deflate = NULL;
    struct deflate_coder *again = NULL;
    struct inflate_coder *inflate = NULL;
    size_t bound = deflate_bound(len);
    uint8_t *in = guarded(len);
    uint8_t *packed = guarded(bound);
    uint8_t *packed_again = guarded(bound);
    uint8_t *out = guarded(len);
    size_t made = 0;

    fill(in, len, kind);
    assert_int_equal(deflate_coder_new(level, &deflate, &err), VIX_OK);
    assert_int_equal(deflate_coder_new(level, &again, &err), VIX_OK);
    assert_int_equal(inflate_coder_new(&inflate, &err), VIX_OK);
    size_t n = deflate_compress(deflate, in, len, packed, bound);
    assert_true(n > 0 && n <= bound);
    assert_int_equal(packed[0] & 0x0F, 8);
    assert_int_equal((packed[0] * 256 + packed[1]) % 31, 0);
    /* the same bytes again, from this coder and another */
    assert_int_equal(deflate_compress(deflate, in, len, packed_again, bound), n);
    assert_memory_equal(packed, packed_again, n);
    assert_int_equal(deflate_compress(again, in, len, packed_again, bound), n);
    assert_memory_equal(packed, packed_again, n);

    assert_true(inflate_decompress(inflate, packed, n, out, len, &made));
    assert_int_equal(made, len);
    assert_memory_equal(in, out, len);
    /* what follows is ignored; a byte less of input or room is an error */
    if (n < bound) {
        packed[n] = 0xAA;
        assert_true(inflate_decompress(inflate, packed, n + 1, out, len, &made));
    }
    assert_false(inflate_decompress(inflate, packed, n - 1, out, len, &made));
    if (len > 0) {
        assert_false(inflate_decompress(inflate, packed, n, out, len - 1, &made));
    }
    /* the checksum is looked at */
    packed[n - 1] ^= 1;
    assert_false(inflate_decompress(inflate, packed, n, out, len, &made));

    deflate_coder_free(deflate);
    deflate_coder_free(again);
    inflate_coder_free(inflate);
    guarded_free(in, len);
    guarded_free(packed, bound);
    guarded_free(packed_again, bound);
    guarded_free(out, len);
}

static void every_level_and_kind(void **state)
{
    static const size_t lengths[] = {1, 511, 512, 4096, GRAIN - 1, GRAIN, 300001};

    (void)state;
    for (int level = 0; level <= CODEC_LEVEL_MAX; level++) {
        for (enum kind kind = ZEROS; kind < KINDS; kind++) {
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                if (level < 10 || lengths[i] <= GRAIN) {
                    round_trip(level, kind, lengths[i]);
                }
            }
        }
    }
}

static void too_small_room_is_refused(void **state)
{
    struct deflate_coder *coder = NULL;
    size_t bound = deflate_bound(GRAIN);
    uint8_t *in = guarded(GRAIN);
    uint8_t *out = malloc(bound);

    (void)state;
    assert_non_null(out);
    for (int level = 0; level <= 2; level++) {
        for (enum kind kind = TEXT; kind < KINDS; kind++) {
            fill(in, GRAIN, kind);
            assert_int_equal(deflate_coder_new(level, &coder, &err), VIX_OK);
            size_t n = deflate_compress(coder, in, GRAIN, out, bound);
            uint8_t *small = guarded(n / 2);
            assert_int_equal(deflate_compress(coder, in, GRAIN, small, n / 2), 0);
            guarded_free(small, n / 2);
            deflate_coder_free(coder);
        }
    }
    guarded_free(in, GRAIN);
    free(out);
}

/* The largest record that other readers of streamOptimized disks take: 129 sectors less 12 bytes. */
static void noise_fits_a_record(void **state)
{
    struct deflate_coder *coder = NULL;
    uint8_t *in = guarded(GRAIN);
    uint8_t *out = guarded(66036);

    (void)state;
    fill(in, GRAIN, NOISE);
    for (int level = 0; level <= CODEC_LEVEL_MAX; level++) {
        assert_int_equal(deflate_coder_new(level, &coder, &err), VIX_OK);
        size_t n = deflate_compress(coder, in, GRAIN, out, 66036);
        assert_in_range(n, GRAIN, 66036);
        deflate_coder_free(coder);
    }
    guarded_free(in, GRAIN);
    guarded_free(out, 66036);
}

static void levels_are_checked(void **state)
{
    struct deflate_coder *coder = NULL;

    (void)state;
    assert_int_equal(deflate_coder_new(-1, &coder, &err), VIX_E_INVALID_ARG);
    assert_int_equal(deflate_coder_new(13, &coder, &err), VIX_E_INVALID_ARG);
    assert_null(coder);
    deflate_coder_free(NULL);
    inflate_coder_free(NULL);
}

static void raw_deflate_is_taken(void **state)
{
    /* a stored block of "abc", the last one */
    static const uint8_t raw[] = {0x01, 0x03, 0x00, 0xFC, 0xFF, 'a', 'b', 'c'};
    struct inflate_coder *coder = NULL;
    char out[3];
    size_t made = 0;

    (void)state;
    assert_int_equal(inflate_coder_new(&coder, &err), VIX_OK);
    assert_true(inflate_decompress(coder, raw, sizeof raw, out, sizeof out, &made));
    assert_int_equal(made, 3);
    assert_memory_equal(out, "abc", 3);
    assert_false(inflate_decompress(coder, raw, 0, out, sizeof out, &made));
    assert_false(inflate_decompress(coder, raw, 1, out, sizeof out, &made));
    inflate_coder_free(coder);
}

/* Damage never leads outside the buffers (the guards, or the sanitizer, see it). */
static void damage_is_survived(void **state)
{
    struct deflate_coder *deflate = NULL;
    struct inflate_coder *inflate = NULL;
    uint8_t *in = guarded(8192);
    uint8_t *out = guarded(8192);
    size_t bound = deflate_bound(8192);
    uint8_t *packed = malloc(bound);
    size_t made = 0;

    (void)state;
    assert_non_null(packed);
    fill(in, 8192, MIXED);
    assert_int_equal(deflate_coder_new(6, &deflate, &err), VIX_OK);
    assert_int_equal(inflate_coder_new(&inflate, &err), VIX_OK);
    size_t n = deflate_compress(deflate, in, 8192, packed, bound);
    uint8_t *cut = guarded(n);
    srandom(7);
    for (unsigned i = 0; i < 20000; i++) {
        memcpy(cut, packed, n);
        for (unsigned k = 0; k <= i % 4; k++) {
            cut[(size_t)random() % n] ^= (uint8_t)(1 + random() % 255);
        }
        size_t skip = i % 3 == 0 ? (size_t)random() % n : 0;
        if (inflate_decompress(inflate, cut + skip, n - skip, out, 8192, &made)) {
            assert_true(made <= 8192);
        }
    }
    guarded_free(cut, n);
    guarded_free(in, 8192);
    guarded_free(out, 8192);
    free(packed);
    deflate_coder_free(deflate);
    inflate_coder_free(inflate);
}

static void one_byte_is_found_anywhere(void **state)
{
    enum { LEN = 1100 };
    uint8_t *buf = guarded(LEN);

    (void)state;
    for (size_t start = 0; start < 40; start++) {
        assert_true(bytes_are_zero(buf + start, LEN - start));
        for (size_t i = start; i < LEN; i++) {
            buf[i] = 0x80;
            assert_false(bytes_are_zero(buf + start, LEN - start));
            assert_true(bytes_are_zero(buf + start, i - start)); /* a byte behind the end does not count */
            buf[i] = 0;
        }
    }
    buf[LEN - 1] = 1;
    assert_true(bytes_are_zero(buf + LEN, 0));
    guarded_free(buf, LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_and_kind),       cmocka_unit_test(too_small_room_is_refused),
        cmocka_unit_test(noise_fits_a_record),        cmocka_unit_test(levels_are_checked),
        cmocka_unit_test(raw_deflate_is_taken),       cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(one_byte_is_found_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* FastLZ, skipz, and fragments. Buffers end where no memory follows, so that a byte read or written beyond is a crash
 * in any build. */
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
#include "codec/fastlz.h"
#include "codec/skipz.h"
#include "nfc/fragment.h"

static struct err err;
static uint64_t seed = 88172645463325252u;
static uint32_t table[FASTLZ_TABLE_LEN];

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

enum kind { ZEROS, TEXT, NOISE, MIXED, HOLES, PERIODS, FAR, KINDS };

static uint8_t byte_of_kind(const uint8_t *buf, size_t i, enum kind kind)
{
    static const char words[] = "grain table extent descriptor sector directory marker footer ";
    uint64_t x = next_random();

    switch (kind) {
    case TEXT:
        return (uint8_t)words[(i + (x % 64 == 0)) % (sizeof words - 1)];
    case NOISE:
        return (uint8_t)(x >> 24);
    case MIXED:
        return (i / 1000) % 2 == 0 ? (uint8_t)(x >> 24) : (uint8_t)words[i % (sizeof words - 1)];
    case HOLES:
        return (i / 61) % 3 == 0 ? (uint8_t)x : 0;
    case PERIODS:
        return (uint8_t)(i % (1 + i / 700));
    case FAR: /* repeats at distances from 8000 to 9000 and of 70000 */
        return i >= 70000 ? buf[i - 70000] : i >= 9000 ? buf[i - 8000 - i / 100] : (uint8_t)x;
    default:
        return 0;
    }
}

static void fill(uint8_t *buf, size_t len, enum kind kind)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = byte_of_kind(buf, i, kind);
    }
}

struct guarded {
    uint8_t *map;
    size_t map_len;
    uint8_t *buf;
};

/* len bytes that end where no memory follows, with one page without memory before them too. */
static struct guarded guarded_new(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (len + page - 1) / page * page;
    struct guarded g = {.map_len = inner + 2 * page};

    g.map = mmap(NULL, g.map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + inner, page, PROT_NONE), 0);
    g.buf = g.map + page + inner - len;
    return g;
}

static void guarded_free(struct guarded *g)
{
    assert_int_equal(munmap(g->map, g->map_len), 0);
}

static struct guarded guarded_copy(const void *bytes, size_t len)
{
    struct guarded g = guarded_new(len);
    memcpy(g.buf, bytes, len);
    return g;
}

/* ---- fastlz ---- */

static const size_t lengths[] = {16, 17, 31, 33, 512, 4096, 8191, 8192, 65535, 65536, 65537, 131072, 262144};

static void fastlz_round_trip(size_t len, enum kind kind)
{
    size_t room = len + len / 32 + 2;
    struct guarded in = guarded_new(len);
    struct guarded packed = guarded_new(room);
    struct guarded out = guarded_new(len);
    size_t made;

    fill(in.buf, len, kind);
    made = fastlz_compress(in.buf, len, packed.buf, room, table);
    assert_true(made > 0 && made <= room);
    assert_int_equal(packed.buf[0] >> 5, len < 65536 ? 0 : 1);
    if (kind == ZEROS && len >= 4096) {
        assert_true(made < len / 50);
    }
    struct guarded exact = guarded_copy(packed.buf, made);
    assert_true(fastlz_expand(exact.buf, made, out.buf, len));
    assert_memory_equal(in.buf, out.buf, len);
    assert_false(fastlz_expand(exact.buf, made, out.buf, len - 1));
    /* one byte less of room is not enough */
    struct guarded less = guarded_new(made - 1);
    assert_int_equal(fastlz_compress(in.buf, len, less.buf, made - 1, table), 0);
    guarded_free(&less);
    guarded_free(&exact);
    guarded_free(&out);
    guarded_free(&packed);
    guarded_free(&in);
}

static void test_fastlz_round_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (enum kind kind = ZEROS; kind < KINDS; kind++) {
            fastlz_round_trip(lengths[i], kind);
        }
    }
    assert_int_equal(fastlz_compress("fifteen bytes..", 15, (uint8_t[64]){0}, 64, table), 0);
}

struct vector {
    const char *bytes;
    size_t len;
    const char *text; /* NULL: must be refused for any length up to 64 */
    size_t text_len;
};
#define V(b, t)                                                                                                        \
    {                                                                                                                  \
        b, sizeof(b) - 1, t, sizeof(t) - 1                                                                             \
    }
#define BAD(b)                                                                                                         \
    {                                                                                                                  \
        b, sizeof(b) - 1, NULL, 0                                                                                      \
    }

/* Written by hand from the format. */
static const struct vector vectors[] = {
    V("\x00"
      "a",
      "a"),
    V("\x02"
      "abc",
      "abc"),
    /* short match: 3 bytes from 3 back; then 8 bytes from 1 back */
    V("\x02"
      "abc\x20\x02",
      "abcabc"),
    V("\x00x\xC0\x00", "xxxxxxxxx"),
    /* long match of level 1: length 9 + 2, the byte of length before that of the offset */
    V("\x01yz\xE0\x02\x01", "yzyzyzyzyzyzy"),
    /* level 2, the same instructions */
    V("\x22"
      "abc\x20\x02\x00!",
      "abcabc!"),
    V("\x21yz\xE0\x02\x01", "yzyzyzyzyzyzy"),
    /* nothing follows the first instruction */
    BAD(""), BAD("\x00"),
    BAD("\x05"
        "abc"),
    /* levels that are not there */
    BAD("\x40"
        "a"),
    BAD("\xE0"
        "a"),
    /* from before the beginning */
    BAD("\x00x\x20\x01"), BAD("\x00x\x3F\xFF"), BAD("\x20x\x3F\xFF\x00\x00"),
    /* cut within an instruction */
    BAD("\x00x\x20"), BAD("\x00x\xE0"), BAD("\x00x\xE0\x01"), BAD("\x20x\xE0\xFF"), BAD("\x20x\xE0\xFF\xFF\x01"),
    BAD("\x20x\x3F\xFF\x01")};

static void test_fastlz_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *v = &vectors[i];
        struct guarded in = guarded_copy(v->bytes, v->len);
        for (size_t len = 0; len <= 64; len++) {
            struct guarded out = guarded_new(len);
            bool good = v->text != NULL && len == v->text_len;
            assert_int_equal(fastlz_expand(in.buf, v->len, out.buf, len), good);
            if (good) {
                assert_memory_equal(out.buf, v->text, len);
            }
            guarded_free(&out);
        }
        guarded_free(&in);
    }
}

/* Level 2: a length of more than one byte, and the two bytes of a far offset. */
static void test_fastlz_level2_long(void **state)
{
    /* 'q'; 1 + 9 + 255 + 255 + 7 = 527 of them; then 8192 + 0x0102 back is refused, 8192 + 0x0000 after 8192 bytes */
    static const uint8_t many[] = {0x20, 'q', 0xE0, 255, 255, 7, 0};
    uint8_t expected[9000];
    uint8_t out[9000];
    uint8_t far[44] = {0x21, 'A', 'B', 0xE0};

    memset(far + 4, 255, 32);
    memcpy(far + 36,
           "\x15\x01\x00"
           "C\x3F\xFF\x00\x00",
           8);
    (void)state;
    memset(expected, 'q', 527);
    assert_true(fastlz_expand(many, sizeof many, out, 527));
    assert_memory_equal(out, expected, 527);
    assert_false(fastlz_expand(many, sizeof many, out, 528));
    /* "AB" and 9 + 32 * 255 + 21 = 8190 bytes of it, "C", then 3 bytes from 8192 back: BAB */
    assert_true(fastlz_expand(far, sizeof far, out, 2 + 8190 + 1 + 3));
    for (size_t i = 0; i < 8192; i++) {
        assert_int_equal(out[i], i % 2 == 0 ? 'A' : 'B');
    }
    assert_memory_equal(out + 8192, "CBAB", 4);
    far[sizeof far - 1] = 2; /* 8194 back: one before the beginning */
    assert_false(fastlz_expand(far, sizeof far, out, 2 + 8190 + 1 + 3));
}

typedef bool expand_func(const void *in, size_t in_len, void *out, size_t out_len);

/* Every byte of a block changed, every length of it: true or false, but nothing outside. */
static void batter(expand_func *expand, const uint8_t *block, size_t block_len, size_t out_len)
{
    struct guarded out = guarded_new(out_len);
    struct guarded whole = guarded_copy(block, block_len);
    unsigned accepted = 0;

    for (size_t len = 0; len < block_len; len++) {
        struct guarded cut = guarded_copy(block, len);
        assert_false(expand(cut.buf, len, out.buf, out_len));
        guarded_free(&cut);
    }
    for (size_t i = 0; i < block_len; i++) {
        for (unsigned n = 0; n < 8; n++) {
            whole.buf[i] = (uint8_t)(block[i] ^ (n < 4 ? next_random() | 1 : 1u << n));
            accepted += expand(whole.buf, block_len, out.buf, out_len);
        }
        whole.buf[i] = block[i];
    }
    assert_true(expand(whole.buf, block_len, out.buf, out_len));
    assert_true(accepted < block_len * 8);
    guarded_free(&whole);
    guarded_free(&out);
}

static void test_fastlz_damaged(void **state)
{
    uint8_t in[1200];
    uint8_t packed[1400];
    size_t made;

    (void)state;
    for (enum kind kind = ZEROS; kind < KINDS; kind++) {
        fill(in, sizeof in, kind);
        made = fastlz_compress(in, sizeof in, packed, sizeof packed, table);
        batter(fastlz_expand, packed, made, sizeof in);
        packed[0] |= 0x20; /* as level 2: the lengths are others, the limits the same */
        for (size_t n = 0; n < 100; n++) {
            struct guarded out = guarded_new(n * 16);
            (void)fastlz_expand(packed, made, out.buf, n * 16);
            guarded_free(&out);
        }
    }
}

static void test_fastlz_noise(void **state)
{
    uint8_t in[300];
    struct guarded out = guarded_new(4000);

    (void)state;
    for (unsigned n = 0; n < 20000; n++) {
        fill(in, sizeof in, NOISE);
        in[0] &= 0x3F;
        (void)fastlz_expand(in, 1 + n % sizeof in, out.buf, n % 4000);
    }
    guarded_free(&out);
}

/* ---- skipz ---- */

static void test_skipz_zeros(void **state)
{
    static const uint8_t expected[] = {0, 16, 0, 0, 0, 0, 0, 0};
    uint8_t in[4096] = {0};
    uint8_t out[4096];

    (void)state;
    assert_int_equal(skipz_compress(in, sizeof in, out, 8), 8);
    assert_memory_equal(out, expected, 8);
    assert_int_equal(skipz_compress(in, sizeof in, out, 7), 0);
    memset(in, 1, sizeof in);
    assert_true(skipz_expand(expected, 8, in, 4096));
    assert_true(bytes_are_zero(in, 4096));
    assert_false(skipz_expand(expected, 8, in, 4095));
}

static void test_skipz_bytes(void **state)
{
    /* bytes 3 and 4, and 40: two runs, as the zeros between are more than a header */
    static const uint8_t expected[] = {48, 0, 0, 0, 0,  0, 0, 0, 3, 0, 0, 0, 2, 0,
                                       0,  0, 7, 8, 40, 0, 0, 0, 1, 0, 0, 0, 9};
    uint8_t in[48] = {[3] = 7, [4] = 8, [40] = 9};
    uint8_t out[64];

    (void)state;
    assert_int_equal(skipz_compress(in, sizeof in, out, sizeof out), sizeof expected);
    assert_memory_equal(out, expected, sizeof expected);
    /* eight zeros between are kept: the header would cost as much */
    uint8_t close[32] = {[7] = 1, [16] = 1};
    assert_int_equal(skipz_compress(close, sizeof close, out, sizeof out), 8 + 8 + 10);
}

static void skipz_round_trip(size_t len, enum kind kind)
{
    struct guarded in = guarded_new(len);
    struct guarded packed = guarded_new(len + 16);
    struct guarded out = guarded_new(len);
    size_t made;

    fill(in.buf, len, kind);
    memset(out.buf, 0xEE, len);
    made = skipz_compress(in.buf, len, packed.buf, len + 16);
    assert_true(made >= 8 && made <= len + 16);
    struct guarded exact = guarded_copy(packed.buf, made);
    assert_true(skipz_expand(exact.buf, made, out.buf, len));
    assert_memory_equal(in.buf, out.buf, len);
    assert_false(skipz_expand(exact.buf, made - 1, out.buf, len) && made > 8);
    guarded_free(&exact);
    guarded_free(&out);
    guarded_free(&packed);
    guarded_free(&in);
}

static void test_skipz_round_trips(void **state)
{
    (void)state;
    for (enum kind kind = ZEROS; kind < KINDS; kind++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            skipz_round_trip(lengths[i], kind);
        }
        for (size_t len = 1; len < 80; len++) {
            skipz_round_trip(len, kind);
        }
    }
}

static void skipz_refuses(const uint8_t *bytes, size_t len, size_t out_len)
{
    struct guarded in = guarded_copy(bytes, len);
    struct guarded out = guarded_new(out_len);

    assert_false(skipz_expand(in.buf, len, out.buf, out_len));
    guarded_free(&out);
    guarded_free(&in);
}

static void test_skipz_refuses(void **state)
{
    static const uint8_t flags[] = {16, 0, 0, 0, 1, 0, 0, 0};
    static const uint8_t beyond[] = {16, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 2, 0, 0, 0, 1, 1};
    static const uint8_t wrap[] = {16, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 2, 0, 0, 0, 1, 1};
    static const uint8_t back[] = {16, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 3, 0, 0, 0, 1, 0, 0, 0, 1};
    static const uint8_t overlap[] = {16, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 1, 1, 5, 0, 0, 0, 1, 0, 0, 0, 1};
    static const uint8_t missing[] = {16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 1};

    (void)state;
    skipz_refuses(flags, sizeof flags, 16);
    skipz_refuses(flags, 7, 16);
    skipz_refuses(flags, 0, 16);
    skipz_refuses(beyond, sizeof beyond, 16);
    skipz_refuses(wrap, sizeof wrap, 16);
    skipz_refuses(back, sizeof back, 16);
    skipz_refuses(overlap, sizeof overlap, 16);
    skipz_refuses(missing, sizeof missing, 16);
    skipz_refuses(missing, 12, 16);
}

static void test_skipz_damaged(void **state)
{
    uint8_t in[1200];
    uint8_t packed[1400];

    (void)state;
    fill(in, sizeof in, HOLES);
    for (size_t n = 0; n < 1000; n++) {
        size_t made = skipz_compress(in, sizeof in, packed, sizeof packed);
        struct guarded out = guarded_new(sizeof in);
        packed[next_random() % made] = (uint8_t)next_random();
        struct guarded cut = guarded_copy(packed, 1 + next_random() % made);
        (void)skipz_expand(cut.buf, 1, out.buf, sizeof in);
        (void)skipz_expand(packed, made, out.buf, sizeof in);
        guarded_free(&cut);
        guarded_free(&out);
    }
}

/* ---- fragments ---- */

static void fragment_round_trip(struct nfc_coder *coder, enum nfc_compression method, size_t len, enum kind kind)
{
    struct guarded in = guarded_new(len);
    struct guarded packed = guarded_new(nfc_fragment_bound(len));
    struct guarded out = guarded_new(len);
    size_t made;

    fill(in.buf, len, kind);
    made = nfc_fragment_compress(coder, method, in.buf, len, packed.buf);
    assert_true(made < len);
    if (kind == NOISE || method == NFC_COMPRESS_NONE) {
        assert_int_equal(made, 0);
    } else if (kind == ZEROS) {
        assert_true(made > 0);
    }
    if (made > 0) {
        assert_true(nfc_fragment_expand(coder, method, packed.buf, made, out.buf, len));
        assert_memory_equal(in.buf, out.buf, len);
        assert_false(nfc_fragment_expand(coder, method, packed.buf, made - 1, out.buf, len));
        assert_false(nfc_fragment_expand(coder, method, packed.buf, made, out.buf, len - 1));
        packed.buf[made] = 0; /* made < len < bound: there is room */
        assert_false(nfc_fragment_expand(coder, method, packed.buf, made + 1, out.buf, len));
    }
    guarded_free(&out);
    guarded_free(&packed);
    guarded_free(&in);
}

static void test_fragments(void **state)
{
    struct nfc_coder *coder;

    (void)state;
    assert_int_equal(nfc_coder_new(&coder, &err), VIX_OK);
    for (enum nfc_compression method = NFC_COMPRESS_NONE; method <= NFC_COMPRESS_SKIPZ; method++) {
        for (enum kind kind = ZEROS; kind < KINDS; kind++) {
            fragment_round_trip(coder, method, 512, kind);
            fragment_round_trip(coder, method, 65536, kind);
            fragment_round_trip(coder, method, 200704, kind);
        }
        assert_int_equal(nfc_fragment_compress(coder, method, "", 0, (uint8_t[64]){0}), 0);
    }
    nfc_coder_free(coder);
    nfc_coder_free(NULL);
}

/** What a coder makes of a fragment that has met nothing before. */
static bool expand_afresh(enum nfc_compression method, const uint8_t *packed, size_t packed_len, uint8_t *out,
                          size_t len)
{
    struct nfc_coder *coder;

    assert_int_equal(nfc_coder_new(&coder, &err), VIX_OK);
    bool good = nfc_fragment_expand(coder, method, packed, packed_len, out, len);
    nfc_coder_free(coder);
    return good;
}

static void flip(uint8_t *bytes, size_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/** The fragment, and those that differ from it in one of the first bits, by a coder that knows it and by one that does
 * not. */
static void known_and_unknown(struct nfc_coder *coder, enum nfc_compression method, uint8_t *packed, size_t packed_len,
                              size_t len)
{
    struct guarded out = guarded_new(len);
    struct guarded fresh = guarded_new(len);

    assert_true(nfc_fragment_expand(coder, method, packed, packed_len, out.buf, len));
    for (size_t bit = 0; bit < 8 * packed_len && bit < 256; bit++) {
        flip(packed, bit);
        memset(out.buf, 0xA5, len);
        bool good = nfc_fragment_expand(coder, method, packed, packed_len, out.buf, len);
        assert_int_equal(good, expand_afresh(method, packed, packed_len, fresh.buf, len));
        if (good) {
            assert_memory_equal(out.buf, fresh.buf, len);
        }
        flip(packed, bit);
    }
    memset(out.buf, 0xA5, len);
    assert_true(expand_afresh(method, packed, packed_len, fresh.buf, len));
    assert_true(nfc_fragment_expand(coder, method, packed, packed_len, out.buf, len));
    assert_memory_equal(out.buf, fresh.buf, len);
    guarded_free(&out);
    guarded_free(&fresh);
}

/* A coder remembers how zeros look: lengths and methods in turn, each twice, and never taken for something else. */
static void test_fragment_zeros(void **state)
{
    static const size_t lens[] = {512, 65536, 66048, 65536, 512, 512};
    struct nfc_coder *coder;

    (void)state;
    assert_int_equal(nfc_coder_new(&coder, &err), VIX_OK);
    for (unsigned i = 0; i < 6 * sizeof lens / sizeof lens[0]; i++) {
        const size_t len = lens[i / 6];
        const enum nfc_compression method = (enum nfc_compression)(NFC_COMPRESS_ZLIB + i % 6 / 2);
        struct guarded in = guarded_new(len);
        struct guarded room = guarded_new(nfc_fragment_bound(len));
        memset(in.buf, 0, len);
        size_t made = nfc_fragment_compress(coder, method, in.buf, len, room.buf);
        assert_in_range(made, 1, len - 1);
        struct guarded packed = guarded_copy(room.buf, made);
        struct guarded out = guarded_new(len);
        memset(out.buf, 0xA5, len);
        assert_true(expand_afresh(method, packed.buf, made, out.buf, len));
        assert_memory_equal(out.buf, in.buf, len);
        known_and_unknown(coder, method, packed.buf, made, len);
        for (enum nfc_compression other = NFC_COMPRESS_ZLIB; other <= NFC_COMPRESS_SKIPZ; other++) {
            assert_int_equal(nfc_fragment_expand(coder, other, packed.buf, made, out.buf, len), other == method);
        }
        assert_false(nfc_fragment_expand(coder, method, packed.buf, made, out.buf, len - 1));
        in.buf[len - 1] = 1; /* almost zeros */
        made = nfc_fragment_compress(coder, method, in.buf, len, room.buf);
        assert_true(nfc_fragment_expand(coder, method, room.buf, made, out.buf, len));
        assert_memory_equal(out.buf, in.buf, len);
        guarded_free(&out);
        guarded_free(&packed);
        guarded_free(&room);
        guarded_free(&in);
    }
    nfc_coder_free(coder);
}

static void test_fragment_plain(void **state)
{
    struct nfc_coder *coder;
    uint8_t out[4] = {0};

    (void)state;
    assert_int_equal(nfc_coder_new(&coder, &err), VIX_OK);
    assert_true(nfc_fragment_expand(coder, NFC_COMPRESS_NONE, "abcd", 4, out, 4));
    assert_memory_equal(out, "abcd", 4);
    assert_false(nfc_fragment_expand(coder, NFC_COMPRESS_NONE, "abcd", 4, out, 3));
    assert_false(nfc_fragment_expand(coder, NFC_COMPRESS_NONE, "abc", 3, out, 4));
    assert_false(nfc_fragment_expand(coder, 4, "abcd", 4, out, 4));
    assert_false(nfc_fragment_expand(coder, UINT32_MAX, "abcd", 4, out, 4));
    nfc_coder_free(coder);
}

/* What VMware's library sends begins with 78 01; ours does too. */
static void test_fragment_zlib_header(void **state)
{
    struct nfc_coder *coder;
    uint8_t in[4096];
    uint8_t out[8192];

    (void)state;
    fill(in, sizeof in, TEXT);
    assert_int_equal(nfc_coder_new(&coder, &err), VIX_OK);
    assert_true(nfc_fragment_compress(coder, NFC_COMPRESS_ZLIB, in, sizeof in, out) > 0);
    assert_int_equal(out[0], 0x78);
    assert_int_equal(out[1], 0x01);
    nfc_coder_free(coder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fastlz_round_trips), cmocka_unit_test(test_fastlz_vectors),
        cmocka_unit_test(test_fastlz_level2_long), cmocka_unit_test(test_fastlz_damaged),
        cmocka_unit_test(test_fastlz_noise),       cmocka_unit_test(test_skipz_zeros),
        cmocka_unit_test(test_skipz_bytes),        cmocka_unit_test(test_skipz_round_trips),
        cmocka_unit_test(test_skipz_refuses),      cmocka_unit_test(test_skipz_damaged),
        cmocka_unit_test(test_fragments),          cmocka_unit_test(test_fragment_zeros),
        cmocka_unit_test(test_fragment_plain),     cmocka_unit_test(test_fragment_zlib_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

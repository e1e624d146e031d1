/* SPDX-License-Identifier: BSD-3-Clause */
/* Codecs: what is packed comes out the same; what is not packed at all does no harm. The first byte chooses the codec,
 * the next three tell how much is to come out. */
#include "fuzz.h"

#include <string.h>

#include "base/bytes.h"
#include "codec/codec.h"
#include "codec/fastlz.h"
#include "codec/skipz.h"
#include "nfc/fragment.h"

#define OUT_MAX (256u << 10)

static uint8_t out[OUT_MAX + 16];
static uint8_t packed[2 * OUT_MAX];
static uint32_t table[FASTLZ_TABLE_LEN];

static struct nfc_coder *coder;
static struct deflate_coder *deflaters[3];
static struct inflate_coder *inflater;
static const int levels[] = {0, 1, 6};

static void make_coders(void)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        FUZZ_ASSERT(deflate_coder_new(levels[i], &deflaters[i], NULL) == VIX_OK, "no memory");
    }
    FUZZ_ASSERT(inflate_coder_new(&inflater, NULL) == VIX_OK && nfc_coder_new(&coder, NULL) == VIX_OK, "no memory");
}

static void free_coders(void)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        deflate_coder_free(deflaters[i]);
    }
    inflate_coder_free(inflater);
    nfc_coder_free(coder);
}

static void unpack(unsigned which, const uint8_t *in, size_t len, size_t out_len)
{
    size_t made = 0;

    switch (which) {
    case 0:
        if (inflate_decompress(inflater, in, len, out, out_len, &made)) {
            FUZZ_ASSERT(made <= out_len, "%zu of %zu bytes", made, out_len);
        }
        (void)inflate_exact(inflater, in, len, out, out_len);
        break;
    case 1:
        (void)fastlz_expand(in, len, out, out_len);
        break;
    case 2:
        (void)skipz_expand(in, len, out, out_len);
        break;
    default:
        (void)nfc_fragment_expand(coder, which - 3, in, len, out, out_len);
        break;
    }
}

static void round_trip(unsigned which, const uint8_t *in, size_t len, size_t room)
{
    size_t made = 0;
    bool good = true;

    room = room < sizeof packed ? room : sizeof packed;
    if (which == 0) {
        made = deflate_compress(deflaters[room % 3], in, len, packed, deflate_bound(len));
        good = inflate_exact(inflater, packed, made, out, len);
    } else if (which == 1) {
        made = fastlz_compress(in, len, packed, room, table);
        good = made == 0 || fastlz_expand(packed, made, out, len);
    } else if (which == 2) {
        made = skipz_compress(in, len, packed, room);
        good = made == 0 || skipz_expand(packed, made, out, len);
    } else if (nfc_fragment_bound(len) <= sizeof packed) {
        made = nfc_fragment_compress(coder, (enum nfc_compression)((which - 3) % 4), in, len, packed);
        good = made == 0 || nfc_fragment_expand(coder, (which - 3) % 4, packed, made, out, len);
    }
    FUZZ_ASSERT(good && (made == 0 || memcmp(out, in, len) == 0), "codec %u: %zu bytes come out otherwise", which, len);
    FUZZ_ASSERT(bytes_are_zero(in, len) == (len == 0 || (in[0] == 0 && memcmp(in, in + 1, len - 1) == 0)), "zeros");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > OUT_MAX) {
        return 0;
    }
    unsigned which = data[0] % 8;
    size_t out_len = (get_le32(data) >> 8) % OUT_MAX;
    if (coder == NULL) {
        make_coders();
        (void)atexit(free_coders);
    }
    memset(out + out_len, 0xee, 16);
    unpack(which, data + 4, size - 4, out_len);
    for (unsigned i = 0; i < 16; i++) {
        FUZZ_ASSERT(out[out_len + i] == 0xee, "codec %u: written beyond the end", which);
    }
    round_trip(which, data + 4, size - 4, out_len);
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* One fragment by one of the three kinds of compression of NFC. */
#include "nfc/fragment.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/codec.h"
#include "codec/fastlz.h"
#include "codec/skipz.h"

#define ZLIB_LEVEL 1             /* the network is seldom slower than a better one */
#define ZEROS_MAX ((size_t)8192) /* own: bytes; longer ones are worked out each time */

/** How a fragment of zeros looked the last time. Disks are full of them, and all look the same. */
struct zeros {
    uint32_t method;
    size_t len; /* 0: none was met so far */
    size_t packed_len;
    uint8_t packed[ZEROS_MAX];
};

struct nfc_coder {
    struct deflate_coder *deflate; /* NULL: not wanted yet, as the others */
    struct inflate_coder *inflate;
    uint32_t *table; /* of fastlz */
    struct zeros zeros;
};

VixError nfc_coder_new(struct nfc_coder **ret_coder, struct err *err)
{
    struct nfc_coder *coder = alloc_zero(sizeof *coder, err);

    if (coder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_coder = coder;
    return VIX_OK;
}

void nfc_coder_free(struct nfc_coder *coder)
{
    if (coder != NULL) {
        deflate_coder_free(coder->deflate);
        if (coder->inflate != NULL) {
            inflate_coder_free(coder->inflate);
        }
        free(coder->table);
        free(coder);
    }
}

size_t nfc_fragment_bound(size_t len)
{
    return deflate_bound(len); /* the others are told to stay below len */
}

static void remember_zeros(struct zeros *z, uint32_t method, size_t len, const void *packed, size_t packed_len)
{
    if (packed_len > 0 && packed_len <= ZEROS_MAX) {
        z->method = method;
        z->len = len;
        z->packed_len = packed_len;
        memcpy(z->packed, packed, packed_len);
    }
}

/* The bound is given to deflate: an input that does not shrink would be tried a second time if it did not fit. */
static size_t compress_zlib(struct nfc_coder *coder, const void *in, size_t len, void *out)
{
    if (coder->deflate == NULL && deflate_coder_new(ZLIB_LEVEL, &coder->deflate, NULL) != VIX_OK) {
        return 0;
    }
    return deflate_compress(coder->deflate, in, len, out, nfc_fragment_bound(len));
}

static size_t compress_fastlz(struct nfc_coder *coder, const void *in, size_t len, void *out)
{
    if (coder->table == NULL) {
        coder->table = alloc_array(FASTLZ_TABLE_LEN, sizeof coder->table[0], NULL);
    }
    return coder->table != NULL ? fastlz_compress(in, len, out, len - 1, coder->table) : 0;
}

static size_t compress_any(struct nfc_coder *coder, enum nfc_compression method, const void *in, size_t len, void *out)
{
    size_t made = 0;

    switch (method) {
    case NFC_COMPRESS_ZLIB:
        made = compress_zlib(coder, in, len, out);
        break;
    case NFC_COMPRESS_FASTLZ:
        made = compress_fastlz(coder, in, len, out);
        break;
    case NFC_COMPRESS_SKIPZ:
        made = skipz_compress(in, len, out, len - 1);
        break;
    case NFC_COMPRESS_NONE:
        break;
    }
    return made < len ? made : 0;
}

static size_t compress_zeros(struct nfc_coder *coder, enum nfc_compression method, const void *in, size_t len,
                             void *out)
{
    struct zeros *z = &coder->zeros;

    if (z->len == len && z->method == method) {
        memcpy(out, z->packed, z->packed_len);
        return z->packed_len;
    }
    size_t made = compress_any(coder, method, in, len, out);
    remember_zeros(z, method, len, out, made);
    return made;
}

size_t nfc_fragment_compress(struct nfc_coder *coder, enum nfc_compression method, const void *in, size_t len,
                             void *out)
{
    if (len == 0) {
        return 0;
    }
    return bytes_are_zero(in, len) ? compress_zeros(coder, method, in, len, out)
                                   : compress_any(coder, method, in, len, out);
}

static bool expand_zlib(struct nfc_coder *coder, const void *in, size_t in_len, void *out, size_t len)
{
    if (coder->inflate == NULL && inflate_coder_new(&coder->inflate, NULL) != VIX_OK) {
        return false;
    }
    return inflate_exact(coder->inflate, in, in_len, out, len);
}

static bool expand_any(struct nfc_coder *coder, uint32_t method, const void *in, size_t in_len, void *out, size_t len)
{
    switch (method) {
    case NFC_COMPRESS_NONE:
        if (in_len == len) {
            memcpy(out, in, len);
        }
        return in_len == len;
    case NFC_COMPRESS_ZLIB:
        return expand_zlib(coder, in, in_len, out, len);
    case NFC_COMPRESS_FASTLZ:
        return fastlz_expand(in, in_len, out, len);
    case NFC_COMPRESS_SKIPZ:
        return skipz_expand(in, in_len, out, len);
    default:
        return false;
    }
}

static bool are_known_zeros(const struct zeros *z, uint32_t method, const void *in, size_t in_len, size_t len)
{
    return z->len == len && z->method == method && z->packed_len == in_len && len > 0 &&
           memcmp(z->packed, in, in_len) == 0;
}

bool nfc_fragment_expand(struct nfc_coder *coder, uint32_t method, const void *in, size_t in_len, void *out, size_t len)
{
    if (are_known_zeros(&coder->zeros, method, in, in_len, len)) {
        memset(out, 0, len);
        return true;
    }
    if (!expand_any(coder, method, in, in_len, out, len)) {
        return false;
    }
    if (in_len <= ZEROS_MAX && bytes_are_zero(out, len)) {
        remember_zeros(&coder->zeros, method, len, in, in_len);
    }
    return true;
}

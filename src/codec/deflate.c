/* SPDX-License-Identifier: BSD-3-Clause */
/* zlib streams of whole buffers: libdeflate, and on x86-64 ISA-L for level 1 where the build has it (about three times
 * as fast at a slightly worse ratio). A coder belongs to one thread at a time; nothing else is shared. */
#include <libdeflate.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif
#include <stdlib.h>

#include "base/activity.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "codec/codec.h"

struct deflate_coder {
    struct libdeflate_compressor *compressor;
#ifdef HAVE_ISAL
    struct isal_zstream *stream; /* NULL: not level 1 */
    uint8_t *tables;
#endif
};

struct inflate_coder {
    struct libdeflate_decompressor *decompressor;
};

/* ---- level 1 by ISA-L ---- */

#ifdef HAVE_ISAL

static VixError fast_new(struct deflate_coder *coder, struct err *err)
{
    coder->stream = alloc_aligned(64, sizeof *coder->stream, err);
    coder->tables = coder->stream != NULL ? alloc_aligned(64, ISAL_DEF_LVL1_DEFAULT, err) : NULL;
    return coder->tables != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static void fast_free(struct deflate_coder *coder)
{
    free(coder->stream);
    free(coder->tables);
}

/* 0: does not fit (the caller then has the other library), or not for this coder. */
static size_t fast_compress(struct deflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len)
{
    struct isal_zstream *z = coder->stream;

    if (z == NULL || in_len > UINT32_MAX || out_len > UINT32_MAX) {
        return 0;
    }
    isal_deflate_init(z); /* clears the state: the bytes depend on this input only */
    z->level = 1;
    z->level_buf = coder->tables;
    z->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    z->gzip_flag = IGZIP_ZLIB;
    z->flush = NO_FLUSH;
    z->end_of_stream = 1;
    z->next_in = (uint8_t *)(uintptr_t)in;
    z->avail_in = (uint32_t)in_len;
    z->next_out = out;
    z->avail_out = (uint32_t)out_len;
    if (isal_deflate(z) != COMP_OK || z->avail_in != 0 || z->internal_state.state != ZSTATE_END) {
        return 0;
    }
    return out_len - z->avail_out;
}

#else

static VixError fast_new(struct deflate_coder *coder, struct err *err)
{
    (void)coder;
    (void)err;
    return VIX_OK;
}

static void fast_free(struct deflate_coder *coder)
{
    (void)coder;
}

static size_t fast_compress(struct deflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len)
{
    (void)coder;
    (void)in;
    (void)in_len;
    (void)out;
    (void)out_len;
    return 0;
}

#endif

/* ---- deflate ---- */

VixError deflate_coder_new(int level, struct deflate_coder **ret_coder, struct err *err)
{
    struct deflate_coder *coder;
    VixError code = VIX_OK;

    if (level < 0 || level > CODEC_LEVEL_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "compression level %d is not within 0 and %d", level, CODEC_LEVEL_MAX);
    }
    coder = alloc_zero(sizeof *coder, err);
    if (coder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (level == 1) {
        code = fast_new(coder, err);
    }
    coder->compressor = libdeflate_alloc_compressor(level);
    if (code == VIX_OK && coder->compressor == NULL) {
        code = err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a compressor of level %d", level);
    }
    if (code != VIX_OK) {
        deflate_coder_free(coder);
        return code;
    }
    *ret_coder = coder;
    return VIX_OK;
}

void deflate_coder_free(struct deflate_coder *coder)
{
    if (coder != NULL) {
        fast_free(coder);
        libdeflate_free_compressor(coder->compressor);
        free(coder);
    }
}

size_t deflate_bound(size_t in_len)
{
    /* without a compressor: the bound of all levels */
    return libdeflate_zlib_compress_bound(NULL, in_len);
}

size_t deflate_compress(struct deflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len)
{
    struct activity_mark mark = activity_enter(ACTIVITY_CODEC);
    size_t len = fast_compress(coder, in, in_len, out, out_len);

    len = len > 0 ? len : libdeflate_zlib_compress(coder->compressor, in, in_len, out, out_len);
    activity_leave(&mark);
    return len;
}

/* ---- inflate ---- */

VixError inflate_coder_new(struct inflate_coder **ret_coder, struct err *err)
{
    struct inflate_coder *coder = alloc_zero(sizeof *coder, err);

    if (coder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    coder->decompressor = libdeflate_alloc_decompressor();
    if (coder->decompressor == NULL) {
        free(coder);
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a decompressor");
    }
    *ret_coder = coder;
    return VIX_OK;
}

void inflate_coder_free(struct inflate_coder *coder)
{
    if (coder != NULL) {
        libdeflate_free_decompressor(coder->decompressor);
        free(coder);
    }
}

/* Method 8 (deflate), and the check of the two bytes. */
bool inflate_is_zlib(const uint8_t *bytes)
{
    return (bytes[0] & 0x0F) == 8 && (bytes[0] * 256 + bytes[1]) % 31 == 0;
}

bool inflate_measure(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len,
                     size_t *ret_used, size_t *ret_len)
{
    size_t used;
    size_t made;
    enum libdeflate_result result;
    struct activity_mark mark = activity_enter(ACTIVITY_CODEC);

    if (in_len >= 2 && inflate_is_zlib(in)) {
        result = libdeflate_zlib_decompress_ex(coder->decompressor, in, in_len, out, out_len, &used, &made);
    } else {
        result = libdeflate_deflate_decompress_ex(coder->decompressor, in, in_len, out, out_len, &used, &made);
    }
    activity_leave(&mark);
    if (result != LIBDEFLATE_SUCCESS) {
        return false;
    }
    *ret_used = used;
    *ret_len = made;
    return true;
}

bool inflate_decompress(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len,
                        size_t *ret_len)
{
    size_t used;

    return inflate_measure(coder, in, in_len, out, out_len, &used, ret_len);
}

bool inflate_exact(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len)
{
    size_t used;
    size_t made;
    struct activity_mark mark = activity_enter(ACTIVITY_CODEC);
    enum libdeflate_result result =
        libdeflate_zlib_decompress_ex(coder->decompressor, in, in_len, out, out_len, &used, &made);

    activity_leave(&mark);
    return result == LIBDEFLATE_SUCCESS && used == in_len && made == out_len;
}

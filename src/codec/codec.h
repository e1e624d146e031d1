/* SPDX-License-Identifier: BSD-3-Clause */
/* codec.h - compression of grains: whole buffers in, whole buffers out, never a byte beyond the given lengths, whatever
 * the input. A coder holds the working memory of one thread. */
#ifndef VIXDISK_CODEC_CODEC_H
#define VIXDISK_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CODEC_LEVEL_DEFAULT 6
#define CODEC_LEVEL_MAX 12 /* own: of deflate */

struct deflate_coder;

/** @level 0 (stored) to 12; 1 is the fastest (ISA-L where the build has it, else libdeflate), the others libdeflate.
 * The same level and input give the same bytes on every thread. */
VixError deflate_coder_new(int level, struct deflate_coder **ret_coder, struct err *err);
void deflate_coder_free(struct deflate_coder *coder);

/** The most bytes that deflate_compress can make of in_len bytes, at any level. */
size_t deflate_bound(size_t in_len);

/** Compresses to one zlib stream (RFC 1950). Returns its length, or 0 if it does not fit into out_len. */
size_t deflate_compress(struct deflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len);

struct inflate_coder;

VixError inflate_coder_new(struct inflate_coder **ret_coder, struct err *err);
void inflate_coder_free(struct inflate_coder *coder);

/** Inflates one zlib stream at the start of in (what follows it is ignored); raw deflate (RFC 1951) where the first two
 * bytes are no zlib header. false if it is damaged, or longer than out_len. *ret_len: bytes made. */
bool inflate_decompress(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len,
                        size_t *ret_len);

/** The same, and tells of a stream that is whole how many bytes of in it takes. */
bool inflate_measure(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len,
                     size_t *ret_used, size_t *ret_len);

/** Whether two bytes can be the header of a zlib stream. */
bool inflate_is_zlib(const uint8_t *bytes);

/** Inflates one zlib stream that is the whole of in and makes exactly out_len bytes; false if it is anything else. */
bool inflate_exact(struct inflate_coder *coder, const void *in, size_t in_len, void *out, size_t out_len);

/** Whether all bytes are zero. Any alignment, any length. At the speed of memory. */
bool bytes_are_zero(const void *buf, size_t len);

#endif

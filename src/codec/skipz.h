/* SPDX-License-Identifier: BSD-3-Clause */
/* skipz.h - the compression that leaves out zeros: 8 bytes (length of the whole, 0), then for every run of bytes that
 * are kept its offset, its length, and the bytes. Whole buffers in, whole buffers out, never a byte beyond the given
 * lengths, whatever the input. Pure functions. */
#ifndef VIXDISK_CODEC_SKIPZ_H
#define VIXDISK_CODEC_SKIPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Compresses less than 4 GiB. Returns the length, or 0 if it does not fit into out_len. */
size_t skipz_compress(const void *in, size_t in_len, void *out, size_t out_len);

/** Expands to exactly out_len bytes; false if it is damaged, of another length, or its runs overlap or are not in
 * order. */
bool skipz_expand(const void *in, size_t in_len, void *out, size_t out_len);

#endif

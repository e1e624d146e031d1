/* SPDX-License-Identifier: BSD-3-Clause */
/* fastlz.h - the FastLZ block format, levels 1 and 2: whole buffers in, whole buffers out, never a byte beyond the
 * given lengths, whatever the input. Pure functions. */
#ifndef VIXDISK_CODEC_FASTLZ_H
#define VIXDISK_CODEC_FASTLZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FASTLZ_INPUT_MIN 16u        /* shorter input is not compressed */
#define FASTLZ_LEVEL2_MIN 65536u    /* input from this length on makes a block of level 2 */
#define FASTLZ_TABLE_LEN (1u << 13) /* entries of the working memory */

/** Compresses a block of less than 4 GiB. @table: working memory, any content. Returns the length, or 0 if it does not
 * fit into out_len (then out may have been written to) or the input is too short. */
size_t fastlz_compress(const void *in, size_t in_len, void *out, size_t out_len, uint32_t table[FASTLZ_TABLE_LEN]);

/** Expands a block to exactly out_len bytes; false if it is damaged, or makes more or less. */
bool fastlz_expand(const void *in, size_t in_len, void *out, size_t out_len);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeros are looked for in words of 8 bytes. A run ends where two words in a row are zero: what is saved is then at
 * least twice what the next run's header costs. */
#include "codec/skipz.h"

#include <string.h>

#include "base/bytes.h"

#define HEAD_LEN 8u
#define RUN_LEN 8u
#define WORD 8u

static inline bool word_is_zero(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word == 0;
}

/* The first byte from pos on that is not zero, or len. */
static size_t skip_zeros(const uint8_t *in, size_t pos, size_t len)
{
    uint64_t words[8];

    for (; len - pos >= sizeof words; pos += sizeof words) {
        memcpy(words, in + pos, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) != 0) {
            break;
        }
    }
    for (; len - pos >= WORD && word_is_zero(in + pos); pos += WORD) {
    }
    while (pos < len && in[pos] == 0) {
        pos++;
    }
    return pos;
}

/* The end of the run of kept bytes that begins at pos. */
static size_t run_end(const uint8_t *in, size_t pos, size_t len)
{
    size_t end = pos;

    while (len - end >= 2 * WORD && !(word_is_zero(in + end) && word_is_zero(in + end + WORD))) {
        end += WORD;
    }
    if (len - end < 2 * WORD) {
        end = len;
    }
    while (end > pos && in[end - 1] == 0) {
        end--;
    }
    return end;
}

size_t skipz_compress(const void *in, size_t in_len, void *out, size_t out_len)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    size_t made = HEAD_LEN;
    size_t pos = 0;

    if (in_len > UINT32_MAX || out_len < HEAD_LEN) {
        return 0;
    }
    put_le32(to, (uint32_t)in_len);
    put_le32(to + 4, 0);
    for (;;) {
        size_t len;

        pos = skip_zeros(from, pos, in_len);
        if (pos == in_len) {
            return made;
        }
        len = run_end(from, pos, in_len) - pos;
        if (out_len - made < RUN_LEN || out_len - made - RUN_LEN < len) {
            return 0;
        }
        put_le32(to + made, (uint32_t)pos);
        put_le32(to + made + 4, (uint32_t)len);
        memcpy(to + made + RUN_LEN, from + pos, len);
        made += RUN_LEN + len;
        pos += len;
    }
}

bool skipz_expand(const void *in, size_t in_len, void *out, size_t out_len)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    size_t pos = HEAD_LEN;
    size_t done = 0;

    if (in_len < HEAD_LEN || get_le32(from) != out_len || get_le32(from + 4) != 0) {
        return false;
    }
    while (pos < in_len) {
        size_t off;
        size_t len;

        if (in_len - pos < RUN_LEN) {
            return false;
        }
        off = get_le32(from + pos);
        len = get_le32(from + pos + 4);
        pos += RUN_LEN;
        if (off < done || off > out_len || len > out_len - off || len > in_len - pos) {
            return false;
        }
        memset(to + done, 0, off - done);
        memcpy(to + off, from + pos, len);
        done = off + len;
        pos += len;
    }
    memset(to + done, 0, out_len - done);
    return true;
}

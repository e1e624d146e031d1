/* SPDX-License-Identifier: BSD-3-Clause */
/* The test for zeros. Vectors of 16 bytes, which every 64-bit processor has, written as the compiler's own type; a
 * block is left at its first byte that is not zero. Pure function. */
#include <string.h>

#include "codec/codec.h"

#define BLOCK 256u

/* may be at any address, may alias anything */
typedef uint64_t pair __attribute__((vector_size(16), aligned(1), may_alias));

static inline bool pair_is_zero(pair v)
{
    return (v[0] | v[1]) == 0;
}

static inline bool block_is_zero(const uint8_t *p)
{
    const pair *v = (const pair *)p;
    pair a = v[0] | v[4] | v[8] | v[12];
    pair b = v[1] | v[5] | v[9] | v[13];
    pair c = v[2] | v[6] | v[10] | v[14];
    pair d = v[3] | v[7] | v[11] | v[15];
    return pair_is_zero((a | b) | (c | d));
}

bool bytes_are_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    uint64_t word;
    uint8_t rest = 0;

    /* data seldom begins with zeros: most buffers are decided here */
    if (len >= sizeof word) {
        memcpy(&word, p, sizeof word);
        if (word != 0) {
            return false;
        }
    }
    for (; len >= BLOCK; p += BLOCK, len -= BLOCK) {
        if (!block_is_zero(p)) {
            return false;
        }
    }
    for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
        memcpy(&word, p, sizeof word);
        if (word != 0) {
            return false;
        }
    }
    while (len > 0) {
        rest |= p[--len];
    }
    return rest == 0;
}

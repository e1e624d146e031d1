/* SPDX-License-Identifier: BSD-3-Clause */
/* mutate.h - what the mutators share: numbers that formats are sensitive to. Only in builds with libFuzzer. */
#ifndef VIXDISK_FUZZ_MUTATE_H
#define VIXDISK_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static inline uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline uint64_t below(uint64_t *seed, uint64_t n)
{
    return n > 0 ? (next_random(seed) >> 11) % n : 0;
}

/** A number at which something may change. */
static inline uint64_t telling_number(uint64_t *seed)
{
    static const uint64_t edges[] = {0, 1, 2, 3, 7, 8, 16, 20, 21, 127, 128, 129, 255, 256, 511, 512, 513};

    switch (below(seed, 5)) {
    case 0:
        return edges[below(seed, sizeof edges / sizeof edges[0])];
    case 1:
        return (UINT64_C(1) << below(seed, 64)) - below(seed, 2);
    case 2:
        return UINT64_MAX - below(seed, 3);
    case 3:
        return below(seed, 4096);
    default:
        return (UINT64_C(1) << 32) - 1 - below(seed, 130);
    }
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* checked.h - arithmetic on numbers that came from a file or a peer. Pure functions. */
#ifndef VIXDISK_BASE_CHECKED_H
#define VIXDISK_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/** a + b into *ret; false (and *ret not to be used) on overflow. */
static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

/** a * b into *ret; false on overflow. */
static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

/** a / b rounded up; b > 0. */
static inline uint64_t div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/** a rounded up to a multiple of b; b > 0; the caller knows that it does not overflow. */
static inline uint64_t round_up(uint64_t a, uint64_t b)
{
    return div_up(a, b) * b;
}

static inline bool is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif

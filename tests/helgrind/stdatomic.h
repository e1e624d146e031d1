/* SPDX-License-Identifier: BSD-3-Clause */
/* stdatomic.h - the atomic operations of C11, told to helgrind, which does not know them: it takes a processor's plain
 * instructions for races. Found before the compiler's own header by the build of `make helgrind` alone. What is read
 * with acquire happens after what was written with release to the same place; a relaxed operation orders nothing. The
 * places themselves are not looked at any more. Each operation takes pointers to integers, booleans and pointers, as
 * ours do. */
#pragma once
#include_next <stdatomic.h>

#include <stddef.h>
#include <valgrind/helgrind.h>

static inline void helgrind_before(const volatile void *place, size_t size, int order)
{
    VALGRIND_HG_DISABLE_CHECKING(place, size);
    if (order != __ATOMIC_RELAXED) {
        ANNOTATE_HAPPENS_BEFORE(place);
    }
}

static inline void helgrind_after(const volatile void *place, size_t size, int order)
{
    VALGRIND_HG_DISABLE_CHECKING(place, size);
    if (order != __ATOMIC_RELAXED) {
        ANNOTATE_HAPPENS_AFTER(place);
    }
}

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_and

#define atomic_load_explicit(place, order)                                                                             \
    ({                                                                                                                 \
        __auto_type hg_place = (place);                                                                                \
        __auto_type hg_value = __atomic_load_n(hg_place, (order));                                                     \
        helgrind_after(hg_place, sizeof *hg_place, (order));                                                           \
        hg_value;                                                                                                      \
    })
#define atomic_store_explicit(place, value, order)                                                                     \
    ({                                                                                                                 \
        __auto_type hg_place = (place);                                                                                \
        __typeof__((void)0, *hg_place) hg_value = (value);                                                             \
        helgrind_before(hg_place, sizeof *hg_place, (order));                                                          \
        __atomic_store_n(hg_place, hg_value, (order));                                                                 \
    })
/* One that reads and writes: operation looks at hg_place and hg_operand. */
#define HELGRIND_BOTH(place, operand, order, operation)                                                                \
    ({                                                                                                                 \
        __auto_type hg_place = (place);                                                                                \
        __auto_type hg_operand = (operand);                                                                            \
        helgrind_before(hg_place, sizeof *hg_place, (order));                                                          \
        __auto_type hg_value = operation;                                                                              \
        helgrind_after(hg_place, sizeof *hg_place, (order));                                                           \
        hg_value;                                                                                                      \
    })
#define atomic_exchange_explicit(place, value, order)                                                                  \
    HELGRIND_BOTH(place, value, order, __atomic_exchange_n(hg_place, hg_operand, (order)))
#define atomic_fetch_add_explicit(place, value, order)                                                                 \
    HELGRIND_BOTH(place, value, order, __atomic_fetch_add(hg_place, hg_operand, (order)))
#define atomic_fetch_sub_explicit(place, value, order)                                                                 \
    HELGRIND_BOTH(place, value, order, __atomic_fetch_sub(hg_place, hg_operand, (order)))
#define HELGRIND_EXCHANGE(place, expected, value, weak)                                                                \
    HELGRIND_BOTH(                                                                                                     \
        place, expected, __ATOMIC_SEQ_CST,                                                                             \
        __atomic_compare_exchange_n(hg_place, hg_operand, (value), weak, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

#define atomic_load(place) atomic_load_explicit(place, __ATOMIC_SEQ_CST)
#define atomic_store(place, value) atomic_store_explicit(place, value, __ATOMIC_SEQ_CST)
#define atomic_exchange(place, value) atomic_exchange_explicit(place, value, __ATOMIC_SEQ_CST)
#define atomic_fetch_add(place, value) atomic_fetch_add_explicit(place, value, __ATOMIC_SEQ_CST)
#define atomic_fetch_sub(place, value) atomic_fetch_sub_explicit(place, value, __ATOMIC_SEQ_CST)
#define atomic_fetch_or(place, value)                                                                                  \
    HELGRIND_BOTH(place, value, __ATOMIC_SEQ_CST, __atomic_fetch_or(hg_place, hg_operand, __ATOMIC_SEQ_CST))
#define atomic_fetch_and(place, value)                                                                                 \
    HELGRIND_BOTH(place, value, __ATOMIC_SEQ_CST, __atomic_fetch_and(hg_place, hg_operand, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_strong(place, expected, value) HELGRIND_EXCHANGE(place, expected, value, false)
#define atomic_compare_exchange_weak(place, expected, value) HELGRIND_EXCHANGE(place, expected, value, true)

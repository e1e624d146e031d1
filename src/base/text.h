/* SPDX-License-Identifier: BSD-3-Clause */
/* text.h - small questions about text. ASCII only and the same in every locale. Pure functions. */
#ifndef VIXDISK_BASE_TEXT_H
#define VIXDISK_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Space, tab, CR, LF, vertical tab, form feed. */
static inline bool text_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline char text_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/** As strcmp, A to Z taken as a to z. */
int text_compare_nocase(const char *a, const char *b);

/** Whether two texts are equal without regard to case. */
static inline bool text_equal_nocase(const char *a, const char *b)
{
    return text_compare_nocase(a, b) == 0;
}

/** Takes the white space off both ends of len bytes: the first byte that is left, and *ret_len, which may be 0. */
const char *text_trim(const char *text, size_t len, size_t *ret_len);

/** A whole text of decimal digits (white space around it allowed) as a number; false if it is not one, or above 2^64-1.
 */
bool text_to_u64(const char *text, uint64_t *ret_value);

/** Whether text ends with tail. */
bool text_ends_with(const char *text, const char *tail);

#endif

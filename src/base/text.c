/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/text.h"

#include <string.h>

int text_compare_nocase(const char *a, const char *b)
{
    for (;; a++, b++) {
        int d = (unsigned char)text_lower(*a) - (unsigned char)text_lower(*b);
        if (d != 0 || *a == '\0') {
            return d;
        }
    }
}

const char *text_trim(const char *text, size_t len, size_t *ret_len)
{
    while (len > 0 && text_is_space(text[len - 1])) {
        len--;
    }
    while (len > 0 && text_is_space(*text)) {
        text++;
        len--;
    }
    *ret_len = len;
    return text;
}

bool text_to_u64(const char *text, uint64_t *ret_value)
{
    size_t len;
    uint64_t value = 0;

    text = text_trim(text, strlen(text), &len);
    if (len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

bool text_ends_with(const char *text, const char *tail)
{
    size_t len = strlen(text);
    size_t tail_len = strlen(tail);
    return len >= tail_len && memcmp(text + len - tail_len, tail, tail_len) == 0;
}

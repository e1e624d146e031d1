/* SPDX-License-Identifier: BSD-3-Clause */
/* mutate_text.c - libFuzzer's mutator for texts: next to its own changes, with the dictionary, whole lines (or
 * elements) are copied, dropped and exchanged, and numbers become ones at which something may change. */
#include "mutate.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Begin and length, with its end, of the line or element at a random place. */
static size_t pick_line(const uint8_t *data, size_t size, uint64_t *seed, size_t *ret_len)
{
    size_t begin = below(seed, size), end;

    while (begin > 0 && data[begin - 1] != '\n' && data[begin] != '<') {
        begin--;
    }
    end = begin;
    while (end < size && data[end] != '\n' && data[end] != '>') {
        end++;
    }
    *ret_len = end - begin + (end < size ? 1 : 0);
    return begin;
}

/* Puts text in the place of old_len bytes at a place; what does not fit is not done. */
static size_t replace(uint8_t *data, size_t size, size_t max_size, size_t at, size_t old_len, const uint8_t *text,
                      size_t len)
{
    if (size - old_len + len > max_size) {
        return size;
    }
    memmove(data + at + len, data + at + old_len, size - at - old_len);
    memcpy(data + at, text, len);
    return size - old_len + len;
}

static size_t copy_line(uint8_t *data, size_t size, size_t max_size, uint64_t *seed)
{
    size_t len, to_len;
    size_t from = pick_line(data, size, seed, &len);
    size_t to = pick_line(data, size, seed, &to_len);
    uint8_t *copy = malloc(len + 1);

    if (copy == NULL) {
        return size;
    }
    memcpy(copy, data + from, len);
    size = replace(data, size, max_size, to, below(seed, 2) == 0 ? to_len : 0, copy, len);
    free(copy);
    return size;
}

static size_t change_number(uint8_t *data, size_t size, size_t max_size, uint64_t *seed)
{
    char text[24];
    size_t at = below(seed, size), len = 0;

    while (at < size && !isdigit(data[at])) {
        at++;
    }
    while (at + len < size && isdigit(data[at + len])) {
        len++;
    }
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)telling_number(seed));
    return len > 0 ? replace(data, size, max_size, at, len, (const uint8_t *)text, (size_t)n) : size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed_number)
{
    uint64_t seed = seed_number * UINT64_C(0x9E3779B97F4A7C15) + 1;
    size_t len, at;

    if (size == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    switch (below(&seed, 8)) {
    case 0:
        return copy_line(data, size, max_size, &seed);
    case 1:
        at = pick_line(data, size, &seed, &len);
        return replace(data, size, max_size, at, len, data, 0);
    case 2:
    case 3:
        return change_number(data, size, max_size, &seed);
    default:
        return LLVMFuzzerMutate(data, size, max_size);
    }
}

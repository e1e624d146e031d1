/* SPDX-License-Identifier: BSD-3-Clause */
/* arena.h - structs with their texts in one piece of memory, which a client frees in one step. The code that copies
 * runs twice over the same steps: first without memory, which adds up the size, then with it. */
#ifndef VIXDISK_API_ARENA_H
#define VIXDISK_API_ARENA_H

#include <stddef.h>
#include <string.h>

/** Memory that is handed out piece by piece; base NULL: only counted. */
struct arena {
    char *base;
    size_t used;
};

/** Memory of zeros if all of it was so; NULL while only counting. */
static inline void *arena_take(struct arena *a, size_t size)
{
    size_t at = (a->used + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    a->used = at + size;
    return a->base != NULL ? a->base + at : NULL;
}

/** A copy of a text; NULL for NULL. */
static inline const char *arena_text(struct arena *a, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t size = strlen(text) + 1;
    void *copy = arena_take(a, size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

#endif

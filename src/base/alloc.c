/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *alloc_array(size_t count, size_t size, struct err *err)
{
    void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    if (p == NULL) {
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for %zu items of %zu bytes", count, size);
    }
    return p;
}

void *alloc_zero(size_t size, struct err *err)
{
    return alloc_array(1, size, err);
}

void *alloc_aligned(size_t align, size_t size, struct err *err)
{
    void *p = NULL;
    if (posix_memalign(&p, align, size > 0 ? size : 1) != 0) {
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for %zu bytes", size);
        return NULL;
    }
    return p;
}

char *alloc_text(const char *text, struct err *err)
{
    return alloc_text_n(text, strlen(text), err);
}

char *alloc_text_n(const char *text, size_t len, struct err *err)
{
    char *p = alloc_array(len + 1, 1, err);
    if (p != NULL) {
        memcpy(p, text, len);
    }
    return p;
}

/** Measured first: vasprintf would leave a copy in memory, and the text may be a secret. */
char *alloc_printf(struct err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (p == NULL) {
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a text");
        return NULL;
    }
    va_start(args, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    return p;
}

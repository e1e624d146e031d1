/* SPDX-License-Identifier: BSD-3-Clause */
/* alloc.h - memory whose size is checked. All results are freed with free(). Any thread. */
#ifndef VIXDISK_BASE_ALLOC_H
#define VIXDISK_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/** count * size bytes of zeros (at least 1 byte). NULL with VIX_E_OUT_OF_MEMORY in *err if there is no memory or the
 * product overflows. */
void *alloc_array(size_t count, size_t size, struct err *err);

/** size bytes of zeros. */
void *alloc_zero(size_t size, struct err *err);

/** size bytes, not initialised, at a multiple of align (a power of two, at least sizeof(void *)). */
void *alloc_aligned(size_t align, size_t size, struct err *err);

/** A copy of text (NUL-terminated). */
char *alloc_text(const char *text, struct err *err);

/** A copy of len bytes of text and a NUL. */
char *alloc_text_n(const char *text, size_t len, struct err *err);

/** A text made by a printf format. */
char *alloc_printf(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

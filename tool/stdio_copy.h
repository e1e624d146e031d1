/* SPDX-License-Identifier: BSD-3-Clause */
/* stdio_copy.h - whole reads and writes on standard input and output. */
#ifndef VIXDISK_TOOL_STDIO_COPY_H
#define VIXDISK_TOOL_STDIO_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_BYTES ((size_t)4 << 20) /* a piece */

/** Memory for n pieces, aligned to pages; NULL if there is none. Freed with free(). */
void *copy_buffer(size_t n);

/** Writes everything. 0 or an errno. A signal that asks to stop ends it with EINTR. */
int write_all(int fd, const void *bytes, size_t len);

/** Reads until len bytes or the end. 0 or an errno. @ret_len what was read, also on failure. As write_all with signals.
 */
int read_all(int fd, void *bytes, size_t len, size_t *ret_len);

/** The bytes that standard input still has if it is a file; false if only reading tells. */
bool input_bytes(uint64_t *ret_bytes);

#endif

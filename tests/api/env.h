/* SPDX-License-Identifier: BSD-3-Clause */
/* env.h - what the tests of the public interface share: a folder of their own, messages that are kept, disks made in
 * one line. These tests see the shared library and the public headers, nothing else. */
#ifndef TESTS_API_ENV_H
#define TESTS_API_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vixDiskLib.h"
#include "vixDiskLibExt.h"

#define MIB_SECTORS UINT64_C(2048)

/** The types that can be created and written anywhere, then all that can be created. */
extern const VixDiskLibDiskType writable_types[];
extern const size_t writable_type_count;

/** Makes the folder and sets the callbacks; env_done removes the folder with everything in it. cmocka's group fixtures.
 */
int env_setup(void **state);
int env_done(void **state);

/** A path in the folder; the text lives until the fourth call from now. */
const char *in_folder(const char *name);

/** How many files this process has open. */
unsigned open_files(void);

/** Makes a file of the folder from a text. */
void make_file(const char *name, const char *text);

bool file_exists(const char *path);

/* ---- messages ---- */

void log_func(const char *fmt, va_list args);
void warn_func(const char *fmt, va_list args);

unsigned warn_count(void);
void forget_messages(void);

/** Whether a message of *log* (or *warn*) contains a text. */
bool log_has(const char *text);
bool warn_has(const char *text);

/** The index-th message of *log*, "" if there is none. */
const char *log_line(unsigned index);

/* ---- the library ---- */

/** Starts the library with the callbacks above and interface 8.0. */
void start_library(void);

VixDiskLibConnection local_connection(void);

/** Makes a disk with a capacity in sectors. */
void make_disk(VixDiskLibConnection c, const char *path, VixDiskLibDiskType type, uint64 sectors);

VixDiskLibHandle open_disk(VixDiskLibConnection c, const char *path, uint32 flags);

/** The code that Open gives; the handle must then be NULL. */
VixError open_code(VixDiskLibConnection c, const char *path, uint32 flags);

void fill(uint8 *buf, size_t len, unsigned seed);

/** A region of size bytes that ends where memory that must not be touched begins; lives as long as the process. */
void *before_a_fence(size_t size);

/** What a request in the background has told: its code, and how often. */
struct told {
    VixError code;
    unsigned calls;
};

/** A callback of such a request; ctx: its struct told. */
void keep_code(void *ctx, VixError code);

#define assert_code(call, code) assert_int_equal((call), (code))

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* text.h - words and numbers as people write them: sizes, names of types and adapters. Pure functions. */
#ifndef VIXDISK_TOOL_TEXT_H
#define VIXDISK_TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"

/** Reads "1048576", "1.5G", "64KiB" or "2048s". Suffixes K M G T P are powers of 1024, s is a sector of 512 bytes; a
 * fraction must come out at whole bytes. NULL on success, else a static phrase on what is wrong. */
const char *parse_bytes(const char *text, uint64_t *ret_bytes);

/** Reads a decimal number within low..high; false for anything else. */
bool parse_number(const char *text, uint32_t low, uint32_t high, uint32_t *ret_value);

/** Reads a VMDK type in any of its spellings. */
bool parse_type(const char *text, VixDiskLibDiskType *ret_type);

/** The createType of a type. */
const char *type_name(VixDiskLibDiskType type);

/** The index-th type's name and its other spellings; NULL past the end. */
const char *type_list(size_t index, const char **ret_others);

bool parse_adapter(const char *text, VixDiskLibAdapterType *ret_adapter);

/** The word for an adapter, as in the disk database. */
const char *adapter_name(VixDiskLibAdapterType adapter);

#define HUMAN_BYTES_MAX 32
/** "1.5 GiB"; returns text. */
const char *human_bytes(uint64_t bytes, char text[HUMAN_BYTES_MAX]);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor.h - the text that describes a link: header keys, extent lines, disk database. Parsing and formatting are
 * pure; lines that are not understood are kept in place. One thread at a time per struct. */
#ifndef VIXDISK_VMDK_DESCRIPTOR_H
#define VIXDISK_VMDK_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DESCRIPTOR_MAX_BYTES (1024u * 1024u) /* limit: bytes of a descriptor */
#define DESCRIPTOR_MAX_LINE 4096u            /* limit: bytes of a line of a descriptor */
#define DESCRIPTOR_MAX_EXTENTS 65536u        /* limit: extents of a link */
#define CID_NO_PARENT 0xFFFFFFFFu
#define CID_FRESH 0xFFFFFFFEu

enum extent_access { ACCESS_RW, ACCESS_RDONLY, ACCESS_NONE };

enum extent_type {
    EXTENT_FLAT,
    EXTENT_SPARSE,
    EXTENT_ZERO,
    EXTENT_VMFS,
    EXTENT_VMFSSPARSE,
    EXTENT_VMFSRDM,
    EXTENT_VMFSRAW,
    EXTENT_SESPARSE,
    EXTENT_VSANSPARSE
};

/** One extent line. */
struct extent_line {
    enum extent_access access;
    uint64_t nsectors;
    enum extent_type type;
    char *name;      /* as written; NULL for ZERO */
    uint64_t offset; /* sectors */
    bool has_offset;
};

struct descriptor_line; /* kept text */

struct descriptor {
    uint32_t version; /* 1..3 */
    uint32_t cid;
    uint32_t parent_cid;
    char *create_type;
    char *parent_hint;       /* or NULL */
    char *encoding;          /* as written, or NULL: UTF-8 */
    char *change_track_path; /* or NULL */
    bool has_parent_cid;     /* the text says it */
    bool native_snapshot;
    bool encrypted; /* keyID, encryptionKeys, or an I/O filter that encrypts */
    struct extent_line *extents;
    size_t extent_count;
    uint64_t capacity;             /* sum of the extent lines, sectors */
    size_t repeated_keys;          /* keys that occur more than once: the first one counts */
    struct descriptor_line *lines; /* descriptor_*.c's own: every line in order, database included */
    size_t line_count, line_room;
    size_t extent_room;
    size_t ddb_count; /* lines of the database, repeated ones too */
};

/** Whether bytes look like a descriptor: the first line that is neither blank nor a comment begins with "version=". */
bool descriptor_looks_like(const char *text, size_t len);

/** @text len bytes, up to the first NUL. @name for messages. VIX_E_DISK_INVALIDDISK where it is no descriptor,
 * VIX_E_DISK_UNSUPPORTEDDISKVERSION, VIX_E_DISK_INVAL with line number, what was found and what is allowed. */
VixError descriptor_parse(const char *text, size_t len, const char *name, struct descriptor **ret_d, struct err *err);

/** A new descriptor of no extents: version 1, encoding UTF-8, the two CIDs. */
VixError descriptor_new(const char *create_type, uint32_t cid, uint32_t parent_cid, const char *parent_hint,
                        struct descriptor **ret_d, struct err *err);

VixError descriptor_add_extent(struct descriptor *d, enum extent_access access, uint64_t nsectors,
                               enum extent_type type, const char *name, bool has_offset, struct err *err);

/** Changes size and file name of an extent line; what else the line says stays. @name NULL: the name stays too. */
VixError descriptor_set_extent(struct descriptor *d, size_t index, uint64_t nsectors, const char *name,
                               struct err *err);

void descriptor_free(struct descriptor *d);

/** The text, with kept lines in place; freed by the caller. *ret_len without the NUL. */
VixError descriptor_format(const struct descriptor *d, char **ret_text, size_t *ret_len, struct err *err);

/** Value of a disk database key, given without "ddb."; NULL if there is none. Owned by d. Keys: any case. */
const char *descriptor_ddb_get(const struct descriptor *d, const char *key);

/** Adds or replaces a value. VIX_E_INVALID_ARG for a key or value that the text cannot hold (quotes, line ends, blanks
 * in a key, over-long). */
VixError descriptor_ddb_set(struct descriptor *d, const char *key, const char *value, struct err *err);

/** Removes a key; nothing if there is none. */
void descriptor_ddb_remove(struct descriptor *d, const char *key);

/** The index-th key without "ddb.", NULL past the end. Owned by d. */
const char *descriptor_ddb_key(const struct descriptor *d, size_t index);

/** Changes CID, and the tail of ddb.longContentID if there is one. */
VixError descriptor_set_cid(struct descriptor *d, uint32_t cid, struct err *err);

/** Changes the parent: hint and CID. NULL and CID_NO_PARENT: none. */
VixError descriptor_set_parent(struct descriptor *d, const char *hint, uint32_t parent_cid, struct err *err);

/** Changes the name of the change-tracking file. */
VixError descriptor_set_change_track(struct descriptor *d, const char *name, struct err *err);

/** Removes what ties the disk to a change-tracking file: its section, and version 3 becomes 1. */
VixError descriptor_drop_tracking(struct descriptor *d, struct err *err);

/** A file name as the descriptor has it (in its encoding) as UTF-8, and back; freed by the caller. VIX_E_DISK_ENCODING
 * if the encoding is not known or the name does not fit it. */
VixError descriptor_name_to_utf8(const struct descriptor *d, const char *name, char **ret_utf8, struct err *err);
VixError descriptor_name_from_utf8(const struct descriptor *d, const char *utf8, char **ret_name, struct err *err);

/** Where the content ID stands in a descriptor's text (the bytes of a file): offset and number of its digits, and the
 * offset of the last 8 digits of ddb.longContentID, SIZE_MAX if there is none of 32 digits. False if there is no CID.
 */
bool descriptor_find_cid(const char *text, size_t len, size_t *ret_off, size_t *ret_digits, size_t *ret_long_off);

/** The word of an extent type ("SPARSE"). */
const char *extent_type_word(enum extent_type type);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor_int.h - what the descriptor_*.c files share: the kept lines. Included by no one else. */
#ifndef VIXDISK_VMDK_DESCRIPTOR_INT_H
#define VIXDISK_VMDK_DESCRIPTOR_INT_H

#include "vmdk/descriptor.h"

#define DESCRIPTOR_MAX_LINES 73728u   /* limit: lines of a descriptor: all extents, all keys, and room for comments */
#define DESCRIPTOR_MAX_DDB_KEYS 4096u /* limit: keys of the disk database: bounds the work of look-ups */
#define DESCRIPTOR_MAX_SECTORS (UINT64_C(1) << 54) /* limit: sectors in a descriptor's numbers: 2^63 bytes */

#define DDB_PREFIX "ddb."
#define DDB_PREFIX_LEN 4u
#define EXTENT_TITLE "# Extent description"
#define DDB_TITLE "# The Disk Data Base " /* the blank at the end is VMware's */
#define DDB_MARK "#DDB"

enum line_kind {
    LINE_KEPT, /* comment, blank, unknown or repeated key: only its text matters */
    LINE_VERSION,
    LINE_ENCODING,
    LINE_CID,
    LINE_PARENT_CID,
    LINE_NATIVE_SNAPSHOT,
    LINE_CREATE_TYPE,
    LINE_PARENT_HINT,
    LINE_CHANGE_TRACK,
    LINE_KEYS, /* of an encrypted disk */
    LINE_EXTENT,
    LINE_DDB
};

struct descriptor_line {
    enum line_kind kind;
    char *text;  /* without line end */
    char *key;   /* LINE_DDB: without "ddb." */
    char *value; /* LINE_DDB: without quotes */
};

/** An empty line of a kind at index (<= line_count); its members are the caller's to fill. */
VixError descriptor_insert_line(struct descriptor *d, size_t index, enum line_kind kind,
                                struct descriptor_line **ret_line, struct err *err);

void descriptor_remove_line(struct descriptor *d, size_t index);

/** The first line of a kind; NULL if there is none. */
struct descriptor_line *descriptor_find_line(const struct descriptor *d, enum line_kind kind);

/** Room for one more extent line. */
VixError descriptor_reserve_extent(struct descriptor *d, struct err *err);

/** The word of an access ("RW"). */
const char *extent_access_word(enum extent_access access);

#endif

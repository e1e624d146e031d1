/* SPDX-License-Identifier: BSD-3-Clause */
/* manifest.h - a list of the digests of a disk's chunks, in a file of lines:
 *
 *     vixdisk-manifest 1 sha256
 *     capacity 41943040
 *     chunk 1048576
 *     0 e3b0c442...            offset and digest of each chunk that is not all zeros, ascending
 *     digest 5feceb66...       of all (hash.h), by which a manifest that was cut short or changed is found out
 *
 * A reader takes the lines one by one and keeps nothing; they are hostile. */
#ifndef VIXDISK_TOOL_MANIFEST_H
#define VIXDISK_TOOL_MANIFEST_H

#include <stdio.h>

#include "hash.h"

/** Write the parts. What fails shows in ferror. */
void manifest_begin(FILE *to, uint64_t bytes, uint32_t chunk);
void manifest_add(FILE *to, uint64_t off, const uint8_t digest[DIGEST_BYTES]);
void manifest_end(FILE *to, const uint8_t digest[DIGEST_BYTES]);

struct manifest_reader {
    FILE *from; /* the caller's */
    uint64_t bytes;
    uint32_t chunk;
    struct hash_tree *tree;
    unsigned line;
    bool has_entry; /* there is one more chunk */
    uint64_t index;
    uint8_t digest[DIGEST_BYTES]; /* of that chunk; at the end: of all */
    const char *wrong;            /* what is wrong with the line, or NULL; a static phrase */
};

/** Reads the head. False with wrong set. The capacity may be anything: entries are to be read only of a manifest whose
 * capacity is that of a disk, since zeros up to there are added. */
bool manifest_open(struct manifest_reader *reader, FILE *from);

/** Goes to the first entry, or the next one; has_entry is false at the end, or with wrong set. */
void manifest_next(struct manifest_reader *reader);

/** Reads what is left, if any entry has been read, and frees; false with wrong set if the digest at the end is not that
 * of the lines. */
bool manifest_close(struct manifest_reader *reader);

#endif

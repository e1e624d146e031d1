/* SPDX-License-Identifier: BSD-3-Clause */
/* hash.h - the digest of a disk's contents. The disk is cut into chunks, each has its SHA-256, and the SHA-256 of
 * those, one behind the other as 32 bytes each, is the digest: so it can be made on all cores, chunks of zeros need not
 * be read, and anybody can do it with split and sha256sum. It depends on the contents and the size of the chunks alone.
 */
#ifndef VIXDISK_TOOL_HASH_H
#define VIXDISK_TOOL_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "vixDiskLib.h"

#define DIGEST_BYTES 32
#define DIGEST_TEXT (2 * DIGEST_BYTES + 1)
#define HASH_CHUNK_MIN 4096u
#define HASH_CHUNK_MAX (64u << 20)
#define HASH_THREADS_MAX 64u
#define HASH_DETAIL_MAX 2048

/** Chunks that are put together, in order; those that are left out are zeros. */
struct hash_tree;

/** For a disk of that many bytes. NULL if there is no memory. */
struct hash_tree *hash_tree_begin(uint64_t bytes, uint32_t chunk);

/** Adds the digest of a chunk; those before it that have not been added are zeros. @index above those added so far. */
void hash_tree_add(struct hash_tree *tree, uint64_t index, const uint8_t digest[DIGEST_BYTES]);

/** Ends and frees it. False if the library of digests failed. */
bool hash_tree_end(struct hash_tree *tree, uint8_t ret_digest[DIGEST_BYTES]);

/** Lower-case hex digits. */
void digest_format(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT]);

/** Told of each chunk that is not all zeros, in order, on the calling thread; false stops. */
typedef bool (*hash_chunk_func)(void *data, uint64_t index, const uint8_t digest[DIGEST_BYTES]);

/** Told how far it is, often, on the calling thread; false stops. */
typedef bool (*hash_progress_func)(void *data, uint64_t done_bytes);

struct hash_job {
    VixDiskLibHandle disk;
    uint64_t bytes;
    uint32_t chunk;       /* a multiple of 512 from HASH_CHUNK_MIN to HASH_CHUNK_MAX */
    unsigned threads;     /* 1 to HASH_THREADS_MAX; each has a buffer of a chunk */
    hash_chunk_func func; /* or NULL */
    hash_progress_func progress;
    void *data;
    /* results */
    uint8_t digest[DIGEST_BYTES];
    uint64_t data_chunks;
    uint64_t read_bytes;
    char detail[HASH_DETAIL_MAX]; /* what went wrong */
};

/** Reads the disk and fills in the results. VIX_E_CANCELLED if a callback said so. */
VixError hash_disk(struct hash_job *job);

#endif

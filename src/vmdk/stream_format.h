/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_format.h - the records of a streamOptimized file: markers, grains, trailer. Bounds and plain conversions,
 * shared by the writer and all readers. Knows no files. Pure functions. */
#ifndef VIXDISK_VMDK_STREAM_FORMAT_H
#define VIXDISK_VMDK_STREAM_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "codec/codec.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

#define STREAM_MARKER_BYTES 12u      /* of a grain: its first sector (8), size of its data (4); data follows */
#define STREAM_LENGTH_BYTES 4u       /* in files without markers: size of the data alone */
#define STREAM_OVERHEAD_SECTORS 128u /* where our writer puts the first record */
#define STREAM_MAX_FILE_SECTORS (UINT64_C(1) << 32) /* limit: sectors of a streamOptimized file */

/** Types of markers of size 0. */
enum stream_marker_type { STREAM_EOS = 0, STREAM_GT = 1, STREAM_GD = 2, STREAM_FOOTER = 3, STREAM_PROGRESS = 4 };

/** The first 16 bytes of a record. */
struct stream_marker {
    uint64_t val;  /* of a grain: first sector; else number of sectors that follow (not to be trusted) */
    uint32_t size; /* of a grain: bytes of data; else 0 */
    uint32_t type; /* stream_marker_type, where size is 0 */
};

static inline struct stream_marker stream_marker_decode(const uint8_t *p)
{
    return (struct stream_marker){.val = get_le64(p), .size = get_le32(p + 8), .type = get_le32(p + 12)};
}

/** Writes a metadata marker: one whole sector. */
static inline void stream_marker_encode(uint8_t *sector, enum stream_marker_type type, uint64_t nsectors)
{
    memset(sector, 0, SECTOR_SIZE);
    put_le64(sector, nsectors);
    put_le32(sector + 12, type);
}

/** The most bytes of data that a grain's record may have to be believed. */
static inline uint32_t stream_max_size(uint64_t grain_sectors)
{
    return (uint32_t)(2 * grain_sectors * SECTOR_SIZE);
}

/** The most bytes of data that our writer gives a grain: for grains of the usual size other readers have buffers of one
 * sector more than a grain for the whole record. What does not compress fits at every level. */
static inline size_t stream_write_limit(uint64_t grain_sectors)
{
    if (grain_sectors == KDMV_DEFAULT_GRAIN) {
        return (size_t)((grain_sectors + 1) * SECTOR_SIZE - STREAM_MARKER_BYTES);
    }
    return (size_t)min_u64(deflate_bound((size_t)grain_sectors * SECTOR_SIZE), stream_max_size(grain_sectors));
}

/** Bytes of a grain's record, with the padding to a whole sector. */
static inline uint64_t stream_record_bytes(uint32_t size)
{
    return round_up((uint64_t)STREAM_MARKER_BYTES + size, SECTOR_SIZE);
}

/** Sectors that may follow a progress marker without a marker of their own. */
#define STREAM_PAYLOAD_SECTORS_MAX 512u /* limit: sectors of the payload of a progress marker */

/** What a record is, by its marker. */
enum stream_item_kind {
    STREAM_ITEM_GRAIN,
    STREAM_ITEM_TABLE,
    STREAM_ITEM_DIRECTORY,
    STREAM_ITEM_FOOTER,
    STREAM_ITEM_PROGRESS, /* of unknown meaning; some files have it */
    STREAM_ITEM_END,      /* end of the stream */
    STREAM_ITEM_CUT,      /* a record that the file ends in; only from a walk */
    STREAM_ITEM_JUNK      /* no record at all; from a walk: as many sectors as are none */
};

/** A record. */
struct stream_item {
    enum stream_item_kind kind;
    uint64_t off;    /* in the file, bytes; only from a walk */
    uint64_t len;    /* bytes, a multiple of 512, > 0 */
    uint64_t sector; /* of a grain: its first sector */
    uint32_t size;   /* of a grain: bytes of data, behind the 12 bytes of the marker */
};

/** Tells kind, len, sector and size of the record that begins with 16 bytes p, from the marker alone: grains lie within
 * the disk and have a believable size, lengths of metadata follow from the header (what the marker says is not
 * trusted). */
void stream_item_decode(const struct sparse_header *h, const uint8_t *p, struct stream_item *ret_item);

/** The header of the files that our writer makes; gd_sector is KDMV_GD_AT_END. */
void stream_header_new(uint64_t capacity, struct sparse_header *ret_h);

/** Inflates the data of a grain into out, which is as long as a grain. @needed: bytes of the grain that lie within the
 * disk (the last grain may have been stored short; what is missing of out becomes zeros). false: damaged. */
bool stream_inflate(struct inflate_coder *coder, const uint8_t *data, uint32_t size, uint8_t *out, size_t grain_bytes,
                    size_t needed);

#endif

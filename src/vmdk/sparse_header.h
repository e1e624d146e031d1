/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_header.h - sector 0 of a hosted sparse extent ("KDMV"), also of streamOptimized files and their footer. Pure.
 */
#ifndef VIXDISK_VMDK_SPARSE_HEADER_H
#define VIXDISK_VMDK_SPARSE_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define KDMV_MAGIC 0x564D444Bu
#define COWD_MAGIC 0x44574F43u
#define SESPARSE_MAGIC UINT64_C(0x00000000CAFEBABE)

#define KDMV_FLAG_NEWLINES 0x1u
#define KDMV_FLAG_REDUNDANT 0x2u
#define KDMV_FLAG_ZERO_GTE 0x4u
#define KDMV_FLAG_COMPRESSED 0x10000u
#define KDMV_FLAG_MARKERS 0x20000u

#define KDMV_GD_AT_END UINT64_MAX /* gdOffset: every field is in the footer */
#define KDMV_DEFAULT_GRAIN 128u   /* sectors */
#define KDMV_GTES_PER_GT 512u
#define KDMV_DESCRIPTOR_SECTORS 20u
#define KDMV_MAX_DESCRIPTOR_SECTORS 2048u /* limit: sectors of a descriptor in a sparse extent */
#define GDE_ALL_ZERO 1u                   /* a directory entry that is no place; see sparse_table_is_zeros */

/** The decoded header. Sectors unless said otherwise. */
struct sparse_header {
    uint32_t version;
    uint32_t flags;
    uint64_t capacity;
    uint64_t grain_sectors;
    uint64_t descriptor_sector; /* 0: none */
    uint64_t descriptor_sectors;
    uint32_t gtes_per_gt;
    uint64_t rgd_sector; /* valid with KDMV_FLAG_REDUNDANT */
    uint64_t gd_sector;  /* or KDMV_GD_AT_END */
    uint64_t overhead_sectors;
    bool unclean;
    uint16_t compress_algorithm;
    /* derived by sparse_header_parse */
    uint64_t gt_count;   /* grain tables */
    uint64_t gd_sectors; /* sectors of one directory */
    uint64_t gt_sectors; /* sectors of one table */
};

/** Decodes and checks what sector 0 alone can tell (magic, version, flags, newline bytes, grain and table sizes,
 * no overflow anywhere). @name for messages. Refusals: VIX_E_DISK_INVALIDDISK, VIX_E_DISK_UNSUPPORTEDDISKVERSION,
 * VIX_E_DISK_NOTSUPPORTED, VIX_E_DISK_INVAL, each with the field, the value found and the values allowed. */
VixError sparse_header_parse(const uint8_t sector[512], const char *name, struct sparse_header *ret_h, struct err *err);

/** Whether a directory entry says that its whole table is zeros. A guess: so libvmdk describes the entry 1 of extents
 * that have entries for zeros; no writer of it is known, and a file that has it is not written to. Without that flag,
 * and in COWD extents, which have none, 1 is where no table can be: zeros could take the place of data that a fault has
 * cut off. */
static inline bool sparse_table_is_zeros(const struct sparse_header *h, uint64_t gde)
{
    return gde == GDE_ALL_ZERO && (h->flags & KDMV_FLAG_ZERO_GTE) != 0;
}

/** Encodes; padding is zero, the newline bytes are set when KDMV_FLAG_NEWLINES is. */
void sparse_header_encode(const struct sparse_header *h, uint8_t sector[512]);

/** Changes the place of the descriptor in an encoded header. */
void sparse_header_set_descriptor(uint8_t sector[512], uint64_t first, uint64_t nsectors);

/** Whether the place that a header names for the descriptor begins before the grains and ends among them. */
bool sparse_header_descriptor_meets_grains(const struct sparse_header *h);

/** The header of the canonical layout of a new uncompressed extent. */
void sparse_header_canonical(uint64_t capacity, bool embedded_descriptor, struct sparse_header *ret_h);

#endif

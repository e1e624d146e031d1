/* SPDX-License-Identifier: BSD-3-Clause */
/* cowd_header.h - the header of a COWD extent, the sparse format of VMFS: the first 4 sectors of its file. Pure. */
#ifndef VIXDISK_VMDK_COWD_HEADER_H
#define VIXDISK_VMDK_COWD_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define COWD_HEADER_SECTORS 4u
#define COWD_HEADER_BYTES 2048u
#define COWD_GTES_PER_GT 4096u
#define COWD_GT_SECTORS 32u
#define COWD_MAX_SECTORS UINT64_C(0xFFFFFFFF) /* limit: sectors of a COWD disk, and of its file */

/** The decoded header. Sectors unless said otherwise. */
struct cowd_header {
    uint32_t flags;
    uint32_t capacity;
    uint32_t grain_sectors;
    uint32_t gd_sector;
    uint32_t gd_entries;
    uint32_t free_sector; /* where the next table or grain goes */
    bool unclean;
    /* derived by cowd_header_parse */
    uint64_t gt_count;   /* tables that the capacity takes: entries of the directory that mean something */
    uint64_t gd_sectors; /* what they take */
};

/** Decodes and checks what the header alone can tell. @name for messages. VIX_E_DISK_INVALIDDISK,
 * VIX_E_DISK_UNSUPPORTEDDISKVERSION, VIX_E_DISK_INVAL. */
VixError cowd_header_parse(const uint8_t bytes[COWD_HEADER_BYTES], const char *name, struct cowd_header *ret_h,
                           struct err *err);

/** The header of a new, empty extent: grain 1. */
void cowd_header_new(uint32_t capacity, struct cowd_header *ret_h);

/** Encodes a new header: what struct cowd_header has no member for is zero. */
void cowd_header_encode(const struct cowd_header *h, uint8_t bytes[COWD_HEADER_BYTES]);

/** Changes what changes while an extent is written: the rest stays as it is. */
void cowd_header_update(uint8_t bytes[COWD_HEADER_BYTES], uint32_t free_sector, bool unclean);

#endif

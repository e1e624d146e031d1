/* SPDX-License-Identifier: BSD-3-Clause */
/* sesparse_header.h - the two headers of an SE sparse extent: the constant one in sector 0, and the volatile one, which
 * tells whether the file was closed cleanly. Read only: nobody has published how they are written. Pure. */
#ifndef VIXDISK_VMDK_SESPARSE_HEADER_H
#define VIXDISK_VMDK_SESPARSE_HEADER_H

#include <stdint.h>

#include "base/err.h"

#define SESPARSE_VERSION UINT64_C(0x0000000200000001) /* 2.1 */
#define SESPARSE_VOLATILE_MAGIC UINT64_C(0x00000000CAFECAFE)
#define SESPARSE_GRAIN_SHIFT 3u /* 8 sectors */
#define SESPARSE_TABLE_SECTORS 64u
#define SESPARSE_GTES_PER_GT 4096u
#define SESPARSE_MAX_SECTORS (UINT64_C(1) << 37) /* limit: sectors of an SE sparse disk, 64 TiB */

/* The upper half of a directory entry that names a table. */
#define SESPARSE_GDE_TABLE UINT64_C(0x10000000)

/** The kind of a table entry: its highest 4 bits. Others mean nothing. */
enum sesparse_kind { SESPARSE_ABSENT = 0, SESPARSE_UNMAPPED = 1, SESPARSE_ZERO = 2, SESPARSE_GRAIN = 3 };

static inline unsigned sesparse_entry_kind(uint64_t entry)
{
    return (unsigned)(entry >> 60);
}

/** The index of a grain, which is turned round in its entry: bits 48 to 59 are the low ones. Below 2^60. */
static inline uint64_t sesparse_entry_index(uint64_t entry)
{
    return (entry >> 48 & 0xFFF) | (entry & UINT64_C(0x0000FFFFFFFFFFFF)) << 12;
}

/** A region of the file, in sectors. */
struct sesparse_region {
    uint64_t sector, nsectors;
};

/** The decoded constant header. */
struct sesparse_header {
    uint64_t capacity; /* sectors */
    struct sesparse_region volatile_header, directory, tables, grains;
    uint64_t gt_count; /* tables that the capacity takes: entries of the directory that mean something */
};

/** Decodes and checks what sector 0 alone can tell: magic, version, sizes of grain and table, no overflow anywhere, a
 * directory large enough for the capacity. @name for messages. VIX_E_DISK_INVALIDDISK,
 * VIX_E_DISK_UNSUPPORTEDDISKVERSION, VIX_E_DISK_NOTSUPPORTED, VIX_E_DISK_INVAL. */
VixError sesparse_header_parse(const uint8_t sector[512], const char *name, struct sesparse_header *ret_h,
                               struct err *err);

/** Checks the volatile header. VIX_E_DISK_NEEDSREPAIR if a journal has to be replayed before the data is right. */
VixError sesparse_check_volatile(const uint8_t sector[512], const char *name, struct err *err);

#endif

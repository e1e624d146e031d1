/* SPDX-License-Identifier: BSD-3-Clause */
/* partitions.h - reads the partition table of a disk: GPT, from either of its copies, or MBR with its chain of logical
 * partitions. The bytes are hostile: what does not fit is left out. Knows no library; pure but for the callback. */
#ifndef VIXDISK_TOOL_PARTITIONS_H
#define VIXDISK_TOOL_PARTITIONS_H

#include <stdbool.h>
#include <stdint.h>

#define PARTITIONS_MAX 128 /* that are told; a GPT has as many, and MBRs with more are not sane */
#define PARTITION_GUID_TEXT 37
#define PARTITION_NAME_TEXT 109 /* 36 characters of UTF-16 as UTF-8 */

/** One partition, within the disk. */
struct partition {
    unsigned number;                     /* as Linux counts: slot of a GPT from 1; MBR primary 1 to 4, logical from 5 */
    uint64_t off;                        /* bytes */
    uint64_t len;                        /* bytes, not 0 */
    uint8_t type;                        /* MBR */
    char type_guid[PARTITION_GUID_TEXT]; /* GPT; else "" */
    char guid[PARTITION_GUID_TEXT];
    char name[PARTITION_NAME_TEXT]; /* UTF-8 */
};

enum partition_table { PARTITIONS_NONE, PARTITIONS_MBR, PARTITIONS_GPT, PARTITIONS_GPT_BACKUP };

struct partitions {
    enum partition_table kind;
    unsigned count;
    struct partition list[PARTITIONS_MAX]; /* in the order of numbers */
};

/** Reads len bytes at off (multiples of 512, within the disk); false if it cannot. */
typedef bool (*partition_read_func)(void *data, uint64_t off, uint32_t len, uint8_t *ret_bytes);

/** Reads the table. @disk_bytes the capacity; @block the unit of the table's numbers, 512 or 4096. Returns false only
 * if a read failed or there was no memory; a disk without a table, or with one that is damaged in both copies, has
 * PARTITIONS_NONE.
 * Facts: UEFI specification, chapter 5; MBR: what Linux reads of it (block/partitions/msdos.c). */
bool partitions_read(partition_read_func read, void *data, uint64_t disk_bytes, uint32_t block,
                     struct partitions *ret_partitions);

#endif

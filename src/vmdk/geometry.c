/* SPDX-License-Identifier: BSD-3-Clause */
/* geometry.c - the small tables that a new disk's database is made from: geometry by VMware's rules, the words of
 * adapters and disk types. Pure functions. */
#include <stddef.h>

#include "base/checked.h"
#include "base/text.h"
#include "vmdk/create.h"

#define IDE_MAX_CYLINDERS 16383u /* own: of the interface */
#define SECTORS_1GIB UINT64_C(2097152)
#define SECTORS_2GIB UINT64_C(4194304)

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

struct word_row {
    int value;
    const char *word;
};

static const struct word_row adapter_words[] = {
    {VIXDISKLIB_ADAPTER_IDE, "ide"},
    {VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC, "buslogic"},
    {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, "lsilogic"},
};

static const struct word_row create_types[] = {
    {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "monolithicSparse"},
    {VIXDISKLIB_DISK_MONOLITHIC_FLAT, "monolithicFlat"},
    {VIXDISKLIB_DISK_SPLIT_SPARSE, "twoGbMaxExtentSparse"},
    {VIXDISKLIB_DISK_SPLIT_FLAT, "twoGbMaxExtentFlat"},
    {VIXDISKLIB_DISK_VMFS_FLAT, "vmfs"},
    {VIXDISKLIB_DISK_VMFS_THIN, "vmfs"},
    {VIXDISKLIB_DISK_STREAM_OPTIMIZED, "streamOptimized"},
    {VIXDISKLIB_DISK_VMFS_SPARSE, "vmfsSparse"},
};

/* Spellings that occur in the field beside those that are written. */
static const struct word_row other_create_types[] = {
    {VIXDISKLIB_DISK_SPLIT_SPARSE, "2GbMaxExtentSparse"},
    {VIXDISKLIB_DISK_SPLIT_FLAT, "2GbMaxExtentFlat"},
    {VIXDISKLIB_DISK_VMFS_FLAT, "vmfsPreallocated"},
    {VIXDISKLIB_DISK_VMFS_FLAT, "vmfsEagerZeroedThick"},
    {VIXDISKLIB_DISK_VMFS_FLAT, "vmfsThick"},
    {VIXDISKLIB_DISK_VMFS_THIN, "vmfsThin"},
};

static const char *word_of(const struct word_row *rows, size_t count, int value)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].value == value) {
            return rows[i].word;
        }
    }
    return NULL;
}

struct disk_geometry geometry_for(VixDiskLibAdapterType adapter, uint64_t capacity)
{
    struct disk_geometry g = {.heads = 255, .sectors = 63};
    uint64_t limit = UINT32_MAX;

    if (adapter == VIXDISKLIB_ADAPTER_IDE) {
        g.heads = 16;
        limit = IDE_MAX_CYLINDERS;
    } else if (capacity < SECTORS_1GIB) {
        g.heads = 64;
        g.sectors = 32;
    } else if (capacity < SECTORS_2GIB) {
        g.heads = 128;
        g.sectors = 32;
    }
    uint64_t cylinders = capacity / ((uint64_t)g.heads * g.sectors);
    g.cylinders = (uint32_t)max_u64(1, min_u64(cylinders, limit));
    return g;
}

const char *create_type_of(VixDiskLibDiskType type)
{
    return word_of(create_types, COUNT_OF(create_types), (int)type);
}

static bool find_value(const struct word_row *rows, size_t count, const char *word, int *ret_value)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal_nocase(rows[i].word, word)) {
            *ret_value = rows[i].value;
            return true;
        }
    }
    return false;
}

VixDiskLibDiskType disk_type_of(const char *create_type, bool thin)
{
    int type = VIXDISKLIB_DISK_UNKNOWN;

    if (!find_value(create_types, COUNT_OF(create_types), create_type, &type)) {
        (void)find_value(other_create_types, COUNT_OF(other_create_types), create_type, &type);
    }
    return type == VIXDISKLIB_DISK_VMFS_FLAT && thin ? VIXDISKLIB_DISK_VMFS_THIN : (VixDiskLibDiskType)type;
}

const char *adapter_word(VixDiskLibAdapterType adapter)
{
    return word_of(adapter_words, COUNT_OF(adapter_words), (int)adapter);
}

VixDiskLibAdapterType adapter_of_word(const char *word)
{
    int adapter = VIXDISKLIB_ADAPTER_UNKNOWN;

    if (word != NULL) {
        (void)find_value(adapter_words, COUNT_OF(adapter_words), word, &adapter);
    }
    return (VixDiskLibAdapterType)adapter;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* geometry.c - the small tables that a new disk's database is made from: geometry by VMware's rules, the words of
 * adapters and disk types. Pure functions. */
#include <stddef.h>
#include <strings.h>

#include "base/checked.h"
#include "vmdk/create.h"

#define IDE_MAX_CYLINDERS 16383u
#define SECTORS_1GIB UINT64_C(2097152)
#define SECTORS_2GIB UINT64_C(4194304)

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
    return word_of(create_types, sizeof create_types / sizeof create_types[0], (int)type);
}

const char *adapter_word(VixDiskLibAdapterType adapter)
{
    return word_of(adapter_words, sizeof adapter_words / sizeof adapter_words[0], (int)adapter);
}

VixDiskLibAdapterType adapter_of_word(const char *word)
{
    for (size_t i = 0; word != NULL && i < sizeof adapter_words / sizeof adapter_words[0]; i++) {
        if (strcasecmp(adapter_words[i].word, word) == 0) {
            return (VixDiskLibAdapterType)adapter_words[i].value;
        }
    }
    return VIXDISKLIB_ADAPTER_UNKNOWN;
}

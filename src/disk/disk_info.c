/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_info.c - what a disk database tells of a disk, in the terms of VixDiskLibInfo; written once for all transports.
 * Values are data of the file: nonsense is taken for absent. */
#include <string.h>

#include "base/cleanup.h"
#include "disk/disk_int.h"

/** A number of the disk database; fallback if the key is absent or holds no number up to high. */
static uint32_t meta_number(struct disk *d, const char *key, uint32_t fallback, uint32_t high)
{
    CLEANUP_FREE char *text = NULL;
    uint64_t value = 0;

    if (d->ops->meta_get(d, key, &text, NULL) != VIX_OK || text[0] == '\0') {
        return fallback;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || (value = value * 10 + (uint64_t)(*p - '0')) > high) {
            return fallback;
        }
    }
    return (uint32_t)value;
}

static VixDiskLibAdapterType meta_adapter(struct disk *d)
{
    CLEANUP_FREE char *word = NULL;

    if (d->ops->meta_get(d, "adapterType", &word, NULL) != VIX_OK) {
        return VIXDISKLIB_ADAPTER_UNKNOWN;
    }
    return adapter_of_word(word);
}

static VixDiskLibGeometry computed_geometry(VixDiskLibAdapterType adapter, uint64_t capacity)
{
    struct disk_geometry geo =
        geometry_for(adapter == VIXDISKLIB_ADAPTER_UNKNOWN ? VIXDISKLIB_ADAPTER_SCSI_LSILOGIC : adapter, capacity);
    return (VixDiskLibGeometry){.cylinders = geo.cylinders, .heads = geo.heads, .sectors = geo.sectors};
}

/** Computed where the database has none, or nonsense. */
static VixDiskLibGeometry physical_geometry(struct disk *d, VixDiskLibAdapterType adapter)
{
    VixDiskLibGeometry geo = {
        .cylinders = meta_number(d, "geometry.cylinders", 0, UINT32_MAX),
        .heads = meta_number(d, "geometry.heads", 0, UINT32_MAX),
        .sectors = meta_number(d, "geometry.sectors", 0, UINT32_MAX),
    };
    if (geo.cylinders == 0 || geo.heads == 0 || geo.sectors == 0) {
        return computed_geometry(adapter, d->capacity);
    }
    return geo;
}

static uint32_t sector_size(struct disk *d, const char *key)
{
    uint32_t size = meta_number(d, key, SECTOR_SIZE, 65536);
    return size >= SECTOR_SIZE && (size & (size - 1)) == 0 ? size : SECTOR_SIZE;
}

VixError disk_info_from_meta(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    VixDiskLibAdapterType adapter = meta_adapter(d);
    struct disk_info info = {
        .info =
            {
                .biosGeo = {.cylinders = meta_number(d, "geometry.biosCylinders", 0, UINT32_MAX),
                            .heads = meta_number(d, "geometry.biosHeads", 0, UINT32_MAX),
                            .sectors = meta_number(d, "geometry.biosSectors", 0, UINT32_MAX)},
                .physGeo = physical_geometry(d, adapter),
                .capacity = d->capacity,
                .adapterType = adapter,
                .numLinks = 1,
                .logicalSectorSize = sector_size(d, "logicalSectorSize"),
                .physicalSectorSize = sector_size(d, "physicalSectorSize"),
            },
        .type = VIXDISKLIB_DISK_UNKNOWN,
    };
    VixError code = d->ops->meta_get(d, "uuid", &info.info.uuid, err);

    if (code != VIX_OK && code != VIX_E_DISK_KEY_NOTFOUND) {
        return code;
    }
    *ret_info = info;
    return VIX_OK;
}

void disk_info_done(struct disk_info *info)
{
    free(info->info.parentFileNameHint);
    free(info->info.uuid);
    info->info.parentFileNameHint = NULL;
    info->info.uuid = NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* clone_params.c - the rules by which a copy inherits. No state; any thread. */
#include "ops/clone_params.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"

/* Keys that do not go over to a copy. */
static const char *const left_behind[] = {
    "uuid",
    "longContentID", /* the copy is another disk */
    "adapterType",
    "virtualHWVersion",
    "logicalSectorSize",
    "physicalSectorSize",
    "encoding", /* set by create */
    "thinProvisioned",
    "deletable", /* of the storage, not of the disk */
    "iofilters",
    "sidecars",
    "objectParentUri", /* stale values keep ESXi from opening the copy */
};

/* Beginnings of such keys. */
static const char *const left_behind_families[] = {
    "uuid.",  /* VirtualBox: its chain is another one */
    "native", /* of snapshots made by storage */
};

static bool begins_with(const char *key, const char *prefix)
{
    while (*prefix != '\0' && text_lower(*key) == text_lower(*prefix)) {
        key++;
        prefix++;
    }
    return *prefix == '\0';
}

static bool is_left_behind(const char *key)
{
    for (size_t i = 0; i < sizeof left_behind / sizeof left_behind[0]; i++) {
        if (text_equal_nocase(key, left_behind[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof left_behind_families / sizeof left_behind_families[0]; i++) {
        if (begins_with(key, left_behind_families[i])) {
            return true;
        }
    }
    return false;
}

static bool is_geometry(const char *key)
{
    return begins_with(key, "geometry.");
}

/** A number of the source's disk database, 0 if there is none up to high. */
static uint64_t source_number(struct disk *src, const char *key, uint64_t high)
{
    CLEANUP_FREE char *text = NULL;
    uint64_t value;

    if (src->ops->meta_get(src, key, &text, NULL) != VIX_OK || !text_to_u64(text, &value) || value > high) {
        return 0;
    }
    return value;
}

static bool has_geometry(struct disk *src)
{
    return source_number(src, "geometry.cylinders", UINT32_MAX) > 0 &&
           source_number(src, "geometry.heads", UINT32_MAX) > 0 &&
           source_number(src, "geometry.sectors", UINT32_MAX) > 0;
}

/** Geometry follows from the kind of adapter: IDE has its own. */
static bool keeps_geometry(struct disk *src, VixDiskLibAdapterType from, VixDiskLibAdapterType to)
{
    return (from == VIXDISKLIB_ADAPTER_IDE) == (to == VIXDISKLIB_ADAPTER_IDE) && has_geometry(src);
}

static size_t count_keys(const char *keys)
{
    size_t n = 0;

    for (; *keys != '\0'; keys += strlen(keys) + 1) {
        n++;
    }
    return n;
}

static VixError add_pair(struct clone_params *cp, size_t *n, struct disk *src, const char *key, struct err *err)
{
    char *value = NULL;
    VixError code = src->ops->meta_get(src, key, &value, err);

    if (code != VIX_OK) {
        return code;
    }
    char *copy = alloc_text(key, err);
    if (copy == NULL) {
        free(value);
        return VIX_E_OUT_OF_MEMORY;
    }
    cp->pairs[(*n)++] = copy;
    cp->pairs[(*n)++] = value;
    return VIX_OK;
}

static VixError take_ddb(struct clone_params *cp, struct disk *src, bool with_geometry, struct err *err)
{
    CLEANUP_FREE char *keys = NULL;
    size_t len = 0;
    size_t n = 0;
    VixError code = src->ops->meta_keys(src, &keys, &len, err);

    if (code != VIX_OK) {
        return code;
    }
    cp->pairs = alloc_array(2 * count_keys(keys) + 1, sizeof *cp->pairs, err);
    if (cp->pairs == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const char *key = keys; *key != '\0' && code == VIX_OK; key += strlen(key) + 1) {
        if (!is_left_behind(key) && (with_geometry || !is_geometry(key))) {
            code = add_pair(cp, &n, src, key, err);
        }
    }
    cp->p.ddb = (const char *const *)cp->pairs;
    return code;
}

/** Only the pairs that disks really have: others are taken for damage. */
static void take_sector_sizes(struct create_params *p, const VixDiskLibInfo *info)
{
    if (p->logical_sector_size == 0 && p->physical_sector_size == 0 && info->physicalSectorSize == 4096 &&
        (info->logicalSectorSize == SECTOR_SIZE || info->logicalSectorSize == 4096)) {
        p->logical_sector_size = info->logicalSectorSize;
        p->physical_sector_size = info->physicalSectorSize;
    }
}

static VixDiskLibAdapterType choose_adapter(VixDiskLibAdapterType asked, VixDiskLibAdapterType source)
{
    if (asked != 0 && asked != VIXDISKLIB_ADAPTER_UNKNOWN) {
        return asked;
    }
    return source != VIXDISKLIB_ADAPTER_UNKNOWN ? source : VIXDISKLIB_ADAPTER_SCSI_LSILOGIC;
}

VixError clone_params_make(struct disk *src, const struct create_params *asked, struct clone_params *ret_params,
                           struct err *err)
{
    struct clone_params cp = {.p = *asked};
    struct disk_info info;
    VixError code = src->ops->info(src, &info, err);

    if (code != VIX_OK) {
        return code;
    }
    cp.p.capacity = src->capacity;
    cp.p.parent_hint = NULL;
    cp.p.parent_cid = 0;
    cp.p.adapter = choose_adapter(asked->adapter, info.info.adapterType);
    if (cp.p.hw_version == 0) {
        cp.p.hw_version = (uint16_t)source_number(src, "virtualHWVersion", UINT16_MAX);
    }
    take_sector_sizes(&cp.p, &info.info);
    if (asked->ddb == NULL) {
        code = take_ddb(&cp, src, keeps_geometry(src, info.info.adapterType, cp.p.adapter), err);
    }
    disk_info_done(&info);
    if (code != VIX_OK) {
        clone_params_done(&cp);
        return code;
    }
    *ret_params = cp;
    return VIX_OK;
}

void clone_params_done(struct clone_params *params)
{
    for (char **p = params->pairs; p != NULL && *p != NULL; p++) {
        free(*p);
    }
    free(params->pairs);
    params->pairs = NULL;
    params->p.ddb = NULL;
}

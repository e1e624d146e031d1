/* SPDX-License-Identifier: BSD-3-Clause */
/* create_check.c - what can be made: the layouts of the disk types, the limits of formats and file systems. Looks, but
 * makes nothing. Any thread. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/config.h"
#include "vmdk/cowd_header.h"
#include "vmdk/create_int.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define FORMAT_NO_LIMIT (UINT64_C(1) << 54) /* limit: sectors of a flat disk that is made: 2^63 bytes */

static const struct disk_layout layouts[] = {
    {.type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE, .extent_type = EXTENT_SPARSE, .format_max = SPARSE_EXTENT_MAX_SECTORS},
    {.type = VIXDISKLIB_DISK_MONOLITHIC_FLAT,
     .extent_type = EXTENT_FLAT,
     .suffix = "-flat",
     .offset = true,
     .preallocated = true,
     .format_max = FORMAT_NO_LIMIT},
    {.type = VIXDISKLIB_DISK_SPLIT_SPARSE,
     .extent_type = EXTENT_SPARSE,
     .suffix = "-s",
     .split = true,
     .format_max = DESCRIPTOR_MAX_EXTENTS * SPLIT_EXTENT_SECTORS},
    {.type = VIXDISKLIB_DISK_SPLIT_FLAT,
     .extent_type = EXTENT_FLAT,
     .suffix = "-f",
     .split = true,
     .offset = true,
     .preallocated = true,
     .format_max = DESCRIPTOR_MAX_EXTENTS * SPLIT_EXTENT_SECTORS},
    {.type = VIXDISKLIB_DISK_VMFS_FLAT,
     .extent_type = EXTENT_VMFS,
     .suffix = "-flat",
     .preallocated = true,
     .format_max = FORMAT_NO_LIMIT},
    {.type = VIXDISKLIB_DISK_VMFS_THIN,
     .extent_type = EXTENT_VMFS,
     .suffix = "-flat",
     .thin = true,
     .format_max = FORMAT_NO_LIMIT},
    {.type = VIXDISKLIB_DISK_VMFS_SPARSE,
     .extent_type = EXTENT_VMFSSPARSE,
     .suffix = "-delta",
     .format_max = COWD_MAX_SECTORS},
    {.type = VIXDISKLIB_DISK_STREAM_OPTIMIZED,
     .extent_type = EXTENT_SPARSE,
     .access = ACCESS_RDONLY,
     .format_max = FORMAT_NO_LIMIT},
};

const struct disk_layout *layout_of(VixDiskLibDiskType type)
{
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        if (layouts[i].type == type) {
            return &layouts[i];
        }
    }
    return NULL;
}

uint64_t layout_extent_count(const struct disk_layout *layout, uint64_t capacity)
{
    return layout->split ? div_up(capacity, SPLIT_EXTENT_SECTORS) : 1;
}

uint64_t layout_extent_sectors(const struct disk_layout *layout, uint64_t capacity, uint64_t index)
{
    return layout->split ? min_u64(capacity - index * SPLIT_EXTENT_SECTORS, SPLIT_EXTENT_SECTORS) : capacity;
}

/* ---- parameters ---- */

static bool is_utf8(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;

    while (*p != 0) {
        unsigned more = *p < 0x80 ? 0 : *p >= 0xC2 && *p < 0xE0 ? 1 : *p >= 0xE0 && *p < 0xF0 ? 2 : 3;
        if (*p >= 0xF5 || (*p >= 0x80 && *p < 0xC2) || (*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] >= 0xA0) ||
            (*p == 0xF0 && p[1] < 0x90) || (*p == 0xF4 && p[1] >= 0x90)) {
            return false;
        }
        for (p++; more > 0; more--, p++) {
            if ((*p & 0xC0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

static VixError check_name(const char *path, struct err *err)
{
    const char *base = store_path_base(path);

    if (base[0] == '\0') {
        return err_set(err, VIX_E_INVALID_ARG, "\"%s\" names no file", path);
    }
    if (strpbrk(base, "\"\r\n") != NULL) {
        return err_set(err, VIX_E_FILE_NAME_INVALID, "%s: a descriptor cannot hold a name with quotes or line ends",
                       path);
    }
    if (!is_utf8(base)) {
        return err_set(err, VIX_E_INVALID_UTF8_STRING, "%s: the name is not valid UTF-8, as the descriptor's is", path);
    }
    return VIX_OK;
}

static VixError check_sector_sizes(const struct create_params *p, struct err *err)
{
    uint32_t logical = p->logical_sector_size != 0 ? p->logical_sector_size : SECTOR_SIZE;
    uint32_t physical = p->physical_sector_size != 0 ? p->physical_sector_size : logical;

    if ((logical == 512 && (physical == 512 || physical == 4096)) || (logical == 4096 && physical == 4096)) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_INVALID_ARG,
                   "sector sizes %" PRIu32 " (logical) and %" PRIu32
                   " (physical), allowed: 512/512, 512/4096, 4096/4096",
                   logical, physical);
}

static VixError check_params(const struct create_params *p, struct err *err)
{
    if (adapter_word(p->adapter) == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "adapter type %d, allowed: %d (ide), %d (buslogic), %d (lsilogic)",
                       (int)p->adapter, VIXDISKLIB_ADAPTER_IDE, VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC,
                       VIXDISKLIB_ADAPTER_SCSI_LSILOGIC);
    }
    if (p->capacity == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "a capacity of 0 sectors, allowed: at least 1");
    }
    if (p->parent_hint != NULL &&
        (layout_of(p->type)->preallocated || layout_of(p->type)->thin || p->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED)) {
        return err_set(err, VIX_E_INVALID_ARG, "a child of type %s, allowed: sparse types", create_type_of(p->type));
    }
    return check_sector_sizes(p, err);
}

/* ---- limits ---- */

static VixError check_format(const char *path, const struct disk_layout *layout, const struct create_params *p,
                             struct err *err)
{
    if (p->capacity > layout->format_max) {
        return err_set(err, VIX_E_FILE_TOO_BIG, "%s: %" PRIu64 " sectors, a disk of type %s can hold %" PRIu64, path,
                       p->capacity, create_type_of(p->type), layout->format_max);
    }
    if (p->capacity > HOSTED_MAX_SECTORS && !p->allow_over_2tb) {
        return err_set(err, VIX_E_FILE_TOO_BIG,
                       "%s: %" PRIu64 " sectors, by default disks have at most %" PRIu64 " (2 TB); %s=1 lifts this",
                       path, p->capacity, HOSTED_MAX_SECTORS, CONFIG_ALLOW_OVER_2TB);
    }
    return VIX_OK;
}

/** The length that the largest file can reach; 0 if nobody knows (compressed). */
static uint64_t largest_file(const struct disk_layout *layout, uint64_t capacity)
{
    uint64_t nsectors = layout_extent_sectors(layout, capacity, 0);

    if (layout->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
        return 0;
    }
    if (layout->extent_type == EXTENT_SPARSE) {
        return extent_sparse_full_size(nsectors, layout->suffix == NULL);
    }
    if (layout->extent_type == EXTENT_VMFSSPARSE) {
        return (nsectors + nsectors / 128 + 64) * SECTOR_SIZE; /* a table entry of 4 bytes for each sector */
    }
    return nsectors * SECTOR_SIZE;
}

static VixError check_file_system(struct store_fs *fs, const char *path, const struct disk_layout *layout,
                                  const struct create_params *p, struct err *err)
{
    enum store_fs_kind kind;
    uint64_t free_bytes = 0;
    uint64_t largest = largest_file(layout, p->capacity);

    VixError code = fs->ops->statfs(fs, path, &kind, &free_bytes, err);
    if (code != VIX_OK) {
        return code;
    }
    if (largest > store_fs_kind_max_file(kind)) {
        return err_set(err, VIX_E_FILE_TOO_BIG,
                       "%s: a file of the disk can get %" PRIu64
                       " bytes long, the file system (%s) holds files of %" PRIu64,
                       path, largest, store_fs_kind_name(kind), store_fs_kind_max_file(kind));
    }
    if (layout->preallocated && p->capacity * SECTOR_SIZE > free_bytes) {
        return err_set(err, VIX_E_DISK_FULL,
                       "%s: the disk takes %" PRIu64 " bytes, the file system has %" PRIu64 " free", path,
                       p->capacity * SECTOR_SIZE, free_bytes);
    }
    return VIX_OK;
}

VixError create_check(struct store_fs *fs, const char *path, const struct disk_layout *layout,
                      const struct create_params *p, struct err *err)
{
    VixError code = check_name(path, err);

    if (code == VIX_OK) {
        code = check_params(p, err);
    }
    if (code == VIX_OK) {
        code = check_format(path, layout, p, err);
    }
    return code == VIX_OK ? check_file_system(fs, path, layout, p, err) : code;
}

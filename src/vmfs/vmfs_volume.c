/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_volume.c - a volume from its LUNs to its system files: the header of the file system, and the first descriptors,
 * which stand at fixed places so that the others can be found. */
#include <stdio.h>

#include "vmfs/vmfs_int.h"

#define FS_HEADER_OFF (2u * MIB)
#define FS_HEADER 512u
#define FS_MAGIC 0x2FABF15Eu
#define FS_MAGIC_LOCAL 0x2FABF15Fu
#define FS_FLAG_DENSE (1u << 2)
#define MAJOR_VMFS6 24u
#define MAJOR_VMFS5 14u
#define MIN_BLOCK (64u * 1024)
#define MAX_BLOCK (64u * MIB)         /* limit: bytes of a block of a volume */
#define MAX_LARGE_SHIFT 12u           /* limit: large blocks are at most so many doublings of a block */
#define MAX_CLUSTERS_PER_GROUP 65536u /* limit: clusters of a group, by the volume's header */

VixError vmfs_locate(const struct vmfs *v, uint64_t off, uint64_t *len, const char *what, size_t *ret_lun,
                     uint64_t *ret_lun_off, struct err *err)
{
    size_t low = 0, high = v->segment_count;

    if (off >= v->info.size) {
        return vmfs_corrupt(err, "%s: %s leads to byte %" PRIu64 " of a volume of %" PRIu64, v->luns[0]->path, what,
                            off, v->info.size);
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (v->segments[middle].off <= off) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const struct vmfs_segment *s = &v->segments[low];
    *len = min_u64(*len, s->off + s->len - off);
    *ret_lun = s->lun;
    *ret_lun_off = s->lun_off + (off - s->off);
    return VIX_OK;
}

VixError vmfs_volume_read(const struct vmfs *v, void *buf, uint64_t len, uint64_t off, const char *what,
                          struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t done = 0; done < len && code == VIX_OK;) {
        uint64_t take = len - done;
        uint64_t lun_off = 0;
        size_t lun = 0;
        code = vmfs_locate(v, off + done, &take, what, &lun, &lun_off, err);
        if (code == VIX_OK) {
            code = store_read(v->luns[lun], (uint8_t *)buf + done, take, lun_off, err);
        }
        done += take;
    }
    return code;
}

/* ---- the header ---- */

static void format_uuid(const uint8_t *u, char text[VMFS_UUID_TEXT])
{
    (void)snprintf(text, VMFS_UUID_TEXT, "%08" PRIx32 "-%08" PRIx32 "-%04x-%02x%02x%02x%02x%02x%02x", get_le32(u),
                   get_le32(u + 4), (unsigned)get_le16(u + 8), (unsigned)u[10], (unsigned)u[11], (unsigned)u[12],
                   (unsigned)u[13], (unsigned)u[14], (unsigned)u[15]);
}

static VixError check_magic(const struct vmfs *v, const uint8_t *h, struct err *err)
{
    uint32_t magic = get_le32(h);
    uint32_t major = get_le32(h + 4);

    if (magic != FS_MAGIC && magic != FS_MAGIC_LOCAL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: file system with magic 0x%08" PRIx32 ", known: 0x%08x, 0x%08x",
                       v->luns[0]->path, magic, FS_MAGIC, FS_MAGIC_LOCAL);
    }
    if (major < 4 || major > MAJOR_VMFS6 || (major > MAJOR_VMFS5 && major < MAJOR_VMFS6)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: VMFS with the internal version %" PRIu32 ", known: 4 to %u, %u",
                       v->luns[0]->path, major, MAJOR_VMFS5, MAJOR_VMFS6);
    }
    if (memcmp(h + 0xB1, v->volume_uuid, VMFS_UUID_SIZE) != 0) {
        return vmfs_corrupt(err, "%s: the file system belongs to another volume than the LUNs are of",
                            v->luns[0]->path);
    }
    return VIX_OK;
}

static VixError check_sizes(const struct vmfs *v, uint32_t group, uint32_t clusters, struct err *err)
{
    uint64_t block = v->info.block_size;

    if (!is_power_of_two(block) || block < MIN_BLOCK || block > MAX_BLOCK || v->large_shift > MAX_LARGE_SHIFT) {
        return vmfs_corrupt(err,
                            "%s: blocks of %" PRIu64 " bytes, large ones 2^%u of them; allowed: powers of two from %u "
                            "to %u, up to 2^%u",
                            v->luns[0]->path, block, v->large_shift, MIN_BLOCK, MAX_BLOCK, MAX_LARGE_SHIFT);
    }
    if (v->v6 && (!is_power_of_two(v->md) || v->md < 4096 || v->md > 65536)) {
        return vmfs_corrupt(err, "%s: metadata in blocks of %" PRIu32 " bytes, allowed: powers of two, 4096 to 65536",
                            v->luns[0]->path, v->md);
    }
    if (clusters == 0 || clusters > MAX_CLUSTERS_PER_GROUP) {
        return vmfs_corrupt(err,
                            "%s: groups of %" PRIu32 " clusters of descriptors from %" PRIu32 " on, allowed: 1 to %u",
                            v->luns[0]->path, clusters, group, MAX_CLUSTERS_PER_GROUP);
    }
    return VIX_OK;
}

/** Where the file of descriptors begins: behind the header and the heartbeats. */
static uint64_t descriptors_start(const struct vmfs *v)
{
    uint64_t block = v->info.block_size;

    return v->v6 ? (((uint64_t)v->md << 10) + 0x3FFFFF) & ~UINT64_C(0xFFFFF) : (block + 0x3FFFFF) / block * block;
}

static VixError read_header(struct vmfs *v, struct err *err)
{
    uint8_t h[FS_HEADER];

    VixError code = vmfs_volume_read(v, h, sizeof h, FS_HEADER_OFF, "the header of the file system", err);
    if (code == VIX_OK) {
        code = check_magic(v, h, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    uint32_t group = get_le32(h + 0xD1);
    uint32_t clusters = get_le32(h + 0xD5);
    v->v6 = get_le32(h + 4) >= MAJOR_VMFS6;
    v->info.major = v->v6 ? 6 : get_le32(h + 4) >= MAJOR_VMFS5 ? 5 : 3;
    v->info.block_size = get_le64(h + 0xA1);
    v->dense = (get_le32(h + 0x19) & FS_FLAG_DENSE) != 0;
    v->pb2_off = v->v6 || v->dense ? 0 : get_le64(h + 0xE1);
    v->md = v->v6 ? get_le32(h + 0x134) : 512;
    v->large_shift = v->v6 ? get_le16(h + 0x138) : 0;
    memcpy(v->info.label, h + 0x1D, VMFS_LABEL_SIZE - 1);
    format_uuid(h + 9, v->info.uuid);
    code = check_sizes(v, group, clusters, err);
    v->cluster_head = 2 * v->md;
    v->inode_size = v->v6 ? 2 * v->md : 2048;
    v->small_per_cluster = code == VIX_OK && v->v6 ? (uint32_t)min_u64(0x2000, 0x20000000 / v->info.block_size) : 0;
    if (code == VIX_OK) {
        v->fdc_off = descriptors_start(v) + group + (uint64_t)clusters * v->cluster_head;
    }
    return code;
}

/* ---- system files ---- */

static VixError open_system(struct vmfs *v, enum vmfs_system which, struct err *err)
{
    static const char *const names[VMFS_SYSTEM_COUNT] = {
        [VMFS_ROOT] = "/",      [VMFS_FBB] = ".fbb.sf", [VMFS_FDC] = ".fdc.sf",
        [VMFS_PBC] = ".pbc.sf", [VMFS_SBC] = ".sbc.sf", [VMFS_PB2] = ".pb2.sf",
    };
    struct vmfs_inode inode;
    uint64_t off = v->fdc_off + (uint64_t)which * v->inode_size;

    if (which == VMFS_PB2 && v->pb2_off != 0) {
        off = v->pb2_off;
    }
    VixError code = vmfs_read_inode(v, off, &inode, err);
    if (code == VIX_OK) {
        code = vmfs_file_new(v, names[which], &inode, &v->system[which], err);
    }
    if (code == VIX_OK) {
        code = vmfs_read_resources(v->system[which], 0, &v->resources[which], err);
    }
    if (code != VIX_OK) {
        err_prefix(err, "system file %s: ", names[which]);
    }
    return code;
}

/** Of the block bitmap only the size of its clusters is needed, and only of VMFS 6: there the first header is that of
 * large blocks, a second one has the small ones. All known volumes have it as a formula gives it. */
static VixError open_block_bitmap(struct vmfs *v, struct err *err)
{
    struct vmfs_resources small;
    VixError code = open_system(v, VMFS_FBB, err);
    uint32_t at = v->resources[VMFS_FBB].child;

    if (code == VIX_OK && v->v6 && at != 0) {
        code = vmfs_read_resources(v->system[VMFS_FBB], at, &small, err);
        v->small_per_cluster = code == VIX_OK ? small.per_cluster : v->small_per_cluster;
    }
    if (code == VIX_E_FILE_ERROR) {
        v->info.guessed = v->info.guessed || v->v6;
        return VIX_OK;
    }
    return code;
}

/** Second level pointer blocks may not be there at all: then no file may need them. */
static void try_pb2(struct vmfs *v)
{
    if (open_system(v, VMFS_PB2, NULL) != VIX_OK) {
        vmfs_file_close(v->system[VMFS_PB2]);
        v->system[VMFS_PB2] = NULL;
    }
}

static VixError open_system_files(struct vmfs *v, struct err *err)
{
    static const enum vmfs_system needed[] = {VMFS_FDC, VMFS_SBC, VMFS_PBC};
    VixError code = VIX_OK;

    for (size_t i = 0; i < sizeof needed / sizeof needed[0] && code == VIX_OK; i++) {
        code = open_system(v, needed[i], err);
    }
    if (code == VIX_OK) {
        code = open_block_bitmap(v, err);
    }
    if (code == VIX_OK) {
        try_pb2(v);
    }
    return code;
}

VixError vmfs_open(const struct vmfs_lun *luns, size_t count, struct vmfs **ret_vmfs, struct err *err)
{
    struct vmfs *v = alloc_zero(sizeof *v, err);

    if (v == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vmfs_assemble(v, luns, count, err);
    if (code == VIX_OK) {
        code = read_header(v, err);
    }
    if (code == VIX_OK) {
        code = open_system_files(v, err);
    }
    if (code != VIX_OK) {
        vmfs_close(v);
        return code;
    }
    *ret_vmfs = v;
    return VIX_OK;
}

void vmfs_close(struct vmfs *v)
{
    if (v == NULL) {
        return;
    }
    for (size_t i = 0; i < VMFS_SYSTEM_COUNT; i++) {
        vmfs_file_close(v->system[i]);
    }
    free(v->segments);
    free(v);
}

const struct vmfs_info *vmfs_info(const struct vmfs *v)
{
    return &v->info;
}

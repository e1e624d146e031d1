/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_resource.c - resource files: system files that hold equal pieces (descriptors, sub-blocks, pointer blocks) in
 * clusters, and clusters in groups. */
#include "vmfs/vmfs_int.h"

#define RESOURCE_HEADER 0x38u
#define RESOURCE_SIGNATURE 0x72666D64u       /* "rfmd", VMFS 6 */
#define MAX_PER_CLUSTER 65536u               /* limit: resources of a cluster */
#define MAX_PER_GROUP 65536u                 /* limit: clusters of a group */
#define MAX_RESOURCE (16u * MIB)             /* limit: bytes of a resource */
#define MAX_GROUPS_BYTES (UINT64_C(1) << 62) /* limit: bytes of all groups of a resource file */

static VixError check_resources(const struct vmfs *v, const struct vmfs_file *f, const struct vmfs_resources *r,
                                struct err *err)
{
    bool counts = r->per_cluster > 0 && r->per_cluster <= MAX_PER_CLUSTER && r->clusters_per_group > 0 &&
                  r->clusters_per_group <= MAX_PER_GROUP && r->size <= MAX_RESOURCE;
    uint64_t least =
        counts ? (uint64_t)r->clusters_per_group * (v->cluster_head + (uint64_t)r->per_cluster * r->size) : 0;

    /* without resources the other figures mean nothing */
    if (r->count != 0 &&
        (!counts || (r->groups > 1 && r->group_size < least) || r->groups * r->group_size > MAX_GROUPS_BYTES)) {
        return vmfs_corrupt(err,
                            "%s: %" PRIu64 " resources of %" PRIu32 " bytes, %" PRIu32 " in a cluster, %" PRIu32
                            " clusters in a group of %" PRIu64 " bytes: cannot be",
                            f->path, r->count, r->size, r->per_cluster, r->clusters_per_group, r->group_size);
    }
    return VIX_OK;
}

VixError vmfs_read_resources(struct vmfs_file *f, uint64_t at, struct vmfs_resources *ret, struct err *err)
{
    uint8_t h[RESOURCE_HEADER];

    if (at > f->inode.length || f->inode.length - at < sizeof h) {
        return vmfs_corrupt(err, "%s: %" PRIu64 " bytes, too short for a header of resources at %" PRIu64, f->path,
                            f->inode.length, at);
    }
    VixError code = vmfs_read_nested(f, h, sizeof h, at, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    if (f->v->v6 && get_le32(h + 0x20) != RESOURCE_SIGNATURE) {
        return vmfs_corrupt(err, "%s: signature 0x%08" PRIx32 " of the header of resources, allowed: 0x%08x", f->path,
                            get_le32(h + 0x20), RESOURCE_SIGNATURE);
    }
    const struct vmfs_resources r = {
        .per_cluster = get_le32(h),
        .clusters_per_group = get_le32(h + 4),
        .first_group = get_le32(h + 8),
        .size = get_le32(h + 0x0C),
        .group_size = get_le32(h + 0x10),
        .count = get_le32(h + 0x14) | (uint64_t)get_le32(h + 0x1C) << 32,
        .groups = get_le32(h + 0x18),
        .child = f->v->v6 ? get_le32(h + 0x34) : 0,
    };
    code = check_resources(f->v, f, &r, err);
    if (code == VIX_OK) {
        *ret = r;
    }
    return code;
}

VixError vmfs_resource_off(const struct vmfs *v, enum vmfs_system which, uint64_t cluster, uint32_t resource,
                           uint64_t *ret_off, struct err *err)
{
    const struct vmfs_resources *r = &v->resources[which];
    const struct vmfs_file *f = v->system[which];

    if (f == NULL) {
        return vmfs_corrupt(err, "%s: an address leads to a system file that is not there (number %d)",
                            v->luns[0]->path, (int)which);
    }
    if (r->count == 0 || resource >= r->per_cluster || cluster >= r->count ||
        cluster * r->per_cluster + resource >= r->count || cluster / r->clusters_per_group >= max_u64(r->groups, 1)) {
        return vmfs_corrupt(err,
                            "%s: an address names resource %" PRIu32 " of cluster %" PRIu64 "; there are %" PRIu64
                            ", %" PRIu32 " in a cluster",
                            f->path, resource, cluster, r->count, r->per_cluster);
    }
    uint64_t in_group = cluster % r->clusters_per_group;
    *ret_off = r->first_group + cluster / r->clusters_per_group * r->group_size +
               (uint64_t)r->clusters_per_group * v->cluster_head + (in_group * r->per_cluster + resource) * r->size;
    return VIX_OK;
}

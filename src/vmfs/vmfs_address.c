/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_address.c - what the bits of block addresses say. Pure functions. */
#include "vmfs/vmfs_int.h"

#define V5_COW (1u << 4)
#define V5_TO_BE_ZEROED (1u << 5)
#define V6_COW (1u << 5)

static enum vmfs_kind kind_of_v6(uint64_t address)
{
    uint64_t parts = (address >> 7) & 0xFF;

    return parts == 0 ? VMFS_DATA : parts == 0xFF ? VMFS_TO_BE_ZEROED : VMFS_UNSURE;
}

static VixError number_v6(const struct vmfs *v, uint64_t address, uint64_t *ret_number, struct err *err)
{
    uint64_t cluster = (address >> 15) & 0x7FFFFFFF;
    uint64_t resource = (address >> 51) & 0x1FFF;

    if ((address & VMFS_ADDRESS_TYPE) == VMFS_ADDRESS_LARGE) {
        *ret_number = cluster;
        return VIX_OK;
    }
    if (resource >= v->small_per_cluster) {
        return vmfs_corrupt(err, "%s: block address 0x%016" PRIx64 ": block %" PRIu64 " of a cluster of %" PRIu32,
                            v->luns[0]->path, address, resource, v->small_per_cluster);
    }
    *ret_number = cluster * v->small_per_cluster + resource;
    return VIX_OK;
}

VixError vmfs_decode_block(const struct vmfs *v, uint64_t address, struct vmfs_block *ret_block, struct err *err)
{
    struct vmfs_block b = {.size = v->info.block_size};
    bool large = (address & VMFS_ADDRESS_TYPE) == VMFS_ADDRESS_LARGE;
    uint64_t number = address >> 6, end;
    VixError code = VIX_OK;

    if (v->v6) {
        b.size <<= large ? v->large_shift : 0;
        b.kind = kind_of_v6(address);
        b.shared = (address & V6_COW) != 0;
        code = number_v6(v, address, &number, err);
    } else {
        b.kind = (address & V5_TO_BE_ZEROED) != 0 ? VMFS_TO_BE_ZEROED : VMFS_DATA;
        b.shared = (address & V5_COW) != 0;
    }
    if (code != VIX_OK) {
        return code;
    }
    if ((large && !v->v6) || !checked_mul(number, b.size, &b.off) || !checked_add(b.off, b.size, &end) ||
        end > v->info.size) {
        return vmfs_corrupt(err,
                            "%s: block address 0x%0*" PRIx64 ": block %" PRIu64 " of a volume of %" PRIu64 " bytes",
                            v->luns[0]->path, v->v6 ? 16 : 8, address, number, v->info.size);
    }
    *ret_block = b;
    return VIX_OK;
}

void vmfs_decode_resource(const struct vmfs *v, uint64_t address, uint64_t *ret_cluster, uint32_t *ret_resource)
{
    if (v->v6) {
        *ret_cluster = (address >> 6) & UINT64_C(0xFFFFFFFFF);
        *ret_resource = (uint32_t)(address >> 56);
        return;
    }
    bool sub_block = (address & VMFS_ADDRESS_TYPE) == VMFS_ADDRESS_SUB_BLOCK;
    *ret_cluster = (address >> 6) & 0x3FFFFF;
    *ret_resource = (uint32_t)(address >> 28) & 0xF;
    if (sub_block && v->dense) {
        *ret_resource |= (uint32_t)((address >> 3) & 3) << 4;
    }
}

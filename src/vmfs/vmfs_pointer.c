/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_pointer.c - from a place in a file to the address of its block: the array in the descriptor, and one or two
 * levels of pointer blocks, of which a few are kept for each file. */
#include "vmfs/vmfs_int.h"

static uint32_t pointer_block_size(const struct vmfs *v)
{
    return v->v6 ? 65536 : 4096;
}

static uint32_t address_size(const struct vmfs *v)
{
    return v->v6 ? 8 : 4;
}

/** The addresses of a pointer block are so many doublings of one. */
static unsigned pointers_shift(const struct vmfs *v)
{
    return v->v6 ? 13 : 10;
}

static uint64_t get_address(const struct vmfs *v, const uint8_t *at)
{
    return v->v6 ? get_le64(at) : get_le32(at);
}

/* ---- where a pointer block is ---- */

VixError vmfs_locate_resource(struct vmfs *v, enum vmfs_system which, uint64_t cluster, uint32_t resource,
                              uint64_t skip, uint64_t len, unsigned nesting, struct vmfs_run *ret_run, struct err *err)
{
    uint64_t off = 0;

    VixError code = vmfs_resource_off(v, which, cluster, resource, &off, err);
    if (code != VIX_OK) {
        return code;
    }
    struct vmfs_file *f = v->system[which];
    if (skip + len > v->resources[which].size || off + skip + len > f->inode.length) {
        return vmfs_corrupt(
            err, "%s: %" PRIu64 " bytes at %" PRIu64 " are wanted of a file of %" PRIu64 ", in resources of %" PRIu32,
            f->path, len, off + skip, f->inode.length, v->resources[which].size);
    }
    if (nesting >= VMFS_NESTING) {
        return vmfs_corrupt(err, "%s: system files lead to each other in a circle", f->path);
    }
    code = vmfs_map_nested(f, off + skip, len, nesting + 1, ret_run, err);
    if (code == VIX_OK && ret_run->kind != VMFS_DATA) {
        code = vmfs_corrupt(err, "%s: a resource at %" PRIu64 " has no block of its own", f->path, off);
    }
    return code;
}

/** Where a pointer block is in the volume. */
static VixError locate_pointers(struct vmfs_file *f, uint64_t address, unsigned nesting, uint64_t *ret_off,
                                struct err *err)
{
    struct vmfs *v = f->v;
    unsigned type = address & VMFS_ADDRESS_TYPE;
    uint64_t cluster;
    uint32_t resource;

    if (type == VMFS_ADDRESS_BLOCK || type == VMFS_ADDRESS_LARGE) {
        struct vmfs_block b;
        VixError code = vmfs_decode_block(v, address, &b, err);
        if (code == VIX_OK && b.kind != VMFS_DATA) {
            code = vmfs_corrupt(err, "%s: its pointer block 0x%" PRIx64 " is to be zeroed", f->path, address);
        }
        if (code == VIX_OK) {
            *ret_off = b.off;
        }
        return code;
    }
    if (type != VMFS_ADDRESS_POINTER && type != VMFS_ADDRESS_POINTER2 && type != VMFS_ADDRESS_SUB_BLOCK) {
        return vmfs_corrupt(err, "%s: 0x%" PRIx64 " is not the address of a pointer block", f->path, address);
    }
    enum vmfs_system which = type == VMFS_ADDRESS_POINTER    ? VMFS_PBC
                             : type == VMFS_ADDRESS_POINTER2 ? VMFS_PB2
                                                             : VMFS_SBC;
    struct vmfs_run run;
    vmfs_decode_resource(v, address, &cluster, &resource);
    uint64_t len = pointer_block_size(v);
    VixError code = vmfs_locate_resource(v, which, cluster, resource, 0, len, nesting, &run, err);
    if (code == VIX_OK && run.len < len) {
        code = vmfs_corrupt(err, "%s: its pointer block 0x%" PRIx64 " is not in one piece", f->path, address);
    }
    if (code == VIX_OK) {
        *ret_off = run.volume_off;
    }
    return code;
}

/* ---- pointer blocks in memory ---- */

static bool look_up_page(struct vmfs_file *f, uint64_t block, uint64_t index, uint64_t *ret_address)
{
    SCOPED_LOCK(&f->lock);
    for (size_t i = 0; i < VMFS_PAGES; i++) {
        if (f->pages[i].bytes != NULL && f->pages[i].address == block) {
            *ret_address = get_address(f->v, f->pages[i].bytes + index * address_size(f->v));
            return true;
        }
    }
    return false;
}

static void keep_page(struct vmfs_file *f, uint64_t block, uint8_t *bytes)
{
    SCOPED_LOCK(&f->lock);
    struct vmfs_page *page = &f->pages[f->hand++ % VMFS_PAGES];
    free(page->bytes);
    *page = (struct vmfs_page){.address = block, .bytes = bytes};
}

/** An address that is in the pointer block of another one. One that is in memory costs no way through system files. */
static VixError read_pointer(struct vmfs_file *f, uint64_t block, uint64_t index, unsigned nesting,
                             uint64_t *ret_address, struct err *err)
{
    uint64_t off = 0;

    if (look_up_page(f, block, index, ret_address)) {
        return VIX_OK;
    }
    VixError code = locate_pointers(f, block, nesting, &off, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE uint8_t *bytes = alloc_aligned(4096, pointer_block_size(f->v), err);
    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = vmfs_volume_read(f->v, bytes, pointer_block_size(f->v), off, "a pointer block", err);
    if (code == VIX_OK) {
        *ret_address = get_address(f->v, bytes + index * address_size(f->v));
        keep_page(f, block, TAKE_PTR(bytes));
    }
    return code;
}

/* ---- the way down ---- */

static VixError levels_of(const struct vmfs_file *f, unsigned *ret_levels, struct err *err)
{
    switch (f->inode.zla) {
    case VMFS_ZLA_BLOCK:
    case VMFS_ZLA_SUB_BLOCK:
        *ret_levels = 0;
        return VIX_OK;
    case VMFS_ZLA_POINTER:
    case VMFS_ZLA_POINTER2:
        *ret_levels = 1;
        return VIX_OK;
    case VMFS_ZLA_DOUBLE:
        *ret_levels = 2;
        return VIX_OK;
    default:
        return vmfs_corrupt(err, "%s: addresses of an unknown arrangement, %" PRIu32, f->path, f->inode.zla);
    }
}

VixError vmfs_find_address(struct vmfs_file *f, uint64_t off, unsigned nesting, uint64_t *ret_address,
                           uint64_t *ret_span, struct err *err)
{
    const struct vmfs *v = f->v;
    const unsigned pointers = pointers_shift(v);
    uint32_t count, first = vmfs_addresses_at(v, &count);
    unsigned levels = 0;

    VixError code = levels_of(f, &levels, err);
    if (code != VIX_OK) {
        return code;
    }
    unsigned block = (unsigned)__builtin_ctzll(f->inode.block_size); /* sizes are powers of two */
    unsigned shift = block + levels * pointers;                      /* of what an address covers; at most 62 */
    uint64_t index = off >> shift;
    if (index >= count) {
        return vmfs_corrupt(err, "%s: byte %" PRIu64 " is beyond what its %" PRIu32 " addresses reach", f->path, off,
                            count);
    }
    uint64_t address = get_address(v, f->inode.bytes + first + index * address_size(v));
    while (shift > block && address != 0) {
        shift -= pointers;
        index = off >> shift & ((UINT64_C(1) << pointers) - 1);
        code = read_pointer(f, address, index, nesting, &address, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    uint64_t span = UINT64_C(1) << shift;
    *ret_address = address;
    *ret_span = span - (off & (span - 1));
    return VIX_OK;
}

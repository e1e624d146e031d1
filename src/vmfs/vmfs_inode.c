/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_inode.c - descriptors of files: read where an address says, and believed only if they know their own place. */
#include "vmfs/vmfs_int.h"

#define LOCK_DESCRIPTOR 0x10C00001u
#define META_SIGNATURE 0x66646D64u /* "fdmd", VMFS 6 */
#define MIN_FILE_BLOCK 512u
#define MAX_FILE_BLOCK (UINT64_C(1) << 36) /* limit: bytes of a block of a file of a volume */
#define MAX_BLOCKS (UINT64_C(1) << 27)     /* limit: blocks of a file of a volume: 64 TiB twice */
#define ADDRESSES_V5 256u
#define ADDRESS_BYTES_V6 2560u

uint32_t vmfs_addresses_at(const struct vmfs *v, uint32_t *ret_count)
{
    if (!v->v6) {
        *ret_count = ADDRESSES_V5;
        return 1024;
    }
    uint32_t bytes = v->md <= 4096 ? ADDRESS_BYTES_V6 : v->md / 2;
    *ret_count = bytes / 8;
    return v->inode_size - bytes;
}

uint32_t vmfs_resident_at(const struct vmfs *v, uint32_t *ret_room)
{
    *ret_room = v->v6 ? v->md - 512 : 1024;
    return v->v6 ? v->md + 512 : 1024;
}

static VixError check_lock_block(const struct vmfs *v, const uint8_t *b, uint64_t off, struct err *err)
{
    if (get_le32(b) != LOCK_DESCRIPTOR || get_le64(b + 4) != off) {
        return vmfs_corrupt(err,
                            "%s: no descriptor of a file at byte %" PRIu64 " of the volume: type 0x%08" PRIx32
                            ", own place %" PRIu64 "; allowed: 0x%08x, the place it is read from",
                            v->luns[0]->path, off, get_le32(b), get_le64(b + 4), LOCK_DESCRIPTOR);
    }
    return VIX_OK;
}

static VixError check_inode(const struct vmfs *v, const struct vmfs_inode *n, struct err *err)
{
    uint32_t room;

    (void)vmfs_resident_at(v, &room);
    if (!is_power_of_two(n->block_size) || n->block_size < MIN_FILE_BLOCK || n->block_size > MAX_FILE_BLOCK ||
        n->length / n->block_size > MAX_BLOCKS) {
        return vmfs_corrupt(err,
                            "%s: the descriptor at byte %" PRIu64 " of the volume has %" PRIu64
                            " bytes in blocks of %" PRIu64 "; allowed: %" PRIu64 " blocks of powers of two from %u on",
                            v->luns[0]->path, n->off, n->length, n->block_size, MAX_BLOCKS, MIN_FILE_BLOCK);
    }
    if (n->zla == VMFS_ZLA_RESIDENT && n->length > room) {
        return vmfs_corrupt(err,
                            "%s: the descriptor at byte %" PRIu64 " of the volume holds a file of %" PRIu64
                            " bytes itself, allowed: %" PRIu32,
                            v->luns[0]->path, n->off, n->length, room);
    }
    return VIX_OK;
}

static VixError parse_inode(const struct vmfs *v, const uint8_t *b, uint64_t off, struct vmfs_inode *n, struct err *err)
{
    const uint8_t *m = b + v->md;

    VixError code = check_lock_block(v, b, off, err);
    if (code == VIX_OK && v->v6 && get_le32(m + 0x64) != META_SIGNATURE) {
        code = vmfs_corrupt(
            err, "%s: the descriptor at byte %" PRIu64 " of the volume has signature 0x%08" PRIx32 ", allowed: 0x%08x",
            v->luns[0]->path, off, get_le32(m + 0x64), META_SIGNATURE);
    }
    if (code != VIX_OK) {
        return code;
    }
    *n = (struct vmfs_inode){
        .off = off,
        .address = get_le32(m),
        .generation = get_le32(m + 4),
        .type = get_le32(m + 0x0C),
        .length = get_le64(m + 0x14),
        .block_size = get_le64(m + 0x1C),
        .zla = get_le32(m + 0x44),
        .to_be_zeroed = get_le32(m + 0x48),
        .token = get_le64(b + 0x1C),
        .lock_mode = get_le32(b + 0x24),
    };
    return check_inode(v, n, err);
}

VixError vmfs_read_inode(const struct vmfs *v, uint64_t off, struct vmfs_inode *ret_inode, struct err *err)
{
    CLEANUP_FREE uint8_t *bytes = alloc_array(1, v->inode_size, err);
    struct vmfs_inode n;

    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vmfs_volume_read(v, bytes, v->inode_size, off, "the place of a descriptor", err);
    if (code == VIX_OK) {
        code = parse_inode(v, bytes, off, &n, err);
    }
    if (code == VIX_OK) {
        n.bytes = TAKE_PTR(bytes);
        *ret_inode = n;
    }
    return code;
}

VixError vmfs_find_inode(struct vmfs *v, uint32_t address, const uint32_t *generation, const char *path,
                         struct vmfs_inode *ret_inode, struct err *err)
{
    struct vmfs_run run;
    struct vmfs_inode n;

    if ((address & VMFS_ADDRESS_TYPE) != VMFS_ADDRESS_INODE) {
        return vmfs_corrupt(err, "%s: 0x%08" PRIx32 " is not the address of a descriptor", path, address);
    }
    uint64_t off = 0;
    VixError code = vmfs_resource_off(v, VMFS_FDC, (address >> 6) & 0xFFFF, address >> 22, &off, err);
    if (code == VIX_OK && (off >= v->system[VMFS_FDC]->inode.length)) {
        code = vmfs_corrupt(err, "%s: its descriptor is beyond the end of .fdc.sf", path);
    }
    if (code == VIX_OK) {
        code = vmfs_map_nested(v->system[VMFS_FDC], off, 1, 0, &run, err);
    }
    if (code == VIX_OK && run.kind != VMFS_DATA) {
        code = vmfs_corrupt(err, "%s: its descriptor is in a hole of .fdc.sf", path);
    }
    if (code == VIX_OK) {
        code = vmfs_read_inode(v, run.volume_off, &n, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (n.address != address || (generation != NULL && n.generation != *generation)) {
        free(n.bytes);
        return vmfs_corrupt(
            err, "%s: the folder says descriptor 0x%08" PRIx32 ", which says 0x%08" PRIx32 ", generation %" PRIu32,
            path, address, n.address, n.generation);
    }
    *ret_inode = n;
    return VIX_OK;
}

VixError vmfs_file_new(struct vmfs *v, const char *path, struct vmfs_inode *inode, struct vmfs_file **ret_file,
                       struct err *err)
{
    struct vmfs_file *f = alloc_zero(sizeof *f, err);
    char *copy = alloc_text(path, err);

    if (f == NULL || copy == NULL) {
        free(f);
        free(copy);
        free(inode->bytes);
        return VIX_E_OUT_OF_MEMORY;
    }
    f->v = v;
    f->path = copy;
    f->inode = *inode;
    (void)pthread_mutex_init(&f->lock, NULL);
    *ret_file = f;
    return VIX_OK;
}

void vmfs_file_close(struct vmfs_file *f)
{
    if (f == NULL) {
        return;
    }
    for (size_t i = 0; i < VMFS_PAGES; i++) {
        free(f->pages[i].bytes);
    }
    (void)pthread_mutex_destroy(&f->lock);
    free(f->inode.bytes);
    free(f->path);
    free(f);
}

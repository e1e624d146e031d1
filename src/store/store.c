/* SPDX-License-Identifier: BSD-3-Clause */
/* Helpers over the two seams. No state; any thread. */
#include "store/store.h"

#include "base/checked.h"

VixError store_read_some(struct store *s, void *buf, uint64_t len, uint64_t off, uint64_t *ret_len, struct err *err)
{
    uint64_t size;
    VixError code = s->ops->size(s, &size, err);

    if (code != VIX_OK) {
        return code;
    }
    len = off < size ? min_u64(len, size - off) : 0;
    if (len > 0) {
        code = store_read(s, buf, len, off, err);
    }
    if (code == VIX_OK) {
        *ret_len = len;
    }
    return code;
}

uint64_t store_fs_kind_max_file(enum store_fs_kind kind)
{
    switch (kind) {
    case STORE_FS_FAT:
        return 0xFFFFFFFF;
    case STORE_FS_NTFS:
        return 0xFFFFFFF0000;
    case STORE_FS_ORDINARY:
    case STORE_FS_EXFAT:
    case STORE_FS_UNKNOWN:
        break;
    }
    return UINT64_MAX;
}

const char *store_fs_kind_name(enum store_fs_kind kind)
{
    switch (kind) {
    case STORE_FS_FAT:
        return "FAT";
    case STORE_FS_NTFS:
        return "NTFS";
    case STORE_FS_EXFAT:
        return "exFAT";
    case STORE_FS_UNKNOWN:
        return "FUSE";
    case STORE_FS_ORDINARY:
        break;
    }
    return "ordinary";
}

VixError store_fs_without_links(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino, struct err *err)
{
    (void)fs;
    (void)real_path;
    (void)dev;
    (void)ino;
    (void)err;
    return VIX_OK;
}

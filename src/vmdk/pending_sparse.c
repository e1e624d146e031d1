/* SPDX-License-Identifier: BSD-3-Clause */
/* pending_sparse.c - built only while extent_sparse.c does not exist. */
#include "vmdk/extent.h"

VixError extent_sparse_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    (void)ret_x;
    return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: this extent type is not supported yet", p->store->path);
}

VixError extent_sparse_create(struct store *store, uint64_t nsectors, const char *descriptor, size_t descriptor_len,
                              struct err *err)
{
    (void)nsectors;
    (void)descriptor;
    (void)descriptor_len;
    return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: this extent type is not supported yet", store->path);
}

uint64_t extent_sparse_full_size(uint64_t nsectors, bool embedded_descriptor)
{
    return (nsectors + embedded_descriptor) * SECTOR_SIZE;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* pending_cowd.c - built only while extent_cowd.c does not exist. */
#include "vmdk/extent.h"

VixError extent_cowd_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    (void)ret_x;
    return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: this extent type is not supported yet", p->store->path);
}

VixError extent_cowd_create(struct store *store, uint64_t nsectors, struct err *err)
{
    (void)nsectors;
    return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: this extent type is not supported yet", store->path);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_zero.c - extents without a file: ZERO, which reads as zeros and takes nothing else, and the extents of any
 * type whose access is NOACCESS, which neither read nor write. No state, no locks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/codec.h"
#include "vmdk/extent.h"

static VixError zero_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                         struct extent_run *ret_run, struct err *err)
{
    (void)x;
    (void)sector;
    (void)flags;
    (void)err;
    *ret_run = (struct extent_run){.kind = RUN_ZERO, .nsectors = nsectors};
    return VIX_OK;
}

static VixError zero_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)x;
    (void)sector;
    (void)err;
    memset(buf, 0, nsectors * SECTOR_SIZE);
    return VIX_OK;
}

static VixError zero_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    (void)x;
    if (!bytes_are_zero(buf, nsectors * SECTOR_SIZE)) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "sectors %" PRIu64 " to %" PRIu64 " lie in a ZERO extent, which holds only zeros", sector,
                       sector + nsectors - 1);
    }
    return VIX_OK;
}

static VixError zero_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                          struct err *err)
{
    (void)x;
    (void)sector;
    (void)nsectors;
    (void)source;
    (void)ctx;
    return err_set(err, VIX_E_NOT_SUPPORTED, "an extent without a file takes no data");
}

static VixError zero_flush(struct extent *x, struct err *err)
{
    (void)x;
    (void)err;
    return VIX_OK;
}

static VixError zero_close(struct extent *x, struct err *err)
{
    (void)err;
    free(x);
    return VIX_OK;
}

/* ---- NOACCESS ---- */

static VixError no_access(uint64_t sector, uint64_t nsectors, struct err *err)
{
    return err_set(err, VIX_E_FILE_ACCESS_ERROR,
                   "sectors %" PRIu64 " to %" PRIu64 " lie in an extent that the descriptor marks NOACCESS", sector,
                   sector + nsectors - 1);
}

static VixError noaccess_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                             struct extent_run *ret_run, struct err *err)
{
    (void)x;
    (void)flags;
    (void)ret_run;
    return no_access(sector, nsectors, err);
}

static VixError noaccess_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)x;
    (void)buf;
    return no_access(sector, nsectors, err);
}

static VixError noaccess_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    (void)x;
    (void)buf;
    return no_access(sector, nsectors, err);
}

static VixError new_extent(const struct extent_ops *ops, const struct extent_open_params *p, struct extent **ret_x,
                           struct err *err)
{
    struct extent *x = alloc_zero(sizeof *x, err);

    if (x == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    x->ops = ops;
    x->nsectors = p->nsectors;
    x->writable = p->writable;
    x->preallocated = true;
    *ret_x = x;
    return VIX_OK;
}

static const struct extent_ops zero_ops = {
    .name = "ZERO",
    .map = zero_map,
    .map_many = extent_map_one,
    .read_coded = zero_read_coded,
    .write = zero_write,
    .pull = zero_pull,
    .flush = zero_flush,
    .close = zero_close,
};

static const struct extent_ops noaccess_ops = {
    .name = "NOACCESS",
    .map = noaccess_map,
    .map_many = extent_map_one,
    .read_coded = noaccess_read_coded,
    .write = noaccess_write,
    .pull = zero_pull,
    .flush = zero_flush,
    .close = zero_close,
};

VixError extent_zero_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    return new_extent(&zero_ops, p, ret_x, err);
}

VixError extent_noaccess_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    return new_extent(&noaccess_ops, p, ret_x, err);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* extent.c - entries of struct extent_ops that several kinds of extents share. Knows no file, takes no lock. */
#include "vmdk/extent.h"

VixError extent_map_one(struct extent *x, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err)
{
    struct extent_run run;
    VixError code = x->ops->map(x, sector, nsectors, EXTENT_MAP_STATUS | EXTENT_MAP_FLAT_HOLES, &run, err);

    if (code == VIX_OK) {
        extent_units_set_one(ret_units, run.nsectors, run.kind == RUN_DATA || run.kind == RUN_CODED);
    }
    return code;
}

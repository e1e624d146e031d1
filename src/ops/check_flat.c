/* SPDX-License-Identifier: BSD-3-Clause */
/* check_flat.c - the pass over raw extents. Invariant: the file reaches to the end of the extent. */
#include <inttypes.h>

#include "base/checked.h"
#include "ops/check_int.h"

VixError check_flat(struct check_file *f, struct err *err)
{
    uint64_t have = f->len / SECTOR_SIZE, end = f->offset + f->nsectors; /* both below 2^54 by the parser */

    (void)err;
    if (end > have) {
        uint64_t missing = min_u64(end - have, f->nsectors);
        (void)check_found(f->c, PROBLEM_FLAT_SHORT, f->len, f->first + f->nsectors - missing, missing,
                          "the file has %" PRIu64 " bytes, the extent ends at byte %" PRIu64, f->len,
                          end * SECTOR_SIZE);
    }
    return VIX_OK;
}

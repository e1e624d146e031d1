/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_directory.c - reads the grain directories of a hosted sparse extent that is opened for writing. One thread. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/sparse_int.h"

#define CHUNK_ENTRIES 8192u /* read at once */

/* Takes n entries that were read, from number at on. An entry that is not where the regular layout has it ends that. */
static VixError take_entries(struct sparse_directory *d, uint64_t count, uint64_t at, const uint8_t *bytes, uint64_t n,
                             struct err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t gde = get_le32(bytes + 4 * i);
        if (at + i == 0) {
            d->first = gde;
        }
        if (d->entries == NULL && (gde <= GDE_ALL_ZERO || gde != d->first + (at + i) * d->step)) {
            d->entries = alloc_array(count, sizeof(d->entries[0]), err);
            if (d->entries == NULL) {
                return VIX_E_OUT_OF_MEMORY;
            }
            for (uint64_t k = 0; k < at + i; k++) {
                atomic_init(&d->entries[k], (uint32_t)(d->first + k * d->step));
            }
        }
        if (d->entries != NULL) {
            atomic_init(&d->entries[at + i], gde);
        }
    }
    return VIX_OK;
}

VixError sparse_directory_load(struct sparse_extent *s, uint64_t sector, struct sparse_directory *ret_dir,
                               struct err *err)
{
    uint64_t count = s->h.gt_count;
    CLEANUP_FREE uint8_t *bytes = alloc_array(min_u64(count, CHUNK_ENTRIES), 4, err);
    struct sparse_directory d = {.present = true, .step = s->h.gt_sectors};
    VixError e = bytes != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint64_t at = 0, n; e == VIX_OK && at < count; at += n) {
        n = min_u64(count - at, CHUNK_ENTRIES);
        e = store_read(s->g.x.store, bytes, n * 4, sector * SECTOR_SIZE + at * 4, err);
        if (e == VIX_OK) {
            e = take_entries(&d, count, at, bytes, n, err);
        }
    }
    if (e != VIX_OK) {
        sparse_directory_done(&d);
        return e;
    }
    *ret_dir = d;
    return VIX_OK;
}

void sparse_directory_done(struct sparse_directory *d)
{
    free(d->entries);
}

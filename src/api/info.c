/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told about an open disk, and which parts of it hold data. */
#include "api/api.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/ops.h"

VixError VixDiskLib_GetInfo(VixDiskLibHandle diskHandle, VixDiskLibInfo **info)
{
    struct api_call call;
    struct disk *d;
    struct disk_info made;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, info, "place for the information");
    }
    VixDiskLibInfo *room = code == VIX_OK ? alloc_zero(sizeof *room, &call.err) : NULL;
    if (code == VIX_OK && room == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK) {
        code = d->ops->info(d, &made, &call.err);
    }
    if (code == VIX_OK) {
        *room = made.info; /* with its strings */
        *info = room;
    } else {
        free(room);
    }
    return call_end(&call, code);
}

void VixDiskLib_FreeInfo(VixDiskLibInfo *info)
{
    if (info != NULL) {
        free(info->parentFileNameHint);
        free(info->uuid);
        free(info);
    }
}

const char *VixDiskLib_GetTransportMode(VixDiskLibHandle diskHandle)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    const char *transport = code == VIX_OK ? d->ops->transport : NULL;
    (void)call_end(&call, code);
    return transport;
}

/* ---- allocated blocks ---- */

/** Checks the arguments of a query and clips its range. A range may reach beyond the end of the disk, and its last
 * chunk may be a short one there: programs ask for whole chunks up to a capacity that is no multiple of them. */
static VixError check_query(const struct disk *d, uint64_t sector, uint64_t *nsectors, uint64_t chunk, struct err *err)
{
    if (chunk < VIXDISKLIB_MIN_CHUNK_SIZE) {
        return err_set(err, VIX_E_INVALID_ARG, "a chunk of %" PRIu64 " sectors is too small: the least is %d", chunk,
                       VIXDISKLIB_MIN_CHUNK_SIZE);
    }
    if (sector >= d->capacity) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "the range begins at sector %" PRIu64 ", beyond the capacity of %" PRIu64 " sectors", sector,
                       d->capacity);
    }
    bool to_the_end = *nsectors >= d->capacity - sector;
    if (sector % chunk != 0 || (*nsectors % chunk != 0 && !to_the_end)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%" PRIu64 " sectors at sector %" PRIu64 ": not multiples of the chunk of %" PRIu64 " sectors",
                       *nsectors, sector, chunk);
    }
    *nsectors = min_u64(*nsectors, d->capacity - sector);
    if (div_up(*nsectors, chunk) > VIXDISKLIB_MAX_CHUNK_NUMBER) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%" PRIu64 " sectors in chunks of %" PRIu64 " are more than %d chunks, the most of one call",
                       *nsectors, chunk, VIXDISKLIB_MAX_CHUNK_NUMBER);
    }
    return VIX_OK;
}

static size_t list_bytes(uint64_t nblocks)
{
    return offsetof(VixDiskLibBlockList, blocks) + nblocks * sizeof(VixDiskLibBlock);
}

/** Makes room for as many blocks as there can be, 4 MiB at most. What is not used was not touched, and so is no memory
 * yet; it is given back if it is most of it. */
static VixError query_blocks(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t chunk,
                             VixDiskLibBlockList **ret_list, struct err *err)
{
    VixError code = check_query(d, sector, &nsectors, chunk, err);
    if (code != VIX_OK) {
        return code;
    }
    uint64_t room = ops_allocated_most(nsectors, chunk);
    VixDiskLibBlockList *list = malloc(list_bytes(room));
    if (list == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "no memory for a list of %" PRIu64 " blocks", room);
    }
    code = ops_allocated(d, sector, nsectors, chunk, list->blocks, &list->numBlocks, err);
    if (code != VIX_OK) {
        free(list);
        return code;
    }
    VixDiskLibBlockList *shrunk = list->numBlocks < room / 4 ? realloc(list, list_bytes(list->numBlocks)) : NULL;
    *ret_list = shrunk != NULL ? shrunk : list;
    return VIX_OK;
}

VixError VixDiskLib_QueryAllocatedBlocks(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                         VixDiskLibSectorType numSectors, VixDiskLibSectorType chunkSize,
                                         VixDiskLibBlockList **blockList)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, blockList, "place for the list");
    }
    if (code == VIX_OK) {
        code = query_blocks(d, startSector, numSectors, chunkSize, blockList, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_FreeBlockList(VixDiskLibBlockList *blockList)
{
    free(blockList);
    return VIX_OK;
}

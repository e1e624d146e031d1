/* SPDX-License-Identifier: BSD-3-Clause */
/* changes.c - changed areas: of disks on servers by their change tracking, of local disks by the links of the chain. */
#include "changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_ID_CID 8 /* hex digits in front of the blank and the file */

struct teller {
    change_func *func;
    void *ctx;
    int depth; /* only what lies above this link */
    bool stopped;
};

static Bool tell_area(void *data, uint64 start, uint64 length)
{
    struct teller *t = data;
    t->stopped = !t->func(t->ctx, start, length);
    return !t->stopped;
}

static Bool tell_run(void *data, const VixDiskLibExt_Run *run)
{
    struct teller *t = data;
    bool above = run->present && run->depth < t->depth;
    t->stopped = (above && !t->func(t->ctx, run->startBytes, run->lengthBytes)) ||
                 !t->func(t->ctx, run->startBytes + run->lengthBytes, 0);
    return !t->stopped;
}

VixError changes_above(const struct change_source *source, int depth, uint64_t start, uint64_t end, change_func *func,
                       void *ctx)
{
    struct teller t = {.func = func, .ctx = ctx, .depth = depth};
    uint64_t last = end != 0 ? end : source->capacity;
    VixError code = VixDiskLibExt_Map(source->disk, start / SECTOR_BYTES, (last - start) / SECTOR_BYTES, tell_run, &t);
    return code == VIX_OK && t.stopped ? VIX_E_CANCELLED : code;
}

/** The ID of a link. */
static char *link_id(const VixDiskLibExt_Link *link)
{
    char *id = NULL;
    char *real = link->file != NULL ? realpath(link->file, NULL) : NULL;
    if (real != NULL && asprintf(&id, "%0*x %s", LOCAL_ID_CID, link->cid, real) < 0) {
        id = NULL;
    }
    free(real);
    return id;
}

VixError changes_local_id(VixDiskLibHandle disk, char **ret_id)
{
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLibExt_GetDetails(disk, &details);
    if (code == VIX_OK) {
        bool told = details->numLinks > 0 && !details->hasWriter;
        *ret_id = told ? link_id(&details->links[0]) : NULL;
        code = told && *ret_id == NULL ? VIX_E_OUT_OF_MEMORY : VIX_OK;
        VixDiskLibExt_FreeDetails(details);
    }
    return code;
}

/** The depth of the link that an ID is of. A link below the top has not been written since, for its child names its
 * content ID; the top link's own changes with the first write of each time that it is open. */
static VixError depth_of(VixDiskLibHandle disk, const char *id, int *ret_depth)
{
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLibExt_GetDetails(disk, &details);
    if (code != VIX_OK) {
        return code;
    }
    code = VIX_E_DISK_CID_MISMATCH;
    for (uint32 i = 0; i < details->numLinks && code != VIX_OK; i++) {
        char *own = link_id(&details->links[i]);
        if (own != NULL && strcmp(own, id) == 0) {
            *ret_depth = (int)i;
            code = VIX_OK;
        }
        free(own);
    }
    VixDiskLibExt_FreeDetails(details);
    return code;
}

VixError changes_tell(const struct change_source *source, const char *id, uint64_t start, uint64_t end,
                      change_func *func, void *ctx)
{
    struct teller t = {.func = func, .ctx = ctx};
    int depth = 0;
    if (source->server != NULL) {
        uint64_t last = end != 0 ? end : source->capacity;
        return VixDiskLibExt_QueryChangedAreas(source->server, source->file, source->snapshot, id, start, last,
                                               tell_area, &t);
    }
    VixError code = depth_of(source->disk, id, &depth);
    return code == VIX_OK ? changes_above(source, depth, start, end, func, ctx) : code;
}

static bool follows(const char *id, const char *now)
{
    const char *slash_id = strrchr(id, '/');
    const char *slash_now = strrchr(now, '/');
    size_t len = slash_id != NULL ? (size_t)(slash_id - id) : 0;
    return slash_id != NULL && slash_now != NULL && len == (size_t)(slash_now - now) && memcmp(id, now, len) == 0 &&
           strtoull(slash_id + 1, NULL, 10) <= strtoull(slash_now + 1, NULL, 10);
}

VixError changes_includes(const struct change_source *source, const char *now, const char *id, bool *ret_includes)
{
    int depth;
    if (source->server != NULL) {
        *ret_includes = follows(id, now);
        return VIX_OK;
    }
    VixError code = depth_of(source->disk, id, &depth);
    *ret_includes = code == VIX_OK;
    return code == VIX_E_DISK_CID_MISMATCH ? VIX_OK : code;
}

bool changes_is_unknown(VixError code)
{
    return code == VIX_E_INVALID_ARG || code == VIX_E_FILE_ACCESS_ERROR || code == VIX_E_FILE_NOT_FOUND ||
           code == VIX_E_NOT_SUPPORTED || code == VIX_E_FAIL || code == VIX_E_DISK_CID_MISMATCH;
}

static bool ignore_area(void *ctx, uint64_t start, uint64_t length)
{
    (void)ctx;
    (void)start;
    (void)length;
    return true;
}

VixError changes_known(const struct change_source *source, const char *id, bool *ret_known)
{
    VixError code = changes_tell(source, id, source->capacity - SECTOR_BYTES, source->capacity, ignore_area, NULL);
    bool unknown = changes_is_unknown(code);
    if (code == VIX_OK || unknown) {
        *ret_known = !unknown;
    }
    return unknown ? VIX_OK : code;
}

const VixDiskLibExt_VmDisk *changes_find_disk(const VixDiskLibExt_Vm *vm, const char *file)
{
    for (uint32 i = 0; i < vm->numDisks; i++) {
        for (uint32 k = 0; k < vm->disks[i].numFiles; k++) {
            if (strcmp(vm->disks[i].files[k], file) == 0) {
                return &vm->disks[i];
            }
        }
    }
    return NULL;
}

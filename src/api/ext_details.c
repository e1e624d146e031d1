/* SPDX-License-Identifier: BSD-3-Clause */
/* VixDiskLibExt_GetDetails: the links and extents of a chain, copied into one piece of memory. */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "api/arena.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "store/store.h"

static const char *access_word(enum extent_access access)
{
    switch (access) {
    case ACCESS_RW:
        return "RW";
    case ACCESS_RDONLY:
        return "RDONLY";
    case ACCESS_NONE:
    default:
        return "NOACCESS";
    }
}

/** A size that the file system does not tell is shown as 0. */
static void file_sizes(struct store *s, uint64_t *ret_size, uint64_t *ret_allocated)
{
    if (s != NULL) {
        (void)s->ops->size(s, ret_size, NULL);
        (void)s->ops->allocated(s, ret_allocated, NULL);
    }
}

static void copy_extent(struct arena *a, const struct link *l, size_t index, VixDiskLibExt_Extent *to)
{
    const struct extent_line *line = &l->desc->extents[index];
    const struct link_extent *e = index < l->extent_count ? &l->extents[index] : NULL;
    const char *file = arena_text(a, e != NULL && e->store != NULL ? e->store->path : line->name);

    if (to == NULL) {
        return;
    }
    to->file = file;
    to->type = extent_type_word(line->type);
    to->access = access_word(line->access);
    to->numSectors = line->nsectors;
    to->offsetSectors = line->offset;
    if (e != NULL && e->x != NULL) {
        to->grainSectors = e->x->grain_sectors;
        to->compressed = e->x->compressed;
    }
    file_sizes(e != NULL ? e->store : NULL, &to->fileBytes, &to->allocatedBytes);
}

/** The space of a link's files, each counted once. */
static uint64_t link_allocated(const struct link *l)
{
    uint64_t sum = 0;
    uint64_t size = 0;
    bool counted = false;

    for (size_t i = 0; i < l->extent_count; i++) {
        uint64_t bytes = 0;
        counted = counted || l->extents[i].store == l->store;
        if (l->extents[i].owns_store || l->extents[i].store == l->store) {
            file_sizes(l->extents[i].store, &size, &bytes);
        }
        sum += bytes;
    }
    if (!counted) {
        uint64_t bytes = 0;
        file_sizes(l->store, &size, &bytes);
        sum += bytes;
    }
    return sum;
}

static void copy_link(struct arena *a, struct link *l, VixDiskLibExt_Link *to)
{
    SCOPED_LOCK(&l->meta_lock);
    VixDiskLibExt_Extent *extents = arena_take(a, l->desc->extent_count * sizeof *extents);

    for (size_t i = 0; i < l->desc->extent_count; i++) {
        copy_extent(a, l, i, extents != NULL ? &extents[i] : NULL);
    }
    VixDiskLibExt_Link copy = {
        .file = arena_text(a, l->path),
        .createType = arena_text(a, l->desc->create_type),
        .parentHint = arena_text(a, l->desc->parent_hint),
        .changeTrackFile = arena_text(a, l->desc->change_track_path),
        .cid = l->desc->cid,
        .parentCid = l->desc->parent_cid,
        .numExtents = (uint32)l->desc->extent_count,
        .extents = extents,
    };
    if (to != NULL) {
        *to = copy;
    }
}

static VixDiskLibExt_Details *copy_chain(struct arena *a, const struct chain *c)
{
    VixDiskLibExt_Details *d = arena_take(a, sizeof *d);
    VixDiskLibExt_Link *links = arena_take(a, c->link_count * sizeof *links);
    uint64_t allocated = 0;

    for (size_t i = 0; i < c->link_count; i++) {
        copy_link(a, c->links[i], links != NULL ? &links[i] : NULL);
        allocated += links != NULL ? link_allocated(c->links[i]) : 0;
    }
    if (d != NULL) {
        *d = (VixDiskLibExt_Details){.format = "vmdk",
                                     .capacity = c->capacity,
                                     .allocatedBytes = allocated,
                                     .numLinks = (uint32)c->link_count,
                                     .links = links,
                                     .hasWriter = chain_has_writer(c)};
    }
    return d;
}

/** The files that the hardware of the machine names; what is in them only their host knows. */
static VixDiskLibExt_Link *copy_hardware(struct arena *a, const struct disk_hardware *h)
{
    VixDiskLibExt_Link *links = arena_take(a, h->file_count * sizeof *links);

    for (size_t i = 0; i < h->file_count; i++) {
        VixDiskLibExt_Link copy = {
            .file = arena_text(a, h->files[i]),
            .parentHint = arena_text(a, i + 1 < h->file_count ? h->files[i + 1] : NULL),
            .cid = i == 0 ? h->cid : 0,
        };
        if (links != NULL) {
            links[i] = copy;
        }
    }
    return links;
}

static VixDiskLibExt_Details *copy_remote(struct arena *a, const struct disk *remote)
{
    const struct disk_hardware *h = remote->hardware;
    VixDiskLibExt_Details *d = arena_take(a, sizeof *d);
    VixDiskLibExt_Link *links = h != NULL ? copy_hardware(a, h) : NULL;

    if (d != NULL) {
        *d = (VixDiskLibExt_Details){.format = "vmdk", .capacity = remote->capacity};
    }
    if (d != NULL && h != NULL) {
        d->numLinks = (uint32)h->file_count;
        d->links = links;
        d->thin = h->thin;
    }
    return d;
}

static VixDiskLibExt_Details *copy_raw(struct arena *a, struct disk *raw)
{
    VixDiskLibExt_Details *d = arena_take(a, sizeof *d);
    uint64_t size = 0;
    uint64_t allocated = 0;

    if (d != NULL) {
        file_sizes(disk_raw_store(raw), &size, &allocated);
        *d = (VixDiskLibExt_Details){.format = "raw", .capacity = raw->capacity, .allocatedBytes = allocated};
    }
    return d;
}

static VixDiskLibExt_Details *copy_details(struct arena *a, struct disk *d)
{
    const struct chain *chain = disk_local_chain(d);

    if (disk_is_remote(d)) {
        return copy_remote(a, d);
    }
    return chain != NULL ? copy_chain(a, chain) : copy_raw(a, d);
}

/** No text of a descriptor that is shown here changes its length while the disk is open: only content IDs do. */
static VixError get_details(struct disk *d, VixDiskLibExt_Details **ret_details, struct err *err)
{
    struct arena a = {0};

    (void)copy_details(&a, d);
    a.base = alloc_zero(a.used, err);
    if (a.base == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    a.used = 0;
    *ret_details = copy_details(&a, d);
    return VIX_OK;
}

VixError VixDiskLibExt_GetDetails(VixDiskLibHandle diskHandle, VixDiskLibExt_Details **details)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, details, "place for the details");
    }
    if (code == VIX_OK) {
        code = get_details(d, details, &call.err);
    }
    return call_end(&call, code);
}

void VixDiskLibExt_FreeDetails(VixDiskLibExt_Details *details)
{
    free(details);
}

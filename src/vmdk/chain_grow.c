/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_grow.c - makes disks larger. What the old descriptor does not see comes first (longer files, new extents), the
 * descriptor last, in one step: until then the disk has its old capacity. One thread per chain. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/create_int.h"
#include "vmdk/link.h"
#include "vmdk/rebuild.h"

/** A disk that grows. */
struct growing {
    struct chain *c;
    struct link *l;
    const struct disk_layout *layout;
    struct descriptor *changed;
    uint64_t capacity;
    uint64_t last_sectors; /* of the last extent that is there already, as it will be */
    char **made;           /* paths of new extents */
    size_t made_count;
    bool described; /* the new descriptor is there, or may be: new extents belong to the disk */
};

/* ---- whether it can be done ---- */

static VixError check_can_grow(const struct growing *g, struct err *err)
{
    const struct link *l = g->l;

    if (g->c->link_count > 1 || link_has_parent(l)) {
        return err_set(err, VIX_E_DISK_PARTIALCHAIN,
                       "%s has a parent: all links of a chain must have the same capacity, so only a disk without "
                       "parent can grow",
                       l->path);
    }
    if (g->capacity < l->capacity) {
        return err_set(err, VIX_E_INVALID_ARG, "%s has %" PRIu64 " sectors, it cannot be made smaller (%" PRIu64 ")",
                       l->path, l->capacity, g->capacity);
    }
    if (g->layout == NULL || g->layout->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED ||
        g->layout->extent_type == EXTENT_VMFSSPARSE || l->extent_count != l->desc->extent_count) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: disks of type %s cannot grow: convert it to another type",
                       l->path, l->desc->create_type);
    }
    for (size_t i = 0; i < l->extent_count; i++) {
        const struct extent_line *line = &l->desc->extents[i];
        if (line->type != g->layout->extent_type || line->access != ACCESS_RW || line->offset != 0) {
            return err_set(err, VIX_E_NOT_SUPPORTED, "%s: extent %zu is not as a disk of type %s has it", l->path,
                           i + 1, l->desc->create_type);
        }
    }
    return VIX_OK;
}

static VixError check_limits(const struct growing *g, bool allow_over_2tb, struct err *err)
{
    struct disk_layout layout = *g->layout;
    const struct create_params p = {
        .type = g->layout->type,
        .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
        .capacity = g->capacity,
        .allow_over_2tb = allow_over_2tb,
    };

    layout.preallocated = false; /* only what is added takes space: that is seen when it is taken */
    return create_check(g->l->fs, g->l->path, &layout, &p, err);
}

/* ---- the new descriptor ---- */

static VixError set_geometry(struct descriptor *d, uint64_t capacity, struct err *err)
{
    const char *word = descriptor_ddb_get(d, "adapterType");
    struct disk_geometry geometry = geometry_for(adapter_of_word(word != NULL ? word : "lsilogic"), capacity);
    const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"geometry.cylinders", geometry.cylinders},
                {"geometry.heads", geometry.heads},
                {"geometry.sectors", geometry.sectors}};
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < sizeof keys / sizeof keys[0]; i++) {
        CLEANUP_FREE char *text = alloc_printf(err, "%" PRIu32, keys[i].value);
        code = text != NULL ? descriptor_ddb_set(d, keys[i].key, text, err) : VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

/** The capacity of the last extent, and lines for those that are added. */
static VixError plan(struct growing *g, bool update_geometry, struct err *err)
{
    const struct link *l = g->l;
    size_t last = l->desc->extent_count - 1;
    uint64_t old = l->desc->extents[last].nsectors;
    uint64_t more = g->capacity - l->capacity;

    g->last_sectors = old + more;
    if (g->layout->split) {
        g->last_sectors = old + (old < SPLIT_EXTENT_SECTORS ? min_u64(more, SPLIT_EXTENT_SECTORS - old) : 0);
    }
    more -= g->last_sectors - old;
    VixError code = link_copy_descriptor(l, &g->changed, err);
    if (code == VIX_OK) {
        code = descriptor_set_extent(g->changed, last, g->last_sectors, g->changed->extents[last].name, err);
    }
    g->made = alloc_array((size_t)div_up(more, SPLIT_EXTENT_SECTORS), sizeof *g->made, err);
    if (code == VIX_OK && g->made == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    while (code == VIX_OK && more > 0) {
        uint64_t n = min_u64(more, SPLIT_EXTENT_SECTORS);
        CLEANUP_FREE char *path = layout_extent_name(l->real_path, g->layout, g->changed->extent_count, err);
        code = path == NULL ? VIX_E_OUT_OF_MEMORY
                            : descriptor_add_extent(g->changed, ACCESS_RW, n, g->layout->extent_type,
                                                    store_path_base(path), g->layout->offset, err);
        more -= n;
    }
    return code == VIX_OK && update_geometry ? set_geometry(g->changed, g->capacity, err) : code;
}

/* ---- the files ---- */

/** Bytes behind the end of the disk are nobody's, but the new sectors must be zeros: they go first. */
static VixError lengthen(const struct growing *g, struct store *s, uint64_t from, uint64_t to, struct err *err)
{
    VixError code = s->ops->truncate(s, from * SECTOR_SIZE, err);

    if (code == VIX_OK) {
        code = g->layout->thin ? s->ops->truncate(s, to * SECTOR_SIZE, err)
                               : s->ops->preallocate(s, from * SECTOR_SIZE, (to - from) * SECTOR_SIZE, err);
    }
    if (code != VIX_OK) {
        (void)s->ops->truncate(s, from * SECTOR_SIZE, NULL);
        return code;
    }
    return s->ops->flush(s, err);
}

/** Puts a larger copy of a sparse extent in its place. For a monolithic disk that is the whole change. */
static VixError enlarge_sparse(const struct growing *g, size_t index, struct err *err)
{
    struct rebuild r = {.c = g->c, .index = index, .desc = g->changed, .nsectors = g->last_sectors};
    struct store_fs *fs = g->l->fs;
    struct store *store = NULL;
    char *made = NULL;

    VixError code = rebuild_check(g->c, index, err);
    if (code == VIX_OK) {
        code = rebuild_file(&r, &made, &store, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *path = made;
    store_close(store);
    code = fs->ops->rename(fs, path, rebuild_target(g->c, index), err);
    if (code != VIX_OK) {
        (void)fs->ops->unlink(fs, path, NULL);
        return code;
    }
    return fs->ops->sync_folder(fs, g->l->real_path, err);
}

static VixError enlarge_last(const struct growing *g, struct err *err)
{
    size_t last = g->l->extent_count - 1;
    const struct link_extent *e = &g->l->extents[last];

    if (g->last_sectors == e->x->nsectors) {
        return VIX_OK;
    }
    if (g->layout->extent_type == EXTENT_SPARSE) {
        return enlarge_sparse(g, last, err);
    }
    return lengthen(g, e->store, e->x->nsectors, g->last_sectors, err);
}

static VixError fill_new(const struct growing *g, struct store *s, uint64_t nsectors, struct err *err)
{
    return g->layout->extent_type == EXTENT_SPARSE ? extent_sparse_create(s, nsectors, NULL, 0, err)
                                                   : lengthen(g, s, 0, nsectors, err);
}

/** New extents have temporary names at first, so that what is found under the name of an extent is complete. */
static VixError make_new_extents(struct growing *g, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = g->l->desc->extent_count; code == VIX_OK && i < g->changed->extent_count; i++) {
        struct store *s = NULL;
        CLEANUP_FREE char *path = layout_extent_name(g->l->real_path, g->layout, i, err);
        code = path == NULL ? VIX_E_OUT_OF_MEMORY
                            : link_create_temp(g->l, path, g->l->extents[0].real_path, g->l->extents[0].store->mode,
                                               &g->made[g->made_count], &s, err);
        if (code != VIX_OK) {
            return code;
        }
        g->made_count++;
        code = fill_new(g, s, g->changed->extents[i].nsectors, err);
        store_close(s);
    }
    return code;
}

/** Gives a new extent its name. What an earlier grow has left there gives way; anything else stays. */
static VixError name_new_extent(struct growing *g, size_t index, struct err *err)
{
    struct store_fs *fs = g->l->fs;
    char **made = &g->made[index - g->l->desc->extent_count];
    CLEANUP_FREE char *path = layout_extent_name(g->l->real_path, g->layout, index, err);

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->rename_new(fs, *made, path, err);
    if (code == VIX_E_FILE_ALREADY_EXISTS && grow_is_leftover(fs, path, g->layout->extent_type == EXTENT_SPARSE)) {
        code = fs->ops->rename(fs, *made, path, err);
    }
    if (code == VIX_OK) {
        free(*made);
        *made = TAKE_PTR(path);
    }
    return code;
}

static VixError name_new_extents(struct growing *g, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = g->l->desc->extent_count; code == VIX_OK && i < g->changed->extent_count; i++) {
        code = name_new_extent(g, i, err);
    }
    return code == VIX_OK && g->made_count > 0 ? g->l->fs->ops->sync_folder(g->l->fs, g->l->real_path, err) : code;
}

static void growing_done(struct growing *g)
{
    for (size_t i = 0; i < g->made_count; i++) {
        if (!g->described) {
            (void)g->l->fs->ops->unlink(g->l->fs, g->made[i], NULL);
        }
        free(g->made[i]);
    }
    free(g->made);
    descriptor_free(g->changed);
}

static VixError grow_files(struct growing *g, struct err *err)
{
    struct link *l = g->l;
    bool monolithic = l->self_extent;

    VixError code = make_new_extents(g, err);
    if (code == VIX_OK) {
        code = enlarge_last(g, err);
    }
    if (code == VIX_OK) {
        code = name_new_extents(g, err);
    }
    if (code != VIX_OK || monolithic) {
        return code;
    }
    struct descriptor *changed = g->changed;
    const struct store *before = l->store;
    g->changed = NULL;
    code = link_replace_descriptor_locked(l, changed, err);
    g->described = code == VIX_OK || l->embedded || l->store != before;
    return code;
}

VixError chain_grow(struct chain *c, uint64_t capacity, bool update_geometry, bool allow_over_2tb, struct err *err)
{
    struct growing g = {.c = c, .l = c->links[0], .layout = layout_of(chain_disk_type(c)), .capacity = capacity};

    VixError code = check_can_grow(&g, err);
    if (code == VIX_OK && capacity == g.l->capacity) {
        return VIX_OK;
    }
    if (code == VIX_OK) {
        code = check_limits(&g, allow_over_2tb, err);
    }
    if (code == VIX_OK) {
        code = chain_flush(c, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    SCOPED_LOCK(&g.l->meta_lock);
    code = plan(&g, update_geometry, err);
    if (code == VIX_OK) {
        code = grow_files(&g, err);
    }
    growing_done(&g);
    return code;
}

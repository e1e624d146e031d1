/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c - makes the files of a new disk: extents first, the descriptor last, so that nothing half-made looks like a
 * disk. No file is ever overwritten; on failure every file that was made is removed. Any thread. */
#include "vmdk/create.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/chain.h"
#include "vmdk/create_int.h"

#define FILE_MODE 0666u                                /* less the umask */
#define PREALLOCATE_STEP (UINT64_C(256) * 1024 * 1024) /* bytes between two calls of progress */
#define VMDK_EXTENSION ".vmdk"

/** A disk being made. */
struct making {
    struct store_fs *fs;
    const struct create_params *p;
    const struct disk_layout *layout;
    char **names; /* descriptor first */
    size_t made;  /* how many of names, from the first extent on, exist by our hand */
    bool made_descriptor;
    void (*progress)(void *ctx, int percent);
    void *progress_ctx;
    uint64_t done; /* bytes preallocated */
};

/* ---- names ---- */

/** The length of path without its ".vmdk". */
static size_t stem_length(const char *path)
{
    size_t len = strlen(path), tail = strlen(VMDK_EXTENSION);
    bool has = strlen(store_path_base(path)) > tail && strcasecmp(path + len - tail, VMDK_EXTENSION) == 0;

    return has ? len - tail : len;
}

char *layout_extent_name(const char *path, const struct disk_layout *layout, uint64_t index, struct err *err)
{
    int stem = (int)stem_length(path);

    if (layout->split) {
        return alloc_printf(err, "%.*s%s%03" PRIu64 VMDK_EXTENSION, stem, path, layout->suffix, index + 1);
    }
    return alloc_printf(err, "%.*s%s" VMDK_EXTENSION, stem, path, layout->suffix);
}

VixError vmdk_create_names(const char *path, VixDiskLibDiskType type, uint64_t capacity, char ***ret_paths,
                           struct err *err)
{
    const struct disk_layout *layout = layout_of(type);

    if (layout == NULL || capacity == 0 || capacity > layout->format_max) {
        return err_set(err, VIX_E_INVALID_ARG, "disks of type %d and %" PRIu64 " sectors cannot be made", (int)type,
                       capacity);
    }
    uint64_t count = layout->suffix != NULL ? layout_extent_count(layout, capacity) : 0;
    char **paths = alloc_array((size_t)count + 2, sizeof *paths, err);
    if (paths == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    paths[0] = alloc_text(path, err);
    bool complete = paths[0] != NULL;
    for (uint64_t i = 0; complete && i < count; i++) {
        paths[i + 1] = layout_extent_name(path, layout, i, err);
        complete = paths[i + 1] != NULL;
    }
    if (!complete) {
        chain_files_free(paths);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_paths = paths;
    return VIX_OK;
}

static VixError check_names_free(const struct making *m, struct err *err)
{
    for (size_t i = 0; m->names[i] != NULL; i++) {
        if (m->fs->ops->exists(m->fs, m->names[i])) {
            return err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: the file exists already%s%s", m->names[i],
                           i > 0 ? "; it would be an extent of " : "", i > 0 ? m->names[0] : "");
        }
    }
    return VIX_OK;
}

/* ---- the text ---- */

static VixError add_extents(const struct making *m, struct descriptor *d, struct err *err)
{
    const struct disk_layout *layout = m->layout;
    uint64_t count = layout_extent_count(layout, m->p->capacity);
    VixError code = VIX_OK;

    for (uint64_t i = 0; code == VIX_OK && i < count; i++) {
        const char *name = m->names[layout->suffix != NULL ? i + 1 : 0];
        code = descriptor_add_extent(d, layout->access, layout_extent_sectors(layout, m->p->capacity, i),
                                     layout->extent_type, store_path_base(name), layout->offset, err);
    }
    return code;
}

static VixError make_text(const struct making *m, char **ret_text, size_t *ret_len, struct err *err)
{
    const struct create_params *p = m->p;
    bool child = p->parent_hint != NULL;
    struct descriptor *d = NULL;

    VixError code = descriptor_new(create_type_of(p->type), child ? random_cid() : CID_FRESH,
                                   child ? p->parent_cid : CID_NO_PARENT, p->parent_hint, &d, err);
    if (code != VIX_OK) {
        return code;
    }
    code = add_extents(m, d, err);
    if (code == VIX_OK) {
        code = create_database(d, p, err);
    }
    if (code == VIX_OK) {
        code = descriptor_format(d, ret_text, ret_len, err);
    }
    descriptor_free(d);
    return code;
}

VixError vmdk_descriptor_text(const char *path, const struct create_params *p, char **ret_text, size_t *ret_len,
                              struct err *err)
{
    struct making m = {.p = p, .layout = layout_of(p->type)};

    VixError code = vmdk_create_names(path, p->type, p->capacity, &m.names, err);
    if (code != VIX_OK) {
        return code;
    }
    code = make_text(&m, ret_text, ret_len, err);
    chain_files_free(m.names);
    return code;
}

/* ---- files ---- */

static void tell(const struct making *m, int percent)
{
    if (m->progress != NULL) {
        m->progress(m->progress_ctx, percent);
    }
}

static uint32_t file_mode(const struct making *m)
{
    return m->p->file_mode != 0 ? m->p->file_mode : FILE_MODE;
}

/** Takes the space of a raw extent in steps. */
static VixError preallocate(struct making *m, struct store *s, uint64_t len, struct err *err)
{
    uint64_t total = m->p->capacity * SECTOR_SIZE;

    for (uint64_t off = 0; off < len;) {
        uint64_t step = min_u64(len - off, PREALLOCATE_STEP);
        VixError code = s->ops->preallocate(s, off, step, err);
        if (code != VIX_OK) {
            return code;
        }
        off += step;
        m->done += step;
        tell(m, (int)((double)m->done * 100 / (double)total));
    }
    return VIX_OK;
}

/** Fills a new file so that it opens as an empty extent, on stable storage. */
static VixError fill_extent(struct making *m, struct store *s, uint64_t nsectors, const char *text, size_t len,
                            struct err *err)
{
    VixError code;

    switch (m->layout->extent_type) {
    case EXTENT_SPARSE:
        if (m->layout->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
            return extent_stream_create(s, nsectors, text, len, err);
        }
        return extent_sparse_create(s, nsectors, text, len, err);
    case EXTENT_VMFSSPARSE:
        return extent_cowd_create(s, nsectors, err);
    default:
        code = m->layout->thin || m->p->no_preallocation ? s->ops->truncate(s, nsectors * SECTOR_SIZE, err)
                                                         : preallocate(m, s, nsectors * SECTOR_SIZE, err);
        return code == VIX_OK ? s->ops->flush(s, err) : code;
    }
}

static VixError make_extents(struct making *m, struct err *err)
{
    uint64_t count = layout_extent_count(m->layout, m->p->capacity);

    for (uint64_t i = 0; i < count; i++) {
        struct store *s = NULL;
        VixError code = m->fs->ops->create(m->fs, m->names[i + 1], STORE_LOCK, file_mode(m), &s, err);
        if (code != VIX_OK) {
            return code;
        }
        m->made++;
        code = fill_extent(m, s, layout_extent_sectors(m->layout, m->p->capacity, i), NULL, 0, err);
        store_close(s);
        if (code != VIX_OK) {
            err_prefix(err, "%s: ", m->names[i + 1]);
            return code;
        }
    }
    return VIX_OK;
}

/** The descriptor's file; for a monolithic disk the extent too. */
static VixError make_descriptor(struct making *m, const char *text, size_t len, struct err *err)
{
    struct store *s = NULL;

    VixError code = m->fs->ops->create(m->fs, m->names[0], STORE_LOCK, file_mode(m), &s, err);
    if (code != VIX_OK) {
        return code;
    }
    m->made_descriptor = true;
    if (m->layout->suffix == NULL) {
        code = fill_extent(m, s, m->p->capacity, text, len, err);
    } else {
        code = store_write(s, text, len, 0, err);
        if (code == VIX_OK) {
            code = s->ops->flush(s, err);
        }
    }
    store_close(s);
    return code;
}

static VixError make_files(struct making *m, struct err *err)
{
    char *made = NULL;
    size_t len = 0;

    VixError code = make_text(m, &made, &len, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *text = made;
    if (m->layout->suffix != NULL) {
        code = make_extents(m, err);
    }
    if (code == VIX_OK) {
        code = make_descriptor(m, text, len, err);
    }
    return code == VIX_OK ? m->fs->ops->sync_folder(m->fs, m->names[0], err) : code;
}

static void remove_made(const struct making *m)
{
    if (m->made_descriptor) {
        (void)m->fs->ops->unlink(m->fs, m->names[0], NULL);
    }
    for (size_t i = 0; i < m->made; i++) {
        (void)m->fs->ops->unlink(m->fs, m->names[i + 1], NULL);
    }
}

VixError vmdk_create(struct store_fs *fs, const char *path, const struct create_params *p,
                     void (*progress)(void *ctx, int percent), void *progress_ctx, struct err *err)
{
    struct making m = {
        .fs = fs, .p = p, .layout = layout_of(p->type), .progress = progress, .progress_ctx = progress_ctx};

    if (m.layout == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "disk type %d, allowed: %d to %d", (int)p->type,
                       VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_VMFS_SPARSE);
    }
    VixError code = create_check(fs, path, m.layout, p, err);
    if (code == VIX_OK) {
        code = vmdk_create_names(path, p->type, p->capacity, &m.names, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = check_names_free(&m, err);
    if (code == VIX_OK) {
        tell(&m, 0);
        code = make_files(&m, err);
        if (code != VIX_OK) {
            remove_made(&m);
        } else {
            tell(&m, 100);
        }
    }
    chain_files_free(m.names);
    return code;
}

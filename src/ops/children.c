/* SPDX-License-Identifier: BSD-3-Clause */
/* children.c - looks for disks that depend on another. A disk does not know its children, nor which other descriptors
 * name its extents; what can be known is which descriptors beside it do. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "ops/link_files.h"
#include "ops/ops.h"

struct search {
    struct store_fs *fs;
    const char *parent; /* without symbolic links */
    const char *except; /* the same, or NULL */
    const char *beside; /* in the folder that is searched */
    bool (*skip)(const char *name);
    uint32_t cid;
    char *child;
};

/** Whether the disk at path names the parent. What cannot be read depends on nothing. */
static bool is_child(const struct search *s, const char *path)
{
    struct link_files lf;
    bool found = false;

    if (link_files_load(s->fs, path, &lf, NULL) != VIX_OK) {
        return false;
    }
    if (lf.desc->parent_cid == s->cid && lf.desc->parent_hint != NULL) {
        CLEANUP_FREE char *hint = NULL;
        (void)descriptor_name_to_utf8(lf.desc, lf.desc->parent_hint, &hint, NULL);
        CLEANUP_FREE char *named = hint != NULL ? store_path_beside(path, hint, NULL) : NULL;
        CLEANUP_FREE char *real = NULL;
        if (named != NULL && s->fs->ops->resolve(s->fs, named, &real, NULL) == VIX_OK) {
            found = strcmp(real, s->parent) == 0;
        }
    }
    link_files_done(&lf);
    return found;
}

static VixError look_at(void *ctx, const char *name, struct err *err)
{
    struct search *s = ctx;
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FREE char *real = NULL;

    if (s->child != NULL || !text_ends_with(name, ".vmdk") || store_path_is_temporary(name) ||
        (s->skip != NULL && s->skip(name))) {
        return VIX_OK;
    }
    path = store_path_beside(s->beside, name, err);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (s->fs->ops->resolve(s->fs, path, &real, NULL) != VIX_OK) {
        return VIX_OK; /* is gone, or leads nowhere */
    }
    bool other = strcmp(real, s->parent) != 0 && (s->except == NULL || strcmp(real, s->except) != 0);
    if (other && is_child(s, path)) {
        s->child = TAKE_PTR(path);
    }
    return VIX_OK;
}

/** Looks for a child of the disk at path; beside NULL: in its own folder. */
static VixError search_folder(struct search *s, const char *path, char **ret_child, struct err *err)
{
    CLEANUP_FREE char *real = NULL;
    struct link_files lf;

    VixError code = s->fs->ops->resolve(s->fs, path, &real, err);
    if (code == VIX_OK) {
        code = link_files_load(s->fs, path, &lf, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    s->parent = real;
    s->beside = s->beside != NULL ? s->beside : real;
    s->cid = lf.desc->cid;
    link_files_done(&lf);
    code = s->fs->ops->list(s->fs, s->beside, look_at, s, err);
    if (code != VIX_OK) {
        free(s->child);
        return code;
    }
    *ret_child = s->child;
    return VIX_OK;
}

VixError ops_find_child(struct store_fs *fs, const char *path, const char *except, char **ret_child, struct err *err)
{
    CLEANUP_FREE char *real_except = NULL;
    struct search s = {.fs = fs};
    VixError code = except != NULL ? fs->ops->resolve(fs, except, &real_except, err) : VIX_OK;

    s.except = real_except;
    return code == VIX_OK ? search_folder(&s, path, ret_child, err) : code;
}

VixError ops_find_child_beside(struct store_fs *fs, const char *path, const char *beside,
                               bool (*skip)(const char *name), char **ret_child, struct err *err)
{
    struct search s = {.fs = fs, .beside = beside, .skip = skip};

    return search_folder(&s, path, ret_child, err);
}

/* ---- disks of the same files ---- */

struct sharing {
    struct store_fs *fs;
    const struct link_files *lf;
    const char *name; /* of its descriptor */
    char *other;
    const char *file;
};

/** The file that two descriptors of one folder have in common; NULL: none. */
static const char *common_file(const struct link_files *a, const struct link_files *b)
{
    for (size_t i = 0; i < a->desc->extent_count; i++) {
        for (size_t j = 0; a->extents[i] != NULL && j < b->desc->extent_count; j++) {
            if (b->extents[j] != NULL && strcmp(a->extents[i], b->extents[j]) == 0) {
                return a->extents[i];
            }
        }
    }
    return NULL;
}

static VixError look_for_sharer(void *ctx, const char *name, struct err *err)
{
    struct sharing *s = ctx;
    struct link_files lf;

    if (s->other != NULL || !text_ends_with(name, ".vmdk") || strcmp(name, s->name) == 0 ||
        store_path_is_temporary(name)) {
        return VIX_OK;
    }
    CLEANUP_FREE char *path = store_path_beside(s->lf->path, name, err);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (link_files_load(s->fs, path, &lf, NULL) != VIX_OK) {
        return VIX_OK;
    }
    s->file = common_file(s->lf, &lf);
    s->other = s->file != NULL ? TAKE_PTR(path) : NULL;
    link_files_done(&lf);
    return VIX_OK;
}

VixError link_files_check_unshared(struct store_fs *fs, const struct link_files *lf, struct err *err)
{
    struct sharing s = {.fs = fs, .lf = lf, .name = store_path_base(lf->path)};
    VixError code = fs->ops->list(fs, lf->path, look_for_sharer, &s, err);
    CLEANUP_FREE char *other = s.other;

    if (code == VIX_OK && other != NULL) {
        code = err_set(err, VIX_E_FILE_ACCESS_ERROR,
                       "%s: is a file of %s too; nothing is removed: to drop only this other descriptor of it, remove "
                       "that as a file",
                       s.file, other);
    }
    return code;
}

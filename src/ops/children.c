/* SPDX-License-Identifier: BSD-3-Clause */
/* children.c - looks for disks that depend on another. A disk does not know its children, nor which other descriptors
 * name its extents; what can be known is which descriptors beside it do. */
#include <errno.h>
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

/** Whether it was for want of memory or descriptors that a disk could not be looked at. */
static bool is_want(VixError code)
{
    return code == VIX_E_OUT_OF_MEMORY || code == VIX_E_DISK_TOOMANYOPENFILES;
}

/** What a failure to look at a file means. What is gone, leads nowhere or is no disk is no child. Whether one that
 * cannot be read is a child nobody knows, and then it is not for us to say that there is none. */
static VixError not_looked_at(const struct search *s, VixError code, const struct err *failure, struct err *err)
{
    switch (is_want(code) ? ENOMEM : failure->sys_errno) {
    case 0:
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return VIX_OK;
    default:
        break;
    }
    if (err != NULL) {
        *err = *failure;
        err_prefix(err, "what cannot be read may be a child of %s: ", s->parent);
    }
    return code;
}

/** Whether a disk names the parent. */
static VixError names_parent(const struct search *s, const struct link_files *lf, bool *ret_named, struct err *err)
{
    CLEANUP_FREE char *hint = NULL;
    CLEANUP_FREE char *real = NULL;

    if (lf->desc->parent_cid != s->cid || lf->desc->parent_hint == NULL) {
        return VIX_OK;
    }
    VixError code = descriptor_name_to_utf8(lf->desc, lf->desc->parent_hint, &hint, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *named = store_path_beside(lf->path, hint, err);
    if (named == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = s->fs->ops->resolve(s->fs, named, &real, err);
    *ret_named = code == VIX_OK && strcmp(real, s->parent) == 0;
    return code;
}

/** Whether the disk at path, by whatever name, is a child of the parent. */
static VixError is_child(const struct search *s, const char *path, bool *ret_child, struct err *err)
{
    CLEANUP_FREE char *real = NULL;
    struct link_files lf;

    VixError code = s->fs->ops->resolve(s->fs, path, &real, err);
    if (code != VIX_OK || strcmp(real, s->parent) == 0 || (s->except != NULL && strcmp(real, s->except) == 0)) {
        return code;
    }
    code = link_files_load(s->fs, path, &lf, err);
    if (code == VIX_OK) {
        code = names_parent(s, &lf, ret_child, err);
        link_files_done(&lf);
    }
    return code;
}

static VixError look_at(void *ctx, const char *name, struct err *err)
{
    struct search *s = ctx;
    struct err failure;
    bool found = false;

    if (s->child != NULL || !text_ends_with(name, ".vmdk") || store_path_is_temporary(name) ||
        (s->skip != NULL && s->skip(name))) {
        return VIX_OK;
    }
    CLEANUP_FREE char *path = store_path_beside(s->beside, name, err);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    err_init(&failure);
    VixError code = is_child(s, path, &found, &failure);
    if (found) {
        s->child = TAKE_PTR(path);
    }
    return code == VIX_OK ? VIX_OK : not_looked_at(s, code, &failure, err);
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
    struct err failure;

    if (s->other != NULL || !text_ends_with(name, ".vmdk") || strcmp(name, s->name) == 0 ||
        store_path_is_temporary(name)) {
        return VIX_OK;
    }
    CLEANUP_FREE char *path = store_path_beside(s->lf->path, name, err);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    err_init(&failure);
    VixError code = link_files_load(s->fs, path, &lf, &failure);
    if (code != VIX_OK) {
        /* one that may not be read is somebody else's, and hardly a copy of this one's descriptor */
        return is_want(code) ? err_set(err, code, "%s", failure.text) : VIX_OK;
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

/* SPDX-License-Identifier: BSD-3-Clause */
/* link_path.c - from the names in a descriptor to files. A descriptor is data from anybody: unless the caller trusts
 * it, its names must lead, after symbolic links, to the descriptor's own folder or below. No state; any thread. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "vmdk/link.h"

/** The folder of a descriptor without symbolic links. A file system that keeps no folders is asked for the file. */
static VixError real_folder(struct store_fs *fs, const char *anchor, char **ret_folder, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(anchor, err);
    CLEANUP_FREE char *real = NULL;

    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (fs->ops->resolve(fs, folder, ret_folder, NULL) == VIX_OK) {
        return VIX_OK;
    }
    VixError code = fs->ops->resolve(fs, anchor, &real, err);
    if (code != VIX_OK) {
        return code;
    }
    *ret_folder = store_path_folder(real, err);
    return *ret_folder != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static bool lies_below(const char *real, const char *folder)
{
    size_t len = strlen(folder);

    while (len > 0 && folder[len - 1] == '/') {
        len--;
    }
    return strncmp(real, folder, len) == 0 && real[len] == '/';
}

static VixError check_inside(struct store_fs *fs, const char *anchor, const char *name, const char *what,
                             const char *real, struct err *err)
{
    char *found = NULL;

    VixError code = real_folder(fs, anchor, &found, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *folder = found;
    if (!lies_below(real, folder)) {
        return err_set(err, VIX_E_FILE_ACCESS_ERROR,
                       "%s: its %s \"%.200s\" is %s, allowed: files in %s and below (%s lifts this)", anchor, what,
                       name, real, folder, CONFIG_ALLOW_OUTSIDE_PATHS);
    }
    return VIX_OK;
}

VixError link_find_file(struct store_fs *fs, const char *anchor, const char *name, const char *what, bool outside_ok,
                        char **ret_path, char **ret_real, struct err *err)
{
    CLEANUP_FREE char *path = store_path_beside(anchor, name, err);
    CLEANUP_FREE char *real = NULL;

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->resolve(fs, path, &real, err);
    if (code != VIX_OK) {
        err_prefix(err, "%s: its %s \"%.200s\" is not there: ", anchor, what, name);
        return code;
    }
    if (!outside_ok) {
        code = check_inside(fs, anchor, name, what, real, err);
    }
    if (code == VIX_OK) {
        *ret_path = TAKE_PTR(path);
        *ret_real = TAKE_PTR(real);
    }
    return code;
}

VixError link_find_named(struct store_fs *fs, const char *anchor, const struct descriptor *d, const char *name,
                         const char *what, bool outside_ok, char **ret_path, char **ret_real, struct err *err)
{
    char *converted = NULL;
    struct err first;

    err_init(&first);
    (void)descriptor_name_to_utf8(d, name, &converted, NULL);
    CLEANUP_FREE char *utf8 = converted;
    if (utf8 == NULL || strcmp(utf8, name) == 0) {
        return link_find_file(fs, anchor, name, what, outside_ok, ret_path, ret_real, err);
    }
    VixError code = link_find_file(fs, anchor, utf8, what, outside_ok, ret_path, ret_real, &first);
    if (code == VIX_E_FILE_NOT_FOUND &&
        link_find_file(fs, anchor, name, what, outside_ok, ret_path, ret_real, NULL) == VIX_OK) {
        return VIX_OK;
    }
    if (code != VIX_OK && err != NULL) {
        *err = first;
    }
    return code;
}

/* ---- the parent ---- */

/** The search for a parent: the first place that exists but does not fit is what a failure tells of. */
struct parent_search {
    const struct link *l;
    char *path; /* of the candidate that fits */
    struct link_peek peek;
    VixError code; /* of the most telling failure so far; VIX_OK: nothing was found at all */
    struct err err;
};

static VixError mismatch(const struct parent_search *s, const char *path, const struct link_peek *peek, struct err *err)
{
    return err_set(err, VIX_E_DISK_CID_MISMATCH,
                   "%s: the parent %s has content ID %08" PRIx32 ", the child was made on %08" PRIx32
                   ": the parent was written to since",
                   s->l->path, path, peek->cid, s->l->desc->parent_cid);
}

/** Tries one name; true if it is the parent. */
static bool try_parent(struct parent_search *s, const char *name)
{
    char *path = NULL, *real = NULL;
    struct link_peek peek = {0};
    struct err failure;
    bool outside_ok = (s->l->flags & CHAIN_OUTSIDE_OK) != 0;

    err_init(&failure);
    VixError code = link_find_file(s->l->fs, s->l->path, name, "parent", outside_ok, &path, &real, &failure);
    if (code == VIX_OK) {
        code = link_peek(s->l->fs, path, &peek, &failure);
    }
    if (code == VIX_OK && !outside_ok) {
        code = s->l->fs->ops->check_place(s->l->fs, real, peek.dev, peek.ino, &failure);
    }
    if (code == VIX_OK && peek.cid != s->l->desc->parent_cid) {
        code = mismatch(s, path, &peek, &failure);
    }
    free(real);
    if (code == VIX_OK) {
        s->path = path;
        s->peek = peek;
        return true;
    }
    free(path);
    if (code != VIX_E_FILE_NOT_FOUND && s->code == VIX_OK) {
        s->code = code;
        s->err = failure;
    }
    return false;
}

/** The last component of a name with slashes of either kind. */
static const char *last_component(const char *name)
{
    const char *last = name;

    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '/' || *p == '\\') {
            last = p + 1;
        }
    }
    return last;
}

/** The hint with the slashes of this system; NULL if it has none of the other kind, or begins with a drive. */
static char *with_slashes(const char *hint)
{
    if (strchr(hint, '\\') == NULL || (hint[0] != '\0' && hint[1] == ':')) {
        return NULL;
    }
    char *copy = alloc_text(hint, NULL);
    for (char *p = copy; p != NULL && *p != '\0'; p++) {
        *p = *p == '\\' ? '/' : *p;
    }
    return copy;
}

/** "../FOLDER/FILE" of a hint of at least two components, for chains that were moved together; NULL for others. */
static char *in_sibling_folder(const char *hint)
{
    const char *file = last_component(hint);
    size_t end = file > hint ? (size_t)(file - hint - 1) : 0;
    size_t start = end;

    while (start > 0 && hint[start - 1] != '/' && hint[start - 1] != '\\') {
        start--;
    }
    return end > start ? alloc_printf(NULL, "../%.*s/%s", (int)(end - start), hint + start, file) : NULL;
}

/** The hint as it stands, with the slashes of this system, its last part beside the child, and in a folder of the same
 * name beside the child's. */
static bool search_parent(struct parent_search *s, const char *hint)
{
    CLEANUP_FREE char *slashed = with_slashes(hint);
    CLEANUP_FREE char *sibling = in_sibling_folder(hint);
    const char *last = last_component(hint);

    return try_parent(s, hint) || (slashed != NULL && try_parent(s, slashed)) ||
           (last != hint && last[0] != '\0' && try_parent(s, last)) || (sibling != NULL && try_parent(s, sibling));
}

VixError link_find_parent(const struct link *l, char **ret_path, struct link_peek *ret_peek, struct err *err)
{
    struct parent_search s = {.l = l};
    const char *hint = l->desc->parent_hint;

    if (hint == NULL || hint[0] == '\0') {
        return err_set(err, VIX_E_DISK_OPENPARENT,
                       "%s: the descriptor says parentCID=%08" PRIx32 " but names no parent (parentFileNameHint)",
                       l->path, l->desc->parent_cid);
    }
    /* Converted before it is taken apart: in GBK, Big5 and Shift_JIS a backslash may be half a character. */
    char *converted = NULL;
    (void)descriptor_name_to_utf8(l->desc, hint, &converted, NULL);
    CLEANUP_FREE char *utf8 = converted;
    bool differs = utf8 == NULL || strcmp(utf8, hint) != 0;
    if ((utf8 != NULL && search_parent(&s, utf8)) || (differs && search_parent(&s, hint))) {
        *ret_path = s.path;
        *ret_peek = s.peek;
        return VIX_OK;
    }
    if (s.code == VIX_OK) {
        return err_set(err, VIX_E_DISK_OPENPARENT, "%s: the parent \"%.300s\" cannot be found", l->path, hint);
    }
    if (err != NULL) {
        *err = s.err;
    }
    return s.code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* link_move.c - gives a link other names so that the disk can be opened under the old or the new name at any moment:
 * the other files first get second names, then the new descriptor appears, then the old descriptor goes, then the old
 * names. Where a file system has no second names (FAT) the files are renamed one by one; a crash within that moment
 * leaves the descriptor pointing at old names. No state; one operation per link at a time. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/text.h"
#include "ops/link_files.h"
#include "vmdk/create.h"
#include "vmdk/descriptor_area.h"

#define VMDK_SUFFIX ".vmdk"

/** One file besides the descriptor. */
struct move {
    const char *from; /* NULL: nothing to move */
    char *to;
    bool renamed; /* no second name was possible: from is gone */
    bool done;
};

struct move_plan {
    struct store_fs *fs;
    struct link_files *lf;
    const char *new_path;
    bool replace;
    bool switched;      /* a descriptor with the new names is in place */
    bool old_gone;      /* and none with the old ones */
    struct move *moves; /* one for each extent, then the change-tracking file */
    size_t count;
};

/** The length of a descriptor's name without ".vmdk". */
static size_t stem_len(const char *base)
{
    size_t len = strlen(base);
    size_t tail = strlen(VMDK_SUFFIX);
    return len > tail && text_equal_nocase(base + len - tail, VMDK_SUFFIX) ? len - tail : len;
}

/** The tail of a file whose name is not its descriptor's with something behind a dash. */
static char *canonical_tail(const struct descriptor *d, size_t index, struct err *err)
{
    switch (d->extents[index].type) {
    case EXTENT_FLAT:
    case EXTENT_VMFS:
        return d->extent_count > 1 || disk_type_of(d->create_type, false) == VIXDISKLIB_DISK_SPLIT_FLAT
                   ? alloc_printf(err, "-f%03zu.vmdk", index + 1)
                   : alloc_text("-flat.vmdk", err);
    case EXTENT_VMFSSPARSE:
        return alloc_text("-delta.vmdk", err);
    case EXTENT_SESPARSE:
        return alloc_text("-sesparse.vmdk", err);
    default:
        return alloc_printf(err, "-s%03zu.vmdk", index + 1);
    }
}

/** The new path of a file: its name with the descriptor's old stem replaced by the new one. @index: of its extent. */
static char *new_name(const struct move_plan *p, const char *from, size_t index, struct err *err)
{
    const char *old_base = store_path_base(p->lf->path);
    const char *new_base = store_path_base(p->new_path);
    const char *base = store_path_base(from);
    size_t stem = stem_len(old_base);
    CLEANUP_FREE char *tail = NULL;

    if (strncmp(base, old_base, stem) == 0 && base[stem] == '-') {
        tail = alloc_text(base + stem, err);
    } else {
        tail =
            index < p->lf->desc->extent_count ? canonical_tail(p->lf->desc, index, err) : alloc_text("-ctk.vmdk", err);
    }
    if (tail == NULL) {
        return NULL;
    }
    CLEANUP_FREE char *name = alloc_printf(err, "%.*s%s", (int)stem_len(new_base), new_base, tail);
    return name != NULL ? store_path_beside(p->new_path, name, err) : NULL;
}

/** The move of an earlier extent that lies in the same file. */
static const struct move *same_file(const struct move_plan *p, const char *from, size_t before)
{
    for (size_t i = 0; i < before; i++) {
        if (p->moves[i].from != NULL && strcmp(p->moves[i].from, from) == 0) {
            return &p->moves[i];
        }
    }
    return NULL;
}

static VixError set_name(struct move_plan *p, size_t index, const char *path, struct err *err)
{
    struct descriptor *d = p->lf->desc;
    CLEANUP_FREE char *name = NULL;
    VixError code = descriptor_name_from_utf8(d, store_path_base(path), &name, err);

    if (code != VIX_OK) {
        return code;
    }
    return index < d->extent_count ? descriptor_set_extent(d, index, d->extents[index].nsectors, name, err)
                                   : descriptor_set_change_track(d, name, err);
}

static VixError plan_file(struct move_plan *p, size_t index, const char *from, struct err *err)
{
    struct move *m = &p->moves[index];

    if (from[0] == '\0') {
        return VIX_OK;
    }
    const struct move *earlier = same_file(p, from, index);
    if (earlier != NULL) {
        return set_name(p, index, earlier->to, err);
    }
    m->to = new_name(p, from, index, err);
    if (m->to == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (strcmp(m->to, from) != 0) {
        m->from = from;
    }
    return set_name(p, index, m->to, err);
}

/** A hint that is relative to the old folder becomes absolute when the folder changes. */
static VixError plan_parent(struct move_plan *p, struct err *err)
{
    struct descriptor *d = p->lf->desc;
    CLEANUP_FREE char *hint = NULL;
    CLEANUP_FREE char *real = NULL;
    CLEANUP_FREE char *name = NULL;
    CLEANUP_FREE char *old_folder = store_path_folder(p->lf->path, err);
    CLEANUP_FREE char *new_folder = store_path_folder(p->new_path, err);

    if (old_folder == NULL || new_folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (d->parent_hint == NULL || d->parent_hint[0] == '/' || strcmp(old_folder, new_folder) == 0 ||
        descriptor_name_to_utf8(d, d->parent_hint, &hint, NULL) != VIX_OK) {
        return VIX_OK;
    }
    CLEANUP_FREE char *path = store_path_beside(p->lf->path, hint, err);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (p->fs->ops->resolve(p->fs, path, &real, NULL) != VIX_OK) {
        return VIX_OK; /* a parent that is not there cannot be followed; the hint stays as it is */
    }
    VixError code = descriptor_name_from_utf8(d, real, &name, err);
    return code == VIX_OK ? descriptor_set_parent(d, name, d->parent_cid, err) : code;
}

static VixError check_movable(const struct move_plan *p, const char *from, struct err *err)
{
    const char *path = p->lf->path;
    size_t folder = (size_t)(store_path_base(path) - path);

    if ((strncmp(from, path, folder) == 0 && link_files_is_beside(from + folder)) ||
        config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false)) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_FILE_ACCESS_ERROR,
                   "%s: names %s, which is not in its own folder; such files are moved only where the configuration "
                   "sets %s",
                   path, from, CONFIG_ALLOW_OUTSIDE_PATHS);
}

static VixError make_plan(struct move_plan *p, struct err *err)
{
    struct link_files *lf = p->lf;

    p->count = lf->desc->extent_count + 1;
    p->moves = alloc_array(p->count, sizeof *p->moves, err);
    if (p->moves == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = plan_parent(p, err);
    for (size_t i = 0; i < p->count && code == VIX_OK; i++) {
        bool is_extent = i < lf->desc->extent_count;
        const char *from = is_extent ? lf->extents[i] : lf->track;
        const char *name = is_extent ? lf->desc->extents[i].name : lf->desc->change_track_path;
        if (from == NULL || name[0] == '/') {
            continue; /* no file, or one that stays where it is */
        }
        code = check_movable(p, from, err);
        if (code == VIX_OK) {
            code = plan_file(p, i, from, err);
        }
    }
    return code;
}

static void plan_done(struct move_plan *p)
{
    for (size_t i = 0; p->moves != NULL && i < p->count; i++) {
        free(p->moves[i].to);
    }
    free(p->moves);
}

/* ---- carrying it out ---- */

/** A sentence of its own for what cannot be done by renaming. */
static VixError tell_other_file_system(const char *from, const char *to, struct err *err)
{
    (void)err_set(err, VIX_E_NOT_SUPPORTED,
                  "%s: cannot be renamed to %s, which is on another file system: copy it instead", from, to);
    return VIX_E_NOT_SUPPORTED;
}

static VixError make_name(struct store_fs *fs, struct move *m, struct err *err)
{
    struct err why;

    err_init(&why);
    VixError code = fs->ops->link(fs, m->from, m->to, &why);
    if (code == VIX_E_NOT_SUPPORTED && why.sys_errno != EXDEV) {
        m->renamed = true;
        code = fs->ops->rename_new(fs, m->from, m->to, &why);
    } else if (code == VIX_E_NOT_SUPPORTED) {
        code = tell_other_file_system(m->from, m->to, &why);
    }
    if (code != VIX_OK && err != NULL) {
        *err = why;
    }
    m->done = code == VIX_OK;
    return code;
}

static void take_back(struct move_plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct move *m = &p->moves[i];
        if (m->done && m->renamed) {
            (void)p->fs->ops->rename_new(p->fs, m->to, m->from, NULL);
        } else if (m->done) {
            (void)p->fs->ops->unlink(p->fs, m->to, NULL);
        }
    }
}

static VixError make_names(struct move_plan *p, struct err *err)
{
    for (size_t i = 0; i < p->count; i++) {
        struct move *m = &p->moves[i];
        bool optional = i == p->count - 1; /* the change-tracking file may be missing */
        if (m->from == NULL || (optional && !p->fs->ops->exists(p->fs, m->from))) {
            continue;
        }
        VixError code = make_name(p->fs, m, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    return p->fs->ops->sync_folder(p->fs, p->new_path, err);
}

/** The new descriptor appears, then the old one goes. */
static VixError switch_descriptors(struct move_plan *p, struct err *err)
{
    bool same = strcmp(p->lf->path, p->new_path) == 0;
    struct store_fs *fs = p->fs;
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    VixError code = descriptor_format(p->lf->desc, &text, &len, err);

    if (code == VIX_OK) {
        code = link_files_write_text(fs, p->new_path, text, len, p->lf->path, p->lf->mode, p->replace, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    p->switched = true;
    code = fs->ops->sync_folder(fs, p->new_path, err);
    if (code == VIX_OK && !same) {
        code = fs->ops->unlink(fs, p->lf->path, err);
    }
    if (code != VIX_OK && !same && !p->replace) {
        /* a disk with two descriptors must not stay behind */
        p->switched = fs->ops->unlink(fs, p->new_path, NULL) != VIX_OK;
    }
    p->old_gone = code == VIX_OK;
    return code;
}

/** Nothing needs the old names any more; where one stays, the disk is no worse for it. */
static VixError drop_old_names(struct move_plan *p, struct err *err)
{
    VixError first = p->fs->ops->sync_folder(p->fs, p->lf->path, err);

    for (size_t i = 0; i < p->count; i++) {
        const struct move *m = &p->moves[i];
        if (m->done && !m->renamed) {
            VixError code = p->fs->ops->unlink(p->fs, m->from, first == VIX_OK ? err : NULL);
            first = first == VIX_OK ? code : first;
        }
    }
    VixError code = p->fs->ops->sync_folder(p->fs, p->lf->path, first == VIX_OK ? err : NULL);
    return first == VIX_OK ? code : first;
}

static VixError move_set(struct move_plan *p, struct err *err)
{
    VixError code = make_names(p, err);

    if (code == VIX_OK) {
        code = switch_descriptors(p, err);
    }
    if (!p->switched) {
        take_back(p);
    }
    return p->old_gone ? drop_old_names(p, err) : code;
}

/* ---- a disk of one file ---- */

/** Writes the changed descriptor into its area. The name in it is for people: no reader follows it, so where it does
 * not fit the old one stays. */
static VixError write_embedded(struct move_plan *p, bool must, struct err *err)
{
    struct link_files *lf = p->lf;
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    struct store *s;
    VixError code = descriptor_format(lf->desc, &text, &len, err);

    if (code != VIX_OK) {
        return code;
    }
    code = p->fs->ops->open(p->fs, lf->path, STORE_WRITE | STORE_LOCK, &s, err);
    if (code != VIX_OK) {
        return code;
    }
    struct descriptor_area area = {.off = lf->desc_off, .max = lf->desc_max};
    struct err why;
    err_init(&why);
    code = descriptor_area_save(s, NULL, text, len, &area, &why);
    store_close(s);
    if (code == VIX_E_DISK_INVAL && !must) {
        return VIX_OK;
    }
    if (code != VIX_OK && err != NULL) {
        *err = why;
    }
    return code;
}

static VixError spell_single(struct move_plan *p, struct err *err)
{
    const struct descriptor *d = p->lf->desc;
    CLEANUP_FREE char *hint = d->parent_hint != NULL ? alloc_text(d->parent_hint, err) : NULL;
    VixError code = d->parent_hint == NULL || hint != NULL ? plan_parent(p, err) : VIX_E_OUT_OF_MEMORY;

    if (code == VIX_OK) {
        code = set_name(p, 0, p->new_path, err);
    }
    bool hint_changed = hint != NULL && strcmp(hint, d->parent_hint) != 0;
    return code == VIX_OK ? write_embedded(p, hint_changed, err) : code;
}

static VixError move_single(struct move_plan *p, struct err *err)
{
    struct store_fs *fs = p->fs;
    const char *old_path = p->lf->path;

    if (!p->replace && fs->ops->exists(fs, p->new_path)) {
        return err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: already exists", p->new_path);
    }
    VixError code = spell_single(p, err);
    if (code == VIX_OK) {
        struct err why;
        err_init(&why);
        code = p->replace ? fs->ops->rename(fs, old_path, p->new_path, &why)
                          : fs->ops->rename_new(fs, old_path, p->new_path, &why);
        if (code != VIX_OK && why.sys_errno == EXDEV) {
            code = tell_other_file_system(old_path, p->new_path, err);
        } else if (code != VIX_OK && err != NULL) {
            *err = why;
        }
    }
    if (code == VIX_OK) {
        code = fs->ops->sync_folder(fs, p->new_path, err);
    }
    return code == VIX_OK ? fs->ops->sync_folder(fs, old_path, err) : code;
}

VixError link_files_move(struct store_fs *fs, struct link_files *lf, const char *new_path, bool replace,
                         struct err *err)
{
    struct move_plan plan = {.fs = fs, .lf = lf, .new_path = new_path, .replace = replace};

    if (lf->embedded && lf->desc->extent_count == 1 && lf->extents[0] == NULL) {
        return move_single(&plan, err);
    }
    if (lf->embedded) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: a disk of %zu extents whose descriptor lies in one of them cannot be renamed", lf->path,
                       lf->desc->extent_count);
    }
    VixError code = make_plan(&plan, err);
    if (code == VIX_OK) {
        code = move_set(&plan, err);
    }
    plan_done(&plan);
    return code;
}

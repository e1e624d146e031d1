/* SPDX-License-Identifier: BSD-3-Clause */
/* link_save.c - changes the descriptor of an open link on stable storage. A content ID of eight digits is overwritten
 * where it stands; everything else is written as a whole: an embedded descriptor by descriptor_area.c, a text file as
 * a new file that is renamed over the old one. Whoever calls holds meta_lock, or takes it here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "vmdk/create.h"
#include "vmdk/descriptor_area.h"
#include "vmdk/link.h"

#define CID_DIGITS 8u
/* Fewer than so many would come back too soon. */
#define CID_DIGITS_MIN 4u
#define TEMP_NAME_TRIES 8 /* own: of random names */

/* ---- the whole descriptor ---- */

static VixError save_embedded(struct link *l, const char *text, size_t len, struct err *err)
{
    struct descriptor_area area = {.off = l->desc_off, .max = l->desc_max};
    struct extent *x = NULL;

    for (size_t i = 0; l->self_extent && l->extents != NULL && i < l->desc->extent_count; i++) {
        if (l->extents[i].x != NULL && l->extents[i].x->store == l->store) {
            x = l->extents[i].x;
        }
    }
    VixError code = descriptor_area_save(l->store, x, text, len, &area, err);
    l->desc_off = area.off;
    l->desc_max = area.max;
    return code;
}

VixError link_create_temp(const struct link *l, const char *beside, const char *like, uint32_t mode, char **ret_path,
                          struct store **ret_store, struct err *err)
{
    uint32_t flags = ((l->flags & CHAIN_NO_LOCK) != 0 ? 0 : STORE_LOCK) |
                     ((l->flags & CHAIN_UNBUFFERED) != 0 ? STORE_UNBUFFERED : 0);

    bool many = link_has_many_files(l) && beside != l->real_path; /* the descriptor's lock is kept */

    for (int i = 0;; i++) {
        uint32_t number = 0;
        (void)getrandom(&number, sizeof number, 0);
        CLEANUP_FREE char *path = alloc_printf(err, "%s.tmp-%06" PRIx32, beside, number & 0xFFFFFF);
        if (path == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        VixError code = many ? store_idle_create(l->fs, path, flags, mode, ret_store, err)
                             : l->fs->ops->create(l->fs, path, flags, mode, ret_store, err);
        if (code == VIX_OK) {
            l->fs->ops->take_rights(l->fs, path, like);
            *ret_path = TAKE_PTR(path);
            return VIX_OK;
        }
        if (code != VIX_E_FILE_ALREADY_EXISTS || i == TEMP_NAME_TRIES) {
            return code;
        }
    }
}

static VixError write_and_rename(const struct link *l, struct store *temp, const char *temp_path, const char *text,
                                 size_t len, struct err *err)
{
    VixError code = store_write(temp, text, len, 0, err);

    if (code == VIX_OK) {
        code = temp->ops->flush(temp, err);
    }
    if (code == VIX_OK) {
        code = l->fs->ops->rename(l->fs, temp_path, l->real_path, err);
    }
    if (code != VIX_OK) {
        store_close(temp);
        (void)l->fs->ops->unlink(l->fs, temp_path, NULL);
    }
    return code;
}

/** The new file takes the old one's place also in l, with its lock. */
static VixError save_separate(struct link *l, const char *text, size_t len, struct err *err)
{
    struct store *temp = NULL;
    char *made = NULL;
    CLEANUP_FREE char *path = alloc_text(l->path, err);

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = link_create_temp(l, l->real_path, l->real_path, l->store->mode, &made, &temp, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *temp_path = made;
    code = write_and_rename(l, temp, temp_path, text, len, err);
    if (code != VIX_OK) {
        return code;
    }
    store_close(l->store);
    l->store = temp;
    free(temp->path);
    temp->path = TAKE_PTR(path);
    return l->fs->ops->sync_folder(l->fs, l->real_path, err);
}

VixError link_replace_descriptor_locked(struct link *l, struct descriptor *changed, struct err *err)
{
    char *made = NULL;
    size_t len = 0;

    VixError code = descriptor_format(changed, &made, &len, err);
    if (code == VIX_OK) {
        CLEANUP_FREE char *text = made;
        code = l->embedded ? save_embedded(l, text, len, err) : save_separate(l, text, len, err);
    }
    if (code != VIX_OK) {
        descriptor_free(changed);
        return code;
    }
    descriptor_free(l->desc);
    l->desc = changed;
    return VIX_OK;
}

/* ---- the content ID alone ---- */

/** The bytes of the file from the content ID to the last digits of the long one, with the new ID in both places: one
 * write, which in an ordinary descriptor lies within one sector. */
struct cid_patch {
    char *text; /* owns the memory */
    size_t from, to;
};

/** A random content ID of at most so many digits, other than old. */
static uint32_t random_cid_of(size_t digits, uint32_t old)
{
    uint32_t cid;

    do {
        cid = random_cid() >> (4 * (CID_DIGITS - digits));
    } while (cid == old);
    return cid;
}

/** Puts a new content ID where old is, in as many digits as there are: QEMU writes no leading zeros. False if the text
 * has no place for it. */
static bool patch_text(struct cid_patch *patch, size_t len, uint32_t old, uint32_t *ret_cid)
{
    size_t off = 0, digits = 0, long_off = 0;
    char hex[CID_DIGITS + 1];

    if (!descriptor_find_cid(patch->text, len, &off, &digits, &long_off) || digits < CID_DIGITS_MIN ||
        digits > CID_DIGITS) {
        return false;
    }
    *ret_cid = random_cid_of(digits, old);
    (void)snprintf(hex, sizeof hex, "%08" PRIx32, *ret_cid);
    memcpy(patch->text + off, hex + CID_DIGITS - digits, digits);
    patch->from = off;
    patch->to = off + digits;
    if (long_off != SIZE_MAX) {
        memcpy(patch->text + long_off, hex, CID_DIGITS);
        patch->from = off < long_off ? off : long_off;
        patch->to = off > long_off ? off + digits : long_off + CID_DIGITS;
    }
    return true;
}

/** Overwrites the content ID where it stands. *ret_done false: it cannot be done in place. */
static VixError change_cid_in_place(struct link *l, uint32_t *ret_cid, bool *ret_done, struct err *err)
{
    uint64_t size = DESCRIPTOR_MAX_BYTES, len = 0;

    *ret_done = false;
    if (!l->embedded) {
        VixError code = l->store->ops->size(l->store, &size, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    size = l->embedded ? l->desc_max : min_u64(size, DESCRIPTOR_MAX_BYTES);
    struct cid_patch patch = {.text = alloc_array((size_t)size + 1, 1, err)};
    CLEANUP_FREE char *owned = patch.text;
    if (owned == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(l->store, patch.text, size, l->desc_off, &len, err);
    if (code != VIX_OK || !patch_text(&patch, (size_t)len, l->desc->cid, ret_cid)) {
        return code;
    }
    code = store_write(l->store, patch.text + patch.from, patch.to - patch.from, l->desc_off + patch.from, err);
    if (code == VIX_OK) {
        code = l->store->ops->flush(l->store, err);
    }
    *ret_done = code == VIX_OK;
    return code;
}

VixError link_copy_descriptor(const struct link *l, struct descriptor **ret_d, struct err *err)
{
    char *text = NULL;
    size_t len = 0;

    VixError code = descriptor_format(l->desc, &text, &len, err);
    if (code == VIX_OK) {
        code = descriptor_parse(text, len, l->path, ret_d, err);
        free(text);
    }
    return code;
}

VixError link_set_ddb(struct link *l, const char *key, const char *value, struct err *err)
{
    struct descriptor *changed = NULL;
    SCOPED_LOCK(&l->meta_lock);

    VixError code = link_copy_descriptor(l, &changed, err);
    if (code == VIX_OK) {
        code = descriptor_ddb_set(changed, key, value, err);
    }
    if (code != VIX_OK) {
        descriptor_free(changed);
        return code;
    }
    return link_replace_descriptor_locked(l, changed, err);
}

/** The descriptor as a whole, with the new content ID and without change tracking. */
static VixError rewrite_for_write(struct link *l, uint32_t cid, struct err *err)
{
    struct descriptor *changed = NULL;

    VixError code = link_copy_descriptor(l, &changed, err);
    if (code == VIX_OK) {
        code = descriptor_set_cid(changed, cid, err);
    }
    if (code == VIX_OK && changed->change_track_path != NULL) {
        log_news("%s: no longer tracked in \"%s\"", l->path, changed->change_track_path);
        code = descriptor_drop_tracking(changed, err);
    }
    if (code != VIX_OK) {
        descriptor_free(changed);
        return code;
    }
    return link_replace_descriptor_locked(l, changed, err);
}

static VixError new_cid_locked(struct link *l, struct err *err)
{
    uint32_t cid = 0;
    bool done = false;

    if (l->desc->change_track_path == NULL) {
        VixError code = change_cid_in_place(l, &cid, &done, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    return done ? descriptor_set_cid(l->desc, cid, err)
                : rewrite_for_write(l, random_cid_of(CID_DIGITS, l->desc->cid), err);
}

VixError link_renew_cid_in_place(struct link *l, bool *ret_done, struct err *err)
{
    uint32_t cid = 0;

    *ret_done = false;
    return l->desc->change_track_path != NULL ? VIX_OK : change_cid_in_place(l, &cid, ret_done, err);
}

VixError link_begin_write(struct link *l, struct err *err)
{
    SCOPED_LOCK(&l->meta_lock);

    if (atomic_load_explicit(&l->cid_changed, memory_order_relaxed)) {
        return VIX_OK;
    }
    VixError code = new_cid_locked(l, err);
    if (code == VIX_OK) {
        atomic_store_explicit(&l->cid_changed, true, memory_order_release);
    } else {
        err_prefix(err, "%s: the content ID must change before data does: ", l->path);
    }
    return code;
}

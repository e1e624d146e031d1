/* SPDX-License-Identifier: BSD-3-Clause */
/* link_files.c - the files of a link, found by its descriptor alone. Names are data of the file: where they lead out of
 * the descriptor's folder this is noted, and what removes files asks. No state; any thread. */
#include "ops/link_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "vmdk/create.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

#define VMDK_SUFFIX ".vmdk"

/* ---- reading the descriptor ---- */

static VixError read_text(struct store *s, uint64_t off, uint64_t len, char **ret_text, uint64_t *ret_len,
                          struct err *err)
{
    CLEANUP_FREE char *text = alloc_zero(len + 1, err);
    uint64_t got = 0;

    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(s, text, len, off, &got, err);
    if (code == VIX_OK) {
        *ret_text = TAKE_PTR(text);
        *ret_len = got;
    }
    return code;
}

/** Where the descriptor stands in a sparse extent. */
static VixError find_embedded(struct link_files *lf, const uint8_t *sector, struct sparse_header *ret_h,
                              struct err *err)
{
    VixError code = sparse_header_parse(sector, lf->path, ret_h, err);

    if (code != VIX_OK) {
        return code;
    }
    if (ret_h->descriptor_sector == 0 || ret_h->descriptor_sectors == 0 ||
        ret_h->descriptor_sectors > KDMV_MAX_DESCRIPTOR_SECTORS) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: an extent without a descriptor (%" PRIu64 " sectors of it, 1 to %u are allowed): name the "
                       "disk's descriptor file instead",
                       lf->path, ret_h->descriptor_sectors, KDMV_MAX_DESCRIPTOR_SECTORS);
    }
    lf->embedded = true;
    lf->desc_off = ret_h->descriptor_sector * SECTOR_SIZE;
    lf->desc_max = ret_h->descriptor_sectors * SECTOR_SIZE;
    return VIX_OK;
}

static VixError load_descriptor(struct link_files *lf, struct store *s, bool *ret_own_extent, struct err *err)
{
    uint8_t sector[SECTOR_SIZE] = {0};
    struct sparse_header h = {0};
    CLEANUP_FREE char *text = NULL;
    uint64_t len = 0;
    VixError code = store_read_some(s, sector, sizeof sector, 0, &len, err);

    if (code == VIX_OK && memcmp(sector, "KDMV", 4) == 0) {
        code = find_embedded(lf, sector, &h, err);
    }
    if (code == VIX_OK) {
        code = read_text(s, lf->desc_off, lf->embedded ? lf->desc_max : DESCRIPTOR_MAX_BYTES, &text, &len, err);
    }
    if (code == VIX_OK && !descriptor_looks_like(text, len)) {
        code = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: not a virtual disk: it holds no descriptor", lf->path);
    }
    if (code == VIX_OK) {
        code = descriptor_parse(text, len, lf->path, &lf->desc, err);
    }
    *ret_own_extent = lf->embedded && h.capacity > 0;
    return code;
}

/* ---- names ---- */

bool link_files_is_beside(const char *name)
{
    while (name[0] == '.' && name[1] == '/') {
        name += 2;
    }
    return strchr(name, '/') == NULL;
}

/** The file of a name: decoded by the descriptor's encoding; where there is none such, by its bytes. */
static VixError path_of_name(struct store_fs *fs, struct link_files *lf, const char *name, char **ret_path,
                             struct err *err)
{
    CLEANUP_FREE char *utf8 = NULL;
    CLEANUP_FREE char *plain = store_path_beside(lf->path, name, err);

    if (plain == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    lf->outside = lf->outside || !link_files_is_beside(name);
    if (descriptor_name_to_utf8(lf->desc, name, &utf8, NULL) == VIX_OK && strcmp(utf8, name) != 0) {
        CLEANUP_FREE char *decoded = store_path_beside(lf->path, utf8, err);
        if (decoded == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        lf->outside = lf->outside || !link_files_is_beside(utf8);
        if (fs->ops->exists(fs, decoded) || !fs->ops->exists(fs, plain)) {
            *ret_path = TAKE_PTR(decoded);
            return VIX_OK;
        }
    }
    *ret_path = TAKE_PTR(plain);
    return VIX_OK;
}

static bool has_file(const struct extent_line *x)
{
    return x->name != NULL && x->type != EXTENT_ZERO && x->type != EXTENT_VMFSRAW && x->type != EXTENT_VMFSRDM;
}

static VixError find_files(struct store_fs *fs, struct link_files *lf, bool own_extent, struct err *err)
{
    lf->extents = alloc_array(lf->desc->extent_count, sizeof *lf->extents, err);
    if (lf->extents == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < lf->desc->extent_count; i++) {
        const struct extent_line *x = &lf->desc->extents[i];
        if (!has_file(x) || (i == 0 && own_extent)) {
            continue;
        }
        VixError code = path_of_name(fs, lf, x->name, &lf->extents[i], err);
        if (code != VIX_OK) {
            return code;
        }
    }
    if (lf->desc->change_track_path == NULL) {
        return VIX_OK;
    }
    return path_of_name(fs, lf, lf->desc->change_track_path, &lf->track, err);
}

VixError link_files_load(struct store_fs *fs, const char *path, struct link_files *ret_lf, struct err *err)
{
    struct link_files lf = {.path = alloc_text(path, err)};
    struct store *s;
    bool own_extent = false;

    if (lf.path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->open(fs, path, STORE_READ, &s, err);
    if (code == VIX_OK) {
        lf.mode = s->mode;
        code = load_descriptor(&lf, s, &own_extent, err);
        store_close(s);
    }
    if (code == VIX_OK) {
        code = find_files(fs, &lf, own_extent, err);
    }
    if (code != VIX_OK) {
        link_files_done(&lf);
        return code;
    }
    *ret_lf = lf;
    return VIX_OK;
}

void link_files_done(struct link_files *lf)
{
    for (size_t i = 0; lf->extents != NULL && i < lf->desc->extent_count; i++) {
        free(lf->extents[i]);
    }
    free(lf->extents);
    free(lf->track);
    free(lf->path);
    descriptor_free(lf->desc);
    *lf = (struct link_files){0};
}

/* ---- looking and removing ---- */

VixError link_files_check_no_symlink(struct store_fs *fs, const char *path, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    char *found = NULL;

    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->resolve(fs, path, &found, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *real = found;
    found = NULL;
    if (fs->ops->resolve(fs, folder, &found, NULL) != VIX_OK) {
        return VIX_OK; /* a file system without folders has no links either */
    }
    CLEANUP_FREE char *real_folder = found;
    size_t len = strlen(real_folder);
    bool slash = len > 0 && real_folder[len - 1] == '/';
    CLEANUP_FREE char *place = alloc_printf(err, "%s%s%s", real_folder, slash ? "" : "/", store_path_base(path));
    if (place == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return strcmp(place, real) == 0 ? VIX_OK
                                    : err_set(err, VIX_E_INCORRECT_FILE_TYPE,
                                              "%s: is a symbolic link to %s: name that disk itself", path, real);
}

static VixError check_unused(struct store_fs *fs, const char *path, struct err *err)
{
    struct store *s;

    if (path == NULL) {
        return VIX_OK;
    }
    VixError code = fs->ops->open(fs, path, STORE_READ | STORE_LOCK, &s, err);
    if (code == VIX_OK) {
        store_close(s);
    }
    return code == VIX_E_FILE_ALREADY_LOCKED ? code : VIX_OK;
}

VixError link_files_check_unused(struct store_fs *fs, const struct link_files *lf, struct err *err)
{
    VixError code = check_unused(fs, lf->path, err);

    for (size_t i = 0; i < lf->desc->extent_count && code == VIX_OK; i++) {
        code = check_unused(fs, lf->extents[i], err);
    }
    return code;
}

static VixError remove_file(struct store_fs *fs, const char *path, struct err *err)
{
    struct store *s;

    if (path == NULL) {
        return VIX_OK;
    }
    VixError code = fs->ops->open(fs, path, STORE_READ, &s, err);
    if (code == VIX_OK) {
        store_close(s);
    } else if (code == VIX_E_FILE_NOT_FOUND || code == VIX_E_INCORRECT_FILE_TYPE) {
        return VIX_OK;
    }
    return fs->ops->unlink(fs, path, err);
}

VixError link_files_remove_extents(struct store_fs *fs, const struct link_files *lf, struct err *err)
{
    VixError code = remove_file(fs, lf->track, err);

    for (size_t i = 0; i < lf->desc->extent_count && code == VIX_OK; i++) {
        code = remove_file(fs, lf->extents[i], err);
    }
    return code;
}

/* ---- writing ---- */

char *link_files_temp_name(const char *path, struct err *err)
{
    size_t len = strlen(path);
    size_t tail = strlen(VMDK_SUFFIX);
    bool vmdk = len > tail && text_equal_nocase(path + len - tail, VMDK_SUFFIX);

    len -= vmdk ? tail : 0;
    return alloc_printf(err, "%.*s.part-%08" PRIx32 "%s", (int)len, path, random_cid(), vmdk ? VMDK_SUFFIX : "");
}

VixError link_files_write_text(struct store_fs *fs, const char *path, const char *text, size_t len, const char *like,
                               uint32_t mode, bool replace, struct err *err)
{
    CLEANUP_FREE char *temp = link_files_temp_name(path, err);
    struct store *s;

    if (temp == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->create(fs, temp, 0, mode, &s, err);
    if (code != VIX_OK) {
        return code;
    }
    fs->ops->take_rights(fs, temp, like);
    code = store_write(s, text, len, 0, err);
    if (code == VIX_OK) {
        code = s->ops->flush(s, err);
    }
    store_close(s);
    if (code == VIX_OK) {
        code = replace ? fs->ops->rename(fs, temp, path, err) : fs->ops->rename_new(fs, temp, path, err);
    }
    if (code != VIX_OK) {
        (void)fs->ops->unlink(fs, temp, NULL);
    }
    return code;
}

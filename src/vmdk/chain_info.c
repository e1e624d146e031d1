/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_info.c - what a chain tells about itself: disk database, type, files. Any thread; each link's descriptor is
 * looked at under its meta_lock. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "vmdk/create.h"
#include "vmdk/link.h"

/* ---- space ---- */

/** Of a run of compressed grains. */
static VixError coded_bytes(struct chain *c, const struct chain_run *run, uint64_t sector, uint64_t *ret_bytes,
                            struct err *err)
{
    uint64_t first = link_extent_at(c->links[run->depth], sector)->first_sector;
    uint64_t grain_sectors = run->x->grain_sectors;
    uint64_t end = sector + run->nsectors;
    uint64_t sum = 0;

    while (sector < end) {
        uint64_t n = min_u64(end - sector, grain_sectors - (sector - first) % grain_sectors);
        struct chain_run grain;
        uint64_t bytes;
        VixError code = chain_map(c, sector, n, 0, &grain, err);
        if (code == VIX_OK) {
            code = extent_stream_record_bytes(run->x, grain.file_off, &bytes, err);
        }
        if (code != VIX_OK) {
            return code;
        }
        sum += bytes * n / grain_sectors;
        sector += n;
    }
    *ret_bytes = sum;
    return VIX_OK;
}

VixError chain_stored_bytes(struct chain *c, uint64_t sector, uint64_t nsectors, uint64_t *ret_bytes, struct err *err)
{
    uint64_t end = sector + nsectors;
    uint64_t sum = 0;

    while (sector < end) {
        struct chain_run run;
        uint64_t bytes = 0;
        VixError code = chain_map(c, sector, end - sector, EXTENT_MAP_FLAT_HOLES, &run, err);
        if (code == VIX_OK && run.kind == RUN_CODED && run.x != NULL && run.x->compressed) {
            code = coded_bytes(c, &run, sector, &bytes, err);
        } else if (code == VIX_OK && (run.kind == RUN_DATA || run.kind == RUN_CODED)) {
            bytes = run.nsectors * SECTOR_SIZE;
        }
        if (code != VIX_OK) {
            return code;
        }
        sum += bytes;
        sector += run.nsectors;
    }
    *ret_bytes = sum;
    return VIX_OK;
}

/* ---- disk database ---- */

VixError chain_meta_get(struct chain *c, const char *key, char **ret_value, struct err *err)
{
    for (size_t i = 0; i < c->link_count; i++) {
        struct link *l = c->links[i];
        SCOPED_LOCK(&l->meta_lock);
        const char *value = descriptor_ddb_get(l->desc, key);
        if (value != NULL) {
            char *copy = alloc_text(value, err);
            if (copy == NULL) {
                return VIX_E_OUT_OF_MEMORY;
            }
            *ret_value = copy;
            return VIX_OK;
        }
    }
    return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: the disk database has no key \"%.100s\"", c->links[0]->path, key);
}

VixError chain_meta_set(struct chain *c, const char *key, const char *value, struct err *err)
{
    struct link *top = c->links[0];

    if (!top->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the disk is open for reading only", top->path);
    }
    return link_set_ddb(top, key, value, err);
}

/** Keys gathered from all links. */
struct key_list {
    char **keys;
    size_t count, room;
};

static void key_list_done(struct key_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->keys[i]);
    }
    free(list->keys);
}

static VixError key_list_add(struct key_list *list, const char *key, struct err *err)
{
    if (list->count == list->room) {
        size_t room = list->room * 2 + 32;
        char **keys = alloc_array(room, sizeof *keys, err);
        if (keys == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (list->count > 0) {
            memcpy(keys, list->keys, list->count * sizeof *keys);
        }
        free(list->keys);
        list->keys = keys;
        list->room = room;
    }
    char *copy = alloc_text(key, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    list->keys[list->count++] = copy;
    return VIX_OK;
}

static VixError add_keys_of_link(struct key_list *list, struct link *l, struct err *err)
{
    const char *key;
    SCOPED_LOCK(&l->meta_lock);

    for (size_t i = 0; (key = descriptor_ddb_key(l->desc, i)) != NULL; i++) {
        VixError code = key_list_add(list, key, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    return VIX_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return text_compare_nocase(*(char *const *)a, *(char *const *)b);
}

/** The list as "key\0key\0\0", sorted, each key once. */
static VixError pack_keys(struct key_list *list, char **ret_keys, size_t *ret_len, struct err *err)
{
    size_t len = 0, room = 2;

    for (size_t i = 0; i < list->count; i++) {
        room += strlen(list->keys[i]) + 1;
    }
    char *packed = alloc_array(room, 1, err);
    if (packed == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (list->count > 0) {
        qsort(list->keys, list->count, sizeof *list->keys, compare_keys);
    }
    for (size_t i = 0; i < list->count; i++) {
        size_t n = strlen(list->keys[i]) + 1;
        if (i == 0 || !text_equal_nocase(list->keys[i], list->keys[i - 1])) {
            memcpy(packed + len, list->keys[i], n);
            len += n;
        }
    }
    *ret_keys = packed;
    *ret_len = len + 1;
    return VIX_OK;
}

VixError chain_meta_keys(struct chain *c, char **ret_keys, size_t *ret_len, struct err *err)
{
    struct key_list list = {0};
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < c->link_count; i++) {
        code = add_keys_of_link(&list, c->links[i], err);
    }
    if (code == VIX_OK) {
        code = pack_keys(&list, ret_keys, ret_len, err);
    }
    key_list_done(&list);
    return code;
}

/* ---- type, and users ---- */

bool chain_has_writer(const struct chain *c)
{
    return store_has_writer(c->links[0]->store);
}

VixDiskLibDiskType chain_disk_type(const struct chain *c)
{
    struct link *top = c->links[0];
    SCOPED_LOCK(&top->meta_lock);
    const char *thin = descriptor_ddb_get(top->desc, "thinProvisioned");

    return disk_type_of(top->desc->create_type, thin != NULL && strcmp(thin, "1") == 0);
}

/* ---- files ---- */

void chain_files_free(char **paths)
{
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++) {
        free(paths[i]);
    }
    free(paths);
}

/** The change-tracking file, if it is one by its name and place; NULL if not. A descriptor may claim any name, and
 * these files are removed with the disk. */
static char *tracking_file(const struct link *l)
{
    const char *name = l->desc->change_track_path;
    char *path = NULL, *real = NULL;

    if (name == NULL || !text_ends_with(name, "-ctk.vmdk") ||
        link_find_named(l->fs, l->path, l->desc, name, "change-tracking file", false, &path, &real, NULL) != VIX_OK) {
        return NULL;
    }
    free(real);
    return path;
}

VixError chain_files(const struct chain *c, char ***ret_paths, struct err *err)
{
    struct link *l = c->links[0];
    char **paths = alloc_array(l->extent_count + 3, sizeof *paths, err);
    size_t count = 0;

    if (paths == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&l->meta_lock);
    paths[count++] = alloc_text(l->path, err);
    for (size_t i = 0; i < l->extent_count && paths[count - 1] != NULL; i++) {
        const struct link_extent *e = &l->extents[i];
        if (e->owns_store && !e->store->is_device) {
            paths[count++] = alloc_text(e->store->path, err);
        }
    }
    if (paths[count - 1] == NULL) {
        chain_files_free(paths);
        return VIX_E_OUT_OF_MEMORY;
    }
    paths[count] = tracking_file(l);
    *ret_paths = paths;
    return VIX_OK;
}

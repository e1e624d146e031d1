/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_rebuild.c - writes the sparse extents of a link anew: grains in ascending order, without gaps, in the canonical
 * layout. The new file is complete and on stable storage before it takes the old one's name. One thread per chain. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/chain_int.h"
#include "vmdk/link.h"
#include "vmdk/rebuild.h"

#define PIECE_SECTORS 2048u /* 1 MiB at a time */

static bool is_hosted_sparse(const struct extent *x)
{
    return strcmp(x->ops->name, "SPARSE") == 0 && !x->compressed && x->grain_sectors > 0;
}

static bool is_own_file(const struct link *l, size_t index)
{
    return l->extents[index].owns_store || (index == 0 && l->self_extent);
}

VixError rebuild_check(const struct chain *c, size_t index, struct err *err)
{
    const struct link *l = c->links[0];
    const struct link_extent *e = &l->extents[index];

    if (!l->writable || !e->x->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the disk is open for reading only", l->path);
    }
    if (!is_hosted_sparse(e->x) || !is_own_file(l, index)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: an extent of type %s%s cannot be written anew", l->path,
                       e->x->ops->name, e->x->compressed ? " (compressed)" : "");
    }
    return VIX_OK;
}

const char *rebuild_target(const struct chain *c, size_t index)
{
    const struct link *l = c->links[0];
    return index == 0 && l->self_extent ? l->real_path : l->extents[index].real_path;
}

/* ---- the copy ---- */

/** Below a base disk are zeros: with them told, grains of zeros that the old file has are in the new one too. */
static VixError read_zeros(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    (void)ctx, (void)sector, (void)err;
    memset(buf, 0, nsectors * SECTOR_SIZE);
    return VIX_OK;
}

static VixError read_run(struct extent *x, const struct extent_run *run, uint64_t sector, uint64_t nsectors,
                         uint8_t *buf, struct err *err)
{
    switch (run->kind) {
    case RUN_DATA:
        return store_read(x->store, buf, nsectors * SECTOR_SIZE, run->file_off, err);
    case RUN_CODED:
        return x->ops->read_coded(x, sector, nsectors, buf, err);
    default:
        memset(buf, 0, nsectors * SECTOR_SIZE);
        return VIX_OK;
    }
}

static VixError tell(const struct rebuild *r, uint64_t sector, struct err *err)
{
    const struct link *l = r->c->links[0];

    if (r->p == NULL || r->p->tell == NULL) {
        return VIX_OK;
    }
    return r->p->tell(r->p->ctx, l->extents[r->index].first_sector + sector, l->capacity, err);
}

/** Copies what the old extent holds; zeros only where they hide something. */
static VixError copy_grains(const struct rebuild *r, struct extent *from, struct extent *to, uint8_t *buf,
                            struct err *err)
{
    bool has_parent = link_has_parent(r->c->links[0]);
    VixError code = VIX_OK;

    for (uint64_t sector = 0; code == VIX_OK && sector < from->nsectors;) {
        struct extent_run run;
        code = from->ops->map(from, sector, from->nsectors - sector, 0, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        uint64_t n = run.nsectors;
        if (run.kind != RUN_ABSENT && (run.kind != RUN_ZERO || has_parent)) {
            n = min_u64(n, PIECE_SECTORS - sector % PIECE_SECTORS);
            code = read_run(from, &run, sector, n, buf, err);
            if (code == VIX_OK) {
                code = to->ops->write(to, sector, n, buf, err);
            }
        }
        sector += n;
        if (code == VIX_OK) {
            code = tell(r, sector, err);
        }
    }
    return code;
}

static struct extent_open_params open_params(const struct link *l, struct store *store, uint64_t nsectors)
{
    return (struct extent_open_params){
        .store = store,
        .nsectors = nsectors,
        .writable = true,
        .table_cache = l->table_cache,
    };
}

static VixError fill(const struct rebuild *r, struct store *store, struct err *err)
{
    const struct link *l = r->c->links[0];
    struct extent *from = l->extents[r->index].x, *to = NULL;
    struct extent_open_params p = open_params(l, store, r->nsectors);
    CLEANUP_FREE uint8_t *buf = alloc_aligned(4096, (size_t)PIECE_SECTORS * SECTOR_SIZE, err);

    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = extent_sparse_open(&p, &to, err);
    if (code != VIX_OK) {
        return code;
    }
    if (link_has_parent(l)) {
        to->below = from->below;
    } else if (r->p == NULL || !r->p->drop_zeros) {
        to->below.read = read_zeros;
    }
    code = copy_grains(r, from, to, buf, err);
    VixError closed = to->ops->close(to, code == VIX_OK ? err : NULL);
    return code != VIX_OK ? code : closed;
}

static VixError create_and_fill(const struct rebuild *r, struct store *store, struct err *err)
{
    const struct link *l = r->c->links[0];
    char *made = NULL;
    size_t len = 0;
    VixError code = VIX_OK;

    if (r->index == 0 && l->self_extent) {
        code = descriptor_format(r->desc, &made, &len, err);
    }
    CLEANUP_FREE char *text = made;
    if (code == VIX_OK) {
        code = extent_sparse_create(store, r->nsectors, text, len, err);
    }
    return code == VIX_OK ? fill(r, store, err) : code;
}

VixError rebuild_file(const struct rebuild *r, char **ret_path, struct store **ret_store, struct err *err)
{
    const struct link *l = r->c->links[0];
    struct store *store = NULL;
    char *path = NULL;

    const char *old = rebuild_target(r->c, r->index);
    VixError code = link_create_temp(l, old, old, l->extents[r->index].store->mode, &path, &store, err);
    if (code != VIX_OK) {
        return code;
    }
    code = create_and_fill(r, store, err);
    if (code != VIX_OK) {
        store_close(store);
        (void)l->fs->ops->unlink(l->fs, path, NULL);
        free(path);
        return code;
    }
    *ret_path = path;
    *ret_store = store;
    return VIX_OK;
}

/* ---- the old file's place ---- */

/** The chain goes on with the new file, under the name that the old one was opened by. */
static void swap(struct chain *c, size_t index, struct store *store, struct extent *x)
{
    struct link *l = c->links[0];
    struct link_extent *e = &l->extents[index];
    char *name = store->path;

    (void)e->x->ops->close(e->x, NULL); /* of a file that has no name any more */
    store->path = e->store->path;
    e->store->path = name;
    store_close(e->store);
    e->x = x;
    e->store = store;
    if (index == 0 && l->self_extent) {
        l->store = store;
    }
    chain_connect_top(c);
}

static VixError install(struct chain *c, size_t index, const char *temp_path, struct store *store, struct err *err)
{
    struct link *l = c->links[0];
    struct extent_open_params p = open_params(l, store, l->extents[index].x->nsectors);
    struct extent *x = NULL;

    VixError code = extent_sparse_open(&p, &x, err);
    if (code != VIX_OK) {
        return code;
    }
    code = l->fs->ops->rename(l->fs, temp_path, rebuild_target(c, index), err);
    if (code != VIX_OK) {
        (void)x->ops->close(x, NULL);
        return code;
    }
    swap(c, index, store, x);
    return l->fs->ops->sync_folder(l->fs, l->real_path, err);
}

static VixError rebuild_one(struct chain *c, size_t index, const struct rebuild_params *p, struct err *err)
{
    struct link *l = c->links[0];
    struct rebuild r = {.c = c, .index = index, .desc = l->desc, .nsectors = l->extents[index].x->nsectors, .p = p};
    struct store *store = NULL;
    char *made = NULL;

    VixError code = rebuild_file(&r, &made, &store, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *path = made;
    code = install(c, index, path, store, err);
    if (code != VIX_OK && l->extents[index].store != store) {
        store_close(store);
        (void)l->fs->ops->unlink(l->fs, path, NULL);
    }
    return code;
}

VixError chain_rebuild(struct chain *c, const struct rebuild_params *p, struct err *err)
{
    struct link *l = c->links[0];
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < l->extent_count; i++) {
        code = rebuild_check(c, i, err);
    }
    if (code == VIX_OK) {
        code = chain_flush(c, err);
    }
    SCOPED_LOCK(&l->meta_lock);
    for (size_t i = 0; code == VIX_OK && i < l->extent_count; i++) {
        code = rebuild_one(c, i, p, err);
    }
    return code;
}

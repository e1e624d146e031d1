/* SPDX-License-Identifier: BSD-3-Clause */
/* grow_leftover.c - tells whether a file that is in the way of a new extent is what a grow that was cut short has left:
 * an extent that holds nothing, that nobody has open and that no descriptor beside it names. Such a file gets its name
 * complete, so one that is not complete is somebody else's. No state; any thread. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "codec/codec.h"
#include "vmdk/link.h"
#include "vmdk/rebuild.h"
#include "vmdk/sparse_header.h"

#define PIECE_BYTES (1u << 20)

/* ---- what it holds ---- */

static bool holds_no_grain(struct store *s)
{
    const struct extent_open_params p = {.store = s};
    struct extent *x = NULL;
    uint64_t sector = 0;

    if (extent_sparse_open(&p, &x, NULL) != VIX_OK) {
        return false;
    }
    while (sector < x->nsectors) {
        struct extent_run run;
        VixError code = x->ops->map(x, sector, x->nsectors - sector, EXTENT_MAP_STATUS, &run, NULL);
        if (code != VIX_OK || run.kind != RUN_ABSENT) {
            break;
        }
        sector += run.nsectors;
    }
    bool empty = sector == x->nsectors;
    (void)x->ops->close(x, NULL);
    return empty;
}

/** A sparse extent as it is made: no descriptor, no grain, and no byte behind its tables. */
static bool is_empty_sparse(struct store *s, uint64_t size)
{
    uint8_t sector[SECTOR_SIZE];
    struct sparse_header h;

    return size >= SECTOR_SIZE && store_read(s, sector, sizeof sector, 0, NULL) == VIX_OK &&
           sparse_header_parse(sector, s->path, &h, NULL) == VIX_OK && h.descriptor_sector == 0 &&
           h.flags == (KDMV_FLAG_NEWLINES | KDMV_FLAG_REDUNDANT) && !h.unclean && h.capacity > 0 &&
           h.capacity <= SPARSE_EXTENT_MAX_SECTORS && size == extent_sparse_empty_size(h.capacity, false) &&
           holds_no_grain(s);
}

static bool is_all_zeros(struct store *s, uint64_t size)
{
    CLEANUP_FREE uint8_t *buf = alloc_aligned(4096, PIECE_BYTES, NULL);

    for (uint64_t off = 0; buf != NULL && off < size;) {
        struct store_run run;
        if (s->ops->map(s, off, size - off, &run, NULL) != VIX_OK) {
            return false;
        }
        if (!run.hole) {
            run.len = min_u64(run.len, PIECE_BYTES);
            if (store_read(s, buf, run.len, off, NULL) != VIX_OK || !bytes_are_zero(buf, run.len)) {
                return false;
            }
        }
        off += run.len;
    }
    return buf != NULL;
}

/* ---- whose it is ---- */

struct search {
    struct store_fs *fs;
    const char *path;
    bool named;
};

static bool names_file(const struct descriptor *d, const char *base)
{
    for (size_t i = 0; i < d->extent_count; i++) {
        const char *name = d->extents[i].name;
        CLEANUP_FREE char *utf8 = NULL;
        if (name == NULL) {
            continue;
        }
        (void)descriptor_name_to_utf8(d, name, &utf8, NULL);
        if (strcmp(store_path_base(name), base) == 0 || (utf8 != NULL && strcmp(store_path_base(utf8), base) == 0)) {
            return true;
        }
    }
    return false;
}

static VixError look_at(void *ctx, const char *name, struct err *err)
{
    struct search *s = ctx;

    if (s->named || !text_ends_with(name, ".vmdk")) {
        return VIX_OK;
    }
    struct link l = {.fs = s->fs, .path = store_path_beside(s->path, name, err), .flags = CHAIN_NO_LOCK};
    if (l.path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (link_load_descriptor(&l, NULL) == VIX_OK) {
        s->named = names_file(l.desc, store_path_base(s->path));
    }
    descriptor_free(l.desc);
    store_close(l.store);
    free(l.path);
    return VIX_OK;
}

bool grow_is_leftover(struct store_fs *fs, const char *path, bool sparse)
{
    struct search s = {.fs = fs, .path = path};
    struct store *store = NULL;
    uint64_t size;

    if (fs->ops->open(fs, path, STORE_WRITE | STORE_LOCK, &store, NULL) != VIX_OK) {
        return false;
    }
    bool left = store->ops->size(store, &size, NULL) == VIX_OK &&
                (sparse ? is_empty_sparse(store, size) : is_all_zeros(store, size)) &&
                fs->ops->list(fs, path, look_at, &s, NULL) == VIX_OK && !s.named;
    store_close(store);
    return left;
}

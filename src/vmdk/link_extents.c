/* SPDX-License-Identifier: BSD-3-Clause */
/* link_extents.c - opens the extents of a link: finds the file of each line, opens it once however many lines name it,
 * and picks the extent type from line and content. The only place that knows all extent types. One thread. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "vmdk/grain_tables.h"
#include "vmdk/link.h"
#include "vmdk/sparse_header.h"

#define DEFAULT_TABLE_CACHE_MIB 32u

typedef VixError extent_open_func(const struct extent_open_params *p, struct extent **ret_x, struct err *err);

/** One extent line being opened. */
struct opening {
    struct link *l;
    const struct extent_line *line;
    struct link_extent *e;
    size_t number; /* of the line, from 1, for messages */
    const struct chain_tuning *tuning;
    bool writable;
};

static bool is_raw(enum extent_type type)
{
    return type == EXTENT_FLAT || type == EXTENT_VMFS || type == EXTENT_VMFSRDM || type == EXTENT_VMFSRAW;
}

/* ---- the file ---- */

/** Whether any line that names this file is to be written: the file is opened once for all of them. */
static bool name_is_written(const struct descriptor *d, const char *name)
{
    for (size_t i = 0; i < d->extent_count; i++) {
        const struct extent_line *line = &d->extents[i];
        if (line->access == ACCESS_RW && line->name != NULL && strcmp(line->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/** The extent that opened the file before; NULL if none did. */
static struct link_extent *find_owner(struct link *l, const char *real)
{
    for (size_t i = 0; i < l->extent_count; i++) {
        if (l->extents[i].real_path != NULL && strcmp(l->extents[i].real_path, real) == 0) {
            return &l->extents[i];
        }
    }
    return NULL;
}

static VixError check_not_descriptor(const struct opening *o, uint64_t dev, uint64_t ino, struct err *err)
{
    if (o->l->store->dev == dev && o->l->store->ino == ino) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: extent %zu names the descriptor itself (\"%.200s\")", o->l->path,
                       o->number, o->line->name);
    }
    return VIX_OK;
}

static VixError open_file(const struct opening *o, const char *path, struct err *err)
{
    struct link *l = o->l;
    bool writes = (l->flags & CHAIN_WRITE) != 0 && (o->writable || name_is_written(l->desc, o->line->name));
    uint32_t flags = (writes ? STORE_WRITE : 0) | ((l->flags & CHAIN_NO_LOCK) != 0 ? 0 : STORE_LOCK) |
                     ((l->flags & CHAIN_UNBUFFERED) != 0 ? STORE_UNBUFFERED : 0) |
                     ((l->flags & CHAIN_OUTSIDE_OK) != 0 ? STORE_DEVICE_OK : 0);

    VixError code = link_has_many_files(l) ? store_idle_open(l->fs, path, flags, &o->e->store, err)
                                           : l->fs->ops->open(l->fs, path, flags, &o->e->store, err);
    if (code != VIX_OK) {
        err_prefix(err, "%s: extent %zu: ", l->path, o->number);
        return code;
    }
    o->e->owns_store = true;
    if ((l->flags & CHAIN_OUTSIDE_OK) == 0) {
        code = l->fs->ops->check_place(l->fs, o->e->real_path, o->e->store->dev, o->e->store->ino, err);
    }
    return code == VIX_OK ? check_not_descriptor(o, o->e->store->dev, o->e->store->ino, err) : code;
}

static VixError find_and_open_file(const struct opening *o, struct err *err)
{
    struct link *l = o->l;
    char *found = NULL, *found_real = NULL;

    VixError code = link_find_named(l->fs, l->path, l->desc, o->line->name, "extent",
                                    (l->flags & CHAIN_OUTSIDE_OK) != 0, &found, &found_real, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *path = found;
    CLEANUP_FREE char *real = found_real;
    /* Looked at before the file is opened: a second lock of one file would stand against the first. */
    if (strcmp(real, l->real_path) == 0) {
        return check_not_descriptor(o, l->store->dev, l->store->ino, err);
    }
    struct link_extent *owner = find_owner(l, real);
    if (owner != NULL) {
        o->e->store = owner->store;
        return VIX_OK;
    }
    o->e->real_path = TAKE_PTR(real);
    return open_file(o, path, err);
}

/* ---- the type ---- */

/** A SPARSE line covers what the header has, but for the rounding up of VirtualBox; the last extent of a split disk may
 * have a larger header, which is how a grow that was cut short leaves it. */
static VixError check_capacity(const struct opening *o, const struct sparse_header *h, struct err *err)
{
    uint64_t slack = max_u64(h->grain_sectors, KDMV_DEFAULT_GRAIN);

    bool may_be_grown = o->number == o->l->desc->extent_count && !o->l->self_extent;

    if (h->capacity < o->line->nsectors || (h->capacity - o->line->nsectors >= slack && !may_be_grown)) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: extent %zu has %" PRIu64 " sectors in the descriptor, %" PRIu64
                       " in the header of %s, allowed: the same, or less than %" PRIu64 " more in the header",
                       o->l->path, o->number, o->line->nsectors, h->capacity, o->e->store->path, slack);
    }
    return VIX_OK;
}

/** Which extent type the content of a SPARSE or VMFSSPARSE file asks for. */
static VixError pick_by_content(struct opening *o, extent_open_func **ret_open, struct err *err)
{
    uint8_t sector[SECTOR_SIZE] = {0};
    uint64_t len = 0;
    struct sparse_header h;

    VixError code = store_read_some(o->e->store, sector, sizeof sector, 0, &len, err);
    if (code != VIX_OK) {
        return code;
    }
    if (o->line->type == EXTENT_VMFSSPARSE && get_le32(sector) == COWD_MAGIC) {
        *ret_open = extent_cowd_open;
        return VIX_OK;
    }
    if (len < sizeof sector || get_le32(sector) != KDMV_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: extent %zu of %s: not a sparse extent: %" PRIu64 " bytes at its begin, magic 0x%08" PRIx32
                       ", allowed: 0x%08x%s",
                       o->e->store->path, o->number, o->l->path, len, get_le32(sector), KDMV_MAGIC,
                       o->line->type == EXTENT_VMFSSPARSE ? " or COWD" : "");
    }
    code = sparse_header_parse(sector, o->e->store->path, &h, err);
    if (code == VIX_OK) {
        code = check_capacity(o, &h, err);
    }
    if (code == VIX_OK) {
        bool compressed = (h.flags & KDMV_FLAG_COMPRESSED) != 0;
        *ret_open = compressed ? extent_stream_open : extent_sparse_open;
        /* Our own streams say RDONLY, as VMware's do, and are written once all the same. */
        o->writable = o->writable || (compressed && o->l->writable && o->e->store->writable);
    }
    return code;
}

static VixError pick_type(struct opening *o, extent_open_func **ret_open, struct err *err)
{
    switch (o->line->type) {
    case EXTENT_FLAT:
    case EXTENT_VMFS:
    case EXTENT_VMFSRDM:
    case EXTENT_VMFSRAW:
        *ret_open = extent_flat_open;
        return VIX_OK;
    case EXTENT_SPARSE:
    case EXTENT_VMFSSPARSE:
        return pick_by_content(o, ret_open, err);
    case EXTENT_SESPARSE:
        *ret_open = extent_sesparse_open;
        return VIX_OK;
    case EXTENT_ZERO:
        *ret_open = extent_zero_open;
        return VIX_OK;
    default:
        return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: extent %zu is of type %s, which cannot be read here",
                       o->l->path, o->number, extent_type_word(o->line->type));
    }
}

static VixError open_store(struct opening *o, struct err *err)
{
    if (o->number == 1 && o->l->self_extent) {
        o->e->store = o->l->store; /* people rename such files: the name in the line means nothing */
        return VIX_OK;
    }
    return o->line->name != NULL ? find_and_open_file(o, err) : VIX_OK;
}

static uint64_t table_cache_bytes(void)
{
    return config_number(CONFIG_TABLE_CACHE_MIB, DEFAULT_TABLE_CACHE_MIB, 1, 1024) << 20;
}

static VixError open_extent(struct opening *o, struct err *err)
{
    extent_open_func *open_extent_of_type = extent_noaccess_open;

    VixError code = VIX_OK;
    if (o->line->access != ACCESS_NONE) {
        code = open_store(o, err);
        if (code == VIX_OK) {
            code = pick_type(o, &open_extent_of_type, err);
        }
    }
    if (code != VIX_OK) {
        return code;
    }
    struct extent_open_params p = {
        .store = o->e->store,
        .nsectors = o->line->nsectors,
        .offset_sectors = o->line->offset,
        .writable = o->writable,
        .table_cache_bytes = table_cache_bytes(),
        .table_cache = o->l->table_cache,
        .level = o->tuning != NULL ? o->tuning->level : 0,
        .threads = o->tuning != NULL ? o->tuning->threads : 0,
    };
    return open_extent_of_type(&p, &o->e->x, err);
}

/* ---- several extents in one file ---- */

struct file_range {
    const struct store *store;
    uint64_t start, end; /* sectors of the file */
    bool written;
};

static int compare_ranges(const void *a, const void *b)
{
    const struct file_range *x = a, *y = b;

    if (x->store != y->store) {
        return (uintptr_t)x->store < (uintptr_t)y->store ? -1 : 1;
    }
    return x->start < y->start ? -1 : x->start > y->start;
}

/** Writing through one extent must not show up in another: extents of one file may not overlap. Sparse ones, which own
 * their whole file, may not share it. */
static VixError check_overlaps(const struct link *l, const struct file_range *ranges, size_t count, struct err *err)
{
    const struct file_range *widest = NULL; /* of this file, the one that ends last */

    for (size_t i = 0; i < count; i++) {
        const struct file_range *r = &ranges[i];
        if (widest != NULL && widest->store == r->store && r->start < widest->end && (r->written || widest->written)) {
            return err_set(err, VIX_E_DISK_INVAL,
                           "%s: two extents of the disk overlap at sector %" PRIu64 " of %s; it cannot be written to",
                           l->path, r->start, r->store->path);
        }
        if (widest == NULL || widest->store != r->store || r->end > widest->end) {
            widest = r;
        }
    }
    return VIX_OK;
}

static VixError check_shared_files(const struct link *l, struct err *err)
{
    CLEANUP_FREE struct file_range *ranges = alloc_array(l->extent_count, sizeof *ranges, err);
    size_t count = 0;

    if (ranges == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < l->extent_count; i++) {
        const struct link_extent *e = &l->extents[i];
        const struct extent_line *x = &l->desc->extents[i];
        if (e->store != NULL) {
            bool raw = is_raw(x->type);
            ranges[count++] = (struct file_range){.store = e->store,
                                                  .start = raw ? x->offset : 0,
                                                  .end = raw ? x->offset + x->nsectors : UINT64_MAX,
                                                  .written = e->x->writable};
        }
    }
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    return check_overlaps(l, ranges, count, err);
}

VixError link_open_extents(struct link *l, const struct chain_tuning *tuning, struct err *err)
{
    const struct descriptor *d = l->desc;
    uint64_t sector = 0;

    l->extents = alloc_array(d->extent_count, sizeof *l->extents, err);
    if (l->extents == NULL || grain_cache_new(4, table_cache_bytes(), &l->table_cache, err) != VIX_OK) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        struct opening o = {.l = l,
                            .line = &d->extents[i],
                            .e = &l->extents[l->extent_count++],
                            .number = i + 1,
                            .tuning = tuning,
                            .writable = l->writable && d->extents[i].access != ACCESS_RDONLY};
        o.e->first_sector = sector;
        VixError code = open_extent(&o, err);
        if (code != VIX_OK) {
            return code;
        }
        sector += d->extents[i].nsectors;
    }
    return l->writable ? check_shared_files(l, err) : VIX_OK;
}

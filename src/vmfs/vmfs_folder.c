/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_folder.c - names: folders of VMFS 3 and 5 (a row of records) and of VMFS 6 (blocks of records that maps of
 * blocks tell of), and the way along a path. A folder is read into memory, below a limit. */
#include "vmfs/vmfs_int.h"

#define MAX_FOLDER (64u * MIB) /* limit: bytes of a folder of a volume */
#define V5_RECORD 140u
#define V5_NAME 128u

#define V6_HEADER 0x10000u
#define V6_VERSION 0xF50001u
#define V6_VERSION_DEBUG 0xFDC001u
#define V6_MAPS 128u
#define V6_BLOCK_HEAD 64u
#define V6_RECORD 0x120u
#define V6_NAME 256u
#define V6_BLOCK_RECORDS 1u
#define V6_BLOCK_MAP 3u
#define V6_SLOT_BITS (56u * 8)

/** An entry of a folder. */
struct entry {
    char name[VMFS_NAME_MAX + 1];
    uint32_t address, generation;
};

/** Called for each entry; *stop ends the walk. */
typedef VixError entry_func(void *ctx, const struct entry *e, bool *stop, struct err *err);

/** A folder in memory, and who wants to know of its entries. */
struct folder {
    const struct vmfs *v;
    const char *path;
    uint8_t *bytes;
    uint64_t len;
    entry_func *found;
    void *ctx;
    bool stop;
};

static VixError take_record(struct folder *d, const uint8_t *record, const uint8_t *name, size_t room, struct err *err)
{
    if (get_le32(record + 4) == 0 || name[0] == '\0') {
        return VIX_OK;
    }
    struct entry e = {.address = get_le32(record + 4), .generation = get_le32(record + 8)};
    size_t len = strnlen((const char *)name, room);
    if (len == room || memchr(name, '/', len) != NULL) {
        return vmfs_corrupt(err, "%s: the folder has a name without an end, or with a slash in it", d->path);
    }
    memcpy(e.name, name, len);
    return d->found(d->ctx, &e, &d->stop, err);
}

static VixError walk_v5(struct folder *d, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t at = 0; at + V5_RECORD <= d->len && code == VIX_OK && !d->stop; at += V5_RECORD) {
        code = take_record(d, d->bytes + at, d->bytes + at + 12, V5_NAME, err);
    }
    return code;
}

/* ---- VMFS 6 ---- */

/** A block of the folder of a kind; NULL: beyond its end, or of another kind. */
static const uint8_t *block_at(const struct folder *d, uint64_t block, unsigned kind)
{
    uint64_t off = V6_HEADER + block * d->v->md; /* both below 2^32 */

    if (off > d->len || d->len - off < d->v->md || get_le16(d->bytes + off + 2) != kind) {
        return NULL;
    }
    return d->bytes + off;
}

static VixError walk_records(struct folder *d, uint64_t block, struct err *err)
{
    const uint8_t *b = block_at(d, block, V6_BLOCK_RECORDS);
    VixError code = VIX_OK;

    if (b == NULL) {
        return vmfs_corrupt(err, "%s: block %" PRIu64 " of the folder has no records, its map says it has", d->path,
                            block);
    }
    unsigned slots = get_le16(b + 4);
    if (slots > (d->v->md - V6_BLOCK_HEAD) / V6_RECORD || slots > V6_SLOT_BITS) {
        return vmfs_corrupt(err, "%s: block %" PRIu64 " of the folder has %u records, there is room for %" PRIu32,
                            d->path, block, slots, (d->v->md - V6_BLOCK_HEAD) / V6_RECORD);
    }
    for (unsigned i = 0; i < slots && code == VIX_OK && !d->stop; i++) {
        bool is_free = (b[8 + i / 8] >> i % 8 & 1) != 0;
        const uint8_t *record = b + V6_BLOCK_HEAD + (size_t)i * V6_RECORD;
        if (!is_free) {
            code = take_record(d, record, record + 0x18, V6_NAME, err);
        }
    }
    return code;
}

/** A map has four bits for each block, the upper half of a byte first. */
static VixError walk_map(struct folder *d, uint64_t number, uint32_t block, struct err *err)
{
    const uint8_t *map = block_at(d, block, V6_BLOCK_MAP);
    uint64_t per_map = 2 * (uint64_t)(d->v->md - V6_BLOCK_HEAD);
    VixError code = VIX_OK;

    if (map == NULL) {
        return vmfs_corrupt(err, "%s: block %" PRIu32 " of the folder is no map, its header says it is", d->path,
                            block);
    }
    for (uint64_t i = 0; i < per_map && code == VIX_OK && !d->stop; i++) {
        unsigned bits = map[V6_BLOCK_HEAD + i / 2] >> (i % 2 == 0 ? 4 : 0) & 0xF;
        uint64_t records = number * per_map + i;
        bool is_free = (bits & 4) != 0, unwritten = (bits & 8) != 0;
        /* a free block may be told of, and hold anything */
        if ((bits & 3) == V6_BLOCK_RECORDS && !unwritten &&
            (!is_free || block_at(d, records, V6_BLOCK_RECORDS) != NULL)) {
            code = walk_records(d, records, err);
        }
    }
    return code;
}

static VixError walk_v6(struct folder *d, struct err *err)
{
    if (d->len < V6_HEADER) {
        return vmfs_corrupt(err, "%s: a folder of %" PRIu64 " bytes, allowed: %u and more", d->path, d->len, V6_HEADER);
    }
    uint32_t version = get_le32(d->bytes), maps = get_le32(d->bytes + 0x0C);
    if ((version != V6_VERSION && version != V6_VERSION_DEBUG) || maps > V6_MAPS) {
        return vmfs_corrupt(err, "%s: a folder of version 0x%" PRIx32 " with %" PRIu32 " maps, known: 0x%x, up to %u",
                            d->path, version, maps, V6_VERSION, V6_MAPS);
    }
    VixError code = VIX_OK;
    for (uint32_t i = 0; i < maps && code == VIX_OK && !d->stop; i++) {
        code = walk_map(d, i, get_le32(d->bytes + 0x10 + 4 * (size_t)i), err);
    }
    return code;
}

/* ---- any folder ---- */

/** Reads what there is of a folder into memory that is zeros: what is a hole, which may be all of it, costs nothing. */
static VixError read_folder(struct vmfs_file *f, uint8_t *bytes, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t off = 0; off < f->inode.length && code == VIX_OK;) {
        struct vmfs_run run;
        code = vmfs_file_map(f, off, f->inode.length - off, &run, err);
        if (code == VIX_OK && run.kind != VMFS_HOLE) {
            code = vmfs_file_read(f, bytes + off, run.len, off, err);
        }
        off += code == VIX_OK ? run.len : 0;
    }
    return code;
}

/** Reads a folder and tells of its entries. Takes the inode. */
static VixError walk_folder(struct vmfs *v, const char *path, struct vmfs_inode *inode, entry_func *found, void *ctx,
                            struct err *err)
{
    struct vmfs_file *f = NULL;
    struct folder d = {.v = v, .path = path, .len = inode->length, .found = found, .ctx = ctx};

    VixError code = vmfs_file_new(v, path, inode, &f, err);
    if (code != VIX_OK) {
        return code;
    }
    if (d.len > MAX_FOLDER) {
        code = vmfs_corrupt(err, "%s: a folder of %" PRIu64 " bytes, allowed: %u", path, d.len, MAX_FOLDER);
    }
    CLEANUP_FREE uint8_t *bytes = code == VIX_OK ? alloc_zero(d.len, err) : NULL;
    if (code == VIX_OK && bytes == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK) {
        d.bytes = bytes;
        code = read_folder(f, bytes, err);
    }
    if (code == VIX_OK) {
        code = v->v6 ? walk_v6(&d, err) : walk_v5(&d, err);
    }
    vmfs_file_close(f);
    return code;
}

struct wanted {
    const char *name;
    size_t len;
    bool found;
    struct entry entry;
};

static VixError compare_name(void *ctx, const struct entry *e, bool *stop, struct err *err)
{
    struct wanted *w = ctx;

    (void)err;
    if (strlen(e->name) == w->len && memcmp(e->name, w->name, w->len) == 0) {
        w->entry = *e;
        w->found = true;
        *stop = true;
    }
    return VIX_OK;
}

/** One step along a path; takes *at and puts the next descriptor there. */
static VixError step(struct vmfs *v, const char *path, struct wanted *w, struct vmfs_inode *at, struct err *err)
{
    if (at->type != VMFS_TYPE_FOLDER) {
        bool link = at->type == VMFS_TYPE_LINK;
        free(at->bytes);
        return link ? err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: goes through a symbolic link, which is not followed",
                              path)
                    : err_set(err, VIX_E_FILE_NOT_FOUND, "%s: goes through what is no folder", path);
    }
    VixError code = walk_folder(v, path, at, compare_name, w, err);
    if (code == VIX_OK && !w->found) {
        code =
            err_set(err, VIX_E_FILE_NOT_FOUND, "%s: is not on the datastore: no \"%.*s\"", path, (int)w->len, w->name);
    }
    return code == VIX_OK ? vmfs_find_inode(v, w->entry.address, &w->entry.generation, path, at, err) : code;
}

VixError vmfs_lookup(struct vmfs *v, const char *path, struct vmfs_inode *ret_inode, struct err *err)
{
    struct vmfs_inode at;
    unsigned depth = 0;

    VixError code = vmfs_read_inode(v, v->fdc_off, &at, err);
    for (const char *p = path; code == VIX_OK && *p != '\0';) {
        struct wanted w = {.name = p, .len = strcspn(p, "/")};
        p += w.len + (p[w.len] == '/');
        if (w.len == 0 || (w.len == 1 && w.name[0] == '.')) {
            continue;
        }
        if (++depth > VMFS_PATH_DEPTH || w.len > VMFS_NAME_MAX) {
            free(at.bytes);
            return err_set(err, VIX_E_FILE_NAME_INVALID,
                           "%.200s: more than %u folders, or a name of more than %u bytes", path, VMFS_PATH_DEPTH,
                           VMFS_NAME_MAX);
        }
        code = step(v, path, &w, &at, err);
    }
    if (code == VIX_OK) {
        *ret_inode = at;
    }
    return code;
}

struct listing {
    VixError (*found)(void *ctx, const char *name, struct err *err);
    void *ctx;
};

static VixError tell_name(void *ctx, const struct entry *e, bool *stop, struct err *err)
{
    const struct listing *l = ctx;

    (void)stop;
    return strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0 ? VIX_OK : l->found(l->ctx, e->name, err);
}

VixError vmfs_list(struct vmfs *v, const char *path, VixError (*found)(void *ctx, const char *name, struct err *err),
                   void *ctx, struct err *err)
{
    struct listing l = {.found = found, .ctx = ctx};
    struct vmfs_inode n;

    VixError code = vmfs_lookup(v, path, &n, err);
    if (code == VIX_OK && n.type != VMFS_TYPE_FOLDER) {
        free(n.bytes);
        code = err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is no folder", path);
    }
    return code == VIX_OK ? walk_folder(v, path, &n, tell_name, &l, err) : code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* link.c - opens one link: finds out what a file is, reads its descriptor, refuses what cannot be served. The extents
 * are link_extents.c's, changes of the descriptor link_save.c's. */
#include "vmdk/link.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/text.h"
#include "vmdk/grain_tables.h"
#include "vmdk/sparse_header.h"

#define UNFINISHED_MAGIC 0x766D646Bu /* "vmdk" turned round in small letters: open-vmdk has not finished the file */

/** The first bytes of a file and its length. */
struct first_bytes {
    uint8_t sector[SECTOR_SIZE];
    uint64_t len; /* bytes of sector that the file has */
    uint64_t file_size;
};

static VixError refuse(const struct link *l, VixError code, const char *why, struct err *err)
{
    return err_set(err, code, "%s: %s", l->path, why);
}

/* ---- where the descriptor is ---- */

static VixError read_text(struct link *l, uint64_t off, uint64_t max, struct err *err)
{
    uint64_t len = 0;
    CLEANUP_FREE char *text = alloc_array((size_t)max + 1, 1, err);

    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(l->store, text, max, off, &len, err);
    if (code != VIX_OK) {
        return code;
    }
    return descriptor_parse(text, (size_t)len, l->path, &l->desc, err);
}

/** A KDMV file: the descriptor is embedded, and the file is the first extent unless its capacity is 0. */
static VixError load_embedded(struct link *l, const struct first_bytes *first, struct err *err)
{
    struct sparse_header h;
    uint64_t off = 0;

    if (first->len < SECTOR_SIZE) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a virtual disk: the file has %" PRIu64 " bytes, a header takes %u", l->path,
                       first->file_size, SECTOR_SIZE);
    }
    VixError code = sparse_header_parse(first->sector, l->path, &h, err);
    if (code != VIX_OK) {
        return code;
    }
    if (h.descriptor_sector == 0) {
        return refuse(l, VIX_E_DISK_INVALIDDISK,
                      "this is one extent of a disk, without descriptor: open the disk's descriptor file", err);
    }
    if (h.descriptor_sectors == 0 || h.descriptor_sectors > KDMV_MAX_DESCRIPTOR_SECTORS ||
        !checked_mul(h.descriptor_sector, SECTOR_SIZE, &off) || off >= first->file_size) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the embedded descriptor has %" PRIu64 " sectors at sector %" PRIu64
                       ", allowed: 1 to %u sectors inside the file of %" PRIu64 " bytes",
                       l->path, h.descriptor_sectors, h.descriptor_sector, KDMV_MAX_DESCRIPTOR_SECTORS,
                       first->file_size);
    }
    l->embedded = true;
    l->self_extent = h.capacity != 0;
    l->desc_off = off;
    l->desc_max = h.descriptor_sectors * SECTOR_SIZE;
    return read_text(l, l->desc_off, l->desc_max, err);
}

static VixError load_separate(struct link *l, const struct first_bytes *first, struct err *err)
{
    if (first->file_size > DESCRIPTOR_MAX_BYTES) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a virtual disk: it begins like a descriptor but has %" PRIu64 " bytes, allowed: %u",
                       l->path, first->file_size, DESCRIPTOR_MAX_BYTES);
    }
    return read_text(l, 0, first->file_size, err);
}

/** Whether a file can be a text descriptor: text, or lines up to a NUL of which the first says that it is one.
 * Control characters may be in them: what a line may hold is the parser's to say. */
static bool looks_like_text(const struct first_bytes *first)
{
    const uint8_t *s = first->sector;

    for (size_t i = 0; i < first->len; i++) {
        if (s[i] < ' ' && !text_is_space((char)s[i])) {
            return descriptor_looks_like((const char *)s, first->len);
        }
    }
    return first->len > 0 &&
           (s[0] == '#' || text_is_space((char)s[0]) || descriptor_looks_like((const char *)s, first->len));
}

/** What the first bytes say. */
static VixError load_by_magic(struct link *l, const struct first_bytes *first, struct err *err)
{
    if (first->file_size == 0) {
        return refuse(l, VIX_E_DISK_INVALIDDISK, "not a virtual disk: the file is empty", err);
    }
    if (first->len >= 4 && get_le32(first->sector) == KDMV_MAGIC) {
        return load_embedded(l, first, err);
    }
    if (first->len >= 4 && get_le32(first->sector) == UNFINISHED_MAGIC) {
        return refuse(l, VIX_E_DISK_INVALIDDISK,
                      "the file begins with \"kdmv\": its writer (open-vmdk) has not finished it", err);
    }
    if (first->len >= 4 && get_le32(first->sector) == COWD_MAGIC) {
        return refuse(l, VIX_E_DISK_INVALIDDISK,
                      "this is the data of a VMFS sparse disk (COWD): open its descriptor file", err);
    }
    if (first->len >= 8 && get_le64(first->sector) == SESPARSE_MAGIC) {
        return refuse(l, VIX_E_DISK_INVALIDDISK, "this is the data of an SE sparse disk: open its descriptor file",
                      err);
    }
    if (looks_like_text(first)) {
        return load_separate(l, first, err);
    }
    return refuse(l, VIX_E_DISK_INVALIDDISK,
                  "not a VMDK, or encrypted: neither a descriptor nor a header is at its begin (raw data of a disk is "
                  "opened by the disk's descriptor file)",
                  err);
}

static VixError read_first(struct store *s, struct first_bytes *ret_first, struct err *err)
{
    VixError code = s->ops->size(s, &ret_first->file_size, err);

    if (code != VIX_OK) {
        return code;
    }
    return store_read_some(s, ret_first->sector, SECTOR_SIZE, 0, &ret_first->len, err);
}

static uint32_t store_flags(uint32_t chain_flags)
{
    return ((chain_flags & CHAIN_WRITE) != 0 ? STORE_WRITE : 0) |
           ((chain_flags & CHAIN_UNBUFFERED) != 0 ? STORE_UNBUFFERED : 0) |
           ((chain_flags & CHAIN_NO_LOCK) != 0 ? 0 : STORE_LOCK);
}

VixError link_load_descriptor(struct link *l, struct err *err)
{
    struct first_bytes first;

    VixError code = l->fs->ops->open(l->fs, l->path, store_flags(l->flags), &l->store, err);
    if (code == VIX_OK) {
        code = read_first(l->store, &first, err);
    }
    if (code == VIX_OK) {
        code = load_by_magic(l, &first, err);
    }
    return code;
}

VixError link_peek(struct store_fs *fs, const char *path, struct link_peek *ret_peek, struct err *err)
{
    struct link l = {.fs = fs, .path = (char *)(uintptr_t)path, .flags = CHAIN_NO_LOCK};

    VixError code = link_load_descriptor(&l, err);
    if (code == VIX_OK) {
        *ret_peek = (struct link_peek){.dev = l.store->dev, .ino = l.store->ino, .cid = l.desc->cid};
    }
    descriptor_free(l.desc);
    store_close(l.store);
    return code;
}

/* ---- what cannot be served ---- */

static VixError check_embedded(const struct link *l, struct err *err)
{
    const struct descriptor *d = l->desc;

    if (l->self_extent && d->extents[0].type != EXTENT_SPARSE) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor inside a sparse extent says %s for its first extent, allowed: SPARSE",
                       l->path, extent_type_word(d->extents[0].type));
    }
    return VIX_OK;
}

/** A disk with a change-tracking file: writes that the file does not learn of would make later incremental backups
 * wrong. */
static VixError check_tracking(const struct link *l, struct err *err)
{
    if ((l->flags & CHAIN_WRITE) == 0 || (l->flags & CHAIN_DROP_TRACKING) != 0 || l->desc->change_track_path == NULL) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                   "%s: changes of this disk are tracked in \"%.200s\", which writing here would make wrong; %s=drop "
                   "allows writing and takes the disk off that file",
                   l->path, l->desc->change_track_path, CONFIG_CHANGE_TRACKING);
}

/** "NAME-digest.vmdk", or that of a snapshot: "NAME-digest-000001.vmdk". */
static bool is_digest_name(const char *name)
{
    const char *tail = strstr(name, "-digest");

    for (; tail != NULL; tail = strstr(tail, "-digest")) {
        tail += strlen("-digest");
        size_t digits = tail[0] == '-' ? strspn(tail + 1, "0123456789") : 0;
        if (text_equal_nocase(tail + (digits == 6 ? 7 : 0), ".vmdk")) {
            return true;
        }
    }
    return false;
}

VixError link_check_name(struct store_fs *fs, const char *path, struct err *err)
{
    if (store_path_is_temporary(path) && fs->ops->exists(fs, path)) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: by its name this is what an operation that was cut short has left of a disk that it was "
                       "making or removing; it can be removed",
                       path);
    }
    return VIX_OK;
}

static VixError check_servable(const struct link *l, struct err *err)
{
    if (l->desc->encrypted) {
        return refuse(l, VIX_E_DISK_NEEDKEY, "the disk is encrypted; only the host that has the key can read it", err);
    }
    if (is_digest_name(store_path_base(l->path))) {
        return refuse(l, VIX_E_DISK_NOTSUPPORTED,
                      "a digest disk holds hashes of another disk for a read cache, no data of its own", err);
    }
    if (l->desc->capacity == 0) {
        return refuse(l, VIX_E_DISK_INVAL, "the descriptor has no extents, or only empty ones", err);
    }
    VixError code = check_embedded(l, err);
    return code == VIX_OK ? check_tracking(l, err) : code;
}

/* ---- open and close ---- */

static VixError open_parts(struct link *l, const struct chain_tuning *tuning, struct err *err)
{
    VixError code = tuning != NULL && tuning->unfinished ? VIX_OK : link_check_name(l->fs, l->path, err);

    if (code == VIX_OK) {
        code = link_load_descriptor(l, err);
    }
    if (code == VIX_OK) {
        code = l->fs->ops->resolve(l->fs, l->path, &l->real_path, err);
    }
    if (code == VIX_OK) {
        code = check_servable(l, err);
    }
    if (code == VIX_OK) {
        l->capacity = l->desc->capacity;
        code = link_open_extents(l, tuning, err);
    }
    return code;
}

VixError link_open(struct store_fs *fs, const char *path, uint32_t flags, const struct chain_tuning *tuning,
                   struct link **ret_link, struct err *err)
{
    struct link *l = alloc_zero(sizeof *l, err);

    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&l->meta_lock, NULL);
    l->fs = fs;
    l->flags = flags;
    l->writable = (flags & CHAIN_WRITE) != 0;
    l->path = alloc_text(path, err);
    VixError code = l->path != NULL ? open_parts(l, tuning, err) : VIX_E_OUT_OF_MEMORY;
    if (code != VIX_OK) {
        (void)link_close(l, NULL);
        return code;
    }
    *ret_link = l;
    return VIX_OK;
}

VixError link_close(struct link *l, struct err *err)
{
    VixError first = VIX_OK;

    if (l == NULL) {
        return VIX_OK;
    }
    for (size_t i = 0; i < l->extent_count; i++) {
        struct link_extent *e = &l->extents[i];
        VixError code = e->x != NULL ? e->x->ops->close(e->x, first == VIX_OK ? err : NULL) : VIX_OK;
        first = first != VIX_OK ? first : code;
    }
    for (size_t i = 0; i < l->extent_count; i++) {
        if (l->extents[i].owns_store) {
            store_close(l->extents[i].store);
        }
        free(l->extents[i].real_path);
    }
    grain_cache_free(l->table_cache);
    store_close(l->store);
    descriptor_free(l->desc);
    (void)pthread_mutex_destroy(&l->meta_lock);
    free(l->extents);
    free(l->real_path);
    free(l->path);
    free(l);
    return first;
}

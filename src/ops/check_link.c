/* SPDX-License-Identifier: BSD-3-Clause */
/* check_link.c - the pass over a link: its descriptor, whether its files are there, and the extents one by one.
 * Invariants: the descriptor can be read and names each thing once; every extent is a file of its own, or a part of one
 * that no other extent has; type, size and compression are the same in descriptor and headers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/check_int.h"
#include "ops/link_files.h"
#include "ops/ops.h"
#include "vmdk/cowd_header.h"
#include "vmdk/link.h"
#include "vmdk/sparse_header.h"

/** A link being checked. */
struct link_check {
    struct check *c;
    struct check_link *link;
    struct store *store; /* of the descriptor */
    uint64_t size;       /* of its file */
    uint8_t sector[SECTOR_SIZE];
    uint64_t text_off, text_max;
    bool pad;     /* the descriptor's end is to be set right */
    bool renewed; /* the content ID was changed for repairs, or it was told that it stays */
    char *text;   /* of the descriptor */
    size_t len;   /* of text, without NULs at the end */
    struct extent_place *places;
    size_t place_count;
};

/** Where an extent lies. */
struct extent_place {
    char *real_path;
    uint64_t start, end; /* sectors of the file */
    uint64_t first;      /* of the disk */
};

/* ---- the descriptor ---- */

static bool is_magic(const uint8_t *sector, uint32_t magic)
{
    return get_le32(sector) == magic;
}

/** Reads the text and parses it; a text that is none is told, and there is no descriptor then. */
static VixError read_text(struct link_check *k, struct err *err)
{
    struct err why;
    uint64_t got = 0;

    err_init(&why);
    k->text = alloc_zero((size_t)k->text_max + 1, err);
    if (k->text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(k->store, k->text, k->text_max, k->text_off, &got, err);
    if (code != VIX_OK) {
        return code;
    }
    k->len = strnlen(k->text, (size_t)got);
    code = descriptor_parse(k->text, k->len, k->link->path, &k->link->desc, &why);
    if (code == VIX_E_OUT_OF_MEMORY) {
        return err_set(err, code, "%s", why.text);
    }
    if (code != VIX_OK) {
        (void)check_found(k->c, PROBLEM_DESCRIPTOR_INVALID, k->text_off, 0, 0, "%s", why.text);
    }
    return VIX_OK;
}

/** A hosted sparse extent: it may hold the descriptor. */
static VixError read_embedded(struct link_check *k, struct err *err)
{
    struct sparse_header h;

    if (sparse_header_parse(k->sector, k->link->path, &h, NULL) != VIX_OK || h.descriptor_sector == 0) {
        k->link->alone = true;
        return VIX_OK;
    }
    k->link->self_extent = h.capacity != 0;
    k->text_off = h.descriptor_sector * SECTOR_SIZE;
    k->text_max = h.descriptor_sectors * SECTOR_SIZE;
    if (h.descriptor_sectors == 0 || k->text_off >= k->size) {
        (void)check_found(k->c, PROBLEM_DESCRIPTOR_INVALID, 28, 0, 0,
                          "the embedded descriptor has %" PRIu64 " sectors at sector %" PRIu64 ", the file has %" PRIu64
                          " bytes",
                          h.descriptor_sectors, h.descriptor_sector, k->size);
        return VIX_OK;
    }
    if (h.capacity != 0 && sparse_header_descriptor_meets_grains(&h)) {
        (void)check_found(k->c, PROBLEM_DESCRIPTOR_INVALID, 36, 0, 0,
                          "the place of the embedded descriptor, %" PRIu64 " sectors at sector %" PRIu64
                          ", reaches into the grains, which begin at sector %" PRIu64,
                          h.descriptor_sectors, h.descriptor_sector, h.overhead_sectors);
    }
    return read_text(k, err);
}

static VixError read_separate(struct link_check *k, struct err *err)
{
    CLEANUP_FREE char *head = alloc_zero(DESCRIPTOR_MAX_LINE, err);
    uint64_t got = 0;

    if (head == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(k->store, head, DESCRIPTOR_MAX_LINE, 0, &got, err);
    if (code != VIX_OK) {
        return code;
    }
    if (k->size > DESCRIPTOR_MAX_BYTES || !descriptor_looks_like(head, (size_t)got)) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a virtual disk: neither a descriptor nor a known header is at its beginning",
                       k->link->path);
    }
    k->text_max = k->size;
    return read_text(k, err);
}

static VixError read_descriptor(struct link_check *k, struct err *err)
{
    if (is_magic(k->sector, KDMV_MAGIC)) {
        return read_embedded(k, err);
    }
    if (is_magic(k->sector, COWD_MAGIC) || get_le64(k->sector) == SESPARSE_MAGIC) {
        k->link->alone = true;
        return VIX_OK;
    }
    return read_separate(k, err);
}

/** What only the bytes of the text tell: how it ends. */
static void check_text_end(struct link_check *k)
{
    bool padded = !k->link->self_extent && k->text_off == 0 && k->len < k->size;
    bool unended = k->len > 0 && k->text[k->len - 1] != '\n';

    if (k->link->desc == NULL || k->text_off != 0 || (!padded && !unended)) {
        return; /* an embedded descriptor is followed by zeros as a rule */
    }
    for (uint64_t i = k->len; i < k->size; i++) {
        if (k->text[i] != '\0') {
            return;
        }
    }
    k->pad = check_found(k->c, PROBLEM_DESCRIPTOR_PADDING, k->len, 0, 0,
                         "the text ends at byte %zu%s, the file at byte %" PRIu64, k->len,
                         unended ? " without a line end" : "", k->size);
}

/** Puts the text alone into the file. */
static VixError repair_text(struct link_check *k, struct err *err)
{
    size_t len = k->len;

    if (!k->pad) {
        return VIX_OK;
    }
    if (k->text[len - 1] != '\n') {
        k->text[len++] = '\n'; /* there is room for it: read_text took one byte more */
    }
    const char *path = k->link->real_path;
    VixError code = link_files_write_text(k->c->fs, path, k->text, len, path, k->store->mode, true, err);
    return code == VIX_OK ? k->c->fs->ops->sync_folder(k->c->fs, k->link->real_path, err) : code;
}

/* ---- the content ID ---- */

/** By the file's name: a repair of the text has put another file in its place. */
static VixError change_cid(struct link_check *k, bool *ret_done, struct err *err)
{
    bool embedded = k->text_off != 0;
    struct store *s = k->store;
    VixError code = VIX_OK;

    if (!embedded) {
        code = k->c->fs->ops->open(k->c->fs, k->link->real_path, STORE_WRITE, &s, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    struct link l = {
        .store = s, .desc = k->link->desc, .embedded = embedded, .desc_off = k->text_off, .desc_max = k->text_max};
    code = link_renew_cid_in_place(&l, ret_done, err);
    if (!embedded) {
        store_close(s);
    }
    return code;
}

VixError check_renew_cid(struct check_file *f, struct err *err)
{
    struct link_check *k = f->link;
    const struct descriptor *d = k->link->desc;
    char *found = NULL;
    struct err why;
    bool done = false;

    if (d == NULL || k->renewed) {
        return VIX_OK;
    }
    err_init(&why);
    VixError code = k->c->has_child ? VIX_OK : ops_find_child(k->c->fs, k->link->path, NULL, &found, &why);
    CLEANUP_FREE char *child = found;
    if (code == VIX_E_OUT_OF_MEMORY) {
        return err_set(err, code, "%s", why.text);
    }
    bool is_parent = k->c->has_child || child != NULL || code != VIX_OK; /* or may be one */
    code = is_parent ? VIX_OK : change_cid(k, &done, err);
    if (code != VIX_OK) {
        return code;
    }
    k->renewed = true;
    if (!done) {
        (void)check_found(k->c, PROBLEM_CONTENT_ID_KEPT, CHECK_NOWHERE, 0, 0,
                          "sectors that read as absent before have data now, and %s%s: make copies that go by the "
                          "content ID %08" PRIx32 " anew",
                          child != NULL         ? "the content ID stays because it is named by the child "
                          : why.text[0] != '\0' ? "the content ID stays because "
                          : is_parent           ? "the content ID stays because it is named by the disk above"
                                                : "the content ID cannot be changed in its place",
                          child != NULL ? child : why.text, d->cid);
    }
    return VIX_OK;
}

/* ---- extents ---- */

static bool is_raw(enum extent_type type)
{
    return type == EXTENT_FLAT || type == EXTENT_VMFS || type == EXTENT_VMFSRDM || type == EXTENT_VMFSRAW;
}

/** Which pass an extent's first bytes ask for; NULL if they do not fit its type. */
typedef VixError pass_func(struct check_file *f, struct err *err);

static pass_func *pass_of(const struct extent_line *line, const uint8_t *sector, const char *create_type,
                          struct check *c)
{
    bool hosted = line == NULL || line->type == EXTENT_SPARSE || line->type == EXTENT_VMFSSPARSE;
    struct sparse_header h;

    if (line != NULL && is_raw(line->type)) {
        return check_flat;
    }
    if (hosted && is_magic(sector, KDMV_MAGIC)) {
        bool compressed = (get_le32(sector + 8) & KDMV_FLAG_COMPRESSED) != 0;
        bool stream = create_type != NULL && strcasecmp(create_type, "streamOptimized") == 0;
        if (create_type != NULL && compressed != stream && sparse_header_parse(sector, "", &h, NULL) == VIX_OK) {
            (void)check_found(c, PROBLEM_COMPRESSION, 8, 0, 0, "createType is \"%.80s\", flags of the header are 0x%X",
                              create_type, get_le32(sector + 8));
        }
        return compressed ? check_stream : check_sparse;
    }
    if ((line == NULL || line->type == EXTENT_VMFSSPARSE) && is_magic(sector, COWD_MAGIC)) {
        return check_cowd;
    }
    if ((line == NULL || line->type == EXTENT_SESPARSE) && get_le64(sector) == SESPARSE_MAGIC) {
        return check_sesparse;
    }
    return NULL;
}

static VixError check_file_at(struct link_check *k, const struct extent_line *line, struct store *s, uint64_t first,
                              struct err *err)
{
    const struct descriptor *d = k->link->desc;
    struct check_file f = {.c = k->c,
                           .store = s,
                           .first = first,
                           .nsectors = line != NULL ? line->nsectors : 0,
                           .offset = line != NULL ? line->offset : 0,
                           .in_child = d != NULL && d->parent_cid != CID_NO_PARENT,
                           .link = k};
    uint8_t sector[SECTOR_SIZE];

    VixError code = s->ops->size(s, &f.len, err);
    if (code == VIX_OK) {
        code = check_read_padded(s, sector, sizeof sector, 0, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    pass_func *pass = pass_of(line, sector, d != NULL ? d->create_type : NULL, k->c);
    if (pass != NULL) {
        return pass(&f, err);
    }
    (void)check_found(k->c, PROBLEM_EXTENT_MAGIC, 0, first, f.nsectors,
                      "the extent is to be of type %s, the file of %" PRIu64 " bytes begins with 0x%08" PRIX32,
                      line != NULL ? extent_type_word(line->type) : "SPARSE", f.len, get_le32(sector));
    return VIX_OK;
}

static enum problem_code file_problem(VixError code)
{
    switch (code) {
    case VIX_E_FILE_NOT_FOUND:
        return PROBLEM_EXTENT_MISSING;
    case VIX_E_FILE_ACCESS_ERROR:
        return PROBLEM_EXTENT_OUTSIDE;
    default:
        return PROBLEM_EXTENT_UNREADABLE;
    }
}

/** Whether a failure to open is the disk's fault, not the moment's. */
static bool is_finding(VixError code)
{
    return code != VIX_E_FILE_ALREADY_LOCKED && code != VIX_E_OUT_OF_MEMORY && code != VIX_E_FILE_READ_ONLY &&
           code != VIX_E_TOO_MANY_HANDLES && code != VIX_E_FILE_ERROR;
}

static bool is_descriptor(const struct link_check *k, const struct store *s)
{
    return s->dev == k->link->dev && s->ino == k->link->ino;
}

/** Opens the file of an extent. Where another name of the descriptor is one, the lock in the way is our own. */
static VixError open_extent(const struct link_check *k, const char *path, struct store **ret_s, struct err *err)
{
    struct store_fs *fs = k->c->fs;
    struct store *s = NULL;
    VixError code = fs->ops->open(fs, path, check_store_flags(k->c), ret_s, err);

    if (code != VIX_E_FILE_ALREADY_LOCKED || fs->ops->open(fs, path, STORE_READ, &s, NULL) != VIX_OK) {
        return code;
    }
    if (!is_descriptor(k, s)) {
        store_close(s);
        return code;
    }
    *ret_s = s;
    return VIX_OK;
}

/** Opens and checks the file of an extent, as a file of its own. */
static VixError check_extent_file(struct link_check *k, const struct extent_line *line, const char *path,
                                  uint64_t first, struct err *err)
{
    struct store *s = NULL;
    struct err why;

    err_init(&why);
    VixError code = open_extent(k, path, &s, &why);
    if (code != VIX_OK && is_finding(code)) {
        (void)check_found(k->c, PROBLEM_EXTENT_UNREADABLE, CHECK_NOWHERE, first, line->nsectors, "%s", why.text);
        return check_end_file(k->c, path, false, err);
    }
    if (code != VIX_OK) {
        return err_set(err, code, "%s", why.text);
    }
    if (is_descriptor(k, s)) {
        (void)check_found(k->c, PROBLEM_EXTENT_IS_DESCRIPTOR, CHECK_NOWHERE, first, line->nsectors,
                          "the extent \"%.200s\" is the descriptor itself", line->name);
    } else {
        code = check_file_at(k, line, s, first, err);
    }
    store_close(s);
    return code == VIX_OK ? check_end_file(k->c, path, true, err) : code;
}

/** Finds the file of an extent line; what is in the way is told, and *ret_path stays NULL. */
static VixError find_extent(struct link_check *k, const struct extent_line *line, size_t number, uint64_t first,
                            char **ret_path, char **ret_real, struct err *err)
{
    struct err why;

    err_init(&why);
    VixError code = link_find_named(k->c->fs, k->link->path, k->link->desc, line->name, "extent",
                                    (k->c->flags & CHECK_OUTSIDE_OK) != 0, ret_path, ret_real, &why);
    if (code == VIX_E_OUT_OF_MEMORY) {
        return err_set(err, code, "%s", why.text);
    }
    if (code != VIX_OK) {
        (void)check_found(k->c, file_problem(code), CHECK_NOWHERE, first, line->nsectors, "extent %zu: %s", number,
                          why.text);
    }
    return VIX_OK;
}

static void add_place(struct link_check *k, const struct extent_line *line, char *real, uint64_t first)
{
    bool raw = is_raw(line->type);

    k->places[k->place_count++] = (struct extent_place){
        .real_path = real,
        .start = raw ? line->offset : 0,
        .end = raw ? line->offset + line->nsectors : UINT64_MAX,
        .first = first,
    };
}

static int compare_places(const void *a, const void *b)
{
    const struct extent_place *x = a, *y = b;
    int names = strcmp(x->real_path, y->real_path);

    return names != 0 ? names : x->start < y->start ? -1 : x->start > y->start;
}

static void check_overlaps(struct link_check *k)
{
    struct extent_place *widest = NULL;

    qsort(k->places, k->place_count, sizeof *k->places, compare_places);
    for (size_t i = 0; i < k->place_count; i++) {
        struct extent_place *p = &k->places[i];
        bool same = widest != NULL && strcmp(widest->real_path, p->real_path) == 0;
        if (same && p->start < widest->end) {
            (void)check_found(k->c, PROBLEM_EXTENTS_OVERLAP, CHECK_NOWHERE, p->first,
                              p->end == UINT64_MAX ? 0 : p->end - p->start,
                              "two extents share sector %" PRIu64 " of %s", p->start, p->real_path);
        }
        if (!same || p->end > widest->end) {
            widest = p;
        }
    }
}

static bool is_readable_type(enum extent_type type)
{
    return type != EXTENT_VSANSPARSE;
}

/** The file of a line: noted in places, checked later. */
static VixError look_at_line(struct link_check *k, size_t index, uint64_t first, char **ret_path, struct err *err)
{
    const struct extent_line *line = &k->link->desc->extents[index];
    char *real = NULL;

    if (!is_readable_type(line->type)) {
        (void)check_found(k->c, PROBLEM_EXTENT_TYPE, CHECK_NOWHERE, first, line->nsectors, "extent %zu is of type %s",
                          index + 1, extent_type_word(line->type));
        return VIX_OK;
    }
    VixError code = find_extent(k, line, index + 1, first, ret_path, &real, err);
    if (real != NULL && strcmp(real, k->link->real_path) == 0) {
        (void)check_found(k->c, PROBLEM_EXTENT_IS_DESCRIPTOR, CHECK_NOWHERE, first, line->nsectors,
                          "extent %zu names the descriptor itself (\"%.200s\")", index + 1, line->name);
        free(*ret_path);
        *ret_path = NULL;
        free(real);
    } else if (real != NULL) {
        add_place(k, line, real, first);
    }
    return code;
}

static bool has_file(const struct extent_line *line)
{
    return line->nsectors > 0 && line->access != ACCESS_NONE && line->type != EXTENT_ZERO;
}

/** The files of all lines: first whether they are there and apart, as findings of the descriptor. *ret_paths: one for
 * each line, NULL where there is nothing to check. */
static VixError look_at_lines(struct link_check *k, char **paths, struct err *err)
{
    const struct descriptor *d = k->link->desc;
    uint64_t first = 0;
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < d->extent_count; i++) {
        bool own = i == 0 && k->link->self_extent;
        if (has_file(&d->extents[i]) && !own) {
            code = look_at_line(k, i, first, &paths[i], err);
        }
        first += d->extents[i].nsectors;
    }
    check_overlaps(k);
    return code;
}

static VixError check_lines(struct link_check *k, char **paths, struct err *err)
{
    const struct descriptor *d = k->link->desc;
    uint64_t first = 0;
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < d->extent_count; i++) {
        if (paths[i] != NULL) {
            code = check_extent_file(k, &d->extents[i], paths[i], first, err);
        }
        first += d->extents[i].nsectors;
    }
    return code;
}

/** The extent that the descriptor lies in, or an extent that was named without its descriptor. */
static VixError check_own_extent(struct link_check *k, struct err *err)
{
    const struct descriptor *d = k->link->desc;
    bool line = d != NULL && d->extent_count > 0;

    if (!k->link->self_extent && !k->link->alone) {
        return VIX_OK;
    }
    return check_file_at(k, line ? &d->extents[0] : NULL, k->store, 0, err);
}

/* ---- one link ---- */

static void free_paths(char **paths, size_t n)
{
    for (size_t i = 0; paths != NULL && i < n; i++) {
        free(paths[i]);
    }
    free(paths);
}

static VixError check_with_paths(struct link_check *k, char **paths, struct err *err)
{
    bool lines = k->link->desc != NULL && k->link->desc->extent_count > 0;
    VixError code = lines ? look_at_lines(k, paths, err) : VIX_OK;

    if (code == VIX_OK) {
        code = check_own_extent(k, err);
    }
    if (code == VIX_OK) {
        code = repair_text(k, err);
    }
    if (code == VIX_OK) {
        code = check_end_file(k->c, k->link->path, true, err);
    }
    return code == VIX_OK && lines ? check_lines(k, paths, err) : code;
}

static VixError check_files(struct link_check *k, struct err *err)
{
    size_t n = k->link->desc != NULL ? k->link->desc->extent_count : 0;
    char **paths = alloc_array(n + 1, sizeof *paths, err);
    VixError code = VIX_E_OUT_OF_MEMORY;

    k->places = alloc_array(n + 1, sizeof *k->places, err);
    if (paths != NULL && k->places != NULL) {
        code = check_with_paths(k, paths, err);
    }
    free_paths(paths, n);
    return code;
}

static VixError open_link(struct link_check *k, uint32_t flags, struct err *err)
{
    struct check *c = k->c;

    VixError code = c->fs->ops->open(c->fs, k->link->path, flags, &k->store, err);
    if (code != VIX_OK) {
        return code;
    }
    k->link->dev = k->store->dev;
    k->link->ino = k->store->ino;
    code = c->fs->ops->resolve(c->fs, k->link->path, &k->link->real_path, err);
    if (code == VIX_OK) {
        code = k->store->ops->size(k->store, &k->size, err);
    }
    if (code == VIX_OK) {
        code = check_read_padded(k->store, k->sector, sizeof k->sector, 0, err);
    }
    if (code == VIX_OK && k->size == 0) {
        code = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: not a virtual disk: the file is empty", k->link->path);
    }
    return code == VIX_OK ? read_descriptor(k, err) : code;
}

static VixError refuse_encrypted(const struct check_link *link, struct err *err)
{
    if (link->desc == NULL || !link->desc->encrypted) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_DISK_NEEDKEY, "%s: the disk is encrypted; only the host that has the key can check it",
                   link->path);
}

static void link_check_done(struct link_check *k)
{
    for (size_t i = 0; i < k->place_count; i++) {
        free(k->places[i].real_path);
    }
    free(k->places);
    free(k->text);
    store_close(k->store);
}

VixError check_link(struct check *c, const char *path, struct check_link *ret_link, struct err *err)
{
    struct check_link link = {.path = alloc_text(path, err)};
    struct link_check k = {.c = c, .link = &link};
    VixError code = link.path != NULL ? open_link(&k, check_store_flags(c), err) : VIX_E_OUT_OF_MEMORY;

    if (code == VIX_OK) {
        code = refuse_encrypted(&link, err);
    }
    if (code == VIX_OK) {
        check_descriptor(c, &link);
        check_text_end(&k);
        code = check_files(&k, err);
        c->sum.links++;
    }
    link_check_done(&k);
    if (code != VIX_OK) {
        check_link_done(&link);
        return code;
    }
    *ret_link = link;
    return VIX_OK;
}

VixError check_link_peek(struct check *c, const char *path, struct check_link *ret_link, struct err *err)
{
    struct check_link link = {.path = alloc_text(path, err)};
    struct check silent = {.fs = c->fs, .flags = c->flags & ~CHECK_REPAIR};
    struct link_check k = {.c = &silent, .link = &link};
    VixError code = link.path != NULL ? open_link(&k, STORE_READ, err) : VIX_E_OUT_OF_MEMORY;

    problem_list_clear(&silent.list);
    link_check_done(&k);
    if (code != VIX_OK) {
        check_link_done(&link);
        return code;
    }
    *ret_link = link;
    return VIX_OK;
}

void check_link_done(struct check_link *link)
{
    free(link->path);
    free(link->real_path);
    descriptor_free(link->desc);
    *link = (struct check_link){0};
}

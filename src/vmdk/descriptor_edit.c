/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor_edit.c - makes, changes and writes descriptors. A change replaces the line that it is about and leaves all
 * others where they stand; new lines go where VMware's products have them. Pure; one thread at a time per struct. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "vmdk/descriptor_int.h"

#define LONG_CONTENT_ID "longContentID"
#define LONG_CONTENT_ID_LEN 32u

/** Whether text can stand between quotes on one line. */
static bool fits_in_quotes(const char *text)
{
    return strpbrk(text, "\"\r\n") == NULL && strlen(text) <= DESCRIPTOR_MAX_LINE - 128;
}

static VixError check_quoted(const char *what, const char *text, struct err *err)
{
    if (!fits_in_quotes(text)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s \"%.80s\" cannot be written to a descriptor: no quotes, no line ends, at most %u bytes",
                       what, text, DESCRIPTOR_MAX_LINE - 128);
    }
    return VIX_OK;
}

/* ---- lines ---- */

/** Gives a line another text, which becomes the line's. */
static VixError set_line_text(struct descriptor_line *line, char *text)
{
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    free(line->text);
    line->text = text;
    return VIX_OK;
}

static VixError insert_text_line(struct descriptor *d, size_t index, enum line_kind kind, const char *text,
                                 struct err *err)
{
    struct descriptor_line *line;
    char *copy = alloc_text(text, err);

    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = descriptor_insert_line(d, index, kind, &line, err);
    if (code != VIX_OK) {
        free(copy);
        return code;
    }
    line->text = copy;
    return VIX_OK;
}

static VixError append_text_line(struct descriptor *d, enum line_kind kind, const char *text, struct err *err)
{
    return insert_text_line(d, d->line_count, kind, text, err);
}

static size_t index_of(const struct descriptor *d, const struct descriptor_line *line)
{
    return (size_t)(line - d->lines);
}

/** The index behind the last line of a kind, or behind the line with a text; fallback if there is neither. */
static size_t index_behind(const struct descriptor *d, enum line_kind kind, const char *text, size_t fallback)
{
    for (size_t i = d->line_count; i > 0; i--) {
        if (d->lines[i - 1].kind == kind && kind != LINE_KEPT) {
            return i;
        }
    }
    for (size_t i = d->line_count; text != NULL && i > 0; i--) {
        if (strcmp(d->lines[i - 1].text, text) == 0) {
            return i;
        }
    }
    return fallback;
}

/** Replaces the header line of a kind by text, or adds it at index; text becomes the descriptor's, also on failure. */
static VixError put_header_line(struct descriptor *d, enum line_kind kind, char *text, size_t index, struct err *err)
{
    CLEANUP_FREE char *owned = text;
    struct descriptor_line *line = descriptor_find_line(d, kind);

    if (owned == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (line == NULL) {
        VixError code = descriptor_insert_line(d, index, kind, &line, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    return set_line_text(line, TAKE_PTR(owned));
}

/* ---- a new descriptor ---- */

/** The lines of a new descriptor in the order that VirtualBox and libvmdk insist on. A link with a parent has no blank
 * line before the title of the extents, as ESXi writes it. */
static VixError add_skeleton(struct descriptor *d, struct err *err)
{
    char line[64];
    VixError code = append_text_line(d, LINE_KEPT, "# Disk DescriptorFile", err);

#define ADD(kind, text) (code = code != VIX_OK ? code : append_text_line(d, kind, text, err))
    ADD(LINE_VERSION, "version=1");
    ADD(LINE_ENCODING, "encoding=\"UTF-8\"");
    (void)snprintf(line, sizeof line, "CID=%08" PRIx32, d->cid);
    ADD(LINE_CID, line);
    (void)snprintf(line, sizeof line, "parentCID=%08" PRIx32, d->parent_cid);
    ADD(LINE_PARENT_CID, line);
    (void)snprintf(line, sizeof line, "createType=\"%s\"", d->create_type);
    ADD(LINE_CREATE_TYPE, line);
    if (d->parent_hint != NULL) {
        CLEANUP_FREE char *hint = alloc_printf(err, "parentFileNameHint=\"%s\"", d->parent_hint);
        if (hint == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        ADD(LINE_PARENT_HINT, hint);
    } else {
        ADD(LINE_KEPT, "");
    }
    ADD(LINE_KEPT, EXTENT_TITLE);
    ADD(LINE_KEPT, "");
    ADD(LINE_KEPT, DDB_TITLE);
    ADD(LINE_KEPT, DDB_MARK);
    ADD(LINE_KEPT, "");
#undef ADD
    return code;
}

static VixError fill_new(struct descriptor *d, const char *create_type, const char *parent_hint, struct err *err)
{
    if (strlen(create_type) > 32) {
        return err_set(err, VIX_E_INVALID_ARG, "createType \"%.40s\" has more than 32 bytes", create_type);
    }
    VixError code = check_quoted("createType", create_type, err);
    if (code == VIX_OK && parent_hint != NULL) {
        code = check_quoted("the name of the parent", parent_hint, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    d->create_type = alloc_text(create_type, err);
    d->encoding = alloc_text("UTF-8", err);
    d->parent_hint = parent_hint != NULL ? alloc_text(parent_hint, err) : NULL;
    if (d->create_type == NULL || d->encoding == NULL || (parent_hint != NULL && d->parent_hint == NULL)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return add_skeleton(d, err);
}

VixError descriptor_new(const char *create_type, uint32_t cid, uint32_t parent_cid, const char *parent_hint,
                        struct descriptor **ret_d, struct err *err)
{
    struct descriptor *d = alloc_zero(sizeof *d, err);

    if (d == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    d->version = 1;
    d->cid = cid;
    d->parent_cid = parent_cid;
    VixError code = fill_new(d, create_type, parent_hint, err);
    if (code != VIX_OK) {
        descriptor_free(d);
        return code;
    }
    *ret_d = d;
    return VIX_OK;
}

/* ---- extents ---- */

static char *extent_text(const struct extent_line *x, const char *name, struct err *err)
{
    const char *access = extent_access_word(x->access);
    const char *type = extent_type_word(x->type);

    if (name == NULL) {
        return alloc_printf(err, "%s %" PRIu64 " %s", access, x->nsectors, type);
    }
    if (!x->has_offset) {
        return alloc_printf(err, "%s %" PRIu64 " %s \"%s\"", access, x->nsectors, type, name);
    }
    return alloc_printf(err, "%s %" PRIu64 " %s \"%s\" %" PRIu64, access, x->nsectors, type, name, x->offset);
}

static VixError check_extent(uint64_t others, uint64_t nsectors, const char *name, struct err *err)
{
    uint64_t sum = 0;

    if (!checked_add(others, nsectors, &sum) || sum > DESCRIPTOR_MAX_SECTORS) {
        return err_set(err, VIX_E_INVALID_ARG, "the extents add up to more than 2^54 sectors");
    }
    if (name == NULL) {
        return VIX_OK;
    }
    return name[0] == '\0' ? err_set(err, VIX_E_INVALID_ARG, "the name of an extent's file is empty")
                           : check_quoted("the name of an extent's file", name, err);
}

/** Where another extent belongs: behind the last one, or the title of them; before version= nothing is read. */
static size_t extent_place(const struct descriptor *d)
{
    return max_u64(index_behind(d, LINE_EXTENT, EXTENT_TITLE, d->line_count), index_behind(d, LINE_VERSION, NULL, 0));
}

VixError descriptor_add_extent(struct descriptor *d, enum extent_access access, uint64_t nsectors,
                               enum extent_type type, const char *name, bool has_offset, struct err *err)
{
    struct extent_line x = {.access = access, .nsectors = nsectors, .type = type, .has_offset = has_offset};

    if ((name == NULL) != (type == EXTENT_ZERO) || (nsectors == 0 && type != EXTENT_ZERO) ||
        d->extent_count >= DESCRIPTOR_MAX_EXTENTS) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "extent %zu of %" PRIu64 " sectors, type %s: only ZERO extents are empty or without a file, "
                       "at most %u extents",
                       d->extent_count, nsectors, extent_type_word(type), DESCRIPTOR_MAX_EXTENTS);
    }
    VixError code = check_extent(d->capacity, nsectors, name, err);
    if (code == VIX_OK) {
        code = descriptor_reserve_extent(d, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *copy = name != NULL ? alloc_text(name, err) : NULL;
    CLEANUP_FREE char *text = extent_text(&x, name, err);
    if (text == NULL || (name != NULL && copy == NULL)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = insert_text_line(d, extent_place(d), LINE_EXTENT, text, err);
    if (code == VIX_OK) {
        x.name = TAKE_PTR(copy);
        d->extents[d->extent_count++] = x;
        d->capacity += nsectors;
    }
    return code;
}

/** The line of the index-th extent. */
static struct descriptor_line *extent_line_at(const struct descriptor *d, size_t index)
{
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->lines[i].kind == LINE_EXTENT && index-- == 0) {
            return &d->lines[i];
        }
    }
    return NULL;
}

VixError descriptor_set_extent(struct descriptor *d, size_t index, uint64_t nsectors, const char *name, struct err *err)
{
    struct extent_line *x = &d->extents[index];
    struct extent_line changed = *x;

    changed.nsectors = nsectors;
    VixError code = check_extent(d->capacity - x->nsectors, nsectors, name, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *copy = name != NULL ? alloc_text(name, err) : NULL;
    if (name != NULL && copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = set_line_text(extent_line_at(d, index), extent_text(&changed, name != NULL ? name : x->name, err));
    if (code != VIX_OK) {
        return code;
    }
    d->capacity += nsectors - x->nsectors;
    x->nsectors = nsectors;
    if (copy != NULL) {
        free(x->name);
        x->name = TAKE_PTR(copy);
    }
    return VIX_OK;
}

/* ---- the disk database ---- */

static struct descriptor_line *find_ddb(const struct descriptor *d, const char *key)
{
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->lines[i].kind == LINE_DDB && text_equal_nocase(d->lines[i].key, key)) {
            return &d->lines[i];
        }
    }
    return NULL;
}

const char *descriptor_ddb_get(const struct descriptor *d, const char *key)
{
    const struct descriptor_line *line = find_ddb(d, key);
    return line != NULL ? line->value : NULL;
}

const char *descriptor_ddb_key(const struct descriptor *d, size_t index)
{
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->lines[i].kind == LINE_DDB && index-- == 0) {
            return d->lines[i].key;
        }
    }
    return NULL;
}

/** Where a new key belongs: before the first one that sorts behind it. */
static VixError ddb_place(struct descriptor *d, const char *key, size_t *ret_index, struct err *err)
{
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->lines[i].kind == LINE_DDB && text_compare_nocase(d->lines[i].key, key) > 0) {
            *ret_index = i;
            return VIX_OK;
        }
    }
    size_t index = index_behind(d, LINE_DDB, NULL, SIZE_MAX);
    if (index == SIZE_MAX && index_behind(d, LINE_KEPT, DDB_MARK, SIZE_MAX) == SIZE_MAX) {
        static const char *const title[] = {"", DDB_TITLE, DDB_MARK, ""};
        for (size_t i = 0; i < sizeof title / sizeof title[0]; i++) {
            VixError code = append_text_line(d, LINE_KEPT, title[i], err);
            if (code != VIX_OK) {
                return code;
            }
        }
    }
    *ret_index = index != SIZE_MAX ? index : d->line_count;
    return VIX_OK;
}

static VixError check_ddb(const struct descriptor *d, const char *key, const char *value, struct err *err)
{
    if (key[0] == '\0' || strlen(key) > 256 || strpbrk(key, " \t\r\n\"=#") != NULL) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "\"%.80s\" is not a key of a disk database: 1 to 256 bytes, no blanks, quotes, '=' or '#'", key);
    }
    if (find_ddb(d, key) == NULL && d->ddb_count >= DESCRIPTOR_MAX_DDB_KEYS) {
        return err_set(err, VIX_E_INVALID_ARG, "the disk database has %zu keys, no more are possible", d->ddb_count);
    }
    return check_quoted("the value", value, err);
}

/** Makes the line for a key that is not there yet. */
static VixError add_ddb(struct descriptor *d, const char *key, const char *value, char *text, struct err *err)
{
    CLEANUP_FREE char *owned_text = text;
    CLEANUP_FREE char *key_copy = alloc_text(key, err);
    CLEANUP_FREE char *value_copy = alloc_text(value, err);
    struct descriptor_line *line;
    size_t index = 0;

    if (key_copy == NULL || value_copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = ddb_place(d, key, &index, err);
    if (code == VIX_OK) {
        code = descriptor_insert_line(d, index, LINE_DDB, &line, err);
    }
    if (code == VIX_OK) {
        line->text = TAKE_PTR(owned_text);
        line->key = TAKE_PTR(key_copy);
        line->value = TAKE_PTR(value_copy);
        d->ddb_count++;
    }
    return code;
}

VixError descriptor_ddb_set(struct descriptor *d, const char *key, const char *value, struct err *err)
{
    VixError code = check_ddb(d, key, value, err);

    if (code != VIX_OK) {
        return code;
    }
    struct descriptor_line *line = find_ddb(d, key);
    CLEANUP_FREE char *text = alloc_printf(err, DDB_PREFIX "%s = \"%s\"", line != NULL ? line->key : key, value);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (line == NULL) {
        return add_ddb(d, key, value, TAKE_PTR(text), err);
    }
    char *copy = alloc_text(value, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    free(line->value);
    line->value = copy;
    return set_line_text(line, TAKE_PTR(text));
}

void descriptor_ddb_remove(struct descriptor *d, const char *key)
{
    struct descriptor_line *line = find_ddb(d, key);

    if (line != NULL) {
        descriptor_remove_line(d, index_of(d, line));
        d->ddb_count--;
    }
}

/* ---- header keys ---- */

VixError descriptor_set_cid(struct descriptor *d, uint32_t cid, struct err *err)
{
    const char *long_id = descriptor_ddb_get(d, LONG_CONTENT_ID);

    if (long_id != NULL && strlen(long_id) == LONG_CONTENT_ID_LEN) {
        char changed[LONG_CONTENT_ID_LEN + 1];
        (void)snprintf(changed, sizeof changed, "%.24s%08" PRIx32, long_id, cid);
        VixError code = descriptor_ddb_set(d, LONG_CONTENT_ID, changed, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    VixError code = put_header_line(d, LINE_CID, alloc_printf(err, "CID=%08" PRIx32, cid),
                                    index_behind(d, LINE_VERSION, NULL, 0), err);
    if (code == VIX_OK) {
        d->cid = cid;
    }
    return code;
}

VixError descriptor_set_change_track(struct descriptor *d, const char *name, struct err *err)
{
    VixError code = check_quoted("the name of the change-tracking file", name, err);

    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *copy = alloc_text(name, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = put_header_line(d, LINE_CHANGE_TRACK, alloc_printf(err, "changeTrackPath=\"%s\"", name),
                           index_behind(d, LINE_EXTENT, NULL, d->line_count), err);
    if (code == VIX_OK) {
        free(d->change_track_path);
        d->change_track_path = TAKE_PTR(copy);
    }
    return code;
}

static VixError set_parent_hint(struct descriptor *d, const char *hint, struct err *err)
{
    if (hint == NULL) {
        struct descriptor_line *line = descriptor_find_line(d, LINE_PARENT_HINT);
        if (line != NULL) {
            descriptor_remove_line(d, index_of(d, line));
        }
        free(d->parent_hint);
        d->parent_hint = NULL;
        return VIX_OK;
    }
    VixError code = check_quoted("the name of the parent", hint, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *copy = alloc_text(hint, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = put_header_line(d, LINE_PARENT_HINT, alloc_printf(err, "parentFileNameHint=\"%s\"", hint),
                           index_behind(d, LINE_CREATE_TYPE, NULL, d->line_count), err);
    if (code == VIX_OK) {
        free(d->parent_hint);
        d->parent_hint = TAKE_PTR(copy);
    }
    return code;
}

VixError descriptor_set_parent(struct descriptor *d, const char *hint, uint32_t parent_cid, struct err *err)
{
    VixError code = set_parent_hint(d, hint, err);

    if (code == VIX_OK) {
        code = put_header_line(d, LINE_PARENT_CID, alloc_printf(err, "parentCID=%08" PRIx32, parent_cid),
                               index_behind(d, LINE_CID, NULL, d->line_count), err);
    }
    if (code == VIX_OK) {
        d->parent_cid = parent_cid;
    }
    return code;
}

VixError descriptor_drop_tracking(struct descriptor *d, struct err *err)
{
    struct descriptor_line *line = descriptor_find_line(d, LINE_CHANGE_TRACK);

    if (line != NULL) {
        size_t index = index_of(d, line);
        descriptor_remove_line(d, index);
        if (index > 0 && strcmp(d->lines[index - 1].text, "# Change Tracking File") == 0) {
            descriptor_remove_line(d, --index);
        }
        if (index > 0 && index < d->line_count && d->lines[index - 1].text[0] == '\0' &&
            d->lines[index].text[0] == '\0') {
            descriptor_remove_line(d, index);
        }
        free(d->change_track_path);
        d->change_track_path = NULL;
    }
    if (d->version != 3) {
        return VIX_OK;
    }
    VixError code = put_header_line(d, LINE_VERSION, alloc_text("version=1", err), 0, err);
    if (code == VIX_OK) {
        d->version = 1;
    }
    return code;
}

/* ---- writing ---- */

VixError descriptor_format(const struct descriptor *d, char **ret_text, size_t *ret_len, struct err *err)
{
    size_t len = 0;

    for (size_t i = 0; i < d->line_count; i++) {
        len += strlen(d->lines[i].text) + 1;
    }
    if (len > DESCRIPTOR_MAX_BYTES) {
        return err_set(err, VIX_E_DISK_INVAL, "the descriptor would have %zu bytes, allowed: %u", len,
                       DESCRIPTOR_MAX_BYTES);
    }
    char *text = alloc_array(len + 1, 1, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    char *end = text;
    for (size_t i = 0; i < d->line_count; i++) {
        size_t n = strlen(d->lines[i].text);
        memcpy(end, d->lines[i].text, n);
        end[n] = '\n';
        end += n + 1;
    }
    *ret_text = text;
    *ret_len = len;
    return VIX_OK;
}

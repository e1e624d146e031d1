/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor.c - reads the text of a descriptor, line by line, into struct descriptor, keeping every line so that it
 * can be written back where it stood. Knows the grammar, no files. The text is hostile: explicit lengths, limits on
 * everything. One thread at a time per struct. */
#include "vmdk/descriptor.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/text.h"
#include "vmdk/descriptor_int.h"

/** A piece of the text. */
struct span {
    const char *p;
    size_t len;
};

/** One line being looked at. */
struct cursor {
    const char *name; /* of the descriptor, for messages */
    size_t line_number;
    struct span line; /* without line end */
    bool any_key;     /* a key line was seen */
    uint32_t seen;    /* header keys that were met: bit (1 << kind) */
};

struct key_row {
    const char *key;
    enum line_kind kind;
};

static const struct key_row header_keys[] = {
    {"version", LINE_VERSION},
    {"encoding", LINE_ENCODING},
    {"CID", LINE_CID},
    {"parentCID", LINE_PARENT_CID},
    {"isNativeSnapshot", LINE_NATIVE_SNAPSHOT},
    {"createType", LINE_CREATE_TYPE},
    {"parentFileNameHint", LINE_PARENT_HINT},
    {"changeTrackPath", LINE_CHANGE_TRACK},
    {"keyID", LINE_KEYS},
    {"encryptionKeys", LINE_KEYS},
};

static const char *const access_words[] = {[ACCESS_RW] = "RW", [ACCESS_RDONLY] = "RDONLY", [ACCESS_NONE] = "NOACCESS"};

static const char *const type_words[] = {
    [EXTENT_FLAT] = "FLAT",       [EXTENT_SPARSE] = "SPARSE",         [EXTENT_ZERO] = "ZERO",
    [EXTENT_VMFS] = "VMFS",       [EXTENT_VMFSSPARSE] = "VMFSSPARSE", [EXTENT_VMFSRDM] = "VMFSRDM",
    [EXTENT_VMFSRAW] = "VMFSRAW", [EXTENT_SESPARSE] = "SESPARSE",     [EXTENT_VSANSPARSE] = "VSANSPARSE",
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

const char *extent_type_word(enum extent_type type)
{
    return type_words[type];
}

const char *extent_access_word(enum extent_access access)
{
    return access_words[access];
}

/* ---- spans ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

static bool span_is(struct span s, const char *word)
{
    size_t i = 0;

    for (; i < s.len && word[i] != '\0'; i++) {
        if (text_lower(s.p[i]) != text_lower(word[i])) {
            return false;
        }
    }
    return i == s.len && word[i] == '\0';
}

/** Takes the first word off s, and the blanks after it. */
static struct span take_word(struct span *s)
{
    struct span word = {s->p, 0};

    while (word.len < s->len && !is_blank(s->p[word.len])) {
        word.len++;
    }
    s->p += word.len;
    s->len -= word.len;
    *s = trim(*s);
    return word;
}

static bool span_to_u64(struct span s, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || !checked_mul(v, 10, &v) || !checked_add(v, (uint64_t)(s.p[i] - '0'), &v)) {
            return false;
        }
    }
    if (s.len > 0) {
        *ret = v;
    }
    return s.len > 0;
}

static int hex_digit(char c)
{
    char l = text_lower(c);
    return l >= '0' && l <= '9' ? l - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static bool span_to_hex32(struct span s, uint32_t *ret)
{
    uint32_t v = 0;

    if (s.len == 0 || s.len > 8) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        int digit = hex_digit(s.p[i]);
        if (digit < 0) {
            return false;
        }
        v = v << 4 | (uint32_t)digit;
    }
    *ret = v;
    return true;
}

/** A length for printf's %.*s. */
static int shown(struct span s)
{
    return s.len > 80 ? 80 : (int)s.len;
}

static VixError bad_line(const struct cursor *at, const char *what, struct span found, const char *allowed,
                         struct err *err)
{
    return err_set(err, VIX_E_DISK_INVAL, "%s: descriptor line %zu: %s is \"%.*s\", allowed: %s", at->name,
                   at->line_number, what, shown(found), found.p, allowed);
}

/** The next line of text, which begins at *pos; false at the end. A CR before the LF is not part of it. */
static bool next_line(const char *text, size_t len, size_t *pos, struct span *ret_line, bool *ret_ended)
{
    if (*pos >= len) {
        return false;
    }
    const char *start = text + *pos;
    const char *end = memchr(start, '\n', len - *pos);
    size_t n = end != NULL ? (size_t)(end - start) : len - *pos;
    *pos += n + (end != NULL);
    *ret_ended = end != NULL;
    *ret_line = (struct span){start, n - (end != NULL && n > 0 && start[n - 1] == '\r')};
    return true;
}

/** Splits "key = value"; the value loses its quotes. False if there is no '='. */
static bool split_key(struct span line, struct span *ret_key, struct span *ret_value, bool *ret_unclosed)
{
    const char *eq = memchr(line.p, '=', line.len);

    if (eq == NULL) {
        return false;
    }
    struct span value = trim((struct span){eq + 1, line.len - (size_t)(eq + 1 - line.p)});
    *ret_key = trim((struct span){line.p, (size_t)(eq - line.p)});
    *ret_unclosed = false;
    if (value.len > 0 && value.p[0] == '"') {
        const char *last = memrchr(value.p, '"', value.len);
        *ret_unclosed = last == value.p;
        value = (struct span){value.p + 1, *ret_unclosed ? value.len - 1 : (size_t)(last - value.p - 1)};
    }
    *ret_value = value;
    return true;
}

bool descriptor_looks_like(const char *text, size_t len)
{
    struct span line, key, value;
    size_t pos = 0;
    bool flag;

    len = strnlen(text, len);
    while (next_line(text, len, &pos, &line, &flag)) {
        line = trim(line);
        if (line.len > 0 && line.p[0] != '#') {
            return split_key(line, &key, &value, &flag) && span_is(key, "version");
        }
    }
    return false;
}

/* ---- lines of the struct ---- */

VixError descriptor_insert_line(struct descriptor *d, size_t index, enum line_kind kind,
                                struct descriptor_line **ret_line, struct err *err)
{
    if (d->line_count == d->line_room) {
        size_t room = d->line_room * 2 + 32;
        struct descriptor_line *lines = alloc_array(room, sizeof *lines, err);
        if (lines == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (d->line_count > 0) {
            memcpy(lines, d->lines, d->line_count * sizeof *lines);
        }
        free(d->lines);
        d->lines = lines;
        d->line_room = room;
    }
    memmove(d->lines + index + 1, d->lines + index, (d->line_count - index) * sizeof *d->lines);
    d->line_count++;
    d->lines[index] = (struct descriptor_line){.kind = kind};
    *ret_line = &d->lines[index];
    return VIX_OK;
}

static void line_done(struct descriptor_line *line)
{
    free(line->text);
    free(line->key);
    free(line->value);
}

void descriptor_remove_line(struct descriptor *d, size_t index)
{
    line_done(&d->lines[index]);
    d->line_count--;
    memmove(d->lines + index, d->lines + index + 1, (d->line_count - index) * sizeof *d->lines);
}

struct descriptor_line *descriptor_find_line(const struct descriptor *d, enum line_kind kind)
{
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->lines[i].kind == kind) {
            return &d->lines[i];
        }
    }
    return NULL;
}

VixError descriptor_reserve_extent(struct descriptor *d, struct err *err)
{
    if (d->extent_count < d->extent_room) {
        return VIX_OK;
    }
    size_t room = d->extent_room * 2 + 4;
    struct extent_line *extents = alloc_array(room, sizeof *extents, err);
    if (extents == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (d->extent_count > 0) {
        memcpy(extents, d->extents, d->extent_count * sizeof *extents);
    }
    free(d->extents);
    d->extents = extents;
    d->extent_room = room;
    return VIX_OK;
}

void descriptor_free(struct descriptor *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < d->line_count; i++) {
        line_done(&d->lines[i]);
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        free(d->extents[i].name);
    }
    free(d->lines);
    free(d->extents);
    free(d->create_type);
    free(d->parent_hint);
    free(d->encoding);
    free(d->change_track_path);
    free(d);
}

/* ---- extent lines ---- */

static bool find_word(struct span s, const char *const *words, size_t count, unsigned *ret_index)
{
    for (unsigned i = 0; i < count; i++) {
        if (span_is(s, words[i])) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/** The part behind the type: a quoted name up to the last quote, and an offset. What follows the offset (partition
 * UUID, device) is kept in the line's text and has no meaning here. */
static VixError parse_extent_name(const struct cursor *at, struct span rest, struct extent_line *x,
                                  struct span *ret_name, struct err *err)
{
    const char *last = rest.len > 0 && rest.p[0] == '"' ? memrchr(rest.p, '"', rest.len) : NULL;

    *ret_name = (struct span){NULL, 0};
    if (x->type == EXTENT_ZERO) {
        return VIX_OK;
    }
    if (last == NULL || last - rest.p < 2) {
        return bad_line(at, "the extent's file", rest, "a name in quotes", err);
    }
    *ret_name = (struct span){rest.p + 1, (size_t)(last - rest.p - 1)};
    rest = trim((struct span){last + 1, rest.len - (size_t)(last + 1 - rest.p)});
    if (rest.len > 0) {
        struct span word = take_word(&rest);
        if (!span_to_u64(word, &x->offset) || x->offset > DESCRIPTOR_MAX_SECTORS) {
            return bad_line(at, "the extent's offset", word, "0 to 2^54 sectors", err);
        }
        x->has_offset = true;
    }
    return VIX_OK;
}

static VixError parse_extent_words(const struct cursor *at, struct span rest, struct extent_line *x,
                                   struct span *ret_name, struct err *err)
{
    struct span sectors = take_word(&rest);
    struct span type = take_word(&rest);
    unsigned index = 0;

    if (!span_to_u64(sectors, &x->nsectors) || x->nsectors > DESCRIPTOR_MAX_SECTORS) {
        return bad_line(at, "the extent's size", sectors, "1 to 2^54 sectors", err);
    }
    if (!find_word(type, type_words, COUNT_OF(type_words), &index)) {
        return bad_line(at, "the extent's type", type,
                        "FLAT SPARSE ZERO VMFS VMFSSPARSE VMFSRDM VMFSRAW SESPARSE VSANSPARSE", err);
    }
    x->type = (enum extent_type)index;
    if (x->nsectors == 0 && x->type != EXTENT_ZERO) {
        return bad_line(at, "the extent's size", sectors, "0 only for ZERO extents", err);
    }
    return parse_extent_name(at, rest, x, ret_name, err);
}

static VixError parse_extent(struct descriptor *d, const struct cursor *at, enum extent_access access, struct span rest,
                             struct err *err)
{
    struct extent_line x = {.access = access};
    struct span name = {NULL, 0};
    uint64_t sum = 0;

    VixError code = parse_extent_words(at, rest, &x, &name, err);
    if (code != VIX_OK) {
        return code;
    }
    if (d->extent_count >= DESCRIPTOR_MAX_EXTENTS) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: descriptor line %zu: more than %u extents", at->name,
                       at->line_number, DESCRIPTOR_MAX_EXTENTS);
    }
    if (!checked_add(d->capacity, x.nsectors, &sum) || sum > DESCRIPTOR_MAX_SECTORS) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: descriptor line %zu: the extents add up to more than 2^54 sectors",
                       at->name, at->line_number);
    }
    code = descriptor_reserve_extent(d, err);
    if (code != VIX_OK) {
        return code;
    }
    if (name.p != NULL && (x.name = alloc_text_n(name.p, name.len, err)) == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    d->extents[d->extent_count++] = x;
    d->capacity = sum;
    return VIX_OK;
}

/* ---- key lines ---- */

static VixError set_text(char **slot, struct span value, struct err *err)
{
    char *copy = alloc_text_n(value.p, value.len, err);

    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    free(*slot);
    *slot = copy;
    return VIX_OK;
}

static VixError parse_version(struct descriptor *d, const struct cursor *at, struct span value, struct err *err)
{
    uint64_t version = 0;

    if (!span_to_u64(value, &version)) {
        return bad_line(at, "version", value, "1 to 3", err);
    }
    if (version < 1 || version > 3) {
        return err_set(err, VIX_E_DISK_UNSUPPORTEDDISKVERSION,
                       "%s: descriptor line %zu: version is %.*s, allowed: 1 to 3", at->name, at->line_number,
                       shown(value), value.p);
    }
    d->version = (uint32_t)version;
    return VIX_OK;
}

static VixError parse_cid(const struct cursor *at, const char *key, struct span value, uint32_t *cid, struct err *err)
{
    if (!span_to_hex32(value, cid)) {
        return bad_line(at, key, value, "1 to 8 hexadecimal digits", err);
    }
    return VIX_OK;
}

static VixError parse_header_value(struct descriptor *d, const struct cursor *at, enum line_kind kind,
                                   struct span value, struct err *err)
{
    switch (kind) {
    case LINE_VERSION:
        return parse_version(d, at, value, err);
    case LINE_CID:
        return parse_cid(at, "CID", value, &d->cid, err);
    case LINE_PARENT_CID:
        d->has_parent_cid = true;
        return parse_cid(at, "parentCID", value, &d->parent_cid, err);
    case LINE_ENCODING:
        return set_text(&d->encoding, value, err);
    case LINE_CREATE_TYPE:
        return set_text(&d->create_type, value, err);
    case LINE_PARENT_HINT:
        return set_text(&d->parent_hint, value, err);
    case LINE_CHANGE_TRACK:
        return set_text(&d->change_track_path, value, err);
    case LINE_NATIVE_SNAPSHOT:
        d->native_snapshot = span_is(value, "yes");
        return VIX_OK;
    case LINE_KEYS:
        d->encrypted = true;
        return VIX_OK;
    default:
        return VIX_OK;
    }
}

static VixError parse_ddb(struct descriptor *d, const struct cursor *at, struct descriptor_line *line, struct span key,
                          struct span value, struct err *err)
{
    key.p += DDB_PREFIX_LEN;
    key.len -= DDB_PREFIX_LEN;
    if (d->ddb_count >= DESCRIPTOR_MAX_DDB_KEYS) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: descriptor line %zu: more than %u disk database keys", at->name,
                       at->line_number, DESCRIPTOR_MAX_DDB_KEYS);
    }
    VixError code = set_text(&line->key, key, err);
    if (code == VIX_OK) {
        code = set_text(&line->value, value, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    d->ddb_count++;
    if (descriptor_ddb_get(d, line->key) != NULL) {
        d->repeated_keys++;
        return VIX_OK; /* stays a kept line: the first one counts */
    }
    line->kind = LINE_DDB;
    if (span_is(key, "iofilters") && strstr(line->value, "vmwarevmcrypt") != NULL) {
        d->encrypted = true;
    }
    return VIX_OK;
}

static enum line_kind header_kind(struct span key)
{
    for (size_t i = 0; i < COUNT_OF(header_keys); i++) {
        if (span_is(key, header_keys[i].key)) {
            return header_keys[i].kind;
        }
    }
    return LINE_KEPT;
}

static VixError parse_key(struct descriptor *d, struct cursor *at, struct descriptor_line *line, struct err *err)
{
    struct span key, value;
    bool unclosed;

    bool is_key = split_key(trim(at->line), &key, &value, &unclosed);
    enum line_kind kind = is_key ? header_kind(key) : LINE_KEPT;
    if (!at->any_key && kind != LINE_VERSION) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a VMDK descriptor: line %zu is \"%.*s\", allowed: version=", at->name, at->line_number,
                       shown(at->line), at->line.p);
    }
    at->any_key = true;
    if (!is_key) {
        return bad_line(at, "the line", at->line, "key = value, an extent, a comment", err);
    }
    if (unclosed) {
        return bad_line(at, "the value", value, "quotes on both sides or none", err);
    }
    if (kind == LINE_KEPT) {
        bool ddb = key.len > DDB_PREFIX_LEN && span_is((struct span){key.p, DDB_PREFIX_LEN}, DDB_PREFIX);
        return ddb ? parse_ddb(d, at, line, key, value, err) : VIX_OK;
    }
    if (kind != LINE_KEYS && (at->seen & 1u << kind) != 0) {
        d->repeated_keys++;
        return VIX_OK;
    }
    at->seen |= 1u << kind;
    line->kind = kind;
    return parse_header_value(d, at, kind, value, err);
}

/* ---- the whole text ---- */

static VixError check_line(const struct descriptor *d, const struct cursor *at, struct err *err)
{
    VixError bad = at->any_key ? VIX_E_DISK_INVAL : VIX_E_DISK_INVALIDDISK; /* some other text file */

    if (at->line.len > DESCRIPTOR_MAX_LINE) {
        return err_set(err, bad, "%s: descriptor line %zu has %zu bytes, allowed: %u", at->name, at->line_number,
                       at->line.len, DESCRIPTOR_MAX_LINE);
    }
    if (memchr(at->line.p, '\r', at->line.len) != NULL) {
        return err_set(err, bad, "%s: descriptor line %zu has a CR that no LF follows", at->name, at->line_number);
    }
    if (d->line_count >= DESCRIPTOR_MAX_LINES) {
        return err_set(err, bad, "%s: the descriptor has more than %u lines", at->name, DESCRIPTOR_MAX_LINES);
    }
    return VIX_OK;
}

static VixError parse_line(struct descriptor *d, struct cursor *at, struct err *err)
{
    struct descriptor_line *line;
    struct span rest = trim(at->line);
    unsigned access;

    VixError code = check_line(d, at, err);
    if (code == VIX_OK) {
        code = descriptor_insert_line(d, d->line_count, LINE_KEPT, &line, err);
    }
    if (code == VIX_OK) {
        code = set_text(&line->text, at->line, err);
    }
    if (code != VIX_OK || rest.len == 0 || rest.p[0] == '#') {
        return code;
    }
    struct span first = take_word(&rest);
    if (!find_word(first, access_words, COUNT_OF(access_words), &access)) {
        return parse_key(d, at, line, err);
    }
    if (!at->any_key) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a VMDK descriptor: an extent stands before version=", at->name);
    }
    line->kind = LINE_EXTENT;
    return parse_extent(d, at, (enum extent_access)access, rest, err);
}

static VixError parse_lines(struct descriptor *d, const char *text, size_t len, const char *name, struct err *err)
{
    struct cursor at = {.name = name};
    size_t pos = 0;
    bool ended;

    while (next_line(text, len, &pos, &at.line, &ended)) {
        at.line_number++;
        VixError code = parse_line(d, &at, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    if (!at.any_key) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: not a VMDK descriptor: no version= line in %zu lines", name,
                       at.line_number);
    }
    return VIX_OK;
}

/** What every descriptor must say. An encrypted one may say nothing else. */
static VixError check_required(const struct descriptor *d, const char *name, struct err *err)
{
    if (d->encrypted) {
        return VIX_OK;
    }
    if (descriptor_find_line(d, LINE_CID) == NULL) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: the descriptor has no CID", name);
    }
    if (d->create_type == NULL) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: the descriptor has no createType", name);
    }
    return VIX_OK;
}

VixError descriptor_parse(const char *text, size_t len, const char *name, struct descriptor **ret_d, struct err *err)
{
    len = strnlen(text, len);
    if (len > DESCRIPTOR_MAX_BYTES) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: the descriptor has %zu bytes, allowed: %u", name, len,
                       DESCRIPTOR_MAX_BYTES);
    }
    struct descriptor *d = alloc_zero(sizeof *d, err);
    if (d == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    d->parent_cid = CID_NO_PARENT;
    VixError code = parse_lines(d, text, len, name, err);
    if (code == VIX_OK) {
        code = check_required(d, name, err);
    }
    if (code != VIX_OK) {
        descriptor_free(d);
        return code;
    }
    *ret_d = d;
    return VIX_OK;
}

/* ---- the place of the content ID ---- */

bool descriptor_find_cid(const char *text, size_t len, size_t *ret_off, size_t *ret_digits, size_t *ret_long_off)
{
    struct span line, key, value;
    size_t pos = 0;
    bool flag, found = false, found_long = false;

    len = strnlen(text, len);
    while (next_line(text, len, &pos, &line, &flag)) {
        line = trim(line);
        if (line.len == 0 || line.p[0] == '#' || !split_key(line, &key, &value, &flag)) {
            continue;
        }
        if (!found && span_is(key, "CID")) {
            found = true;
            *ret_off = (size_t)(value.p - text);
            *ret_digits = value.len;
            *ret_long_off = found_long ? *ret_long_off : SIZE_MAX;
        } else if (!found_long && span_is(key, "ddb.longContentID")) {
            found_long = true;
            *ret_long_off = value.len == 32 ? (size_t)(value.p - text) + 24 : SIZE_MAX;
        }
    }
    return found;
}

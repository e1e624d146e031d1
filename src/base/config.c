/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration is one array of names, sorted, so that a file of any allowed size is read in n log n steps. Of two
 * lines with one name the later wins. */
#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

struct entry {
    char *name;
    char *value;
    size_t line; /* orders entries of one name */
};

struct table {
    struct entry *entries;
    size_t count;
    size_t room;
};

static struct table config;

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->entries[i].name);
        free(t->entries[i].value);
    }
    free(t->entries);
    *t = (struct table){0};
}

static VixError table_reserve(struct table *t, struct err *err)
{
    if (t->count < t->room) {
        return VIX_OK;
    }
    size_t room = t->room > 0 ? t->room * 2 : 16;
    struct entry *entries = alloc_array(room, sizeof *entries, err);
    if (entries == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (t->count > 0) {
        memcpy(entries, t->entries, t->count * sizeof *entries);
    }
    free(t->entries);
    t->entries = entries;
    t->room = room;
    return VIX_OK;
}

static VixError table_insert(struct table *t, size_t at, const char *name, size_t name_len, const char *value,
                             size_t value_len, struct err *err)
{
    CLEANUP_FREE char *name_copy = NULL;
    CLEANUP_FREE char *value_copy = NULL;
    VixError code = table_reserve(t, err);

    if (code != VIX_OK) {
        return code;
    }
    name_copy = alloc_text_n(name, name_len, err);
    value_copy = name_copy != NULL ? alloc_text_n(value, value_len, err) : NULL;
    if (value_copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memmove(&t->entries[at + 1], &t->entries[at], (t->count - at) * sizeof t->entries[0]);
    t->entries[at] = (struct entry){.name = TAKE_PTR(name_copy), .value = TAKE_PTR(value_copy), .line = t->count};
    t->count++;
    return VIX_OK;
}

/* The index of a name, or where it belongs. */
static size_t table_find(const struct table *t, const char *name, bool *ret_found)
{
    size_t low = 0;
    size_t high = t->count;

    *ret_found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = text_compare_nocase(t->entries[mid].name, name);
        if (d == 0) {
            *ret_found = true;
            return mid;
        }
        if (d < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int d = text_compare_nocase(x->name, y->name);
    return d != 0 ? d : (x->line > y->line) - (x->line < y->line);
}

/* Sorts by name and keeps the last entry of each. */
static void table_settle(struct table *t)
{
    size_t kept = 0;

    if (t->count == 0) {
        return;
    }
    qsort(t->entries, t->count, sizeof t->entries[0], compare_entries);
    for (size_t i = 0; i < t->count; i++) {
        if (i + 1 < t->count && text_equal_nocase(t->entries[i].name, t->entries[i + 1].name)) {
            free(t->entries[i].name);
            free(t->entries[i].value);
        } else {
            t->entries[kept++] = t->entries[i];
        }
    }
    t->count = kept;
}

/* The value that follows '=': in quotes as it stands, else up to a '#' that follows white space. */
static bool parse_value(const char *text, size_t len, const char **ret_value, size_t *ret_len)
{
    text = text_trim(text, len, &len);
    if (len > 0 && text[0] == '"') {
        const char *end = memchr(text + 1, '"', len - 1);
        if (end == NULL) {
            return false;
        }
        *ret_value = text + 1;
        *ret_len = (size_t)(end - text) - 1;
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '#' && (i == 0 || text_is_space(text[i - 1]))) {
            len = i;
        }
    }
    *ret_value = text_trim(text, len, ret_len);
    return true;
}

/* One line into the table (not yet sorted). *ret_junk: it is neither blank, comment nor name=value. */
static VixError parse_line(struct table *t, const char *line, size_t len, bool *ret_junk, struct err *err)
{
    const char *name;
    const char *value;
    size_t name_len;
    size_t value_len;

    *ret_junk = false;
    line = text_trim(line, len, &len);
    if (len == 0 || line[0] == '#') {
        return VIX_OK;
    }
    const char *equals = memchr(line, '=', len);
    if (equals == NULL || memchr(line, '\0', len) != NULL) {
        *ret_junk = true;
        return VIX_OK;
    }
    name = text_trim(line, (size_t)(equals - line), &name_len);
    if (name_len == 0 || !parse_value(equals + 1, len - (size_t)(equals + 1 - line), &value, &value_len)) {
        *ret_junk = true;
        return VIX_OK;
    }
    return table_insert(t, t->count, name, name_len, value, value_len, err);
}

static VixError parse_text(struct table *t, const char *text, size_t len, unsigned *ret_skipped, size_t *ret_first,
                           struct err *err)
{
    size_t line_number = 0;

    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        len -= 3;
    }
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line_len = end != NULL ? (size_t)(end - text) : len;
        bool junk;
        VixError code = parse_line(t, text, line_len, &junk, err);
        if (code != VIX_OK) {
            return code;
        }
        line_number++;
        if (junk && (*ret_skipped)++ == 0) {
            *ret_first = line_number;
        }
        line_len += end != NULL;
        text += line_len;
        len -= line_len;
    }
    table_settle(t);
    return VIX_OK;
}

static VixError read_bytes(int fd, const char *path, char *buf, size_t room, size_t *ret_len, struct err *err)
{
    size_t done = 0;

    while (done < room) {
        ssize_t n = read(fd, buf + done, room - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_set_errno(err, errno, "%s: cannot read the configuration", path);
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    if (done > CONFIG_FILE_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: a configuration file may have at most %d bytes", path,
                       CONFIG_FILE_MAX);
    }
    *ret_len = done;
    return VIX_OK;
}

static VixError read_file(const char *path, char **ret_text, size_t *ret_len, struct err *err)
{
    CLEANUP_FREE char *buf = NULL;
    struct stat st;

    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot open the configuration", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: the configuration is not a regular file", path);
    }
    buf = alloc_zero(CONFIG_FILE_MAX + 1, err);
    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = read_bytes(fd, path, buf, CONFIG_FILE_MAX + 1, ret_len, err);
    if (code == VIX_OK) {
        *ret_text = TAKE_PTR(buf);
    }
    return code;
}

VixError config_load(const char *path, unsigned *ret_skipped, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    size_t first = 0;
    unsigned skipped = 0;
    struct table fresh = {0};
    VixError code = VIX_OK;

    if (path != NULL) {
        code = read_file(path, &text, &len, err);
        if (code == VIX_OK) {
            code = parse_text(&fresh, text, len, &skipped, &first, err);
        }
    }
    if (code != VIX_OK) {
        table_done(&fresh);
        return code;
    }
    if (skipped > 0) {
        log_news("%s: %u lines that are not name=value were skipped, the first is line %zu", path, skipped, first);
    }
    table_done(&config);
    config = fresh;
    *ret_skipped = skipped;
    return VIX_OK;
}

VixError config_set(const char *name, const char *value, struct err *err)
{
    bool found;
    size_t at = table_find(&config, name, &found);

    if (name[0] == '\0') {
        return err_set(err, VIX_E_INVALID_ARG, "a configuration name is empty");
    }
    if (!found) {
        return table_insert(&config, at, name, strlen(name), value, strlen(value), err);
    }
    char *copy = alloc_text(value, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    free(config.entries[at].value);
    config.entries[at].value = copy;
    return VIX_OK;
}

void config_clear(void)
{
    table_done(&config);
}

const char *config_text(const char *name)
{
    bool found;
    size_t at = table_find(&config, name, &found);
    return found ? config.entries[at].value : NULL;
}

uint64_t config_number(const char *name, uint64_t fallback, uint64_t low, uint64_t high)
{
    const char *text = config_text(name);
    uint64_t value;

    if (text == NULL || !text_to_u64(text, &value) || value < low || value > high) {
        return fallback;
    }
    return value;
}

bool config_bool(const char *name, bool fallback)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    const char *text = config_text(name);

    for (size_t i = 0; text != NULL && i < sizeof yes / sizeof yes[0]; i++) {
        if (text_equal_nocase(text, yes[i])) {
            return true;
        }
        if (text_equal_nocase(text, no[i])) {
            return false;
        }
    }
    return fallback;
}

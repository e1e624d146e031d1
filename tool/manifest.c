/* SPDX-License-Identifier: BSD-3-Clause */
/* manifest.c - reads and writes manifests. One thread. */
#include "manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 128

void manifest_begin(FILE *to, uint64_t bytes, uint32_t chunk)
{
    fprintf(to, "vixdisk-manifest 1 sha256\ncapacity %" PRIu64 "\nchunk %" PRIu32 "\n", bytes, chunk);
}

void manifest_add(FILE *to, uint64_t off, const uint8_t digest[DIGEST_BYTES])
{
    char text[DIGEST_TEXT];
    digest_format(digest, text);
    fprintf(to, "%" PRIu64 " %s\n", off, text);
}

void manifest_end(FILE *to, const uint8_t digest[DIGEST_BYTES])
{
    char text[DIGEST_TEXT];
    digest_format(digest, text);
    fprintf(to, "digest %s\n", text);
}

/** The next line without its end. */
static bool read_line(struct manifest_reader *r, char line[LINE_MAX_BYTES])
{
    r->line++;
    if (fgets(line, LINE_MAX_BYTES, r->from) == NULL) {
        r->wrong = ferror(r->from) ? "cannot be read" : "is missing: the manifest has been cut short";
        return false;
    }
    size_t len = strlen(line);
    if (len == 0 || line[len - 1] != '\n') {
        r->wrong = "is too long, or has no end";
        return false;
    }
    line[len - 1] = '\0';
    return true;
}

/** Digits only; moves behind them. */
static bool take_number(const char **text, uint64_t *ret_number)
{
    uint64_t n = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    bool some = c != *text;
    *text = c;
    *ret_number = n;
    return some;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_digest(const char *text, uint8_t digest[DIGEST_BYTES])
{
    if (strlen(text) != DIGEST_TEXT - 1) {
        return false;
    }
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/** "NAME NUMBER". */
static bool read_number(struct manifest_reader *r, const char *name, uint64_t *ret_number)
{
    char line[LINE_MAX_BYTES];
    size_t len = strlen(name);
    if (!read_line(r, line)) {
        return false;
    }
    const char *rest = line + len;
    if (strncmp(line, name, len) != 0 || !take_number(&rest, ret_number) || *rest != '\0') {
        r->wrong = "is not what should stand here";
        return false;
    }
    return true;
}

bool manifest_open(struct manifest_reader *r, FILE *from)
{
    char line[LINE_MAX_BYTES];
    uint64_t chunk = 0;
    *r = (struct manifest_reader){.from = from};
    if (!read_line(r, line)) {
        return false;
    }
    if (strcmp(line, "vixdisk-manifest 1 sha256") != 0) {
        r->wrong = "is not the beginning of a manifest that this version knows";
        return false;
    }
    if (!read_number(r, "capacity ", &r->bytes) || !read_number(r, "chunk ", &chunk)) {
        return false;
    }
    if (chunk < HASH_CHUNK_MIN || chunk > HASH_CHUNK_MAX || chunk % VIXDISKLIB_SECTOR_SIZE != 0) {
        r->wrong = "has a size of chunks that is not allowed";
        return false;
    }
    r->chunk = (uint32_t)chunk;
    return true;
}

void manifest_next(struct manifest_reader *r)
{
    char line[LINE_MAX_BYTES];
    const char *rest = line;
    uint64_t off = 0;
    bool first = r->tree == NULL;
    uint64_t above = r->index;
    r->has_entry = false;
    if (first && (r->tree = hash_tree_begin(r->bytes, r->chunk)) == NULL) {
        r->wrong = "cannot be taken: no memory";
    }
    if (r->wrong != NULL || !read_line(r, line)) {
        return;
    }
    if (strncmp(line, "digest ", 7) == 0) {
        if (!parse_digest(line + 7, r->digest)) {
            r->wrong = "has no SHA-256";
        }
        return;
    }
    if (!take_number(&rest, &off) || *rest != ' ' || !parse_digest(rest + 1, r->digest)) {
        r->wrong = "is not an offset and a SHA-256";
    } else if (off % r->chunk != 0 || off >= r->bytes || (!first && off / r->chunk <= above)) {
        r->wrong = "has an offset that is no chunk's, or out of order";
    } else {
        r->index = off / r->chunk;
        r->has_entry = true;
        hash_tree_add(r->tree, r->index, r->digest);
    }
}

bool manifest_close(struct manifest_reader *r)
{
    uint8_t digest[DIGEST_BYTES];
    while (r->has_entry) {
        manifest_next(r);
    }
    if (r->tree == NULL) {
        return r->wrong == NULL;
    }
    bool good = hash_tree_end(r->tree, digest);
    r->tree = NULL;
    if (r->wrong == NULL && (!good || memcmp(digest, r->digest, DIGEST_BYTES) != 0)) {
        r->wrong = "has a digest that is not that of the lines before it";
    }
    return r->wrong == NULL;
}

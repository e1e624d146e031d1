/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of a descriptor: what is read is written the same again, by way of every change that is made to one. */
#include "fuzz.h"

#include <string.h>

#include "vmdk/descriptor.h"

/* What a descriptor is written as reads as the same text. */
static void writes_the_same(const struct descriptor *d)
{
    struct descriptor *again = NULL;
    char *text = NULL, *second = NULL;
    size_t len = 0, second_len = 0;
    struct err err;

    err_init(&err);
    VixError code = descriptor_format(d, &text, &len, &err);
    if (code != VIX_OK) {
        return; /* over the limit */
    }
    code = descriptor_parse(text, len, "again", &again, &err);
    FUZZ_ASSERT(code == VIX_OK, "%s: %.2000s", err.text, text);
    FUZZ_ASSERT(again->cid == d->cid && again->parent_cid == d->parent_cid && again->capacity == d->capacity &&
                    again->extent_count == d->extent_count,
                "%.2000s", text);
    code = descriptor_format(again, &second, &second_len, &err);
    FUZZ_ASSERT(code == VIX_OK && second_len == len && memcmp(text, second, len) == 0, "%.1000s\n--\n%.1000s", text,
                second);
    free(text);
    free(second);
    descriptor_free(again);
}

static void names_go_both_ways(const struct descriptor *d)
{
    for (size_t i = 0; i < d->extent_count && i < 8; i++) {
        char *utf8 = NULL, *back = NULL;
        if (d->extents[i].name == NULL || descriptor_name_to_utf8(d, d->extents[i].name, &utf8, NULL) != VIX_OK) {
            continue;
        }
        if (descriptor_name_from_utf8(d, utf8, &back, NULL) == VIX_OK) {
            free(back);
        }
        free(utf8);
    }
}

static void change(struct descriptor *d, const char *input)
{
    char value[64];

    (void)snprintf(value, sizeof value, "%s", input);
    for (size_t i = 0; i < 4; i++) {
        const char *key = descriptor_ddb_key(d, i);
        char copy[DESCRIPTOR_MAX_LINE];
        if (key != NULL) {
            (void)snprintf(copy, sizeof copy, "%s", key);
            FUZZ_ASSERT(descriptor_ddb_get(d, copy) != NULL, "%s", copy);
            if (descriptor_ddb_set(d, copy, value, NULL) == VIX_OK) {
                FUZZ_ASSERT(strcmp(descriptor_ddb_get(d, copy), value) == 0, "%s", copy);
            }
        }
    }
    (void)descriptor_ddb_set(d, "fuzz.key", value, NULL);
    (void)descriptor_set_cid(d, 0x12345678, NULL);
    writes_the_same(d);
    (void)descriptor_set_parent(d, value[0] != '\0' ? value : NULL, 0x9abcdef0, NULL);
    (void)descriptor_set_change_track(d, "x-ctk.vmdk", NULL);
    writes_the_same(d);
    (void)descriptor_drop_tracking(d, NULL);
    (void)descriptor_set_parent(d, NULL, CID_NO_PARENT, NULL);
    if (d->extent_count > 0) {
        (void)descriptor_set_extent(d, d->extent_count - 1, 4096, "y.vmdk", NULL);
    }
    (void)descriptor_add_extent(d, ACCESS_RW, 2048, EXTENT_FLAT, value, true, NULL);
    descriptor_ddb_remove(d, "fuzz.key");
    FUZZ_ASSERT(descriptor_ddb_get(d, "fuzz.key") == NULL, "a key that was removed");
    writes_the_same(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct descriptor *d = NULL;
    size_t off = 0, digits = 0, long_off = 0;

    (void)descriptor_looks_like(text, size);
    if (descriptor_find_cid(text, size, &off, &digits, &long_off)) {
        FUZZ_ASSERT(off + digits <= size && (long_off == SIZE_MAX || long_off + 8 <= size), "outside of the text");
    }
    if (descriptor_parse(text, size, "input", &d, NULL) == VIX_OK) {
        char front[33];
        (void)snprintf(front, sizeof front, "%.*s", (int)(size < 32 ? size : 32), text);
        writes_the_same(d);
        names_go_both_ways(d);
        change(d, front);
        descriptor_free(d);
    }
    return 0;
}

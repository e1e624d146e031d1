/* SPDX-License-Identifier: BSD-3-Clause */
/* Page 0x83 of a SCSI device: the ids that it has. Each is on the page, is found by its name, and stays where more
 * follows. */
#include <string.h>

#include "base/checked.h"
#include "disk/lun.h"
#include "disk/scsi.h"
#include "fuzz.h"

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether the page has the bytes that hex digits stand for. */
static bool has_bytes(const uint8_t *page, size_t len, const char *hex)
{
    uint8_t bytes[256];
    size_t n = strlen(hex) / 2;

    FUZZ_ASSERT(strlen(hex) % 2 == 0 && n > 0 && n <= sizeof bytes, "%s", hex);
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        FUZZ_ASSERT(high >= 0 && low >= 0, "%s is not hex", hex);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return memmem(page, len, bytes, n) != NULL;
}

static void check_id(const uint8_t *page, size_t len, const char *id)
{
    size_t n = strlen(id);

    FUZZ_ASSERT(n > 4 || strcmp(id, "t10.") == 0, "%s", id);
    FUZZ_ASSERT(strncmp(id, "t10.", 4) == 0 || has_bytes(page, len, id + 4), "%s is not on the page", id);
    for (const char *c = id; *c != '\0'; c++) {
        FUZZ_ASSERT(*c > ' ' && *c < 0x7f, "%s has what is not printed", id);
    }
    FUZZ_ASSERT(n == 4 || lun_page83_has(page, len, id), "%s is not found", id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scsi_ids ids = {.count = 0}, part = {.count = 0};
    struct err err;

    err_init(&err);
    FUZZ_ASSERT(scsi_ids_of_page83(data, size, &ids, &err) == VIX_OK, "%s", err.text);
    for (unsigned i = 0; i < ids.count; i++) {
        check_id(data, size, ids.ids[i]);
    }
    FUZZ_ASSERT(scsi_ids_of_page83(data, size * 2 / 3, &part, &err) == VIX_OK, "%s", err.text);
    for (unsigned i = 0; i < part.count; i++) {
        FUZZ_ASSERT(scsi_ids_have(&ids, part.ids[i]), "%s is lost where more follows", part.ids[i]);
    }
    scsi_ids_free(&ids);
    scsi_ids_free(&part);
    (void)lun_page83_has(data, size, "naa.");
    (void)lun_page83_has(data, size, "no name");
    return 0;
}

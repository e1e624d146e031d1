/* SPDX-License-Identifier: BSD-3-Clause */
/* thumbprint.c - fingerprints as text and back. Pure functions. */
#include "net/thumbprint.h"

#include <string.h>

#include "base/text.h"

static int hex_value(char c)
{
    c = text_lower(c);
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** The bytes of a text of hex digits, colons and blanks; 0 if it is anything else or has another number of digits than
 * a thumbprint. */
static size_t parse(const char *text, uint8_t digest[THUMBPRINT_SHA256_LEN])
{
    size_t digits = 0;

    for (; *text != '\0'; text++) {
        int value = hex_value(*text);
        if (value < 0) {
            if (*text != ':' && !text_is_space(*text)) {
                return 0;
            }
            continue;
        }
        if (digits == 2 * THUMBPRINT_SHA256_LEN) {
            return 0;
        }
        uint8_t *byte = &digest[digits / 2];
        *byte = (uint8_t)(digits % 2 == 0 ? value << 4 : *byte | value);
        digits++;
    }
    return digits == 2 * THUMBPRINT_SHA1_LEN || digits == 2 * THUMBPRINT_SHA256_LEN ? digits / 2 : 0;
}

void thumbprint_format(const uint8_t *digest, size_t len, char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        text[3 * i] = hex[digest[i] >> 4];
        text[3 * i + 1] = hex[digest[i] & 15];
        text[3 * i + 2] = i + 1 < len ? ':' : '\0';
    }
}

size_t thumbprint_digest_len(const char *text)
{
    uint8_t digest[THUMBPRINT_SHA256_LEN] = {0};

    return parse(text, digest);
}

bool thumbprint_is_valid(const char *text)
{
    return thumbprint_digest_len(text) != 0;
}

bool thumbprint_matches(const char *text, const struct thumbprint *print)
{
    uint8_t digest[THUMBPRINT_SHA256_LEN] = {0};
    size_t len = parse(text, digest);

    if (len == 0) {
        return false;
    }
    return memcmp(digest, len == THUMBPRINT_SHA1_LEN ? print->sha1 : print->sha256, len) == 0;
}

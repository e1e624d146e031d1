/* SPDX-License-Identifier: BSD-3-Clause */
/* xml_text.c - writing XML. The text may hold passwords: memory that is left behind is wiped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soap/xml.h"

static bool make_room(struct xml_text *x, size_t len)
{
    size_t need;
    size_t room = x->room > 0 ? x->room : 1024;

    if (x->failed || __builtin_add_overflow(x->len, len + 1, &need) || need > XML_BYTES_MAX) {
        x->failed = true;
        return false;
    }
    if (need <= x->room) {
        return true;
    }
    while (room < need) {
        room *= 2;
    }
    char *bytes = malloc(room); /* not realloc, which leaves the old text where it was */
    if (bytes == NULL) {
        x->failed = true;
        return false;
    }
    if (x->bytes != NULL) {
        memcpy(bytes, x->bytes, x->len);
        explicit_bzero(x->bytes, x->room);
        free(x->bytes);
    }
    x->bytes = bytes;
    x->room = room;
    return true;
}

static void append(struct xml_text *x, const char *text, size_t len)
{
    if (make_room(x, len)) {
        memcpy(x->bytes + x->len, text, len);
        x->len += len;
        x->bytes[x->len] = '\0';
    }
}

void xml_raw(struct xml_text *x, const char *text)
{
    append(x, text, strlen(text));
}

static uint32_t continuation(const unsigned char *s, unsigned count, uint32_t value)
{
    for (unsigned i = 1; i <= count; i++) {
        if ((s[i] & 0xC0) != 0x80) { /* the NUL at the end too */
            return UINT32_MAX;
        }
        value = value << 6 | (s[i] & 0x3Fu);
    }
    return value;
}

/* Bytes of the UTF-8 character at text if XML may contain it, else 0. */
static unsigned character_len(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t c;

    if (s[0] < 0x80) {
        return s[0] >= 0x20 || s[0] == '\t' || s[0] == '\n' || s[0] == '\r' ? 1 : 0;
    }
    if ((s[0] & 0xE0) == 0xC0) {
        c = continuation(s, 1, s[0] & 0x1Fu);
        return c >= 0x80 && c < 0x800 ? 2 : 0;
    }
    if ((s[0] & 0xF0) == 0xE0) {
        c = continuation(s, 2, s[0] & 0x0Fu);
        return c >= 0x800 && c < 0xFFFE && (c < 0xD800 || c > 0xDFFF) ? 3 : 0;
    }
    if ((s[0] & 0xF8) == 0xF0) {
        c = continuation(s, 3, s[0] & 0x07u);
        return c >= 0x10000 && c <= 0x10FFFF ? 4 : 0;
    }
    return 0;
}

static const char *replacement(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\r':
        return "&#13;"; /* a bare one would be read as a newline */
    default:
        return NULL;
    }
}

void xml_escaped(struct xml_text *x, const char *text)
{
    while (*text != '\0' && !x->failed) {
        const char *other = replacement(*text);
        unsigned len = character_len(text);
        if (other != NULL) {
            xml_raw(x, other);
        } else {
            append(x, text, len);
        }
        text += len > 0 ? len : 1;
    }
}

static void open_tag(struct xml_text *x, const char *name)
{
    xml_raw(x, "<");
    xml_raw(x, name);
    xml_raw(x, ">");
}

static void close_tag(struct xml_text *x, const char *name)
{
    xml_raw(x, "</");
    xml_raw(x, name);
    xml_raw(x, ">");
}

void xml_element(struct xml_text *x, const char *name, const char *text)
{
    if (text != NULL) {
        open_tag(x, name);
        xml_escaped(x, text);
        close_tag(x, name);
    }
}

void xml_element_number(struct xml_text *x, const char *name, uint64_t value)
{
    char digits[24];

    (void)snprintf(digits, sizeof digits, "%" PRIu64, value);
    xml_element(x, name, digits);
}

void xml_element_bool(struct xml_text *x, const char *name, bool value)
{
    xml_element(x, name, value ? "true" : "false");
}

void xml_reference(struct xml_text *x, const char *name, const char *type, const char *value)
{
    if (value != NULL) {
        xml_raw(x, "<");
        xml_raw(x, name);
        xml_raw(x, " type=\"");
        xml_escaped(x, type);
        xml_raw(x, "\">");
        xml_escaped(x, value);
        close_tag(x, name);
    }
}

VixError xml_done(struct xml_text *x, struct err *err)
{
    if (x->failed) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for an XML text, or above %u bytes", XML_BYTES_MAX);
    }
    return VIX_OK;
}

void xml_text_free(struct xml_text *x)
{
    if (x->bytes != NULL) {
        explicit_bzero(x->bytes, x->room);
        free(x->bytes);
    }
    *x = (struct xml_text){0};
}

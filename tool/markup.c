/* SPDX-License-Identifier: BSD-3-Clause */
/* markup.c - escapes text for HTML and SVG. */
#include "markup.h"

#include <stdbool.h>
#include <stdint.h>

#define REPLACEMENT 0xfffdu
#define FIRST_WIDE 0x1100u

/** What must not come through: no character of XML 1.0, or a mark that turns the direction of writing. */
static bool is_unfit(uint32_t c)
{
    return (c < 0x20 && c != '\t') || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xe000) || c == 0xfffe ||
           c == 0xffff || c > 0x10ffff || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x061c || c == 0xfeff;
}

/** The next character, U+FFFD for what is none; 0 at the end. */
static uint32_t next_char(const char **text)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)*text;
    unsigned more = p[0] < 0x80             ? 0
                    : (p[0] & 0xe0) == 0xc0 ? 1
                    : (p[0] & 0xf0) == 0xe0 ? 2
                    : (p[0] & 0xf8) == 0xf0 ? 3
                                            : 4;
    if (p[0] == 0) {
        return 0;
    }
    if (more == 0 || more == 4) {
        *text += 1;
        return more == 0 && !is_unfit(p[0]) ? p[0] : REPLACEMENT;
    }
    uint32_t c = p[0] & (0x3fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *text += i;
            return REPLACEMENT;
        }
        c = c << 6 | (p[i] & 0x3fu);
    }
    *text += more + 1;
    return c < least[more] || is_unfit(c) ? REPLACEMENT : c;
}

static void put_utf8(FILE *to, uint32_t c)
{
    if (c < 0x80) {
        fputc((int)c, to);
    } else if (c < 0x800) {
        fprintf(to, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        fprintf(to, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3f)), (int)(0x80 | (c & 0x3f)));
    } else {
        fprintf(to, "%c%c%c%c", (int)(0xf0 | c >> 18), (int)(0x80 | (c >> 12 & 0x3f)), (int)(0x80 | (c >> 6 & 0x3f)),
                (int)(0x80 | (c & 0x3f)));
    }
}

static void put_char(FILE *to, uint32_t c)
{
    switch (c) {
    case '&':
        fputs("&amp;", to);
        break;
    case '<':
        fputs("&lt;", to);
        break;
    case '>':
        fputs("&gt;", to);
        break;
    case '"':
        fputs("&quot;", to);
        break;
    case '\'':
        fputs("&#39;", to);
        break;
    default:
        put_utf8(to, c);
    }
}

void markup_text(FILE *to, const char *text)
{
    uint32_t c;
    while ((c = next_char(&text)) != 0) {
        put_char(to, c);
    }
}

static unsigned width_of(uint32_t c)
{
    return c >= FIRST_WIDE && c != REPLACEMENT ? 2 : 1;
}

void markup_short(FILE *to, const char *text, unsigned columns)
{
    unsigned all = 0;
    unsigned at = 0;
    bool cut = false;
    uint32_t c;
    for (const char *p = text; (c = next_char(&p)) != 0;) {
        all += width_of(c);
    }
    unsigned head = (columns - 1) / 2;
    unsigned tail = all > columns ? all - (columns - 1 - head) : 0;
    while ((c = next_char(&text)) != 0) {
        unsigned width = width_of(c);
        if (all <= columns || at + width <= head || at >= tail) {
            put_char(to, c);
        } else if (!cut) {
            fputs("…", to);
            cut = true;
        }
        at += width;
    }
}

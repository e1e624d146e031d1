/* SPDX-License-Identifier: BSD-3-Clause */
/* picture_text.c - a map on one screen. In colours a character is two cells, one above the other; without them a shade
 * is a character of its own, so it is one. */
#include <string.h>

#include "picture.h"
#include "text.h"

#define LABEL_COLUMNS 10u
#define OTHER_LINES 4u /* title, rule, legend, prompt */
#define COLUMNS_MIN 24u
#define COLUMNS_MAX 200u
#define LINES_MIN 6u
#define LINES_MAX 100u

/* 0: nothing, 1: zeros only, 2 to 5: data in up to a quarter, a half, three quarters, more of the cell */
#define LEVELS 6
static const char *const shades[LEVELS] = {"·", "0", "░", "▒", "▓", "█"};
static const unsigned colors_of[LEVELS] = {0, 178, 153, 111, 69, 27}; /* of 256; 0: the terminal's background */

static unsigned clamp(unsigned n, unsigned low, unsigned high)
{
    return n < low ? low : n > high ? high : n;
}

static unsigned grid_columns(unsigned columns)
{
    return clamp(columns, COLUMNS_MIN, COLUMNS_MAX) - LABEL_COLUMNS - 2;
}

static unsigned grid_rows(unsigned lines, bool colors)
{
    return (clamp(lines, LINES_MIN, LINES_MAX) - OTHER_LINES) * (colors ? 2 : 1);
}

uint32_t picture_text_cells(unsigned columns, unsigned lines, bool colors)
{
    return grid_columns(columns) * grid_rows(lines, colors);
}

/** The level of a cell; 0 behind the end. */
static unsigned level_of(const struct picture *p, uint64_t index)
{
    if (index >= p->count) {
        return 0;
    }
    const struct picture_cell *cell = &p->cells[index];
    return cell->data > 0 ? 1 + picture_quarters(p, (uint32_t)index) : cell->zero > 0 ? 1 : 0;
}

static void put_shade(FILE *to, const struct picture *p, uint64_t index)
{
    fputs(index < p->count ? shades[level_of(p, index)] : " ", to);
}

/** Two cells. */
static void put_half_blocks(FILE *to, unsigned upper, unsigned lower)
{
    unsigned up = colors_of[upper];
    unsigned low = colors_of[lower];
    if (up == 0 && low == 0) {
        fputs("\033[0m ", to);
    } else if (up == 0) {
        fprintf(to, "\033[0;38;5;%um▄", low);
    } else if (low == 0) {
        fprintf(to, "\033[0;38;5;%um▀", up);
    } else {
        fprintf(to, "\033[38;5;%u;48;5;%um▀", up, low);
    }
}

static void print_row(const struct picture *p, FILE *to, unsigned columns, uint64_t first, bool colors)
{
    char label[HUMAN_BYTES_MAX];
    fprintf(to, "%*s│", (int)LABEL_COLUMNS, human_bytes(p->start + first * p->cell_bytes, label));
    for (unsigned x = 0; x < columns; x++) {
        if (colors) {
            put_half_blocks(to, level_of(p, first + x), level_of(p, first + columns + x));
        } else {
            put_shade(to, p, first + x);
        }
    }
    fprintf(to, "%s│\n", colors ? "\033[0m" : "");
}

static void print_legend(const struct picture *p, FILE *to, bool colors)
{
    static const char *const words[LEVELS] = {"nothing", "zeros", "data to 25%", "50%", "75%", "100%"};
    char cell[HUMAN_BYTES_MAX];
    for (unsigned i = 0; i < LEVELS; i++) {
        if (colors && colors_of[i] != 0) {
            fprintf(to, "\033[38;5;%um█\033[0m %s  ", colors_of[i], words[i]);
        } else {
            fprintf(to, "%s %s  ", colors ? "" : shades[i], words[i]);
        }
    }
    fprintf(to, "a cell: %s\n", human_bytes(p->cell_bytes, cell));
}

/** The name goes to a terminal: no control characters. */
static void print_name(FILE *to, const char *name)
{
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        fputc(c < 0x20 || c == 0x7f ? '?' : c, to);
    }
}

void picture_print_text(const struct picture *p, FILE *to, unsigned columns, bool colors)
{
    char length[HUMAN_BYTES_MAX];
    char data[HUMAN_BYTES_MAX];
    unsigned width = grid_columns(columns);
    double share = p->length == 0 ? 0 : (double)p->totals.data * 100 / (double)p->length;
    print_name(to, p->name);
    fprintf(to, ": %s, data %s (%.1f%%)\n", human_bytes(p->length, length), human_bytes(p->totals.data, data), share);
    for (uint64_t first = 0; first < p->count; first += (uint64_t)width * (colors ? 2 : 1)) {
        print_row(p, to, width, first, colors);
    }
    print_legend(p, to, colors);
}

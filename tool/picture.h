/* SPDX-License-Identifier: BSD-3-Clause */
/* picture.h - the map of a disk as a grid of cells, drawn as text or as SVG. The same disk gives the same bytes. */
#ifndef VIXDISK_TOOL_PICTURE_H
#define VIXDISK_TOOL_PICTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli.h"

#define PICTURE_CELLS_MAX 65536u
#define PICTURE_LINKS_MAX 66 /* links of a chain, and what they may stand on */

enum picture_color { COLOR_ALLOC, COLOR_LINK, COLOR_CHANGED, COLOR_RATIO };
enum picture_curve { CURVE_ROWS, CURVE_HILBERT };

/** A stretch of the disk. Bytes of it: data and zero are told by some link, the rest by none. */
struct picture_cell {
    uint64_t data;
    uint64_t zero;
    uint64_t changed; /* of data and zero: told by a link above picture.since; or marked, whatever it holds */
    uint64_t stored;  /* what its data takes in the files; only for COLOR_RATIO */
    uint8_t link;     /* the one that tells most of it */
};

/** A map in cells. */
struct picture {
    char *name; /* of the disk, without folders */
    uint64_t start;
    uint64_t length; /* bytes; the last cell may reach beyond it */
    uint64_t cell_bytes;
    uint32_t count;
    uint32_t cells_max; /* what count was to be at most */
    struct picture_cell *cells;
    enum picture_color color;
    uint32_t since;     /* COLOR_CHANGED: links from this one on are the old state */
    const char *marked; /* COLOR_CHANGED: what picture_mark has marked, in words; NULL: what links tell counts */
    uint32_t num_links; /* at least 1 */
    char *link_names[PICTURE_LINKS_MAX];
    struct {
        uint64_t data, zero, hole, changed, stored;
        uint64_t links[PICTURE_LINKS_MAX]; /* data and zeros */
    } totals;
};

/** What a picture is to show. */
struct picture_spec {
    uint64_t off, len;  /* bytes of the disk */
    uint32_t cells_max; /* 1..PICTURE_CELLS_MAX */
    bool round_cells;   /* a cell is a power of two bytes long */
    enum picture_color color;
    const char *since; /* COLOR_CHANGED: number or file name of a link; NULL: the parent of the top link */
};

/** Maps an open disk. @cli NULL: nothing is printed, and spec->since is NULL. @path its name. 0, or the status of a
 * failure that was reported; *picture needs picture_free in any case. */
int picture_take(struct cli *cli, const char *path, VixDiskLibHandle disk, const struct picture_spec *spec,
                 struct picture *picture);
void picture_free(struct picture *picture);

/** From here on COLOR_CHANGED shows what is marked. @words for the legend, static. */
void picture_clear_marks(struct picture *picture, const char *words);

/** Marks a range of the disk, within the picture; ranges are not to meet twice. One thread for each picture. */
void picture_mark(struct picture *picture, uint64_t start, uint64_t length);

/** Prints rows of characters; @columns of the screen. @colors: half-blocks in colours, else one shade a cell. */
void picture_print_text(const struct picture *picture, FILE *to, unsigned columns, bool colors);

/** The cells that picture_print_text has room for on a screen. */
uint32_t picture_text_cells(unsigned columns, unsigned lines, bool colors);

/** The quarters of a cell that hold data, rounded up: 0 to 4. */
unsigned picture_quarters(const struct picture *picture, uint32_t index);

/** Writes an <svg> element. @own_style: with its style sheet, as a file of its own; else the page has
 * picture_write_style. */
void picture_write_svg(const struct picture *picture, enum picture_curve curve, bool own_style, FILE *to);
void picture_write_style(FILE *to);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* picture_svg.c - a map as SVG: cells of one kind that follow one another are one path with one title. Colours are
 * classes of a style sheet that knows light and dark. Lengths are fixed, names are cut, so nothing runs out of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "markup.h"
#include "picture.h"
#include "text.h"

#define WIDTH 1120u
#define MARGIN 16u
#define GUTTER 72u /* offsets, left of the rows */
#define ROWS_WIDTH (WIDTH - 2 * MARGIN - GUTTER - 8)
#define SQUARE_WIDTH 512u
#define GRID_TOP 68u
#define LINE 24u       /* of the legend */
#define LABEL_EVERY 40 /* at least so far apart are the offsets of rows */
#define LINES_FROM 6   /* cells of that width are told apart by lines */
#define TITLE_COLUMNS 100u
#define NAME_COLUMNS 34u
#define LINK_KINDS 8u

/* The kinds of cells; the first two are the same for every colouring. */
enum { KIND_HOLE, KIND_ZERO, KIND_FIRST };
#define KINDS_MAX (KIND_FIRST + LINK_KINDS)

/** One kind, as the legend tells it. */
struct kind {
    const char *class;
    char words[64];
    const char *name; /* of a link: stands behind the words; or NULL */
    uint64_t bytes;
    bool told; /* has figures */
};

struct drawing {
    const struct picture *p;
    enum picture_curve curve;
    FILE *to;
    uint32_t side;   /* cells in a row */
    uint32_t rows;   /* of cells */
    uint32_t places; /* side * rows */
    struct kind kinds[KINDS_MAX];
    unsigned num_kinds;
};

void picture_write_style(FILE *to)
{
    static const char *const lines[] = {
        ".map{font:13px/1.4 system-ui,-apple-system,'Segoe UI',sans-serif;--bg:#fff;--fg:#1f2328;--dim:#57606a;"
        "--h:#eaeef2;--z:#d4a72c;--a1:#a5c8f8;--a2:#639fee;--a3:#2f6fd0;--a4:#0a3f8f;--x:#c2410c;--k:#8fa3b8;"
        "--l0:#c2410c;--l1:#8245b0;--l2:#2f855a;--l3:#2b8fc4;--l4:#3f51b5;--l5:#94700a;--l6:#7a5c43;--l7:#5b6670;"
        "--r1:#a8ddb5;--r2:#5fb6a8;--r3:#3a8fb7;--r4:#7b5ea7;--r5:#b5304f}",
        "@media(prefers-color-scheme:dark){.map{--bg:#0d1117;--fg:#e6edf3;--dim:#9da7b3;"
        "--h:#21262d;--z:#8a6d1d;--a1:#24579f;--a2:#2f74d0;--a3:#62a6ff;--a4:#c3e0ff;--x:#ff8a4c;--k:#4d6075;"
        "--l0:#ff8a4c;--l1:#c795f0;--l2:#4fb783;--l3:#56b4e9;--l4:#7f8ff0;--l5:#c9b458;--l6:#b08c6d;--l7:#8b98a5;"
        "--r1:#1d5c3c;--r2:#2b8c7f;--r3:#4aa3d4;--r4:#a58ad6;--r5:#ff6f91}}",
        ".map .bg{fill:var(--bg)}.map text{fill:var(--fg)}.map .dim{fill:var(--dim)}.map "
        ".m{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,monospace;font-size:12px}.map "
        ".t{font-weight:600;font-size:15px}"
        ".map .n{font-variant-numeric:tabular-nums}.map .e{text-anchor:end}"
        ".map .f{fill:none;stroke:var(--dim)}.map .g{stroke:var(--bg);pointer-events:none}"
        ".map .s{stroke:var(--dim);stroke-width:.5}.map path{shape-rendering:crispEdges}"
        ".map path:hover{stroke:var(--fg);stroke-width:.4}",
        ".h{fill:var(--h)}.z{fill:var(--z)}.a1{fill:var(--a1)}.a2{fill:var(--a2)}.a3{fill:var(--a3)}"
        ".a4{fill:var(--a4)}.x{fill:var(--x)}.k{fill:var(--k)}.l0{fill:var(--l0)}.l1{fill:var(--l1)}"
        ".l2{fill:var(--l2)}.l3{fill:var(--l3)}.l4{fill:var(--l4)}.l5{fill:var(--l5)}.l6{fill:var(--l6)}"
        ".l7{fill:var(--l7)}.r1{fill:var(--r1)}.r2{fill:var(--r2)}.r3{fill:var(--r3)}.r4{fill:var(--r4)}"
        ".r5{fill:var(--r5)}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        fprintf(to, "%s\n", lines[i]);
    }
}

/* ---- kinds ---- */

static struct kind *add_kind(struct drawing *d, const char *class, uint64_t bytes, bool told)
{
    struct kind *kind = &d->kinds[d->num_kinds++];
    *kind = (struct kind){.class = class, .bytes = bytes, .told = told};
    return kind;
}

static void add_words(struct drawing *d, const char *class, const char *words, uint64_t bytes, bool told)
{
    struct kind *kind = add_kind(d, class, bytes, told);
    snprintf(kind->words, sizeof kind->words, "%s", words);
}

static void add_shades(struct drawing *d)
{
    static const char *const classes[] = {"a1", "a2", "a3", "a4"};
    static const char *const words[] = {"data in up to a quarter of a cell", "up to a half", "up to three quarters",
                                        "more"};
    for (unsigned i = 0; i < 4; i++) {
        add_words(d, classes[i], words[i], d->p->totals.data, i == 3);
    }
    struct kind *last = &d->kinds[d->num_kinds - 1];
    snprintf(last->words, sizeof last->words, "more; all data");
}

/** Of a long chain several links are one kind. */
static unsigned link_kind(const struct picture *p, uint32_t link)
{
    return p->num_links <= LINK_KINDS ? link : link * LINK_KINDS / p->num_links;
}

static void add_links(struct drawing *d)
{
    static const char *const classes[LINK_KINDS] = {"l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7"};
    const struct picture *p = d->p;
    uint32_t link = 0;
    for (unsigned i = 0; link < p->num_links; i++) {
        uint32_t first = link;
        uint64_t bytes = 0;
        for (; link < p->num_links && link_kind(p, link) == i; link++) {
            bytes += p->totals.links[link];
        }
        struct kind *kind = add_kind(d, classes[i], bytes, true);
        kind->name = link - first == 1 ? p->link_names[first] : NULL;
        if (kind->name == NULL) {
            snprintf(kind->words, sizeof kind->words, "links %" PRIu32 " to %" PRIu32, first, link - 1);
        } else {
            snprintf(kind->words, sizeof kind->words, "%" PRIu32 "%s", first,
                     p->num_links == 1      ? ""
                     : first == 0           ? " top"
                     : link == p->num_links ? " base"
                                            : "");
        }
    }
}

static void add_changed(struct drawing *d)
{
    const struct picture *p = d->p;
    struct kind *kind = add_kind(d, "x", p->totals.changed, true);
    if (p->marked != NULL) {
        snprintf(kind->words, sizeof kind->words, "%s", p->marked);
        add_words(d, "k", "other data", 0, false);
        return;
    }
    snprintf(kind->words, sizeof kind->words, "changed since");
    kind->name = p->since < p->num_links ? p->link_names[p->since] : NULL;
    if (kind->name == NULL) {
        snprintf(kind->words, sizeof kind->words, "all that is told: there is no older link");
    }
    add_words(d, "k", "as it was", p->totals.data + p->totals.zero - p->totals.changed, true);
}

static void add_ratios(struct drawing *d)
{
    static const char *const classes[] = {"r1", "r2", "r3", "r4", "r5"};
    static const char *const words[] = {"grains to a tenth of their length or less", "to a quarter", "to a half",
                                        "to nine tenths", "hardly, or not compressed; all data, as stored"};
    for (unsigned i = 0; i < 5; i++) {
        add_words(d, classes[i], words[i], d->p->totals.stored, i == 4);
    }
}

static void find_kinds(struct drawing *d)
{
    const struct picture *p = d->p;
    add_words(d, "h", "nothing: reads as zeros", p->totals.hole, true);
    add_words(d, "z", "zeros", p->totals.zero, true);
    switch (p->color) {
    case COLOR_ALLOC:
        add_shades(d);
        break;
    case COLOR_LINK:
        add_links(d);
        break;
    case COLOR_CHANGED:
        add_changed(d);
        break;
    case COLOR_RATIO:
        add_ratios(d);
        break;
    }
}

static unsigned ratio_kind(const struct picture_cell *cell)
{
    double share = (double)cell->stored / (double)cell->data;
    return share <= 0.1 ? 0 : share <= 0.25 ? 1 : share <= 0.5 ? 2 : share <= 0.9 ? 3 : 4;
}

static unsigned kind_of(const struct picture *p, uint32_t index)
{
    const struct picture_cell *cell = &p->cells[index];
    if (p->color == COLOR_CHANGED && cell->changed + cell->data + cell->zero > 0) {
        return KIND_FIRST + (cell->changed > 0 ? 0 : 1);
    }
    if (cell->data == 0) {
        return cell->zero > 0 ? KIND_ZERO : KIND_HOLE;
    }
    switch (p->color) {
    case COLOR_LINK:
        return KIND_FIRST + link_kind(p, cell->link);
    case COLOR_RATIO:
        return KIND_FIRST + ratio_kind(cell);
    default:
        return KIND_FIRST + picture_quarters(p, index) - 1;
    }
}

/* ---- cells ---- */

/** The place of a cell on Hilbert's curve through a square of side cells. */
static void hilbert_place(uint32_t side, uint32_t index, uint32_t *ret_x, uint32_t *ret_y)
{
    uint32_t x = 0;
    uint32_t y = 0;
    for (uint32_t s = 1; s < side; s *= 2, index /= 4) {
        uint32_t right = 1 & (index / 2);
        uint32_t down = 1 & (index ^ right);
        if (down == 0) {
            if (right != 0) {
                x = s - 1 - x;
                y = s - 1 - y;
            }
            uint32_t swap = x;
            x = y;
            y = swap;
        }
        x += s * right;
        y += s * down;
    }
    *ret_x = x;
    *ret_y = y;
}

/** A run on the curve: squares, each as large as its place allows. */
static void draw_on_hilbert(const struct drawing *d, uint32_t first, uint32_t end)
{
    while (first < end) {
        uint32_t side = 1;
        uint32_t x;
        uint32_t y;
        while (first % (4 * side * side) == 0 && first + 4 * side * side <= end) {
            side *= 2;
        }
        hilbert_place(d->side, first, &x, &y);
        fprintf(d->to, "M%" PRIu32 " %" PRIu32 "h%" PRIu32 "v%" PRIu32 "h-%" PRIu32 "z", x - x % side, y - y % side,
                side, side, side);
        first += side * side;
    }
}

static void draw_rect(const struct drawing *d, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
    fprintf(d->to, "M%" PRIu32 " %" PRIu32 "h%" PRIu32 "v%" PRIu32 "h-%" PRIu32 "z", x, y, width, height, width);
}

/** A run in rows: the rest of its first row, whole rows, the beginning of the last. */
static void draw_in_rows(const struct drawing *d, uint32_t first, uint32_t end)
{
    uint32_t side = d->side;
    if (first % side != 0) {
        uint32_t stop = first - first % side + side < end ? first - first % side + side : end;
        draw_rect(d, first % side, first / side, stop - first, 1);
        first = stop;
    }
    if (end - first >= side) {
        draw_rect(d, 0, first / side, side, (end - first) / side);
        first += (end - first) / side * side;
    }
    if (first < end) {
        draw_rect(d, 0, first / side, end - first, 1);
    }
}

/** "offset 65536, 131072 bytes (128 KiB): ..." */
static void write_title(const struct drawing *d, uint32_t first, uint32_t end, unsigned kind)
{
    const struct picture *p = d->p;
    char text[HUMAN_BYTES_MAX];
    uint64_t at = (uint64_t)first * p->cell_bytes;
    uint64_t stop = (uint64_t)end * p->cell_bytes;
    uint64_t len = (stop < p->length ? stop : p->length) - at;
    uint64_t data = 0;
    uint64_t stored = 0;
    for (uint32_t i = first; i < end; i++) {
        data += p->cells[i].data;
        stored += p->cells[i].stored;
    }
    fprintf(d->to, "<title>offset %" PRIu64 ", %" PRIu64 " bytes (%s): ", p->start + at, len, human_bytes(len, text));
    if (data == 0) {
        fputs(d->kinds[kind].class[0] == 'h' ? "nothing" : "zeros", d->to);
    } else {
        fprintf(d->to, "%.1f%% data", (double)data * 100 / (double)len);
    }
    if (p->color == COLOR_RATIO && data > 0) {
        fprintf(d->to, ", stored in %.1f%% of its length", (double)stored * 100 / (double)data);
    }
    if (p->color == COLOR_CHANGED && kind == KIND_FIRST) {
        fputs(", changed", d->to);
    }
    if (p->color == COLOR_LINK && kind >= KIND_FIRST) {
        fprintf(d->to, ", %s%s ", d->kinds[kind].name != NULL ? "link " : "", d->kinds[kind].words);
        markup_text(d->to, d->kinds[kind].name != NULL ? d->kinds[kind].name : "");
    }
    fputs("</title>", d->to);
}

static void draw_cells(const struct drawing *d)
{
    for (uint32_t first = 0; first < d->p->count;) {
        unsigned kind = kind_of(d->p, first);
        uint32_t end = first + 1;
        while (end < d->p->count && kind_of(d->p, end) == kind) {
            end++;
        }
        fprintf(d->to, "<path class=\"%s\" d=\"", d->kinds[kind].class);
        if (d->curve == CURVE_HILBERT) {
            draw_on_hilbert(d, first, end);
        } else {
            draw_in_rows(d, first, end);
        }
        fputs("\">", d->to);
        write_title(d, first, end, kind);
        fputs("</path>\n", d->to);
        first = end;
    }
}

/* ---- around the cells ---- */

/** Cells in a row: a quarter as many rows, or a square that Hilbert's curve fits. */
static void choose_grid(struct drawing *d)
{
    uint32_t want = d->p->cells_max;
    d->side = d->curve == CURVE_HILBERT ? 1 : 2;
    while (d->curve == CURVE_HILBERT ? d->side * d->side < d->p->count : d->side * d->side / 4 < want) {
        d->side *= 2;
    }
    d->rows = d->curve == CURVE_HILBERT ? d->side : (d->p->count + d->side - 1) / d->side;
    d->rows = d->rows == 0 ? 1 : d->rows;
}

static double cell_width(const struct drawing *d)
{
    return (double)(d->curve == CURVE_HILBERT ? SQUARE_WIDTH : ROWS_WIDTH) / d->side;
}

static double grid_left(const struct drawing *d)
{
    return d->curve == CURVE_HILBERT ? MARGIN : MARGIN + GUTTER;
}

static double grid_height(const struct drawing *d)
{
    return cell_width(d) * d->rows;
}

static unsigned legend_lines(const struct drawing *d)
{
    return d->curve == CURVE_HILBERT ? d->num_kinds : (d->num_kinds + 1) / 2;
}

static unsigned height_of(const struct drawing *d)
{
    unsigned grid = GRID_TOP + (unsigned)(grid_height(d) + 0.5);
    unsigned beside = GRID_TOP + legend_lines(d) * LINE;
    if (d->curve == CURVE_HILBERT) {
        return (grid > beside ? grid : beside) + MARGIN;
    }
    return grid + 16 + legend_lines(d) * LINE + MARGIN - 8;
}

static void write_head(const struct drawing *d)
{
    static const char *const subjects[] = {"allocation", "links of the chain", "changes", "compression"};
    const struct picture *p = d->p;
    char length[HUMAN_BYTES_MAX];
    char data[HUMAN_BYTES_MAX];
    char cell[HUMAN_BYTES_MAX];
    fprintf(d->to, "<text class=\"t m\" x=\"%u\" y=\"28\">", MARGIN);
    markup_short(d->to, p->name, TITLE_COLUMNS);
    fprintf(d->to, "</text>\n<text class=\"dim n\" x=\"%u\" y=\"50\">%s · %s%s · %s of data, %.1f%%", MARGIN,
            subjects[p->color], human_bytes(p->length, length), p->start != 0 ? " of the disk" : "",
            human_bytes(p->totals.data, data), p->length == 0 ? 0 : (double)p->totals.data * 100 / (double)p->length);
    fprintf(d->to, " · a cell is %s · %s</text>\n", human_bytes(p->cell_bytes, cell),
            d->curve == CURVE_HILBERT ? "along Hilbert's curve from the upper left" : "row by row");
}

static void write_offsets(const struct drawing *d)
{
    double cell = cell_width(d);
    uint32_t step = 1;
    while (step * cell < LABEL_EVERY) {
        step *= 2;
    }
    for (uint32_t row = 0; row < d->rows; row += step) {
        char text[HUMAN_BYTES_MAX];
        uint64_t at = d->p->start + (uint64_t)row * d->side * d->p->cell_bytes;
        fprintf(d->to, "<text class=\"dim n e\" x=\"%u\" y=\"%.1f\">%s</text>\n", MARGIN + GUTTER - 8,
                GRID_TOP + row * cell + 11, at == 0 ? "0" : human_bytes(at, text));
    }
}

/** Lines between the cells, where these are large enough. */
static void write_lines(const struct drawing *d)
{
    if (cell_width(d) < LINES_FROM) {
        return;
    }
    fputs("<path class=\"g\" stroke-width=\".1\" d=\"", d->to);
    for (uint32_t x = 1; x < d->side; x++) {
        fprintf(d->to, "M%" PRIu32 " 0v%" PRIu32, x, d->rows);
    }
    for (uint32_t y = 1; y < d->rows; y++) {
        fprintf(d->to, "M0 %" PRIu32 "h%" PRIu32, y, d->side);
    }
    fputs("\"/>\n", d->to);
}

static void write_entry(const struct drawing *d, const struct kind *kind, unsigned x, unsigned y, unsigned width)
{
    char bytes[HUMAN_BYTES_MAX];
    fprintf(d->to, "<rect class=\"%s s\" x=\"%u\" y=\"%u\" width=\"14\" height=\"14\" rx=\"2\"/>", kind->class, x, y);
    fprintf(d->to, "<text x=\"%u\" y=\"%u\">%s", x + 22, y + 12, kind->words);
    if (kind->name != NULL) {
        fputs(" <tspan class=\"m\" dx=\"4\">", d->to);
        markup_short(d->to, kind->name, NAME_COLUMNS);
        fputs("</tspan><title>", d->to);
        markup_text(d->to, kind->name);
        fputs("</title>", d->to);
    }
    fputs("</text>", d->to);
    if (kind->told && d->p->length > 0) {
        fprintf(d->to, "<text class=\"dim n e\" x=\"%u\" y=\"%u\">%s · %.1f%%</text>", x + width, y + 12,
                human_bytes(kind->bytes, bytes), (double)kind->bytes * 100 / (double)d->p->length);
    }
    fputc('\n', d->to);
}

/** Beside the square, or below the rows in two columns. */
static void write_legend(const struct drawing *d)
{
    unsigned lines = legend_lines(d);
    for (unsigned i = 0; i < d->num_kinds; i++) {
        /* what holds data first */
        unsigned place = i < KIND_FIRST ? d->num_kinds - 1 - i : i - KIND_FIRST;
        if (d->curve == CURVE_HILBERT) {
            write_entry(d, &d->kinds[i], MARGIN + SQUARE_WIDTH + 40, GRID_TOP + place * LINE,
                        WIDTH - 2 * MARGIN - SQUARE_WIDTH - 40);
        } else {
            unsigned column = place / lines;
            write_entry(d, &d->kinds[i], MARGIN + GUTTER + column * 520,
                        GRID_TOP + (unsigned)(grid_height(d) + 0.5) + 16 + place % lines * LINE, 488);
        }
    }
}

void picture_write_svg(const struct picture *picture, enum picture_curve curve, bool own_style, FILE *to)
{
    struct drawing d = {.p = picture, .curve = curve, .to = to};
    find_kinds(&d);
    choose_grid(&d);
    unsigned height = height_of(&d);
    fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\" viewBox=\"0 0 %u %u\" role=\"img\">\n<title>",
            WIDTH, height);
    markup_text(to, picture->name);
    fputs("</title>\n", to);
    if (own_style) {
        fputs("<style>\n", to);
        picture_write_style(to);
        fputs("</style>\n", to);
    }
    fprintf(to, "<rect class=\"bg\" width=\"%u\" height=\"%u\"/>\n", WIDTH, height);
    write_head(&d);
    if (curve == CURVE_ROWS) {
        write_offsets(&d);
    }
    fprintf(to, "<g transform=\"translate(%g %u) scale(%.6g)\">\n", grid_left(&d), GRID_TOP, cell_width(&d));
    draw_cells(&d);
    write_lines(&d);
    fputs("</g>\n", to);
    fprintf(to, "<rect class=\"f\" x=\"%g\" y=\"%u\" width=\"%g\" height=\"%g\"/>\n", grid_left(&d), GRID_TOP,
            cell_width(&d) * d.side, grid_height(&d));
    write_legend(&d);
    fputs("</svg>\n", to);
}

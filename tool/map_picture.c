/* SPDX-License-Identifier: BSD-3-Clause */
/* map_picture.c - map --text and map --svg. */
#include "map_picture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"
#include "whole_file.h"

#define CELLS_DEFAULT 4096u
#define COLUMNS_DEFAULT 80u
#define LINES_DEFAULT 24u
#define SCREEN_MAX 10000u

static const char *const curves[] = {[CURVE_ROWS] = "rows", [CURVE_HILBERT] = "hilbert", NULL};
static const char *const colors[] = {
    [COLOR_ALLOC] = "alloc", [COLOR_LINK] = "link", [COLOR_CHANGED] = "changed", [COLOR_RATIO] = "ratio", NULL};

/** The place of a word in a list, 0 if none is given; -1: not there. */
static int find_word(const char *const *list, const char *word)
{
    for (int i = 0; word != NULL && list[i] != NULL; i++) {
        if (strcmp(list[i], word) == 0) {
            return i;
        }
    }
    return word == NULL ? 0 : -1;
}

bool map_is_picture(const struct picture_args *args)
{
    return args->text || args->svg != NULL;
}

int map_check_picture(const struct cli *cli, const struct picture_args *args)
{
    int color = find_word(colors, args->color);
    if (args->text && args->svg != NULL) {
        return usage_error(cli, "--text and --svg do not go together");
    }
    if (args->svg == NULL && (args->curve != NULL || args->color != NULL || args->cells.given)) {
        return usage_error(cli, "--curve, --color and --cells go with --svg");
    }
    if (find_word(curves, args->curve) < 0) {
        return usage_error(cli, "--curve is rows or hilbert, not %s", args->curve);
    }
    if (color < 0) {
        return usage_error(cli, "--color is alloc, link, changed or ratio, not %s", args->color);
    }
    if (args->since != NULL && color != COLOR_CHANGED) {
        return usage_error(cli, "--since goes with --color changed");
    }
    return -1;
}

/** A size of the screen: of the variable, else what the terminal has, else a usual one. */
static unsigned screen_size(const char *variable, unsigned terminal, unsigned usual)
{
    uint32_t value;
    const char *text = getenv(variable);
    if (text != NULL && parse_number(text, 1, SCREEN_MAX, &value)) {
        return value;
    }
    return terminal != 0 ? terminal : usual;
}

static bool wants_colors(void)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

static int draw_text(struct cli *cli, const char *path, VixDiskLibHandle disk, uint64_t off, uint64_t len)
{
    struct winsize size = {0};
    struct picture picture;
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    unsigned columns = screen_size("COLUMNS", size.ws_col, COLUMNS_DEFAULT);
    bool in_colors = wants_colors();
    const struct picture_spec spec = {
        .off = off,
        .len = len,
        .cells_max = picture_text_cells(columns, screen_size("LINES", size.ws_row, LINES_DEFAULT), in_colors)};
    int status = picture_take(cli, path, disk, &spec, &picture);
    if (status == STATUS_DONE) {
        picture_print_text(&picture, stdout, columns, in_colors);
    }
    picture_free(&picture);
    return status;
}

static int draw_svg(struct cli *cli, const struct picture_args *args, const char *path, VixDiskLibHandle disk,
                    uint64_t off, uint64_t len)
{
    struct whole_file file = {0};
    struct picture picture;
    const struct picture_spec spec = {.off = off,
                                      .len = len,
                                      .cells_max = args->cells.given ? args->cells.value : CELLS_DEFAULT,
                                      .round_cells = true,
                                      .color = (enum picture_color)find_word(colors, args->color),
                                      .since = args->since};
    int status = picture_take(cli, path, disk, &spec, &picture);
    if (status == STATUS_DONE) {
        status = whole_file_open(cli, args->svg, &file);
    }
    if (status == STATUS_DONE) {
        picture_write_svg(&picture, (enum picture_curve)find_word(curves, args->curve), true, file.to);
        status = whole_file_finish(cli, &file);
    }
    picture_free(&picture);
    return status;
}

int map_draw(struct cli *cli, const struct picture_args *args, const char *path, VixDiskLibHandle disk, uint64_t off,
             uint64_t len)
{
    return args->text ? draw_text(cli, path, disk, off, len) : draw_svg(cli, args, path, disk, off, len);
}

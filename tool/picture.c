/* SPDX-License-Identifier: BSD-3-Clause */
/* picture.c - sums the runs of a disk up in cells. Memory is bounded by the number of cells. */
#include "picture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/** Runs come in ascending order: only the cell that is being filled needs figures for each link. */
struct filling {
    struct picture *p;
    uint32_t cell;
    uint64_t links[PICTURE_LINKS_MAX];
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static uint32_t link_of(const struct picture *p, const VixDiskLibExt_Run *run)
{
    uint32_t depth = run->depth < 0 ? 0 : (uint32_t)run->depth;
    return depth < p->num_links ? depth : p->num_links - 1;
}

/** The link that tells most of the cell; of equals the upper one. */
static void settle_cell(struct filling *f)
{
    uint32_t most = 0;
    for (uint32_t i = 1; i < f->p->num_links; i++) {
        most = f->links[i] > f->links[most] ? i : most;
    }
    f->p->cells[f->cell].link = (uint8_t)most;
    memset(f->links, 0, sizeof f->links);
}

static void add_to_cell(struct filling *f, uint32_t index, const VixDiskLibExt_Run *run, uint64_t bytes)
{
    struct picture *p = f->p;
    if (index != f->cell) {
        settle_cell(f);
        f->cell = index;
    }
    struct picture_cell *cell = &p->cells[index];
    uint32_t link = link_of(p, run);
    if (!run->present) {
        p->totals.hole += bytes;
        return;
    }
    cell->data += run->zero ? 0 : bytes;
    cell->zero += run->zero ? bytes : 0;
    cell->changed += link < p->since ? bytes : 0;
    f->links[link] += bytes;
    p->totals.data += run->zero ? 0 : bytes;
    p->totals.zero += run->zero ? bytes : 0;
    p->totals.changed += link < p->since ? bytes : 0;
    p->totals.links[link] += bytes;
}

static Bool take_run(void *data, const VixDiskLibExt_Run *run)
{
    struct filling *f = data;
    const struct picture *p = f->p;
    uint64_t at = run->startBytes - p->start;
    uint64_t left = run->lengthBytes;
    while (left > 0) {
        uint64_t room = p->cell_bytes - at % p->cell_bytes;
        uint64_t n = left < room ? left : room;
        add_to_cell(f, (uint32_t)(at / p->cell_bytes), run, n);
        at += n;
        left -= n;
    }
    return TRUE;
}

/** The length of a cell, so that there are at most max of them. */
static uint64_t choose_cell(uint64_t length, uint32_t max, bool round)
{
    uint64_t bytes = SECTOR_BYTES;
    if (round) {
        while (length / bytes + (length % bytes != 0) > max) {
            bytes *= 2;
        }
        return bytes;
    }
    uint64_t sectors = length / SECTOR_BYTES;
    return (sectors / max + (sectors % max != 0 || sectors == 0)) * SECTOR_BYTES;
}

static bool copy_names(struct picture *p, const char *path, const VixDiskLibExt_Details *details)
{
    p->num_links = details->numLinks == 0 ? 1 : details->numLinks;
    p->num_links = p->num_links < PICTURE_LINKS_MAX ? p->num_links : PICTURE_LINKS_MAX;
    p->name = strdup(base_name(path));
    bool good = p->name != NULL;
    for (uint32_t i = 0; i < p->num_links; i++) {
        const char *file = i < details->numLinks && details->links[i].file != NULL ? details->links[i].file : path;
        p->link_names[i] = strdup(base_name(file));
        good = good && p->link_names[i] != NULL;
    }
    return good;
}

/** The number of the link that --since names. */
static int find_since(struct cli *cli, struct picture *p, const char *since)
{
    uint32_t number;
    if (since == NULL) {
        p->since = 1;
        return STATUS_DONE;
    }
    for (uint32_t i = 0; i < p->num_links; i++) {
        if (strcmp(base_name(since), p->link_names[i]) == 0) {
            p->since = i;
            return STATUS_DONE;
        }
    }
    if (parse_number(since, 0, p->num_links - 1, &number)) {
        p->since = number;
        return STATUS_DONE;
    }
    return usage_error(cli, "--since %s: the chain has no such link; 0 to %" PRIu32 ", or the name of a file", since,
                       p->num_links - 1);
}

/** Reports a failure to whoever wants to know. */
static int failed(struct cli *cli, const char *path, VixError code)
{
    return cli == NULL ? STATUS_FAILED : fail(cli, path, code);
}

static int take_stored(struct cli *cli, const char *path, VixDiskLibHandle disk, struct picture *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t at = (uint64_t)i * p->cell_bytes;
        uint64_t len = p->length - at < p->cell_bytes ? p->length - at : p->cell_bytes;
        uint64 stored = 0;
        if (p->cells[i].data == 0) {
            continue;
        }
        VixError code = VixDiskLibExt_StoredBytes(disk, (p->start + at) / SECTOR_BYTES, len / SECTOR_BYTES, &stored);
        if (code != VIX_OK) {
            return failed(cli, path, code);
        }
        p->cells[i].stored = stored;
        p->totals.stored += stored;
    }
    return STATUS_DONE;
}

int picture_take(struct cli *cli, const char *path, VixDiskLibHandle disk, const struct picture_spec *spec,
                 struct picture *picture)
{
    VixDiskLibExt_Details *details = NULL;
    *picture = (struct picture){.start = spec->off,
                                .length = spec->len,
                                .cells_max = spec->cells_max,
                                .color = spec->color,
                                .cell_bytes = choose_cell(spec->len, spec->cells_max, spec->round_cells)};
    picture->count = (uint32_t)(spec->len / picture->cell_bytes + (spec->len % picture->cell_bytes != 0));
    VixError code = VixDiskLibExt_GetDetails(disk, &details);
    if (code != VIX_OK) {
        return failed(cli, path, code);
    }
    bool good = copy_names(picture, path, details);
    VixDiskLibExt_FreeDetails(details);
    picture->cells = calloc((size_t)picture->count + 1, sizeof *picture->cells);
    if (!good || picture->cells == NULL) {
        return cli == NULL ? STATUS_FAILED
                           : fail_with(cli, path, VIX_E_OUT_OF_MEMORY, "the map has %" PRIu32 " cells", picture->count);
    }
    int status = find_since(cli, picture, spec->since);
    if (status != STATUS_DONE) {
        return status;
    }
    struct filling filling = {.p = picture};
    code = VixDiskLibExt_Map(disk, spec->off / SECTOR_BYTES, spec->len / SECTOR_BYTES, take_run, &filling);
    if (code != VIX_OK) {
        return failed(cli, path, code);
    }
    settle_cell(&filling);
    return spec->color == COLOR_RATIO ? take_stored(cli, path, disk, picture) : STATUS_DONE;
}

void picture_clear_marks(struct picture *picture, const char *words)
{
    picture->color = COLOR_CHANGED;
    picture->marked = words;
    picture->totals.changed = 0;
    for (uint32_t i = 0; i < picture->count; i++) {
        picture->cells[i].changed = 0;
    }
}

void picture_mark(struct picture *picture, uint64_t start, uint64_t length)
{
    uint64_t end = start + length;
    for (uint64_t pos = start; pos < end;) {
        uint64_t cell = (pos - picture->start) / picture->cell_bytes;
        uint64_t next = picture->start + (cell + 1) * picture->cell_bytes;
        next = next < end ? next : end;
        picture->cells[cell].changed += next - pos;
        picture->totals.changed += next - pos;
        pos = next;
    }
}

unsigned picture_quarters(const struct picture *picture, uint32_t index)
{
    uint64_t left = picture->length - index * picture->cell_bytes;
    uint64_t quarter = (left < picture->cell_bytes ? left : picture->cell_bytes) / 4;
    uint64_t data = picture->cells[index].data;
    return (unsigned)(data / quarter + (data % quarter != 0));
}

void picture_free(struct picture *picture)
{
    for (uint32_t i = 0; i < picture->num_links; i++) {
        free(picture->link_names[i]);
    }
    free(picture->name);
    free(picture->cells);
    *picture = (struct picture){0};
}

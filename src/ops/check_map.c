/* SPDX-License-Identifier: BSD-3-Clause */
/* check_map.c - finds out what parts of a file are used twice: a bit for each unit of the file, window by window where
 * the file is too long for the memory that a check may take. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "ops/check_int.h"

VixError check_map_init(struct check_map *m, uint64_t unit, uint64_t count, struct err *err)
{
    uint64_t window = min_u64(count, CHECK_MAP_UNITS);
    uint8_t *bits = alloc_zero(window / 8 + 1, err);
    uint64_t *overlaps = alloc_array(CHECK_OVERLAPS_MAX, sizeof *overlaps, err);

    if (bits == NULL || overlaps == NULL) {
        free(bits);
        free(overlaps);
        return VIX_E_OUT_OF_MEMORY;
    }
    *m = (struct check_map){.unit = unit, .end = window, .bits = bits, .overlaps = overlaps};
    return VIX_OK;
}

void check_map_done(struct check_map *m)
{
    free(m->bits);
    free(m->overlaps);
    *m = (struct check_map){0};
}

bool check_map_next(struct check_map *m, uint64_t count)
{
    if (m->end >= count) {
        return false;
    }
    memset(m->bits, 0, (m->end - m->first) / 8 + 1);
    m->first = m->end;
    m->end = min_u64(count, m->first + CHECK_MAP_UNITS);
    return true;
}

static void take_unit(struct check_map *m, uint64_t unit)
{
    uint64_t i = unit - m->first;
    uint8_t bit = (uint8_t)(1u << (i % 8));

    if ((m->bits[i / 8] & bit) == 0) {
        m->bits[i / 8] |= bit;
        m->taken++;
    } else if (m->overlap_count < CHECK_OVERLAPS_MAX) {
        m->overlaps[m->overlap_count++] = unit;
    }
}

void check_map_take(struct check_map *m, uint64_t sector, uint64_t nsectors)
{
    uint64_t end = min_u64(div_up(sector + nsectors, m->unit), m->end);

    for (uint64_t u = max_u64(sector / m->unit, m->first); u < end; u++) {
        take_unit(m, u);
    }
}

static int compare_units(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void check_map_settle(struct check_map *m)
{
    qsort(m->overlaps, m->overlap_count, sizeof *m->overlaps, compare_units);
}

bool check_map_overlaps(const struct check_map *m, uint64_t sector, uint64_t nsectors)
{
    uint64_t first = sector / m->unit, end = div_up(sector + nsectors, m->unit);
    size_t low = 0, high = m->overlap_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->overlaps[middle] < first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < m->overlap_count && m->overlaps[low] < end;
}

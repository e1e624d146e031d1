/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sparse.c - the pass over hosted sparse extents. Invariants: the header can be right; both directories and all
 * tables lie inside the file, apart from each other; both copies of the tables say the same; every grain lies inside
 * the file, behind the metadata, where no other grain is; the file was closed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "ops/check_sparse_int.h"

#define OFF_OVERHEAD 64u
#define OFF_UNCLEAN 72u

uint64_t sparse_canonical_directory(const struct sparse_check *s, enum table_copy copy)
{
    const struct sparse_header *h = &s->h;
    bool aside = h->descriptor_sector >= h->overhead_sectors; /* its replacement was cut short: it belongs in front */
    uint64_t first = h->descriptor_sector != 0 ? (aside ? 1 : h->descriptor_sector) + h->descriptor_sectors : 1;

    return copy == REDUNDANT || s->copies == 1 ? first : first + h->gd_sectors + h->gt_count * h->gt_sectors;
}

/** An extent file is enlarged before the descriptor says so: with more sectors than its line it is as good as any. */
static void check_size(const struct sparse_check *s)
{
    struct check_file *f = s->f;
    uint64_t slack = max_u64(s->h.grain_sectors, KDMV_DEFAULT_GRAIN);

    if (s->h.descriptor_sector == 0 && f->nsectors > 0 && s->h.capacity >= f->nsectors + slack) {
        (void)check_found(f->c, PROBLEM_EXTENT_LARGER, 0, f->first, f->nsectors,
                          "the header has %" PRIu64 " sectors, the descriptor uses %" PRIu64 " of them", s->h.capacity,
                          f->nsectors);
        return;
    }
    check_capacity(f, s->h.capacity, slack);
}

static VixError check_header(struct sparse_check *s, bool *ret_go, struct err *err)
{
    struct check_file *f = s->f;
    struct err why;

    err_init(&why);
    VixError code = check_read_padded(f->store, s->sector, sizeof s->sector, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    *ret_go = sparse_header_parse(s->sector, f->store->path, &s->h, &why) == VIX_OK && s->h.capacity > 0;
    if (!*ret_go) {
        (void)check_found(f->c, PROBLEM_HEADER_INVALID, 0, f->first, f->nsectors, "%s",
                          why.code != VIX_OK ? why.text : "the capacity is 0");
        return VIX_OK;
    }
    check_size(s);
    if (s->h.gt_count > SPARSE_CHECK_MAX_TABLES) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: %" PRIu64 " grain tables, a check can take %" PRIu64,
                       f->store->path, s->h.gt_count, SPARSE_CHECK_MAX_TABLES);
    }
    s->copies = (s->h.flags & KDMV_FLAG_REDUNDANT) != 0 ? 2 : 1;
    s->file_sectors = f->len / SECTOR_SIZE;
    s->grain_count = div_up(s->h.capacity, s->h.grain_sectors);
    s->dir_sector[PRIMARY] = s->h.gd_sector;
    s->dir_sector[REDUNDANT] = s->h.rgd_sector;
    if (s->h.overhead_sectors > s->file_sectors) {
        (void)check_found(f->c, PROBLEM_OVERHEAD, OFF_OVERHEAD, 0, 0,
                          "overHead is %" PRIu64 " sectors, the file has %" PRIu64, s->h.overhead_sectors,
                          s->file_sectors);
        f->c->withheld =
            true; /* a file that was cut short is not made longer by tables: its loss would be told no more */
    }
    return VIX_OK;
}

/** Space behind overHead that nothing uses. */
static void count_leaks(struct sparse_check *s)
{
    uint64_t used = s->map.taken * s->map.unit, all = s->file_sectors;

    all -= min_u64(all, s->h.overhead_sectors);
    uint64_t leaked = all - min_u64(all, used);
    s->f->c->sum.grains += s->grain_count;
    s->f->c->sum.allocated_grains += s->allocated;
    if (leaked >= s->h.grain_sectors) {
        s->f->c->sum.leaked_bytes += leaked * SECTOR_SIZE;
        (void)check_found(s->f->c, PROBLEM_LEAKED, CHECK_NOWHERE, 0, 0,
                          "%" PRIu64 " bytes behind the tables belong to no grain; a copy of the disk is smaller",
                          leaked * SECTOR_SIZE);
    }
}

/** The unclean flag comes last: it may only go when everything else is in order. */
static bool check_unclean(struct sparse_check *s)
{
    struct check_file *f = s->f;

    if (!s->h.unclean) {
        return false;
    }
    if (check_is_hurt(f->c)) {
        (void)check_found(f->c, PROBLEM_UNCLEAN_DAMAGED, OFF_UNCLEAN, 0, 0,
                          "uncleanShutdown is 1, and stays so until what was found is gone");
        return false;
    }
    return check_found(f->c, PROBLEM_UNCLEAN, OFF_UNCLEAN, 0, 0, "uncleanShutdown is 1");
}

static VixError check_all(struct sparse_check *s, struct err *err)
{
    bool go = false;
    VixError code = check_header(s, &go, err);

    if (code != VIX_OK || !go) {
        return code;
    }
    code = sparse_check_layout(s, &go, err);
    if (code == VIX_OK && go) {
        code = sparse_check_tables(s, err);
        if (code == VIX_OK) {
            count_leaks(s);
        }
    }
    if (code != VIX_OK) {
        return code;
    }
    bool clear = check_unclean(s);
    return s->f->c->withheld ? VIX_OK : sparse_repair(s, clear, err);
}

VixError check_sparse(struct check_file *f, struct err *err)
{
    struct sparse_check s = {.f = f};
    VixError code = check_all(&s, err);

    for (unsigned copy = 0; copy < 2; copy++) {
        free(s.dir[copy]);
        free(s.tables[copy]);
    }
    free(s.pieces);
    free(s.lone);
    check_map_done(&s.map);
    return code;
}

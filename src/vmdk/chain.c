/* SPDX-License-Identifier: BSD-3-Clause */
/* chain.c - reads, writes and maps an open chain. A read goes from the top link down until some link holds the sectors;
 * a write goes to the top link. Nothing here allocates, locks or formats text unless something fails, but for the first
 * write of an open, which gives the disk a new content ID. Any thread. */
#include "vmdk/chain.h"

#include <inttypes.h>
#include <string.h>

#include "vmdk/chain_int.h"
#include "vmdk/link.h"

static VixError read_links(const struct chain *c, size_t depth, uint64_t sector, uint64_t nsectors, uint8_t *buf,
                           struct err *err);

/* ---- reading ---- */

/** Reads within one extent of the link at depth; at is counted from the extent's start. Not inlined: in one function
 * with the search for extents both keep their values in memory. */
static __attribute__((noinline)) VixError read_extent(const struct chain *c, size_t depth, const struct link_extent *e,
                                                      uint64_t at, uint64_t nsectors, uint8_t *buf, struct err *err)
{
    struct extent *x = e->x;

    while (nsectors > 0) {
        struct extent_run run;
        VixError code = x->ops->map(x, at, nsectors, 0, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        switch (run.kind) {
        case RUN_DATA:
            code = store_read(x->store, buf, run.nsectors * SECTOR_SIZE, run.file_off, err);
            break;
        case RUN_CODED:
            code = x->ops->read_coded(x, at, run.nsectors, buf, err);
            break;
        case RUN_ZERO:
            memset(buf, 0, run.nsectors * SECTOR_SIZE);
            break;
        case RUN_ABSENT:
            code = read_links(c, depth + 1, e->first_sector + at, run.nsectors, buf, err);
            break;
        }
        if (code != VIX_OK) {
            return code;
        }
        at += run.nsectors;
        nsectors -= run.nsectors;
        buf += run.nsectors * SECTOR_SIZE;
    }
    return VIX_OK;
}

/** Reads from the link at depth and those below it. */
static VixError read_links(const struct chain *c, size_t depth, uint64_t sector, uint64_t nsectors, uint8_t *buf,
                           struct err *err)
{
    if (depth >= c->link_count && c->base.read != NULL) {
        return c->base.read(c->base.ctx, sector, nsectors, buf, err);
    }
    if (depth >= c->link_count) {
        memset(buf, 0, nsectors * SECTOR_SIZE);
        return VIX_OK;
    }
    while (nsectors > 0) {
        const struct link_extent *e = link_extent_at(c->links[depth], sector);
        uint64_t at = sector - e->first_sector;
        uint64_t part = min_u64(nsectors, e->x->nsectors - at);
        VixError code = read_extent(c, depth, e, at, part, buf, err);
        if (code != VIX_OK) {
            return code;
        }
        sector += part;
        nsectors -= part;
        buf += part * SECTOR_SIZE;
    }
    return VIX_OK;
}

VixError chain_read(struct chain *c, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    const struct link_extent *e = link_extent_at(c->links[0], sector);
    uint64_t at = sector - e->first_sector;

    return nsectors <= e->x->nsectors - at ? read_extent(c, 0, e, at, nsectors, buf, err)
                                           : read_links(c, 0, sector, nsectors, buf, err);
}

/* ---- writing ---- */

/** What completes a grain of the top link: the links below. */
static VixError read_below(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    const struct link_extent *e = ctx;
    return read_links(e->chain, 1, e->first_sector + sector, nsectors, buf, err);
}

/** The parent is not open, so a grain cannot be completed: zeros would hide what it holds. */
static VixError refuse_below(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    const struct link_extent *e = ctx;

    (void)buf;
    return err_set(err, VIX_E_DISK_PARTIALCHAIN,
                   "%s: sectors %" PRIu64 " to %" PRIu64
                   " are the parent's, which is not open: only whole grains can be written to a single link",
                   e->chain->links[0]->path, e->first_sector + sector, e->first_sector + sector + nsectors - 1);
}

static bool has_links_below(const struct chain *c)
{
    return c->link_count > 1 || c->base.read != NULL;
}

bool chain_lacks_parent(const struct chain *c)
{
    return !has_links_below(c) && link_has_parent(c->links[0]);
}

void chain_connect_top(struct chain *c)
{
    struct link *top = c->links[0];

    for (size_t i = 0; i < top->extent_count; i++) {
        struct link_extent *e = &top->extents[i];
        e->chain = c;
        e->x->below.ctx = e;
        e->x->below.read = has_links_below(c) ? read_below : chain_lacks_parent(c) ? refuse_below : NULL;
    }
}

/** Whether the chain takes data; then, before the first of an open, a new content ID. */
static inline VixError before_write(const struct chain *c, struct err *err)
{
    struct link *top = c->links[0];

    if (__builtin_expect(atomic_load_explicit(&top->cid_changed, memory_order_acquire), 1)) {
        return VIX_OK;
    }
    if (!top->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the disk is open for reading only", top->path);
    }
    return link_begin_write(top, err);
}

static VixError check_extent_writable(const struct link *top, const struct link_extent *e, struct err *err)
{
    if (e->x->writable) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the extent at sector %" PRIu64 " is marked as read-only", top->path,
                   e->first_sector);
}

VixError chain_write(struct chain *c, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct link *top = c->links[0];
    const uint8_t *bytes = buf;

    VixError code = before_write(c, err);
    while (code == VIX_OK && nsectors > 0) {
        const struct link_extent *e = link_extent_at(top, sector);
        uint64_t at = sector - e->first_sector;
        uint64_t part = min_u64(nsectors, e->x->nsectors - at);
        code = check_extent_writable(top, e, err);
        if (code == VIX_OK) {
            code = e->x->ops->write(e->x, at, part, bytes, err);
        }
        sector += part;
        nsectors -= part;
        bytes += part * SECTOR_SIZE;
    }
    return code;
}

/* ---- giving space back ---- */

/** A run of an extent becomes a hole of its file. The last sector of a file that ends within it is written. */
static VixError discard_run(struct extent *x, uint64_t at, const struct extent_run *run, struct err *err)
{
    static const uint8_t zeros[SECTOR_SIZE];

    if (x->store->is_device) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the space of a device is not given back", x->store->path);
    }
    if (run->kind == RUN_DATA) {
        atomic_store(&x->punched, true);
        return x->store->ops->punch(x->store, run->file_off, run->nsectors * SECTOR_SIZE, err);
    }
    VixError code = VIX_OK;
    for (uint64_t i = 0; i < run->nsectors && code == VIX_OK; i++) {
        code = x->ops->write(x, at + i, 1, zeros, err);
    }
    return code;
}

static VixError discard_extent(const struct chain *c, const struct link_extent *e, uint64_t at, uint64_t nsectors,
                               struct err *err)
{
    while (nsectors > 0) {
        struct extent_run run;
        VixError code = e->x->ops->map(e->x, at, nsectors, 0, &run, err);
        if (code == VIX_OK && (run.kind == RUN_DATA || run.kind == RUN_CODED)) {
            code = before_write(c, err);
            if (code == VIX_OK) {
                code = check_extent_writable(c->links[0], e, err);
            }
            if (code == VIX_OK) {
                code = discard_run(e->x, at, &run, err);
            }
        }
        if (code != VIX_OK) {
            return code;
        }
        at += run.nsectors;
        nsectors -= run.nsectors;
    }
    return VIX_OK;
}

VixError chain_discard(struct chain *c, uint64_t sector, uint64_t nsectors, struct err *err)
{
    const struct link *top = c->links[0];

    if (chain_is_ordered(c)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: what was written in order cannot be given back", top->path);
    }
    VixError code = VIX_OK;
    while (code == VIX_OK && nsectors > 0) {
        const struct link_extent *e = link_extent_at(top, sector);
        uint64_t at = sector - e->first_sector;
        uint64_t part = min_u64(nsectors, e->x->nsectors - at);
        code = discard_extent(c, e, at, part, err);
        sector += part;
        nsectors -= part;
    }
    return code;
}

/** A source in the sectors of the disk, for an extent that counts from its own start. */
struct shifted_source {
    extent_source_func *source;
    void *ctx;
    uint64_t first_sector;
};

static VixError pull_shifted(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    const struct shifted_source *s = ctx;
    return s->source(s->ctx, s->first_sector + sector, nsectors, buf, err);
}

VixError chain_pull(struct chain *c, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                    struct err *err)
{
    struct link *top = c->links[0];

    VixError code = before_write(c, err);
    while (code == VIX_OK && nsectors > 0) {
        const struct link_extent *e = link_extent_at(top, sector);
        struct shifted_source s = {source, ctx, e->first_sector};
        uint64_t at = sector - e->first_sector;
        uint64_t part = min_u64(nsectors, e->x->nsectors - at);
        code = check_extent_writable(top, e, err);
        if (code == VIX_OK) {
            code = e->x->ops->pull(e->x, at, part, pull_shifted, &s, err);
        }
        sector += part;
        nsectors -= part;
    }
    return code;
}

bool chain_is_ordered(const struct chain *c)
{
    const struct link *top = c->links[0];

    for (size_t i = 0; i < top->extent_count; i++) {
        if (top->extents[i].x->ordered) {
            return true;
        }
    }
    return false;
}

VixError chain_flush(struct chain *c, struct err *err)
{
    const struct link *top = c->links[0];
    VixError first = VIX_OK;

    for (size_t i = 0; top->writable && i < top->extent_count; i++) {
        struct extent *x = top->extents[i].x;
        VixError code = x->writable ? x->ops->flush(x, first == VIX_OK ? err : NULL) : VIX_OK;
        first = first != VIX_OK ? first : code;
    }
    return first;
}

/* ---- map ---- */

/** What the base has where no link has anything. */
static VixError map_base(const struct chain *c, uint64_t sector, struct chain_run *run, struct err *err)
{
    bool present = false;
    VixError code = c->base.map(c->base.ctx, sector, run->nsectors, &present, &run->nsectors, err);

    if (code == VIX_OK && present) {
        run->kind = RUN_CODED;
        run->depth = c->link_count;
        run->path = c->base.path;
    }
    return code;
}

VixError chain_map(struct chain *c, uint64_t sector, uint64_t nsectors, uint32_t flags, struct chain_run *ret_run,
                   struct err *err)
{
    size_t depth = 0;

    for (;; depth++) {
        const struct link *l = c->links[depth];
        const struct link_extent *e = link_extent_at(l, sector);
        uint64_t at = sector - e->first_sector;
        struct extent_run run;

        nsectors = min_u64(nsectors, e->x->nsectors - at);
        VixError code = e->x->ops->map(e->x, at, nsectors, flags, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        nsectors = run.nsectors;
        if (run.kind != RUN_ABSENT || depth + 1 == c->link_count) {
            *ret_run = (struct chain_run){.kind = run.kind,
                                          .nsectors = nsectors,
                                          .depth = depth,
                                          .x = e->x,
                                          .path = e->store != NULL ? e->store->path : l->path,
                                          .file_off = run.file_off};
            return run.kind == RUN_ABSENT && c->base.read != NULL ? map_base(c, sector, ret_run, err) : VIX_OK;
        }
    }
}

VixError chain_map_many(struct chain *c, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                        struct err *err)
{
    const struct link_extent *e = link_extent_at(c->links[0], sector);
    uint64_t at = sector - e->first_sector;

    return e->x->ops->map_many(e->x, at, min_u64(nsectors, e->x->nsectors - at), ret_units, err);
}

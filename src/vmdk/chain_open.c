/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_open.c - follows the links of a disk from the top to the base, closes them, and puts a child on a parent that
 * was opened elsewhere. One thread per chain. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "vmdk/chain_int.h"
#include "vmdk/link.h"

/* ---- links that fit together ---- */

static VixError check_capacity(const struct link *child, const char *parent_path, uint64_t parent_capacity,
                               struct err *err)
{
    if (child->capacity != parent_capacity) {
        return err_set(err, VIX_E_DISK_CAPACITY_MISMATCH,
                       "%s has %" PRIu64 " sectors, its parent %s %" PRIu64 ": all links must have the same capacity",
                       child->path, child->capacity, parent_path, parent_capacity);
    }
    return VIX_OK;
}

static VixError check_cid(const struct link *child, const char *parent_path, uint32_t parent_cid, struct err *err)
{
    if (child->desc->parent_cid != parent_cid) {
        return err_set(err, VIX_E_DISK_CID_MISMATCH,
                       "%s was made on a parent of content ID %08" PRIx32 ", %s has %08" PRIx32
                       ": the parent was written to since",
                       child->path, child->desc->parent_cid, parent_path, parent_cid);
    }
    return VIX_OK;
}

/** Raw extents hold every sector: on top of a parent they would hide all of it. */
static VixError check_child_type(const struct link *child, struct err *err)
{
    if (child->desc->native_snapshot) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s is a native snapshot: what it shares with its parent is known only to the storage array",
                       child->path);
    }
    for (size_t i = 0; i < child->extent_count; i++) {
        const struct extent *x = child->extents[i].x;
        if (x->preallocated && x->store != NULL) {
            return err_set(err, VIX_E_DISK_INVALIDCHAIN,
                           "%s names a parent but has a raw extent (%s): a child is sparse", child->path,
                           x->store->path);
        }
    }
    return VIX_OK;
}

static VixError check_depth(size_t link_count, const char *path, struct err *err)
{
    if (link_count > CHAIN_MAX_LINKS) {
        return err_set(err, VIX_E_DISK_TOOMANYREDO, "%s: the chain has more than %u links", path, CHAIN_MAX_LINKS);
    }
    return VIX_OK;
}

/** Whether a file is already a link of the chain. */
static bool has_file(const struct chain *c, uint64_t dev, uint64_t ino)
{
    for (size_t i = 0; i < c->link_count; i++) {
        if (c->links[i]->store->dev == dev && c->links[i]->store->ino == ino) {
            return true;
        }
    }
    return false;
}

/* ---- opening ---- */

static VixError add_link(struct chain *c, struct link *l, struct err *err)
{
    struct link **links = alloc_array(c->link_count + 1, sizeof *links, err);

    if (links == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (c->link_count > 0) {
        memcpy(links, c->links, c->link_count * sizeof(struct link *));
    }
    links[c->link_count++] = l;
    free(c->links);
    c->links = links;
    return VIX_OK;
}

/** Opens the parent at path, which was looked at, and appends it. What is missing below a parent is the parent's fault
 * too. */
static VixError open_parent(struct chain *c, const struct link *child, const char *path, const struct link_peek *peek,
                            struct err *err)
{
    uint32_t flags = c->flags & ~(CHAIN_WRITE | CHAIN_DROP_TRACKING | CHAIN_KEEP_CID);
    struct link *parent = NULL;

    VixError code = link_open(child->fs, path, flags, NULL, &parent, err);
    if (code != VIX_OK) {
        err_prefix(err, "%s: parent: ", child->path);
        if (code == VIX_E_FILE_NOT_FOUND && err != NULL) {
            err->code = VIX_E_DISK_OPENPARENT;
        }
        return code == VIX_E_FILE_NOT_FOUND ? VIX_E_DISK_OPENPARENT : code;
    }
    if (parent->store->dev != peek->dev || parent->store->ino != peek->ino) {
        code = err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: its parent %s was replaced while it was opened", child->path,
                       path);
    }
    if (code == VIX_OK) {
        code = check_cid(child, parent->path, parent->desc->cid, err);
    }
    if (code == VIX_OK) {
        code = check_capacity(child, parent->path, parent->capacity, err);
    }
    if (code == VIX_OK) {
        code = add_link(c, parent, err);
    }
    if (code != VIX_OK) {
        (void)link_close(parent, NULL);
    }
    return code;
}

/** Finds and opens the parent of the last link. */
static VixError descend(struct chain *c, struct err *err)
{
    const struct link *child = c->links[c->link_count - 1];
    struct link_peek peek;
    char *found = NULL;

    VixError code = check_child_type(child, err);
    if (code == VIX_OK) {
        code = check_depth(c->link_count + 1, c->links[0]->path, err);
    }
    if (code == VIX_OK) {
        code = link_find_parent(child, &found, &peek, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *path = found;
    /* Before it is opened: the lock on the top link would stand in the way of a second open of the same file. */
    if (has_file(c, peek.dev, peek.ino)) {
        return err_set(err, VIX_E_DISK_INVALIDCHAIN, "%s: its parent %s is a link of the same chain already: a circle",
                       child->path, path);
    }
    return open_parent(c, child, path, &peek, err);
}

static VixError open_links(struct chain *c, struct store_fs *fs, const char *path, const struct chain_tuning *tuning,
                           struct err *err)
{
    struct link *top = NULL;

    VixError code = link_open(fs, path, c->flags, tuning, &top, err);
    if (code != VIX_OK) {
        return code;
    }
    code = add_link(c, top, err);
    if (code != VIX_OK) {
        (void)link_close(top, NULL);
        return code;
    }
    c->capacity = top->capacity;
    while (code == VIX_OK && (c->flags & CHAIN_SINGLE_LINK) == 0 && link_has_parent(c->links[c->link_count - 1])) {
        code = descend(c, err);
    }
    return code;
}

VixError chain_open(struct store_fs *fs, const char *path, uint32_t flags, const struct chain_tuning *tuning,
                    struct chain **ret_chain, struct err *err)
{
    struct chain *c = alloc_zero(sizeof *c, err);

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    c->flags = flags;
    VixError code = open_links(c, fs, path, tuning, err);
    if (code != VIX_OK) {
        (void)chain_close(c, NULL);
        return code;
    }
    chain_connect_top(c);
    if ((flags & CHAIN_KEEP_CID) != 0 && c->links[0]->writable && c->links[0]->desc->change_track_path == NULL) {
        atomic_store(&c->links[0]->cid_changed, true);
    }
    *ret_chain = c;
    return VIX_OK;
}

VixError chain_renew_cid(struct chain *c, struct err *err)
{
    atomic_store(&c->links[0]->cid_changed, false);
    return link_begin_write(c->links[0], err);
}

uint32_t chain_take_cid(const struct chain *c)
{
    struct link *top = c->links[0];
    SCOPED_LOCK(&top->meta_lock);

    /* under one lock, so that no write takes the new ID between */
    atomic_store(&top->cid_changed, false);
    return top->desc->cid;
}

VixError chain_close(struct chain *c, struct err *err)
{
    VixError first = VIX_OK;

    if (c == NULL) {
        return VIX_OK;
    }
    for (size_t i = 0; i < c->link_count; i++) {
        VixError code = link_close(c->links[i], first == VIX_OK ? err : NULL);
        first = first != VIX_OK ? first : code;
    }
    if (c->base.read != NULL) {
        VixError code = c->base.close(c->base.ctx, first == VIX_OK ? err : NULL);
        first = first != VIX_OK ? first : code;
    }
    free(c->links);
    free(c);
    return first;
}

/* ---- attach ---- */

static VixError check_child(const char *parent_path, const struct chain *child, struct err *err)
{
    if (!link_has_parent(child->links[0])) {
        return err_set(err, VIX_E_DISK_ATTACH_ROOTLINK, "%s has no parent in its descriptor: it cannot be put on %s",
                       child->links[0]->path, parent_path);
    }
    if (child->link_count != 1) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s was opened with its %zu links: open it as a single link to attach it", child->links[0]->path,
                       child->link_count);
    }
    return check_child_type(child->links[0], err);
}

static VixError check_root(const struct chain *parent, struct err *err)
{
    const struct link *base = parent->links[parent->link_count - 1];

    if (link_has_parent(base) && parent->base.read == NULL) {
        return err_set(err, VIX_E_DISK_PARTIALCHAIN, "%s was opened without its parents: nothing can be put on it",
                       base->path);
    }
    return VIX_OK;
}

VixError chain_can_attach(const struct chain *parent, const struct chain *child, struct err *err)
{
    const struct link *low = parent->links[0], *high = child->links[0];

    if (parent == child || has_file(parent, high->store->dev, high->store->ino)) {
        return err_set(err, VIX_E_DISK_INVALIDCHAIN, "%s cannot be put on itself", high->path);
    }
    if (low->writable && chain_is_ordered(parent)) {
        return err_set(err, VIX_E_DISK_PARENT_NOTALLOWED,
                       "%s is being written as a stream: it can be a parent only when it is complete", low->path);
    }
    VixError code = check_child(low->path, child, err);
    if (code == VIX_OK) {
        code = check_root(parent, err);
    }
    if (code == VIX_OK) {
        code = check_depth(parent->link_count + 1, high->path, err);
    }
    if (code == VIX_OK) {
        code = check_capacity(high, low->path, low->capacity, err);
    }
    return code == VIX_OK ? check_cid(high, low->path, low->desc->cid, err) : code;
}

static VixError join(struct chain *parent, struct chain *child, struct err *err)
{
    VixError code = chain_can_attach(parent, child, err);

    if (code == VIX_OK) {
        code = chain_flush(parent, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    struct link **links = alloc_array(parent->link_count + 1, sizeof *links, err);
    if (links == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    links[0] = child->links[0];
    memcpy(links + 1, parent->links, parent->link_count * sizeof(struct link *));
    free(child->links);
    child->links = links;
    child->link_count = parent->link_count + 1;
    child->base = parent->base;
    child->flags &= ~CHAIN_SINGLE_LINK;
    parent->link_count = 0;
    parent->base.read = NULL;
    chain_connect_top(child);
    return VIX_OK;
}

VixError chain_attach(struct chain *parent, struct chain *child, struct err *err)
{
    VixError code = join(parent, child, err);

    if (parent != child) {
        (void)chain_close(parent, NULL);
    }
    return code;
}

VixError chain_can_attach_base(const struct chain_base *base, const struct chain *child, struct err *err)
{
    const struct link *high = child->links[0];
    VixError code = check_child(base->path, child, err);

    if (code == VIX_OK) {
        code = check_capacity(high, base->path, base->capacity, err);
    }
    return code == VIX_OK ? check_cid(high, base->path, base->cid, err) : code;
}

VixError chain_attach_base(const struct chain_base *base, struct chain *child, struct err *err)
{
    VixError code = chain_can_attach_base(base, child, err);

    if (code != VIX_OK) {
        return code;
    }
    child->base = *base;
    child->flags &= ~CHAIN_SINGLE_LINK;
    chain_connect_top(child);
    return VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_parent.c - where the parent of a link is, and how that is changed. One thread per chain. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "vmdk/chain.h"
#include "vmdk/link.h"

VixError chain_parent_path(const struct chain *c, char **ret_path, struct err *err)
{
    const struct link *last = c->links[c->link_count - 1];
    struct link_peek peek;

    if (!link_has_parent(last)) {
        return err_set(err, VIX_E_DISK_ATTACH_ROOTLINK, "%s has no parent", last->path);
    }
    return link_find_parent(last, ret_path, &peek, err);
}

/** The disk at path is opened to see that it is one, and how large. */
static VixError check_parent_capacity(const struct link *l, const char *path, struct err *err)
{
    struct link *parent = NULL;
    uint32_t flags = (l->flags & CHAIN_OUTSIDE_OK) | CHAIN_SINGLE_LINK;

    VixError code = link_open(l->fs, path, flags, NULL, &parent, err);
    if (code == VIX_OK && parent->capacity != l->capacity) {
        code = err_set(err, VIX_E_DISK_CAPACITY_MISMATCH, "%s has %" PRIu64 " sectors, %s %" PRIu64, l->path,
                       l->capacity, path, parent->capacity);
    }
    (void)link_close(parent, NULL);
    return code;
}

/** Whether the disk that a changed descriptor of l names can be its parent. */
static VixError check_new_parent(const struct link *l, struct descriptor *changed, struct err *err)
{
    struct link as_if = *l; /* looked at only: nothing of it is freed */
    struct link_peek peek;
    char *found = NULL;

    as_if.desc = changed;
    VixError code = link_find_parent(&as_if, &found, &peek, err);
    CLEANUP_FREE char *path = found;
    if (code == VIX_OK && peek.dev == l->store->dev && peek.ino == l->store->ino) {
        code = err_set(err, VIX_E_DISK_INVALIDCHAIN, "%s cannot be its own parent", l->path);
    }
    return code == VIX_OK ? check_parent_capacity(l, path, err) : code;
}

VixError chain_reparent(struct chain *c, const char *hint, struct err *err)
{
    struct link *top = c->links[0];
    struct descriptor *changed = NULL;
    CLEANUP_FREE char *name = NULL;

    if (!link_has_parent(top)) {
        return err_set(err, VIX_E_DISK_ATTACH_ROOTLINK, "%s has no parent in its descriptor", top->path);
    }
    SCOPED_LOCK(&top->meta_lock);
    VixError code = link_copy_descriptor(top, &changed, err);
    if (code == VIX_OK) {
        code = descriptor_name_from_utf8(changed, hint, &name, err);
    }
    if (code == VIX_OK) {
        code = descriptor_set_parent(changed, name, changed->parent_cid, err);
    }
    if (code == VIX_OK) {
        code = check_new_parent(top, changed, err);
    }
    if (code != VIX_OK) {
        descriptor_free(changed);
        return code;
    }
    return link_replace_descriptor_locked(top, changed, err);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* check.c - the order of a check: link by link from the top down, each with its files, and the relation of each link to
 * its parent. What is found is gathered file by file, and told when the file is done, so that a problem is only called
 * repaired once the repair is on stable storage. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/check_int.h"
#include "vmdk/link.h"

/* ---- what the passes call ---- */

bool check_found(struct check *c, enum problem_code code, uint64_t file_off, uint64_t sector, uint64_t nsectors,
                 const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    problem_add(&c->list, code, file_off, sector * SECTOR_SIZE, nsectors * SECTOR_SIZE, fmt, args);
    va_end(args);
    return (c->flags & CHECK_REPAIR) != 0 && problem_is_repairable(code);
}

bool check_is_hurt(const struct check *c)
{
    return c->list.found[WEIGHT_LOST] > 0;
}

uint32_t check_store_flags(const struct check *c)
{
    return STORE_LOCK | ((c->flags & CHECK_REPAIR) != 0 ? STORE_WRITE : STORE_READ) |
           ((c->flags & CHECK_OUTSIDE_OK) != 0 ? STORE_DEVICE_OK : 0);
}

static bool tell(struct check *c, const struct problem *p, const char *file, bool repaired)
{
    struct check_report report = {
        .code = (unsigned)p->code,
        .name = problem_name(p->code),
        .message = problem_message(p->code),
        .text = p->text,
        .file = file,
        .file_off = p->file_off,
        .start = p->start,
        .len = p->len,
        .count = p->count,
        .note = problem_weight(p->code) == WEIGHT_NOTE,
        .repairable = problem_is_repairable(p->code),
        .repaired = repaired && problem_is_repairable(p->code),
    };
    if (report.repaired) {
        c->sum.repaired += p->count;
    }
    return c->func == NULL || c->func(c->ctx, &report);
}

VixError check_end_file(struct check *c, const char *file, bool repaired, struct err *err)
{
    struct problem_list list = c->list;
    VixError code = list.failure.code;

    if (c->withheld) {
        c->sum.withheld += list.found[WEIGHT_REPAIRABLE];
    }
    repaired = repaired && !c->withheld && (c->flags & CHECK_REPAIR) != 0;
    c->list = (struct problem_list){0};
    c->withheld = false;
    c->sum.files++;
    c->sum.problems += list.found[WEIGHT_REPAIRABLE] + list.found[WEIGHT_LOST];
    c->sum.unrepairable += list.found[WEIGHT_LOST];
    c->sum.notes += list.found[WEIGHT_NOTE];
    c->sum.untold += list.untold;
    if (code != VIX_OK && err != NULL) {
        *err = list.failure;
    }
    for (size_t i = 0; code == VIX_OK && i < list.count; i++) {
        if (!tell(c, &list.problems[i], file, repaired)) {
            code = err_set(err, VIX_E_CANCELLED, "%s: the check was stopped", file);
        }
    }
    problem_list_clear(&list);
    return code;
}

void check_capacity(struct check_file *f, uint64_t header_sectors, uint64_t slack)
{
    if (f->nsectors == 0) {
        f->nsectors = header_sectors;
    }
    if (header_sectors < f->nsectors || header_sectors - f->nsectors >= slack) {
        (void)check_found(f->c, PROBLEM_CAPACITY, 0, f->first, f->nsectors,
                          "the header has %" PRIu64 " sectors, the descriptor %" PRIu64
                          ", allowed are the same or less than %" PRIu64 " more in the header",
                          header_sectors, f->nsectors, slack);
    }
}

uint64_t check_clip(const struct check_file *f, uint64_t sector, uint64_t nsectors)
{
    return sector >= f->nsectors ? 0 : min_u64(nsectors, f->nsectors - sector);
}

VixError check_read_padded(struct store *s, uint8_t *buf, uint64_t len, uint64_t off, struct err *err)
{
    uint64_t got = 0;
    VixError code = store_read_some(s, buf, len, off, &got, err);

    if (code == VIX_OK) {
        memset(buf + got, 0, len - got);
    }
    return code;
}

/* ---- the chain ---- */

struct visited {
    uint64_t dev[CHAIN_MAX_LINKS + 1], ino[CHAIN_MAX_LINKS + 1];
    size_t count;
};

static bool was_visited(const struct visited *v, uint64_t dev, uint64_t ino)
{
    for (size_t i = 0; i < v->count; i++) {
        if (v->dev[i] == dev && v->ino[i] == ino) {
            return true;
        }
    }
    return false;
}

static void remember(struct visited *v, uint64_t dev, uint64_t ino)
{
    v->dev[v->count] = dev;
    v->ino[v->count++] = ino;
}

static enum problem_code parent_problem(VixError code)
{
    switch (code) {
    case VIX_E_DISK_CID_MISMATCH:
        return PROBLEM_PARENT_CID;
    case VIX_E_DISK_OPENPARENT:
    case VIX_E_FILE_NOT_FOUND:
        return PROBLEM_PARENT_MISSING;
    default:
        return PROBLEM_PARENT_UNREADABLE;
    }
}

/** Finds the parent's descriptor file; NULL in *ret_path if there is none, which has been told. */
static VixError find_parent(struct check *c, const struct check_link *child, const struct visited *v, char **ret_path,
                            struct err *err)
{
    struct link l = {.fs = c->fs,
                     .path = child->path,
                     .desc = child->desc,
                     .flags = (c->flags & CHECK_OUTSIDE_OK) != 0 ? CHAIN_OUTSIDE_OK : 0};
    struct link_peek peek;
    struct err why;
    char *path = NULL;

    err_init(&why);
    *ret_path = NULL;
    VixError code = link_find_parent(&l, &path, &peek, &why);
    if (code == VIX_E_OUT_OF_MEMORY) {
        return err_set(err, code, "%s", why.text);
    }
    uint64_t all = child->desc->capacity;
    if (code != VIX_OK) {
        (void)check_found(c, parent_problem(code), CHECK_NOWHERE, 0, all, "%s", why.text);
    } else if (was_visited(v, peek.dev, peek.ino)) {
        (void)check_found(c, PROBLEM_CHAIN_CYCLE, CHECK_NOWHERE, 0, all, "its parent %s is a link of the same chain",
                          path);
    } else if (v->count > CHAIN_MAX_LINKS) {
        (void)check_found(c, PROBLEM_CHAIN_TOO_DEEP, CHECK_NOWHERE, 0, all,
                          "%s would be link %zu of the chain, allowed are %u", path, v->count + 1, CHAIN_MAX_LINKS);
    } else {
        *ret_path = TAKE_PTR(path);
    }
    free(path);
    return VIX_OK;
}

static void compare_with_parent(struct check *c, const struct check_link *child, const struct check_link *parent)
{
    if (parent->desc != NULL && parent->desc->capacity != child->desc->capacity) {
        (void)check_found(c, PROBLEM_PARENT_CAPACITY, CHECK_NOWHERE, 0, child->desc->capacity,
                          "it has %" PRIu64 " sectors, its parent %s %" PRIu64, child->desc->capacity, parent->path,
                          parent->desc->capacity);
    }
}

/** Goes one link down: what is wrong between the two is told as the child's. *ret_parent has no path if there is none.
 */
static VixError step_down(struct check *c, const struct check_link *child, struct visited *v, bool tells,
                          struct check_link *ret_parent, struct err *err)
{
    struct check_link parent = {0};
    char *found = NULL;

    if (child->desc == NULL || child->desc->parent_cid == CID_NO_PARENT) {
        return VIX_OK;
    }
    VixError code = find_parent(c, child, v, &found, err);
    CLEANUP_FREE char *path = found;
    if (code == VIX_OK && path != NULL) {
        code = check_link_peek(c, path, &parent, err);
    }
    if (code == VIX_OK && path != NULL) {
        compare_with_parent(c, child, &parent);
        remember(v, parent.dev, parent.ino);
        *ret_parent = parent;
    }
    if (code != VIX_OK) {
        check_link_done(&parent);
        return code;
    }
    if (!tells && c->list.found[WEIGHT_LOST] > 0 && c->list.problems != NULL &&
        c->list.problems[0].code != PROBLEM_CHAIN_CYCLE) {
        problem_list_clear(&c->list); /* links further down are only looked at for a circle */
        return VIX_OK;
    }
    if (c->list.count > 0) {
        c->sum.files--; /* the file was counted when its contents were checked */
        code = check_end_file(c, child->path, false, err);
    }
    return code;
}

static VixError check_chain(struct check *c, const char *path, struct err *err)
{
    struct check_link link = {0};
    struct visited v = {.count = 0};
    VixError code = check_link(c, path, &link, err);

    if (code == VIX_OK) {
        remember(&v, link.dev, link.ino);
    }
    for (bool top = true; code == VIX_OK && link.path != NULL; top = false) {
        struct check_link parent = {0};
        bool whole = (c->flags & CHECK_CHAIN) != 0;
        code = step_down(c, &link, &v, top || whole, &parent, err);
        check_link_done(&link);
        link = parent;
        if (code == VIX_OK && whole && link.path != NULL) {
            struct check_link checked = {0};
            c->has_child = true;
            code = check_link(c, link.path, &checked, err);
            check_link_done(&checked);
        }
    }
    check_link_done(&link);
    return code;
}

static VixError verdict(const struct check *c, const char *path, struct err *err)
{
    const struct check_summary *s = &c->sum;
    bool repaired = (c->flags & CHECK_REPAIR) != 0;

    if (s->unrepairable > 0) {
        return err_set(err, VIX_E_DISK_CANTREPAIR, "%s: %" PRIu64 " problems, %" PRIu64 " of them cannot be repaired",
                       path, s->problems, s->unrepairable);
    }
    if (repaired && s->withheld > 0) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: %" PRIu64 " problems, %" PRIu64
                       " of them not repaired: tables cannot be read, and may have what their copies lack",
                       path, s->problems, s->withheld);
    }
    if (s->problems > 0 && !repaired) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR, "%s: %" PRIu64 " problems, all of them can be repaired", path,
                       s->problems);
    }
    return VIX_OK;
}

VixError ops_check(struct store_fs *fs, const char *path, uint32_t flags, check_func *func, void *ctx,
                   struct check_summary *ret_summary, struct err *err)
{
    struct check c = {.fs = fs, .flags = flags, .func = func, .ctx = ctx};
    VixError code = link_check_name(fs, path, err);

    if (code == VIX_OK) {
        code = check_chain(&c, path, err);
    }
    problem_list_clear(&c.list);
    *ret_summary = c.sum;
    return code == VIX_OK ? verdict(&c, path, err) : code;
}

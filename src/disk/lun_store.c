/* SPDX-License-Identifier: BSD-3-Clause */
/* lun_store.c - a LUN as a store: the first of its paths that answers. When that one fails, the request is made again
 * on another path, if there is one: found by the LUN's id anew, since names of devices move. Requests of all threads
 * share a lock while they use a path; it is closed when none does. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/lun.h"

#define PROBE_OFF (1024u * 1024) /* of the volume manager's header on a LUN without a table; any LUN answers there */
#define PROBE_LEN 4096u
#define ROUNDS 2     /* of tries to open: a path may fail once */
#define PATH_TRIES 4 /* limit: tries of a request, each on another path than the one before */

struct lun_store {
    struct store base;
    struct hostview view;
    char *root; /* of the view */
    char *name; /* "naa.6000..." */
    uint64_t size;
    pthread_rwlock_t lock; /* for what follows: shared by requests, exclusive for another path */
    struct store *path;
    char *node;        /* of the path, "/dev/sdb" */
    unsigned switches; /* to another path */
};

static struct lun_store *lun_of(struct store *s)
{
    return (struct lun_store *)s;
}

/* ---- one path ---- */

/** Says what to do about a device that this process may not open. */
static VixError tell_rights(const struct hostview *v, const char *node, bool writable, struct err *err)
{
    return err_set(err, VIX_E_NOT_SUPPORTED,
                   "%s%s: this process may not open it for %s: run it as root, or as a user of the group that the "
                   "device belongs to",
                   v->root, node, writable ? "writing" : "reading");
}

static VixError open_path(const struct hostview *v, const char *node, bool writable, struct store **ret_store,
                          struct err *err)
{
    struct store *s = NULL;
    VixError code = hostview_open_block(v, node, writable ? STORE_WRITE : STORE_READ, &s, err);
    CLEANUP_FREE uint8_t *probe = NULL;

    if (code != VIX_OK) {
        return code == VIX_E_FILE_ACCESS_ERROR ? tell_rights(v, node, writable, err) : code;
    }
    probe = alloc_aligned(PROBE_LEN, PROBE_LEN, err);
    code = probe != NULL ? store_read(s, probe, PROBE_LEN, PROBE_OFF, err) : VIX_E_OUT_OF_MEMORY;
    if (code != VIX_OK) {
        store_close(s);
        return code;
    }
    *ret_store = s;
    return VIX_OK;
}

/* ---- another path ---- */

/** Whether a failure is one of the way to the LUN, and not of what was asked. */
static bool is_of_path(const struct err *err)
{
    static const int of_paths[] = {EIO, ENXIO, ENODEV, ENOLINK, ETIMEDOUT, EREMOTEIO, EBADE, ENODATA};

    for (size_t i = 0; i < sizeof of_paths / sizeof of_paths[0]; i++) {
        if (err->sys_errno == of_paths[i]) {
            return true;
        }
    }
    return false;
}

/** Opens a path and puts it in the place of the one that failed; the lock is held. */
static bool move_to(struct lun_store *l, const char *node, const struct err *why)
{
    struct store *s = NULL;
    uint64_t size = 0;
    struct err err;

    err_init(&err);
    VixError code = open_path(&l->view, node, l->base.writable, &s, &err);
    if (code == VIX_OK) {
        code = s->ops->size(s, &size, &err);
    }
    if (code == VIX_OK && (size != l->size || s->align != l->base.align)) {
        code = err_set(&err, VIX_E_FAIL, "it is of another size than the LUN was");
    }
    char *copy = code == VIX_OK ? alloc_text(node, &err) : NULL;
    if (copy == NULL) {
        log_news("LUN %s: not by %s: %s", l->name, node, err.text);
        store_close(s);
        return false;
    }
    log_news("LUN %s: %s: goes on by %s", l->name, why->text, node);
    store_close(l->path);
    free(l->node);
    l->path = s;
    l->node = copy;
    l->switches++;
    return true;
}

/** Changes to another path than the one that was used when l->switches was seen. False: there is none. */
static bool take_other(struct lun_store *l, unsigned seen, const struct err *why)
{
    struct lun_nodes nodes = {.count = 0};

    (void)pthread_rwlock_wrlock(&l->lock);
    bool there = l->switches != seen; /* another request was faster */
    if (!there && lun_find(&l->view, l->name, false, &nodes, NULL) == VIX_OK) {
        for (size_t i = 0; i < nodes.count && !there; i++) {
            there = strcmp(nodes.nodes[i], l->node) != 0 && move_to(l, nodes.nodes[i], why);
        }
        lun_nodes_free(&nodes);
    }
    (void)pthread_rwlock_unlock(&l->lock);
    return there;
}

/* ---- requests ---- */

struct request {
    enum { LUN_READ, LUN_WRITE, LUN_FLUSH } kind;
    const struct iovec *iov;
    int iovcnt;
    uint64_t off;
};

static VixError try_request(struct lun_store *l, const struct request *q, unsigned *ret_seen, struct err *err)
{
    VixError code = VIX_OK;

    (void)pthread_rwlock_rdlock(&l->lock);
    struct store *s = l->path;
    *ret_seen = l->switches;
    switch (q->kind) {
    case LUN_READ:
        code = s->ops->readv(s, q->iov, q->iovcnt, q->off, err);
        break;
    case LUN_WRITE:
        code = s->ops->writev(s, q->iov, q->iovcnt, q->off, err);
        break;
    case LUN_FLUSH:
        code = s->ops->flush(s, err);
        break;
    }
    (void)pthread_rwlock_unlock(&l->lock);
    return code;
}

/** A write may be made twice: it is the same bytes. */
static VixError do_request(struct lun_store *l, const struct request *q, struct err *err)
{
    struct err why;
    unsigned seen = 0;

    err_init(&why);
    VixError code = try_request(l, q, &seen, &why);
    for (unsigned tries = 1; code != VIX_OK && tries < PATH_TRIES && is_of_path(&why) && take_other(l, seen, &why);
         tries++) {
        err_init(&why);
        code = try_request(l, q, &seen, &why);
    }
    if (code != VIX_OK && err != NULL) {
        *err = why;
    }
    return code;
}

static VixError lun_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    const struct request q = {.kind = LUN_READ, .iov = iov, .iovcnt = iovcnt, .off = off};
    return do_request(lun_of(s), &q, err);
}

static VixError lun_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    const struct request q = {.kind = LUN_WRITE, .iov = iov, .iovcnt = iovcnt, .off = off};
    return do_request(lun_of(s), &q, err);
}

static VixError lun_flush(struct store *s, struct err *err)
{
    const struct request q = {.kind = LUN_FLUSH};
    return do_request(lun_of(s), &q, err);
}

static VixError lun_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    (void)err;
    *ret_size = lun_of(s)->size;
    return VIX_OK;
}

/* ---- what is not done to LUNs ---- */

static VixError fail_lun(const struct store *s, struct err *err)
{
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: is a LUN, which is read and overwritten, and nothing else", s->path);
}

static VixError lun_truncate(struct store *s, uint64_t size, struct err *err)
{
    (void)size;
    return fail_lun(s, err);
}

static VixError lun_range(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    (void)off, (void)len;
    return fail_lun(s, err);
}

static VixError lun_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    (void)s, (void)off, (void)err;
    *ret_run = (struct store_run){.len = len};
    return VIX_OK;
}

static VixError lun_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                         struct err *err)
{
    (void)off, (void)src, (void)src_off, (void)len;
    return fail_lun(s, err);
}

static VixError lun_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    return lun_size(s, ret_bytes, err);
}

static void lun_will_need(struct store *s, uint64_t off, uint64_t len)
{
    (void)s, (void)off, (void)len;
}

/* ---- the store ---- */

static void lun_close(struct store *s)
{
    struct lun_store *l = lun_of(s);

    store_close(l->path);
    (void)pthread_rwlock_destroy(&l->lock);
    free(l->node);
    free(l->name);
    free(l->root);
    free(l->base.path);
    free(l);
}

static const struct store_ops lun_ops = {
    .readv = lun_readv,
    .writev = lun_writev,
    .size = lun_size,
    .truncate = lun_truncate,
    .preallocate = lun_range,
    .punch = lun_range,
    .map = lun_map,
    .copy = lun_copy,
    .flush = lun_flush,
    .allocated = lun_allocated,
    .will_need = lun_will_need,
    .close = lun_close,
};

/** The store of an open path, which is taken also on failure. */
static VixError make_store(const struct hostview *v, const char *name, const char *node, struct store *path,
                           struct store **ret_store, struct err *err)
{
    struct lun_store *l = alloc_zero(sizeof *l, err);

    if (l == NULL) {
        store_close(path);
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_rwlock_init(&l->lock, NULL);
    l->path = path;
    l->base = (struct store){
        .ops = &lun_ops,
        .path = alloc_text(path->path, err),
        .dev = path->dev,
        .ino = path->ino,
        .writable = path->writable,
        .is_device = path->is_device,
        .align = path->align,
        .mode = path->mode,
    };
    l->node = alloc_text(node, err);
    l->name = alloc_text(name, err);
    l->root = alloc_text(v->root, err); /* the configuration may change before the LUN is closed */
    l->view = (struct hostview){.root = l->root};
    bool good = l->base.path != NULL && l->node != NULL && l->name != NULL && l->root != NULL;
    VixError code = good ? path->ops->size(path, &l->size, err) : VIX_E_OUT_OF_MEMORY;
    if (code != VIX_OK) {
        lun_close(&l->base);
        return code;
    }
    *ret_store = &l->base;
    return VIX_OK;
}

VixError lun_open(const struct hostview *v, const char *name, bool writable, struct store **ret_store, struct err *err)
{
    struct lun_nodes nodes;
    struct err why;

    VixError code = lun_find(v, name, true, &nodes, err);
    if (code != VIX_OK) {
        return code;
    }
    code = VIX_E_FAIL;
    for (unsigned i = 0; i < ROUNDS * nodes.count && code != VIX_OK; i++) {
        const char *node = nodes.nodes[i % nodes.count];
        struct store *path = NULL;
        err_init(&why);
        code = open_path(v, node, writable, &path, &why);
        if (code == VIX_OK) {
            log_news("LUN %s is %s, one of %zu", name, node, nodes.count);
            code = make_store(v, name, node, path, ret_store, &why);
        } else if (nodes.count > 1) {
            log_news("LUN %s: not by %s: %s", name, node, why.text);
        }
    }
    if (code != VIX_OK) {
        err_prefix(&why, "LUN %s: ", name);
        if (err != NULL) {
            *err = why;
        }
    }
    lun_nodes_free(&nodes);
    return code;
}

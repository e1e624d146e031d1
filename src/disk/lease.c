/* SPDX-License-Identifier: BSD-3-Clause */
/* lease.c - holding a lease, and its map put into bytes on LUNs. What the numbers of a map count and how it names LUNs
 * is not published: two functions guess it, unit_of and is_lun, and what they make of it is compared with what the host
 * gives over NFC before it is used (remote_san.c). */
#include "disk/lease.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "work/thread.h"

#define TIMEOUT_S 30u /* limit: s that a lease of a disk lasts where the host does not tell */
#define NS UINT64_C(1000000000)
#define RUNS_MAX (2u * VIM_LEASE_EXTENTS_MAX + 1) /* limit: runs of a lease's map */
#define WHY_MAX 400u                              /* own: room for a sentence */

struct runs {
    struct vmfs_run *list;
    size_t count, room;
};

struct lease {
    struct lease_request request; /* what it points to is here */
    struct store *luns[VMFS_MAX_LUNS];
    const char *names[VMFS_MAX_LUNS];
    char *texts[VMFS_MAX_LUNS + 2];
    size_t text_count;
    struct vim_lease *told; /* the first one: what it says of the disk */
    struct vim_lease *held; /* the thread's; told until that is lost */
    struct runs runs;
    uint64_t timeout_ns;
    _Atomic uint64_t held_until; /* monotonic, nanoseconds; 0: the map is another one */
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows; nothing is taken under it */
    pthread_cond_t change;
    bool ending;
    char why[WHY_MAX]; /* the last renewal failed */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* ---- guesses ---- */

/** What the numbers of a map count, in bytes: that by which the host's size of the disk is the right one. 0: none. */
static uint64_t unit_of(const struct vim_lease *v, uint64_t capacity)
{
    const uint64_t units[] = {v->granularity, v->min_block_size, SECTOR_SIZE, 1};

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i] != 0 && v->size == div_up(capacity, units[i])) {
            return units[i];
        }
    }
    return 0;
}

/** Whether an element is a LUN: by its canonical name, or by a VML id, which has the other's digits in it. */
static bool is_lun(const char *element, const char *name)
{
    const char *dot = strchr(name, '.');

    return text_equal_nocase(element, name) || (strncmp(element, "vml.", 4) == 0 && dot != NULL && strlen(dot) > 16 &&
                                                strcasestr(element, dot + 1) != NULL);
}

/* ---- the map as runs ---- */

static bool goes_on(const struct vmfs_run *a, const struct vmfs_run *b)
{
    return a->kind == b->kind && a->shared == b->shared &&
           (a->kind != VMFS_DATA || (a->lun == b->lun && a->lun_off + a->len == b->lun_off));
}

static VixError add_run(struct runs *r, const struct vmfs_run *run, struct err *err)
{
    if (r->count > 0 && goes_on(&r->list[r->count - 1], run)) {
        r->list[r->count - 1].len += run->len;
        return VIX_OK;
    }
    if (r->count == r->room) {
        size_t room = r->room > 0 ? r->room * 2 : 64;
        if (r->count >= RUNS_MAX) {
            return err_set(err, VIX_E_INVALID_XML, "the lease's map has more than %u runs", RUNS_MAX);
        }
        struct vmfs_run *more = alloc_array(room, sizeof *more, err);
        if (more == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (r->count > 0) {
            memcpy(more, r->list, r->count * sizeof *more);
        }
        free(r->list);
        r->list = more;
        r->room = room;
    }
    r->list[r->count++] = *run;
    return VIX_OK;
}

static VixError add_hole(struct runs *r, uint64_t off, uint64_t end, struct err *err)
{
    const struct vmfs_run hole = {.off = off, .len = end - off, .kind = VMFS_HOLE};
    return end > off ? add_run(r, &hole, err) : VIX_OK;
}

static VixError on_lun(const struct lease_request *q, const char *element, struct vmfs_run *run, struct err *err)
{
    size_t found = q->lun_count;
    uint64_t size = 0, end = 0;

    for (size_t i = 0; i < q->lun_count; i++) {
        if (is_lun(element, q->names[i])) {
            found = found == q->lun_count ? i : SIZE_MAX;
        }
    }
    if (found >= q->lun_count) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the lease's map names \"%.100s\", which is no LUN of the datastore",
                       element);
    }
    VixError code = q->luns[found]->ops->size(q->luns[found], &size, err);
    if (code == VIX_OK && (!checked_add(run->lun_off, run->len, &end) || end > size)) {
        code = err_set(err, VIX_E_INVALID_XML,
                       "the lease's map has %" PRIu64 " bytes at %" PRIu64 " of LUN %s, which has %" PRIu64, run->len,
                       run->lun_off, q->names[found], size);
    }
    run->lun = found;
    return code;
}

/** A run on the volume may be on several LUNs. */
static VixError add_on_volume(const struct lease_request *q, const char *element, struct runs *r, struct vmfs_run run,
                              struct err *err)
{
    uint64_t end = run.off + run.len, at = run.lun_off;
    VixError code = VIX_OK;

    if (q->volume == NULL || !text_equal_nocase(element, vmfs_info(q->volume)->uuid)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the lease's map is one of volume \"%.100s\", which is not known",
                       element);
    }
    while (run.off < end && code == VIX_OK) {
        run.len = end - run.off;
        code = vmfs_locate(q->volume, at, &run.len, "the lease's map", &run.lun, &run.lun_off, err);
        if (code == VIX_OK) {
            code = add_run(r, &run, err);
        }
        run.off += run.len;
        at += run.len;
    }
    return code;
}

static VixError add_extent(const struct lease_request *q, const struct vim_lease *v, const struct vim_lease_extent *e,
                           uint64_t unit, struct runs *r, struct err *err)
{
    const struct vim_lease_element *element = &v->elements[e->element];
    struct vmfs_run run = {.kind = e->to_be_zeroed ? VMFS_TO_BE_ZEROED : VMFS_DATA, .shared = e->read_only};
    uint64_t end = 0;

    if (!checked_mul(e->start, unit, &run.off) || !checked_mul(e->length, unit, &run.len) ||
        !checked_mul(e->physical, unit, &run.lun_off) || !checked_add(run.off, run.len, &end) ||
        run.off >= q->capacity || run.off % SECTOR_SIZE != 0 || run.len % SECTOR_SIZE != 0 ||
        run.lun_off % SECTOR_SIZE != 0) {
        return err_set(err, VIX_E_INVALID_XML,
                       "the lease's map has an extent of %" PRIu64 " units of %" PRIu64 " bytes at %" PRIu64
                       ", on the LUN at %" PRIu64 ": not of a disk of %" PRIu64 " bytes",
                       e->length, unit, e->start, e->physical, q->capacity);
    }
    run.len = min_u64(run.len, q->capacity - run.off);
    if (element->is_volume) {
        return add_on_volume(q, element->name, r, run, err);
    }
    VixError code = on_lun(q, element->name, &run, err);
    return code == VIX_OK ? add_run(r, &run, err) : code;
}

static VixError make_runs(const struct lease_request *q, const struct vim_lease *v, struct runs *ret_runs,
                          struct err *err)
{
    struct runs r = {0};
    uint64_t unit = unit_of(v, q->capacity), at = 0;
    VixError code = VIX_OK;

    if (unit == 0) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "the lease's map is of %" PRIu64 " blocks of %" PRIu64 " or %" PRIu64
                       " bytes: not a disk of %" PRIu64,
                       v->size, v->granularity, v->min_block_size, q->capacity);
    }
    for (size_t i = 0; i < v->extent_count && code == VIX_OK; i++) {
        code = add_hole(&r, at, min_u64(v->extents[i].start * unit, q->capacity), err);
        if (code == VIX_OK) {
            code = add_extent(q, v, &v->extents[i], unit, &r, err);
        }
        at = r.count > 0 ? r.list[r.count - 1].off + r.list[r.count - 1].len : 0;
    }
    if (code == VIX_OK) {
        code = add_hole(&r, at, q->capacity, err);
    }
    if (code != VIX_OK) {
        free(r.list);
        return code;
    }
    *ret_runs = r;
    return VIX_OK;
}

static bool same_runs(const struct runs *a, const struct runs *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; i < a->count && same; i++) {
        const struct vmfs_run *x = &a->list[i];
        const struct vmfs_run *y = &b->list[i];
        same = x->off == y->off && x->len == y->len && x->kind == y->kind && x->shared == y->shared &&
               x->lun == y->lun && x->lun_off == y->lun_off;
    }
    return same;
}

/* ---- holding it ---- */

static VixError ask(const struct lease_request *q, struct vim_lease **ret_lease, struct err *err)
{
    return vim_lease_take(q->session, q->snapshot, q->path, q->read_only, ret_lease, err);
}

/** Frees a lease that the host has forgotten. */
static void forget(const struct lease *l, struct vim_lease *v)
{
    free(TAKE_PTR(v->moref));
    if (v != l->told) {
        (void)vim_lease_release(l->request.session, v, NULL);
    }
}

/** A lease that ran out, or whose session did, is taken anew: it is as good if its map is the same. */
static VixError take_again(struct lease *l, struct err *err)
{
    struct vim_lease *v = NULL;
    struct runs runs = {0};

    VixError code = ask(&l->request, &v, err);
    if (code != VIX_OK) {
        return code;
    }
    code = make_runs(&l->request, v, &runs, err);
    if (code == VIX_OK && !same_runs(&l->runs, &runs)) {
        code = err_set(err, VIX_E_HOST_CONNECTION_LOST, "it was had again, and its map is another one");
        atomic_store(&l->held_until, 0);
    }
    free(runs.list);
    if (code != VIX_OK) {
        (void)vim_lease_release(l->request.session, v, NULL);
        return code;
    }
    forget(l, l->held);
    l->held = v;
    log_news("%s: the lease was taken again", l->request.path);
    return VIX_OK;
}

static void renew(struct lease *l)
{
    uint64_t asked = now_ns();
    struct err err;

    err_init(&err);
    VixError code = vim_lease_renew(l->request.session, l->held, &err);
    if (code != VIX_OK) {
        log_news("%s: the lease is not renewed: %s", l->request.path, err.text);
        code = take_again(l, &err);
    }
    if (code == VIX_OK) {
        atomic_store(&l->held_until, asked + l->timeout_ns);
        return;
    }
    SCOPED_LOCK(&l->lock);
    (void)snprintf(l->why, sizeof l->why, "%s", err.text);
}

static void *keep(void *arg)
{
    struct lease *l = arg;

    (void)pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        uint64_t due = now_ns() + l->timeout_ns / 3;
        struct timespec until = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
        int ended = 0;
        while (!l->ending && ended == 0) {
            ended = pthread_cond_timedwait(&l->change, &l->lock, &until);
        }
        if (!l->ending && atomic_load(&l->held_until) != 0) {
            (void)pthread_mutex_unlock(&l->lock);
            renew(l);
            (void)pthread_mutex_lock(&l->lock);
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
    return NULL;
}

VixError lease_check(struct lease *l, struct err *err)
{
    uint64_t until = atomic_load(&l->held_until);

    if (until != 0 && now_ns() < until) {
        return VIX_OK;
    }
    SCOPED_LOCK(&l->lock);
    return err_set(err, VIX_E_HOST_CONNECTION_LOST,
                   "%s: %s: by SAN no more: the host's lease of the disk has ended: %s; open it again",
                   vim_peer(l->request.session), l->request.path,
                   l->why[0] != '\0' ? l->why : "it was not renewed in time");
}

/* ---- making it ---- */

static void init_lock(struct lease *l)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->change, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static void free_lease(struct lease *l)
{
    if (l->held != l->told) {
        (void)vim_lease_release(l->request.session, l->held, NULL);
    }
    (void)vim_lease_release(l->request.session, l->told, NULL);
    (void)pthread_cond_destroy(&l->change);
    (void)pthread_mutex_destroy(&l->lock);
    for (size_t i = 0; i < l->text_count; i++) {
        free(l->texts[i]);
    }
    free(l->runs.list);
    free(l);
}

/** NULL if there is no memory. */
static const char *keep_text(struct lease *l, const char *text, struct err *err)
{
    char *copy = alloc_text(text, err);

    if (copy != NULL) {
        l->texts[l->text_count++] = copy;
    }
    return copy;
}

static VixError copy_request(struct lease *l, const struct lease_request *q, struct err *err)
{
    bool good = true;

    l->request = *q;
    for (size_t i = 0; i < q->lun_count && good; i++) {
        l->luns[i] = q->luns[i];
        l->names[i] = keep_text(l, q->names[i], err);
        good = l->names[i] != NULL;
    }
    l->request.luns = l->luns;
    l->request.names = l->names;
    l->request.path = good ? keep_text(l, q->path, err) : NULL;
    l->request.snapshot = good ? keep_text(l, q->snapshot, err) : NULL;
    return l->request.path != NULL && l->request.snapshot != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

VixError lease_take(const struct lease_request *request, struct lease **ret_lease, struct err *err)
{
    struct lease *l = alloc_zero(sizeof *l, err);
    uint64_t asked = now_ns();

    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    init_lock(l);
    VixError code = copy_request(l, request, err);
    if (code == VIX_OK) {
        code = ask(&l->request, &l->told, err);
        l->held = l->told;
    }
    if (code == VIX_OK) {
        code = make_runs(&l->request, l->told, &l->runs, err);
    }
    if (code == VIX_OK) {
        l->timeout_ns = (l->told->timeout_s != 0 ? l->told->timeout_s : TIMEOUT_S) * NS;
        atomic_init(&l->held_until, asked + l->timeout_ns);
        if (work_thread_start(&l->thread, "vixdisk-lease", keep, l) != 0) {
            code = err_set(err, VIX_E_OUT_OF_MEMORY, "no thread can be made that renews the lease");
        }
    }
    if (code != VIX_OK) {
        free_lease(l);
        return code;
    }
    *ret_lease = l;
    return VIX_OK;
}

void lease_release(struct lease *l)
{
    if (l == NULL) {
        return;
    }
    {
        SCOPED_LOCK(&l->lock);
        l->ending = true;
        (void)pthread_cond_signal(&l->change);
    }
    (void)pthread_join(l->thread, NULL);
    free_lease(l);
}

/* ---- what it tells ---- */

const struct vmfs_run *lease_runs(const struct lease *l, size_t *ret_count)
{
    *ret_count = l->runs.count;
    return l->runs.list;
}

const struct vmfs_run *lease_run_at(const struct lease *l, uint64_t off)
{
    size_t low = 0, high = l->runs.count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->runs.list[middle].off <= off) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &l->runs.list[low];
}

const struct lease_request *lease_of_what(const struct lease *l)
{
    return &l->request;
}

const char *lease_value(const struct lease *l, const char *key)
{
    for (size_t i = 0; i < l->told->key_count; i++) {
        if (strcmp(l->told->keys[i], key) == 0) {
            return l->told->values[i];
        }
    }
    return NULL;
}

VixError lease_keys(const struct lease *l, char **ret_keys, size_t *ret_len, struct err *err)
{
    size_t len = 0;

    for (size_t i = 0; i < l->told->key_count; i++) {
        len += strlen(l->told->keys[i]) + 1;
    }
    char *keys = alloc_zero(len + 1, err);
    if (keys == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_keys = keys;
    *ret_len = len + 1;
    for (size_t i = 0; i < l->told->key_count; i++) {
        keys = stpcpy(keys, l->told->keys[i]) + 1;
    }
    return VIX_OK;
}

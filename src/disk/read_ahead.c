/* SPDX-License-Identifier: BSD-3-Clause */
/* read_ahead.c - the steps ahead of a reader are a row without gaps: the first holds what comes next. A read that goes
 * on where the last one ended takes from its front and adds to its end: as much ahead as it has read in order so far,
 * up to the limit. Any other read drops the row. The lock is not held while bytes are asked for or waited for. */
#include "disk/read_ahead.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/disk_int.h"

#define IN_ORDER 2u /* reads that follow one another make a reader that goes on in order */
/* Readers that have several reads under way have no need of it, and what one of them reads would be asked for twice:
 * after reads at the same time so many have to come one by one. */
#define ALONE 32u

enum step_state {
    STEP_FREE,
    STEP_FLYING, /* asked for */
    STEP_READY,
    STEP_FAILED, /* the reader finds out for himself */
};

struct step {
    struct disk_io io;
    struct read_ahead *ahead;
    enum step_state state;
    bool dropped; /* while it was flying */
    time_t asked;
    uint8_t *buf;
};

struct read_ahead {
    struct queue *q;
    uint64_t capacity;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t next;     /* sector at which the last read ended */
    unsigned active;   /* reads under way */
    unsigned alone;    /* reads to come one by one first */
    unsigned in_order; /* reads in a row */
    uint64_t run;      /* sectors of them */
    unsigned first;    /* index of the row's first step */
    unsigned count;
    struct step steps[READ_AHEAD_STEPS];
};

static time_t now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static struct step *step_at(struct read_ahead *a, unsigned i)
{
    return &a->steps[(a->first + i) % READ_AHEAD_STEPS];
}

static void step_done(struct disk_io *io, VixError result, const struct err *err)
{
    struct step *s = (struct step *)((char *)io - offsetof(struct step, io));
    struct read_ahead *a = s->ahead;

    (void)err;
    SCOPED_LOCK(&a->lock);
    s->state = s->dropped ? STEP_FREE : result == VIX_OK ? STEP_READY : STEP_FAILED;
    s->dropped = false;
    (void)pthread_cond_broadcast(&a->changed);
}

/** Takes the first step off the row. */
static void drop_first(struct read_ahead *a)
{
    struct step *s = step_at(a, 0);

    if (s->state == STEP_FLYING) {
        s->dropped = true;
    } else {
        s->state = STEP_FREE;
    }
    a->first = (a->first + 1) % READ_AHEAD_STEPS;
    a->count--;
}

static void drop_all(struct read_ahead *a)
{
    while (a->count > 0) {
        drop_first(a);
    }
}

/** The sector behind the row. */
static uint64_t row_end(struct read_ahead *a)
{
    const struct disk_io *last = &step_at(a, a->count - 1)->io;
    return last->sector + last->nsectors;
}

/** Prepares one more step at a sector; NULL: the next place is not free yet, or there is no memory. */
static struct disk_io *add_step(struct read_ahead *a, uint64_t sector)
{
    struct step *s = step_at(a, a->count);

    if (s->state != STEP_FREE) {
        return NULL;
    }
    if (s->buf == NULL && (s->buf = alloc_aligned(4096, READ_AHEAD_STEP_SECTORS * SECTOR_SIZE, NULL)) == NULL) {
        return NULL;
    }
    s->ahead = a;
    s->state = STEP_FLYING;
    s->asked = now_s();
    s->io = (struct disk_io){
        .sector = sector,
        .nsectors = min_u64(READ_AHEAD_STEP_SECTORS, a->capacity - sector),
        .buf = s->buf,
        .done = step_done,
    };
    a->count++;
    return &s->io;
}

/** Fills the row up, for a reader at a sector; gives the lock back while it asks. */
static void extend(struct read_ahead *a, uint64_t sector)
{
    struct disk_io *wanted[READ_AHEAD_STEPS];
    unsigned n = 0;
    uint64_t at = a->count > 0 ? row_end(a) : sector;
    uint64_t window = min_u64(READ_AHEAD_STEPS, 1 + a->run / READ_AHEAD_STEP_SECTORS);

    while (a->count < window && at < a->capacity) {
        struct disk_io *io = add_step(a, at);
        if (io == NULL) {
            break;
        }
        wanted[n++] = io;
        at += io->nsectors;
    }
    (void)pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < n; i++) {
        queue_start(a->q, wanted[i]);
    }
    (void)pthread_mutex_lock(&a->lock);
}

/** Steps that the reader has left behind, or that are old. */
static void drop_used(struct read_ahead *a, uint64_t sector)
{
    while (a->count > 0) {
        const struct step *s = step_at(a, 0);
        bool used = s->io.sector + s->io.nsectors <= sector;
        bool old = s->state == STEP_READY && now_s() - s->asked > READ_AHEAD_AGE_S;
        if (!used && !old && s->state != STEP_FAILED) {
            return;
        }
        drop_first(a);
    }
}

/** Copies what the row has at a sector; returns how many sectors. 0: nothing that can be had. */
static uint64_t take(struct read_ahead *a, uint64_t sector, uint64_t nsectors, uint8_t *buf)
{
    uint64_t done = 0;

    while (done < nsectors) {
        drop_used(a, sector + done);
        if (a->count == 0 || step_at(a, 0)->io.sector > sector + done) {
            break;
        }
        struct step *s = step_at(a, 0);
        while (s->state == STEP_FLYING) {
            (void)pthread_cond_wait(&a->changed, &a->lock);
        }
        if (s->state != STEP_READY) {
            break;
        }
        uint64_t off = sector + done - s->io.sector;
        uint64_t n = min_u64(s->io.nsectors - off, nsectors - done);
        memcpy(buf + done * SECTOR_SIZE, s->buf + off * SECTOR_SIZE, n * SECTOR_SIZE);
        done += n;
    }
    return done;
}

/** Notes where a read is; whether the row is for it. */
static bool goes_on(struct read_ahead *a, uint64_t sector, uint64_t nsectors)
{
    bool follows = sector == a->next && sector > 0;

    a->next = sector + nsectors;
    if (a->active > 1) {
        a->alone = ALONE;
        return false;
    }
    a->alone -= a->alone > 0 ? 1 : 0;
    if (!follows || a->alone > 0) {
        a->in_order = 0;
        a->run = 0;
        drop_all(a);
        return false;
    }
    a->run += nsectors;
    return ++a->in_order >= IN_ORDER && nsectors < READ_AHEAD_STEPS * READ_AHEAD_STEP_SECTORS;
}

VixError read_ahead_read(struct read_ahead *a, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    uint64_t done = 0;

    (void)pthread_mutex_lock(&a->lock);
    a->active++;
    if (goes_on(a, sector, nsectors)) {
        drop_used(a, sector);
        if (a->count > 0 && step_at(a, 0)->io.sector > sector) {
            drop_all(a); /* a read in between went elsewhere */
        }
        extend(a, sector);
        done = take(a, sector, nsectors, buf);
    }
    (void)pthread_mutex_unlock(&a->lock);
    VixError code = done == nsectors ? VIX_OK
                                     : queue_run(a->q, false, sector + done, nsectors - done,
                                                 (uint8_t *)buf + done * SECTOR_SIZE, err);
    SCOPED_LOCK(&a->lock);
    a->active--;
    return code;
}

VixError read_ahead_new(struct queue *q, uint64_t capacity, struct read_ahead **ret_ahead, struct err *err)
{
    struct read_ahead *a = alloc_zero(sizeof *a, err);

    if (a == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    a->q = q;
    a->capacity = capacity;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->changed, NULL);
    *ret_ahead = a;
    return VIX_OK;
}

static bool any_flying(const struct read_ahead *a)
{
    for (unsigned i = 0; i < READ_AHEAD_STEPS; i++) {
        if (a->steps[i].state == STEP_FLYING) {
            return true;
        }
    }
    return false;
}

void read_ahead_free(struct read_ahead *a)
{
    if (a == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    while (any_flying(a)) {
        (void)pthread_cond_wait(&a->changed, &a->lock);
    }
    (void)pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < READ_AHEAD_STEPS; i++) {
        free(a->steps[i].buf);
    }
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
}

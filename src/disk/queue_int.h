/* SPDX-License-Identifier: BSD-3-Clause */
/* queue_int.h - shared by the two files of the queue only. Functions are called with the lock, and keep it unless they
 * say so. */
#ifndef VIXDISK_DISK_QUEUE_INT_H
#define VIXDISK_DISK_QUEUE_INT_H

#include <pthread.h>

#include "disk/disk_int.h"
#include "disk/queue.h"

struct host_limits;

/** A part of a request: on the wire, or to be sent again. */
struct piece {
    struct nfc_request r;
    struct queue *q;
    struct disk_io *io;
    struct piece *next;  /* free, or to be sent again */
    unsigned generation; /* of the connection */
    unsigned epoch;      /* of the host's limits */
    unsigned depth;      /* that was allowed then */
};

/** Requests whose done is to be called once the lock is given back, in the order in which they ended. */
struct finished {
    struct disk_io *first, *last;
};

enum queue_state {
    QUEUE_OPEN,
    QUEUE_LOST, /* to be connected again when something is asked for */
    QUEUE_DEAD, /* connection lost with writes: nothing is possible any more */
};

/** A thread that waits for its request and can send for others meanwhile. */
struct waiter {
    struct disk_io io;
    struct queue *q;
    struct waiter *next;
    pthread_cond_t wake;
    bool finished;
    bool flushes; /* waits for the writes of others */
    bool pump;    /* something is to be sent */
};

struct queue {
    pthread_mutex_t lock;
    struct queue_params p;
    struct host_limits *limits;
    struct nfc_client *client; /* NULL while there is none */
    enum queue_state state;
    unsigned generation;
    unsigned users;  /* threads in a call on client */
    struct err lost; /* why there is no connection */

    struct disk_io *first, *last;           /* unfinished requests */
    struct disk_io *turn_first, *turn_last; /* those with bytes to be asked for, next first */
    struct piece *again;                    /* pieces to be sent once more */
    struct piece *spare;
    uint64_t seq;
    unsigned in_flight;
    unsigned writes;       /* unfinished ones */
    unsigned blocked;      /* requests that wait for others */
    struct finished ended; /* by answers since the last pause */

    struct waiter *waiters;
    unsigned receiver_sends; /* the receiver thread is sending reads: no write may begin */
    bool sends_reads;        /* a thread is sending reads: it will send those that have come meanwhile */
    bool pump_queued;
    unsigned pumps; /* workers in run_pump */
    struct work_item pump_item;

    bool reopening;
    bool reopened;       /* thread is to be joined */
    unsigned unanswered; /* connections in a row that were lost without an answer */
    unsigned callers;    /* of queue_call that wait for a connection */
    pthread_t thread;
    pthread_cond_t changed;   /* state, users, pumps, reopening */
    uint64_t old_in, old_out; /* bytes of connections that are gone */
};

/** Sends what can be sent; gives the lock back at times. */
void queue_pump(struct queue *q, bool receiver, struct finished *done);

/** What follows from answers that have come: more is sent, and those are told whose requests have ended. For
 * nfc_client_on_pause; takes the lock. */
void queue_paused(void *queue);

/** A worker's way into queue_pump; takes the lock. */
void queue_run_pump(struct work_item *item);

/** Whether something waits to be sent. */
bool queue_has_work(const struct queue *q);

/** Fails all requests; what is on the wire ends first. */
void queue_fail_all(struct queue *q, VixError code, const struct err *err, struct finished *done);

/** Tells the makers of requests that they have ended: without the lock, or giving it back. */
void queue_call_done(struct finished *done);
void queue_unlock_and_call(struct queue *q, struct finished *done);

/** The connection of a generation is found to be lost. */
void queue_connection_lost(struct queue *q, unsigned generation, const struct err *err, struct finished *done);

/** Begins to connect again; without a thread for that everything that waits fails. */
void queue_start_reopen(struct queue *q, struct finished *done);

#endif

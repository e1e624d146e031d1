/* SPDX-License-Identifier: BSD-3-Clause */
/* queue.h - the requests of one remote disk. Large ones are cut into pieces, so many pieces are kept on the wire at
 * once, requests take turns, and one that touches the same bytes as an unfinished write waits for it. What a host
 * refuses for want of memory is asked for again in smaller pieces. A lost connection of a disk that is only read is
 * made again, and what was under way is asked for again; of a disk that is written nobody knows what has arrived, so
 * every request fails from then on. Any thread may call anything but free. */
#ifndef VIXDISK_DISK_QUEUE_H
#define VIXDISK_DISK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"
#include "nfc/client.h"

struct queue;

/** Makes the connection again, with a new ticket; only for disks that are read. Fails if the disk was changed since, as
 * far as the server tells. */
typedef VixError queue_open_func(void *ctx, struct nfc_client **ret_client, struct err *err);

struct queue_params {
    const char *host;     /* whose limits count; "name:port" for messages */
    const char *path;     /* of the disk */
    uint32_t request_max; /* bytes of a piece, a multiple of 512 */
    unsigned depth;       /* pieces on the wire */
    bool writable;
    queue_open_func *reopen;
    void *ctx;
    unsigned reopen_ms; /* how long to go on trying */
};

#define QUEUE_DEPTH_MAX 64u /* limit: requests of a disk on the wire at once */

/** Takes over the connection, also on failure. Texts of params are copied. */
VixError queue_new(const struct queue_params *params, struct nfc_client *client, struct queue **ret_queue,
                   struct err *err);

/** Ends the connection and frees; no request may be in flight. NULL is harmless. */
void queue_free(struct queue *q);

/** Starts a request; as disk_ops.start. */
void queue_start(struct queue *q, struct disk_io *io);

/** Carries a request out and waits for it. */
VixError queue_run(struct queue *q, bool write, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);

/** Waits until the writes that were started before are answered. Their failures are their callers'. */
void queue_wait_writes(struct queue *q);

/** Makes a call on the connection; if that is lost meanwhile and can be made again, once more. */
typedef VixError queue_call_func(struct nfc_client *client, void *ctx, struct err *err);
VixError queue_call(struct queue *q, queue_call_func *call, void *ctx, struct err *err);

/** Bytes on the wire so far, of earlier connections too. */
void queue_traffic(struct queue *q, uint64_t *ret_in, uint64_t *ret_out);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* client_int.h - shared by the files of the client only. Until the disk is open everything happens on the thread that
 * opens; then the receiver thread is the only one that reads.
 *
 * Locks: send_lock (the stream's writing side), lock (requests, calls, state). Only nfc_client_beat takes the second
 * under the first, nobody the first under the second; none is held while a request's done is called. */
#ifndef VIXDISK_NFC_CLIENT_INT_H
#define VIXDISK_NFC_CLIENT_INT_H

#include <pthread.h>
#include <time.h>

#include "net/stream.h"
#include "net/tls.h"
#include "nfc/client.h"
#include "nfc/fragment.h"
#include "nfc/input.h"
#include "nfc/wire.h"

#define CLIENT_STAGING (64u << 10)
#define CLIENT_BUFFER_OWN (1u << 20)     /* bytes of a fragment to hosts of ours */
#define CLIENT_EXTRA_SURPLUS (64u << 10) /* a compressed fragment may be that much longer than the buffer */
#define CLIENT_BUCKETS 64u               /* a power of two */
#define CLIENT_FAILED_MAX 64u            /* limit: requests that failed and may still be answered */
#define CLIENT_BATCH 16u                 /* fragments in one call of writev */
#define CLIENT_BATCH_BYTES (1u << 20)    /* and their data, if there are several */
#define CLIENT_PARTS_MAX 16384u          /* limit: separate parts of an answer that comes in no order */
#define CLIENT_TRAILING_MS 2000u         /* limit: ms for the reply that follows an ERROR */
#define CLIENT_FAREWELL_MS 5000u         /* limit: ms for each step of the end */
#define CLIENT_CLOSE_MS 30000u           /* limit: ms for the host to close a disk that was only read */
#define CLIENT_BEAT_LEN 512u             /* bytes that are read to keep a connection alive */
#define NFC_VERSION_QUERY_BLOCKS 2u      /* from this version of the server on (6.7) message 13 is known */

/** A message that is not a read or a write, and its reply. */
struct nfc_call {
    struct nfc_call *next;
    uint32_t type;
    uint32_t op_id;
    const void *extra; /* that is sent behind the payload, in two pieces */
    uint32_t extra_len;
    const void *extra2;
    uint32_t extra2_len;
    bool opens, writes; /* what an ERROR means; writes: also how long the answer may take */
    bool done;
    VixError code;
    struct err err;
    uint8_t reply[NFC_PAYLOAD_KEPT];
    char *reply_extra; /* with a NUL behind it; NULL: none. Freed by the caller */
    uint32_t reply_extra_len;
};

/** Memory to compress one fragment at a time. */
struct nfc_packer {
    struct nfc_packer *next;
    struct nfc_coder *coder;
    uint8_t *packed; /* nfc_fragment_bound(buffer_size) bytes */
};

struct nfc_client {
    struct stream *stream; /* the top layer */
    struct stream *tcp;    /* the bottom layer */
    struct nfc_input in;   /* the receiver's, as the next three */
    struct nfc_coder *coder;
    uint8_t *packed; /* a compressed fragment that has come; NULL: none so far */
    uint32_t failed[CLIENT_FAILED_MAX];
    unsigned failed_count, failed_next;
    bool told; /* of the end of requests, and no pause since */

    struct nfc_banner banner;
    bool tagged; /* THUMBPRINT was answered: message 43 is sent */
    uint32_t version;
    uint32_t buffer_size;
    enum nfc_compression compression;
    uint64_t handle;
    bool writable;
    unsigned read_timeout_ms, write_timeout_ms; /* of answers: the second while writes_in_flight */
    unsigned keep_alive_ms;
    unsigned wait_ms;         /* of the receiver at a time, if it has no reason to look earlier; 0: no end */
    void (*pause)(void *ctx); /* NULL: none */
    void *pause_ctx;

    pthread_mutex_t send_lock;
    pthread_mutex_t lock; /* for all that follows */
    pthread_cond_t answered;
    struct nfc_request *requests[CLIENT_BUCKETS];
    struct nfc_request beat; /* keeps the connection alive: of requests, but not in flight: nobody waits for it */
    bool beating;            /* beat is of requests */
    uint8_t beat_bytes[CLIENT_BEAT_LEN];
    struct nfc_call *calls;
    unsigned in_flight;        /* requests and calls */
    unsigned writes_in_flight; /* those of them for which the host may have to write */
    unsigned senders;          /* threads that send data: no answer can be expected */
    uint64_t waiting_ns;       /* since when an answer is due */
    uint32_t next_op;
    struct nfc_packer *packers;
    bool broken;
    struct err broken_err;
    bool receiving; /* thread runs; written before there are other threads, and by close */
    pthread_t thread;
};

uint64_t nfc_client_now(void);
/** So many milliseconds from now, as waits on answered take it. */
struct timespec nfc_client_moment(unsigned ms);

/* client_authd.c: from the name to the data connection. @own_only: a host that is not one of ours is refused before it
 * has seen the ticket. */
VixError nfc_client_authd(struct nfc_client *c, const struct nfc_connect *how, bool own_only, struct err *err);

/* client_classic.c: messages up to AIO */
VixError nfc_client_classic(struct nfc_client *c, struct err *err);

/* client_call.c */
/** Sends a message and waits for its reply. @timeout_ms 0: as long as the connection's time-outs allow. On failure of
 * the host *err is what it said. */
VixError nfc_call_run(struct nfc_client *c, struct nfc_call *call, const uint8_t *payload, uint32_t payload_len,
                      unsigned timeout_ms, struct err *err);

/* client_send.c */
VixError nfc_client_send(struct nfc_client *c, const struct iovec *iov, int count, struct err *err);
void nfc_packers_free(struct nfc_packer *packer);
/** Asks for the first sector of the disk, if nothing at all is under way; whatever the answer is, the host has heard of
 * us. On the receiver thread; does not wait. */
void nfc_client_beat(struct nfc_client *c);

/* client_receive.c */
/** One frame. */
VixError nfc_client_receive(struct nfc_client *c, struct err *err);
void *nfc_client_run(void *client);
/** What a host may not do; CONN_LOST. */
VixError nfc_client_not_allowed(const struct nfc_client *c, uint32_t op_id, const char *what, struct err *err);
/** The connection is gone, for this reason, unless there was one before. */
void nfc_client_break(struct nfc_client *c, const struct err *err);
/** Everything in flight fails; broken before. */
void nfc_client_fail_all(struct nfc_client *c);
/** Requests were told of their end, and more will not be for the moment. */
void nfc_client_pause(const struct nfc_client *c);
/** Answers to this request may still come. */
void nfc_client_note_failed(struct nfc_client *c, uint32_t op_id);
/** Something more, or the first thing, is in flight; @writes: the host may have to write for it. With the lock. */
void nfc_client_in_flight(struct nfc_client *c, bool writes);

/* client_parts.c */
/** A part of the answer to r has come: false if it overlaps another one, or there are too many, or no memory. */
bool nfc_parts_add(struct nfc_request *r, uint32_t off, uint32_t len);
void nfc_parts_free(struct nfc_request *r);

/* client_error.c */
/** What an ERROR of the host means. @own: the detail is a VixError. @opens: of OPEN_FILE, else of anything else;
 * @io: of a read or write; @writes: the disk is, or was to be, open for writing. text need not end in NUL. */
struct nfc_refusal {
    const char *peer;
    bool own, opens, io, writes;
    struct nfc_aio_error error;
    const char *text;
};
VixError nfc_refusal_code(const struct nfc_refusal *refusal, struct err *err);
/** Text of a peer, made printable and not too long, into text. */
#define NFC_QUOTE_MAX 400u /* limit: bytes of a peer's text in a message */
void nfc_quote(const char *from, size_t len, char text[NFC_QUOTE_MAX]);

#endif

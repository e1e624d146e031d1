/* SPDX-License-Identifier: BSD-3-Clause */
/* server_int.h - the inside of the host's end of NFC. One thread, that of nfc_serve, is the reader: it takes what the
 * client sends and answers what needs no disk, and reads small pieces of a disk that gives them at once. Workers of the
 * pool do the other reads and writes, and compress. One sender thread, started when the first answer comes from a
 * worker, gives answers to the socket, so that a client that does not take them holds up no worker.
 *
 * Locks: session.lock (queue of answers, buffers, requests), session.send_lock (the stream's writing side); neither is
 * taken under the other, none is held while the host is called. */
#ifndef VIXDISK_NFC_SERVER_INT_H
#define VIXDISK_NFC_SERVER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "nfc/fragment.h"
#include "nfc/input.h"
#include "nfc/server.h"
#include "nfc/wire.h"

#define SERVER_UNIT_MAX (256u << 10)     /* own: bytes of the disk that one worker reads or writes at a time */
#define SERVER_SMALL_MAX (64u << 10)     /* own: the smaller size of buffers */
#define SERVER_EXTRA_SURPLUS (64u << 10) /* a compressed fragment may be that much longer than its buffer */
#define SERVER_MEMORY_MIN (8u << 20)     /* what one connection needs to get on at all */
#define SERVER_MEMORY_DEFAULT (32u << 20)
#define SERVER_IN_FLIGHT_DEFAULT 64u
#define SERVER_INCOMPLETE_MAX 256u /* limit: writes of a client of which fragments are missing */
#define SERVER_STAGING (64u << 10)
#define SERVER_BATCH 16u                /* answers in one call of writev */
#define SERVER_BATCH_BYTES (256u << 10) /* own: no further one behind so many bytes: their buffers are wanted */
#define SERVER_AHEAD (512u << 10)       /* own: bytes of reads that lie ready, or wait for a worker */
#define SERVER_QUICK_MAX (16u << 10)    /* own: reads of so many bytes are the reader's while none of them is slow: */
#define SERVER_QUICK_NS 50000u          /* takes longer than from memory */
#define SERVER_SLOW_READS 32u           /* so many then are the pool's */

/* ---- what goes out ---- */

struct nfc_session;

/** An answer on its way: head, then body. */
struct nfc_out {
    struct nfc_out *next;
    uint8_t head[NFC_HEADER_LEN + NFC_PAYLOAD_KEPT];
    uint32_t head_len;
    const void *body;
    uint32_t body_len;
    uint64_t due_ns;                                           /* not before that moment (tests) */
    void (*done)(struct nfc_session *ss, struct nfc_out *out); /* sent, or never to be; no lock held */
};

struct nfc_sender {
    pthread_cond_t wake;
    struct nfc_out *first;
    struct nfc_out **last;
    unsigned queued;
    bool started;
    bool ending;
    pthread_t thread;
};

/* ---- requests ---- */

enum nfc_buffer_kind { NFC_BUFFER_SMALL, NFC_BUFFER_UNIT, NFC_BUFFER_FRAGMENT, NFC_BUFFER_KINDS };

struct nfc_buffer {
    struct nfc_buffer *next;
    enum nfc_buffer_kind kind;
    uint8_t *bytes;
};

/** One read or write as the client asked for it. */
struct nfc_job {
    struct nfc_session *session;
    struct nfc_job *next; /* of those that are incomplete, or free */
    struct nfc_io io;     /* of the first frame */
    uint32_t op_id;
    bool write;
    bool direct;              /* answered by the reader itself */
    uint32_t arrived;         /* bytes of fragments of a write; the reader's */
    struct nfc_unit *filling; /* the reader's; full only when it is the last */
    unsigned pending;         /* units, and one for the reader; under lock */
    atomic_bool failed;       /* set under lock, with the next three */
    uint32_t error_code;
    VixError error_detail;
    char *error_text; /* NULL: none */
    struct nfc_out out;
};

/** The part of a request that one worker does at once. Of a read: one fragment of the answer. */
struct nfc_unit {
    struct work_item item;
    struct nfc_unit *next; /* free */
    struct nfc_job *job;
    uint32_t off; /* within the request */
    uint32_t len;
    uint32_t filled;      /* of a write */
    uint32_t compression; /* of the fragment; NONE: packed_len is 0 */
    uint32_t packed_len;
    bool packs;                /* a read: to be compressed */
    struct nfc_buffer *data;   /* of a read: what is sent */
    struct nfc_buffer *packed; /* of a write: what has come; NULL: no compression */
    struct nfc_out out;
};

struct nfc_coder_entry {
    struct nfc_coder_entry *next;
    struct nfc_coder *coder;
    uint8_t *plain; /* SERVER_UNIT_MAX bytes of the disk; NULL: not wanted so far */
};

/** Buffers and small things that are used again and again; under the session's lock. */
struct nfc_stock {
    struct nfc_buffer *buffers[NFC_BUFFER_KINDS]; /* free */
    uint64_t allocated;                           /* bytes of all buffers, free ones too */
    uint64_t max;
    struct nfc_unit *units;
    struct nfc_job *jobs;
    struct nfc_coder_entry *coders;
};

struct nfc_session {
    const struct nfc_serve *how;
    struct nfc_test_knobs test;
    struct stream *stream; /* the top layer */
    struct stream *tcp;    /* the bottom layer */
    bool tls;              /* authd speaks TLS */
    struct nfc_host_grant *grant;
    char tag[NFC_TAG_MAX + 1]; /* "": none was given */
    struct nfc_input in;

    /* the reader's */
    bool in_session;
    bool ended; /* in order */
    uint32_t buffer_size;
    struct nfc_host_disk *disk;
    struct nfc_host_disk_info info;
    bool read_only;
    uint64_t handle;
    uint32_t handles;
    unsigned io_count;
    uint64_t random;
    struct nfc_job *incomplete;
    unsigned incomplete_count;
    struct nfc_out *kept; /* answers of the reader that go out together, newest first */
    unsigned kept_count;

    pthread_mutex_t send_lock;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a request or a buffer has become free */
    struct nfc_sender sender;
    struct nfc_stock stock;
    unsigned in_flight;                /* requests that have arrived and are not answered */
    unsigned units;                    /* given to the pool and not done */
    uint64_t reading;                  /* bytes of units of reads, not compressed, that are not sent */
    uint64_t reading_low, reading_max; /* what all workers read at once; how many there may be */
    bool reading_waits;                /* the reader, until only reading_low are left */
    atomic_uint slow;                  /* small reads that are still to be given to the pool */
    bool broken;                       /* sending failed, for this reason: */
    struct err broken_err;
};

/* server_authd.c: the dialogue up to the data connection */
VixError nfc_server_authd(struct nfc_session *ss, struct err *err);

/* server_classic.c: messages up to AIO; *ret_ended: the client ended the session instead */
VixError nfc_server_classic(struct nfc_session *ss, bool *ret_ended, struct err *err);
/** After CLOSE_SESSION: SESSION_COMPLETE, or the end of the connection. */
VixError nfc_server_farewell(struct nfc_session *ss, struct err *err);

/* server_aio.c: frames up to the end of the session */
VixError nfc_server_aio(struct nfc_session *ss, struct err *err);

/* server_io.c: message 7 */
VixError nfc_server_io(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                       struct err *err);
/** Waits until every request that has arrived is answered, and every byte that has arrived written. */
void nfc_io_settle(struct nfc_session *ss);
/** Writes that are not complete fail with this. */
void nfc_io_fail_incomplete(struct nfc_session *ss, const char *text);
/** Drops what is not complete; after nfc_io_settle. */
void nfc_io_forget(struct nfc_session *ss);

/* server_job.c: requests and their units on the pool */
struct nfc_job *nfc_job_new(struct nfc_session *ss, struct err *err);
void nfc_job_free(struct nfc_job *job);
/** The request has failed; only the first failure counts. */
void nfc_job_fail(struct nfc_job *job, uint32_t code, VixError detail, const char *text);
/** One that was pending is done; the last one answers. */
void nfc_job_drop(struct nfc_job *job);
/** Waits for a place among the requests in flight. */
void nfc_job_enter(struct nfc_session *ss);
/** A unit with its buffers, waiting for them; packed_len 0: data alone. NULL: no memory, or the connection is lost. */
struct nfc_unit *nfc_unit_new(struct nfc_job *job, uint32_t off, uint32_t len, uint32_t packed_len, struct err *err);
void nfc_unit_free(struct nfc_unit *unit);
void nfc_unit_submit(struct nfc_unit *unit);
/** Does it on this thread. */
void nfc_unit_run(struct nfc_unit *unit);
/** Whether nothing is being done. */
bool nfc_idle(struct nfc_session *ss);

/* server_stock.c: things that are used again; all under the session's lock */
/** Room for both (0: none) or for neither. false: not now. *ret_... NULL where none was wanted, or malloc failed:
 * *ret_no_memory. */
bool nfc_stock_take(struct nfc_stock *stock, uint32_t len, uint32_t packed_len, struct nfc_buffer **ret_data,
                    struct nfc_buffer **ret_packed, bool *ret_no_memory);
void nfc_stock_give(struct nfc_stock *stock, struct nfc_buffer *buffer);
void nfc_coder_entry_free(struct nfc_coder_entry *entry);
void nfc_stock_free(struct nfc_stock *stock);

/* server_send.c */
/** Sends a frame at once: the reader's answers. */
VixError nfc_send(struct nfc_session *ss, const void *head, size_t head_len, const void *body, size_t body_len,
                  struct err *err);
/** A frame with a payload and no extra. */
VixError nfc_send_payload(struct nfc_session *ss, const struct nfc_header *request, const uint8_t *payload,
                          uint32_t payload_len, struct err *err);
/** An ERROR. @detail as VixError, VIX_OK: none. */
VixError nfc_send_error(struct nfc_session *ss, uint32_t op_id, uint32_t code, VixError detail, const char *text,
                        struct err *err);
/** The ERROR that a failure of the host becomes; its text is made so that foreign clients know it. */
VixError nfc_send_failure(struct nfc_session *ss, uint32_t op_id, const struct err *failure, struct err *err);
uint32_t nfc_error_of_failure(const struct err *failure, char text[ERR_TEXT_MAX]);
/** Fills out with an ERROR; the text must live until it is sent. */
void nfc_out_error(const struct nfc_session *ss, struct nfc_out *out, uint32_t op_id, uint32_t code, VixError detail,
                   const char *text);
/** Gives an answer to the sender. */
void nfc_out_post(struct nfc_session *ss, struct nfc_out *out);
/** Sends an answer on this thread. */
void nfc_out_send(struct nfc_session *ss, struct nfc_out *out);
/** Keeps an answer of the reader for those that follow: it goes out with them. */
void nfc_out_keep(struct nfc_session *ss, struct nfc_out *out);
/** Sends what is kept: before the reader waits for anything. */
void nfc_out_flush(struct nfc_session *ss);
/** Ends the sender's thread; nothing is queued any more. */
void nfc_sender_end(struct nfc_session *ss);
/** The connection is of no use any more: wakes all who wait for it. */
void nfc_session_break(struct nfc_session *ss, const struct err *err);
bool nfc_session_broken(struct nfc_session *ss);

uint64_t nfc_now_ns(void);

/** A number for tests that want chance. With the lock held. */
uint64_t nfc_session_random(struct nfc_session *ss);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* server.h - the host's end of NFC: one connection from the banner to its end. What a ticket allows and how a disk is
 * read is behind a table of functions. Nothing that a client sends makes it crash, wait for ever, or use more memory
 * than the limits say. Runs on the thread that calls it, reads and writes of disks on a pool of workers. */
#ifndef VIXDISK_NFC_SERVER_H
#define VIXDISK_NFC_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/stream.h"
#include "net/tls.h"
#include "nfc/nfc.h"
#include "work/work.h"

struct nfc_host_disk;  /* the host's */
struct nfc_host_grant; /* what a ticket allows; the host's */

struct nfc_host_disk_info {
    uint64_t capacity; /* bytes */
    uint32_t sector_size;
    uint32_t cylinders, heads, sectors;
};

/** The host behind the protocol. Calls for one disk come from several threads at once, except open and close. Codes are
 * VIX_E_ ones; the sentence goes to the client as the text of its error, so it must not tell of the host what a client
 * may not know (paths outside the datastore). */
struct nfc_host_ops {
    /** Takes a ticket: it cannot be used again. @service: word after PROXY without "ssl". VIX_E_HOST_USER_PERMISSIONS.
     */
    VixError (*take_ticket)(void *host, const char *session_id, const char *service, const char *peer,
                            struct nfc_host_grant **ret_grant, struct err *err);
    void (*end_grant)(void *host, struct nfc_host_grant *grant);
    /** @path as the client wrote it. @flags NFC_OPEN_. */
    VixError (*open)(void *host, struct nfc_host_grant *grant, const char *path, uint32_t flags,
                     struct nfc_host_disk **ret_disk, struct nfc_host_disk_info *ret_info, struct err *err);
    /** Range is within the capacity and whole sectors; bytes. */
    VixError (*read)(struct nfc_host_disk *d, uint64_t off, uint32_t len, void *buf, struct err *err);
    VixError (*write)(struct nfc_host_disk *d, uint64_t off, uint32_t len, const void *buf, struct err *err);
    VixError (*flush)(struct nfc_host_disk *d, struct err *err);
    /** Sets the bits (LSB first) of the chunks that hold allocated blocks; bitmap comes zeroed. */
    VixError (*allocated)(struct nfc_host_disk *d, uint64_t chunk, uint64_t start, uint32_t nchunks, uint8_t *bitmap,
                          struct err *err);
    VixError (*meta_get)(struct nfc_host_disk *d, const char *key, char **ret_value, struct err *err);
    VixError (*meta_set)(struct nfc_host_disk *d, const char *key, const char *value, struct err *err);
    VixError (*meta_keys)(struct nfc_host_disk *d, char **ret_keys, size_t *ret_len, struct err *err);
    VixError (*close)(struct nfc_host_disk *d, struct err *err);
    VixError (*create)(void *host, struct nfc_host_grant *grant, const char *path, uint32_t type, uint32_t adapter,
                       uint32_t hw_version, uint64_t capacity, struct err *err);
};

/** How old a host to act as, and what to do wrong; all zeros: nothing. Only tests set it. */
struct nfc_test_knobs {
    bool no_sha256_word, no_nfcssl_word, no_extension_word, no_ssl_word; /* left out of the banner */
    uint32_t version;                                                    /* of the VERSION message; 0: 11 */
    bool no_version;                                                     /* 36 tells that VERSION is not known (6.0) */
    bool reverse_fragments;
    bool random_fragments; /* sizes in multiples of 512 */
    bool shuffle_replies;
    bool plain_replies; /* compression 0 whatever was asked for */
    unsigned delay_ms;  /* before each reply */
    unsigned error_at;  /* n-th IO request (1..) gets error_code */
    uint32_t error_code;
    uint32_t no_memory_above; /* reads longer than this get NFC_ERROR_NO_MEMORY; 0: none */
    unsigned cut_at;          /* the connection is cut at the n-th IO request */
};

struct nfc_serve {
    const struct nfc_host_ops *ops;
    void *host;
    struct tls_identity *identity;
    struct work_pool *pool;        /* reads and writes; shared by all connections */
    unsigned handshake_timeout_ms; /* banner to OPEN_FILE's answer */
    unsigned idle_timeout_ms;      /* without any request; 0: none */
    unsigned write_timeout_ms;     /* a client that does not take its answers */
    uint32_t in_flight_max;        /* requests; 0: 64 */
    uint64_t
        memory_max; /* bytes of buffers of this connection; 0: 32 MiB; at least 8 MiB. Looked at after take_ticket */
    const struct nfc_test_knobs *test; /* NULL: none */
};

/** Serves a connection until it ends; the stream is closed. Without an identity there is no TLS at all (tests). Disks
 * are served by AIO only: the synchronous FSSRVR messages of ESXi 6.0, and transfers of whole files, are answered with
 * a classic ERROR. A fragment of an answer has at most 256 KiB, less if the client's buffers are smaller. VIX_OK when
 * the client ended the session in order; else what ended it, for the log. */
VixError nfc_serve(struct stream *s, const struct nfc_serve *how, struct err *err);

#endif

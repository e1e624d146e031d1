/* SPDX-License-Identifier: BSD-3-Clause */
/* client.h - the client's end of NFC: one connection, one session, one open disk. Knows neither tickets' origin nor
 * VMDK; splitting, depth, retries and reconnecting are the caller's (src/disk/disk_remote.c).
 *
 * A receiver thread takes what comes and puts it straight into the buffers of the requests; requests are sent by the
 * threads that submit them. While there are none it asks for a sector from time to time, for hosts end connections that
 * are idle. Any thread may call anything but close. */
#ifndef VIXDISK_NFC_CLIENT_H
#define VIXDISK_NFC_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "nfc/nfc.h"

struct nfc_client;

/** Where and how to connect. All texts are copied or used during the call only. */
struct nfc_connect {
    const char *host;
    uint16_t port;
    const char *session_id;  /* of the ticket; secret: wiped after use where a copy is made */
    const char *service;     /* of the ticket: "vpxa-nfc", "nfc" */
    const char *thumbprint;  /* of the ticket, or NULL */
    const char *certificate; /* PEM of the ticket, or NULL; with neither, chain and name are checked, unless insecure */
    const char *ca_file;     /* PEM file of roots in the place of the machine's; NULL: the machine's */
    bool insecure;           /* with neither, nothing is checked: only where the configuration says so */
    bool ssl;                /* nbdssl: a second TLS for the data */
    enum nfc_compression compression;
    uint32_t buffer_size;  /* bytes of a fragment; 0: the host's default on foreign hosts, 1 MiB on ours */
    uint32_t buffer_count; /* 0: default */
    unsigned connect_timeout_ms;
    unsigned handshake_timeout_ms; /* banner to the answer to OPEN_FILE */
    unsigned read_timeout_ms;      /* of an answer while requests are in flight; 0: none */
    unsigned write_timeout_ms;     /* of sending, and of an answer while the host may have to write; 0: none */
    unsigned keep_alive_ms;        /* of silence on an open disk, which then ends by a read of ours; 0: never */
    const char *path;              /* "[datastore] dir/x.vmdk" */
    bool read_only;
    bool single_link;
};

/** What the host says of the open disk. */
struct nfc_disk_info {
    uint64_t capacity; /* bytes; a multiple of 512 */
    uint32_t sector_size;
    uint32_t cylinders, heads, sectors; /* physical geometry */
    uint32_t server_version;            /* of the VERSION message */
    bool extended;                      /* our own host: the messages of section 4.11 work */
};

/** Connects, authenticates with the ticket, opens the disk. Codes as in the sheets: network 14008..14010, handshake and
 * thumbprint VIX_E_HOST_NETBLKDEV_HANDSHAKE, open VIX_E_FILE_NOT_FOUND, VIX_E_FILE_ACCESS_ERROR,
 * VIX_E_FILE_ALREADY_LOCKED, VIX_E_FILE_READ_ONLY, VIX_E_OUT_OF_MEMORY (host out of NFC memory) ... A connection that
 * is lost before the disk is open is a failed handshake with ERR_RETRY_HELPS. Sentences begin with host:port. */
VixError nfc_client_open(const struct nfc_connect *how, struct nfc_client **ret_client, struct nfc_disk_info *ret_info,
                         struct err *err);

/** One read or write on the wire. The caller fills the first part and keeps it, and the buffer, until done is called.
 */
struct nfc_request {
    bool write;
    uint64_t off; /* bytes, as len a multiple of 512, within the capacity */
    uint32_t len; /* 1..NFC_REQUEST_MAX */
    void *buf;    /* only read from for a write */
    /** Called exactly once after a successful submit, no lock held: on the receiver thread (or inside close); of a
     * write that ends before all of it was sent, inside submit. Must be quick, may submit. @err: details. After one or
     * more calls nfc_client_on_pause's function is called. */
    void (*done)(struct nfc_request *r, VixError result, const struct err *err);
    void *data; /* the caller's */

    /* for done, filled by the client */
    bool connection_lost; /* the failure is of the connection, not of the request */
    uint32_t host_error;  /* enum nfc_error_code if the host refused; NFC_ERROR_NO_MEMORY: ask for less */

    /* the client's own */
    struct nfc_request *next;
    uint32_t op_id;
    uint32_t arrived; /* bytes of the answer that are there */
    void *seen;       /* which parts, where they do not come in order */
    bool sending;     /* a write: buf is being read */
    bool ended;       /* meanwhile, with: */
    VixError result;
    struct err *failure; /* NULL: none, or no memory */
};

/** Sends a request; returns when it is on its way (a write: when all its bytes are sent). Failure: done is not called.
 * VIX_E_HOST_TCP_CONN_LOST when the connection is known to be gone; if it breaks while the request is sent, done tells.
 */
VixError nfc_client_submit(struct nfc_client *c, struct nfc_request *r, struct err *err);

/** The same for several reads, at most NFC_SUBMIT_MAX, which go to the host in one piece. All or none. */
#define NFC_SUBMIT_MAX 16u /* own: reads that go to the host in one piece */
VixError nfc_client_submit_reads(struct nfc_client *c, struct nfc_request *const *reads, unsigned count,
                                 struct err *err);

/** What is called after requests were told of their end, before the client waits for the host again: answers that have
 * come together are one occasion to go on. On the thread of done, no lock held. Before anything is submitted. */
void nfc_client_on_pause(struct nfc_client *c, void (*pause)(void *ctx), void *ctx);

/** Asks which chunks are allocated: bitmap of nchunks bits, LSB first, (nchunks + 31) / 32 * 4 bytes; start and chunk
 * in bytes. VIX_E_NOT_SUPPORTED where the host cannot. */
VixError nfc_client_allocated(struct nfc_client *c, uint64_t chunk, uint64_t start, uint32_t nchunks, uint8_t *bitmap,
                              struct err *err);

/** A value of the disk database, key without "ddb."; VIX_E_DISK_KEY_NOTFOUND. On hosts of VMware an empty value is not
 * told from a key that is not there. */
VixError nfc_client_meta_get(struct nfc_client *c, const char *key, char **ret_value, struct err *err);

/** Extensions of our host (info.extended), else VIX_E_NOT_SUPPORTED. value NULL removes. */
VixError nfc_client_meta_set(struct nfc_client *c, const char *key, const char *value, struct err *err);
/** NUL-terminated keys one after another, *ret_len bytes in all, freed by the caller. */
VixError nfc_client_meta_keys(struct nfc_client *c, char **ret_keys, size_t *ret_len, struct err *err);
/** Puts what is written on stable storage. */
VixError nfc_client_flush(struct nfc_client *c, struct err *err);

/** A new disk on our host: @type VixDiskLibDiskType, @capacity bytes. Opens no disk: how->path is the path to create,
 * with a ticket for file management. VIX_E_NOT_SUPPORTED on foreign hosts. */
VixError nfc_client_create_disk(const struct nfc_connect *how, uint32_t type, uint32_t adapter, uint32_t hw_version,
                                uint64_t capacity, struct err *err);

/** Bytes on the wire so far, both directions, payload of the disk and all else. */
void nfc_client_traffic(struct nfc_client *c, uint64_t *ret_in, uint64_t *ret_out);

/** Whether the connection is known to be gone. */
bool nfc_client_lost(struct nfc_client *c);

/** Ends the session in order (CLOSE_FILE, CLOSE_SESSION, SESSION_COMPLETE), or at once if the connection is lost;
 * requests in flight end with VIX_E_HOST_TCP_CONN_LOST. Frees. NULL is harmless. Bounded in time. */
void nfc_client_close(struct nfc_client *c);

#endif

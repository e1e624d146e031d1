/* SPDX-License-Identifier: BSD-3-Clause */
/* config.h - the configuration of the disk host: read once at the start, the same for all threads afterwards.
 * docs/vixdiskd.md tells of each key. */
#ifndef VIXDISKD_CONFIG_H
#define VIXDISKD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HOST_CONFIG_FILE_MAX (1u << 20) /* limit: bytes of vixdiskd's configuration */
#define HOST_CONFIG_LINE_MAX 197u       /* limit: bytes of a line of it: what the parser takes */
#define HOST_NAME_MAX_LEN 38u   /* limit: bytes of a user's or datastore's name: what fits the parser's section names */
#define HOST_DATASTORES_MAX 64u /* limit: datastores of vixdiskd */
#define HOST_USERS_MAX 1024u    /* limit: users of vixdiskd */
#define HOST_LUNS_MAX 32u       /* limit: LUNs that vixdiskd tells of for a datastore */

struct host_user {
    char *name;
    char *hash; /* crypt(5); "!" or empty: nobody logs in */
    bool read_only;
};

/** A LUN of a datastore that is a volume of VMFS: its name as vSphere has it, and a file or device. */
struct host_lun {
    char *name, *path;
};

struct host_datastore {
    char *name;
    char *path; /* of a folder; NULL: it has LUNs */
    struct host_lun luns[HOST_LUNS_MAX];
    size_t lun_count;
    bool writable;
};

struct host_limits {
    uint64_t connections;             /* NFC */
    uint64_t connections_per_address; /* NFC, and HTTPS */
    uint64_t http_connections;
    uint64_t sessions;          /* logins */
    uint64_t tickets;           /* given out and not used yet */
    uint64_t requests;          /* in flight, of one NFC connection */
    uint64_t connection_memory; /* MiB of buffers of one NFC connection */
    uint64_t memory;            /* MiB of buffers of all NFC connections */
    uint64_t request_body;      /* KiB of one SOAP call */
    uint64_t threads;           /* that read and write disks; 0: as many as cores */
    uint64_t idle;              /* seconds without a request, NFC; 0: for ever */
    uint64_t handshake;         /* seconds, from connecting to an open disk */
    uint64_t write_wait;        /* seconds for a client to take an answer */
    uint64_t session_idle;      /* seconds without a call */
    uint64_t ticket_life;       /* seconds */
    uint64_t lease_life;        /* seconds, from one renewal to the next */
    uint64_t login_delay;       /* milliseconds after a failed login */
};

struct host_config {
    char *listen; /* address; "*": all */
    char *name;   /* that clients know the host by; NULL: tickets leave it out */
    char *certificate, *key;
    char *run_as;            /* user to become once the ports are bound; NULL: CONFINE_USER */
    uint64_t port, nfc_port; /* 0: a free one */
    struct host_limits limits;
    struct host_user *users;
    size_t user_count;
    struct host_datastore *datastores;
    size_t datastore_count;
};

/** Reads and checks a file; names of files in it are relative to its folder. VIX_E_INVALID_ARG with line, key, what was
 * found and what is allowed. Unknown keys are errors: a limit that is misspelt must not be taken for set. */
VixError host_config_load(const char *path, struct host_config *ret_config, struct err *err);

/** Frees, hashes wiped. */
void host_config_done(struct host_config *config);

/** Whether a text can be the name of a datastore or user: 1 to HOST_NAME_MAX_LEN bytes of UTF-8 without control
 * characters, brackets, slashes or ";", not beginning or ending with a blank. */
bool host_name_is_valid(const char *name);

#endif

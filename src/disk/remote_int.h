/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_int.h - shared by remote*.c and transport.c only. */
#ifndef VIXDISK_DISK_REMOTE_INT_H
#define VIXDISK_DISK_REMOTE_INT_H

#include <pthread.h>

#include "disk/disk_int.h"
#include "disk/remote.h"
#include "disk/remote_config.h"

/** An open disk, in the list of its connection. */
struct remote_open_disk {
    struct remote_open_disk *next;
    struct disk *d;
    bool closes; /* its traffic is counted among that of closed disks */
};

/** A disk that we have made, and that may be attached to the machine still. */
struct remote_kept {
    struct remote_kept *next;
    char *path;
};

struct remote {
    struct vim_session *session;
    struct remote_config config;
    char *ca_file;    /* config's, copied */
    char *thumbprint; /* by which the server was checked; NULL: by its chain, or not at all */
    char *vmx_spec, *snapshot, *transports;
    uint16_t nfc_port;
    bool read_only;
    pthread_mutex_t lock; /* for what follows */
    char *vm;             /* reference, once it is known */
    struct remote_open_disk *disks;
    struct remote_kept *kept;
    bool keeps_all;                 /* for want of memory */
    bool ended;                     /* disconnected; goes with the last disk, which is the parent of a local child */
    uint64_t closed_in, closed_out; /* traffic of closed disks */
};

/** What is asked for when a disk is opened. */
struct remote_request {
    const char *path;
    uint32_t flags;    /* VIXDISKLIB_FLAG_OPEN_ */
    bool read_only;    /* flags and connection taken together */
    bool aside;        /* by NFC beside another transport, which may change the disk */
    uint64_t capacity; /* bytes of a disk that was just made and belongs to no machine; 0: it belongs to one */
};

/** The machine of a connection. */
VixError remote_vm(struct remote *r, char **ret_vm, struct err *err);

/** Remembers that a disk which we have made may be attached to the machine, or be attached yet: its files are the
 * machine's then, and are not removed (remote_is_kept). */
void remote_keep(struct remote *r, const char *path);

/** Opens by NFC (remote_nfc.c). */
VixError remote_open_nfc(struct remote *r, const struct remote_request *request, bool ssl, struct disk **ret_disk,
                         struct err *err);

/** Opens for reading by NFC, with TLS or without it, what another transport has opened: flags are that open's. */
VixError remote_open_any_nfc(struct remote *r, const char *path, uint32_t flags, struct disk **ret_disk,
                             struct err *err);

/** Opens by attaching the disk to this machine (hotadd.c). */
VixError remote_open_hotadd(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                            struct err *err);

/** Opens on the LUNs of the datastore (remote_san.c). Any failure but for memory may be one of this way alone. */
VixError remote_open_san(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                         struct err *err);

/** Tries the transports of the connection in turn (transport.c). */
VixError transport_open(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                        struct err *err);

#endif

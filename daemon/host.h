/* SPDX-License-Identifier: BSD-3-Clause */
/* host.h - the disk host as its threads see it: what is made at the start and stays until the end. */
#ifndef VIXDISKD_HOST_H
#define VIXDISKD_HOST_H

#include "daemon/config.h"
#include "daemon/datastore.h"
#include "daemon/leases.h"
#include "daemon/sessions.h"
#include "daemon/tickets.h"
#include "net/thumbprint.h"
#include "net/tls.h"
#include "nfc/server.h"

struct host {
    struct host_config config;
    struct datastores stores;
    struct sessions *sessions;
    struct tickets *tickets;
    struct leases *leases;
    struct tls_identity *identity;
    char thumbprint[THUMBPRINT_TEXT_MAX]; /* SHA-1, as tickets tell it */
    uint16_t port, nfc_port;              /* as bound */
    struct nfc_test_knobs knobs;          /* zeros, but in tests */
    const char *test_tickets;             /* a file, NULL but in tests */
};

/** A connection of NFC as the disks see it. */
struct host_client {
    struct host *host;
    /** Called before a ticket is taken: takes the memory that the connection needs. */
    VixError (*admit)(struct host_client *client, struct err *err);
};

/** The host's end of NFC: what tickets allow, and disks of datastores. The host there is a struct host_client. */
extern const struct nfc_host_ops host_nfc_ops;

/** VIX_E_FILE_NAME_INVALID for names that no disk has. */
VixError host_check_disk_name(const struct datastore *ds, const char *path, struct err *err);

/** Makes a disk at "[ds] vm/x.vmdk"; the path was parsed. */
VixError host_create_disk(const struct datastore *ds, const char *path, VixDiskLibDiskType type,
                          VixDiskLibAdapterType adapter, uint32_t hw_version, uint64_t capacity, struct err *err);

#endif

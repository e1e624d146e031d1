/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_config.h - what the configuration says of servers, read once for each connection. Inside src/disk. */
#ifndef VIXDISK_DISK_REMOTE_CONFIG_H
#define VIXDISK_DISK_REMOTE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct remote_config {
    bool insecure;       /* certificates are not checked where no thumbprint is given */
    const char *ca_file; /* or NULL; the configuration's */
    unsigned connect_ms, handshake_ms, read_ms, write_ms, call_ms, keep_alive_ms;
    uint32_t buffer_size, buffer_count; /* of NFC; 0: default */
    uint32_t request_max;               /* bytes */
    unsigned hotadd_device_ms;          /* for an attached disk to appear */
    unsigned depth;
};

/** Reads VMware's names and ours (config.h). */
struct remote_config remote_read_config(void);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* remote.h - a connection to a server and the disks of a virtual machine there: where the vSphere client, the NFC
 * client and the local formats meet. A disk of remote_open is a struct disk like any other. Any thread may call
 * anything but remote_disconnect. */
#ifndef VIXDISK_DISK_REMOTE_H
#define VIXDISK_DISK_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"
#include "vim/vim.h"
#include "vmdk/create.h"

struct remote;

struct remote_params {
    const char *server;
    uint16_t port;          /* 0: 443 */
    uint16_t nfc_port;      /* 0: as the ticket says, else 902 */
    const char *thumbprint; /* NULL: chain of certificates, by configuration */
    const char *user, *password;
    const char *cookie;
    const char *vmx_spec;     /* may be NULL where no disk is opened */
    const char *snapshot_ref; /* NULL or "": none */
    const char *transports;   /* "file:nbdssl:nbd"; NULL: all, in our order */
    bool read_only;
};

/** Logs in; copies everything. Sessions are not shared between connections. */
VixError remote_connect(const struct remote_params *params, struct remote **ret_remote, struct err *err);

/** Logs out where the session is ours; wipes. All disks must be closed. NULL is harmless. */
void remote_disconnect(struct remote *r);

/** Opens "[datastore] dir/x.vmdk" by the first transport of the list that can; why the others could not goes to the
 * log. @open_flags VIXDISKLIB_FLAG_OPEN_. */
VixError remote_open(struct remote *r, const char *path, uint32_t open_flags, struct disk **ret_disk, struct err *err);

/** Whether d is a disk of remote_open. */
bool disk_is_remote(const struct disk *d);

/** Bytes on the wire of a remote disk so far. */
void disk_remote_traffic(struct disk *d, uint64_t *ret_in, uint64_t *ret_out);

/** VixDiskLib_PrepareForAccess and its kin; log in, do it, log out. */
VixError remote_prepare_access(const struct remote_params *params, const char *identity, struct err *err);
VixError remote_end_access(const struct remote_params *params, const char *identity, struct err *err);

/** A new disk on a datastore, to be the target of a clone. Types VMFS_FLAT, VMFS_THIN and what stands for them
 * (monolithic flat: thick; sparse, stream: thin); VIX_E_NOT_SUPPORTED for others. Overwrite removes an old one first.
 */
VixError remote_create(struct remote *r, const char *path, const struct create_params *params, bool overwrite,
                       struct err *err);
VixError remote_unlink(struct remote *r, const char *path, struct err *err);
VixError remote_grow(struct remote *r, const char *path, uint64_t capacity, struct err *err); /* sectors */

/** For `vixdisk ls`. */
VixError remote_list(struct remote *r, struct vim_inventory **ret_inventory, struct err *err);

/** The names of VixDiskLib_ListTransportModes; static. */
const char *remote_transport_names(void);

/* Configuration (see config.h): remote_read_config reads VMware's names of time-outs and buffers, the CA file, the
 * verification policy. */

#endif

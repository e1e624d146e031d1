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
    const char *transports;   /* "file:san:hotadd:nbdssl:nbd"; NULL: as the configuration allows */
    bool read_only;
};

/** Logs in; copies everything. Sessions are not shared between connections. */
VixError remote_connect(const struct remote_params *params, struct remote **ret_remote, struct err *err);

/** Logs out where the session is ours; wipes. Of its disks only those may be open that were attached to a local child:
 * then all this is done when the last of them is closed. NULL is harmless. */
void remote_disconnect(struct remote *r);

/** Opens "[datastore] dir/x.vmdk" by the first transport of the list that can; why the others could not goes to the
 * log. @open_flags VIXDISKLIB_FLAG_OPEN_. */
VixError remote_open(struct remote *r, const char *path, uint32_t open_flags, struct disk **ret_disk, struct err *err);

/** Opens a disk of remote_create for writing, which belongs to no machine yet. @capacity sectors: hosts that do not
 * open it so have it attached to the machine of the connection for as long as it is open. */
VixError remote_open_new(struct remote *r, const char *path, uint64_t capacity, uint32_t open_flags,
                         struct disk **ret_disk, struct err *err);

/** VIX_OK for a text that is a path on a datastore, else VIX_E_INVALID_ARG. */
VixError remote_path_check(const struct remote *r, const char *path, struct err *err);

/** The server, "host:port". */
const char *remote_peer(const struct remote *r);
const struct vim_about *remote_about(const struct remote *r);
bool remote_is_vcenter(const struct remote *r);

/** Bytes on the wire of a remote disk so far. */
void disk_remote_traffic(struct disk *d, uint64_t *ret_in, uint64_t *ret_out);

/** The same of all disks of a connection, closed ones too. */
void remote_traffic(struct remote *r, uint64_t *ret_in, uint64_t *ret_out);

/** A disk is about to close (for the transports): this is its traffic, and it is not asked for it again. */
void remote_disk_closes(struct remote *r, const struct disk *d, uint64_t in, uint64_t out);

/** A disk is closed: the connection knows it no more, and may be gone (for the transports). */
void remote_forget_disk(struct remote *r, const struct disk *d);

/** VixDiskLib_PrepareForAccess and its kin; log in, do it, log out. */
VixError remote_prepare_access(const struct remote_params *params, const char *identity, struct err *err);
VixError remote_end_access(const struct remote_params *params, const char *identity, struct err *err);

/** VixDiskLib_Cleanup: detaches the disks of the machine that a crash has left attached to the machine that this
 * process runs in; counts of those, and of what is attached still. Nothing where it runs elsewhere. */
VixError remote_cleanup(const struct remote_params *params, uint32_t *ret_cleaned, uint32_t *ret_remaining,
                        struct err *err);

/** A new disk on a datastore, to be the target of a clone. Types VMFS_FLAT, VMFS_THIN and what stands for them
 * (monolithic flat: thick; sparse, stream: thin); VIX_E_NOT_SUPPORTED for others, VIX_E_FILE_ALREADY_EXISTS. */
VixError remote_create(struct remote *r, const char *path, const struct create_params *params, struct err *err);
VixError remote_unlink(struct remote *r, const char *path, struct err *err);
/** Whether a new disk that was opened may be attached to the connection's machine still, although it is closed or the
 * open failed: its files are not to be removed or renamed. */
bool remote_is_kept(struct remote *r, const char *path);
/** Gives a disk that is not open another name; VIX_E_FILE_ALREADY_EXISTS if it is taken. */
VixError remote_move(struct remote *r, const char *from, const char *to, struct err *err);
VixError remote_grow(struct remote *r, const char *path, uint64_t capacity, struct err *err); /* sectors */

/** For `vixdisk ls`. */
VixError remote_list(struct remote *r, struct vim_inventory **ret_inventory, struct err *err);

/** The machine of the connection with its snapshots; with snapshot (NULL: none), its disks as of that. Freed by
 * vim_entry_clear. */
VixError remote_machine(struct remote *r, const char *snapshot, struct vim_vm_entry *ret_entry, struct err *err);

/** As the calls of vim.h, for the machine of the connection. VIX_E_FILE_READ_ONLY on a connection for reading. */
VixError remote_create_snapshot(struct remote *r, const char *name, const char *description, bool quiesce,
                                char **ret_snapshot, struct err *err);
VixError remote_remove_snapshot(struct remote *r, const char *snapshot, struct err *err);
VixError remote_set_change_tracking(struct remote *r, bool on, struct err *err);

/** As vim_has_privileges. */
VixError remote_has_privileges(struct remote *r, const char *const *names, size_t count, bool *ret_granted,
                               struct err *err);

/** What changes are asked for. */
struct remote_changes {
    const char *path;     /* of the disk */
    const char *snapshot; /* as of it; NULL: as of now */
    const char *change_id;
    uint64_t start, end; /* bytes; end 0: the capacity that the hardware tells */
};
/** As vim_query_changed. VIX_E_FILE_NOT_FOUND: the machine has no such disk. */
VixError remote_query_changed(struct remote *r, const struct remote_changes *what, vim_area_func *func, void *ctx,
                              struct err *err);

/** Which host and port NFC goes to for reading a disk: what its ticket says. *ret_host the caller's. A ticket is taken,
 * and not used. */
VixError remote_endpoint(struct remote *r, const char *path, char **ret_host, uint16_t *ret_port, struct err *err);

/** The names of VixDiskLib_ListTransportModes; static. */
const char *remote_transport_names(void);

/** The fingerprints of a server's certificate, as text; port 0: 443. */
VixError remote_thumbprint(const char *host, uint16_t port, unsigned timeout_ms, char *sha1, char *sha256,
                           struct err *err);
#define REMOTE_SHA1_SIZE (20 * 3)
#define REMOTE_SHA256_SIZE (32 * 3)

/** Ends what serves all connections; there is none any more. At VixDiskLib_Exit. */
void remote_shutdown(void);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* vim.h - a session on a vCenter server or an ESXi host, and the calls that disks need: find the virtual machine and
 * the disk, get a ticket, keep machines from moving, make and remove disks. Any thread may call anything but
 * vim_logout; calls of one session run one after another. Sentences of failures begin with host:port. */
#ifndef VIXDISK_VIM_VIM_H
#define VIXDISK_VIM_VIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/thumbprint.h"

struct vim_session;

struct vim_login {
    const char *host;
    uint16_t port;          /* 0: 443 */
    const char *user;       /* with password: log in */
    const char *password;   /* wiped from our memory at logout; kept for one renewal of an expired session */
    const char *cookie;     /* in their place: a session of somebody else, never logged out */
    const char *thumbprint; /* NULL: check the chain, unless insecure */
    const char *ca_file;    /* NULL: the machine's roots */
    bool insecure;          /* only where the configuration says so */
    unsigned connect_timeout_ms;
    unsigned call_timeout_ms;
    const char *vmx_spec; /* the machine that the session is for, as in vim_find_vm: among datastores of one name, its
                           * own is meant; NULL: none */
};

/** What the server says of itself. */
struct vim_about {
    char *full_name;   /* "VMware vCenter Server 8.0.1 build-..." */
    char *api_type;    /* "VirtualCenter", "HostAgent" */
    char *api_version; /* "8.0.1.0" */
    char *instance_uuid;
};

/** Connects, finds out what the server is, logs in (or proves the cookie). Copies everything. Codes as in section 12 of
 * the sheet: 14008, 14009, 18000 (time-out, TLS, thumbprint), 3014 (login) ... */
VixError vim_login(const struct vim_login *how, struct vim_session **ret_session, struct err *err);

/** Logs out if the session is ours, wipes secrets, frees. NULL is harmless. */
void vim_logout(struct vim_session *s);

const struct vim_about *vim_about(const struct vim_session *s);
bool vim_is_vcenter(const struct vim_session *s);
const char *vim_peer(const struct vim_session *s); /* "host:port" */
const char *vim_host(const struct vim_session *s);

/** Tells the server that the session is in use (CurrentTime), if the last call is long ago. To be called by a timer:
 * something open on the session keeps it alive. Failures matter only to the next call, which logs in again once. */
VixError vim_keep_alive(struct vim_session *s, struct err *err);
#define VIM_KEEP_ALIVE_MS (10u * 60 * 1000) /* own: between calls */

/** A virtual machine by what VixDiskLibConnectParams.vmxSpec may be: "moref=vm-57", "dir/x.vmx?dcPath=DC&dsName=DS",
 * "[ds] dir/x.vmx", an inventory path, "uuid=", "instanceUuid=". *ret_vm: the bare reference value. VIX_E_VM_NOT_FOUND.
 */
VixError vim_find_vm(struct vim_session *s, const char *vmx_spec, char **ret_vm, struct err *err);

/** A disk of a machine, as its hardware says. */
struct vim_disk {
    int32_t key;
    char *label;
    char *controller_type; /* "ParaVirtualSCSIController"; NULL if it is not in the list */
    int32_t controller_key;
    int32_t unit;
    uint64_t capacity;  /* bytes */
    char *backing_type; /* "VirtualDiskFlatVer2BackingInfo" */
    char **files;       /* backing.fileName and those of its parents, top first */
    size_t file_count;
    char *datastore; /* reference of the backing's datastore, or NULL */
    char *disk_mode;
    char *uuid; /* NULL if not told, as the next ones */
    char *content_id;
    char *change_id;
    bool thin;
    bool sharing; /* multi-writer */
};
struct vim_vm {
    char *moref, *name, *host, *power_state, *vmx_path, *current_snapshot;
    bool change_tracking;
    bool is_template;
    bool no_snapshots; /* the server says that it makes none of the machine */
    char *hw_version;  /* "vmx-13"; NULL: not told */
    char **datastores;
    size_t datastore_count;
    char **macs; /* addresses of its network cards, as the server writes them */
    size_t mac_count;
    struct vim_disk *disks;
    size_t disk_count;
};
/** Reads a machine; with snapshot (bare reference), its disks as of that snapshot. */
VixError vim_read_vm(struct vim_session *s, const char *vm, const char *snapshot, struct vim_vm **ret_vm,
                     struct err *err);
void vim_vm_free(struct vim_vm *vm);
/** Whether path is a file of the disk. */
bool vim_disk_has_path(const struct vim_disk *disk, const char *path);
/** Which of a disk's files that is; file_count for none. */
size_t vim_disk_file_index(const struct vim_disk *disk, const char *path);
/** The disk of which path ("[ds] dir/x.vmdk", runs of / folded) is a file; NULL. */
const struct vim_disk *vim_disk_by_path(const struct vim_vm *vm, const char *path);
/** Whether path is the first file of a disk: the one that a machine that runs writes to. */
bool vim_disk_is_written(const struct vim_disk *disk, const char *path);

/** For whom a ticket is. */
enum vim_ticket_kind {
    VIM_TICKET_READ_VM,    /* NfcGetVmFiles: any file of the machine, read-only */
    VIM_TICKET_READ_DISK,  /* NfcRandomAccessOpenReadonly */
    VIM_TICKET_WRITE_DISK, /* NfcRandomAccessOpenDisk */
    VIM_TICKET_DATASTORE,  /* NfcFileManagement */
};
struct vim_ticket {
    char *host;        /* never NULL: the server logged in to where the ticket has none */
    uint16_t port;     /* 902 where the ticket has none */
    char *thumbprint;  /* NULL if absent */
    char *certificate; /* PEM; NULL if absent */
    char *service;
    char *session_id; /* secret */
};
/** @object: vm, or datastore for VIM_TICKET_DATASTORE; @key and @host where the kind has them (host NULL: left out). */
VixError vim_get_ticket(struct vim_session *s, enum vim_ticket_kind kind, const char *object, int32_t key,
                        const char *host, struct vim_ticket **ret_ticket, struct err *err);
void vim_ticket_free(struct vim_ticket *t); /* wipes */

/** Blocks, or allows again, the relocation of a machine; vCenter only, VIX_OK on ESXi. */
VixError vim_disable_methods(struct vim_session *s, const char *vm, const char *identity, struct err *err);
VixError vim_enable_methods(struct vim_session *s, const char *vm, const char *identity, struct err *err);

/** Virtual disks that belong to no machine; path "[ds] dir/x.vmdk". disk_type "thin", "preallocated",
 * "eagerZeroedThick"; adapter "lsiLogic", "busLogic", "ide". Each waits for
 * the end of the server's task. */
VixError vim_create_disk(struct vim_session *s, const char *path, const char *disk_type, const char *adapter,
                         uint64_t capacity, struct err *err);
VixError vim_delete_disk(struct vim_session *s, const char *path, struct err *err);
/** Another name; VIX_E_FILE_ALREADY_EXISTS if it is taken, VIX_E_NOT_SUPPORTED of servers that do not know the call. */
VixError vim_move_disk(struct vim_session *s, const char *from, const char *to, struct err *err);
VixError vim_extend_disk(struct vim_session *s, const char *path, uint64_t capacity, struct err *err);
VixError vim_make_folder(struct vim_session *s, const char *path, struct err *err); /* with those above it */

/** A datastore by its name: the bare reference. VIX_E_OBJECT_NOT_FOUND; VIX_E_INVALID_ARG if several datacenters have
 * one, and the machine of the session does not tell which is meant. */
VixError vim_find_datastore(struct vim_session *s, const char *name, char **ret_moref, struct err *err);

/** Where a datastore is. */
struct vim_extent {
    char *disk;         /* canonical name of a LUN, "naa.6000..." */
    unsigned partition; /* 0: not told */
};
struct vim_datastore {
    char *info_type; /* "VmfsDatastoreInfo"; NULL if the server does not tell */
    char *vmfs_uuid; /* or NULL */
    struct vim_extent *extents;
    size_t extent_count;
};
VixError vim_read_datastore(struct vim_session *s, const char *moref, struct vim_datastore **ret_datastore,
                            struct err *err);
void vim_datastore_free(struct vim_datastore *d);

/** Whether a host has a datastore (bare references of both). A server that does not tell: it has. */
VixError vim_host_has_datastore(struct vim_session *s, const char *host, const char *datastore, bool *ret_has,
                                struct err *err);

/** The type of a datastore, "VMFS", "vsan"; NULL in *ret_type if the server does not tell. */
VixError vim_datastore_type(struct vim_session *s, const char *datastore, char **ret_type, struct err *err);

/* ---- the disk lease (lease.c): where a host says that the blocks of a disk are ---- */

#define VIM_LEASE_EXTENTS_MAX (1u << 20) /* limit: pieces of a lease's map */

/** A LUN or a volume that blocks are on. */
struct vim_lease_element {
    char *name;     /* as the host writes it */
    bool is_volume; /* of VMFS; else a LUN */
};
/** Blocks that follow each other, in the host's units (disk/lease.c knows what these are). */
struct vim_lease_extent {
    uint64_t start, length; /* in the disk; length > 0 */
    uint64_t physical;      /* on the element */
    uint32_t element;       /* index */
    bool read_only, to_be_zeroed;
};
struct vim_lease {
    char *moref;
    const char *name_space;               /* of its calls; static */
    uint64_t timeout_s;                   /* for which it is given; 0: not told */
    uint64_t size;                        /* of the disk, in units */
    uint64_t granularity, min_block_size; /* 0: not told */
    char **keys, **values;                /* of the disk database */
    size_t key_count;
    struct vim_lease_element *elements;
    size_t element_count;
    struct vim_lease_extent *extents; /* by start, none over another; what none has is not allocated */
    size_t extent_count;
};
/** Takes the lease of a disk as of a snapshot (bare reference), and reads its whole map. The lease is the caller's
 * until vim_lease_release. VIX_E_INVALID_XML for a map that contradicts itself; codes of faults. */
VixError vim_lease_take(struct vim_session *s, const char *snapshot, const char *path, bool read_only,
                        struct vim_lease **ret_lease, struct err *err);
/** Asks for as much time again. */
VixError vim_lease_renew(struct vim_session *s, const struct vim_lease *lease, struct err *err);
/** Gives a lease back, and frees it, also on failure. NULL is harmless. */
VixError vim_lease_release(struct vim_session *s, struct vim_lease *lease, struct err *err);

/** How long a change of a machine's hardware waits for another one to end. */
#define VIM_BUSY_MS 60000u /* limit: ms that a change of hardware waits for another one */

/** Attaches an existing VMDK to a SCSI controller of a machine, a new one if all are full. @mode "persistent",
 * "independent_nonpersistent". *ret_key: the new device. VIX_E_OBJECT_IS_BUSY if there is no place. After a failure
 * with *ret_open the disk is attached all the same, or may be later: where the machine's hardware does not list it,
 * that is no proof. */
VixError vim_attach_disk(struct vim_session *s, const char *vm, const char *path, const char *mode, uint64_t capacity,
                         int32_t *ret_key, bool *ret_open, struct err *err);

/** Takes a disk off a machine; its files stay. @path: one of its files; @uuid: its UUID as the hardware has it, or
 * NULL. If neither fits it is left alone: VIX_E_OBJECT_NOT_FOUND, as if there is none, where the UUID says that it is
 * another disk; VIX_E_FAIL where it may be the same one under another name. */
VixError vim_detach_disk(struct vim_session *s, const char *vm, int32_t key, const char *path, const char *uuid,
                         struct err *err);

/* ---- snapshots and changed areas ---- */

/** Makes a snapshot of a machine, without its memory; *ret_snapshot: its bare reference, the caller's. Waits for the
 * end of the server's task. Codes of the fault: VIX_E_SNAPSHOT_..., VIX_E_HOST_USER_PERMISSIONS, VIX_E_NOT_SUPPORTED.
 */
VixError vim_create_snapshot(struct vim_session *s, const char *vm, const char *name, const char *description,
                             bool quiesce, char **ret_snapshot, struct err *err);
/** Removes one snapshot, not those below it. VIX_E_OBJECT_NOT_FOUND. */
VixError vim_remove_snapshot(struct vim_session *s, const char *snapshot, struct err *err);
/** Switches the change tracking of a machine's disks. On a machine that runs it begins with its next snapshot. */
VixError vim_set_change_tracking(struct vim_session *s, const char *vm, bool on, struct err *err);

/** Which of some privileges ("VirtualMachine.State.CreateSnapshot") the user of the session has on a machine.
 * @ret_granted as many as names. VIX_E_NOT_SUPPORTED of servers that do not tell. Source: the vSphere API's description
 * of AuthorizationManager. */
VixError vim_has_privileges(struct vim_session *s, const char *vm, const char *const *names, size_t count,
                            bool *ret_granted, struct err *err);

/** What changes are asked for. */
struct vim_changes {
    const char *vm;
    const char *snapshot; /* as of it; NULL or "": as of now */
    int32_t key;          /* of the disk */
    const char *change_id;
    uint64_t start, end; /* bytes: the range of the disk; end at most its capacity */
};
/** Told of changed areas in ascending order (one that goes beyond an answer of the server may be told again in parts),
 * and, with length 0, of the place up to which all has been told; false stops. */
typedef bool vim_area_func(void *ctx, uint64_t start, uint64_t length);
/** Asks for the changes since change_id ("*": all areas that were ever written) until the whole range is covered; an
 * answer without areas, or one that ends early, is no end. An answer that cannot be is asked for once more, then
 * VIX_E_INVALID_XML. VIX_E_CANCELLED; VIX_E_INVALID_ARG, VIX_E_FILE_ACCESS_ERROR (the server's faults for an ID that it
 * does not know). Source: the vSphere API's description of the call. */
VixError vim_query_changed(struct vim_session *s, const struct vim_changes *what, vim_area_func *func, void *ctx,
                           struct err *err);

/* ---- the inventory, for `vixdisk ls` ---- */

struct vim_snapshot {
    char *moref, *name, *created;
    unsigned depth;
    bool current;
};
struct vim_vm_entry {
    struct vim_vm *vm;
    struct vim_snapshot *snapshots; /* in the order of the tree */
    size_t snapshot_count;
};
struct vim_datastore_entry {
    char *moref, *name, *type, *url;
    uint64_t capacity, free;
    bool accessible;
};
struct vim_inventory {
    struct vim_vm_entry *vms;
    size_t vm_count;
    struct vim_datastore_entry *datastores;
    size_t datastore_count;
};
VixError vim_list(struct vim_session *s, struct vim_inventory **ret_inventory, struct err *err);
/** One machine with its snapshots; with snapshot (bare reference, NULL: none), its disks as of that snapshot. */
VixError vim_read_entry(struct vim_session *s, const char *vm, const char *snapshot, struct vim_vm_entry *ret_entry,
                        struct err *err);
void vim_entry_clear(struct vim_vm_entry *entry);
void vim_inventory_free(struct vim_inventory *inventory);

#endif

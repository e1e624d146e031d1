/* SPDX-License-Identifier: BSD-3-Clause */
/* inventory.h - what a host would know of its virtual machines, read from the folders each time: a machine is a folder
 * directly in a datastore that holds a .vmx or a .vmdk. Nothing is kept; any thread. */
#ifndef VIXDISKD_INVENTORY_H
#define VIXDISKD_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/datastore.h"
#include "daemon/tracking.h"

#define INVENTORY_MACHINES_MAX 65536u /* limit: machines of the inventory */
#define INVENTORY_FILES_MAX 4096u     /* limit: files of one machine that may be disks */
#define INVENTORY_DISKS_MAX 60u       /* limit: disks of one machine: four controllers of fifteen */

#define INVENTORY_FIRST_KEY 2000 /* of the disk vm/vm.vmdk; others have larger ones, as with vSphere */
#define INVENTORY_KEYS 1000000000u

struct machine {
    const struct datastore *ds;
    char *name;     /* of the folder */
    char *vmx;      /* "vm/vm.vmx", whether there is one or not */
    char moref[16]; /* "vm-123456789", from the names: the same at each start */
    char uuid[40];
};

struct inventory {
    struct machine *machines; /* by datastore and name */
    size_t count;
};

struct machine_disk {
    char *path; /* in the datastore, "vm/vm.vmdk" */
    char **parents;
    size_t parent_count;
    uint64_t capacity; /* bytes */
    char uuid[40];     /* "" if none is recorded */
    uint32_t cid;
    char change_id[TRACKING_ID_MAX]; /* "" where links of the chain are missing */
    bool thin;
    bool sparse; /* backed by a sparse format of hosted products */
    int32_t key; /* from the name of the lowest link that is the disk's own: the same whatever other disks there are */
};

struct machine_disks {
    struct machine_disk *disks; /* top links, by the names of their bases */
    size_t count;
};

/** A number that goes with texts, the same on every machine: begins with INVENTORY_HASH, or that and a bit more, and
 * goes on with the result. */
#define INVENTORY_HASH UINT64_C(14695981039346656037)
uint64_t inventory_hash(uint64_t hash, const char *text);

VixError inventory_read(const struct datastores *stores, struct inventory *ret_inventory, struct err *err);
void inventory_done(struct inventory *inventory);

/** VIX_E_VM_NOT_FOUND. The result is freed by inventory_done as the only machine of an inventory. */
VixError inventory_find(const struct datastores *stores, const char *moref, struct inventory *ret_one, struct err *err);

/** Reads the disks of a machine: every VMDK of its folder that is not an extent or the parent of another. What is no
 * disk that can be read is left out, with a line of news; a failure of the system, such as EIO, or EMFILE, is one of
 * the call, for nobody may take a disk for gone that is there. */
VixError machine_read_disks(const struct machine *m, struct machine_disks *ret_disks, struct err *err);
void machine_disks_done(struct machine_disks *disks);

/** The disk of which path is the top link or a parent; *ret_is_top tells. NULL. */
const struct machine_disk *machine_disk_of(const struct machine_disks *disks, const char *path, bool *ret_is_top);

/** Whether the disk at path ("vm/x.vmdk") is the parent of one in its folder or in that of any machine of its
 * datastore: linked clones are often elsewhere than their base. Reads the descriptor of each disk of the datastore. */
VixError inventory_is_parent(const struct datastores *stores, const struct datastore *ds, const char *path,
                             bool *ret_is_parent, struct err *err);

/** Whether a file's name is that of an extent or another part of a disk ("x-flat.vmdk", "x-s001.vmdk"). Such a file is
 * never opened as a disk of its own: its bytes are the guest's, who could put a descriptor there. */
bool is_part_of_disk(const char *path);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* guest.h - the virtual machine that this process runs in, if it does. No state; any thread. Inside src/disk. */
#ifndef VIXDISK_DISK_GUEST_H
#define VIXDISK_DISK_GUEST_H

#include "disk/hostview.h"
#include "vim/vim.h"

#define GUEST_UUIDS 2

/** What the firmware says this machine is: the spellings that vSphere may know its UUID by, the likely one first. */
struct guest_uuids {
    char text[GUEST_UUIDS][37];
    unsigned count;
};

/** Whether this machine is a virtual one of VMware. */
bool guest_is_vmware(const struct hostview *v);

/** VIX_E_NOT_SUPPORTED where this is no virtual machine of VMware, or its UUID may not be read. */
VixError guest_uuids(const struct hostview *v, struct guest_uuids *ret_uuids, struct err *err);

/** The machine of a server that this process runs in, with its hardware as it is now. VIX_E_NOT_SUPPORTED: it runs
 * elsewhere, or in a machine that has none of the network cards of the one that the server has by this UUID. */
VixError guest_find(const struct hostview *v, struct vim_session *s, struct vim_vm **ret_vm, struct err *err);

#endif

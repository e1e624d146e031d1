/* SPDX-License-Identifier: BSD-3-Clause */
/* lun.h - which block device of this machine is the LUN that vSphere calls "naa.6000...": by the ids that the system
 * keeps of its devices, never by what is on them. Inside src/disk. */
#ifndef VIXDISK_DISK_LUN_H
#define VIXDISK_DISK_LUN_H

#include "disk/hostview.h"

#define LUN_MAX_PATHS 64u /* limit: devices that are one LUN */

/** Device nodes of a LUN, "/dev/dm-3": that of the multipath device if there is one, else of all paths. */
struct lun_nodes {
    char *nodes[LUN_MAX_PATHS];
    size_t count;
};

/** Finds the nodes of a LUN, those that the configuration denies left out. @may_scan: if there is none and the
 * configuration says so, SCSI hosts are made to look for it. VIX_E_NOT_SUPPORTED if there is none, or the name is not
 * one that devices have (mpx.). */
VixError lun_find(const struct hostview *v, const char *name, bool may_scan, struct lun_nodes *ret_nodes,
                  struct err *err);
void lun_nodes_free(struct lun_nodes *nodes);

/** Opens the first node on which the volume manager's header can be read (lun_store.c). A request on which its path
 * fails is made again on another path of the LUN, if there is one. Codes of the last node: VIX_E_NOT_SUPPORTED for
 * those that this process may not open, and as lun_find. */
VixError lun_open(const struct hostview *v, const char *name, bool writable, struct store **ret_store, struct err *err);

/** Whether this machine has, or may find, any device that could be a LUN: cheap, for machines that have none. */
bool lun_any(const struct hostview *v);

/** Whether page 0x83 of a device has the id of a name, "naa.6000c29abcdef012". Association with the device counts. */
bool lun_page83_has(const uint8_t *page, size_t len, const char *name);

/** Whether a pattern of a list (separated by commas, with * and ?) fits one of some names. */
bool lun_list_has(const char *list, const char *const *names, size_t count);

#endif

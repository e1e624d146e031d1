/* SPDX-License-Identifier: BSD-3-Clause */
/* tracking.h - change tracking, by the links of a chain: nothing is kept. A link below the top is not written any more,
 * since its child names its content ID; so what has changed since a link was the top one is what the links above it
 * hold. A change ID is "UUID/N": the UUID goes with the place of the chain's base, N is the link's number, counted from
 * the base, times 2^32, and its content ID, which the first write of each open changes. Where the top link was written
 * to, or another one is in its place, an older ID is the one of no link: then nothing is known. A volume of VMFS is
 * written by others past its descriptors, which keep their content IDs: there nothing is ever known. Any thread. */
#ifndef VIXDISKD_TRACKING_H
#define VIXDISKD_TRACKING_H

#include "daemon/datastore.h"
#include "vmdk/chain.h"

#define TRACKING_ID_MAX 72u /* own: room for a change ID */

/** Whether the content IDs of a datastore's disks tell of every write. */
bool tracking_is_kept(const struct datastore *ds);

/** The ID of a disk as it is; "" where links of the chain are missing, the datastore's content IDs tell nothing, or a
 * program such as QEMU has the top link open for writing: of what that writes next its content ID may not tell. */
void tracking_id(const struct datastore *ds, const struct chain *c, char id[TRACKING_ID_MAX]);

/** The link of which an ID is; false if it is of none. */
bool tracking_find(const struct datastore *ds, const struct chain *c, const char *id, size_t *ret_link);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* san_compare.h - whether what is found on LUNs is the disk: some places of it are compared with what its host gives. A
 * map that is wrong leads to bytes of somebody else. Inside src/disk. */
#ifndef VIXDISK_DISK_SAN_COMPARE_H
#define VIXDISK_DISK_SAN_COMPARE_H

#include "disk/remote_int.h"

enum san_compared {
    SAN_EQUAL,
    SAN_DIFFERENT,   /* or it cannot be read on the LUNs */
    SAN_NOT_COMPARED /* the host gives nothing over NFC */
};

/** Reads three places that hold something, spread over the disk, and three that are zeros by the map, both ways. The
 * sentence of what is not SAN_EQUAL goes to err. */
enum san_compared san_compare(struct remote *r, const struct remote_request *request, struct disk *san,
                              struct err *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_host.h - a disk host without a network, with a folder of its own: one machine with two disks. */
#ifndef VIXDISK_FUZZ_DISK_HOST_H
#define VIXDISK_FUZZ_DISK_HOST_H

#include "daemon/soap_face.h"
#include "fuzz.h"

struct host *disk_host(void);

/** The cookie of a session that is logged in: a new one where the last has been logged out. */
const char *disk_host_token(void);

/** Takes away what inputs have made in its folder. */
void disk_host_tidy(void);

#endif

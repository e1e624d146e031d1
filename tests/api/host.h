/* SPDX-License-Identifier: BSD-3-Clause */
/* host.h - a vixdiskd for tests of the interface: a process of its own, on free ports of loopback, whose datastore is
 * the folder "host/datastore1" of env.h. One thread. */
#ifndef TESTS_API_HOST_H
#define TESTS_API_HOST_H

#include "env.h"

/** A path in the datastore's folder on this machine; lives as in_folder's. */
const char *host_file(const char *name);

/** Before the first test of a group and after the last: its folder, the host, which is set up there, and the library.
 */
extern const char *host_program; /* to be set before */
int host_setup(void **state);
int host_teardown(void **state);

/** Connects for the machine vm1, which has the disks that lie in the folder "vm1": "[datastore1] vm1/NAME".
 * @transport "nbd" or "nbdssl". */
VixError host_connect(const char *transport, VixDiskLibConnection *ret_c);

#endif

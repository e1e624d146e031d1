/* SPDX-License-Identifier: BSD-3-Clause */
/* host.h - a vixdiskd for tests of the interface: a process of its own, on free ports of loopback, whose datastore is
 * the folder "host/datastore1" of env.h. One thread. */
#ifndef TESTS_API_HOST_H
#define TESTS_API_HOST_H

#include "env.h"

/** Sets it up in the test's folder and starts it. False, with a message, if that fails. */
bool host_start(const char *program);

/** Ends it. Nothing if it was not started. */
void host_stop(void);

/** A path in the datastore's folder on this machine; lives as in_folder's. */
const char *host_file(const char *name);

/** Connects for the machine vm1, which has the disks that lie in the folder "vm1": "[datastore1] vm1/NAME".
 * @transport "nbd" or "nbdssl". */
VixError host_connect(const char *transport, VixDiskLibConnection *ret_c);

#endif

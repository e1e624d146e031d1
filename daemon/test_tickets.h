/* SPDX-License-Identifier: BSD-3-Clause */
/* test_tickets.h - for tests: tickets that a simulator of vSphere has given out for disks of this host. */
#ifndef VIXDISKD_TEST_TICKETS_H
#define VIXDISKD_TEST_TICKETS_H

#include "daemon/host.h"

/** Adds what host->test_tickets has got since the last call: a line for each ticket, "ID KIND MACHINE KEY". The machine
 * is the simulator's, not ours: the ticket is for the only datastore, writable unless KIND begins with "ro-". */
VixError test_tickets_read(struct host *host, struct err *err);

#endif

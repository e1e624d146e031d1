/* SPDX-License-Identifier: BSD-3-Clause */
/* progress.h - from the progress of an operation to the client's progress function: in per cent, never backwards, 100
 * at the end of what succeeded. On the stack of the call. */
#ifndef VIXDISK_API_PROGRESS_H
#define VIXDISK_API_PROGRESS_H

#include "api/api.h"
#include "ops/ops.h"

struct client_progress {
    VixDiskLibProgressFunc func; /* or NULL */
    void *data;
    int told; /* last per cent, -1: nothing yet */
};

/** Takes per cent: for vmdk_create. */
void progress_percent(void *client_progress, int percent);

/** Takes bytes: for ops. VixDiskLib's progress functions cannot stop a call: what they return is not looked at. */
struct ops_progress progress_bytes(struct client_progress *p);

/** The end of the operation. */
void progress_end(struct client_progress *p, VixError code);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* api.h - the head of every file of src/api: the public headers with their functions visible outside the library (all
 * else is hidden), and the frame of an exported call. Include it first.
 *
 * An exported function begins a call (one of the call_ functions), does its work with call.err as the place for the
 * sentence of a failure, and returns what call_end returns. call_end tells the failure to the client, once. A call
 * takes no lock and no memory: one atomic to pin its handle, one to release it. */
#ifndef VIXDISK_API_API_H
#define VIXDISK_API_API_H

#pragma GCC visibility push(default)
#include "vixDiskLib.h"
#include "vixDiskLibExt.h"
#pragma GCC visibility pop

#include <stdbool.h>
#include <stdint.h>

#include "api/handle.h"
#include "base/err.h"
#include "disk/disk.h"
#include "disk/remote.h"
#include "ops/ops.h"
#include "vmdk/create.h"

/** A connection to the local host or to a server. */
struct connection {
    struct remote *remote;     /* NULL: local */
    bool read_only;            /* every disk is opened read-only */
    struct params_box *params; /* deep copy of what it was made from */
};

#define CALL_MAX_PINS 2 /* own: handles of one call */

/** An exported call that is running. Lives on the stack of its thread; calls of one thread are linked, because a client
 * may call in again from a callback. */
struct api_call {
    const char *name;  /* of the exported function */
    const char *place; /* path of the disk it is about, or NULL; borrowed until call_end */
    struct slot *pins[CALL_MAX_PINS];
    unsigned pin_count;
    struct slot *taken; /* what it is closing, or NULL */
    struct api_call *outer;
    struct api_call **innermost; /* the thread's own: finding it once is enough */
    struct err err;
};

/** Begins a call that needs no more than a started library. The call_ functions that can fail return VIX_E_DISK_NOINIT,
 * VIX_E_INVALID_HANDLE, VIX_E_DISK_INVALID_CONNECTION or VIX_E_OBJECT_IS_BUSY; call_end must be called all the same. */
VixError call_on_library(struct api_call *call, const char *name, const char *place);

/** Begins a call that is about a connection. */
VixError call_on_connection(struct api_call *call, const char *name, const char *place, VixDiskLibConnection handle,
                            struct connection **ret_connection);

/** Begins a call that is about an open disk; the place is its path. */
VixError call_on_disk(struct api_call *call, const char *name, VixDiskLibHandle handle, struct disk **ret_disk);

/** Begins a call that nothing has to be ready for. */
void call_begin(struct api_call *call, const char *name, const char *place);

/** Pins one more connection or disk for a call that has begun. */
VixError call_add_connection(struct api_call *call, VixDiskLibConnection handle, struct connection **ret_connection);
VixError call_add_disk(struct api_call *call, VixDiskLibHandle handle, struct disk **ret_disk);

/** Ends a call: a failure is sent to *warn* and kept for VixDiskLibExt_LastErrorDetail. Returns code. */
VixError call_end(struct api_call *call, VixError code);

/** As call_end, for an answer that is a code but no failure (a size query): nothing is sent to *warn*. */
VixError call_end_quietly(struct api_call *call, VixError code);

/** As call_end, for a failure that call_report has told already. */
VixError call_end_reported(struct api_call *call, VixError code);

/** The code for a handle that could not be pinned, with its sentence. */
VixError call_bad_handle(struct api_call *call, enum handle_kind kind, const void *handle, VixError code);

/** Whether a call of this thread, or a completion callback that it is in, is using a slot (NULL: any slot). Then
 * waiting for the slot's users would be waiting for itself. */
bool call_thread_uses(const struct slot *slot);

/** The same without the innermost call: whether that was called back by a user of the slot. */
bool call_outer_uses(const struct slot *slot);

/** Whether this thread may wait for calls of other threads: not in a completion callback, as the requests that those
 * wait for may be this thread's to complete. */
bool call_may_wait(void);

/** Marks that this thread is in a completion callback for a disk, until call_leave_callback. */
void call_enter_callback(struct api_call *call, struct slot *slot);
void call_leave_callback(struct api_call *call);

/** Reports a failure outside the end of a call: of an asynchronous request, of one disk among several. */
void call_report(const char *name, const char *place, VixError code, const struct err *err);

/** The last sentence of this thread. */
const char *call_last_detail(void);

/** Whether a retry of what it tells of can help. */
bool call_last_is_retryable(void);

/** Whether an argument is given; else VIX_E_INVALID_ARG with a sentence that says which. */
VixError call_need(struct api_call *call, const void *argument, const char *what);

/** Takes a disk from its client, for closing: VIX_E_INVALID_HANDLE; VIX_E_OBJECT_IS_BUSY in a callback of the disk,
 * and in one of another disk's requests while a call has this disk for itself. Else such a call is waited for. */
VixError call_take_disk(struct api_call *call, VixDiskLibHandle handle, struct slot **ret_slot);

/* ---- connect.c, disk.c, init.c for one another ---- */

/** Closes the disk of a slot taken by handle_close_begin, gives the slot back. A failure is reported under name.
 * *ret_closed false: requests are in flight and this thread, being in a completion callback, cannot wait
 * (VIX_E_OBJECT_IS_BUSY); the handle is valid again. */
VixError disk_close_slot(struct slot *slot, const char *name, bool *ret_closed);

/** Closes the disks of a connection taken by handle_close_begin, and ends it; VIX_E_OBJECT_IS_BUSY as disk_close_slot.
 */
VixError connection_close_slot(struct slot *slot, const char *name);

/** VIX_OK for a path that can be one of a local disk. */
VixError local_path_check(const char *path, struct err *err);

/** The connection of a pinned disk. */
const struct connection *connection_of_disk(struct slot *slot);

/** VIX_OK for a path that can be one of a disk of the connection. */
VixError path_check(const struct connection *c, const char *path, struct err *err);

/** VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT for a connection to a server. @what can be done locally only. */
VixError need_local(const struct connection *c, const char *what, struct err *err);

/** Opens a disk of the connection, local or remote. @flags VIXDISKLIB_FLAG_OPEN_, as the client gave them. */
VixError open_on(const struct connection *c, const char *path, uint32_t flags, struct disk **ret_disk, struct err *err);

/** What a copy on a server is to be. */
struct server_copy {
    const struct connection *to;
    const char *path;
    uint32_t flags; /* VIXDISKLIB_FLAG_OPEN_, compression */
    VixDiskLibDiskType type;
    VixDiskLibAdapterType adapter; /* 0: the source's */
    bool overwrite;                /* an old disk stays until the new one is complete */
    bool keep_existing;            /* the disk that is there is written over */
    bool target_is_zero;           /* and it reads as zeros */
    unsigned threads;
};

/** Copies a disk to a server. What was made is removed after a failure. @from: the connection of src. */
VixError copy_to_server(struct disk *src, const struct connection *from, const struct server_copy *copy,
                        struct ops_progress progress, struct err *err);

/** The handle of the running library; NULL before Init. */
const void *library_handle(void);

/** The interface version that the program asked for at Init; 0 before. */
uint32_t library_major(void);
uint32_t library_minor(void);

#endif

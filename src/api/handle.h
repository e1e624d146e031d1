/* SPDX-License-Identifier: BSD-3-Clause */
/* handle.h - what clients hold instead of pointers. A handle is a kind, a generation and an index into a table: one
 * that is stale, foreign or made up is found out, never followed. It is not an address that a program could have
 * mapped.
 *
 * While a thread works on an object it pins the object's slot: one atomic addition, one subtraction, no lock. Closing
 * makes new pins fail and waits for those that are there. Any thread. */
#ifndef VIXDISK_API_HANDLE_H
#define VIXDISK_API_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum handle_kind {
    HANDLE_DISK,       /* object: struct disk; owner: the handle of its connection */
    HANDLE_CONNECTION, /* object: struct connection */
    HANDLE_LIBRARY,    /* there is one while the library is initialised */
    HANDLE_KINDS
};

#define HANDLE_MAX 65536u /* limit: open disks, and connections, of a process */

/** Place of one object. Slots live as long as the process. */
struct slot {
    _Atomic uint64_t state; /* see handle.c */
    void *object;
    _Atomic(const void *) owner;
    uint32_t next_free; /* index + 1; guarded by the table's lock */
} __attribute__((aligned(64)));

/** A free slot, for an object that is about to be made. VIX_E_TOO_MANY_HANDLES. */
VixError handle_reserve(enum handle_kind kind, struct slot **ret_slot, struct err *err);

/** Puts an object into a reserved slot; from now on others can find it by the handle that is returned. */
void *handle_publish(enum handle_kind kind, struct slot *slot, void *object, const void *owner);

/** Takes a slot back: a reserved one that was not used, or one from handle_close_begin. Its handle is stale from now
 * on. */
void handle_give_back(enum handle_kind kind, struct slot *slot);

/** Keeps the object of a handle alive until handle_unpin. VIX_E_INVALID_HANDLE; VIX_E_OBJECT_IS_BUSY while another call
 * has it for itself. No sentence. */
VixError handle_pin(enum handle_kind kind, const void *handle, struct slot **ret_slot);
void handle_unpin(struct slot *slot);

/** The slot of a handle that is not closed yet, whoever has or closes it, without pinning it; NULL. For questions, not
 * for use of the object. */
struct slot *handle_peek(enum handle_kind kind, const void *handle);

/** Makes a handle invalid and waits until nobody pins its slot. Of several callers one gets the slot, the others
 * VIX_E_INVALID_HANDLE. While a call has it for itself that is waited for, or where may_wait is false
 * VIX_E_OBJECT_IS_BUSY. The caller must not pin it itself. */
VixError handle_close_begin(enum handle_kind kind, const void *handle, bool may_wait, struct slot **ret_slot);

/** handle_close_begin for the next handle of an owner (NULL: any) at or after *cursor, which moves on. Those that other
 * threads are closing are waited for, too, so that in the end none is left. *ret_slot NULL: that was all. */
VixError handle_close_next(enum handle_kind kind, uint32_t *cursor, const void *owner, bool may_wait,
                           struct slot **ret_slot);

/** Gives up closing: the handle is valid again. */
void handle_reopen(struct slot *slot);

/** Has a pinned object for the calling thread alone: waits until the caller's pin is the only one; new pins fail with
 * VIX_E_OBJECT_IS_BUSY until handle_share. VIX_E_OBJECT_IS_BUSY if another thread asked first. */
VixError handle_own(enum handle_kind kind, struct slot *slot);
void handle_share(struct slot *slot);

/** Walks the handles of an owner (NULL: any) that are not closed yet: the next one at or after *cursor, which moves on;
 * NULL at the end. */
void *handle_next(enum handle_kind kind, uint32_t *cursor, const void *owner);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* store_fault.h - a store_fs for tests, around another one. It counts operations, makes a chosen one fail, pretends
 * limits of a file system, and records changes so that the state after a crash at any moment can be built again. Any
 * thread; changes go one after the other. Not part of the library that is installed. */
#ifndef VIXDISK_STORE_STORE_FAULT_H
#define VIXDISK_STORE_STORE_FAULT_H

#include "store/store.h"

/* Kinds of operations. */
#define FAULT_READ (1u << 0)
#define FAULT_WRITE (1u << 1)
#define FAULT_TRUNCATE (1u << 2) /* preallocate too */
#define FAULT_PUNCH (1u << 3)
#define FAULT_MAP (1u << 4)
#define FAULT_COPY (1u << 5)
#define FAULT_FLUSH (1u << 6)
#define FAULT_SIZE (1u << 7) /* size, allocated */
#define FAULT_OPEN (1u << 8)
#define FAULT_CREATE (1u << 9)
#define FAULT_RENAME (1u << 10) /* rename_new too */
#define FAULT_LINK (1u << 11)
#define FAULT_UNLINK (1u << 12)
#define FAULT_SYNC_FOLDER (1u << 13)
#define FAULT_STATFS (1u << 14)
#define FAULT_RESOLVE (1u << 15)
#define FAULT_KINDS 16

#define FAULT_ALL 0xFFFFu
/** What changes bytes or names, or makes a change last. */
#define FAULT_CHANGES                                                                                                  \
    (FAULT_WRITE | FAULT_TRUNCATE | FAULT_PUNCH | FAULT_COPY | FAULT_FLUSH | FAULT_CREATE | FAULT_RENAME |             \
     FAULT_LINK | FAULT_UNLINK | FAULT_SYNC_FOLDER)

/** Wraps a file system, which must outlive it. Free with store_fault_free after its stores. */
struct store_fs *store_fault_new(struct store_fs *inner, struct err *err);
void store_fault_free(struct store_fs *fs);

/** Which operation fails. */
struct store_fault_rule {
    uint32_t ops;  /* the kinds that are counted */
    uint64_t nth;  /* from now on, 1: the next one; 0: none */
    int errnum;    /* as this errno (EOPNOTSUPP: VIX_E_NOT_SUPPORTED); 0: a read as at the end of the file, else EIO */
    uint64_t part; /* of a read or write: bytes that are moved before it fails */
    bool stays;    /* all following ones of these kinds fail too, without a part */
};

/** Sets the rule (NULL: none) and begins to count at 0. */
void store_fault_set(struct store_fs *fs, const struct store_fault_rule *rule);

/** Operations of some kinds since the rule was set, failed ones included. To fail each in turn: run once and count,
 * then run with nth = 1, 2 ... */
uint64_t store_fault_count(struct store_fs *fs, uint32_t ops);

/** Whether the rule has made something fail. */
bool store_fault_has_hit(struct store_fs *fs);

/** Pretends a kind of file system whose files hold at most max_file bytes (then EFBIG) and that has free_bytes left
 * (then ENOSPC). A write that does not fit is done as far as it fits. Space that files give back is not free again.
 * UINT64_MAX: no limit. */
void store_fault_pretend(struct store_fs *fs, enum store_fs_kind kind, uint64_t max_file, uint64_t free_bytes);

/* ---- crashes ---- */

/** Records all changes from now on, beginning anew. The state of the inner file system at this moment is the caller's
 * to keep: store_fs_mem_clone. */
void store_fault_record(struct store_fs *fs);

/** The number of events recorded so far. An event is a change, a flush or a sync_folder that succeeded, or the part of
 * a write that was done before it failed. */
size_t store_fault_events(struct store_fs *fs);

/** A line about an event, for messages. */
void store_fault_describe(struct store_fs *fs, size_t index, char *buf, size_t len);

enum store_crash {
    STORE_CRASH_PROCESS, /* everything before it is there: the process died, the host lives */
    STORE_CRASH_LOSE,    /* only what was flushed, and names whose folder was synced */
    STORE_CRASH_MIX      /* of the rest some, chosen by seed: writes whole, not at all, or torn between sectors of 512
                          * bytes; names up to some point */
};

/** Builds, on a memory file system that holds the state at which recording began, the state that a crash right before
 * event nevents leaves (store_fault_events: after the last). The same seed gives the same state. Folders are told apart
 * by the text of the paths. */
VixError store_fault_replay(struct store_fs *fs, size_t nevents, enum store_crash how, unsigned seed,
                            struct store_fs *mem, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* disk.h - an open disk, local or remote, behind one table of functions: the seam that lets everything above be written
 * once. Units are sectors of 512 bytes. Any thread may call anything but close; reads and writes run in parallel. */
#ifndef VIXDISK_DISK_DISK_H
#define VIXDISK_DISK_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/chain.h"

struct disk;

/** A run of the disk's address space, for map, convert and the query of allocated blocks. */
struct disk_run {
    uint64_t sector;
    uint64_t nsectors; /* > 0 */
    bool present;      /* some link holds it */
    bool zero;         /* known to read as zeros without looking at data */
    bool has_offset;   /* file_off is where the bytes stand as they are in path */
    int depth;         /* the link that holds it, 0: top */
    uint64_t file_off; /* bytes */
    const char *path;  /* valid until the disk is closed; NULL if not present */
};

struct disk_info {
    VixDiskLibInfo info; /* strings are owned by this struct */
    VixDiskLibDiskType type;
};

/** A request that disk_ops.start carries out in the background. The maker fills the first part and keeps all of it,
 * and the buffer, until done is called. */
struct disk_io {
    bool write;
    uint64_t sector;
    uint64_t nsectors; /* > 0 */
    void *buf;         /* only read from for a write */
    /** Called exactly once, on any thread, maybe within start, no lock held: must be quick and must not wait for other
     * requests. @err: the details of a failure, valid during the call; may be NULL. */
    void (*done)(struct disk_io *io, VixError result, const struct err *err);

    /* the transport's own (queue.c) */
    struct disk_io *prev, *next; /* all that are not finished, in the order of their start */
    struct disk_io *turn;        /* the next one that has bytes to be asked for */
    uint64_t seq;
    uint64_t asked;    /* bytes that requests were made of */
    unsigned pieces;   /* requests made and not ended */
    unsigned blockers; /* earlier ones on the same bytes that have to end first */
    bool own_err;      /* err was made for it */
    VixError code;     /* of its first failure */
    struct err *err;   /* where its sentence goes; NULL: made when it is needed */
};

struct disk_ops {
    const char *transport; /* "file", ... */
    /** The range is within the capacity. */
    VixError (*read)(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
    VixError (*write)(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
    /** Starts a read or write; only where d->starts. The range and the mode are checked. */
    void (*start)(struct disk *d, struct disk_io *io);
    /** As extent_ops.pull; only where d->ordered. */
    VixError (*pull)(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                     struct err *err);
    VixError (*flush)(struct disk *d, struct err *err);
    /** Gives the space of a range back: all that the top link holds of it reads as zeros afterwards, what parents hold
     * stays. Of no sectors: tells whether the disk can. VIX_E_NOT_SUPPORTED where it cannot, or its file system. */
    VixError (*discard)(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);
    /** The run at sector, at most nsectors long; flags EXTENT_MAP_. */
    VixError (*map)(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                    struct err *err);
    /** What map tells with EXTENT_MAP_STATUS and EXTENT_MAP_FLAT_HOLES, of many runs: as extent_ops.map_many. */
    VixError (*map_many)(struct disk *d, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                         struct err *err);
    VixError (*info)(struct disk *d, struct disk_info *ret_info, struct err *err);
    VixError (*meta_get)(struct disk *d, const char *key, char **ret_value, struct err *err);
    VixError (*meta_set)(struct disk *d, const char *key, const char *value, struct err *err);
    VixError (*meta_keys)(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err);
    /** Frees also on failure. */
    VixError (*close)(struct disk *d, struct err *err);
};

/** What the hardware of its machine tells of a disk of a server (disk_hardware.h). */
struct disk_hardware {
    char **files; /* of its chain, "[ds] dir/x.vmdk", top first */
    size_t file_count;
    VixDiskLibAdapterType adapter; /* UNKNOWN: VixDiskLib has no word for it */
    char *uuid;                    /* NULL: not told */
    uint32_t cid;                  /* of the top file; 0: not told */
    bool thin;
};

/** An open disk; the maker's own members follow. */
struct disk {
    const struct disk_ops *ops;
    char *path;        /* for messages */
    uint64_t capacity; /* sectors */
    bool writable;
    bool ordered;       /* writes must come in ascending order: never handed to several threads */
    bool sequential;    /* a pipe: reads must come in ascending order */
    bool remote;        /* a disk of a server, whatever way leads to it */
    bool parent_closed; /* opened as a single link of a chain: where it holds nothing, its parent may hold data */
    const struct disk_hardware *hardware; /* of such a disk, the maker's own; NULL: not known */
    bool starts;                          /* ops.start is there; else requests in the background are done by the pool */
    unsigned busy_pieces; /* pieces of half a MiB under way at once that keep it busy; 0: one for each core */
    struct disk_async *_Atomic async; /* made at the first asynchronous request; disk_async.c's own */
};

/** Whether d is a disk of a server. */
static inline bool disk_is_remote(const struct disk *d)
{
    return d->remote;
}

/** Opens a local VMDK. @open_flags VIXDISKLIB_FLAG_OPEN_ bits (compression is ignored here). Paths outside the folder
 * are followed where the configuration says so. */
VixError disk_open_local(struct store_fs *fs, const char *path, uint32_t open_flags, const struct chain_tuning *tuning,
                         struct disk **ret_disk, struct err *err);

/** The same with flags CHAIN_. */
VixError disk_open_chain(struct store_fs *fs, const char *path, uint32_t chain_flags, const struct chain_tuning *tuning,
                         struct disk **ret_disk, struct err *err);

/** The chain behind a disk of disk_open_local, for what only local disks can do; NULL for others. */
struct chain *disk_local_chain(struct disk *d);

/** Puts child (of disk_open_local, single-link) on top of parent, a local or a remote disk: child then is the whole
 * chain. Parent is gone, also on failure. No request may be running on either. Codes of chain_attach. */
VixError disk_local_attach(struct disk *parent, struct disk *child, struct err *err);

/** The CHAIN_ flags for VIXDISKLIB_FLAG_OPEN_ bits and the configuration. */
uint32_t disk_local_chain_flags(uint32_t open_flags);

/** Whether disk_local_attach would work; changes nothing. */
VixError disk_local_can_attach(struct disk *parent, struct disk *child, struct err *err);

/** The content ID that a child of a disk records; the next write to a local disk gives it a new one. Where a server
 * does not tell it, that of a disk that was never written. */
VixError disk_content_id(struct disk *d, uint32_t *ret_cid, struct err *err);

/** Where the bytes of a sector stand as they are: their store and *ret_off, for *ret_nsectors (up to nsectors). NULL
 * where they do not (absent, zero, compressed, remote) or the map fails. The disk's; only for copying from file to
 * file, and into a disk only after a disk_write, which makes it known that the disk changes. */
struct store *disk_plain_bytes(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t *ret_off,
                               uint64_t *ret_nsectors);

/** Opens a raw image or a block device. A length that is not a multiple of 512 is padded with zeros on reading. */
VixError disk_open_raw(struct store_fs *fs, const char *path, uint32_t open_flags, struct disk **ret_disk,
                       struct err *err);

/** A raw disk over an open store, which is the disk's then, also on failure. Writable if the store is. */
VixError disk_raw_from_store(struct store *store, struct disk **ret_disk, struct err *err);

/** The store behind a raw disk; NULL for other disks. */
struct store *disk_raw_store(struct disk *d);

/** A raw source of known capacity that is read once, in order, from a file descriptor (pipe); the fd stays the
 * caller's. */
VixError disk_open_pipe_in(int fd, uint64_t capacity, struct disk **ret_disk, struct err *err);

/** A streamOptimized disk that is read once, in order, from a file descriptor; the fd stays the caller's. @threads for
 * inflating, 0: work_default_threads. Codes of the parsers; VIX_E_DISK_NEEDSREPAIR, also of the last read, for a stream
 * that is damaged or cut short. */
VixError disk_open_stream_in(int fd, unsigned threads, struct disk **ret_disk, struct err *err);

/** Frees the strings of an info. */
void disk_info_done(struct disk_info *info);

/** Waits for asynchronous requests, closes, frees (also on failure). NULL is harmless. From within a completion
 * callback: see disk_wait; the disk then stays open. */
VixError disk_close(struct disk *d, struct err *err);

/** disk_ops.map_many by one call of map. */
VixError disk_map_one(struct disk *d, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                      struct err *err);

/** Checks the range, then reads. VIX_E_DISK_OUTOFRANGE with the figures. Length 0 is VIX_OK. */
VixError disk_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);

/** Checks the range and that the disk is writable (VIX_E_FILE_READ_ONLY), then writes. */
VixError disk_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);

/** Checks as disk_write, then disk_ops.discard. */
VixError disk_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err);

/* ---- asynchronous I/O (disk_async.c) ---- */

/** Called once when a request has ended, on a worker thread (of the pool of this process) or inside the call that
 * started it, no lock held. err: details of a failure, valid during the call. */
typedef void disk_done_func(void *data, VixError result, const struct err *err);

#define DISK_ASYNC_MAX_IN_FLIGHT 256u /* own: of one disk; further ones wait, those of worker threads run inline */

/** Starts a read. VIX_OK: accepted, done will run exactly once; else it will not run. Range and mode are checked here.
 */
VixError disk_read_async(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, disk_done_func *done,
                         void *data, struct err *err);

/** Starts a write. On an ordered disk it is done inside the call; the callback too, or on a worker thread if the call
 * came from within a callback. */
VixError disk_write_async(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, disk_done_func *done,
                          void *data, struct err *err);

/** Waits until no request is in flight, callbacks included. Within a completion callback nothing can be waited for: if
 * the callback is one of this disk, or requests of this disk are in flight, VIX_E_OBJECT_IS_BUSY. */
VixError disk_wait(struct disk *d, struct err *err);

/** Whether the calling thread is within a completion callback of this disk. */
bool disk_in_callback(const struct disk *d);

/** Ends the process-wide pool of workers after its work; at VixDiskLib_Exit. */
void disk_async_shutdown(void);

#endif

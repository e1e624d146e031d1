/* SPDX-License-Identifier: BSD-3-Clause */
/* lease.h - a lease of a disk (vim/vim.h) that is held: renewed on a thread of its own, given back at the end; and its
 * map as runs on the LUNs of this machine, the same that the reader of VMFS tells. Any thread may call anything but
 * lease_release. Inside src/disk. */
#ifndef VIXDISK_DISK_LEASE_H
#define VIXDISK_DISK_LEASE_H

#include "disk/disk.h"
#include "vim/vim.h"
#include "vmfs/vmfs.h"

struct lease;

/** What a lease is taken of, and where its blocks may be. Texts and arrays are copied; session, LUNs and volume stay
 * the caller's, and live longer than the lease. */
struct lease_request {
    struct vim_session *session;
    const char *snapshot; /* bare reference */
    const char *path;
    bool read_only;
    uint64_t capacity; /* bytes */
    struct store *const *luns;
    const char *const *names; /* of the LUNs, as vSphere has them */
    size_t lun_count;
    const struct vmfs *volume; /* on them; NULL: it cannot be read, and no map may speak of it */
};

/** Takes a lease and its map. Any failure is one of the lease alone: the disk may be read without it. */
VixError lease_take(const struct lease_request *request, struct lease **ret_lease, struct err *err);

/** Gives it back. NULL is harmless. */
void lease_release(struct lease *l);

/** VIX_OK while the host has the blocks where the map says. VIX_E_HOST_CONNECTION_LOST once the lease was not renewed
 * in time, or was had again with another map: not a byte is to be read or written by it any more. */
VixError lease_check(struct lease *l, struct err *err);

/** The runs of the whole disk, without gaps: kind, and of VMFS_DATA the LUN (index into the request's) and the place.
 * shared: of a parent, or otherwise not to be written. */
const struct vmfs_run *lease_runs(const struct lease *l, size_t *ret_count);
/** The run at a place below the capacity. */
const struct vmfs_run *lease_run_at(const struct lease *l, uint64_t off);

/** A disk that is read by the runs of a lease, which is the caller's and has to live longer (disk_lease.c). */
VixError disk_lease_new(struct lease *l, struct disk **ret_disk, struct err *err);

/** What the lease was taken of. */
const struct lease_request *lease_of_what(const struct lease *l);
/** A value of the disk database, NULL if the host did not tell it; the lease's. */
const char *lease_value(const struct lease *l, const char *key);
/** All keys, "key\0key\0\0"; freed by the caller. *ret_len counts every NUL. */
VixError lease_keys(const struct lease *l, char **ret_keys, size_t *ret_len, struct err *err);

#endif

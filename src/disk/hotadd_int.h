/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd_int.h - shared by hotadd*.c, disk_hotadd.c and remote.c only: disks of a server that are attached to the
 * machine that this process runs in. */
#ifndef VIXDISK_DISK_HOTADD_INT_H
#define VIXDISK_DISK_HOTADD_INT_H

#include "disk/disk_hardware.h"
#include "disk/hostview.h"
#include "disk/hotadd_record.h"
#include "disk/remote_int.h"
#include "disk/scsi.h"

#define HOTADD_BUSY_MS VIM_BUSY_MS /* limit: ms that others may take to attach or detach theirs */

/* ---- hotadd_wait.c: from the attached disk to the device ---- */

/** What the server says of an attached disk. */
struct hotadd_want {
    char id[64]; /* "naa.6000c29..."; "" if it is not told */
    unsigned unit;
    uint64_t size; /* bytes */
};
struct hotadd_device {
    char address[48]; /* "2:0:3:0" */
    char name[32];    /* "sdb" */
    bool by_id;       /* the device itself says that it is the disk */
};

/** Waits for the device to appear; one that was there before is none. VIX_E_FAIL with what was seen. */
VixError hotadd_wait(const struct hostview *v, const struct hotadd_want *want, const struct scsi_disks *before,
                     unsigned max_ms, struct hotadd_device *ret_found, struct err *err);

/** Whether a device may be the disk: on a controller of VMware, as large, and of its name; a device that tells none
 * has to be where the server has put the disk, as far as the controller's driver keeps to that. */
bool hotadd_may_be(const struct hostview *v, const struct hotadd_want *want, const struct scsi_disk *d);

/** The name that a disk with this UUID has as a SCSI device; "" for none. */
void hotadd_id_of_uuid(const char *uuid, char *ret_id, size_t size);

/** Has the kernel forget a device, before its disk is detached. A device that has gone is no failure. */
void hotadd_forget_device(const struct hostview *v, const char *address);
void hotadd_wait_gone(const struct hostview *v, const char *address, unsigned max_ms);

/* ---- hotadd_leftover.c: what crashes have left ---- */

/** The name of a server in records: it is the same by whatever address it is reached. */
const char *hotadd_server_name(struct vim_session *s);

/** vim_detach_disk; a disk that is not attached is no failure. */
VixError hotadd_detach(struct vim_session *s, const char *proxy, int32_t key, const char *path, const char *uuid,
                       struct err *err);

/** Detaches a disk that an earlier process has left attached to proxy. VIX_E_FILE_ALREADY_LOCKED: it is no leftover,
 * another open disk has it. *ret_changed: the machine's hardware is another now. */
VixError hotadd_clear(const struct hotadd_folder *f, struct vim_session *s, const struct vim_vm *proxy,
                      const char *path, bool *ret_changed, struct err *err);

/** Detaches all that is left over of the disks of source. Counts what was detached and what is attached still. */
VixError hotadd_cleanup(struct vim_session *s, const char *source, unsigned device_ms, uint32_t *ret_cleaned,
                        uint32_t *ret_remaining, struct err *err);

/* ---- hotadd.c: attach and detach ---- */

/** A disk that is attached to this machine for as long as it is open. */
struct hotadd {
    struct remote *r;
    char *root; /* of the view */
    struct hostview view;
    char *proxy; /* reference of this machine */
    char *path;
    char *listed;                 /* path, as the server spells it; NULL: not known */
    struct hotadd_record *record; /* NULL: nothing is attached */
    int32_t key;                  /* of the device at the server; 0: not known */
    bool open;                    /* whether it is attached is not known, and may be so later only */
    struct hotadd_device device;  /* address "": it has not appeared */
};

/** Undoes it, and frees. VIX_E_OBJECT_IS_BUSY: the disk stays attached, and remembered. */
VixError hotadd_end(struct hotadd *h, struct err *err);

/* ---- disk_hotadd.c ---- */

/** Makes a disk of an attached one and its open device; these and the hardware are the disk's then, also on failure.
 * @flags of the open. */
VixError disk_hotadd_new(struct hotadd *h, struct store *device, struct disk_hardware *hardware, uint32_t flags,
                         struct disk **ret_disk, struct err *err);

#endif

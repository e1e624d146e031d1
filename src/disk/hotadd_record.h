/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd_record.h - what is attached to this machine, on disk: one small file for each attached disk, so that a later
 * process can detach what a crash has left. The process that has the disk open holds a lock on its file; a file without
 * one is left over. Everything that attaches or detaches is done under one lock of the folder, which is that of the
 * user: <tmpDirectory>/vixdisk-hotadd-<uid>, 0700. What is in the folder and is not a private file of the user is not
 * believed. Inside src/disk. */
#ifndef VIXDISK_DISK_HOTADD_RECORD_H
#define VIXDISK_DISK_HOTADD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hotadd_record {
    char *server; /* which server: its instance UUID, or "host:port" */
    char *proxy;  /* reference of the machine that the disk is attached to: this one */
    char *source; /* of the machine that the disk belongs to */
    char *path;   /* "[ds] dir/x.vmdk" */
    char *mode;   /* "independent_nonpersistent", "persistent" */
    char *uuid;   /* of the disk, as the server tells it; NULL: not told, or not known yet */
    int32_t key;  /* of the device; 0: not known, the crash came while it was being attached */
    char *name;   /* of the file within the folder */
    int fd;       /* the file; its lock is held, unless live */
    bool live;    /* another open disk has the lock */
};

/** The folder's lock, to be taken before anything else here. Waits for it up to max_ms: VIX_E_OBJECT_IS_BUSY. */
struct hotadd_folder {
    int folder, lock; /* descriptors; -1: none */
    char *path;
};
VixError hotadd_folder_lock(unsigned max_ms, struct hotadd_folder *ret_folder, struct err *err);
void hotadd_folder_unlock(struct hotadd_folder *f);

/** Writes a record, to stable storage; strings are copied. */
VixError hotadd_record_new(const struct hotadd_folder *f, const struct hotadd_record *what,
                           struct hotadd_record **ret_record, struct err *err);

/** Adds the key. */
VixError hotadd_record_set_key(struct hotadd_record *r, int32_t key, struct err *err);
/** Adds the UUID, by which the disk is known when its file gets another name. NULL, or too long: nothing is added. */
VixError hotadd_record_set_uuid(struct hotadd_record *r, const char *uuid, struct err *err);

/** The disk is detached: removes the file and frees. NULL is harmless. */
void hotadd_record_remove(const struct hotadd_folder *f, struct hotadd_record *r);

/** Frees; the file stays, and its lock goes. NULL is harmless. */
void hotadd_record_free(struct hotadd_record *r);

/** All records of the folder; those that are not live are locked. A file whose writing was cut short is removed. */
struct hotadd_records {
    struct hotadd_record **records;
    size_t count;
};
VixError hotadd_records_load(const struct hotadd_folder *f, struct hotadd_records *ret_records, struct err *err);
void hotadd_records_free(struct hotadd_records *records);

#endif

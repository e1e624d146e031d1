/* SPDX-License-Identifier: BSD-3-Clause */
/* store_record.h - the list of changes behind store_fault.c, and the building of a state from it. The caller keeps
 * threads apart. */
#ifndef VIXDISK_STORE_STORE_RECORD_H
#define VIXDISK_STORE_STORE_RECORD_H

#include "store/store_fault.h"

enum record_kind {
    RECORD_WRITE,
    RECORD_TRUNCATE,
    RECORD_GROW, /* to at least off + len */
    RECORD_PUNCH,
    RECORD_FLUSH,
    RECORD_CREATE,
    RECORD_RENAME,
    RECORD_LINK,
    RECORD_UNLINK,
    RECORD_SYNC_FOLDER
};

struct record_event {
    enum record_kind kind;
    uint64_t file; /* the number of the file: all but renames, removals and folders */
    uint64_t off;  /* RECORD_TRUNCATE: the length */
    uint64_t len;
    uint8_t *data;  /* of a write */
    char *path;     /* of a name or folder */
    char *new_path; /* of a rename or link */
};

struct record {
    struct record_event *events;
    size_t count;
    size_t room;
};

void record_done(struct record *r);

/** Adds an event; bytes (event->len of them, for a write) and texts are copied. */
VixError record_add(struct record *r, const struct record_event *event, struct err *err);

VixError record_replay(const struct record *r, size_t count, enum store_crash how, unsigned seed, struct store_fs *mem,
                       struct err *err);

void record_describe(const struct record_event *event, char *buf, size_t len);

#endif

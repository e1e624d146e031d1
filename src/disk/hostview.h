/* SPDX-License-Identifier: BSD-3-Clause */
/* hostview.h - the machine that this process runs on, as the transports that need its devices see it: /sys and /dev.
 * Nothing else in src/disk names either. The configuration may put another folder in the place of the root, so that a
 * test is a folder of plain files. What the machine says is looked at, never believed: sizes are limited. No state; any
 * thread. Inside src/disk. */
#ifndef VIXDISK_DISK_HOSTVIEW_H
#define VIXDISK_DISK_HOSTVIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"

struct hostview {
    const char *root; /* what stands before each path: "" is this machine */
};

#define HOSTVIEW_PATH_MAX 1024            /* limit: bytes of a path in /sys or /dev, with its root */
#define HOSTVIEW_FILE_MAX ((size_t)65536) /* limit: bytes of an attribute in /sys; more is not read */
#define HOSTVIEW_NAMES_MAX 65536u         /* limit: names in a folder of /sys or /dev; more is refused */

/** The machine that the configuration names. Its root is the configuration's. */
struct hostview hostview_here(void);

/** Whether it is this machine, and not the folder of a test. */
static inline bool hostview_is_real(const struct hostview *v)
{
    return v->root[0] == '\0';
}

/* Paths are absolute: "/sys/block". Codes are those of the system calls: a name that is not there is
 * VIX_E_FILE_NOT_FOUND. */

/** Whether a name exists; a symbolic link is followed. */
bool hostview_exists(const struct hostview *v, const char *path);

/** The bytes of an attribute, at most HOSTVIEW_FILE_MAX of them, and a NUL behind them. */
VixError hostview_read(const struct hostview *v, const char *path, char **ret_bytes, size_t *ret_len, struct err *err);

/** An attribute as text up to its first NUL, without white space at its ends. */
VixError hostview_read_text(const struct hostview *v, const char *path, char **ret_text, struct err *err);

/** An attribute that is a decimal number. */
VixError hostview_read_number(const struct hostview *v, const char *path, uint64_t *ret_number, struct err *err);

/** Writes to an attribute that is there. */
VixError hostview_write_text(const struct hostview *v, const char *path, const char *text, struct err *err);

/** Where a symbolic link leads, as it is written in it. */
VixError hostview_read_link(const struct hostview *v, const char *path, char **ret_target, struct err *err);

/** The names in a folder, without "." and "..", in ascending order. */
struct hostview_names {
    char **names;
    size_t count;
};
VixError hostview_list(const struct hostview *v, const char *path, struct hostview_names *ret_names, struct err *err);
void hostview_names_free(struct hostview_names *names); /* harmless for {0} */

/** Opens a block device past the page cache. @flags: STORE_WRITE, STORE_LOCK, STORE_CLAIM. Under a root of a test a
 * regular file is a device. */
VixError hostview_open_block(const struct hostview *v, const char *path, uint32_t flags, struct store **ret_store,
                             struct err *err);

/** Asks a SCSI device for a page of its INQUIRY data (SG_IO), without reading what is on it; freed by the caller. @path
 * "/dev/sdb". What is no SCSI device fails. Under a root of a test the page is the file "/inquiry/sdb.83". */
VixError hostview_inquiry(const struct hostview *v, const char *path, uint8_t page, char **ret_bytes, size_t *ret_len,
                          struct err *err);

/* ---- waiting ---- */

/** Milliseconds of a clock that only goes on. */
unsigned hostview_now_ms(void);
void hostview_pause_ms(unsigned ms);

#endif

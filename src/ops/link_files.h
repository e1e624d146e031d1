/* SPDX-License-Identifier: BSD-3-Clause */
/* link_files.h - a link seen as a set of files: its descriptor and the files that the descriptor names, whether they
 * exist or not. No extent is opened, so that also damaged disks can be removed. For what moves and removes disks. */
#ifndef VIXDISK_OPS_LINK_FILES_H
#define VIXDISK_OPS_LINK_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/descriptor.h"

struct link_files {
    char *path; /* of the descriptor */
    struct descriptor *desc;
    bool embedded;               /* the descriptor lies in a sparse extent */
    uint64_t desc_off, desc_max; /* embedded: its place and size in bytes */
    uint32_t mode;               /* permission bits of the descriptor's file */
    char **extents; /* a path for each extent line; NULL: no file, a device, or the descriptor's own file */
    char *track;    /* path of the change-tracking file, or NULL */
    bool outside;   /* some name is not that of a file in the descriptor's own folder */
};

/** Reads the descriptor. VIX_E_FILE_NOT_FOUND; VIX_E_DISK_INVALIDDISK if the file is none; codes of the parsers. */
VixError link_files_load(struct store_fs *fs, const char *path, struct link_files *ret_lf, struct err *err);
void link_files_done(struct link_files *lf);

/** Whether a name in a descriptor is that of a file beside it. What has a folder in it may lead anywhere: upwards, or
 * over a symbolic link, which may come at any time. Such files are not removed or moved unless the configuration allows
 * it. */
bool link_files_is_beside(const char *name);

/** VIX_E_INCORRECT_FILE_TYPE, with the name of the disk behind it, if path is a symbolic link: what moves or removes
 * the files beside a descriptor would take the link for it and part the disk from its data. Links to folders do not
 * matter.
 */
VixError link_files_check_no_symlink(struct store_fs *fs, const char *path, struct err *err);

/** Whether one of its files is open for writing somewhere: VIX_E_FILE_ALREADY_LOCKED. Files that are missing or are no
 * regular files do not matter. */
VixError link_files_check_unused(struct store_fs *fs, const struct link_files *lf, struct err *err);

/** Whether no other descriptor in the folder names one of its extents: VIX_E_FILE_ACCESS_ERROR (children.c). */
VixError link_files_check_unshared(struct store_fs *fs, const struct link_files *lf, struct err *err);

/** Removes the files that belong to the descriptor, but not the descriptor: missing ones and devices are passed over.
 */
VixError link_files_remove_extents(struct store_fs *fs, const struct link_files *lf, struct err *err);

/** Gives all files of a link names after new_path; the descriptor then is at new_path. Its old names are gone.
 * VIX_E_FILE_ALREADY_EXISTS if a new name is taken. @lf its descriptor is changed on the way. @replace: the descriptor
 * (or single file) takes the place of what is at new_path; new_path may then be lf->path, and the other files follow
 * its name. */
VixError link_files_move(struct store_fs *fs, struct link_files *lf, const char *new_path, bool replace,
                         struct err *err);

/** Puts text into a file that takes the place of path, all or nothing; the folder is not synced yet. @like: the file
 * whose owner and rights it gets, @mode its permission bits. @replace: over an existing one; else
 * VIX_E_FILE_ALREADY_EXISTS. */
VixError link_files_write_text(struct store_fs *fs, const char *path, const char *text, size_t len, const char *like,
                               uint32_t mode, bool replace, struct err *err);

/** path with a tail that no other file has ("x.part-1a2b3c4d"), .vmdk kept at the end; freed by the caller. */
char *link_files_temp_name(const char *path, struct err *err);

#endif

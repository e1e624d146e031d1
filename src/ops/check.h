/* SPDX-License-Identifier: BSD-3-Clause */
/* check.h - checks the files of a disk against the rules of their formats, and repairs what can be repaired without the
 * risk of losing anything. Files are read as they are: nothing that an ordinary open refuses is refused here. */
#ifndef VIXDISK_OPS_CHECK_H
#define VIXDISK_OPS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

#define CHECK_REPAIR (1u << 0)     /* take the files for writing and repair */
#define CHECK_DEEP (1u << 1)       /* inflate every compressed grain */
#define CHECK_CHAIN (1u << 2)      /* the files of the parents too */
#define CHECK_OUTSIDE_OK (1u << 3) /* files outside of the descriptor's folder */

#define CHECK_NOWHERE UINT64_MAX

/** One problem, as it is told. All texts are valid during the call. */
struct check_report {
    unsigned code;       /* number of problems.def */
    const char *name;    /* for programs */
    const char *message; /* what it is in general */
    const char *text;    /* what was found here, with figures */
    const char *file;
    uint64_t file_off;   /* bytes, CHECK_NOWHERE: of the file as a whole */
    uint64_t start, len; /* bytes of the disk that it is about; len 0: none, or not known */
    uint64_t count;      /* problems of the same kind, one behind the other on the disk, that are told as one */
    bool note;           /* harms nobody */
    bool repairable;
    bool repaired;
};

/** What a check has seen. */
struct check_summary {
    uint32_t links, files;
    uint64_t problems;     /* notes are not counted here */
    uint64_t repaired;     /* of problems and notes */
    uint64_t unrepairable; /* of problems */
    uint64_t withheld;     /* of problems: left alone, as something in the same file cannot be read or decided */
    uint64_t notes;
    uint64_t untold; /* counted above, but too many to be told one by one */
    uint64_t grains, allocated_grains;
    uint64_t leaked_bytes;
};

/** Told of each problem, file by file, after the file was repaired. false stops the check: VIX_E_CANCELLED. */
typedef bool check_func(void *ctx, const struct check_report *report);

/** Checks the link at path, its files and its place in the chain. VIX_OK: sound, or all that was found is repaired;
 * VIX_E_DISK_NEEDSREPAIR: all problems can be repaired; VIX_E_DISK_CANTREPAIR: some cannot. Other codes: the check
 * itself could not be done. @ret_summary is set in every case. Takes the lock of each file while it is looked at:
 * exclusive for a repair, else shared. Memory: at most 64 MiB. */
VixError ops_check(struct store_fs *fs, const char *path, uint32_t flags, check_func *func, void *ctx,
                   struct check_summary *ret_summary, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* rebuild.h - what chain_rebuild.c and chain_grow.c share. Included by no one else. */
#ifndef VIXDISK_VMDK_REBUILD_H
#define VIXDISK_VMDK_REBUILD_H

#include "vmdk/chain.h"

/** One sparse extent that is written anew. */
struct rebuild {
    struct chain *c;
    size_t index;                   /* of the extent in the top link */
    const struct descriptor *desc;  /* what a monolithic file shall embed */
    uint64_t nsectors;              /* capacity of the new file, at least that of the old one */
    const struct rebuild_params *p; /* or NULL */
};

/** VIX_E_NOT_SUPPORTED with the reason if the extent cannot be rebuilt. */
VixError rebuild_check(const struct chain *c, size_t index, struct err *err);

/** Makes the new file under a temporary name, complete and on stable storage. *ret_path freed, *ret_store closed by the
 * caller. On failure nothing is left. */
VixError rebuild_file(const struct rebuild *r, char **ret_path, struct store **ret_store, struct err *err);

/** Whether the file is an extent of that kind without content that a grow has left: nothing is lost with it.
 * grow_leftover.c. */
bool grow_is_leftover(struct store_fs *fs, const char *path, bool sparse);

/** The path of the extent's file. */
const char *rebuild_target(const struct chain *c, size_t index);

#endif

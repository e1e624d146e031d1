/* SPDX-License-Identifier: BSD-3-Clause */
/* clone_params.h - what a copy of a disk takes over from it besides its sectors. Inside src/ops. */
#ifndef VIXDISK_OPS_CLONE_PARAMS_H
#define VIXDISK_OPS_CLONE_PARAMS_H

#include "disk/disk.h"
#include "vmdk/create.h"

struct clone_params {
    struct create_params p;
    char **pairs; /* what p.ddb points to */
};

/** The parameters of a copy: those that were asked for, completed from src. Capacity is the source's; no parent; of the
 * disk database what describes the machine is kept, what identifies the disk or its storage is not. @asked->ddb, if it
 * is not NULL, is taken instead of the source's. Freed by clone_params_done. */
VixError clone_params_make(struct disk *src, const struct create_params *asked, struct clone_params *ret_params,
                           struct err *err);
void clone_params_done(struct clone_params *params);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* chain_int.h - what chain.c and chain_open.c share. Included by no one else. */
#ifndef VIXDISK_VMDK_CHAIN_INT_H
#define VIXDISK_VMDK_CHAIN_INT_H

#include "vmdk/chain.h"

/** Tells the extents of the top link where the sectors below theirs come from: after an open, and after an attach. */
void chain_connect_top(struct chain *c);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_grains.h - reads the compressed grains of a streamOptimized file: record by record, straight into the reader's
 * buffer where a whole grain is wanted, else through a small cache of inflated grains. A reader that goes through the
 * disk in order on one thread gets grains inflated ahead of it on other threads. Any thread. */
#ifndef VIXDISK_VMDK_STREAM_GRAINS_H
#define VIXDISK_VMDK_STREAM_GRAINS_H

#include <stdint.h>

#include "base/err.h"
#include "vmdk/stream_file.h"

struct stream_grains;

/** @threads that read-ahead may use; 1: none. @f is borrowed. */
VixError stream_grains_new(struct stream_file *f, unsigned threads, struct stream_grains **ret_g, struct err *err);

/** Waits for read-ahead, frees. No read may be running. NULL is harmless. */
void stream_grains_free(struct stream_grains *g);

/** Waits until nothing is being read ahead, and keeps no grain: those that are absent were read ahead as zeros, and may
 * be written now. No read may be running. */
void stream_grains_forget(struct stream_grains *g);

/** Reads sectors that lie within the capacity of the header; absent grains are zeros. @live as of stream_file_entries:
 * with it, nothing is read ahead. A damaged record: VIX_E_DISK_NEEDSREPAIR with grain, offset and what was found; buf
 * is then not defined. */
VixError stream_grains_read(struct stream_grains *g, const struct stream_live *live, uint64_t sector, uint64_t nsectors,
                            void *buf, struct err *err);

#endif

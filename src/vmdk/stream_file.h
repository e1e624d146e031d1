/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_file.h - a streamOptimized file as it lies: which header counts (front or footer), where the directory is, and
 * what the tables say of a grain. Keeps a bounded number of table blocks in memory. Any thread may look up; open and
 * close are the owner's. */
#ifndef VIXDISK_VMDK_STREAM_FILE_H
#define VIXDISK_VMDK_STREAM_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/sparse_header.h"

#define STREAM_TABLE_CACHE_DEFAULT (UINT64_C(32) << 20) /* bytes */
#define STREAM_BLOCK_ENTRIES 512u                       /* of one block of the cache: the most that one lookup gives */

/** The tables of a writer at work; they count in the place of the file's directory. */
struct stream_live {
    const uint32_t *gd;  /* sector of each finished table, 0: none */
    uint64_t open_table; /* the table being filled, UINT64_MAX: none */
    const uint32_t *open_gt;
};

struct stream_table_cache;

struct stream_file {
    struct store *store;      /* borrowed */
    struct sparse_header h;   /* of the footer, where the front header points there */
    bool markers;             /* grains begin with a marker; else with their length alone */
    bool footer_form;         /* tables behind the grains */
    uint64_t footer_sector;   /* footer_form: where the footer lies */
    atomic_uint_fast64_t len; /* of the file, bytes, as last seen */
    struct stream_table_cache *cache;
};

/** Reads the header, finds the footer, checks that the directory lies inside the file. @cache_bytes 0: the default.
 * Codes of sparse_header_parse; VIX_E_DISK_INVALIDDISK for a file that is not compressed; VIX_E_DISK_NEEDSREPAIR where
 * the footer is missing (cut short, or still being written) or the directory lies outside. */
VixError stream_file_open(struct store *store, uint64_t cache_bytes, struct stream_file **ret_f, struct err *err);

/** NULL is harmless; the store stays open. */
void stream_file_close(struct stream_file *f);

/** The table entries of grains from grain on: at least one, at most max, as many as one block of a table holds; grain
 * lies within the disk. Entry 0: absent; 1: zeros (only where the header allows that); else the sector of the record,
 * checked to begin inside the file; those before one that is not are told without it. @live NULL: the file's own
 * tables. */
VixError stream_file_entries(struct stream_file *f, const struct stream_live *live, uint64_t grain, uint32_t max,
                             uint32_t *ret_entries, uint32_t *ret_count, struct err *err);

/** Reads the whole directory into new memory; freed by the caller. VIX_E_DISK_NOTSUPPORTED if it has more than
 * max_tables entries. */
VixError stream_file_load_gd(struct stream_file *f, uint64_t max_tables, uint32_t **ret_gd, struct err *err);

/** Forgets cached blocks: the file's tables are about to be overwritten. */
void stream_file_forget_tables(struct stream_file *f);

#endif

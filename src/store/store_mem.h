/* SPDX-License-Identifier: BSD-3-Clause */
/* store_mem.h - the inside of files in memory: store_mem_file.c (bytes), store_mem.c (names), and what the recorder of
 * store_fault.c needs to build a state again. Not for other folders. */
#ifndef VIXDISK_STORE_STORE_MEM_H
#define VIXDISK_STORE_STORE_MEM_H

#include <pthread.h>

#include "store/store.h"

#define MEM_PAGE ((uint64_t)65536)

struct mem_page {
    uint64_t index; /* bytes index * MEM_PAGE and following */
    uint8_t *data;
};

/** A file: pages that were written, sorted; everything else reads as zeros. */
struct mem_file {
    pthread_rwlock_t lock; /* size, pages */
    uint64_t number;       /* never used twice in one file system */
    uint64_t size;
    struct mem_page *pages;
    size_t npages;
    size_t room;
    uint32_t mode;
    /* The file system's mutex protects these. */
    unsigned users; /* names and open stores */
    unsigned readers;
    bool writer;
};

/* ---- store_mem_file.c ---- */

struct mem_file *mem_file_new(uint64_t number, uint32_t mode, struct err *err);
void mem_file_free(struct mem_file *file);

/** A file with the same number, bytes and mode, without users. */
struct mem_file *mem_file_clone(struct mem_file *file, struct err *err);

/** Makes a store of a file; release(ctx, file) is called when it is closed. */
VixError mem_store_new(struct mem_file *file, const char *path, uint32_t flags,
                       void (*release)(void *ctx, struct mem_file *file, uint32_t flags), void *ctx,
                       struct store **ret_store, struct err *err);

/** The file of such a store. */
struct mem_file *mem_store_file(struct store *s);

/* ---- store_mem.c ---- */

/** Opens a named file by its number for writing; makes one without names if there is none. */
VixError store_mem_open_number(struct store_fs *fs, uint64_t number, struct store **ret_store, struct err *err);

/** Gives the file of a store a (further) name, in the place of what has it. */
VixError store_mem_link(struct store_fs *fs, struct store *s, const char *path, struct err *err);

#endif

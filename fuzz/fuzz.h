/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz.h - what the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: with libFuzzer's main it
 * fuzzes, with replay.c's it runs kept inputs. What must hold is asserted; a failure aborts, which both report. */
#ifndef VIXDISK_FUZZ_FUZZ_H
#define VIXDISK_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Ends the process where something does not hold. */
#define FUZZ_ASSERT(condition, ...)                                                                                    \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                      \
            (void)fprintf(stderr, __VA_ARGS__);                                                                        \
            (void)fputc('\n', stderr);                                                                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- inputs that are made of pieces (pieces.c) ---- */

/** A run of bytes of a file, or a message: number of the file (1 byte), place (4), length (4), bytes. What no piece
 * covers is zeros, so that an image of any size is a small input. */
struct piece {
    uint8_t file;
    uint32_t off;
    uint32_t len;
    const uint8_t *data;
};

#define PIECE_HEADER 9u
#define PIECES_MAX 128u
#define PIECE_OFF_MAX (128u << 20)

/** Takes an input apart: at most PIECES_MAX pieces; the last one may be cut short. */
size_t pieces_read(const uint8_t *data, size_t size, struct piece pieces[PIECES_MAX]);

/** A file system in memory with the files that the pieces fill; those of other numbers count modulo count. */
struct store_fs *pieces_files(const uint8_t *data, size_t size, const char *const *names, unsigned count);

/* ---- disks (disks.c) ---- */

#define VIEW_SECTORS 512u

/** Names of files for disks of several: descriptor first. */
#define CHAIN_FILES 8u
extern const char *const chain_names[CHAIN_FILES];

/** The first sectors of a disk. */
struct view {
    VixError code; /* of opening and reading all that a look takes */
    uint64_t capacity;
    uint64_t nsectors; /* of bytes */
    uint8_t *bytes;    /* freed by the owner */
    char why[ERR_TEXT_MAX];
};

/** Opens a disk and its parents, walks its map, reads its beginning, its end, and some of each run. */
void disk_look(struct store_fs *fs, const char *path, struct view *ret_view);

/** The code of a check; the file system stays as it is. */
VixError disk_check(struct store_fs *fs, const char *path);
/** The same, and how many things it found worth a remark that are no problems. */
VixError disk_check_remarks(struct store_fs *fs, const char *path, uint64_t *ret_remarks);

/** What a check calls sound must have been read, unless it is encrypted, or an extent without its descriptor. */
void disk_must_read(bool sound, const struct view *view);

/** Opens, maps, reads and checks a disk, and writes to a copy: what a check calls sound can be read, reads back what
 * was written and otherwise as before, and is sound afterwards. */
void disk_exercise(struct store_fs *fs, const char *path);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_disk.h - a disk of one extent that comes out of an input, under a descriptor that fits it. */
#ifndef VIXDISK_FUZZ_EXTENT_DISK_H
#define VIXDISK_FUZZ_EXTENT_DISK_H

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"

/** Files: 0 the extent, 1 the descriptor; without one the input's bytes, @capacity_at (@width) of the extent tell how
 * long the extent is. */
static inline void exercise_extent(const uint8_t *data, size_t size, const char *type, const char *word,
                                   uint64_t capacity_at, unsigned width)
{
    static const char *const names[] = {"x-extent.vmdk", "x.vmdk"};
    struct store_fs *fs = pieces_files(data, size, names, 2);
    struct store *s = NULL;
    uint8_t bytes[8] = {0};
    char text[512];

    if (fs->ops->open(fs, names[0], STORE_READ, &s, NULL) == VIX_OK) {
        (void)store_read(s, bytes, width, capacity_at, NULL);
        store_close(s);
    }
    if (!fs->ops->exists(fs, names[1]) && fs->ops->create(fs, names[1], 0, 0600, &s, NULL) == VIX_OK) {
        int len = snprintf(text, sizeof text,
                           "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"%s\"\n"
                           "RW %" PRIu64 " %s \"%s\"\n",
                           type, get_le64(bytes), word, names[0]);
        (void)store_write(s, text, (uint64_t)len, 0, NULL);
        store_close(s);
    }
    disk_exercise(fs, names[1]);
    store_fs_mem_free(fs);
}

#endif

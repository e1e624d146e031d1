/* SPDX-License-Identifier: BSD-3-Clause */
/* Several files: descriptors, extents, parents. Besides reading and writing, what is done to whole disks: each
 * operation works on a copy, and a sound disk reads the same afterwards. */
#include "fuzz.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "ops/ops.h"

#define OPERATION_MAX_SECTORS (UINT64_C(128) << 11) /* longer disks would only take longer */

static const struct ops_progress no_progress;

/* Each leaves its disk at *path; another path where it goes elsewhere. */
typedef VixError operation(struct store_fs *fs, const char **path);

static VixError rename_disk(struct store_fs *fs, const char **path)
{
    VixError code = ops_rename(fs, *path, "y.vmdk", NULL);

    if (code == VIX_OK) {
        *path = "y.vmdk";
    }
    return code;
}

static VixError rework(struct store_fs *fs, const char *path, bool shrink)
{
    struct disk *d = NULL;
    VixError code = disk_open_local(fs, path, 0, NULL, &d, NULL);

    if (code == VIX_OK) {
        code = shrink ? ops_shrink(d, no_progress, NULL) : ops_defragment(d, no_progress, NULL);
        VixError closed = disk_close(d, NULL);
        code = code != VIX_OK ? code : closed;
    }
    return code;
}

static VixError shrink_disk(struct store_fs *fs, const char **path)
{
    return rework(fs, *path, true);
}

static VixError defragment_disk(struct store_fs *fs, const char **path)
{
    return rework(fs, *path, false);
}

static VixError commit_disk(struct store_fs *fs, const char **path)
{
    static char parent[4096];
    struct chain *c = NULL;

    if (chain_open(fs, *path, CHAIN_READ, NULL, &c, NULL) != VIX_OK) {
        return VIX_E_FAIL;
    }
    bool has_parent = c->link_count > 1;
    if (has_parent) {
        (void)snprintf(parent, sizeof parent, "%s", c->links[1]->path);
    }
    (void)chain_close(c, NULL);
    VixError code = has_parent ? ops_commit(fs, *path, no_progress, NULL) : VIX_E_FAIL;
    if (code == VIX_OK) {
        *path = parent;
    }
    return code;
}

static void try_operation(struct store_fs *fs, const struct view *before, const char *what, operation *run)
{
    struct store_fs *copy = store_fs_mem_clone(fs, NULL);
    const char *path = chain_names[0];
    struct view after;

    FUZZ_ASSERT(copy != NULL, "no memory");
    if (run(copy, &path) == VIX_OK) {
        disk_look(copy, path, &after);
        FUZZ_ASSERT(after.code == VIX_OK, "%s: cannot be read afterwards: %s", what, after.why);
        FUZZ_ASSERT(after.capacity == before->capacity, "%s: %" PRIu64 " sectors", what, after.capacity);
        FUZZ_ASSERT(memcmp(after.bytes, before->bytes, after.nsectors * SECTOR_SIZE) == 0, "%s: other bytes", what);
        free(after.bytes);
        VixError check = disk_check(copy, path);
        FUZZ_ASSERT(check == VIX_OK, "%s: not sound afterwards: %d", what, (int)check);
    }
    store_fs_mem_free(copy);
}

static void try_grow(struct store_fs *fs, const struct view *before)
{
    struct store_fs *copy = store_fs_mem_clone(fs, NULL);
    struct view after;

    FUZZ_ASSERT(copy != NULL, "no memory");
    if (ops_grow(copy, chain_names[0], before->capacity + 2048, true, NULL) == VIX_OK) {
        disk_look(copy, chain_names[0], &after);
        FUZZ_ASSERT(after.code == VIX_OK && after.capacity == before->capacity + 2048, "grown: %s", after.why);
        FUZZ_ASSERT(memcmp(after.bytes, before->bytes, before->nsectors * SECTOR_SIZE) == 0, "grown: other bytes");
        free(after.bytes);
    }
    (void)ops_unlink(copy, chain_names[0], NULL);
    store_fs_mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_fs *fs = pieces_files(data, size, chain_names, CHAIN_FILES);
    struct view before;

    disk_exercise(fs, chain_names[0]);
    disk_look(fs, chain_names[0], &before);
    if (before.code == VIX_OK && before.capacity <= OPERATION_MAX_SECTORS && disk_check(fs, chain_names[0]) == VIX_OK) {
        try_operation(fs, &before, "rename", rename_disk);
        try_operation(fs, &before, "shrink", shrink_disk);
        try_operation(fs, &before, "defragment", defragment_disk);
        try_operation(fs, &before, "commit", commit_disk);
        try_grow(fs, &before);
    }
    free(before.bytes);
    store_fs_mem_free(fs);
    return 0;
}

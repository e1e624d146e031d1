/* SPDX-License-Identifier: BSD-3-Clause */
/* files_of.c - whether a file is one of those that an open disk reads from: by what it is, not by its name. */
#include "base/cleanup.h"
#include "ops/ops.h"
#include "vmdk/link.h"

static bool same_file(const struct store *a, const struct store *b)
{
    return a != NULL && a->dev == b->dev && a->ino == b->ino;
}

/** Whether s is the link's change-tracking file, which is not open. */
static bool is_track_of(struct link *l, const struct store *s)
{
    char *found = NULL, *found_real = NULL;
    struct store *track = NULL;
    SCOPED_LOCK(&l->meta_lock);

    if (l->desc->change_track_path == NULL ||
        link_find_named(l->fs, l->path, l->desc, l->desc->change_track_path, "change-tracking file", true, &found,
                        &found_real, NULL) != VIX_OK) {
        return false;
    }
    CLEANUP_FREE char *path = found;
    CLEANUP_FREE char *real = found_real;
    if (l->fs->ops->open(l->fs, real, STORE_READ, &track, NULL) != VIX_OK) {
        return false;
    }
    bool same = same_file(track, s);
    store_close(track);
    return same;
}

static bool is_of_link(struct link *l, const struct store *s)
{
    if (same_file(l->store, s)) {
        return true;
    }
    for (size_t i = 0; i < l->extent_count; i++) {
        if (same_file(l->extents[i].store, s)) {
            return true;
        }
    }
    return is_track_of(l, s);
}

bool ops_is_file_of(struct store_fs *fs, struct disk *d, const char *path)
{
    const struct chain *chain = disk_local_chain(d);
    struct store *s = NULL;

    if (fs->ops->open(fs, path, STORE_READ | STORE_DEVICE_OK, &s, NULL) != VIX_OK) {
        return false;
    }
    bool found = same_file(disk_raw_store(d), s);
    for (size_t i = 0; chain != NULL && i < chain->link_count && !found; i++) {
        found = is_of_link(chain->links[i], s);
    }
    store_close(s);
    return found;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* commit.c - merges a child into its parent. The child keeps hiding what is written to the parent until the parent is
 * complete and on stable storage, and the parent keeps its content ID as long as the child is there: so the chain reads
 * the same at every moment, and after a crash the merge is simply done again. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/link_files.h"
#include "ops/ops.h"
#include "ops/walk.h"

#define PIECE_SECTORS 2048u /* 1 MiB at a time */

struct commit {
    struct store_fs *fs;
    const char *child_path;
    char *parent_path;
    struct chain *child;  /* single link, for writing: nobody else has it */
    struct chain *parent; /* its chain, for writing, content ID kept */
    struct progress_meter meter;
};

static VixError refuse_with_other_child(const struct commit *m, struct err *err)
{
    char *other = NULL;

    VixError code = ops_find_child(m->fs, m->parent_path, m->child_path, &other, err);
    if (code == VIX_OK && other != NULL) {
        code = err_set(err, VIX_E_DISK_PARTIALCHAIN, "%s is the parent of %s too, which would be spoilt by the merge",
                       m->parent_path, other);
    }
    free(other);
    return code;
}

/** A child of the child would lose its parent. */
static VixError refuse_with_grandchild(const struct commit *m, struct err *err)
{
    char *other = NULL;

    VixError code = ops_find_child(m->fs, m->child_path, NULL, &other, err);
    if (code == VIX_OK && other != NULL) {
        code =
            err_set(err, VIX_E_DISK_PARTIALCHAIN, "%s is the parent of %s: merge that one first", m->child_path, other);
    }
    free(other);
    return code;
}

static VixError open_both(struct commit *m, struct err *err)
{
    VixError code = link_files_check_no_symlink(m->fs, m->child_path, err);

    if (code == VIX_OK) {
        code = refuse_with_grandchild(m, err);
    }
    if (code == VIX_OK) {
        code = chain_open(m->fs, m->child_path, disk_local_chain_flags(VIXDISKLIB_FLAG_OPEN_SINGLE_LINK), NULL,
                          &m->child, err);
    }
    if (code == VIX_OK) {
        code = chain_parent_path(m->child, &m->parent_path, err);
    }
    if (code == VIX_OK) {
        code = refuse_with_other_child(m, err);
    }
    if (code == VIX_OK) {
        code = chain_open(m->fs, m->parent_path, disk_local_chain_flags(0) | CHAIN_KEEP_CID, NULL, &m->parent, err);
    }
    if (code == VIX_OK && chain_is_ordered(m->parent)) {
        code = err_set(err, VIX_E_DISK_PARENT_NOTALLOWED, "%s is a stream, which is written only once", m->parent_path);
    }
    return code == VIX_OK ? chain_can_attach(m->parent, m->child, err) : code;
}

static VixError copy_down(struct commit *m, struct err *err)
{
    CLEANUP_FREE uint8_t *buf = alloc_aligned(4096, (size_t)PIECE_SECTORS * SECTOR_SIZE, err);
    VixError code = buf != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint64_t sector = 0; code == VIX_OK && sector < m->child->capacity;) {
        struct chain_run run;
        code = chain_map(m->child, sector, m->child->capacity - sector, EXTENT_MAP_STATUS, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        uint64_t n = run.nsectors;
        if (run.kind != RUN_ABSENT) {
            n = min_u64(n, PIECE_SECTORS - sector % PIECE_SECTORS);
            code = chain_read(m->child, sector, n, buf, err);
            if (code == VIX_OK) {
                code = chain_write(m->parent, sector, n, buf, err);
            }
        }
        sector += n;
        if (code == VIX_OK) {
            code = meter_tell(&m->meter, sector * SECTOR_SIZE, err);
        }
    }
    return code == VIX_OK ? chain_flush(m->parent, err) : code;
}

/** From the moment at which the descriptor has another name the child is no disk any more, and what is left of it, if
 * this is cut short, can be told by that name and removed as a disk is. */
static VixError remove_under(struct commit *m, const char *temp_path, struct err *err)
{
    VixError code = m->fs->ops->rename_new(m->fs, m->child_path, temp_path, err);

    if (code == VIX_OK) {
        code = m->fs->ops->sync_folder(m->fs, m->child_path, err);
    }
    if (code == VIX_OK) {
        code = chain_renew_cid(m->parent, err); /* other children, elsewhere, must notice */
    }
    return code;
}

/** A child without all of its extents must not be found, nor extents without a descriptor that tells of them. */
static VixError remove_child(struct commit *m, struct err *err)
{
    struct link_files lf;
    CLEANUP_FREE char *temp_path = link_files_temp_name(m->child_path, err);
    VixError code = temp_path != NULL ? link_files_load(m->fs, m->child_path, &lf, err) : VIX_E_OUT_OF_MEMORY;

    if (code != VIX_OK) {
        return code;
    }
    code = remove_under(m, temp_path, err);
    if (code == VIX_OK && !lf.outside) {
        code = link_files_remove_extents(m->fs, &lf, err);
    }
    if (code == VIX_OK) {
        code = m->fs->ops->unlink(m->fs, temp_path, err);
    }
    if (code == VIX_OK) {
        code = m->fs->ops->sync_folder(m->fs, temp_path, err);
    }
    link_files_done(&lf);
    return code;
}

VixError ops_commit(struct store_fs *fs, const char *child_path, struct ops_progress progress, struct err *err)
{
    struct commit m = {.fs = fs, .child_path = child_path};

    VixError code = open_both(&m, err);
    if (code == VIX_OK) {
        meter_init(&m.meter, progress, m.child->capacity * SECTOR_SIZE);
        code = copy_down(&m, err);
    }
    if (code == VIX_OK) {
        code = remove_child(&m, err);
    }
    VixError closed = chain_close(m.child, NULL);
    closed = chain_close(m.parent, code == VIX_OK ? err : NULL);
    free(m.parent_path);
    if (code == VIX_OK && closed == VIX_OK) {
        closed = meter_end(&m.meter, err);
    }
    return code != VIX_OK ? code : closed;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* convert.c - a copy of a disk as a new file or set of files. It is made under a temporary name beside its place
 * ("x.part-1a2b3c4d.vmdk") and takes its name when it is complete and on stable storage, so at no moment does a
 * half-made disk stand where a whole one is expected. A disk that is replaced stays until then; only between the moment
 * in which the new descriptor takes its place and the removal of its extents do both take space under their names. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "ops/clone_params.h"
#include "ops/convert.h"
#include "ops/copy.h"
#include "ops/link_files.h"
#include "ops/ops.h"

#define RAW_UNIT 8u /* sectors: in raw bytes zeros are left out in blocks of 4 KiB */

struct convert {
    struct store_fs *fs;
    struct disk *src;
    const struct convert_target *target;
    struct progress_meter meter;
    struct clone_params clone;
    char *final_path; /* without symbolic links if it exists */
    char *temp_path;
    bool replaces; /* something is at final_path */
    uint32_t mode; /* permission bits of new files: those of what is replaced; 0: the usual ones */
    bool has_old;  /* and it is a VMDK */
    struct link_files old;
};

/* ---- what is there already ---- */

static bool belongs_to(const struct link_files *lf, const char *path)
{
    for (size_t i = 0; i < lf->desc->extent_count; i++) {
        if (lf->extents[i] != NULL && strcmp(lf->extents[i], path) == 0) {
            return true;
        }
    }
    return strcmp(lf->path, path) == 0;
}

static VixError check_not_of_source(const struct convert *c, const char *path, struct err *err)
{
    if (path == NULL || !ops_is_file_of(c->fs, c->src, path)) {
        return VIX_OK;
    }
    if (strcmp(path, c->target->path) == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: is a file of the source, which cannot be the target too", path);
    }
    return err_set(err, VIX_E_INVALID_ARG, "%s: names %s, a file of the source, which would go with what is replaced",
                   c->target->path, path);
}

/** The files of what is replaced go, unless they are elsewhere: so none of them may be the source's, as those that a
 * copy of its descriptor names are. */
static VixError check_old_extents(const struct convert *c, struct err *err)
{
    bool stay = c->old.outside;
    VixError code = stay ? VIX_OK : check_not_of_source(c, c->old.track, err);

    for (size_t i = 0; i < c->old.desc->extent_count && code == VIX_OK && !stay; i++) {
        code = check_not_of_source(c, c->old.extents[i], err);
    }
    if (code == VIX_OK && !stay) {
        code = link_files_check_unshared(c->fs, &c->old, err);
    }
    return code == VIX_OK ? link_files_check_unused(c->fs, &c->old, err) : code;
}

/** What is replaced must be a regular file that nobody writes to, and have no file in common with the source. */
static VixError look_at_old(struct convert *c, struct err *err)
{
    struct store *s;
    VixError code = c->fs->ops->resolve(c->fs, c->target->path, &c->final_path, err);

    if (code != VIX_OK) {
        return code;
    }
    c->replaces = true;
    code = c->fs->ops->open(c->fs, c->final_path, STORE_READ | STORE_LOCK, &s, err);
    if (code != VIX_OK) {
        return code;
    }
    c->mode = s->mode;
    store_close(s);
    c->has_old = link_files_load(c->fs, c->final_path, &c->old, NULL) == VIX_OK;
    return c->has_old ? check_old_extents(c, err) : VIX_OK;
}

/** Files that are in the way and do not belong to the disk that is replaced. */
static VixError check_names(struct convert *c, struct err *err)
{
    char **names = NULL;
    VixError code = vmdk_create_names(c->final_path, c->target->params.type, c->src->capacity, &names, err);

    for (char **name = names; code == VIX_OK && *name != NULL; name++) {
        bool ours = (c->replaces && name == names) || (c->has_old && belongs_to(&c->old, *name));
        if (!ours && c->fs->ops->exists(c->fs, *name)) {
            code = err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: already exists", *name);
        }
    }
    chain_files_free(names);
    return code;
}

static VixError look_around(struct convert *c, struct err *err)
{
    const struct convert_target *t = c->target;
    VixError code = VIX_OK;

    if (t->path[0] == '\0' || store_path_base(t->path)[0] == '\0') {
        return err_set(err, VIX_E_FILE_NAME_INVALID, "\"%s\" is not the name of a file", t->path);
    }
    if (c->fs->ops->exists(c->fs, t->path)) {
        if (!t->overwrite) {
            return err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: already exists", t->path);
        }
        code = look_at_old(c, err);
    } else if ((c->final_path = alloc_text(t->path, err)) == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK && !t->raw) {
        code = check_names(c, err);
    }
    if (code == VIX_OK && (c->temp_path = link_files_temp_name(c->final_path, err)) == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

/* ---- making the target ---- */

static VixError make_raw(struct convert *c, struct disk **ret_dst, struct err *err)
{
    struct store *s;
    VixError code = c->fs->ops->create(c->fs, c->temp_path, STORE_LOCK, c->mode != 0 ? c->mode : 0666, &s, err);

    if (code != VIX_OK) {
        return code;
    }
    code = s->ops->truncate(s, c->src->capacity * SECTOR_SIZE, err);
    if (code == VIX_OK) {
        code = disk_raw_from_store(s, ret_dst, err);
    } else {
        store_close(s);
    }
    if (code != VIX_OK) {
        (void)c->fs->ops->unlink(c->fs, c->temp_path, NULL);
    }
    return code;
}

static void remove_vmdk(struct convert *c)
{
    char **names = NULL;

    if (vmdk_create_names(c->temp_path, c->clone.p.type, c->src->capacity, &names, NULL) == VIX_OK) {
        for (char **name = names; *name != NULL; name++) {
            (void)c->fs->ops->unlink(c->fs, *name, NULL);
        }
        chain_files_free(names);
    }
}

static VixError make_vmdk(struct convert *c, struct disk **ret_dst, struct err *err)
{
    c->clone.p.no_preallocation = true;
    c->clone.p.file_mode = c->mode;
    VixError code = vmdk_create(c->fs, c->temp_path, &c->clone.p, NULL, NULL, err);

    if (code != VIX_OK) {
        return code;
    }
    struct chain_tuning tuning = c->target->tuning;
    tuning.unfinished = true;
    code = disk_open_local(c->fs, c->temp_path, 0, &tuning, ret_dst, err);
    if (code != VIX_OK) {
        remove_vmdk(c);
    }
    return code;
}

static void remove_temp(struct convert *c)
{
    if (c->target->raw) {
        (void)c->fs->ops->unlink(c->fs, c->temp_path, NULL);
    } else {
        remove_vmdk(c);
    }
}

/** After a failure of the last steps: what still has its temporary name goes, unless it is the disk already. */
static void remove_failed(struct convert *c, struct err *err)
{
    if (c->fs->ops->exists(c->fs, c->temp_path)) {
        remove_temp(c);
    } else {
        err_prefix(err, "%s is complete, but: ", c->final_path);
    }
}

static bool is_single_file(VixDiskLibDiskType type)
{
    return type == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || type == VIXDISKLIB_DISK_STREAM_OPTIMIZED;
}

/** The unit in which the target leaves zeros out: its grain, or a block of raw bytes. */
static uint64_t unit_of(struct disk *dst)
{
    struct chain *chain = disk_local_chain(dst);
    uint64_t grain = chain != NULL ? chain->links[0]->extents[0].x->grain_sectors : 0;

    if (grain <= RAW_UNIT) {
        return RAW_UNIT;
    }
    return grain < COPY_MAX_UNIT ? grain : COPY_MAX_UNIT;
}

static bool is_preallocated(const struct convert *c)
{
    VixDiskLibDiskType type = c->clone.p.type;
    return !c->target->raw && (type == VIXDISKLIB_DISK_MONOLITHIC_FLAT || type == VIXDISKLIB_DISK_SPLIT_FLAT ||
                               type == VIXDISKLIB_DISK_VMFS_FLAT);
}

/** Takes the space that a flat disk's holes still need: after the data, so that nothing is cleared only to be written.
 */
static VixError take_space(struct convert *c, struct disk *dst, struct err *err)
{
    struct chain *chain = disk_local_chain(dst);
    VixError code = VIX_OK;

    if (!is_preallocated(c)) {
        return VIX_OK;
    }
    for (size_t i = 0; i < chain->links[0]->extent_count && code == VIX_OK; i++) {
        struct extent *x = chain->links[0]->extents[i].x;
        if (x->preallocated) {
            code = x->store->ops->preallocate(x->store, 0, x->nsectors * SECTOR_SIZE, err);
        }
    }
    return code;
}

static VixError fill_target(struct convert *c, struct disk *dst, bool dirty, struct err *err)
{
    struct copy_job job = {
        .src = c->src,
        .dst = dst,
        .unit = unit_of(dst),
        .dst_is_dirty = dirty,
        .file_to_file = is_preallocated(c),
        .threads = c->target->tuning.threads,
        .meter = &c->meter,
    };
    VixError code = copy_disk(&job, err);
    if (code == VIX_OK && !dirty) {
        code = take_space(c, dst, err);
    }
    /* also after a failure: whatever is open must be closed. Only the first reason is told */
    VixError closed = disk_close(dst, code == VIX_OK ? err : NULL);

    return code == VIX_OK ? closed : code;
}

/* ---- putting it in place ---- */

/** The files that only the disk that is gone needed. Names that lead out of its folder are not followed. */
static VixError remove_old_extents(struct convert *c, struct err *err)
{
    if (!c->has_old || c->old.outside) {
        return VIX_OK;
    }
    VixError code = link_files_remove_extents(c->fs, &c->old, err);
    return code == VIX_OK ? c->fs->ops->sync_folder(c->fs, c->final_path, err) : code;
}

static VixError install_raw(struct convert *c, struct err *err)
{
    const struct store_fs_ops *ops = c->fs->ops;
    VixError code = c->replaces ? ops->rename(c->fs, c->temp_path, c->final_path, err)
                                : ops->rename_new(c->fs, c->temp_path, c->final_path, err);

    if (code == VIX_OK) {
        code = ops->sync_folder(c->fs, c->final_path, err);
    }
    return code == VIX_OK ? remove_old_extents(c, err) : code;
}

/** Gives the complete disk at path its names by final_path. */
static VixError take_names(struct convert *c, const char *path, bool replace, struct err *err)
{
    struct link_files lf;
    VixError code = link_files_load(c->fs, path, &lf, err);

    if (code == VIX_OK) {
        code = link_files_move(c->fs, &lf, c->final_path, replace, err);
        link_files_done(&lf);
    }
    return code;
}

/** A set of files takes the place of a disk: first its descriptor, and from then on the disk is the new one; the other
 * files' names follow when those of the old disk are free. */
static VixError install_set_over(struct convert *c, struct err *err)
{
    VixError code = c->fs->ops->rename(c->fs, c->temp_path, c->final_path, err);

    if (code == VIX_OK) {
        code = c->fs->ops->sync_folder(c->fs, c->final_path, err);
    }
    if (code == VIX_OK) {
        code = remove_old_extents(c, err);
    }
    return code == VIX_OK ? take_names(c, c->final_path, true, err) : code;
}

static VixError install(struct convert *c, struct err *err)
{
    if (c->target->raw) {
        return install_raw(c, err);
    }
    if (!c->replaces) {
        return take_names(c, c->temp_path, false, err);
    }
    if (!is_single_file(c->clone.p.type)) {
        return install_set_over(c, err);
    }
    VixError code = take_names(c, c->temp_path, true, err);
    return code == VIX_OK ? remove_old_extents(c, err) : code;
}

static VixError to_new_file(struct convert *c, struct err *err)
{
    bool raw = c->target->raw;
    struct disk *dst = NULL;
    VixError code = look_around(c, err);

    if (code == VIX_OK && !raw) {
        code = clone_params_make(c->src, &c->target->params, &c->clone, err);
    }
    if (code == VIX_OK) {
        code = raw ? make_raw(c, &dst, err) : make_vmdk(c, &dst, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = fill_target(c, dst, false, err);
    if (code == VIX_OK) {
        code = meter_end(&c->meter, err);
    }
    if (code != VIX_OK) {
        remove_temp(c);
        return code;
    }
    code = install(c, err);
    if (code != VIX_OK) {
        remove_failed(c, err);
    }
    return code;
}

/* ---- into what exists ---- */

static VixError grow_to(struct store *s, uint64_t bytes, struct err *err)
{
    uint64_t size;
    VixError code = s->ops->size(s, &size, err);

    if (code != VIX_OK || size >= bytes) {
        return code;
    }
    if (s->is_device) {
        return err_set(err, VIX_E_DISK_RAWTOOSMALL, "%s: the device has %" PRIu64 " bytes, the disk has %" PRIu64,
                       s->path, size, bytes);
    }
    return s->ops->truncate(s, bytes, err);
}

static VixError to_existing(struct convert *c, struct err *err)
{
    struct store *s;
    struct disk *dst;
    VixError code = c->fs->ops->open(c->fs, c->target->path, STORE_WRITE | STORE_LOCK | STORE_DEVICE_OK, &s, err);

    if (code != VIX_OK) {
        return code;
    }
    code = grow_to(s, c->src->capacity * SECTOR_SIZE, err);
    if (code != VIX_OK) {
        store_close(s);
        return code;
    }
    code = disk_raw_from_store(s, &dst, err);
    if (code == VIX_OK) {
        code = fill_target(c, dst, !c->target->target_is_zero, err);
    }
    return code == VIX_OK ? meter_end(&c->meter, err) : code;
}

VixError ops_convert(struct store_fs *fs, struct disk *src, const struct convert_target *target,
                     struct ops_progress progress, struct err *err)
{
    struct convert c = {.fs = fs, .src = src, .target = target};
    VixError code;

    meter_init(&c.meter, progress, src->capacity * SECTOR_SIZE);
    if (target->path == NULL) {
        return convert_to_fd(src, target, &c.meter, err);
    }
    if (target->keep_existing && !target->raw) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: only a raw image or device can be written in place", target->path);
    }
    code = check_not_of_source(&c, target->path, err);
    if (code == VIX_OK) {
        code = target->keep_existing ? to_existing(&c, err) : to_new_file(&c, err);
    }
    clone_params_done(&c.clone);
    if (c.has_old) {
        link_files_done(&c.old);
    }
    free(c.final_path);
    free(c.temp_path);
    return code;
}

#define INTO_UNIT 128u /* sectors: zeros are left out in blocks of 64 KiB where each write is a request of its own */

VixError ops_copy_into(struct disk *src, struct disk *dst, bool dst_is_zero, unsigned threads,
                       struct ops_progress progress, struct err *err)
{
    struct progress_meter meter;
    const struct copy_job job = {
        .src = src,
        .dst = dst,
        .unit = INTO_UNIT,
        .dst_is_dirty = !dst_is_zero,
        .threads = threads,
        .meter = &meter,
    };

    if (src->capacity > dst->capacity) {
        return err_set(err, VIX_E_DISK_CAPACITY_MISMATCH, "%s: the disk has %" PRIu64 " sectors, the source %" PRIu64,
                       dst->path, dst->capacity, src->capacity);
    }
    meter_init(&meter, progress, src->capacity * SECTOR_SIZE);
    VixError code = copy_disk(&job, err);
    if (code == VIX_OK) {
        code = dst->ops->flush(dst, err);
    }
    return code == VIX_OK ? meter_end(&meter, err) : code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying a disk to a server: over a disk that is there, to a new one, or in the place of an old one. That stays until
 * the new one is complete under a name beside it ("x.part-1a2b3c4d.vmdk"), as in conversions on this machine. */
#include "api/api.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "ops/link_files.h"

/** A disk cannot be copied onto itself; two names of one server or disk are not seen through: the host's lock is left
 * for them. */
static VixError check_is_other_disk(const struct disk *src, const struct connection *from,
                                    const struct server_copy *copy, struct err *err)
{
    bool same = from->remote != NULL && strcmp(remote_peer(from->remote), remote_peer(copy->to->remote)) == 0 &&
                strcmp(src->path, copy->path) == 0;
    return same ? err_set(err, VIX_E_INVALID_ARG, "%s: is the source, which cannot be the target too", copy->path)
                : VIX_OK;
}

static VixError adapter_of(struct disk *src, VixDiskLibAdapterType *ret_adapter, struct err *err)
{
    struct disk_info info;

    if (*ret_adapter != VIXDISKLIB_ADAPTER_UNKNOWN && *ret_adapter != 0) {
        return VIX_OK;
    }
    VixError code = src->ops->info(src, &info, err);
    if (code == VIX_OK) {
        *ret_adapter = info.info.adapterType;
        disk_info_done(&info);
    }
    return code;
}

static VixError fill_and_close(struct disk *src, struct disk *dst, bool dst_is_zero, unsigned threads,
                               struct ops_progress progress, struct err *err)
{
    VixError code = ops_copy_into(src, dst, dst_is_zero, threads, progress, err);
    VixError closed = disk_close(dst, code == VIX_OK ? err : NULL); /* only the first reason is told */

    return code == VIX_OK ? closed : code;
}

static VixError copy_over(struct disk *src, const struct server_copy *copy, struct ops_progress progress,
                          struct err *err)
{
    struct disk *dst = NULL;
    VixError code = open_on(copy->to, copy->path, copy->flags, &dst, err);

    return code == VIX_OK ? fill_and_close(src, dst, copy->target_is_zero, copy->threads, progress, err) : code;
}

/** What a copy is made of. */
static VixError make_params(struct disk *src, const struct server_copy *copy, struct create_params *ret_params,
                            struct err *err)
{
    struct create_params p = {.type = copy->type, .adapter = copy->adapter, .capacity = src->capacity};
    VixError code = adapter_of(src, &p.adapter, err);

    if (code == VIX_OK) {
        *ret_params = p;
    }
    return code;
}

/** What is left of a copy that failed with err; of the reasons only that first one is told to the caller. The files of
 * a disk that may be a machine's are left alone. */
static void remove_made(const struct server_copy *copy, const char *path, struct err *err)
{
    struct err why;

    if (remote_is_kept(copy->to->remote, path)) {
        err_prefix(
            err,
            "%s: what was made of it is not removed, because it may be attached to the virtual machine still: ", path);
        return;
    }
    err_init(&why);
    if (remote_unlink(copy->to->remote, path, &why) != VIX_OK) {
        log_news("%s: what was made of it could not be removed: %s", path, why.text);
    }
}

/** Copies into the new disk at path, which is gone after a failure. */
static VixError fill_new(struct disk *src, const struct server_copy *copy, const char *path,
                         struct ops_progress progress, struct err *err)
{
    struct disk *dst = NULL;
    VixError code = remote_open_new(copy->to->remote, path, src->capacity, copy->flags, &dst, err);

    if (code == VIX_OK) {
        code = fill_and_close(src, dst, true, copy->threads, progress, err);
    }
    if (code != VIX_OK) {
        remove_made(copy, path, err);
    }
    return code;
}

/* ---- in the place of an old disk ---- */

/** Makes the new disk under a name beside its place, by way of another such name: a server that cannot give a disk
 * another name, or does not let this user, is found out before anything is copied or lost. */
static VixError make_beside(const struct server_copy *copy, const struct create_params *p, const char *part,
                            struct err *err)
{
    struct remote *r = copy->to->remote;
    CLEANUP_FREE char *trial = link_files_temp_name(copy->path, err);

    if (trial == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = remote_create(r, trial, p, err);
    if (code != VIX_OK) {
        return code;
    }
    code = remote_move(r, trial, part, err);
    if (code != VIX_OK) {
        err_prefix(
            err,
            "%s: the old disk is left as it is, because the server does not give a new one another name; without "
            "an old one none is needed: ",
            copy->path);
        remove_made(copy, trial, err);
    }
    return code;
}

/** Whether a server that refuses so to remove a disk has done nothing to it. */
static bool is_plain_refusal(VixError code)
{
    switch (code) {
    case VIX_E_FILE_ALREADY_LOCKED:
    case VIX_E_FILE_ACCESS_ERROR:
    case VIX_E_FILE_READ_ONLY:
    case VIX_E_OBJECT_IS_BUSY:
    case VIX_E_NOT_SUPPORTED:
    case VIX_E_HOST_USER_PERMISSIONS:
        return true;
    default:
        return false;
    }
}

/** The complete disk at part takes the place of the old one. What is complete is never removed once the old disk may be
 * gone. */
static VixError take_place(const struct server_copy *copy, const char *part, struct err *err)
{
    struct remote *r = copy->to->remote;

    if (remote_is_kept(r, part)) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY,
                       "%s: is left as it is: the new disk is complete and is %s, but is attached to the virtual "
                       "machine still",
                       copy->path, part);
    }
    VixError code = remote_unlink(r, copy->path, err);

    if (code != VIX_OK && is_plain_refusal(code)) {
        remove_made(copy, part, err);
        return code;
    }
    if (code != VIX_OK && code != VIX_E_FILE_NOT_FOUND) {
        err_prefix(err, "%s: the new disk is complete and is %s; the old one may be there or not: ", copy->path, part);
        return code;
    }
    code = remote_move(r, part, copy->path, err);
    if (code != VIX_OK) {
        err_prefix(err, "%s: the old disk is removed; the new one is complete, but still has the name %s: ", copy->path,
                   part);
    }
    return code;
}

static VixError replace_old(struct disk *src, const struct server_copy *copy, const struct create_params *p,
                            struct ops_progress progress, struct err *err)
{
    CLEANUP_FREE char *part = link_files_temp_name(copy->path, err);

    if (part == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = make_beside(copy, p, part, err);
    if (code == VIX_OK) {
        code = fill_new(src, copy, part, progress, err);
    }
    return code == VIX_OK ? take_place(copy, part, err) : code;
}

/** Whether there is an old disk shows when the new one is made. */
static VixError copy_to_new(struct disk *src, const struct server_copy *copy, struct ops_progress progress,
                            struct err *err)
{
    struct create_params p;
    VixError code = make_params(src, copy, &p, err);

    if (code != VIX_OK) {
        return code;
    }
    code = remote_create(copy->to->remote, copy->path, &p, err);
    if (code == VIX_OK) {
        return fill_new(src, copy, copy->path, progress, err);
    }
    if (code != VIX_E_FILE_ALREADY_EXISTS || !copy->overwrite) {
        return code;
    }
    err_init(err);
    return replace_old(src, copy, &p, progress, err);
}

/* ---- */

VixError copy_to_server(struct disk *src, const struct connection *from, const struct server_copy *copy,
                        struct ops_progress progress, struct err *err)
{
    VixError code = remote_path_check(copy->to->remote, copy->path, err);

    if (code == VIX_OK) {
        code = check_is_other_disk(src, from, copy, err);
    }
    if (code == VIX_OK && (copy->flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) != 0) {
        code = err_set(err, VIX_E_INVALID_ARG, "%s: flags 0x%" PRIx32 " ask for reading only", copy->path, copy->flags);
    }
    if (code != VIX_OK) {
        return code;
    }
    return copy->keep_existing ? copy_over(src, copy, progress, err) : copy_to_new(src, copy, progress, err);
}

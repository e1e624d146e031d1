/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing disks, and the local files behind them: create, remove, rename. */
#include "api/api.h"

#include <inttypes.h>
#include <string.h>

#include "api/progress.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "ops/ops.h"
#include "ops/salvage.h"
#include "store/store.h"
#include "vmdk/create.h"

#define COMPRESSION_FLAGS                                                                                              \
    (VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB | VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ |                                 \
     VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ)
#define PLAIN_OPEN_FLAGS                                                                                               \
    (VIXDISKLIB_FLAG_OPEN_UNBUFFERED | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK | VIXDISKLIB_FLAG_OPEN_READ_ONLY)

VixError local_path_check(const char *path, struct err *err)
{
    if (path == NULL || path[0] == '\0') {
        return err_set(err, VIX_E_INVALID_ARG, "no path is given");
    }
    struct store_fs *fs = store_fs_local();
    if (path[0] == '[' && strchr(path, ']') != NULL && !fs->ops->exists(fs, path)) {
        return err_set(
            err, VIX_E_INVALID_ARG,
            "a path on a datastore needs a connection to a server, and this connection is to the local host");
    }
    return VIX_OK;
}

VixError path_check(const struct connection *c, const char *path, struct err *err)
{
    return c->remote != NULL ? remote_path_check(c->remote, path, err) : local_path_check(path, err);
}

VixError need_local(const struct connection *c, const char *what, struct err *err)
{
    if (c->remote == NULL) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT,
                   "%s: the connection is to a server, and %s on a local connection only", remote_peer(c->remote),
                   what);
}

/** The flags that matter. Compression is for the network: it is checked, then left out for local disks. Bits that have
 * no meaning are ignored, as programs pass what later versions defined. */
static VixError check_flags(uint32_t flags, const struct connection *c, uint32_t *ret_flags, struct err *err)
{
    uint32_t compression = flags & COMPRESSION_FLAGS;

    if ((compression & (compression - 1)) != 0) {
        return err_set(err, VIX_E_INVALID_ARG, "flags 0x%" PRIx32 " ask for more than one compression", flags);
    }
    *ret_flags = (flags & PLAIN_OPEN_FLAGS) | (c->remote != NULL ? compression : 0) |
                 (c->read_only ? VIXDISKLIB_FLAG_OPEN_READ_ONLY : 0);
    return VIX_OK;
}

VixError open_on(const struct connection *c, const char *path, uint32_t flags, struct disk **ret_disk, struct err *err)
{
    VixError code = path_check(c, path, err);

    if (code == VIX_OK) {
        code = check_flags(flags, c, &flags, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    return c->remote != NULL ? remote_open(c->remote, path, flags, ret_disk, err)
                             : disk_open_local(store_fs_local(), path, flags, NULL, ret_disk, err);
}

/** How a disk is opened: by a path with flags, or from something that the caller has. */
struct opening {
    VixError (*open)(const struct opening *how, const struct connection *c, struct disk **ret_disk, struct err *err);
    const char *path;
    uint32_t flags; /* as the client gave them */
    int fd;
    uint64_t capacity;
};

static VixError open_vmdk(const struct opening *how, const struct connection *c, struct disk **ret_disk,
                          struct err *err)
{
    return open_on(c, how->path, how->flags, ret_disk, err);
}

/** For what is not a disk yet. */
static VixError check_local_file(const struct opening *how, const struct connection *c, const char *what,
                                 struct err *err)
{
    VixError code = need_local(c, what, err);
    return code == VIX_OK ? local_path_check(how->path, err) : code;
}

static VixError open_raw(const struct opening *how, const struct connection *c, struct disk **ret_disk, struct err *err)
{
    uint32_t flags = 0;
    VixError code = check_local_file(how, c, "raw images are opened", err);

    if (code == VIX_OK) {
        code = check_flags(how->flags, c, &flags, err);
    }
    return code == VIX_OK ? disk_open_raw(store_fs_local(), how->path, flags, ret_disk, err) : code;
}

static VixError open_salvage(const struct opening *how, const struct connection *c, struct disk **ret_disk,
                             struct err *err)
{
    VixError code = check_local_file(how, c, "disks are salvaged", err);
    return code == VIX_OK ? salvage_open(store_fs_local(), how->path, ret_disk, err) : code;
}

static VixError open_pipe(const struct opening *how, const struct connection *c, struct disk **ret_disk,
                          struct err *err)
{
    VixError code = need_local(c, "streams are opened", err);

    if (code != VIX_OK) {
        return code;
    }
    if (how->fd < 0) {
        return err_set(err, VIX_E_INVALID_ARG, "file descriptor %d is no source", how->fd);
    }
    return how->capacity == 0 ? disk_open_stream_in(how->fd, 0, ret_disk, err)
                              : disk_open_pipe_in(how->fd, how->capacity, ret_disk, err);
}

static VixError open_into_slot(const struct opening *how, const struct connection *c, struct slot *slot,
                               VixDiskLibHandle *ret_handle, struct err *err)
{
    struct disk *d;

    VixError code = how->open(how, c, &d, err);
    if (code != VIX_OK) {
        handle_give_back(HANDLE_DISK, slot);
        return code;
    }
    log_news("%s: opened by %s, %" PRIu64 " sectors, %s", d->path, d->ops->transport, d->capacity,
             d->writable ? "read-write" : "read-only");
    *ret_handle = handle_publish(HANDLE_DISK, slot, d, c);
    return VIX_OK;
}

static VixError open_disk(const char *name, VixDiskLibConnection connection, const struct opening *how,
                          VixDiskLibHandle *ret_handle)
{
    struct api_call call;
    struct connection *c;
    struct slot *slot;

    VixError code = call_on_connection(&call, name, how->path, connection, &c);
    if (ret_handle != NULL) {
        *ret_handle = NULL;
    } else if (code == VIX_OK) {
        code = call_need(&call, ret_handle, "place for the handle");
    }
    if (code == VIX_OK) {
        code = handle_reserve(HANDLE_DISK, &slot, &call.err);
    }
    if (code == VIX_OK) {
        code = open_into_slot(how, c, slot, ret_handle, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Open(const VixDiskLibConnection connection, const char *path, uint32 flags,
                         VixDiskLibHandle *diskHandle)
{
    struct opening how = {.open = open_vmdk, .path = path, .flags = flags};
    return open_disk(__func__, connection, &how, diskHandle);
}

VixError VixDiskLibExt_OpenRaw(VixDiskLibConnection connection, const char *path, uint32 flags,
                               VixDiskLibHandle *diskHandle)
{
    struct opening how = {.open = open_raw, .path = path, .flags = flags};
    return open_disk(__func__, connection, &how, diskHandle);
}

VixError VixDiskLibExt_OpenSalvage(VixDiskLibConnection connection, const char *path, VixDiskLibHandle *diskHandle)
{
    struct opening how = {.open = open_salvage, .path = path};
    return open_disk(__func__, connection, &how, diskHandle);
}

VixError VixDiskLibExt_OpenRawStream(VixDiskLibConnection connection, int fd, VixDiskLibSectorType capacity,
                                     VixDiskLibHandle *diskHandle)
{
    struct opening how = {.open = open_pipe, .fd = fd, .capacity = capacity};
    return open_disk(__func__, connection, &how, diskHandle);
}

VixError disk_close_slot(struct slot *slot, const char *name, bool *ret_closed)
{
    struct disk *d = slot->object;
    struct err err;

    err_init(&err);
    VixError code = disk_wait(d, &err);
    *ret_closed = code == VIX_OK;
    if (code != VIX_OK) {
        call_report(name, d->path, code, &err);
        handle_reopen(slot);
        return code;
    }
    CLEANUP_FREE char *path = alloc_text(d->path, NULL); /* without memory the report has no place */
    code = disk_close(d, &err);
    if (code != VIX_OK) {
        call_report(name, path, code, &err);
    }
    handle_give_back(HANDLE_DISK, slot);
    return code;
}

VixError VixDiskLib_Close(VixDiskLibHandle diskHandle)
{
    struct api_call call;
    struct slot *slot;

    call_begin(&call, __func__, NULL);
    VixError code = call_take_disk(&call, diskHandle, &slot);
    if (code != VIX_OK) {
        return call_end(&call, code);
    }
    bool closed;
    return call_end_reported(&call, disk_close_slot(slot, __func__, &closed));
}

/* ---- creating ---- */

/** The sector sizes that a client asks for; the members exist from 7.0 on. */
static VixError read_sector_sizes(const VixDiskLibCreateParams *from, struct create_params *p, struct err *err)
{
    if (library_major() < 7) {
        return VIX_OK;
    }
    uint32_t logical = from->logicalSectorSize != 0 ? from->logicalSectorSize : 512;
    uint32_t physical = from->physicalSectorSize != 0 ? from->physicalSectorSize : logical;
    bool known = (logical == 512 || logical == 4096) && (physical == 512 || physical == 4096) && logical <= physical;
    if (!known) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "sector sizes %" PRIu32 " logical, %" PRIu32
                       " physical: known are 512/512, 512/4096 and 4096/4096",
                       logical, physical);
    }
    p->logical_sector_size = logical;
    p->physical_sector_size = physical;
    return VIX_OK;
}

static VixError read_create_params(const VixDiskLibCreateParams *from, struct create_params *ret_params,
                                   struct err *err)
{
    struct create_params p = {
        .type = from->diskType,
        .adapter = from->adapterType,
        .hw_version = from->hwVersion,
        .capacity = from->capacity,
        .allow_over_2tb = config_bool(CONFIG_ALLOW_OVER_2TB, false),
    };

    VixError code = read_sector_sizes(from, &p, err);
    if (code == VIX_OK) {
        *ret_params = p;
    }
    return code;
}

VixError VixDiskLib_Create(const VixDiskLibConnection connection, const char *path,
                           const VixDiskLibCreateParams *createParams, VixDiskLibProgressFunc progressFunc,
                           void *progressCallbackData)
{
    struct api_call call;
    struct connection *c;
    struct create_params p;
    struct client_progress progress = {.func = progressFunc, .data = progressCallbackData, .told = -1};

    VixError code = call_on_connection(&call, __func__, path, connection, &c);
    if (code == VIX_OK) {
        code = path_check(c, path, &call.err);
    }
    if (code == VIX_OK) {
        code = call_need(&call, createParams, "description of the new disk");
    }
    if (code == VIX_OK) {
        code = read_create_params(createParams, &p, &call.err);
    }
    if (code == VIX_OK) {
        code = c->remote != NULL ? remote_create(c->remote, path, &p, &call.err)
                                 : vmdk_create(store_fs_local(), path, &p, progress_percent, &progress, &call.err);
    }
    progress_end(&progress, code);
    return call_end(&call, code);
}

/* ---- removing, renaming ---- */

VixError VixDiskLib_Unlink(VixDiskLibConnection connection, const char *path)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, path, connection, &c);
    if (code == VIX_OK) {
        code = path_check(c, path, &call.err);
    }
    if (code == VIX_OK) {
        code = c->remote != NULL ? remote_unlink(c->remote, path, &call.err)
                                 : ops_unlink(store_fs_local(), path, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Rename(const char *srcFileName, const char *dstFileName)
{
    struct api_call call;

    VixError code = call_on_library(&call, __func__, srcFileName);
    if (code == VIX_OK) {
        code = local_path_check(srcFileName, &call.err);
    }
    if (code == VIX_OK) {
        code = local_path_check(dstFileName, &call.err);
    }
    if (code == VIX_OK) {
        code = ops_rename(store_fs_local(), srcFileName, dstFileName, &call.err);
    }
    return call_end(&call, code);
}

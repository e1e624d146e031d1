/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that rework the files of a disk: grow, shrink, defragment, reparent. Shrink and Defragment have the disk
 * for themselves: other calls on the handle get VIX_E_OBJECT_IS_BUSY meanwhile. */
#include "api/api.h"

#include "api/progress.h"
#include "ops/ops.h"
#include "store/store.h"

VixError VixDiskLib_Grow(VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity,
                         Bool updateGeometry, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
    struct api_call call;
    struct connection *c;
    struct client_progress progress = {.func = progressFunc, .data = progressCallbackData, .told = -1};

    VixError code = call_on_connection(&call, __func__, path, connection, &c);
    if (code == VIX_OK) {
        code = path_check(c, path, &call.err);
    }
    if (code == VIX_OK && c->read_only) {
        code = err_set(&call.err, VIX_E_FILE_READ_ONLY, "the connection is read-only");
    }
    if (code == VIX_OK) {
        progress_percent(&progress, 0);
        code = c->remote != NULL ? remote_grow(c->remote, path, capacity, &call.err)
                                 : ops_grow(store_fs_local(), path, capacity, updateGeometry != 0, &call.err);
        progress_end(&progress, code);
    }
    return call_end(&call, code);
}

typedef VixError rework_func(struct disk *d, struct ops_progress progress, struct err *err);

/** Runs an operation that needs an open disk for itself. */
static VixError rework(const char *name, VixDiskLibHandle handle, rework_func *func,
                       VixDiskLibProgressFunc progressFunc, void *data)
{
    struct api_call call;
    struct disk *d;
    struct client_progress progress = {.func = progressFunc, .data = data, .told = -1};

    VixError code = call_on_disk(&call, name, handle, &d);
    if (code == VIX_OK) {
        code = need_local(connection_of_disk(call.pins[0]), "disks are reworked", &call.err);
    }
    if (code == VIX_OK && call_outer_uses(call.pins[0])) {
        code = err_set(&call.err, VIX_E_OBJECT_IS_BUSY, "called back by a request or call of the same disk");
    } else if (code == VIX_OK && handle_own(HANDLE_DISK, call.pins[0]) != VIX_OK) {
        code = err_set(&call.err, VIX_E_OBJECT_IS_BUSY, "another call has the disk for itself");
    } else if (code == VIX_OK) {
        code = disk_wait(d, &call.err); /* no request can come any more */
        if (code == VIX_OK) {
            code = func(d, progress_bytes(&progress), &call.err);
        }
        handle_share(call.pins[0]);
        progress_end(&progress, code);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Shrink(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
    return rework(__func__, diskHandle, ops_shrink, progressFunc, progressCallbackData);
}

VixError VixDiskLib_Defragment(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                               void *progressCallbackData)
{
    return rework(__func__, diskHandle, ops_defragment, progressFunc, progressCallbackData);
}

VixError VixDiskLib_Reparent(const VixDiskLibConnection connection, const char *path, const char *parentHint)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, path, connection, &c);
    if (code == VIX_OK) {
        code = need_local(c, "parents are changed", &call.err);
    }
    if (code == VIX_OK) {
        code = local_path_check(path, &call.err);
    }
    if (code == VIX_OK) {
        code = call_need(&call, parentHint, "place of the parent");
    }
    if (code == VIX_OK && c->read_only) {
        code = err_set(&call.err, VIX_E_FILE_READ_ONLY, "the connection is read-only");
    }
    if (code == VIX_OK) {
        code = ops_reparent(store_fs_local(), path, parentHint, &call.err);
    }
    return call_end(&call, code);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that rework a disk in place. This version has none of them: each checks its arguments and says so. */
#include "api/api.h"

static VixError not_there(struct api_call *call, const char *what)
{
    return err_set(&call->err, VIX_E_NOT_SUPPORTED, "this version cannot %s", what);
}

/** For the calls that name a disk by its path. */
static VixError refuse_path(const char *name, VixDiskLibConnection connection, const char *path, const char *what)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, name, path, connection, &c);
    if (code == VIX_OK) {
        code = local_path_check(path, &call.err);
    }
    if (code == VIX_OK) {
        code = not_there(&call, what);
    }
    return call_end(&call, code);
}

static VixError refuse_disk(const char *name, VixDiskLibHandle handle, const char *what)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, name, handle, &d);
    if (code == VIX_OK) {
        code = not_there(&call, what);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Grow(VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity,
                         Bool updateGeometry, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
    (void)capacity, (void)updateGeometry, (void)progressFunc, (void)progressCallbackData;
    return refuse_path(__func__, connection, path, "grow disks");
}

VixError VixDiskLib_Shrink(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
    (void)progressFunc, (void)progressCallbackData;
    return refuse_disk(__func__, diskHandle, "shrink disks");
}

VixError VixDiskLib_Defragment(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                               void *progressCallbackData)
{
    (void)progressFunc, (void)progressCallbackData;
    return refuse_disk(__func__, diskHandle, "defragment disks");
}

VixError VixDiskLib_Reparent(const VixDiskLibConnection connection, const char *path, const char *parentHint)
{
    (void)parentHint;
    return refuse_path(__func__, connection, path, "give disks another parent");
}

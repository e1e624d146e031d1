/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying disks. */
#include "api/api.h"

#include <string.h>

#include "api/progress.h"
#include "base/config.h"
#include "ops/ops.h"
#include "store/store.h"
#include "vmdk/create.h"

/** The type of a clone for which the client names none. */
static VixError type_of_disk(struct disk *d, VixDiskLibDiskType *ret_type, struct err *err)
{
    struct disk_info info;

    VixError code = d->ops->info(d, &info, err);
    if (code != VIX_OK) {
        return code;
    }
    disk_info_done(&info);
    if (create_type_of(info.type) == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "the disk is of a type that cannot be created: a type has to be named");
    }
    *ret_type = info.type;
    return VIX_OK;
}

/** What a clone is to be: type, adapter and hardware version are the client's; its capacity and sector sizes count for
 * nothing, because the clone has the source's. Without a description the clone is like the source. */
static VixError clone_params(struct disk *src, const VixDiskLibCreateParams *wanted, struct create_params *ret_params,
                             struct err *err)
{
    struct create_params p = {.allow_over_2tb = config_bool(CONFIG_ALLOW_OVER_2TB, false)};
    VixError code = VIX_OK;

    if (wanted != NULL) {
        p.type = wanted->diskType;
        p.adapter = wanted->adapterType;
        p.hw_version = wanted->hwVersion;
    } else {
        code = type_of_disk(src, &p.type, err);
    }
    if (code == VIX_OK) {
        *ret_params = p;
    }
    return code;
}

/* ---- Clone ---- */

/** What a clone is to be and where it comes from. */
struct cloning {
    const struct connection *from, *to;
    const char *src_path, *dst_path;
    const VixDiskLibCreateParams *wanted;
    bool overwrite;
};

static VixError clone_locally(struct disk *src, const struct cloning *how, struct ops_progress progress,
                              struct err *err)
{
    struct convert_target target = {.path = how->dst_path, .fd = -1, .overwrite = how->overwrite};
    VixError code = clone_params(src, how->wanted, &target.params, err);

    return code == VIX_OK ? ops_convert(store_fs_local(), src, &target, progress, err) : code;
}

/** On a datastore a client asks for a thin disk or gets a thick one; only without a description the source counts. */
static VixError clone_to_server(struct disk *src, const struct cloning *how, struct ops_progress progress,
                                struct err *err)
{
    struct server_copy copy = {
        .to = how->to, .path = how->dst_path, .type = VIXDISKLIB_DISK_VMFS_FLAT, .overwrite = how->overwrite};
    VixError code = VIX_OK;

    if (how->wanted == NULL) {
        code = type_of_disk(src, &copy.type, err);
    } else if (how->wanted->diskType == VIXDISKLIB_DISK_VMFS_THIN) {
        copy.type = VIXDISKLIB_DISK_VMFS_THIN;
    }
    return code == VIX_OK ? copy_to_server(src, how->from, &copy, progress, err) : code;
}

static VixError clone_disk(const struct cloning *how, struct client_progress *progress, struct err *err)
{
    struct disk *src;
    VixError code = path_check(how->to, how->dst_path, err);

    if (code == VIX_OK) {
        code = open_on(how->from, how->src_path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &src, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = how->to->remote != NULL ? clone_to_server(src, how, progress_bytes(progress), err)
                                   : clone_locally(src, how, progress_bytes(progress), err);
    (void)disk_close(src, NULL); /* only read */
    return code;
}

VixError VixDiskLib_Clone(const VixDiskLibConnection dstConnection, const char *dstPath,
                          const VixDiskLibConnection srcConnection, const char *srcPath,
                          const VixDiskLibCreateParams *vixCreateParams, VixDiskLibProgressFunc progressFunc,
                          void *progressCallbackData, Bool overWrite)
{
    struct api_call call;
    struct connection *to;
    struct connection *from;
    struct client_progress progress = {.func = progressFunc, .data = progressCallbackData, .told = -1};

    VixError code = call_on_connection(&call, __func__, dstPath, dstConnection, &to);
    if (code == VIX_OK) {
        code = call_add_connection(&call, srcConnection, &from);
    }
    if (code == VIX_OK) {
        const struct cloning how = {.from = from,
                                    .to = to,
                                    .src_path = srcPath,
                                    .dst_path = dstPath,
                                    .wanted = vixCreateParams,
                                    .overwrite = overWrite != 0};
        code = clone_disk(&how, &progress, &call.err);
    }
    progress_end(&progress, code);
    return call_end(&call, code);
}

VixError VixDiskLib_SpaceNeededForClone(VixDiskLibHandle diskHandle, VixDiskLibDiskType cloneDiskType,
                                        uint64 *spaceNeeded)
{
    struct api_call call;
    struct disk *d;
    uint64_t required;
    uint64_t full;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, spaceNeeded, "place for the number of bytes");
    }
    if (code == VIX_OK && cloneDiskType == VIXDISKLIB_DISK_UNKNOWN) {
        code = type_of_disk(d, &cloneDiskType, &call.err);
    }
    if (code == VIX_OK) {
        code = ops_measure(d, cloneDiskType, false, &required, &full, &call.err);
    }
    if (code == VIX_OK) {
        *spaceNeeded = required;
    }
    return call_end(&call, code);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks on top of other disks: making a child, and putting an open child on an open parent. */
#include "api/api.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/progress.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "store/store.h"

/** The folder of a path, without symbolic links. */
static char *real_folder(const char *path, struct err *err)
{
    struct store_fs *fs = store_fs_local();
    CLEANUP_FREE char *folder = store_path_folder(path, err);
    char *real = NULL;

    return folder != NULL && fs->ops->resolve(fs, folder, &real, err) == VIX_OK ? real : NULL;
}

/** How the child's descriptor names the parent: relative where the parent lies in the child's folder or below it, so
 * that the folder can be moved; else by the absolute path. A parent on a server by its path there. */
static char *parent_hint(struct disk *parent, const char *child_path, struct err *err)
{
    const struct chain *chain = disk_local_chain(parent);

    if (chain == NULL) {
        return alloc_text(parent->path, err);
    }
    const char *parent_path = chain->links[0]->path;
    CLEANUP_FREE char *parent_folder = real_folder(parent_path, err);
    CLEANUP_FREE char *child_folder = parent_folder != NULL ? real_folder(child_path, err) : NULL;

    if (child_folder == NULL) {
        return NULL;
    }
    const char *name = store_path_base(parent_path);
    size_t len = strlen(child_folder);
    if (strncmp(parent_folder, child_folder, len) == 0) {
        const char *rest = parent_folder + len;
        if (rest[0] == '\0') {
            return alloc_text(name, err);
        }
        if (rest[0] == '/') {
            return alloc_printf(err, "%s/%s", rest + 1, name);
        }
    }
    return alloc_printf(err, "%s/%s", strcmp(parent_folder, "/") == 0 ? "" : parent_folder, name);
}

static bool is_vmfs_type(VixDiskLibDiskType type)
{
    return type == VIXDISKLIB_DISK_VMFS_FLAT || type == VIXDISKLIB_DISK_VMFS_THIN ||
           type == VIXDISKLIB_DISK_VMFS_SPARSE;
}

/** Hosted children on any parent; redo logs of ESX on its own disks only. */
static VixError check_child_type(VixDiskLibDiskType type, VixDiskLibDiskType parent_type, struct err *err)
{
    switch (type) {
    case VIXDISKLIB_DISK_MONOLITHIC_SPARSE:
    case VIXDISKLIB_DISK_SPLIT_SPARSE:
        return VIX_OK;
    case VIXDISKLIB_DISK_VMFS_SPARSE:
        if (is_vmfs_type(parent_type)) {
            return VIX_OK;
        }
        return err_set(err, VIX_E_DISK_INVALIDCHAIN, "a vmfsSparse child needs a parent of the vmfs types");
    case VIXDISKLIB_DISK_MONOLITHIC_FLAT:
    case VIXDISKLIB_DISK_SPLIT_FLAT:
    case VIXDISKLIB_DISK_VMFS_FLAT:
    case VIXDISKLIB_DISK_STREAM_OPTIMIZED:
    case VIXDISKLIB_DISK_VMFS_THIN:
    case VIXDISKLIB_DISK_UNKNOWN:
    default:
        return err_set(err, VIX_E_INVALID_ARG, "a child cannot be of disk type %d: only monolithic or split sparse",
                       (int)type);
    }
}

static uint16_t hw_version_of(struct disk *d)
{
    CLEANUP_FREE char *text = NULL;

    if (d->ops->meta_get(d, "virtualHWVersion", &text, NULL) != VIX_OK) {
        return 0;
    }
    unsigned long version = strtoul(text, NULL, 10);
    return version <= UINT16_MAX ? (uint16_t)version : 0;
}

static VixError create_child(struct disk *parent, const char *path, VixDiskLibDiskType type,
                             struct client_progress *progress, struct err *err)
{
    struct disk_info info;
    uint32_t cid = 0;

    if (disk_local_chain(parent) == NULL && !disk_is_remote(parent)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "only a VMDK can have children");
    }
    VixError code = parent->ops->info(parent, &info, err);
    if (code != VIX_OK) {
        return code;
    }
    disk_info_done(&info);
    code = check_child_type(type, info.type, err);
    if (code != VIX_OK) {
        return code;
    }
    code = disk_content_id(parent, &cid, err);
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *hint = parent_hint(parent, path, err);
    if (hint == NULL) {
        return err->code;
    }
    struct create_params p = {
        .type = type,
        .adapter = info.info.adapterType,
        .hw_version = hw_version_of(parent),
        .capacity = parent->capacity,
        .logical_sector_size = info.info.logicalSectorSize,
        .physical_sector_size = info.info.physicalSectorSize,
        .allow_over_2tb = true, /* the parent is as large */
        .parent_hint = hint,
        .parent_cid = cid,
    };
    return vmdk_create(store_fs_local(), path, &p, progress_percent, progress, err);
}

VixError VixDiskLib_CreateChild(VixDiskLibHandle diskHandle, const char *childPath, VixDiskLibDiskType diskType,
                                VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
    struct api_call call;
    struct disk *parent;
    struct client_progress progress = {.func = progressFunc, .data = progressCallbackData, .told = -1};

    VixError code = call_on_disk(&call, __func__, diskHandle, &parent);
    if (code == VIX_OK) {
        call.place = childPath;
        code = local_path_check(childPath, &call.err);
    }
    if (code == VIX_OK) {
        code = create_child(parent, childPath, diskType, &progress, &call.err);
    }
    progress_end(&progress, code);
    return call_end(&call, code);
}

VixError VixDiskLib_IsAttachPossible(VixDiskLibHandle parent, VixDiskLibHandle child)
{
    struct api_call call;
    struct disk *p;
    struct disk *c;

    VixError code = call_on_disk(&call, __func__, child, &c);
    if (code == VIX_OK) {
        code = call_add_disk(&call, parent, &p);
    }
    if (code == VIX_OK) {
        code = disk_local_can_attach(p, c, &call.err);
    }
    return call_end(&call, code);
}

/** The child, pinned by the call, is had for this thread alone while the parent goes below it. Requests are waited for,
 * as none may be running. */
static VixError attach(struct api_call *call, struct disk *parent, struct disk *child)
{
    struct slot *slot = call->pins[0];

    if (call_outer_uses(slot)) {
        (void)disk_close(parent, NULL);
        return err_set(&call->err, VIX_E_OBJECT_IS_BUSY, "called back by a request or call of the child");
    }
    if (handle_own(HANDLE_DISK, slot) != VIX_OK) {
        (void)disk_close(parent, NULL);
        return err_set(&call->err, VIX_E_OBJECT_IS_BUSY, "another call has the child for itself until it ends");
    }
    VixError code = disk_wait(child, &call->err);
    if (code == VIX_OK) {
        code = disk_local_attach(parent, child, &call->err);
    } else {
        (void)disk_close(parent, NULL);
    }
    handle_share(slot);
    return code;
}

VixError VixDiskLib_Attach(VixDiskLibHandle parent, VixDiskLibHandle child)
{
    struct api_call call;
    struct slot *parent_slot;
    struct disk *c = NULL;

    call_begin(&call, __func__, NULL);
    if (parent == child) {
        return call_end(&call, err_set(&call.err, VIX_E_INVALID_ARG, "parent and child are the same handle"));
    }
    /* the parent first: it is gone whatever happens, and two threads that attach crosswise must not wait for each other
     */
    VixError code = call_take_disk(&call, parent, &parent_slot);
    if (code != VIX_OK) {
        return call_end(&call, code);
    }
    struct disk *p = parent_slot->object;
    code = disk_wait(p, &call.err);
    if (code != VIX_OK) {
        call.taken = NULL;
        handle_reopen(parent_slot);
        return call_end(&call, code);
    }
    code = call_add_disk(&call, child, &c);
    if (code == VIX_OK) {
        call.place = c->path;
        code = attach(&call, p, c);
    } else {
        (void)disk_close(p, NULL);
    }
    call.taken = NULL;
    handle_give_back(HANDLE_DISK, parent_slot);
    return call_end(&call, code);
}

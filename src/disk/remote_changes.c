/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_changes.c - what incremental copies need of the machine of a connection: its snapshots, its change tracking,
 * which areas of its disks have changed, and whether the user may do all that. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "disk/remote_int.h"

VixError remote_machine(struct remote *r, const char *snapshot, struct vim_vm_entry *ret_entry, struct err *err)
{
    CLEANUP_FREE char *vm = NULL;
    VixError code = remote_vm(r, &vm, err);

    return code == VIX_OK ? vim_read_entry(r->session, vm, snapshot, ret_entry, err) : code;
}

static VixError check_changeable(const struct remote *r, const char *what, struct err *err)
{
    if (r->read_only) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: %s: the connection is read-only", vim_peer(r->session), what);
    }
    return VIX_OK;
}

VixError remote_create_snapshot(struct remote *r, const char *name, const char *description, bool quiesce,
                                char **ret_snapshot, struct err *err)
{
    CLEANUP_FREE char *vm = NULL;
    VixError code = check_changeable(r, "making a snapshot", err);

    if (code == VIX_OK) {
        code = remote_vm(r, &vm, err);
    }
    return code == VIX_OK ? vim_create_snapshot(r->session, vm, name, description, quiesce, ret_snapshot, err) : code;
}

VixError remote_remove_snapshot(struct remote *r, const char *snapshot, struct err *err)
{
    VixError code = check_changeable(r, "removing a snapshot", err);

    return code == VIX_OK ? vim_remove_snapshot(r->session, snapshot, err) : code;
}

VixError remote_set_change_tracking(struct remote *r, bool on, struct err *err)
{
    CLEANUP_FREE char *vm = NULL;
    VixError code = check_changeable(r, "switching change tracking", err);

    if (code == VIX_OK) {
        code = remote_vm(r, &vm, err);
    }
    return code == VIX_OK ? vim_set_change_tracking(r->session, vm, on, err) : code;
}

VixError remote_has_privileges(struct remote *r, const char *const *names, size_t count, bool *ret_granted,
                               struct err *err)
{
    CLEANUP_FREE char *vm = NULL;
    VixError code = remote_vm(r, &vm, err);

    return code == VIX_OK ? vim_has_privileges(r->session, vm, names, count, ret_granted, err) : code;
}

VixError remote_query_changed(struct remote *r, const struct remote_changes *what, vim_area_func *func, void *ctx,
                              struct err *err)
{
    CLEANUP_FREE char *moref = NULL;
    struct vim_vm *vm = NULL;
    struct vim_changes query = {.snapshot = what->snapshot, .change_id = what->change_id, .start = what->start};

    VixError code = remote_path_check(r, what->path, err);
    if (code == VIX_OK) {
        code = remote_vm(r, &moref, err);
    }
    if (code == VIX_OK) {
        code = vim_read_vm(r->session, moref, what->snapshot, &vm, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *d = vim_disk_by_path(vm, what->path);
    if (d == NULL) {
        code = err_set(err, VIX_E_FILE_NOT_FOUND, "%s: %s is no disk of %s", vim_peer(r->session), what->path, moref);
    } else {
        query.vm = moref;
        query.key = d->key;
        query.end = what->end != 0 ? what->end : d->capacity;
    }
    vim_vm_free(vm);
    return code == VIX_OK ? vim_query_changed(r->session, &query, func, ctx, err) : code;
}

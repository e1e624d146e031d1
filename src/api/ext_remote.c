/* SPDX-License-Identifier: BSD-3-Clause */
/* What vixDiskLibExt.h has for servers: fingerprints, traffic, the inventory. */
#include "api/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/arena.h"
#include "base/alloc.h"

#define THUMBPRINT_TIMEOUT_MS 10000u /* limit: ms for a server to show its certificate, if not asked for otherwise */

/* ---- fingerprints ---- */

static VixError check_room(const char *text, size_t size, size_t need, const char *what, struct err *err)
{
    if (text != NULL && size < need) {
        return err_set(err, VIX_E_BUFFER_TOOSMALL, "%zu bytes are given for the %s fingerprint, which takes %zu", size,
                       what, need);
    }
    return VIX_OK;
}

static VixError check_server(struct api_call *call, const char *name, uint32 port)
{
    if (name == NULL || name[0] == '\0') {
        return err_set(&call->err, VIX_E_INVALID_ARG, "the name of the server is missing");
    }
    if (port > UINT16_MAX) {
        return err_set(&call->err, VIX_E_INVALID_ARG, "port %" PRIu32 " is none: the highest is 65535", port);
    }
    return VIX_OK;
}

VixError VixDiskLibExt_Thumbprint(const char *serverName, uint32 port, uint32 timeoutMs, char *sha1, size_t sha1Size,
                                  char *sha256, size_t sha256Size)
{
    struct api_call call;
    char first[REMOTE_SHA1_SIZE];
    char second[REMOTE_SHA256_SIZE];

    VixError code = call_on_library(&call, __func__, serverName);
    if (code == VIX_OK) {
        code = check_server(&call, serverName, port);
    }
    if (code == VIX_OK) {
        code = check_room(sha1, sha1Size, sizeof first, "SHA-1", &call.err);
    }
    if (code == VIX_OK) {
        code = check_room(sha256, sha256Size, sizeof second, "SHA-256", &call.err);
    }
    if (code == VIX_OK) {
        code = remote_thumbprint(serverName, (uint16_t)port, timeoutMs != 0 ? timeoutMs : THUMBPRINT_TIMEOUT_MS, first,
                                 second, &call.err);
    }
    if (code == VIX_OK && sha1 != NULL) {
        memcpy(sha1, first, sizeof first);
    }
    if (code == VIX_OK && sha256 != NULL) {
        memcpy(sha256, second, sizeof second);
    }
    return call_end(&call, code);
}

/* ---- traffic ---- */

static VixError give_traffic(struct api_call *call, VixError code, uint64_t in, uint64_t out, uint64 *ret_in,
                             uint64 *ret_out)
{
    if (code == VIX_OK && ret_in != NULL) {
        *ret_in = in;
    }
    if (code == VIX_OK && ret_out != NULL) {
        *ret_out = out;
    }
    return call_end(call, code);
}

VixError VixDiskLibExt_GetTraffic(VixDiskLibHandle diskHandle, uint64 *bytesIn, uint64 *bytesOut)
{
    struct api_call call;
    struct disk *d;
    uint64_t in = 0;
    uint64_t out = 0;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && disk_is_remote(d)) {
        disk_remote_traffic(d, &in, &out);
    }
    return give_traffic(&call, code, in, out, bytesIn, bytesOut);
}

VixError VixDiskLibExt_GetConnectionTraffic(VixDiskLibConnection connection, uint64 *bytesIn, uint64 *bytesOut)
{
    struct api_call call;
    struct connection *c;
    uint64_t in = 0;
    uint64_t out = 0;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK && c->remote != NULL) {
        remote_traffic(c->remote, &in, &out);
    }
    return give_traffic(&call, code, in, out, bytesIn, bytesOut);
}

/* ---- the inventory ---- */

static const char *const *copy_files(struct arena *a, const struct vim_disk *d)
{
    const char **files = arena_take(a, d->file_count * sizeof *files);

    for (size_t i = 0; i < d->file_count; i++) {
        const char *file = arena_text(a, d->files[i]);
        if (files != NULL) {
            files[i] = file;
        }
    }
    return files;
}

static void copy_disk_entry(struct arena *a, const struct vim_disk *d, VixDiskLibExt_VmDisk *to)
{
    VixDiskLibExt_VmDisk copy = {
        .label = arena_text(a, d->label),
        .controllerType = arena_text(a, d->controller_type),
        .backingType = arena_text(a, d->backing_type),
        .diskMode = arena_text(a, d->disk_mode),
        .uuid = arena_text(a, d->uuid),
        .changeId = arena_text(a, d->change_id),
        .files = copy_files(a, d),
        .numFiles = (uint32)d->file_count,
        .key = d->key,
        .unitNumber = d->unit,
        .capacityBytes = d->capacity,
        .thin = d->thin,
        .sharing = d->sharing,
    };

    if (to != NULL) {
        copy.file = d->file_count > 0 ? copy.files[0] : NULL;
        *to = copy;
    }
}

static void copy_snapshot(struct arena *a, const struct vim_snapshot *s, VixDiskLibExt_Snapshot *to)
{
    VixDiskLibExt_Snapshot copy = {
        .moref = arena_text(a, s->moref),
        .name = arena_text(a, s->name),
        .created = arena_text(a, s->created),
        .depth = s->depth,
        .current = s->current,
    };

    if (to != NULL) {
        *to = copy;
    }
}

static void copy_vm(struct arena *a, const struct vim_vm_entry *e, VixDiskLibExt_Vm *to)
{
    const struct vim_vm *vm = e->vm;
    VixDiskLibExt_VmDisk *disks = arena_take(a, vm->disk_count * sizeof *disks);
    VixDiskLibExt_Snapshot *snapshots = arena_take(a, e->snapshot_count * sizeof *snapshots);

    for (size_t i = 0; i < vm->disk_count; i++) {
        copy_disk_entry(a, &vm->disks[i], disks != NULL ? &disks[i] : NULL);
    }
    for (size_t i = 0; i < e->snapshot_count; i++) {
        copy_snapshot(a, &e->snapshots[i], snapshots != NULL ? &snapshots[i] : NULL);
    }
    VixDiskLibExt_Vm copy = {
        .moref = arena_text(a, vm->moref),
        .name = arena_text(a, vm->name),
        .host = arena_text(a, vm->host),
        .powerState = arena_text(a, vm->power_state),
        .vmxPath = arena_text(a, vm->vmx_path),
        .hardwareVersion = arena_text(a, vm->hw_version),
        .isTemplate = vm->is_template,
        .noSnapshots = vm->no_snapshots,
        .changeTracking = vm->change_tracking,
        .numDisks = (uint32)vm->disk_count,
        .numSnapshots = (uint32)e->snapshot_count,
        .disks = disks,
        .snapshots = snapshots,
    };
    if (to != NULL) {
        *to = copy;
    }
}

static void copy_datastore(struct arena *a, const struct vim_datastore_entry *d, VixDiskLibExt_Datastore *to)
{
    VixDiskLibExt_Datastore copy = {
        .moref = arena_text(a, d->moref),
        .name = arena_text(a, d->name),
        .type = arena_text(a, d->type),
        .url = arena_text(a, d->url),
        .capacityBytes = d->capacity,
        .freeBytes = d->free,
        .accessible = d->accessible,
    };

    if (to != NULL) {
        *to = copy;
    }
}

static VixDiskLibExt_Inventory *copy_inventory(struct arena *a, const struct remote *r, const struct vim_inventory *v)
{
    VixDiskLibExt_Inventory *to = arena_take(a, sizeof *to);
    VixDiskLibExt_Vm *vms = arena_take(a, v->vm_count * sizeof *vms);
    VixDiskLibExt_Datastore *datastores = arena_take(a, v->datastore_count * sizeof *datastores);

    for (size_t i = 0; i < v->vm_count; i++) {
        copy_vm(a, &v->vms[i], vms != NULL ? &vms[i] : NULL);
    }
    for (size_t i = 0; i < v->datastore_count; i++) {
        copy_datastore(a, &v->datastores[i], datastores != NULL ? &datastores[i] : NULL);
    }
    VixDiskLibExt_Inventory copy = {
        .serverName = arena_text(a, remote_peer(r)),
        .productName = arena_text(a, remote_about(r)->full_name),
        .apiVersion = arena_text(a, remote_about(r)->api_version),
        .isVCenter = remote_is_vcenter(r),
        .numVms = (uint32)v->vm_count,
        .numDatastores = (uint32)v->datastore_count,
        .vms = vms,
        .datastores = datastores,
    };
    if (to != NULL) {
        *to = copy;
    }
    return to;
}

static VixError list(const struct connection *c, VixDiskLibExt_Inventory **ret_inventory, struct err *err)
{
    struct vim_inventory *found = NULL;
    struct arena a = {0};

    if (c->remote == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the connection is to the local host, which has no inventory");
    }
    VixError code = remote_list(c->remote, &found, err);
    if (code != VIX_OK) {
        return code;
    }
    (void)copy_inventory(&a, c->remote, found);
    a.base = alloc_zero(a.used, err);
    if (a.base != NULL) {
        a.used = 0;
        *ret_inventory = copy_inventory(&a, c->remote, found);
    } else {
        code = VIX_E_OUT_OF_MEMORY;
    }
    vim_inventory_free(found);
    return code;
}

VixError VixDiskLibExt_ListInventory(VixDiskLibConnection connection, VixDiskLibExt_Inventory **inventory)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK) {
        code = call_need(&call, inventory, "place for the inventory");
    }
    if (code == VIX_OK) {
        code = list(c, inventory, &call.err);
    }
    return call_end(&call, code);
}

void VixDiskLibExt_FreeInventory(VixDiskLibExt_Inventory *inventory)
{
    free(inventory);
}

/* ---- one machine ---- */

static VixDiskLibExt_Vm *copy_machine(struct arena *a, const struct vim_vm_entry *e)
{
    VixDiskLibExt_Vm *to = arena_take(a, sizeof *to);

    copy_vm(a, e, to);
    return to;
}

static VixError machine(const struct connection *c, const char *snapshot, VixDiskLibExt_Vm **ret_vm, struct err *err)
{
    struct vim_vm_entry entry = {0};
    struct arena a = {0};

    if (c->remote == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the connection is to the local host, which has no machines");
    }
    VixError code = remote_machine(c->remote, snapshot, &entry, err);
    if (code != VIX_OK) {
        return code;
    }
    (void)copy_machine(&a, &entry);
    a.base = alloc_zero(a.used, err);
    if (a.base != NULL) {
        a.used = 0;
        *ret_vm = copy_machine(&a, &entry);
    } else {
        code = VIX_E_OUT_OF_MEMORY;
    }
    vim_entry_clear(&entry);
    return code;
}

VixError VixDiskLibExt_GetMachine(VixDiskLibConnection connection, const char *snapshotRef, VixDiskLibExt_Vm **vm)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK) {
        code = call_need(&call, vm, "place for the machine");
    }
    if (code == VIX_OK) {
        code = machine(c, snapshotRef, vm, &call.err);
    }
    return call_end(&call, code);
}

void VixDiskLibExt_FreeMachine(VixDiskLibExt_Vm *vm)
{
    free(vm);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* vm.c - a virtual machine and its disks, out of properties. What the server leaves out stays NULL, 0 or false. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "vim/vim_int.h"

#define DEVICES "config.hardware.device"

const char *const vim_vm_paths[] = {
    "name",
    "runtime.host",
    "runtime.powerState",
    DEVICES,
    "config.changeTrackingEnabled",
    "config.files.vmPathName",
    "config.version",
    "config.template",
    "capability.snapshotOperationsSupported",
    "snapshot",
    "datastore",
};
const size_t vim_vm_path_count = sizeof vim_vm_paths / sizeof vim_vm_paths[0];

/* ---- disks ---- */

static const struct xml_node *device_by_key(const struct xml_node *devices, int32_t key)
{
    for (const struct xml_node *d = devices != NULL ? devices->children : NULL; d != NULL; d = d->next) {
        int32_t found;
        if (xml_int32(d, "key", &found) && found == key) {
            return d;
        }
    }
    return NULL;
}

/* The names of the backing and of those below it. */
static VixError fill_files(struct vim_disk *disk, const struct xml_node *backing, struct err *err)
{
    size_t count = 0;

    for (const struct xml_node *b = backing; b != NULL; b = xml_child(b, "parent")) {
        count += xml_text(b, "fileName") != NULL;
    }
    disk->files = alloc_array(count, sizeof *disk->files, err);
    if (disk->files == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *b = backing; b != NULL; b = xml_child(b, "parent")) {
        const char *name = xml_text(b, "fileName");
        if (name != NULL && !vim_copy_text(name, &disk->files[disk->file_count++], err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return VIX_OK;
}

static VixError fill_backing(struct vim_disk *disk, const struct xml_node *backing, struct err *err)
{
    const char *sharing = xml_text(backing, "sharing");

    if (!vim_copy_text(backing != NULL ? backing->type : NULL, &disk->backing_type, err) ||
        !vim_copy_text(xml_text(backing, "datastore"), &disk->datastore, err) ||
        !vim_copy_text(xml_text(backing, "diskMode"), &disk->disk_mode, err) ||
        !vim_copy_text(xml_text(backing, "uuid"), &disk->uuid, err) ||
        !vim_copy_text(xml_text(backing, "contentId"), &disk->content_id, err) ||
        !vim_copy_text(xml_text(backing, "changeId"), &disk->change_id, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    disk->thin = xml_bool(backing, "thinProvisioned");
    disk->sharing = sharing != NULL && strcmp(sharing, "sharingMultiWriter") == 0;
    return fill_files(disk, backing, err);
}

static VixError fill_disk(struct vim_disk *disk, const struct xml_node *devices, const struct xml_node *device,
                          struct err *err)
{
    uint64_t kib;

    (void)xml_int32(device, "key", &disk->key);
    (void)xml_int32(device, "controllerKey", &disk->controller_key);
    if (!xml_int32(device, "unitNumber", &disk->unit)) {
        disk->unit = -1;
    }
    if (!xml_number(device, "capacityInBytes", &disk->capacity) && xml_number(device, "capacityInKB", &kib) &&
        !checked_mul(kib, 1024, &disk->capacity)) {
        disk->capacity = 0;
    }
    const struct xml_node *controller = device_by_key(devices, disk->controller_key);
    if (!vim_copy_text(xml_text(device, "deviceInfo/label"), &disk->label, err) ||
        !vim_copy_text(controller != NULL ? controller->type : NULL, &disk->controller_type, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return fill_backing(disk, xml_child(device, "backing"), err);
}

static bool is_disk(const struct xml_node *device)
{
    return device->type != NULL && strcmp(device->type, "VirtualDisk") == 0;
}

static VixError fill_disks(struct vim_vm *vm, const struct xml_node *devices, struct err *err)
{
    const struct xml_node *first = devices != NULL ? devices->children : NULL;
    size_t count = 0;

    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        count += is_disk(d);
    }
    vm->disks = alloc_array(count, sizeof *vm->disks, err);
    if (vm->disks == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        if (is_disk(d)) {
            VixError code = fill_disk(&vm->disks[vm->disk_count++], devices, d, err);
            if (code != VIX_OK) {
                return code;
            }
        }
    }
    return VIX_OK;
}

static void disk_clear(struct vim_disk *disk)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        free(disk->files[i]);
    }
    free(disk->files);
    free(disk->label);
    free(disk->controller_type);
    free(disk->backing_type);
    free(disk->datastore);
    free(disk->disk_mode);
    free(disk->uuid);
    free(disk->content_id);
    free(disk->change_id);
}

static void disks_clear(struct vim_vm *vm)
{
    for (size_t i = 0; i < vm->disk_count; i++) {
        disk_clear(&vm->disks[i]);
    }
    free(vm->disks);
    vm->disks = NULL;
    vm->disk_count = 0;
}

/* ---- the machine ---- */

static VixError fill_datastores(struct vim_vm *vm, const struct xml_node *list, struct err *err)
{
    size_t count = 0;
    const struct xml_node *first = list != NULL ? list->children : NULL;

    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        count++;
    }
    vm->datastores = alloc_array(count, sizeof *vm->datastores, err);
    if (vm->datastores == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        if (!vim_copy_text(d->text, &vm->datastores[vm->datastore_count++], err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return VIX_OK;
}

static VixError fill_macs(struct vim_vm *vm, const struct xml_node *devices, struct err *err)
{
    size_t count = 0;
    const struct xml_node *first = devices != NULL ? devices->children : NULL;

    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        count += xml_text(d, "macAddress") != NULL;
    }
    vm->macs = alloc_array(count, sizeof *vm->macs, err);
    if (vm->macs == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *d = first; d != NULL; d = d->next) {
        const char *mac = xml_text(d, "macAddress");
        if (mac != NULL && !vim_copy_text(mac, &vm->macs[vm->mac_count++], err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return VIX_OK;
}

VixError vim_vm_fill(struct vim_vm *vm, const struct xml_node *object, struct err *err)
{
    const struct xml_node *snapshot = vim_property(object, "snapshot");
    const char *tracking = vim_property_text(object, "config.changeTrackingEnabled");
    const char *template = vim_property_text(object, "config.template");
    const char *snapshots = vim_property_text(object, "capability.snapshotOperationsSupported");

    if (!vim_copy_text(xml_text(object, "obj"), &vm->moref, err) ||
        !vim_copy_name(vim_property_text(object, "name"), &vm->name, err) ||
        !vim_copy_text(vim_property_text(object, "runtime.host"), &vm->host, err) ||
        !vim_copy_text(vim_property_text(object, "runtime.powerState"), &vm->power_state, err) ||
        !vim_copy_text(vim_property_text(object, "config.files.vmPathName"), &vm->vmx_path, err) ||
        !vim_copy_text(vim_property_text(object, "config.version"), &vm->hw_version, err) ||
        !vim_copy_text(xml_text(snapshot, "currentSnapshot"), &vm->current_snapshot, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    vm->is_template = template != NULL && strcmp(template, "true") == 0;
    vm->no_snapshots = snapshots != NULL && strcmp(snapshots, "false") == 0;
    vm->change_tracking = tracking != NULL && strcmp(tracking, "true") == 0;
    VixError code = fill_datastores(vm, vim_property(object, "datastore"), err);
    if (code == VIX_OK) {
        code = fill_macs(vm, vim_property(object, DEVICES), err);
    }
    return code == VIX_OK ? fill_disks(vm, vim_property(object, DEVICES), err) : code;
}

void vim_vm_clear(struct vim_vm *vm)
{
    free(vm->moref);
    free(vm->name);
    free(vm->host);
    free(vm->power_state);
    free(vm->vmx_path);
    free(vm->hw_version);
    free(vm->current_snapshot);
    for (size_t i = 0; i < vm->datastore_count; i++) {
        free(vm->datastores[i]);
    }
    free(vm->datastores);
    for (size_t i = 0; i < vm->mac_count; i++) {
        free(vm->macs[i]);
    }
    free(vm->macs);
    disks_clear(vm);
    *vm = (struct vim_vm){0};
}

void vim_vm_free(struct vim_vm *vm)
{
    if (vm != NULL) {
        vim_vm_clear(vm);
        free(vm);
    }
}

/* An object that is gone, and one that shows no hardware, in the words of what it is. */
static VixError absent(struct vim_session *s, bool is_snapshot, const char *moref, const struct vim_reply *reply,
                       VixError code, struct err *err)
{
    if (strcmp(reply->fault_type, "ManagedObjectNotFound") != 0) {
        return code;
    }
    return err_set(err, is_snapshot ? VIX_E_OBJECT_NOT_FOUND : VIX_E_VM_NOT_FOUND, "%s: there is no %s %.200s",
                   vim_peer(s), is_snapshot ? "snapshot" : "virtual machine", moref);
}

static VixError hidden(struct vim_session *s, const char *moref, const struct xml_node *object, struct err *err)
{
    const char *why = vim_property_missing(object, DEVICES);
    char text[64];

    vim_plain_text(why != NULL ? why : "it has none", text, sizeof text);
    return err_set(err, why != NULL ? soap_fault_code(why) : VIX_E_FAIL,
                   "%s: %.200s: the server does not tell the hardware (" DEVICES "): %s", vim_peer(s), moref, text);
}

VixError vim_devices(struct vim_session *s, const char *type, const char *value, struct vim_reply *ret_reply,
                     const struct xml_node **ret_devices, struct err *err)
{
    static const char *const path[] = {DEVICES};
    const struct xml_node *object = NULL;
    VixError code = vim_properties(s, type, value, path, 1, ret_reply, &object, err);

    if (code != VIX_OK) {
        return absent(s, strcmp(type, "VirtualMachineSnapshot") == 0, value, ret_reply, code, err);
    }
    const struct xml_node *devices = vim_property(object, DEVICES);
    if (devices == NULL) {
        return hidden(s, value, object, err);
    }
    *ret_devices = devices;
    return VIX_OK;
}

static VixError read_snapshot_disks(struct vim_session *s, const char *snapshot, struct vim_vm *vm, struct err *err)
{
    struct vim_reply reply;
    const struct xml_node *devices;
    VixError code = vim_devices(s, "VirtualMachineSnapshot", snapshot, &reply, &devices, err);

    if (code == VIX_OK) {
        disks_clear(vm);
        code = fill_disks(vm, devices, err);
    }
    vim_reply_free(&reply);
    return code;
}

static VixError read_machine(struct vim_session *s, const char *moref, struct vim_vm *vm, struct err *err)
{
    struct vim_reply reply;
    const struct xml_node *object = NULL;
    VixError code = vim_properties(s, "VirtualMachine", moref, vim_vm_paths, vim_vm_path_count, &reply, &object, err);

    if (code != VIX_OK) {
        code = absent(s, false, moref, &reply, code, err);
    } else if (vim_property(object, DEVICES) == NULL) {
        code = hidden(s, moref, object, err);
    } else {
        code = vim_vm_fill(vm, object, err);
    }
    vim_reply_free(&reply);
    return code;
}

VixError vim_read_vm(struct vim_session *s, const char *vm, const char *snapshot, struct vim_vm **ret_vm,
                     struct err *err)
{
    struct vim_vm *result = alloc_zero(sizeof *result, err);

    if (result == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = read_machine(s, vm, result, err);
    if (code == VIX_OK && snapshot != NULL && snapshot[0] != '\0') {
        code = read_snapshot_disks(s, snapshot, result, err);
    }
    if (code != VIX_OK) {
        vim_vm_free(result);
        return code;
    }
    *ret_vm = result;
    return VIX_OK;
}

static size_t file_index(const struct vim_disk *disk, const struct vim_path *path)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        struct vim_path file;
        if (vim_path_parse(disk->files[i], &file, NULL) == VIX_OK) {
            bool same = strcmp(file.datastore, path->datastore) == 0 && strcmp(file.file, path->file) == 0;
            vim_path_free(&file);
            if (same) {
                return i;
            }
        }
    }
    return disk->file_count;
}

static bool disk_has(const struct vim_disk *disk, const struct vim_path *path)
{
    return file_index(disk, path) < disk->file_count;
}

size_t vim_disk_file_index(const struct vim_disk *disk, const char *path)
{
    struct vim_path wanted;

    if (vim_path_parse(path, &wanted, NULL) != VIX_OK) {
        return disk->file_count;
    }
    size_t index = file_index(disk, &wanted);
    vim_path_free(&wanted);
    return index;
}

bool vim_disk_has_path(const struct vim_disk *disk, const char *path)
{
    return vim_disk_file_index(disk, path) < disk->file_count;
}

const struct vim_disk *vim_disk_by_path(const struct vim_vm *vm, const char *path)
{
    struct vim_path wanted;
    const struct vim_disk *found = NULL;

    if (vim_path_parse(path, &wanted, NULL) != VIX_OK) {
        return NULL;
    }
    for (size_t i = 0; i < vm->disk_count && found == NULL; i++) {
        if (disk_has(&vm->disks[i], &wanted)) {
            found = &vm->disks[i];
        }
    }
    vim_path_free(&wanted);
    return found;
}

bool vim_disk_is_written(const struct vim_disk *disk, const char *path)
{
    struct vim_disk first = *disk;
    struct vim_path wanted;

    if (disk->file_count == 0 || vim_path_parse(path, &wanted, NULL) != VIX_OK) {
        return false;
    }
    first.file_count = 1;
    bool is_first = disk_has(&first, &wanted);
    vim_path_free(&wanted);
    return is_first;
}

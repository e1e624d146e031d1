/* SPDX-License-Identifier: BSD-3-Clause */
/* attach.c - an existing disk into a virtual machine and out of it again. No call here ever names a fileOperation: on
 * adding it would make a new disk, on removing it would destroy the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "vim/vim_int.h"

#define UNITS 16          /* of a SCSI controller */
#define UNIT_OF_ADAPTER 7 /* the controller's own */
#define BUSES 4           /* SCSI controllers of a machine */
#define NEW_DISK (-201)   /* keys of devices that are to be made */
#define NEW_ADAPTER (-101)
#define BUSY_POLL_MS 1000u /* own: between looks */

/* Where a disk can go. */
struct slot {
    int32_t controller_key; /* NEW_ADAPTER: a controller is to be made */
    unsigned unit;
    unsigned bus; /* of the new controller */
};

/* The controllers that take disks, the best first; -1 for other devices. */
static int rank_of(const struct xml_node *device)
{
    static const char *const types[] = {"ParaVirtualSCSIController", "VirtualLsiLogicSASController",
                                        "VirtualLsiLogicController", "VirtualSCSIController",
                                        "VirtualBusLogicController"};

    for (size_t i = 0; i < sizeof types / sizeof types[0] && device->type != NULL; i++) {
        if (strcmp(device->type, types[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* A bit for each unit of a controller that is taken. */
static uint32_t units_taken(const struct xml_node *devices, int32_t controller_key)
{
    uint32_t taken = 1u << UNIT_OF_ADAPTER;

    for (const struct xml_node *d = devices->children; d != NULL; d = d->next) {
        int32_t key, unit;
        if (xml_int32(d, "controllerKey", &key) && key == controller_key && xml_int32(d, "unitNumber", &unit) &&
            unit >= 0 && unit < UNITS) {
            taken |= 1u << (unsigned)unit;
        }
    }
    return taken;
}

static bool free_unit(const struct xml_node *devices, int32_t controller_key, unsigned *ret_unit)
{
    uint32_t taken = units_taken(devices, controller_key);

    for (unsigned unit = 0; unit < UNITS; unit++) {
        if ((taken >> unit & 1) == 0) {
            *ret_unit = unit;
            return true;
        }
    }
    return false;
}

/* A place on a controller that is there: of the best kind, and of those on the lowest bus. */
static bool find_unit(const struct xml_node *devices, struct slot *ret_slot, uint32_t *ret_buses)
{
    int best = INT32_MAX;

    for (const struct xml_node *d = devices->children; d != NULL; d = d->next) {
        int32_t key, bus;
        unsigned unit;
        int rank = rank_of(d);
        if (rank < 0 || !xml_int32(d, "key", &key) || !xml_int32(d, "busNumber", &bus) || bus < 0 || bus >= BUSES) {
            continue;
        }
        *ret_buses |= 1u << (unsigned)bus;
        if (rank * BUSES + bus < best && free_unit(devices, key, &unit)) {
            best = rank * BUSES + bus;
            *ret_slot = (struct slot){.controller_key = key, .unit = unit};
        }
    }
    return best != INT32_MAX;
}

static bool find_slot(const struct xml_node *devices, struct slot *ret_slot)
{
    uint32_t buses = 0;

    if (find_unit(devices, ret_slot, &buses)) {
        return true;
    }
    for (unsigned bus = 0; bus < BUSES; bus++) {
        if ((buses >> bus & 1) == 0) {
            *ret_slot = (struct slot){.controller_key = NEW_ADAPTER, .bus = bus};
            return true;
        }
    }
    return false;
}

static void write_int(struct xml_text *x, const char *name, int32_t value)
{
    char digits[16];

    (void)snprintf(digits, sizeof digits, "%d", value);
    xml_element(x, name, digits);
}

static void write_adapter(struct xml_text *x, unsigned bus)
{
    xml_raw(x, "<deviceChange><operation>add</operation><device xsi:type=\"ParaVirtualSCSIController\">");
    write_int(x, "key", NEW_ADAPTER);
    write_int(x, "busNumber", (int32_t)bus);
    xml_raw(x, "<sharedBus>noSharing</sharedBus></device></deviceChange>");
}

/* What a device of a change is. */
struct disk_text {
    const char *operation, *backing_type, *file, *mode;
    int32_t key, controller_key, unit;
    uint64_t capacity;
};

static void write_disk(struct xml_text *x, const struct disk_text *d)
{
    xml_raw(x, "<deviceChange>");
    xml_element(x, "operation", d->operation);
    xml_raw(x, "<device xsi:type=\"VirtualDisk\">");
    write_int(x, "key", d->key);
    xml_raw(x, "<backing xsi:type=\"");
    xml_escaped(x, d->backing_type);
    xml_raw(x, "\">");
    xml_element(x, "fileName", d->file);
    xml_element(x, "diskMode", d->mode);
    xml_raw(x, "</backing>");
    write_int(x, "controllerKey", d->controller_key);
    if (d->unit >= 0) {
        write_int(x, "unitNumber", d->unit);
    }
    xml_element_number(x, "capacityInKB", div_up(d->capacity, 1024));
    xml_raw(x, "</device></deviceChange>");
}

static VixError reconfigure(struct vim_session *s, const char *vm, const struct slot *slot,
                            const struct disk_text *disk, struct err *err)
{
    struct vim_call call = vim_call_begin("ReconfigVM_Task", "VirtualMachine", vm);

    xml_raw(&call.text, "<spec>");
    if (slot != NULL && slot->controller_key == NEW_ADAPTER) {
        write_adapter(&call.text, slot->bus);
    }
    write_disk(&call.text, disk);
    xml_raw(&call.text, "</spec>");
    return vim_call_task(s, &call, NULL, err);
}

/** Waits a while after a change that the machine was too busy for; false: it was long enough, or failed otherwise. */
static bool is_busy_still(VixError code, unsigned *waited_ms, struct err *err)
{
    const struct timespec pause = {.tv_sec = BUSY_POLL_MS / 1000};

    if (code != VIX_E_OBJECT_IS_BUSY || *waited_ms >= VIM_BUSY_MS) {
        return false;
    }
    *waited_ms += BUSY_POLL_MS;
    (void)nanosleep(&pause, NULL);
    if (err != NULL) {
        err_init(err);
    }
    return true;
}

static VixError choose_slot(struct vim_session *s, const char *vm, struct slot *ret_slot, struct err *err)
{
    struct vim_reply reply;
    const struct xml_node *devices;
    VixError code = vim_devices(s, "VirtualMachine", vm, &reply, &devices, err);

    if (code == VIX_OK && !find_slot(devices, ret_slot)) {
        code = err_set(err, VIX_E_OBJECT_IS_BUSY,
                       "%s: %s: no place for another disk: %u SCSI controllers with %u disks each are full",
                       vim_peer(s), vm, BUSES, UNITS - 1);
    }
    vim_reply_free(&reply);
    return code;
}

static VixError attach_once(struct vim_session *s, const char *vm, struct disk_text *disk, bool *ret_sent,
                            struct err *err)
{
    struct slot slot = {0};
    VixError code = choose_slot(s, vm, &slot, err);

    *ret_sent = code == VIX_OK;
    if (code == VIX_OK) {
        disk->controller_key = slot.controller_key;
        disk->unit = (int32_t)slot.unit;
        code = reconfigure(s, vm, &slot, disk, err);
    }
    return code;
}

/* Whether a failed call tells nothing of what has become of the change: no answer came, or none that can be read, or
 * the task that was begun is not known any more. Any other fault is an answer. */
static bool is_unanswered(VixError code)
{
    switch (code) {
    case VIX_E_OUT_OF_MEMORY:
    case VIX_E_INVALID_XML:
    case VIX_E_OBJECT_NOT_FOUND:
    case VIX_E_INVALID_AUTHENTICATION_SESSION:
    case VIX_E_CANNOT_CONNECT_TO_HOST:
    case VIX_E_HOST_CONNECTION_LOST:
    case VIX_E_HOST_NOT_CONNECTED:
    case VIX_E_HOST_NETWORK_CONN_REFUSED:
    case VIX_E_HOST_SERVER_NOT_AVAILABLE:
    case VIX_E_HOST_SERVER_NOT_FOUND:
    case VIX_E_HOST_TCP_CONN_LOST:
    case VIX_E_HOST_TCP_SOCKET_ERROR:
        return true;
    default:
        return false;
    }
}

/* What was attached, where the server lists it under another spelling of its path: the disk in the place that was free.
 */
static const struct vim_disk *disk_in_place(const struct vim_vm *vm, const struct disk_text *disk)
{
    for (size_t i = 0; i < vm->disk_count; i++) {
        const struct vim_disk *d = &vm->disks[i];
        if (d->controller_key == disk->controller_key && d->unit == disk->unit && d->disk_mode != NULL &&
            strcmp(d->disk_mode, disk->mode) == 0) {
            return d;
        }
    }
    return NULL;
}

VixError vim_attach_disk(struct vim_session *s, const char *vm, const char *path, const char *mode, uint64_t capacity,
                         int32_t *ret_key, bool *ret_open, struct err *err)
{
    struct vim_vm *now = NULL;
    struct disk_text disk = {
        .operation = "add",
        .backing_type = "VirtualDiskFlatVer2BackingInfo",
        .file = path,
        .mode = mode,
        .key = NEW_DISK,
        .capacity = capacity,
    };
    unsigned waited_ms = 0;
    bool sent;
    VixError code;

    do {
        code = attach_once(s, vm, &disk, &sent, err);
    } while (sent && is_busy_still(code, &waited_ms, err));
    *ret_open = sent && (code == VIX_OK || is_unanswered(code));
    if (code == VIX_OK) {
        code = vim_read_vm(s, vm, NULL, &now, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *attached = vim_disk_by_path(now, path);
    if (attached == NULL) {
        attached = disk_in_place(now, &disk);
    }
    if (attached == NULL) {
        code = err_set(err, VIX_E_FAIL, "%s: %s: %.300s was attached, but the machine does not list it", vim_peer(s),
                       vm, path);
    } else {
        *ret_key = attached->key;
        *ret_open = false;
    }
    vim_vm_free(now);
    return code;
}

static const struct vim_disk *disk_by_key(const struct vim_vm *vm, int32_t key)
{
    for (size_t i = 0; i < vm->disk_count; i++) {
        if (vm->disks[i].key == key) {
            return &vm->disks[i];
        }
    }
    return NULL;
}

/* Whether the disk with the key is the one that is meant: key and file, or, as a datastore may get another name, key
 * and UUID. One of which neither is told is not taken for it, nor for another. */
static VixError check_is_meant(struct vim_session *s, const char *vm, const struct vim_disk *found, int32_t key,
                               const char *path, const char *uuid, struct err *err)
{
    bool told = found != NULL && uuid != NULL && found->uuid != NULL;

    if (found != NULL && found->backing_type != NULL && found->file_count > 0 &&
        (vim_disk_has_path(found, path) || (told && strcmp(found->uuid, uuid) == 0))) {
        return VIX_OK;
    }
    if (found == NULL || told) {
        return err_set(err, VIX_E_OBJECT_NOT_FOUND, "%s: %s: the machine has no disk %.300s with key %d", vim_peer(s),
                       vm, path, key);
    }
    return err_set(err, VIX_E_FAIL, "%s: %s: the disk with key %d is not %.300s, or has another name now: %.300s",
                   vim_peer(s), vm, key, path, found->file_count > 0 ? found->files[0] : "without a file");
}

static VixError detach_once(struct vim_session *s, const char *vm, int32_t key, const char *path, const char *uuid,
                            struct err *err)
{
    struct vim_vm *now = NULL;
    VixError code = vim_read_vm(s, vm, NULL, &now, err);

    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *found = disk_by_key(now, key);
    code = check_is_meant(s, vm, found, key, path, uuid, err);
    if (code == VIX_OK) {
        const struct disk_text disk = {
            .operation = "remove",
            .backing_type = found->backing_type,
            .file = found->files[0],
            .mode = found->disk_mode != NULL ? found->disk_mode : "persistent",
            .key = key,
            .controller_key = found->controller_key,
            .unit = found->unit,
            .capacity = found->capacity,
        };
        code = reconfigure(s, vm, NULL, &disk, err);
    }
    vim_vm_free(now);
    return code;
}

VixError vim_detach_disk(struct vim_session *s, const char *vm, int32_t key, const char *path, const char *uuid,
                         struct err *err)
{
    unsigned waited_ms = 0;
    VixError code;

    do {
        code = detach_once(s, vm, key, path, uuid, err);
    } while (is_busy_still(code, &waited_ms, err));
    return code;
}

VixError vim_host_has_datastore(struct vim_session *s, const char *host, const char *datastore, bool *ret_has,
                                struct err *err)
{
    static const char *const path[] = {"datastore"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    VixError code = vim_properties(s, "HostSystem", host, path, 1, &reply, &object, err);
    const struct xml_node *list = code == VIX_OK ? vim_property(object, "datastore") : NULL;
    bool has = list == NULL;

    for (const struct xml_node *d = list != NULL ? list->children : NULL; d != NULL && !has; d = d->next) {
        has = d->text != NULL && strcmp(d->text, datastore) == 0;
    }
    vim_reply_free(&reply);
    if (code == VIX_OK) {
        *ret_has = has;
    }
    return code;
}

VixError vim_datastore_type(struct vim_session *s, const char *datastore, char **ret_type, struct err *err)
{
    static const char *const path[] = {"summary"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    VixError code = vim_properties(s, "Datastore", datastore, path, 1, &reply, &object, err);

    *ret_type = NULL;
    if (code == VIX_OK && !vim_copy_text(xml_text(vim_property(object, "summary"), "type"), ret_type, err)) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    vim_reply_free(&reply);
    return code;
}

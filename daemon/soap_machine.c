/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine's properties, with its disks as devices behind SCSI controllers: fifteen disks each. Machines here never
 * run; changes of their disks are tracked (tracking.h), but not on a volume of VMFS. Those there have a snapshot, which
 * is the machine as it is: a lease of a disk is one as of a snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/soap_int.h"

#define DISKS_OF_CONTROLLER 15u
#define UNIT_OF_CONTROLLER 7u /* takes a place on its own bus */
#define FIRST_CONTROLLER 1000u

static void put_path(const struct datastore *ds, const char *name, const char *path, struct xml_text *x)
{
    char *text = datastore_path(ds, path, NULL);

    x->failed = x->failed || text == NULL;
    xml_element(x, name, text);
    free(text);
}

/* ---- devices ---- */

static void put_backing(const struct machine *m, const struct machine_disk *d, size_t depth, struct xml_text *x)
{
    const char *path = depth == 0 ? d->path : d->parents[depth - 1];
    char cid[16];

    put_path(m->ds, "fileName", path, x);
    xml_reference(x, "datastore", "Datastore", m->ds->moref);
    xml_element(x, "diskMode", "persistent");
    xml_element_bool(x, "split", false);
    xml_element_bool(x, "writeThrough", false);
    if (!d->sparse) {
        xml_element_bool(x, "thinProvisioned", d->thin);
    }
    if (d->uuid[0] != '\0') {
        xml_element(x, "uuid", d->uuid);
    }
    if (depth == 0) {
        (void)snprintf(cid, sizeof cid, "%08" PRIx32, d->cid);
        xml_element(x, "contentId", cid);
        if (d->change_id[0] != '\0') {
            xml_element(x, "changeId", d->change_id);
        }
    }
}

/** The chain, each link within the one above. */
static void put_chain(const struct machine *m, const struct machine_disk *d, struct xml_text *x)
{
    const char *type =
        d->sparse ? " xsi:type=\"VirtualDiskSparseVer2BackingInfo\">" : " xsi:type=\"VirtualDiskFlatVer2BackingInfo\">";

    for (size_t i = 0; i <= d->parent_count; i++) {
        xml_raw(x, i == 0 ? "<backing" : "<parent");
        xml_raw(x, type);
        put_backing(m, d, i, x);
    }
    for (size_t i = 0; i < d->parent_count; i++) {
        xml_raw(x, "</parent>");
    }
    xml_raw(x, "</backing>");
}

static void begin_device(const char *element, const char *type, struct xml_text *x)
{
    xml_raw(x, "<");
    xml_raw(x, element);
    xml_raw(x, " xsi:type=\"");
    xml_raw(x, type);
    xml_raw(x, "\">");
}

static void end_device(const char *element, struct xml_text *x)
{
    xml_raw(x, "</");
    xml_raw(x, element);
    xml_raw(x, ">");
}

static void put_disk(const struct machine *m, const struct machine_disk *d, size_t index, const char *element,
                     struct xml_text *x)
{
    char text[48];
    size_t place = index % DISKS_OF_CONTROLLER;

    begin_device(element, "VirtualDisk", x);
    xml_element_number(x, "key", (uint64_t)d->key);
    xml_raw(x, "<deviceInfo xsi:type=\"Description\">");
    (void)snprintf(text, sizeof text, "Hard disk %zu", index + 1);
    xml_element(x, "label", text);
    (void)snprintf(text, sizeof text, "%" PRIu64 " KB", d->capacity / 1024);
    xml_element(x, "summary", text);
    xml_raw(x, "</deviceInfo>");
    put_chain(m, d, x);
    xml_element_number(x, "controllerKey", FIRST_CONTROLLER + index / DISKS_OF_CONTROLLER);
    xml_element_number(x, "unitNumber", place < UNIT_OF_CONTROLLER ? place : place + 1);
    xml_element_number(x, "capacityInKB", d->capacity / 1024);
    xml_element_number(x, "capacityInBytes", d->capacity);
    end_device(element, x);
}

static void put_controller(const struct machine_disks *disks, size_t bus, const char *element, struct xml_text *x)
{
    char text[32];

    begin_device(element, "VirtualLsiLogicController", x);
    xml_element_number(x, "key", FIRST_CONTROLLER + bus);
    xml_raw(x, "<deviceInfo xsi:type=\"Description\">");
    (void)snprintf(text, sizeof text, "SCSI controller %zu", bus);
    xml_element(x, "label", text);
    xml_element(x, "summary", "LSI Logic");
    xml_raw(x, "</deviceInfo>");
    xml_element_number(x, "busNumber", bus);
    for (size_t i = bus * DISKS_OF_CONTROLLER; i < disks->count && i < (bus + 1) * DISKS_OF_CONTROLLER; i++) {
        xml_element_number(x, "device", (uint64_t)disks->disks[i].key);
    }
    xml_element(x, "sharedBus", "noSharing");
    xml_element_number(x, "scsiCtlrUnitNumber", UNIT_OF_CONTROLLER);
    end_device(element, x);
}

static void put_all_devices(struct call *c, const struct machine *m, const char *element, struct xml_text *x)
{
    struct machine_disks disks = {0};
    struct err err;

    err_init(&err);
    if (machine_read_disks(m, &disks, &err) != VIX_OK) {
        host_log(HOST_LOG_WARN, "the disks of %s cannot be read: %s", m->vmx, err.text);
        call_failed(c, &err);
        return;
    }
    for (size_t bus = 0; bus * DISKS_OF_CONTROLLER < disks.count; bus++) {
        put_controller(&disks, bus, element, x);
    }
    for (size_t i = 0; i < disks.count; i++) {
        put_disk(m, &disks.disks[i], i, element, x);
    }
    machine_disks_done(&disks);
}

static void put_device_array(struct call *c, const struct object *o, struct xml_text *x)
{
    xml_raw(x, "<val xsi:type=\"ArrayOfVirtualDevice\">");
    put_all_devices(c, o->machine, "VirtualDevice", x);
    xml_raw(x, "</val>");
}

static void put_hardware_members(struct call *c, const struct machine *m, struct xml_text *x)
{
    xml_element_number(x, "numCPU", 1);
    xml_element_number(x, "memoryMB", 1024);
    put_all_devices(c, m, "device", x); /* as the member of a structure an array has no wrapper */
}

static void put_hardware(struct call *c, const struct object *o, struct xml_text *x)
{
    xml_raw(x, "<val xsi:type=\"VirtualHardware\">");
    put_hardware_members(c, o->machine, x);
    xml_raw(x, "</val>");
}

/* ---- other properties ---- */

static void put_name(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    put_val_name(x, o->machine->name);
}

static void put_uuid(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    put_val(x, "xsd:string", o->machine->uuid);
}

static void put_false(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    (void)o;
    put_val(x, "xsd:boolean", "false");
}

static void put_tracked(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    put_val(x, "xsd:boolean", tracking_is_kept(o->machine->ds) ? "true" : "false");
}

/** Changes are tracked by links that are made by others: docs/vixdiskd.md. */
static void put_capability(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    xml_raw(x, "<val xsi:type=\"VirtualMachineCapability\">");
    xml_element_bool(x, "snapshotOperationsSupported", false);
    xml_element_bool(x, "changeTrackingSupported", tracking_is_kept(o->machine->ds));
    xml_raw(x, "</val>");
}

static void put_vmx(struct call *c, const struct object *o, struct xml_text *x)
{
    char *text = datastore_path(o->machine->ds, o->machine->vmx, NULL);

    (void)c;
    x->failed = x->failed || text == NULL;
    put_val(x, "xsd:string", text != NULL ? text : "");
    free(text);
}

static void put_files(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    xml_raw(x, "<val xsi:type=\"VirtualMachineFileInfo\">");
    put_path(o->machine->ds, "vmPathName", o->machine->vmx, x);
    xml_raw(x, "</val>");
}

static void put_power(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    (void)o;
    put_val(x, "VirtualMachinePowerState", "poweredOff");
}

static void put_connection(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    (void)o;
    put_val(x, "VirtualMachineConnectionState", "connected");
}

static void put_runtime(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    (void)o;
    xml_raw(x, "<val xsi:type=\"VirtualMachineRuntimeInfo\">");
    xml_reference(x, "host", "HostSystem", REF_HOST);
    xml_element(x, "connectionState", "connected");
    xml_element(x, "powerState", "poweredOff");
    xml_raw(x, "</val>");
}

static void put_config(struct call *c, const struct object *o, struct xml_text *x)
{
    const struct machine *m = o->machine;

    xml_raw(x, "<val xsi:type=\"VirtualMachineConfigInfo\"><name>");
    put_inventory_name(x, m->name);
    xml_raw(x, "</name>");
    xml_element(x, "uuid", m->uuid);
    xml_element(x, "instanceUuid", m->uuid);
    xml_element_bool(x, "template", false);
    xml_raw(x, "<files>");
    put_path(m->ds, "vmPathName", m->vmx, x);
    xml_raw(x, "</files><hardware>");
    put_hardware_members(c, m, x);
    xml_raw(x, "</hardware>");
    xml_element_bool(x, "changeTrackingEnabled", tracking_is_kept(m->ds));
    xml_raw(x, "</val>");
}

static void put_snapshot(struct call *c, const struct object *o, struct xml_text *x)
{
    char value[SESSION_TYPE_MAX];

    (void)c;
    if (o->machine->ds->volume == NULL) {
        return;
    }
    (void)snprintf(value, sizeof value, "snapshot-%s", o->machine->moref + strlen("vm-"));
    xml_raw(x, "<val xsi:type=\"VirtualMachineSnapshotInfo\">");
    xml_reference(x, "currentSnapshot", "VirtualMachineSnapshot", value);
    xml_raw(x, "</val>");
}

const struct property snapshot_properties[] = {
    {"config", put_config},
    {"config.hardware", put_hardware},
    {"config.hardware.device", put_device_array},
    {NULL, NULL},
};

const struct property machine_properties[] = {
    {"name", put_name},
    {"config", put_config},
    {"config.name", put_name},
    {"config.uuid", put_uuid},
    {"config.instanceUuid", put_uuid},
    {"config.template", put_false},
    {"config.changeTrackingEnabled", put_tracked},
    {"config.files", put_files},
    {"config.files.vmPathName", put_vmx},
    {"config.hardware", put_hardware},
    {"config.hardware.device", put_device_array},
    {"capability", put_capability},
    {"capability.snapshotOperationsSupported", put_false},
    {"capability.changeTrackingSupported", put_tracked},
    {"snapshot", put_snapshot},
    {"runtime", put_runtime},
    {"runtime.powerState", put_power},
    {"runtime.connectionState", put_connection},
    {"summary.config.name", put_name},
    {"summary.config.uuid", put_uuid},
    {"summary.config.vmPathName", put_vmx},
    {"summary.runtime.powerState", put_power},
    {NULL, NULL},
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_ls.c - lists what a server has: machines with their disks and snapshots, datastores. */
#include <json-c/json.h>
#include <stdio.h>

#include "commands.h"
#include "json.h"
#include "text.h"

static const char *or_dash(const char *text)
{
    return text == NULL || text[0] == '\0' ? "-" : text;
}

/* ---- JSON ---- */

/** A member that is null where the server does not tell. */
static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text == NULL ? NULL : json_object_new_string(text));
}

static struct json_object *disk_json(const VixDiskLibExt_VmDisk *disk)
{
    struct json_object *object = json_object_new_object();
    struct json_object *files = json_object_new_array();
    add_text(object, "filename", disk->file);
    add_text(object, "label", disk->label);
    json_object_object_add(object, "key", json_object_new_int(disk->key));
    json_object_object_add(object, "unit", json_object_new_int(disk->unitNumber));
    json_add_number(object, "virtual-size", disk->capacityBytes);
    json_add_bool(object, "thin-provisioned", disk->thin);
    json_add_bool(object, "sharing", disk->sharing);
    add_text(object, "controller-type", disk->controllerType);
    add_text(object, "backing-type", disk->backingType);
    add_text(object, "disk-mode", disk->diskMode);
    add_text(object, "uuid", disk->uuid);
    add_text(object, "change-id", disk->changeId);
    for (uint32 i = 0; i < disk->numFiles; i++) {
        json_object_array_add(files, json_object_new_string(disk->files[i]));
    }
    json_object_object_add(object, "files", files);
    return object;
}

static struct json_object *snapshot_json(const VixDiskLibExt_Snapshot *snapshot)
{
    struct json_object *object = json_object_new_object();
    add_text(object, "moref", snapshot->moref);
    add_text(object, "name", snapshot->name);
    add_text(object, "created", snapshot->created);
    json_add_number(object, "depth", snapshot->depth);
    json_add_bool(object, "current", snapshot->current);
    return object;
}

static struct json_object *vm_json(const VixDiskLibExt_Vm *vm)
{
    struct json_object *object = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    struct json_object *snapshots = json_object_new_array();
    add_text(object, "moref", vm->moref);
    add_text(object, "name", vm->name);
    add_text(object, "host", vm->host);
    add_text(object, "power-state", vm->powerState);
    add_text(object, "vmx", vm->vmxPath);
    json_add_bool(object, "change-tracking", vm->changeTracking);
    for (uint32 i = 0; i < vm->numDisks; i++) {
        json_object_array_add(disks, disk_json(&vm->disks[i]));
    }
    for (uint32 i = 0; i < vm->numSnapshots; i++) {
        json_object_array_add(snapshots, snapshot_json(&vm->snapshots[i]));
    }
    json_object_object_add(object, "disks", disks);
    json_object_object_add(object, "snapshots", snapshots);
    return object;
}

static struct json_object *datastore_json(const VixDiskLibExt_Datastore *datastore)
{
    struct json_object *object = json_object_new_object();
    add_text(object, "moref", datastore->moref);
    add_text(object, "name", datastore->name);
    add_text(object, "type", datastore->type);
    add_text(object, "url", datastore->url);
    json_add_number(object, "capacity", datastore->capacityBytes);
    json_add_number(object, "free", datastore->freeBytes);
    json_add_bool(object, "accessible", datastore->accessible);
    return object;
}

static void print_json(const VixDiskLibExt_Inventory *inventory)
{
    struct json_object *object = json_object_new_object();
    struct json_object *vms = json_object_new_array();
    struct json_object *datastores = json_object_new_array();
    add_text(object, "server", inventory->serverName);
    add_text(object, "product", inventory->productName);
    add_text(object, "api-version", inventory->apiVersion);
    json_add_bool(object, "vcenter", inventory->isVCenter);
    for (uint32 i = 0; i < inventory->numVms; i++) {
        json_object_array_add(vms, vm_json(&inventory->vms[i]));
    }
    for (uint32 i = 0; i < inventory->numDatastores; i++) {
        json_object_array_add(datastores, datastore_json(&inventory->datastores[i]));
    }
    json_object_object_add(object, "vms", vms);
    json_object_object_add(object, "datastores", datastores);
    json_print(object);
}

/* ---- for people ---- */

static void print_disk(const VixDiskLibExt_VmDisk *disk)
{
    char size[HUMAN_BYTES_MAX];
    printf("  disk      %s  %s%s%s  %s\n", or_dash(disk->file), human_bytes(disk->capacityBytes, size),
           disk->thin ? ", thin" : "", disk->sharing ? ", shared" : "", or_dash(disk->label));
    for (uint32 i = 1; i < disk->numFiles; i++) {
        printf("    parent  %s\n", disk->files[i]);
    }
}

static void print_snapshot(const VixDiskLibExt_Snapshot *snapshot)
{
    printf("  snapshot  %*s%s  %s  %s%s\n", (int)(snapshot->depth < 32 ? snapshot->depth : 32) * 2, "",
           or_dash(snapshot->moref), or_dash(snapshot->name), or_dash(snapshot->created),
           snapshot->current ? "  (current)" : "");
}

static void print_human(const VixDiskLibExt_Inventory *inventory)
{
    char size[HUMAN_BYTES_MAX];
    char left[HUMAN_BYTES_MAX];
    printf("%s: %s\n", inventory->serverName, or_dash(inventory->productName));
    for (uint32 i = 0; i < inventory->numVms; i++) {
        const VixDiskLibExt_Vm *vm = &inventory->vms[i];
        printf("\nmoref=%s  %s  %s  %s%s\n", or_dash(vm->moref), or_dash(vm->name), or_dash(vm->powerState),
               or_dash(vm->vmxPath), vm->changeTracking ? "  (changes are tracked)" : "");
        for (uint32 k = 0; k < vm->numDisks; k++) {
            print_disk(&vm->disks[k]);
        }
        for (uint32 k = 0; k < vm->numSnapshots; k++) {
            print_snapshot(&vm->snapshots[k]);
        }
    }
    printf("%s", inventory->numDatastores > 0 ? "\n" : "");
    for (uint32 i = 0; i < inventory->numDatastores; i++) {
        const VixDiskLibExt_Datastore *datastore = &inventory->datastores[i];
        printf("datastore [%s]  %s, %s free  %s%s\n", or_dash(datastore->name),
               human_bytes(datastore->capacityBytes, size), human_bytes(datastore->freeBytes, left),
               or_dash(datastore->type), datastore->accessible ? "" : "  (not accessible)");
    }
}

static int run(struct cli *cli, const void *data)
{
    VixDiskLibExt_Inventory *inventory = NULL;
    (void)data;
    int status = cli_connect_server(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLibExt_ListInventory(cli->server, &inventory);
    if (code != VIX_OK) {
        return fail(cli, NULL, code);
    }
    if (cli->common.json) {
        print_json(inventory);
    } else {
        print_human(inventory);
    }
    VixDiskLibExt_FreeInventory(inventory);
    return STATUS_DONE;
}

const struct command command_ls = {
    .name = "ls",
    .usage = "--host NAME --user NAME",
    .summary = "list what a server has: machines, disks, snapshots, datastores",
    .details =
        "What the user can see is listed. A machine is named to other commands as --vm moref=..., a snapshot as\n"
        "--snapshot snapshot-..., a disk as its path.",
    .groups = GROUP_DISKS | GROUP_JSON | GROUP_REMOTE,
    .run = run,
};

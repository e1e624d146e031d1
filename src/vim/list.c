/* SPDX-License-Identifier: BSD-3-Clause */
/* list.c - the inventory: every virtual machine with its disks and snapshots, every datastore. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "vim/vim_int.h"

/* Room for one more at the end of an array, of zeros; NULL: no memory. The array doubles at powers of two. */
static void *one_more(void *array_ptr, size_t count, size_t size, struct err *err)
{
    void **array = array_ptr;

    if (count == 0 || (count & (count - 1)) == 0) {
        void *longer = reallocarray(*array, count > 0 ? count * 2 : 1, size);
        if (longer == NULL) {
            (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for the inventory");
            return NULL;
        }
        *array = longer;
    }
    void *place = (char *)*array + count * size;
    memset(place, 0, size);
    return place;
}

/* ---- snapshots ---- */

/* A list of snapshots and, below each, its own list: no deeper than XML_DEPTH_MAX. */
static VixError add_snapshots(struct vim_vm_entry *entry, const struct xml_node *list, unsigned depth,
                              const char *current, struct err *err)
{
    for (const struct xml_node *n = list; n != NULL; n = xml_next(n)) {
        struct vim_snapshot *snapshot =
            one_more(&entry->snapshots, entry->snapshot_count, sizeof *entry->snapshots, err);
        if (snapshot == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        entry->snapshot_count++;
        const char *moref = xml_text(n, "snapshot");
        snapshot->depth = depth;
        snapshot->current = moref != NULL && current != NULL && strcmp(moref, current) == 0;
        if (!vim_copy_text(moref, &snapshot->moref, err) || !vim_copy_name(xml_text(n, "name"), &snapshot->name, err) ||
            !vim_copy_text(xml_text(n, "createTime"), &snapshot->created, err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
        VixError code = add_snapshots(entry, xml_child(n, "childSnapshotList"), depth + 1, current, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    return VIX_OK;
}

/* ---- objects ---- */

static VixError add_vm(void *user, const struct xml_node *object, struct err *err)
{
    struct vim_inventory *inventory = user;
    struct vim_vm_entry *entry = one_more(&inventory->vms, inventory->vm_count, sizeof *entry, err);

    if (entry == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    inventory->vm_count++;
    entry->vm = alloc_zero(sizeof *entry->vm, err);
    if (entry->vm == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_vm_fill(entry->vm, object, err);
    if (code != VIX_OK) {
        return code;
    }
    const struct xml_node *list = xml_child(vim_property(object, "snapshot"), "rootSnapshotList");
    return add_snapshots(entry, list, 0, entry->vm->current_snapshot, err);
}

static VixError add_datastore(void *user, const struct xml_node *object, struct err *err)
{
    struct vim_inventory *inventory = user;
    const struct xml_node *summary = vim_property(object, "summary");
    struct vim_datastore_entry *entry =
        one_more(&inventory->datastores, inventory->datastore_count, sizeof *entry, err);

    if (entry == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    inventory->datastore_count++;
    if (!vim_copy_text(xml_text(object, "obj"), &entry->moref, err) ||
        !vim_copy_name(vim_property_text(object, "name"), &entry->name, err) ||
        !vim_copy_text(xml_text(summary, "type"), &entry->type, err) ||
        !vim_copy_text(xml_text(summary, "url"), &entry->url, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)xml_number(summary, "capacity", &entry->capacity);
    (void)xml_number(summary, "freeSpace", &entry->free);
    entry->accessible = xml_bool(summary, "accessible");
    return VIX_OK;
}

VixError vim_list(struct vim_session *s, struct vim_inventory **ret_inventory, struct err *err)
{
    static const char *const datastore_paths[] = {"name", "summary"};
    struct vim_inventory *inventory = alloc_zero(sizeof *inventory, err);

    if (inventory == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_all_objects(s, "VirtualMachine", vim_vm_paths, vim_vm_path_count, add_vm, inventory, err);
    if (code == VIX_OK) {
        code = vim_all_objects(s, "Datastore", datastore_paths, 2, add_datastore, inventory, err);
    }
    if (code != VIX_OK) {
        vim_inventory_free(inventory);
        return code;
    }
    *ret_inventory = inventory;
    return VIX_OK;
}

VixError vim_read_entry(struct vim_session *s, const char *vm, const char *snapshot, struct vim_vm_entry *ret_entry,
                        struct err *err)
{
    static const char *const path[] = {"snapshot"};
    struct vim_vm_entry entry = {0};
    const struct xml_node *object = NULL;
    struct vim_reply reply = {0};
    VixError code = vim_read_vm(s, vm, snapshot, &entry.vm, err);

    if (code != VIX_OK) {
        return code;
    }
    code = vim_properties(s, "VirtualMachine", vm, path, 1, &reply, &object, err);
    if (code == VIX_OK) {
        const struct xml_node *list = xml_child(vim_property(object, "snapshot"), "rootSnapshotList");
        code = add_snapshots(&entry, list, 0, entry.vm->current_snapshot, err);
    }
    vim_reply_free(&reply);
    if (code != VIX_OK) {
        vim_entry_clear(&entry);
        return code;
    }
    *ret_entry = entry;
    return VIX_OK;
}

void vim_entry_clear(struct vim_vm_entry *entry)
{
    vim_vm_free(entry->vm);
    for (size_t i = 0; i < entry->snapshot_count; i++) {
        free(entry->snapshots[i].moref);
        free(entry->snapshots[i].name);
        free(entry->snapshots[i].created);
    }
    free(entry->snapshots);
    *entry = (struct vim_vm_entry){0};
}

void vim_inventory_free(struct vim_inventory *inventory)
{
    if (inventory == NULL) {
        return;
    }
    for (size_t i = 0; i < inventory->vm_count; i++) {
        vim_entry_clear(&inventory->vms[i]);
    }
    for (size_t i = 0; i < inventory->datastore_count; i++) {
        struct vim_datastore_entry *d = &inventory->datastores[i];
        free(d->moref);
        free(d->name);
        free(d->type);
        free(d->url);
    }
    free(inventory->vms);
    free(inventory->datastores);
    free(inventory);
}

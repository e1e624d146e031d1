/* SPDX-License-Identifier: BSD-3-Clause */
/* vdisk.c - virtual disks that belong to no machine, by the VirtualDiskManager, and folders on datastores. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

/* The datacenter that a path of a datastore needs beside it: on a vCenter server only, else NULL. */
static VixError datacenter_of(struct vim_session *s, const char *path, char **ret_datacenter, struct err *err)
{
    struct vim_path parts;
    VixError code = vim_path_parse(path, &parts, err);

    if (code != VIX_OK) {
        err_prefix(err, "%s: ", vim_peer(s));
        return code;
    }
    if (s->is_vcenter) {
        code = vim_datastore_place(s, parts.datastore, NULL, ret_datacenter, err);
    }
    vim_path_free(&parts);
    return code;
}

/* Begins a call whose first arguments are a path and its datacenter. */
static VixError path_call(struct vim_session *s, const char *method, enum vim_service service, const char *path,
                          struct vim_call *ret_call, struct err *err)
{
    CLEANUP_FREE char *datacenter = NULL;
    VixError code = datacenter_of(s, path, &datacenter, err);

    if (code == VIX_OK) {
        code = vim_call_service(s, method, service, ret_call, err);
    }
    if (code == VIX_OK) {
        xml_element(&ret_call->text, "name", path);
        xml_reference(&ret_call->text, "datacenter", "Datacenter", datacenter);
    }
    return code;
}

VixError vim_create_disk(struct vim_session *s, const char *path, const char *disk_type, const char *adapter,
                         uint64_t capacity, struct err *err)
{
    struct vim_call call;
    VixError code = path_call(s, "CreateVirtualDisk_Task", VIM_VIRTUAL_DISK_MANAGER, path, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_raw(&call.text, "<spec xsi:type=\"FileBackedVirtualDiskSpec\">");
    xml_element(&call.text, "diskType", disk_type);
    xml_element(&call.text, "adapterType", adapter);
    xml_element_number(&call.text, "capacityKb", div_up(capacity, 1024));
    xml_raw(&call.text, "</spec>");
    return vim_call_task(s, &call, NULL, err);
}

VixError vim_delete_disk(struct vim_session *s, const char *path, struct err *err)
{
    struct vim_call call;
    VixError code = path_call(s, "DeleteVirtualDisk_Task", VIM_VIRTUAL_DISK_MANAGER, path, &call, err);

    return code == VIX_OK ? vim_call_task(s, &call, NULL, err) : code;
}

VixError vim_move_disk(struct vim_session *s, const char *from, const char *to, struct err *err)
{
    struct vim_call call;
    CLEANUP_FREE char *from_datacenter = NULL;
    CLEANUP_FREE char *to_datacenter = NULL;
    VixError code = datacenter_of(s, from, &from_datacenter, err);

    if (code == VIX_OK) {
        code = datacenter_of(s, to, &to_datacenter, err);
    }
    if (code == VIX_OK) {
        code = vim_call_service(s, "MoveVirtualDisk_Task", VIM_VIRTUAL_DISK_MANAGER, &call, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    xml_element(&call.text, "sourceName", from);
    xml_reference(&call.text, "sourceDatacenter", "Datacenter", from_datacenter);
    xml_element(&call.text, "destName", to);
    xml_reference(&call.text, "destDatacenter", "Datacenter", to_datacenter);
    xml_element_bool(&call.text, "force", false);
    return vim_call_task(s, &call, NULL, err);
}

VixError vim_extend_disk(struct vim_session *s, const char *path, uint64_t capacity, struct err *err)
{
    struct vim_call call;
    VixError code = path_call(s, "ExtendVirtualDisk_Task", VIM_VIRTUAL_DISK_MANAGER, path, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_element_number(&call.text, "newCapacityKb", div_up(capacity, 1024));
    xml_element_bool(&call.text, "eagerZero", false);
    return vim_call_task(s, &call, NULL, err);
}

VixError vim_make_folder(struct vim_session *s, const char *path, struct err *err)
{
    struct vim_call call;
    struct vim_reply reply;
    VixError code = path_call(s, "MakeDirectory", VIM_FILE_MANAGER, path, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_element_bool(&call.text, "createParentDirectories", true);
    call.changes = true;
    code = vim_call_do(s, &call, &reply, err);
    if (code == VIX_E_FILE_ALREADY_EXISTS) {
        code = VIX_OK;
        if (err != NULL) {
            err_init(err);
        }
    }
    vim_reply_free(&reply);
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* snapshot.c - makes and removes snapshots of a machine, and switches its change tracking. */
#include "vim/vim_int.h"

VixError vim_create_snapshot(struct vim_session *s, const char *vm, const char *name, const char *description,
                             bool quiesce, char **ret_snapshot, struct err *err)
{
    char *made = NULL;
    struct vim_call call = vim_call_begin("CreateSnapshot_Task", "VirtualMachine", vm);

    xml_element(&call.text, "name", name);
    xml_element(&call.text, "description", description);
    xml_element_bool(&call.text, "memory", false);
    xml_element_bool(&call.text, "quiesce", quiesce);
    VixError code = vim_call_task(s, &call, &made, err);
    if (code == VIX_OK && made == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "%s: CreateSnapshot_Task: the server does not tell which it made",
                       vim_peer(s));
    }
    if (code == VIX_OK) {
        *ret_snapshot = made;
    }
    return code;
}

VixError vim_remove_snapshot(struct vim_session *s, const char *snapshot, struct err *err)
{
    struct vim_call call = vim_call_begin("RemoveSnapshot_Task", "VirtualMachineSnapshot", snapshot);

    xml_element_bool(&call.text, "removeChildren", false);
    xml_element_bool(&call.text, "consolidate", true);
    return vim_call_task(s, &call, NULL, err);
}

VixError vim_set_change_tracking(struct vim_session *s, const char *vm, bool on, struct err *err)
{
    struct vim_call call = vim_call_begin("ReconfigVM_Task", "VirtualMachine", vm);

    xml_raw(&call.text, "<spec>");
    xml_element_bool(&call.text, "changeTrackingEnabled", on);
    xml_raw(&call.text, "</spec>");
    return vim_call_task(s, &call, NULL, err);
}

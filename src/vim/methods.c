/* SPDX-License-Identifier: BSD-3-Clause */
/* methods.c - keeping a virtual machine where it is while its disks are read: the methods that move it are disabled in
 * the name of a source, and stay so until the same source enables them, even if this process ends before. */
#include <string.h>

#include "vim/vim_int.h"

#define REASON "A backup or copy of its disks is running"

/* The first one must succeed; servers differ in whether they let the second one be named. */
static const char *const moving_methods[] = {"RelocateVM_Task", "MigrateVM_Task"};

/* Another one, or an earlier run, holds the machine. The fault has its sourceId: the vSphere API's description. */
static VixError held_failure(struct vim_session *s, const char *vm, const struct xml_node *fault, struct err *err)
{
    const char *source = xml_text(fault, "sourceId");
    char name[80];

    vim_plain_text(source != NULL && source[0] != '\0' ? source : "an identity that the server does not tell", name,
                   sizeof name);
    return err_set(err, VIX_E_OBJECT_IS_BUSY,
                   "%s: DisableMethods: %.200s is kept where it is already, in the name of %s: if nothing works on it "
                   "any more, EndAccess with that identity releases it",
                   vim_peer(s), vm, name);
}

static VixError change_method(struct vim_session *s, bool disable, const char *vm, const char *method,
                              const char *identity, struct err *err)
{
    const char *call_name = disable ? "DisableMethods" : "EnableMethods";
    const char *manager = s->services[VIM_AUTHORIZATION_MANAGER];
    struct vim_reply reply;

    if (manager == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: %s: the server has no AuthorizationManager", vim_peer(s),
                       call_name);
    }
    struct vim_call call = {.method = call_name};
    soap_call_begin(&call.text, SOAP_INTERNAL_NAMESPACE, call_name, "AuthorizationManager", manager);
    xml_reference(&call.text, "entity", "VirtualMachine", vm);
    if (disable) {
        xml_raw(&call.text, "<method>");
        xml_element(&call.text, "method", method);
        xml_element(&call.text, "reasonId", REASON);
        xml_raw(&call.text, "</method>");
    } else {
        xml_element(&call.text, "method", method);
    }
    xml_element(&call.text, "sourceId", identity);
    VixError code = vim_call_do(s, &call, &reply, err);
    if (strcmp(reply.fault_type, "ManagedObjectNotFound") == 0) {
        code =
            err_set(err, VIX_E_VM_NOT_FOUND, "%s: %s: there is no virtual machine %.200s", vim_peer(s), call_name, vm);
    }
    if (strcmp(reply.fault_type, "MethodAlreadyDisabledFault") == 0) {
        code = held_failure(s, vm, reply.fault, err);
    }
    vim_reply_free(&reply);
    return code;
}

static VixError change_methods(struct vim_session *s, bool disable, const char *vm, const char *identity,
                               struct err *err)
{
    if (!s->is_vcenter) {
        return VIX_OK;
    }
    VixError code = change_method(s, disable, vm, moving_methods[0], identity, err);
    if (code == VIX_OK) {
        (void)change_method(s, disable, vm, moving_methods[1], identity, NULL);
    }
    return code;
}

VixError vim_disable_methods(struct vim_session *s, const char *vm, const char *identity, struct err *err)
{
    return change_methods(s, true, vm, identity, err);
}

VixError vim_enable_methods(struct vim_session *s, const char *vm, const char *identity, struct err *err)
{
    return change_methods(s, false, vm, identity, err);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* privilege.c - which privileges the user of the session has on a machine. Servers since 5.5 tell of several objects in
 * one call, older ones of one. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vim/vim_int.h"

/* The key by which the server knows the session; no secret. */
static VixError session_key(struct vim_session *s, char **ret_key, struct err *err)
{
    static const char *const path[] = {"currentSession"};
    const struct xml_node *object = NULL;
    struct vim_reply reply = {0};
    char *key = NULL;

    if (s->services[VIM_SESSION_MANAGER] == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the server has no SessionManager", vim_peer(s));
    }
    VixError code =
        vim_properties(s, "SessionManager", s->services[VIM_SESSION_MANAGER], path, 1, &reply, &object, err);
    if (code == VIX_OK && !vim_copy_text(xml_text(vim_property(object, path[0]), "key"), &key, err)) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    vim_reply_free(&reply);
    if (code == VIX_OK && (key == NULL || key[0] == '\0')) {
        free(key);
        key = NULL;
        code = err_set(err, VIX_E_NOT_SUPPORTED, "%s: the server does not tell the key of the session", vim_peer(s));
    }
    if (code == VIX_OK) {
        *ret_key = key;
    }
    return code;
}

static VixError ask(struct vim_session *s, const char *method, const char *vm, const char *key,
                    const char *const *names, size_t count, struct vim_reply *ret_reply, struct err *err)
{
    struct vim_call call;

    *ret_reply = (struct vim_reply){0};
    VixError code = vim_call_service(s, method, VIM_AUTHORIZATION_MANAGER, &call, err);
    if (code != VIX_OK) {
        return code;
    }
    xml_reference(&call.text, "entity", "VirtualMachine", vm);
    xml_element(&call.text, "sessionId", key);
    for (size_t i = 0; i < count; i++) {
        xml_element(&call.text, "privId", names[i]);
    }
    return vim_call_do(s, &call, ret_reply, err);
}

/* A row of privileges with their names. */
static void take_named(const struct xml_node *response, const char *const *names, size_t count, bool *granted)
{
    const struct xml_node *row = xml_path(response, "returnval/privAvailability");

    for (; row != NULL; row = xml_next(row)) {
        const char *name = xml_text(row, "privId");
        for (size_t i = 0; name != NULL && i < count; i++) {
            granted[i] = strcmp(names[i], name) == 0 ? xml_bool(row, "isGranted") : granted[i];
        }
    }
}

/* A row in the order of the question; false if it is not as long. */
static bool take_ordered(const struct xml_node *response, size_t count, bool *granted)
{
    const struct xml_node *row = xml_child(response, "returnval");
    size_t i = 0;

    for (; row != NULL && i < count; i++, row = xml_next(row)) {
        granted[i] = xml_bool(row, "");
    }
    return row == NULL && i == count;
}

VixError vim_has_privileges(struct vim_session *s, const char *vm, const char *const *names, size_t count,
                            bool *ret_granted, struct err *err)
{
    CLEANUP_FREE char *key = NULL;
    struct vim_reply reply;
    VixError code = session_key(s, &key, err);

    if (code != VIX_OK) {
        return code;
    }
    memset(ret_granted, 0, count * sizeof *ret_granted);
    code = ask(s, "HasPrivilegeOnEntities", vm, key, names, count, &reply, err);
    bool old = strcmp(reply.fault_type, "MethodNotFound") == 0 || strcmp(reply.fault_type, "InvalidRequest") == 0;
    if (code == VIX_OK) {
        take_named(reply.response, names, count, ret_granted);
    }
    vim_reply_free(&reply);
    if (code == VIX_OK || !old) {
        return code;
    }
    code = ask(s, "HasPrivilegeOnEntity", vm, key, names, count, &reply, err);
    if (code == VIX_OK && !take_ordered(reply.response, count, ret_granted)) {
        code = err_set(err, VIX_E_INVALID_XML, "%s: HasPrivilegeOnEntity: the answer is not one on %zu privileges",
                       vim_peer(s), count);
    }
    vim_reply_free(&reply);
    return code;
}

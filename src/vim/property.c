/* SPDX-License-Identifier: BSD-3-Clause */
/* property.c - properties of managed objects by the PropertyCollector. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vim/vim_int.h"

/* Objects in one answer of a walk over the inventory. */
#define OBJECTS_AT_ONCE 100
#define OBJECTS_MAX 1000000u /* limit: objects of an inventory */

const struct xml_node *vim_property(const struct xml_node *object, const char *path)
{
    for (const struct xml_node *set = xml_child(object, "propSet"); set != NULL; set = xml_next(set)) {
        const char *name = xml_text(set, "name");
        if (name != NULL && strcmp(name, path) == 0) {
            return xml_child(set, "val");
        }
    }
    return NULL;
}

const char *vim_property_text(const struct xml_node *object, const char *path)
{
    const struct xml_node *value = vim_property(object, path);
    return value != NULL ? value->text : NULL;
}

const char *vim_property_missing(const struct xml_node *object, const char *path)
{
    for (const struct xml_node *set = xml_child(object, "missingSet"); set != NULL; set = xml_next(set)) {
        const char *name = xml_text(set, "path");
        if (name != NULL && strcmp(name, path) == 0) {
            const struct xml_node *fault = xml_path(set, "fault/fault");
            return fault != NULL && fault->type != NULL ? fault->type : "a fault without a name";
        }
    }
    return NULL;
}

static void write_paths(struct xml_text *x, const char *type, const char *const *paths, size_t path_count)
{
    xml_raw(x, "<propSet>");
    xml_element(x, "type", type);
    xml_element_bool(x, "all", false);
    for (size_t i = 0; i < path_count; i++) {
        xml_element(x, "pathSet", paths[i]);
    }
    xml_raw(x, "</propSet>");
}

VixError vim_properties(struct vim_session *s, const char *type, const char *value, const char *const *paths,
                        size_t path_count, struct vim_reply *ret_reply, const struct xml_node **ret_object,
                        struct err *err)
{
    struct vim_call call;

    *ret_reply = (struct vim_reply){0};
    VixError code = vim_call_service(s, "RetrievePropertiesEx", VIM_PROPERTY_COLLECTOR, &call, err);
    if (code != VIX_OK) {
        return code;
    }
    xml_raw(&call.text, "<specSet>");
    write_paths(&call.text, type, paths, path_count);
    xml_raw(&call.text, "<objectSet>");
    xml_reference(&call.text, "obj", type, value);
    xml_raw(&call.text, "<skip>false</skip></objectSet></specSet><options></options>");
    code = vim_call_do(s, &call, ret_reply, err);
    if (code == VIX_OK) {
        *ret_object = xml_path(ret_reply->response, "returnval/objects");
    }
    return code;
}

/* ---- all objects of a type ---- */

static VixError make_view(struct vim_session *s, const char *type, char **ret_view, struct err *err)
{
    struct vim_call call;
    char *view = NULL;
    VixError code = vim_call_service(s, "CreateContainerView", VIM_VIEW_MANAGER, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_reference(&call.text, "container", "Folder", s->services[VIM_ROOT_FOLDER]);
    xml_element(&call.text, "type", type);
    xml_element_bool(&call.text, "recursive", true);
    code = vim_call_text(s, &call, NULL, &view, err);
    if (code == VIX_OK && view == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "%s: CreateContainerView: the answer has no view", vim_peer(s));
    }
    if (code == VIX_OK) {
        *ret_view = view;
    }
    return code;
}

static void destroy_view(struct vim_session *s, const char *view)
{
    struct vim_call call = vim_call_begin("DestroyView", "ContainerView", view);

    call.changes = true;
    (void)vim_call_plain(s, &call, NULL); /* the server drops it with the session */
}

static VixError first_call(struct vim_session *s, const char *view, const char *type, const char *const *paths,
                           size_t path_count, struct vim_call *ret_call, struct err *err)
{
    VixError code = vim_call_service(s, "RetrievePropertiesEx", VIM_PROPERTY_COLLECTOR, ret_call, err);

    if (code != VIX_OK) {
        return code;
    }
    struct xml_text *x = &ret_call->text;
    xml_raw(x, "<specSet>");
    write_paths(x, type, paths, path_count);
    xml_raw(x, "<objectSet>");
    xml_reference(x, "obj", "ContainerView", view);
    xml_raw(x, "<skip>true</skip><selectSet xsi:type=\"TraversalSpec\"><name>v</name><type>ContainerView</type>"
               "<path>view</path><skip>false</skip></selectSet></objectSet></specSet><options>");
    xml_element_number(x, "maxObjects", OBJECTS_AT_ONCE);
    xml_raw(x, "</options>");
    return VIX_OK;
}

/* The objects of one answer; *ret_token: what to ask on with, or NULL. */
static VixError take_answer(const struct vim_reply *reply, vim_object_func *each, void *user, size_t *count,
                            char **ret_token, struct err *err)
{
    const struct xml_node *value = xml_child(reply->response, "returnval");
    size_t before = *count;

    for (const struct xml_node *o = xml_child(value, "objects"); o != NULL; o = xml_next(o)) {
        VixError code = each(user, o, err);
        if (code != VIX_OK) {
            return code;
        }
        (*count)++;
    }
    const char *token = xml_text(value, "token");
    if (token != NULL && *count == before) {
        token = NULL; /* a server that goes on without giving anything */
    }
    return vim_copy_text(token, ret_token, err) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

/* Asks until the server has no more. */
static VixError walk(struct vim_session *s, struct vim_call *call, vim_object_func *each, void *user, struct err *err)
{
    size_t count = 0;

    for (;;) {
        struct vim_reply reply;
        char *token = NULL;
        VixError code = vim_call_do(s, call, &reply, err);
        if (code == VIX_OK) {
            code = take_answer(&reply, each, user, &count, &token, err);
        }
        vim_reply_free(&reply);
        if (code != VIX_OK || token == NULL) {
            return code;
        }
        if (count > OBJECTS_MAX) {
            free(token);
            return err_set(err, VIX_E_INVALID_XML, "%s: the server lists more than %u objects", vim_peer(s),
                           OBJECTS_MAX);
        }
        code = vim_call_service(s, "ContinueRetrievePropertiesEx", VIM_PROPERTY_COLLECTOR, call, err);
        if (code == VIX_OK) {
            call->changes = true; /* a token is good once */
            xml_element(&call->text, "token", token);
        }
        free(token);
        if (code != VIX_OK) {
            return code;
        }
    }
}

VixError vim_all_objects(struct vim_session *s, const char *type, const char *const *paths, size_t path_count,
                         vim_object_func *each, void *user, struct err *err)
{
    struct vim_call call;
    char *view = NULL;
    VixError code = make_view(s, type, &view, err);

    if (code != VIX_OK) {
        return code;
    }
    code = first_call(s, view, type, paths, path_count, &call, err);
    if (code == VIX_OK) {
        code = walk(s, &call, each, user, err);
    }
    destroy_view(s, view);
    free(view);
    return code;
}

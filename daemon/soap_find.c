/* SPDX-License-Identifier: BSD-3-Clause */
/* The search index, and container views. What is not found is no fault: the answer has no value then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/soap_int.h"

/* ---- by inventory path ---- */

static const struct {
    const char *path, *type, *value;
} fixed_places[] = {
    {"", "Folder", REF_ROOT},
    {"ha-datacenter", "Datacenter", REF_DATACENTER},
    {"ha-datacenter/vm", "Folder", REF_VM_FOLDER},
    {"ha-datacenter/host", "Folder", REF_HOST_FOLDER},
    {"ha-datacenter/datastore", "Folder", REF_DATASTORE_FOLDER},
    {"ha-datacenter/host/localhost.", "ComputeResource", REF_COMPUTE},
    {"ha-datacenter/host/localhost./localhost.", "HostSystem", REF_HOST},
};

static int hex_digit(char c)
{
    c = text_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** Takes %2f, %5c and %25 back, in place. */
static void decode_name(char *name)
{
    char *to = name;

    for (const char *p = name; *p != '\0'; to++) {
        int high = p[0] == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        int code = low >= 0 ? high * 16 + low : -1;
        if (code == '/' || code == '\\' || code == '%') {
            *to = (char)code;
            p += 3;
        } else {
            *to = *p++;
        }
    }
    *to = '\0';
}

static void answer_machine_named(struct call *c, const char *name)
{
    const struct inventory *inv = call_inventory(c);

    for (size_t i = 0; inv != NULL && i < inv->count; i++) {
        if (strcmp(inv->machines[i].name, name) == 0) {
            xml_reference(&c->out, "returnval", "VirtualMachine", inv->machines[i].moref);
            return;
        }
    }
}

void call_find_by_inventory_path(struct call *c)
{
    static const char machines[] = "ha-datacenter/vm/", datastores[] = "ha-datacenter/datastore/";
    const char *given = call_text(c, "inventoryPath");
    CLEANUP_FREE char *path = alloc_text(given + strspn(given, "/"), NULL);

    if (path == NULL) {
        c->out.failed = true;
        return;
    }
    while (text_ends_with(path, "/")) {
        path[strlen(path) - 1] = '\0';
    }
    for (size_t i = 0; i < sizeof fixed_places / sizeof fixed_places[0]; i++) {
        if (strcmp(path, fixed_places[i].path) == 0) {
            xml_reference(&c->out, "returnval", fixed_places[i].type, fixed_places[i].value);
            return;
        }
    }
    if (strncmp(path, machines, sizeof machines - 1) == 0) {
        decode_name(path + sizeof machines - 1);
        answer_machine_named(c, path + sizeof machines - 1);
    } else if (strncmp(path, datastores, sizeof datastores - 1) == 0) {
        char *name = path + sizeof datastores - 1;
        decode_name(name);
        const struct datastore *ds = datastore_by_name(&c->host->stores, name, strlen(name));
        if (ds != NULL) {
            xml_reference(&c->out, "returnval", "Datastore", ds->moref);
        }
    }
}

/* ---- by other names ---- */

void call_find_by_datastore_path(struct call *c)
{
    const struct inventory *inv = call_inventory(c);
    const struct datastore *ds = NULL;
    char *parsed = NULL;
    struct err err;

    err_init(&err);
    VixError code = datastore_parse(&c->host->stores, call_text(c, "path"), &ds, &parsed, &err);
    CLEANUP_FREE char *path = parsed;
    if (code == VIX_E_INVALID_ARG) {
        call_fault(c, "InvalidDatastore", "%s", err.text);
    }
    for (size_t i = 0; code == VIX_OK && inv != NULL && i < inv->count; i++) {
        if (inv->machines[i].ds == ds && strcmp(inv->machines[i].vmx, path) == 0) {
            xml_reference(&c->out, "returnval", "VirtualMachine", inv->machines[i].moref);
            return;
        }
    }
}

void call_find_by_uuid(struct call *c)
{
    const char *uuid = call_text(c, "uuid");

    if (!xml_bool(c->soap.node, "vmSearch")) {
        return;
    }
    const struct inventory *inv = call_inventory(c);
    for (size_t i = 0; inv != NULL && i < inv->count; i++) {
        if (text_equal_nocase(inv->machines[i].uuid, uuid)) {
            xml_reference(&c->out, "returnval", "VirtualMachine", inv->machines[i].moref);
            return;
        }
    }
}

/* ---- views ---- */

void call_create_container_view(struct call *c)
{
    struct session_view view = {0};
    struct object container;
    char value[32];
    const struct xml_node *where = xml_child(c->soap.node, "container");
    const struct xml_node *type = xml_child(c->soap.node, "type");

    if (where == NULL || !object_find(c, where->type_attr != NULL ? where->type_attr : "", where->text, &container)) {
        call_no_object(c, "Folder", where != NULL ? where->text : "");
        return;
    }
    (void)snprintf(view.container, sizeof view.container, "%s", container.value);
    if (type != NULL && xml_next(type) == NULL) { /* of several types all is shown: who asks names them again */
        (void)snprintf(view.type, sizeof view.type, "%s", type->text);
    }
    if (!session_add_view(c->host->sessions, c->session.token, &view)) {
        call_fault(c, "NotAuthenticated", "The session is not authenticated.");
        return;
    }
    (void)snprintf(value, sizeof value, "view-%u", view.number);
    xml_reference(&c->out, "returnval", "ContainerView", value);
}

void call_destroy_view(struct call *c)
{
    struct object o;

    if (!object_find(c, "ContainerView", c->soap.this_value, &o)) {
        call_no_object(c, "ContainerView", c->soap.this_value);
        return;
    }
    session_remove_view(c->host->sessions, c->session.token, o.number);
}

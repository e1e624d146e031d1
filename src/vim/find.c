/* SPDX-License-Identifier: BSD-3-Clause */
/* find.c - virtual machines, datacenters and datastores by what people call them. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

/* A call of the search index: its name and up to three arguments, written by the caller. */
static VixError search(struct vim_session *s, struct vim_call *call, const char *want_type, char **ret_moref,
                       struct err *err)
{
    *ret_moref = NULL;
    return vim_call_text(s, call, want_type, ret_moref, err);
}

static VixError by_inventory_path(struct vim_session *s, const char *path, const char *want_type, char **ret_moref,
                                  struct err *err)
{
    struct vim_call call;
    VixError code = vim_call_service(s, "FindByInventoryPath", VIM_SEARCH_INDEX, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_element(&call.text, "inventoryPath", path);
    return search(s, &call, want_type, ret_moref, err);
}

static VixError by_datastore_path(struct vim_session *s, const char *datacenter, const char *path, char **ret_moref,
                                  struct err *err)
{
    struct vim_call call;
    VixError code = vim_call_service(s, "FindByDatastorePath", VIM_SEARCH_INDEX, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_reference(&call.text, "datacenter", "Datacenter", datacenter);
    xml_element(&call.text, "path", path);
    return search(s, &call, "VirtualMachine", ret_moref, err);
}

static VixError by_uuid(struct vim_session *s, const char *uuid, bool instance, char **ret_moref, struct err *err)
{
    struct vim_call call;
    VixError code = vim_call_service(s, "FindByUuid", VIM_SEARCH_INDEX, &call, err);

    if (code != VIX_OK) {
        return code;
    }
    xml_element(&call.text, "uuid", uuid);
    xml_element_bool(&call.text, "vmSearch", true);
    xml_element_bool(&call.text, "instanceUuid", instance);
    return search(s, &call, "VirtualMachine", ret_moref, err);
}

/* ---- datacenters and datastores ---- */

struct names {
    char **morefs;
    size_t count;
    const char *wanted; /* NULL: all */
};

static void names_free(struct names *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->morefs[i]);
    }
    free(n->morefs);
}

static VixError keep_moref(struct names *n, const char *moref, struct err *err)
{
    char **longer = reallocarray(n->morefs, n->count + 1, sizeof *longer);

    if (longer == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a list of objects");
    }
    n->morefs = longer;
    if (moref == NULL || !vim_copy_text(moref, &n->morefs[n->count], err)) {
        return moref == NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    n->count++;
    return VIX_OK;
}

static VixError keep_if_named(void *user, const struct xml_node *object, struct err *err)
{
    struct names *n = user;
    const char *raw = vim_property_text(object, "name");
    char *name = NULL;

    if (!vim_copy_name(raw, &name, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    bool fits = n->wanted == NULL || (name != NULL && (strcmp(name, n->wanted) == 0 || strcmp(raw, n->wanted) == 0));
    free(name);
    return fits ? keep_moref(n, xml_text(object, "obj"), err) : VIX_OK;
}

/* Which datacenter has one of some datastores. */
struct place {
    const struct names *datastores;
    char *datacenter;
    size_t datastore; /* its index */
    unsigned found;
};

static VixError look_for_place(void *user, const struct xml_node *object, struct err *err)
{
    struct place *p = user;
    const struct xml_node *list = vim_property(object, "datastore");
    const char *moref = xml_text(object, "obj");

    for (const struct xml_node *d = list != NULL ? list->children : NULL; d != NULL; d = d->next) {
        for (size_t i = 0; i < p->datastores->count; i++) {
            if (strcmp(d->text, p->datastores->morefs[i]) != 0) {
                continue;
            }
            if (p->found++ == 0) {
                p->datastore = i;
                if (!vim_copy_text(moref, &p->datacenter, err)) {
                    return VIX_E_OUT_OF_MEMORY;
                }
            }
        }
    }
    return VIX_OK;
}

static VixError datastores_named(struct vim_session *s, const char *name, struct names *ret_names, struct err *err)
{
    static const char *const path[] = {"name"};
    struct names n = {.wanted = name};
    VixError code = vim_all_objects(s, "Datastore", path, 1, keep_if_named, &n, err);

    if (code == VIX_OK && n.count == 0) {
        code = err_set(err, VIX_E_OBJECT_NOT_FOUND, "%s: there is no datastore %.200s", vim_peer(s), name);
    }
    if (code != VIX_OK) {
        names_free(&n);
        return code;
    }
    *ret_names = n;
    return VIX_OK;
}

static VixError find_place(struct vim_session *s, const char *name, const struct names *n, struct place *p,
                           struct err *err)
{
    static const char *const path[] = {"datastore"};
    VixError code = vim_all_objects(s, "Datacenter", path, 1, look_for_place, p, err);

    if (code != VIX_OK) {
        return code;
    }
    if (n->count > 1 && p->found > 1) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s: %zu datastores are called %.200s, in different datacenters: a virtual machine on the one "
                       "that is meant has to be named (vmxSpec)",
                       vim_peer(s), n->count, name);
    }
    if (p->found == 0) {
        return err_set(err, VIX_E_OBJECT_NOT_FOUND, "%s: no datacenter has the datastore %.200s", vim_peer(s), name);
    }
    return VIX_OK;
}

static bool is_among(const struct xml_node *list, const char *moref)
{
    for (const struct xml_node *d = list != NULL ? list->children : NULL; d != NULL; d = d->next) {
        if (strcmp(d->text, moref) == 0) {
            return true;
        }
    }
    return false;
}

/* Of several datastores, keeps the one that the machine of the session is on; all if it is on none. A name is there
 * once in a datacenter, and a machine is in one datacenter. */
static VixError keep_machines_own(struct vim_session *s, struct names *n, struct err *err)
{
    static const char *const path[] = {"datastore"};
    CLEANUP_FREE char *vm = NULL;
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    VixError code = vim_find_vm(s, s->vmx_spec, &vm, err);

    if (code != VIX_OK) {
        return code;
    }
    code = vim_properties(s, "VirtualMachine", vm, path, 1, &reply, &object, err);
    for (size_t i = 0; code == VIX_OK && i < n->count; i++) {
        if (is_among(vim_property(object, path[0]), n->morefs[i])) {
            char *own = n->morefs[i];
            n->morefs[i] = n->morefs[0];
            n->morefs[0] = own;
            for (; n->count > 1; n->count--) {
                free(n->morefs[n->count - 1]);
            }
        }
    }
    vim_reply_free(&reply);
    return code;
}

VixError vim_datastore_place(struct vim_session *s, const char *name, char **ret_datastore, char **ret_datacenter,
                             struct err *err)
{
    struct names n;
    VixError code = datastores_named(s, name, &n, err);

    if (code != VIX_OK) {
        return code;
    }
    if (n.count > 1 && s->vmx_spec != NULL) {
        code = keep_machines_own(s, &n, err);
    }
    struct place p = {.datastores = &n};
    if (code == VIX_OK && (ret_datacenter != NULL || n.count > 1)) {
        code = find_place(s, name, &n, &p, err);
    }
    if (code == VIX_OK) {
        if (ret_datacenter != NULL) {
            *ret_datacenter = TAKE_PTR(p.datacenter);
        }
        if (ret_datastore != NULL) {
            *ret_datastore = TAKE_PTR(n.morefs[p.datastore]);
        }
    }
    free(p.datacenter);
    names_free(&n);
    return code;
}

VixError vim_find_datastore(struct vim_session *s, const char *name, char **ret_moref, struct err *err)
{
    return vim_datastore_place(s, name, ret_moref, NULL, err);
}

/* ---- virtual machines ---- */

/* The reference is taken at its word once the server has named the machine. */
static VixError by_moref(struct vim_session *s, const char *moref, char **ret_vm, struct err *err)
{
    static const char prefix[] = "VirtualMachine:";
    static const char *const path[] = {"name"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;

    if (strncmp(moref, prefix, sizeof prefix - 1) == 0) {
        moref += sizeof prefix - 1;
    }
    VixError code = vim_properties(s, "VirtualMachine", moref, path, 1, &reply, &object, err);
    if (code == VIX_OK) {
        code = object == NULL || vim_copy_text(moref, ret_vm, err) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    } else if (strcmp(reply.fault_type, "ManagedObjectNotFound") == 0) {
        code = VIX_OK; /* the caller says what was looked for */
    }
    vim_reply_free(&reply);
    return code;
}

/* "[ds] dir/x.vmx" in whichever datacenter knows it. */
static VixError in_any_datacenter(struct vim_session *s, const char *path, char **ret_vm, struct err *err)
{
    static const char *const name[] = {"name"};
    struct names all = {0};
    VixError code = vim_all_objects(s, "Datacenter", name, 1, keep_if_named, &all, err);

    for (size_t i = 0; i < all.count && code == VIX_OK && *ret_vm == NULL; i++) {
        code = by_datastore_path(s, all.morefs[i], path, ret_vm, err);
    }
    names_free(&all);
    return code;
}

/* The value of "&name=" or "?name=" among the parameters behind a path, up to the next one; NULL: none. */
static char *parameter(const char *parameters, const char *name, struct err *err)
{
    size_t len = strlen(name);

    for (const char *p = parameters; p != NULL; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncasecmp(p, name, len) == 0 && p[len] == '=') {
            const char *value = p + len + 1;
            return alloc_text_n(value, strcspn(value, "&"), err);
        }
    }
    (void)err_set(err, VIX_E_INVALID_ARG, "the machine's path has no %s: it is to be dir/x.vmx?dcPath=DC&dsName=DS",
                  name);
    return NULL;
}

/* "dir/x.vmx?dcPath=DC&dsName=DS" */
static VixError by_old_spec(struct vim_session *s, const char *spec, char **ret_vm, struct err *err)
{
    struct err own;
    const char *question = strrchr(spec, '?');

    err_init(&own);
    CLEANUP_FREE char *dc_path = parameter(question + 1, "dcPath", &own);
    CLEANUP_FREE char *ds_name = dc_path != NULL ? parameter(question + 1, "dsName", &own) : NULL;
    CLEANUP_FREE char *datacenter = NULL;
    if (ds_name == NULL) {
        return err_set(err, own.code, "%s: %s", vim_peer(s), own.text);
    }
    CLEANUP_FREE char *path = alloc_printf(err, "[%s] %.*s", ds_name, (int)(question - spec), spec);
    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = by_inventory_path(s, dc_path, "Datacenter", &datacenter, err);
    if (code != VIX_OK) {
        return code;
    }
    if (datacenter == NULL) {
        return err_set(err, VIX_E_VM_NOT_FOUND, "%s: there is no datacenter %.200s", vim_peer(s), dc_path);
    }
    return by_datastore_path(s, datacenter, path, ret_vm, err);
}

static VixError find_by_form(struct vim_session *s, const char *spec, char **ret_vm, struct err *err)
{
    if (strncmp(spec, "moref=", 6) == 0) {
        return by_moref(s, spec + 6, ret_vm, err);
    }
    if (strncmp(spec, "uuid=", 5) == 0) {
        return by_uuid(s, spec + 5, false, ret_vm, err);
    }
    if (strncmp(spec, "instanceUuid=", 13) == 0) {
        return by_uuid(s, spec + 13, true, ret_vm, err);
    }
    if (strstr(spec, "?dcPath=") != NULL || strstr(spec, "?dsName=") != NULL) {
        return by_old_spec(s, spec, ret_vm, err);
    }
    if (spec[0] == '[') {
        return in_any_datacenter(s, spec, ret_vm, err);
    }
    return by_inventory_path(s, spec, "VirtualMachine", ret_vm, err);
}

VixError vim_find_vm(struct vim_session *s, const char *vmx_spec, char **ret_vm, struct err *err)
{
    char *vm = NULL;

    if (vmx_spec == NULL || vmx_spec[0] == '\0') {
        return err_set(err, VIX_E_VM_NOT_FOUND, "%s: no virtual machine is named (moref=... or another form)",
                       vim_peer(s));
    }
    VixError code = find_by_form(s, vmx_spec, &vm, err);
    if (code != VIX_OK) {
        free(vm);
        return code;
    }
    if (vm == NULL) {
        return err_set(err, VIX_E_VM_NOT_FOUND, "%s: there is no virtual machine %.300s, or this user cannot see it",
                       vim_peer(s), vmx_spec);
    }
    *ret_vm = vm;
    return VIX_OK;
}

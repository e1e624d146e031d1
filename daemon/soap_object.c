/* SPDX-License-Identifier: BSD-3-Clause */
/* Managed objects: which there are, what they refer to, and their properties apart from those of machines. What is
 * fixed is laid out as on a lone ESXi host. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/text.h"
#include "daemon/soap_int.h"

#define TEXT(text) text, sizeof text - 1

/* ---- lists ---- */

void objects_done(struct objects *list)
{
    free(list->list);
    *list = (struct objects){0};
}

static struct object *objects_next(struct objects *list)
{
    if (list->count == list->room) {
        size_t room = list->room > 0 ? list->room * 2 : 16;
        struct object *grown = reallocarray(list->list, room, sizeof *grown);
        if (grown == NULL) {
            list->failed = true;
            return NULL;
        }
        list->list = grown;
        list->room = room;
    }
    struct object *o = &list->list[list->count++];
    *o = (struct object){0};
    return o;
}

void objects_add(struct objects *list, const char *type, const char *value)
{
    struct object *o = objects_next(list);

    if (o != NULL) {
        o->type = type;
        (void)snprintf(o->value, sizeof o->value, "%s", value);
    }
}

static void add_machine(struct objects *list, const struct machine *m)
{
    size_t before = list->count;

    objects_add(list, "VirtualMachine", m->moref);
    if (list->count > before) {
        list->list[before].machine = m;
    }
}

static void add_datastore(struct objects *list, const struct datastore *ds)
{
    size_t before = list->count;

    objects_add(list, "Datastore", ds->moref);
    if (list->count > before) {
        list->list[before].ds = ds;
    }
}

static void add_all_machines(struct call *c, const struct datastore *only, struct objects *list)
{
    const struct inventory *inv = call_inventory(c);

    for (size_t i = 0; inv != NULL && i < inv->count; i++) {
        if (only == NULL || inv->machines[i].ds == only) {
            add_machine(list, &inv->machines[i]);
        }
    }
}

static void add_all_datastores(const struct call *c, struct objects *list)
{
    for (size_t i = 0; i < c->host->stores.count; i++) {
        add_datastore(list, &c->host->stores.list[i]);
    }
}

/* ---- which objects there are ---- */

struct fixed {
    const char *type, *value, *name;
    const char *parent_type, *parent; /* NULL: none */
};

static const struct fixed fixed_objects[] = {
    {"Folder", REF_ROOT, "ha-folder-root", NULL, NULL},
    {"Datacenter", REF_DATACENTER, "ha-datacenter", "Folder", REF_ROOT},
    {"Folder", REF_VM_FOLDER, "vm", "Datacenter", REF_DATACENTER},
    {"Folder", REF_HOST_FOLDER, "host", "Datacenter", REF_DATACENTER},
    {"Folder", REF_DATASTORE_FOLDER, "datastore", "Datacenter", REF_DATACENTER},
    {"ComputeResource", REF_COMPUTE, "localhost.", "Folder", REF_HOST_FOLDER},
    {"HostSystem", REF_HOST, "localhost.", "ComputeResource", REF_COMPUTE},
    {"ServiceInstance", "ServiceInstance", NULL, NULL, NULL},
    {"SessionManager", REF_SESSION_MANAGER, NULL, NULL, NULL},
};
#define FIXED_COUNT (sizeof fixed_objects / sizeof fixed_objects[0])

static const struct fixed *fixed_of(const char *type, const char *value)
{
    for (size_t i = 0; i < FIXED_COUNT; i++) {
        if (strcmp(fixed_objects[i].type, type) == 0 && strcmp(fixed_objects[i].value, value) == 0) {
            return &fixed_objects[i];
        }
    }
    return NULL;
}

/** The number behind "view-" or "haTask-"; 0: none. */
static unsigned number_behind(const char *value, const char *prefix, size_t len)
{
    uint64_t number = 0;

    if (strncmp(value, prefix, len) != 0 || !text_to_u64(value + len, &number) || number > UINT32_MAX) {
        return 0;
    }
    return (unsigned)number;
}

static bool find_kept(struct call *c, const char *type, const char *value, struct object *o)
{
    struct session_view view;
    struct session_task task;

    if (strcmp(type, "ContainerView") == 0) {
        o->number = number_behind(value, TEXT("view-"));
        return session_get_view(c->host->sessions, c->session.token, o->number, &view);
    }
    o->number = number_behind(value, TEXT("haTask-"));
    return session_get_task(c->host->sessions, c->session.token, o->number, &task);
}

static bool find_machine(struct call *c, const char *value, struct object *o)
{
    const struct inventory *inv = call_inventory(c);

    for (size_t i = 0; inv != NULL && i < inv->count; i++) {
        if (strcmp(inv->machines[i].moref, value) == 0) {
            o->machine = &inv->machines[i];
            return true;
        }
    }
    return false;
}

const struct machine *object_snapshot(struct call *c, const char *value)
{
    struct object o = {0};
    char moref[SESSION_TYPE_MAX];

    if (strncmp(value, TEXT("snapshot-")) != 0) {
        return NULL;
    }
    (void)snprintf(moref, sizeof moref, "vm-%.20s", value + strlen("snapshot-"));
    return find_machine(c, moref, &o) && o.machine->ds->volume != NULL ? o.machine : NULL;
}

bool object_find(struct call *c, const char *type, const char *value, struct object *ret_object)
{
    static const char *const kept[] = {"ContainerView", "Task"};
    const struct fixed *f = fixed_of(type, value);
    struct object o = {.type = f != NULL ? f->type : NULL};

    for (size_t i = 0; f == NULL && i < sizeof kept / sizeof kept[0]; i++) {
        if (strcmp(type, kept[i]) == 0 && find_kept(c, type, value, &o)) {
            o.type = kept[i];
        }
    }
    if (strcmp(type, "VirtualMachine") == 0 && find_machine(c, value, &o)) {
        o.type = "VirtualMachine";
    }
    if (strcmp(type, "VirtualMachineSnapshot") == 0 && (o.machine = object_snapshot(c, value)) != NULL) {
        o.type = "VirtualMachineSnapshot";
    }
    if (strcmp(type, "Datastore") == 0 && (o.ds = datastore_by_moref(&c->host->stores, value)) != NULL) {
        o.type = "Datastore";
    }
    if (o.type == NULL) {
        return false;
    }
    (void)snprintf(o.value, sizeof o.value, "%s", value);
    *ret_object = o;
    return true;
}

size_t object_index_count(const struct call *c)
{
    return FIXED_COUNT + c->host->stores.count + (c->has_inventory ? c->inventory.count : 0);
}

size_t object_index(const struct call *c, const struct object *o)
{
    const struct fixed *f = fixed_of(o->type, o->value);

    if (f != NULL) {
        return (size_t)(f - fixed_objects);
    }
    if (o->ds != NULL) {
        return FIXED_COUNT + (size_t)(o->ds - c->host->stores.list);
    }
    if (o->machine != NULL && strcmp(o->type, "VirtualMachine") == 0) {
        return FIXED_COUNT + c->host->stores.count + (size_t)(o->machine - c->inventory.machines);
    }
    return object_index_count(c);
}

static bool is_entity(const char *type)
{
    static const char *const entities[] = {"Folder",     "Datacenter", "ComputeResource",
                                           "HostSystem", "Datastore",  "VirtualMachine"};

    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++) {
        if (strcmp(entities[i], type) == 0) {
            return true;
        }
    }
    return false;
}

bool object_is_a(const char *type, const char *wanted)
{
    return strcmp(type, wanted) == 0 || (strcmp(wanted, "ManagedEntity") == 0 && is_entity(type)) ||
           (strcmp(wanted, "View") == 0 && strcmp(type, "ContainerView") == 0);
}

/* ---- references ---- */

static void list_children(struct call *c, const struct object *o, struct objects *list)
{
    if (strcmp(o->value, REF_ROOT) == 0) {
        objects_add(list, "Datacenter", REF_DATACENTER);
    } else if (strcmp(o->value, REF_VM_FOLDER) == 0) {
        add_all_machines(c, NULL, list);
    } else if (strcmp(o->value, REF_DATASTORE_FOLDER) == 0) {
        add_all_datastores(c, list);
    } else {
        objects_add(list, "ComputeResource", REF_COMPUTE);
    }
}

static void list_parent(struct call *c, const struct object *o, struct objects *list)
{
    const struct fixed *f = fixed_of(o->type, o->value);

    (void)c;
    if (f != NULL && f->parent != NULL) {
        objects_add(list, f->parent_type, f->parent);
    } else if (f == NULL) {
        objects_add(list, "Folder", o->machine != NULL ? REF_VM_FOLDER : REF_DATASTORE_FOLDER);
    }
}

static void list_vm_folder(struct call *c, const struct object *o, struct objects *list)
{
    (void)c;
    (void)o;
    objects_add(list, "Folder", REF_VM_FOLDER);
}

static void list_host_folder(struct call *c, const struct object *o, struct objects *list)
{
    (void)c;
    (void)o;
    objects_add(list, "Folder", REF_HOST_FOLDER);
}

static void list_datastore_folder(struct call *c, const struct object *o, struct objects *list)
{
    (void)c;
    (void)o;
    objects_add(list, "Folder", REF_DATASTORE_FOLDER);
}

static void list_host(struct call *c, const struct object *o, struct objects *list)
{
    (void)c;
    (void)o;
    objects_add(list, "HostSystem", REF_HOST);
}

static void list_datastores(struct call *c, const struct object *o, struct objects *list)
{
    if (o->machine != NULL) {
        add_datastore(list, o->machine->ds);
    } else {
        add_all_datastores(c, list);
    }
}

static void list_machines(struct call *c, const struct object *o, struct objects *list)
{
    add_all_machines(c, o->ds, list);
}

/** What is below a container, of one type or all. */
static void list_view(struct call *c, const struct object *o, struct objects *list)
{
    struct session_view view;
    struct objects all = {0};

    if (!session_get_view(c->host->sessions, c->session.token, o->number, &view)) {
        return;
    }
    bool whole = strcmp(view.container, REF_ROOT) == 0 || strcmp(view.container, REF_DATACENTER) == 0;
    for (size_t i = 0; whole && i < FIXED_COUNT; i++) {
        if (is_entity(fixed_objects[i].type) && strcmp(fixed_objects[i].value, view.container) != 0) {
            objects_add(&all, fixed_objects[i].type, fixed_objects[i].value);
        }
    }
    if (whole || strcmp(view.container, REF_DATASTORE_FOLDER) == 0) {
        add_all_datastores(c, &all);
    }
    if (whole || strcmp(view.container, REF_VM_FOLDER) == 0) {
        add_all_machines(c, NULL, &all);
    }
    if (strcmp(view.container, REF_HOST_FOLDER) == 0) {
        objects_add(&all, "ComputeResource", REF_COMPUTE);
        objects_add(&all, "HostSystem", REF_HOST);
    }
    for (size_t i = 0; i < all.count; i++) {
        struct object *to =
            view.type[0] == '\0' || object_is_a(all.list[i].type, view.type) ? objects_next(list) : NULL;
        if (to != NULL) {
            *to = all.list[i];
        }
    }
    list->failed = list->failed || all.failed;
    objects_done(&all);
}

static const struct reference {
    const char *type, *path;
    bool many;
    void (*list)(struct call *c, const struct object *o, struct objects *list);
} references[] = {
    {"Folder", "childEntity", true, list_children},
    {"ManagedEntity", "parent", false, list_parent},
    {"Datacenter", "vmFolder", false, list_vm_folder},
    {"Datacenter", "hostFolder", false, list_host_folder},
    {"Datacenter", "datastoreFolder", false, list_datastore_folder},
    {"Datacenter", "datastore", true, list_datastores},
    {"ComputeResource", "host", true, list_host},
    {"ComputeResource", "datastore", true, list_datastores},
    {"HostSystem", "datastore", true, list_datastores},
    {"HostSystem", "vm", true, list_machines},
    {"VirtualMachine", "runtime.host", false, list_host},
    {"VirtualMachine", "datastore", true, list_datastores},
    {"Datastore", "vm", true, list_machines},
    {"ContainerView", "view", true, list_view},
};
#define REFERENCE_COUNT (sizeof references / sizeof references[0])

static const struct reference *reference_of(const char *type, const char *path)
{
    for (size_t i = 0; i < REFERENCE_COUNT; i++) {
        if (object_is_a(type, references[i].type) && strcmp(references[i].path, path) == 0) {
            return &references[i];
        }
    }
    return NULL;
}

bool object_references(struct call *c, const struct object *o, const char *path, struct objects *list)
{
    const struct reference *r = reference_of(o->type, path);

    if (r != NULL) {
        r->list(c, o, list);
    }
    return r != NULL;
}

static void put_references(struct call *c, const struct object *o, const struct reference *r, struct xml_text *x)
{
    struct objects list = {0};

    r->list(c, o, &list);
    if (r->many) {
        xml_raw(x, "<val xsi:type=\"ArrayOfManagedObjectReference\">");
        for (size_t i = 0; i < list.count; i++) {
            xml_raw(x, "<ManagedObjectReference type=\"");
            xml_raw(x, list.list[i].type);
            xml_raw(x, "\" xsi:type=\"ManagedObjectReference\">");
            xml_escaped(x, list.list[i].value);
            xml_raw(x, "</ManagedObjectReference>");
        }
        xml_raw(x, "</val>");
    } else if (list.count > 0) {
        put_val_reference(x, list.list[0].type, list.list[0].value);
    }
    x->failed = x->failed || list.failed;
    objects_done(&list);
}

/* ---- values ---- */

void put_val(struct xml_text *x, const char *type, const char *text)
{
    xml_raw(x, "<val xsi:type=\"");
    xml_raw(x, type);
    xml_raw(x, "\">");
    xml_escaped(x, text);
    xml_raw(x, "</val>");
}

void put_val_reference(struct xml_text *x, const char *type, const char *value)
{
    xml_raw(x, "<val type=\"");
    xml_raw(x, type);
    xml_raw(x, "\" xsi:type=\"ManagedObjectReference\">");
    xml_escaped(x, value);
    xml_raw(x, "</val>");
}

void put_val_name(struct xml_text *x, const char *name)
{
    xml_raw(x, "<val xsi:type=\"xsd:string\">");
    put_inventory_name(x, name);
    xml_raw(x, "</val>");
}

static void put_val_number(struct xml_text *x, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    put_val(x, "xsd:long", text);
}

/* ---- datastores ---- */

/** By the name alone: where the folder is on this machine is nobody's business. */
static void format_url(const struct datastore *ds, char *text, size_t size)
{
    (void)snprintf(text, size, "ds:///vmfs/volumes/%s/", ds->name);
}

static void put_ds_name(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    put_val_name(x, o->ds->name);
}

static void put_ds_summary(struct call *c, const struct object *o, struct xml_text *x)
{
    uint64_t capacity = 0, available = 0;
    char url[128];
    bool accessible = datastore_space(o->ds, &capacity, &available, NULL) == VIX_OK;

    (void)c;
    format_url(o->ds, url, sizeof url);
    xml_raw(x, "<val xsi:type=\"DatastoreSummary\">");
    xml_reference(x, "datastore", "Datastore", o->ds->moref);
    xml_raw(x, "<name>");
    put_inventory_name(x, o->ds->name);
    xml_raw(x, "</name>");
    xml_element(x, "url", url);
    xml_element_number(x, "capacity", capacity);
    xml_element_number(x, "freeSpace", available);
    xml_element_bool(x, "accessible", accessible);
    xml_element_bool(x, "multipleHostAccess", false);
    xml_element(x, "type", o->ds->volume != NULL ? "VMFS" : "OTHER");
    xml_element(x, "maintenanceMode", "normal");
    xml_raw(x, "</val>");
}

/** The volume and its LUNs: where those are is for the client to find by their names. */
static void put_vmfs(const struct datastore *ds, struct xml_text *x)
{
    const struct vmfs_info *info = vmfs_info(ds->volume);

    xml_raw(x, "<vmfs><name>");
    put_inventory_name(x, ds->name);
    xml_raw(x, "</name>");
    xml_element_number(x, "capacity", info->size);
    xml_element_number(x, "blockSizeMb", info->block_size >> 20);
    xml_element_number(x, "majorVersion", info->major);
    xml_element(x, "uuid", info->uuid);
    for (size_t i = 0; i < ds->lun_count; i++) {
        xml_raw(x, "<extent>");
        xml_element(x, "diskName", ds->luns[i].name);
        xml_raw(x, "</extent>");
    }
    xml_raw(x, "</vmfs>");
}

static void put_ds_info(struct call *c, const struct object *o, struct xml_text *x)
{
    uint64_t capacity = 0, available = 0;
    char url[128];

    (void)c;
    (void)datastore_space(o->ds, &capacity, &available, NULL);
    format_url(o->ds, url, sizeof url);
    xml_raw(x, o->ds->volume != NULL ? "<val xsi:type=\"VmfsDatastoreInfo\"><name>"
                                     : "<val xsi:type=\"DatastoreInfo\"><name>");
    put_inventory_name(x, o->ds->name);
    xml_raw(x, "</name>");
    xml_element(x, "url", url);
    xml_element_number(x, "freeSpace", available);
    xml_element_number(x, "maxFileSize", INT64_MAX);
    if (o->ds->volume != NULL) {
        put_vmfs(o->ds, x);
    }
    xml_raw(x, "</val>");
}

static void put_ds_capacity(struct call *c, const struct object *o, struct xml_text *x)
{
    uint64_t capacity = 0, available = 0;

    (void)c;
    (void)datastore_space(o->ds, &capacity, &available, NULL);
    put_val_number(x, capacity);
}

static void put_ds_free(struct call *c, const struct object *o, struct xml_text *x)
{
    uint64_t capacity = 0, available = 0;

    (void)c;
    (void)datastore_space(o->ds, &capacity, &available, NULL);
    put_val_number(x, available);
}

static void put_ds_accessible(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)c;
    (void)o;
    put_val(x, "xsd:boolean", "true");
}

static const struct property datastore_properties[] = {
    {"name", put_ds_name},
    {"summary", put_ds_summary},
    {"summary.name", put_ds_name},
    {"summary.capacity", put_ds_capacity},
    {"summary.freeSpace", put_ds_free},
    {"summary.accessible", put_ds_accessible},
    {"info", put_ds_info},
    {NULL, NULL},
};

/* ---- tasks ---- */

static void put_task_error_members(const struct session_task *task, struct xml_text *x)
{
    xml_raw(x, "<fault xsi:type=\"");
    xml_raw(x, task->fault);
    xml_raw(x, "\"/>");
    xml_element(x, "localizedMessage", task->text);
}

static void put_task_state(struct call *c, const struct object *o, struct xml_text *x)
{
    struct session_task task;

    if (session_get_task(c->host->sessions, c->session.token, o->number, &task)) {
        put_val(x, "TaskInfoState", task.fault[0] != '\0' ? "error" : "success");
    }
}

static void put_task_error(struct call *c, const struct object *o, struct xml_text *x)
{
    struct session_task task;

    if (session_get_task(c->host->sessions, c->session.token, o->number, &task) && task.fault[0] != '\0') {
        xml_raw(x, "<val xsi:type=\"LocalizedMethodFault\">");
        put_task_error_members(&task, x);
        xml_raw(x, "</val>");
    }
}

static void put_task_info(struct call *c, const struct object *o, struct xml_text *x)
{
    struct session_task task;
    char text[TIME_TEXT_MAX];

    if (!session_get_task(c->host->sessions, c->session.token, o->number, &task)) {
        return;
    }
    format_time(task.ended, text);
    xml_raw(x, "<val xsi:type=\"TaskInfo\">");
    xml_element(x, "key", o->value);
    xml_reference(x, "task", "Task", o->value);
    xml_element(x, "name", task.name);
    xml_element(x, "descriptionId", task.name);
    xml_element(x, "state", task.fault[0] != '\0' ? "error" : "success");
    xml_element_bool(x, "cancelled", false);
    xml_element_bool(x, "cancelable", false);
    if (task.fault[0] != '\0') {
        xml_raw(x, "<error>");
        put_task_error_members(&task, x);
        xml_raw(x, "</error>");
    }
    xml_element(x, "queueTime", text);
    xml_element(x, "startTime", text);
    xml_element(x, "completeTime", text);
    xml_raw(x, "</val>");
}

static const struct property task_properties[] = {
    {"info", put_task_info},
    {"info.state", put_task_state},
    {"info.error", put_task_error},
    {NULL, NULL},
};

/* ---- the others ---- */

static void put_fixed_name(struct call *c, const struct object *o, struct xml_text *x)
{
    const struct fixed *f = fixed_of(o->type, o->value);

    (void)c;
    if (f != NULL && f->name != NULL) {
        put_val_name(x, f->name);
    }
}

static void put_current_session(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)o;
    xml_raw(x, "<val xsi:type=\"UserSession\">");
    put_session(&c->session, x);
    xml_raw(x, "</val>");
}

static void put_service_content(struct call *c, const struct object *o, struct xml_text *x)
{
    (void)o;
    xml_raw(x, "<val xsi:type=\"ServiceContent\">");
    put_content(c, x);
    xml_raw(x, "</val>");
}

static void put_clock(struct call *c, const struct object *o, struct xml_text *x)
{
    char text[TIME_TEXT_MAX];

    (void)c;
    (void)o;
    format_time((int64_t)time(NULL), text);
    put_val(x, "xsd:dateTime", text);
}

static const struct property fixed_properties[] = {{"name", put_fixed_name}, {NULL, NULL}};
static const struct property session_properties[] = {{"currentSession", put_current_session}, {NULL, NULL}};
static const struct property service_properties[] = {
    {"content", put_service_content},
    {"serverClock", put_clock},
    {NULL, NULL},
};

static const struct {
    const char *type;
    const struct property *properties;
} types[] = {
    {"VirtualMachine", machine_properties}, {"VirtualMachineSnapshot", snapshot_properties},
    {"Datastore", datastore_properties},    {"Task", task_properties},
    {"SessionManager", session_properties}, {"ServiceInstance", service_properties},
    {"ManagedEntity", fixed_properties},
};

static const struct property *properties_of(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (object_is_a(type, types[i].type)) {
            return types[i].properties;
        }
    }
    return NULL;
}

/** <propSet> with a value; nothing where there is none. */
static void put_set(const char *path, const struct xml_text *val, struct xml_text *x)
{
    x->failed = x->failed || val->failed;
    if (val->len > 0) {
        xml_raw(x, "<propSet>");
        xml_element(x, "name", path);
        xml_raw(x, val->bytes);
        xml_raw(x, "</propSet>");
    }
}

void object_put(struct call *c, const struct object *o, const char *path, struct xml_text *x)
{
    struct xml_text val = {0};
    const struct reference *r = reference_of(o->type, path);
    const struct property *p = properties_of(o->type);

    while (p != NULL && p->path != NULL && strcmp(p->path, path) != 0) {
        p++;
    }
    if (r != NULL) {
        put_references(c, o, r, &val);
    } else if (p != NULL && p->path != NULL) {
        p->put(c, o, &val);
    }
    put_set(path, &val, x);
    xml_text_free(&val);
}

/** All properties that are not a part of another one. */
void object_put_all(struct call *c, const struct object *o, struct xml_text *x)
{
    for (const struct property *p = properties_of(o->type); p != NULL && p->path != NULL; p++) {
        if (strchr(p->path, '.') == NULL) {
            object_put(c, o, p->path, x);
        }
    }
    for (size_t i = 0; i < REFERENCE_COUNT; i++) {
        if (object_is_a(o->type, references[i].type) && strchr(references[i].path, '.') == NULL) {
            object_put(c, o, references[i].path, x);
        }
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* soap_int.h - the inside of the SOAP face. A call runs on one thread from its parsing to its answer; everything about
 * it is in struct call. */
#ifndef VIXDISKD_SOAP_INT_H
#define VIXDISKD_SOAP_INT_H

#include "daemon/host.h"
#include "daemon/inventory.h"
#include "daemon/soap_face.h"
#include "soap/soap.h"

/* References, as ESXi has them. */
#define REF_ROOT "ha-folder-root"
#define REF_VM_FOLDER "ha-folder-vm"
#define REF_HOST_FOLDER "ha-folder-host"
#define REF_DATASTORE_FOLDER "ha-folder-datastore"
#define REF_DATACENTER "ha-datacenter"
#define REF_COMPUTE "ha-compute-res"
#define REF_HOST "ha-host"
#define REF_COLLECTOR "ha-property-collector"
#define REF_VIEW_MANAGER "ViewManager"
#define REF_SESSION_MANAGER "ha-sessionmgr"
#define REF_AUTHORIZATION_MANAGER "ha-authmgr"
#define REF_SEARCH_INDEX "ha-searchindex"
#define REF_FILE_MANAGER "ha-nfc-file-manager"
#define REF_DISK_MANAGER "ha-vdiskmanager"
#define REF_NFC "ha-nfc-service"
#define REF_LEASE_MANAGER "ha-host-disk-manager"

#define FAULT_TYPE_MAX 48u /* own: room for the name of a fault */

/** A call that is being answered. */
struct call {
    struct host *host;
    struct soap_call soap;
    const char *body; /* as it came */
    size_t body_len;
    const char *peer;
    struct session session; /* after the login */
    struct xml_text out;    /* what is in the response */
    char fault[FAULT_TYPE_MAX];
    char fault_text[512];
    struct xml_text fault_inner;
    char cookie[SESSION_TOKEN_LEN + 1]; /* to be set */
    struct inventory inventory;         /* read once, when it is first needed */
    bool has_inventory;
};

/** The call fails; only the first failure counts. */
void call_fault(struct call *c, const char *type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** The fault that a code becomes, with the sentence of err. */
void call_failed(struct call *c, const struct err *err);
const char *fault_of_code(VixError code);
void call_no_object(struct call *c, const char *type, const char *value);
void call_no_permission(struct call *c, const char *object_type, const char *object, const char *privilege,
                        const char *text);

/** Text of an argument; "" if it is not there. */
const char *call_text(const struct call *c, const char *path);

/** The machines; NULL with the fault set. */
const struct inventory *call_inventory(struct call *c);
/** The machine of a reference; NULL with the fault set. */
const struct machine *call_machine(struct call *c, const char *moref);

/** <name>text</name> with the %2f, %5c, %25 of names in inventories; and back, into an own buffer. */
void put_inventory_name(struct xml_text *x, const char *name);
/** "2026-01-02T03:04:05Z" */
#define TIME_TEXT_MAX 40u /* own: room for a time */
void format_time(int64_t seconds, char text[TIME_TEXT_MAX]);

/* soap_changes.c */
void call_query_changed(struct call *c);

/* soap_service.c */
void put_content(struct call *c, struct xml_text *x);
void call_retrieve_service_content(struct call *c);
void call_retrieve_internal_content(struct call *c);
void call_current_time(struct call *c);
void call_login(struct call *c);
void call_logout(struct call *c);
void call_session_is_active(struct call *c);
void call_change_methods(struct call *c);
void call_has_privileges(struct call *c);
void put_session(const struct session *s, struct xml_text *x);

/* soap_find.c */
void call_find_by_inventory_path(struct call *c);
void call_find_by_datastore_path(struct call *c);
void call_find_by_uuid(struct call *c);
void call_create_container_view(struct call *c);
void call_destroy_view(struct call *c);

/* soap_ticket.c */
void call_get_vm_files(struct call *c);
void call_open_disk(struct call *c);
void call_open_readonly(struct call *c);
void call_file_management(struct call *c);
void call_lib_version(struct call *c);
bool call_may_write(const struct call *c, const struct datastore *ds);
void call_no_transfers(struct call *c);

/* soap_lease.c */
void call_acquire_lease(struct call *c);
void call_map_region(struct call *c);
void call_renew_lease(struct call *c);
void call_renew_all_leases(struct call *c);
void call_release_lease(struct call *c);

/* soap_disk.c */
void call_create_virtual_disk(struct call *c);
void call_delete_virtual_disk(struct call *c);
void call_move_virtual_disk(struct call *c);
void call_extend_virtual_disk(struct call *c);
void call_make_directory(struct call *c);

/* soap_retrieve.c */
void call_retrieve_properties(struct call *c);
void call_retrieve_properties_ex(struct call *c);
void call_continue_retrieve(struct call *c);

/* ---- objects (soap_object.c) ---- */

/** A managed object. */
struct object {
    const char *type;
    char value[SESSION_TYPE_MAX];
    const struct machine *machine; /* of a VirtualMachine, or its VirtualMachineSnapshot */
    const struct datastore *ds;    /* of a Datastore */
    unsigned number;               /* of a ContainerView or Task */
};

struct objects {
    struct object *list;
    size_t count, room;
    bool failed; /* out of memory */
};

void objects_add(struct objects *list, const char *type, const char *value);
void objects_done(struct objects *list);

/** Looks an object up; false if there is none of that type and value. */
bool object_find(struct call *c, const char *type, const char *value, struct object *ret_object);
/** A number for each object that references lead to, below object_index_count; object_index_count for others. */
size_t object_index(const struct call *c, const struct object *o);
size_t object_index_count(const struct call *c);
/** Whether a type is this one or derives from it ("ManagedEntity"). */
bool object_is_a(const char *type, const char *wanted);
/** Appends the objects that a property refers to; false if there is no such property of references. */
bool object_references(struct call *c, const struct object *o, const char *path, struct objects *list);
/** Writes <propSet> for a property, nothing where it is not set. */
void object_put(struct call *c, const struct object *o, const char *path, struct xml_text *x);
void object_put_all(struct call *c, const struct object *o, struct xml_text *x);

/** A property of a type: how its <val> is written. put writes nothing where it is not set. */
struct property {
    const char *path;
    void (*put)(struct call *c, const struct object *o, struct xml_text *x);
};
extern const struct property machine_properties[]; /* soap_machine.c; ends with NULL */
extern const struct property snapshot_properties[];

/** The machine of which a reference is the snapshot; NULL, also for machines that have none. */
const struct machine *object_snapshot(struct call *c, const char *value);

/** <val xsi:type="xsd:string">escaped</val> and so on. */
void put_val(struct xml_text *x, const char *type, const char *text);
void put_val_reference(struct xml_text *x, const char *type, const char *value);
void put_val_name(struct xml_text *x, const char *name);

#endif

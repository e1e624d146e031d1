/* SPDX-License-Identifier: BSD-3-Clause */
/* One SOAP call from bytes to bytes: parsed, its session looked up, the method found in a table, its answer or fault
 * put into an envelope. Only what the table marks as open may be called without a login. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "daemon/log.h"
#include "daemon/soap_int.h"

const char soap_versions_xml[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<namespaces version=\"1.0\">\n <namespace>\n"
    "  <name>urn:vim25</name>\n  <version>8.0.1.0</version>\n  <priorVersions>\n"
    "   <version>8.0.0.1</version>\n   <version>7.0.3.0</version>\n   <version>6.7</version>\n"
    "   <version>6.5</version>\n   <version>6.0</version>\n  </priorVersions>\n </namespace>\n</namespaces>\n";

struct method {
    const char *name;
    const char *this_type; /* NULL: any */
    const char *this_value;
    bool open; /* without a login */
    void (*run)(struct call *c);
};

static const struct method methods[] = {
    {"RetrieveServiceContent", "ServiceInstance", "ServiceInstance", true, call_retrieve_service_content},
    {"RetrieveInternalContent", "ServiceInstance", "ServiceInstance", false, call_retrieve_internal_content},
    {"CurrentTime", "ServiceInstance", "ServiceInstance", false, call_current_time},
    {"Login", "SessionManager", REF_SESSION_MANAGER, true, call_login},
    {"Logout", "SessionManager", REF_SESSION_MANAGER, false, call_logout},
    {"SessionIsActive", "SessionManager", REF_SESSION_MANAGER, false, call_session_is_active},
    {"RetrieveProperties", "PropertyCollector", REF_COLLECTOR, false, call_retrieve_properties},
    {"RetrievePropertiesEx", "PropertyCollector", REF_COLLECTOR, false, call_retrieve_properties_ex},
    {"ContinueRetrievePropertiesEx", "PropertyCollector", REF_COLLECTOR, false, call_continue_retrieve},
    {"CreateContainerView", "ViewManager", REF_VIEW_MANAGER, false, call_create_container_view},
    {"DestroyView", "ContainerView", NULL, false, call_destroy_view},
    {"FindByInventoryPath", "SearchIndex", REF_SEARCH_INDEX, false, call_find_by_inventory_path},
    {"FindByDatastorePath", "SearchIndex", REF_SEARCH_INDEX, false, call_find_by_datastore_path},
    {"FindByUuid", "SearchIndex", REF_SEARCH_INDEX, false, call_find_by_uuid},
    {"QueryChangedDiskAreas", "VirtualMachine", NULL, false, call_query_changed},
    {"NfcGetVmFiles", "NfcService", REF_NFC, false, call_get_vm_files},
    {"NfcRandomAccessOpenDisk", "NfcService", REF_NFC, false, call_open_disk},
    {"NfcRandomAccessOpenReadonly", "NfcService", REF_NFC, false, call_open_readonly},
    {"NfcFileManagement", "NfcService", REF_NFC, false, call_file_management},
    {"NfcGetServerNfcLibVersion", "NfcService", REF_NFC, false, call_lib_version},
    {"NfcPutVmFiles", "NfcService", REF_NFC, false, call_no_transfers},
    {"NfcSystemManagement", "NfcService", REF_NFC, false, call_no_transfers},
    {"AcquireLeaseExt", "HostDiskManager", REF_LEASE_MANAGER, false, call_acquire_lease},
    {"RenewAllLeases", "HostDiskManager", REF_LEASE_MANAGER, false, call_renew_all_leases},
    {"LeaseMapDiskRegion", "HostDiskManagerLease", NULL, false, call_map_region},
    {"RenewLease", "HostDiskManagerLease", NULL, false, call_renew_lease},
    {"ReleaseLease", "HostDiskManagerLease", NULL, false, call_release_lease},
    {"EnableMethods", "AuthorizationManager", REF_AUTHORIZATION_MANAGER, false, call_change_methods},
    {"DisableMethods", "AuthorizationManager", REF_AUTHORIZATION_MANAGER, false, call_change_methods},
    {"HasPrivilegeOnEntities", "AuthorizationManager", REF_AUTHORIZATION_MANAGER, false, call_has_privileges},
    {"CreateVirtualDisk_Task", "VirtualDiskManager", REF_DISK_MANAGER, false, call_create_virtual_disk},
    {"DeleteVirtualDisk_Task", "VirtualDiskManager", REF_DISK_MANAGER, false, call_delete_virtual_disk},
    {"MoveVirtualDisk_Task", "VirtualDiskManager", REF_DISK_MANAGER, false, call_move_virtual_disk},
    {"ExtendVirtualDisk_Task", "VirtualDiskManager", REF_DISK_MANAGER, false, call_extend_virtual_disk},
    {"MakeDirectory", "FileManager", REF_FILE_MANAGER, false, call_make_directory},
};

/* ---- helpers for methods ---- */

void call_fault(struct call *c, const char *type, const char *fmt, ...)
{
    va_list args;

    if (c->fault[0] != '\0') {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(c->fault_text, sizeof c->fault_text, fmt, args);
    va_end(args);
    (void)snprintf(c->fault, sizeof c->fault, "%s", type);
}

const char *fault_of_code(VixError code)
{
    switch (code) {
    case VIX_E_FILE_NOT_FOUND:
        return "FileNotFound";
    case VIX_E_FILE_ALREADY_EXISTS:
        return "FileAlreadyExists";
    case VIX_E_FILE_ALREADY_LOCKED:
        return "FileLocked";
    case VIX_E_FILE_ACCESS_ERROR:
    case VIX_E_FILE_READ_ONLY:
        return "CannotAccessFile";
    case VIX_E_DISK_FULL:
        return "NoDiskSpace";
    case VIX_E_FILE_TOO_BIG:
        return "FileTooLarge";
    case VIX_E_FILE_NAME_INVALID:
        return "InvalidDatastorePath";
    case VIX_E_INVALID_ARG:
        return "InvalidArgument";
    case VIX_E_NOT_SUPPORTED:
        return "NotSupported";
    case VIX_E_OBJECT_IS_BUSY:
        return "ResourceInUse";
    case VIX_E_VM_NOT_FOUND:
        return "ManagedObjectNotFound";
    default:
        return "SystemError";
    }
}

void call_failed(struct call *c, const struct err *err)
{
    call_fault(c, fault_of_code(err->code), "%s", err->text);
}

void call_no_object(struct call *c, const char *type, const char *value)
{
    call_fault(c, "ManagedObjectNotFound", "The object '%.64s:%.64s' has already been deleted or has not been created",
               type, value);
    if (c->fault_inner.bytes == NULL) {
        xml_reference(&c->fault_inner, "obj", type, value);
    }
}

void call_no_permission(struct call *c, const char *object_type, const char *object, const char *privilege,
                        const char *text)
{
    call_fault(c, "NoPermission", "Permission to perform this operation was denied: %s", text);
    if (c->fault_inner.bytes == NULL) {
        xml_reference(&c->fault_inner, "object", object_type, object);
        xml_element(&c->fault_inner, "privilegeId", privilege);
    }
    host_log(HOST_LOG_WARN, "%s: user %s may not call %s: %s", c->peer, c->session.user->name, c->soap.method, text);
}

const char *call_text(const struct call *c, const char *path)
{
    const char *text = xml_text(c->soap.node, path);
    return text != NULL ? text : "";
}

const struct inventory *call_inventory(struct call *c)
{
    struct err err;

    err_init(&err);
    if (!c->has_inventory) {
        if (inventory_read(&c->host->stores, &c->inventory, &err) != VIX_OK) {
            host_log(HOST_LOG_WARN, "the machines cannot be read: %s", err.text);
            call_failed(c, &err);
            return NULL;
        }
        c->has_inventory = true;
    }
    return &c->inventory;
}

const struct machine *call_machine(struct call *c, const char *moref)
{
    const struct inventory *inv = call_inventory(c);

    for (size_t i = 0; inv != NULL && i < inv->count; i++) {
        if (strcmp(inv->machines[i].moref, moref) == 0) {
            return &inv->machines[i];
        }
    }
    call_no_object(c, "VirtualMachine", moref);
    return NULL;
}

void put_inventory_name(struct xml_text *x, const char *name)
{
    char *text = alloc_zero(3 * strlen(name) + 1, NULL);
    size_t len = 0;

    if (text == NULL) {
        x->failed = true;
        return;
    }
    for (; *name != '\0'; name++) {
        const char *code = *name == '%' ? "%25" : *name == '/' ? "%2f" : *name == '\\' ? "%5c" : NULL;
        if (code != NULL) {
            memcpy(text + len, code, 3);
            len += 3;
        } else {
            text[len++] = *name;
        }
    }
    xml_escaped(x, text);
    free(text);
}

void format_time(int64_t seconds, char text[TIME_TEXT_MAX])
{
    time_t t = (time_t)seconds;
    struct tm utc;

    if (gmtime_r(&t, &utc) == NULL || strftime(text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        (void)snprintf(text, TIME_TEXT_MAX, "1970-01-01T00:00:00Z");
    }
}

/* ---- the call ---- */

static const struct method *find_method(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

static void not_authenticated(struct call *c)
{
    call_fault(c, "NotAuthenticated", "The session is not authenticated.");
    xml_reference(&c->fault_inner, "object", c->soap.this_type, c->soap.this_value);
    xml_element(&c->fault_inner, "privilegeId", "System.View");
}

static void run_call(struct call *c, const char *token)
{
    const struct method *m = find_method(c->soap.method);
    bool known = token[0] != '\0' && session_find(c->host->sessions, token, &c->session);

    if (m == NULL || !m->open) {
        if (!known) {
            not_authenticated(c);
            return;
        }
    }
    if (m == NULL) {
        call_fault(c, "MethodNotFound", "The method %.64s is not known to this host", c->soap.method);
        xml_element(&c->fault_inner, "receiver", c->soap.this_value);
        xml_element(&c->fault_inner, "method", c->soap.method);
        return;
    }
    if (m->this_value != NULL && strcmp(m->this_value, c->soap.this_value) != 0) {
        call_no_object(c, m->this_type, c->soap.this_value);
        return;
    }
    m->run(c);
}

/** A fault's type is one of ours, a method's name is the client's: only names that can be elements are echoed. */
static bool is_plain_name(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return len > 0 && len < 64 && name[len] == '\0';
}

static void put_envelope(struct call *c, struct soap_result *r)
{
    struct xml_text x = {0};

    if (c->fault[0] != '\0') {
        r->status = 500;
        soap_fault(&x, c->fault, c->fault_text,
                   xml_done(&c->fault_inner, NULL) == VIX_OK ? c->fault_inner.bytes : NULL);
    } else {
        r->status = 200;
        soap_response_begin(&x, c->soap.method);
        if (xml_done(&c->out, NULL) == VIX_OK && c->out.bytes != NULL) {
            xml_raw(&x, c->out.bytes);
        }
        x.failed = x.failed || c->out.failed;
        soap_response_end(&x, c->soap.method);
    }
    if (xml_done(&x, NULL) == VIX_OK) {
        r->text = x.bytes;
    } else {
        xml_text_free(&x);
    }
}

static void answer_document(struct host *host, const struct soap_request *q, const struct xml_doc *doc,
                            struct soap_result *r)
{
    struct call c = {.host = host, .body = q->body, .body_len = q->len, .peer = q->peer};
    struct err err;

    err_init(&err);
    if (soap_read_call(doc, &c.soap, &err) != VIX_OK) {
        call_fault(&c, "InvalidRequest", "%s", err.text);
    } else if (!is_plain_name(c.soap.method)) {
        call_fault(&c, "InvalidRequest", "the name of the method is not one");
    } else {
        run_call(&c, q->token);
    }
    put_envelope(&c, r);
    memcpy(r->cookie, c.cookie, sizeof r->cookie);
    xml_text_free(&c.out);
    xml_text_free(&c.fault_inner);
    if (c.has_inventory) {
        inventory_done(&c.inventory);
    }
    explicit_bzero(&c.session, sizeof c.session);
    explicit_bzero(c.cookie, sizeof c.cookie);
}

void soap_face_answer(struct host *host, const struct soap_request *q, struct soap_result *r)
{
    struct xml_doc *doc = NULL;
    struct xml_text x = {0};
    struct err err;

    err_init(&err);
    if (xml_parse(q->body, q->len, &doc, &err) == VIX_OK) {
        answer_document(host, q, doc, r);
        xml_free(doc);
        return;
    }
    r->status = 500;
    soap_fault(&x, "InvalidRequest", err.text, NULL);
    if (xml_done(&x, NULL) == VIX_OK) {
        r->text = x.bytes;
    } else {
        xml_text_free(&x);
    }
}

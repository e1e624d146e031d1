/* SPDX-License-Identifier: BSD-3-Clause */
/* ticket.c - tickets of the NFC service: who may connect to which host, once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

#define NFC_PORT 902

/* What a kind of ticket is asked for with. */
struct ticket_row {
    const char *method, *object, *object_type;
    bool has_key, has_host;
};

static const struct ticket_row ticket_table[] = {
    [VIM_TICKET_READ_VM] = {"NfcGetVmFiles", "vm", "VirtualMachine", false, false},
    [VIM_TICKET_READ_DISK] = {"NfcRandomAccessOpenReadonly", "vm", "VirtualMachine", true, true},
    [VIM_TICKET_WRITE_DISK] = {"NfcRandomAccessOpenDisk", "vm", "VirtualMachine", true, true},
    [VIM_TICKET_DATASTORE] = {"NfcFileManagement", "ds", "Datastore", false, true},
};

/* ---- the service ---- */

VixError vim_internal_service(struct vim_session *s, const char *member, char **ret_service, struct err *err)
{
    struct vim_reply reply;
    struct vim_call call = vim_call_begin("RetrieveInternalContent", "ServiceInstance", "ServiceInstance");
    VixError code = vim_call_do(s, &call, &reply, err);
    bool answered = reply.doc != NULL;

    if (code == VIX_OK) {
        const char *service = xml_text(xml_child(reply.response, "returnval"), member);
        code = vim_copy_text(service, ret_service, err) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    } else if (answered && strcmp(reply.fault_type, "NotAuthenticated") != 0) {
        code = VIX_OK; /* a server that does not know the call may have the service all the same */
    }
    vim_reply_free(&reply);
    return code;
}

static VixError nfc_service(struct vim_session *s, char **ret_service, struct err *err)
{
    char *service = NULL;

    (void)pthread_mutex_lock(&s->lock);
    bool known = s->nfc_service != NULL;
    bool good = vim_copy_text(s->nfc_service, &service, err);
    (void)pthread_mutex_unlock(&s->lock);
    if (known || !good) {
        *ret_service = service;
        return good ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_internal_service(s, "nfcService", &service, err);
    if (code != VIX_OK) {
        return code;
    }
    if (service == NULL) {
        service = alloc_text(s->is_vcenter ? "nfcService" : "ha-nfc-service", err);
    }
    SCOPED_LOCK(&s->lock);
    if (service == NULL || (s->nfc_service == NULL && !vim_copy_text(service, &s->nfc_service, err))) {
        free(service);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_service = service;
    return VIX_OK;
}

/* ---- the ticket ---- */

static VixError lacks(struct vim_session *s, const char *method, const char *what, struct err *err)
{
    return err_set(err, VIX_E_INVALID_XML, "%s: %s: the ticket has %s", vim_peer(s), method, what);
}

static VixError fill_ticket(struct vim_session *s, const char *method, const struct xml_node *value,
                            struct vim_ticket *t, struct err *err)
{
    const char *host = xml_text(value, "host");
    const char *service = xml_text(value, "service");
    const char *id = xml_text(value, "sessionId");
    uint64_t port = NFC_PORT;

    if (id == NULL || id[0] == '\0' || strpbrk(id, "\r\n") != NULL) {
        return lacks(s, method, "no session", err);
    }
    if (xml_child(value, "port") != NULL && (!xml_number(value, "port", &port) || port > UINT16_MAX)) {
        return lacks(s, method, "a port that is none", err);
    }
    t->port = port != 0 ? (uint16_t)port : NFC_PORT;
    bool good = vim_copy_text(host != NULL && host[0] != '\0' ? host : vim_host(s), &t->host, err) &&
                vim_copy_text(xml_text(value, "sslThumbprint"), &t->thumbprint, err) &&
                vim_copy_text(xml_text(value, "sslCertificate"), &t->certificate, err) &&
                vim_copy_text(service != NULL ? service
                              : s->is_vcenter ? "vpxa-nfc"
                                              : "nfc",
                              &t->service, err) &&
                vim_copy_text(id, &t->session_id, err);
    if (good && t->thumbprint != NULL && t->thumbprint[0] == '\0') {
        free(TAKE_PTR(t->thumbprint));
    }
    return good ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void vim_ticket_free(struct vim_ticket *t)
{
    if (t == NULL) {
        return;
    }
    if (t->session_id != NULL) {
        explicit_bzero(t->session_id, strlen(t->session_id));
    }
    free(t->session_id);
    free(t->host);
    free(t->thumbprint);
    free(t->certificate);
    free(t->service);
    free(t);
}

static VixError read_ticket(struct vim_session *s, const char *method, const struct vim_reply *reply,
                            struct vim_ticket **ret_ticket, struct err *err)
{
    const struct xml_node *value = xml_child(reply->response, "returnval");
    struct vim_ticket *t = alloc_zero(sizeof *t, err);

    if (t == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fill_ticket(s, method, value, t, err);
    if (code != VIX_OK) {
        vim_ticket_free(t);
        return code;
    }
    *ret_ticket = t;
    return VIX_OK;
}

/* The codes that clients know for an open that is not allowed, and for a machine that is gone. */
static VixError ticket_code(const struct ticket_row *row, const struct vim_reply *reply, VixError code)
{
    if (strcmp(reply->fault_type, "NoPermission") == 0) {
        return VIX_E_FILE_ACCESS_ERROR;
    }
    if (strcmp(reply->fault_type, "ManagedObjectNotFound") == 0 && strcmp(row->object, "vm") == 0) {
        return VIX_E_VM_NOT_FOUND;
    }
    return code;
}

VixError vim_get_ticket(struct vim_session *s, enum vim_ticket_kind kind, const char *object, int32_t key,
                        const char *host, struct vim_ticket **ret_ticket, struct err *err)
{
    const struct ticket_row *row = &ticket_table[kind];
    struct vim_reply reply;
    CLEANUP_FREE char *service = NULL;
    VixError code = nfc_service(s, &service, err);

    if (code != VIX_OK) {
        return code;
    }
    struct vim_call call = vim_call_begin(row->method, "NfcService", service);
    call.changes = true; /* each ticket counts on the server */
    xml_reference(&call.text, row->object, row->object_type, object);
    if (row->has_key) {
        char digits[16];
        (void)snprintf(digits, sizeof digits, "%d", key);
        xml_element(&call.text, "diskDeviceKey", digits);
    }
    if (row->has_host) {
        xml_reference(&call.text, "hostForAccess", "HostSystem", host);
    }
    code = vim_call_do(s, &call, &reply, err);
    if (code == VIX_OK) {
        code = read_ticket(s, row->method, &reply, ret_ticket, err);
    } else {
        code = ticket_code(row, &reply, code);
        if (err != NULL) {
            err->code = code;
        }
    }
    vim_reply_free(&reply);
    return code;
}

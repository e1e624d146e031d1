/* SPDX-License-Identifier: BSD-3-Clause */
/* The NFC service: tickets, given to users for what they may do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/soap_int.h"

#define NFC_LIB_VERSION 11 /* as of ESXi 8 */

static void put_ticket(struct call *c, const char *id)
{
    xml_raw(&c->out, "<returnval>");
    xml_element(&c->out, "host", c->host->config.name);
    xml_element_number(&c->out, "port", c->host->nfc_port);
    xml_element(&c->out, "sslThumbprint", c->host->thumbprint);
    xml_element(&c->out, "service", "nfc");
    xml_element(&c->out, "serviceVersion", "1.1");
    xml_element(&c->out, "sessionId", id);
    xml_raw(&c->out, "</returnval>");
}

/** The scope's texts are taken over. */
static void issue(struct call *c, struct ticket_scope *scope, const char *what)
{
    char id[TICKET_ID_LEN + 1];
    struct err err;

    err_init(&err);
    scope->user = alloc_text(c->session.user->name, &err);
    VixError code = scope->user != NULL ? tickets_issue(c->host->tickets, scope, id, &err) : VIX_E_OUT_OF_MEMORY;
    if (code != VIX_OK) {
        ticket_scope_done(scope);
        call_failed(c, &err);
        return;
    }
    host_log(HOST_LOG_INFO, "%s: user %s got a ticket for %s", c->peer, c->session.user->name, what);
    put_ticket(c, id);
    explicit_bzero(id, sizeof id);
}

void call_get_vm_files(struct call *c)
{
    char what[64];
    const struct machine *m = call_machine(c, call_text(c, "vm"));

    if (m == NULL) {
        return;
    }
    struct ticket_scope scope = {.kind = TICKET_MACHINE, .ds = m->ds, .moref = alloc_text(m->moref, NULL)};
    if (scope.moref == NULL) {
        c->out.failed = true;
        return;
    }
    (void)snprintf(what, sizeof what, "the disks of %s, reading", m->moref);
    issue(c, &scope, what);
}

bool call_may_write(const struct call *c, const struct datastore *ds)
{
    return ds->writable && !c->session.user->read_only;
}

static void issue_for_disk(struct call *c, const struct machine *m, const struct machine_disk *d, bool write)
{
    char what[96];
    struct ticket_scope scope = {.kind = TICKET_DISK,
                                 .ds = m->ds,
                                 .moref = alloc_text(m->moref, NULL),
                                 .path = alloc_text(d->path, NULL),
                                 .writable = write};

    if (scope.moref == NULL || scope.path == NULL) {
        ticket_scope_done(&scope);
        c->out.failed = true;
        return;
    }
    (void)snprintf(what, sizeof what, "disk %d of %s, %s", d->key, m->moref, write ? "writing" : "reading");
    issue(c, &scope, what);
}

static void disk_ticket(struct call *c, bool write)
{
    const struct machine *m = call_machine(c, call_text(c, "vm"));
    struct machine_disks disks;
    const struct machine_disk *found = NULL;
    uint64_t key = 0;
    struct err err;

    if (m == NULL) {
        return;
    }
    if (write && !call_may_write(c, m->ds)) {
        call_no_permission(c, "VirtualMachine", m->moref, "VirtualMachine.Provisioning.DiskRandomAccess",
                           c->session.user->read_only ? "the user may only read" : "the datastore is only read here");
        return;
    }
    err_init(&err);
    if (machine_read_disks(m, &disks, &err) != VIX_OK) {
        call_failed(c, &err);
        return;
    }
    bool is_number = xml_number(c->soap.node, "diskDeviceKey", &key);
    for (size_t i = 0; is_number && i < disks.count; i++) {
        if ((uint64_t)disks.disks[i].key == key) {
            found = &disks.disks[i];
        }
    }
    if (found != NULL) {
        issue_for_disk(c, m, found, write);
    } else {
        call_fault(c, "InvalidArgument", "A specified parameter was not correct: diskDeviceKey");
        xml_element(&c->fault_inner, "invalidProperty", "diskDeviceKey");
    }
    machine_disks_done(&disks);
}

void call_open_disk(struct call *c)
{
    disk_ticket(c, true);
}

void call_open_readonly(struct call *c)
{
    disk_ticket(c, false);
}

void call_file_management(struct call *c)
{
    char what[96];
    const char *moref = call_text(c, "ds");
    const struct datastore *ds = datastore_by_moref(&c->host->stores, moref);

    if (ds == NULL) {
        call_no_object(c, "Datastore", moref);
        return;
    }
    struct ticket_scope scope = {.kind = TICKET_DATASTORE, .ds = ds, .writable = call_may_write(c, ds)};
    (void)snprintf(what, sizeof what, "datastore %s, %s", ds->name, scope.writable ? "writing" : "reading");
    issue(c, &scope, what);
}

void call_lib_version(struct call *c)
{
    uint32_t version = c->host->knobs.version;

    xml_element_number(&c->out, "returnval", version != 0 ? version : NFC_LIB_VERSION);
}

void call_no_transfers(struct call *c)
{
    call_fault(c, "NotSupported", "whole files are not transferred by this host; disks are opened");
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host is, logging in and out. Passwords are looked at here and go nowhere else. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/log.h"
#include "daemon/soap_int.h"
#include "daemon/users.h"

#define API_VERSION "8.0.1.0"
#define NAME_SHOWN_MAX 64 /* limit: bytes, in the log, of a user name that did not log in */

static void put_about(struct xml_text *x)
{
    xml_raw(x, "<about>");
    xml_element(x, "name", "vixdiskd");
    xml_element(x, "fullName", "vixdiskd " VIXDISK_VERSION);
    xml_element(x, "vendor", "vixdisk");
    xml_element(x, "version", "8.0.1");
    xml_element(x, "build", "0");
    xml_element(x, "localeVersion", "INTL");
    xml_element(x, "localeBuild", "000");
    xml_element(x, "osType", "linux-x64");
    xml_element(x, "productLineId", "embeddedEsx");
    xml_element(x, "apiType", "HostAgent");
    xml_element(x, "apiVersion", API_VERSION);
    xml_raw(x, "</about>");
}

void put_content(struct call *c, struct xml_text *x)
{
    (void)c;
    xml_reference(x, "rootFolder", "Folder", REF_ROOT);
    xml_reference(x, "propertyCollector", "PropertyCollector", REF_COLLECTOR);
    xml_reference(x, "viewManager", "ViewManager", REF_VIEW_MANAGER);
    put_about(x);
    xml_reference(x, "sessionManager", "SessionManager", REF_SESSION_MANAGER);
    xml_reference(x, "authorizationManager", "AuthorizationManager", REF_AUTHORIZATION_MANAGER);
    xml_reference(x, "searchIndex", "SearchIndex", REF_SEARCH_INDEX);
    xml_reference(x, "fileManager", "FileManager", REF_FILE_MANAGER);
    xml_reference(x, "virtualDiskManager", "VirtualDiskManager", REF_DISK_MANAGER);
}

void call_retrieve_service_content(struct call *c)
{
    xml_raw(&c->out, "<returnval>");
    put_content(c, &c->out);
    xml_raw(&c->out, "</returnval>");
}

void call_retrieve_internal_content(struct call *c)
{
    xml_raw(&c->out, "<returnval>");
    xml_reference(&c->out, "diskManager", "HostDiskManager", REF_LEASE_MANAGER);
    xml_reference(&c->out, "nfcService", "NfcService", REF_NFC);
    xml_raw(&c->out, "</returnval>");
}

void call_current_time(struct call *c)
{
    char text[TIME_TEXT_MAX];

    format_time((int64_t)time(NULL), text);
    xml_element(&c->out, "returnval", text);
}

/* ---- sessions ---- */

void put_session(const struct session *s, struct xml_text *x)
{
    char text[TIME_TEXT_MAX];

    format_time(s->login_time, text);
    xml_element(x, "key", s->key);
    xml_element(x, "userName", s->user->name);
    xml_element(x, "fullName", s->user->name);
    xml_element(x, "loginTime", text);
    xml_element(x, "lastActiveTime", text);
    xml_element(x, "locale", "en");
    xml_element(x, "messageLocale", "en");
}

/** The one who guesses waits, and so does the one whose connection it is, nobody else. */
static void refuse_login(struct call *c, const char *user)
{
    uint64_t ms = c->host->config.limits.login_delay;
    struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    host_log(HOST_LOG_WARN, "%s: login of user \"%.*s\" is refused", c->peer, NAME_SHOWN_MAX, user);
    (void)nanosleep(&pause, NULL);
    call_fault(c, "InvalidLogin", "Cannot complete login due to an incorrect user name or password.");
}

void call_login(struct call *c)
{
    const char *name = call_text(c, "userName");
    bool busy = false;
    const struct host_user *user = users_check(&c->host->config, name, call_text(c, "password"), &busy);
    struct err err;

    err_init(&err);
    if (user == NULL && busy) {
        (void)err_set(&err, VIX_E_OBJECT_IS_BUSY,
                      "too many logins wait for their passwords to be checked: try again later");
        host_log(HOST_LOG_WARN, "%s: %s", c->peer, err.text);
        call_failed(c, &err);
        return;
    }
    if (user == NULL) {
        refuse_login(c, name);
        return;
    }
    if (c->session.token[0] != '\0') {
        session_end(c->host->sessions, c->session.token); /* the new one takes its place */
    }
    if (session_begin(c->host->sessions, user, &c->session, &err) != VIX_OK) {
        host_log(HOST_LOG_WARN, "%s: user %s cannot log in: %s", c->peer, user->name, err.text);
        call_failed(c, &err);
        return;
    }
    host_log(HOST_LOG_INFO, "%s: user %s logged in%s", c->peer, user->name, user->read_only ? ", read-only" : "");
    memcpy(c->cookie, c->session.token, sizeof c->cookie);
    xml_raw(&c->out, "<returnval>");
    put_session(&c->session, &c->out);
    xml_raw(&c->out, "</returnval>");
}

void call_logout(struct call *c)
{
    session_end(c->host->sessions, c->session.token);
    host_log(HOST_LOG_INFO, "%s: user %s logged out", c->peer, c->session.user->name);
}

/** Of the caller's own session only: others are nobody's business. */
void call_session_is_active(struct call *c)
{
    bool own = strcmp(call_text(c, "sessionID"), c->session.key) == 0 &&
               strcmp(call_text(c, "userName"), c->session.user->name) == 0;

    xml_element_bool(&c->out, "returnval", own);
}

/** A host by itself moves no machine: there is nothing to be kept from happening. */
void call_change_methods(struct call *c)
{
    for (const struct xml_node *e = xml_child(c->soap.node, "entity"); e != NULL; e = xml_next(e)) {
        if (call_machine(c, e->text) == NULL) {
            return;
        }
    }
}

/* ---- privileges ---- */

/** Whether the user has a privilege on the disks of a machine: those that some call here asks for. */
static bool has_privilege(const struct call *c, const struct machine *m, const char *name)
{
    static const char *const reading[] = {"System.Anonymous",
                                          "System.Read",
                                          "System.View",
                                          "Global.DisableMethods",
                                          "Global.EnableMethods",
                                          "VirtualMachine.Provisioning.DiskRandomRead",
                                          "VirtualMachine.Provisioning.GetVmFiles"};
    static const char *const writing[] = {"Datastore.FileManagement", "VirtualMachine.Config.DiskLease",
                                          "VirtualMachine.Provisioning.DiskRandomAccess"};

    for (size_t i = 0; i < sizeof reading / sizeof reading[0]; i++) {
        if (strcmp(name, reading[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof writing / sizeof writing[0]; i++) {
        if (strcmp(name, writing[i]) == 0) {
            return call_may_write(c, m->ds);
        }
    }
    return false;
}

static void put_privileges(struct call *c, const struct machine *m)
{
    xml_raw(&c->out, "<returnval>");
    xml_reference(&c->out, "entity", "VirtualMachine", m->moref);
    for (const struct xml_node *p = xml_child(c->soap.node, "privId"); p != NULL; p = xml_next(p)) {
        xml_raw(&c->out, "<privAvailability>");
        xml_element(&c->out, "privId", p->text);
        xml_element_bool(&c->out, "isGranted", has_privilege(c, m, p->text));
        xml_raw(&c->out, "</privAvailability>");
    }
    xml_raw(&c->out, "</returnval>");
}

/** Of the caller's own session, on machines. */
void call_has_privileges(struct call *c)
{
    if (strcmp(call_text(c, "sessionId"), c->session.key) != 0) {
        call_fault(c, "InvalidArgument", "A specified parameter was not correct: sessionId");
        xml_element(&c->fault_inner, "invalidProperty", "sessionId");
        return;
    }
    for (const struct xml_node *e = xml_child(c->soap.node, "entity"); e != NULL; e = xml_next(e)) {
        const struct machine *m = call_machine(c, e->text);
        if (m == NULL) {
            return;
        }
        put_privileges(c, m);
    }
}

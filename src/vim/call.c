/* SPDX-License-Identifier: BSD-3-Clause */
/* call.c - one SOAP call: written, sent, its answer read, its fault put into words. Calls of a session run one after
 * another under its lock; a session that has ended on the server is renewed once, with the password. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

#define SDK_PATH "/sdk"

struct service_row {
    const char *member, *type;
};

static const struct service_row service_table[VIM_SERVICE_COUNT] = {
    [VIM_ROOT_FOLDER] = {"rootFolder", "Folder"},
    [VIM_PROPERTY_COLLECTOR] = {"propertyCollector", "PropertyCollector"},
    [VIM_VIEW_MANAGER] = {"viewManager", "ViewManager"},
    [VIM_SESSION_MANAGER] = {"sessionManager", "SessionManager"},
    [VIM_AUTHORIZATION_MANAGER] = {"authorizationManager", "AuthorizationManager"},
    [VIM_SEARCH_INDEX] = {"searchIndex", "SearchIndex"},
    [VIM_FILE_MANAGER] = {"fileManager", "FileManager"},
    [VIM_VIRTUAL_DISK_MANAGER] = {"virtualDiskManager", "VirtualDiskManager"},
};

const char *vim_service_member(enum vim_service service)
{
    return service_table[service].member;
}

void vim_plain_text(const char *text, char *ret_text, size_t size)
{
    size_t n = 0;

    for (; *text != '\0' && n + 1 < size; text++) {
        bool bad = (unsigned char)*text < ' ' || *text == 0x7F;
        ret_text[n++] = bad ? ' ' : *text;
    }
    while (n > 0 && (ret_text[n - 1] == ' ' || ret_text[n - 1] == '.')) {
        n--;
    }
    ret_text[n] = '\0';
}

bool vim_copy_text(const char *text, char **ret_copy, struct err *err)
{
    char *copy = text != NULL ? alloc_text(text, err) : NULL;

    if (text != NULL && copy == NULL) {
        return false;
    }
    *ret_copy = copy;
    return true;
}

/* ---- making calls ---- */

struct vim_call vim_call_begin(const char *method, const char *this_type, const char *this_value)
{
    struct vim_call call = {.method = method};

    soap_call_begin(&call.text, SOAP_VIM_NAMESPACE, method, this_type, this_value);
    return call;
}

VixError vim_call_service(struct vim_session *s, const char *method, enum vim_service service,
                          struct vim_call *ret_call, struct err *err)
{
    if (s->services[service] == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: %s: the server has no %s", vim_peer(s), method,
                       service_table[service].type);
    }
    *ret_call = vim_call_begin(method, service_table[service].type, s->services[service]);
    return VIX_OK;
}

/* ---- answers ---- */

void vim_reply_free(struct vim_reply *reply)
{
    xml_free(reply->doc);
    *reply = (struct vim_reply){0};
}

/* What a status other than 200 and 500 means. */
static VixError status_failure(const struct vim_session *s, const char *method, unsigned status, struct err *err)
{
    const char *peer = vim_peer(s);

    if (status == 502 || status == 503) {
        return err_set(err, VIX_E_HOST_SERVER_NOT_AVAILABLE,
                       "%s: %s: HTTP status %u: the server's services are starting or down; try again later", peer,
                       method, status);
    }
    if (status == 401 || status == 403) {
        return err_set(err, VIX_E_HOST_USER_PERMISSIONS, "%s: %s: HTTP status %u: the server does not allow it", peer,
                       method, status);
    }
    if (status >= 300 && status < 400) {
        return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST,
                       "%s: %s: HTTP status %u: a redirect, which is not followed: name the server itself", peer,
                       method, status);
    }
    return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST,
                   "%s: %s: HTTP status %u for " SDK_PATH ": no vSphere service answers there", peer, method, status);
}

/* What can be done about it, for those faults that people meet. */
static const char *advice(const char *type)
{
    if (strcmp(type, "InvalidLogin") == 0) {
        return ": the user name or the password is wrong";
    }
    if (strcmp(type, "NotAuthenticated") == 0) {
        return ": the session has ended";
    }
    if (strcmp(type, "RestrictedVersion") == 0) {
        return ": the host's licence allows reading only";
    }
    return "";
}

static VixError fault_failure(const struct vim_session *s, const char *method, const struct soap_answer *answer,
                              struct vim_reply *reply, struct err *err)
{
    char text[400], privilege[100] = "";
    const char *wanted = xml_text(answer->fault, "privilegeId");

    vim_plain_text(answer->fault_type, reply->fault_type, sizeof reply->fault_type);
    vim_plain_text(answer->fault_text, text, sizeof text);
    if (wanted != NULL && strcmp(reply->fault_type, "NoPermission") == 0) {
        char name[80];
        vim_plain_text(wanted, name, sizeof name);
        (void)snprintf(privilege, sizeof privilege, " (privilege %s)", name);
    }
    reply->fault = answer->fault;
    return err_set(err, soap_fault_code(reply->fault_type), "%s: %s: %s: %s%s%s", vim_peer(s), method,
                   reply->fault_type[0] != '\0' ? reply->fault_type : "fault", text, privilege,
                   advice(reply->fault_type));
}

/* The collector of properties gives no fault when the session has ended, but an answer that keeps every property back
 * for that reason. That is the fault which other calls give. */
static bool session_kept_back(const struct xml_node *response, struct soap_answer *ret_answer)
{
    for (const struct xml_node *o = xml_path(response, "returnval/objects"); o != NULL; o = xml_next(o)) {
        for (const struct xml_node *set = xml_child(o, "missingSet"); set != NULL; set = xml_next(set)) {
            const struct xml_node *fault = xml_path(set, "fault/fault");
            if (fault != NULL && fault->type != NULL && strcmp(fault->type, "NotAuthenticated") == 0) {
                const char *text = xml_text(xml_child(set, "fault"), "localizedMessage");
                *ret_answer = (struct soap_answer){
                    .fault = fault, .fault_type = fault->type, .fault_text = text != NULL ? text : ""};
                return true;
            }
        }
    }
    return false;
}

static VixError read_reply(const struct vim_session *s, const char *method, const struct http_answer *http,
                           struct vim_reply *ret_reply, struct err *err)
{
    struct soap_answer answer;

    if (http->status != 200 && http->status != 500) {
        return status_failure(s, method, http->status, err);
    }
    VixError code = xml_parse(http->body, http->len, &ret_reply->doc, err);
    if (code == VIX_OK) {
        code = soap_read_answer(ret_reply->doc, &answer, err);
    }
    if (code != VIX_OK) {
        err_prefix(err, "%s: %s: HTTP status %u: ", vim_peer(s), method, http->status);
        return code;
    }
    if (answer.response == NULL || session_kept_back(answer.response, &answer)) {
        return fault_failure(s, method, &answer, ret_reply, err);
    }
    ret_reply->response = answer.response;
    return VIX_OK;
}

static VixError send_once(struct vim_session *s, const struct vim_call *call, struct vim_reply *ret_reply,
                          struct err *err)
{
    struct timespec now;
    struct http_answer answer;
    const struct http_request request = {
        .path = SDK_PATH,
        .body = call->text.bytes,
        .body_len = call->text.len,
        .soap_action = s->soap_action,
        .repeatable = !call->changes,
        .secret = call->secret,
    };

    VixError code = http_do(s->http, &request, &answer, err);
    if (code != VIX_OK) {
        return code;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    s->last_call_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    code = read_reply(s, call->method, &answer, ret_reply, err);
    http_answer_free(&answer);
    return code;
}

static VixError renew_and_send(struct vim_session *s, const struct vim_call *call, struct vim_reply *ret_reply,
                               struct err *err)
{
    struct err inner;

    err_init(&inner);
    vim_reply_free(ret_reply);
    VixError code = vim_login_locked(s, &inner);
    if (code != VIX_OK) {
        if (code == VIX_E_HOST_USER_PERMISSIONS) {
            code = VIX_E_INVALID_AUTHENTICATION_SESSION;
        }
        return err_set(err, code, "%s: %s: the session has ended, and logging in again fails: %s", vim_peer(s),
                       call->method, inner.text);
    }
    return send_once(s, call, ret_reply, err);
}

static VixError finish_text(struct vim_session *s, struct vim_call *call, struct err *err)
{
    soap_call_end(&call->text, call->method);
    VixError code = xml_done(&call->text, err);
    if (code != VIX_OK) {
        err_prefix(err, "%s: %s: ", vim_peer(s), call->method);
    }
    return code;
}

VixError vim_call_locked(struct vim_session *s, struct vim_call *call, struct vim_reply *ret_reply, struct err *err)
{
    *ret_reply = (struct vim_reply){0};
    VixError code = finish_text(s, call, err);
    if (code == VIX_OK) {
        code = send_once(s, call, ret_reply, err);
        if (strcmp(ret_reply->fault_type, "NotAuthenticated") == 0 && s->user != NULL && !call->before_login) {
            code = renew_and_send(s, call, ret_reply, err);
        }
    }
    xml_text_free(&call->text);
    return code;
}

VixError vim_call_do(struct vim_session *s, struct vim_call *call, struct vim_reply *ret_reply, struct err *err)
{
    SCOPED_LOCK(&s->lock);
    return vim_call_locked(s, call, ret_reply, err);
}

VixError vim_call_plain(struct vim_session *s, struct vim_call *call, struct err *err)
{
    struct vim_reply reply;
    VixError code = vim_call_do(s, call, &reply, err);

    vim_reply_free(&reply);
    return code;
}

VixError vim_call_text(struct vim_session *s, struct vim_call *call, const char *want_type, char **ret_text,
                       struct err *err)
{
    struct vim_reply reply;
    VixError code = vim_call_do(s, call, &reply, err);

    if (code == VIX_OK) {
        const struct xml_node *value = xml_child(reply.response, "returnval");
        const char *type = value != NULL && value->type_attr != NULL ? value->type_attr : "";
        bool fits = value != NULL && value->text[0] != '\0' && (want_type == NULL || strcmp(type, want_type) == 0);
        if (!vim_copy_text(fits ? value->text : NULL, ret_text, err)) {
            code = VIX_E_OUT_OF_MEMORY;
        }
    }
    vim_reply_free(&reply);
    return code;
}

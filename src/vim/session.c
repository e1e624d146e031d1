/* SPDX-License-Identifier: BSD-3-Clause */
/* session.c - what the server is, logging in, proving a session that somebody else made, keeping it alive, logging out.
 * Passwords and cookies are wiped when they go, and never logged. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "vim/version.h"
#include "vim/vim_int.h"

#define DEFAULT_PORT 443
#define DEFAULT_CONNECT_MS 30000u /* limit: ms to connect, if the configuration says nothing */
#define DEFAULT_CALL_MS 120000u   /* limit: ms of a call to a server, if the configuration says nothing */
#define LOGOUT_MS 5000u           /* limit: ms to log out */
#define COOKIE_NAME "vmware_soap_session="

static void free_secret(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

/* ---- who the server is ---- */

static VixError copy_content(struct vim_session *s, const struct xml_node *content, struct err *err)
{
    const struct xml_node *about = xml_child(content, "about");

    for (int i = 0; i < VIM_SERVICE_COUNT; i++) {
        if (!vim_copy_text(xml_text(content, vim_service_member((enum vim_service)i)), &s->services[i], err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    if (about == NULL || s->services[VIM_SESSION_MANAGER] == NULL || s->services[VIM_PROPERTY_COLLECTOR] == NULL) {
        return err_set(err, VIX_E_INVALID_XML,
                       "%s: RetrieveServiceContent: the answer lacks about, sessionManager or propertyCollector",
                       vim_peer(s));
    }
    if (!vim_copy_text(xml_text(about, "fullName"), &s->about.full_name, err) ||
        !vim_copy_text(xml_text(about, "apiType"), &s->about.api_type, err) ||
        !vim_copy_text(xml_text(about, "apiVersion"), &s->about.api_version, err) ||
        !vim_copy_text(xml_text(about, "instanceUuid"), &s->about.instance_uuid, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->is_vcenter = s->about.api_type != NULL && strcmp(s->about.api_type, "VirtualCenter") == 0;
    return VIX_OK;
}

static void set_version(struct vim_session *s, const char *version)
{
    (void)snprintf(s->soap_action, sizeof s->soap_action, "\"" SOAP_VIM_NAMESPACE "/%s\"", version);
}

/* Failures of the connection end the login; a server that does not tell its versions is asked for an old one. */
static VixError choose_version(struct vim_session *s, struct err *err)
{
    static const struct http_request request = {.path = "/sdk/vimServiceVersions.xml", .repeatable = true};
    char version[VIM_VERSION_MAX] = VIM_VERSION_FALLBACK;
    struct http_answer answer;

    VixError code = http_do(s->http, &request, &answer, err);
    if (code != VIX_OK) {
        return code;
    }
    if (answer.status == 200) {
        (void)vim_version_choose(answer.body, answer.len, version);
    }
    http_answer_free(&answer);
    set_version(s, version);
    return VIX_OK;
}

static VixError retrieve_content(struct vim_session *s, struct vim_reply *ret_reply, struct err *err)
{
    struct vim_call call = vim_call_begin("RetrieveServiceContent", "ServiceInstance", "ServiceInstance");

    call.before_login = true;
    return vim_call_locked(s, &call, ret_reply, err);
}

static VixError find_out_server(struct vim_session *s, struct err *err)
{
    struct vim_reply reply;
    VixError code = choose_version(s, err);

    if (code != VIX_OK) {
        return code;
    }
    code = retrieve_content(s, &reply, err);
    if (code != VIX_OK && reply.doc != NULL && strstr(err->text, "Unsupported version") != NULL) {
        vim_reply_free(&reply);
        set_version(s, VIM_VERSION_OLD);
        code = retrieve_content(s, &reply, err);
    }
    if (code == VIX_OK) {
        code = copy_content(s, xml_child(reply.response, "returnval"), err);
    }
    vim_reply_free(&reply);
    return code;
}

/* ---- logging in ---- */

/* InvalidLogin and its kin: the code for them is the same whatever the server calls them. */
static bool is_login_fault(const char *type)
{
    return strcmp(type, "InvalidLogin") == 0 || strcmp(type, "InvalidLocale") == 0 ||
           strcmp(type, "NoPermission") == 0 || strcmp(type, "NotAuthenticated") == 0;
}

VixError vim_login_locked(struct vim_session *s, struct err *err)
{
    struct vim_call call = vim_call_begin("Login", "SessionManager", s->services[VIM_SESSION_MANAGER]);
    struct vim_reply reply;

    call.changes = true;
    call.secret = true;
    call.before_login = true;
    xml_element(&call.text, "userName", s->user);
    xml_element(&call.text, "password", s->password);
    xml_element(&call.text, "locale", "en_US");
    s->logged_in = false;
    /* A cookie of an ended session must not come along. */
    (void)http_set_cookie(s->http, NULL, false, NULL);
    VixError code = vim_call_locked(s, &call, &reply, err);
    if (code != VIX_OK && is_login_fault(reply.fault_type)) {
        code = VIX_E_HOST_USER_PERMISSIONS;
        if (err != NULL) {
            err->code = code;
        }
    }
    s->logged_in = code == VIX_OK;
    vim_reply_free(&reply);
    return code;
}

/* ---- a session that is given ---- */

/* The cookie without its name and without attributes behind it. *ret_value: to be wiped. */
static VixError cookie_value(const struct vim_session *s, const char *cookie, char **ret_value, struct err *err)
{
    size_t len;

    cookie = text_trim(cookie, strlen(cookie), &len);
    if (len > strlen(COOKIE_NAME) && strncmp(cookie, COOKIE_NAME, strlen(COOKIE_NAME)) == 0) {
        cookie += strlen(COOKIE_NAME);
        len -= strlen(COOKIE_NAME);
    }
    const char *semicolon = memchr(cookie, ';', len);
    if (semicolon != NULL) {
        len = (size_t)(semicolon - cookie);
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)cookie[i] < ' ' || cookie[i] == 0x7F) {
            len = 0;
        }
    }
    if (len == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the session cookie is empty or has control characters in it",
                       vim_peer(s));
    }
    char *value = alloc_text_n(cookie, len, err);
    if (value == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_value = value;
    return VIX_OK;
}

static VixError set_cookie(struct vim_session *s, const char *before, const char *value, size_t len, const char *after,
                           struct err *err)
{
    char *cookie = alloc_printf(err, COOKIE_NAME "%s%.*s%s", before, (int)len, value, after);

    if (cookie == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = http_set_cookie(s->http, cookie, true, err);
    free_secret(cookie);
    return code;
}

/* Whether the server knows the session of the cookie that is set. */
static VixError session_is_known(struct vim_session *s, bool *ret_known, struct err *err)
{
    static const char *const path[] = {"currentSession"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    VixError code =
        vim_properties(s, "SessionManager", s->services[VIM_SESSION_MANAGER], path, 1, &reply, &object, err);

    if (code == VIX_OK) {
        const struct xml_node *session = vim_property(object, path[0]);
        *ret_known = session != NULL && session->children != NULL;
    } else if (is_login_fault(reply.fault_type)) {
        *ret_known = false;
        code = VIX_OK;
    }
    vim_reply_free(&reply);
    return code;
}

/* The cookie as it was given; then with quotes put round it or taken off, since programs hand it over in both ways. */
static VixError prove_cookie(struct vim_session *s, const char *cookie, struct err *err)
{
    char *value = NULL;
    bool known = false;
    VixError code = cookie_value(s, cookie, &value, err);

    if (code != VIX_OK) {
        return code;
    }
    size_t len = strlen(value);
    bool quoted = len > 2 && value[0] == '"' && value[len - 1] == '"';
    code = set_cookie(s, "", value, len, "", err);
    if (code == VIX_OK) {
        code = session_is_known(s, &known, err);
    }
    if (code == VIX_OK && !known) {
        code = quoted ? set_cookie(s, "", value + 1, len - 2, "", err) : set_cookie(s, "\"", value, len, "\"", err);
        if (code == VIX_OK) {
            code = session_is_known(s, &known, err);
        }
    }
    free_secret(value);
    if (code == VIX_OK && !known) {
        code = err_set(err, VIX_E_HOST_USER_PERMISSIONS,
                       "%s: the session cookie is not that of a session: it has ended, or belongs to another server",
                       vim_peer(s));
    }
    return code;
}

/* ---- the calls ---- */

static VixError check_how(const struct vim_login *how, struct err *err)
{
    if (how->cookie == NULL && (how->user == NULL || how->password == NULL)) {
        return err_set(err, VIX_E_INVALID_ARG, "neither a user name with a password nor a session cookie is given");
    }
    if (how->thumbprint != NULL && !thumbprint_is_valid(how->thumbprint)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s:%u: the thumbprint is not one: 40 (SHA-1) or 64 (SHA-256) hex digits with or "
                       "without colons are",
                       how->host, how->port != 0 ? how->port : DEFAULT_PORT);
    }
    return VIX_OK;
}

static VixError make_session(const struct vim_login *how, struct vim_session *s, struct err *err)
{
    const struct http_how http = {
        .host = how->host,
        .port = how->port != 0 ? how->port : DEFAULT_PORT,
        .thumbprint = how->thumbprint,
        .ca_file = how->ca_file,
        .insecure = how->insecure,
        .connect_timeout_ms = how->connect_timeout_ms != 0 ? how->connect_timeout_ms : DEFAULT_CONNECT_MS,
        .call_timeout_ms = how->call_timeout_ms != 0 ? how->call_timeout_ms : DEFAULT_CALL_MS,
    };
    VixError code = http_open(&http, &s->http, err);

    if (code != VIX_OK) {
        return code;
    }
    s->call_timeout_ms = http.call_timeout_ms;
    bool by_password = how->cookie == NULL;
    if (!vim_copy_text(how->host, &s->host, err) || !vim_copy_text(how->vmx_spec, &s->vmx_spec, err) ||
        (by_password && !vim_copy_text(how->user, &s->user, err)) ||
        (by_password && !vim_copy_text(how->password, &s->password, err))) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return VIX_OK;
}

static VixError enter(struct vim_session *s, const struct vim_login *how, struct err *err)
{
    VixError code = find_out_server(s, err);

    if (code != VIX_OK) {
        return code;
    }
    if (how->cookie != NULL) {
        return prove_cookie(s, how->cookie, err);
    }
    SCOPED_LOCK(&s->lock);
    return vim_login_locked(s, err);
}

static void log_entered(const struct vim_session *s, bool borrowed)
{
    char name[128], version[32];

    vim_plain_text(s->about.full_name != NULL ? s->about.full_name : "a server without name", name, sizeof name);
    vim_plain_text(s->about.api_version != NULL ? s->about.api_version : "?", version, sizeof version);
    log_news("%s: %s, API %s, asked as %s, %s", vim_peer(s), name, version, s->soap_action,
             borrowed ? "with a session that was given" : "logged in");
}

VixError vim_login(const struct vim_login *how, struct vim_session **ret_session, struct err *err)
{
    struct err own;

    err_init(&own);
    err = err != NULL ? err : &own; /* the text is looked at */
    VixError code = check_how(how, err);
    if (code != VIX_OK) {
        return code;
    }
    struct vim_session *s = alloc_zero(sizeof *s, err);
    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        free(s);
        return err_set(err, VIX_E_OUT_OF_MEMORY, "no memory for a lock");
    }
    code = make_session(how, s, err);
    if (code == VIX_OK) {
        code = enter(s, how, err);
    }
    if (code != VIX_OK) {
        vim_logout(s);
        return code;
    }
    log_entered(s, how->cookie != NULL);
    *ret_session = s;
    return VIX_OK;
}

static void say_goodbye(struct vim_session *s)
{
    struct vim_reply reply;
    struct vim_call call = vim_call_begin("Logout", "SessionManager", s->services[VIM_SESSION_MANAGER]);

    call.changes = true;
    call.before_login = true; /* an ended session is what is wanted */
    unsigned ms = s->call_timeout_ms < LOGOUT_MS ? s->call_timeout_ms : LOGOUT_MS;
    http_set_timeouts(s->http, ms, ms);
    SCOPED_LOCK(&s->lock);
    (void)vim_call_locked(s, &call, &reply, NULL);
    vim_reply_free(&reply);
}

void vim_logout(struct vim_session *s)
{
    if (s == NULL) {
        return;
    }
    if (s->logged_in) {
        say_goodbye(s);
    }
    http_close(s->http);
    free_secret(s->password);
    free(s->user);
    free(s->host);
    free(s->vmx_spec);
    free(s->nfc_service);
    free(s->about.full_name);
    free(s->about.api_type);
    free(s->about.api_version);
    free(s->about.instance_uuid);
    for (int i = 0; i < VIM_SERVICE_COUNT; i++) {
        free(s->services[i]);
    }
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct vim_about *vim_about(const struct vim_session *s)
{
    return &s->about;
}

bool vim_is_vcenter(const struct vim_session *s)
{
    return s->is_vcenter;
}

const char *vim_peer(const struct vim_session *s)
{
    return http_peer(s->http);
}

const char *vim_host(const struct vim_session *s)
{
    return s->host;
}

VixError vim_keep_alive(struct vim_session *s, struct err *err)
{
    struct timespec now;
    struct vim_reply reply;

    SCOPED_LOCK(&s->lock);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (now_ns - s->last_call_ns < (uint64_t)VIM_KEEP_ALIVE_MS * 1000000u / 2) {
        return VIX_OK;
    }
    struct vim_call call = vim_call_begin("CurrentTime", "ServiceInstance", "ServiceInstance");
    VixError code = vim_call_locked(s, &call, &reply, err);
    vim_reply_free(&reply);
    return code;
}

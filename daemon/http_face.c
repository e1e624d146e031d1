/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTPS in front of the SOAP calls. libmicrohttpd ends a connection on which nothing moves; one on which a byte moves
 * now and then is ended by http_face_tick: between two requests, from the first byte of one to the last of its answer,
 * there may not be more time than the limit, the work on the call itself left out. */
#include "daemon/http_face.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/soap_face.h"

#define PEER_MAX 96u /* own: room for an address */
#define COOKIE_NAME "vmware_soap_session="
#define CONNECTION_MEMORY (32u << 10) /* limit: bytes of headers and buffers of an HTTPS connection */
#define BODY_FIRST 4096u
#define XML_TYPE "text/xml; charset=utf-8"
/* Old clients have nothing newer than TLS 1.2; older ones are refused. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct http_connection {
    struct http_connection *next, **link;
    int fd;
    uint64_t since_ms; /* the last request ended, or the connection began; 0: a call is being worked on */
    bool cut;
    char peer[PEER_MAX];
};

struct http_face {
    struct host *host;
    struct MHD_Daemon *daemon;
    uint64_t wait_ms;
    pthread_mutex_t lock;
    struct http_connection *connections;
};

/** A request whose body comes in. */
struct http_request {
    bool versions; /* not a call: the document of versions */
    char *body;    /* may hold a password: wiped */
    size_t len, room;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- connections ---- */

static void name_peer(const struct sockaddr *from, char *peer)
{
    char host[64], port[16];
    socklen_t len = from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (getnameinfo(from, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(peer, PEER_MAX, "unknown");
        return;
    }
    (void)snprintf(peer, PEER_MAX, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

static void connection_begin(struct http_face *face, struct MHD_Connection *connection, void **socket_context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *from = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_connection *c = alloc_zero(sizeof *c, NULL);

    if (c == NULL || fd == NULL || from == NULL) {
        free(c);
        return; /* its requests are refused */
    }
    c->fd = fd->connect_fd;
    c->since_ms = now_ms();
    name_peer(from->client_addr, c->peer);
    SCOPED_LOCK(&face->lock);
    c->next = face->connections;
    c->link = &face->connections;
    if (c->next != NULL) {
        c->next->link = &c->next;
    }
    face->connections = c;
    *socket_context = c;
}

static void connection_end(struct http_face *face, struct http_connection *c)
{
    SCOPED_LOCK(&face->lock);
    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    }
    free(c);
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_begin(ctx, connection, socket_context);
    } else if (*socket_context != NULL) {
        connection_end(ctx, *socket_context);
        *socket_context = NULL;
    }
}

static struct http_connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void set_since(struct http_face *face, struct http_connection *c, uint64_t ms)
{
    SCOPED_LOCK(&face->lock);
    c->since_ms = ms;
}

void http_face_tick(struct http_face *face)
{
    uint64_t now = now_ms();

    SCOPED_LOCK(&face->lock);
    for (struct http_connection *c = face->connections; c != NULL; c = c->next) {
        if (!c->cut && c->since_ms != 0 && now > c->since_ms && now - c->since_ms >= face->wait_ms) {
            c->cut = true;
            (void)shutdown(c->fd, SHUT_RDWR);
        }
    }
}

/* ---- requests ---- */

static void wipe_and_free(void *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void request_free(struct http_request *r)
{
    if (r->body != NULL) {
        explicit_bzero(r->body, r->room);
        free(r->body);
    }
    free(r);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode why)
{
    struct http_connection *c = connection_of(connection);

    (void)why;
    if (c != NULL) {
        set_since(ctx, c, now_ms());
    }
    if (*request != NULL) {
        request_free(*request);
        *request = NULL;
    }
}

static enum MHD_Result answer_static(struct MHD_Connection *connection, unsigned status, const char *type,
                                     const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/** A refusal before the body is read: the connection cannot go on. */
static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/** Copies the token at the beginning of a cookie's value; "" if it is none of ours. */
static void copy_token(const char *value, char token[SESSION_TOKEN_LEN + 1])
{
    size_t len = 0;

    while (len < SESSION_TOKEN_LEN && strchr("\"; \t", value[len]) == NULL) {
        token[len] = value[len];
        len++;
    }
    token[len == SESSION_TOKEN_LEN ? len : 0] = '\0';
}

/** The session cookie among the others, with or without quotes; "" if there is none. */
static void find_cookie(struct MHD_Connection *connection, char token[SESSION_TOKEN_LEN + 1])
{
    static const char name[] = COOKIE_NAME, quoted[] = COOKIE_NAME "\"";
    const char *p = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_COOKIE);

    token[0] = '\0';
    while (p != NULL) {
        p += strspn(p, "; \t");
        if (strncmp(p, quoted, sizeof quoted - 1) == 0) {
            copy_token(p + sizeof quoted - 1, token);
        } else if (strncmp(p, name, sizeof name - 1) == 0) {
            copy_token(p + sizeof name - 1, token);
        }
        p = strchr(p, ';');
    }
}

static void set_cookie(struct MHD_Response *response, const char *token)
{
    char field[SESSION_TOKEN_LEN + 80];

    (void)snprintf(field, sizeof field, COOKIE_NAME "\"%s\"; Path=/; HttpOnly; Secure", token);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, field);
    explicit_bzero(field, sizeof field);
}

static enum MHD_Result answer_call(struct http_face *face, struct MHD_Connection *connection, struct http_connection *c,
                                   const struct http_request *r)
{
    char token[SESSION_TOKEN_LEN + 1];
    struct soap_result result = {0};

    find_cookie(connection, token);
    set_since(face, c, 0);
    soap_face_answer(face->host,
                     &(struct soap_request){.body = r->body, .len = r->len, .token = token, .peer = c->peer}, &result);
    set_since(face, c, now_ms());
    explicit_bzero(token, sizeof token);
    if (result.text == NULL) {
        return answer_static(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", "out of memory\n");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(strlen(result.text), result.text, wipe_and_free);
    if (response == NULL) {
        wipe_and_free(result.text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, XML_TYPE);
    if (result.cookie[0] != '\0') {
        set_cookie(response, result.cookie);
    }
    explicit_bzero(result.cookie, sizeof result.cookie);
    enum MHD_Result sent = MHD_queue_response(connection, result.status, response);
    MHD_destroy_response(response);
    return sent;
}

/** Adds bytes to the body; false: too many, or no memory. */
static bool take_body(const struct http_face *face, struct http_request *r, const char *bytes, size_t len)
{
    size_t max = (size_t)face->host->config.limits.request_body << 10;

    if (len > max - r->len) {
        return false;
    }
    if (r->len + len > r->room) {
        size_t room = (size_t)min_u64(max, max_u64(max_u64(r->room * 2, r->len + len), BODY_FIRST));
        char *grown = malloc(room);
        if (grown == NULL) {
            return false;
        }
        if (r->len > 0) {
            memcpy(grown, r->body, r->len);
            explicit_bzero(r->body, r->room);
        }
        free(r->body);
        r->body = grown;
        r->room = room;
    }
    memcpy(r->body + r->len, bytes, len);
    r->len += len;
    return true;
}

/** What can be refused at once is. The rest waits for the end of the request, also the document of versions: after an
 * answer that comes earlier the connection is closed, and the client has to make another one for its calls. */
static enum MHD_Result begin_request(const struct http_face *face, struct MHD_Connection *connection, const char *url,
                                     const char *method, void **request)
{
    const char *field = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const bool versions = strcmp(url, "/sdk/vimServiceVersions.xml") == 0 && strcmp(method, MHD_HTTP_METHOD_GET) == 0;
    struct http_request *r;
    uint64_t len = 0;

    if (!versions && strcmp(url, "/sdk") != 0 && strcmp(url, "/sdk/") != 0) {
        return refuse(connection, MHD_HTTP_NOT_FOUND, "not found\n");
    }
    if (!versions && strcmp(method, MHD_HTTP_METHOD_POST) != 0) {
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "SOAP calls are POSTed\n");
    }
    if (field != NULL && (!text_to_u64(field, &len) || len > face->host->config.limits.request_body << 10)) {
        return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the request is too large\n");
    }
    r = alloc_zero(sizeof *r, NULL);
    *request = r;
    if (r == NULL) {
        return MHD_NO;
    }
    r->versions = versions;
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **request)
{
    struct http_face *face = ctx;
    struct http_connection *c = connection_of(connection);

    (void)version;
    if (c == NULL) {
        return MHD_NO;
    }
    if (*request == NULL) {
        return begin_request(face, connection, url, method, request);
    }
    if (*upload_len == 0) {
        const struct http_request *r = *request;
        return r->versions ? answer_static(connection, MHD_HTTP_OK, XML_TYPE, soap_versions_xml)
                           : answer_call(face, connection, c, r);
    }
    if (!take_body(face, *request, upload, *upload_len)) {
        host_log(HOST_LOG_WARN, "%s: a request is larger than [limits] request-body-kib allows", c->peer);
        return MHD_NO; /* there is no answering in the midst of a body: the connection ends */
    }
    *upload_len = 0;
    return MHD_YES;
}

/* ---- start and stop ---- */

static void on_log(void *ctx, const char *fmt, va_list args)
{
    char line[512];

    (void)ctx;
    if (vsnprintf(line, sizeof line, fmt, args) > 0) {
        line[strcspn(line, "\n")] = '\0';
        host_log(HOST_LOG_INFO, "HTTPS: %s", line);
    }
}

static VixError start_daemon(struct http_face *face, int listen_fd, const char *cert_pem, const char *key_pem,
                             struct err *err)
{
    const struct host_limits *limits = &face->host->config.limits;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, listen_fd, NULL},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert_pem},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key_pem},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)PRIORITIES},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)limits->http_connections, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)limits->connections_per_address, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)limits->handshake, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, face},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, face},
        {MHD_OPTION_END, 0, NULL},
    };

    /* the log comes first: it is told what is wrong with the others */
    face->daemon = MHD_start_daemon(MHD_USE_TLS | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                                        MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG,
                                    0, NULL, NULL, on_request, face, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                                    MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (face->daemon == NULL) {
        (void)close(listen_fd);
        return err_set(err, VIX_E_HOST_SOCKET_CREATION_ERROR,
                       "HTTPS cannot be served: the certificate, its key, or the socket is not taken");
    }
    return VIX_OK;
}

VixError http_face_start(struct host *host, int listen_fd, const char *cert_pem, const char *key_pem,
                         struct http_face **ret_face, struct err *err)
{
    struct http_face *face = alloc_zero(sizeof *face, err);

    if (face == NULL) {
        (void)close(listen_fd);
        return VIX_E_OUT_OF_MEMORY;
    }
    face->host = host;
    face->wait_ms = host->config.limits.handshake * 1000;
    (void)pthread_mutex_init(&face->lock, NULL);
    VixError code = start_daemon(face, listen_fd, cert_pem, key_pem, err);
    if (code != VIX_OK) {
        (void)pthread_mutex_destroy(&face->lock);
        free(face);
        return code;
    }
    *ret_face = face;
    return VIX_OK;
}

void http_face_stop(struct http_face *face)
{
    if (face == NULL) {
        return;
    }
    MHD_stop_daemon(face->daemon);
    (void)pthread_mutex_destroy(&face->lock);
    free(face);
}

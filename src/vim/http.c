/* SPDX-License-Identifier: BSD-3-Clause */
/* http.c - HTTPS by libcurl, which no other file names. One easy handle for each server; TLS policy by net/tls. libcurl
 * is a guest's guest here: no signals, no proxy from the environment, no cookie engine, no files of the user. */
#include "vim/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "net/tls.h"
#include "soap/xml.h"
#include "vim/http_curl.h"

#define COOKIE_NAME "vmware_soap_session="
#define COOKIE_MAX 4096         /* limit: bytes of a session's cookie */
#define HEADER_MAX (256u << 10) /* limit: bytes of all headers of an answer */

struct http {
    const struct curl_api *api;
    CURL *curl;
    char *base; /* "https://host:port" */
    char *peer;
    char *thumbprint, *ca_file, *host;
    unsigned connect_timeout_ms, call_timeout_ms;
    bool insecure;
    char *cookie;
    bool cookie_fixed;
    bool legacy; /* the server has proved to speak older TLS only */
    struct tls_curl_check check;
    char reason[CURL_ERROR_SIZE];
    /* of the request that runs */
    const struct http_request *request;
    size_t sent, padding;
    struct http_answer *answer;
    size_t header_bytes;
    VixError stopped; /* why a callback ended it */
};

/* ---- callbacks ---- */

/* A secret is followed by as many blanks, which fall on the same bytes of curl's buffer. */
static size_t give_body(char *buffer, size_t size, size_t count, void *user)
{
    struct http *h = user;
    size_t room = size * count;
    size_t left = h->request->body_len - h->sent;

    if (left > 0) {
        size_t piece = left < room ? left : room;
        memcpy(buffer, h->request->body + h->sent, piece);
        h->sent += piece;
        return piece;
    }
    size_t piece = h->padding < room ? h->padding : room;
    memset(buffer, ' ', room);
    h->padding -= piece;
    return piece;
}

/* Whether a request may be sent again is decided below, not by curl. */
static int no_seek(void *user, curl_off_t off, int origin)
{
    (void)user;
    (void)off;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static bool answer_room(struct http *h, size_t len)
{
    struct http_answer *a = h->answer;
    size_t need = a->len + len + 1;
    size_t room = a->room > 0 ? a->room : 16384;

    if (need > (size_t)XML_BYTES_MAX + 1) {
        h->stopped = VIX_E_INVALID_XML;
        return false;
    }
    while (room < need) {
        room *= 2;
    }
    if (room == a->room) {
        return true;
    }
    char *body = malloc(room);
    if (body == NULL) {
        h->stopped = VIX_E_OUT_OF_MEMORY;
        return false;
    }
    if (a->body != NULL) {
        memcpy(body, a->body, a->len);
        explicit_bzero(a->body, a->room);
        free(a->body);
    }
    a->body = body;
    a->room = room;
    return true;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *user)
{
    struct http *h = user;
    size_t len = size * count;

    if (!answer_room(h, len)) {
        return 0;
    }
    memcpy(h->answer->body + h->answer->len, bytes, len);
    h->answer->len += len;
    h->answer->body[h->answer->len] = '\0';
    return len;
}

/* The session's cookie, up to its first attribute, as it is; text is not NUL-terminated. */
static bool take_cookie(struct http *h, const char *text, size_t len)
{
    size_t used = 0;

    while (used < len && text[used] != ';' && text[used] != '\r' && text[used] != '\n') {
        used++;
    }
    if (h->cookie_fixed || used > COOKIE_MAX) {
        return true;
    }
    char *copy = alloc_text_n(text, used, NULL);
    if (copy == NULL) {
        h->stopped = VIX_E_OUT_OF_MEMORY;
        return false;
    }
    (void)http_set_cookie(h, NULL, false, NULL);
    h->cookie = copy;
    return true;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *user)
{
    static const char set_cookie[] = "Set-Cookie:";
    struct http *h = user;
    size_t len = size * count;
    size_t at = sizeof set_cookie - 1;

    h->header_bytes += len;
    if (h->header_bytes > HEADER_MAX) {
        h->stopped = VIX_E_INVALID_XML;
        return 0;
    }
    if (len <= at || strncasecmp(bytes, set_cookie, at) != 0) {
        return len;
    }
    while (at < len && (bytes[at] == ' ' || bytes[at] == '\t')) {
        at++;
    }
    if (len - at > sizeof COOKIE_NAME - 1 && memcmp(bytes + at, COOKIE_NAME, sizeof COOKIE_NAME - 1) == 0 &&
        !take_cookie(h, bytes + at, len - at)) {
        return 0;
    }
    return len;
}

static CURLcode put_policy(CURL *curl, void *ssl_ctx, void *user)
{
    struct http *h = user;

    (void)curl;
    h->check = (struct tls_curl_check){
        .policy = {.thumbprint = h->thumbprint, .insecure = h->insecure, .ca_file = h->ca_file, .name = h->host},
        .legacy = h->legacy,
    };
    return tls_curl_context(ssl_ctx, &h->check) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* ---- making and ending ---- */

static CURLcode set_options(struct http *h)
{
    CURL *c = h->curl;
    CURLcode code = CURLE_OK;

#define SET(option, value) (code = code == CURLE_OK ? h->api->setopt(c, option, value) : code)
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_ERRORBUFFER, h->reason);
    SET(CURLOPT_READFUNCTION, give_body);
    SET(CURLOPT_READDATA, h);
    SET(CURLOPT_SEEKFUNCTION, no_seek);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, h);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, h);
    /* The certificate is judged by net/tls, from inside the handshake. */
    SET(CURLOPT_SSL_VERIFYPEER, 0L);
    SET(CURLOPT_SSL_VERIFYHOST, 0L);
    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    SET(CURLOPT_SSL_CTX_FUNCTION, put_policy);
    SET(CURLOPT_SSL_CTX_DATA, h);
#undef SET
    return code;
}

static VixError copy_how(struct http *h, const struct http_how *how, struct err *err)
{
    bool brackets = strchr(how->host, ':') != NULL && how->host[0] != '[';

    h->insecure = how->insecure;
    http_set_timeouts(h, how->connect_timeout_ms, how->call_timeout_ms);
    h->host = alloc_text(how->host, err);
    h->thumbprint = how->thumbprint != NULL ? alloc_text(how->thumbprint, err) : NULL;
    h->ca_file = how->ca_file != NULL ? alloc_text(how->ca_file, err) : NULL;
    h->peer = brackets ? alloc_printf(err, "[%s]:%u", how->host, how->port)
                       : alloc_printf(err, "%s:%u", how->host, how->port);
    h->base = h->peer != NULL ? alloc_printf(err, "https://%s", h->peer) : NULL;
    if (h->host == NULL || h->base == NULL || (how->thumbprint != NULL && h->thumbprint == NULL) ||
        (how->ca_file != NULL && h->ca_file == NULL)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return VIX_OK;
}

/* A name that would change the meaning of the URL is not a name. */
static bool host_is_sound(const char *host)
{
    if (host == NULL || *host == '\0' || strlen(host) > 255) {
        return false;
    }
    for (const char *c = host; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7F || strchr("/\\?#@%\"<>{}|^`", *c) != NULL) {
            return false;
        }
    }
    return true;
}

VixError http_open(const struct http_how *how, struct http **ret_http, struct err *err)
{
    if (!host_is_sound(how->host)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "the server's name is empty, too long, or has characters of a URL in it");
    }
    struct http *h = alloc_zero(sizeof *h, err);
    if (h == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = copy_how(h, how, err);
    if (code == VIX_OK) {
        code = curl_load(&h->api, err);
    }
    if (code == VIX_OK) {
        h->curl = h->api->init();
        CURLcode set = h->curl != NULL ? set_options(h) : CURLE_OUT_OF_MEMORY;
        if (set == CURLE_OUT_OF_MEMORY) {
            code = err_set(err, VIX_E_OUT_OF_MEMORY, "%s: out of memory for libcurl", h->peer);
        } else if (set != CURLE_OK) {
            code = err_set(err, VIX_E_FAIL, "%s: libcurl lacks HTTPS or an option that is needed", h->peer);
        }
    }
    if (code != VIX_OK) {
        http_close(h);
        return code;
    }
    *ret_http = h;
    return VIX_OK;
}

void http_close(struct http *h)
{
    if (h == NULL) {
        return;
    }
    if (h->curl != NULL) {
        h->api->cleanup(h->curl);
        tls_forget_errors();
    }
    (void)http_set_cookie(h, NULL, false, NULL);
    free(h->base);
    free(h->peer);
    free(h->host);
    free(h->thumbprint);
    free(h->ca_file);
    free(h);
}

const char *http_peer(const struct http *h)
{
    return h->peer;
}

void http_set_timeouts(struct http *h, unsigned connect_timeout_ms, unsigned call_timeout_ms)
{
    h->connect_timeout_ms = connect_timeout_ms;
    h->call_timeout_ms = call_timeout_ms;
}

VixError http_set_cookie(struct http *h, const char *cookie, bool fixed, struct err *err)
{
    char *copy = cookie != NULL ? alloc_text(cookie, err) : NULL;

    if (cookie != NULL && copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (h->cookie != NULL) {
        explicit_bzero(h->cookie, strlen(h->cookie));
        free(h->cookie);
    }
    h->cookie = copy;
    h->cookie_fixed = fixed;
    return VIX_OK;
}

/* ---- failures in words ---- */

/* Why a certificate was refused, and what can be done about it. */
static VixError certificate_failure(const struct http *h, struct err *err)
{
    const struct tls_curl_check *check = &h->check;
    char sha1[THUMBPRINT_TEXT_MAX];

    if (!check->seen) { /* by what there is to check with */
        return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST, "%s: the certificate cannot be checked: %s", h->peer,
                       check->reason);
    }
    if (h->thumbprint != NULL) { /* the reason has both */
        return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST,
                       "%s: %s; if the server's certificate was replaced, give the new thumbprint", h->peer,
                       check->reason);
    }
    thumbprint_format(check->print.sha1, THUMBPRINT_SHA1_LEN, sha1);
    return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST,
                   "%s: %s; if this is the right server, give its thumbprint: SHA-1 %s", h->peer, check->reason, sha1);
}

static VixError tls_failure(const struct http *h, struct err *err)
{
    return h->check.refused ? err_set_retry(err, ERR_RETRY_NEVER, certificate_failure(h, err))
                            : err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST, "%s: TLS fails: %s", h->peer, h->reason);
}

static VixError connect_failure(struct http *h, struct err *err)
{
    long number = 0;

    (void)h->api->getinfo(h->curl, CURLINFO_OS_ERRNO, &number);
    if (number == ECONNREFUSED) {
        return err_set(err, VIX_E_HOST_NETWORK_CONN_REFUSED,
                       "%s: connection refused: nothing listens on that port, or a firewall says so", h->peer);
    }
    return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST, "%s: cannot connect: %s", h->peer, h->reason);
}

static VixError timeout_failure(struct http *h, struct err *err)
{
    curl_off_t connected = 0;

    (void)h->api->getinfo(h->curl, CURLINFO_APPCONNECT_TIME_T, &connected);
    if (connected == 0 && h->answer->status == 0 && h->sent == 0) {
        return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST, "%s: no connection within %u ms: %s", h->peer,
                       h->connect_timeout_ms, h->reason);
    }
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: no whole answer within %u ms", h->peer, h->call_timeout_ms);
}

static VixError stopped_failure(const struct http *h, struct err *err)
{
    if (h->stopped == VIX_E_OUT_OF_MEMORY) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "%s: out of memory for an answer", h->peer);
    }
    return err_set(err, VIX_E_INVALID_XML, "%s: an answer of more than %u bytes, or of %u bytes of headers", h->peer,
                   XML_BYTES_MAX, HEADER_MAX);
}

static VixError failure(struct http *h, CURLcode code, struct err *err)
{
    if (h->reason[0] == '\0') {
        (void)snprintf(h->reason, sizeof h->reason, "%s", h->api->describe(code));
    }
    if (h->stopped != VIX_OK) {
        return stopped_failure(h, err);
    }
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return err_set(err, VIX_E_HOST_SERVER_NOT_FOUND, "%s: no server of that name is known: %s", h->peer, h->reason);
    case CURLE_COULDNT_CONNECT:
        return connect_failure(h, err);
    case CURLE_OPERATION_TIMEDOUT:
        return timeout_failure(h, err);
    case CURLE_OUT_OF_MEMORY:
        return err_set(err, VIX_E_OUT_OF_MEMORY, "%s: out of memory", h->peer);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
        return tls_failure(h, err);
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection was lost during a call: %s", h->peer,
                       h->reason);
    case CURLE_SEND_FAIL_REWIND: /* libcurl would have sent it again by itself */
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the server closed the connection during a call", h->peer);
    default:
        return err_set(err, VIX_E_CANNOT_CONNECT_TO_HOST, "%s: this is not an HTTPS server that can be talked to: %s",
                       h->peer, h->reason);
    }
}

/* ---- a request ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool add_header(const struct http *h, struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = h->api->slist_append(*list, text);

    if (longer == NULL) {
        return false;
    }
    *list = longer;
    return true;
}

static bool add_header_value(const struct http *h, struct curl_slist **list, const char *name, const char *value)
{
    char *text = alloc_printf(NULL, "%s: %s", name, value);
    bool good = text != NULL && add_header(h, list, text);

    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
    return good;
}

static bool make_headers(const struct http *h, const struct http_request *request, struct curl_slist **list)
{
    return add_header(h, list, "Expect:") && add_header(h, list, "Accept: text/xml") &&
           (request->body == NULL || add_header(h, list, "Content-Type: text/xml; charset=utf-8")) &&
           (request->soap_action == NULL || add_header_value(h, list, "SOAPAction", request->soap_action)) &&
           (h->cookie == NULL || add_header_value(h, list, "Cookie", h->cookie));
}

static void free_headers(const struct http *h, struct curl_slist *list)
{
    for (struct curl_slist *l = list; l != NULL; l = l->next) {
        explicit_bzero(l->data, strlen(l->data));
    }
    h->api->slist_free_all(list);
}

static CURLcode perform_once(struct http *h, const char *url, struct curl_slist *headers, bool fresh, uint64_t left_ms)
{
    CURL *c = h->curl;
    const struct http_request *request = h->request;
    bool post = request->body != NULL;
    CURLcode code;

    h->sent = 0;
    h->padding = request->secret ? request->body_len : 0;
    h->header_bytes = 0;
    h->reason[0] = '\0';
    h->answer->len = 0;
    long connect_ms = (long)(h->connect_timeout_ms < left_ms ? h->connect_timeout_ms : left_ms);
    if (h->api->setopt(c, CURLOPT_URL, url) != CURLE_OK || h->api->setopt(c, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        h->api->setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) != CURLE_OK ||
        h->api->setopt(c, CURLOPT_TIMEOUT_MS, (long)left_ms) != CURLE_OK ||
        h->api->setopt(c, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L) != CURLE_OK ||
        h->api->setopt(c, post ? CURLOPT_POST : CURLOPT_HTTPGET, 1L) != CURLE_OK ||
        (post &&
         h->api->setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(request->body_len + h->padding)) != CURLE_OK)) {
        return CURLE_OUT_OF_MEMORY;
    }
    code = h->api->perform(c);
    tls_forget_errors();
    (void)h->api->setopt(c, CURLOPT_HTTPHEADER, NULL);
    return code;
}

/* Whether the request died with a connection that the server had closed while it was idle. */
static bool died_with_kept_connection(struct http *h, CURLcode code)
{
    long connects = 1;

    if (code == CURLE_SEND_FAIL_REWIND) {
        return h->header_bytes == 0; /* libcurl has made a new connection already, to send it again by itself */
    }
    if (code != CURLE_GOT_NOTHING && code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR) {
        return false;
    }
    (void)h->api->getinfo(h->curl, CURLINFO_NUM_CONNECTS, &connects);
    return connects == 0 && h->header_bytes == 0;
}

/* Old hosts: only where who the server is does not hang on the strength of old signatures. */
static bool may_be_old_tls(const struct http *h, CURLcode code)
{
    return code == CURLE_SSL_CONNECT_ERROR && !h->legacy && !h->check.refused && (h->thumbprint != NULL || h->insecure);
}

static CURLcode perform(struct http *h, const char *url, struct curl_slist *headers)
{
    uint64_t end = now_ms() + h->call_timeout_ms;
    CURLcode code = perform_once(h, url, headers, false, h->call_timeout_ms);
    bool again = h->request->repeatable && died_with_kept_connection(h, code);

    if (code != CURLE_OK && may_be_old_tls(h, code)) {
        h->legacy = true;
        again = true;
    }
    uint64_t now = now_ms();
    if (again && h->stopped == VIX_OK && now < end) {
        code = perform_once(h, url, headers, true, end - now);
    }
    if (code == CURLE_SSL_CONNECT_ERROR) {
        h->legacy = false; /* that was not it */
    }
    return code;
}

VixError http_do(struct http *h, const struct http_request *request, struct http_answer *ret_answer, struct err *err)
{
    struct http_answer answer = {0};
    struct curl_slist *headers = NULL;
    long status = 0;
    VixError code = VIX_OK;

    CLEANUP_FREE char *url = alloc_printf(err, "%s%s", h->base, request->path);
    if (url == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    h->request = request;
    h->answer = &answer;
    h->stopped = VIX_OK;
    if (!make_headers(h, request, &headers) || !answer_room(h, 0)) {
        code = err_set(err, VIX_E_OUT_OF_MEMORY, "%s: out of memory for a request", h->peer);
    } else {
        answer.body[0] = '\0';
        CURLcode result = perform(h, url, headers);
        code = result == CURLE_OK ? VIX_OK : failure(h, result, err);
        (void)h->api->getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    }
    free_headers(h, headers);
    h->answer = NULL;
    h->request = NULL;
    if (code != VIX_OK) {
        http_answer_free(&answer);
        return code;
    }
    answer.status = (unsigned)status;
    *ret_answer = answer;
    return VIX_OK;
}

void http_answer_free(struct http_answer *answer)
{
    if (answer->body != NULL) {
        explicit_bzero(answer->body, answer->room);
        free(answer->body);
    }
    *answer = (struct http_answer){0};
}

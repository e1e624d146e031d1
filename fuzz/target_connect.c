/* SPDX-License-Identifier: BSD-3-Clause */
/* What a program gives the library to connect with. Lines of text: specification of the machine, path of the disk,
 * transports, snapshot, fingerprint, server, cookie ("*": one that is good). The server is a disk host in this process;
 * nothing goes over a network. */
#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/soap_face.h"
#include "disk_host.h"
#include "net/tcp.h"
#include "soap_peer.h"
#include "vixDiskLib.h"

#define LINES 7u

bool soap_peer_answer(const struct http_request *request, const char *cookie, const char *method,
                      struct http_answer *ret_answer)
{
    struct soap_result result = {0};
    char token[SESSION_TOKEN_LEN + 1] = "";
    const char *value = cookie != NULL ? strchr(cookie, '"') : NULL;

    (void)method;
    if (request->body == NULL) {
        ret_answer->status = 200;
        ret_answer->body = strdup(soap_versions_xml);
        ret_answer->len = strlen(soap_versions_xml);
        ret_answer->room = ret_answer->len + 1;
        return ret_answer->body != NULL;
    }
    if (value != NULL) {
        (void)snprintf(token, sizeof token, "%.*s", (int)strcspn(value + 1, "\""), value + 1);
    }
    const struct soap_request q = {.body = request->body, .len = request->body_len, .token = token, .peer = "peer:1"};
    soap_face_answer(disk_host(), &q, &result);
    ret_answer->status = result.status;
    ret_answer->body = result.text;
    ret_answer->len = result.text != NULL ? strlen(result.text) : 0;
    ret_answer->room = ret_answer->len + 1;
    return result.text != NULL;
}

/* The linker puts it in the place of tcp_connect. */
VixError __wrap_tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream,
                            struct err *err);
VixError __wrap_tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream,
                            struct err *err)
{
    (void)timeout_ms, (void)ret_stream;
    return err_set(err, VIX_E_HOST_NETWORK_CONN_REFUSED, "%s:%u: refused", host, port);
}

static void say_nothing(const char *fmt, va_list args)
{
    char text[8192];

    (void)vsnprintf(text, sizeof text, fmt, args); /* the arguments are looked at */
}

/* Takes the lines apart; those that are missing are NULL. */
static char *split(const uint8_t *data, size_t size, char *lines[LINES])
{
    char *text = alloc_text_n((const char *)data, size, NULL);
    char *at = text;

    FUZZ_ASSERT(text != NULL, "no memory");
    for (size_t i = 0; i < LINES; i++) {
        lines[i] = at;
        char *end = at != NULL ? strchr(at, '\n') : NULL;
        at = end != NULL ? end + 1 : NULL;
        if (end != NULL) {
            *end = '\0';
        }
    }
    return text;
}

static void use(VixDiskLibConnection connection, const char *path)
{
    VixDiskLibHandle disk = NULL;
    VixDiskLibInfo *info = NULL;

    if (VixDiskLib_Open(connection, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk) == VIX_OK) {
        if (VixDiskLib_GetInfo(disk, &info) == VIX_OK) {
            VixDiskLib_FreeInfo(info);
        }
        (void)VixDiskLib_Close(disk);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    char *lines[LINES];
    char cookie[256];
    VixDiskLibConnection connection = NULL;
    uint32 cleaned = 0, remaining = 0;

    if (!ready) {
        FUZZ_ASSERT(VixDiskLib_InitEx(8, 0, say_nothing, say_nothing, say_nothing, NULL, NULL) == VIX_OK, "InitEx");
        ready = true;
    }
    char *text = split(data, size, lines);
    (void)snprintf(cookie, sizeof cookie, "vmware_soap_session=\"%s\"", disk_host_token());
    bool good = lines[6] != NULL && strcmp(lines[6], "*") == 0;
    VixDiskLibConnectParams *params = VixDiskLib_AllocateConnectParams();
    FUZZ_ASSERT(params != NULL, "no memory");
    params->vmxSpec = lines[0];
    params->thumbPrint = lines[4];
    params->serverName = lines[5];
    params->credType = VIXDISKLIB_CRED_SESSIONID;
    params->creds.sessionId.cookie = good ? cookie : lines[6];
    if (VixDiskLib_ConnectEx(params, TRUE, lines[3], lines[2], &connection) == VIX_OK) {
        if (lines[1] != NULL && params->serverName != NULL && params->serverName[0] != '\0') {
            use(connection, lines[1]);
        }
        (void)VixDiskLib_Disconnect(connection);
    }
    (void)VixDiskLib_PrepareForAccess(params, "fuzz");
    (void)VixDiskLib_EndAccess(params, "fuzz");
    (void)VixDiskLib_Cleanup(params, &cleaned, &remaining);
    VixDiskLib_FreeConnectParams(params);
    free(text);
    return 0;
}

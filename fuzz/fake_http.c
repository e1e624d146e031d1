/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_http.c - src/vim/http.h without a network. With FUZZ_RECORD set to a folder, what is said is kept there:
 * requests as inputs of the target soap_host, all answers as one of soap_client. */
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "soap_peer.h"

struct http {
    char *cookie;
};

static unsigned sessions;

VixError http_open(const struct http_how *how, struct http **ret_http, struct err *err)
{
    (void)how;
    sessions++;
    *ret_http = alloc_zero(sizeof **ret_http, err);
    return *ret_http != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void http_close(struct http *h)
{
    if (h != NULL) {
        free(h->cookie);
        free(h);
    }
}

const char *http_peer(const struct http *h)
{
    (void)h;
    return "peer:443";
}

VixError http_set_cookie(struct http *h, const char *cookie, bool fixed, struct err *err)
{
    (void)fixed;
    free(h->cookie);
    h->cookie = NULL;
    if (cookie != NULL) {
        h->cookie = alloc_text(cookie, err);
    }
    return VIX_OK;
}

void http_set_timeouts(struct http *h, unsigned connect_timeout_ms, unsigned call_timeout_ms)
{
    (void)h, (void)connect_timeout_ms, (void)call_timeout_ms;
}

void http_answer_free(struct http_answer *answer)
{
    free(answer->body);
    memset(answer, 0, sizeof *answer);
}

unsigned soap_method_number(const char *method)
{
    static const char *const methods[] = {"",
                                          "RetrieveServiceContent",
                                          "RetrieveInternalContent",
                                          "CurrentTime",
                                          "Login",
                                          "Logout",
                                          "SessionIsActive",
                                          "RetrieveProperties",
                                          "RetrievePropertiesEx",
                                          "ContinueRetrievePropertiesEx",
                                          "CreateContainerView",
                                          "DestroyView",
                                          "FindByInventoryPath",
                                          "FindByDatastorePath",
                                          "FindByUuid",
                                          "NfcGetVmFiles",
                                          "NfcRandomAccessOpenDisk",
                                          "NfcRandomAccessOpenReadonly",
                                          "NfcFileManagement",
                                          "CreateVirtualDisk_Task",
                                          "DeleteVirtualDisk_Task",
                                          "ExtendVirtualDisk_Task",
                                          "MakeDirectory",
                                          "ReconfigVM_Task"};

    for (unsigned i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(method, methods[i]) == 0) {
            return i;
        }
    }
    return 255;
}

/* What follows "<soapenv:Body><" or the like. */
static void find_method(const struct http_request *request, char method[64])
{
    const char *body = request->body != NULL ? strstr(request->body, "Body>") : NULL;
    size_t len = 0;

    if (body != NULL) {
        body += strcspn(body, "<");
        body += *body == '<' ? 1 : 0;
        len = strcspn(body, " >/");
        len = len < 63 ? len : 63;
        memcpy(method, body, len);
    }
    method[len] = '\0';
}

static void append(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "abe");

    if (f != NULL) {
        (void)fwrite(bytes, 1, len, f);
        (void)fclose(f);
    }
}

static void record(const struct http_request *request, const char *method, const struct http_answer *answer)
{
    const char *folder = getenv("FUZZ_RECORD");
    static unsigned number;
    char path[4096];
    uint8_t head[PIECE_HEADER];

    if (folder == NULL) {
        return;
    }
    if (request->body != NULL) {
        (void)snprintf(path, sizeof path, "%s/soap_host/%s-%u", folder, method, number++);
        append(path, request->body, request->body_len);
    }
    head[0] = (uint8_t)soap_method_number(method);
    put_le32(head + 1, answer->status);
    put_le32(head + 5, (uint32_t)answer->len);
    (void)snprintf(path, sizeof path, "%s/soap_client/session-%u", folder, sessions);
    append(path, head, sizeof head);
    append(path, answer->body, answer->len);
}

VixError http_do(struct http *h, const struct http_request *request, struct http_answer *ret_answer, struct err *err)
{
    struct http_answer answer = {0};
    char method[64];

    find_method(request, method);
    if (!soap_peer_answer(request, h->cookie, method, &answer)) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection broke", http_peer(h));
    }
    record(request, method, &answer);
    *ret_answer = answer;
    return VIX_OK;
}

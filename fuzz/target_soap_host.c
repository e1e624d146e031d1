/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk host against any call, of one who is logged in. What it answers is XML that the client's parser takes. */
#include <string.h>

#include "disk_host.h"
#include "soap/soap.h"

static void check_answer(const struct soap_result *r)
{
    struct soap_answer answer;
    struct xml_doc *doc = NULL;
    struct err err;

    err_init(&err);
    FUZZ_ASSERT(r->text != NULL, "no answer");
    FUZZ_ASSERT(xml_parse(r->text, strlen(r->text), &doc, &err) == VIX_OK, "%s: %.2000s", err.text, r->text);
    FUZZ_ASSERT(soap_read_answer(doc, &answer, &err) == VIX_OK, "%s: %.2000s", err.text, r->text);
    FUZZ_ASSERT((r->status == 200) == (answer.fault_type == NULL), "status %u: %.2000s", r->status, r->text);
    xml_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host *host = disk_host();
    struct soap_result result = {0};
    const struct soap_request request = {
        .body = (const char *)data, .len = size, .token = disk_host_token(), .peer = "peer:1"};

    soap_face_answer(host, &request, &result);
    check_answer(&result);
    free(result.text);
    disk_host_tidy();
    return 0;
}

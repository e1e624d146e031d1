/* SPDX-License-Identifier: BSD-3-Clause */
/* soap_face.h - the calls of vSphere that the host answers, as an ESXi host would: one request in, one answer out.
 * Knows no HTTP. Any thread. */
#ifndef VIXDISKD_SOAP_FACE_H
#define VIXDISKD_SOAP_FACE_H

#include "daemon/host.h"

/** Of /sdk/vimServiceVersions.xml. */
extern const char soap_versions_xml[];

struct soap_request {
    const char *body;
    size_t len;
    const char *token; /* the session cookie; "": none */
    const char *peer;  /* "address:port" */
};

struct soap_result {
    unsigned status;                    /* 200, or 500 with a fault */
    char *text;                         /* the caller's, to be wiped; NULL: out of memory */
    char cookie[SESSION_TOKEN_LEN + 1]; /* to be set; "": none */
};

void soap_face_answer(struct host *host, const struct soap_request *request, struct soap_result *ret_result);

#endif

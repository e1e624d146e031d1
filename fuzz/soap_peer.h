/* SPDX-License-Identifier: BSD-3-Clause */
/* soap_peer.h - who answers the vSphere client in the place of a server: fake_http.c calls what the target gives it. */
#ifndef VIXDISK_FUZZ_SOAP_PEER_H
#define VIXDISK_FUZZ_SOAP_PEER_H

#include "fuzz.h"
#include "vim/http.h"

/** The target's: answers a request; false: the connection breaks. The body is to be of malloc, NUL-terminated.
 * @method: name of the call, "" for a GET. */
bool soap_peer_answer(const struct http_request *request, const char *cookie, const char *method,
                      struct http_answer *ret_answer);

/** The number that stands for a method in inputs of pieces. */
unsigned soap_method_number(const char *method);

#endif

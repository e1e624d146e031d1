/* SPDX-License-Identifier: BSD-3-Clause */
/* soap.h - SOAP 1.1 envelopes as vSphere has them, for both ends: the client asks and reads answers, the host reads
 * calls and answers. */
#ifndef VIXDISK_SOAP_SOAP_H
#define VIXDISK_SOAP_SOAP_H

#include "soap/xml.h"

#define SOAP_VIM_NAMESPACE "urn:vim25"
#define SOAP_INTERNAL_NAMESPACE "urn:internalvim25"

/** Begins a call: everything before the first argument. @this_type, @this_value: the managed object. */
void soap_call_begin(struct xml_text *x, const char *name_space, const char *method, const char *this_type,
                     const char *this_value);
void soap_call_end(struct xml_text *x, const char *method);

/** What is in an answer: its response element, or the fault. Pointers into the document. */
struct soap_answer {
    const struct xml_node *response; /* <XxxResponse>; NULL for a fault */
    const char *fault_type;          /* "InvalidLogin"; NULL: no fault, or "" one without detail */
    const char *fault_text;          /* faultstring */
    const struct xml_node *fault;    /* the detail's element, or NULL */
};
/** VIX_E_INVALID_XML: no envelope. */
VixError soap_read_answer(struct xml_doc *doc, struct soap_answer *ret_answer, struct err *err);

/** What is in a call (the host's side). */
struct soap_call {
    const char *method;
    const struct xml_node *node; /* the method's element */
    const char *this_type;       /* of _this; "" */
    const char *this_value;
};
VixError soap_read_call(const struct xml_doc *doc, struct soap_call *ret_call, struct err *err);

/** Begins and ends <MethodResponse xmlns="urn:vim25">...: what is between is the caller's. */
void soap_response_begin(struct xml_text *x, const char *method);
void soap_response_end(struct xml_text *x, const char *method);
/** A whole fault. @type "NotAuthenticated"; @inner: XML inside the detail's element, or NULL. */
void soap_fault(struct xml_text *x, const char *type, const char *text, const char *inner);

/** The VIX_E_ code of a fault type (section 12 of the sheet); VIX_E_FAIL for those that are not known. */
VixError soap_fault_code(const char *fault_type);

#endif

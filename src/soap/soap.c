/* SPDX-License-Identifier: BSD-3-Clause */
/* soap.c - envelopes: written as vSphere's own clients and servers write them, read by local names alone, since servers
 * choose prefixes as they like. */
#include "soap/soap.h"

#include <string.h>

#include "base/text.h"
#include "soap/xml_tree.h"

#define ENVELOPE_NAMESPACE "http://schemas.xmlsoap.org/soap/envelope/"
#define XSI_NAMESPACE "http://www.w3.org/2001/XMLSchema-instance"
#define XSD_NAMESPACE "http://www.w3.org/2001/XMLSchema"
#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"

/* ---- writing ---- */

void soap_call_begin(struct xml_text *x, const char *name_space, const char *method, const char *this_type,
                     const char *this_value)
{
    xml_raw(x, XML_HEAD "<Envelope xmlns=\"" ENVELOPE_NAMESPACE "\" xmlns:xsi=\"" XSI_NAMESPACE "\"><Body><");
    xml_raw(x, method);
    xml_raw(x, " xmlns=\"");
    xml_escaped(x, name_space);
    xml_raw(x, "\">");
    xml_reference(x, "_this", this_type, this_value);
}

void soap_call_end(struct xml_text *x, const char *method)
{
    xml_raw(x, "</");
    xml_raw(x, method);
    xml_raw(x, "></Body></Envelope>");
}

static void answer_begin(struct xml_text *x)
{
    xml_raw(x, XML_HEAD "\n<soapenv:Envelope xmlns:soapenv=\"" ENVELOPE_NAMESPACE "\" xmlns:xsd=\"" XSD_NAMESPACE
                        "\" xmlns:xsi=\"" XSI_NAMESPACE "\">\n<soapenv:Body>\n");
}

static void answer_end(struct xml_text *x)
{
    xml_raw(x, "\n</soapenv:Body>\n</soapenv:Envelope>\n");
}

void soap_response_begin(struct xml_text *x, const char *method)
{
    answer_begin(x);
    xml_raw(x, "<");
    xml_raw(x, method);
    xml_raw(x, "Response xmlns=\"" SOAP_VIM_NAMESPACE "\">");
}

void soap_response_end(struct xml_text *x, const char *method)
{
    xml_raw(x, "</");
    xml_raw(x, method);
    xml_raw(x, "Response>");
    answer_end(x);
}

void soap_fault(struct xml_text *x, const char *type, const char *text, const char *inner)
{
    answer_begin(x);
    xml_raw(x, "<soapenv:Fault><faultcode>ServerFaultCode</faultcode>");
    xml_element(x, "faultstring", text);
    xml_raw(x, "<detail><");
    xml_raw(x, type);
    xml_raw(x, "Fault xmlns=\"" SOAP_VIM_NAMESPACE "\" xsi:type=\"");
    xml_raw(x, type);
    xml_raw(x, "\">");
    xml_raw(x, inner != NULL ? inner : "");
    xml_raw(x, "</");
    xml_raw(x, type);
    xml_raw(x, "Fault></detail></soapenv:Fault>");
    answer_end(x);
}

/* ---- reading ---- */

/* What is in the body; NULL: nothing, or no envelope. */
static const struct xml_node *body_content(const struct xml_doc *doc)
{
    const struct xml_node *root = xml_root(doc);

    if (strcmp(root->name, "Envelope") != 0) {
        return NULL;
    }
    const struct xml_node *body = xml_child(root, "Body");
    return body != NULL ? body->children : NULL;
}

/* The type of a fault; "" if it has none, NULL if there is no memory. */
static const char *type_of_fault(struct xml_doc *doc, const struct xml_node *fault)
{
    if (fault == NULL) {
        return "";
    }
    if (fault->type != NULL) {
        return fault->type;
    }
    size_t len = strlen(fault->name);
    if (text_ends_with(fault->name, "Fault")) {
        len -= strlen("Fault");
    }
    return xml_doc_text(doc, fault->name, len);
}

static VixError read_fault(struct xml_doc *doc, const struct xml_node *node, struct soap_answer *ret_answer,
                           struct err *err)
{
    const struct xml_node *detail = xml_child(node, "detail");
    const char *text = xml_text(node, "faultstring");
    struct soap_answer answer = {.fault = detail != NULL ? detail->children : NULL};

    answer.fault_type = type_of_fault(doc, answer.fault);
    if (answer.fault_type == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a fault");
    }
    answer.fault_text = text != NULL ? text : "";
    *ret_answer = answer;
    return VIX_OK;
}

VixError soap_read_answer(struct xml_doc *doc, struct soap_answer *ret_answer, struct err *err)
{
    const struct xml_node *content = body_content(doc);

    if (content == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "the answer is XML, but no SOAP envelope with a body: <%.64s>",
                       xml_root(doc)->name);
    }
    if (strcmp(content->name, "Fault") == 0) {
        return read_fault(doc, content, ret_answer, err);
    }
    *ret_answer = (struct soap_answer){.response = content};
    return VIX_OK;
}

VixError soap_read_call(const struct xml_doc *doc, struct soap_call *ret_call, struct err *err)
{
    const struct xml_node *content = body_content(doc);

    if (content == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "no SOAP envelope with a body: <%.64s>", xml_root(doc)->name);
    }
    const struct xml_node *this = xml_child(content, "_this");
    *ret_call = (struct soap_call){
        .method = content->name,
        .node = content,
        .this_type = this != NULL && this->type_attr != NULL ? this->type_attr : "",
        .this_value = this != NULL ? this->text : "",
    };
    return VIX_OK;
}

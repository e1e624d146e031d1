/* SPDX-License-Identifier: BSD-3-Clause */
/* XML and SOAP: what servers write in their several ways, what no peer may make us do, and what we write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "soap/soap.h"

#define ENVELOPE(body)                                                                                                 \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope "                                                   \
    "xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" "      \
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n <soapenv:Body>" body                                   \
    "</soapenv:Body></soapenv:Envelope>"

static struct xml_doc *parse_len(const char *text, size_t len)
{
    struct xml_doc *doc = NULL;
    struct err err;

    err_init(&err);
    VixError code = xml_parse(text, len, &doc, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
    return doc;
}

static struct xml_doc *parse(const char *text)
{
    return parse_len(text, strlen(text));
}

/* Refused, with a word in the sentence. */
static void refused(const char *text, size_t len, const char *word)
{
    struct xml_doc *doc = (struct xml_doc *)0x1;
    struct err err;

    err_init(&err);
    assert_int_equal(xml_parse(text, len, &doc, &err), VIX_E_INVALID_XML);
    assert_ptr_equal(doc, 0x1);
    if (strstr(err.text, word) == NULL) {
        fail_msg("'%s' is not in: %s", word, err.text);
    }
}

/* ---- trees ---- */

static void tree_has_order_text_and_paths(void **state)
{
    (void)state;
    struct xml_doc *doc = parse("<a>one<b>1</b> two<c><d>deep</d></c><b>2</b><e> 12 </e><f>true</f><g>x1</g></a>");
    const struct xml_node *a = xml_root(doc);
    uint64_t n = 7;

    assert_string_equal(a->name, "a");
    assert_string_equal(a->text, "one two");
    assert_null(a->parent);
    const struct xml_node *b = xml_child(a, "b");
    assert_string_equal(b->text, "1");
    assert_ptr_equal(b->parent, a);
    b = xml_next(b);
    assert_string_equal(b->text, "2");
    assert_null(xml_next(b));
    assert_string_equal(xml_text(a, "c/d"), "deep");
    assert_null(xml_text(a, "c/d/e"));
    assert_null(xml_text(a, "c/dd"));
    assert_null(xml_path(NULL, "c"));
    assert_null(xml_child(NULL, "c"));
    assert_true(xml_number(a, "e", &n));
    assert_int_equal(n, 12);
    assert_false(xml_number(a, "g", &n));
    assert_false(xml_number(a, "none", &n));
    assert_int_equal(n, 12);
    assert_true(xml_bool(a, "f"));
    assert_true(xml_bool(a, "b"));
    assert_false(xml_bool(a, "g"));
    assert_false(xml_bool(a, "none"));
    xml_free(doc);
    xml_free(NULL);
}

static void layout_between_children_is_no_text(void **state)
{
    (void)state;
    struct xml_doc *doc = parse("<a>\n  <b> </b>\n  <c></c>\n</a>");
    assert_string_equal(xml_root(doc)->text, "");
    assert_string_equal(xml_text(xml_root(doc), "b"), " ");
    assert_string_equal(xml_text(xml_root(doc), "c"), "");
    xml_free(doc);
}

static void text_keeps_entities_cdata_and_utf8(void **state)
{
    (void)state;
    struct xml_doc *doc =
        parse("<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x263A;<![CDATA[<raw>&amp;]]><!-- no -->\xC3\xA9</a>");
    assert_string_equal(xml_root(doc)->text, "<&>\"'A\xE2\x98\xBA<raw>&amp;\xC3\xA9");
    xml_free(doc);
}

static void long_text_in_pieces(void **state)
{
    (void)state;
    const size_t len = 3u << 20;
    char *text = malloc(len + 32);
    assert_non_null(text);
    memcpy(text, "<a>", 3);
    for (size_t i = 0; i < len; i++) {
        text[3 + i] = (char)('a' + i % 23);
    }
    memcpy(text + 3 + len, "</a>", 5);
    struct xml_doc *doc = parse(text);
    assert_int_equal(strlen(xml_root(doc)->text), len);
    assert_memory_equal(xml_root(doc)->text, text + 3, len);
    xml_free(doc);
    free(text);
}

/* Real servers declare xsi on the envelope; govmomi's simulator invents a prefix on each element. */
static void both_spellings_of_xsi_type(void **state)
{
    (void)state;
    struct xml_doc *doc = parse(ENVELOPE("<r xmlns=\"urn:vim25\"><d xsi:type=\"VirtualDisk\"/>"
                                         "<d xmlns:XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\" "
                                         "XMLSchema-instance:type=\"vim25:VirtualDisk\" type=\"Folder\"/>"
                                         "<d type=\"VirtualMachine\">vm-1</d><d other=\"x\"/></r>"));
    const struct xml_node *d = xml_path(xml_root(doc), "Body/r/d");
    assert_string_equal(d->type, "VirtualDisk");
    assert_null(d->type_attr);
    d = xml_next(d);
    assert_string_equal(d->type, "VirtualDisk");
    assert_string_equal(d->type_attr, "Folder");
    d = xml_next(d);
    assert_null(d->type);
    assert_string_equal(d->type_attr, "VirtualMachine");
    d = xml_next(d);
    assert_null(d->type);
    assert_null(d->type_attr);
    xml_free(doc);
}

/* A type attribute of some other namespace is none that matters. */
static void foreign_type_attribute_is_ignored(void **state)
{
    (void)state;
    struct xml_doc *doc = parse("<a xmlns:o=\"urn:other\" o:type=\"X\"/>");
    assert_null(xml_root(doc)->type);
    assert_null(xml_root(doc)->type_attr);
    xml_free(doc);
}

/* ---- what is refused ---- */

static void broken_documents_are_refused(void **state)
{
    static const char *const broken[] = {
        "",         "   ",         "no xml",      "<a>",    "<a></b>",          "<a/><b/>", "<a>&nothing;</a>",
        "<a b=1/>", "<a>\x01</a>", "<a>\xC3</a>", "<p:a/>", "<a b='1' b='2'/>", "<a",
    };
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        refused(broken[i], strlen(broken[i]), "line ");
    }
    refused("<a>\0</a>", 8, "line ");
    refused("<a>\n\n<b></a>", 12, "line 3, column ");
}

static void doctype_is_refused(void **state)
{
    static const char *const evil[] = {
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x \"yyyyyyyyyy\"><!ENTITY z \"&x;&x;&x;&x;&x;&x;\">]><a>&z;</a>",
    };
    (void)state;
    for (size_t i = 0; i < sizeof evil / sizeof evil[0]; i++) {
        refused(evil[i], strlen(evil[i]), "document type");
    }
}

static char *nested(unsigned depth)
{
    char *text = malloc(depth * 7u + 1);
    assert_non_null(text);
    for (unsigned i = 0; i < depth; i++) {
        memcpy(text + (size_t)i * 3, "<a>", 3);
        memcpy(text + (size_t)depth * 3 + (size_t)i * 4, "</a>", 4);
    }
    text[depth * 7u] = '\0';
    return text;
}

static void depth_is_limited(void **state)
{
    (void)state;
    char *text = nested(XML_DEPTH_MAX);
    xml_free(parse(text));
    free(text);
    text = nested(XML_DEPTH_MAX + 1);
    refused(text, strlen(text), "nested");
    free(text);
}

static void size_is_limited(void **state)
{
    (void)state;
    refused("<a/>", (size_t)XML_BYTES_MAX + 1, "bytes");
}

static void number_of_elements_is_limited(void **state)
{
    (void)state;
    const size_t len = 3 + (size_t)XML_NODES_MAX * 4;
    char *text = malloc(len + 5);
    assert_non_null(text);
    memcpy(text, "<a>", 3);
    for (size_t i = 0; i < XML_NODES_MAX; i++) {
        memcpy(text + 3 + i * 4, "<b/>", 4);
    }
    memcpy(text + len, "</a>", 5);
    refused(text, len + 4, "too many elements");
    free(text);
}

/* Every beginning of a sound document: refused, nothing leaks, nothing outside is read. */
static void cut_documents_are_refused(void **state)
{
    static const char whole[] = ENVELOPE("<r xmlns=\"urn:vim25\"><x xsi:type=\"xsd:string\">a&amp;b</x></r>");
    (void)state;
    for (size_t len = 0; len + 1 < sizeof whole; len++) {
        char *text = malloc(len + 1);
        assert_non_null(text);
        memcpy(text, whole, len);
        struct xml_doc *doc;
        assert_int_equal(xml_parse(text, len, &doc, NULL), VIX_E_INVALID_XML);
        free(text);
    }
    xml_free(parse(whole));
}

/* ---- envelopes ---- */

static struct soap_answer answer_of(struct xml_doc *doc)
{
    struct soap_answer answer;
    assert_int_equal(soap_read_answer(doc, &answer, NULL), VIX_OK);
    return answer;
}

static void answer_is_found(void **state)
{
    (void)state;
    struct xml_doc *doc = parse(ENVELOPE("<CurrentTimeResponse xmlns=\"urn:vim25\"><returnval>now</returnval>"
                                         "</CurrentTimeResponse>"));
    struct soap_answer answer = answer_of(doc);
    assert_null(answer.fault_type);
    assert_string_equal(answer.response->name, "CurrentTimeResponse");
    assert_string_equal(xml_text(answer.response, "returnval"), "now");
    xml_free(doc);
    /* no prefix, and a header */
    doc = parse("<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Header><x/></Header><Body>"
                "<FindByUuidResponse xmlns=\"urn:vim25\"/></Body></Envelope>");
    answer = answer_of(doc);
    assert_string_equal(answer.response->name, "FindByUuidResponse");
    assert_null(xml_child(answer.response, "returnval"));
    xml_free(doc);
}

static void fault_is_found(void **state)
{
    (void)state;
    struct xml_doc *doc = parse(
        ENVELOPE("<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>The session is not authenticated."
                 "</faultstring><detail><NotAuthenticatedFault xmlns=\"urn:vim25\" xsi:type=\"NotAuthenticated\">"
                 "<privilegeId>System.View</privilegeId></NotAuthenticatedFault></detail></soapenv:Fault>"));
    struct soap_answer answer = answer_of(doc);
    assert_null(answer.response);
    assert_string_equal(answer.fault_type, "NotAuthenticated");
    assert_string_equal(answer.fault_text, "The session is not authenticated.");
    assert_string_equal(xml_text(answer.fault, "privilegeId"), "System.View");
    xml_free(doc);
}

static void fault_without_type_or_detail(void **state)
{
    (void)state;
    struct xml_doc *doc = parse(ENVELOPE("<soapenv:Fault><faultstring>x</faultstring><detail>"
                                         "<RuntimeFaultFault/></detail></soapenv:Fault>"));
    assert_string_equal(answer_of(doc).fault_type, "RuntimeFault");
    xml_free(doc);
    doc = parse(ENVELOPE("<soapenv:Fault><detail><Odd/></detail></soapenv:Fault>"));
    assert_string_equal(answer_of(doc).fault_type, "Odd");
    assert_string_equal(answer_of(doc).fault_text, "");
    xml_free(doc);
    doc = parse(ENVELOPE("<soapenv:Fault><faultstring>Unsupported version URI</faultstring></soapenv:Fault>"));
    struct soap_answer answer = answer_of(doc);
    assert_string_equal(answer.fault_type, "");
    assert_string_equal(answer.fault_text, "Unsupported version URI");
    assert_null(answer.fault);
    xml_free(doc);
}

static void no_envelope_is_told(void **state)
{
    static const char *const others[] = {"<html><Body><x/></Body></html>", "<Envelope/>",
                                         "<Envelope><Body/></Envelope>"};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct xml_doc *doc = parse(others[i]);
        struct soap_answer answer;
        struct soap_call call;
        struct err err;
        err_init(&err);
        assert_int_equal(soap_read_answer(doc, &answer, &err), VIX_E_INVALID_XML);
        assert_non_null(strstr(err.text, "envelope"));
        assert_int_equal(soap_read_call(doc, &call, &err), VIX_E_INVALID_XML);
        xml_free(doc);
    }
}

static void call_goes_round(void **state)
{
    (void)state;
    struct xml_text x = {0};
    soap_call_begin(&x, SOAP_VIM_NAMESPACE, "Login", "SessionManager", "ha-sessionmgr");
    xml_element(&x, "userName", "root");
    xml_element(&x, "password", "a<b>&\"'\r\n\tc");
    xml_element(&x, "locale", NULL);
    xml_element_number(&x, "key", UINT64_MAX);
    xml_element_bool(&x, "skip", false);
    xml_reference(&x, "vm", "VirtualMachine", "vm-\"1");
    soap_call_end(&x, "Login");
    assert_int_equal(xml_done(&x, NULL), VIX_OK);

    struct xml_doc *doc = parse_len(x.bytes, x.len);
    struct soap_call call;
    assert_int_equal(soap_read_call(doc, &call, NULL), VIX_OK);
    assert_string_equal(call.method, "Login");
    assert_string_equal(call.this_type, "SessionManager");
    assert_string_equal(call.this_value, "ha-sessionmgr");
    assert_string_equal(call.node->children->name, "_this");
    assert_string_equal(xml_text(call.node, "userName"), "root");
    assert_string_equal(xml_text(call.node, "password"), "a<b>&\"'\r\n\tc");
    assert_null(xml_child(call.node, "locale"));
    assert_string_equal(xml_text(call.node, "key"), "18446744073709551615");
    assert_string_equal(xml_text(call.node, "skip"), "false");
    assert_string_equal(xml_text(call.node, "vm"), "vm-\"1");
    assert_string_equal(xml_child(call.node, "vm")->type_attr, "VirtualMachine");
    xml_free(doc);
    xml_text_free(&x);
    assert_null(x.bytes);
}

static void call_has_these_bytes(void **state)
{
    (void)state;
    struct xml_text x = {0};
    soap_call_begin(&x, SOAP_INTERNAL_NAMESPACE, "CurrentTime", "ServiceInstance", "ServiceInstance");
    soap_call_end(&x, "CurrentTime");
    assert_string_equal(x.bytes, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
                                 "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" "
                                 "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body>"
                                 "<CurrentTime xmlns=\"urn:internalvim25\"><_this type=\"ServiceInstance\">"
                                 "ServiceInstance</_this></CurrentTime></Body></Envelope>");
    assert_int_equal(x.len, strlen(x.bytes));
    xml_text_free(&x);
}

static void response_and_fault_go_round(void **state)
{
    (void)state;
    struct xml_text x = {0};
    soap_response_begin(&x, "FindByUuid");
    xml_reference(&x, "returnval", "VirtualMachine", "vm-7");
    soap_response_end(&x, "FindByUuid");
    struct xml_doc *doc = parse(x.bytes);
    struct soap_answer answer = answer_of(doc);
    assert_string_equal(answer.response->name, "FindByUuidResponse");
    assert_string_equal(xml_text(answer.response, "returnval"), "vm-7");
    xml_free(doc);
    xml_text_free(&x);

    soap_fault(&x, "NoPermission", "Permission <denied>", "<privilegeId>Global.DisableMethods</privilegeId>");
    doc = parse(x.bytes);
    answer = answer_of(doc);
    assert_string_equal(answer.fault_type, "NoPermission");
    assert_string_equal(answer.fault_text, "Permission <denied>");
    assert_string_equal(xml_text(answer.fault, "privilegeId"), "Global.DisableMethods");
    xml_free(doc);
    xml_text_free(&x);

    soap_fault(&x, "InvalidLogin", "no", NULL);
    doc = parse(x.bytes);
    assert_string_equal(answer_of(doc).fault_type, "InvalidLogin");
    xml_free(doc);
    xml_text_free(&x);
}

static void bytes_that_xml_cannot_have_are_left_out(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"a\x01\x1F\x7F"
         "b",
         "a\x7F"
         "b"},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"x\xC3", "x"},
        {"x\xE2\x82", "x"},
        {"\xC0\xAF-\xE0\x80\xAF-\xF0\x80\x80\xAF", "--"},
        {"\xED\xA0\x80.\xEF\xBF\xBF.\xF4\x90\x80\x80.\xFF", "..."},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct xml_text x = {0};
        xml_element(&x, "t", rows[i].text);
        struct xml_doc *doc = parse(x.bytes);
        assert_string_equal(xml_root(doc)->text, rows[i].want);
        xml_free(doc);
        xml_text_free(&x);
    }
}

static void text_has_a_limit(void **state)
{
    (void)state;
    struct xml_text x = {0};
    struct err err;
    char *piece = malloc((size_t)(1u << 20) + 1);
    assert_non_null(piece);
    memset(piece, 'x', 1u << 20);
    piece[1u << 20] = '\0';
    err_init(&err);
    for (unsigned i = 0; i < 63; i++) {
        xml_raw(&x, piece);
    }
    assert_int_equal(xml_done(&x, &err), VIX_OK);
    xml_raw(&x, piece);
    assert_int_equal(xml_done(&x, &err), VIX_E_OUT_OF_MEMORY);
    xml_raw(&x, "a"); /* harmless, and no truncated text passes for a whole one */
    assert_int_equal(xml_done(&x, &err), VIX_E_OUT_OF_MEMORY);
    xml_text_free(&x);
    free(piece);
}

static void faults_have_codes(void **state)
{
    static const struct {
        const char *type;
        VixError code;
    } rows[] = {
        {"InvalidLogin", 3014},     {"NoPermission", 3014},
        {"NotAuthenticated", 3047}, {"ManagedObjectNotFound", 25},
        {"InvalidArgument", 3},     {"MethodNotFound", 6},
        {"FileNotFound", 4},        {"FileAlreadyExists", 12},
        {"FileLocked", 15},         {"CannotAccessFile", 13},
        {"FileTooLarge", 21},       {"NoDiskSpace", 8},
        {"TaskInProgress", 5},      {"HostNotConnected", 26},
        {"HostCommunication", 36},  {"InvalidPowerState", 3007},
        {"MethodDisabled", 20005},  {"RestrictedVersion", 32},
        {"SystemError", 1},         {"", 1},
        {"SomethingOfTomorrow", 1}, {"MethodAlreadyDisabledFault", 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(soap_fault_code(rows[i].type), rows[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_has_order_text_and_paths),
        cmocka_unit_test(layout_between_children_is_no_text),
        cmocka_unit_test(text_keeps_entities_cdata_and_utf8),
        cmocka_unit_test(long_text_in_pieces),
        cmocka_unit_test(both_spellings_of_xsi_type),
        cmocka_unit_test(foreign_type_attribute_is_ignored),
        cmocka_unit_test(broken_documents_are_refused),
        cmocka_unit_test(doctype_is_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(number_of_elements_is_limited),
        cmocka_unit_test(cut_documents_are_refused),
        cmocka_unit_test(answer_is_found),
        cmocka_unit_test(fault_is_found),
        cmocka_unit_test(fault_without_type_or_detail),
        cmocka_unit_test(no_envelope_is_told),
        cmocka_unit_test(call_goes_round),
        cmocka_unit_test(call_has_these_bytes),
        cmocka_unit_test(response_and_fault_go_round),
        cmocka_unit_test(bytes_that_xml_cannot_have_are_left_out),
        cmocka_unit_test(text_has_a_limit),
        cmocka_unit_test(faults_have_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

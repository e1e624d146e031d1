/* SPDX-License-Identifier: BSD-3-Clause */
/* xml_parse.c - documents into trees, with expat. The bytes come from a peer that may be hostile: no document type
 * declarations, so no entities that grow; depth, number of elements and size are limited. What expat keeps of the
 * document is wiped when expat frees it, since it may be a password or a ticket. */
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "soap/xml_tree.h"

/* Between namespace and local name in expat's names: no character of XML, so part of neither. */
#define SEPARATOR '\1'
#define XSI "http://www.w3.org/2001/XMLSchema-instance"
/* Bytes given to expat at once. Large, because expat looks at an unfinished tag anew with every piece. */
#define PIECE_BYTES (1u << 20)

/* ---- memory that is wiped ---- */

struct wiped {
    size_t len;
    _Alignas(16) char bytes[];
};

static void *wiped_malloc(size_t len)
{
    struct wiped *w = len <= SIZE_MAX - sizeof *w ? malloc(sizeof *w + len) : NULL;

    if (w == NULL) {
        return NULL;
    }
    w->len = len;
    return w->bytes;
}

static void wiped_free(void *p)
{
    if (p != NULL) {
        struct wiped *w = (struct wiped *)(void *)((char *)p - offsetof(struct wiped, bytes));
        explicit_bzero(w->bytes, w->len);
        free(w);
    }
}

static void *wiped_realloc(void *p, size_t len)
{
    char *fresh = wiped_malloc(len);

    if (fresh != NULL && p != NULL) {
        size_t old = ((struct wiped *)(void *)((char *)p - offsetof(struct wiped, bytes)))->len;
        memcpy(fresh, p, old < len ? old : len);
        wiped_free(p);
    }
    return fresh;
}

static const XML_Memory_Handling_Suite wiped_memory = {wiped_malloc, wiped_realloc, wiped_free};

/* ---- the tree as it grows ---- */

/* Text of an element that is still open; it may be interrupted by children. */
struct open_text {
    char *bytes;
    size_t len, room;
};

struct parse {
    XML_Parser parser;
    struct xml_doc *doc;
    struct xml_node *node; /* the element that is open */
    unsigned depth;
    unsigned nodes;
    struct open_text texts[XML_DEPTH_MAX];
    const char *refused; /* why the parser was stopped; NULL: it was not */
    bool no_memory;
};

static void stop(struct parse *p, const char *why)
{
    if (p->refused == NULL) {
        p->refused = why;
        (void)XML_StopParser(p->parser, XML_FALSE);
    }
}

static void stop_no_memory(struct parse *p)
{
    p->no_memory = true;
    stop(p, "out of memory");
}

static const char *local_name(const char *name)
{
    const char *separator = strrchr(name, SEPARATOR);
    return separator != NULL ? separator + 1 : name;
}

static bool is_xsi_type(const char *name)
{
    return strncmp(name, XSI, sizeof XSI - 1) == 0 && name[sizeof XSI - 1] == SEPARATOR &&
           strcmp(name + sizeof XSI, "type") == 0;
}

/* A copy of an attribute; *ret stays NULL if there is no memory. */
static void keep_attribute(struct parse *p, const char *value, bool strip_prefix, const char **ret)
{
    size_t len;
    const char *colon = strip_prefix ? strrchr(value, ':') : NULL;

    value = colon != NULL ? colon + 1 : value;
    value = text_trim(value, strlen(value), &len);
    *ret = xml_doc_text(p->doc, value, len);
    if (*ret == NULL) {
        stop_no_memory(p);
    }
}

static void append_node(struct parse *p, struct xml_node *node)
{
    struct xml_node *parent = p->node;

    node->parent = parent;
    if (parent == NULL) {
        p->doc->root = node;
    } else if (parent->last_child == NULL) {
        parent->children = node;
    } else {
        parent->last_child->next = node;
    }
    if (parent != NULL) {
        parent->last_child = node;
    }
    p->node = node;
}

static void XMLCALL on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    struct parse *p = user;

    if (p->depth == XML_DEPTH_MAX) {
        stop(p, "elements are nested too deeply");
        return;
    }
    if (p->nodes == XML_NODES_MAX) {
        stop(p, "too many elements");
        return;
    }
    struct xml_node *node = xml_doc_room(p->doc, sizeof *node);
    const char *local = local_name(name);
    if (node == NULL || (node->name = xml_doc_text(p->doc, local, strlen(local))) == NULL) {
        stop_no_memory(p);
        return;
    }
    node->text = "";
    for (; attributes[0] != NULL; attributes += 2) {
        if (is_xsi_type(attributes[0])) {
            keep_attribute(p, attributes[1], true, &node->type);
        } else if (strcmp(attributes[0], "type") == 0) {
            keep_attribute(p, attributes[1], false, &node->type_attr);
        }
    }
    append_node(p, node);
    p->texts[p->depth].len = 0;
    p->depth++;
    p->nodes++;
}

static bool all_space(const char *text, size_t len)
{
    (void)text_trim(text, len, &len);
    return len == 0;
}

static void XMLCALL on_end(void *user, const XML_Char *name)
{
    struct parse *p = user;

    (void)name;
    if (p->refused != NULL) {
        return;
    }
    struct open_text *text = &p->texts[--p->depth];
    bool layout = p->node->children != NULL && all_space(text->bytes, text->len);
    if (text->len > 0 && !layout) {
        const char *copy = xml_doc_text(p->doc, text->bytes, text->len);
        if (copy == NULL) {
            stop_no_memory(p);
            return;
        }
        p->node->text = copy;
    }
    p->node = p->node->parent;
}

static bool grow_text(struct open_text *text, size_t need)
{
    size_t room = text->room > 0 ? text->room : 256;

    while (room < need) {
        room *= 2;
    }
    char *bytes = wiped_realloc(text->bytes, room);
    if (bytes == NULL) {
        return false;
    }
    text->bytes = bytes;
    text->room = room;
    return true;
}

static void XMLCALL on_text(void *user, const XML_Char *bytes, int len)
{
    struct parse *p = user;

    if (p->refused != NULL || p->depth == 0 || len <= 0) {
        return;
    }
    struct open_text *text = &p->texts[p->depth - 1];
    size_t need = text->len + (size_t)len;
    if (need > text->room && !grow_text(text, need)) {
        stop_no_memory(p);
        return;
    }
    memcpy(text->bytes + text->len, bytes, (size_t)len);
    text->len = need;
}

static void XMLCALL on_doctype(void *user, const XML_Char *name, const XML_Char *system, const XML_Char *public,
                               int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    stop(user, "it has a document type declaration, which SOAP does not allow");
}

/* ---- parsing ---- */

static bool feed(XML_Parser parser, const char *bytes, size_t len)
{
    size_t done = 0;

    do {
        size_t piece = len - done < PIECE_BYTES ? len - done : PIECE_BYTES;
        if (XML_Parse(parser, bytes + done, (int)piece, done + piece == len) != XML_STATUS_OK) {
            return false;
        }
        done += piece;
    } while (done < len);
    return true;
}

static VixError parse_error(struct parse *p, struct err *err)
{
    enum XML_Error code = XML_GetErrorCode(p->parser);

    if (p->no_memory || code == XML_ERROR_NO_MEMORY) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for an XML document");
    }
    return err_set(err, VIX_E_INVALID_XML, "not a sound XML document: line %lu, column %lu: %s",
                   XML_GetCurrentLineNumber(p->parser), XML_GetCurrentColumnNumber(p->parser),
                   p->refused != NULL ? p->refused : XML_ErrorString(code));
}

static void parse_end(struct parse *p)
{
    for (unsigned i = 0; i < XML_DEPTH_MAX; i++) {
        wiped_free(p->texts[i].bytes);
    }
    if (p->parser != NULL) {
        XML_ParserFree(p->parser);
    }
    xml_free(p->doc);
}

static VixError parse_into(struct parse *p, const char *bytes, size_t len, struct err *err)
{
    static const XML_Char separator[] = {SEPARATOR, 0};

    p->doc = alloc_zero(sizeof *p->doc, err);
    if (p->doc == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    p->parser = XML_ParserCreate_MM(NULL, &wiped_memory, separator);
    if (p->parser == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for an XML parser");
    }
    XML_SetUserData(p->parser, p);
    XML_SetElementHandler(p->parser, on_start, on_end);
    XML_SetCharacterDataHandler(p->parser, on_text);
    XML_SetStartDoctypeDeclHandler(p->parser, on_doctype);
    if (!feed(p->parser, bytes, len) || p->doc->root == NULL) {
        return parse_error(p, err);
    }
    return VIX_OK;
}

VixError xml_parse(const char *bytes, size_t len, struct xml_doc **ret_doc, struct err *err)
{
    if (len > XML_BYTES_MAX) {
        return err_set(err, VIX_E_INVALID_XML, "an XML document of %zu bytes; at most %u are read", len, XML_BYTES_MAX);
    }
    CLEANUP_FREE struct parse *p = alloc_zero(sizeof *p, err);
    if (p == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = parse_into(p, bytes, len, err);
    if (code == VIX_OK) {
        *ret_doc = TAKE_PTR(p->doc);
    }
    parse_end(p);
    return code;
}

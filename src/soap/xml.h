/* SPDX-License-Identifier: BSD-3-Clause */
/* xml.h - small XML documents as trees, and text of XML piece by piece. The parser is expat, with namespaces; document
 * type declarations, and so entities of their own, are refused. Any thread; a tree belongs to one. */
#ifndef VIXDISK_SOAP_XML_H
#define VIXDISK_SOAP_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define XML_BYTES_MAX (64u << 20) /* limit: bytes of a document: an inventory of thousands of machines */
#define XML_DEPTH_MAX 64u         /* limit: elements of a document within one another */
#define XML_NODES_MAX 2000000u    /* limit: elements of a document */

/** An element. Namespaces of elements are left out; of the attributes only xsi:type and type matter, without prefix. */
struct xml_node {
    const char *name;                          /* local name */
    const char *text;                          /* its own text, all pieces joined; "" if none */
    const char *type;                          /* xsi:type without prefix; NULL */
    const char *type_attr;                     /* attribute type (of a reference to a managed object); NULL */
    struct xml_node *parent, *children, *next; /* children in order */
    struct xml_node *last_child;
};

struct xml_doc;

/** Parses; the tree lives until xml_free. VIX_E_INVALID_XML: not well-formed, or beyond a limit, with line and column.
 */
VixError xml_parse(const char *bytes, size_t len, struct xml_doc **ret_doc, struct err *err);
void xml_free(struct xml_doc *doc); /* wipes the texts: they may be secrets */
const struct xml_node *xml_root(const struct xml_doc *doc);

/** The first child of a name; NULL (also for node NULL). */
const struct xml_node *xml_child(const struct xml_node *node, const char *name);
/** The next sibling of the same name; NULL. */
const struct xml_node *xml_next(const struct xml_node *node);
/** Follows "a/b/c"; NULL. */
const struct xml_node *xml_path(const struct xml_node *node, const char *path);
/** Text at a path; NULL if it is not there. */
const char *xml_text(const struct xml_node *node, const char *path);
/** A number at a path; false if it is not there or none. */
bool xml_number(const struct xml_node *node, const char *path, uint64_t *ret_value);
/** The same of a number that may be negative. */
bool xml_int32(const struct xml_node *node, const char *path, int32_t *ret_value);
/** Text at a path is "true" or "1". */
bool xml_bool(const struct xml_node *node, const char *path);

/** Text being written; a failed allocation is remembered and told by xml_done. */
struct xml_text {
    char *bytes;
    size_t len, room;
    bool failed;
};

/** Appends as it is. */
void xml_raw(struct xml_text *x, const char *text);
/** Appends with & < > " ' replaced, and what XML does not allow left out. */
void xml_escaped(struct xml_text *x, const char *text);
/** <name>escaped</name>; nothing for text NULL. */
void xml_element(struct xml_text *x, const char *name, const char *text);
void xml_element_number(struct xml_text *x, const char *name, uint64_t value);
void xml_element_bool(struct xml_text *x, const char *name, bool value);
/** <name type="T">value</name>, a reference. */
void xml_reference(struct xml_text *x, const char *name, const char *type, const char *value);
/** The text, the caller's now, to be wiped by xml_text_free. VIX_E_OUT_OF_MEMORY. */
VixError xml_done(struct xml_text *x, struct err *err);
void xml_text_free(struct xml_text *x); /* wipes */

#endif

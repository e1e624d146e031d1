/* SPDX-License-Identifier: BSD-3-Clause */
/* xml_tree.h - how a parsed document lies in memory: nodes and texts in blocks that are wiped and freed together. For
 * src/soap only. */
#ifndef VIXDISK_SOAP_XML_TREE_H
#define VIXDISK_SOAP_XML_TREE_H

#include "soap/xml.h"

struct xml_block {
    struct xml_block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

struct xml_doc {
    struct xml_block *blocks; /* the one that is being filled first */
    struct xml_node *root;
};

/** len bytes of zeros that live as long as the document; NULL: no memory. */
void *xml_doc_room(struct xml_doc *doc, size_t len);

/** A copy of len bytes of text that lives as long as the document; NULL: no memory. */
char *xml_doc_text(struct xml_doc *doc, const char *text, size_t len);

#endif

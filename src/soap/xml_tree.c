/* SPDX-License-Identifier: BSD-3-Clause */
/* xml_tree.c - memory of parsed documents, and the questions that are asked of their trees. */
#include "soap/xml_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define BLOCK_BYTES (64u << 10)

static struct xml_block *new_block(struct xml_doc *doc, size_t len)
{
    size_t size = len > BLOCK_BYTES ? len : BLOCK_BYTES;
    struct xml_block *block = calloc(1, sizeof *block + size);

    if (block != NULL) {
        block->size = size;
        block->next = doc->blocks;
        doc->blocks = block;
    }
    return block;
}

void *xml_doc_room(struct xml_doc *doc, size_t len)
{
    struct xml_block *block = doc->blocks;

    len = (len + 15) & ~(size_t)15;
    if (block == NULL || block->size - block->used < len) {
        block = new_block(doc, len);
        if (block == NULL) {
            return NULL;
        }
    }
    char *room = block->bytes + block->used;
    block->used += len;
    return room;
}

char *xml_doc_text(struct xml_doc *doc, const char *text, size_t len)
{
    char *copy = xml_doc_room(doc, len + 1);

    if (copy != NULL) {
        memcpy(copy, text, len);
    }
    return copy;
}

void xml_free(struct xml_doc *doc)
{
    if (doc == NULL) {
        return;
    }
    for (struct xml_block *block = doc->blocks; block != NULL;) {
        struct xml_block *next = block->next;
        explicit_bzero(block->bytes, block->used);
        free(block);
        block = next;
    }
    free(doc);
}

const struct xml_node *xml_root(const struct xml_doc *doc)
{
    return doc->root;
}

/* The first node of a list whose name is the len bytes at name. */
static const struct xml_node *named(const struct xml_node *node, const char *name, size_t len)
{
    while (node != NULL && (strncmp(node->name, name, len) != 0 || node->name[len] != '\0')) {
        node = node->next;
    }
    return node;
}

const struct xml_node *xml_child(const struct xml_node *node, const char *name)
{
    return node != NULL ? named(node->children, name, strlen(name)) : NULL;
}

const struct xml_node *xml_next(const struct xml_node *node)
{
    return node != NULL ? named(node->next, node->name, strlen(node->name)) : NULL;
}

const struct xml_node *xml_path(const struct xml_node *node, const char *path)
{
    while (node != NULL && *path != '\0') {
        size_t len = strcspn(path, "/");
        node = named(node->children, path, len);
        path += len + (path[len] == '/');
    }
    return node;
}

const char *xml_text(const struct xml_node *node, const char *path)
{
    const struct xml_node *found = xml_path(node, path);
    return found != NULL ? found->text : NULL;
}

bool xml_number(const struct xml_node *node, const char *path, uint64_t *ret_value)
{
    const char *text = xml_text(node, path);
    return text != NULL && text_to_u64(text, ret_value);
}

bool xml_int32(const struct xml_node *node, const char *path, int32_t *ret_value)
{
    const char *text = xml_text(node, path);
    char *end;

    if (text == NULL || text[0] == '\0') {
        return false;
    }
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < INT32_MIN || value > INT32_MAX) {
        return false;
    }
    *ret_value = (int32_t)value;
    return true;
}

bool xml_bool(const struct xml_node *node, const char *path)
{
    const char *text = xml_text(node, path);
    size_t len;

    if (text == NULL) {
        return false;
    }
    text = text_trim(text, strlen(text), &len);
    return (len == 4 && memcmp(text, "true", 4) == 0) || (len == 1 && *text == '1');
}

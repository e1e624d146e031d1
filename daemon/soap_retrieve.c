/* SPDX-License-Identifier: BSD-3-Clause */
/* The property collector: from objects that are named, along traversals, to properties. A long listing is given in
 * parts: what was asked for is kept with the session, and gone through again from the beginning for each part, so that
 * nothing large is kept. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/soap_int.h"

#define SPECS_MAX 31u /* limit: traversals of one set of objects: bits of a mask beside that of the object itself */
#define FOUND (UINT32_C(1) << 31)
#define PART_MAX 500u /* limit: objects of one answer, whatever is asked for */

/** A walk from one object. */
struct walk {
    struct call *c;
    const struct xml_node *specs[SPECS_MAX]; /* <selectSet> of type TraversalSpec */
    size_t spec_count;
    uint32_t *seen; /* by object_index: specs that were followed to it, FOUND */
    size_t seen_count;
    struct objects *found;
};

/* ---- traversals ---- */

static bool is_traversal(const struct xml_node *select)
{
    return select->type != NULL && strcmp(select->type, "TraversalSpec") == 0;
}

static void collect_specs(struct walk *w, const struct xml_node *node)
{
    for (const struct xml_node *s = xml_child(node, "selectSet"); s != NULL; s = xml_next(s)) {
        if (!is_traversal(s)) {
            continue;
        }
        if (w->spec_count == SPECS_MAX) {
            call_fault(w->c, "InvalidArgument", "more than %u traversals", SPECS_MAX);
            return;
        }
        w->specs[w->spec_count++] = s;
        collect_specs(w, s);
    }
}

/** The traversal that a selection is, or names; spec_count: there is none. */
static size_t spec_of(const struct walk *w, const struct xml_node *select)
{
    const char *name = xml_text(select, "name");

    for (size_t i = 0; i < w->spec_count; i++) {
        const char *own = xml_text(w->specs[i], "name");
        if (w->specs[i] == select || (!is_traversal(select) && name != NULL && own != NULL && strcmp(name, own) == 0)) {
            return i;
        }
    }
    return w->spec_count;
}

/** Sets bits of an object; true if they were not set. */
static bool mark(struct walk *w, const struct object *o, uint32_t bit)
{
    size_t index = object_index(w->c, o);

    if (index >= w->seen_count) {
        return true; /* nothing refers to it: it comes once */
    }
    bool is_new = (w->seen[index] & bit) == 0;
    w->seen[index] |= bit;
    return is_new;
}

static void take(struct walk *w, const struct object *o)
{
    if (mark(w, o, FOUND)) {
        size_t before = w->found->count;
        objects_add(w->found, o->type, o->value);
        if (w->found->count > before) {
            w->found->list[before] = *o;
        }
    }
}

static void follow_all(struct walk *w, const struct object *o, const struct xml_node *node);

static void follow(struct walk *w, const struct object *o, size_t spec)
{
    const struct xml_node *s = w->specs[spec];
    const char *type = xml_text(s, "type");
    const char *path = xml_text(s, "path");
    struct objects next = {0};

    if (type == NULL || path == NULL || !object_is_a(o->type, type)) {
        return;
    }
    (void)object_references(w->c, o, path, &next);
    for (size_t i = 0; i < next.count; i++) {
        if (mark(w, &next.list[i], UINT32_C(1) << spec)) {
            if (!xml_bool(s, "skip")) {
                take(w, &next.list[i]);
            }
            follow_all(w, &next.list[i], s);
        }
    }
    w->found->failed = w->found->failed || next.failed;
    objects_done(&next);
}

static void follow_all(struct walk *w, const struct object *o, const struct xml_node *node)
{
    for (const struct xml_node *s = xml_child(node, "selectSet"); s != NULL; s = xml_next(s)) {
        size_t spec = spec_of(w, s);
        if (spec < w->spec_count) {
            follow(w, o, spec);
        }
    }
}

/** The objects of one <objectSet>. */
static void walk_set(struct call *c, const struct xml_node *set, struct objects *found)
{
    const struct xml_node *obj = xml_child(set, "obj");
    const char *type = obj != NULL && obj->type_attr != NULL ? obj->type_attr : "";
    struct walk w = {.c = c, .found = found};
    struct object o;

    if (obj == NULL || !object_find(c, type, obj->text, &o)) {
        call_no_object(c, type, obj != NULL ? obj->text : "");
        return;
    }
    collect_specs(&w, set);
    if (w.spec_count > 0 && call_inventory(c) == NULL) {
        return;
    }
    w.seen_count = object_index_count(c);
    CLEANUP_FREE uint32_t *seen = alloc_array(w.seen_count, sizeof *seen, NULL);
    w.seen = seen;
    if (seen == NULL) {
        found->failed = true;
    } else if (c->fault[0] == '\0') {
        if (!xml_bool(set, "skip")) {
            take(&w, &o);
        }
        follow_all(&w, &o, set);
    }
}

/* ---- answers ---- */

static const struct xml_node *prop_set_of(const struct xml_node *spec_set, const char *type)
{
    for (const struct xml_node *p = xml_child(spec_set, "propSet"); p != NULL; p = xml_next(p)) {
        const char *wanted = xml_text(p, "type");
        if (wanted != NULL && object_is_a(type, wanted)) {
            return p;
        }
    }
    return NULL;
}

static void put_object(struct call *c, const struct object *o, const struct xml_node *spec_set, const char *element)
{
    struct xml_text *x = &c->out;

    xml_raw(x, "<");
    xml_raw(x, element);
    xml_raw(x, ">");
    xml_reference(x, "obj", o->type, o->value);
    for (const struct xml_node *p = xml_child(spec_set, "propSet"); p != NULL; p = xml_next(p)) {
        const char *wanted = xml_text(p, "type");
        if (wanted == NULL || !object_is_a(o->type, wanted)) {
            continue;
        }
        if (xml_bool(p, "all")) {
            object_put_all(c, o, x);
        }
        for (const struct xml_node *path = xml_child(p, "pathSet"); path != NULL; path = xml_next(path)) {
            object_put(c, o, path->text, x);
        }
    }
    xml_raw(x, "</");
    xml_raw(x, element);
    xml_raw(x, ">");
}

/** Answers with the objects from first on, max at most. @method: the element that holds the specSet. Returns the index
 * to go on at, or 0 at the end. */
static size_t retrieve(struct call *c, const struct xml_node *method, const char *element, size_t first, size_t max)
{
    size_t index = 0;

    for (const struct xml_node *spec = xml_child(method, "specSet"); spec != NULL; spec = xml_next(spec)) {
        struct objects found = {0};
        for (const struct xml_node *set = xml_child(spec, "objectSet"); set != NULL; set = xml_next(set)) {
            walk_set(c, set, &found);
        }
        c->out.failed = c->out.failed || found.failed;
        for (size_t i = 0; i < found.count && c->fault[0] == '\0'; i++) {
            if (prop_set_of(spec, found.list[i].type) == NULL) {
                continue;
            }
            if (index >= first && index - first >= max) {
                objects_done(&found);
                return index;
            }
            if (index >= first) {
                put_object(c, &found.list[i], spec, element);
            }
            index++;
        }
        objects_done(&found);
    }
    return 0;
}

void call_retrieve_properties(struct call *c)
{
    (void)retrieve(c, c->soap.node, "returnval", 0, SIZE_MAX);
}

/** One part, and the token for the next. @body: what asked for it in the beginning. */
static void retrieve_part(struct call *c, const struct xml_node *method, const char *body, size_t body_len,
                          size_t first)
{
    uint64_t max = 0;
    unsigned number = 0;
    char token[16];

    if (!xml_number(method, "options/maxObjects", &max) || max == 0 || max > PART_MAX) {
        max = PART_MAX;
    }
    if (body_len > SESSION_LISTING_BYTES) {
        max = SIZE_MAX; /* cannot be kept: all at once */
    }
    xml_raw(&c->out, "<returnval>");
    size_t before = c->out.len;
    size_t next = retrieve(c, method, "objects", first, (size_t)max);
    if (next != 0 && session_add_listing(c->host->sessions, c->session.token, body, body_len, next, &number)) {
        /* base type first: the token stands in front of the objects */
        (void)snprintf(token, sizeof token, "%u", number);
        struct xml_text objects = c->out;
        c->out = (struct xml_text){0};
        xml_raw(&c->out, "<returnval>");
        xml_element(&c->out, "token", token);
        xml_raw(&c->out, objects.bytes != NULL ? objects.bytes + before : "");
        c->out.failed = c->out.failed || objects.failed;
        xml_text_free(&objects);
    }
    if (c->out.len > before) {
        xml_raw(&c->out, "</returnval>");
    } else {
        xml_text_free(&c->out); /* nothing found: no value at all */
    }
}

void call_retrieve_properties_ex(struct call *c)
{
    retrieve_part(c, c->soap.node, c->body, c->body_len, 0);
}

void call_continue_retrieve(struct call *c)
{
    uint64_t number = 0;
    char *text = NULL;
    size_t len = 0, next = 0;
    struct xml_doc *doc = NULL;
    struct soap_call first;

    if (!xml_number(c->soap.node, "token", &number) || number > UINT32_MAX ||
        !session_take_listing(c->host->sessions, c->session.token, (unsigned)number, &text, &len, &next)) {
        call_fault(c, "InvalidArgument", "A specified parameter was not correct: token");
        return;
    }
    CLEANUP_FREE char *body = text;
    if (xml_parse(body, len, &doc, NULL) != VIX_OK || soap_read_call(doc, &first, NULL) != VIX_OK) {
        c->out.failed = true;
    } else {
        retrieve_part(c, first.node, body, len, next);
    }
    xml_free(doc);
}

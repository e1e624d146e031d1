/* SPDX-License-Identifier: BSD-3-Clause */
/* version.c - the document /sdk/vimServiceVersions.xml. */
#include "vim/version.h"

#include <stdint.h>
#include <string.h>

#include "soap/soap.h"

#define PARTS 4
#define MAJOR_MAX 8 /* own: what this client speaks */

struct version {
    uint32_t parts[PARTS];
};

/* One to four numbers with dots between them, "8.0.1.0". */
static bool parse_version(const char *text, struct version *ret_version)
{
    struct version v = {{0}};

    if (strlen(text) >= VIM_VERSION_MAX) {
        return false;
    }
    for (unsigned i = 0; i < PARTS; i++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        for (; *text >= '0' && *text <= '9'; text++) {
            v.parts[i] = v.parts[i] * 10 + (uint32_t)(*text - '0');
            if (v.parts[i] > 1000000) {
                return false;
            }
        }
        if (*text == '\0') {
            *ret_version = v;
            return true;
        }
        if (*text++ != '.') {
            return false;
        }
    }
    return false;
}

static int compare(const struct version *a, const struct version *b)
{
    for (unsigned i = 0; i < PARTS; i++) {
        if (a->parts[i] != b->parts[i]) {
            return a->parts[i] < b->parts[i] ? -1 : 1;
        }
    }
    return 0;
}

/* Takes the versions of a list of elements into account. */
static void look_at(const struct xml_node *node, struct version *best, const char **best_text)
{
    struct version v;

    for (; node != NULL; node = xml_next(node)) {
        if (parse_version(node->text, &v) && v.parts[0] <= MAJOR_MAX && (*best_text == NULL || compare(&v, best) > 0)) {
            *best = v;
            *best_text = node->text;
        }
    }
}

bool vim_version_choose(const char *bytes, size_t len, char ret_version[VIM_VERSION_MAX])
{
    struct xml_doc *doc;
    struct version best;
    const char *text = NULL;

    if (xml_parse(bytes, len, &doc, NULL) != VIX_OK) {
        return false;
    }
    for (const struct xml_node *n = xml_child(xml_root(doc), "namespace"); n != NULL; n = xml_next(n)) {
        const char *name = xml_text(n, "name");
        if (name != NULL && strcmp(name, SOAP_VIM_NAMESPACE) == 0) {
            look_at(xml_child(n, "version"), &best, &text);
            look_at(xml_path(n, "priorVersions/version"), &best, &text);
        }
    }
    if (text != NULL) {
        memcpy(ret_version, text, strlen(text) + 1);
    }
    xml_free(doc);
    return text != NULL;
}

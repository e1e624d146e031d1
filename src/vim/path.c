/* SPDX-License-Identifier: BSD-3-Clause */
/* path.c - names: datastore paths "[ds] dir/x.vmdk", and names of the inventory. Pure functions. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "vim/vim_int.h"

/* Runs of / become one; none in front. */
static void fold_slashes(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '/' || (to > text && to[-1] != '/')) {
            *to++ = *from;
        }
    }
    *to = '\0';
}

VixError vim_path_parse(const char *text, struct vim_path *ret_path, struct err *err)
{
    struct vim_path path;
    const char *end = text[0] == '[' ? strchr(text, ']') : NULL;

    if (end == NULL || end == text + 1) {
        return err_set(err, VIX_E_FILE_NAME_INVALID,
                       "%.300s: not the path of a file on a datastore, as \"[ds] dir/x\" is", text);
    }
    const char *file = end + 1;
    file += strspn(file, " ");
    path.datastore = alloc_text_n(text + 1, (size_t)(end - text - 1), err);
    path.file = alloc_text(file, err);
    if (path.datastore == NULL || path.file == NULL) {
        vim_path_free(&path);
        return VIX_E_OUT_OF_MEMORY;
    }
    fold_slashes(path.file);
    *ret_path = path;
    return VIX_OK;
}

void vim_path_free(struct vim_path *path)
{
    free(path->datastore);
    free(path->file);
    *path = (struct vim_path){0};
}

bool vim_copy_name(const char *text, char **ret_copy, struct err *err)
{
    static const struct {
        const char *escape;
        char c;
    } escapes[] = {{"%2f", '/'}, {"%2F", '/'}, {"%5c", '\\'}, {"%5C", '\\'}, {"%25", '%'}};

    if (!vim_copy_text(text, ret_copy, err) || text == NULL) {
        return text == NULL;
    }
    char *to = *ret_copy;
    for (const char *from = text; *from != '\0';) {
        char c = *from;
        size_t len = 1;
        for (size_t i = 0; i < sizeof escapes / sizeof escapes[0] && c == '%' && len == 1; i++) {
            if (strncmp(from, escapes[i].escape, 3) == 0) {
                *to = escapes[i].c;
                len = 3;
            }
        }
        if (len == 1) {
            *to = c;
        }
        to++;
        from += len;
    }
    *to = '\0';
    return true;
}

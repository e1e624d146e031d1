/* SPDX-License-Identifier: BSD-3-Clause */
/* Paths as text: '/' parts components, nothing is looked up, ".." has no meaning here. Pure functions. */
#include <string.h>

#include "base/alloc.h"
#include "store/store.h"

const char *store_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

char *store_path_beside(const char *path, const char *name, struct err *err)
{
    if (name[0] == '/') {
        return alloc_text(name, err);
    }
    return alloc_printf(err, "%.*s%s", (int)(store_path_base(path) - path), path, name);
}

char *store_path_folder(const char *path, struct err *err)
{
    size_t len = (size_t)(store_path_base(path) - path);

    if (len == 0) {
        return alloc_text(".", err);
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    return alloc_text_n(path, len, err);
}

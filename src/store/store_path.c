/* SPDX-License-Identifier: BSD-3-Clause */
/* Paths as text: '/' parts components, nothing is looked up, ".." has no meaning here. Pure functions. */
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
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

/** Whether text begins with a mark and a number of that many digits, as temporary names have them; what follows. */
static const char *after_mark(const char *text, const char *mark, size_t digits)
{
    size_t len = strlen(mark);

    if (strncmp(text, mark, len) != 0 || strspn(text + len, "0123456789abcdef") != digits) {
        return NULL;
    }
    return text + len + digits;
}

bool store_path_is_temporary(const char *path)
{
    for (const char *dot = strchr(store_path_base(path), '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        const char *tail = after_mark(dot, ".tmp-", 6);
        if (tail != NULL && *tail == '\0') {
            return true;
        }
        tail = after_mark(dot, ".part-", 8);
        if (tail != NULL && (*tail == '\0' || text_equal_nocase(tail, ".vmdk"))) {
            return true;
        }
    }
    return false;
}

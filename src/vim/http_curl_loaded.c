/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl_loaded.c - libcurl as the shared library of the machine. It stays loaded, as this library does: its threads
 * and its exit handlers may run late. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "vim/http_curl.h"

#define LIBRARY "libcurl.so.4"

static const struct {
    const char *name;
    size_t place; /* of its pointer in struct curl_api */
} symbols[] = {
    {"curl_global_init_mem", offsetof(struct curl_api, global_init_mem)},
    {"curl_easy_init", offsetof(struct curl_api, init)},
    {"curl_easy_setopt", offsetof(struct curl_api, setopt)},
    {"curl_easy_getinfo", offsetof(struct curl_api, getinfo)},
    {"curl_easy_perform", offsetof(struct curl_api, perform)},
    {"curl_easy_cleanup", offsetof(struct curl_api, cleanup)},
    {"curl_easy_strerror", offsetof(struct curl_api, describe)},
    {"curl_slist_append", offsetof(struct curl_api, slist_append)},
    {"curl_slist_free_all", offsetof(struct curl_api, slist_free_all)},
};

static bool fail(char *reason, size_t size)
{
    const char *text = dlerror();

    (void)snprintf(reason, size, "%s", text != NULL ? text : "unknown reason");
    return false;
}

bool curl_find(struct curl_api *ret_api, char *reason, size_t size)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (library == NULL) {
        return fail(reason, size);
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *function = dlsym(library, symbols[i].name);
        if (function == NULL) {
            return fail(reason, size);
        }
        memcpy((char *)ret_api + symbols[i].place, &function, sizeof function);
    }
    return true;
}

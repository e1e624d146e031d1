/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl.c - finds libcurl. It stays loaded, as this library does: its threads and its exit handlers may run late.
 */
#include "vim/http_curl.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_api api;
static char missing[256]; /* why there is none; "": it is there */

static const struct {
    const char *name;
    void **place;
} symbols[] = {
    {"curl_global_init_mem", (void **)&api.global_init_mem},
    {"curl_easy_init", (void **)&api.init},
    {"curl_easy_setopt", (void **)&api.setopt},
    {"curl_easy_getinfo", (void **)&api.getinfo},
    {"curl_easy_perform", (void **)&api.perform},
    {"curl_easy_cleanup", (void **)&api.cleanup},
    {"curl_easy_strerror", (void **)&api.describe},
    {"curl_slist_append", (void **)&api.slist_append},
    {"curl_slist_free_all", (void **)&api.slist_free_all},
};

static void note_failure(const char *reason)
{
    (void)snprintf(missing, sizeof missing, "%s", reason != NULL ? reason : "unknown reason");
}

/* ---- memory ----
 * Cookies and the answers to logins pass through buffers of libcurl, which frees them as they are. So it gets functions
 * that wipe what they free. They are the usual ones otherwise, for a program that uses the same libcurl. */

static void wipe_and_free(void *memory)
{
    if (memory != NULL) {
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
    }
}

static void *wipe_and_resize(void *memory, size_t size)
{
    size_t old = memory != NULL ? malloc_usable_size(memory) : 0;

    if (size <= old && size > old / 2) {
        return memory;
    }
    void *larger = malloc(size);
    if (larger != NULL && memory != NULL) {
        memcpy(larger, memory, old < size ? old : size);
        wipe_and_free(memory);
    }
    return larger;
}

static void load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (library == NULL) {
        note_failure(dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        *symbols[i].place = dlsym(library, symbols[i].name);
        if (*symbols[i].place == NULL) {
            note_failure(dlerror());
            return;
        }
    }
    CURLcode code = api.global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, wipe_and_resize, strdup, calloc);
    if (code != CURLE_OK) {
        note_failure(api.describe(code));
    }
}

VixError curl_load(const struct curl_api **ret_api, struct err *err)
{
    (void)pthread_once(&once, load);
    if (missing[0] != '\0') {
        return err_set(err, VIX_E_NOT_SUPPORTED, "servers are talked to with libcurl, which does not start: %s",
                       missing);
    }
    *ret_api = &api;
    return VIX_OK;
}

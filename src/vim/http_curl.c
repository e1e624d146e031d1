/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl.c - makes libcurl ready, once for the process. */
#include "vim/http_curl.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_api api;
static char missing[256]; /* why there is none; "": it is there */

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

static void start(void)
{
    if (!curl_find(&api, missing, sizeof missing)) {
        return;
    }
    CURLcode code = api.global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, wipe_and_resize, strdup, calloc);
    if (code != CURLE_OK) {
        (void)snprintf(missing, sizeof missing, "%s", api.describe(code));
    }
}

VixError curl_load(const struct curl_api **ret_api, struct err *err)
{
    (void)pthread_once(&once, start);
    if (missing[0] != '\0') {
        return err_set(err, VIX_E_NOT_SUPPORTED, "servers are talked to with libcurl, which does not start: %s",
                       missing);
    }
    *ret_api = &api;
    return VIX_OK;
}

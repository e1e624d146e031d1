/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl.c - makes libcurl ready, once for the process. */
#include "vim/http_curl.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static struct curl_api api;
static bool is_started;

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

static VixError start(struct err *err)
{
    char missing[256];

    if (!curl_find(&api, missing, sizeof missing)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "servers are talked to with libcurl, which cannot be loaded: %s",
                       missing);
    }
    CURLcode code = api.global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, wipe_and_resize, strdup, calloc);
    if (code != CURLE_OK) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "servers are talked to with libcurl, which does not start: %s",
                       api.describe(code));
    }
    return VIX_OK;
}

VixError curl_load(const struct curl_api **ret_api, struct err *err)
{
    SCOPED_LOCK(&start_lock);
    VixError code = is_started ? VIX_OK : start(err); /* what fails for want of memory may go well the next time */

    if (code == VIX_OK) {
        is_started = true;
        *ret_api = &api;
    }
    return code;
}

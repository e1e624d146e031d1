/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl.h - libcurl. Where it is a shared library it is loaded when the first server is talked to: with what it
 * brings along it takes about 4 ms and 2 MiB, twenty times of what all else of a start costs, and most programs only
 * open local disks. In the tree that travels it is linked. Inside http.c. Any thread. */
#ifndef VIXDISK_VIM_HTTP_CURL_H
#define VIXDISK_VIM_HTTP_CURL_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/err.h"

/** The functions of libcurl that are used. */
struct curl_api {
    CURLcode (*global_init_mem)(long flags, curl_malloc_callback m, curl_free_callback f, curl_realloc_callback r,
                                curl_strdup_callback s, curl_calloc_callback c);
    CURL *(*init)(void);
    CURLcode (*setopt)(CURL *curl, CURLoption option, ...);
    CURLcode (*getinfo)(CURL *curl, CURLINFO info, ...);
    CURLcode (*perform)(CURL *curl);
    void (*cleanup)(CURL *curl);
    const char *(*describe)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

/** Makes libcurl ready, the first time that it goes well. VIX_E_NOT_SUPPORTED where it is not there. */
VixError curl_load(const struct curl_api **ret_api, struct err *err);

/** The functions, from where this build has them: http_curl_loaded.c or http_curl_linked.c. Only called by curl_load,
 * one thread at a time. False if they are not there; @reason (of @size bytes) then says why. */
bool curl_find(struct curl_api *ret_api, char *reason, size_t size);

#endif

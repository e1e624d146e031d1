/* SPDX-License-Identifier: BSD-3-Clause */
/* http_curl_linked.c - libcurl as a part of this library. */
#include "vim/http_curl.h"

/* Macros of curl.h that check the types of arguments, and take the place of the names. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

bool curl_find(struct curl_api *ret_api, char *reason, size_t size)
{
    (void)reason;
    (void)size;
    *ret_api = (struct curl_api){
        .global_init_mem = curl_global_init_mem,
        .init = curl_easy_init,
        .setopt = curl_easy_setopt,
        .getinfo = curl_easy_getinfo,
        .perform = curl_easy_perform,
        .cleanup = curl_easy_cleanup,
        .describe = curl_easy_strerror,
        .slist_append = curl_slist_append,
        .slist_free_all = curl_slist_free_all,
    };
    return true;
}

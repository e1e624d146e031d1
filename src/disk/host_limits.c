/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk/host_limits.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"

static pthread_mutex_t hosts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct host_limits *hosts; /* only grows */

VixError host_limits_of(const char *host, struct host_limits **ret_limits, struct err *err)
{
    SCOPED_LOCK(&hosts_lock);
    for (struct host_limits *l = hosts; l != NULL; l = l->next) {
        if (strcmp(l->host, host) == 0) {
            *ret_limits = l;
            return VIX_OK;
        }
    }
    size_t size = strlen(host) + 1;
    struct host_limits *l = alloc_zero(sizeof *l + size, err);
    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memcpy(l->host, host, size);
    atomic_init(&l->request_max, UINT32_MAX);
    atomic_init(&l->depth, UINT32_MAX);
    l->next = hosts;
    hosts = l;
    *ret_limits = l;
    return VIX_OK;
}

bool host_limits_shrink(struct host_limits *l, uint32_t len, unsigned depth, unsigned epoch)
{
    bool first;
    {
        SCOPED_LOCK(&hosts_lock);
        if (atomic_load(&l->epoch) != epoch) {
            return true;
        }
        first = epoch == 0;
        if (len > HOST_REQUEST_MIN) {
            uint32_t half = len / 2 / HOST_REQUEST_MIN * HOST_REQUEST_MIN;
            atomic_store(&l->request_max, half > HOST_REQUEST_MIN ? half : HOST_REQUEST_MIN);
        } else if (depth > 1) {
            atomic_store(&l->request_max, HOST_REQUEST_MIN);
            atomic_store(&l->depth, depth / 2);
        } else {
            return false;
        }
        atomic_store(&l->epoch, epoch + 1);
    }
    if (first) {
        log_news("%s: the host is short of memory for NFC and refused a request of %" PRIu32
                 " bytes: smaller and fewer ones are made from now on",
                 l->host, len);
    }
    return true;
}

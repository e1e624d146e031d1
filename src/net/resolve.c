/* SPDX-License-Identifier: BSD-3-Clause */
/* resolve.c - names to addresses. The system's resolver cannot be told when to stop, so it runs on a thread of its own
 * that is left behind when time is up; addresses in digits need no thread. Any thread. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "net/net_int.h"

#define RESOLVE_STACK ((size_t)1 << 20) /* modules of the name service are hungry */

/** One question, held by the thread that asks and the thread that looks. */
struct lookup {
    atomic_uint holders;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *host;
    char service[8];
    bool done;
    int result;
    struct addrinfo *addresses;
};

static void lookup_put(struct lookup *l)
{
    if (atomic_fetch_sub(&l->holders, 1) != 1) {
        return;
    }
    if (l->addresses != NULL) {
        freeaddrinfo(l->addresses);
    }
    (void)pthread_cond_destroy(&l->changed);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->host);
    free(l);
}

static struct lookup *lookup_new(const char *host, const char *service, struct err *err)
{
    struct lookup *l = alloc_zero(sizeof *l, err);
    pthread_condattr_t attr;

    if (l == NULL) {
        return NULL;
    }
    l->host = alloc_text(host, err);
    if (l->host == NULL) {
        free(l);
        return NULL;
    }
    (void)snprintf(l->service, sizeof l->service, "%s", service);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&l->lock, NULL);
    atomic_init(&l->holders, 2);
    return l;
}

static int ask(const char *host, const char *service, int flags, struct addrinfo **ret_addresses)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};

    return getaddrinfo(host, service, &hints, ret_addresses);
}

static void *run_lookup(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo *addresses = NULL;
    int result = ask(l->host, l->service, AI_ADDRCONFIG, &addresses);

    (void)pthread_mutex_lock(&l->lock);
    l->result = result;
    l->addresses = result == 0 ? addresses : NULL;
    l->done = true;
    (void)pthread_cond_broadcast(&l->changed);
    (void)pthread_mutex_unlock(&l->lock);
    lookup_put(l);
    return NULL;
}

/** A detached thread to which no signal of the program is delivered. 0 or an errno. */
static int start_thread(struct lookup *l)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;

    (void)sigfillset(&all);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, RESOLVE_STACK);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int fault = pthread_create(&thread, &attr, run_lookup, l);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return fault;
}

/** Waits until the lookup is done; false: time is up. Takes the addresses out. */
static bool wait_done(struct lookup *l, uint64_t deadline_ns, int *ret_result, struct addrinfo **ret_addresses)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline_ns / UINT64_C(1000000000)),
                                   .tv_nsec = (long)(deadline_ns % UINT64_C(1000000000))};
    SCOPED_LOCK(&l->lock);

    while (!l->done) {
        if (deadline_ns == 0) {
            (void)pthread_cond_wait(&l->changed, &l->lock);
        } else if (pthread_cond_timedwait(&l->changed, &l->lock, &until) == ETIMEDOUT && !l->done) {
            return false;
        }
    }
    *ret_result = l->result;
    *ret_addresses = TAKE_PTR(l->addresses);
    return true;
}

VixError net_resolve(const char *host, uint16_t port, uint64_t deadline_ns, const char *peer,
                     struct addrinfo **ret_addresses, struct err *err)
{
    char service[8];
    int result = 0;

    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    if (ask(host, service, AI_NUMERICHOST, ret_addresses) == 0) {
        return VIX_OK;
    }
    struct lookup *l = lookup_new(host, service, err);
    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    int fault = start_thread(l);
    if (fault != 0) {
        lookup_put(l);
        lookup_put(l);
        return err_set_errno(err, fault, "%s: no thread to look the name up", peer);
    }
    bool done = wait_done(l, deadline_ns, &result, ret_addresses);
    lookup_put(l);
    if (!done) {
        return err_set(err, VIX_E_HOST_TCP_SOCKET_ERROR, "%s: the name service has not answered in time", peer);
    }
    if (result != 0) {
        return err_set(err, VIX_E_HOST_SERVER_NOT_FOUND, "%s: host name not found: %s", peer, gai_strerror(result));
    }
    return VIX_OK;
}

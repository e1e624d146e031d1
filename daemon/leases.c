/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/leases.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/sessions.h"

struct held {
    unsigned number; /* 0: the slot is free */
    uint64_t until_ms;
    char token[SESSION_TOKEN_LEN + 1];
    const struct datastore *ds;
    char *path;
};

struct leases {
    pthread_mutex_t lock;
    uint64_t life_ms;
    unsigned last;
    struct held slots[LEASES_MAX];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void free_slot(struct held *h)
{
    free(h->path);
    explicit_bzero(h, sizeof *h);
}

VixError leases_new(uint64_t life_ms, struct leases **ret_leases, struct err *err)
{
    struct leases *l = alloc_zero(sizeof *l, err);

    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&l->lock, NULL);
    l->life_ms = life_ms;
    *ret_leases = l;
    return VIX_OK;
}

void leases_free(struct leases *l)
{
    if (l == NULL) {
        return;
    }
    for (size_t i = 0; i < LEASES_MAX; i++) {
        free_slot(&l->slots[i]);
    }
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/** Of this login; NULL for one that has run out. */
static struct held *find(struct leases *l, const char *token, unsigned number)
{
    for (size_t i = 0; i < LEASES_MAX; i++) {
        struct held *h = &l->slots[i];
        if (number != 0 && h->number == number && strcmp(h->token, token) == 0) {
            return h->until_ms > now_ms() ? h : NULL;
        }
    }
    return NULL;
}

static struct held *free_place(struct leases *l)
{
    for (size_t i = 0; i < LEASES_MAX; i++) {
        if (l->slots[i].number == 0 || l->slots[i].until_ms <= now_ms()) {
            free_slot(&l->slots[i]);
            return &l->slots[i];
        }
    }
    return NULL;
}

VixError lease_add(struct leases *l, const char *token, const struct datastore *ds, const char *path,
                   unsigned *ret_number, struct err *err)
{
    SCOPED_LOCK(&l->lock);
    struct held *h = free_place(l);

    if (h == NULL) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY, "%u leases are held, which is the most", LEASES_MAX);
    }
    h->path = alloc_text(path, err);
    if (h->path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    l->last = l->last == UINT32_MAX ? 1 : l->last + 1;
    h->number = l->last;
    h->ds = ds;
    h->until_ms = now_ms() + l->life_ms;
    (void)snprintf(h->token, sizeof h->token, "%s", token);
    *ret_number = h->number;
    return VIX_OK;
}

bool lease_find(struct leases *l, const char *token, unsigned number, const struct datastore **ret_ds, char **ret_path)
{
    SCOPED_LOCK(&l->lock);
    const struct held *h = find(l, token, number);
    char *path = h != NULL ? alloc_text(h->path, NULL) : NULL;

    if (path == NULL) {
        return false;
    }
    *ret_ds = h->ds;
    *ret_path = path;
    return true;
}

bool lease_renew(struct leases *l, const char *token, unsigned number)
{
    SCOPED_LOCK(&l->lock);
    struct held *h = find(l, token, number);

    if (h != NULL) {
        h->until_ms = now_ms() + l->life_ms;
    }
    return h != NULL;
}

bool lease_renew_all(struct leases *l, const char *token)
{
    SCOPED_LOCK(&l->lock);
    bool all = true;

    for (size_t i = 0; i < LEASES_MAX; i++) {
        struct held *h = &l->slots[i];
        if (h->number == 0 || strcmp(h->token, token) != 0) {
            continue;
        }
        if (h->until_ms > now_ms()) {
            h->until_ms = now_ms() + l->life_ms;
        } else {
            free_slot(h);
            all = false;
        }
    }
    return all;
}

bool lease_end(struct leases *l, const char *token, unsigned number)
{
    SCOPED_LOCK(&l->lock);
    struct held *h = find(l, token, number);

    if (h != NULL) {
        free_slot(h);
    }
    return h != NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Tickets: an array that is gone through whole each time, in a time that does not tell which one fits. */
#include "daemon/tickets.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/users.h"

struct ticket {
    bool used;       /* the slot is */
    uint64_t number; /* in order of issue */
    uint64_t expires_ms;
    char id[TICKET_ID_LEN + 1];
    struct ticket_scope scope;
};

struct tickets {
    pthread_mutex_t lock;
    size_t max;
    uint64_t life_ms;
    uint64_t issued;
    struct ticket slots[];
};

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void ticket_scope_done(struct ticket_scope *scope)
{
    free(scope->moref);
    free(scope->path);
    free(scope->user);
    *scope = (struct ticket_scope){0};
}

static void slot_done(struct ticket *slot)
{
    if (slot->used) {
        ticket_scope_done(&slot->scope);
        explicit_bzero(slot, sizeof *slot);
    }
}

VixError tickets_new(size_t max, uint64_t life_ms, struct tickets **ret_tickets, struct err *err)
{
    struct tickets *t = alloc_zero(sizeof *t + max * sizeof t->slots[0], err);

    if (t == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&t->lock, NULL);
    t->max = max;
    t->life_ms = life_ms;
    *ret_tickets = t;
    return VIX_OK;
}

void tickets_free(struct tickets *t)
{
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < t->max; i++) {
        slot_done(&t->slots[i]);
    }
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/** A free slot, or the oldest one. */
static struct ticket *choose_slot(struct tickets *t, uint64_t now)
{
    struct ticket *oldest = &t->slots[0];

    for (size_t i = 0; i < t->max; i++) {
        if (t->slots[i].used && t->slots[i].expires_ms <= now) {
            slot_done(&t->slots[i]);
        }
        if (!t->slots[i].used) {
            return &t->slots[i];
        }
        if (t->slots[i].number < oldest->number) {
            oldest = &t->slots[i];
        }
    }
    slot_done(oldest);
    return oldest;
}

VixError tickets_add(struct tickets *t, const char *id, struct ticket_scope *scope, struct err *err)
{
    if (strlen(id) != TICKET_ID_LEN) {
        ticket_scope_done(scope);
        return err_set(err, VIX_E_INVALID_ARG, "a ticket of %zu characters, allowed: %u", strlen(id), TICKET_ID_LEN);
    }
    SCOPED_LOCK(&t->lock);
    uint64_t now = now_ms();
    struct ticket *slot = choose_slot(t, now);
    slot->used = true;
    slot->number = ++t->issued;
    slot->expires_ms = now + t->life_ms;
    slot->scope = *scope;
    memcpy(slot->id, id, sizeof slot->id);
    *scope = (struct ticket_scope){0};
    return VIX_OK;
}

VixError tickets_issue(struct tickets *t, struct ticket_scope *scope, char *ret_id, struct err *err)
{
    unsigned char r[16];
    VixError code = random_bytes(r, sizeof r, err);

    if (code != VIX_OK) {
        ticket_scope_done(scope);
        return code;
    }
    (void)snprintf(ret_id, TICKET_ID_LEN + 1, "52%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
    explicit_bzero(r, sizeof r);
    return tickets_add(t, ret_id, scope, err);
}

VixError tickets_take(struct tickets *t, const char *id, struct ticket_scope *ret_scope, struct err *err)
{
    SCOPED_LOCK(&t->lock);
    uint64_t now = now_ms();
    struct ticket *found = NULL;

    for (size_t i = 0; i < t->max; i++) {
        struct ticket *slot = &t->slots[i];
        if (slot->used && texts_are_equal_in_secret(slot->id, id)) {
            found = slot;
        }
    }
    if (found == NULL || found->expires_ms <= now) {
        return err_set(err, VIX_E_HOST_USER_PERMISSIONS, "the ticket is not valid, was used before or has expired");
    }
    *ret_scope = found->scope;
    found->scope = (struct ticket_scope){0};
    slot_done(found);
    return VIX_OK;
}

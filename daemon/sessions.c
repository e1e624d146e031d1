/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions: an array under one lock; the cookie is compared with all of them in a time that does not tell which one is
 * close. */
#include "daemon/sessions.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/users.h"

/** A listing that goes on; number 0: none. */
struct listing {
    unsigned number;
    char *text;
    size_t len, next;
};

struct slot {
    uint64_t last_ms;
    struct session session;
    unsigned last_number; /* of a view, task or listing */
    struct listing listings[SESSION_LISTINGS_MAX];
    struct session_view views[SESSION_VIEWS_MAX];
    struct session_task tasks[SESSION_TASKS_MAX];
};

struct sessions {
    pthread_mutex_t lock;
    size_t max;
    uint64_t idle_ms;
    struct slot **slots; /* NULL: free */
};

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

VixError sessions_new(size_t max, uint64_t idle_ms, struct sessions **ret_sessions, struct err *err)
{
    struct sessions *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->slots = alloc_array(max, sizeof(struct slot *), err);
    if (s->slots == NULL) {
        free(s);
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    s->max = max;
    s->idle_ms = idle_ms;
    *ret_sessions = s;
    return VIX_OK;
}

static void drop(struct slot **slot)
{
    if (*slot != NULL) {
        for (size_t i = 0; i < SESSION_LISTINGS_MAX; i++) {
            free((*slot)->listings[i].text);
        }
        explicit_bzero(*slot, sizeof **slot);
        free(*slot);
        *slot = NULL;
    }
}

void sessions_free(struct sessions *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->max; i++) {
        drop(&s->slots[i]);
    }
    free(s->slots);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/** A client that was killed does not log out: where all sessions are in use, the one that has been silent for longest
 * gives way to a new one, if that is so long. One that wants it back logs in again. */
#define GIVES_WAY_MS 60000u /* limit: ms of silence after which a session gives way where all are in use */

/** A free place, after those that were silent for too long are gone; NULL. */
static struct slot **free_place_locked(struct sessions *s)
{
    uint64_t now = now_ms();
    struct slot **place = NULL, **silent = NULL;

    for (size_t i = 0; i < s->max; i++) {
        if (s->slots[i] != NULL && now - s->slots[i]->last_ms >= s->idle_ms) {
            drop(&s->slots[i]);
        }
        if (s->slots[i] == NULL) {
            place = place != NULL ? place : &s->slots[i];
        } else if (silent == NULL || s->slots[i]->last_ms < (*silent)->last_ms) {
            silent = &s->slots[i];
        }
    }
    if (place == NULL && silent != NULL && now - (*silent)->last_ms >= GIVES_WAY_MS) {
        drop(silent);
        place = silent;
    }
    return place;
}

static void put_hex(char *text, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}

VixError session_begin(struct sessions *s, const struct host_user *user, struct session *ret_session, struct err *err)
{
    unsigned char random[SESSION_TOKEN_LEN / 2 + 16];
    VixError code = random_bytes(random, sizeof random, err);
    struct slot *slot = code == VIX_OK ? alloc_zero(sizeof *slot, err) : NULL;

    if (slot == NULL) {
        return code != VIX_OK ? code : VIX_E_OUT_OF_MEMORY;
    }
    put_hex(slot->session.token, random, SESSION_TOKEN_LEN / 2);
    put_hex(slot->session.key, random + SESSION_TOKEN_LEN / 2, 16);
    explicit_bzero(random, sizeof random);
    slot->session.user = user;
    slot->session.login_time = (int64_t)time(NULL);
    slot->last_ms = now_ms();
    SCOPED_LOCK(&s->lock);
    struct slot **place = free_place_locked(s);
    if (place == NULL) {
        free(slot);
        return err_set(err, VIX_E_OBJECT_IS_BUSY, "%zu sessions are in use, allowed: %zu", s->max, s->max);
    }
    *place = slot;
    *ret_session = slot->session;
    return VIX_OK;
}

static struct slot **find_locked(struct sessions *s, const char *token)
{
    uint64_t now = now_ms();
    struct slot **found = NULL;

    for (size_t i = 0; i < s->max; i++) {
        if (s->slots[i] != NULL && texts_are_equal_in_secret(s->slots[i]->session.token, token)) {
            found = &s->slots[i];
        }
    }
    if (found != NULL && now - (*found)->last_ms >= s->idle_ms) {
        drop(found);
        return NULL;
    }
    return found;
}

bool session_find(struct sessions *s, const char *token, struct session *ret_session)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = find_locked(s, token);

    if (slot == NULL) {
        return false;
    }
    (*slot)->last_ms = now_ms();
    *ret_session = (*slot)->session;
    return true;
}

void session_end(struct sessions *s, const char *token)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = find_locked(s, token);

    if (slot != NULL) {
        drop(slot);
    }
}

bool session_add_view(struct sessions *s, const char *token, struct session_view *view)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = find_locked(s, token);

    if (slot == NULL) {
        return false;
    }
    view->number = ++(*slot)->last_number;
    struct session_view *oldest = &(*slot)->views[0];
    for (size_t i = 0; i < SESSION_VIEWS_MAX; i++) {
        if ((*slot)->views[i].number < oldest->number) { /* 0: free */
            oldest = &(*slot)->views[i];
        }
    }
    *oldest = *view;
    return true;
}

static struct session_view *view_locked(struct sessions *s, const char *token, unsigned number)
{
    struct slot **slot = find_locked(s, token);

    for (size_t i = 0; slot != NULL && number != 0 && i < SESSION_VIEWS_MAX; i++) {
        if ((*slot)->views[i].number == number) {
            return &(*slot)->views[i];
        }
    }
    return NULL;
}

bool session_get_view(struct sessions *s, const char *token, unsigned number, struct session_view *ret_view)
{
    SCOPED_LOCK(&s->lock);
    const struct session_view *view = view_locked(s, token, number);

    if (view != NULL) {
        *ret_view = *view;
    }
    return view != NULL;
}

void session_remove_view(struct sessions *s, const char *token, unsigned number)
{
    SCOPED_LOCK(&s->lock);
    struct session_view *view = view_locked(s, token, number);

    if (view != NULL) {
        *view = (struct session_view){0};
    }
}

bool session_add_task(struct sessions *s, const char *token, struct session_task *task)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = find_locked(s, token);

    if (slot == NULL) {
        return false;
    }
    task->number = ++(*slot)->last_number;
    (*slot)->tasks[task->number % SESSION_TASKS_MAX] = *task;
    return true;
}

bool session_get_task(struct sessions *s, const char *token, unsigned number, struct session_task *ret_task)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = find_locked(s, token);
    const struct session_task *task = slot != NULL ? &(*slot)->tasks[number % SESSION_TASKS_MAX] : NULL;

    if (task == NULL || number == 0 || task->number != number) {
        return false;
    }
    *ret_task = *task;
    return true;
}

bool session_add_listing(struct sessions *s, const char *token, const char *text, size_t len, size_t next,
                         unsigned *ret_number)
{
    char *copy = len <= SESSION_LISTING_BYTES ? alloc_text_n(text, len, NULL) : NULL;
    SCOPED_LOCK(&s->lock);
    struct slot **slot = copy != NULL ? find_locked(s, token) : NULL;

    if (slot == NULL) {
        free(copy);
        return false;
    }
    struct listing *oldest = &(*slot)->listings[0];
    for (size_t i = 0; i < SESSION_LISTINGS_MAX; i++) {
        if ((*slot)->listings[i].number < oldest->number) { /* 0: free */
            oldest = &(*slot)->listings[i];
        }
    }
    free(oldest->text);
    *oldest = (struct listing){.number = ++(*slot)->last_number, .text = copy, .len = len, .next = next};
    *ret_number = oldest->number;
    return true;
}

bool session_take_listing(struct sessions *s, const char *token, unsigned number, char **ret_text, size_t *ret_len,
                          size_t *ret_next)
{
    SCOPED_LOCK(&s->lock);
    struct slot **slot = number != 0 ? find_locked(s, token) : NULL;

    for (size_t i = 0; slot != NULL && i < SESSION_LISTINGS_MAX; i++) {
        struct listing *l = &(*slot)->listings[i];
        if (l->number == number) {
            *ret_text = l->text;
            *ret_len = l->len;
            *ret_next = l->next;
            *l = (struct listing){0};
            return true;
        }
    }
    return false;
}

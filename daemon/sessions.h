/* SPDX-License-Identifier: BSD-3-Clause */
/* sessions.h - logins of the SOAP side: a random cookie stands for a user until he logs out or is silent for too long.
 * Any thread. A session's own members (views, tasks) are reached through session_*, which look it up each time: no
 * pointer to a session leaves this file. */
#ifndef VIXDISKD_SESSIONS_H
#define VIXDISKD_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"

#define SESSION_TOKEN_LEN 40u        /* hexadecimal: 160 random bits */
#define SESSION_VIEWS_MAX 32u        /* limit: container views of a session; the oldest goes */
#define SESSION_TASKS_MAX 32u        /* limit: results of tasks of a session; the oldest goes */
#define SESSION_LISTINGS_MAX 4u      /* limit: listings of a session that go on; the oldest goes */
#define SESSION_LISTING_BYTES 16384u /* limit: bytes of the request that such a listing repeats */
#define SESSION_TYPE_MAX 40u         /* limit: bytes of a type or reference in a session */
#define SESSION_TEXT_MAX 512u        /* limit: bytes of the text of a task's failure */

/** What is known of a session while a call of it is answered. A copy. */
struct session {
    char token[SESSION_TOKEN_LEN + 1];
    char key[40]; /* public: UserSession.key */
    const struct host_user *user;
    int64_t login_time; /* seconds since 1970 */
};

/** A container view: what it shows. */
struct session_view {
    unsigned number;
    char type[SESSION_TYPE_MAX];      /* "VirtualMachine"; "" for all */
    char container[SESSION_TYPE_MAX]; /* the reference of its root */
};

/** A task that has ended. */
struct session_task {
    unsigned number;
    char name[SESSION_TYPE_MAX];
    char fault[SESSION_TYPE_MAX]; /* "": success */
    char text[SESSION_TEXT_MAX];
    int64_t ended;
};

struct sessions;

VixError sessions_new(size_t max, uint64_t idle_ms, struct sessions **ret_sessions, struct err *err);
void sessions_free(struct sessions *s); /* NULL is harmless */

/** A new session of a user. VIX_E_OBJECT_IS_BUSY when as many as allowed are in use. */
VixError session_begin(struct sessions *s, const struct host_user *user, struct session *ret_session, struct err *err);

/** The session of a cookie, which counts as used now; false if there is none, or it was silent for too long. */
bool session_find(struct sessions *s, const char *token, struct session *ret_session);
void session_end(struct sessions *s, const char *token);

/** Keeps a view, and gives it its number; false if the session is gone. */
bool session_add_view(struct sessions *s, const char *token, struct session_view *view);
bool session_get_view(struct sessions *s, const char *token, unsigned number, struct session_view *ret_view);
void session_remove_view(struct sessions *s, const char *token, unsigned number);

/** The same for tasks. */
bool session_add_task(struct sessions *s, const char *token, struct session_task *task);
bool session_get_task(struct sessions *s, const char *token, unsigned number, struct session_task *ret_task);

/** Keeps a listing that goes on at its next-th object: the text that asked for it, at most SESSION_LISTING_BYTES.
 * *ret_number: what to take it by. */
bool session_add_listing(struct sessions *s, const char *token, const char *text, size_t len, size_t next,
                         unsigned *ret_number);
/** Takes it: it is gone. The text is the caller's. */
bool session_take_listing(struct sessions *s, const char *token, unsigned number, char **ret_text, size_t *ret_len,
                          size_t *ret_next);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* tickets.h - what SOAP gives out and NFC takes in: a secret that opens one connection, once, for one purpose, for some
 * minutes. Any thread. */
#ifndef VIXDISKD_TICKETS_H
#define VIXDISKD_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/datastore.h"

#define TICKET_ID_LEN 36u /* "52xxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx": 120 random bits behind the "52" */

enum ticket_kind {
    TICKET_MACHINE,   /* any disk of a machine, reading */
    TICKET_DISK,      /* one disk and its parents; writing to its top link if writable */
    TICKET_DATASTORE, /* any disk of a datastore, and new ones if writable */
};

/** What a ticket allows. Texts are owned by the struct. */
struct ticket_scope {
    enum ticket_kind kind;
    const struct datastore *ds;
    char *moref; /* of the machine; NULL for TICKET_DATASTORE */
    char *path;  /* of the disk's top link; TICKET_DISK only */
    char *user;
    bool writable;
};

void ticket_scope_done(struct ticket_scope *scope);

struct tickets;

/** @max tickets waiting to be used; @life_ms of each. */
VixError tickets_new(size_t max, uint64_t life_ms, struct tickets **ret_tickets, struct err *err);
void tickets_free(struct tickets *t); /* NULL is harmless */

/** Gives out a ticket; scope's texts are the table's then, also on failure. When too many wait, the oldest goes.
 * @ret_id TICKET_ID_LEN + 1 bytes, to be wiped by the caller. */
VixError tickets_issue(struct tickets *t, struct ticket_scope *scope, char *ret_id, struct err *err);

/** As tickets_issue, of an id that somebody else has made: VIX_E_INVALID_ARG if it is not TICKET_ID_LEN long. */
VixError tickets_add(struct tickets *t, const char *id, struct ticket_scope *scope, struct err *err);

/** Takes a ticket: it is gone. The scope is the caller's. VIX_E_HOST_USER_PERMISSIONS, which does not tell whether it
 * is used, expired or was never given out. */
VixError tickets_take(struct tickets *t, const char *id, struct ticket_scope *ret_scope, struct err *err);

#endif

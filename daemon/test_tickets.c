/* SPDX-License-Identifier: BSD-3-Clause */
/* Tickets of a simulator, out of a file to which it appends. */
#include "daemon/test_tickets.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

#define LINE_MAX_LEN 256 /* own: a line of the tests */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long place; /* where the next line begins */

static VixError add_line(struct host *host, const char *line, struct err *err)
{
    char id[TICKET_ID_LEN + 1];
    char kind[16];

    if (sscanf(line, "%36s %15s", id, kind) != 2) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: a line is not \"ID KIND MACHINE KEY\"", host->test_tickets);
    }
    struct ticket_scope scope = {
        .kind = TICKET_DATASTORE,
        .ds = &host->stores.list[0],
        .user = alloc_text("simulator", err),
        .writable = strncmp(kind, "ro-", 3) != 0,
    };
    return scope.user != NULL ? tickets_add(host->tickets, id, &scope, err) : VIX_E_OUT_OF_MEMORY;
}

VixError test_tickets_read(struct host *host, struct err *err)
{
    char line[LINE_MAX_LEN];
    VixError code = VIX_OK;
    SCOPED_LOCK(&lock);
    FILE *file = fopen(host->test_tickets, "re");

    if (file == NULL || fseek(file, place, SEEK_SET) != 0) {
        code = err_set_errno(err, errno, "%s: cannot read", host->test_tickets);
    }
    while (code == VIX_OK && fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL) {
        code = add_line(host, line, err);
        place = ftell(file);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    explicit_bzero(line, sizeof line);
    return code;
}

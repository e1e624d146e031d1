/* SPDX-License-Identifier: BSD-3-Clause */
/* leases.h - who holds a lease of which disk: a number that belongs to a login, until it is given back or not renewed
 * in time. The map that goes with it is not kept: a lease is given of volumes that only their disks' data is written
 * to. Any thread. */
#ifndef VIXDISKD_LEASES_H
#define VIXDISKD_LEASES_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/datastore.h"

#define LEASES_MAX 256u /* limit: leases of disks at once */

struct leases;

/** @life_ms from one renewal to the next. */
VixError leases_new(uint64_t life_ms, struct leases **ret_leases, struct err *err);
void leases_free(struct leases *l); /* NULL is harmless */

/** A lease of a disk for the login of a token. VIX_E_OBJECT_IS_BUSY when LEASES_MAX are held. */
VixError lease_add(struct leases *l, const char *token, const struct datastore *ds, const char *path,
                   unsigned *ret_number, struct err *err);
/** The disk of a lease: a copy of its path, freed by the caller. False if there is no such lease of this login. */
bool lease_find(struct leases *l, const char *token, unsigned number, const struct datastore **ret_ds, char **ret_path);
bool lease_renew(struct leases *l, const char *token, unsigned number);
/** False if one of them has run out. */
bool lease_renew_all(struct leases *l, const char *token);
bool lease_end(struct leases *l, const char *token, unsigned number);

#endif

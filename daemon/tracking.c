/* SPDX-License-Identifier: BSD-3-Clause */
/* Change IDs of links. */
#include "daemon/tracking.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/inventory.h"

/** As change IDs have it: hex pairs, eight of them, a dash, eight more. */
static void put_uuid(const struct datastore *ds, const struct chain *c, char *text, size_t size)
{
    const char *base = c->links[c->link_count - 1]->real_path;
    size_t at = 0;

    for (unsigned half = 0; half < 2; half++) {
        uint64_t hash = inventory_hash(inventory_hash(INVENTORY_HASH + half, ds->name), base);
        for (unsigned i = 0; i < 8; i++) {
            at += (size_t)snprintf(text + at, size - at, "%02x%s", (unsigned)(hash >> (56 - 8 * i) & 0xff),
                                   i < 7       ? " "
                                   : half == 0 ? "-"
                                               : "");
        }
    }
}

bool tracking_is_kept(const struct datastore *ds)
{
    return ds->volume == NULL;
}

static void put_id(const struct datastore *ds, const struct chain *c, size_t link, char id[TRACKING_ID_MAX])
{
    char uuid[50];
    uint64_t number = c->link_count - 1 - link;

    id[0] = '\0';
    if (tracking_is_kept(ds) && c->links[c->link_count - 1]->desc->parent_cid == CID_NO_PARENT) {
        put_uuid(ds, c, uuid, sizeof uuid);
        (void)snprintf(id, TRACKING_ID_MAX, "%s/%" PRIu64, uuid, number << 32 | c->links[link]->desc->cid);
    }
}

void tracking_id(const struct datastore *ds, const struct chain *c, char id[TRACKING_ID_MAX])
{
    id[0] = '\0';
    if (!chain_has_writer(c)) {
        put_id(ds, c, 0, id);
    }
}

bool tracking_find(const struct datastore *ds, const struct chain *c, const char *id, size_t *ret_link)
{
    char own[TRACKING_ID_MAX];

    for (size_t i = 0; i < c->link_count; i++) {
        put_id(ds, c, i, own);
        if (own[0] != '\0' && strcmp(own, id) == 0) {
            *ret_link = i;
            return true;
        }
    }
    return false;
}

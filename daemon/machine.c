/* SPDX-License-Identifier: BSD-3-Clause */
/* The disks of a machine, read from the VMDKs in its folder without locks: a disk that is in use is listed like any
 * other. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/inventory.h"
#include "vmdk/chain.h"

static bool all_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
    }
    return len > 0;
}

bool is_part_of_disk(const char *path)
{
    static const char *const tails[] = {"-flat.vmdk", "-delta.vmdk", "-sesparse.vmdk",
                                        "-ctk.vmdk",  "-rdm.vmdk",   "-rdmp.vmdk"};
    const char *name = store_path_base(path);
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        if (text_ends_with(name, tails[i])) {
            return true;
        }
    }
    const char *dash = strrchr(name, '-');
    if (dash == NULL || !text_ends_with(name, ".vmdk") || (dash[1] != 's' && dash[1] != 'f')) {
        return false;
    }
    size_t digits = len - (size_t)(dash + 2 - name) - strlen(".vmdk");
    return digits >= 3 && all_digits(dash + 2, digits); /* x-s001.vmdk, x-f001.vmdk, x-f1000.vmdk */
}

/** Files of a folder that may be disks. */
struct candidates {
    const char *folder;
    char **paths; /* "/vm/x.vmdk": as the chain tells paths */
    size_t count, room;
};

static VixError add_candidate(void *ctx, const char *name, struct err *err)
{
    struct candidates *c = ctx;

    if (!text_ends_with(name, ".vmdk") || is_part_of_disk(name)) {
        return VIX_OK;
    }
    if (c->count == INVENTORY_FILES_MAX) {
        return VIX_OK;
    }
    if (c->count == c->room) {
        size_t room = c->room > 0 ? c->room * 2 : 16;
        char **grown = alloc_array(room, sizeof *grown, err);
        if (grown == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (c->count > 0) {
            memcpy(grown, c->paths, c->count * sizeof *grown);
        }
        free(c->paths);
        c->paths = grown;
        c->room = room;
    }
    c->paths[c->count] = alloc_printf(err, "/%s/%s", c->folder, name);
    if (c->paths[c->count] == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    c->count++;
    return VIX_OK;
}

static void candidates_done(struct candidates *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->paths[i]);
    }
    free(c->paths);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/** Marks a file that belongs to another disk as none of its own. */
static void strike(struct candidates *c, const char *path, bool *struck)
{
    for (size_t i = 0; path != NULL && i < c->count; i++) {
        if (strcmp(c->paths[i], path) == 0) {
            struck[i] = true;
        }
    }
}

/** Whether an opening has failed for a reason that says nothing of the disk: it may be there the next time. */
static bool is_of_system(VixError code, const struct err *why)
{
    switch (why->sys_errno) {
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ESTALE:
    case ETIMEDOUT:
        return true;
    default:
        return code == VIX_E_OUT_OF_MEMORY || code == VIX_E_DISK_TOOMANYOPENFILES;
    }
}

/** Opens a chain to look at it, without its parents if they cannot be had. */
static VixError open_chain(const struct datastore *ds, const char *path, struct chain **ret_chain, struct err *err)
{
    uint32_t flags = CHAIN_READ | CHAIN_NO_LOCK | CHAIN_OUTSIDE_OK; /* nothing outside the datastore can be named */
    VixError code = chain_open(ds->fs, path, flags, NULL, ret_chain, err);

    if (code != VIX_OK && !is_of_system(code, err)) {
        struct err single;
        err_init(&single);
        code = chain_open(ds->fs, path, flags | CHAIN_SINGLE_LINK, NULL, ret_chain, &single);
        if (code != VIX_OK && is_of_system(code, &single)) {
            *err = single;
        }
    }
    return code;
}

/** "60 00 C2 9f ..." of the disk database as a uuid in the usual form. */
static void format_uuid(const char *recorded, char *uuid, size_t size)
{
    char digits[33];
    size_t n = 0;

    for (const char *p = recorded; *p != '\0' && n < 32; p++) {
        char c = text_lower(*p);
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) {
            digits[n++] = c;
        }
    }
    digits[n] = '\0';
    if (n == 32) {
        (void)snprintf(uuid, size, "%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8, digits + 12, digits + 16,
                       digits + 20);
    }
}

static VixError take_parents(const struct chain *c, struct machine_disk *d, struct err *err)
{
    d->parents = alloc_array(c->link_count, sizeof *d->parents, err);
    if (d->parents == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 1; i < c->link_count; i++) {
        const char *path = c->links[i]->real_path;
        d->parents[d->parent_count] = alloc_text(path[0] == '/' ? path + 1 : path, err);
        if (d->parents[d->parent_count] == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        d->parent_count++;
    }
    return VIX_OK;
}

/** The identity of a disk is its base's: each link has a uuid of its own. */
static VixError describe(const struct datastore *ds, const struct chain *c, const char *path, struct machine_disk *d,
                         struct err *err)
{
    const char *uuid = descriptor_ddb_get(c->links[c->link_count - 1]->desc, "uuid");
    VixDiskLibDiskType type = chain_disk_type(c);

    d->path = alloc_text(path + 1, err);
    if (d->path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    d->capacity = c->capacity * VIXDISKLIB_SECTOR_SIZE;
    d->cid = c->links[0]->desc->cid;
    d->thin = type != VIXDISKLIB_DISK_MONOLITHIC_FLAT && type != VIXDISKLIB_DISK_SPLIT_FLAT &&
              type != VIXDISKLIB_DISK_VMFS_FLAT;
    d->sparse = type == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || type == VIXDISKLIB_DISK_SPLIT_SPARSE ||
                type == VIXDISKLIB_DISK_STREAM_OPTIMIZED;
    if (uuid != NULL) {
        format_uuid(uuid, d->uuid, sizeof d->uuid);
    }
    tracking_id(ds, c, d->change_id);
    return take_parents(c, d, err);
}

/** Strikes the other files of a chain: extents of its top link, and parents. */
static void strike_chain(struct candidates *c, const struct chain *chain, size_t self, bool *struck)
{
    const struct link *top = chain->links[0];

    for (size_t i = 0; i < top->extent_count; i++) {
        const char *path = top->extents[i].real_path;
        if (path != NULL && strcmp(path, c->paths[self]) != 0) {
            strike(c, path, struck);
        }
    }
    for (size_t i = 1; i < chain->link_count; i++) {
        strike(c, chain->links[i]->real_path, struck);
    }
}

static void disk_done(struct machine_disk *d)
{
    for (size_t i = 0; i < d->parent_count; i++) {
        free(d->parents[i]);
    }
    free(d->parents);
    free(d->path);
}

static VixError read_candidate(const struct machine *m, struct candidates *c, size_t index, bool *struck,
                               struct machine_disk *d, struct err *err)
{
    struct chain *chain = NULL;
    struct err why;

    err_init(&why);
    VixError code = open_chain(m->ds, c->paths[index], &chain, &why);
    if (code != VIX_OK && is_of_system(code, &why)) {
        *err = why;
        return code;
    }
    if (code != VIX_OK) {
        if (!struck[index]) {
            log_news("datastore %s: %s is left out: %s", m->ds->name, c->paths[index], why.text);
        }
        struck[index] = true;
        return VIX_OK;
    }
    strike_chain(c, chain, index, struck);
    code = describe(m->ds, chain, c->paths[index], d, err);
    (void)chain_close(chain, NULL);
    return code;
}

static const char *base_of(const struct machine_disk *d)
{
    return d->parent_count > 0 ? d->parents[d->parent_count - 1] : d->path;
}

/** Children of one parent by their own names. */
static int by_base(const void *a, const void *b)
{
    const struct machine_disk *x = a;
    const struct machine_disk *y = b;
    int order = strcmp(base_of(x), base_of(y));

    return order != 0 ? order : strcmp(x->path, y->path);
}

/* ---- keys ---- */

/** Whether a link is in the chain of another disk, too. */
static bool is_shared(const struct machine_disks *disks, size_t index, const char *link)
{
    for (size_t i = 0; i < disks->count; i++) {
        for (size_t k = 0; i != index && k < disks->disks[i].parent_count; k++) {
            if (strcmp(disks->disks[i].parents[k], link) == 0) {
                return true;
            }
        }
    }
    return false;
}

/** The lowest link of a disk that is the machine's and this disk's own: links that come above it change nothing. */
static const char *own_link(const struct machine *m, const struct machine_disks *disks, size_t index)
{
    const struct machine_disk *d = &disks->disks[index];
    size_t len = strlen(m->name);

    for (size_t i = d->parent_count; i > 0; i--) {
        const char *link = d->parents[i - 1];
        if (strncmp(link, m->name, len) == 0 && link[len] == '/' && !is_shared(disks, index, link)) {
            return link;
        }
    }
    return d->path;
}

/** From a link's name alone, so that other disks come and go without a part in it. */
static VixError number_disk(const struct machine *m, struct machine_disks *disks, size_t index, struct err *err)
{
    const char *link = own_link(m, disks, index);
    CLEANUP_FREE char *first = alloc_printf(err, "%s/%s.vmdk", m->name, m->name);

    if (first == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    int32_t key = INVENTORY_FIRST_KEY;
    if (strcmp(link, first) != 0) {
        key += 1 + (int32_t)(inventory_hash(INVENTORY_HASH, link) % INVENTORY_KEYS);
    }
    for (size_t i = 0; i < index; i++) {
        if (disks->disks[i].key == key) {
            key++;
            i = (size_t)-1; /* from the first one again */
        }
    }
    disks->disks[index].key = key;
    return VIX_OK;
}

static VixError read_candidates(const struct machine *m, struct candidates *c, struct machine_disks *disks,
                                struct err *err)
{
    struct machine_disk *all = alloc_array(c->count, sizeof *all, err);
    CLEANUP_FREE bool *struck = alloc_array(c->count, sizeof *struck, err);
    VixError code = all != NULL && struck != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    size_t read = 0;

    for (; code == VIX_OK && read < c->count; read++) {
        code = read_candidate(m, c, read, struck, &all[read], err);
    }
    for (size_t i = 0; i < read; i++) {
        if (code == VIX_OK && !struck[i] && disks->count < INVENTORY_DISKS_MAX) {
            all[disks->count++] = all[i];
        } else {
            disk_done(&all[i]);
        }
    }
    if (disks->count > 0) {
        qsort(all, disks->count, sizeof *all, by_base);
    }
    disks->disks = all;
    for (size_t i = 0; code == VIX_OK && i < disks->count; i++) {
        code = number_disk(m, disks, i, err);
    }
    return code;
}

VixError machine_read_disks(const struct machine *m, struct machine_disks *ret_disks, struct err *err)
{
    struct candidates c = {.folder = m->name};
    struct machine_disks disks = {0};
    CLEANUP_FREE char *inside = alloc_printf(err, "%s/x", m->name);

    if (inside == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = m->ds->fs->ops->list(m->ds->fs, inside, add_candidate, &c, err);
    if (code == VIX_OK && c.count > 0) {
        qsort(c.paths, c.count, sizeof c.paths[0], by_text);
        code = read_candidates(m, &c, &disks, err);
    }
    candidates_done(&c);
    if (code != VIX_OK) {
        machine_disks_done(&disks);
        return code;
    }
    *ret_disks = disks;
    return VIX_OK;
}

void machine_disks_done(struct machine_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++) {
        disk_done(&disks->disks[i]);
    }
    free(disks->disks);
    *disks = (struct machine_disks){0};
}

const struct machine_disk *machine_disk_of(const struct machine_disks *disks, const char *path, bool *ret_is_top)
{
    for (size_t i = 0; i < disks->count; i++) {
        const struct machine_disk *d = &disks->disks[i];
        if (strcmp(d->path, path) == 0) {
            *ret_is_top = true;
            return d;
        }
        for (size_t k = 0; k < d->parent_count; k++) {
            if (strcmp(d->parents[k], path) == 0) {
                *ret_is_top = false;
                return d;
            }
        }
    }
    return NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Machines as folders: which there are, and the numbers and identifiers that stay theirs. */
#include "daemon/inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "ops/ops.h"

/* FNV-1a: the numbers need to be the same each time, and no more. */
uint64_t inventory_hash(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    }
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

static uint64_t machine_hash(const struct machine *m, uint64_t seed)
{
    return inventory_hash(inventory_hash(INVENTORY_HASH ^ seed, m->ds->name), m->name);
}

static void identify(struct machine *m)
{
    uint64_t a = machine_hash(m, 0);
    uint64_t b = machine_hash(m, UINT64_C(0x9e3779b97f4a7c15));

    (void)snprintf(m->moref, sizeof m->moref, "vm-%u", (unsigned)((a ^ a >> 32) % 1000000000));
    (void)snprintf(m->uuid, sizeof m->uuid, "%08x-%04x-4%03x-8%03x-%012" PRIx64, (unsigned)(a >> 32),
                   (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff), (unsigned)(b >> 52),
                   b & UINT64_C(0xffffffffffff));
}

/** Looks at the names in a folder: whether it is a machine, and its .vmx. */
struct folder_look {
    const char *folder;
    bool is_machine;
    char *vmx;
};

static VixError look_at_name(void *ctx, const char *name, struct err *err)
{
    struct folder_look *look = ctx;

    if (text_ends_with(name, ".vmdk")) {
        look->is_machine = true;
    }
    if (text_ends_with(name, ".vmx") && (look->vmx == NULL || strcmp(name, store_path_base(look->vmx)) < 0)) {
        look->is_machine = true;
        free(look->vmx);
        look->vmx = alloc_printf(err, "%s/%s", look->folder, name);
        return look->vmx != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    return VIX_OK;
}

static VixError add_machine(struct inventory *inv, size_t *room, struct machine *m, struct err *err)
{
    if (inv->count == INVENTORY_MACHINES_MAX) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "more than %u folders with disks in the datastores",
                       INVENTORY_MACHINES_MAX);
    }
    if (inv->count == *room) {
        size_t wanted = *room > 0 ? *room * 2 : 16;
        struct machine *grown = alloc_array(wanted, sizeof *grown, err);
        if (grown == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (inv->count > 0) {
            memcpy(grown, inv->machines, inv->count * sizeof *grown);
        }
        free(inv->machines);
        inv->machines = grown;
        *room = wanted;
    }
    inv->machines[inv->count++] = *m;
    return VIX_OK;
}

static VixError look_at_folder(const struct datastore *ds, const char *name, struct inventory *inv, size_t *room,
                               struct err *err)
{
    struct folder_look look = {.folder = name};
    struct machine m = {.ds = ds};
    CLEANUP_FREE char *inside = alloc_printf(err, "%s/x", name);

    if (inside == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = ds->fs->ops->list(ds->fs, inside, look_at_name, &look, err);
    if (code != VIX_OK || !look.is_machine) {
        free(look.vmx);
        return code == VIX_E_OUT_OF_MEMORY ? code : VIX_OK; /* a folder that cannot be read is no machine */
    }
    m.vmx = look.vmx != NULL ? look.vmx : alloc_printf(err, "%s/%s.vmx", name, name);
    m.name = alloc_text(name, err);
    code = m.vmx != NULL && m.name != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    if (code == VIX_OK) {
        identify(&m);
        code = add_machine(inv, room, &m, err);
    }
    if (code != VIX_OK) {
        free(m.vmx);
        free(m.name);
    }
    return code;
}

/** The machines of one datastore while they are read. */
struct reading {
    const struct datastore *ds;
    struct inventory *inv;
    size_t *room;
};

static VixError look_at_entry(void *ctx, const char *name, struct err *err)
{
    struct reading *r = ctx;
    return look_at_folder(r->ds, name, r->inv, r->room, err);
}

static VixError read_datastore(const struct datastore *ds, struct inventory *inv, size_t *room, struct err *err)
{
    struct reading r = {.ds = ds, .inv = inv, .room = room};
    return datastore_list(ds, look_at_entry, &r, err);
}

static int by_place(const void *pa, const void *pb)
{
    const struct machine *a = pa;
    const struct machine *b = pb;

    if (a->ds != b->ds) {
        return a->ds < b->ds ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

/** Two machines whose names give the same number: the later one takes the next that is free. */
static void settle_numbers(struct inventory *inv)
{
    for (size_t i = 1; i < inv->count; i++) {
        struct machine *m = &inv->machines[i];
        unsigned long number = strtoul(m->moref + 3, NULL, 10);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(m->moref, inv->machines[k].moref) == 0) {
                number = (number + 1) % 1000000000;
                (void)snprintf(m->moref, sizeof m->moref, "vm-%lu", number);
                k = (size_t)-1; /* from the first one again */
            }
        }
    }
}

VixError inventory_read(const struct datastores *stores, struct inventory *ret_inventory, struct err *err)
{
    struct inventory inv = {0};
    size_t room = 0;
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < stores->count; i++) {
        code = read_datastore(&stores->list[i], &inv, &room, err);
    }
    if (code != VIX_OK) {
        inventory_done(&inv);
        return code;
    }
    if (inv.count > 0) {
        qsort(inv.machines, inv.count, sizeof inv.machines[0], by_place);
    }
    settle_numbers(&inv);
    *ret_inventory = inv;
    return VIX_OK;
}

static void machine_done(struct machine *m)
{
    free(m->name);
    free(m->vmx);
}

void inventory_done(struct inventory *inventory)
{
    for (size_t i = 0; i < inventory->count; i++) {
        machine_done(&inventory->machines[i]);
    }
    free(inventory->machines);
    *inventory = (struct inventory){0};
}

VixError inventory_find(const struct datastores *stores, const char *moref, struct inventory *ret_one, struct err *err)
{
    struct inventory inv;
    bool found = false;
    VixError code = inventory_read(stores, &inv, err);

    if (code != VIX_OK) {
        return code;
    }
    for (size_t i = 0; i < inv.count; i++) {
        if (!found && strcmp(inv.machines[i].moref, moref) == 0) {
            struct machine m = inv.machines[0];
            inv.machines[0] = inv.machines[i];
            inv.machines[i] = m;
            found = true;
        }
    }
    for (size_t i = found ? 1 : 0; i < inv.count; i++) {
        machine_done(&inv.machines[i]);
    }
    if (!found) {
        free(inv.machines);
        return err_set(err, VIX_E_VM_NOT_FOUND, "there is no machine %.64s", moref);
    }
    inv.count = 1;
    *ret_one = inv;
    return VIX_OK;
}

VixError inventory_is_parent(const struct datastores *stores, const struct datastore *ds, const char *path,
                             bool *ret_is_parent, struct err *err)
{
    struct inventory inv = {0};
    CLEANUP_FREE char *child = NULL;
    CLEANUP_FREE char *rooted = alloc_printf(err, "/%s", path);

    if (rooted == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = ops_find_child(ds->fs, rooted, NULL, &child, err);
    if (code == VIX_OK && child == NULL) {
        code = inventory_read(stores, &inv, err);
    }
    for (size_t i = 0; code == VIX_OK && child == NULL && i < inv.count; i++) {
        if (inv.machines[i].ds == ds) {
            CLEANUP_FREE char *beside = alloc_printf(err, "/%s/x", inv.machines[i].name);
            code = beside != NULL ? ops_find_child_beside(ds->fs, rooted, beside, is_part_of_disk, &child, err)
                                  : VIX_E_OUT_OF_MEMORY;
        }
    }
    inventory_done(&inv);
    *ret_is_parent = child != NULL;
    return code;
}

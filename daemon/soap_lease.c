/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases of disks on volumes of VMFS: where their blocks are. Only flat disks of one link have a map; units are the
 * blocks of the file system, and places are those of the volume. What is told is read from the volume at each call. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/soap_int.h"
#include "vmdk/chain.h"

#define PREFIX "lease-"
#define UNITS_MAX 65536u /* limit: units of a disk's map in one answer */

static unsigned number_of(const struct call *c)
{
    uint64_t number = 0;

    if (strncmp(c->soap.this_value, PREFIX, strlen(PREFIX)) != 0 ||
        !text_to_u64(c->soap.this_value + strlen(PREFIX), &number) || number > UINT32_MAX) {
        return 0;
    }
    return (unsigned)number;
}

static void no_lease(struct call *c)
{
    call_no_object(c, "HostDiskManagerLease", c->soap.this_value);
}

/* ---- the map ---- */

/** Opens a disk that has a map: plain extents that begin at blocks; else the fault is set. */
static struct chain *open_flat(struct call *c, const struct datastore *ds, const char *path)
{
    uint64_t unit = vmfs_info(ds->volume)->block_size;
    struct chain *chain = NULL;
    struct err err;

    err_init(&err);
    if (chain_open(ds->fs, path, CHAIN_READ | CHAIN_NO_LOCK | CHAIN_OUTSIDE_OK, NULL, &chain, &err) != VIX_OK) {
        call_failed(c, &err);
        return NULL;
    }
    const struct link *l = chain->links[0];
    bool flat = chain->link_count == 1 && l->extent_count > 0;
    for (size_t i = 0; i < l->extent_count && flat; i++) {
        const struct extent_line *line = &l->desc->extents[i];
        flat = (line->type == EXTENT_VMFS || line->type == EXTENT_FLAT) && l->extents[i].real_path != NULL &&
               line->offset * SECTOR_SIZE % unit == 0 && l->extents[i].first_sector * SECTOR_SIZE % unit == 0;
    }
    if (!flat) {
        call_fault(c, "InvalidDiskFormat", "[%s] %.300s is not a flat disk of one link", ds->name, path);
        (void)chain_close(chain, NULL);
        return NULL;
    }
    return chain;
}

static void put_extent(struct call *c, const struct vmfs_run *run, uint64_t off, uint64_t unit)
{
    struct xml_text *x = &c->out;

    xml_raw(x, "<extent>");
    xml_element_number(x, "logicalStart", off / unit);
    xml_element_number(x, "physicalStart", run->volume_off / unit);
    xml_element_number(x, "length", div_up(run->len, unit));
    xml_element_bool(x, "readOnly", run->shared);
    xml_element_bool(x, "lazyZero", run->kind == VMFS_TO_BE_ZEROED);
    xml_raw(x, "</extent>");
}

/** The blocks of a part of one extent: len bytes at off of a file, which stand at disk_off of the disk. */
static VixError put_part(struct call *c, const struct datastore *ds, struct vmfs_file *f, uint64_t off, uint64_t len,
                         uint64_t disk_off, struct err *err)
{
    uint64_t unit = vmfs_info(ds->volume)->block_size;

    for (uint64_t done = 0; done < len;) {
        struct vmfs_run run;
        VixError code = vmfs_file_map(f, off + done, len - done, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        bool placed = run.kind != VMFS_HOLE;
        if (run.kind == VMFS_UNSURE || (placed && (run.within_system || run.volume_off % unit != 0))) {
            call_fault(c, "InvalidDiskFormat", "the blocks of the disk at byte %" PRIu64 " cannot be told",
                       disk_off + done);
            return VIX_OK;
        }
        if (placed) {
            put_extent(c, &run, disk_off + done, unit);
        }
        done += run.len;
    }
    return VIX_OK;
}

static VixError put_extents(struct call *c, const struct datastore *ds, const struct link *l, uint64_t start,
                            uint64_t end, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = 0; i < l->extent_count && code == VIX_OK; i++) {
        uint64_t first = l->extents[i].first_sector * SECTOR_SIZE;
        uint64_t low = max_u64(first, start);
        uint64_t high = min_u64(first + l->desc->extents[i].nsectors * SECTOR_SIZE, end);
        struct vmfs_file *f = NULL;
        if (low >= high) {
            continue;
        }
        code = vmfs_file_open(ds->volume, l->extents[i].real_path, &f, err);
        if (code == VIX_OK) {
            code = put_part(c, ds, f, l->desc->extents[i].offset * SECTOR_SIZE + (low - first), high - low, low, err);
        }
        vmfs_file_close(f);
    }
    return code;
}

/** What a HostDiskBlockInfo has, of a part of a disk in units. */
static void put_block_info(struct call *c, const struct datastore *ds, const struct chain *chain, uint64_t start,
                           uint64_t length)
{
    uint64_t unit = vmfs_info(ds->volume)->block_size, capacity = chain->capacity * SECTOR_SIZE;
    uint64_t size = div_up(capacity, unit);
    struct err err;

    err_init(&err);
    if (length == 0 || start >= size || length > size - start) {
        call_fault(c, "OutOfBounds", "%" PRIu64 " blocks at %" PRIu64 " of a disk of %" PRIu64, length, start, size);
        return;
    }
    length = min_u64(length, UNITS_MAX);
    xml_element_number(&c->out, "size", size);
    xml_element_number(&c->out, "granularity", unit);
    xml_element_number(&c->out, "minBlockSize", unit);
    xml_element_number(&c->out, "mapStart", start);
    xml_element_number(&c->out, "mapLength", length);
    xml_raw(&c->out, "<map xsi:type=\"HostDiskBlockInfoVmfsMapping\">");
    xml_element(&c->out, "element", vmfs_info(ds->volume)->uuid);
    uint64_t end = min_u64((start + length) * unit, capacity);
    if (put_extents(c, ds, chain->links[0], start * unit, end, &err) != VIX_OK) {
        call_failed(c, &err);
    }
    xml_raw(&c->out, "</map>");
}

void call_map_region(struct call *c)
{
    const struct datastore *ds = NULL;
    CLEANUP_FREE char *path = NULL;
    uint64_t start = 0, length = 0;

    if (!lease_find(c->host->leases, c->session.token, number_of(c), &ds, &path)) {
        no_lease(c);
        return;
    }
    if (!xml_number(c->soap.node, "mapStart", &start) || !xml_number(c->soap.node, "mapLength", &length)) {
        call_fault(c, "InvalidArgument", "A specified parameter was not correct: mapStart, mapLength");
        return;
    }
    struct chain *chain = open_flat(c, ds, path);
    if (chain == NULL) {
        return;
    }
    xml_raw(&c->out, "<returnval>");
    put_block_info(c, ds, chain, start, length);
    xml_raw(&c->out, "</returnval>");
    (void)chain_close(chain, NULL);
}

/* ---- taking and keeping it ---- */

/** Whether the path is a disk of the machine; else the fault is set. */
static bool is_disk_of(struct call *c, const struct machine *m, const struct datastore *ds, const char *path)
{
    struct machine_disks disks = {0};
    struct err err;
    bool is_top = false;

    err_init(&err);
    if (machine_read_disks(m, &disks, &err) != VIX_OK) {
        call_failed(c, &err);
        return false;
    }
    bool found = m->ds == ds && machine_disk_of(&disks, path, &is_top) != NULL;
    machine_disks_done(&disks);
    if (!found) {
        call_fault(c, "LeaseFault", "[%s] %.300s is no disk of the machine of the snapshot", ds->name, path);
    }
    return found;
}

static void put_lease(struct call *c, const struct datastore *ds, const char *path, const struct chain *chain)
{
    char value[SESSION_TYPE_MAX];
    unsigned number = 0;
    struct err err;

    err_init(&err);
    if (lease_add(c->host->leases, c->session.token, ds, path, &number, &err) != VIX_OK) {
        call_fault(c, "LeaseFault", "%s", err.text);
        return;
    }
    (void)snprintf(value, sizeof value, PREFIX "%u", number);
    host_log(HOST_LOG_INFO, "%s: user %s got a lease of [%s] %s", c->peer, c->session.user->name, ds->name, path);
    xml_raw(&c->out, "<returnval>");
    xml_reference(&c->out, "lease", "HostDiskManagerLease", value);
    xml_raw(&c->out, "<blockInfo>");
    put_block_info(c, ds, chain, 0, 1);
    xml_raw(&c->out, "</blockInfo>");
    xml_element_number(&c->out, "leaseTimeout", c->host->config.limits.lease_life);
    xml_raw(&c->out, "</returnval>");
}

void call_acquire_lease(struct call *c)
{
    const struct machine *m = object_snapshot(c, call_text(c, "snapshot"));
    const struct datastore *ds = NULL;
    char *parsed = NULL;
    struct err err;

    err_init(&err);
    if (m == NULL) {
        call_no_object(c, "VirtualMachineSnapshot", call_text(c, "snapshot"));
        return;
    }
    VixError code = datastore_parse(&c->host->stores, call_text(c, "diskPath"), &ds, &parsed, &err);
    CLEANUP_FREE char *path = parsed;
    if (code != VIX_OK) {
        call_failed(c, &err);
        return;
    }
    if (!xml_bool(c->soap.node, "readOnly") && !call_may_write(c, ds)) {
        call_no_permission(c, "VirtualMachine", m->moref, "VirtualMachine.Config.DiskLease",
                           c->session.user->read_only ? "the user may only read" : "the datastore is only read here");
        return;
    }
    if (!is_disk_of(c, m, ds, path)) {
        return;
    }
    struct chain *chain = open_flat(c, ds, path);
    if (chain != NULL) {
        put_lease(c, ds, path, chain);
        (void)chain_close(chain, NULL);
    }
}

void call_renew_lease(struct call *c)
{
    if (!lease_renew(c->host->leases, c->session.token, number_of(c))) {
        no_lease(c);
    }
}

void call_renew_all_leases(struct call *c)
{
    if (!lease_renew_all(c->host->leases, c->session.token)) {
        call_fault(c, "Timedout", "a lease has run out");
    }
}

void call_release_lease(struct call *c)
{
    if (!lease_end(c->host->leases, c->session.token, number_of(c))) {
        no_lease(c);
    }
}

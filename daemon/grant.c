/* SPDX-License-Identifier: BSD-3-Clause */
/* The disks behind NFC: what a ticket allows to be opened, and an open disk as the protocol's server asks for it. Paths
 * reach files only through the datastore's own file system, so sentences can tell of nothing outside it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/host.h"
#include "daemon/inventory.h"
#include "daemon/log.h"
#include "daemon/test_tickets.h"
#include "ops/ops.h"
#include "vmdk/create.h"

#define SECTOR 512u
#define QUERY_STEP 16384u /* chunks that are looked at together: 128 KiB of blocks at most */

struct nfc_host_grant {
    struct ticket_scope scope;
    char *peer;
};

struct nfc_host_disk {
    struct disk *disk;
    char *name; /* "[ds] vm/x.vmdk", for the log */
    char *peer;
};

/* ---- tickets ---- */

static void end_grant(void *ctx, struct nfc_host_grant *grant)
{
    (void)ctx;
    ticket_scope_done(&grant->scope);
    free(grant->peer);
    free(grant);
}

static VixError take_ticket(void *ctx, const char *session_id, const char *service, const char *peer,
                            struct nfc_host_grant **ret_grant, struct err *err)
{
    struct host_client *client = ctx;
    struct nfc_host_grant *grant = alloc_zero(sizeof *grant, err);

    (void)service;
    if (grant == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    grant->peer = alloc_text(peer, err);
    VixError code = grant->peer != NULL ? client->admit(client, err) : VIX_E_OUT_OF_MEMORY;
    if (code == VIX_OK && client->host->test_tickets != NULL) {
        code = test_tickets_read(client->host, err);
    }
    if (code == VIX_OK) {
        code = tickets_take(client->host->tickets, session_id, &grant->scope, err);
    }
    if (code != VIX_OK) {
        end_grant(ctx, grant);
        return code;
    }
    *ret_grant = grant;
    return VIX_OK;
}

/* ---- what a ticket allows ---- */

static VixError not_allowed(const char *name, struct err *err)
{
    return err_set(err, VIX_E_FILE_ACCESS_ERROR, "%.300s: the ticket is not for this disk", name);
}

/** A file that is no disk of the machine: told apart only where the client may know what is in the folder. */
static VixError no_disk(const struct machine *m, const char *path, const char *name, struct err *err)
{
    CLEANUP_FREE char *folder = store_path_folder(path, err);

    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (strcmp(folder, m->name) != 0) {
        return not_allowed(name, err);
    }
    if (!m->ds->fs->ops->exists(m->ds->fs, path)) {
        return err_set(err, VIX_E_FILE_NOT_FOUND, "%.300s", name);
    }
    return err_set(err, VIX_E_FILE_ACCESS_ERROR,
                   "%.300s: is no disk of the machine, or cannot be read; the host's log may tell why", name);
}

static VixError check_in_machine(const struct machine *m, const struct ticket_scope *scope, const char *path,
                                 bool write, const char *name, struct err *err)
{
    struct machine_disks disks;
    bool is_top = false;
    VixError code = machine_read_disks(m, &disks, err);

    if (code != VIX_OK) {
        return code;
    }
    const struct machine_disk *d = machine_disk_of(&disks, path, &is_top);
    if (d == NULL) {
        code = no_disk(m, path, name, err);
    } else if (scope->kind == TICKET_DISK && strcmp(d->path, scope->path) != 0) {
        code = not_allowed(name, err);
    } else if (write && !is_top) {
        code = err_set(err, VIX_E_FILE_READ_ONLY, "%.300s: is the parent of another disk and only read", name);
    }
    machine_disks_done(&disks);
    return code;
}

static VixError check_scope(struct host *host, const struct ticket_scope *scope, const char *path, bool write,
                            const char *name, struct err *err)
{
    struct inventory one;
    bool is_parent = false;
    VixError code = VIX_OK;

    if (scope->kind != TICKET_DATASTORE) {
        code = inventory_find(&host->stores, scope->moref, &one, err);
        if (code == VIX_OK) {
            code = check_in_machine(&one.machines[0], scope, path, write, name, err);
            inventory_done(&one);
        }
    }
    if (code == VIX_OK && write) {
        code = inventory_is_parent(&host->stores, scope->ds, path, &is_parent, err);
    }
    if (code == VIX_OK && is_parent) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%.300s: is the parent of another disk and only read", name);
    }
    return code;
}

/** From the words of a client to a path that its ticket allows. */
static VixError allowed_path(struct host *host, const struct ticket_scope *scope, const char *name, bool write,
                             char **ret_path, struct err *err)
{
    const struct datastore *ds = NULL;
    char *parsed = NULL;
    VixError code = datastore_parse(&host->stores, name, &ds, &parsed, err);
    CLEANUP_FREE char *path = parsed;

    if (code != VIX_OK) {
        return code;
    }
    if (ds != scope->ds) {
        return not_allowed(name, err);
    }
    if (write && !scope->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%.300s: the ticket is for reading only", name);
    }
    if (is_part_of_disk(path)) {
        return err_set(err, VIX_E_FILE_ACCESS_ERROR, "%.300s: is a part of a disk, which is opened by its descriptor",
                       name);
    }
    code = check_scope(host, scope, path, write, name, err);
    if (code == VIX_OK) {
        *ret_path = alloc_printf(err, "/%s", path);
        code = *ret_path != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

/* ---- an open disk ---- */

static VixError host_close(struct nfc_host_disk *d, struct err *err)
{
    VixError code = disk_close(d->disk, err);

    host_log(code == VIX_OK ? HOST_LOG_INFO : HOST_LOG_WARN, "%s: closed %s%s%s", d->peer, d->name,
             code == VIX_OK ? "" : ": ", code == VIX_OK || err == NULL ? "" : err->text);
    free(d->name);
    free(d->peer);
    free(d);
    return code;
}

static VixError tell_info(struct nfc_host_disk *d, struct nfc_host_disk_info *ret_info, struct err *err)
{
    struct disk_info info;
    VixError code = d->disk->ops->info(d->disk, &info, err);

    if (code != VIX_OK) {
        return code;
    }
    *ret_info = (struct nfc_host_disk_info){
        .capacity = d->disk->capacity * SECTOR,
        .sector_size = SECTOR,
        .cylinders = info.info.physGeo.cylinders,
        .heads = info.info.physGeo.heads,
        .sectors = info.info.physGeo.sectors,
    };
    disk_info_done(&info);
    return VIX_OK;
}

/** A client that makes a disk beside its place writes to it by its temporary name; nobody reads a disk by that. */
static VixError open_path(const struct ticket_scope *scope, const char *path, uint32_t flags, const char *name,
                          struct disk **ret_disk, struct err *err)
{
    const struct chain_tuning tuning = {.unfinished =
                                            (flags & NFC_OPEN_READ_ONLY) == 0 && scope->kind == TICKET_DATASTORE};
    uint32_t how = 0;

    how |= (flags & NFC_OPEN_READ_ONLY) != 0 ? VIXDISKLIB_FLAG_OPEN_READ_ONLY : 0;
    how |= (flags & NFC_OPEN_CHAIN) == 0 ? VIXDISKLIB_FLAG_OPEN_SINGLE_LINK : 0;
    VixError code = disk_open_local(scope->ds->fs, path, how, &tuning, ret_disk, err);
    if (code == VIX_OK && (*ret_disk)->ordered) {
        (void)disk_close(*ret_disk, NULL);
        return err_set(err, VIX_E_NOT_SUPPORTED, "%.300s: is of a type that is written in one go only", name);
    }
    return code;
}

static VixError open_allowed(struct host *host, struct nfc_host_grant *grant, const char *name, uint32_t flags,
                             struct nfc_host_disk *d, struct err *err)
{
    bool write = (flags & NFC_OPEN_READ_ONLY) == 0;
    char *path = NULL;
    VixError code = allowed_path(host, &grant->scope, name, write, &path, err);

    if (code == VIX_OK) {
        d->name = alloc_text(name, err);
        d->peer = alloc_text(grant->peer, err);
        code = d->name != NULL && d->peer != NULL ? open_path(&grant->scope, path, flags, name, &d->disk, err)
                                                  : VIX_E_OUT_OF_MEMORY;
    }
    free(path);
    return code;
}

static VixError host_open(void *ctx, struct nfc_host_grant *grant, const char *name, uint32_t flags,
                          struct nfc_host_disk **ret_disk, struct nfc_host_disk_info *ret_info, struct err *err)
{
    const char *mode = (flags & NFC_OPEN_READ_ONLY) != 0 ? "reading" : "writing";
    struct nfc_host_disk *d = alloc_zero(sizeof *d, err);

    if (d == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = open_allowed(((struct host_client *)ctx)->host, grant, name, flags, d, err);
    if (code == VIX_OK) {
        code = tell_info(d, ret_info, err);
        if (code != VIX_OK) {
            (void)disk_close(d->disk, NULL);
        }
    }
    if (code != VIX_OK) {
        host_log(HOST_LOG_WARN, "%s: user %s is refused %.300s for %s: %s", grant->peer, grant->scope.user, name, mode,
                 err->text);
        free(d->name);
        free(d->peer);
        free(d);
        return code;
    }
    host_log(HOST_LOG_INFO, "%s: user %s opened %s for %s", grant->peer, grant->scope.user, name, mode);
    *ret_disk = d;
    return VIX_OK;
}

static VixError host_read(struct nfc_host_disk *d, uint64_t off, uint32_t len, void *buf, struct err *err)
{
    return disk_read(d->disk, off / SECTOR, len / SECTOR, buf, err);
}

static VixError host_write(struct nfc_host_disk *d, uint64_t off, uint32_t len, const void *buf, struct err *err)
{
    return disk_write(d->disk, off / SECTOR, len / SECTOR, buf, err);
}

static VixError host_flush(struct nfc_host_disk *d, struct err *err)
{
    return d->disk->ops->flush(d->disk, err);
}

/** Sets the bits of the chunks of a block; its sectors are counted from the first of them. */
static void set_bits(uint8_t *bitmap, uint64_t sector, uint64_t nsectors, uint64_t chunk_sectors)
{
    uint64_t last = (sector + nsectors - 1) / chunk_sectors;

    for (uint64_t i = sector / chunk_sectors; i <= last; i++) {
        bitmap[i / 8] = (uint8_t)(bitmap[i / 8] | 1u << i % 8);
    }
}

static VixError host_allocated(struct nfc_host_disk *d, uint64_t chunk, uint64_t start, uint32_t nchunks,
                               uint8_t *bitmap, struct err *err)
{
    uint64_t first = start / SECTOR, chunk_sectors = chunk / SECTOR;
    CLEANUP_FREE VixDiskLibBlock *blocks = alloc_array(ops_allocated_most(QUERY_STEP, 1), sizeof blocks[0], err);
    VixError code = blocks != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint64_t done = 0; code == VIX_OK && done < nchunks; done += QUERY_STEP) {
        uint64_t sector = first + done * chunk_sectors, n = min_u64(nchunks - done, QUERY_STEP);
        uint32_t count = 0;
        code = ops_allocated(d->disk, sector, n * chunk_sectors, chunk_sectors, blocks, &count, err);
        for (uint32_t i = 0; code == VIX_OK && i < count; i++) {
            set_bits(bitmap, blocks[i].offset - first, blocks[i].length, chunk_sectors);
        }
    }
    return code;
}

static VixError host_meta_get(struct nfc_host_disk *d, const char *key, char **ret_value, struct err *err)
{
    return d->disk->ops->meta_get(d->disk, key, ret_value, err);
}

static VixError host_meta_set(struct nfc_host_disk *d, const char *key, const char *value, struct err *err)
{
    if (value == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: keys of the disk database are set, not removed", d->name);
    }
    return d->disk->ops->meta_set(d->disk, key, value, err);
}

/** The protocol counts keys by their NULs: the one that ends the list here stays behind. */
static VixError host_meta_keys(struct nfc_host_disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    VixError code = d->disk->ops->meta_keys(d->disk, ret_keys, ret_len, err);

    if (code == VIX_OK && *ret_len > 0) {
        *ret_len -= 1;
    }
    return code;
}

/* ---- new disks ---- */

VixError host_check_disk_name(const struct datastore *ds, const char *path, struct err *err)
{
    return !text_ends_with(path, ".vmdk") || is_part_of_disk(path)
               ? err_set(err, VIX_E_FILE_NAME_INVALID,
                         "[%s] %.300s: a disk's name ends in .vmdk, and is not that of a part of a disk", ds->name,
                         path)
               : VIX_OK;
}

VixError host_create_disk(const struct datastore *ds, const char *path, VixDiskLibDiskType type,
                          VixDiskLibAdapterType adapter, uint32_t hw_version, uint64_t capacity, struct err *err)
{
    struct create_params p = {
        .type = type,
        .adapter = adapter,
        .hw_version = (uint16_t)hw_version,
        .capacity = capacity / SECTOR,
        .allow_over_2tb = true,
    };
    CLEANUP_FREE char *rooted = alloc_printf(err, "/%s", path);

    if (rooted == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = host_check_disk_name(ds, path, err);
    if (code == VIX_OK && hw_version > UINT16_MAX) {
        code = err_set(err, VIX_E_INVALID_ARG, "[%s] %.300s: a hardware version of %u cannot be: the most is %u",
                       ds->name, path, hw_version, UINT16_MAX);
    }
    return code == VIX_OK ? vmdk_create(ds->fs, rooted, &p, NULL, NULL, err) : code;
}

static VixError host_create(void *ctx, struct nfc_host_grant *grant, const char *name, uint32_t type, uint32_t adapter,
                            uint32_t hw_version, uint64_t capacity, struct err *err)
{
    const struct host *host = ((struct host_client *)ctx)->host;
    const struct datastore *ds = NULL;
    char *parsed = NULL;
    VixError code = datastore_parse(&host->stores, name, &ds, &parsed, err);
    CLEANUP_FREE char *path = parsed;

    if (code == VIX_OK && (grant->scope.kind != TICKET_DATASTORE || ds != grant->scope.ds || !grant->scope.writable)) {
        code = err_set(err, VIX_E_FILE_ACCESS_ERROR, "%.300s: the ticket does not allow disks to be made there", name);
    }
    if (code == VIX_OK) {
        code = host_create_disk(ds, path, (VixDiskLibDiskType)type, (VixDiskLibAdapterType)adapter, hw_version,
                                capacity, err);
    }
    host_log(code == VIX_OK ? HOST_LOG_INFO : HOST_LOG_WARN, "%s: user %s %s %.300s%s%s", grant->peer,
             grant->scope.user, code == VIX_OK ? "made" : "could not make", name, code == VIX_OK ? "" : ": ",
             code == VIX_OK ? "" : err->text);
    return code;
}

const struct nfc_host_ops host_nfc_ops = {
    .take_ticket = take_ticket,
    .end_grant = end_grant,
    .open = host_open,
    .read = host_read,
    .write = host_write,
    .flush = host_flush,
    .allocated = host_allocated,
    .meta_get = host_meta_get,
    .meta_set = host_meta_set,
    .meta_keys = host_meta_keys,
    .close = host_close,
    .create = host_create,
};

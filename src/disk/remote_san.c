/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_san.c - the way from a path on a datastore to a disk on the LUNs of this machine: what the server says of
 * machine and datastore, the LUNs by their ids, the file system on them, the chain of links; and, where the
 * configuration asks for it, the host's lease with its map. All that could make the bytes others than the server's is
 * found out here, before the transport is said to be used; then another one is.
 *
 * Two tell where the bytes are: the volume, and the lease. Where both do, they have to agree; where the volume cannot
 * be read, the lease alone will do for reading. Writing takes the volume, which knows what is shared and what is
 * metadata. In each case samples are compared with what the host gives over NFC. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "disk/disk_hardware.h"
#include "disk/disk_san.h"
#include "disk/guest.h"
#include "disk/lun.h"
#include "disk/san_compare.h"
#include "vmdk/chain.h"

/** A disk that is being opened. */
struct opening {
    struct remote *r;
    const struct remote_request *request;
    struct hostview view;
    struct disk_san_parts parts;
    struct vim_datastore *datastore;
    char *snapshot;    /* that the disk is leased as of; NULL: the machine has none */
    uint64_t capacity; /* bytes, as the server has it; 0: not told */
};

static VixError pass_over(const struct opening *o, VixError code, struct err *err, const char *why)
{
    return err_set(err, code, "%s: %s: not by SAN: %s", vim_peer(o->r->session), o->request->path, why);
}

/* ---- what the server says ---- */

static bool is_off(const struct vim_vm *vm)
{
    return vm->power_state != NULL && strcmp(vm->power_state, "poweredOff") == 0;
}

/** The disk of the machine as it is now, or as of the snapshot. */
static VixError check_disk(struct opening *o, const struct vim_vm *vm, struct err *err)
{
    const struct vim_disk *d = vim_disk_by_path(vm, o->request->path);

    if (d == NULL) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "the machine, or its snapshot, has no such disk");
    }
    if (d->backing_type != NULL && strstr(d->backing_type, "RawDisk") != NULL) {
        return pass_over(o, o->request->read_only ? VIX_E_NOT_SUPPORTED : VIX_E_FILE_READ_ONLY, err,
                         "it is a raw device mapping");
    }
    if (d->sharing) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "several machines write to it");
    }
    o->capacity = d->capacity;
    return disk_hardware_new(d, o->request->path, &o->parts.hardware, err);
}

/** A machine that runs writes to the first file of each of its disks, and to no other. */
static VixError check_not_live(const struct opening *o, const char *vm_ref, struct err *err)
{
    struct vim_vm *vm = NULL;

    VixError code = vim_read_vm(o->r->session, vm_ref, NULL, &vm, err);
    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *d = vim_disk_by_path(vm, o->request->path);
    if (!is_off(vm) && d != NULL && vim_disk_is_written(d, o->request->path)) {
        code = pass_over(o, VIX_E_NOT_SUPPORTED, err, "the machine runs and writes to this file");
    }
    vim_vm_free(vm);
    return code;
}

static VixError check_machine_state(struct opening *o, const struct vim_vm *vm, const char *vm_ref, struct err *err)
{
    bool has_snapshot = o->r->snapshot != NULL || vm->current_snapshot != NULL;

    if (!o->request->read_only && !has_snapshot) {
        return pass_over(o, VIX_E_FILE_READ_ONLY, err, "a disk is written only when the machine has a snapshot");
    }
    if (!is_off(vm) && o->r->snapshot == NULL) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "the machine is not off, and the connection names no snapshot");
    }
    if (has_snapshot) {
        o->snapshot = alloc_text(o->r->snapshot != NULL ? o->r->snapshot : vm->current_snapshot, err);
        if (o->snapshot == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return is_off(vm) ? VIX_OK : check_not_live(o, vm_ref, err);
}

static VixError check_machine(struct opening *o, struct err *err)
{
    char *vm_ref = NULL;
    struct vim_vm *vm = NULL;

    VixError code = remote_vm(o->r, &vm_ref, err);
    if (code == VIX_OK) {
        code = vim_read_vm(o->r->session, vm_ref, o->r->snapshot, &vm, err);
    }
    if (code == VIX_OK) {
        code = check_disk(o, vm, err);
    }
    if (code == VIX_OK) {
        code = check_machine_state(o, vm, vm_ref, err);
    }
    vim_vm_free(vm);
    free(vm_ref);
    return code;
}

static VixError read_datastore(struct opening *o, struct err *err)
{
    const char *path = o->request->path;
    CLEANUP_FREE char *name = alloc_text_n(path + 1, strcspn(path + 1, "]"), err);
    CLEANUP_FREE char *moref = NULL;

    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_find_datastore(o->r->session, name, &moref, err);
    return code == VIX_OK ? vim_read_datastore(o->r->session, moref, &o->datastore, err) : code;
}

/* ---- LUNs and volume ---- */

static VixError open_luns(struct opening *o, struct err *err)
{
    const struct vim_datastore *d = o->datastore;
    VixError code = VIX_OK;

    if (d->info_type == NULL || strcmp(d->info_type, "VmfsDatastoreInfo") != 0 || d->vmfs_uuid == NULL) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "its datastore is not VMFS");
    }
    if (d->extent_count == 0 || d->extent_count > VMFS_MAX_LUNS) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "its datastore has no LUNs, or too many");
    }
    for (size_t i = 0; i < d->extent_count && code == VIX_OK; i++) {
        code = lun_open(&o->view, d->extents[i].disk, !o->request->read_only, &o->parts.luns[i], err);
        if (code == VIX_OK) {
            o->parts.lun_count++;
        }
    }
    return code;
}

/** A device that takes no reads past the page cache: it was emptied when the LUN was opened, what hosts write from then
 * on is not seen. Good enough for what a snapshot keeps as it is, not for a map that is written by. */
static VixError check_cached(const struct opening *o, struct err *err)
{
    for (size_t i = 0; i < o->parts.lun_count; i++) {
        const struct store *lun = o->parts.luns[i];
        if (!lun->is_device || lun->align > 1) {
            continue;
        }
        if (!o->request->read_only) {
            return pass_over(o, VIX_E_FILE_READ_ONLY, err,
                             "a LUN of its datastore takes no unbuffered access, so its map may be an old one");
        }
        log_warn("%s: %s takes no unbuffered access: it is read through the page cache, which was emptied; what hosts "
                 "write from now on is not seen",
                 o->request->path, lun->path);
    }
    return VIX_OK;
}

static bool is_guessed(const struct opening *o)
{
    return o->parts.volume != NULL && vmfs_info(o->parts.volume)->guessed;
}

/** Where a part of the volume is not known for sure its disks are not written, and compared when they are read. */
static VixError check_guessed(struct opening *o, struct err *err)
{
    static const char why[] = "a table that tells where the volume's pieces are cannot be read";

    if (!is_guessed(o)) {
        return VIX_OK;
    }
    if (!o->request->read_only) {
        return pass_over(o, VIX_E_FILE_READ_ONLY, err, why);
    }
    log_news("%s: %s: they are taken to be where all known volumes have them", o->request->path, why);
    return VIX_OK;
}

static VixError open_volume(struct opening *o, struct err *err)
{
    struct vmfs_lun luns[VMFS_MAX_LUNS];

    for (size_t i = 0; i < o->parts.lun_count; i++) {
        luns[i] = (struct vmfs_lun){.store = o->parts.luns[i], .partition = o->datastore->extents[i].partition};
    }
    VixError code = vmfs_open(luns, o->parts.lun_count, &o->parts.volume, err);
    if (code == VIX_OK && strcmp(vmfs_info(o->parts.volume)->uuid, o->datastore->vmfs_uuid) != 0) {
        vmfs_close(TAKE_PTR(o->parts.volume));
        code = pass_over(o, VIX_E_NOT_SUPPORTED, err, "the volume on the LUNs is not the datastore's");
    }
    return code == VIX_OK ? check_guessed(o, err) : code;
}

/* ---- the chain ---- */

static VixError open_links(struct opening *o, bool writable, struct err *err)
{
    const char *file = strchr(o->request->path, ']') + 1;
    uint32_t flags = disk_local_chain_flags(o->request->flags) & ~(CHAIN_WRITE | CHAIN_DROP_TRACKING);

    flags |= CHAIN_OUTSIDE_OK; /* check_files knows better what is outside */
    file += strspn(file, " ");
    if (writable) {
        flags |= CHAIN_WRITE | CHAIN_KEEP_CID; /* the snapshot's files are made on this content ID */
    }
    CLEANUP_FREE char *path = alloc_printf(err, "/%s", file);
    return path != NULL ? disk_open_chain(o->parts.fs, path, flags, NULL, &o->parts.bytes, err) : VIX_E_OUT_OF_MEMORY;
}

/** Whether a file lies in the folder of another one, or below. */
static bool is_beside(const char *real, const char *anchor)
{
    size_t len = (size_t)(strrchr(anchor, '/') - anchor);
    return strncmp(real, anchor, len) == 0 && real[len] == '/';
}

/** Whether the server names a file of the volume as that of the index-th link. */
static bool is_named(const struct opening *o, const char *real, size_t index)
{
    const struct disk_hardware *h = o->parts.hardware;
    const char *path = o->request->path;
    size_t store_len = strcspn(path, "]") + 1;

    if (index >= h->file_count || strncmp(h->files[index], path, store_len) != 0) {
        return false;
    }
    const char *name = h->files[index] + store_len;
    return strcmp(real + 1, name + strspn(name, " /")) == 0;
}

/** A descriptor is data from anybody: files elsewhere on the volume are a disk's only if the server says so, as it does
 * of the parents of linked clones. */
static VixError check_files(const struct opening *o, struct err *err)
{
    const struct chain *c = disk_local_chain(o->parts.bytes);
    const char *wrong = NULL;

    for (size_t i = 0; i < c->link_count && wrong == NULL; i++) {
        const struct link *l = c->links[i];
        if (i > 0 && !is_beside(l->real_path, c->links[i - 1]->real_path) && !is_named(o, l->real_path, i)) {
            wrong = l->real_path;
        }
        for (size_t x = 0; x < l->extent_count && wrong == NULL; x++) {
            const char *real = l->extents[x].real_path;
            wrong = real != NULL && !is_beside(real, l->real_path) ? real : NULL;
        }
    }
    if (wrong == NULL || config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false)) {
        return VIX_OK;
    }
    return err_set(
        err, VIX_E_FILE_ACCESS_ERROR,
        "%s: %s: not by SAN: its descriptors lead to %s, which is in another folder, and no file of the disk as "
        "the server has it (%s lifts this)",
        vim_peer(o->r->session), o->request->path, wrong, CONFIG_ALLOW_OUTSIDE_PATHS);
}

/** Only a base disk of plain bytes is written: what grows, or lies on another link, is the hosts'. */
static VixError check_base(const struct opening *o, const struct link *l, struct err *err)
{
    if (l->desc->parent_cid != CID_NO_PARENT) {
        return pass_over(o, VIX_E_FILE_READ_ONLY, err, "it is a child; only base disks are written");
    }
    if (l->desc->change_track_path != NULL) {
        return pass_over(o, VIX_E_FILE_READ_ONLY, err,
                         "its changes are tracked; tracking must be off while it is written");
    }
    for (size_t i = 0; i < l->desc->extent_count; i++) {
        if (l->desc->extents[i].type != EXTENT_VMFS && l->desc->extents[i].type != EXTENT_FLAT) {
            return pass_over(o, VIX_E_FILE_READ_ONLY, err, "it has an extent that is not plain bytes");
        }
    }
    return VIX_OK;
}

/** Opened for reading first: what it is decides whether it may be opened for writing. */
static VixError open_chain(struct opening *o, struct err *err)
{
    VixError code = vmfs_fs_new(o->parts.volume, &o->parts.fs, err);

    if (code == VIX_OK) {
        code = open_links(o, false, err);
    }
    if (code == VIX_OK) {
        code = check_files(o, err);
    }
    if (code == VIX_OK && !o->request->read_only) {
        code = check_base(o, disk_local_chain(o->parts.bytes)->links[0], err);
        if (code == VIX_OK) {
            code = disk_close(o->parts.bytes, err);
            o->parts.bytes = NULL;
        }
        if (code == VIX_OK) {
            code = open_links(o, true, err);
        }
    }
    if (code == VIX_OK && o->capacity != 0 && o->parts.bytes->capacity * SECTOR_SIZE != o->capacity) {
        code = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: %s: %" PRIu64 " bytes on the LUN, the server says %" PRIu64,
                       vim_peer(o->r->session), o->request->path, o->parts.bytes->capacity * SECTOR_SIZE, o->capacity);
    }
    return code;
}

/* ---- the map ---- */

/** Whether all of a file may be overwritten. */
static VixError check_writable_file(const struct opening *o, struct vmfs_file *f, struct err *err)
{
    struct vmfs_survey s;

    VixError code = vmfs_file_survey(f, &s, err);
    if (code != VIX_OK) {
        return code;
    }
    if (vmfs_file_is_in_use(f)) {
        return pass_over(o, VIX_E_FILE_READ_ONLY, err, "a host has it open for writing");
    }
    if (s.hole + s.to_be_zeroed + s.unsure + s.not_own != 0) {
        return err_set(err, VIX_E_FILE_READ_ONLY,
                       "%s: %s: not by SAN: of its bytes %" PRIu64 " are not allocated, %" PRIu64
                       " are to be zeroed, %" PRIu64 " are shared; only a disk that is zeroed eagerly can be written",
                       vim_peer(o->r->session), o->request->path, s.hole, s.to_be_zeroed + s.unsure, s.not_own);
    }
    return VIX_OK;
}

/** Whether all of a file can be read: where some of a block is zeros, and which is not known, it cannot. */
static VixError check_readable_file(const struct opening *o, struct vmfs_file *f, struct err *err)
{
    struct vmfs_survey s;

    if (!vmfs_file_has_to_be_zeroed(f)) {
        return VIX_OK;
    }
    VixError code = vmfs_file_survey(f, &s, err);
    if (code == VIX_OK && s.unsure != 0) {
        code = pass_over(o, VIX_E_NOT_SUPPORTED, err,
                         "some of its blocks are zeroed in part, and which parts is not known");
    }
    return code;
}

static VixError check_link(const struct opening *o, const struct link *l, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = 0; i < l->extent_count && code == VIX_OK; i++) {
        struct vmfs_file *f = NULL;
        if (l->extents[i].real_path == NULL) {
            continue;
        }
        code = vmfs_file_open(o->parts.volume, l->extents[i].real_path, &f, err);
        if (code == VIX_OK) {
            code = l->writable ? check_writable_file(o, f, err) : check_readable_file(o, f, err);
        }
        vmfs_file_close(f);
    }
    return code;
}

static VixError check_chain(const struct opening *o, struct err *err)
{
    uint8_t sector[SECTOR_SIZE];
    const struct chain *c = disk_local_chain(o->parts.bytes);
    VixError code = VIX_OK;

    for (size_t i = 0; i < c->link_count && code == VIX_OK; i++) {
        code = check_link(o, c->links[i], err);
    }
    return code == VIX_OK ? disk_read(o->parts.bytes, 0, 1, sector, err) : code;
}

/** The disk by the volume alone. On failure nothing of it is left but the volume. */
static VixError read_volume(struct opening *o, struct err *err)
{
    VixError code = open_chain(o, err);

    if (code == VIX_OK) {
        code = check_chain(o, err);
    }
    if (code != VIX_OK && o->parts.bytes != NULL) {
        (void)disk_close(TAKE_PTR(o->parts.bytes), NULL);
    }
    return code;
}

/* ---- the lease ---- */

/** Asks for it where the configuration says so. Without one the volume alone tells where the bytes are. */
static void take_lease(struct opening *o)
{
    const char *names[VMFS_MAX_LUNS];
    struct err err;

    if (!config_bool(CONFIG_SAN_LEASE, false)) {
        return;
    }
    if (o->snapshot == NULL || o->capacity == 0) {
        log_news("%s: no lease is taken: the machine has no snapshot", o->request->path);
        return;
    }
    for (size_t i = 0; i < o->parts.lun_count; i++) {
        names[i] = o->datastore->extents[i].disk;
    }
    const struct lease_request q = {
        .session = o->r->session,
        .snapshot = o->snapshot,
        .path = o->request->path,
        .read_only = o->request->read_only,
        .capacity = o->capacity,
        .luns = o->parts.luns,
        .names = names,
        .lun_count = o->parts.lun_count,
        .volume = o->parts.volume,
    };
    err_init(&err);
    if (lease_take(&q, &o->parts.lease, &err) != VIX_OK) {
        log_news("%s: no lease is held: %s", o->request->path, err.text);
    }
}

/** Whether the lease has the same at the bytes of a run, which begins at disk_off. */
static bool lease_agrees(const struct lease *l, const struct vmfs_run *run, uint64_t disk_off)
{
    for (uint64_t done = 0; done < run->len;) {
        const struct vmfs_run *other = lease_run_at(l, disk_off + done);
        uint64_t skip = disk_off + done - other->off;
        if (other->kind != run->kind ||
            (run->kind == VMFS_DATA && (other->lun != run->lun || other->lun_off + skip != run->lun_off + done))) {
            return false;
        }
        done += other->len - skip;
    }
    return true;
}

static VixError compare_file(const struct opening *o, struct vmfs_file *f, const struct extent_line *line,
                             uint64_t disk_off, struct err *err)
{
    uint64_t off = line->offset * SECTOR_SIZE, end = off + line->nsectors * SECTOR_SIZE;

    for (uint64_t at = off; at < end;) {
        struct vmfs_run run;
        VixError code = vmfs_file_map(f, at, end - at, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        if (!lease_agrees(o->parts.lease, &run, disk_off + (at - off))) {
            return err_set(err, VIX_E_NOT_SUPPORTED,
                           "%s: %s: not by SAN: the map of the host's lease is not that of the volume, within the "
                           "%" PRIu64 " bytes at %" PRIu64,
                           vim_peer(o->r->session), o->request->path, run.len, disk_off + (at - off));
        }
        at += run.len;
    }
    return VIX_OK;
}

/** Whether both say the same of a disk of one link of plain bytes. How a host flattens a chain is not known. */
static VixError compare_maps(const struct opening *o, struct err *err)
{
    const struct chain *c = disk_local_chain(o->parts.bytes);
    const struct link *l = c->links[0];
    VixError code = VIX_OK;

    for (size_t i = 0; i < l->extent_count; i++) {
        if (c->link_count > 1 || l->extents[i].real_path == NULL ||
            (l->desc->extents[i].type != EXTENT_VMFS && l->desc->extents[i].type != EXTENT_FLAT)) {
            return VIX_OK;
        }
    }
    for (size_t i = 0; i < l->extent_count && code == VIX_OK; i++) {
        struct vmfs_file *f = NULL;
        code = vmfs_file_open(o->parts.volume, l->extents[i].real_path, &f, err);
        if (code == VIX_OK) {
            code = compare_file(o, f, &l->desc->extents[i], l->extents[i].first_sector * SECTOR_SIZE, err);
        }
        vmfs_file_close(f);
    }
    if (code == VIX_OK) {
        size_t count;
        (void)lease_runs(o->parts.lease, &count);
        log_news("%s: lease and volume agree in %zu runs", o->request->path, count);
    }
    return code;
}

static VixError check_lease_is_writable(const struct opening *o, struct err *err)
{
    size_t count;
    const struct vmfs_run *runs = lease_runs(o->parts.lease, &count);

    for (size_t i = 0; i < count; i++) {
        if (runs[i].kind != VMFS_DATA || runs[i].shared) {
            return err_set(err, VIX_E_FILE_READ_ONLY,
                           "%s: %s: not by SAN: the host's lease does not let the %" PRIu64 " bytes at %" PRIu64
                           " be written",
                           vim_peer(o->r->session), o->request->path, runs[i].len, runs[i].off);
        }
    }
    return VIX_OK;
}

/** What volume and lease make of the disk together. @code, *err: what the volume alone did. */
static VixError join(struct opening *o, VixError code, struct err *err)
{
    if (o->parts.lease == NULL || code == VIX_E_OUT_OF_MEMORY || code == VIX_E_DISK_NEEDKEY) {
        return code; /* of an encrypted disk the LUN has nothing but that */
    }
    if (code == VIX_OK) {
        code = compare_maps(o, err);
        return code == VIX_OK && !o->request->read_only ? check_lease_is_writable(o, err) : code;
    }
    if (!o->request->read_only) {
        return code;
    }
    log_news("%s: read by the lease alone: %s", o->request->path, err->text);
    return disk_lease_new(o->parts.lease, &o->parts.bytes, err);
}

/* ---- against NFC ---- */

/** A disk by the lease alone, or by a map that was guessed in part, has to be compared, so has one that is to be
 * written; others are read where the host gives nothing to compare them with. */
static VixError check_bytes(struct opening *o, struct err *err)
{
    bool needed = disk_local_chain(o->parts.bytes) == NULL || is_guessed(o);
    struct err why;

    if (!needed && !config_bool(CONFIG_SAN_CHECK, true)) {
        return VIX_OK;
    }
    err_init(&why);
    switch (san_compare(o->r, o->request, o->parts.bytes, &why)) {
    case SAN_EQUAL:
        return VIX_OK;
    case SAN_DIFFERENT:
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: %s: not by SAN: %s", vim_peer(o->r->session), o->request->path,
                       why.text);
    case SAN_NOT_COMPARED:
    default:
        break;
    }
    if (needed || !o->request->read_only) {
        return err_set(err, needed ? VIX_E_NOT_SUPPORTED : VIX_E_FILE_READ_ONLY,
                       "%s: %s: not by SAN: its bytes cannot be compared with the host's: %s", vim_peer(o->r->session),
                       o->request->path, why.text);
    }
    log_news("%s: read by SAN, not compared with the host's bytes: %s", o->request->path, why.text);
    return VIX_OK;
}

/* ---- all of it ---- */

static void san_closed(void *ctx, struct disk *d)
{
    remote_forget_disk(ctx, d);
}

static VixError open_disk(struct opening *o, struct err *err)
{
    VixError code = open_volume(o, err);

    take_lease(o);
    if (code == VIX_OK) {
        code = read_volume(o, err);
    }
    code = join(o, code, err);
    return code == VIX_OK ? check_bytes(o, err) : code;
}

static VixError open_parts(struct opening *o, struct err *err)
{
    VixError code = check_machine(o, err);

    if (code == VIX_OK) {
        code = read_datastore(o, err);
    }
    if (code == VIX_OK) {
        code = open_luns(o, err);
    }
    if (code == VIX_OK) {
        code = check_cached(o, err);
    }
    return code == VIX_OK ? open_disk(o, err) : code;
}

/** What LUNs and volumes say of a failure knows of no server. */
static void begin_with_server(const struct opening *o, struct err *err)
{
    const char *peer = vim_peer(o->r->session);

    if (err != NULL && strncmp(err->text, peer, strlen(peer)) != 0) {
        err_prefix(err, "%s: %s: not by SAN: ", peer, o->request->path);
    }
}

/** For the log. */
static const char *how_read(const struct opening *o)
{
    static const char *const how[] = {"by the volume", "by the volume and a lease", "by the lease"};
    return how[o->parts.lease == NULL ? 0 : disk_local_chain(o->parts.bytes) != NULL ? 1 : 2];
}

VixError remote_open_san(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                         struct err *err)
{
    struct opening o = {.r = r, .request = request, .view = hostview_here()};

    if (request->capacity != 0) {
        return pass_over(&o, VIX_E_FILE_READ_ONLY, err, "a disk that was just made has no snapshot");
    }
    if (!lun_any(&o.view)) {
        return pass_over(&o, VIX_E_NOT_SUPPORTED, err, "this machine has no device that could be a LUN");
    }
    VixError code = open_parts(&o, err);
    if (code == VIX_OK) {
        code = disk_san_new(request->path, &o.parts, san_closed, r, ret_disk, err);
    }
    vim_datastore_free(o.datastore);
    free(o.snapshot);
    if (code != VIX_OK) {
        (void)disk_san_parts_free(&o.parts, NULL);
        begin_with_server(&o, err);
        return code;
    }
    log_news("%s: %s: by SAN, %zu LUNs, %s, for %s", vim_peer(r->session), request->path, o.parts.lun_count,
             how_read(&o), request->read_only ? "reading" : "writing");
    if (guest_is_vmware(&o.view)) {
        log_news("%s: by SAN in a virtual machine of VMware, where VDDK has no such transport", request->path);
    }
    return VIX_OK;
}

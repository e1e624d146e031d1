/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_san.c - the way from a path on a datastore to a disk on the LUNs of this machine: what the server says of
 * machine and datastore, the LUNs by their ids, the file system on them, the chain of links. All that could make the
 * bytes others than the server's is found out here, before the transport is said to be used; then another one is. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "disk/disk_san.h"
#include "disk/lun.h"
#include "disk/remote_int.h"
#include "vmdk/chain.h"

/** A disk that is being opened. */
struct opening {
    struct remote *r;
    const struct remote_request *request;
    struct hostview view;
    struct disk_san_parts parts;
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
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "it is a raw device mapping");
    }
    if (d->sharing) {
        return pass_over(o, VIX_E_NOT_SUPPORTED, err, "several machines write to it");
    }
    o->capacity = d->capacity;
    return VIX_OK;
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

static VixError read_datastore(const struct opening *o, struct vim_datastore **ret_datastore, struct err *err)
{
    const char *path = o->request->path;
    CLEANUP_FREE char *name = alloc_text_n(path + 1, strcspn(path + 1, "]"), err);
    CLEANUP_FREE char *moref = NULL;

    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_find_datastore(o->r->session, name, &moref, err);
    return code == VIX_OK ? vim_read_datastore(o->r->session, moref, ret_datastore, err) : code;
}

/* ---- LUNs and volume ---- */

static VixError open_volume(struct opening *o, const struct vim_datastore *d, struct err *err)
{
    struct vmfs_lun luns[VMFS_MAX_LUNS];
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
            luns[i] = (struct vmfs_lun){.store = o->parts.luns[i], .partition = d->extents[i].partition};
        }
    }
    if (code == VIX_OK) {
        code = vmfs_open(luns, d->extent_count, &o->parts.volume, err);
    }
    if (code == VIX_OK && strcmp(vmfs_info(o->parts.volume)->uuid, d->vmfs_uuid) != 0) {
        code = pass_over(o, VIX_E_NOT_SUPPORTED, err, "the volume on the LUNs is not the datastore's");
    }
    return code;
}

/* ---- the chain ---- */

static VixError open_links(struct opening *o, bool writable, struct err *err)
{
    const char *file = strchr(o->request->path, ']') + 1;
    uint32_t flags = disk_local_chain_flags(o->request->flags) & ~(CHAIN_WRITE | CHAIN_DROP_TRACKING);

    file += strspn(file, " ");
    if (writable) {
        flags |= CHAIN_WRITE | CHAIN_KEEP_CID; /* the snapshot's files are made on this content ID */
    }
    CLEANUP_FREE char *path = alloc_printf(err, "/%s", file);
    return path != NULL ? disk_open_chain(o->parts.fs, path, flags, NULL, &o->parts.chain, err) : VIX_E_OUT_OF_MEMORY;
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
    if (code == VIX_OK && !o->request->read_only) {
        code = check_base(o, disk_local_chain(o->parts.chain)->links[0], err);
        if (code == VIX_OK) {
            code = disk_close(o->parts.chain, err);
            o->parts.chain = NULL;
        }
        if (code == VIX_OK) {
            code = open_links(o, true, err);
        }
    }
    if (code == VIX_OK && o->capacity != 0 && o->parts.chain->capacity * SECTOR_SIZE != o->capacity) {
        code = err_set(err, VIX_E_DISK_INVALIDDISK, "%s: %s: %" PRIu64 " bytes on the LUN, the server says %" PRIu64,
                       vim_peer(o->r->session), o->request->path, o->parts.chain->capacity * SECTOR_SIZE, o->capacity);
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
    const struct chain *c = disk_local_chain(o->parts.chain);
    VixError code = VIX_OK;

    for (size_t i = 0; i < c->link_count && code == VIX_OK; i++) {
        code = check_link(o, c->links[i], err);
    }
    return code == VIX_OK ? disk_read(o->parts.chain, 0, 1, sector, err) : code;
}

/* ---- all of it ---- */

static void san_closed(void *ctx, struct disk *d)
{
    remote_forget_disk(ctx, d, 0, 0);
}

static VixError open_parts(struct opening *o, struct err *err)
{
    struct vim_datastore *d = NULL;

    VixError code = check_machine(o, err);
    if (code == VIX_OK) {
        code = read_datastore(o, &d, err);
    }
    if (code == VIX_OK) {
        code = open_volume(o, d, err);
    }
    if (code == VIX_OK) {
        code = open_chain(o, err);
    }
    if (code == VIX_OK) {
        code = check_chain(o, err);
    }
    vim_datastore_free(d);
    return code;
}

/** What LUNs and volumes say of a failure knows of no server. */
static void begin_with_server(const struct opening *o, struct err *err)
{
    const char *peer = vim_peer(o->r->session);

    if (err != NULL && strncmp(err->text, peer, strlen(peer)) != 0) {
        err_prefix(err, "%s: %s: not by SAN: ", peer, o->request->path);
    }
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
    if (code != VIX_OK) {
        (void)disk_san_parts_free(&o.parts, NULL);
        begin_with_server(&o, err);
        return code;
    }
    log_news("%s: %s: by SAN, %zu LUNs, VMFS %" PRIu32 " %s, for %s", vim_peer(r->session), request->path,
             o.parts.lun_count, vmfs_info(o.parts.volume)->major, vmfs_info(o.parts.volume)->uuid,
             request->read_only ? "reading" : "writing");
    return VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd.c - disks of a server by attaching them to the virtual machine that this process runs in: find ourselves, see
 * that the disk may be attached, attach, wait for the device, open it; the other way around when it is closed. No call
 * ever makes or removes a file. One disk at a time is attached or detached on a machine, under the lock of the folder
 * of records, so that a device that appears meanwhile is ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/guest.h"
#include "disk/hotadd_int.h"

#define GONE_MS 5000u /* limit: ms for a detached disk to go */
#define READ_MODE "independent_nonpersistent"
#define WRITE_MODE "persistent"

/* ---- may it be attached ---- */

/** A disk that is to be opened, and the machines it has to do with. */
struct plan {
    struct remote *r;
    const struct remote_request *request;
    struct vim_vm *source; /* as it is now */
    struct vim_vm *asked;  /* as of the snapshot; source if none is named */
    struct vim_vm *proxy;
    const struct vim_disk *disk; /* of asked */
};

static void plan_done(struct plan *p)
{
    if (p->asked != p->source) {
        vim_vm_free(p->asked);
    }
    vim_vm_free(p->source);
    vim_vm_free(p->proxy);
}

static VixError refuse(const struct plan *p, VixError code, const char *why, struct err *err)
{
    return err_set(err, code, "%s: %s %s", vim_peer(p->r->session), p->request->path, why);
}

static bool has_snapshot(const struct plan *p)
{
    return p->r->snapshot != NULL || p->source->current_snapshot != NULL;
}

static bool is_off(const struct vim_vm *vm)
{
    return vm->power_state != NULL && strcmp(vm->power_state, "poweredOff") == 0;
}

/** Whether path is the last file of a chain, and not one of those on top of it. */
static bool is_base(const struct vim_disk *d, const char *path)
{
    const struct vim_disk last = {.files = d->files + d->file_count - 1, .file_count = 1};
    return vim_disk_has_path(&last, path);
}

static bool is_top(const struct vim_disk *d, const char *path)
{
    const struct vim_disk first = {.files = d->files, .file_count = 1};
    return vim_disk_has_path(&first, path);
}

static VixError check_kind(const struct plan *p, struct err *err)
{
    const struct vim_disk *d = p->disk;
    const char *backing = d->backing_type != NULL ? d->backing_type : "";

    if (d->controller_type != NULL && strcmp(d->controller_type, "VirtualIDEController") == 0) {
        return refuse(p, VIX_E_NOT_SUPPORTED, "is on an IDE controller, whose disks are not attached", err);
    }
    if (strncmp(backing, "VirtualDiskFlat", 15) != 0 && strncmp(backing, "VirtualDiskSparse", 17) != 0 &&
        strncmp(backing, "VirtualDiskSeSparse", 19) != 0) {
        return err_set(
            err, VIX_E_NOT_SUPPORTED,
            "%s: %s is no file that can be attached to another machine (a raw device mapping, perhaps): %.60s",
            vim_peer(p->r->session), p->request->path, backing);
    }
    if ((p->request->flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK) != 0 && !is_base(d, p->request->path)) {
        return refuse(p, VIX_E_NOT_SUPPORTED, "is a child: attached, it is always opened with its parents", err);
    }
    return VIX_OK;
}

static VixError check_reading(const struct plan *p, struct err *err)
{
    const struct vim_disk *now = vim_disk_by_path(p->source, p->request->path);

    if (!is_off(p->source) && now != NULL && is_top(now, p->request->path)) {
        return refuse(p, VIX_E_NOT_SUPPORTED,
                      "is written to by its machine, which is not powered off: a snapshot has to be made and named",
                      err);
    }
    return VIX_OK;
}

static VixError check_writing(const struct plan *p, struct err *err)
{
    if (!has_snapshot(p)) {
        return refuse(p, VIX_E_FILE_READ_ONLY, "is attached for writing only when its machine has a snapshot", err);
    }
    if (!is_off(p->source)) {
        return refuse(p, VIX_E_FILE_READ_ONLY, "is attached for writing only when its machine is powered off", err);
    }
    if (!is_base(p->disk, p->request->path)) {
        return refuse(p, VIX_E_FILE_READ_ONLY, "is a child: only base disks are attached for writing", err);
    }
    return VIX_OK;
}

static VixError is_vsan(struct vim_session *s, const char *datastore, bool *ret_vsan, struct err *err)
{
    CLEANUP_FREE char *type = NULL;
    VixError code = vim_datastore_type(s, datastore, &type, err);

    if (code == VIX_OK) {
        *ret_vsan = type != NULL && text_equal_nocase(type, "vsan");
    }
    return code;
}

/** A disk on vSAN is attached only to a machine that is on vSAN too, and the other way around. */
static VixError check_vsan(const struct plan *p, struct err *err)
{
    const struct vim_vm *proxy = p->proxy;
    bool wanted = false;
    bool same = proxy->datastore_count == 0;
    VixError code = is_vsan(p->r->session, p->disk->datastore, &wanted, err);

    for (size_t i = 0; i < proxy->datastore_count && code == VIX_OK && !same; i++) {
        bool found = false;
        code = is_vsan(p->r->session, proxy->datastores[i], &found, err);
        same = found == wanted;
    }
    if (code == VIX_OK && !same) {
        code = refuse(p, VIX_E_NOT_SUPPORTED,
                      wanted ? "is on vSAN, and this machine is not" : "is not on vSAN, as this machine is", err);
    }
    return code;
}

/** The host that this machine runs on has to have the datastore. */
static VixError check_datastore(const struct plan *p, struct err *err)
{
    bool has = true;

    if (p->disk->datastore == NULL) {
        return VIX_OK;
    }
    if (p->proxy->host == NULL) {
        return check_vsan(p, err);
    }
    VixError code = vim_host_has_datastore(p->r->session, p->proxy->host, p->disk->datastore, &has, err);
    if (code == VIX_OK && !has) {
        code = refuse(p, VIX_E_NOT_SUPPORTED, "is on a datastore that the host of this machine does not have", err);
    }
    return code == VIX_OK ? check_vsan(p, err) : code;
}

static VixError read_source(struct plan *p, struct err *err)
{
    CLEANUP_FREE char *vm = NULL;
    struct vim_session *s = p->r->session;
    VixError code = remote_vm(p->r, &vm, err);

    if (code == VIX_OK) {
        code = vim_read_vm(s, vm, NULL, &p->source, err);
    }
    p->asked = p->source;
    if (code == VIX_OK && p->r->snapshot != NULL) {
        p->asked = NULL;
        code = vim_read_vm(s, vm, p->r->snapshot, &p->asked, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    p->disk = vim_disk_by_path(p->asked, p->request->path);
    return p->disk != NULL ? VIX_OK : refuse(p, VIX_E_NOT_SUPPORTED, "is no disk of the virtual machine", err);
}

static VixError make_plan(struct plan *p, struct err *err)
{
    struct hostview v = hostview_here();

    if (p->request->capacity > 0) {
        return refuse(p, VIX_E_NOT_SUPPORTED, "belongs to no virtual machine yet", err);
    }
    VixError code = guest_find(&v, p->r->session, &p->proxy, err);
    if (code == VIX_OK) {
        code = read_source(p, err);
    }
    if (code == VIX_OK) {
        code = check_kind(p, err);
    }
    if (code == VIX_OK) {
        code = p->request->read_only ? check_reading(p, err) : check_writing(p, err);
    }
    return code == VIX_OK ? check_datastore(p, err) : code;
}

/** What this machine has attached now, after an earlier process has been cleaned up behind. */
static VixError check_proxy(const struct hotadd_folder *f, struct plan *p, struct err *err)
{
    bool changed = false;
    VixError code = hotadd_clear(f, p->r->session, p->proxy, p->request->path, &changed, err);

    if (code == VIX_OK) {
        struct vim_vm *now = NULL;
        code = vim_read_vm(p->r->session, p->proxy->moref, NULL, &now, err);
        if (code == VIX_OK) {
            vim_vm_free(p->proxy);
            p->proxy = now;
        }
    }
    if (code == VIX_OK && vim_disk_by_path(p->proxy, p->request->path) != NULL) {
        code = refuse(p, VIX_E_NOT_SUPPORTED, "is a disk of this machine itself, or below one", err);
    }
    return code;
}

/* ---- attaching ---- */

static VixError new_record(const struct hotadd_folder *f, const struct plan *p, struct hotadd *h, struct err *err)
{
    struct hotadd_record what = {
        .server = alloc_text(hotadd_server_name(p->r->session), err),
        .proxy = p->proxy->moref,
        .source = p->source->moref,
        .path = h->path,
    };
    CLEANUP_FREE char *mode = alloc_text(p->request->read_only ? READ_MODE : WRITE_MODE, err);
    CLEANUP_FREE char *server = what.server;

    if (server == NULL || mode == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    what.mode = mode;
    return hotadd_record_new(f, &what, &h->record, err);
}

static const struct vim_disk *disk_with_key(const struct vim_vm *vm, int32_t key)
{
    for (size_t i = 0; i < vm->disk_count; i++) {
        if (vm->disks[i].key == key) {
            return &vm->disks[i];
        }
    }
    return NULL;
}

/** Where the server has put it, and how it is known there. */
static VixError read_back(struct hotadd *h, struct hotadd_want *ret_want, struct err *err)
{
    struct vim_vm *now = NULL;
    VixError code = vim_read_vm(h->r->session, h->proxy, NULL, &now, err);

    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *d = disk_with_key(now, h->key);
    if (d == NULL || d->file_count == 0 || d->unit < 0 || d->capacity == 0) {
        code = err_set(err, VIX_E_FAIL, "%s: %s is attached to %s, but the server does not tell its unit and capacity",
                       vim_peer(h->r->session), h->path, h->proxy);
    } else {
        *ret_want = (struct hotadd_want){.unit = (unsigned)d->unit, .size = d->capacity};
        hotadd_id_of_uuid(d->uuid, ret_want->id, sizeof ret_want->id);
        h->listed = alloc_text(d->files[0], err);
        code = h->listed != NULL ? hotadd_record_set_uuid(h->record, d->uuid, err) : VIX_E_OUT_OF_MEMORY;
    }
    vim_vm_free(now);
    return code;
}

/** Somebody has built something on the device: it is not ours alone. */
static VixError check_holders(const struct hotadd *h, struct err *err)
{
    struct hostview_names names = {0};
    char path[96];

    (void)snprintf(path, sizeof path, "/sys/block/%s/holders", h->device.name);
    if (hostview_list(&h->view, path, &names, NULL) != VIX_OK || names.count == 0) {
        hostview_names_free(&names);
        return VIX_OK;
    }
    VixError code =
        err_set(err, VIX_E_FILE_ALREADY_LOCKED,
                "/dev/%s: the attached disk is in use on this machine already, by %.60s: keep device mapper, "
                "LVM and MD off disks that are attached",
                h->device.name, names.names[0]);
    hostview_names_free(&names);
    return code;
}

static VixError open_device(struct hotadd *h, bool read_only, const struct hotadd_want *want, struct store **ret_store,
                            struct err *err)
{
    char path[64];
    struct store *store = NULL;
    uint64_t size = 0;
    VixError code = check_holders(h, err);

    (void)snprintf(path, sizeof path, "/dev/%s", h->device.name);
    if (code == VIX_OK) {
        code =
            hostview_open_block(&h->view, path, STORE_CLAIM | STORE_LOCK | (read_only ? 0 : STORE_WRITE), &store, err);
    }
    if (code == VIX_OK) {
        code = store->ops->size(store, &size, err);
    }
    if (code == VIX_OK && size != want->size) {
        code = err_set(err, VIX_E_FAIL, "%s: the device has %" PRIu64 " bytes, the attached disk has %" PRIu64, path,
                       size, want->size);
    }
    if (code != VIX_OK) {
        store_close(store);
        return code;
    }
    *ret_store = store;
    return VIX_OK;
}

static VixError bring_in(const struct plan *p, struct hotadd *h, struct store **ret_store, struct err *err)
{
    struct scsi_disks before = {0};
    struct hotadd_want want;
    VixError code = scsi_list(&h->view, &before, err);

    if (code == VIX_OK) {
        code = vim_attach_disk(p->r->session, h->proxy, h->path, h->record->mode, p->disk->capacity, &h->key, &h->open,
                               err);
    }
    if (code == VIX_OK) {
        code = hotadd_record_set_key(h->record, h->key, err);
    }
    if (code == VIX_OK) {
        code = read_back(h, &want, err);
    }
    if (code == VIX_OK) {
        code = hotadd_wait(&h->view, &want, &before, p->r->config.hotadd_device_ms, &h->device, err);
    }
    if (code == VIX_OK) {
        code = open_device(h, p->request->read_only, &want, ret_store, err);
    }
    scsi_disks_free(&before);
    if (code == VIX_OK) {
        log_news("%s: attached to %s, key %d: /dev/%s at %s, known by its %s", h->path, h->proxy, h->key,
                 h->device.name, h->device.address, h->device.by_id ? want.id : "address and size");
    }
    return code;
}

/* ---- detaching ---- */

/** The key of what may have been attached although the call failed; 0: nothing is. */
static VixError look_for_key(struct hotadd *h, struct err *err)
{
    struct vim_vm *now = NULL;
    VixError code = vim_read_vm(h->r->session, h->proxy, NULL, &now, err);

    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *d = vim_disk_by_path(now, h->path);
    h->key = d != NULL && d->disk_mode != NULL && strcmp(d->disk_mode, h->record->mode) == 0 ? d->key : 0;
    vim_vm_free(now);
    if (h->key == 0 && h->open) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY, "%s: whether the disk was attached is not known: no answer told it",
                       vim_peer(h->r->session));
    }
    return VIX_OK;
}

static void hotadd_free(struct hotadd *h)
{
    hotadd_record_free(h->record);
    free(h->root);
    free(h->proxy);
    free(h->path);
    free(h->listed);
    free(h);
}

/** Takes the disk off this machine. @f: the records, locked, or with no folder where that failed. */
static VixError take_out(struct hotadd *h, const struct hotadd_folder *f, struct err *err)
{
    struct err why;
    VixError code = VIX_OK;

    err_init(&why);
    if (h->device.address[0] != '\0') {
        hotadd_forget_device(&h->view, h->device.address);
    }
    if (h->key == 0) {
        code = look_for_key(h, &why);
    }
    if (code == VIX_OK && h->key != 0) {
        code = hotadd_detach(h->r->session, h->proxy, h->key, h->listed != NULL ? h->listed : h->path, h->record->uuid,
                             &why);
    }
    if (code != VIX_OK) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY,
                       "%s: the disk stays attached to %s, which VixDiskLib_Cleanup will try to end: %s", h->path,
                       h->proxy, why.text);
    }
    if (h->device.address[0] != '\0') {
        hotadd_wait_gone(&h->view, h->device.address, GONE_MS);
    }
    hotadd_record_remove(f, TAKE_PTR(h->record));
    return VIX_OK;
}

VixError hotadd_end(struct hotadd *h, struct err *err)
{
    struct hotadd_folder f = {.folder = -1, .lock = -1};
    struct err why;
    VixError code = VIX_OK;

    err_init(&why);
    if (h->record != NULL) {
        /* without the lock too: better than to leave it attached */
        if (hotadd_folder_lock(h->r->config.hotadd_device_ms + HOTADD_BUSY_MS, &f, &why) != VIX_OK) {
            log_news("%s", why.text);
        }
        code = take_out(h, &f, err);
        hotadd_folder_unlock(&f);
    }
    hotadd_free(h);
    return code;
}

/* ---- the whole way ---- */

static VixError hotadd_new(const struct plan *p, struct hotadd **ret_hotadd, struct err *err)
{
    struct hotadd *h = alloc_zero(sizeof *h, err);

    if (h == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    h->r = p->r;
    h->root = alloc_text(hostview_here().root, err); /* the configuration may change before the disk is closed */
    h->view = (struct hostview){.root = h->root};
    h->proxy = alloc_text(p->proxy->moref, err);
    h->path = alloc_text(p->request->path, err);
    if (h->root == NULL || h->proxy == NULL || h->path == NULL) {
        hotadd_free(h);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_hotadd = h;
    return VIX_OK;
}

/** Attaches and opens, under the lock; what fails leaves nothing attached, or a record that tells of it. */
static VixError open_locked(const struct hotadd_folder *f, struct plan *p, struct hotadd *h, struct store **ret_store,
                            struct err *err)
{
    VixError code = check_proxy(f, p, err);

    if (code == VIX_OK) {
        code = new_record(f, p, h, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = bring_in(p, h, ret_store, err);
    if (code != VIX_OK) {
        struct err second;
        err_init(&second);
        if (take_out(h, f, &second) != VIX_OK) {
            log_news("%s", second.text);
        }
    }
    return code;
}

static VixError open_plan(struct plan *p, struct disk **ret_disk, struct err *err)
{
    struct hotadd_folder f;
    struct hotadd *h = NULL;
    struct store *store = NULL;
    struct disk_hardware *hardware = NULL;
    VixError code = disk_hardware_new(p->disk, p->request->path, &hardware, err);

    if (code == VIX_OK) {
        code = hotadd_new(p, &h, err);
    }
    if (code != VIX_OK) {
        disk_hardware_free(hardware);
        return code;
    }
    code = hotadd_folder_lock(p->r->config.hotadd_device_ms + HOTADD_BUSY_MS, &f, err);
    if (code == VIX_OK) {
        code = open_locked(&f, p, h, &store, err);
        hotadd_folder_unlock(&f);
    }
    if (code != VIX_OK) {
        disk_hardware_free(hardware);
        hotadd_free(h);
        return code;
    }
    return disk_hotadd_new(h, store, hardware, p->request->flags, ret_disk, err);
}

VixError remote_open_hotadd(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                            struct err *err)
{
    struct plan p = {.r = r, .request = request};
    VixError code = make_plan(&p, err);

    if (code == VIX_OK) {
        code = open_plan(&p, ret_disk, err);
    }
    plan_done(&p);
    return code;
}

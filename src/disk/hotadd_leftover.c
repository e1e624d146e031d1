/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd_leftover.c - disks that a crash has left attached to this machine: found by the records of processes that are
 * gone, and by what no record is needed for: disks of the machine that is backed up, in the mode that only this
 * transport uses, whose device nobody has open. All with the folder of the records locked. A disk is detached, never
 * removed. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "disk/guest.h"
#include "disk/hotadd_int.h"

#define READ_MODE "independent_nonpersistent"

const char *hotadd_server_name(struct vim_session *s)
{
    const struct vim_about *about = vim_about(s);
    return about->instance_uuid != NULL && about->instance_uuid[0] != '\0' ? about->instance_uuid : vim_peer(s);
}

VixError hotadd_detach(struct vim_session *s, const char *proxy, int32_t key, const char *path, const char *uuid,
                       struct err *err)
{
    VixError code = vim_detach_disk(s, proxy, key, path, uuid, err);
    return code == VIX_E_OBJECT_NOT_FOUND ? VIX_OK : code;
}

/** The kernel forgets a device that says it is this disk. One that does not say what it is stays: it may be another,
 * and the machine's controller takes it away when its disk has gone. */
static void forget_by_id(const struct hostview *v, const struct vim_disk *disk)
{
    struct scsi_disks all = {0};
    char id[64];

    hotadd_id_of_uuid(disk->uuid, id, sizeof id);
    if (id[0] == '\0' || scsi_list(v, &all, NULL) != VIX_OK) {
        return;
    }
    for (size_t i = 0; i < all.count; i++) {
        if (scsi_ids_have(&all.disks[i].ids, id)) {
            hotadd_forget_device(v, all.disks[i].address);
        }
    }
    scsi_disks_free(&all);
}

/** Whether nobody reads or writes a disk that no record tells of: a process with another folder of records, in another
 * container perhaps, has its device to itself. Every device that may be the disk is claimed for a moment, before
 * anything is changed. */
static VixError check_unused(const struct vim_disk *disk, struct err *err)
{
    const struct hostview v = hostview_here();
    /* a claim of the file that is a device in a test means nothing: there its lock tells */
    const uint32_t flags = STORE_CLAIM | STORE_LOCK | (hostview_is_real(&v) ? 0 : STORE_WRITE);
    struct hotadd_want want = {.unit = (unsigned)disk->unit, .size = disk->capacity};
    struct scsi_disks all = {0};
    VixError code = scsi_list(&v, &all, err);

    hotadd_id_of_uuid(disk->uuid, want.id, sizeof want.id);
    for (size_t i = 0; i < all.count && code == VIX_OK; i++) {
        const struct scsi_disk *d = &all.disks[i];
        char path[64];
        struct store *store = NULL;
        if (!scsi_ids_have(&d->ids, want.id) && !hotadd_may_be(&v, &want, d)) {
            continue;
        }
        (void)snprintf(path, sizeof path, "/dev/%s", d->name);
        code = hostview_open_block(&v, path, flags, &store, err);
        store_close(store);
    }
    scsi_disks_free(&all);
    return code;
}

static VixError detach_leftover(struct vim_session *s, const struct vim_vm *proxy, const struct vim_disk *disk,
                                struct err *err)
{
    struct hostview v = hostview_here();

    log_news("%s: %s was left attached to %s, key %d: detached", vim_peer(s), disk->files[0], proxy->moref, disk->key);
    forget_by_id(&v, disk);
    return hotadd_detach(s, proxy->moref, disk->key, disk->files[0], disk->uuid, err);
}

/** The disk of a record in the machine's hardware as it is now; NULL: it is not attached any more. */
static const struct vim_disk *disk_of_record(const struct vim_vm *proxy, const struct hotadd_record *r)
{
    for (size_t i = 0; i < proxy->disk_count; i++) {
        const struct vim_disk *d = &proxy->disks[i];
        bool same = r->key != 0 ? d->key == r->key : d->disk_mode != NULL && strcmp(d->disk_mode, r->mode) == 0;
        bool by_uuid = r->uuid != NULL && d->uuid != NULL && strcmp(d->uuid, r->uuid) == 0;
        if (same && d->file_count > 0 && (by_uuid || vim_disk_has_path(d, r->path))) {
            return d;
        }
    }
    return NULL;
}

static bool is_of(const struct hotadd_record *r, struct vim_session *s, const struct vim_vm *proxy)
{
    return strcmp(r->server, hotadd_server_name(s)) == 0 && strcmp(r->proxy, proxy->moref) == 0;
}

/** Ends what a record that is not live tells of. The record goes with it, if it does. */
static VixError end_record(const struct hotadd_folder *f, struct vim_session *s, const struct vim_vm *proxy,
                           struct hotadd_record **record, bool *ret_changed, struct err *err)
{
    const struct vim_disk *disk = disk_of_record(proxy, *record);
    VixError code = disk != NULL ? detach_leftover(s, proxy, disk, err) : VIX_OK;

    if (code == VIX_OK) {
        *ret_changed = *ret_changed || disk != NULL;
        hotadd_record_remove(f, TAKE_PTR(*record));
    }
    return code;
}

/** Takes records off a list that were ended. */
static void squeeze(struct hotadd_records *all)
{
    size_t count = 0;

    for (size_t i = 0; i < all->count; i++) {
        if (all->records[i] != NULL) {
            all->records[count++] = all->records[i];
        }
    }
    all->count = count;
}

VixError hotadd_clear(const struct hotadd_folder *f, struct vim_session *s, const struct vim_vm *proxy,
                      const char *path, bool *ret_changed, struct err *err)
{
    struct hotadd_records all = {0};
    VixError code = hotadd_records_load(f, &all, err);

    *ret_changed = false;
    for (size_t i = 0; i < all.count && code == VIX_OK; i++) {
        struct hotadd_record *r = all.records[i];
        if (!is_of(r, s, proxy)) {
            continue;
        }
        const struct vim_disk *disk = disk_of_record(proxy, r);
        if (disk == NULL && !r->live) {
            /* crashed between the detach and the end of its record: the same disk may get the same key again, and must
             * not be taken for the one of this record then */
            hotadd_record_remove(f, TAKE_PTR(all.records[i]));
            continue;
        }
        if (disk == NULL || (!vim_disk_has_path(disk, path) && strcmp(r->path, path) != 0)) {
            continue;
        }
        code = r->live ? err_set(err, VIX_E_FILE_ALREADY_LOCKED,
                                 "%s: %s is attached to this machine, %s, already, and open: another open disk has it",
                                 vim_peer(s), path, proxy->moref)
                       : end_record(f, s, proxy, &all.records[i], ret_changed, err);
    }
    squeeze(&all);
    hotadd_records_free(&all);
    return code;
}

/* ---- VixDiskLib_Cleanup ---- */

struct cleanup {
    const struct hotadd_folder *f;
    struct vim_session *s;
    const struct vim_vm *proxy, *source;
    uint32_t cleaned, remaining;
};

static void count_end(struct cleanup *c, VixError code, const struct err *err)
{
    if (code == VIX_OK) {
        c->cleaned++;
    } else {
        c->remaining++;
        log_news("%s: a disk stays attached to %s: %s", vim_peer(c->s), c->proxy->moref, err->text);
    }
}

static void clean_record(struct cleanup *c, struct hotadd_record **record)
{
    struct err err;
    bool attached = false;

    err_init(&err);
    if ((*record)->live) {
        c->remaining += disk_of_record(c->proxy, *record) != NULL;
        return;
    }
    VixError code = end_record(c->f, c->s, c->proxy, record, &attached, &err);
    if (code != VIX_OK || attached) {
        count_end(c, code, &err);
    }
}

static bool is_recorded(const struct hotadd_records *all, const struct cleanup *c, const struct vim_disk *disk)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct hotadd_record *r = all->records[i];
        if (is_of(r, c->s, c->proxy) && disk_of_record(c->proxy, r) == disk) {
            return true;
        }
    }
    return false;
}

static bool belongs_to(const struct vim_vm *vm, const struct vim_disk *disk)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (vim_disk_by_path(vm, disk->files[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/** What has no record, after those that had one: the hardware is read anew. */
static void clean_unrecorded(struct cleanup *c, const struct hotadd_records *all)
{
    for (size_t i = 0; i < c->proxy->disk_count; i++) {
        const struct vim_disk *d = &c->proxy->disks[i];
        struct err err;
        err_init(&err);
        if (d->disk_mode == NULL || strcmp(d->disk_mode, READ_MODE) != 0 || d->file_count == 0 ||
            !belongs_to(c->source, d) || is_recorded(all, c, d)) {
            continue;
        }
        VixError code = check_unused(d, &err);
        if (code == VIX_OK) {
            code = detach_leftover(c->s, c->proxy, d, &err);
        }
        count_end(c, code, &err);
    }
}

static VixError clean_locked(struct cleanup *c, struct err *err)
{
    struct hotadd_records all = {0};
    struct vim_vm *now = NULL;
    VixError code = hotadd_records_load(c->f, &all, err);

    for (size_t i = 0; i < all.count; i++) {
        const struct hotadd_record *r = all.records[i];
        if (is_of(r, c->s, c->proxy) && strcmp(r->source, c->source->moref) == 0) {
            clean_record(c, &all.records[i]);
        }
    }
    squeeze(&all);
    /* the machine's own disks are not left over, whatever their mode */
    if (code == VIX_OK && strcmp(c->proxy->moref, c->source->moref) != 0) {
        code = vim_read_vm(c->s, c->proxy->moref, NULL, &now, err);
        if (code == VIX_OK) {
            c->proxy = now;
            clean_unrecorded(c, &all);
        }
    }
    hotadd_records_free(&all);
    vim_vm_free(now);
    return code;
}

static VixError clean(struct cleanup *c, const char *source, unsigned device_ms, struct err *err)
{
    struct hotadd_folder f;
    struct vim_vm *vm = NULL;
    VixError code = vim_read_vm(c->s, source, NULL, &vm, err);

    if (code != VIX_OK) {
        return code;
    }
    code = hotadd_folder_lock(device_ms + HOTADD_BUSY_MS, &f, err);
    if (code == VIX_OK) {
        c->f = &f;
        c->source = vm;
        code = clean_locked(c, err);
        hotadd_folder_unlock(&f);
    }
    vim_vm_free(vm);
    return code;
}

VixError hotadd_cleanup(struct vim_session *s, const char *source, unsigned device_ms, uint32_t *ret_cleaned,
                        uint32_t *ret_remaining, struct err *err)
{
    struct hostview v = hostview_here();
    struct vim_vm *proxy = NULL;
    struct err why;

    err_init(&why);
    VixError code = guest_find(&v, s, &proxy, &why);
    if (code == VIX_E_NOT_SUPPORTED) {
        log_news("%s: no attached disk can be left here: %s", vim_peer(s), why.text);
        *ret_cleaned = 0;
        *ret_remaining = 0;
        return VIX_OK;
    }
    if (code != VIX_OK) {
        return err_set(err, code, "%s", why.text);
    }
    struct cleanup c = {.s = s, .proxy = proxy};
    code = clean(&c, source, device_ms, err);
    vim_vm_free(proxy);
    if (code == VIX_OK) {
        *ret_cleaned = c.cleaned;
        *ret_remaining = c.remaining;
    }
    return code;
}

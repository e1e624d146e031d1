/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd_wait.c - which device of this machine a disk is that was just attached. It is one that was not there before,
 * on a controller of VMware, as large as the server says; where the device tells its name, that is the disk's, else it
 * is at the unit that the server gave. What is not one device in that sense is none: another disk must never be taken
 * for it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/hotadd_int.h"

#define POLL_MS 200u        /* own: between looks */
#define FIRST_SCAN_MS 3000u /* own: before buses are scanned */
#define SCAN_MS 10000u      /* own: between scans */

/* ---- controllers ---- */

/** What a controller of VMware does with units: the target of a disk is its unit; or each disk that appears gets the
 * next number, as the kernel's transport class for SAS has it (sas_rphy_add). */
enum controller { CONTROLLER_FOREIGN, CONTROLLER_BY_UNIT, CONTROLLER_BY_ORDER };

static enum controller controller_of(const struct hostview *v, unsigned host)
{
    static const struct {
        const char *driver;
        enum controller kind;
    } known[] = {{"vmw_pvscsi", CONTROLLER_BY_UNIT},
                 {"mptspi", CONTROLLER_BY_UNIT},
                 {"mptsas", CONTROLLER_BY_ORDER},
                 {"BusLogic", CONTROLLER_BY_UNIT}};
    CLEANUP_FREE char *name = NULL;
    char path[96];

    (void)snprintf(path, sizeof path, "/sys/class/scsi_host/host%u/proc_name", host);
    if (hostview_read_text(v, path, &name, NULL) != VIX_OK) {
        return CONTROLLER_FOREIGN;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].driver) == 0) {
            return known[i].kind;
        }
    }
    return CONTROLLER_FOREIGN;
}

/** Has the controllers of VMware look for new disks. */
static void scan(const struct hostview *v)
{
    struct hostview_names names = {0};

    if (hostview_list(v, "/sys/class/scsi_host", &names, NULL) != VIX_OK) {
        return;
    }
    for (size_t i = 0; i < names.count; i++) {
        uint64_t host;
        if (strncmp(names.names[i], "host", 4) != 0 || !text_to_u64(names.names[i] + 4, &host) || host > UINT32_MAX ||
            controller_of(v, (unsigned)host) == CONTROLLER_FOREIGN) {
            continue;
        }
        char path[96];
        struct err err;
        err_init(&err);
        (void)snprintf(path, sizeof path, "/sys/class/scsi_host/host%u/scan", (unsigned)host);
        if (hostview_write_text(v, path, "- - -", &err) != VIX_OK) {
            log_news("no scan for new disks: %s", err.text);
        }
    }
    hostview_names_free(&names);
}

/* ---- one look ---- */

static bool was_there(const struct scsi_disks *before, const struct scsi_disk *d)
{
    for (size_t i = 0; i < before->count; i++) {
        if (strcmp(before->disks[i].address, d->address) == 0 && strcmp(before->disks[i].name, d->name) == 0) {
            return true;
        }
    }
    return false;
}

void hotadd_id_of_uuid(const char *uuid, char *ret_id, size_t size)
{
    size_t at = (size_t)snprintf(ret_id, size, "naa.");

    for (; uuid != NULL && *uuid != '\0' && at + 1 < size; uuid++) {
        if (*uuid != '-' && *uuid != ' ') {
            ret_id[at++] = text_lower(*uuid);
        }
    }
    ret_id[at > 4 ? at : 0] = '\0';
}

static bool tells_naa(const struct scsi_ids *ids)
{
    for (unsigned i = 0; i < ids->count; i++) {
        if (strncmp(ids->ids[i], "naa.", 4) == 0) {
            return true;
        }
    }
    return false;
}

bool hotadd_may_be(const struct hostview *v, const struct hotadd_want *want, const struct scsi_disk *d)
{
    bool named = want->id[0] != '\0' && scsi_ids_have(&d->ids, want->id);
    enum controller kind = controller_of(v, d->host);

    if (want->id[0] != '\0' && !named && tells_naa(&d->ids)) {
        return false;
    }
    bool placed = named || kind == CONTROLLER_BY_ORDER || d->target == want->unit;
    return kind != CONTROLLER_FOREIGN && d->channel == 0 && placed && d->lun == 0 && d->size == want->size;
}

static bool is_there(const struct hostview *v, const struct scsi_disk *d)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/dev/%s", d->name);
    return hostview_exists(v, path);
}

/** Adds a device to the text that tells what was seen. */
static void tell(const struct scsi_disk *d, char *seen, size_t size)
{
    size_t len = strlen(seen);
    (void)snprintf(seen + len, size - len, "%s%s at %s, %" PRIu64 " bytes%s%s", len > 0 ? "; " : "", d->name,
                   d->address, d->size, d->ids.count > 0 ? ", " : "", d->ids.count > 0 ? d->ids.ids[0] : "");
}

/** @seen: the devices that are new. *ret_matches: how many of them may be the disk; *ret_found: the last of those. */
static VixError look(const struct hostview *v, const struct hotadd_want *want, const struct scsi_disks *before,
                     struct hotadd_device *ret_found, unsigned *ret_matches, char *seen, size_t size, struct err *err)
{
    struct scsi_disks now = {0};
    VixError code = scsi_list(v, &now, err);

    *ret_matches = 0;
    seen[0] = '\0';
    for (size_t i = 0; code == VIX_OK && i < now.count; i++) {
        const struct scsi_disk *d = &now.disks[i];
        if (was_there(before, d)) {
            continue;
        }
        tell(d, seen, size);
        if (hotadd_may_be(v, want, d) && is_there(v, d)) {
            (*ret_matches)++;
            (void)snprintf(ret_found->address, sizeof ret_found->address, "%s", d->address);
            (void)snprintf(ret_found->name, sizeof ret_found->name, "%s", d->name);
            ret_found->by_id = want->id[0] != '\0' && scsi_ids_have(&d->ids, want->id);
        }
    }
    scsi_disks_free(&now);
    return code;
}

VixError hotadd_wait(const struct hostview *v, const struct hotadd_want *want, const struct scsi_disks *before,
                     unsigned max_ms, struct hotadd_device *ret_found, struct err *err)
{
    unsigned began = hostview_now_ms();
    unsigned next_scan = FIRST_SCAN_MS;
    char seen[512];

    for (;;) {
        struct hotadd_device found = {0};
        unsigned matches = 0;
        VixError code = look(v, want, before, &found, &matches, seen, sizeof seen, err);
        unsigned waited = hostview_now_ms() - began;
        if (code != VIX_OK) {
            return code;
        }
        if (matches == 1) {
            *ret_found = found;
            return VIX_OK;
        }
        if (matches > 1) {
            return err_set(err, VIX_E_FAIL, "%u devices may be the attached disk, none is taken: %s", matches, seen);
        }
        if (waited >= max_ms) {
            return err_set(err, VIX_E_FAIL,
                           "the attached disk, unit %u, %" PRIu64 " bytes%s%s, has not appeared in this machine within "
                           "%u ms; new are: %s",
                           want->unit, want->size, want->id[0] != '\0' ? ", " : "", want->id, max_ms,
                           seen[0] != '\0' ? seen : "none");
        }
        if (waited >= next_scan) {
            scan(v);
            next_scan += SCAN_MS;
        }
        hostview_pause_ms(POLL_MS);
    }
}

/* ---- taking it away ---- */

void hotadd_forget_device(const struct hostview *v, const char *address)
{
    char path[128];
    struct err err;

    err_init(&err);
    (void)snprintf(path, sizeof path, "/sys/bus/scsi/devices/%s/delete", address);
    if (hostview_exists(v, path) && hostview_write_text(v, path, "1", &err) != VIX_OK) {
        log_news("device %s stays: %s", address, err.text);
    }
}

void hotadd_wait_gone(const struct hostview *v, const char *address, unsigned max_ms)
{
    char path[128];
    unsigned began = hostview_now_ms();

    (void)snprintf(path, sizeof path, "/sys/bus/scsi/devices/%s", address);
    while (hostview_exists(v, path)) {
        if (hostview_now_ms() - began >= max_ms) {
            log_news("device %s is still listed %u ms after its disk was detached", address, max_ms);
            return;
        }
        hostview_pause_ms(POLL_MS);
    }
}

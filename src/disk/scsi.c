/* SPDX-License-Identifier: BSD-3-Clause */
/* scsi.c - SCSI disks as sysfs lists them. */
#include "disk/scsi.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"

#define DEVICES "/sys/bus/scsi/devices"

/* ---- names of logical units ---- */

void scsi_ids_free(struct scsi_ids *ids)
{
    for (unsigned i = 0; i < ids->count; i++) {
        free(ids->ids[i]);
    }
    ids->count = 0;
}

bool scsi_ids_have(const struct scsi_ids *ids, const char *id)
{
    for (unsigned i = 0; i < ids->count; i++) {
        if (strcmp(ids->ids[i], id) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes id, also on failure. */
static VixError add_id(struct scsi_ids *ids, char *id)
{
    if (id == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (ids->count == SCSI_IDS_MAX || scsi_ids_have(ids, id)) {
        free(id);
        return VIX_OK;
    }
    ids->ids[ids->count++] = id;
    return VIX_OK;
}

static char *hex_id(const char *prefix, const uint8_t *bytes, size_t len, struct err *err)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = strlen(prefix);
    char *id = alloc_zero(at + 2 * len + 1, err);

    if (id != NULL) {
        memcpy(id, prefix, at);
        for (size_t i = 0; i < len; i++) {
            id[at++] = digits[bytes[i] >> 4];
            id[at++] = digits[bytes[i] & 15];
        }
    }
    return id;
}

/* As vSphere writes it: blanks at the end are left out, others and what is not printed are "_". */
static char *t10_id(const uint8_t *bytes, size_t len, struct err *err)
{
    while (len > 0 && (bytes[len - 1] == ' ' || bytes[len - 1] == '\0')) {
        len--;
    }
    char *id = alloc_zero(len + 5, err);
    if (id != NULL) {
        memcpy(id, "t10.", 4);
        for (size_t i = 0; i < len; i++) {
            id[4 + i] = bytes[i] > ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '_';
        }
    }
    return id;
}

/* One designator: d[0] code set, d[1] association and type, d[3] length of the bytes behind. */
static VixError add_designator(const uint8_t *d, struct scsi_ids *ids, struct err *err)
{
    bool binary = (d[0] & 15) == 1;
    unsigned association = d[1] >> 4 & 3;
    unsigned type = d[1] & 15;
    size_t len = d[3];

    if (association != 0 || len == 0) {
        return VIX_OK; /* of a port or a target: not of this disk alone */
    }
    if (type == 3 && binary && (len == 8 || len == 16)) {
        return add_id(ids, hex_id("naa.", d + 4, len, err));
    }
    if (type == 2 && binary && (len == 8 || len == 12 || len == 16)) {
        return add_id(ids, hex_id("eui.", d + 4, len, err));
    }
    return type == 1 ? add_id(ids, t10_id(d + 4, len, err)) : VIX_OK;
}

VixError scsi_ids_of_page83(const void *page, size_t len, struct scsi_ids *ids, struct err *err)
{
    const uint8_t *p = page;
    VixError code = VIX_OK;

    if (len < 4 || p[1] != 0x83) {
        return VIX_OK;
    }
    size_t end = 4 + ((size_t)p[2] << 8 | p[3]);
    end = end < len ? end : len;
    for (size_t at = 4; code == VIX_OK && at + 4 <= end; at += 4 + (size_t)p[at + 3]) {
        if (p[at + 3] > end - at - 4) {
            break;
        }
        code = add_designator(p + at, ids, err);
    }
    return code;
}

/* What the kernel has read of page 0x83 itself: "naa.6000C2...", on one line. */
static VixError add_wwid(const struct hostview *v, const char *address, struct scsi_ids *ids, struct err *err)
{
    char path[128];
    char *wwid = NULL;

    (void)snprintf(path, sizeof path, DEVICES "/%s/wwid", address);
    VixError code = hostview_read_text(v, path, &wwid, NULL);
    if (code != VIX_OK || (strncmp(wwid, "naa.", 4) != 0 && strncmp(wwid, "eui.", 4) != 0)) {
        free(wwid); /* there is none, or a text that vSphere writes in another way */
        return code == VIX_E_OUT_OF_MEMORY ? err_set(err, code, "%s: no memory", path) : VIX_OK;
    }
    for (char *c = wwid; *c != '\0'; c++) {
        *c = text_lower(*c);
    }
    return add_id(ids, wwid);
}

static VixError read_ids(const struct hostview *v, const char *address, struct scsi_ids *ids, struct err *err)
{
    char path[128];
    CLEANUP_FREE char *page = NULL;
    size_t len = 0;
    VixError code = add_wwid(v, address, ids, err);

    (void)snprintf(path, sizeof path, DEVICES "/%s/vpd_pg83", address);
    if (code == VIX_OK && hostview_read(v, path, &page, &len, NULL) == VIX_OK) {
        code = scsi_ids_of_page83(page, len, ids, err);
    }
    return code;
}

/* ---- disks ---- */

static bool take_number(const char **at, char end, unsigned *ret_number)
{
    unsigned number = 0;
    const char *p = *at;

    if (*p < '0' || *p > '9') {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (number > (UINT32_MAX - 9) / 10) {
            return false;
        }
        number = number * 10 + (unsigned)(*p - '0');
    }
    if (*p != end) {
        return false;
    }
    *at = p + (end != '\0');
    *ret_number = number;
    return true;
}

static bool parse_address(const char *text, struct scsi_disk *d)
{
    const char *at = text;

    return strlen(text) < sizeof d->address && take_number(&at, ':', &d->host) && take_number(&at, ':', &d->channel) &&
           take_number(&at, ':', &d->target) && take_number(&at, '\0', &d->lun);
}

/* The name and size of the block device; false: it has none, or it has just gone. */
static bool read_block(const struct hostview *v, struct scsi_disk *d)
{
    struct hostview_names names = {0};
    char path[128];
    uint64_t sectors = 0;

    (void)snprintf(path, sizeof path, DEVICES "/%s/block", d->address);
    if (hostview_list(v, path, &names, NULL) != VIX_OK) {
        return false;
    }
    bool good = names.count == 1 && strlen(names.names[0]) < sizeof d->name;
    if (good) {
        (void)snprintf(d->name, sizeof d->name, "%s", names.names[0]);
    }
    hostview_names_free(&names);
    (void)snprintf(path, sizeof path, "/sys/block/%s/size", d->name);
    good = good && hostview_read_number(v, path, &sectors, NULL) == VIX_OK && sectors <= INT64_MAX / 512;
    d->size = sectors * 512;
    return good;
}

static VixError add_disk(const struct hostview *v, const char *name, struct scsi_disks *disks, struct err *err)
{
    struct scsi_disk d = {0};

    if (!parse_address(name, &d)) {
        return VIX_OK;
    }
    (void)snprintf(d.address, sizeof d.address, "%s", name);
    if (!read_block(v, &d)) {
        return VIX_OK;
    }
    VixError code = read_ids(v, name, &d.ids, err);
    if (code != VIX_OK) {
        scsi_ids_free(&d.ids);
        return code;
    }
    disks->disks[disks->count++] = d;
    return VIX_OK;
}

VixError scsi_list(const struct hostview *v, struct scsi_disks *ret_disks, struct err *err)
{
    struct hostview_names names = {0};
    struct scsi_disks disks = {0};
    VixError code = hostview_list(v, DEVICES, &names, err);

    if (code != VIX_OK) {
        return code;
    }
    disks.disks = alloc_array(names.count, sizeof *disks.disks, err);
    code = disks.disks != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    for (size_t i = 0; i < names.count && code == VIX_OK; i++) {
        code = add_disk(v, names.names[i], &disks, err);
    }
    hostview_names_free(&names);
    if (code != VIX_OK) {
        scsi_disks_free(&disks);
        return code;
    }
    *ret_disks = disks;
    return VIX_OK;
}

void scsi_disks_free(struct scsi_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++) {
        scsi_ids_free(&disks->disks[i].ids);
    }
    free(disks->disks);
    *disks = (struct scsi_disks){0};
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* scsi.h - the SCSI disks of this machine and by which names they are known: what sysfs tells, and page 0x83 of
 * INQUIRY. No state; any thread. Inside src/disk. */
#ifndef VIXDISK_DISK_SCSI_H
#define VIXDISK_DISK_SCSI_H

#include "disk/hostview.h"

#define SCSI_IDS_MAX 16u /* limit: ids of a SCSI device */

/** Names of a logical unit as vSphere writes them: "naa.6000c29a...", "eui....", "t10....", hex digits lower case. */
struct scsi_ids {
    char *ids[SCSI_IDS_MAX];
    unsigned count;
};
void scsi_ids_free(struct scsi_ids *ids); /* harmless for {0} */
bool scsi_ids_have(const struct scsi_ids *ids, const char *id);

/** Adds the names that page 0x83 (device identification) holds. A page that is damaged adds what comes before the
 * damage. */
VixError scsi_ids_of_page83(const void *page, size_t len, struct scsi_ids *ids, struct err *err);

struct scsi_disk {
    unsigned host, channel, target, lun;
    char address[48]; /* "2:0:3:0" */
    char name[32];    /* "sdb" */
    uint64_t size;    /* bytes */
    struct scsi_ids ids;
};
struct scsi_disks {
    struct scsi_disk *disks; /* in the order of their addresses as texts */
    size_t count;
};

/** All SCSI disks that have a block device. One that goes away meanwhile is left out. */
VixError scsi_list(const struct hostview *v, struct scsi_disks *ret_disks, struct err *err);
void scsi_disks_free(struct scsi_disks *disks); /* harmless for {0} */

#endif

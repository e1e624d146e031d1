/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_hardware.c - a virtual disk device in the terms of disks. Texts are the server's: nonsense is taken for absent.
 */
#include "disk/disk_hardware.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static VixDiskLibAdapterType adapter_of(const char *controller)
{
    if (controller == NULL) {
        return VIXDISKLIB_ADAPTER_UNKNOWN;
    }
    if (strcmp(controller, "VirtualIDEController") == 0) {
        return VIXDISKLIB_ADAPTER_IDE;
    }
    if (strcmp(controller, "VirtualBusLogicController") == 0) {
        return VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC;
    }
    return strstr(controller, "SCSI") != NULL || strstr(controller, "LsiLogic") != NULL
               ? VIXDISKLIB_ADAPTER_SCSI_LSILOGIC
               : VIXDISKLIB_ADAPTER_UNKNOWN;
}

/** Eight hexadecimal digits; 0 for anything else. */
static uint32_t content_id_of(const char *text)
{
    return text != NULL && strlen(text) == 8 && strspn(text, "0123456789abcdefABCDEF") == 8
               ? (uint32_t)strtoul(text, NULL, 16)
               : 0;
}

/** The files from the first-th on. */
static VixError copy_texts(const struct vim_disk *disk, size_t first, struct disk_hardware *h, struct err *err)
{
    size_t count = disk->file_count - first;

    if (disk->uuid != NULL && (h->uuid = alloc_text(disk->uuid, err)) == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    h->files = count > 0 ? alloc_zero(count * sizeof *h->files, err) : NULL;
    if (count > 0 && h->files == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (; h->file_count < count; h->file_count++) {
        h->files[h->file_count] = alloc_text(disk->files[first + h->file_count], err);
        if (h->files[h->file_count] == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return VIX_OK;
}

VixError disk_hardware_new(const struct vim_disk *disk, const char *path, struct disk_hardware **ret_hardware,
                           struct err *err)
{
    size_t index = vim_disk_file_index(disk, path);
    size_t first = index < disk->file_count ? index : 0;
    struct disk_hardware *h = alloc_zero(sizeof *h, err);

    if (h == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    h->adapter = adapter_of(disk->controller_type);
    h->cid = first == 0 ? content_id_of(disk->content_id) : 0; /* it is that of the top file */
    h->thin = disk->thin;
    if (copy_texts(disk, first, h, err) != VIX_OK) {
        disk_hardware_free(h);
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_hardware = h;
    return VIX_OK;
}

VixError disk_hardware_add(const struct disk_hardware *h, VixDiskLibInfo *info, struct err *err)
{
    if (h == NULL) {
        return VIX_OK;
    }
    if (info->adapterType == VIXDISKLIB_ADAPTER_UNKNOWN) {
        info->adapterType = h->adapter;
    }
    if (info->uuid == NULL && h->uuid != NULL && (info->uuid = alloc_text(h->uuid, err)) == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (info->numLinks > 1 && h->file_count > 1) {
        free(info->parentFileNameHint);
        info->parentFileNameHint = alloc_text(h->files[1], err);
        return info->parentFileNameHint != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    return VIX_OK;
}

void disk_hardware_free(struct disk_hardware *h)
{
    if (h == NULL) {
        return;
    }
    for (size_t i = 0; i < h->file_count; i++) {
        free(h->files[i]);
    }
    free(h->files);
    free(h->uuid);
    free(h);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_create.c - makes empty hosted sparse extents in the canonical layout. Tables are holes; the header is written
 * last, so that a file without one is known to be unfinished. Any thread. */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

/* Writes a directory at sector whose tables follow it without a gap. */
static VixError write_directory(struct store *store, const struct sparse_header *h, uint64_t sector, struct err *err)
{
    CLEANUP_FREE uint8_t *bytes = alloc_array(h->gd_sectors, SECTOR_SIZE, err);

    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (uint64_t i = 0; i < h->gt_count; i++) {
        put_le32(bytes + 4 * i, (uint32_t)(sector + h->gd_sectors + i * h->gt_sectors));
    }
    return store_write(store, bytes, h->gd_sectors * SECTOR_SIZE, sector * SECTOR_SIZE, err);
}

static VixError check_create(const struct store *store, uint64_t nsectors, const char *descriptor,
                             size_t descriptor_len, struct err *err)
{
    if (nsectors == 0 || nsectors > SPARSE_EXTENT_MAX_SECTORS) {
        return err_set(err, nsectors == 0 ? VIX_E_DISK_INVAL : VIX_E_FILE_TOO_BIG,
                       "%s: %" PRIu64 " sectors for a sparse extent, allowed are 1 to %" PRIu64, store->path, nsectors,
                       SPARSE_EXTENT_MAX_SECTORS);
    }
    if (descriptor != NULL && descriptor_len > KDMV_DESCRIPTOR_SECTORS * SECTOR_SIZE) {
        return err_set(err, VIX_E_DISK_INVAL, "%s: a descriptor of %zu bytes, a sparse extent has room for %u",
                       store->path, descriptor_len, KDMV_DESCRIPTOR_SECTORS * SECTOR_SIZE);
    }
    return VIX_OK;
}

VixError extent_sparse_create(struct store *store, uint64_t nsectors, const char *descriptor, size_t descriptor_len,
                              struct err *err)
{
    struct sparse_header h;
    uint8_t sector[SECTOR_SIZE];
    VixError e = check_create(store, nsectors, descriptor, descriptor_len, err);

    if (e != VIX_OK) {
        return e;
    }
    sparse_header_canonical(nsectors, descriptor != NULL, &h);
    e = store->ops->truncate(store, h.overhead_sectors * SECTOR_SIZE, err);
    if (e == VIX_OK) {
        e = write_directory(store, &h, h.rgd_sector, err);
    }
    if (e == VIX_OK) {
        e = write_directory(store, &h, h.gd_sector, err);
    }
    if (e == VIX_OK && descriptor != NULL && descriptor_len > 0) {
        e = store_write(store, descriptor, descriptor_len, h.descriptor_sector * SECTOR_SIZE, err);
    }
    if (e == VIX_OK) {
        sparse_header_encode(&h, sector);
        e = store_write(store, sector, sizeof sector, 0, err);
    }
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}

uint64_t extent_sparse_empty_size(uint64_t nsectors, bool embedded_descriptor)
{
    struct sparse_header h;

    sparse_header_canonical(nsectors, embedded_descriptor, &h);
    return h.overhead_sectors * SECTOR_SIZE;
}

uint64_t extent_sparse_full_size(uint64_t nsectors, bool embedded_descriptor)
{
    return extent_sparse_empty_size(nsectors, embedded_descriptor) +
           round_up(nsectors, KDMV_DEFAULT_GRAIN) * SECTOR_SIZE;
}

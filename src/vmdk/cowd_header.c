/* SPDX-License-Identifier: BSD-3-Clause */
/* cowd_header.c - decodes, checks and encodes the header of a COWD extent. Knows its sectors and nothing of the rest of
 * the file: whether directory and tables lie inside it is for the extent to check. Pure functions, any thread. */
#include "vmdk/cowd_header.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "vmdk/sparse_header.h"

/* Places of the fields, all of 32 bits. What lies between belongs to a base disk's geometry or to a child's old way of
 * naming its parent; the descriptor tells both. */
enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 4,
    OFF_FLAGS = 8,
    OFF_CAPACITY = 12,
    OFF_GRAIN = 16,
    OFF_GD = 20,
    OFF_GD_ENTRIES = 24,
    OFF_FREE = 28,
    OFF_UNCLEAN = 1648
};

#define COWD_VERSION 1u
#define COWD_FLAGS 3u
#define MAX_GRAIN 2048u /* limit: sectors of a COWD grain */

static VixError bad_field(const char *name, const char *field, uint64_t found, const char *allowed, struct err *err)
{
    return err_set(err, VIX_E_DISK_INVAL, "%s: COWD header: %s is %" PRIu64 ", allowed is %s", name, field, found,
                   allowed);
}

static VixError check_identity(const uint8_t *bytes, const char *name, struct err *err)
{
    uint32_t magic = get_le32(bytes + OFF_MAGIC), version = get_le32(bytes + OFF_VERSION);

    if (magic != COWD_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a COWD extent: magic number 0x%08" PRIX32 ", expected 0x%08X", name, magic, COWD_MAGIC);
    }
    if (version != COWD_VERSION) {
        return err_set(err, VIX_E_DISK_UNSUPPORTEDDISKVERSION, "%s: COWD header version %" PRIu32 ", supported is %u",
                       name, version, COWD_VERSION);
    }
    return VIX_OK;
}

static void derive(struct cowd_header *h)
{
    h->gt_count = div_up(div_up(h->capacity, h->grain_sectors), COWD_GTES_PER_GT);
    h->gd_sectors = div_up(h->gt_count * 4, 512);
}

VixError cowd_header_parse(const uint8_t bytes[COWD_HEADER_BYTES], const char *name, struct cowd_header *ret_h,
                           struct err *err)
{
    VixError e = check_identity(bytes, name, err);

    if (e != VIX_OK) {
        return e;
    }
    struct cowd_header h = {
        .flags = get_le32(bytes + OFF_FLAGS),
        .capacity = get_le32(bytes + OFF_CAPACITY),
        .grain_sectors = get_le32(bytes + OFF_GRAIN),
        .gd_sector = get_le32(bytes + OFF_GD),
        .gd_entries = get_le32(bytes + OFF_GD_ENTRIES),
        .free_sector = get_le32(bytes + OFF_FREE),
        .unclean = get_le32(bytes + OFF_UNCLEAN) != 0,
    };
    if (h.capacity == 0) {
        return bad_field(name, "numSectors", 0, "more than 0", err);
    }
    if (!is_power_of_two(h.grain_sectors) || h.grain_sectors > MAX_GRAIN) {
        return bad_field(name, "grainSize", h.grain_sectors, "a power of two from 1 to 2048", err);
    }
    if (h.gd_sector < COWD_HEADER_SECTORS) {
        return bad_field(name, "gdOffset", h.gd_sector, "4, behind the header, or more", err);
    }
    derive(&h);
    if (h.gd_entries < h.gt_count) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: COWD header: numGDEntries is %" PRIu32 ", %" PRIu32 " sectors in grains of %" PRIu32
                       " take %" PRIu64,
                       name, h.gd_entries, h.capacity, h.grain_sectors, h.gt_count);
    }
    *ret_h = h;
    return VIX_OK;
}

void cowd_header_new(uint32_t capacity, struct cowd_header *ret_h)
{
    struct cowd_header h = {
        .flags = COWD_FLAGS, .capacity = capacity, .grain_sectors = 1, .gd_sector = COWD_HEADER_SECTORS};

    derive(&h);
    h.gd_entries = (uint32_t)h.gt_count;
    h.free_sector = h.gd_sector + (uint32_t)h.gd_sectors;
    *ret_h = h;
}

void cowd_header_encode(const struct cowd_header *h, uint8_t bytes[COWD_HEADER_BYTES])
{
    memset(bytes, 0, COWD_HEADER_BYTES);
    put_le32(bytes + OFF_MAGIC, COWD_MAGIC);
    put_le32(bytes + OFF_VERSION, COWD_VERSION);
    put_le32(bytes + OFF_FLAGS, h->flags);
    put_le32(bytes + OFF_CAPACITY, h->capacity);
    put_le32(bytes + OFF_GRAIN, h->grain_sectors);
    put_le32(bytes + OFF_GD, h->gd_sector);
    put_le32(bytes + OFF_GD_ENTRIES, h->gd_entries);
    cowd_header_update(bytes, h->free_sector, h->unclean);
}

void cowd_header_update(uint8_t bytes[COWD_HEADER_BYTES], uint32_t free_sector, bool unclean)
{
    put_le32(bytes + OFF_FREE, free_sector);
    put_le32(bytes + OFF_UNCLEAN, unclean ? 1 : 0);
}

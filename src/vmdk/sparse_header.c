/* SPDX-License-Identifier: BSD-3-Clause */
/* sparse_header.c - decodes, checks and encodes the header of a hosted sparse extent. Knows sector 0 and nothing of the
 * rest of the file: whether directories and tables lie inside it is for the extent to check. Pure functions, any
 * thread. */
#include "vmdk/sparse_header.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

/* Places of the fields. They are packed: most are not aligned. */
enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 4,
    OFF_FLAGS = 8,
    OFF_CAPACITY = 12,
    OFF_GRAIN = 20,
    OFF_DESCRIPTOR = 28,
    OFF_DESCRIPTOR_SIZE = 36,
    OFF_GTES = 44,
    OFF_RGD = 48,
    OFF_GD = 56,
    OFF_OVERHEAD = 64,
    OFF_UNCLEAN = 72,
    OFF_NEWLINES = 73,
    OFF_COMPRESS = 77
};

#define UNFINISHED_MAGIC 0x766D646Bu      /* "kdmv": a writer that was still at work */
#define MAX_VERSION 3u                    /* limit: version of a sparse header */
#define MAX_SECTOR (UINT64_MAX / 2 / 512) /* limit: numbers of sectors in a sparse header: bytes fit in 63 bits */
#define MAX_GRAIN 8192u                   /* limit: sectors of a grain */
#define MAX_GRAIN_COMPRESSED 2048u        /* limit: sectors of a compressed grain */
#define MIN_GTES 128u
#define MAX_GTES 8192u /* limit: entries of a grain table */
#define KNOWN_INCOMPATIBLE (KDMV_FLAG_COMPRESSED | KDMV_FLAG_MARKERS)
#define COMPRESS_DEFLATE 1u

static const uint8_t newline_bytes[4] = {'\n', ' ', '\r', '\n'};

static VixError check_identity(const uint8_t *sector, const char *name, struct err *err)
{
    uint32_t magic = get_le32(sector + OFF_MAGIC);
    uint32_t version = get_le32(sector + OFF_VERSION);
    uint32_t flags = get_le32(sector + OFF_FLAGS);

    if (magic == UNFINISHED_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK, "%s: the program that wrote this sparse extent did not finish it",
                       name);
    }
    if (magic != KDMV_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not a hosted sparse extent: magic number 0x%08" PRIX32 ", expected 0x%08X", name, magic,
                       KDMV_MAGIC);
    }
    if (version == 0 || version > MAX_VERSION) {
        return err_set(err, VIX_E_DISK_UNSUPPORTEDDISKVERSION,
                       "%s: sparse header version %" PRIu32 ", supported are 1 to %u", name, version, MAX_VERSION);
    }
    if ((flags & 0xFFFF0000u & ~KNOWN_INCOMPATIBLE) != 0) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: sparse header flags 0x%" PRIX32 " hold unknown incompatible features, known are 0x%X", name,
                       flags, KNOWN_INCOMPATIBLE);
    }
    if ((flags & KDMV_FLAG_NEWLINES) != 0 && memcmp(sector + OFF_NEWLINES, newline_bytes, sizeof newline_bytes) != 0) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: the line-end bytes of the header are %02X %02X %02X %02X, expected 0A 20 0D 0A: the file "
                       "was damaged by a transfer in text mode",
                       name, sector[OFF_NEWLINES], sector[OFF_NEWLINES + 1], sector[OFF_NEWLINES + 2],
                       sector[OFF_NEWLINES + 3]);
    }
    return VIX_OK;
}

static void decode(const uint8_t *sector, struct sparse_header *ret_h)
{
    *ret_h = (struct sparse_header){
        .version = get_le32(sector + OFF_VERSION),
        .flags = get_le32(sector + OFF_FLAGS),
        .capacity = get_le64(sector + OFF_CAPACITY),
        .grain_sectors = get_le64(sector + OFF_GRAIN),
        .descriptor_sector = get_le64(sector + OFF_DESCRIPTOR),
        .descriptor_sectors = get_le64(sector + OFF_DESCRIPTOR_SIZE),
        .gtes_per_gt = get_le32(sector + OFF_GTES),
        .rgd_sector = get_le64(sector + OFF_RGD),
        .gd_sector = get_le64(sector + OFF_GD),
        .overhead_sectors = get_le64(sector + OFF_OVERHEAD),
        .unclean = sector[OFF_UNCLEAN] != 0,
        .compress_algorithm = get_le16(sector + OFF_COMPRESS),
    };
}

static VixError bad_field(const char *name, const char *field, uint64_t found, const char *allowed, struct err *err)
{
    return err_set(err, VIX_E_DISK_INVAL, "%s: sparse header: %s is %" PRIu64 ", allowed is %s", name, field, found,
                   allowed);
}

static VixError check_compression(const struct sparse_header *h, const char *name, struct err *err)
{
    bool compressed = (h->flags & KDMV_FLAG_COMPRESSED) != 0;

    if (!compressed && (h->flags & KDMV_FLAG_MARKERS) != 0) {
        return bad_field(name, "flags", h->flags, "markers (bit 17) only with compression (bit 16)", err);
    }
    if (compressed && h->compress_algorithm != COMPRESS_DEFLATE) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED, "%s: compression algorithm %u, supported is 1 (deflate)", name,
                       (unsigned)h->compress_algorithm);
    }
    if (!compressed && h->gd_sector == KDMV_GD_AT_END) {
        return bad_field(name, "gdOffset", h->gd_sector, "a sector number, as grains are not compressed", err);
    }
    return VIX_OK;
}

static VixError check_sizes(const struct sparse_header *h, const char *name, struct err *err)
{
    bool compressed = (h->flags & KDMV_FLAG_COMPRESSED) != 0;
    uint64_t max_grain = compressed ? MAX_GRAIN_COMPRESSED : MAX_GRAIN;

    if (!is_power_of_two(h->grain_sectors) || h->grain_sectors > max_grain) {
        return bad_field(name, "grainSize", h->grain_sectors,
                         compressed ? "a power of two from 1 to 2048" : "a power of two from 1 to 8192", err);
    }
    if (!is_power_of_two(h->gtes_per_gt) || h->gtes_per_gt < MIN_GTES || h->gtes_per_gt > MAX_GTES) {
        return bad_field(name, "numGTEsPerGT", h->gtes_per_gt, "a power of two from 128 to 8192", err);
    }
    return VIX_OK;
}

static VixError check_places(const struct sparse_header *h, const char *name, struct err *err)
{
    static const char limit[] = "below 2^54";

    if (h->capacity > MAX_SECTOR) {
        return bad_field(name, "capacity", h->capacity, limit, err);
    }
    if (h->descriptor_sector > MAX_SECTOR) {
        return bad_field(name, "descriptorOffset", h->descriptor_sector, limit, err);
    }
    if (h->descriptor_sector != 0 && h->descriptor_sectors > KDMV_MAX_DESCRIPTOR_SECTORS) {
        return bad_field(name, "descriptorSize", h->descriptor_sectors, "at most 2048", err);
    }
    if (h->overhead_sectors > MAX_SECTOR) {
        return bad_field(name, "overHead", h->overhead_sectors, limit, err);
    }
    if (h->capacity == 0) {
        return h->descriptor_sector != 0 ? VIX_OK : bad_field(name, "capacity", 0, "more than 0", err);
    }
    if (h->gd_sector != KDMV_GD_AT_END && (h->gd_sector == 0 || h->gd_sector > MAX_SECTOR)) {
        return bad_field(name, "gdOffset", h->gd_sector, "1 to 2^54", err);
    }
    if ((h->flags & (KDMV_FLAG_REDUNDANT | KDMV_FLAG_COMPRESSED)) == KDMV_FLAG_REDUNDANT &&
        (h->rgd_sector == 0 || h->rgd_sector > MAX_SECTOR)) {
        return bad_field(name, "rgdOffset", h->rgd_sector, "1 to 2^54, as redundant tables are announced", err);
    }
    return VIX_OK;
}

static void derive(struct sparse_header *h)
{
    h->gt_sectors = (uint64_t)h->gtes_per_gt * 4 / 512;
    h->gt_count = div_up(div_up(h->capacity, h->grain_sectors), h->gtes_per_gt);
    h->gd_sectors = div_up(h->gt_count * 4, 512);
}

VixError sparse_header_parse(const uint8_t sector[512], const char *name, struct sparse_header *ret_h, struct err *err)
{
    struct sparse_header h;
    VixError e = check_identity(sector, name, err);

    if (e != VIX_OK) {
        return e;
    }
    decode(sector, &h);
    e = check_compression(&h, name, err);
    if (e == VIX_OK) {
        e = check_places(&h, name, err);
    }
    /* A bare wrapper of a descriptor: the fields of grains and tables need not mean anything. */
    if (e == VIX_OK && h.capacity > 0) {
        e = check_sizes(&h, name, err);
        if (e == VIX_OK) {
            derive(&h);
        }
    }
    if (e == VIX_OK) {
        *ret_h = h;
    }
    return e;
}

void sparse_header_encode(const struct sparse_header *h, uint8_t sector[512])
{
    memset(sector, 0, 512);
    put_le32(sector + OFF_MAGIC, KDMV_MAGIC);
    put_le32(sector + OFF_VERSION, h->version);
    put_le32(sector + OFF_FLAGS, h->flags);
    put_le64(sector + OFF_CAPACITY, h->capacity);
    put_le64(sector + OFF_GRAIN, h->grain_sectors);
    put_le64(sector + OFF_DESCRIPTOR, h->descriptor_sector);
    put_le64(sector + OFF_DESCRIPTOR_SIZE, h->descriptor_sectors);
    put_le32(sector + OFF_GTES, h->gtes_per_gt);
    put_le64(sector + OFF_RGD, h->rgd_sector);
    put_le64(sector + OFF_GD, h->gd_sector);
    put_le64(sector + OFF_OVERHEAD, h->overhead_sectors);
    sector[OFF_UNCLEAN] = h->unclean ? 1 : 0;
    if ((h->flags & KDMV_FLAG_NEWLINES) != 0) {
        memcpy(sector + OFF_NEWLINES, newline_bytes, sizeof newline_bytes);
    }
    put_le16(sector + OFF_COMPRESS, h->compress_algorithm);
}

void sparse_header_set_descriptor(uint8_t sector[512], uint64_t first, uint64_t nsectors)
{
    put_le64(sector + OFF_DESCRIPTOR, first);
    put_le64(sector + OFF_DESCRIPTOR_SIZE, nsectors);
}

bool sparse_header_descriptor_meets_grains(const struct sparse_header *h)
{
    return h->descriptor_sector < h->overhead_sectors &&
           h->descriptor_sectors > h->overhead_sectors - h->descriptor_sector;
}

void sparse_header_canonical(uint64_t capacity, bool embedded_descriptor, struct sparse_header *ret_h)
{
    struct sparse_header h = {
        .version = 1,
        .flags = KDMV_FLAG_NEWLINES | KDMV_FLAG_REDUNDANT,
        .capacity = capacity,
        .grain_sectors = KDMV_DEFAULT_GRAIN,
        .descriptor_sector = embedded_descriptor ? 1 : 0,
        .descriptor_sectors = embedded_descriptor ? KDMV_DESCRIPTOR_SECTORS : 0,
        .gtes_per_gt = KDMV_GTES_PER_GT,
    };

    derive(&h);
    h.rgd_sector = 1 + h.descriptor_sectors;
    h.gd_sector = h.rgd_sector + h.gd_sectors + h.gt_count * h.gt_sectors;
    h.overhead_sectors = round_up(h.gd_sector + h.gd_sectors + h.gt_count * h.gt_sectors, h.grain_sectors);
    *ret_h = h;
}

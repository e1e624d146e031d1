/* SPDX-License-Identifier: BSD-3-Clause */
/* sesparse_header.c - decodes and checks the headers of an SE sparse extent. Knows their sectors and nothing of the
 * rest of the file: whether its regions lie inside it is for the extent to check. Pure functions, any thread. */
#include "vmdk/sesparse_header.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "vmdk/sparse_header.h"

/* Places of the fields, all of 64 bits. */
enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 8,
    OFF_CAPACITY = 16,
    OFF_GRAIN = 24,
    OFF_TABLE = 32,
    OFF_FLAGS = 40,
    OFF_RESERVED = 48, /* four of them */
    OFF_VOLATILE = 80, /* from here on pairs of place and size */
    OFF_DIRECTORY = 128,
    OFF_TABLES = 144,
    OFF_GRAINS = 192,

    VOLATILE_OFF_MAGIC = 0,
    VOLATILE_OFF_REPLAY = 24
};

#define GRAIN_SECTORS (UINT64_C(1) << SESPARSE_GRAIN_SHIFT)
#define MAX_SECTOR (UINT64_C(1) << 53) /* limit: numbers of sectors in an SE sparse header: two fit in 63 bits */

static VixError bad_field(const char *name, const char *field, uint64_t found, const char *allowed, struct err *err)
{
    return err_set(err, VIX_E_DISK_INVAL, "%s: SE sparse header: %s is %" PRIu64 ", allowed is %s", name, field, found,
                   allowed);
}

static VixError check_identity(const uint8_t *sector, const char *name, struct err *err)
{
    uint64_t magic = get_le64(sector + OFF_MAGIC), version = get_le64(sector + OFF_VERSION);

    if (magic != SESPARSE_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: not an SE sparse extent: magic number 0x%016" PRIX64 ", expected 0x%016" PRIX64, name,
                       magic, SESPARSE_MAGIC);
    }
    if (version != SESPARSE_VERSION) {
        return err_set(err, VIX_E_DISK_UNSUPPORTEDDISKVERSION,
                       "%s: SE sparse header version %" PRIu32 ".%" PRIu32 ", supported is 2.1", name,
                       (uint32_t)(version >> 32), (uint32_t)version);
    }
    return VIX_OK;
}

/* What no file known has: it may change what the rest means. */
static VixError check_unknown(const uint8_t *sector, const char *name, struct err *err)
{
    for (unsigned off = OFF_FLAGS; off < OFF_VOLATILE; off += 8) {
        uint64_t value = get_le64(sector + off);
        if (value != 0) {
            return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                           "%s: SE sparse header: the %s at byte %u is 0x%" PRIX64 ", known is only 0", name,
                           off < OFF_RESERVED ? "word of flags" : "reserved word", off, value);
        }
    }
    return VIX_OK;
}

static VixError check_sizes(const uint8_t *sector, const char *name, struct err *err)
{
    uint64_t capacity = get_le64(sector + OFF_CAPACITY);
    uint64_t grain = get_le64(sector + OFF_GRAIN), table = get_le64(sector + OFF_TABLE);

    if (capacity == 0 || capacity > SESPARSE_MAX_SECTORS) {
        return bad_field(name, "capacity", capacity, "1 to 2^37 sectors", err);
    }
    if (grain != GRAIN_SECTORS) {
        return bad_field(name, "grainSize", grain, "8 sectors", err);
    }
    if (table != SESPARSE_TABLE_SECTORS) {
        return bad_field(name, "grainTableSize", table, "64 sectors", err);
    }
    return VIX_OK;
}

static VixError decode_region(const uint8_t *sector, unsigned off, const char *what, const char *name,
                              struct sesparse_region *ret_region, struct err *err)
{
    struct sesparse_region r = {get_le64(sector + off), get_le64(sector + off + 8)};

    if (r.sector == 0 || r.sector > MAX_SECTOR || r.nsectors > MAX_SECTOR) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: SE sparse header: the %s: %" PRIu64 " sectors at sector %" PRIu64
                       ", allowed are up to 2^53 at sectors 1 to 2^53",
                       name, what, r.nsectors, r.sector);
    }
    *ret_region = r;
    return VIX_OK;
}

static VixError decode_regions(const uint8_t *sector, const char *name, struct sesparse_header *h, struct err *err)
{
    VixError e = decode_region(sector, OFF_VOLATILE, "volatile header", name, &h->volatile_header, err);

    if (e == VIX_OK) {
        e = decode_region(sector, OFF_DIRECTORY, "grain directory", name, &h->directory, err);
    }
    if (e == VIX_OK) {
        e = decode_region(sector, OFF_TABLES, "grain tables", name, &h->tables, err);
    }
    if (e == VIX_OK) {
        e = decode_region(sector, OFF_GRAINS, "grains", name, &h->grains, err);
    }
    return e;
}

static VixError check_directory(const struct sesparse_header *h, const char *name, struct err *err)
{
    if (div_up(h->gt_count * 8, 512) > h->directory.nsectors) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: SE sparse header: the grain directory has %" PRIu64 " sectors, %" PRIu64
                       " tables for %" PRIu64 " sectors of disk take %" PRIu64,
                       name, h->directory.nsectors, h->gt_count, h->capacity, div_up(h->gt_count * 8, 512));
    }
    return VIX_OK;
}

VixError sesparse_header_parse(const uint8_t sector[512], const char *name, struct sesparse_header *ret_h,
                               struct err *err)
{
    struct sesparse_header h = {.capacity = get_le64(sector + OFF_CAPACITY)};
    VixError e = check_identity(sector, name, err);

    if (e == VIX_OK) {
        e = check_unknown(sector, name, err);
    }
    if (e == VIX_OK) {
        e = check_sizes(sector, name, err);
    }
    if (e == VIX_OK) {
        e = decode_regions(sector, name, &h, err);
    }
    if (e == VIX_OK) {
        h.gt_count = div_up(div_up(h.capacity, GRAIN_SECTORS), SESPARSE_GTES_PER_GT);
        e = check_directory(&h, name, err);
    }
    if (e == VIX_OK) {
        *ret_h = h;
    }
    return e;
}

VixError sesparse_check_volatile(const uint8_t sector[512], const char *name, struct err *err)
{
    uint64_t magic = get_le64(sector + VOLATILE_OFF_MAGIC), replay = get_le64(sector + VOLATILE_OFF_REPLAY);

    if (magic != SESPARSE_VOLATILE_MAGIC) {
        return err_set(err, VIX_E_DISK_INVALIDDISK,
                       "%s: the volatile header of the SE sparse extent has magic number 0x%016" PRIX64
                       ", expected 0x%016" PRIX64,
                       name, magic, SESPARSE_VOLATILE_MAGIC);
    }
    if (replay != 0) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the disk was not cleanly closed (replayJournal is %" PRIu64
                       "); open it on its host first, which brings its journal to rest",
                       name, replay);
    }
    return VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk/san_compare.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define SAMPLE_SECTORS 8u
#define SAMPLES 3u            /* of each kind */
#define PLACES 32u            /* looked at to find them */
#define LOOK_AHEAD (1u << 17) /* sectors from a place on, for data; opening a disk does not walk its map */
#define SAMPLE_ALIGN 4096u

/** Places of the disk of one kind. */
struct places {
    uint64_t sectors[PLACES];
    unsigned count;
};

struct found {
    struct places full, blank; /* data by the map: bytes that are not all zeros, and such as are */
    struct places zeros;       /* by the map */
};

static uint32_t sectors_of(const struct disk *d)
{
    return (uint32_t)min_u64(SAMPLE_SECTORS, d->capacity);
}

static void add_place(struct places *p, uint64_t sector)
{
    p->sectors[p->count++] = sector;
}

/** The first place from one on that is data by the map. If there is none near, or the map has it as zeros, the place
 * itself is one of zeros. */
static VixError find_data(struct disk *san, uint64_t *sector, bool *ret_data, struct found *found, struct err *err)
{
    uint64_t end = *sector + min_u64(LOOK_AHEAD, san->capacity - *sector);
    uint32_t n = sectors_of(san);
    VixError code = VIX_OK;

    *ret_data = false;
    for (uint64_t at = *sector; at + n <= end && code == VIX_OK && !*ret_data;) {
        struct disk_run run;
        code = san->ops->map(san, at, end - at, EXTENT_MAP_HOLES, &run, err);
        if (code != VIX_OK) {
            break;
        }
        *ret_data = run.present && !run.zero;
        if (*ret_data) {
            *sector = at;
        } else if (at == *sector) {
            add_place(&found->zeros, at);
        }
        at += run.nsectors;
    }
    return code;
}

static VixError look_at(struct disk *san, unsigned number, uint8_t *buf, struct found *found, struct err *err)
{
    uint32_t n = sectors_of(san);
    uint64_t sector = (san->capacity - n) / (PLACES - 1) * number;
    bool data = false;

    sector = number == PLACES - 1 ? san->capacity - n : sector;
    VixError code = find_data(san, &sector, &data, found, err);
    if (code != VIX_OK || !data) {
        return code;
    }
    code = disk_read(san, sector, n, buf, err);
    if (code == VIX_OK) {
        bool blank = buf[0] == 0 && memcmp(buf, buf + 1, n * SECTOR_SIZE - 1) == 0;
        add_place(blank ? &found->blank : &found->full, sector);
    }
    return code;
}

static enum san_compared compare_at(struct disk *san, struct disk *nfc, uint64_t sector, uint8_t *buf, struct err *err)
{
    uint32_t n = sectors_of(san);
    uint8_t *other = buf + SAMPLE_SECTORS * SECTOR_SIZE;

    if (disk_read(san, sector, n, buf, err) != VIX_OK) {
        return SAN_DIFFERENT;
    }
    if (disk_read(nfc, sector, n, other, err) != VIX_OK) {
        return SAN_NOT_COMPARED;
    }
    if (memcmp(buf, other, n * SECTOR_SIZE) == 0) {
        return SAN_EQUAL;
    }
    (void)err_set(err, VIX_E_NOT_SUPPORTED, "on the LUNs the bytes at %" PRIu64 " are not those that the host gives",
                  sector * SECTOR_SIZE);
    return SAN_DIFFERENT;
}

/** The first, the middle and the last. */
static enum san_compared compare_places(struct disk *san, struct disk *nfc, const struct places *p, uint8_t *buf,
                                        struct err *err)
{
    unsigned count = p->count < SAMPLES ? p->count : SAMPLES;
    enum san_compared result = SAN_EQUAL;

    for (unsigned i = 0; i < count && result == SAN_EQUAL; i++) {
        result = compare_at(san, nfc, p->sectors[i == 0 ? 0 : i * (p->count - 1) / (count - 1)], buf, err);
    }
    return result;
}

enum san_compared san_compare(struct remote *r, const struct remote_request *request, struct disk *san, struct err *err)
{
    CLEANUP_FREE uint8_t *buf = alloc_aligned(SAMPLE_ALIGN, 2 * SAMPLE_SECTORS * SECTOR_SIZE, err);
    struct found found = {0};
    struct disk *nfc = NULL;

    if (buf == NULL) {
        return SAN_NOT_COMPARED;
    }
    for (unsigned i = 0; i < PLACES; i++) {
        if (look_at(san, i, buf, &found, err) != VIX_OK) {
            return SAN_DIFFERENT;
        }
    }
    if (remote_open_any_nfc(r, request->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &nfc, err) != VIX_OK) {
        return SAN_NOT_COMPARED;
    }
    enum san_compared result = SAN_DIFFERENT;
    if (nfc->capacity == san->capacity) {
        result = compare_places(san, nfc, found.full.count > 0 ? &found.full : &found.blank, buf, err);
        result = result == SAN_EQUAL ? compare_places(san, nfc, &found.zeros, buf, err) : result;
    } else {
        (void)err_set(err, VIX_E_NOT_SUPPORTED, "%" PRIu64 " sectors on the LUNs, the host gives %" PRIu64,
                      san->capacity, nfc->capacity);
    }
    (void)disk_close(nfc, NULL);
    return result;
}

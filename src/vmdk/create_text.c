/* SPDX-License-Identifier: BSD-3-Clause */
/* create_text.c - the descriptor of a new disk: its identifiers and its disk database. Pure but for random numbers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "vmdk/create_int.h"

#define UUID_BYTES 16u

/** Random bytes of the kernel. */
static void fill_random(void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (errno != EINTR) {
            return; /* cannot happen on a kernel that has the call; the bytes stay as they are */
        }
    }
}

uint32_t random_cid(void)
{
    uint32_t cid = 0;

    do {
        fill_random(&cid, sizeof cid);
    } while (cid >= CID_FRESH);
    return cid;
}

/** A VMware identifier: 60 00 C2 9x and random bytes, in the descriptor's spelling. */
static void new_uuid(char text[UUID_BYTES * 3])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[UUID_BYTES];

    fill_random(bytes, sizeof bytes);
    bytes[0] = 0x60;
    bytes[1] = 0x00;
    bytes[2] = 0xC2;
    bytes[3] = (uint8_t)(0x90 | (bytes[3] & 0x0F));
    for (size_t i = 0; i < UUID_BYTES; i++) {
        text[i * 3] = digits[bytes[i] >> 4];
        text[i * 3 + 1] = digits[bytes[i] & 15];
        text[i * 3 + 2] = i == UUID_BYTES / 2 - 1 ? '-' : ' ';
    }
    text[6] = 'C'; /* the only capital in VMware's own */
    text[UUID_BYTES * 3 - 1] = '\0';
}

static void new_long_content_id(uint32_t cid, char text[33])
{
    uint32_t r[3];

    fill_random(r, sizeof r);
    (void)snprintf(text, 33, "%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32, r[0], r[1], r[2], cid);
}

static VixError set_number(struct descriptor *d, const char *key, uint32_t value, struct err *err)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%" PRIu32, value);
    return descriptor_ddb_set(d, key, text, err);
}

/** What the guest sees of the hardware. */
static VixError set_hardware(struct descriptor *d, const struct create_params *p, struct err *err)
{
    struct disk_geometry g = geometry_for(p->adapter, p->capacity);

    VixError code = descriptor_ddb_set(d, "adapterType", adapter_word(p->adapter), err);
    if (code == VIX_OK) {
        code = set_number(d, "geometry.cylinders", g.cylinders, err);
    }
    if (code == VIX_OK) {
        code = set_number(d, "geometry.heads", g.heads, err);
    }
    if (code == VIX_OK) {
        code = set_number(d, "geometry.sectors", g.sectors, err);
    }
    if (code == VIX_OK) {
        code =
            set_number(d, "virtualHWVersion", p->hw_version != 0 ? p->hw_version : VIXDISKLIB_HWVERSION_CURRENT, err);
    }
    return code;
}

static VixError set_sector_sizes(struct descriptor *d, const struct create_params *p, struct err *err)
{
    VixError code = VIX_OK;

    if (p->logical_sector_size > SECTOR_SIZE) {
        code = set_number(d, "logicalSectorSize", p->logical_sector_size, err);
    }
    if (code == VIX_OK && p->physical_sector_size > SECTOR_SIZE) {
        code = set_number(d, "physicalSectorSize", p->physical_sector_size, err);
    }
    return code;
}

static VixError set_identity(struct descriptor *d, struct err *err)
{
    char uuid[UUID_BYTES * 3], long_id[33];

    new_uuid(uuid);
    new_long_content_id(d->cid, long_id);
    VixError code = descriptor_ddb_set(d, "longContentID", long_id, err);
    return code == VIX_OK ? descriptor_ddb_set(d, "uuid", uuid, err) : code;
}

VixError create_database(struct descriptor *d, const struct create_params *p, struct err *err)
{
    /* A redo log on ESXi takes everything but its identity from the parent. */
    bool esx_child = p->parent_hint != NULL && p->type == VIXDISKLIB_DISK_VMFS_SPARSE;

    VixError code = set_identity(d, err);
    if (code == VIX_OK && !esx_child) {
        code = set_hardware(d, p, err);
    }
    if (code == VIX_OK) {
        code = set_sector_sizes(d, p, err);
    }
    if (code == VIX_OK && p->type == VIXDISKLIB_DISK_VMFS_THIN) {
        code = descriptor_ddb_set(d, "thinProvisioned", "1", err);
    }
    for (size_t i = 0; code == VIX_OK && p->ddb != NULL && p->ddb[i] != NULL; i += 2) {
        code = descriptor_ddb_set(d, p->ddb[i], p->ddb[i + 1], err);
    }
    return code;
}

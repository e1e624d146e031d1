/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_partition.c - the partition of VMFS on a LUN: GPT (of 512 or 4096 byte sectors), MBR, or none. Read by
 * ourselves, as the system may show no partitions of a LUN that it does not use. */
#include "vmfs/vmfs_int.h"

#define GPT_SIGNATURE "EFI PART"
#define GPT_MAX_ENTRIES 1024u /* limit: entries of a GPT */
#define GPT_MAX_ENTRY 4096u   /* limit: bytes of an entry of a GPT */
#define MBR_TYPE_VMFS 0xFBu

/* AA31E02A-400F-11DB-9590-000C2911D1B8 */
static const uint8_t gpt_type_vmfs[16] = {0x2a, 0xe0, 0x31, 0xaa, 0x0f, 0x40, 0xdb, 0x11,
                                          0x95, 0x90, 0x00, 0x0c, 0x29, 0x11, 0xd1, 0xb8};

/** A search for the partition. */
struct search {
    const struct vmfs_lun *lun;
    uint64_t lun_size;
    uint64_t off, len;
    bool found;
};

static bool take_partition(struct search *s, unsigned number, uint64_t first, uint64_t sectors, uint32_t sector_size)
{
    uint64_t off, len, end;

    if ((s->lun->partition != 0 && s->lun->partition != number) || !checked_mul(first, sector_size, &off) ||
        !checked_mul(sectors, sector_size, &len) || !checked_add(off, len, &end) || end > s->lun_size) {
        return false;
    }
    s->off = off;
    s->len = len;
    s->found = true;
    return true;
}

static VixError search_entries(struct search *s, const uint8_t *header, uint32_t sector_size, struct err *err)
{
    uint8_t entry[128];
    uint64_t table;
    uint32_t count = get_le32(header + 80);
    uint32_t size = get_le32(header + 84);

    if (!checked_mul(get_le64(header + 72), sector_size, &table) || table > s->lun_size || count > GPT_MAX_ENTRIES ||
        size < sizeof entry || size > GPT_MAX_ENTRY) {
        return vmfs_corrupt(err,
                            "%s: the partition table has %" PRIu32 " entries of %" PRIu32 " bytes at sector %" PRIu64
                            ", allowed: %u of 128 to %u bytes",
                            s->lun->store->path, count, size, get_le64(header + 72), GPT_MAX_ENTRIES, GPT_MAX_ENTRY);
    }
    for (uint32_t i = 0; i < count && !s->found; i++) {
        VixError code = store_read(s->lun->store, entry, sizeof entry, table + (uint64_t)i * size, err);
        if (code != VIX_OK) {
            return code;
        }
        uint64_t first = get_le64(entry + 32);
        uint64_t last = get_le64(entry + 40);
        if (memcmp(entry, gpt_type_vmfs, sizeof gpt_type_vmfs) == 0 && last >= first && last < UINT64_MAX) {
            (void)take_partition(s, i + 1, first, last - first + 1, sector_size);
        }
    }
    return VIX_OK;
}

static VixError search_gpt(struct search *s, uint32_t sector_size, bool *ret_is_gpt, struct err *err)
{
    uint8_t header[92];

    VixError code = store_read(s->lun->store, header, sizeof header, sector_size, err);
    if (code != VIX_OK || memcmp(header, GPT_SIGNATURE, 8) != 0) {
        return code;
    }
    *ret_is_gpt = true;
    return search_entries(s, header, sector_size, err);
}

static VixError search_mbr(struct search *s, struct err *err)
{
    uint8_t sector[512];

    VixError code = store_read(s->lun->store, sector, sizeof sector, 0, err);
    if (code != VIX_OK || get_le16(sector + 510) != 0xAA55) {
        return code;
    }
    for (unsigned i = 0; i < 4 && !s->found; i++) {
        const uint8_t *entry = sector + 446 + 16 * (size_t)i;
        if (entry[4] == MBR_TYPE_VMFS) {
            (void)take_partition(s, i + 1, get_le32(entry + 8), get_le32(entry + 12), 512);
        }
    }
    return VIX_OK;
}

VixError vmfs_find_partition(const struct vmfs_lun *lun, uint64_t *ret_off, uint64_t *ret_len, struct err *err)
{
    struct search s = {.lun = lun};
    bool is_gpt = false;

    VixError code = lun->store->ops->size(lun->store, &s.lun_size, err);
    if (code != VIX_OK) {
        return code;
    }
    if (s.lun_size < 2 * MIB) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: %" PRIu64 " bytes, too short for VMFS", lun->store->path,
                       s.lun_size);
    }
    code = search_gpt(&s, 512, &is_gpt, err);
    if (code == VIX_OK && !is_gpt) {
        code = search_gpt(&s, 4096, &is_gpt, err);
    }
    if (code == VIX_OK && !is_gpt) {
        code = search_mbr(&s, err);
    }
    if (code == VIX_OK && is_gpt && !s.found) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: its partition table has no partition of VMFS%s", lun->store->path,
                       lun->partition != 0 ? " with the number that the datastore has" : "");
    }
    if (code == VIX_OK) {
        *ret_off = s.off;
        *ret_len = s.found ? s.len : s.lun_size;
    }
    return code;
}

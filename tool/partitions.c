/* SPDX-License-Identifier: BSD-3-Clause */
/* partitions.c - GPT and MBR. Everything is decoded byte by byte and checked against the capacity; memory is the two
 * buffers below. */
#include "partitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define GPT_ENTRIES_MAX_BYTES (1u << 20)
#define GPT_HEADER_MIN 92u
#define GPT_ENTRY_MIN 128u

struct reader {
    partition_read_func read;
    void *data;
    uint64_t bytes; /* of the disk */
    uint32_t block;
    bool failed;
};

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/** False, without a failure, for what lies outside of the disk. */
static bool read_at(struct reader *r, uint64_t off, uint32_t len, uint8_t *bytes)
{
    if (off > r->bytes || len > r->bytes - off) {
        return false;
    }
    if (!r->read(r->data, off, len, bytes)) {
        r->failed = true;
    }
    return !r->failed;
}

/** Adds a partition of whole blocks; one that begins outside of the disk is left out, one that ends there is cut. */
static struct partition *add(const struct reader *r, struct partitions *all, unsigned number, uint64_t first,
                             uint64_t count)
{
    uint64_t blocks = r->bytes / r->block;
    if (count == 0 || first == 0 || first >= blocks || all->count == PARTITIONS_MAX) {
        return NULL;
    }
    struct partition *p = &all->list[all->count++];
    count = count < blocks - first ? count : blocks - first;
    *p = (struct partition){.number = number, .off = first * r->block, .len = count * r->block};
    return p;
}

/* ---- GPT ---- */

/** CRC-32 of IEEE 802.3, as the UEFI specification asks for. */
static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (UINT32_C(0xedb88320) & (0 - (crc & 1)));
        }
    }
    return ~crc;
}

/** The first three fields of a GUID are little endian. */
static void format_guid(const uint8_t *g, char text[PARTITION_GUID_TEXT])
{
    snprintf(text, PARTITION_GUID_TEXT, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", le32(g), le16(g + 4),
             le16(g + 6), g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

/** UTF-16 to UTF-8; what is no character of the basic plane, or a control character, becomes "?". */
static void format_name(const uint8_t *utf16, char text[PARTITION_NAME_TEXT])
{
    size_t n = 0;
    for (size_t i = 0; i < 36 && le16(utf16 + 2 * i) != 0; i++) {
        uint16_t c = le16(utf16 + 2 * i);
        if (c < 0x20 || c == 0x7f || (c >= 0xd800 && c <= 0xdfff)) {
            c = '?';
        }
        if (c < 0x80) {
            text[n++] = (char)c;
        } else if (c < 0x800) {
            text[n++] = (char)(0xc0 | c >> 6);
            text[n++] = (char)(0x80 | (c & 0x3f));
        } else {
            text[n++] = (char)(0xe0 | c >> 12);
            text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
            text[n++] = (char)(0x80 | (c & 0x3f));
        }
    }
    text[n] = '\0';
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static void add_gpt_entries(const struct reader *r, const uint8_t *entries, uint32_t count, uint32_t size,
                            struct partitions *all)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *e = entries + (size_t)i * size;
        uint64_t first = le64(e + 32);
        uint64_t last = le64(e + 40);
        if (is_zero(e, 16) || last < first || last == UINT64_MAX) {
            continue;
        }
        struct partition *p = add(r, all, i + 1, first, last - first + 1);
        if (p != NULL) {
            format_guid(e, p->type_guid);
            format_guid(e + 16, p->guid);
            format_name(e + 56, p->name);
        }
    }
}

/** Whether a header is one, is whole, and stands where it says. */
static bool header_is_good(const struct reader *r, uint8_t *h, uint64_t lba)
{
    uint32_t size = le32(h + 12);
    uint32_t crc = le32(h + 16);
    if (memcmp(h, "EFI PART", 8) != 0 || size < GPT_HEADER_MIN || size > r->block || le64(h + 24) != lba) {
        return false;
    }
    memset(h + 16, 0, 4);
    return crc32_of(h, size) == crc;
}

/** Reads the copy whose header is at a block. False if it is not good; r->failed tells of reads. */
static bool read_gpt(struct reader *r, uint64_t lba, struct partitions *all)
{
    uint8_t header[4096];
    if (!read_at(r, lba * r->block, r->block, header) || !header_is_good(r, header, lba)) {
        return false;
    }
    uint64_t at = le64(header + 72);
    uint32_t count = le32(header + 80);
    uint32_t size = le32(header + 84);
    if (size < GPT_ENTRY_MIN || size % 8 != 0 || size > GPT_ENTRIES_MAX_BYTES || count > GPT_ENTRIES_MAX_BYTES / size ||
        at > r->bytes / r->block) {
        return false;
    }
    uint32_t bytes = count * size;
    uint32_t rounded = (bytes + SECTOR - 1) / SECTOR * SECTOR;
    uint8_t *entries = malloc(rounded + 1);
    if (entries == NULL) {
        r->failed = true;
        return false;
    }
    bool good = read_at(r, at * r->block, rounded, entries) && crc32_of(entries, bytes) == le32(header + 88);
    if (good) {
        add_gpt_entries(r, entries, count, size, all);
    }
    free(entries);
    return good;
}

/* ---- MBR ---- */

#define MBR_ENTRIES 446u
#define TYPE_GPT 0xeeu

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/** A boot sector of a file system has the same end, but something else where a table has its flags. */
static bool is_table(const uint8_t *sector)
{
    if (le16(sector + 510) != 0xaa55) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        if ((sector[MBR_ENTRIES + 16 * i] & 0x7f) != 0) {
            return false;
        }
    }
    return true;
}

/** Follows the chain of an extended partition. It ends where it leaves the disk, and after as many links as can be
 * told, so a chain in a circle ends too. */
static void add_logical(struct reader *r, uint64_t extended, struct partitions *all)
{
    uint8_t sector[4096];
    uint64_t at = extended;
    unsigned number = 5;
    for (unsigned links = 0; links < PARTITIONS_MAX; links++) {
        if (!read_at(r, at * r->block, r->block, sector) || !is_table(sector)) {
            return;
        }
        uint64_t next = 0;
        for (unsigned i = 0; i < 4; i++) {
            const uint8_t *e = sector + MBR_ENTRIES + 16 * i;
            if (is_extended(e[4]) && next == 0) {
                next = le32(e + 8);
            } else if (e[4] != 0 && !is_extended(e[4])) {
                struct partition *p = add(r, all, number, at + le32(e + 8), le32(e + 12));
                if (p != NULL) {
                    p->type = e[4];
                    number++;
                }
            }
        }
        if (next == 0) {
            return;
        }
        at = extended + next;
    }
}

static void add_mbr(struct reader *r, const uint8_t *sector, struct partitions *all)
{
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *e = sector + MBR_ENTRIES + 16 * i;
        struct partition *p = NULL;
        if (e[4] != 0 && !is_extended(e[4])) {
            p = add(r, all, i + 1, le32(e + 8), le32(e + 12));
        }
        if (p != NULL) {
            p->type = e[4];
        }
    }
    for (unsigned i = 0; i < 4 && !r->failed; i++) {
        const uint8_t *e = sector + MBR_ENTRIES + 16 * i;
        if (is_extended(e[4]) && le32(e + 8) != 0) {
            add_logical(r, le32(e + 8), all);
            return;
        }
    }
}

static bool has_gpt(const uint8_t *sector)
{
    for (unsigned i = 0; i < 4; i++) {
        if (sector[MBR_ENTRIES + 16 * i + 4] == TYPE_GPT) {
            return true;
        }
    }
    return false;
}

bool partitions_read(partition_read_func read, void *data, uint64_t disk_bytes, uint32_t block,
                     struct partitions *ret_partitions)
{
    struct reader r = {.read = read, .data = data, .bytes = disk_bytes, .block = block == 4096 ? 4096 : SECTOR};
    uint8_t sector[4096];
    ret_partitions->kind = PARTITIONS_NONE;
    ret_partitions->count = 0;
    if (!read_at(&r, 0, r.block, sector) || !is_table(sector)) {
        return !r.failed;
    }
    if (!has_gpt(sector)) {
        ret_partitions->kind = PARTITIONS_MBR;
        add_mbr(&r, sector, ret_partitions);
    } else if (read_gpt(&r, 1, ret_partitions)) {
        ret_partitions->kind = PARTITIONS_GPT;
    } else if (!r.failed && disk_bytes / r.block > 1 && read_gpt(&r, disk_bytes / r.block - 1, ret_partitions)) {
        ret_partitions->kind = PARTITIONS_GPT_BACKUP;
    }
    return !r.failed;
}

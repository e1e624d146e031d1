/* SPDX-License-Identifier: BSD-3-Clause */
/* Partition tables: what is told lies within the disk, and nothing is read outside of it. Pieces of file 1 are of a
 * disk whose headers of a GPT get the right sums, so that what they lead to is reached. */
#include "fuzz.h"

#include <string.h>

#include "base/bytes.h"
#include "tool/partitions.h"

#define SECTOR 512u
#define DISK_MAX (1u << 20)

struct image {
    uint8_t *bytes;
    uint64_t len;
};

static bool read_image(void *data, uint64_t off, uint32_t len, uint8_t *bytes)
{
    const struct image *image = data;

    FUZZ_ASSERT(off % SECTOR == 0 && len % SECTOR == 0 && off <= image->len && len <= image->len - off,
                "%u bytes at %llu of %llu", len, (unsigned long long)off, (unsigned long long)image->len);
    memcpy(bytes, image->bytes + off, len);
    return true;
}

static uint32_t sum(const uint8_t *bytes, uint64_t len)
{
    uint32_t crc = UINT32_MAX;

    for (uint64_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        }
    }
    return ~crc;
}

static void seal(const struct image *image, uint64_t lba, uint32_t block)
{
    if ((lba + 1) * block > image->len) {
        return;
    }
    uint8_t *h = image->bytes + lba * block;
    uint64_t at = get_le64(h + 72);
    uint64_t len = (uint64_t)get_le32(h + 80) * get_le32(h + 84);
    if (at < DISK_MAX && len <= DISK_MAX && at * block + len <= image->len) {
        put_le32(h + 88, sum(image->bytes + at * block, len));
    }
    uint32_t header = get_le32(h + 12);
    if (header >= 20 && header <= block) {
        put_le32(h + 16, 0);
        put_le32(h + 16, sum(h, header));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct partitions all;
    struct piece pieces[PIECES_MAX];
    size_t count = pieces_read(data, size, pieces);
    struct image image = {.bytes = calloc(1, DISK_MAX)};
    bool sealed = false;

    FUZZ_ASSERT(image.bytes != NULL, "no memory");
    for (size_t i = 0; i < count; i++) {
        uint32_t off = pieces[i].off % DISK_MAX;
        uint32_t len = pieces[i].len < DISK_MAX - off ? pieces[i].len : DISK_MAX - off;
        if (len > 0) {
            memcpy(image.bytes + off, pieces[i].data, len);
        }
        sealed = sealed || pieces[i].file % 2 == 1;
        uint64_t end = ((uint64_t)off + len + SECTOR - 1) / SECTOR * SECTOR;
        image.len = end > image.len ? end : image.len;
    }
    uint32_t block = count > 0 && pieces[0].file % 4 >= 2 ? 4096 : SECTOR;
    if (sealed && image.len >= block) {
        seal(&image, 1, block);
        seal(&image, image.len / block - 1, block);
    }
    FUZZ_ASSERT(partitions_read(read_image, &image, image.len, block, &all), "a read failed");
    FUZZ_ASSERT(all.count <= PARTITIONS_MAX && (all.count == 0 || all.kind != PARTITIONS_NONE), "%u", all.count);
    for (unsigned i = 0; i < all.count; i++) {
        const struct partition *p = &all.list[i];
        FUZZ_ASSERT(p->len > 0 && p->off >= block && p->off <= image.len && p->len <= image.len - p->off, "p%u",
                    p->number);
        FUZZ_ASSERT(p->number > 0 && (i == 0 || p->number > p[-1].number), "p%u twice", p->number);
        FUZZ_ASSERT(strlen(p->name) < sizeof p->name && strlen(p->guid) < sizeof p->guid, "texts of p%u", p->number);
    }
    free(image.bytes);
    return 0;
}

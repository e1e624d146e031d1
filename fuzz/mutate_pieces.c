/* SPDX-License-Identifier: BSD-3-Clause */
/* mutate_pieces.c - libFuzzer's mutator for inputs of pieces (fuzz.h): changes whole words of the little-endian
 * formats, exchanges words between places, moves, copies and drops pieces, and keeps true what a blind one would break
 * first: lengths of pieces and of NFC's frames, and the places that descriptors of VMFS tell of themselves. */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"

#define PIECE_MAX 70000u

struct own_piece {
    uint8_t file;
    uint32_t off;
    uint32_t len;
    uint8_t bytes[PIECE_MAX];
};

static struct own_piece *all[PIECES_MAX];
static size_t count;

static void add_piece(size_t at, const struct piece *p)
{
    if (count == PIECES_MAX) {
        return;
    }
    if (all[count] == NULL) {
        all[count] = malloc(sizeof *all[count]);
    }
    struct own_piece *o = all[count];
    FUZZ_ASSERT(o != NULL, "no memory");
    memmove(&all[at + 1], &all[at], (count - at) * sizeof all[0]);
    all[at] = o;
    count++;
    o->file = p->file;
    o->off = p->off;
    o->len = p->len < PIECE_MAX ? p->len : PIECE_MAX;
    memcpy(o->bytes, p->data, o->len);
}

static void drop_piece(size_t at)
{
    struct own_piece *o = all[at];

    count--;
    memmove(&all[at], &all[at + 1], (count - at) * sizeof all[0]);
    all[count] = o;
}

static uint64_t get_word(const uint8_t *p, unsigned width)
{
    return width == 8 ? get_le64(p) : width == 4 ? get_le32(p) : get_le16(p);
}

static void put_word(uint8_t *p, unsigned width, uint64_t value)
{
    if (width == 8) {
        put_le64(p, value);
    } else if (width == 4) {
        put_le32(p, (uint32_t)value);
    } else {
        put_le16(p, (uint16_t)value);
    }
}

/* A place for a word: headers, at the front of a piece, are what most depends on. NULL: too short. */
static uint8_t *word_place(struct own_piece *o, unsigned width, uint64_t *seed)
{
    if (o->len < width) {
        return NULL;
    }
    uint32_t room = below(seed, 2) == 0 && o->len > 96 ? 96 : o->len;
    uint64_t at = below(seed, room - width + 1);
    if (below(seed, 4) != 0) {
        at = at / width * width;
    }
    return o->bytes + at;
}

static void change_word(struct own_piece *o, uint64_t *seed)
{
    unsigned width = 2u << below(seed, 3);
    uint8_t *to = word_place(o, width, seed);
    const uint8_t *from = word_place(all[below(seed, count)], width, seed);

    if (to == NULL) {
        return;
    }
    switch (below(seed, 4)) {
    case 0:
        put_word(to, width, get_word(to, width) + below(seed, 17) - 8);
        break;
    case 1:
        put_word(to, width, from != NULL ? get_word(from, width) : 0);
        break;
    case 2:
        put_word(to, width, get_word(to, width) ^ UINT64_C(1) << below(seed, 8 * width));
        break;
    default:
        put_word(to, width, telling_number(seed));
        break;
    }
}

/* ---- VMFS: the three parts of a descriptor are pieces of their own ---- */

#define VMFS_LOCK 0x10C00001u

static bool is_vmfs_meta(const struct own_piece *o)
{
    return o->len >= 0x4C && (get_le32(o->bytes) & 7) == 4 && get_le32(o->bytes + 0x0C) - 2 < 5;
}

/* A descriptor knows its own place, and is believed only there. */
static void move_descriptor(struct own_piece *o, uint32_t old_off)
{
    if (o->len >= 12 && get_le32(o->bytes) == VMFS_LOCK) {
        put_le64(o->bytes + 4, get_le64(o->bytes + 4) + o->off - old_off);
    }
}

/* Type, length, size of blocks, arrangement, blocks that are to be zeroed. */
static void change_meta(struct own_piece *o, uint64_t *seed)
{
    static const uint32_t arrangements[] = {0, 1, 2, 3, 5, 0x10D0, 0x10D1};
    uint64_t length = get_le64(o->bytes + 0x14);

    switch (below(seed, 5)) {
    case 0:
        put_le32(o->bytes + 0x0C, (uint32_t)(2 + below(seed, 5)));
        break;
    case 1:
        put_le64(o->bytes + 0x14,
                 below(seed, 2) == 0 ? UINT64_C(1) << below(seed, 46) : length + below(seed, 4096) - 2048);
        break;
    case 2:
        put_le64(o->bytes + 0x1C, UINT64_C(1) << (9 + below(seed, 28)));
        break;
    case 3:
        put_le32(o->bytes + 0x44, arrangements[below(seed, sizeof arrangements / sizeof arrangements[0])]);
        break;
    default:
        put_le32(o->bytes + 0x48, (uint32_t)below(seed, 3));
        break;
    }
}

/* A field of an address: its type, its flags, the lowest bits of its numbers. */
static void change_address(struct own_piece *o, uint64_t *seed)
{
    static const uint8_t fields[] = {0, 1, 2, 4, 5, 6, 7, 14, 15, 22, 28, 51, 56};
    unsigned width = 4u << below(seed, 2);

    if (o->len < width) {
        return;
    }
    uint8_t *at = o->bytes + below(seed, o->len / width) * width;
    uint64_t one = UINT64_C(1) << fields[below(seed, sizeof fields)];
    put_word(at, width,
             below(seed, 3) == 0 ? get_word(at, width) ^ one : get_word(at, width) + one * (1 + below(seed, 3)));
}

static bool has_vmfs(void)
{
    for (size_t i = 0; i < count; i++) {
        if (is_vmfs_meta(all[i])) {
            return true;
        }
    }
    return false;
}

static void change_vmfs(struct own_piece *o, uint64_t *seed)
{
    if (is_vmfs_meta(o) && below(seed, 4) != 0) {
        change_meta(o, seed);
    } else {
        change_address(o, seed);
    }
}

static void change_place(struct own_piece *o, uint64_t *seed)
{
    uint32_t old_off = o->off;

    switch (below(seed, 4)) {
    case 0:
        o->off += (uint32_t)(below(seed, 17) * 512) - 8 * 512;
        break;
    case 1:
        o->file = (uint8_t)below(seed, 8);
        break;
    case 2:
        o->off = all[below(seed, count)]->off;
        break;
    default:
        o->len = (uint32_t)below(seed, (uint64_t)o->len + 1);
        break;
    }
    move_descriptor(o, old_off);
}

/* Frames of NFC whose extra bytes have a length of their own: type, bytes of the payload, where the length is. */
static void mend_frame(struct own_piece *o)
{
    static const struct {
        uint32_t type, payload, at;
    } kinds[] = {{1, 16, 24}, {4, 60, 32}, {7, 44, 52}, {11, 16, 24}, {0x4F560004, 24, 16}};

    if (o->len < 32 || get_le32(o->bytes) != 0xA100DA7Au) {
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        uint32_t head = 16 + kinds[i].payload;
        if (get_le32(o->bytes + 4) == kinds[i].type && o->len >= head) {
            put_le32(o->bytes + 8, kinds[i].payload);
            put_le32(o->bytes + kinds[i].at, o->len - head);
        }
    }
}

static void change_bytes(struct own_piece *o, uint64_t *seed)
{
    size_t room = below(seed, 2) == 0 ? o->len : o->len + 64;

    if (room > 0 && room <= PIECE_MAX) {
        o->len = (uint32_t)LLVMFuzzerMutate(o->bytes, o->len, room);
    }
}

static void change_order(size_t at, uint64_t *seed)
{
    size_t other = below(seed, count);
    struct own_piece *o = all[at];

    switch (below(seed, 3)) {
    case 0: {
        const struct piece copy = {o->file, o->off, o->len, o->bytes};
        add_piece(other, &copy);
        break;
    }
    case 1:
        if (count > 1) {
            drop_piece(at);
        }
        break;
    default:
        all[at] = all[other];
        all[other] = o;
        break;
    }
}

static size_t write_out(uint8_t *data, size_t max_size)
{
    size_t len = 0;

    for (size_t i = 0; i < count && len + PIECE_HEADER + all[i]->len <= max_size; i++) {
        data[len] = all[i]->file;
        put_le32(data + len + 1, all[i]->off);
        put_le32(data + len + 5, all[i]->len);
        memcpy(data + len + PIECE_HEADER, all[i]->bytes, all[i]->len);
        len += PIECE_HEADER + all[i]->len;
    }
    return len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed_number)
{
    struct piece pieces[PIECES_MAX];
    uint64_t seed = seed_number * UINT64_C(0x9E3779B97F4A7C15) + 1;
    size_t n = pieces_read(data, size, pieces);

    count = 0;
    for (size_t i = 0; i < n; i++) {
        add_piece(count, &pieces[i]);
    }
    if (count == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    for (uint64_t i = 1 + below(&seed, 3); i > 0; i--) {
        size_t at = below(&seed, count);
        switch (below(&seed, has_vmfs() ? 12 : 8)) {
        case 0:
            change_place(all[at], &seed);
            break;
        case 1:
            change_order(at, &seed);
            break;
        case 2:
        case 3:
            change_bytes(all[at], &seed);
            break;
        case 8:
        case 9:
        case 10:
        case 11:
            change_vmfs(all[at], &seed);
            break;
        default:
            change_word(all[at], &seed);
            break;
        }
        at = below(&seed, count);
        if (below(&seed, 2) == 0) {
            mend_frame(all[at]);
        }
    }
    return write_out(data, max_size);
}

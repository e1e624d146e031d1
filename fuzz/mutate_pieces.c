/* SPDX-License-Identifier: BSD-3-Clause */
/* mutate_pieces.c - libFuzzer's mutator for inputs of pieces (fuzz.h): changes whole words of the little-endian
 * formats, exchanges words between places, moves, copies and drops pieces, and keeps lengths of pieces and of NFC's
 * frames true, which a blind one would break first. */
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

static void change_place(struct own_piece *o, uint64_t *seed)
{
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
        switch (below(&seed, 8)) {
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

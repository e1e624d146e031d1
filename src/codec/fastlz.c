/* SPDX-License-Identifier: BSD-3-Clause */
/* FastLZ blocks, from the description of the format. A block is a row of instructions:
 *
 *   000nnnnn                        n + 1 bytes follow as they are
 *   lllooooo oooooooo               l = 1..6: repeat l + 2 bytes from o + 1 bytes back
 *   111ooooo nnnnnnnn oooooooo      level 1: repeat n + 9 bytes
 *   111ooooo 255... n oooooooo      level 2: repeat 255... + n + 9 bytes
 *
 * In level 2 o = 8191 is followed by two bytes more, high one first, that are added to o. The first instruction is
 * always one of bytes as they are; its upper three bits are the level less one. */
#include "codec/fastlz.h"

#include <string.h>

#include "base/bytes.h"

#define LITERALS_MAX 32u      /* own: of the format */
#define MATCH_MIN 4u          /* the format has 3; four make a better hash */
#define MATCH_MIN_FAR 6u      /* four bytes or more to say it */
#define MATCH_SHORT_MAX 8u    /* own: in an instruction of two bytes */
#define MATCH_LEVEL1_MAX 264u /* own: longest of level 1 */
#define NEAR_LEVEL1 8191u     /* greatest o */
#define NEAR_LEVEL2 8190u
#define FAR_BASE 8191u
#define FAR_MAX (FAR_BASE + 65535u) /* own: of the format */
#define TAIL 4u                     /* bytes at the end that are left as they are, as other decoders want it */
#define START_ROOM 13u              /* no match begins closer to the end */
#define SKIP_SHIFT 6                /* the longer nothing is found, the wider the steps */

/* ---- compressing ---- */

struct packer {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out; /* the next byte to be written */
    uint8_t *out_end;
    bool level2;
};

static bool put_literals(struct packer *p, size_t from, size_t to)
{
    size_t len = to - from;

    if (len + (len + LITERALS_MAX - 1) / LITERALS_MAX > (size_t)(p->out_end - p->out)) {
        return false;
    }
    while (len > 0) {
        size_t n = len < LITERALS_MAX ? len : LITERALS_MAX;
        *p->out++ = (uint8_t)(n - 1);
        memcpy(p->out, p->in + from, n);
        p->out += n;
        from += n;
        len -= n;
    }
    return true;
}

/* @off: distance less one. */
static bool put_match(struct packer *p, size_t len, uint32_t off)
{
    bool far = off > (p->level2 ? NEAR_LEVEL2 : NEAR_LEVEL1);
    uint32_t near = far ? FAR_BASE : off;
    size_t rest = len - MATCH_SHORT_MAX - 1; /* of a long one */

    if ((size_t)(p->out_end - p->out) < 6 + (len > MATCH_SHORT_MAX ? rest / 255 : 0)) {
        return false;
    }
    if (len <= MATCH_SHORT_MAX) {
        *p->out++ = (uint8_t)((len - 2) << 5 | near >> 8);
    } else {
        *p->out++ = (uint8_t)(7u << 5 | near >> 8);
        for (; p->level2 && rest >= 255; rest -= 255) {
            *p->out++ = 255;
        }
        *p->out++ = (uint8_t)rest;
    }
    *p->out++ = (uint8_t)near;
    if (far) {
        *p->out++ = (uint8_t)((off - FAR_BASE) >> 8);
        *p->out++ = (uint8_t)(off - FAR_BASE);
    }
    return true;
}

static inline uint32_t hash_of(uint32_t word)
{
    return word * 2654435761u >> (32 - 13);
}

/* How far the bytes at a and b are equal; b < end is the later one. */
static size_t equal_len(const uint8_t *a, const uint8_t *b, const uint8_t *end)
{
    const uint8_t *start = b;

    while (end - b >= 8) {
        uint64_t differ = get_le64(a) ^ get_le64(b);
        if (differ != 0) {
            return (size_t)(b - start) + (size_t)__builtin_ctzll(differ) / 8;
        }
        a += 8;
        b += 8;
    }
    while (b < end && *a == *b) {
        a++;
        b++;
    }
    return (size_t)(b - start);
}

/* Length of the match of the bytes at pos with those at seen, 0 if it is not worth an instruction. */
static size_t match_len(const struct packer *p, size_t seen, size_t pos)
{
    size_t off = pos - seen - 1;
    size_t max = p->in_len - TAIL - pos;
    size_t len;

    if (off > (p->level2 ? FAR_MAX : NEAR_LEVEL1)) {
        return 0;
    }
    if (!p->level2 && max > MATCH_LEVEL1_MAX) {
        max = MATCH_LEVEL1_MAX;
    }
    len = equal_len(p->in + seen, p->in + pos, p->in + pos + max);
    return len < (off > NEAR_LEVEL2 && p->level2 ? MATCH_MIN_FAR : MATCH_MIN) ? 0 : len;
}

size_t fastlz_compress(const void *in, size_t in_len, void *out, size_t out_len, uint32_t table[FASTLZ_TABLE_LEN])
{
    uint8_t *begin = out;
    struct packer p = {in, in_len, begin, begin + out_len, in_len >= FASTLZ_LEVEL2_MIN};
    size_t anchor = 0; /* what is before it has been written */
    size_t pos = 1;

    if (in_len < FASTLZ_INPUT_MIN || in_len > UINT32_MAX) {
        return 0;
    }
    /* an entry that was never set names byte 0, which is as good as any: candidates are compared */
    memset(table, 0, FASTLZ_TABLE_LEN * sizeof table[0]);
    while (pos + START_ROOM <= in_len) {
        uint32_t word = get_le32(p.in + pos);
        uint32_t *entry = &table[hash_of(word)];
        size_t seen = *entry;
        size_t len = get_le32(p.in + seen) == word ? match_len(&p, seen, pos) : 0;

        *entry = (uint32_t)pos;
        if (len == 0) {
            pos += 1 + ((pos - anchor) >> SKIP_SHIFT);
            continue;
        }
        if (!put_literals(&p, anchor, pos) || !put_match(&p, len, (uint32_t)(pos - seen - 1))) {
            return 0;
        }
        pos += len;
        anchor = pos;
        table[hash_of(get_le32(p.in + pos - 2))] = (uint32_t)(pos - 2);
    }
    if (!put_literals(&p, anchor, in_len)) {
        return 0;
    }
    begin[0] |= p.level2 ? 1u << 5 : 0;
    return (size_t)(p.out - begin);
}

/* ---- expanding ---- */

struct unpacker {
    const uint8_t *in;
    const uint8_t *in_end;
    uint8_t *begin;
    uint8_t *out;
    uint8_t *out_end;
    bool level2;
};

static inline size_t in_left(const struct unpacker *u)
{
    return (size_t)(u->in_end - u->in);
}

static inline size_t out_left(const struct unpacker *u)
{
    return (size_t)(u->out_end - u->out);
}

static inline bool copy_literals(struct unpacker *u, size_t len)
{
    if (in_left(u) >= LITERALS_MAX && out_left(u) >= LITERALS_MAX) {
        memcpy(u->out, u->in, LITERALS_MAX); /* a length that is known is copied fast; the surplus is overwritten */
    } else if (len <= in_left(u) && len <= out_left(u)) {
        memcpy(u->out, u->in, len);
    } else {
        return false;
    }
    u->in += len;
    u->out += len;
    return true;
}

/* Repeats what is @distance back; the part that is written meanwhile belongs to it. */
static inline void repeat(struct unpacker *u, size_t len, size_t distance)
{
    const uint8_t *from = u->out - distance;

    if (distance >= 8 && len <= 16 && out_left(u) >= 16) {
        memcpy(u->out, from, 8);
        memcpy(u->out + 8, from + 8, 8);
        u->out += len;
        return;
    }
    while (len > 0) {
        size_t n = (size_t)(u->out - from); /* grows: what has been repeated is repeated again */
        n = n < len ? n : len;
        memcpy(u->out, from, n);
        u->out += n;
        len -= n;
    }
}

/* The length of a long match of level 2: bytes of 255 and one more. */
static inline bool long_len(struct unpacker *u, size_t *len)
{
    uint8_t byte;

    do {
        if (u->in == u->in_end || *len > out_left(u)) {
            return false;
        }
        byte = *u->in++;
        *len += byte;
    } while (u->level2 && byte == 255);
    return true;
}

static inline bool copy_match(struct unpacker *u, uint8_t control)
{
    size_t len = (size_t)(control >> 5) + 2;
    size_t off = (size_t)(control & 31u) << 8;

    if (len == MATCH_SHORT_MAX + 1 && !long_len(u, &len)) {
        return false;
    }
    if (u->in == u->in_end) {
        return false;
    }
    off += *u->in++;
    if (u->level2 && off == FAR_BASE) {
        if (in_left(u) < 2) {
            return false;
        }
        off += (size_t)u->in[0] << 8 | u->in[1];
        u->in += 2;
    }
    if (off + 1 > (size_t)(u->out - u->begin) || len > out_left(u)) {
        return false;
    }
    repeat(u, len, off + 1);
    return true;
}

bool fastlz_expand(const void *in, size_t in_len, void *out, size_t out_len)
{
    const uint8_t *begin = in;
    struct unpacker u = {begin, begin + in_len, out, out, (uint8_t *)out + out_len, false};
    uint8_t control;

    if (in_len == 0 || u.in[0] >> 5 > 1) {
        return false;
    }
    u.level2 = u.in[0] >> 5 == 1;
    control = *u.in++ & 31u;
    for (;;) {
        if (control < LITERALS_MAX ? !copy_literals(&u, (size_t)control + 1) : !copy_match(&u, control)) {
            return false;
        }
        if (u.in == u.in_end) {
            return u.out == u.out_end;
        }
        control = *u.in++;
    }
}

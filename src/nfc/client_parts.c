/* SPDX-License-Identifier: BSD-3-Clause */
/* Which bytes of an answer have come. In order that is one number; else a sorted list of separate parts. */
#include <stdlib.h>
#include <string.h>

#include "nfc/client_int.h"

struct part {
    uint32_t off, end;
};

struct parts {
    uint32_t count, size;
    struct part part[];
};

static bool make_room(struct nfc_request *r)
{
    struct parts *p = r->seen;
    uint32_t size = p->size == 0 ? 16 : p->size;

    if (p->count < p->size) {
        return true;
    }
    if (p->size >= CLIENT_PARTS_MAX) {
        return false;
    }
    size *= 2;
    p = realloc(p, sizeof *p + size * sizeof p->part[0]);
    if (p == NULL) {
        return false;
    }
    p->size = size;
    r->seen = p;
    return true;
}

/** The list for an answer that began in order. */
static bool begin_list(struct nfc_request *r)
{
    struct parts *p = calloc(1, sizeof *p);

    r->seen = p;
    if (p == NULL || !make_room(r)) {
        return false;
    }
    p = r->seen;
    if (r->arrived > 0) {
        p->part[0] = (struct part){0, r->arrived};
        p->count = 1;
    }
    return true;
}

/** The first part that ends behind off. */
static uint32_t find(const struct parts *p, uint32_t off)
{
    uint32_t low = 0;
    uint32_t high = p->count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p->part[mid].end > off) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return low;
}

static void insert(struct parts *p, uint32_t at, uint32_t off, uint32_t end)
{
    const bool joins_before = at > 0 && p->part[at - 1].end == off;
    const bool joins_after = at < p->count && p->part[at].off == end;

    if (joins_before && joins_after) {
        p->part[at - 1].end = p->part[at].end;
        p->count--;
        memmove(&p->part[at], &p->part[at + 1], (p->count - at) * sizeof p->part[0]);
    } else if (joins_before) {
        p->part[at - 1].end = end;
    } else if (joins_after) {
        p->part[at].off = off;
    } else {
        memmove(&p->part[at + 1], &p->part[at], (p->count - at) * sizeof p->part[0]);
        p->part[at] = (struct part){off, end};
        p->count++;
    }
}

bool nfc_parts_add(struct nfc_request *r, uint32_t off, uint32_t len)
{
    if (r->seen == NULL) {
        if (off == r->arrived) {
            r->arrived += len;
            return true;
        }
        if (off < r->arrived || !begin_list(r)) {
            return false;
        }
    }
    struct parts *p = r->seen;
    uint32_t at = find(p, off);
    if ((at < p->count && p->part[at].off < off + len) || !make_room(r)) {
        return false;
    }
    insert(r->seen, at, off, off + len);
    r->arrived += len;
    return true;
}

void nfc_parts_free(struct nfc_request *r)
{
    free(r->seen);
    r->seen = NULL;
}

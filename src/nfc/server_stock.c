/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers of three sizes that are used again, and the limit of their memory. Under the session's lock. */
#include <stdlib.h>

#include "base/alloc.h"
#include "nfc/server_int.h"

/* Room for a whole of that kind, compressed or not, and nfc_fragment_bound of it. */
static size_t kind_size(enum nfc_buffer_kind kind)
{
    static const size_t sizes[NFC_BUFFER_KINDS] = {
        [NFC_BUFFER_SMALL] = SERVER_SMALL_MAX,
        [NFC_BUFFER_UNIT] = SERVER_UNIT_MAX,
        [NFC_BUFFER_FRAGMENT] = NFC_BUFFER_MAX + SERVER_EXTRA_SURPLUS,
    };

    return nfc_fragment_bound(sizes[kind]);
}

static enum nfc_buffer_kind kind_for(size_t len)
{
    enum nfc_buffer_kind kind = NFC_BUFFER_SMALL;

    while (kind < NFC_BUFFER_FRAGMENT && kind_size(kind) < len) {
        kind++;
    }
    return kind;
}

static void release(struct nfc_stock *stock, struct nfc_buffer *buffer)
{
    stock->allocated -= kind_size(buffer->kind);
    free(buffer->bytes);
    free(buffer);
}

/* Frees what lies idle until there is room for so much more. */
static bool make_room(struct nfc_stock *stock, size_t size)
{
    for (int kind = NFC_BUFFER_KINDS - 1; kind >= 0; kind--) {
        while (stock->allocated + size > stock->max && stock->buffers[kind] != NULL) {
            struct nfc_buffer *buffer = stock->buffers[kind];
            stock->buffers[kind] = buffer->next;
            release(stock, buffer);
        }
    }
    return stock->allocated + size <= stock->max;
}

static struct nfc_buffer *allocate(struct nfc_stock *stock, enum nfc_buffer_kind kind)
{
    struct nfc_buffer *buffer = alloc_zero(sizeof *buffer, NULL);

    if (buffer == NULL) {
        return NULL;
    }
    buffer->kind = kind;
    buffer->bytes = alloc_aligned(4096, kind_size(kind), NULL);
    if (buffer->bytes == NULL) {
        free(buffer);
        return NULL;
    }
    stock->allocated += kind_size(kind);
    return buffer;
}

/* NULL: no room now, or no memory. */
static struct nfc_buffer *take_one(struct nfc_stock *stock, size_t len, bool *ret_no_memory)
{
    enum nfc_buffer_kind kind = kind_for(len);
    struct nfc_buffer *buffer = stock->buffers[kind];

    if (buffer != NULL) {
        stock->buffers[kind] = buffer->next;
        return buffer;
    }
    if (!make_room(stock, kind_size(kind))) {
        return NULL;
    }
    buffer = allocate(stock, kind);
    *ret_no_memory = buffer == NULL;
    return buffer;
}

bool nfc_stock_take(struct nfc_stock *stock, uint32_t len, uint32_t packed_len, struct nfc_buffer **ret_data,
                    struct nfc_buffer **ret_packed, bool *ret_no_memory)
{
    struct nfc_buffer *data;
    struct nfc_buffer *packed = NULL;

    *ret_no_memory = false;
    data = take_one(stock, len, ret_no_memory);
    if (data == NULL) {
        return false;
    }
    if (packed_len > 0) {
        packed = take_one(stock, packed_len, ret_no_memory);
        if (packed == NULL) {
            nfc_stock_give(stock, data);
            return false;
        }
    }
    *ret_data = data;
    *ret_packed = packed;
    return true;
}

void nfc_stock_give(struct nfc_stock *stock, struct nfc_buffer *buffer)
{
    if (buffer != NULL) {
        buffer->next = stock->buffers[buffer->kind];
        stock->buffers[buffer->kind] = buffer;
    }
}

void nfc_coder_entry_free(struct nfc_coder_entry *entry)
{
    nfc_coder_free(entry->coder);
    free(entry->plain);
    free(entry);
}

void nfc_stock_free(struct nfc_stock *stock)
{
    (void)make_room(stock, stock->max);
    while (stock->units != NULL) {
        struct nfc_unit *unit = stock->units;
        stock->units = unit->next;
        free(unit);
    }
    while (stock->jobs != NULL) {
        struct nfc_job *job = stock->jobs;
        stock->jobs = job->next;
        free(job);
    }
    while (stock->coders != NULL) {
        struct nfc_coder_entry *entry = stock->coders;
        stock->coders = entry->next;
        nfc_coder_entry_free(entry);
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* hash.c - threads take chunks in order, as the map of the disk has data in them, and read and digest them; the
 * caller's thread takes the results in the same order out of a ring. The only file of the tool that knows OpenSSL's
 * libcrypto, which the library needs anyway. */
#include "hash.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLibExt.h"

#define SECTOR_BYTES ((uint64_t)VIXDISKLIB_SECTOR_SIZE)
#define RING 256u /* chunks between the one that is taken last and the one that is told next */

static bool digest_of(const uint8_t *bytes, size_t len, uint8_t digest[DIGEST_BYTES])
{
    return EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL) == 1;
}

void digest_format(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT])
{
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

/* ---- the digest of digests ---- */

struct hash_tree {
    EVP_MD_CTX *context;
    uint64_t count; /* chunks of the disk */
    uint64_t next;  /* first one that has not been added */
    uint8_t zeros[DIGEST_BYTES];
    uint8_t last_zeros[DIGEST_BYTES]; /* the last chunk may be shorter */
    bool good;
};

struct hash_tree *hash_tree_begin(uint64_t bytes, uint32_t chunk)
{
    struct hash_tree *tree = calloc(1, sizeof *tree);
    uint8_t *zeros = calloc(1, chunk);
    if (tree != NULL && zeros != NULL) {
        uint64_t tail = bytes % chunk;
        tree->count = bytes / chunk + (tail != 0);
        tree->context = EVP_MD_CTX_new();
        tree->good = tree->context != NULL && EVP_DigestInit_ex(tree->context, EVP_sha256(), NULL) == 1 &&
                     digest_of(zeros, chunk, tree->zeros) &&
                     digest_of(zeros, tail != 0 ? (size_t)tail : chunk, tree->last_zeros);
        free(zeros);
        return tree;
    }
    free(zeros);
    free(tree);
    return NULL;
}

static void add_one(struct hash_tree *tree, const uint8_t digest[DIGEST_BYTES])
{
    tree->good = tree->good && EVP_DigestUpdate(tree->context, digest, DIGEST_BYTES) == 1;
    tree->next++;
}

/** Adds the zeros up to a chunk. */
static void add_zeros(struct hash_tree *tree, uint64_t end)
{
    while (tree->next < end) {
        add_one(tree, tree->next + 1 == tree->count ? tree->last_zeros : tree->zeros);
    }
}

void hash_tree_add(struct hash_tree *tree, uint64_t index, const uint8_t digest[DIGEST_BYTES])
{
    add_zeros(tree, index);
    add_one(tree, digest);
}

bool hash_tree_end(struct hash_tree *tree, uint8_t ret_digest[DIGEST_BYTES])
{
    add_zeros(tree, tree->count);
    bool good = tree->good && EVP_DigestFinal_ex(tree->context, ret_digest, NULL) == 1;
    EVP_MD_CTX_free(tree->context);
    free(tree);
    return good;
}

/* ---- the disk ---- */

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_DONE };

struct slot {
    enum slot_state state;
    bool zero; /* nothing but zeros was read */
    uint64_t index;
    uint8_t digest[DIGEST_BYTES];
};

struct hasher {
    struct hash_job *job;
    pthread_mutex_t lock; /* all that follows */
    pthread_cond_t changed;
    struct slot slots[RING];
    uint64_t taken;   /* chunks that threads have taken so far; slot: modulo RING */
    uint64_t next;    /* chunk from which on to look for data */
    uint64_t run_end; /* byte at which the data ends that has been found */
    bool planned;     /* no more chunks have data */
    bool stop;
    VixError code;
    uint64_t read_bytes;
};

static Bool find_data(void *data, const VixDiskLibExt_Run *run)
{
    VixDiskLibExt_Run *found = data;
    if (run->zero) {
        return TRUE;
    }
    *found = *run;
    return FALSE;
}

/** Keeps the first failure, with the sentence of this thread. */
static void set_failure(struct hasher *h, VixError code, const char *detail)
{
    if (h->code == VIX_OK) {
        h->code = code;
        snprintf(h->job->detail, sizeof h->job->detail, "%s", detail);
    }
    h->stop = true;
    pthread_cond_broadcast(&h->changed);
}

/** The next chunk that the map has data in, with the lock held; false if there is none. */
static bool plan(struct hasher *h, uint64_t *ret_index)
{
    const struct hash_job *job = h->job;
    uint64_t at = h->next * job->chunk;
    if (at < job->bytes && at >= h->run_end) {
        VixDiskLibExt_Run run = {.lengthBytes = 0};
        VixError code =
            VixDiskLibExt_Map(job->disk, at / SECTOR_BYTES, (job->bytes - at) / SECTOR_BYTES, find_data, &run);
        if (code != VIX_OK) {
            set_failure(h, code, VixDiskLibExt_LastErrorDetail());
            return false;
        }
        if (run.lengthBytes == 0) {
            at = job->bytes;
        } else {
            h->next = run.startBytes / job->chunk;
            h->run_end = run.startBytes + run.lengthBytes;
        }
    }
    if (at >= job->bytes) {
        h->planned = true;
        pthread_cond_broadcast(&h->changed);
        return false;
    }
    *ret_index = h->next++;
    return true;
}

/** Takes a chunk and a slot for it; NULL when there is nothing more to do. */
static struct slot *take(struct hasher *h)
{
    struct slot *slot = NULL;
    pthread_mutex_lock(&h->lock);
    while (!h->stop && !h->planned && h->slots[h->taken % RING].state != SLOT_FREE) {
        pthread_cond_wait(&h->changed, &h->lock);
    }
    uint64_t index;
    if (!h->stop && !h->planned && plan(h, &index)) {
        slot = &h->slots[h->taken++ % RING];
        *slot = (struct slot){.state = SLOT_TAKEN, .index = index};
    }
    pthread_mutex_unlock(&h->lock);
    return slot;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static void digest_chunk(struct hasher *h, struct slot *slot, uint8_t *bytes)
{
    uint64_t off = slot->index * h->job->chunk;
    uint64_t left = h->job->bytes - off;
    size_t len = left < h->job->chunk ? (size_t)left : h->job->chunk;
    bool good = true;
    VixError code = VixDiskLib_Read(h->job->disk, off / SECTOR_BYTES, len / SECTOR_BYTES, bytes);
    if (code == VIX_OK) {
        slot->zero = is_zero(bytes, len);
        good = slot->zero || digest_of(bytes, len, slot->digest);
    }
    pthread_mutex_lock(&h->lock);
    if (code != VIX_OK) {
        set_failure(h, code, VixDiskLibExt_LastErrorDetail());
    } else if (!good) {
        set_failure(h, VIX_E_CRYPTO_ERROR, "libcrypto makes no SHA-256");
    }
    h->read_bytes += len;
    slot->state = SLOT_DONE;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void *work(void *data)
{
    struct hasher *h = data;
    struct slot *slot;
    uint8_t *bytes = NULL;
    if (posix_memalign((void **)&bytes, 4096, h->job->chunk) != 0) {
        pthread_mutex_lock(&h->lock);
        set_failure(h, VIX_E_OUT_OF_MEMORY, "no memory for a chunk");
        pthread_mutex_unlock(&h->lock);
        return NULL;
    }
    while ((slot = take(h)) != NULL) {
        digest_chunk(h, slot, bytes);
    }
    free(bytes);
    return NULL;
}

/** Waits for the result of the told-th chunk that was taken; false at the end. */
static bool next_result(struct hasher *h, uint64_t told, struct slot *ret_slot)
{
    struct slot *slot = &h->slots[told % RING];
    pthread_mutex_lock(&h->lock);
    while (!h->stop && slot->state != SLOT_DONE && !(h->planned && told == h->taken)) {
        pthread_cond_wait(&h->changed, &h->lock);
    }
    bool got = !h->stop && slot->state == SLOT_DONE;
    if (got) {
        *ret_slot = *slot;
        slot->state = SLOT_FREE;
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return got;
}

/** The caller's thread: puts the results together. */
static void collect(struct hasher *h, struct hash_tree *tree)
{
    struct hash_job *job = h->job;
    struct slot slot;
    bool more = true;
    for (uint64_t told = 0; more && next_result(h, told, &slot); told++) {
        if (!slot.zero) {
            hash_tree_add(tree, slot.index, slot.digest);
            job->data_chunks++;
            more = job->func == NULL || job->func(job->data, slot.index, slot.digest);
        }
        more = job->progress(job->data, slot.index * job->chunk) && more;
    }
    if (!more) {
        pthread_mutex_lock(&h->lock);
        set_failure(h, VIX_E_CANCELLED, "stopped");
        pthread_mutex_unlock(&h->lock);
    }
}

VixError hash_disk(struct hash_job *job)
{
    struct hasher *h = calloc(1, sizeof *h);
    struct hash_tree *tree = h == NULL ? NULL : hash_tree_begin(job->bytes, job->chunk);
    pthread_t threads[HASH_THREADS_MAX];
    unsigned running = 0;
    if (tree == NULL) {
        free(h);
        snprintf(job->detail, sizeof job->detail, "no memory");
        return VIX_E_OUT_OF_MEMORY;
    }
    h->job = job;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    while (running < job->threads && pthread_create(&threads[running], NULL, work, h) == 0) {
        running++;
    }
    if (running == 0) {
        set_failure(h, VIX_E_OUT_OF_MEMORY, "no thread");
    }
    collect(h, tree);
    for (unsigned i = 0; i < running; i++) {
        pthread_join(threads[i], NULL);
    }
    bool good = hash_tree_end(tree, job->digest);
    if (!good) {
        set_failure(h, VIX_E_CRYPTO_ERROR, "libcrypto makes no SHA-256");
    }
    VixError code = h->code;
    job->read_bytes = h->read_bytes;
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
    return code;
}

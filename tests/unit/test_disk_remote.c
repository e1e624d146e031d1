/* SPDX-License-Identifier: BSD-3-Clause */
/* The requests of a remote disk, over an NFC connection of this test that keeps the disk in memory, answers on a thread
 * of its own, and can be slow, out of memory, cut, or refuse. It checks at every request that nothing is on the wire
 * that may not be there together. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "disk/disk.h"
#include "disk/disk_remote.h"
#include "disk/remote.h"
#include "nfc/client.h"
#include "ops/ops.h"

#define CAPACITY (32u << 20) /* bytes */
#define MIB (1u << 20)
#define FLIGHT_MAX 64

static struct err err;

/* ---- the host ---- */

struct nfc_client {
    pthread_t thread;
    struct nfc_request *flight[FLIGHT_MAX];
    unsigned count;
    bool lost;
    bool ending;
    bool told; /* of the end of requests, and no pause since */
    void (*pause)(void *ctx);
    void *pause_ctx;
    uint64_t in;
};

static struct host {
    pthread_mutex_t lock;
    pthread_cond_t change;
    uint8_t *image;
    bool hold;             /* nothing is answered */
    bool newest_first;     /* answers come in the opposite order */
    uint32_t len_max;      /* larger requests: no memory */
    unsigned count_max;    /* more at once: no memory */
    unsigned cut_after;    /* requests until the connection is lost; 0: never */
    unsigned reopen_fails; /* so many attempts to connect again fail */
    VixError reopen_code;
    uint64_t bad_off; /* a request that touches this byte is refused; 0: none */
    bool no_map, no_keys;
    uint8_t map[CAPACITY / 65536 / 8];
    /* what was seen */
    unsigned requests, sendings, reopened, attempts, most, map_questions, flushes;
    uint32_t largest;
    bool collision;
} host;

static atomic_int log_lines;

static void count_lines(const char *fmt, va_list args)
{
    (void)fmt, (void)args;
    atomic_fetch_add(&log_lines, 1);
}

static int setup(void **state)
{
    (void)state;
    memset(&host, 0, sizeof host);
    (void)pthread_mutex_init(&host.lock, NULL);
    (void)pthread_cond_init(&host.change, NULL);
    host.image = malloc(CAPACITY);
    host.len_max = UINT32_MAX;
    host.count_max = UINT32_MAX;
    for (size_t i = 0; i < CAPACITY / 8; i++) {
        ((uint64_t *)(void *)host.image)[i] = i * 0x9E3779B97F4A7C15u;
    }
    atomic_store(&log_lines, 0);
    log_set_sinks(count_lines, count_lines);
    err_init(&err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_sinks(NULL, NULL);
    disk_async_shutdown();
    free(host.image);
    return 0;
}

static bool touches(const struct nfc_request *r, uint64_t off)
{
    return off >= r->off && off < r->off + r->len;
}

static void pause_client(struct nfc_client *c)
{
    c->told = false;
    (void)pthread_mutex_unlock(&host.lock);
    c->pause(c->pause_ctx);
    (void)pthread_mutex_lock(&host.lock);
}

/** Only small answers come several at a time. */
static void answer(struct nfc_client *c, struct nfc_request *r, bool lost)
{
    const bool large = r->len >= 16384;
    VixError code = VIX_OK;
    struct err e;

    err_init(&e);
    if (lost) {
        r->connection_lost = true;
        code = err_set(&e, VIX_E_HOST_TCP_CONN_LOST, "host: cut");
    } else if (r->len > host.len_max || c->count > host.count_max) {
        r->host_error = NFC_ERROR_NO_MEMORY;
        code = err_set(&e, VIX_E_OUT_OF_MEMORY, "host: Failed to allocate the requested %u bytes", r->len);
    } else if (host.bad_off != 0 && touches(r, host.bad_off)) {
        r->host_error = 99;
        code = err_set(&e, VIX_E_DISK_NOIO, "host: a bad place");
    } else if (r->write) {
        memcpy(host.image + r->off, r->buf, r->len);
    } else {
        memcpy(r->buf, host.image + r->off, r->len);
        c->in += r->len;
    }
    c->count--;
    (void)pthread_mutex_unlock(&host.lock);
    r->done(r, code, &e);
    c->told = true;
    (void)pthread_mutex_lock(&host.lock);
    if (large) {
        pause_client(c);
    }
}

static struct nfc_request *take(struct nfc_client *c)
{
    unsigned at = host.newest_first ? c->count - 1 : 0;
    struct nfc_request *r = c->flight[at];

    memmove(&c->flight[at], &c->flight[at + 1], (FLIGHT_MAX - 1 - at) * sizeof c->flight[0]);
    return r;
}

static void *receive(void *arg)
{
    struct nfc_client *c = arg;

    (void)pthread_mutex_lock(&host.lock);
    for (;;) {
        if (c->count > 0 && (!host.hold || c->lost || c->ending)) {
            answer(c, take(c), c->lost || c->ending);
        } else if (c->told) {
            pause_client(c);
        } else if (c->ending) {
            break;
        } else {
            (void)pthread_cond_wait(&host.change, &host.lock);
        }
    }
    (void)pthread_mutex_unlock(&host.lock);
    return NULL;
}

static void check_collisions(const struct nfc_client *c, const struct nfc_request *r)
{
    for (unsigned i = 0; i < c->count; i++) {
        const struct nfc_request *o = c->flight[i];
        if ((o->write || r->write) && o->off < r->off + r->len && r->off < o->off + o->len) {
            host.collision = true;
        }
    }
}

static void accept_request(struct nfc_client *c, struct nfc_request *r)
{
    check_collisions(c, r);
    assert_true(c->count < FLIGHT_MAX);
    c->flight[c->count++] = r;
    host.requests++;
    host.most = c->count > host.most ? c->count : host.most;
    host.largest = r->len > host.largest ? r->len : host.largest;
}

VixError nfc_client_submit_reads(struct nfc_client *c, struct nfc_request *const *reads, unsigned count, struct err *e)
{
    SCOPED_LOCK(&host.lock);
    host.sendings++;
    if (host.cut_after > 0 && host.cut_after <= count) {
        host.cut_after = 0;
        c->lost = true;
        (void)pthread_cond_broadcast(&host.change);
    }
    if (c->lost) {
        return err_set(e, VIX_E_HOST_TCP_CONN_LOST, "host: cut");
    }
    host.cut_after -= host.cut_after > 0 ? count : 0;
    for (unsigned i = 0; i < count; i++) {
        accept_request(c, reads[i]);
    }
    (void)pthread_cond_broadcast(&host.change);
    return VIX_OK;
}

VixError nfc_client_submit(struct nfc_client *c, struct nfc_request *r, struct err *e)
{
    return nfc_client_submit_reads(c, &r, 1, e);
}

void nfc_client_on_pause(struct nfc_client *c, void (*pause)(void *ctx), void *ctx)
{
    c->pause = pause;
    c->pause_ctx = ctx;
}

VixError nfc_client_allocated(struct nfc_client *c, uint64_t chunk, uint64_t start, uint32_t nchunks, uint8_t *bitmap,
                              struct err *e)
{
    SCOPED_LOCK(&host.lock);
    host.map_questions++;
    if (host.no_map) {
        return err_set(e, VIX_E_NOT_SUPPORTED, "host: no map");
    }
    if (c->lost) {
        return err_set(e, VIX_E_HOST_TCP_CONN_LOST, "host: cut");
    }
    assert_int_equal(chunk, 65536);
    assert_int_equal(start % chunk, 0);
    assert_true(start + chunk * nchunks <= CAPACITY);
    memset(bitmap, 0, (nchunks + 31) / 32 * 4);
    for (uint32_t i = 0; i < nchunks; i++) {
        size_t at = start / chunk + i;
        bitmap[i / 8] |= (uint8_t)((host.map[at / 8] >> (at % 8) & 1) << (i % 8));
    }
    return VIX_OK;
}

VixError nfc_client_meta_get(struct nfc_client *c, const char *key, char **ret_value, struct err *e)
{
    (void)c;
    if (strcmp(key, "adapterType") == 0) {
        *ret_value = strdup("lsilogic");
        return VIX_OK;
    }
    if (strcmp(key, "uuid") == 0) {
        *ret_value = strdup("60 00 C2 93");
        return VIX_OK;
    }
    return err_set(e, VIX_E_DISK_KEY_NOTFOUND, "host: no key %s", key);
}

VixError nfc_client_meta_set(struct nfc_client *c, const char *key, const char *value, struct err *e)
{
    (void)c, (void)key, (void)value;
    return err_set(e, VIX_E_NOT_SUPPORTED, "host: keys cannot be written");
}

VixError nfc_client_meta_keys(struct nfc_client *c, char **ret_keys, size_t *ret_len, struct err *e)
{
    (void)c, (void)ret_keys, (void)ret_len;
    return err_set(e, VIX_E_NOT_SUPPORTED, "host: keys cannot be listed");
}

VixError nfc_client_flush(struct nfc_client *c, struct err *e)
{
    SCOPED_LOCK(&host.lock);
    host.flushes++;
    return c->lost ? err_set(e, VIX_E_HOST_TCP_CONN_LOST, "host: cut") : VIX_OK;
}

void nfc_client_traffic(struct nfc_client *c, uint64_t *ret_in, uint64_t *ret_out)
{
    SCOPED_LOCK(&host.lock);
    *ret_in = c->in;
    *ret_out = 0;
}

void nfc_client_close(struct nfc_client *c)
{
    if (c == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&host.lock);
    c->ending = true;
    (void)pthread_cond_broadcast(&host.change);
    (void)pthread_mutex_unlock(&host.lock);
    (void)pthread_join(c->thread, NULL);
    free(c);
}

static struct nfc_client *new_client(void)
{
    struct nfc_client *c = calloc(1, sizeof *c);

    assert_non_null(c);
    assert_int_equal(pthread_create(&c->thread, NULL, receive, c), 0);
    return c;
}

static VixError reopen(void *ctx, struct nfc_client **ret_client, struct err *e)
{
    (void)ctx;
    {
        SCOPED_LOCK(&host.lock);
        host.attempts++;
        if (host.reopen_fails > 0) {
            host.reopen_fails--;
            return err_set(e, host.reopen_code, "host: not now");
        }
        host.reopened++;
    }
    *ret_client = new_client();
    return VIX_OK;
}

/* ---- the disk ---- */

static uint64_t closed_in;
static bool single_link;

static void closes(void *ctx, struct disk *d, uint64_t in, uint64_t out)
{
    (void)ctx, (void)d, (void)out;
    closed_in = in;
}

static void closed(void *ctx, struct disk *d)
{
    (void)ctx, (void)d;
}

static struct disk *open_disk(const char *name, bool writable, uint32_t request, unsigned depth)
{
    struct disk *d = NULL;
    const struct nfc_disk_info info = {.capacity = CAPACITY, .cylinders = 4, .heads = 255, .sectors = 63};
    const struct disk_remote_params p = {
        .queue = {.host = name,
                  .path = "[ds] vm/x.vmdk",
                  .request_max = request,
                  .depth = depth,
                  .writable = writable,
                  .reopen = reopen,
                  .reopen_ms = 10000},
        .links = 2,
        .parent_closed = single_link,
        .type = VIXDISKLIB_DISK_VMFS_THIN,
        .closes = closes,
        .closed = closed,
    };
    assert_int_equal(disk_remote_new(&p, new_client(), &info, &d, &err), VIX_OK);
    return d;
}

static void set_hold(bool on)
{
    SCOPED_LOCK(&host.lock);
    host.hold = on;
    (void)pthread_cond_broadcast(&host.change);
}

static void nap(void)
{
    static const struct timespec ms = {0, 1000000};
    (void)nanosleep(&ms, NULL);
}

static unsigned requests(void)
{
    SCOPED_LOCK(&host.lock);
    return host.requests;
}

static void await_requests(unsigned n)
{
    for (int i = 0; i < 2000 && requests() < n; i++) {
        nap();
    }
    nap();
    assert_int_equal(requests(), n);
}

static void close_disk(struct disk *d, VixError code)
{
    assert_int_equal(disk_close(d, &err), code);
    assert_false(host.collision);
}

/* ---- tests ---- */

static void test_pieces(void **state)
{
    struct disk *d = open_disk("pieces", true, MIB, 4);
    uint8_t *buf = malloc(8 * MIB);
    uint64_t in;
    uint64_t out;

    (void)state;
    host.newest_first = true;
    assert_int_equal(disk_read(d, 3, 2 * 5 * 1024 + 1, buf, &err), VIX_OK);
    assert_memory_equal(buf, host.image + 3 * 512, 5 * MIB + 512);
    assert_int_equal(host.requests, 6);
    assert_int_equal(host.largest, MIB);
    assert_in_range(host.most, 2, 4);
    disk_remote_traffic(d, &in, &out);
    assert_int_equal(in, 5 * MIB + 512);

    memset(buf, 0xAB, 8 * MIB);
    assert_int_equal(disk_write(d, 1, 7 * 2048, buf, &err), VIX_OK);
    assert_memory_equal(buf, host.image + 512, 7 * MIB);
    assert_int_not_equal(host.image[7 * MIB + 512], 0xAB);
    assert_int_equal(disk_read(d, CAPACITY / 512 - 1, 2, buf, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(d->ops->flush(d, &err), VIX_OK);
    assert_int_equal(host.flushes, 1);
    close_disk(d, VIX_OK);
    assert_int_equal(closed_in, 5 * MIB + 512);
    free(buf);
}

/** Reads the sectors from first to end in pieces; returns how often that failed. */
static unsigned read_in_order(struct disk *d, uint64_t first, uint64_t end, uint64_t nsectors)
{
    uint8_t *buf = malloc(nsectors * 512);
    unsigned failures = 0;

    for (uint64_t at = first; at < end; at += nsectors) {
        uint64_t n = end - at < nsectors ? end - at : nsectors;
        if (disk_read(d, at, n, buf, &err) != VIX_OK) {
            failures++;
        } else {
            assert_memory_equal(buf, host.image + at * 512, n * 512);
        }
    }
    free(buf);
    return failures;
}

static void test_read_ahead(void **state)
{
    static const uint64_t sizes[] = {1, 127, 2048, 5000, 2048 * 16, 2048 * 17};
    struct disk *d = open_disk("ahead", false, MIB, 16);
    const uint64_t capacity = CAPACITY / 512;
    uint8_t buf[512];

    (void)state;
    /* the steps ahead are asked for at once, the more the longer a reader goes on, and each byte once */
    assert_int_equal(read_in_order(d, 0, 8 * 2048, 2048), 0);
    assert_int_equal(requests(), 7 + 8);
    assert_int_equal(read_in_order(d, 8 * 2048, capacity, 2048), 0);
    assert_int_equal(requests(), CAPACITY / MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t end = sizes[i] < 100 ? 20000 : capacity;
        assert_int_equal(read_in_order(d, 3, end, sizes[i]), 0);
    }
    /* places here and there have nothing fetched ahead of them */
    host.requests = 0;
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t at = i * 2654435761u % capacity;
        assert_int_equal(disk_read(d, at, 1, buf, &err), VIX_OK);
        assert_memory_equal(buf, host.image + at * 512, 512);
    }
    assert_int_equal(host.requests, 100);
    close_disk(d, VIX_OK);
}

/** A reader that leaves, or meets a bad place, while bytes are on their way. */
static void test_read_ahead_left(void **state)
{
    struct disk *d = open_disk("ahead-left", false, MIB, 16);

    (void)state;
    host.bad_off = 20 * MIB + 700;
    assert_int_equal(read_in_order(d, 0, CAPACITY / 512, 128), 1);
    assert_int_equal(read_in_order(d, 0, 12 * 2048, 2048), 0);
    assert_int_equal(read_in_order(d, 12 * 2048, 12 * 2048 + 8, 8), 0); /* the step is there */
    set_hold(true);
    assert_int_equal(read_in_order(d, 12 * 2048 + 8, 13 * 2048, 2040), 0);
    set_hold(false);
    assert_int_equal(read_in_order(d, 30 * 2048, 32 * 2048, 100), 0);
    assert_int_equal(read_in_order(d, 7 * 2048, 19 * 2048, 2048), 0);
    host.cut_after = 3;
    assert_int_equal(read_in_order(d, 0, 12 * 2048, 2048), 0);
    assert_int_equal(host.reopened, 1);
    close_disk(d, VIX_OK); /* with bytes on their way */
}

/** A disk that is written is never read ahead. */
static void test_no_read_ahead(void **state)
{
    struct disk *d = open_disk("no-ahead", true, MIB, 16);

    (void)state;
    assert_int_equal(read_in_order(d, 0, CAPACITY / 512, 2048), 0);
    assert_int_equal(host.most, 1);
    close_disk(d, VIX_OK);
}

struct order_reader {
    pthread_t thread;
    struct disk *d;
    uint64_t first;
    unsigned failures;
};

static void *order_thread(void *arg)
{
    struct order_reader *r = arg;
    uint8_t *buf = malloc(MIB);

    for (uint64_t at = r->first; at < CAPACITY / 512; at += 1000) {
        uint64_t n = CAPACITY / 512 - at < 1000 ? CAPACITY / 512 - at : 1000;
        struct err e;
        if (disk_read(r->d, at, n, buf, &e) != VIX_OK || memcmp(buf, host.image + at * 512, n * 512) != 0) {
            r->failures++;
        }
    }
    free(buf);
    return NULL;
}

static void test_read_ahead_threads(void **state)
{
    struct disk *d = open_disk("ahead-threads", false, MIB, 16);
    struct order_reader readers[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (struct order_reader){.d = d, .first = i * 7777};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, order_thread, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].failures, 0);
    }
    close_disk(d, VIX_OK);
    /* nothing to speak of is asked for twice */
    assert_in_range(closed_in, 3 * CAPACITY, 4 * CAPACITY + CAPACITY / 4);
}

struct background {
    _Atomic unsigned done;
    _Atomic VixError last;
    char text[ERR_TEXT_MAX];
};

static void background_done(void *data, VixError result, const struct err *e)
{
    struct background *b = data;

    if (result != VIX_OK && e != NULL) {
        (void)snprintf(b->text, sizeof b->text, "%s", e->text);
    }
    atomic_store(&b->last, result);
    atomic_fetch_add(&b->done, 1);
}

static void test_depth(void **state)
{
    struct disk *d = open_disk("depth", false, MIB, 8);
    uint8_t *buf = malloc(20 * MIB);
    uint8_t small[512];
    struct background large = {0};
    struct background little = {0};

    (void)state;
    set_hold(true);
    assert_int_equal(disk_read_async(d, 0, 20 * 2048, buf, background_done, &large, &err), VIX_OK);
    await_requests(8);
    /* one that comes later has its turn after one piece, not after twelve */
    assert_int_equal(disk_read_async(d, 9, 1, small, background_done, &little, &err), VIX_OK);
    await_requests(8);
    set_hold(false);
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    assert_int_equal(atomic_load(&large.done), 1);
    assert_int_equal(atomic_load(&little.done), 1);
    assert_int_equal(host.most, 8);
    assert_memory_equal(buf, host.image, 20 * MIB);
    assert_memory_equal(small, host.image + 9 * 512, 512);
    close_disk(d, VIX_OK);
    free(buf);
}

/** Small answers that come together are followed by as many requests in one piece. */
static void test_small_ones_together(void **state)
{
    struct disk *d = open_disk("together", false, MIB, 16);
    struct background b[40] = {0};
    uint8_t *buf = malloc(40 * 4096);

    (void)state;
    set_hold(true);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(disk_read_async(d, (uint64_t)i * 24, 8, buf + (size_t)i * 4096, background_done, &b[i], &err),
                         VIX_OK);
    }
    await_requests(16);
    assert_int_equal(host.sendings, 16);
    set_hold(false);
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    assert_int_equal(host.requests, 40);
    assert_int_equal(host.most, 16);
    assert_int_equal(host.sendings, 18);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(atomic_load(&b[i].done), 1);
        assert_memory_equal(buf + (size_t)i * 4096, host.image + (size_t)i * 24 * 512, 4096);
    }
    close_disk(d, VIX_OK);
    free(buf);
}

static void test_overlaps_wait(void **state)
{
    struct disk *d = open_disk("overlaps", true, MIB, 8);
    struct background b = {0};
    uint8_t one[4096];
    uint8_t two[1024];
    uint8_t seen[2048];
    uint8_t apart[512];

    (void)state;
    memset(one, 1, sizeof one);
    memset(two, 2, sizeof two);
    set_hold(true);
    assert_int_equal(disk_write_async(d, 100, 8, one, background_done, &b, &err), VIX_OK);
    assert_int_equal(disk_write_async(d, 102, 2, two, background_done, &b, &err), VIX_OK);
    assert_int_equal(disk_read_async(d, 101, 4, seen, background_done, &b, &err), VIX_OK);
    assert_int_equal(disk_read_async(d, 200, 1, apart, background_done, &b, &err), VIX_OK);
    await_requests(2); /* the first write and the read that is apart */
    set_hold(false);
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    assert_int_equal(atomic_load(&b.done), 4);
    for (int i = 0; i < 2048; i++) {
        assert_int_equal(seen[i], i >= 512 && i < 1536 ? 2 : 1);
    }
    close_disk(d, VIX_OK);
}

static void test_host_without_memory(void **state)
{
    struct disk *d = open_disk("poor", false, MIB, 8);
    uint8_t *buf = malloc(8 * MIB);

    (void)state;
    host.len_max = 256u << 10;
    assert_int_equal(disk_read(d, 0, 8 * 2048, buf, &err), VIX_OK);
    assert_memory_equal(buf, host.image, 8 * MIB);
    assert_int_equal(atomic_load(&log_lines), 1);
    host.largest = 0;
    assert_int_equal(disk_read(d, 0, 8 * 2048, buf, &err), VIX_OK);
    assert_int_equal(host.largest, 256u << 10);
    close_disk(d, VIX_OK);

    /* another disk of the host knows; of another host not */
    host.largest = 0;
    d = open_disk("poor", false, MIB, 8);
    assert_int_equal(disk_read(d, 0, 8 * 2048, buf, &err), VIX_OK);
    assert_int_equal(host.largest, 256u << 10);
    host.count_max = 1;
    host.len_max = 64u << 10;
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_OK);
    assert_memory_equal(buf, host.image, MIB);
    host.most = 0;
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_OK);
    assert_int_equal(host.most, 1);
    assert_int_equal(atomic_load(&log_lines), 1);
    host.len_max = 0; /* nothing at all: an end is found */
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_E_OUT_OF_MEMORY);
    assert_non_null(strstr(err.text, "Failed to allocate"));
    close_disk(d, VIX_OK);
    free(buf);
}

static void test_one_bad_place(void **state)
{
    struct disk *d = open_disk("bad", false, 64u << 10, 4);
    uint8_t *buf = malloc(MIB);
    struct background b = {0};

    (void)state;
    host.bad_off = 300u << 10;
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_E_DISK_NOIO);
    assert_string_equal(err.text, "host: a bad place");
    assert_int_equal(disk_read_async(d, 512, 512, buf, background_done, &b, &err), VIX_OK);
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    assert_int_equal(atomic_load(&b.last), VIX_E_DISK_NOIO);
    assert_string_equal(b.text, "host: a bad place");
    assert_int_equal(disk_read(d, 0, 512, buf, &err), VIX_OK);
    close_disk(d, VIX_OK);
    free(buf);
}

static void test_connected_again(void **state)
{
    struct disk *d = open_disk("again", false, 64u << 10, 8);
    uint8_t *buf = malloc(4 * MIB);

    (void)state;
    host.cut_after = 20;
    assert_int_equal(disk_read(d, 0, 4 * 2048, buf, &err), VIX_OK);
    assert_memory_equal(buf, host.image, 4 * MIB);
    assert_int_equal(host.reopened, 1);
    host.cut_after = 1; /* found out by the next request */
    host.reopen_fails = 2;
    host.reopen_code = VIX_E_HOST_NETWORK_CONN_REFUSED;
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_OK);
    assert_int_equal(host.attempts, 4);
    assert_int_equal(host.reopened, 2);
    /* what does not pass is not tried again */
    host.cut_after = 1;
    host.reopen_fails = 1;
    host.reopen_code = VIX_E_FILE_NOT_FOUND;
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_E_FILE_NOT_FOUND);
    assert_non_null(strstr(err.text, "host: not now; the connection was lost and could not be made again"));
    assert_int_equal(host.attempts, 5);
    /* the next request tries anew */
    assert_int_equal(disk_read(d, 0, 2048, buf, &err), VIX_OK);
    assert_int_equal(host.reopened, 3);
    close_disk(d, VIX_OK);
    free(buf);
}

static void test_lost_at_once_again_and_again(void **state)
{
    struct disk *d = open_disk("flapping", false, 64u << 10, 8);
    uint8_t buf[512];
    char *value = NULL;

    (void)state;
    for (int i = 0; i < 3; i++) { /* calls that are no reads connect again too */
        host.cut_after = 1;
        assert_int_equal(disk_read(d, 0, 1, buf, &err), VIX_OK);
    }
    assert_int_equal(host.reopened, 3);
    assert_int_equal(d->ops->meta_get(d, "uuid", &value, &err), VIX_OK);
    free(value);
    close_disk(d, VIX_OK);
}

static void test_writer_is_not_connected_again(void **state)
{
    struct disk *d = open_disk("writer", true, 64u << 10, 4);
    uint8_t *buf = calloc(1, MIB);
    struct background b = {0};

    (void)state;
    host.cut_after = 5;
    assert_int_equal(disk_write(d, 0, 2048, buf, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_non_null(strstr(err.text, "host: cut"));
    assert_int_equal(disk_write(d, 0, 1, buf, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_non_null(strstr(err.text, "open for writing"));
    assert_int_equal(disk_read(d, 0, 1, buf, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_int_equal(disk_read_async(d, 0, 1, buf, background_done, &b, &err), VIX_OK);
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    assert_int_equal(atomic_load(&b.last), VIX_E_HOST_TCP_CONN_LOST);
    assert_int_equal(d->ops->flush(d, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_int_equal(host.attempts, 0);
    close_disk(d, VIX_E_HOST_TCP_CONN_LOST);
    free(buf);
}

/* ---- callbacks that start more, and that wait ---- */

struct callback_chain {
    struct disk *d;
    _Atomic unsigned left;
    uint8_t buf[512];
    uint8_t mine[512];
};

static void chain_next(void *data, VixError result, const struct err *e)
{
    struct callback_chain *c = data;
    struct err own;

    (void)e;
    assert_int_equal(result, VIX_OK);
    unsigned left = atomic_fetch_sub(&c->left, 1);
    assert_int_equal(disk_read(c->d, left, 1, c->mine, &own), VIX_OK);
    assert_memory_equal(c->mine, host.image + left * 512, 512);
    assert_int_equal(disk_write(c->d, 8192 + left, 1, c->mine, &own), VIX_OK);
    if (left > 1) {
        assert_int_equal(disk_read_async(c->d, left, 1, c->buf, chain_next, c, &own), VIX_OK);
    }
}

static void test_callbacks_start_and_wait(void **state)
{
    struct disk *d = open_disk("callbacks", true, 64u << 10, 4);
    struct callback_chain chains[6];

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        chains[i].d = d;
        atomic_store(&chains[i].left, 50);
        assert_int_equal(disk_read_async(d, 0, 1, chains[i].buf, chain_next, &chains[i], &err), VIX_OK);
    }
    assert_int_equal(disk_wait(d, &err), VIX_OK);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(atomic_load(&chains[i].left), 0);
    }
    assert_memory_equal(host.image + 8193 * 512, host.image + 512, 50 * 512);
    close_disk(d, VIX_OK);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS 60
#define REGION (CAPACITY / THREADS)

static struct disk *shared;
static _Atomic unsigned faults;

static void *work(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    unsigned seed = 77 + me;
    uint8_t *buf = malloc(MIB);
    uint8_t *model = malloc(REGION);
    struct err own;

    memcpy(model, host.image + me * REGION, REGION);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t n = 1 + (uint64_t)rand_r(&seed) % (i % 8 == 0 ? 2000 : 64);
        uint64_t at = (uint64_t)rand_r(&seed) % (REGION / 512 - n);
        uint64_t sector = me * (REGION / 512) + at;
        bool write = shared->writable && i % 3 == 0;
        if (write) {
            memset(buf, rand_r(&seed), n * 512);
            memcpy(model + at * 512, buf, n * 512);
        }
        VixError code = write ? disk_write(shared, sector, n, buf, &own) : disk_read(shared, sector, n, buf, &own);
        if (code != VIX_OK || memcmp(buf, model + at * 512, n * 512) != 0) {
            atomic_fetch_add(&faults, 1);
        }
    }
    free(model);
    free(buf);
    return NULL;
}

static void run_threads(struct disk *d)
{
    pthread_t threads[THREADS];

    shared = d;
    atomic_store(&faults, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&faults), 0);
}

static void test_threads(void **state)
{
    struct disk *d = open_disk("threads", true, 64u << 10, 16);

    (void)state;
    host.newest_first = true;
    run_threads(d);
    close_disk(d, VIX_OK);
}

static void test_threads_and_a_bad_line(void **state)
{
    struct disk *d = open_disk("threads2", false, 64u << 10, 16);

    (void)state;
    host.cut_after = 100;
    host.len_max = 128u << 10;
    run_threads(d);
    host.cut_after = 200;
    run_threads(d);
    assert_int_equal(host.reopened, 2);
    close_disk(d, VIX_OK);
}

/* ---- the map ---- */

static uint64_t walk_allocated(struct disk *d, uint64_t sector, uint64_t end)
{
    uint64_t sum = 0;

    while (sector < end) {
        struct disk_run run;
        assert_int_equal(d->ops->map(d, sector, end - sector, 0, &run, &err), VIX_OK);
        assert_true(run.nsectors > 0 && run.nsectors <= end - sector);
        assert_int_equal(run.zero, !run.present);
        sum += run.present ? run.nsectors : 0;
        sector += run.nsectors;
    }
    return sum;
}

static void test_map(void **state)
{
    struct disk *d = open_disk("map", true, MIB, 4);
    struct disk_run run;
    uint8_t buf[512] = {0};

    (void)state;
    host.map[0] = 0x0E; /* chunks 1 to 3 */
    host.map[40] = 0xFF;
    host.map[41] = 0x01;
    assert_int_equal(walk_allocated(d, 0, CAPACITY / 512), (3 + 9) * 128);
    assert_int_equal(host.map_questions, 1);
    assert_int_equal(d->ops->map(d, 130, 1000, 0, &run, &err), VIX_OK);
    assert_true(run.present);
    assert_int_equal(run.nsectors, 4 * 128 - 130);
    /* a new walk sees what has changed */
    host.map[2] = 0xFF;
    assert_int_equal(walk_allocated(d, 0, CAPACITY / 512), (3 + 8 + 9) * 128);
    /* and so does one that was under way when this disk was written to */
    assert_int_equal(d->ops->map(d, 0, 4096, 0, &run, &err), VIX_OK);
    host.map[1] = 0xFF;
    assert_int_equal(disk_write(d, 1024, 1, buf, &err), VIX_OK);
    assert_int_equal(walk_allocated(d, 128, 4096), (3 + 8 + 8) * 128);
    close_disk(d, VIX_OK);

    d = open_disk("map", false, MIB, 4);
    host.no_map = true;
    assert_int_equal(walk_allocated(d, 0, CAPACITY / 512), CAPACITY / 512);
    host.map_questions = 0;
    assert_int_equal(walk_allocated(d, 5, 9), 4);
    assert_int_equal(host.map_questions, 0);
    close_disk(d, VIX_OK);
}

/** Where a single link holds nothing its parent may: zeros are written there. */
static void test_zeros_of_a_single_link(void **state)
{
    uint8_t *before = malloc(CAPACITY);
    uint64_t first = 100 * 512, len = 3000 * 512;

    (void)state;
    assert_non_null(before);
    memcpy(before, host.image, CAPACITY);
    struct disk *d = open_disk("zeros", true, MIB, 4);
    assert_int_equal(ops_write_zeros(d, first / 512, len / 512, &err), VIX_OK);
    assert_memory_equal(host.image, before, CAPACITY); /* the map says that nothing is there */
    close_disk(d, VIX_OK);

    single_link = true;
    d = open_disk("zeros", true, MIB, 4);
    single_link = false;
    memset(before + first, 0, len);
    assert_int_equal(ops_write_zeros(d, first / 512, len / 512, &err), VIX_OK);
    assert_memory_equal(host.image, before, CAPACITY);
    close_disk(d, VIX_OK);
    free(before);
}

static void test_metadata(void **state)
{
    struct disk *d = open_disk("meta", false, MIB, 4);
    char *keys = NULL;
    char *value = NULL;
    size_t len = 0;
    struct disk_info info;

    (void)state;
    assert_int_equal(d->ops->meta_keys(d, &keys, &len, &err), VIX_OK);
    assert_int_equal(len, sizeof "adapterType\0uuid\0");
    assert_memory_equal(keys, "adapterType\0uuid\0", len);
    assert_int_equal(d->ops->meta_get(d, "nothing", &value, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(d->ops->meta_set(d, "a", "b", &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(d->ops->info(d, &info, &err), VIX_OK);
    assert_int_equal(info.info.adapterType, VIXDISKLIB_ADAPTER_SCSI_LSILOGIC);
    assert_int_equal(info.info.physGeo.heads, 255);
    assert_int_equal(info.info.numLinks, 2);
    assert_int_equal(info.info.capacity, CAPACITY / 512);
    assert_string_equal(info.info.uuid, "60 00 C2 93");
    assert_int_equal(info.type, VIXDISKLIB_DISK_VMFS_THIN);
    disk_info_done(&info);
    assert_string_equal(d->ops->transport, "nbd");
    assert_true(disk_is_remote(d));
    free(keys);
    close_disk(d, VIX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_ahead_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_read_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_ahead_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_ones_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlaps_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_host_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_bad_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connected_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_at_once_again_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer_is_not_connected_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_callbacks_start_and_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_and_a_bad_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zeros_of_a_single_link, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metadata, setup, teardown),
    };
    return cmocka_run_group_tests_name("disk_remote", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* nfc_util.h - what tests of NFC share: a disk in memory behind the host's end, served on loopback. */
#ifndef VIXDISK_TESTS_NFC_UTIL_H
#define VIXDISK_TESTS_NFC_UTIL_H

#include <stdatomic.h>

#include "net_util.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "nfc/client.h"
#include "nfc/server.h"

#define SECRET "52a1-secret-of-the-ticket"
#define DISK_PATH "[ds] vm/x.vmdk"
#define DISK_LEN (16u << 20)
#define KEYS_MAX 16u

struct nfc_host_disk {
    uint8_t *bytes;
    char *keys[KEYS_MAX];
    char *values[KEYS_MAX];
    unsigned flushes, closes, opens;
    uint64_t created;
    uint32_t open_flags;
    pthread_mutex_t lock;
    atomic_uint read_ms;  /* what a read takes */
    atomic_uint flush_ms; /* what a flush takes */
    atomic_uint reading, most_reading;
    _Atomic uint64_t read_bytes;
};

static struct nfc_host_disk memory;

static VixError host_take_ticket(void *host, const char *session_id, const char *service, const char *peer,
                                 struct nfc_host_grant **ret_grant, struct err *e)
{
    (void)host, (void)peer, (void)service;
    if (strcmp(session_id, SECRET) != 0) {
        return err_set(e, VIX_E_HOST_USER_PERMISSIONS, "unknown ticket");
    }
    *ret_grant = (struct nfc_host_grant *)&memory;
    return VIX_OK;
}

static void host_end_grant(void *host, struct nfc_host_grant *grant)
{
    (void)host, (void)grant;
}

static VixError host_open(void *host, struct nfc_host_grant *grant, const char *path, uint32_t flags,
                          struct nfc_host_disk **ret_disk, struct nfc_host_disk_info *ret_info, struct err *e)
{
    static const struct {
        const char *path;
        VixError code;
    } bad[] = {
        {"[ds] absent.vmdk", VIX_E_FILE_NOT_FOUND},    {"[ds] locked.vmdk", VIX_E_FILE_ALREADY_LOCKED},
        {"[ds] denied.vmdk", VIX_E_FILE_ACCESS_ERROR}, {"[ds] ro.vmdk", VIX_E_FILE_READ_ONLY},
        {"[ds] memory.vmdk", VIX_E_OUT_OF_MEMORY},     {"[ds] damaged.vmdk", VIX_E_DISK_INVAL},
    };

    (void)host, (void)grant;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (strcmp(path, bad[i].path) == 0) {
            return err_set(e, bad[i].code, "%s is a bad disk", path);
        }
    }
    SCOPED_LOCK(&memory.lock);
    memory.open_flags = flags;
    memory.opens++;
    *ret_disk = &memory;
    *ret_info = (struct nfc_host_disk_info){DISK_LEN, 512, 2, 255, 63};
    return VIX_OK;
}

static VixError host_read(struct nfc_host_disk *d, uint64_t off, uint32_t len, void *buf, struct err *e)
{
    const unsigned nap_ms = atomic_load(&d->read_ms);

    (void)e;
    if (nap_ms > 0) {
        const struct timespec nap = {.tv_nsec = (long)nap_ms * 1000000};
        unsigned now = atomic_fetch_add(&d->reading, 1) + 1;
        unsigned most = atomic_load(&d->most_reading);
        while (now > most && !atomic_compare_exchange_weak(&d->most_reading, &most, now)) {
        }
        (void)nanosleep(&nap, NULL);
        (void)atomic_fetch_sub(&d->reading, 1);
    }
    (void)atomic_fetch_add(&d->read_bytes, len);
    SCOPED_LOCK(&d->lock);
    memcpy(buf, d->bytes + off, len);
    return VIX_OK;
}

static VixError host_write(struct nfc_host_disk *d, uint64_t off, uint32_t len, const void *buf, struct err *e)
{
    (void)e;
    SCOPED_LOCK(&d->lock);
    memcpy(d->bytes + off, buf, len);
    return VIX_OK;
}

static VixError host_flush(struct nfc_host_disk *d, struct err *e)
{
    (void)e;
    (void)usleep(atomic_load(&d->flush_ms) * 1000);
    SCOPED_LOCK(&d->lock);
    d->flushes++;
    return VIX_OK;
}

static VixError host_allocated(struct nfc_host_disk *d, uint64_t chunk, uint64_t start, uint32_t nchunks,
                               uint8_t *bitmap, struct err *e)
{
    (void)d, (void)e;
    for (uint32_t i = 0; i < nchunks; i++) {
        if ((start / chunk + i) % 3 == 0) {
            bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
    return VIX_OK;
}

static char **find_key(struct nfc_host_disk *d, const char *key)
{
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        if (d->keys[i] != NULL && strcmp(d->keys[i], key) == 0) {
            return &d->values[i];
        }
    }
    return NULL;
}

static VixError host_meta_get(struct nfc_host_disk *d, const char *key, char **ret_value, struct err *e)
{
    SCOPED_LOCK(&d->lock);
    char **value = find_key(d, key);

    if (value == NULL || *value == NULL) {
        return err_set(e, VIX_E_DISK_KEY_NOTFOUND, "no key %s", key);
    }
    *ret_value = strdup(*value);
    return VIX_OK;
}

static VixError host_meta_set(struct nfc_host_disk *d, const char *key, const char *value, struct err *e)
{
    SCOPED_LOCK(&d->lock);
    char **at = find_key(d, key);

    (void)e;
    for (unsigned i = 0; at == NULL && i < KEYS_MAX; i++) {
        if (d->keys[i] == NULL) {
            d->keys[i] = strdup(key);
            at = &d->values[i];
        }
    }
    if (at == NULL) {
        return err_set(e, VIX_E_DISK_INVAL, "too many keys");
    }
    free(*at);
    *at = value != NULL ? strdup(value) : NULL;
    return VIX_OK;
}

static VixError host_meta_keys(struct nfc_host_disk *d, char **ret_keys, size_t *ret_len, struct err *e)
{
    char *keys = calloc(1, 4096);
    size_t len = 0;
    SCOPED_LOCK(&d->lock);

    (void)e;
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        if (d->values[i] != NULL) {
            memcpy(keys + len, d->keys[i], strlen(d->keys[i]) + 1);
            len += strlen(d->keys[i]) + 1;
        }
    }
    *ret_keys = keys;
    *ret_len = len;
    return VIX_OK;
}

static VixError host_close(struct nfc_host_disk *d, struct err *e)
{
    (void)e;
    SCOPED_LOCK(&d->lock);
    d->closes++;
    return VIX_OK;
}

static VixError host_create(void *host, struct nfc_host_grant *grant, const char *path, uint32_t type, uint32_t adapter,
                            uint32_t hw_version, uint64_t capacity, struct err *e)
{
    (void)host, (void)grant;
    if (strcmp(path, "[ds] there.vmdk") == 0) {
        return err_set(e, VIX_E_FILE_ALREADY_EXISTS, "%s exists", path);
    }
    if (type != 3 || adapter != 2 || hw_version != 13) {
        return err_set(e, VIX_E_INVALID_ARG, "type %u, adapter %u, version %u", type, adapter, hw_version);
    }
    SCOPED_LOCK(&memory.lock);
    memory.created = capacity;
    return VIX_OK;
}

static const struct nfc_host_ops host_ops = {
    .take_ticket = host_take_ticket,
    .end_grant = host_end_grant,
    .open = host_open,
    .read = host_read,
    .write = host_write,
    .flush = host_flush,
    .allocated = host_allocated,
    .meta_get = host_meta_get,
    .meta_set = host_meta_set,
    .meta_keys = host_meta_keys,
    .close = host_close,
    .create = host_create,
};

/* ---- the host ---- */

#define SERVED_MAX 64u

/** Serves every connection on a thread of its own. */
struct nfc_test_host {
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_t served[SERVED_MAX];
    unsigned count;
    struct nfc_serve how;
    struct nfc_test_knobs knobs;
    pthread_mutex_t lock;
    VixError last; /* how the last connection ended */
};

struct served {
    struct nfc_test_host *host;
    struct stream *stream;
};

static void *serve_one(void *arg)
{
    struct served *s = arg;
    struct err e;

    err_init(&e);
    VixError code = nfc_serve(s->stream, &s->host->how, &e);
    SCOPED_LOCK(&s->host->lock);
    s->host->last = code;
    free(s);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct nfc_test_host *h = arg;

    for (;;) {
        int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return NULL;
        }
        struct served *s = calloc(1, sizeof *s);
        s->host = h;
        (void)tcp_from_fd(fd, "client", &s->stream, NULL);
        (void)pthread_create(&h->served[h->count++], NULL, serve_one, s);
    }
}

static inline void start_host(struct nfc_test_host *h, const struct nfc_test_knobs *knobs)
{
    memset(h, 0, sizeof *h);
    (void)pthread_mutex_init(&h->lock, NULL);
    if (knobs != NULL) {
        h->knobs = *knobs;
    }
    h->how = (struct nfc_serve){
        .ops = &host_ops,
        .identity = identity,
        .handshake_timeout_ms = 20000,
        .idle_timeout_ms = 20000,
        .write_timeout_ms = 20000,
        .test = &h->knobs,
    };
    assert_int_equal(work_pool_new(2, &h->how.pool, &err), VIX_OK);
    assert_int_equal(tcp_listen("127.0.0.1", 0, &h->fd, &h->port, &err), VIX_OK);
    assert_int_equal(pthread_create(&h->thread, NULL, accept_all, h), 0);
}

static inline void stop_host(struct nfc_test_host *h)
{
    (void)shutdown(h->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(h->thread, NULL), 0);
    for (unsigned i = 0; i < h->count; i++) {
        assert_int_equal(pthread_join(h->served[i], NULL), 0);
    }
    (void)close(h->fd);
    work_pool_free(h->how.pool);
}

/* ---- the client ---- */

static inline struct nfc_connect connect_params(uint16_t port, bool ssl)
{
    return (struct nfc_connect){
        .host = "127.0.0.1",
        .port = port,
        .session_id = SECRET,
        .service = "vpxa-nfc",
        .thumbprint = sha1_text,
        .ssl = ssl,
        .connect_timeout_ms = 5000,
        .handshake_timeout_ms = 20000,
        .read_timeout_ms = 20000,
        .write_timeout_ms = 20000,
        .path = DISK_PATH,
    };
}

/** A request that can be waited for. */
struct wait {
    struct nfc_request r;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done;
    VixError result;
    struct err why;
};

static inline void wait_done(struct nfc_request *r, VixError result, const struct err *why)
{
    struct wait *w = r->data;
    SCOPED_LOCK(&w->lock);

    w->result = result;
    w->why = *why;
    w->done++;
    (void)pthread_cond_signal(&w->changed);
}

static inline void wait_init(struct wait *w, bool write, uint64_t off, uint32_t len, void *buf)
{
    memset(w, 0, sizeof *w);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->changed, NULL);
    w->r = (struct nfc_request){.write = write, .off = off, .len = len, .buf = buf, .done = wait_done, .data = w};
}

static inline VixError wait_for(struct wait *w)
{
    SCOPED_LOCK(&w->lock);
    while (w->done == 0) {
        (void)pthread_cond_wait(&w->changed, &w->lock);
    }
    assert_int_equal(w->done, 1);
    return w->result;
}

static inline VixError run_io(struct nfc_client *c, bool write, uint64_t off, uint32_t len, void *buf)
{
    struct wait w;

    wait_init(&w, write, off, len, buf);
    VixError code = nfc_client_submit(c, &w.r, &err);
    if (code != VIX_OK) {
        return code;
    }
    code = wait_for(&w);
    err = w.why;
    return code;
}

static inline void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (i / 8192) % 3 == 0 ? 0 : (i / 4096) % 2 == 0 ? (uint8_t)(seed >> 56) : (uint8_t)(i / 64);
    }
}

static inline int nfc_set_up(void **state)
{
    (void)pthread_mutex_init(&memory.lock, NULL);
    memory.bytes = malloc(DISK_LEN);
    fill(memory.bytes, DISK_LEN, 1);
    return set_up(state);
}

static inline int nfc_tear_down(void **state)
{
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        free(memory.keys[i]);
        free(memory.values[i]);
    }
    free(memory.bytes);
    return tear_down(state);
}

#endif

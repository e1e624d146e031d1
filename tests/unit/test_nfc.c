/* SPDX-License-Identifier: BSD-3-Clause */
/* Client and host of NFC with each other over loopback: both transports, every compression, hosts of all ages, answers
 * in any order, errors, and what becomes of requests when the connection goes. */
#include "nfc_util.h"

#define MIB (1u << 20)

static struct nfc_disk_info info;

static struct nfc_client *open_client(const struct nfc_connect *how)
{
    struct nfc_client *c = NULL;
    VixError code = nfc_client_open(how, &c, &info, &err);

    if (code != VIX_OK) {
        fail_msg("open: %llu: %s", (unsigned long long)code, err.text);
    }
    return c;
}

static VixError open_code(const struct nfc_connect *how)
{
    struct nfc_client *c = NULL;

    err_init(&err);
    VixError code = nfc_client_open(how, &c, &info, &err);
    assert_int_not_equal(code, VIX_OK);
    assert_int_equal(code, err.code);
    assert_null(c);
    assert_null(strstr(err.text, SECRET));
    assert_int_equal(strncmp(err.text, "127.0.0.1:", 10), 0);
    return code;
}

/** Reads and writes of all kinds of lengths; what is read must be what the disk holds. */
static void exercise(struct nfc_client *c)
{
    static const uint32_t lens[] = {512, 4096, 65536, 66048, 130560, MIB, 3 * MIB + 512};
    uint8_t *buf = malloc(4 * MIB);

    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        uint64_t off = 512 * (7 + i * 1001);
        memset(buf, 0xEE, lens[i] + 1);
        assert_int_equal(run_io(c, false, off, lens[i], buf), VIX_OK);
        assert_memory_equal(buf, memory.bytes + off, lens[i]);
        assert_int_equal(buf[lens[i]], 0xEE);
        fill(buf, lens[i], off);
        assert_int_equal(run_io(c, true, off, lens[i], buf), VIX_OK);
        assert_memory_equal(memory.bytes + off, buf, lens[i]);
    }
    free(buf);
}

static void transports_and_compressions(void **state)
{
    struct nfc_test_host h;

    (void)state;
    start_host(&h, NULL);
    for (unsigned ssl = 0; ssl < 2; ssl++) {
        for (enum nfc_compression kind = NFC_COMPRESS_NONE; kind <= NFC_COMPRESS_SKIPZ; kind++) {
            struct nfc_connect how = connect_params(h.port, ssl != 0);
            how.compression = kind;
            how.buffer_size = kind == NFC_COMPRESS_ZLIB ? 64u << 10 : 0;
            unsigned closes = memory.closes;
            struct nfc_client *c = open_client(&how);
            assert_int_equal(info.capacity, DISK_LEN);
            assert_int_equal(info.sector_size, 512);
            assert_int_equal(info.cylinders, 2);
            assert_int_equal(info.heads, 255);
            assert_int_equal(info.sectors, 63);
            assert_int_equal(info.server_version, 11);
            assert_true(info.extended);
            exercise(c);
            uint64_t in = 0;
            uint64_t out = 0;
            nfc_client_traffic(c, &in, &out);
            assert_true(kind == NFC_COMPRESS_NONE ? in > 4 * MIB : in < 4 * MIB);
            assert_true(kind == NFC_COMPRESS_NONE ? out > 4 * MIB : out < 4 * MIB);
            assert_false(nfc_client_lost(c));
            nfc_client_close(c);
            assert_int_equal(memory.closes, closes + 1);
        }
    }
    stop_host(&h);
    assert_int_equal(h.last, VIX_OK);
}

static void old_hosts(void **state)
{
    static const struct {
        struct nfc_test_knobs knobs;
        uint32_t version;
    } hosts[] = {
        {{.no_sha256_word = true, .no_extension_word = true, .version = 1}, 1},
        {{.no_sha256_word = true, .no_extension_word = true, .version = 2}, 2},
        {{.no_sha256_word = true, .no_extension_word = true, .version = 7}, 7},
        {{.no_extension_word = true, .version = 9}, 9},
        {{.no_extension_word = true}, 11},
    };
    uint8_t bitmap[8];
    char *text = NULL;
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        for (unsigned ssl = 0; ssl < 2; ssl++) {
            struct nfc_test_host h;
            start_host(&h, &hosts[i].knobs);
            struct nfc_connect how = connect_params(h.port, ssl != 0);
            struct nfc_client *c = open_client(&how);
            assert_int_equal(info.server_version, hosts[i].version);
            assert_false(info.extended);
            exercise(c);
            assert_int_equal(nfc_client_flush(c, &err), VIX_E_NOT_SUPPORTED);
            assert_int_equal(nfc_client_meta_set(c, "a", "b", &err), VIX_E_NOT_SUPPORTED);
            assert_int_equal(nfc_client_meta_keys(c, &text, &len, &err), VIX_E_NOT_SUPPORTED);
            assert_int_equal(nfc_client_allocated(c, 65536, 0, 10, bitmap, &err),
                             hosts[i].version < 2 ? VIX_E_NOT_SUPPORTED : VIX_OK);
            nfc_client_close(c);
            assert_int_equal(nfc_client_create_disk(&how, 3, 2, 13, MIB, &err), VIX_E_NOT_SUPPORTED);
            stop_host(&h);
        }
    }
}

static void esxi60(void **state)
{
    const struct nfc_test_knobs knobs[] = {{.no_version = true, .no_sha256_word = true, .no_extension_word = true},
                                           {.no_version = true}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct nfc_test_host h;
        start_host(&h, &knobs[i]);
        struct nfc_connect how = connect_params(h.port, false);
        assert_int_equal(open_code(&how), VIX_E_NOT_SUPPORTED);
        assert_text("ESXi 6.0");
        stop_host(&h);
    }
}

static void banners(void **state)
{
    const struct nfc_test_knobs no_ssl = {.no_ssl_word = true};
    const struct nfc_test_knobs no_nfcssl = {.no_nfcssl_word = true};
    struct nfc_test_host h;

    (void)state;
    start_host(&h, &no_nfcssl);
    struct nfc_connect how = connect_params(h.port, true);
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("nbdssl");
    how.ssl = false;
    nfc_client_close(open_client(&how));
    stop_host(&h);

    start_host(&h, &no_ssl);
    how = connect_params(h.port, false);
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE); /* the ticket stays with us */
    assert_text("clear text");
    how.thumbprint = NULL;
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("verifyCertificates=0");
    how.insecure = true;
    nfc_client_close(open_client(&how));
    how.ssl = true;
    nfc_client_close(open_client(&how));
    stop_host(&h);
}

static void odd_answers(void **state)
{
    const struct nfc_test_knobs knobs[] = {
        {.reverse_fragments = true},
        {.random_fragments = true},
        {.shuffle_replies = true},
        {.plain_replies = true},
        {.random_fragments = true, .reverse_fragments = true, .shuffle_replies = true},
        {.delay_ms = 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        for (unsigned kind = 0; kind < 3; kind += 2) {
            struct nfc_test_host h;
            start_host(&h, &knobs[i]);
            struct nfc_connect how = connect_params(h.port, kind != 0);
            how.compression = (enum nfc_compression)kind;
            struct nfc_client *c = open_client(&how);
            exercise(c);
            nfc_client_close(c);
            stop_host(&h);
        }
    }
}

/* ---- many at once ---- */

#define DEPTH 16
#define ROUNDS 12

struct worker {
    struct nfc_client *c;
    pthread_t thread;
    unsigned number;
};

/** A quarter of the disk is the worker's: it writes it in pieces, all at once, and reads it back. */
static void *work(void *arg)
{
    struct worker *k = arg;
    const uint32_t share = DISK_LEN / 4;
    const uint32_t len = share / DEPTH;
    struct wait waits[DEPTH];
    uint8_t *wrote = malloc(share);
    uint8_t *read = malloc(share);

    for (unsigned round = 0; round < ROUNDS; round++) {
        bool write = round % 2 == 0;
        if (write) {
            fill(wrote, share, k->number * 100 + round);
        }
        for (unsigned i = 0; i < DEPTH; i++) {
            wait_init(&waits[i], write, (uint64_t)k->number * share + (uint64_t)i * len, len,
                      (write ? wrote : read) + (size_t)i * len);
            assert_int_equal(nfc_client_submit(k->c, &waits[i].r, NULL), VIX_OK);
        }
        for (unsigned i = 0; i < DEPTH; i++) {
            assert_int_equal(wait_for(&waits[i]), VIX_OK);
        }
        if (!write) {
            assert_memory_equal(read, wrote, share);
        }
    }
    free(wrote);
    free(read);
    return NULL;
}

static void run_workers(struct nfc_client *a, struct nfc_client *b)
{
    struct worker workers[4];

    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.c = i < 2 ? a : b, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
}

static void many_threads(void **state)
{
    const struct nfc_test_knobs shuffle = {.shuffle_replies = true, .random_fragments = true};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct nfc_test_host h;
        start_host(&h, i == 3 ? &shuffle : NULL);
        struct nfc_connect how = connect_params(h.port, i == 1);
        how.compression = i == 2 ? NFC_COMPRESS_FASTLZ : NFC_COMPRESS_NONE;
        struct nfc_client *a = open_client(&how);
        struct nfc_client *b = i == 0 ? a : open_client(&how); /* also two connections to one disk */
        run_workers(a, b);
        nfc_client_close(a);
        if (b != a) {
            nfc_client_close(b);
        }
        stop_host(&h);
    }
}

/* ---- other messages ---- */

static void small_calls(void **state)
{
    struct nfc_test_host h;
    uint8_t bitmap[64];
    char *text = NULL;
    size_t len = 0;

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    struct nfc_client *c = open_client(&how);
    memset(bitmap, 0xEE, sizeof bitmap);
    assert_int_equal(nfc_client_allocated(c, 65536, 65536, 37, bitmap, &err), VIX_OK);
    for (uint32_t i = 0; i < 37; i++) {
        assert_int_equal(bitmap[i / 8] >> (i % 8) & 1, (i + 1) % 3 == 0);
    }
    assert_int_equal(bitmap[8], 0xEE);
    assert_int_equal(nfc_client_allocated(c, 65536, 0, DISK_LEN / 65536 + 1, bitmap, &err), VIX_E_DISK_OUTOFRANGE);
    assert_int_equal(nfc_client_meta_get(c, "uuid", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(nfc_client_meta_set(c, "uuid", "60 00 C2 93", &err), VIX_OK);
    assert_int_equal(nfc_client_meta_set(c, "adapterType", "lsilogic", &err), VIX_OK);
    assert_int_equal(nfc_client_meta_get(c, "uuid", &text, &err), VIX_OK);
    assert_string_equal(text, "60 00 C2 93");
    free(text);
    assert_int_equal(nfc_client_meta_keys(c, &text, &len, &err), VIX_OK);
    assert_int_equal(len, 17);
    assert_memory_equal(text, "uuid\0adapterType", 17);
    free(text);
    assert_int_equal(nfc_client_meta_set(c, "uuid", "", &err), VIX_OK); /* is there, and empty */
    assert_int_equal(nfc_client_meta_get(c, "uuid", &text, &err), VIX_OK);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(nfc_client_meta_get(c, "uui", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(nfc_client_meta_set(c, "uuid", NULL, &err), VIX_OK);
    assert_int_equal(nfc_client_meta_get(c, "uuid", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
    assert_int_equal(nfc_client_meta_set(c, "adapterType", NULL, &err), VIX_OK);
    assert_int_equal(nfc_client_meta_keys(c, &text, &len, &err), VIX_OK);
    assert_int_equal(len, 0);
    free(text);
    assert_int_equal(nfc_client_meta_get(c, "", &text, &err), VIX_E_INVALID_ARG);
    unsigned flushes = memory.flushes;
    assert_int_equal(nfc_client_flush(c, &err), VIX_OK);
    assert_int_equal(memory.flushes, flushes + 1);
    exercise(c); /* the connection is as good as before */
    nfc_client_close(c);

    how.path = "[ds] new.vmdk";
    assert_int_equal(nfc_client_create_disk(&how, 3, 2, 13, 8 * MIB, &err), VIX_OK);
    assert_int_equal(memory.created, 8 * MIB);
    how.path = "[ds] there.vmdk";
    assert_int_equal(nfc_client_create_disk(&how, 3, 2, 13, 8 * MIB, &err), VIX_E_FILE_ALREADY_EXISTS);
    stop_host(&h);
}

/* ---- failures ---- */

static void refused_opens(void **state)
{
    static const struct {
        const char *path;
        VixError own, foreign, foreign_write;
    } rows[] = {
        {"[ds] absent.vmdk", VIX_E_FILE_NOT_FOUND, VIX_E_FILE_NOT_FOUND, VIX_E_FILE_NOT_FOUND},
        {"[ds] locked.vmdk", VIX_E_FILE_ALREADY_LOCKED, VIX_E_FILE_ALREADY_LOCKED, VIX_E_FILE_ALREADY_LOCKED},
        {"[ds] denied.vmdk", VIX_E_FILE_ACCESS_ERROR, VIX_E_FILE_ACCESS_ERROR, VIX_E_FILE_READ_ONLY},
        {"[ds] ro.vmdk", VIX_E_FILE_READ_ONLY, VIX_E_FILE_ACCESS_ERROR, VIX_E_FILE_READ_ONLY},
        {"[ds] memory.vmdk", VIX_E_OUT_OF_MEMORY, VIX_E_OUT_OF_MEMORY, VIX_E_OUT_OF_MEMORY},
        {"[ds] damaged.vmdk", VIX_E_DISK_INVAL, VIX_E_FILE_ERROR, VIX_E_FILE_ERROR},
    };
    const struct nfc_test_knobs foreign = {.no_extension_word = true};
    struct nfc_test_host h[2];

    (void)state;
    start_host(&h[0], NULL);
    start_host(&h[1], &foreign);
    uint64_t begin = now_ms();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct nfc_connect how = connect_params(h[0].port, false);
        how.path = rows[i].path;
        assert_int_equal(open_code(&how), rows[i].own);
        how.port = h[1].port;
        assert_int_equal(open_code(&how), rows[i].foreign_write);
        how.read_only = true;
        assert_int_equal(open_code(&how), rows[i].foreign);
        assert_text("is a bad disk");
    }
    assert_true(now_ms() - begin < 15000); /* no time-out among them */
    stop_host(&h[0]);
    stop_host(&h[1]);
    assert_int_equal(h[0].last, VIX_OK); /* ended in order */
}

static void open_flags(void **state)
{
    struct nfc_test_host h;

    (void)state;
    start_host(&h, NULL);
    for (unsigned i = 0; i < 4; i++) {
        struct nfc_connect how = connect_params(h.port, false);
        how.read_only = (i & 1) != 0;
        how.single_link = (i & 2) != 0;
        struct nfc_client *c = open_client(&how);
        assert_int_equal(memory.open_flags, 0x18u | (how.read_only ? 4u : 0u) | (how.single_link ? 0u : 2u));
        if (how.read_only) {
            uint8_t sector[512] = {1};
            assert_int_equal(run_io(c, true, 0, 512, sector), VIX_E_FILE_READ_ONLY);
            assert_int_equal(run_io(c, false, 0, 512, sector), VIX_OK);
        }
        nfc_client_close(c);
    }
    stop_host(&h);
}

static void refused_connections(void **state)
{
    struct nfc_test_host h;

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    how.session_id = "another";
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("530");
    assert_null(strstr(err.text, "another id"));
    how.session_id = "with\r\nPROXY nfc";
    assert_int_equal(open_code(&how), VIX_E_INVALID_ARG);
    how = connect_params(h.port, false);
    how.service = "cim";
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("500");
    how = connect_params(h.port, true);
    how.thumbprint = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33";
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("wrong certificate");
    how = connect_params(h.port, false);
    how.buffer_size = 2 * MIB;
    how.buffer_count = 64;
    assert_int_equal(open_code(&how), VIX_E_INVALID_ARG);
    how = connect_params(h.port, true);
    how.thumbprint = sha256_text;
    nfc_client_close(open_client(&how));
    how.thumbprint = NULL;
    how.service = "nfcssl";
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE); /* nobody has named the certificate */
    assert_text("vixdisk.caFile");
    how.insecure = true;
    nfc_client_close(open_client(&how));
    uint16_t port = h.port;
    stop_host(&h);
    how.port = port;
    assert_int_equal(open_code(&how), VIX_E_HOST_NETWORK_CONN_REFUSED);
    nfc_client_close(NULL);
}

/* A flush may take as long as writing, and a read may not meanwhile the next time. */
static void slow_flush(void **state)
{
    struct nfc_test_host h;

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    how.read_timeout_ms = 300;
    struct nfc_client *c = open_client(&how);
    atomic_store(&memory.flush_ms, 1000);
    assert_int_equal(nfc_client_flush(c, &err), VIX_OK);
    nfc_client_close(c);

    how.write_timeout_ms = 500;
    c = open_client(&how);
    assert_int_equal(nfc_client_flush(c, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text("500 ms");
    nfc_client_close(c);
    atomic_store(&memory.flush_ms, 0);
    stop_host(&h);
}

static void errors_of_requests(void **state)
{
    const struct nfc_test_knobs knobs[] = {
        {.error_at = 2, .error_code = 1},
        {.error_at = 2, .error_code = 7, .no_extension_word = true},
        {.no_memory_above = 65536},
    };
    uint8_t *buf = calloc(1, MIB);

    (void)state;
    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        static const VixError codes[] = {VIX_E_DISK_NOIO, VIX_E_NOT_SUPPORTED, VIX_E_OUT_OF_MEMORY};
        static const uint32_t numbers[] = {1, 7, NFC_ERROR_NO_MEMORY};
        struct nfc_test_host h;
        struct wait w;
        start_host(&h, &knobs[i]);
        struct nfc_connect how = connect_params(h.port, i == 1);
        struct nfc_client *c = open_client(&how);
        assert_int_equal(run_io(c, false, 0, 65536, buf), VIX_OK);
        wait_init(&w, i == 1, 0, MIB, buf);
        assert_int_equal(nfc_client_submit(c, &w.r, &err), VIX_OK);
        assert_int_equal(wait_for(&w), codes[i]);
        assert_int_equal(w.why.code, codes[i]);
        assert_int_equal(w.r.host_error, numbers[i]);
        assert_false(w.r.connection_lost);
        assert_int_equal(run_io(c, false, DISK_LEN, 512, buf), i == 1 ? VIX_E_INVALID_ARG : VIX_E_DISK_OUTOFRANGE);
        assert_int_equal(run_io(c, false, 0, 65536, buf), VIX_OK);
        assert_false(nfc_client_lost(c));
        nfc_client_close(c);
        stop_host(&h);
    }
    free(buf);
}

static void lost_connection(void **state)
{
    const struct nfc_test_knobs knobs = {.cut_at = 9, .delay_ms = 200};
    uint8_t *buf = calloc(1, DISK_LEN);
    char *text = NULL;

    (void)state;
    for (unsigned ssl = 0; ssl < 2; ssl++) {
        struct wait waits[DEPTH];
        struct nfc_test_host h;
        unsigned submitted = 0;
        unsigned lost = 0;
        start_host(&h, &knobs);
        struct nfc_connect how = connect_params(h.port, ssl != 0);
        struct nfc_client *c = open_client(&how);
        for (; submitted < DEPTH; submitted++) {
            wait_init(&waits[submitted], submitted % 2 != 0, submitted * MIB, MIB, buf + submitted * MIB);
            if (nfc_client_submit(c, &waits[submitted].r, &err) != VIX_OK) {
                assert_int_equal(err.code, VIX_E_HOST_TCP_CONN_LOST);
                break;
            }
        }
        assert_true(submitted >= 9);
        for (unsigned i = 0; i < submitted; i++) {
            VixError code = wait_for(&waits[i]);
            lost += code == VIX_E_HOST_TCP_CONN_LOST;
            assert_true(code == VIX_OK || code == VIX_E_HOST_TCP_CONN_LOST);
            assert_int_equal(waits[i].r.connection_lost, code != VIX_OK);
        }
        assert_true(lost > 0);
        assert_true(nfc_client_lost(c));
        assert_int_equal(nfc_client_submit(c, &waits[0].r, &err), VIX_E_HOST_TCP_CONN_LOST);
        assert_int_equal(nfc_client_flush(c, &err), VIX_E_HOST_TCP_CONN_LOST);
        assert_int_equal(nfc_client_meta_get(c, "uuid", &text, &err), VIX_E_HOST_TCP_CONN_LOST);
        nfc_client_close(c);
        stop_host(&h);
    }
    free(buf);
}

static void close_with_requests(void **state)
{
    const struct nfc_test_knobs knobs = {.delay_ms = 300};
    uint8_t *buf = calloc(1, 4 * MIB);
    struct nfc_test_host h;
    struct wait waits[4];

    (void)state;
    start_host(&h, &knobs);
    struct nfc_connect how = connect_params(h.port, false);
    struct nfc_client *c = open_client(&how);
    for (unsigned i = 0; i < 4; i++) {
        wait_init(&waits[i], i % 2 != 0, i * MIB, MIB, buf + i * MIB);
        assert_int_equal(nfc_client_submit(c, &waits[i].r, &err), VIX_OK);
    }
    uint64_t begin = now_ms();
    nfc_client_close(c);
    assert_true(now_ms() - begin < 5000);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(wait_for(&waits[i]), VIX_E_HOST_TCP_CONN_LOST);
        assert_true(waits[i].r.connection_lost);
    }
    stop_host(&h);
    free(buf);
}

static void paused(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

/** Reads that go out in one piece, of a disk that gives them at once and of one that takes its time; with and without
 * TLS, in both orders of answers. */
static void reads_together(void **state)
{
    enum { N = NFC_SUBMIT_MAX };
    const struct nfc_test_knobs shuffle = {.shuffle_replies = true};
    uint8_t *buf = malloc(N * 4096);
    struct nfc_request *reads[N];
    struct wait waits[N];

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        atomic_uint pauses = 0;
        struct nfc_test_host h;
        start_host(&h, round == 2 ? &shuffle : NULL);
        struct nfc_connect how = connect_params(h.port, round % 2 == 1);
        struct nfc_client *c = open_client(&how);
        nfc_client_on_pause(c, paused, &pauses);
        atomic_store(&memory.read_ms, round >= 3 ? 3 : 0);
        atomic_store(&memory.most_reading, 0);
        for (unsigned pass = 0; pass < 20; pass++) {
            memset(buf, 0xEE, N * 4096);
            for (unsigned i = 0; i < N; i++) {
                wait_init(&waits[i], false, ((uint64_t)pass * 37 + i * 11) * 4096, 4096, buf + (size_t)i * 4096);
                reads[i] = &waits[i].r;
            }
            assert_int_equal(nfc_client_submit_reads(c, reads, N, &err), VIX_OK);
            for (unsigned i = 0; i < N; i++) {
                assert_int_equal(wait_for(&waits[i]), VIX_OK);
                assert_memory_equal(buf + (size_t)i * 4096, memory.bytes + waits[i].r.off, 4096);
            }
        }
        atomic_store(&memory.read_ms, 0);
        if (round >= 3) {
            assert_true(atomic_load(&memory.most_reading) > 1); /* none waits for another one's disk */
        }
        nfc_client_close(c);
        assert_in_range(atomic_load(&pauses), 20, 20 * N);
        stop_host(&h);
    }
    free(buf);
}

static atomic_bool held;

static void hold_done(struct nfc_request *r, VixError result, const struct err *why)
{
    while (atomic_load(&held)) {
        nap(1);
    }
    wait_done(r, result, why);
}

/** The host's workers are all at it, but of a client that takes nothing no more is read than what fits into the sockets
 * and a little. */
static void reads_do_not_pile_up(void **state)
{
    enum { N = 40, MOST = 24 }; /* MiB; without a bound it were 32 in buffers, and the sockets */
    uint8_t *buf = malloc((size_t)N * MIB);
    struct wait waits[N];
    struct nfc_test_host h;
    uint64_t before = 0;

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    struct nfc_client *c = open_client(&how);
    atomic_store(&memory.read_ms, 1);
    atomic_store(&memory.most_reading, 0);
    atomic_store(&memory.read_bytes, 0);
    atomic_store(&held, true);
    for (unsigned i = 0; i < N; i++) {
        wait_init(&waits[i], false, (uint64_t)(i % (DISK_LEN / MIB)) * MIB, MIB, buf + (size_t)i * MIB);
        waits[i].r.done = hold_done;
        assert_int_equal(nfc_client_submit(c, &waits[i].r, &err), VIX_OK);
    }
    do {
        before = atomic_load(&memory.read_bytes);
        nap(150);
    } while (before == 0 || before != atomic_load(&memory.read_bytes));
    assert_in_range(before, MIB, (uint64_t)MOST * MIB);
    atomic_store(&held, false);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(wait_for(&waits[i]), VIX_OK);
        assert_memory_equal(waits[i].r.buf, memory.bytes + waits[i].r.off, MIB);
    }
    atomic_store(&memory.read_ms, 0);
    assert_int_equal(atomic_load(&memory.most_reading), 2);
    nfc_client_close(c);
    stop_host(&h);
    free(buf);
}

/** Time-outs of answers count from the request; an idle connection stays. */
static void time_outs(void **state)
{
    const struct nfc_test_knobs knobs = {.delay_ms = 400};
    uint8_t sector[512];

    (void)state;
    for (unsigned ssl = 0; ssl < 2; ssl++) {
        struct nfc_test_host h;
        start_host(&h, NULL);
        struct nfc_connect how = connect_params(h.port, ssl != 0);
        how.read_timeout_ms = 250;
        struct nfc_client *c = open_client(&how);
        nap(700);
        assert_int_equal(run_io(c, false, 0, 512, sector), VIX_OK);
        nfc_client_close(c);
        stop_host(&h);
    }
    struct nfc_test_host h;
    start_host(&h, &knobs);
    struct nfc_connect how = connect_params(h.port, false);
    how.read_timeout_ms = 2000;
    struct nfc_client *c = open_client(&how);
    assert_int_equal(run_io(c, false, 0, 512, sector), VIX_OK);
    nfc_client_close(c);
    how.read_timeout_ms = 150;
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("time-out");
    how.read_timeout_ms = 20000;
    how.handshake_timeout_ms = 600;
    assert_int_equal(open_code(&how), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("time-out");
    stop_host(&h);
}

/* ---- keeping a connection alive ---- */

/** An idle client stays for as long as it likes, whatever the host makes of the reads; one that says nothing does not.
 */
static void idle_clients(void **state)
{
    static const struct {
        struct nfc_test_knobs knobs;
        bool ssl;
        unsigned keep_alive_ms;
    } cases[] = {
        {{0}, false, 200},
        {{0}, true, 200},
        {{.error_at = 1, .error_code = NFC_ERROR_NO_MEMORY}, false, 200},
        {{.no_extension_word = true}, true, 200},
        {{0}, false, 0},
    };
    enum { CASES = sizeof cases / sizeof cases[0] };
    struct nfc_test_host h[CASES];
    struct nfc_client *c[CASES];
    uint8_t sector[512];

    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        start_host(&h[i], &cases[i].knobs);
        h[i].how.idle_timeout_ms = 1000;
        struct nfc_connect how = connect_params(h[i].port, cases[i].ssl);
        how.compression = NFC_COMPRESS_ZLIB;
        how.keep_alive_ms = cases[i].keep_alive_ms;
        c[i] = open_client(&how);
    }
    nap(1800);
    for (unsigned i = 0; i < CASES; i++) {
        const VixError code = cases[i].keep_alive_ms > 0 ? VIX_OK : VIX_E_HOST_TCP_CONN_LOST;
        assert_int_equal(run_io(c[i], false, 0, sizeof sector, sector), code);
        nfc_client_close(c[i]);
        stop_host(&h[i]);
        assert_int_equal(h[i].last, code);
    }
}

/** A client that has something to do does not ask for more. */
static void busy_clients(void **state)
{
    struct nfc_test_host h;
    uint8_t sector[512];
    unsigned reads;

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    how.keep_alive_ms = 1000;
    struct nfc_client *c = open_client(&how);
    const uint64_t before = atomic_load(&memory.read_bytes);
    for (reads = 0; reads < 150; reads++) {
        assert_int_equal(run_io(c, false, 0, sizeof sector, sector), VIX_OK);
        nap(10);
    }
    assert_int_equal(atomic_load(&memory.read_bytes) - before, reads * sizeof sector);
    nfc_client_close(c);
    stop_host(&h);
}

/** Nobody waits for the answer but the end of the session, which is in order. */
static void late_answers(void **state)
{
    struct nfc_test_host h;
    uint8_t sector[512];

    (void)state;
    start_host(&h, NULL);
    struct nfc_connect how = connect_params(h.port, false);
    how.read_timeout_ms = 150;
    how.keep_alive_ms = 50;
    struct nfc_client *c = open_client(&how);
    atomic_store(&memory.read_ms, 500);
    nap(400); /* longer than an answer may take that somebody waits for */
    assert_false(nfc_client_lost(c));
    atomic_store(&memory.read_ms, 0);
    nap(400);
    assert_int_equal(run_io(c, false, 0, sizeof sector, sector), VIX_OK);
    atomic_store(&memory.read_ms, 300);
    nap(150);
    nfc_client_close(c);
    atomic_store(&memory.read_ms, 0);
    stop_host(&h);
    assert_int_equal(h.last, VIX_OK);
}

/** As often as it can be, beside the work of other threads, and while the connection is closed. */
static void at_any_moment(void **state)
{
    uint8_t sector[512];

    (void)state;
    for (unsigned ssl = 0; ssl < 2; ssl++) {
        struct nfc_test_host h;
        start_host(&h, NULL);
        struct nfc_connect how = connect_params(h.port, ssl != 0);
        how.keep_alive_ms = 1;
        struct nfc_client *c = open_client(&how);
        run_workers(c, c);
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(run_io(c, i % 2 != 0, 0, sizeof sector, sector), VIX_OK);
            nap(i % 4);
        }
        nfc_client_close(c);
        for (unsigned i = 0; i < 20; i++) {
            c = open_client(&how);
            nap(i % 5);
            nfc_client_close(c);
        }
        stop_host(&h);
        assert_int_equal(h.last, VIX_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transports_and_compressions),
        cmocka_unit_test(old_hosts),
        cmocka_unit_test(esxi60),
        cmocka_unit_test(banners),
        cmocka_unit_test(odd_answers),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(small_calls),
        cmocka_unit_test(refused_opens),
        cmocka_unit_test(open_flags),
        cmocka_unit_test(refused_connections),
        cmocka_unit_test(errors_of_requests),
        cmocka_unit_test(lost_connection),
        cmocka_unit_test(close_with_requests),
        cmocka_unit_test(reads_together),
        cmocka_unit_test(reads_do_not_pile_up),
        cmocka_unit_test(time_outs),
        cmocka_unit_test(slow_flush),
        cmocka_unit_test(idle_clients),
        cmocka_unit_test(busy_clients),
        cmocka_unit_test(late_answers),
        cmocka_unit_test(at_any_moment),
    };
    return cmocka_run_group_tests(tests, nfc_set_up, nfc_tear_down);
}

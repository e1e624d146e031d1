/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS: its end and what follows on the connection, both directions at once, peers that fail or lie. */
#include "net_util.h"

/** Clear text, TLS, clear text, TLS again, on one connection; each part follows the one before without a pause, so that
 * everything lies together in the client's socket. */
static void serve_parts(struct stream **s, void *arg)
{
    char line[32];

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(stream_write(*s, "220 banner\r\n", 12, NULL), VIX_OK);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_read_line(*s, line, sizeof line, NULL), VIX_OK);
    assert_string_equal(line, "SESSION secret");
    assert_int_equal(stream_write(*s, "200 inside\r\n", 12, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_string_equal((*s)->ops->kind, "tcp");
    assert_int_equal(stream_write(*s, "\x17\x03\x03\x00\x04MAGIC", 10, NULL), VIX_OK); /* as a record begins */
    assert_int_equal(stream_read_line(*s, line, sizeof line, NULL), VIX_OK);
    assert_string_equal(line, "clear");
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "second", 6, NULL), VIX_OK);
    assert_int_equal(stream_read(*s, line, 1, NULL), VIX_OK);
}

static void abandon(void **state)
{
    const struct tls_policy policy = {.thumbprint = sha1_text};
    struct server server;
    char line[32];

    (void)state;
    start_server(&server, serve_parts, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "220 banner");
    assert_int_equal(tls_client_start(&s, &policy, false, &err), VIX_OK);
    assert_int_equal(stream_write(s, "SESSION secret\r\n", 16, &err), VIX_OK);
    assert_int_equal(stream_read(s, line, 4, &err), VIX_OK);
    assert_int_equal(tls_abandon(&s, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE); /* the rest of the line waits */
    assert_text("8 bytes");
    nap(30); /* the clear text is there, and may be taken together with the last record */
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "inside");
    assert_int_equal(tls_abandon(&s, &err), VIX_OK);
    assert_string_equal(s->ops->kind, "tcp");
    assert_int_equal(stream_read(s, line, 10, &err), VIX_OK);
    assert_memory_equal(line, "\x17\x03\x03\x00\x04MAGIC", 10);
    assert_int_equal(stream_write(s, "clear\n", 6, &err), VIX_OK);
    assert_int_equal(tls_client_start(&s, &policy, false, &err), VIX_OK);
    assert_int_equal(stream_read(s, line, 6, &err), VIX_OK);
    assert_memory_equal(line, "second", 6);
    assert_int_equal(stream_write(s, "!", 1, &err), VIX_OK);
    stream_close(s);
    stop_server(&server);
}

/** Reads all at once although less comes: what follows TLS must come out of the stream below, every byte of it. */
static void serve_mixed(struct stream **s, void *arg)
{
    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "tls", 3, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "clear text behind it", 20, NULL), VIX_OK);
}

static void abandon_keeps_read_ahead(void **state)
{
    struct server server;
    char text[32];
    struct iovec pieces[2] = {{.iov_base = text, .iov_len = 1}, {.iov_base = text + 1, .iov_len = sizeof text - 1}};
    size_t got = 0;

    (void)state;
    start_server(&server, serve_mixed, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stop_server(&server); /* everything has been sent */
    assert_int_equal(s->ops->readv(s, pieces, 2, &got, &err), VIX_OK);
    assert_int_equal(got, 3);
    assert_memory_equal(text, "tls", 3);
    assert_int_equal(tls_abandon(&s, &err), VIX_OK);
    assert_true(tcp_readable(s));
    assert_int_equal(stream_read(s, text, 20, &err), VIX_OK);
    assert_memory_equal(text, "clear text behind it", 20);
    stream_close(s);
}

/* ---- both directions at once ---- */

#ifdef __SANITIZE_THREAD__
#define DUPLEX_BYTES ((size_t)16 << 20)
#else
#define DUPLEX_BYTES ((size_t)64 << 20)
#endif
#define DUPLEX_STEP ((size_t)300000)

static uint8_t byte_at(size_t off, unsigned seed)
{
    return (uint8_t)((off * 2654435761u >> 16) + seed);
}

struct side {
    struct stream *s;
    unsigned seed;
    VixError result;
    size_t wrong;
};

static void *send_much(void *arg)
{
    struct side *side = arg;
    uint8_t *buf = malloc(DUPLEX_STEP);

    for (size_t off = 0; off < DUPLEX_BYTES && side->result == VIX_OK;) {
        size_t n = DUPLEX_BYTES - off < DUPLEX_STEP ? DUPLEX_BYTES - off : DUPLEX_STEP;
        for (size_t i = 0; i < n; i++) {
            buf[i] = byte_at(off + i, side->seed);
        }
        /* a head, an empty piece, data, a tail: as messages are */
        struct iovec pieces[4] = {{buf, 48}, {buf, 0}, {buf + 48, n - 48 - 7}, {buf + n - 7, 7}};
        side->result = side->s->ops->writev(side->s, pieces, 4, NULL);
        off += n;
    }
    free(buf);
    return NULL;
}

static void *receive_much(void *arg)
{
    struct side *side = arg;
    uint8_t *buf = malloc(DUPLEX_STEP);

    for (size_t off = 0; off < DUPLEX_BYTES && side->result == VIX_OK;) {
        struct iovec pieces[3] = {{buf, 100}, {buf, 0}, {buf + 100, DUPLEX_STEP - 100}};
        size_t got = 0;
        side->result = side->s->ops->readv(side->s, pieces, 3, &got, NULL);
        if (got == 0) {
            side->wrong++;
            break;
        }
        for (size_t i = 0; i < got; i++) {
            side->wrong += buf[i] != byte_at(off + i, side->seed);
        }
        off += got;
    }
    free(buf);
    return NULL;
}

static void move_both_ways(struct stream *s, unsigned send_seed, unsigned receive_seed)
{
    struct side sender = {.s = s, .seed = send_seed};
    struct side receiver = {.s = s, .seed = receive_seed};
    pthread_t thread;

    s->read_timeout_ms = s->write_timeout_ms = 20000;
    assert_int_equal(pthread_create(&thread, NULL, send_much, &sender), 0);
    (void)receive_much(&receiver);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sender.result, VIX_OK);
    assert_int_equal(receiver.result, VIX_OK);
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(s->bytes_in, DUPLEX_BYTES);
    assert_int_equal(s->bytes_out, DUPLEX_BYTES);
}

static void serve_duplex(struct stream **s, void *arg)
{
    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    stream_set_deadline(*s, 0);
    move_both_ways(*s, 1, 2);
}

static void full_duplex(void **state)
{
    struct server server;

    (void)state;
    start_server(&server, serve_duplex, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stream_set_deadline(s, 0);
    move_both_ways(s, 2, 1);
    stream_close(s);
    stop_server(&server);
}

/* ---- peers that fail ---- */

static void serve_silence(struct stream **s, void *arg)
{
    char c;

    (void)arg;
    stream_set_deadline(*s, 20000);
    (void)tls_server_start(s, identity, NULL);
    (void)stream_read(*s, &c, 1, NULL); /* until the other side ends */
}

static void shutdown_tls(void **state)
{
    struct server server;

    (void)state;
    start_server(&server, serve_silence, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stream_set_deadline(s, 0);
    s->read_timeout_ms = 40;
    char c;
    assert_int_equal(stream_read(s, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text(" 40 ms");
    shutdown_wakes_reader(s);
    stream_close(s);
    stop_server(&server);
}

/** Ends without a word, in the middle of a record that TLS has begun: nothing of it may come out. */
static void serve_vanish(struct stream **s, void *arg)
{
    char c;

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "whole", 5, NULL), VIX_OK);
    assert_int_equal(stream_read(*s, &c, 1, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "\x17\x03\x03\x01\x00 a part of a record", 25, NULL), VIX_OK);
}

static void peer_vanishes(void **state)
{
    struct server server;
    char text[64];

    (void)state;
    start_server(&server, serve_vanish, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    assert_int_equal(stream_write(s, "!", 1, &err), VIX_OK);
    assert_int_equal(stream_read(s, text, 10, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text("5 of 10 bytes");
    stream_close(s);
    stop_server(&server);
}

/** Records with nothing in them, or changed on the way, end the stream with an error and no bytes. */
static void serve_forged(struct stream **s, void *arg)
{
    static const char forged[] = "\x17\x03\x03\x00\x21 thirty bytes of no record at all";

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, forged, sizeof forged - 1, NULL), VIX_OK);
}

static void forged_record(void **state)
{
    struct server server;
    char text[64];

    (void)state;
    start_server(&server, serve_forged, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    assert_int_equal(stream_read(s, text, 10, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("TLS");
    assert_int_not_equal(stream_read(s, text, 10, &err), VIX_OK);
    stream_close(s);
    stop_server(&server);
}

/* ---- peers that do not speak TLS as they should ---- */

static const char garbage[] = "SSH-2.0-OpenSSH_9.2p1 or anything else that is no handshake, and enough of it";
static const char alert[] = "\x15\x03\x03\x00\x02\x02\x28";                     /* fatal: handshake_failure */
static const char old_hello[] = "\x16\x03\x00\x00\x2a\x02\x00\x00\x26\x03\x00"; /* SSL 3, and cut off */
static const char endless[] = "\x16\x03\x03\x40\x00\x0b\xff\xff\xff";           /* a certificate of 16 MiB begins */

/** A client (or server) of TLS whose peer has said all that it will ever say; *ret_ms how long it took. */
static VixError start_against(bool client, const char *said, size_t len, bool ends, unsigned deadline_ms,
                              uint64_t *ret_ms)
{
    struct stream *a, *b;

    make_pair(&a, &b);
    assert_int_equal(stream_write(b, said, len, NULL), VIX_OK);
    if (ends) {
        stream_close(b);
    }
    stream_set_deadline(a, deadline_ms);
    uint64_t begin = now_ms();
    VixError result = client ? tls_client_start(&a, &(struct tls_policy){.insecure = true}, false, &err)
                             : tls_server_start(&a, identity, &err);
    *ret_ms = now_ms() - begin;
    assert_string_equal(a->ops->kind, "tcp"); /* still the caller's */
    stream_close(a);
    if (!ends) {
        stream_close(b);
    }
    return result;
}

static void handshake_of_garbage(void **state)
{
    uint64_t ms;

    (void)state;
    for (int client = 0; client < 2; client++) {
        assert_int_equal(start_against(client, garbage, sizeof garbage, false, 20000, &ms),
                         VIX_E_HOST_NETBLKDEV_HANDSHAKE);
        assert_text("TLS handshake fails");
        assert_true(ms < 10000);
        assert_int_equal(start_against(client, alert, sizeof alert - 1, false, 20000, &ms),
                         VIX_E_HOST_NETBLKDEV_HANDSHAKE);
        assert_int_equal(start_against(client, endless, sizeof endless - 1, true, 20000, &ms),
                         VIX_E_HOST_TCP_CONN_LOST);
        assert_int_equal(start_against(client, "", 0, true, 20000, &ms), VIX_E_HOST_TCP_CONN_LOST);
    }
}

static void handshake_that_stalls(void **state)
{
    uint64_t ms;

    (void)state;
    for (int client = 0; client < 2; client++) {
        assert_int_equal(start_against(client, "", 0, false, 60, &ms), VIX_E_HOST_TCP_CONN_LOST);
        assert_text(" 60 ms");
        assert_true(ms >= 60 && ms < 5000);
        assert_int_equal(start_against(client, old_hello, 4, false, 60, &ms), VIX_E_HOST_TCP_CONN_LOST);
        assert_true(ms >= 60 && ms < 5000);
    }
}

/** Sends one record of a handshake message without an end after another until nobody listens. */
static void *flood(void *arg)
{
    struct stream *s = arg;
    static char record[5 + 16384] = "\x16\x03\x03\x40";

    record[5] = 0x0b;
    memset(record + 6, 0xff, 3);
    while (stream_write(s, record, sizeof record, NULL) == VIX_OK) {
        record[5] = 0;
    }
    return NULL;
}

static void handshake_without_end(void **state)
{
    struct stream *a, *b;
    pthread_t thread;

    (void)state;
    make_pair(&a, &b);
    b->write_timeout_ms = 2000;
    assert_int_equal(pthread_create(&thread, NULL, flood, b), 0);
    stream_set_deadline(a, 10000);
    assert_int_equal(tls_client_start(&a, &(struct tls_policy){.insecure = true}, false, &err),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    stream_close(a);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stream_close(b);
}

/** Says a byte now and then: each wait is short, the whole is not. */
static void *trickle(void *arg)
{
    struct stream *s = arg;
    size_t i = 0;

    while (stream_write(s, i < sizeof old_hello - 1 ? &old_hello[i] : "", 1, NULL) == VIX_OK && i++ < 2000) {
        nap(5);
    }
    return NULL;
}

static void handshake_in_drops(void **state)
{
    struct stream *a, *b;
    pthread_t thread;

    (void)state;
    make_pair(&a, &b);
    assert_int_equal(pthread_create(&thread, NULL, trickle, b), 0);
    a->read_timeout_ms = 10000;
    stream_set_deadline(a, 30);
    uint64_t begin = now_ms();
    assert_int_equal(tls_client_start(&a, &(struct tls_policy){.insecure = true}, false, &err),
                     VIX_E_HOST_TCP_CONN_LOST);
    assert_text(" 30 ms");
    assert_true(now_ms() - begin < 5000);
    stream_close(a);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stream_close(b);
}

/** Passes on what one end says, but only so many bytes of it, and then ends. */
struct cut {
    struct stream *from, *to;
    size_t left;
};

static void *pass_on(void *arg)
{
    struct cut *cut = arg;
    char buf[4096];

    for (;;) {
        struct iovec piece = {.iov_base = buf, .iov_len = cut->left < sizeof buf ? cut->left : sizeof buf};
        size_t got = 0;
        if (cut->left == 0 || cut->from->ops->readv(cut->from, &piece, 1, &got, NULL) != VIX_OK || got == 0 ||
            stream_write(cut->to, buf, got, NULL) != VIX_OK) {
            break;
        }
        cut->left -= got;
    }
    cut->to->ops->shutdown(cut->to);
    cut->from->ops->shutdown(cut->from);
    return NULL;
}

static void *serve_handshake(void *arg)
{
    struct stream *s = arg;

    stream_set_deadline(s, 20000);
    if (tls_server_start(&s, identity, NULL) == VIX_OK) {
        (void)stream_write(s, "done", 4, NULL);
    }
    stream_close(s);
    return NULL;
}

/** A handshake of which the client sees the first @bytes bytes that the server sends. */
static VixError cut_handshake(size_t bytes)
{
    struct stream *client, *near, *far, *server;
    pthread_t threads[3];
    char text[4];

    make_pair(&client, &near);
    make_pair(&server, &far);
    struct cut up = {.from = near, .to = far, .left = SIZE_MAX};
    struct cut down = {.from = far, .to = near, .left = bytes};
    assert_int_equal(pthread_create(&threads[0], NULL, serve_handshake, server), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, pass_on, &up), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, pass_on, &down), 0);
    stream_set_deadline(client, 20000);
    VixError result = tls_client_start(&client, &(struct tls_policy){.thumbprint = sha1_text}, false, &err);
    if (result == VIX_OK) {
        result = stream_read(client, text, 4, &err);
    }
    stream_close(client);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    stream_close(near);
    stream_close(far);
    return result;
}

static void handshake_cut_off(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 1500; bytes += 97) {
        assert_int_equal(cut_handshake(bytes), VIX_E_HOST_TCP_CONN_LOST);
    }
    assert_int_equal(cut_handshake(100000), VIX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(abandon),
        cmocka_unit_test(abandon_keeps_read_ahead),
        cmocka_unit_test(full_duplex),
        cmocka_unit_test(shutdown_tls),
        cmocka_unit_test(peer_vanishes),
        cmocka_unit_test(forged_record),
        cmocka_unit_test(handshake_of_garbage),
        cmocka_unit_test(handshake_that_stalls),
        cmocka_unit_test(handshake_without_end),
        cmocka_unit_test(handshake_in_drops),
        cmocka_unit_test(handshake_cut_off),
    };
    return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}

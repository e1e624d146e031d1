/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that lie to our host of NFC: cut at every byte, bytes changed, wrong lengths, stalled, greedy. Nothing may
 * crash, hang, or take more memory than the limits say. */
#include <arpa/inet.h>
#include <sys/resource.h>

#include "nfc_script.h"

#define SHORT_MS 150u

static uint64_t seed;

static uint64_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

/** Sends bytes, ends its side unless it stays, and takes what comes until the host ends the connection. */
static void send_bytes(uint16_t port, const uint8_t *bytes, size_t len, bool stay)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval limit = {.tv_sec = 10};
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CLEANUP_FREE uint8_t *waste = malloc(65536);
    size_t sent = 0;
    ssize_t n = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    while (sent < len && n > 0) {
        n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    if (!stay) {
        (void)shutdown(fd, SHUT_WR);
    }
    while (n > 0) {
        n = recv(fd, waste, 65536, 0);
    }
}

static const char dialogue_text[] = "SESSION " SECRET "\r\nBANNER \r\nPROXY nfc\r\n";

/** What a client sends from the first byte to the last, without TLS. */
static uint8_t *client_bytes(size_t *ret_len)
{
    const struct script script = {.classic = classic_70, .aio = aio_session};
    size_t len = 0;
    uint8_t *bytes = side_bytes(&script, 'C', &len);
    size_t head = sizeof dialogue_text - 1;
    uint8_t *all = malloc(head + len);

    memcpy(all, dialogue_text, head);
    memcpy(all + head, bytes, len);
    free(bytes);
    *ret_len = head + len;
    return all;
}

static void start_plain_host(struct nfc_test_host *h)
{
    static const struct nfc_test_knobs plain = {.no_ssl_word = true};

    start_host(h, &plain);
    h->how.handshake_timeout_ms = 1000;
    h->how.idle_timeout_ms = SHORT_MS;
    h->how.write_timeout_ms = 1000;
}

/** Connections of one host, one after the other; the host's threads are joined in between. */
static void serve_bytes(const uint8_t *bytes, size_t len, bool stay, VixError *ret_end)
{
    struct nfc_test_host h;
    uint64_t begin = now_ms();

    start_plain_host(&h);
    send_bytes(h.port, bytes, len, stay);
    stop_host(&h);
    *ret_end = h.last;
    assert_true(now_ms() - begin < 8000);
}

static void cut_clients(void **state)
{
    size_t len = 0;
    uint8_t *bytes = client_bytes(&len);
    VixError end;

    (void)state;
    serve_bytes(bytes, len, true, &end);
    assert_int_equal(end, VIX_OK);
    for (size_t cut = 1; cut<len; cut += cut> 2000 && cut + 700 < len ? 2999 : 1) { /* not all data of a write */
        serve_bytes(bytes, cut, false, &end);
        assert_true(end == VIX_E_HOST_TCP_CONN_LOST || (end == VIX_OK && cut + CLASSIC >= len));
    }
    for (size_t cut = 5; cut < len; cut += cut < 2000 ? 300 : 20000) { /* and then nothing: until the time-out */
        serve_bytes(bytes, cut, true, &end);
        assert_int_equal(end, VIX_E_HOST_TCP_CONN_LOST);
    }
    free(bytes);
}

static void changed_clients(void **state)
{
    size_t len = 0;
    uint8_t *bytes = client_bytes(&len);
    unsigned opens = memory.opens;
    unsigned closes = memory.closes;
    VixError end;

    (void)state;
    for (unsigned i = 0; i < 120; i++) {
        size_t at = next_random() % 2500;
        uint8_t mask = (uint8_t)(1u << next_random() % 8);
        bytes[at] ^= mask;
        serve_bytes(bytes, len, true, &end);
        bytes[at] ^= mask;
    }
    assert_int_equal(memory.opens - opens, memory.closes - closes);
    free(bytes);
}

/** Frames after a good opening, and how the host answers them: the number of the ERROR, or none and the end. */
static void lying_frames(void **state)
{
    static const struct step rows[] = {
        {'C', MAGIC "07000000 ffffffff 04000000", 60, 0},                              /* payload too long */
        {'C', MAGIC "07000000 08000000 04000000", 24, 0},                              /* too short */
        {'C', MAGIC "99000000 08000000 04000000", 24, 0},                              /* unknown */
        {'C', MAGIC "04000000 3c000000 04000000  ffffffff", 76, 0},                    /* path of 4 GiB */
        {'C', MAGIC "0b000000 10000000 04000000  " HANDLE " ffffffff 00000000", 0, 0}, /* key of 4 GiB */
        {'C', MAGIC "0200564f 10000000 04000000  " HANDLE " 01000000 feffffff 6b", 0, 0},
        {'C', MAGIC "0400564f 18000000 04000000  ffffffff", 40, 0},
        {'C', MAGIC "0a000000 10000000 04000000  " HANDLE " ffffffff 00000000", 0, 0},
        /* a fragment of 4 GiB, one without end, one that is longer than its request, one of nothing */
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 00000000 0000000000000000 ffffffff 00000000"
               "ffffffff ffffffff 00000000",
         0, 0},
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 00000000 0000000000000000 00040000 00000000"
               "00080000 00080000 00000000",
         2108, 0},
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 00000000 0000000000000000 00040000 00000000"
               "00000000 00000000 00000000",
         0, 0},
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 01000000 0000000000000000 00040000 00000000"
               "00040000 ffffffff 00000000",
         0, 0},
        {'C', "7ada00a2", 60, 0},
    };
    size_t len = 0;
    uint8_t *bytes = client_bytes(&len);
    const size_t opened = sizeof dialogue_text - 1 + 5 * CLASSIC + 11 + 32 + 28 + 20 + 76 + 14;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        VixError end;
        size_t n = step_bytes(&rows[i], bytes + opened);
        serve_bytes(bytes, opened + n, true, &end);
        if (end != VIX_E_HOST_TCP_CONN_LOST) {
            fail_msg("frame %zu: the host ends with %llu", i, (unsigned long long)end);
        }
    }
    free(bytes);
}

/** Some bytes of a sector, and a packed fragment that sends them on their way: no part of a sector reaches the disk. */
static void crumbs(void **state)
{
    static const struct step rows[] = {
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 00000000 0000000000000000 00040000 00000000"
               "10000000 10000000 00000000",
         76, 0xa5},
        {'C',
         MAGIC "07000000 2c000000 04000000  " HANDLE " 00000000 01000000 0000000000000000 00040000 10000000"
               "f0030000 04000000 00000000",
         64, 0},
    };
    size_t len = 0;
    uint8_t *bytes = client_bytes(&len), first[16];
    size_t at = sizeof dialogue_text - 1 + 5 * CLASSIC + 11 + 32 + 28 + 20 + 76 + 14;
    VixError end;

    (void)state;
    memcpy(first, memory.bytes, sizeof first);
    at += step_bytes(&rows[0], bytes + at);
    at += step_bytes(&rows[1], bytes + at);
    serve_bytes(bytes, at, false, &end);
    assert_memory_equal(memory.bytes, first, sizeof first);
    free(bytes);
}

/** Reads without ever taking an answer: buffers stay within their limit, and the host gives up. */
static void greedy_client(void **state)
{
    size_t len = 0;
    uint8_t *bytes = client_bytes(&len);
    const size_t opened = sizeof dialogue_text - 1 + 5 * CLASSIC + 11 + 32 + 28 + 20 + 76 + 14;
    const struct step read_all = {'C',
                                  MAGIC "07000000 2c000000 04000000  " HANDLE
                                        " 01000000 00000000 0000000000000000 00000001 00000000 00000001 00000001"
                                        "00000000",
                                  0, 0};
    struct nfc_test_host h;
    struct stream *s = NULL;
    struct rusage before;
    struct rusage after;
    uint8_t frame[60];

    (void)state;
    (void)getrusage(RUSAGE_SELF, &before);
    start_plain_host(&h);
    assert_int_equal(tcp_connect("127.0.0.1", h.port, 5000, &s, &err), VIX_OK);
    s->write_timeout_ms = 1000;
    assert_int_equal(stream_write(s, bytes, opened, &err), VIX_OK);
    assert_int_equal(step_bytes(&read_all, frame), 60);
    for (unsigned i = 0; i < 2000 && stream_write(s, frame, sizeof frame, NULL) == VIX_OK; i++) {
    }
    nap(1500);
    stop_host(&h); /* has given up by itself */
    assert_int_equal(h.last, VIX_E_HOST_TCP_CONN_LOST);
    stream_close(s);
    (void)getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 200 * 1024);
    free(bytes);
}

static int set_up_seed(void **state)
{
    seed = now_ms();
    print_message("seed %llu\n", (unsigned long long)seed);
    return nfc_set_up(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_clients), cmocka_unit_test(changed_clients), cmocka_unit_test(lying_frames),
        cmocka_unit_test(crumbs),      cmocka_unit_test(greedy_client),
    };
    return cmocka_run_group_tests(tests, set_up_seed, nfc_tear_down);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes over the wire, to the byte, for hosts of 6.5 to 8: what our client says to them, and what our host answers
 * to VMware's library. */
#include "nfc_script.h"

struct play {
    const struct script *script;
    bool ssl;
    bool played; /* to its end */
};

static void expect_text(struct stream *s, const char *text)
{
    char line[256];

    assert_true(strlen(text) < sizeof line);
    assert_int_equal(stream_read(s, line, strlen(text), NULL), VIX_OK);
    assert_memory_equal(line, text, strlen(text));
}

static void say(struct stream *s, const char *text)
{
    assert_int_equal(stream_write(s, text, strlen(text), NULL), VIX_OK);
}

/** Plays one side of steps and compares the other. */
static void play_steps(struct stream *s, const struct step *steps, char own)
{
    uint8_t *bytes = malloc(STEP_BYTES_MAX);
    uint8_t *came = malloc(STEP_BYTES_MAX);

    for (const struct step *step = steps; step->hex != NULL; step++) {
        size_t len = step_bytes(step, bytes);
        if (step->side == own) {
            assert_int_equal(stream_write(s, bytes, len, NULL), VIX_OK);
        } else {
            if (stream_read(s, came, len, &err) != VIX_OK || memcmp(bytes, came, len) != 0) {
                size_t at = 0;
                while (at < len && bytes[at] == came[at]) {
                    at++;
                }
                fail_msg("step %d: byte %zu of %zu: %s", (int)(step - steps), at, len, step->hex);
            }
        }
    }
    free(bytes);
    free(came);
}

/* ---- our client ---- */

static void serve_script(struct stream **s, void *arg)
{
    struct play *p = arg;
    char line[200];

    stream_set_deadline(*s, 20000);
    say(*s, p->script->banner);
    say(*s, "\r\n");
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    expect_text(*s, "SESSION " SECRET "\r\n");
    expect_text(*s, "BANNER \r\n");
    say(*s, p->script->banner);
    say(*s, "\r\n");
    if (p->script->sha256) {
        expect_text(*s, "THUMBPRINT_SHA2 PlainText\r\n");
        (void)snprintf(line, sizeof line, "200 %s\r\n", sha256_text);
        say(*s, line);
    }
    expect_text(*s, p->ssl ? "PROXY vpxa-nfcssl\r\n" : "PROXY vpxa-nfc\r\n");
    say(*s, p->ssl ? "200 Connect ha-nfcssl\r\n" : "200 Connect ha-nfc\r\n");
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    if (p->ssl) {
        assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    }
    play_steps(*s, p->script->classic, 'S');
    play_steps(*s, p->script->aio, 'S');
    p->played = true;
    assert_int_equal(stream_read(*s, line, 1, NULL), VIX_E_HOST_TCP_CONN_LOST); /* and not a byte more */
}

static void client_says(void **state)
{
    uint8_t *buf = malloc(66048);

    (void)state;
    for (unsigned i = 0; i < 2 * sizeof scripts / sizeof scripts[0]; i++) {
        struct play play = {.script = &scripts[i / 2], .ssl = i % 2 != 0};
        struct server server;
        struct nfc_client *c = NULL;
        struct nfc_disk_info info;
        char *text = NULL;
        start_server(&server, serve_script, &play);
        struct nfc_connect how = connect_params(server.port, play.ssl);
        assert_int_equal(nfc_client_open(&how, &c, &info, &err), VIX_OK);
        assert_int_equal(info.capacity, 16u << 20);
        assert_int_equal(info.cylinders, 2);
        assert_int_equal(run_io(c, false, 512, 1024, buf), VIX_OK);
        for (unsigned at = 0; at < 1024; at++) {
            assert_int_equal(buf[at], 0x5a);
        }
        memset(buf, 0xa5, 66048);
        assert_int_equal(run_io(c, true, 4096, 66048, buf), VIX_OK);
        assert_int_equal(nfc_client_meta_get(c, "adapterType", &text, &err), VIX_OK);
        assert_string_equal(text, "lsilogic");
        free(text);
        assert_int_equal(nfc_client_meta_get(c, "none", &text, &err), VIX_E_DISK_KEY_NOTFOUND);
        nfc_client_close(c);
        stop_server(&server);
        assert_true(play.played);
    }
    free(buf);
}

/* ---- our host ---- */

static void begin_dialogue(struct stream **s, const struct script *script, bool ssl)
{
    const struct tls_policy policy = {.thumbprint = sha1_text};
    char line[200];

    expect_text(*s, script->banner);
    expect_text(*s, "\r\n");
    assert_int_equal(tls_client_start(s, &policy, false, &err), VIX_OK);
    say(*s, "SESSION " SECRET "\r\nBANNER \r\n");
    expect_text(*s, script->banner);
    expect_text(*s, "\r\n");
    if (script->sha256) {
        say(*s, "THUMBPRINT_SHA2 PlainText\r\n");
        (void)snprintf(line, sizeof line, "200 %s\r\n", sha256_text);
        expect_text(*s, line);
    } else {
        say(*s, "THUMBPRINT_SHA2 PlainText\r\n");
        expect_text(*s, "530 Please login with USER and PASS\r\n");
    }
    say(*s, ssl ? "PROXY vpxa-nfcssl\r\n" : "PROXY vpxa-nfc\r\n");
    expect_text(*s, ssl ? "200 Connect ha-nfcssl\r\n" : "200 Connect ha-nfc\r\n");
    assert_int_equal(tls_abandon(s, &err), VIX_OK);
    if (ssl) {
        assert_int_equal(tls_client_start(s, &policy, false, &err), VIX_OK);
    }
}

static void host_answers(void **state)
{
    static const struct nfc_test_knobs knobs[] = {
        {.no_extension_word = true, .no_sha256_word = true, .version = 1},
        {.no_extension_word = true, .no_sha256_word = true, .version = 2},
        {.no_extension_word = true, .no_sha256_word = true, .version = 7},
        {.no_extension_word = true, .version = 9},
        {.no_extension_word = true},
    };

    (void)state;
    assert_int_equal(host_meta_set(&memory, "adapterType", "lsilogic", NULL), VIX_OK);
    for (unsigned i = 2; i < 2 * sizeof scripts / sizeof scripts[0]; i++) { /* the version 0 of 6.5 cannot be set */
        const struct script *script = &scripts[i / 2];
        struct nfc_test_host h;
        struct stream *s = NULL;
        memset(memory.bytes, 0x5a, 2048);
        memset(memory.bytes + 2048, 0, 80000);
        start_host(&h, &knobs[i / 2]);
        assert_int_equal(tcp_connect("127.0.0.1", h.port, 5000, &s, &err), VIX_OK);
        stream_set_deadline(s, 20000);
        begin_dialogue(&s, script, i % 2 != 0);
        play_steps(s, script->classic, 'C');
        play_steps(s, script->aio, 'C');
        stream_close(s);
        stop_host(&h);
        assert_int_equal(h.last, VIX_OK);
        for (unsigned at = 2048; at < 82048; at++) {
            assert_int_equal(memory.bytes[at], at >= 4096 && at < 4096 + 66048 ? 0xa5 : 0);
        }
    }
}

/** Messages of section 4.10 and 5.1, and those of our own. */
static void other_messages(void **state)
{
    static const struct step steps[] = {
        {'C', MAGIC "02000000 10000000 00000000  00000000 00000100 04000000 00000000", 0, 0},
        {'S', MAGIC "02000000 10000000 00000000", 32, 0},
        /* a disk that is not there: ERROR and the reply in zeros */
        {'C', MAGIC "04000000 3c000000 01000000  10000000 00000000 00000000 00000000 02000000 1e000000", 76, 0},
        {'C', "5b64735d 20616273 656e742e 766d646b", 0, 0},
        {'S', MAGIC "01000000 10000000 01000000  01000000 00000000 04000000 37000000", 0, 0},
        {'S', "436f756c64206e6f742066696e64207468652066696c653a20 5b64735d20616273656e742e766d646b", 0, 0},
        {'S', "206973206120626164206469736b", 0, 0},
        {'S', MAGIC "04000000 3c000000 01000000", 76, 0},
        /* the one that is */
        {'C', MAGIC "04000000 3c000000 02000000  0e000000 00000000 00000000 00000000 02000000 1a000000", 76, 0},
        {'C', "5b64735d 20766d2f 782e766d 646b", 0, 0},
        {'S',
         MAGIC "04000000 3c000000 02000000  0000000000000000 " HANDLE " 02000000 1a000000 00000000 0000000100000000"
               "00020000 02000000 ff000000 3f000000 0000000000000000",
         0, 0},
        /* QUERY_ALLOCATED_BLOCKS: 64 KiB, from 64 KiB, 33 chunks; every third is allocated */
        {'C',
         MAGIC "0d000000 30000000 03000000  " HANDLE " 00000000 00000000 0000010000000000 0000010000000000"
               "2100000000000000 0000000000000000",
         0, 0},
        {'S',
         MAGIC "0d000000 30000000 03000000  0000000000000000 0000000000000000 0000000000000000 0000000000000000"
               "2100000000000000 0000000000000000  24499224 01000000",
         0, 0},
        /* our own: FLUSH, DDB_SET, DDB_ENUM, CREATE_DISK */
        {'C', MAGIC "0100564f 08000000 04000000  " HANDLE, 0, 0},
        {'S', MAGIC "0100564f 08000000 04000000  0000000000000000", 0, 0},
        {'C', MAGIC "0200564f 10000000 05000000  " HANDLE " 01000000 02000000  6b 7676", 0, 0},
        {'S', MAGIC "0200564f 08000000 05000000  0000000000000000", 0, 0},
        {'C', MAGIC "0300564f 08000000 06000000  " HANDLE, 0, 0},
        {'S', MAGIC "0300564f 08000000 06000000  01000000 02000000 6b00", 0, 0},
        {'C', MAGIC "0200564f 10000000 07000000  " HANDLE " 01000000 ffffffff  6b", 0, 0},
        {'S', MAGIC "0200564f 08000000 07000000  0000000000000000", 0, 0},
        {'C',
         MAGIC "0400564f 18000000 08000000  09000000 03000000 02000000 0d000000 0000100000000000  5b64735d206e2e766d",
         0, 0},
        {'S', MAGIC "0400564f 08000000 08000000  0000000000000000", 0, 0},
        {'C', "04000000", CLASSIC, 0},
        STEP_END,
    };
    struct script script = scripts[4];
    struct nfc_test_host h;
    struct stream *s = NULL;

    (void)state;
    (void)host_meta_set(&memory, "adapterType", NULL, NULL);
    script.banner = BANNER_80 ", OVDX1 supported";
    start_host(&h, NULL);
    assert_int_equal(tcp_connect("127.0.0.1", h.port, 5000, &s, &err), VIX_OK);
    stream_set_deadline(s, 20000);
    begin_dialogue(&s, &script, false);
    play_steps(s, script.classic, 'C');
    play_steps(s, steps, 'C');
    stream_close(s);
    stop_host(&h);
    assert_int_equal(h.last, VIX_OK);
    assert_int_equal(memory.created, 1u << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_says),
        cmocka_unit_test(host_answers),
        cmocka_unit_test(other_messages),
    };
    return cmocka_run_group_tests(tests, nfc_set_up, nfc_tear_down);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Hosts that lie to our client of NFC: cut at every byte, bytes changed, wrong lengths, numbers, certificates, endless
 * and stalled. Nothing may crash, hang, or take more memory than the limits say. */
#include "nfc_liar.h"

/* ---- before the session ---- */

static void lies_in_the_dialogue(void **state)
{
    static char long_line[4096];
    const char *wrong_print = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:00:01:02:03:04:05:06:07:08:09:0A:0B:0C:"
                              "0D:0E:0F";
    const struct {
        struct lie lie;
        const char *text;
    } rows[] = {
        {{.banner = "500 go away\r\n", .at = -1}, "220"},
        {{.banner = "SSH-2.0-OpenSSH_9\r\n", .at = -1}, "check the port"},
        {{.banner = long_line, .endless = true, .at = -1}, "a line has more"},
        {{.banner = "220-and on\r\n", .endless = true, .at = -1}, "more than 16 lines"},
        {{.banner = "\r\n", .at = -1}, "220"},
        {{.proxy = "530 Please login with USER and PASS\r\n", .at = -1}, "the ticket is refused"},
        {{.proxy = "999 " SECRET "\r\n", .at = -1}, "reply 999"},
        {{.proxy = "what?\r\n", .at = -1}, "reply 0"},
        {{.tls = true, .other_first = true, .at = -1}, "wrong certificate"},
        {{.tls = true, .ssl = true, .other_second = true, .at = -1}, "wrong certificate"},
        {{.tls = true, .announced = wrong_print, .at = -1}, "the host tells 00:01"},
        {{.tls = true, .announced = "", .at = -1}, "wrong certificate"},
        {{.tls = true, .announced = "AA:BB", .at = -1}, "wrong certificate"},
        {{.tls = true, .announced = sha1_text, .at = -1}, "wrong certificate"},
    };

    (void)state;
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "220 ", 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_refused(&rows[i].lie, VIX_E_HOST_NETBLKDEV_HANDSHAKE, rows[i].text);
    }
}

/* Numbers of steps of classic_80: 0 tag, 1 list, 2 version, 3 status, 4 version, 5 and 6 names, 7 features, 8 and 9
 * AIO; then those of aio_session. */
#define AT_STATUS 3
#define AT_VERSION 4
#define AT_AIO 9
#define AT_FRAME(n) (10 + (n))
#define OPENED(rest) MAGIC "04000000 3c000000 03000000  " rest

static void lies_in_the_opening(void **state)
{
    const struct {
        int at;
        struct step instead;
        VixError code;
        const char *text;
    } rows[] = {
        {AT_STATUS, {'S', "25000000", CLASSIC, 0}, 14006, "type 37"},
        {AT_STATUS, {'S', "04000000", CLASSIC, 0}, 14006, "ends the session"},
        {AT_STATUS, {'S', "14000000 00000000 05000000 ffffffff", CLASSIC + 9999, 'e'}, 14006, "eee"},
        {AT_STATUS, {'S', "24000000 ffffffff 00000000 00000000 01000000", CLASSIC, 0}, 14006, "4294967295"},
        {AT_STATUS, {'S', "24000000 00000000 00000000 00000000 00000000", CLASSIC, 0}, VIX_E_NOT_SUPPORTED, "6.0"},
        {AT_VERSION, {'S', "34000000", CLASSIC, 0}, 14006, "type 52"},
        {AT_AIO, {'S', "04000000", CLASSIC, 0}, VIX_E_NOT_SUPPORTED, "6.0"},
        {AT_AIO, {'S', "14000000 00000000 07000000 03000000", CLASSIC + 3, 'x'}, VIX_E_NOT_SUPPORTED, "6.0"},
        {AT_FRAME(1), {'S', "7ada00a2 02000000 10000000 00000000", 32, 0}, 14006, "0xa200da7a"},
        {AT_FRAME(1), {'S', "04000000", CLASSIC, 0}, 14006, "ended the session"},
        {AT_FRAME(1), {'S', MAGIC "02000000 01001000 00000000", 32, 0}, 14006, "too long"},
        {AT_FRAME(1), {'S', MAGIC "02000000 10000000 01000000", 32, 0}, 14006, "not asked for"},
        {AT_FRAME(1), {'S', MAGIC "03000000 10000000 00000000", 32, 0}, 14006, "not asked for"},
        {AT_FRAME(1), {'S', MAGIC "07000000 2c000000 00000000", 60, 0}, 14006, "not asked for"},
        {AT_FRAME(1),
         {'S', MAGIC "01000000 10000000 00000000 02000000 00000000 00000000 00000100", 32, 'x'},
         14006,
         "the peer has ended"},
        {AT_FRAME(1),
         {'S', MAGIC "01000000 10000000 00000000 02000000 00000000 00000000 01000100", 32, 'x'},
         14006,
         "too long"},
        {AT_FRAME(8), {'S', OPENED("0100000000000000"), 76, 0}, VIX_E_FILE_ERROR, "status 1"},
        {AT_FRAME(8), {'S', OPENED(""), 76, 0}, 14006, "of 0 bytes"},
        {AT_FRAME(8), {'S', OPENED(""), 76, 0xff}, VIX_E_FILE_ERROR, "status"},
        {AT_FRAME(8),
         {'S', OPENED("0000000000000000 0000000000000000 00000000 00000000 00000000 0102000000000000"), 76, 0},
         14006,
         "513 bytes"},
        {AT_FRAME(8),
         {'S', OPENED("0000000000000000 0000000000000000 00000000 00000000 00000000 00feffffffffffff"), 76, 0},
         14006,
         "bytes"},
        {AT_FRAME(8),
         {'S', OPENED("0000000000000000 0000000000000000 00000000 00000000 00000000 0000000100000000 07000000"), 76, 0},
         14006,
         "sectors of 7"},
        {AT_FRAME(8), {'S', MAGIC "04000000 00000000 03000000", 0, 0}, 14006, "of 0 bytes"},
        /* an ERROR that nothing follows, and one of a host of VMware's */
        {AT_FRAME(8),
         {'S', MAGIC "01000000 10000000 03000000 0b000000 00000000 00000000 00000000", 0, 0},
         VIX_E_FILE_READ_ONLY,
         "NFC error 11"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned tls = 0; tls < 2; tls++) {
            const struct lie lie = {.at = rows[i].at, .instead = &rows[i].instead, .tls = tls != 0, .ssl = tls != 0};
            expect_refused(&lie, rows[i].code, rows[i].text);
        }
    }
}

/* ---- answers ---- */

#define READ(rest) MAGIC "07000000 2c000000 04000000  " rest

static void lies_in_answers(void **state)
{
    static const struct {
        struct step instead;
        const char *text;
    } rows[] = {
        {{'S',
          READ("0000000000000000 00000000 00000000 0002000000000000 00040000 00000000 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "another request"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0004000000000000 00040000 00000000 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "another request"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00080000 00000000 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "another request"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00040000 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "beyond"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00feffff 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "beyond"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 ffffffff ffffffff "
               "00000000"),
          60 + 1024, 0x5a},
         "beyond"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00000000 00000000 "
               "00000000"),
          0, 0},
         "empty"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00040000 00050000 "
               "00000000"),
          60 + 1280, 0x5a},
         "wrong length"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00040000 00000000 "
               "00000000"),
          0, 0},
         "wrong length"},
        /* twice the same half; then two that overlap by half */
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 fc030000 04000000 04000000 "
               "00000000") "5a5a5a5a" READ("0000000000000000 01000000 00000000 0002000000000000 00040000 fc030000 "
                                           "04000000 04000000"
                                           "00000000 5a5a5a5a"),
          0, 0},
         "overlap"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 04000000 04000000 "
               "00000000") "5a5a5a5a" READ("0000000000000000 01000000 00000000 0002000000000000 00040000 02000000 "
                                           "04000000 04000000"
                                           "00000000 5a5a5a5a"),
          0, 0},
         "overlap"},
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 08000000 04000000 04000000 "
               "00000000") "5a5a5a5a" READ("0000000000000000 01000000 00000000 0002000000000000 00040000 06000000 "
                                           "04000000 04000000"
                                           "00000000 5a5a5a5a"),
          0, 0},
         "overlap"},
        /* a part, and then nothing more */
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00020000 00020000 "
               "00000000"),
          60 + 512, 0x5a},
         "ended the connection"},
        {{'S', MAGIC "07000000 08000000 04000000", 24, 0}, "too short"},
        {{'S', MAGIC "07000000 2c000000 05000000", 60, 0}, "not asked for"},
        {{'S', MAGIC "07000000 2c000000 ffffffff", 60, 0}, "not asked for"},
        {{'S', MAGIC "07000000 ffffffff 04000000", 60, 0}, "too long"},
        {{'S', MAGIC "0b000000 10000000 04000000", 32, 0}, "not asked for"},
        {{'S', MAGIC "0b000000 10000000 04000000  00000000 00000000 00000000 ffffffff", 0, 0}, "too long"},
        {{'S', MAGIC "0d000000 30000000 04000000", 64, 0xff}, "too long"},
        {{'S', MAGIC "0300564f 08000000 04000000  01000000 ffffff7f", 0, 0}, "too long"},
        {{'S', MAGIC "01000000 10000000 09000000", 32, 0}, "not under way"},
        {{'S', MAGIC "01000000 10000000 04000000  01000000 00000000 00000000 ffffffff", 0, 0}, "too long"},
        {{'S', "04000000", CLASSIC, 0}, "ended the session"},
        {{'S', "00", 300, 0}, "0x00000000"},
        /* compression: unknown, too long, too short, one that grows (skipz total, run beyond, zlib of more,
           fastlz) */
        {{'S',
          READ("0000000000000000 01000000 09000000 0002000000000000 00040000 00000000 00040000 00040000 "
               "00000000"),
          60 + 1024, 0x5a},
         "do not expand"},
        {{'S',
          READ("0000000000000000 01000000 03000000 0002000000000000 00040000 00000000 00040000 01000200 "
               "00000000"),
          60 + 1024, 0x5a},
         "wrong length"},
        {{'S',
          READ("0000000000000000 01000000 01000000 0002000000000000 00040000 00000000 00040000 00000000 "
               "00000000"),
          0, 0},
         "do not expand"},
        {{'S',
          READ("0000000000000000 01000000 03000000 0002000000000000 00040000 00000000 00040000 08000000 "
               "00000000") "ffffff7f 00000000",
          0, 0},
         "do not expand"},
        {{'S',
          READ("0000000000000000 01000000 03000000 0002000000000000 00040000 00000000 00040000 14000000 "
               "00000000") "00040000 00000000 fe030000 04000000 5a5a5a5a",
          0, 0},
         "do not expand"},
        {{'S', /* 4096 times A, in 1024 */
          READ("0000000000000000 01000000 01000000 0002000000000000 00040000 00000000 00040000 14000000 "
               "00000000") "78daedc10101000000804090 fe af ee080a9404b6",
          0, 0},
         "do not expand"},
        {{'S', /* a match of 264 bytes again and again */
          READ("0000000000000000 01000000 02000000 0002000000000000 00040000 00000000 00040000 12000000 "
               "00000000") "005a e0ff00 e0ff00 e0ff00 e0ff00 e0ff00 5a",
          0, 0},
         "do not expand"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned tls = 0; tls < 2; tls++) {
            const struct lie lie = {
                .at = AT_FRAME(STEP_READ_REPLY), .instead = &rows[i].instead, .tls = tls != 0, .ssl = tls != 0};
            struct outcome out;
            run_lie(&lie, &out);
            if (out.open != VIX_OK || out.read != VIX_E_HOST_TCP_CONN_LOST || !out.lost ||
                strstr(out.text, rows[i].text) == NULL) {
                fail_msg("answer %zu: open %llu, read %llu: \"%s\" has no \"%s\"", i, (unsigned long long)out.open,
                         (unsigned long long)out.read, out.text, rows[i].text);
            }
            assert_int_equal(out.write, VIX_E_HOST_TCP_CONN_LOST);
            assert_int_equal(out.meta, VIX_E_HOST_TCP_CONN_LOST);
        }
    }
}

/** What is unusual and allowed. */
static void tolerated_answers(void **state)
{
    static const struct {
        struct step instead;
        VixError read;
        bool right;
    } rows[] = {
        /* in three parts, the last first, of odd lengths */
        {{'S',
          READ("0000000000000000 01000000 00000000 0002000000000000 00040000 ff030000 01000000 01000000 00000000 5a")
              READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 01000000 01000000 00000000"
                   "5a") READ("0000000000000000 01000000 00000000 0002000000000000 00040000 01000000 fe030000"
                              "fe030000 00000000"),
          3 * 60 + 1024, 0x5a},
         VIX_OK,
         true},
        /* skipz with one run */
        {{'S',
          READ("0000000000000000 01000000 03000000 0002000000000000 00040000 00000000 00040000 10040000 "
               "00000000") "00040000 00000000 00000000 00040000",
          60 + 16 + 1024, 0x5a},
         VIX_OK,
         true},
        /* failed by status, with data that does not count */
        {{'S', READ("0700000000000000 01000000 00000000 0002000000000000 00040000 00000000 00040000 00040000 00000000"),
          60 + 1024, 0x11},
         VIX_E_DISK_NOIO,
         false},
        /* ERROR, and the answer after all */
        {{'S',
          MAGIC "01000000 10000000 04000000  05000000 00000000 00000000 03000000 6d656d" READ(
              "0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00040000 00040000 00000000"),
          16 + 16 + 3 + 60 + 1024, 0x5a},
         VIX_E_OUT_OF_MEMORY,
         false},
        {{'S', MAGIC "01000000 10000000 04000000  63000000 00000000 00000000 0c000000 4e6f20737061636520686572",
          16 + 16 + 12, 0x65},
         VIX_E_DISK_FULL,
         false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct lie lie = {.at = AT_FRAME(STEP_READ_REPLY), .instead = &rows[i].instead};
        struct outcome out;
        run_lie(&lie, &out);
        assert_int_equal(out.open, VIX_OK);
        assert_int_equal(out.read, rows[i].read);
        assert_false(out.lost);
        if (rows[i].right) {
            assert_true(out.right);
        }
    }
}

static void stalls(void **state)
{
    static const struct step nothing = {'S', "", 0, 0};
    static const struct step half = {'S', MAGIC "07000000 2c000000 0400", 0, 0};
    static const struct step some = {
        'S', READ("0000000000000000 01000000 00000000 0002000000000000 00040000 00000000 00040000 00040000 00000000"),
        60 + 1000, 0x5a};
    const struct {
        int at;
        const struct step *instead;
    } rows[] = {{AT_STATUS, &nothing},    {AT_FRAME(1), &nothing}, {AT_FRAME(8), &nothing},  {AT_FRAME(10), &half},
                {AT_FRAME(10), &nothing}, {AT_FRAME(10), &some},   {AT_FRAME(13), &nothing}, {AT_FRAME(15), &nothing},
                {AT_FRAME(19), &nothing}, {AT_FRAME(21), &nothing}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned tls = 0; tls < 2; tls++) {
            const struct lie lie = {
                .at = rows[i].at, .instead = rows[i].instead, .stall = true, .tls = tls != 0, .ssl = tls != 0};
            struct outcome out;
            run_lie(&lie, &out);
            assert_int_equal(out.open, rows[i].at < AT_FRAME(9) ? VIX_E_HOST_NETBLKDEV_HANDSHAKE : VIX_OK);
            if (rows[i].at == AT_FRAME(10)) {
                assert_int_equal(out.read, VIX_E_HOST_TCP_CONN_LOST);
                assert_true(out.lost);
                assert_non_null(strstr(out.text, "time-out"));
            } else if (rows[i].at == AT_FRAME(13)) {
                assert_int_equal(out.write, VIX_E_HOST_TCP_CONN_LOST);
            } else if (rows[i].at == AT_FRAME(15)) {
                assert_int_equal(out.meta, VIX_E_HOST_TCP_CONN_LOST);
            }
        }
    }
}

/** A host that takes nothing any more: the write ends by its time-out, also that of several threads. */
static void not_taken(void **state)
{
    static const struct step nothing = {'S', "", 0, 0};
    const struct lie lie = {.at = AT_FRAME(STEP_OPEN_REPLY + 2), .instead = &nothing, .stall = true};
    uint8_t *buf = calloc(1, 64u << 20);
    struct nfc_client *c = NULL;
    struct nfc_disk_info info;
    struct liar liar;
    struct wait w[2];

    (void)state;
    start_liar(&liar, &lie);
    struct nfc_connect how = connect_to_liar(&liar);
    how.write_timeout_ms = 300;
    how.read_timeout_ms = 20000;
    assert_int_equal(nfc_client_open(&how, &c, &info, &err), VIX_OK);
    uint64_t begin = now_ms();
    wait_init(&w[0], false, 512, 1024, buf);
    wait_init(&w[1], true, 0, 64u << 20, buf);
    assert_int_equal(nfc_client_submit(c, &w[0].r, &err), VIX_OK);
    assert_int_equal(nfc_client_submit(c, &w[1].r, &err), VIX_OK);
    assert_int_equal(wait_for(&w[0]), VIX_E_HOST_TCP_CONN_LOST);
    assert_int_equal(wait_for(&w[1]), VIX_E_HOST_TCP_CONN_LOST);
    assert_true(now_ms() - begin < 5000);
    nfc_client_close(c);
    stop_liar(&liar);
    free(buf);
}

/** A write that is refused before all of it was sent: its buffer is not given back before that. */
static void refused_early(void **state)
{
    const struct lie lie = {.at = -1, .early_no = true};
    uint8_t *buf = calloc(1, LARGE);
    struct nfc_client *c = NULL;
    struct nfc_disk_info info;
    struct liar liar;
    struct wait w;

    (void)state;
    start_liar(&liar, &lie);
    struct nfc_connect how = connect_to_liar(&liar);
    how.read_timeout_ms = 20000;
    how.write_timeout_ms = 20000;
    assert_int_equal(nfc_client_open(&how, &c, &info, &err), VIX_OK);
    wait_init(&w, true, 0, LARGE, buf);
    assert_int_equal(nfc_client_submit(c, &w.r, &err), VIX_OK);
    assert_int_equal(wait_for(&w), VIX_E_DISK_FULL);
    assert_non_null(strstr(w.why.text, "No space"));
    assert_int_equal(w.r.host_error, 0x63);
    free(buf);
    buf = calloc(1, 512);
    assert_int_equal(run_io(c, false, 0, 512, buf), VIX_E_DISK_FULL);
    assert_false(nfc_client_lost(c));
    nfc_client_close(c);
    stop_liar(&liar);
    free(buf);
}

/** A host whose TLS is of the past is tried a second time, by a new connection, with the same ticket. */
static void old_tls(void **state)
{
    const struct lie lie = {.at = -1, .tls = true, .ssl = true, .old_tls = true};
    struct outcome out;

    (void)state;
    atomic_store(&refused_once, 0);
    run_lie(&lie, &out);
    assert_int_equal(out.open, VIX_OK);
    assert_int_equal(out.meta, VIX_OK);
    assert_int_equal(atomic_load(&refused_once), 2);
}

/* ---- at every byte ---- */

/** Bytes of a host in the whole session that come before the client closes it. */
static size_t host_bytes(void)
{
    size_t len = 0;

    free(side_bytes(&scripts[4], 'S', &len));
    return len;
}

static void cut_hosts(void **state)
{
    struct lie lie = {.at = -1};
    const size_t total = host_bytes();
    struct liar liar;
    struct outcome out;

    (void)state;
    start_liar(&liar, &lie);
    for (size_t cut = 1; cut <= total; cut += cut > 1010 && cut + 80 < total ? 7 : 1) {
        lie.cut = cut;
        set_lie(&liar, &lie);
        run_client(&liar, &out);
        if (out.open != VIX_OK) {
            assert_int_equal(out.open, VIX_E_HOST_NETBLKDEV_HANDSHAKE);
        } else if (out.read != VIX_OK) {
            assert_int_equal(out.read, VIX_E_HOST_TCP_CONN_LOST);
            assert_int_equal(out.write, VIX_E_HOST_TCP_CONN_LOST);
        }
        if (cut == total) {
            assert_int_equal(out.meta, VIX_OK);
        }
    }
    stop_liar(&liar);
}

static bool is_documented(VixError code)
{
    static const VixError codes[] = {VIX_OK,
                                     VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                                     VIX_E_HOST_TCP_CONN_LOST,
                                     VIX_E_NOT_SUPPORTED,
                                     VIX_E_FILE_ERROR,
                                     VIX_E_DISK_NOIO,
                                     VIX_E_INVALID_ARG,
                                     VIX_E_OUT_OF_MEMORY,
                                     VIX_E_FILE_READ_ONLY,
                                     VIX_E_FILE_ACCESS_ERROR,
                                     VIX_E_DISK_KEY_NOTFOUND};

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

static uint64_t seed;

static uint64_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static void changed_hosts(void **state)
{
    struct lie lie = {.at = -1};
    const size_t total = host_bytes();
    struct liar liar;
    struct outcome out;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    start_liar(&liar, &lie);
    for (unsigned i = 0; i < 150; i++) {
        size_t at = next_random() % total;
        if (at >= 264 * 3 + 60 + 76 + 76 && at + 200 < total) {
            at = 264 * 3 + next_random() % 250; /* data can be anything */
        }
        lie.flip = at + 1;
        lie.mask = (uint8_t)(1u << next_random() % 8);
        set_lie(&liar, &lie);
        run_client(&liar, &out);
        if (!is_documented(out.open) || !is_documented(out.read) || !is_documented(out.write) ||
            !is_documented(out.meta)) {
            fail_msg("byte %zu, mask %u: %llu %llu %llu %llu", at, lie.mask, (unsigned long long)out.open,
                     (unsigned long long)out.read, (unsigned long long)out.write, (unsigned long long)out.meta);
        }
    }
    stop_liar(&liar);
}

static int hostile_set_up(void **state)
{
    int fault = nfc_set_up(state);

    seed = now_ms();
    return fault != 0 || tls_identity_load(other_cert, other_key, &other_identity, &err) != VIX_OK;
}

static int hostile_tear_down(void **state)
{
    tls_identity_free(other_identity);
    return nfc_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_in_the_dialogue),
        cmocka_unit_test(lies_in_the_opening),
        cmocka_unit_test(lies_in_answers),
        cmocka_unit_test(tolerated_answers),
        cmocka_unit_test(stalls),
        cmocka_unit_test(not_taken),
        cmocka_unit_test(refused_early),
        cmocka_unit_test(old_tls),
        cmocka_unit_test(cut_hosts),
        cmocka_unit_test(changed_hosts),
    };
    return cmocka_run_group_tests(tests, hostile_set_up, hostile_tear_down);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Hosts that lie to our client and clients that lie to our host: cut at every byte, bytes changed, wrong lengths,
 * numbers, certificates, endless and stalled. Nothing may crash, hang, or take more memory than the limits say. */
#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "nfc_script.h"

#define SHORT_MS 150u

static struct tls_identity *other_identity;

/* ---- a lying host ---- */

/** What a host does otherwise than the script says. */
struct lie {
    const char *banner;         /* NULL: of ESXi 8, without TLS (the ticket wants no certificate) */
    bool tls;                   /* it has TLS */
    bool other_first;           /* another certificate in the first TLS */
    bool other_second;          /* and in the second */
    const char *announced;      /* what THUMBPRINT_SHA2 answers; NULL: the truth */
    const char *proxy;          /* NULL: 200 */
    bool ssl;                   /* nbdssl */
    int at;                     /* number of a step, of classic and aio together, that is replaced; -1: none */
    const struct step *instead; /* by this one, after which the host sends nothing more */
    bool stall;                 /* and keeps the connection, else ends it */
    size_t cut;                 /* so many bytes are sent after the dialogue; 0: all */
    size_t flip;                /* the byte with this number plus 1 is changed; 0: none */
    uint8_t mask;
    bool endless;  /* the banner never ends */
    bool old_tls;  /* the first client is told that TLS cannot be agreed upon */
    bool early_no; /* a write is refused when it begins to come */
};

static atomic_bool release;      /* stalled hosts may go */
static atomic_uint refused_once; /* connections to a host of old TLS */

#define LARGE (64u << 20)
#define LARGE_FRAGMENTS (LARGE / 65536)

static bool say(struct stream *s, const char *text)
{
    return stream_write(s, text, strlen(text), NULL) == VIX_OK;
}

static bool dialogue_of(struct stream **s, const struct lie *lie)
{
    char line[256];
    char print_line[THUMBPRINT_TEXT_MAX + 8];
    const char *banner = lie->banner != NULL ? lie->banner
                         : lie->tls          ? BANNER_80 "\r\n"
                                             : "220 host, NFCSSL supported, SHA256 supported\r\n";

    while (lie->endless && say(*s, banner)) {
    }
    if (lie->old_tls && atomic_fetch_add(&refused_once, 1) == 0) {
        uint8_t hello[5];
        (void)(say(*s, banner) && stream_read(*s, hello, sizeof hello, NULL) == VIX_OK &&
               stream_write(*s, "\x15\x03\x03\x00\x02\x02\x28", 7, NULL) == VIX_OK);
        return false;
    }
    if (!say(*s, banner) ||
        (lie->tls && tls_server_start(s, lie->other_first ? other_identity : identity, NULL) != VIX_OK)) {
        return false;
    }
    for (;;) {
        if (stream_read_line(*s, line, sizeof line, NULL) != VIX_OK) {
            return false;
        }
        (void)snprintf(print_line, sizeof print_line, "200 %s\r\n",
                       lie->announced != NULL ? lie->announced : sha256_text);
        if (strncmp(line, "PROXY", 5) == 0) {
            break;
        }
        if ((strncmp(line, "BANNER", 6) == 0 && !say(*s, banner)) ||
            (strncmp(line, "THUMB", 5) == 0 && !say(*s, print_line))) {
            return false;
        }
    }
    if (!say(*s, lie->proxy != NULL ? lie->proxy : "200 Connect ha-nfc\r\n") ||
        (lie->tls && tls_abandon(s, NULL) != VIX_OK)) {
        return false;
    }
    return !lie->ssl || tls_server_start(s, lie->other_second ? other_identity : identity, NULL) == VIX_OK;
}

/** One step of the host's, with its lies. false: it is over. */
static bool host_step(struct stream *s, const struct lie *lie, uint8_t *bytes, size_t len, size_t *sent)
{
    if (lie->flip > *sent && lie->flip <= *sent + len) {
        bytes[lie->flip - 1 - *sent] ^= lie->mask;
    }
    bool over = lie->cut > 0 && *sent + len >= lie->cut;
    len = over ? lie->cut - *sent : len;
    *sent += len;
    return stream_write(s, bytes, len, NULL) == VIX_OK && !over;
}

/** Refuses request 4 while it is coming, takes the rest of it, and answers request 5, a read, in the same way. */
static void refuse_early(struct stream *s, uint8_t *bytes)
{
    static const struct step no[2] = {
        {'S', MAGIC "01000000 10000000 04000000  63000000 00000000 00000000 08000000 4e6f207370616365", 0, 0},
        {'S', MAGIC "01000000 10000000 05000000  63000000 00000000 00000000 08000000 4e6f207370616365", 0, 0},
    };
    bool good = stream_read(s, bytes, 60 + 512, NULL) == VIX_OK;

    nap(50);
    good = good && stream_write(s, bytes, step_bytes(&no[0], bytes), NULL) == VIX_OK;
    nap(50);
    for (size_t left = LARGE + LARGE_FRAGMENTS * 60 - 60 - 512; good && left > 0;) {
        size_t n = left < STEP_BYTES_MAX ? left : STEP_BYTES_MAX;
        good = stream_read(s, bytes, n, NULL) == VIX_OK;
        left -= n;
    }
    if (good && stream_read(s, bytes, 60, NULL) == VIX_OK) {
        (void)stream_write(s, bytes, step_bytes(&no[1], bytes), NULL);
        (void)stream_read(s, bytes, 1, NULL); /* until the client goes */
    }
}

static void play(struct stream *s, const struct lie *lie)
{
    const struct step *parts[2] = {classic_80, aio_session};
    uint8_t *bytes = malloc(STEP_BYTES_MAX);
    size_t sent = 0;
    int number = 0;
    bool on = true;

    for (unsigned part = 0; part < 2; part++) {
        for (const struct step *step = parts[part]; on && step->hex != NULL; step++, number++) {
            if (lie->early_no && number == 10 + STEP_OPEN_REPLY + 1) {
                refuse_early(s, bytes);
                break;
            }
            bool replaced = number == lie->at;
            size_t len = step_bytes(replaced ? lie->instead : step, bytes);
            on = step->side == 'C' ? stream_read(s, bytes, len, NULL) == VIX_OK
                                   : host_step(s, lie, bytes, len, &sent) && !replaced;
        }
    }
    while (lie->stall && !atomic_load(&release)) {
        nap(5);
    }
    free(bytes);
}

struct liar {
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    struct lie lie; /* of the next connection */
};

static void set_lie(struct liar *liar, const struct lie *lie)
{
    SCOPED_LOCK(&liar->lock);
    liar->lie = *lie;
}

static struct lie get_lie(struct liar *liar)
{
    SCOPED_LOCK(&liar->lock);
    return liar->lie;
}

/** Serves one connection after the other: some lies make the client come twice. */
static void *run_liar(void *arg)
{
    struct liar *liar = arg;
    int fd;

    while ((fd = accept4(liar->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct stream *s = NULL;
        const struct lie lie = get_lie(liar);
        if (tcp_from_fd(fd, "client", &s, NULL) == VIX_OK) {
            stream_set_deadline(s, 10000);
            if (dialogue_of(&s, &lie)) {
                play(s, &lie);
            }
            stream_close(s);
        }
    }
    return NULL;
}

static void start_liar(struct liar *liar, const struct lie *lie)
{
    (void)pthread_mutex_init(&liar->lock, NULL);
    set_lie(liar, lie);
    atomic_store(&release, false);
    assert_int_equal(tcp_listen("127.0.0.1", 0, &liar->fd, &liar->port, &err), VIX_OK);
    assert_int_equal(pthread_create(&liar->thread, NULL, run_liar, liar), 0);
}

static void stop_liar(struct liar *liar)
{
    atomic_store(&release, true);
    (void)shutdown(liar->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(liar->thread, NULL), 0);
    (void)close(liar->fd);
}

/** How far the client came: the failure of the first call that failed. */
struct outcome {
    VixError open, read, write, meta;
    bool lost; /* of the read */
    uint32_t host_error;
    bool right; /* the data that was read */
    char text[ERR_TEXT_MAX];
};

static struct nfc_connect connect_to_liar(const struct liar *liar)
{
    struct nfc_connect how = connect_params(liar->port, liar->lie.ssl);

    if (!liar->lie.tls) {
        how.thumbprint = NULL;
    }
    how.read_timeout_ms = SHORT_MS;
    how.write_timeout_ms = 1000;
    how.handshake_timeout_ms = 3000;
    return how;
}

static void run_client(struct liar *liar, struct outcome *out)
{
    struct nfc_connect how = connect_to_liar(liar);
    struct nfc_client *c = NULL;
    struct nfc_disk_info info;
    uint8_t *buf = calloc(1, 66048 + 1);
    struct wait w;
    char *text = NULL;

    memset(out, 0, sizeof *out);
    err_init(&err);
    buf[1024] = 0xEE;
    out->open = nfc_client_open(&how, &c, &info, &err);
    if (out->open == VIX_OK) {
        wait_init(&w, false, 512, 1024, buf);
        out->read = nfc_client_submit(c, &w.r, &err);
        if (out->read == VIX_OK) {
            out->read = wait_for(&w);
            out->lost = w.r.connection_lost;
            out->host_error = w.r.host_error;
            err = w.why;
        } else {
            out->lost = true;
        }
        assert_int_equal(buf[1024], 0xEE); /* never beyond the buffer */
        out->right = buf[0] == 0x5a && buf[1023] == 0x5a;
        memcpy(out->text, err.text, sizeof out->text);
        memset(buf, 0xa5, 66048);
        out->write = run_io(c, true, 4096, 66048, buf);
        out->meta = nfc_client_meta_get(c, "adapterType", &text, &err);
        if (out->meta == VIX_OK) {
            free(text);
            VixError code = nfc_client_meta_get(c, "none", &text, &err);
            if (code == VIX_OK) {
                free(text); /* a changed length makes it one */
            }
        }
    } else {
        memcpy(out->text, err.text, sizeof out->text);
        assert_int_equal(err.code, out->open);
    }
    nfc_client_close(c);
    free(buf);
    if (strstr(out->text, SECRET) != NULL) {
        fail_msg("the ticket is told: %s", out->text);
    }
}

static void run_lie(const struct lie *lie, struct outcome *out)
{
    struct liar liar;
    uint64_t begin = now_ms();

    start_liar(&liar, lie);
    run_client(&liar, out);
    stop_liar(&liar);
    assert_true(now_ms() - begin < 9000);
}

static void expect_refused(const struct lie *lie, VixError code, const char *text)
{
    struct outcome out;

    run_lie(lie, &out);
    if (out.open != code || strstr(out.text, text) == NULL) {
        fail_msg("open gives %llu (%s) instead of %llu with \"%s\"", (unsigned long long)out.open, out.text,
                 (unsigned long long)code, text);
    }
}

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

/* ---- lying clients ---- */

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
        cmocka_unit_test(cut_clients),
        cmocka_unit_test(changed_clients),
        cmocka_unit_test(lying_frames),
        cmocka_unit_test(greedy_client),
    };
    return cmocka_run_group_tests(tests, hostile_set_up, hostile_tear_down);
}

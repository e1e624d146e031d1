/* SPDX-License-Identifier: BSD-3-Clause */
/* nfc_liar.h - a host of NFC that plays the session of ESXi 8 with lies in it, and a client of ours that takes what
 * comes. */
#ifndef VIXDISK_TESTS_NFC_LIAR_H
#define VIXDISK_TESTS_NFC_LIAR_H

#include <stdatomic.h>

#include "nfc_script.h"

#define SHORT_MS 150u

static struct tls_identity *other_identity;

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
        how.insecure = true;
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

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The dialogue with the authentication daemon of port 902: banner in clear text, TLS, a few lines within it, and then
 * the connection is the service's: in clear text again, or with a second TLS on the same connection. The first TLS ends
 * without a word, as clients expect. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfc/server_int.h"

#define LINES_MAX 64u /* limit: lines of a client of authd, which needs four */

#define REPLY_LOGIN "530 Please login with USER and PASS\r\n"
#define REPLY_UNKNOWN "500 Unknown command\r\n"

/* What the dialogue has come to. */
struct dialogue {
    char session_id[NFC_LINE_MAX]; /* secret; "": none */
    bool ssl;
    bool over; /* the connection is the service's */
};

static VixError say(struct nfc_session *ss, const char *line, struct err *err)
{
    return stream_write(ss->stream, line, strlen(line), err);
}

static struct nfc_banner banner_of(const struct nfc_session *ss)
{
    bool identity = ss->how->identity != NULL;

    return (struct nfc_banner){
        .ssl = ss->tls,
        .nfcssl = identity && !ss->test.no_nfcssl_word,
        .sha256 = identity && !ss->test.no_sha256_word,
        .extension = !ss->test.no_extension_word,
    };
}

static VixError say_banner(struct nfc_session *ss, struct err *err)
{
    struct nfc_banner banner = banner_of(ss);
    char line[NFC_LINE_MAX];
    size_t len = nfc_banner_put(&banner, line);

    return stream_write(ss->stream, line, len, err);
}

static VixError say_thumbprint(struct nfc_session *ss, bool sha256, const char *tag, struct err *err)
{
    struct thumbprint print;
    char text[THUMBPRINT_TEXT_MAX];
    char line[THUMBPRINT_TEXT_MAX + 8];

    if (ss->how->identity == NULL || (sha256 && ss->test.no_sha256_word)) {
        return say(ss, REPLY_LOGIN, err);
    }
    if (!nfc_tag_is_valid(tag)) {
        return say(ss, "501 Invalid arguments\r\n", err);
    }
    (void)snprintf(ss->tag, sizeof ss->tag, "%s", tag);
    tls_identity_thumbprint(ss->how->identity, &print);
    if (sha256) {
        thumbprint_format(print.sha256, THUMBPRINT_SHA256_LEN, text);
    } else {
        thumbprint_format(print.sha1, THUMBPRINT_SHA1_LEN, text);
    }
    (void)snprintf(line, sizeof line, "200 %s\r\n", text);
    return say(ss, line, err);
}

/** The ticket may be good: the client is to come back. */
static VixError no_room(struct nfc_session *ss, const struct err *why, struct err *err)
{
    struct err ignored;

    err_init(&ignored);
    (void)say(ss, "421 No memory for another connection\r\n", &ignored);
    return err_set(err, VIX_E_OUT_OF_MEMORY, "%s: the ticket is not served: %s", ss->stream->peer, why->text);
}

static VixError refuse_ticket(struct nfc_session *ss, const struct err *why, struct err *err)
{
    struct err ignored;

    err_init(&ignored);
    (void)say(ss, REPLY_LOGIN, &ignored);
    return err_set(err, VIX_E_HOST_USER_PERMISSIONS, "%s: the ticket is refused: %s", ss->stream->peer, why->text);
}

static VixError proxy(struct nfc_session *ss, struct dialogue *d, const char *word, struct err *err)
{
    const char *service;
    struct err why;
    VixError code;

    if (!nfc_service_get(word, &service, &d->ssl) ||
        (d->ssl && (ss->how->identity == NULL || ss->test.no_nfcssl_word))) {
        return say(ss, "500 Unknown service\r\n", err);
    }
    err_init(&why);
    if (d->session_id[0] == '\0') {
        (void)err_set(&why, VIX_E_HOST_USER_PERMISSIONS, "PROXY came without SESSION");
        return refuse_ticket(ss, &why, err);
    }
    code = ss->how->ops->take_ticket(ss->how->host, d->session_id, service, ss->stream->peer, &ss->grant, &why);
    if (code == VIX_E_OUT_OF_MEMORY) {
        return no_room(ss, &why, err);
    }
    if (code != VIX_OK) {
        return refuse_ticket(ss, &why, err);
    }
    d->over = true;
    return say(ss, d->ssl ? "200 Connect ha-nfcssl\r\n" : "200 Connect ha-nfc\r\n", err);
}

/* One line of the client's, answered. */
static VixError command(struct nfc_session *ss, struct dialogue *d, char *line, struct err *err)
{
    char *arg;

    switch (nfc_command_get(line, &arg)) {
    case NFC_COMMAND_SESSION: /* no answer */
        (void)snprintf(d->session_id, sizeof d->session_id, "%s", arg);
        return VIX_OK;
    case NFC_COMMAND_BANNER:
        return say_banner(ss, err);
    case NFC_COMMAND_THUMBPRINT:
        return say_thumbprint(ss, false, arg, err);
    case NFC_COMMAND_THUMBPRINT_SHA2:
        return say_thumbprint(ss, true, arg, err);
    case NFC_COMMAND_PROXY:
        return proxy(ss, d, arg, err);
    case NFC_COMMAND_QUIT:
        (void)say(ss, "221 Goodbye\r\n", err);
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: the client left before it asked for a service",
                       ss->stream->peer);
    case NFC_COMMAND_UNKNOWN:
        break;
    }
    return say(ss, d->session_id[0] == '\0' ? REPLY_LOGIN : REPLY_UNKNOWN, err);
}

static VixError converse(struct nfc_session *ss, struct dialogue *d, struct err *err)
{
    char line[NFC_LINE_MAX];
    VixError code = VIX_OK;

    for (unsigned n = 0; code == VIX_OK && !d->over; n++) {
        if (n == LINES_MAX) {
            return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: more than %u lines without asking for a service",
                           ss->stream->peer, LINES_MAX);
        }
        code = stream_read_line(ss->stream, line, sizeof line, err);
        if (code == VIX_OK) {
            code = command(ss, d, line, err);
        }
        explicit_bzero(line, sizeof line);
    }
    return code;
}

VixError nfc_server_authd(struct nfc_session *ss, struct err *err)
{
    struct dialogue d = {.ssl = false};
    VixError code = say_banner(ss, err);

    if (code == VIX_OK && ss->tls) {
        code = tls_server_start(&ss->stream, ss->how->identity, err);
    }
    if (code == VIX_OK) {
        code = converse(ss, &d, err);
    }
    explicit_bzero(d.session_id, sizeof d.session_id);
    if (code == VIX_OK && ss->tls) {
        code = tls_abandon(&ss->stream, err);
    }
    if (code == VIX_OK && d.ssl) {
        code = tls_server_start(&ss->stream, ss->how->identity, err);
    }
    return code;
}

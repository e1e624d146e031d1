/* SPDX-License-Identifier: BSD-3-Clause */
/* From a host's name to the connection for the data: TCP, banner, TLS, the lines that give the ticket, and for nbdssl a
 * second TLS. On the thread that opens. The ticket's session id is a secret: it is in one buffer here, which is wiped,
 * and in no message. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "net/tcp.h"
#include "nfc/client_int.h"

#define SESSION_WORD "SESSION "
#define BANNER_WORD "BANNER \r\n" /* the blank belongs to it */
#define REPLY_LINES_MAX 16u       /* limit: lines of a reply of a host's authd */
#define REPLY_NO_ROOM 421u        /* too many connections, or no memory for one more */
#define UNNAMED "the ticket does not tell the host's certificate (old hosts)"

/* ---- lines ---- */

static VixError say(struct nfc_client *c, const char *line, struct err *err)
{
    return stream_write(c->stream, line, strlen(line), err);
}

/** The last line of a reply; lines before it have a hyphen behind their number. */
static VixError read_reply(struct nfc_client *c, char line[NFC_LINE_MAX], struct err *err)
{
    const char *text;

    for (unsigned n = 0; n < REPLY_LINES_MAX; n++) {
        VixError code = stream_read_line(c->stream, line, NFC_LINE_MAX, err);
        if (code != VIX_OK) {
            return code;
        }
        if (nfc_reply_get(line, &text) == 0 || line[3] != '-') {
            return VIX_OK;
        }
    }
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: a reply of more than %u lines: not a host of NFC",
                   c->stream->peer, REPLY_LINES_MAX);
}

static VixError no_room(const struct nfc_client *c, struct err *err)
{
    return err_set_retry(err, ERR_RETRY_HELPS,
                         err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                                 "%s: the host has no more room for connections (reply %u): try later, or end others",
                                 c->stream->peer, REPLY_NO_ROOM));
}

static VixError read_banner(struct nfc_client *c, struct nfc_banner *ret_banner, struct err *err)
{
    char line[NFC_LINE_MAX];
    const char *text;
    VixError code = read_reply(c, line, err);

    if (code == VIX_OK && nfc_reply_get(line, &text) == REPLY_NO_ROOM) {
        return no_room(c, err);
    }
    if (code == VIX_OK && !nfc_banner_get(line, ret_banner)) {
        char quoted[NFC_QUOTE_MAX];
        nfc_quote(line, sizeof line, quoted);
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: no host of NFC: its first line begins with \"%.40s\" instead of 220; check the port",
                       c->stream->peer, quoted);
    }
    return code;
}

/* ---- the connection ---- */

static const char *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static struct tls_policy policy_of(const struct nfc_connect *how)
{
    struct tls_policy policy = {.thumbprint = text_or_null(how->thumbprint),
                                .certificate = text_or_null(how->certificate),
                                .ca_file = how->ca_file,
                                .name = how->host};

    policy.insecure = policy.thumbprint == NULL && policy.certificate == NULL && how->insecure;
    return policy;
}

/** Behind the sentence of a TLS that has failed: what to set, where nothing names the host's certificate. */
static void advise(const struct tls_policy *policy, struct err *err)
{
    CLEANUP_FREE char *why = NULL;

    if (err == NULL || err->code != VIX_E_HOST_NETBLKDEV_HANDSHAKE || policy->thumbprint != NULL ||
        policy->certificate != NULL || policy->insecure || (why = alloc_text(err->text, NULL)) == NULL) {
        return;
    }
    (void)err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                  "%s; " UNNAMED ": set vixdisk.caFile to the roots of the host, or "
                  "vixDiskLib.linuxSSL.verifyCertificates=0",
                  why);
}

/** What the ticket needs and the banner does not offer. */
static VixError check_banner(const struct nfc_client *c, const struct nfc_connect *how, bool own_only, struct err *err)
{
    const struct tls_policy policy = policy_of(how);

    if (own_only && !c->banner.extension) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: hosts of VMware cannot create disks over NFC", c->stream->peer);
    }
    if (how->ssl && !c->banner.nfcssl) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: the host does not offer nbdssl; use transport nbd",
                       c->stream->peer);
    }
    if (!c->banner.ssl && !policy.insecure) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: the host asks for the ticket in clear text, so its certificate cannot be checked: the "
                       "ticket is not given%s",
                       c->stream->peer,
                       policy.thumbprint == NULL && policy.certificate == NULL
                           ? "; " UNNAMED ": vixDiskLib.linuxSSL.verifyCertificates=0 allows it"
                           : "");
    }
    return VIX_OK;
}

/** TCP, banner, and TLS 1 if the host has it. *ret_tls_failed: it was TLS that failed. */
static VixError connect_once(struct nfc_client *c, const struct nfc_connect *how, bool own_only, bool legacy,
                             bool *ret_tls_failed, struct err *err)
{
    const struct tls_policy policy = policy_of(how);
    VixError code = tcp_connect(how->host, how->port, how->connect_timeout_ms, &c->stream, err);

    *ret_tls_failed = false;
    if (code != VIX_OK) {
        c->stream = NULL;
        return code;
    }
    c->tcp = c->stream;
    c->stream->read_timeout_ms = how->read_timeout_ms;
    c->stream->write_timeout_ms = how->write_timeout_ms;
    stream_set_deadline(c->stream, how->handshake_timeout_ms);
    code = read_banner(c, &c->banner, err);
    if (code == VIX_OK) {
        code = check_banner(c, how, own_only, err);
    }
    if (code == VIX_OK && c->banner.ssl) {
        code = tls_client_start(&c->stream, &policy, legacy, err);
        *ret_tls_failed = code != VIX_OK;
        if (code != VIX_OK) {
            advise(&policy, err);
        }
    }
    return code;
}

/** Hosts of 6.x speak TLS that today's rules refuse: then once more by older ones. The ticket has not been given yet.
 */
static VixError connect_host(struct nfc_client *c, const struct nfc_connect *how, bool own_only, bool *ret_legacy,
                             struct err *err)
{
    bool tls_failed = false;
    bool again = false;
    struct err second;
    VixError code = connect_once(c, how, own_only, false, &tls_failed, err);

    *ret_legacy = false;
    if (!tls_failed || (err != NULL && err->sys_errno == ETIMEDOUT)) {
        return code;
    }
    stream_close(c->stream);
    c->stream = NULL;
    err_init(&second);
    *ret_legacy = true;
    return connect_once(c, how, own_only, true, &again, &second) == VIX_OK ? VIX_OK : code;
}

/* ---- the dialogue ---- */

static VixError give_ticket(struct nfc_client *c, const char *session_id, struct err *err)
{
    char line[NFC_LINE_MAX];
    int len = snprintf(line, sizeof line, "%s%s\r\n", SESSION_WORD, session_id != NULL ? session_id : "");
    VixError code = VIX_E_INVALID_ARG;

    if (session_id == NULL || session_id[0] == '\0' || session_id[strcspn(session_id, " \r\n")] != '\0' ||
        len >= (int)sizeof line) {
        (void)err_set(err, code, "%s: the ticket's session id is empty, has more than %zu bytes, or a blank in it",
                      c->stream->peer, sizeof line - sizeof SESSION_WORD - 2);
    } else {
        code = say(c, line, err); /* has no reply */
    }
    explicit_bzero(line, sizeof line);
    return code;
}

/** The host names its certificate once more: it must be the one that TLS showed. */
static VixError agree_on_tag(struct nfc_client *c, const struct thumbprint *shown, struct err *err)
{
    char line[NFC_LINE_MAX];
    const char *text = NULL;
    VixError code = say(c, "THUMBPRINT_SHA2 " NFC_TAG_PLAIN "\r\n", err);

    if (code == VIX_OK) {
        code = read_reply(c, line, err);
    }
    if (code != VIX_OK || nfc_reply_get(line, &text) != 200) {
        return code;
    }
    c->tagged = true;
    if (shown != NULL && (thumbprint_digest_len(text) != THUMBPRINT_SHA256_LEN || !thumbprint_matches(text, shown))) {
        char found[THUMBPRINT_TEXT_MAX];
        char told[NFC_QUOTE_MAX];
        thumbprint_format(shown->sha256, THUMBPRINT_SHA256_LEN, found);
        nfc_quote(text, strlen(text), told);
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: wrong certificate: its SHA-256 thumbprint is %s, the host tells %.100s", c->stream->peer,
                       found, told);
    }
    return VIX_OK;
}

static VixError ask_service(struct nfc_client *c, const struct nfc_connect *how, struct err *err)
{
    char service[NFC_SERVICE_MAX];
    char line[NFC_LINE_MAX];
    const char *text = "";

    if (how->service == NULL || !nfc_service_put(how->service, how->ssl, service)) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the ticket's service is not a name", c->stream->peer);
    }
    (void)snprintf(line, sizeof line, "PROXY %s\r\n", service);
    VixError code = say(c, line, err);
    if (code == VIX_OK) {
        code = read_reply(c, line, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    unsigned number = nfc_reply_get(line, &text);
    if (number == 200) {
        return VIX_OK;
    }
    if (number == REPLY_NO_ROOM) {
        return no_room(c, err);
    }
    /* what the host says beyond the number is not repeated: the ticket may be in it */
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: the host does not connect to %s: reply %u%s",
                   c->stream->peer, service, number,
                   number == 530 ? ": the ticket is refused: used, too old, or of another host" : "");
}

static VixError dialogue(struct nfc_client *c, const struct nfc_connect *how, const struct thumbprint *shown,
                         struct err *err)
{
    struct nfc_banner again;
    VixError code = give_ticket(c, how->session_id, err);

    if (code == VIX_OK) {
        code = say(c, BANNER_WORD, err);
    }
    if (code == VIX_OK) {
        code = read_banner(c, &again, err);
    }
    if (code == VIX_OK && c->banner.sha256) {
        code = agree_on_tag(c, shown, err);
    }
    return code == VIX_OK ? ask_service(c, how, err) : code;
}

VixError nfc_client_authd(struct nfc_client *c, const struct nfc_connect *how, bool own_only, struct err *err)
{
    struct tls_policy policy = policy_of(how);
    char sha256[THUMBPRINT_TEXT_MAX];
    struct thumbprint shown;
    bool legacy = false;
    VixError code = connect_host(c, how, own_only, &legacy, err);

    if (code == VIX_OK && c->banner.ssl) {
        tls_peer_thumbprint(c->stream, &shown);
        thumbprint_format(shown.sha256, THUMBPRINT_SHA256_LEN, sha256);
        policy = (struct tls_policy){.thumbprint = sha256}; /* of the second TLS */
    }
    if (code == VIX_OK) {
        code = dialogue(c, how, c->banner.ssl ? &shown : NULL, err);
    }
    if (code == VIX_OK && c->banner.ssl) {
        code = tls_abandon(&c->stream, err);
    }
    if (code == VIX_OK && how->ssl) {
        code = tls_client_start(&c->stream, &policy, legacy, err);
    }
    return code;
}

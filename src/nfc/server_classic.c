/* SPDX-License-Identifier: BSD-3-Clause */
/* The messages of 264 bytes between authd and AIO. A client may send several before it reads an answer. Of the classic
 * ways to a disk (FSSRVR, whole files) none is offered: they are answered with an ERROR. */
#include <stdio.h>
#include <string.h>

#include "nfc/server_int.h"

#define MESSAGES_MAX 32u      /* limit: messages before a client opens its session */
#define TEXT_MAX 4096u        /* limit: bytes of a name that follows CONNECTION_DATA */
#define FAREWELL_TIMEOUT 5000 /* limit: ms for a client to end */

static VixError send_frame(struct nfc_session *ss, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    return nfc_send(ss, frame, NFC_CLASSIC_LEN, NULL, 0, err);
}

static VixError refuse(struct nfc_session *ss, uint32_t type, const char *text, struct err *err)
{
    struct nfc_classic_error error = {.code = NFC_ERROR_UNSUPPORTED, .text_len = (uint32_t)strlen(text) + 1};
    uint8_t frame[NFC_CLASSIC_LEN];

    nfc_classic_put_error(&error, frame);
    (void)nfc_send(ss, frame, sizeof frame, text, error.text_len, err);
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: message of type %u: %s", ss->stream->peer, type, text);
}

/* A host ends the session at once when the tag is wrong. */
static VixError check_tag(struct nfc_session *ss, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    char tag[NFC_TAG_MAX + 1];
    uint8_t answer[NFC_CLASSIC_LEN];

    nfc_classic_get_tag(frame, tag);
    if (ss->tag[0] != '\0' && strcmp(tag, ss->tag) == 0) {
        return VIX_OK;
    }
    nfc_classic_put(NFC_CLASSIC_SESSION_COMPLETE, answer);
    (void)send_frame(ss, answer, err);
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: %s", ss->stream->peer,
                   ss->tag[0] == '\0' ? "a session tag came, but none was agreed upon"
                                      : "the session tag is not the one that was agreed upon");
}

static VixError answer_question(struct nfc_session *ss, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    uint8_t answer[NFC_CLASSIC_LEN];

    if (nfc_classic_get_list_len(frame) != 0) {
        return refuse(ss, NFC_CLASSIC_FILE_COPY, "operations on files are not supported here", err);
    }
    nfc_classic_put_status(!ss->test.no_version, answer);
    return send_frame(ss, answer, err);
}

static VixError answer_version(struct nfc_session *ss, struct err *err)
{
    uint8_t answer[NFC_CLASSIC_LEN];

    if (ss->test.no_version) {
        return refuse(ss, NFC_CLASSIC_VERSION, "unknown message", err);
    }
    nfc_classic_put_version(ss->test.version != 0 ? ss->test.version : NFC_VERSION_SERVER, answer);
    return send_frame(ss, answer, err);
}

static VixError drop_names(struct nfc_session *ss, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    uint32_t name_len;
    uint32_t operation_len;

    nfc_classic_get_connection(frame, &name_len, &operation_len);
    if (name_len > TEXT_MAX || operation_len > TEXT_MAX) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: names of %u and %u bytes; at most %u are allowed",
                       ss->stream->peer, name_len, operation_len, TEXT_MAX);
    }
    return nfc_input_drop(&ss->in, (uint64_t)name_len + operation_len, err);
}

static VixError open_aio(struct nfc_session *ss, struct err *err)
{
    uint8_t answer[NFC_CLASSIC_LEN];

    nfc_classic_put(NFC_CLASSIC_AIO_OPEN, answer);
    return send_frame(ss, answer, err);
}

static VixError message(struct nfc_session *ss, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    uint32_t type = nfc_classic_type(frame);

    switch (type) {
    case NFC_CLASSIC_CLIENT_TAG:
        return check_tag(ss, frame, err);
    case NFC_CLASSIC_FILE_COPY:
        return answer_question(ss, frame, err);
    case NFC_CLASSIC_VERSION:
        return answer_version(ss, err);
    case NFC_CLASSIC_CONNECTION_DATA:
        return drop_names(ss, frame, err);
    case NFC_CLASSIC_FEATURES:
        return VIX_OK; /* told to us; nothing hangs on it */
    case NFC_CLASSIC_AIO_OPEN:
        return open_aio(ss, err);
    case NFC_CLASSIC_FSSRVR_OPEN:
        return refuse(ss, type, "disks are served by AIO only", err);
    default:
        return refuse(ss, type, "unknown message", err);
    }
}

VixError nfc_server_classic(struct nfc_session *ss, bool *ret_ended, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];

    for (unsigned n = 0; n < MESSAGES_MAX; n++) {
        VixError code = nfc_input_read(&ss->in, frame, sizeof frame, err);
        if (code == VIX_OK && nfc_classic_type(frame) == NFC_CLASSIC_SESSION_COMPLETE) {
            *ret_ended = true;
            return VIX_OK;
        }
        if (code == VIX_OK) {
            code = message(ss, frame, err);
        }
        if (code != VIX_OK) {
            return code;
        }
        if (nfc_classic_type(frame) == NFC_CLASSIC_AIO_OPEN) {
            *ret_ended = false;
            return VIX_OK;
        }
    }
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: more than %u messages without opening a session",
                   ss->stream->peer, MESSAGES_MAX);
}

VixError nfc_server_farewell(struct nfc_session *ss, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];
    struct err ignored;
    bool ended = false;

    err_init(&ignored);
    stream_set_deadline(ss->stream, FAREWELL_TIMEOUT);
    /* some clients just go: after CLOSE_SESSION that is in order too */
    if (nfc_input_start(&ss->in, frame, sizeof frame, &ended, &ignored) != VIX_OK || ended) {
        return VIX_OK;
    }
    if (nfc_classic_type(frame) != NFC_CLASSIC_SESSION_COMPLETE) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: message of type %u after the end of the session",
                       ss->stream->peer, nfc_classic_type(frame));
    }
    return VIX_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The messages of 264 bytes up to AIO, as far as the versions of hosts differ. Each is written on its own: within TLS
 * some hosts take one from a record and leave the rest lying. On the thread that opens. */
#include <string.h>

#include "nfc/client_int.h"

#define STATUS_TEXT_MAX 65536u /* limit: bytes of a text in an answer of NFC */

static VixError send_frame(struct nfc_client *c, const uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    return stream_write(c->stream, frame, NFC_CLASSIC_LEN, err);
}

static VixError send_type(struct nfc_client *c, uint32_t type, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];

    nfc_classic_put(type, frame);
    return send_frame(c, frame, err);
}

static VixError too_old(const struct nfc_client *c, const char *why, struct err *err)
{
    return err_set(err, VIX_E_NOT_SUPPORTED,
                   "%s: %s: hosts of ESXi 6.0 and older are not supported over NFC; use ESXi 6.5 or newer",
                   c->stream->peer, why);
}

/** ERROR in the place of an answer. */
static VixError refused(struct nfc_client *c, const uint8_t frame[NFC_CLASSIC_LEN], uint32_t wanted, struct err *err)
{
    struct nfc_classic_error error;
    char text[NFC_QUOTE_MAX];
    char raw[NFC_QUOTE_MAX] = "";

    nfc_classic_get_error(frame, &error);
    uint32_t len = error.text_len < sizeof raw ? error.text_len : sizeof raw - 1;
    if (nfc_input_read(&c->in, raw, len, err) != VIX_OK) {
        raw[0] = '\0';
    }
    nfc_quote(raw, len, text);
    if (wanted == NFC_CLASSIC_AIO_OPEN) {
        (void)too_old(c, "the host offers only the synchronous kind of I/O", err);
        return VIX_E_NOT_SUPPORTED;
    }
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: the host refuses the session: %s (NFC error %u)",
                   c->stream->peer, text[0] != '\0' ? text : "no reason given", error.code);
}

/** The next message, which must be of that type. */
static VixError receive(struct nfc_client *c, uint32_t wanted, uint8_t frame[NFC_CLASSIC_LEN], struct err *err)
{
    VixError code = nfc_input_read(&c->in, frame, NFC_CLASSIC_LEN, err);

    if (code != VIX_OK) {
        return code;
    }
    uint32_t type = nfc_classic_type(frame);
    if (type == wanted) {
        return VIX_OK;
    }
    if (type == NFC_CLASSIC_ERROR) {
        return refused(c, frame, wanted, err);
    }
    if (type == NFC_CLASSIC_SESSION_COMPLETE && wanted == NFC_CLASSIC_AIO_OPEN) {
        return too_old(c, "the host ends the session instead of opening one of asynchronous I/O", err);
    }
    if (type == NFC_CLASSIC_SESSION_COMPLETE) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: the host ends the session before a message of type %u; its log tells why", c->stream->peer,
                       wanted);
    }
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                   "%s: a message of type %u came instead of type %u: not a host that speaks NFC", c->stream->peer,
                   type, wanted);
}

/** 33 and its answer 36; 51 may have been sent between. */
static VixError take_status(struct nfc_client *c, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];
    struct nfc_classic_status status;
    VixError code = receive(c, NFC_CLASSIC_FILEOP_STATUS, frame, err);

    if (code != VIX_OK) {
        return code;
    }
    nfc_classic_get_status(frame, &status);
    if (status.error_len > STATUS_TEXT_MAX || status.data_len > STATUS_TEXT_MAX) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: an answer with %u and %u bytes of text; at most %u are allowed", c->stream->peer,
                       status.error_len, status.data_len, STATUS_TEXT_MAX);
    }
    code = nfc_input_drop(&c->in, (uint64_t)status.error_len + status.data_len, err);
    if (code == VIX_OK && !status.speaks_version) {
        return too_old(c, "the host does not know message VERSION", err);
    }
    return code;
}

static VixError send_version(struct nfc_client *c, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];

    nfc_classic_put_version(NFC_VERSION_CLIENT, frame);
    return send_frame(c, frame, err);
}

/** Hosts that show the newer banner were seen to answer 33 only after 51 had come; older ones must not get 51 before
 * they have said that they know it. */
static VixError agree_on_version(struct nfc_client *c, struct err *err)
{
    const bool at_once = c->banner.sha256;
    uint8_t frame[NFC_CLASSIC_LEN];
    VixError code = send_type(c, NFC_CLASSIC_FILE_COPY, err);

    if (code == VIX_OK && at_once) {
        code = send_version(c, err);
    }
    if (code == VIX_OK) {
        code = take_status(c, err);
    }
    if (code == VIX_OK && !at_once) {
        code = send_version(c, err);
    }
    if (code == VIX_OK) {
        code = receive(c, NFC_CLASSIC_VERSION, frame, err);
    }
    if (code == VIX_OK) {
        c->version = nfc_classic_get_version(frame);
    }
    return code;
}

static VixError tell_names(struct nfc_client *c, struct err *err)
{
    uint8_t bytes[NFC_CLASSIC_LEN + sizeof NFC_CONNECTION_NAME NFC_CONNECTION_OPERATION - 1];
    const size_t name_len = strlen(NFC_CONNECTION_NAME);
    const size_t operation_len = strlen(NFC_CONNECTION_OPERATION);

    nfc_classic_put_connection((uint32_t)name_len, (uint32_t)operation_len, bytes);
    memcpy(bytes + NFC_CLASSIC_LEN, NFC_CONNECTION_NAME NFC_CONNECTION_OPERATION, name_len + operation_len);
    return stream_write(c->stream, bytes, sizeof bytes, err);
}

static VixError tell_features(struct nfc_client *c, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];

    nfc_classic_put_features(NFC_FEATURES_CLIENT, frame);
    return send_frame(c, frame, err);
}

VixError nfc_client_classic(struct nfc_client *c, struct err *err)
{
    uint8_t frame[NFC_CLASSIC_LEN];
    VixError code = VIX_OK;

    if (c->tagged) {
        nfc_classic_put_tag(NFC_TAG_PLAIN, frame);
        code = send_frame(c, frame, err);
    }
    if (code == VIX_OK) {
        code = agree_on_version(c, err);
    }
    if (code == VIX_OK && c->version >= NFC_VERSION_CONNECTION_DATA) {
        code = tell_names(c, err);
        if (code == VIX_OK) {
            code = tell_features(c, err);
        }
    }
    if (code == VIX_OK) {
        code = send_type(c, NFC_CLASSIC_AIO_OPEN, err);
    }
    return code == VIX_OK ? receive(c, NFC_CLASSIC_AIO_OPEN, frame, err) : code;
}

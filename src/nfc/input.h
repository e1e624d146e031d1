/* SPDX-License-Identifier: BSD-3-Clause */
/* input.h - the reading side of a connection, of both ends: small messages come out of a buffer that one call fills
 * with many of them, large data goes straight to where it is wanted. One thread at a time. */
#ifndef VIXDISK_NFC_INPUT_H
#define VIXDISK_NFC_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/stream.h"

struct nfc_input {
    struct stream *stream;
    struct stream *tcp; /* the bottom of it, if that is a TCP connection, else NULL */
    uint8_t *staging;
    size_t size; /* of staging */
    size_t pos;
    size_t end;
};

/** @size bytes at most are read ahead. */
VixError nfc_input_init(struct nfc_input *in, struct stream *stream, struct stream *tcp, size_t size, struct err *err);
void nfc_input_free(struct nfc_input *in);
/** Exactly len bytes. */
VixError nfc_input_read(struct nfc_input *in, void *buf, size_t len, struct err *err);
/** As nfc_input_read, but the peer may have ended before the first byte: *ret_ended. */
VixError nfc_input_start(struct nfc_input *in, void *buf, size_t len, bool *ret_ended, struct err *err);
/** Waits until there is something to be read: *ret_ended false. After a failure that is a time-out (sys_errno
 * ETIMEDOUT) one can go on waiting. */
VixError nfc_input_wait(struct nfc_input *in, bool *ret_ended, struct err *err);
VixError nfc_input_drop(struct nfc_input *in, uint64_t len, struct err *err);
/** What has been read ahead. */
size_t nfc_input_staged(const struct nfc_input *in, const uint8_t **ret_bytes);
/** Whether something has arrived already. */
bool nfc_input_waiting(const struct nfc_input *in);

#endif

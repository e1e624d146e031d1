/* SPDX-License-Identifier: BSD-3-Clause */
/* nfc.h - what both ends of NFC, the protocol of ESXi's port 902, share: limits and names. */
#ifndef VIXDISK_NFC_NFC_H
#define VIXDISK_NFC_NFC_H

#include <stdint.h>

#define NFC_PORT 902
#define NFC_EXTENSION_WORD "OVDX1 supported" /* in the banner of a host that knows our extension messages */

/** Compression of the bytes of a fragment, as numbered on the wire. */
enum nfc_compression {
    NFC_COMPRESS_NONE = 0,
    NFC_COMPRESS_ZLIB = 1,
    NFC_COMPRESS_FASTLZ = 2,
    NFC_COMPRESS_SKIPZ = 3,
};

/** Error numbers of AIO messages. */
enum nfc_error_code {
    NFC_ERROR_OTHER = 1, /* the text tells */
    NFC_ERROR_BAD_PARAMETER = 2,
    NFC_ERROR_NO_MEMORY = 5,
    NFC_ERROR_UNSUPPORTED = 7,
    NFC_ERROR_PERMISSION = 11,
};

#define NFC_OPEN_READ_ONLY 0x04u
#define NFC_OPEN_CHAIN 0x02u /* with the parents */
#define NFC_OPEN_LOCK 0x08u
#define NFC_OPEN_ALWAYS 0x10u /* meaning unknown; VDDK 8 sets it */

#define NFC_PATH_MAX 4096u          /* limit: bytes of a path in NFC */
#define NFC_KEY_MAX 1024u           /* limit: bytes of a key of metadata in NFC */
#define NFC_VALUE_MAX 65536u        /* limit: bytes of a value of metadata in NFC */
#define NFC_TEXT_MAX 65536u         /* limit: bytes of the text of an error in NFC */
#define NFC_REQUEST_MAX (64u << 20) /* limit: bytes that a host takes in one request */
#define NFC_BUFFER_MAX (2u << 20)   /* limit: bytes of a fragment */
#define NFC_BUFFER_DEFAULT (64u << 10)

#endif

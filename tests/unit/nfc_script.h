/* SPDX-License-Identifier: BSD-3-Clause */
/* nfc_script.h - sessions of NFC byte for byte, as VMware's library and hosts exchange them: written out from the
 * description of the protocol, not made by our own functions. One text serves both ends: the bytes of the other end are
 * played, those of ours are compared. */
#ifndef VIXDISK_TESTS_NFC_SCRIPT_H
#define VIXDISK_TESTS_NFC_SCRIPT_H

#include "nfc_util.h"

/** Bytes of one side: what the digits say, then fill bytes up to len (0: none). */
struct step {
    char side; /* 'C' client, 'S' server */
    const char *hex;
    size_t len;
    uint8_t fill;
};

/** The beginning of a connection, and the steps that follow it. */
struct script {
    const char *banner;
    bool sha256;
    const struct step *classic; /* up to a NULL in hex, as the others */
    const struct step *aio;
};

#define BANNER_70                                                                                                      \
    "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC "  \
    ", VMXARGS supported, NFCSSL supported/t"
#define BANNER_80 BANNER_70 ", SHA256 supported"

#define STEP_END                                                                                                       \
    {                                                                                                                  \
        0, NULL, 0, 0                                                                                                  \
    }
#define CLASSIC 264

/* What is sent is read off with the numbers of the description: 43, 33, 36, 51, 54, 55, 52. */
#define SAY_TAG                                                                                                        \
    {                                                                                                                  \
        'C', "2b000000 506c61696e54657874", CLASSIC, 0                                                                 \
    }
#define SAY_LIST                                                                                                       \
    {                                                                                                                  \
        'C', "21000000", CLASSIC, 0                                                                                    \
    }
#define SAY_STATUS                                                                                                     \
    {                                                                                                                  \
        'S', "24000000 00000000 00000000 0000 0000 01000000", CLASSIC, 0                                               \
    }
#define SAY_VERSION                                                                                                    \
    {                                                                                                                  \
        'C', "33000000 0b000000", CLASSIC, 0                                                                           \
    }
#define SAY_NAMES                                                                                                      \
    {'C', "36000000 04000000 07000000", CLASSIC, 0},                                                                   \
    {                                                                                                                  \
        'C', "7664646b 6e62646d6f6465", 0, 0                                                                           \
    }
#define SAY_FEATURES                                                                                                   \
    {                                                                                                                  \
        'C', "37000000 03000000", CLASSIC, 0                                                                           \
    }
#define SAY_AIO                                                                                                        \
    {'C', "34000000", CLASSIC, 0},                                                                                     \
    {                                                                                                                  \
        'S', "34000000", CLASSIC, 0                                                                                    \
    }

static const struct step classic_65[] = {
    SAY_LIST, SAY_STATUS, SAY_VERSION, {'S', "33000000 00000000", CLASSIC, 0}, SAY_AIO, STEP_END,
};
static const struct step classic_67[] = {
    SAY_LIST, SAY_STATUS, SAY_VERSION, {'S', "33000000 02000000", CLASSIC, 0}, SAY_AIO, STEP_END,
};
static const struct step classic_70[] = {
    SAY_LIST,  SAY_STATUS,   SAY_VERSION, {'S', "33000000 07000000", CLASSIC, 0},
    SAY_NAMES, SAY_FEATURES, SAY_AIO,     STEP_END,
};
static const struct step classic_703[] = {
    SAY_TAG,   SAY_LIST,     SAY_VERSION, SAY_STATUS, {'S', "33000000 09000000", CLASSIC, 0},
    SAY_NAMES, SAY_FEATURES, SAY_AIO,     STEP_END,
};
static const struct step classic_80[] = {
    SAY_TAG,   SAY_LIST,     SAY_VERSION, SAY_STATUS, {'S', "33000000 0b000000", CLASSIC, 0},
    SAY_NAMES, SAY_FEATURES, SAY_AIO,     STEP_END,
};

/* The session of frames; a disk of 16 MiB, C/H/S 2/255/63. */
#define MAGIC "7ada00a1"
#define HANDLE "00000080ffffffff"
static const struct step aio_session[] = {
    /* 0: OPEN_SESSION, SET_SOCK_OPTS, SET_RES_POOL */
    {'C', MAGIC "02000000 10000000 00000000  00000000 00000000 00000000 00000000", 0, 0},
    {'S', MAGIC "02000000 10000000 00000000", 32, 0},
    {'C', MAGIC "09000000 0c000000 01000000  00000000 00000000 00000000", 0, 0},
    {'S', MAGIC "09000000 0c000000 01000000  f88e1900 f88e1900 01000000", 0, 0},
    {'C', MAGIC "16000000 04000000 02000000  01000000", 0, 0},
    {'S', MAGIC "16000000 04000000 02000000  01000000", 0, 0},
    /* 6: OPEN_FILE [ds] vm/x.vmdk */
    {'C', MAGIC "04000000 3c000000 03000000  0e000000 00000000 00000000 00000000 02000000 1a000000", 76, 0},
    {'C', "5b64735d 20766d2f 782e766d 646b", 0, 0},
    {'S',
     MAGIC "04000000 3c000000 03000000  0000000000000000 " HANDLE " 02000000 1a000000 00000000 0000000100000000"
           "00020000 02000000 ff000000 3f000000 0000000000000000",
     0, 0},
    /* 9: IO, read of 1024 bytes at 512 */
    {'C',
     MAGIC "07000000 2c000000 04000000  " HANDLE " 01000000 00000000 0002000000000000 00040000 00000000 00040000"
           "00040000 00000000",
     0, 0},
    {'S',
     MAGIC "07000000 2c000000 04000000  0000000000000000 01000000 00000000 0002000000000000 00040000 00000000"
           "00040000 00040000 00000000",
     60 + 1024, 0x5a},
    /* 11: IO, write of 66048 bytes at 4096, in two fragments */
    {'C',
     MAGIC "07000000 2c000000 05000000  " HANDLE " 00000000 00000000 0010000000000000 00020100 00000000 00000100"
           "00000100 00000000",
     60 + 65536, 0xa5},
    {'C',
     MAGIC "07000000 2c000000 05000000  " HANDLE " 00000000 00000000 0010000000000000 00020100 00000100 00020000"
           "00020000 00000000",
     60 + 512, 0xa5},
    {'S',
     MAGIC "07000000 2c000000 05000000  0000000000000000 00000000 00000000 0010000000000000 00020100 00000000"
           "00020100 00000000 00000000",
     0, 0},
    /* 14: DDB_GET adapterType, and a key that is not there */
    {'C', MAGIC "0b000000 10000000 06000000  " HANDLE " 0b000000 00000000 61646170 74657254 797065", 0, 0},
    {'S', MAGIC "0b000000 10000000 06000000  00000000 00000000 00000000 08000000 6c73696c6f676963", 0, 0},
    {'C', MAGIC "0b000000 10000000 07000000  " HANDLE " 04000000 00000000 6e6f6e65", 0, 0},
    {'S', MAGIC "0b000000 10000000 07000000", 32, 0},
    /* 18: CLOSE_FILE, CLOSE_SESSION, SESSION_COMPLETE */
    {'C', MAGIC "05000000 08000000 08000000  " HANDLE, 0, 0},
    {'S', MAGIC "05000000 08000000 08000000", 24, 0},
    {'C', MAGIC "03000000 04000000 09000000  00000000", 0, 0},
    {'S', MAGIC "03000000 04000000 09000000  00000000", 0, 0},
    {'C', "04000000", CLASSIC, 0},
    STEP_END,
};
#define STEP_OPEN_REPLY 8
#define STEP_READ_REPLY 10

static const struct script scripts[] = {
    {BANNER_70, false, classic_65, aio_session}, {BANNER_70, false, classic_67, aio_session},
    {BANNER_70, false, classic_70, aio_session}, {BANNER_80, true, classic_703, aio_session},
    {BANNER_80, true, classic_80, aio_session},
};

/* ---- bytes ---- */

#define STEP_BYTES_MAX (70u << 10)

static inline size_t step_bytes(const struct step *step, uint8_t *bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;

    for (const char *p = step->hex; *p != '\0'; p++) {
        if (*p == ' ') {
            continue;
        }
        unsigned high = (unsigned)(strchr(digits, p[0]) - digits);
        unsigned low = (unsigned)(strchr(digits, p[1]) - digits);
        bytes[n++] = (uint8_t)(high << 4 | low);
        p++;
    }
    if (step->len > n) {
        memset(bytes + n, step->fill, step->len - n);
        n = step->len;
    }
    return n;
}

/** All bytes of one side, one after another; freed by the caller. */
static inline uint8_t *side_bytes(const struct script *script, char side, size_t *ret_len)
{
    const struct step *parts[2] = {script->classic, script->aio};
    uint8_t *all = malloc(1u << 20);
    size_t len = 0;

    for (unsigned part = 0; part < 2; part++) {
        for (const struct step *step = parts[part]; step->hex != NULL; step++) {
            if (step->side == side) {
                len += step_bytes(step, all + len);
            }
        }
    }
    *ret_len = len;
    return all;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* thumbprint.h - fingerprints of certificates as vSphere writes them: SHA-1 (20 pairs of hex digits) or SHA-256 (32)
 * of the DER form, joined by colons. Source: VMware's connect parameters and tickets. Pure functions. */
#ifndef VIXDISK_NET_THUMBPRINT_H
#define VIXDISK_NET_THUMBPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THUMBPRINT_SHA1_LEN 20
#define THUMBPRINT_SHA256_LEN 32
#define THUMBPRINT_TEXT_MAX (THUMBPRINT_SHA256_LEN * 3) /* own: with the NUL */

/** Both fingerprints of one certificate. */
struct thumbprint {
    uint8_t sha1[THUMBPRINT_SHA1_LEN];
    uint8_t sha256[THUMBPRINT_SHA256_LEN];
};

/** "AA:BB:..." into text, of at least len * 3 bytes. */
void thumbprint_format(const uint8_t *digest, size_t len, char *text);

/** Whether text is a thumbprint at all: 40 or 64 hex digits once colons and blanks are left out. */
bool thumbprint_is_valid(const char *text);

/** Bytes of the digest that a text names: THUMBPRINT_SHA1_LEN, THUMBPRINT_SHA256_LEN, or 0 if it is not a thumbprint.
 */
size_t thumbprint_digest_len(const char *text);

/** Whether text names the certificate; the hash is told by its length, case and colons do not matter, anything that is
 * not a thumbprint matches nothing. */
bool thumbprint_matches(const char *text, const struct thumbprint *print);

#endif

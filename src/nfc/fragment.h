/* SPDX-License-Identifier: BSD-3-Clause */
/* fragment.h - the bytes of one fragment of a read or write, compressed and expanded. Shared by both ends. A coder
 * holds the working memory of one thread at a time. */
#ifndef VIXDISK_NFC_FRAGMENT_H
#define VIXDISK_NFC_FRAGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "nfc/nfc.h"

struct nfc_coder;

/** Working memory is made at the first use of a kind of compression. */
VixError nfc_coder_new(struct nfc_coder **ret_coder, struct err *err);
void nfc_coder_free(struct nfc_coder *coder);

/** The bytes that nfc_fragment_compress needs room for, for len bytes of any content. */
size_t nfc_fragment_bound(size_t len);

/** Compresses len bytes into out, of nfc_fragment_bound(len) bytes. Returns the length; 0 if it would not be smaller,
 * or there is no memory, or method is NFC_COMPRESS_NONE: then the fragment is to be sent as it is. */
size_t nfc_fragment_compress(struct nfc_coder *coder, enum nfc_compression method, const void *in, size_t len,
                             void *out);

/** Expands in_len bytes, compressed by a method as numbered on the wire, to exactly len bytes. false if they are
 * damaged, make more or less, or bytes are left over; also for an unknown method. Never reads or writes outside. */
bool nfc_fragment_expand(struct nfc_coder *coder, uint32_t method, const void *in, size_t in_len, void *out,
                         size_t len);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* peer.h - a connection whose other end says what an input says: a stream without a network. */
#ifndef VIXDISK_FUZZ_PEER_H
#define VIXDISK_FUZZ_PEER_H

#include "fuzz.h"
#include "net/stream.h"

/** The pieces of an input, one after another. @in_turn: each but those of file 1 comes only after something was written
 * since the one before it, as a server's answers do, or after 5 ms, twice; a reader that waits for less than that may
 * time out meanwhile. What is written is read by nobody. */
struct stream *peer_stream(const uint8_t *data, size_t size, bool in_turn);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* nfc_face.h - the NFC port: takes connections up to the limits and serves each on a thread of its own. */
#ifndef VIXDISKD_NFC_FACE_H
#define VIXDISKD_NFC_FACE_H

#include "daemon/host.h"

struct nfc_face;

/** Serves the listening socket, which is the face's then, also on failure. */
VixError nfc_face_start(struct host *host, int listen_fd, struct nfc_face **ret_face, struct err *err);

/** Takes no more connections, ends those there are (what has arrived is written, disks are closed), frees. NULL is
 * harmless. */
void nfc_face_stop(struct nfc_face *face);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* setup.h - what an administrator does before the host runs: a set-up made from nothing, users, hashes. One thread. */
#ifndef VIXDISKD_SETUP_H
#define VIXDISKD_SETUP_H

#include <stdint.h>

#include "base/err.h"

struct setup_params {
    const char *folder;
    const char *name;   /* that clients know the host by; NULL: localhost, not told in tickets */
    const char *listen; /* NULL: all addresses */
    const char *user;   /* whom the host is to become when root starts it; NULL: CONFINE_USER, else root */
    int port, nfc_port; /* -1: 443 and 902, or 8443 and 8902 for a user who is not root */
};

/** Makes the folder if need be, and in it vixdiskd.conf, certificate and key, a user's password, and a datastore with a
 * machine of one empty disk; prints what to do with them. VIX_E_FILE_ALREADY_EXISTS rather than change a file; on
 * failure what was made is gone. By root: what is made belongs to the user. VIX_E_INVALID_ARG: no such user. */
VixError setup_init(const struct setup_params *p, struct err *err);

/** Adds a user to a configuration; the password is the first line of standard input. */
VixError setup_add_user(const char *config_path, const char *user, bool read_only, struct err *err);

/** Prints what a drop-in of systemd has to say of a configuration, so that vixdiskd.service runs it: which file it is,
 * what it may write to and see, how much memory. */
VixError setup_drop_in(const char *config_path, struct err *err);

/** Prints the hash of the password that is the first line of standard input. */
VixError setup_hash_password(struct err *err);

#endif

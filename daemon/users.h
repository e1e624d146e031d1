/* SPDX-License-Identifier: BSD-3-Clause */
/* users.h - passwords: hashes of crypt(5), yescrypt for new ones. Any thread. */
#ifndef VIXDISKD_USERS_H
#define VIXDISKD_USERS_H

#include <stdbool.h>

#include "daemon/config.h"

#define PASSWORD_MAX 512u /* limit: bytes of a password, as crypt(3) has it */

/** The user whose name and password these are; NULL if there is none, or with *ret_busy if it could not be looked at,
 * as too many others wait or there is no memory. Takes about as long for a name that does not exist. One password is
 * looked at after the other: a flood of logins takes one core at most. One that was right before is known again at
 * once. */
const struct host_user *users_check(const struct host_config *config, const char *name, const char *password,
                                    bool *ret_busy);

/** The hash of a new password; freed by the caller. */
VixError users_hash(const char *password, char **ret_hash, struct err *err);

/** A random password of letters and digits, more than 128 bits; freed by the caller, who wipes it. */
VixError users_random_password(char **ret_password, struct err *err);

/** Fills with bytes that nobody can foretell. */
VixError random_bytes(void *buf, size_t len, struct err *err);

/** Whether two texts are equal, in a time that tells only their lengths. */
bool texts_are_equal_in_secret(const char *a, const char *b);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* version.h - which version of the API to ask a server for. For src/vim only. */
#ifndef VIXDISK_VIM_VERSION_H
#define VIXDISK_VIM_VERSION_H

#include <stdbool.h>
#include <stddef.h>

#define VIM_VERSION_MAX 24         /* limit: bytes of a server's version */
#define VIM_VERSION_FALLBACK "6.5" /* of servers that do not tell */
#define VIM_VERSION_OLD "6.0"      /* of those that do not know that either */

/** The newest version of urn:vim25 that a vimServiceVersions document lists and whose major number is not above 8
 * (newer ones name certificates in place of thumbprints); false, and the text as it was, if there is none. */
bool vim_version_choose(const char *bytes, size_t len, char ret_version[VIM_VERSION_MAX]);

#endif

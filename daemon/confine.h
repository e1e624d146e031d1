/* SPDX-License-Identifier: BSD-3-Clause */
/* confine.h - what the process gives up once it has its ports and its key, so that a fault in it is worth little to
 * whoever finds one. At the start, before there are threads; none of it can be taken back. */
#ifndef VIXDISKD_CONFINE_H
#define VIXDISKD_CONFINE_H

#include "daemon/config.h"

/** Whom the host becomes if its configuration names nobody. */
#define CONFINE_USER "vixdiskd"

/** For the whole process, before it reads a secret: no core dumps and no tracing by others of the same user, no rights
 * by programs that are set-user-ID, no rights for all users on what it makes (files 0640 or less). Cannot fail: what
 * the system refuses is told in the log. */
void confine_process(void);

/** Started by root: becomes the user, or CONFINE_USER if `user` is NULL, with its groups, and makes sure that there is
 * no way back; "root" stays root. Not started by root: nothing, told in the log if that is not the user.
 * VIX_E_INVALID_ARG: no such user; an errno's code: the system refused. */
VixError confine_user(const char *user, struct err *err);

/** Leaves the process nothing of the file system but the datastores, those that are not writable for reading only, and
 * no way to make connections or bind ports over TCP, to run programs, or to signal others. By Landlock (Linux 5.19,
 * more of it in newer ones); a kernel without is told of in the log. Descriptors that are open stay as they are, a
 * folder of a datastore must be there. `also_read`: NULL, or a file whose folder may be read. Only the calling thread,
 * and those that it starts later. VIX_E_FILE_NOT_FOUND and its kin: a folder cannot be opened. */
VixError confine_files(const struct host_config *config, const char *also_read, struct err *err);

#endif

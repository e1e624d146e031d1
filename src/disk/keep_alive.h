/* SPDX-License-Identifier: BSD-3-Clause */
/* keep_alive.h - one thread of the process tells servers that their sessions are in use: reading a disk does not count
 * for them. It is made with the first session. Any thread. */
#ifndef VIXDISK_DISK_KEEP_ALIVE_H
#define VIXDISK_DISK_KEEP_ALIVE_H

#include "vim/vim.h"

/** Takes care of a session until keep_alive_remove, which waits for a call on it that is under way. Without a thread
 * the session is not kept alive, and is made again when it has expired. */
void keep_alive_add(struct vim_session *session, unsigned interval_ms);
void keep_alive_remove(struct vim_session *session);

/** Ends the thread; no session is left. */
void keep_alive_shutdown(void);

#endif

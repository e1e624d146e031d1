/* SPDX-License-Identifier: BSD-3-Clause */
/* notify.h - what the host tells systemd: that it is ready, that it is alive, that it ends. The protocol of
 * sd_notify(3), which systemd keeps stable for programs that do not link its library. */
#ifndef VIXDISKD_NOTIFY_H
#define VIXDISKD_NOTIFY_H

/** Opens the socket that NOTIFY_SOCKET names, once at the start, while the process may still connect to it. Without one
 * every message goes nowhere. */
void notify_begin(void);

/** "READY=1", "WATCHDOG=1", "STOPPING=1". Never waits; what cannot be sent is dropped. Any thread. */
void notify_send(const char *message);

#endif

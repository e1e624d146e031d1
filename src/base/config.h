/* SPDX-License-Identifier: BSD-3-Clause */
/* config.h - the configuration of the library: the file that InitEx names, lines of name=value. One for the process,
 * set at InitEx before any other call, read by any thread afterwards. Names are matched without regard to case. */
#ifndef VIXDISK_BASE_CONFIG_H
#define VIXDISK_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Keys of this library. Those of VMware's library are listed in vixdisklib.conf(5). */
#define CONFIG_ALLOW_OVER_2TB "vixdisk.allowHostedOver2TB"     /* bool, 0: create hosted disks over 2 TB */
#define CONFIG_ALLOW_OUTSIDE_PATHS "vixdisk.allowOutsidePaths" /* bool, 0: extents and parents anywhere, devices */
#define CONFIG_CHANGE_TRACKING "vixdisk.changeTracking"        /* refuse|drop, refuse: writing to a tracked disk */
#define CONFIG_TABLE_CACHE_MIB "vixdisk.tableCacheMiB"         /* 1..1024, 32: grain tables kept for a disk */
#define CONFIG_THREADS "vixdisk.threads"                       /* 0..256, 0: as many as the machine has cores */
#define CONFIG_LOG_FILE "log.fileName"                         /* path: messages are appended to it */
#define CONFIG_CA_FILE "vixdisk.caFile"                        /* PEM: roots in the place of the machine's */
#define CONFIG_NFC_REQUEST_KIB "vixdisk.nfc.requestKiB"        /* 64..32768, 1024: of a request on the wire */
#define CONFIG_NFC_DEPTH "vixdisk.nfc.depth"                   /* 1..64, 16: requests of a disk on the wire at once */
#define CONFIG_CALL_TIMEOUT "vixdisk.soap.callTimeoutMs"       /* 120000: of a call to a server */
#define CONFIG_HOTADD "vixdisk.hotadd.enable" /* bool, 0: hotadd is tried where a program names no transports */
#define CONFIG_HOTADD_DEVICE_MS "vixdisk.hotadd.deviceTimeoutMs" /* 120000: for an attached disk to appear */
#define CONFIG_SAN_LEASE "vixdisk.san.lease"   /* bool, 0: the host is asked for a lease of a disk and its map */
#define CONFIG_SAN_CHECK "vixdisk.san.compare" /* bool, 1: samples of a disk by SAN are compared with NFC's bytes */
#define CONFIG_HOST_ROOT "vixdisk.hostRoot"    /* folder: a test's, in the place of / for /sys and /dev */
#define CONFIG_KEEP_ALIVE                                                                                              \
    "vixdisk.soap.keepAliveMs" /* 600000: between calls that keep a session alive, and of silence of an open disk */

/* Keys of VMware's library that are heeded; 0 of a time-out is the default, as no wait is without end. */
#define CONFIG_SSL_VERIFY                                                                                              \
    "vixDiskLib.linuxSSL.verifyCertificates" /* bool, 1: check chains where no thumbprint is given */
#define CONFIG_TMP_DIRECTORY "tmpDirectory"  /* folder, /var/tmp: what remembers the disks that are attached */
#define CONFIG_SSL_VERIFY_SHORT "linuxSSL.verifyCertificates"
#define CONFIG_NFC_ACCEPT_TIMEOUT "vixDiskLib.nfc.AcceptTimeoutMs"         /* 10000: to connect */
#define CONFIG_NFC_REQUEST_TIMEOUT "vixDiskLib.nfc.RequestTimeoutMs"       /* 60000: from there to the open disk */
#define CONFIG_NFC_READ_TIMEOUT "vixDiskLib.nfc.ReadTimeoutMs"             /* 60000: of an answer */
#define CONFIG_NFC_WRITE_TIMEOUT "vixDiskLib.nfc.WriteTimeoutMs"           /* 600000: for the host to take data */
#define CONFIG_NFC_BUFFER_64K "vixDiskLib.nfcAio.Session.BufSizeIn64KB"    /* 0..32, 0: as suits the host */
#define CONFIG_NFC_BUFFER_64K_ALT "vixDiskLib.nfcAio.Session.BufSizeIn64K" /* another spelling in use */
#define CONFIG_SAN_DENY "vixDiskLib.transport.san.denyList" /* devices, with wildcards: not for SAN; "all" */
#define CONFIG_SAN_DENY_OLD "vixDiskLib.transport.san.blacklist"
#define CONFIG_SAN_ALLOW "vixDiskLib.transport.san.allowList" /* devices, with wildcards: for SAN all the same */
#define CONFIG_SAN_RESCAN "vixDiskLib.transport.san.rescan"   /* bool, 0: SCSI hosts look for LUNs that are not there */
#define CONFIG_SAN_ALLOW_OLD "vixDiskLib.transport.san.whitelist"
#define CONFIG_NFC_BUFFER_COUNT "vixDiskLib.nfcAio.Session.BufCount" /* 0..64, 0: as suits the host */

#define CONFIG_FILE_MAX (1024 * 1024) /* limit: bytes of a configuration file */

/** Reads a file in the place of the present configuration. Lines without '=' and empty names are skipped and counted in
 * *ret_skipped. @path NULL: an empty configuration. On failure the present configuration stays. */
VixError config_load(const char *path, unsigned *ret_skipped, struct err *err);

/** Sets one value, as a line of the file would. */
VixError config_set(const char *name, const char *value, struct err *err);

/** Forgets everything. No other thread may be reading. */
void config_clear(void);

/** The value of a name, or NULL. Valid until config_clear, config_load or config_set. */
const char *config_text(const char *name);

/** The value as a number within low..high; fallback if it is absent or not such a number. */
uint64_t config_number(const char *name, uint64_t fallback, uint64_t low, uint64_t high);

/** The value as 1/0, true/false, yes/no, on/off; fallback if it is absent or none of these. */
bool config_bool(const char *name, bool fallback);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* host_limits.h - how much each host can take at once, learned from its refusals and kept as long as the process: a
 * host has one pool of NFC memory for all its connections. Any thread. */
#ifndef VIXDISK_DISK_HOST_LIMITS_H
#define VIXDISK_DISK_HOST_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define HOST_REQUEST_MIN (64u << 10) /* bytes: less is not asked for; then fewer requests at once */

/** What is known of one host; lives as long as the process. */
struct host_limits {
    struct host_limits *next;
    _Atomic uint32_t request_max; /* bytes; UINT32_MAX: not known */
    _Atomic unsigned depth;       /* requests at once of one disk; UINT32_MAX: not known */
    _Atomic unsigned epoch;       /* counts the changes */
    char host[];
};

/** The limits of a host, made at its first use. */
VixError host_limits_of(const char *host, struct host_limits **ret_limits, struct err *err);

/** A request of len bytes, made when epoch was the count and depth requests were allowed, was refused for want of
 * memory: halves the size, or at its least the depth. What was learned since then is not halved again. Says so in the
 * log the first time. Returns whether the request is worth repeating. */
bool host_limits_shrink(struct host_limits *limits, uint32_t len, unsigned depth, unsigned epoch);

#endif

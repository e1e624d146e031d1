/* SPDX-License-Identifier: BSD-3-Clause */
/* A place in an array of iovecs. Pure functions on the caller's memory. */
#include <string.h>

#include "base/checked.h"
#include "store/store_file.h"

bool iov_total(const struct iovec *iov, int iovcnt, uint64_t *ret_len)
{
    uint64_t len = 0;

    for (int i = 0; i < iovcnt; i++) {
        if (!checked_add(len, iov[i].iov_len, &len)) {
            return false;
        }
    }
    *ret_len = len;
    return true;
}

void iov_advance(struct iov_cursor *at, uint64_t len)
{
    while (at->iovcnt > 0 && len >= at->iov[0].iov_len - at->skip) {
        len -= at->iov[0].iov_len - at->skip;
        at->iov++;
        at->iovcnt--;
        at->skip = 0;
    }
    at->skip += len;
}

enum iov_direction { IOV_PUT, IOV_GET };

static void iov_copy(struct iov_cursor *at, uint8_t *buf, size_t len, enum iov_direction direction)
{
    iov_advance(at, 0);
    while (len > 0) {
        uint8_t *mem = (uint8_t *)at->iov[0].iov_base + at->skip;
        size_t n = min_u64(len, at->iov[0].iov_len - at->skip);
        memcpy(direction == IOV_PUT ? mem : buf, direction == IOV_PUT ? buf : mem, n);
        buf += n;
        len -= n;
        iov_advance(at, n);
    }
}

void iov_put(struct iov_cursor *at, const void *buf, size_t len)
{
    iov_copy(at, (uint8_t *)(uintptr_t)buf, len, IOV_PUT);
}

void iov_get(struct iov_cursor *at, void *buf, size_t len)
{
    iov_copy(at, buf, len, IOV_GET);
}

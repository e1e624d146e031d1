/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk database. Asking for a size, and for a key that is not there, are questions with an answer, not failures:
 * they are not sent to *warn*. */
#include "api/api.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/** Hands out len bytes by the rules of the metadata calls. */
static VixError hand_out(const char *bytes, size_t len, char *buf, size_t room, size_t *required, struct err *err)
{
    if (required != NULL) {
        *required = len;
    }
    if (room < len) {
        return err_set(err, VIX_E_BUFFER_TOOSMALL, "%zu bytes are needed, the buffer has %zu", len, room);
    }
    if (buf == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "no buffer is given, but its length is %zu", room);
    }
    memcpy(buf, bytes, len);
    return VIX_OK;
}

static VixError end_query(struct api_call *call, VixError code)
{
    if (code == VIX_E_DISK_KEY_NOTFOUND) {
        log_news("%s: %s: %s", call->name, call->place, call->err.text);
    }
    return code == VIX_E_DISK_KEY_NOTFOUND || code == VIX_E_BUFFER_TOOSMALL ? call_end_quietly(call, code)
                                                                            : call_end(call, code);
}

VixError VixDiskLib_ReadMetadata(VixDiskLibHandle diskHandle, const char *key, char *buf, size_t bufLen,
                                 size_t *requiredLen)
{
    struct api_call call;
    struct disk *d;
    CLEANUP_FREE char *value = NULL;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, key, "key");
    }
    if (code == VIX_OK) {
        code = d->ops->meta_get(d, key, &value, &call.err);
    }
    if (code == VIX_OK) {
        code = hand_out(value, strlen(value) + 1, buf, bufLen, requiredLen, &call.err);
    }
    return end_query(&call, code);
}

VixError VixDiskLib_GetMetadataKeys(VixDiskLibHandle diskHandle, char *keys, size_t maxLen, size_t *requiredLen)
{
    struct api_call call;
    struct disk *d;
    CLEANUP_FREE char *all = NULL;
    size_t len = 0;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = d->ops->meta_keys(d, &all, &len, &call.err);
    }
    if (code == VIX_OK) {
        code = hand_out(all, len, keys, maxLen, requiredLen, &call.err);
    }
    return end_query(&call, code);
}

VixError VixDiskLib_WriteMetadata(VixDiskLibHandle diskHandle, const char *key, const char *val)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, key, "key");
    }
    if (code == VIX_OK) {
        code = call_need(&call, val, "value");
    }
    if (code == VIX_OK && !d->writable) {
        code = err_set(&call.err, VIX_E_FILE_READ_ONLY, "the disk is open for reading only");
    }
    if (code == VIX_OK) {
        code = d->ops->meta_set(d, key, val, &call.err);
    }
    return call_end(&call, code);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The small functions of vixDiskLibExt.h. */
#include "api/api.h"

#include <stddef.h>
#include <string.h>

#include "base/activity.h"
#include "base/checked.h"
#include "base/config.h"
#include "base/log.h"

const char *VixDiskLibExt_Version(void)
{
    return VIXDISK_VERSION;
}

const char *VixDiskLibExt_ErrorName(VixError err)
{
    return err_name_of_code(err);
}

Bool VixDiskLibExt_ErrorIsRetryable(VixError err)
{
    return err_is_retryable(err);
}

Bool VixDiskLibExt_ErrorTable(uint32 index, VixError *code, const char **name, const char **text)
{
    VixError row_code;
    const char *row_name;
    const char *row_text;

    if (!err_table_entry(index, &row_code, &row_name, &row_text)) {
        return FALSE;
    }
    if (code != NULL) {
        *code = row_code;
    }
    if (name != NULL) {
        *name = row_name;
    }
    if (text != NULL) {
        *text = row_text;
    }
    return TRUE;
}

const char *VixDiskLibExt_LastErrorDetail(void)
{
    return call_last_detail();
}

Bool VixDiskLibExt_LastErrorIsRetryable(void)
{
    return call_last_is_retryable();
}

VixError VixDiskLibExt_SetOption(const char *name, const char *value)
{
    struct api_call call;

    VixError code = call_on_library(&call, __func__, NULL);
    if (code == VIX_OK) {
        code = call_need(&call, name, "name");
    }
    if (code == VIX_OK) {
        code = call_need(&call, value, "value");
    }
    if (code == VIX_OK) {
        code = config_set(name, value, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_RecordActivity(Bool on)
{
    struct api_call call;
    VixError code = call_on_library(&call, __func__, NULL);

    if (code == VIX_OK && on) {
        activity_start();
    } else if (code == VIX_OK) {
        activity_stop();
    }
    return call_end(&call, code);
}

static VixDiskLibExt_Activity public_activity(const struct activity *from)
{
    VixDiskLibExt_Activity to = {
        .numSlowest = from->slowest_count,
        .elapsedNs = from->elapsed_ns,
        .readNs = from->busy_ns[ACTIVITY_READ],
        .networkNs = from->busy_ns[ACTIVITY_NETWORK],
        .codecNs = from->busy_ns[ACTIVITY_CODEC],
        .writeNs = from->busy_ns[ACTIVITY_WRITE],
        .bytesRead = from->bytes_read,
        .bytesWritten = from->bytes_written,
        .retries = from->retries,
    };

    for (unsigned i = 0; i < from->slowest_count; i++) {
        const struct activity_request *r = &from->slowest[i];
        to.slowest[i] = (VixDiskLibExt_Request){.write = r->write,
                                                .startBytes = r->sector * VIXDISKLIB_SECTOR_SIZE,
                                                .lengthBytes = r->nsectors * VIXDISKLIB_SECTOR_SIZE,
                                                .nanoseconds = r->ns};
    }
    return to;
}

VixError VixDiskLibExt_GetActivity(VixDiskLibExt_Activity *activity)
{
    struct api_call call;
    VixError code = call_on_library(&call, __func__, NULL);

    if (code == VIX_OK) {
        code = call_need(&call, activity, "place for the activity");
    }
    if (code == VIX_OK && activity->structSize < offsetof(VixDiskLibExt_Activity, slowest)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "structSize of the activity is not set");
    }
    if (code == VIX_OK) {
        struct activity sums;
        activity_get(&sums);
        VixDiskLibExt_Activity all = public_activity(&sums);
        all.structSize = activity->structSize;
        memcpy(activity, &all, min_u64(activity->structSize, sizeof all));
    }
    return call_end(&call, code);
}

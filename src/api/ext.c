/* SPDX-License-Identifier: BSD-3-Clause */
/* The small functions of vixDiskLibExt.h. */
#include "api/api.h"

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

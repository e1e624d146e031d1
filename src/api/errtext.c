/* SPDX-License-Identifier: BSD-3-Clause */
/* The texts of error codes. Programs make strings of them unchecked, so there always is one. */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

static char without_memory[] = "Out of memory";

char *VixDiskLib_GetErrorText(VixError err, const char *locale)
{
    (void)locale; /* English only */
    /* the upper bits of a code may hold additional information */
    VixError code = VIX_ERROR_CODE(err) != VIX_OK ? VIX_ERROR_CODE(err) : err;
    char *text = strdup(err_text_of_code(code));
    return text != NULL ? text : without_memory;
}

void VixDiskLib_FreeErrorText(char *errMsg)
{
    if (errMsg != without_memory) {
        free(errMsg);
    }
}

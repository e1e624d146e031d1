/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct code_row {
    VixError code;
    const char *name;
    const char *text;
    bool retryable;
};

static const struct code_row code_table[] = {
#define VIX_ERROR(name, value, text, retryable) {value, #name, text, (retryable) != 0},
#include "base/errors.def"
#undef VIX_ERROR
};

#define CODE_TABLE_ROWS (sizeof code_table / sizeof code_table[0])

static const struct code_row *find_code(VixError code)
{
    for (size_t i = 0; i < CODE_TABLE_ROWS; i++) {
        if (code_table[i].code == code) {
            return &code_table[i];
        }
    }
    return NULL;
}

VixError err_set(struct err *err, VixError code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        err->code = code;
        err->sys_errno = 0;
        err->retry = ERR_RETRY_BY_CODE;
        va_start(args, fmt);
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return code;
}

VixError err_set_errno(struct err *err, int errnum, const char *fmt, ...)
{
    VixError code = err_code_of_errno(errnum);

    if (err != NULL) {
        char reason[128];
        va_list args;
        err->code = code;
        err->sys_errno = errnum;
        err->retry = ERR_RETRY_BY_CODE;
        va_start(args, fmt);
        int n = vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof err->text) {
            (void)snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                           strerror_r(errnum, reason, sizeof reason));
        }
    }
    return code;
}

VixError err_set_retry(struct err *err, enum err_retry retry, VixError code)
{
    if (err != NULL) {
        err->retry = retry;
    }
    return code;
}

void err_prefix(struct err *err, const char *fmt, ...)
{
    char old[ERR_TEXT_MAX];
    va_list args;

    if (err == NULL || err->code == VIX_OK) {
        return;
    }
    memcpy(old, err->text, sizeof old);
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) {
        (void)snprintf(err->text + n, sizeof err->text - (size_t)n, "%s", old);
    }
}

VixError err_code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return VIX_E_FILE_NOT_FOUND;
    case EACCES:
    case EPERM:
        return VIX_E_FILE_ACCESS_ERROR;
    case EEXIST:
        return VIX_E_FILE_ALREADY_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return VIX_E_DISK_FULL;
    case EFBIG:
        return VIX_E_FILE_TOO_BIG;
    case EROFS:
        return VIX_E_FILE_READ_ONLY;
    case ENOMEM:
        return VIX_E_OUT_OF_MEMORY;
    case EMFILE:
    case ENFILE:
        return VIX_E_DISK_TOOMANYOPENFILES;
    case ENAMETOOLONG:
    case ELOOP:
        return VIX_E_FILE_NAME_INVALID;
    default:
        return VIX_E_FILE_ERROR;
    }
}

const char *err_text_of_code(VixError code)
{
    const struct code_row *row = find_code(code);
    return row != NULL ? row->text : "Unknown error code";
}

const char *err_name_of_code(VixError code)
{
    const struct code_row *row = find_code(code);
    return row != NULL ? row->name : NULL;
}

bool err_is_retryable(VixError code)
{
    const struct code_row *row = find_code(code);
    return row != NULL && row->retryable;
}

bool err_may_pass(const struct err *err, VixError code)
{
    enum err_retry retry = err != NULL ? err->retry : ERR_RETRY_BY_CODE;
    return retry == ERR_RETRY_BY_CODE ? err_is_retryable(code) : retry == ERR_RETRY_HELPS;
}

bool err_table_entry(unsigned index, VixError *ret_code, const char **ret_name, const char **ret_text)
{
    if (index >= CODE_TABLE_ROWS) {
        return false;
    }
    *ret_code = code_table[index].code;
    *ret_name = code_table[index].name;
    *ret_text = code_table[index].text;
    return true;
}

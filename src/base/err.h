/* SPDX-License-Identifier: BSD-3-Clause */
/* err.h - how a failure travels: the public code is returned, and the place that saw the fault puts one sentence with
 * the figures into a struct err that the caller passed down. Nothing is logged here; src/api logs it once. A struct err
 * belongs to one thread. */
#ifndef VIXDISK_BASE_ERR_H
#define VIXDISK_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#include "vixDiskLib.h"

#define ERR_TEXT_MAX 1024 /* limit: bytes of the sentence of a failure */

/** Whether a retry can help after a failure. */
enum err_retry {
    ERR_RETRY_BY_CODE, /* as err_is_retryable tells of the code */
    ERR_RETRY_NEVER,   /* the cause stays until somebody does something about it */
    ERR_RETRY_HELPS,   /* the cause may pass, whatever else the code stands for */
};

/** A failure: code (VIX_OK: none), the errno behind it or 0, and one sentence without a full stop or newline. */
struct err {
    VixError code;
    int sys_errno;
    enum err_retry retry;
    char text[ERR_TEXT_MAX];
};

/** No failure. Only the members that are looked at are written: a struct err may live on a hot path. */
static inline void err_init(struct err *err)
{
    err->code = VIX_OK;
    err->sys_errno = 0;
    err->retry = ERR_RETRY_BY_CODE;
    err->text[0] = '\0';
}

/** Records a failure and returns its code. @err may be NULL: then only the code is returned. */
VixError err_set(struct err *err, VixError code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Records a failed system call: the code that belongs to the errno (err_code_of_errno), the sentence, and strerror's
 * text after a colon. Returns the code. @err may be NULL. */
VixError err_set_errno(struct err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Says of the recorded failure what its code does not tell. Returns the code as given. @err may be NULL. */
VixError err_set_retry(struct err *err, enum err_retry retry, VixError code);

/** Puts a sentence in front of the recorded one ("grow: " style); the code stays. Does nothing without a failure. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** The code that a system call's errno means: ENOENT 4, EACCES/EPERM 13, EEXIST 12, ENOSPC/EDQUOT 8, EFBIG 21, EROFS
 * 11, ENOMEM 2, EMFILE/ENFILE 16027, ENAMETOOLONG/EINVAL of a name 22, anything else VIX_E_FILE_ERROR. */
VixError err_code_of_errno(int errnum);

/** The text of a code, never NULL, static. */
const char *err_text_of_code(VixError code);

/** The name of a code ("VIX_E_FAIL"), or NULL if it is not a known one. Static. */
const char *err_name_of_code(VixError code);

/** Whether the cause of a code may pass, so that a retry can help. */
bool err_is_retryable(VixError code);

/** The same of a failure with this code that is recorded in @err (NULL: nothing is known but the code). */
bool err_may_pass(const struct err *err, VixError code);

/** Walks the table of codes: the index-th entry; false past its end. */
bool err_table_entry(unsigned index, VixError *ret_code, const char **ret_name, const char **ret_text);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* report.c - failures, mistakes and remarks: one line each, cause and place first, or a JSON object. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"

#define DETAIL_MAX 2048
#define STATUS_SIGPIPE 141 /* as the shell has it for a program that died of a closed pipe */

static _Thread_local char last_failure[DETAIL_MAX + 64];

const char *failure_text(void)
{
    return last_failure;
}

/** The exit status of a failure. */
static int failure_status(const struct cli *cli, bool retryable)
{
    if (cli->command->trouble_status != 0) {
        return cli->command->trouble_status;
    }
    return retryable ? STATUS_TEMPORARY : STATUS_FAILED;
}

/** A sentence without the path in front, which the line has already. */
static const char *without_path(const char *detail, const char *path)
{
    size_t len = path == NULL ? 0 : strlen(path);
    if (len > 0 && strncmp(detail, path, len) == 0 && strncmp(detail + len, ": ", 2) == 0) {
        return detail + len + 2;
    }
    return detail;
}

static void print_failure_json(const char *name, VixError code, bool retryable, const char *message)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "code", json_object_new_int64((int64_t)code));
    json_object_object_add(object, "name", json_object_new_string(name));
    json_object_object_add(object, "message", json_object_new_string(message));
    json_object_object_add(object, "retryable", json_object_new_boolean(retryable));
    json_print(object);
}

int fail_kept(struct cli *cli, const char *path, VixError code, bool retryable, const char *detail)
{
    const char *known = VixDiskLibExt_ErrorName(code);
    const char *name = known == NULL ? "VIX_E_UNKNOWN" : known;
    char *text = VixDiskLib_GetErrorText(code, NULL);
    const char *sentence = without_path(detail, path);
    const char *colon = sentence[0] == '\0' ? "" : ": ";
    snprintf(last_failure, sizeof last_failure, "%s%s%s: %s", path == NULL ? "" : path, path == NULL ? "" : ": ", name,
             sentence[0] == '\0' ? text : sentence);
    if (cli->common.json) {
        char message[DETAIL_MAX];
        snprintf(message, sizeof message, "%s%s%s%s%s", path == NULL ? "" : path, path == NULL ? "" : ": ", text, colon,
                 sentence);
        print_failure_json(name, code, retryable, message);
    } else {
        fprintf(stderr, "vixdisk: %s: %s%s%s (%llu): %s%s%s\n", cli->command->name, path == NULL ? "" : path,
                path == NULL ? "" : ": ", name, (unsigned long long)code, text, colon, sentence);
    }
    VixDiskLib_FreeErrorText(text);
    return failure_status(cli, retryable);
}

int fail(struct cli *cli, const char *path, VixError code)
{
    char detail[DETAIL_MAX];
    bool retryable = VixDiskLibExt_LastErrorIsRetryable();
    snprintf(detail, sizeof detail, "%s", VixDiskLibExt_LastErrorDetail());
    return fail_kept(cli, path, code, retryable, detail);
}

int fail_with(struct cli *cli, const char *path, VixError code, const char *fmt, ...)
{
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    return fail_kept(cli, path, code, VixDiskLibExt_ErrorIsRetryable(code), detail);
}

/** The code that an errno of the tool's own calls means. */
static VixError code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return VIX_E_FILE_NOT_FOUND;
    case EACCES:
    case EPERM:
        return VIX_E_FILE_ACCESS_ERROR;
    case ENOSPC:
    case EDQUOT:
        return VIX_E_DISK_FULL;
    case ENOMEM:
        return VIX_E_OUT_OF_MEMORY;
    default:
        return VIX_E_FILE_ERROR;
    }
}

static const char *errno_text(int errnum)
{
    const char *text = strerrordesc_np(errnum);
    return text == NULL ? "unknown error" : text;
}

int fail_errno(struct cli *cli, const char *path, int errnum, const char *doing)
{
    if (errnum == EPIPE) {
        return STATUS_SIGPIPE;
    }
    return fail_with(cli, path, code_of_errno(errnum), "%s: %s", doing, errno_text(errnum));
}

int usage_error(const struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "vixdisk: %s: ", cli->command->name);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, " (see 'vixdisk help %s')\n", cli->command->name);
    va_end(args);
    return cli->command->usage_status != 0 ? cli->command->usage_status : STATUS_USAGE;
}

void remark(const struct cli *cli, const char *fmt, ...)
{
    va_list args;
    if (cli->common.quiet) {
        return;
    }
    va_start(args, fmt);
    fprintf(stderr, "vixdisk: %s: ", cli->command->name);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

int finish_output(const char *command_name, int status)
{
    errno = 0;
    int flushed = fflush(stdout);
    int errnum = errno;
    /* The descriptor is closed here because some file systems (NFS, quotas) tell of a lost write only then. */
    if (flushed == 0 && !ferror(stdout) && (close(STDOUT_FILENO) == 0 || errno == EBADF)) {
        return status;
    }
    errnum = errnum == 0 ? errno : errnum;
    if (errnum == EPIPE) {
        return status != STATUS_DONE ? status : STATUS_SIGPIPE;
    }
    fprintf(stderr, "vixdisk: %s: standard output: VIX_E_FILE_ERROR (%d): cannot write: %s\n", command_name,
            VIX_E_FILE_ERROR, errno_text(errnum == 0 ? EIO : errnum));
    return status != STATUS_DONE ? status : STATUS_FAILED;
}

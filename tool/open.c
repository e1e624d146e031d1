/* SPDX-License-Identifier: BSD-3-Clause */
/* open.c - starts the library for a command and opens disks for it: finds out whether a file is a VMDK or a raw image
 * where the user did not say. The library's callbacks may run on any thread; they only print. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define PROBE_BYTES 4096

__attribute__((format(printf, 1, 0))) static void print_message(const char *fmt, va_list args)
{
    vfprintf(stderr, fmt, args);
}

/** Applies --allow-outside and --set. */
static VixError apply_settings(const struct common_args *common)
{
    VixError code = VIX_OK;
    if (common->allow_outside) {
        code = VixDiskLibExt_SetOption("vixdisk.allowOutsidePaths", "1");
    }
    for (size_t i = 0; i < SETTINGS_MAX && common->settings[i] != NULL && code == VIX_OK; i++) {
        const char *equals = strchr(common->settings[i], '=');
        char *name = strndup(common->settings[i], (size_t)(equals - common->settings[i]));
        code = name == NULL ? VIX_E_OUT_OF_MEMORY : VixDiskLibExt_SetOption(name, equals + 1);
        free(name);
    }
    return code;
}

int cli_start(struct cli *cli)
{
    if (cli->library_started) {
        return STATUS_DONE;
    }
    VixDiskLibGenericLogFunc *print = cli->common.verbose ? print_message : NULL;
    VixError code = VixDiskLib_InitEx(8, 0, print, print, print, NULL, cli->common.config);
    if (code != VIX_OK) {
        return fail(cli, cli->common.config, code);
    }
    cli->library_started = true;
    code = apply_settings(&cli->common);
    return code == VIX_OK ? STATUS_DONE : fail(cli, NULL, code);
}

int cli_connect(struct cli *cli)
{
    if (cli->connection != NULL) {
        return STATUS_DONE;
    }
    int status = cli_start(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLib_Connect(NULL, &cli->connection);
    return code == VIX_OK ? STATUS_DONE : fail(cli, NULL, code);
}

void cli_end(struct cli *cli)
{
    if (cli->connection != NULL) {
        VixDiskLib_Disconnect(cli->connection);
    }
    cli_leave_snapshot(cli);
    if (cli->server != NULL) {
        VixDiskLib_Disconnect(cli->server);
    }
    if (cli->library_started) {
        VixDiskLib_Exit();
    }
}

bool is_raw_name(const char *path)
{
    static const char *const ends[] = {".raw", ".img", ".iso", ".bin"};
    size_t len = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (len > strlen(ends[i]) && strcasecmp(path + len - strlen(ends[i]), ends[i]) == 0) {
            return true;
        }
    }
    return false;
}

/** Whether the first bytes of a file are those of a VMDK: one of the three headers, or a descriptor. */
static bool has_vmdk_bytes(const char *path)
{
    static const unsigned char sesparse[8] = {0xfe, 0xca, 0xfe, 0xca, 0, 0, 0, 0};
    char bytes[PROBE_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    ssize_t len = pread(fd, bytes, PROBE_BYTES, 0);
    close(fd);
    if (len < 4) {
        return false;
    }
    bytes[len] = '\0';
    return memcmp(bytes, "KDMV", 4) == 0 || memcmp(bytes, "COWD", 4) == 0 ||
           (len >= 8 && memcmp(bytes, sesparse, sizeof sesparse) == 0) || strstr(bytes, "createType") != NULL;
}

static bool is_block_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

/** Decides on a format that was not given. A raw image can be made to look like a VMDK by whoever writes to it (a
 * guest), so the contents alone never turn a file that is named as a raw image into a VMDK. -1 to go on, else a status.
 */
static int decide_format(struct cli *cli, const char *path, enum disk_format *format)
{
    if (*format != FORMAT_AUTO) {
        return -1;
    }
    if (!is_raw_name(path) && !is_block_device(path)) {
        return -1;
    }
    if (has_vmdk_bytes(path)) {
        return fail_with(cli, path, VIX_E_INCORRECT_FILE_TYPE,
                         "named as a raw image but begins like a VMDK; say which with -f raw or -f vmdk");
    }
    *format = FORMAT_RAW;
    return -1;
}

/** Reports a disk that cannot be opened; what is no VMDK at all may be a raw image. */
static int report_open(struct cli *cli, const char *path, enum disk_format format, VixError code)
{
    if (format == FORMAT_AUTO && code == VIX_E_DISK_INVALIDDISK) {
        char detail[1024];
        snprintf(detail, sizeof detail, "%s", VixDiskLibExt_LastErrorDetail());
        return fail_with(cli, path, code, "%s (if it is a raw image: -f raw)", detail);
    }
    return fail(cli, path, code);
}

int open_disk(struct cli *cli, const char *path, enum disk_format format, uint32 flags, VixDiskLibHandle *ret_disk)
{
    bool remote = is_remote_path(cli, path);
    VixDiskLibConnection connection = NULL;
    uint32 compression = 0;
    int status = compression_flags(cli, &compression);
    if (status < 0 && remote) {
        status = need_machine(cli);
    }
    if (status < 0) {
        status = cli_connect_for(cli, path, &connection);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    status = remote ? -1 : decide_format(cli, path, &format);
    if (status >= 0) {
        return status;
    }
    flags |= remote ? compression : 0;
    VixError code = format == FORMAT_RAW ? VixDiskLibExt_OpenRaw(connection, path, flags, ret_disk)
                                         : VixDiskLib_Open(connection, path, flags, ret_disk);
    return code == VIX_OK ? STATUS_DONE : report_open(cli, path, format, code);
}

int disk_bytes(struct cli *cli, const char *path, VixDiskLibHandle disk, uint64_t *ret_bytes)
{
    VixDiskLibInfo *info = NULL;
    VixError code = VixDiskLib_GetInfo(disk, &info);
    if (code != VIX_OK) {
        return fail(cli, path, code);
    }
    *ret_bytes = info->capacity * SECTOR_BYTES;
    VixDiskLib_FreeInfo(info);
    return STATUS_DONE;
}

int close_disk(struct cli *cli, const char *path, VixDiskLibHandle disk, int status)
{
    VixError code = VixDiskLib_Close(disk);
    return code != VIX_OK && status == STATUS_DONE ? fail(cli, path, code) : status;
}

int disk_range(struct cli *cli, const char *path, uint64_t capacity, struct bytes_arg off, struct bytes_arg len,
               uint64_t *ret_off, uint64_t *ret_len)
{
    if (off.bytes > capacity || (len.given && len.bytes > capacity - off.bytes)) {
        return fail_with(cli, path, VIX_E_DISK_OUTOFRANGE, "offset %llu, length %llu; the disk ends at %llu",
                         (unsigned long long)off.bytes, (unsigned long long)len.bytes, (unsigned long long)capacity);
    }
    *ret_off = off.bytes;
    *ret_len = len.given ? len.bytes : capacity - off.bytes;
    return STATUS_DONE;
}

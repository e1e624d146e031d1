/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_target.c - finds, makes, grows and recognises the copy. */
#include "sync_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int sync_target_find(struct cli *cli, const char *path, struct type_arg type, struct sync_target *ret_target)
{
    struct stat st;
    *ret_target = (struct sync_target){.path = path, .remote = is_remote_path(cli, path), .type = type};
    if (type.given && !type.raw && type.type == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
        return usage_error(cli, "a streamOptimized disk is written once and in order: it cannot be kept up to date");
    }
    if (ret_target->remote) {
        return STATUS_DONE; /* opening it tells */
    }
    if (stat(path, &st) == 0) {
        ret_target->exists = true;
        return STATUS_DONE;
    }
    return errno == ENOENT ? STATUS_DONE : fail_errno(cli, path, errno, "cannot be looked at");
}

/** The file's mark; false for devices. */
static bool look(const struct sync_target *target, struct stat *st)
{
    return !target->remote && stat(target->path, st) == 0 && S_ISREG(st->st_mode);
}

static uint64_t mtime_of(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t)st->st_mtim.tv_nsec;
}

const char *sync_target_differs(const struct sync_target *target, const struct sync_state *state)
{
    struct stat st;
    if (!target->remote && !target->exists) {
        return "the copy is gone";
    }
    if (!look(target, &st) || state->target_inode == 0) {
        return NULL;
    }
    if (st.st_ino != state->target_inode || st.st_dev != state->target_device) {
        return "another file is in the place of the copy";
    }
    return state->target_mtime != 0 && state->target_mtime != mtime_of(&st) ? "the copy was written to by others"
                                                                            : NULL;
}

/* ---- opening ---- */

static enum disk_format format_of(const struct sync_target *target)
{
    if (target->type.given) {
        return target->type.raw ? FORMAT_RAW : FORMAT_VMDK;
    }
    return !target->exists && !target->remote && is_raw_name(target->path) ? FORMAT_RAW : FORMAT_AUTO;
}

static int make_raw(struct cli *cli, struct sync_target *target, uint64_t capacity)
{
    int fd = open(target->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return fail_errno(cli, target->path, errno, "cannot be made");
    }
    int errnum = ftruncate(fd, (off_t)capacity) != 0 ? errno : 0;
    close(fd);
    if (errnum != 0) {
        unlink(target->path);
        return fail_errno(cli, target->path, errnum, "cannot be made as large as the source");
    }
    return STATUS_DONE;
}

static int make_vmdk(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibConnection connection = NULL;
    VixDiskLibDiskType other = target->remote ? VIXDISKLIB_DISK_VMFS_THIN : VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    int status = cli_connect_for(cli, target->path, &connection);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLib_GetInfo(source, &info);
    if (code != VIX_OK) {
        return fail(cli, target->path, code);
    }
    VixDiskLibCreateParams params = {
        .diskType = target->type.given ? target->type.type : other,
        .adapterType =
            info->adapterType == VIXDISKLIB_ADAPTER_UNKNOWN ? VIXDISKLIB_ADAPTER_SCSI_LSILOGIC : info->adapterType,
        .hwVersion = VIXDISKLIB_HWVERSION_CURRENT,
        .capacity = capacity / SECTOR_BYTES,
    };
    VixDiskLib_FreeInfo(info);
    code = VixDiskLib_Create(connection, target->path, &params, NULL, NULL);
    return code == VIX_OK ? STATUS_DONE : fail(cli, target->path, code);
}

static int make(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity)
{
    int status =
        format_of(target) == FORMAT_RAW ? make_raw(cli, target, capacity) : make_vmdk(cli, target, source, capacity);
    target->fresh = status == STATUS_DONE;
    return status;
}

/** Whether a disk on a server is there: opening tells, and is not a failure. */
static int find_remote(struct cli *cli, struct sync_target *target)
{
    VixDiskLibHandle disk = NULL;
    int status = need_machine(cli);
    status = status < 0 ? cli_connect_server(cli) : status;
    if (status == STATUS_DONE) {
        VixError code = VixDiskLib_Open(cli->server, target->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
        target->exists = code != VIX_E_FILE_NOT_FOUND;
        if (code == VIX_OK) {
            code = VixDiskLib_Close(disk);
        }
    }
    return status;
}

/** A raw file gets the source's capacity; a VMDK can only grow; a device is what it is. */
static int fit(struct cli *cli, struct sync_target *target, bool raw, uint64_t have, uint64_t want)
{
    struct stat st;
    VixDiskLibConnection connection = NULL;
    if (raw && look(target, &st)) {
        return truncate(target->path, (off_t)want) == 0
                   ? STATUS_DONE
                   : fail_errno(cli, target->path, errno, "cannot be made as large as the source");
    }
    if (raw || have > want) {
        return fail_with(cli, target->path, VIX_E_DISK_CAPACITY_MISMATCH,
                         "it has %llu bytes, the source %llu: it cannot be made so; remove it, or name another one",
                         (unsigned long long)have, (unsigned long long)want);
    }
    int status = cli_connect_for(cli, target->path, &connection);
    if (status == STATUS_DONE) {
        VixError code = VixDiskLib_Grow(connection, target->path, want / SECTOR_BYTES, FALSE, NULL, NULL);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, target->path, code);
    }
    return status;
}

/** Whether an open disk is a raw image. */
static bool is_raw(VixDiskLibHandle disk)
{
    VixDiskLibExt_Details *details = NULL;
    bool raw = false;
    if (VixDiskLibExt_GetDetails(disk, &details) == VIX_OK) {
        raw = details->format != NULL && details->format[0] == 'r';
        VixDiskLibExt_FreeDetails(details);
    }
    return raw;
}

int sync_target_open(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity)
{
    uint64_t have = 0;
    struct stat st;
    int status = target->remote ? find_remote(cli, target) : STATUS_DONE;
    enum disk_format format = format_of(target);
    if (status == STATUS_DONE && !target->exists) {
        status = make(cli, target, source, capacity);
    }
    if (status == STATUS_DONE) {
        status = open_disk(cli, target->path, format, 0, &target->disk);
    }
    if (status == STATUS_DONE) {
        status = disk_bytes(cli, target->path, target->disk, &have);
    }
    if (status != STATUS_DONE || have == capacity) {
        return status;
    }
    bool raw = is_raw(target->disk);
    if (raw && have > capacity && !look(target, &st)) {
        return STATUS_DONE; /* a device */
    }
    status = close_disk(cli, target->path, target->disk, STATUS_DONE);
    target->disk = NULL;
    if (status == STATUS_DONE) {
        status = fit(cli, target, raw, have, capacity);
    }
    return status == STATUS_DONE ? open_disk(cli, target->path, raw ? FORMAT_RAW : FORMAT_VMDK, 0, &target->disk)
                                 : status;
}

void sync_target_identify(const struct sync_target *target, bool complete, struct sync_state *state)
{
    struct stat st;
    state->target_inode = state->target_device = state->target_mtime = 0;
    if (look(target, &st)) {
        state->target_inode = st.st_ino;
        state->target_device = st.st_dev;
        state->target_mtime = complete ? mtime_of(&st) : 0;
    }
}

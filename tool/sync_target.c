/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_target.c - finds, makes, grows and recognises the copy. */
#include "sync_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** Whether a disk on a server is there: opening tells, and that there is none is not a failure. */
static int find_remote(struct cli *cli, struct sync_target *target)
{
    VixDiskLibHandle disk = NULL;
    int status = need_machine(cli);
    if (status >= 0) {
        return status;
    }
    cli->common.remote.snapshot = ""; /* a copy is written as it is now; the source may be read as of a snapshot */
    status = cli_connect_server(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLib_Open(cli->server, target->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    target->exists = code == VIX_OK;
    if (code == VIX_E_FILE_NOT_FOUND) {
        return STATUS_DONE;
    }
    return code == VIX_OK ? close_disk(cli, target->path, disk, STATUS_DONE) : fail(cli, target->path, code);
}

int sync_target_find(struct cli *cli, const char *path, struct type_arg type, struct sync_target *ret_target)
{
    struct stat st;
    *ret_target = (struct sync_target){.path = path, .remote = is_remote_path(cli, path), .type = type};
    if (type.given && !type.raw && type.type == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
        return usage_error(cli, "a streamOptimized disk is written once and in order: it cannot be kept up to date");
    }
    if (ret_target->remote) {
        return find_remote(cli, ret_target);
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

static uint64_t add_to_hash(uint64_t hash, uint64_t number) /* FNV-1a */
{
    for (unsigned i = 0; i < 64; i += 8) {
        hash = (hash ^ (number >> i & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/** One number for all files of a VMDK: which ones they are, and when each was written last. 0: none is known. */
static uint64_t mark_of_files(const struct sync_target *target)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct stat st;
    for (size_t i = 0; target->files != NULL && target->files[i] != NULL; i++) {
        if (stat(target->files[i], &st) == 0 && S_ISREG(st.st_mode)) {
            hash = add_to_hash(add_to_hash(add_to_hash(hash, st.st_dev), st.st_ino), mtime_of(&st));
        }
    }
    return target->files == NULL ? 0 : hash >> 1 | 1; /* JSON's numbers have a sign */
}

const char *sync_target_differs(const struct sync_target *target, const struct sync_state *state)
{
    struct stat st;
    if (!target->exists) {
        return "the copy is gone";
    }
    if (!look(target, &st) || state->target_inode == 0) {
        return NULL;
    }
    if (st.st_ino != state->target_inode || st.st_dev != state->target_device) {
        return "another file is in the place of the copy";
    }
    bool written = state->target_mtime != 0 && state->target_mtime != mtime_of(&st);
    written = written || (state->target_files != 0 && state->target_files != mark_of_files(target));
    return written ? "the copy was written to by others" : NULL;
}

/* ---- opening ---- */

static void forget_files(struct sync_target *target)
{
    for (size_t i = 0; target->files != NULL && target->files[i] != NULL; i++) {
        free(target->files[i]);
    }
    free(target->files);
    target->files = NULL;
}

static bool take_file(struct sync_target *target, size_t *count, const char *file)
{
    if (file == NULL) {
        return true;
    }
    target->files[*count] = strdup(file);
    return target->files[(*count)++] != NULL;
}

/** Notes the files of the open disk. */
static int list_files(struct cli *cli, struct sync_target *target)
{
    VixDiskLibExt_Details *details = NULL;
    size_t count = 0;
    forget_files(target);
    VixError code = target->remote ? VIX_OK : VixDiskLibExt_GetDetails(target->disk, &details);
    if (code != VIX_OK) {
        return fail(cli, target->path, code);
    }
    for (uint32 i = 0; details != NULL && i < details->numLinks; i++) {
        count += 1 + details->links[i].numExtents;
    }
    target->files = count > 0 ? calloc(count + 1, sizeof target->files[0]) : NULL;
    bool good = count == 0 || target->files != NULL;
    count = 0;
    for (uint32 i = 0; good && target->files != NULL && i < details->numLinks; i++) {
        good = take_file(target, &count, details->links[i].file);
        for (uint32 j = 0; good && j < details->links[i].numExtents; j++) {
            good = take_file(target, &count, details->links[i].extents[j].file);
        }
    }
    VixDiskLibExt_FreeDetails(details);
    return good ? STATUS_DONE : fail_with(cli, target->path, VIX_E_OUT_OF_MEMORY, "of the names of its files");
}

static int open_as(struct cli *cli, struct sync_target *target, enum disk_format format, uint32 flags)
{
    int status = open_disk(cli, target->path, format, flags, &target->disk);
    return status == STATUS_DONE ? list_files(cli, target) : status;
}

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

int sync_target_open(struct cli *cli, struct sync_target *target, uint32 flags)
{
    return open_as(cli, target, format_of(target), flags);
}

int sync_target_prepare(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity)
{
    uint64_t have = 0;
    struct stat st;
    int status = STATUS_DONE;
    if (!target->exists) {
        status = make(cli, target, source, capacity);
        status = status == STATUS_DONE ? open_as(cli, target, format_of(target), 0) : status;
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
    return status == STATUS_DONE ? open_as(cli, target, raw ? FORMAT_RAW : FORMAT_VMDK, 0) : status;
}

void sync_target_identify(const struct sync_target *target, bool closed, struct sync_state *state)
{
    struct stat st;
    state->target_inode = state->target_device = state->target_mtime = state->target_files = 0;
    if (look(target, &st)) {
        state->target_inode = st.st_ino;
        state->target_device = st.st_dev;
        state->target_mtime = closed ? mtime_of(&st) : 0;
        state->target_files = closed ? mark_of_files(target) : 0;
    }
}

void sync_target_clear(struct sync_target *target)
{
    forget_files(target);
}

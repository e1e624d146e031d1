/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_source.c - opens what is copied from, with a snapshot around it where it is on a server. */
#include "sync_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *copy_text(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

/* ---- snapshots ---- */

static int get_machine(struct cli *cli, const char *path, const char *snapshot, VixDiskLibExt_Vm **ret_vm)
{
    VixError code = VixDiskLibExt_GetMachine(cli->server, snapshot, ret_vm);
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
}

int sync_snapshot_remove_leftovers(struct cli *cli, const char *name, unsigned *ret_count)
{
    VixDiskLibExt_Vm *vm = NULL;
    int status = get_machine(cli, NULL, NULL, &vm);
    *ret_count = 0;
    for (uint32 i = 0; status == STATUS_DONE && i < vm->numSnapshots; i++) {
        const VixDiskLibExt_Snapshot *s = &vm->snapshots[i];
        if (s->name != NULL && s->moref != NULL && strcmp(s->name, name) == 0) {
            remark(cli, "removing the snapshot %s, which a run that was killed has left", s->moref);
            VixError code = VixDiskLibExt_RemoveSnapshot(cli->server, s->moref);
            status = code == VIX_OK ? STATUS_DONE : fail(cli, s->moref, code);
            (*ret_count)++;
        }
    }
    VixDiskLibExt_FreeMachine(vm);
    return status;
}

static int make_snapshot(struct cli *cli, const char *path, const struct sync_snapshot_options *options,
                         struct sync_snapshot *snapshot)
{
    char text[256];
    char host[64] = "";
    unsigned count;
    int status = sync_snapshot_remove_leftovers(cli, options->name, &count);
    if (status != STATUS_DONE) {
        return status;
    }
    (void)gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "For an incremental copy by vixdisk sync on %s, process %ld; removed at its end.", host,
             (long)getpid());
    VixError code = VixDiskLibExt_CreateSnapshot(cli->server, options->name, text, options->quiesce, snapshot->ref,
                                                 sizeof snapshot->ref);
    if (code == VIX_E_NOT_SUPPORTED) {
        return fail_with(cli, path, code, "the server makes no snapshots; --snapshot none reads the disk as it is");
    }
    snapshot->made = code == VIX_OK;
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
}

/** Switches change tracking on if that is wanted and needed: before the snapshot, with which it begins. */
static int enable_tracking(struct cli *cli, const char *path)
{
    VixDiskLibExt_Vm *vm = NULL;
    int status = get_machine(cli, path, NULL, &vm);
    if (status == STATUS_DONE && !vm->changeTracking) {
        remark(cli, "switching change tracking on");
        VixError code = VixDiskLibExt_SetChangeTracking(cli->server, TRUE);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
    }
    VixDiskLibExt_FreeMachine(vm);
    return status;
}

/** Makes what is needed on the server. */
static int prepare(struct cli *cli, const char *path, const struct sync_snapshot_options *options,
                   struct sync_snapshot *snapshot)
{
    bool automatic = options->snapshot == NULL || strcmp(options->snapshot, "auto") == 0;
    int status = STATUS_DONE;
    if (options->enable_tracking && !options->leave_alone) {
        status = enable_tracking(cli, path);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    if (automatic) {
        return options->leave_alone ? STATUS_DONE : make_snapshot(cli, path, options, snapshot);
    }
    if (strcmp(options->snapshot, "none") != 0) {
        if (strlen(options->snapshot) >= sizeof snapshot->ref) {
            return usage_error(cli, "--snapshot: too long");
        }
        snprintf(snapshot->ref, sizeof snapshot->ref, "%s", options->snapshot);
    }
    return STATUS_DONE;
}

int sync_snapshot_begin(struct cli *cli, const char *path, const struct sync_snapshot_options *options,
                        struct sync_snapshot *ret_snapshot)
{
    *ret_snapshot = (struct sync_snapshot){0};
    int status = need_machine(cli);
    if (status >= 0) {
        return status;
    }
    cli->common.remote.snapshot = ""; /* the connection that manages the machine is as of now */
    status = cli_connect_server(cli);
    if (status == STATUS_DONE) {
        status = prepare(cli, path, options, ret_snapshot);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = cli_connect_snapshot(cli, ret_snapshot->ref[0] != '\0' ? ret_snapshot->ref : NULL);
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
}

int sync_snapshot_end(struct cli *cli, struct sync_snapshot *snapshot, int status)
{
    cli_leave_snapshot(cli);
    if (snapshot->made) {
        VixError code = VixDiskLibExt_RemoveSnapshot(cli->server, snapshot->ref);
        if (code != VIX_OK) {
            remark(cli, "the snapshot %s stays; the next run, or --cleanup, removes it", snapshot->ref);
            status = status == STATUS_DONE ? fail(cli, snapshot->ref, code) : status;
        }
    }
    *snapshot = (struct sync_snapshot){0};
    return status;
}

/* ---- opening ---- */

static const char *time_of(const VixDiskLibExt_Vm *vm, const char *snapshot)
{
    for (uint32 i = 0; i < vm->numSnapshots; i++) {
        if (vm->snapshots[i].moref != NULL && strcmp(vm->snapshots[i].moref, snapshot) == 0) {
            return vm->snapshots[i].created;
        }
    }
    return NULL;
}

/** What the machine's hardware tells of the disk as of the snapshot. */
static int look_at_disk(struct cli *cli, const struct sync_snapshot *as_of, struct sync_source *source)
{
    VixDiskLibExt_Vm *vm = NULL;
    const char *snapshot = as_of->ref[0] != '\0' ? as_of->ref : NULL;
    int status = get_machine(cli, source->path, snapshot, &vm);
    if (status != STATUS_DONE) {
        return status;
    }
    const VixDiskLibExt_VmDisk *disk = changes_find_disk(vm, source->path);
    if (disk == NULL) {
        VixDiskLibExt_FreeMachine(vm);
        return fail_with(cli, source->path, VIX_E_FILE_NOT_FOUND, "the machine has no such disk");
    }
    source->vm = copy_text(vm->moref);
    source->uuid = copy_text(disk->uuid);
    source->key = disk->key;
    source->file = copy_text(disk->file);
    source->change_id = disk->changeId != NULL && disk->changeId[0] != '\0' ? copy_text(disk->changeId) : NULL;
    source->time = copy_text(snapshot != NULL ? time_of(vm, snapshot) : NULL);
    VixDiskLibExt_FreeMachine(vm);
    if (source->vm == NULL || source->file == NULL) {
        return fail_with(cli, source->path, VIX_E_OUT_OF_MEMORY, "of the machine's texts");
    }
    source->changes.file = source->file;
    source->changes.snapshot = snapshot;
    source->changes.server = cli->server;
    return STATUS_DONE;
}

static int open_remote(struct cli *cli, const struct sync_snapshot *snapshot, struct sync_source *source)
{
    uint32 compression = 0;
    int status = compression_flags(cli, &compression);
    if (status >= 0) {
        return status;
    }
    status = look_at_disk(cli, snapshot, source);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code =
        VixDiskLib_Open(cli->as_of, source->file, VIXDISKLIB_FLAG_OPEN_READ_ONLY | compression, &source->changes.disk);
    return code == VIX_OK ? STATUS_DONE : fail(cli, source->file, code);
}

static int open_local(struct cli *cli, enum disk_format format, struct sync_source *source)
{
    int status = open_disk(cli, source->path, format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &source->changes.disk);
    if (status == STATUS_DONE) {
        VixError code = changes_local_id(source->changes.disk, &source->change_id);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, source->path, code);
    }
    return status;
}

int sync_source_open(struct cli *cli, const char *path, enum disk_format format, const struct sync_snapshot *snapshot,
                     struct sync_source *ret_source)
{
    *ret_source = (struct sync_source){.path = path};
    int status =
        is_remote_path(cli, path) ? open_remote(cli, snapshot, ret_source) : open_local(cli, format, ret_source);
    return status == STATUS_DONE ? disk_bytes(cli, path, ret_source->changes.disk, &ret_source->changes.capacity)
                                 : status;
}

void sync_source_close(struct sync_source *source)
{
    if (source->changes.disk != NULL) {
        (void)VixDiskLib_Close(source->changes.disk);
    }
    free(source->change_id);
    free(source->vm);
    free(source->uuid);
    free(source->file);
    free(source->time);
    *source = (struct sync_source){0};
}

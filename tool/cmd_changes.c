/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_changes.c - lists the areas of a disk that have changed since an earlier time. All are known before the first is
 * printed, so that a list that ends early can never be taken for the whole. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "changes.h"
#include "commands.h"
#include "json.h"
#include "sync_state.h"
#include "text.h"

struct changes_args {
    const char *since;
    const char *state;
    bool totals;
};

static const struct option_spec options[] = {
    {.name = "since",
     .kind = OPTION_TEXT,
     .at = offsetof(struct changes_args, since),
     .arg = "TIME",
     .help = "on a server: a change ID, a snapshot, or * (ever written); else a link's file"},
    {.name = "state",
     .kind = OPTION_TEXT,
     .at = offsetof(struct changes_args, state),
     .arg = "FILE",
     .help = "since the time of this state of 'vixdisk sync'"},
    {.name = "totals", .kind = OPTION_FLAG, .at = offsetof(struct changes_args, totals), .help = "only how much it is"},
    {.kind = OPTION_END},
};

struct area {
    uint64_t start, length;
};

/** What is listed. */
struct listing {
    struct area *areas;
    size_t count, room;
    uint64_t bytes;
    bool no_memory;
    uint64_t capacity;
    char *since;     /* the ID, NULL: not one */
    char *change_id; /* of what the disk is now; NULL: none */
};

static bool add_area(void *ctx, uint64_t start, uint64_t length)
{
    struct listing *list = ctx;
    struct area *last = list->count > 0 ? &list->areas[list->count - 1] : NULL;
    if (length == 0) {
        return true;
    }
    if (last != NULL && start <= last->start + last->length) {
        uint64_t end = start + length > last->start + last->length ? start + length : last->start + last->length;
        list->bytes += end - last->start - last->length;
        last->length = end - last->start;
        return true;
    }
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 1024 : list->room * 2;
        struct area *areas = reallocarray(list->areas, room, sizeof *areas);
        if (areas == NULL) {
            list->no_memory = true;
            return false;
        }
        list->areas = areas;
        list->room = room;
    }
    list->areas[list->count++] = (struct area){start, length};
    list->bytes += length;
    return true;
}

/* ---- since when ---- */

static char *copy_text(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

/** The ID of a state: only of one that is complete, for else there is not one for the whole disk. */
static int id_of_state(struct cli *cli, const char *path, struct listing *list)
{
    struct sync_state state = {0};
    bool found = false;
    int status = sync_state_read(cli, path, &state, &found);
    if (status == STATUS_DONE && !found) {
        return fail_errno(cli, path, ENOENT, "cannot be opened");
    }
    if (status == STATUS_DONE && (!state.complete || state.parts[0].change_id == NULL)) {
        status = fail_with(cli, path, VIX_E_FAIL, "the copy is not complete, or its source has no change tracking");
    }
    if (status == STATUS_DONE) {
        list->since = copy_text(state.parts[0].change_id);
    }
    sync_state_clear(&state);
    return status;
}

/** A snapshot's ID of the disk. */
static int id_of_snapshot(struct cli *cli, const char *snapshot, const char *path, struct listing *list)
{
    VixDiskLibExt_Vm *vm = NULL;
    VixError code = VixDiskLibExt_GetMachine(cli->server, snapshot, &vm);
    if (code != VIX_OK) {
        return fail(cli, snapshot, code);
    }
    const VixDiskLibExt_VmDisk *disk = changes_find_disk(vm, path);
    list->since = disk != NULL ? copy_text(disk->changeId) : NULL;
    VixDiskLibExt_FreeMachine(vm);
    return list->since != NULL ? STATUS_DONE
                               : fail_with(cli, snapshot, VIX_E_OBJECT_NOT_FOUND,
                                           "the snapshot has no change ID for %s: was change tracking on?", path);
}

/* ---- on a server ---- */

static int list_remote(struct cli *cli, const struct changes_args *args, const char *path, struct listing *list)
{
    const char *snapshot = server_snapshot(cli);
    VixDiskLibExt_Vm *vm = NULL;
    char *file = NULL;
    int status = need_machine(cli);
    status = status < 0 ? cli_connect_server(cli) : status;
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLibExt_GetMachine(cli->server, snapshot, &vm);
    if (code != VIX_OK) {
        return fail(cli, path, code);
    }
    const VixDiskLibExt_VmDisk *disk = changes_find_disk(vm, path);
    if (disk != NULL) {
        file = copy_text(disk->file);
        list->change_id = copy_text(disk->changeId);
        list->capacity = disk->capacityBytes;
    }
    VixDiskLibExt_FreeMachine(vm);
    if (file == NULL) {
        return fail_with(cli, path, VIX_E_FILE_NOT_FOUND, "the machine has no such disk");
    }
    bool is_id = args->since != NULL && (strcmp(args->since, "*") == 0 || strchr(args->since, '/') != NULL);
    if (is_id) {
        list->since = copy_text(args->since);
    } else if (args->since != NULL) {
        status = id_of_snapshot(cli, args->since, path, list);
    }
    if (status == STATUS_DONE && list->since != NULL) {
        struct change_source source = {
            .server = cli->server, .file = file, .snapshot = snapshot, .capacity = list->capacity};
        code = changes_tell(&source, list->since, 0, 0, add_area, list);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, path, list->no_memory ? VIX_E_OUT_OF_MEMORY : code);
    }
    free(file);
    return status;
}

/* ---- local ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat first;
    struct stat second;
    return a != NULL && stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/** The depth of the link that has a file; -1. */
static int depth_of_file(VixDiskLibHandle disk, const char *file)
{
    VixDiskLibExt_Details *details = NULL;
    int depth = -1;
    if (VixDiskLibExt_GetDetails(disk, &details) != VIX_OK) {
        return -1;
    }
    for (uint32 i = 0; i < details->numLinks && depth < 0; i++) {
        depth = same_file(details->links[i].file, file) ? (int)i : -1;
    }
    VixDiskLibExt_FreeDetails(details);
    return depth;
}

static int list_open(struct cli *cli, const struct changes_args *args, const char *path, VixDiskLibHandle disk,
                     struct listing *list)
{
    struct change_source source = {.disk = disk};
    VixError code;
    int status = disk_bytes(cli, path, disk, &source.capacity);
    if (status != STATUS_DONE) {
        return status;
    }
    list->capacity = source.capacity;
    code = changes_local_id(disk, &list->change_id);
    if (code == VIX_OK && args->since != NULL) {
        int depth = depth_of_file(disk, args->since);
        if (depth < 0) {
            return fail_with(cli, path, VIX_E_OBJECT_NOT_FOUND, "%s is no link of this disk's chain", args->since);
        }
        code = changes_above(&source, depth, 0, 0, add_area, list);
    } else if (code == VIX_OK) {
        code = changes_tell(&source, list->since, 0, 0, add_area, list);
    }
    if (code == VIX_E_DISK_CID_MISMATCH) {
        return fail_with(cli, path, code, "no link of the chain is as it was then (%s)", list->since);
    }
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, list->no_memory ? VIX_E_OUT_OF_MEMORY : code);
}

static int list_local(struct cli *cli, const struct changes_args *args, const char *path, struct listing *list)
{
    VixDiskLibHandle disk = NULL;
    int status = open_disk(cli, path, FORMAT_VMDK, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    return status != STATUS_DONE ? status : close_disk(cli, path, disk, list_open(cli, args, path, disk, list));
}

/* ---- printing ---- */

static void add_id(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text == NULL ? NULL : json_object_new_string(text));
}

static void print_json(const struct listing *list, const char *path, bool totals)
{
    struct json_object *object = json_object_new_object();
    struct json_object *areas = totals ? NULL : json_object_new_array();
    json_add_text(object, "filename", path);
    json_add_number(object, "virtual-size", list->capacity);
    add_id(object, "since", list->since);
    add_id(object, "change-id", list->change_id);
    json_add_number(object, "changed-areas", list->count);
    json_add_number(object, "changed-bytes", list->bytes);
    for (size_t i = 0; i < list->count && !totals; i++) {
        struct json_object *area = json_object_new_object();
        json_add_number(area, "start", list->areas[i].start);
        json_add_number(area, "length", list->areas[i].length);
        json_object_array_add(areas, area);
    }
    if (!totals) {
        json_object_object_add(object, "areas", areas);
    }
    json_print(object);
}

static void print_human(const struct cli *cli, const struct listing *list, bool totals)
{
    char bytes[HUMAN_BYTES_MAX];
    char capacity[HUMAN_BYTES_MAX];
    if (!totals) {
        printf("%16s %16s\n", "START", "LENGTH");
        for (size_t i = 0; i < list->count; i++) {
            printf("%16" PRIu64 " %16" PRIu64 "\n", list->areas[i].start, list->areas[i].length);
        }
    }
    if (totals || !cli->common.quiet) {
        printf("%zu area%s, %s of %s\n", list->count, list->count == 1 ? "" : "s", human_bytes(list->bytes, bytes),
               human_bytes(list->capacity, capacity));
    }
}

static int run(struct cli *cli, const void *data)
{
    const struct changes_args *args = data;
    const char *path = cli->operands[0];
    struct listing list = {0};
    if ((args->since == NULL) == (args->state == NULL)) {
        return usage_error(cli, "give one of --since and --state");
    }
    int status = args->state != NULL ? id_of_state(cli, args->state, &list) : STATUS_DONE;
    if (status == STATUS_DONE) {
        status = is_remote_path(cli, path) ? list_remote(cli, args, path, &list) : list_local(cli, args, path, &list);
    }
    if (status == STATUS_DONE && cli->common.json) {
        print_json(&list, path, args->totals);
    } else if (status == STATUS_DONE) {
        print_human(cli, &list, args->totals);
    }
    free(list.areas);
    free(list.since);
    free(list.change_id);
    return status;
}

const struct command command_changes = {
    .name = "changes",
    .usage = "PATH",
    .summary = "list the areas of a disk that have changed since an earlier time",
    .details =
        "On a server these are the areas that its change tracking tells, as of --snapshot or of now. Of a local disk\n"
        "they are what the links above FILE hold, a parent of PATH (or PATH itself: nothing). Everything else is\n"
        "as it was. All figures are in bytes.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct changes_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};

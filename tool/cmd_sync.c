/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_sync.c - keeps a copy of a disk up to date: a first full pass, then only what has changed. What makes it safe to
 * be killed at any moment is told in sync_state.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "progress.h"
#include "sync_copy.h"
#include "sync_source.h"
#include "sync_state.h"
#include "sync_target.h"
#include "text.h"

#define STATUS_NO_FULL 3
#define CHECKPOINT_BYTES ((uint64_t)1 << 30)
#define CHECKPOINT_NS UINT64_C(30000000000)
#define WHOLE_STEP ((uint64_t)64 << 20)

struct sync_args {
    const char *state;
    const char *map;
    const char *verify;
    struct type_arg type;
    enum disk_format format;
    struct bytes_arg checkpoint;
    bool full, no_full, enable_cbt, quiesce, overwrite, dry_run, cleanup;
};

static const struct option_spec options[] = {
    {.name = "state",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sync_args, state),
     .arg = "FILE",
     .help = "where the state is kept; else DST.vixstate"},
    {.name = "type",
     .letter = 't',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct sync_args, type),
     .arg = "TYPE",
     .help = "what DST is, or is made as"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct sync_args, format),
     .arg = "vmdk|raw",
     .help = "what SRC is, instead of finding out"},
    {.name = "full", .kind = OPTION_FLAG, .at = offsetof(struct sync_args, full), .help = "copy everything anew"},
    {.name = "no-full",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, no_full),
     .help = "end with status 3 where everything would have to be copied"},
    {.name = "map",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sync_args, map),
     .arg = "auto|cbt|alloc",
     .help = "cbt: there must be change tracking; alloc: use none"},
    {.name = "enable-cbt",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, enable_cbt),
     .help = "switch the machine's change tracking on"},
    {.name = "quiesce",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, quiesce),
     .help = "let the guest bring its file systems to rest for the snapshot"},
    {.name = "verify",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sync_args, verify),
     .arg = "none|changed|full",
     .help = "read source and copy after it and compare"},
    {.name = "overwrite",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, overwrite),
     .help = "DST may exist without a state"},
    {.name = "checkpoint",
     .kind = OPTION_BYTES,
     .at = offsetof(struct sync_args, checkpoint),
     .arg = "SIZE",
     .help = "flush and note how far it is, each SIZE of the disk; else 1G, or 30 s"},
    {.name = "dry-run",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, dry_run),
     .help = "only tell what would be copied; makes no snapshot"},
    {.name = "cleanup",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, cleanup),
     .help = "only remove the snapshot that a killed run has left"},
    {.kind = OPTION_END},
};

struct run {
    struct cli *cli;
    const struct sync_args *args;
    char *state_path, *snapshot_name, *lock_path;
    int lock;
    struct sync_source source;
    struct sync_target target;
    struct sync_state state;
    struct sync_part plan[SYNC_PARTS_MAX + 1]; /* what this run has to do; IDs are its own */
    size_t plan_count;
    const char *reason; /* why everything is copied; NULL: it is not */
    char reason_text[512];
    struct copier *copier;
    struct progress progress;
    bool verifying, stopped;
    int status; /* of a failure inside a pass, which has been reported */
    uint64_t areas, changed;
    uint64_t told;  /* all before it has been given to the copier */
    uint64_t noted; /* and before this it is in the state */
    uint64_t noted_ns;
    const char *verified;
};

/* ---- one run at a time ---- */

static int take_lock(struct run *r)
{
    struct stat held;
    struct stat there;
    for (;;) {
        r->lock = open(r->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (r->lock < 0) {
            return fail_errno(r->cli, r->lock_path, errno, "cannot be made");
        }
        if (flock(r->lock, LOCK_EX | LOCK_NB) != 0) {
            return fail_with(r->cli, r->lock_path, VIX_E_FILE_ALREADY_LOCKED,
                             "another sync to the same copy is running");
        }
        if (fstat(r->lock, &held) == 0 && stat(r->lock_path, &there) == 0 && held.st_ino == there.st_ino) {
            return STATUS_DONE;
        }
        close(r->lock); /* of a run that has just ended, and removed it */
        r->lock = -1;
    }
}

static void drop_lock(struct run *r)
{
    if (r->lock >= 0 && flock(r->lock, LOCK_EX | LOCK_NB) == 0) {
        unlink(r->lock_path);
    }
    if (r->lock >= 0) {
        close(r->lock);
    }
}

/** A name that is the same for each run with this state on this machine, and no other's. */
static char *snapshot_name(const char *state_path)
{
    char host[65] = "";
    char *text = NULL;
    char *name = NULL;
    char *folder = strdup(state_path);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    const char *base = slash != NULL ? state_path + (slash - folder) + 1 : state_path;
    if (slash != NULL) {
        *slash = '\0';
    }
    char *real = folder != NULL ? realpath(slash == NULL ? "." : folder[0] == '\0' ? "/" : folder, NULL) : NULL;
    (void)gethostname(host, sizeof host - 1);
    if (asprintf(&text, "%s:%s/%s", host, real != NULL ? real : "", base) < 0) {
        text = NULL;
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *c = text; c != NULL && *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    if (text == NULL || asprintf(&name, "vixdisk-sync-%016" PRIx64, hash) < 0) {
        name = NULL;
    }
    free(folder);
    free(real);
    free(text);
    return name;
}

/* ---- the plan ---- */

static bool differ(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) != 0;
}

/** Why nothing of an old copy can be used; NULL: it can. */
static const char *reason_for_all(const struct run *r, bool found)
{
    const struct sync_state *s = &r->state;
    if (r->args->full) {
        return "--full";
    }
    if (!found) {
        return "there is no state of an earlier copy";
    }
    if (r->source.change_id == NULL || (r->args->map != NULL && strcmp(r->args->map, "alloc") == 0)) {
        return "no change tracking is used";
    }
    if ((s->vm == NULL) != (r->source.vm == NULL) || differ(s->disk_uuid, r->source.uuid) ||
        (r->source.uuid == NULL && s->device_key != r->source.key)) {
        return "the state is of another disk";
    }
    if (s->capacity > r->source.changes.capacity) {
        return "the source is smaller than it was";
    }
    return sync_target_differs(&r->target, s);
}

static bool add_part(struct run *r, uint64_t end, const char *id)
{
    char *copy = id != NULL ? strdup(id) : NULL;
    if (id != NULL && copy == NULL) {
        return false;
    }
    r->plan[r->plan_count++] = (struct sync_part){.end = end, .change_id = copy};
    return true;
}

/** Adds the part of the state, with its ID if changes since then are of use. */
static VixError plan_part(struct run *r, const struct sync_part *part)
{
    const char *id = part->change_id;
    bool of_use = id != NULL;
    VixError code = VIX_OK;
    if (id == NULL) {
        r->reason = "the first copy was not completed";
    } else {
        code = changes_includes(&r->source.changes, r->source.change_id, id, &of_use);
    }
    if (code == VIX_OK && id != NULL && !of_use) {
        r->reason = r->source.changes.server != NULL ? "change tracking has begun anew"
                                                     : "no link of the chain is as it was when it was copied";
    }
    return code != VIX_OK ? code : add_part(r, part->end, of_use ? id : NULL) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

/** What each part of the disk is copied since. */
static VixError make_plan(struct run *r, bool found)
{
    uint64_t capacity = r->source.changes.capacity;
    bool includes = true;
    VixError code = VIX_OK;
    r->reason = reason_for_all(r, found);
    if (r->reason == NULL && !r->state.complete && r->state.copying != NULL) {
        code = changes_includes(&r->source.changes, r->source.change_id, r->state.copying, &includes);
        r->reason = includes ? NULL : "what a run that was stopped had begun to copy is not of the source's past";
    }
    if (code == VIX_OK && r->reason != NULL) {
        return add_part(r, capacity, NULL) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < r->state.part_count && code == VIX_OK; i++) {
        code = plan_part(r, &r->state.parts[i]);
    }
    if (code == VIX_OK && r->state.capacity != capacity && !add_part(r, capacity, NULL)) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

/** The state before anything is copied: what the plan says, incomplete. */
static bool begin_state(struct run *r)
{
    struct sync_state s = {.capacity = r->source.changes.capacity, .device_key = r->source.key};
    s.source = strdup(r->source.path);
    s.copying = r->source.change_id != NULL ? strdup(r->source.change_id) : NULL;
    s.vm = r->source.vm != NULL ? strdup(r->source.vm) : NULL;
    s.disk_uuid = r->source.uuid != NULL ? strdup(r->source.uuid) : NULL;
    bool good = s.source != NULL && (r->source.vm == NULL || s.vm != NULL) &&
                (r->source.uuid == NULL || s.disk_uuid != NULL) && (r->source.change_id == NULL || s.copying != NULL);
    /* The part that is new on a disk that has grown may be one too many: then the last ones are copied whole. */
    size_t count = r->plan_count <= SYNC_PARTS_MAX ? r->plan_count : SYNC_PARTS_MAX;
    for (size_t i = 0; i < count && good; i++) {
        const char *id = i + 1 == count && count < r->plan_count ? NULL : r->plan[i].change_id;
        s.parts[i].end = i + 1 == count ? s.capacity : r->plan[i].end;
        s.parts[i].change_id = id != NULL ? strdup(id) : NULL;
        s.part_count++;
        good = id == NULL || s.parts[i].change_id != NULL;
    }
    sync_state_clear(&r->state);
    r->state = s;
    return good;
}

/* ---- a pass ---- */

/** Everything that was told is on stable storage and in the state. */
static int checkpoint(struct run *r)
{
    VixError code = copier_finish(r->copier);
    uint64_t to = r->told / SECTOR_BYTES * SECTOR_BYTES;
    if (code == VIX_OK) {
        code = VixDiskLib_Flush(r->target.disk);
        if (code != VIX_OK) {
            return fail(r->cli, r->target.path, code);
        }
    }
    if (code != VIX_OK) {
        const char *path = copier_failed_on_target(r->copier) ? r->target.path : r->source.path;
        return fail_with(r->cli, path, code, "%s", copier_failure(r->copier));
    }
    r->noted = to;
    r->noted_ns = now_ns();
    if (r->source.change_id == NULL || to == 0) {
        return STATUS_DONE;
    }
    if (!sync_state_advance(&r->state, to, r->source.change_id)) {
        return fail_with(r->cli, r->state_path, VIX_E_OUT_OF_MEMORY, "of the state");
    }
    r->state.bytes_copied = copier_totals(r->copier)->read;
    return sync_state_write(r->cli, r->state_path, &r->state);
}

static bool take_change(void *ctx, uint64_t start, uint64_t length)
{
    struct run *r = ctx;
    uint64_t capacity = r->source.changes.capacity;
    uint64_t step = r->args->checkpoint.given ? r->args->checkpoint.bytes : CHECKPOINT_BYTES;
    if (length > 0) {
        uint64_t end = (start + length + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
        start = start / SECTOR_BYTES * SECTOR_BYTES;
        end = end < capacity ? end : capacity;
        r->areas += !r->verifying;
        r->changed += r->verifying ? 0 : end - start;
        if (r->args->dry_run) {
            return true;
        }
        if (copier_range(r->copier, start, end - start) != VIX_OK) {
            return false;
        }
    } else {
        r->told = start;
        bool due = r->told - r->noted >= step || now_ns() - r->noted_ns >= CHECKPOINT_NS;
        if (!r->verifying && !r->args->dry_run && due) {
            r->status = checkpoint(r);
        }
    }
    r->stopped = !progress_step(&r->progress, start, capacity);
    return !r->stopped && r->status == STATUS_DONE;
}

/** All of a range. */
static VixError tell_whole(struct run *r, uint64_t start, uint64_t end)
{
    for (uint64_t pos = start; pos < end;) {
        uint64_t length = end - pos < WHOLE_STEP ? end - pos : WHOLE_STEP;
        if (!take_change(r, pos, length) || !take_change(r, pos + length, 0)) {
            return VIX_E_CANCELLED;
        }
        pos += length;
    }
    return VIX_OK;
}

/** Whether a failure means that the changes since an ID are not known, so that everything has to be copied. */
static bool is_unknown(VixError code)
{
    return code == VIX_E_INVALID_ARG || code == VIX_E_FILE_ACCESS_ERROR || code == VIX_E_FILE_NOT_FOUND ||
           code == VIX_E_NOT_SUPPORTED || code == VIX_E_FAIL || code == VIX_E_DISK_CID_MISMATCH;
}

static VixError tell_part(struct run *r, const struct sync_part *part, uint64_t start)
{
    if (part->change_id == NULL) {
        return tell_whole(r, start, part->end);
    }
    r->told = start;
    VixError code = changes_tell(&r->source.changes, part->change_id, start, part->end, take_change, r);
    if (!is_unknown(code)) {
        return code;
    }
    snprintf(r->reason_text, sizeof r->reason_text, "the changes since %s are not known: %s", part->change_id,
             code == VIX_E_DISK_CID_MISMATCH ? "no link of the chain is as it was then"
                                             : VixDiskLibExt_LastErrorDetail());
    r->reason = r->reason_text;
    remark(r->cli, "%s", r->reason);
    if (r->args->no_full) {
        r->status = STATUS_NO_FULL;
        return VIX_E_CANCELLED;
    }
    return tell_whole(r, r->told, part->end);
}

/** Goes through the plan. */
static int pass(struct run *r)
{
    VixError code = VIX_OK;
    uint64_t start = 0;
    r->told = r->noted = 0;
    r->noted_ns = now_ns();
    for (size_t i = 0; i < r->plan_count && code == VIX_OK; i++) {
        code = tell_part(r, &r->plan[i], start);
        start = r->plan[i].end;
    }
    if (r->status != STATUS_DONE) {
        return r->status;
    }
    if (r->args->dry_run) {
        return code == VIX_OK ? STATUS_DONE : r->stopped ? STATUS_FAILED : fail(r->cli, r->source.path, code);
    }
    bool own = code != VIX_OK && !r->stopped && copier_failure(r->copier)[0] == '\0';
    int status = own ? fail(r->cli, r->source.path, code) : STATUS_DONE;
    /* What has been told is kept, also of a pass that was stopped or whose changes could not be told further. */
    int kept = r->verifying ? STATUS_DONE : checkpoint(r);
    if (status == STATUS_DONE) {
        status = kept;
    }
    return status == STATUS_DONE && r->stopped ? fail_with(r->cli, r->source.path, VIX_E_CANCELLED, "by a signal")
                                               : status;
}

/* ---- verification ---- */

static int verify(struct run *r)
{
    bool full = strcmp(r->args->verify, "full") == 0;
    struct copier *writer = r->copier;
    uint64_t areas = r->areas;
    VixError code = VIX_OK;
    int status = STATUS_DONE;
    r->copier = copier_new(r->source.changes.disk, r->target.disk, false);
    if (r->copier == NULL) {
        r->copier = writer;
        return fail_with(r->cli, r->target.path, VIX_E_OUT_OF_MEMORY, "of the buffers");
    }
    copier_compare(r->copier);
    r->verifying = true;
    if (full) {
        code = tell_whole(r, 0, r->source.changes.capacity);
        status = r->stopped ? fail_with(r->cli, r->source.path, VIX_E_CANCELLED, "by a signal") : STATUS_DONE;
    } else {
        status = pass(r);
    }
    code = copier_finish(r->copier);
    const struct copy_totals *t = copier_totals(r->copier);
    if (status == STATUS_DONE && code != VIX_OK) {
        const char *path = copier_failed_on_target(r->copier) ? r->target.path : r->source.path;
        status = fail_with(r->cli, path, code, "%s", copier_failure(r->copier));
    } else if (status == STATUS_DONE && t->different > 0) {
        bool known = sync_state_reset(&r->state, NULL);
        status = known ? sync_state_write(r->cli, r->state_path, &r->state) : STATUS_FAILED;
        status = fail_with(r->cli, r->target.path, VIX_E_FAIL,
                           "the copy differs from the source, first in the piece at offset %" PRIu64 ", %" PRIu64
                           " bytes in pieces that differ; the next run copies everything",
                           t->first_different, t->different);
    }
    copier_free(r->copier);
    r->copier = writer;
    r->verifying = false;
    r->areas = areas;
    r->verified = r->args->verify;
    return status;
}

/* ---- the end ---- */

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text == NULL ? NULL : json_object_new_string(text));
}

static void report(const struct run *r)
{
    struct copy_totals none = {0};
    const struct copy_totals *t = r->copier != NULL ? copier_totals(r->copier) : &none;
    char read[HUMAN_BYTES_MAX];
    char written[HUMAN_BYTES_MAX];
    char zeroed[HUMAN_BYTES_MAX];
    if (r->cli->common.json) {
        struct json_object *object = json_object_new_object();
        add_text(object, "source", r->source.path);
        add_text(object, "target", r->target.path);
        add_text(object, "mode", r->reason != NULL ? "full" : "delta");
        add_text(object, "reason", r->reason);
        json_add_bool(object, "dry-run", r->args->dry_run);
        json_add_number(object, "virtual-size", r->source.changes.capacity);
        json_add_number(object, "changed-areas", r->areas);
        json_add_number(object, "changed-bytes", r->changed);
        json_add_number(object, "read-bytes", t->read);
        json_add_number(object, "written-bytes", t->written);
        json_add_number(object, "zeroed-bytes", t->zeroed);
        add_text(object, "verified", r->verified);
        add_text(object, "change-id", r->source.change_id);
        json_print(object);
    } else if (!r->cli->common.quiet) {
        printf("%s: %s%s%s%s, %" PRIu64 " area%s%s; read %s, wrote %s, made %s zeros%s\n", r->target.path,
               r->reason != NULL ? "everything" : "changes", r->reason != NULL ? " (" : "",
               r->reason != NULL ? r->reason : "", r->reason != NULL ? ")" : "", r->areas, r->areas == 1 ? "" : "s",
               r->args->dry_run ? " would be copied" : "", human_bytes(t->read, read), human_bytes(t->written, written),
               human_bytes(t->zeroed, zeroed), r->verified != NULL ? "; verified" : "");
    }
}

/** The copy is complete and closed: so says the state. */
static int complete(struct run *r)
{
    if (!sync_state_reset(&r->state, r->source.change_id)) {
        return fail_with(r->cli, r->state_path, VIX_E_OUT_OF_MEMORY, "of the state");
    }
    r->state.complete = true;
    r->state.bytes_copied = copier_totals(r->copier)->read;
    r->state.snapshot_time = r->source.time != NULL ? strdup(r->source.time) : NULL;
    sync_target_identify(&r->target, true, &r->state);
    return sync_state_write(r->cli, r->state_path, &r->state);
}

/** Opens the copy. The state is there before a new one is, for what is there without a state is not written over. */
static int open_target(struct run *r, bool found)
{
    struct cli *cli = r->cli;
    if (!begin_state(r)) {
        return fail_with(cli, r->state_path, VIX_E_OUT_OF_MEMORY, "of the state");
    }
    sync_target_identify(&r->target, false, &r->state);
    int status = sync_state_write(cli, r->state_path, &r->state);
    if (status != STATUS_DONE) {
        return status;
    }
    status = sync_target_open(cli, &r->target, r->source.changes.disk, r->source.changes.capacity);
    if (status != STATUS_DONE) {
        if (!found && !r->target.fresh) {
            unlink(r->state_path);
        }
        return status;
    }
    sync_target_identify(&r->target, false, &r->state);
    return sync_state_write(cli, r->state_path, &r->state);
}

static int copy(struct run *r, bool found)
{
    struct cli *cli = r->cli;
    bool none = r->args->verify == NULL || strcmp(r->args->verify, "none") == 0;
    int status = open_target(r, found);
    r->copier = status == STATUS_DONE ? copier_new(r->source.changes.disk, r->target.disk, r->target.fresh) : NULL;
    if (status == STATUS_DONE && r->copier == NULL) {
        status = fail_with(cli, r->target.path, VIX_E_OUT_OF_MEMORY, "of the buffers");
    }
    if (status == STATUS_DONE) {
        status = pass(r);
    }
    if (status == STATUS_DONE && !none) {
        status = verify(r);
    }
    status = close_disk(cli, r->target.path, r->target.disk, status);
    r->target.disk = NULL;
    return status == STATUS_DONE ? complete(r) : status;
}

/** With the lock held. */
static int sync_disk(struct run *r)
{
    struct cli *cli = r->cli;
    bool found = false;
    const struct sync_source_options how = {.snapshot = server_snapshot(cli),
                                            .name = r->snapshot_name,
                                            .format = r->args->format,
                                            .enable_tracking = r->args->enable_cbt,
                                            .quiesce = r->args->quiesce,
                                            .leave_alone = r->args->dry_run};
    int status = STATUS_DONE;
    if (!r->args->full) {
        status = sync_state_read(cli, r->state_path, &r->state, &found);
    }
    if (status == STATUS_DONE) {
        status = sync_target_find(cli, cli->operands[1], r->args->type, &r->target);
    }
    bool ours = found || (r->args->full && access(r->state_path, F_OK) == 0);
    if (status == STATUS_DONE && r->target.exists && !r->args->overwrite && !ours) {
        return fail_with(cli, r->target.path, VIX_E_FILE_ALREADY_EXISTS,
                         "it exists, and %s does not: --overwrite writes over it", r->state_path);
    }
    if (status == STATUS_DONE) {
        status = sync_source_open(cli, cli->operands[0], &how, &r->source);
    }
    if (status == STATUS_DONE && r->source.change_id == NULL && r->args->map != NULL &&
        strcmp(r->args->map, "cbt") == 0) {
        status = fail_with(cli, r->source.path, VIX_E_NOT_SUPPORTED,
                           "there is no change tracking; --enable-cbt switches it on");
    }
    if (status == STATUS_DONE) {
        VixError code = make_plan(r, found);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, r->source.path, code);
    }
    if (status == STATUS_DONE && r->reason != NULL && r->args->no_full) {
        remark(cli, "everything would have to be copied: %s", r->reason);
        status = STATUS_NO_FULL;
    }
    if (status == STATUS_DONE) {
        progress_init(&r->progress, cli);
        status = r->args->dry_run ? pass(r) : copy(r, found);
        progress_end(&r->progress);
    }
    if (status == STATUS_DONE) {
        report(r);
    }
    copier_free(r->copier);
    if (r->target.disk != NULL) {
        (void)VixDiskLib_Close(r->target.disk);
    }
    return sync_source_close(cli, &r->source, status);
}

/** Only what a killed run has left on the server. */
static int clean_up(struct run *r)
{
    unsigned count = 0;
    if (!is_remote_path(r->cli, r->cli->operands[0])) {
        return usage_error(r->cli, "--cleanup: SRC is not on a server");
    }
    r->cli->common.remote.snapshot = "";
    int status = need_machine(r->cli);
    status = status < 0 ? cli_connect_server(r->cli) : status;
    return status == STATUS_DONE ? sync_source_remove_leftovers(r->cli, r->snapshot_name, &count) : status;
}

static int check_word(struct cli *cli, const char *option, const char *word, const char *const *words)
{
    for (size_t i = 0; word != NULL && words[i] != NULL; i++) {
        if (strcmp(word, words[i]) == 0) {
            return -1;
        }
    }
    return word == NULL
               ? -1
               : usage_error(cli, "%s: \"%s\" is none of %s, %s, %s", option, word, words[0], words[1], words[2]);
}

static int check_args(struct cli *cli, const struct sync_args *args)
{
    static const char *const maps[] = {"auto", "cbt", "alloc", NULL};
    static const char *const verifications[] = {"none", "changed", "full", NULL};
    int status = check_word(cli, "--map", args->map, maps);
    status = status < 0 ? check_word(cli, "--verify", args->verify, verifications) : status;
    if (status < 0 && args->full && args->no_full) {
        return usage_error(cli, "--full and --no-full contradict each other");
    }
    if (status < 0 && args->checkpoint.given && args->checkpoint.bytes == 0) {
        return usage_error(cli, "--checkpoint: more than 0");
    }
    if (status < 0 && args->state == NULL && is_remote_path(cli, cli->operands[1])) {
        return usage_error(cli, "--state FILE is needed where DST is on a server");
    }
    return status;
}

static int run(struct cli *cli, const void *data)
{
    struct run r = {.cli = cli, .args = data, .lock = -1};
    int status = check_args(cli, r.args);
    if (status >= 0) {
        return status;
    }
    stop_catch_signals();
    if (asprintf(&r.state_path, r.args->state != NULL ? "%s" : "%s.vixstate",
                 r.args->state != NULL ? r.args->state : cli->operands[1]) < 0 ||
        asprintf(&r.lock_path, "%s.lock", r.state_path) < 0 ||
        (r.snapshot_name = snapshot_name(r.state_path)) == NULL) {
        return fail_with(cli, cli->operands[1], VIX_E_OUT_OF_MEMORY, "of the names");
    }
    status = take_lock(&r);
    if (status == STATUS_DONE) {
        status = r.args->cleanup ? clean_up(&r) : sync_disk(&r);
    }
    drop_lock(&r);
    sync_state_clear(&r.state);
    for (size_t i = 0; i < r.plan_count; i++) {
        free(r.plan[i].change_id);
    }
    free(r.state_path);
    free(r.lock_path);
    free(r.snapshot_name);
    return stop_status(status);
}

const struct command command_sync = {
    .name = "sync",
    .usage = "SRC DST",
    .summary = "keep a copy of a disk up to date: everything once, then what has changed",
    .details =
        "What has changed is told by the change tracking of SRC's server, or by the links that have come above the "
        "one\n"
        "that was on top. A disk on a server is read as of a snapshot, which is made for it and removed at the end;\n"
        "--snapshot REF takes one that is there, --snapshot none the disk as it is. DST is a raw image, a device, a\n"
        "VMDK, or a disk on the server, and is written in place; what it is of is in DST.vixstate. A run that was\n"
        "stopped or killed is gone on with by the next one. Others must not write to DST: of a file it is noticed,\n"
        "of a device or a disk on a server it is not. Exit status 3: --no-full, and everything would be copied.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct sync_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};

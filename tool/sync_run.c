/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_run.c - makes the plan of a run from the state, and goes through it. */
#include "sync_run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "sync_lock.h"
#include "sync_state.h"
#include "sync_target.h"

#define CHECKPOINT_BYTES ((uint64_t)1 << 30)
#define CHECKPOINT_NS UINT64_C(30000000000)
#define WHOLE_STEP ((uint64_t)64 << 20)

struct sync_run {
    struct sync_job job;
    struct cli *cli;                    /* the job's, as the next one */
    const struct sync_options *options; /* what is asked for */
    char *state_path;
    struct sync_lock lock;
    bool found;     /* the state was there, and is of use */
    bool had_state; /* there was one, whatever it is */
    bool begun;     /* the state is this run's */
    bool unnoted;   /* it could not be written */
    struct sync_source source;
    struct sync_target target;
    struct sync_state state;
    struct sync_part plan[SYNC_PARTS_MAX + 1]; /* what this run has to do; IDs are its own */
    size_t plan_count;
    const char *reason; /* why everything is copied; NULL: it is not */
    char reason_text[512];
    struct copier *copier;
    struct picture *map; /* of the source, for what is copied; NULL: none */
    bool verifying, stopped;
    int status; /* of a failure inside a pass, which has been reported */
    uint64_t areas, changed;
    uint64_t told;  /* all before it has been given to the copier */
    uint64_t noted; /* and before this it is in the state */
    uint64_t noted_ns;
    const char *verified;
};

/* ---- the plan ---- */

static bool differ(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) != 0;
}

static bool is_of_another(const struct sync_run *r)
{
    const struct sync_state *s = &r->state;
    return (s->vm == NULL) != (r->source.vm == NULL) || differ(s->disk_uuid, r->source.uuid) ||
           (r->source.uuid == NULL && s->device_key != r->source.key);
}

/** Why nothing of an old copy can be used; NULL: it can. */
static const char *reason_for_all(const struct sync_run *r, bool found)
{
    const struct sync_state *s = &r->state;
    if (r->options->full) {
        return "--full";
    }
    if (!found) {
        return "there is no state of an earlier copy";
    }
    if (r->source.change_id == NULL || (r->options->map != NULL && strcmp(r->options->map, "alloc") == 0)) {
        return "no change tracking is used";
    }
    if (is_of_another(r)) {
        return "the state is of another disk";
    }
    if (s->capacity > r->source.changes.capacity) {
        return "the source is smaller than it was";
    }
    return sync_target_differs(&r->target, s);
}

static bool add_part(struct sync_run *r, uint64_t end, const char *id)
{
    char *copy = id != NULL ? strdup(id) : NULL;
    if (id != NULL && copy == NULL) {
        return false;
    }
    r->plan[r->plan_count++] = (struct sync_part){.end = end, .change_id = copy};
    return true;
}

/** Adds the part of the state, with its ID if changes since then are of use. */
static VixError plan_part(struct sync_run *r, const struct sync_part *part)
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
static VixError make_plan(struct sync_run *r, bool found)
{
    uint64_t capacity = r->source.changes.capacity;
    bool includes = true;
    VixError code = VIX_OK;
    r->reason = reason_for_all(r, found);
    if (r->reason == NULL && !r->state.complete && r->state.copying != NULL) {
        code = changes_includes(&r->source.changes, r->source.change_id, r->state.copying, &includes);
        r->reason = includes ? NULL : "what a run that was stopped had begun to copy is not of the source's past";
        if (code == VIX_OK && includes) {
            code = changes_known(&r->source.changes, r->state.copying, &includes);
            r->reason = includes ? NULL : "what has changed since a run that was stopped is not known";
        }
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
static bool begin_state(struct sync_run *r)
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

/** Puts the state on stable storage. */
static int write_state(struct sync_run *r)
{
    int status = sync_state_write(r->cli, r->state_path, &r->state);
    r->unnoted = status != STATUS_DONE;
    return status;
}

/* ---- a pass ---- */

/** Everything that was told is on stable storage and in the state. */
static int checkpoint(struct sync_run *r)
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
        return fail_kept(r->cli, path, code, copier_may_pass(r->copier), copier_failure(r->copier));
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
    return write_state(r);
}

static bool take_change(void *ctx, uint64_t start, uint64_t length)
{
    struct sync_run *r = ctx;
    uint64_t capacity = r->source.changes.capacity;
    uint64_t step = r->options->checkpoint.given ? r->options->checkpoint.bytes : CHECKPOINT_BYTES;
    if (length > 0) {
        uint64_t end = (start + length + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
        start = start / SECTOR_BYTES * SECTOR_BYTES;
        end = end < capacity ? end : capacity;
        r->areas += !r->verifying;
        r->changed += r->verifying ? 0 : end - start;
        if (r->map != NULL && !r->verifying) {
            picture_mark(r->map, start, end - start);
        }
        if (r->options->dry_run) {
            return true;
        }
        if (copier_range(r->copier, start, end - start) != VIX_OK) {
            return false;
        }
    } else {
        r->told = start;
        bool due = r->told - r->noted >= step || now_ns() - r->noted_ns >= CHECKPOINT_NS;
        if (!r->verifying && !r->options->dry_run && due) {
            r->status = checkpoint(r);
        }
    }
    r->stopped = !r->job.step(r->job.ctx, start, capacity);
    return !r->stopped && r->status == STATUS_DONE;
}

/** All of a range. */
static VixError tell_whole(struct sync_run *r, uint64_t start, uint64_t end)
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

static VixError tell_part(struct sync_run *r, const struct sync_part *part, uint64_t start)
{
    if (part->change_id == NULL) {
        return tell_whole(r, start, part->end);
    }
    r->told = start;
    VixError code = changes_tell(&r->source.changes, part->change_id, start, part->end, take_change, r);
    if (!changes_is_unknown(code)) {
        return code;
    }
    snprintf(r->reason_text, sizeof r->reason_text, "the changes since %s are not known: %s", part->change_id,
             code == VIX_E_DISK_CID_MISMATCH ? "no link of the chain is as it was then"
                                             : VixDiskLibExt_LastErrorDetail());
    r->reason = r->reason_text;
    if (r->map != NULL) {
        r->map->color = COLOR_ALLOC;
    }
    remark(r->cli, "%s", r->reason);
    if (r->options->no_full) {
        r->status = SYNC_STATUS_NO_FULL;
        return VIX_E_CANCELLED;
    }
    return tell_whole(r, r->told, part->end);
}

/** Goes through the plan. */
static int pass(struct sync_run *r)
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
    if (r->options->dry_run) {
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

static int verify(struct sync_run *r)
{
    bool full = strcmp(r->options->verify, "full") == 0;
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
        status = fail_kept(r->cli, path, code, copier_may_pass(r->copier), copier_failure(r->copier));
    } else if (status == STATUS_DONE && t->different > 0) {
        bool known = sync_state_reset(&r->state, NULL);
        status = known ? write_state(r) : STATUS_FAILED;
        status = fail_with(r->cli, r->target.path, VIX_E_FAIL,
                           "the copy differs from the source, first in the piece at offset %" PRIu64 ", %" PRIu64
                           " bytes in pieces that differ; the next run copies everything",
                           t->first_different, t->different);
    }
    copier_free(r->copier);
    r->copier = writer;
    r->verifying = false;
    r->areas = areas;
    r->verified = r->options->verify;
    return status;
}

/* ---- the copy ---- */

/** The copy is complete and closed: so says the state. */
static int complete(struct sync_run *r)
{
    if (!sync_state_reset(&r->state, r->source.change_id)) {
        return fail_with(r->cli, r->state_path, VIX_E_OUT_OF_MEMORY, "of the state");
    }
    r->state.complete = true;
    r->state.bytes_copied = copier_totals(r->copier)->read;
    r->state.snapshot_time = r->source.time != NULL ? strdup(r->source.time) : NULL;
    sync_target_identify(&r->target, true, &r->state);
    return write_state(r);
}

/** What the copy is now, closed or not, goes into the state. */
static int note_target(struct sync_run *r, bool closed)
{
    sync_target_identify(&r->target, closed, &r->state);
    return write_state(r);
}

/** Makes the copy ready to be written. One that is there is open by now, so nothing has become of its state if that
 * cannot be; before anything of it is changed the state says that it is not complete. The state is there before a new
 * copy is, for what is there without a state is not written over. */
static int prepare_target(struct sync_run *r)
{
    if (!begin_state(r)) {
        return fail_with(r->cli, r->state_path, VIX_E_OUT_OF_MEMORY, "of the state");
    }
    int status = note_target(r, false);
    if (status != STATUS_DONE) {
        return status;
    }
    r->begun = true;
    status = sync_target_prepare(r->cli, &r->target, r->source.changes.disk, r->source.changes.capacity);
    if (status != STATUS_DONE && !r->had_state && !r->target.fresh) {
        unlink(r->state_path);
        r->begun = false;
    }
    return status == STATUS_DONE ? note_target(r, false) : status;
}

static int copy(struct sync_run *r)
{
    struct cli *cli = r->cli;
    bool none = r->options->verify == NULL || strcmp(r->options->verify, "none") == 0;
    int status = prepare_target(r);
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
    if (status == STATUS_DONE && r->job.map_target) {
        run_report_map(r->job.report, r->target.disk, r->target.path, "Copy");
    }
    if (r->target.disk != NULL) {
        status = close_disk(cli, r->target.path, r->target.disk, status);
        r->target.disk = NULL;
    }
    if (status == STATUS_DONE) {
        return complete(r);
    }
    if (r->begun && !r->unnoted) {
        (void)note_target(r, true); /* what others write to what is left is noticed */
    }
    return status;
}

int sync_run_begin(const struct sync_job *job, struct sync_run **ret_run)
{
    struct cli *cli = job->cli;
    const struct sync_options *options = job->options;
    struct sync_run *r = calloc(1, sizeof *r);
    *ret_run = r;
    if (r == NULL || asprintf(&r->state_path, job->state != NULL ? "%s" : "%s.vixstate",
                              job->state != NULL ? job->state : job->target) < 0) {
        free(r);
        *ret_run = NULL;
        return fail_with(cli, job->target, VIX_E_OUT_OF_MEMORY, "of the names");
    }
    r->job = *job;
    r->cli = cli;
    r->options = options;
    int status = sync_lock_take(cli, r->state_path, &r->lock);
    r->had_state = access(r->state_path, F_OK) == 0;
    if (status == STATUS_DONE && !options->full) {
        status = sync_state_read(cli, r->state_path, &r->state, &r->found);
    }
    if (status == STATUS_DONE) {
        status = sync_target_find(cli, job->target, options->type, &r->target);
    }
    if (status == STATUS_DONE && r->target.exists && !options->overwrite && !r->had_state) {
        return fail_with(cli, r->target.path, VIX_E_FILE_ALREADY_EXISTS,
                         "it exists, and %s does not: --overwrite writes over it", r->state_path);
    }
    return status;
}

/** With the source open. */
static int follow_plan(struct sync_run *r)
{
    struct cli *cli = r->cli;
    if (r->source.change_id == NULL && r->options->map != NULL && strcmp(r->options->map, "cbt") == 0) {
        return fail_with(cli, r->source.path, VIX_E_NOT_SUPPORTED,
                         "there is no change tracking; --enable-cbt switches it on");
    }
    if (r->job.keep_others && r->found && !r->options->full && is_of_another(r)) {
        return fail_with(cli, r->target.path, VIX_E_FILE_ALREADY_EXISTS,
                         "its state is of another disk (%s); --full writes over it", r->state.source);
    }
    if (r->target.exists) {
        int status = sync_target_open(cli, &r->target, r->options->dry_run ? VIXDISKLIB_FLAG_OPEN_READ_ONLY : 0);
        if (status != STATUS_DONE) {
            return status;
        }
    }
    VixError code = make_plan(r, r->found);
    if (code != VIX_OK) {
        return fail(cli, r->source.path, code);
    }
    if (r->reason != NULL && r->options->no_full) {
        remark(cli, "everything would have to be copied: %s", r->reason);
        return SYNC_STATUS_NO_FULL;
    }
    r->map = run_report_disk(r->job.report, r->source.changes.disk, r->source.path, r->job.caption);
    if (r->map != NULL && r->reason == NULL) {
        picture_clear_marks(r->map, "copied in this run");
    }
    run_report_work(r->job.report);
    return r->options->dry_run ? pass(r) : copy(r);
}

static int fill_result(struct sync_run *r, int status, struct sync_result *ret_result)
{
    if (r->copier != NULL) {
        ret_result->totals = *copier_totals(r->copier);
    }
    snprintf(ret_result->reason, sizeof ret_result->reason, "%s", r->reason != NULL ? r->reason : "");
    ret_result->capacity = r->source.changes.capacity;
    ret_result->areas = r->areas;
    ret_result->changed = r->changed;
    ret_result->verified = r->verified;
    ret_result->change_id = r->source.change_id != NULL ? strdup(r->source.change_id) : NULL;
    bool whole = r->source.change_id == NULL || ret_result->change_id != NULL;
    return whole || status != STATUS_DONE ? status
                                          : fail_with(r->cli, r->source.path, VIX_E_OUT_OF_MEMORY, "of the ID");
}

int sync_run_copy(struct sync_run *r, const struct sync_snapshot *snapshot, struct sync_result *ret_result)
{
    *ret_result =
        (struct sync_result){.source = r->job.source, .target = r->job.target, .dry_run = r->options->dry_run};
    int status = sync_source_open(r->cli, r->job.source, r->options->format, snapshot, &r->source);
    if (status == STATUS_DONE) {
        status = follow_plan(r);
    }
    status = fill_result(r, status, ret_result);
    copier_free(r->copier);
    r->copier = NULL;
    if (r->target.disk != NULL) {
        (void)VixDiskLib_Close(r->target.disk);
        r->target.disk = NULL;
    }
    sync_source_close(&r->source);
    return status;
}

void sync_run_end(struct sync_run *r)
{
    if (r == NULL) {
        return;
    }
    sync_lock_drop(&r->lock);
    sync_state_clear(&r->state);
    sync_target_clear(&r->target);
    for (size_t i = 0; i < r->plan_count; i++) {
        free(r->plan[i].change_id);
    }
    free(r->state_path);
    free(r);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_all.c - a row of disks, which threads take one by one. The threads share the connections, which bear that; the
 * lock is over what is told: progress, lines, and the samples of the report. */
#include "sync_all.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "progress.h"
#include "sync_lock.h"
#include "text.h"

struct all;

/** One disk. */
struct member {
    struct all *all;
    struct sync_job job;
    char *source, *target;
    const char *name; /* of the target, without the folder */
    uint64_t capacity, done;
    struct sync_run *run;
    struct sync_result result;
    bool copied; /* the copy was tried; status tells how that ended */
    int status;
    char failure[2048]; /* "": none was told */
};

struct all {
    struct cli *cli;
    const struct sync_options *options;
    struct run_report *report;
    struct sync_snapshot snapshot;
    char *machine; /* for people */
    struct member *members;
    size_t count, next;
    bool json;
    pthread_mutex_t lock; /* over next, done, and all that is printed */
    struct progress progress;
};

/* ---- the disks ---- */

static int no_memory(struct all *a)
{
    return fail_with(a->cli, a->cli->operands[0], VIX_E_OUT_OF_MEMORY, "of the names of disks");
}

/** Told by the copies, on their threads. */
static bool step(void *ctx, uint64_t done, uint64_t total)
{
    struct member *m = ctx;
    struct all *a = m->all;
    struct progress_report told = {.report = a->report, .func = progress_step, .data = &a->progress};
    uint64_t all_done = 0;
    uint64_t all_total = 0;
    pthread_mutex_lock(&a->lock);
    m->capacity = total;
    m->done = done > m->done ? done : m->done; /* a verification begins at the start again */
    for (size_t i = 0; i < a->count; i++) {
        all_done += a->members[i].done;
        all_total += a->members[i].capacity;
    }
    bool go_on = run_report_step(&told, all_done, all_total) != FALSE;
    pthread_mutex_unlock(&a->lock);
    return go_on;
}

/** A name that neither the server nor the order of disks has a part in: the number stays the disk's. */
static int add_member(struct all *a, const VixDiskLibExt_VmDisk *disk)
{
    const struct type_arg *type = &a->options->type;
    struct member *m = &a->members[a->count++];
    m->all = a;
    m->capacity = disk->capacityBytes;
    m->source = disk->file != NULL ? strdup(disk->file) : NULL;
    if (asprintf(&m->target, "%s/disk-%" PRId32 ".%s", a->cli->operands[0], (int32_t)disk->key,
                 type->given && !type->raw ? "vmdk" : "img") < 0) {
        m->target = NULL;
    }
    if (m->source == NULL || m->target == NULL) {
        return disk->file == NULL ? fail_with(a->cli, a->machine, VIX_E_FILE_NOT_FOUND,
                                              "the server does not tell the file of disk %" PRId32, (int32_t)disk->key)
                                  : no_memory(a);
    }
    m->name = strrchr(m->target, '/') + 1;
    m->job = (struct sync_job){.cli = a->cli,
                               .options = a->options,
                               .source = m->source,
                               .target = m->target,
                               .report = a->report,
                               .caption = m->name,
                               .keep_others = true,
                               .step = step,
                               .ctx = m};
    return STATUS_DONE;
}

static int list_disks(struct all *a)
{
    VixDiskLibExt_Vm *vm = NULL;
    VixError code = VixDiskLibExt_GetMachine(a->cli->server, NULL, &vm);
    if (code != VIX_OK) {
        return fail(a->cli, NULL, code);
    }
    a->machine = strdup(vm->name != NULL ? vm->name : vm->moref);
    a->members = calloc(vm->numDisks + 1, sizeof *a->members);
    int status = a->machine != NULL && a->members != NULL ? STATUS_DONE : no_memory(a);
    if (status == STATUS_DONE && vm->numDisks == 0) {
        status = fail_with(a->cli, a->machine, VIX_E_FILE_NOT_FOUND, "the machine has no disks");
    }
    for (uint32 i = 0; i < vm->numDisks && status == STATUS_DONE; i++) {
        status = add_member(a, &vm->disks[i]);
    }
    VixDiskLibExt_FreeMachine(vm);
    return status;
}

/* ---- copying ---- */

static void keep_failure(struct member *m)
{
    if (m->status != STATUS_DONE && m->status != SYNC_STATUS_NO_FULL) {
        snprintf(m->failure, sizeof m->failure, "%s", failure_text());
    }
}

/** What came of a disk that was copied, as it comes. */
static void tell_member(struct member *m)
{
    struct all *a = m->all;
    pthread_mutex_lock(&a->lock);
    m->done = m->capacity;
    progress_end(&a->progress);
    if (m->status == STATUS_DONE && !a->json && !a->cli->common.quiet) {
        sync_result_print(&m->result);
        fflush(stdout);
    }
    pthread_mutex_unlock(&a->lock);
}

static void *work(void *data)
{
    struct all *a = data;
    for (;;) {
        pthread_mutex_lock(&a->lock);
        struct member *m = a->next < a->count ? &a->members[a->next++] : NULL;
        pthread_mutex_unlock(&a->lock);
        if (m == NULL) {
            return NULL;
        }
        if (m->status == STATUS_DONE && stop_signal() != 0) {
            m->status = fail_with(a->cli, m->source, VIX_E_CANCELLED, "by a signal, before it was begun");
            keep_failure(m);
        } else if (m->status == STATUS_DONE) {
            m->copied = true;
            m->status = sync_run_copy(m->run, &a->snapshot, &m->result);
            keep_failure(m);
        }
        tell_member(m);
    }
}

/** With this thread and others; where none can be had, fewer do the same. */
static void work_together(struct all *a, unsigned jobs)
{
    pthread_t threads[SYNC_JOBS_MAX];
    unsigned begun = 0;
    while (begun + 1 < jobs && begun + 1 < a->count && pthread_create(&threads[begun], NULL, work, a) == 0) {
        begun++;
    }
    (void)work(a);
    for (unsigned i = 0; i < begun; i++) {
        pthread_join(threads[i], NULL);
    }
}

/** The locks and states of all, before a snapshot is made. False: nothing can be copied. */
static bool begin_members(struct all *a)
{
    size_t good = 0;
    for (size_t i = 0; i < a->count; i++) {
        struct member *m = &a->members[i];
        m->status = sync_run_begin(&m->job, &m->run);
        keep_failure(m);
        good += m->status == STATUS_DONE;
    }
    return good > 0;
}

static int copy_all(struct all *a, const struct sync_snapshot_options *how, unsigned jobs)
{
    if (!begin_members(a)) {
        return STATUS_DONE; /* each has told */
    }
    int status = sync_snapshot_begin(a->cli, a->machine, how, &a->snapshot);
    if (status == STATUS_DONE) {
        status = cli_connect(a->cli); /* for the copies; the threads find it there */
    }
    if (status == STATUS_DONE) {
        run_report_work(a->report);
        work_together(a, jobs);
        run_report_worked(a->report);
    }
    return sync_snapshot_end(a->cli, &a->snapshot, status);
}

/* ---- the end ---- */

/** A failure for good counts more than one that may pass. */
static int worst_of(const struct all *a, int status)
{
    for (size_t i = 0; i < a->count; i++) {
        int own = a->members[i].status;
        status = status == STATUS_DONE || (own != STATUS_DONE && own < status) ? own : status;
    }
    return status;
}

static struct json_object *member_json(const struct member *m)
{
    struct json_object *object = json_object_new_object();
    if (m->status == STATUS_DONE) {
        sync_result_json(&m->result, object);
    } else {
        json_add_text(object, "source", m->source);
        json_add_text(object, "target", m->target);
    }
    json_add_number(object, "status", (uint64_t)m->status);
    json_object_object_add(object, "error", m->failure[0] != '\0' ? json_object_new_string(m->failure) : NULL);
    return object;
}

static void print_json(struct all *a)
{
    struct json_object *object = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    struct json_object *activity = json_object_new_object();
    json_add_text(object, "machine", a->machine);
    json_add_text(object, "target", a->cli->operands[0]);
    for (size_t i = 0; i < a->count; i++) {
        json_object_array_add(disks, member_json(&a->members[i]));
    }
    json_object_object_add(object, "disks", disks);
    run_report_add_work(a->report, activity);
    json_object_object_add(object, "activity", activity);
    json_print(object);
}

static void print_sum(const struct all *a, size_t good)
{
    struct copy_totals sum = {0};
    char read[HUMAN_BYTES_MAX];
    char written[HUMAN_BYTES_MAX];
    char zeroed[HUMAN_BYTES_MAX];
    for (size_t i = 0; i < a->count; i++) {
        sum.read += a->members[i].result.totals.read;
        sum.written += a->members[i].result.totals.written;
        sum.zeroed += a->members[i].result.totals.zeroed;
    }
    printf("%s: %zu of %zu disk%s of %s %s; read %s, wrote %s, made %s zeros\n", a->cli->operands[0], good, a->count,
           a->count == 1 ? "" : "s", a->machine, a->options->dry_run ? "looked at" : "up to date",
           human_bytes(sum.read, read), human_bytes(sum.written, written), human_bytes(sum.zeroed, zeroed));
}

static void report_all(struct all *a, size_t good)
{
    char text[SYNC_RESULT_TEXT];
    run_report_call_findings(a->report, "Disks");
    run_report_fact(a->report, "machine", "Machine", "%s", a->machine);
    run_report_fact(a->report, "disks", "Disks up to date", "%zu of %zu", good, a->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct member *m = &a->members[i];
        const char *detail = m->status == STATUS_DONE   ? sync_result_text(&m->result, text)
                             : m->failure[0] != '\0'    ? m->failure
                             : m->result.reason[0] != 0 ? m->result.reason
                                                        : "not begun";
        run_report_finding(a->report, m->status == STATUS_DONE ? "done" : "failed", m->name, detail);
    }
}

static void tell_all(struct all *a)
{
    size_t good = 0;
    for (size_t i = 0; i < a->count; i++) {
        good += a->members[i].status == STATUS_DONE;
    }
    report_all(a, good);
    if (a->json) {
        print_json(a);
    } else if (!a->cli->common.quiet) {
        print_sum(a, good);
    }
}

static void free_all(struct all *a)
{
    for (size_t i = 0; i < a->count; i++) {
        sync_run_end(a->members[i].run);
        sync_result_clear(&a->members[i].result);
        free(a->members[i].source);
        free(a->members[i].target);
    }
    free(a->members);
    free(a->machine);
    pthread_mutex_destroy(&a->lock);
}

/** With the lock of the folder held. */
static int sync_members(struct all *a, const struct sync_snapshot_options *how, unsigned jobs)
{
    a->cli->common.remote.snapshot = "";
    int status = cli_connect_server(a->cli);
    if (status == STATUS_DONE) {
        status = list_disks(a);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    a->cli->common.json = false; /* failures of disks are told on standard error, and are in the JSON of all */
    progress_init(&a->progress, a->cli);
    status = copy_all(a, how, jobs);
    progress_end(&a->progress);
    for (size_t i = 0; i < a->count && status != STATUS_DONE; i++) {
        struct member *m = &a->members[i];
        if (m->status == STATUS_DONE && !m->copied) {
            m->status = status;
            keep_failure(m);
        }
    }
    tell_all(a);
    return worst_of(a, status);
}

int sync_all(struct cli *cli, const struct sync_options *options, const struct sync_snapshot_options *how,
             const char *state, unsigned jobs, struct run_report *report)
{
    struct all a = {.cli = cli, .options = options, .report = report, .json = cli->common.json};
    struct sync_lock lock = {0};
    if (!options->dry_run && mkdir(cli->operands[0], 0777) != 0 && errno != EEXIST) {
        return fail_errno(cli, cli->operands[0], errno, "cannot be made");
    }
    pthread_mutex_init(&a.lock, NULL);
    int status = sync_lock_take(cli, state, &lock);
    if (status == STATUS_DONE) {
        status = sync_members(&a, how, jobs);
        cli->common.json = a.json;
    }
    sync_lock_drop(&lock);
    free_all(&a);
    return status;
}

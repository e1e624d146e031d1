/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_sync.c - keeps a copy of a disk up to date: a first full pass, then only what has changed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "progress.h"
#include "sync_all.h"
#include "sync_lock.h"

struct sync_args {
    const char *state;
    const char *report;
    struct number_arg jobs;
    struct sync_options options;
    bool all, enable_cbt, quiesce, cleanup;
};

static const struct option_spec options[] = {
    {.name = "state",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sync_args, state),
     .arg = "FILE",
     .help = "where the state is kept; else DST.vixstate"},
    {.name = "all",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, all),
     .help = "all disks of the machine, as of one snapshot, into a folder"},
    {.name = "jobs",
     .letter = 'j',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct sync_args, jobs),
     .arg = "N",
     .help = "--all: so many disks at once (default: 1)",
     .low = 1,
     .high = SYNC_JOBS_MAX},
    {.name = "type",
     .letter = 't',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct sync_args, options.type),
     .arg = "TYPE",
     .help = "what DST is, or is made as"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct sync_args, options.format),
     .arg = "vmdk|raw",
     .help = "what SRC is, instead of finding out"},
    {.name = "full",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, options.full),
     .help = "copy everything anew"},
    {.name = "no-full",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, options.no_full),
     .help = "end with status 3 where everything would have to be copied"},
    {.name = "map",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sync_args, options.map),
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
     .at = offsetof(struct sync_args, options.verify),
     .arg = "none|changed|full",
     .help = "read source and copy after it and compare"},
    {.name = "overwrite",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, options.overwrite),
     .help = "DST may exist without a state"},
    {.name = "checkpoint",
     .kind = OPTION_BYTES,
     .at = offsetof(struct sync_args, options.checkpoint),
     .arg = "SIZE",
     .help = "flush and note how far it is, each SIZE of the disk; else 1G, or 30 s"},
    {.name = "dry-run",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, options.dry_run),
     .help = "only tell what would be copied; makes no snapshot"},
    {.name = "cleanup",
     .kind = OPTION_FLAG,
     .at = offsetof(struct sync_args, cleanup),
     .help = "only remove the snapshot that a killed run has left"},
    RUN_REPORT_OPTION(struct sync_args, report),
    {.kind = OPTION_END},
};

/** The progress of the one disk. */
static bool step(void *ctx, uint64_t done, uint64_t total)
{
    return run_report_step(ctx, done, total) != FALSE;
}

static void print_result(const struct cli *cli, const struct sync_result *result, struct run_report *report)
{
    if (cli->common.json) {
        struct json_object *object = json_object_new_object();
        struct json_object *activity = json_object_new_object();
        sync_result_json(result, object);
        run_report_add_work(report, activity);
        json_object_object_add(object, "activity", activity);
        json_print(object);
    } else if (!cli->common.quiet) {
        sync_result_print(result);
    }
}

/** With the run begun. */
static int copy_one(struct cli *cli, const struct sync_snapshot_options *how, struct sync_run *run,
                    struct run_report *report)
{
    struct sync_snapshot snapshot = {0};
    struct sync_result result = {0};
    int status = STATUS_DONE;
    if (is_remote_path(cli, cli->operands[0])) {
        status = sync_snapshot_begin(cli, cli->operands[0], how, &snapshot);
    }
    if (status == STATUS_DONE) {
        status = sync_run_copy(run, &snapshot, &result);
    }
    run_report_worked(report);
    if (status == STATUS_DONE) {
        print_result(cli, &result, report);
        sync_result_report(&result, report);
    }
    sync_result_clear(&result);
    return sync_snapshot_end(cli, &snapshot, status);
}

static int sync_one(struct cli *cli, const struct sync_args *args, const struct sync_snapshot_options *how,
                    struct run_report *report)
{
    struct sync_run *run = NULL;
    struct progress progress;
    struct progress_report told = {.report = report, .func = progress_step, .data = &progress};
    const struct sync_job job = {
        .cli = cli,
        .options = &args->options,
        .source = cli->operands[0],
        .target = cli->operands[1],
        .state = args->state,
        .report = report,
        .caption = "Source",
        .map_target = true,
        .step = step,
        .ctx = &told,
    };
    progress_init(&progress, cli);
    int status = sync_run_begin(&job, &run);
    if (status == STATUS_DONE) {
        status = copy_one(cli, how, run, report);
    }
    progress_end(&progress);
    sync_run_end(run);
    return status;
}

/** Only what a killed run has left on the server. */
static int clean_up(struct cli *cli, const struct sync_args *args, const char *state_path, const char *name)
{
    struct sync_lock lock = {0};
    unsigned count = 0;
    if (!args->all && !is_remote_path(cli, cli->operands[0])) {
        return usage_error(cli, "--cleanup: SRC is not on a server");
    }
    cli->common.remote.snapshot = "";
    int status = need_machine(cli);
    if (status >= 0) {
        return status;
    }
    status = sync_lock_take(cli, state_path, &lock);
    if (status == STATUS_DONE) {
        status = cli_connect_server(cli);
    }
    if (status == STATUS_DONE) {
        status = sync_snapshot_remove_leftovers(cli, name, &count);
    }
    sync_lock_drop(&lock);
    return status;
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

/** What goes with --all, and what does not. */
static int check_all(struct cli *cli, const struct sync_args *args)
{
    if (!args->all) {
        return args->jobs.given      ? usage_error(cli, "--jobs goes with --all")
               : cli->noperands != 2 ? usage_error(cli, "SRC and DST are needed")
                                     : -1;
    }
    if (cli->noperands != 1) {
        return usage_error(cli, "--all: only DIR is needed");
    }
    if (args->state != NULL) {
        return usage_error(cli, "--state and --all do not go together: each copy has its state beside it");
    }
    if (!server_is_named(cli) || is_remote_path(cli, cli->operands[0])) {
        return usage_error(cli, "--all: from the machine of a server, to a folder of this one");
    }
    return need_machine(cli);
}

static int check_args(struct cli *cli, const struct sync_args *args)
{
    static const char *const maps[] = {"auto", "cbt", "alloc", NULL};
    static const char *const verifications[] = {"none", "changed", "full", NULL};
    const struct sync_options *asked = &args->options;
    int status = check_all(cli, args);
    status = status < 0 ? check_word(cli, "--map", asked->map, maps) : status;
    status = status < 0 ? check_word(cli, "--verify", asked->verify, verifications) : status;
    if (status < 0 && args->report != NULL && strcmp(args->report, "-") == 0) {
        return usage_error(cli, "--report wants a file: what was done goes to standard output");
    }
    if (status < 0 && asked->full && asked->no_full) {
        return usage_error(cli, "--full and --no-full contradict each other");
    }
    if (status < 0 && asked->checkpoint.given && asked->checkpoint.bytes == 0) {
        return usage_error(cli, "--checkpoint: more than 0");
    }
    if (status < 0 && !args->all && args->state == NULL && is_remote_path(cli, cli->operands[1])) {
        return usage_error(cli, "--state FILE is needed where DST is on a server");
    }
    return status;
}

/** The state by which a run is known: of --all a name in the folder, which no copy has. */
static char *state_path(const struct cli *cli, const struct sync_args *args)
{
    char *path = NULL;
    int len = args->all             ? asprintf(&path, "%s/all.vixstate", cli->operands[0])
              : args->state != NULL ? asprintf(&path, "%s", args->state)
                                    : asprintf(&path, "%s.vixstate", cli->operands[1]);
    return len < 0 ? NULL : path;
}

static int sync_with(struct cli *cli, const struct sync_args *args, const char *state, const char *name)
{
    struct run_report *report = NULL;
    const struct sync_snapshot_options how = {.snapshot = server_snapshot(cli),
                                              .name = name,
                                              .enable_tracking = args->enable_cbt,
                                              .quiesce = args->quiesce,
                                              .leave_alone = args->options.dry_run};
    const char *from = args->all ? "all disks of the machine" : cli->operands[0];
    const char *to = cli->operands[args->all ? 0 : 1];
    int status = run_report_begin(cli, args->report, cli->common.json, from, to, &report);
    if (status != STATUS_DONE) {
        return status;
    }
    run_report_own_json(report);
    status = args->all ? sync_all(cli, &args->options, &how, state, args->jobs.given ? args->jobs.value : 1, report)
                       : sync_one(cli, args, &how, report);
    if (status != STATUS_DONE) {
        run_report_outcome(report, "%s%s", status == SYNC_STATUS_NO_FULL ? "everything would be copied" : "failed: ",
                           status == SYNC_STATUS_NO_FULL ? "" : failure_text());
    }
    return run_report_end(report, status, STATUS_FAILED);
}

static int run(struct cli *cli, const void *data)
{
    const struct sync_args *args = data;
    int status = check_args(cli, args);
    if (status >= 0) {
        return status;
    }
    stop_catch_signals();
    char *state = state_path(cli, args);
    char *name = state != NULL ? sync_snapshot_name(state) : NULL;
    if (name == NULL) {
        free(state);
        return fail_with(cli, NULL, VIX_E_OUT_OF_MEMORY, "of the names");
    }
    status = args->cleanup ? clean_up(cli, args, state, name) : sync_with(cli, args, state, name);
    free(state);
    free(name);
    return stop_status(status);
}

const struct command command_sync = {
    .name = "sync",
    .usage = "SRC DST | --all DIR",
    .summary = "keep a copy of a disk up to date: everything once, then what has changed",
    .details =
        "What has changed is told by the change tracking of SRC's server, or by the links that have come above the "
        "one\n"
        "that was on top. A disk on a server is read as of a snapshot, which is made for it and removed at the end;\n"
        "--snapshot REF takes one that is there, --snapshot none the disk as it is. DST is a raw image, a device, a\n"
        "VMDK, or a disk on the server, and is written in place; what it is of is in DST.vixstate. A run that was\n"
        "stopped or killed is gone on with by the next one. Others must not write to DST: of a file it is noticed,\n"
        "of a device or a disk on a server it is not. With --all the copies are DIR/disk-KEY.img, or .vmdk with -t, "
        "KEY\n"
        "the disk's number in the machine (its device key), and those that can be copied are, also where others\n"
        "fail; the copy of another disk is written over with --full only. Exit status 3: --no-full, and everything\n"
        "would be copied.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct sync_args),
    .min_operands = 1,
    .max_operands = 2,
    .run = run,
};

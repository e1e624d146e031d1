/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_check.c - verifies a disk, and repairs it on request. Exit statuses are those of fsck. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "progress.h"
#include "run_report.h"
#include "text.h"

#define REPORT_WHAT 512

enum check_status { CHECK_CLEAN = 0, CHECK_REPAIRED = 1, CHECK_PROBLEMS_LEFT = 4, CHECK_TROUBLE = 8, CHECK_USAGE = 16 };

struct check_args {
    bool repair;
    bool deep;
    bool chain;
    const char *report;
};

static const struct option_spec options[] = {
    {.name = "repair",
     .letter = 'r',
     .kind = OPTION_FLAG,
     .at = offsetof(struct check_args, repair),
     .help = "repair what can be repaired without the risk of losing anything"},
    {.name = "deep",
     .kind = OPTION_FLAG,
     .at = offsetof(struct check_args, deep),
     .help = "also inflate every compressed grain, which verifies its checksum"},
    {.name = "chain",
     .kind = OPTION_FLAG,
     .at = offsetof(struct check_args, chain),
     .help = "check all parents too, not only the link that PATH names"},
    RUN_REPORT_OPTION(struct check_args, report),
    {.kind = OPTION_END},
};

/** A run of the command. */
struct check_run {
    const struct cli *cli;
    struct json_object *problems; /* or NULL: as lines of text */
    struct run_report *report;
};

static const char *state_of(const VixDiskLibExt_Problem *p)
{
    if (p->repaired) {
        return "repaired";
    }
    return p->note ? "note" : p->repairable ? "can be repaired" : "cannot be repaired";
}

static void print_problem(const VixDiskLibExt_Problem *p)
{
    const char *detail = p->detail;
    size_t len = strlen(p->file);
    if (strncmp(detail, p->file, len) == 0 && strncmp(detail + len, ": ", 2) == 0) {
        detail += len + 2;
    }
    printf("%s: %s (%u), %s: %s: %s", p->file, p->name, p->code, state_of(p), p->message, detail);
    if (p->count > 1) {
        printf(" (and %" PRIu64 " more behind it)", (uint64_t)p->count - 1);
    }
    if (p->lengthBytes > 0) {
        printf("; bytes %" PRIu64 " to %" PRIu64 " of the disk", (uint64_t)p->startBytes,
               (uint64_t)(p->startBytes + p->lengthBytes - 1));
    }
    printf("\n");
}

static struct json_object *problem_object(const VixDiskLibExt_Problem *p)
{
    struct json_object *object = json_object_new_object();
    json_add_number(object, "code", p->code);
    json_add_text(object, "name", p->name);
    json_add_text(object, "message", p->message);
    json_add_text(object, "detail", p->detail);
    json_add_text(object, "filename", p->file);
    if (p->offsetBytes != UINT64_MAX) {
        json_add_number(object, "file-offset", p->offsetBytes);
    }
    if (p->lengthBytes > 0) {
        json_add_number(object, "start", p->startBytes);
        json_add_number(object, "length", p->lengthBytes);
    }
    json_add_number(object, "count", p->count);
    json_add_bool(object, "note", p->note);
    json_add_bool(object, "repairable", p->repairable);
    json_add_bool(object, "repaired", p->repaired);
    return object;
}

static Bool tell(void *data, const VixDiskLibExt_Problem *p)
{
    struct check_run *run = data;
    char what[REPORT_WHAT];
    snprintf(what, sizeof what, "%s (%u): %s", p->name, p->code, p->message);
    run_report_finding(run->report, state_of(p), what, p->detail);
    if (run->problems != NULL) {
        json_object_array_add(run->problems, problem_object(p));
    } else if (!run->cli->common.quiet || !p->note) {
        print_problem(p);
    }
    return stop_signal() == 0;
}

static const char *verdict_of(int status)
{
    return status == CHECK_CLEAN ? "no problems" : status == CHECK_REPAIRED ? "repaired" : "problems are left";
}

static void print_summary(const struct cli *cli, const VixDiskLibExt_CheckSummary *s, int status)
{
    char leaked[HUMAN_BYTES_MAX];
    if (cli->common.quiet) {
        return;
    }
    if (s->numUntold > 0) {
        printf("%" PRIu64 " more problems are not listed\n", (uint64_t)s->numUntold);
    }
    printf("%s: %s: %" PRIu64 " problems, %" PRIu64 " repaired, %" PRIu64 " notes; %u files", cli->operands[0],
           verdict_of(status), (uint64_t)s->numProblems, (uint64_t)s->numRepaired, (uint64_t)s->numNotes, s->numFiles);
    if (s->totalGrains > 0) {
        printf("; %" PRIu64 " of %" PRIu64 " grains allocated", (uint64_t)s->allocatedGrains, (uint64_t)s->totalGrains);
    }
    if (s->leakedBytes > 0) {
        printf("; %s leaked", human_bytes(s->leakedBytes, leaked));
    }
    printf("\n");
}

static void print_json(const struct cli *cli, const VixDiskLibExt_CheckSummary *s, struct json_object *problems)
{
    struct json_object *object = json_object_new_object();
    json_add_text(object, "filename", cli->operands[0]);
    json_add_text(object, "format", "vmdk");
    json_add_number(object, "check-errors", 0);
    json_add_number(object, "corruptions",
                    s->numProblems - (s->numRepaired < s->numProblems ? s->numRepaired : s->numProblems));
    json_add_number(object, "corruptions-fixed", s->numRepaired);
    json_add_number(object, "unrepairable", s->numUnrepairable);
    json_add_number(object, "notes", s->numNotes);
    json_add_number(object, "total-clusters", s->totalGrains);
    json_add_number(object, "allocated-clusters", s->allocatedGrains);
    json_add_number(object, "leaked-bytes", s->leakedBytes);
    json_add_number(object, "links", s->numLinks);
    json_add_number(object, "files", s->numFiles);
    json_add_number(object, "untold", s->numUntold);
    json_object_object_add(object, "problems", problems);
    json_print(object);
}

static int status_of(VixError code, const VixDiskLibExt_CheckSummary *s)
{
    if (code != VIX_OK) {
        return CHECK_PROBLEMS_LEFT;
    }
    return s->numRepaired > 0 ? CHECK_REPAIRED : CHECK_CLEAN;
}

static void report_summary(struct run_report *report, const VixDiskLibExt_CheckSummary *s, int status)
{
    char leaked[HUMAN_BYTES_MAX];
    run_report_outcome(report, "%s", verdict_of(status));
    run_report_fact(report, "problems", "Problems", "%" PRIu64, (uint64_t)s->numProblems);
    run_report_fact(report, "repaired", "Repaired", "%" PRIu64, (uint64_t)s->numRepaired);
    run_report_fact(report, "notes", "Notes", "%" PRIu64, (uint64_t)s->numNotes);
    run_report_fact(report, "files", "Files", "%u", s->numFiles);
    run_report_fact(report, "leaked", "Leaked", "%s", human_bytes(s->leakedBytes, leaked));
    if (s->totalGrains > 0) {
        run_report_fact(report, "grains", "Grains allocated", "%" PRIu64 " of %" PRIu64, (uint64_t)s->allocatedGrains,
                        (uint64_t)s->totalGrains);
    }
}

static int check(struct cli *cli, VixDiskLibConnection connection, const struct check_args *args,
                 struct run_report *report)
{
    struct check_run run = {
        .cli = cli, .report = report, .problems = cli->common.json ? json_object_new_array() : NULL};
    VixDiskLibExt_CheckSummary summary = {.structSize = sizeof summary};
    uint32 flags = (args->repair ? (uint32)VIXDISKLIBEXT_CHECK_REPAIR : 0) |
                   (args->deep ? (uint32)VIXDISKLIBEXT_CHECK_DEEP : 0) |
                   (args->chain ? (uint32)VIXDISKLIBEXT_CHECK_CHAIN : 0);
    VixError code = VixDiskLibExt_Check(connection, cli->operands[0], flags, tell, &run, &summary);
    if (code != VIX_OK && code != VIX_E_DISK_NEEDSREPAIR && code != VIX_E_DISK_CANTREPAIR) {
        json_object_put(run.problems);
        run_report_outcome(report, "could not be checked: %s", VixDiskLibExt_LastErrorDetail());
        return stop_status(fail(cli, cli->operands[0], code));
    }
    int status = status_of(code, &summary);
    report_summary(report, &summary, status);
    run_report_map_path(report, connection, cli->operands[0], false, "The disk");
    if (run.problems != NULL) {
        print_json(cli, &summary, run.problems);
    } else {
        print_summary(cli, &summary, status);
    }
    return status;
}

static int run(struct cli *cli, const void *data)
{
    stop_catch_signals();
    const struct check_args *args = data;
    VixDiskLibConnection connection = NULL;
    struct run_report *report = NULL;
    if (args->report != NULL && strcmp(args->report, "-") == 0) {
        return usage_error(cli, "--report wants a file: what was found goes to standard output");
    }
    int status = run_report_begin(cli, args->report, false, cli->operands[0], NULL, &report);
    if (status != STATUS_DONE) {
        return status;
    }
    status = cli_connect_for(cli, cli->operands[0], &connection);
    status = status == STATUS_DONE ? check(cli, connection, args, report) : status;
    return run_report_end(report, status, CHECK_PROBLEMS_LEFT);
}

const struct command command_check = {
    .name = "check",
    .usage = "PATH",
    .summary = "verify a disk, repair it on request",
    .details = "Checks descriptor, headers and tables of the disk that PATH names, and whether its parent fits it. A\n"
               "repair only does what cannot lose anything; what needs a decision is reported and left alone.\n"
               "Exit status: 0 no problems, 1 repaired, 4 problems are left, 8 the check could not be done, 16 usage.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct check_args),
    .min_operands = 1,
    .max_operands = 1,
    .usage_status = CHECK_USAGE,
    .trouble_status = CHECK_TROUBLE,
    .run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* run_report.h - the report on one run of a command that moves or checks a disk: --report FILE.html, and the same data
 * as JSON. A command begins it, tells what it knows, and ends it with its status. One thread, but for
 * run_report_disk. */
#ifndef VIXDISK_TOOL_RUN_REPORT_H
#define VIXDISK_TOOL_RUN_REPORT_H

#include "cli.h"
#include "json.h"
#include "picture.h"

struct run_report;

/** The option --report of a command whose arguments have a const char *member for it. */
#define RUN_REPORT_OPTION(type, member)                                                                                \
    {                                                                                                                  \
        .name = "report", .kind = OPTION_TEXT, .at = offsetof(type, member), .arg = "FILE.html",                       \
        .help = "write a page about this run: figures, throughput, what limits it, maps"                               \
    }

/** Begins a report. The page is made beside the file at once, so that a place that
 * cannot be written is found before the work. @file NULL: no page. @json: the data is printed at the end, if the run
 * succeeds. Neither: *ret_report is NULL, which all functions here take and ignore. @from, @to: the disks, @to may be
 * NULL. 0, or the status of a reported failure. Texts stay the caller's until the end. */
int run_report_begin(struct cli *cli, const char *file, bool json, const char *from, const char *to,
                     struct run_report **ret_report);

/** The command prints a JSON of its own, with run_report_add_work. */
void run_report_own_json(struct run_report *report);

/** Takes the map of an open disk, whose figures are the run's if it is the first. @name; @caption "Before". A disk that
 * cannot be mapped is told of so. */
void run_report_map(struct run_report *report, VixDiskLibHandle disk, const char *name, const char *caption);

/** The same, and its figures are the run's too. Any thread. The picture of the disk, to mark something in it until
 * the end of the report; NULL where there is none, or there are too many. */
struct picture *run_report_disk(struct run_report *report, VixDiskLibHandle disk, const char *name,
                                const char *caption);

/** Takes the map of a disk that is to be opened for it; nothing where that cannot be done. */
void run_report_map_path(struct run_report *report, VixDiskLibConnection connection, const char *path, bool raw,
                         const char *caption);

/** Begins the recording, if it has not begun: the work follows. */
void run_report_work(struct run_report *report);

/** A sample of the progress; data is a struct progress_report. */
struct progress_report {
    struct run_report *report;
    VixDiskLibExt_ProgressFunc func; /* called on */
    void *data;
};
Bool run_report_step(void *data, uint64 done_bytes, uint64 total_bytes);

/** Ends the recording: what follows is not part of the work. */
void run_report_worked(struct run_report *report);

/** Adds a line to the table of facts. @key for JSON. */
void run_report_fact(struct run_report *report, const char *key, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** What the table of findings is called, if not so; static. */
void run_report_call_findings(struct run_report *report, const char *title);

/** Adds a row to the table of findings. */
void run_report_finding(struct run_report *report, const char *state, const char *what, const char *detail);

/** Adds to an object what the recording tells, for a command with a JSON of its own. Ends the recording. */
void run_report_add_work(struct run_report *report, struct json_object *object);

/** How the run has ended, in words, if it was not simply "done" or "failed"; call before anything else fails. */
void run_report_outcome(struct run_report *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Writes the page and the JSON, frees. Returns the status; where it was good (below bad_from) and the page cannot be
 * written, the status of that failure, which is reported. */
int run_report_end(struct run_report *report, int status, int bad_from);

#endif

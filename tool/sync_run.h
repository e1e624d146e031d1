/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_run.h - one disk's run of sync, in two steps: what can be said without the source, then the copy. Several disks
 * may be copied by as many threads; each has a run of its own, and what they share is not changed meanwhile. What makes
 * it safe to be killed at any moment is told in sync_state.h. */
#ifndef VIXDISK_TOOL_SYNC_RUN_H
#define VIXDISK_TOOL_SYNC_RUN_H

#include "run_report.h"
#include "sync_copy.h"
#include "sync_source.h"

#define SYNC_STATUS_NO_FULL 3

/** What is asked for; the same for each disk. */
struct sync_options {
    enum disk_format format;
    struct type_arg type;
    struct bytes_arg checkpoint;
    const char *map;    /* NULL, "auto", "cbt", "alloc" */
    const char *verify; /* NULL, "none", "changed", "full" */
    bool full, no_full, overwrite, dry_run;
};

/** One disk. Everything here is the caller's, and outlives the run. */
struct sync_job {
    struct cli *cli;
    const struct sync_options *options;
    const char *source, *target;
    const char *state;         /* NULL: TARGET.vixstate */
    struct run_report *report; /* NULL: none */
    const char *caption;       /* of the source's map there */
    bool map_target;           /* a map of the copy follows */
    bool keep_others;          /* a copy of another disk is not written over, but with --full */
    /** Told how far it is, in bytes of the disk; false stops. */
    bool (*step)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/** What came of it. */
struct sync_result {
    const char *source, *target; /* the job's */
    bool dry_run;
    char reason[512]; /* why everything was copied; "": it was not */
    uint64_t capacity, areas, changed;
    struct copy_totals totals;
    const char *verified; /* NULL: not */
    char *change_id;      /* NULL: no change tracking */
};

struct sync_run;

/** Takes the lock, reads the state, looks for the copy. A failure has been reported, and the status is returned;
 * sync_run_end is needed all the same, if *ret_run is not NULL. */
int sync_run_begin(const struct sync_job *job, struct sync_run **ret_run);

/** Brings the copy up to date, or with dry_run only tells. @snapshot of a disk on a server. *ret_result needs
 * sync_result_clear, also after a failure. Reports as sync_run_begin. */
int sync_run_copy(struct sync_run *run, const struct sync_snapshot *snapshot, struct sync_result *ret_result);

/** Gives the lock back, and frees. NULL is harmless. */
void sync_run_end(struct sync_run *run);

/* ---- sync_result.c ---- */

void sync_result_clear(struct sync_result *result);

/** Prints the line on standard output. */
void sync_result_print(const struct sync_result *result);

/** "everything (why), 3 areas; read ..." without the copy's name; returns text. */
#define SYNC_RESULT_TEXT 1024
const char *sync_result_text(const struct sync_result *result, char text[SYNC_RESULT_TEXT]);

/** Adds the members to an object. */
void sync_result_json(const struct sync_result *result, struct json_object *object);

/** Adds the facts to a report. */
void sync_result_report(const struct sync_result *result, struct run_report *report);

#endif

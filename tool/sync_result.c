/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_result.c - what came of a run, in words, as JSON, and for the report. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sync_run.h"
#include "text.h"

void sync_result_clear(struct sync_result *result)
{
    free(result->change_id);
    *result = (struct sync_result){0};
}

const char *sync_result_text(const struct sync_result *r, char text[SYNC_RESULT_TEXT])
{
    char read[HUMAN_BYTES_MAX];
    char written[HUMAN_BYTES_MAX];
    char zeroed[HUMAN_BYTES_MAX];
    bool full = r->reason[0] != '\0';
    snprintf(text, SYNC_RESULT_TEXT, "%s%s%s%s, %" PRIu64 " area%s%s; read %s, wrote %s, made %s zeros%s",
             full ? "everything" : "changes", full ? " (" : "", r->reason, full ? ")" : "", r->areas,
             r->areas == 1 ? "" : "s", r->dry_run ? " would be copied" : "", human_bytes(r->totals.read, read),
             human_bytes(r->totals.written, written), human_bytes(r->totals.zeroed, zeroed),
             r->verified != NULL ? "; verified" : "");
    return text;
}

void sync_result_print(const struct sync_result *r)
{
    char text[SYNC_RESULT_TEXT];
    printf("%s: %s\n", r->target, sync_result_text(r, text));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text == NULL ? NULL : json_object_new_string(text));
}

void sync_result_json(const struct sync_result *r, struct json_object *object)
{
    bool full = r->reason[0] != '\0';
    add_text(object, "source", r->source);
    add_text(object, "target", r->target);
    add_text(object, "mode", full ? "full" : "delta");
    add_text(object, "reason", full ? r->reason : NULL);
    json_add_bool(object, "dry-run", r->dry_run);
    json_add_number(object, "virtual-size", r->capacity);
    json_add_number(object, "changed-areas", r->areas);
    json_add_number(object, "changed-bytes", r->changed);
    json_add_number(object, "read-bytes", r->totals.read);
    json_add_number(object, "written-bytes", r->totals.written);
    json_add_number(object, "zeroed-bytes", r->totals.zeroed);
    add_text(object, "verified", r->verified);
    add_text(object, "change-id", r->change_id);
}

void sync_result_report(const struct sync_result *r, struct run_report *report)
{
    char text[HUMAN_BYTES_MAX];
    bool full = r->reason[0] != '\0';
    run_report_fact(report, "mode", "Copied", "%s", full ? "everything" : "changes");
    if (full) {
        run_report_fact(report, "reason", "Why everything", "%s", r->reason);
    }
    run_report_fact(report, "changed-areas", "Areas", "%" PRIu64, r->areas);
    run_report_fact(report, "changed-bytes", full ? "Looked at" : "Changed", "%s", human_bytes(r->changed, text));
    run_report_fact(report, "read-bytes", "Of the source", "%s", human_bytes(r->totals.read, text));
    run_report_fact(report, "written-bytes", "Written to the copy", "%s", human_bytes(r->totals.written, text));
    run_report_fact(report, "zeroed-bytes", "Made zeros", "%s", human_bytes(r->totals.zeroed, text));
    run_report_fact(report, "verified", "Verified", "%s", r->verified != NULL ? r->verified : "no");
}

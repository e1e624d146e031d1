/* SPDX-License-Identifier: BSD-3-Clause */
/* run_report.c - gathers what a report tells, and its JSON. The page is run_report_html.c's. */
#include "run_report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "progress.h"
#include "run_report_int.h"
#include "text.h"

#define CELLS 2048u /* of a map */

int run_report_begin(struct cli *cli, const char *file, bool json, const char *from, const char *to,
                     struct run_report **ret_report)
{
    *ret_report = NULL;
    if (file == NULL && !json) {
        return STATUS_DONE;
    }
    int status = cli_start(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    struct run_report *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return fail_with(cli, file, VIX_E_OUT_OF_MEMORY, "no report can be made");
    }
    r->cli = cli;
    r->json = json;
    r->from = from;
    r->to = to;
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(r->started, sizeof r->started, "%Y-%m-%d %H:%M:%S UTC", &utc) == 0) {
        r->started[0] = '\0';
    }
    if (file != NULL) {
        status = whole_file_open(cli, file, &r->page);
        if (status != STATUS_DONE) {
            free(r);
            return status;
        }
    }
    *ret_report = r;
    return STATUS_DONE;
}

/* ---- what the command tells ---- */

void run_report_own_json(struct run_report *r)
{
    if (r != NULL) {
        r->json = false;
    }
}

static struct picture *take_map(struct run_report *r, unsigned index, VixDiskLibHandle disk, const char *name,
                                const char *caption)
{
    VixDiskLibInfo *info = NULL;
    struct report_map *map = &r->maps[index];
    snprintf(map->caption, sizeof map->caption, "%s", caption);
    VixError code = VixDiskLib_GetInfo(disk, &info);
    if (code == VIX_OK) {
        const struct picture_spec spec = {
            .len = info->capacity * SECTOR_BYTES, .cells_max = CELLS, .round_cells = true, .color = COLOR_ALLOC};
        map->there = picture_take(NULL, name, disk, &spec, &map->picture) == STATUS_DONE;
        VixDiskLib_FreeInfo(info);
    }
    if (!map->there) {
        snprintf(map->why, sizeof map->why, "%s", VixDiskLibExt_LastErrorDetail());
    }
    return map->there ? &map->picture : NULL;
}

void run_report_map(struct run_report *r, VixDiskLibHandle disk, const char *name, const char *caption)
{
    unsigned index = r != NULL ? atomic_fetch_add(&r->map_count, 1) : REPORT_MAPS;
    if (index < REPORT_MAPS) {
        r->maps[index].counts = index == 0;
        (void)take_map(r, index, disk, name, caption);
    }
}

struct picture *run_report_disk(struct run_report *r, VixDiskLibHandle disk, const char *name, const char *caption)
{
    unsigned index = r != NULL ? atomic_fetch_add(&r->map_count, 1) : REPORT_MAPS;
    if (index >= REPORT_MAPS) {
        return NULL;
    }
    r->maps[index].counts = true;
    return take_map(r, index, disk, name, caption);
}

void run_report_map_path(struct run_report *r, VixDiskLibConnection connection, const char *path, bool raw,
                         const char *caption)
{
    VixDiskLibHandle disk = NULL;
    if (r == NULL) {
        return;
    }
    VixError code = raw ? VixDiskLibExt_OpenRaw(connection, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk)
                        : VixDiskLib_Open(connection, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    if (code == VIX_OK) {
        run_report_map(r, disk, path, caption);
        VixDiskLib_Close(disk);
    }
}

Bool run_report_step(void *data, uint64 done_bytes, uint64 total_bytes)
{
    struct progress_report *p = data;
    struct run_report *r = p->report;
    if (r != NULL && r->recording && r->sample_count < REPORT_SAMPLES) {
        VixDiskLibExt_Activity now = {.structSize = sizeof now};
        if (VixDiskLibExt_GetActivity(&now) == VIX_OK) {
            r->samples[r->sample_count++] = (struct report_sample){now.elapsedNs, now.bytesRead};
        }
    }
    return p->func(p->data, done_bytes, total_bytes);
}

void run_report_work(struct run_report *r)
{
    if (r != NULL && !r->recording) {
        r->recording = true;
        cli_traffic(r->cli, &r->wire_in, &r->wire_out);
        (void)VixDiskLibExt_RecordActivity(TRUE);
    }
}

void run_report_worked(struct run_report *r)
{
    if (r == NULL || !r->recording || r->worked) {
        return;
    }
    r->worked = true;
    (void)VixDiskLibExt_RecordActivity(FALSE);
    r->activity.structSize = sizeof r->activity;
    (void)VixDiskLibExt_GetActivity(&r->activity);
    uint64_t in;
    uint64_t out;
    cli_traffic(r->cli, &in, &out);
    r->wire_in = in - r->wire_in;
    r->wire_out = out - r->wire_out;
}

void run_report_fact(struct run_report *r, const char *key, const char *label, const char *fmt, ...)
{
    va_list args;
    if (r == NULL || r->fact_count == REPORT_FACTS) {
        return;
    }
    struct report_fact *fact = &r->facts[r->fact_count++];
    fact->key = key;
    fact->label = label;
    va_start(args, fmt);
    vsnprintf(fact->text, sizeof fact->text, fmt, args);
    va_end(args);
}

void run_report_call_findings(struct run_report *r, const char *title)
{
    if (r != NULL) {
        r->findings_title = title;
    }
}

void run_report_finding(struct run_report *r, const char *state, const char *what, const char *detail)
{
    if (r == NULL) {
        return;
    }
    r->finding_count++;
    if (r->finding_count > REPORT_FINDINGS) {
        return;
    }
    struct report_finding *f = &r->findings[r->finding_count - 1];
    f->state = strdup(state);
    f->what = strdup(what);
    f->detail = strdup(detail);
}

void run_report_outcome(struct run_report *r, const char *fmt, ...)
{
    va_list args;
    if (r != NULL) {
        va_start(args, fmt);
        vsnprintf(r->outcome, sizeof r->outcome, fmt, args);
        va_end(args);
    }
}

/* ---- what follows from it ---- */

const char *const report_stage_names[REPORT_STAGES] = {"read", "network", "codec", "write"};

double report_busy(const struct run_report *r, unsigned stage)
{
    const VixDiskLibExt_Activity *a = &r->activity;
    const uint64_t ns[REPORT_STAGES] = {a->readNs, a->networkNs, a->codecNs, a->writeNs};
    double percent = a->elapsedNs == 0 ? 0 : (double)ns[stage] * 100 / (double)a->elapsedNs;
    return percent > 100 ? 100 : percent;
}

/** The sentence on what limits the run. */
void report_limit(const struct run_report *r, char *text, size_t size)
{
    static const char *const actors[REPORT_STAGES] = {"Reading from this machine's files", "The server and the network",
                                                      "Compressing and inflating", "Writing"};
    unsigned most = 0;
    unsigned next = 1;
    for (unsigned i = 1; i < REPORT_STAGES; i++) {
        if (report_busy(r, i) > report_busy(r, most)) {
            next = most;
            most = i;
        } else if (i != next && report_busy(r, i) > report_busy(r, next)) {
            next = i;
        }
    }
    double top = report_busy(r, most);
    if (top < 1) {
        snprintf(text, size, "Nothing was busy for long: there was next to nothing to do.");
    } else if (top < 50) {
        snprintf(text, size, "No stage limits it: even the busiest, %s, was busy only %.0f%% of the time.",
                 report_stage_names[most], top);
    } else if (top - report_busy(r, next) < 10) {
        snprintf(text, size, "%s and the stage \"%s\" limit it about equally: %.0f%% and %.0f%% of the time.",
                 actors[most], report_stage_names[next], top, report_busy(r, next));
    } else {
        snprintf(text, size, "%s limits it: busy %.0f%% of the time.", actors[most], top);
    }
}

unsigned report_maps(const struct run_report *r)
{
    return r->map_count < REPORT_MAPS ? r->map_count : REPORT_MAPS;
}

bool report_totals(const struct run_report *r, struct report_totals *ret_totals)
{
    bool found = false;
    struct report_totals sum = {0};
    for (unsigned i = 0; i < report_maps(r); i++) {
        const struct picture *p = &r->maps[i].picture;
        if (r->maps[i].there && r->maps[i].counts) {
            found = true;
            sum.capacity += p->length;
            sum.data += p->totals.data;
            sum.zero += p->totals.zero;
            sum.hole += p->totals.hole;
        }
    }
    *ret_totals = sum;
    return found;
}

static struct json_object *slowest_array(const VixDiskLibExt_Activity *a)
{
    struct json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < a->numSlowest; i++) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "kind", a->slowest[i].write ? "write" : "read");
        json_add_number(object, "start", a->slowest[i].startBytes);
        json_add_number(object, "length", a->slowest[i].lengthBytes);
        json_add_real(object, "ms", (double)a->slowest[i].nanoseconds / 1e6);
        json_object_array_add(array, object);
    }
    return array;
}

static void add_work(const struct run_report *r, struct json_object *object)
{
    const VixDiskLibExt_Activity *a = &r->activity;
    struct json_object *busy = json_object_new_object();
    struct json_object *samples = json_object_new_array();
    char limit[REPORT_TEXT];
    json_add_real(object, "seconds", (double)a->elapsedNs / 1e9);
    json_add_number(object, "bytes-read", a->bytesRead);
    json_add_number(object, "bytes-written", a->bytesWritten);
    json_add_number(object, "wire-in", r->wire_in);
    json_add_number(object, "wire-out", r->wire_out);
    if (a->bytesWritten > 0) {
        json_add_real(object, "ratio", (double)a->bytesRead / (double)a->bytesWritten);
    }
    for (unsigned i = 0; i < REPORT_STAGES; i++) {
        json_add_real(busy, report_stage_names[i], report_busy(r, i));
    }
    json_object_object_add(object, "busy-percent", busy);
    report_limit(r, limit, sizeof limit);
    json_add_text(object, "limit", limit);
    json_add_number(object, "retries", a->retries);
    json_object_object_add(object, "slowest", slowest_array(a));
    for (unsigned i = 0; i < r->sample_count; i++) {
        struct json_object *sample = json_object_new_object();
        json_add_real(sample, "seconds", (double)r->samples[i].ns / 1e9);
        json_add_number(sample, "bytes-read", r->samples[i].bytes);
        json_object_array_add(samples, sample);
    }
    json_object_object_add(object, "samples", samples);
}

void run_report_add_work(struct run_report *r, struct json_object *object)
{
    run_report_worked(r);
    if (r != NULL && r->worked) {
        add_work(r, object);
    }
}

static void print_json(const struct run_report *r)
{
    struct json_object *object = json_object_new_object();
    struct report_totals totals;
    json_add_text(object, "command", r->cli->command->name);
    json_add_text(object, "version", VixDiskLibExt_Version());
    json_add_text(object, "started", r->started);
    json_add_text(object, "from", r->from);
    if (r->to != NULL) {
        json_add_text(object, "to", r->to);
    }
    if (report_totals(r, &totals)) {
        json_add_number(object, "virtual-size", totals.capacity);
        json_add_number(object, "data", totals.data);
        json_add_number(object, "zeros", totals.zero);
        json_add_number(object, "holes", totals.hole);
    }
    for (unsigned i = 0; i < r->fact_count; i++) {
        json_add_text(object, r->facts[i].key, r->facts[i].text);
    }
    if (r->worked) {
        add_work(r, object);
    }
    json_print(object);
}

static void free_report(struct run_report *r)
{
    for (unsigned i = 0; i < report_maps(r); i++) {
        picture_free(&r->maps[i].picture);
    }
    for (uint64_t i = 0; i < r->finding_count && i < REPORT_FINDINGS; i++) {
        free(r->findings[i].state);
        free(r->findings[i].what);
        free(r->findings[i].detail);
    }
    whole_file_drop(&r->page);
    free(r);
}

int run_report_end(struct run_report *r, int status, int bad_from)
{
    if (r == NULL) {
        return status;
    }
    bool good = status < bad_from;
    run_report_worked(r);
    if (r->outcome[0] == '\0') {
        snprintf(r->outcome, sizeof r->outcome, "%s", good ? "done" : "failed");
    }
    if (r->page.to != NULL) {
        report_write_page(r, good, r->page.to);
        int written = whole_file_finish(r->cli, &r->page);
        status = good && written != STATUS_DONE ? written : status;
    }
    if (r->json && good) {
        print_json(r);
    }
    free_report(r);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* run_report_int.h - what a report has gathered; for run_report.c and run_report_html.c. */
#ifndef VIXDISK_TOOL_RUN_REPORT_INT_H
#define VIXDISK_TOOL_RUN_REPORT_INT_H

#include <stdatomic.h>
#include <stdio.h>

#include "picture.h"
#include "run_report.h"
#include "whole_file.h"

#define REPORT_MAPS 16
#define REPORT_SAMPLES 1024
#define REPORT_FACTS 24
#define REPORT_FINDINGS 1000
#define REPORT_STAGES 4
#define REPORT_TEXT 512

struct report_map {
    char caption[64];
    bool there;
    bool counts;           /* its figures are the run's */
    char why[REPORT_TEXT]; /* it is not */
    struct picture picture;
};

/** How far the reading was, so long after the beginning. */
struct report_sample {
    uint64_t ns;
    uint64_t bytes;
};

struct report_fact {
    const char *key;
    const char *label;
    char text[REPORT_TEXT];
};

struct report_finding {
    char *state, *what, *detail;
};

struct run_report {
    struct cli *cli;
    bool json;
    const char *from;
    const char *to;
    char started[32];
    char outcome[REPORT_TEXT];
    struct whole_file page;
    bool recording;
    bool worked;
    VixDiskLibExt_Activity activity; /* once worked */
    uint64_t wire_in, wire_out;      /* at the beginning; once worked, of the work */
    atomic_uint map_count;           /* all, also those that are not kept */
    struct report_map maps[REPORT_MAPS];
    unsigned sample_count;
    struct report_sample samples[REPORT_SAMPLES];
    unsigned fact_count;
    struct report_fact facts[REPORT_FACTS];
    const char *findings_title;
    uint64_t finding_count; /* all, also those that are not kept */
    struct report_finding findings[REPORT_FINDINGS];
};

extern const char *const report_stage_names[REPORT_STAGES];

/** Percent of the time in which a stage was busy. */
double report_busy(const struct run_report *report, unsigned stage);

/** The sentence on what limits the run. */
void report_limit(const struct run_report *report, char *text, size_t size);

/** The maps that are kept. */
unsigned report_maps(const struct run_report *report);

/** Figures of the disks that the run is about. */
struct report_totals {
    uint64_t capacity, data, zero, hole;
};

/** False: no such disk has a map. */
bool report_totals(const struct run_report *report, struct report_totals *ret_totals);

/** Writes the page. */
void report_write_page(const struct run_report *report, bool good, FILE *to);

#endif

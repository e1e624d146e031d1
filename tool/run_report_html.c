/* SPDX-License-Identifier: BSD-3-Clause */
/* run_report_html.c - a report as one page: no script, nothing loaded, light and dark. All text of others goes through
 * markup_text. */
#include <inttypes.h>
#include <string.h>

#include "markup.h"
#include "run_report_int.h"
#include "text.h"

#define CHART_LEFT 90.0
#define CHART_WIDTH 1010.0
#define CHART_TOP 14.0
#define CHART_HEIGHT 150.0
#define BINS_MAX 120u

static const char page_style[] =
    ":root{--bg:#fff;--fg:#1f2328;--dim:#57606a;--line:#d0d7de;--soft:#f3f5f8;--bar:#2f6fd0;--good:#1a7f37;"
    "--bad:#b42318}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9da7b3;--line:#30363d;--soft:#161b22;"
    "--bar:#62a6ff;--good:#4ac26b;--bad:#ff7b72}}\n"
    "*{box-sizing:border-box}html{color-scheme:light dark}body{margin:0 auto;max-width:1168px;padding:24px;"
    "background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;"
    "overflow-wrap:anywhere}\n"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 10px}p{margin:6px 0}.dim{color:var(--dim)}"
    ".good{color:var(--good)}.bad{color:var(--bad)}b{font-weight:600}\n"
    ".way{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,monospace;font-size:13px}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(160px,1fr));gap:10px;margin:0}"
    ".facts div{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:10px 14px}"
    ".facts dt{color:var(--dim);font-size:13px}.facts dd{margin:0;font-size:18px;font-weight:600;"
    "font-variant-numeric:tabular-nums}\n"
    ".busy{display:grid;grid-template-columns:72px 1fr 56px;gap:8px 12px;align-items:center;max-width:640px}"
    ".busy i{display:block;height:14px;border-radius:3px;background:var(--soft);border:1px solid var(--line);"
    "overflow:hidden}.busy i b{display:block;height:100%;background:var(--bar)}"
    ".busy .e{text-align:right;font-variant-numeric:tabular-nums}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "th{color:var(--dim);font-weight:500}th.e,td.e{text-align:right}\n"
    "svg{display:block;width:100%;height:auto}figure{margin:12px 0 20px}figcaption{font-weight:600;margin:0 0 4px}"
    ".map{border:1px solid var(--line);border-radius:8px}\n"
    ".chart text{fill:var(--dim);font-size:13px}.chart .grid{stroke:var(--line)}.chart .area{fill:var(--bar);"
    "fill-opacity:.18}.chart .rate{fill:none;stroke:var(--bar);stroke-width:2;stroke-linejoin:round}\n";

/* ---- pieces ---- */

static void put_fact(FILE *to, const char *label, const char *text)
{
    fputs("<div><dt>", to);
    markup_text(to, label);
    fputs("</dt><dd>", to);
    markup_text(to, text);
    fputs("</dd></div>\n", to);
}

static void put_bytes(FILE *to, const char *label, uint64_t bytes)
{
    char text[HUMAN_BYTES_MAX];
    put_fact(to, label, human_bytes(bytes, text));
}

static void put_facts_of_work(const struct run_report *r, FILE *to)
{
    const VixDiskLibExt_Activity *a = &r->activity;
    char text[64];
    char rate[HUMAN_BYTES_MAX];
    double seconds = (double)a->elapsedNs / 1e9;
    snprintf(text, sizeof text, seconds < 10 ? "%.2f s" : "%.0f s", seconds);
    put_fact(to, "Time", text);
    put_bytes(to, "Read", a->bytesRead);
    if (a->bytesWritten > 0) {
        put_bytes(to, "Written", a->bytesWritten);
        snprintf(text, sizeof text, "%.2f : 1", (double)a->bytesRead / (double)a->bytesWritten);
        put_fact(to, "Read : written", text);
    }
    if (r->wire_in + r->wire_out > 0) {
        put_bytes(to, "On the wire, in", r->wire_in);
        put_bytes(to, "On the wire, out", r->wire_out);
    }
    if (seconds > 0) {
        snprintf(text, sizeof text, "%s/s", human_bytes((uint64_t)((double)a->bytesRead / seconds), rate));
        put_fact(to, "Throughput, mean", text);
    }
    snprintf(text, sizeof text, "%" PRIu64, (uint64_t)a->retries);
    put_fact(to, "Reconnects", text);
}

static void put_facts(const struct run_report *r, FILE *to)
{
    struct report_totals totals;
    fputs("<h2>Totals</h2>\n<dl class=\"facts\">\n", to);
    if (report_totals(r, &totals)) {
        put_bytes(to, "Capacity", totals.capacity);
        put_bytes(to, "Data", totals.data);
        put_bytes(to, "Zeros", totals.zero);
        put_bytes(to, "Holes", totals.hole);
    }
    if (r->worked) {
        put_facts_of_work(r, to);
    }
    for (unsigned i = 0; i < r->fact_count; i++) {
        put_fact(to, r->facts[i].label, r->facts[i].text);
    }
    fputs("</dl>\n", to);
}

static void put_busy(const struct run_report *r, FILE *to)
{
    static const char *const labels[REPORT_STAGES] = {"Read", "Network", "Codec", "Write"};
    char limit[REPORT_TEXT];
    report_limit(r, limit, sizeof limit);
    fputs("<h2>What limits it</h2>\n<p><b>", to);
    markup_text(to, limit);
    fputs("</b></p>\n<div class=\"busy\">\n", to);
    for (unsigned i = 0; i < REPORT_STAGES; i++) {
        fprintf(to, "<span>%s</span><i><b style=\"width:%.1f%%\"></b></i><span class=\"e\">%.0f%%</span>\n", labels[i],
                report_busy(r, i), report_busy(r, i));
    }
    fputs(
        "</div>\n<p class=\"dim\">Share of the time in which at least one thread was at it. Network is waiting for the "
        "server, its disks included; what the kernel copies from file to file counts as writing.</p>\n",
        to);
}

/* ---- throughput ---- */

/** Bytes read at a time, between the samples. */
static double bytes_at(const struct run_report *r, double ns)
{
    double before_ns = 0;
    double before = 0;
    for (unsigned i = 0; i <= r->sample_count; i++) {
        bool last = i == r->sample_count;
        double at = (double)(last ? r->activity.elapsedNs : r->samples[i].ns);
        double bytes = (double)(last ? r->activity.bytesRead : r->samples[i].bytes);
        if (at >= ns) {
            return at > before_ns ? before + (bytes - before) * (ns - before_ns) / (at - before_ns) : bytes;
        }
        before_ns = at;
        before = bytes;
    }
    return before;
}

/** The top of the scale: 1, 2 or 5 times a power of ten (of MiB/s). */
static double nice_top(double rate)
{
    double power = 1;
    while (power * 10 <= rate) {
        power *= 10;
    }
    double times = rate / power;
    return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

static void put_axes(const struct run_report *r, double top, FILE *to)
{
    double seconds = (double)r->activity.elapsedNs / 1e9;
    for (unsigned i = 0; i <= 2; i++) {
        double y = CHART_TOP + CHART_HEIGHT * (1 - i / 2.0);
        fprintf(to, "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", CHART_LEFT,
                CHART_LEFT + CHART_WIDTH, y, y);
        fprintf(to, "<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%g MiB/s</text>\n", CHART_LEFT - 8, y + 4,
                top * i / 2);
    }
    for (unsigned i = 0; i <= 4; i++) {
        fprintf(to, "<text x=\"%.1f\" y=\"%g\" text-anchor=\"%s\">%.3g s</text>\n", CHART_LEFT + CHART_WIDTH * i / 4,
                CHART_TOP + CHART_HEIGHT + 20,
                i == 0   ? "start"
                : i == 4 ? "end"
                         : "middle",
                seconds * i / 4);
    }
}

static void put_throughput(const struct run_report *r, FILE *to)
{
    double rates[BINS_MAX];
    double most = 0;
    unsigned bins = r->sample_count < BINS_MAX ? r->sample_count : BINS_MAX;
    double width = (double)r->activity.elapsedNs / (bins > 0 ? bins : 1);
    if (bins < 2 || r->activity.elapsedNs == 0) {
        return;
    }
    for (unsigned i = 0; i < bins; i++) {
        double bytes = bytes_at(r, width * (i + 1)) - bytes_at(r, width * i);
        rates[i] = (bytes > 0 ? bytes : 0) / 1048576 / (width / 1e9);
        most = rates[i] > most ? rates[i] : most;
    }
    double top = nice_top(most);
    fputs("<h2>Throughput</h2>\n<svg class=\"chart\" viewBox=\"0 0 1120 196\" role=\"img\"><title>Bytes read, over time"
          "</title>\n",
          to);
    put_axes(r, top, to);
    for (unsigned area = 0; area < 2; area++) {
        fprintf(to, "<path class=\"%s\" d=\"M%g ", area == 0 ? "area" : "rate", CHART_LEFT);
        fprintf(to, "%.1f", area == 0 ? CHART_TOP + CHART_HEIGHT : CHART_TOP + CHART_HEIGHT * (1 - rates[0] / top));
        if (area == 0) {
            fprintf(to, "L%g %.1f", CHART_LEFT, CHART_TOP + CHART_HEIGHT * (1 - rates[0] / top));
        }
        for (unsigned i = 0; i < bins; i++) {
            double y = CHART_TOP + CHART_HEIGHT * (1 - rates[i] / top);
            fprintf(to, "L%.1f %.1f", CHART_LEFT + CHART_WIDTH * (i + 0.5) / bins, y);
        }
        fprintf(to, "L%g %.1f%s\"/>\n", CHART_LEFT + CHART_WIDTH,
                area == 0 ? CHART_TOP + CHART_HEIGHT : CHART_TOP + CHART_HEIGHT * (1 - rates[bins - 1] / top),
                area == 0 ? "z" : "");
    }
    fputs("</svg>\n", to);
}

/* ---- tables ---- */

static void put_slowest(const struct run_report *r, FILE *to)
{
    const VixDiskLibExt_Activity *a = &r->activity;
    char start[HUMAN_BYTES_MAX];
    char length[HUMAN_BYTES_MAX];
    if (a->numSlowest == 0) {
        return;
    }
    fputs("<h2>Slowest requests</h2>\n<div class=\"wide\"><table><tr><th>Kind</th><th class=\"e\">Offset</th>"
          "<th class=\"e\">Length</th><th class=\"e\">Time</th></tr>\n",
          to);
    for (uint32_t i = 0; i < a->numSlowest; i++) {
        const VixDiskLibExt_Request *q = &a->slowest[i];
        fprintf(to,
                "<tr><td>%s</td><td class=\"e\">%" PRIu64
                " (%s)</td><td class=\"e\">%s</td><td class=\"e\">%.2f ms</td>"
                "</tr>\n",
                q->write ? "write" : "read", (uint64_t)q->startBytes, human_bytes(q->startBytes, start),
                human_bytes(q->lengthBytes, length), (double)q->nanoseconds / 1e6);
    }
    fputs("</table></div>\n", to);
}

static void put_cell(FILE *to, const char *text)
{
    fputs("<td>", to);
    markup_text(to, text != NULL ? text : "");
    fputs("</td>", to);
}

static void put_findings(const struct run_report *r, FILE *to)
{
    if (r->finding_count == 0) {
        return;
    }
    fprintf(to, "<h2>%s</h2>\n<div class=\"wide\"><table><tr><th>State</th><th>What</th><th>Detail</th></tr>\n",
            r->findings_title != NULL ? r->findings_title : "Findings");
    for (uint64_t i = 0; i < r->finding_count && i < REPORT_FINDINGS; i++) {
        fputs("<tr>", to);
        put_cell(to, r->findings[i].state);
        put_cell(to, r->findings[i].what);
        put_cell(to, r->findings[i].detail);
        fputs("</tr>\n", to);
    }
    fputs("</table></div>\n", to);
    if (r->finding_count > REPORT_FINDINGS) {
        fprintf(to, "<p class=\"dim\">%" PRIu64 " more are not listed.</p>\n", r->finding_count - REPORT_FINDINGS);
    }
}

static void put_maps(const struct run_report *r, FILE *to)
{
    if (r->map_count == 0) {
        return;
    }
    fputs("<h2>Maps</h2>\n", to);
    for (unsigned i = 0; i < report_maps(r); i++) {
        const struct report_map *map = &r->maps[i];
        fputs("<figure><figcaption>", to);
        markup_text(to, map->caption);
        fputs("</figcaption>\n", to);
        if (map->there) {
            picture_write_svg(&map->picture, CURVE_ROWS, false, to);
        } else {
            fputs("<p class=\"dim\">There is no map: ", to);
            markup_text(to, map->why);
            fputs("</p>\n", to);
        }
        fputs("</figure>\n", to);
    }
    if (r->map_count > REPORT_MAPS) {
        fprintf(to, "<p class=\"dim\">Maps of %u more disks are not shown.</p>\n", r->map_count - REPORT_MAPS);
    }
}

static void put_head(const struct run_report *r, bool good, FILE *to)
{
    const char *command = r->cli->command->name;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          to);
    fprintf(to, "vixdisk %s: ", command);
    markup_text(to, r->from);
    fprintf(to, "</title>\n<style>\n%s", page_style);
    picture_write_style(to);
    fprintf(to, "</style></head>\n<body>\n<h1>vixdisk %s: <span class=\"%s\">", command, good ? "good" : "bad");
    markup_text(to, r->outcome);
    fputs("</span></h1>\n<p class=\"way\">", to);
    markup_text(to, r->from);
    if (r->to != NULL) {
        fputs(" → ", to);
        markup_text(to, r->to);
    }
    fputs("</p>\n<p class=\"dim\">", to);
    markup_text(to, r->started);
    fprintf(to, " · vixdisk %s", VixDiskLibExt_Version());
    if (r->cli->common.remote.host != NULL) {
        fputs(" · server ", to);
        markup_text(to, r->cli->common.remote.host);
    }
    fputs("</p>\n", to);
}

void report_write_page(const struct run_report *r, bool good, FILE *to)
{
    put_head(r, good, to);
    put_facts(r, to);
    if (r->worked) {
        put_busy(r, to);
        put_throughput(r, to);
    }
    put_findings(r, to);
    put_maps(r, to);
    if (r->worked) {
        put_slowest(r, to);
    }
    fputs("</body></html>\n", to);
}

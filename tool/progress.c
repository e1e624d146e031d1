/* SPDX-License-Identifier: BSD-3-Clause */
/* progress.c - progress lines and signals. Handlers only set flags; printing is done where the command asks. */
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

#define DRAW_NS UINT64_C(100000000)       /* on a terminal: at most ten times a second */
#define DRAW_LINE_NS UINT64_C(1000000000) /* elsewhere: a line a second */
#define ETA_AFTER_NS UINT64_C(300000000)

static volatile sig_atomic_t stop_flag;
static volatile sig_atomic_t status_flag;
static volatile sig_atomic_t input_fd = -1;
static volatile sig_atomic_t dead_fd = -1; /* cannot be read */

static void on_stop(int sig)
{
    if (stop_flag != 0) {
        _exit(STATUS_SIGNAL + sig);
    }
    stop_flag = sig;
    if (input_fd >= 0) {
        int saved = errno;
        dup2(dead_fd, input_fd);
        errno = saved;
    }
}

static void on_status(int sig)
{
    (void)sig;
    status_flag = 1;
}

void stop_catch_signals(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_stop};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        struct sigaction old;
        /* nohup and shells without job control ignore some of these for good reason */
        if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            sigaction(stops[i], &action, NULL);
        }
    }
    action.sa_handler = on_status;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
}

void stop_ends_input(int fd)
{
    int dead = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (dead >= 0) {
        dead_fd = dead;
        input_fd = fd;
    }
}

int stop_signal(void)
{
    return stop_flag;
}

int stop_status(int status)
{
    return stop_flag != 0 ? STATUS_SIGNAL + stop_flag : status;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/** Bytes to and from the server so far; 0 where there is none. */
static uint64_t wire_bytes(const struct cli *cli)
{
    uint64_t in;
    uint64_t out;
    cli_traffic(cli, &in, &out);
    return in + out;
}

void progress_init(struct progress *progress, const struct cli *cli)
{
    const struct common_args *common = &cli->common;
    bool to_fd = common->progress.given && common->progress.fd >= 0;
    memset(progress, 0, sizeof *progress);
    progress->label = cli->command->name;
    progress->fd = to_fd ? common->progress.fd : -1;
    progress->lines = !common->quiet && !to_fd && (common->progress.given || isatty(STDERR_FILENO));
    progress->percent = -1;
    progress->start_ns = now_ns();
    progress->cli = cli;
    progress->wire_start = wire_bytes(cli);
}

static int percent_of(uint64_t done, uint64_t total)
{
    if (total == 0 || done >= total) {
        return 100;
    }
    return (int)((double)done * 100 / (double)total);
}

/** "1:02:03" or "2:03". */
static void format_seconds(double seconds, char *text, size_t size)
{
    unsigned long all = seconds > 359999 ? 359999 : (unsigned long)(seconds + 0.5);
    if (all >= 3600) {
        snprintf(text, size, "%lu:%02lu:%02lu", all / 3600, all / 60 % 60, all % 60);
    } else {
        snprintf(text, size, "%lu:%02lu", all / 60, all % 60);
    }
}

/** What crossed the network, and how fast; "" on the way between local disks. */
static void format_wire(const struct progress *progress, double seconds, char *text, size_t size)
{
    char bytes_text[HUMAN_BYTES_MAX];
    char rate_text[HUMAN_BYTES_MAX];
    uint64_t bytes = wire_bytes(progress->cli) - progress->wire_start;
    text[0] = '\0';
    if (progress->cli->server != NULL) {
        uint64_t rate = seconds > 0 ? (uint64_t)((double)bytes / seconds) : 0;
        snprintf(text, size, "  wire %s  %s/s", human_bytes(bytes, bytes_text), human_bytes(rate, rate_text));
    }
}

/** The line: share, bytes of the disk, rate, time left. */
static void format_line(const struct progress *progress, uint64_t done, uint64_t total, char *line, size_t size)
{
    char done_text[HUMAN_BYTES_MAX];
    char total_text[HUMAN_BYTES_MAX];
    char rate_text[HUMAN_BYTES_MAX];
    char wire[2 * HUMAN_BYTES_MAX + 16];
    char left[32];
    uint64_t spent_ns = now_ns() - progress->start_ns;
    double seconds = (double)spent_ns / 1e9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    double share = total == 0 ? 100 : (double)done * 100 / (double)total;
    bool known = rate > 0 && (spent_ns > ETA_AFTER_NS || done >= total);
    format_seconds(done >= total ? seconds : known ? (double)(total - done) / rate : 0, left, sizeof left);
    format_wire(progress, seconds, wire, sizeof wire);
    snprintf(line, size, "%s: %5.1f%%  %s of %s  %s/s%s  %s%s", progress->label, share, human_bytes(done, done_text),
             human_bytes(total, total_text), human_bytes((uint64_t)rate, rate_text), wire, known ? left : "-:--",
             done >= total ? "" : " left");
}

/** Draws over the last line on a terminal, else a line of its own. */
static void draw(struct progress *progress, uint64_t done, uint64_t total)
{
    char line[256];
    format_line(progress, done, total, line, sizeof line);
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s\033[K", line);
        progress->drawn = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
}

static void step_fd(struct progress *progress, int percent)
{
    char line[16];
    if (percent == progress->percent) {
        return;
    }
    progress->percent = percent;
    int len = snprintf(line, sizeof line, "%d/100\n", percent);
    /* Whoever reads this may have gone; that is no reason to end the work. */
    if (write(progress->fd, line, (size_t)len) < 0) {
        progress->fd = -1;
    }
}

static void step_lines(struct progress *progress, uint64_t done, uint64_t total)
{
    uint64_t now = now_ns();
    uint64_t pause = isatty(STDERR_FILENO) ? DRAW_NS : DRAW_LINE_NS;
    bool last = done >= total && !progress->ended;
    if (!last && (progress->ended || (progress->began && now - progress->drawn_ns < pause))) {
        return;
    }
    progress->began = true;
    progress->ended = last;
    progress->drawn_ns = now;
    draw(progress, done, total);
}

Bool progress_step(void *data, uint64 done_bytes, uint64 total_bytes)
{
    struct progress *progress = data;
    int percent = percent_of(done_bytes, total_bytes);
    if (progress->fd >= 0) {
        step_fd(progress, percent);
    }
    if (progress->lines) {
        step_lines(progress, done_bytes, total_bytes);
    }
    if (status_flag) {
        char line[256];
        status_flag = 0;
        format_line(progress, done_bytes, total_bytes, line, sizeof line);
        fprintf(stderr, "%s%s\n", progress->drawn ? "\r" : "", line);
    }
    return stop_flag == 0;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn) {
        fputc('\n', stderr);
        progress->drawn = false;
    }
}

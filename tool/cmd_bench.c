/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_bench.c - measures reads and writes of a disk. Each thread keeps up to depth requests going: one by one with the
 * plain calls, more with the asynchronous ones. Threads share the disk and a counter that hands out requests; the main
 * thread prints. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "latency.h"
#include "progress.h"
#include "text.h"

#define MAX_DEPTH 1024u
#define MAX_THREADS 256u
#define MAX_REQUEST (UINT64_C(64) << 20)
#define MAX_BUFFERS (UINT64_C(4) << 30)
#define DEFAULT_REQUEST (UINT64_C(1) << 20)
#define MICROSECOND 1000.0

struct bench_args {
    enum disk_format format;
    struct number_arg depth;
    struct number_arg threads;
    struct number_arg count;
    struct number_arg seed;
    struct bytes_arg size;
    struct bytes_arg off;
    bool random;
    bool unbuffered;
};

static const struct option_spec options[] = {
    {.name = "depth",
     .letter = 'd',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct bench_args, depth),
     .arg = "DEPTH",
     .help = "requests in flight per thread; above 1 the asynchronous calls are used (default: 1)",
     .low = 1,
     .high = MAX_DEPTH},
    {.name = "count",
     .letter = 'c',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct bench_args, count),
     .arg = "COUNT",
     .help = "number of requests (default: once over the disk)",
     .low = 1,
     .high = UINT32_MAX},
    {.name = "size",
     .letter = 's',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct bench_args, size),
     .arg = "SIZE",
     .help = "bytes of a request (default: 1M)"},
    {.name = "offset",
     .letter = 'o',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct bench_args, off),
     .arg = "OFFSET",
     .help = "begin here"},
    {.name = "random",
     .kind = OPTION_FLAG,
     .at = offsetof(struct bench_args, random),
     .help = "at random places instead of one after the other"},
    {.name = "seed",
     .kind = OPTION_NUMBER,
     .at = offsetof(struct bench_args, seed),
     .arg = "N",
     .help = "start of the random numbers (default: 1)",
     .high = UINT32_MAX},
    {.name = "threads",
     .letter = 'j',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct bench_args, threads),
     .arg = "THREADS",
     .help = "threads that make requests (default: 1)",
     .low = 1,
     .high = MAX_THREADS},
    {.name = "unbuffered",
     .kind = OPTION_FLAG,
     .at = offsetof(struct bench_args, unbuffered),
     .help = "past the host's page cache"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct bench_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.kind = OPTION_END},
};

/** What all threads share. */
struct bench {
    VixDiskLibHandle disk;
    bool writing;
    bool random;
    uint64_t seed;
    uint32_t depth;
    uint64_t request; /* sectors */
    uint64_t begin;   /* sectors */
    uint64_t places;  /* whole requests between begin and the end of the disk */
    uint64_t count;
    atomic_uint_fast64_t next;
    atomic_bool stop;
    pthread_mutex_t lock;
    struct tally *tallies;
};

/** The times of the requests that ended on one thread. */
struct tally {
    struct tally *next;
    struct latency latency;
};

struct worker;

/** A request in flight. */
struct slot {
    struct worker *worker;
    uint8 *bytes;
    uint64_t start_ns;
};

/** A thread that makes requests. Completions come on the library's threads; lock guards what they leave here. */
struct worker {
    struct bench *bench;
    pthread_t thread;
    struct slot *slots;
    pthread_mutex_t lock;
    pthread_cond_t all_ended;
    uint32_t in_flight;
    VixError code; /* first failure */
    char detail[512];
};

static _Thread_local struct tally *tally;

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/** The sector of the next request; false when all are handed out. */
static bool next_request(struct bench *bench, uint64_t *ret_sector)
{
    uint64_t index = atomic_fetch_add(&bench->next, 1);
    if (index >= bench->count || atomic_load(&bench->stop) || stop_signal() != 0) {
        return false;
    }
    uint64_t place = bench->random ? mix(bench->seed + index) % bench->places : index % bench->places;
    *ret_sector = bench->begin + place * bench->request;
    return true;
}

/** Notes the time of a request. Each thread has counts of its own: what threads share costs about as much as a read. */
static VixError note_time(struct bench *bench, uint64_t ns)
{
    if (tally == NULL) {
        tally = calloc(1, sizeof *tally);
        if (tally == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        pthread_mutex_lock(&bench->lock);
        tally->next = bench->tallies;
        bench->tallies = tally;
        pthread_mutex_unlock(&bench->lock);
    }
    latency_add(&tally->latency, ns);
    return VIX_OK;
}

static void note_failure(struct worker *worker, VixError code, const char *detail)
{
    if (worker->code == VIX_OK) {
        worker->code = code;
        snprintf(worker->detail, sizeof worker->detail, "%s", detail);
    }
    atomic_store(&worker->bench->stop, true);
}

/* ---- one by one ---- */

static void run_plain(struct worker *worker)
{
    struct bench *bench = worker->bench;
    uint8 *bytes = worker->slots[0].bytes;
    uint64_t sector, start_ns = now_ns();
    while (next_request(bench, &sector)) {
        VixError code = bench->writing ? VixDiskLib_Write(bench->disk, sector, bench->request, bytes)
                                       : VixDiskLib_Read(bench->disk, sector, bench->request, bytes);
        if (code != VIX_OK) {
            note_failure(worker, code, VixDiskLibExt_LastErrorDetail());
            return;
        }
        uint64_t end_ns = now_ns();
        if (note_time(bench, end_ns - start_ns) != VIX_OK) {
            note_failure(worker, VIX_E_OUT_OF_MEMORY, "for the times of a thread");
            return;
        }
        start_ns = end_ns; /* the next one begins at once, and asking for the time twice costs 2% of a read */
    }
}

/* ---- several at once ---- */

static void request_ended(void *data, VixError result);

/** One request less in flight; code: why it failed, or VIX_OK. Called with or without a next request to make. */
static void leave(struct worker *worker, VixError code, const char *detail)
{
    pthread_mutex_lock(&worker->lock);
    if (code != VIX_OK) {
        note_failure(worker, code, detail);
    }
    if (--worker->in_flight == 0) {
        pthread_cond_signal(&worker->all_ended);
    }
    pthread_mutex_unlock(&worker->lock);
}

/** Makes the next request with a slot that counts as in flight, or takes the slot out of use. @start_ns the time. */
static void make_request(struct slot *slot, uint64_t start_ns)
{
    struct worker *worker = slot->worker;
    struct bench *bench = worker->bench;
    uint64_t sector;
    if (!next_request(bench, &sector)) {
        leave(worker, VIX_OK, "");
        return;
    }
    slot->start_ns = start_ns;
    VixError code = bench->writing
                        ? VixDiskLib_WriteAsync(bench->disk, sector, bench->request, slot->bytes, request_ended, slot)
                        : VixDiskLib_ReadAsync(bench->disk, sector, bench->request, slot->bytes, request_ended, slot);
    if (code != VIX_ASYNC) {
        leave(worker, code, VixDiskLibExt_LastErrorDetail());
    }
}

/** Makes the next request from within the callback: so the depth stays what it is, and no thread has to be woken. */
static void request_ended(void *data, VixError result)
{
    struct slot *slot = data;
    struct worker *worker = slot->worker;
    uint64_t end_ns = now_ns();
    if (result != VIX_OK) {
        leave(worker, result, "in the background");
        return;
    }
    result = note_time(worker->bench, end_ns - slot->start_ns);
    if (result != VIX_OK) {
        leave(worker, result, "for the times of a thread");
        return;
    }
    make_request(slot, end_ns);
}

static void run_async(struct worker *worker)
{
    worker->in_flight = worker->bench->depth;
    for (uint32_t i = 0; i < worker->bench->depth; i++) {
        make_request(&worker->slots[i], now_ns());
    }
    pthread_mutex_lock(&worker->lock);
    while (worker->in_flight > 0) {
        pthread_cond_wait(&worker->all_ended, &worker->lock);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* ---- threads ---- */

static void *worker_main(void *data)
{
    struct worker *worker = data;
    if (worker->bench->depth > 1) {
        run_async(worker);
    } else {
        run_plain(worker);
    }
    return NULL;
}

/** Fills a buffer with bytes that are neither zeros nor easy to compress. */
static void fill(uint8 *bytes, uint64_t len, uint64_t seed)
{
    for (uint64_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = mix(seed + i);
        memcpy(bytes + i, &word, sizeof word);
    }
}

static void worker_done(struct worker *worker)
{
    for (uint32_t i = 0; worker->slots != NULL && i < worker->bench->depth; i++) {
        free(worker->slots[i].bytes);
    }
    free(worker->slots);
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->all_ended);
}

/** Makes the buffers of a thread; false without memory. */
static bool worker_init(struct worker *worker, struct bench *bench, uint64_t seed)
{
    uint64_t bytes = bench->request * SECTOR_BYTES;
    worker->bench = bench;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->all_ended, NULL);
    worker->slots = calloc(bench->depth, sizeof worker->slots[0]);
    for (uint32_t i = 0; worker->slots != NULL && i < bench->depth; i++) {
        struct slot *slot = &worker->slots[i];
        slot->worker = worker;
        if (posix_memalign((void **)&slot->bytes, 4096, bytes) != 0) {
            slot->bytes = NULL;
            return false;
        }
        fill(slot->bytes, bytes, mix(seed) + i * bytes);
    }
    return worker->slots != NULL;
}

/** Shows how far the threads are, until all requests are made or a signal comes. */
static void watch(struct cli *cli, struct bench *bench)
{
    struct progress progress;
    uint64_t request_bytes = bench->request * SECTOR_BYTES;
    progress_init(&progress, cli);
    for (;;) {
        uint64_t next = atomic_load(&bench->next);
        uint64_t done = next < bench->count ? next : bench->count;
        if (!progress_step(&progress, done * request_bytes, bench->count * request_bytes)) {
            atomic_store(&bench->stop, true);
        }
        if (done == bench->count || atomic_load(&bench->stop)) {
            break;
        }
        usleep(20000);
    }
    progress_end(&progress);
}

/** Runs the threads. Returns how many could be started. */
static uint32_t run_workers(struct cli *cli, struct bench *bench, struct worker *workers, uint32_t nworkers)
{
    uint32_t started = 0;
    bool watched = cli->common.progress.given || (isatty(STDERR_FILENO) && !cli->common.quiet);
    while (started < nworkers && pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]) == 0) {
        started++;
    }
    if (watched && started > 0) {
        watch(cli, bench);
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    return started;
}

/* ---- the report ---- */

static const double percentiles[] = {50, 90, 99, 99.9};
static const char *const percentile_keys[] = {"p50-us", "p90-us", "p99-us", "p99.9-us"};

static void print_json(const struct bench *bench, const struct latency *latency, uint32_t threads, double seconds)
{
    struct json_object *object = json_object_new_object();
    struct json_object *times = json_object_new_object();
    double bytes = (double)latency->count * (double)(bench->request * SECTOR_BYTES);
    json_add_text(object, "operation", bench->writing ? "write" : "read");
    json_add_text(object, "pattern", bench->random ? "random" : "sequential");
    json_add_number(object, "request-size", bench->request * SECTOR_BYTES);
    json_add_number(object, "depth", bench->depth);
    json_add_number(object, "threads", threads);
    json_add_number(object, "count", latency->count);
    json_add_real(object, "seconds", seconds);
    json_add_real(object, "mib-per-second", bytes / seconds / 1048576);
    json_add_real(object, "iops", (double)latency->count / seconds);
    json_add_real(times, "mean-us", (double)latency->sum_ns / (double)latency->count / MICROSECOND);
    for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
        json_add_real(times, percentile_keys[i], (double)latency_percentile(latency, percentiles[i]) / MICROSECOND);
    }
    json_add_real(times, "max-us", (double)latency->max_ns / MICROSECOND);
    json_object_object_add(object, "latency", times);
    json_print(object);
}

static void print_human(const struct bench *bench, const struct latency *latency, uint32_t threads, double seconds)
{
    char size[HUMAN_BYTES_MAX];
    double bytes = (double)latency->count * (double)(bench->request * SECTOR_BYTES);
    printf("%s %s: %" PRIu64 " requests of %s, %u thread%s, depth %u\n", bench->random ? "random" : "sequential",
           bench->writing ? "write" : "read", latency->count, human_bytes(bench->request * SECTOR_BYTES, size), threads,
           threads == 1 ? "" : "s", bench->depth);
    printf("%.3f s, %.1f MiB/s, %.0f requests/s\n", seconds, bytes / seconds / 1048576,
           (double)latency->count / seconds);
    printf("latency in microseconds: mean %.1f", (double)latency->sum_ns / (double)latency->count / MICROSECOND);
    for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
        printf(", %g%% %.1f", percentiles[i], (double)latency_percentile(latency, percentiles[i]) / MICROSECOND);
    }
    printf(", max %.1f\n", (double)latency->max_ns / MICROSECOND);
}

/** Joins the figures of the threads and prints them; or reports the first failure. */
static int report(struct cli *cli, const char *path, const struct bench *bench, const struct worker *workers,
                  uint32_t started, uint64_t spent_ns)
{
    struct latency *all = calloc(1, sizeof *all);
    int status = STATUS_DONE;
    for (uint32_t i = 0; i < started && all != NULL; i++) {
        if (workers[i].code != VIX_OK && status == STATUS_DONE) {
            status = fail_with(cli, path, workers[i].code, "%s", workers[i].detail);
        }
    }
    for (const struct tally *t = bench->tallies; t != NULL && all != NULL; t = t->next) {
        latency_merge(all, &t->latency);
    }
    if (all == NULL || started == 0) {
        status = fail_with(cli, path, VIX_E_OUT_OF_MEMORY, "no thread could be started");
    } else if (status == STATUS_DONE && all->count > 0) {
        double seconds = spent_ns == 0 ? 1e-9 : (double)spent_ns / 1e9;
        (cli->common.json ? print_json : print_human)(bench, all, started, seconds);
    }
    free(all);
    return stop_status(status);
}

/* ---- */

/** Measures with prepared threads; a final flush counts as part of writing. */
static int measure(struct cli *cli, const char *path, struct bench *bench, struct worker *workers, uint32_t nworkers)
{
    uint64_t start_ns = now_ns();
    uint32_t started = run_workers(cli, bench, workers, nworkers);
    VixError code = bench->writing ? VixDiskLib_Flush(bench->disk) : VIX_OK;
    uint64_t spent_ns = now_ns() - start_ns;
    if (code != VIX_OK) {
        return fail(cli, path, code);
    }
    return report(cli, path, bench, workers, started, spent_ns);
}

static int run_bench(struct cli *cli, const char *path, struct bench *bench, uint32_t nworkers)
{
    bool ready = true;
    struct worker *workers = calloc(nworkers, sizeof workers[0]);
    if (workers == NULL) {
        return fail_with(cli, path, VIX_E_OUT_OF_MEMORY, "for %u threads", nworkers);
    }
    for (uint32_t i = 0; i < nworkers; i++) {
        ready = worker_init(&workers[i], bench, i) && ready;
    }
    int status = ready ? measure(cli, path, bench, workers, nworkers)
                       : fail_with(cli, path, VIX_E_OUT_OF_MEMORY, "for the buffers of %u threads", nworkers);
    for (uint32_t i = 0; i < nworkers; i++) {
        worker_done(&workers[i]);
    }
    free(workers);
    while (bench->tallies != NULL) {
        struct tally *t = bench->tallies;
        bench->tallies = t->next;
        free(t);
    }
    return status;
}

/** Fills in what the disk and the options say; 0, or the status of a reported mistake. */
static int prepare(struct cli *cli, const struct bench_args *args, const char *path, struct bench *bench)
{
    uint64_t capacity = 0;
    uint64_t len = 0;
    uint64_t off = 0;
    struct bytes_arg rest = {0};
    uint64_t request = args->size.given ? args->size.bytes : DEFAULT_REQUEST;
    int status = disk_bytes(cli, path, bench->disk, &capacity);
    if (status == STATUS_DONE) {
        status = disk_range(cli, path, capacity, args->off, rest, &off, &len);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    if (!args->size.given && request > len) {
        request = len;
    }
    if (request == 0 || request > len) {
        return fail_with(cli, path, VIX_E_DISK_OUTOFRANGE,
                         "a request of %llu bytes; the disk has %llu from offset %llu on", (unsigned long long)request,
                         (unsigned long long)len, (unsigned long long)off);
    }
    bench->random = args->random;
    bench->seed = args->seed.given ? args->seed.value : 1;
    bench->depth = args->depth.given ? args->depth.value : 1;
    bench->request = request / SECTOR_BYTES;
    bench->begin = off / SECTOR_BYTES;
    bench->places = len / request;
    bench->count = args->count.given ? args->count.value : bench->places;
    return STATUS_DONE;
}

static int check_args(const struct cli *cli, const struct bench_args *args)
{
    const char *word = cli->operands[0];
    uint64_t buffers = (args->depth.given ? args->depth.value : 1) *
                       (uint64_t)(args->threads.given ? args->threads.value : 1) *
                       (args->size.given ? args->size.bytes : DEFAULT_REQUEST);
    if (strcmp(word, "read") != 0 && strcmp(word, "write") != 0) {
        return usage_error(cli, "\"%s\" is neither read nor write", word);
    }
    if (args->size.given && (args->size.bytes == 0 || args->size.bytes > MAX_REQUEST)) {
        return usage_error(cli, "--size: %llu is not within 512 bytes and 64M", (unsigned long long)args->size.bytes);
    }
    if (buffers > MAX_BUFFERS) {
        return usage_error(cli, "size, depth and threads together need %llu bytes of memory, more than 4G",
                           (unsigned long long)buffers);
    }
    return -1;
}

static int run(struct cli *cli, const void *data)
{
    const struct bench_args *args = data;
    struct bench bench = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int status = check_args(cli, args);
    if (status >= 0) {
        return status;
    }
    const char *path = cli->operands[1];
    bench.writing = strcmp(cli->operands[0], "write") == 0;
    uint32 flags = bench.writing ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY;
    flags |= args->unbuffered ? (uint32)VIXDISKLIB_FLAG_OPEN_UNBUFFERED : 0;
    status = open_disk(cli, path, args->format, flags, &bench.disk);
    if (status != STATUS_DONE) {
        return status;
    }
    stop_catch_signals();
    status = prepare(cli, args, path, &bench);
    if (status == STATUS_DONE) {
        status = run_bench(cli, path, &bench, args->threads.given ? args->threads.value : 1);
    }
    return close_disk(cli, path, bench.disk, status);
}

const struct command command_bench = {
    .name = "bench",
    .usage = "read|write PATH",
    .summary = "measure throughput and latency of a disk",
    .details =
        "\"write\" DESTROYS the contents of the disk. Requests are aligned to their size, counted from OFFSET; the\n"
        "time of \"write\" includes a flush at the end.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct bench_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};

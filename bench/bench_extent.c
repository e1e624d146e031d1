/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_extent.c - what the sparse extent costs beyond the bare system calls: each work is done through the extent and
 * with pread/pwrite, in turn, and the medians are compared. The bare calls go to the same file where its grains lie
 * (they were written in order), as how a file lies in memory matters; where grains are allocated, to a fresh raw file.
 * Links the inside of the library. usage: bench_extent FOLDER [MIB] [ROUNDS]    (a folder in tmpfs; MIB: size of the
 * disk, 1024) bench_extent map PATH                  (a monolithicSparse file: one pass over its map) Prints lines
 * "work  ours  limit  unit  ratio". Time is that of the thread's processor unless several threads run, so that other
 * programs on the machine disturb little. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"
#include "vmdk/extent.h"

#define MAX_ROUNDS 31
#define RANDOM_OPS 60000u

struct bench {
    const char *folder;
    uint64_t bytes;
    unsigned rounds;
    struct extent *x;
    struct store *st;
    int raw;
    uint64_t raw_base; /* where the disk's bytes begin in it */
    uint8_t *buf;      /* 1 MiB */
};

static char path_buf[4096];

static const char *path_of(const struct bench *b, const char *name)
{
    (void)snprintf(path_buf, sizeof path_buf, "%s/%s", b->folder, name);
    return path_buf;
}

static void must(int ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "bench_extent: %s failed\n", what);
        exit(1);
    }
}

static double clock_of(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* ---- the two sides ---- */

static void ext_open(struct bench *b, const char *name, bool create, bool writable)
{
    struct store_fs *fs = store_fs_local();
    struct extent_open_params p = {.writable = writable};
    if (create) {
        (void)unlink(path_of(b, name));
        must(fs->ops->create(fs, path_of(b, name), 0, 0600, &b->st, NULL) == VIX_OK, "create");
        must(extent_sparse_create(b->st, b->bytes / 512, NULL, 0, NULL) == VIX_OK, "create");
    } else {
        must(fs->ops->open(fs, path_of(b, name), writable ? STORE_WRITE : STORE_READ, &b->st, NULL) == VIX_OK, "open");
    }
    p.store = b->st;
    must(extent_sparse_open(&p, &b->x, NULL) == VIX_OK, "open");
}

static void ext_close(struct bench *b)
{
    must(b->x->ops->close(b->x, NULL) == VIX_OK, "close");
    store_close(b->st);
}

static void ext_read(struct bench *b, uint64_t off, uint64_t len, uint8_t *buf, struct err *err)
{
    struct extent_run run;
    while (len > 0) {
        must(b->x->ops->map(b->x, off / 512, len / 512, 0, &run, err) == VIX_OK && run.kind == RUN_DATA, "map");
        must(store_read(b->st, buf, run.nsectors * 512, run.file_off, err) == VIX_OK, "read");
        off += run.nsectors * 512;
        len -= run.nsectors * 512;
        buf += run.nsectors * 512;
    }
}

static void do_io(struct bench *b, bool ours, bool write, uint64_t off, uint64_t len, uint8_t *buf, struct err *err)
{
    if (ours && write) {
        must(b->x->ops->write(b->x, off / 512, len / 512, buf, err) == VIX_OK, "write");
    } else if (ours) {
        ext_read(b, off, len, buf, err);
    } else {
        off_t at = (off_t)(b->raw_base + off);
        ssize_t n = write ? pwrite(b->raw, buf, len, at) : pread(b->raw, buf, len, at);
        must(n == (ssize_t)len, write ? "pwrite" : "pread");
    }
}

static void random_io(struct bench *b, bool ours, bool write, unsigned count, uint64_t seed)
{
    struct err err;
    uint8_t *buf = aligned_alloc(4096, 4096);
    must(buf != NULL, "memory");
    memset(buf, 0x5A, 4096);
    for (unsigned i = 0; i < count; i++) {
        do_io(b, ours, write, rnd(&seed) % (b->bytes / 4096) * 4096, 4096, buf, &err);
    }
    free(buf);
}

static void sequential_io(struct bench *b, bool ours, bool write, uint64_t len)
{
    struct err err;
    for (uint64_t off = 0; off + len <= b->bytes; off += len) {
        do_io(b, ours, write, off, len, b->buf, &err);
    }
}

static void new_target(struct bench *b, bool ours)
{
    if (ours) {
        ext_open(b, "fresh.vmdk", true, true);
    } else {
        (void)unlink(path_of(b, "fresh.raw"));
        b->raw = open(path_of(b, "fresh.raw"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        b->raw_base = 0;
        must(b->raw >= 0 && ftruncate(b->raw, (off_t)b->bytes) == 0, "create raw");
    }
}

static void end_target(struct bench *b, bool ours)
{
    if (ours) {
        must(b->x->ops->flush(b->x, NULL) == VIX_OK, "flush");
        ext_close(b);
    } else {
        must(fdatasync(b->raw) == 0 && close(b->raw) == 0, "close raw");
    }
}

/* ---- rows ---- */

enum work { READ_4K, READ_4K_2, WRITE_4K, READ_1M, WRITE_1M, FRESH_1M, FRESH_64K, FRESH_4K, WORKS };

static const struct row {
    const char *name;
    const char *unit;
    double scale;
} rows[WORKS] = {
    [READ_4K] = {"random 4K read, 1 thread", "k/s", 1e3},
    [READ_4K_2] = {"random 4K read, 2 threads", "k/s", 1e3},
    [WRITE_4K] = {"random 4K overwrite", "k/s", 1e3},
    [READ_1M] = {"sequential 1M read", "MiB/s", 1048576},
    [WRITE_1M] = {"sequential 1M overwrite", "MiB/s", 1048576},
    [FRESH_1M] = {"allocating sequential 1M", "MiB/s", 1048576},
    [FRESH_64K] = {"allocating sequential 64K", "MiB/s", 1048576},
    [FRESH_4K] = {"allocating random 4K", "k/s", 1e3},
};

struct second {
    struct bench *b;
    bool ours;
};

static void *second_thread(void *arg)
{
    struct second *s = arg;
    random_io(s->b, s->ours, false, RANDOM_OPS, 0xABCDEF);
    return NULL;
}

static void two_threads(struct bench *b, bool ours)
{
    pthread_t id;
    struct second s = {b, ours};
    must(pthread_create(&id, NULL, second_thread, &s) == 0, "thread");
    random_io(b, ours, false, RANDOM_OPS, 0x123457);
    must(pthread_join(id, NULL) == 0, "thread");
}

static void do_work(struct bench *b, enum work w, bool ours)
{
    switch (w) {
    case READ_4K:
    case WRITE_4K:
        random_io(b, ours, w == WRITE_4K, RANDOM_OPS, 0x123457);
        break;
    case READ_4K_2:
        two_threads(b, ours);
        break;
    case READ_1M:
    case WRITE_1M:
        sequential_io(b, ours, w == WRITE_1M, 1048576);
        break;
    case FRESH_1M:
    case FRESH_64K:
        new_target(b, ours);
        sequential_io(b, ours, true, w == FRESH_1M ? 1048576 : 65536);
        end_target(b, ours);
        break;
    case FRESH_4K:
        new_target(b, ours);
        random_io(b, ours, true, RANDOM_OPS, 0x777);
        end_target(b, ours);
        break;
    case WORKS:
        break;
    }
}

static double amount(const struct bench *b, enum work w)
{
    if (w == READ_4K || w == WRITE_4K || w == FRESH_4K) {
        return RANDOM_OPS;
    }
    return w == READ_4K_2 ? 2.0 * RANDOM_OPS : (double)b->bytes;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, unsigned n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

static void measure(struct bench *b, enum work w)
{
    double t[2][MAX_ROUNDS];
    clockid_t id = w == READ_4K_2 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    bool fresh = w >= FRESH_1M;

    if (!fresh) {
        ext_open(b, "full.vmdk", false, true);
        b->raw = open(path_of(b, "full.vmdk"), O_RDWR | O_CLOEXEC);
        must(b->raw >= 0, "open raw");
        b->raw_base = extent_sparse_empty_size(b->bytes / 512, false);
    }
    for (unsigned r = 0; r <= b->rounds; r++) { /* the first is a warm-up */
        for (int ours = 0; ours < 2; ours++) {
            double start = clock_of(id);
            do_work(b, w, ours != 0);
            t[ours][r > 0 ? r - 1 : 0] = clock_of(id) - start;
        }
    }
    if (!fresh) {
        ext_close(b);
        (void)close(b->raw);
    }
    double ours = amount(b, w) / median(t[1], b->rounds), limit = amount(b, w) / median(t[0], b->rounds);
    (void)printf("%-28s %9.1f %9.1f %-6s %5.2f\n", rows[w].name, ours / rows[w].scale, limit / rows[w].scale,
                 rows[w].unit, ours / limit);
    (void)fflush(stdout);
}

static void make_full(struct bench *b)
{
    ext_open(b, "full.vmdk", true, true);
    sequential_io(b, true, true, 1048576);
    ext_close(b);
}

static int map_once(const char *path)
{
    struct store_fs *fs = store_fs_local();
    struct store *st;
    struct extent *x;
    struct extent_open_params p = {.writable = false};
    struct rusage u;
    uint64_t runs[2] = {0, 0}, at = 0;

    for (int flags = 0; flags < 2; flags++, at = 0) {
        double start = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
        must(fs->ops->open(fs, path, STORE_READ, &st, NULL) == VIX_OK, "open");
        p.store = st;
        must(extent_sparse_open(&p, &x, NULL) == VIX_OK, "open");
        while (at < x->nsectors) {
            struct extent_run run;
            must(x->ops->map(x, at, x->nsectors - at, flags ? EXTENT_MAP_STATUS : 0, &run, NULL) == VIX_OK, "map");
            at += run.nsectors;
            runs[flags]++;
        }
        must(x->ops->close(x, NULL) == VIX_OK, "close");
        store_close(st);
        (void)printf("map %-7s %8.3f ms (cpu %.3f ms), %llu runs\n", flags ? "status" : "exact",
                     (clock_of(CLOCK_MONOTONIC) - start) * 1e3, (clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu) * 1e3,
                     (unsigned long long)runs[flags]);
    }
    (void)getrusage(RUSAGE_SELF, &u);
    (void)printf("peak %ld KiB\n", u.ru_maxrss);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "map") == 0) {
        return map_once(argv[2]);
    }
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_extent FOLDER [MIB] [ROUNDS] | map PATH\n");
        return 2;
    }
    struct bench b = {.folder = argv[1],
                      .bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1024) << 20,
                      .rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 5,
                      .buf = aligned_alloc(4096, 1048576)};
    must(b.buf != NULL && b.rounds >= 1 && b.rounds <= MAX_ROUNDS && b.bytes >= 1048576, "arguments");
    memset(b.buf, 0xA7, 1048576);
    make_full(&b);
    (void)printf("%-28s %9s %9s %-6s %5s\n", "work", "ours", "limit", "", "ratio");
    for (enum work w = READ_4K; w < WORKS; w++) {
        measure(&b, w);
    }
    (void)unlink(path_of(&b, "full.vmdk"));
    (void)unlink(path_of(&b, "fresh.vmdk"));
    (void)unlink(path_of(&b, "fresh.raw"));
    return 0;
}

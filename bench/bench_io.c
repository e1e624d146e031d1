/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_io.c - reads and writes of a disk by the public library, one by one on each thread, and what the kernel alone
 * takes for them: pread and pwrite of a raw file at the same places, which are those of `vixdisk bench`. One loop makes
 * both, so that nothing but the calls differs.
 *
 * usage: bench_io disk|file PATH read|write SIZE COUNT sequential|random THREADS [FROM BYTES]
 *   SIZE bytes of a request; write ends with a flush. A file must be there, and as long as its places should lie apart;
 *   with FROM only BYTES of disk or file from there on count.
 * Prints the seconds. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vixDiskLib.h"

#define MAX_THREADS 64

struct job {
    VixDiskLibHandle disk; /* NULL: it is a file */
    int fd;
    bool writing;
    bool random;
    size_t size;
    uint64_t count;
    uint64_t from;
    uint64_t places;
    atomic_uint_fast64_t next;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_io: %s\n", what);
    exit(1);
}

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static bool request(const struct job *job, void *buf, uint64_t at)
{
    if (job->disk != NULL) {
        const uint64_t sector = at / VIXDISKLIB_SECTOR_SIZE, n = job->size / VIXDISKLIB_SECTOR_SIZE;
        return (job->writing ? VixDiskLib_Write(job->disk, sector, n, buf)
                             : VixDiskLib_Read(job->disk, sector, n, buf)) == VIX_OK;
    }
    return (job->writing ? pwrite(job->fd, buf, job->size, (off_t)at) : pread(job->fd, buf, job->size, (off_t)at)) ==
           (ssize_t)job->size;
}

static void *worker(void *arg)
{
    struct job *job = arg;
    void *buf;
    uint64_t index;

    /* some processors copy to other places at a quarter of the speed */
    if (posix_memalign(&buf, 4096, job->size) != 0) {
        die("out of memory");
    }
    memset(buf, 0x5a, job->size);
    while ((index = atomic_fetch_add(&job->next, 1)) < job->count) {
        uint64_t place = job->random ? mix(1 + index) % job->places : index % job->places;
        if (!request(job, buf, job->from + place * job->size)) {
            die("a request was not carried out whole");
        }
    }
    free(buf);
    return NULL;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/** Opens what is read or written; its length. */
static uint64_t open_disk(struct job *job, const char *path)
{
    VixDiskLibConnection connection = NULL;
    VixDiskLibInfo *info = NULL;
    uint64_t bytes;

    if (VixDiskLib_InitEx(8, 0, NULL, NULL, NULL, NULL, NULL) != VIX_OK ||
        VixDiskLib_Connect(NULL, &connection) != VIX_OK ||
        VixDiskLib_Open(connection, path, job->writing ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY, &job->disk) != VIX_OK ||
        VixDiskLib_GetInfo(job->disk, &info) != VIX_OK) {
        die("cannot open the disk");
    }
    bytes = info->capacity * VIXDISKLIB_SECTOR_SIZE;
    VixDiskLib_FreeInfo(info);
    return bytes;
}

static uint64_t open_file(struct job *job, const char *path)
{
    struct stat st;

    job->fd = open(path, (job->writing ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (job->fd < 0 || fstat(job->fd, &st) != 0) {
        die("cannot open the file");
    }
    return (uint64_t)st.st_size;
}

static double run(struct job *job, unsigned threads)
{
    pthread_t thread[MAX_THREADS];
    double begin = now();

    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, worker, job) != 0) {
            die("pthread_create failed");
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    if (job->writing && (job->disk != NULL ? VixDiskLib_Flush(job->disk) != VIX_OK : fdatasync(job->fd) != 0)) {
        die("the flush failed");
    }
    return now() - begin;
}

int main(int argc, char **argv)
{
    if (argc != 8 && argc != 10) {
        die("usage: bench_io disk|file PATH read|write SIZE COUNT sequential|random THREADS [FROM BYTES]");
    }
    struct job job = {
        .writing = strcmp(argv[3], "write") == 0,
        .size = strtoul(argv[4], NULL, 10),
        .count = strtoull(argv[5], NULL, 10),
        .random = strcmp(argv[6], "random") == 0,
        .from = argc == 10 ? strtoull(argv[8], NULL, 10) : 0,
    };
    unsigned long threads = strtoul(argv[7], NULL, 10);
    uint64_t length = strcmp(argv[1], "disk") == 0 ? open_disk(&job, argv[2]) : open_file(&job, argv[2]);
    uint64_t bytes = argc == 10 ? strtoull(argv[9], NULL, 10) : length;
    if (job.size == 0 || bytes < job.size || threads < 1 || threads > MAX_THREADS) {
        die("SIZE, BYTES or THREADS cannot be");
    }
    job.places = bytes / job.size;
    (void)printf("%.6f\n", run(&job, (unsigned)threads));
    if (job.disk != NULL && VixDiskLib_Close(job.disk) != VIX_OK) {
        die("the disk cannot be closed");
    }
    return 0;
}

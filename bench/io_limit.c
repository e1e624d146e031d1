/* SPDX-License-Identifier: BSD-3-Clause */
/* io_limit.c - what the kernel alone takes for the reads and writes of a bench of a disk: pread and pwrite of a raw
 * file, at the same places as `vixdisk bench` has them.
 *
 * usage: io_limit FILE read|write SIZE COUNT sequential|random THREADS [FROM BYTES]
 *   SIZE bytes of a request; write ends with fdatasync. FILE must be there, and as long as its places should lie apart;
 *   with FROM only BYTES of it from there on count.
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

#define MAX_THREADS 64

struct job {
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
    (void)fprintf(stderr, "io_limit: %s\n", what);
    exit(1);
}

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void *worker(void *arg)
{
    struct job *job = arg;
    unsigned char *buf = malloc(job->size);
    uint64_t index;

    if (buf == NULL) {
        die("out of memory");
    }
    memset(buf, 0x5a, job->size);
    while ((index = atomic_fetch_add(&job->next, 1)) < job->count) {
        uint64_t place = job->random ? mix(1 + index) % job->places : index % job->places;
        off_t at = (off_t)(job->from + place * job->size);
        ssize_t n = job->writing ? pwrite(job->fd, buf, job->size, at) : pread(job->fd, buf, job->size, at);
        if (n != (ssize_t)job->size) {
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

int main(int argc, char **argv)
{
    pthread_t thread[MAX_THREADS];
    struct stat st;

    if (argc != 7 && argc != 9) {
        die("usage: io_limit FILE read|write SIZE COUNT sequential|random THREADS [FROM BYTES]");
    }
    struct job job = {
        .writing = strcmp(argv[2], "write") == 0,
        .size = strtoul(argv[3], NULL, 10),
        .count = strtoull(argv[4], NULL, 10),
        .random = strcmp(argv[5], "random") == 0,
    };
    int threads = atoi(argv[6]);
    job.fd = open(argv[1], (job.writing ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (job.fd < 0 || fstat(job.fd, &st) != 0) {
        die("cannot open the file");
    }
    uint64_t bytes = argc == 9 ? strtoull(argv[8], NULL, 10) : (uint64_t)st.st_size;
    job.from = argc == 9 ? strtoull(argv[7], NULL, 10) : 0;
    if (job.size == 0 || bytes < job.size || threads < 1 || threads > MAX_THREADS) {
        die("SIZE, BYTES or THREADS cannot be");
    }
    job.places = bytes / job.size;
    double begin = now();
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, worker, &job) != 0) {
            die("pthread_create failed");
        }
    }
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    if (job.writing && fdatasync(job.fd) != 0) {
        die("fdatasync failed");
    }
    (void)printf("%.6f\n", now() - begin);
    return 0;
}

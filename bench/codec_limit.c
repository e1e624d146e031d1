/* SPDX-License-Identifier: BSD-3-Clause */
/* codec_limit.c - what a deflate library alone takes for the 64 KiB grains of a file, all in memory: the limit that a
 * conversion to or from streamOptimized is measured against.
 * usage: codec_limit FILE zlib|libdeflate|isal LEVEL THREADS compress|decompress
 * Prints "seconds bytes-of-output". decompress: of grains compressed by libdeflate at level 6 beforehand. */
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

#include <isa-l.h>
#include <libdeflate.h>
#include <zlib.h>

#define GRAIN 65536u
#define SPARE 4096u
#define MAX_THREADS 64

struct job {
    const unsigned char *image;
    size_t grains;
    const char *library;
    int level;
    bool decompress;
    unsigned char **packed; /* per grain, made before a decompress run */
    uint32_t *packed_len;
    atomic_size_t next;
    atomic_ullong output;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "codec_limit: %s\n", what);
    exit(1);
}

static void *must(void *p)
{
    if (p == NULL) {
        die("out of memory");
    }
    return p;
}

static bool is_zero(const unsigned char *p)
{
    return p[0] == 0 && memcmp(p, p + 1, GRAIN - 1) == 0;
}

static uint32_t compress_isal(int level, void **state, const unsigned char *in, unsigned char *out)
{
    static const unsigned sizes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT,
                                     ISAL_DEF_LVL3_DEFAULT};
    struct isal_zstream *s = *state;
    if (s == NULL) {
        *state = s = must(calloc(1, sizeof *s));
        isal_deflate_init(s);
        s->level = (uint32_t)level;
        s->level_buf_size = sizes[level];
        s->level_buf = must(malloc(sizes[level] + 1));
    } else {
        isal_deflate_reset(s);
    }
    s->gzip_flag = IGZIP_ZLIB;
    s->end_of_stream = 1;
    s->flush = NO_FLUSH;
    s->next_in = (unsigned char *)(uintptr_t)in;
    s->avail_in = GRAIN;
    s->next_out = out;
    s->avail_out = GRAIN + SPARE;
    if (isal_deflate(s) != COMP_OK || s->avail_in != 0) {
        die("isal_deflate failed");
    }
    return GRAIN + SPARE - s->avail_out;
}

static uint32_t compress_zlib(int level, void **state, const unsigned char *in, unsigned char *out)
{
    z_stream *z = *state;
    if (z == NULL) {
        *state = z = must(calloc(1, sizeof *z));
        if (deflateInit(z, level) != Z_OK) {
            die("deflateInit failed");
        }
    } else {
        (void)deflateReset(z);
    }
    z->next_in = (unsigned char *)(uintptr_t)in;
    z->avail_in = GRAIN;
    z->next_out = out;
    z->avail_out = GRAIN + SPARE;
    if (deflate(z, Z_FINISH) != Z_STREAM_END) {
        die("deflate failed");
    }
    return GRAIN + SPARE - z->avail_out;
}

static uint32_t compress_grain(const struct job *job, void **state, const unsigned char *in, unsigned char *out)
{
    if (strcmp(job->library, "isal") == 0) {
        return compress_isal(job->level, state, in, out);
    }
    if (strcmp(job->library, "zlib") == 0) {
        return compress_zlib(job->level, state, in, out);
    }
    if (*state == NULL) {
        *state = must(libdeflate_alloc_compressor(job->level));
    }
    return (uint32_t)libdeflate_zlib_compress(*state, in, GRAIN, out, GRAIN + SPARE);
}

static void inflate_grain(const struct job *job, void **state, size_t grain, unsigned char *out)
{
    unsigned char *in = job->packed[grain];
    uint32_t len = job->packed_len[grain];
    size_t made = 0;
    if (strcmp(job->library, "libdeflate") == 0) {
        if (*state == NULL) {
            *state = must(libdeflate_alloc_decompressor());
        }
        if (libdeflate_zlib_decompress(*state, in, len, out, GRAIN, &made) != LIBDEFLATE_SUCCESS) {
            die("libdeflate failed");
        }
    } else if (strcmp(job->library, "isal") == 0) {
        struct inflate_state *s = *state;
        if (s == NULL) {
            *state = s = must(malloc(sizeof *s));
        }
        isal_inflate_init(s);
        s->crc_flag = ISAL_ZLIB;
        s->next_in = in;
        s->avail_in = len;
        s->next_out = out;
        s->avail_out = GRAIN;
        if (isal_inflate(s) != ISAL_DECOMP_OK || s->avail_out != 0) {
            die("isal_inflate failed");
        }
    } else {
        uLongf n = GRAIN;
        if (uncompress(out, &n, in, len) != Z_OK) {
            die("uncompress failed");
        }
    }
}

static void *worker(void *arg)
{
    struct job *job = arg;
    void *state = NULL;
    unsigned char *out = must(malloc(GRAIN + SPARE));
    unsigned long long made = 0;
    size_t grain;
    while ((grain = atomic_fetch_add(&job->next, 1)) < job->grains) {
        if (job->decompress) {
            if (job->packed_len[grain] != 0) {
                inflate_grain(job, &state, grain, out);
                made += GRAIN;
            }
            continue;
        }
        const unsigned char *in = job->image + grain * GRAIN;
        if (is_zero(in)) {
            continue;
        }
        uint32_t n = compress_grain(job, &state, in, out);
        made += n;
        if (job->packed != NULL) {
            job->packed[grain] = must(malloc(n));
            memcpy(job->packed[grain], out, n);
            job->packed_len[grain] = n;
        }
    }
    (void)atomic_fetch_add(&job->output, made);
    free(out);
    return NULL;
}

static double run(struct job *job, int threads)
{
    pthread_t thread[MAX_THREADS];
    struct timespec a, b;
    atomic_store(&job->next, 0);
    atomic_store(&job->output, 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, worker, job) != 0) {
            die("pthread_create failed");
        }
    }
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

static unsigned char *read_file(const char *path, size_t *ret_grains)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        die("cannot open the file");
    }
    size_t len = (size_t)st.st_size / GRAIN * GRAIN;
    unsigned char *image = must(malloc(len + 1));
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, image + at, len - at < 1u << 30 ? len - at : 1u << 30);
        if (n <= 0) {
            die("cannot read the file");
        }
        at += (size_t)n;
    }
    (void)close(fd);
    *ret_grains = len / GRAIN;
    return image;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        die("usage: codec_limit FILE zlib|libdeflate|isal LEVEL THREADS compress|decompress");
    }
    struct job job = {.library = argv[2], .level = atoi(argv[3])};
    int threads = atoi(argv[4]);
    if (threads < 1 || threads > MAX_THREADS) {
        die("THREADS must be 1 to 64");
    }
    job.image = read_file(argv[1], &job.grains);
    if (strcmp(argv[5], "decompress") == 0) {
        job.packed = must(calloc(job.grains, sizeof *job.packed));
        job.packed_len = must(calloc(job.grains, sizeof *job.packed_len));
        const char *library = job.library;
        job.library = "libdeflate";
        job.level = 6;
        (void)run(&job, threads);
        job.library = library;
        job.decompress = true;
    }
    double seconds = run(&job, threads);
    (void)printf("%.4f %llu\n", seconds, (unsigned long long)atomic_load(&job.output));
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* replay.c - a main for the targets without libFuzzer: runs files, and the files of folders, one after another. An
 * input that takes longer than 10 s ends it, and so does memory above 256 MiB (where no sanitizer takes some of its
 * own). AFL++ can drive the same program: its compiler over the same files, and "@@" as the argument. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"

#define SECONDS_MAX 10u
#define KIB_MAX (256 * 1024)
#define INPUT_MAX (1u << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static unsigned run_count;

static void check_memory(const char *path)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    FUZZ_ASSERT(SANITIZED || usage.ru_maxrss < KIB_MAX, "%s: %ld KiB of memory", path, usage.ru_maxrss);
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rbe");
    CLEANUP_FREE uint8_t *room = malloc(INPUT_MAX);

    if (f == NULL || room == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t len = fread(room, 1, INPUT_MAX, f);
    (void)fclose(f);
    /* exactly as long as the input: reading past it is found */
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    FUZZ_ASSERT(bytes != NULL, "no memory");
    memcpy(bytes, room, len);
    (void)alarm(SECONDS_MAX);
    if (getenv("FUZZ_VERBOSE") != NULL) {
        (void)fprintf(stderr, "%s\n", path);
    }
    (void)LLVMFuzzerTestOneInput(bytes, len);
    (void)alarm(0);
    free(bytes);
    check_memory(path);
    run_count++;
    return 0;
}

static int run_folder(const char *path)
{
    DIR *dir = opendir(path);
    int failed = 0;

    if (dir == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            CLEANUP_FREE char *name = alloc_printf(NULL, "%s/%s", path, e->d_name);
            failed |= name != NULL ? run_file(name) : 1;
        }
    }
    (void)closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        /* a target that has never failed has no folder of crashes */
        if (stat(argv[i], &st) == 0) {
            failed |= S_ISDIR(st.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
        }
    }
    (void)printf("%u inputs\n", run_count);
    return failed != 0 || run_count == 0 ? 1 : 0;
}

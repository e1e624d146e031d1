/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_open.c - what it costs a program to open a disk, and to ask for its allocated blocks, through the public
 * library. usage: bench_open open PATH | map PATH Prints one line "seconds peak-KiB-added"; for map: seconds of the
 * whole query after a warm-up open. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "vixDiskLib.h"

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long peak_kib(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static int fail(const char *what, VixError err)
{
    char *text = VixDiskLib_GetErrorText(err, NULL);
    (void)fprintf(stderr, "%s: %s\n", what, text);
    VixDiskLib_FreeErrorText(text);
    return 1;
}

static int query_all(VixDiskLibHandle disk, uint64 *ret_blocks)
{
    VixDiskLibInfo *info = NULL;
    VixError err = VixDiskLib_GetInfo(disk, &info);
    if (err != VIX_OK) {
        return fail("GetInfo", err);
    }
    uint64 capacity = info->capacity;
    VixDiskLib_FreeInfo(info);
    const uint64 chunk = VIXDISKLIB_MIN_CHUNK_SIZE;
    const uint64 step = chunk * VIXDISKLIB_MAX_CHUNK_NUMBER;
    for (uint64 at = 0; at < capacity; at += step) {
        VixDiskLibBlockList *list = NULL;
        err = VixDiskLib_QueryAllocatedBlocks(disk, at, step, chunk, &list);
        if (err != VIX_OK) {
            return fail("QueryAllocatedBlocks", err);
        }
        *ret_blocks += list->numBlocks;
        (void)VixDiskLib_FreeBlockList(list);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: bench_open open|map PATH\n");
        return 2;
    }
    VixDiskLibConnection connection = NULL;
    VixDiskLibHandle disk = NULL;
    long before = peak_kib();
    double start = now();
    VixError err = VixDiskLib_InitEx(8, 0, NULL, NULL, NULL, NULL, NULL);
    if (err == VIX_OK) {
        err = VixDiskLib_Connect(NULL, &connection);
    }
    if (err == VIX_OK) {
        err = VixDiskLib_Open(connection, argv[2], VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    }
    if (err != VIX_OK) {
        return fail("open", err);
    }
    uint64 blocks = 0;
    if (strcmp(argv[1], "map") == 0) {
        start = now();
        if (query_all(disk, &blocks) != 0) {
            return 1;
        }
    } else {
        err = VixDiskLib_Close(disk);
        disk = NULL;
    }
    double seconds = now() - start;
    (void)printf("%.6f %ld %lu\n", seconds, peak_kib() - before, (unsigned long)blocks);
    if (disk != NULL) {
        err = VixDiskLib_Close(disk);
    }
    (void)VixDiskLib_Disconnect(connection);
    VixDiskLib_Exit();
    return err == VIX_OK ? 0 : fail("close", err);
}

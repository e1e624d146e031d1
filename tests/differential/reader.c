/* SPDX-License-Identifier: BSD-3-Clause */
/* reader.c - reads disks by the library for run.py, one after another in one process: a line "PATH PIECE OUT" with tabs
 * between, PIECE sectors of each request. What can be read goes to the file OUT at its place; a line of output tells of
 * each part that cannot, the last one of the whole:
 *   fault FIRST COUNT CODE SENTENCE
 *   refused CODE SENTENCE           it does not open
 *   read CAPACITY CHECK             CHECK: the code of a deep check of the chain
 * Before each request the buffer holds a pattern, which no disk of run.py has. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vixDiskLib.h"
#include "vixDiskLibExt.h"

#define MOST_SECTORS (UINT64_C(16) << 11) /* that are read of a disk which is said to be larger */

static VixDiskLibConnection conn;

static unsigned long long plain(VixError code)
{
    return (unsigned long long)VIX_ERROR_CODE(code);
}

static int read_pieces(VixDiskLibHandle h, uint64_t capacity, uint64_t piece, int out)
{
    uint8 *buf = malloc(piece * VIXDISKLIB_SECTOR_SIZE);
    int status = buf != NULL ? 0 : -1;

    for (uint64_t at = 0; status == 0 && at < capacity; at += piece) {
        uint64_t n = capacity - at < piece ? capacity - at : piece;
        size_t len = n * VIXDISKLIB_SECTOR_SIZE;
        memset(buf, 0xDB, len);
        VixError code = VixDiskLib_Read(h, at, n, buf);
        if (code != VIX_OK) {
            (void)printf("fault %llu %llu %llu %s\n", (unsigned long long)at, (unsigned long long)n, plain(code),
                         VixDiskLibExt_LastErrorDetail());
        } else if (pwrite(out, buf, len, (off_t)(at * VIXDISKLIB_SECTOR_SIZE)) != (ssize_t)len) {
            status = -1;
        }
    }
    free(buf);
    return status;
}

static int read_disk(const char *path, uint64_t piece, const char *to)
{
    VixDiskLibHandle h = NULL;
    VixDiskLibInfo *info = NULL;
    VixError code = VixDiskLib_Open(conn, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    if (code == VIX_OK) {
        code = VixDiskLib_GetInfo(h, &info);
    }
    if (code != VIX_OK) {
        (void)printf("refused %llu %s\n", plain(code), VixDiskLibExt_LastErrorDetail());
        return 0;
    }
    uint64_t capacity = info->capacity;
    VixDiskLib_FreeInfo(info);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int status = out >= 0 ? read_pieces(h, capacity < MOST_SECTORS ? capacity : MOST_SECTORS, piece, out) : -1;
    if (out >= 0 && close(out) != 0) {
        status = -1;
    }
    if (VixDiskLib_Close(h) != VIX_OK) {
        status = -1;
    }
    code = VixDiskLibExt_Check(conn, path, VIXDISKLIBEXT_CHECK_DEEP | VIXDISKLIBEXT_CHECK_CHAIN, NULL, NULL, NULL);
    (void)printf("read %llu %llu\n", (unsigned long long)capacity, plain(code));
    return status;
}

int main(void)
{
    static char line[3 * 4096];
    int status = 0;

    if (VixDiskLib_InitEx(8, 0, NULL, NULL, NULL, NULL, NULL) != VIX_OK || VixDiskLib_Connect(NULL, &conn) != VIX_OK) {
        return 1;
    }
    while (status == 0 && fgets(line, sizeof line, stdin) != NULL) {
        char *rest = line;
        const char *path = strsep(&rest, "\t"), *piece = strsep(&rest, "\t"), *out = strsep(&rest, "\n");
        status = out != NULL ? read_disk(path, strtoull(piece, NULL, 10), out) : -1;
        (void)fflush(stdout);
    }
    if (VixDiskLib_Disconnect(conn) != VIX_OK) {
        status = -1;
    }
    VixDiskLib_Exit();
    return status == 0 ? 0 : 1;
}

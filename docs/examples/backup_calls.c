/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of a backup program in the order in which Bareos' bareos_vadp_dumper makes them: a disk of a server is
 * backed up into a local VMDK, metadata and what is allocated, in reads of 8 MiB.
 *
 *   backup_calls HOST[:PORT] USER MOREF THUMBPRINT '[datastore] dir/x.vmdk' COPY.vmdk <PASSWORD-FILE */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLib.h"

#define IDENTITY "backup_calls"
#define KIT "/usr/lib/vmware-vix-disklib"
#define READ_SECTORS 16384u
#define CHUNK_SECTORS 128u
#define QUERY_SECTORS ((uint64)CHUNK_SECTORS * 1024)

static uint8 buffer[READ_SECTORS * VIXDISKLIB_SECTOR_SIZE];

static void quiet(const char *fmt, va_list args)
{
    (void)fmt, (void)args;
}

/** The library says why: code, place, cause. */
static void warn(const char *fmt, va_list args)
{
    vfprintf(stderr, fmt, args);
}

static void check(const char *what, VixError code)
{
    if (VIX_FAILED(code)) {
        char *text = VixDiskLib_GetErrorText(code, NULL);
        fprintf(stderr, "%s: %s [%" PRIu64 "]\n", what, text, (uint64_t)code);
        VixDiskLib_FreeErrorText(text);
        exit(1);
    }
}

/** The size of keys or values is asked for first. */
static char *ask(VixDiskLibHandle disk, const char *key)
{
    size_t need = 0;
    VixError code = key != NULL ? VixDiskLib_ReadMetadata(disk, key, NULL, 0, &need)
                                : VixDiskLib_GetMetadataKeys(disk, NULL, 0, &need);
    char *text = code == VIX_E_BUFFER_TOOSMALL ? malloc(need) : NULL;
    if (text == NULL) {
        check("metadata", code != VIX_OK ? code : VIX_E_FAIL);
    }
    check("metadata", key != NULL ? VixDiskLib_ReadMetadata(disk, key, text, need, NULL)
                                  : VixDiskLib_GetMetadataKeys(disk, text, need, NULL));
    return text;
}

static void copy_metadata(VixDiskLibHandle from, VixDiskLibHandle to)
{
    char *keys = ask(from, NULL);
    for (const char *key = keys; *key != '\0'; key += strlen(key) + 1) {
        char *value = ask(from, key);
        check(key, VixDiskLib_WriteMetadata(to, key, value));
        free(value);
    }
    free(keys);
}

static void copy_run(VixDiskLibHandle from, VixDiskLibHandle to, uint64 sector, uint64 nsectors)
{
    for (uint64 n; nsectors > 0; sector += n, nsectors -= n) {
        n = nsectors < READ_SECTORS ? nsectors : READ_SECTORS;
        check("read", VixDiskLib_Read(from, sector, n, buffer));
        check("write", VixDiskLib_Write(to, sector, n, buffer));
    }
}

/** Only what is allocated; the sectors behind the last whole chunk are read as they are. */
static void copy_data(VixDiskLibHandle from, VixDiskLibHandle to, uint64 capacity)
{
    uint64 whole = capacity - capacity % CHUNK_SECTORS, copied = capacity - whole;
    for (uint64 at = 0; at < whole; at += QUERY_SECTORS) {
        VixDiskLibBlockList *found = NULL;
        uint64 n = whole - at < QUERY_SECTORS ? whole - at : QUERY_SECTORS;
        check("allocated blocks", VixDiskLib_QueryAllocatedBlocks(from, at, n, CHUNK_SECTORS, &found));
        for (uint32 i = 0; i < found->numBlocks; i++) {
            copy_run(from, to, found->blocks[i].offset, found->blocks[i].length);
            copied += found->blocks[i].length;
        }
        VixDiskLib_FreeBlockList(found);
    }
    copy_run(from, to, whole, capacity - whole);
    printf("%" PRIu64 " of %" PRIu64 " sectors copied\n", (uint64_t)copied, (uint64_t)capacity);
}

static VixDiskLibConnectParams *parameters(char **argv, char *password)
{
    VixDiskLibConnectParams *params = VixDiskLib_AllocateConnectParams();
    char *port = strchr(argv[1], ':');
    if (params == NULL || fgets(password, 256, stdin) == NULL) {
        fprintf(stderr, "no memory, or no password on standard input\n");
        exit(1);
    }
    password[strcspn(password, "\n")] = '\0';
    params->port = 443;
    if (port != NULL) {
        *port = '\0';
        params->port = (uint32)atoi(port + 1);
    }
    params->serverName = argv[1];
    params->specType = VIXDISKLIB_SPEC_VMX;
    params->credType = VIXDISKLIB_CRED_UID;
    params->creds.uid.userName = argv[2];
    params->creds.uid.password = password;
    params->vmxSpec = argv[3];
    params->thumbPrint = argv[4];
    return params;
}

int main(int argc, char **argv)
{
    VixDiskLibConnection server = NULL, local = NULL;
    VixDiskLibHandle from = NULL, to = NULL;
    VixDiskLibInfo *info = NULL;
    char password[256];
    uint32 cleaned = 0, remaining = 0;

    if (argc != 7) {
        fprintf(stderr, "usage: backup_calls HOST[:PORT] USER MOREF THUMBPRINT DISK COPY.vmdk <PASSWORD-FILE\n");
        return 2;
    }
    VixDiskLibConnectParams *params = parameters(argv, password);
    check("start", VixDiskLib_InitEx(8, 0, quiet, warn, warn, KIT, NULL));
    check("prepare", VixDiskLib_PrepareForAccess(params, IDENTITY));
    check("connect", VixDiskLib_ConnectEx(params, TRUE, NULL, NULL, &server));
    check(argv[5], VixDiskLib_Open(server, argv[5], VIXDISKLIB_FLAG_OPEN_READ_ONLY, &from));
    check(argv[5], VixDiskLib_GetInfo(from, &info));
    printf("transport: %s\n", VixDiskLib_GetTransportMode(from));

    VixDiskLibCreateParams make = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                   .adapterType = VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC,
                                   .hwVersion = 7,
                                   .capacity = info->capacity};
    check("connect", VixDiskLib_Connect(NULL, &local));
    check(argv[6], VixDiskLib_Create(local, argv[6], &make, NULL, NULL));
    check(argv[6], VixDiskLib_Open(local, argv[6], 0, &to));
    copy_metadata(from, to);
    copy_data(from, to, info->capacity);

    VixDiskLib_FreeInfo(info);
    check(argv[6], VixDiskLib_Close(to));
    check(argv[5], VixDiskLib_Close(from));
    VixDiskLib_Disconnect(local);
    VixDiskLib_Disconnect(server);
    check("clean up", VixDiskLib_Cleanup(params, &cleaned, &remaining));
    check("end access", VixDiskLib_EndAccess(params, IDENTITY));
    VixDiskLib_FreeConnectParams(params);
    VixDiskLib_Exit();
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* driven.c - a client of the library that does what it is told, one line of standard input at a time, and answers each
 * with one line: the code, a tab, a text. It sees the public interface only. Tests keep one of these going through many
 * cases, which is quicker than a process for each, and look into its memory.
 *
 *   driven LOGFILE [CONFIGFILE]
 *
 * Fields are separated by tabs; "-" is none. The password is read from a file, handed over, and wiped here. */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vixDiskLib.h"
#include "vixDiskLibExt.h"

#define FIELDS 12
#define SECTOR VIXDISKLIB_SECTOR_SIZE

static FILE *log_file;
static VixDiskLibConnection connection;
static VixDiskLibHandle disk;

static void take_message(const char *fmt, va_list args)
{
    flockfile(log_file);
    vfprintf(log_file, fmt, args);
    fflush(log_file);
    funlockfile(log_file);
}

static void take_failure(const char *fmt, va_list args)
{
    flockfile(log_file);
    fputs("WARN ", log_file);
    vfprintf(log_file, fmt, args);
    fflush(log_file);
    funlockfile(log_file);
}

static char *text(char *field)
{
    return field == NULL || strcmp(field, "-") == 0 ? NULL : field;
}

static unsigned long long number(const char *field)
{
    return field == NULL ? 0 : strtoull(field, NULL, 0);
}

static void answer(VixError code, const char *what)
{
    printf("%llu\t%s\n", (unsigned long long)(code & 0xffff), what == NULL ? "" : what);
    fflush(stdout);
}

/* ---- connections ---- */

/** The contents of a small file, without the line's end. */
static void read_secret(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, buf, size - 1);

    buf[len < 0 ? 0 : len] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

static void fill(VixDiskLibConnectParams *params, char **field, char *secret, size_t size)
{
    params->serverName = text(field[1]);
    params->port = (uint32)number(field[2]);
    params->nfcHostPort = (uint32)number(field[3]);
    params->credType = VIXDISKLIB_CRED_UID;
    params->creds.uid.userName = text(field[4]);
    read_secret(field[5], secret, size);
    params->creds.uid.password = secret;
    params->thumbPrint = text(field[6]);
    params->vmxSpec = text(field[7]);
    params->specType = VIXDISKLIB_SPEC_VMX;
}

/** connect SERVER PORT NFCPORT USER PASSWORDFILE THUMBPRINT VM TRANSPORTS READONLY SNAPSHOT; with a cookie in the file
 * and "cookie" in the place of the user: that session. prepare and end: ... IDENTITY as the last field; cleanup
 * tells how many disks were detached, and how many stay. */
static void do_connect(char **field)
{
    VixDiskLibConnectParams *params = VixDiskLib_AllocateConnectParams();
    char secret[256];
    uint32 cleaned = 0, remaining = 0;
    char counts[32] = "";
    VixError code;

    fill(params, field, secret, sizeof(secret));
    if (strcmp(field[4], "cookie") == 0) {
        params->credType = VIXDISKLIB_CRED_SESSIONID;
        params->creds.sessionId.cookie = secret;
        params->creds.sessionId.userName = NULL;
        params->creds.sessionId.key = NULL;
    }
    if (strcmp(field[0], "prepare") == 0) {
        code = VixDiskLib_PrepareForAccess(params, field[8]);
    } else if (strcmp(field[0], "end") == 0) {
        code = VixDiskLib_EndAccess(params, field[8]);
    } else if (strcmp(field[0], "cleanup") == 0) {
        code = VixDiskLib_Cleanup(params, &cleaned, &remaining);
        snprintf(counts, sizeof(counts), "%u %u", cleaned, remaining);
    } else {
        code = VixDiskLib_ConnectEx(params, (Bool)number(field[9]), text(field[10]), text(field[8]), &connection);
    }
    explicit_bzero(secret, sizeof(secret));
    VixDiskLib_FreeConnectParams(params);
    answer(code, counts);
}

static void do_disconnect(char **field)
{
    (void)field;
    VixError code = VixDiskLib_Disconnect(connection);

    connection = NULL;
    answer(code, NULL);
}

/** open PATH FLAGS */
static void do_open(char **field)
{
    VixError code = VixDiskLib_Open(connection, field[1], (uint32)number(field[2]), &disk);

    answer(code, code == VIX_OK ? VixDiskLib_GetTransportMode(disk) : NULL);
}

static void do_close(char **field)
{
    (void)field;
    VixError code = VixDiskLib_Close(disk);

    disk = NULL;
    answer(code, NULL);
}

/* ---- bytes ---- */

static void save(const char *path, const uint8 *buf, size_t len)
{
    FILE *file = fopen(path, "we");

    if (file != NULL) {
        fwrite(buf, 1, len, file);
        fclose(file);
    }
}

/** read SECTOR COUNT [FILE] */
static void do_read(char **field)
{
    VixDiskLibSectorType nsectors = number(field[2]);
    uint8 *buf = malloc(nsectors * SECTOR);
    VixError code = VixDiskLib_Read(disk, number(field[1]), nsectors, buf);

    if (code == VIX_OK && field[3] != NULL) {
        save(field[3], buf, nsectors * SECTOR);
    }
    free(buf);
    answer(code, NULL);
}

/** write SECTOR COUNT FILE */
static void do_write(char **field)
{
    VixDiskLibSectorType nsectors = number(field[2]);
    uint8 *buf = calloc(nsectors, SECTOR);
    FILE *file = fopen(field[3], "re");

    if (file == NULL || fread(buf, SECTOR, nsectors, file) != nsectors) {
        answer(VIX_E_FILE_ERROR, field[3]);
    } else {
        answer(VixDiskLib_Write(disk, number(field[1]), nsectors, buf), NULL);
    }
    if (file != NULL) {
        fclose(file);
    }
    free(buf);
}

static void keep_first(void *data, VixError result)
{
    VixError ok = VIX_OK;

    __atomic_compare_exchange_n((VixError *)data, &ok, result, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/** async SECTOR COUNT PIECE [FILE]: reads, all on their way at once. */
static void do_async(char **field)
{
    VixDiskLibSectorType first = number(field[1]), nsectors = number(field[2]), piece = number(field[3]), at = 0;
    uint8 *buf = malloc(nsectors * SECTOR);
    VixError code = VIX_ASYNC, result = VIX_OK;

    while (at < nsectors && code == VIX_ASYNC) {
        VixDiskLibSectorType count = piece < nsectors - at ? piece : nsectors - at;
        code = VixDiskLib_ReadAsync(disk, first + at, count, buf + at * SECTOR, keep_first, &result);
        at += count;
    }
    VixDiskLib_Wait(disk);
    if (code == VIX_ASYNC) {
        code = __atomic_load_n(&result, __ATOMIC_SEQ_CST);
    }
    if (code == VIX_OK && field[4] != NULL) {
        save(field[4], buf, nsectors * SECTOR);
    }
    free(buf);
    answer(code, NULL);
}

static void do_flush(char **field)
{
    (void)field;
    answer(VixDiskLib_Flush(disk), NULL);
}

/* ---- what a disk tells ---- */

/** blocks SECTOR COUNT CHUNK: "first+count" of each. */
static void do_blocks(char **field)
{
    VixDiskLibBlockList *list = NULL;
    VixError code = VixDiskLib_QueryAllocatedBlocks(disk, number(field[1]), number(field[2]), number(field[3]), &list);
    char line[16384] = "";
    size_t len = 0;

    for (uint32 i = 0; code == VIX_OK && i < list->numBlocks && len < sizeof(line) - 64; i++) {
        len += (size_t)snprintf(line + len, sizeof(line) - len, "%llu+%llu ",
                                (unsigned long long)list->blocks[i].offset, (unsigned long long)list->blocks[i].length);
    }
    if (code == VIX_OK) {
        VixDiskLib_FreeBlockList(list);
    }
    answer(code, line);
}

static void do_info(char **field)
{
    VixDiskLibInfo *info = NULL;
    VixError code = VixDiskLib_GetInfo(disk, &info);
    char line[64] = "";

    (void)field;
    if (code == VIX_OK) {
        snprintf(line, sizeof(line), "%llu", (unsigned long long)info->capacity);
        VixDiskLib_FreeInfo(info);
    }
    answer(code, line);
}

static const char *word(const char *text_or_null)
{
    return text_or_null != NULL ? text_or_null : "-";
}

/** facts: all that GetInfo and GetDetails tell but for the kinds of the links' files. */
static void do_facts(char **field)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibExt_Details *details = NULL;
    char line[4096] = "";
    VixError code = VixDiskLib_GetInfo(disk, &info);
    size_t len = 0;

    (void)field;
    if (code == VIX_OK) {
        code = VixDiskLibExt_GetDetails(disk, &details);
    }
    if (code == VIX_OK) {
        len = (size_t)snprintf(
            line, sizeof(line),
            "capacity %llu bios %u/%u/%u chs %u/%u/%u adapter %d links %d parent %s uuid %s "
            "sectors %u/%u; %s %llu %u%s",
            (unsigned long long)info->capacity, info->biosGeo.cylinders, info->biosGeo.heads, info->biosGeo.sectors,
            info->physGeo.cylinders, info->physGeo.heads, info->physGeo.sectors, (int)info->adapterType, info->numLinks,
            word(info->parentFileNameHint), word(info->uuid), info->logicalSectorSize, info->physicalSectorSize,
            details->format, (unsigned long long)details->capacity, details->numLinks, details->thin ? " thin" : "");
    }
    for (uint32 i = 0; code == VIX_OK && i < details->numLinks && len < sizeof(line) - 1200; i++) {
        const VixDiskLibExt_Link *link = &details->links[i];
        len += (size_t)snprintf(line + len, sizeof(line) - len, "; %s on %s", word(link->file), word(link->parentHint));
    }
    VixDiskLibExt_FreeDetails(details);
    VixDiskLib_FreeInfo(info);
    answer(code, line);
}

/** get KEY */
static void do_get(char **field)
{
    char value[1024] = "";

    answer(VixDiskLib_ReadMetadata(disk, field[1], value, sizeof(value), NULL), value);
}

/** set KEY VALUE */
static void do_set(char **field)
{
    answer(VixDiskLib_WriteMetadata(disk, field[1], field[2]), NULL);
}

/** keys, separated by blanks */
static void do_keys(char **field)
{
    char keys[8192] = "";
    VixError code = VixDiskLib_GetMetadataKeys(disk, keys, sizeof(keys), NULL);

    (void)field;
    for (size_t i = 0; i + 1 < sizeof(keys) && (keys[i] != '\0' || keys[i + 1] != '\0'); i++) {
        if (keys[i] == '\0') {
            keys[i] = ' ';
        }
    }
    answer(code, keys);
}

/* ---- disks as a whole ---- */

/** A connection to this machine, made when it is needed first. */
static VixDiskLibConnection local(void)
{
    static VixDiskLibConnection here;

    if (here == NULL) {
        VixDiskLib_Connect(NULL, &here);
    }
    return here;
}

/** clone DST SRC TYPE OVERWRITE WHERE: to, from or within the server. TYPE - for no description. */
static void do_clone(char **field)
{
    VixDiskLibConnection to = strcmp(field[5], "from") == 0 ? local() : connection;
    VixDiskLibConnection from = strcmp(field[5], "to") == 0 ? local() : connection;
    const VixDiskLibCreateParams params = {
        .diskType = (VixDiskLibDiskType)number(field[3]), .hwVersion = 10, .capacity = 1};

    answer(VixDiskLib_Clone(to, field[1], from, field[2], text(field[3]) == NULL ? NULL : &params, NULL, NULL,
                            (Bool)number(field[4])),
           NULL);
}

/** create PATH SECTORS TYPE */
static void do_create(char **field)
{
    const VixDiskLibCreateParams params = {.diskType = (VixDiskLibDiskType)number(field[3]),
                                           .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                           .hwVersion = 10,
                                           .capacity = number(field[2])};

    answer(VixDiskLib_Create(connection, field[1], &params, NULL, NULL), NULL);
}

/** grow PATH SECTORS */
static void do_grow(char **field)
{
    answer(VixDiskLib_Grow(connection, field[1], number(field[2]), FALSE, NULL, NULL), NULL);
}

/** snapshot NAME DESCRIPTION; answers its reference. */
static void do_snapshot(char **field)
{
    char made[64] = "";
    answer(VixDiskLibExt_CreateSnapshot(connection, field[1], field[2], FALSE, made, sizeof made), made);
}

/** remove-snapshot REFERENCE */
static void do_remove_snapshot(char **field)
{
    answer(VixDiskLibExt_RemoveSnapshot(connection, field[1]), NULL);
}

/** track: change tracking is switched on. */
static void do_track(char **field)
{
    (void)field;
    answer(VixDiskLibExt_SetChangeTracking(connection, TRUE), NULL);
}

/** unlink PATH */
static void do_unlink(char **field)
{
    answer(VixDiskLib_Unlink(connection, field[1]), NULL);
}

/** rename PATH PATH */
static void do_rename(char **field)
{
    answer(VixDiskLib_Rename(field[1], field[2]), NULL);
}

/** check PATH */
static void do_check(char **field)
{
    answer(VixDiskLib_CheckRepair(connection, field[1], FALSE), NULL);
}

/** rework shrink|defragment */
static void do_rework(char **field)
{
    answer(strcmp(field[1], "shrink") == 0 ? VixDiskLib_Shrink(disk, NULL, NULL)
                                           : VixDiskLib_Defragment(disk, NULL, NULL),
           NULL);
}

/** space TYPE */
static void do_space(char **field)
{
    uint64 bytes = 0;
    char line[32];
    VixError code = VixDiskLib_SpaceNeededForClone(disk, (VixDiskLibDiskType)number(field[1]), &bytes);

    snprintf(line, sizeof(line), "%llu", (unsigned long long)bytes);
    answer(code, line);
}

/** onto PATH: a new local child of the disk, put on top of it: from here on it is the disk. */
static void do_onto(char **field)
{
    VixDiskLibHandle child = NULL;
    VixError code = VixDiskLib_CreateChild(disk, field[1], VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL);

    if (code == VIX_OK) {
        code = VixDiskLib_Open(local(), field[1], VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, &child);
    }
    if (code == VIX_OK) {
        code = VixDiskLib_IsAttachPossible(disk, child);
    }
    if (code == VIX_OK) {
        code = VixDiskLib_Attach(disk, child);
        disk = child;
    }
    answer(code, NULL);
}

/** again PATH: opens a local child on its own and puts it on the disk. */
static void do_again(char **field)
{
    VixDiskLibHandle child = NULL;
    VixError code = VixDiskLib_Open(local(), field[1], VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, &child);

    if (code == VIX_OK) {
        code = VixDiskLib_Attach(disk, child);
        disk = child;
    }
    answer(code, NULL);
}

/** traffic: bytes in and out of the disk, then of the connection */
static void do_traffic(char **field)
{
    uint64 disk_in = 0, disk_out = 0, all_in = 0, all_out = 0;
    char line[128];
    VixError code = disk == NULL ? VIX_OK : VixDiskLibExt_GetTraffic(disk, &disk_in, &disk_out);

    (void)field;
    if (code == VIX_OK) {
        code = VixDiskLibExt_GetConnectionTraffic(connection, &all_in, &all_out);
    }
    snprintf(line, sizeof(line), "%llu %llu %llu %llu", (unsigned long long)disk_in, (unsigned long long)disk_out,
             (unsigned long long)all_in, (unsigned long long)all_out);
    answer(code, line);
}

/* A thread that asks for the traffic of the connection all the time. */
static int asking;

static void *ask_traffic(void *wrong)
{
    uint64 last_in = 0, last_out = 0;

    while (__atomic_load_n(&asking, __ATOMIC_SEQ_CST)) {
        uint64 in = 0, out = 0;
        VixError code = VixDiskLibExt_GetConnectionTraffic(connection, &in, &out);
        if (code != VIX_OK || in < last_in || out < last_out) {
            *(int *)wrong = 1;
        }
        last_in = in;
        last_out = out;
    }
    return NULL;
}

/** asked TIMES PATH FLAGS: opens and closes a disk while another thread asks for the traffic; whether that was ever
 * less than before. */
static void do_asked(char **field)
{
    VixError code = VIX_OK;
    pthread_t thread;
    int wrong = 0;

    asking = 1;
    if (pthread_create(&thread, NULL, ask_traffic, &wrong) != 0) {
        answer(VIX_E_FAIL, "no thread");
        return;
    }
    for (unsigned long long n = number(field[1]); n > 0 && code == VIX_OK; n--) {
        VixDiskLibHandle h = NULL;
        code = VixDiskLib_Open(connection, field[2], (uint32)number(field[3]), &h);
        if (code == VIX_OK) {
            code = VixDiskLib_Close(h);
        }
    }
    __atomic_store_n(&asking, 0, __ATOMIC_SEQ_CST);
    (void)pthread_join(thread, NULL);
    answer(code, wrong ? "less than before" : "");
}

/** params: what GetConnectParams tells */
static void do_params(char **field)
{
    VixDiskLibConnectParams *params = NULL;
    VixError code = VixDiskLib_GetConnectParams(connection, &params);
    char line[512] = "";

    (void)field;
    if (code == VIX_OK) {
        snprintf(line, sizeof(line), "%s %u %u %s %s", params->serverName, params->port, params->nfcHostPort,
                 params->creds.uid.userName, params->vmxSpec);
        VixDiskLib_FreeConnectParams(params);
    }
    answer(code, line);
}

/** sentence: why the last call failed */
static void do_sentence(char **field)
{
    (void)field;
    answer(VIX_OK, VixDiskLibExt_LastErrorDetail());
}

static const struct {
    const char *name;
    int fields; /* after the name, at least */
    void (*run)(char **field);
} commands[] = {
    {"connect", 9, do_connect},   {"prepare", 8, do_connect},
    {"end", 8, do_connect},       {"disconnect", 0, do_disconnect},
    {"open", 2, do_open},         {"close", 0, do_close},
    {"read", 2, do_read},         {"write", 3, do_write},
    {"async", 3, do_async},       {"flush", 0, do_flush},
    {"blocks", 3, do_blocks},     {"info", 0, do_info},
    {"get", 1, do_get},           {"set", 2, do_set},
    {"keys", 0, do_keys},         {"cleanup", 7, do_connect},
    {"clone", 5, do_clone},       {"create", 3, do_create},
    {"grow", 2, do_grow},         {"unlink", 1, do_unlink},
    {"rename", 2, do_rename},     {"check", 1, do_check},
    {"rework", 1, do_rework},     {"space", 1, do_space},
    {"onto", 1, do_onto},         {"again", 1, do_again},
    {"traffic", 0, do_traffic},   {"params", 0, do_params},
    {"sentence", 0, do_sentence}, {"snapshot", 2, do_snapshot},
    {"track", 0, do_track},       {"remove-snapshot", 1, do_remove_snapshot},
    {"facts", 0, do_facts},       {"asked", 3, do_asked},
};

static void run(char *line)
{
    char *field[FIELDS + 1] = {NULL};
    char *rest = line;
    int count = 0;

    line[strcspn(line, "\n")] = '\0';
    while (count < FIELDS && (field[count] = strsep(&rest, "\t")) != NULL) {
        count++;
    }
    for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, field[0]) == 0 && count > commands[i].fields) {
            commands[i].run(field);
            return;
        }
    }
    answer(VIX_E_INVALID_ARG, "no such command");
}

int main(int argc, char **argv)
{
    char line[8192];

    log_file = fopen(argc > 1 ? argv[1] : "/dev/null", "ae");
    if (log_file == NULL ||
        VixDiskLib_InitEx(8, 0, take_message, take_failure, take_failure, NULL, argc > 2 ? argv[2] : NULL) != VIX_OK) {
        return 1;
    }
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        run(line);
    }
    VixDiskLib_Exit();
    fclose(log_file);
    return 0;
}

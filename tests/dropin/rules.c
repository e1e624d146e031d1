/* SPDX-License-Identifier: BSD-3-Clause */
/* rules.c - what breaks clients if a library does it differently, one test for each rule. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A call with more than a byte in a register where the prototype says Bool: only the low byte counts. */
static void bool_is_one_byte(void)
{
    client_start(6, 5);
    VixError (*connect_ex)(const void *, long, const char *, const char *, VixDiskLibConnection *);
    memcpy(&connect_ex, &vix.ConnectEx, sizeof connect_ex);
    VixDiskLibConnection conn = NULL;
    VixDiskLibHandle disk = NULL;
    unsigned char sector[512] = {1};

    OK(connect_ex(NULL, 0x7f00, NULL, NULL, &conn));
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.Write(disk, 0, 1, sector));
    OK(vix.Close(disk));
    OK(vix.Disconnect(conn));

    OK(connect_ex(NULL, 0x7f02, NULL, NULL, &conn));
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    FAILS(vix.Write(disk, 0, 1, sector));
    OK(vix.Close(disk));
    client_end(conn);
}

struct completion {
    unsigned calls;
    VixError result;
};

static void completed(void *data, VixError result)
{
    struct completion *c = data;
    c->result = result;
    __atomic_add_fetch(&c->calls, 1, __ATOMIC_SEQ_CST);
}

enum { REQUESTS = 64, REQUEST_SECTORS = 48 };

static void async_accepts_with_25000_and_completes_once(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 8);
    VixDiskLibHandle disk = NULL;
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    static unsigned char buf[REQUESTS][REQUEST_SECTORS * 512];
    static struct completion done[REQUESTS];

    for (unsigned i = 0; i < REQUESTS; i++) {
        client_pattern(buf[i], sizeof buf[i], (uint64)i * sizeof buf[i], 3);
        RETURNS(VIX_ASYNC,
                vix.WriteAsync(disk, (uint64)i * REQUEST_SECTORS, REQUEST_SECTORS, buf[i], completed, &done[i]));
    }
    OK(vix.Wait(disk));
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(done[i].calls == 1 && done[i].result == VIX_OK);
        memset(buf[i], 0xee, sizeof buf[i]);
        RETURNS(VIX_ASYNC,
                vix.ReadAsync(disk, (uint64)i * REQUEST_SECTORS, REQUEST_SECTORS, buf[i], completed, &done[i]));
    }
    OK(vix.Wait(disk));
    for (unsigned i = 0; i < REQUESTS; i++) {
        unsigned char want[sizeof buf[0]];
        client_pattern(want, sizeof want, (uint64)i * sizeof want, 3);
        CHECK(done[i].calls == 2 && done[i].result == VIX_OK && memcmp(buf[i], want, sizeof want) == 0);
    }
    OK(vix.Close(disk));
    client_end(conn);
}

/* Either the callback runs once with the failure, or the call itself fails and it never runs. */
static void expect_async_failure(VixError returned, VixDiskLibHandle disk, struct completion *done)
{
    if (returned == VIX_ASYNC) {
        OK(vix.Wait(disk));
        CHECK(done->calls == 1 && done->result != VIX_OK && done->result <= 0xffff && done->result != VIX_ASYNC);
    } else {
        FAILS(returned);
        usleep(20000);
        CHECK(done->calls == 0);
    }
    memset(done, 0, sizeof *done);
}

static void async_failure_is_told_once(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    unsigned char buf[1024] = {0};
    struct completion done = {0};

    OK(vix.Open(conn, client_path("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk));
    expect_async_failure(vix.WriteAsync(disk, 0, 1, buf, completed, &done), disk, &done);
    expect_async_failure(vix.ReadAsync(disk, 2047, 2, buf, completed, &done), disk, &done);
    expect_async_failure(vix.ReadAsync(disk, ~(uint64)0, 2, buf, completed, &done), disk, &done);
    OK(vix.Close(disk));
    expect_async_failure(vix.ReadAsync(disk, 0, 1, buf, completed, &done), disk, &done);
    client_end(conn);
}

#ifdef __x86_64__
static VixError third_argument;

/* The callback of the 6.0 interface: the result is its third argument. */
static void completed_6_0(void *data, uint64 sector, VixError result)
{
    (void)sector;
    third_argument = result;
    completed(data, result);
}

static void callback_of_the_6_0_interface_sees_the_result(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    unsigned char buf[512] = {0};
    struct completion done = {0};
    VixDiskLibCompletionCB callback;
    void (*old)(void *, uint64, VixError) = completed_6_0;
    memcpy(&callback, &old, sizeof callback);

    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    third_argument = 77;
    RETURNS(VIX_ASYNC, vix.ReadAsync(disk, 0, 1, buf, callback, &done));
    OK(vix.Wait(disk));
    CHECK(done.calls == 1 && third_argument == VIX_OK);
    OK(vix.Close(disk));
    client_end(conn);
}
#endif

static void codes_are_plain(void)
{
    VixDiskLibConnection conn = client_connect();
    VixDiskLibHandle disk = (VixDiskLibHandle)&conn;
    RETURNS(VIX_E_FILE_NOT_FOUND, vix.Open(conn, client_path("none.vmdk"), 0, &disk));
    CHECK(disk == NULL);
    FILE *junk = fopen(client_path("junk.vmdk"), "we");
    CHECK(junk != NULL && fputs("this is not a disk\n", junk) >= 0 && fclose(junk) == 0);
    disk = (VixDiskLibHandle)&conn;
    RETURNS(VIX_E_DISK_INVALIDDISK, vix.Open(conn, client_path("junk.vmdk"), 0, &disk));
    CHECK(disk == NULL && heard.warnings == 2);

    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibCreateParams params = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_ADAPTER_IDE, 4, 2048, 0, 0};
    RETURNS(VIX_E_FILE_ALREADY_EXISTS, vix.Create(conn, client_path("a.vmdk"), &params, NULL, NULL));
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    unsigned char buf[1024];
    RETURNS(VIX_E_DISK_OUTOFRANGE, vix.Read(disk, 2047, 2, buf));
    RETURNS(VIX_E_DISK_KEY_NOTFOUND, vix.ReadMetadata(disk, "nothing", (char *)buf, sizeof buf, NULL));
    VixDiskLibHandle second = NULL;
    RETURNS(VIX_E_FILE_ALREADY_LOCKED, vix.Open(conn, client_path("a.vmdk"), 0, &second));
    OK(vix.Close(disk));
    RETURNS(VIX_E_INVALID_HANDLE, vix.Close(disk));
    RETURNS(VIX_E_INVALID_HANDLE, vix.Read(disk, 0, 1, buf));
    client_end(conn);
}

/* The struct of a 5.x program: 72 bytes, and nothing behind it that may be read. Strings are gone after each call. */
static void connect_params_of_72_bytes(void)
{
    client_start(6, 5);
    VixDiskLibConnectParams *params = client_at_end_of_memory(72);
    memset(params, 0, 72);
    VixDiskLibConnection conn = NULL;
    OK(vix.Connect(params, &conn));
    VixDiskLibConnectParams *copy = NULL;
    OK(vix.GetConnectParams(conn, &copy));
    CHECK(copy != NULL && copy->serverName == NULL);
    vix.FreeConnectParams(copy);
    OK(vix.PrepareForAccess(params, "test"));
    uint32 cleaned = 7, remaining = 7;
    OK(vix.Cleanup(params, &cleaned, &remaining));
    CHECK(cleaned == 0 && remaining == 0);
    OK(vix.Cleanup(params, NULL, NULL));
    OK(vix.EndAccess(params, "test"));
    memset(params, 0xff, 72);
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    client_end(conn);
}

static void create_params_of_24_bytes(void)
{
    VixDiskLibConnection conn = client_connect();
    VixDiskLibCreateParams *params = client_at_end_of_memory(24);
    params->diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    params->adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC;
    params->hwVersion = VIXDISKLIB_HWVERSION_WORKSTATION_5;
    params->capacity = 4096;
    OK(vix.Create(conn, client_path("a.vmdk"), params, NULL, NULL));
    client_end(conn);
}

static void create_params_have_a_tail_from_7_0(void)
{
    client_start(7, 0);
    VixDiskLibConnection conn = NULL;
    OK(vix.Connect(NULL, &conn));
    VixDiskLibCreateParams params = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_ADAPTER_IDE, 4, 2048, 512, 512};
    OK(vix.Create(conn, client_path("a.vmdk"), &params, NULL, NULL));
    params.logicalSectorSize = 0;
    params.physicalSectorSize = 0;
    OK(vix.Create(conn, client_path("b.vmdk"), &params, NULL, NULL));
    params.logicalSectorSize = 513;
    FAILS(vix.Create(conn, client_path("c.vmdk"), &params, NULL, NULL));
    CHECK(access(client_path("c.vmdk"), F_OK) != 0);
    client_end(conn);
}

static void info_is_of_the_newest_form(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 3);
    VixDiskLibHandle disk = NULL;
    OK(vix.Open(conn, client_path("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk));
    VixDiskLibInfo *info = NULL;
    OK(vix.GetInfo(disk, &info));
    CHECK(info->capacity == 3 * 2048 && info->numLinks == 1 && info->parentFileNameHint == NULL);
    CHECK(info->adapterType == VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC);
    CHECK(info->logicalSectorSize == 512 && info->physicalSectorSize == 512);
    CHECK(info->biosGeo.cylinders > 0 || info->physGeo.cylinders > 0);
    vix.FreeInfo(info);
    OK(vix.Close(disk));
    client_end(conn);
}

/* nbdkit keeps pointers that it owns in the struct: they must not be freed. */
static void free_connect_params_frees_only_what_it_owns(void)
{
    static char literal[] = "not from malloc";
    client_start(6, 5);
    VixDiskLibConnectParams *params = vix.AllocateConnectParams();
    CHECK(params != NULL);
    const unsigned char *bytes = (const unsigned char *)params;
    for (size_t i = 0; i < sizeof *params; i++) {
        CHECK(bytes[i] == 0);
    }
    params->creds.uid.userName = literal;
    params->creds.uid.password = literal;
    params->thumbPrint = literal;
    vix.FreeConnectParams(params);

    VixDiskLibConnection conn = NULL;
    OK(vix.ConnectEx(NULL, 0, NULL, NULL, &conn));
    VixDiskLibConnectParams *copy = NULL;
    OK(vix.GetConnectParams(conn, &copy));
    vix.FreeConnectParams(copy);
    client_end(conn);
}

static void init_can_be_repeated_after_a_failure(void)
{
    client_load();
    FAILS(vix.InitEx(99, 0, NULL, NULL, NULL, NULL, NULL));
    FAILS(vix.InitEx(8, 0, NULL, NULL, NULL, NULL, client_path("no-such-configuration")));
    OK(vix.InitEx(8, 0, NULL, NULL, NULL, NULL, NULL));
    vix.Exit();
}

static void init_accepts(unsigned major, unsigned minor)
{
    client_load();
    OK(vix.InitEx(major, minor, NULL, NULL, NULL, NULL, NULL));
    VixDiskLibConnection conn = NULL;
    OK(vix.Connect(NULL, &conn));
    client_end(conn);
}

static void init_accepts_5_0(void)
{
    init_accepts(5, 0);
}

static void init_accepts_6_0(void)
{
    init_accepts(6, 0);
}

static void init_accepts_6_7(void)
{
    init_accepts(6, 7);
}

static void init_accepts_8_0(void)
{
    init_accepts(8, 0);
}

static void error_text_is_never_null(void)
{
    client_load();
    static const VixError codes[] = {0, 1, 13, 16001, 25000, 29999, 65535, ~0UL};
    for (int pass = 0; pass < 2; pass++) { /* before InitEx and after */
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
            char *text = vix.GetErrorText(codes[i], i % 2 == 0 ? NULL : "en_US.UTF-8");
            CHECK(text != NULL && text[0] != '\0');
            vix.FreeErrorText(text);
        }
        if (pass == 0) {
            OK(vix.InitEx(6, 5, NULL, NULL, NULL, NULL, NULL));
        }
    }
    char *text = vix.GetErrorText(VIX_E_FILE_ACCESS_ERROR, NULL);
    CHECK(strcmp(text, "You do not have access rights to this file") == 0);
    vix.FreeErrorText(text);
    vix.FreeErrorText(NULL);
    vix.Exit();
}

/* nbdkit takes every warning for an error: the whole of an ordinary session must not bring one. */
static void warnings_are_for_failures(void)
{
    VixDiskLibConnection conn = client_connect();
    CHECK(heard.version);
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    unsigned char buf[512] = {7};
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.Write(disk, 5, 1, buf));
    OK(vix.Flush(disk));
    OK(vix.Close(disk));
    CHECK(heard.warnings == 0);
    FAILS(vix.Open(conn, client_path("none.vmdk"), 0, &disk));
    CHECK(heard.warnings == 1 && strstr(heard.last_warning, "none.vmdk") != NULL);
    client_end(conn);
}

/* Everything that params point to is the caller's again when the call returns. */
static void parameters_are_copied(void)
{
    client_load();
    char *dir = strdup(client_path("x"));
    char *conf = strdup(client_path("conf"));
    FILE *file = fopen(conf, "we");
    CHECK(file != NULL && fputs("-|\nvixDiskLib.nfcAio.Session.BufCount=4\n# end\n\"\n", file) >= 0 &&
          fclose(file) == 0);
    OK(vix.InitEx(6, 5, NULL, NULL, NULL, dir, conf));
    CHECK(remove(conf) == 0);
    memset(dir, 'x', strlen(dir));
    memset(conf, 'x', strlen(conf));
    free(dir);
    free(conf);

    char *transports = strdup("file:nbdssl:nbd"), *snapshot = strdup(""), *path = strdup(client_path("a.vmdk"));
    VixDiskLibConnectParams *params = calloc(1, sizeof *params);
    VixDiskLibConnection conn = NULL;
    CHECK(transports != NULL && snapshot != NULL && path != NULL && params != NULL);
    OK(vix.ConnectEx(params, 0, snapshot, transports, &conn));
    memset(params, 0xff, sizeof *params);
    memset(transports, 'x', strlen(transports));
    free(params);
    free(transports);
    free(snapshot);
    client_create(conn, path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    OK(vix.Open(conn, path, 0, &disk));
    memset(path, 'x', strlen(path));
    free(path);
    CHECK(strcmp(vix.GetTransportMode(disk), "file") == 0);
    char *key = strdup("toolsVersion"), *value = strdup("2147483647");
    OK(vix.WriteMetadata(disk, key, value));
    memset(value, 'x', strlen(value));
    memset(key, 'x', strlen(key));
    free(key);
    free(value);
    char back[32] = "";
    OK(vix.ReadMetadata(disk, "toolsVersion", back, sizeof back, NULL));
    CHECK(strcmp(back, "2147483647") == 0);
    OK(vix.Close(disk));
    client_end(conn);
}

static void null_is_accepted_where_optional(void)
{
    client_load();
    OK(vix.Init(6, 5, NULL, NULL, NULL, NULL));
    VixDiskLibConnection conn = NULL;
    OK(vix.ConnectEx(NULL, 0, NULL, NULL, &conn));
    OK(vix.PrepareForAccess(NULL, NULL));
    OK(vix.EndAccess(NULL, NULL));
    OK(vix.Cleanup(NULL, NULL, NULL));
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, 1);
    VixDiskLibHandle disk = NULL;
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    RETURNS(VIX_E_BUFFER_TOOSMALL, vix.ReadMetadata(disk, "adapterType", NULL, 0, NULL));
    RETURNS(VIX_E_BUFFER_TOOSMALL, vix.GetMetadataKeys(disk, NULL, 0, NULL));
    OK(vix.Close(disk));
    vix.FreeInfo(NULL);
    vix.FreeConnectParams(NULL);
    vix.FreeErrorText(NULL);
    OK(vix.FreeBlockList(NULL));
    FAILS(vix.Open(conn, NULL, 0, &disk));
    FAILS(vix.Create(conn, NULL, NULL, NULL, NULL));
    client_end(conn);
}

const struct client_test rule_tests[] = {
    {"rule 1: Bool is one byte", bool_is_one_byte},
    {"rule 2: 25000 on acceptance, one callback each", async_accepts_with_25000_and_completes_once},
    {"rule 2: a failed asynchronous request is told once", async_failure_is_told_once},
#ifdef __x86_64__
    {"rule 2: a callback of the 6.0 interface sees the result", callback_of_the_6_0_interface_sees_the_result},
#endif
    {"rule 3: codes are plain", codes_are_plain},
    {"rule 4: connect params of 72 bytes", connect_params_of_72_bytes},
    {"rule 5: create params of 24 bytes", create_params_of_24_bytes},
    {"rule 5: create params have a tail from 7.0 on", create_params_have_a_tail_from_7_0},
    {"rule 6: info is of the newest form", info_is_of_the_newest_form},
    {"rule 7: FreeConnectParams frees only what it owns", free_connect_params_frees_only_what_it_owns},
    {"rule 8: InitEx can be repeated after a failure", init_can_be_repeated_after_a_failure},
    {"rule 8: InitEx accepts 5.0", init_accepts_5_0},
    {"rule 8: InitEx accepts 6.0", init_accepts_6_0},
    {"rule 8: InitEx accepts 6.7", init_accepts_6_7},
    {"rule 8: InitEx accepts 8.0", init_accepts_8_0},
    {"rule 9: GetErrorText never returns NULL", error_text_is_never_null},
    {"rule 10: warnings are for failures", warnings_are_for_failures},
    {"rule 11: parameters are copied", parameters_are_copied},
    {"rule 12: NULL is accepted where optional", null_is_accepted_where_optional},
    {NULL, NULL},
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* order.c - the calls in the order in which real clients make them, and the manners of a guest in their process. */
#include "client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISK_MIB = 16, CHUNK = 128 };

struct request {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;
    VixError result;
};

static void request_ended(void *data, VixError result)
{
    struct request *r = data;
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    r->result = result;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void request_wait(struct request *r, VixError returned)
{
    RETURNS(VIX_ASYNC, returned);
    pthread_mutex_lock(&r->lock);
    while (!r->ended) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    OK(r->result);
}

#define REQUEST_INIT                                                                                                   \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VIX_OK                                             \
    }

/* As nbdkit asks for extents: from a chunk's start, rounded up to chunks, past the end at the end. */
static uint64 allocated_sectors(VixDiskLibHandle disk, uint64 capacity)
{
    uint64 sum = 0, last = 0;
    for (uint64 start = 0; start < capacity; start += 40 * CHUNK) {
        VixDiskLibBlockList *list = NULL;
        OK(vix.QueryAllocatedBlocks(disk, start, 40 * CHUNK, CHUNK, &list));
        for (uint32 i = 0; i < list->numBlocks; i++) {
            CHECK(list->blocks[i].offset >= last && list->blocks[i].length > 0);
            last = list->blocks[i].offset + list->blocks[i].length;
            CHECK(last <= (capacity + CHUNK - 1) / CHUNK * CHUNK);
            sum += list->blocks[i].length;
        }
        OK(vix.FreeBlockList(list));
    }
    return sum;
}

static void probe_extents(VixDiskLibHandle disk)
{
    VixDiskLibBlockList *list = NULL;
    OK(vix.QueryAllocatedBlocks(disk, 0, CHUNK, CHUNK, &list));
    OK(vix.FreeBlockList(list));
}

/* One connection of nbdkit: Open and Close are asked for by one thread, all else by a worker of the connection. */
struct session {
    VixDiskLibHandle disk;
    uint64 capacity;
    unsigned seed;
};

static void *worker(void *data)
{
    struct session *s = data;
    static unsigned char buf[1 << 20], back[sizeof buf];
    for (uint64 sector = 0; sector < s->capacity / 2; sector += sizeof buf / 512) {
        struct request r = REQUEST_INIT;
        client_pattern(buf, sizeof buf, sector * 512, s->seed);
        request_wait(&r, vix.WriteAsync(s->disk, sector, sizeof buf / 512, buf, request_ended, &r));
    }
    OK(vix.Wait(s->disk));
    OK(vix.Flush(s->disk));
    for (uint64 sector = 0; sector < s->capacity / 2; sector += sizeof buf / 512) {
        struct request r = REQUEST_INIT;
        memset(back, 0xee, sizeof back);
        request_wait(&r, vix.ReadAsync(s->disk, sector, sizeof back / 512, back, request_ended, &r));
        client_pattern(buf, sizeof buf, sector * 512, s->seed);
        CHECK(memcmp(buf, back, sizeof buf) == 0);
    }
    CHECK(allocated_sectors(s->disk, s->capacity) >= s->capacity / 2);
    return NULL;
}

static void nbdkit_session_of_type(VixDiskLibDiskType type)
{
    client_start(6, 5);
    VixDiskLibConnectParams *params = vix.AllocateConnectParams();
    VixDiskLibConnection conn = NULL;
    OK(vix.ConnectEx(params, 0, NULL, NULL, &conn));
    client_create(conn, client_path("a.vmdk"), type, DISK_MIB);
    struct session s = {.seed = (unsigned)type};
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &s.disk));
    CHECK(strcmp(vix.GetTransportMode(s.disk), "file") == 0);
    VixDiskLibInfo *info = NULL;
    OK(vix.GetInfo(s.disk, &info));
    s.capacity = info->capacity;
    CHECK(s.capacity == (uint64)DISK_MIB * 2048);
    vix.FreeInfo(info);
    probe_extents(s.disk);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, worker, &s) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    OK(vix.Wait(s.disk));
    OK(vix.Close(s.disk));
    OK(vix.Disconnect(conn));
    vix.FreeConnectParams(params);
    vix.Exit();
    CHECK(heard.warnings == 0);
}

#define SESSION(name, type)                                                                                            \
    static void session_##name(void)                                                                                   \
    {                                                                                                                  \
        nbdkit_session_of_type(type);                                                                                  \
    }
SESSION(monolithic_sparse, VIXDISKLIB_DISK_MONOLITHIC_SPARSE)
SESSION(monolithic_flat, VIXDISKLIB_DISK_MONOLITHIC_FLAT)
SESSION(split_sparse, VIXDISKLIB_DISK_SPLIT_SPARSE)
SESSION(split_flat, VIXDISKLIB_DISK_SPLIT_FLAT)
SESSION(vmfs_flat, VIXDISKLIB_DISK_VMFS_FLAT)
SESSION(vmfs_thin, VIXDISKLIB_DISK_VMFS_THIN)

/* streamOptimized is written once, in ascending order, then read in any. */
static void session_stream_optimized(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("s.vmdk"), VIXDISKLIB_DISK_STREAM_OPTIMIZED, 2);
    VixDiskLibHandle disk = NULL;
    static unsigned char buf[1 << 20], back[sizeof buf];
    client_pattern(buf, sizeof buf, 0, 9);
    OK(vix.Open(conn, client_path("s.vmdk"), 0, &disk));
    OK(vix.Write(disk, 0, 1024, buf));
    OK(vix.Write(disk, 1024, 1024, buf + sizeof buf / 2));
    FAILS(vix.Write(disk, 0, 1, buf));
    OK(vix.Close(disk));
    OK(vix.Open(conn, client_path("s.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk));
    OK(vix.Read(disk, 1024, 1024, back + sizeof back / 2));
    OK(vix.Read(disk, 0, 1024, back));
    CHECK(memcmp(buf, back, sizeof buf) == 0);
    OK(vix.Read(disk, 3000, 1000, back));
    for (size_t i = 0; i < 512000; i++) {
        CHECK(back[i] == 0);
    }
    OK(vix.Close(disk));
    client_end(conn);
}

/* VMware's sample: many handles of one disk, opened by one thread and read by others. */
static void *reader(void *data)
{
    VixDiskLibHandle disk = data;
    static const uint64 starts[] = {0, 100, 2000, 1999, 4095};
    for (int round = 0; round < 50; round++) {
        unsigned char buf[512], want[512];
        uint64 sector = starts[round % 5];
        OK(vix.Read(disk, sector, 1, buf));
        client_pattern(want, sizeof want, sector * 512, 1);
        CHECK(memcmp(buf, want, sizeof buf) == 0);
    }
    return NULL;
}

static void one_disk_on_many_read_only_handles(void)
{
    enum { HANDLES = 6 };
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE, 2);
    VixDiskLibHandle disk = NULL, handles[HANDLES];
    static unsigned char all[4096 * 512];
    client_pattern(all, sizeof all, 0, 1);
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.Write(disk, 0, 4096, all));
    OK(vix.Close(disk));
    pthread_t threads[HANDLES];
    for (int i = 0; i < HANDLES; i++) {
        OK(vix.Open(conn, client_path("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &handles[i]));
        CHECK(pthread_create(&threads[i], NULL, reader, handles[i]) == 0);
    }
    for (int i = 0; i < HANDLES; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        OK(vix.Close(handles[i]));
    }
    client_end(conn);
}

/* bareos and the virtual-disks bindings: sizes are asked for first, then all values are copied. */
static void metadata_by_size_query(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.WriteMetadata(disk, "uuid", "60 00 C2 93 7b a0 3a 03-9f 22 56 c5 29 93 b7 27"));
    size_t need = 0;
    RETURNS(VIX_E_BUFFER_TOOSMALL, vix.GetMetadataKeys(disk, NULL, 0, &need));
    CHECK(need > 2 && need < 65536);
    char *keys = client_at_end_of_memory(need);
    OK(vix.GetMetadataKeys(disk, keys, need, NULL));
    CHECK(keys[need - 1] == '\0' && keys[need - 2] == '\0');
    unsigned found = 0;
    for (const char *key = keys; *key != '\0'; key += strlen(key) + 1) {
        size_t len = 0;
        RETURNS(VIX_E_BUFFER_TOOSMALL, vix.ReadMetadata(disk, key, NULL, 0, &len));
        char *value = client_at_end_of_memory(len);
        memset(value, 'x', len);
        if (len > 1) {
            RETURNS(VIX_E_BUFFER_TOOSMALL, vix.ReadMetadata(disk, key, value, len - 1, NULL));
            CHECK(value[0] == 'x' && value[len - 1] == 'x');
        }
        OK(vix.ReadMetadata(disk, key, value, len, NULL));
        CHECK(strlen(value) == len - 1);
        found += strcmp(key, "adapterType") == 0 || strcmp(key, "geometry.cylinders") == 0 || strcmp(key, "uuid") == 0;
    }
    CHECK(found == 3);
    OK(vix.Close(disk));
    client_end(conn);
}

static void allocated_blocks_are_clipped_at_the_end(void)
{
    VixDiskLibConnection conn = client_connect();
    VixDiskLibCreateParams params = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_ADAPTER_IDE, 4, 1000, 0, 0};
    OK(vix.Create(conn, client_path("odd.vmdk"), &params, NULL, NULL));
    VixDiskLibHandle disk = NULL;
    unsigned char buf[512] = {1};
    OK(vix.Open(conn, client_path("odd.vmdk"), 0, &disk));
    OK(vix.Write(disk, 999, 1, buf));
    VixDiskLibBlockList *list = NULL;
    OK(vix.QueryAllocatedBlocks(disk, 0, 100 * CHUNK, CHUNK, &list));
    CHECK(list->numBlocks == 1 && list->blocks[0].offset <= 999);
    CHECK(list->blocks[0].offset + list->blocks[0].length == 1000);
    OK(vix.FreeBlockList(list));
    FAILS(vix.QueryAllocatedBlocks(disk, 8 * CHUNK, CHUNK, CHUNK, &list));
    FAILS(vix.QueryAllocatedBlocks(disk, 0, CHUNK, CHUNK - 1, &list));
    OK(vix.Close(disk));
    client_end(conn);
}

/* Handles and connections that are no longer valid, or never were. */
static void stale_handles_are_errors(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL, other = NULL;
    unsigned char buf[512];
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.Close(disk));
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &other));
    FAILS(vix.Read(disk, 0, 1, buf));
    FAILS(vix.Close(disk));
    FAILS(vix.Flush((VixDiskLibHandle)buf));
    FAILS(vix.Close(NULL));
    CHECK(vix.GetTransportMode(disk) == NULL || vix.GetTransportMode(disk)[0] == '\0');
    OK(vix.Close(other));
    OK(vix.Disconnect(conn));
    FAILS(vix.Disconnect(conn));
    FAILS(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    FAILS(vix.Disconnect((VixDiskLibConnection)buf));
    vix.Exit();
}

static void calls_before_init_are_errors(void)
{
    client_load();
    VixDiskLibConnection conn = NULL;
    VixDiskLibHandle disk = NULL;
    FAILS(vix.Connect(NULL, &conn));
    FAILS(vix.Open(NULL, "x", 0, &disk));
    FAILS(vix.Close(disk));
    FAILS(vix.Rename("a", "b"));
    vix.FreeInfo(NULL);
    vix.Exit();
}

static void exit_closes_what_is_open(void)
{
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    VixDiskLibHandle disk = NULL;
    unsigned char buf[512] = {0x5a};
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    OK(vix.Write(disk, 17, 1, buf));
    vix.Exit();
    FAILS(vix.Read(disk, 17, 1, buf));

    client_start(6, 5);
    OK(vix.Connect(NULL, &conn));
    OK(vix.Open(conn, client_path("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk));
    memset(buf, 0, sizeof buf);
    OK(vix.Read(disk, 17, 1, buf));
    CHECK(buf[0] == 0x5a);
    OK(vix.Close(disk));
    client_end(conn);
}

static unsigned count_entries(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

enum { DESCRIPTORS = 256 };

static void note_descriptors(bool ret_open[DESCRIPTORS])
{
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        ret_open[fd] = fcntl(fd, F_GETFD) != -1;
    }
}

static unsigned check_new_ones_close_on_exec(const bool before[DESCRIPTORS])
{
    unsigned opened = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (!before[fd] && flags != -1) {
            CHECK((flags & FD_CLOEXEC) != 0);
            opened++;
        }
    }
    return opened;
}

static void *nothing(void *data)
{
    return data;
}

/* Everything of the library's is gone after Exit; its descriptors are not inherited by programs that the client starts.
 */
static void exit_leaves_no_thread_and_no_descriptor(void)
{
    client_load();
    pthread_t first; /* the thread sanitizer starts a thread of its own with the first one */
    CHECK(pthread_create(&first, NULL, nothing, NULL) == 0 && pthread_join(first, NULL) == 0);
    unsigned fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    bool before[DESCRIPTORS];
    note_descriptors(before);
    VixDiskLibConnection conn = client_connect();
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE, 4);
    VixDiskLibHandle disk = NULL;
    unsigned char buf[512] = {1};
    struct request r = REQUEST_INIT;
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    request_wait(&r, vix.WriteAsync(disk, 0, 1, buf, request_ended, &r));
    CHECK(check_new_ones_close_on_exec(before) > 0);
    OK(vix.Close(disk));
    client_end(conn);
    CHECK(count_entries("/proc/self/fd") == fds);
    for (int i = 0; i < 100 && count_entries("/proc/self/task") > threads; i++) {
        usleep(10000);
    }
    CHECK(count_entries("/proc/self/task") == threads);
}

/* No signal handler, no locale, no folder, no environment is changed, nothing is printed. */
static void the_process_is_left_alone(void)
{
    struct sigaction before[NSIG], after;
    for (int i = 1; i < NSIG; i++) {
        memset(&before[i], 0, sizeof before[i]);
        (void)sigaction(i, NULL, &before[i]);
    }
    char *locale = strdup(setlocale(LC_ALL, NULL)), *cwd = getcwd(NULL, 0);
    CHECK(locale != NULL && cwd != NULL);
    mode_t mask = umask(022);
    umask(mask);
    char out[4200];
    snprintf(out, sizeof out, "%s", client_path("output"));
    int saved = dup(1), file = open(out, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK(saved >= 0 && file >= 0 && dup2(file, 1) == 1 && dup2(file, 2) == 2);

    client_load();
    OK(vix.InitEx(6, 5, NULL, NULL, NULL, NULL, NULL));
    VixDiskLibConnection conn = NULL;
    VixDiskLibHandle disk = NULL;
    OK(vix.Connect(NULL, &conn));
    FAILS(vix.Open(conn, client_path("none.vmdk"), 0, &disk));
    client_create(conn, client_path("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
    OK(vix.Open(conn, client_path("a.vmdk"), 0, &disk));
    FAILS(vix.Read(disk, 1 << 20, 1, (unsigned char *)out));
    OK(vix.Close(disk));
    client_end(conn);

    CHECK(dup2(saved, 1) == 1);
    struct stat st;
    CHECK(fstat(file, &st) == 0 && st.st_size == 0);
    for (int i = 1; i < NSIG; i++) {
        memset(&after, 0, sizeof after);
        (void)sigaction(i, NULL, &after);
        CHECK(after.sa_handler == before[i].sa_handler);
    }
    char *now = getcwd(NULL, 0);
    CHECK(strcmp(locale, setlocale(LC_ALL, NULL)) == 0 && strcmp(cwd, now) == 0 && umask(mask) == mask);
    free(now);
    free(locale);
    free(cwd);
    close(file);
    close(saved);
}

const struct client_test order_tests[] = {
    {"nbdkit's order of calls: monolithicSparse", session_monolithic_sparse},
    {"nbdkit's order of calls: monolithicFlat", session_monolithic_flat},
    {"nbdkit's order of calls: twoGbMaxExtentSparse", session_split_sparse},
    {"nbdkit's order of calls: twoGbMaxExtentFlat", session_split_flat},
    {"nbdkit's order of calls: vmfs flat", session_vmfs_flat},
    {"nbdkit's order of calls: vmfs thin", session_vmfs_thin},
    {"streamOptimized is written in order and read in any", session_stream_optimized},
    {"one disk on many read-only handles", one_disk_on_many_read_only_handles},
    {"metadata by size query", metadata_by_size_query},
    {"allocated blocks are clipped at the end", allocated_blocks_are_clipped_at_the_end},
    {"stale handles are errors", stale_handles_are_errors},
    {"calls before InitEx are errors", calls_before_init_are_errors},
    {"Exit closes what is open", exit_closes_what_is_open},
    {"Exit leaves no thread and no descriptor", exit_leaves_no_thread_and_no_descriptor},
    {"the process is left alone", the_process_is_left_alone},
    {NULL, NULL},
};

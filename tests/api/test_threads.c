/* SPDX-License-Identifier: BSD-3-Clause */
/* Eight threads that mix all calls, on handles that they share and on their own, on local disks and on those of a disk
 * host; connections come and go meanwhile, handles are closed with requests on their way, callbacks call the library.
 * Every sector that is read tells its disk and its place, and how often it was written. Also run under the thread
 * sanitizer, and under helgrind by `make helgrind`.
 *
 *   api_threads VIXDISKD [ROUNDS [SEED]] */
#include "host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8u
#define SHARED_SECTORS (2 * MIB_SECTORS)
#define OWN_SECTORS (MIB_SECTORS + 37)
#define OWN_PART (SHARED_SECTORS / THREADS) /* of a shared disk, that only one thread writes */
#define MOST 40u                            /* sectors of one request */
#define IN_FLIGHT 12u

static unsigned rounds = 15;
static uint64_t seed;

/** A disk that all use. Each thread writes only its own part of those that are written. */
struct shared {
    const char *name;
    bool remote, written;
    uint32 id;
    VixDiskLibConnection conn;
    VixDiskLibHandle h;
};

static struct shared shared[] = {
    {.name = "written.vmdk", .written = true, .id = 1},
    {.name = "chain.vmdk", .id = 2},
    {.name = "stream.vmdk", .id = 3},
    {.name = "remote.vmdk", .remote = true, .id = 4},
    {.name = "remote-written.vmdk", .remote = true, .written = true, .id = 5},
};
#define SHARED_COUNT (sizeof shared / sizeof shared[0])

/** What one thread knows. */
struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    uint32_t written[SHARED_COUNT][OWN_PART]; /* how often each sector of its part was */
    VixDiskLibConnection conn;
    char own[320];
    unsigned wrong;
    unsigned made; /* disks that it has made, for names */
    uint8 buf[IN_FLIGHT][MOST * 512];
    atomic_uint ended, failed; /* of its requests */
};

static struct worker workers[THREADS];

static uint64_t below(struct worker *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % n;
}

/** Notes a thing that must not be, without the test framework, which belongs to the main thread. */
static void expect_at(struct worker *w, bool good, const char *what, int line)
{
    if (!good && w->wrong++ < 5) {
        (void)fprintf(stderr, "thread %u, line %d: %s: %s\n", w->number, line, what, VixDiskLibExt_LastErrorDetail());
    }
}
#define expect(w, condition) expect_at((w), (condition), #condition, __LINE__)

/* ---- sectors that tell what they are ---- */

static void put_sector(uint8 *buf, uint32 id, uint64_t sector, uint32_t times)
{
    for (size_t i = 0; i < 512; i += 16) {
        memcpy(buf + i, &sector, 8);
        memcpy(buf + i + 8, &id, 4);
        memcpy(buf + i + 12, &times, 4);
    }
}

/** Whether n sectors are these; *ret_times of the first is how often it was written. Torn sectors are none. */
static bool are_sectors(const uint8 *buf, uint32 id, uint64_t sector, uint64_t n)
{
    uint8 want[512];

    for (uint64_t i = 0; i < n; i++, buf += 512) {
        uint32_t times;
        memcpy(&times, buf + 12, 4);
        put_sector(want, id, sector + i, times);
        if (memcmp(want, buf, 512) != 0) {
            return false;
        }
    }
    return true;
}

static void put_sectors(uint8 *buf, uint32 id, uint64_t sector, uint64_t n, uint32_t times)
{
    for (uint64_t i = 0; i < n; i++) {
        put_sector(buf + i * 512, id, sector + i, times);
    }
}

static void fill_disk(VixDiskLibHandle h, uint32 id, uint64_t first, uint64_t end)
{
    static uint8 buf[128 * 512];

    for (uint64_t s = first, n; s < end; s += n) {
        n = end - s < 128 ? end - s : 128;
        put_sectors(buf, id, s, n, 0);
        assert_code(VixDiskLib_Write(h, s, n, buf), VIX_OK);
    }
}

/* ---- shared handles ---- */

static void read_shared(struct worker *w)
{
    const struct shared *s = &shared[below(w, SHARED_COUNT)];
    uint64_t n = below(w, MOST) + 1, sector = below(w, SHARED_SECTORS - n + 1);

    /* Another thread may be writing: a sector is old or new, and in a file its two halves may be different. */
    if (s->written) {
        n = below(w, MOST) + 1;
        sector = w->number * OWN_PART + below(w, OWN_PART - n + 1);
    }
    expect(w, VixDiskLib_Read(s->h, sector, n, w->buf[0]) == VIX_OK);
    expect(w, are_sectors(w->buf[0], s->id, sector, n));
}

static void write_shared(struct worker *w)
{
    size_t which = below(w, 2) == 0 ? 0 : 4;
    const struct shared *s = &shared[which];
    uint64_t n = below(w, MOST) + 1, in_part = below(w, OWN_PART - n + 1), sector = w->number * OWN_PART + in_part;

    for (uint64_t i = 0; i < n; i++) {
        put_sector(w->buf[0] + i * 512, s->id, sector + i, ++w->written[which][in_part + i]);
    }
    expect(w, VixDiskLib_Write(s->h, sector, n, w->buf[0]) == VIX_OK);
    expect(w, VixDiskLib_Read(s->h, sector, n, w->buf[1]) == VIX_OK);
    expect(w, memcmp(w->buf[0], w->buf[1], n * 512) == 0);
    if (below(w, 6) == 0) {
        expect(w, VixDiskLib_Flush(s->h) == VIX_OK);
    }
}

static void ask_shared(struct worker *w)
{
    const struct shared *s = &shared[below(w, SHARED_COUNT)];
    VixDiskLibInfo *info = NULL;
    VixDiskLibBlockList *blocks = NULL;
    char text[8192];
    size_t need = 0;
    uint64 space = 0;

    expect(w, VixDiskLib_GetInfo(s->h, &info) == VIX_OK && info->capacity == SHARED_SECTORS);
    VixDiskLib_FreeInfo(info);
    expect(w, VixDiskLib_GetMetadataKeys(s->h, text, sizeof text, &need) == VIX_OK);
    expect(w, VixDiskLib_ReadMetadata(s->h, "adapterType", text, sizeof text, &need) == VIX_OK);
    expect(w, VixDiskLib_QueryAllocatedBlocks(s->h, 0, SHARED_SECTORS, 128, &blocks) == VIX_OK);
    expect(w, blocks == NULL || blocks->numBlocks >= 1);
    (void)VixDiskLib_FreeBlockList(blocks);
    expect(w, strcmp(VixDiskLib_GetTransportMode(s->h), s->remote ? "nbdssl" : "file") == 0);
    expect(w, s->remote || VixDiskLib_SpaceNeededForClone(s->h, VIXDISKLIB_DISK_MONOLITHIC_FLAT, &space) == VIX_OK);
    if (!s->remote && s->written) {
        expect(w, VixDiskLib_WriteMetadata(s->h, "test.thread", w->own) == VIX_OK);
        expect(w, VixDiskLib_ReadMetadata(s->h, "test.thread", text, sizeof text, &need) == VIX_OK);
    }
}

/** Calls that fail say why to the thread that made them. */
static void make_failures(struct worker *w)
{
    VixDiskLibHandle h = NULL;
    char missing[340], place[64];

    (void)snprintf(missing, sizeof missing, "%s.%u", w->own, w->number);
    (void)snprintf(place, sizeof place, "at sector %llu ", (unsigned long long)SHARED_SECTORS + w->number);
    expect(w, VixDiskLib_Read(shared[1].h, SHARED_SECTORS + w->number, 1, w->buf[0]) == VIX_E_DISK_OUTOFRANGE);
    expect(w, strstr(VixDiskLibExt_LastErrorDetail(), place) != NULL);
    expect(w, VixDiskLib_Open(w->conn, missing, 0, &h) == VIX_E_FILE_NOT_FOUND && h == NULL);
    expect(w, strstr(VixDiskLibExt_LastErrorDetail(), "No such file") != NULL);
    expect(w, VixDiskLib_Write(shared[1].h, 0, 1, w->buf[0]) == VIX_E_FILE_READ_ONLY);
    expect(w, VixDiskLib_Close(NULL) == VIX_E_INVALID_HANDLE);
    char *text = VixDiskLib_GetErrorText(VIX_E_FILE_NOT_FOUND, NULL);
    expect(w, text != NULL && text[0] != '\0');
    VixDiskLib_FreeErrorText(text);
}

/* ---- requests on their way ---- */

static void count(void *data, VixError result)
{
    struct worker *w = data;

    (void)atomic_fetch_add(result == VIX_OK ? &w->ended : &w->failed, 1);
}

/** A callback that uses the library: it reads, asks, and may not wait for itself. */
static void call_back_in(void *data, VixError result)
{
    uint8 buf[512];
    VixDiskLibInfo *info = NULL;
    const struct shared *s = &shared[result == VIX_OK ? 1 : 0];
    bool good = VixDiskLib_Read(s->h, 77, 1, buf) == VIX_OK && (s->written || are_sectors(buf, s->id, 77, 1));

    good = VixDiskLib_GetInfo(shared[2].h, &info) == VIX_OK && good;
    VixDiskLib_FreeInfo(info);
    count(data, good ? result : VIX_E_FAIL);
}

static void expect_ended(struct worker *w, unsigned n)
{
    expect(w, atomic_load(&w->ended) == n);
    expect(w, atomic_load(&w->failed) == 0);
    atomic_store(&w->ended, 0);
    atomic_store(&w->failed, 0);
}

/** Wait is for all requests of a handle, those of other threads too: so a thread counts its own. */
static void read_shared_async(struct worker *w)
{
    const struct shared *s = &shared[1 + below(w, 3)];
    uint64_t sectors[IN_FLIGHT];
    unsigned n = (unsigned)below(w, IN_FLIGHT) + 1;

    for (unsigned i = 0; i < n; i++) {
        sectors[i] = below(w, SHARED_SECTORS - MOST);
        expect(w, VixDiskLib_ReadAsync(s->h, sectors[i], MOST, w->buf[i], i % 3 == 0 ? call_back_in : count, w) ==
                      VIX_ASYNC);
    }
    expect(w, VixDiskLib_Wait(s->h) == VIX_OK);
    expect_ended(w, n);
    for (unsigned i = 0; i < n; i++) {
        expect(w, are_sectors(w->buf[i], s->id, sectors[i], MOST));
    }
}

/* ---- disks and connections of one's own ---- */

static void make_own(struct worker *w, VixDiskLibConnection c)
{
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE,
                                               VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_VMFS_SPARSE};
    VixDiskLibCreateParams p = {.diskType = types[below(w, 4)],
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX55,
                                .capacity = OWN_SECTORS};

    expect(w, VixDiskLib_Create(c, w->own, &p, NULL, NULL) == VIX_OK);
}

/** Made, written by requests that are on their way when the handle is closed or its connection ends, read, removed. */
static void use_own(struct worker *w)
{
    VixDiskLibConnection c = NULL;
    VixDiskLibHandle h = NULL;
    uint32 id = 100 + w->number;
    unsigned n = (unsigned)below(w, IN_FLIGHT) + 1;
    bool by_disconnect = below(w, 2) == 0;

    expect(w, VixDiskLib_Connect(NULL, &c) == VIX_OK);
    make_own(w, c);
    expect(w, VixDiskLib_Open(c, w->own, 0, &h) == VIX_OK);
    for (unsigned i = 0; i < n; i++) {
        put_sectors(w->buf[i], id, i * MOST, MOST, 0);
        expect(w,
               VixDiskLib_WriteAsync(h, i * MOST, MOST, w->buf[i], i % 4 == 0 ? call_back_in : count, w) == VIX_ASYNC);
    }
    if (by_disconnect) {
        expect(w, VixDiskLib_Disconnect(c) == VIX_OK);
        expect(w, VixDiskLib_Close(h) == VIX_E_INVALID_HANDLE);
        expect(w, VixDiskLib_Connect(NULL, &c) == VIX_OK);
    } else {
        expect(w, VixDiskLib_Close(h) == VIX_OK);
        expect(w, VixDiskLib_Read(h, 0, 1, w->buf[0]) == VIX_E_INVALID_HANDLE);
    }
    expect_ended(w, n);
    expect(w, VixDiskLib_Open(c, w->own, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h) == VIX_OK);
    for (unsigned i = 0; i < n; i++) {
        expect(w, VixDiskLib_Read(h, i * MOST, MOST, w->buf[0]) == VIX_OK);
        expect(w, are_sectors(w->buf[0], id, i * MOST, MOST));
    }
    expect(w, VixDiskLib_Close(h) == VIX_OK);
    expect(w, VixDiskLib_CheckRepair(c, w->own, FALSE) == VIX_OK);
    expect(w, VixDiskLib_Unlink(c, w->own) == VIX_OK);
    expect(w, VixDiskLib_Disconnect(c) == VIX_OK);
}

/** A child of a shared disk, and a copy of that. */
static void use_child(struct worker *w)
{
    char child[340], copy[340];
    VixDiskLibHandle h = NULL;
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_STREAM_OPTIMIZED,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX55};
    VixDiskLibCreateParams *params = &p;

    (void)snprintf(child, sizeof child, "%s-child-%u.vmdk", w->own, w->made);
    (void)snprintf(copy, sizeof copy, "%s-copy-%u.vmdk", w->own, w->made++);
    expect(w, VixDiskLib_CreateChild(shared[1].h, child, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL) == VIX_OK);
    expect(w, VixDiskLib_Open(w->conn, child, 0, &h) == VIX_OK);
    put_sectors(w->buf[0], shared[1].id, 500, MOST, 9);
    expect(w, VixDiskLib_Write(h, 500, MOST, w->buf[0]) == VIX_OK);
    expect(w, VixDiskLib_Close(h) == VIX_OK);
    expect(w, VixDiskLib_Clone(w->conn, copy, w->conn, child, params, NULL, NULL, FALSE) == VIX_OK);
    expect(w, VixDiskLib_Open(w->conn, copy, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h) == VIX_OK);
    for (uint64_t s = 480; s < 580; s += MOST) {
        expect(w, VixDiskLib_Read(h, s, MOST, w->buf[0]) == VIX_OK && are_sectors(w->buf[0], shared[1].id, s, MOST));
    }
    expect(w, VixDiskLib_Close(h) == VIX_OK);
    expect(w, VixDiskLib_Unlink(w->conn, copy) == VIX_OK);
    expect(w, VixDiskLib_Unlink(w->conn, child) == VIX_OK);
}

/** A connection to the host of one's own, which ends with requests on their way. */
static void use_host(struct worker *w)
{
    VixDiskLibConnection c = NULL;
    VixDiskLibHandle h = NULL;
    VixDiskLibConnectParams *params = NULL;
    uint64_t sector = below(w, SHARED_SECTORS - MOST);
    unsigned n = (unsigned)below(w, IN_FLIGHT) + 1;

    expect(w, host_connect(below(w, 2) == 0 ? "nbd" : "nbdssl", &c) == VIX_OK);
    expect(w, VixDiskLib_GetConnectParams(c, &params) == VIX_OK);
    VixDiskLib_FreeConnectParams(params);
    expect(w, VixDiskLib_Open(c, "[datastore1] vm1/remote.vmdk", VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h) == VIX_OK);
    for (unsigned i = 0; i < n; i++) {
        expect(w, VixDiskLib_ReadAsync(h, sector, MOST, w->buf[i], i % 3 == 0 ? call_back_in : count, w) == VIX_ASYNC);
    }
    if (below(w, 2) == 0) {
        expect(w, VixDiskLib_Close(h) == VIX_OK);
    }
    expect(w, VixDiskLib_Disconnect(c) == VIX_OK);
    expect_ended(w, n);
    for (unsigned i = 0; i < n; i++) {
        expect(w, are_sectors(w->buf[i], shared[3].id, sector, MOST));
    }
}

/* ---- all of it ---- */

static void *work(void *arg)
{
    static void (*const calls[])(struct worker * w) = {read_shared, read_shared,   write_shared,      write_shared,
                                                       ask_shared,  make_failures, read_shared_async, read_shared_async,
                                                       use_own,     use_child,     use_host};
    struct worker *w = arg;

    for (unsigned i = 0; i < rounds; i++) {
        calls[below(w, sizeof calls / sizeof calls[0])](w);
    }
    return NULL;
}

static void make_shared(struct shared *s)
{
    char path[320], base[320];
    VixDiskLibHandle h;

    (void)snprintf(path, sizeof path, "%s", in_folder(s->name));
    if (s->remote) {
        char name[64];
        (void)snprintf(name, sizeof name, "vm1/%s", s->name);
        (void)snprintf(path, sizeof path, "%s", host_file(name));
    }
    assert_code(VixDiskLib_Connect(NULL, &s->conn), VIX_OK);
    if (s->id == 2) { /* half of it in the base */
        (void)snprintf(base, sizeof base, "%s", in_folder("base.vmdk"));
        make_disk(s->conn, base, VIXDISKLIB_DISK_SPLIT_SPARSE, SHARED_SECTORS);
        h = open_disk(s->conn, base, 0);
        fill_disk(h, s->id, 0, SHARED_SECTORS / 2);
        assert_code(VixDiskLib_CreateChild(h, path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL), VIX_OK);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    } else {
        make_disk(s->conn, path, s->id == 3 ? VIXDISKLIB_DISK_STREAM_OPTIMIZED : VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                  SHARED_SECTORS);
    }
    h = open_disk(s->conn, path, 0);
    fill_disk(h, s->id, s->id == 2 ? SHARED_SECTORS / 2 : 0, SHARED_SECTORS);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    if (s->remote) {
        assert_code(VixDiskLib_Disconnect(s->conn), VIX_OK);
        assert_code(host_connect("nbdssl", &s->conn), VIX_OK);
        (void)snprintf(path, sizeof path, "[datastore1] vm1/%s", s->name);
    }
    s->h = open_disk(s->conn, path, s->written ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY);
}

/** Every sector that was written holds what its thread wrote last. */
static void check_written(size_t which)
{
    static uint8 buf[512], want[512];
    const struct shared *s = &shared[which];

    for (unsigned t = 0; t < THREADS; t++) {
        for (uint64_t i = 0; i < OWN_PART; i += 7) {
            uint64_t sector = t * OWN_PART + i;
            assert_code(VixDiskLib_Read(s->h, sector, 1, buf), VIX_OK);
            put_sector(want, s->id, sector, workers[t].written[which][i]);
            assert_memory_equal(buf, want, 512);
        }
    }
}

static void eight_threads_mix_all_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHARED_COUNT; i++) {
        make_shared(&shared[i]);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        struct worker *w = &workers[t];
        w->number = t;
        w->random = seed * 1000003 + 77 * (uint64_t)t + 1;
        w->conn = local_connection();
        char name[32];
        (void)snprintf(name, sizeof name, "own-%u.vmdk", t);
        (void)snprintf(w->own, sizeof w->own, "%s", in_folder(name));
    }
    unsigned files = open_files();
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_create(&workers[t].thread, NULL, work, &workers[t]), 0);
    }
    unsigned wrong = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(workers[t].thread, NULL), 0);
        wrong += workers[t].wrong;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(open_files(), files);
    check_written(0);
    check_written(4);
    for (size_t i = 0; i < SHARED_COUNT; i++) {
        assert_code(VixDiskLib_Disconnect(shared[i].conn), VIX_OK);
    }
}

/* ---- the end of the library while it is used ---- */

struct user {
    pthread_t thread;
    VixDiskLibConnection conn;
    VixDiskLibHandle h;
    unsigned wrong;
};

static bool is_late(VixError code)
{
    return code == VIX_E_DISK_NOINIT || code == VIX_E_INVALID_HANDLE || code == VIX_E_DISK_INVALID_CONNECTION;
}

/** Goes on until the library is gone, or the handle. */
static void *use_to_the_end(void *arg)
{
    struct user *u = arg;
    struct worker counter = {0};
    uint8 buf[512];
    VixError code = VIX_OK;

    for (unsigned i = 0; !is_late(code); i++) {
        code = i % 3 == 0   ? VixDiskLib_Write(u->h, i % 500, 1, memset(buf, 0x5A, sizeof buf))
               : i % 3 == 1 ? VixDiskLib_Read(u->h, i % 500, 1, buf)
                            : VixDiskLib_ReadAsync(u->h, i % 500, 1, buf, count, &counter);
        if (code == VIX_ASYNC) {
            code = VixDiskLib_Wait(u->h);
            while (atomic_load(&counter.ended) + atomic_load(&counter.failed) == 0) {
                (void)usleep(10); /* it was taken: it is told of, even now */
            }
            atomic_store(&counter.ended, 0);
        }
        u->wrong += code != VIX_OK && !is_late(code);
    }
    u->wrong += atomic_load(&counter.failed);
    return NULL;
}

static void exit_ends_what_others_use(void **state)
{
    static struct user users[4];

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        memset(users, 0, sizeof users);
        for (unsigned i = 0; i < 4; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "end-%u-%u.vmdk", round, i);
            users[i].conn = local_connection();
            make_disk(users[i].conn, in_folder(name), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1000);
            users[i].h = open_disk(users[i].conn, in_folder(name), 0);
            assert_int_equal(pthread_create(&users[i].thread, NULL, use_to_the_end, &users[i]), 0);
        }
        (void)usleep(20000);
        VixDiskLib_Exit();
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(users[i].thread, NULL), 0);
            assert_int_equal(users[i].wrong, 0);
        }
        start_library();
        VixDiskLibConnection c = local_connection();
        for (unsigned i = 0; i < 4; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "end-%u-%u.vmdk", round, i);
            assert_code(VixDiskLib_CheckRepair(c, in_folder(name), FALSE), VIX_OK);
        }
        assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    }
}

/* ---- the end of a disk while a call has it for itself ---- */

enum ending { BY_CLOSE, BY_DISCONNECT, BY_EXIT, ENDINGS };

/** One thread ends a disk, the other has it for itself meanwhile. */
struct ender {
    enum ending how;
    VixDiskLibConnection conn;
    VixDiskLibHandle h, parent;
    bool running;
    pthread_t thread;
    VixError code;
    atomic_bool ended;
    bool too_early;
};

static void *end_disk(void *arg)
{
    struct ender *e = arg;

    if (e->how == BY_EXIT) {
        VixDiskLib_Exit();
    } else {
        e->code = e->how == BY_CLOSE ? VixDiskLib_Close(e->h) : VixDiskLib_Disconnect(e->conn);
    }
    atomic_store(&e->ended, true);
    return NULL;
}

static Bool end_meanwhile(void *data, int percent)
{
    struct ender *e = data;

    (void)percent;
    if (!e->running) {
        e->running = pthread_create(&e->thread, NULL, end_disk, e) == 0;
        (void)usleep(50000);
    }
    e->too_early |= atomic_load(&e->ended);
    return TRUE;
}

typedef VixError rework_func(VixDiskLibHandle h, VixDiskLibProgressFunc func, void *data);

static void end_during(rework_func *rework, enum ending how)
{
    static const uint8 buf[4096 * 16];
    struct ender e = {.how = how, .conn = local_connection()};
    char path[320];

    (void)snprintf(path, sizeof path, "%s", in_folder("alone.vmdk"));
    unsigned files = open_files();
    make_disk(e.conn, path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 4 * MIB_SECTORS);
    e.h = open_disk(e.conn, path, 0);
    assert_code(VixDiskLib_Write(e.h, 0, sizeof buf / 512, buf), VIX_OK);
    assert_code(rework(e.h, end_meanwhile, &e), VIX_OK);
    assert_true(e.running);
    assert_int_equal(pthread_join(e.thread, NULL), 0);
    assert_false(e.too_early);
    assert_code(e.code, VIX_OK);
    assert_code(VixDiskLib_Write(e.h, 0, 1, buf), how == BY_EXIT ? VIX_E_DISK_NOINIT : VIX_E_INVALID_HANDLE);
    assert_true(open_files() <= files);
    if (how == BY_EXIT) {
        start_library();
    }
    VixDiskLibConnection c = how == BY_CLOSE ? e.conn : local_connection();
    assert_code(VixDiskLib_CheckRepair(c, path, FALSE), VIX_OK);
    assert_code(VixDiskLib_Unlink(c, path), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
}

static void the_end_of_a_disk_waits_for_who_has_it_alone(void **state)
{
    (void)state;
    for (enum ending how = BY_CLOSE; how < ENDINGS; how++) {
        end_during(VixDiskLib_Shrink, how);
        end_during(VixDiskLib_Defragment, how);
    }
}

static void the_end_of_a_connection_waits_for_attach(void **state)
{
    (void)state;
    char parent[320], child[320];
    (void)snprintf(parent, sizeof parent, "%s", in_folder("attach.vmdk"));
    (void)snprintf(child, sizeof child, "%s", in_folder("attach-child.vmdk"));
    VixDiskLibConnection c = local_connection();
    make_disk(c, parent, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(c, parent, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_CreateChild(h, child, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    unsigned files = open_files();
    for (unsigned round = 0; round < 40; round++) {
        struct ender e = {.how = BY_DISCONNECT, .conn = local_connection()};
        e.parent = open_disk(e.conn, parent, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        e.h = open_disk(e.conn, child, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
        assert_int_equal(pthread_create(&e.thread, NULL, end_disk, &e), 0);
        VixError code = VixDiskLib_Attach(e.parent, e.h);
        assert_int_equal(pthread_join(e.thread, NULL), 0);
        assert_true(code == VIX_OK || code == VIX_E_INVALID_HANDLE || code == VIX_E_OBJECT_IS_BUSY);
        assert_code(e.code, VIX_OK);
        assert_int_equal(open_files(), files);
    }
}

static int setup(void **state)
{
    if (host_setup(state) != 0) {
        return -1;
    }
    /* Eight logins at once under valgrind take their time. */
    assert_code(VixDiskLibExt_SetOption("vixDiskLib.nfc.AcceptTimeoutMs", "120000"), VIX_OK);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_mix_all_calls),
        cmocka_unit_test(exit_ends_what_others_use),
        cmocka_unit_test(the_end_of_a_disk_waits_for_who_has_it_alone),
        cmocka_unit_test(the_end_of_a_connection_waits_for_attach),
    };

    if (argc < 2) {
        (void)fprintf(stderr, "api_threads VIXDISKD [ROUNDS [SEED]]\n");
        return 2;
    }
    host_program = argv[1];
    rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : rounds;
    seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
    print_message("seed %llu, %u rounds\n", (unsigned long long)seed, rounds);
    return cmocka_run_group_tests_name("threads", tests, setup, host_teardown);
}

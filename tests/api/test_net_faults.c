/* SPDX-License-Identifier: BSD-3-Clause */
/* Every call on a disk of a server, with each of its system calls on the network failing in turn, short, or with the
 * connection cut or reset before it, and with each request for memory failing, those of libcurl and OpenSSL too: the
 * call goes through or says so with a code, within a time; what is read is right, what was written old or new; handle
 * and connection close; the call can be made again; no file descriptor is left, and no memory. What failures of the
 * network leave of that is found where this runs under the leak sanitizer.
 *
 *   api_net_faults VIXDISKD
 *
 * VIXDISK_FAULTS=all tries every call (minutes); else some of them, at the beginning, at the end, and between. */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "faulty.h"
#include "host.h"

#define SECTORS (6144u + 77u) /* 3 MiB: several requests on the wire */
#define BYTES ((size_t)SECTORS * 512)
#define LIMIT_S 20 /* of one call */
#define SOME 3     /* of the failures of one kind, where not all are tried */
#define SOME_MEMORY 8
#define MANY 400    /* a handshake of TLS asks for thousands of pieces of memory, in a few ways: from here on, each */
#define MANY_STEP 7 /* seventh is tried */
#define STEPS 20000 /* system calls of one call; more would be a loop without end */

static const char disk[] = "[datastore1] vm1/d.vmdk";
static const char file[] = "vm1/d.vmdk";

static VixDiskLibConnection conn;
static VixDiskLibHandle h;
static const char *transport;
static uint8 before[BYTES], after[BYTES], found[BYTES];
static bool every;

/* ---- the calls ---- */

static VixError do_connect(void)
{
    VixDiskLibConnection c = NULL;
    VixError code = host_connect(transport, &c);

    assert_true((code == VIX_OK) == (c != NULL));
    return code == VIX_OK ? VixDiskLib_Disconnect(c) : code;
}

static VixError do_open(void)
{
    VixDiskLibHandle other = NULL;
    VixError code = VixDiskLib_Open(conn, disk, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &other);

    assert_true((code == VIX_OK) == (other != NULL));
    return code == VIX_OK ? VixDiskLib_Close(other) : code;
}

static VixError do_open_for_writing(void)
{
    VixDiskLibHandle other = NULL;
    VixError code = VixDiskLib_Open(conn, disk, 0, &other);

    assert_true((code == VIX_OK) == (other != NULL));
    return code == VIX_OK ? VixDiskLib_Close(other) : code;
}

static VixError do_read(void)
{
    VixError code;

    memset(found, 0xDB, BYTES);
    code = VixDiskLib_Read(h, 0, SECTORS, found);
    assert_true(code != VIX_OK || memcmp(found, before, BYTES) == 0);
    return code;
}

/* Four requests: each that is taken calls back once, and has its bytes if it says so. */
static VixError do_async(bool write)
{
    struct told told[4] = {{0}};
    unsigned taken = 0;
    VixError code = VIX_ASYNC;

    for (uint64 at = 0, n; code == VIX_ASYNC && taken < 4; at += n, taken += code == VIX_ASYNC) {
        n = taken < 3 ? 1500 : SECTORS - at;
        code = write ? VixDiskLib_WriteAsync(h, at, n, after + at * 512, keep_code, &told[taken])
                     : VixDiskLib_ReadAsync(h, at, n, found + at * 512, keep_code, &told[taken]);
    }
    VixError waited = VixDiskLib_Wait(h);
    code = code == VIX_ASYNC ? waited : code;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(told[i].calls, i < taken ? 1 : 0);
        code = code == VIX_OK && i < taken ? told[i].code : code;
        if (!write && i < taken && told[i].code == VIX_OK) {
            size_t at = (size_t)i * 1500 * 512, len = i < 3 ? (size_t)1500 * 512 : BYTES - at;
            assert_memory_equal(found + at, before + at, len);
        }
    }
    return code;
}

static VixError do_read_async(void)
{
    memset(found, 0xDB, BYTES);
    return do_async(false);
}

static VixError do_write_async(void)
{
    VixError code = do_async(true);

    return code == VIX_OK ? VixDiskLib_Flush(h) : code;
}

static VixError do_write(void)
{
    VixError code = VixDiskLib_Write(h, 0, SECTORS, after);

    return code == VIX_OK ? VixDiskLib_Flush(h) : code;
}

static VixError do_query(void)
{
    VixDiskLibBlockList *blocks = NULL;
    VixError code = VixDiskLib_QueryAllocatedBlocks(h, 0, SECTORS / 128 * 128, 128, &blocks);

    assert_true((code == VIX_OK) == (blocks != NULL));
    assert_true(code != VIX_OK || blocks->numBlocks >= 1);
    (void)VixDiskLib_FreeBlockList(blocks);
    return code;
}

static VixError do_metadata(void)
{
    char text[4096];
    size_t need = 0;
    VixError code = VixDiskLib_GetMetadataKeys(h, text, sizeof text, &need);

    if (code == VIX_OK) {
        code = VixDiskLib_ReadMetadata(h, "adapterType", text, sizeof text, &need);
        assert_true(code != VIX_OK || strcmp(text, "lsilogic") == 0);
    }
    return code == VIX_OK ? VixDiskLib_WriteMetadata(h, "test.color", "blue") : code;
}

static VixError do_close(void)
{
    VixDiskLibHandle closed = h;

    h = NULL;
    return VixDiskLib_Close(closed);
}

/* ---- what must hold ---- */

#define OPEN (1u << 0)   /* a handle for it, made before */
#define WRITES (1u << 1) /* what is open for writing */

static const struct subject {
    const char *name;
    uint32_t flags;
    VixError (*run)(void);
} subjects[] = {
    {"Connect", 0, do_connect},
    {"Open", 0, do_open},
    {"Open for writing", 0, do_open_for_writing},
    {"Read", OPEN, do_read},
    {"ReadAsync", OPEN, do_read_async},
    {"Write", OPEN | WRITES, do_write},
    {"WriteAsync", OPEN | WRITES, do_write_async},
    {"QueryAllocatedBlocks", OPEN, do_query},
    {"metadata", OPEN | WRITES, do_metadata},
    {"Close", OPEN | WRITES, do_close},
};

static const struct way {
    const char *name;
    uint32_t kinds;
    int errnum;
    bool harmless; /* the call must go through all the same */
} ways[] = {
    {"a reset connection", FAULTY_SEND | FAULTY_RECEIVE | FAULTY_CONNECT, ECONNRESET, false},
    {"a cut connection", FAULTY_SEND | FAULTY_RECEIVE, FAULTY_CUT, false},
    {"ETIMEDOUT", FAULTY_SEND | FAULTY_RECEIVE | FAULTY_CONNECT, ETIMEDOUT, false},
    {"ENOBUFS", FAULTY_SEND | FAULTY_RECEIVE | FAULTY_CONNECT | FAULTY_POLL, ENOBUFS, false},
    {"EINTR", FAULTY_SEND | FAULTY_RECEIVE | FAULTY_POLL, EINTR, true},
    {"a short count", FAULTY_SEND | FAULTY_RECEIVE, FAULTY_SHORT, true},
    {"no memory", FAULTY_MEMORY, ENOMEM, false},
};

static struct {
    unsigned runs, failed;
    double longest;
} tally;

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Opens the disk; the host may need a moment to see that the one before is gone. */
static VixDiskLibHandle open_again(VixDiskLibConnection c, const char *path, uint32 flags)
{
    VixDiskLibHandle got = NULL;
    double end = now() + LIMIT_S;
    VixError code;

    while ((code = VixDiskLib_Open(c, path, flags, &got)) != VIX_OK && now() < end) {
        (void)usleep(5000);
    }
    if (code != VIX_OK) {
        print_error("%s does not open again: %s\n", path, VixDiskLibExt_LastErrorDetail());
    }
    assert_code(code, VIX_OK);
    return got;
}

/* Whether the disk, looked at on the host, has each sector old or new; new where it was told so. */
static bool is_old_or_new(bool done)
{
    VixDiskLibConnection local = local_connection();
    VixDiskLibHandle l = open_again(local, host_file(file), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    bool good = VixDiskLib_Read(l, 0, SECTORS, found) == VIX_OK;

    for (size_t i = 0; good && i < BYTES; i += 512) {
        good = memcmp(found + i, after + i, 512) == 0 || (!done && memcmp(found + i, before + i, 512) == 0);
    }
    assert_code(VixDiskLib_Disconnect(local), VIX_OK);
    return good;
}

/* The disk as it was, by the host's file. */
static void restore(void)
{
    VixDiskLibConnection local = local_connection();
    VixDiskLibHandle l = open_again(local, host_file(file), 0);

    assert_code(VixDiskLib_Write(l, 0, SECTORS, before), VIX_OK);
    assert_code(VixDiskLib_Disconnect(local), VIX_OK);
}

/* What is being tried, for messages. */
static struct {
    const struct subject *s;
    const struct way *w;
    unsigned nth, calls;
} at;

/* Resolvers, expat and OpenSSL do not always tell a want of memory from other failures. */
static bool is_want_of_memory(VixError code)
{
    return code == VIX_E_OUT_OF_MEMORY || code == VIX_E_HOST_SERVER_NOT_FOUND || code == VIX_E_INVALID_XML;
}

/* Before a disk is open there is no connection to be lost: that is a failed handshake, which is tried once more but for
 * a time-out, and may pass. */
static bool is_known(VixError code)
{
    return code == VIX_E_HOST_NETBLKDEV_HANDSHAKE || code == VIX_E_HOST_TCP_CONN_LOST ||
           code == VIX_E_HOST_NETWORK_CONN_REFUSED || code == VIX_E_CANNOT_CONNECT_TO_HOST ||
           code == VIX_E_HOST_TCP_SOCKET_ERROR || (at.w->kinds == FAULTY_MEMORY && is_want_of_memory(code));
}

static bool is_handshake_to_be_told(VixError code)
{
    return code != VIX_E_HOST_NETBLKDEV_HANDSHAKE || at.w->kinds == FAULTY_MEMORY ||
           (at.w->errnum == ETIMEDOUT && VixDiskLibExt_LastErrorIsRetryable());
}

static void expect_that(bool good, VixError code, const char *what)
{
    if (!good) {
        print_error("%s by %s, call %u of %u fails with %s: %s: code %llu (%s)\n", at.s->name, transport, at.nth,
                    at.calls, at.w->name, what, (unsigned long long)VIX_ERROR_CODE(code),
                    VixDiskLibExt_LastErrorDetail());
        fail();
    }
}

/* The call under test, with its nth failure of a kind; 0: none. *ret_hit: there were so many. */
static VixError run_with_failure(uint64_t nth, bool *ret_hit)
{
    double began = now();
    faulty_set(at.w->kinds, nth, at.w->errnum, false);
    VixError code = at.s->run();
    at.calls = (unsigned)faulty_end();
    double took = now() - began;

    *ret_hit = faulty_hit();
    tally.runs += *ret_hit;
    tally.failed += *ret_hit && code != VIX_OK;
    tally.longest = took > tally.longest ? took : tally.longest;
    expect_that(took < LIMIT_S, code, "it takes too long");
    expect_that(code == VIX_OK || (*ret_hit && !at.w->harmless && is_known(code)), code, "not what it is to say");
    expect_that(at.s->flags != 0 || is_handshake_to_be_told(code), code, "it is not tried again");
    return code;
}

/* Whether there were so many calls. */
static bool try_one(const struct subject *s, const struct way *w, uint64_t nth)
{
    bool hit;

    at.s = s;
    at.w = w;
    at.nth = (unsigned)nth;
    if ((s->flags & OPEN) != 0) {
        h = open_again(conn, disk, (s->flags & WRITES) != 0 ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    }
    if (s->run == do_close) { /* there is something to end */
        assert_code(VixDiskLib_Write(h, 3, 1, after + (size_t)3 * 512), VIX_OK);
    }
    bool done = run_with_failure(nth, &hit) == VIX_OK;
    if (!done && s->run == do_read) { /* the same handle: it connects again, or says that it is lost */
        VixError again = s->run();
        expect_that(again == VIX_OK || is_known(again), again, "a second time");
    }
    if (h != NULL) {
        VixError closed = VixDiskLib_Close(h);
        expect_that(closed == VIX_OK || (hit && !w->harmless && is_known(closed)), closed, "then Close");
        done = done && closed == VIX_OK;
        h = NULL;
    }
    if ((s->flags & WRITES) != 0 && s->run != do_metadata) {
        expect_that(is_old_or_new(done && s->run != do_close), VIX_OK, "the disk holds something else");
        restore();
    }
    return hit;
}

/* The same, which must leave no memory. What a library keeps for its next call it keeps once. */
static bool try_one_without_a_leak(const struct subject *s, const struct way *w, uint64_t nth)
{
    int64_t more = 0;
    bool hit = false;

    for (unsigned i = 0; i == 0 || (w->kinds == FAULTY_MEMORY && more > 0 && i < 4); i++) {
        int64_t pieces = faulty_pieces();
        hit = try_one(s, w, nth);
        more = faulty_pieces() - pieces;
    }
    expect_that(w->kinds != FAULTY_MEMORY || more <= 0, VIX_OK, "memory is left each time");
    return hit;
}

static void try_all(const struct subject *s, const struct way *w)
{
    uint64_t some = w->kinds == FAULTY_MEMORY ? SOME_MEMORY : SOME;

    assert_false(try_one(s, w, 0));
    uint64_t calls = at.calls;
    if (every) {
        for (uint64_t nth = 1; try_one_without_a_leak(s, w, nth); nth += nth < MANY ? 1 : MANY_STEP) {
            assert_true(nth < STEPS);
        }
        return;
    }
    for (uint64_t i = 0; i < some && calls > 0; i++) {
        uint64_t nth = 1 + i * (calls - 1) / (some - 1);
        (void)try_one_without_a_leak(s, w, nth);
    }
}

static void every_call_survives_the_network(void **state)
{
    static const char *const transports[] = {"nbdssl", "nbd"};

    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
            for (size_t t = 0; t < 2; t++) {
                bool memory = ways[k].kinds == FAULTY_MEMORY;
                /* each way, and each transport, at half of the calls */
                if (memory ? !faulty_has_memory() || (!every && t != i % 2) : !every && (i + k) % 4 != 2 * t) {
                    continue;
                }
                transport = transports[t];
                unsigned files = open_files();
                assert_code(host_connect(transport, &conn), VIX_OK);
                try_all(&subjects[i], &ways[k]);
                assert_code(VixDiskLib_Disconnect(conn), VIX_OK);
                assert_int_equal(open_files(), files);
            }
        }
    }
    print_message("%u calls with a failure in them, %u ended with a code, the longest took %.2f s\n", tally.runs,
                  tally.failed, tally.longest);
}

static int setup(void **state)
{
    VixDiskLibConnection local;
    VixDiskLibHandle l;

    if (host_setup(state) != 0) {
        return -1;
    }
    const char *asked = getenv("VIXDISK_FAULTS");
    every = asked != NULL && strcmp(asked, "all") == 0;
    fill(before, BYTES, 1);
    fill(after, BYTES, 2);
    local = local_connection();
    make_disk(local, host_file(file), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    l = open_disk(local, host_file(file), 0);
    assert_code(VixDiskLib_Write(l, 0, SECTORS, before), VIX_OK);
    assert_code(VixDiskLib_Disconnect(local), VIX_OK);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_survives_the_network)};

    if (argc < 2) {
        (void)fprintf(stderr, "api_net_faults VIXDISKD\n");
        return 2;
    }
    host_program = argv[1];
    return cmocka_run_group_tests_name("failures of the network", tests, setup, host_teardown);
}

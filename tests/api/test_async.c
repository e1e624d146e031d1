/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests in the background and calls from many threads. Also run under the thread sanitizer. */
#include "env.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#define CAPACITY (16 * MIB_SECTORS)
#define GRAIN 128
#define REQUESTS 600

static VixDiskLibConnection conn;

struct counter {
    atomic_uint ended;
    atomic_uint failed;
};

static void count_end(void *data, VixError result)
{
    struct counter *c = data;

    if (result != VIX_OK) {
        atomic_fetch_add(&c->failed, 1);
    }
    atomic_fetch_add(&c->ended, 1);
}

static void every_request_ends_once(void **state)
{
    struct counter c = {0};
    uint8 *data = malloc((size_t)REQUESTS * 512);
    uint8 *buf = calloc(REQUESTS, 512);

    (void)state;
    fill(data, (size_t)REQUESTS * 512, 5);
    make_disk(conn, in_folder("async.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    VixDiskLibHandle h = open_disk(conn, in_folder("async.vmdk"), 0);
    for (uint64 i = 0; i < REQUESTS; i++) {
        assert_code(VixDiskLib_WriteAsync(h, i * 40, 1, data + i * 512, count_end, &c), VIX_ASYNC);
    }
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), REQUESTS);
    assert_code(VixDiskLib_Flush(h), VIX_OK);
    for (uint64 i = 0; i < REQUESTS; i++) {
        assert_code(VixDiskLib_ReadAsync(h, i * 40, 1, buf + i * 512, count_end, &c), VIX_ASYNC);
    }
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK); /* mixing is allowed */
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), 2 * REQUESTS);
    assert_int_equal(atomic_load(&c.failed), 0);
    assert_memory_equal(buf, data, (size_t)REQUESTS * 512);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    free(data);
    free(buf);
}

static void what_is_not_accepted_has_no_callback(void **state)
{
    struct counter c = {0};
    uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("refused.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    VixDiskLibHandle h = open_disk(conn, in_folder("refused.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_ReadAsync(h, CAPACITY, 1, buf, count_end, &c), VIX_E_DISK_OUTOFRANGE);
    assert_code(VixDiskLib_ReadAsync(h, 0, 1, NULL, count_end, &c), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_WriteAsync(h, 0, 1, buf, count_end, &c), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), 0);
    assert_code(VixDiskLib_ReadAsync(h, 0, 1, buf, NULL, NULL), VIX_ASYNC);
    assert_code(VixDiskLib_ReadAsync(h, 0, 0, NULL, count_end, &c), VIX_ASYNC);
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), 1);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

#if defined(__x86_64__) || defined(__aarch64__)
static void old_style_end(void *data, uint64 sector, VixError result)
{
    (void)sector;
    count_end(data, result);
}

static void callbacks_of_the_60_interface_get_their_result(void **state)
{
    struct counter c = {0};
    uint8 buf[512];

    (void)state;
    VixDiskLibHandle h = open_disk(conn, in_folder("refused.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibCompletionCB old = (VixDiskLibCompletionCB)(void *)old_style_end;
    assert_code(VixDiskLib_ReadAsync(h, 0, 1, buf, old, &c), VIX_ASYNC);
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), 1);
    assert_int_equal(atomic_load(&c.failed), 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}
#endif

static void a_failed_request_tells_code_and_sentence(void **state)
{
    struct counter c = {0};
    uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("cut.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, CAPACITY);
    VixDiskLibHandle h = open_disk(conn, in_folder("cut.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_int_equal(truncate(in_folder("cut-flat.vmdk"), 512), 0);
    forget_messages();
    assert_code(VixDiskLib_ReadAsync(h, 9, 1, buf, count_end, &c), VIX_ASYNC);
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.failed), 1);
    assert_int_equal(warn_count(), 1);
    assert_true(warn_has("VixDiskLib_ReadAsync: "));
    assert_true(warn_has("cut-flat.vmdk"));
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/** What a callback does with the library while it runs. */
struct inside {
    VixDiskLibHandle own;
    VixDiskLibHandle other;
    VixDiskLibConnection conn;
    VixError read, close_own, wait_own, disconnect, close_other;
    uint8 buf[512];
    sem_t done;
};

static void call_back_in(void *data, VixError result)
{
    struct inside *in = data;

    in->read = result == VIX_OK ? VixDiskLib_Read(in->own, 0, 1, in->buf) : result;
    in->close_own = VixDiskLib_Close(in->own);
    in->wait_own = VixDiskLib_Wait(in->own);
    in->disconnect = VixDiskLib_Disconnect(in->conn);
    VixDiskLib_Exit();
    in->close_other = VixDiskLib_Close(in->other);
    (void)sem_post(&in->done);
}

static void callbacks_may_call_the_library(void **state)
{
    static struct inside in;
    static uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("inside.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    make_disk(conn, in_folder("other.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    in.conn = local_connection();
    in.own = open_disk(in.conn, in_folder("inside.vmdk"), 0);
    in.other = open_disk(in.conn, in_folder("other.vmdk"), 0);
    assert_int_equal(sem_init(&in.done, 0, 0), 0);
    assert_code(VixDiskLib_ReadAsync(in.own, 0, 1, buf, call_back_in, &in), VIX_ASYNC);
    assert_int_equal(sem_wait(&in.done), 0);
    assert_code(in.read, VIX_OK);
    assert_code(in.close_own, VIX_E_OBJECT_IS_BUSY);
    assert_code(in.wait_own, VIX_E_OBJECT_IS_BUSY);
    assert_code(in.disconnect, VIX_E_OBJECT_IS_BUSY);
    assert_code(in.close_other, VIX_OK);
    assert_code(VixDiskLib_Read(in.own, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Close(in.own), VIX_OK);
    assert_code(VixDiskLib_Disconnect(in.conn), VIX_OK);
    (void)sem_destroy(&in.done);
}

/** A disk that a call has for itself, and a request of another one whose callback wants to close it. */
struct besides {
    VixDiskLibConnection conn;
    VixDiskLibHandle alone, other;
    VixError read, close, disconnect;
    uint8 buf[512];
    bool started;
    sem_t done;
};

static void close_besides(void *data, VixError result)
{
    struct besides *b = data;

    b->read = result;
    b->close = VixDiskLib_Close(b->alone);
    b->disconnect = VixDiskLib_Disconnect(b->conn);
    (void)sem_post(&b->done);
}

static Bool read_other(void *data, int percent)
{
    struct besides *b = data;

    (void)percent;
    if (!b->started) {
        b->started = VixDiskLib_ReadAsync(b->other, 0, 1, b->buf, close_besides, b) == VIX_ASYNC;
        (void)sem_wait(&b->done);
    }
    return TRUE;
}

static void a_callback_does_not_wait_for_who_has_a_disk_alone(void **state)
{
    static struct besides b;
    static const uint8 zeros[128 * 512];

    (void)state;
    make_disk(conn, in_folder("alone.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    make_disk(conn, in_folder("besides.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY);
    b.conn = local_connection();
    b.alone = open_disk(b.conn, in_folder("alone.vmdk"), 0);
    b.other = open_disk(conn, in_folder("besides.vmdk"), 0);
    assert_int_equal(sem_init(&b.done, 0, 0), 0);
    assert_code(VixDiskLib_Write(b.alone, 0, 128, zeros), VIX_OK);
    assert_code(VixDiskLib_Shrink(b.alone, read_other, &b), VIX_OK);
    assert_true(b.started);
    assert_code(b.read, VIX_OK);
    assert_code(b.close, VIX_E_OBJECT_IS_BUSY);
    assert_code(b.disconnect, VIX_E_OBJECT_IS_BUSY);
    assert_code(VixDiskLib_Write(b.alone, 0, 1, zeros), VIX_OK);
    assert_code(VixDiskLib_Disconnect(b.conn), VIX_OK);
    assert_code(VixDiskLib_Close(b.other), VIX_OK);
    (void)sem_destroy(&b.done);
}

/** A chain of requests, each started by the callback of the one before. */
struct relay {
    VixDiskLibHandle h;
    uint64 next;
    atomic_uint failed;
    atomic_bool ended;
    uint8 buf[512];
};

static void pass_on(void *data, VixError result)
{
    struct relay *r = data;

    if (result != VIX_OK) {
        atomic_fetch_add(&r->failed, 1);
    }
    if (++r->next == 2000) {
        atomic_store(&r->ended, true);
    } else if (VixDiskLib_ReadAsync(r->h, r->next, 1, r->buf, pass_on, r) != VIX_ASYNC) {
        atomic_fetch_add(&r->failed, 1);
        atomic_store(&r->ended, true);
    }
}

static void a_callback_may_start_the_next_request(void **state)
{
    static struct relay r;

    (void)state;
    r.h = open_disk(conn, in_folder("inside.vmdk"), 0);
    assert_code(VixDiskLib_ReadAsync(r.h, 0, 1, r.buf, pass_on, &r), VIX_ASYNC);
    while (!atomic_load(&r.ended)) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&r.failed), 0);
    assert_code(VixDiskLib_Close(r.h), VIX_OK);
}

static void close_waits_for_requests(void **state)
{
    static uint8 data[64][GRAIN * 512];
    uint8 buf[512];
    struct counter c = {0};

    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        atomic_store(&c.ended, 0);
        VixDiskLibHandle h = open_disk(conn, in_folder("async.vmdk"), 0);
        for (unsigned i = 0; i < 64; i++) {
            fill(data[i], sizeof data[i], round * 64 + i);
            assert_code(VixDiskLib_WriteAsync(h, (uint64)i * GRAIN, GRAIN, data[i], count_end, &c), VIX_ASYNC);
        }
        if (round % 2 == 0) {
            assert_code(VixDiskLib_Close(h), VIX_OK);
        } else {
            VixDiskLib_Exit();
            start_library();
            conn = local_connection();
        }
        assert_int_equal(atomic_load(&c.ended), 64);
        h = open_disk(conn, in_folder("async.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        for (unsigned i = 0; i < 64; i++) {
            assert_code(VixDiskLib_Read(h, (uint64)i * GRAIN + 7, 1, buf), VIX_OK);
            assert_memory_equal(buf, data[i] + 7 * 512, 512);
        }
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
    assert_int_equal(atomic_load(&c.failed), 0);
}

static void a_stream_takes_requests_in_order(void **state)
{
    static uint8 data[32][GRAIN * 512];
    uint8 buf[512];
    struct counter c = {0};

    (void)state;
    make_disk(conn, in_folder("stream.vmdk"), VIXDISKLIB_DISK_STREAM_OPTIMIZED, CAPACITY);
    VixDiskLibHandle h = open_disk(conn, in_folder("stream.vmdk"), 0);
    for (unsigned i = 0; i < 32; i++) {
        fill(data[i], sizeof data[i], 900 + i);
        assert_code(VixDiskLib_WriteAsync(h, (uint64)i * GRAIN, GRAIN, data[i], count_end, &c), VIX_ASYNC);
    }
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.ended), 32);
    assert_int_equal(atomic_load(&c.failed), 0);
    assert_code(VixDiskLib_WriteAsync(h, 0, GRAIN, data[1], count_end, &c), VIX_ASYNC);
    assert_code(VixDiskLib_Wait(h), VIX_OK);
    assert_int_equal(atomic_load(&c.failed), 1);
    (void)VixDiskLib_Close(h);
    h = open_disk(conn, in_folder("stream.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    for (unsigned i = 0; i < 32; i++) {
        assert_code(VixDiskLib_Read(h, (uint64)i * GRAIN + 1, 1, buf), VIX_OK);
        assert_memory_equal(buf, data[i] + 512, 512);
    }
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/* ---- many threads ---- */

struct reader {
    pthread_t thread;
    VixDiskLibHandle h;
    unsigned seed;
    unsigned wrong;
};

/** Every sector of the disk begins with its own number. */
static void *read_at_random(void *arg)
{
    struct reader *r = arg;
    uint8 buf[GRAIN * 512];

    for (unsigned i = 0; i < 300; i++) {
        uint64 n = (unsigned)rand_r(&r->seed) % GRAIN + 1;
        uint64 sector = (unsigned)rand_r(&r->seed) % (4 * MIB_SECTORS - n);
        uint64 first = 0;
        r->wrong += VixDiskLib_Read(r->h, sector, n, buf) != VIX_OK;
        memcpy(&first, buf + (n - 1) * 512, sizeof first);
        r->wrong += first != sector + n - 1;
    }
    return NULL;
}

static void number_sectors(VixDiskLibHandle h)
{
    uint8 buf[GRAIN * 512] = {0};

    for (uint64 s = 0; s < 4 * MIB_SECTORS; s += GRAIN) {
        for (uint64 i = 0; i < GRAIN; i++) {
            uint64 number = s + i;
            memcpy(buf + i * 512, &number, sizeof number);
        }
        assert_code(VixDiskLib_Write(h, s, GRAIN, buf), VIX_OK);
    }
}

static void one_handle_serves_many_threads(void **state)
{
    struct reader readers[4];

    (void)state;
    for (size_t t = 0; t < writable_type_count; t++) {
        make_disk(conn, in_folder("shared.vmdk"), writable_types[t], 4 * MIB_SECTORS);
        VixDiskLibHandle h = open_disk(conn, in_folder("shared.vmdk"), 0);
        number_sectors(h);
        for (unsigned i = 0; i < 4; i++) {
            readers[i] = (struct reader){.h = h, .seed = i + 1};
            assert_int_equal(pthread_create(&readers[i].thread, NULL, read_at_random, &readers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
            assert_int_equal(readers[i].wrong, 0);
        }
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("shared.vmdk")), VIX_OK);
    }
}

struct writer {
    pthread_t thread;
    VixDiskLibHandle h;
    uint64 first; /* this one and every fourth sector is the thread's */
    unsigned wrong;
};

static void *write_own_sectors(void *arg)
{
    struct writer *w = arg;
    uint8 buf[512];
    uint8 back[512];

    for (uint64 s = w->first; s < 2048; s += 4) {
        fill(buf, sizeof buf, (unsigned)s);
        w->wrong += VixDiskLib_Write(w->h, s, 1, buf) != VIX_OK;
        w->wrong += VixDiskLib_Read(w->h, s, 1, back) != VIX_OK || memcmp(buf, back, 512) != 0;
    }
    return NULL;
}

static void threads_write_into_the_same_grains(void **state)
{
    struct writer writers[4];
    uint8 buf[512];
    uint8 expected[512];

    (void)state;
    for (size_t t = 0; t < writable_type_count; t++) {
        make_disk(conn, in_folder("grains.vmdk"), writable_types[t], MIB_SECTORS);
        VixDiskLibHandle h = open_disk(conn, in_folder("grains.vmdk"), 0);
        for (unsigned i = 0; i < 4; i++) {
            writers[i] = (struct writer){.h = h, .first = i};
            assert_int_equal(pthread_create(&writers[i].thread, NULL, write_own_sectors, &writers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
            assert_int_equal(writers[i].wrong, 0);
        }
        assert_code(VixDiskLib_Close(h), VIX_OK);
        h = open_disk(conn, in_folder("grains.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        for (uint64 s = 0; s < 2048; s++) {
            fill(expected, sizeof expected, (unsigned)s);
            assert_code(VixDiskLib_Read(h, s, 1, buf), VIX_OK);
            assert_memory_equal(buf, expected, 512);
        }
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("grains.vmdk")), VIX_OK);
    }
}

struct opener {
    pthread_t thread;
    char path[300];
    unsigned wrong;
};

struct shared_handle {
    VixDiskLibHandle h;
    atomic_uint closed, stale, wrong;
};

static void *use_then_close(void *arg)
{
    struct shared_handle *s = arg;
    uint8 buf[512];

    for (unsigned i = 0; i < 50; i++) {
        VixError code = VixDiskLib_Read(s->h, i, 1, buf);
        if (code != VIX_OK && code != VIX_E_INVALID_HANDLE) {
            atomic_fetch_add(&s->wrong, 1);
        }
    }
    VixError code = VixDiskLib_Close(s->h);
    atomic_fetch_add(code == VIX_OK ? &s->closed : code == VIX_E_INVALID_HANDLE ? &s->stale : &s->wrong, 1);
    return NULL;
}

static void of_many_closers_one_closes(void **state)
{
    pthread_t threads[4];

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct shared_handle s = {.h = open_disk(conn, in_folder("inside.vmdk"), 0)};
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, use_then_close, &s), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(atomic_load(&s.closed), 1);
        assert_int_equal(atomic_load(&s.stale), 3);
        assert_int_equal(atomic_load(&s.wrong), 0);
    }
}

static void *open_and_close(void *arg)
{
    struct opener *o = arg;
    VixDiskLibConnection c = NULL;
    VixDiskLibHandle h = NULL;
    uint8 buf[512];

    for (unsigned i = 0; i < 60; i++) {
        o->wrong += VixDiskLib_Connect(NULL, &c) != VIX_OK;
        o->wrong += VixDiskLib_Open(c, o->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h) != VIX_OK;
        o->wrong += VixDiskLib_Read(h, i, 1, buf) != VIX_OK;
        o->wrong += i % 2 == 0 ? VixDiskLib_Close(h) != VIX_OK : 0;
        o->wrong += VixDiskLib_Disconnect(c) != VIX_OK;
    }
    return NULL;
}

static void disks_are_opened_from_many_threads(void **state)
{
    struct opener openers[4] = {0};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(openers[i].path, sizeof openers[i].path, "%s", in_folder("inside.vmdk"));
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_and_close, &openers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(openers[i].thread, NULL), 0);
        assert_int_equal(openers[i].wrong, 0);
    }
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    conn = local_connection();
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_once),
        cmocka_unit_test(what_is_not_accepted_has_no_callback),
#if defined(__x86_64__) || defined(__aarch64__)
        cmocka_unit_test(callbacks_of_the_60_interface_get_their_result),
#endif
        cmocka_unit_test(a_failed_request_tells_code_and_sentence),
        cmocka_unit_test(callbacks_may_call_the_library),
        cmocka_unit_test(a_callback_does_not_wait_for_who_has_a_disk_alone),
        cmocka_unit_test(a_callback_may_start_the_next_request),
        cmocka_unit_test(close_waits_for_requests),
        cmocka_unit_test(a_stream_takes_requests_in_order),
        cmocka_unit_test(one_handle_serves_many_threads),
        cmocka_unit_test(threads_write_into_the_same_grains),
        cmocka_unit_test(of_many_closers_one_closes),
        cmocka_unit_test(disks_are_opened_from_many_threads),
    };
    return cmocka_run_group_tests_name("async", tests, setup, env_done);
}

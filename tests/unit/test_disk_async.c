/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests in the background, over a disk of this test that can be slow, fail, or insist on order. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "work/work.h"

static struct err err;

struct fake {
    struct disk base;
    _Atomic uint64_t requests;
    _Atomic uint64_t last_write; /* sector */
    atomic_bool out_of_order;
    atomic_bool hold; /* reads wait while it is set */
    VixError result;
    bool fills; /* reads give bytes; else the requests may share a buffer */
};

static void nap(void)
{
    static const struct timespec ms = {0, 1000000};
    (void)nanosleep(&ms, NULL);
}

static VixError fake_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *e)
{
    struct fake *f = (struct fake *)d;

    while (atomic_load(&f->hold)) {
        nap();
    }
    if (f->fills) {
        memset(buf, (int)(sector & 0xFF), nsectors * 512);
    }
    atomic_fetch_add(&f->requests, 1);
    return f->result != VIX_OK ? err_set(e, f->result, "sector %d is broken", (int)sector) : VIX_OK;
}

static VixError fake_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *e)
{
    struct fake *f = (struct fake *)d;

    (void)nsectors, (void)buf;
    if (atomic_exchange(&f->last_write, sector) >= sector && sector > 0) {
        atomic_store(&f->out_of_order, true);
    }
    atomic_fetch_add(&f->requests, 1);
    return f->result != VIX_OK ? err_set(e, f->result, "sector %d is broken", (int)sector) : VIX_OK;
}

static VixError fake_close(struct disk *d, struct err *e)
{
    (void)e;
    free(d->path);
    d->path = NULL;
    return VIX_OK;
}

static const struct disk_ops fake_ops = {
    .transport = "fake", .read = fake_read, .write = fake_write, .close = fake_close};

static void open_fake(struct fake *f)
{
    memset(f, 0, sizeof *f);
    f->base.ops = &fake_ops;
    f->base.path = strdup("fake");
    f->base.capacity = 1 << 24;
    f->base.writable = true;
}

static void count_done(void *data, VixError result, const struct err *e)
{
    (void)e;
    if (result == VIX_OK) {
        atomic_fetch_add((_Atomic unsigned *)data, 1);
    }
}

static void every_request_ends_once(void **state)
{
    enum { REQUESTS = 2000 };
    static uint8_t bufs[REQUESTS][512];
    struct fake f;
    _Atomic unsigned done = 0;

    (void)state;
    open_fake(&f);
    f.fills = true;
    for (unsigned i = 0; i < REQUESTS; i++) {
        assert_int_equal(disk_read_async(&f.base, i, 1, bufs[i], count_done, &done, &err), VIX_OK);
    }
    assert_int_equal(disk_wait(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&done), REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++) {
        assert_int_equal(bufs[i][511], i & 0xFF);
    }
    assert_int_equal(disk_read_async(&f.base, 0, 0, NULL, count_done, &done, &err), VIX_OK);
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&done), REQUESTS + 1);
}

static void bad_requests_are_refused_at_once(void **state)
{
    uint8_t buf[512];
    struct fake f;
    _Atomic unsigned done = 0;

    (void)state;
    open_fake(&f);
    assert_int_equal(disk_read_async(&f.base, 1 << 24, 1, buf, count_done, &done, &err), VIX_E_DISK_OUTOFRANGE);
    f.base.writable = false;
    assert_int_equal(disk_write_async(&f.base, 0, 1, buf, count_done, &done, &err), VIX_E_FILE_READ_ONLY);
    assert_int_equal(disk_wait(&f.base, &err), VIX_OK);
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&done), 0);
}

static void tell_failure(void *data, VixError result, const struct err *e)
{
    assert_int_equal(e->code, result);
    strcpy(data, e->text);
}

static void failures_come_with_their_reason(void **state)
{
    uint8_t buf[512];
    char text[ERR_TEXT_MAX] = "";
    struct fake f;

    (void)state;
    open_fake(&f);
    f.result = VIX_E_FILE_ERROR;
    assert_int_equal(disk_read_async(&f.base, 7, 1, buf, tell_failure, text, &err), VIX_OK);
    assert_int_equal(disk_wait(&f.base, &err), VIX_OK);
    assert_string_equal(text, "sector 7 is broken");
    f.base.ordered = true;
    assert_int_equal(disk_write_async(&f.base, 8, 1, buf, tell_failure, text, &err), VIX_OK);
    assert_string_equal(text, "sector 8 is broken");
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
}

/* ---- bounds ---- */

struct flood {
    struct fake *f;
    _Atomic unsigned accepted;
    _Atomic unsigned done;
};

static void *flood(void *arg)
{
    static uint8_t buf[512];
    struct flood *fl = arg;

    for (unsigned i = 0; i < DISK_ASYNC_MAX_IN_FLIGHT + 50; i++) {
        if (disk_read_async(&fl->f->base, 0, 1, buf, count_done, &fl->done, NULL) == VIX_OK) {
            atomic_fetch_add(&fl->accepted, 1);
        }
    }
    return NULL;
}

static void in_flight_is_bounded(void **state)
{
    struct fake f;
    struct flood fl = {.f = &f};
    pthread_t thread;

    (void)state;
    open_fake(&f);
    atomic_store(&f.hold, true);
    assert_int_equal(pthread_create(&thread, NULL, flood, &fl), 0);
    while (atomic_load(&fl.accepted) < DISK_ASYNC_MAX_IN_FLIGHT) {
        nap();
    }
    for (unsigned i = 0; i < 30; i++) {
        nap();
    }
    assert_int_equal(atomic_load(&fl.accepted), DISK_ASYNC_MAX_IN_FLIGHT);
    assert_int_equal(atomic_load(&fl.done), 0);
    atomic_store(&f.hold, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&fl.done), DISK_ASYNC_MAX_IN_FLIGHT + 50);
}

static void *close_it(void *arg)
{
    assert_int_equal(disk_close(arg, NULL), VIX_OK);
    return NULL;
}

static void close_waits(void **state)
{
    static uint8_t buf[64][512];
    struct fake f;
    _Atomic unsigned done = 0;
    pthread_t thread;

    (void)state;
    open_fake(&f);
    atomic_store(&f.hold, true);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(disk_read_async(&f.base, 0, 1, buf[i], count_done, &done, &err), VIX_OK);
    }
    assert_int_equal(pthread_create(&thread, NULL, close_it, &f.base), 0);
    nap();
    assert_int_equal(atomic_load(&done), 0);
    atomic_store(&f.hold, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&done), 64);
}

/* ---- callbacks that go on ---- */

struct chain_of_requests {
    struct fake *f;
    _Atomic unsigned left;
    _Atomic unsigned nested;
    atomic_bool was_nested;
    uint8_t buf[512];
    bool write;
};

static _Thread_local unsigned depth;

static void go_on(void *data, VixError result, const struct err *e)
{
    struct chain_of_requests *c = data;

    (void)e;
    assert_int_equal(result, VIX_OK);
    if (depth > 0) {
        atomic_store(&c->was_nested, true);
    }
    depth++;
    unsigned left = atomic_fetch_sub(&c->left, 1) - 1;
    if (left > 0) {
        VixError code = c->write ? disk_write_async(&c->f->base, (1 << 23) - left, 1, c->buf, go_on, c, NULL)
                                 : disk_read_async(&c->f->base, left, 1, c->buf, go_on, c, NULL);
        assert_int_equal(code, VIX_OK);
    }
    depth--;
}

static void run_chain(bool ordered)
{
    struct fake f;
    struct chain_of_requests c = {.f = &f, .write = ordered};

    open_fake(&f);
    f.base.ordered = ordered;
    atomic_store(&c.left, 20000);
    if (ordered) {
        assert_int_equal(disk_write_async(&f.base, 0, 1, c.buf, go_on, &c, &err), VIX_OK);
    } else {
        assert_int_equal(disk_read_async(&f.base, 0, 1, c.buf, go_on, &c, &err), VIX_OK);
    }
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&c.left), 0);
    assert_int_equal(atomic_load(&f.requests), 20000);
    assert_false(atomic_load(&c.was_nested));
    assert_false(atomic_load(&f.out_of_order));
}

static void callbacks_start_the_next(void **state)
{
    (void)state;
    run_chain(false);
}

static void ordered_writes_stay_in_order(void **state)
{
    (void)state;
    run_chain(true);
}

struct spread {
    struct fake *f;
    _Atomic unsigned done;
    uint8_t buf[512];
};

static void start_many(void *data, VixError result, const struct err *e)
{
    struct spread *s = data;

    (void)result, (void)e;
    for (unsigned i = 0; i < 2 * DISK_ASYNC_MAX_IN_FLIGHT; i++) {
        (void)disk_read_async(&s->f->base, i, 1, s->buf, count_done, &s->done, NULL);
    }
}

static void callbacks_never_wait_for_themselves(void **state)
{
    struct fake f;
    struct spread s = {.f = &f};

    (void)state;
    open_fake(&f);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(disk_read_async(&f.base, 0, 1, s.buf, start_many, &s, &err), VIX_OK);
    }
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&s.done), 16 * DISK_ASYNC_MAX_IN_FLIGHT);
}

struct waiter {
    struct fake *own;
    struct fake *other;
    VixError own_wait, other_wait, own_close;
    bool inside, outside;
};

static void try_to_wait(void *data, VixError result, const struct err *e)
{
    struct waiter *w = data;

    (void)result, (void)e;
    w->own_wait = disk_wait(&w->own->base, NULL);
    w->own_close = disk_close(&w->own->base, NULL);
    w->other_wait = disk_wait(&w->other->base, NULL);
    w->inside = disk_in_callback(&w->own->base);
    w->outside = disk_in_callback(&w->other->base);
}

static void callbacks_cannot_wait(void **state)
{
    static uint8_t buf[512];
    static uint8_t other_buf[512];
    struct fake f;
    struct fake other;
    _Atomic unsigned done = 0;
    struct waiter w = {.own = &f, .other = &other};

    (void)state;
    open_fake(&f);
    open_fake(&other);
    f.base.ordered = true; /* the callback runs in this thread */
    atomic_store(&other.hold, true);
    assert_int_equal(disk_read_async(&other.base, 0, 1, other_buf, count_done, &done, &err), VIX_OK);
    assert_int_equal(disk_write_async(&f.base, 0, 1, buf, try_to_wait, &w, &err), VIX_OK);
    atomic_store(&other.hold, false);
    assert_int_equal(w.own_wait, VIX_E_OBJECT_IS_BUSY);
    assert_int_equal(w.own_close, VIX_E_OBJECT_IS_BUSY);
    assert_int_equal(w.other_wait, VIX_E_OBJECT_IS_BUSY);
    assert_true(w.inside);
    assert_false(w.outside);
    assert_false(disk_in_callback(&f.base));
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    assert_int_equal(disk_close(&other.base, &err), VIX_OK);
    assert_int_equal(atomic_load(&done), 1);
}

static void many_threads(void **state)
{
    struct fake f;
    struct flood floods[4];
    pthread_t threads[4];

    (void)state;
    open_fake(&f);
    for (unsigned i = 0; i < 4; i++) {
        floods[i] = (struct flood){.f = &f};
        assert_int_equal(pthread_create(&threads[i], NULL, flood, &floods[i]), 0);
    }
    assert_int_equal(disk_wait(&f.base, &err), VIX_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(disk_close(&f.base, &err), VIX_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(atomic_load(&floods[i].done), DISK_ASYNC_MAX_IN_FLIGHT + 50);
    }
}

static void pool_can_be_ended_and_made_again(void **state)
{
    (void)state;
    disk_async_shutdown();
    every_request_ends_once(state);
    disk_async_shutdown();
    disk_async_shutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_once),
        cmocka_unit_test(bad_requests_are_refused_at_once),
        cmocka_unit_test(failures_come_with_their_reason),
        cmocka_unit_test(in_flight_is_bounded),
        cmocka_unit_test(close_waits),
        cmocka_unit_test(callbacks_start_the_next),
        cmocka_unit_test(ordered_writes_stay_in_order),
        cmocka_unit_test(callbacks_never_wait_for_themselves),
        cmocka_unit_test(callbacks_cannot_wait),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(pool_can_be_ended_and_made_again),
    };
    return cmocka_run_group_tests_name("disk_async", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the process is at while it is recorded: stages, threads, slowest requests. Times are those of sleeps, so only
 * lower bounds and order are asserted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "base/activity.h"

#define MS UINT64_C(1000000)
#define ENTRIES 20000u /* of each thread: some of them meet between the look at the clock and the lock */

static void sleep_ms(unsigned ms)
{
    const struct timespec pause = {.tv_nsec = (long)(ms * MS)};
    nanosleep(&pause, NULL);
}

static void nothing_is_recorded_unless_asked_for(void **state)
{
    (void)state;
    struct activity a;
    struct activity_mark mark = activity_enter(ACTIVITY_READ);
    activity_request(&mark, false, 0, 8);
    activity_leave(&mark);
    activity_bytes(1, 2);
    activity_retry();
    activity_get(&a);
    assert_int_equal(a.elapsed_ns, 0);
    assert_int_equal(a.busy_ns[ACTIVITY_READ], 0);
    assert_int_equal(a.bytes_read + a.bytes_written + a.retries + a.slowest_count, 0);
}

static void the_innermost_stage_counts(void **state)
{
    (void)state;
    struct activity a;
    activity_start();
    struct activity_mark read = activity_enter(ACTIVITY_READ);
    sleep_ms(20);
    struct activity_mark codec = activity_enter(ACTIVITY_CODEC);
    sleep_ms(30);
    struct activity_mark waiting = activity_enter(ACTIVITY_WAITING);
    sleep_ms(40);
    activity_leave(&waiting);
    activity_leave(&codec);
    activity_get(&a); /* still reading */
    assert_true(a.busy_ns[ACTIVITY_READ] >= 20 * MS);
    activity_leave(&read);
    activity_stop();
    activity_get(&a);
    assert_true(a.elapsed_ns >= 90 * MS);
    assert_true(a.busy_ns[ACTIVITY_READ] >= 20 * MS && a.busy_ns[ACTIVITY_CODEC] >= 30 * MS);
    assert_true(a.busy_ns[ACTIVITY_READ] + a.busy_ns[ACTIVITY_CODEC] <= a.elapsed_ns - 40 * MS);
    assert_int_equal(a.busy_ns[ACTIVITY_WRITE] + a.busy_ns[ACTIVITY_NETWORK], 0);
    struct activity later;
    sleep_ms(2);
    activity_get(&later);
    assert_int_equal(later.elapsed_ns, a.elapsed_ns);
}

static void *write_a_while(void *data)
{
    (void)data;
    struct activity_mark mark = activity_enter(ACTIVITY_WRITE);
    sleep_ms(40);
    activity_leave(&mark);
    for (unsigned i = 0; i < ENTRIES; i++) {
        struct activity_mark again = activity_enter(ACTIVITY_WRITE);
        activity_bytes(1, 2);
        activity_leave(&again);
    }
    return NULL;
}

static void threads_at_the_same_stage_count_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct activity a;
    activity_start();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_a_while, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    activity_stop();
    activity_get(&a);
    assert_true(a.busy_ns[ACTIVITY_WRITE] >= 40 * MS);
    assert_true(a.busy_ns[ACTIVITY_WRITE] <= a.elapsed_ns);
    assert_int_equal(a.bytes_read, 4 * ENTRIES);
    assert_int_equal(a.bytes_written, 8 * ENTRIES);
}

static void *end_it(void *mark)
{
    activity_request(mark, false, 8, 16);
    activity_end(mark);
    return NULL;
}

static void a_request_on_its_way_is_busy_without_a_thread(void **state)
{
    (void)state;
    pthread_t thread;
    struct activity a;
    activity_start();
    struct activity_mark network = activity_begin(ACTIVITY_NETWORK);
    struct activity_mark codec = activity_enter(ACTIVITY_CODEC);
    sleep_ms(20);
    activity_leave(&codec);
    assert_int_equal(pthread_create(&thread, NULL, end_it, &network), 0);
    pthread_join(thread, NULL);
    sleep_ms(20);
    activity_stop();
    activity_get(&a);
    assert_true(a.busy_ns[ACTIVITY_CODEC] >= 20 * MS);
    assert_true(a.busy_ns[ACTIVITY_NETWORK] >= a.busy_ns[ACTIVITY_CODEC]);
    assert_true(a.busy_ns[ACTIVITY_NETWORK] <= a.elapsed_ns - 20 * MS);
    assert_int_equal(a.slowest_count, 1);
    assert_int_equal(a.slowest[0].sector, 8);
}

static void the_slowest_requests_are_kept(void **state)
{
    (void)state;
    struct activity a;
    activity_start();
    for (uint64_t i = 0; i < 3 * ACTIVITY_SLOWEST; i++) {
        struct activity_mark mark = activity_enter(ACTIVITY_READ);
        if (i % 5 == 4) {
            sleep_ms((unsigned)i + 1);
        }
        activity_request(&mark, i % 2 == 1, i, 1);
        activity_leave(&mark);
    }
    activity_retry();
    activity_get(&a);
    assert_int_equal(a.retries, 1);
    assert_int_equal(a.slowest_count, ACTIVITY_SLOWEST);
    for (unsigned i = 1; i < ACTIVITY_SLOWEST; i++) {
        assert_true(a.slowest[i - 1].ns >= a.slowest[i].ns);
    }
    unsigned found = 0; /* those that have slept */
    for (unsigned i = 0; i < ACTIVITY_SLOWEST; i++) {
        if (a.slowest[i].sector % 5 == 4) {
            assert_true(a.slowest[i].ns >= (a.slowest[i].sector + 1) * MS);
            assert_int_equal(a.slowest[i].write, a.slowest[i].sector % 2 == 1);
            found++;
        }
    }
    assert_int_equal(found, 4);
    activity_stop();
}

static void a_mark_of_an_earlier_recording_does_nothing(void **state)
{
    (void)state;
    struct activity a;
    activity_start();
    struct activity_mark old = activity_enter(ACTIVITY_READ);
    activity_start();
    sleep_ms(5);
    activity_request(&old, false, 0, 1);
    activity_leave(&old);
    struct activity_mark mark = activity_enter(ACTIVITY_CODEC);
    activity_leave(&mark);
    activity_stop();
    activity_get(&a);
    assert_int_equal(a.busy_ns[ACTIVITY_READ], 0);
    assert_int_equal(a.slowest_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_recorded_unless_asked_for),
        cmocka_unit_test(the_innermost_stage_counts),
        cmocka_unit_test(threads_at_the_same_stage_count_once),
        cmocka_unit_test(a_request_on_its_way_is_busy_without_a_thread),
        cmocka_unit_test(the_slowest_requests_are_kept),
        cmocka_unit_test(a_mark_of_an_earlier_recording_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

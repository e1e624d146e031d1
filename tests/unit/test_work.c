/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool and the ordered pipeline, with delays and failures at random. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "work/work.h"

static struct err err;

static void nap(unsigned microseconds)
{
    struct timespec time = {.tv_nsec = (long)microseconds * 1000};
    (void)nanosleep(&time, NULL);
}

/* ---- pool ---- */

struct job {
    struct work_item item;
    struct work_pool *pool;
    unsigned children;
};

static atomic_uint jobs_done;
static atomic_uint jobs_on_worker;
static atomic_uint signals_open;
static atomic_uint running;
static atomic_uint most_running;

static void run_job(struct work_item *item)
{
    struct job *job = (struct job *)item;
    sigset_t mask;
    unsigned now = atomic_fetch_add(&running, 1) + 1;
    unsigned most = atomic_load(&most_running);

    while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now)) {
    }
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    atomic_fetch_add(&signals_open, sigismember(&mask, SIGUSR1) == 0 || sigismember(&mask, SIGTERM) == 0);
    atomic_fetch_add(&jobs_on_worker, work_on_worker());
    for (unsigned i = 0; i < job->children; i++) {
        struct job *child = calloc(1, sizeof *child);
        if (child != NULL) {
            child->item.run = run_job;
            work_submit(job->pool, &child->item);
        }
    }
    nap(50);
    atomic_fetch_sub(&running, 1);
    atomic_fetch_add(&jobs_done, 1);
    free(job);
}

static void reset_counts(void)
{
    atomic_store(&jobs_done, 0);
    atomic_store(&jobs_on_worker, 0);
    atomic_store(&signals_open, 0);
    atomic_store(&most_running, 0);
}

static void submit(struct work_pool *pool, unsigned children)
{
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    *job = (struct job){.item.run = run_job, .pool = pool, .children = children};
    work_submit(pool, &job->item);
}

static void pool_runs_everything(void **state)
{
    struct work_pool *pool = NULL;

    (void)state;
    for (unsigned threads = 1; threads <= 8; threads++) {
        reset_counts();
        assert_int_equal(work_pool_new(threads, &pool, &err), VIX_OK);
        for (unsigned i = 0; i < 200; i++) {
            submit(pool, i % 10 == 0 ? 3 : 0);
        }
        work_pool_free(pool);
        assert_int_equal(atomic_load(&jobs_done), 260);
        assert_int_equal(atomic_load(&jobs_on_worker), 260);
        assert_int_equal(atomic_load(&signals_open), 0);
        assert_true(atomic_load(&most_running) <= threads);
    }
    assert_false(work_on_worker());
}

static void *submit_many(void *pool)
{
    for (unsigned i = 0; i < 100; i++) {
        struct job *job = calloc(1, sizeof *job);
        if (job != NULL) {
            job->item.run = run_job;
            work_submit(pool, &job->item);
        }
    }
    return NULL;
}

static void pool_takes_from_many_threads(void **state)
{
    struct work_pool *pool = NULL;
    pthread_t threads[4];

    (void)state;
    reset_counts();
    assert_int_equal(work_pool_new(3, &pool, &err), VIX_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, pool), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    work_pool_free(pool);
    assert_int_equal(atomic_load(&jobs_done), 400);
}

/** An item that queues itself until it is told to end. */
struct endless {
    struct work_item item;
    struct work_pool *pool;
};

static atomic_bool end_all;
static atomic_bool reached;

static void run_endless(struct work_item *item)
{
    if (!atomic_load(&end_all)) {
        work_submit(((struct endless *)item)->pool, item);
    }
}

static void run_reaching(struct work_item *item)
{
    (void)item;
    atomic_store(&reached, true);
}

static bool wait_reached(void)
{
    for (unsigned i = 0; i < 10000 && !atomic_load(&reached); i++) {
        nap(1000);
    }
    return atomic_load(&reached);
}

/** Items from outside have their turn while all threads go on with what their items queue. */
static void outside_is_not_forgotten(void **state)
{
    struct work_pool *pool = NULL;
    struct endless busy[3] = {0};
    struct work_item item = {.run = run_reaching};

    (void)state;
    atomic_store(&end_all, false);
    atomic_store(&reached, false);
    assert_int_equal(work_pool_new(2, &pool, &err), VIX_OK);
    for (unsigned i = 0; i < 3; i++) {
        busy[i] = (struct endless){.item.run = run_endless, .pool = pool};
        work_submit(pool, &busy[i].item);
    }
    nap(2000);
    work_submit(pool, &item);
    assert_true(wait_reached());
    atomic_store(&end_all, true);
    work_pool_free(pool);
}

struct waiting {
    struct work_item item;
    struct work_pool *pool;
    struct work_item queued;
    bool good;
};

static void run_waiting(struct work_item *item)
{
    struct waiting *w = (struct waiting *)item;

    work_submit(w->pool, &w->queued);
    w->good = wait_reached();
    atomic_store(&end_all, true);
}

/** What a blocked item has queued is run by another thread, idle or with endless work of its own. */
static void queue_of_a_blocked_thread_is_emptied_by_others(void **state)
{
    (void)state;
    for (unsigned others = 0; others < 2; others++) {
        struct work_pool *pool = NULL;
        struct endless busy = {.item.run = run_endless};
        struct waiting waiting = {.item.run = run_waiting, .queued.run = run_reaching};

        atomic_store(&end_all, false);
        atomic_store(&reached, false);
        assert_int_equal(work_pool_new(2, &pool, &err), VIX_OK);
        busy.pool = waiting.pool = pool;
        if (others > 0) {
            work_submit(pool, &busy.item);
        }
        nap(2000);
        work_submit(pool, &waiting.item);
        work_pool_free(pool);
        assert_true(waiting.good);
    }
}

static void pool_without_work_has_no_threads(void **state)
{
    struct work_pool *pool = NULL;

    (void)state;
    assert_int_equal(work_pool_new(0, &pool, &err), VIX_OK);
    work_pool_free(pool);
    work_pool_free(NULL);
}

static void threads_of_configuration(void **state)
{
    (void)state;
    assert_in_range(work_default_threads(), 1, 256);
    assert_int_equal(config_set(CONFIG_THREADS, "7", &err), VIX_OK);
    assert_int_equal(work_default_threads(), 7);
    assert_int_equal(config_set(CONFIG_THREADS, "1000", &err), VIX_OK);
    assert_in_range(work_default_threads(), 1, 256);
    config_clear();
}

/* ---- pipe ---- */

enum { ITEMS = 300 };

struct slot {
    unsigned number;
    unsigned result;
    uint8_t *memory;
};

struct job_line {
    unsigned delay; /* microseconds at most */
    int fail_process;
    int fail_process_too; /* a later one, which is found sooner */
    int fail_commit;
    int fail_slot;
    atomic_int slots;
    atomic_int inside_commit;
    atomic_int overlaps;
    unsigned committed; /* commit only: one at a time */
    unsigned order[ITEMS];
};

static VixError slot_new(void *ctx, void **ret_slot, struct err *e)
{
    struct job_line *line = ctx;
    struct slot *slot;

    if (atomic_load(&line->slots) == line->fail_slot) {
        return err_set(e, VIX_E_OUT_OF_MEMORY, "no slot %d", line->fail_slot);
    }
    slot = calloc(1, sizeof *slot);
    assert_non_null(slot);
    slot->memory = malloc(100);
    atomic_fetch_add(&line->slots, 1);
    *ret_slot = slot;
    return VIX_OK;
}

static void slot_free(void *ctx, void *p)
{
    struct slot *slot = p;
    atomic_fetch_sub(&((struct job_line *)ctx)->slots, 1);
    free(slot->memory);
    free(slot);
}

static unsigned mix(unsigned n)
{
    n ^= n << 13;
    n ^= n >> 17;
    return n * 2654435761u;
}

static VixError process(void *ctx, void *p, struct err *e)
{
    struct job_line *line = ctx;
    struct slot *slot = p;

    memset(slot->memory, (int)slot->number, 100);
    if (line->delay > 0 && (int)slot->number != line->fail_process_too) {
        nap(mix(slot->number + 1) % line->delay);
    }
    if ((int)slot->number == line->fail_process || (int)slot->number == line->fail_process_too) {
        return err_set(e, VIX_E_FILE_ERROR, "process %u", slot->number);
    }
    slot->result = mix(slot->number);
    return VIX_OK;
}

static VixError commit(void *ctx, void *p, struct err *e)
{
    struct job_line *line = ctx;
    struct slot *slot = p;

    atomic_fetch_add(&line->overlaps, atomic_fetch_add(&line->inside_commit, 1) != 0);
    if (line->delay > 0 && slot->number % 16 == 0) {
        nap(line->delay);
    }
    bool fails = (int)slot->number == line->fail_commit;
    if (!fails) {
        line->order[line->committed++] = slot->result;
    }
    atomic_fetch_sub(&line->inside_commit, 1);
    return fails ? err_set(e, VIX_E_DISK_FULL, "commit %u", slot->number) : VIX_OK;
}

static const struct work_pipe_ops line_ops = {
    .slot_new = slot_new,
    .slot_free = slot_free,
    .process = process,
    .commit = commit,
};

static struct job_line new_line(unsigned delay)
{
    return (struct job_line){
        .delay = delay, .fail_process = -1, .fail_process_too = -1, .fail_commit = -1, .fail_slot = -1};
}

static VixError push_from(struct work_pipe *pipe, unsigned first, unsigned count)
{
    VixError code = VIX_OK;

    for (unsigned i = first; i < first + count && code == VIX_OK; i++) {
        void *slot = NULL;
        code = work_pipe_slot(pipe, &slot, &err);
        if (code == VIX_OK) {
            ((struct slot *)slot)->number = i;
            work_pipe_push(pipe, slot);
        }
    }
    return code;
}

/* The failure, or OK; checks that what was committed is exactly the beginning. */
static VixError run_line(struct job_line *line, unsigned threads, unsigned slots, unsigned expected)
{
    struct work_pipe *pipe = NULL;

    err_init(&err);
    assert_int_equal(work_pipe_new(&line_ops, line, threads, slots, &pipe, &err), VIX_OK);
    VixError code = push_from(pipe, 0, ITEMS);
    VixError drained = work_pipe_drain(pipe, &err);
    if (code != VIX_OK) {
        assert_int_equal(drained, code);
    }
    assert_int_equal(err.code, drained);
    work_pipe_free(pipe);
    assert_int_equal(line->committed, expected);
    for (unsigned i = 0; i < expected; i++) {
        assert_int_equal(line->order[i], mix(i));
    }
    assert_int_equal(atomic_load(&line->overlaps), 0);
    assert_int_equal(atomic_load(&line->slots), 0);
    return drained;
}

static void pipe_keeps_order(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 8; threads++) {
        for (unsigned slots = threads; slots <= threads * 4; slots += threads + 1) {
            struct job_line quick = new_line(0);
            struct job_line slow = new_line(150);
            assert_int_equal(run_line(&quick, threads, slots, ITEMS), VIX_OK);
            assert_int_equal(run_line(&slow, threads, slots, ITEMS), VIX_OK);
        }
    }
}

static void first_failure_is_reported(void **state)
{
    static const int places[] = {0, 1, 77, ITEMS - 1};

    (void)state;
    for (unsigned threads = 1; threads <= 8; threads++) {
        for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
            char text[32];
            struct job_line line = new_line(100);
            line.fail_process = places[i];
            line.fail_process_too = places[i] + 2;
            assert_int_equal(run_line(&line, threads, threads * 2, (unsigned)places[i]), VIX_E_FILE_ERROR);
            (void)snprintf(text, sizeof text, "process %d", places[i]);
            assert_string_equal(err.text, text);

            line = new_line(100);
            line.fail_commit = places[i];
            line.fail_process = places[i] + 1;
            assert_int_equal(run_line(&line, threads, threads * 2, (unsigned)places[i]), VIX_E_DISK_FULL);
            (void)snprintf(text, sizeof text, "commit %d", places[i]);
            assert_string_equal(err.text, text);
        }
    }
}

static void pipe_goes_on_after_drain(void **state)
{
    struct work_pipe *pipe = NULL;
    struct job_line line = new_line(20);

    (void)state;
    assert_int_equal(work_pipe_new(&line_ops, &line, 3, 6, &pipe, &err), VIX_OK);
    assert_int_equal(work_pipe_drain(pipe, &err), VIX_OK);
    assert_int_equal(push_from(pipe, 0, 100), VIX_OK);
    assert_int_equal(work_pipe_drain(pipe, &err), VIX_OK);
    assert_int_equal(line.committed, 100);
    assert_int_equal(push_from(pipe, 100, 50), VIX_OK);
    assert_int_equal(work_pipe_drain(pipe, &err), VIX_OK);
    assert_int_equal(line.committed, 150);
    work_pipe_free(pipe);
}

static void free_drops_the_rest(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct work_pipe *pipe = NULL;
        struct job_line line = new_line(200);
        void *held = NULL;
        assert_int_equal(work_pipe_new(&line_ops, &line, threads, 16, &pipe, &err), VIX_OK);
        assert_int_equal(push_from(pipe, 0, 15), VIX_OK);
        assert_int_equal(work_pipe_slot(pipe, &held, &err), VIX_OK); /* taken and never pushed */
        work_pipe_free(pipe);
        assert_int_equal(atomic_load(&line.slots), 0);
        assert_in_range(line.committed, 0, 15);
    }
    work_pipe_free(NULL);
}

static void failing_slot_frees_the_others(void **state)
{
    struct work_pipe *pipe = NULL;
    struct job_line line = new_line(0);

    (void)state;
    line.fail_slot = 3;
    assert_int_equal(work_pipe_new(&line_ops, &line, 2, 8, &pipe, &err), VIX_E_OUT_OF_MEMORY);
    assert_null(pipe);
    assert_int_equal(atomic_load(&line.slots), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_runs_everything),
        cmocka_unit_test(pool_takes_from_many_threads),
        cmocka_unit_test(outside_is_not_forgotten),
        cmocka_unit_test(queue_of_a_blocked_thread_is_emptied_by_others),
        cmocka_unit_test(pool_without_work_has_no_threads),
        cmocka_unit_test(threads_of_configuration),
        cmocka_unit_test(pipe_keeps_order),
        cmocka_unit_test(first_failure_is_reported),
        cmocka_unit_test(pipe_goes_on_after_drain),
        cmocka_unit_test(free_drops_the_rest),
        cmocka_unit_test(failing_slot_frees_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

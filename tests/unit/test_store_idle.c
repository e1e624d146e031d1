/* SPDX-License-Identifier: BSD-3-Clause */
/* test_store_idle.c - stores of many files: they hold what was written whichever of them are open, on any number of
 * threads; what can go wrong when one is closed or opened again is told. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "store/store_fault.h"

#define FILES 100u
#define LIMIT 48u /* files that this process may have open */
#define ROUNDS 2000u
#define THREADS 4u

static struct store_fs *mem;
static struct store_fs *fs; /* around mem */
static struct store *stores[FILES];
static struct err err;

static void path_of(unsigned i, char path[32])
{
    (void)snprintf(path, 32, "/a/%u", i);
}

static int begin(void **state)
{
    (void)state;
    err_init(&err);
    mem = store_fs_mem_new(&err);
    fs = mem != NULL ? store_fault_new(mem, &err) : NULL;
    for (unsigned i = 0; fs != NULL && i < FILES; i++) {
        char path[32];
        uint32_t value[2] = {i, 0};
        path_of(i, path);
        if (store_idle_create(fs, path, STORE_LOCK, 0600, &stores[i], &err) != VIX_OK ||
            store_write(stores[i], value, sizeof value, 0, &err) != VIX_OK) {
            return -1;
        }
    }
    return fs != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FILES; i++) {
        store_close(stores[i]);
    }
    store_fault_free(fs);
    store_fs_mem_free(mem);
    return 0;
}

static uint32_t number_in(unsigned i, unsigned place)
{
    uint32_t value;
    assert_int_equal(store_read(stores[i], &value, sizeof value, place * sizeof value, &err), VIX_OK);
    return value;
}

/** Uses all others, twice: nothing of this one is open then. */
static void use_others(unsigned except)
{
    for (unsigned i = 0; i < 2 * FILES; i++) {
        if (i % FILES != except) {
            assert_int_equal(number_in(i % FILES, 0), i % FILES);
        }
    }
}

static void few_are_open(void **state)
{
    struct store_fault_rule none = {.ops = FAULT_OPEN};

    (void)state;
    use_others(FILES);
    store_fault_set(fs, &none);
    use_others(FILES);
    uint64_t opens = store_fault_count(fs, FAULT_OPEN);
    assert_in_range(opens, FILES, 2 * FILES);
    for (unsigned i = 0; i < 100; i++) { /* one that is used stays open */
        assert_int_equal(number_in(7, 0), 7);
    }
    assert_in_range(store_fault_count(fs, FAULT_OPEN) - opens, 0, 1);
}

struct worker {
    pthread_t thread;
    unsigned number;
    bool good;
};

/** Counts up in the files of its own, and reads those of all. */
static void *work(void *ctx)
{
    struct worker *w = ctx;
    uint64_t seed = w->number + 1;

    w->good = true;
    for (unsigned n = 0; n < ROUNDS && w->good; n++) {
        uint32_t value;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned own = (unsigned)(seed >> 33) % (FILES / THREADS) * THREADS + w->number;
        unsigned any = (unsigned)(seed >> 40) % FILES;
        w->good = store_read(stores[own], &value, 4, 4, NULL) == VIX_OK;
        value++;
        w->good = w->good && store_write(stores[own], &value, 4, 4, NULL) == VIX_OK;
        w->good = w->good && store_read(stores[any], &value, 4, 0, NULL) == VIX_OK && value == any;
        w->good = w->good && (n % 50 != 0 || stores[own]->ops->flush(stores[own], NULL) == VIX_OK);
    }
    return NULL;
}

static void threads_use_all(void **state)
{
    struct worker workers[THREADS];
    uint64_t sum = 0;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_true(workers[i].good);
    }
    for (unsigned i = 0; i < FILES; i++) {
        sum += number_in(i, 1);
    }
    assert_int_equal(sum, THREADS * ROUNDS);
}

static void a_failed_flush_is_told_by_the_next(void **state)
{
    struct store_fault_rule rule = {.ops = FAULT_FLUSH, .nth = 1, .errnum = EIO, .stays = true};
    uint32_t value = 5;

    (void)state;
    for (unsigned i = 0; i < FILES; i++) {
        assert_int_equal(stores[i]->ops->flush(stores[i], &err), VIX_OK);
    }
    assert_int_equal(store_write(stores[3], &value, sizeof value, 4, &err), VIX_OK);
    store_fault_set(fs, &rule);
    use_others(3);
    assert_true(store_fault_has_hit(fs));
    store_fault_set(fs, NULL);
    assert_int_not_equal(stores[3]->ops->flush(stores[3], &err), VIX_OK);
    assert_int_equal(stores[4]->ops->flush(stores[4], &err), VIX_OK);
    assert_int_equal(number_in(3, 1), 5);
}

/** Also when it is opened again meanwhile: what was not written then is lost. */
static void a_failed_flush_is_told_by_all_that_follow(void **state)
{
    struct store_fault_rule rule = {.ops = FAULT_FLUSH, .nth = 1, .errnum = EIO};
    uint32_t value = 5;

    (void)state;
    assert_int_equal(store_write(stores[3], &value, sizeof value, 4, &err), VIX_OK);
    store_fault_set(fs, &rule);
    assert_int_equal(stores[3]->ops->flush(stores[3], &err), VIX_E_FILE_ERROR);
    assert_int_equal(stores[3]->ops->flush(stores[3], &err), VIX_E_FILE_ERROR);
    use_others(3);
    assert_int_equal(stores[3]->ops->flush(stores[3], &err), VIX_E_FILE_ERROR);
    assert_int_equal(stores[4]->ops->flush(stores[4], &err), VIX_OK);
}

/** Whatever is asked of a file opens it again. */
static void all_that_is_asked_opens_it(void **state)
{
    struct store_run run;
    uint8_t bytes[8192];
    uint64_t n;

    (void)state;
    use_others(3);
    assert_int_equal(stores[3]->ops->preallocate(stores[3], 0, 65536, &err), VIX_OK);
    use_others(3);
    assert_int_equal(stores[3]->ops->size(stores[3], &n, &err), VIX_OK);
    assert_int_equal(n, 65536);
    use_others(3);
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(store_write(stores[3], bytes, sizeof bytes, 4096, &err), VIX_OK);
    use_others(3);
    assert_int_equal(stores[3]->ops->punch(stores[3], 4096, 4096, &err), VIX_OK);
    use_others(3);
    assert_int_equal(stores[3]->ops->map(stores[3], 4096, 65536 - 4096, &run, &err), VIX_OK);
    assert_in_range(run.len, 1, 65536 - 4096);
    use_others(3);
    assert_int_equal(stores[3]->ops->allocated(stores[3], &n, &err), VIX_OK);
    assert_in_range(n, 1, 65536);
    use_others(3);
    stores[3]->ops->will_need(stores[3], 0, 4096);
    use_others(3);
    assert_int_equal(store_read(stores[3], bytes, sizeof bytes, 4096, &err), VIX_OK);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[4096], 'x');
    assert_int_equal(number_in(3, 0), 3);
}

static void another_file_is_not_taken_for_it(void **state)
{
    struct store *other = NULL;
    uint32_t value;

    (void)state;
    use_others(3);
    assert_int_equal(fs->ops->rename(fs, "/a/3", "/a/away", &err), VIX_OK);
    assert_int_equal(store_read(stores[3], &value, sizeof value, 0, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(fs->ops->create(fs, "/a/3", 0, 0600, &other, &err), VIX_OK);
    store_close(other);
    assert_int_equal(store_read(stores[3], &value, sizeof value, 0, &err), VIX_E_FILE_ERROR);
    assert_int_equal(fs->ops->rename(fs, "/a/away", "/a/3", &err), VIX_OK);
    assert_int_equal(number_in(3, 0), 3);
}

/** As long as it is open its lock is held; closed, another may take it, which is told. */
static void locks(void **state)
{
    struct store *other = NULL;
    uint32_t value;

    (void)state;
    assert_int_equal(number_in(3, 0), 3);
    assert_int_equal(fs->ops->open(fs, "/a/3", STORE_LOCK, &other, &err), VIX_E_FILE_ALREADY_LOCKED);
    use_others(3);
    assert_int_equal(fs->ops->open(fs, "/a/3", STORE_LOCK, &other, &err), VIX_OK);
    assert_int_equal(store_read(stores[3], &value, sizeof value, 0, &err), VIX_E_FILE_ALREADY_LOCKED);
    store_close(other);
    assert_int_equal(number_in(3, 0), 3);
}

/** Where no file can be opened, idle ones make room. */
static void too_many_open_files(void **state)
{
    struct store_fault_rule rule = {.ops = FAULT_OPEN, .nth = 1, .errnum = EMFILE};
    uint32_t value;

    (void)state;
    use_others(3);
    store_fault_set(fs, &rule);
    assert_int_equal(number_in(3, 0), 3);
    assert_true(store_fault_has_hit(fs));
    use_others(3);
    rule.stays = true;
    store_fault_set(fs, &rule);
    assert_int_equal(store_read(stores[3], &value, sizeof value, 0, &err), VIX_E_DISK_TOOMANYOPENFILES);
    store_fault_set(fs, NULL);
    use_others(FILES);
}

int main(void)
{
    const struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(few_are_open, begin, end),
        cmocka_unit_test_setup_teardown(threads_use_all, begin, end),
        cmocka_unit_test_setup_teardown(a_failed_flush_is_told_by_the_next, begin, end),
        cmocka_unit_test_setup_teardown(a_failed_flush_is_told_by_all_that_follow, begin, end),
        cmocka_unit_test_setup_teardown(all_that_is_asked_opens_it, begin, end),
        cmocka_unit_test_setup_teardown(another_file_is_not_taken_for_it, begin, end),
        cmocka_unit_test_setup_teardown(locks, begin, end),
        cmocka_unit_test_setup_teardown(too_many_open_files, begin, end),
    };
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("store_idle", tests, NULL, NULL);
}

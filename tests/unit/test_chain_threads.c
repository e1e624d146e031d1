/* SPDX-License-Identifier: BSD-3-Clause */
/* test_chain_threads.c - threads that write, read, map and look at metadata of one chain at once, from its first write
 * on. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmdk/chain.h"
#include "vmdk/create.h"

#define THREADS 4u
#define CAPACITY 4096u
#define ROUNDS 150u

static struct chain *disk;
static pthread_barrier_t start;

/* What a thread returns when something is wrong. */
static char wrong_data[] = "a sector does not hold what was written";
static char failed_look[] = "a look at the disk failed";

/** Writes and reads back the sectors that are its own: those whose number leaves a rest of the thread's number. Some it
 * gives back. */
static void *write_own_sectors(void *arg)
{
    static const uint8_t zeros[SECTOR_SIZE];
    unsigned me = (unsigned)(uintptr_t)arg, seed = me + 1;
    uint8_t buf[SECTOR_SIZE], back[SECTOR_SIZE];

    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t sector = (unsigned)rand_r(&seed) % (CAPACITY / THREADS) * THREADS + me;
        memset(buf, (int)(i + 1), sizeof buf);
        if (chain_write(disk, sector, 1, buf, NULL) != VIX_OK || chain_read(disk, sector, 1, back, NULL) != VIX_OK ||
            memcmp(buf, back, sizeof buf) != 0) {
            return wrong_data;
        }
        if (i % 3 == 0 &&
            (chain_discard(disk, sector, 1, NULL) != VIX_OK || chain_read(disk, sector, 1, back, NULL) != VIX_OK ||
             memcmp(zeros, back, sizeof back) != 0)) {
            return wrong_data;
        }
    }
    return NULL;
}

/** Text of a length; the descriptor grows and shrinks with it, and moves about in the file while grains are added. */
static const char *text_of(char buf[4000], size_t len)
{
    memset(buf, 'x', len);
    buf[len] = '\0';
    return buf;
}

static void *look(void *arg)
{
    char text[4000];

    (void)arg;
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct chain_run run;
        char *value = NULL;
        if (chain_meta_get(disk, "adapterType", &value, NULL) != VIX_OK || strcmp(value, "lsilogic") != 0 ||
            chain_map(disk, i, CAPACITY - i, 0, &run, NULL) != VIX_OK || run.nsectors == 0 ||
            (i % 5 == 0 && chain_meta_set(disk, "comment", text_of(text, i * 8 + 1), NULL) != VIX_OK) ||
            (i % 40 == 0 && chain_flush(disk, NULL) != VIX_OK)) {
            free(value);
            return failed_look;
        }
        free(value);
    }
    return NULL;
}

static void make(struct store_fs *fs, const char *path, VixDiskLibDiskType type, const char *hint, uint32_t cid)
{
    struct create_params p = {.type = type,
                              .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                              .capacity = CAPACITY,
                              .parent_hint = hint,
                              .parent_cid = cid};

    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, NULL), VIX_OK);
}

static void run_threads(void)
{
    pthread_t threads[THREADS + 1];

    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS + 1), 0);
    for (unsigned i = 0; i <= THREADS; i++) {
        void *(*what)(void *) = i < THREADS ? write_own_sectors : look;
        assert_int_equal(pthread_create(&threads[i], NULL, what, (void *)(uintptr_t)i), 0);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        void *problem = NULL;
        assert_int_equal(pthread_join(threads[i], &problem), 0);
        if (problem != NULL) {
            fail_msg("%s", (const char *)problem);
        }
    }
    (void)pthread_barrier_destroy(&start);
}

/** All threads meet at the first write: one of them gives the disk its new content ID, once. */
static void threads_share_a_chain(void **state)
{
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE,
                                               VIXDISKLIB_DISK_VMFS_SPARSE};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct store_fs *fs = store_fs_mem_new(NULL);
        assert_non_null(fs);
        make(fs, "base.vmdk", VIXDISKLIB_DISK_VMFS_FLAT, NULL, 0);
        make(fs, "kid.vmdk", types[i], "base.vmdk", CID_FRESH);
        assert_int_equal(chain_open(fs, "kid.vmdk", CHAIN_WRITE, NULL, &disk, NULL), VIX_OK);
        uint32_t before = disk->links[0]->desc->cid;
        char text[4000];
        assert_int_equal(chain_meta_set(disk, "first", text_of(text, 3900), NULL), VIX_OK);
        assert_int_equal(chain_meta_set(disk, "second", text_of(text, 1500), NULL), VIX_OK);
        run_threads();
        uint32_t after = disk->links[0]->desc->cid;
        assert_int_not_equal(before, after);
        assert_int_equal(chain_close(disk, NULL), VIX_OK);
        assert_int_equal(chain_open(fs, "kid.vmdk", CHAIN_READ, NULL, &disk, NULL), VIX_OK);
        assert_int_equal(disk->links[0]->desc->cid, after);
        char *value = NULL;
        assert_int_equal(chain_meta_get(disk, "comment", &value, NULL), VIX_OK);
        assert_int_equal(strlen(value), (ROUNDS - 5) * 8 + 1);
        free(value);
        assert_int_equal(chain_close(disk, NULL), VIX_OK);
        assert_int_equal(chain_open(fs, "kid.vmdk", CHAIN_WRITE, NULL, &disk, NULL), VIX_OK);
        assert_int_equal(chain_close(disk, NULL), VIX_OK);
        store_fs_mem_free(fs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

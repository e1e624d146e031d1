/* SPDX-License-Identifier: BSD-3-Clause */
/* Random reads and writes of each type against a plain array of bytes, the disk being reopened now and then.
 * random_ops [SEED [OPERATIONS]]; the seed is printed, so that a run can be repeated. */
#include "env.h"

#include <time.h>
#include <unistd.h>

#define CAPACITY (24 * MIB_SECTORS + 93) /* no multiple of a grain */
#define MOST 700                         /* sectors of one operation */

struct model {
    VixDiskLibConnection conn;
    VixDiskLibHandle h;
    VixDiskLibDiskType type;
    char path[300];
    uint8 *bytes;
    uint8 *buf;
    uint64_t random;
    unsigned operations;
};

static uint64_t seed;
static unsigned operations = 20000;

static uint64_t next_random(struct model *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random;
}

/** A range: mostly short, sometimes long, often at a grain's edge. */
static void pick_range(struct model *m, uint64_t *ret_sector, uint64_t *ret_n)
{
    uint64_t n = next_random(m) % 4 == 0 ? next_random(m) % MOST + 1 : next_random(m) % 20 + 1;
    uint64_t sector = next_random(m) % (CAPACITY - n + 1);

    if (next_random(m) % 4 == 0) {
        sector = sector / 128 * 128;
    }
    *ret_sector = sector;
    *ret_n = n;
}

static void fill_random(struct model *m, uint8 *buf, size_t len)
{
    if (next_random(m) % 5 == 0) {
        memset(buf, 0, len);
        return;
    }
    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = next_random(m);
        memcpy(buf + i, &v, 8);
    }
}

static void check_range(struct model *m, uint64_t sector, uint64_t n)
{
    assert_code(VixDiskLib_Read(m->h, sector, n, m->buf), VIX_OK);
    if (memcmp(m->buf, m->bytes + sector * 512, n * 512) != 0) {
        print_message("type %d: sectors %llu + %llu differ, seed %llu\n", m->type, (unsigned long long)sector,
                      (unsigned long long)n, (unsigned long long)seed);
        fail();
    }
}

static void write_range(struct model *m, uint64_t sector, uint64_t n)
{
    fill_random(m, m->buf, n * 512);
    assert_code(VixDiskLib_Write(m->h, sector, n, m->buf), VIX_OK);
    memcpy(m->bytes + sector * 512, m->buf, n * 512);
}

static void reopen(struct model *m, uint32 flags)
{
    assert_code(VixDiskLib_Close(m->h), VIX_OK);
    m->h = open_disk(m->conn, m->path, flags);
}

static void random_steps(struct model *m)
{
    uint64_t sector;
    uint64_t n;

    for (unsigned i = 0; i < m->operations; i++) {
        pick_range(m, &sector, &n);
        uint64_t choice = next_random(m) % 1000;
        if (choice < 450) {
            write_range(m, sector, n);
        } else if (choice < 998) {
            check_range(m, sector, n);
        } else if (choice < 999) {
            assert_code(VixDiskLib_Flush(m->h), VIX_OK);
        } else {
            reopen(m, next_random(m) % 8 == 0 ? VIXDISKLIB_FLAG_OPEN_UNBUFFERED : 0);
        }
    }
}

/** A stream is written once from front to back; then it is read at random. */
static void stream_steps(struct model *m)
{
    uint64_t at = 0;
    uint64_t sector;
    uint64_t n;

    while (at < CAPACITY) {
        at += next_random(m) % 3 == 0 ? next_random(m) % 2000 : 0;
        n = next_random(m) % MOST + 1;
        if (at + n > CAPACITY) {
            break;
        }
        write_range(m, at, n);
        at += n;
    }
    reopen(m, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    for (unsigned i = 0; i < m->operations; i++) {
        pick_range(m, &sector, &n);
        check_range(m, sector, n);
    }
}

static void check_all(struct model *m)
{
    for (uint64_t sector = 0; sector < CAPACITY; sector += MOST) {
        check_range(m, sector, sector + MOST <= CAPACITY ? MOST : CAPACITY - sector);
    }
}

static void run_type(VixDiskLibConnection conn, VixDiskLibDiskType type, bool child)
{
    struct model m = {
        .conn = conn, .type = type, .random = seed * 1000003 + (uint64_t)type + 17, .operations = operations};

    (void)snprintf(m.path, sizeof m.path, "%s", in_folder("model.vmdk"));
    m.bytes = calloc(CAPACITY, 512);
    m.buf = malloc(MOST * 512);
    assert_non_null(m.bytes);
    assert_non_null(m.buf);
    make_disk(conn, m.path, type, CAPACITY);
    m.h = open_disk(conn, m.path, 0);
    if (child) {
        m.operations /= 4;
        random_steps(&m);
        (void)snprintf(m.path, sizeof m.path, "%s", in_folder("model-child.vmdk"));
        assert_code(VixDiskLib_CreateChild(m.h, m.path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL), VIX_OK);
        reopen(&m, 0);
        m.operations *= 3;
    }
    if (type == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
        stream_steps(&m);
    } else {
        random_steps(&m);
        reopen(&m, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    }
    check_all(&m);
    assert_code(VixDiskLib_Close(m.h), VIX_OK);
    if (child) {
        assert_code(VixDiskLib_Unlink(conn, m.path), VIX_OK);
    }
    assert_code(VixDiskLib_Unlink(conn, in_folder("model.vmdk")), VIX_OK);
    free(m.bytes);
    free(m.buf);
}

static void every_type_behaves_as_an_array(void **state)
{
    (void)state;
    start_library();
    VixDiskLibConnection conn = local_connection();
    for (size_t i = 0; i < writable_type_count; i++) {
        run_type(conn, writable_types[i], false);
    }
    run_type(conn, VIXDISKLIB_DISK_STREAM_OPTIMIZED, false);
}

static void a_child_on_each_type_behaves_as_an_array(void **state)
{
    (void)state;
    start_library();
    VixDiskLibConnection conn = local_connection();
    for (size_t i = 0; i < writable_type_count; i++) {
        run_type(conn, writable_types[i], true);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_behaves_as_an_array),
        cmocka_unit_test(a_child_on_each_type_behaves_as_an_array),
    };

    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
    operations = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : operations;
    print_message("seed %llu, %u operations a type\n", (unsigned long long)seed, operations);
    return cmocka_run_group_tests_name("random operations", tests, env_setup, env_done);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Random operations on a chain of disks against plain arrays of bytes: writes to the top link, snapshots, merges,
 * copies to other types, grow, defragment, shrink, check; after each the disk holds what its array has. random_chain
 * [SEED [OPERATIONS]]; the seed is printed, so that a run can be repeated. */
#include "env.h"

#include <time.h>
#include <unistd.h>

#define FIRST_CAPACITY (6 * MIB_SECTORS + 93) /* no multiple of a grain */
#define LAST_CAPACITY (8 * MIB_SECTORS)
#define MOST 600 /* sectors of one request */
#define MOST_LINKS 7u
#define NAME_SIZE 320

/** A disk and what it must hold. Links below the top one keep what they had when they got a child. */
struct link {
    char path[NAME_SIZE];
    VixDiskLibDiskType type;
    uint8 *bytes;
};

struct model {
    VixDiskLibConnection conn;
    struct link links[MOST_LINKS]; /* [0]: the base */
    unsigned nlinks;
    uint64_t capacity;
    VixDiskLibHandle h; /* of the top link */
    uint64_t random;
    unsigned named;
    uint8 buf[MOST * 512];
};

static uint64_t seed;
static unsigned operations = 700;
static unsigned done[10];

static uint64_t next_random(struct model *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random;
}

static uint64_t below(struct model *m, uint64_t n)
{
    return next_random(m) % n;
}

static struct link *top(struct model *m)
{
    return &m->links[m->nlinks - 1];
}

static void expect(struct model *m, VixError got, VixError want, const char *what)
{
    if (got != want) {
        print_message("%s of %s (type %d, %u links): code %d, not %d, seed %llu\n", what, top(m)->path, top(m)->type,
                      m->nlinks, (int)got, (int)want, (unsigned long long)seed);
        fail();
    }
}

static void open_top(struct model *m, uint32 flags)
{
    expect(m, VixDiskLib_Open(m->conn, top(m)->path, flags, &m->h), VIX_OK, "open");
}

static void close_top(struct model *m)
{
    expect(m, VixDiskLib_Close(m->h), VIX_OK, "close");
    m->h = NULL;
}

/** A range: mostly short, sometimes long, often at a grain's edge or at the end. */
static void pick_range(struct model *m, uint64_t *ret_sector, uint64_t *ret_n)
{
    uint64_t n = below(m, 3) == 0 ? below(m, MOST) + 1 : below(m, 20) + 1;
    uint64_t sector = below(m, m->capacity - n + 1);

    if (below(m, 4) == 0) {
        sector = sector / 128 * 128;
    } else if (below(m, 20) == 0) {
        sector = m->capacity - n;
    }
    *ret_sector = sector;
    *ret_n = n;
}

static void write_range(struct model *m)
{
    uint64_t sector;
    uint64_t n;

    pick_range(m, &sector, &n);
    if (below(m, 4) == 0) {
        memset(m->buf, 0, n * 512);
    } else {
        for (size_t i = 0; i < n * 512; i += 8) {
            uint64_t v = next_random(m);
            memcpy(m->buf + i, &v, 8);
        }
    }
    expect(m, VixDiskLib_Write(m->h, sector, n, m->buf), VIX_OK, "write");
    memcpy(top(m)->bytes + sector * 512, m->buf, n * 512);
}

static void check_range(struct model *m, VixDiskLibHandle h, const struct link *l, uint64_t sector, uint64_t n,
                        const char *after)
{
    expect(m, VixDiskLib_Read(h, sector, n, m->buf), VIX_OK, "read");
    if (memcmp(m->buf, l->bytes + sector * 512, n * 512) != 0) {
        print_message("%s (type %d, %u links): sectors %llu + %llu differ after %s, seed %llu\n", l->path, l->type,
                      m->nlinks, (unsigned long long)sector, (unsigned long long)n, after, (unsigned long long)seed);
        fail();
    }
}

static void check_all(struct model *m, VixDiskLibHandle h, const struct link *l, const char *after)
{
    for (uint64_t sector = 0; sector < m->capacity; sector += MOST) {
        check_range(m, h, l, sector, sector + MOST <= m->capacity ? MOST : m->capacity - sector, after);
    }
}

/** Opens a disk of the chain for reading and compares it with its array. */
static void check_link(struct model *m, const struct link *l, const char *after)
{
    VixDiskLibHandle h = NULL;

    expect(m, VixDiskLib_Open(m->conn, l->path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h), VIX_OK, after);
    check_all(m, h, l, after);
    expect(m, VixDiskLib_Close(h), VIX_OK, after);
}

/* ---- the operations; the top link is open before and after each ---- */

static void write_some(struct model *m)
{
    uint64_t sector;
    uint64_t n;

    for (uint64_t i = below(m, 20) + 1; i > 0; i--) {
        write_range(m);
        pick_range(m, &sector, &n);
        check_range(m, m->h, top(m), sector, n, "a write");
    }
}

static void reopen(struct model *m)
{
    close_top(m);
    open_top(m, below(m, 6) == 0 ? VIXDISKLIB_FLAG_OPEN_UNBUFFERED : 0);
    check_all(m, m->h, top(m), "opening it again");
}

static void check_sound(struct model *m)
{
    close_top(m);
    for (unsigned i = 0; i < m->nlinks; i++) {
        expect(m, VixDiskLib_CheckRepair(m->conn, m->links[i].path, FALSE), VIX_OK, "check");
    }
    check_link(m, &m->links[below(m, m->nlinks)], "check");
    open_top(m, 0);
}

static bool is_esx(VixDiskLibDiskType type)
{
    return type == VIXDISKLIB_DISK_VMFS_FLAT || type == VIXDISKLIB_DISK_VMFS_THIN ||
           type == VIXDISKLIB_DISK_VMFS_SPARSE;
}

static VixDiskLibDiskType pick_child_type(struct model *m)
{
    if (is_esx(top(m)->type) && below(m, 3) != 0) {
        return VIXDISKLIB_DISK_VMFS_SPARSE;
    }
    return below(m, 2) == 0 ? VIXDISKLIB_DISK_MONOLITHIC_SPARSE : VIXDISKLIB_DISK_SPLIT_SPARSE;
}

static void name_link(struct model *m, struct link *l)
{
    char name[40];
    (void)snprintf(name, sizeof name, "link-%u.vmdk", m->named++);
    (void)snprintf(l->path, sizeof l->path, "%s", in_folder(name));
}

static void snapshot(struct model *m)
{
    if (m->nlinks == MOST_LINKS) {
        return;
    }
    struct link *l = &m->links[m->nlinks];
    l->type = pick_child_type(m);
    name_link(m, l);
    expect(m, VixDiskLib_CreateChild(m->h, l->path, l->type, NULL, NULL), VIX_OK, "snapshot");
    l->bytes = malloc(LAST_CAPACITY * 512);
    assert_non_null(l->bytes);
    memcpy(l->bytes, top(m)->bytes, LAST_CAPACITY * 512);
    close_top(m);
    m->nlinks++;
    open_top(m, 0);
    check_all(m, m->h, l, "a snapshot");
}

/** Forgets the top link, whose files are gone. */
static void drop_top(struct model *m)
{
    free(top(m)->bytes);
    top(m)->bytes = NULL;
    m->nlinks--;
}

static void commit(struct model *m)
{
    if (m->nlinks == 1) {
        return;
    }
    close_top(m);
    expect(m, VixDiskLibExt_Commit(m->conn, top(m)->path, NULL, NULL), VIX_OK, "commit");
    assert_false(file_exists(top(m)->path));
    memcpy(m->links[m->nlinks - 2].bytes, top(m)->bytes, LAST_CAPACITY * 512);
    drop_top(m);
    open_top(m, 0);
    check_all(m, m->h, top(m), "commit");
}

/** Throws the top link away: what is below it has not changed. */
static void go_back(struct model *m)
{
    if (m->nlinks == 1 || below(m, 2) == 0) {
        return;
    }
    close_top(m);
    expect(m, VixDiskLib_Unlink(m->conn, top(m)->path), VIX_OK, "unlink");
    drop_top(m);
    open_top(m, 0);
    check_all(m, m->h, top(m), "going back");
}

static void remove_chain(struct model *m)
{
    while (m->nlinks > 0) {
        expect(m, VixDiskLib_Unlink(m->conn, top(m)->path), VIX_OK, "unlink");
        drop_top(m);
    }
}

static const VixDiskLibDiskType clone_types[] = {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT,  VIXDISKLIB_DISK_SPLIT_SPARSE,
    VIXDISKLIB_DISK_SPLIT_FLAT,        VIXDISKLIB_DISK_VMFS_FLAT,        VIXDISKLIB_DISK_VMFS_THIN,
    VIXDISKLIB_DISK_VMFS_SPARSE,       VIXDISKLIB_DISK_STREAM_OPTIMIZED,
};

/** Copies the chain to a disk of some type; sometimes the copy is what the test goes on with. */
static void clone_to_some_type(struct model *m)
{
    VixDiskLibCreateParams p = {
        .diskType = clone_types[below(m, sizeof clone_types / sizeof clone_types[0])],
        .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
        .hwVersion = VIXDISKLIB_HWVERSION_ESX55,
    };
    struct link copy = {.type = p.diskType, .bytes = top(m)->bytes};

    name_link(m, &copy);
    close_top(m);
    expect(m, VixDiskLib_Clone(m->conn, copy.path, m->conn, top(m)->path, &p, NULL, NULL, FALSE), VIX_OK, "clone");
    check_link(m, &copy, "clone");
    expect(m, VixDiskLib_CheckRepair(m->conn, copy.path, FALSE), VIX_OK, "check of a clone");
    if (p.diskType == VIXDISKLIB_DISK_STREAM_OPTIMIZED || below(m, 3) != 0) {
        expect(m, VixDiskLib_Unlink(m->conn, copy.path), VIX_OK, "unlink");
    } else {
        copy.bytes = malloc(LAST_CAPACITY * 512);
        assert_non_null(copy.bytes);
        memcpy(copy.bytes, top(m)->bytes, LAST_CAPACITY * 512);
        remove_chain(m);
        m->links[m->nlinks++] = copy;
    }
    open_top(m, 0);
}

static bool has_grains(VixDiskLibDiskType type)
{
    return type == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || type == VIXDISKLIB_DISK_SPLIT_SPARSE;
}

static void defragment(struct model *m)
{
    VixError want = top(m)->type == VIXDISKLIB_DISK_VMFS_SPARSE ? VIX_E_NOT_SUPPORTED : VIX_OK;

    expect(m, VixDiskLib_Defragment(m->h, NULL, NULL), want, "defragment");
    check_all(m, m->h, top(m), "defragment");
}

static void shrink(struct model *m)
{
    VixDiskLibDiskType type = top(m)->type;
    VixError want = m->nlinks > 1                                           ? VIX_E_DISK_CANTSHRINK
                    : has_grains(type) || type == VIXDISKLIB_DISK_VMFS_THIN ? VIX_OK
                                                                            : VIX_E_NOT_SUPPORTED;

    expect(m, VixDiskLib_Shrink(m->h, NULL, NULL), want, "shrink");
    check_all(m, m->h, top(m), "shrink");
}

/** A base alone can grow; the new sectors are zeros. */
static void grow(struct model *m)
{
    uint64_t capacity = m->capacity + below(m, 300) + 1;
    VixError want = m->nlinks > 1                                 ? VIX_E_DISK_PARTIALCHAIN
                    : top(m)->type == VIXDISKLIB_DISK_VMFS_SPARSE ? VIX_E_NOT_SUPPORTED
                                                                  : VIX_OK;

    if (capacity > LAST_CAPACITY) {
        return;
    }
    close_top(m);
    expect(m, VixDiskLib_Grow(m->conn, top(m)->path, capacity, below(m, 2) == 0, NULL, NULL), want, "grow");
    m->capacity = want == VIX_OK ? capacity : m->capacity;
    open_top(m, 0);
    check_all(m, m->h, top(m), "grow");
}

/** Takes the chain apart in memory and puts it together: the top link alone, and the rest as its parent. */
static void attach(struct model *m)
{
    VixDiskLibHandle parent = NULL;

    if (m->nlinks == 1) {
        return;
    }
    close_top(m);
    expect(m, VixDiskLib_Open(m->conn, m->links[m->nlinks - 2].path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &parent), VIX_OK,
           "open of the parent");
    open_top(m, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    expect(m, VixDiskLib_Attach(parent, m->h), VIX_OK, "attach");
    check_all(m, m->h, top(m), "attach");
}

static void (*const actions[])(struct model *m) = {
    reopen, check_sound, snapshot, commit, go_back, clone_to_some_type, defragment, shrink, grow, attach,
};
#define ACTIONS (sizeof actions / sizeof actions[0])

static void a_chain_behaves_as_an_array(void **state)
{
    static struct model m;
    struct link *base = &m.links[0];

    (void)state;
    start_library();
    m.conn = local_connection();
    m.random = seed * 1000003 + 17;
    m.capacity = FIRST_CAPACITY;
    m.nlinks = 1;
    base->type = writable_types[below(&m, writable_type_count)];
    base->bytes = calloc(LAST_CAPACITY, 512);
    assert_non_null(base->bytes);
    name_link(&m, base);
    make_disk(m.conn, base->path, base->type, m.capacity);
    open_top(&m, 0);
    for (unsigned i = 0; i < operations; i++) {
        write_some(&m);
        size_t action = (size_t)below(&m, ACTIONS);
        actions[action](&m);
        done[action]++;
    }
    for (size_t i = 0; operations >= 500 && i < ACTIONS; i++) {
        assert_true(done[i] > 0);
    }
    close_top(&m);
    for (unsigned i = 0; i < m.nlinks; i++) {
        check_link(&m, &m.links[i], "everything");
    }
    remove_chain(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_chain_behaves_as_an_array)};

    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
    operations = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : operations;
    print_message("seed %llu, %u operations\n", (unsigned long long)seed, operations);
    return cmocka_run_group_tests_name("random chains", tests, env_setup, env_done);
}

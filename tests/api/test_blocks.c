/* SPDX-License-Identifier: BSD-3-Clause */
/* QueryAllocatedBlocks: what it takes, where it clips, what it finds. */
#include "env.h"

static VixDiskLibConnection conn;
static uint8 data[128 * 512];

/** Asks for blocks that must be exactly those given as pairs of offset and length. */
static void expect_blocks(VixDiskLibHandle h, uint64 start, uint64 n, uint64 chunk, const uint64 *pairs, uint32 count)
{
    VixDiskLibBlockList *list = NULL;

    assert_code(VixDiskLib_QueryAllocatedBlocks(h, start, n, chunk, &list), VIX_OK);
    const VixDiskLibBlock *blocks = list->blocks;
    assert_int_equal(list->numBlocks, count);
    for (uint32 i = 0; i < count; i++) {
        assert_int_equal(blocks[i].offset, pairs[2 * i]);
        assert_int_equal(blocks[i].length, pairs[2 * i + 1]);
    }
    assert_code(VixDiskLib_FreeBlockList(list), VIX_OK);
}

static VixError query_code(VixDiskLibHandle h, uint64 start, uint64 n, uint64 chunk)
{
    VixDiskLibBlockList *list = NULL;

    VixError code = VixDiskLib_QueryAllocatedBlocks(h, start, n, chunk, &list);
    if (code != VIX_OK) {
        assert_null(list);
    }
    (void)VixDiskLib_FreeBlockList(list);
    return code;
}

static void blocks_are_found_in_chunks(void **state)
{
    const uint64 whole[] = {0, 128, 256, 384, 8064, 128};
    const uint64 coarse[] = {0, 1024, 7168, 1024};
    const uint64 part[] = {256, 256};
    uint8 zeros[512] = {0};

    (void)state;
    make_disk(conn, in_folder("blocks.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 4 * MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("blocks.vmdk"), 0);
    expect_blocks(h, 0, 4 * MIB_SECTORS, 128, NULL, 0);
    assert_code(VixDiskLib_Write(h, 5, 1, data), VIX_OK);
    assert_code(VixDiskLib_Write(h, 256, 128, data), VIX_OK);
    assert_code(VixDiskLib_Write(h, 384, 128, data), VIX_OK);
    assert_code(VixDiskLib_Write(h, 512 + 7, 1, data), VIX_OK);
    assert_code(VixDiskLib_Write(h, 8191, 1, data), VIX_OK);
    expect_blocks(h, 0, 4 * MIB_SECTORS, 128, whole, 3);
    expect_blocks(h, 0, 4 * MIB_SECTORS, 1024, coarse, 2);
    expect_blocks(h, 256, 256, 128, part, 1);
    assert_code(VixDiskLib_Read(h, 128, 1, zeros), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    make_disk(conn, in_folder("args.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE, MIB_SECTORS + 1);
    VixDiskLibHandle h = open_disk(conn, in_folder("args.vmdk"), 0);
    forget_messages();
    assert_code(query_code(h, 0, 128, 127), VIX_E_INVALID_ARG);
    assert_code(query_code(h, 0, 128, 0), VIX_E_INVALID_ARG);
    assert_code(query_code(h, 1, 128, 128), VIX_E_INVALID_ARG);
    assert_code(query_code(h, 0, 129, 128), VIX_E_INVALID_ARG);
    assert_code(query_code(h, MIB_SECTORS + 128, 128, 128), VIX_E_INVALID_ARG);
    assert_code(query_code(h, UINT64_MAX - 127, 128, 128), VIX_E_INVALID_ARG);
    assert_int_equal(warn_count(), 6);
    assert_code(query_code(h, 0, 128, 128), VIX_OK);
    assert_code(query_code(h, 0, 0, 128), VIX_OK);
    assert_code(query_code(h, 0, UINT64_C(1) << 62, 128), VIX_OK);
    assert_code(query_code(h, 0, UINT64_MAX, UINT64_MAX), VIX_OK);
    assert_int_equal(warn_count(), 6);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void the_end_of_the_disk_is_no_trap(void **state)
{
    const uint64 capacities[] = {1, 127, 128, 129, 128 * 9 + 1, 128 * 9 + 127, 2048 + 129};

    (void)state;
    for (size_t t = 0; t < writable_type_count; t++) {
        for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
            uint64 cap = capacities[i];
            uint64 last = (cap - 1) / 128 * 128;
            const uint64 tail[] = {last, cap - last};
            make_disk(conn, in_folder("end.vmdk"), writable_types[t], cap);
            VixDiskLibHandle h = open_disk(conn, in_folder("end.vmdk"), 0);
            assert_code(VixDiskLib_Write(h, cap - 1, 1, data), VIX_OK);
            expect_blocks(h, last, 128, 128, tail, 1);
            expect_blocks(h, last, cap - last, 128, tail, 1);
            expect_blocks(h, last, 128 * 1000, 128, tail, 1);
            assert_code(query_code(h, last + 128, 128, 128), VIX_E_INVALID_ARG);
            assert_code(VixDiskLib_Close(h), VIX_OK);
            assert_code(VixDiskLib_Unlink(conn, in_folder("end.vmdk")), VIX_OK);
        }
    }
}

static void too_many_chunks_are_refused(void **state)
{
    const uint64 most = 128 * UINT64_C(524288);
    const uint64 found[] = {most, 128};

    (void)state;
    make_disk(conn, in_folder("many.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 2 * most);
    VixDiskLibHandle h = open_disk(conn, in_folder("many.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, most, 1, data), VIX_OK);
    assert_code(query_code(h, 0, most + 128, 128), VIX_E_INVALID_ARG);
    assert_code(query_code(h, 0, most, 128), VIX_OK);
    expect_blocks(h, most, most, 128, found, 1);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_single_link_tells_its_own_blocks(void **state)
{
    const uint64 own[] = {1024, 128};
    const uint64 both[] = {0, 128, 1024, 128};

    (void)state;
    make_disk(conn, in_folder("base.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("base.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, 0, 1, data), VIX_OK);
    assert_code(VixDiskLib_CreateChild(h, in_folder("child.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL),
                VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("child.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, 1024, 128, data), VIX_OK);
    expect_blocks(h, 0, MIB_SECTORS, 128, both, 2);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("child.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    expect_blocks(h, 0, MIB_SECTORS, 128, own, 1);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static Bool add_up(void *ctx, const VixDiskLibExt_Run *run)
{
    uint64 *sums = ctx; /* end so far, bytes of data */

    assert_int_equal(run->startBytes, sums[0]);
    assert_true(run->lengthBytes > 0);
    sums[0] += run->lengthBytes;
    sums[1] += run->data ? run->lengthBytes : 0;
    return TRUE;
}

static void the_map_has_no_gaps(void **state)
{
    (void)state;
    for (size_t t = 0; t < writable_type_count; t++) {
        uint64 sums[2] = {0, 0};
        uint64 stored = 7;
        make_disk(conn, in_folder("map.vmdk"), writable_types[t], MIB_SECTORS + 5);
        VixDiskLibHandle h = open_disk(conn, in_folder("map.vmdk"), 0);
        assert_code(VixDiskLib_Write(h, 256, 128, data), VIX_OK);
        assert_code(VixDiskLib_Flush(h), VIX_OK);
        assert_code(VixDiskLibExt_Map(h, 0, MIB_SECTORS + 5, add_up, sums), VIX_OK);
        assert_int_equal(sums[0], (MIB_SECTORS + 5) * 512);
        assert_true(sums[1] >= sizeof data);
        assert_code(VixDiskLibExt_Map(h, 0, MIB_SECTORS + 6, add_up, sums), VIX_E_DISK_OUTOFRANGE);
        assert_code(VixDiskLibExt_Map(h, 2, UINT64_MAX, add_up, sums), VIX_E_DISK_OUTOFRANGE);
        assert_code(VixDiskLibExt_Map(h, 0, 1, NULL, sums), VIX_E_INVALID_ARG);
        assert_code(VixDiskLibExt_StoredBytes(h, 0, MIB_SECTORS + 6, &stored), VIX_E_DISK_OUTOFRANGE);
        assert_code(VixDiskLibExt_StoredBytes(h, 0, 1, NULL), VIX_E_INVALID_ARG);
        assert_int_equal(stored, 7);
        assert_code(VixDiskLibExt_StoredBytes(h, 256, 128, &stored), VIX_OK);
        assert_int_equal(stored, sizeof data);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("map.vmdk")), VIX_OK);
    }
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    conn = local_connection();
    fill(data, sizeof data, 42);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_found_in_chunks),         cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(the_end_of_the_disk_is_no_trap),     cmocka_unit_test(too_many_chunks_are_refused),
        cmocka_unit_test(a_single_link_tells_its_own_blocks), cmocka_unit_test(the_map_has_no_gaps),
    };
    return cmocka_run_group_tests_name("blocks", tests, setup, env_done);
}

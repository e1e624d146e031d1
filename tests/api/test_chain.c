/* SPDX-License-Identifier: BSD-3-Clause */
/* Children, attaching, clones. */
#include "env.h"

#include <sys/stat.h>
#include <unistd.h>

static VixDiskLibConnection conn;
static uint8 red[128 * 512];
static uint8 blue[128 * 512];

static VixError create_child(VixDiskLibHandle parent, const char *path, VixDiskLibDiskType type)
{
    return VixDiskLib_CreateChild(parent, path, type, NULL, NULL);
}

static void expect_sector(VixDiskLibHandle h, uint64 sector, const uint8 *expected)
{
    uint8 buf[512];

    assert_code(VixDiskLib_Read(h, sector, 1, buf), VIX_OK);
    assert_memory_equal(buf, expected, 512);
}

/** A base that is red in its first 128 sectors, and a child that holds nothing yet. */
static void make_pair(const char *base, const char *child)
{
    make_disk(conn, in_folder(base), VIXDISKLIB_DISK_SPLIT_FLAT, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder(base), 0);
    assert_code(VixDiskLib_Write(h, 0, 128, red), VIX_OK);
    assert_code(create_child(h, in_folder(child), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_child_shows_its_parent(void **state)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibExt_Details *d = NULL;

    (void)state;
    make_pair("base1.vmdk", "child1.vmdk");
    VixDiskLibHandle h = open_disk(conn, in_folder("child1.vmdk"), 0);
    expect_sector(h, 3, red + 3 * 512);
    assert_code(VixDiskLib_Write(h, 3, 1, blue), VIX_OK);
    expect_sector(h, 3, blue);
    expect_sector(h, 4, red + 4 * 512);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_int_equal(info->numLinks, 2);
    assert_string_equal(info->parentFileNameHint, "base1.vmdk");
    assert_int_equal(info->adapterType, VIXDISKLIB_ADAPTER_SCSI_LSILOGIC);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLibExt_GetDetails(h, &d), VIX_OK);
    assert_int_equal(d->numLinks, 2);
    assert_int_equal(d->links[0].parentCid, d->links[1].cid);
    assert_string_equal(d->links[0].parentHint, "base1.vmdk");
    VixDiskLibExt_FreeDetails(d);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("base1.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect_sector(h, 3, red + 3 * 512);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_parent_that_changed_is_found_out(void **state)
{
    (void)state;
    make_pair("base2.vmdk", "child2.vmdk");
    VixDiskLibHandle h = open_disk(conn, in_folder("base2.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, 0, 1, blue), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(open_code(conn, in_folder("child2.vmdk"), 0), VIX_E_DISK_CID_MISMATCH);
    h = open_disk(conn, in_folder("child2.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLib_Unlink(conn, in_folder("base2.vmdk")), VIX_OK);
    assert_code(open_code(conn, in_folder("child2.vmdk"), 0), VIX_E_DISK_OPENPARENT);
}

static void only_sparse_types_can_be_children(void **state)
{
    const VixDiskLibDiskType wrong[] = {VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_FLAT,
                                        VIXDISKLIB_DISK_VMFS_FLAT,       VIXDISKLIB_DISK_STREAM_OPTIMIZED,
                                        VIXDISKLIB_DISK_VMFS_THIN,       VIXDISKLIB_DISK_UNKNOWN};

    (void)state;
    make_disk(conn, in_folder("base3.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("base3.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_code(create_child(h, in_folder("child3.vmdk"), wrong[i]), VIX_E_INVALID_ARG);
    }
    assert_code(create_child(h, in_folder("child3.vmdk"), VIXDISKLIB_DISK_VMFS_SPARSE), VIX_E_DISK_INVALIDCHAIN);
    assert_code(create_child(h, in_folder("base3.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE), VIX_E_FILE_ALREADY_EXISTS);
    assert_false(file_exists(in_folder("child3.vmdk")));
    assert_code(create_child(h, in_folder("child3.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_child_elsewhere_names_the_whole_path(void **state)
{
    VixDiskLibInfo *info = NULL;

    (void)state;
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    make_disk(conn, in_folder("base4.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("base4.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(create_child(h, in_folder("sub/child4.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("sub/child4.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_string_equal(info->parentFileNameHint, in_folder("base4.vmdk"));
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLibExt_SetOption("vixdisk.allowOutsidePaths", "1"), VIX_OK);
    h = open_disk(conn, in_folder("sub/child4.vmdk"), 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLibExt_SetOption("vixdisk.allowOutsidePaths", "0"), VIX_OK);
}

static void a_child_above_its_parent_names_the_folders_between(void **state)
{
    VixDiskLibInfo *info = NULL;

    (void)state;
    assert_int_equal(mkdir(in_folder("below"), 0700), 0);
    assert_int_equal(mkdir(in_folder("below/more"), 0700), 0);
    assert_int_equal(mkdir(in_folder("bel"), 0700), 0); /* begins as the parent's folder does */
    make_disk(conn, in_folder("below/more/base.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("below/more/base.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(create_child(h, in_folder("above.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
    assert_code(create_child(h, in_folder("bel/beside.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("above.vmdk"), 0);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_string_equal(info->parentFileNameHint, "below/more/base.vmdk");
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("bel/beside.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_string_equal(info->parentFileNameHint, in_folder("below/more/base.vmdk"));
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_parent_written_after_its_child_was_made_breaks_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        char parent[40], child[40], later[40];
        (void)snprintf(parent, sizeof parent, "written-%zu.vmdk", i);
        (void)snprintf(child, sizeof child, "broken-%zu.vmdk", i);
        (void)snprintf(later, sizeof later, "later-%zu.vmdk", i);
        make_disk(conn, in_folder(parent), writable_types[i], MIB_SECTORS);
        VixDiskLibHandle h = open_disk(conn, in_folder(parent), 0);
        assert_code(VixDiskLib_Write(h, 0, 1, red), VIX_OK);
        assert_code(create_child(h, in_folder(child), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
        assert_code(VixDiskLib_Write(h, 0, 1, blue), VIX_OK);
        VixDiskLibHandle c = open_disk(conn, in_folder(child), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
        assert_code(VixDiskLib_IsAttachPossible(h, c), VIX_E_DISK_CID_MISMATCH);
        assert_code(VixDiskLib_Close(c), VIX_OK);
        assert_code(create_child(h, in_folder(later), VIXDISKLIB_DISK_MONOLITHIC_SPARSE), VIX_OK);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(open_code(conn, in_folder(child), 0), VIX_E_DISK_CID_MISMATCH);
        h = open_disk(conn, in_folder(later), 0);
        expect_sector(h, 0, blue);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
}

static void an_attached_child_is_the_chain(void **state)
{
    VixDiskLibInfo *info = NULL;

    (void)state;
    make_pair("base5.vmdk", "child5.vmdk");
    VixDiskLibHandle parent = open_disk(conn, in_folder("base5.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibHandle child = open_disk(conn, in_folder("child5.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    uint8 zeros[512] = {0};
    expect_sector(child, 3, zeros);
    assert_code(VixDiskLib_IsAttachPossible(parent, child), VIX_OK);
    assert_code(VixDiskLib_Attach(parent, child), VIX_OK);
    expect_sector(child, 3, red + 3 * 512);
    assert_code(VixDiskLib_Write(child, 3, 1, blue), VIX_OK);
    expect_sector(child, 2, red + 2 * 512);
    assert_code(VixDiskLib_GetInfo(child, &info), VIX_OK);
    assert_int_equal(info->numLinks, 2);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Read(parent, 0, 1, zeros), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(parent), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(child), VIX_OK);
}

static void the_parent_is_gone_after_a_failed_attach_too(void **state)
{
    (void)state;
    make_disk(conn, in_folder("a6.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    make_disk(conn, in_folder("b6.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle a = open_disk(conn, in_folder("a6.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibHandle b = open_disk(conn, in_folder("b6.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    assert_code(VixDiskLib_IsAttachPossible(a, b), VIX_E_DISK_ATTACH_ROOTLINK);
    assert_code(VixDiskLib_Attach(a, a), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Attach(a, b), VIX_E_DISK_ATTACH_ROOTLINK);
    assert_code(VixDiskLib_Close(a), VIX_E_INVALID_HANDLE);
    expect_sector(b, 0, (const uint8[512]){0});
    assert_code(VixDiskLib_Attach(a, b), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(b), VIX_OK);
    a = open_disk(conn, in_folder("a6.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_Attach(a, b), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(a), VIX_E_INVALID_HANDLE);
    VixDiskLibHandle w = open_disk(conn, in_folder("a6.vmdk"), 0);
    assert_code(VixDiskLib_Close(w), VIX_OK);
}

static Bool note_percent(void *data, int percent)
{
    *(int *)data = percent;
    return FALSE;
}

static void a_clone_is_flat_in_links_and_equal_in_bytes(void **state)
{
    const VixDiskLibDiskType types[] = {
        VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE,
        VIXDISKLIB_DISK_SPLIT_FLAT,        VIXDISKLIB_DISK_VMFS_FLAT,       VIXDISKLIB_DISK_VMFS_THIN,
        VIXDISKLIB_DISK_STREAM_OPTIMIZED,
    };

    (void)state;
    make_pair("base7.vmdk", "child7.vmdk");
    VixDiskLibHandle src = open_disk(conn, in_folder("child7.vmdk"), 0);
    assert_code(VixDiskLib_Write(src, 900, 128, blue), VIX_OK);
    assert_code(VixDiskLib_Close(src), VIX_OK);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        VixDiskLibCreateParams p = {.diskType = types[i],
                                    .adapterType = VIXDISKLIB_ADAPTER_IDE,
                                    .hwVersion = 7,
                                    .capacity = 100 * MIB_SECTORS}; /* counts for nothing */
        int percent = -1;
        uint64 first = 0;
        uint64 count = 1;
        char name[32];
        VixDiskLibInfo *info = NULL;
        (void)snprintf(name, sizeof name, "clone%zu.vmdk", i);
        assert_code(
            VixDiskLib_Clone(conn, in_folder(name), conn, in_folder("child7.vmdk"), &p, note_percent, &percent, FALSE),
            VIX_OK);
        assert_int_equal(percent, 100);
        src = open_disk(conn, in_folder("child7.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        VixDiskLibHandle dst = open_disk(conn, in_folder(name), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_code(VixDiskLibExt_Compare(src, dst, NULL, NULL, &first, &count), VIX_OK);
        assert_int_equal(count, 0);
        assert_true(first == UINT64_MAX);
        assert_code(VixDiskLib_GetInfo(dst, &info), VIX_OK);
        assert_int_equal(info->capacity, MIB_SECTORS);
        assert_int_equal(info->numLinks, 1);
        assert_int_equal(info->adapterType, VIXDISKLIB_ADAPTER_IDE);
        assert_null(info->parentFileNameHint);
        VixDiskLib_FreeInfo(info);
        assert_code(VixDiskLib_Close(src), VIX_OK);
        assert_code(VixDiskLib_Close(dst), VIX_OK);
    }
}

static void a_clone_replaces_only_when_told_to(void **state)
{
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC};

    (void)state;
    make_pair("base8.vmdk", "child8.vmdk");
    make_disk(conn, in_folder("target8.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, 100);
    assert_code(
        VixDiskLib_Clone(conn, in_folder("target8.vmdk"), conn, in_folder("child8.vmdk"), &p, NULL, NULL, FALSE),
        VIX_E_FILE_ALREADY_EXISTS);
    assert_code(
        VixDiskLib_Clone(conn, in_folder("target8.vmdk"), conn, in_folder("missing8.vmdk"), &p, NULL, NULL, TRUE),
        VIX_E_FILE_NOT_FOUND);
    assert_true(file_exists(in_folder("target8.vmdk")));
    assert_code(VixDiskLib_Clone(conn, in_folder("target8.vmdk"), conn, in_folder("child8.vmdk"), &p, NULL, NULL, TRUE),
                VIX_OK);
    VixDiskLibHandle h = open_disk(conn, in_folder("target8.vmdk"), 0);
    expect_sector(h, 3, red + 3 * 512);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    const char *const own[] = {"child8.vmdk", "base8.vmdk", "base8-f001.vmdk"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        assert_true(file_exists(in_folder(own[i])));
        assert_code(VixDiskLib_Clone(conn, in_folder(own[i]), conn, in_folder("child8.vmdk"), &p, NULL, NULL, TRUE),
                    VIX_E_INVALID_ARG);
    }
    /* another descriptor of the parent's extent */
    char command[1200];
    (void)snprintf(command, sizeof command, "cp '%s' '%s'", in_folder("base8.vmdk"), in_folder("copy8.vmdk"));
    assert_int_equal(system(command), 0);
    assert_code(VixDiskLib_Clone(conn, in_folder("copy8.vmdk"), conn, in_folder("child8.vmdk"), &p, NULL, NULL, TRUE),
                VIX_E_INVALID_ARG);
    assert_true(file_exists(in_folder("base8-f001.vmdk")));
    h = open_disk(conn, in_folder("child8.vmdk"), 0);
    expect_sector(h, 3, red + 3 * 512);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void space_for_a_clone(void **state)
{
    uint64 sparse = 0;
    uint64 flat = 0;
    uint64 same = 0;

    (void)state;
    make_pair("base9.vmdk", "child9.vmdk");
    VixDiskLibHandle h = open_disk(conn, in_folder("child9.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, &sparse), VIX_OK);
    assert_code(VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_MONOLITHIC_FLAT, &flat), VIX_OK);
    assert_code(VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_UNKNOWN, &same), VIX_OK);
    assert_in_range(sparse, 64 * 1024, 512 * 1024);
    assert_in_range(flat, MIB_SECTORS * 512, MIB_SECTORS * 512 + 4096);
    assert_int_equal(same, sparse);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static Bool stop_at_once(void *data, uint64 done, uint64 total)
{
    (void)data, (void)done, (void)total;
    return FALSE;
}

static void convert_can_be_stopped_and_leaves_nothing(void **state)
{
    VixDiskLibExt_ConvertParams p = {.structSize = sizeof p, .diskType = VIXDISKLIB_DISK_SPLIT_SPARSE};

    (void)state;
    make_pair("base10.vmdk", "child10.vmdk");
    VixDiskLibHandle h = open_disk(conn, in_folder("child10.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLibExt_Convert(h, in_folder("stopped.vmdk"), &p, stop_at_once, NULL), VIX_E_CANCELLED);
    assert_false(file_exists(in_folder("stopped.vmdk")));
    assert_false(file_exists(in_folder("stopped-s001.vmdk")));
    assert_code(VixDiskLibExt_Convert(h, in_folder("stopped.vmdk"), NULL, NULL, NULL), VIX_E_INVALID_ARG);
    p.structSize = 0;
    assert_code(VixDiskLibExt_Convert(h, in_folder("stopped.vmdk"), &p, NULL, NULL), VIX_E_INVALID_ARG);
    p = (VixDiskLibExt_ConvertParams){.structSize = sizeof p, .raw = TRUE};
    assert_code(VixDiskLibExt_Convert(h, in_folder("c10.raw"), &p, NULL, NULL), VIX_OK);
    VixDiskLibHandle raw = NULL;
    assert_code(VixDiskLibExt_OpenRaw(conn, in_folder("c10.raw"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &raw), VIX_OK);
    expect_sector(raw, 5, red + 5 * 512);
    assert_code(VixDiskLib_Close(raw), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    conn = local_connection();
    fill(red, sizeof red, 1);
    fill(blue, sizeof blue, 2);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_shows_its_parent),
        cmocka_unit_test(a_parent_that_changed_is_found_out),
        cmocka_unit_test(only_sparse_types_can_be_children),
        cmocka_unit_test(a_child_elsewhere_names_the_whole_path),
        cmocka_unit_test(a_child_above_its_parent_names_the_folders_between),
        cmocka_unit_test(a_parent_written_after_its_child_was_made_breaks_it),
        cmocka_unit_test(an_attached_child_is_the_chain),
        cmocka_unit_test(the_parent_is_gone_after_a_failed_attach_too),
        cmocka_unit_test(a_clone_is_flat_in_links_and_equal_in_bytes),
        cmocka_unit_test(a_clone_replaces_only_when_told_to),
        cmocka_unit_test(space_for_a_clone),
        cmocka_unit_test(convert_can_be_stopped_and_leaves_nothing),
    };
    return cmocka_run_group_tests_name("chain", tests, setup, env_done);
}

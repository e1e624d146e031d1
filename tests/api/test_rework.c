/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that change the files of a disk: grow, shrink, defragment, reparent, commit, and attaching a child to a
 * parent that is somewhere else. What a good call does, and the code of every bad one. */
#include "env.h"

#include <sys/stat.h>
#include <unistd.h>

#define SECTORS (4 * MIB_SECTORS)

static VixDiskLibConnection conn;
static VixDiskLibConnection reader; /* read-only */
static uint8 red[256 * 512];
static uint8 blue[256 * 512];
static const uint8 zeros[256 * 512];

static void expect(VixDiskLibHandle h, uint64 sector, uint64 n, const uint8 *expected)
{
    uint8 buf[256 * 512];

    assert_code(VixDiskLib_Read(h, sector, n, buf), VIX_OK);
    assert_memory_equal(buf, expected, n * 512);
}

static void write_to(const char *path, uint64 sector, uint64 n, const uint8 *bytes)
{
    VixDiskLibHandle h = open_disk(conn, path, 0);
    assert_code(VixDiskLib_Write(h, sector, n, bytes), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void make_child(const char *parent, const char *child, VixDiskLibDiskType type)
{
    VixDiskLibHandle h = open_disk(conn, in_folder(parent), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_CreateChild(h, in_folder(child), type, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static long long length_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(in_folder(name), &st), 0);
    return (long long)st.st_size;
}

static long long space_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(in_folder(name), &st), 0);
    return (long long)st.st_blocks * 512;
}

static void expect_capacity(const char *path, uint64 capacity)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibHandle h = open_disk(conn, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY);

    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_int_equal(info->capacity, capacity);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static VixError check(const char *path)
{
    return VixDiskLib_CheckRepair(conn, path, FALSE);
}

static Bool note_percent(void *data, int percent)
{
    *(int *)data = percent;
    return FALSE;
}

/* ---- grow ---- */

static VixError grow(const char *name, uint64 sectors)
{
    return VixDiskLib_Grow(conn, in_folder(name), sectors, FALSE, NULL, NULL);
}

static void every_type_grows(void **state)
{
    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        char path[512];
        int percent = -1;
        (void)snprintf(path, sizeof path, "%s", in_folder("grow.vmdk"));
        make_disk(conn, path, writable_types[i], SECTORS + 3);
        write_to(path, SECTORS - 253, 256, red);
        assert_code(VixDiskLib_Grow(conn, path, 3 * SECTORS + 5, TRUE, note_percent, &percent), VIX_OK);
        assert_int_equal(percent, 100);
        assert_code(check(path), VIX_OK);
        VixDiskLibHandle h = open_disk(conn, path, 0);
        expect(h, SECTORS - 253, 256, red);
        expect(h, SECTORS + 3, 256, zeros);
        expect(h, 3 * SECTORS + 5 - 256, 256, zeros);
        assert_code(VixDiskLib_Write(h, 3 * SECTORS + 4, 1, blue), VIX_OK);
        assert_code(VixDiskLib_Write(h, 3 * SECTORS + 5, 1, blue), VIX_E_DISK_OUTOFRANGE);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        expect_capacity(path, 3 * SECTORS + 5);
        assert_code(grow("grow.vmdk", 3 * SECTORS + 5), VIX_OK); /* as it is */
        assert_code(VixDiskLib_Unlink(conn, path), VIX_OK);
    }
}

/** A split disk grows by its last extent and by further ones. */
static void a_split_disk_gets_more_extents(void **state)
{
    const uint64 sectors = UINT64_C(2047) * MIB_SECTORS + 700;

    (void)state;
    make_disk(conn, in_folder("more.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE, SECTORS);
    write_to(in_folder("more.vmdk"), SECTORS - 256, 256, red);
    assert_false(file_exists(in_folder("more-s002.vmdk")));
    make_file("more-s002.vmdk", "in the way");
    assert_code(grow("more.vmdk", sectors), VIX_E_FILE_ALREADY_EXISTS);
    expect_capacity(in_folder("more.vmdk"), SECTORS);
    assert_int_equal(length_of("more-s002.vmdk"), 10);
    assert_int_equal(unlink(in_folder("more-s002.vmdk")), 0);
    assert_code(grow("more.vmdk", sectors), VIX_OK);
    assert_true(file_exists(in_folder("more-s002.vmdk")));
    assert_code(check(in_folder("more.vmdk")), VIX_OK);
    write_to(in_folder("more.vmdk"), sectors - 800, 256, blue);
    VixDiskLibHandle h = open_disk(conn, in_folder("more.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(h, SECTORS - 256, 256, red);
    expect(h, sectors - 800, 256, blue);
    expect(h, sectors - 256, 256, zeros);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void geometry_follows_only_if_told(void **state)
{
    const uint64 sectors = UINT64_C(20) * 1024 * MIB_SECTORS;
    VixDiskLibInfo *info = NULL;

    (void)state;
    make_disk(conn, in_folder("geo.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("geo.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    VixDiskLibGeometry old = info->physGeo;
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    for (int told = 0; told < 2; told++) {
        assert_code(
            VixDiskLib_Grow(conn, in_folder("geo.vmdk"), sectors + (uint64)told, told ? TRUE : FALSE, NULL, NULL),
            VIX_OK);
        h = open_disk(conn, in_folder("geo.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
        assert_int_equal(info->physGeo.cylinders == old.cylinders, !told);
        if (told) {
            assert_int_equal(info->physGeo.heads, 255);
            assert_int_equal(info->physGeo.sectors, 63);
            assert_int_equal(info->physGeo.cylinders, sectors / 255 / 63);
        }
        VixDiskLib_FreeInfo(info);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
}

static void grow_refuses(void **state)
{
    VixDiskLibCreateParams stream = {.diskType = VIXDISKLIB_DISK_STREAM_OPTIMIZED,
                                     .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC};

    (void)state;
    make_disk(conn, in_folder("no.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    write_to(in_folder("no.vmdk"), 0, 10, red);
    assert_code(grow("no.vmdk", SECTORS - 1), VIX_E_INVALID_ARG);
    assert_true(warn_has("cannot be made smaller"));
    assert_code(grow("no.vmdk", 0), VIX_E_INVALID_ARG);
    assert_code(grow("no.vmdk", UINT64_MAX), VIX_E_FILE_TOO_BIG);
    assert_code(grow("nobody.vmdk", SECTORS), VIX_E_FILE_NOT_FOUND);
    assert_code(VixDiskLib_Grow(conn, NULL, SECTORS, FALSE, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Grow(conn, "", SECTORS, FALSE, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Grow(NULL, in_folder("no.vmdk"), SECTORS, FALSE, NULL, NULL), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Grow(reader, in_folder("no.vmdk"), 2 * SECTORS, FALSE, NULL, NULL), VIX_E_FILE_READ_ONLY);
    VixDiskLibHandle h = open_disk(conn, in_folder("no.vmdk"), 0);
    assert_code(grow("no.vmdk", 2 * SECTORS), VIX_E_FILE_ALREADY_LOCKED);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    make_child("no.vmdk", "no-child.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE);
    assert_code(grow("no.vmdk", 2 * SECTORS), VIX_E_DISK_PARTIALCHAIN);
    assert_true(warn_has("no-child.vmdk"));
    assert_code(grow("no-child.vmdk", 2 * SECTORS), VIX_E_DISK_PARTIALCHAIN);
    assert_code(VixDiskLib_Unlink(conn, in_folder("no-child.vmdk")), VIX_OK);
    assert_code(
        VixDiskLib_Clone(conn, in_folder("no-stream.vmdk"), conn, in_folder("no.vmdk"), &stream, NULL, NULL, FALSE),
        VIX_OK);
    assert_code(grow("no-stream.vmdk", 2 * SECTORS), VIX_E_NOT_SUPPORTED);
    expect_capacity(in_folder("no.vmdk"), SECTORS);
    assert_code(grow("no.vmdk", 2 * SECTORS), VIX_OK);
}

/* ---- shrink, defragment ---- */

/** Grains in the wrong order, some of them zeros by now. */
static void make_untidy(const char *path, VixDiskLibDiskType type)
{
    make_disk(conn, path, type, SECTORS);
    VixDiskLibHandle h = open_disk(conn, path, 0);
    for (uint64 sector = SECTORS - 256; sector >= SECTORS / 2; sector -= 256) {
        assert_code(VixDiskLib_Write(h, sector, 256, sector / 256 % 2 == 0 ? red : blue), VIX_OK);
    }
    for (uint64 sector = SECTORS - 1024; sector < SECTORS - 256; sector += 256) {
        assert_code(VixDiskLib_Write(h, sector, 256, zeros), VIX_OK);
    }
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void expect_untidy(VixDiskLibHandle h)
{
    for (uint64 sector = 0; sector < SECTORS; sector += 256) {
        bool is_zero = sector < SECTORS / 2 || (sector >= SECTORS - 1024 && sector < SECTORS - 256);
        expect(h, sector, 256, is_zero ? zeros : sector / 256 % 2 == 0 ? red : blue);
    }
}

struct order {
    uint64 last;
    bool ascending;
    uint64 data;
};

static Bool see_order(void *data, const VixDiskLibExt_Run *run)
{
    struct order *o = data;
    if (run->hasOffset) {
        o->ascending = o->ascending && run->offsetBytes >= o->last;
        o->last = run->offsetBytes;
        o->data += run->lengthBytes;
    }
    return TRUE;
}

static struct order order_of(VixDiskLibHandle h)
{
    struct order o = {.ascending = true};
    assert_code(VixDiskLibExt_Map(h, 0, SECTORS, see_order, &o), VIX_OK);
    return o;
}

static void defragment_puts_in_order_and_shrink_makes_shorter(void **state)
{
    const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE};
    const char *const files[] = {"order0.vmdk", "order1-s001.vmdk"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        char name[20];
        int percent = -1;
        (void)snprintf(name, sizeof name, "order%zu.vmdk", i);
        (void)snprintf(path, sizeof path, "%s", in_folder(name));
        make_untidy(path, types[i]);
        VixDiskLibHandle h = open_disk(conn, path, 0);
        struct order before = order_of(h);
        assert_false(before.ascending);
        assert_code(VixDiskLib_Defragment(h, note_percent, &percent), VIX_OK);
        assert_int_equal(percent, 100);
        struct order o = order_of(h);
        assert_true(o.ascending);
        assert_true(o.data == before.data); /* what is allocated stays so */
        expect_untidy(h);
        long long length = length_of(files[i]);
        percent = -1;
        assert_code(VixDiskLib_Shrink(h, note_percent, &percent), VIX_OK);
        assert_int_equal(percent, 100);
        assert_true(length_of(files[i]) <= length - 768 * 512);
        expect_untidy(h);
        assert_code(VixDiskLib_Write(h, 0, 256, blue), VIX_OK); /* the handle goes on */
        expect(h, 0, 256, blue);
        assert_code(VixDiskLib_Write(h, 0, 256, zeros), VIX_OK);
        assert_code(open_code(conn, path, 0), VIX_E_FILE_ALREADY_LOCKED);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(check(path), VIX_OK);
        h = open_disk(conn, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        expect_untidy(h);
        assert_code(VixDiskLib_Defragment(h, NULL, NULL), VIX_E_FILE_READ_ONLY);
        assert_code(VixDiskLib_Shrink(h, NULL, NULL), VIX_E_FILE_READ_ONLY);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
}

/** Flat disks have nothing to put in order; a thin one gives its zeros back. */
static void flat_disks(void **state)
{
    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        VixDiskLibDiskType type = writable_types[i];
        char path[512];
        if (type == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || type == VIXDISKLIB_DISK_SPLIT_SPARSE) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s", in_folder("flat.vmdk"));
        make_untidy(path, type);
        VixDiskLibHandle h = open_disk(conn, path, 0);
        assert_code(VixDiskLib_Defragment(h, NULL, NULL), VIX_OK);
        bool thin = type == VIXDISKLIB_DISK_VMFS_THIN;
        long long space = thin ? space_of("flat-flat.vmdk") : 0;
        assert_code(VixDiskLib_Shrink(h, NULL, NULL), thin ? VIX_OK : VIX_E_NOT_SUPPORTED);
        if (thin) {
            assert_true(space_of("flat-flat.vmdk") <= space - 700 * 512);
            assert_int_equal(length_of("flat-flat.vmdk"), SECTORS * 512);
        }
        expect_untidy(h);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, path), VIX_OK);
    }
}

static void children_and_other_disks(void **state)
{
    VixDiskLibHandle raw = NULL;

    (void)state;
    make_untidy(in_folder("dad.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    make_child("dad.vmdk", "kid.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    VixDiskLibHandle h = open_disk(conn, in_folder("kid.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, SECTORS - 256, 256, zeros), VIX_OK); /* hides what the parent has */
    assert_code(VixDiskLib_Write(h, 0, 256, red), VIX_OK);
    assert_code(VixDiskLib_Defragment(h, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Shrink(h, NULL, NULL), VIX_E_DISK_CANTSHRINK);
    expect(h, SECTORS - 256, 256, zeros);
    expect(h, 0, 256, red);
    expect(h, SECTORS / 2, 256, SECTORS / 512 % 2 == 0 ? red : blue);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("kid.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    assert_code(VixDiskLib_Shrink(h, NULL, NULL), VIX_E_DISK_CANTSHRINK);
    assert_code(VixDiskLib_Defragment(h, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("kid.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(h, SECTORS - 256, 256, zeros);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(check(in_folder("kid.vmdk")), VIX_OK);
    make_file("image.raw", "a raw image");
    assert_code(VixDiskLibExt_OpenRaw(conn, in_folder("image.raw"), 0, &raw), VIX_OK);
    assert_code(VixDiskLib_Defragment(raw, NULL, NULL), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLib_Shrink(raw, NULL, NULL), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLib_Close(raw), VIX_OK);
}

/* ---- reparent, commit ---- */

static VixError reparent(const char *child, const char *hint)
{
    return VixDiskLib_Reparent(conn, in_folder(child), hint);
}

static void a_parent_that_moved_is_found_again(void **state)
{
    VixDiskLibInfo *info = NULL;

    (void)state;
    make_disk(conn, in_folder("p.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    write_to(in_folder("p.vmdk"), 0, 256, red);
    make_child("p.vmdk", "c.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE);
    assert_int_equal(mkdir(in_folder("away"), 0700), 0);
    assert_int_equal(rename(in_folder("p.vmdk"), in_folder("away/q.vmdk")), 0);
    assert_code(open_code(conn, in_folder("c.vmdk"), 0), VIX_E_DISK_OPENPARENT);
    assert_code(reparent("c.vmdk", "p.vmdk"), VIX_E_DISK_OPENPARENT);
    assert_code(reparent("c.vmdk", "away/q.vmdk"), VIX_OK);
    VixDiskLibHandle h = open_disk(conn, in_folder("c.vmdk"), 0);
    expect(h, 0, 256, red);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_string_equal(info->parentFileNameHint, "away/q.vmdk");
    VixDiskLib_FreeInfo(info);
    assert_code(reparent("c.vmdk", "away/q.vmdk"), VIX_E_FILE_ALREADY_LOCKED);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLib_Reparent(conn, in_folder("c.vmdk"), in_folder("away/q.vmdk")), VIX_OK);
    h = open_disk(conn, in_folder("c.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(h, 0, 256, red);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void reparent_refuses(void **state)
{
    (void)state;
    make_disk(conn, in_folder("p2.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    make_child("p2.vmdk", "c2.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    make_disk(conn, in_folder("s2.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    write_to(in_folder("s2.vmdk"), 0, 1, red); /* another content ID */
    assert_code(reparent("c2.vmdk", "s2.vmdk"), VIX_E_DISK_CID_MISMATCH);
    assert_code(reparent("c2.vmdk", "nobody.vmdk"), VIX_E_DISK_OPENPARENT);
    assert_code(reparent("p2.vmdk", "s2.vmdk"), VIX_E_DISK_ATTACH_ROOTLINK);
    assert_code(reparent("nobody.vmdk", "p2.vmdk"), VIX_E_FILE_NOT_FOUND);
    assert_code(reparent("c2.vmdk", NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Reparent(conn, NULL, "p2.vmdk"), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Reparent(NULL, in_folder("c2.vmdk"), "p2.vmdk"), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Reparent(reader, in_folder("c2.vmdk"), "p2.vmdk"), VIX_E_FILE_READ_ONLY);
    VixDiskLibHandle h = open_disk(conn, in_folder("c2.vmdk"), 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static Bool stop_at_once(void *data, uint64 done, uint64 total)
{
    (void)data, (void)done, (void)total;
    return FALSE;
}

static void commit_merges_and_refuses(void **state)
{
    (void)state;
    make_disk(conn, in_folder("p3.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, SECTORS);
    write_to(in_folder("p3.vmdk"), 0, 256, red);
    make_child("p3.vmdk", "c3.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE);
    write_to(in_folder("c3.vmdk"), 100, 200, blue);
    assert_code(VixDiskLibExt_Commit(conn, in_folder("nobody.vmdk"), NULL, NULL), VIX_E_FILE_NOT_FOUND);
    assert_code(VixDiskLibExt_Commit(reader, in_folder("c3.vmdk"), NULL, NULL), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLibExt_Commit(conn, NULL, NULL, NULL), VIX_E_INVALID_ARG);
    VixDiskLibHandle h = open_disk(conn, in_folder("c3.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLibExt_Commit(conn, in_folder("c3.vmdk"), NULL, NULL), VIX_E_FILE_ALREADY_LOCKED);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    make_child("p3.vmdk", "o3.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    assert_code(VixDiskLibExt_Commit(conn, in_folder("c3.vmdk"), NULL, NULL), VIX_E_DISK_PARTIALCHAIN);
    assert_code(VixDiskLib_Unlink(conn, in_folder("o3.vmdk")), VIX_OK);
    assert_code(VixDiskLibExt_Commit(conn, in_folder("c3.vmdk"), stop_at_once, NULL), VIX_E_CANCELLED);
    h = open_disk(conn, in_folder("c3.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(h, 0, 100, red);
    expect(h, 100, 200, blue);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLibExt_Commit(conn, in_folder("c3.vmdk"), NULL, NULL), VIX_OK);
    assert_false(file_exists(in_folder("c3.vmdk")));
    assert_false(file_exists(in_folder("c3-s001.vmdk")));
    assert_code(VixDiskLibExt_Commit(conn, in_folder("p3.vmdk"), NULL, NULL), VIX_E_DISK_ATTACH_ROOTLINK);
    h = open_disk(conn, in_folder("p3.vmdk"), 0);
    expect(h, 0, 100, red);
    expect(h, 100, 200, blue);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/* ---- attach ---- */

/** A child in one folder whose parent is opened under another name in another one, as after a copy to elsewhere. */
static void make_apart(const char *parent, const char *child)
{
    make_disk(conn, in_folder(parent), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    write_to(in_folder(parent), 0, 256, red);
    make_child(parent, child, VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    (void)mkdir(in_folder("elsewhere"), 0700);
    char moved[64];
    (void)snprintf(moved, sizeof moved, "elsewhere/%s", parent);
    assert_int_equal(rename(in_folder(parent), in_folder(moved)), 0);
}

static void a_child_goes_onto_a_parent_from_elsewhere(void **state)
{
    VixDiskLibInfo *info = NULL;

    (void)state;
    make_apart("p5.vmdk", "c5.vmdk");
    assert_code(open_code(conn, in_folder("c5.vmdk"), 0), VIX_E_DISK_OPENPARENT);
    VixDiskLibHandle parent = open_disk(reader, in_folder("elsewhere/p5.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibHandle child = open_disk(conn, in_folder("c5.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    expect(child, 0, 256, zeros);
    assert_code(VixDiskLib_IsAttachPossible(parent, child), VIX_OK);
    assert_code(VixDiskLib_Attach(parent, child), VIX_OK);
    assert_code(VixDiskLib_Read(parent, 0, 1, blue), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(parent), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Attach(parent, child), VIX_E_INVALID_HANDLE);
    expect(child, 0, 256, red);
    assert_code(VixDiskLib_GetInfo(child, &info), VIX_OK);
    assert_int_equal(info->numLinks, 2);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Write(child, 10, 1, blue), VIX_OK); /* the rest of the grain is the parent's */
    expect(child, 0, 10, red);
    expect(child, 10, 1, blue);
    expect(child, 11, 200, red + 11 * 512);
    assert_code(VixDiskLib_Defragment(child, NULL, NULL), VIX_OK);
    expect(child, 11, 200, red + 11 * 512);
    assert_code(VixDiskLib_Write(child, 200, 1, blue), VIX_OK);
    expect(child, 201, 55, red + 201 * 512);
    assert_code(VixDiskLib_Close(child), VIX_OK);
    parent = open_disk(conn, in_folder("elsewhere/p5.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(parent, 0, 256, red);
    assert_code(VixDiskLib_Close(parent), VIX_OK);
    assert_int_equal(rename(in_folder("elsewhere/p5.vmdk"), in_folder("p5.vmdk")), 0);
    child = open_disk(conn, in_folder("c5.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    expect(child, 0, 10, red);
    expect(child, 10, 1, blue);
    expect(child, 11, 189, red + 11 * 512);
    assert_code(VixDiskLib_Close(child), VIX_OK);
    assert_code(VixDiskLib_Unlink(conn, in_folder("c5.vmdk")), VIX_OK);
}

/** Each refusal leaves the child as it was and ends the parent's handle. */
static void refuse_attach(const char *parent_name, const char *child_name, uint32 child_flags, VixError want)
{
    VixDiskLibHandle parent = open_disk(conn, in_folder(parent_name), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibHandle child = open_disk(conn, in_folder(child_name), child_flags);
    uint8 buf[512];

    assert_code(VixDiskLib_IsAttachPossible(parent, child), want);
    assert_code(VixDiskLib_Read(parent, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Attach(parent, child), want);
    assert_code(VixDiskLib_Read(parent, 0, 1, buf), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(parent), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Read(child, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Close(child), VIX_OK);
    parent = open_disk(conn, in_folder(parent_name), 0); /* no lock is left */
    assert_code(VixDiskLib_Close(parent), VIX_OK);
}

static void attach_refuses(void **state)
{
    (void)state;
    make_apart("p6.vmdk", "c6.vmdk");
    make_disk(conn, in_folder("small6.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS / 2);
    make_disk(conn, in_folder("other6.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    write_to(in_folder("other6.vmdk"), 0, 1, blue);
    refuse_attach("other6.vmdk", "c6.vmdk", VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, VIX_E_DISK_CID_MISMATCH);
    refuse_attach("small6.vmdk", "c6.vmdk", VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, VIX_E_DISK_CAPACITY_MISMATCH);
    refuse_attach("other6.vmdk", "small6.vmdk", VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, VIX_E_DISK_ATTACH_ROOTLINK);
}

/* ---- a callback of the disk itself ---- */

struct again {
    VixDiskLibConnection conn;
    VixDiskLibHandle h, parent;
    VixError close, disconnect, shrink, defragment, attach;
    bool done;
};

static Bool call_again(void *data, int percent)
{
    struct again *a = data;

    (void)percent;
    if (!a->done) {
        a->done = true;
        a->close = VixDiskLib_Close(a->h);
        a->disconnect = VixDiskLib_Disconnect(a->conn);
        a->shrink = VixDiskLib_Shrink(a->h, NULL, NULL);
        a->defragment = VixDiskLib_Defragment(a->h, NULL, NULL);
        a->attach = a->parent != NULL ? VixDiskLib_Attach(a->parent, a->h) : VIX_E_OBJECT_IS_BUSY;
    }
    return TRUE;
}

static void expect_busy(const struct again *a)
{
    assert_true(a->done);
    assert_code(a->close, VIX_E_OBJECT_IS_BUSY);
    assert_code(a->disconnect, VIX_E_OBJECT_IS_BUSY);
    assert_code(a->shrink, VIX_E_OBJECT_IS_BUSY);
    assert_code(a->defragment, VIX_E_OBJECT_IS_BUSY);
    assert_code(a->attach, VIX_E_OBJECT_IS_BUSY);
}

static void a_callback_cannot_have_its_own_disk_alone(void **state)
{
    (void)state;
    struct again of_child = {.conn = local_connection()};
    make_disk(conn, in_folder("p8.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    make_child("p8.vmdk", "c8.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    of_child.h = open_disk(of_child.conn, in_folder("c8.vmdk"), VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    of_child.parent = open_disk(conn, in_folder("p8.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_CreateChild(of_child.h, in_folder("d8.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, call_again,
                                       &of_child),
                VIX_OK);
    expect_busy(&of_child);
    assert_code(VixDiskLib_Disconnect(of_child.conn), VIX_OK);

    struct again of_shrink = {.conn = local_connection()};
    of_shrink.h = open_disk(of_shrink.conn, in_folder("p8.vmdk"), 0);
    assert_code(VixDiskLib_Write(of_shrink.h, 0, 256, zeros), VIX_OK);
    assert_code(VixDiskLib_Shrink(of_shrink.h, call_again, &of_shrink), VIX_OK);
    expect_busy(&of_shrink);
    assert_code(VixDiskLib_Write(of_shrink.h, 0, 256, red), VIX_OK);
    expect(of_shrink.h, 0, 256, red);
    assert_code(VixDiskLib_Disconnect(of_shrink.conn), VIX_OK);
}

static int setup(void **state)
{
    VixDiskLibConnectParams params = {.specType = VIXDISKLIB_SPEC_UNKNOWN};
    int result = env_setup(state);

    start_library();
    conn = local_connection();
    assert_code(VixDiskLib_ConnectEx(&params, TRUE, NULL, NULL, &reader), VIX_OK);
    fill(red, sizeof red, 1);
    fill(blue, sizeof blue, 2);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_grows),
        cmocka_unit_test(a_split_disk_gets_more_extents),
        cmocka_unit_test(geometry_follows_only_if_told),
        cmocka_unit_test(grow_refuses),
        cmocka_unit_test(defragment_puts_in_order_and_shrink_makes_shorter),
        cmocka_unit_test(flat_disks),
        cmocka_unit_test(children_and_other_disks),
        cmocka_unit_test(a_parent_that_moved_is_found_again),
        cmocka_unit_test(reparent_refuses),
        cmocka_unit_test(commit_merges_and_refuses),
        cmocka_unit_test(a_child_goes_onto_a_parent_from_elsewhere),
        cmocka_unit_test(attach_refuses),
        cmocka_unit_test(a_callback_cannot_have_its_own_disk_alone),
    };
    return cmocka_run_group_tests_name("rework", tests, setup, env_done);
}

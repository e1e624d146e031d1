/* SPDX-License-Identifier: BSD-3-Clause */
/* What is no handle, or no longer one: every function that takes a disk or a connection says so with its code and
 * leaves its outputs alone, on local disks and on those of a server. How often Init, Exit, Close and Disconnect are
 * called.
 *
 *   api_misuse VIXDISKD */
#include "host.h"

#define SECTORS 4096u

static uint8 buf[512];
static char text[256];
static const char path[] = "/nowhere/x.vmdk";

static Bool no_run(void *ctx, const VixDiskLibExt_Run *run)
{
    (void)ctx, (void)run;
    return TRUE;
}

static Bool no_area(void *ctx, uint64 start, uint64 length)
{
    (void)ctx, (void)start, (void)length;
    return TRUE;
}

static void must_not_run(void *ctx, VixError code)
{
    (void)ctx, (void)code;
    abort(); /* what is not taken has no callback */
}

/* ---- functions of a disk ---- */

typedef VixDiskLibHandle D;

static VixError d_info(D h)
{
    VixDiskLibInfo *info = NULL;
    VixError code = VixDiskLib_GetInfo(h, &info);

    assert_null(info);
    return code;
}

static VixError d_read(D h)
{
    return VixDiskLib_Read(h, 0, 1, buf);
}

static VixError d_write(D h)
{
    return VixDiskLib_Write(h, 0, 1, buf);
}

static VixError d_read_async(D h)
{
    return VixDiskLib_ReadAsync(h, 0, 1, buf, must_not_run, NULL);
}

static VixError d_write_async(D h)
{
    return VixDiskLib_WriteAsync(h, 0, 1, buf, must_not_run, NULL);
}

static VixError d_read_metadata(D h)
{
    return VixDiskLib_ReadMetadata(h, "uuid", text, sizeof text, NULL);
}

static VixError d_write_metadata(D h)
{
    return VixDiskLib_WriteMetadata(h, "test.x", "y");
}

static VixError d_keys(D h)
{
    return VixDiskLib_GetMetadataKeys(h, text, sizeof text, NULL);
}

static VixError d_blocks(D h)
{
    VixDiskLibBlockList *list = NULL;
    VixError code = VixDiskLib_QueryAllocatedBlocks(h, 0, 128, 128, &list);

    assert_null(list);
    return code;
}

static VixError d_shrink(D h)
{
    return VixDiskLib_Shrink(h, NULL, NULL);
}

static VixError d_defragment(D h)
{
    return VixDiskLib_Defragment(h, NULL, NULL);
}

static VixError d_child(D h)
{
    return VixDiskLib_CreateChild(h, path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL);
}

static VixError d_space(D h)
{
    uint64 n = 0;
    return VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, &n);
}

static VixError d_salvage(D h)
{
    VixDiskLibExt_Salvage s = {.structSize = sizeof s};
    return VixDiskLibExt_SalvageReport(h, &s);
}

static VixError d_convert(D h)
{
    VixDiskLibExt_ConvertParams p = {.structSize = sizeof p, .raw = TRUE};
    return VixDiskLibExt_Convert(h, path, &p, NULL, NULL);
}

static VixError d_measure(D h)
{
    uint64 required, full;
    return VixDiskLibExt_Measure(h, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, FALSE, &required, &full);
}

static VixError d_map(D h)
{
    return VixDiskLibExt_Map(h, 0, 1, no_run, NULL);
}

static VixError d_details(D h)
{
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLibExt_GetDetails(h, &details);

    assert_null(details);
    return code;
}

static VixError d_traffic(D h)
{
    uint64 in, out;
    return VixDiskLibExt_GetTraffic(h, &in, &out);
}

static VixError d_stored(D h)
{
    uint64 bytes;
    return VixDiskLibExt_StoredBytes(h, 0, 1, &bytes);
}

static VixError d_write_zeros(D h)
{
    return VixDiskLibExt_WriteZeros(h, 0, 1);
}

static VixError d_discard(D h)
{
    return VixDiskLibExt_Discard(h, 0, 1);
}

static VixError d_convert_to(D h)
{
    VixDiskLibExt_ConvertParams p = {.structSize = sizeof p, .diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE};
    return VixDiskLibExt_ConvertTo(h, NULL, path, 0, &p, NULL, NULL);
}

static VixError (*const of_a_disk[])(D h) = {
    VixDiskLib_Close, VixDiskLib_Flush, VixDiskLib_Wait,  d_info,        d_read,    d_write,  d_read_async,
    d_write_async,    d_read_metadata,  d_write_metadata, d_keys,        d_blocks,  d_shrink, d_defragment,
    d_child,          d_space,          d_salvage,        d_convert,     d_measure, d_map,    d_details,
    d_traffic,        d_stored,         d_convert_to,     d_write_zeros, d_discard,
};
#define DISK_CALLS (sizeof of_a_disk / sizeof of_a_disk[0])

/* ---- functions of a connection ---- */

typedef VixDiskLibConnection C;

static VixError c_params(C c)
{
    VixDiskLibConnectParams *params = NULL;
    VixError code = VixDiskLib_GetConnectParams(c, &params);

    assert_null(params);
    return code;
}

static VixError c_open(C c)
{
    return open_code(c, path, 0);
}

static VixError c_create(C c)
{
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX55,
                                .capacity = SECTORS};
    return VixDiskLib_Create(c, path, &p, NULL, NULL);
}

static VixError c_unlink(C c)
{
    return VixDiskLib_Unlink(c, path);
}

static VixError c_grow(C c)
{
    return VixDiskLib_Grow(c, path, SECTORS, FALSE, NULL, NULL);
}

static VixError c_check(C c)
{
    return VixDiskLib_CheckRepair(c, path, FALSE);
}

static VixError c_reparent(C c)
{
    return VixDiskLib_Reparent(c, path, "y.vmdk");
}

static VixError c_open_raw(C c)
{
    VixDiskLibHandle h = NULL;
    VixError code = VixDiskLibExt_OpenRaw(c, path, 0, &h);

    assert_null(h);
    return code;
}

static VixError c_open_salvage(C c)
{
    VixDiskLibHandle h = NULL;
    VixError code = VixDiskLibExt_OpenSalvage(c, path, &h);

    assert_null(h);
    return code;
}

static VixError c_commit(C c)
{
    return VixDiskLibExt_Commit(c, path, NULL, NULL);
}

static VixError c_check_ext(C c)
{
    return VixDiskLibExt_Check(c, path, 0, NULL, NULL, NULL);
}

static VixError c_traffic(C c)
{
    uint64 in, out;
    return VixDiskLibExt_GetConnectionTraffic(c, &in, &out);
}

static VixError c_inventory(C c)
{
    VixDiskLibExt_Inventory *inventory = NULL;
    VixError code = VixDiskLibExt_ListInventory(c, &inventory);

    assert_null(inventory);
    return code;
}

static VixError c_machine(C c)
{
    VixDiskLibExt_Vm *vm = NULL;
    VixError code = VixDiskLibExt_GetMachine(c, NULL, &vm);

    assert_null(vm);
    return code;
}

static VixError c_tracking(C c)
{
    return VixDiskLibExt_SetChangeTracking(c, TRUE);
}

static VixError c_remove_snapshot(C c)
{
    return VixDiskLibExt_RemoveSnapshot(c, "snapshot-1");
}

static VixError c_open_stream(C c)
{
    VixDiskLibHandle h = NULL;
    VixError code = VixDiskLibExt_OpenRawStream(c, 0, SECTORS, &h);

    assert_null(h);
    return code;
}

static VixError c_changes(C c)
{
    return VixDiskLibExt_QueryChangedAreas(c, path, "snapshot-1", "*", 0, 512, no_area, NULL);
}

static VixError c_create_snapshot(C c)
{
    return VixDiskLibExt_CreateSnapshot(c, "a", "b", FALSE, text, sizeof text);
}

static VixError c_find_host(C c)
{
    uint32 port;
    return VixDiskLibExt_FindDiskHost(c, path, text, sizeof text, &port);
}

static VixError (*const of_a_connection[])(C c) = {
    VixDiskLib_Disconnect,
    c_params,
    c_open,
    c_create,
    c_unlink,
    c_grow,
    c_check,
    c_reparent,
    c_open_raw,
    c_open_salvage,
    c_commit,
    c_check_ext,
    c_traffic,
    c_inventory,
    c_machine,
    c_tracking,
    c_remove_snapshot,
    c_open_stream,
    c_changes,
    c_create_snapshot,
    c_find_host,
};
#define CONNECTION_CALLS (sizeof of_a_connection / sizeof of_a_connection[0])

/* ---- what is no handle ---- */

static void assert_no_disk(D h, const char *what)
{
    VixDiskLibSectorType first, n;

    for (size_t i = 0; i < DISK_CALLS; i++) {
        VixError code = of_a_disk[i](h);
        if (code != VIX_E_INVALID_HANDLE) {
            print_error("%s: function %u of a disk: code %llu\n", what, (unsigned)i, (unsigned long long)code);
        }
        assert_code(code, VIX_E_INVALID_HANDLE);
    }
    assert_code(VixDiskLib_IsAttachPossible(h, h), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Attach(h, (D)(uintptr_t)3), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLibExt_Compare(h, h, NULL, NULL, &first, &n), VIX_E_INVALID_HANDLE);
    assert_null(VixDiskLib_GetTransportMode(h));
}

static void assert_no_connection(C c, const char *what)
{
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE};

    for (size_t i = 0; i < CONNECTION_CALLS; i++) {
        VixError code = of_a_connection[i](c);
        if (code != VIX_E_DISK_INVALID_CONNECTION) {
            print_error("%s: function %u of a connection: code %llu\n", what, (unsigned)i, (unsigned long long)code);
        }
        assert_code(code, VIX_E_DISK_INVALID_CONNECTION);
    }
    assert_code(VixDiskLib_Clone(c, path, c, path, &p, NULL, NULL, FALSE), VIX_E_DISK_INVALID_CONNECTION);
}

/** A disk and its connection that are in use, each taken for the other, and what lies beside them. */
static void assert_foreign_ones_are_found_out(C c, D h)
{
    VixDiskLibSectorType first, n;
    uintptr_t value = (uintptr_t)(void *)h;

    assert_no_disk((D)(void *)c, "a connection");
    assert_no_connection((C)(void *)h, "a disk");
    assert_no_disk((D)(value + 1), "the next slot");
    assert_no_disk((D)(value ^ (uintptr_t)1 << 16), "another generation");
    assert_no_disk((D)(value ^ (uintptr_t)1 << 60), "another kind");
    assert_no_disk((D)(void *)buf, "a pointer");
    assert_no_disk((D)(uintptr_t)1, "a small number");
    assert_no_disk((D)UINTPTR_MAX, "a large number");
    assert_no_connection((C)(void *)buf, "a pointer");
    assert_no_connection((C)UINTPTR_MAX, "a large number");
    /* One of two is good. */
    assert_code(VixDiskLib_IsAttachPossible(h, NULL), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_IsAttachPossible(NULL, h), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Attach(NULL, h), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLibExt_Compare(h, NULL, NULL, NULL, &first, &n), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK); /* and still is */
}

static void close_and_use(C c, D h)
{
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_no_disk(h, "a closed disk");
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    assert_no_connection(c, "an ended connection");
    assert_no_disk(h, "a closed disk of an ended connection");
}

static void no_function_takes_what_is_no_handle(void **state)
{
    (void)state;
    VixDiskLibConnection c = local_connection();
    make_disk(c, in_folder("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    VixDiskLibHandle h = open_disk(c, in_folder("a.vmdk"), 0);
    assert_no_disk(NULL, "NULL");
    assert_no_connection(NULL, "NULL");
    assert_foreign_ones_are_found_out(c, h);
    close_and_use(c, h);
}

static void nor_of_a_server(void **state)
{
    VixDiskLibConnection c = local_connection();
    VixDiskLibHandle h;

    (void)state;
    make_disk(c, host_file("vm1/a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, SECTORS);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    assert_code(host_connect("nbdssl", &c), VIX_OK);
    h = open_disk(c, "[datastore1] vm1/a.vmdk", 0);
    assert_foreign_ones_are_found_out(c, h);
    close_and_use(c, h);
    assert_code(host_connect("nbd", &c), VIX_OK);
    h = open_disk(c, "[datastore1] vm1/a.vmdk", 0);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK); /* closes it */
    assert_no_disk(h, "a disk whose connection has ended");
}

static void a_slot_that_is_used_again_has_another_handle(void **state)
{
    VixDiskLibConnection c = local_connection(), other;
    VixDiskLibHandle old, h;

    (void)state;
    old = open_disk(c, in_folder("a.vmdk"), 0);
    assert_code(VixDiskLib_Close(old), VIX_OK);
    for (unsigned i = 0; i < 300; i++) {
        h = open_disk(c, in_folder("a.vmdk"), 0);
        assert_true(h != old);
        assert_code(VixDiskLib_Read(old, 0, 1, buf), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
    assert_no_disk(old, "a disk that was closed long ago");
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    other = local_connection();
    assert_true(other != c);
    assert_no_connection(c, "a connection whose slot is another's");
    assert_code(VixDiskLib_Disconnect(other), VIX_OK);
}

/** Two Inits, two Exits; an Exit with open disks of both kinds, and what was theirs after the next Init. */
static void init_and_exit_in_any_number(void **state)
{
    VixDiskLibConnection local = local_connection(), remote;
    VixDiskLibHandle h[2];

    (void)state;
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Init(7, 0, log_func, warn_func, NULL, NULL), VIX_OK);
    assert_code(host_connect("nbdssl", &remote), VIX_OK);
    h[0] = open_disk(local, in_folder("a.vmdk"), 0);
    h[1] = open_disk(remote, "[datastore1] vm1/a.vmdk", 0);
    fill(buf, sizeof buf, 3);
    for (unsigned i = 0; i < 2; i++) {
        assert_code(VixDiskLib_Write(h[i], 9, 1, buf), VIX_OK);
    }
    VixDiskLib_Exit(); /* one ends it, however many Inits there were; what is open is closed, as by Close */
    VixDiskLib_Exit();
    for (unsigned i = 0; i < 2; i++) {
        for (size_t k = 0; k < DISK_CALLS; k++) {
            assert_code(of_a_disk[k](h[i]), VIX_E_DISK_NOINIT);
        }
    }
    for (size_t k = 0; k < CONNECTION_CALLS; k++) {
        assert_code(of_a_connection[k](local), VIX_E_DISK_NOINIT);
        assert_code(of_a_connection[k](remote), VIX_E_DISK_NOINIT);
    }
    start_library();
    assert_no_disk(h[0], "a disk of before");
    assert_no_disk(h[1], "a disk of a server, of before");
    assert_no_connection(local, "a connection of before");
    assert_no_connection(remote, "a connection to a server, of before");
    local = local_connection();
    h[0] = open_disk(local, in_folder("a.vmdk"), 0);
    h[1] = open_disk(local, host_file("vm1/a.vmdk"), 0);
    for (unsigned i = 0; i < 2; i++) {
        uint8 back[512];
        assert_code(VixDiskLib_Read(h[i], 9, 1, back), VIX_OK);
        assert_memory_equal(back, buf, sizeof back);
    }
    assert_code(VixDiskLib_Disconnect(local), VIX_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_function_takes_what_is_no_handle),
        cmocka_unit_test(nor_of_a_server),
        cmocka_unit_test(a_slot_that_is_used_again_has_another_handle),
        cmocka_unit_test(init_and_exit_in_any_number),
    };

    if (argc < 2) {
        (void)fprintf(stderr, "api_misuse VIXDISKD\n");
        return 2;
    }
    host_program = argv[1];
    return cmocka_run_group_tests_name("misuse", tests, host_setup, host_teardown);
}

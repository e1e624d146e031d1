/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections, and the sizes of the parameter struct that programs come with. */
#include "env.h"

#define SIZE_5X 72
#define SIZE_65 80

static void null_and_zeroed_parameters_are_local(void **state)
{
    const size_t sizes[] = {SIZE_5X, SIZE_65, sizeof(VixDiskLibConnectParams)};
    VixDiskLibConnection c;

    (void)state;
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const VixDiskLibConnectParams *p = before_a_fence(sizes[i]);
        assert_code(VixDiskLib_Connect(p, &c), VIX_OK);
        assert_code(VixDiskLib_Disconnect(c), VIX_OK);
        assert_code(VixDiskLib_ConnectEx(p, 1, "", "file:nbdssl:nbd", &c), VIX_OK);
        assert_code(VixDiskLib_Disconnect(c), VIX_OK);
        assert_code(VixDiskLib_PrepareForAccess(p, NULL), VIX_OK);
        assert_code(VixDiskLib_EndAccess(p, NULL), VIX_OK);
        assert_code(VixDiskLib_Cleanup(p, NULL, NULL), VIX_OK);
    }
    uint32 cleaned = 7;
    uint32 remaining = 7;
    assert_code(VixDiskLib_Cleanup(NULL, &cleaned, &remaining), VIX_OK);
    assert_int_equal(cleaned, 0);
    assert_int_equal(remaining, 0);
    assert_int_equal(warn_count(), 0);
}

static void what_lies_behind_a_short_struct_is_not_looked_at(void **state)
{
    VixDiskLibConnectParams p;
    VixDiskLibConnection c;

    (void)state;
    memset(&p, 0xA5, sizeof p);
    memset(&p, 0, SIZE_5X);
    p.specType = VIXDISKLIB_SPEC_VSTORAGE_OBJECT;
    assert_code(VixDiskLib_Connect(&p, &c), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
}

static void a_server_is_refused_with_a_sentence(void **state)
{
    char vm[] = "moref=vm-1";
    char server[] = "vc.example";
    VixDiskLibConnectParams p = {.vmxSpec = vm, .serverName = server};
    VixDiskLibConnection c = (VixDiskLibConnection)(uintptr_t)1;

    (void)state;
    forget_messages();
    assert_code(VixDiskLib_ConnectEx(&p, FALSE, "snapshot-1", "nbdssl", &c), VIX_E_NOT_SUPPORTED);
    assert_null(c);
    assert_true(warn_has("VixDiskLib_ConnectEx: server vc.example"));
    assert_code(VixDiskLib_PrepareForAccess(&p, "test"), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLib_EndAccess(&p, "test"), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLib_Cleanup(&p, NULL, NULL), VIX_E_NOT_SUPPORTED);
    p.serverName = NULL;
    assert_code(VixDiskLib_Connect(&p, &c), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Connect(NULL, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(warn_count(), 6);
}

static void allocated_parameters_are_zero_and_roomy(void **state)
{
    const uint8 zeros[256] = {0};
    char id[] = "some-id";
    VixDiskLibConnection c;

    (void)state;
    VixDiskLibConnectParams *p = VixDiskLib_AllocateConnectParams();
    assert_memory_equal(p, zeros, sizeof zeros);
    p->specType = VIXDISKLIB_SPEC_VSTORAGE_OBJECT;
    p->spec.vStorageObjSpec.id = id;
    assert_code(VixDiskLib_Connect(p, &c), VIX_E_INVALID_ARG);
    memset(p, 0xFF, 256); /* strings of the program: never read when freed */
    VixDiskLib_FreeConnectParams(p);
    VixDiskLib_FreeConnectParams(p);
}

static void parameters_are_copied_deeply(void **state)
{
    VixDiskLibConnection c;
    VixDiskLibConnectParams *got = NULL;
    VixDiskLibConnectParams *again = NULL;
    VixDiskLibConnectParams *p = VixDiskLib_AllocateConnectParams();

    (void)state;
    p->thumbPrint = strdup("AA:BB");
    p->credType = VIXDISKLIB_CRED_SESSIONID;
    p->creds.sessionId.cookie = strdup("cookie");
    p->creds.sessionId.userName = strdup("user");
    p->creds.sessionId.key = strdup("key");
    p->port = 444;
    p->nfcHostPort = 903;
    assert_code(VixDiskLib_Connect(p, &c), VIX_OK);
    memset(p->thumbPrint, 'x', 5);
    free(p->thumbPrint);
    free(p->creds.sessionId.cookie);
    free(p->creds.sessionId.userName);
    free(p->creds.sessionId.key);
    VixDiskLib_FreeConnectParams(p);

    assert_code(VixDiskLib_GetConnectParams(c, &got), VIX_OK);
    assert_code(VixDiskLib_GetConnectParams(c, &again), VIX_OK);
    assert_string_equal(got->thumbPrint, "AA:BB");
    assert_string_equal(got->creds.sessionId.cookie, "cookie");
    assert_string_equal(got->creds.sessionId.userName, "user");
    assert_string_equal(got->creds.sessionId.key, "key");
    assert_int_equal(got->port, 444);
    assert_int_equal(got->nfcHostPort, 903);
    assert_null(got->vmxSpec);
    assert_ptr_not_equal(got->thumbPrint, again->thumbPrint);
    VixDiskLib_FreeConnectParams(got);
    assert_string_equal(again->thumbPrint, "AA:BB");
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    assert_string_equal(again->creds.sessionId.key, "key");
    VixDiskLib_FreeConnectParams(again);
}

static void the_nfc_port_of_old_programs_is_padding(void **state)
{
    VixDiskLibConnectParams p = {.port = 1, .nfcHostPort = 0xDEAD};
    VixDiskLibConnectParams *got = NULL;
    VixDiskLibConnection c;

    (void)state;
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Init(5, 5, log_func, warn_func, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Connect(&p, &c), VIX_OK);
    assert_code(VixDiskLib_GetConnectParams(c, &got), VIX_OK);
    assert_int_equal(got->nfcHostPort, 0);
    assert_int_equal(got->port, 1);
    VixDiskLib_FreeConnectParams(got);
    start_library();
}

static void null_connections_and_stale_ones_are_errors(void **state)
{
    VixDiskLibConnectParams *got = NULL;

    (void)state;
    VixDiskLibConnection c = local_connection();
    assert_code(VixDiskLib_GetConnectParams(c, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_GetConnectParams(c, &got), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(open_code(c, in_folder("x.vmdk"), 0), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Unlink(c, in_folder("x.vmdk")), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Disconnect(NULL), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Disconnect((VixDiskLibConnection)(void *)&got), VIX_E_DISK_INVALID_CONNECTION);
    assert_null(got);
}

static void a_read_only_connection_opens_read_only(void **state)
{
    VixDiskLibConnection ro;
    uint8 buf[512] = {1};

    (void)state;
    VixDiskLibConnection c = local_connection();
    make_disk(c, in_folder("ro.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    /* a Bool is one byte: what a caller leaves above it does not count */
    VixError (*connect)(const VixDiskLibConnectParams *, int, const char *, const char *, VixDiskLibConnection *) =
        (VixError(*)(const VixDiskLibConnectParams *, int, const char *, const char *, VixDiskLibConnection *))(
            void *)VixDiskLib_ConnectEx;
    assert_code(connect(NULL, 0x7f04, NULL, NULL, &ro), VIX_OK);
    VixDiskLibHandle h = open_disk(ro, in_folder("ro.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, 0, 1, buf), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLib_Disconnect(ro), VIX_OK);
    assert_code(connect(NULL, 0x100, NULL, NULL, &ro), VIX_OK);
    h = open_disk(ro, in_folder("ro.vmdk"), 0);
    assert_code(VixDiskLib_Write(h, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Disconnect(ro), VIX_OK);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
}

static void disconnect_closes_its_disks_only(void **state)
{
    uint8 buf[512];

    (void)state;
    VixDiskLibConnection a = local_connection();
    VixDiskLibConnection b = local_connection();
    make_disk(a, in_folder("a.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, MIB_SECTORS);
    VixDiskLibHandle ha = open_disk(a, in_folder("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibHandle hb = open_disk(b, in_folder("a.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_Disconnect(a), VIX_OK);
    assert_code(VixDiskLib_Read(ha, 0, 1, buf), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Read(hb, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Close(ha), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Close(hb), VIX_OK);
    assert_code(VixDiskLib_Disconnect(b), VIX_OK);
}

static void there_is_a_limit_to_connections(void **state)
{
    VixDiskLibConnection *c = calloc(65537, sizeof *c);
    unsigned n = 0;

    (void)state;
    assert_non_null(c);
    VixDiskLib_Exit();
    start_library();
    while (n < 65537 && VixDiskLib_Connect(NULL, &c[n]) == VIX_OK) {
        n++;
    }
    assert_int_equal(n, 65536);
    assert_null(c[n]);
    assert_true(warn_has("(VIX_E_TOO_MANY_HANDLES, 1002)"));
    assert_code(VixDiskLib_Disconnect(c[12345]), VIX_OK);
    assert_code(VixDiskLib_Connect(NULL, &c[n]), VIX_OK);
    assert_ptr_not_equal(c[n], c[12345]);
    assert_code(VixDiskLib_Disconnect(c[12345]), VIX_E_DISK_INVALID_CONNECTION);
    VixDiskLib_Exit();
    free(c);
    start_library();
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_and_zeroed_parameters_are_local),
        cmocka_unit_test(what_lies_behind_a_short_struct_is_not_looked_at),
        cmocka_unit_test(a_server_is_refused_with_a_sentence),
        cmocka_unit_test(allocated_parameters_are_zero_and_roomy),
        cmocka_unit_test(parameters_are_copied_deeply),
        cmocka_unit_test(the_nfc_port_of_old_programs_is_padding),
        cmocka_unit_test(null_connections_and_stale_ones_are_errors),
        cmocka_unit_test(a_read_only_connection_opens_read_only),
        cmocka_unit_test(disconnect_closes_its_disks_only),
        cmocka_unit_test(there_is_a_limit_to_connections),
    };
    return cmocka_run_group_tests_name("connect", tests, setup, env_done);
}

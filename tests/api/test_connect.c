/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections, and the sizes of the parameter struct that programs come with. */
#include "env.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

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

/** A port of this machine on which nobody listens. */
static uint32 closed_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

/** Every call that takes parameters of a server refuses these. */
static void assert_refused(const VixDiskLibConnectParams *p, VixError code, const char *sentence)
{
    VixDiskLibConnection c = (VixDiskLibConnection)(uintptr_t)1;

    forget_messages();
    assert_code(VixDiskLib_ConnectEx(p, FALSE, "snapshot-1", "nbdssl", &c), code);
    assert_null(c);
    assert_true(warn_has(sentence));
    assert_code(VixDiskLib_Connect(p, &c), code);
    assert_null(c);
    assert_code(VixDiskLib_PrepareForAccess(p, "test"), code);
    assert_code(VixDiskLib_EndAccess(p, "test"), code);
    assert_code(VixDiskLib_Cleanup(p, NULL, NULL), code);
    assert_int_equal(warn_count(), 5);
}

static void parameters_of_servers_are_checked(void **state)
{
    char vm[] = "moref=vm-1";
    char server[] = "vc.example";
    char user[] = "user";
    char password[] = "password";
    char empty[] = "";
    VixDiskLibConnectParams p = {.vmxSpec = vm, .serverName = server};

    (void)state;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:443: the type of the credentials is not set");
    p.credType = VIXDISKLIB_CRED_UID;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:443: the name of the user is missing");
    p.creds.uid.userName = empty;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:443: the name of the user is missing");
    p.creds.uid.userName = user;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:443: the password is missing");
    p.creds.uid.password = password;
    p.credType = VIXDISKLIB_CRED_SSPI;
    assert_refused(&p, VIX_E_LOGIN_TYPE_NOT_SUPPORTED, ": vc.example:443: credentials of type 4");
    p.credType = VIXDISKLIB_CRED_TICKETID;
    assert_refused(&p, VIX_E_LOGIN_TYPE_NOT_SUPPORTED, ": vc.example:443: credentials of type 3");
    p.credType = (VixDiskLibCredType)77;
    assert_refused(&p, VIX_E_INVALID_ARG, "or unknown: 77");
    p.credType = VIXDISKLIB_CRED_SESSIONID;
    p.creds.sessionId.cookie = NULL;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:443: the cookie of the session is missing");
    p.credType = VIXDISKLIB_CRED_UID;
    p.creds.uid.userName = user;
    p.creds.uid.password = password;
    p.port = 65536;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:65536: port 65536 is no port");
    p.port = 444;
    p.nfcHostPort = 1u << 31;
    assert_refused(&p, VIX_E_INVALID_ARG, ": vc.example:444: nfcHostPort 2147483648 is no port");
    p.serverName = NULL;
    p.nfcHostPort = 0;
    assert_refused(&p, VIX_E_INVALID_ARG, "a server name has to be given too");
    assert_code(VixDiskLib_Connect(NULL, NULL), VIX_E_INVALID_ARG);
}

static void names_that_are_no_servers_are_refused(void **state)
{
    static const char *const names[] = {"a b", "a/b", "user@host", "host#x", "%41", "a\nb"};
    char user[] = "user";
    char password[] = "password";

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%s", names[i]);
        const VixDiskLibConnectParams p = {
            .serverName = name, .credType = VIXDISKLIB_CRED_UID, .creds.uid = {.userName = user, .password = password}};
        VixDiskLibConnection c;
        assert_code(VixDiskLib_Connect(&p, &c), VIX_E_INVALID_ARG);
        assert_null(c);
    }
}

static void other_kinds_of_disks_are_not_supported(void **state)
{
    char server[] = "vc.example";
    char id[] = "11111111-2222";
    char user[] = "user";
    char password[] = "password";
    VixDiskLibConnectParams *p = VixDiskLib_AllocateConnectParams();

    (void)state;
    p->serverName = server;
    p->credType = VIXDISKLIB_CRED_UID;
    p->creds.uid.userName = user;
    p->creds.uid.password = password;
    p->specType = VIXDISKLIB_SPEC_VSTORAGE_OBJECT;
    p->spec.vStorageObjSpec.id = id;
    assert_refused(p, VIX_E_NOT_SUPPORTED, ": vc.example:443: first-class disks");
    p->specType = VIXDISKLIB_SPEC_DATASTORE;
    assert_refused(p, VIX_E_NOT_SUPPORTED, ": vc.example:443: disks cannot be named by their datastore alone");
    VixDiskLib_FreeConnectParams(p);
}

static void a_server_that_is_not_there_is_an_error(void **state)
{
    char vm[] = "moref=vm-1";
    char server[] = "127.0.0.1";
    char user[] = "user";
    char password[] = "password-37b1";
    char sentence[64];
    char identity[60];
    const VixDiskLibConnectParams p = {.vmxSpec = vm,
                                       .serverName = server,
                                       .credType = VIXDISKLIB_CRED_UID,
                                       .creds.uid = {.userName = user, .password = password},
                                       .port = closed_port()};

    (void)state;
    (void)snprintf(sentence, sizeof sentence, ": 127.0.0.1:%u: connection refused", p.port);
    assert_refused(&p, VIX_E_HOST_NETWORK_CONN_REFUSED, sentence);
    assert_false(warn_has(password) || log_has(password));
    memset(identity, 'x', sizeof identity);
    identity[50] = '\0';
    assert_code(VixDiskLib_PrepareForAccess(&p, identity), VIX_E_HOST_NETWORK_CONN_REFUSED);
    identity[50] = 'x';
    identity[51] = '\0';
    assert_code(VixDiskLib_PrepareForAccess(&p, identity), VIX_E_INVALID_ARG);
    assert_code(VixDiskLibExt_Thumbprint(server, p.port, 0, NULL, 0, NULL, 0), VIX_E_HOST_NETWORK_CONN_REFUSED);
    char sha1[59];
    assert_code(VixDiskLibExt_Thumbprint(server, p.port, 0, sha1, sizeof sha1, NULL, 0), VIX_E_BUFFER_TOOSMALL);
    assert_code(VixDiskLibExt_Thumbprint(NULL, 0, 0, NULL, 0, NULL, 0), VIX_E_INVALID_ARG);
    assert_code(VixDiskLibExt_Thumbprint(server, 70000, 0, NULL, 0, NULL, 0), VIX_E_INVALID_ARG);
}

static void a_local_connection_has_no_traffic_and_no_inventory(void **state)
{
    VixDiskLibExt_Inventory *inventory = NULL;
    VixDiskLibConnection c = local_connection();
    uint64 in = 7;
    uint64 out = 7;

    (void)state;
    assert_code(VixDiskLibExt_GetConnectionTraffic(c, &in, &out), VIX_OK);
    assert_int_equal(in + out, 0);
    assert_code(VixDiskLibExt_GetConnectionTraffic(c, NULL, NULL), VIX_OK);
    assert_code(VixDiskLibExt_ListInventory(c, &inventory), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLibExt_ListInventory(c, NULL), VIX_E_INVALID_ARG);
    assert_null(inventory);
    VixDiskLibExt_FreeInventory(NULL);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
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
        cmocka_unit_test(parameters_of_servers_are_checked),
        cmocka_unit_test(names_that_are_no_servers_are_refused),
        cmocka_unit_test(other_kinds_of_disks_are_not_supported),
        cmocka_unit_test(a_server_that_is_not_there_is_an_error),
        cmocka_unit_test(a_local_connection_has_no_traffic_and_no_inventory),
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

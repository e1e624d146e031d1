/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting and ending the library, its messages, the texts of codes, and what happens before the start. */
#include "env.h"

#include <sys/stat.h>

#define COMPATIBLE "VMware VixDiskLib (" VIXDISK_VERSION ") Release build-"

static void before_init_every_call_says_so(void **state)
{
    VixDiskLibConnection c = NULL;
    VixDiskLibHandle h = NULL;
    VixDiskLibHandle none = NULL;
    VixDiskLibInfo *info = NULL;
    VixDiskLibBlockList *list = NULL;
    VixDiskLibConnectParams *params = NULL;
    VixDiskLibCreateParams create = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE, .capacity = 100};
    uint8 buf[512];
    char text[16];
    uint64 n;

    (void)state;
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_ConnectEx(NULL, FALSE, NULL, NULL, &c), VIX_E_DISK_NOINIT);
    assert_null(c);
    assert_code(VixDiskLib_Disconnect(c), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_PrepareForAccess(NULL, "test"), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_EndAccess(NULL, "test"), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Cleanup(NULL, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_GetConnectParams(c, &params), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Create(c, "/nowhere/x.vmdk", &create, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_CreateChild(none, "/nowhere/x.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, NULL, NULL),
                VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Open(c, "/nowhere/x.vmdk", 0, &h), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Close(none), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_GetInfo(none, &info), VIX_E_DISK_NOINIT);
    assert_null(VixDiskLib_GetTransportMode(none));
    assert_code(VixDiskLib_Read(none, 0, 1, buf), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Write(none, 0, 1, buf), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_ReadAsync(none, 0, 1, buf, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_WriteAsync(none, 0, 1, buf, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Flush(none), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Wait(none), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_ReadMetadata(none, "uuid", text, sizeof text, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_WriteMetadata(none, "uuid", text), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_GetMetadataKeys(none, text, sizeof text, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Unlink(c, "/nowhere/x.vmdk"), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Rename("/nowhere/x.vmdk", "/nowhere/y.vmdk"), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Grow(c, "/nowhere/x.vmdk", 200, FALSE, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Shrink(none, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Defragment(none, NULL, NULL), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_CheckRepair(c, "/nowhere/x.vmdk", FALSE), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Clone(c, "/nowhere/y.vmdk", c, "/nowhere/x.vmdk", &create, NULL, NULL, FALSE),
                VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_SpaceNeededForClone(none, VIXDISKLIB_DISK_UNKNOWN, &n), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_IsAttachPossible(none, none), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_Reparent(c, "/nowhere/x.vmdk", "/nowhere/y.vmdk"), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_QueryAllocatedBlocks(none, 0, 128, 128, &list), VIX_E_DISK_NOINIT);
    assert_non_null(strstr(VixDiskLibExt_LastErrorDetail(), "Init"));
}

static void what_works_before_init(void **state)
{
    (void)state;
    char *text = VixDiskLib_GetErrorText(VIX_E_FAIL, NULL);
    assert_string_equal(text, "Unknown error");
    VixDiskLib_FreeErrorText(text);
    VixDiskLibConnectParams *p = VixDiskLib_AllocateConnectParams();
    assert_non_null(p);
    VixDiskLib_FreeConnectParams(p);
    VixDiskLib_FreeConnectParams(NULL);
    VixDiskLib_FreeErrorText(NULL);
    VixDiskLib_FreeInfo(NULL);
    assert_code(VixDiskLib_FreeBlockList(NULL), VIX_OK);
    assert_string_equal(VixDiskLib_ListTransportModes(), "file:san:hotadd:nbdssl:nbd");
    VixDiskLib_Exit();
}

static void versions_up_to_nine_are_taken(void **state)
{
    (void)state;
    for (uint32 major = 1; major <= 9; major++) {
        assert_code(VixDiskLib_Init(major, 0, log_func, warn_func, NULL, NULL), VIX_OK);
        VixDiskLib_Exit();
        assert_code(VixDiskLib_InitEx(major, 99, NULL, NULL, NULL, "/usr/lib/vmware-vix-disklib", NULL), VIX_OK);
        VixDiskLib_Exit();
    }
    assert_code(VixDiskLib_Init(0, 9, NULL, NULL, NULL, NULL), VIX_E_INVALID_ARG);
}

static void a_newer_version_fails_and_init_can_be_repeated(void **state)
{
    VixDiskLibConnection c;

    (void)state;
    forget_messages();
    assert_code(VixDiskLib_InitEx(10, 0, log_func, warn_func, NULL, NULL, NULL), VIX_E_NOT_SUPPORTED);
    assert_int_equal(warn_count(), 1);
    assert_true(warn_has("VixDiskLib_InitEx: interface version 10.0"));
    assert_true(warn_has("(VIX_E_NOT_SUPPORTED, 6)"));
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_E_DISK_NOINIT);
    assert_code(VixDiskLib_InitEx(UINT32_MAX, 0, NULL, NULL, NULL, NULL, NULL), VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLib_InitEx(6, 5, log_func, warn_func, NULL, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_OK);
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Disconnect(c), VIX_E_DISK_NOINIT);
}

static void the_version_line_is_what_programs_look_for(void **state)
{
    unsigned build = 0;

    (void)state;
    start_library();
    assert_int_equal(strncmp(log_line(0), COMPATIBLE, sizeof COMPATIBLE - 1), 0);
    assert_int_equal(sscanf(log_line(0) + sizeof COMPATIBLE - 1, "%u\n", &build), 1);
    assert_true(build > 0);
    assert_int_equal(strncmp(log_line(1), "vixdisk ", 8), 0);
    assert_int_equal(warn_count(), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(log_line(i)[strlen(log_line(i)) - 1], '\n');
    }
    VixDiskLib_Exit();
}

static void init_twice_needs_one_exit(void **state)
{
    VixDiskLibConnection c = NULL;

    (void)state;
    assert_code(VixDiskLib_Init(6, 5, NULL, NULL, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_OK);
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Open(c, "", 0, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(warn_count(), 1);
    assert_code(VixDiskLib_InitEx(10, 0, NULL, NULL, NULL, NULL, NULL), VIX_E_NOT_SUPPORTED);
    assert_int_equal(warn_count(), 2);
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_E_DISK_NOINIT);
    VixDiskLib_Exit();
}

static void a_second_init_reads_its_configuration_while_nobody_uses_the_library(void **state)
{
    VixDiskLibConnection c = NULL;

    (void)state;
    make_file("second.conf", "no setting\n");
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("missing.conf")),
                VIX_E_FILE_NOT_FOUND);
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("second.conf")), VIX_OK);
    assert_true(log_has("second.conf"));
    assert_code(VixDiskLib_Connect(NULL, &c), VIX_OK);
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("missing.conf")), VIX_OK);
    assert_true(log_has("in use already"));
    assert_code(VixDiskLib_Disconnect(c), VIX_OK);
    VixDiskLib_Exit();
}

static void a_configuration_that_is_missing_is_an_error(void **state)
{
    (void)state;
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("missing.conf")),
                VIX_E_FILE_NOT_FOUND);
    assert_int_equal(warn_count(), 1);
    assert_true(warn_has("missing.conf"));
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, ""), VIX_OK);
    VixDiskLib_Exit();
}

static void lines_of_junk_are_survived(void **state)
{
    (void)state;
    make_file("junk.conf", "-|\n\xff\xfe junk\nVixDiskLib.nfcAio.Session.BufCount=4\n# note\n=\nunknown.key = \"x\"\n");
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("junk.conf")), VIX_OK);
    assert_int_equal(warn_count(), 0);
    assert_true(log_has("junk.conf"));
    VixDiskLib_Exit();
}

static void the_configuration_names_a_log_file(void **state)
{
    char text[600];
    char line[2000];
    bool found = false;
    struct stat st;

    (void)state;
    (void)snprintf(text, sizeof text, "LOG.filename = \"%s\"\n", in_folder("own.log"));
    make_file("log.conf", text);
    assert_code(VixDiskLib_InitEx(8, 0, NULL, NULL, NULL, NULL, in_folder("log.conf")), VIX_OK);
    assert_code(VixDiskLib_Disconnect(NULL), VIX_E_DISK_INVALID_CONNECTION);
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Disconnect(NULL), VIX_E_DISK_NOINIT);
    FILE *f = fopen(in_folder("own.log"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        found = found || strstr(line, "VIX_E_DISK_INVALID_CONNECTION, 16054") != NULL;
        assert_null(strstr(line, "NOINIT"));
    }
    assert_int_equal(fclose(f), 0);
    assert_true(found);
    assert_int_equal(stat(in_folder("own.log"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_log_file_that_cannot_be_had_is_only_news(void **state)
{
    (void)state;
    make_file("badlog.conf", "log.fileName=/nonexistent-folder/x.log\n");
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, in_folder("badlog.conf")), VIX_OK);
    assert_int_equal(warn_count(), 0);
    assert_true(log_has("/nonexistent-folder/x.log"));
    VixDiskLib_Exit();
}

static void exit_closes_what_is_open(void **state)
{
    uint8 buf[512];
    uint8 data[512];

    (void)state;
    start_library();
    VixDiskLibConnection c = local_connection();
    make_disk(c, in_folder("exit.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(c, in_folder("exit.vmdk"), 0);
    fill(data, sizeof data, 1);
    assert_code(VixDiskLib_Write(h, 5, 1, data), VIX_OK);
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Close(h), VIX_E_DISK_NOINIT);
    start_library();
    assert_code(VixDiskLib_Close(h), VIX_E_INVALID_HANDLE);
    assert_code(VixDiskLib_Disconnect(c), VIX_E_DISK_INVALID_CONNECTION);
    c = local_connection();
    h = open_disk(c, in_folder("exit.vmdk"), 0);
    assert_code(VixDiskLib_Read(h, 5, 1, buf), VIX_OK);
    assert_memory_equal(buf, data, sizeof buf);
    VixDiskLib_Exit();
}

static void every_code_has_its_text(void **state)
{
    VixError code;
    const char *name;
    const char *text;
    uint32 n = 0;

    (void)state;
    for (; VixDiskLibExt_ErrorTable(n, &code, &name, &text); n++) {
        char *told = VixDiskLib_GetErrorText(code, "en_US");
        assert_string_equal(told, text);
        assert_true(told[0] != '\0');
        VixDiskLib_FreeErrorText(told);
        assert_string_equal(VixDiskLibExt_ErrorName(code), name);
    }
    assert_int_equal(n, 274);
    assert_true(VixDiskLibExt_ErrorTable(0, NULL, NULL, NULL));
    const VixError unknown[] = {17, 999999, UINT64_MAX, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        char *told = VixDiskLib_GetErrorText(unknown[i], NULL);
        assert_non_null(told);
        assert_string_not_equal(told, "Success");
        VixDiskLib_FreeErrorText(told);
    }
    char *told = VixDiskLib_GetErrorText(UINT64_C(0x70000) | VIX_E_FILE_ACCESS_ERROR, NULL);
    assert_string_equal(told, "You do not have access rights to this file");
    VixDiskLib_FreeErrorText(told);
    assert_null(VixDiskLibExt_ErrorName(17));
    assert_true(VixDiskLibExt_ErrorIsRetryable(VIX_E_FILE_ALREADY_LOCKED));
    assert_false(VixDiskLibExt_ErrorIsRetryable(VIX_E_INVALID_ARG));
    assert_code(VixDiskLib_Unlink(NULL, "x"), VIX_E_DISK_NOINIT);
    assert_false(VixDiskLibExt_LastErrorIsRetryable());
    assert_string_equal(VixDiskLibExt_Version(), VIXDISK_VERSION);
}

static void options_are_set_between_init_and_open(void **state)
{
    (void)state;
    VixDiskLib_Exit();
    assert_code(VixDiskLibExt_SetOption("vixdisk.threads", "1"), VIX_E_DISK_NOINIT);
    start_library();
    assert_code(VixDiskLibExt_SetOption("vixdisk.threads", "1"), VIX_OK);
    assert_code(VixDiskLibExt_SetOption(NULL, "1"), VIX_E_INVALID_ARG);
    assert_code(VixDiskLibExt_SetOption("vixdisk.threads", NULL), VIX_E_INVALID_ARG);
    VixDiskLib_Exit();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_init_every_call_says_so),
        cmocka_unit_test(what_works_before_init),
        cmocka_unit_test(versions_up_to_nine_are_taken),
        cmocka_unit_test(a_newer_version_fails_and_init_can_be_repeated),
        cmocka_unit_test(the_version_line_is_what_programs_look_for),
        cmocka_unit_test(init_twice_needs_one_exit),
        cmocka_unit_test(a_second_init_reads_its_configuration_while_nobody_uses_the_library),
        cmocka_unit_test(a_configuration_that_is_missing_is_an_error),
        cmocka_unit_test(lines_of_junk_are_survived),
        cmocka_unit_test(the_configuration_names_a_log_file),
        cmocka_unit_test(a_log_file_that_cannot_be_had_is_only_news),
        cmocka_unit_test(exit_closes_what_is_open),
        cmocka_unit_test(every_code_has_its_text),
        cmocka_unit_test(options_are_set_between_init_and_open),
    };
    return cmocka_run_group_tests_name("library", tests, env_setup, env_done);
}

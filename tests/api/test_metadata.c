/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk database through the interface: size queries, short buffers, missing keys. */
#include "env.h"

static VixDiskLibConnection conn;
static VixDiskLibHandle disk;

static void a_value_and_its_size(void **state)
{
    char buf[64];
    size_t need = 0;

    (void)state;
    forget_messages();
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", NULL, 0, &need), VIX_E_BUFFER_TOOSMALL);
    assert_int_equal(need, sizeof "lsilogic");
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", NULL, 0, NULL), VIX_E_BUFFER_TOOSMALL);
    memset(buf, 'x', sizeof buf);
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", buf, need - 1, &need), VIX_E_BUFFER_TOOSMALL);
    assert_int_equal(buf[0], 'x');
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", buf, need, NULL), VIX_OK);
    assert_string_equal(buf, "lsilogic");
    assert_int_equal(buf[need], 'x');
    need = 0;
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", buf, sizeof buf, &need), VIX_OK);
    assert_int_equal(need, sizeof "lsilogic");
    assert_int_equal(warn_count(), 0);
}

static void a_missing_key_is_an_answer(void **state)
{
    char buf[64] = "kept";
    size_t need = 77;

    (void)state;
    forget_messages();
    assert_code(VixDiskLib_ReadMetadata(disk, "no.such.key", buf, sizeof buf, &need), VIX_E_DISK_KEY_NOTFOUND);
    assert_string_equal(buf, "kept");
    assert_int_equal(need, 77);
    assert_int_equal(warn_count(), 0);
    assert_true(log_has("no.such.key"));
    assert_code(VixDiskLib_ReadMetadata(disk, "adapterType", NULL, 64, &need), VIX_E_INVALID_ARG);
    assert_int_equal(warn_count(), 1);
}

static bool keys_have(const char *keys, size_t len, const char *key)
{
    for (const char *at = keys; at < keys + len && *at != '\0'; at += strlen(at) + 1) {
        if (strcmp(at, key) == 0) {
            return true;
        }
    }
    return false;
}

static void keys_end_in_two_nuls(void **state)
{
    char keys[4096];
    size_t need = 0;

    (void)state;
    forget_messages();
    assert_code(VixDiskLib_GetMetadataKeys(disk, NULL, 0, &need), VIX_E_BUFFER_TOOSMALL);
    assert_in_range(need, 20, sizeof keys);
    memset(keys, 'x', sizeof keys);
    assert_code(VixDiskLib_GetMetadataKeys(disk, keys, need - 1, NULL), VIX_E_BUFFER_TOOSMALL);
    assert_int_equal(keys[0], 'x');
    assert_code(VixDiskLib_GetMetadataKeys(disk, keys, need, NULL), VIX_OK);
    assert_int_equal(keys[need - 1], '\0');
    assert_int_equal(keys[need - 2], '\0');
    assert_int_equal(keys[need], 'x');
    assert_true(keys_have(keys, need, "adapterType"));
    assert_true(keys_have(keys, need, "geometry.cylinders"));
    assert_true(keys_have(keys, need, "virtualHWVersion"));
    assert_true(keys_have(keys, need, "uuid"));
    assert_false(keys_have(keys, need, "ddb.uuid"));
    assert_int_equal(warn_count(), 0);
}

static void what_is_written_is_there_after_reopening(void **state)
{
    char buf[64];

    (void)state;
    assert_code(VixDiskLib_WriteMetadata(disk, "mykey", "my value"), VIX_OK);
    assert_code(VixDiskLib_WriteMetadata(disk, "toolsVersion", "10346"), VIX_OK);
    assert_code(VixDiskLib_WriteMetadata(disk, "toolsVersion", "12000"), VIX_OK);
    assert_code(VixDiskLib_WriteMetadata(disk, "emptied", "x"), VIX_OK);
    assert_code(VixDiskLib_WriteMetadata(disk, "emptied", ""), VIX_OK);
    assert_code(VixDiskLib_ReadMetadata(disk, "mykey", buf, sizeof buf, NULL), VIX_OK);
    assert_string_equal(buf, "my value");
    assert_code(VixDiskLib_Close(disk), VIX_OK);
    disk = open_disk(conn, in_folder("meta.vmdk"), 0);
    assert_code(VixDiskLib_ReadMetadata(disk, "mykey", buf, sizeof buf, NULL), VIX_OK);
    assert_string_equal(buf, "my value");
    assert_code(VixDiskLib_ReadMetadata(disk, "toolsVersion", buf, sizeof buf, NULL), VIX_OK);
    assert_string_equal(buf, "12000");
    assert_code(VixDiskLib_ReadMetadata(disk, "emptied", buf, 1, NULL), VIX_OK);
    assert_string_equal(buf, "");
}

static void what_a_descriptor_cannot_hold_is_refused(void **state)
{
    const char *const bad_values[] = {"a\"b", "a\nb", "a\rb"};
    const char *const bad_keys[] = {"", "a b", "a=b", "a\nb", "a\"b"};
    char buf[16];

    (void)state;
    for (size_t i = 0; i < sizeof bad_values / sizeof bad_values[0]; i++) {
        assert_code(VixDiskLib_WriteMetadata(disk, "bad", bad_values[i]), VIX_E_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof bad_keys / sizeof bad_keys[0]; i++) {
        assert_code(VixDiskLib_WriteMetadata(disk, bad_keys[i], "x"), VIX_E_INVALID_ARG);
    }
    assert_code(VixDiskLib_ReadMetadata(disk, "bad", buf, sizeof buf, NULL), VIX_E_DISK_KEY_NOTFOUND);
}

static void every_type_keeps_metadata(void **state)
{
    char buf[64];

    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        make_disk(conn, in_folder("each.vmdk"), writable_types[i], MIB_SECTORS);
        VixDiskLibHandle h = open_disk(conn, in_folder("each.vmdk"), 0);
        assert_code(VixDiskLib_WriteMetadata(h, "some.key", "some value"), VIX_OK);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        h = open_disk(conn, in_folder("each.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_code(VixDiskLib_ReadMetadata(h, "some.key", buf, sizeof buf, NULL), VIX_OK);
        assert_string_equal(buf, "some value");
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("each.vmdk")), VIX_OK);
    }
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    conn = local_connection();
    make_disk(conn, in_folder("meta.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    disk = open_disk(conn, in_folder("meta.vmdk"), 0);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_and_its_size),
        cmocka_unit_test(a_missing_key_is_an_answer),
        cmocka_unit_test(keys_end_in_two_nuls),
        cmocka_unit_test(what_is_written_is_there_after_reopening),
        cmocka_unit_test(what_a_descriptor_cannot_hold_is_refused),
        cmocka_unit_test(every_type_keeps_metadata),
    };
    return cmocka_run_group_tests_name("metadata", tests, setup, env_done);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_geometry.c - geometry, adapter words and createType words against figures of real disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmdk/create.h"

#define GIB_SECTORS UINT64_C(2097152)

struct geometry_case {
    VixDiskLibAdapterType adapter;
    uint64_t capacity;
    uint32_t cylinders, heads, sectors;
};

static void geometry_follows_vmwares_rows(void **state)
{
    static const struct geometry_case cases[] = {
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 1, 1, 64, 32},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 409600, 200, 64, 32},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, GIB_SECTORS - 1, 1023, 64, 32},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, GIB_SECTORS, 512, 128, 32},
        {VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC, 2 * GIB_SECTORS - 1, 1023, 128, 32},
        {VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC, 2 * GIB_SECTORS, 261, 255, 63},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 33554432, 2088, 255, 63},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 83886080, 5221, 255, 63},
        {VIXDISKLIB_ADAPTER_IDE, 10485760, 10402, 16, 63},
        {VIXDISKLIB_ADAPTER_IDE, 100 * GIB_SECTORS, 16383, 16, 63},
        {VIXDISKLIB_ADAPTER_IDE, 1, 1, 16, 63},
        {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, UINT64_MAX, UINT32_MAX, 255, 63},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct disk_geometry g = geometry_for(cases[i].adapter, cases[i].capacity);
        assert_int_equal(g.cylinders, cases[i].cylinders);
        assert_int_equal(g.heads, cases[i].heads);
        assert_int_equal(g.sectors, cases[i].sectors);
    }
}

static void words_go_both_ways(void **state)
{
    (void)state;
    assert_string_equal(adapter_word(VIXDISKLIB_ADAPTER_IDE), "ide");
    assert_string_equal(adapter_word(VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC), "buslogic");
    assert_string_equal(adapter_word(VIXDISKLIB_ADAPTER_SCSI_LSILOGIC), "lsilogic");
    assert_null(adapter_word(VIXDISKLIB_ADAPTER_UNKNOWN));
    assert_int_equal(adapter_of_word("LsiLogic"), VIXDISKLIB_ADAPTER_SCSI_LSILOGIC);
    assert_int_equal(adapter_of_word("nvme"), VIXDISKLIB_ADAPTER_UNKNOWN);
    assert_int_equal(adapter_of_word(NULL), VIXDISKLIB_ADAPTER_UNKNOWN);
    assert_string_equal(create_type_of(VIXDISKLIB_DISK_SPLIT_FLAT), "twoGbMaxExtentFlat");
    assert_string_equal(create_type_of(VIXDISKLIB_DISK_VMFS_THIN), "vmfs");
    assert_null(create_type_of(VIXDISKLIB_DISK_UNKNOWN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(geometry_follows_vmwares_rows),
        cmocka_unit_test(words_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* test_devices.c - disks whose extents are block devices. Needs root and a loop device; without them the tests are
 * skipped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "disk/disk.h"

#define DEVICE_SECTORS 4096u

static char folder[] = "/tmp/vixdisk-test.XXXXXX";
static char device[32], file[64], vmdk[64];
static int loop = -1;
static const char *missing; /* why there is no device */

/** Puts a free loop device over the open file; false if another program was faster. */
static bool take_device(int control, int fd)
{
    struct loop_config config = {.fd = (uint32_t)fd, .block_size = 512, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    int number = ioctl(control, LOOP_CTL_GET_FREE);

    (void)snprintf(device, sizeof device, "/dev/loop%d", number);
    loop = number >= 0 ? open(device, O_RDWR | O_CLOEXEC) : -1;
    if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) != 0) {
        close(loop);
        loop = -1;
    }
    return loop >= 0;
}

/** Makes a loop device over a new file. It goes when the last user closes it. */
static const char *make_device(void)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool made = false;

    if (control >= 0 && fd >= 0 && ftruncate(fd, (off_t)DEVICE_SECTORS * 512) == 0) {
        for (int i = 0; i < 20 && !made; i++) {
            made = take_device(control, fd);
        }
    }
    if (control >= 0) {
        close(control);
    }
    if (fd >= 0) {
        close(fd);
    }
    return made ? NULL : "no loop device can be made: not root, or none here";
}

static int begin(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    (void)snprintf(file, sizeof file, "%s/backing", folder);
    (void)snprintf(vmdk, sizeof vmdk, "%s/disk.vmdk", folder);
    missing = make_device();
    return 0;
}

static int end(void **state)
{
    (void)state;
    config_clear();
    if (loop >= 0) {
        close(loop);
    }
    (void)unlink(vmdk);
    (void)unlink(file);
    return rmdir(folder);
}

static void skip_without_device(void)
{
    if (missing != NULL) {
        print_message("%s\n", missing);
        skip();
    }
}

static void put_descriptor(const char *create_type, const char *extents)
{
    FILE *f = fopen(vmdk, "we");
    assert_non_null(f);
    assert_true(fprintf(f, "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"%s\"\n%s",
                        create_type, extents) > 0);
    assert_int_equal(fclose(f), 0);
}

static VixError open_disk(uint32_t flags, struct disk **ret_disk, struct err *err)
{
    err_init(err);
    return disk_open_local(store_fs_local(), vmdk, flags, NULL, ret_disk, err);
}

static struct disk *must_open(uint32_t flags)
{
    struct disk *d = NULL;
    struct err err;
    if (open_disk(flags, &d, &err) != VIX_OK) {
        fail_msg("%s", err.text);
    }
    return d;
}

/** What the device holds, past all caches of ours. */
static void device_holds(uint64_t sector, int byte)
{
    uint8_t buf[512], expected[512];
    memset(expected, byte, sizeof expected);
    assert_int_equal(pread(loop, buf, sizeof buf, (off_t)(sector * 512)), sizeof buf);
    assert_memory_equal(buf, expected, sizeof buf);
}

static void write_and_read_back(uint32_t flags, uint64_t sector, int byte)
{
    uint8_t buf[8 * 512], got[8 * 512];
    struct disk *d = must_open(flags);
    memset(buf, byte, sizeof buf);
    assert_int_equal(disk_write(d, sector, 8, buf, NULL), VIX_OK);
    assert_int_equal(disk_read(d, sector, 8, got, NULL), VIX_OK);
    assert_memory_equal(buf, got, sizeof buf);
    assert_int_equal(disk_close(d, NULL), VIX_OK);
}

static void devices_are_not_touched_unless_allowed(void **state)
{
    struct disk *d = NULL;
    struct err err;
    char text[100];

    (void)state;
    skip_without_device();
    config_clear();
    (void)snprintf(text, sizeof text, "RW %u FLAT \"%s\" 0\n", DEVICE_SECTORS, device);
    put_descriptor("fullDevice", text);
    assert_int_equal(open_disk(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &d, &err), VIX_E_FILE_ACCESS_ERROR);
    assert_non_null(strstr(err.text, "vixdisk.allowOutsidePaths"));
    assert_non_null(strstr(err.text, device));
}

static void whole_device(void **state)
{
    static const struct {
        const char *create_type, *extent_type, *offset;
    } types[] = {{"fullDevice", "FLAT", " 0"},
                 {"vmfsRaw", "VMFSRAW", ""},
                 {"vmfsRawDeviceMap", "VMFSRDM", ""},
                 {"vmfsPassthroughRawDeviceMap", "VMFSRDM", " 0"}};
    char text[100];

    (void)state;
    skip_without_device();
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "1", NULL), VIX_OK);
    for (int i = 0; i < 4; i++) {
        (void)snprintf(text, sizeof text, "RW %u %s \"%s\"%s\n", DEVICE_SECTORS, types[i].extent_type, device,
                       types[i].offset);
        put_descriptor(types[i].create_type, text);
        write_and_read_back(0, 100, 0x10 + i);
        device_holds(107, 0x10 + i);
        write_and_read_back(VIXDISKLIB_FLAG_OPEN_UNBUFFERED, DEVICE_SECTORS - 8, 0x20 + i);
        device_holds(DEVICE_SECTORS - 1, 0x20 + i);
    }
}

static void partitions_of_a_device(void **state)
{
    char text[300];
    uint8_t got[512], zeros[512] = {0};
    struct disk_run run;

    (void)state;
    skip_without_device();
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "1", NULL), VIX_OK);
    (void)snprintf(text, sizeof text, "RW 1000 FLAT \"%s\" 63\nRW 100 ZERO\nRW 500 FLAT \"%s\" 2000\n", device, device);
    put_descriptor("partitionedDevice", text);
    struct disk *d = must_open(VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_int_equal(d->capacity, 1600);
    assert_int_equal(disk_read(d, 1050, 1, got, NULL), VIX_OK);
    assert_memory_equal(got, zeros, 512);
    assert_int_equal(d->ops->map(d, 1100, 500, 0, &run, NULL), VIX_OK);
    assert_string_equal(run.path, device);
    assert_int_equal(run.file_off, 2000 * 512);
    assert_int_equal(disk_close(d, NULL), VIX_OK);
    write_and_read_back(0, 0, 0x31);
    device_holds(63, 0x31);
    write_and_read_back(0, 1592, 0x32);
    device_holds(2499, 0x32);
}

static void extent_larger_than_its_device_is_refused(void **state)
{
    struct disk *d = NULL;
    struct err err;
    char text[100];

    (void)state;
    skip_without_device();
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "1", NULL), VIX_OK);
    (void)snprintf(text, sizeof text, "RW %u FLAT \"%s\" 1\n", DEVICE_SECTORS, device);
    put_descriptor("fullDevice", text);
    assert_int_equal(open_disk(0, &d, &err), VIX_E_DISK_NEEDSREPAIR);
    assert_non_null(strstr(err.text, "2097152"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_not_touched_unless_allowed),
        cmocka_unit_test(whole_device),
        cmocka_unit_test(partitions_of_a_device),
        cmocka_unit_test(extent_larger_than_its_device_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

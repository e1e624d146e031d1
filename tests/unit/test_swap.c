/* SPDX-License-Identifier: BSD-3-Clause */
/* test_swap.c - names that change between the look at them and their use: a symbolic link that leads out of the disk's
 * folder takes the place of an extent, of a folder on the way to it, or of a parent at the worst moment, which is when
 * its place has been found to be good. Nothing of what the link leads to is read, nothing is written to it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmdk/chain.h"

#define DISK "# Disk DescriptorFile\nversion=1\nCID=00000077\nparentCID=ffffffff\ncreateType=\"custom\"\n"
#define CHILD "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=00000077\ncreateType=\"custom\"\n"
#define SECTORS 8

static char folder[] = "/tmp/vixdisk-swap-XXXXXX";
static struct err err;

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put_text(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void put_data(const char *name, char value)
{
    char buf[SECTORS * 512];
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    memset(buf, value, sizeof buf);
    assert_true(fd >= 0 && write(fd, buf, sizeof buf) == (ssize_t)sizeof buf);
    (void)close(fd);
}

static int begin(void **state)
{
    (void)state;
    err_init(&err);
    (void)strcpy(folder, "/tmp/vixdisk-swap-XXXXXX");
    if (mkdtemp(folder) == NULL || mkdir(at("disks"), 0700) != 0 || mkdir(at("disks/sub"), 0700) != 0 ||
        mkdir(at("other"), 0700) != 0) {
        return -1;
    }
    put_text("other/base.vmdk", DISK "RW 8 ZERO\n");
    put_data("other/data", 's');
    put_text("disks/base.vmdk", DISK "RW 8 ZERO\n");
    put_data("disks/data", 'd');
    put_data("disks/sub/data", 'd');
    return 0;
}

static int end(void **state)
{
    char command[64];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- the files of this host, and somebody who waits for the moment ---- */

static const char *trigger, *victim, *lure; /* when trigger has been looked up, victim becomes a link to lure */
static unsigned swaps;

static VixError open_file(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                          struct err *e)
{
    (void)fs;
    return store_fs_local()->ops->open(store_fs_local(), path, flags, ret_store, e);
}

static bool exists(struct store_fs *fs, const char *path)
{
    (void)fs;
    return store_fs_local()->ops->exists(store_fs_local(), path);
}

static VixError check_place(struct store_fs *fs, const char *real_path, uint64_t dev, uint64_t ino, struct err *e)
{
    (void)fs;
    return store_fs_local()->ops->check_place(store_fs_local(), real_path, dev, ino, e);
}

static VixError resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *e)
{
    VixError code = store_fs_local()->ops->resolve(store_fs_local(), path, ret_path, e);
    char aside[160];

    (void)fs;
    if (trigger != NULL && strcmp(path, trigger) == 0 && swaps == 0) {
        (void)snprintf(aside, sizeof aside, "%s.aside", victim);
        assert_true(rename(victim, aside) == 0 && symlink(lure, victim) == 0);
        swaps++;
    }
    return code;
}

static const struct store_fs_ops swapping_ops = {
    .open = open_file, .exists = exists, .check_place = check_place, .resolve = resolve};
static struct store_fs swapping = {.ops = &swapping_ops};

static void arm(const char *on, const char *name, const char *to)
{
    static char texts[3][160];

    (void)snprintf(texts[0], sizeof texts[0], "%s", at(on));
    (void)snprintf(texts[1], sizeof texts[1], "%s", at(name));
    (void)snprintf(texts[2], sizeof texts[2], "%s", at(to));
    trigger = texts[0];
    victim = texts[1];
    lure = texts[2];
    swaps = 0;
}

static void refused(const char *name, uint32_t flags)
{
    struct chain *c = NULL;

    err_init(&err);
    assert_int_equal(chain_open(&swapping, at(name), flags, NULL, &c, &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(swaps, 1);
    assert_null(c);
}

static void an_extent(void **state)
{
    (void)state;
    put_text("disks/d.vmdk", DISK "RW 8 FLAT \"data\" 0\n");
    arm("disks/data", "disks/data", "other/data");
    refused("disks/d.vmdk", CHAIN_READ);
}

static void an_extent_that_is_written(void **state)
{
    (void)state;
    put_text("disks/d.vmdk", DISK "RW 8 FLAT \"data\" 0\n");
    arm("disks/data", "disks/data", "other/data");
    refused("disks/d.vmdk", CHAIN_WRITE);
}

static void a_folder_on_the_way(void **state)
{
    (void)state;
    put_text("disks/d.vmdk", DISK "RW 8 FLAT \"sub/data\" 0\n");
    arm("disks/sub/data", "disks/sub", "other");
    refused("disks/d.vmdk", CHAIN_READ);
}

static void a_parent(void **state)
{
    (void)state;
    put_text("disks/kid.vmdk", CHILD "parentFileNameHint=\"base.vmdk\"\nRW 8 ZERO\n");
    arm("disks/base.vmdk", "disks/base.vmdk", "other/base.vmdk");
    refused("disks/kid.vmdk", CHAIN_READ);
}

/** What does not lead out of the folder may be a link, and a folder of the user's own choice too. */
static void links_that_stay(void **state)
{
    struct chain *c = NULL;
    uint8_t buf[512];

    (void)state;
    trigger = NULL;
    put_text("disks/d.vmdk", DISK "RW 8 FLAT \"linked\" 0\n");
    assert_int_equal(symlink("sub/data", at("disks/linked")), 0);
    assert_int_equal(symlink("disks", at("also")), 0);
    assert_int_equal(chain_open(&swapping, at("also/d.vmdk"), CHAIN_READ, NULL, &c, &err), VIX_OK);
    assert_int_equal(chain_read(c, 0, 1, buf, &err), VIX_OK);
    assert_int_equal(buf[0], 'd');
    assert_int_equal(chain_close(c, &err), VIX_OK);
    assert_int_equal(chain_open(&swapping, at("disks/d.vmdk"), CHAIN_WRITE, NULL, &c, &err), VIX_OK);
    assert_int_equal(chain_close(c, &err), VIX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_extent, begin, end),
        cmocka_unit_test_setup_teardown(an_extent_that_is_written, begin, end),
        cmocka_unit_test_setup_teardown(a_folder_on_the_way, begin, end),
        cmocka_unit_test_setup_teardown(a_parent, begin, end),
        cmocka_unit_test_setup_teardown(links_that_stay, begin, end),
    };

    return cmocka_run_group_tests_name("swap", tests, NULL, NULL);
}

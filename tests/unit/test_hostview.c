/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine that a test makes of a folder: attributes, links, folders and devices as hostview tells them. */
#include <errno.h>
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

#include "base/config.h"
#include "disk/hostview.h"

static char folder[] = "/tmp/vixdisk-hostview-XXXXXX";
static const struct hostview view = {.root = folder};

static void full(const char *path, char *ret_path, size_t size)
{
    assert_true(snprintf(ret_path, size, "%s%s", folder, path) < (int)size);
}

static void put(const char *path, const void *bytes, size_t len)
{
    char name[512];

    full(path, name, sizeof name);
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(const char *path)
{
    char name[512];

    full(path, name, sizeof name);
    assert_int_equal(mkdir(name, 0700), 0);
}

static int make_tree(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    make_folder("/sys");
    make_folder("/sys/block");
    make_folder("/sys/block/sdb");
    make_folder("/sys/empty");
    make_folder("/dev");
    put("/sys/text", " VMware, Inc.\n", 14);
    put("/sys/number", "2048\n", 5);
    put("/sys/page", "\0\203\0\4abcd", 8);
    put("/sys/scan", "", 0);
    make_folder("/inquiry");
    put("/inquiry/sdb.83", "\0\203\0\4abcd", 8);
    return 0;
}

static int remove_tree(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/** A page of a test's device is a file; a device of this machine that is no SCSI device has none. */
static void inquiries(void **state)
{
    const struct hostview here = {.root = ""};
    struct err err;
    char *bytes = NULL;
    size_t len = 0;

    (void)state;
    err_init(&err);
    assert_int_equal(hostview_inquiry(&view, "/dev/sdb", 0x83, &bytes, &len, &err), VIX_OK);
    assert_int_equal(len, 8);
    assert_memory_equal(bytes, "\0\203\0\4abcd", 8);
    free(bytes);
    assert_int_equal(hostview_inquiry(&view, "/dev/sdb", 0x80, &bytes, &len, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(hostview_inquiry(&view, "/dev/sdc", 0x83, &bytes, &len, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_not_equal(hostview_inquiry(&here, "/dev/null", 0x83, &bytes, &len, &err), VIX_OK);
    assert_non_null(strstr(err.text, "page 0x83"));
    assert_int_equal(hostview_inquiry(&here, "/dev/no such device", 0x83, &bytes, &len, &err), VIX_E_FILE_NOT_FOUND);
}

static void attributes(void **state)
{
    struct err err;
    char *text = NULL;
    size_t len = 0;
    uint64_t number = 0;

    (void)state;
    err_init(&err);
    assert_int_equal(hostview_read_text(&view, "/sys/text", &text, &err), VIX_OK);
    assert_string_equal(text, "VMware, Inc.");
    free(text);
    assert_int_equal(hostview_read(&view, "/sys/page", &text, &len, &err), VIX_OK);
    assert_int_equal(len, 8);
    assert_memory_equal(text, "\0\203\0\4abcd", 9);
    free(text);
    assert_int_equal(hostview_read_number(&view, "/sys/number", &number, &err), VIX_OK);
    assert_int_equal(number, 2048);
    assert_int_equal(hostview_read_number(&view, "/sys/text", &number, &err), VIX_E_FAIL);
    assert_non_null(strstr(err.text, "VMware, Inc."));
    assert_int_equal(number, 2048);
    err_init(&err);
    assert_int_equal(hostview_read_text(&view, "/sys/none", &text, &err), VIX_E_FILE_NOT_FOUND);
    assert_non_null(strstr(err.text, folder));
    assert_true(hostview_exists(&view, "/sys/text"));
    assert_false(hostview_exists(&view, "/sys/none"));
}

static void attributes_that_are_too_large(void **state)
{
    static char large[HOSTVIEW_FILE_MAX + 100];
    char *bytes = NULL;
    size_t len = 0;

    (void)state;
    memset(large, 'x', sizeof large);
    put("/sys/large", large, sizeof large);
    assert_int_equal(hostview_read(&view, "/sys/large", &bytes, &len, NULL), VIX_OK);
    assert_int_equal(len, HOSTVIEW_FILE_MAX);
    assert_int_equal(strlen(bytes), HOSTVIEW_FILE_MAX);
    free(bytes);
    large[HOSTVIEW_PATH_MAX] = '\0';
    large[0] = '/';
    assert_int_equal(hostview_read(&view, large, &bytes, &len, NULL), VIX_E_FILE_NAME_INVALID);
}

static void writing(void **state)
{
    char *text = NULL;

    (void)state;
    assert_int_equal(hostview_write_text(&view, "/sys/scan", "- - -", NULL), VIX_OK);
    assert_int_equal(hostview_read_text(&view, "/sys/scan", &text, NULL), VIX_OK);
    assert_string_equal(text, "- - -");
    free(text);
    /* an attribute that is not there is not made */
    assert_int_equal(hostview_write_text(&view, "/sys/none", "1", NULL), VIX_E_FILE_NOT_FOUND);
    assert_false(hostview_exists(&view, "/sys/none"));
}

static void links(void **state)
{
    char name[512];
    char *target = NULL;

    (void)state;
    full("/dev/by-id", name, sizeof name);
    assert_int_equal(symlink("../../sdb", name), 0);
    assert_int_equal(hostview_read_link(&view, "/dev/by-id", &target, NULL), VIX_OK);
    assert_string_equal(target, "../../sdb");
    free(target);
    assert_int_equal(hostview_read_link(&view, "/sys/text", &target, NULL), VIX_E_FILE_ERROR);
}

static void folders(void **state)
{
    struct hostview_names names = {0};
    char path[64];

    (void)state;
    assert_int_equal(hostview_list(&view, "/sys/empty", &names, NULL), VIX_OK);
    assert_int_equal(names.count, 0);
    hostview_names_free(&names);
    for (int i = 20; i > 0; i--) {
        (void)snprintf(path, sizeof path, "/sys/empty/n%02d", i);
        put(path, "", 0);
    }
    assert_int_equal(hostview_list(&view, "/sys/empty", &names, NULL), VIX_OK);
    assert_int_equal(names.count, 20);
    for (int i = 1; i <= 20; i++) {
        (void)snprintf(path, sizeof path, "n%02d", i);
        assert_string_equal(names.names[i - 1], path);
    }
    hostview_names_free(&names);
    assert_int_equal(hostview_list(&view, "/sys/none", &names, NULL), VIX_E_FILE_NOT_FOUND);
    assert_int_not_equal(hostview_list(&view, "/sys/text", &names, NULL), VIX_OK);
    assert_int_equal(names.count, 0);
}

static void devices(void **state)
{
    static uint8_t data[8192];
    uint8_t buf[512];
    struct store *store = NULL;

    (void)state;
    memset(data, 0x5a, sizeof data);
    put("/dev/sdb", data, sizeof data);
    assert_int_equal(hostview_open_block(&view, "/dev/sdb", STORE_CLAIM | STORE_LOCK, &store, NULL), VIX_OK);
    assert_int_equal(store_read(store, buf, sizeof buf, 512, NULL), VIX_OK);
    assert_memory_equal(buf, data, sizeof buf);
    assert_int_equal(store_write(store, buf, sizeof buf, 0, NULL), VIX_E_FILE_READ_ONLY);
    store_close(store);
    store = NULL;
    assert_int_equal(hostview_open_block(&view, "/dev/none", 0, &store, NULL), VIX_E_FILE_NOT_FOUND);
    /* on the machine itself a regular file is no device */
    const struct hostview real = {.root = ""};
    char name[512];
    full("/dev/sdb", name, sizeof name);
    assert_int_equal(hostview_open_block(&real, name, 0, &store, NULL), VIX_E_INCORRECT_FILE_TYPE);
    assert_null(store);
}

static void the_configuration_names_it(void **state)
{
    (void)state;
    assert_true(hostview_is_real(&(struct hostview){.root = hostview_here().root}));
    assert_int_equal(config_set(CONFIG_HOST_ROOT, folder, NULL), VIX_OK);
    struct hostview here = hostview_here();
    assert_string_equal(here.root, folder);
    assert_false(hostview_is_real(&here));
    config_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes),
        cmocka_unit_test(inquiries),
        cmocka_unit_test(attributes_that_are_too_large),
        cmocka_unit_test(writing),
        cmocka_unit_test(links),
        cmocka_unit_test(folders),
        cmocka_unit_test(devices),
        cmocka_unit_test(the_configuration_names_it),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}

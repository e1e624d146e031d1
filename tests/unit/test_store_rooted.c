/* SPDX-License-Identifier: BSD-3-Clause */
/* Files below one folder: nothing outside can be reached, whatever the path and whatever links lie about. */
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

#include "store/store.h"

static struct store_fs *fs;
static char folder[64];
static struct err err;

static const char *at(const char *name)
{
    static char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *bytes)
{
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    assert_true(fputs(bytes, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int begin(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/vixdisk-rooted-XXXXXX");
    if (mkdtemp(folder) == NULL || mkdir(at("ds"), 0755) != 0 || mkdir(at("ds/vm"), 0755) != 0 ||
        mkdir(at("ds/base"), 0755) != 0 || mkdir(at("other"), 0755) != 0) {
        return -1;
    }
    put("secret", "secret");
    put("other/x", "secret");
    put("ds/vm/disk", "inside");
    put("ds/base/disk", "parent");
    if (symlink("../../secret", at("ds/vm/link")) != 0 || symlink("/etc", at("ds/etc")) != 0 ||
        symlink("../base/disk", at("ds/vm/inner")) != 0 || mkfifo(at("ds/vm/pipe"), 0600) != 0) {
        return -1;
    }
    return store_fs_rooted_new(at("ds"), &fs, &err) == VIX_OK ? 0 : -1;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    store_fs_rooted_free(fs);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static VixError try_open(const char *path, uint32_t flags, const char *bytes)
{
    struct store *s = NULL;
    char buf[7] = {0};
    VixError code = fs->ops->open(fs, path, flags, &s, &err);

    assert_true((code == VIX_OK) == (s != NULL));
    if (s != NULL) {
        assert_int_equal(store_read(s, buf, 6, 0, &err), VIX_OK);
        assert_string_equal(buf, bytes);
        assert_string_equal(s->path, path);
    }
    store_close(s);
    return code;
}

static void opens_what_is_below(void **state)
{
    (void)state;
    static const char *const same[] = {"vm/disk", "/vm/disk", "//vm//disk", "./vm/./disk", "base/../vm/disk"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_int_equal(try_open(same[i], STORE_READ, "inside"), VIX_OK);
    }
    assert_int_equal(try_open("vm/../base/disk", STORE_READ | STORE_LOCK, "parent"), VIX_OK);
    assert_int_equal(try_open("vm/disk", STORE_WRITE | STORE_LOCK, "inside"), VIX_OK);
}

static void refuses_the_rest(void **state)
{
    (void)state;
    static const char *const out[] = {"../secret", "/../secret", "vm/../../secret",    "..", "vm/link", "etc/hostname",
                                      "vm/inner",  "etc",        "vm/../../ds/vm/disk"};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        assert_int_equal(try_open(out[i], STORE_READ, ""), VIX_E_FILE_ACCESS_ERROR);
        assert_int_equal(try_open(out[i], STORE_WRITE | STORE_LOCK, ""), VIX_E_FILE_ACCESS_ERROR);
        assert_null(strstr(err.text, folder));
    }
    assert_int_equal(try_open("/etc/passwd", STORE_READ, ""), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(try_open("/secret", STORE_READ, ""), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(try_open("vm", STORE_READ, ""), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open("", STORE_READ, ""), VIX_E_INCORRECT_FILE_TYPE);
    assert_int_equal(try_open("vm/pipe", STORE_READ | STORE_DEVICE_OK, ""), VIX_E_INCORRECT_FILE_TYPE);
}

static void resolves_to_the_root(void **state)
{
    char *path = NULL;

    (void)state;
    assert_int_equal(fs->ops->resolve(fs, "vm/.././base/disk", &path, &err), VIX_OK);
    assert_string_equal(path, "/base/disk");
    free(path);
    assert_int_equal(fs->ops->resolve(fs, ".", &path, &err), VIX_OK);
    assert_string_equal(path, "/");
    free(path);
    assert_int_equal(fs->ops->resolve(fs, "vm/none", &path, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(fs->ops->resolve(fs, "vm/link", &path, &err), VIX_E_FILE_ACCESS_ERROR);
}

static VixError count_names(void *ctx, const char *name, struct err *e)
{
    (void)e;
    (void)name;
    ++*(unsigned *)ctx;
    return VIX_OK;
}

static void names(void **state)
{
    struct store *s = NULL;
    unsigned count = 0;
    enum store_fs_kind kind;
    uint64_t room = 0;

    (void)state;
    assert_int_equal(fs->ops->create(fs, "vm/new", 0, 0600, &s, &err), VIX_OK);
    store_close(s);
    assert_int_equal(access(at("ds/vm/new"), F_OK), 0);
    assert_int_equal(fs->ops->create(fs, "vm/link", 0, 0600, &s, &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(fs->ops->create(fs, "../new", 0, 0600, &s, &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(fs->ops->create(fs, "etc/new", 0, 0600, &s, &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(fs->ops->rename(fs, "vm/new", "../new", &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(fs->ops->rename_new(fs, "vm/new", "base/disk", &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(fs->ops->rename_new(fs, "vm/new", "base/new", &err), VIX_OK);
    assert_int_equal(fs->ops->link(fs, "base/new", "base/second", &err), VIX_OK);
    assert_int_equal(fs->ops->link(fs, "../secret", "vm/mine", &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(fs->ops->rename(fs, "base/second", "base/new", &err), VIX_OK);
    assert_int_equal(fs->ops->list(fs, "base/x", count_names, &count, &err), VIX_OK);
    assert_true(count >= 2);
    assert_int_not_equal(fs->ops->list(fs, "etc/x", count_names, &count, &err), VIX_OK);
    assert_int_equal(fs->ops->sync_folder(fs, "base/new", &err), VIX_OK);
    assert_int_equal(fs->ops->statfs(fs, "base/new", &kind, &room, &err), VIX_OK);
    assert_int_equal(fs->ops->unlink(fs, "etc/passwd", &err), VIX_E_FILE_ACCESS_ERROR);
    assert_int_equal(fs->ops->unlink(fs, "base/new", &err), VIX_OK);
    assert_false(fs->ops->exists(fs, "base/new"));
    assert_false(fs->ops->exists(fs, "../secret"));
    assert_true(fs->ops->exists(fs, "vm/link"));
}

static void locks_of_others(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("ds/vm/disk.lck"), 0700), 0);
    put("ds/vm/disk.lck/M1.lck", "");
    assert_int_equal(try_open("vm/disk", STORE_READ | STORE_LOCK, ""), VIX_E_FILE_ALREADY_LOCKED);
    assert_null(strstr(err.text, folder));
    assert_int_equal(unlink(at("ds/vm/disk.lck/M1.lck")), 0);
    assert_int_equal(try_open("vm/disk", STORE_READ | STORE_LOCK, "inside"), VIX_OK);
}

/* The folder is held open: its name may go elsewhere, and what takes the name is not followed. */
static void the_folder_may_be_renamed(void **state)
{
    char from[160], to[160];

    (void)state;
    (void)snprintf(from, sizeof from, "%s", at("ds"));
    (void)snprintf(to, sizeof to, "%s", at("moved"));
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(symlink(at("other"), from), 0);
    assert_int_equal(try_open("vm/disk", STORE_READ, "inside"), VIX_OK);
    assert_int_equal(try_open("x", STORE_READ, ""), VIX_E_FILE_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_is_below),  cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(resolves_to_the_root), cmocka_unit_test(names),
        cmocka_unit_test(locks_of_others),      cmocka_unit_test(the_folder_may_be_renamed),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of whole disks: every type, what is carried over, what is left behind when something fails. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "store/store_fault.h"

#define PATH_ROOM 320               /* a folder and any name */
#define ODD_SECTORS (5 * 2048 + 77) /* 5 MiB and a part of a grain */

static const VixDiskLibDiskType all_types[] = {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE,
    VIXDISKLIB_DISK_SPLIT_FLAT,        VIXDISKLIB_DISK_VMFS_FLAT,       VIXDISKLIB_DISK_STREAM_OPTIMIZED,
    VIXDISKLIB_DISK_VMFS_SPARSE,       VIXDISKLIB_DISK_VMFS_THIN,
};
#define TYPE_COUNT (sizeof all_types / sizeof all_types[0])

static struct store_fs *fs;
static char folder[64];
static struct err err;
static char paths[64][PATH_ROOM];
static unsigned path_count;

static int begin(void **state)
{
    (void)state;
    fs = store_fs_local();
    path_count = 0;
    (void)umask(022);
    err_init(&err);
    /* in memory where there is such a folder: thousands of files are flushed */
    (void)snprintf(folder, sizeof folder, "%s/vixdisk-convert-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/** The path of a name; valid until the end of the test. */
static const char *at(const char *name)
{
    for (unsigned i = 0; i < path_count; i++) {
        if (strcmp(store_path_base(paths[i]), name) == 0) {
            return paths[i];
        }
    }
    assert_true(path_count < sizeof paths / sizeof paths[0]);
    char *path = paths[path_count++];
    assert_true((size_t)snprintf(path, sizeof paths[0], "%s/%s", folder, name) < sizeof paths[0]);
    return path;
}

/** The number of files whose names begin so. */
static unsigned count_files(const char *prefix)
{
    DIR *dir = opendir(folder);
    unsigned n = 0;

    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    }
    (void)closedir(dir);
    return n;
}

/** A raw image: text here and there, runs of zeros that are stored, holes, data in the last, partial grain. */
static void make_image(const char *path, uint64_t nsectors, unsigned seed)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    static uint8_t block[96 * 1024];

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(nsectors * 512)), 0);
    srand(seed);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t off = (uint64_t)rand() % (nsectors * 512);
        size_t len = (size_t)rand() % sizeof block + 1;
        if (off + len > nsectors * 512) {
            len = (size_t)(nsectors * 512 - off);
        }
        memset(block, 0, sizeof block);
        for (size_t j = 0; i % 3 != 0 && j < len; j++) {
            block[j] = (uint8_t)(rand() % 7 == 0 ? rand() : 'a');
        }
        assert_int_equal(pwrite(fd, block, len, (off_t)off), (ssize_t)len);
    }
    assert_int_equal(pwrite(fd, "the end", 7, (off_t)(nsectors * 512 - 7)), 7);
    assert_int_equal(close(fd), 0);
}

static struct disk *open_raw(const char *name)
{
    struct disk *d = NULL;
    assert_int_equal(disk_open_raw(fs, at(name), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &d, &err), VIX_OK);
    return d;
}

static struct disk *open_vmdk(const char *name)
{
    struct disk *d = NULL;
    VixError code = disk_open_local(fs, at(name), VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err);
    if (code != VIX_OK) {
        print_error("%s: %s\n", name, err.text);
    }
    assert_int_equal(code, VIX_OK);
    return d;
}

static void assert_same(struct disk *a, struct disk *b)
{
    uint64_t first = 0;
    uint64_t count = 1;

    assert_int_equal(ops_compare(a, b, (struct ops_progress){0}, &first, &count, &err), VIX_OK);
    assert_int_equal(count, 0);
    assert_int_equal(first, UINT64_MAX);
}

static struct convert_target target_at(const char *name, VixDiskLibDiskType type)
{
    return (struct convert_target){
        .path = at(name),
        .fd = -1,
        .raw = type == VIXDISKLIB_DISK_UNKNOWN,
        .params = {.type = type},
        .tuning = {.level = 1, .threads = 3},
    };
}

static VixError convert(struct disk *src, const struct convert_target *t)
{
    VixError code = ops_convert(fs, src, t, (struct ops_progress){0}, &err);
    if (code != VIX_OK) {
        print_message("convert: %s\n", err.text);
    }
    return code;
}

static void close_ok(struct disk *d)
{
    assert_int_equal(disk_close(d, &err), VIX_OK);
}

/** What is at a name equals a disk, and has its capacity. */
static void check_vmdk(struct disk *src, const char *name)
{
    struct disk *d = open_vmdk(name);
    assert_int_equal(d->capacity, src->capacity);
    assert_same(src, d);
    close_ok(d);
}

static void from_raw_to_every_type(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 1);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "t%d.vmdk", (int)all_types[i]);
        struct convert_target t = target_at(name, all_types[i]);
        assert_int_equal(convert(src, &t), VIX_OK);
        check_vmdk(src, name);
        name[2] = '\0';
        bool single =
            all_types[i] == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || all_types[i] == VIXDISKLIB_DISK_STREAM_OPTIMIZED;
        assert_int_equal(count_files(name), single ? 1 : 2);
    }
    close_ok(src);
}

static void from_every_type_to_every_type(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 2);
    struct disk *raw = open_raw("src");
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        struct convert_target t = target_at("a.vmdk", all_types[i]);
        t.overwrite = true;
        assert_int_equal(convert(raw, &t), VIX_OK);
        struct disk *a = open_vmdk("a.vmdk");
        for (size_t j = 0; j < TYPE_COUNT; j++) {
            t = target_at("b.vmdk", all_types[j]);
            t.overwrite = true;
            assert_int_equal(convert(a, &t), VIX_OK);
            check_vmdk(raw, "b.vmdk");
        }
        t = target_at("back", VIXDISKLIB_DISK_UNKNOWN);
        t.overwrite = true;
        assert_int_equal(convert(a, &t), VIX_OK);
        struct disk *back = open_raw("back");
        assert_int_equal(back->capacity, raw->capacity);
        assert_same(raw, back);
        close_ok(back);
        close_ok(a);
    }
    assert_int_equal(count_files("a"), 2); /* the last type was thin: descriptor and data */
    assert_int_equal(count_files("b"), 3);
    close_ok(raw);
}

/** The files of the disk that is replaced are gone, those of the new one have the usual names. */
static void overwriting_leaves_no_old_files(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 3);
    struct disk *src = open_raw("src");
    struct convert_target t = target_at("d.vmdk", VIXDISKLIB_DISK_SPLIT_FLAT);
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(convert(src, &t), VIX_E_FILE_ALREADY_EXISTS);
    assert_true(fs->ops->exists(fs, at("d-f001.vmdk")));
    for (size_t i = 0; i < 2 * TYPE_COUNT; i++) {
        t = target_at("d.vmdk", all_types[i * 3 % TYPE_COUNT]);
        t.overwrite = true;
        assert_int_equal(convert(src, &t), VIX_OK);
        check_vmdk(src, "d.vmdk");
        char **names = NULL;
        unsigned n = 0;
        assert_int_equal(vmdk_create_names(at("d.vmdk"), t.params.type, src->capacity, &names, &err), VIX_OK);
        for (; names[n] != NULL; n++) {
            if (!fs->ops->exists(fs, names[n])) {
                print_error("type %d: no %s\n", (int)t.params.type, names[n]);
            }
            assert_true(fs->ops->exists(fs, names[n]));
        }
        chain_files_free(names);
        assert_int_equal(count_files("d"), n);
    }
    t = target_at("d.vmdk", VIXDISKLIB_DISK_UNKNOWN);
    t.overwrite = true;
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(count_files("d"), 1);
    close_ok(src);
}

static void permissions_stay(void **state)
{
    static const VixDiskLibDiskType some[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT,
                                              VIXDISKLIB_DISK_UNKNOWN};
    struct stat st;

    (void)state;
    make_image(at("src"), 2048, 18);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i < 3; i++) {
        struct convert_target t = target_at("d.vmdk", some[i]);
        t.overwrite = true;
        assert_int_equal(convert(src, &t), VIX_OK);
        assert_int_equal(stat(at("d.vmdk"), &st), 0);
        assert_int_equal(st.st_mode & 0777, i == 0 ? 0644 : 0600);
        assert_int_equal(chmod(at("d.vmdk"), 0600), 0);
    }
    close_ok(src);
}

static uint32_t disk_cid_of(const char *name)
{
    struct disk *d = open_vmdk(name);
    uint32_t cid = disk_local_chain(d)->links[0]->desc->cid;
    close_ok(d);
    return cid;
}

static void copy_file(const char *from, const char *to)
{
    char command[2 * PATH_ROOM + 8];
    (void)snprintf(command, sizeof command, "cp %s %s", from, to);
    assert_int_equal(system(command), 0);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/** A copy over a path that is, or names, a file of its source is refused, and all files stay. */
static void refuses_over(struct disk *src, const char *name, const char *says)
{
    unsigned files = count_files("");

    for (size_t i = 0; i < TYPE_COUNT; i++) {
        struct convert_target t = target_at(name, all_types[i]);
        t.overwrite = true;
        assert_int_equal(ops_convert(fs, src, &t, (struct ops_progress){0}, &err), VIX_E_INVALID_ARG);
        assert_non_null(strstr(err.text, says));
        assert_int_equal(count_files(""), files);
    }
}

static void a_disk_onto_itself(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 4);
    struct disk *raw = open_raw("src");
    struct convert_target t = target_at("d.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE);
    assert_int_equal(convert(raw, &t), VIX_OK);
    struct disk *d = open_vmdk("d.vmdk");
    refuses_over(d, "d.vmdk", "d.vmdk: is a file of the source");
    refuses_over(d, "d-s001.vmdk", "d-s001.vmdk: is a file of the source");
    refuses_over(raw, "src", "src: is a file of the source");
    assert_same(raw, d);
    close_ok(d);
    check_vmdk(raw, "d.vmdk");
    close_ok(raw);
}

/** What is replaced is another descriptor, which names files that the copy is read from. */
static void over_a_disk_with_files_of_the_source(void **state)
{
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE};
    static const char *const extents[] = {"a-flat.vmdk", "b-s001.vmdk"};
    static const char *const names[] = {"a.vmdk", "b.vmdk"};
    static const char tracked[] = "# Disk DescriptorFile\nversion=3\nCID=fffffffe\nparentCID=ffffffff\n"
                                  "createType=\"custom\"\nRW 2048 FLAT \"src\" 0\n"
                                  "changeTrackPath=\"src-ctk.vmdk\"\n";

    (void)state;
    make_image(at("src"), 2048, 4);
    struct disk *raw = open_raw("src");
    for (size_t i = 0; i < 2; i++) {
        struct convert_target t = target_at(names[i], types[i]);
        assert_int_equal(convert(raw, &t), VIX_OK);
        copy_file(at(names[i]), at("copy.vmdk"));
        struct disk *d = open_vmdk(names[i]);
        refuses_over(d, "copy.vmdk", extents[i]);
        close_ok(d);
        check_vmdk(raw, names[i]);
        if (i == 0) { /* a file of the source by another name */
            assert_int_equal(link(at(extents[i]), at("other-flat.vmdk")), 0);
            write_text(at("copy.vmdk"), "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                                        "createType=\"custom\"\nRW 2048 FLAT \"other-flat.vmdk\" 0\n");
            d = open_vmdk(names[i]);
            refuses_over(d, "copy.vmdk", "other-flat.vmdk");
            close_ok(d);
        }
    }
    const struct create_params child = {.type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                        .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                        .capacity = 2048,
                                        .parent_hint = "b.vmdk",
                                        .parent_cid = disk_cid_of("b.vmdk")};
    assert_int_equal(vmdk_create(fs, at("child.vmdk"), &child, NULL, NULL, &err), VIX_OK);
    struct disk *d = open_vmdk("child.vmdk");
    refuses_over(d, "copy.vmdk", "b-s001.vmdk"); /* of the parent */
    close_ok(d);
    write_text(at("copy.vmdk"), tracked); /* of a raw image, and as that, of a tracked disk */
    refuses_over(raw, "copy.vmdk", "src");
    write_text(at("tracked.vmdk"), tracked);
    write_text(at("src-ctk.vmdk"), "bits");
    write_text(at("copy.vmdk"), "# Disk DescriptorFile\nversion=3\nCID=fffffffe\nparentCID=ffffffff\n"
                                "createType=\"custom\"\nRW 8 ZERO\nchangeTrackPath=\"src-ctk.vmdk\"\n");
    d = open_vmdk("tracked.vmdk");
    refuses_over(d, "copy.vmdk", "src-ctk.vmdk");
    close_ok(d);
    close_ok(raw);
}

static void what_is_in_use_or_in_the_way(void **state)
{
    struct disk *writer = NULL;

    (void)state;
    make_image(at("src"), 2048, 5);
    struct disk *src = open_raw("src");
    struct convert_target t = target_at("d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT);
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(disk_open_local(fs, at("d.vmdk"), 0, NULL, &writer, &err), VIX_OK);
    t.overwrite = true;
    assert_int_equal(convert(src, &t), VIX_E_FILE_ALREADY_LOCKED);
    close_ok(writer);
    check_vmdk(src, "d.vmdk");
    make_image(at("e-flat.vmdk"), 1, 1);
    t = target_at("e.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT);
    t.overwrite = true;
    assert_int_equal(convert(src, &t), VIX_E_FILE_ALREADY_EXISTS);
    assert_non_null(strstr(err.text, "e-flat.vmdk"));
    assert_int_equal(count_files("e"), 1);
    t = target_at("sub", VIXDISKLIB_DISK_UNKNOWN);
    assert_int_equal(mkdir(t.path, 0700), 0);
    t.overwrite = true;
    assert_int_equal(convert(src, &t), VIX_E_INCORRECT_FILE_TYPE);
    t = target_at("none/d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    assert_int_equal(convert(src, &t), VIX_E_FILE_NOT_FOUND);
    t = target_at("", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    assert_int_equal(convert(src, &t), VIX_E_FILE_NAME_INVALID);
    close_ok(src);
}

/* ---- what is carried over ---- */

static void expect_meta(struct disk *d, const char *key, const char *value)
{
    char *found = NULL;

    if (value == NULL) {
        assert_int_equal(d->ops->meta_get(d, key, &found, &err), VIX_E_DISK_KEY_NOTFOUND);
        return;
    }
    assert_int_equal(d->ops->meta_get(d, key, &found, &err), VIX_OK);
    assert_string_equal(found, value);
    free(found);
}

static char *meta(struct disk *d, const char *key)
{
    char *value = NULL;
    assert_int_equal(d->ops->meta_get(d, key, &value, &err), VIX_OK);
    return value;
}

static void database_goes_over_by_the_rules(void **state)
{
    static const char *const pairs[] = {
        "toolsVersion",
        "10346",
        "comment",
        "kept",
        "uuid.image",
        "1-2-3",
        "thinProvisioned",
        "1",
        "iofilters",
        "x",
        "nativeParentHint",
        "y",
        "deletable",
        "true",
        "geometry.heads",
        "7",
        "geometry.sectors",
        "9",
        "geometry.cylinders",
        "11",
        NULL,
    };
    struct disk *d = NULL;

    (void)state;
    make_image(at("src"), 4096, 6);
    struct disk *src = open_raw("src");
    struct convert_target t = target_at("a.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    t.params.adapter = VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC;
    t.params.hw_version = 8;
    t.params.physical_sector_size = 4096;
    t.params.logical_sector_size = 512;
    t.params.ddb = pairs;
    assert_int_equal(convert(src, &t), VIX_OK);
    struct disk *a = open_vmdk("a.vmdk");
    expect_meta(a, "iofilters", "x");

    t = target_at("b.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT);
    assert_int_equal(convert(a, &t), VIX_OK);
    d = open_vmdk("b.vmdk");
    expect_meta(d, "adapterType", "buslogic");
    expect_meta(d, "virtualHWVersion", "8");
    expect_meta(d, "toolsVersion", "10346");
    expect_meta(d, "comment", "kept");
    expect_meta(d, "geometry.heads", "7");
    expect_meta(d, "physicalSectorSize", "4096");
    expect_meta(d, "uuid.image", NULL);
    expect_meta(d, "thinProvisioned", NULL);
    expect_meta(d, "iofilters", NULL);
    expect_meta(d, "nativeParentHint", NULL);
    expect_meta(d, "deletable", NULL);
    char *old_uuid = meta(a, "uuid");
    char *new_uuid = meta(d, "uuid");
    assert_string_not_equal(old_uuid, new_uuid);
    free(old_uuid);
    free(new_uuid);
    close_ok(d);

    t = target_at("c.vmdk", VIXDISKLIB_DISK_VMFS_THIN);
    t.params.adapter = VIXDISKLIB_ADAPTER_IDE;
    t.params.hw_version = 10;
    assert_int_equal(convert(a, &t), VIX_OK);
    d = open_vmdk("c.vmdk");
    expect_meta(d, "adapterType", "ide");
    expect_meta(d, "virtualHWVersion", "10");
    expect_meta(d, "geometry.heads", "16");
    expect_meta(d, "thinProvisioned", "1");
    close_ok(d);
    close_ok(a);
    close_ok(src);
}

static void names_inside_follow(void **state)
{
    char text[2048];

    (void)state;
    make_image(at("src"), 4096, 7);
    struct disk *src = open_raw("src");
    struct convert_target t = target_at("one.vmdk", VIXDISKLIB_DISK_STREAM_OPTIMIZED);
    assert_int_equal(convert(src, &t), VIX_OK);
    int fd = open(at("one.vmdk"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, text, sizeof text, 512), (ssize_t)sizeof text);
    assert_int_equal(close(fd), 0);
    assert_non_null(strstr(text, "SPARSE \"one.vmdk\""));
    close_ok(src);
}

/* ---- sparseness, measured ---- */

static uint64_t allocated_bytes(const char *prefix)
{
    DIR *dir = opendir(folder);
    uint64_t bytes = 0;

    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat st;
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && stat(at(e->d_name), &st) == 0) {
            bytes += (uint64_t)st.st_blocks * 512;
        }
    }
    (void)closedir(dir);
    return bytes;
}

static void zeros_take_no_space(void **state)
{
    struct stat st;

    (void)state;
    int fd = open(at("src"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static uint8_t zeros[1 << 20];
    for (unsigned i = 0; i < 32; i++) {
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, (off_t)i << 20), (ssize_t)sizeof zeros);
    }
    assert_int_equal(pwrite(fd, "x", 1, 20 << 20), 1);
    assert_int_equal(close(fd), 0);
    struct disk *src = open_raw("src");
    struct convert_target t = target_at("r", VIXDISKLIB_DISK_UNKNOWN);
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(stat(at("r"), &st), 0);
    assert_int_equal(st.st_size, 32 << 20);
    assert_true(st.st_blocks * 512 <= 64 * 1024);
    t = target_at("s.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(stat(at("s.vmdk"), &st), 0);
    assert_int_equal(st.st_size, (128 + 128) * 512);
    close_ok(src);
}

static uint64_t length_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(at(name), &st), 0);
    return (uint64_t)st.st_size;
}

static void measured_is_what_it_takes(void **state)
{
    uint64_t required = 0;
    uint64_t full = 0;

    (void)state;
    make_image(at("src"), 64 * 2048, 8);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        struct convert_target t = target_at("m.vmdk", all_types[i]);
        t.tuning.level = 0;
        t.overwrite = true;
        assert_int_equal(convert(src, &t), VIX_OK);
        assert_int_equal(ops_measure(src, all_types[i], false, &required, &full, &err), VIX_OK);
        assert_true(required <= full);
        if (all_types[i] == VIXDISKLIB_DISK_MONOLITHIC_SPARSE || all_types[i] == VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
            assert_int_equal(required, length_of("m.vmdk"));
        } else if (all_types[i] == VIXDISKLIB_DISK_SPLIT_SPARSE) {
            assert_int_equal(required, length_of("m-s001.vmdk") + 4096);
        } else if (all_types[i] == VIXDISKLIB_DISK_VMFS_SPARSE) {
            assert_int_equal(required, length_of("m-delta.vmdk") + 4096);
        } else {
            assert_int_equal(required, allocated_bytes("m"));
        }
    }
    assert_int_equal(ops_measure(src, VIXDISKLIB_DISK_UNKNOWN, true, &required, &full, &err), VIX_OK);
    assert_int_equal(full, 64 << 20);
    assert_true(required < 2 << 20);
    assert_int_equal(ops_measure(src, VIXDISKLIB_DISK_UNKNOWN, false, &required, &full, &err), VIX_E_INVALID_ARG);
    close_ok(src);
    struct disk *d = open_vmdk("m.vmdk");
    assert_int_equal(ops_measure(d, VIXDISKLIB_DISK_UNKNOWN, false, &required, &full, &err), VIX_OK);
    assert_int_equal(required, allocated_bytes("m"));
    close_ok(d);
}

/* ---- in place, streams ---- */

static void into_what_exists(void **state)
{
    static uint8_t dirt[3 << 20];

    (void)state;
    make_image(at("src"), 4096, 9);
    struct disk *src = open_raw("src");
    int fd = open(at("dev"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    memset(dirt, 0xDD, sizeof dirt);
    assert_int_equal(write(fd, dirt, sizeof dirt), (ssize_t)sizeof dirt);
    struct convert_target t = target_at("dev", VIXDISKLIB_DISK_UNKNOWN);
    t.keep_existing = true;
    assert_int_equal(convert(src, &t), VIX_OK);
    assert_int_equal(pread(fd, dirt, sizeof dirt, 0), (ssize_t)sizeof dirt);
    assert_int_equal(dirt[2 << 20], 0xDD); /* behind the disk nothing changes */
    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    struct disk *d = open_raw("dev");
    assert_same(src, d);
    close_ok(d);
    assert_int_equal(ftruncate(fd, 512), 0); /* too short: it grows */
    t.target_is_zero = true;
    assert_int_equal(convert(src, &t), VIX_OK);
    d = open_raw("dev");
    assert_same(src, d);
    close_ok(d);
    assert_int_equal(close(fd), 0);
    t = target_at("absent", VIXDISKLIB_DISK_UNKNOWN);
    t.keep_existing = true;
    assert_int_equal(convert(src, &t), VIX_E_FILE_NOT_FOUND);
    t = target_at("d.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE);
    t.keep_existing = true;
    assert_int_equal(convert(src, &t), VIX_E_INVALID_ARG);
    close_ok(src);
}

struct pump {
    int from, to;
};

static void *pump(void *arg)
{
    struct pump *p = arg;
    char buf[5000];
    ssize_t n;

    while ((n = read(p->from, buf, sizeof buf)) > 0 && write(p->to, buf, (size_t)n) == n) {
    }
    (void)close(p->to);
    (void)close(p->from);
    return NULL;
}

static void through_pipes(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 10);
    struct disk *src = open_raw("src");
    for (unsigned i = 0; i < 2; i++) {
        int fds[2];
        pthread_t thread;
        const char *name = i == 0 ? "out" : "out.vmdk";
        assert_int_equal(pipe(fds), 0);
        struct pump p = {.from = fds[0], .to = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
        assert_int_equal(pthread_create(&thread, NULL, pump, &p), 0);
        struct convert_target t = {.fd = fds[1], .raw = i == 0, .params = {.type = VIXDISKLIB_DISK_STREAM_OPTIMIZED}};
        assert_int_equal(convert(src, &t), VIX_OK);
        assert_int_equal(close(fds[1]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        struct disk *d = i == 0 ? open_raw(name) : open_vmdk(name);
        assert_int_equal(d->capacity, src->capacity);
        assert_same(src, d);
        close_ok(d);
    }
    struct convert_target t = {.fd = 1, .params = {.type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE}};
    assert_int_equal(convert(src, &t), VIX_E_INVALID_ARG);
    close_ok(src);
}

static void reader_that_goes_away(void **state)
{
    (void)state;
    make_image(at("src"), 8192, 11);
    struct disk *src = open_raw("src");
    for (unsigned i = 0; i < 2; i++) {
        int fds[2];
        sigset_t pending;
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(close(fds[0]), 0);
        struct convert_target t = {.fd = fds[1],
                                   .raw = i == 0,
                                   .params = {.type = VIXDISKLIB_DISK_STREAM_OPTIMIZED},
                                   .tuning = {.threads = 1}};
        assert_int_equal(convert(src, &t), VIX_E_FILE_ERROR);
        assert_int_equal(err.sys_errno, EPIPE);
        assert_int_equal(close(fds[1]), 0);
        assert_int_equal(sigpending(&pending), 0);
        assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    }
    close_ok(src);
}

static void from_a_pipe(void **state)
{
    (void)state;
    make_image(at("src"), ODD_SECTORS, 12);
    struct disk *raw = open_raw("src");
    for (size_t i = 0; i <= TYPE_COUNT; i++) {
        int fds[2];
        pthread_t thread;
        struct disk *src = NULL;
        assert_int_equal(pipe(fds), 0);
        struct pump p = {.from = open(at("src"), O_RDONLY | O_CLOEXEC), .to = fds[1]};
        assert_int_equal(pthread_create(&thread, NULL, pump, &p), 0);
        assert_int_equal(disk_open_pipe_in(fds[0], ODD_SECTORS, &src, &err), VIX_OK);
        struct convert_target t = target_at("p.vmdk", i < TYPE_COUNT ? all_types[i] : VIXDISKLIB_DISK_UNKNOWN);
        t.overwrite = true;
        assert_int_equal(convert(src, &t), VIX_OK);
        close_ok(src);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(close(fds[0]), 0);
        if (i < TYPE_COUNT) {
            check_vmdk(raw, "p.vmdk");
        } else {
            struct disk *d = open_raw("p.vmdk");
            assert_same(raw, d);
            close_ok(d);
        }
    }
    close_ok(raw);
}

/** A streamOptimized disk out of a pipe: contents, database, and damage behind its grains. */
static void from_a_streamed_disk(void **state)
{
    static const char *const pairs[] = {"comment", "kept", NULL};

    (void)state;
    make_image(at("src"), ODD_SECTORS, 17);
    struct disk *raw = open_raw("src");
    struct convert_target t = target_at("s.vmdk", VIXDISKLIB_DISK_STREAM_OPTIMIZED);
    t.params.adapter = VIXDISKLIB_ADAPTER_IDE;
    t.params.ddb = pairs;
    assert_int_equal(convert(raw, &t), VIX_OK);
    uint64_t len = length_of("s.vmdk");
    for (size_t i = 0; i <= TYPE_COUNT; i++) {
        bool cut = i == TYPE_COUNT;
        struct disk *src = NULL;
        if (cut) {
            assert_int_equal(truncate(at("s.vmdk"), (off_t)len - 5000), 0);
        }
        int fd = open(at("s.vmdk"), O_RDONLY | O_CLOEXEC);
        assert_int_equal(disk_open_stream_in(fd, 2, &src, &err), VIX_OK);
        assert_int_equal(src->capacity, ODD_SECTORS);
        assert_true(src->sequential);
        expect_meta(src, "comment", "kept");
        expect_meta(src, "none", NULL);
        t = target_at("p.vmdk", all_types[i % TYPE_COUNT]);
        t.overwrite = true;
        assert_int_equal(convert(src, &t), cut ? VIX_E_DISK_NEEDSREPAIR : VIX_OK);
        close_ok(src);
        assert_int_equal(close(fd), 0);
        struct disk *d = open_vmdk("p.vmdk"); /* of the round before, where the stream was cut */
        assert_same(raw, d);
        expect_meta(d, "comment", "kept");
        expect_meta(d, "adapterType", "ide");
        close_ok(d);
    }
    close_ok(raw);
    struct disk *none = NULL;
    int fd = open(at("src"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(disk_open_stream_in(fd, 1, &none, &err), VIX_E_DISK_INVALIDDISK);
    assert_null(none);
    assert_int_equal(close(fd), 0);
}

/* ---- stopping ---- */

struct stopper {
    uint64_t calls;
    uint64_t stop_at; /* the call that says stop; 0: none */
    uint64_t last;
};

static bool stop_some_time(void *ctx, uint64_t done, uint64_t total)
{
    struct stopper *s = ctx;

    assert_true(done <= total && done >= s->last);
    s->last = done;
    return ++s->calls != s->stop_at;
}

static void cancelled(void **state)
{
    (void)state;
    make_image(at("src"), 8 * 2048, 13);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i <= TYPE_COUNT; i++) {
        struct convert_target t = target_at("d.vmdk", i < TYPE_COUNT ? all_types[i] : VIXDISKLIB_DISK_UNKNOWN);
        struct stopper counted = {0};
        assert_int_equal(ops_convert(fs, src, &t, (struct ops_progress){stop_some_time, &counted}, &err), VIX_OK);
        assert_int_equal(counted.last, 8 << 20);
        assert_true(counted.calls > 0 && counted.calls <= 202);
        for (uint64_t nth = 1; nth <= counted.calls; nth += 1 + counted.calls / 10) {
            struct stopper s = {.stop_at = nth};
            struct convert_target other = t;
            other.path = at("e.vmdk");
            VixError code = ops_convert(fs, src, &other, (struct ops_progress){stop_some_time, &s}, &err);
            /* the number of calls may differ from run to run */
            if (s.calls >= nth) {
                assert_int_equal(code, VIX_E_CANCELLED);
                assert_int_equal(count_files("e"), 0);
            } else {
                assert_int_equal(ops_unlink(fs, other.path, &err), VIX_OK);
            }
        }
        struct stopper s = {.stop_at = 1};
        t.overwrite = true;
        assert_int_equal(ops_convert(fs, src, &t, (struct ops_progress){stop_some_time, &s}, &err), VIX_E_CANCELLED);
        if (i < TYPE_COUNT) {
            check_vmdk(src, "d.vmdk");
            assert_int_equal(ops_unlink(fs, t.path, &err), VIX_OK);
        }
    }
    close_ok(src);
}

/* ---- failing ---- */

/** Fails each change in turn. Afterwards either nothing of the target is there, or all of it. */
static void fail_each(struct disk *src, VixDiskLibDiskType type, bool over)
{
    struct store_fs *inner = fs;
    struct store_fs *fault = store_fault_new(inner, &err);
    uint64_t count = 0;
    unsigned left = 0;

    assert_non_null(fault);
    for (uint64_t nth = 0; nth <= count; nth++) {
        const struct store_fault_rule rule = {.ops = FAULT_CHANGES, .nth = nth, .errnum = ENOSPC};
        struct convert_target t = target_at("f.vmdk", type);
        struct disk *d = NULL;
        t.overwrite = over;
        t.tuning.threads = 1;
        if (over) {
            struct convert_target old = target_at("f.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT);
            assert_int_equal(convert(src, &old), VIX_OK);
        }
        store_fault_set(fault, &rule);
        VixError code = ops_convert(fault, src, &t, (struct ops_progress){0}, &err);
        bool hit = store_fault_has_hit(fault);
        if (nth == 0) {
            count = store_fault_count(fault, FAULT_CHANGES);
        }
        store_fault_set(fault, NULL);
        assert_true(hit || code == VIX_OK);
        bool there = type == VIXDISKLIB_DISK_UNKNOWN
                         ? fs->ops->exists(fs, at("f.vmdk"))
                         : disk_open_local(fs, at("f.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err) == VIX_OK;
        assert_true(there || (code != VIX_OK && !over));
        if (d != NULL) {
            assert_same(src, d);
            close_ok(d);
        }
        if (there && type != VIXDISKLIB_DISK_UNKNOWN) {
            assert_int_equal(ops_unlink(fs, at("f.vmdk"), &err), VIX_OK);
        } else if (there) {
            assert_int_equal(unlink(at("f.vmdk")), 0);
        }
        /* of a failure after the last step, and of a removal that fails, a file may stay: never one that looks whole */
        if (count_files("f") > 0) {
            char command[160];
            assert_true(code != VIX_OK);
            (void)snprintf(command, sizeof command, "rm -f %s/f*", folder);
            assert_int_equal(system(command), 0);
            left++;
        }
    }
    assert_true(left <= 4);
    assert_true(count > 5);
    store_fault_free(fault);
}

static void nothing_half_made_stays(void **state)
{
    (void)state;
    make_image(at("src"), 4096, 14);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        fail_each(src, all_types[i], false);
    }
    fail_each(src, VIXDISKLIB_DISK_UNKNOWN, false);
    close_ok(src);
}

static void old_or_new_is_there(void **state)
{
    (void)state;
    make_image(at("src"), 4096, 15);
    struct disk *src = open_raw("src");
    for (size_t i = 0; i < 3; i++) { /* one file; a set; a set in parts */
        fail_each(src, all_types[i], true);
    }
    close_ok(src);
}

static void source_that_fails(void **state)
{
    struct store_fs *fault = store_fault_new(fs, &err);
    struct disk *src = NULL;

    (void)state;
    make_image(at("src"), 8192, 16);
    assert_int_equal(disk_open_raw(fault, at("src"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &src, &err), VIX_OK);
    for (size_t i = 0; i <= TYPE_COUNT; i++) {
        const struct store_fault_rule rule = {.ops = FAULT_READ, .nth = 2, .errnum = EIO};
        struct convert_target t = target_at("d.vmdk", i < TYPE_COUNT ? all_types[i] : VIXDISKLIB_DISK_UNKNOWN);
        store_fault_set(fault, &rule);
        assert_int_equal(convert(src, &t), VIX_E_FILE_ERROR);
        assert_int_equal(err.sys_errno, EIO);
        assert_int_equal(count_files("d"), 0);
    }
    store_fault_set(fault, NULL);
    close_ok(src);
    store_fault_free(fault);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(from_raw_to_every_type),
        TEST(from_every_type_to_every_type),
        TEST(overwriting_leaves_no_old_files),
        TEST(permissions_stay),
        TEST(a_disk_onto_itself),
        TEST(over_a_disk_with_files_of_the_source),
        TEST(what_is_in_use_or_in_the_way),
        TEST(database_goes_over_by_the_rules),
        TEST(names_inside_follow),
        TEST(zeros_take_no_space),
        TEST(measured_is_what_it_takes),
        TEST(into_what_exists),
        TEST(through_pipes),
        TEST(reader_that_goes_away),
        TEST(from_a_pipe),
        TEST(from_a_streamed_disk),
        TEST(cancelled),
        TEST(nothing_half_made_stays),
        TEST(old_or_new_is_there),
        TEST(source_that_fails),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Every call of the interface on disks of every type, with each of its system calls and each of its requests for memory
 * failing in turn, until it goes through untouched: the call says so with a code, the disk holds the old or the new
 * content, files are those before or after, the handle closes, nothing leaks, and the call can be made again.
 *
 * VIXDISK_FAULTS=all tries every call on all types of disks (a minute); else on two each. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "env.h"
#include "faulty.h"

#define SECTORS (1024 + 77)
#define GROWN (2048 + 5)
#define BYTES ((size_t)SECTORS * 512)
#define STEPS_MAX 20000 /* system calls and requests for memory of one call; more would be a loop without end */

static VixDiskLibConnection conn;
static VixDiskLibDiskType type;     /* of the disk under test */
static VixDiskLibDiskType clone_to; /* of what is made of it */
static uint8 before[BYTES], after[BYTES], found[BYTES];
static uint8 blue[300 * 512];
static bool all_types;

static const char disk[] = "w/d.vmdk";
static const char base[] = "w/base.vmdk";
static const char made[] = "w/new.vmdk";

/* ---- folders ---- */

struct names {
    size_t count;
    char text[32][64];
};

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list(const char *folder, struct names *ret)
{
    DIR *dir = opendir(in_folder(folder));
    struct dirent *entry;

    assert_non_null(dir);
    memset(ret, 0, sizeof *ret);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            assert_true(ret->count < 32);
            (void)snprintf(ret->text[ret->count++], sizeof ret->text[0], "%.63s", entry->d_name);
        }
    }
    (void)closedir(dir);
    qsort(ret->text, ret->count, sizeof ret->text[0], by_text);
}

static bool same_names(const struct names *a, const struct names *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void copy_file(const char *from, const char *to)
{
    static uint8 buf[1 << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;
    ssize_t n;

    assert_true(in >= 0 && out >= 0);
    assert_int_equal(fstat(in, &st), 0);
    for (off_t at = 0; (n = pread(in, buf, sizeof buf, at)) > 0; at += n) {
        assert_int_equal(pwrite(out, buf, (size_t)n, at), n);
    }
    assert_int_equal(ftruncate(out, st.st_size), 0);
    (void)close(in);
    (void)close(out);
}

/* The folder `to` gets the files of `from`, and no others. */
static void copy_folder(const char *from, const char *to)
{
    struct names names;
    char path[128], other[128];

    list(to, &names);
    for (size_t i = 0; i < names.count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", to, names.text[i]);
        assert_int_equal(unlink(in_folder(path)), 0);
    }
    list(from, &names);
    for (size_t i = 0; i < names.count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", from, names.text[i]);
        (void)snprintf(other, sizeof other, "%s/%s", to, names.text[i]);
        copy_file(in_folder(path), in_folder(other));
    }
}

/* ---- what disks hold ---- */

static bool read_whole(const char *path, uint8 *buf)
{
    VixDiskLibHandle h = NULL;

    if (VixDiskLib_Open(conn, in_folder(path), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h) != VIX_OK) {
        return false;
    }
    bool good = VixDiskLib_Read(h, 0, SECTORS, buf) == VIX_OK;
    return VixDiskLib_Close(h) == VIX_OK && good;
}

static bool holds(const char *path, const uint8 *what)
{
    return read_whole(path, found) && memcmp(found, what, BYTES) == 0;
}

/* Each sector as before or as after. */
static bool holds_either(const char *path)
{
    if (!read_whole(path, found)) {
        return false;
    }
    for (size_t i = 0; i < BYTES; i += 512) {
        if (memcmp(found + i, before + i, 512) != 0 && memcmp(found + i, after + i, 512) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- disks ---- */

static void write_at(VixDiskLibHandle h, uint64 sector, uint64 n, unsigned seed)
{
    static uint8 buf[300 * 512];

    fill(buf, n * 512, seed);
    assert_code(VixDiskLib_Write(h, sector, n, buf), VIX_OK);
}

static void make_written(const char *path)
{
    make_disk(conn, in_folder(path), type, SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder(path), 0);
    write_at(h, 700, 130, 1);
    write_at(h, 3, 9, 2);
    write_at(h, SECTORS - 20, 20, 3);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void prepare_disk(void)
{
    make_written(disk);
}

static void prepare_nothing(void)
{
}

static void prepare_two(void)
{
    make_written(disk);
    make_written(made);
    VixDiskLibHandle h = open_disk(conn, in_folder(made), 0);
    write_at(h, 100, 10, 4);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/* A disk of the type, and a child of it. */
static void prepare_child(void)
{
    make_written(base);
    VixDiskLibHandle h = open_disk(conn, in_folder(base), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixDiskLibDiskType child = type == VIXDISKLIB_DISK_VMFS_FLAT || type == VIXDISKLIB_DISK_VMFS_THIN
                                   ? VIXDISKLIB_DISK_VMFS_SPARSE
                               : type == VIXDISKLIB_DISK_SPLIT_SPARSE ? VIXDISKLIB_DISK_SPLIT_SPARSE
                                                                      : VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    assert_code(VixDiskLib_CreateChild(h, in_folder(disk), child, NULL, NULL), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder(disk), 0);
    write_at(h, 760, 140, 5);
    write_at(h, 1, 1, 6);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/* A grain of nothing that counts as used, and a closing that did not happen: what repair is for. */
static void prepare_damaged(void)
{
    static const uint8 one = 1;

    make_written(disk);
    int fd = open(in_folder(disk), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &one, 1, 72), 1); /* uncleanShutdown */
    off_t end = lseek(fd, 0, SEEK_END);
    assert_int_equal(ftruncate(fd, end + 65536), 0); /* used by nothing */
    (void)close(fd);
}

/* ---- the calls ---- */

/* The code of the work, or else that of closing. */
static VixError close_after(VixDiskLibHandle h, VixError code)
{
    VixError closed = VixDiskLib_Close(h);
    return code != VIX_OK ? code : closed;
}

static VixError open_it(uint32 flags, VixDiskLibHandle *h)
{
    *h = NULL;
    VixError code = VixDiskLib_Open(conn, in_folder(disk), flags, h);
    assert_true((code == VIX_OK) == (*h != NULL));
    return code;
}

static VixError do_connect(void)
{
    VixDiskLibConnection c = NULL;
    VixError code = VixDiskLib_Connect(NULL, &c);

    assert_true((code == VIX_OK) == (c != NULL));
    return code == VIX_OK ? VixDiskLib_Disconnect(c) : code;
}

static VixError do_open(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    return code == VIX_OK ? VixDiskLib_Close(h) : code;
}

static VixError do_read(void)
{
    static uint8 buf[BYTES];
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_Read(h, 0, SECTORS, buf);
    assert_true(code != VIX_OK || memcmp(buf, before, BYTES) == 0);
    return close_after(h, code);
}

/* Each request that was taken calls back, once. */
static VixError told_by(const struct told *told, size_t n, VixError code)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(told[i].calls <= 1);
        if (code == VIX_OK) {
            code = told[i].code;
        }
    }
    return code;
}

static VixError do_read_async(void)
{
    static uint8 buf[BYTES];
    struct told told[4] = {0};
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);
    bool all = true;

    if (code != VIX_OK) {
        return code;
    }
    for (unsigned i = 0; i < 4 && (code == VIX_OK || code == VIX_ASYNC); i++) {
        code = VixDiskLib_ReadAsync(h, i * 275, i < 3 ? 275 : SECTORS - 825, buf + (size_t)i * 275 * 512, keep_code,
                                    &told[i]);
        all = all && code == VIX_ASYNC && i < 4;
    }
    code = code == VIX_ASYNC ? VIX_OK : code;
    VixError waited = VixDiskLib_Wait(h);
    code = told_by(told, 4, code != VIX_OK ? code : waited);
    assert_true(code != VIX_OK || (all && memcmp(buf, before, BYTES) == 0));
    return close_after(h, code);
}

static VixError do_write(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    if (code != VIX_OK) {
        return code;
    }
    if ((code = VixDiskLib_Write(h, 640, 300, blue)) == VIX_OK && (code = VixDiskLib_Write(h, 5, 2, blue)) == VIX_OK &&
        (code = VixDiskLib_Flush(h)) == VIX_OK) {
        code = VixDiskLib_Write(h, 200, 1, blue);
    }
    return close_after(h, code);
}

static VixError do_zeros(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    if (code != VIX_OK) {
        return code;
    }
    if ((code = VixDiskLibExt_WriteZeros(h, 500, 300)) == VIX_OK &&
        (code = VixDiskLibExt_Discard(h, 0, 50)) == VIX_OK) {
        code = VixDiskLib_Flush(h);
    }
    return close_after(h, code);
}

static VixError do_write_async(void)
{
    struct told told[2] = {0};
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_WriteAsync(h, 640, 300, blue, keep_code, &told[0]);
    if (code == VIX_ASYNC) {
        code = VixDiskLib_WriteAsync(h, 5, 2, blue, keep_code, &told[1]);
    }
    code = code == VIX_ASYNC ? VIX_OK : code;
    VixError waited = VixDiskLib_Wait(h);
    code = told_by(told, 2, code != VIX_OK ? code : waited);
    return close_after(h, code);
}

static VixError do_query(void)
{
    VixDiskLibBlockList *blocks = NULL;
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_QueryAllocatedBlocks(h, 0, SECTORS / 128 * 128, 128, &blocks);
    assert_true((code == VIX_OK) == (blocks != NULL));
    if (code == VIX_OK) {
        assert_true(blocks->numBlocks >= 1);
        (void)VixDiskLib_FreeBlockList(blocks);
    }
    return close_after(h, code);
}

static Bool take_run(void *ctx, const VixDiskLibExt_Run *run)
{
    (void)ctx, (void)run;
    return TRUE;
}

static VixError do_tell(void)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibExt_Details *details = NULL;
    char text[4096];
    size_t need = 0;
    uint64 required, full;
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_GetInfo(h, &info);
    assert_true((code == VIX_OK) == (info != NULL));
    VixDiskLib_FreeInfo(info);
    if (code == VIX_OK && (code = VixDiskLib_GetMetadataKeys(h, text, sizeof text, &need)) == VIX_OK &&
        (code = VixDiskLib_ReadMetadata(h, "adapterType", text, sizeof text, &need)) == VIX_OK &&
        (code = VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, &required)) == VIX_OK &&
        (code = VixDiskLibExt_Measure(h, VIXDISKLIB_DISK_STREAM_OPTIMIZED, FALSE, &required, &full)) == VIX_OK &&
        (code = VixDiskLibExt_Map(h, 0, SECTORS, take_run, NULL)) == VIX_OK) {
        code = VixDiskLibExt_GetDetails(h, &details);
        assert_true((code == VIX_OK) == (details != NULL));
        VixDiskLibExt_FreeDetails(details);
    }
    return close_after(h, code);
}

static VixError do_write_metadata(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    return code == VIX_OK ? close_after(h, VixDiskLib_WriteMetadata(h, "test.color", "a longer value than none"))
                          : code;
}

static VixError do_create(void)
{
    VixDiskLibCreateParams p = {.diskType = type,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX55,
                                .capacity = SECTORS};
    return VixDiskLib_Create(conn, in_folder(made), &p, NULL, NULL);
}

static VixError clone_with(Bool overwrite)
{
    VixDiskLibCreateParams p = {
        .diskType = clone_to, .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .hwVersion = VIXDISKLIB_HWVERSION_ESX55};
    return VixDiskLib_Clone(conn, in_folder(made), conn, in_folder(disk), &p, NULL, NULL, overwrite);
}

static VixError do_clone(void)
{
    return clone_with(FALSE);
}

static VixError do_clone_over(void)
{
    return clone_with(TRUE);
}

static VixError do_convert_raw(void)
{
    VixDiskLibExt_ConvertParams p = {.structSize = sizeof p, .raw = TRUE, .threads = 2};
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    return code == VIX_OK ? close_after(h, VixDiskLibExt_Convert(h, in_folder("w/new.raw"), &p, NULL, NULL)) : code;
}

static VixError do_compare(void)
{
    VixDiskLibSectorType first, n;
    VixDiskLibHandle a, b = NULL;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &a);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_Open(conn, in_folder(made), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &b);
    if (code == VIX_OK) {
        code = close_after(b, VixDiskLibExt_Compare(a, b, NULL, NULL, &first, &n));
        assert_true(code != VIX_OK || (first == 100 && n == 10));
    }
    return close_after(a, code);
}

static VixError do_grow(void)
{
    return VixDiskLib_Grow(conn, in_folder(disk), GROWN, TRUE, NULL, NULL);
}

static VixError do_shrink(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    return code == VIX_OK ? close_after(h, VixDiskLib_Shrink(h, NULL, NULL)) : code;
}

static VixError do_defragment(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(0, &h);

    return code == VIX_OK ? close_after(h, VixDiskLib_Defragment(h, NULL, NULL)) : code;
}

static VixError do_create_child(void)
{
    VixDiskLibHandle h;
    VixError code = open_it(VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h);

    return code == VIX_OK ? close_after(h, VixDiskLib_CreateChild(h, in_folder(made), VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                                                  NULL, NULL))
                          : code;
}

static VixError do_attach(void)
{
    static uint8 buf[BYTES];
    VixDiskLibHandle child = NULL, parent = NULL;
    VixError code = VixDiskLib_Open(conn, in_folder(base), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &parent);

    if (code != VIX_OK) {
        return code;
    }
    code = VixDiskLib_Open(conn, in_folder(disk), VIXDISKLIB_FLAG_OPEN_READ_ONLY | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK,
                           &child);
    if (code != VIX_OK) {
        return close_after(parent, code);
    }
    if ((code = VixDiskLib_IsAttachPossible(parent, child)) == VIX_OK) {
        code = VixDiskLib_Attach(parent, child);
        if (code == VIX_OK) {
            code = VixDiskLib_Read(child, 0, SECTORS, buf);
            assert_true(code != VIX_OK || memcmp(buf, before, BYTES) == 0);
            return close_after(child, code); /* and the parent with it */
        }
    }
    return close_after(parent, close_after(child, code));
}

static VixError do_commit(void)
{
    return VixDiskLibExt_Commit(conn, in_folder(disk), NULL, NULL);
}

static VixError do_reparent(void)
{
    return VixDiskLib_Reparent(conn, in_folder(disk), "./base.vmdk");
}

static VixError do_rename(void)
{
    return VixDiskLib_Rename(in_folder(disk), in_folder(made));
}

static VixError do_unlink(void)
{
    return VixDiskLib_Unlink(conn, in_folder(disk));
}

static VixError do_check(void)
{
    VixDiskLibExt_CheckSummary sum = {.structSize = sizeof sum};
    return VixDiskLibExt_Check(conn, in_folder(disk), VIXDISKLIBEXT_CHECK_DEEP | VIXDISKLIBEXT_CHECK_CHAIN, NULL, NULL,
                               &sum);
}

static VixError do_repair(void)
{
    return VixDiskLib_CheckRepair(conn, in_folder(disk), TRUE);
}

/* ---- what must hold afterwards ---- */

static bool disk_as_before(bool done)
{
    (void)done;
    return holds(disk, before);
}

/* A call that was not done leaves each sector old or new; the flush and the second write come in order. */
static bool disk_written(bool done)
{
    return done ? holds(disk, after) : holds_either(disk);
}

static bool metadata_written(bool done)
{
    char text[64] = "";
    size_t need;
    VixDiskLibHandle h = open_disk(conn, in_folder(disk), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    VixError code = VixDiskLib_ReadMetadata(h, "test.color", text, sizeof text, &need);

    assert_code(VixDiskLib_Close(h), VIX_OK);
    return holds(disk, before) && (code == VIX_OK || (code == VIX_E_DISK_KEY_NOTFOUND && !done)) &&
           (code != VIX_OK || strcmp(text, "a longer value than none") == 0);
}

/* What is made is there whole or not at all. */
static bool made_whole(bool done)
{
    if (!file_exists(in_folder(made))) {
        return !done;
    }
    return holds(made, after);
}

static bool cloned(bool done)
{
    return holds(disk, before) && made_whole(done);
}

static bool cloned_over(bool done)
{
    return holds(disk, before) && (done ? holds(made, before) : holds(made, before) || holds(made, after));
}

static bool converted(bool done)
{
    static uint8 buf[BYTES];

    if (!holds(disk, before)) {
        return false;
    }
    int fd = open(in_folder("w/new.raw"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return !done;
    }
    ssize_t n = pread(fd, buf, BYTES, 0);
    (void)close(fd);
    return n == (ssize_t)BYTES && memcmp(buf, before, BYTES) == 0;
}

static bool grown(bool done)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibHandle h = open_disk(conn, in_folder(disk), VIXDISKLIB_FLAG_OPEN_READ_ONLY);

    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    bool good = info->capacity == GROWN || (!done && info->capacity == SECTORS);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    return good && holds(disk, before);
}

static bool child_made(bool done)
{
    return holds(disk, before) && (file_exists(in_folder(made)) ? holds(made, before) : !done);
}

static bool committed(bool done)
{
    return file_exists(in_folder(disk)) ? !done && holds(disk, before) : holds(base, before);
}

static bool renamed(bool done)
{
    if (file_exists(in_folder(disk))) {
        return !done && holds(disk, before);
    }
    return holds(made, before);
}

static bool unlinked(bool done)
{
    return !done || !file_exists(in_folder(disk));
}

static bool sound(bool done)
{
    return holds(disk, before) && (!done || VixDiskLib_CheckRepair(conn, in_folder(disk), FALSE) == VIX_OK);
}

/* ---- trying ---- */

#define T(name) (1u << VIXDISKLIB_DISK_##name)
#define ALL (T(MONOLITHIC_SPARSE) | T(MONOLITHIC_FLAT) | T(SPLIT_SPARSE) | T(SPLIT_FLAT) | T(VMFS_FLAT) | T(VMFS_THIN))
#define SPARSE (T(MONOLITHIC_SPARSE) | T(SPLIT_SPARSE))

/* May be left by a call that failed, for the next one to find or for the user to remove. */
#define LEAVES_NAMES (1u << 0) /* a rename or removal of several files stops in the middle */
#define ONCE (1u << 1)         /* done again it has another result */
#define READS (1u << 2)        /* changes no file */

static const struct subject {
    const char *name;
    uint32_t types;
    uint32_t flags;
    void (*prepare)(void);
    VixError (*run)(void);
    bool (*good)(bool done);
    const char *changed; /* the disk whose new content is `after` */
} subjects[] = {
    {"Connect", T(MONOLITHIC_SPARSE), READS, prepare_disk, do_connect, disk_as_before, NULL},
    {"Open", ALL, 0, prepare_disk, do_open, disk_as_before, NULL},
    {"Open of a chain", ALL, 0, prepare_child, do_open, disk_as_before, NULL},
    {"Read", ALL, READS, prepare_disk, do_read, disk_as_before, NULL},
    {"Read of a chain", ALL, READS, prepare_child, do_read, disk_as_before, NULL},
    {"ReadAsync", ALL, READS, prepare_disk, do_read_async, disk_as_before, NULL},
    {"Write", ALL, 0, prepare_disk, do_write, disk_written, disk},
    {"Write to a child", ALL, 0, prepare_child, do_write, disk_written, disk},
    {"WriteZeros and Discard", ALL, 0, prepare_disk, do_zeros, disk_written, disk},
    {"WriteZeros and Discard in a child", SPARSE, 0, prepare_child, do_zeros, disk_written, disk},
    {"WriteAsync", ALL, 0, prepare_disk, do_write_async, disk_written, disk},
    {"QueryAllocatedBlocks", ALL, READS, prepare_disk, do_query, disk_as_before, NULL},
    {"GetInfo and its like", ALL, READS, prepare_disk, do_tell, disk_as_before, NULL},
    {"GetInfo and its like of a chain", ALL, READS, prepare_child, do_tell, disk_as_before, NULL},
    {"WriteMetadata", ALL, 0, prepare_disk, do_write_metadata, metadata_written, NULL},
    {"Create", ALL, 0, prepare_nothing, do_create, made_whole, made},
    {"Convert to raw", ALL, 0, prepare_disk, do_convert_raw, converted, NULL},
    {"Convert a chain to raw", SPARSE, 0, prepare_child, do_convert_raw, converted, NULL},
    {"Compare", SPARSE, READS, prepare_two, do_compare, disk_as_before, NULL},
    {"Grow", ALL, ONCE, prepare_disk, do_grow, grown, NULL},
    {"Shrink", SPARSE | T(VMFS_THIN), 0, prepare_disk, do_shrink, disk_as_before, NULL},
    {"Defragment", SPARSE, 0, prepare_disk, do_defragment, disk_as_before, NULL},
    {"CreateChild", ALL, 0, prepare_disk, do_create_child, child_made, NULL},
    {"Attach", SPARSE | T(MONOLITHIC_FLAT), READS, prepare_child, do_attach, disk_as_before, NULL},
    {"Commit", ALL, LEAVES_NAMES | ONCE, prepare_child, do_commit, committed, NULL},
    {"Reparent", ALL, 0, prepare_child, do_reparent, disk_as_before, NULL},
    {"Rename", ALL, LEAVES_NAMES | ONCE, prepare_disk, do_rename, renamed, NULL},
    {"Unlink", ALL, LEAVES_NAMES | ONCE, prepare_disk, do_unlink, unlinked, NULL},
    {"Check", ALL, READS, prepare_child, do_check, disk_as_before, NULL},
    {"CheckRepair", T(MONOLITHIC_SPARSE), 0, prepare_damaged, do_repair, sound, NULL},
};

static const struct way {
    const char *name;
    uint32_t kinds;
    int errnum;
    bool stays;
    bool harmless; /* the call must go through all the same */
} ways[] = {
    {"EIO", FAULTY_OPEN | FAULTY_READ | FAULTY_WRITE | FAULTY_SIZE | FAULTY_SYNC | FAULTY_NAME, EIO, false, false},
    {"ENOSPC from then on", FAULTY_WRITE | FAULTY_SYNC, ENOSPC, true, false},
    {"EDQUOT", FAULTY_WRITE | FAULTY_SYNC | FAULTY_NAME, EDQUOT, false, false},
    {"EINTR", FAULTY_OPEN | FAULTY_READ | FAULTY_WRITE | FAULTY_SYNC, EINTR, false, true},
    {"a short count", FAULTY_READ | FAULTY_WRITE, FAULTY_SHORT, false, true},
    {"EIO of a removal", FAULTY_UNLINK, EIO, false, false},
    {"no memory", FAULTY_MEMORY, ENOMEM, false, false},
};

static struct {
    unsigned runs, failed;
} tally;

/* The nth failure of a kind. False: there were not so many. */
static bool try_one(const struct subject *s, const struct way *w, uint64_t nth, const struct names *old,
                    const struct names *new)
{
    struct names now;

    if ((s->flags & READS) == 0) {
        copy_folder("t", "w");
    }
    faulty_set(w->kinds, nth, w->errnum, w->stays);
    VixError code = s->run();
    (void)faulty_end();
    bool hit = faulty_hit();
    bool done = code == VIX_OK;
    tally.runs += hit;
    tally.failed += hit && !done;
    list("w", &now);
    bool may_leave = w->kinds == FAULTY_UNLINK || (!done && (s->flags & LEAVES_NAMES) != 0);
    bool names = done ? w->kinds == FAULTY_UNLINK || same_names(&now, new)
                      : may_leave || same_names(&now, old) || same_names(&now, new);
    bool good = names && (done || (hit && !w->harmless)) && s->good(done);
    VixError again = VIX_OK;
    if (good && !done && ((s->flags & ONCE) == 0 || same_names(&now, old))) {
        if (s->prepare != prepare_nothing || !file_exists(in_folder(made))) {
            again = s->run();
            good = again == VIX_OK ? s->good(true) : again == VIX_E_FILE_ALREADY_EXISTS && s->good(false);
        }
    }
    if (!good) {
        print_error("%s, type %d: call %u of kinds %x fails with %s: code %llu (%s)%s; then %llu\n", s->name, (int)type,
                    (unsigned)nth, w->kinds, w->name, (unsigned long long)VIX_ERROR_CODE(code),
                    VixDiskLibExt_LastErrorDetail(), names ? "" : ", other files",
                    (unsigned long long)VIX_ERROR_CODE(again));
        for (size_t i = 0; i < now.count; i++) {
            print_error("  %s\n", now.text[i]);
        }
    }
    assert_true(good);
    return hit;
}

static void try_all(const struct subject *s)
{
    static const struct names none;
    struct names old, new;

    copy_folder("none", "t");
    copy_folder("none", "w");
    s->prepare();
    copy_folder("w", "t");
    list("w", &old);
    if (!same_names(&old, &none)) {
        assert_true(read_whole(disk, before));
    }
    assert_code(s->run(), VIX_OK); /* also what the library keeps from then on */
    list("w", &new);
    if (s->good == cloned_over) {
        copy_folder("t", "w");
        assert_true(read_whole(made, after));
    } else if (s->changed != NULL) {
        assert_true(read_whole(s->changed, after));
    }
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (ways[i].kinds == FAULTY_MEMORY && !faulty_has_memory()) {
            continue;
        }
        uint64_t nth = 1;
        int64_t pieces = 0;
        while (try_one(s, &ways[i], nth, &old, &new)) {
            if (nth == 1) {
                pieces = faulty_pieces();
            } else if (faulty_pieces() != pieces) {
                print_error("%s, type %d: call %u fails with %s: %lld pieces of memory more than after the first\n",
                            s->name, (int)type, (unsigned)nth, ways[i].name, (long long)(faulty_pieces() - pieces));
                fail();
            }
            assert_true(nth++ < STEPS_MAX);
        }
    }
}

static void every_call_survives_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        size_t tried = 0;
        for (size_t t = 0; t < writable_type_count && (all_types || tried < (faulty_has_memory() ? 2 : 1)); t++) {
            type = writable_types[(t + i) % writable_type_count];
            if ((subjects[i].types & (1u << type)) != 0) {
                try_all(&subjects[i]);
                tried++;
            }
        }
    }
    print_message("%u calls with a failure in them, %u ended with a code\n", tally.runs, tally.failed);
}

/* From one type, to each. */
static void every_clone_survives_failures(void **state)
{
    static const VixDiskLibDiskType targets[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT,
                                                 VIXDISKLIB_DISK_SPLIT_SPARSE,      VIXDISKLIB_DISK_SPLIT_FLAT,
                                                 VIXDISKLIB_DISK_STREAM_OPTIMIZED,  VIXDISKLIB_DISK_VMFS_FLAT,
                                                 VIXDISKLIB_DISK_VMFS_THIN};
    static const struct subject plain = {"Clone", ALL, 0, prepare_disk, do_clone, cloned, made};
    static const struct subject over = {"Clone over a disk", ALL, 0, prepare_two, do_clone_over, cloned_over, made};

    (void)state;
    tally.runs = tally.failed = 0;
    type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        clone_to = targets[i];
        if (all_types || i % 2 == 0) {
            try_all(&plain);
        }
    }
    clone_to = VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    try_all(&over);
    print_message("%u clones with a failure in them, %u ended with a code\n", tally.runs, tally.failed);
}

static int setup(void **state)
{
    if (env_setup(state) != 0 || mkdir(in_folder("w"), 0700) != 0 || mkdir(in_folder("t"), 0700) != 0 ||
        mkdir(in_folder("none"), 0700) != 0) {
        return -1;
    }
    const char *asked = getenv("VIXDISK_FAULTS");
    all_types = asked != NULL && strcmp(asked, "all") == 0;
    start_library();
    conn = local_connection();
    fill(blue, sizeof blue, 77);
    return 0;
}

static int done(void **state)
{
    (void)VixDiskLib_Disconnect(conn);
    return env_done(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_survives_failures),
        cmocka_unit_test(every_clone_survives_failures),
    };
    return cmocka_run_group_tests_name("faults", tests, setup, done);
}

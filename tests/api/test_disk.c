/* SPDX-License-Identifier: BSD-3-Clause */
/* Creating, opening, reading, writing, closing: what a good call does, and the code of every bad one. */
#include "env.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static VixDiskLibConnection conn;

static const VixDiskLibHandle bad_handles[] = {
    NULL,
    (VixDiskLibHandle)(uintptr_t)1,
    (VixDiskLibHandle)(void *)&conn,
    (VixDiskLibHandle)(uintptr_t)UINT64_MAX,
    (VixDiskLibHandle)(uintptr_t)0xD15C00000000FFFF,
};

static void misuse_of_handles_is_an_error(void **state)
{
    uint8 buf[512] = {0};
    char text[8];
    VixDiskLibInfo *info = NULL;
    VixDiskLibBlockList *list = NULL;
    uint64 n;

    (void)state;
    for (size_t i = 0; i < sizeof bad_handles / sizeof bad_handles[0]; i++) {
        VixDiskLibHandle h = bad_handles[i];
        forget_messages();
        assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Write(h, 0, 1, buf), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_ReadAsync(h, 0, 1, buf, NULL, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_WriteAsync(h, 0, 1, buf, NULL, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Flush(h), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Wait(h), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_GetInfo(h, &info), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_ReadMetadata(h, "uuid", text, sizeof text, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_WriteMetadata(h, "uuid", "x"), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_GetMetadataKeys(h, text, sizeof text, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_QueryAllocatedBlocks(h, 0, 128, 128, &list), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Shrink(h, NULL, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Defragment(h, NULL, NULL), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_CreateChild(h, in_folder("c.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL),
                    VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_UNKNOWN, &n), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_IsAttachPossible(h, h), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Close(h), VIX_E_INVALID_HANDLE);
        assert_null(VixDiskLib_GetTransportMode(h));
        assert_int_equal(warn_count(), 18);
    }
}

static void a_connection_is_no_disk_and_the_reverse(void **state)
{
    uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("kinds.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("kinds.vmdk"), 0);
    assert_code(VixDiskLib_Read((VixDiskLibHandle)(void *)conn, 0, 1, buf), VIX_E_INVALID_HANDLE);
    assert_code(open_code((VixDiskLibConnection)(void *)h, in_folder("kinds.vmdk"), 0), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Disconnect((VixDiskLibConnection)(void *)h), VIX_E_DISK_INVALID_CONNECTION);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

/** Unlink and Rename would part the disk behind it from its data. */
static void a_symbolic_link_is_no_disk(void **state)
{
    (void)state;
    assert_int_equal(symlink("kinds.vmdk", in_folder("link.vmdk")), 0);
    assert_code(VixDiskLib_Unlink(conn, in_folder("link.vmdk")), VIX_E_INCORRECT_FILE_TYPE);
    assert_code(VixDiskLib_Rename(in_folder("link.vmdk"), in_folder("n.vmdk")), VIX_E_INCORRECT_FILE_TYPE);
    assert_false(file_exists(in_folder("n.vmdk")));
    assert_code(VixDiskLib_Close(open_disk(conn, in_folder("link.vmdk"), 0)), VIX_OK);
    assert_int_equal(unlink(in_folder("link.vmdk")), 0);
}

static void null_arguments_are_errors(void **state)
{
    VixDiskLibCreateParams p = {
        .diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE, .adapterType = VIXDISKLIB_ADAPTER_IDE, .capacity = 128};
    VixDiskLibHandle h;

    (void)state;
    assert_code(VixDiskLib_Open(conn, NULL, 0, &h), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Open(conn, "", 0, &h), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Open(conn, in_folder("kinds.vmdk"), 0, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Create(conn, NULL, &p, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Create(conn, in_folder("n.vmdk"), NULL, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Unlink(conn, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Rename(NULL, in_folder("n.vmdk")), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Rename(in_folder("kinds.vmdk"), NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Clone(conn, NULL, conn, in_folder("kinds.vmdk"), &p, NULL, NULL, FALSE), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Clone(conn, in_folder("n.vmdk"), conn, NULL, &p, NULL, NULL, FALSE), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Clone(conn, in_folder("n.vmdk"), NULL, in_folder("kinds.vmdk"), &p, NULL, NULL, FALSE),
                VIX_E_DISK_INVALID_CONNECTION);
    h = open_disk(conn, in_folder("kinds.vmdk"), 0);
    assert_code(VixDiskLib_Read(h, 0, 1, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Write(h, 0, 1, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_ReadAsync(h, 0, 1, NULL, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_WriteAsync(h, 0, 1, NULL, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_GetInfo(h, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_ReadMetadata(h, NULL, NULL, 0, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_WriteMetadata(h, NULL, "x"), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_WriteMetadata(h, "x", NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_QueryAllocatedBlocks(h, 0, 128, 128, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_SpaceNeededForClone(h, VIXDISKLIB_DISK_UNKNOWN, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_CreateChild(h, NULL, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_false(file_exists(in_folder("n.vmdk")));
}

static void every_type_is_created_written_and_read(void **state)
{
    uint8 data[40 * 512];
    uint8 buf[40 * 512];
    uint8 zeros[512] = {0};

    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "type%zu.vmdk", i);
        make_disk(conn, in_folder(name), writable_types[i], 5 * MIB_SECTORS + 77);
        VixDiskLibHandle h = open_disk(conn, in_folder(name), 0);
        assert_string_equal(VixDiskLib_GetTransportMode(h), "file");
        fill(data, sizeof data, (unsigned)i);
        assert_code(VixDiskLib_Write(h, 100, 40, data), VIX_OK);
        assert_code(VixDiskLib_Write(h, 5 * MIB_SECTORS + 76, 1, data), VIX_OK);
        assert_code(VixDiskLib_Flush(h), VIX_OK);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        h = open_disk(conn, in_folder(name), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_code(VixDiskLib_Read(h, 100, 40, buf), VIX_OK);
        assert_memory_equal(buf, data, sizeof buf);
        assert_code(VixDiskLib_Read(h, 5 * MIB_SECTORS + 76, 1, buf), VIX_OK);
        assert_memory_equal(buf, data, 512);
        assert_code(VixDiskLib_Read(h, 99, 1, buf), VIX_OK);
        assert_memory_equal(buf, zeros, 512);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder(name)), VIX_OK);
        assert_false(file_exists(in_folder(name)));
    }
}

static void a_stream_is_written_in_order(void **state)
{
    uint8 data[256 * 512];
    uint8 buf[256 * 512];

    (void)state;
    make_disk(conn, in_folder("stream.vmdk"), VIXDISKLIB_DISK_STREAM_OPTIMIZED, 4 * MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("stream.vmdk"), 0);
    fill(data, sizeof data, 9);
    assert_code(VixDiskLib_Write(h, 1024, 256, data), VIX_OK);
    assert_code(VixDiskLib_Write(h, 4096, 256, data), VIX_OK);
    assert_int_not_equal(VixDiskLib_Write(h, 0, 256, data), VIX_OK);
    assert_true(strlen(VixDiskLibExt_LastErrorDetail()) > 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    h = open_disk(conn, in_folder("stream.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_Read(h, 4096, 256, buf), VIX_OK);
    assert_memory_equal(buf, data, sizeof buf);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void ranges_are_checked(void **state)
{
    const uint64 cap = MIB_SECTORS + 1;
    uint8 buf[2 * 512] = {0};
    const struct {
        uint64 start, n;
        VixError code;
    } cases[] = {
        {0, 0, VIX_OK},
        {cap - 1, 1, VIX_OK},
        {cap - 1, 2, VIX_E_DISK_OUTOFRANGE},
        {cap, 1, VIX_E_DISK_OUTOFRANGE},
        {UINT64_MAX, 1, VIX_E_DISK_OUTOFRANGE},
        {1, UINT64_MAX, VIX_E_DISK_OUTOFRANGE},
        {UINT64_MAX, 2, VIX_E_DISK_OUTOFRANGE},
        {UINT64_MAX / 512, 1, VIX_E_DISK_OUTOFRANGE},
    };

    (void)state;
    make_disk(conn, in_folder("range.vmdk"), VIXDISKLIB_DISK_SPLIT_SPARSE, cap);
    VixDiskLibHandle h = open_disk(conn, in_folder("range.vmdk"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_code(VixDiskLib_Read(h, cases[i].start, cases[i].n, buf), cases[i].code);
        assert_code(VixDiskLib_Write(h, cases[i].start, cases[i].n, buf), cases[i].code);
    }
    assert_code(VixDiskLib_Read(h, 0, 0, NULL), VIX_OK);
    assert_code(VixDiskLib_Write(h, 0, 0, NULL), VIX_OK);
    assert_code(VixDiskLib_Read(h, cap, 1, buf), VIX_E_DISK_OUTOFRANGE);
    assert_non_null(strstr(VixDiskLibExt_LastErrorDetail(), "2049"));
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void failures_are_told_once_with_place_and_code(void **state)
{
    char expected[700];

    (void)state;
    forget_messages();
    assert_code(open_code(conn, in_folder("absent.vmdk"), 0), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(warn_count(), 1);
    (void)snprintf(expected, sizeof expected, "VixDiskLib_Open: %s: ", in_folder("absent.vmdk"));
    assert_true(warn_has(expected));
    assert_true(warn_has("(VIX_E_FILE_NOT_FOUND, 4)\n"));
    assert_null(strstr(VixDiskLibExt_LastErrorDetail(), "VIX_E_"));
    assert_true(strlen(VixDiskLibExt_LastErrorDetail()) > 0);
}

static void what_is_no_disk_is_refused(void **state)
{
    (void)state;
    make_file("text.vmdk", "this is not a disk, only a text that is long enough to look into\n");
    make_file("empty.vmdk", "");
    assert_code(open_code(conn, in_folder("text.vmdk"), 0), VIX_E_DISK_INVALIDDISK);
    assert_code(open_code(conn, in_folder("empty.vmdk"), 0), VIX_E_DISK_INVALIDDISK);
    assert_int_equal(mkdir(in_folder("folder.vmdk"), 0700), 0);
    assert_int_equal(mkfifo(in_folder("fifo.vmdk"), 0600), 0);
    assert_code(open_code(conn, in_folder("folder.vmdk"), 0), VIX_E_INCORRECT_FILE_TYPE);
    assert_code(open_code(conn, in_folder("fifo.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY), VIX_E_INCORRECT_FILE_TYPE);
    assert_code(open_code(conn, "[datastore1] vm/disk.vmdk", 0), VIX_E_INVALID_ARG);
    assert_non_null(strstr(VixDiskLibExt_LastErrorDetail(), "datastore"));
}

static void too_many_files_have_their_code(void **state)
{
    struct rlimit limit;
    uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("fds.vmdk"), VIXDISKLIB_DISK_SPLIT_FLAT, 2 * 2047 * MIB_SECTORS + 1);
    VixDiskLibHandle h = open_disk(conn, in_folder("fds.vmdk"), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    const struct rlimit few = {.rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_code(open_code(conn, in_folder("kinds.vmdk"), 0), VIX_E_DISK_TOOMANYOPENFILES);
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLib_Unlink(conn, in_folder("fds.vmdk")), VIX_OK);
    int again = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(again <= next); /* nothing was left open */
    assert_int_equal(close(again), 0);
}

static void create_never_replaces_a_file(void **state)
{
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                .adapterType = VIXDISKLIB_ADAPTER_IDE,
                                .hwVersion = VIXDISKLIB_HWVERSION_WORKSTATION_5,
                                .capacity = 100};
    char text[8] = "";

    (void)state;
    make_file("precious.vmdk", "keep me");
    assert_code(VixDiskLib_Create(conn, in_folder("precious.vmdk"), &p, NULL, NULL), VIX_E_FILE_ALREADY_EXISTS);
    FILE *f = fopen(in_folder("precious.vmdk"), "r");
    assert_int_equal(fread(text, 1, 7, f), 7);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "keep me");
    p.capacity = 0;
    assert_code(VixDiskLib_Create(conn, in_folder("zero.vmdk"), &p, NULL, NULL), VIX_E_INVALID_ARG);
    p.capacity = UINT64_MAX;
    assert_code(VixDiskLib_Create(conn, in_folder("zero.vmdk"), &p, NULL, NULL), VIX_E_FILE_TOO_BIG);
    p.capacity = 100;
    p.diskType = VIXDISKLIB_DISK_UNKNOWN;
    assert_code(VixDiskLib_Create(conn, in_folder("zero.vmdk"), &p, NULL, NULL), VIX_E_INVALID_ARG);
    p.diskType = (VixDiskLibDiskType)77;
    assert_code(VixDiskLib_Create(conn, in_folder("zero.vmdk"), &p, NULL, NULL), VIX_E_INVALID_ARG);
    assert_false(file_exists(in_folder("zero.vmdk")));
    p.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE;
    assert_int_not_equal(VixDiskLib_Create(conn, in_folder("no-folder/x.vmdk"), &p, NULL, NULL), VIX_OK);
}

static void create_reads_as_much_as_the_program_has(void **state)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibCreateParams full = {.diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                   .adapterType = VIXDISKLIB_ADAPTER_IDE,
                                   .hwVersion = 7,
                                   .capacity = 4096,
                                   .logicalSectorSize = 4096,
                                   .physicalSectorSize = 4096};

    (void)state;
    VixDiskLib_Exit();
    assert_code(VixDiskLib_Init(6, 5, log_func, warn_func, NULL, NULL), VIX_OK);
    conn = local_connection();
    VixDiskLibCreateParams *old = before_a_fence(24);
    memcpy(old, &full, 24);
    assert_code(VixDiskLib_Create(conn, in_folder("old.vmdk"), old, NULL, NULL), VIX_OK);
    VixDiskLibHandle h = open_disk(conn, in_folder("old.vmdk"), 0);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_int_equal(info->logicalSectorSize, 512);
    VixDiskLib_FreeInfo(info);

    start_library();
    conn = local_connection();
    assert_code(VixDiskLib_Create(conn, in_folder("new.vmdk"), &full, NULL, NULL), VIX_OK);
    h = open_disk(conn, in_folder("new.vmdk"), 0);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_int_equal(info->logicalSectorSize, 4096);
    assert_int_equal(info->physicalSectorSize, 4096);
    VixDiskLib_FreeInfo(info);
    full.physicalSectorSize = 1024;
    assert_code(VixDiskLib_Create(conn, in_folder("odd.vmdk"), &full, NULL, NULL), VIX_E_INVALID_ARG);
    full.physicalSectorSize = 512;
    assert_code(VixDiskLib_Create(conn, in_folder("odd.vmdk"), &full, NULL, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static Bool note_progress(void *data, int percent)
{
    int *last = data;

    assert_true(percent > *last || *last == 100);
    assert_in_range(percent, 0, 100);
    *last = percent;
    return FALSE; /* does not stop anything */
}

static void create_tells_its_progress_to_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        VixDiskLibCreateParams p = {.diskType = writable_types[i],
                                    .adapterType = VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC,
                                    .capacity = 64 * MIB_SECTORS};
        int last = -1;
        assert_code(VixDiskLib_Create(conn, in_folder("progress.vmdk"), &p, note_progress, &last), VIX_OK);
        assert_int_equal(last, 100);
        assert_code(VixDiskLib_Unlink(conn, in_folder("progress.vmdk")), VIX_OK);
    }
}

static void info_tells_what_was_created(void **state)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_SPLIT_FLAT,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX60,
                                .capacity = 12345};

    (void)state;
    assert_code(VixDiskLib_Create(conn, in_folder("info.vmdk"), &p, NULL, NULL), VIX_OK);
    VixDiskLibHandle h = open_disk(conn, in_folder("info.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_GetInfo(h, &info), VIX_OK);
    assert_int_equal(info->capacity, 12345);
    assert_int_equal(info->adapterType, VIXDISKLIB_ADAPTER_SCSI_LSILOGIC);
    assert_int_equal(info->numLinks, 1);
    assert_null(info->parentFileNameHint);
    assert_non_null(info->uuid);
    assert_int_equal(strlen(info->uuid), 47);
    assert_true(info->physGeo.heads > 0 && info->physGeo.sectors > 0);
    assert_int_equal(info->logicalSectorSize, 512);
    assert_int_equal(info->physicalSectorSize, 512);
    VixDiskLib_FreeInfo(info);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void one_writer_or_many_readers(void **state)
{
    const uint32 ro = VIXDISKLIB_FLAG_OPEN_READ_ONLY;

    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        make_disk(conn, in_folder("lock.vmdk"), writable_types[i], MIB_SECTORS);
        VixDiskLibHandle w = open_disk(conn, in_folder("lock.vmdk"), 0);
        forget_messages();
        assert_code(open_code(conn, in_folder("lock.vmdk"), 0), VIX_E_FILE_ALREADY_LOCKED);
        assert_code(open_code(conn, in_folder("lock.vmdk"), ro), VIX_E_FILE_ALREADY_LOCKED);
        assert_int_equal(warn_count(), 2);
        assert_code(VixDiskLib_Close(w), VIX_OK);
        VixDiskLibHandle a = open_disk(conn, in_folder("lock.vmdk"), ro);
        VixDiskLibHandle b = open_disk(conn, in_folder("lock.vmdk"), ro);
        assert_code(open_code(conn, in_folder("lock.vmdk"), 0), VIX_E_FILE_ALREADY_LOCKED);
        assert_code(VixDiskLib_Close(a), VIX_OK);
        assert_code(VixDiskLib_Close(b), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("lock.vmdk")), VIX_OK);
    }
}

static void a_lock_folder_of_another_product_counts(void **state)
{
    (void)state;
    make_disk(conn, in_folder("foreign.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    assert_int_equal(mkdir(in_folder("foreign.vmdk.lck"), 0700), 0);
    make_file("foreign.vmdk.lck/M12345.lck", "x");
    assert_code(open_code(conn, in_folder("foreign.vmdk"), 0), VIX_E_FILE_ALREADY_LOCKED);
    assert_int_equal(unlink(in_folder("foreign.vmdk.lck/M12345.lck")), 0);
    VixDiskLibHandle h = open_disk(conn, in_folder("foreign.vmdk"), 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void read_only_means_no_writing(void **state)
{
    uint8 buf[512] = {1};

    (void)state;
    make_disk(conn, in_folder("readonly.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("readonly.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_code(VixDiskLib_Write(h, 0, 1, buf), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLib_WriteAsync(h, 0, 1, buf, NULL, NULL), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLib_WriteMetadata(h, "comment", "x"), VIX_E_FILE_READ_ONLY);
    assert_code(VixDiskLib_Flush(h), VIX_OK);
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK);
    assert_int_equal(buf[0], 0);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void flags_of_open(void **state)
{
    const uint32 z = VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB;
    const uint32 f = VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ;
    const uint32 s = VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ;
    const uint32 good[] = {z,       f,       s, VIXDISKLIB_FLAG_OPEN_UNBUFFERED, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK,
                           1u << 3, 1u << 31};
    uint8 odd[512 * 3 + 1];
    uint8 data[512 * 3];

    (void)state;
    make_disk(conn, in_folder("flags.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, MIB_SECTORS);
    assert_code(open_code(conn, in_folder("flags.vmdk"), z | f), VIX_E_INVALID_ARG);
    assert_code(open_code(conn, in_folder("flags.vmdk"), f | s), VIX_E_INVALID_ARG);
    assert_code(open_code(conn, in_folder("flags.vmdk"), z | f | s), VIX_E_INVALID_ARG);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        VixDiskLibHandle h = open_disk(conn, in_folder("flags.vmdk"), good[i]);
        fill(data, sizeof data, (unsigned)i);
        memcpy(odd + 1, data, sizeof data);
        assert_code(VixDiskLib_Write(h, 3, 3, odd + 1), VIX_OK);
        memset(odd, 0, sizeof odd);
        assert_code(VixDiskLib_Read(h, 3, 3, odd + 1), VIX_OK);
        assert_memory_equal(odd + 1, data, sizeof data);
        assert_code(VixDiskLib_Close(h), VIX_OK);
    }
}

static void a_closed_handle_stays_closed(void **state)
{
    uint8 buf[512];
    VixDiskLibHandle old[64];

    (void)state;
    make_disk(conn, in_folder("stale.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, MIB_SECTORS);
    for (size_t i = 0; i < 64; i++) {
        old[i] = open_disk(conn, in_folder("stale.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
        assert_code(VixDiskLib_Close(old[i]), VIX_OK);
        assert_code(VixDiskLib_Close(old[i]), VIX_E_INVALID_HANDLE);
        for (size_t j = 0; j < i; j++) {
            assert_ptr_not_equal(old[i], old[j]);
        }
    }
    VixDiskLibHandle h = open_disk(conn, in_folder("stale.vmdk"), 0);
    for (size_t i = 0; i < 64; i++) {
        assert_code(VixDiskLib_Read(old[i], 0, 1, buf), VIX_E_INVALID_HANDLE);
        assert_code(VixDiskLib_Close(old[i]), VIX_E_INVALID_HANDLE);
    }
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_renamed_disk_is_whole(void **state)
{
    uint8 data[512];
    uint8 buf[512];

    (void)state;
    for (size_t i = 0; i < writable_type_count; i++) {
        make_disk(conn, in_folder("before.vmdk"), writable_types[i], MIB_SECTORS);
        VixDiskLibHandle h = open_disk(conn, in_folder("before.vmdk"), 0);
        fill(data, sizeof data, 100 + (unsigned)i);
        assert_code(VixDiskLib_Write(h, 11, 1, data), VIX_OK);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Rename(in_folder("before.vmdk"), in_folder("after.vmdk")), VIX_OK);
        assert_false(file_exists(in_folder("before.vmdk")));
        h = open_disk(conn, in_folder("after.vmdk"), 0);
        assert_code(VixDiskLib_Read(h, 11, 1, buf), VIX_OK);
        assert_memory_equal(buf, data, 512);
        assert_code(VixDiskLib_Unlink(conn, in_folder("after.vmdk")), VIX_E_FILE_ALREADY_LOCKED);
        assert_code(VixDiskLib_Close(h), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("after.vmdk")), VIX_OK);
        assert_code(VixDiskLib_Unlink(conn, in_folder("after.vmdk")), VIX_E_FILE_NOT_FOUND);
    }
}

static void raw_images_are_disks_too(void **state)
{
    VixDiskLibHandle h = NULL;
    VixDiskLibExt_Details *d = NULL;
    uint8 buf[512];

    (void)state;
    make_file("x.img", "hello");
    assert_int_equal(truncate(in_folder("x.img"), 1024 * 1024), 0);
    assert_code(VixDiskLibExt_OpenRaw(conn, in_folder("x.img"), VIXDISKLIB_FLAG_OPEN_READ_ONLY, &h), VIX_OK);
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK);
    assert_memory_equal(buf, "hello", 6);
    assert_code(VixDiskLib_CreateChild(h, in_folder("rawchild.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL),
                VIX_E_NOT_SUPPORTED);
    assert_code(VixDiskLibExt_GetDetails(h, &d), VIX_OK);
    assert_string_equal(d->format, "raw");
    assert_int_equal(d->capacity, 2048);
    assert_int_equal(d->numLinks, 0);
    VixDiskLibExt_FreeDetails(d);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLibExt_OpenRaw(conn, NULL, 0, &h), VIX_E_INVALID_ARG);
    assert_null(h);
    assert_code(VixDiskLibExt_OpenRawStream(conn, -1, 100, &h), VIX_E_INVALID_ARG);
}

static void details_of_a_disk(void **state)
{
    VixDiskLibExt_Details *d = NULL;
    uint8 data[512 * 128];

    (void)state;
    make_disk(conn, in_folder("details.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 8 * MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("details.vmdk"), 0);
    fill(data, sizeof data, 3);
    assert_code(VixDiskLib_Write(h, 0, 128, data), VIX_OK);
    assert_code(VixDiskLibExt_GetDetails(h, &d), VIX_OK);
    assert_string_equal(d->format, "vmdk");
    assert_int_equal(d->capacity, 8 * MIB_SECTORS);
    assert_int_equal(d->numLinks, 1);
    assert_string_equal(d->links[0].createType, "monolithicSparse");
    assert_string_equal(d->links[0].file, in_folder("details.vmdk"));
    assert_null(d->links[0].parentHint);
    assert_int_equal(d->links[0].parentCid, 0xFFFFFFFF);
    assert_int_equal(d->links[0].numExtents, 1);
    assert_string_equal(d->links[0].extents[0].type, "SPARSE");
    assert_string_equal(d->links[0].extents[0].access, "RW");
    assert_int_equal(d->links[0].extents[0].grainSectors, 128);
    assert_true(d->allocatedBytes >= sizeof data);
    assert_int_equal(d->allocatedBytes, d->links[0].extents[0].allocatedBytes);
    VixDiskLibExt_FreeDetails(d);
    VixDiskLibExt_FreeDetails(NULL);
    assert_code(VixDiskLibExt_GetDetails(h, NULL), VIX_E_INVALID_ARG);
    assert_code(VixDiskLib_Close(h), VIX_OK);
}

static void a_file_cut_short_is_a_failed_read(void **state)
{
    uint8 buf[512];

    (void)state;
    make_disk(conn, in_folder("cut.vmdk"), VIXDISKLIB_DISK_MONOLITHIC_FLAT, MIB_SECTORS);
    VixDiskLibHandle h = open_disk(conn, in_folder("cut.vmdk"), VIXDISKLIB_FLAG_OPEN_READ_ONLY);
    assert_int_equal(truncate(in_folder("cut-flat.vmdk"), 512), 0);
    forget_messages();
    assert_code(VixDiskLib_Read(h, 0, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Read(h, 1, 1, buf), VIX_E_HOST_FILE_ERROR_EOF);
    assert_int_equal(warn_count(), 1);
    assert_true(warn_has("cut-flat.vmdk"));
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_int_not_equal(open_code(conn, in_folder("cut.vmdk"), 0), VIX_OK);
}

static void over_two_terabytes_needs_the_key(void **state)
{
    VixDiskLibCreateParams p = {.diskType = VIXDISKLIB_DISK_SPLIT_SPARSE,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .capacity = (UINT64_C(1) << 32) + 128};

    (void)state;
    assert_code(VixDiskLib_Create(conn, in_folder("huge.vmdk"), &p, NULL, NULL), VIX_E_FILE_TOO_BIG);
    assert_non_null(strstr(VixDiskLibExt_LastErrorDetail(), "vixdisk.allowHostedOver2TB"));
    assert_code(VixDiskLibExt_SetOption("vixdisk.allowHostedOver2TB", "yes"), VIX_OK);
    assert_code(VixDiskLib_Create(conn, in_folder("huge.vmdk"), &p, NULL, NULL), VIX_OK);
    assert_code(VixDiskLibExt_SetOption("vixdisk.allowHostedOver2TB", "no"), VIX_OK);
    VixDiskLibHandle h = open_disk(conn, in_folder("huge.vmdk"), 0);
    uint8 buf[512] = {7};
    assert_code(VixDiskLib_Write(h, p.capacity - 1, 1, buf), VIX_OK);
    assert_code(VixDiskLib_Close(h), VIX_OK);
    assert_code(VixDiskLib_Unlink(conn, in_folder("huge.vmdk")), VIX_OK);
}

static int setup(void **state)
{
    int result = env_setup(state);
    start_library();
    conn = local_connection();
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misuse_of_handles_is_an_error),
        cmocka_unit_test(a_connection_is_no_disk_and_the_reverse),
        cmocka_unit_test(a_symbolic_link_is_no_disk),
        cmocka_unit_test(null_arguments_are_errors),
        cmocka_unit_test(every_type_is_created_written_and_read),
        cmocka_unit_test(a_stream_is_written_in_order),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(failures_are_told_once_with_place_and_code),
        cmocka_unit_test(what_is_no_disk_is_refused),
        cmocka_unit_test(too_many_files_have_their_code),
        cmocka_unit_test(create_never_replaces_a_file),
        cmocka_unit_test(create_reads_as_much_as_the_program_has),
        cmocka_unit_test(create_tells_its_progress_to_the_end),
        cmocka_unit_test(info_tells_what_was_created),
        cmocka_unit_test(one_writer_or_many_readers),
        cmocka_unit_test(a_lock_folder_of_another_product_counts),
        cmocka_unit_test(read_only_means_no_writing),
        cmocka_unit_test(flags_of_open),
        cmocka_unit_test(a_closed_handle_stays_closed),
        cmocka_unit_test(a_renamed_disk_is_whole),
        cmocka_unit_test(raw_images_are_disks_too),
        cmocka_unit_test(details_of_a_disk),
        cmocka_unit_test(a_file_cut_short_is_a_failed_read),
        cmocka_unit_test(over_two_terabytes_needs_the_key),
    };
    return cmocka_run_group_tests_name("disk", tests, setup, env_done);
}

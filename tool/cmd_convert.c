/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_convert.c - copies a disk to any other kind: VMDK or raw, files, block devices, standard input and output. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "progress.h"
#include "run_report.h"
#include "stdio_copy.h"

struct convert_args {
    enum disk_format format;
    struct type_arg type;
    struct number_arg level;
    struct number_arg threads;
    VixDiskLibAdapterType adapter;
    struct number_arg hw_version;
    struct bytes_arg size;
    bool overwrite;
    bool no_create;
    bool target_is_zero;
    bool salvage;
    const char *report;
};

static const struct option_spec options[] = {
    {.name = "type",
     .letter = 't',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct convert_args, type),
     .arg = "TYPE|raw",
     .help = "what to make (must be given; on a server: vmfsThin, the default, or vmfs)"},
    {.name = "output-type",
     .letter = 'O',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct convert_args, type),
     .arg = "TYPE|raw",
     .help = "the same as --type"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct convert_args, format),
     .arg = "vmdk|raw",
     .help = "what SRC is (default: a VMDK; raw for *.raw, *.img, *.iso, *.bin and block devices)"},
    {.name = "level",
     .letter = 'l',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct convert_args, level),
     .arg = "LEVEL",
     .help = "streamOptimized: compression from 1 (fast) to 12 (small), 0 for none (default: 6)",
     .high = 12},
    {.name = "threads",
     .letter = 'j',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct convert_args, threads),
     .arg = "THREADS",
     .help = "number of threads (default: all cores); the result is the same for any number",
     .low = 1,
     .high = 1024},
    {.name = "adapter",
     .letter = 'a',
     .kind = OPTION_ADAPTER,
     .at = offsetof(struct convert_args, adapter),
     .arg = "ide|buslogic|lsilogic",
     .help = "virtual controller (default: that of SRC, else lsilogic)"},
    {.name = "hw-version",
     .letter = 'H',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct convert_args, hw_version),
     .arg = "N",
     .help = "virtual hardware version (default: that of SRC, else the current one)",
     .low = 1,
     .high = 65535},
    {.name = "overwrite",
     .kind = OPTION_FLAG,
     .at = offsetof(struct convert_args, overwrite),
     .help = "replace an existing DST, once the new one is complete"},
    {.name = "no-create",
     .letter = 'n',
     .kind = OPTION_FLAG,
     .at = offsetof(struct convert_args, no_create),
     .help = "write into DST, which exists: a raw file, a block device, or a disk on a server"},
    {.name = "target-is-zero",
     .kind = OPTION_FLAG,
     .at = offsetof(struct convert_args, target_is_zero),
     .help = "with --no-create: DST reads as zeros already, zeros need not be written"},
    {.name = "salvage",
     .kind = OPTION_FLAG,
     .at = offsetof(struct convert_args, salvage),
     .help = "SRC is a damaged streamOptimized file, or flat data without descriptor: take what is there"},
    {.name = "size",
     .letter = 's',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct convert_args, size),
     .arg = "SIZE",
     .help = "capacity of a raw SRC that comes from a pipe"},
    RUN_REPORT_OPTION(struct convert_args, report),
    {.kind = OPTION_END},
};

/* ---- mistakes that the command line alone shows ---- */

static bool is_standard(const char *path)
{
    return strcmp(path, "-") == 0;
}

static bool is_stream(const struct type_arg *type)
{
    return !type->raw && type->type == VIXDISKLIB_DISK_STREAM_OPTIMIZED;
}

static int check_target(const struct cli *cli, const struct convert_args *args, const char *dst)
{
    if (is_standard(dst) && !args->type.raw && !is_stream(&args->type)) {
        return usage_error(cli, "only raw and streamOptimized can be written to standard output");
    }
    if (is_standard(dst) && (args->no_create || args->overwrite)) {
        return usage_error(cli, "--no-create and --overwrite are for a DST that has a name");
    }
    if (is_standard(dst) && cli->common.json) {
        return usage_error(cli, "--json and a DST that is standard output do not go together");
    }
    if (is_standard(dst) && isatty(STDOUT_FILENO)) {
        return usage_error(cli, "standard output is a terminal; send it to a file or a pipe");
    }
    if (is_remote_path(cli, dst) && args->type.raw) {
        return usage_error(cli, "a raw image cannot be made on a server");
    }
    if (args->no_create && !args->type.raw && !is_remote_path(cli, dst)) {
        return usage_error(cli, "--no-create is for raw targets and disks on a server");
    }
    if (args->no_create && args->overwrite) {
        return usage_error(cli, "--no-create and --overwrite do not go together");
    }
    if (args->target_is_zero && !args->no_create) {
        return usage_error(cli, "--target-is-zero goes with --no-create");
    }
    return -1;
}

static int check_args(const struct cli *cli, const struct convert_args *args)
{
    if (!args->type.given && !is_remote_path(cli, cli->operands[1])) {
        return usage_error(cli, "the type of DST is missing: -t TYPE or -t raw");
    }
    if (args->level.given && !is_stream(&args->type)) {
        return usage_error(cli, "--level is for streamOptimized");
    }
    if (args->size.given && (!is_standard(cli->operands[0]) || args->format == FORMAT_VMDK)) {
        return usage_error(cli, "--size is for a raw SRC that is standard input");
    }
    if (args->salvage && (is_standard(cli->operands[0]) || args->format != FORMAT_AUTO)) {
        return usage_error(cli, "--salvage is for a file, and finds its format itself");
    }
    if (args->report != NULL && is_standard(args->report) && (cli->common.json || is_standard(cli->operands[1]))) {
        return usage_error(cli, "--report - and what else goes to standard output do not go together");
    }
    return check_target(cli, args, cli->operands[1]);
}

/** A target that is the source would be gone before it was read; a device is never written without being asked for. */
static int check_files(struct cli *cli, const struct convert_args *args)
{
    const char *src = cli->operands[0];
    const char *dst = cli->operands[1];
    struct stat from;
    struct stat to;
    if (is_standard(dst) || is_remote_path(cli, dst) || stat(dst, &to) != 0) {
        return -1;
    }
    if (!is_standard(src) && stat(src, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino) {
        return fail_with(cli, dst, VIX_E_INVALID_ARG, "it is SRC itself");
    }
    if (S_ISBLK(to.st_mode) && !args->no_create) {
        return fail_with(cli, dst, VIX_E_FILE_ALREADY_EXISTS,
                         "a block device; --no-create (-n) with -t raw writes over what is on it");
    }
    return -1;
}

/* ---- the source ---- */

/** Copies standard input to a file; 0, or an errno. */
static int spool_to(int fd)
{
    size_t len = COPY_BYTES;
    int errnum = 0;
    char *bytes = copy_buffer(1);
    if (bytes == NULL) {
        return ENOMEM;
    }
    while (errnum == 0 && len == COPY_BYTES) {
        errnum = read_all(STDIN_FILENO, bytes, COPY_BYTES, &len);
        errnum = errnum == 0 ? write_all(fd, bytes, len) : errnum;
    }
    free(bytes);
    return errnum;
}

/** Opens a VMDK that comes from a pipe by way of a file: its tables stand at its end, and a pipe cannot be searched.
 * The file has a name only until it is open. */
static int open_spooled(struct cli *cli, VixDiskLibHandle *ret_disk)
{
    char path[PATH_MAX];
    const char *folder = getenv("TMPDIR");
    folder = folder == NULL || folder[0] == '\0' ? "/var/tmp" : folder;
    if (snprintf(path, sizeof path, "%s/vixdisk-XXXXXX", folder) >= (int)sizeof path) {
        return fail_errno(cli, folder, ENAMETOOLONG, "TMPDIR");
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(cli, path, errno, "cannot make a temporary file");
    }
    int status = STATUS_DONE;
    int errnum = spool_to(fd);
    if (stop_signal() != 0) {
        status = stop_status(STATUS_FAILED);
    } else if (errnum != 0) {
        status = fail_errno(cli, path, errnum, "cannot keep standard input in a temporary file");
    } else {
        status = open_disk(cli, path, FORMAT_VMDK, VIXDISKLIB_FLAG_OPEN_READ_ONLY, ret_disk);
    }
    close(fd);
    unlink(path);
    return status;
}

/** Whether the pipe on standard input brings a streamOptimized disk, by the flags of its header. Nothing is taken from
 * it; where that cannot be told, no. */
static bool pipe_brings_stream(void)
{
    unsigned char head[12];
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return false;
    }
    ssize_t n = tee(STDIN_FILENO, fds[1], sizeof head, 0);
    if (n > 0) {
        n = read(fds[0], head, sizeof head);
    }
    close(fds[0]);
    close(fds[1]);
    /* magic number, and bits 16 and 17: compressed grains behind markers */
    return n == (ssize_t)sizeof head && memcmp(head, "KDMV", 4) == 0 && (head[10] & 3) == 3;
}

/** Opens what comes through the file descriptor of standard input, in order; sectors 0: a streamOptimized VMDK. */
static int open_input_stream(struct cli *cli, uint64_t sectors, VixDiskLibHandle *ret_disk)
{
    stop_ends_input(STDIN_FILENO);
    int status = cli_connect(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLibExt_OpenRawStream(cli->connection, STDIN_FILENO, sectors, ret_disk);
    return code == VIX_OK ? STATUS_DONE : fail(cli, "-", code);
}

/** Opens a VMDK on standard input: in place if that is a file; as it comes where its type allows that. */
static int open_vmdk_input(struct cli *cli, VixDiskLibHandle *ret_disk)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
        return open_disk(cli, "/dev/stdin", FORMAT_VMDK, VIXDISKLIB_FLAG_OPEN_READ_ONLY, ret_disk);
    }
    return pipe_brings_stream() ? open_input_stream(cli, 0, ret_disk) : open_spooled(cli, ret_disk);
}

static int open_raw_input(struct cli *cli, const struct convert_args *args, VixDiskLibHandle *ret_disk)
{
    uint64_t have = 0;
    bool known = input_bytes(&have);
    if (!known && !args->size.given) {
        return usage_error(cli, "the size of standard input is not known: -s SIZE");
    }
    uint64_t sectors = ((args->size.given ? args->size.bytes : have) + SECTOR_BYTES - 1) / SECTOR_BYTES;
    if (known && have > sectors * SECTOR_BYTES) {
        return fail_with(cli, "-", VIX_E_DISK_OUTOFRANGE,
                         "standard input has %llu bytes, the disk %llu; nothing was written", (unsigned long long)have,
                         (unsigned long long)(sectors * SECTOR_BYTES));
    }
    return open_input_stream(cli, sectors, ret_disk);
}

static int open_source(struct cli *cli, const struct convert_args *args, VixDiskLibHandle *ret_disk)
{
    const char *src = cli->operands[0];
    if (args->salvage) {
        VixDiskLibConnection connection = NULL;
        int status = cli_connect_for(cli, src, &connection);
        VixError code = status == STATUS_DONE ? VixDiskLibExt_OpenSalvage(connection, src, ret_disk) : VIX_OK;
        return code != VIX_OK ? fail(cli, src, code) : status;
    }
    if (!is_standard(src)) {
        return open_disk(cli, src, args->format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, ret_disk);
    }
    if (args->format == FORMAT_AUTO && !args->size.given) {
        return usage_error(cli, "what comes from standard input is not known: -f raw or -f vmdk");
    }
    return args->format == FORMAT_VMDK ? open_vmdk_input(cli, ret_disk) : open_raw_input(cli, args, ret_disk);
}

/* ---- */

/** What was found of a damaged disk, and what is missing. */
static void tell_salvage(const struct cli *cli, VixDiskLibHandle src)
{
    VixDiskLibExt_Salvage s = {.structSize = sizeof s};
    VixDiskLibInfo *info = NULL;
    if (VixDiskLibExt_SalvageReport(src, &s) != VIX_OK || VixDiskLib_GetInfo(src, &info) != VIX_OK) {
        return;
    }
    uint64_t grain = s.grainSectors * SECTOR_BYTES;
    remark(cli, "%llu grains of %llu bytes were found, the last of them ends at byte %llu of %llu of the disk",
           (unsigned long long)s.grains, (unsigned long long)grain, (unsigned long long)(s.endSector * SECTOR_BYTES),
           (unsigned long long)(info->capacity * SECTOR_BYTES));
    VixDiskLib_FreeInfo(info);
    if (s.skippedBytes > 0) {
        remark(cli, "%llu bytes of the file are no records and were passed over", (unsigned long long)s.skippedBytes);
    }
    if (s.wrongSizes > 0) {
        remark(cli, "the size field of %llu of the records is wrong, their data is whole",
               (unsigned long long)s.wrongSizes);
    }
    if (s.strayRecords > 0) {
        remark(cli, "%llu of the records name a grain out of order, or one that another holds, and do not count",
               (unsigned long long)s.strayRecords);
    }
    for (uint64_t i = 0; i < s.damagedGrains && i < VIXDISKLIBEXT_SALVAGE_DAMAGED; i++) {
        uint64_t start = s.damagedSectors[i] * SECTOR_BYTES;
        remark(cli, "bytes %llu to %llu of the disk are lost: their grain is damaged", (unsigned long long)start,
               (unsigned long long)(start + grain - 1));
    }
    if (s.damagedGrains > VIXDISKLIBEXT_SALVAGE_DAMAGED) {
        remark(cli, "%llu grains are damaged in all", (unsigned long long)s.damagedGrains);
    }
}

/** To a file, to standard output, or to a server. */
static VixError convert_to(struct cli *cli, VixDiskLibConnection to, const char *dst, uint32 flags,
                           VixDiskLibHandle src, const VixDiskLibExt_ConvertParams *params, struct run_report *report)
{
    struct progress progress;
    struct progress_report told = {.report = report, .func = progress_step, .data = &progress};
    progress_init(&progress, cli);
    run_report_work(report);
    VixError code = to == NULL ? VixDiskLibExt_Convert(src, dst, params, run_report_step, &told)
                               : VixDiskLibExt_ConvertTo(src, to, dst, flags, params, run_report_step, &told);
    run_report_worked(report);
    progress_end(&progress);
    return code;
}

/** The connection to write to; NULL for local targets. */
static int connect_target(struct cli *cli, VixDiskLibConnection *ret_connection, uint32 *ret_flags)
{
    if (!is_remote_path(cli, cli->operands[1])) {
        return STATUS_DONE;
    }
    int status = compression_flags(cli, ret_flags);
    return status >= 0 ? status : cli_connect_for(cli, cli->operands[1], ret_connection);
}

/** What the page says of a failure, before it is told on standard error. */
static void report_failure(struct run_report *report, VixError code)
{
    const char *name = VixDiskLibExt_ErrorName(code);
    run_report_outcome(report, "failed: %s: %s", name == NULL ? "VIX_E_UNKNOWN" : name,
                       stop_signal() != 0 ? "a signal" : VixDiskLibExt_LastErrorDetail());
}

static int copy_disk(struct cli *cli, const struct convert_args *args, VixDiskLibHandle src, struct run_report *report)
{
    VixDiskLibConnection to = NULL;
    uint32 flags = 0;
    int status = connect_target(cli, &to, &flags);
    if (status != STATUS_DONE) {
        return status;
    }
    const char *dst = is_standard(cli->operands[1]) ? NULL : cli->operands[1];
    VixDiskLibExt_ConvertParams params = {
        .structSize = sizeof params,
        .raw = args->type.raw,
        .overwrite = args->overwrite,
        .keepExisting = args->no_create,
        .targetIsZero = args->target_is_zero,
        .diskType = args->type.given ? args->type.type : VIXDISKLIB_DISK_VMFS_THIN,
        .adapterType = args->adapter,
        .hwVersion = (uint16)args->hw_version.value,
        .level = !args->level.given       ? 0
                 : args->level.value == 0 ? -1
                                          : (int)args->level.value,
        .threads = args->threads.value,
        .fd = STDOUT_FILENO,
    };
    VixError code = convert_to(cli, to, dst, flags, src, &params, report);
    if (code == VIX_OK) {
        VixDiskLibConnection at = NULL;
        if (report != NULL && dst != NULL && cli_connect_for(cli, dst, &at) == STATUS_DONE) {
            run_report_map_path(report, at, dst, args->type.raw, "After");
        }
        if (args->salvage) {
            tell_salvage(cli, src);
        }
        return STATUS_DONE;
    }
    report_failure(report, code);
    if (stop_signal() != 0) {
        fail_with(cli, cli->operands[1], VIX_E_CANCELLED, "signal %d; nothing is left behind", stop_signal());
        return stop_status(STATUS_FAILED);
    }
    return fail(cli, cli->operands[1], code);
}

static int run(struct cli *cli, const void *data)
{
    const struct convert_args *args = data;
    VixDiskLibHandle src = NULL;
    int status = check_args(cli, args);
    if (status < 0) {
        status = check_files(cli, args);
    }
    if (status >= 0) {
        return status;
    }
    stop_catch_signals();
    struct run_report *report = NULL;
    status = run_report_begin(cli, args->report, cli->common.json, cli->operands[0], cli->operands[1], &report);
    if (status != STATUS_DONE) {
        return status;
    }
    status = open_source(cli, args, &src);
    if (status == STATUS_DONE) {
        if (!is_standard(cli->operands[0])) {
            run_report_map(report, src, cli->operands[0], "Before");
        }
        status = close_disk(cli, cli->operands[0], src, copy_disk(cli, args, src, report));
    }
    return run_report_end(report, status, STATUS_FAILED);
}

const struct command command_convert = {
    .name = "convert",
    .usage = "-t TYPE|raw SRC DST",
    .summary = "copy a disk to a new disk of any type, or to a raw image",
    .details =
        "The chain of SRC is flattened; holes and zeros are not copied. SRC or DST may be \"-\" for raw and\n"
        "streamOptimized; a VMDK from a pipe is first kept in a file in TMPDIR (else /var/tmp). A raw DST may be a\n"
        "block device; SRC and DST can be disks on a server. With --salvage, what is missing is told on standard\n"
        "error and reads as zeros. --json tells what was done, --report draws it. On failure, Ctrl-C or SIGTERM "
        "nothing\n"
        "half-made stays behind.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct convert_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};

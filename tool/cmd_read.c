/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_read.c - copies bytes of a disk to standard output. The next piece is read while the last one is written. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "progress.h"
#include "stdio_copy.h"

struct read_args {
    enum disk_format format;
    bool single_link;
    struct bytes_arg off;
    struct bytes_arg len;
};

static const struct option_spec options[] = {
    {.name = "offset",
     .letter = 'o',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct read_args, off),
     .arg = "OFFSET",
     .help = "begin here (a multiple of 512; default: 0)"},
    {.name = "length",
     .letter = 'n',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct read_args, len),
     .arg = "LENGTH",
     .help = "this many bytes (a multiple of 512; default: to the end)"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct read_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.name = "single-link",
     .kind = OPTION_FLAG,
     .at = offsetof(struct read_args, single_link),
     .help = "this link only, not its parents"},
    {.kind = OPTION_END},
};

/** A piece that is being read in the background. */
struct piece {
    uint8 *bytes;
    uint64_t len;
    bool busy;
    VixError result;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

static void piece_ended(void *data, VixError result)
{
    struct piece *piece = data;
    pthread_mutex_lock(&piece->lock);
    piece->result = result;
    piece->busy = false;
    pthread_cond_signal(&piece->ended);
    pthread_mutex_unlock(&piece->lock);
}

/** Starts to read a piece; what cannot be started is a result too. */
static void piece_start(struct piece *piece, VixDiskLibHandle disk, uint64_t off, uint64_t end)
{
    piece->len = end - off < COPY_BYTES ? end - off : COPY_BYTES;
    piece->busy = true;
    piece->result = VIX_OK;
    if (piece->len == 0) {
        piece->busy = false;
        return;
    }
    VixError code =
        VixDiskLib_ReadAsync(disk, off / SECTOR_BYTES, piece->len / SECTOR_BYTES, piece->bytes, piece_ended, piece);
    if (code != VIX_ASYNC) {
        piece_ended(piece, code);
    }
}

static VixError piece_wait(struct piece *piece)
{
    pthread_mutex_lock(&piece->lock);
    while (piece->busy) {
        pthread_cond_wait(&piece->ended, &piece->lock);
    }
    pthread_mutex_unlock(&piece->lock);
    return piece->result;
}

/** Reports a piece that failed. The sentence belongs to the thread that read it, so it is read again here for its sake.
 */
static int report_read(struct cli *cli, const char *path, VixDiskLibHandle disk, uint64_t off, struct piece *piece)
{
    VixError again = VixDiskLib_Read(disk, off / SECTOR_BYTES, piece->len / SECTOR_BYTES, piece->bytes);
    if (again == piece->result) {
        return fail(cli, path, again);
    }
    return fail_with(cli, path, piece->result, "reading %llu bytes at %llu", (unsigned long long)piece->len,
                     (unsigned long long)off);
}

static int copy_out(struct cli *cli, const char *path, VixDiskLibHandle disk, uint64_t off, uint64_t len,
                    struct piece pieces[2], struct progress *progress)
{
    uint64_t end = off + len;
    uint64_t begin = off;
    piece_start(&pieces[0], disk, off, end);
    for (unsigned turn = 0; off < end; turn ^= 1) {
        struct piece *piece = &pieces[turn];
        if (piece_wait(piece) != VIX_OK) {
            return report_read(cli, path, disk, off, piece);
        }
        piece_start(&pieces[turn ^ 1], disk, off + piece->len, end);
        int errnum = write_all(STDOUT_FILENO, piece->bytes, piece->len);
        bool more = progress_step(progress, off + piece->len - begin, len);
        if (errnum != 0 || !more) {
            piece_wait(&pieces[turn ^ 1]);
            return stop_signal() != 0 ? stop_status(STATUS_FAILED)
                                      : fail_errno(cli, path, errnum, "standard output: cannot write");
        }
        off += piece->len;
    }
    return STATUS_DONE;
}

static int read_range(struct cli *cli, const struct read_args *args, const char *path, VixDiskLibHandle disk)
{
    uint64_t capacity = 0;
    uint64_t off = 0;
    uint64_t len = 0;
    int status = disk_bytes(cli, path, disk, &capacity);
    if (status == STATUS_DONE) {
        status = disk_range(cli, path, capacity, args->off, args->len, &off, &len);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    uint8 *bytes = copy_buffer(2);
    if (bytes == NULL) {
        return fail_with(cli, path, VIX_E_OUT_OF_MEMORY, "%zu bytes", 2 * COPY_BYTES);
    }
    struct piece pieces[2];
    for (int i = 0; i < 2; i++) {
        pieces[i] = (struct piece){.bytes = bytes + (size_t)i * COPY_BYTES,
                                   .lock = PTHREAD_MUTEX_INITIALIZER,
                                   .ended = PTHREAD_COND_INITIALIZER};
    }
    struct progress progress;
    progress_init(&progress, cli);
    stop_catch_signals();
    status = copy_out(cli, path, disk, off, len, pieces, &progress);
    progress_end(&progress);
    VixDiskLib_Wait(disk);
    free(bytes);
    return status;
}

static int run(struct cli *cli, const void *data)
{
    const struct read_args *args = data;
    const char *path = cli->operands[0];
    uint32 flags = VIXDISKLIB_FLAG_OPEN_READ_ONLY;
    VixDiskLibHandle disk = NULL;
    if (isatty(STDOUT_FILENO)) {
        return usage_error(cli, "standard output is a terminal; send it to a file or a pipe");
    }
    flags |= args->single_link ? (uint32)VIXDISKLIB_FLAG_OPEN_SINGLE_LINK : 0;
    int status = open_disk(cli, path, args->format, flags, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    return close_disk(cli, path, disk, read_range(cli, args, path, disk));
}

const struct command command_read = {
    .name = "read",
    .usage = "PATH",
    .summary = "copy bytes of a disk to standard output",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_PROGRESS,
    .args_size = sizeof(struct read_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* mount_main.c - vixdisk-mount: opens the disk, finds its partitions, and serves them in the background. The fork comes
 * first, since the library and libfuse have threads; the parent waits until the mount answers. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "mount.h"
#include "partitions.h"

const struct command *const commands[] = {&command_mount, NULL};

#define FILES_MAX (PARTITIONS_MAX + 2)

/* ---- the disk ---- */

/** Opens PATH for reading and puts the child FILE on top of it, which is made if it is not there. The library looks
 * whether FILE is a child of what PATH is now. */
static int open_cow(struct cli *cli, const struct mount_args *args, VixDiskLibHandle *ret_disk)
{
    const char *path = cli->operands[0];
    VixDiskLibHandle parent = NULL;
    VixDiskLibHandle child = NULL;
    int status = open_disk(cli, path, args->format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &parent);
    if (status == STATUS_DONE) {
        status = cli_connect(cli);
    }
    if (status != STATUS_DONE) {
        return status; /* cli_end closes what is open */
    }
    bool made = access(args->cow, F_OK) != 0 && errno == ENOENT;
    VixError code =
        made ? VixDiskLib_CreateChild(parent, args->cow, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL) : VIX_OK;
    if (code != VIX_OK) {
        return fail(cli, args->cow, code);
    }
    code = VixDiskLib_Open(cli->connection, args->cow, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, &child);
    if (code == VIX_OK) {
        code = VixDiskLib_Attach(parent, child);
    }
    if (code != VIX_OK) {
        status = fail(cli, args->cow, code);
        if (child != NULL) {
            VixDiskLib_Close(child);
        }
        if (made) {
            VixDiskLib_Unlink(cli->connection, args->cow);
        }
        return status;
    }
    *ret_disk = child;
    return STATUS_DONE;
}

static int open_mounted(struct cli *cli, const struct mount_args *args, VixDiskLibHandle *ret_disk)
{
    if (args->cow != NULL) {
        return open_cow(cli, args, ret_disk);
    }
    return open_disk(cli, cli->operands[0], args->format, args->writable ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY,
                     ret_disk);
}

/* ---- the files ---- */

static bool read_sectors(void *data, uint64_t off, uint32_t len, uint8_t *bytes)
{
    return VixDiskLib_Read(data, off / SECTOR_BYTES, len / SECTOR_BYTES, bytes) == VIX_OK;
}

static struct json_object *partition_json(const struct partition *p, bool gpt)
{
    struct json_object *object = json_object_new_object();
    char name[16];
    char type[8];
    snprintf(name, sizeof name, "p%u", p->number);
    snprintf(type, sizeof type, "0x%02x", p->type);
    json_add_text(object, "filename", name);
    json_add_number(object, "start", p->off);
    json_add_number(object, "length", p->len);
    json_add_text(object, "type", gpt ? p->type_guid : type);
    if (gpt) {
        json_add_text(object, "uuid", p->guid);
        json_add_text(object, "label", p->name);
    }
    return object;
}

/** info.json, to be freed; NULL if there is no memory. */
static char *describe(const struct cli *cli, const struct mount_args *args, uint64_t bytes,
                      const struct partitions *partitions)
{
    static const char *const kinds[] = {"none", "mbr", "gpt", "gpt-backup"};
    struct json_object *object = json_object_new_object();
    struct json_object *list = json_object_new_array();
    json_add_text(object, "filename", cli->operands[0]);
    json_add_number(object, "virtual-size", bytes);
    json_add_bool(object, "read-only", !args->writable && args->cow == NULL);
    if (args->cow != NULL) {
        json_add_text(object, "cow", args->cow);
    }
    json_add_text(object, "partition-table", kinds[partitions->kind]);
    for (unsigned i = 0; i < partitions->count; i++) {
        json_object_array_add(list, partition_json(&partitions->list[i], partitions->kind >= PARTITIONS_GPT));
    }
    json_object_object_add(object, "partitions", list);
    char *text = NULL;
    if (asprintf(&text, "%s\n",
                 json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE)) < 0) {
        text = NULL;
    }
    json_object_put(object);
    return text;
}

/** disk, the partitions, info.json. @text what info.json holds. */
static size_t name_files(struct mount_file *files, uint64_t bytes, const struct partitions *partitions,
                         const char *text)
{
    size_t n = 0;
    files[n++] = (struct mount_file){.name = "disk", .len = bytes};
    for (unsigned i = 0; i < partitions->count; i++) {
        const struct partition *p = &partitions->list[i];
        files[n] = (struct mount_file){.off = p->off, .len = p->len};
        snprintf(files[n].name, sizeof files[n].name, "p%u", p->number);
        n++;
    }
    files[n++] = (struct mount_file){.name = "info.json", .len = strlen(text), .text = text};
    return n;
}

/* ---- serving ---- */

struct waiting {
    int fd; /* the parent reads the status here; -1: there is none */
};

/** Lets the parent go, and the terminal. */
static void tell_ready(void *data)
{
    struct waiting *waiting = data;
    const char done = STATUS_DONE;
    if (waiting->fd < 0) {
        return;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++) {
        dup2(null, fd);
    }
    if (null > STDERR_FILENO) {
        close(null);
    }
    setsid();
    while (write(waiting->fd, &done, 1) < 0 && errno == EINTR) {
    }
    close(waiting->fd);
    waiting->fd = -1;
}

/** What has to be known of the disk before it is served. */
struct disk_facts {
    uint64_t bytes;
    uint64_t used;
    uint32_t block;
};

static VixError look_at(VixDiskLibHandle disk, struct disk_facts *facts)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLib_GetInfo(disk, &info);
    if (code == VIX_OK) {
        code = VixDiskLibExt_GetDetails(disk, &details);
    }
    if (code == VIX_OK) {
        *facts = (struct disk_facts){info->capacity * SECTOR_BYTES, details->allocatedBytes, info->logicalSectorSize};
    }
    VixDiskLib_FreeInfo(info);
    VixDiskLibExt_FreeDetails(details);
    return code;
}

static void find_partitions(struct cli *cli, VixDiskLibHandle disk, const struct disk_facts *facts,
                            struct partitions *partitions)
{
    const char *path = cli->operands[0];
    if (!partitions_read(read_sectors, disk, facts->bytes, facts->block, partitions)) {
        remark(cli, "%s: the partition table cannot be read: %s", path, VixDiskLibExt_LastErrorDetail());
    } else if (partitions->kind == PARTITIONS_GPT_BACKUP) {
        remark(cli, "%s: the first copy of the partition table is damaged; the other one is used", path);
    }
}

static int serve_disk(struct cli *cli, const struct mount_args *args, const char *folder, VixDiskLibHandle disk,
                      struct waiting *waiting)
{
    static struct partitions partitions;
    static struct mount_file files[FILES_MAX];
    struct disk_facts facts;
    VixError code = look_at(disk, &facts);
    if (code != VIX_OK) {
        return fail(cli, cli->operands[0], code);
    }
    find_partitions(cli, disk, &facts, &partitions);
    char *text = describe(cli, args, facts.bytes, &partitions);
    if (text == NULL) {
        return fail_with(cli, cli->operands[0], VIX_E_OUT_OF_MEMORY, "the text of info.json");
    }
    struct mount_job job = {
        .disk = disk,
        .writable = args->writable || args->cow != NULL,
        .allow_other = args->allow_other,
        .source = cli->operands[0],
        .folder = folder,
        .files = files,
        .nfiles = name_files(files, facts.bytes, &partitions, text),
        .used = facts.used,
        .ready = tell_ready,
        .data = waiting,
    };
    bool served = mount_serve(cli, &job);
    free(text);
    return served ? STATUS_DONE
                  : fail_with(cli, cli->operands[1], VIX_E_MNTAPI_SYSTEM,
                              "it cannot be mounted (needs /dev/fuse and fusermount3 of the package fuse3)");
}

static int mount_here(struct cli *cli, const struct mount_args *args, const char *folder, struct waiting *waiting)
{
    VixDiskLibHandle disk = NULL;
    int status = open_mounted(cli, args, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    return close_disk(cli, cli->operands[0], disk, serve_disk(cli, args, folder, disk, waiting));
}

/** The parent's part: the status of a child that failed, or 0 once the mount answers. */
static int wait_until_ready(struct cli *cli, const char *folder, pid_t child, int fd)
{
    char status = STATUS_FAILED;
    char path[PATH_MAX + 8];
    struct stat st;
    int ended = 0;
    ssize_t n;
    do {
        n = read(fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    close(fd);
    if (n != 1) {
        waitpid(child, &ended, 0);
        return WIFEXITED(ended) ? WEXITSTATUS(ended) : STATUS_SIGNAL + WTERMSIG(ended);
    }
    snprintf(path, sizeof path, "%s/disk", folder);
    return stat(path, &st) == 0 ? STATUS_DONE : fail_errno(cli, path, errno, "the mount does not answer");
}

static int mount_in_background(struct cli *cli, const struct mount_args *args, const char *folder)
{
    struct waiting waiting;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return fail_errno(cli, NULL, errno, "no pipe");
    }
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        return fail_errno(cli, NULL, errno, "no process");
    }
    if (child > 0) {
        close(fds[1]);
        return wait_until_ready(cli, folder, child, fds[0]);
    }
    close(fds[0]);
    waiting.fd = fds[1];
    int status = mount_here(cli, args, folder, &waiting);
    if (waiting.fd >= 0) {
        /* nothing but the end of this process tells the parent: its status counts */
        cli_end(cli);
        _exit(status);
    }
    return status;
}

int mount_run(struct cli *cli, const void *data)
{
    const struct mount_args *args = data;
    struct waiting nobody = {.fd = -1};
    char folder[PATH_MAX];
    struct stat st;
    if (args->writable && args->cow != NULL) {
        return usage_error(cli, "-w writes to the disk, --cow does not: give one of them");
    }
    if (realpath(cli->operands[1], folder) == NULL || stat(folder, &st) != 0) {
        return fail_errno(cli, cli->operands[1], errno, "no folder to mount on");
    }
    if (!S_ISDIR(st.st_mode)) {
        return fail_errno(cli, cli->operands[1], ENOTDIR, "no folder to mount on");
    }
    return args->foreground ? mount_here(cli, args, folder, &nobody) : mount_in_background(cli, args, folder);
}

int main(int argc, char **argv)
{
    program_begin();
    return command_run(&command_mount, argc, argv);
}

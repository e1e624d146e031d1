/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_doctor.c - goes the way to a disk on a server step by step and tells which step fails, why, and what to do.
 * Writes nothing anywhere; a ticket for reading is all that is asked for. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "changes.h"
#include "commands.h"
#include "json.h"
#include "progress.h"

#define CONNECT_MS 10000
#define NAME_BYTES 512
#define SPEED_NS UINT64_C(2000000000)
#define PIECE_BYTES ((uint64_t)1 << 20)

struct doctor {
    struct cli *cli;
    struct json_object *steps;
    bool bad;
    char host[NAME_BYTES];
    uint32_t port;
    VixDiskLibExt_Vm *vm;
    VixDiskLibHandle disk;
};

/** Tells of a step. @why what was found; @todo what to do, NULL if it passed. */
static bool tell(struct doctor *d, const char *step, const char *why, const char *todo)
{
    bool good = todo == NULL;
    d->bad = d->bad || !good;
    if (d->cli->common.json) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "step", step);
        json_add_bool(object, "ok", good);
        json_add_text(object, "found", why);
        json_object_object_add(object, "advice", good ? NULL : json_object_new_string(todo));
        json_object_array_add(d->steps, object);
    } else {
        printf("%-6s  %-12s  %s%s%s\n", good ? "ok" : "failed", step, why, good ? "" : ": ", good ? "" : todo);
    }
    return good;
}

/** Tells of the failure of the library call made last. */
static bool tell_failure(struct doctor *d, const char *step, VixError code, const char *todo)
{
    char text[2048];
    snprintf(text, sizeof text, "%s (%llu): %s", VixDiskLibExt_ErrorName(code), (unsigned long long)(code & 0xffff),
             VixDiskLibExt_LastErrorDetail());
    return tell(d, step, text, todo);
}

/* ---- the network ---- */

static int connect_within(int fd, const struct addrinfo *to)
{
    struct pollfd waiting = {.fd = fd, .events = POLLOUT};
    int errnum = 0;
    socklen_t len = sizeof errnum;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    int ready = poll(&waiting, 1, CONNECT_MS);
    if (ready <= 0) {
        return ready == 0 ? ETIMEDOUT : errno;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) == 0 ? errnum : errno;
}

/** Resolves a name and connects to a port: two steps, or one if name_step is NULL. */
static bool try_port(struct doctor *d, const char *name_step, const char *step, const char *host, uint32_t port)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char text[NAME_BYTES + 128];
    char service[16];
    int errnum = ENOENT;
    snprintf(service, sizeof service, "%u", port);
    int found = getaddrinfo(host, service, &hints, &list);
    if (found != 0) {
        snprintf(text, sizeof text, "%s: %s", host, gai_strerror(found));
        return tell(d, name_step != NULL ? name_step : step, text,
                    "see that DNS or /etc/hosts of this machine knows that name");
    }
    if (name_step != NULL) {
        (void)tell(d, name_step, host, NULL);
    }
    for (const struct addrinfo *at = list; at != NULL && errnum != 0; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        errnum = fd >= 0 ? connect_within(fd, at) : errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    freeaddrinfo(list);
    snprintf(text, sizeof text, "%s:%u%s%s", host, port, errnum == 0 ? "" : ": ",
             errnum == 0 ? "" : strerrordesc_np(errnum));
    return tell(d, step, text,
                errnum == 0 ? NULL : "open this port from here to that host in every firewall between them");
}

static bool same_hex(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, ": ");
        b += strspn(b, ": ");
        if (*a == '\0' || strncasecmp(a, b, 1) != 0) {
            return *a == *b;
        }
    }
}

static bool look_at_certificate(struct doctor *d)
{
    char sha1[60];
    char sha256[96];
    char text[256];
    const char *given = server_thumbprint(d->cli);
    VixError code = VixDiskLibExt_Thumbprint(d->host, d->port, CONNECT_MS, sha1, sizeof sha1, sha256, sizeof sha256);
    if (code != VIX_OK) {
        return tell_failure(d, "certificate", code, "see that a vSphere server answers there");
    }
    snprintf(text, sizeof text, "SHA-1 %s SHA-256 %s", sha1, sha256);
    bool wrong = given != NULL && !same_hex(given, sha1) && !same_hex(given, sha256);
    return tell(d, "certificate", text,
                wrong ? "it is not the one of --thumbprint: ask the server's owner whether it was replaced" : NULL);
}

/* ---- the server ---- */

static bool log_in(struct doctor *d)
{
    bool json = d->cli->common.json;
    d->cli->common.json = false; /* what cannot be logged in with is told on standard error too */
    int status = cli_connect_server(d->cli);
    d->cli->common.json = json;
    if (status == STATUS_DONE) {
        return tell(d, "login", "accepted", NULL);
    }
    return tell(d, "login", VixDiskLibExt_LastErrorDetail(),
                "see user, password and thumbprint; 'vixdisk thumbprint' shows the server's");
}

static bool look_at_machine(struct doctor *d)
{
    char text[512];
    if (need_machine(d->cli) >= 0) {
        return tell(d, "machine", "none is named", "--vm moref=...: 'vixdisk ls' lists them");
    }
    VixError code = VixDiskLibExt_GetMachine(d->cli->server, server_snapshot(d->cli), &d->vm);
    if (code != VIX_OK) {
        return tell_failure(d, "machine", code, "'vixdisk ls' lists the machines and snapshots that this user sees");
    }
    snprintf(text, sizeof text, "%s, %s, %u disks, %u snapshots", d->vm->name != NULL ? d->vm->name : d->vm->moref,
             d->vm->powerState != NULL ? d->vm->powerState : "state not told", d->vm->numDisks, d->vm->numSnapshots);
    return tell(d, "machine", text, NULL);
}

/** Why changes of a disk are not tracked; NULL: they are. */
static const char *untracked(const VixDiskLibExt_Vm *vm, const VixDiskLibExt_VmDisk *disk, const char **ret_todo)
{
    const char *version = vm->hardwareVersion != NULL ? strrchr(vm->hardwareVersion, '-') : NULL;
    *ret_todo = "it cannot be tracked as it is; copies of it are full ones";
    if (vm->isTemplate) {
        return "the machine is a template";
    }
    if (version != NULL && strtol(version + 1, NULL, 10) < 7) {
        return "the machine's hardware is older than version 7";
    }
    if (disk->diskMode != NULL && strncmp(disk->diskMode, "independent", 11) == 0) {
        return "the disk is independent";
    }
    if (disk->sharing) {
        return "the disk is shared by machines";
    }
    if (!vm->changeTracking) {
        *ret_todo = "'vixdisk sync --enable-cbt' switches it on";
        return "change tracking is off";
    }
    *ret_todo = "it begins with the next snapshot or power-on";
    return disk->changeId == NULL || disk->changeId[0] == '\0' ? "change tracking has not begun" : NULL;
}

static bool look_at_disk(struct doctor *d, const char *path, bool tracking)
{
    const VixDiskLibExt_VmDisk *disk = changes_find_disk(d->vm, path);
    const char *todo = NULL;
    if (disk == NULL) {
        return tell(d, "disk", path, "the machine has no such disk: 'vixdisk ls' lists its disks");
    }
    (void)tell(d, "disk", disk->file, NULL);
    if (tracking) {
        const char *why = untracked(d->vm, disk, &todo);
        (void)tell(d, "tracking", why != NULL ? why : disk->changeId, why != NULL ? todo : NULL);
    }
    return true;
}

/* ---- the disk ---- */

static bool find_host(struct doctor *d, const char *path)
{
    char host[NAME_BYTES];
    char text[NAME_BYTES + 16];
    uint32 port = 0;
    VixError code = VixDiskLibExt_FindDiskHost(d->cli->server, path, host, sizeof host, &port);
    if (code != VIX_OK) {
        return tell_failure(d, "ticket", code, "see that the user has the privileges of a backup on this machine");
    }
    snprintf(text, sizeof text, "for %s:%u", host, port);
    return tell(d, "ticket", text, NULL) && try_port(d, NULL, "disk host", host, port);
}

static bool read_disk(struct doctor *d, const char *path)
{
    char text[128];
    uint32 compression = 0;
    uint64_t capacity = 0;
    if (compression_flags(d->cli, &compression) >= 0) {
        return tell(d, "open", "--compress", "none, zlib, fastlz or skipz");
    }
    VixError code = VixDiskLib_Open(d->cli->server, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY | compression, &d->disk);
    if (code != VIX_OK) {
        return tell_failure(d, "open", code,
                            "of a machine that runs name a snapshot (--snapshot); see the code's text");
    }
    (void)tell(d, "open", VixDiskLib_GetTransportMode(d->disk), NULL);
    uint8 *bytes = malloc(PIECE_BYTES);
    uint64_t start = now_ns();
    code = bytes == NULL ? VIX_E_OUT_OF_MEMORY : VixDiskLib_Read(d->disk, 0, 1, bytes);
    double trip = (double)(now_ns() - start) / 1e6;
    if (code == VIX_OK && disk_bytes(d->cli, path, d->disk, &capacity) != STATUS_DONE) {
        code = VIX_E_FAIL;
    }
    uint64_t done = 0;
    start = now_ns();
    while (code == VIX_OK && done < capacity && now_ns() - start < SPEED_NS) {
        uint64_t length = capacity - done < PIECE_BYTES ? capacity - done : PIECE_BYTES;
        code = VixDiskLib_Read(d->disk, done / SECTOR_BYTES, length / SECTOR_BYTES, bytes);
        done += length;
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    free(bytes);
    if (code != VIX_OK) {
        return tell_failure(d, "read", code, "see the host's log (hostd, vpxa) at this time");
    }
    snprintf(text, sizeof text, "first sector in %.1f ms, then %.1f MB/s in order", trip,
             seconds > 0 ? (double)done / 1e6 / seconds : 0);
    return tell(d, "read", text, NULL);
}

struct doctor_args {
    bool tracking;
};

static const struct option_spec options[] = {
    {.name = "tracking",
     .kind = OPTION_FLAG,
     .at = offsetof(struct doctor_args, tracking),
     .help = "the disk's changes must be tracked, as 'vixdisk sync' has use for"},
    {.kind = OPTION_END},
};

static void go(struct doctor *d, const struct doctor_args *args)
{
    const char *path = d->cli->noperands > 0 ? d->cli->operands[0] : NULL;
    bool good = try_port(d, "name", "server", d->host, d->port) && look_at_certificate(d) && log_in(d);
    if (good && path != NULL && look_at_machine(d) && look_at_disk(d, path, args->tracking) && find_host(d, path)) {
        (void)read_disk(d, path);
    }
}

static int run(struct cli *cli, const void *data)
{
    struct doctor d = {.cli = cli};
    int status = server_address(cli, d.host, sizeof d.host, &d.port);
    status = status < 0 ? cli_start(cli) : status;
    if (status != STATUS_DONE) {
        return status;
    }
    d.steps = json_object_new_array();
    go(&d, data);
    if (cli->common.json) {
        json_print(json_object_get(d.steps));
    }
    json_object_put(d.steps);
    if (d.disk != NULL) {
        (void)VixDiskLib_Close(d.disk);
    }
    VixDiskLibExt_FreeMachine(d.vm);
    return d.bad ? STATUS_FAILED : STATUS_DONE;
}

const struct command command_doctor = {
    .name = "doctor",
    .usage = "[PATH]",
    .summary = "find out which step of the way to a server, or to a disk there, fails",
    .details = "A line for each step, up to the first one that fails: name, port, certificate, login; with PATH also\n"
               "machine, disk, ticket, the port of the host that the ticket names, open, read. Writes nothing.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct doctor_args),
    .min_operands = 0,
    .max_operands = 1,
    .run = run,
};

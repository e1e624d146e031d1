/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_doctor.c - goes the way to a disk on a server step by step and tells which step fails, why, and what to do.
 * Writes nothing anywhere; a ticket for reading is all that is asked for. */
#include <dlfcn.h>
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
#include "doctor.h"
#include "json.h"
#include "progress.h"

#define CONNECT_MS 10000
#define NAME_BYTES 512
#define DEPTH 16
#define MUCH_FASTER 1.5
#define CONFIG_BUFFERS "vixDiskLib.nfcAio.Session."

struct doctor {
    struct cli *cli;
    struct json_object *steps;
    bool bad;
    char host[NAME_BYTES];
    uint32_t port;
    VixDiskLibExt_Vm *vm;
    VixDiskLibHandle disk;
    bool as_it_is; /* --snapshot none: as sync understands it */
};

bool doctor_tell(struct doctor *d, const char *step, const char *why, const char *advice)
{
    bool good = advice == NULL;
    d->bad = d->bad || !good;
    if (d->cli->common.json) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "step", step);
        json_add_bool(object, "ok", good);
        json_add_text(object, "found", why);
        json_object_object_add(object, "advice", good ? NULL : json_object_new_string(advice));
        json_object_array_add(d->steps, object);
    } else {
        printf("%-6s  %-12s  %s%s%s\n", good ? "ok" : "failed", step, why, good ? "" : ": ", good ? "" : advice);
    }
    return good;
}

/** Tells of the failure of the library call made last. */
static bool tell_failure(struct doctor *d, const char *step, VixError code, const char *advice)
{
    char text[2048];
    snprintf(text, sizeof text, "%s (%llu): %s", VixDiskLibExt_ErrorName(code), (unsigned long long)(code & 0xffff),
             VixDiskLibExt_LastErrorDetail());
    return doctor_tell(d, step, text, advice);
}

/** This command's own library: its version, and the file that was loaded. */
static void tell_library(struct doctor *d)
{
    char text[NAME_BYTES];
    Dl_info info;
    bool known = dladdr((const void *)(uintptr_t)VixDiskLibExt_Version, &info) != 0 && info.dli_fname != NULL;
    char *file = known ? realpath(info.dli_fname, NULL) : NULL;
    snprintf(text, sizeof text, "vixdisk %s, %s", VixDiskLibExt_Version(), file != NULL ? file : "of an unknown file");
    free(file);
    (void)doctor_tell(d, "library", text, NULL);
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
        return doctor_tell(d, name_step != NULL ? name_step : step, text,
                           "see that DNS or /etc/hosts of this machine knows that name");
    }
    if (name_step != NULL) {
        (void)doctor_tell(d, name_step, host, NULL);
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
    return doctor_tell(d, step, text,
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
    return doctor_tell(d, "certificate", text,
                       wrong ? "it is not the one of --thumbprint: ask the server's owner whether it was replaced"
                             : NULL);
}

/* ---- the server ---- */

static bool log_in(struct doctor *d)
{
    bool json = d->cli->common.json;
    d->cli->common.json = false; /* what cannot be logged in with is told on standard error too */
    int status = cli_connect_server(d->cli);
    d->cli->common.json = json;
    if (status == STATUS_DONE) {
        return doctor_tell(d, "login", "accepted", NULL);
    }
    return doctor_tell(d, "login", VixDiskLibExt_LastErrorDetail(),
                       "see user, password and thumbprint; 'vixdisk thumbprint' shows the server's");
}

static bool look_at_product(struct doctor *d)
{
    char text[256];
    VixDiskLibExt_Inventory *inventory = NULL;
    VixError code = VixDiskLibExt_ListInventory(d->cli->server, &inventory);
    if (code != VIX_OK) {
        return tell_failure(d, "product", code, "see that the user may see what the server has");
    }
    snprintf(text, sizeof text, "%s, API %s", inventory->productName != NULL ? inventory->productName : "not told",
             inventory->apiVersion != NULL ? inventory->apiVersion : "not told");
    VixDiskLibExt_FreeInventory(inventory);
    return doctor_tell(d, "product", text, NULL);
}

static bool look_at_machine(struct doctor *d)
{
    char text[512];
    if (need_machine(d->cli) >= 0) {
        return doctor_tell(d, "machine", "none is named", "--vm moref=...: 'vixdisk ls' lists them");
    }
    VixError code = VixDiskLibExt_GetMachine(d->cli->server, server_snapshot(d->cli), &d->vm);
    if (code != VIX_OK) {
        return tell_failure(d, "machine", code, "'vixdisk ls' lists the machines and snapshots that this user sees");
    }
    snprintf(text, sizeof text, "%s, %s, %u disks, %u snapshots", d->vm->name != NULL ? d->vm->name : d->vm->moref,
             d->vm->powerState != NULL ? d->vm->powerState : "state not told", d->vm->numDisks, d->vm->numSnapshots);
    return doctor_tell(d, "machine", text, NULL);
}

/** What copies need; of several privileges one is enough. */
static const struct need {
    const char *what;
    const char *names[2];
} needs[] = {
    {"read disks", {"VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomRead"}},
    {"write disks", {"VirtualMachine.Provisioning.DiskRandomAccess"}},
    {"make snapshots", {"VirtualMachine.State.CreateSnapshot"}},
    {"remove snapshots", {"VirtualMachine.State.RemoveSnapshot"}},
    {"switch change tracking", {"VirtualMachine.Config.ChangeTracking"}},
};
#define NEEDS (sizeof needs / sizeof needs[0])
enum { NEED_READ, NEED_WRITE, NEED_SNAPSHOT, NEED_REMOVAL, NEED_TRACKING };

/** Whether a need has to be met: to read; with --tracking what sync does, where it has to do it, and can. */
static bool must(const struct doctor *d, size_t need, bool tracking)
{
    if (!tracking || need == NEED_READ || need == NEED_WRITE) {
        return need == NEED_READ;
    }
    return need == NEED_TRACKING ? !d->vm->changeTracking : !d->as_it_is && !d->vm->noSnapshots;
}

static void append(char *text, size_t size, const char *first, const char *next, const char *more)
{
    size_t len = strlen(text);
    snprintf(text + len, size - len, "%s%s", len == 0 ? first : next, more);
}

/** What the user may do with the machine's disks. False only if not even reading is allowed. */
static bool look_at_privileges(struct doctor *d, bool tracking)
{
    const char *names[2 * NEEDS];
    Bool granted[2 * NEEDS];
    bool may[NEEDS] = {false};
    char can[256] = "";
    char cannot[512] = "";
    char missing[512] = "";
    char text[sizeof can + sizeof cannot];
    for (size_t i = 0; i < 2 * NEEDS; i++) {
        const struct need *n = &needs[i / 2];
        names[i] = n->names[i % 2] != NULL ? n->names[i % 2] : n->names[0];
    }
    VixError code = VixDiskLibExt_HasPrivileges(d->cli->server, names, 2 * NEEDS, granted);
    if (code == VIX_E_NOT_SUPPORTED) {
        return doctor_tell(d, "privileges", "the server does not tell", NULL);
    }
    if (code != VIX_OK) {
        return tell_failure(d, "privileges", code, "see that the user may see the machine");
    }
    for (size_t i = 0; i < NEEDS; i++) {
        may[i] = granted[2 * i] || granted[2 * i + 1];
        append(may[i] ? can : cannot, may[i] ? sizeof can : sizeof cannot, may[i] ? "may " : "may not ", ", ",
               needs[i].what);
        if (!may[i] && must(d, i, tracking)) {
            append(missing, sizeof missing, "the role needs ", ", ", needs[i].names[0]);
        }
    }
    snprintf(text, sizeof text, "%s%s%s", can, can[0] != '\0' && cannot[0] != '\0' ? "; " : "", cannot);
    (void)doctor_tell(d, "privileges", text, missing[0] != '\0' ? missing : NULL);
    return may[NEED_READ];
}

/** Whether sync can have its snapshot, if it is to make one. */
static bool look_at_snapshots(struct doctor *d)
{
    const char *found = d->as_it_is          ? "none is wanted"
                        : d->vm->noSnapshots ? "the server makes none of this machine"
                                             : "the server makes them";
    return doctor_tell(d, "snapshots", found,
                       d->vm->noSnapshots && !d->as_it_is
                           ? "'vixdisk sync --snapshot none' copies the disk as it is while nobody writes to it"
                           : NULL);
}

/** Why changes of a disk are not tracked; NULL: they are. */
static const char *untracked(const VixDiskLibExt_Vm *vm, const VixDiskLibExt_VmDisk *disk, const char **ret_advice)
{
    const char *version = vm->hardwareVersion != NULL ? strrchr(vm->hardwareVersion, '-') : NULL;
    *ret_advice = "it cannot be tracked as it is; copies of it are full ones";
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
        *ret_advice = "'vixdisk sync --enable-cbt' switches it on";
        return "change tracking is off";
    }
    if (disk->changeId != NULL && disk->changeId[0] != '\0') {
        return NULL;
    }
    if (disk->backingType != NULL && strstr(disk->backingType, "RawDisk") != NULL) {
        return "the disk is a raw device mapping, of which only virtual ones can be tracked";
    }
    *ret_advice = "it begins with the next snapshot or power-on";
    return "change tracking has not begun";
}

static bool look_at_disk(struct doctor *d, const char *path, bool tracking)
{
    const VixDiskLibExt_VmDisk *disk = changes_find_disk(d->vm, path);
    const char *advice = NULL;
    if (disk == NULL) {
        return doctor_tell(d, "disk", path, "the machine has no such disk: 'vixdisk ls' lists its disks");
    }
    (void)doctor_tell(d, "disk", disk->file, NULL);
    if (tracking) {
        (void)look_at_snapshots(d);
        const char *why = untracked(d->vm, disk, &advice);
        (void)doctor_tell(d, "tracking", why != NULL ? why : disk->changeId, why != NULL ? advice : NULL);
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
    return doctor_tell(d, "ticket", text, NULL) && try_port(d, NULL, "disk host", host, port);
}

static const char *read_advice(VixError code)
{
    return code == VIX_E_OUT_OF_MEMORY ? "copy fewer disks of that host at once, or --set " CONFIG_BUFFERS
                                         "BufSizeIn64KB=1 --set " CONFIG_BUFFERS "BufCount=4"
                                       : "see the host's log (hostd, vpxa) at this time";
}

/** The speed of reads one by one and of many at once, and which buffers that speaks for. */
static bool measure(struct doctor *d, uint64_t capacity)
{
    static const unsigned depths[] = {1, DEPTH};
    struct doctor_rate rates[2];
    char text[640];
    uint64_t place = 0;
    for (size_t i = 0; i < 2; i++) {
        doctor_speed(d->disk, capacity, depths[i], &place, &rates[i]);
        if (rates[i].code != VIX_OK) {
            snprintf(text, sizeof text, "%u at once: %s (%llu): %s", depths[i], VixDiskLibExt_ErrorName(rates[i].code),
                     (unsigned long long)(rates[i].code & 0xffff), rates[i].detail);
            return doctor_tell(d, "speed", text, read_advice(rates[i].code));
        }
    }
    snprintf(text, sizeof text, "%.1f MB/s one by one, %.1f MB/s with %u at once", rates[0].mb_per_s, rates[1].mb_per_s,
             DEPTH);
    (void)doctor_tell(d, "speed", text, NULL);
    bool faster = rates[1].mb_per_s > MUCH_FASTER * rates[0].mb_per_s;
    return doctor_tell(
        d, "buffers",
        faster ? "many at once is much faster: let programs read many, or more, at a time, with " CONFIG_BUFFERS
                 "BufSizeIn64KB=16 and BufCount=8 where theirs are less"
               : "the present ones suit: many at once is not much faster",
        NULL);
}

static bool read_disk(struct doctor *d, const char *path)
{
    char text[128];
    uint32 compression = 0;
    uint64_t capacity = 0;
    if (compression_flags(d->cli, &compression) >= 0) {
        return doctor_tell(d, "open", "--compress", "none, zlib, fastlz or skipz");
    }
    VixError code = VixDiskLib_Open(d->cli->server, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY | compression, &d->disk);
    if (code != VIX_OK) {
        return tell_failure(d, "open", code,
                            "of a machine that runs name a snapshot (--snapshot); see the code's text");
    }
    (void)doctor_tell(d, "open", VixDiskLib_GetTransportMode(d->disk), NULL);
    uint8 sector[VIXDISKLIB_SECTOR_SIZE];
    uint64_t start = now_ns();
    code = VixDiskLib_Read(d->disk, 0, 1, sector);
    double trip = (double)(now_ns() - start) / 1e6;
    if (code != VIX_OK) {
        return tell_failure(d, "read", code, read_advice(code));
    }
    if (disk_bytes(d->cli, path, d->disk, &capacity) != STATUS_DONE) {
        return tell_failure(d, "read", VIX_E_FAIL, read_advice(VIX_E_FAIL));
    }
    snprintf(text, sizeof text, "first sector in %.1f ms", trip);
    return doctor_tell(d, "read", text, NULL) && measure(d, capacity);
}

struct doctor_args {
    const char *consumer;
    const char *libdir;
    bool tracking;
};

static const struct option_spec options[] = {
    {.name = "for",
     .kind = OPTION_TEXT,
     .at = offsetof(struct doctor_args, consumer),
     .arg = DOCTOR_CONSUMERS,
     .help = "first see that this program finds and can load the library; no server is needed for that"},
    {.name = "libdir",
     .kind = OPTION_TEXT,
     .at = offsetof(struct doctor_args, libdir),
     .arg = "DIR",
     .help = "the folder that the program of --for is given, if not the one where it looks by itself"},
    {.name = "tracking",
     .kind = OPTION_FLAG,
     .at = offsetof(struct doctor_args, tracking),
     .help = "the disk's changes must be tracked, and the user may do what 'vixdisk sync' does"},
    {.kind = OPTION_END},
};

static void go(struct doctor *d, const struct doctor_args *args)
{
    const char *path = d->cli->noperands > 0 ? d->cli->operands[0] : NULL;
    bool good =
        try_port(d, "name", "server", d->host, d->port) && look_at_certificate(d) && log_in(d) && look_at_product(d);
    if (good && path != NULL && look_at_machine(d) && look_at_privileges(d, args->tracking) &&
        look_at_disk(d, path, args->tracking) && find_host(d, path)) {
        (void)read_disk(d, path);
    }
}

/** The mistakes in what is asked for; -1 to go on. */
static int check_args(const struct cli *cli, const struct doctor_args *args)
{
    if (args->consumer != NULL && !doctor_knows(args->consumer)) {
        return usage_error(cli, "--for=%s: it is one of " DOCTOR_CONSUMERS, args->consumer);
    }
    if (args->libdir != NULL && args->consumer == NULL) {
        return usage_error(cli, "--libdir goes with --for");
    }
    return -1;
}

static int run(struct cli *cli, const void *data)
{
    struct doctor d = {.cli = cli};
    const struct doctor_args *args = data;
    const char *snapshot = server_snapshot(cli);
    bool local = args->consumer != NULL && cli->noperands == 0 && !server_is_named(cli);
    int status = check_args(cli, args);
    if (status < 0 && !local) {
        status = server_address(cli, d.host, sizeof d.host, &d.port);
    }
    if (status >= 0) {
        return status;
    }
    if (snapshot != NULL && strcmp(snapshot, "none") == 0) {
        d.as_it_is = true;
        cli->common.remote.snapshot = "";
    }
    d.steps = json_object_new_array();
    tell_library(&d);
    bool good = args->consumer == NULL || doctor_library(&d, args->consumer, args->libdir);
    status = good && !local ? cli_start(cli) : STATUS_DONE;
    if (good && !local && status == STATUS_DONE) {
        go(&d, args);
    }
    if (cli->common.json && status == STATUS_DONE) {
        json_print(json_object_get(d.steps));
    }
    json_object_put(d.steps);
    if (d.disk != NULL) {
        (void)VixDiskLib_Close(d.disk);
    }
    VixDiskLibExt_FreeMachine(d.vm);
    return status != STATUS_DONE ? status : d.bad ? STATUS_FAILED : STATUS_DONE;
}

const struct command command_doctor = {
    .name = "doctor",
    .usage = "[PATH]",
    .summary = "find out which step of the way to a server, to a disk there, or to the library fails",
    .details =
        "A line for each step, up to the first one that fails: library; with --for the folder, names and loading of\n"
        "the library as that program does it; name, port, certificate, login, product; with PATH also machine,\n"
        "privileges, disk, ticket, the port of the host that the ticket names, open, read, speed, buffers. Writes "
        "nothing.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct doctor_args),
    .min_operands = 0,
    .max_operands = 1,
    .run = run,
};

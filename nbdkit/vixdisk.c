/* SPDX-License-Identifier: BSD-3-Clause */
/* vixdisk.c - nbdkit-vixdisk-plugin: serves a disk, local or on a server, to clients of NBD. Parameters have the names
 * that nbdkit's plugin for VMware's kit gives them. All connections share one open disk, which the first opens and the
 * last closes, so what one of them flushes is flushed for all, and a writer does not lock out its own clients. One that
 * is written and loses its host is opened anew for whoever comes next. Requests run on any number of threads. Knows the
 * public interface and nbdkit's. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vixDiskLib.h"
#include "vixDiskLibExt.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define SECTOR_BYTES VIXDISKLIB_SECTOR_SIZE
#define PREFERRED_BYTES 65536 /* a grain: a smaller write to a new one may copy the rest of it from the parent */
#define MESSAGE_MAX 2048

/* ---- parameters ---- */

static char *file, *config_file, *server, *user, *password, *cookie, *thumbprint, *vm, *snapshot, *transports;
static uint32_t port, nfc_port;
static uint32 open_flags;

struct text_parameter {
    const char *key;
    char **value;
};

static const struct text_parameter text_parameters[] = {
    {"server", &server},         {"user", &user}, {"thumbprint", &thumbprint}, {"vm", &vm}, {"snapshot", &snapshot},
    {"transports", &transports}, {NULL, NULL},
};

/** Puts a copy of a value, or what a function made of it (NULL: it has reported why not), in the place of an older one.
 */
static int set_text(char **to, char *made)
{
    free(*to);
    *to = made;
    return made == NULL ? -1 : 0;
}

static int set_copy(char **to, const char *value)
{
    char *made = strdup(value);
    if (made == NULL) {
        nbdkit_error("strdup: %m");
    }
    return set_text(to, made);
}

/** password, cookie: a value, +FILE, -FD, or - for the terminal. */
static int set_secret(char **to, const char *value)
{
    char *made = NULL;
    return nbdkit_read_password(value, &made) < 0 ? -1 : set_text(to, made);
}

static int set_port(const char *key, const char *value, uint32_t *to)
{
    if (nbdkit_parse_uint32_t(key, value, to) < 0) {
        return -1;
    }
    if (*to > 65535) {
        nbdkit_error("%s=%s: the highest port is 65535", key, value);
        return -1;
    }
    return 0;
}

static int set_flag(const char *value, uint32 flag)
{
    int on = nbdkit_parse_bool(value);
    if (on >= 0) {
        open_flags = on ? open_flags | flag : open_flags & ~flag;
    }
    return on < 0 ? -1 : 0;
}

static int set_compression(const char *value)
{
    static const struct {
        const char *name;
        uint32 flag;
    } kinds[] = {
        {"none", 0},
        {"zlib", VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB},
        {"fastlz", VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ},
        {"skipz", VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, value) == 0) {
            open_flags = (open_flags & ~(uint32)VIXDISKLIB_FLAG_OPEN_COMPRESSION_MASK) | kinds[i].flag;
            return 0;
        }
    }
    nbdkit_error("compression=%s: it is none of none, zlib, fastlz, skipz", value);
    return -1;
}

static int vixdisk_config(const char *key, const char *value)
{
    for (const struct text_parameter *p = text_parameters; p->key != NULL; p++) {
        if (strcmp(p->key, key) == 0) {
            return set_copy(p->value, value);
        }
    }
    if (strcmp(key, "file") == 0) {
        return set_copy(&file, value);
    }
    if (strcmp(key, "config") == 0) {
        return set_text(&config_file, nbdkit_realpath(value));
    }
    if (strcmp(key, "password") == 0) {
        return set_secret(&password, value);
    }
    if (strcmp(key, "cookie") == 0) {
        return set_secret(&cookie, value);
    }
    if (strcmp(key, "port") == 0) {
        return set_port(key, value, &port);
    }
    if (strcmp(key, "nfchostport") == 0) {
        return set_port(key, value, &nfc_port);
    }
    if (strcmp(key, "single-link") == 0) {
        return set_flag(value, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
    }
    if (strcmp(key, "unbuffered") == 0) {
        return set_flag(value, VIXDISKLIB_FLAG_OPEN_UNBUFFERED);
    }
    if (strcmp(key, "compression") == 0) {
        return set_compression(value);
    }
    if (strcmp(key, "libdir") == 0) {
        nbdkit_debug("libdir is ignored: the library is the one that the plugin was linked with");
        return 0;
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

/** The first parameter that only means something together with a server, or NULL. */
static const char *parameter_of_servers(void)
{
    for (const struct text_parameter *p = text_parameters; p->key != NULL; p++) {
        if (p->value != &transports && *p->value != NULL) {
            return p->key;
        }
    }
    return password != NULL ? "password" : cookie != NULL ? "cookie" : NULL;
}

static int vixdisk_config_complete(void)
{
    if (file == NULL) {
        nbdkit_error("file=... is missing: the disk to serve");
        return -1;
    }
    if (server == NULL) {
        const char *key = parameter_of_servers();
        if (key != NULL) {
            nbdkit_error("%s=... is given, but server=... is missing", key);
            return -1;
        }
        return set_text(&file, nbdkit_absolute_path(file));
    }
    if (cookie == NULL && (user == NULL || password == NULL)) {
        nbdkit_error("server=... needs user=... and password=+FILE, or cookie=+FILE");
        return -1;
    }
    if (vm == NULL) {
        nbdkit_error("server=... needs vm=moref=...: the virtual machine that has the disk");
        return -1;
    }
    return 0;
}

#define CONFIG_HELP                                                                                                    \
    "[file=]PATH      The disk: a local .vmdk, or \"[datastore] dir/x.vmdk\".\n"                                       \
    "config=FILE      Configuration of the library.\n"                                                                 \
    "single-link=true This link only, not its parents.\n"                                                              \
    "unbuffered=true  Past the page cache.\n"                                                                          \
    "Disks on a server:\n"                                                                                             \
    "server=NAME      vCenter or ESXi.\n"                                                                              \
    "user=NAME        Whom to log in as.\n"                                                                            \
    "password=+FILE   The password is in FILE; -FD; - asks for it.\n"                                                  \
    "cookie=+FILE     In their place: a session.\n"                                                                    \
    "thumbprint=HEX   SHA-1 or SHA-256 of the certificate (default: check its chain).\n"                               \
    "vm=moref=ID      The virtual machine.\n"                                                                          \
    "snapshot=ID      Its disks as of a snapshot.\n"                                                                   \
    "transports=LIST  Ways to the disk, tried in order: nbdssl:nbd.\n"                                                 \
    "compression=KIND none, zlib, fastlz, skipz.\n"                                                                    \
    "port=N           Of the server, if not 443.\n"                                                                    \
    "nfchostport=N    Of the host that has the disk, if not 902.\n"                                                    \
    "libdir=FOLDER    Not needed, and ignored."

/* ---- messages ---- */

/** The library's messages are nbdkit's debugging output. What a request fails with is reported by the request. */
__attribute__((format(printf, 1, 0))) static void on_message(const char *fmt, va_list args)
{
    char text[MESSAGE_MAX];
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    nbdkit_debug("%s", text);
}

/** What the client of NBD is told. */
static int errno_of(VixError code)
{
    switch (code) {
    case VIX_E_OUT_OF_MEMORY:
        return ENOMEM;
    case VIX_E_DISK_FULL:
        return ENOSPC;
    case VIX_E_FILE_READ_ONLY:
    case VIX_E_FILE_ACCESS_ERROR:
        return EPERM;
    case VIX_E_INVALID_ARG:
    case VIX_E_DISK_OUTOFRANGE:
        return EINVAL;
    case VIX_E_NOT_SUPPORTED:
        return ENOTSUP;
    case VIX_E_HOST_SERVER_SHUTDOWN:
        return ESHUTDOWN;
    default:
        return EIO;
    }
}

/** Reports the failure of the call that this thread made last. Returns -1. */
static int failed(const char *doing, VixError code)
{
    char detail[MESSAGE_MAX];
    snprintf(detail, sizeof detail, "%s", VixDiskLibExt_LastErrorDetail());
    const char *name = VixDiskLibExt_ErrorName(code);
    char *text = VixDiskLib_GetErrorText(code, NULL);
    nbdkit_error("%s: %s (%llu): %s%s%s", doing, name != NULL ? name : "VIX_E_UNKNOWN", (unsigned long long)code, text,
                 detail[0] != '\0' ? ": " : "", detail);
    VixDiskLib_FreeErrorText(text);
    nbdkit_set_error(errno_of(code));
    return -1;
}

static int result(const char *doing, VixError code)
{
    return code == VIX_OK ? 0 : failed(doing, code);
}

/* ---- the library ---- */

static bool started;

/** After the fork, since the library has threads. */
static int vixdisk_after_fork(void)
{
    VixError code = VixDiskLib_InitEx(8, 0, on_message, on_message, on_message, NULL, config_file);
    started = code == VIX_OK;
    return result(config_file != NULL ? config_file : "the library cannot be started", code);
}

static void forget(char **secret)
{
    if (*secret != NULL) {
        explicit_bzero(*secret, strlen(*secret));
    }
    free(*secret);
    *secret = NULL;
}

static void vixdisk_unload(void)
{
    if (started) {
        VixDiskLib_Exit();
    }
    for (const struct text_parameter *p = text_parameters; p->key != NULL; p++) {
        free(*p->value);
    }
    free(file);
    free(config_file);
    forget(&password);
    forget(&cookie);
}

static void vixdisk_dump_plugin(void)
{
    printf("vixdisk_library_version=%s\n", VixDiskLibExt_Version());
    printf("vixdisk_transport_modes=%s\n", VixDiskLib_ListTransportModes());
}

/* ---- the disk ---- */

/** An open disk. */
struct shared {
    unsigned users; /* connections of NBD; guarded by the lock */
    bool read_only;
    atomic_bool lost; /* its host is, and the library does not open it again, as it is written */
    VixDiskLibConnection connection;
    VixDiskLibHandle disk;
    int64_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for opening and closing */
static struct shared *current; /* what the next connection of NBD shares; NULL: it opens the disk */

/** result, for a call on an open disk. */
static int disk_result(struct shared *s, const char *doing, VixError code)
{
    if (code == VIX_E_HOST_TCP_CONN_LOST && !s->read_only) {
        atomic_store(&s->lost, true);
    }
    return result(doing, code);
}

static VixError connect_server(struct shared *s)
{
    VixDiskLibConnectParams *params = VixDiskLib_AllocateConnectParams();
    if (params == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    params->serverName = server;
    params->port = port;
    params->nfcHostPort = nfc_port;
    params->thumbPrint = thumbprint;
    params->vmxSpec = vm;
    params->specType = VIXDISKLIB_SPEC_VMX;
    if (cookie != NULL) {
        params->credType = VIXDISKLIB_CRED_SESSIONID;
        params->creds.sessionId.cookie = cookie;
    } else {
        params->credType = VIXDISKLIB_CRED_UID;
        params->creds.uid.userName = user;
        params->creds.uid.password = password;
    }
    VixError code = VixDiskLib_ConnectEx(params, s->read_only, snapshot, transports, &s->connection);
    VixDiskLib_FreeConnectParams(params);
    return code;
}

static VixError take_size(struct shared *s)
{
    VixDiskLibInfo *info = NULL;
    VixError code = VixDiskLib_GetInfo(s->disk, &info);
    if (code == VIX_OK) {
        s->bytes = (int64_t)(info->capacity * SECTOR_BYTES);
        VixDiskLib_FreeInfo(info);
    }
    return code;
}

/** The handles stay in s: requests that still come get the error of a closed handle. */
static void close_disk(const struct shared *s)
{
    if (s->disk != NULL) {
        result(file, VixDiskLib_Close(s->disk));
    }
    if (s->connection != NULL) {
        VixDiskLib_Disconnect(s->connection);
    }
}

/** NULL: it has been reported why not. */
static struct shared *open_disk(bool read_only)
{
    struct shared *s = calloc(1, sizeof *s);
    uint32 flags = open_flags | (read_only ? (uint32)VIXDISKLIB_FLAG_OPEN_READ_ONLY : 0);
    if (s == NULL) {
        nbdkit_error("malloc: %m");
        return NULL;
    }
    s->read_only = read_only;
    int status = result(server != NULL ? server : "connecting",
                        server != NULL ? connect_server(s) : VixDiskLib_Connect(NULL, &s->connection));
    if (status == 0) {
        status = result(file, VixDiskLib_Open(s->connection, file, flags, &s->disk));
    }
    if (status == 0) {
        status = result(file, take_size(s));
    }
    if (status != 0) {
        close_disk(s);
        free(s);
        return NULL;
    }
    return s;
}

static void *vixdisk_open(int readonly)
{
    struct shared *s = NULL;
    pthread_mutex_lock(&lock);
    if (current != NULL && atomic_load(&current->lost)) {
        close_disk(current); /* its host may still have it locked; its users keep the rest */
        current = NULL;
    }
    if (current == NULL) {
        current = open_disk(readonly);
    }
    if (current != NULL && current->read_only && !readonly) {
        nbdkit_error("%s: another connection has it open for reading only", file);
        nbdkit_set_error(EBUSY);
    } else if (current != NULL) {
        s = current;
        s->users++;
    }
    pthread_mutex_unlock(&lock);
    return s;
}

static void vixdisk_close(void *handle)
{
    struct shared *s = handle;
    pthread_mutex_lock(&lock);
    s->users--;
    if (s->users == 0) {
        if (s == current) {
            close_disk(s);
            current = NULL;
        }
        free(s);
    }
    pthread_mutex_unlock(&lock);
}

static int64_t vixdisk_get_size(void *handle)
{
    return ((struct shared *)handle)->bytes;
}

static int vixdisk_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    const struct shared *s = handle;
    *minimum = s->read_only ? 1 : SECTOR_BYTES;
    *preferred = PREFERRED_BYTES;
    *maximum = UINT32_MAX;
    return 0;
}

static int vixdisk_can_multi_conn(void *handle)
{
    (void)handle;
    return 1;
}

static int vixdisk_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_EMULATE;
}

/* ---- reading and writing ---- */

static bool is_whole_sectors(uint32_t count, uint64_t offset)
{
    return (count | offset) % SECTOR_BYTES == 0;
}

/** Whether a request that changes the disk is one of whole sectors; else it is reported. */
static bool need_whole_sectors(const char *what, uint32_t count, uint64_t offset)
{
    if (is_whole_sectors(count, offset)) {
        return true;
    }
    nbdkit_error("%s of %" PRIu32 " bytes at %" PRIu64 ": not whole sectors of %d bytes; --filter=blocksize serves "
                 "clients that ask for less",
                 what, count, offset, SECTOR_BYTES);
    nbdkit_set_error(EINVAL);
    return false;
}

/** Reads any bytes, by way of the sectors that they lie in: filters look at pieces of tables. */
static int read_part(struct shared *s, void *buf, uint32_t count, uint64_t offset)
{
    uint64_t first = offset / SECTOR_BYTES;
    uint64_t nsectors = (offset + count + SECTOR_BYTES - 1) / SECTOR_BYTES - first;
    uint8 *sectors = malloc(nsectors * SECTOR_BYTES);
    if (sectors == NULL) {
        nbdkit_error("malloc: %m");
        return -1;
    }
    int status = disk_result(s, "read", VixDiskLib_Read(s->disk, first, nsectors, sectors));
    if (status == 0) {
        memcpy(buf, sectors + offset % SECTOR_BYTES, count);
    }
    free(sectors);
    return status;
}

static int vixdisk_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct shared *s = handle;
    (void)flags;
    if (!is_whole_sectors(count, offset)) {
        return read_part(s, buf, count, offset);
    }
    return disk_result(s, "read", VixDiskLib_Read(s->disk, offset / SECTOR_BYTES, count / SECTOR_BYTES, buf));
}

static int vixdisk_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct shared *s = handle;
    (void)flags; /* FUA is a flush that nbdkit asks for afterwards */
    if (!need_whole_sectors("a write", count, offset)) {
        return -1;
    }
    return disk_result(s, "write", VixDiskLib_Write(s->disk, offset / SECTOR_BYTES, count / SECTOR_BYTES, buf));
}

static int vixdisk_flush(void *handle, uint32_t flags)
{
    struct shared *s = handle;
    (void)flags;
    return disk_result(s, "flush", VixDiskLib_Flush(s->disk));
}

/* ---- what is there ---- */

/** Whether a run is zeros, for all who read the disk: what a single link does not hold, its parent may. */
static bool is_zero(const VixDiskLibExt_Run *run)
{
    return run->zero && (run->present || (open_flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK) == 0);
}

/** The first run that is not zeros ends the map. */
static Bool all_zero(void *data, const VixDiskLibExt_Run *run)
{
    bool *all = data;
    *all = is_zero(run);
    return *all;
}

/** Whether a range can be made zeros without writing them: there is nothing, or its space can be given back. */
static VixError zero_fast(const struct shared *s, uint64_t sector, uint64_t nsectors)
{
    bool all = true;
    VixError code = VixDiskLibExt_Map(s->disk, sector, nsectors, all_zero, &all);
    return code != VIX_OK || all ? code : VixDiskLibExt_Discard(s->disk, sector, nsectors);
}

/** Leaves holes where they are wanted; where they are not, nbdkit writes. */
static int vixdisk_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct shared *s = handle;
    uint64_t sector = offset / SECTOR_BYTES;
    uint64_t nsectors = count / SECTOR_BYTES;
    VixError code = VIX_OK;
    if (!need_whole_sectors("a write of zeros", count, offset)) {
        return -1;
    }
    if ((flags & NBDKIT_FLAG_MAY_TRIM) == 0) {
        code = VIX_E_NOT_SUPPORTED;
    } else if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0) {
        code = zero_fast(s, sector, nsectors);
    }
    if (code == VIX_E_NOT_SUPPORTED) {
        nbdkit_set_error(EOPNOTSUPP);
        return -1;
    }
    if (code == VIX_OK) {
        code = VixDiskLibExt_WriteZeros(s->disk, sector, nsectors);
    }
    return disk_result(s, "write of zeros", code);
}

static int vixdisk_can_fast_zero(void *handle)
{
    (void)handle;
    return 1;
}

static int vixdisk_can_trim(void *handle)
{
    const struct shared *s = handle;
    return VixDiskLibExt_Discard(s->disk, 0, 0) == VIX_OK;
}

/** A hint: the whole sectors of the range, and nothing where the file system makes no holes. */
static int vixdisk_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct shared *s = handle;
    uint64_t first = (offset + SECTOR_BYTES - 1) / SECTOR_BYTES;
    uint64_t end = (offset + count) / SECTOR_BYTES;
    VixError code = first < end ? VixDiskLibExt_Discard(s->disk, first, end - first) : VIX_OK;
    (void)flags; /* FUA is a flush that nbdkit asks for afterwards */
    return disk_result(s, "trim", code == VIX_E_NOT_SUPPORTED ? VIX_OK : code);
}

struct extent_list {
    struct nbdkit_extents *extents;
    bool only_first;
    bool began;
    uint32_t type;
    int status;
};

static Bool add_run(void *data, const VixDiskLibExt_Run *run)
{
    struct extent_list *list = data;
    uint32_t type = (is_zero(run) ? NBDKIT_EXTENT_ZERO : 0u) | (run->present ? 0u : NBDKIT_EXTENT_HOLE);
    if (list->only_first && list->began && type != list->type) {
        return FALSE;
    }
    list->began = true;
    list->type = type;
    list->status = nbdkit_add_extent(list->extents, run->startBytes, run->lengthBytes, type);
    return list->status == 0;
}

static int vixdisk_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                           struct nbdkit_extents *extents)
{
    struct shared *s = handle;
    struct extent_list list = {.extents = extents, .only_first = (flags & NBDKIT_FLAG_REQ_ONE) != 0};
    uint64_t first = offset / SECTOR_BYTES;
    uint64_t end = (offset + count + SECTOR_BYTES - 1) / SECTOR_BYTES;
    VixError code = VixDiskLibExt_Map(s->disk, first, end - first, add_run, &list);
    return code != VIX_OK ? disk_result(s, "extents", code) : list.status;
}

static struct nbdkit_plugin plugin = {
    .name = "vixdisk",
    .longname = "nbdkit vixdisk plugin",
    .version = PLUGIN_VERSION,
    .description = "VMDK disks, local, on vSphere and on vixdiskd",
    .magic_config_key = "file",
    .config = vixdisk_config,
    .config_complete = vixdisk_config_complete,
    .config_help = CONFIG_HELP,
    .dump_plugin = vixdisk_dump_plugin,
    .after_fork = vixdisk_after_fork,
    .unload = vixdisk_unload,
    .open = vixdisk_open,
    .close = vixdisk_close,
    .get_size = vixdisk_get_size,
    .block_size = vixdisk_block_size,
    .can_multi_conn = vixdisk_can_multi_conn,
    .can_cache = vixdisk_can_cache,
    .can_fast_zero = vixdisk_can_fast_zero,
    .can_trim = vixdisk_can_trim,
    .pread = vixdisk_pread,
    .pwrite = vixdisk_pwrite,
    .flush = vixdisk_flush,
    .zero = vixdisk_zero,
    .trim = vixdisk_trim,
    .extents = vixdisk_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)

/* SPDX-License-Identifier: BSD-3-Clause */
/* The start and the end of the library. "Initialised" is one more handle: calls that need nothing else pin it, Exit
 * closes it and so waits for them. Two threads in Init or Exit at once are kept apart by the one slot there is. */
#include "api/api.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"

#define NEWEST_MAJOR 9u

/* What programs look for in the log to learn the version of "VDDK": a compatibility token, as the "Mozilla" of web
 * browsers is, read by KubeVirt's importer among others. The line must begin like this; our own name follows in a
 * second one. */
#define COMPATIBILITY_LINE "VMware VixDiskLib (" VIXDISK_VERSION ") Release build-1"
#define OWN_LINE "vixdisk " VIXDISK_VERSION ": an independent, free implementation of the VixDiskLib interface"

static _Atomic(const void *) started; /* handle of the library */
static _Atomic(uint64_t) version;     /* asked for: major << 32 | minor; 0: not initialised */

const void *library_handle(void)
{
    return atomic_load(&started);
}

uint32_t library_major(void)
{
    return (uint32_t)(atomic_load_explicit(&version, memory_order_relaxed) >> 32);
}

uint32_t library_minor(void)
{
    return (uint32_t)atomic_load_explicit(&version, memory_order_relaxed);
}

static VixError check_version(uint32_t major, uint32_t minor, struct err *err)
{
    if (major == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "interface version %" PRIu32 ".%" PRIu32 " does not exist", major,
                       minor);
    }
    if (major > NEWEST_MAJOR) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "interface version %" PRIu32 ".%" PRIu32 " is newer than this library, which has 1.x to %u.x",
                       major, minor, NEWEST_MAJOR);
    }
    return VIX_OK;
}

/** A log file that cannot be had must not keep a program from its disks. */
static void apply_log_file(void)
{
    const char *path = config_text(CONFIG_LOG_FILE);
    int errnum = log_set_file(path);

    if (errnum != 0) {
        log_news("log file %s: cannot be opened: %s", path, strerrordesc_np(errnum));
    }
}

static VixError configure(const char *config_file, struct err *err)
{
    unsigned skipped = 0;
    VixError code = config_load(config_file, &skipped, err);

    if (code != VIX_OK) {
        return code;
    }
    apply_log_file();
    if (skipped > 0) {
        log_news("configuration %s: %u lines that are not name=value were skipped", config_file, skipped);
    }
    return VIX_OK;
}

/** Init while initialised: the newest callbacks and version count. A configuration that is named replaces the old one
 * if nobody can be reading that. */
static VixError start_again(struct api_call *call, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn,
                            const char *config_file)
{
    uint32_t cursor = 0;

    log_set_sinks(log, warn);
    if (config_file == NULL) {
        return VIX_OK;
    }
    if (handle_next(HANDLE_CONNECTION, &cursor, NULL) != NULL) {
        log_news("configuration %s: not read, because the library is in use already", config_file);
        return VIX_OK;
    }
    return configure(config_file, &call->err);
}

static VixError start(struct api_call *call, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn,
                      const char *config_file, struct slot **ret_slot)
{
    struct slot *slot;

    if (handle_reserve(HANDLE_LIBRARY, &slot, NULL) != VIX_OK) {
        return err_set(&call->err, VIX_E_OBJECT_IS_BUSY, "another thread is starting or ending the library");
    }
    log_set_sinks(log, warn);
    VixError code = configure(config_file, &call->err);
    if (code != VIX_OK) {
        handle_give_back(HANDLE_LIBRARY, slot);
        return code;
    }
    *ret_slot = slot;
    return VIX_OK;
}

static void tell_version(uint32_t major, uint32_t minor)
{
    log_news("%s", COMPATIBILITY_LINE);
    log_news("%s; interface %" PRIu32 ".%" PRIu32 " asked for", OWN_LINE, major, minor);
}

VixError VixDiskLib_InitEx(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                           VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir,
                           const char *configFile)
{
    struct api_call call;
    struct slot *slot = NULL;

    (void)panic;  /* nothing here is worth ending the client's process for */
    (void)libDir; /* there are no plug-ins to find */
    if (configFile != NULL && configFile[0] == '\0') {
        configFile = NULL;
    }
    bool fresh = call_on_library(&call, "VixDiskLib_InitEx", configFile) != VIX_OK;
    err_init(&call.err);
    VixError code = check_version(majorVersion, minorVersion, &call.err);
    if (code == VIX_OK && fresh) {
        code = start(&call, log, warn, configFile, &slot);
    } else if (code == VIX_OK) {
        code = start_again(&call, log, warn, configFile);
    } else if (fresh) {
        log_set_sinks(log, warn);
    }
    if (code == VIX_OK) {
        tell_version(majorVersion, minorVersion);
        atomic_store(&version, (uint64_t)majorVersion << 32 | minorVersion);
    }
    if (slot != NULL) {
        atomic_store(&started, handle_publish(HANDLE_LIBRARY, slot, &version, NULL));
    }
    code = call_end(&call, code);
    if (code != VIX_OK && fresh && code != VIX_E_OBJECT_IS_BUSY) {
        log_set_sinks(NULL, NULL);
    }
    return code;
}

VixError VixDiskLib_Init(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                         VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir)
{
    return VixDiskLib_InitEx(majorVersion, minorVersion, log, warn, panic, libDir, NULL);
}

/** Ends every connection, and with it every disk. */
static void close_all(const char *name)
{
    struct slot *slot;

    for (uint32_t cursor = 0;;) {
        if (handle_close_next(HANDLE_CONNECTION, &cursor, NULL, true, &slot) != VIX_OK || slot == NULL) {
            return;
        }
        (void)connection_close_slot(slot, name);
    }
}

void VixDiskLib_Exit(void)
{
    struct slot *slot;

    if (call_thread_uses(NULL)) {
        call_report("VixDiskLib_Exit", NULL, VIX_E_OBJECT_IS_BUSY, NULL);
        return;
    }
    if (handle_close_begin(HANDLE_LIBRARY, library_handle(), true, &slot) != VIX_OK) {
        return;
    }
    close_all("VixDiskLib_Exit");
    remote_shutdown();
    disk_async_shutdown();
    atomic_store(&version, 0);
    atomic_store(&started, NULL);
    log_set_sinks(NULL, NULL);
    (void)log_set_file(NULL);
    config_clear();
    handle_give_back(HANDLE_LIBRARY, slot);
}

const char *VixDiskLib_ListTransportModes(void)
{
    return remote_transport_names();
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Rights that are given up. Landlock by its system calls, which the C library does not wrap; numbers and fields are
 * those of Linux's include/uapi/linux/landlock.h, some of them newer than the headers that this may be built with. */
#include "daemon/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "store/store.h"

/* ---- Landlock ---- */

struct ruleset { /* landlock_ruleset_attr; the kernel takes a longer one whose rest is zeros */
    uint64_t files, net, scoped;
};

struct rule { /* landlock_path_beneath_attr */
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

#define RULE_PATH_BENEATH 1
#define CREATE_VERSION 1u

#define CAN_WRITE (UINT64_C(1) << 1)
#define CAN_READ (UINT64_C(1) << 2)
#define CAN_LIST (UINT64_C(1) << 3)
#define CAN_REMOVE (UINT64_C(3) << 4) /* folders, files */
#define CAN_MAKE_FOLDER (UINT64_C(1) << 7)
#define CAN_MAKE_FILE (UINT64_C(1) << 8)
#define CAN_MOVE (UINT64_C(1) << 13) /* from folder to folder: version 2 */
#define CAN_TRUNCATE (UINT64_C(1) << 14)

#define VERSION_MIN 2 /* version 1 forbids moving files from folder to folder */

/** Everything that a version can forbid about files. */
static uint64_t all_about_files(long version)
{
    return version >= 5 ? (UINT64_C(1) << 16) - 1 : version >= 3 ? (UINT64_C(1) << 15) - 1 : (UINT64_C(1) << 14) - 1;
}

static long version_of_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);
}

static VixError allow_below(int ruleset, const char *folder, uint64_t allowed, struct err *err)
{
    CLEANUP_CLOSE int fd = open(folder, O_PATH | O_CLOEXEC);
    struct rule rule = {.allowed = allowed, .fd = fd};

    if (fd < 0) {
        return err_set_errno(err, errno, "cannot open %s", folder);
    }
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0u) != 0) {
        return err_set_errno(err, errno, "%s: cannot be made a rule of Landlock", folder);
    }
    return VIX_OK;
}

static VixError allow_datastores(int ruleset, uint64_t known, const struct host_config *config, struct err *err)
{
    uint64_t reading = CAN_READ | CAN_LIST;
    uint64_t writing =
        reading | CAN_WRITE | CAN_REMOVE | CAN_MAKE_FOLDER | CAN_MAKE_FILE | CAN_MOVE | (CAN_TRUNCATE & known);
    VixError code = VIX_OK;

    for (size_t i = 0; code == VIX_OK && i < config->datastore_count; i++) {
        const struct host_datastore *ds = &config->datastores[i];
        if (ds->path != NULL) {
            code = allow_below(ruleset, ds->path, ds->writable ? writing : reading, err);
        }
        for (size_t k = 0; code == VIX_OK && k < ds->lun_count; k++) {
            code = allow_below(ruleset, ds->luns[k].path, ds->writable ? CAN_READ | CAN_WRITE : CAN_READ, err);
        }
    }
    return code;
}

VixError confine_files(const struct host_config *config, const char *also_read, struct err *err)
{
    long version = version_of_landlock();
    struct ruleset what = {.files = all_about_files(version),
                           .net = version >= 4 ? 3 : 0,     /* to bind, to connect */
                           .scoped = version >= 6 ? 3 : 0}; /* abstract sockets, signals */

    if (version < VERSION_MIN) {
        host_log(HOST_LOG_WARN, "not confined to the datastores: this kernel has no Landlock of version %d or newer",
                 VERSION_MIN);
        return VIX_OK;
    }
    CLEANUP_CLOSE int ruleset = (int)syscall(SYS_landlock_create_ruleset, &what, sizeof what, 0u);
    if (ruleset < 0) {
        return err_set_errno(err, errno, "cannot make a set of rules of Landlock");
    }
    VixError code = allow_datastores(ruleset, what.files, config, err);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (code == VIX_OK) {
        code = allow_below(ruleset, "/proc", CAN_READ | CAN_LIST, err); /* they look for leaks there at the end */
    }
#endif
#if defined(VIXDISK_COUNTERS) /* a build that counts the lines that run, and writes that down at the end */
    if (code == VIX_OK) {
        code = allow_below(ruleset, VIXDISK_COUNTERS, what.files, err);
    }
#endif
    if (code == VIX_OK && also_read != NULL) {
        CLEANUP_FREE char *folder = store_path_folder(also_read, err);
        code = folder != NULL ? allow_below(ruleset, folder, CAN_READ, err) : VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK && syscall(SYS_landlock_restrict_self, ruleset, 0u) != 0) {
        code = err_set_errno(err, errno, "cannot confine the process by Landlock");
    }
    if (code == VIX_OK) {
        host_log(HOST_LOG_INFO, "confined by Landlock, version %ld: nothing but the datastores%s", version,
                 version >= 4 ? ", no connections to others" : "");
    }
    return code;
}

/* ---- the process, the user ---- */

void confine_process(void)
{
    const struct rlimit none = {0, 0};

    (void)umask(umask(0077) | 0027);
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        host_log(HOST_LOG_WARN, "cannot limit the process: %s", strerrordesc_np(errno));
    }
#if !defined(__SANITIZE_ADDRESS__) /* which looks for leaks by tracing */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        host_log(HOST_LOG_WARN, "cannot keep the process from being traced: %s", strerrordesc_np(errno));
    }
#endif
}

static VixError become(const struct passwd *pw, struct err *err)
{
    if (initgroups(pw->pw_name, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0) {
        return err_set_errno(err, errno, "cannot become user %s", pw->pw_name);
    }
    if (setuid(0) == 0) {
        return err_set(err, VIX_E_FAIL, "cannot give up the rights of root for those of user %s", pw->pw_name);
    }
    confine_process(); /* what a change of user has set anew */
    host_log(HOST_LOG_INFO, "runs as user %s, without the rights of root", pw->pw_name);
    return VIX_OK;
}

VixError confine_user(const char *user, struct err *err)
{
    const char *name = user != NULL ? user : CONFINE_USER;
    const struct passwd *pw = getpwnam(name);

    if (geteuid() != 0) {
        if (user != NULL && (pw == NULL || pw->pw_uid != geteuid())) {
            host_log(HOST_LOG_INFO, "user = %s has no effect: not started by root", user);
        }
        return VIX_OK;
    }
    if (pw == NULL) {
        return err_set(
            err, VIX_E_INVALID_ARG,
            "[server] user = %.60s%s: there is no such user on this machine; \"root\" keeps the rights of root", name,
            user == NULL ? " (the default, when started by root)" : "");
    }
    if (pw->pw_uid == 0) {
        host_log(HOST_LOG_WARN, "runs with the rights of root: [server] user names whom to become");
        return VIX_OK;
    }
    return become(pw, err);
}
